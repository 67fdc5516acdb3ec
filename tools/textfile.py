"""A file's bytes as text, and back without changing a byte that nobody changed. Pure."""

from __future__ import annotations

import codecs

import msgspec

from tools.base import ToolError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Text(msgspec.Struct, frozen=True):
    """A file's text, and what is needed to write it back byte for byte."""

    text: str
    encoding: str
    bom: bytes = b""

    def encode(self, text: str) -> bytes:
        try:
            return self.bom + text.encode(self.encoding, "surrogatepass" if self.bom else "strict")
        except UnicodeEncodeError as error:
            wrong = error.object[error.start : error.end][:10]
            raise ToolError(
                f"The file is {self.encoding}, which has no {wrong!r}, so nothing was changed. Write it in "
                "other characters or as an escape, or let a command turn the file into UTF-8 first, such as "
                f"`iconv -f {self.encoding} -t utf-8`."
            ) from None


def decode(data: bytes) -> Text:
    """By byte-order mark, else UTF-8, else Latin-1, which any bytes are. Raises ToolError for binary data."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            try:
                return Text(data[len(bom) :].decode(encoding, "surrogatepass"), encoding, bom)
            except UnicodeDecodeError as error:
                raise ToolError(f"The file is damaged {encoding}: {error}.") from None
    if b"\0" in data:
        raise ToolError("The file is binary, not text.")
    try:
        return Text(data.decode(), "utf-8")
    except UnicodeDecodeError:
        return Text(data.decode("latin-1"), "latin-1")


def encode_like(before: bytes, text: str) -> bytes:
    """A whole new text in the encoding, byte-order mark and line ends of the file that it replaces."""
    file = decode(before)
    ends = file.text.count("\n")
    if ends and file.text.count("\r\n") == ends:
        text = plain(text).replace("\n", "\r\n")
    return file.encode(text)


def plain(text: str) -> str:
    """The text with line feeds alone at its line ends, as models write it."""
    return text.replace("\r\n", "\n")


def line_at(text: str, offset: int) -> int:
    """Number from 1 of the line that holds the character at `offset`."""
    return text.count("\n", 0, offset) + 1


def line_end(text: str, start: int, end: int) -> str:
    """The line end of a region, else of the line that it ends in, else of the line before it."""
    at = text.find("\n", start, end)
    if at < 0:
        at = text.find("\n", end)
    if at < 0:
        at = text.rfind("\n", 0, start)
    return "\r\n" if at > 0 and text[at - 1] == "\r" else "\n"
