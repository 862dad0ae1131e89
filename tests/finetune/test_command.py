"""``hf-sfda finetune``: the command on a run that ``hf-sfda rank`` left behind, through main()."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest

from hf_sfda.cli.finetune import parse_duration
from hf_sfda.config import FinetuneConfig, ShortlistConfig
from hf_sfda.errors import ConfigError, FinetuneError, StoppedError, TargetError
from hf_sfda.finetune import shortlist
from hf_sfda.finetune.parts import Sizes
from hf_sfda.finetune.plan import most_forward_passes, most_trials, plan_finetuning
from hf_sfda.finetune.run import climb
from hf_sfda.finetune.shortlist import finetune_shortlist
from hf_sfda.finetune.train import Checkpoint, Progress
from hf_sfda.ranking.measurements import read_measurements
from hf_sfda.ranking.runs import read_ranking
from hf_sfda.report import save_ranking, sentences
from tests import factories
from tests.command import run_command
from tests.finetune.test_finetune import trial
from tests.processes import with_default_signals

ROOT = Path(__file__).parents[2]
RANK = ("--resamples", "100", "--permutations", "0", "--metrics", "knn", "--metric", "knn")
QUICK = ("--learning-rates", "1e-3", "--epochs", "1", "--batch-size", "8")
RECIPE = {"learning_rates": (1e-3,), "epochs": 1, "batch_size": 8, "min_steps": 0}


@pytest.fixture(scope="module")
def ranked(tmp_path_factory) -> Path:
    """A folder with images, three checkpoints and a run; tests copy it."""
    work = tmp_path_factory.mktemp("ranked")
    factories.image_folder(work / "shapes" / "train", n_per_class=20, classes=3)
    factories.image_folder(work / "shapes" / "test", n_per_class=7, classes=3, seed=1)
    factories.tiny_vit(work / "zoo" / "vit")
    factories.tiny_resnet(work / "zoo" / "resnet")
    factories.tiny_timm(work / "zoo" / "timm")
    run_command("rank", "--dataset", "shapes", "--models", "zoo", *RANK, "-o", "run", cwd=work)
    return work


@pytest.fixture
def work(ranked, tmp_path, monkeypatch) -> Path:
    shutil.copytree(ranked, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finetune(*arguments: str, code: int = 0) -> tuple[str, str]:
    return run_command("finetune", "run", *arguments, code=code)


def order(run: Path = Path("run")) -> list[str]:
    return [row.model_id for row in read_ranking(run).ranked]


# -- plan


def test_without_yes_nothing_is_trained_or_written(work):
    before = {path: path.read_bytes() for path in (work / "run").iterdir()}
    out, err = finetune("--top", "2", "--format", "human", *QUICK)
    first, second, third = order()
    for words in (first, second, "held out of the train split", "at most about", "finetuned.json"):
        assert words in out.replace("\n", " ")
    assert third not in out
    assert "Nothing was trained" in err
    assert {path: path.read_bytes() for path in (work / "run").iterdir()} == before

    plan = json.loads(finetune("--json", "--top", "2", *QUICK)[0])
    assert [model["model_id"] for model in plan["models"]] == [first, second]
    # Of 20 a class, 6 are the test part; of the other 14, 4 (a quarter, rounded) the validation.
    sizes = [plan["data"][name] for name in ("n_train", "n_validation", "n_test")]
    assert sizes == [30, 12, 18]
    assert plan["estimated_seconds"] == sum(m["estimated_seconds"] for m in plan["models"]) > 0
    assert plan["recipe"]["epochs"] == 1
    assert finetune("--quiet", "--top", "1")[0].split() == [first]


def test_by_default_the_command_takes_the_models_that_next_proposes(work):
    ranking = read_ranking(Path("run"))
    chosen, _ = sentences.shortlist(ranking)
    wanted = [row.model_id for row in chosen] if len(chosen) > 1 else order()[:3]
    assert finetune("--quiet")[0].split() == wanted
    p_best = iter([0.45, 0.1, 0.45, *[0.0] * len(ranking.ranked)])
    rows = tuple(
        replace(row, p_best=next(p_best)) if row.status == "ok" else row for row in ranking.rows
    )
    save_ranking(replace(ranking, rows=rows), Path("run"))
    assert finetune("--quiet")[0].split() == [order()[0], order()[2]]
    assert finetune("--quiet", "--top", "3")[0].split() == order()[:3]


def test_the_estimate_follows_from_recipe_and_speed():
    config = FinetuneConfig(learning_rates=(1e-3,), epochs=2, min_steps=0)
    work = most_forward_passes(config, Sizes(train=100, validation=10, test=50))
    assert work == 2 * (3 * 100 + 10) + 2 * 110 + 100 + 2 * 50
    five = replace(config, learning_rates=(1, 2, 3, 4, 5))
    assert most_forward_passes(five, Sizes(100, 10, 50)) > 3 * work / 2


@pytest.mark.parametrize("n", range(1, 8))
def test_most_trials_is_the_longest_climb(n):
    """Over every curve with one peak, and every curve that falls on both sides of the middle."""
    grid = [float(i + 1) for i in range(n)]
    lengths = []
    for peak in range(n):
        for tilt in (0, 0.01, -0.01):
            values = {rate: 1 - abs(i - peak) / 10 + tilt * i for i, rate in enumerate(grid)}
            lengths.append(len(climb(grid, lambda rate, v=values: trial(rate, v[rate]))))
    assert max(lengths) == most_trials(n)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("90s", 90), (None, None)]
)
def test_durations_are_read_as_seconds(text, seconds):
    assert parse_duration(text) == seconds


# -- carry out


def test_measured_accuracies_stand_beside_the_order(work):
    first, second, third = order()
    document = json.loads(finetune("--top", "2", "--yes", "--json", *QUICK)[0])
    measured = {m["model_id"]: m for m in document["finetuned"]["measurements"]}
    assert list(measured) == [first, second]
    for m in measured.values():
        assert m["accuracy"] == m["correct"].count("1") / 18
        assert m["interval"][0] < m["accuracy"] < m["interval"][1] or m["accuracy"] == 1
        assert m["learning_rate"] == 1e-3
        assert m["samples_trained"] == 30
    run = work / "run"
    assert json.loads((run / "ranking.json").read_text())["finetuned"] == document["finetuned"]
    assert not list((run / ".finetuning").glob("*/*")), "no progress is left over"

    table = pyarrow.parquet.read_table(run / "ranking.parquet").to_pylist()
    accuracies = {row["model_id"]: row["finetuned.accuracy"] for row in table}
    assert accuracies == {**{name: m["accuracy"] for name, m in measured.items()}, third: None}
    page = (run / "report.html").read_text()
    assert "Measured by fine-tuning" in page
    shown = f"{measured[first]['accuracy']:.3f}".removeprefix("0")
    assert re.search(rf'<td class="score"[^>]*>{re.escape(shown)}<', page)
    for text in ((run / "ranking.csv").read_text(), page):
        assert "finetuned" in text or "fine-tuned" in text

    # The same command again measures nothing, and writes the report again.
    (run / "report.html").unlink()
    out, _ = finetune("--top", "2", "--yes", "--format", "human", *QUICK)
    assert "fine-tuned" in out
    assert shown in out
    assert (run / "report.html").read_text() == page
    again = read_measurements(run)
    assert [m.seconds for m in again[-1].measurements] == [m["seconds"] for m in measured.values()]

    # One more model is measured on the same parts.
    out, _ = finetune("--models", f"vit,{third}", "--yes", "--quiet", *QUICK)
    assert sorted(out.split()) == sorted([first, second, third])
    assert (
        finetune("--yes", "--format", "agent", *QUICK)[0]
        .splitlines()[0]
        .endswith("\tfinetuned\tfinetuned_low\tfinetuned_high")
    )


def test_a_run_without_measurements_shows_none(work):
    assert "finetuned" not in (work / "run/ranking.json").read_text()
    assert "finetuned" not in (work / "run/ranking.csv").read_text()
    assert "Measured by fine-tuning" not in (work / "run/report.html").read_text()


def test_ranking_again_keeps_measurements_of_the_same_samples_only(work):
    finetune("--top", "1", "--yes", *QUICK)
    measured = read_ranking(work / "run").finetuned
    command = ("rank", "--dataset", "shapes", "--models", "zoo", *RANK, "-o", "run")
    run_command(*command, "--samples", "30")
    assert read_ranking(work / "run").finetuned is None
    out, _ = run_command(*command, "--format", "human")
    assert "fine-tuned" in out
    assert read_ranking(work / "run").finetuned.to_dict() == measured.to_dict()


def test_measurements_by_another_recipe_are_not_mixed(work):
    finetune("--top", "2", "--yes", *QUICK)
    finetune("--top", "1", "--yes", *QUICK, "--seed", "1")
    shown = read_ranking(work / "run").finetuned
    assert len(shown.measurements) == 1
    assert shown.recipe["seed"] == 1
    finetune("--top", "2", "--yes", *QUICK)
    shown = read_ranking(work / "run").finetuned
    assert len(shown.measurements) == 2
    assert shown.recipe["seed"] == 0
    assert [len(s.measurements) for s in read_measurements(work / "run")] == [1, 2]


def test_texts_are_cut_to_the_length_that_was_ranked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = factories.text_dataset(n_per_class=16, classes=3)
    data.to_csv("topics.csv")
    factories.tiny_bert("zoo/a")
    factories.tiny_bert("zoo/b", seed=1)
    options = ("--max-length", "24", *RANK)
    run_command("rank", "--dataset", "topics.csv", "--models", "zoo", *options, "-o", "run")
    document = json.loads(finetune("--yes", "--json", *QUICK)[0])
    assert document["recipe"]["max_length"] == 24
    assert len(document["finetuned"]["measurements"]) == 2


def test_models_and_dataset_are_read_at_the_commits_that_were_ranked(hub, tmp_path, monkeypatch):
    from huggingface_hub import HfApi

    monkeypatch.chdir(tmp_path)
    factories.image_dataset(n_per_class=16, classes=3).push_to_hub("me/shapes", split="train")
    api = HfApi()
    for name, make in (("vit", factories.tiny_vit), ("timm", factories.tiny_timm)):
        api.create_repo(f"me/{name}")
        api.upload_folder(repo_id=f"me/{name}", folder_path=make(tmp_path / name))
    models = ("me/vit", "me/timm")
    run_command("rank", "--dataset", "me/shapes", "--models", *models, *RANK, "-o", "run")
    # Both move on; what was ranked is measured.
    api.upload_folder(repo_id="me/vit", folder_path=factories.tiny_vit(tmp_path / "new", seed=5))
    factories.image_dataset(n_per_class=5, classes=3, seed=9).push_to_hub(
        "me/shapes", split="train"
    )
    document = json.loads(finetune("--yes", "--json", *QUICK)[0])
    revisions = {row.model_id: row.revision for row in read_ranking(Path("run")).ranked}
    measured = {m["model_id"]: m["revision"] for m in document["finetuned"]["measurements"]}
    assert measured == revisions
    assert document["data"]["n_test"] == 15


def test_the_test_split_is_read_only_if_it_is_asked_for(work):
    held_out = json.loads(finetune("--json")[0])["data"]
    assert (held_out["test"], held_out["n_test"]) == ("held out", 18)
    asked = json.loads(finetune("--json", "--test-split")[0])["data"]
    assert (asked["test"], asked["n_test"]) == ("test split", 21)
    assert asked["n_train"] == 45, "all samples but those that choose are trained on"
    assert "its own test split" in finetune("--test-split", "--format", "agent")[0]
    shutil.rmtree(work / "shapes" / "test")
    assert json.loads(finetune("--json")[0])["data"] == held_out
    _, err = finetune("--test-split", code=1)
    assert "test" in err


def test_another_sample_size_is_divided_into_the_three_parts(work):
    plan = json.loads(finetune("--json", "--samples", "30")[0])
    assert [plan["data"][n] for n in ("n_train", "n_validation", "n_test")] == [15, 6, 9]


# -- kill, budget, failures


def launch(*arguments: str, first: str = "") -> int:
    """Start the command in a Python of its own, after the code ``first``; returns its process."""
    code = f"import sys; {first}; from hf_sfda.cli import main; sys.argv[0] = 'hf-sfda'; main()"
    return os.posix_spawn(
        sys.executable,
        with_default_signals([sys.executable, "-c", code, *arguments]),
        {**os.environ, "PYTHONPATH": str(ROOT)},
        file_actions=[(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_WRONLY, 0) for n in (1, 2)],
    )


def fork(*arguments: str, first: str = "") -> int:
    """Run the command in a copy of this process, which has imported torch already."""
    pid = os.fork()
    if pid == 0:
        try:
            exec(first)
            run_command(*arguments)
        finally:
            os._exit(0)
    return pid


def die_in_the_second_model() -> None:
    """From now on, this process kills itself when it has saved progress of the second model."""
    plain = Checkpoint.save

    def save(self: Checkpoint, current: Progress | None) -> None:
        plain(self, current)
        if Path("run/finetuned.json").exists():
            os.kill(os.getpid(), signal.SIGKILL)

    Checkpoint.save = save


@pytest.mark.parametrize("launched", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_killed_command_resumes_where_it_was(work, launched):
    recipe = ("--learning-rates", "1e-3", "--epochs", "2", "--batch-size", "8")
    undisturbed = work / "undisturbed"
    shutil.copytree(work / "run", undisturbed)
    command = ("finetune", "run", "--top", "2", "--yes", *recipe)
    first = f"from {__name__} import die_in_the_second_model as die; die()"
    pid = (launch if launched else fork)(*command, first=first)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    run = work / "run"
    assert any(run.glob(".finetuning/*/finetune.pt"))
    [before] = read_measurements(run)[-1].measurements
    assert read_ranking(run).finetuned.measurements == (before,), "the report is already there"
    finetune("--top", "2", "--yes", *recipe)
    first, second = read_ranking(run).finetuned.measurements
    assert first == before
    run_command("finetune", str(undisturbed), "--top", "2", "--yes", *recipe)
    whole = read_ranking(undisturbed).finetuned.measurements
    for measured, expected in zip((first, second), whole, strict=True):
        assert replace(measured, seconds=0) == replace(expected, seconds=0)


class Clock:
    """Seconds that pass by one a call."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_the_time_budget_ends_training_and_keeps_what_is_measured(work):
    # A model takes 2 + 8 questions: before it, and before each of its 4 steps of 2 epochs.
    recipe = {**RECIPE, "epochs": 2}
    plan = plan_finetuning("run", ShortlistConfig(time_budget=13), recipe)
    outcome = finetune_shortlist(plan, clock=Clock())
    first, second, third = order()
    assert [m.model_id for m in outcome.finetuned.measurements] == [first]
    assert outcome.out_of_time == (second, third)
    assert not outcome.failed
    assert list((work / "run").glob(".finetuning/*/finetune.pt")) or outcome.out_of_time
    rest = plan_finetuning("run", None, recipe)
    assert [model.row.model_id for model in rest.missing] == [second, third]
    whole = finetune_shortlist(rest)
    assert [m.model_id for m in whole.finetuned.measurements] == [first, second, third]
    assert whole.finetuned.measurements[0] == outcome.finetuned.measurements[0]


