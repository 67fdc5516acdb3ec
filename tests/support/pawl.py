"""The `pawl` command as a person calls it: a process of its own, in a folder, with its output."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAWL = str(Path(sys.executable).with_name("pawl"))


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        """The one `result` of the JSON formats: the last line of stdout."""
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        assert found["type"] == "result"
        return found


@asynccontextmanager
async def started(
    *args: str, cwd: Path, stdin: int = asyncio.subprocess.DEVNULL, **env: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A running pawl without a terminal; killed at the end if it is still there."""
    process = await asyncio.create_subprocess_exec(
        PAWL,
        *args,
        cwd=cwd,
        env={**os.environ, **env},
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run_pawl(*args: str, cwd: Path, timeout_s: float = 60.0, **env: str) -> Done:
    """Run pawl to its end. A patch on its output may hold bytes that are not UTF-8."""
    async with asyncio.timeout(timeout_s), started(*args, cwd=cwd, **env) as process:
        out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


def identity(tree: Path) -> dict[str, tuple[object, ...]]:
    """Everything of a tree that a person could miss: contents, modes, times of change, links, `.git` too."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [tree, *sorted(tree.rglob("*"))]:
        info = path.lstat()
        if stat.S_ISREG(info.st_mode):
            content: object = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            content = str(path.readlink()) if path.is_symlink() else None
        found[str(path.relative_to(tree))] = (info.st_mode, info.st_mtime_ns, info.st_ctime_ns, content)
    return found
