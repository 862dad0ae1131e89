"""Measured accuracies beside the order: the sentence, the columns, the section of the page."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from hf_sfda.names import with_short_names
from hf_sfda.report import render_html, render_plain, render_table, sorted_by
from hf_sfda.report.files import to_arrow, to_json
from hf_sfda.report.measured import best, regret, summary
from hf_sfda.report.sentences import advice
from hf_sfda.types import Finetuned, Measurement, Ranking
from hf_sfda.uncertainty import paired_difference, wilson
from tests.report_fixture import example_ranking

FIRST, SECOND, THIRD = (row.model_id for row in example_ranking().ranked[:3])


def with_measured(**right: str) -> Ranking:
    """The example, its first models fine-tuned; which of the test samples each gets right."""
    ranking = example_ranking()
    rows = {"first": 0, "second": 1, "third": 2}
    measurements = tuple(
        Measurement(
            model_id=ranking.ranked[rows[name]].model_id,
            revision=ranking.ranked[rows[name]].revision,
            value=correct.count("1") / len(correct),
            interval=wilson(correct.count("1") / len(correct), len(correct)),
            probe_value=0.4,
            learning_rate=3e-4,
            epoch=3,
            samples_trained=900,
            seconds=90.0,
            device="cpu",
            per_sample=tuple(map(int, correct)),
        )
        for name, correct in right.items()
    )
    data = {"fingerprint": "f", "test": "held out", "test_fingerprint": None}
    data |= {"n_train": 300, "n_validation": 100, "n_test": 100}
    finetuned = Finetuned(ranking.dataset["fingerprint"], data, {"seed": 0}, measurements)
    return replace(ranking, finetuned=finetuned)


GOOD, MIDDLE, POOR = "1" * 80 + "0" * 20, "1" * 78 + "0" * 22, "1" * 50 + "0" * 50


def test_the_first_pick_is_the_best():
    ranking = with_measured(first=GOOD, second=POOR)
    assert best(ranking).row.model_id == FIRST
    assert regret(ranking).points == 0
    [sentence] = summary(ranking)
    assert sentence == (
        f"{FIRST} is the best of the 2 fine-tuned models: .800 (.711 to .867) test accuracy. It is "
        "also the first pick, which cost nothing."
    )
    assert advice(ranking) == f"Fine-tune {FIRST}: the best of the 2 that were fine-tuned."


def test_equally_good_models_are_named_as_such():
    [sentence] = summary(with_measured(first=GOOD, second=POOR, third=GOOD))
    assert sentence == (
        f"{FIRST} and 1 other are equally good, the best of the 3 fine-tuned models: .800 (.711 to "
        f".867) test accuracy. {FIRST} is the first pick, which cost nothing."
    )


def test_the_summary_says_what_the_first_pick_cost():
    ranking = with_measured(first=POOR, second=MIDDLE, third=GOOD)
    loss = regret(ranking)
    assert loss.points == pytest.approx(30)
    assert 15 < loss.low < 30 < loss.high < 45
    [sentence] = summary(ranking)
    assert f"{THIRD} is the best of the 3" in sentence
    assert f"The first pick, {FIRST}, cost 30.0 points (95% " in sentence
    assert sentence.endswith(", more than the noise of the test part.")
    assert THIRD in advice(ranking)


def test_a_small_difference_is_noise():
    loss = regret(with_measured(first=MIDDLE, second=GOOD))
    assert loss.points == pytest.approx(2)
    assert loss.is_noise
    [sentence] = summary(with_measured(first=MIDDLE, second=GOOD))
    assert sentence.endswith(", which is within the noise of 100 test samples.")


def test_equal_accuracies_go_to_the_first_of_the_ranking():
    assert best(with_measured(first=GOOD, second=GOOD[::-1])).row.model_id == FIRST


def test_the_summary_of_one_measured_model_claims_no_best():
    ranking = with_measured(second=GOOD)
    assert summary(ranking) == [f"Fine-tuned, {SECOND} reaches .800 (.711 to .867) test accuracy."]
    assert best(ranking) is None
    assert FIRST in advice(ranking)
    [sentence] = summary(with_measured(second=POOR, third=GOOD))
    assert sentence.endswith(f"The first pick, {FIRST}, was not fine-tuned.")
    assert summary(example_ranking()) == []


def test_the_order_of_another_metric_has_another_first_pick():
    ranking = sorted_by(with_measured(first=GOOD, third=POOR), "hscore")
    first = ranking.ranked[0].model_id
    assert first not in (FIRST, THIRD)
    assert summary(ranking)[0].endswith(f"The first pick, {first}, was not fine-tuned.")


@pytest.mark.parametrize("width", [70, 100, 200])
def test_the_table_shows_accuracies_at_every_width(width):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render_table(with_measured(first=POOR, second=GOOD), width=width))
    lines = console.export_text().splitlines()
    assert "fine-tuned" in lines[0]
    assert ".500" in lines[1] and ".800" in lines[2]
    assert (".404 to .596" in lines[1]) == (width > 70)
    assert "cost 30.0 points" in " ".join(" ".join(lines).split())


def test_every_file_holds_the_measured_accuracies():
    ranking = with_measured(first=POOR, second=GOOD)
    document = json.loads(to_json(ranking))
    again = Ranking.from_dict(document)
    assert again.to_dict() == ranking.to_dict()
    assert again.measurement(again.ranked[1]).value == 0.8
    table = to_arrow(ranking)
    column = table.column("finetuned.low").to_pylist()
    assert column[:2] == [pytest.approx(wilson(0.5, 100)[0]), pytest.approx(wilson(0.8, 100)[0])]
    assert set(column[2:]) == {None}
    assert ranking.to_pandas()["finetuned.accuracy"].dropna().tolist() == [0.5, 0.8]
    header, first, *_ = (line.split("\t") for line in render_plain(ranking).splitlines())
    assert dict(zip(header, first, strict=True))["finetuned"] == "0.5"
    assert "# " + summary(ranking)[0] in render_plain(ranking)


def test_a_ranking_without_measured_accuracies_has_no_column_for_them():
    ranking = example_ranking()
    assert "finetuned" not in to_json(ranking).decode()
    assert not [name for name in to_arrow(ranking).column_names if "finetuned" in name]
    assert "finetuned" not in render_plain(ranking)


def test_a_revision_that_was_not_measured_has_none():
    ranking = with_measured(first=GOOD)
    rows = (replace(ranking.rows[0], revision="f" * 40), *ranking.rows[1:])
    assert summary(replace(ranking, rows=rows)) == []


def test_short_names_keep_their_measurements():
    ranking = with_measured(first=POOR, second=GOOD)
    paths = {FIRST: "/data/zoo/a", SECOND: "/data/zoo/b"}
    rows = tuple(replace(row, model_id=paths[row.model_id]) for row in ranking.rows[:2])
    finetuned = replace(
        ranking.finetuned,
        measurements=tuple(
            replace(m, model_id=paths[m.model_id]) for m in ranking.finetuned.measurements
        ),
    )
    short, _ = with_short_names(replace(ranking, rows=rows, finetuned=finetuned))
    assert summary(short)[0].startswith("b is the best")


def test_the_page_has_a_section_and_a_column():
    page = render_html(with_measured(first=POOR, second=GOOD))
    assert "Measured by fine-tuning" in page
    section = page[page.index("Measured by fine-tuning") :]
    section = section[: section.index("</section>")]
    assert section.index(FIRST) < section.index(f">{SECOND}<"), "in the predicted order"
    for text in (".500", ".800", ".711 to .867", "cost 30.0 points", "Trained on 300 samples"):
        assert text in section
    assert '<tr class="leads">' in section
    assert ">fine-tuned</button>" in page
    assert page.index("Measured by fine-tuning") < page.index("<h2>Ranking</h2>"), "the truth first"
    assert "Measured by fine-tuning" not in render_html(example_ranking())


@pytest.mark.parametrize("correct", ["10x", "2"])
def test_a_measurement_that_is_none_is_refused(correct):
    document = with_measured(first=GOOD).to_dict()
    document["finetuned"]["measurements"][0]["correct"] = correct
    with pytest.raises(ValueError, match="no accuracy"):
        Ranking.from_dict(document)


# -- the paired interval


def test_the_paired_interval_is_that_of_agresti_and_min():
    """Agresti and Min's example has one half added to each cell: 12, 5, 2, 81 of 100."""
    first = np.array([1] * 17 + [0] * 83, dtype=bool)  # 12 both, 5 only the first
    second = np.array([1] * 12 + [0] * 5 + [1] * 2 + [0] * 81, dtype=bool)
    difference, low, high = paired_difference(first, second)
    assert difference == pytest.approx(0.03)
    centre, variance = 3 / 102, (5.5 + 2.5 - 3**2 / 102) / 102**2
    assert (low + high) / 2 == pytest.approx(centre)
    assert (high - low) / 2 == pytest.approx(1.959964 * variance**0.5)
    assert paired_difference(second, first) == pytest.approx((-difference, -high, -low))


def test_the_paired_interval_covers_what_it_promises():
    rng = np.random.default_rng(0)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        shared = rng.random(n)  # hard samples are hard for both models
        return shared < 0.7, shared + rng.normal(0, 0.1, n) < 0.62

    first, second = draw(1_000_000)
    true = first.mean() - second.mean()
    intervals = [paired_difference(*draw(60))[1:] for _ in range(2000)]
    assert 0.93 < np.mean([low <= true <= high for low, high in intervals]) < 0.985


def test_samples_that_cannot_be_paired_are_refused():
    with pytest.raises(ValueError, match="cannot pair 3 with 2"):
        paired_difference(np.ones(3, bool), np.ones(2, bool))
