"""The set-up phase of a session: run the person's command or take what it made before, and say which.

Everything that the command reached for and printed is in the session. A failed set-up raises SetupFailed.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from agent.bus import Branch
from agent.events import NetworkDecided, Noted, OutputStreamed, PhaseStarted, SetupRan
from agent.workbench import Workbench
from sandbox.base import ExecResult, Limits, Outlet, SandboxSpec
from sandbox.harvest import ENVIRONMENTS
from sandbox.kept import Made
from sandbox.naming import MOST, a_few
from sandbox.network import authority
from sandbox.open import open_sandbox
from sandbox.proxy import Decision, Proxy
from sandbox.registries import ONLINE, homes, suggestion
from sandbox.setup import SETUP_S, SetupFailed, Wanted, obtain, plan, runs_on, shown, trusted
from sandbox.workspace import Fork
from tools.output import readable

_MISSING = re.compile(r"(?:No module named|Cannot find module) '?([\w@][\w.@/-]*)")
_TAIL_LINES = 15
_LINE_CHARACTERS = 300


async def set_up(
    bench: Workbench, branch: Branch, command: str, network: str | None, *, timeout_s: float = SETUP_S
) -> None:
    """Make what `command` installs part of the workspace, of which there is no fork yet.

    `network` is what it may reach as the person wrote it, None for its registries.
    """
    wanted = await planned(bench, command, network)
    phase = _Phase(bench, branch, wanted, min(timeout_s, SETUP_S))

    def waits() -> None:
        branch.emit(Noted("info", "another pawl runs this set-up; waiting for what it makes"))

    kept = await obtain(bench.workspace, wanted, phase.run, on_wait=waits)
    names = [path for path in bench.workspace.frozen[1] if "/" not in path]
    await bench.workspace.adopt(kept)
    if phase.ran:
        for note in _notes(kept.made, names):
            branch.emit(note)
        return
    if not any(isinstance(record.event, SetupRan) for record in branch.bus.log.records):
        text = "the set-up is not run again: nothing that it depends on has changed"
        branch.emit(Noted("info", text))
    branch.emit(SetupRan(command, wanted.rules.texts(), reused=True))


async def planned(bench: Workbench, command: str, network: str | None) -> Wanted:
    """The set-up of a bench's workspace as it is frozen now; `network` as for `set_up`."""
    workspace = bench.workspace
    tree, files = workspace.frozen
    on = await runs_on(
        bench.backend,
        workspace.tree,
        image=bench.image,
        image_env=bench.image_env,
        environ=bench.environ,
    )
    return await plan(
        tree, files, project=workspace.tree, command=command, network=network, on=on, state=bench.state
    )


def setup_hint(output: str, tree: Path) -> str:
    """What to say when a check fails for want of a module that the project's manifests may name; else "".

    Nothing is said where dependencies are installed, or the module is of the project itself.
    """
    missing = _MISSING.search(output)
    if missing is None or any((tree / name).exists() for name in (*ENVIRONMENTS, "node_modules")):
        return ""
    name = missing[1].partition(".")[0]
    own = any((tree / folder / file).exists() for folder in (".", "src") for file in (name, f"{name}.py"))
    if own or not (option := suggestion(path.name for path in tree.iterdir())):
        return ""
    return f"{missing[1]} is not installed; `{option}` would install it before the run, from registries alone"


