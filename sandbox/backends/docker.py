"""The docker backend: the agent as PID 1 of a locked-down container, spoken to over the attach stream.

docker-py blocks, so every call of it goes through one small pool of threads. The stream does not: asyncio
speaks to the daemon's unix socket itself. However pawl ends, the daemon then closes the agent's input, the
agent ends, and `--rm` removes the container.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import io
import json
import os
import secrets
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import docker
import docker.errors
import requests
from docker.types import LogConfig, Ulimit
from docker.types import Mount as DockerMount

from sandbox import etc, outlet, pid1, seccomp, undertaker, volumes
from sandbox.base import (
    BackendName,
    Caps,
    Orphan,
    Sandbox,
    SandboxDied,
    SandboxSpec,
    SandboxUnavailable,
)
from sandbox.client import AgentClient
from sandbox.daemon import SLOW, Stdout, available, listener, request, rootless, socket_path
from sandbox.facts import mount_namespace
from sandbox.image import Toolchain
from sandbox.interpreter import Interpreter, own
from sandbox.labels import host_label, is_alive, owner_label
from sandbox.naming import plain
from sandbox.parts import laid_out
from sandbox.remedy import for_another_runtime, for_docker, for_runtime

name: BackendName = "docker"

_EMPTY = "pawl-empty"
_EMPTY_TAG = "1"
_UID_FOR_ROOT = 1000
_TIMEOUT_S = 30
_START_S = 20.0
_NEUTRAL = {"LANG": "C.UTF-8", "LD_PRELOAD": "", "LD_AUDIT": ""}
"""For the agent's own start: an image's variables must not put code into it."""
_FAILURES = (docker.errors.DockerException, requests.RequestException, OSError)

T = TypeVar("T")


@functools.cache
def _pool() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(max_workers=4, thread_name_prefix="docker")


async def _blocking(function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """The one seam between asyncio and docker-py.

    A thread cannot be stopped: a cancelled caller waits for it, so that what it has made can be removed.
    """
    call = functools.partial(function, *arguments, **options)
    future = asyncio.get_running_loop().run_in_executor(_pool(), call)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


def _client() -> docker.APIClient:
    return docker.APIClient(base_url=f"unix://{socket_path()}", version="auto", timeout=_TIMEOUT_S)


async def image_id(name: str) -> str | None:
    """The id of an image that is here, else None; nothing is fetched. Raises SandboxUnavailable."""
    try:
        client = await _blocking(_client)
        with contextlib.closing(client):
            return str((await _blocking(client.inspect_image, name))["Id"])
    except docker.errors.ImageNotFound:
        return None
    except _FAILURES as error:
        raise SandboxUnavailable(f"docker: {error}", "see `pawl doctor`") from error


def owner() -> tuple[int, int]:
    """(uid, gid) on the host that the workspace's files must belong to: whom the container runs as."""
    if os.geteuid() == 0:
        return _UID_FOR_ROOT, _UID_FOR_ROOT
    return os.geteuid(), os.getegid()


def sees_mounts() -> bool:
    """True when they are on the host, and the daemon lives in pawl's mount namespace."""
    path = socket_path() if os.geteuid() == 0 else None
    try:
        return path is not None and mount_namespace(listener(path)) == mount_namespace(os.getpid())
    except OSError:
        return False


def remedy(reason: str) -> str:
    """What to do about a reason that `available` gave."""
    return for_docker(reason)


def _inside() -> tuple[int, int]:
    return (0, 0) if rootless() else owner()


class Kernel(NamedTuple):
    """What the kernel does for containers, as the daemon says; for a rootless one often nothing."""

    counts_processes: bool
    counts_memory: bool
    cgroup_namespace: Literal["private"] | None
    """Asked for by name: a daemon may be set up to show every control group of the host, which with
    cgroup v2 also leaves no counter of what was killed for memory. None leaves it to the daemon."""

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Kernel:
        """By the daemon's answer to `GET /info`."""
        private: Literal["private"] | None = "private" if about.get("CgroupVersion") == "2" else None
        return cls(bool(about.get("PidsLimit")), bool(about.get("MemoryLimit")), private)


