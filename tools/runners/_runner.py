"""What a runner is: how it is found in a project, what its command is, and how what it left is read. Pure."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import ClassVar, NamedTuple, TypeVar

import msgspec

from tools.testreport import Frame, TestReport, TestResult, is_test_path, workspace_path


class Project(msgspec.Struct, frozen=True):
    """A folder that may have tests, and what is in it."""

    folder: str
    """From the workspace; empty for the workspace itself."""
    paths: tuple[str, ...]
    """Files below `folder`, from there, in order; without those of installed packages."""
    texts: Mapping[str, str] = {}
    """Path -> beginning of the text: of the manifests that runners name, and of some test files."""

    def text(self, *names: str) -> str:
        """The texts of these files together; empty where there is none."""
        return "\n".join(self.texts[name] for name in names if name in self.texts)

    def has(self, *names: str) -> bool:
        return not set(names).isdisjoint(self.paths)

    def tests(self, *suffixes: str) -> list[str]:
        """Test files whose names end like this."""
        return [path for path in self.paths if path.endswith(suffixes) and is_test_path(path)]

    def ending(self, path: str) -> str:
        """The one file whose path ends with `path`, as stacks shorten it; empty when none or several."""
        found = [known for known in self.paths if known == path or known.endswith(f"/{path}")]
        return found[0] if len(found) == 1 else ""


class Pick(NamedTuple):
    """A file, a folder, a test by name, or a test of a file."""

    path: str = ""
    name: str = ""


class Selection(NamedTuple):
    """What is to run; all when it is empty."""

    picks: tuple[Pick, ...] = ()
    options: tuple[str, ...] = ()
    """Words for the runner itself, such as `-k name`."""

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(pick.path for pick in self.picks if pick.path))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(pick.name for pick in self.picks if pick.name))


class NotSelectable(ValueError):
    """This runner cannot run what was selected; the message says what it can."""


class Command(NamedTuple):
    """How tests are run."""

    words: tuple[str, ...]
    reports: tuple[str, ...] = ()
    """What it writes: absolute paths, or globs below the folder that it runs in."""
    env: Mapping[str, str] = {}

    @property
    def text(self) -> str:
        return self.words[2] if self.words[:2] == ("sh", "-c") else shlex.join(self.words)


class Ran(msgspec.Struct, frozen=True):
    """What a run left to read."""

    output: str
    """What was printed, readable."""
    exit_code: int | None
    root: str
    """The workspace's absolute path."""
    files: Mapping[str, bytes] = {}
    """Path -> content of the reports that the command wrote."""
    project: Project = Project("", ())
    """Where it ran."""

    def frame(
        self, path: str, line: int, function: str = "", values: Iterable[tuple[str, str]] = ()
    ) -> Frame:
        """A level of a stack; `path` as it was printed, absolute or from the folder where it ran."""
        path = path.removeprefix("file://")
        if self.project.folder and not path.startswith(("/", "<")):
            path = posixpath.normpath(posixpath.join(self.project.folder, path))
        place, inside = workspace_path(path, self.root)
        return Frame(place, line, function, inside, tuple(values))

    def file(self, path: str) -> str:
        """A file's path from the folder that the command ran in."""
        place = self.frame(path, 0).path
        return posixpath.relpath(place, self.project.folder) if self.project.folder else place


class Runner:
    """One way to run tests; each module of the folder holds one as `runner`."""

    name: ClassVar[str]
    """The same as the module's."""
    rank: ClassVar[int]
    """Lower is asked first what a text means, and wins where two know a project equally well."""
    programs: ClassVar[frozenset[str]] = frozenset()
    """Words by which a command is known to be this runner's."""
    manifests: ClassVar[tuple[str, ...]] = ()
    """Names of files in a project's folder whose texts `detect` and `command` need."""
    steering: ClassVar[tuple[str, ...]] = ()
    """Globs of file names that decide what its runs do, so that a change of them proves nothing."""
    reports: ClassVar[tuple[str, ...]] = ()
    """Globs of reports that it leaves below the folder, whoever starts it."""
    needs_project: ClassVar[bool] = False
    """What it prints can be understood only beside the names of the project's files."""
    suffixes: ClassVar[tuple[str, ...]] = ()
    """Ends of the names of its test files."""

    def steered_by(self, path: str) -> bool:
        """True when the file decides what its tests do, without being a test itself."""
        return any(fnmatchcase(PurePosixPath(path).name, glob) for glob in self.steering)

    def detect(self, project: Project) -> float:
        """How sure it is that this is how the project's tests are run: 0, not at all, to 1."""
        return 0.0

    def command(self, project: Project, selection: Selection, out: str) -> Command:
        """How `selection` is run; reports go to files whose names begin with `out`, an absolute path.

        Raises NotSelectable.
        """
        raise NotSelectable(f"{self.name} has no command of its own")

    def usual(self, project: Project) -> tuple[str, ...]:
        """The words that a person would type to run all tests."""
        return self.command(project, Selection(), "").words

    def read(self, ran: Ran) -> TestReport | None:
        """What the run said; None when nothing of this runner is in it. Reports win over the text."""
        return (self.read_files(ran) if ran.files else None) or self.read_text(ran)

    def read_files(self, ran: Ran) -> TestReport | None:
        return None

    def read_text(self, ran: Ran) -> TestReport | None:
        return None


T = TypeVar("T")


def decoded(data: bytes | str, type: type[T]) -> T | None:
    """JSON that a sandbox wrote; None for what is no such JSON, or broken in its encoding."""
    try:
        return msgspec.json.decode(data, type=type)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


DETAILS = 6000
"""Characters of a runner's own words that are kept of one failure, the last ones."""


def tail(text: str, limit: int = DETAILS) -> str:
    return text if len(text) <= limit else "...\n" + text[-limit:]


def broken_build(ran: Ran, places: Iterable[tuple[str, int, str]]) -> TestResult | None:
    """The failure `build` for what a compiler says at (path, line): message; None when it says nothing."""
    found = list(places)
    if not found:
        return None
    frames = tuple(dict.fromkeys(ran.frame(path, line) for path, line, _ in found[:8]))
    return TestResult("build", "error", "CompileError", found[0][2], frames, details=tail(ran.output))
