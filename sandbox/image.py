"""The host-toolchain view: the host's own tools, read-only and at their own paths; no image is needed.

Of the home folder only the folders of found tools are shown, never one that may hold secrets. A repository is
hostile: nothing inside the project is executed to find out about it, its virtual environment is only read.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from sandbox.base import Mount
from sandbox.languages import Languages, plain_text
from sandbox.parts import has_parts
from sandbox.programs import SYSTEM_PATH, search_path

_TOP = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_STORES = ("/nix/store", "/home/linuxbrew/.linuxbrew")
"""Package stores whose programs need their neighbours; shown when the interpreter lives in one."""
_TOO_MUCH = ("/", "/etc", "/home", "/mnt", "/opt", "/proc", "/root", "/run", "/srv", "/sys", "/tmp", "/var")
_OF_HOME_TOO_MUCH = ("", ".cache", ".config", ".local", ".local/share", ".local/state")
_VERSION = re.compile(r"[0-9A-Za-z][\w.+-]*")
_ASK = """
import importlib.util, json, os, site, sys
user = "" if sys.prefix != sys.base_prefix else site.getusersitepackages()
user = user if user and os.path.isdir(user) else ""
pytest = bool(importlib.util.find_spec("pytest")) or os.path.isdir(os.path.join(user or "/-", "pytest"))
print(json.dumps([sys.executable, sys.prefix, sys.base_prefix, user, site.getuserbase(), pytest]))
"""


class Toolchain(msgspec.Struct, frozen=True):
    """What the sandbox runs with. Mounts are in the order in which they must be made."""

    mounts: tuple[Mount, ...]
    path: str
    """PATH inside."""
    env: dict[str, str]
    python: str
    """Interpreter for the agent: pawl's own, always new enough."""
    links: dict[str, str] = {}
    """Names of programs that no folder of the PATH has -> what they mean (`python`, on many systems)."""


class _Python(msgspec.Struct, frozen=True):
    folder: str
    """The `bin` folder that holds it."""
    prefixes: tuple[str, ...]
    """Folders that it needs, real or by a symlink on the way to it."""
    env: dict[str, str]
    pytest: bool


def toolchain(project: Path, environ: Mapping[str, str], prefix: str | None = None) -> Toolchain:
    """Find the tools for a project, by the file system and the interpreters on the PATH; changes nothing.

    The interpreter: `.venv` or `venv` in the project; $VIRTUAL_ENV; the first `python3` on the PATH that has
    pytest; the first at all. pawl's own comes last on the PATH, so that `python` exists everywhere.
    `prefix` is as in SandboxSpec.
    """
    home = Path(environ.get("HOME", "/nonexistent"))
    own = _own()
    chosen = _chosen(project, environ, home, own_environment=prefix is None)
    folders: list[str] = [chosen.folder] if chosen else []
    prefixes = [*(chosen.prefixes if chosen else ()), *own.prefixes]
    env = dict(chosen.env) if chosen else {}
    if prefix:
        folders.insert(0, f"{prefix}/bin")
    for tool in Languages(project, environ, home, lambda folder: _showable(folder, home)).find():
        folders += tool.folders
        prefixes += tool.prefixes
        env |= tool.env
    prefixes += [store for store in _STORES if any(prefix.startswith(store + "/") for prefix in prefixes)]
    path = dict.fromkeys([*folders, *SYSTEM_PATH, own.folder])
    return Toolchain(
        mounts=(*_system(), *_mounts(prefixes, home)),
        path=":".join(path),
        env=env,
        python=os.path.realpath(sys.executable),
        links=_missing(path),
    )


def _missing(path: Iterable[str]) -> dict[str, str]:
    """`python` for `python3`, unless it is there."""
    if any(os.access(Path(folder, "python"), os.X_OK) for folder in path):
        return {}
    pythons = [str(Path(folder, "python3")) for folder in path if os.access(Path(folder, "python3"), os.X_OK)]
    return {"python": pythons[0]} if pythons else {}


def _system() -> Iterator[Mount]:
    for folder in ("/usr", "/usr/local"):
        if Path(folder).is_dir():
            yield Mount(folder, folder, by_parts=True)
    for name in _TOP:
        path = Path("/", name)
        if path.is_dir():
            yield Mount(str(path.resolve()), str(path))


def _mounts(prefixes: Iterable[str], home: Path) -> Iterator[Mount]:
    """A mount for each folder that no other one covers, or that is a prefix; not what shows too much."""
    targets: list[str] = []
    for target in sorted(set(prefixes) - {"/usr"}, key=lambda path: (path.count("/"), path)):
        covered = any(target.startswith(other + "/") for other in ("/usr", *targets))
        by_parts = has_parts(Path(target))
        if (by_parts or not covered) and Path(target).is_dir() and _showable(target, home):
            targets.append(target)
            yield Mount(os.path.realpath(target), target, by_parts)


def _showable(folder: str, home: Path) -> bool:
    """False for a folder that holds more than a tool: the home, what is above it, /etc, /tmp and the like."""
    real = Path(folder).resolve()
    if real in (home.resolve() / name for name in _OF_HOME_TOO_MUCH):
        return False
    if str(real) in _TOO_MUCH or str(real.parent) == "/home":
        return False
    return not home.resolve().is_relative_to(real)


def _within(path: str | Path, folder: Path) -> bool:
    return Path(path).resolve().is_relative_to(folder.resolve())


