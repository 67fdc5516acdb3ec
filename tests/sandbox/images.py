"""Small images for tests, made of files of this machine: nothing is fetched."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

STATIC = ("/sbin/ldconfig.real", "/sbin/ldconfig", "/usr/bin/busybox", "/bin/busybox")
"""Programs that need no library, on one system or another."""
LABEL = f"pawl.test={os.getpid()}"
"""On every image that is made here, and so on what is built from it."""


def docker(*words: str) -> str:
    """What the docker client says; "" for a failure."""
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False).stdout.strip()


def dynamic(programs: Iterable[str]) -> dict[str, str]:
    """Path -> file of programs and of all that their loader needs."""
    real = [os.path.realpath(program) for program in programs]
    listed = subprocess.run(["ldd", *real], capture_output=True, text=True, check=True).stdout
    libraries = {word for word in listed.split() if word.startswith("/") and not word.endswith(":")}
    return {path: os.path.realpath(path) for path in (*real, *libraries)}


def static() -> str:
    """A program of this machine that needs no library; skips the test when none is known."""
    for path in STATIC:
        if Path(path).is_file():
            found = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
            if "not a dynamic" in found.stderr + found.stdout or "statically" in found.stdout:
                return path
    pytest.skip("no program without libraries is known here")


def make(
    tag: str, files: Mapping[str, str], links: Mapping[str, str] | None = None, change: tuple[str, ...] = ()
) -> str:
    """Import an image of files (path -> host file or folder), links and settings; returns its name."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, source in files.items():
            tar.add(source, path, filter=_small)
        for path, target in (links or {}).items():
            link = tarfile.TarInfo(path.lstrip("/"))
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
    name = f"pawl-test-{tag}:{os.getpid()}"
    words = [word for line in (*change, f"LABEL {LABEL}") for word in ("--change", line)]
    done = subprocess.run(
        ["docker", "import", *words, "-", name], input=archive.getvalue(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return name


def clear() -> None:
    """Remove every image of this process, half-built ones too."""
    for _ in range(3):  # children before parents
        if found := docker("images", "-aq", "--filter", f"label={LABEL}").split():
            docker("rmi", "-f", *found)


def _small(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    left_out = ("__pycache__", "/test", "/idlelib", "/ensurepip", "/lib2to3", "/pydoc_data", ".a")
    return None if any(part in member.name for part in left_out) else member
