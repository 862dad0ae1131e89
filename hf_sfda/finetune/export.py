"""Save a fine-tuned network as a folder that the library of its checkpoint loads.

There are three formats; each is loaded again and compared with the network that was measured:

``"timm"``
    A timm model: ``timm.create_model("hf-hub:me/model", pretrained=True)``.
``"classifier"``
    A classifier of transformers: ``AutoModelForImageClassification`` or
    ``AutoModelForAudioClassification``.
``"body and head"``
    A body of transformers (``AutoModel``) with its linear head in a file of its own, for networks
    whose classifier in transformers reads other features than the ones that were trained: all
    texts (the mean over the tokens), images where the pooler was trained, and sounds (the mean over
    the frames, or the pooler). A model of single texts also loads with sentence-transformers, whose
    file layout it has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hf_sfda.backbones import Backbone
from hf_sfda.backbones.loading import quiet
from hf_sfda.errors import FinetuneError
from hf_sfda.finetune.batches import is_image
from hf_sfda.finetune.classifier import Classifier, fold_input_scale
from hf_sfda.finetune.objectives import Objective
from hf_sfda.types import Measure, TextPair, Word

if TYPE_CHECKING:
    from hf_sfda.backbones.loading import Part

BODY_AND_HEAD = "body and head"
"""The format with a linear head in a file of its own."""

HEAD = "2_Dense"
"""Folder of the head in the format ``"body and head"``, named as by sentence-transformers."""

POOLINGS = {
    "masked mean": "the mean of the last hidden state over all tokens or frames but padding",
    "pooler": "the output of the pooler",
    "class token": "the class token of the last hidden state",
}
"""Features that the head reads in the format ``"body and head"``; the key is the pooling rule."""

_COMPARED = 16
_LARGEST_DIFFERENCE = 1e-3
"""Of a log-probability or a standardised value, between the network that was measured and the one
that was saved."""

_PROBLEM_TYPES: Mapping[Measure, str] = {
    "accuracy": "single_label_classification",
    "F1": "multi_label_classification",
    "R²": "regression",
}

Predict = Callable[[Any], Tensor]
"""One raw sample -> (1, K) outputs, by the plain library with the files of the folder."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A network after fine-tuning, with its chosen weights.

    Attributes:
        backbone: Its network holds the weights.
        classifier: The same network with its head.
        objective: What it was trained for.
        source: Folder of the checkpoint that it was trained from.
        output_names: Name of each output: the classes or labels, or the column of the values.
        input_scale: The inputs were divided by this number during training.
        samples: Raw samples to compare on.
    """

    backbone: Backbone
    classifier: Classifier
    objective: Objective
    source: Path
    output_names: tuple[str, ...]
    input_scale: float
    samples: tuple[Any, ...]


@dataclass(frozen=True)
class Exported:
    """A saved network.

    Attributes:
        format: ``"timm"``, ``"classifier"`` or ``"body and head"``.
        pooling: Features that the head reads, a key of :data:`POOLINGS`; empty for other formats.
        modality: ``"image"``, ``"text"`` or ``"audio"``.
        mode: ``"RGB"``, or ``"L"`` for networks that read one channel.
        lower: Whether texts are lower-cased before the tokenizer.
        rate: Values per second that a model of sounds takes.
        frame: Values of a sound in a frame, where the frames after its end do not count; else 0.
        pair: Empty for single texts. ``"separated"``: the tokenizer takes two texts.
            ``"joined"``: two texts are one text with a line break between them.
        types: Whether the model is given the token types of a pair.
        loader: Full name of the class that loads the body, where ``AutoModel`` loads another one.
    """

    format: str
    pooling: str
    modality: str
    mode: str = "RGB"
    lower: bool = False
    rate: int = 0
    frame: int = 0
    pair: str = ""
    types: bool = False
    loader: str = ""


@quiet()
def export(trained: Trained, folder: Path) -> Exported:
    """Save a network, load it again with its preprocessing, and compare the predictions.

    The classifier must not be trained or run afterwards.

    Args:
        trained: The network. It is moved to the CPU.
        folder: An empty folder.

    Raises:
        FinetuneError: No format of its library gives the predictions that were measured.
        OSError: The folder cannot be written.
    """
    backbone, classifier, objective = trained.backbone, trained.classifier, trained.objective
    classifier.to("cpu").eval()
    samples = _compared(trained)
    batches = [_floats(backbone.collate([sample])) for sample in samples]
    _undo_input_scale(trained, batches[0])
    with torch.no_grad():
        expected = objective.normalised(torch.cat([classifier(batch) for batch in batches]))
        pooling = backbone.forward(batches[0]).pooling
    reasons = []
    for exported in _formats(trained, pooling, types="token_type_ids" in batches[0]):
        _empty(folder)
        try:
            predict = _SAVE[exported.format](trained, folder, exported)
            with torch.no_grad():
                outputs = torch.cat([predict(sample) for sample in samples])
        except (FinetuneError, ImportError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reasons.append(f"{type(error).__name__}: {error}".splitlines()[0])
            continue
        predicted = objective.normalised(objective.as_trained(outputs))
        if float((predicted - expected).abs().max()) <= _LARGEST_DIFFERENCE:
            return exported
        reasons.append(f"loaded again, it predicts otherwise (format {exported.format!r})")
    _empty(folder)
    raise FinetuneError("cannot be saved for its library: " + "; ".join(reasons))


def _formats(trained: Trained, pooling: str, *, types: bool) -> list[Exported]:
    """The formats to try, in this order.

    Args:
        trained: The network.
        pooling: Rule by which its features are pooled.
        types: Whether it is given token types.
    """
    from hf_sfda.backbones.audio import AudioCollate
    from hf_sfda.backbones.text import TextCollate
    from hf_sfda.backbones.timm_vision import TimmCollate

    collate: Any = trained.backbone.collate
    if isinstance(collate, TextCollate):
        pair = _pair_of(trained)
        text = Exported(BODY_AND_HEAD, pooling, "text", lower=collate.lower, pair=pair, types=types)
        return [text]
    if isinstance(collate, AudioCollate):
        if pooling in POOLINGS:
            return [_sound_body(trained, pooling)]
        return [Exported("classifier", "", "audio", rate=collate.rate)]
    if isinstance(collate, TimmCollate):
        return [Exported("timm", "", "image", collate.mode)]
    classifier = Exported("classifier", "", "image", collate.mode)
    both = Exported(BODY_AND_HEAD, pooling, "image", collate.mode)
    return [classifier, both] if pooling in POOLINGS else [classifier]


def _sound_body(trained: Trained, pooling: str) -> Exported:
    """A model of sounds, saved as body and head."""
    from transformers import AutoModel

    from hf_sfda.backbones.loading import AUDIO, find_tower

    backbone: Any = trained.backbone
    body = find_tower(backbone.module, backbone.module.config, AUDIO)
    frame = 0
    if body.config.model_type == "whisper":
        frame = backbone.collate.longest // body.config.max_source_positions
    is_found = AutoModel._model_mapping.get(type(body.config), None) is type(body)
    loader = "" if is_found else f"{type(body).__module__}.{type(body).__name__}"
    rate = backbone.collate.rate
    return Exported(BODY_AND_HEAD, pooling, "audio", rate=rate, frame=frame, loader=loader)


def _compared(trained: Trained) -> list[Any]:
    """The samples whose predictions are compared.

    Raises:
        FinetuneError: There are none, or they are words.
    """
    if isinstance(trained.samples[0], Word):
        raise FinetuneError(
            "a model for single words cannot be saved: it gives the tag of one word of a sentence, "
            "and no format of its library does"
        )
    samples = [sample for sample in trained.samples[:_COMPARED] if _is_read_whole(trained, sample)]
    if not samples:
        raise FinetuneError(
            "cannot be saved: all pairs are too long to compare; raise --max-length"
        )
    return samples


def _pair_of(trained: Trained) -> str:
    """How two texts go into the tokenizer; empty for single texts."""
    if not isinstance(trained.samples[0], TextPair):
        return ""
    collate: Any = trained.backbone.collate
    return "separated" if collate.separates else "joined"


def _is_read_whole(trained: Trained, sample: Any) -> bool:
    """Whether a sample is cut nowhere. Only for joined pairs: the tokenizer cuts their end, and
    we cut the longer of the two texts.
    """
    if _pair_of(trained) != "joined":
        return True
    collate: Any = trained.backbone.collate
    return bool(collate.lengths([sample])[0] < collate.max_length)


def _floats(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pixels that are neither rescaled nor normalised arrive as integers."""
    return {name: t.float() if t.dtype == torch.uint8 else t for name, t in batch.items()}


