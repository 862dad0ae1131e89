"""Audio backbones of transformers: encoders of waveforms, and of spectrograms of a fixed length."""

from __future__ import annotations

import inspect
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from hf_sfda.backbones.base import OpenOptions, Outputs
from hf_sfda.backbones.checkpoint import count_params, read_config, require_no_pointers
from hf_sfda.backbones.loading import AUDIO, Loaded, first_line, load
from hf_sfda.backbones.pooling import pool, pool_layers, tensors
from hf_sfda.compat import ensure_torchvision
from hf_sfda.dataset.sounds import sizes_of
from hf_sfda.errors import ExtractionError
from hf_sfda.scan.rules import audio_type_reason
from hf_sfda.types import Sound

ensure_torchvision()  # see vision.py

_SETTINGS = ("preprocessor_config.json", "processor_config.json")

Padding = Literal["fixed", "masked", "never"]
_FIXED = ("audio-spectrogram-transformer", "clap", "clap_audio_model", "whisper")
_MASKED = ("hubert", "unispeech", "unispeech-sat", "wav2vec2", "wavlm")

_MOST_RATE = 192_000
_MOST_NUMBER = 10_000_000  # in the settings: values of a clip; Whisper states 480,000


def padding_of(config: Any) -> Padding:
    """How sounds of different length share a batch, so that padding changes no features.

    ``"fixed"``: the network takes spectrograms of one length, so each sound has the same input
    alone and in a batch. ``"masked"``: shorter sounds are padded, and the network ignores the
    padding. ``"never"``: only sounds of equal length share a batch. This holds for networks whose
    first convolution is followed by a group norm over time (``feat_extract_norm`` is ``"group"``),
    in which padding changes mean and variance, and for those that convolve or shorten the frames
    after the padding was masked (Data2Vec, SEW, Conformer, an adapter).

    ``tests/backbones/test_audio.py`` compares every family alone and in a batch.
    """
    if config.model_type in _FIXED:
        return "fixed"
    exact = getattr(config, "feat_extract_norm", None) == "layer"
    adapter = getattr(config, "add_adapter", False)
    return "masked" if config.model_type in _MASKED and exact and not adapter else "never"


@dataclass(frozen=True)
class AudioCollate:
    """The feature extractor of the checkpoint.

    Attributes:
        extractor: A feature extractor of transformers.
        rate: Values per second that the network takes.
        longest: Values of a sound that the network takes; ``None`` if there is no limit.
    """

    extractor: Any
    rate: int
    longest: int | None = None

    def __call__(self, samples: Sequence[Sound]) -> dict[str, Tensor]:
        """Sounds -> the inputs of the network, and ``lengths`` (B,): values of each at its rate."""
        waves = [self.wave(sound) for sound in samples]
        if self.longest is not None:
            batch = self._extract(waves)
        else:
            # One by one, padded here. The settings of a repository can pad on the left, or leave
            # out the mask: then mean and deviation of a sound would be those of sound and padding.
            rows = [self._extract([wave]) for wave in waves]
            batch = {
                name: pad_sequence([row[name][0] for row in rows], batch_first=True)
                for name in AUDIO.arguments
                if name in rows[0]
            }
        name = next(name for name in AUDIO.arguments if name in batch)
        inputs = {name: batch[name], "lengths": torch.tensor([len(wave) for wave in waves])}
        if "is_longer" in batch:
            # CLAP fuses random parts of longer sounds, and marks a random sound of each batch.
            inputs["is_longer"] = torch.zeros_like(batch["is_longer"])
        return inputs

    def _extract(self, waves: Sequence[Any]) -> Mapping[str, Tensor]:
        batch: Mapping[str, Tensor] = self.extractor(
            waves, sampling_rate=self.rate, return_tensors="pt"
        )
        return batch

    def wave(self, sound: Sound) -> Any:
        """(T,) float32 values of a sound at the rate of the network, and no more than it takes."""
        values = sound.values
        if self.longest is not None:  # one second more, for the edge of the resampling
            values = values[: math.ceil((self.longest / self.rate + 1) * sound.rate)]
        if sound.rate != self.rate:
            import soxr

            # Any pair of rates takes the same time, which is not so for polyphase filters.
            values = soxr.resample(values, sound.rate, self.rate)
        return values[: self.longest]


