"""What a leaderboard is told, decides and remembers: no Hub needed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from safetensors.numpy import load, save

from hf_sfda.config import CandidateOptions
from hf_sfda.errors import ConfigError, PublishError
from hf_sfda.leaderboard.candidates import decide, within_budget
from hf_sfda.leaderboard.init import settings_text
from hf_sfda.leaderboard.settings import Budget, parse_settings
from hf_sfda.leaderboard.state import (
    Measurement,
    dump_failure,
    dump_scored,
    load_failure,
    load_scored,
    read_path,
    record_path,
)
from hf_sfda.ranking.assemble import Scored
from hf_sfda.types import Candidate, ModelRow, RowWarning, Score
from tests.publishing import SECRET

POOL = "me--shapes/0123456789abcdef"
A, B = "a" * 40, "b" * 40


# -- leaderboard.yaml


def test_every_key_is_understood():
    settings = parse_settings(
        """
        datasets:
        - me/plants
        - {id: "me/birds:large", split: train, label_column: kind}
        query: {top: 7, max_params: 300_000_000}
        metric: logme
        metrics: [logme, knn]
        samples: 500
        confidence: 0.9
        budget: {candidates: 3, params: 100_000_000}
        """
    )
    first, second = settings.targets
    assert (first.dataset, first.metric, first.samples, first.confidence) == (
        "me/plants",
        "logme",
        500,
        0.9,
    )
    assert (second.dataset, second.split, second.label_column) == (
        "me/birds:large",
        "train",
        "kind",
    )
    assert first.metrics == ("logme", "knn")
    assert (settings.query.top, settings.budget) == (7, Budget(3, 100_000_000))
    assert settings.candidate_options["max_params"] == 100_000_000


def test_a_query_takes_the_filters_of_rank():
    settings = parse_settings(
        "{datasets: [me/a], query: {license: [permissive], author: acme, max_params: null}}"
    )
    assert settings.query == CandidateOptions(license=("permissive",), author=("acme",))


def test_who_is_ranked_does_not_decide_what_may_be_compared():
    small = parse_settings("{datasets: [me/a], query: {max_params: 5}, budget: {params: 3}}")
    large = parse_settings("{datasets: [me/a], models: [acme/vit]}")
    assert small.targets[0].fingerprint() == large.targets[0].fingerprint()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datasets: [me/a]\nmetrik: knn", "unknown key metrik. Allowed: datasets, models, query"),
        (
            "datasets: [me/a]\nquery: {topp: 3}",
            "query: unknown key topp. Allowed: top, candidates",
        ),
        (
            "datasets: [me/a]\nquery: {license: 3}",
            "query: license is 3; it must be a list of texts",
        ),
        ("datasets: [{id: me/a, name: b}]", "unknown key name. Allowed: id, revision, split"),
        ("metric: knn", "names no datasets"),
        ("datasets: []", "names no datasets"),
        ("datasets: [./folder]", "'./folder' is not a dataset on the Hub"),
        ("datasets: [{split: train}]", "None is not a dataset on the Hub"),
        ("datasets: [me/a, me/a]", "twice"),
        ("datasets: [me/a]\nmodels: [./x]", "'./x' is not a model on the Hub"),
        ("datasets: [me/a]\nmodels: [a/b]\nquery: {top: 3}", "both `models` and `query`"),
        ("datasets: [me/a]\nsamples: many", "samples is 'many'; it must be a whole number"),
        ("datasets: [me/a]\nsamples: true", "samples is True; it must be a whole number"),
        ("datasets: [me/a]\nsamples: 1", "samples is 1; it must be at least 2"),
        ("datasets: [me/a]\nview: best", "layers is 'best'; allowed are last, all"),
        ("datasets: [me/a]\nbudget: {candidates: 0}", "candidates is 0; it must be at least 1"),
        ("datasets: [me/a\n", "is not YAML"),
        ("datasets: [me/a]\nmetrics: 5", "metrics is 5; it must be a list of texts"),
        ("datasets: [me/a]\nmetrics: [5]", "an entry of metrics is 5; it must be text"),
        ("datasets: [me/a]\nsamples: 2024-01-02", "samples is the date 2024-01-02"),
        ("datasets: [{id: me/a, revision: 2024-01-02}]", "put it in quotes"),
        ("datasets: [me/a]\nsampels: 5", "Did you mean samples?"),
        ("datasets: " + "[" * 5000, "nested more than 64 levels deep"),
        ("datasets: &a [*a]", "nested more than 64 levels deep"),
        (b"datasets: [me/a]\n# \xe4\n", "not UTF-8"),
        ("datasets: !!int ''", "is not YAML"),
        ("- a", "must hold `key: value` lines"),
    ],
)
def test_what_is_not_allowed_is_said_with_what_is(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_settings(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("leaderboard.yaml")


def test_one_model_may_be_written_without_a_list():
    assert parse_settings("datasets: [me/a]\nmodels: acme/vit").models == ("acme/vit",)


def test_the_former_name_of_layers_is_accepted():
    (target,) = parse_settings("datasets: [org/plants]\nview: last\n").targets
    assert target.layers == "last"


def test_the_template_is_what_the_options_say():
    text = settings_text(["me/a"], models=["acme/vit"], metric="knn", samples=99, top=5)
    settings = parse_settings(text)
    assert settings.models == ("acme/vit",)
    assert (settings.targets[0].metric, settings.targets[0].samples) == ("knn", 99)
    asked = parse_settings(settings_text(["me/a"], models=[], metric="knn", samples=99, top=5))
    assert (asked.models, asked.query.top) == ((), 5)
    assert yaml.safe_load(text)["budget"]["candidates"] == asked.budget.candidates


# -- who is measured


def candidate(name: str, sha: str | None = A, **fields) -> Candidate:
    return Candidate(f"acme/{name}", revision=sha, **fields)


def known(name: str, sha: str = A, *, ok: bool = True) -> Measurement:
    path = record_path(POOL, f"acme/{name}", sha, ok=ok)
    return Measurement(POOL, f"acme/{name}", sha, ok, path)


def test_a_decision_covers_every_candidate():
    decision = decide(
        [
            candidate("new"),
            candidate("same"),
            candidate("changed", B),
            candidate("failed"),
            candidate("never", None, skip="no weights"),
            candidate("closed", skip="gated"),
        ],
        [
            known("same"),
            known("changed"),
            known("failed", ok=False),
            known("closed"),
            known("left"),
        ],
        [("acme/changed", A, "ok"), ("acme/same", A, "ok")],
        named=False,
    )
    assert [c.model_id for c in decision.pending] == ["acme/changed", "acme/new"]
    assert [(one.model, one.sha) for one in decision.pool] == [
        ("acme/changed", A),
        ("acme/same", A),
    ]
    assert [one.model for one in decision.failed] == ["acme/failed"]
    assert [c.model_id for c in decision.excluded] == ["acme/closed", "acme/left"]


def test_a_checkpoint_that_stopped_working_leaves_the_pool():
    decision = decide(
        [candidate("x", B)],
        [known("x", A), known("x", B, ok=False)],
        [("acme/x", A, "ok")],
        named=False,
    )
    assert (decision.pool, decision.pending) == ((), ())
    assert decision.statuses == {("acme/x", B, "failed")}


def test_a_budget_passes_over_what_it_cannot_pay():
    wanted = [candidate(name, params=params) for name, params in (("a", 6), ("b", 5), ("c", 4))]
    taken, rest = within_budget(wanted, Budget(candidates=9, params=10))
    assert [c.model_id for c in taken] == ["acme/a", "acme/c"]
    assert rest is None
    taken, rest = within_budget(wanted, Budget(candidates=2))
    assert ([c.model_id for c in taken], rest) == (["acme/a", "acme/b"], None)
    assert within_budget(wanted, Budget(candidates=5))[1] == Budget(candidates=2)


# -- records


def scored(**changes) -> Scored:
    rng = np.random.default_rng(0)
    shares = rng.normal(size=7)
    values = {
        "candidate": candidate("x", license="mit", params=12),
        "scores": {
            "knn": Score("knn", float(shares.mean()), shares, {"k": 0.1 + 0.2}, ("a hazard",)),
            "logme": Score("logme", float("nan"), None),
        },
        "contributions": rng.normal(size=20)[::2],
        "floor": 1 / 3,
        "feature_dim": 16,
        "params": 12,
        "samples_per_second": 3.5,
        "feature_key": "f",
        "warnings": (RowWarning(None, "w"), RowWarning("leep", "leep: no head")),
    }
    return Scored(**(values | changes))


def test_a_record_comes_back_to_the_bit():
    one = scored()
    content = dump_scored(one)
    back = load_scored(content, "x")
    assert content == dump_scored(back)
    assert back.candidate == one.candidate
    assert back.scores["knn"].value == one.scores["knn"].value
    assert back.scores["knn"].details == {"k": 0.1 + 0.2}
    assert np.isnan(back.scores["logme"].value)
    np.testing.assert_array_equal(back.scores["knn"].per_sample, one.scores["knn"].per_sample)
    np.testing.assert_array_equal(back.contributions, one.contributions)
    assert (back.floor, back.feature_dim, back.warnings) == (1 / 3, 16, one.warnings)
    assert (
        load_scored(dump_scored(scored(contributions=None, floor=None)), "x").contributions is None
    )


def test_a_record_of_an_earlier_version_names_no_metrics_of_its_warnings():
    content = dump_scored(scored())
    length = int.from_bytes(content[:8], "little")
    about = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["hf_sfda"])
    del about["warning_metrics"]
    old = save(load(content), metadata={"hf_sfda": json.dumps(about)})
    assert load_scored(old, "x").warnings == scored().warnings


def test_records_hold_no_secret():
    assert SECRET.encode() not in dump_scored(
        scored(warnings=(RowWarning(None, f"Bearer {SECRET}"),))
    )
    row = ModelRow("acme/x", A, "failed", f"401 for {SECRET}", library="timm")
    content = dump_failure(row)
    assert SECRET.encode() not in content
    assert load_failure(content, "x").model_id == "acme/x"


@pytest.mark.parametrize("content", [b"", b"nonsense", dump_scored(scored())[:200]])
def test_a_damaged_record_is_an_error_that_says_what_to_do(content):
    with pytest.raises(PublishError, match=r"x is damaged .* next update"):
        load_scored(content, "x")
    with pytest.raises(PublishError, match=r"x is damaged .* next update"):
        load_failure(content, "x")


def test_a_path_says_what_it_holds():
    for ok in (True, False):
        path = record_path(POOL, "acme/vit-b", A, ok=ok)
        assert read_path(path) == Measurement(POOL, "acme/vit-b", A, ok, path)
    for other in ("README.md", "leaderboard/log.jsonl", "data/me--x/0123456789abcdef.parquet"):
        assert read_path(other) is None
