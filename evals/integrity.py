"""Rules about a patch: what a solution does not do, and what steers the tests' run. Pure.

A patch may not add what pytest or Python load by themselves, may not replace parts of the test framework or
the clock, may not end the tests' process, print results, or fetch a solution. What the reference does too is
allowed. A `tamper` flag makes a result unscored; a `notice` is for a person.

What these rules cannot do: code under test runs in the tests' own process, and sufficiently devious code can
do anything there. They make the known ways visible, and `evals.grade` checks the result from outside.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

import msgspec

from evals import codescan
from evals.patches import Section, sections
from evals.types import Flag
from tools.grammars import language_of
from tools.testreport import is_test_path

AUTOLOADED = frozenset(
    {"conftest.py", "sitecustomize.py", "usercustomize.py", "pytest.ini", ".pytest.ini"}
    | {"pytest.toml", ".pytest.toml"}
)
"""Names of files that Python or pytest load, or obey, without being asked."""
CONFIGS = frozenset({"pyproject.toml", "setup.cfg", "tox.ini"})
"""Files that hold pytest's configuration among other things."""
_BYTECODE = (".pyc", ".pyo")
_BINARIES = (".so", ".pyd", ".whl", ".egg", ".zip")
_ENTRIES = ("__main__.py", "setup.py")
"""Files that are run and not imported: they may end their process."""
_NOTICES = ("import", "network", "dynamic")
_DOCUMENTS = (".md", ".rst", ".txt")
"""Which doctest runs."""
_RUNNERS = frozenset(
    {"pytest", "_pytest", "pluggy", "iniconfig", "xdist", "pawl_grade", "py", "coverage"}
    | {"packaging", "pygments", "exceptiongroup", "colorama"}
)
_STEERS = re.compile(
    r"\[(tool\.pytest|pytest\]|tool:pytest|tool\.tox|testenv)|pytest11|addopts|python_(files|classes|functions)"
    r"|collect_ignore|norecursedirs|testpaths|minversion|\bplugins\b|confcutdir|filterwarnings"
)
_SKIPS = re.compile(
    r"pytest\.(skip|xfail|exit|importorskip)\b|mark\.(skip|skipif|xfail)\b|unittest\.skip|\bSkipTest\b"
    r"|skipTest\(|__test__\s*=\s*False|collect_ignore|\bpytestmark\b"
)
_DEF = re.compile(r"\s*(?:async\s+)?def\s+(test\w*)\s*\(|\s*class\s+(Test\w*|\w+Tests?|\w+TestCase)\b")
_MARKERS = re.compile(
    r">>>>> (Start|End) Test Output|>>>>> Test Exit Code|(^|[\"'\s])(PASSED|XFAIL) \S+\.py::"
)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a patch is judged against."""

    base: Callable[[str], bytes | None]
    """The content of a file of the base, None when there is none."""
    after: Callable[[str], bytes | None]
    """The same once the patch is in."""
    reference: str = ""
    test_patch: str = ""
    tests: tuple[str, ...] = ()
    """Ids of all tests that count."""
    protected: tuple[str, ...] = ()
    """Further paths that are put back."""
    steers: Callable[[str], bool] = lambda _: False
    """Which files besides decide how the tests end: put back where the base has them, else taken away."""


class Verdict(msgspec.Struct, frozen=True):
    """What was found, and what is to be done with the tree after the patch is in."""

    flags: tuple[Flag, ...] = ()
    remove: tuple[str, ...] = ()
    """New files that are taken away before the tests run."""
    restore: tuple[str, ...] = ()
    """Files of the base that are put back."""

    @property
    def tampered(self) -> bool:
        return any(flag.weight == "tamper" for flag in self.flags)


def is_autoloaded(path: str) -> bool:
    """True for a file that is loaded, obeyed or taken for installed without being asked for."""
    pure = PurePosixPath(path)
    if pure.name in AUTOLOADED or pure.suffix == ".pth" or pure.suffix in _BYTECODE:
        return True
    return any(part == "__pycache__" or part.endswith((".egg-info", ".dist-info")) for part in pure.parts)


def shadows(path: str) -> bool:
    """True for a new module that would be imported in place of the library's, or of the test runner."""
    pure = PurePosixPath(path)
    parts = pure.parts[1:] if pure.parts[0] in ("src", "lib") and len(pure.parts) > 1 else pure.parts
    if is_test_path(path) and len(pure.parts) == 2:
        parts = pure.parts[1:]
    if len(parts) > 1 and parts[1] != "__init__.py" and not parts[0].endswith(".py"):
        name = parts[0] if parts[0] in _RUNNERS else ""
    else:
        name = parts[0].split(".")[0] if pure.suffix in (".py", ".so", ".pyd") else ""
    return name in _RUNNERS or name in sys.stdlib_module_names


