"""What a Dockerfile would have the daemon fetch: a look at its text before a build. Pure.

The network of a build binds what `RUN` starts. It does not bind the daemon, which fetches missing images and
the addresses of `ADD` itself, from the host. So that is read from the text, and what cannot be read plainly
is refused. Lines are joined as the daemon's own parser joins them; where its versions differ, the text is
refused as well. Its idea of white space is Go's, which is not Python's: so outside of comments there may be
none but space, tab and the ends of lines, and both mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from sandbox.base import SandboxError
from sandbox.devcontainer import is_image_name

_ESCAPE = re.compile(r"^\s*#\s*escape\s*=\s*(?!\\\s*$)", re.IGNORECASE | re.MULTILINE)
_BLANK = " \t"
_ODD = re.compile(r"[^\S \t]|[\x00-\x08\x0e-\x1f\x7f-\x9f]")
"""Control characters, and white space of any alphabet but space and tab."""
_CONTINUED = re.compile(r"\\[ \t]*$")
_DOUBLE = re.compile(r"\\\\[ \t]*$")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::-([^}$]*))?\})", re.ASCII)
_ARG = re.compile(r"(\w+)(?:=([^\s\"'\\]*|\"[^\s\"\\]*\"|'[^\s'\\]*'))?", re.ASCII)
_NAME = re.compile(r"[A-Za-z]*")
_HEREDOC = re.compile(r"(?<!<)<<-?[^\s<]")
_PLAIN = re.compile(r"--[a-z-]+(?:=[\w:.-]*)?|[\w.@+,/*?=-]+", re.ASCII)
"""A flag, or a word without colon, quote, backslash and variable: neither can be an address."""


class DockerfileError(SandboxError, ValueError):
    """A Dockerfile that pawl does not build. The message says the line."""


class Needs(msgspec.Struct, frozen=True):
    """What a build takes from elsewhere."""

    images: tuple[str, ...]
    """Images that must be here, or the daemon would fetch them."""
    unclear: tuple[str, ...]
    """`FROM` and `COPY --from` of which no image can be told."""


def needs(text: str, args: Mapping[str, str]) -> Needs:
    """Read a Dockerfile with its build arguments.

    Raises DockerfileError for an `ADD` that could fetch, and for what cannot be read surely.
    """
    known: dict[str, str] = {}
    stages: list[str] = []
    images: dict[str, None] = {}
    unclear: list[str] = []
    for instruction, rest in _instructions(text):
        words = rest.split()
        plain = [word for word in words if not word.startswith("--")]
        wanted = ""
        if instruction == "ARG" and not stages:
            _define(known, words, args)
        elif instruction == "ADD" and not all(_PLAIN.fullmatch(word) for word in words):
            raise DockerfileError(
                f"ADD {rest[:80]}: expected plain paths only; the daemon itself would fetch an address"
            )
        elif instruction == "FROM" and plain:
            wanted = _expanded(plain[0], known)
            stage = plain[2].lower() if len(plain) > 2 and plain[1].lower() == "as" else ""
            if wanted.lower() in stages or wanted == "scratch":
                wanted = ""
            stages.append(stage)
        elif instruction in ("COPY", "ADD"):
            named = [word.partition("=")[2] for word in words if word.lower().startswith("--from=")]
            wanted = next((name for name in named if not _is_stage(name, stages)), "")
        if wanted and is_image_name(wanted):
            images[wanted] = None
        elif wanted:
            unclear.append(f"{instruction} {rest[:80]}")
    return Needs(tuple(images), tuple(unclear))


def _is_stage(name: str, stages: list[str]) -> bool:
    return name.lower() in stages or (name.isdecimal() and int(name) < len(stages))


def _define(known: dict[str, str], words: list[str], args: Mapping[str, str]) -> None:
    """Take the values of an `ARG` before the first `FROM`; one without a value becomes unknown."""
    for word in words:
        found = _ARG.fullmatch(word)
        if found is None:
            raise DockerfileError(
                f"ARG {word[:80]}: expected NAME or NAME=value, without spaces in the value"
            )
        name, value = found.groups()
        known.pop(name, None)
        if name in args:
            known[name] = args[name]
        elif value is not None:
            known[name] = value.strip("\"'")


def _expanded(word: str, known: Mapping[str, str]) -> str:
    """A word with its variables filled in; what is not known stays, and is then no name of an image."""
    return _VARIABLE.sub(
        lambda found: known.get(found[1] or found[2]) or (found[0] if found[3] is None else found[3]), word
    )


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """(name in capitals, the rest) of each instruction; of `ONBUILD X` it is X, which a later stage runs."""
    if _ESCAPE.search(text) or "\0" in text:
        raise DockerfileError("a Dockerfile with another escape character than the backslash is not built")
    for line in _joined(text.removeprefix("\ufeff")):
        name, rest = _split(line)
        while name == "ONBUILD":
            name, rest = _split(rest)
        if name in ("RUN", "COPY", "ADD") and _HEREDOC.search(rest):
            raise DockerfileError(
                f"{name} {rest[:80]}: a here-document; versions of docker differ on its lines"
            )
        yield name, rest


def _split(line: str) -> tuple[str, str]:
    """(name in capitals, the rest), which begins with flags that can be read without the shell's rules."""
    name, *more = line.split(None, 1) or [""]
    rest = more[0] if more else ""
    if not _NAME.fullmatch(name):
        raise DockerfileError(f"{line[:80]}: expected an instruction")
    if name.upper() != "RUN":
        for word in rest.split():
            if not word.startswith("--"):
                break
            if not {"\\", "'", '"'}.isdisjoint(word):
                raise DockerfileError(f"{line[:80]}: expected flags without quotes and backslashes")
    return name.upper(), rest


def _joined(text: str) -> Iterator[str]:
    """Whole lines: continued ones joined, comments and empty lines left out, as the daemon does it."""
    line = None
    for number, raw in enumerate(text.split("\n"), 1):
        part = raw.rstrip("\r")
        if part.lstrip(_BLANK).startswith("#"):
            continue
        if odd := _ODD.search(part):
            raise DockerfileError(
                f"line {number} holds the character U+{ord(odd[0]):04X}; expected no other than plain spaces"
            )
        if not part.strip() and line is not None:
            continue
        if _DOUBLE.search(part):
            raise DockerfileError(f"line {number} ends in two backslashes; versions of docker differ on it")
        line = (line or "") + _CONTINUED.sub("", part)
        if not _CONTINUED.search(part):
            yield line
            line = None
    if line is not None:
        yield line
