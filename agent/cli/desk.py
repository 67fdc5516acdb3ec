"""The life of one headless command: its session, its workspace, its limits, its one result.

    code = run_headless(options, "fix", body)

`body(desk)` does the work and returns an Outcome. Whatever happens, only `finish` changes the user's tree,
forks and containers are gone at the end, and exactly one result is shown.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from rich.console import Console

from agent import __version__
from agent.bus import Branch, Bus
from agent.cli.finish import finish, result_of, say
from agent.cli.jsonout import JsonStream
from agent.cli.options import Options
from agent.cli.render import Renderer
from agent.cli.resume import chosen, opened, with_its_model
from agent.events import Finished, NetworkDecided, Noted, PatchApplied, PhaseStarted
from agent.guards import Budget
from agent.models.base import ModelError, ModelQuota
from agent.paths import state_dir
from agent.result import Cause, Result
from agent.resume import leaf, what_is_new
from agent.session import SessionError, SessionLog
from agent.setup import set_up
from agent.solve.fix import Outcome
from agent.workbench import Workbench
from sandbox import rejected
from sandbox.accept import Accepted
from sandbox.base import Limits, Outlet, SandboxError
from sandbox.choose_image import Chosen, choose_image
from sandbox.freeze import Intake
from sandbox.naming import a_few
from sandbox.network import parse_rules
from sandbox.open import Choice, choose, owner, sees_mounts
from sandbox.patch import Patch
from sandbox.proxy import Decision, Proxy
from sandbox.remedy import for_state
from sandbox.workspace import Workspace


class Desk:
    """What a command works with."""

    def __init__(
        self, options: Options, log: SessionLog, console: Console, stream: JsonStream | None
    ) -> None:
        self.options = options
        self.log = log
        self.console = console
        self.stream = stream
        self.renderer = Renderer(console, options.verbosity)
        bus = Bus(log, [self.renderer, *([stream] if stream else [])])
        self.budget = Budget(bus, tokens=options.settings.max_tokens, cost_usd=options.settings.max_cost)
        self.branch: Branch = bus.branch(leaf(log))
        self.begun = len(log.records)
        """So many events are from before this invocation."""
        self.workspace: Workspace | None = None
        self.bench: Workbench | None = None
        self.proxy: Proxy | None = None
        self.applied: list[str] = []
        """Paths of the user's tree that were changed with the person's consent."""
        self._choice: Choice | None = None
        self._image = Chosen(None, "host")
        self._outlet: Outlet | None = None

    def note(self, text: str) -> None:
        self.branch.emit(Noted("info", text))

    async def open_bench(self, environ: Mapping[str, str] = os.environ) -> Workbench:
        """Choose the sandbox, freeze the tree and give the place where candidates are made.

        `environ` is where the tools that the sandbox shows are looked up. Called again, with all candidates
        closed, it follows what the person has done to the tree since.
        """
        settings = self.options.settings
        if self._choice is None:
            self._choice = await choose(settings.sandbox)
            self.note(self._choice.reason)
            if allowed := parse_rules(settings.network).texts():
                self.note(f"the sandbox may reach {', '.join(allowed)}")
            self._image = await choose_image(self.options.cwd, self._choice.backend, settings.image)
            for note in self._image.notes:
                self.note(note)
            swept = await Workspace.sweep(state_dir() / "workspaces")
            for note in swept.told:
                self.note(note)
            for warning in swept.stuck:
                self.branch.emit(Noted("warning", warning))
            await asyncio.to_thread(rejected.sweep, state_dir())
            self.branch.emit(PhaseStarted("freeze", str(self.options.cwd)))
        choice, state = self._choice, state_dir()
        if self.bench is not None:
            await self.bench.aclose()
        if self.workspace is None:
            self.workspace = await Workspace.open(
                self.options.cwd,
                state / "workspaces" / self.log.header.id,
                owner=owner(choice.backend),
                intake=Intake(by=settings.copy),
                overlay=sees_mounts(choice.backend),
                on_note=self.note,
            )
            if self.begun:
                self.branch.emit(await what_is_new(self.log, self.branch.records(), self.workspace))
        else:
            await self.workspace.refresh()
        self.bench = Workbench(
            self.workspace,
            choice.backend,
            session=self.log.header.id,
            state=state,
            image=self._image.image,
            image_env=self._image.env,
            runtime=settings.runtime,
            limits=Limits(timeout_s=min(Limits().timeout_s, settings.timeout)),
            outlet=await self._open_network(),
            environ=environ,
        )
        if settings.setup:
            await set_up(
                self.bench, self.branch, settings.setup, settings.setup_network, timeout_s=settings.timeout
            )
        return self.bench

    async def _open_network(self) -> Outlet | None:
        """Start the proxy when the person allowed something; every decision of it is in the session."""
        rules = parse_rules(self.options.settings.network)
        if rules.empty or self._outlet is not None:
            return self._outlet

        def keep(made: Decision) -> None:
            self.branch.emit(NetworkDecided(made.host, made.port, made.allowed, made.reason))

        self.proxy = Proxy(rules, keep)
        self._outlet = await self.proxy.open()
        return self._outlet

    async def accept(self, patch: Patch) -> Accepted:
        """Apply a patch to the user's tree; not cut off once begun, so that what is said of it is true."""
        assert self.workspace is not None
        accepting = asyncio.ensure_future(self.workspace.accept(patch))
        try:
            accepted = await asyncio.shield(accepting)
        except asyncio.CancelledError:
            accepted = await accepting
        self.applied += accepted.paths
        self.branch.emit(PatchApplied(accepted.paths))
        return accepted

    async def aclose(self) -> None:
        """Remove the workspace's copies and end the proxy. Idempotent."""
        if self.bench is not None:
            await self.bench.aclose()
            self.bench = None
        if self.proxy is not None:
            await self.proxy.aclose()
            self.proxy = self._outlet = None
        if self.workspace is not None:
            await self.workspace.aclose()
            self.workspace = None


