"""Kills, full disks and an ill Hub at every place of every command.

``make test-faults`` runs this. Each fault is followed by the same command undisturbed, which must
give what it gives without any fault.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest

from tests.faults.bench import COMMANDS, HUB_FAULTS, MODELS, RANK, RUN_FILES, plain, scores_of
from tests.publishing import make_ranking, save_run

pytestmark = [pytest.mark.hours, pytest.mark.timeout(6 * 3600)]


@pytest.fixture
def command(request: pytest.FixtureRequest, bench: Any) -> Any:
    """A command, with what it does undisturbed."""
    return _undisturbed(request.param, bench)


@cache
def _undisturbed(name: str, bench: Any) -> Any:
    return COMMANDS[name](bench)


every_command = pytest.mark.parametrize("command", list(COMMANDS), indirect=True)


@every_command
def test_after_a_kill_before_any_change_of_a_file_the_same_command_completes(command, trials, step):
    for n in range(0, len(command.changes), step):
        with trials.one(f"killed before {command.changes[n]}"):
            command.strike(kill=n)


@every_command
@pytest.mark.parametrize("when", ["kill_request", "kill_answer"])
def test_after_a_kill_at_any_request_the_same_command_completes(command, trials, step, when):
    for n in range(0, command.requests, step):
        with trials.one(f"{when} {n}"):
            command.strike(**{when: n})


@every_command
def test_after_a_full_disk_at_any_change_the_same_command_completes(command, trials, step):
    for n in range(0, len(command.changes), step):
        with trials.one(f"the disk is full from {command.changes[n]}"):
            command.strike(full=n)


@every_command
@pytest.mark.parametrize("name", list(HUB_FAULTS))
@pytest.mark.parametrize("times", [1, None], ids=["once", "from then on"])
def test_a_hub_that_is_ill_at_any_request_leaves_nothing_half_done(
    command, trials, step, name, times
):
    for n in range(0, command.requests, 3 * step):
        with trials.one(f"{name} at request {n}, {'once' if times else 'from then on'}"):
            command.strike_hub(n, times, **HUB_FAULTS[name])


@pytest.mark.parametrize("what", ["deleted", "closed", "changed", "moved"])
def test_a_model_that_changes_while_it_is_ranked_is_ranked_or_failed(bench, trials, step, what):
    command = _undisturbed("rank", bench)
    for n in range(0, command.requests, step):
        bench.reset()
        bench.hub.faults.add(action="call", skip=n, function=lambda: change(bench.hub, what))
        with trials.one(f"{what} at request {n}"):
            result = bench.run(*RANK)
            plain(result)
            scores = scores_of(result)
            if what != "changed":  # else the other weights have other scores
                command._check_rows(result)
            rows = json.loads(result.out)["rows"] if scores else []
            assert not rows or {row["model_id"] for row in rows} == set(MODELS)


def change(hub: Any, what: str) -> None:
    """Something happens to a model."""
    if what == "deleted":
        hub.delete("acme/vit")
    elif what == "closed":
        hub.set("acme/vit", gated="manual")
    elif what == "moved":
        hub.put("acme/elsewhere", hub.files("acme/vit"))
        hub.delete("acme/vit")
    else:
        files = hub.files("acme/vit")
        content = bytearray(files["model.safetensors"])
        content[-8:] = bytes(8)
        hub.put("acme/vit", {**files, "model.safetensors": bytes(content)})


def test_two_runs_at_once_do_not_disturb_each_other(bench, trials):
    command = _undisturbed("rank", bench)
    for turn in range(5):
        bench.reset()
        with trials.one(f"two runs, turn {turn}"):
            for result in bench.forks.run_all([RANK, RANK], cwd=bench.work):
                plain(result)
                assert result.code == 0, result.err
                assert scores_of(result).keys() == set(MODELS)
                command._check_rows(result)
            assert {p.name for p in (bench.work / "runs/me--shapes").iterdir()} == RUN_FILES


def test_eight_publications_at_once_all_arrive_in_the_end(bench, trials):
    for turn in range(3):
        bench.reset()
        names = [f"set{i}" for i in range(8)]
        for name in names:
            save_run(bench.work / "runs" / name, make_ranking(dataset=f"me/{name}"))
        start = ["publish", f"runs/{names[0]}", "--to", "me/results", "--yes"]
        assert bench.run(*start).code == 0
        commands = [["publish", f"runs/{name}", "--to", "me/results", "--yes"] for name in names]
        with trials.one(f"eight publications, turn {turn}"):
            for result in bench.forks.run_all(commands, cwd=bench.work):
                plain(result)
                assert result.code == 0 or re.search("run the same command|again", result.err)
            for name in names:  # whoever lost the race runs the same command
                assert bench.run(*commands[names.index(name)]).code == 0
            paths = bench.hub.files("me/results", "dataset")
            assert all(any(name in path for path in paths) for name in names)
