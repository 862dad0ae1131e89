"""Messages that name what a stranger's file or repository holds stay short, and keep their end."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from hf_sfda.cli._errors import report_failure
from hf_sfda.errors import ConfigError, SfdaError
from hf_sfda.foreign import bounded, listing
from hf_sfda.hub import explain
from hf_sfda.hub.access import Repo
from hf_sfda.publish.model_result import _choose, make_model_result
from hf_sfda.publish.rows import make_run
from hf_sfda.report import sorted_by
from hf_sfda.space.backend import Backend
from hf_sfda.typed import unknown_keys
from tests.publishing import make_ranking

ABOUT = ("dataset", "dataset_config", "dataset_split")
NAMES = [f"name-{i}-{'x' * 200}" for i in range(5000)]


def test_a_listing_names_the_first_and_counts_the_rest():
    assert listing(["a", "b", "c"]) == "a, b, c"
    assert listing([]) == ""
    assert listing(["a", "b", "c", "d"], most=2) == "a, b and 2 more"
    text = listing(NAMES)
    assert text.startswith("name-0-xxx")
    assert text.endswith("… and 4,990 more")
    assert len(text) < 1000
    assert listing(["a\nb", "\x1b[31m"]) == "a\ufffdb, \ufffd[31m"


def test_a_bounded_message_keeps_its_beginning_and_its_end():
    message = "Columns: " + ", ".join(NAMES) + ". Choose one with --label-column."
    text = bounded(message)
    assert len(text) < 2100
    assert text.startswith("Columns: name-0-")
    assert text.endswith("Choose one with --label-column.")
    assert bounded("short") == "short"


@pytest.mark.parametrize("error", [ConfigError, SfdaError, RuntimeError])
def test_the_command_line_never_prints_pages_of_an_error(error, capsys):
    report_failure(error("Columns: " + ", ".join(NAMES) + ". Choose one."))
    text = capsys.readouterr().err
    assert len(text) < 2300
    assert "Columns: name-0-" in text
    assert "Choose one." in text


def test_a_reason_of_a_library_is_short():
    """transformers names every model type it knows."""
    reason = explain(ValueError("Unrecognized model. Known: " + ", ".join(NAMES)))
    assert reason.startswith("ValueError: Unrecognized model. Known: name-0-")
    assert len(reason) < 1100


def refused(call) -> str:
    with pytest.raises(SfdaError) as error:
        call()
    return str(error.value)


def test_boards_tasks_models_metrics_and_keys_are_listed_shortly():
    abouts = [dict.fromkeys(ABOUT) | {"dataset": name} for name in NAMES]
    boards = [SimpleNamespace(about=about) for about in abouts]
    results = SimpleNamespace(snapshot=lambda: SimpleNamespace(leaderboards=boards))
    ranking = make_ranking(dict.fromkeys(NAMES[:300], 0.5), extra_rows=())
    scores = dict.fromkeys(NAMES, 0.5)
    scored = replace(ranking, rows=tuple(replace(r, scores=scores) for r in ranking.rows[:2]))
    messages = [
        refused(lambda: Backend.require_view(SimpleNamespace(results=results), "none")),
        refused(lambda: _choose(Repo("me/benchmark", "dataset"), NAMES, "none")),
        refused(
            lambda: make_model_result(make_run(ranking), "none", Repo("me/results", "dataset"))
        ),
        refused(lambda: sorted_by(scored, "none")),
        unknown_keys(NAMES, ["known"]) or "",
    ]
    for message in messages:
        assert "name-0-" in message
        assert " more" in message
        assert len(message) < 5000
