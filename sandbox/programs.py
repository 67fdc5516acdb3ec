"""Which programs of the host pawl starts: none that a workspace could have put there.

A PATH may hold relative and empty entries, which mean the current directory, and folders of the project, as
direnv and many people's shells add them. A repository is hostile, so programs are looked up here only, by a
PATH without those; what pawl starts gets the same PATH, for it looks up others.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from sandbox.base import SandboxUnavailable
from sandbox.remedy import install

SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

_workspaces: set[Path] = set()


def distrust(workspace: Path) -> None:
    """From now on take no program from this folder, nor from the repository around it."""
    _workspaces.add(_whole(workspace.resolve()))


def find(name: str, environ: Mapping[str, str] = os.environ, workspace: Path | None = None) -> str | None:
    """The absolute path of a program on the PATH of `environ`, or None. `name` is a name, not a path."""
    untrusted = _untrusted(workspace)
    for folder in _folders(environ, untrusted):
        found = shutil.which(name, path=folder) if "/" not in name else None
        if found and (folder in SYSTEM_PATH or not _lies_in(Path(found), untrusted)):
            return found
    return None


def need(name: str) -> str:
    """`find`, for what pawl cannot do without. Raises SandboxUnavailable."""
    found = find(name)
    if found is None:
        raise SandboxUnavailable(f"{name} is not installed", install(name))
    return found


def search_path(environ: Mapping[str, str] = os.environ, workspace: Path | None = None) -> str:
    """The PATH for what pawl starts on the host."""
    return os.pathsep.join(_folders(environ, _untrusted(workspace)))


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environ` with that PATH."""
    return {**environ, "PATH": search_path(environ)}


def _folders(environ: Mapping[str, str], untrusted: set[Path]) -> Iterator[str]:
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        if folder in SYSTEM_PATH or (folder.startswith("/") and not _lies_in(Path(folder), untrusted)):
            yield folder


def _untrusted(workspace: Path | None) -> set[Path]:
    """The workspaces, whatever the current directory is, and one more; never the home folder as a whole."""
    folders = set(_workspaces)
    if workspace is not None:
        folders.add(_whole(workspace.resolve()))
    with suppress(OSError):  # it was removed
        folders.add(_whole(Path.cwd()))
    return folders - _own()


def _own() -> set[Path]:
    """Where a person's tools lie, who may well start pawl there."""
    return {Path("/"), Path.home().resolve()}


def _whole(folder: Path) -> Path:
    """The repository that a folder lies in, else itself."""
    for each in (folder, *folder.parents):
        if each in _own():
            break
        if (each / ".git").exists():
            return each
    return folder


def _lies_in(path: Path, untrusted: set[Path]) -> bool:
    """Whether it, or what it is a link to, lies in one of the folders."""
    places = (Path(os.path.normpath(path)), path.resolve())
    return any(place.is_relative_to(folder) for place in places for folder in untrusted)