class AudioBackbone:
    """An audio model of transformers. Every layer is a mean over the frames with sound.

    ``"last"`` is the first of these that the checkpoint has:

    1. the input of the classifier, if the checkpoint is a classifier and has all weights of its
       head;
    2. the pooled output of AST (the mean of its two class tokens) and of CLAP (the mean of its last
       map), which their heads read;
    3. the mean over the frames with sound of the last hidden state.

    Frames that are padding are never part of a mean. Whisper and AST get spectrograms of one
    length, in which the rest is silence: their frames in the silence are not counted. CLAP repeats
    a short sound, so all its frames count.
    """

    def __init__(self, loaded: Loaded, collate: AudioCollate) -> None:
        self.collate = collate
        self.params = count_params(loaded.tower)
        self.model_class = type(loaded.model).__name__
        end = "" if collate.longest is None else f", {collate.longest / collate.rate:.3g} s"
        self.preprocessing = f"{type(collate.extractor).__name__}, {collate.rate:,} Hz{end}"
        self.module = loaded.model
        self.padding = padding_of(loaded.config)
        self._config = loaded.config
        self._dtype = next(loaded.model.parameters()).dtype
        self._tower: Any = loaded.tower
        self._heads = loaded.heads
        self._has_head = loaded.has_head
        self._seen: Any = None
        loaded.tower.register_forward_hook(self._see_tower)

    def costs(self, samples: Sequence[Any]) -> list[int]:
        """Values of each sound; 0 if the network takes the same length of all."""
        if self.padding == "fixed":
            return [0] * len(samples)
        return [round(n * self.collate.rate / rate) for rate, n in sizes_of(samples)]

    def groups(self, samples: Sequence[Any]) -> list[Hashable] | None:
        """Rate and length of each sound, if padding would change the features."""
        return list(sizes_of(samples)) if self.padding == "never" else None

    def forward(self, batch: Mapping[str, Tensor]) -> Outputs:
        """Run the inputs of :class:`AudioCollate`."""
        inputs = {
            name: value.to(self._dtype) if value.is_floating_point() else value
            for name, value in batch.items()
            if name != "lengths"
        }
        lengths = batch["lengths"]
        heard = None  # (B, T) which values are no padding; None if all are
        if self.padding == "masked" and int(lengths.min()) < int(lengths.max()):
            places = torch.arange(inputs["input_values"].shape[1], device=lengths.device)
            heard = places < lengths[:, None]
            inputs["attention_mask"] = heard.long()
        self._clear()  # what a pass that ran out of memory left behind
        output = self.module(**inputs)
        tower = self._seen
        blocks = tensors(tower.get("hidden_states"))[1:]  # the first is the input embedding
        frames = self._frames(blocks[0], lengths, heard) if blocks else None
        layers = pool_layers(blocks, frames)
        layers["last"], rule = self._last(tower, lengths, heard)
        logits = output["logits"].float() if self._has_head else None
        self._clear()
        return Outputs(layers, logits, rule)

    def _clear(self) -> None:
        self._seen = None
        for head in self._heads:
            head.clear()

    def _last(
        self, tower: Mapping[str, Any], lengths: Tensor, heard: Tensor | None
    ) -> tuple[Tensor, str]:
        vectors = [head.vector(len(lengths)) for head in self._heads] if self._has_head else []
        if entering := [vector for vector in vectors if vector is not None]:
            return pool(torch.cat(entering, dim=1)), "input of the classifier"
        if (pooled := tower.get("pooler_output")) is not None:
            return pool(pooled), "pooler"
        hidden = tower["last_hidden_state"]
        return pool(hidden, self._frames(hidden, lengths, heard)), "masked mean"

    def _frames(self, hidden: Tensor, lengths: Tensor, heard: Tensor | None) -> Tensor | None:
        """(B, T) which frames of an activation (B, T, C) hold sound; ``None`` if all do."""
        if heard is not None:
            mask: Tensor = self._tower._get_feature_vector_attention_mask(
                hidden.shape[1], heard.long()
            )
            return mask
        if self._config.model_type == "whisper":
            step = (self.collate.longest or 0) / hidden.shape[1]  # values of one frame
            return torch.arange(hidden.shape[1], device=lengths.device) * step < lengths[:, None]
        if self._config.model_type == "audio-spectrogram-transformer":
            return self._patches(hidden.shape[1], lengths)
        return None

    def _patches(self, n_tokens: int, lengths: Tensor) -> Tensor:
        """(B, T) the patches of AST that begin within the sound. Its two class tokens do not count.

        The patches of one band of frequencies follow each other in time.
        """
        config = self._config
        n_times = (config.max_length - config.patch_size) // config.time_stride + 1
        step = config.time_stride * self.collate.rate // 100  # 100 frames a second
        begins = torch.arange(n_tokens - 2, device=lengths.device) % n_times * step
        patches = begins < lengths[:, None]
        return torch.nn.functional.pad(patches, (2, 0))

    def _see_tower(self, module: object, arguments: object, output: Any) -> None:
        self._seen = output


