"""What the runners of JavaScript share: package.json, the package manager, stacks of V8. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from tools.runners._runner import Command, Pick, Project, Ran, decoded, tail
from tools.testreport import Frame

MANIFEST = "package.json"
SUFFIXES = (".js", ".jsx", ".ts", ".tsx", ".mjs", ".cjs", ".mts", ".cts")
CI = {"CI": "1", "NO_COLOR": "1"}
"""Run once and not watch; write no new snapshots; no colours."""

_LEVEL = re.compile(
    r"^[ \t]+at (?:async )?(?:(.+?) \()?((?:file://)?/[^()\n]*?|(?:node:)?[\w./@+-]+):(\d+):\d+\)?$",
    re.MULTILINE,
)
_ERROR = re.compile(
    r"^[ \t]*(?:Uncaught )?([A-Z]\w*(?:Error|Exception)|Error)(?: \[\w+\])?(?:: (.*))?$",
    re.DOTALL | re.MULTILINE,
)
_SOURCE = re.compile(r"((?:file://)?/[^\s:()]+)(?::| \()(\d+)(?::\d+\)?)?$", re.MULTILINE)
_BABEL = re.compile(r"(/[^\s:()]+): [^\n]*\((\d+):\d+\)$", re.MULTILINE)
_THEIRS = re.compile(r"^[ \t]+at (?:.*node_modules/|.*\bnode:|new Promise |async Promise)")
_FOREIGN = re.compile(r"node_modules/|^node:|^internal/")


def package(project: Project) -> Mapping[str, Any]:
    """What package.json says; empty when there is none or it is broken."""
    return decoded(project.text(MANIFEST), dict) or {}


def script(project: Project) -> str:
    """The project's own test script; empty when there is none, or only what `npm init` writes."""
    scripts = package(project).get("scripts")
    text = scripts.get("test", "") if isinstance(scripts, dict) else ""
    return text if isinstance(text, str) and "no test specified" not in text else ""


def depends_on(project: Project, name: str) -> bool:
    kinds = map(package(project).get, ("devDependencies", "dependencies"))
    return any(isinstance(kind, dict) and name in kind for kind in kinds)


def last_part(text: str) -> str:
    """The last command of a script: words that are appended to the script go to it."""
    return re.split(r"&&|\|\||[;|]", text)[-1].strip()


def starts(text: str, *programs: str) -> bool:
    """True when one of the words of a command is one of these programs."""
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    return any(
        PurePosixPath(word).name.removesuffix(".js").removesuffix(".mjs") in programs for word in words
    )


def manager(project: Project) -> str:
    """npm, pnpm or yarn: by the field `packageManager`, else by the lock file."""
    named = str(package(project).get("packageManager", "")).partition("@")[0]
    if named in ("npm", "pnpm", "yarn"):
        return named
    return "pnpm" if project.has("pnpm-lock.yaml") else "yarn" if project.has("yarn.lock") else "npm"


def run_script(project: Project, words: Iterable[str], reports: Iterable[str] = ()) -> Command:
    """The project's test script with more words at its end."""
    by, more = manager(project), list(words)
    dashes = ["--"] if more and by == "npm" else []
    return Command((by, "test", *dashes, *more), tuple(reports), CI)


def run_program(project: Project, words: Iterable[str], reports: Iterable[str] = ()) -> Command:
    """An installed program of the project; nothing is fetched."""
    ways = {"npm": ("npx", "--no-install"), "pnpm": ("pnpm", "exec"), "yarn": ("yarn", "run")}
    return Command((*ways[manager(project)], *words), tuple(reports), CI)


def scripted(project: Project, program: str, words: list[str], reports: list[str], *also: str) -> Command:
    """By the project's script when its last command is `program`, else `program` itself."""
    if starts(last_part(script(project)), program, *also):
        return run_script(project, words, reports)
    return run_program(project, [program, *words], reports)


def pattern(picks: Iterable[Pick]) -> str:
    """A regular expression of JavaScript for tests of these names; empty for all."""
    names = [
        re.sub(r"[\\^$.*+?()\[\]{}|/]", r"\\\g<0>", pick.name.replace(" > ", " "))
        for pick in picks
        if pick.name
    ]
    return f"^(?:{'|'.join(names)})$" if len(names) > 1 else f"^{names[0]}$" if names else ""


def own_lines(text: str) -> str:
    """What was said of a failure, without levels of installed packages and of node itself."""
    kept = [line for line in text.splitlines() if not _THEIRS.search(line)]
    return tail("\n".join(kept))


def stack(text: str, ran: Ran) -> tuple[str, str, tuple[Frame, ...]]:
    """(error, message, frames) of a V8 stack, outermost first, without levels of installed packages.

    A syntax error has no level: its place stands above it.
    """
    levels = list(_LEVEL.finditer(text))
    said = text[: levels[0].start()] if levels else text
    named = _ERROR.search(said)
    kind, message = (named[1], named[2] or "") if named else ("", said.strip())
    frames = [
        ran.frame(m[2], int(m[3]), (m[1] or "").removeprefix("new "))
        for m in levels
        if not _FOREIGN.search(m[2])
    ]
    if kind == "SyntaxError" and (place := _SOURCE.search(said) or _BABEL.search(said)):
        frames.insert(0, ran.frame(place[1], int(place[2])))
    return kind, message.strip(), tuple(reversed(frames))
