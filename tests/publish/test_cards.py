"""The cards: golden files, text from outside, and the templates inside the wheel.

After a change of a template: ``UPDATE_GOLDEN=1 pytest tests/publish/test_cards.py``, and read
the diff.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from jinja2 import UndefinedError

from hf_sfda.hub.access import Repo
from hf_sfda.publish.cards import card_names, cards_directory, cell, render_card, template_file
from hf_sfda.publish.leaderboards import make_leaderboards
from hf_sfda.publish.model_card import edit_card
from hf_sfda.publish.model_result import make_model_result
from hf_sfda.publish.rows import make_run
from hf_sfda.space.deploy.files import space_files
from hf_sfda.types import ModelRow
from tests.publish.card_samples import HUB, render_all
from tests.publishing import SECRET, make_ranking, ok_row, save_run

ROOT = Path(__file__).parents[2]
_DEPLOYED = """
import json
from hashlib import sha256
from hf_sfda.space.deploy.files import space_directory, space_files
digests = {path: sha256(content).hexdigest() for path, content in space_files().items()}
print(json.dumps([str(space_directory()), digests]))
"""
GOLDEN = Path(__file__).parent / "golden_cards"
NAMES = [
    "features_dataset",
    "finetuned_model", "github_workflow.yaml", "leaderboard.yaml", "model_section", "pull_request",
    "results_dataset", "results_section", "space_section", "usage.txt",
]  # fmt: skip

NOTHING_MEASURED = {"hub": HUB, "record": None, "finetuning": ""}

TIED = make_ranking(
    {},
    extra_rows=(
        ok_row("acme/vit", 1, 0.584, tie_group=1, p_best=0.52),
        ok_row("me/resnet", 2, 0.571, tie_group=1, p_best=0.48, license=None),
        ok_row("acme/random", 3, 0.112, tie_group=2, p_best=0.0, params=None),
        ModelRow("acme/nan", "e" * 40, "failed", "layer.3.weight holds NaN"),
        ModelRow("acme/big", None, "skipped", "gated, and no token that may read it"),
    ),
)
AUTHOR = """---
license: mit  # see LICENSE
tags: ['vision', "beans"]
model-index:
- name: ResNet
  results:
  # measured by hand
  - task: {type: image-classification}
    dataset: {name: Plants, type: me/plants, split: train}
    metrics: [{type: accuracy, value: 0.9130}]
    source: {name: The author, url: "https://example.org/eval"}
---
# ResNet

