"""A collection of the top of a run, over HTTP."""

from __future__ import annotations

import time

import pytest
from huggingface_hub import HfApi

from hf_sfda.errors import PublishError
from hf_sfda.hub.plan import execute
from hf_sfda.publish import plan_publication
from tests.publishing import make_ranking, ok_row, save_run

TO, TITLE = "me/results", "For plants"
SCORES = {"acme/vit": 0.58, "me/resnet": 0.5, "me/noise": 0.12, "acme/mid": 0.3}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    real = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: real(min(seconds, 0.01)))


@pytest.fixture
def models(hub):
    for name in (*SCORES, "acme/other"):
        hub.put(name, {"README.md": "# Hi"})
    return hub


@pytest.fixture
def run(tmp_path):
    return save_run(tmp_path / "run", make_ranking(SCORES))


def publish(run, **options):
    plan = plan_publication(run, to=TO, **{"collection": TITLE, **options})
    return plan, execute(plan)


def contents(api: HfApi, title: str = TITLE) -> list[tuple[str, str | None]]:
    (slug,) = [c.slug for c in api.list_collections(owner="me") if c.title == title]
    return [(item.item_id, item.note) for item in api.get_collection(slug).items]


def ids(api: HfApi) -> list[str]:
    return [name for name, _ in contents(api)]


def test_a_collection_holds_the_best_models_in_order_with_their_scores(models, run, api):
    plan, done = publish(run, top=3)
    assert "a new collection 'For plants' of me" in plan.render()
    assert "+acme/vit  hf-sfda #1: sfda_cv .580" in plan.render()
    assert done[1].url.startswith(f"{models.url}/collections/me/for-plants-")
    assert contents(api) == [
        ("acme/vit", "hf-sfda #1: sfda_cv .580 (.560 to .600) on me/plants"),
        ("me/resnet", "hf-sfda #2: sfda_cv .500 (.480 to .520) on me/plants"),
        ("acme/mid", "hf-sfda #3: sfda_cv .300 (.280 to .320) on me/plants"),
    ]


def test_publishing_a_collection_twice_changes_nothing(models, run, api):
    publish(run)
    models.requests.clear()
    plan, done = publish(run)
    assert (plan.steps, done) == ((), [])
    assert [r for r in models.requests if r.method not in ("GET", "HEAD")] == []


def test_new_scores_reorder_and_replace_and_what_others_put_there_stays(models, run, api):
    publish(run, top=2)
    (slug,) = [c.slug for c in api.list_collections(owner="me")]
    api.add_collection_item(slug, "acme/other", "model", note="I like it")
    models.put("acme/mid", {"x": "x"}, repo_type="dataset")
    api.add_collection_item(slug, "acme/mid", "dataset", note="A dataset of the same name")
    api.add_collection_item(slug, "acme/mid", "model", note="A note of my own")
    api.update_collection_item(slug, api.get_collection(slug).items[2].item_object_id, position=0)
    assert ids(api) == ["acme/other", "acme/vit", "me/resnet", "acme/mid", "acme/mid"]
    save_run(run, make_ranking({"me/noise": 0.9, "acme/mid": 0.8, "acme/vit": 0.7}))
    plan, _ = publish(run, top=3)
    assert "-me/resnet  hf-sfda #2" in plan.render()
    assert contents(api) == [
        ("me/noise", "hf-sfda #1: sfda_cv .900 (.880 to .920) on me/plants"),
        ("acme/mid", "A note of my own"),
        ("acme/vit", "hf-sfda #3: sfda_cv .700 (.680 to .720) on me/plants"),
        ("acme/other", "I like it"),
        ("acme/mid", "A dataset of the same name"),
    ]
    assert publish(run, top=3)[0].steps == ()


def test_models_that_vanished_or_are_local_make_room_for_the_next(models, run, api):
    models.delete("acme/vit")
    rows = (
        *make_ranking(SCORES).rows,
        ok_row("/home/x/mine", 5, 0.9, revision="sha256:" + "a" * 64),
    )
    save_run(run, make_ranking({}, extra_rows=rows))
    plan, _ = publish(run, top=2)
    assert "(no longer on the Hub: acme/vit)" in plan.render()
    assert ids(api) == ["me/resnet", "acme/mid"]


def test_the_same_command_finishes_an_interrupted_collection(models, run, api):
    models.faults.add(path_regex="/items$", method="POST", status=500, times=1, skip=1)
    with pytest.raises(PublishError, match="Step 2 of 2; done before it: dataset me/results"):
        publish(run)
    assert ids(api) == ["acme/vit"]
    _, done = publish(run)
    assert [one.description for one in done] == [f"collection {TITLE!r}"]
    assert ids(api) == ["acme/vit", "me/resnet", "acme/mid", "me/noise"]
    assert publish(run)[0].steps == ()


def test_a_collection_that_moved_is_refused(models, run, api):
    publish(run, top=1)
    plan = plan_publication(run, to=TO, collection=TITLE, top=3)
    (slug,) = [c.slug for c in api.list_collections(owner="me")]
    api.add_collection_item(slug, "acme/other", "model")
    with pytest.raises(PublishError, match="'For plants' was changed by somebody else"):
        execute(plan)
    assert ids(api) == ["acme/vit", "acme/other"]


def test_two_plans_make_one_collection(models, run, api):
    plans = [plan_publication(run, to=TO, collection=TITLE) for _ in range(2)]
    execute(plans[0])
    with pytest.raises(PublishError, match="changed by somebody else"):
        execute(plans[1])
    assert len(list(api.list_collections(owner="me"))) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"collection": "x" * 61}, "61 characters; 1 to 60"),
        ({"top": 0}, "top is 0"),
    ],
)
def test_bad_options_of_a_collection_are_refused(models, run, options, message):
    with pytest.raises(PublishError, match=message):
        publish(run, **options)


def test_a_collection_without_models_on_the_hub_is_refused(hub, tmp_path):
    run = save_run(tmp_path / "run", make_ranking({"acme/gone": 0.5}))
    with pytest.raises(PublishError, match="None of the ranked models is on the Hub"):
        publish(run)


def test_a_collection_is_private_if_asked_for(models, run, api):
    publish(run, private=True)
    (collection,) = api.list_collections(owner="me")
    assert collection.private
