"""Which command runs the tests that were asked for: the project is looked at inside the sandbox, never run.

for planned in await plan(sandbox, "tests/test_a.py"):
    ...  # the first that can be started
"""

from __future__ import annotations

import difflib
import posixpath
import shlex
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from sandbox.base import FileError, Sandbox
from tools.runners import (
    Command,
    NotSelectable,
    Pick,
    Project,
    Runner,
    Selection,
    candidates,
    load,
    owner,
)
from tools.testreport import is_test_path
from tools.touched import has_imports, touched

CHANGED = "changed"
"""The selection that stands for the tests that the changes so far touch."""
OUT = "/tmp/pawl-tests-{}-"
"""Where reports go inside the sandbox, with an id of the run."""

_LEFT_OUT = (
    ".git", "node_modules", ".venv", "venv", ".tox", ".nox", "__pycache__", "site-packages", "target",
    "vendor", ".gradle", ".mypy_cache", ".pytest_cache", "dist",
)  # fmt: skip
_LIST_BYTES = 4 * 1024 * 1024
_TEXT_BYTES = 128 * 1024
_SAMPLES = 12
_DEPTH = 3
_SOURCES = 3000


class NothingToRun(ValueError):
    """There is no command for what was asked; the message says what to do next."""


class Planned(NamedTuple):
    """A command, and who understands it."""

    command: Command
    runner: Runner | None = None
    """None: whoever recognises what it prints."""
    project: Project = Project("", ())
    own: bool = True
    """False for the person's own command, whose exit code alone counts."""


def by_command(command: str | Sequence[str]) -> Planned:
    """A person's own command; a text is the shell's."""
    words = ("sh", "-c", command) if isinstance(command, str) else tuple(command)
    return Planned(Command(words), owner(command), own=False)


async def listing(sandbox: Sandbox) -> tuple[str, ...]:
    """The files of the workspace, without those of packages and caches; at most 4 MB of names."""
    pruned = " -o ".join(f"-name {name}" for name in _LEFT_OUT)
    heard = bytearray()
    script = rf"find . \( {pruned} \) -prune -o -type f -print 2>/dev/null | head -c {_LIST_BYTES}"
    await sandbox.run(
        ("sh", "-c", script), on_output=lambda data: heard.extend(data[: _LIST_BYTES - len(heard)])
    )
    names = heard.decode("utf-8", "surrogateescape").splitlines()
    return tuple(sorted(name.removeprefix("./") for name in names))


async def project_in(sandbox: Sandbox, paths: Iterable[str], folder: str = "") -> Project:
    """The project in a folder, with the texts that tell how it is tested."""
    start = f"{folder}/" if folder else ""
    own = tuple(path.removeprefix(start) for path in paths if path.startswith(start))
    texts = {}
    for path in telling(own):
        if (text := await _text(sandbox, start + path, _TEXT_BYTES)) is not None:
            texts[path] = text
    return Project(folder, own, texts)


def telling(paths: Sequence[str]) -> list[str]:
    """The files of a project whose texts tell how it is tested: its manifests, and some tests."""
    wanted = {name for runner in load().values() for name in runner.manifests}
    suffixes = tuple({suffix for runner in load().values() for suffix in runner.suffixes})
    samples = [path for path in paths if is_test_path(path) and path.endswith(suffixes)]
    return [*(path for path in paths if path in wanted), *samples[:_SAMPLES]]


async def own_command(sandbox: Sandbox) -> tuple[str, ...]:
    """How a person would run all tests of the workspace's own folder; empty when nobody knows."""
    found = await project_in(sandbox, await listing(sandbox))
    runners = candidates(found)
    return runners[0].usual(found) if runners else ()


async def plan(
    sandbox: Sandbox,
    selection: str = "",
    *,
    run: str = "",
    check: str | Sequence[str] | None = None,
    changed: Callable[[], Awaitable[Sequence[str]]] | None = None,
) -> list[Planned]:
    """The ways to run `selection`, likeliest first, never none. Raises NothingToRun.

    `selection` is empty for all, files, folders or ids with options of the runner between them, a source file
    for the tests that use it, or `changed`. `check` is the person's command: it is what runs all tests, and
    its runner comes first for a part of them. `run` tells the reports of runs apart.
    """
    if check is not None and not selection.strip():
        return [by_command(check)]
    paths = await listing(sandbox)
    wanted = await _wanted(selection, paths, changed)
    project, runners = await _project(sandbox, paths, wanted)
    chosen = await _resolved(sandbox, wanted, project)
    if check is not None and (known := owner(check)) in runners:
        runners = [known, *(runner for runner in runners if runner is not known)] if known else runners
    found, why = [], ""
    for runner in runners:
        try:
            found.append(Planned(runner.command(project, chosen, OUT.format(run)), runner, project))
        except NotSelectable as reason:
            why = why or str(reason)
    if not found:
        raise NothingToRun(f"{why[0].upper()}{why[1:]}.")
    return found


