"""Model repositories over HTTP: own cards, pull requests to others, ``.eval_results``."""

from __future__ import annotations

import time

import pytest
import yaml
from huggingface_hub import EvalResultEntry, HfApi, ModelCard

from hf_sfda.errors import PublishError
from hf_sfda.hub.plan import execute
from hf_sfda.publish import plan_publication
from hf_sfda.publish.model_result import SOURCE, TASK_TYPE
from hf_sfda.publish.pull_request import MARKER
from tests.factories import model_files
from tests.publishing import make_ranking, save_run

TO = "me/results"
CARD = "---\nlicense: mit  # free\n---\n# A model\n"
BROKEN = "---\nlicense: mit: no\n---\n# A model\n"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    real = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: real(min(seconds, 0.01)))


@pytest.fixture
def run(tmp_path):
    return save_run(tmp_path / "run")


@pytest.fixture
def models(hub):
    """The three models of the run: one of a stranger, two of ours."""
    for name in ("acme/vit", "me/resnet", "me/noise"):
        hub.put(name, {**model_files(), "README.md": CARD})
    return hub


def publish(run, **options):
    plan = plan_publication(run, to=TO, **options)
    return plan, execute(plan, options.get("token"))


def heads(hub) -> dict[str, str]:
    return {f"{kind}/{name}": repo.head.sha for (kind, name), repo in hub.state.repos.items()}


def readme(hub, model: str, revision: str = "main") -> str:
    return hub.files(model, "model", revision)["README.md"].decode()


# -- own cards


def test_no_card_is_touched_that_was_not_named(models, run):
    before = heads(models)
    publish(run)
    after = heads(models)
    assert {name: sha for name, sha in after.items() if name in before} == before


def test_an_own_card_gets_row_and_section_and_the_hub_reads_them(models, run, api: HfApi):
    before = models.files("me/resnet")
    _, done = publish(run, cards=["me/resnet"])
    assert [one.description for one in done] == ["dataset me/results", "model me/resnet"]
    after = models.files("me/resnet")
    assert {p: c for p, c in after.items() if p != "README.md"} == {
        p: c for p, c in before.items() if p != "README.md"
    }
    text = readme(models, "me/resnet")
    assert text.startswith("---\nlicense: mit  # free\nmodel-index:\n")
    assert "# A model\n\n<!-- hf-sfda:begin me/plants:train -->\n## Transferability to" in text
    (row,) = ModelCard.load("me/resnet").data.eval_results
    assert (row.task_type, row.metric_type, row.metric_value) == (TASK_TYPE, "sfda_cv", 0.5)
    path = row.source_url.split("/blob/main/")[1].split("#")[0]
    assert path in models.files(TO, "dataset"), "the link leads to the row"
    index = api.model_info("me/resnet", expand=["model-index"]).model_index
    assert index[0]["results"][0]["source"]["name"] == SOURCE


def test_cards_twice_change_nothing(models, run):
    publish(run, cards=["me/resnet", "me/noise", "me/resnet"])
    before = heads(models)
    plan, done = publish(run, cards=["me/resnet", "me/noise"])
    assert (plan.steps, done) == ((), [])
    assert heads(models) == before


def test_a_repository_without_a_card_gets_one(models, run):
    models.put("me/bare", {"config.json": "{}"})
    save_run(run, make_ranking({"me/bare": 0.5}))
    publish(run, cards=["me/bare"])
    assert ModelCard.load("me/bare").data.eval_results[0].source_name == SOURCE


def test_the_card_of_a_stranger_needs_a_pull_request(models, run):
    with pytest.raises(PublishError, match=r"acme/vit belongs to acme.*--create-pr acme/vit"):
        publish(run, cards=["acme/vit"])
    assert "datasets/me/results" not in heads(models), "found before anything was written"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("me/gone", "me/gone is not among the Hub models"),
        ("acme/big", r"acme/big was skipped in this run \(gated"),
    ],
)
def test_a_card_of_a_model_without_a_score_is_refused(models, run, model, message):
    with pytest.raises(PublishError, match=message):
        publish(run, cards=[model])