@functools.cache
def _kernel(path: Path) -> Kernel:
    """Of the daemon at this socket."""
    with contextlib.closing(_client()) as client:
        return Kernel.of(client.info())


async def open(spec: SandboxSpec, toolchain: Toolchain, state: Path) -> Sandbox:
    """Open a sandbox; raises SandboxUnavailable."""
    reason = await available()
    if reason is not None:
        raise SandboxUnavailable(reason, remedy(reason))
    for path in (spec.root, os.fspath(spec.tree), *(mount.source for mount in spec.mounts)):
        try:
            path.encode()
        except UnicodeEncodeError:
            raise SandboxUnavailable(
                f"docker cannot show {plain(path)}, as its name is not UTF-8",
                "take `--sandbox bubblewrap`, or rename it",
            ) from None
    try:
        client = await _blocking(_client)
    except _FAILURES as error:
        raise SandboxUnavailable(f"docker: {error}", "see `pawl doctor`") from error
    address = socket_path()
    assert address is not None
    container = _Container(client, address)
    try:
        await _blocking(sweep, client)
        with undertaker.watching(os.fspath(address), container.name):
            await container.create(spec, toolchain, state)
            return await container.start(spec, toolchain)
    except _FAILURES as error:
        await container.end()
        raise SandboxUnavailable(*_explained(error, spec)) from error
    except BaseException:
        await container.end()
        raise


def _explained(error: Exception, spec: SandboxSpec) -> tuple[str, str]:
    """(message, remedy) of a failure to start."""
    if isinstance(error, docker.errors.ImageNotFound):
        built = str(spec.image).startswith("pawl/")
        remedy = "pawl sandbox build" if built else f"docker pull {spec.image}"
        return f"there is no image {spec.image} here", remedy
    text = str(error)
    if spec.runtime and "nknown" in text and f" {spec.runtime}" in text:
        return f"the docker daemon does not know the runtime {spec.runtime}", for_runtime(spec.runtime)
    if spec.runtime and "runtime" in text:
        return f"the runtime {spec.runtime} could not start a sandbox: {text}", for_another_runtime()
    if spec.image and "executable file not found" in text:
        return (
            f"the image {spec.image} has no python3",
            "take an image with Python 3.8 or later, or leave out --image",
        )
    return f"docker could not start a sandbox: {text}", "see `pawl doctor`"


