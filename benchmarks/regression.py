"""Does the order of a regression predict fine-tuning? Four targets of rated sentences.

    python -m benchmarks.regression --sdist vaderSentiment-0.5.zip --zoo .zoo --out runs/ratings
    python -m benchmarks.regression     # the table of stored measurements

The first command ranks and fine-tunes all text checkpoints of the zoo (benchmarks/zoo) with
`hf-sfda rank` and `hf-sfda finetune`, and writes `benchmarks/regression.csv`; it resumes. The data
are the ratings of Hutto and Gilbert (ICWSM 2014), from -4 to 4, in the source distribution of
vaderSentiment 0.5 on PyPI (MIT). Nothing in it is executed.
"""

from __future__ import annotations

import argparse
import csv
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np

TABLE = Path(__file__).with_suffix(".csv")
TARGETS = {
    "tweets": "tweets",
    "products": "amazonReviewSnippets",
    "news": "nytEditorialSnippets",
    "films": "movieReviewSnippets",
}
SCORES = ("logme", "linear_probe", "knn", "sfda_cv", "params")
SAMPLES = 600
RECIPE = ("--learning-rates", "1e-4,3e-4", "--epochs", "5", "--top", "99")

_ARCHIVE = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"


def read_ratings(sdist: Path, name: str) -> list[tuple[str, float]]:
    """The sentences of a target and their mean ratings; empty sentences are left out."""
    with zipfile.ZipFile(sdist) as outer:
        inner = outer.read(_ARCHIVE)
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        member = archive.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
        assert member is not None
        lines = member.read().decode("latin-1").splitlines()
    rows = [line.split("\t", 2) for line in lines if line.count("\t") >= 2]
    return [(text.strip(), float(rating)) for _, rating, text in rows if text.strip()]


def measure(sdist: Path, zoo: Path, out: Path, target: str) -> None:
    """Rank and fine-tune all text checkpoints on one target."""
    from datasets import Dataset

    data, run = out / f"{target}.parquet", out / target
    if not data.exists():
        out.mkdir(parents=True, exist_ok=True)
        texts, ratings = zip(*read_ratings(sdist, TARGETS[target]), strict=True)
        Dataset.from_dict({"text": texts, "rating": ratings}).to_parquet(data)
    command = [sys.executable, "-W", "ignore", "-m", "hf_sfda"]
    if not (run / "ranking.json").exists():
        models = sorted(str(path) for path in (zoo / "checkpoints/text").iterdir())
        subprocess.run(
            [
                *(*command, "rank", "--dataset", str(data), "--samples", str(SAMPLES)),
                *("--metrics", ",".join(SCORES), "--out", str(run), "--yes", "--models", *models),
            ],
            check=True,
        )
    subprocess.run([*command, "finetune", str(run), *RECIPE, "--yes"], check=True)


def rows_of(run: Path, target: str) -> list[dict[str, object]]:
    """The measured models of a run with their scores."""
    from hf_sfda.ranking.runs import read_ranking

    ranking = read_ranking(run)
    rows: list[dict[str, object]] = []
    for row in ranking.ranked:
        measured = ranking.measurement(row)
        if measured is not None:
            low, high = measured.interval
            rows.append(
                {
                    "target": target,
                    "checkpoint": Path(row.model_id).name,
                    **{name: round(row.scores[name] or 0, 6) for name in SCORES},
                    "r2": round(measured.value, 4),
                    "low": round(low, 4),
                    "high": round(high, 4),
                    "frozen_r2": round(measured.probe_value, 4),
                    "n_test": measured.n_test,
                    "seconds": measured.seconds,
                    "torch": measured.versions.get("torch", ""),
                }
            )
    return rows


def stored_rows() -> list[dict[str, object]]:
    """The rows of the table as texts; rows of targets that were measured elsewhere are kept."""
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


def report() -> str:
    """Weighted tau with the fine-tuned R² and the loss of the first pick, as a Markdown table."""
    from hf_sfda.validate.measures import regret, tau_two_sided

    rows = stored_rows()
    targets = list(dict.fromkeys(row["target"] for row in rows))
    lines = ["| score | " + " | ".join(targets) + " | mean tau | mean loss |"]
    lines.append("|---" * (len(targets) + 3) + "|")
    for name in SCORES:
        cells, taus, losses = [], [], []
        for target in targets:
            own = [row for row in rows if row["target"] == target]
            truth = np.array([float(str(row["r2"])) for row in own])
            score = np.array([float(str(row[name])) for row in own])
            taus.append(tau_two_sided(truth, score))
            losses.append(100 * regret(truth, score))
            cells.append(f"{taus[-1]:.2f} ({losses[-1]:.1f})")
        lines.append(
            f"| `{name}` | {' | '.join(cells)} | {np.mean(taus):.2f} | {np.mean(losses):.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, if a source distribution is given, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], default=[])
    parser.add_argument("--sdist", type=Path)
    parser.add_argument("--zoo", type=Path, default=Path(".zoo"))
    parser.add_argument("--out", type=Path, default=Path("runs/ratings"))
    arguments = parser.parse_args()
    if arguments.sdist:
        for target in arguments.targets or TARGETS:
            measure(arguments.sdist, arguments.zoo, arguments.out, target)
            runs = [name for name in TARGETS if (arguments.out / name / "finetuned.json").exists()]
            rows = [row for row in stored_rows() if row["target"] not in runs]
            rows += [row for name in runs for row in rows_of(arguments.out / name, name)]
            with TABLE.open("w", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
    print(report())


if __name__ == "__main__":
    main()
