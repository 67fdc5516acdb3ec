"""The reference of a task as a patch, where the dataset has it as a script."""

from __future__ import annotations

import asyncio
from pathlib import Path

from evals.lab import open_lab
from evals.types import Instance
from sandbox.base import BackendName, Mount, SandboxError
from tools.output import readable


async def reference(instance: Instance, *, cache: Path, backend: BackendName) -> str:
    """The patch that solves the task; `solution/solve.sh` is run for it where there is one.

    Raises SandboxError when there is neither, and when the script fails.
    """
    if instance.reference or not instance.solution:
        if not instance.reference:
            raise SandboxError(f"{instance.id} has no reference")
        return instance.reference
    shown = (Mount(instance.solution, "/solution"),)
    async with open_lab(instance, cache, backend, mounts=shown) as lab:
        done = await lab.sandbox.run(("bash", "/solution/solve.sh"))
        if not done.ok:
            raise SandboxError(f"the solution of {instance.id} fails: {readable(done.output).strip()[-500:]}")
        return await asyncio.to_thread(lab.diff)
