"""How long fine-tuning will take, from the speed of the forward pass. Pure functions."""

from __future__ import annotations

from hf_sfda.config import FinetuneConfig
from hf_sfda.finetune.parts import Sizes

TRAINING_STEP = 3.0
"""Cost of a training step relative to a forward pass: the backward pass computes the gradients of
activations and of weights, about a forward pass each."""


def most_trials(n_learning_rates: int) -> int:
    """The largest number of learning rates that :func:`~hf_sfda.finetune.search.climb` tries.

    >>> [most_trials(n) for n in (1, 2, 3, 5)]
    [1, 2, 3, 4]
    """
    down = n_learning_rates // 2
    up = n_learning_rates - 1 - down
    return 1 + max(up, min(up, 1) + down)


def most_forward_passes(config: FinetuneConfig, sizes: Sizes) -> float:
    """The work of one fine-tuning, in forward passes of one sample, if nothing ends early.

    Args:
        config: The recipe.
        sizes: Number of samples in each part.
    """
    config = config.for_samples(sizes.train)
    epoch = TRAINING_STEP * sizes.train + sizes.validation
    training = most_trials(len(config.learning_rates)) * config.epochs * epoch
    # Fitted twice: on the published statistics of batch norms and on those of the target.
    heads = 2 * (sizes.train + sizes.validation) + sizes.train
    return training + heads + 2 * sizes.test