def _save_processor(trained: Trained, folder: Path) -> None:
    """Save the image processor or the feature extractor of sounds.

    An image processor must give floats, which networks take without our help.
    """
    collate: Any = trained.backbone.collate
    if hasattr(collate, "extractor"):
        collate.extractor.save_pretrained(folder)
        return
    batch = collate([trained.samples[0]])
    if any(tensor.dtype == torch.uint8 for tensor in batch.values()):
        collate.processor.do_rescale, collate.processor.rescale_factor = True, 1.0
    collate.processor.save_pretrained(folder)


def _undo_input_scale(trained: Trained, batch: Mapping[str, Tensor]) -> None:
    """Let the first layer read the inputs as the preprocessing gives them."""
    scale = trained.input_scale
    if scale == 1.0:
        return
    scaled = {
        name: tensor / scale if is_image(tensor) else tensor for name, tensor in batch.items()
    }
    images = next(tensor for tensor in scaled.values() if is_image(tensor))

    def run() -> None:
        with torch.no_grad():
            trained.backbone.forward(scaled)

    if not fold_input_scale(trained.backbone.module, images, 1 / scale, run):
        raise FinetuneError("the scale of its inputs cannot be moved back into its preprocessing")


def _linear(trained: Trained) -> tuple[Tensor, Tensor]:
    """Weight (K, D) and bias (K,) of the head on features that are not standardised. It gives
    logits, or values in the unit of the labels.
    """
    head = trained.classifier.head
    weight = head.linear.weight.detach() / head.spread
    return trained.objective.unscale(weight, head.linear.bias.detach() - weight @ head.mean)


