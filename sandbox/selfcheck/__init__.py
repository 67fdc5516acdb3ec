"""The self-check: what a sandbox promises, tried on this machine.

Each file beside `check.py` is a theme; each function `check_...` in it is a check, its docstring the title.
The conformance suite runs every one on every backend, `pawl sandbox info --check` on the person's machine.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from sandbox.base import BackendName, Caps, Sandbox, SandboxSpec
from sandbox.open import open_sandbox, owner
from sandbox.selfcheck.check import LIMITS, CheckFailed, Function, is_alone, needed_by
from sandbox.tree import remove_path

THEMES = ("files", "run", "output", "processes", "network", "host", "limits")
ISOLATION = ("network", "read_scope", "processes", "kernel")
"""Fields of Caps without which a sandbox is none; the others bound what a command may use up."""

_AT_ONCE = 10
_PATIENCE_S = 10.0

Outcome = Literal["passed", "failed", "not enforced"]


class Check(msgspec.Struct, frozen=True):
    name: str
    theme: str
    title: str
    needs: str
    """The field of Caps without which it is not made, or an empty string."""
    alone: bool
    function: Function


class Result(msgspec.Struct, frozen=True):
    """What came out of one check."""

    name: str
    theme: str
    title: str
    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0


class Report(msgspec.Struct, frozen=True):
    """The self-check of one backend."""

    caps: Caps
    """As measured: true only where the backend promises it and every check of it passed."""
    results: tuple[Result, ...]
    seconds: float

    @property
    def failed(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.outcome == "failed")

    @property
    def holds(self) -> bool:
        """True when no check failed and what makes it a sandbox is enforced."""
        return not self.failed and all(getattr(self.caps, field) for field in ISOLATION)


def checks() -> list[Check]:
    """All checks, by theme."""
    found = []
    for theme in THEMES:
        module = importlib.import_module(f"{__name__}.{theme}")
        for name, function in vars(module).items():
            if name.startswith("check_"):
                title = (function.__doc__ or "").strip()
                name = name.removeprefix("check_")
                found.append(Check(name, theme, title, needed_by(function), is_alone(function), function))
    return found


async def try_one(check: Check, sandbox: Sandbox) -> Result:
    """Make one check; whatever goes wrong in it makes it fail."""
    began = time.monotonic()
    outcome, reason = "passed", ""
    if check.needs and not getattr(sandbox.caps, check.needs):
        outcome = "not enforced"
    else:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await check.function(sandbox)
        except CheckFailed as failure:
            outcome, reason = "failed", str(failure)
        except TimeoutError:
            outcome, reason = "failed", f"it did not end within {_PATIENCE_S:g} s"
        except Exception as error:
            outcome, reason = "failed", f"{type(error).__name__}: {error}"
    seconds = round(time.monotonic() - began, 4)
    return Result(check.name, check.theme, check.title, outcome, reason, seconds)  # type: ignore[arg-type]


async def try_all(sandbox: Sandbox) -> tuple[Result, ...]:
    """Make all checks, some at once, those that must be alone at the end. Results as `checks` is ordered."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def in_turn(check: Check) -> Result:
        async with turns:
            return await try_one(check, sandbox)

    every = checks()
    # those on processes mostly wait: they go first, and the others fill their pauses
    first = sorted(
        (check for check in every if not check.alone), key=lambda check: check.theme != "processes"
    )
    together = await asyncio.gather(*map(in_turn, first))
    found = {(result.theme, result.name): result for result in together}
    for check in every:
        if check.alone:
            found[check.theme, check.name] = await try_one(check, sandbox)
    return tuple(found[check.theme, check.name] for check in every)


def measured(promised: Caps, results: Iterable[Result]) -> Caps:
    """The promises that were kept."""
    needs = {(check.theme, check.name): check.needs for check in checks()}
    broken = {needs[result.theme, result.name] for result in results if result.outcome == "failed"}
    return msgspec.structs.replace(promised, **dict.fromkeys(broken - {""}, False))


async def examine(
    backend: BackendName,
    *,
    project: Path,
    image: str | None = None,
    runtime: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Report:
    """Open a sandbox on an empty tree of its own, make all checks in it, and leave nothing behind.

    `project` is where the toolchain is looked for. Raises SandboxUnavailable.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pawl-check-") as name:
        tree = await asyncio.to_thread(_new_tree, Path(name), owner(backend))
        spec = SandboxSpec(
            tree=tree, root=str(tree), session="check", limits=LIMITS, image=image, runtime=runtime
        )
        sandbox = await open_sandbox(
            spec, backend, state=Path(name, "state"), project=project, environ=environ
        )
        try:
            results = await try_all(sandbox)
        finally:
            await sandbox.aclose()
        await asyncio.to_thread(remove_path, tree)
    return Report(measured(sandbox.caps, results), results, round(time.monotonic() - began, 2))


def _new_tree(folder: Path, user: tuple[int, int]) -> Path:
    """An empty folder that the sandbox's user can reach and write in."""
    folder.chmod(0o711)
    tree = folder / "tree"
    tree.mkdir()
    os.chown(tree, *user)
    return tree
