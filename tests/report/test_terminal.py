"""The ranking on a terminal, and for programs."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from hf_sfda import format as text
from hf_sfda.names import with_short_names
from hf_sfda.report import render_plain, render_quiet, render_table, sentences
from hf_sfda.types import ModelRow
from tests.report_fixture import HOSTILE, example_ranking

GOLDEN = Path(__file__).parent / "golden"


def drawn(ranking, width: int, **options) -> str:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(
        render_table(ranking, width=width, **options)
    )
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_table_is_the_golden_one(width):
    """After a change that is meant: UPDATE_GOLDEN=1 pytest, and read the difference."""
    path = GOLDEN / f"table_{width}.txt"
    now = drawn(example_ranking(), width, header=True)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(now, encoding="utf-8")
    assert now == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", range(50, 221, 10))
def test_a_model_is_one_line_that_fits(width):
    lines = drawn(example_ranking(), width).splitlines()
    assert max(map(len, lines)) <= width
    table = lines[1:21]
    assert [line.split()[0] for line in table[:4]] == ["1-3", "1-3", "1-3", "4-8"]
    assert [line.split()[0] for line in table[-3:]] == ["18", "19-20", "19-20"]
    assert all(re.search(r" \.\d{3}\b", line) for line in table)


@pytest.mark.parametrize("width", range(60, 121))
def test_no_cell_is_cut_beside_short_names(width):
    ranking = example_ranking()
    rows = [replace(row, model_id=f"m{i}") for i, row in enumerate(ranking.ranked[:4])]
    header, *lines = drawn(replace(ranking, rows=tuple(rows)), width).splitlines()[:5]
    assert text.ELLIPSIS not in header + "".join(lines)


def test_columns_leave_in_the_order_of_their_weight():
    headers = {w: set(drawn(example_ranking(), w).splitlines()[0].split()) for w in (80, 100, 170)}
    assert {"sfda_cv", "95%", "P(best)", "probe", "params"} < headers[80]
    assert headers[100] - headers[80] == {"k-NN", "behind"}
    assert headers[170] - headers[100] == {"MB", "img/s", "note", "licence"}


def test_hazards_move_below_the_table_when_their_column_does_not_fit():
    narrow, wide = drawn(example_ranking(), 80), drawn(example_ranking(), 170)
    assert "\nacme/random-init: at the noise floor (0.118)\n" in narrow
    assert "\nacme/random-init: at" not in wide
    assert re.search(r"acme/random-init .* at the noise floor \(0\.118\)", wide)
    assert "hscore:" not in narrow + wide  # other metrics' notes stay in the long report


def test_everything_left_out_has_its_reason_and_markup_is_plain_text():
    shown = drawn(example_ranking(), 140)
    assert "acme/gated-giant  skipped: gated, and no token that may read it" in shown
    assert "failed: layer.3.weight holds NaN" in shown
    assert "<b>./my-checkpoint</b>" in shown
    row = ModelRow("a/[red]b[/red]", None, "skipped", reason="[bold]no[/bold]")
    shown = drawn(replace(example_ranking(), rows=(row,)), 100)
    assert "a/[red]b[/red]  skipped: [bold]no[/bold]" in shown
    assert "Nothing could be ranked" in shown


def test_an_empty_ranking_is_drawn_too():
    shown = drawn(replace(example_ranking(), rows=(), agreement={}), 80, header=True)
    assert "0 candidates · 0 ranked" in shown
    assert "Nothing could be ranked" in shown


def test_a_table_of_one_model_shows_no_intervals():
    (first, *_) = example_ranking().rows
    bare = replace(first, intervals={}, p_best=None, rank_interval=None, license=None)
    shown = drawn(replace(example_ranking(), rows=(bare,)), 100)
    assert "95%" not in shown
    assert "P(best)" not in shown
    assert "Fine-tune acme/convnext-small-in22k: the only model ranked." in " ".join(shown.split())


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        ([1, 1, 1, 2, 2], "1 to 3 cannot be told apart at 95%. Nor can others that share a place."),
        ([1, 1, 2, 3, 4], "1 and 2 cannot be told apart at 95%."),
        (
            [1, 2, 2],
            "1 is ahead of the next at 95%; models that share a place cannot be told apart.",
        ),
        ([1, 2, 3], "Each model can be told from the next at 95%."),
        ([1], ""),
    ],
)
def test_the_sentence_about_ties_names_the_models_that_share_the_first_place(groups, sentence):
    ranking = example_ranking()
    rows = [replace(row, tie_group=g) for row, g in zip(ranking.rows, groups, strict=False)]
    assert sentences.ties(replace(ranking, rows=tuple(rows))) == sentence


@pytest.mark.parametrize(
    ("agreement", "subject", "taus"),
    [
        ({"knn": 0.9, "logistic_probe": 0.71}, "k-NN and the probe agree", ".90, .71"),
        ({"knn": 0.9, "logistic_probe": 0.1}, "k-NN and the probe agree in part", ".90, .10"),
        ({"logistic_probe": -0.2}, "The probe disagrees", "-.20"),
    ],
)
def test_the_sentence_about_agreement_names_the_baselines(agreement, subject, taus):
    sentence = sentences.agreement(replace(example_ranking(), agreement=agreement))
    assert sentence == f"{subject} with the order (weighted tau {taus})."


def test_no_sentence_about_agreement_without_baselines_or_with_few_models():
    ranking = example_ranking()
    assert sentences.agreement(replace(ranking, agreement={"logme": 1.0})) == ""
    assert sentences.agreement(replace(ranking, rows=ranking.rows[:4])) == ""


def test_the_advice_has_a_shortlist_and_the_price_of_a_smaller_model():
    ranking = example_ranking()
    assert sentences.is_calibrated(ranking)
    first = (
        "Fine-tune acme/convnext-small-in22k: best of the 20 after fine-tuning with probability .52"
    )
    three = (
        "; fine-tune 3 to have it with probability 1.00: acme/convnext-small-in22k, "
        "acme/vit-small-patch16-224 and acme/resnet-50"
    )
    assert sentences.advice(ranking) == (
        f"{first}{three}; acme/vit-small-patch16-224, 2.3 times smaller, is .9 points behind it in "
        "expectation."
    )
    equal = tuple(replace(row, params=7) for row in ranking.rows)
    assert sentences.advice(replace(ranking, rows=equal)) == f"{first}{three}."
    sure = (replace(ranking.rows[0], p_best=0.97, params=7), *ranking.rows[1:])
    assert sentences.advice(replace(ranking, rows=sure)) == f"{first[:-2]}97."


@pytest.mark.parametrize(
    ("p_best", "names", "probability"),
    [
        ((0.95, 0.05, 0.0), "a", 0.95),
        ((0.6, 0.3, 0.1), "ab", 0.9),
        ((0.3, 0.1, 0.6), "ac", 0.9),
        ((0.2, 0.2, 0.2, 0.2, 0.1, 0.1), "abcde", 0.9),
        ((0.2, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1), "abcde", 0.8),
    ],
)
def test_the_shortlist_is_short_likely_and_in_order(p_best, names, probability):
    rows = tuple(
        ModelRow(name, None, "ok", rank=place, p_best=p)
        for place, (name, p) in enumerate(zip("abcdefgh", p_best, strict=False), 1)
    )
    models, total = sentences.shortlist(replace(example_ranking(), rows=rows))
    assert "".join(row.model_id for row in models) == names
    assert total == pytest.approx(probability)


def uncalibrated():
    """The same run by a score that the benchmark does not have."""
    ranking = example_ranking()
    rows = tuple(replace(row, expected_regret=None) for row in ranking.rows)
    return replace(ranking, rows=rows, config={**ranking.config, "layers": "last"})


def test_without_calibration_the_advice_is_about_the_score():
    ranking = uncalibrated()
    assert not sentences.is_calibrated(ranking)
    assert sentences.advice(ranking) == (
        "Fine-tune acme/convnext-small-in22k: first, in a tie with 2 others; "
        "acme/vit-small-patch16-224, 2.3 times smaller, is .013 behind."
    )
    assert "behind" not in drawn(ranking, 170).split("\n")[0]
    assert "behind" in drawn(example_ranking(), 170).split("\n")[0]
    equal = tuple(replace(row, params=7) for row in ranking.rows)
    assert sentences.advice(replace(ranking, rows=equal)) == (
        "Fine-tune acme/convnext-small-in22k: first, in a tie with 2 others."
    )
    unknown = (replace(ranking.rows[0], params=None), *ranking.rows[1:])
    assert sentences.advice(replace(ranking, rows=unknown)) == (
        "Fine-tune acme/convnext-small-in22k: first, in a tie with 2 others."
    )
    alone = (ranking.rows[0], *(replace(row, tie_group=2) for row in ranking.rows[1:20]))
    assert sentences.advice(replace(ranking, rows=alone)).endswith(": first by sfda_cv.")


def named(*names: str):
    ranking = example_ranking()
    rows = [replace(row, model_id=name) for row, name in zip(ranking.rows, names, strict=False)]
    return replace(ranking, rows=tuple(rows))


@pytest.mark.parametrize(
    ("names", "shown", "folder"),
    [
        (["/zoo/a", "/zoo/deep/b", "me/c"], ["a", "deep/b", "me/c"], "/zoo"),
        (["./zoo/a", "./zoo/b/"], ["a", "b"], "zoo"),
        (["zoo/image/a", "zoo/image/b", "gpt2"], ["a", "b", "gpt2"], "zoo/image"),
        (["/zoo/a", "me/c"], ["/zoo/a", "me/c"], None),
        (["/zoo/a", "./zoo/b"], ["/zoo/a", "./zoo/b"], None),
        (["/zoo/me/c", "/zoo/b", "me/c"], ["/zoo/me/c", "/zoo/b", "me/c"], None),
        (["/a", "/b"], ["/a", "/b"], None),
    ],
)
def test_paths_lose_the_folder_they_share(names, shown, folder):
    short, left_off = with_short_names(named(*names))
    assert [row.model_id for row in short.rows] == shown
    assert left_off == folder


def test_the_shared_folder_is_said_once():
    shown = drawn(named("/far/away/zoo/a", "/far/away/zoo/b"), 100)
    assert shown.count("/far/away/zoo") == 1
    assert "Local models are in /far/away/zoo." in shown


def test_the_command_repeats_the_run():
    ranking = example_ranking()
    assert sentences.command(ranking) == (
        "hf-sfda rank --dataset me/emoji --samples 1270 --metric sfda_cv "
        "--metrics sfda_cv,sfda,logme,hscore,knn,logistic_probe --out runs/emoji"
    )
    config = {**ranking.config, "models": ["a/b", "./my model"], "metrics": ["sfda_cv", "knn"]}
    assert sentences.command(replace(ranking, config=config)) == (
        "hf-sfda rank --dataset me/emoji --models a/b './my model' --samples 1270 "
        "--metric sfda_cv --metrics sfda_cv,knn --out runs/emoji"
    )


def test_the_command_of_an_earlier_version_has_the_present_names():
    ranking = example_ranking()
    config = {key: value for key, value in ranking.config.items() if key != "layers"}
    command = sentences.command(replace(ranking, config={**config, "view": "last"}))
    assert "--layers last" in command


def test_plain_is_a_table_for_programs():
    lines = render_plain(example_ranking()).splitlines()
    table, told = lines[:25], lines[25:]
    cells = [line.split("\t") for line in table]
    assert {len(row) for row in cells} == {19}
    first = dict(zip(cells[0], cells[1], strict=True))
    assert first["rank"] == "1"
    assert first["tie"] == "1-3"
    assert first["model"] == "acme/convnext-small-in22k"
    assert first["sfda_cv"] == "0.584"
    assert (first["low_95%"], first["high_95%"]) == ("0.561", "0.608")
    assert first["params"] == "50200000"
    last = dict(zip(cells[0], cells[-1], strict=True))
    assert last["status"] == "failed"
    assert last["rank"] == last["sfda_cv"] == ""
    assert all(line.startswith("# ") for line in told)
    assert "\x1b" not in "".join(lines)


def test_plain_survives_tabs_and_newlines_in_a_reason():
    row = ModelRow("a/b", None, "failed", reason="first\tline\nsecond line")
    lines = render_plain(replace(example_ranking(), rows=(row,))).splitlines()
    assert lines[1].split("\t")[-1] == "first line second line"


def test_quiet_is_the_ids_of_the_ranked():
    ids = render_quiet(example_ranking()).split("\n")
    assert len(ids) == 20
    assert ids[0] == "acme/convnext-small-in22k"
    assert HOSTILE in ids


@pytest.mark.parametrize(
    ("function", "value", "expected"),
    [
        (text.score, 0.5836, ".584"),
        (text.score, 1.0, "1.000"),
        (text.score, -0.0214, "-.021"),
        (text.score, 12.3456, "12.346"),
        (text.score, 25_600_000, "26 M"),
        (text.score, None, ""),
        (text.score, float("nan"), ""),
        (text.share, 0.004, ".00"),
        (text.share, 1.0, "1.00"),
        (text.count, 999_400_000, "999 M"),
        (text.count, 999_600_000, "1.0 B"),
        (text.count, 9_960_000, "10 M"),
        (text.count, 4_700_000, "4.7 M"),
        (text.count, 12, "12"),
        (text.count, None, ""),
        (text.megabytes, 1_218_000_000, "1,218"),
        (text.megabytes, 4_800_000, "4.8"),
        (text.rate, 1023.4, "1,023"),
        (text.rate, 0.256, "0.26"),
        (text.interval, (0.561, 0.608), ".561 to .608"),
        (text.interval, None, ""),
    ],
)
def test_numbers_are_rounded_for_people(function, value, expected):
    assert function(value) == expected


@pytest.mark.parametrize("width", [1, 2, 5, 10, 24])
def test_shortened_names_keep_both_ends(width):
    name = "organisation/checkpoint-large-v2"
    short = text.shorten(name, width)
    assert len(short) == width
    assert "…" in short
    if width >= 10:
        assert short.startswith("org")
        assert short.endswith("-v2")
    assert text.shorten("a/b", width) == ("a/b" if width >= 3 else text.shorten("a/b", width))


def test_importing_the_report_is_cheap():
    code = (
        "import sys, hf_sfda.report; "
        "print([m for m in ('plotly', 'torch', 'jinja2', 'pyarrow', 'pandas', 'rich', "
        "'transformers', 'scipy') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