# -- timm


def _save_timm(trained: Trained, folder: Path, exported: Exported) -> Predict:
    import timm
    from safetensors.torch import save_file
    from timm.data import create_transform, resolve_model_data_config

    weight, bias = _linear(trained)
    config = json.loads((trained.source / "config.json").read_text(encoding="utf-8"))
    classes = len(trained.output_names)
    config |= {"num_classes": classes, "label_names": list(trained.output_names)}
    config.pop("label_descriptions", None)
    for part in ("pretrained_cfg", "model_args"):  # both can state the number once more
        if "num_classes" in (config.get(part) or {}):
            config[part]["num_classes"] = classes
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    network = timm.create_model(f"local-dir:{folder}", pretrained=False)
    _copy(trained.backbone.module.state_dict(), network)
    _set_head(network.get_classifier(), weight, bias)
    save_file(_contiguous(network), folder / "model.safetensors", metadata={"format": "pt"})
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = create_transform(**resolve_model_data_config(loaded), is_training=False)
    return lambda image: loaded(transform(image.convert(exported.mode)).unsqueeze(0))


# -- transformers


def _save_classifier(trained: Trained, folder: Path, exported: Exported) -> Predict:
    from transformers import (
        AutoConfig,
        AutoModelForAudioClassification,
        AutoModelForImageClassification,
    )

    from hf_sfda.backbones.loading import find_tower

    is_sound = exported.modality == "audio"
    auto: Any = AutoModelForAudioClassification if is_sound else AutoModelForImageClassification
    names = dict(enumerate(trained.output_names))
    config = AutoConfig.from_pretrained(
        trained.source, local_files_only=True, trust_remote_code=False
    )
    config.id2label, config.label2id = names, {name: i for i, name in names.items()}
    config.problem_type = _PROBLEM_TYPES[trained.objective.measure]
    network = auto.from_config(config)
    own = trained.backbone.module
    if type(own) is type(network):
        _copy(own.state_dict(), network)
    else:
        tower = find_tower(network, config, _part(exported))
        _copy(own.state_dict(), tower)
    linears = [m for m in network.modules() if isinstance(m, nn.Linear)]
    _set_head(linears[-1], *_linear(trained))
    network.save_pretrained(folder)
    _save_processor(trained, folder)
    loaded = auto.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    prepare = _PREPARE[exported.modality](folder, trained.backbone.collate)
    return lambda sample: loaded(**prepare(sample)).logits


