"""Images that a model can be shown: told by their content, measured, and checked to be whole. Pure.

Nothing is decoded: the pixels of a hostile file are the provider's matter. But a file that is cut off or
damaged is not shown, for the provider would refuse it again in every later request of the conversation.

Sources: PNG (W3C), section 5; JPEG (ITU T.81), annex B; GIF89a; WebP (RFC 9649), section 2; RFC 6386, 9.1.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

MAX_BYTES = 3_750_000
"""The strictest provider takes 5 MB of base64."""
MAX_SIDE = 8000
"""Pixels; more is refused by some."""

_NO_SIZE = {0xC4, 0xC8, 0xCC}
"""Markers between SOF0 and SOF15 that begin no frame."""


class Image(msgspec.Struct, frozen=True):
    """A picture that is shown to the model."""

    media_type: str
    """Such as `image/png`."""
    data: bytes
    """The file's bytes; base64 in JSON."""


class Damaged(ValueError):
    """It begins as an image does, but is none to its end; says what is wrong."""


class Picture(NamedTuple):
    """What an image file is."""

    kind: str
    """PNG, JPEG, GIF or WebP."""
    width: int
    height: int

    @property
    def media_type(self) -> str:
        return f"image/{self.kind.lower()}"


def look_at(data: bytes) -> Picture | None:
    """What image the bytes are; None when they are no kind that models see. Raises Damaged."""
    for kind, magics, measure in _KINDS:
        if data.startswith(magics) and (kind != "WebP" or data[8:12] == b"WEBP"):
            try:
                width, height = measure(data)
            except (struct.error, IndexError) as error:
                raise Damaged("it is cut off") from error
            if not (width and height):
                raise Damaged("it has no area")
            return Picture(kind, width, height)
    return None


def _png(data: bytes) -> tuple[int, int]:
    """The size stands in the first chunk; each chunk has a checksum, the last is IEND."""
    at = 8
    names: list[bytes] = []
    while not names or names[-1] != b"IEND":
        length, name = struct.unpack_from(">I4s", data, at)
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(data[at + 4 : at + 8 + length]) != checksum:
            raise Damaged(f"the checksum of its part {len(names) + 1} is wrong")
        names.append(name)
        at += 12 + length
    if names[0] != b"IHDR" or b"IDAT" not in names:
        raise Damaged("its header or its pixels are missing")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _jpeg(data: bytes) -> tuple[int, int]:
    size = (0, 0)
    for marker, at in _segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in _NO_SIZE:
            height, width = struct.unpack_from(">HH", data, at + 5)
            size = (width, height)
    if b"\xff\xd9" not in data[-1024:]:  # cameras write a little behind the end
        raise Damaged("it is cut off")
    return size


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and place of each segment in front of the pixels."""
    at, marker = 2, 0
    while marker != 0xDA:
        if data[at] != 0xFF:
            raise Damaged("its parts do not follow each other")
        while data[at + 1] == 0xFF:  # fill bytes
            at += 1
        marker, (length,) = data[at + 1], struct.unpack_from(">H", data, at + 2)
        yield marker, at
        at += 2 + length


def _gif(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    if not data.rstrip(b"\0").endswith(b";"):
        raise Damaged("it is cut off")
    return width, height


def _webp(data: bytes) -> tuple[int, int]:
    (length,) = struct.unpack_from("<I", data, 4)
    if len(data) < length + 8:
        raise Damaged("it is cut off")
    match data[12:16]:
        case b"VP8X":
            return _24_bits(data, 24) + 1, _24_bits(data, 27) + 1
        case b"VP8L":
            (sides,) = struct.unpack_from("<I", data, 21)
            return (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
    raise Damaged("its first part is unknown")


def _24_bits(data: bytes, at: int) -> int:
    low, high = struct.unpack_from("<HB", data, at)
    return int(low | high << 16)


_KINDS = (
    ("PNG", (b"\x89PNG\r\n\x1a\n",), _png),
    ("JPEG", (b"\xff\xd8\xff",), _jpeg),
    ("GIF", (b"GIF87a", b"GIF89a"), _gif),
    ("WebP", (b"RIFF",), _webp),
)
