"""Score features: the only module that checks arrays, casts them and passes them to metrics.

It guarantees what every metric relies on: float64, finite values, labels in ``0..C-1``, and enough
samples in each class. Inputs are never written to.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hf_sfda.errors import MetricError
from hf_sfda.foreign import listing
from hf_sfda.metrics import Metric, get_metric
from hf_sfda.types import Candidate, Score

if TYPE_CHECKING:
    from torch import Tensor

    from hf_sfda.metrics.problem import Problem

Array = Any
"""numpy array, torch tensor, or anything ``numpy.asarray`` takes."""


def score(
    features: Array,
    labels: Array,
    metric: str = "sfda_cv",
    *,
    source_logits: Array | None = None,
    source_probs: Array | None = None,
    seed: int = 0,
    min_class_size: int = 2,
    **options: Any,
) -> Score:
    """Score how well features separate labels.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(60, 8))
    >>> X[30:] += 3
    >>> round(score(X, ["cat"] * 30 + ["dog"] * 30, "knn").value, 2)
    1.0

    Args:
        features: (N, D) array or tensor; a tensor stays on its device, the work is in float64.
        labels: (N,) ints or strings for classes; (N,) floats for regression; (N, T) zeros and
            ones for multi-label. Missing labels are refused: ``None``, NaN, empty strings, masked
            entries, and -1 or -100 among class numbers (see
            :func:`hf_sfda.dataset.labels.hidden_number`). Floats that are all whole are scored as
            regression with a warning.
        metric: Registered name, see ``hf-sfda metrics``.
        source_logits: (N, C_source) outputs of the checkpoint's own head, for metrics that ask.
        source_probs: The same as probabilities; give one of the two.
        seed: Random seed of folds and of anything else that a metric draws.
        min_class_size: Smallest class that is accepted. A class of one cannot be held out; with 1
            its sample counts as missed where a metric is cross-fitted.
        options: Options of the metric, e.g. ``folds=10``.

    Returns:
        Value (higher is better) and, where the metric is a mean over samples, each sample's term.

    Raises:
        MetricError: The input cannot be scored, or the metric or option does not exist.
    """
    problem = make_problem(features, labels, source_logits, source_probs, seed, min_class_size)
    return score_problem(problem, metric, **options)


def score_problem(problem: Problem, metric: str = "sfda_cv", **options: Any) -> Score:
    """:func:`score` of a problem that is already built.

    Build a problem once with :func:`make_problem` if more than one thing is asked of it: metrics,
    noise floor and posteriors then share the cast, the rotation for N < D, and the Gram matrices.

    Args:
        problem: Of :func:`make_problem`.
        metric: Registered name.
        options: Options of the metric.

    Raises:
        MetricError: The metric or the option does not exist, or the metric cannot score this.
    """
    entry = get_metric(metric)
    _check_options([entry], options)
    return _with_warnings(_run(entry, problem, options), _about_labels(problem))


def score_problem_by_all(
    problem: Problem,
    metrics: Sequence[str],
    *,
    candidate: Candidate | None = None,
    declared: bool = False,
    **options: Any,
) -> dict[str, Score | MetricError]:
    """Score a problem by several metrics.

    The rotation for N < D, Gram matrices and their eigenvectors are computed once for all.

    Args:
        problem: Of :func:`make_problem`.
        metrics: Registered names.
        candidate: The checkpoint, for baselines.
        declared: Whether the caller knows what the labels are; then no warning says what they were
            taken for.
        options: Each goes to the metrics that have it.

    Returns:
        metric -> its score, or the error that kept it from one; in the order of ``metrics``.

    Raises:
        MetricError: A metric does not exist, or an option belongs to none of them.
    """
    entries = [get_metric(name) for name in metrics]
    _check_options(entries, options)
    outcomes: dict[str, Score | MetricError] = {}
    warnings = () if declared else _about_labels(problem)
    for entry in entries:
        known = {key: options[key] for key in _option_names(entry) if key in options}
        try:
            outcomes[entry.name] = (
                _run_baseline(entry, candidate)
                if entry.needs == "candidate"
                else _with_warnings(_run(entry, problem, known), warnings)
            )
        except MetricError as error:
            outcomes[entry.name] = error
    return outcomes


def permuted_scores(
    problem: Problem, metric: str = "sfda_cv", *, n_permutations: int = 5, **options: Any
) -> npt.NDArray[np.float64]:
    """Score a problem against shuffled labels: the scores without any relation.

    Whatever depends on the features alone (cast, rotation, Gram matrix, spectrum) is computed
    once for all shuffles, and a cross-fitted metric scores only a few folds of each shuffle
    (:attr:`~hf_sfda.metrics.Metric.permutation_options`): the mean is the same, its spread larger.

    Args:
        problem: Of :func:`make_problem`; its seed draws the shuffles.
        metric: Registered name.
        n_permutations: P.
        options: Options of the metric.

    Returns:
        (P,) scores.

    Raises:
        MetricError: As in :func:`score_problem`.
    """
    import torch

    entry = get_metric(metric)
    _check_options([entry], options)
    # Not the metric's own stream: folds and shuffles must have nothing to do with each other.
    rng = np.random.default_rng([problem.seed, 1])
    options = {**entry.permutation_options, **options}
    scores = np.empty(n_permutations)
    for p in range(n_permutations):
        shuffle = torch.from_numpy(rng.permutation(len(problem))).to(problem.targets.device)
        shuffled = problem.relabelled(problem.targets[shuffle])
        scores[p] = _run(entry, shuffled, options).value
    return scores


def scores_without_groups(
    problem: Problem,
    metric: str,
    groups: npt.NDArray[np.int64],
    targets: npt.NDArray[np.float64] | None = None,
    **options: Any,
) -> npt.NDArray[np.float64]:
    """Scores without each group of samples, from what the groups share, as far as that is exact.

    Args:
        problem: Of :func:`make_problem`.
        metric: Registered name.
        groups: (N,) group of each sample, 0..G-1.
        targets: For regression, (G, N) targets as they are without each group, if they differ.
        options: Options of the metric.

    Returns:
        (G,) scores; NaN where the metric must be computed anew without the group.
    """
    import torch

    entry, n_groups = get_metric(metric), int(groups.max()) + 1
    unknown = np.full(n_groups, math.nan)
    if entry.without_groups is None or options or problem.kind not in entry.tasks:
        return unknown
    device = problem.targets.device
    group = torch.from_numpy(groups).to(device)
    if problem.kind == "regression":
        own = problem.targets.expand(n_groups, -1) if targets is None else targets
        given = torch.as_tensor(own, dtype=torch.float64, device=device)
    else:
        given = None
    parts = (problem.one_hot[group != g] for g in range(n_groups))
    varied = torch.stack([(part.amax(0) > part.amin(0)).all() for part in parts])
    if not varied.any():
        return unknown
    try:
        scores = entry.without_groups(problem, group, given).cpu().numpy()
    except (RuntimeError, ValueError):  # such as no convergence, or no memory for all groups
        return unknown
    usable = varied.cpu().numpy() & np.isfinite(scores)
    return np.where(usable, scores if entry.higher_is_better else -scores, math.nan)


def rescaled_across_candidates(metric: str, scores: Sequence[Score]) -> list[Score]:
    """Final scores of all candidates, for metrics that compare candidates with each other (NCTI).

    Args:
        metric: Name.
        scores: One of each candidate that has one.

    Returns:
        The same scores with their final values, in the same order; unchanged for metrics that
        score each candidate alone.
    """
    entry = get_metric(metric)
    if entry.rescale_across_candidates is None:
        return list(scores)
    return [
        replace(score, value=value, per_sample=None)
        for score, value in zip(scores, entry.rescale_across_candidates(scores), strict=True)
    ]


def _about_labels(problem: Problem) -> tuple[str, ...]:
    """A warning where regression or multi-label is probably not intended."""
    if problem.kind == "multi-label" and bool((problem.targets.sum(1) == 1).all()):
        return (
            "each sample has exactly one of the tags and was scored as multi-label; pass "
            "labels.argmax(1) for classes",
        )
    if problem.kind != "regression" or bool((problem.targets % 1 != 0).any()):
        return ()
    return (
        "the labels are whole numbers stored as floats and were scored as regression; pass ints or "
        "strings for classes",
    )


def _with_warnings(score: Score, warnings: tuple[str, ...]) -> Score:
    return replace(score, warnings=(*warnings, *score.warnings)) if warnings else score


def _run(entry: Metric, problem: Problem, options: Mapping[str, Any]) -> Score:
    """Call one metric and check its result."""
    if problem.kind not in entry.tasks:
        raise MetricError(
            f"{entry.name} does not score {problem.kind} labels, only "
            f"{', '.join(sorted(entry.tasks))}. {_KIND_HINTS[problem.kind]}"
        )
    if entry.needs == "source_logits" and problem.source_log_probs is None:
        raise MetricError(
            f"{entry.name} needs the outputs of the checkpoint's own classification head, and "
            "there are none. Pass source_logits or source_probs, or choose another metric."
        )
    if entry.needs == "candidate":
        raise MetricError(
            f"{entry.name} is a property of a checkpoint, not of features. "
            "Use score_problem_by_all(..., candidate=...)."
        )
    outcome = _guarded(entry, lambda: entry.function(problem, **options))
    result = outcome if isinstance(outcome, Score) else Score(entry.name, float(outcome))
    return _checked(entry, result)


def _run_baseline(entry: Metric, candidate: Candidate | None) -> Score:
    outcome = None if candidate is None else _guarded(entry, lambda: entry.function(candidate))
    if outcome is None:
        raise MetricError(f"{entry.name} is not known for this checkpoint.")
    return _checked(entry, outcome)


def _guarded(entry: Metric, call: Callable[[], Any]) -> Any:
    """Turn any exception into a MetricError with the metric's name: users register metrics too."""
    try:
        return call()
    except MetricError as error:
        raise MetricError(f"{entry.name}: {error}") from error
    except Exception as error:
        raise MetricError(f"{entry.name} failed: {type(error).__name__}: {error}") from error