def _save_body_and_head(trained: Trained, folder: Path, exported: Exported) -> Predict:
    from safetensors.torch import load_file, save_file
    from transformers import AutoModel, PreTrainedModel

    from hf_sfda.backbones.loading import find_tower

    own = trained.backbone.module
    collate: Any = trained.backbone.collate
    is_text = exported.modality == "text"
    body = find_tower(own, own.config, _part(exported))
    if not isinstance(body, PreTrainedModel):
        raise FinetuneError(f"{type(body).__name__} is no model of its own in transformers")
    for module in body.modules():  # the backbone asked for them; they cost memory
        config = getattr(module, "config", None)
        if config is not None and hasattr(config, "output_hidden_states"):
            config.output_hidden_states = False
    body.save_pretrained(folder)
    weight, bias = _linear(trained)
    (folder / HEAD).mkdir()
    save_file(
        {"linear.weight": weight.contiguous(), "linear.bias": bias.contiguous()},
        folder / HEAD / "model.safetensors",
        metadata={"format": "pt"},
    )
    (folder / "labels.json").write_text(json.dumps(list(trained.output_names), indent=1))
    if is_text:
        tokenizer = collate.tokenizer
        tokenizer.model_max_length = collate.max_length
        tokenizer.save_pretrained(folder)
        if not exported.pair:
            _describe_for_sentence_transformers(folder, collate, *weight.shape)
    else:
        _save_processor(trained, folder)
    loader: Any = type(body) if exported.loader else AutoModel
    loaded = loader.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    head = load_file(folder / HEAD / "model.safetensors")
    prepare = _PREPARE[exported.modality](folder, collate)

    def predict(sample: Any) -> Tensor:
        inputs = prepare(sample)
        mask = inputs["attention_mask"] if is_text else None
        heard = None
        if exported.frame:
            heard = -(-len(collate.wave(sample)) // exported.frame)
        features = _pooled(loaded(**inputs), exported.pooling, mask, heard)
        return nn.functional.linear(features, head["linear.weight"], head["linear.bias"])

    return predict


def _tokens(folder: Path, collate: Any) -> Callable[[Any], Any]:
    """The saved tokenizer, as the code in the card calls it."""
    from transformers import AutoTokenizer

    from hf_sfda.backbones.text import SEPARATOR

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    def prepare(sample: str | TextPair) -> dict[str, Tensor]:
        texts = [sample] if isinstance(sample, str) else list(sample)
        texts = [text.lower() if collate.lower else text for text in texts]
        if len(texts) == 2 and not collate.separates:
            texts = [SEPARATOR.join(texts)]
        truncation = True if len(texts) == 1 else "longest_first"
        tokens = tokenizer(*([text] for text in texts), truncation=truncation, return_tensors="pt")
        return {name: tokens[name] for name in collate([sample])}

    return prepare


def _pixels(folder: Path, collate: Any) -> Callable[[Any], Any]:
    """The saved image processor, as the code in the card calls it."""
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    return lambda image: processor(image.convert(collate.mode), return_tensors="pt")


def _waves(folder: Path, collate: Any) -> Callable[[Any], Any]:
    """The saved feature extractor, as the code in the card calls it."""
    from transformers import AutoFeatureExtractor

    extractor = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
    return lambda sound: extractor(
        collate.wave(sound), sampling_rate=collate.rate, return_tensors="pt"
    )


_PREPARE = {"image": _pixels, "text": _tokens, "audio": _waves}


def _part(exported: Exported) -> Part:
    """The part of a model of transformers that takes such inputs."""
    from hf_sfda.backbones.loading import AUDIO, IMAGE, TEXT

    return {"image": IMAGE, "text": TEXT, "audio": AUDIO}[exported.modality]


def _pooled(output: Any, pooling: str, mask: Tensor | None, heard: int | None) -> Tensor:
    """(B, D) features by one of :data:`POOLINGS`, as the code in the card computes them.

    Args:
        output: Of the body, for one sample.
        pooling: The rule.
        mask: (1, T) which tokens of a text are no padding.
        heard: Number of frames that hold sound; ``None`` if all do.
    """
    if pooling == "pooler":
        return output.pooler_output.flatten(1)  # type: ignore[no-any-return]
    hidden: Tensor = output.last_hidden_state
    if pooling == "class token":
        return hidden[:, 0]
    if mask is None:
        return hidden[:, :heard].mean(1)
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


def _describe_for_sentence_transformers(
    folder: Path, collate: Any, n_classes: int, width: int
) -> None:
    """Write the files with which ``SentenceTransformer(folder).encode`` gives the logits."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling", HEAD: "Dense"}
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": path,
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, (path, kind) in enumerate(kinds.items())
    ]
    documents: dict[str, Any] = {
        "modules.json": modules,
        "sentence_bert_config.json": {
            "max_seq_length": collate.max_length,
            "do_lower_case": collate.lower,
        },
        "1_Pooling/config.json": {
            "word_embedding_dimension": width,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
        f"{HEAD}/config.json": {
            "in_features": width,
            "out_features": n_classes,
            "bias": True,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    }
    for name, document in documents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(document, indent=2), encoding="utf-8")


_SAVE: Mapping[str, Callable[[Trained, Path, Exported], Predict]] = {
    "timm": _save_timm,
    "classifier": _save_classifier,
    BODY_AND_HEAD: _save_body_and_head,
}


# -- all


def _copy(weights: Mapping[str, Tensor], network: nn.Module) -> None:
    """Copy weights into a network of the same body; shapes that differ belong to the head."""
    own = network.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    network.load_state_dict(fitting, strict=False)


def _set_head(linear: Any, weight: Tensor, bias: Tensor) -> None:
    if not isinstance(linear, nn.Linear) or linear.weight.shape != weight.shape:
        raise FinetuneError("its classifier is not one linear layer on the trained features")
    if linear.bias is None:
        raise FinetuneError("its classifier has no bias")
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)


def _contiguous(network: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().contiguous() for name, t in network.state_dict().items()}


def _empty(folder: Path) -> None:
    import shutil

    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
