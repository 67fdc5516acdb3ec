"""The source files that a failure may point at, read through the sandbox."""

from __future__ import annotations

from sandbox.base import FileError, Sandbox
from tools.syntax import language_of

MAX_FILES = 2000
MAX_FILE_BYTES = 400_000


async def read_sources(sandbox: Sandbox) -> dict[str, bytes]:
    """Path -> content of the workspace's source files in a language that `tools.syntax` knows; bounded."""
    sources: dict[str, bytes] = {}
    for entry in await sandbox.list(depth=-1, limit=100_000):
        if len(sources) >= MAX_FILES:
            break
        if entry.kind != "file" or entry.size > MAX_FILE_BYTES or language_of(entry.path) is None:
            continue
        if any(part.startswith(".") or part in ("node_modules", "venv") for part in entry.path.split("/")):
            continue
        try:
            sources[entry.path] = (await sandbox.read(entry.path)).data
        except FileError:
            continue
    return sources
