"""Where node, cargo, go and other tools of a person lie, when the system's folders do not hold them.

The file system alone is asked; nothing is run. Version managers answer through shims that read the home
folder, which is hidden in a sandbox: so the version that they would take is found here, and shown itself.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from sandbox import programs
from sandbox.programs import SYSTEM_PATH

_PLAIN_TOOLS = ("npm", "java", "ruby")
_CARGO_FOLDERS = ("bin", "git", "registry")
"""Of the cargo home; never its configuration and credentials."""
_VERSION = re.compile(r"v?(\d+(?:\.\d+){0,2})")
_TEXT_BYTES = 1024 * 1024


class Found(msgspec.Struct, frozen=True):
    """One tool: folders for the PATH, folders to show, variables to set."""

    folders: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    env: dict[str, str] = {}


class Languages:
    """The search for one project. `showable` says whether a folder holds a tool and no more."""

    def __init__(
        self, project: Path, environ: Mapping[str, str], home: Path, showable: Callable[[str], bool]
    ) -> None:
        self._project = project
        self._environ = environ
        self._home = home
        self._showable = showable
        self._volta_home = self._folder("VOLTA_HOME", ".volta")

    def find(self) -> Iterator[Found]:
        yield self._node()
        for name in _PLAIN_TOOLS:
            program = self._which(name)
            if program is not None and not program.is_relative_to(self._volta_home):
                yield self._of_bin(program)
        yield self._go()
        yield self._cargo()

    # --- by the PATH ------------------------------------------------------------------------------

    def _which(self, name: str) -> Path | None:
        """A program on the PATH that is not among the system's own."""
        found = programs.find(name, self._environ, self._project)
        if found is None or str(Path(found).parent) in SYSTEM_PATH:
            return None
        return Path(found)

    def _of_bin(self, program: Path | None) -> Found:
        """A program in a `bin` folder: that folder, and the one above it that holds the rest."""
        if program is None or not os.access(program, os.X_OK):
            return Found()
        real = program.resolve()
        prefix = real.parent.parent
        inside = real.is_relative_to(self._project.resolve())
        if real.parent.name != "bin" or inside or not self._showable(str(prefix)):
            return Found()
        return Found((str(real.parent),), (str(prefix),))

    def _folder(self, variable: str, *usual: str) -> Path:
        """A folder that a variable names, else the first usual one (from the home folder) that is there."""
        named = self._environ.get(variable, "")
        if named.startswith("/"):
            return Path(named)
        places = [self._home / name for name in usual]
        return next((place for place in places if place.is_dir()), places[0])

    # --- node -------------------------------------------------------------------------------------

    def _node(self) -> Found:
        """The PATH's, else the version that the project names, else nvm's newest when the PATH has none."""
        program = self._which("node")
        if program is not None and program.is_relative_to(self._volta_home):  # a shim
            return self._of_bin(self._volta())
        if program is None:
            installed = self._node_versions()
            wanted = self._wanted_node()
            program = _newest(installed, wanted) if wanted else None
            if program is None and programs.find("node", self._environ, self._project) is None:
                program = _newest(installed, ())
        return self._of_bin(program)

    def _node_versions(self) -> dict[tuple[int, ...], Path]:
        nvm, fnm = self._folder("NVM_DIR", ".nvm"), self._folder("FNM_DIR", ".local/share/fnm", ".fnm")
        programs = [*nvm.glob("versions/node/v*/bin/node")]
        programs += fnm.glob("node-versions/v*/installation/bin/node")
        found = {}
        for program in programs:
            name = next(part for part in reversed(program.parts) if part.startswith("v"))
            if version := _version(name):
                found[version] = program
        return found

    def _wanted_node(self) -> tuple[int, ...]:
        for name in (".nvmrc", ".node-version"):
            if version := _version(plain_text(self._project / name)):
                return version
        return ()

    def _volta(self) -> Path | None:
        """The node that volta's shim would run: the project's, else the person's own."""
        project = _fields(plain_text(self._project / "package.json"), "volta").get("node")
        default = _fields(plain_text(self._volta_home / "tools/user/platform.json"), "node").get("runtime")
        for name in (project, default):
            if isinstance(name, str) and _version(name):
                program = self._volta_home / "tools/image/node" / name / "bin/node"
                if program.exists():
                    return program
        return None

    # --- cargo and go -----------------------------------------------------------------------------

    def _cargo(self) -> Found:
        cargo, rustup = self._folder("CARGO_HOME", ".cargo"), self._folder("RUSTUP_HOME", ".rustup")
        if not os.access(cargo / "bin" / "cargo", os.X_OK) or cargo.is_relative_to(self._project):
            return Found()
        shown = (*(str(cargo / name) for name in _CARGO_FOLDERS), str(rustup))
        env = {"CARGO_HOME": str(cargo), "RUSTUP_HOME": str(rustup), "CARGO_NET_OFFLINE": "true"}
        return Found((str(cargo / "bin"),), shown, env)

    def _go(self) -> Found:
        """Go's own folder has a file VERSION; the person's GOPATH, of the same form, has not."""
        program = self._which("go") or Path("/usr/local/go/bin/go")
        root = program.resolve().parents[1]
        found = self._of_bin(program) if (root / "VERSION").is_file() else Found()
        first = self._environ.get("GOPATH", "").split(os.pathsep)[0]
        path = Path(first) if first.startswith("/") else self._home / "go"
        modules = self._folder("GOMODCACHE", str(path / "pkg" / "mod"))
        if not modules.is_dir() or not self._showable(str(modules)):
            return found
        env = {"GOMODCACHE": str(modules), "GOPROXY": "off", "GOFLAGS": "-mod=mod"}
        return Found(found.folders, (*found.prefixes, str(modules)), env)


def _newest(installed: Mapping[tuple[int, ...], Path], wanted: tuple[int, ...]) -> Path | None:
    """The newest version that begins with the numbers of `wanted`."""
    fitting = [version for version in installed if version[: len(wanted)] == wanted]
    return installed[max(fitting)] if fitting else None


def _version(text: str) -> tuple[int, ...]:
    """The numbers of a version such as `v20.1`; none for anything else, such as `lts/*`."""
    found = _VERSION.fullmatch(text.strip())
    return tuple(int(part) for part in found[1].split(".")) if found and len(text) < 64 else ()


def plain_text(path: Path) -> str:
    """A small file's text, else "". A project's file may be a trap: a link or a FIFO is not read."""
    try:
        if not path.is_symlink() and path.is_file() and path.stat().st_size <= _TEXT_BYTES:
            return path.read_text("utf-8", "replace")
    except OSError:
        pass
    return ""


def _fields(text: str, name: str) -> dict[str, object]:
    """The object `name` of a JSON text; empty for anything else."""
    try:
        found = json.loads(text)[name]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