# --- interpreters ------------------------------------------------------------------------------------------


def _own() -> _Python:
    """pawl's own interpreter, with the environment that it is installed in."""
    python = Path(sys.prefix, "bin", "python3")
    prefixes = (
        sys.prefix,
        *_hops(python),
        sys.base_prefix,
        str(Path(os.path.realpath(sys.executable)).parents[1]),
    )
    return _Python(str(python.parent), prefixes, {}, False)


def _chosen(
    project: Path, environ: Mapping[str, str], home: Path, *, own_environment: bool
) -> _Python | None:
    folders = [project / ".venv", project / "venv"] if own_environment else []
    active = Path(environ.get("VIRTUAL_ENV") or "/nonexistent")
    if own_environment or not _within(active, project):
        folders.append(active)
    for folder in folders:
        found = _virtual(folder, project, home)
        if found:
            return found
    candidates = [*_pinned(project, environ, home), *_on_path(project, environ, home)]
    return next((c for c in candidates if c.pytest), candidates[0] if candidates else None)


def _virtual(folder: Path, project: Path, home: Path) -> _Python | None:
    """A virtual environment, by reading it: what it names must be a whole interpreter outside the project."""
    python = folder / "bin" / "python"
    base = Path(os.path.realpath(python)).parent.parent
    if not (folder / "pyvenv.cfg").is_file() or not os.access(python, os.X_OK) or _within(base, project):
        return None
    if not any(base.glob("lib*/python3*/os.py")) or not (
        _showable(str(folder), home) and _showable(str(base), home)
    ):
        return None
    prefixes = (str(folder), str(folder.resolve()), *_hops(python), str(base))
    pytest = any(folder.glob("lib/python3*/site-packages/pytest"))
    return _Python(str(folder / "bin"), prefixes, {"VIRTUAL_ENV": str(folder)}, pytest)


def _hops(python: Path) -> Iterator[str]:
    """The prefixes of the links between an interpreter's name and its file (uv links whole versions)."""
    for _ in range(8):
        if not python.is_symlink():
            return
        python = Path(os.path.normpath(python.parent / python.readlink()))
        yield str(python.parent.parent)


def _on_path(project: Path, environ: Mapping[str, str], home: Path) -> Iterator[_Python]:
    version = _pyenv_version(project, environ)
    path = search_path(environ, project)
    environ = {**environ, "PATH": path}  # a shim looks up others
    seen = set()
    for folder in path.split(os.pathsep):
        python = Path(folder, "python3")
        if not os.access(python, os.X_OK) or _within(python, project):
            continue
        facts = _ask(str(python), python.stat().st_mtime_ns, version, tuple(sorted(environ.items())))
        if facts is None or facts[0] in seen:
            continue
        executable, prefix, base, site, user_base, pytest = facts
        seen.add(executable)
        prefixes = (prefix, *_hops(Path(executable)), base, site)
        if not all(_showable(each, home) for each in prefixes if each):
            continue
        env = {"PYTHONUSERBASE": user_base} if site else {}
        yield _Python(str(Path(executable).parent), tuple(p for p in prefixes if p), env, pytest)


def _pinned(project: Path, environ: Mapping[str, str], home: Path) -> Iterator[_Python]:
    """The interpreter that `.python-version` names, of those that pyenv and uv keep; it is not run."""
    wanted = _wanted_version(project)
    uv = Path(environ.get("UV_PYTHON_INSTALL_DIR") or home / ".local" / "share" / "uv" / "python")
    folders = [_pyenv_root(environ) / "versions" / wanted] if wanted else []
    folders += sorted(uv.glob(f"cpython-{wanted}[.-]*")) if wanted else []
    for folder in folders:
        python = folder / "bin" / "python3"
        base = Path(os.path.realpath(python)).parent.parent
        whole = os.access(python, os.X_OK) and any(base.glob("lib*/python3*/os.py"))
        if (
            whole
            and not _within(base, project)
            and all(_showable(str(each), home) for each in (folder, base))
        ):
            pytest = any(folder.glob("lib/python3*/site-packages/pytest"))
            yield _Python(str(python.parent), (str(folder), *_hops(python), str(base)), {}, pytest)


def _wanted_version(project: Path) -> str:
    """The first word of the project's `.python-version` when it looks like a version or a name."""
    wanted, *_ = plain_text(project / ".python-version").split() or [""]
    return wanted if _VERSION.fullmatch(wanted) else ""


def _pyenv_root(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("PYENV_ROOT") or Path(environ.get("HOME", "/nonexistent"), ".pyenv"))


def _pyenv_version(project: Path, environ: Mapping[str, str]) -> str:
    """The version that pyenv would take in the project, read by us: its shims are never run in there."""
    wanted = _wanted_version(project)
    known = wanted and (_pyenv_root(environ) / "versions" / wanted / "bin" / "python3").exists()
    return wanted if known else ""


@functools.lru_cache(maxsize=32)
def _ask(
    python: str, _mtime: int, version: str, environ: tuple[tuple[str, str], ...]
) -> tuple[str, str, str, str, str, bool] | None:
    """(executable, prefix, base prefix, user site, user base, has pytest) as the interpreter says itself."""
    env = dict(environ) | ({"PYENV_VERSION": version} if version else {})
    try:
        done = subprocess.run(
            [python, "-I", "-c", _ASK], cwd="/", env=env, capture_output=True, timeout=10, check=True
        )
        return tuple(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
