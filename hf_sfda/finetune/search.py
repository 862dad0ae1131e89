"""Which learning rate: climb from the middle of the grid, judged by the validation part."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hf_sfda.finetune.result import Trial


def climb(learning_rates: Sequence[float], run: Callable[[float], Trial]) -> tuple[Trial, ...]:
    """Try learning rates until both neighbours of the best one are worse, or its end is reached.

    Validation accuracy over the learning rate has one peak in practice: too low does not get far
    enough, too high destroys the checkpoint. So the far side of a worse value is not tried. Of a
    grid of five, three or four values are.

    Args:
        learning_rates: The grid, in any order.
        run: Trains at one learning rate.

    Returns:
        The trials in the order in which they were run.
    """
    grid = sorted(set(learning_rates))
    middle = len(grid) // 2
    trials = [run(grid[middle])]
    best = trials[0]
    for direction in (1, -1):
        index = middle + direction
        climbed = False
        while 0 <= index < len(grid):
            trials.append(run(grid[index]))
            if not trials[-1].best.better_than(best.best):
                break
            best, climbed = trials[-1], True
            index += direction
        if climbed:
            break
    return tuple(trials)


def best_trial(trials: Sequence[Trial]) -> Trial:
    """The trial with the best epoch; of equal ones the first."""
    best = trials[0]
    for trial in trials[1:]:
        if trial.best.better_than(best.best):
            best = trial
    return best
