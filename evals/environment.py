"""What a task's commands need: one environment a repository, made once with a network, and kept.

    environments/<name>-<key>/env/        the virtual environment, at /eval/env in every sandbox, read-only
                             /folders/    packages that the installation put into the tree (`node_modules`,
                                          and what cargo, go and Maven fetch), at their places, read-only
                             /files/      what else it added to the tree (`_version.py`)
                             /made.json   written last: whole or not there

It is made in a sandbox of its own, which reaches the package registries alone. The tree is at /eval/tree, in
the set-up as in grading, so an editable installation points to the tree under test, whichever that is.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec

from evals import interpreters, needs
from evals.editable import SITE, TREE_PTH, editable_paths, thin
from evals.gitrun import contents, git
from evals.place import lay_out, lay_out_commit, own
from evals.repos import repository
from evals.types import Commit, Instance
from sandbox.base import BackendName, Limits, Mount, Outlet, SandboxSpec, SandboxUnavailable
from sandbox.network import HTTPS, NetworkRules, Rule, parse_rules, unfit
from sandbox.open import open_sandbox, owner
from sandbox.proxy import Proxy, resolve
from sandbox.registries import HOMES, ONLINE, PACKAGES, default_rules, homes, offline
from sandbox.rules import is_dependency
from sandbox.setup import SETUP_S, trusted
from sandbox.tree import remove_path
from tools.output import readable

INSIDE = "/eval"
TREE = f"{INSIDE}/tree"
ENV = f"{INSIDE}/env"
NETWORK = "PAWL_EVAL_SETUP_NETWORK"
"""Variable with what a set-up may reach, as for `--network`; without it the registries of its command."""
_FORMAT = 2
_TAIL = 30
_GENERATED_BYTES = 64 * 1024**2


_HOMES = homes(TREE, [name for name in HOMES if name != "python"])
"""Where installers put what is no part of the tree: a place in it that is kept. Python has ENV."""
_MISSING = """
import importlib.util, subprocess, sys
pairs = [word.split("=", 1) for word in sys.argv[1:]]
names = [name for module, name in pairs if importlib.util.find_spec(module) is None]
if names: sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *sorted(set(names))]))
"""
"""Installs the distributions whose modules are not there; a failure is no failure of the set-up."""


class EnvironmentFailed(SandboxUnavailable):
    """An environment does not build; the message has the last lines of its output. Exit code 1."""


class Made(msgspec.Struct, frozen=True):
    """An environment that is there."""

    folder: str
    """On the host; it holds `env`, `folders` and `files`."""
    python: str
    """The interpreter that it was made with, on the host."""
    version: str
    paths: tuple[str, ...] = ()
    """Folders of the tree, relative to it, that the installation put on Python's path."""
    duration_s: float = 0.0
    packages: tuple[str, ...] = ()
    """Folders of the tree, relative to it, with installed packages: the n-th is `folders/n`."""

    @property
    def env(self) -> Path:
        return Path(self.folder, "env")

    @property
    def site(self) -> str:
        """Its folder of packages, relative to `env`."""
        return SITE.format(version=self.version)

    @property
    def variables(self) -> dict[str, str]:
        """For a sandbox that has it at /eval/env."""
        found = {"VIRTUAL_ENV": ENV}
        if PACKAGES in self.packages:
            found |= offline(TREE, self.source(PACKAGES))
        return found

    def source(self, path: str) -> Path:
        """Where one of `packages` lies."""
        return Path(self.folder, "folders", str(self.packages.index(path)))


def key(instance: Instance, backend: str) -> str:
    """The environment's name: equal for all instances of a repository that are installed alike."""
    what = instance.environment
    source = instance.tree.repo if isinstance(instance.tree, Commit) else instance.repo or instance.benchmark
    parts = [_FORMAT, source, what.python, what.install, what.commits, backend]
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", source)[-40:].strip("-")
    return f"{name}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"


def find(instance: Instance, cache: Path, backend: str) -> Made | None:
    """The environment when it is there. Blocking."""
    try:
        return msgspec.json.decode((_place(instance, cache, backend) / "made.json").read_bytes(), type=Made)
    except (OSError, msgspec.DecodeError):
        return None


def _place(instance: Instance, cache: Path, backend: str) -> Path:
    return cache / "environments" / key(instance, backend)


async def obtain(
    instance: Instance,
    cache: Path,
    backend: BackendName,
    *,
    on_output: Callable[[bytes], None] | None = None,
    timeout_s: float = 3 * SETUP_S,
) -> Made | None:
    """The environment of an instance, made from its base when it is not there; None when it needs none.

    Whoever asks at the same time waits for the first. Raises EnvironmentFailed.
    """
    if not instance.environment.install:
        return None
    place = _place(instance, cache, backend)
    await asyncio.to_thread(place.mkdir, parents=True, exist_ok=True)
    async with _turn(place / "lock"):
        made = await asyncio.to_thread(find, instance, cache, backend)
        return made or await _make(instance, place, cache, backend, on_output, timeout_s)