def test_a_card_of_a_model_that_vanished_is_refused(models, run):
    models.delete("me/resnet")
    with pytest.raises(PublishError, match="model me/resnet is no longer on the Hub"):
        publish(run, cards=["me/resnet"])


def test_a_broken_card_stops_everything_before_anything_is_written(models, run):
    models.put("me/resnet", {"README.md": BROKEN})
    before = heads(models)
    with pytest.raises(PublishError, match=r"README\.md of model me/resnet .* line 2, column 13"):
        publish(run, cards=["me/resnet"])
    assert heads(models) == before


def test_a_card_that_moved_after_the_plan_is_refused_not_overwritten(models, run):
    plan = plan_publication(run, to=TO, cards=["me/resnet", "me/noise"])
    models.put("me/resnet", {"README.md": CARD + "The author was here.\n"})
    before = readme(models, "me/resnet")
    with pytest.raises(PublishError, match=r"changed by somebody else .* \(Step 2 of 3") as caught:
        execute(plan)
    assert "done before it: dataset me/results" in str(caught.value)
    assert readme(models, "me/resnet") == before
    assert readme(models, "me/noise") == CARD
    _, done = publish(run, cards=["me/resnet", "me/noise"])
    assert [one.description for one in done] == ["model me/resnet", "model me/noise"], (
        "only the rest"
    )
    assert "The author was here.\n\n<!-- hf-sfda:begin" in readme(models, "me/resnet")


@pytest.mark.parametrize("action", ["status", "drop"])
def test_a_hub_that_goes_down_half_way_is_resumed(models, run, action):
    models.faults.add(path_regex="models/me/noise/commit", method="POST", action=action, times=1)
    with pytest.raises(PublishError, match=r"Step 3 of 3; done before it: dataset me/res.*; model"):
        publish(run, cards=["me/resnet", "me/noise"])
    assert readme(models, "me/noise") == CARD
    _, done = publish(run, cards=["me/resnet", "me/noise"])
    assert [one.description for one in done] == ["model me/noise"]


def test_a_lost_answer_on_a_card_is_recognised(models, run):
    models.faults.add(path_regex="models/me/resnet/commit", method="POST", action="lose", times=1)
    _, done = publish(run, cards=["me/resnet"])
    assert done[1].commit == models.repo("me/resnet").head.sha
    assert len(models.repo("me/resnet").head.history()) == 3


def test_metadata_the_hub_refuses_is_explained(models, run):
    odd = "---\nmodel-index:\n- name: x\n  results:\n  - task: {type: ''}\n    dataset: {type: b, "
    odd += "name: c}\n    metrics:\n    - {type: d, value: 1}\n---\n# A model\n"
    models.put("me/resnet", {"README.md": odd})
    with pytest.raises(PublishError, match=r"results\[0\]\.task\.type\" is required"):
        publish(run, cards=["me/resnet"])


# -- pull requests


def test_a_stranger_gets_one_pull_request_that_is_found_and_updated(models, run, api: HfApi):
    plan, done = publish(run, create_pr="acme/vit")
    assert "opens a pull request" in plan.render()
    assert done[1].url.endswith("/acme/vit/discussions/1")
    (found,) = api.get_repo_discussions("acme/vit")
    assert (found.title, found.author, found.status) == (
        f"{MARKER} Add transferability scores",
        "me",
        "open",
    )
    assert readme(models, "acme/vit") == CARD, "main is its owner's"
    details = api.get_discussion_details("acme/vit", 1)
    assert "sfda_cv: .580 (.560 to .600), place 1 of 3" in details.events[0].content
    removed = [line for line in details.diff.splitlines() if line.startswith("-")]
    assert removed == ["--- a/README.md"]

    assert publish(run, create_pr="acme/vit")[0].steps == ()
    save_run(run, make_ranking({"acme/vit": 0.7, "me/resnet": 0.5}, created_at="2026-11-21"))
    plan, done = publish(run, create_pr="acme/vit")
    assert "one commit to your open pull request 1" in plan.render()
    assert done[1].description == "model acme/vit: pull request 1"
    assert len(models.repo("acme/vit").discussions) == 1
    assert "value: 0.7" in readme(models, "acme/vit", "refs/pr/1")
    assert readme(models, "acme/vit", "refs/pr/1").count("hf-sfda:begin") == 1

    save_run(run, make_ranking({"acme/vit": 0.3}, dataset="me/birds"))
    publish(run, create_pr="acme/vit")
    text = readme(models, "acme/vit", "refs/pr/1")
    assert "begin me/plants:train" in text
    assert "begin me/birds:train" in text
    assert len(models.repo("acme/vit").discussions) == 1