def test_a_model_that_fails_is_named_with_its_reason_and_the_others_are_measured(work, monkeypatch):
    plain = shortlist.finetune
    first, second, third = order()

    def replaced(candidate, *arguments, **options):
        if candidate.model_id == first:
            raise FinetuneError("a single sample does not fit in memory")
        if candidate.model_id == second:
            raise StoppedError("stopped in epoch 1")
        return plain(candidate, *arguments, **options)

    monkeypatch.setattr(shortlist, "finetune", replaced)
    out, err = finetune("--yes", "--json", "--top", "3", *QUICK)
    document = json.loads(out)
    assert document["failed"] == {first: "a single sample does not fit in memory"}
    assert document["out_of_time"] == [second]
    assert [m["model_id"] for m in document["finetuned"]["measurements"]] == [third]
    err = " ".join(err.split())
    assert f"{first} was not fine-tuned: a single sample does not fit in memory" in err
    assert "The time budget is over" in err
    _, err = finetune("--yes", "--models", first, "--seed", "1", *QUICK, code=1)
    assert "was not fine-tuned" in " ".join(err.split())


def test_a_checkpoint_that_changed_or_is_gone_is_not_measured(work):
    first, second, _ = order()
    shutil.rmtree(first)
    factories.write_card(second, license="mit")
    weights = work / second / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    plan = json.loads(finetune("--json")[0])
    reasons = {model["model_id"]: model["reason"] for model in plan["models"]}
    assert "run the command where the models were ranked" in reasons[first]
    assert "has changed since it was ranked" in reasons[second]
    assert "cannot be fine-tuned: the folder is not here" in finetune("--format", "agent")[0]


