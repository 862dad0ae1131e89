"""The Hub goes down at any moment of a publication, and the same command does the rest.

Every test first goes through it undisturbed, which says how many requests there are and what has to
come out. Then the Hub dies before the first of them, before the second, and so on: whatever it
holds then, each repository is as before or as it has to become.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from hf_sfda.errors import PublishError
from hf_sfda.hub.plan import Plan, execute
from hf_sfda.publish import plan_publication
from hf_sfda.space.deploy import plan_deploy
from hf_sfda.space.deploy.options import make_options
from tests.publishing import make_ranking, save_run

CARD = "---\nlicense: mit  # free\n---\n# A model\n"
RESULTS, SPACE = "me/results", "me/board"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    real = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: real(min(seconds, 0.001)))


@pytest.fixture
def publication(hub, tmp_path):
    """Everything that `publish` can do in one command, on a Hub that holds earlier results."""
    first = save_run(tmp_path / "first", make_ranking(dataset="me/birds"))
    second = save_run(tmp_path / "second")

    def start() -> None:
        hub.reset()
        for name in ("acme/vit", "me/resnet", "me/noise"):
            hub.put(name, {"README.md": CARD})
        execute(plan_publication(first, to=RESULTS))

    def plan() -> Plan:
        return plan_publication(
            second, to=RESULTS, cards=["me/resnet"], create_pr="acme/vit", collection="For plants"
        )

    return start, plan


@pytest.fixture
def first_publication(hub, tmp_path):
    """Results into a repository that has to be made."""
    run = save_run(tmp_path / "run")
    return hub.reset, lambda: plan_publication(run, to=RESULTS)


@pytest.fixture
def first_deployment(hub, tmp_path):
    """A Space that has to be made."""
    run = save_run(tmp_path / "run")

    def start() -> None:
        hub.reset()
        execute(plan_publication(run, to=RESULTS))

    options = {"variables": ["HF_SFDA_JOBS=2"], "hardware": "t4-small"}
    return start, lambda: plan_deploy(SPACE, RESULTS, make_options(RESULTS, **options))


@pytest.fixture
def update_of_a_space(hub, tmp_path):
    """A Space gets a new version, a variable and hardware."""
    run = save_run(tmp_path / "run")

    def start() -> None:
        hub.reset()
        execute(plan_publication(run, to=RESULTS))
        execute(plan_deploy(SPACE, RESULTS, make_options(RESULTS, hardware="zero-a10g")))
        old = {"hf_sfda/gone.py": "X = 1\n", "hf_sfda/scoring.py": "# old\n", "mine.md": "Hi"}
        hub.put(SPACE, old, repo_type="space")

    def plan() -> Plan:
        options = make_options(RESULTS, variables=["HF_SFDA_JOBS=2"], hardware="t4-small")
        return plan_deploy(SPACE, RESULTS, options)

    return start, plan


def state(hub) -> dict[str, Any]:
    """All that can be seen from outside, but the dates and shas."""
    seen: dict[str, Any] = {}
    for (kind, name), repo in hub.state.repos.items():
        for ref, commit in repo.refs.items():
            seen[f"{kind}/{name} {ref}"] = {path: b.data for path, b in commit.files.items()}
        if repo.space:
            variables = {key: one["value"] for key, one in repo.space["variables"].items()}
            seen[f"{kind}/{name} variables"] = variables
            seen[f"{kind}/{name} hardware"] = dict(repo.space["runtime"]["hardware"])
        seen[f"{kind}/{name} discussions"] = [(one.title, one.status) for one in repo.discussions]
    seen["collections"] = [
        (one["title"], [(item["id"], item["note"]) for item in one["items"]])
        for one in hub.state.collections.values()
    ]
    return seen


def check_all_or_nothing(
    now: dict[str, Any], before: dict[str, Any], after: dict[str, Any]
) -> None:
    # A collection goes item by item, and a repository just made holds what the Hub put there.
    for place, content in now.items():
        if place == "collections":
            continue
        by_the_hub = {".gitattributes"} | ({"README.md"} if place.startswith("spaces/") else set())
        fresh = place not in before and not set(content) - by_the_hub
        assert fresh or content in (before.get(place), after.get(place)), place


def check_outages(hub, start: Callable[[], None], plan: Callable[[], Plan], action: str) -> int:
    """Let the Hub die at each request; returns how many there are."""
    start()
    before, planned = state(hub), plan()
    hub.requests.clear()
    execute(planned)
    count, after = len(hub.requests), state(hub)
    assert plan().steps == ()
    for request in range(count):
        start()
        planned = plan()
        # The one that is hit, and all after it: the Hub does not come back by itself.
        hub.faults.add(action=action, times=1, skip=request)
        hub.faults.add(action="drop", times=None, skip=request)
        try:
            execute(planned)
        except PublishError as error:
            is_explained = "The same command does the rest" in str(error)
            assert is_explained or str(error).startswith("Cannot publish"), request
            assert hub.token not in str(error)
        hub.faults.clear()
        check_all_or_nothing(state(hub), before, after)
        execute(plan())
        assert state(hub) == after, f"outage at request {request} of {count}"
        assert plan().steps == ()
    return count


@pytest.mark.parametrize("action", [pytest.param("drop", marks=pytest.mark.slow), "lose"])
def test_after_an_outage_the_first_publication_is_completed(hub, first_publication, action):
    assert check_outages(hub, *first_publication, action) > 5


@pytest.mark.slow
@pytest.mark.parametrize("action", ["drop", "lose"])
def test_after_an_outage_at_any_moment_the_same_publication_completes(hub, publication, action):
    assert check_outages(hub, *publication, action) > 15


@pytest.mark.slow
@pytest.mark.parametrize("action", ["drop", "lose"])
def test_after_an_outage_the_first_deployment_is_completed(hub, first_deployment, action):
    assert check_outages(hub, *first_deployment, action) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("action", ["drop", "lose"])
def test_after_an_outage_the_update_of_a_space_is_completed(hub, update_of_a_space, action):
    assert check_outages(hub, *update_of_a_space, action) >= 4


@pytest.mark.parametrize(
    "name", ["datasets/me/results", "models/me/resnet", "models/acme/vit", "spaces/me/board"]
)
def test_a_repository_that_vanishes_after_the_plan_is_not_made_again(
    hub, publication, update_of_a_space, name
):
    start, plan = update_of_a_space if name.startswith("spaces/") else publication
    start()
    planned = plan()
    kind, repo_id = name.split("/", 1)
    hub.delete(repo_id, kind)
    with pytest.raises(PublishError, match=f"{repo_id}.* is not on the Hub.*same command"):
        execute(planned)
    assert (kind, repo_id) not in hub.state.repos, "nothing is made that the plan did not say"
    if kind == "models":
        with pytest.raises(PublishError, match=f"{repo_id} is no longer on the Hub"):
            plan()
    else:
        assert "a new public" in plan().render(), "it would be made again"


@pytest.mark.parametrize("times", [2, None], ids=["once", "for a while"])
@pytest.mark.parametrize("fault", ["half", "corrupt"])
def test_a_card_that_arrives_damaged_is_never_published(hub, tmp_path, fault, times):
    """The client caches what arrives. A damaged card would replace the author's."""
    hub.put("me/resnet", {"README.md": CARD})
    run = save_run(tmp_path / "run", make_ranking())
    # Also the HEAD request: half a file whose announced size is half, too, looks complete.
    damage = hub.faults.add(path_regex="resnet.*README.md", action=fault, times=times)
    if times is None:
        with pytest.raises(PublishError, match=r"Cannot read README.md of .*me/resnet.* damaged"):
            plan_publication(run, to=RESULTS, cards=["me/resnet"])
        hub.faults.clear()
    execute(plan_publication(run, to=RESULTS, cards=["me/resnet"]))
    assert damage.hits > 0
    card = hub.files("me/resnet")["README.md"].decode()
    assert "license: mit  # free\n" in card
    assert "\n# A model\n" in card


@pytest.mark.parametrize("times", [1, None], ids=["once", "for a while"])
def test_rows_that_arrive_damaged_are_fetched_again(hub, tmp_path, times):
    """Damaged rows would stay in the cache, and every later publication would refuse to go on."""
    first = save_run(tmp_path / "first", make_ranking())
    execute(plan_publication(first, to=RESULTS))
    second = save_run(tmp_path / "second", make_ranking(dataset="me/others"))
    fault = hub.faults.add(
        method="GET", path_regex=r"results/.*parquet$", action="corrupt", times=times
    )
    if times is None:
        with pytest.raises(PublishError, match=r"parquet of me/results arrives damaged"):
            plan_publication(second, to=RESULTS)
        hub.faults.clear()
    execute(plan_publication(second, to=RESULTS))
    assert fault.hits > 0
    files = [path for path in hub.files(RESULTS, "dataset") if path.endswith(".parquet")]
    assert len(files) == 2
