"""Which process of a launch takes which model, without any of them waiting for another."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hf_sfda.processes import from_main

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True, slots=True)
class Claims:
    """Which process runs which model: the first one that claims it.

    A claim is a file that only one process can create. It is in a folder of this launch, so a
    model that failed in one process is not tried again by the others, and processes on nodes that
    share the file system share the claims. Without a folder (it cannot be written), every process
    takes its fixed share.

    Attributes:
        folder: Of this launch, or ``None``.
        process: Index of this process.
        processes: How many there are.
    """

    folder: Path | None
    process: int
    processes: int

    def take(self, digest: str, index: int) -> bool:
        """Whether this process shall run the model.

        Args:
            digest: Of the model's feature key.
            index: Its place in the list, the same in all processes.
        """
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                (self.folder / digest).touch(exist_ok=False)
            except FileExistsError:
                return False
            except OSError:
                pass
            else:
                return True
        return index % self.processes == self.process

    def close(self) -> None:
        """Forget all claims; only when every process is done."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def open_claims(root: Path, accelerator: Accelerator) -> Claims:
    """Claims for the processes of this launch, below the feature store."""
    folder = None
    if accelerator.num_processes > 1:
        folder = from_main(accelerator, lambda: _make_folder(root / "claims"))
    return Claims(folder, accelerator.process_index, accelerator.num_processes)


def _make_folder(parent: Path) -> Path | None:
    folder = parent / uuid.uuid4().hex
    try:
        folder.mkdir(parents=True)
    except OSError:
        return None
    return folder