@contextlib.asynccontextmanager
async def _turn(path: Path) -> AsyncIterator[None]:
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.2)
        yield


async def _make(
    instance: Instance,
    place: Path,
    cache: Path,
    backend: BackendName,
    on_output: Callable[[bytes], None] | None,
    timeout_s: float,
) -> Made:
    what = instance.environment
    python = await asyncio.to_thread(interpreters.find, what.python)
    started = time.monotonic()
    work = place / f"work-{uuid.uuid4().hex[:8]}"
    try:
        await asyncio.to_thread(_tree, instance, work / "tree", cache)
        tracked = frozenset(str(path) for path in await asyncio.to_thread(_files, work / "tree"))
        await asyncio.to_thread(own, work, owner(backend))
        await _install(instance, work, python, cache, backend, on_output, timeout_s)
        made = await asyncio.to_thread(_keep, work, tracked, place, python)
        made = msgspec.structs.replace(made, duration_s=round(time.monotonic() - started, 1))
        await asyncio.to_thread((place / "made.json").write_bytes, msgspec.json.encode(made))
    finally:
        await asyncio.to_thread(remove_path, work)
    return made


def _tree(instance: Instance, place: Path, cache: Path) -> None:
    commits = instance.environment.commits
    if isinstance(instance.tree, Commit) and commits:
        lay_out_commit(instance.tree.repo, commits[0], place, cache)
    else:
        lay_out(instance, place, cache)


def _needs(instance: Instance, cache: Path) -> dict[str, str]:
    """What the tests of all its commits import and its files name, module -> distribution. Blocking."""
    found: dict[str, str] = {}
    if not isinstance(instance.tree, Commit):
        return found
    for commit in instance.environment.commits or (instance.tree.commit,):
        source = repository(instance.tree.repo, cache, commit)
        listed = git("ls-tree", "-r", "--name-only", "-z", commit, at=source).decode(
            "utf-8", "surrogateescape"
        )
        names = [name for name in listed.split("\0") if name]
        files = contents(source, commit, needs.of_interest(names))
        found |= needs.wanted(files, names)
    return found


async def _install(
    instance: Instance,
    work: Path,
    python: interpreters.Interpreter,
    cache: Path,
    backend: BackendName,
    on_output: Callable[[bytes], None] | None,
    timeout_s: float,
) -> None:
    command = instance.environment.install
    rules = await rules_for(command)
    proxy = Proxy(rules, lambda _: None)
    outlet: Outlet | None = None
    try:
        outlet = await proxy.open() if not rules.empty else None
        spec = SandboxSpec(
            tree=work,
            root=INSIDE,
            session="eval",
            limits=Limits(timeout_s=timeout_s),
            env={**ONLINE, **trusted(), **_HOMES, "PIP_CONSTRAINT": "", "VIRTUAL_ENV": ENV},
            outlet=outlet,
            prefix="",
        )
        sandbox = await open_sandbox(
            spec, backend, state=cache / "sandboxes", project=work, environ=python.environ
        )
        try:
            script = f'set -e; "{python.program}" -m venv {ENV}; PATH={ENV}/bin:"$PATH"; cd {TREE}; {command}'
            done = await sandbox.run(("sh", "-c", script), on_output=on_output)
            if done.ok and any(name in command for name in ("pip", "python")):
                extra = await asyncio.to_thread(_needs, instance, cache)
                script = (
                    f"{ENV}/bin/python -c {shlex.quote(_MISSING)} {' '.join(map(shlex.quote, _pairs(extra)))}"
                )
                await sandbox.run(("sh", "-c", script), cwd="env", on_output=on_output)
        finally:
            await sandbox.aclose()
    finally:
        await proxy.aclose()
    if not done.ok:
        last = "\n".join(readable(done.output).strip().splitlines()[-_TAIL:])
        raise EnvironmentFailed(
            f"the environment of {instance.id} does not build: `{command}` "
            f"{'was stopped' if done.exit_code is None else f'failed (exit {done.exit_code})'}:\n{last}",
            f"It may reach {', '.join(rules.texts()) or 'nothing'}; {NETWORK} says otherwise.",
        )


def _pairs(extra: dict[str, str]) -> list[str]:
    return [f"{module}={name}" for module, name in sorted(extra.items())]


async def rules_for(command: str) -> NetworkRules:
    """What a set-up may reach: as NETWORK says, else the registries, wherever this machine finds them.

    The registries' names are pawl's own and no task's, so a company's mirror at a private address is meant.
    """
    asked = os.environ.get(NETWORK)
    if asked is not None:
        return parse_rules(asked)
    rules = default_rules(command, ()).rules
    found: list[str] = []
    for rule in rules:
        with contextlib.suppress(OSError):
            found += await resolve(rule.host, rule.port)
    addresses = [Rule(address, HTTPS) for address in dict.fromkeys(found) if unfit(address)]
    return NetworkRules((*rules, *addresses))


