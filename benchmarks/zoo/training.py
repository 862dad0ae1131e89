"""Short trainings on one thread, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.zoo.sources import Pictures

if TYPE_CHECKING:
    import torch

Norm = dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train; the rate rises for a tenth of the steps, then falls to zero.

    Attributes:
        steps: Number of batches.
        batch: Samples in each.
        rate: Highest learning rate of AdamW.
        frozen_norms: Whether batch norms keep their statistics, as they should where a trained
            network is tuned on small batches.
        head_rate: Highest learning rate of a new classifier on a trained network of timm;
            ``rate`` if it is not given.
    """

    steps: int
    batch: int
    rate: float
    frozen_norms: bool = False
    head_rate: float | None = None


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """One thread and a fixed seed, both restored afterwards."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def supervised(
    model: torch.nn.Module, data: Pictures, norm: Norm, *, size: int, schedule: Schedule
) -> None:
    """Train a classifier with cross-entropy.

    Args:
        model: Returns (B, C) logits; trained in place.
        data: Pictures and labels.
        norm: ``mean`` and ``std`` of the inputs.
        size: Pixels to which the pictures are resized.
        schedule: See :class:`Schedule`.
    """
    import torch

    labels = torch.from_numpy(data.labels)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        x = to_input(data.pixels[rows.numpy()], norm, size)
        return torch.nn.functional.cross_entropy(model(x), labels[rows])

    descend(model, loss, len(data.labels), schedule)


def contrastive(
    model: torch.nn.Module, pixels: np.ndarray, norm: Norm, *, schedule: Schedule
) -> None:
    """SimCLR: two random views of a picture are to be more alike than views of two pictures.

    Args:
        model: Returns (B, D) embeddings; trained in place.
        pixels: (N, S, S, 3) uint8.
        norm: ``mean`` and ``std`` of the inputs.
        schedule: See :class:`Schedule`.
    """
    import torch

    size = pixels.shape[1]

    def loss(rows: torch.Tensor) -> torch.Tensor:
        x = to_input(pixels[rows.numpy()], norm, size)
        z = torch.nn.functional.normalize(model(torch.cat([views(x), views(x)])))  # (2 B, D)
        return info_nce(z)

    descend(model, loss, len(pixels), schedule)


def info_nce(z: torch.Tensor, temperature: float = 0.2) -> torch.Tensor:
    """The loss of SimCLR.

    Args:
        z: (2 B, D) of length 1; row ``i`` and row ``i + B`` are views of one picture.
        temperature: Divides the similarities.
    """
    import torch

    similar = (z @ z.T / temperature).fill_diagonal_(float("-inf"))
    return torch.nn.functional.cross_entropy(similar, torch.arange(len(z)).roll(len(z) // 2))


def views(x: torch.Tensor) -> torch.Tensor:
    """A random cut, flip, contrast and brightness of each picture.

    Args:
        x: (B, 3, S, S).

    Returns:
        The same shape.
    """
    import torch

    number, _, size, _ = x.shape
    cuts = []
    for image in x:
        side = int(torch.randint(size // 2, size + 1, ()))
        top, left = (int(torch.randint(0, size - side + 1, ())) for _ in range(2))
        cut = image[None, :, top : top + side, left : left + side]
        cuts.append(
            torch.nn.functional.interpolate(
                cut, size=(size, size), mode="bilinear", align_corners=False
            )
        )
    seen = torch.cat(cuts)
    flip = (torch.rand(number) < 0.5)[:, None, None, None]
    seen = torch.where(flip, seen.flip(-1), seen)
    contrast = torch.empty(number, 3, 1, 1).uniform_(0.6, 1.4)
    return seen * contrast + torch.empty(number, 1, 1, 1).uniform_(-0.4, 0.4)


def masked_pictures(
    model: Any, pixels: np.ndarray, norm: Norm, *, share: float, schedule: Schedule
) -> None:
    """SimMIM: paint the patches that were masked.

    Args:
        model: A ``ViTForMaskedImageModeling``; trained in place.
        pixels: (N, S, S, 3) uint8.
        norm: ``mean`` and ``std`` of the inputs.
        share: Of patches to mask.
        schedule: See :class:`Schedule`.
    """
    import torch

    size = pixels.shape[1]
    patches = (size // model.config.patch_size) ** 2

    def loss(rows: torch.Tensor) -> torch.Tensor:
        x = to_input(pixels[rows.numpy()], norm, size)
        hidden = torch.rand(len(x), patches) < share
        value: torch.Tensor = model(x, bool_masked_pos=hidden).loss
        return value

    descend(model, loss, len(pixels), schedule)


def classified_texts(
    model: Any, tokens: torch.Tensor, mask: torch.Tensor, labels: Sequence[int], schedule: Schedule
) -> None:
    """Train a text classifier with cross-entropy.

    Args:
        model: A sequence classifier of transformers; trained in place.
        tokens: (N, T) token ids.
        mask: (N, T) attention mask.
        labels: Class of each text.
        schedule: See :class:`Schedule`.
    """
    import torch

    wanted = torch.tensor(labels)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        logits = model(input_ids=tokens[rows], attention_mask=mask[rows]).logits
        return torch.nn.functional.cross_entropy(logits, wanted[rows])

    descend(model, loss, len(wanted), schedule)


def masked_words(
    model: Any, tokens: torch.Tensor, mask: torch.Tensor, mask_id: int, schedule: Schedule
) -> None:
    """Train a masked language model: 15 % of the tokens are hidden.

    Args:
        model: A ``BertForMaskedLM``; trained in place.
        tokens: (N, T) token ids.
        mask: (N, T) attention mask.
        mask_id: Id of the mask token.
        schedule: See :class:`Schedule`.
    """
    import torch

    def loss(rows: torch.Tensor) -> torch.Tensor:
        ids, seen = tokens[rows], mask[rows]
        hidden = (torch.rand(ids.shape) < 0.15) & seen.bool()
        hidden[:, 1] = True  # never a batch without a hidden token
        logits = model(input_ids=ids.masked_fill(hidden, mask_id), attention_mask=seen).logits
        return torch.nn.functional.cross_entropy(logits[hidden], ids[hidden])

    descend(model, loss, len(tokens), schedule)


def descend(
    model: torch.nn.Module,
    loss: Callable[[torch.Tensor], torch.Tensor],
    number: int,
    schedule: Schedule,
) -> None:
    """AdamW over shuffled batches; the model is left in evaluation mode.

    Args:
        model: Model to train.
        loss: Takes the (B,) numbers of the samples of a batch.
        number: Of samples.
        schedule: See :class:`Schedule`.
    """
    import torch

    warm = max(1, schedule.steps // 10)

    def factor(step: int) -> float:
        return min((step + 1) / warm, (schedule.steps - step) / (schedule.steps - warm + 1))

    optimizer = torch.optim.AdamW(_groups(model, schedule), weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    order = torch.empty(0, dtype=torch.int64)
    model.train()
    if schedule.frozen_norms:
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()
    for _ in range(schedule.steps):
        if len(order) < schedule.batch:
            order = torch.cat([order, torch.randperm(number)])
        rows, order = order[: schedule.batch], order[schedule.batch :]
        optimizer.zero_grad()
        loss(rows).backward()
        optimizer.step()
        scheduler.step()
    model.eval()


def _groups(model: Any, schedule: Schedule) -> list[dict[str, Any]]:
    if schedule.head_rate is None:
        return [{"params": list(model.parameters()), "lr": schedule.rate}]
    head = list(model.get_classifier().parameters())
    in_head = {id(parameter) for parameter in head}
    body = [p for p in model.parameters() if id(p) not in in_head]
    return [{"params": body, "lr": schedule.rate}, {"params": head, "lr": schedule.head_rate}]


def to_input(pixels: np.ndarray, norm: Norm, size: int) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, size, size), resized and normalised."""
    import torch

    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    if x.shape[-1] != size:
        x = torch.nn.functional.interpolate(
            x, size=(size, size), mode="bilinear", align_corners=False
        )
    mean, std = (torch.tensor(norm[key])[:, None, None] for key in ("mean", "std"))
    return (x - mean) / std