def _checked(entry: Metric, result: Score) -> Score:
    if not math.isfinite(result.value):
        raise MetricError(f"{entry.name} gave {result.value}, which cannot be ranked.")
    if entry.higher_is_better:
        return result
    shares = None if result.per_sample is None else -result.per_sample
    return Score(result.metric, -result.value, shares, result.details, result.warnings)


def _option_names(entry: Metric) -> list[str]:
    parameters = list(inspect.signature(entry.function).parameters.values())
    return [p.name for p in parameters[1:] if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _check_options(entries: Sequence[Metric], options: Mapping[str, Any]) -> None:
    allowed = {name for entry in entries for name in _option_names(entry)}
    if unknown := sorted(set(options) - allowed):
        names = ", ".join(entry.name for entry in entries)
        listed = f"allowed are {', '.join(sorted(allowed))}" if allowed else "there are none"
        raise MetricError(f"Unknown option {', '.join(unknown)} for {names}; {listed}.")


_KIND_HINTS = {
    "single-label": "Pass floats for regression or an (N, T) array for multi-label.",
    "regression": "Labels that are floats mean regression; pass ints or strings for classes.",
    "multi-label": "Labels with two axes mean multi-label; pass one class a sample.",
    "token": "",
}


def make_problem(
    features: Array,
    labels: Array,
    source_logits: Array | None = None,
    source_probs: Array | None = None,
    seed: int = 0,
    min_class_size: int = 2,
    last: Array | None = None,
    measured: Problem | None = None,
) -> Problem:
    """Check and cast everything a metric will see; arguments and errors as in :func:`score`.

    Args:
        features: As in :func:`score`.
        labels: As in :func:`score`.
        source_logits: As in :func:`score`.
        source_probs: As in :func:`score`.
        seed: As in :func:`score`.
        min_class_size: As in :func:`score`.
        last: (N, D_last) features of the last layer, if ``features`` are those of several layers.
        measured: The problem of the same samples and labels with the features that the network
            computes after its batch norms were measured on the target.
    """
    from hf_sfda.metrics.problem import Geometry, Problem

    X = _features(features)
    targets, n_outputs, kind = _targets(labels, len(X), min_class_size)
    return Problem(
        Geometry(X),
        targets.to(X.device),
        n_outputs,
        kind,
        _source(source_logits, source_probs, X),
        seed,
        None if last is None else Geometry(_features(last).to(X.device)),
        measured,
    )


def _features(features: Array) -> Tensor:
    import torch

    X = _tensor(features, "Features")
    if X.ndim != 2 or X.shape[1] == 0:
        raise MetricError(f"Features have shape {tuple(X.shape)}; they must be (N, D), D > 0.")
    if X.is_complex():
        raise MetricError("Features are complex; they must be real.")
    if X.device.type == "mps":
        X = X.cpu()  # that device has no float64
    X = X.detach()
    if not X.is_floating_point() or X.dtype.itemsize == 1:  # eight-bit floats know few operations
        X = X.double()
    # A sum is finite only if all its terms are, and it is quicker than a look at each of them.
    if math.isfinite(X.sum(dtype=torch.float64)):
        return X
    bad = ~torch.isfinite(X).all(1)
    if bad.any():
        row = int(bad.nonzero()[0])
        raise MetricError(
            f"{int(bad.sum())} of {len(X)} feature rows hold NaN or infinity (the first is row "
            f"{row}). Leave these samples out, or fix the model that produced them."
        )
    return X


def _targets(labels: Array, n: int, min_class_size: int) -> tuple[Tensor, int, Any]:
    y = _label_array(labels)
    if y.ndim not in (1, 2):
        raise MetricError(f"Labels have shape {y.shape}; they must be (N,), or (N, T) for tags.")
    if len(y) != n:
        raise MetricError(f"There are {n} feature rows and {len(y)} labels; they must pair up.")
    if n < 2:
        raise MetricError(f"There are {n} samples; a score needs at least 2.")
    if y.ndim == 2 and y.shape[1] == 1:
        raise MetricError(
            f"Labels have shape {y.shape}, one column. Pass labels.ravel() for one label a sample; "
            "several labels a sample (multi-label) need two columns or more."
        )
    if y.dtype.kind not in "biufUSO":
        raise MetricError(
            f"Labels are of type {y.dtype}; they must be ints, strings, or floats for regression."
        )
    if y.ndim == 2:
        return _tags(y)
    if y.dtype.kind == "f":
        return _values(y)
    return _classes(y, min_class_size)


def _label_array(labels: Array) -> npt.NDArray[Any]:
    """Labels as an array in which missing labels stay missing.

    Raises:
        MetricError: They are no regular array, or some are masked.
    """
    import torch

    if isinstance(labels, torch.Tensor):
        return _number_array(_plain_tensor(labels, "Labels").cpu(), "Labels")
    _check_unmasked(labels, "Labels")
    try:
        y = np.asarray(labels)
        if y.dtype.kind in "US" and not isinstance(labels, np.ndarray):
            # numpy writes None and NaN as text where they stand among strings.
            objects = np.asarray(labels, dtype=object)
            y = objects if any(not isinstance(item, str) for item in objects.ravel()) else y
    except Exception as error:  # ragged lists; and arrays of other libraries may raise anything
        raise MetricError(
            f"Labels must be a regular array, one entry a sample: {_first_line(error)}"
        ) from error
    return _native(y)


def _number_array(tensor: Tensor, name: str) -> npt.NDArray[Any]:
    """A tensor for numpy, which knows fewer kinds of floats."""
    try:
        known = tensor.double() if tensor.is_floating_point() else tensor
        return known.numpy()
    except (TypeError, RuntimeError, ValueError) as error:
        raise MetricError(
            f"{name} are a tensor of type {tensor.dtype}, which holds no plain numbers."
        ) from error


def _plain_tensor(tensor: Tensor, name: str) -> Tensor:
    """The values of a tensor, dense and without a tape.

    Raises:
        MetricError: It has no values of its own.
    """
    import torch

    if (
        tensor.is_nested
        or tensor.layout != torch.strided
        or tensor.is_quantized
        or tensor.device.type == "meta"
    ):
        raise MetricError(f"{name} must be an ordinary dense tensor; pass tensor.to_dense().")
    return tensor.detach().resolve_conj().resolve_neg()


def _check_unmasked(values: Array, name: str) -> None:
    """Refuse masked entries: numpy would drop the mask and use the hidden values.

    Raises:
        MetricError: Some are masked.
    """
    if isinstance(values, np.ma.MaskedArray) and (masked := int(np.ma.getmaskarray(values).sum())):
        raise MetricError(
            f"{masked:,} of {values.size:,} entries of {name.lower()} are masked. Fill them or "
            "leave these samples out."
        )


def _native(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same numbers in this machine's byte order, in a type that torch knows."""
    if array.dtype.kind == "V" and array.dtype.names is None:  # bfloat16 and its kin
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError):
            return array
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _plain_numbers(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Numbers that are stored as objects, as tables with gaps do, as floats.

    Raises:
        TypeError: Some are no numbers.
    """
    if array.dtype.kind in "USmMV":
        raise TypeError(f"they are of type {array.dtype}")
    if array.dtype.kind != "O":
        return array
    plain = (numbers.Real, np.number, np.bool_)
    others = {type(item).__name__ for item in array.ravel() if not isinstance(item, plain)}
    if others:
        raise TypeError(f"they hold values of type {listing(sorted(others))}")
    return array.astype(np.float64)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _classes(y: npt.NDArray[Any], min_class_size: int) -> tuple[Tensor, int, Any]:
    import torch

    if missing := _count_missing(y):
        raise MetricError(f"{missing} of {len(y)} labels are missing. Leave these samples out.")
    try:
        names, inverse, counts = np.unique(y, return_inverse=True, return_counts=True)
    except Exception as error:  # objects may raise anything when they are compared
        types = sorted({type(label).__name__ for label in y.tolist()})
        fault = "mix types and" if len(types) > 1 else f"of type {types[0]}"
        kinds = f" Types given: {listing(types)}." if len(types) > 1 else ""
        raise MetricError(
            f"Labels {fault} cannot be compared; use all ints or all strings.{kinds}"
        ) from error
    _check_hidden(names, counts)
    if len(names) < 2:
        raise MetricError(
            f"All {len(y)} labels are {names.tolist()[0]!r}; telling classes apart needs at least "
            "2 of them."
        )
    if counts.min() < min_class_size:
        few = [str(name) for name in names[counts < min_class_size]]
        smallest = ", ".join(few[:5]) + (", ..." if len(few) > 5 else "")
        raise MetricError(
            f"{len(few)} of {len(names)} classes have fewer than {min_class_size} samples "
            f"({smallest}). Leave them out or merge them, or take more samples; min_class_size=1 "
            "scores anyway."
        )
    return torch.from_numpy(inverse.astype(np.int64)), len(names), "single-label"


def _count_missing(y: npt.NDArray[Any]) -> int:
    """Number of missing labels: ``None``, NaN, empty strings."""
    if y.dtype.kind in "US":
        return int((np.char.strip(y) == y.dtype.type()).sum())
    return sum(map(_is_missing, y.tolist())) if y.dtype.kind == "O" else 0


def _is_missing(label: Any) -> bool:
    if isinstance(label, (str, bytes)):
        return not label.strip()
    try:
        return label is None or bool(label != label)
    except Exception:  # pandas.NA is neither equal nor unequal to itself
        return True


def _check_hidden(names: npt.NDArray[Any], counts: npt.NDArray[Any]) -> None:
    """Refuse class numbers that mark hidden labels, as in the test parts of public datasets.

    Raises:
        MetricError: There are such numbers.
    """
    from hf_sfda.dataset.labels import hidden_number

    numbers = names.tolist()
    if not all(isinstance(number, int) for number in numbers):
        return
    hidden = hidden_number(numbers)
    if hidden is not None:
        raise MetricError(
            f"{counts[numbers.index(hidden)]:,} of {counts.sum():,} labels are {hidden}, which "
            "stands for a hidden label. Leave these samples out; if it is a class, pass strings."
        )


def _values(y: npt.NDArray[Any]) -> tuple[Tensor, int, Any]:
    import torch

    if not np.isfinite(y).all():
        raise MetricError(f"{int((~np.isfinite(y)).sum())} of {len(y)} values are NaN or infinite.")
    if y.min() == y.max():
        raise MetricError(f"All {len(y)} values are {y[0]}; there is nothing to predict.")
    return torch.from_numpy(y.astype(np.float64)), 1, "regression"


def _tags(y: npt.NDArray[Any]) -> tuple[Tensor, int, Any]:
    import torch

    if y.dtype.kind not in "biuf" or y.shape[1] == 0 or not np.isin(y, (0, 1)).all():
        raise MetricError(
            f"Labels of shape {y.shape} must hold only 0 and 1, one column a tag (multi-label)."
        )
    tags = y.astype(np.float64)
    constant = np.flatnonzero(tags.min(0) == tags.max(0))
    if len(constant):
        raise MetricError(
            f"{len(constant)} of {y.shape[1]} tags are the same in every sample (the first is "
            f"column {constant[0]}). Leave them out."
        )
    return torch.from_numpy(tags), y.shape[1], "multi-label"


def _source(logits: Array | None, probs: Array | None, X: Tensor) -> Tensor | None:
    """(N, C_source) log-probabilities from whichever was given."""
    import torch

    if logits is None and probs is None:
        return None
    if logits is not None and probs is not None:
        raise MetricError("Both source_logits and source_probs are given; pass one of them.")
    name = "source_logits" if probs is None else "source_probs"
    Z = _tensor(logits if probs is None else probs, name).detach().to(X.device, torch.float64)
    if Z.ndim != 2 or len(Z) != len(X) or Z.shape[1] < 2:
        raise MetricError(
            f"{name} has shape {tuple(Z.shape)}; it must be ({len(X)}, C_source), C_source > 1."
        )
    if not torch.isfinite(Z).all():
        raise MetricError(f"{name} holds NaN or infinity.")
    if probs is None:
        return torch.log_softmax(Z, dim=1)
    if Z.min() < 0 or (Z.sum(1) - 1).abs().max() > 1e-3:
        raise MetricError("source_probs must be at least 0 and add up to 1 in every row.")
    return Z.log()


def _tensor(values: Array, name: str) -> Tensor:
    import torch

    if isinstance(values, torch.Tensor):
        return _plain_tensor(values, name)
    _check_unmasked(values, name)
    if hasattr(values, "toarray") and not hasattr(values, "__array__"):  # of scipy.sparse
        raise MetricError(f"{name} must be a dense array; pass {name.lower()}.toarray().")
    try:
        array = _plain_numbers(_native(np.asarray(values)))
        # Read-only and reversed arrays are legal input, and are copied by the cast to float64.
        backward = any(stride < 0 for stride in array.strides)
        return torch.from_numpy(array.copy() if backward or not array.flags.writeable else array)
    except Exception as error:  # ragged lists; and arrays of other libraries may raise anything
        raise MetricError(
            f"{name} must be numbers in a regular array: {_first_line(error)}"
        ) from error
