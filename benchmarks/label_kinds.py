"""Does the order of a ranking predict fine-tuning, for the kinds of label that the zoo has not?

    python -m benchmarks.label_kinds packages Packages --zoo .zoo --out runs/kinds
    python -m benchmarks.label_kinds     # the tables of stored measurements

The first command ranks and fine-tunes all text checkpoints of the zoo (benchmarks/zoo) on one
target with `hf-sfda rank` and `hf-sfda finetune`, and writes `benchmarks/label_kinds.csv`; it
resumes. Its file is the one that the target is read from. Nothing in these files is executed.

- Rated sentences (regression): the ratings of Hutto and Gilbert (ICWSM 2014), from -4 to 4, in the
  source distribution of vaderSentiment 0.5 on PyPI (MIT).
- Packages (several labels): a package index of Debian, as `apt-cache dumpavail` writes it: the
  descriptions of packages, each under the licence of its package, and their debtags.
- Concepts (pairs of texts) and words in sentences (tags of words): WordNet 3.0 in the Debian
  package `wordnet-base` (WordNet licence), which the zoo downloads.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.zoo.wordnet import read_synsets
from demo.data import shuffle_key

TABLE = Path(__file__).with_suffix(".csv")
SAMPLES = 600
RECIPE = ("--learning-rates", "1e-4,3e-4", "--epochs", "5", "--top", "99")

_VALUES = ("logme", "linear_probe", "knn", "sfda_cv", "params")
_LABELS = ("logme", "linear_probe", "knn", "sfda_cv", "sfda", "hscore", "parc", "params")
_CLASSES = ("three_heads", "logistic_probe", *_LABELS)
SCORES: Mapping[str, tuple[str, ...]] = {
    "regression": _VALUES,
    "multi-label": _LABELS,
    "text pairs": _CLASSES,
    "token": _CLASSES,
}
"""Kind of a target -> the scores that are compared; the first one is the default order."""

_FIELDS = (
    *("kind", "target", "checkpoint"),
    *dict.fromkeys(name for scores in SCORES.values() for name in scores),
    *("measure", "value", "low", "high", "frozen", "n_test", "seconds", "torch"),
)
_RESAMPLES = 2000

Columns = dict[str, list[Any]]

_ARCHIVE = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
_FACETS = ("use", "works-with")
_N_LABELS = 12
_RELATIONS = ("below", "above", "neither")
_SHORTEST = 12  # characters of a definition
_PARTS = ("noun", "verb", "adj", "adv")


@dataclass(frozen=True)
class Target:
    """Labelled texts out of one file.

    Attributes:
        kind: A key of :data:`SCORES`.
        read: The path of the file -> its columns.
        columns: Arguments of `hf-sfda rank` that say what the columns are.
    """

    kind: str
    read: Callable[[Path], Columns]
    columns: tuple[str, ...]


def read_ratings(sdist: Path, name: str) -> Columns:
    """The sentences of a target and their mean ratings; empty sentences are left out."""
    with zipfile.ZipFile(sdist) as outer:
        inner = outer.read(_ARCHIVE)
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        member = archive.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
        assert member is not None
        lines = member.read().decode("latin-1").splitlines()
    rows = [line.split("\t", 2) for line in lines if line.count("\t") >= 2]
    rows = [row for row in rows if row[2].strip()]
    return {"text": [row[2].strip() for row in rows], "rating": [float(row[1]) for row in rows]}


def read_packages(index: Path) -> Columns:
    """Descriptions of packages, and what they are for and work with: the 12 most frequent tags.

    Only packages with a tag of both facets: where one is missing, nobody may have looked for it.
    One package of each source, and each description once.
    """
    tags_of: dict[str, list[str]] = {}
    sources = set()
    for fields in _paragraphs(index):
        source = fields.get("Source", fields["Package"]).split()[0]
        tags = [tag.strip() for tag in fields.get("Tag", "").split(",")]
        tags = [tag for tag in tags if _facet(tag) in _FACETS and not tag.endswith("::TODO")]
        if set(map(_facet, tags)) == set(_FACETS) and source not in sources:
            sources.add(source)
            tags_of.setdefault(fields["Description"], tags)
    counts = Counter(tag for tags in tags_of.values() for tag in tags)
    frequent = {tag for tag, _ in counts.most_common(_N_LABELS)}
    kept = {text: [t for t in tags if t in frequent] for text, tags in tags_of.items()}
    kept = {text: tags for text, tags in kept.items() if tags}
    return {"text": list(kept), "tags": list(kept.values())}


def _facet(tag: str) -> str:
    return tag.partition("::")[0]


def _paragraphs(index: Path) -> Iterator[dict[str, str]]:
    """The fields of each package of an index, as deb-control(5) folds them."""
    for paragraph in index.read_text("utf-8").split("\n\n"):
        lines = re.sub(r"\n[ \t](\.(?=\n|$))?", " ", paragraph).strip().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        if fields:
            yield {name: " ".join(value.split()) for name, value in fields.items()}


def read_concepts(package: Path) -> Columns:
    """Pairs of nouns with their definitions: the first is below the second, above, or neither.

    Below means that it is a kind of it or an instance, by one step: "Watts" and "poet". In a pair
    that is neither, one of the two is above some other concept, so that being general says nothing.
    Each class has as many pairs, and each concept is in one pair.
    """
    concepts = {
        synset.offset: synset
        for synset in read_synsets(package, "noun")
        if len(synset.definition) >= _SHORTEST
    }
    order = sorted(concepts, key=shuffle_key)
    columns: Columns = {"first": [], "second": [], "relation": []}
    used: set[str] = set()
    for number, below in enumerate(order):
        n = len(columns["relation"])
        relation = _RELATIONS[n % 3]
        child = concepts[order[-1 - number] if relation == "neither" else below]
        above = next((name for name in child.hypernyms if name in concepts), below)
        if n == SAMPLES or below == above or used & {below, above}:
            continue
        used |= {below, above}
        turned = relation == "above" or (relation == "neither" and n % 2 == 0)
        pair = (above, below) if turned else (below, above)
        for column, name in zip(("first", "second"), pair, strict=True):
            columns[column].append(f"{concepts[name].words[0]}: {concepts[name].definition}")
        columns["relation"].append(relation)
    return columns


def read_words(package: Path) -> Columns:
    """Examples of WordNet, and the part of speech of the word that each one is an example of.

    Only words of two parts of speech or more, so that the sentence must be read; each word once,
    in a sentence that has it as it stands in WordNet. The other words of a sentence have no tag.
    Each part of speech has as many sentences.
    """
    synsets = {part: list(read_synsets(package, part)) for part in _PARTS}
    parts_of = Counter(
        word for part in _PARTS for word in {w for s in synsets[part] for w in s.words}
    )
    found: dict[str, list[tuple[list[str], str]]] = {}
    for part in _PARTS:
        examples = [(e, s.words) for s in synsets[part] for e in s.examples]
        found[part] = []
        for example, words in sorted(examples, key=lambda pair: shuffle_key(pair[0])):
            tokens = re.findall(r"\w+(?:'\w+)?|[^\w\s]", example)
            own = [token for token in tokens if token in words]
            if len(tokens) >= 4 and len(own) == 1 and parts_of[own[0]] >= 2:
                found[part].append((tokens, own[0]))
    columns: Columns = {"tokens": [], "part": []}
    used: set[str] = set()
    # The part with the fewest examples chooses its words first.
    for part in sorted(_PARTS, key=lambda part: len(found[part])):
        n = 0
        for tokens, word in found[part]:
            if n < SAMPLES // len(_PARTS) and word not in used:
                n += 1
                used.add(word)
                columns["tokens"].append(tokens)
                columns["part"].append([part if token == word else None for token in tokens])
    return columns


_RATINGS = ("--label-column", "rating")
_TWEETS, _PRODUCTS, _NEWS, _FILMS = (
    partial(read_ratings, name=name)
    for name in ("tweets", "amazonReviewSnippets", "nytEditorialSnippets", "movieReviewSnippets")
)
TARGETS = {
    "tweets": Target("regression", _TWEETS, _RATINGS),
    "products": Target("regression", _PRODUCTS, _RATINGS),
    "news": Target("regression", _NEWS, _RATINGS),
    "films": Target("regression", _FILMS, _RATINGS),
    "packages": Target("multi-label", read_packages, ("--label-column", "tags")),
    "concepts": Target(
        "text pairs",
        read_concepts,
        ("--input-column", "first,second", "--label-column", "relation"),
    ),
    "words": Target(
        "token",
        read_words,
        ("--task", "token", "--input-column", "tokens", "--label-column", "part"),
    ),
}


def measure(target: str, file: Path, zoo: Path, out: Path) -> None:
    """Rank and fine-tune all text checkpoints on one target."""
    from datasets import Dataset

    about = TARGETS[target]
    data, run = out / f"{target}.parquet", out / target
    if not data.exists():
        out.mkdir(parents=True, exist_ok=True)
        Dataset.from_dict(about.read(file)).to_parquet(data)
    command = [sys.executable, "-W", "ignore", "-m", "hf_sfda"]
    if not (run / "ranking.json").exists():
        models = sorted(str(path) for path in (zoo / "checkpoints/text").iterdir())
        subprocess.run(
            [
                *(*command, "rank", "--dataset", str(data), *about.columns),
                *("--samples", str(SAMPLES), "--metrics", ",".join(SCORES[about.kind])),
                *("--out", str(run), "--yes", "--models", *models),
            ],
            check=True,
        )
    subprocess.run([*command, "finetune", str(run), *RECIPE, "--yes"], check=True)


def rows_of(run: Path, target: str) -> list[dict[str, object]]:
    """The measured models of a run with their scores."""
    from hf_sfda.ranking.runs import read_ranking

    kind = TARGETS[target].kind
    ranking = read_ranking(run)
    rows: list[dict[str, object]] = []
    for row in ranking.ranked:
        measured = ranking.measurement(row)
        if measured is not None:
            low, high = measured.interval
            rows.append(
                {
                    "kind": kind,
                    "target": target,
                    "checkpoint": Path(row.model_id).name,
                    **{name: round(row.scores[name] or 0, 6) for name in SCORES[kind]},
                    "measure": measured.measure,
                    "value": round(measured.value, 4),
                    "low": round(low, 4),
                    "high": round(high, 4),
                    "frozen": round(measured.probe_value, 4),
                    "n_test": measured.n_test,
                    "seconds": measured.seconds,
                    "torch": measured.versions.get("torch", ""),
                }
            )
    return rows


def stored_rows() -> list[dict[str, object]]:
    """The rows of the table as texts; a score that a kind does not have is empty."""
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


def store(target: str, rows: list[dict[str, object]]) -> None:
    """Write the rows of a target into the table; those of others stay as they are."""
    order = list(TARGETS)
    rows = [row for row in stored_rows() if row["target"] != target] + rows
    rows.sort(key=lambda row: order.index(str(row["target"])))
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=_FIELDS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def report() -> str:
    """For each kind, what every score says about fine-tuning, as a Markdown table.

    A cell holds the weighted tau with the fine-tuned value, its interval (bootstrap over the
    checkpoints, 95%) and the points that the first pick loses to the best checkpoint.
    """
    rows = stored_rows()
    tables = []
    for kind, scores in SCORES.items():
        of_kind = [row for row in rows if row["kind"] == kind]
        targets = list(dict.fromkeys(str(row["target"]) for row in of_kind))
        if not targets:
            continue
        lines = [f"| {kind} | " + " | ".join(targets) + " | mean tau | mean loss |"]
        lines.append("|---" * (len(targets) + 3) + "|")
        for name in scores:
            judged = [
                _judged([row for row in of_kind if row["target"] == target], name)
                for target in targets
            ]
            cells = [f"{j.tau:.2f} [{j.low:.2f}, {j.high:.2f}] ({j.loss:.1f})" for j in judged]
            tau, loss = np.mean([j.tau for j in judged]), np.mean([j.loss for j in judged])
            lines.append(f"| `{name}` | {' | '.join(cells)} | {tau:.2f} | {loss:.1f} |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


@dataclass(frozen=True)
class _Judged:
    tau: float
    low: float
    high: float
    loss: float


def _judged(rows: list[dict[str, object]], name: str) -> _Judged:
    """One score on one target: weighted tau, its interval, points lost by the first pick."""
    from hf_sfda.validate.measures import regret, tau_two_sided

    truth = np.array([float(str(row["value"])) for row in rows])
    score = np.array([float(str(row[name])) for row in rows])
    draws = np.random.default_rng(0).integers(len(rows), size=(_RESAMPLES, len(rows)))
    taus = [tau_two_sided(truth[draw], score[draw]) for draw in draws]
    low, high = np.nanquantile(taus, (0.025, 0.975))
    return _Judged(tau_two_sided(truth, score), low, high, 100 * regret(truth, score))


def main() -> None:
    """Measure a target, if one is named, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("target", nargs="?", choices=list(TARGETS))
    parser.add_argument("file", nargs="?", type=Path, help="what the target is read from")
    parser.add_argument("--zoo", type=Path, default=Path(".zoo"))
    parser.add_argument("--out", type=Path, default=Path("runs/kinds"))
    arguments = parser.parse_args()
    if arguments.target:
        if arguments.file is None:
            parser.error("name the file that the target is read from")
        measure(arguments.target, arguments.file, arguments.zoo, arguments.out)
        store(arguments.target, rows_of(arguments.out / arguments.target, arguments.target))
    print(report())


if __name__ == "__main__":
    main()