class _Phase:
    """One run of the command."""

    def __init__(self, bench: Workbench, branch: Branch, wanted: Wanted, timeout_s: float) -> None:
        self.ran = False
        self._bench = bench
        self._branch = branch
        self._wanted = wanted
        self._timeout_s = timeout_s
        self._refused: dict[str, str] = {}
        """What no rule allows -> what to write; what a rule allows, and its address does not -> nothing."""

    async def run(self, fork: Fork) -> None:
        """Run it in a sandbox of its own, which is gone at the end with all that it started."""
        self.ran = True
        rules = self._wanted.rules
        self._branch.emit(PhaseStarted("setup", self._wanted.command))
        reach = ", ".join(rules.texts()) or "nothing; --setup-network HOST,... allows it what it needs"
        self._branch.emit(Noted("info", f"the set-up may reach {reach}"))
        if rules.empty:
            await self._run(fork, None)
            return
        proxy = Proxy(rules, self._keep)
        try:
            await self._run(fork, await proxy.open())
        finally:
            await proxy.aclose()

    def _keep(self, made: Decision) -> None:
        self._branch.emit(NetworkDecided(made.host, made.port, made.allowed, made.reason))
        if not made.allowed and made.port:
            place = authority(made.host, made.port)
            if self._wanted.rules.find(made.host, made.port) is None:
                self._refused[place] = place
            else:
                self._refused[f"{place}: {made.reason}"] = ""

    async def _run(self, fork: Fork, outlet: Outlet | None) -> None:
        bench, command = self._bench, self._wanted.command
        spec = SandboxSpec(
            tree=fork.place,
            enter=fork.enter,
            root=fork.root,
            session=bench.session,
            limits=Limits(timeout_s=self._timeout_s),
            image=bench.image,
            image_env=bench.image_env,
            mounts=shown(fork),
            env=ONLINE | homes(fork.root) | (trusted() if bench.image is None else {}),
            outlet=outlet,
            prefix="",
            runtime=bench.runtime,
        )
        log = self._branch.bus.log.artifacts / f"setup-{len(self._branch.bus.log.records) + 1}.log"
        sandbox = await open_sandbox(
            spec, bench.backend, state=bench.state, project=bench.workspace.tree, environ=bench.environ
        )
        try:
            with log.open("wb") as whole:

                def hear(data: bytes) -> None:
                    whole.write(data)
                    self._branch.emit(OutputStreamed(data))

                started = time.monotonic()
                done = await sandbox.run(command, on_output=hear)
        finally:
            await sandbox.aclose()
        self._branch.emit(
            SetupRan(
                command,
                self._wanted.rules.texts(),
                reused=False,
                exit_code=done.exit_code,
                timed_out=done.timed_out,
                duration_s=time.monotonic() - started,
                artifact=str(log),
            )
        )
        if not done.ok:
            raise self._failure(done, log)

    def _failure(self, done: ExecResult, log: Path) -> SetupFailed:
        lines = [line[:_LINE_CHARACTERS] for line in readable(done.output).strip().splitlines()]
        last = "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])
        remedy = f"The whole output is kept: {log}"
        if self._refused:
            told = list(self._refused)[:MOST]
            wider = [self._refused[text] for text in told if self._refused[text]]
            allowing = f"; to allow it: --setup-network {','.join([*self._wanted.rules.texts(), *wider])}"
            remedy = f"Refused: {', '.join(told)}{allowing if wider else ''}\n{remedy}"
        return SetupFailed(f"The set-up `{self._wanted.command}` {_how(done)}:\n{last}", remedy)


def _how(done: ExecResult) -> str:
    if done.timed_out:
        return f"did not end within {done.duration_s:.0f} s and was stopped"
    if done.overflow:
        return "was stopped, for it printed too much"
    if done.bound:
        what = "free space on the host's disk" if done.bound == "host" else done.bound
        return f"was stopped at the limit of {what}"
    ended = f"failed (exit {done.exit_code})" if done.exit_code is not None else f"was killed ({done.signal})"
    return f"{ended}; memory ran out meanwhile" if done.oom else ended


def _notes(made: Made, top: list[str]) -> list[Noted]:
    """What became of what the command made."""
    notes = []
    if made.folders:
        notes.append(Noted("info", f"set up, and shown read-only: {a_few(made.folders)}"))
    if made.files:
        notes.append(Noted("info", f"set up, in each copy and in no patch: {a_few(made.files)}"))
    if made.dropped:
        text = f"changes of the set-up to files that are not ignored are dropped: {a_few(made.dropped)}"
        notes.append(Noted("warning", text))
    if not made.folders and not made.files:
        hint = suggestion(top)
        text = "the set-up left nothing in this folder, and what it installs elsewhere is gone with it"
        notes.append(Noted("warning", f"{text}; such as {hint}" if hint else text))
    return notes
