"""Choose among the checkpoints of a listing: different ones first, copies once. Pure functions.

The most downloaded checkpoints are often alike: fine-tunes of one base, and copies of each other.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hf_sfda.types import Candidate

FINE_TUNE = "it was fine-tuned from a base that another candidate stands for"
COPY = "it is a quantised copy or an adapter of a candidate"
SAME_WEIGHTS = "it has the same weights as a candidate"
BEYOND_TOP = "it is like others that were taken, and --top is reached"

_BASE = re.compile(r"base_model:(?:(adapter|quantized|finetune|merge):)?(.+)")
_WORD = re.compile(r"[a-z0-9]{3,}")
_STEP = 4.0
"""Factor between two steps of size: that between the tiny, small, base and large of a family."""

_COMMON_WORDS = frozenset(
    "and base classification data dataset feature extraction for image images model text the timm "
    "train transformers".split()
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A candidate and what the choice looks at.

    Attributes:
        candidate: The candidate.
        family: ``model_type``, or for timm the letters that the name begins with.
        tags: The Hub's tags.
        parameters: dtype -> number of parameters.
    """

    candidate: Candidate
    family: str
    tags: tuple[str, ...] = ()
    parameters: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Id of the model."""
        return self.candidate.model_id


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        candidates: In the order of the entries.
        represents: Id of a candidate -> ids of those that it stands for.
        rejected: reason -> number of entries.
    """

    candidates: tuple[Candidate, ...]
    represents: Mapping[str, tuple[str, ...]]
    rejected: Mapping[str, int]


def family_of(model_id: str, model_type: str | None) -> str:
    """The family of a checkpoint.

    Example:
        >>> family_of("timm/resnet50.a1_in1k", None), family_of("acme/plants", "vit")
        ('resnet', 'vit')
    """
    letters = re.match(r"[a-z]*", model_id.rpartition("/")[2].lower())
    return model_type or (letters[0] if letters else "")


def words_of(texts: Iterable[str]) -> frozenset[str]:
    """The telling words of some texts.

    Example:
        >>> sorted(words_of(["me/garden-plants", "text-classification"]))
        ['garden', 'plants']
    """
    return frozenset(word for text in texts for word in _WORD.findall(text.lower())) - _COMMON_WORDS


def choose(
    entries: Sequence[Entry],
    *,
    top: int | None,
    diverse: bool,
    words: Collection[str] = (),
    weights_hash: Callable[[Candidate], str | None] = lambda candidate: None,
) -> Choice:
    """Fold copies; if ``diverse``, take different checkpoints first.

    Args:
        entries: By downloads, those left out by a rule among them.
        top: How many to choose; ``None`` for all.
        diverse: One candidate stands for all fine-tunes of a base, and the first of each family,
            size and pre-training comes before a second of the same.
        words: Words of the dataset. The fine-tune whose id and tags hold most of them stands for
            the others; if several do, the most downloaded one.
        weights_hash: Hash of the weights. It is asked only for models of one family with the same
            numbers of parameters by dtype; ``None`` is equal to nothing.
    """
    usable = {entry.name: entry for entry in entries if entry.candidate.skip is None}
    copies = {
        entry.name: base
        for entry in entries
        if entry.name not in usable and (base := _copied(entry, usable))
    }
    groups = _by_base(usable, words) if diverse else [[entry] for entry in usable.values()]
    first = [group[0] for group in groups]
    order = _different_first(first, usable) if diverse else first
    represents = {group[0].name: [entry.name for entry in group[1:]] for group in groups}
    rejected = Counter({FINE_TUNE: len(usable) - len(groups)})
    chosen = 0
    alike: dict[tuple[str, frozenset[tuple[str, int]]], list[Entry]] = defaultdict(list)
    for entry in order:
        others = alike[entry.family, frozenset(entry.parameters.items())]
        if top is not None and chosen == top:
            represents.pop(entry.name)
            rejected[BEYOND_TOP] += 1
        elif (twin := _twin(entry, others, weights_hash)) is not None:
            represents[twin.name] += [entry.name, *represents.pop(entry.name)]
            rejected[SAME_WEIGHTS] += 1
        else:
            chosen += 1
            others.append(entry)
    taken = {name: owner for owner, names in represents.items() for name in (owner, *names)}
    for copy, base in copies.items():
        if base in taken:
            represents[taken[base]].append(copy)
            rejected[COPY] += 1
    folded = {name for names in represents.values() for name in names}
    kept = [
        entry.candidate
        for entry in entries
        if entry.name in represents or (entry.name not in usable and entry.name not in folded)
    ]
    return Choice(
        tuple(kept),
        {name: tuple(others) for name, others in represents.items() if others},
        {reason: number for reason, number in rejected.items() if number},
    )


def _bases(entry: Entry, *relations: str | None) -> list[str]:
    """The models that a card says it was made from, of these relations; ``None`` is unstated."""
    matches = [match for tag in entry.tags if (match := _BASE.fullmatch(tag))]
    stated = {match[2] for match in matches if match[1]}
    return [
        match[2]
        for match in matches
        if match[1] in relations and (match[1] or match[2] not in stated)
    ]


def _copied(entry: Entry, usable: Mapping[str, Entry]) -> str | None:
    """The candidate that an entry is a quantised copy or an adapter of."""
    bases = _bases(entry, "adapter", "quantized")
    return next((base for base in bases if base in usable), None)


def _root(entry: Entry, usable: Mapping[str, Entry]) -> str:
    """The base that a model goes back to; its own name if it goes back to none."""
    seen = [entry.name]
    while True:
        known = usable.get(seen[-1])
        base = next(iter(_bases(known, "finetune", None)), None) if known else None
        if base is None or base in seen:  # two cards may name each other
            return seen[-1]
        seen.append(base)


def _by_base(usable: Mapping[str, Entry], words: Collection[str]) -> list[list[Entry]]:
    """The models that go back to one base, the one that stands for them first."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in usable.values():
        groups[_root(entry, usable)].append(entry)

    def known_words(entry: Entry) -> int:
        own = (tag for tag in entry.tags if not tag.startswith("base_model:"))
        return len(words_of([entry.name, *own]).intersection(words))

    return [sorted(group, key=known_words, reverse=True) for group in groups.values()]


def _different_first(entries: Sequence[Entry], usable: Mapping[str, Entry]) -> list[Entry]:
    """The first of each family, size and pre-training, then the second of each, and so on."""
    seen: Counter[tuple[str, int | None, str]] = Counter()
    turns = []
    for entry in sorted(entries, key=lambda entry: -(entry.candidate.downloads or 0)):
        params = entry.candidate.params
        step = round(math.log(params, _STEP)) if params else None
        kind = (entry.family, step, _pretraining(entry, usable))
        turns.append((seen[kind], entry))
        seen[kind] += 1
    return [entry for _, entry in sorted(turns, key=lambda turn: turn[0])]


def _pretraining(entry: Entry, usable: Mapping[str, Entry]) -> str:
    """The base that a model goes back to, else the datasets that its card names, else its owner."""
    root = _root(entry, usable)
    datasets = sorted(tag for tag in entry.tags if tag.startswith("dataset:"))
    if root != entry.name:
        return root
    return " ".join(datasets) or entry.name.partition("/")[0]


def _twin(
    entry: Entry, alike: Sequence[Entry], weights_hash: Callable[[Candidate], str | None]
) -> Entry | None:
    """The one with the same weights, among those of the same family and size."""
    if not alike or not entry.parameters or (own := weights_hash(entry.candidate)) is None:
        return None
    return next((other for other in alike if weights_hash(other.candidate) == own), None)
