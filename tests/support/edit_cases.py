"""The corpus of edits in tests/golden/edits: each case is a text, an edit, and the whole result or a refusal.

A case stands for as many files as it has shapes: the same text with other line ends, in another encoding, or
without its last newline. Text before and after are shaped alike, so that a shape adds no rule of its own.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parents[1] / "golden" / "edits"


class Case(NamedTuple):
    group: str
    name: str
    shape: str
    before: bytes
    old: str
    new: str
    replace_all: bool
    after: bytes | None
    """None: the edit is refused and the file stays."""
    refused: str
    """A part of what is said then."""
    how: str
    """The rung of the ladder, where the case says it."""

    @property
    def id(self) -> str:
        return f"{self.group}/{self.name}/{self.shape}"


def shaped(text: str, shape: str) -> bytes:
    match shape:
        case "crlf":
            return text.replace("\n", "\r\n").encode()
        case "bom":
            return text.encode("utf-8-sig")
        case "utf-16-le" | "utf-16-be":
            return ("\ufeff" + text).encode(shape)
        case "latin-1":
            return ("# déjà vu\n" + text).encode("latin-1")
        case "no-final-newline":
            return text.removesuffix("\n").encode()
    return text.encode()


def cases() -> list[Case]:
    found: list[Case] = []
    for path in sorted(FOLDER.glob("*.toml")):
        table = tomllib.loads(path.read_text())
        usual = table.pop("shapes")
        for name, row in table.items():
            for shape in row.get("shapes", usual):
                after = shaped(row["after"], shape) if "after" in row else None
                found.append(
                    Case(
                        path.stem.partition("_")[0],
                        name,
                        shape,
                        shaped(row["before"], shape),
                        row["old"],
                        row["new"],
                        row.get("replace_all", False),
                        after,
                        row.get("refused", ""),
                        row.get("how", ""),
                    )
                )
    return found
