"""From event to event: the state a visitor sees."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest

from hf_sfda.ranking.cost import ModelLoad, about, estimate
from hf_sfda.secrets import keep_secret
from hf_sfda.space.events import DownloadLimitError, EventProgress, JobState, apply, json_lines
from hf_sfda.space.plan import JobPlan, PlannedModel, skip_large_downloads
from hf_sfda.types import Candidate
from tests.report_fixture import example_ranking

ROWS = [
    {"model": "a/one", "params": 10, "download_bytes": 40, "skip": None, "status": "skipped"},
    {"model": "a/gone", "params": None, "download_bytes": None, "skip": "no", "status": "failed"},
    {"model": "a/two", "params": 20, "download_bytes": 80, "skip": None, "status": "skipped"},
    {"model": "a/old", "params": 30, "download_bytes": 99, "skip": "big", "status": "skipped"},
    {"model": "a/three", "params": 20, "download_bytes": 80, "skip": None, "status": "skipped"},
]


def after(*events: dict) -> JobState:
    state = JobState()
    for event in events:
        state = apply(state, event)
    return state


def progress(kind: str, name: str, done: float, total: float | None, unit: str = "img") -> dict:
    return {
        "event": "progress", "task": 1, "kind": kind, "name": name,
        "done": done, "total": total, "unit": unit,
    }  # fmt: skip


LISTED = {"event": "candidates", "rows": ROWS}


def phases(state: JobState) -> list[str]:
    return [candidate.state for candidate in state.candidates]


def test_candidates_start_as_the_plan_has_them():
    state = after(LISTED)
    assert phases(state) == ["waiting", "failed", "waiting", "skipped", "waiting"]
    assert state.candidates[1].reason == "no"
    assert state.candidates[3].params == 30


def test_a_candidate_goes_from_download_to_done():
    state = after(LISTED, progress("download", "a/one", 50, 40, "B"))
    one = state.candidates[0]
    assert (one.state, one.done, one.total, one.unit) == ("downloading", 50, 50, "B")
    state = apply(state, progress("extract", "a/one", 16, 36))
    assert (state.candidates[0].state, state.candidates[0].done) == ("extracting", 16)
    state = apply(state, {"event": "extracted", "model": "a/one", "reason": None, "cached": False})
    state = apply(state, {"event": "extracted", "model": "a/two", "reason": "NaN", "cached": False})
    assert phases(state) == ["scoring", "failed", "failed", "skipped", "waiting"]
    assert state.candidates[2].reason == "NaN"
    state = apply(state, {"event": "extracted", "model": "a/three", "reason": None, "cached": True})
    state = apply(state, progress("score", "", 1, 3, "models"))
    assert phases(state) == ["done", "failed", "failed", "skipped", "scoring"]
    state = apply(state, progress("score", "", 3, 3, "models"))
    assert phases(state) == ["done", "failed", "failed", "skipped", "done"]
    assert (state.stage, state.done, state.total) == ("scoring", 3, 3)


def test_what_failed_does_not_come_back():
    state = after(LISTED, progress("download", "a/gone", 1, 2, "B"))
    assert phases(state)[1] == "failed"


def test_the_ranking_has_the_last_word():
    ranking = example_ranking()
    rows = [{**ROWS[0], "model": row.model_id} for row in ranking.rows]
    listed = {"event": "candidates", "rows": rows}
    state = after(listed, {"event": "ranked", "ranking": ranking.to_dict()})
    became = {"ok": "done", "failed": "failed", "skipped": "skipped"}
    assert phases(state) == [became[row.status] for row in ranking.rows]
    assert [c.reason for c in state.candidates] == [row.reason for row in ranking.rows]
    assert state.over
    assert state.ranking is not None
    assert state.ranking.to_dict() == ranking.to_dict()


def test_events_after_the_end_change_nothing():
    failed = after(LISTED, {"event": "failed", "message": "No."})
    assert (failed.stage, failed.error, failed.cancelled) == ("failed", "No.", False)
    assert apply(failed, {"event": "log", "text": "more"}) == failed
    cancelled = after(LISTED, {"event": "cancelled"})
    assert (cancelled.stage, cancelled.error, cancelled.cancelled) == ("cancelled", None, True)


def test_unknown_events_change_nothing_and_old_states_stay():
    state = after(LISTED)
    assert apply(state, {"event": "of a later version"}) is state
    after_log = apply(state, {"event": "log", "text": "Target"})
    assert (state.log, after_log.log) == ((), ("Target",))


# -- what a process says


def test_a_task_speaks_ten_times_a_second_and_says_its_last_word():
    heard, now = [], [0.0]
    listener = EventProgress(heard.append, clock=lambda: now[0])
    with listener.task("extract", "a/b", total=1000, unit="img") as advance:
        for _ in range(1000):
            now[0] += 0.001
            advance(1)
    amounts = [event["done"] for event in heard if event["event"] == "progress"]
    assert 8 <= len(amounts) <= 13
    assert amounts[0] == 0
    assert amounts[-1] == 1000
    assert heard[-1] == {"event": "task_end", "task": 1, "kind": "extract", "name": "a/b"}


def test_tasks_side_by_side_have_numbers_of_their_own():
    heard = []
    listener = EventProgress(heard.append)
    with (
        listener.task("download", "a", total=None, unit="B"),
        listener.task("extract", "b", total=1, unit="img"),
    ):
        pass
    assert {(event["task"], event["name"]) for event in heard} == {(1, "a"), (2, "b")}


def test_downloads_end_at_the_limit_whatever_the_hub_stated():
    listener = EventProgress(lambda event: None, limit=100)
    with pytest.raises(DownloadLimitError, match="100 B"):
        with listener.task("download", "a", total=10, unit="B") as advance:
            advance(60)
            advance(60)
    with listener.task("extract", "a", total=None, unit="img") as advance:
        advance(1000)


def test_an_event_is_a_line_without_secrets():
    keep_secret("s3cret-token")
    out = io.StringIO()
    text = "line\nbreak hf_oauth_eyJhbGciOiJFZERTQSJ9.eyJzY29wZSI6WyJ.x-y_z s3cret-token"
    json_lines(out)({"event": "log", "text": text})
    (line,) = out.getvalue().splitlines()
    message = json.loads(line)["text"]
    assert message == "line\nbreak <redacted> <redacted>"


# -- the plan

PLAN = JobPlan(
    dataset="me/shapes", revision="abc", split="train", modality="image", input_column="image",
    label_column="label", labels="2 classes (column label: a, b)", n_samples=1000,
    n_available=50_000, class_names=("a", "b"),
    left_out={"no label": 3},
    models=(
        PlannedModel("a/one", "1", 10, 40, False, None),
        PlannedModel("a/two", "1", 10, 40, False, "too large"),
    ),
    download_bytes=1_200_000_000, seconds=(100, 350), device="cpu",
)  # fmt: skip


def test_a_plan_says_what_is_ranked_downloaded_and_how_long_it_takes():
    assert PLAN.sentences == (
        "me/shapes: 1,000 of 50,000 images of the split train, 2 classes (column label: a, b); "
        "3 left out: no label.",
        "1 model to rank; 1 left out, with the reason in the table.",
        "1.2 GB of weights to download.",
        "This takes about 2 to 6 minutes on a CPU.",
    )
    here = replace(PLAN, download_bytes=0, n_available=1000, left_out={}, models=PLAN.models[:1])
    assert here.sentences[2] == "All weights are here already."
    assert " of 50" not in here.sentences[0]


def test_a_plan_survives_json():
    assert JobPlan.from_dict(json.loads(json.dumps(PLAN.to_dict()))) == PLAN


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (5, 60, "less than a minute"),
        (20, 90, "about 1 to 2 minutes"),
        (100, 350, "about 2 to 6 minutes"),
        (170, 190, "about 3 minutes"),
        (58, 62, "about 1 minute"),
    ],
)
def test_durations_are_shown_in_round_numbers(low, high, message):
    assert about(low, high) == message


def test_the_guess_grows_with_what_costs_and_holds_what_was_measured():
    def guess(params=86_000_000, fetch=0, samples=1000, modality="image", cores=1, **more):
        loads = [ModelLoad(params, fetch, **more)]
        return estimate(loads, samples=samples, modality=modality, device="cpu", cores=cores)

    base = guess()
    assert base[0] < base[1]
    for changed in ({"params": 300_000_000}, {"samples": 2000}, {"fetch": 10**9}):
        assert all(new > old for new, old in zip(guess(**changed), base, strict=True))
    for changed in ({"cores": 4}, {"extracted": True}, {"modality": "text"}):
        assert all(new < old for new, old in zip(guess(**changed), base, strict=True))
    # One core: ViT-B/16 took half a second a picture, BERT a quarter of one for 128 tokens.
    assert base[0] < 1000 * 0.51 < base[1]
    low, high = guess(params=109_500_000, modality="text")
    assert low < 1000 * 0.24 < high


def test_what_would_go_over_the_budget_is_left_out_and_the_rest_stays():
    candidates = [
        Candidate("a/60", download_bytes=60),
        Candidate("a/50", download_bytes=50),
        Candidate("a/here", download_bytes=500),
        Candidate("a/skipped", download_bytes=900, skip="gated"),
        Candidate("a/30", download_bytes=30),
    ]
    here = [False, False, True, False, False]
    kept = skip_large_downloads(candidates, here, limit=100, spent=5)
    assert [c.skip is None for c in kept] == [True, False, True, False, True]
    assert kept[1].skip == "50 B of weights: over the 100 B a job may download"
    assert kept[3].skip == "gated"