def test_two_commands_do_not_work_in_one_run(work):
    from filelock import FileLock

    (work / "run/.finetuning").mkdir()
    with FileLock(work / "run/.finetuning/lock"):
        _, err = finetune("--yes", *QUICK, code=2)
    assert "Another `hf-sfda finetune` is at work" in err


def test_a_file_that_is_no_measurements_is_not_overwritten(work):
    (work / "run/finetuned.json").write_text('{"schema_version": 7}')
    _, err = finetune(code=2)
    assert "its schema version is 7" in err
    command = ("rank", "--dataset", "shapes", "--models", "zoo", *RANK, "-o", "run")
    _, err = run_command(*command)
    assert "Warning" in err
    assert read_ranking(work / "run").ranked, "a run does not lose its ranking because of it"
    assert (work / "run/finetuned.json").read_text() == '{"schema_version": 7}'


# -- refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--models", "acme/none"), "There is no acme/none in this ranking"),
        (("--time-budget", "soon"), "give a duration such as 30m"),
        (("--time-budget", "0m"), "more than 0 seconds"),
        (("--learning-rates", "high"), "give numbers separated by commas"),
        (("--learning-rates", "-1"), "one or more positive numbers"),
        (("--samples", "1"), "it must be at least 2"),
    ],
)
def test_wrong_options_are_refused(work, arguments, message):
    assert message in " ".join(finetune(*arguments, code=2)[1].split())


def test_a_ranked_test_split_is_refused_as_test_part(work):
    path = work / "run/ranking.json"
    document = json.loads(path.read_text())
    document["dataset"]["split"] = "test"
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="ranked the test split"):
        plan_finetuning("run", ShortlistConfig(test_split=True))
    _, err = run_command("finetune", "nothing", code=2)
    assert "Give the directory that `hf-sfda rank` wrote" in err


def test_a_dataset_that_changed_or_is_too_small_is_refused(work):
    with pytest.raises(TargetError, match="too few to divide"):
        plan_finetuning("run", ShortlistConfig(samples=6), {"test_share": 0.1})
    next((work / "shapes/train").rglob("*.png")).unlink()
    _, err = finetune(code=1)
    assert "is no longer what was ranked" in err
