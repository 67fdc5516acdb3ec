"""The changes in a repository's history that could be tasks: each touches source and tests.

The repository is hostile. It is only read, by git's plumbing, whose output no setting of the repository
changes and which starts no program that it names.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from evals.gitrun import GitFailed, contents, git
from evals.mining.rejected import Rejected
from evals.patches import sections
from evals.repos import RepositoryMissing
from tools.grammars import language_of
from tools.runners import Project
from tools.testplan import telling
from tools.testreport import is_test_path

MAX_FILES = 12
"""Of source that one task changes."""
MAX_PATCH = 1024 * 1024
"""Characters of the fix and its tests together."""
_ASIDE = re.compile(
    r"(^|/)(docs?|changes|changelog\.d|news|newsfragments|\.github|\.circleci|examples?)/"
    r"|\.(md|rst|adoc)$|(^|/)\.[^/]+$"
    r"|(^|/)(CHANGE(S|LOG)|HISTORY|NEWS|AUTHORS|CONTRIBUTORS|LICEN[CS]E|README)[^/]*$",
    re.IGNORECASE,
)
"""Files that have no part in what a program does."""
_LITERAL = {"GIT_LITERAL_PATHSPECS": "1"}
_OWN = ("--no-renames", "--no-ext-diff", "--no-textconv")
"""Nothing that the repository's settings name takes part."""
_PLAIN = (
    *("--no-color", "--no-relative", "--full-index", "--src-prefix=a/", "--dst-prefix=b/"),
    *("--unified=3", "--diff-algorithm=myers"),
)


class Change(msgspec.Struct, frozen=True):
    """One commit against its first parent."""

    commit: str
    parent: str
    at: str
    """When it was committed, ISO 8601."""
    message: str

    @property
    def subject(self) -> str:
        return self.message.strip().split("\n", 1)[0]


class Split(msgspec.Struct, frozen=True):
    """A change's two halves as patches; documentation and the like is in neither."""

    fix: str
    tests: str
    source_files: tuple[str, ...]
    test_files: tuple[str, ...]
    added: int
    deleted: int
    """Lines of source."""


def resolve(source: Path, ref: str) -> str:
    """The full id of a commit that a branch, tag or id names. Raises RepositoryMissing."""
    try:
        found = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}", at=source)
    except GitFailed:
        raise RepositoryMissing(f"{source} has no commit {ref!r}") from None
    return found.decode().strip()


def changes(
    source: Path, head: str, *, since: str = "", until: str = "", first_parent: bool = False
) -> list[Change]:
    """The commits that `head` comes from, newest first; `since` and `until` are ISO days or times.

    Merges are left out, their parts are there; with `first_parent` only the main line counts, where a merge
    is the whole of what was merged.
    """
    bounds = [f"--since={_moment(since, False)}"] if since else []
    bounds += [f"--until={_moment(until, True)}"] if until else []
    line = ("--first-parent",) if first_parent else ("--no-merges",)
    told = git("rev-list", *line, *bounds, "--format=%H%x00%P%x00%cI%x00%B%x00%x01", head, at=source)
    found = []
    for entry in told.decode("utf-8", "replace").split("\0\x01\n"):
        fields = entry.split("\0", 3)
        if len(fields) == 4 and (parents := fields[1].split()):
            commit = fields[0].rpartition("\n")[2]
            found.append(Change(commit, parents[0], fields[2], fields[3]))
    return found


def _moment(text: str, end: bool) -> str:
    """ISO 8601 with a zone; a day alone is meant whole. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if len(text) <= 10 and end:
        moment = moment.replace(hour=23, minute=59, second=59)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def committed_at(source: Path, commit: str) -> str:
    """When, ISO 8601."""
    told = git("rev-list", "--max-count=1", "--format=%cI", commit, at=source)
    return told.decode().strip().rpartition("\n")[2]


def files(source: Path, commit: str) -> list[str]:
    """Paths of all files of a commit."""
    told = git("ls-tree", "-r", "--name-only", "-z", commit, at=source).decode("utf-8", "surrogateescape")
    return [path for path in told.split("\0") if path]


def project(source: Path, commit: str) -> Project:
    """A commit's tree as the runners of tests look at it."""
    paths = files(source, commit)
    texts = contents(source, commit, telling(paths))
    return Project("", tuple(paths), {path: data.decode("utf-8", "replace") for path, data in texts.items()})


def is_source(path: str) -> bool:
    """True for code that is neither a test nor beside the point."""
    return bool(language_of(path)) and not is_test_path(path) and not _ASIDE.search(path)


def split(source: Path, change: Change, max_lines: int) -> Split:
    """The change as a fix and its tests. Raises Rejected."""
    words = ("diff-tree", "-r", "-z", "--name-only", *_OWN, change.parent, change.commit)
    told = git(*words, at=source).decode("utf-8", "surrogateescape")
    touched = [path for path in told.split("\0") if path]
    tests = tuple(path for path in touched if is_test_path(path))
    code = tuple(path for path in touched if not is_test_path(path) and not _ASIDE.search(path))
    if not tests:
        raise Rejected("touches no tests")
    if not any(language_of(path) for path in code):
        raise Rejected("touches no source")
    if len(code) > MAX_FILES:
        raise Rejected("too large", f"{len(code)} files of source")
    fix, test_patch = _patch(source, change, code), _patch(source, change, tests)
    if len(fix) + len(test_patch) > MAX_PATCH:
        raise Rejected("too large", f"{len(fix) + len(test_patch):,} characters")
    parts = sections(fix.encode())
    if any(part.binary for part in parts):
        raise Rejected("binary source")
    added, deleted = (sum(len(getattr(part, name)) for part in parts) for name in ("added", "removed"))
    if added + deleted > max_lines:
        raise Rejected("too large", f"{added + deleted} lines of source")
    return Split(fix, test_patch, code, tests, added, deleted)


def _patch(source: Path, change: Change, paths: tuple[str, ...]) -> str:
    raw = git(
        *("diff-tree", "-r", "-p", "--binary", *_OWN, *_PLAIN, change.parent, change.commit, "--", *paths),
        at=source,
        env=_LITERAL,
    )
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Rejected("not UTF-8") from None
