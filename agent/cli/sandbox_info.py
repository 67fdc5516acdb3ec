"""What `pawl sandbox info` gathers and shows."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agent.cli.render import visible
from agent.config import Settings
from agent.paths import state_dir
from sandbox.base import BackendName, Limits, Mount
from sandbox.choose_image import Chosen, choose_image
from sandbox.facts import host_facts, network_mount
from sandbox.freeze import Intake
from sandbox.image import toolchain
from sandbox.kept import is_kept
from sandbox.open import choose, load, sees_mounts
from sandbox.overlay import kind_of_forks
from sandbox.pool import MOST
from sandbox.selfcheck import THEMES, Report, Result, examine
from sandbox.setup import look_for_files, plan, runs_on

_CAPS = {
    "network": "no network",
    "read_scope": "the host's files are out of sight",
    "processes": "the host's processes are out of reach",
    "kernel": "dangerous system calls are refused",
    "pids": "number of processes",
    "memory": "memory",
    "tmp": "size of /tmp",
}
"""Field of Caps -> what it means to a person."""


class Inside(msgspec.Struct, frozen=True):
    """What is seen inside."""

    root: str
    path: str
    python: str
    """What `python3` is inside; of an image it is not known."""
    mounts: tuple[Mount, ...]


class SetUp(msgspec.Struct, frozen=True):
    """The set-up of this project, as the settings have it."""

    command: str
    network: tuple[str, ...]
    """What it may reach."""
    kept: bool
    """True when what it made is there, and nothing it depends on has changed."""


class Facts(msgspec.Struct, frozen=True):
    backend: BackendName
    reason: str
    versions: dict[str, str]
    inside: Inside
    limits: Limits
    network: str
    runtime: str | None
    image: str | None
    setup: SetUp | None = None
    notes: tuple[str, ...] = ()
    check: Report | None = None


async def gather(settings: Settings, cwd: Path, *, check: bool) -> Facts:
    """All facts; with `check` those that the self-check measures. Raises SandboxUnavailable."""
    choice = await choose(settings.sandbox)
    chosen = await choose_image(cwd, choice.backend, settings.image)
    image, kind = chosen.image, network_mount(cwd)
    tools = await asyncio.to_thread(toolchain, cwd, dict(os.environ))
    asked = asyncio.create_task(load(choice.backend).facts())  # the daemon answers while the checks run
    report = None
    if check:
        report = await examine(
            choice.backend, project=cwd, image=image, runtime=settings.runtime, environ=os.environ
        )
    versions = host_facts() | await asked
    versions["forks"] = await asyncio.to_thread(_forks, choice.backend)
    notes = (f"{cwd} is on a network mount ({kind}): copying it is slow",) if kind else ()
    shown = image is None and choice.backend != "local"
    return Facts(
        backend=choice.backend,
        reason=choice.reason,
        versions=versions,
        inside=Inside(
            root=str(cwd),
            path=tools.path if image is None else "",
            python=_python(tools.path) if image is None else "",
            mounts=tools.mounts if shown else (),
        ),
        limits=Limits(),
        network=settings.network if choice.backend != "local" else "of the host",
        runtime=settings.runtime,
        image=image,
        setup=await _set_up(settings, cwd, choice.backend, chosen),
        notes=(*chosen.notes, *notes),
        check=report,
    )


def _forks(backend: BackendName) -> str:
    if not sees_mounts(backend):
        return "copies (it does not see what pawl mounts)"
    return kind_of_forks(state_dir())


async def _set_up(settings: Settings, cwd: Path, backend: BackendName, chosen: Chosen) -> SetUp | None:
    if not settings.setup:
        return None
    on = await runs_on(backend, cwd, image=chosen.image, image_env=chosen.env, environ=os.environ)
    files = await asyncio.to_thread(look_for_files, cwd, Intake(by=settings.copy), state_dir())
    wanted = await plan(
        cwd,
        files,
        project=cwd,
        command=settings.setup,
        network=settings.setup_network,
        on=on,
        state=state_dir(),
    )
    return SetUp(wanted.command, wanted.rules.texts(), is_kept(wanted.place))


def _python(path: str) -> str:
    """The first `python3` on a PATH; a virtual environment of the project counts as it is."""
    there = (Path(folder, "python3") for folder in path.split(":"))
    return next((str(python) for python in there if os.access(python, os.X_OK)), "")


# --- shown -------------------------------------------------------------------------------------------------


def show(facts: Facts) -> None:
    """Print all of it, and a table of what the self-check found."""
    rows = {"sandbox": facts.backend, "why": facts.reason, **facts.versions}
    if facts.runtime:
        rows["runtime"] = facts.runtime
    rows |= {"workspace": facts.inside.root, "network": facts.network}
    if facts.setup:
        state = "its result is kept" if facts.setup.kept else "it runs before the next session"
        reach = ", ".join(facts.setup.network) or "nothing"
        rows |= {"set-up": f"{facts.setup.command} ({state})", "set-up network": reach}
    if facts.image:
        rows["image"] = facts.image
    else:
        rows |= {"python": facts.inside.python, "PATH": facts.inside.path}
    rows["read-only"] = ", ".join(mount.target for mount in facts.inside.mounts) or "-"
    rows["limits"] = _limits(facts.limits)
    wide = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{wide}}  {visible(value)}")
    for note in facts.notes:
        print(f"note: {visible(note)}")
    if facts.check is not None:
        _show_check(facts.check)


def _limits(limits: Limits) -> str:
    gb = 1024**3
    return (
        f"{limits.timeout_s:g} s a command, {limits.memory_bytes / gb:g} GB memory, {limits.pids} processes,"
        f" {limits.cpus:g} CPUs, {limits.tmp_bytes / gb:g} GB /tmp, {limits.open_files} open files,"
        f" {limits.workspace_bytes / gb:g} GB workspace, {limits.stream_bytes // 1024**2} MB output,"
        f" {limits.jobs} background jobs, {limits.host_free_bytes / gb:g} GB stay free;"
        f" {MOST} sandboxes at once"
    )


def _show_check(report: Report) -> None:
    table = Table("theme", "passed", "failed", "not enforced", title="Self-check", title_justify="left")
    for theme in THEMES:
        mine = [result for result in report.results if result.theme == theme]
        counts = [_count(mine, outcome) for outcome in ("passed", "failed", "not enforced")]
        table.add_row(theme, counts[0], f"[red]{counts[1]}[/]" if counts[1] != "0" else "0", counts[2])
    console = Console()
    console.print(table)
    for result in report.failed:
        console.print(
            f"[red]failed[/] {result.theme}: {result.title}: {escape(visible(result.reason))}",
            highlight=False,
        )
    for field, meaning in _CAPS.items():
        holds = getattr(report.caps, field)
        console.print(f"{'[green]enforced[/]    ' if holds else '[yellow]not enforced[/]'}  {meaning}")
    console.print(f"{len(report.results)} checks in {report.seconds:.1f} s", highlight=False)


def _count(results: list[Result], outcome: str) -> str:
    return str(sum(result.outcome == outcome for result in results))