def test_other_peoples_pull_requests_are_not_ours(models, run):
    api = HfApi(token=models.account("eve"))
    api.create_pull_request("acme/vit", f"{MARKER} Add transferability scores")
    HfApi().create_pull_request("acme/vit", "Something else of mine")
    HfApi().create_discussion("acme/vit", f"{MARKER} a question")
    _, done = publish(run, create_pr="acme/vit")
    assert done[1].url.endswith("/discussions/4")


def test_a_merged_one_is_done_and_a_later_score_opens_a_new_one(models, run):
    owner = HfApi(token=models.account("acme"))
    publish(run, create_pr="acme/vit")
    owner.merge_pull_request("acme/vit", 1)
    assert publish(run, create_pr="acme/vit")[0].steps == ()
    save_run(run, make_ranking({"acme/vit": 0.7}, created_at="2026-11-21"))
    _, done = publish(run, create_pr="acme/vit")
    assert done[1].url.endswith("/discussions/2")


def test_who_said_no_is_not_asked_again(models, run):
    publish(run, create_pr="acme/vit")
    owner = HfApi(token=models.account("acme"))
    owner.change_discussion_status("acme/vit", 1, "closed")
    with pytest.raises(PublishError, match="pull request 1 on model acme/vit was closed"):
        publish(run, create_pr="acme/vit")


def test_a_conflict_with_the_owner_is_said(models, run):
    publish(run, create_pr="acme/vit")
    models.put("acme/vit", {"README.md": "---\nlicense: apache-2.0\n---\n# Renamed\n"})
    save_run(run, make_ranking({"acme/vit": 0.7}, created_at="2026-11-21"))
    plan = plan_publication(run, to=TO, create_pr="acme/vit")
    assert "which conflicts with main in README.md" in plan.render()


def test_a_lost_answer_does_not_open_a_second_one(models, run):
    models.faults.add(path_regex="models/acme/vit/commit", method="POST", action="lose", times=1)
    _, done = publish(run, create_pr="acme/vit")
    assert done[1].url.endswith("/discussions/1")
    assert len(models.repo("acme/vit").discussions) == 1
    assert publish(run, create_pr="acme/vit")[0].steps == ()


def test_a_failed_one_is_not_opened(models, run):
    models.faults.add(path_regex="models/acme/vit/commit", method="POST", status=503, times=1)
    with pytest.raises(PublishError, match="Cannot write to model acme/vit"):
        publish(run, create_pr="acme/vit")
    assert models.repo("acme/vit").discussions == []


def test_two_plans_open_one_pull_request(models, run):
    plans = [plan_publication(run, to=TO, create_pr="acme/vit") for _ in range(2)]
    execute(plans[0])
    with pytest.raises(PublishError, match="pull request 1 on model acme/vit was opened after"):
        execute(plans[1])
    assert len(models.repo("acme/vit").discussions) == 1


def test_a_pull_request_on_a_card_that_moved_is_refused(models, run):
    plan = plan_publication(run, to=TO, create_pr="acme/vit")
    models.put("acme/vit", {"README.md": CARD + "More.\n"})
    with pytest.raises(PublishError, match="changed by somebody else"):
        execute(plan)
    assert models.repo("acme/vit").discussions == []


