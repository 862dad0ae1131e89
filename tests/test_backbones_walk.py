"""Every model type that transformers lists: alone or in a batch, the features are the same.

A type that cannot be tried is named with its reason; a new one in the next transformers fails here
until somebody looks at it.
"""

from __future__ import annotations

import numpy as np
import torch

from hf_sfda.backbones import open_backbone
from hf_sfda.errors import ExtractionError
from hf_sfda.extract.loop import form_batches
from hf_sfda.types import Candidate
from tests.factories import FILLER
from tests.tiny_models import (
    IMAGE_MAPPINGS,
    POSITIONS,
    TEXT_MAPPINGS,
    save,
    tiny_model,
    types_of,
)

TEXT_TYPES = types_of(TEXT_MAPPINGS)
IMAGE_TYPES = types_of(IMAGE_MAPPINGS)


def outcome(function, *arguments) -> str:
    """``"ok"``, or what stopped it."""
    try:
        function(*arguments)
    except (AssertionError, KeyboardInterrupt):
        raise
    except ExtractionError as error:
        return f"refused: {error}"
    except Exception as error:
        return f"cannot be made tiny: {type(error).__name__}: {str(error)[:100]}"
    return "ok"


def sentences() -> list[str]:
    generator = np.random.default_rng(0)
    lengths = (3, 9, 3, 50, 17, 9, 48, 2)
    return [" ".join(generator.choice(FILLER, length)) for length in lengths]


def opened(path, modality):
    return open_backbone(
        path,
        Candidate(path.name, "local", path=path),
        device=torch.device("cpu"),
        dtype=torch.float32,
        max_length=4 * POSITIONS,
        modality=modality,
    )


def run(backbone, samples, batches):
    """Stages and logits of all samples, in their order."""
    parts = []
    with torch.inference_mode():
        for batch in batches:
            outputs = backbone.forward(backbone.collate([samples[i] for i in batch]))
            parts.append(
                {**outputs.stages, **({} if outputs.logits is None else {"": outputs.logits})}
            )
    order = np.argsort([i for batch in batches for i in batch])
    return {name: torch.cat([part[name] for part in parts])[order] for name in parts[0]}


def compare(together, alone):
    assert together.keys() == alone.keys()
    for name, values in alone.items():
        error = (together[name] - values).abs().max() / values.abs().max().clamp_min(1e-6)
        assert error < 2e-4, f"{name or 'logits'}: {error:.1e}"


def check_text(model_type, architecture, path, tokenizer):
    model = tiny_model(model_type, architecture, len(tokenizer) + 60)
    save(model, path)
    tokenizer.save_pretrained(path)
    backbone = opened(path, "text")
    samples = sentences()
    batches = form_batches(backbone.costs(samples), 8, backbone.groups(samples))
    alone = run(backbone, samples, [[i] for i in range(len(samples))])
    compare(run(backbone, samples, batches), alone)
    long = " ".join(["the"] * 3 * POSITIONS)
    assert run(backbone, [long], [[0]])["last"].isfinite().all()