class _Container:
    """One container from its making to its removal."""

    def __init__(self, client: docker.APIClient, address: Path) -> None:
        self.name = f"pawl-{secrets.token_hex(8)}"
        self._client = client
        self._address = address
        self._id = ""
        self._image = ""
        self._kernel = Kernel(False, False, None)
        self._ended = False
        self._complaint = bytearray()

    async def create(self, spec: SandboxSpec, toolchain: Toolchain, state: Path) -> None:
        if spec.image is None:
            await _blocking(_ensure_empty_image, self._client)
            made_up = await _blocking(etc.build, state, *_inside(), toolchain.links)
            runs = Interpreter((toolchain.python,), (*toolchain.mounts, made_up))
        else:
            runs = await _blocking(lambda: own() or Interpreter(("python3",), ()))
        self._kernel = await _blocking(_kernel, self._address)
        options = _options(self._client, spec, runs, self._kernel)
        if spec.image is not None:
            about = await _blocking(self._client.inspect_image, spec.image)
            options["host_config"]["Mounts"] += _volumes(about["Config"].get("Volumes") or (), spec)
        await _blocking(self._make, options)
        self._image = "host-toolchain"
        if spec.image is not None:
            self._image = (await _blocking(self._client.inspect_container, self._id))["Image"]

    def _make(self, options: dict[str, Any]) -> None:
        self._id = self._client.create_container(**options, name=self.name)["Id"]
        volumes.check(self._client.inspect_container(self._id)["Mounts"])

    async def start(self, spec: SandboxSpec, toolchain: Toolchain) -> Sandbox:
        """Attach first, so that nothing is lost, then start."""
        reader, writer = await self._attach()
        caps = Caps(
            backend="docker",
            network=True,
            pids=self._kernel.counts_processes,
            memory=self._kernel.counts_memory,
            read_scope=True,
            image=self._image,
            allowed=outlet.allowed(spec),
            processes=True,
            kernel=True,
            tmp=True,
        )
        client = AgentClient(Stdout(reader, self._complaint), writer, spec, caps, self.end)
        env = {"PATH": f"{toolchain.path}:{etc.LINKS}", **toolchain.env} if spec.image is None else {}
        try:
            await _blocking(self._client.start, self._id)
            async with asyncio.timeout(_START_S):
                await client.begin(env)
        except (SandboxDied, TimeoutError) as error:
            await client.aclose()
            said = self._complaint.decode("utf-8", "replace").strip()
            raise SandboxUnavailable(
                f"the container did not start: {said or str(error) or SLOW}", "see `pawl doctor`"
            ) from error
        except BaseException:
            await client.aclose()
            raise
        return client

    async def _attach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Ask the daemon for the container's streams; what follows its answer is theirs."""
        what = f"/v{self._client.api_version}/containers/{self._id}/attach?stream=1&stdin=1&stdout=1&stderr=1"
        status, reader, writer = await request(f"POST {what}", "Connection: Upgrade", "Upgrade: tcp")
        if status not in (101, 200):
            writer.close()
            raise ConnectionError(f"the docker daemon refused to attach ({status})")
        return reader, writer

    async def end(self) -> None:
        """Remove the container and let go of the daemon. What is gone already is no error."""
        if self._ended:
            return
        self._ended = True
        await _blocking(self._remove)

    def _remove(self) -> None:
        with contextlib.closing(self._client), contextlib.suppress(*_FAILURES):
            if self._id:
                self._client.remove_container(self._id, force=True, v=True)


def _volumes(declared: Iterable[str], spec: SandboxSpec) -> list[DockerMount]:
    """A mount for each volume that the image declares."""
    return [
        DockerMount(path, None, type="tmpfs", tmpfs_size=spec.limits.tmp_bytes, tmpfs_mode=0o1777)
        for path in volumes.in_memory(declared, spec.root)
    ]


def _options(
    client: docker.APIClient, spec: SandboxSpec, runs: Interpreter, kernel: Kernel
) -> dict[str, Any]:
    """Everything that the container is. The model chooses none of it."""
    limits = spec.limits
    shown = laid_out((*runs.mounts, *spec.mounts, *outlet.mounts(spec)))
    mounts = [
        DockerMount(each.target, each.source, type="bind", read_only=True)
        if each.source
        else DockerMount(each.target, None, type="tmpfs", read_only=True, tmpfs_mode=0o755)
        for each in shown
    ]
    mounts.append(DockerMount(spec.root, str(spec.tree), type="bind"))
    host = client.create_host_config(
        auto_remove=True,
        network_mode="none",
        cap_drop=["ALL"],
        security_opt=_security(),
        read_only=True,
        pids_limit=limits.pids,
        mem_limit=limits.memory_bytes,
        memswap_limit=limits.memory_bytes,
        nano_cpus=int(limits.cpus * 1e9),
        ulimits=[
            Ulimit(name="nofile", soft=limits.open_files, hard=limits.open_files),
            Ulimit(name="core", soft=0, hard=0),
        ],
        tmpfs={"/tmp": f"exec,nosuid,nodev,mode=1777,size={limits.tmp_bytes}"},
        shm_size=256 * 1024 * 1024,
        ipc_mode="private",
        cgroupns=kernel.cgroup_namespace,
        log_config=LogConfig(type=LogConfig.types.NONE),
        mounts=mounts,
        init=False,
        runtime=spec.runtime,
    )
    uid, gid = _inside()
    return {
        "image": spec.image or f"{_EMPTY}:{_EMPTY_TAG}",
        "entrypoint": pid1.command(*runs.command),
        "environment": {**spec.image_env, **_NEUTRAL},
        "command": [],
        "user": f"{uid}:{gid}",
        "hostname": "sandbox",
        "working_dir": "/",
        "stdin_open": True,
        "stop_signal": "SIGKILL",  # PID 1 hears no other; a daemon that starts again would wait 10 s
        "host_config": host,
        "labels": {"pawl.session": spec.session, "pawl.owner": owner_label(), "pawl.host": host_label()},
    }


