"""Decode sound files once, before any model runs, so that broken ones are left out for all models.

A file becomes one channel by the same rules for every format:

- The channels are averaged. The rate of the file is kept; a checkpoint resamples to its own.
- The first :data:`LONGEST` seconds are read, as much as Whisper takes. How many files are longer is
  shown.
- A file that is shorter than :data:`SHORTEST` seconds, that cannot be decoded, or that holds NaN or
  infinity is left out and counted. So is one with an absurd rate or number of channels; its header
  is enough to decide this.

``soundfile`` (libsndfile) decodes. Its wheels hold all they need. ``torchcodec``, which
``datasets`` uses, needs a system with FFmpeg, and another decoder gives other values for a
compressed file: the fingerprint of a dataset would depend on what is installed.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, overload

import numpy as np

from hf_sfda.errors import TargetError
from hf_sfda.types import Sound

SUFFIXES = frozenset(".wav .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .caf .w64 .rf64".split())
"""Files with these suffixes are sound files."""

UNREADABLE_SUFFIXES = frozenset(
    ".m4a .m4b .aac .wma .amr .ape .wv .mka .ac3 .dts .ra .mid .midi .sph .mp2 .tta .webma".split()
)
"""Sound files that are not read."""

LONGEST = 30.0
"""Seconds of a file that are read."""

SHORTEST = 0.1
"""Seconds. The first layers of most networks need 0.025."""

LOUDEST = 10.0
"""A warning names sounds with values beyond it. Files of floats lie between -1 and 1, with some
slack; larger ones usually hold 16-bit numbers as floats."""

_FORMATS = frozenset("WAV WAVEX RF64 W64 FLAC OGG MP3 AIFF AU CAF".split())
"""Formats of libsndfile that are read. It knows more, some of them without a header."""

_RATES = range(1_000, 384_001)
_MOST_CHANNELS = 64
_MOST_VALUES = 60_000_000  # of all channels: eight at 192,000 a second, with some slack

BROKEN = "broken sound file"
NO_READER = "sound format that cannot be read"
TOO_SHORT = f"sound shorter than {SHORTEST:g} seconds"
NO_RANGE = "sound with NaN or infinite values"

Size = tuple[int, int]
"""The rate of a sound and its number of values."""


def require_libraries() -> None:
    """Refuse to read sounds without the libraries for them.

    Raises:
        TargetError: One is not installed. The message says what to install.
    """
    missing = [name for name in ("soundfile", "soxr") if importlib.util.find_spec(name) is None]
    if missing:
        raise TargetError(
            f"The dataset holds sounds, and {' and '.join(missing)} to read them "
            f"{'is' if len(missing) == 1 else 'are'} not installed. "
            "Run `pip install 'hf-sfda[audio]'`."
        )


def unreadable(name: str, content: bytes) -> str | None:
    """The reason why a file is left out whose name says that no decoder here reads its format.

    Example:
        >>> unreadable("a.m4a", b""), unreadable("a.wav", b""), unreadable("a.m4a", b"RIFF....WAVE")
        ('sound format that cannot be read (.m4a)', None, None)
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in UNREADABLE_SUFFIXES and not is_sound_head(content[:32]):
        return f"{NO_READER} ({suffix})"
    return None


def decode_or_reason(encoded: bytes) -> Sound | str:
    """Decode to one channel, or give the reason why it is left out.

    Returns:
        The sound; of a longer one, a single value more than the beginning that is used, so that
        :func:`is_too_long` can tell.
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(encoded)) as file:
            rate, channels = int(file.samplerate), int(file.channels)
            most = int(LONGEST * rate) + 1
            absurd = rate not in _RATES or channels > _MOST_CHANNELS
            if file.format not in _FORMATS or absurd or most * channels > _MOST_VALUES:
                return BROKEN
            values = file.read(most, dtype="float32", always_2d=True)  # (T, channels)
    # libsndfile names dozens of errors; soundfile raises its own, RuntimeError and TypeError.
    except Exception:
        return BROKEN
    if len(values) < SHORTEST * rate:
        return TOO_SHORT
    if not np.isfinite(values).all():
        return NO_RANGE
    return Sound(values.mean(axis=1, dtype=np.float32), rate)


def is_too_long(sound: Sound) -> bool:
    """Whether only the beginning of a sound is used."""
    return len(sound.values) > int(LONGEST * sound.rate)


def beginning(sound: Sound) -> Sound:
    """The part of a sound that is used."""
    return Sound(sound.values[: int(LONGEST * sound.rate)].copy(), sound.rate)


def cut_note(cut: int, total: int) -> str:
    """The warning about sounds of which only the beginning is used."""
    longer = "is" if cut == 1 else "are"
    return f"{cut:,} of {total:,} sounds {longer} longer than {LONGEST:g} s; the rest is not read."


def loud_note(loud: int, total: int, peak: float) -> str:
    """The warning about sounds with values far beyond 1."""
    return (
        f"{loud:,} of {total:,} sounds hold values up to {peak:,.0f}; files of floats should lie "
        "between -1 and 1. Networks that do not scale their input see noise. If these are 16-bit "
        "numbers, divide them by 32,768."
    )


def encode(sound: Sound) -> bytes:
    """A wav file with exactly these values."""
    import soundfile

    sink = io.BytesIO()
    soundfile.write(sink, sound.values, sound.rate, format="WAV", subtype="FLOAT")
    return sink.getvalue()


def is_sound_head(head: bytes) -> bool:
    """Whether the first bytes of a file belong to a sound file in one of the supported formats.

    Example:
        >>> is_sound_head(b"RIFF....WAVEfmt "), is_sound_head(b"RIFF....WEBPVP8 ")
        (True, False)
    """
    if head[:4] in (b"RIFF", b"RF64", b"FORM"):
        return head[8:12] in (b"WAVE", b"AIFF", b"AIFC")
    mp3 = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2  # layer III
    return mp3 or head.startswith((b"fLaC", b"OggS", b"ID3", b"caff", b".snd", b"riff\x2e\x91"))


def sizes_of(samples: Sequence[Any]) -> list[Size]:
    """The size of each sound, without decoding it."""
    if isinstance(samples, LazySounds):
        return list(samples.sizes)
    return [(sound.rate, len(sound.values)) for sound in samples]


class LazySounds(Sequence[Sound]):
    """Encoded sounds that are decoded when indexed.

    Args:
        encoded: The content of each file.
        sizes: The size of each sound.
    """

    def __init__(self, encoded: Sequence[bytes], sizes: Sequence[Size]) -> None:
        self.encoded, self.sizes = tuple(encoded), tuple(sizes)

    def __len__(self) -> int:
        return len(self.encoded)

    @overload
    def __getitem__(self, index: int) -> Sound: ...
    @overload
    def __getitem__(self, index: slice) -> LazySounds: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return LazySounds(self.encoded[index], self.sizes[index])
        sound = decode_or_reason(self.encoded[index])
        if isinstance(sound, str):
            raise AssertionError("A sound that was decoded before cannot be decoded again.")
        return sound
