"""A person's shell in a fresh fork of the tree: their terminal is passed through, the tree is not touched."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.cli.render import visible
from agent.config import Settings
from agent.paths import state_dir
from agent.setup import planned
from agent.workbench import Workbench
from sandbox.base import Keys, Limits, Sandbox, SandboxError, Size
from sandbox.choose_image import choose_image
from sandbox.freeze import Intake
from sandbox.kept import use
from sandbox.network import parse_rules
from sandbox.open import choose, owner, sees_mounts
from sandbox.patch import Patch
from sandbox.proxy import Decision, Proxy
from sandbox.rejected import KEPT_DAYS, keep
from sandbox.remedy import for_state
from sandbox.workspace import Workspace

_SHELL = ("/bin/sh", "-c", 'command -v bash >/dev/null && exec bash -i; exec "$0" -i')
_BLOCK = 64 * 1024
_END_OF_FILE = b"\x04"
_INTERRUPTED = 130
_USUAL_SIZE = Size(24, 80)


def run_shell(settings: Settings, cwd: Path, command: Sequence[str]) -> int:
    """Run `command`, or a shell, until it ends; returns its exit code. Raises SandboxError."""
    with asyncio.Runner() as runner:
        return runner.run(_shell(settings, cwd, command))


async def _shell(settings: Settings, cwd: Path, command: Sequence[str]) -> int:
    choice = await choose(settings.sandbox)
    state, session = state_dir(), f"shell-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    _say(f"{choice.reason}; this is a copy of {cwd}")
    chosen = await choose_image(cwd, choice.backend, settings.image)
    for note in chosen.notes:
        _say(note)
    try:
        workspace = await Workspace.open(
            cwd,
            state / "workspaces" / session,
            owner=owner(choice.backend),
            intake=Intake(by=settings.copy),
            overlay=sees_mounts(choice.backend),
            on_note=_say,
        )
    except SandboxError as error:
        if isinstance(error.__cause__, OSError) and not os.access(_existing(state), os.W_OK):
            raise SandboxError(f"{error}; {for_state(state)}") from error
        raise
    proxy = _proxy(settings)
    try:
        bench = Workbench(
            workspace,
            choice.backend,
            session=session,
            state=state,
            image=chosen.image,
            image_env=chosen.env,
            runtime=settings.runtime,
            limits=Limits(),
            outlet=await proxy.open() if proxy else None,
        )
        if settings.setup:
            await _set_up(bench, settings.setup, settings.setup_network)
        async with bench.candidate() as (fork, sandbox):
            code = await _relay(sandbox, command)
            patch = await fork.diff()
    finally:
        if proxy:
            await proxy.aclose()
        await workspace.aclose()
    _say(_summary(patch, cwd, state / "shells", session))
    return code


async def _set_up(bench: Workbench, command: str, network: str | None) -> None:
    """Show what the set-up made; it is not run here, where no session would keep what it does."""
    place = (await planned(bench, command, network)).place
    try:
        kept = await asyncio.to_thread(use, place)
    except BlockingIOError:  # a pawl is making it
        kept = None
    if kept is None:
        _say(f"the set-up `{command}` has not run for this tree as it is; `pawl fix` and `pawl chat` run it")
    else:
        await bench.workspace.adopt(kept)


def _proxy(settings: Settings) -> Proxy | None:
    """The way to what the person allowed of the network; each decision is shown as it is made."""
    rules = parse_rules(settings.network)
    if rules.empty:
        return None
    _say(f"the sandbox may reach {', '.join(rules.texts())}")
    return Proxy(rules, _show)


def _show(made: Decision) -> None:
    place = f"{made.host}:{made.port}" if made.port else made.host
    how = "" if made.allowed else "refused: "
    # the terminal is raw: a line of its own needs both of its ends
    print(f"\r\npawl: network: {visible(place)}: {how}{visible(made.reason)}\r", file=sys.stderr)


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


def _say(text: str) -> None:
    print(f"pawl: {visible(text)}", file=sys.stderr)


def _summary(patch: Patch, cwd: Path, folder: Path, session: str) -> str:
    """What was changed in the fork; the patch is kept in `folder` when there is one."""
    if not patch.changes:
        return f"nothing was changed; {cwd} was not touched"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept = keep(folder, session, patch)
    count = len(patch.changes)
    return (
        f"{count} file{'s' if count > 1 else ''} changed in the copy; {cwd} was not touched.\n"
        f"      The patch is kept for {KEPT_DAYS} days: {kept}"
    )


# --- the person's terminal ---------------------------------------------------------------------------------


async def _relay(sandbox: Sandbox, command: Sequence[str]) -> int:
    """Pass bytes both ways until the command ends. A signal to pawl itself ends it, with exit code 130."""
    loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()
    events: asyncio.Queue[bytes | Size] = asyncio.Queue()
    env = {name: os.environ[name] for name in ("TERM", "COLORTERM") if name in os.environ}
    env["PS1"] = r"[sandbox] \w \$ "
    task = asyncio.ensure_future(
        sandbox.terminal(command or _SHELL, size=_size(), keys=_keys(events), on_output=_write, env=env)
    )
    handlers = dict.fromkeys((signal.SIGTERM, signal.SIGHUP, signal.SIGINT), task.cancel)
    with _raw(stdin), _reading(stdin, events):
        loop.add_signal_handler(signal.SIGWINCH, lambda: events.put_nowait(_size()))
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            return await task
        except asyncio.CancelledError:
            return _INTERRUPTED
        finally:
            for number in (signal.SIGWINCH, *handlers):
                loop.remove_signal_handler(number)


async def _keys(events: asyncio.Queue[bytes | Size]) -> Keys:
    while True:
        yield await events.get()


@contextlib.contextmanager
def _reading(stdin: int, events: asyncio.Queue[bytes | Size]) -> Iterator[None]:
    """Put what comes on stdin into the queue; its end is typed as Ctrl-D."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        data = os.read(stdin, _BLOCK)
        events.put_nowait(data or _END_OF_FILE)
        if not data:
            loop.remove_reader(stdin)

    try:
        loop.add_reader(stdin, read)
    except PermissionError:  # a plain file, which cannot be waited for and need not be
        events.put_nowait(sys.stdin.buffer.read() + _END_OF_FILE)
    try:
        yield
    finally:
        loop.remove_reader(stdin)


@contextlib.contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Every key goes through as it is, Ctrl-C too; afterwards the terminal is as before."""
    if not os.isatty(terminal):
        yield
        return
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _size() -> Size:
    """Of the window now; $COLUMNS would still say how it was."""
    try:
        columns, rows = os.get_terminal_size(sys.stdin.fileno())
    except OSError:
        return _USUAL_SIZE
    return Size(rows, columns)


def _write(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(sys.stdout.fileno(), rest) :]
