"""WordNet as the Debian package ``wordnet-base`` holds it: synsets of one part of speech."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.zoo.debian import read_file


@dataclass(frozen=True)
class Synset:
    """A concept; see wndb(5WN).

    Attributes:
        offset: Its place in the file, eight digits; its name within a part of speech.
        supersense: Number of its lexicographer file, see lexnames(5WN).
        words: The words for it.
        hypernyms: Offsets of the concepts directly above it.
        definition: The first part of its gloss, without examples.
        examples: The sentences or phrases of its gloss that use one of its words.
    """

    offset: str
    supersense: int
    words: tuple[str, ...]
    hypernyms: tuple[str, ...]
    definition: str
    examples: tuple[str, ...]


def read_synsets(package: Path, part: str) -> Iterator[Synset]:
    """All synsets of a part of speech, in the order of the file.

    Args:
        package: Debian package ``wordnet-base``.
        part: ``noun``, ``verb``, ``adj`` or ``adv``.
    """
    for line in read_file(package, f"usr/share/wordnet/data.{part}").decode("ascii").splitlines():
        if line.startswith("  "):  # the licence
            continue
        fields, gloss = line.split("|", 1)
        offset, supersense, _, n_words, *rest = fields.split()
        yield Synset(
            offset,
            int(supersense),
            tuple(map(_plain, rest[0 : 2 * int(n_words, 16) : 2])),
            tuple(re.findall(r" @i? (\d{8}) [nv] ", fields)),
            re.sub(r'"[^"]*"', "", gloss).split(";")[0].strip(),
            tuple(re.findall(r'"([^"]*)"', gloss)),
        )


def _plain(word: str) -> str:
    """Without the mark that says where an adjective may stand: ``galore(ip)``."""
    return re.sub(r"\(\w+\)$", "", word).replace("_", " ")
