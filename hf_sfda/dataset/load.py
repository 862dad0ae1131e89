"""Load a :class:`Target`: open the dataset, find the columns, draw the sample, decode it."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hf_sfda.config import RankConfig
from hf_sfda.dataset.columns import Columns, infer_columns
from hf_sfda.dataset.evidence import Evidence
from hf_sfda.dataset.fingerprint import target_fingerprint
from hf_sfda.dataset.hub import open_on_hub
from hf_sfda.dataset.inputs import read_inputs, refuse_disguised_files
from hf_sfda.dataset.local import open_file, open_folder, refuse_pointers, require_utf8
from hf_sfda.dataset.read_labels import Labels, column_reader, read_labels
from hf_sfda.dataset.remote import RemoteSplit
from hf_sfda.dataset.sources import Source, local_path, no_progress_bars
from hf_sfda.dataset.tables import with_plain_strings, without_shard_columns
from hf_sfda.dataset.words import WordTags, read_word_tags
from hf_sfda.errors import TargetError
from hf_sfda.foreign import listing
from hf_sfda.progress import NoProgress, Progress
from hf_sfda.session import Session
from hf_sfda.tasks import PAIRS_ARE_NOT_CALIBRATED, task_name
from hf_sfda.types import IntArray, LabelKind, Target

if TYPE_CHECKING:
    from datasets import Dataset


def target_of(config: RankConfig, session: Session | None = None) -> Target:
    """Load the target that the configuration of a run describes; see :func:`load_target`."""
    session = session or Session()
    return load_target(
        config.dataset,
        revision=config.revision,
        split=config.split,
        input_column=config.input_column,
        label_column=config.label_column,
        task=config.task,
        samples=config.samples,
        seed=config.seed,
        token=session.token,
        progress=session.progress,
    )


def load_target(
    dataset: str,
    *,
    revision: str | None = None,
    split: str | None = None,
    input_column: str | None = None,
    label_column: str | None = None,
    task: LabelKind | None = None,
    samples: int = 2000,
    seed: int = 0,
    token: str | None = None,
    progress: Progress | None = None,
) -> Target:
    """Draw a seeded stratified sample and decode it once.

    Args:
        dataset: Hub id (``org/name`` or ``org/name:config``), folder of class folders, parquet,
            csv, tsv or json file, or ``save_to_disk`` folder.
        revision: Branch, tag or commit of a Hub dataset; resolved to a commit before reading.
        split: By default ``train``. A test split is used only if it is named here.
        input_column: Column with the image, text or sound; inferred by default. ``first,second``
            reads two text columns as pairs. For ``token``: the column with the words of each
            sentence. ``image`` or ``audio`` chooses between the files of a folder.
        label_column: Column with the label; inferred by default. Several columns of 0 and 1 are
            separated by commas.
        task: What the labels are: ``single-label``, ``multi-label``, ``regression`` or ``token``
            (tags of words); inferred by default.
        samples: Size of the sample. Each class gets at least two samples.
        seed: Random seed of the sample. The same seed draws the same rows on every machine. The
            rows of a very large split on the Hub are drawn from few row groups, see
            :mod:`~hf_sfda.dataset.sample`.
        token: User access token; ``None`` uses the saved login.
        progress: Listens to the rows that are read.

    Returns:
        The target. ``Target.left_out`` counts the rows that cannot be used, by reason.
        ``Target.warnings`` lists the assumptions that were made. The rules of reading are at the
        top of the modules :mod:`~hf_sfda.dataset.folder`, :mod:`~hf_sfda.dataset.images`,
        :mod:`~hf_sfda.dataset.sounds`, :mod:`~hf_sfda.dataset.tables`,
        :mod:`~hf_sfda.dataset.columns`, :mod:`~hf_sfda.dataset.words` and
        :mod:`~hf_sfda.dataset.read_labels`.

    Raises:
        TargetError: The dataset cannot be opened or used; the message says what to do.
    """
    listener = progress or NoProgress()
    with listener.task("dataset", f"open {dataset}", total=None, unit="rows"):
        source = open_source(
            dataset, revision=revision, split=split, input_column=input_column, token=token
        )
    data = with_plain_strings(without_shard_columns(source.data))
    if len(data) == 0:
        raise TargetError(f"The split {source.split!r} of {dataset} is empty.")
    notes = list(source.notes)
    evidence = Evidence(data)
    try:
        columns = infer_columns(
            evidence, input_column=input_column, label_column=label_column, task=task
        )
    except TargetError as error:  # the notes on how the data was read may explain it
        raise TargetError(" ".join([str(error), *notes])) from error
    notes += columns.notes
    if columns.modality == "text" and not columns.of_words:
        for name in columns.inputs:
            notes += refuse_disguised_files(name, evidence.first(name))
    left_out = Counter(source.left_out)
    place = f"{dataset}, label column {', '.join(columns.labels)!r},"
    labels, reason = _read_labels(data, columns, task, seed, left_out)
    labels = labels.restricted(left_out, place)
    labels.check_size(samples)
    parts = source.data if isinstance(source.data, RemoteSplit) else None
    rows = labels.draw(samples, seed, None if parts is None else parts.group_sizes)
    with listener.task("dataset", dataset, total=len(rows), unit="rows") as advance:
        from_hub = source.revision is not None
        words = _words(labels, rows)
        inputs = read_inputs(data, columns, rows, left_out, advance, from_hub=from_hub, words=words)
    rows = rows[inputs.positions]
    final = labels.take(rows).restricted(left_out, place)
    usable = np.flatnonzero(final.usable)
    if len(usable) < len(rows):  # too few images of a class could be decoded
        rows = rows[usable]
        words = _words(labels, rows)
        inputs = read_inputs(data, columns, rows, Counter(), from_hub=from_hub, words=words)
        final = final.take(usable)
    ids = _ids(source, rows, _words(labels, rows))
    class_names = _class_names(data, columns, final, rows)
    # For other kinds of label, the ranking itself warns.
    is_uncalibrated = len(columns.inputs) > 1 and final.kind == "single-label"
    return Target(
        dataset_id=dataset,
        revision=source.revision,
        config=source.config,
        split=source.split,
        modality=columns.modality,
        task=task_name(columns.modality, final.kind),
        label_kind=final.kind,
        input_column=", ".join(columns.inputs),
        label_column=", ".join(columns.labels),
        samples=inputs.samples,
        sample_ids=ids,
        labels=final.array,
        class_names=class_names,
        class_numbers=() if class_names == final.names else final.names,
        n_available=len(data),
        left_out=dict(left_out),
        inputs_fingerprint=inputs.fingerprint,
        fingerprint=target_fingerprint(inputs.fingerprint, ids, final.texts(), final.kind),
        seed=seed,
        warnings=(
            *notes,
            *([] if parts is None else [parts.note()]),
            *final.notes,
            *_similar_class_names_warning(class_names),
            *([PAIRS_ARE_NOT_CALIBRATED] if is_uncalibrated else []),
            *inputs.notes,
        ),
        task_reason=reason,
    )


def open_source(
    dataset: str,
    *,
    revision: str | None,
    split: str | None,
    token: str | None,
    input_column: str | None = None,
) -> Source:
    """Open ``dataset``. A path that exists takes precedence over a Hub id with the same spelling.

    ``input_column`` is ``image`` or ``audio`` where a folder holds files of both.

    No code of a dataset is executed: the ``datasets`` library does not support loading scripts.

    Raises:
        TargetError: The dataset is unknown, unreadable or empty, or the user must choose a
            configuration or a split.
    """
    path, config = local_path(dataset), None
    if not path.exists() and ":" in dataset:
        name, _, config = dataset.rpartition(":")
        path = local_path(name)
    if path.exists() and revision is not None:
        raise TargetError(f"{dataset} is local and has no revisions; leave --revision out.")
    refuse_pointers(path)
    if path.exists():
        require_utf8(str(path), [str(path)])
    with no_progress_bars():
        if path.is_file() and config is None:
            return open_file(path, split)
        if path.is_dir():
            return open_folder(path, config, split, input_column)
        return open_on_hub(dataset, revision, split, token, input_column)


def _read_labels(
    data: Dataset, columns: Columns, task: LabelKind | None, seed: int, left_out: Counter[str]
) -> tuple[Labels, str]:
    """The labels, and why they are of their kind; see :func:`read_labels`."""
    if not columns.of_words:
        return read_labels(data, columns.labels, task, left_out)
    (words,), (tags,) = columns.inputs, columns.labels
    reason = "" if task else f"{tags!r} has one tag for each word of {words!r}"
    return read_word_tags(data, words, tags, seed, left_out), reason


def _class_names(
    data: Dataset, columns: Columns, labels: Labels, rows: IntArray
) -> tuple[str, ...]:
    """The names of the classes, from another column if the label column only numbers them.

    The fingerprint is made of the numbers.
    """
    if columns.class_names is None or labels.kind != "single-label":
        return labels.names
    texts = column_reader(data)(columns.class_names).take(rows).to_pylist()
    named = dict(zip(labels.array.tolist(), texts, strict=True))
    return tuple(named[code] for code in range(len(labels.names)))


def _words(labels: Labels, rows: IntArray) -> IntArray | None:
    """The position of the drawn word of each row; ``None`` for labels of another kind."""
    return labels.positions[rows] if isinstance(labels, WordTags) else None


def _similar_class_names_warning(names: Sequence[str]) -> list[str]:
    """Warn if class names are almost equal. They are usually two spellings of one class."""
    groups: dict[str, list[str]] = {}
    for name in names:
        plain = unicodedata.normalize("NFKC", name).casefold()
        groups.setdefault(" ".join(plain.split()), []).append(name)
    similar = [group for group in groups.values() if len(group) > 1]
    if not similar:
        return []
    pairs = listing((" and ".join(map(repr, group)) for group in similar), most=5)
    return [
        f"Class names differ only in case, spaces or the form of letters ({pairs}) and were read "
        "as different classes. If they are one class, give them the same spelling."
    ]


def _ids(source: Source, rows: IntArray, words: IntArray | None) -> tuple[str, ...]:
    ids = source.ids
    names = [f"{source.split}/{row}" if ids is None else ids[row] for row in rows]
    if words is not None:
        names = [f"{name}/{word}" for name, word in zip(names, words, strict=True)]
    return tuple(names)
