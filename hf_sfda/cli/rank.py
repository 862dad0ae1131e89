"""``hf-sfda rank``: rank checkpoints for a dataset."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hf_sfda.cli._candidates import (
    AuthorOption,
    BaseModelOption,
    ChoiceOption,
    CollectionOption,
    CreatedAfterOption,
    ExcludeOption,
    LanguageOption,
    LibraryOption,
    LicenseOption,
    MaxParamsOption,
    MinDownloadsOption,
    MinParamsOption,
    PipelineTagOption,
    SearchOption,
    TrainedOnOption,
)
from hf_sfda.cli._errors import NOTHING_RANKED
from hf_sfda.cli._jobs import JobOptions, run_on_jobs
from hf_sfda.cli._logging import send_warnings_to
from hf_sfda.cli._options import (
    FormatOption,
    JsonOption,
    QuietOption,
    TokenFileOption,
    TokenOption,
    TopOption,
    choose_format,
    choose_token,
    option_values,
)
from hf_sfda.cli._output import Format, Output
from hf_sfda.cli._plans import ExpectOption
from hf_sfda.cli._tables import show_ranking
from hf_sfda.config import (
    DEFAULT_METRICS,
    DEFAULTS,
    BatchNorms,
    Dtype,
    RankConfig,
    Task,
    Work,
    option_types,
)
from hf_sfda.errors import ConfigError
from hf_sfda.format import show_bytes
from hf_sfda.journal import refuse_other_dataset
from hf_sfda.measurements import with_measurements
from hf_sfda.processes import is_main_process
from hf_sfda.types import Layers

if TYPE_CHECKING:
    from hf_sfda.run_plan import RunPlan
    from hf_sfda.types import Ranking

_EXAMPLES = """
**Examples**

- `hf-sfda rank --dataset me/plants` — query the Hub for candidates

- `hf-sfda rank --dataset me/plants --models acme/vit acme/resnet ./my-checkpoint`

- `hf-sfda rank --dataset ./photos --models models.txt --samples 1000 --json`

