"""Images by their content: real files of each kind, cut off, damaged, too large."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.base import ToolContext, ToolOutput
from tools.picture import _KINDS, MAX_BYTES, MAX_SIDE, Damaged, Image, Picture, look_at
from tools.toolset import load

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).parents[1] / "golden" / "images"
FILES = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir())}
KINDS = {".png": "PNG", ".jpg": "JPEG", ".gif": "GIF", ".webp": "WebP"}


def png(width: int, height: int, spare: int = 0) -> bytes:
    """A whole PNG of that size, black, with `spare` bytes of no meaning."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" * (1 + (width + 7) // 8)) * height)
    parts = chunk(b"IHDR", head) + chunk(b"spAr", bytes(spare)) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def told(data: bytes) -> Picture | str | None:
    try:
        return look_at(data)
    except Damaged as error:
        return str(error)


@pytest.mark.parametrize("name", FILES)
def test_each_kind_is_told_and_measured(name: str) -> None:
    assert look_at(FILES[name]) == Picture(KINDS[Path(name).suffix], 48, 20)


def test_there_is_a_file_of_every_kind() -> None:
    assert len(FILES) == 9 and {kind for kind, _, _ in _KINDS} == set(KINDS.values())


@pytest.mark.parametrize("name", FILES)
def test_what_is_cut_off_is_no_picture(name: str) -> None:
    data = FILES[name]
    for length in (12, 20, 30, len(data) // 2, len(data) - 2):
        assert not isinstance(told(data[:length]), Picture), length


@given(st.integers(0, len(FILES["plain.png"]) - 1), st.integers(1, 255))
def test_no_byte_of_a_png_may_differ(at: int, by: int) -> None:
    data = bytearray(FILES["plain.png"])
    data[at] ^= by
    assert not isinstance(told(bytes(data)), Picture)


@given(st.sampled_from([magic for _, magics, _ in _KINDS for magic in magics]), st.binary(max_size=60))
def test_whatever_follows_a_beginning_is_told_or_refused(magic: bytes, rest: bytes) -> None:
    assert not isinstance(told(magic + rest), Picture)
    told(magic + rest[:4] + b"WEBP" + rest[4:])


@pytest.mark.parametrize("data", [b"", b"text", b"RIFF\0\0\0\0WAVEfmt ", b"\x89PN", b"%PDF-1.7", b"BM\0\0"])
def test_all_else_is_none(data: bytes) -> None:
    assert look_at(data) is None


def test_a_picture_without_area_is_damaged() -> None:
    assert told(png(0, 3)) == "it has no area"


async def read(ctx: ToolContext, path: str) -> ToolOutput:
    return await load("read").run(ctx, path=path)


async def test_read_shows_an_image_whatever_its_name(ctx: ToolContext, tree: Path) -> None:
    (tree / "shot.txt").write_bytes(FILES["baseline.jpg"])
    shown = await read(ctx, "shot.txt")
    assert shown.text == "shot.txt: JPEG image, 48x20, 810 bytes"
    assert shown.images == (Image("image/jpeg", FILES["baseline.jpg"]),)
    assert "shot.txt" not in ctx.seen, "an edit of it would be one of bytes that nobody saw"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (png(MAX_SIDE + 1, 1), f"PNG image, {MAX_SIDE + 1}x1, 86 bytes; too large to be shown"),
        (png(2, 1, MAX_BYTES), "PNG image, 2x1, 3.6 MB; too large to be shown (at most 3.6 MB and 8000"),
        (png(2, 1)[:-1], "a b.png is a damaged image of 78 bytes: it is cut off."),
    ],
    ids=["wide", "heavy", "cut"],
)
async def test_what_cannot_be_shown_says_why(ctx: ToolContext, tree: Path, data: bytes, said: str) -> None:
    (tree / "a b.png").write_bytes(data)
    shown = await read(ctx, "a b.png")
    assert said in shown.text and shown.images == ()
    assert ("convert 'a b.png' -resize" in shown.text) == ("too large" in said)


async def test_words_that_begin_like_an_image_are_words(ctx: ToolContext, tree: Path) -> None:
    (tree / "a.txt").write_text("GIF89a is a format.\n")
    assert (await read(ctx, "a.txt")).text == "1\tGIF89a is a format."


async def test_the_largest_that_fits_is_shown(ctx: ToolContext, tree: Path) -> None:
    bare = len(png(MAX_SIDE, 1))
    (tree / "a.png").write_bytes(png(MAX_SIDE, 1, MAX_BYTES - bare))
    assert len((await read(ctx, "a.png")).images[0].data) == MAX_BYTES
