"""The Python interpreters of this machine, by version. Only the host's own programs are asked."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec

from sandbox import programs
from sandbox.base import SandboxUnavailable

_ASK = "import os, sys; print(os.path.realpath(sys.executable)); print('%d.%d' % sys.version_info[:2])"
_OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"


class Interpreter(msgspec.Struct, frozen=True):
    """One interpreter, no environment's."""

    program: Path
    version: str
    """Such as `3.11`."""

    @property
    def environ(self) -> dict[str, str]:
        """Where a sandbox is to look for tools, so that it shows this one."""
        return {"PATH": f"{self.program.parent}:{os.defpath}", "HOME": os.environ.get("HOME", "/nonexistent")}


@functools.cache
def find(version: str) -> Interpreter:
    """The interpreter of a version such as `3.11`; "" is the one that runs pawl. Raises SandboxUnavailable.

    Looked for in this order: pawl's own, pyenv's, uv's, the PATH.
    """
    if not version or version == _OWN:
        base = Path(sys.base_prefix, "bin", f"python{_OWN}")
        return Interpreter(base.resolve() if base.exists() else Path(sys.executable).resolve(), _OWN)
    if not re.fullmatch(r"3\.\d+", version):
        raise SandboxUnavailable(f"{version!r} is no version of Python", "write it as in 3.11")
    home = Path(os.environ.get("HOME", "/nonexistent"))
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or home / ".local" / "share" / "uv" / "python")
    places = [*sorted(pyenv.glob(f"{version}.*")), *sorted(uv.glob(f"cpython-{version}.*"))]
    candidates = [place / "bin" / f"python{version}" for place in places]
    if found := programs.find(f"python{version}"):
        candidates.append(Path(found))
    for program in candidates:
        if (answer := _ask(program)) and answer.version == version:
            return answer
    raise SandboxUnavailable(
        f"no Python {version} is on this machine", f"install it, for example: uv python install {version}"
    )


def _ask(program: Path) -> Interpreter | None:
    try:
        done = subprocess.run(
            [program, "-I", "-c", _ASK],
            cwd="/",
            env=programs.environment(),
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    where, version = done.stdout.split("\n")[:2]
    return Interpreter(Path(where), version)
