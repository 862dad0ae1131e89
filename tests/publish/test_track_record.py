"""The hit rate: examples computed by hand, and what must hold for all rows."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_sfda.publish.finetuning_rows import finetuning_rows
from hf_sfda.publish.rows import make_run
from hf_sfda.publish.track_record import (
    hit_rate,
    of_dataset,
    over_time,
    summary,
    track_record,
    verdicts,
)
from hf_sfda.uncertainty import wilson
from tests.publishing import finetuned, make_ranking

ORDER = {"a/a": 0.9, "b/b": 0.8, "c/c": 0.7}
DAY = "2026-11-{:02d}T10:00:00+00:00"


def rows_of(*runs):
    """Rows of (ranking, settings, day of the measurements), as scores and fine-tuning."""
    scores, finetuning = [], []
    for ranking, measured, day in runs:
        run = make_run(ranking)
        times = {
            (m.model_id, m.value): DAY.format(day) for one in measured for m in one.measurements
        }
        scores += run.rows
        finetuning += finetuning_rows(run, measured, times)
    return scores, finetuning


def one(right, *, dataset="me/plants", created=1, measured=2, **options):
    ranking = make_ranking(ORDER, dataset=dataset, created_at=DAY.format(created), **options)
    return ranking, [finetuned(ranking, right)] if right else [], measured


def judged(*runs):
    return verdicts(*rows_of(*runs))


def test_the_first_pick_is_the_best():
    (verdict,) = judged(one({"a/a": 80, "b/b": 70}))
    assert (verdict.first, verdict.best, verdict.among, verdict.is_hit) == ("a/a", "a/a", 2, True)
    assert verdict.regret.points == 0


def test_a_verdict_says_how_many_points_the_first_pick_cost():
    (verdict,) = judged(one({"a/a": 70, "b/b": 60, "c/c": 90}))
    assert (verdict.best, verdict.among, verdict.is_hit) == ("c/c", 3, False)
    assert verdict.regret.points == pytest.approx(20)
    assert verdict.regret.low > 0


def test_an_equally_accurate_model_does_not_make_it_a_miss():
    (verdict,) = judged(one({"a/a": 80, "b/b": 80}))
    assert verdict.is_hit
    assert verdict.n_best == 2
    assert hit_rate([verdict]).by_chance == 1


def test_one_measured_model_is_no_truth():
    assert judged(one({"a/a": 80})) == []
    assert judged(one({})) == []
    assert hit_rate([]) is None


def test_a_first_pick_that_was_not_measured_is_neither_hit_nor_miss():
    found = judged(one({"b/b": 70, "c/c": 60}))
    assert [verdict.regret for verdict in found] == [None]
    assert hit_rate(found) is None
    rate = hit_rate(judged(one({"b/b": 70, "c/c": 60}), one({"a/a": 9, "b/b": 8}, dataset="me/x")))
    assert (rate.hits, rate.judged, rate.not_measured) == (1, 1, 1)


def test_models_of_different_settings_are_not_compared():
    ranking = make_ranking(ORDER)
    first, other = finetuned(ranking, {"a/a": 70}), finetuned(ranking, {"b/b": 90}, seed=1)
    assert judged((ranking, [first, other], 2)) == []
    version = replace(other.measurements[0], versions={"hf-sfda": "0.2.0"})
    later = replace(first, measurements=(*first.measurements, version))
    assert judged((ranking, [later], 2)) == []


def test_of_several_settings_those_with_the_first_pick_count():
    ranking = make_ranking(ORDER)
    with_pick = finetuned(ranking, {"a/a": 80, "b/b": 70})
    without = finetuned(ranking, {"b/b": 70, "c/c": 90}, seed=1)
    (verdict,) = judged((ranking, [with_pick, without], 2))
    assert (verdict.among, verdict.is_hit) == (2, True)
    more = finetuned(ranking, {"a/a": 80, "b/b": 85, "c/c": 60}, seed=2)
    (verdict,) = judged((ranking, [with_pick, without, more], 2))
    assert (verdict.among, verdict.is_hit) == (3, False)


def test_the_newest_measurement_of_a_model_counts():
    again = one({"a/a": 60, "b/b": 70}, measured=5)
    assert [v.is_hit for v in judged(one({"a/a": 80, "b/b": 70}), again)][-1] is False
    assert [v.is_hit for v in judged(again, one({"a/a": 80, "b/b": 70}, measured=6))][-1] is True


def test_a_measurement_judges_other_runs_on_the_same_samples_and_no_others():
    later = make_ranking({"b/b": 0.9, "a/a": 0.8}, created_at=DAY.format(5), seed=1)
    found = judged(one({"a/a": 80, "b/b": 70}), (later, [], 0))
    assert [(v.first, v.is_hit) for v in found] == [("a/a", True), ("b/b", False)]
    moved = make_ranking(ORDER, created_at=DAY.format(5), dataset_sha="c" * 40)
    assert len(judged(one({"a/a": 80, "b/b": 70}), (moved, [], 0))) == 1
    changed = replace(
        later, rows=tuple(replace(row, revision="0" * 40) for row in later.rows if row.rank == 1)
    )
    assert len(judged(one({"a/a": 80, "b/b": 70}), (changed, [], 0))) == 1


def test_each_dataset_counts_once_by_its_newest_judged_order():
    """Three datasets: two hits, and a miss of 20 points. The older miss on me/x does not count."""
    reverse = make_ranking(
        {"c/c": 0.9, "b/b": 0.8, "a/a": 0.7}, dataset="me/x", created_at=DAY.format(1), seed=1
    )
    runs = [
        (reverse, [], 0),
        one({"a/a": 80, "b/b": 70, "c/c": 60}, dataset="me/x", created=3),
        one({"a/a": 50, "b/b": 40}, dataset="me/y"),
        one({"a/a": 60, "b/b": 80}, dataset="me/z"),
    ]
    rate = hit_rate(judged(*runs))
    assert (rate.hits, rate.judged, rate.not_measured, rate.within_noise) == (2, 3, 0, 0)
    assert (rate.low, rate.high) == wilson(2 / 3, 3)
    assert rate.regret == pytest.approx(20 / 3)
    assert rate.by_chance == pytest.approx(1 / 3 + 1 / 2 + 1 / 2)
    text = summary(track_record(*rows_of(*runs)))
    assert text[0] == (
        "The first pick was the best of the fine-tuned models on 2 of 3 datasets "
        "(95% .208 to .939). Picks at random among these models are expected to be the best on 1.3."
    )
    assert text[1:3] == [
        "The first pick cost 6.7 points of accuracy on average.",
        "Misses within the noise of the test samples: 0 of 1.",
    ]
    on_x = track_record(*rows_of(*runs)).of(("me/x", "", "train"))
    assert of_dataset(on_x) == (
        "The first pick was the best of the fine-tuned models in 1 of 2 updates."
    )


def test_the_summary_says_of_what_the_points_are():
    run = one({"a/a": 60, "b/b": 80}, dataset="me/x")
    f1 = [
        replace(m, measure="F1", per_sample=tuple(map(float, m.per_sample)))
        for m in run[1][0].measurements
    ]
    others = [replace(run[1][0], measurements=tuple(f1))]
    text = summary(track_record(*rows_of((run[0], others, 2))))
    assert text[1] == "The first pick cost 20.0 points of F1 on average."
    both = [(run[0], others, 2), one({"a/a": 60, "b/b": 60}, dataset="me/y")]
    text = summary(track_record(*rows_of(*both)))
    assert text[1] == "The first pick cost 10.0 points of accuracy and F1 on average."


def test_a_miss_within_the_noise_is_counted_as_one():
    rate = hit_rate(judged(one({"a/a": 80, "b/b": 82})))
    assert (rate.hits, rate.within_noise) == (0, 1)


def test_over_time_each_date_knows_what_was_known_then():
    runs = [
        one({"a/a": 80, "b/b": 70}, dataset="me/x", created=1, measured=4),
        one({"a/a": 60, "b/b": 80}, dataset="me/y", created=2, measured=7),
        one({"b/b": 80, "c/c": 70}, dataset="me/z", created=9, measured=9),
    ]
    points = over_time(*rows_of(*runs))
    assert [(day.day, rate.hits, rate.judged, rate.not_measured) for day, rate in points] == [
        (4, 1, 1, 0),
        (7, 1, 2, 0),
        (9, 1, 2, 1),
    ]
    assert points[-1][1] == hit_rate(judged(*runs))


def test_nothing_can_be_said_without_a_measured_first_pick():
    record = track_record(*rows_of(one({"b/b": 80, "c/c": 70})))
    assert record.rate is None
    assert summary(record) == [
        "Models were fine-tuned on 1 dataset, but no first pick was among them."
    ]
    assert track_record(*rows_of(one({}))) is None


counts = st.dictionaries(st.sampled_from(list(ORDER)), st.integers(0, 100))
runs_of_all_kinds = st.lists(
    st.tuples(
        counts,
        st.sampled_from(["me/x", "me/y", "me/z"]),
        st.integers(1, 9),
        st.integers(1, 9),
        st.permutations([0.9, 0.8, 0.7]),
        st.integers(0, 1),
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(runs_of_all_kinds, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter_and_regret_is_not_negative(drawn, shuffler):
    runs = []
    for right, dataset, created, measured, scores, seed in drawn:
        order = dict(zip(ORDER, scores, strict=True))
        ranking = make_ranking(order, dataset=dataset, created_at=DAY.format(created))
        runs.append((ranking, [finetuned(ranking, right, seed=seed)], measured))
    scores, finetuning = rows_of(*runs)
    found, points = verdicts(scores, finetuning), over_time(scores, finetuning)
    rate = hit_rate(found)
    if rate is not None:
        assert points[-1][1] == rate
        assert 0 <= rate.hits <= rate.judged <= 3
        assert rate.low <= rate.hits / rate.judged <= rate.high
        assert 0 <= rate.regret <= 100
        assert (rate.regret == 0) == (rate.hits == rate.judged)
    for verdict in found:
        assert verdict.among >= 2
        if verdict.regret is not None:
            assert verdict.regret.points >= 0
            assert verdict.is_hit == (verdict.regret.points == 0)
    scores, finetuning = list(scores), list(finetuning)
    random.Random(shuffler.random()).shuffle(scores)
    shuffler.shuffle(finetuning)
    assert verdicts(scores, finetuning) == found
    assert over_time(scores, finetuning) == points