Body = Callable[[Desk], Awaitable[Outcome]]


def run_headless(options: Options, command: str, body: Body, *, wall: bool = True) -> int:
    """Run `body` to its one result and return the exit code. `wall` false: its time is not limited."""
    with asyncio.Runner() as runner:
        return runner.run(_run(options, command, body, options.settings.timeout if wall else None))


async def _run(options: Options, command: str, body: Body, timeout_s: float | None) -> int:
    path = await chosen(options)
    _stop_on_signals()
    stream = JsonStream(sys.stdout.buffer) if options.output_format == "stream-json" else None
    try:
        log = opened(options, command, path)
    except (SessionError, OSError) as error:
        if path is not None:
            return _without_session(options, f"the session cannot be gone on with: {error}")
        return _without_session(options, f"the session cannot be kept: {error}; {for_state(state_dir())}")
    options = with_its_model(options, log)
    with log:
        if stream:
            stream.init(log.header.id, command, str(options.cwd), __version__)
        desk = Desk(options, log, Console(stderr=True), stream)
        try:
            result = await _settled(desk, body, timeout_s)
        except Exception as defect:
            # the one result comes in any case; then the defect of pawl shows its trace
            result = result_of(desk, Outcome("error", f"{type(defect).__name__}: {defect}"), None, 0.0)
            _show(desk, result)
            raise
        finally:
            _ignore_signals()
            await desk.aclose()
        return _show(desk, result)


async def _settled(desk: Desk, body: Body, timeout_s: float | None) -> Result:
    """Run `body` and settle what becomes of its outcome; an interrupt and a full disk have a result too."""
    started = time.monotonic()

    def seconds() -> float:
        return time.monotonic() - started

    try:
        outcome, code = await _bounded(desk, body, timeout_s)
        desk.renderer.close()
        return await finish(desk, outcome, code, seconds)
    except asyncio.CancelledError:
        done = f"these were applied: {a_few(desk.applied)}" if desk.applied else "nothing was changed"
        outcome = Outcome("interrupted", f"Interrupted; {done}.")
    except (SessionError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        outcome = Outcome("error", str(error), cause="disk")
    desk.renderer.close()
    say(desk, outcome)
    return result_of(desk, outcome, None, seconds())


async def _bounded(desk: Desk, body: Body, seconds: float | None) -> tuple[Outcome, int | None]:
    """The outcome of `body` within the wall time; errors of the model and the sandbox become outcomes."""
    try:
        async with asyncio.timeout(seconds) as wall:
            return await body(desk), None
    except TimeoutError:
        if not wall.expired():
            raise
        return Outcome("limit", f"The time limit of {seconds:g} s was reached; nothing was changed."), None
    except ModelError as error:
        cause: Cause = "quota" if isinstance(error, ModelQuota) else "model"
        return Outcome("error", str(error), cause=cause), error.exit_code
    except SandboxError as error:
        remedy = getattr(error, "remedy", "")
        return Outcome("error", f"{error}\n{remedy}".strip(), cause="sandbox"), None


def _show(desk: Desk, result: Result) -> int:
    with suppress(SessionError):  # a full disk: the result itself can still be shown
        desk.branch.emit(Finished(result.as_dict()))
    if desk.options.output_format != "text":
        JsonStream(sys.stdout.buffer).result(result)
    return result.exit_code


def _without_session(options: Options, text: str) -> int:
    """The end of a run that could not begin."""
    result = Result(subtype="error", exit_code=1, session_id="", text=text)
    if options.output_format == "text":
        print(f"pawl: {text}", file=sys.stderr)
    else:
        JsonStream(sys.stdout.buffer).result(result)
    return result.exit_code


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _stop_on_signals() -> None:
    """Ctrl-C, SIGTERM and a closed terminal end a run cleanly, with a result; only the first one counts."""
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        if not task.cancelling():
            task.cancel()

    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop)


def _ignore_signals() -> None:
    """What is left to do is short, and has to be done in any case."""
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, lambda: None)