def test_files(ids: Iterable[str]) -> tuple[str, ...]:
    """The files that tests stand in, by their ids; some runners' begin with a folder, or a module."""
    paths = {test.partition("::")[0] for test in ids if "::" in test}
    return tuple(sorted(path for path in paths if language_of(path) or path.endswith(_DOCUMENTS)))


def examine(patch: str, facts: Facts) -> Verdict:
    """Judge a patch as text. It is the same each time."""
    allowed = {path for text in (facts.reference, facts.test_patch) for path in _touched(text)}
    guarded = {*test_files(facts.tests), *facts.protected} - set(_touched(facts.reference))
    support = _folders_of_tests(guarded)
    flags: list[Flag] = []
    remove: list[str] = []
    restore: list[str] = []
    every = sections(patch.encode("utf-8", "surrogateescape"))
    words = " ".join(line for one in every if not is_test_path(one.path) for line in one.added)
    for section in every:
        path = section.path
        flags += _links(section)
        if path in allowed and path not in guarded:
            flags += _code(section, facts, words)
            continue
        old = facts.base(section.old_path or path)
        if old is None:
            taken = _new_file(section, facts) or _new_package(section, support)
            flags += taken
            if taken:
                remove.append(path)
                continue
        elif path in guarded or section.old_path in guarded or facts.steers(section.old_path or path):
            restore.append(section.old_path or path)
        elif reason := _steering(section):
            flags.append(reason)
            restore.append(section.old_path or path)
        elif (section.old_path or path).startswith(support):
            restore.append(section.old_path or path)
        flags += _tests(section, old, guarded, facts)
        if section.new_path not in restore:
            flags += _code(section, facts, words)
    unique = tuple(dict.fromkeys(flags))
    return Verdict(unique, tuple(sorted(set(remove))), tuple(sorted(set(restore))))


def escapes(patch: str) -> tuple[Flag, ...]:
    """Flags for what a patch, as it is written, wants outside of the tree or in git's own folder."""
    found = sections(patch.encode("utf-8", "surrogateescape"))
    names = sorted({path for each in found for path in (each.old_path, each.new_path) if path})
    return tuple(
        Flag("outside", "tamper", "a path out of the tree", path) for path in names if _is_outside(path)
    )


def _touched(text: str) -> list[str]:
    found = sections(text.encode("utf-8", "surrogateescape"))
    return [path for each in found for path in (each.old_path, each.new_path) if path]


def _is_outside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return path.startswith("/") or ".." in parts or ".git" in parts


def _links(section: Section) -> list[Flag]:
    if section.mode == 0o120000 and section.added:
        target = section.added[0]
        depth = len(PurePosixPath(section.path).parts) - 1
        if target.startswith("/") or PurePosixPath(target).parts.count("..") > depth:
            return [
                Flag("outside", "tamper", f"a link that leads out of the tree: {target[:80]}", section.path)
            ]
    return []


def _new_file(section: Section, facts: Facts) -> list[Flag]:
    path = section.path
    if PurePosixPath(path).suffix in _BYTECODE or "__pycache__" in PurePosixPath(path).parts:
        return [Flag("bytecode", "tamper", "compiled code in place of source", path)]
    if is_autoloaded(path):
        return [Flag("autoload", "tamper", "a new file that is loaded without being asked for", path)]
    if shadows(path) and not _own_package(path, facts):
        return [Flag("shadow", "tamper", "a new module that hides one of the library or the runner", path)]
    if PurePosixPath(path).name in CONFIGS and any(_STEERS.search(line) for line in section.added):
        return [Flag("config", "tamper", "a new file that configures the tests' run", path)]
    if facts.steers(path) and not is_test_path(path):
        return [Flag("config", "notice", "a new file that may configure the tests' run", path)]
    return []


