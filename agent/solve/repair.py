"""Direct repair for small models: show the suspects and the failure, ask for whole corrected functions.

Pure: builds the prompt and reads the reply. A model of a few billion parameters that cannot keep to a tool
protocol can still rewrite a function of thirty lines that it sees beside the test that it fails.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Mapping, Sequence

import msgspec

from tools.base import ToolError
from tools.graft import replace_function
from tools.localize import Suspect
from tools.syntax import functions, language_of
from tools.testreport import TestResult

SYSTEM = "You are an expert programmer. You find and fix bugs."

WHOLE_FILE_LINES = 80
"""A file up to this long is shown whole: its comments say what the code is meant to do."""
FAILURE_CHARS = 1500
TARGETS = 3
WORTH_SHOWING = 0.5
"""Of the first suspect's score."""
TRIED_SHOWN = 3

_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)


class UnusableReply(Exception):
    """The reply holds no change that could be run. `reason` is one of the outcomes of an attempt."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Tried(msgspec.Struct, frozen=True):
    """A candidate that was run and failed, as it is told to later attempts."""

    change: str
    """The changed lines, marked - and +."""
    failure: str


def targets(
    suspects: Sequence[Suspect], sources: Mapping[str, bytes], limit: int = TARGETS
) -> tuple[Suspect, ...]:
    """The few functions to show and to have rewritten: a nested one stands in the function that holds it."""
    chosen: dict[tuple[str, str], Suspect] = {}
    for suspect in suspects:
        if suspect.score < WORTH_SHOWING * suspects[0].score:
            break
        whole = _outermost(suspect, sources[suspect.path])
        chosen.setdefault((whole.path, whole.qualname), whole)
    return tuple(chosen.values())[:limit]


def _outermost(suspect: Suspect, source: bytes) -> Suspect:
    """The suspect as the function around it that is itself in no function."""
    inner = suspect.symbol
    around = [
        symbol
        for symbol in functions(source, language_of(suspect.path) or "")
        if symbol.start_byte <= inner.start_byte and inner.end_byte <= symbol.end_byte
    ]
    outer = min(around, key=lambda symbol: symbol.start_byte, default=inner)
    return msgspec.structs.replace(suspect, qualname=outer.qualname, symbol=outer)


def build_prompt(
    suspects: Sequence[Suspect],
    sources: Mapping[str, bytes],
    failures: Sequence[TestResult],
    output: str,
    tried: Sequence[Tried] = (),
) -> str:
    """The user message; of `failures`, most telling first, one is shown whole.

    What earlier attempts tried comes last, so that the server re-reads nothing else.
    """
    names = " or ".join(f"`{s.qualname}`" for s in suspects)
    parts = [f"A test fails because of a bug in {names}.", *_code(suspects, sources)]
    parts.append(_failure(failures, output, sources))
    parts.append(
        "Find the bug. Then write the corrected function, whole but alone, in one ```python block. "
        "Change as little as possible."
    )
    return "\n\n".join([*parts, *_told(tried)])


def build_request(
    request: str,
    suspects: Sequence[Suspect],
    sources: Mapping[str, bytes],
    failures: Sequence[TestResult] = (),
    output: str = "",
    tried: Sequence[Tried] = (),
) -> str:
    """The user message for what a person asks of these functions; no failure and no output: none is known."""
    parts = [request, *_code(suspects, sources)]
    if failures or output:
        parts.append(_failure(failures, output, sources))
    parts.append(
        "Find what is wrong or missing. Then write each function that has to change, whole but alone, in "
        "one ```python block. Change as little as possible."
    )
    return "\n\n".join([*parts, *_told(tried)])


def _code(suspects: Sequence[Suspect], sources: Mapping[str, bytes]) -> list[str]:
    paths = dict.fromkeys(s.path for s in suspects)
    return [_shown(path, [s for s in suspects if s.path == path], sources[path]) for path in paths]


def _told(tried: Sequence[Tried]) -> list[str]:
    if not tried:
        return []
    lines = [f"```diff\n{t.change}\n```\nstill fails: {t.failure}" for t in tried[-TRIED_SHOWN:]]
    return ["These changes were tried and are wrong; find another:\n" + "\n".join(lines)]


def _shown(path: str, suspects: list[Suspect], source: bytes) -> str:
    """The file, or of a long one its imports and the suspects with what encloses them."""
    text = source.decode("utf-8", "replace")
    lines = text.splitlines()
    if len(lines) > WHOLE_FILE_LINES:
        kept: list[str] = [line for line in lines if re.match(r"(from|import)\s", line)]
        for suspect in suspects:
            if "." in suspect.qualname:
                kept += ["", f"# in {suspect.qualname.rpartition('.')[0]}"]
            kept += ["", *lines[suspect.symbol.start_line - 1 : suspect.symbol.end_line]]
        text = "\n".join(kept)
    return f"File {path}:\n```python\n{text.strip()}\n```"


def _failure(failures: Sequence[TestResult], output: str, sources: Mapping[str, bytes]) -> str:
    """One failing test in full and the reasons of a few more; the command's own output when none is known."""
    if not failures:
        return f"The failure:\n```\n{output.strip()[-FAILURE_CHARS:]}\n```"
    first, *others = failures
    parts = [f"Failing test {first.id}:\n```python\n{_test_source(first, sources)}\n```"]
    parts.append(f"It fails with:\n```\n{_reason(first)[-FAILURE_CHARS:]}\n```")
    more = [f"{test.id}: {_short(test)}" for test in others[:3]]
    if more:
        parts.append("Also failing:\n```\n" + "\n".join(more) + "\n```")
    return "\n".join(parts)


