"""Sandboxes for tests: a small tree of one's own, opened in a backend."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sandbox.base import Limits, Mount, Outlet, Sandbox, SandboxSpec
from sandbox.beneath import Owner
from sandbox.freeze import EVERYTHING, Intake
from sandbox.layers import Layers
from sandbox.open import known_backends, open_sandbox, owner
from sandbox.overlay import HostMounts
from sandbox.tree import Copier
from sandbox.workspace import Fork, Workspace

SESSION = f"test-{os.getpid()}"
DEFAULT_LIMITS = Limits()
LIMITS = Limits(
    timeout_s=20, grace_s=0.3, stream_bytes=128 * 1024 * 1024, read_bytes=1024 * 1024, write_bytes=1024 * 1024
)
ISOLATING = [name for name in known_backends() if name != "local"]


def backends(*names: str) -> list[object]:
    """Parameters for backends, each with the mark of what it needs."""
    return [
        pytest.param(name, marks=[] if name == "local" else [getattr(pytest.mark, name)]) for name in names
    ]


class Place:
    """An open sandbox, the tree that it works in (on the host), its backend, the folder that all is in."""

    def __init__(self, sandbox: Sandbox, tree: Path, backend: str, folder: Path) -> None:
        self.sandbox = sandbox
        self.tree = tree
        self.backend = backend
        self.folder = folder

    def put(self, path: str, data: bytes = b"", mode: int = 0o644) -> Path:
        """Lay a file into the tree from the host's side, as the sandbox's user."""
        target = self.tree / path
        for folder in reversed(target.relative_to(self.tree).parents):
            made = self.tree / folder
            if not made.is_dir():
                made.mkdir()
                os.chown(made, *owner(self.backend))  # type: ignore[arg-type]
        target.write_bytes(data)
        target.chmod(mode)
        os.chown(target, *owner(self.backend))  # type: ignore[arg-type]
        return target

    def link(self, path: str, target: str) -> None:
        """Make a symlink in the tree from the host's side."""
        (self.tree / path).unlink(missing_ok=True)
        (self.tree / path).symlink_to(target)

    def beside(self, path: str, text: str) -> None:
        """Write a file on the host that is no part of the tree, by its path from the project's folder."""
        (self.folder / path).write_text(text)

    async def alive(self, marker: str) -> int:
        """How many processes that the sandbox can see have `marker` in their command line."""
        program = (
            "import glob, sys\n"
            "wanted, found = sys.stdin.buffer.read(), 0\n"
            "for path in glob.glob('/proc/[0-9]*/cmdline'):\n"
            "    try: found += wanted in open(path, 'rb').read()\n"
            "    except OSError: pass\n"
            "print(found)"
        )
        done = await self.sandbox.run(["python3", "-c", program], stdin=marker.encode())
        return int(done.output)


async def attempt(place: Place, program: str) -> str:
    """What a Python program prints inside; an exception's type is printed too."""
    wrapped = f"try:\n    exec({program!r})\nexcept BaseException as e:\n    print(type(e).__name__, e)"
    done = await place.sandbox.run(["python3", "-c", wrapped])
    return done.output.decode("utf-8", "replace").strip()


@asynccontextmanager
async def opened(
    backend: str,
    folder: Path,
    *,
    limits: Limits = DEFAULT_LIMITS,
    mounts: tuple[Mount, ...] = (),
    outlet: Outlet | None = None,
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Place]:
    """Open a sandbox for `folder`/fork, which stands for the project `folder`/project."""
    project, base, place = folder / "project", folder / "base", folder / f"fork-{uuid.uuid4().hex}"
    for path in (project, base, place):
        path.mkdir(exist_ok=True)
    os.chown(base, *owner(backend))  # type: ignore[arg-type]
    made = HostMounts()
    fork = Layers(folder, base, owner(backend), made).fork(place)  # type: ignore[arg-type]
    if os.geteuid() == 0:
        fork.mount()
    tree = fork.tree
    tree.mkdir(exist_ok=True)
    root = str(tree) if backend == "local" else str(project)
    spec = SandboxSpec(tree=tree, root=root, session=SESSION, limits=limits, mounts=mounts, outlet=outlet)
    sandbox = await open_sandbox(
        spec,
        backend,  # type: ignore[arg-type]
        state=folder / "state",
        project=project,
        environ=environ or {"PATH": os.environ["PATH"], "HOME": str(folder)},
    )
    try:
        yield Place(sandbox, tree, backend, folder)
    finally:
        await sandbox.aclose()
        fork.remove()


class Forks:
    """Which kind of forks a test is run with; set by the fixture `forks`."""

    overlay = True


async def open_workspace(
    tree: Path,
    state: Path,
    *,
    intake: Intake = EVERYTHING,
    owner: Owner | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Workspace:
    """A workspace with the kind of forks that the test is run with."""
    return await Workspace.open(
        tree, state, intake=intake, owner=owner, overlay=Forks.overlay, on_note=on_note
    )


async def open_fork(tree: Path, state: Path) -> tuple[Workspace, Fork]:
    """A workspace of `tree` and one fork of it."""
    workspace = await open_workspace(tree, state)
    return workspace, await workspace.fork("one")


def full_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let the disk be full after so many files."""
    fill = Copier._fill
    left = [count]

    def failing(copier: Copier, reading: int, writing: int) -> os.stat_result:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return fill(copier, reading, writing)

    monkeypatch.setattr(Copier, "_fill", failing)
