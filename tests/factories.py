"""Tiny checkpoints and learnable data sets, made in well under a second each.

Checkpoints have random weights, real architectures and real file layouts: folders that
``from_pretrained`` or timm's ``local-dir:`` open, and that can be pushed to the test Hub as they
are. Data sets are easy enough for any feature extractor to beat chance and noisy enough not to be
perfect.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_sfda.compat import ensure_torchvision

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

__all__ = [
    "FILLER",
    "TOPICS",
    "audio_dataset",
    "image_dataset",
    "image_folder",
    "images",
    "model_files",
    "safetensors_bytes",
    "sound_folder",
    "sounds",
    "text_dataset",
    "texts",
    "tiny_bert",
    "tiny_resnet",
    "tiny_timm",
    "tiny_vit",
    "tiny_wav2vec2",
    "write_card",
]

# One line a class: the words that give it away.
TOPICS = {
    "sport": "goal team match coach player league".split(),
    "food": "bread soup cook taste kitchen pepper".split(),
    "space": "planet rocket orbit star comet moon".split(),
    "money": "bank market stock price loan profit".split(),
    "music": "song guitar drum melody choir violin".split(),
    "sea": "ship wave harbour fish sail island".split(),
    "school": "teacher lesson exam book pupil desk".split(),
    "garden": "flower seed tree soil rose leaf".split(),
}
FILLER = (
    "the a of and to in was it for on with as at by from this that there then very new old good "
    "big small people time day year said made came went while after before"
).split()


# -- checkpoints


def tiny_vit(
    path: str | Path,
    *,
    seed: int = 0,
    architecture: str = "ViTForImageClassification",
    **config: Any,
) -> Path:
    """A ViT of 16 dimensions, 2 layers and 32 x 32 pixels, with its image processor.

    Args:
        path: The folder to write.
        seed: Of the weights.
        architecture: The class that is saved. A classifier has no pooler, ``ViTModel`` has one.
        config: Fields of ``ViTConfig`` to change, such as ``num_labels=5``.

    Returns:
        The folder.
    """
    ensure_torchvision()
    import transformers

    fields = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "image_size": 32,
        "patch_size": 8,
        "num_labels": 10,
        # The usual 0.02 leaves the features of so small a model almost constant.
        "initializer_range": 0.1,
        **config,
    }
    model_config = transformers.ViTConfig(**fields)
    size = {"height": model_config.image_size, "width": model_config.image_size}
    processor = transformers.ViTImageProcessorPil(size=size)
    return _save(path, _build(architecture, model_config, seed), processor)


def tiny_resnet(
    path: str | Path,
    *,
    seed: int = 0,
    architecture: str = "ResNetForImageClassification",
    **config: Any,
) -> Path:
    """A ResNet with two stages of 8 and 16 channels, and its image processor.

    Arguments as ``tiny_vit``.
    """
    ensure_torchvision()
    import transformers

    fields = {
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
        "layer_type": "basic",
        "num_labels": 10,
        **config,
    }
    processor = transformers.ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=1.0)
    model_config = transformers.ResNetConfig(**fields)
    return _save(path, _build(architecture, model_config, seed), processor)


def tiny_bert(
    path: str | Path,
    *,
    seed: int = 0,
    architecture: str = "BertForMaskedLM",
    **config: Any,
) -> Path:
    """A BERT of 16 dimensions and 2 layers, with a WordPiece tokenizer.

    It knows the words of ``TOPICS`` and ``FILLER``; others fall apart into letters. Arguments as
    ``tiny_vit``; of the architectures, ``BertModel`` has a pooler.
    """
    ensure_torchvision()
    import transformers

    words = [*FILLER, *(word for topic in TOPICS.values() for word in topic)]
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *words])
    tokenizer = transformers.BertTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)}, model_max_length=64
    )
    fields = {
        "vocab_size": len(pieces),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
        "initializer_range": 0.1,
        **config,
    }
    model_config = transformers.BertConfig(**fields)
    return _save(path, _build(architecture, model_config, seed), tokenizer)


def tiny_timm(
    path: str | Path,
    arch: str = "test_resnet",
    *,
    seed: int = 0,
    num_classes: int = 10,
    size: int | None = None,
) -> Path:
    """A timm model in the layout of timm's repositories: ``config.json``, ``model.safetensors``.

    timm ships ``test_*`` architectures of a few 100,000 parameters (``test_vit``,
    ``test_convnext`` ...); they take pictures of 160 x 160. ``size`` is another side length, which
    convolutional networks can take; ``test_resnet`` has 64.
    """
    ensure_torchvision()
    import timm
    import torch
    from timm.models import save_for_hf

    size = size or (64 if arch == "test_resnet" else None)
    shape = {"input_size": (3, size, size)} if size else {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = timm.create_model(
            arch, pretrained=False, num_classes=num_classes, pretrained_cfg_overlay=shape
        )
    save_for_hf(model, str(path), safe_serialization=True)
    return Path(path)


def tiny_wav2vec2(
    path: str | Path,
    *,
    seed: int = 0,
    architecture: str = "Wav2Vec2Model",
    **config: Any,
) -> Path:
    """A wav2vec 2.0 of 16 dimensions, 2 layers and 50 frames a second, and its feature extractor.

    Arguments as ``tiny_vit``. By default the first convolution is followed by a group norm over
    time, as in wav2vec2-base; ``feat_extract_norm="layer"`` has none.
    """
    ensure_torchvision()
    import transformers

    fields = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "conv_dim": [16, 16],
        "conv_stride": [20, 16],
        "conv_kernel": [40, 16],
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 2,
        "classifier_proj_size": 12,
        "initializer_range": 0.1,
        **config,
    }
    model_config = transformers.Wav2Vec2Config(**fields)
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    return _save(path, _build(architecture, model_config, seed), extractor)


def _build(architecture: str, config: Any, seed: int) -> Any:
    import torch
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return getattr(transformers, architecture)(config)


def _save(path: str | Path, *parts: Any) -> Path:
    for part in parts:
        part.save_pretrained(str(path))
    return Path(path)


def write_card(path: str | Path, **metadata: Any) -> Path:
    """Give a folder a ``README.md`` with this front matter (``license="mit"``, ``tags=[...]``)."""
    import yaml

    front = yaml.safe_dump(metadata, sort_keys=False)
    readme = Path(path) / "README.md"
    readme.write_text(f"---\n{front}---\n\n# {Path(path).name}\n", encoding="utf-8")
    return readme


def safetensors_bytes(*shape: int, dtype: str = "float32") -> bytes:
    """A safetensors file with one tensor of zeros."""
    from safetensors.numpy import save

    return save({"w": np.zeros(shape, dtype)})


def model_files(**card: Any) -> dict[str, bytes | str]:
    """The files of a repository that looks like a classifier, for tests that never open the model.

    15 parameters; ``card`` is added to a front matter with ``license: mit`` and ``tags: [tiny]``.
    """
    import yaml

    config = {"architectures": ["ViTForImageClassification"], "model_type": "vit"}
    front = yaml.safe_dump({"license": "mit", "tags": ["tiny"], **card})
    return {
        "config.json": json.dumps(config),
        "preprocessor_config.json": "{}",
        "model.safetensors": safetensors_bytes(3, 5),
        "README.md": f"---\n{front}---\n# Tiny\n",
    }


# -- data


def _names(classes: int | Sequence[str], pool: Sequence[str]) -> list[str]:
    if not isinstance(classes, int):
        return list(classes)
    if classes > len(pool):
        raise ValueError(f"At most {len(pool)} classes, not {classes}; or give their names.")
    return list(pool[:classes])


def images(
    n_per_class: int, n_classes: int, *, size: int = 32, seed: int = 0, noise: float = 0.2
) -> tuple[list[Image], list[int]]:
    """Pictures and labels, class after class.

    The class sets the hue of a disc and the angle of the stripes behind it, both loosely; place,
    brightness and pixel noise vary.
    """
    from PIL import Image

    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:size, 0:size] / size  # (S, S) each, in [0, 1)
    pictures, labels = [], []
    for label in range(n_classes):
        share = label / n_classes
        for _ in range(n_per_class):
            hue = share + rng.normal(0, 0.08)
            colour = 0.5 + 0.5 * np.cos(2 * np.pi * (hue + np.array([0, 1, 2]) / 3))  # (3,)
            angle = np.pi * (share + rng.normal(0, 0.08))
            phase = rows * np.cos(angle) + columns * np.sin(angle)
            stripes = 0.5 + 0.2 * np.sin(25 * phase + rng.uniform(0, 6))  # (S, S)
            picture = np.repeat(stripes[..., None], 3, axis=2)  # (S, S, 3)
            middle, radius = rng.uniform(0.3, 0.7, 2), rng.uniform(0.15, 0.3)
            disc = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < radius**2
            picture[disc] = colour
            picture = picture * rng.uniform(0.7, 1.1) + rng.normal(0, noise, picture.shape)
            pixels = (np.clip(picture, 0, 1) * 255).astype(np.uint8)
            pictures.append(Image.fromarray(pixels))
            labels.append(label)
    return pictures, labels


_SHAPES = [f"kind_{i:02d}" for i in range(100)]


def image_folder(
    path: str | Path,
    n_per_class: int = 10,
    classes: int | Sequence[str] = 3,
    size: int = 32,
    seed: int = 0,
    noise: float = 0.2,
) -> Path:
    """Write ``path/CLASS/0000.png`` ...: a folder that the ``imagefolder`` loader reads.

    Returns:
        The folder.
    """
    names = _names(classes, _SHAPES)
    pictures, labels = images(n_per_class, len(names), size=size, seed=seed, noise=noise)
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        file = Path(path) / names[label] / f"{i:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.save(file)
    return Path(path)


def image_dataset(
    n_per_class: int = 10,
    classes: int | Sequence[str] = 3,
    size: int = 32,
    seed: int = 0,
    noise: float = 0.2,
) -> Dataset:
    """``image`` (Image) and ``label`` (ClassLabel), in shuffled order."""
    from datasets import ClassLabel, Dataset, Features, Image

    names = _names(classes, _SHAPES)
    pictures, labels = images(n_per_class, len(names), size=size, seed=seed, noise=noise)
    features = Features({"image": Image(), "label": ClassLabel(names=names)})
    data = Dataset.from_dict({"image": pictures, "label": labels}, features=features)
    return data.shuffle(seed=seed).flatten_indices()


def sounds(
    n_per_class: int, n_classes: int, *, rate: int = 16_000, seed: int = 0, noise: float = 0.05
) -> tuple[list[np.ndarray], list[int]]:
    """Tones (T,) float32 of 0.2 to 0.4 seconds and their labels, class after class.

    The class sets the pitch and, by its overtones, the timbre, both loosely.
    """
    rng = np.random.default_rng(seed)
    tones, labels = [], []
    for label in range(n_classes):
        for _ in range(n_per_class):
            times = np.arange(int(rate * rng.uniform(0.2, 0.4))) / rate
            pitch = 200 * 1.6**label * rng.uniform(0.95, 1.05)
            tone = sum(
                np.sin(2 * np.pi * pitch * k * times + rng.uniform(0, 6)) / k ** (1 + label)
                for k in (1, 2, 3)
            )
            tone = 0.3 * rng.uniform(0.5, 1) * tone + rng.normal(0, noise, len(times))
            tones.append(tone.astype(np.float32))
            labels.append(label)
    return tones, labels


def sound_folder(
    path: str | Path,
    n_per_class: int = 10,
    classes: int | Sequence[str] = 3,
    seed: int = 0,
    suffixes: Sequence[str] = (".wav",),
) -> Path:
    """Write ``path/CLASS/0000.wav`` ..., in turn with these suffixes.

    Returns:
        The folder.
    """
    import soundfile

    names = _names(classes, _SHAPES)
    tones, labels = sounds(n_per_class, len(names), seed=seed)
    for i, (tone, label) in enumerate(zip(tones, labels, strict=True)):
        file = Path(path) / names[label] / f"{i:04d}{suffixes[i % len(suffixes)]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, tone, 16_000)
    return Path(path)


def audio_dataset(n_per_class: int = 10, classes: int = 3, seed: int = 0) -> Dataset:
    """``audio`` (Audio, wav files in the rows) and ``label`` (ClassLabel), in shuffled order."""
    import io

    import soundfile
    from datasets import Audio, ClassLabel, Dataset, Features, Value

    tones, labels = sounds(n_per_class, classes, seed=seed)
    rows = []
    for i, (tone, label) in enumerate(zip(tones, labels, strict=True)):
        sink = io.BytesIO()
        soundfile.write(sink, tone, 16_000, format="WAV")
        rows.append({"audio": {"bytes": sink.getvalue(), "path": f"{i}.wav"}, "label": label})
    plain = {"bytes": Value("binary"), "path": Value("string")}
    names = _names(classes, _SHAPES)
    features = Features({"audio": plain, "label": ClassLabel(names=names)})
    data = Dataset.from_list(rows, features=features).cast_column("audio", Audio())
    return data.shuffle(seed=seed).flatten_indices()


def texts(
    n_per_class: int, classes: int, *, length: int = 12, seed: int = 0, signal: float = 0.25
) -> tuple[list[str], list[int]]:
    """Sentences and labels, class after class; ``signal`` is the share of topic words."""
    rng = np.random.default_rng(seed)
    sentences, labels = [], []
    for label, topic in enumerate(_names(classes, list(TOPICS))):
        for _ in range(n_per_class):
            telling = rng.random(length) < signal
            words = np.where(telling, rng.choice(TOPICS[topic], length), rng.choice(FILLER, length))
            sentences.append(" ".join(words) + ".")
            labels.append(label)
    return sentences, labels


def text_dataset(
    n_per_class: int = 10,
    classes: int = 3,
    length: int = 12,
    seed: int = 0,
    signal: float = 0.25,
) -> Dataset:
    """``text`` (string) and ``label`` (ClassLabel, named as in ``TOPICS``), in shuffled order."""
    from datasets import ClassLabel, Dataset, Features, Value

    sentences, labels = texts(n_per_class, classes, length=length, seed=seed, signal=signal)
    names = _names(classes, list(TOPICS))
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    data = Dataset.from_dict({"text": sentences, "label": labels}, features=features)
    return data.shuffle(seed=seed).flatten_indices()