def again(planned: Planned, ids: Iterable[str], run: str) -> Planned | None:
    """The same runner with these tests alone; None where it cannot select them."""
    if planned.runner is None or not planned.own:
        return None
    known = {*planned.project.paths, *_folders(planned.project.paths)}
    parts = [(name, *name.partition("::")) for name in ids]
    picks = tuple(
        Pick(path, test) if mark and path in known else Pick(name=name) for name, path, mark, test in parts
    )
    try:
        command = planned.runner.command(planned.project, Selection(picks), OUT.format(run))
    except NotSelectable:
        return None
    return planned._replace(command=command)


async def _wanted(
    selection: str, paths: Sequence[str], changed: Callable[[], Awaitable[Sequence[str]]] | None
) -> Selection:
    if selection.strip() != CHANGED or CHANGED in paths or changed is None:
        return parse_selection(selection, paths)
    files = await changed()
    if not files:
        raise NothingToRun("Nothing is changed yet; leave the selection empty to run all tests.")
    return Selection(tuple(Pick(path) for path in files))


def parse_selection(text: str, paths: Sequence[str]) -> Selection:
    """What the words of a selection mean among these files. Raises NothingToRun for a file that is not."""
    known = {".", *paths, *_folders(paths)}
    picks: list[Pick] = []
    options: list[str] = []
    for word in _words(text.strip(), known):
        path, _, name = word.partition("::")
        plain = posixpath.normpath(path) if path else ""
        if plain in known:
            picks.append(Pick("" if plain == "." else plain, name))
        elif word.startswith("-") or options:
            options.append(word)
        elif _is_path(path):
            near = difflib.get_close_matches(plain, paths, n=3, cutoff=0.5)
            hint = f"did you mean {', '.join(near)}?" if near else "glob lists the files"
            raise NothingToRun(f"{word} is not found; {hint}")
        else:
            picks.append(Pick(name=word))
    return Selection(tuple(picks), tuple(options))


def _words(text: str, known: set[str]) -> list[str]:
    """Several files or options, or one name, in which there may be spaces and quotes."""
    try:
        words = [text] if "[" in text else shlex.split(text)
    except ValueError as error:
        if text.partition("::")[0] in known:
            return [text]
        raise NothingToRun(f"Not a selection of tests: {error}.") from None
    apart, after_option = True, False
    for word in words:
        path = word.partition("::")[0]
        after_option = after_option or word.startswith("-")
        apart = apart and (
            after_option or word == words[0] or posixpath.normpath(path) in known or _is_path(path)
        )
    return words if apart else [text]


def _is_path(word: str) -> bool:
    return "/" in word or word.endswith(tuple(s for runner in load().values() for s in runner.suffixes))


def _folders(paths: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for path in paths:
        while (path := posixpath.dirname(path)) and path not in found:
            found.add(path)
    return found


async def _project(sandbox: Sandbox, paths: Sequence[str], wanted: Selection) -> tuple[Project, list[Runner]]:
    """The project that holds what is wanted, and the runners that know it; nearest folder first."""
    folders: list[str] = []
    if wanted.paths:
        first = wanted.paths[0]
        above = [first, *map(str, PurePosixPath(first).parents)]
        folders += [folder for folder in above if folder != "." and _has_manifest(folder, paths)]
    folders.append("")
    if not wanted.paths:
        below = [folder for folder in _folders(paths) if folder.count("/") < _DEPTH - 1]
        folders += sorted((f for f in below if _has_manifest(f, paths)), key=lambda f: (f.count("/"), f))
    for folder in folders:
        project = await project_in(sandbox, paths, folder)
        if runners := candidates(project):
            return project, runners
    known = ", ".join(name for name, runner in load().items() if runner.programs)
    raise NothingToRun(
        f"No way to run tests is found here; looked for {known}. Run a test command with bash, or ask the "
        "person for one (--test-cmd, or test_cmd in the configuration)."
    )


def _has_manifest(folder: str, paths: Sequence[str]) -> bool:
    names = {name for runner in load().values() for name in runner.manifests}
    return any(f"{folder}/{name}" in paths for name in names)


async def _resolved(sandbox: Sandbox, wanted: Selection, project: Project) -> Selection:
    """Paths from the project's folder, and tests in the place of files that are none."""
    start = f"{project.folder}/" if project.folder else ""
    picks = tuple(pick._replace(path=pick.path.removeprefix(start)) for pick in wanted.picks)
    plain = [pick.path for pick in picks if pick.path and not pick.name]
    code = [path for path in plain if posixpath.splitext(path)[1] and not is_test_path(path)]
    code = [path for path in code if path not in _folders(project.paths)]
    if not code:
        return wanted._replace(picks=picks)
    sources = {}
    for path in [path for path in project.paths if has_imports(path)][:_SOURCES]:
        if (text := await _text(sandbox, start + path, _TEXT_BYTES)) is not None:
            sources[path] = text
    found = touched(code, sources, project.paths)
    others = [pick for pick in picks if pick.path not in code]
    if not found and not others:
        raise NothingToRun(f"No test uses {', '.join(code[:5])}; leave the selection empty to run all tests.")
    return Selection((*others, *(Pick(path) for path in found)), wanted.options)


async def _text(sandbox: Sandbox, path: str, limit: int) -> str | None:
    try:
        return (await sandbox.read(path, limit=limit)).data.decode("utf-8", "replace")
    except FileError:
        return None
