"""The Space for programs: gradio's client and an MCP client, over HTTP, get what the page shows."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hf_sfda.types import Ranking
from tests.report_fixture import example_ranking
from tests.space.server import SpaceServer
from tests.waiting import PATIENCE, until

gradio_client = pytest.importorskip("gradio_client")
mcp = pytest.importorskip("mcp")

ENDPOINTS = {
    "/leaderboard": {"board": "str", "metric": "str"},
    "/compare": {"board": "str", "first": "str", "second": "str", "metric": "str"},
    "/ensemble": {"board": "str", "size": "int"},
    "/rank": {
        "dataset": "str",
        "models": "str",
        "top": "int",
        "samples": "int",
        "metric": "str",
        "split": "str",
    },
}
REQUIRED = {"/compare": {"board", "first", "second"}, "/rank": {"dataset"}}
MODELS = ("acme/vit-a", "acme/resnet")
QUICK = {"samples": 24, "metric": "knn"}
HAPPENS_ONCE = {"created_at", "samples_per_second"}
"""What two runs of the same thing do not share."""


def caller(space: SpaceServer, token: str | None = None) -> Any:
    """A client; of a stranger by default: by itself it would send the token it finds around."""
    return gradio_client.Client(space.url, token=token or False, verbose=False)


@pytest.fixture(scope="module")
def client(space) -> Any:
    return caller(space)


@pytest.fixture(scope="module")
def ask(client):
    """Calls an endpoint; the words of its refusal if it raises one."""

    def call(endpoint: str, **arguments: Any) -> Any:
        return client.predict(**arguments, api_name=endpoint)

    return call


def refusal(call, *arguments: Any, **options: Any) -> str:
    with pytest.raises(gradio_client.exceptions.AppError) as caught:
        call(*arguments, **options)
    return str(caught.value)


def job_directories(space: SpaceServer) -> list[Path]:
    """Of visitors; the server keeps the folder that they stand in."""
    return list(space.temporary.glob("hf-sfda-space-*/*/*"))


def said_by(space: SpaceServer, *arguments: str) -> Any:
    return json.loads(space.run(*arguments, "--json"))


# -- what there is


def test_there_are_four_endpoints_and_the_events_of_the_page_are_none(client):
    info = client.view_api(return_format="dict", print_info=False)
    assert set(info["named_endpoints"]) == set(ENDPOINTS)
    assert info["unnamed_endpoints"] == {}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_an_endpoint_states_its_types_and_explains_itself(client, name):
    endpoint = client.view_api(return_format="dict", print_info=False)["named_endpoints"][name]
    parameters = {one["parameter_name"]: one for one in endpoint["parameters"]}
    assert {key: one["python_type"]["type"] for key, one in parameters.items()} == ENDPOINTS[name]
    required = {key for key, one in parameters.items() if not one["parameter_has_default"]}
    assert required == REQUIRED.get(name, set())
    (returned,) = endpoint["returns"]
    assert returned["type"]["type"] == "object"
    for parameter in parameters:
        assert f"{parameter}: " in endpoint["description"], "each parameter is explained"
    assert "Returns:" in endpoint["description"]
    assert "request" not in endpoint["description"].split("Args:")[1]


def test_an_event_of_the_page_cannot_be_called_by_name(client):
    with pytest.raises(ValueError, match="Cannot find a function"):
        client.predict("me/emoji", None, None, "a", "b", api_name="/compare_models")


# -- leaderboard


def test_the_first_board_comes_unasked_and_all_are_named(ask):
    document = ask("/leaderboard")
    assert document["board"] == document["boards"][0]
    assert {"me/emoji", "me/reviews", "me/shapes", "me/thousand"} < set(document["boards"])
    named = ask("/leaderboard", board=document["board"])
    assert named == document


def test_a_board_is_the_ranking_that_was_published(ask):
    document = ask("/leaderboard", board="me/emoji")
    assert document["board"] == "me/emoji"
    ranking = Ranking.from_dict(document)
    published = example_ranking()
    assert [row.model_id for row in ranking.ranked] == [row.model_id for row in published.ranked]
    for row, original in zip(ranking.ranked, published.ranked, strict=True):
        assert (row.scores, row.tie_group) == (original.scores, original.tie_group)
        assert row.intervals["sfda_cv"] == original.intervals["sfda_cv"]
    assert len(ranking.rows) == len(published.rows)
    beside = ("board", "boards", "record")
    without = {key: document[key] for key in document if key not in beside}
    again = Ranking.from_dict(json.loads(json.dumps(without)))
    assert again.to_dict() == ranking.to_dict()
    assert set(without) == set(ranking.to_dict()), "nothing but a ranking stands beside them"


def test_a_board_has_its_measured_accuracies_and_all_have_the_hit_rate(ask):
    document = ask("/leaderboard", board="me/trained")
    ranking = Ranking.from_dict(document)
    assert [row.expected_regret for row in ranking.ranked] == [1.0, 2.0, 3.0]
    measured = {m.model_id: m.value for m in ranking.finetuned.measurements}
    assert measured == {"acme/vit": 0.8, "me/resnet": 0.86}
    record = document["record"]
    assert (record["hit_rate"]["hits"], record["hit_rate"]["judged"]) == (0, 1)
    assert record["hit_rate"]["regret"] == pytest.approx(6)
    assert [point["date"] for point in record["over_time"]] == ["2026-11-22"]
    assert "on 0 of 1 dataset (95% .000 to .793)" in record["summary"][0]
    emoji = ask("/leaderboard", board="me/emoji")
    assert "finetuned" not in emoji
    assert emoji["record"] == record


def test_a_board_is_sorted_by_another_metric(ask):
    ranking = Ranking.from_dict(ask("/leaderboard", board="me/emoji", metric="knn"))
    values = [row.scores["knn"] for row in ranking.ranked]
    assert values == sorted(values, reverse=True)
    assert ranking.metric == "knn"
    assert {row.p_best for row in ranking.ranked} == {None}


def test_a_thousand_models_come_whole(ask):
    assert len(ask("/leaderboard", board="me/thousand")["rows"]) == 1000


def test_names_of_strangers_come_as_they_are(ask):
    from hf_sfda.foreign import clean
    from tests.space.server import HOSTILE

    document = ask("/leaderboard", board="evil/<b>data</b>")
    names = {row["model_id"] for row in document["rows"]}
    # JSON needs no escaping for HTML. Characters that reverse text are replaced where they enter.
    assert {clean(name) for name in HOSTILE} <= names


def test_what_there_is_not_is_answered_with_what_there_is(ask):
    text = refusal(ask, "/leaderboard", board="me/nothing")
    assert "There is no leaderboard 'me/nothing'." in text
    assert "me/emoji, me/reviews, me/shapes, me/thousand" in text
    text = refusal(ask, "/leaderboard", board="me/emoji", metric="accuracy")
    assert text.startswith("me/emoji has no metric 'accuracy'. Metrics: sfda_cv, ")
    assert "logistic_probe" in text


@pytest.mark.parametrize(
    ("endpoint", "arguments", "message"),
    [
        ("/leaderboard", {"board": 3}, "board is 3; give text."),
        ("/leaderboard", {"metric": ["knn"]}, "metric is ['knn']; give text."),
        ("/ensemble", {"board": "me/shapes", "size": "two"}, "size is 'two'; give a whole number."),
        ("/ensemble", {"board": "me/shapes", "size": True}, "size is True; give a whole number."),
        ("/ensemble", {"board": "me/shapes", "size": 0}, "size is 0; an ensemble has at least 1"),
        ("/rank", {"dataset": None}, "dataset is None; give text."),
        ("/rank", {"dataset": "me/shapes", "models": ["a/b"]}, "models is ['a/b']; give text."),
        ("/rank", {"dataset": "me/shapes", "samples": 1.5}, "samples is 1.5; give a whole number."),
    ],
)
def test_a_wrong_type_is_named(ask, endpoint, arguments, message):
    assert message in refusal(ask, endpoint, **arguments)


# -- compare and ensemble: the same numbers as the command line


def test_compare_says_what_the_command_line_says(ask, space):
    expected = said_by(space, "compare", "runs/me--shapes", *MODELS, "--top", "8")
    found = ask("/compare", board="me/shapes", first=MODELS[0], second=MODELS[1])
    assert found["difference"] == pytest.approx(expected["difference"], abs=1e-9)
    assert found["interval"] == pytest.approx(expected["interval"], abs=1e-9)
    assert found["classes"], "the dataset is public, so the classes are known"
    assert found["samples"]
    assert found == approximately(expected)


def test_compare_takes_another_metric(ask):
    leaderboard = Ranking.from_dict(ask("/leaderboard", board="me/shapes", metric="knn"))
    found = ask("/compare", board="me/shapes", first=MODELS[0], second=MODELS[1], metric="knn")
    scores = {row.model_id: row.scores["knn"] for row in leaderboard.ranked}
    assert found["metric"] == "knn"
    assert found["values"] == pytest.approx([scores[name] for name in MODELS])
    assert found["difference"] == pytest.approx(scores[MODELS[0]] - scores[MODELS[1]])


def test_ensemble_says_what_the_command_line_says(ask, space):
    expected = said_by(space, "ensemble", "runs/me--shapes", "--size", "2")
    found = ask("/ensemble", board="me/shapes", size=2)
    assert len(found["singles"]) == 3
    assert found == approximately(expected)


def approximately(document: Any) -> Any:
    """A JSON document whose numbers may differ in the last digits."""
    if isinstance(document, dict):
        return {key: approximately(value) for key, value in document.items()}
    if isinstance(document, list):
        return [approximately(value) for value in document]
    return pytest.approx(document, rel=1e-6) if isinstance(document, float) else document


def test_models_that_cannot_be_compared_are_refused_in_words(ask):
    text = refusal(ask, "/compare", board="me/shapes", first="acme/none", second=MODELS[0])
    assert "There is no acme/none in this ranking." in text
    assert "acme/vit-b" in text
    gone = "me/thousand is not on the Hub"
    two = {"first": "org0/model-0000", "second": "org1/model-0001"}
    assert gone in refusal(ask, "/compare", board="me/thousand", **two)
    assert gone in refusal(ask, "/ensemble", board="me/thousand")


# -- rank


def comparable(document: dict[str, Any]) -> Any:
    """A ranking without what two runs of it do not share."""
    rows = [
        {key: value for key, value in row.items() if key not in HAPPENS_ONCE}
        for row in document["rows"]
    ]
    return approximately(rows)


@dataclass
class Called:
    """Two callers at once, and what came back.

    Attributes:
        stranger: Who ranked public data, two models.
        friend: Who ranked private data of their own, one model.
        token: The friend's.
        meanwhile: Whether both were still waiting when a third caller had got a board.
    """

    stranger: Any
    friend: Any
    token: str
    meanwhile: bool


@pytest.fixture(scope="module")
def called(space, client) -> Called:
    token = space.hub.account("friend")
    space.hub.put("friend/shapes", space.hub.files("me/shapes", "dataset"), repo_type="dataset")
    space.hub.set("friend/shapes", repo_type="dataset", private=True)
    stranger = client.submit(
        dataset="me/shapes", models="\n".join(MODELS), **QUICK, api_name="/rank"
    )
    friend = caller(space, token).submit(
        dataset="friend/shapes", models=MODELS[0], **QUICK, api_name="/rank"
    )
    client.predict(board="me/emoji", api_name="/leaderboard")
    meanwhile = not stranger.done() and not friend.done()
    for job in (stranger, friend):
        job.result(240)
    return Called(stranger, friend, token, meanwhile)


def test_rank_says_what_the_command_line_says(called, space):
    expected = said_by(
        space, "rank", "--dataset", "me/shapes", "--models", *MODELS,
        "--samples", "24", "--metric", "knn", "--max-params", "400000000", "--out", "runs/again",
    )  # fmt: skip
    found = called.stranger.result()
    assert [row["status"] for row in found["rows"]] == ["ok", "ok"]
    assert found["config"]["metric"] == "knn"
    assert found["config"]["fingerprint"] == expected["config"]["fingerprint"]
    assert found["dataset"] == expected["dataset"]
    assert comparable(found) == comparable(expected)
    assert Ranking.from_dict(found).metric == "knn"


def test_the_stream_of_a_job_shows_its_progress(called):
    *before, last = called.stranger.outputs()
    assert "rows" in last
    assert all(set(one) == {"stage", "seconds", "candidates"} for one in before)
    stages = [one["stage"] for one in before]
    assert stages.index("starting") < stages.index("models")
    models = [one["candidates"] for one in before if one["candidates"]]
    assert {one["model"] for one in models[-1]} == set(MODELS)
    seconds = [one["seconds"] for one in before]
    assert seconds == sorted(seconds)


def test_callers_read_with_their_own_token_which_ends_up_nowhere(called, client, space):
    found = called.friend.result()
    assert found["dataset"]["id"] == "friend/shapes"
    assert [row["status"] for row in found["rows"]] == ["ok"]
    for written in (json.dumps(called.friend.outputs()), space.log.read_text()):
        assert called.token not in written
    readers = {r.account for r in space.hub.seen(path_regex="friend/shapes") if r.status == 200}
    assert readers == {"friend"}
    again = {"dataset": "friend/shapes", "models": MODELS[0], **QUICK, "api_name": "/rank"}
    assert "friend/shapes is not on the Hub" in refusal(client.predict, **again)


def test_rankings_leave_no_files(called, space):
    assert job_directories(space) == []


def test_nobody_waits_for_another_ranking_to_look_at_a_board(called):
    assert called.meanwhile


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "/etc"}, "The dataset '/etc' is not a Hub id."),
        ({"dataset": "../runs/shapes"}, "The dataset '../runs/shapes' is not a Hub id."),
        ({"dataset": "./shapes"}, "is not a Hub id"),
        ({"dataset": ""}, "The dataset '' is not a Hub id."),
        (
            {"dataset": "me/shapes", "models": "/root/model"},
            "The model '/root/model' is not a Hub id",
        ),
        ({"dataset": "me/shapes", "samples": 100_000}, "100,000 samples are asked for"),
        ({"dataset": "me/shapes", "top": 1_000}, "1,000 candidates to ask the Hub for"),
        ({"dataset": "me/shapes", "samples": -1}, "-1 samples are asked for"),
        ({"dataset": "me/shapes", "metric": "accuracy"}, "accuracy"),
        (
            {"dataset": "me/shapes", "models": " ".join(f"a/{i}" for i in range(13))},
            "13 models are asked for; here it may be 0 to 12.",
        ),
    ],
)
def test_what_may_not_be_ranked_is_refused_in_words(ask, space, arguments, message):
    assert message in refusal(ask, "/rank", **arguments)
    assert job_directories(space) == []


@pytest.mark.parametrize("dataset", ["me/secret-shapes", "me/no-such-data"])
def test_what_a_stranger_may_not_read_looks_as_if_it_were_not_there(ask, space, dataset):
    """The owner of the results may read the private one; the caller may not."""
    text = refusal(ask, "/rank", dataset=dataset, models=MODELS[0], samples=24)
    assert f"{dataset} is not on the Hub" in text
    assert job_directories(space) == []


# -- those who leave


@pytest.fixture
def stuck(space) -> Iterator[Callable[[], None]]:
    """Make the Hub hang: from then on no job comes to an end by itself."""
    yield lambda: space.hub.faults.add(action="delay", seconds=PATIENCE, times=None)
    space.hub.faults.clear()


def test_who_cancels_ends_the_job_and_its_process(client, space, stuck):
    job = client.submit(dataset="me/shapes", models=MODELS[0], **QUICK, api_name="/rank")
    until(lambda: any(one["stage"] == "starting" for one in job.outputs()))
    stuck()
    assert job_directories(space)
    assert workers(space)
    job.cancel()
    until(lambda: not job_directories(space))
    until(lambda: not workers(space))


CALLER = """
import sys
from gradio_client import Client
client = Client(sys.argv[1], token=False, verbose=False)
job = client.submit(dataset="me/shapes", models="acme/vit-b", samples=24, api_name="/rank")
for state in job:
    print(state["stage"], flush=True)
