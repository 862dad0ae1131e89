"""The results dataset: files are only added; the card has the leaderboards of all runs.

The scores of a run are one file. What is known about fine-tuning comes in further files, in a
folder and a configuration of its own (:mod:`hf_sfda.publish.finetuning_rows`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import PublishError
from hf_sfda.hub import hub_url
from hf_sfda.hub.access import (
    Account,
    Repo,
    download_files,
    find_head,
    list_files,
    read_file,
    require_own,
)
from hf_sfda.hub.changes import FileChange
from hf_sfda.hub.commit import Commit
from hf_sfda.publish import finetuning_rows, rows
from hf_sfda.publish.cards import render_card
from hf_sfda.publish.edits import add_key, extend_list, has_section, parse_card, put_section
from hf_sfda.publish.leaderboards import make_leaderboards, to_ranking
from hf_sfda.publish.row_files import Row
from hf_sfda.publish.rows import Run
from hf_sfda.publish.track_record import summary, track_record
from hf_sfda.report import measured
from hf_sfda.versions import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_FINETUNING_FOLDERS = (finetuning_rows.FOLDER, finetuning_rows.OTHER_FOLDER)
_FOLDERS = rf"(?:{'|'.join((rows.FOLDER, *_FINETUNING_FOLDERS))})"
_OURS = re.compile(rf"{_FOLDERS}/[^/]+/[0-9a-f]{{16}}\.parquet|leaderboard/.+")


def _config(name: str, folder: str) -> dict[str, Any]:
    """A configuration of the dataset: what ``load_dataset(repo, name)`` reads."""
    files = [{"split": "train", "path": f"{folder}/**/*.parquet"}]
    return {"config_name": name, "data_files": files}


CONFIGS = [_config("default", rows.FOLDER)]
_SECTION = "results"

# Files that a repository may hold before the first results. Any other file is somebody's data.
_HARMLESS = re.compile(r"\..*|[^/]*(?:\.md|\.ya?ml)|LICEN[CS]E[^/]*|CITATION[^/]*", re.IGNORECASE)


def check_results_repo(api: HfApi, me: Account, repo: Repo) -> None:
    """Check that we own the results dataset and may write to it.

    Raises:
        PublishError: Somebody else owns it, or the token may not write.
    """
    instead = f"Publish results to a dataset of your own: --to {me.name}/results"
    require_own(api, me, repo, instead)


def plan_results(
    api: HfApi, repo: Repo, run: Run, finetuning: Sequence[Row] = (), *, private: bool = False
) -> Commit | None:
    """Plan the commit that adds a run, or return ``None`` if the dataset holds all of it already.

    If somebody else commits first, the commit is planned again on top. This is safe, because the
    rows are in a file of their own and the card is computed from all rows.

    Args:
        api: The Hub client.
        repo: The results dataset; it need not exist.
        run: The run to add.
        finetuning: Its rows about fine-tuning.
        private: Whether a new repository is private.

    Raises:
        PublishError: The repository is not a results dataset, has rows of a newer hf-sfda, or its
            card has a YAML style that cannot be extended.
    """
    head = find_head(api, repo)
    paths = list_files(api, repo, head) if head else []
    readme = read_file(api, repo, "README.md", head) if head and "README.md" in paths else None
    require_results_dataset(repo, paths, readme)
    scores, there = load_results(api, repo, head, paths)
    if run.path not in paths:
        scores += run.rows
    new = missing(finetuning, there)
    after = results_card(repo, readme, scores, [*there, *new])
    files = run_files(run, paths, new)
    if after != readme:
        files.append(FileChange("README.md", readme, after))
    if not files:
        return None
    return Commit(
        repo=repo,
        parent=head,
        files=tuple(files),
        message=_message(run, new, is_new=run.path not in paths),
        description=f"Run {run.digest}, written by hf-sfda {__version__}.",
        private=private,
        rebuild=lambda api: plan_results(api, repo, run, finetuning, private=private),
    )


def run_files(run: Run, paths: Collection[str], new: Sequence[Row]) -> list[FileChange]:
    """The files that add a run.

    Args:
        run: The run.
        paths: The paths of the files that are there.
        new: Its rows about fine-tuning that are not there.
    """
    files = []
    if run.path not in paths:
        preview = _preview(run.rows, _PREVIEW)
        files.append(FileChange(run.path, None, run.parquet(), preview=preview))
    for folder in _FINETUNING_FOLDERS:
        if own := [row for row in new if finetuning_rows.folder_of(row) == folder]:
            content = finetuning_rows.dump_finetuning(own, folder)
            preview = _preview(own, _FINETUNING_PREVIEWS[folder])
            files.append(FileChange(finetuning_rows.path_of(own), None, content, preview=preview))
    return files


def missing(rows: Iterable[Row], there: Iterable[Row]) -> list[Row]:
    """The rows about fine-tuning that are not there yet."""
    known = {row["id"] for row in there}
    return [row for row in rows if row["id"] not in known]


def load_results(
    api: HfApi, repo: Repo, sha: str | None, paths: Sequence[str] | None = None
) -> tuple[list[Row], list[Row]]:
    """Load all rows of a results dataset at a commit.

    Args:
        api: The Hub client.
        repo: The results dataset.
        sha: The commit; ``None`` if there is none, and so no row.
        paths: The paths of its files, if the caller has listed them.

    Returns:
        The rows of scores, and those about fine-tuning.

    Raises:
        PublishError: hf-sfda did not write one of the files, or a newer version did.
    """
    if sha is None:
        return [], []
    if paths is None:
        paths = list_files(api, repo, sha)
    ours = [path for path in paths if path.endswith(".parquet")]
    folders = (rows.FOLDER, *_FINETUNING_FOLDERS)
    if not any(path.startswith(tuple(f"{folder}/" for folder in folders)) for path in ours):
        return [], []
    local = download_files(api, repo, [f"{folder}/*.parquet" for folder in folders], sha)

    def read(folder: str, read_one: Callable[[Path, str], list[Row]]) -> list[Row]:
        paths = [path for path in ours if path.startswith(f"{folder}/")]
        return [row for path in paths for row in read_one(local / path, f"{path} of {repo.id}")]

    finetuning = [
        row
        for folder in _FINETUNING_FOLDERS
        for row in read(folder, partial(finetuning_rows.read_finetuning, folder=folder))
    ]
    return read(rows.FOLDER, rows.read_results), finetuning


def require_results_dataset(repo: Repo, paths: list[str], readme: bytes | None) -> None:
    """Check that a dataset is empty or holds results: never write into a dataset with other data.

    Args:
        repo: The dataset.
        paths: The paths of its files.
        readme: Its card.

    Raises:
        PublishError: It holds other files, for example the data that was ranked on.
    """
    if has_section(readme, _SECTION):
        return
    foreign = [p for p in paths if not _HARMLESS.fullmatch(p) and not _OURS.fullmatch(p)]
    if foreign:
        raise PublishError(
            f"{repo} is not a results dataset: it holds {foreign[0]}"
            + (f" and {len(foreign) - 1} more files" if len(foreign) > 1 else "")
            + f". Publish to a repository of its own, such as --to {repo.namespace}/results"
        )


def holds_results(api: HfApi, repo: Repo, sha: str) -> bool:
    """Whether a dataset is a results dataset: its card has our section."""
    return has_section(read_file(api, repo, "README.md", sha), _SECTION)


def results_card(
    repo: Repo, readme: bytes | None, scores: Sequence[Row], finetuning: Sequence[Row]
) -> bytes:
    """The card with the leaderboards of all rows; text of others in the card stays.

    Args:
        repo: The results dataset.
        readme: Its card; ``None`` if it has none.
        scores: All rows of scores.
        finetuning: All rows about fine-tuning.
    """
    record = track_record(scores, finetuning)
    used = {finetuning_rows.folder_of(row) for row in finetuning}
    section = render_card(
        "results_section",
        repo=repo.id,
        leaderboards=make_leaderboards(scores, finetuning),
        sentences=lambda leaderboard: measured.summary(to_ranking(leaderboard)),
        record=record and summary(record),
        finetuning=[folder for folder in _FINETUNING_FOLDERS if folder in used],
        hub=hub_url(),
    )
    configs = [*CONFIGS, *(_config(f, f) for f in _FINETUNING_FOLDERS if f in used)]
    if readme is None or not readme.strip():
        front = render_card("results_dataset", repo=repo.id, configs=configs)
        readme = front.encode()
    card = parse_card(readme, f"README.md of {repo}")
    if "configs" not in card.data:
        card = add_key(card, "configs", configs)
    for config in configs:
        path = config["data_files"][0]["path"]
        if path in str(card.data["configs"]):
            continue
        if config in CONFIGS:
            raise PublishError(
                f"README.md of {repo} sets `configs` to something else. It is left as it is; add "
                f"`{path}` to it, or publish to a repository of its own."
            )
        card = extend_list(card, "configs", [config])
    body = put_section(card, _SECTION, section)
    return str(replace(card, body=body)).encode()


_PREVIEW = ("model", "status", "metric", "value", "low", "high", "rank", "reason")
_FINETUNING_PREVIEWS = {
    finetuning_rows.FOLDER: ("model", "kind", "rank", "expected_regret", "accuracy", "low", "high"),
    finetuning_rows.OTHER_FOLDER: ("model", "kind", "rank", "measure", "value", "low", "high"),
}


def _preview(rows: Iterable[Row], columns: Sequence[str]) -> tuple[str, ...]:
    """Rows as lines of text, for the diff: the file itself is binary."""
    lines = ["\t".join(columns)]
    for row in rows:
        cells = ("" if row[name] is None else row[name] for name in columns)
        lines.append(
            "\t".join(f"{value:.4f}" if isinstance(value, float) else str(value) for value in cells)
        )
    return tuple(lines)


def _message(run: Run, new: Sequence[Row], *, is_new: bool) -> str:
    measures = {row["measure"] or "accuracy" for row in new if row["kind"] == "measured"}
    n, dataset = sum(row["kind"] == "measured" for row in new), run.rows[0]["dataset"]
    if is_new:
        return f"Add {len(run.ranking.rows)} candidates on {dataset}"
    if n:
        singular, plural = (
            ("accuracy", "accuracies") if measures == {"accuracy"} else ("value", "values")
        )
        return f"Add {n} measured {singular if n == 1 else plural} on {dataset}"
    return f"Add what was predicted on {dataset}"
