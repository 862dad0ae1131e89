"""The Space as a visitor finds it, against a Hub of its own, with results.

`hf-sfda space serve` runs it here; or its `app.py` runs as on the Hub, behind https.

It runs in a process of its own, because it takes the token out of its environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import yaml

from hf_sfda.publish.rows import make_run
from hf_sfda.types import ModelRow, Ranking, RowWarning
from tests import factories
from tests.hub.server import HubServer, hub_variables
from tests.processes import with_default_signals
from tests.publishing import finetuned, make_ranking, save_measured, save_run
from tests.report_fixture import example_ranking
from tests.space.https_front import HttpsFront
from tests.waiting import until

HF_SFDA = Path(sys.executable).with_name("hf-sfda")
CHECKOUT = Path(__file__).parents[2]
RESULTS = "me/results"
HOSTILE = (
    "evil/<script>window.pwned=1</script>",
    'evil/"><img src=x onerror=window.pwned=2>',
    "evil/${window.pwned=3}",
    "evil/{{window.pwned=4}}",
    "evil/`-modèle-模型-👾",
    "evil/\u202edetrevni",
)


class SpaceServer:
    """A Hub with results and data, and the app that shows them.

    Attributes:
        hub: The Hub.
        url: Of the app.
        behind: Of the app, past the https in front of it.
        home: ``HF_HOME`` of the app.
        temporary: Where the app puts what it needs for a while.
    """

    def __init__(self, root: Path) -> None:
        self.hub = HubServer().start()
        self.home, self.temporary = root / "home", root / "tmp"
        self.temporary.mkdir(parents=True)
        self.log = root / "log.txt"
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None
        self._commands: subprocess.Popen[str] | None = None
        self._front: HttpsFront | None = None
        self.url = self.behind = ""

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            **hub_variables(self.hub.url, self.home),
            "TMPDIR": str(self.temporary),
            "GRADIO_TEMP_DIR": str(self.temporary / "gradio"),
            "HF_SFDA_REFRESH": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, *arguments: str) -> str:
        """A command of ours, as the owner of the results; returns its stdout.

        One process runs all of them: each on its own would import torch again.
        """
        if self._commands is None:
            self._commands = subprocess.Popen(
                [sys.executable, "-m", "tests.space.commands", self._root],
                env=self.env, cwd=CHECKOUT, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        commands = self._commands
        assert commands.stdin is not None and commands.stdout is not None
        commands.stdin.write(json.dumps(arguments) + "\n")
        commands.stdin.flush()
        answer = json.loads(commands.stdout.readline())
        assert answer["error"] is None, answer["error"]
        return str(answer["stdout"])

    def serve(self, *arguments: str, **variables: str) -> None:
        """As `hf-sfda space serve` does."""
        command = [HF_SFDA, "space", "serve", "--results", RESULTS, "--port", "0", *arguments]
        self.url = self._start(command, variables, r"at (http://\S+) \(Ctrl-C")
        with urllib.request.urlopen(self.url) as answer:
            assert answer.status == 200

    def serve_as_deployed(self, **variables: str) -> None:
        """As the Hub does: `app.py`, the Space's variables and secrets, https in front."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        behind = f"http://127.0.0.1:{port}"
        self._front = HttpsFront(behind, self._root / "certificate.pem").start()
        variables = {
            "SYSTEM": "spaces",
            "SPACE_ID": "me/which-checkpoint",
            "SPACE_AUTHOR_NAME": "me",
            "SPACE_HOST": self._front.host,
            "HF_SFDA_RESULTS": RESULTS,
            "PYTHONPATH": str(CHECKOUT),
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "GRADIO_SERVER_PORT": str(port),
            **self.hub.oauth_app(self._front.host, scopes()),
            **variables,
        }
        self._start([sys.executable, CHECKOUT / "space" / "app.py"], variables, "Running on (.+)")
        self.url, self.behind = self._front.url, behind

    def _start(self, command: list[str | Path], variables: dict[str, str], sign: str) -> str:
        """Start the app; returns what the sign that it is up captures."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                with_default_signals(command), env={**self.env, **variables}, cwd=self._root,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        process = self._process

        def started() -> re.Match[str] | None:
            ended = process.poll() is not None
            found = re.search(sign, self.log.read_text())
            assert found or not ended, self.log.read_text()
            return found

        return until(started, self.log.read_text)[1]

    @contextlib.contextmanager
    def slow_streams(self, seconds: float) -> Iterator[None]:
        """Each piece of an event stream comes so much later than it was sent."""
        assert self._front is not None
        self._front.stream_delay = seconds
        try:
            yield
        finally:
            self._front.stream_delay = 0.0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        if self._commands is not None:
            self._commands.communicate()  # the end of its stdin ends it
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait()
        if self._front is not None:
            self._front.stop()
        self.hub.stop()

    # -- what is on the Hub

    def publish(self, rankings: Iterable[Ranking]) -> None:
        """Results as others have published them."""
        from huggingface_hub import CommitOperationAdd, HfApi

        runs = [make_run(ranking) for ranking in rankings]
        api = HfApi(endpoint=self.hub.url, token=self.hub.token)
        api.create_repo(RESULTS, repo_type="dataset", exist_ok=True)
        api.create_commit(
            RESULTS,
            [CommitOperationAdd(run.path, run.parquet()) for run in runs],
            commit_message="Add results",
            repo_type="dataset",
        )

    def publish_measured(self, ranking: Ranking, right: dict[str, int]) -> None:
        """A run of which models were fine-tuned, and how many of 100 samples they get right."""
        folder = save_run(self._root / "runs" / "measured", ranking)
        save_measured(folder, finetuned(ranking, right), "2026-11-22T10:00:00+00:00")
        self.run("publish", str(folder), "--to", RESULTS, "--yes")

    def seed_data(self) -> None:
        """A dataset of pictures, a private one, and four checkpoints."""
        data = self._root / "shapes"
        (data / "data").mkdir(parents=True)
        pictures = factories.image_dataset(n_per_class=16, classes=3)
        pictures.to_parquet(data / "data" / "train-00000-of-00001.parquet")
        self.hub.put("me/shapes", data, repo_type="dataset")
        self.hub.put("me/secret-shapes", data, repo_type="dataset")
        self.hub.set("me/secret-shapes", repo_type="dataset", private=True)
        card = {"pipeline_tag": "image-classification", "license": "mit"}
        makers = (factories.tiny_vit, factories.tiny_resnet)
        for seed, name in enumerate(("vit-a", "resnet", "vit-b")):
            folder = makers[seed % 2](self._root / "models" / name, seed=seed)
            factories.write_card(folder, **card, library_name="transformers")
            self.hub.put(f"acme/{name}", folder)
        shutil.rmtree(self._root / "models")

    def seed_results(self) -> None:
        """One board that was really ranked, and invented ones that are long, or hostile."""
        self.run(
            "rank", "--dataset", "me/shapes", "--samples", "48", "--resamples", "200",
            "--models", "acme/vit-a", "acme/resnet", "acme/vit-b", "acme/gone", "--quiet",
        )  # fmt: skip
        self.run("publish", "runs/me--shapes", "--to", RESULTS, "--yes")
        invented = [*emoji_updates(), hostile_ranking(), long_ranking(), text_ranking()]
        self.publish([*invented, self._ranked_elsewhere()])
        self.publish_measured(trained_ranking(), {"acme/vit": 80, "me/resnet": 86})

    def _ranked_elsewhere(self) -> Ranking:
        """The same data under another name, ranked by a machine that kept the features."""
        self.hub.put("me/elsewhere", self._root / "shapes", repo_type="dataset")
        document = json.loads((self._root / "runs" / "me--shapes" / "ranking.json").read_text())
        ranking = Ranking.from_dict(document)
        revision = self.hub.repo("me/elsewhere", "dataset").head.sha
        return replace(
            ranking,
            config={**ranking.config, "dataset": "me/elsewhere"},
            dataset={**ranking.dataset, "id": "me/elsewhere", "revision": revision},
            rows=tuple(replace(row, feature_key="0" * 64) for row in ranking.rows),
        )


def scopes() -> list[str]:
    """What the Space asks for of those who sign in."""
    text = (CHECKOUT / "space" / "README.md").read_text(encoding="utf-8")
    return list(yaml.safe_load(text.split("---")[1])["hf_oauth_scopes"])


def emoji_updates() -> list[Ranking]:
    """Three updates of one board; the last one has ties, and candidates that were left out."""
    newest = example_ranking()
    ranked, others = newest.ranked, [row for row in newest.rows if row.status != "ok"]
    turns = {"2026-09-01": 3, "2026-10-01": 1}
    return [
        replace(
            newest,
            rows=(*_renumbered([*ranked[turn:], *ranked[:turn]]), *others),
            created_at=f"{day}T10:00:00+00:00",
        )
        for day, turn in turns.items()
    ] + [newest]


def _renumbered(rows: list[ModelRow]) -> list[ModelRow]:
    values = sorted((row.scores["sfda_cv"] for row in rows), reverse=True)
    return [
        replace(row, rank=place, tie_group=place, scores={**row.scores, "sfda_cv": value})
        for place, (row, value) in enumerate(zip(rows, values, strict=True), start=1)
    ]


def hostile_ranking() -> Ranking:
    """Names, licences and reasons that would do harm if they were not escaped."""
    ranking = make_ranking(
        {name: 0.8 - 0.1 * i for i, name in enumerate(HOSTILE)},
        dataset="evil/<b>data</b>",
        extra_rows=tuple(ModelRow(f"{n}-x", None, "failed", f"broken: {n}") for n in HOSTILE[:3]),
    )
    rows = [
        replace(row, license=HOSTILE[i], warnings=(RowWarning(None, HOSTILE[i]),))
        if row.status == "ok"
        else row
        for i, row in enumerate(ranking.rows)
    ]
    return replace(ranking, rows=tuple(rows))


def long_ranking(n: int = 1000) -> Ranking:
    """A thousand models."""
    ranking = make_ranking(
        {f"org{i % 37}/model-{i:04d}": 0.9 - 0.0008 * i for i in range(n)},
        dataset="me/thousand",
        extra_rows=(),
    )
    licences = ("mit", "apache-2.0", "cc-by-nc-4.0", None)
    rows = [
        replace(
            row,
            params=1_000_000 * (1 + i % 300),
            license=licences[i % 4],
            library=("timm", "transformers")[i % 2],
        )
        for i, row in enumerate(ranking.rows)
    ]
    return replace(ranking, rows=tuple(rows))


def text_ranking() -> Ranking:
    """A board of another modality."""
    ranking = make_ranking({"acme/bert": 0.7, "acme/roberta": 0.6}, dataset="me/reviews")
    return replace(ranking, dataset={**ranking.dataset, "task": "text-classification"})


def trained_ranking() -> Ranking:
    """A board with expected regrets, of which models were fine-tuned."""
    ranking = make_ranking(dataset="me/trained")
    rows = (
        replace(row, expected_regret=float(row.rank)) if row.rank is not None else row
        for row in ranking.rows
    )
    return replace(ranking, rows=tuple(rows))
