"""The set-up phase: a person's command installs dependencies, once, before anything else runs.

It runs in a fork of the frozen base, in a sandbox that reaches the package registries alone; what it made is
sorted (`sandbox.harvest`), kept under a key of all that decides it (`sandbox.kept`) and becomes part of the
base. The user's own dependency folders are not shown to it: what it makes takes their place.

    wanted = await plan(tree, files, project=..., command=..., network=..., on=..., state=...)
    kept = await obtain(workspace, wanted, run, on_wait=...)
    await workspace.adopt(kept)
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from sandbox import kept as keeping
from sandbox.base import BackendName, Mount, SandboxUnavailable
from sandbox.beneath import Beneath
from sandbox.freeze import Intake, look
from sandbox.gitview import PLACE
from sandbox.image import Toolchain, toolchain
from sandbox.kept import Kept, Made
from sandbox.network import NetworkRules, parse_rules
from sandbox.open import load
from sandbox.registries import deciding, default_rules
from sandbox.workspace import Fork, Workspace

SETUP_S = 600.0
"""A set-up may take so long."""
_MANIFEST_BYTES = 64 * 1024**2
_LOOK_AGAIN_S = 0.2
_LOOKS_UNTOLD = 5
_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem")
"""Where systems keep them in one file; a sandbox has a copy (`sandbox.etc`)."""
_TRUSTING = ("CARGO_HTTP_CAINFO", "NODE_EXTRA_CA_CERTS", "PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_LANGUAGES = ("python3", "node", "ruby", "java", "go", "cargo")


class SetupFailed(SandboxUnavailable):
    """The command failed. The message has the last lines of its output."""


class Wanted(msgspec.Struct, frozen=True):
    """One set-up."""

    command: str
    rules: NetworkRules
    place: Path
    """Where its result is kept; named by all that decides what it is."""


async def plan(
    tree: Path,
    files: Iterable[str],
    *,
    project: Path,
    command: str,
    network: str | None,
    on: object,
    state: Path,
) -> Wanted:
    """What is to be set up for `project`, of which `tree` is a copy with these `files`.

    `network` is as the person wrote it, None for the registries of the command; `on` is what `runs_on` gave.
    """
    names = list(files)
    rules = default_rules(command, names) if network is None else parse_rules(network)
    manifests = await asyncio.to_thread(_hashes, tree, deciding(command, names))
    name = keeping.key(project, command, rules.texts(), manifests, on)
    return Wanted(command, rules, state / keeping.FOLDER / name)


def _hashes(tree: Path, paths: Iterable[str]) -> dict[str, str]:
    found = {}
    with Beneath(tree) as root:
        for path in paths:
            try:
                found[path] = hashlib.sha256(root.read(path, _MANIFEST_BYTES).data).hexdigest()
            except OSError as error:
                found[path] = f"unreadable: {type(error).__name__}"
    return found


def look_for_files(project: Path, intake: Intake, state: Path) -> list[str]:
    """The files that a base of `project` would have, for `plan`, without making one."""
    with Beneath(project) as root:
        return list(look(root, project, intake, state)[0].files)


async def runs_on(
    backend: BackendName,
    project: Path,
    *,
    image: str | None,
    image_env: Mapping[str, str],
    environ: Mapping[str, str],
) -> object:
    """What decides a result beside the project: the image or the host's interpreters, the files' owner."""
    owner = await asyncio.to_thread(lambda: load(backend).owner())
    if image is None:
        tools = await asyncio.to_thread(toolchain, project, environ, "")
        return [owner, tools.path, await asyncio.to_thread(_interpreters, tools)]
    from sandbox.backends import docker  # slow to load

    return [owner, image, await docker.image_id(image), sorted(image_env.items())]


def _interpreters(tools: Toolchain) -> list[object]:
    """The first program of each language on the PATH, and its stamp: a new version is another one."""
    found: list[object] = []
    for name in _LANGUAGES:
        for folder in tools.path.split(":"):
            with contextlib.suppress(OSError):
                program = Path(folder, name).resolve(strict=True)
                info = program.stat()
                found.append([name, str(program), info.st_size, info.st_mtime_ns])
                break
    return found


def trusted() -> dict[str, str]:
    """Variables by which installers trust whom this system trusts, such as a company's own authority.

    Many bring certificates of their own and look at no others unless told.
    """
    there = next((path for path in _CERTIFICATES if Path(path).is_file()), None)
    return dict.fromkeys(_TRUSTING, there) if there else {}


def shown(fork: Fork) -> tuple[Mount, ...]:
    """What of a fork's mounts a set-up sees: `.git`, and none of the user's own dependency folders."""
    git = (f"{fork.root}/.git", PLACE)
    return tuple(mount for mount in fork.mounts if f"{mount.target}/".startswith(tuple(f"{p}/" for p in git)))


async def obtain(
    workspace: Workspace,
    wanted: Wanted,
    run: Callable[[Fork], Awaitable[None]],
    *,
    on_wait: Callable[[], None],
) -> Kept:
    """The kept result, made first when there is none; the caller lets go of it.

    `run` runs the command in a fork until nothing of it is left, or raises. `on_wait` hears once that another
    pawl is at it.
    """
    looks = 0
    while True:
        try:
            if (kept := await asyncio.to_thread(keeping.use, wanted.place)) is not None:
                return kept
            with keeping.making(wanted.place) as new:
                if new is not None:
                    await _make(workspace, wanted, run, new)
                    await asyncio.to_thread(keeping.sweep, wanted.place.parent)
        except BlockingIOError:
            looks += 1
            if looks == _LOOKS_UNTOLD:  # until then it may be a prune that only looks
                on_wait()
            await asyncio.sleep(_LOOK_AGAIN_S)


async def _make(
    workspace: Workspace, wanted: Wanted, run: Callable[[Fork], Awaitable[None]], new: Path
) -> None:
    started = time.monotonic()
    fork = await workspace.fork("setup")
    try:
        await run(fork)
        took = time.monotonic() - started
        found = await fork.harvest(new)
    finally:
        await fork.aclose()
    made = Made(
        command=wanted.command,
        project=str(workspace.tree),
        duration_s=took,
        folders=found.folders,
        files=found.files,
        dropped=found.dropped,
        environment=found.environment,
    )
    await workspace.offload(lambda: keeping.keep(new, made))