def test_a_pull_request_to_a_gated_model_is_opened(models, run):
    models.set("acme/vit", gated="manual")
    _, done = publish(run, create_pr="acme/vit")
    assert done[1].url.endswith("/discussions/1")


@pytest.mark.parametrize("setting", ["private", "disabled"])
def test_a_pull_request_to_a_private_or_disabled_model_is_refused(models, run, setting):
    models.set("acme/vit", **{setting: True})
    with pytest.raises(PublishError, match="acme/vit"):
        publish(run, create_pr="acme/vit")


# -- .eval_results

EVAL_YAML = "name: Transfer\ntasks:\n- id: sfda_plants\n- id: sfda_birds\n"


@pytest.fixture
def benchmark(models):
    models.put("me/bench", {"eval.yaml": EVAL_YAML}, repo_type="dataset", benchmark=True)
    return models


def test_eval_results_are_read_back_by_the_hub(benchmark, run, api: HfApi):
    publish(run, cards=["me/resnet"], eval_results="me/bench:sfda_plants")
    path = ".eval_results/hf-sfda--me--bench--sfda_plants.yaml"
    (entry,) = yaml.safe_load(benchmark.files("me/resnet")[path])
    assert entry["dataset"] == {
        "id": "me/bench",
        "task_id": "sfda_plants",
        "revision": benchmark.repo("me/bench").head.sha,
    }
    (read,) = api.model_info("me/resnet", expand=["evalResults"]).eval_results
    assert read == EvalResultEntry(
        dataset_id="me/bench",
        task_id="sfda_plants",
        value=0.5,
        dataset_revision=benchmark.repo("me/bench").head.sha,
        date="2026-11-20T10:00:00+00:00",
        source_url=read.source_url,
        source_name="hf-sfda",
        notes="sfda_cv on me/plants (train), place 2 of 3, 0.4800 to 0.5200",
    )
    (place,) = api.get_dataset_leaderboard("me/bench")
    assert (place.model_id, place.value) == ("me/resnet", 0.5)
    again, _ = publish(run, cards=["me/resnet"], eval_results="me/bench:sfda_plants")
    assert again.steps == ()


def test_eval_results_and_the_card_are_one_pull_request(benchmark, run, api: HfApi):
    publish(run, create_pr="acme/vit", eval_results="me/bench:sfda_plants")
    (place,) = api.get_dataset_leaderboard("me/bench")
    assert (place.model_id, place.pull_request) == ("acme/vit", 1)


@pytest.mark.parametrize(
    ("benchmark_id", "message"),
    [
        ("me/plants", "me/plants is not a registered benchmark, so the Hub would ignore"),
        ("acme/bench", "is a benchmark of acme"),
        ("me/nothing", "There is no dataset me/nothing"),
        ("me/bench", r"has 2 tasks. Choose one: --eval-results me/bench:sfda_plants, --eval"),
        ("me/bench:x", "has no task 'x'"),
        ("me/empty", "lists no tasks"),
        ("bench", "give OWNER/BENCHMARK"),
    ],
)
def test_eval_results_are_refused_with_the_reason(benchmark, run, benchmark_id, message):
    benchmark.put("me/plants", {"x.csv": "a"}, repo_type="dataset")
    benchmark.put("me/empty", {"eval.yaml": "name: x"}, repo_type="dataset", benchmark=True)
    before = heads(benchmark)
    with pytest.raises(PublishError, match=message):
        publish(run, cards=["me/resnet"], eval_results=benchmark_id)
    assert heads(benchmark) == before


def test_a_benchmark_with_one_task_needs_no_task_named(benchmark, run):
    benchmark.put("me/bench", {"eval.yaml": "tasks:\n- id: only\n"}, repo_type="dataset")
    publish(run, cards=["me/resnet"], eval_results="me/bench")
    assert ".eval_results/hf-sfda--me--bench--only.yaml" in benchmark.files("me/resnet")


def test_eval_results_need_a_model(benchmark, run):
    with pytest.raises(PublishError, match="name them with --card or --create-pr"):
        publish(run, eval_results="me/bench")