def _test_source(test: TestResult, sources: Mapping[str, bytes]) -> str:
    """The function of the outermost workspace frame: the test itself."""
    for frame in test.frames:
        source = sources.get(frame.path)
        if source is None or not frame.in_workspace:
            continue
        for symbol in functions(source, language_of(frame.path) or ""):
            if symbol.start_line <= frame.line <= symbol.end_line:
                lines = source.decode("utf-8", "replace").splitlines()
                return "\n".join(lines[symbol.start_line - 1 : symbol.end_line][:40])
    return "# source not found"


def _reason(test: TestResult) -> str:
    """The failing line with the values of its variables, and what the runner explained."""
    lines = []
    frames = [frame for frame in test.frames if frame.in_workspace]
    for frame in [*frames[:1], *frames[-1:]] if len(frames) > 1 else frames:
        values = ", ".join(f"{name}={value}" for name, value in frame.locals if len(value) < 100)
        lines.append(f"{frame.path}:{frame.line} in {frame.function}" + (f" with {values}" if values else ""))
    if test.hung:
        return "\n".join(
            [*lines, "It never ends: there is an infinite loop. The values are those when it was stopped."]
        )
    explained = [line[1:].strip() for line in test.details.splitlines() if line.startswith("E ")]
    lines += explained[:12] or [f"{test.exception}: {test.message}".strip(": ")]
    return "\n".join(lines)


def _short(test: TestResult) -> str:
    if test.hung:
        return "it never ends"
    explained = [line[1:].strip() for line in test.details.splitlines() if line.startswith("E ")]
    return (explained[0] if explained else f"{test.exception}: {test.message}")[:160]


def describe_failure(failures: Sequence[TestResult], output: str) -> str:
    """One line for the list of what was tried."""
    return _short(failures[0]) if failures else (output.strip().splitlines() or ["no output"])[-1][:160]


def read_reply(text: str, suspects: Sequence[Suspect], sources: Mapping[str, bytes]) -> dict[str, bytes]:
    """New contents by path: each suspect that the reply rewrites is put in its place by the syntax tree.

    Raises UnusableReply: `bad_reply` when no code block has a function that was asked for, or it does not
    parse; `no_change` when the code means the same as before.
    """
    changed: dict[str, bytes] = {}
    problem = "the reply has no code block with a function that was asked for"
    for code in code_blocks(text):
        for suspect in suspects:
            before = changed.get(suspect.path, sources[suspect.path])
            if not _defines(code, suspect.qualname.rpartition(".")[2]):
                continue
            try:
                changed[suspect.path] = replace_function(before, suspect.qualname, code)
            except ToolError as error:
                problem = str(error)
    if not changed:
        raise UnusableReply("bad_reply", problem)
    real = {path: new for path, new in changed.items() if fingerprint(new) != fingerprint(sources[path])}
    if not real:
        raise UnusableReply("no_change", "the function came back unchanged")
    return real


def code_blocks(text: str) -> list[str]:
    """Contents of the fenced blocks; a last one may be cut. Text without a fence is one block."""
    return [match[1] for match in _FENCE.finditer(text)] or [text]


def closed(text: str) -> str:
    """The text with an end for its last block, which a stop text may have cut off."""
    return f"{text.rstrip()}\n```" if text.count("```") % 2 else text


def _defines(code: str, name: str) -> bool:
    return bool(re.search(rf"^\s*(async\s+)?def\s+{re.escape(name)}\b", code, re.MULTILINE))


def fingerprint(source: bytes) -> str:
    """Equal for sources that differ only in layout and comments; the source itself if it does not parse."""
    try:
        return ast.dump(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source.decode("latin-1")


def changed_lines(old: bytes, new: bytes) -> str:
    """The lines that differ, marked - and +, without context."""
    a, b = (text.decode("utf-8", "replace").splitlines() for text in (old, new))
    diff = list(difflib.unified_diff(a, b, lineterm="", n=0))[2:]
    return "\n".join(line for line in diff if not line.startswith("@@"))[:600]
