"""Commands that are disturbed on purpose, and what must hold whatever happened to them."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hf_sfda.publish.rows import read_results
from tests import factories
from tests.faults.forks import Forks, Result
from tests.hub.server import HubServer, hub_variables
from tests.publish.test_outage import check_all_or_nothing, state
from tests.publishing import make_ranking, save_run

MODELS = ("acme/vit", "acme/resnet")
RANK = (
    "rank", "--dataset", "me/shapes", "--models", *MODELS, "--samples", "18", "--resamples", "100",
    "--permutations", "1", "--metrics", "knn", "--json",
)  # fmt: skip
RUN_FILES = {
    "config.yaml", "journal.jsonl", "ranking.csv", "ranking.json", "ranking.parquet", "report.html",
}  # fmt: skip
CARD = "---\nlicense: mit  # free\n---\n# A model\n"

DEEP = b"[" * 100_000

HUB_FAULTS: Mapping[str, Mapping[str, Any]] = {
    "429, wait 0 s": {"status": 429, "headers": {"RateLimit": '"api";r=0;t=0'}},
    "429, wait 2 s": {"status": 429, "headers": {"RateLimit": '"api";r=0;t=2'}},
    "429, wait for years": {"status": 429, "headers": {"RateLimit": '"api";r=0;t=99999999'}},
    "429, nonsense": {"status": 429, "headers": {"Retry-After": "²"}},
    "500": {"status": 500},
    "503": {"status": 503},
    "503, wait for years": {"status": 503, "headers": {"Retry-After": "99999999"}},
    "no answer": {"action": "drop"},
    "cut in the middle": {"action": "cut"},
    "reset in the middle": {"action": "reset"},
    "half": {"action": "half"},
    "wrong bytes of the right length": {"action": "corrupt"},
    "truncated JSON": {"action": "replace", "content": b'[{"id": "acme/v'},
    "deep JSON": {"action": "replace", "content": DEEP},
    "redirects without end": {"action": "redirect"},
    "a byte at a time": {"action": "trickle", "seconds": 0.0001},
}


@dataclass
class Trials:
    """How many faults were tried, and which were not survived."""

    tried: int = 0
    failures: list[str] = field(default_factory=list)

    @contextmanager
    def one(self, name: str) -> Iterator[None]:
        """A fault; whatever fails inside is noted and the next fault is tried."""
        self.tried += 1
        try:
            yield
        except Exception as error:  # output that is cut is no JSON, a lost row is a StopIteration
            self.failures.append(f"{name}: {type(error).__name__}: {error}")

    @property
    def survived(self) -> int:
        """How many were."""
        return self.tried - len(self.failures)


def plain(result: Result) -> None:
    """It ended by itself, and told a person what happened."""
    words = result.out[-500:] + result.err[-1500:]
    assert result.code in (0, 1, 2), f"exit code {result.code}: {words}"
    for word in ("Traceback", "bug in hf-sfda", "RecursionError"):
        assert word not in result.out + result.err, words
    assert "hub-test-token" not in words
    assert all(seconds < 320 for seconds in result.slept)


class Bench:
    """A Hub, a home and a working directory that can be put back as they were.

    Args:
        folder: For all files.
    """

    def __init__(self, folder: Path) -> None:
        self.hub = HubServer().start()
        self.root = folder / "root"
        self.home, self.work = self.root / "home", self.root / "work"
        self._pieces = folder / "pieces"
        pictures = factories.image_dataset(n_per_class=6, classes=3)
        data = self._pieces / "data"
        (data / "data").mkdir(parents=True)
        pictures.to_parquet(data / "data" / "train-00000-of-00001.parquet")
        factories.tiny_vit(self._pieces / "vit")
        factories.tiny_resnet(self._pieces / "resnet")
        # A name of its own for each run: two rows of a table must not be the same run.
        save_run(self._pieces / "first", make_ranking(dataset="me/birds"))
        save_run(self._pieces / "plants")
        self._kept: dict[str, Any] = {}
        self.forks = Forks(self.root, {**os.environ, **hub_variables(self.hub.url, self.home)})
        self.reset()
        assert self.forks.warm_up(*RANK, cwd=self.work).code == 0

    def close(self) -> None:
        """End the processes."""
        self.forks.close()
        self.hub.stop()

    def reset(self) -> None:
        """No caches, no runs, and a healthy Hub with a dataset and two models."""
        for folder in (self.home, self.work):
            shutil.rmtree(folder, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.hub.reset()
        self.hub.put("me/shapes", self._pieces / "data", repo_type="dataset")
        for name in ("vit", "resnet"):
            self.hub.put(f"acme/{name}", self._pieces / name)

    def keep(self, name: str) -> None:
        """Remember the Hub and the files as they are now."""
        place = self._pieces / "kept" / name
        place.parent.mkdir(exist_ok=True)
        shutil.copytree(self.root, place, symlinks=True)
        state = self.hub.state
        self._kept[name] = deepcopy((state.repos, state.collections, state.uploads))

    def restore(self, name: str) -> None:
        """Put everything back as :meth:`keep` found it, with a healthy Hub."""
        shutil.rmtree(self.root)
        shutil.copytree(self._pieces / "kept" / name, self.root, symlinks=True)
        self.hub.reset()
        state = self.hub.state
        tables = (state.repos, state.collections, state.uploads)
        for table, kept in zip(tables, deepcopy(self._kept[name]), strict=True):
            table.update(kept)

    def run(self, *arguments: str, **fault: int) -> Result:
        """Run a command in the working directory."""
        return self.forks.run(*arguments, cwd=self.work, **fault)

    def keep_run(self, name: str) -> None:
        """Put a finished run into the working directory."""
        shutil.copytree(self._pieces / name, self.work / "runs" / name)


# -- hf-sfda rank


class Rank:
    """``hf-sfda rank`` on two models, undisturbed once.

    Args:
        bench: Where.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        bench.reset()
        bench.keep("rank")
        result = bench.run(*RANK)
        assert result.code == 0, result.err
        self.changes, self.requests = result.changes, result.requests
        self.scores = scores_of(result)
        assert set(self.scores) == set(MODELS)

    def strike(self, **fault: int) -> None:
        """Meet a fault of this machine, then run the same command undisturbed."""
        self.bench.restore("rank")
        result = self.bench.run(*RANK, **fault)
        if result.code != -9:
            plain(result)
            self._check_rows(result)
        self.check_recovery()

    def strike_hub(self, request: int, times: int | None, **fault: Any) -> None:
        """Meet a fault of the Hub, then run the same command undisturbed."""
        self.bench.restore("rank")
        self.bench.hub.faults.add(skip=request, times=times, **fault)
        result = self.bench.run(*RANK)
        plain(result)
        self._check_rows(result)
        self.bench.hub.faults.clear()
        self.check_recovery()

    def check_recovery(self) -> None:
        """The same command gives what it gives undisturbed, and leaves nothing behind."""
        result = self.bench.run(*RANK)
        plain(result)
        assert result.code == 0, result.err[-1500:]
        assert set(scores_of(result)) == set(MODELS), result.out[-3000:]
        self._check_rows(result)
        run = self.bench.work / "runs" / "me--shapes"
        assert {path.name for path in run.iterdir()} == RUN_FILES
        assert json.loads((run / "ranking.json").read_text()) == json.loads(result.out)
        store = self.bench.home / "assets" / "hf-sfda" / "features" / "v1"
        left = [path.name for path in store.glob("??/*") if path.name.startswith(".")]
        assert not left, left

    def _check_rows(self, result: Result) -> None:
        """Scores are right or absent, never wrong."""
        for name, scores in scores_of(result).items():
            for metric, value in scores.items():
                assert np.isclose(value, self.scores[name][metric], atol=1e-6), (name, metric)


