"""Which paths of a workspace are not worth a look (`.gitignore`, caches), and which are hidden.

What is ignored is shown to whoever names it. What is hidden is not: files that may hold secrets, and what
`.pawlignore` names.

The rules are those of gitignore(5): the last pattern that fits decides, nearer files come after farther ones,
and what is below an ignored folder is ignored. `.pawlignore` is read after the `.gitignore` beside it. Texts
come from the workspace and are hostile: patterns become regular expressions without nested repetition.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sandbox.base import Sandbox
from sandbox.registries import PACKAGES
from sandbox.rules import DENIED, is_denied

HIDING = ".pawlignore"
FILES = (".gitignore", HIDING)
NOISE = frozenset(
    {".git", "__pycache__", "node_modules", ".venv", PACKAGES, ".tox", ".nox"}
    | {".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"}
)
"""Folders of caches and installed packages, whatever the project's own rules say."""
SECRETS = (
    *(*DENIED, "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.ppk", "*.kdbx"),
    *(".npmrc", ".git-credentials", ".pgpass", ".htpasswd"),
)
"""Names that tools do not show. More of them than are kept out of the sandbox: tests may need a key file."""
SECRET_PLACES = ("/.aws/credentials", "/.docker/config.json", "/.kube/config")
"""Ends of the paths of files whose names alone are usual ones."""
_MAY_BE_SECRET = re.compile("|".join(map(fnmatch.translate, SECRETS)), re.IGNORECASE)
MAX_RULES_BYTES = 64 * 1024
MAX_FOLDERS = 300
"""Whose rules are read for one answer of a tool."""
MAX_PATTERNS = 1000
MAX_PATTERN = 400
MAX_STARS = 6
"""In one pattern; with more of them matching could take very long."""


class _Rule(NamedTuple):
    pattern: re.Pattern[str]
    by_name: bool
    """The pattern is of the last component alone, else of the path relative to the folder of the rules."""
    ignores: bool


class _Rules(NamedTuple):
    """The rules of one folder."""

    any_name: re.Pattern[str]
    any_path: re.Pattern[str]
    each: tuple[_Rule, ...]
    """The last line first."""


class Ignored:
    """Answers for one tree. `read` gives the text of a file of it, None when there is none.

    `only_hidden`: of the rules those of `.pawlignore` alone count, and caches do not.
    """

    def __init__(self, read: Callable[[str], bytes | None], *, only_hidden: bool = False) -> None:
        self._read = read
        self._files = (HIDING,) if only_hidden else FILES
        self._noise = frozenset[str]() if only_hidden else NOISE
        self._rules: dict[str, list[tuple[str, _Rules]]] = {}
        self._folders: dict[str, bool] = {"": False}

    def __call__(self, path: str, *, is_folder: bool = False) -> bool:
        """Whether a path, or a folder that it is in, is ignored."""
        folder, _, name = path.rpartition("/")
        if is_folder:
            if path not in self._folders:
                known = name in self._noise or self(folder, is_folder=True)
                self._folders[path] = known or self._own(path, True)
            return self._folders[path]
        return is_secret(path) or self(folder, is_folder=True) or self._own(path, False)

    def _own(self, path: str, is_folder: bool) -> bool:
        folder, _, name = path.rpartition("/")
        end = "/" if is_folder else ""
        for prefix, rules in self._above(folder):
            inner = path[len(prefix) :] + end
            if rules.any_name.fullmatch(name + end) or rules.any_path.fullmatch(inner):
                fits = (r for r in rules.each if r.pattern.fullmatch(name + end if r.by_name else inner))
                return next(fits).ignores
        return False

    def _above(self, folder: str) -> list[tuple[str, _Rules]]:
        """(path of a folder with its slash, its rules) for a folder and those above it, nearest first."""
        if folder not in self._rules:
            prefix = f"{folder}/" if folder else ""
            texts = [text for name in self._files if (text := self._read(prefix + name))]
            own = _parse(b"\n".join(texts).decode("utf-8", "replace")) if texts else None
            farther = self._above(folder.rpartition("/")[0]) if folder else []
            self._rules[folder] = [(prefix, own), *farther] if own else farther
        return self._rules[folder]


def _parse(text: str) -> _Rules | None:
    rules = [rule for line in text.splitlines()[:MAX_PATTERNS] if (rule := _rule(line))]
    if not rules:
        return None
    return _Rules(_any(rules, by_name=True), _any(rules, by_name=False), tuple(reversed(rules)))


def _any(rules: list[_Rule], *, by_name: bool) -> re.Pattern[str]:
    patterns = [f"(?:{rule.pattern.pattern})" for rule in rules if rule.by_name == by_name]
    return re.compile("|".join(patterns) or "(?!)", re.DOTALL)


def _rule(line: str) -> _Rule | None:
    line = re.sub(r"(?<!\\)\s+$", "", line)
    if not line or line.startswith("#") or len(line) > MAX_PATTERN or line.count("*") > MAX_STARS:
        return None
    ignores = not line.startswith("!")
    line = line.removeprefix("!")
    only_folders = line.endswith("/")
    line = line.rstrip("/")
    anchored = "/" in line
    line = line.lstrip("/")
    if not line:
        return None
    end = "/" if only_folders else "/?"
    try:
        return _Rule(re.compile(_expression(line) + end, re.DOTALL), not anchored, ignores)
    except re.error:
        return None


def _expression(pattern: str) -> str:
    result = ""
    for token in re.findall(r"\*\*/|/\*\*$|\*+|\[!?\]?[^\]/]*\]|\\.|.", pattern, re.DOTALL):
        if token == "**/":
            result += "(?:.*/)?"
        elif token == "/**":
            result += "/.+"
        elif token[0] == "*":
            result += "[^/]*"
        elif token == "?":
            result += "[^/]"
        elif token[0] == "[" and len(token) > 2:
            body = token[1:-1].removeprefix("!").replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
            result += f"[{'^/' if token[1] == '!' else ''}{body}]"
        else:
            result += re.escape(token[-1] if token[0] == "\\" else token)
    return result


def is_secret(path: str) -> bool:
    """Whether a file may hold secrets, by its name or place, in capitals too."""
    name = path.rpartition("/")[2]
    if _MAY_BE_SECRET.fullmatch(name):
        return is_denied(name.lower(), SECRETS)
    return f"/{path}".endswith(SECRET_PLACES)


async def worth_showing(sandbox: Sandbox, paths: Sequence[str], *, asked: bool = False) -> list[str]:
    """The paths that are not ignored, in their order; reads the rules of the folders that they are in.

    `asked`: somebody named what is ignored, so only what is hidden is left out.
    """
    files = (HIDING,) if asked else FILES
    folders = {above for folder in {posixpath.dirname(path) for path in paths} for above in _above(folder)}
    names = [posixpath.join(folder, name) for folder in sorted(folders)[:MAX_FOLDERS] for name in files]
    texts = await sandbox.heads(names, MAX_RULES_BYTES)
    ignored = Ignored(dict(zip(names, texts, strict=True)).get, only_hidden=asked)
    return [path for path in paths if not ignored(path)]


async def is_ignored(sandbox: Sandbox, path: str) -> bool:
    """Whether a file or folder is ignored."""
    return len(await worth_showing(sandbox, [path, f"{path}/."])) < 2


def _above(folder: str) -> list[str]:
    """A folder and those that it is in; the workspace itself is ""."""
    parts = folder.split("/") if folder else []
    return ["/".join(parts[:depth]) for depth in range(len(parts) + 1)]
