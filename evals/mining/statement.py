"""What a task asks for, in words: from a commit's message or from what its tests say; and what gives it away.

A statement may say what is wrong and what is wanted. It must name what the hidden tests call, and must not
show how it was mended. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from evals.contamination import longest_run
from evals.patches import sections
from tools.testreport import is_test_path

MIN_WORDS = 3
"""That say something, in a commit's message; fewer are no statement."""
RUN = 8
"""Tokens in a row, as in the fix, that are no chance in a statement; what stands in quotes counts as one."""
_TRAILER = re.compile(
    r"^\s*((signed-off|co-?authored|reviewed|acked|tested|reported)-by|cc|change-id|git-svn-id)\s*:.*$"
    r"|^\s*\(cherry picked from .*$",
    re.IGNORECASE | re.MULTILINE,
)
_REFERENCE = re.compile(
    r"\s*\((?:gh-|#)\d+\)|(?:(?:closes|fixes|resolves|see):?\s+)?https?://\S+", re.IGNORECASE
)
_SAYS_NOTHING = """
a an and another based bug bugs by cleanup close closes code commit fix fixed fixes fixing for from gh hotfix
improve improved in issue issues it its merge minor misc more new of on or pr pull ref refactor refs
regression request resolve resolves see some test tests tidy tweak tweaks typo unit up update updates wip with
work add added adding adds branch into the this to
"""
_EMPTY = frozenset(_SAYS_NOTHING.split())
_FEW = 3
"""Lines of what a runner says of a failure that are told."""
_PATH = re.compile(r"[\w./+-]+")
_WORD = re.compile(r"[A-Za-z][\w']*")
_TOKEN = re.compile(r"\w+|[^\w\s]")
_QUOTED = re.compile(r"\"\"\".*?\"\"\"|'''.*?'''|\"[^\"\n]*\"|'[^'\n]*'", re.DOTALL)
_DIFF = re.compile(r"^(diff --git |@@ -\d|\+\+\+ |--- a/|[+-] {4,}\S)", re.MULTILINE)
_COINED = re.compile(r"\w*(?:[a-z0-9]_|_[a-z0-9]|[a-z][A-Z])\w*")
"""A name that is no plain word."""
_DOTTED = re.compile(r"\b[A-Za-z_]\w+(?:\.\w+)+")
_MISSING = (
    re.compile(r"cannot import name '?(\w+)'?"),
    re.compile(r"No module named '?([\w.]+)'?"),
    re.compile(r"has no attribute '(\w+)'"),
    re.compile(r"unexpected keyword argument '(\w+)'"),
    re.compile(r"name '(\w+)' is not defined"),
    # node
    re.compile(r"([\w.]+) is not a (?:function|constructor)"),
    re.compile(r"ReferenceError: (\w+) is not defined"),
    re.compile(r"does not provide an export named '(\w+)'"),
    re.compile(r"Cannot find module '(?:[^'\n]*/)?(\w+)(?:\.\w+)?'"),
    # rustc
    re.compile(r"cannot find [\w ,]+ `(\w+)` in"),
    re.compile(r"no [\w ]+ `(\w+)` found for"),
    re.compile(r"unresolved imports? `(?:\w+::)*(\w+)`"),
    # go, javac, C
    re.compile(r"undefined: (?:\w+\.)?(\w+)"),
    re.compile(r"\.(\w+) undefined \(type"),
    re.compile(r"symbol: +\w+ (\w+)"),
    re.compile(r"undefined reference to [`'](\w+)'"),
)


def from_message(message: str) -> str:
    """The message without trailers and numbers of issues; "" when it says too little to work from."""
    text = _REFERENCE.sub("", _TRAILER.sub("", message.replace("\r\n", "\n"))).strip()
    text = re.sub(r"\n{3,}", "\n\n", text)
    words = {word.lower() for word in _WORD.findall(text)} - _EMPTY
    return text if len(words) >= MIN_WORDS else ""


def from_failures(failures: Mapping[str, str], most: int = 5) -> str:
    """What fails, not where: the tests' names and the last thing that each said."""
    rows = [f"- `{test}`" + (f": {said(text)}" if said(text) else "") for test, text in failures.items()]
    more = f"\n\n{len(rows) - most} more tests fail." if len(rows) > most else ""
    head = "A test fails" if len(rows) == 1 else f"{len(rows)} tests fail"
    return (
        f"{head} that passed before the code was changed. Find out why, and mend the code, not the tests.\n\n"
        + ("\n".join(rows[:most]) + more)
    )


