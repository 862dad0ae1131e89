"""Successive halving: its control as pure functions, and the command."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_sfda.config import FinetuneConfig, ShortlistConfig
from hf_sfda.finetune import shortlist
from hf_sfda.finetune.parts import divide
from hf_sfda.finetune.plan import Round, best, plan_finetuning, plan_rounds, share_of_training
from hf_sfda.finetune.shortlist import finetune_shortlist
from hf_sfda.ranking.runs import read_ranking
from tests.finetune.test_command import QUICK, RECIPE, Clock, finetune, order, ranked, work

__all__ = ["ranked", "work"]  # fixtures


@given(
    models=st.integers(1, 200),
    finalists=st.integers(1, 8),
    n_train=st.integers(10, 5000),
    n_classes=st.integers(2, 50),
    epochs=st.integers(1, 40),
)
def test_rounds_halve_models_and_raise_training(models, finalists, n_train, n_classes, epochs):
    rounds = plan_rounds(models, finalists, n_train=n_train, n_classes=n_classes, epochs=epochs)
    counts = [r.models for r in rounds] + ([finalists] if rounds else [])
    assert counts[:1] in ([], [models])
    for before, after in itertools.pairwise(counts):
        assert after in (-(-before // 2), finalists)
        assert after < before
    for before, after in itertools.pairwise(rounds):
        assert before.n_train <= after.n_train <= n_train
        assert before.epochs <= after.epochs <= epochs
    assert bool(rounds) == (models > finalists)


@pytest.mark.parametrize(("models", "finalists", "times"), [(24, 2, 5), (24, 1, 10), (12, 1, 5)])
def test_many_models_need_a_fifth_of_the_training(models, finalists, times):
    rounds = plan_rounds(models, finalists, n_train=666, n_classes=9, epochs=8)
    share = share_of_training(rounds, models, finalists, n_train=666, epochs=8)
    assert share < 1 / times


def test_the_share_of_training_is_that_of_a_count_by_hand():
    rounds = (Round(4, 25, 1), Round(2, 50, 2))
    assert share_of_training(rounds, 4, 1, n_train=100, epochs=4) == (100 + 200 + 400) / 1600
    assert share_of_training((), 3, 3, n_train=100, epochs=4) == 1


@given(st.data(), st.integers(1, 12), st.integers(1, 12))
def test_the_better_ones_go_on_in_their_order(data, n, keep):
    models = [f"m{i}" for i in range(n)]
    accuracies = {m: data.draw(st.sampled_from([0.1, 0.5, 0.5, 0.9])) for m in models}
    failed = data.draw(st.sets(st.sampled_from(models)))
    accuracies = {m: a for m, a in accuracies.items() if m not in failed}
    chosen = best(models, accuracies, keep)
    assert len(chosen) == min(keep, len(accuracies))
    assert chosen == [m for m in models if m in chosen]
    rest = [accuracies[m] for m in accuracies if m not in chosen]
    assert not rest or max(rest) <= min(accuracies[m] for m in chosen)


def test_rounds_never_see_the_test_part(work):
    plan = plan_finetuning("run", ShortlistConfig(top=1, halving=True), RECIPE)
    positions = divide(
        replace(plan.target, samples=range(len(plan.target))),
        validation=None,
        test=None,
        validation_share=plan.recipe.validation_share,
        test_share=plan.recipe.test_share,
    )
    names = {
        part: {plan.target.sample_ids[row] for row in getattr(positions, part).samples}
        for part in ("train", "validation", "test")
    }
    assert len(plan.rounds) == 2
    for round_ in plan.rounds:
        train, validation = shortlist._parts_of_round(plan, round_)
        assert set(train.sample_ids) <= names["train"]
        assert set(validation.sample_ids) == names["validation"]
        assert set(train.labels) == {0, 1, 2}
        assert abs(len(train) - round_.n_train) <= 3
        labels = dict(zip(plan.target.sample_ids, plan.target.labels, strict=True))
        assert [labels[i] for i in train.sample_ids] == train.labels.tolist()
    assert train.fingerprint != validation.fingerprint != plan.target.fingerprint


def test_the_command_halves_and_measures_the_last(work):
    options = ("--halving", "--top", "1", *QUICK)
    text = " ".join(finetune(*options, "--format", "agent")[0].split())
    assert "Halving 3 models on 12 samples for at most 1 epoch; 2 models on 15 samples" in text
    assert "then 1 by the whole recipe" in text
    document = json.loads(finetune(*options, "--yes", "--json")[0])
    rounds = document["finetuned"]["rounds"]
    first = {m["model_id"]: m["validation_accuracy"] for m in rounds if m["n_train"] == 12}
    second = {m["model_id"]: m["validation_accuracy"] for m in rounds if m["n_train"] == 15}
    assert set(first) == set(order())
    assert list(second) == best(order(), first, 2)
    [measured] = document["finetuned"]["measurements"]
    assert [measured["model_id"]] == best(list(second), second, 1)
    assert measured["samples_trained"] == 30

    page = (work / "run/report.html").read_text()
    assert "12 samples, at most 1 epoch" in page
    assert "it is not what a model reaches with the whole recipe" in page
    ranking = read_ranking(work / "run")
    shown = {flat["model_id"]: flat["finetuned.accuracy"] for flat in ranking.flat_rows()}
    assert [name for name, value in shown.items() if value is not None] == [measured["model_id"]]

    # Again: nothing is trained.
    again = json.loads(finetune(*options, "--yes", "--json")[0])
    assert again["finetuned"] == document["finetuned"]


def test_the_time_budget_ends_a_round_and_the_next_command_goes_on(work):
    options = {"top": 1, "halving": True}
    # A question before each model and one before each of its two steps: two models are done.
    plan = plan_finetuning("run", ShortlistConfig(time_budget=7, **options), RECIPE)
    outcome = finetune_shortlist(plan, clock=Clock())
    assert 0 < len(outcome.finetuned.rounds) < 3
    assert set(outcome.out_of_time) == set(order())
    assert not outcome.finetuned.measurements
    done = outcome.finetuned.rounds
    whole = finetune_shortlist(plan_finetuning("run", ShortlistConfig(**options), RECIPE))
    assert whole.finetuned.rounds[: len(done)] == done
    assert len(whole.finetuned.measurements) == 1


def test_a_model_that_fails_in_a_round_does_not_go_on(work, monkeypatch):
    plain, [first, *_] = shortlist.finetune, order()

    def replaced(candidate, *arguments, **options):
        if candidate.model_id == first:
            raise RuntimeError("shapes do not match")
        return plain(candidate, *arguments, **options)

    monkeypatch.setattr(shortlist, "finetune", replaced)
    document = json.loads(finetune("--halving", "--top", "1", *QUICK, "--yes", "--json")[0])
    assert "shapes do not match" in document["failed"][first]
    assert first not in {m["model_id"] for m in document["finetuned"]["rounds"]}
    assert len(document["finetuned"]["measurements"]) == 1


def test_few_models_need_no_halving():
    config = FinetuneConfig()
    assert plan_rounds(3, 3, n_train=500, n_classes=4, epochs=config.epochs) == ()
