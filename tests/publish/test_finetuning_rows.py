"""Measured accuracies in a results dataset: added once, beside scores that old readers read."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import yaml

from hf_sfda.errors import PublishError
from hf_sfda.hub import hub_api
from hf_sfda.hub.access import Repo, find_head
from hf_sfda.hub.plan import execute
from hf_sfda.publish import plan_publication
from hf_sfda.publish.finetuning_rows import (
    FOLDER,
    dump_finetuning,
    finetuning_rows,
    read_finetuning,
    schema,
)
from hf_sfda.publish.leaderboards import make_leaderboards, to_ranking
from hf_sfda.publish.results_dataset import load_results
from hf_sfda.publish.rows import make_run
from hf_sfda.ranking.measurements import measured_times
from hf_sfda.report.measured import summary
from tests.publishing import finetuned, make_ranking, ok_row, save_measured, save_run, sha_of

REPO = "me/results"
MEASURED_AT = "2026-11-21T08:00:00+00:00"

# The columns of schema version 1. Whoever reads the scores relies on them.
SCORES = """run created_at model model_revision model_source status reason dataset dataset_revision
dataset_config dataset_split dataset_fingerprint task n n_classes metric value low high confidence
ranked_by rank rank_low rank_high tie_group p_best noise_floor extractor view feature_dim
feature_key seed config_fingerprint config tool_version versions warnings params download_bytes
samples_per_second license downloads""".split()


def calibrated(**options):
    """A ranking with expected regrets."""
    ranking = make_ranking(**options)
    regrets = {1: 0.4, 2: 2.5, 3: 20.0}
    rows = (replace(row, expected_regret=regrets.get(row.rank)) for row in ranking.rows)
    return replace(ranking, rows=tuple(rows))


@pytest.fixture
def run(tmp_path):
    """A run of which two models were fine-tuned."""
    ranking = calibrated()
    folder = save_run(tmp_path / "run", ranking)
    return save_measured(folder, finetuned(ranking, {"acme/vit": 80, "me/resnet": 86}), MEASURED_AT)


def publish(run, **options):
    plan = plan_publication(run, to=REPO, **options)
    return plan, execute(plan)


def parquet_files(hub, folder: str) -> dict[str, bytes]:
    files = hub.files(REPO, "dataset")
    return {p: c for p, c in files.items() if p.startswith(folder) and p.endswith(".parquet")}


def loaded(hub):
    api, repo = hub_api(hub.token), Repo(REPO, "dataset")
    return load_results(api, repo, find_head(api, repo))


# -- what is written


def test_the_plan_shows_the_measured_rows(hub, run):
    text = plan_publication(run, to=REPO).render()
    assert "new     finetuning/me--plants/" in text
    assert "+acme/vit\tpredicted\t1\t0.4000" in text
    assert "+me/resnet\tmeasured\t2\t2.5000\t0.8600\t0.7786\t0.9147" in text
    assert "+| 2 | [me/resnet](" in text


def test_a_measured_row_says_what_was_measured_how_and_what_was_predicted(hub, run):
    from datasets import load_dataset

    publish(run)
    data = load_dataset(REPO, "finetuning", split="train")
    assert data.column_names == schema(FOLDER).names
    rows = {(row["model"], row["kind"]): row for row in data}
    assert set(rows) == {
        *((name, "predicted") for name in ("acme/vit", "me/resnet", "me/noise")),
        *((name, "measured") for name in ("acme/vit", "me/resnet")),
    }
    row = rows["me/resnet", "measured"]
    assert row["model_revision"] == sha_of("me/resnet")
    assert (row["accuracy"], row["n_test"]) == (0.86, 100)
    assert row["correct"] == "1" * 86 + "0" * 14
    assert (row["low"], row["high"]) == pytest.approx((0.7786, 0.9147), abs=1e-4)
    assert (row["learning_rate"], row["seconds"], row["device"]) == (3e-4, 90.0, "cpu")
    assert json.loads(row["versions"])["torch"] == "2.13.0"
    assert (row["recipe_version"], json.loads(row["recipe"])) == ("0.1", {"seed": 0})
    assert json.loads(row["parts"])["n_train"] == 300
    assert row["measured_at"].isoformat() == MEASURED_AT
    assert (row["candidates"], row["rank"], row["rank_low"], row["rank_high"]) == (3, 2, 2, 3)
    assert (row["p_best"], row["expected_regret"]) == (0.1, 2.5)
    scores = load_dataset(REPO, split="train").to_pandas()
    same = scores[(scores.run == row["run"]) & (scores.model == "me/resnet")].iloc[0]
    for column in ("dataset", "dataset_revision", "dataset_fingerprint", "config_fingerprint"):
        assert row[column] == same[column]
    predicted = rows["me/noise", "predicted"]
    assert (predicted["expected_regret"], predicted["accuracy"]) == (20.0, None)


def test_publishing_twice_changes_nothing_and_a_new_measurement_is_added(hub, run):
    publish(run)
    head = hub.repo(REPO).head.sha
    plan, done = publish(run)
    assert (plan.steps, done, hub.repo(REPO).head.sha) == ((), [], head)
    before = hub.files(REPO, "dataset")
    ranking = calibrated()
    right = {"acme/vit": 80, "me/resnet": 86, "me/noise": 30}
    save_measured(run, finetuned(ranking, right), "2026-11-22T08:00:00+00:00")
    plan, _ = publish(run)
    (step,) = plan.steps
    assert step.message == "Add 1 measured accuracy on me/plants"
    after = hub.files(REPO, "dataset")
    assert {p: after[p] for p in before if p != "README.md"} == {
        p: c for p, c in before.items() if p != "README.md"
    }
    (path,) = set(after) - set(before)
    (row,) = pq.read_table(io.BytesIO(after[path])).to_pylist()
    assert (row["model"], row["accuracy"]) == ("me/noise", 0.3)
    assert publish(run)[0].steps == ()


def test_a_run_without_calibration_and_measurements_has_no_such_file(hub, tmp_path):
    publish(save_run(tmp_path / "run"))
    assert parquet_files(hub, "finetuning/") == {}
    card = hub.files(REPO, "dataset")["README.md"].decode()
    assert "finetuning" not in card
    assert [c["config_name"] for c in yaml.safe_load(card.split("---")[1])["configs"]] == [
        "default"
    ]


def test_measurements_of_other_samples_and_of_models_not_ranked_are_left_out():
    ranking = calibrated()
    mine = finetuned(ranking, {"acme/vit": 80})
    other_revision = replace(mine.measurements[0], revision="0" * 40)
    settings = [replace(mine, ranked="others"), replace(mine, measurements=(other_revision,))]
    rows = finetuning_rows(make_run(ranking), settings)
    assert {row["kind"] for row in rows} == {"predicted"}


def test_no_path_of_this_machine_is_published_and_equal_names_are_kept_apart():
    rows = tuple(
        ok_row(f"/home/bob/{folder}/vit", rank, 0.5, revision=f"sha256:{rank}")
        for rank, folder in enumerate(("a", "b"), 1)
    )
    ranking = make_ranking({}, extra_rows=rows)
    settings = finetuned(ranking, {"/home/bob/a/vit": 80, "/home/bob/b/vit": 70})
    found = finetuning_rows(make_run(ranking), [settings])
    assert [(r["model"], r["model_revision"], r["accuracy"]) for r in found] == [
        ("vit", "sha256:1", 0.8),
        ("vit", "sha256:2", 0.7),
    ]
    assert "/home/bob" not in json.dumps(found)


def test_times_come_from_the_journal_and_broken_lines_do_not_matter(tmp_path):
    lines = [
        {"time": MEASURED_AT, "event": "finetuned", "model": "a", "accuracy": 0.5},
        {"time": "yesterday", "event": "finetuned", "model": "b", "accuracy": 0.5},
        {"time": MEASURED_AT, "event": "finetuned", "model": "c"},
        {"time": MEASURED_AT, "event": "ranked"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"time": "2026'
    (tmp_path / "journal.jsonl").write_text(text)
    assert measured_times(tmp_path) == {("a", 0.5): MEASURED_AT}
    assert measured_times(tmp_path / "none") == {}


def test_measured_accuracies_that_cannot_be_read_stop_the_publication(hub, run):
    (run / "finetuned.json").write_text("{")
    with pytest.raises(PublishError, match=r"finetuned\.json is not what this version"):
        publish(run)


# -- who reads it


def test_readers_of_the_first_schema_see_the_scores_and_nothing_else(hub, run, tmp_path):
    """`load_dataset` without a configuration, and the files of an older hf-sfda."""
    from datasets import load_dataset

    publish(save_run(tmp_path / "old", make_ranking(dataset="me/birds")))
    publish(run)
    data = load_dataset(REPO, split="train")
    assert data.column_names == SCORES
    assert (len(data), set(data["dataset"])) == (22, {"me/birds", "me/plants"})
    assert load_dataset(REPO)["train"].num_rows == 22
    for content in parquet_files(hub, "data/").values():
        stored = pq.read_schema(io.BytesIO(content))
        assert stored.metadata[b"hf_sfda.schema_version"] == b"1"
        assert stored.names == SCORES
    (new,) = parquet_files(hub, "finetuning/").values()
    assert pq.read_schema(io.BytesIO(new)).metadata[b"hf_sfda.schema_version"] == b"2"


def test_a_card_of_the_first_schema_gets_the_new_configuration(hub, run, tmp_path):
    publish(save_run(tmp_path / "old"))
    before = hub.files(REPO, "dataset")["README.md"].decode()
    publish(run)
    after = hub.files(REPO, "dataset")["README.md"].decode()
    configs = yaml.safe_load(after.split("---")[1])["configs"]
    assert configs[0] == yaml.safe_load(before.split("---")[1])["configs"][0]
    assert configs[1] == {
        "config_name": "finetuning",
        "data_files": [{"split": "train", "path": "finetuning/**/*.parquet"}],
    }


def test_old_and_new_rows_make_leaderboards_together(hub, run, tmp_path):
    publish(save_run(tmp_path / "old", make_ranking(dataset="me/birds")))
    publish(run)
    birds, plants = make_leaderboards(*loaded(hub))
    assert (birds.finetuned, birds.predicted) == (None, False)
    assert [entry.expected_regret for entry in plants.entries] == [0.4, 2.5, 20.0]
    back = to_ranking(plants)
    assert back.rows == calibrated().rows
    assert (
        back.finetuned.measurements
        == finetuned(calibrated(), {"acme/vit": 80, "me/resnet": 86}).measurements
    )
    assert "The first pick, acme/vit, cost 6.0 points" in summary(back)[0]


def test_the_card_shows_measured_beside_predicted_and_the_hit_rate(hub, run):
    publish(run)
    card = hub.files(REPO, "dataset")["README.md"].decode()
    assert (
        "| # | model | sfda_cv | 95% interval | fine-tuned | 95% interval | P(best) | behind |"
        in (card)
    )
    row = next(line for line in card.splitlines() if line.startswith("| 2 | [me/resnet]"))
    assert "| .500 | .480 to .520 | .860 | .779 to .915 | .10 | 2.5 points |" in row
    assert "| .120 | .100 to .140 |  |  | .10 | 20.0 points |" in card
    assert (
        "**Hit rate.** The first pick was the best of the fine-tuned models on 0 of 1 dataset "
        "(95% .000 to .793). Picks at random among these models are expected to be the best on "
        "0.5. The first pick cost 6.0 points of accuracy on average. Misses within the noise of "
        "the test samples: 0 of 1."
    ) in card
    assert (
        "me/resnet is the best of the 2 fine-tuned models: .860 (.779 to .915) test accuracy. "
        "The first pick, acme/vit, cost 6.0 points"
    ) in card
    assert "Fine-tuned on 300 samples; the accuracy is of 100 others, held out" in card
    assert 'load_dataset("me/results", "finetuning", split="train")' in card


def test_expected_regrets_of_several_runs_are_not_mixed():
    first = calibrated(scores={"acme/vit": 0.5})
    second = calibrated(scores={"me/resnet": 0.6}, created_at="2026-11-22T10:00:00+00:00")
    runs = [make_run(first), make_run(second)]
    (board,) = make_leaderboards(
        [row for run in runs for row in run.rows],
        [row for run in runs for row in finetuning_rows(run)],
    )
    assert board.n_runs == 2
    assert not board.predicted


# -- bad input


def changed(column: str, value: object) -> bytes:
    ranking = calibrated()
    rows = finetuning_rows(make_run(ranking), [finetuned(ranking, {"acme/vit": 80})])
    return dump_finetuning([{**row, column: value} for row in rows])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("kind", "guessed"),
        ("accuracy", None),
        ("accuracy", 0.9),
        ("correct", "1" * 99),
        ("correct", "x" * 100),
        ("recipe", "[]"),
        ("parts", "{}"),
        ("recipe_version", "7.0"),
        ("versions", "{"),
    ],
)
def test_a_row_that_somebody_changed_is_refused(tmp_path, column, value):
    path = tmp_path / "x.parquet"
    path.write_bytes(changed(column, value))
    with pytest.raises(PublishError, match="somebody changed it"):
        read_finetuning(path, "x.parquet")


def test_other_tables_in_the_folder_are_refused_and_nothing_is_written(hub, run, tmp_path):
    publish(run)
    hub.put(
        REPO,
        {"finetuning/x/0123456789abcdef.parquet": make_run(make_ranking()).parquet()},
        repo_type="dataset",
    )
    head = hub.repo(REPO).head.sha
    with pytest.raises(PublishError, match="does not have the columns"):
        publish(save_run(tmp_path / "b", make_ranking(dataset="me/birds")))
    assert hub.repo(REPO).head.sha == head