Words of the author.
"""


def compare(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_there_is_a_golden_file_for_every_template():
    assert card_names() == NAMES
    assert {path.name.removesuffix(".md") for path in GOLDEN.iterdir()} == {*NAMES, "model_card"}


@pytest.mark.parametrize("name", NAMES)
def test_texts_for_the_hub_are_the_golden_ones(name, tmp_path):
    file = name if "." in name else f"{name}.md"
    compare(file, render_all(str(save_run(tmp_path, TIED)))[name])


def test_an_edited_model_card_is_the_golden_one(monkeypatch):
    monkeypatch.setattr("hf_sfda.hub.access.hub_url", lambda: HUB)
    result = make_model_result(make_run(TIED), "me/resnet", Repo("me/results", "dataset"))
    compare("model_card.md", edit_card(AUTHOR.encode(), Repo("me/resnet"), result).decode())


def test_the_dataset_card_is_one_load_dataset_understands(tmp_path):
    text = render_all(str(save_run(tmp_path)))["results_dataset"]
    front = yaml.safe_load(text.split("---\n")[1])
    (config,) = front["configs"]
    assert config["data_files"] == [{"split": "train", "path": "data/**/*.parquet"}]


def test_text_from_outside_stays_text(tmp_path):
    nasty = "a|b\n<!-- hf-sfda:end results --> <script>x</script> [c](d) `e` *f* \\ &"
    ranking = make_ranking(
        {},
        extra_rows=(
            ok_row("acme/vit", 1, 0.5, license=nasty),
            ModelRow("acme/x", None, "failed", nasty),
        ),
    )
    leaderboards = make_leaderboards(make_run(ranking).rows)
    text = render_card(
        "results_section", repo="me/r", leaderboards=leaderboards, **NOTHING_MEASURED
    )
    assert "<!--" not in text
    assert "<script>" not in text
    table = [line for line in text.splitlines() if line.startswith("| 1 |")]
    assert table[0].replace("\\|", "").count("|") == text.splitlines()[8].count("|")
    assert cell(None) == ""
    assert cell("<b>\n|") == "&lt;b&gt; \\|"


def test_cards_hold_no_secret():
    ranking = make_ranking({}, extra_rows=(ok_row("a/b", 1, 0.5, license=SECRET),))
    leaderboards = make_leaderboards(make_run(ranking).rows)
    assert SECRET not in render_card(
        "results_section", repo="me/r", leaderboards=leaderboards, **NOTHING_MEASURED
    )


def test_a_card_says_that_nothing_is_measured_or_ranked():
    assert "No results yet." in render_card(
        "results_section", repo="r", leaderboards=[], **NOTHING_MEASURED
    )
    nobody = make_ranking({}, extra_rows=(ModelRow("a/b", None, "failed", "no"),))
    leaderboards = make_leaderboards(make_run(nobody).rows)
    text = render_card("results_section", repo="r", leaderboards=leaderboards, **NOTHING_MEASURED)
    assert "No candidate could be ranked." in text
    assert "1 candidate without a score" in text


def test_a_baseline_has_neither_interval_nor_floor():
    row = ok_row("a/b", 1, 0.5, scores={"params": 2.2e7}, intervals={}, p_best=None)
    run = make_run(make_ranking({}, extra_rows=(row,), metric="params"))
    text = render_card(
        "results_section", repo="r", leaderboards=make_leaderboards(run.rows), **NOTHING_MEASURED
    )
    assert "| 22 M |  |  |" in text
    result = make_model_result(run, "a/b", Repo("me/r", "dataset"))
    assert "22 M, place 1 of 1" in render_card("pull_request", result=result, results="r")


def test_a_missing_value_is_an_error():
    with pytest.raises(UndefinedError, match="hub"):
        leaderboards = make_leaderboards(make_run(make_ranking()).rows)
        render_card(
            "results_section", repo="me/r", leaderboards=leaderboards, record=None, finetuning=""
        )


@pytest.mark.slow
def test_the_wheel_carries_the_cards_and_renders_each_elsewhere(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    inside = zipfile.ZipFile(wheel).namelist()
    assert {name for name in inside if name.startswith("hf_sfda/_cards/")} == {
        f"hf_sfda/_cards/{template_file(name)}" for name in NAMES
    }
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target",
         str(target), str(wheel)],
        check=True,
    )  # fmt: skip
    script = tmp_path / "samples.py"
    script.write_text((Path(__file__).parent / "card_samples.py").read_text())
    run = save_run(tmp_path / "run", TIED)
    done = subprocess.run(
        [sys.executable, str(script), str(run)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=True,
    )
    rendered = json.loads(done.stdout)
    assert Path(rendered.pop("")).is_relative_to(target)
    assert cards_directory() == ROOT / "cards", "a checkout uses its own"
    assert rendered == render_all(str(run))
    deployed = subprocess.run(
        [sys.executable, "-c", _DEPLOYED],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=True,
    )
    where, held = json.loads(deployed.stdout)
    assert Path(where).is_relative_to(target)
    assert held == {path: sha256(content).hexdigest() for path, content in space_files().items()}
    assert {"app.py", "hf_sfda/_space/README.md", "hf_sfda/_cards/space_section.md.jinja"} <= set(
        held
    )


def test_the_column_of_the_score_is_called_by_its_metric():
    """Also if the newest row of the leaderboard is one of another metric."""
    ranking = make_ranking({}, extra_rows=(ok_row("acme/vit", 1, 0.584),))
    (board,) = make_leaderboards(make_run(ranking).rows)
    assert board.about["metric"] != board.about["ranked_by"], "else this test shows nothing"
    text = render_card(
        "results_section", repo="me/results", leaderboards=[board], **NOTHING_MEASURED
    )
    assert "| # | model | sfda_cv | 95% interval" in text


@pytest.mark.parametrize(
    ("task", "described", "headings", "warning"),
    [
        ("image-classification", "split `train` in 9 classes", "probe | k-NN |", None),
        ("audio-classification", "split `train` in 9 classes", "probe | k-NN |", "for sounds"),
        ("text-token-classification", "9 tags, one word of each", "probe | k-NN |", "for tags of"),
        (
            "text-multi-label-classification",
            "text multi-label classification, 9 labels, 1270 samples of",
            "ridge R² | k-NN R² |",
            "for several labels a sample",
        ),
        ("text-regression", "text regression, 1270 samples of", "k-NN R² |", "for a regression"),
    ],
)
def test_the_section_says_what_the_labels_are(task, described, headings, warning):
    scores = {"logme": 0.5, "logistic_probe": 0.7, "linear_probe": 0.6, "knn": 0.5}
    row = ok_row("acme/vit", 1, 0.5, scores=scores, intervals={})
    ranking = make_ranking({}, extra_rows=(row,), metric="logme", metrics=list(scores))
    about = {**ranking.dataset, "task": task}
    if task == "text-regression":
        about["n_classes"] = None
    (board,) = make_leaderboards(make_run(replace(ranking, dataset=about)).rows)
    text = render_card(
        "results_section", repo="me/results", leaderboards=[board], **NOTHING_MEASURED
    )
    assert described in text
    header = next(line for line in text.splitlines() if line.startswith("| # |"))
    assert all(f" {heading.strip()} |" in header for heading in headings.split("|") if heading)
    uncalibrated = "P(best) is not calibrated"
    assert (uncalibrated in text) == (warning is not None)
    assert warning is None or f"{uncalibrated} {warning}" in text
