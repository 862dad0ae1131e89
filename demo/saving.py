"""Writes transformers folders and the model cards that no library writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def save_transformers(model: PreTrainedModel, folder: Path) -> None:
    """``config.json`` and ``model.safetensors``, without a progress bar for a second's work.

    Args:
        model: Model to save.
        folder: Existing folder.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    model.save_pretrained(folder)


def write_card(
    folder: Path, license: str, description: str, *, library: str, pipeline: str
) -> None:
    """Write ``README.md`` with the front matter the Hub reads.

    Args:
        folder: Model folder; its name becomes the title.
        license: Identifier such as ``"mit"``.
        description: What the weights are and where they come from.
        library: Library that loads the folder.
        pipeline: Pipeline tag.
    """
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        license=license, library_name=library, pipeline_tag=pipeline, tags=["hf-sfda-demo"]
    )
    text = f"---\n{data.to_yaml()}\n---\n\n# {folder.name}\n\n{description}\n"
    (folder / "README.md").write_text(text)
