from __future__ import annotations

import shlex
from typing import Annotated

from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.documents import document_kind, document_text
from tools.ending import size
from tools.files import read_file, workspace_path
from tools.output import kind_of
from tools.picture import MAX_BYTES, MAX_SIDE, Damaged, Image, look_at
from tools.textfile import decode

MAX_LINES = 2000
MAX_CHARS = 50_000
MAX_LINE = 2000


@tool(Effect.READ)
async def read(
    ctx: ToolContext,
    path: str,
    offset: Annotated[int, "first line, from 1"] = 1,
    limit: int = MAX_LINES,
) -> ToolOutput:
    """Read a text file, with line numbers.

    A notebook or PDF is shown as text; that is not what `edit` works on, so the file does not count as seen.
    """
    path = await workspace_path(ctx, path)
    found = await read_file(ctx, path)
    note = ""
    if document_kind(path):
        text = await document_text(path, found.data)
        note = "[shown as text; edits are of the file itself]"
    else:
        if (picture := _image(path, found.data)) is not None:
            return picture
        try:
            text = decode(found.data).text
        except ToolError:
            return ToolOutput(f"{path} is a binary file of {found.size} bytes{kind_of(found.data)}.")
        ctx.seen[path] = found.hash
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n") if text else []
    if not lines:
        return ToolOutput(f"{path} is empty.")
    first = max(offset, 1)
    if first > len(lines):
        raise ToolError(f"{path} has {len(lines)} lines; offset {offset} is past its end.")
    shown = _numbered(lines[first - 1 : first - 1 + max(min(limit, MAX_LINES), 1)], first)
    last = first + len(shown) - 1
    if last < len(lines):
        shown.append(f"[{len(lines)} lines in all; go on with offset {last + 1}]")
    if note:
        shown.append(note)
    return ToolOutput("\n".join(shown), view=f"{path}, lines {first} to {last} of {len(lines)}")


def _image(path: str, data: bytes) -> ToolOutput | None:
    """A picture as one, with what it is in words; None for what is none."""
    try:
        picture = look_at(data)
    except Damaged as error:
        if b"\0" not in data and data.isascii():
            return None  # words such as "GIF89a is a format"
        return ToolOutput(f"{path} is a damaged image of {size(len(data))}: {error}.")
    if picture is None:
        return None
    told = f"{path}: {picture.kind} image, {picture.width}x{picture.height}, {size(len(data))}"
    if len(data) > MAX_BYTES or max(picture.width, picture.height) > MAX_SIDE:
        return ToolOutput(
            f"{told}; too large to be shown (at most {size(MAX_BYTES)} and {MAX_SIDE} pixels a side)."
            f" Make a smaller copy and read that: `convert {shlex.quote(path)} -resize 1568x1568 small.jpg`,"
            " or thumbnail() of Python's Pillow."
        )
    return ToolOutput(told, images=(Image(picture.media_type, data),))


def _numbered(lines: list[str], first: int) -> list[str]:
    """As many lines as there is room for, at least one."""
    shown: list[str] = []
    room = MAX_CHARS
    for number, line in enumerate(lines, first):
        cut = line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}... [{len(line)} characters]"
        room -= len(cut) + 1
        if room < 0 and shown:
            break
        shown.append(f"{number}\t{cut}")
    return shown
