"""Scores that run the network again: what their numbers are, and what the table says."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from benchmarks.zoo import evaluate, network_scores
from benchmarks.zoo.network_scores import Gains, _of_gains, evenly_spaced_norms


def test_the_gradient_of_a_gain_is_activation_times_gradient_over_the_positions():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3).eval()
    network = nn.Sequential(nn.Conv2d(1, 3, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(108, 2))
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    images = torch.randn(4, 1, 8, 8)
    gains = Gains([norm])
    hook = norm.register_forward_hook(gains.hook)
    found = _of_gains(network(images), gains)
    hook.remove()
    assert list(found) == [(0, 0), (0, 1)]

    activation = norm(network[0](images)).requires_grad_()
    for k in range(2):
        (gradient,) = torch.autograd.grad(network[2:](activation)[:, k].sum(), activation)
        expected = (activation * gradient).sum((2, 3))
        torch.testing.assert_close(found[0, k], expected.detach())


def test_norms_are_spaced_evenly_and_end_with_the_last():
    norms = [nn.LayerNorm(2) for _ in range(20)]
    network = nn.Sequential(*norms)
    chosen = evenly_spaced_norms(network, lambda: network(torch.ones(1, 2)))
    places = [norms.index(norm) for norm in chosen]
    assert len(places) == network_scores.LAYERS
    assert (places[0], places[-1]) == (0, 19)
    assert set(np.diff(places)) <= {2, 3}


def test_what_is_committed_does_not_beat_the_default():
    """The README says so, and that is why neither is an option of the tool."""
    columns = network_scores.read()
    for column in ("small/accuracy", "gradients/logistic"):
        ahead = []
        for target in evaluate.read():
            rows = [columns.get((c, target.name), {}) for c in target.checkpoints]
            if all(column in row for row in rows):
                scores = np.array([row[column] for row in rows])
                ahead.append(target.tau(evaluate.three_heads(target)) - target.tau(scores))
        assert len(ahead) >= 3
        assert np.mean(ahead) > 0.1
