"""Boards as rankings, and their history: what rows keep comes back, the rest is not made up."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_sfda.config import RankConfig
from hf_sfda.publish.leaderboards import history, make_leaderboards, to_ranking
from hf_sfda.publish.names import public_model
from hf_sfda.publish.rows import make_run
from hf_sfda.ranking.runs import config_of
from hf_sfda.report.resort import sorted_by
from hf_sfda.types import ModelRow, Ranking, RowWarning
from hf_sfda.uncertainty import agreement_with
from tests.publishing import make_ranking, ok_row
from tests.report_fixture import example_ranking


def rows_of(*rankings: Ranking) -> list[dict]:
    return [row for ranking in rankings for row in make_run(ranking).rows]


def board_of(*rankings: Ranking):
    (board,) = make_leaderboards(rows_of(*rankings))
    return board


# -- one run


def test_a_run_comes_back_as_it_was_published():
    """Also through parquet, where times are times and text is text."""
    published = make_ranking()
    run = make_run(published)
    stored = pq.read_table(io.BytesIO(run.parquet())).to_pylist()
    for rows in (run.rows, stored):
        (board,) = make_leaderboards(rows)
        back = to_ranking(board)
        assert back.rows == published.rows
        assert back.created_at == published.created_at
        assert (back.tool_version, back.versions) == (
            published.tool_version,
            published.versions,
        )
        assert set(back.dataset) < set(published.dataset)
        assert {key: published.dataset[key] for key in back.dataset} == back.dataset
        lost = {"models", "out", "top", "max_params", "batch_size"}
        assert back.config == {k: v for k, v in published.config.items() if k not in lost}
        scores = {
            name: [row.scores[name] for row in published.ranked]
            for name in ("sfda_cv", "knn", "logistic_probe")
        }
        assert back.agreement == agreement_with("sfda_cv", scores)
        assert Ranking.from_dict(json.loads(json.dumps(back.to_dict()))).rows == back.rows


def test_a_sample_that_the_benchmark_does_not_cover_is_named_where_p_best_is_shown():
    """As in the ranking of the run itself."""
    ranking = make_ranking({"a/a": 0.5, "b/b": 0.4})
    config = {**ranking.config, "metric": "three_heads", "batch_norms": "both"}
    config["layers"] = config.pop("view")  # which has its former name there
    rows = tuple(
        replace(row, scores={**row.scores, "three_heads": row.scores["sfda_cv"]})
        for row in ranking.ranked
    )
    ranking = replace(ranking, config=config, rows=rows)
    small = replace(ranking, dataset={**ranking.dataset, "n_samples": 119})
    outside = "The run has 119 samples, where the benchmark has"
    back = to_ranking(board_of(small))
    assert back.ranked[0].p_best is not None
    assert any(text.startswith(outside) for text in back.warnings)
    assert not any("benchmark" in text for text in to_ranking(board_of(ranking)).warnings)
    # Sorted by another metric there is no P(best), and nothing to say about it.
    other = sorted_by(back, "knn")
    assert other.ranked[0].p_best is None
    assert not any("benchmark" in text for text in other.warnings)


def test_ties_gaps_hazards_and_strangers_come_back():
    """Twenty models as a real run has them; publishing only cleans their texts."""
    published = example_ranking()
    back = to_ranking(board_of(published))
    public = {public_model(row): row for row in published.rows}
    assert len(public) == len(back.rows)
    for row in back.rows:
        reason = public[row.model_id].reason
        reason = reason and reason.replace("./my-checkpoint", "my-checkpoint")
        # The results dataset has no column for the expected regret.
        want = replace(public[row.model_id], expected_regret=None)
        assert row == replace(want, model_id=row.model_id, reason=reason)
    assert [row.model_id for row in back.ranked] == [row.model_id for row in published.ranked]
    assert any("told from shuffled labels" in warning for warning in back.warnings)


@pytest.mark.parametrize("dataset", ["me/plants", "me/birds:large"])
def test_a_hub_dataset_is_found_again_by_the_boards_settings(dataset):
    config = RankConfig(dataset, models=("a/b",), metric="knn", samples=77, revision="v1", out="x")
    document = config.to_dict() | {"fingerprint": config.fingerprint()}
    published = replace(make_ranking(dataset=dataset), config=document)
    published = replace(
        published,
        rows=tuple(replace(row, scores={"knn": 0.5, "sfda_cv": 0.4}) for row in published.ranked),
    )
    again = config_of(to_ranking(board_of(published)))
    assert again.fingerprint() == config.fingerprint()
    assert again.replace(models=("a/b",), out="x") == config


def test_warnings_that_hold_semicolons_are_not_cut():
    text = (
        RowWarning(None, "at the noise floor (0.111)"),
        RowWarning("sfda_cv", "sfda_cv: 2 of 9 classes are small; their probabilities say little"),
        RowWarning("knn", "knn: no; really"),
    )
    low = ok_row("a/a", 1, 0.1, noise_floor=0.111, warnings=text)
    (row,) = to_ranking(board_of(make_ranking({}, extra_rows=(low,)))).ranked
    assert row.warnings == text


# -- several runs


def test_over_several_runs_nothing_is_said_that_only_one_run_knows():
    old = make_ranking({"a/a": 0.5, "b/b": 0.4}, created_at="2026-01-01T00:00:00+00:00")
    new = make_ranking({"b/b": 0.6, "c/c": 0.3}, created_at="2026-02-01T00:00:00+00:00")
    ranking = to_ranking(board_of(old, new))
    assert [(row.model_id, row.rank, row.tie_group) for row in ranking.ranked] == [
        ("b/b", 1, 1),
        ("a/a", 2, 2),
        ("c/c", 3, 3),
    ]
    assert {row.p_best for row in ranking.ranked} == {None}
    assert {row.rank_interval for row in ranking.ranked} == {None}
    assert all(row.noise_floor == 0.111 for row in ranking.ranked)  # a model's own
    assert "2 runs" in ranking.warnings[0]
    assert "Ties are known only within a run" in ranking.warnings[0]
    assert ranking.created_at == new.created_at


def test_a_run_that_lost_a_model_keeps_its_ties_but_not_its_chances():
    tied = tuple(
        ok_row(f"a/{i}", i, 0.6 - i / 100, tie_group=1 + (i > 3), rank_interval=(1, 4))
        for i in range(1, 5)
    )
    gone = make_ranking(
        {}, extra_rows=(ModelRow("a/1", "x", "failed", "gone"),), created_at="2027-01-01"
    )
    ranking = to_ranking(board_of(make_ranking({}, extra_rows=tied), gone))
    assert [(row.rank, row.tie_group) for row in ranking.ranked] == [(1, 1), (2, 1), (3, 2)]
    assert {row.p_best for row in ranking.ranked} == {row.rank_interval for row in ranking.ranked}
    assert {row.p_best for row in ranking.ranked} == {None}
    assert "measured again since" in ranking.warnings[0]
    assert [(row.model_id, row.status, row.reason) for row in ranking.rows[3:]] == [
        ("a/1", "failed", "gone")
    ]


def test_a_board_without_ranked_models_keeps_failed_and_skipped_ones():
    ranking = to_ranking(board_of(make_ranking({})))
    assert ranking.ranked == ()
    assert [row.status for row in ranking.rows] == ["failed", "skipped"]
    assert (ranking.agreement, ranking.warnings) == ({}, ())


# -- history


def test_history_is_the_board_as_it_stood_after_each_run():
    first = make_ranking({"a/a": 0.5, "b/b": 0.4}, created_at="2026-01-01T00:00:00+00:00")
    second = make_ranking({"c/c": 0.45}, created_at="2026-02-01T00:00:00+00:00")
    third = make_ranking(
        {}, extra_rows=(ModelRow("a/a", "x", "failed", "gone"),),
        created_at="2026-03-01T00:00:00+00:00",
    )  # fmt: skip
    rows = rows_of(third, first, second)
    (board,) = make_leaderboards(rows)
    updates = history(rows, board)
    assert [dict(update.places) for update in updates] == [
        {"a/a": 1, "b/b": 2},
        {"a/a": 1, "c/c": 2, "b/b": 3},
        {"c/c": 1, "b/b": 2},
    ]
    assert [update.created_at for update in updates] == [
        ranking.created_at for ranking in (first, second, third)
    ]
    assert [update.run for update in updates] == [
        make_run(ranking).digest for ranking in (first, second, third)
    ]
    assert all(update.comparable for update in updates)


def test_history_goes_on_over_a_change_of_samples_and_marks_it():
    def at(month: int, scores: dict, **options) -> Ranking:
        return make_ranking(scores, created_at=f"2026-{month:02}-01T00:00:00+00:00", **options)

    rows = rows_of(
        at(1, {"a/a": 0.5, "b/b": 0.4}),
        at(2, {"b/b": 0.9}, dataset_sha="c" * 40),
        at(3, {"a/a": 0.1}, dataset_sha="c" * 40),
        at(4, {"b/b": 0.2}, dataset="me/other"),
        at(5, {"b/b": 0.2}, metric="knn"),
        at(1, {"b/b": 0.2}, metric="knn", seed=1),
    )
    board = next(
        b for b in make_leaderboards([r for r in rows if r["ranked_by"] == "sfda_cv"])
        if b.about["dataset"] == "me/plants"
    )  # fmt: skip
    updates = history(rows, board)
    assert [(dict(update.places), update.comparable) for update in updates] == [
        ({"a/a": 1, "b/b": 2}, False),
        ({"b/b": 1}, True),
        ({"b/b": 1, "a/a": 2}, True),
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["a/a", "b/b", "c/c", "d/d"]), st.sampled_from([0.1, 0.2, 0.3])
        ),
        min_size=1,
        max_size=4,
    ),
    st.randoms(use_true_random=False),
)
def test_the_last_ranking_of_the_history_is_the_board(runs, random):
    rankings = [
        make_ranking(scores, created_at=f"2026-01-0{day}T00:00:00+00:00")
        for day, scores in enumerate(runs, 1)
    ]
    rows = rows_of(*rankings)
    random.shuffle(rows)
    (board,) = make_leaderboards(rows)
    updates = history(rows, board)
    assert len(updates) == len(runs)
    assert list(updates[-1].places) == [entry.row["model"] for entry in board.entries]
    assert list(updates[-1].places.values()) == list(range(1, len(board.entries) + 1))