def _keep(work: Path, tracked: frozenset[str], place: Path, python: interpreters.Interpreter) -> Made:
    """Move what was made into place. It is read as text where at all, and nothing of it is run."""
    env, tree = work / "env", work / "tree"
    site = env / SITE.format(version=python.version)
    if site.resolve() != work.resolve() / site.relative_to(work) or not site.is_dir():
        raise EnvironmentFailed("the installation left no environment behind", "see what its command does")
    paths = editable_paths(site, TREE)
    remove_path(site / TREE_PTH)
    (site / TREE_PTH).touch()
    for name in ("env", "files", "folders"):
        remove_path(place / name)
    packages = _keep_packages(tree, tracked, place / "folders")
    _keep_generated(tree, tracked, place / "files")
    env.rename(place / "env")
    return Made(str(place), str(python.program), python.version, paths, packages=packages)


def _keep_packages(tree: Path, tracked: frozenset[str], folders: Path) -> tuple[str, ...]:
    """Move the folders of packages that the installation added out of the tree; their paths."""
    folders.mkdir()
    found: list[str] = []
    for at, names, _ in os.walk(tree):
        for name in sorted(names):
            path = Path(at, name).relative_to(tree)
            if not (is_dependency(name) or name == "vendor" or str(path) == PACKAGES):
                continue
            names.remove(name)
            if not any(known.startswith(f"{path}/") for known in tracked) and any((tree / path).iterdir()):
                (tree / path).rename(folders / str(len(found)))
                found.append(str(path))
    return tuple(found)


def _keep_generated(tree: Path, tracked: frozenset[str], files: Path) -> None:
    """Copy the files that the installation added to the tree, such as `_version.py`; no packages."""
    files.mkdir()
    room = _GENERATED_BYTES
    for path in _files(tree):
        parts = path.parts
        litter = {"__pycache__", "build", "dist", "target", ".eggs", ".git"} & set(parts) or any(
            part.endswith((".egg-info", ".dist-info", ".pyc")) for part in parts
        )
        source = tree / path
        if litter or str(path) in tracked or source.is_symlink() or not source.is_file():
            continue
        room -= source.stat().st_size
        if room < 0:
            raise EnvironmentFailed("the installation filled the tree", "see what its command does")
        target = files / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target, follow_symlinks=False)


def _files(tree: Path) -> list[Path]:
    """Files below a folder, relative to it; no link is followed."""
    return [Path(at, name).relative_to(tree) for at, _, names in os.walk(tree) for name in names]


def add_generated(made: Made, tree: Path) -> None:
    """Copy the generated files into a laid out tree where it has none of that name. Blocking."""
    files = Path(made.folder, "files")
    for source in sorted(files.rglob("*")):
        target = tree / source.relative_to(files)
        if source.is_file() and not target.exists() and not _through_link(tree, target):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def attach(made: Made, tree: Path, place: Path) -> Path:
    """Make an environment in the new folder `place` for an agent that works in the laid out `tree`. Blocking.

    It is a virtual environment that takes a few kilobytes, with the tree's own folders on Python's path. The
    generated files and copies of the packages are put into the tree, where git ignores them: no patch is to
    have them.
    """
    files = Path(made.folder, "files")
    names = sorted(path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file())
    with (tree / ".git" / "info" / "exclude").open("a") as exclude:
        exclude.writelines(f"/{name}\n" for name in (*names, *made.packages))
    add_generated(made, tree)
    for path in made.packages:
        shutil.copytree(made.source(path), tree / path, symlinks=True)
    return thin(made.env, Path(made.python), made.version, made.paths, tree, place)


def _through_link(tree: Path, target: Path) -> bool:
    above = target.parent
    while above != tree:
        if above.is_symlink():
            return True
        above = above.parent
    return False


def mounts(made: Made, pth: Path) -> tuple[Mount, ...]:
    """What shows the environment in a sandbox; `pth` is the file with the tree's folders."""
    shown = (Mount(str(made.source(path)), f"{TREE}/{path}") for path in made.packages)
    return (Mount(str(made.env), ENV), Mount(str(pth), f"{ENV}/{made.site}/{TREE_PTH}"), *shown)


def make_room(made: Made, tree: Path) -> None:
    """Make the empty folders at which `mounts` shows packages, in no patch of the tree's. Blocking."""
    with (tree / ".git" / "info" / "exclude").open("a") as exclude:
        exclude.writelines(f"/{path}\n" for path in made.packages)
    for path in made.packages:
        (tree / path).mkdir(parents=True, exist_ok=True)


def disk(folder: Path) -> int:
    """Bytes that a folder takes on disk. Blocking."""
    return sum(_blocks(path) for path in _walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    yield folder
    yield from folder.rglob("*")


def _blocks(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.lstat().st_blocks * 512
    return 0