def open_audio(path: Path, options: OpenOptions) -> AudioBackbone:
    """Open a folder with an audio model of transformers.

    Raises:
        ExtractionError: The model or its feature extractor cannot be opened, or its family is not
            supported.
    """
    if reason := audio_type_reason(read_config(path).get("model_type"), "audio"):
        raise ExtractionError(reason)
    extractor, settings = _open_extractor(path)
    loaded = load(path, AUDIO, options)
    rate = settings.get("sampling_rate")
    if not isinstance(rate, int) or not 1_000 <= rate <= _MOST_RATE:
        raise ExtractionError(
            f"{_SETTINGS[0]} states sampling_rate = {rate!r:.40}; allowed are 1,000 to "
            f"{_MOST_RATE:,}"
        )
    collate = AudioCollate(extractor, rate, _longest(loaded.config, settings))
    _require_fit(_try_extractor(collate), collate, loaded)
    return AudioBackbone(loaded, collate)


def _longest(config: Any, settings: Mapping[str, Any]) -> int | None:
    """Values of a sound that a network takes."""
    if config.model_type == "audio-spectrogram-transformer":
        # A frame covers 25 ms and begins every 10 ms.
        rate = int(settings["sampling_rate"])
        return rate * (int(settings["max_length"]) - 1) // 100 + rate // 40
    if config.model_type == "whisper":
        return int(settings["n_samples"])
    return int(settings["nb_max_samples"]) if padding_of(config) == "fixed" else None


def _open_extractor(path: Path) -> tuple[Any, Mapping[str, Any]]:
    """The feature extractor of a checkpoint, and its settings.

    Raises:
        ExtractionError: There is none, it cannot be loaded, or its settings hold absurd numbers.
    """
    from transformers import AutoFeatureExtractor

    require_no_pointers(path)
    try:
        extractor = AutoFeatureExtractor.from_pretrained(
            path, trust_remote_code=False, local_files_only=True
        )
        settings = {**extractor.__dict__, **extractor.to_dict()}
    except Exception as error:
        if not any((path / name).is_file() for name in _SETTINGS):
            reason = f"no {_SETTINGS[0]} in the folder, which says how it takes sounds"
        else:
            reason = f"its feature extractor cannot be loaded: {first_line(error)}"
        raise ExtractionError(reason) from error
    for name, value in settings.items():
        if isinstance(value, int | float) and not abs(value) <= _MOST_NUMBER:
            raise ExtractionError(f"{_SETTINGS[0]} states {name} = {value:,}, which is too large")
    return extractor, settings


def _try_extractor(collate: AudioCollate) -> dict[str, Tensor]:
    """Try a feature extractor on one sound before any sample is read.

    Returns:
        The inputs of the network.

    Raises:
        ExtractionError: It fails, or its outputs cannot be used.
    """
    import numpy as np

    tone = np.sin(np.arange(collate.rate // 4, dtype=np.float32) / 10)
    try:
        batch = collate([Sound(tone, collate.rate)])
    except Exception as error:
        raise ExtractionError(
            f"its feature extractor cannot prepare a sound ({_SETTINGS[0]}): "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    if not all(value.isfinite().all() for value in batch.values()):
        raise ExtractionError(
            f"its feature extractor gives values that are no numbers; see {_SETTINGS[0]}"
        )
    return batch


def _require_fit(batch: Mapping[str, Tensor], collate: AudioCollate, loaded: Loaded) -> None:
    """Compare the inputs with what the network takes.

    Raises:
        ExtractionError: They belong to another network, such as one of other mel bands.
    """
    name = next(name for name in AUDIO.arguments if name in batch)
    made = f"its {type(collate.extractor).__name__} makes {name}"
    if name not in inspect.signature(loaded.tower.forward).parameters:
        raise ExtractionError(f"{made}, which its network does not take; see {_SETTINGS[0]}")
    shape, expected = tuple(batch[name].shape[1:]), _shape(loaded.config)
    if any(edge not in (None, other) for edge, other in zip(expected, shape, strict=False)):
        known = " x ".join("any" if edge is None else str(edge) for edge in expected)
        raise ExtractionError(
            f"{made} of {' x '.join(map(str, shape))} values, its network takes {known}; "
            f"see {_SETTINGS[0]}"
        )


def _shape(config: Any) -> tuple[int | None, ...]:
    """Shape of the spectrogram of one sound; empty for networks of waveforms."""
    if config.model_type == "whisper":
        return config.num_mel_bins, 2 * config.max_source_positions
    if config.model_type == "audio-spectrogram-transformer":
        return config.max_length, config.num_mel_bins
    if config.model_type in ("clap", "clap_audio_model"):
        return 4 if config.enable_fusion else 1, None, config.num_mel_bins
    return ()
