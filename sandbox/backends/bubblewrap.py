"""The bubblewrap backend: the agent as PID 1 in namespaces of its own, without a daemon and without root.

When pawl runs as root the user inside is 1000, mapped to root outside. The namespace gives it no capability
on the host, but root's plain file permissions remain; therefore /proc/sys is shown read-only.
"""

from __future__ import annotations

import asyncio
import functools
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from sandbox import etc, outlet, pid1, seccomp
from sandbox.base import BackendName, Caps, Mount, Orphan, Sandbox, SandboxSpec, SandboxUnavailable
from sandbox.image import Toolchain
from sandbox.interpreter import NOTHING
from sandbox.launch import launch
from sandbox.parts import laid_out
from sandbox.programs import find
from sandbox.remedy import for_bubblewrap

name: BackendName = "bubblewrap"

_UID_FOR_ROOT = 1000
_NAMESPACES = ("--unshare-user", "--unshare-all", "--as-pid-1", "--die-with-parent", "--new-session")
_KERNEL_FOLDERS = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")
_MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kallsyms", "/proc/kcore", "/proc/keys"),
    *("/proc/key-users", "/proc/kmsg", "/proc/kpagecount", "/proc/kpageflags", "/proc/latency_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/proc/slabinfo", "/proc/timer_list", "/proc/timer_stats"),
    *("/proc/vmallocinfo",),
)
"""What docker masks, and what else of the kernel root alone may read: its plain permissions remain here."""
_NOT_INSTALLED = "bwrap is not installed"
_PROBE_S = 3.0
_SHM_BYTES = 256 * 1024 * 1024


async def available() -> str | None:
    """None when bubblewrap really makes a sandbox here, else the reason why not."""
    program = find("bwrap")
    if program is None:
        return _NOT_INSTALLED
    probe = [*_isolation(program), "--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]
    probe += [word for mount in _libraries() for word in ("--ro-bind", mount.source, mount.target)]
    try:
        done = await asyncio.to_thread(
            subprocess.run, [*probe, "/usr/bin/env", "true"], capture_output=True, timeout=_PROBE_S, cwd="/"
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"bwrap does not work: {error}"
    if done.returncode == 0:
        return None
    return f"bwrap does not work: {done.stderr.decode('utf-8', 'replace').strip()[:300]}"


async def open(spec: SandboxSpec, toolchain: Toolchain, state: Path) -> Sandbox:
    """Open a sandbox; raises SandboxUnavailable."""
    program = find("bwrap")
    if program is None:
        raise SandboxUnavailable(_NOT_INSTALLED, remedy(_NOT_INSTALLED))
    if spec.image is not None:
        raise SandboxUnavailable("images need docker", "start docker, or leave out --image")
    if spec.runtime is not None:
        raise SandboxUnavailable("a runtime needs docker", "start docker, or: pawl config set runtime ''")
    made_up = await asyncio.to_thread(etc.build, state, *_inside(), toolchain.links)
    counted = os.geteuid() != 0 and _counts_by_namespace()
    caps = Caps(
        backend="bubblewrap",
        network=True,
        pids=counted,
        memory=False,
        read_scope=True,
        image="host-toolchain",
        allowed=outlet.allowed(spec),
        processes=True,
        kernel=seccomp.filter_program() is not None,
        tmp="--size" in _known_options(program),
    )
    with tempfile.TemporaryFile() as program_file:
        program_file.write(seccomp.filter_program() or b"")
        program_file.seek(0)
        descriptors = [program_file.fileno()] if seccomp.filter_program() else []
        return await launch(
            [
                *spec.enter,
                *_isolation(program),
                *_view(spec, toolchain, made_up),
                *(word for descriptor in descriptors for word in ("--seccomp", str(descriptor))),
                "--",
                *pid1.command(toolchain.python),
            ],
            spec,
            caps,
            environ={},
            env={"PATH": f"{toolchain.path}:{etc.LINKS}", **toolchain.env},
            processes=spec.limits.pids if counted else None,
            descriptors=descriptors,
        )


async def facts() -> dict[str, str]:
    """What it stands on."""
    program = find("bwrap")
    if program is None:
        return {"bwrap": _NOT_INSTALLED}
    try:
        done = await asyncio.to_thread(
            subprocess.run, [program, "--version"], capture_output=True, text=True, timeout=_PROBE_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        return {"bwrap": str(error)}
    return {"bwrap": f"{done.stdout.strip().removeprefix('bubblewrap ')} at {program}"}


async def orphans() -> Sequence[Orphan]:
    """None: everything dies with the pawl that started it."""
    return ()


async def remove(orphan: Orphan) -> None:
    """There is nothing to remove."""


def owner() -> tuple[int, int]:
    """(uid, gid) on the host that the workspace's files must belong to."""
    return os.geteuid(), os.getegid()


def sees_mounts() -> bool:
    """It is started by pawl, by way of wherever they are."""
    return True


def remedy(reason: str) -> str:
    """What to do about a reason that `available` gave."""
    return for_bubblewrap(reason)


def _inside() -> tuple[int, int]:
    if os.geteuid() == 0:
        return _UID_FOR_ROOT, _UID_FOR_ROOT
    return owner()


def _counts_by_namespace() -> bool:
    """Since Linux 5.14 RLIMIT_NPROC counts the sandbox alone; before, all that its user runs."""
    major, minor = platform.release().split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)))) >= (5, 14)