"""


def test_who_hangs_up_ends_the_job_and_its_process(space, stuck):
    """A program that is killed in the middle of a call says nothing any more."""
    command = [sys.executable, "-c", CALLER, space.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        try:
            assert "starting\n" in iter(caller.stdout.readline, ""), "it never got so far"
            stuck()
            assert job_directories(space)
        finally:
            caller.kill()
    until(lambda: not job_directories(space))
    until(lambda: not workers(space))


def workers(space: SpaceServer) -> list[str]:
    """Processes of jobs that are descendants of the server."""
    import psutil

    return [
        " ".join(process.cmdline())
        for process in psutil.Process(space.pid).children(recursive=True)
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]


# -- MCP


@pytest.fixture(scope="module")
def tools(space):
    """Runs something with an MCP session."""
    from mcp.client.streamable_http import streamable_http_client

    async def within(use):
        url = f"{space.url}gradio_api/mcp/"
        async with (
            streamable_http_client(url) as (reading, writing, *_),
            mcp.ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            return await use(session)

    return lambda use: asyncio.run(within(use))


def call(tools, name: str, **arguments: Any) -> Any:
    return tools(lambda session: session.call_tool(name, arguments))


def test_agents_find_four_tools_each_of_which_explains_its_parameters(tools):
    found = {tool.name: tool for tool in tools(lambda session: session.list_tools()).tools}
    assert {f"/{name}" for name in found} == set(ENDPOINTS)
    kinds = {"str": "string", "int": "integer"}
    for name, tool in found.items():
        assert tool.description
        properties = tool.inputSchema["properties"]
        types = {key: one["type"] for key, one in properties.items()}
        assert types == {key: kinds[one] for key, one in ENDPOINTS[f"/{name}"].items()}
        assert all(len(one["description"]) > 10 for one in properties.values())
        assert set(tool.inputSchema.get("required", ())) == REQUIRED.get(f"/{name}", set())
    assert tools(lambda session: session.list_prompts()).prompts == []
    assert tools(lambda session: session.list_resources()).resources == []


def test_agents_get_json(tools, ask):
    result = call(tools, "leaderboard", board="me/emoji")
    assert not result.isError
    (content,) = result.content
    assert json.loads(content.text) == ask("/leaderboard", board="me/emoji")


@pytest.mark.slow
def test_agents_rank_and_compare(tools, ask):
    (content,) = call(
        tools, "compare", board="me/shapes", first=MODELS[0], second=MODELS[1]
    ).content
    expected = ask("/compare", board="me/shapes", first=MODELS[0], second=MODELS[1])
    assert json.loads(content.text) == expected
    result = call(tools, "rank", dataset="me/shapes", models=MODELS[0], samples=24, metric="knn")
    (content,) = result.content
    assert json.loads(content.text)["rows"][0]["status"] == "ok"


def test_agents_are_told_what_went_wrong(tools):
    result = call(tools, "leaderboard", board="me/nothing")
    assert result.isError
    (content,) = result.content
    assert "There is no leaderboard 'me/nothing'. Leaderboards: " in content.text