def scores_of(result: Result) -> dict[str, dict[str, float]]:
    """Model -> scores, of those that have some."""
    if not result.out.startswith("{"):
        return {}
    rows = json.loads(result.out)["rows"]
    return {row["model_id"]: row["scores"] for row in rows if row["status"] == "ok"}


# -- hf-sfda publish

PUBLISH = (
    "publish", "runs/plants", "--to", "me/results", "--card", "me/resnet", "--create-pr",
    "acme/vit", "--collection", "For plants", "--json",
)  # fmt: skip


class Publish:
    """``hf-sfda publish`` with everything it can do, on a Hub that holds earlier results.

    Args:
        bench: Where.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._prepare()
        self.bench.keep("publish")
        self._start()
        self.before = state(bench.hub)
        result = bench.run(*PUBLISH, "--yes")
        assert result.code == 0, result.err
        self.changes, self.requests = result.changes, result.requests
        self.after = state(bench.hub)

    def _start(self) -> None:
        self.bench.restore("publish")

    def _prepare(self) -> None:
        self.bench.reset()
        for name in ("acme/vit", "me/resnet", "me/noise"):
            self.bench.hub.put(name, {"README.md": CARD})
        for name in ("first", "plants"):
            self.bench.keep_run(name)
        done = self.bench.run("publish", "runs/first", "--to", "me/results", "--yes")
        assert done.code == 0, done.err

    def strike(self, **fault: int) -> None:
        """Meet a fault of this machine, then finish with the same command."""
        self._start()
        result = self.bench.run(*PUBLISH, "--yes", **fault)
        if result.code != -9:
            plain(result)
        self._check_recovery()

    def strike_hub(self, request: int, times: int | None, **fault: Any) -> None:
        """Meet a fault of the Hub, then finish with the same command."""
        self._start()
        self.bench.hub.faults.add(skip=request, times=times, **fault)
        plain(self.bench.run(*PUBLISH, "--yes"))
        self.bench.hub.faults.clear()
        self._check_recovery()

    def _check_recovery(self) -> None:
        check_all_or_nothing(state(self.bench.hub), self.before, self.after)
        result = self.bench.run(*PUBLISH, "--yes")
        assert result.code == 0, result.err
        assert state(self.bench.hub) == self.after
        assert json.loads(self.bench.run(*PUBLISH).out)["steps"] == []


# -- hf-sfda leaderboard update


class Leaderboard:
    """``hf-sfda leaderboard update`` of a leaderboard that was just made.

    Args:
        bench: Where.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._prepare()
        self.bench.keep("leaderboard")
        self._start()
        result = bench.run("leaderboard", "update", "me/board", "--yes", "--json")
        assert result.code == 0, result.err
        self.changes, self.requests = result.changes, result.requests
        self.rows = self._rows()
        assert {row[0] for row in self.rows} == set(MODELS)

    def _start(self) -> None:
        self.bench.restore("leaderboard")

    def _prepare(self) -> None:
        self.bench.reset()
        settings = {
            "datasets": ["me/shapes"], "models": list(MODELS), "metrics": ["knn"], "samples": 18,
            "resamples": 100, "permutations": 1,
        }  # fmt: skip
        (self.bench.work / "board.yaml").write_text(json.dumps(settings))
        done = self.bench.run(
            "leaderboard", "init", "me/board", "--config", "board.yaml", "--yes", "--quiet"
        )
        assert done.code == 0, done.err

    def strike(self, **fault: int) -> None:
        """Meet a fault of this machine, then update again."""
        self._start()
        result = self.bench.run("leaderboard", "update", "me/board", "--yes", "--json", **fault)
        if result.code != -9:
            plain(result)
        self._check_recovery()

    def strike_hub(self, request: int, times: int | None, **fault: Any) -> None:
        """Meet a fault of the Hub, then update again."""
        self._start()
        self.bench.hub.faults.add(skip=request, times=times, **fault)
        plain(self.bench.run("leaderboard", "update", "me/board", "--yes", "--json"))
        self.bench.hub.faults.clear()
        self._check_recovery()

    def _check_recovery(self) -> None:
        result = self.bench.run("leaderboard", "update", "me/board", "--yes", "--json")
        plain(result)
        assert result.code == 0, result.err
        rows = self._rows()
        # Models that an outage made fail have rows that say so; the newest rows count.
        assert {row[:2] for row in self.rows} <= {row[:2] for row in rows}
        for model, metric, value in rows:
            right = next(row[2] for row in self.rows if row[:2] == (model, metric))
            assert np.isclose(value, right, atol=1e-6), (model, metric)
        again = self.bench.run("leaderboard", "update", "me/board", "--json")
        assert json.loads(again.out)["steps"] == [], again.out

    def _rows(self) -> list[tuple[str, str, float]]:
        """(model, metric, value) of everything published."""
        rows = []
        for path, content in self.bench.hub.files("me/board", "dataset").items():
            if re.fullmatch(r"data/.*\.parquet", path):
                local = self.bench.root.parent / "rows.parquet"
                local.write_bytes(content)
                rows += read_results(local, path)
        return [(r["model"], r["metric"], r["value"]) for r in rows if r["value"] is not None]


Commands = Mapping[str, Callable[[Bench], Any]]
COMMANDS: Commands = {"rank": Rank, "publish": Publish, "leaderboard update": Leaderboard}