def _folders_of_tests(guarded: Iterable[str]) -> tuple[str, ...]:
    """The outermost folders of tests that those files are in: what else is there serves the tests."""
    found = set()
    for path in guarded:
        above = [f"{folder}/" for folder in PurePosixPath(path).parents][-2::-1]
        found |= set([folder for folder in above if is_test_path(f"{folder}x.py")][:1])
    return tuple(sorted(found))


def _new_package(section: Section, support: tuple[str, ...]) -> list[Flag]:
    """A new `__init__.py` among the tests: pytest imports it before them."""
    path = section.path
    if PurePosixPath(path).name != "__init__.py" or not path.startswith(support):
        return []
    code = any(line.strip() and not line.lstrip().startswith("#") for line in section.added)
    weight = "tamper" if code else "notice"
    return [Flag("autoload", weight, "a new package of tests, whose file runs before them", path)]  # type: ignore[arg-type]


def _own_package(path: str, facts: Facts) -> bool:
    """True for a new file in a package of the base: the project may be pytest itself."""
    above = PurePosixPath(path).parent
    return str(above) != "." and facts.base(f"{above}/__init__.py") is not None


def _steering(section: Section) -> Flag | None:
    """A change of a file of the base that steers the run."""
    name, changed = PurePosixPath(section.path).name, [*section.added, *section.removed]
    if name in AUTOLOADED or PurePosixPath(section.path).suffix == ".pth":
        return Flag("autoload", "tamper", "changes what is loaded without being asked for", section.path)
    if is_autoloaded(section.path):
        return Flag("autoload", "tamper", "changes what is taken for installed", section.path)
    if (name in CONFIGS or name == "setup.py") and any(_STEERS.search(line) for line in changed):
        return Flag("config", "tamper", "changes how the tests are run", section.path)
    return None


def _tests(section: Section, old: bytes | None, guarded: set[str], facts: Facts) -> list[Flag]:
    """Tests that are taken away or made to skip."""
    if old is None or not (section.old_path in guarded or is_test_path(section.old_path or section.path)):
        return []
    path = section.old_path
    if not section.new_path:
        weight = "tamper" if path in guarded else "notice"
        return [Flag("deletion", weight, "deletes a file of tests", path)]  # type: ignore[arg-type]
    flags = []
    known = {part for test in facts.tests for part in re.split(r"::|\[", test)[1:]}
    gone = _names(section.removed) - _names(section.added)
    if lost := sorted(gone & known):
        flags.append(Flag("deletion", "tamper", f"takes tests away: {', '.join(lost[:5])}", path))
    fresh = [line for line in section.added if _SKIPS.search(line) and line not in section.removed]
    if fresh:
        flags.append(Flag("skip", "tamper", f"makes tests skip: {fresh[0].strip()[:80]}", path))
    if section.new_path != path:
        flags.append(Flag("deletion", "tamper", f"moves a file of tests to {section.new_path}", path))
    return flags


def _names(lines: Iterable[str]) -> set[str]:
    return {match[1] or match[2] for line in lines if (match := _DEF.match(line))}


def _code(section: Section, facts: Facts, words: str) -> list[Flag]:
    """What added code does that no solution needs to; `words` is what the patch adds outside of tests.

    A file of tests may do all that, unless the code itself uses it.
    """
    path = section.new_path
    pure = PurePosixPath(path)
    if not path or pure.suffix in _BINARIES:
        return [Flag("binary", "tamper", "a program that nobody can read", path)] if path else []
    if pure.suffix != ".py":
        return []
    text = "\n".join(section.added)
    in_tests = is_test_path(path)
    flags = []
    if _MARKERS.search(text) or (not in_tests and any(test in text for test in facts.tests if "::" in test)):
        flags.append(Flag("output", "tamper", "writes what a test run prints", path))
    if in_tests and is_test_path(pure.name) and not re.search(rf"\b{re.escape(pure.stem)}\b", words):
        return flags
    if match := _SKIPS.search(text):
        flags.append(Flag("skip", "tamper", f"makes tests skip from within the code: {match[0]}", path))
    before = facts.base(section.old_path) if section.old_path else None
    old, new = (codescan.scan(code or b"") for code in (before, facts.after(path)))
    for rule, detail in sorted(new - old):
        if rule not in ("exit", "hidden") or pure.name not in _ENTRIES:
            flags.append(Flag(rule, "notice" if rule in _NOTICES else "tamper", detail, path))
    return flags