def _isolation(program: str) -> list[str]:
    uid, gid = _inside()
    words = [program, *_NAMESPACES, "--uid", str(uid), "--gid", str(gid), "--hostname", "sandbox"]
    words += ["--cap-drop", "ALL", "--clearenv", "--setenv", "LANG", "C.UTF-8"]
    if "--disable-userns" in _known_options(program):  # since 0.8; the filter refuses them anyway
        words.append("--disable-userns")
    return words


@functools.cache
def _known_options(program: str) -> frozenset[str]:
    done = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=_PROBE_S)
    return frozenset(word for word in (done.stdout + done.stderr).split() if word.startswith("--"))


def _libraries() -> Iterator[Mount]:
    for folder in ("/bin", "/lib", "/lib64"):
        if Path(folder).is_dir():
            yield Mount(folder, folder)


def _view(spec: SandboxSpec, toolchain: Toolchain, made_up: Mount) -> list[str]:
    """What is to be seen inside."""
    words = ["--proc", "/proc"]
    for path in _KERNEL_FOLDERS:
        if Path(path).exists():
            words += ["--ro-bind", path, path]
    for path in filter(os.path.exists, _MASKED):
        empty_one = ["--tmpfs", path, "--remount-ro"] if Path(path).is_dir() else ["--ro-bind", NOTHING]
        words += [*empty_one, path]
    words += ["--dev", "/dev", *_tmpfs("/dev/shm", _SHM_BYTES), "--remount-ro", "/dev"]
    words += [*_tmpfs("/tmp", spec.limits.tmp_bytes), "--symlink", "../tmp", "/var/tmp"]
    workspace = Mount(str(spec.tree), spec.root)
    empty = ["/"]
    for mount in laid_out((*toolchain.mounts, made_up, *spec.mounts, *outlet.mounts(spec), workspace)):
        if mount.source:
            words += ["--bind" if mount is workspace else "--ro-bind", mount.source, mount.target]
        else:
            words += ["--tmpfs", mount.target]
            empty.append(mount.target)
    words += [word for target in empty for word in ("--remount-ro", target)]
    return [*words, "--chdir", "/"]


def _tmpfs(target: str, size: int) -> list[str]:
    program = find("bwrap")
    sized = ["--size", str(size)] if program and "--size" in _known_options(program) else []  # since 0.7
    return ["--perms", "1777", *sized, "--tmpfs", target]
