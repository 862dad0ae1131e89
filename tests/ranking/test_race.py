"""Racing: nested samples, a bound that holds, and the same result for those that are left."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_sfda.config import RankConfig, parse_duration
from hf_sfda.errors import ConfigError
from hf_sfda.ranking import race
from hf_sfda.ranking.race import ALPHA, hopeless, levels, nested_order, round_sizes
from tests import factories
from tests.command import run_command

# -- the samples


@given(
    strata=st.lists(st.integers(0, 4), min_size=1, max_size=200).map(np.array),
    seed=st.integers(0, 5),
    share=st.floats(0, 1),
)
def test_each_beginning_of_the_order_is_stratified(strata, seed, share):
    order = nested_order(strata, seed)
    assert sorted(order) == list(range(len(strata)))
    size = int(share * len(strata))
    counts = np.bincount(strata[order[:size]], minlength=5)
    expected = size * np.bincount(strata, minlength=5) / len(strata)
    assert np.abs(counts - expected).max() <= 2.5, "about in proportion"


@given(n=st.integers(2, 100_000), classes=st.integers(1, 300))
def test_rounds_double_up_to_half_of_the_sample(n, classes):
    sizes = round_sizes(n, classes)
    assert all(b == 2 * a for a, b in itertools.pairwise(sizes))
    if sizes:
        assert n / 2 - 8 < sizes[-1] <= n / 2
        assert sizes[0] >= max(64, 8 * classes, n // 16)
    fewer = sizes[0] / 2 if sizes else n / 2
    assert fewer < max(64, 8 * classes, (n + 1) / 32), "one round more would be too small"


# -- the bound


@given(
    sizes=st.lists(st.integers(1, 10_000), min_size=1, max_size=6),
    n=st.integers(2, 100),
    keep=st.integers(1, 20),
)
def test_the_levels_add_up_to_what_is_promised(sizes, n, keep):
    """By counting: of which number, in which round, how many tests must be wrong."""
    keep = min(keep, n - 1)
    promised = sum(
        level * (n - number) / (keep - number + 1)
        for level in levels(sizes, n, keep)
        for number in range(1, keep + 1)
    )
    assert promised == pytest.approx(ALPHA)
    bonferroni = ALPHA / (len(sizes) * keep * (n - 1))
    assert np.mean(levels(sizes, n, keep)) >= bonferroni * (1 - 1e-9), "never worse"


def runs(rates: list[float], keep: int, *, alpha: float | None, repeats: int, seed: int) -> float:
    """The share of races in which one of the first ``keep`` is dropped.

    Hits on a sample depend on how hard the sample is, so candidates are correlated as in a run.
    """
    random = np.random.default_rng(seed)
    sizes, lost = (64, 128, 256, 512), 0
    of_rounds = levels(sizes, len(rates), keep) if alpha is None else [alpha] * len(sizes)
    best = set(np.argsort(-np.array(rates), kind="stable")[:keep])
    for _ in range(repeats):
        hard = random.normal(size=sizes[-1])
        ability = np.array([np.sqrt(2) * _quantile(rate) for rate in rates])
        hits = ability[:, None] > hard + random.normal(size=(len(rates), sizes[-1]))
        alive = np.arange(len(rates))
        for size, level in zip(sizes, of_rounds, strict=True):
            alive = alive[~hopeless(hits[alive, :size].astype(float), keep, level)]
        lost += not best <= set(alive)
    return lost / repeats


def _quantile(rate: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(rate)


# The hardest case: nobody is better than anybody, so each drop is a mistake of the noise.
EQUAL = [0.7] * 12


def test_the_first_ones_are_lost_in_fewer_races_than_promised():
    assert runs(EQUAL, 3, alpha=None, repeats=400, seed=0) <= ALPHA
    assert runs([0.8, 0.79, 0.78, 0.77, *[0.7] * 8], 3, alpha=None, repeats=400, seed=1) <= ALPHA
    # Two are truly better than number three, so a single wrong test is enough to drop it.
    assert runs([0.95, 0.95, *[0.7] * 10], 3, alpha=None, repeats=400, seed=2) <= ALPHA


def test_without_the_correction_the_promise_is_broken():
    """So the simulation can tell."""
    assert runs(EQUAL, 1, alpha=ALPHA, repeats=400, seed=0) > 3 * ALPHA


def test_what_is_clearly_worse_is_dropped_at_once_and_ties_stay():
    random = np.random.default_rng(0)
    hits = (random.random((8, 64)) < np.array([0.9] * 4 + [0.2] * 4)[:, None]).astype(float)
    assert hopeless(hits, 3, 1e-3).tolist() == [False] * 4 + [True] * 4
    assert not hopeless(hits[:, :4], 3, 1e-3).any(), "four samples say nothing"
    assert not hopeless(np.ones((8, 64)), 3, 1e-3).any()
    same = np.tile(hits[0], (8, 1))
    assert not hopeless(same, 3, 1e-3).any()


# -- a run

OPTIONS = ("--resamples", "100", "--permutations", "0", "--metrics", "three_heads")


@pytest.fixture
def work(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in range(6):
        factories.tiny_vit(tmp_path / "models" / f"vit{seed}", seed=seed)
    factories.tiny_resnet(tmp_path / "models" / "resnet")
    (tmp_path / "models" / "broken").mkdir()
    (tmp_path / "models" / "broken" / "config.json").write_text("{}")
    factories.image_folder(tmp_path / "shapes", n_per_class=70, noise=0.5)
    return tmp_path


FEW = ("models/vit0", "models/vit1", "models/resnet")


def rank(*arguments: str, models: tuple[str, ...] = ("models",), code: int = 0) -> tuple[str, str]:
    asked = ("rank", "--dataset", "shapes", "--models", *models, *OPTIONS, *arguments)
    return run_command(*asked, code=code)


def race_of_few(*arguments: str, code: int = 0) -> tuple[str, str]:
    return rank("--race", "--keep", "2", *arguments, models=FEW, code=code)


def ranking(directory: str) -> dict:
    return json.loads(Path(directory, "ranking.json").read_text())


def events(directory: str, name: str) -> list[dict]:
    lines = Path(directory, "journal.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == name]


def test_survivors_have_the_scores_of_a_full_run(work, monkeypatch):
    monkeypatch.setattr(race, "ALPHA", 0.9)  # so that something is dropped on so few samples
    rank("--race", "--keep", "2", "-o", "raced", "--format", "human")
    rank("-o", "full")
    rounds = events("raced", "race")
    assert [r["samples"] for r in rounds] == [105][: len(rounds)]
    raced, full = ranking("raced"), {row["model_id"]: row for row in ranking("full")["rows"]}
    assert len(raced["rows"]) == len(full), "nobody is missing"
    ranked = [row for row in raced["rows"] if row["status"] == "ok"]
    assert len(ranked) >= 2
    for row in ranked:
        other = full[row["model_id"]]
        assert (row["scores"], row["feature_key"]) == (other["scores"], other["feature_key"])
    dropped = [row for row in raced["rows"] if "dropped by the race" in (row["reason"] or "")]
    assert len(dropped) == sum(len(r["dropped"]) for r in rounds) > 0
    assert {row["status"] for row in dropped} == {"skipped"}
    assert "after 105 samples: three_heads ." in dropped[0]["reason"]
    assert any("The race dropped" in text for text in raced["warnings"])
    assert raced["config"]["fingerprint"] == ranking("full")["config"]["fingerprint"]

    # No sample ran twice through a network with the same statistics of batch norms.
    assert sum(r["passes"] for r in rounds) == 105 * 7
    for event in events("raced", "extracted"):
        measured = event["model"].endswith("resnet")  # statistics from 210 samples, then all again
        assert event["passes"] == 210 - 105 + (2 * 210 if measured else 0)

    # What a full run stored is not extracted again for a race.
    stored = set(map(str, Path(race.FeatureStore().root).glob("??/*.json")))
    rank("--race", "--keep", "2", "-o", "again")
    assert set(map(str, Path(race.FeatureStore().root).glob("??/*.json"))) == stored


def test_a_race_that_was_killed_goes_on_where_it_was(work, monkeypatch):
    def killed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hf_sfda.extract.extract_all", killed)  # what follows the rounds
        race_of_few("-o", "killed", code=130)
    assert (events("killed", "race")[-1]["passes"], events("killed", "extracted")) == (105 * 3, [])
    race_of_few("-o", "killed")
    assert events("killed", "race")[-1]["passes"] == 0
    assert {e["passes"] for e in events("killed", "extracted")} == {105, 105 + 2 * 210}


def test_a_race_never_takes_features_of_other_samples(work):
    """Another seed draws other samples for the rounds, though the whole sample is the same."""
    race_of_few("-o", "one")
    race_of_few("--seed", "1", "-o", "two")
    assert [r["passes"] for r in events("one", "race")] == [105 * 3]
    assert [r["passes"] for r in events("two", "race")] == [0], "all features are stored"
    for row in ranking("one")["rows"]:
        if row["feature_key"]:
            race.FeatureStore().remove(row["feature_key"])
    race_of_few("--seed", "1", "-o", "three")
    assert [r["passes"] for r in events("three", "race")] == [105 * 3], "none of the other seed"
    rank("--seed", "1", "-o", "full", models=FEW)
    scores = ({r["model_id"]: r["scores"] for r in ranking(d)["rows"]} for d in ("three", "full"))
    assert next(scores) == next(scores)


@pytest.mark.slow
def test_a_time_budget_of_zero_still_ranks_one_model(work):
    rank("--time-budget", "0s", "-o", "short", "--json")
    document = ranking("short")
    reached = [row for row in document["rows"] if row["status"] == "ok"]
    late = [row for row in document["rows"] if "not reached" in (row["reason"] or "")]
    assert (len(reached), len(late)) == (1, 6)
    assert {row["status"] for row in late} == {"skipped"}
    smallest = min(row["params"] for row in document["rows"] if row["params"])
    assert reached[0]["params"] == smallest, "the smallest is first"
    assert any("6 models were not reached within 0s" in text for text in document["warnings"])
    # The same command goes on.
    rank("--time-budget", "0s", "-o", "short", "--json")
    assert sum(row["status"] == "ok" for row in ranking("short")["rows"]) == 2
    rank("--race", "--time-budget", "0s", "-o", "raced")
    assert any(row["status"] == "ok" for row in ranking("raced")["rows"])
    rank("--time-budget", "10h", "-o", "long")
    assert sum(row["status"] == "ok" for row in ranking("long")["rows"]) == 7


def test_what_cannot_be_raced_is_refused(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    factories.image_folder(tmp_path / "shapes")
    _, err = run_command(
        "rank", "--dataset", "shapes", "--models", "x", "--race", "--metric", "logme", code=2
    )
    assert "logme does not score held-out samples one by one" in " ".join(err.split())
    # Values are sorted by LogME unless the user says otherwise.
    texts = "".join(f"a text {i},{i / 7}\n" for i in range(40))
    (tmp_path / "values.csv").write_text(f"text,label\n{texts}")
    _, err = run_command("rank", "--dataset", "values.csv", "--models", "x", "--race", code=2)
    assert "logme does not score held-out samples one by one" in " ".join(err.split())
    with pytest.raises(ConfigError, match="keep"):
        RankConfig("d", keep=0)
    with pytest.raises(ConfigError, match="give a duration such as 30m"):
        RankConfig("d", time_budget="soon")
    assert parse_duration("1h30m") == 5400
    assert (
        RankConfig("d", race=True, time_budget="5m").fingerprint() == RankConfig("d").fingerprint()
    )