- `accelerate launch -m hf_sfda rank --dataset me/plants` — on all GPUs
"""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("rank", epilog=_EXAMPLES)(rank)


def rank(
    context: typer.Context,
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset",
            "-d",
            help="Hub id, `id:config`, folder of images or sounds, parquet/csv file or "
            "save_to_disk folder.",
            show_default=False,
        ),
    ] = "",
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--models",
            "-m",
            help="Hub ids, folders, or text files with one of these a line; several may follow. "
            "Without it, candidates are queried from the Hub.",
            show_default=False,
        ),
    ] = None,
    more_models: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="Start from the config.yaml of an earlier run.", show_default=False
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Revision of the dataset.", show_default=False)
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Split to sample. [default: train, never test]", show_default=False),
    ] = None,
    input_column: Annotated[
        str | None,
        typer.Option(
            help="Column with the image, text or sound, or with the words of each sentence for "
            "--task token; two text columns, separated by a comma, for pairs of texts. [default: "
            "inferred]",
            show_default=False,
        ),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            help="Column with the label, or columns of 0 and 1, separated by commas. [default: "
            "inferred]",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        Task | None,
        typer.Option(
            help="What the labels are; token: a tag for each word of a sentence. [default: "
            "inferred]",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option("--samples", "-n", help="Size of the stratified sample.")
    ] = DEFAULTS.samples,
    metric: Annotated[
        str,
        typer.Option(
            help="Metric to sort by; see `hf-sfda metrics`. The default is for one class a sample; "
            "other labels have their own."
        ),
    ] = DEFAULTS.metric,
    metrics: Annotated[
        str, typer.Option(help="Metrics to compute beside it, separated by commas.")
    ] = ",".join(DEFAULT_METRICS),
    layers: Annotated[
        Layers,
        typer.Option(
            "--layers",
            "--view",  # the former name
            help="Score the features of all layers together, or of the last one.",
        ),
    ] = DEFAULTS.layers,
    batch_norms: Annotated[
        BatchNorms,
        typer.Option(
            help="Statistics of batch norms: the published ones, or both these and those measured "
            "on the dataset (convolutional networks take twice as long)."
        ),
    ] = DEFAULTS.batch_norms,
    candidates: ChoiceOption = DEFAULTS.candidates,
    top: TopOption = DEFAULTS.top,
    pipeline_tag: PipelineTagOption = None,
    library: LibraryOption = None,
    license: LicenseOption = None,
    author: AuthorOption = None,
    collection: CollectionOption = None,
    language: LanguageOption = None,
    created_after: CreatedAfterOption = None,
    min_downloads: MinDownloadsOption = None,
    search: SearchOption = None,
    exclude: ExcludeOption = None,
    min_params: MinParamsOption = None,
    max_params: MaxParamsOption = None,
    trained_on: TrainedOnOption = None,
    base_model: BaseModelOption = None,
    max_length: Annotated[
        int, typer.Option(help="Texts are cut to this many tokens.")
    ] = DEFAULTS.max_length,
    batch_size: Annotated[
        int, typer.Option(help="Samples per forward pass; halved when memory runs out.")
    ] = DEFAULTS.batch_size,
    dtype: Annotated[Dtype, typer.Option(help="Data type of the forward pass.")] = DEFAULTS.dtype,
    work: Annotated[
        Work,
        typer.Option(
            help="How processes divide the work: whole models, or the samples of each model."
        ),
    ] = DEFAULTS.work,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Preprocessing workers per process. [default: 0 on CPU, up to 8 on GPU]",
            show_default=False,
        ),
    ] = None,
    folds: Annotated[int, typer.Option(help="Folds of cross-fitted metrics.")] = DEFAULTS.folds,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples.")] = DEFAULTS.resamples,
    permutations: Annotated[
        int, typer.Option(help="Number of label shuffles that give the noise floor.")
    ] = DEFAULTS.permutations,
    confidence: Annotated[
        float, typer.Option(help="Confidence level of intervals and ties.")
    ] = DEFAULTS.confidence,
    learning_curve: Annotated[
        bool,
        typer.Option(
            "--learning-curve",
            help="Also measure whether the order still changes with more samples. Scoring takes "
            "about ten times as long.",
        ),
    ] = False,
    seed: Annotated[
        int, typer.Option(help="Random seed for sampling, folds, bootstrap and permutations.")
    ] = DEFAULTS.seed,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME[@REV]",
            help="Features dataset on the Hub, made by `hf-sfda cache export`: what it holds needs "
            "no weights. Without --models, its models are the candidates.",
            show_default=False,
        ),
    ] = None,
    race: Annotated[
        bool,
        typer.Option(
            "--race",
            help="Drop models early, on small samples, that cannot be among the first --keep.",
        ),
    ] = False,
    keep: Annotated[
        int, typer.Option(help="Number of first models that --race must not lose.")
    ] = DEFAULTS.keep,
    time_budget: Annotated[
        str | None,
        typer.Option(
            help="Start no model after this time: 30m, 2h, 1h30m. Cached and small ones are first.",
            show_default=False,
        ),
    ] = None,
    shards: Annotated[
        int, typer.Option(help="Number of jobs that share the candidates; see `hf-sfda merge`.")
    ] = DEFAULTS.shards,
    shard: Annotated[int, typer.Option(help="Number of this job, from 0.")] = DEFAULTS.shard,
    ask_above: Annotated[
        float, typer.Option(metavar="GB", help="Ask before more gigabytes are downloaded.")
    ] = DEFAULTS.ask_above,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what would be run and downloaded, and stop.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    on_jobs: Annotated[
        str | None,
        typer.Option(
            "--on-jobs",
            metavar="FLAVOR",
            help="Run as a Job on the Hub with this hardware, such as t4-small. Plan first; `hf "
            "jobs hardware` lists the hardware and its price.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="With --on-jobs: wait for the Job and bring its run here."),
    ] = False,
    job_timeout: Annotated[
        str, typer.Option(help="With --on-jobs: longest time of the Job.")
    ] = "6h",
    runs_repo: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME",
            help="With --on-jobs: dataset for the results. [default: hf-sfda-runs of yours, "
            "private]",
            show_default=False,
        ),
    ] = None,
    expect: ExpectOption = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", "-o", help="Run directory. [default: runs/DATASET]", show_default=False
        ),
    ] = None,
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    format_: FormatOption = Format.auto,
    json_: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Rank checkpoints for a dataset, without fine-tuning, with error bars."""
    token = choose_token(token, token_file)
    output = Output(choose_format(format_, json_, quiet))
    # Each option of a run is a parameter of this command, by the same name.
    values = option_values(context, option_types())
    values["models"] = _models(models, more_models)
    settings = _settings(context, config, values)
    if plan:
        _show_plan(settings, token, output)
        return
    if on_jobs is not None:
        job = JobOptions(on_jobs, job_timeout, runs_repo, follow, yes, expect)
        run_on_jobs(settings, job, token, output)
        return
    ranking = _run(settings, token, output, yes=yes)
    if is_main_process():
        from hf_sfda.report import save_ranking

        ranking = with_measurements(ranking, settings.run_directory)
        output.log("")
        show_ranking(ranking, output)
        # Check again: another run may have written to this directory in the meantime.
        refuse_other_dataset(settings.run_directory, settings.dataset)
        save_ranking(ranking, settings.run_directory)
        output.log(f"Report  {settings.run_directory / 'report.html'}")
    if not ranking.ranked:
        raise typer.Exit(NOTHING_RANKED)