def said(text: str, limit: int = 300) -> str:
    """The reason in what a runner says of a failed test: the error's own words, without places in files."""
    lines = [line[1:].strip() for line in text.split("\n") if line.startswith("E ")]
    if not lines:  # no pytest: all that is said where that is little, else its end
        lines = [line.strip() for line in text.strip().split("\n") if line.strip()]
        lines = lines if len(lines) <= _FEW else lines[-1:]
    kept = [line for line in lines if line and not re.search(r"[\w/]+\.\w+:\d+", line)]
    return " / ".join(kept[:_FEW])[:limit]


def missing(texts: Iterable[str], tests: str) -> list[str]:
    """Names that the tests, whose patch is `tests`, looked for and did not find.

    Of dotted ones the last part. What the tests do not say themselves is an error of the code's own.
    """
    found = [match[1] for text in texts for pattern in _MISSING for match in pattern.finditer(text)]
    own = set(re.findall(r"\w+", tests))
    return [name for name in dict.fromkeys(name.rpartition(".")[2] for name in found) if name in own]


def unnamed(statement: str, names: Iterable[str]) -> list[str]:
    """Those names that the statement does not have."""
    words = set(re.findall(r"\w+", statement))
    return [name for name in names if name not in words]


def repeats(statement: str, message: str) -> bool:
    """Whether a statement has no word that the message has not."""
    return set(_WORD.findall(statement.lower())) <= set(_WORD.findall(message.lower()))


def leaks(
    statement: str,
    fix: str,
    *,
    tests: str = "",
    commit: str = "",
    before: Iterable[str] = (),
    hidden: Sequence[str] = (),
    places: bool = True,
) -> list[str]:
    """What in a statement gives the fix away, each as a short sentence.

    `tests` is the tests' patch: what is named there may be asked for. `before` are the texts of the files
    that the fix changes. `hidden` are names of tests that are not to be told; those of plain words may be.
    `places` says whether the path of a changed file counts, and `module.function` that the fix begins to use.
    """
    found = []
    if _DIFF.search(statement):
        found.append("it holds a diff")
    if commit and re.search(rf"\b{commit[:7]}[0-9a-f]*\b", statement):
        found.append("it names the commit of the fix")
    parts = sections(fix.encode("utf-8", "surrogateescape"))
    added = "\n".join(line for part in parts for line in part.added)
    run = longest_run(_tokens(statement), _tokens(added))
    if run >= RUN:
        found.append(f"it has {run} tokens in a row of the fix")
    found += [f"it has a line of the fix: {line}" for line in _telling(added) if line in statement]
    known = set(re.findall(r"\w+", "\n".join((tests, *before))))
    coined = set(_COINED.findall(statement)) & set(re.findall(r"\w+", _QUOTED.sub("", added)))
    found += [f"it names what only the fix has: {name}" for name in sorted(coined - known)]
    if places:
        gone = "\n".join((tests, *(line for part in parts for line in part.removed)))
        used = set(_DOTTED.findall(_QUOTED.sub("", added))) - set(_DOTTED.findall(gone))
        found += [f"it names what the fix uses: {name}" for name in sorted(used) if name in statement]
        files = {PurePosixPath(part.path).name for part in parts}
        named = {word.strip(".") for word in _PATH.findall(statement)}
        found += [f"it names a file of the fix: {path}" for path in sorted(named) if _is_of(path, files)]
    found += [
        f"it names a hidden test: {name}" for name in hidden if _COINED.search(name) and name in statement
    ]
    return found


def _is_of(path: str, names: set[str]) -> bool:
    """Whether it is a file with one of these names; tests may be called alike."""
    return PurePosixPath(path).name in names and not is_test_path(path)


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(_QUOTED.sub(" Q ", text))


def _telling(added: str) -> list[str]:
    """Added lines that are code and long enough to be no chance."""
    lines = dict.fromkeys(line.strip() for line in added.split("\n"))
    return [line for line in lines if len(line) >= 12 and re.search(r"\w\W*[=(\[<>]", line)]
