"""Progress of a fine-tuning on disk, so that a killed one resumes where it was."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hf_sfda.files import write_atomically
from hf_sfda.finetune.result import Epoch, Trial
from hf_sfda.finetune.train import Progress, State

_FILE = "finetune.pt"


class Checkpoint:
    """The file with everything that is needed to go on.

    Args:
        directory: The folder, created if need be. ``None`` keeps nothing.
        identity: What the file must belong to (model, data, recipe). A file of another
            fine-tuning is overwritten.
        write: Whether this process writes.
    """

    def __init__(self, directory: Path | None, identity: Mapping[str, Any], *, write: bool) -> None:
        self._path = directory / _FILE if directory else None
        self._identity = dict(identity)
        self._write = write
        self.trials: list[Trial] = []
        self.winner: State | None = None
        self.current: Progress | None = None
        if self._path is not None and self._path.is_file():
            self._read(self._path)

    def save(self, current: Progress | None) -> None:
        """Replace the file; ``current`` is the trial in progress."""
        self.current = current
        if self._path is None or not self._write:
            return
        import torch

        self._path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "identity": self._identity,
            "trials": [_plain(trial) for trial in self.trials],
            "winner": self.winner,
            "current": None
            if current is None
            else {
                "trial": _plain(current.trial),
                "best": current.best,
                "weights": current.weights,
                "optimizer": current.optimizer,
            },
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_atomically(self._path, buffer.getvalue())

    def remove(self) -> None:
        """Delete the file once the result is known."""
        if self._path is not None and self._write:
            self._path.unlink(missing_ok=True)

    def _read(self, path: Path) -> None:
        import torch

        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["identity"] != self._identity:
            return
        self.trials = [_trial(plain) for plain in content["trials"]]
        self.winner = content["winner"]
        if (current := content["current"]) is not None:
            trial = _trial(current["trial"])
            self.current = Progress(
                trial.learning_rate,
                list(trial.curve),
                best=current["best"],
                weights=current["weights"],
                optimizer=current["optimizer"],
            )


def _plain(trial: Trial) -> dict[str, Any]:
    return asdict(trial)


def _trial(plain: Mapping[str, Any]) -> Trial:
    return Trial(plain["learning_rate"], tuple(Epoch(**epoch) for epoch in plain["curve"]))