def _security() -> list[str]:
    options = ["no-new-privileges", "seccomp=" + json.dumps(seccomp.docker_profile())]
    if Path("/sys/fs/selinux/enforce").exists():  # its labels would hide the host's tools and the workspace
        options.append("label=disable")
    return options


def _ensure_empty_image(client: docker.APIClient) -> None:
    """An image with nothing in it: all that there is to see is mounted."""
    if not client.images(name=f"{_EMPTY}:{_EMPTY_TAG}"):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w"):
            pass
        client.import_image_from_data(archive.getvalue(), repository=_EMPTY, tag=_EMPTY_TAG)


# --- orphans -----------------------------------------------------------------------------------------------


def sweep(client: docker.APIClient) -> list[str]:
    """Remove the containers whose pawl is no more; returns their ids."""
    removed = []
    for container in _orphaned(client):
        with contextlib.suppress(*_FAILURES):
            client.remove_container(container["Id"], force=True, v=True)
            removed.append(container["Id"])
    return removed


def _orphaned(client: docker.APIClient, *, size: bool = False) -> list[dict[str, Any]]:
    """The containers of this host whose pawl is no more, as the daemon lists them."""
    found = []
    for container in client.containers(all=True, size=size, filters={"label": f"pawl.host={host_label()}"}):
        if not is_alive(container["Labels"].get("pawl.owner", "")):
            found.append(container)
    return found


async def orphans() -> Sequence[Orphan]:
    """The containers whose pawl is no more; none when no daemon answers. Raises SandboxUnavailable."""
    if await available() is not None:
        return ()
    try:
        with contextlib.closing(await _blocking(_client)) as client:
            found = await _blocking(_orphaned, client, size=True)
    except _FAILURES as error:
        raise SandboxUnavailable(f"docker: {error}", "see `pawl doctor`") from error
    return [
        Orphan(
            each["Id"],
            f"container {each['Id'][:12]} of session {each['Labels'].get('pawl.session', '?')}"
            f" ({each['Status'] or each['State']})",
            each.get("SizeRw", 0),
        )
        for each in found
    ]


async def remove(orphan: Orphan) -> None:
    """Remove a container; what is gone already is no error. Raises SandboxUnavailable."""
    try:
        with contextlib.closing(await _blocking(_client)) as client:
            await _blocking(client.remove_container, orphan.id, force=True, v=True)
    except docker.errors.NotFound:
        pass
    except _FAILURES as error:
        raise SandboxUnavailable(f"{orphan.label}: {error}", "see `pawl doctor`") from error


async def facts() -> dict[str, str]:
    """What it stands on: the daemon's version and how it is set up. Empty when it does not answer."""
    if await available() is not None:
        return {}
    try:
        with contextlib.closing(await _blocking(_client)) as client:
            about = await _blocking(client.info)
            version = await _blocking(client.version)
    except _FAILURES:
        return {}
    options = [str(option).removeprefix("name=") for option in about.get("SecurityOptions") or ()]
    return {
        "docker": f"{version.get('Version', '?')}, API {version.get('ApiVersion', '?')}, at {socket_path()}",
        "docker storage": str(about.get("Driver", "?")),
        "docker cgroups": f"v{about.get('CgroupVersion', '1')}, {about.get('CgroupDriver', '?')}",
        "docker security": ", ".join(options) or "none",
        "docker runtimes": ", ".join(sorted(about.get("Runtimes") or ())),
    }
