"""The head of a GGUF file: enough to tell what it is and how much memory a conversation costs.

Format: docs/gguf.md of ggml-org/ggml, versions 2 and 3, little-endian. Keys stand before tensors, and those
of the architecture before the long ones of the tokenizer, so reading stops there.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import msgspec

MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
"""Type number -> struct format."""
_MAX_STRING = 2**20
_MAX_KEYS = 4096
_F16_BYTES = 2

Value = int | float | bool | str | list[int | float | bool | str]


class NotGguf(ValueError):
    """The file is no GGUF file that can be used; the message says why."""


class Head(msgspec.Struct, frozen=True):
    """What the file says of its model."""

    architecture: str
    name: str
    context_tokens: int | None
    """Trained context."""
    kv_bytes_per_token: int | None
    """Memory that one token of context takes in a 16-bit cache; None when the shape is not told."""


def read_head(path: Path) -> Head:
    """Raises NotGguf for anything else, OSError when it cannot be read."""
    with path.open("rb") as file:
        if _take(file, 4) != MAGIC:
            raise NotGguf(f"{path} is no GGUF file")
        version, _tensors, keys = struct.unpack("<IQQ", _take(file, 20))
        if version not in (2, 3) or keys > _MAX_KEYS:
            raise NotGguf(f"{path} is a GGUF file of a kind that cannot be read (version {version})")
        values: dict[str, Value] = {}
        for _ in range(keys):
            key = _string(file)
            if key.startswith("tokenizer.") and values:
                break
            values[key] = _value(file)
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str):
        raise NotGguf(f"{path} does not say which architecture it holds")
    return Head(
        architecture=architecture,
        name=str(values.get("general.name", "")),
        context_tokens=_number(values, f"{architecture}.context_length"),
        kv_bytes_per_token=_kv_bytes(values, architecture),
    )


def _kv_bytes(values: dict[str, Value], architecture: str) -> int | None:
    """Keys and values of one token over all layers: layers x heads of the cache x (key + value width)."""
    layers = _number(values, f"{architecture}.block_count")
    heads = _number(values, f"{architecture}.attention.head_count")
    width = _number(values, f"{architecture}.embedding_length")
    if not layers or not heads or not width:
        return None
    kv_heads = _number(values, f"{architecture}.attention.head_count_kv") or heads
    key_width = _number(values, f"{architecture}.attention.key_length") or width // heads
    value_width = _number(values, f"{architecture}.attention.value_length") or width // heads
    return layers * kv_heads * (key_width + value_width) * _F16_BYTES


def _number(values: dict[str, Value], key: str) -> int | None:
    """A whole number; of a list (one entry per layer) the largest."""
    value = values.get(key)
    if isinstance(value, list):
        value = max((entry for entry in value if isinstance(entry, int)), default=None)
    return value if isinstance(value, int) else None


def _value(file: BinaryIO) -> Value:
    (kind,) = struct.unpack("<I", _take(file, 4))
    if kind != _ARRAY:
        return _scalar(file, kind)
    kind, count = struct.unpack("<IQ", _take(file, 12))
    if count > _MAX_STRING:
        raise NotGguf(f"{file.name} is damaged: a list of {count} entries")
    return [_scalar(file, kind) for _ in range(count)]


def _scalar(file: BinaryIO, kind: int) -> int | float | bool | str:
    if kind == _STRING:
        return _string(file)
    if kind not in _SCALARS:
        raise NotGguf(f"{file.name} is damaged: there is no value of type {kind}")
    form = _SCALARS[kind]
    value: int | float | bool = struct.unpack(form, _take(file, struct.calcsize(form)))[0]
    return value


def _string(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", _take(file, 8))
    if length > _MAX_STRING:
        raise NotGguf(f"{file.name} is damaged: a text of {length} bytes")
    return _take(file, length).decode(errors="replace")


def _take(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise NotGguf(f"{file.name} ends too early to be a GGUF file")
    return data