def _show_plan(settings: RankConfig, token: str | None, output: Output) -> None:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    _say_what_is_read(settings, output)
    from rich.text import Text

    from hf_sfda.cli._progress import ConsoleProgress
    from hf_sfda.foreign import clean_lines
    from hf_sfda.pipeline import plan

    with ConsoleProgress(output.stderr if output.human else None) as progress:
        planned = plan(settings, token=token, progress=progress, log=output.log)
    text = clean_lines("\n".join(planned.lines))
    output.document(
        planned.to_dict(),
        human=lambda width: Text(text),
        agent=lambda: text,
        quiet=lambda: "\n".join(model.model_id for model in planned.models),
    )
    if not planned.models:
        raise typer.Exit(NOTHING_RANKED)


def _confirm(plan: RunPlan, settings: RankConfig, output: Output) -> None:
    """Ask whether a large download is wanted.

    Raises:
        ConfigError: Nobody can be asked.
    """
    if plan.download_bytes <= settings.ask_above * 1e9:
        return
    size = f"{show_bytes(plan.download_bytes)} of weights would be downloaded"
    limit = f"more than the {settings.ask_above:g} GB of --ask-above"
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several or not (output.human and sys.stdin.isatty()):
        raise ConfigError(
            f"{size}, {limit}. Add --yes to go on, or take fewer or smaller models: --top, "
            "--max-params. --plan shows them."
        )
    typer.confirm(f"{size}, {limit}. Go on?", abort=True, err=True)


def _say_what_is_read(settings: RankConfig, output: Output) -> None:
    """The first line of a run, before anything is imported that takes seconds."""
    if is_main_process():
        output.log(f"Reading  {settings.dataset}")


def _run(settings: RankConfig, token: str | None, output: Output, *, yes: bool) -> Ranking:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    _say_what_is_read(settings, output)
    from hf_sfda.cli._progress import ConsoleProgress
    from hf_sfda.pipeline import run

    send_warnings_to(output.warn if is_main_process() else None)
    with ConsoleProgress(output.stderr if output.human else None) as progress:
        return run(
            settings,
            token=token,
            progress=progress,
            log=output.log,
            directory=settings.run_directory,
            approve=lambda plan: None if yes else _confirm(plan, settings, output),
        )


def _settings(context: typer.Context, config: Path | None, values: dict[str, Any]) -> RankConfig:
    """The run's configuration: the file of --config, if any, overridden by the other options."""
    if config is None:
        return RankConfig(**values)
    typed = {
        name: value
        for name, value in values.items()
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    }
    return RankConfig.from_yaml(config, **typed)


def _models(first: list[str] | None, more: list[str] | None) -> tuple[str, ...]:
    """Join the models of ``--models a --models b`` and of ``--models a b``."""
    if more and not first:
        raise ConfigError(
            f"Unexpected argument {more[0]!r}. Datasets follow --dataset, candidates --models."
        )
    return (*(first or ()), *(more or ()))
