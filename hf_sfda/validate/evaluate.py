"""Compare several predictors on several targets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hf_sfda.validate.measures import Measure
from hf_sfda.validate.over_targets import Mean, mean_over_targets
from hf_sfda.validate.truth import Truth

Scores = Mapping[str, Mapping[str, float]]
"""Target -> model -> score of one predictor, higher is better."""


def by_target(truth: Truth, scores: Scores, measure: Measure) -> dict[str, float]:
    """The measure on each target, over the models that have a finite score and an accuracy."""
    values = {}
    for target, accuracies in truth.items():
        of_target = scores.get(target, {})
        models = [m for m in accuracies if np.isfinite(of_target.get(m, np.nan))]
        if len(models) >= 2:
            values[target] = measure(
                np.array([accuracies[m] for m in models]), np.array([of_target[m] for m in models])
            )
    return values


def difference(truth: Truth, first: Scores, second: Scores, measure: Measure) -> Mean:
    """Mean of first minus second, paired by target.

    Only models that both have scored count.
    """
    common = {
        target: {
            m: a
            for m, a in accuracies.items()
            if np.isfinite(first.get(target, {}).get(m, np.nan))
            and np.isfinite(second.get(target, {}).get(m, np.nan))
        }
        for target, accuracies in truth.items()
    }
    a, b = by_target(common, first, measure), by_target(common, second, measure)
    return mean_over_targets([a[target] - b[target] for target in a])
