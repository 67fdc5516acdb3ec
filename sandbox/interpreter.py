"""pawl's own interpreter, so that it runs in an image that has no Python and not even a C library.

Its program, its standard library and the folders of the libraries that it loads are shown read-only below
/.pawl, and it is started through the host's own dynamic loader: nothing of the image takes part.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import msgspec

from sandbox.base import Mount

PLACE = "/.pawl"
NOTHING = str(Path(__file__).with_name("__init__.py"))
"""An empty file, shown in the place of one that must not be read."""
_LOADER = re.compile(r"ld(?:-linux|-musl|64|-\d)[\w.-]*\.so[\d.]*|ld\.so(?:\.\d+)*")
_PRELOAD = "/etc/ld.so.preload"
"""What the loader would load into every program, the agent too, if the image's own were read."""
_ASK = """
import ctypes, fcntl, hashlib, json, resource, selectors, struct, sys
with open("/proc/self/maps") as maps: files = {line.split(None, 5)[-1].strip() for line in maps}
print(json.dumps([file for file in files if file.startswith("/")]))
"""
"""Loads every library that the agent's imports need, then says which files these are."""


class Interpreter(msgspec.Struct, frozen=True):
    """How to start it (to be followed by its flags), and what must be shown for that."""

    command: tuple[str, ...]
    mounts: tuple[Mount, ...]


@functools.cache
def own() -> Interpreter | None:
    """The interpreter that runs pawl; None where it cannot be moved (no Linux, an unusual make)."""
    program = Path(os.path.realpath(sys.executable))
    base, library = Path(sys.base_prefix).resolve(), Path(sysconfig.get_path("stdlib")).resolve()
    if sys.platform != "linux" or not library.is_relative_to(base) or not program.is_relative_to(base):
        return None
    try:
        done = subprocess.run(
            [program, "-I", "-S", "-B", "-c", _ASK],
            cwd="/",
            env={},
            capture_output=True,
            timeout=10,
            check=True,
        )
        loaded = [Path(path) for path in msgspec.json.decode(done.stdout, type=list[str])]
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError):
        return None
    folders = {
        path.parent: None for path in loaded if ".so" in path.name and not path.is_relative_to(library)
    }
    shown = {folder: f"{PLACE}/lib/{number}" for number, folder in enumerate(folders)}
    python = f"{PLACE}/python/{program.relative_to(base)}"
    mounts = (
        Mount(NOTHING, _PRELOAD),
        Mount(str(program), python),
        Mount(str(library), f"{PLACE}/python/{library.relative_to(base)}"),
        *(Mount(str(folder), target) for folder, target in shown.items()),
    )
    loader = next((path for path in loaded if _LOADER.fullmatch(path.name)), None)
    if loader is None:
        return Interpreter((python,), mounts)
    start = (f"{shown[loader.parent]}/{loader.name}", "--library-path", ":".join(shown.values()), python)
    return Interpreter(start, mounts)
