"""A conversation in plain lines: read a message, run the turn in a fork, offer its diff, go on."""

from __future__ import annotations

import asyncio
import re
import signal
from collections import deque
from collections.abc import Coroutine
from contextlib import AsyncExitStack, nullcontext, suppress
from dataclasses import replace
from typing import Any, Literal, cast, get_args

from agent.cli.approve import ALT_ENTER, SHIFT_TAB, Lines, TerminalApprover, TerminalAsker, can_ask
from agent.cli.desk import Desk
from agent.cli.finish import applied
from agent.cli.model import opener
from agent.cli.render import show_patch, visible
from agent.context import conversation
from agent.events import FilesRestored, Noted, OutputStreamed, TodoChanged
from agent.guards import LoopGuard, MaxSteps
from agent.loop import Agent, compact, last_reply, run_turn
from agent.mapped import maker, with_map
from agent.messages import Image
from agent.models.base import Model, ModelError, ModelRefusedRequest
from agent.paths import config_dir
from agent.permissions import Mode, Permissions, edits_alone, goes_through, told
from agent.prompt import project_instructions, system_prompt
from agent.resume import tools_for
from agent.solve.fix import Outcome
from agent.solve.task import Plan
from agent.unfinished import keep_unfinished
from agent.workbench import Candidate
from sandbox.accept import AcceptConflict
from sandbox.base import SandboxDied, SandboxError
from sandbox.history import History
from sandbox.naming import a_few
from sandbox.patch import Patch
from sandbox.rejected import KEPT_DAYS, keep
from tools.base import ToolContext
from tools.testhistory import TestHistory
from tools.toolset import default_toolset

HELP = (
    "Enter sends, Ctrl-D ends, Ctrl-C stops the turn that is running; /undo and /redo step through changes, "
    "/compact sums the conversation up, Shift-Tab with Enter goes from plan to ask to auto-edit "
    "(/permissions MODE). While a turn runs, Enter tells the model at its next step, Alt-Enter after "
    "the turn."
)
_COMMAND = re.compile(r"/[a-z]+")
_MODE = re.compile(r"/(?:(plan)|permissions(?: +(\S+))?)")
_CYCLE: tuple[Mode, ...] = ("plan", "ask", "auto-edit")


async def converse(desk: Desk, prompt: str, images: tuple[Image, ...] = ()) -> Outcome:
    """Talk until the person or the input ends. `prompt` is the first message, if any; `images` go with it."""
    lines = Lines(desk.console)
    if not can_ask(desk.options.output_format):
        # no model is opened, and none fetched, for an input that says nothing
        while not prompt.strip():
            if (line := await lines.read()) is None:
                return Outcome("success", "")
            prompt = line
    model, plan = await opener(desk)()
    try:
        async with AsyncExitStack() as stack:
            return await Conversation(desk, model, plan, lines, stack, images).run(prompt)
    finally:
        await model.aclose()


class Conversation:
    """Turns work on a fork of the tree, made anew before a turn unless it holds changes not applied yet."""

    def __init__(
        self,
        desk: Desk,
        model: Model,
        plan: Plan,
        lines: Lines,
        stack: AsyncExitStack,
        images: tuple[Image, ...] = (),
    ) -> None:
        self.desk = desk
        self._images = images
        """Shown with the next message."""
        self._plan = plan
        self.asking = can_ask(desk.options.output_format)
        self._lines = lines
        self._stack = stack
        self._candidate: Candidate
        self._history: History | None = None
        self._offered = Patch()
        self._queued: deque[str] = deque()
        """What was typed during a turn, for after it."""
        self._turn: asyncio.Task[object] | None = None
        self._leaving = False
        self._tests = TestHistory()
        self._mode: Mode = desk.options.permission_mode or "ask"
        instructions = project_instructions(desk.options.cwd, config=config_dir())
        self.agent = Agent(
            model=model,
            branch=desk.branch,
            system=system_prompt("chat", instructions),
            guards=(desk.budget, MaxSteps(plan.max_steps), LoopGuard()),
            temperature=plan.temperature,
            max_tokens=plan.reply_tokens,
            seed=plan.seed,
            tool_mode=plan.tool_mode,
            dialect=plan.dialect,
        )

    async def _refresh(self) -> None:
        """Open a fork of the tree as the person has it now; the one that is there, when it is still good."""
        workspace = self.desk.workspace
        if workspace is not None and await workspace.is_current():
            return
        if self._history:
            await self._end_jobs()
        await self._stack.aclose()
        bench = await self.desk.open_bench()
        self._candidate = await self._stack.enter_async_context(bench.candidate())
        self._history = History(self._candidate.fork)
        self._offered = Patch()
        backend = self._candidate.sandbox.caps.backend
        approver = TerminalApprover(self._lines) if self.asking else None
        fresh = default_toolset(self._plan.edit_form, self._plan.tools)
        self.agent.toolset = tools_for(self.desk.branch.events(), fresh)
        self.agent.context = ToolContext(
            self._candidate.sandbox,
            self.desk.log.artifacts,
            check=self.desk.options.settings.check or None,
            changed=self._candidate.changed,
            history=self._tests,
            on_output=lambda data: self.desk.branch.emit(OutputStreamed(data)),
            before_change=self._record,
            refuse_syntax_errors=self._plan.refuse_syntax_errors,
            map=maker(self.desk.options.cwd),
            ask=TerminalAsker(self._lines).ask if self.asking else None,
            on_todo=lambda items: self.desk.branch.emit(TodoChanged(items)),
        )
        self.agent.permissions = Permissions.inside_sandbox(backend, self._mode, approver)

    async def run(self, prompt: str) -> Outcome:
        loop = asyncio.get_running_loop()
        main = asyncio.current_task()
        assert main is not None
        loop.add_signal_handler(signal.SIGINT, self._interrupt, main)
        if self.asking:
            self.desk.note(f"{self.agent.model.name}. {HELP}")
            if self.desk.begun:
                said = visible(last_reply(self.desk.branch))
                self.desk.console.print(f"\n{said}", markup=False, highlight=False)
        while not main.cancelling():
            message = prompt or await self._next_message()
            prompt, self._leaving = "", False
            if message is None:
                return Outcome("success", "", model=self.agent.model.name)
            if message.strip() in ("/undo", "/redo"):
                await self._go("undo" if message.strip() == "/undo" else "redo")
            elif message.strip() == "/compact":
                await self._compact()
            elif words := _MODE.fullmatch(message.strip()):
                self._permit(words[1] or words[2] or "")
            elif _COMMAND.fullmatch(message.strip()):
                self.desk.note(f"there is no {message.strip()} here. {HELP}")
            elif message.strip():
                if self._offered.empty:
                    await self._refresh()
                await self._one_turn(message)
        raise asyncio.CancelledError

    async def _next_message(self) -> str | None:
        """What was queued during the last turn, else the next line; None at the end of input."""
        if self._queued:
            message = self._queued.popleft()
            self.desk.console.print(visible(f"\n> {message}"), markup=False, highlight=False)
            return message
        line = await self._lines.read("\n> " if self.asking else "")
        return line and self._cycled(line).removesuffix(ALT_ENTER)

    def _cycled(self, line: str) -> str:
        """The line without its Shift-Tabs, each of which was a step to the next mode."""
        for _ in range(line.count(SHIFT_TAB)):
            place = _CYCLE.index(self._mode) if self._mode in _CYCLE else -1
            self._permit(_CYCLE[(place + 1) % len(_CYCLE)])
        return line.replace(SHIFT_TAB, "")

    def _permit(self, mode: str) -> None:
        """Work in that mode from the next step on; say which it is."""
        known = get_args(Mode)
        if mode in known:
            self._mode = cast(Mode, mode)
            self.agent.permissions = replace(self.agent.permissions, mode=self._mode)
        elif mode:
            self.desk.note(f"there is no mode {mode!r}; they are {', '.join(known)}")
        self.desk.note(f"permission mode: {self._mode}")

    def _hear(self, line: str) -> None:
        """A line typed while a turn runs: for its next step, or with Alt-Enter or a command for after it."""
        line = self._cycled(line)
        text = line.removesuffix(ALT_ENTER)
        if not text.strip():
            return
        if text != line or any(known.fullmatch(text.strip()) for known in (_COMMAND, _MODE)):
            self._queued.append(text)
            self.desk.note("kept for after this turn")
        else:
            self.agent.steering.append(text)
            self.desk.note("the model is told at its next step")

    async def _working(self, work: Coroutine[Any, Any, object]) -> None:
        """Run a turn or what is like one; Ctrl-C stops it alone. What nobody was told is queued."""
        self._turn = asyncio.create_task(work)
        try:
            with self._lines.heard_by(self._hear) if self.asking else nullcontext():
                await self._turn
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise  # not the turn alone, but the whole conversation is to end
            self.desk.note("stopped; what was done so far is kept")
        finally:
            self._turn = None
            self._queued.extendleft(reversed(self.agent.steering))
            self.agent.steering.clear()
            self.desk.renderer.close()

    async def _compact(self) -> None:
        async def sum_up() -> None:
            if await compact(self.agent) is None:
                self.desk.note("there is nothing to sum up yet")

        try:
            await self._working(sum_up())
        except ModelError as error:
            self.desk.branch.emit(Noted("error", f"nothing was summed up: {error}"))

    async def _one_turn(self, message: str) -> None:
        message = told(message, self._mode)
        if conversation(self.desk.branch.events()) is None:
            message = await with_map(message, self.desk.options.cwd, self._plan.map_tokens)
        images, self._images = self._images, ()
        try:
            await self._working(run_turn(self.agent, message, images))
        except asyncio.CancelledError:
            await keep_unfinished(self._candidate.fork, self.desk.branch, "unfinished")
            raise
        if (error := self.agent.error) is not None:
            if not self.asking or (images and isinstance(error, ModelRefusedRequest)):
                await keep_unfinished(self._candidate.fork, self.desk.branch, "unfinished")
                # nobody is here to say it again, or an image would be refused in every later turn
                raise error
            self.desk.console.print(visible(f"pawl: {error}"), style="red", markup=False, highlight=False)
        if self.desk.options.output_format == "text" and not self.asking:
            print(last_reply(self.desk.branch), flush=True)
        patch = await self._diff()
        if patch is not None and not patch.empty and patch != self._offered:
            await self._offer(patch)

    async def _diff(self) -> Patch | None:
        """What differs from the person's files; None when that cannot be told, which ends no conversation."""
        try:
            return await self._candidate.fork.diff()
        except SandboxError as error:
            if not self.asking:
                raise
            self.desk.branch.emit(
                Noted("error", f"the changes cannot be shown: {error}; /undo takes the last step back")
            )
            return None

    async def _record(self) -> None:
        """Keep what the files are now for /undo. A tree too large for it does not stop the work."""
        assert self._history is not None
        try:
            await self._history.record(f"step {self.desk.branch.step} of turn {self.desk.branch.turn}")
        except SandboxError as error:
            self.desk.branch.emit(Noted("warning", f"/undo will not know this step: {error}"))

    async def _go(self, how: Literal["undo", "redo"]) -> None:
        """Undo or redo a step's changes in the fork, then offer what differs from the person's files now."""
        if self._history:
            await self._end_jobs()
        try:
            paths = await getattr(self._history, how)() if self._history else ()
        except SandboxError as error:
            self.desk.branch.emit(Noted("error", f"{how} failed: {error}; try it again"))
            return
        lost = self._history.lost if self._history else ()
        if lost:
            text = f"{how} cannot make these as they were, they stay as they are: {a_few(lost)}"
            self.desk.branch.emit(Noted("warning", text))
        if not paths:
            if not lost:
                self.desk.note(f"there is nothing to {how}")
            return
        self.desk.branch.emit(FilesRestored.of(how, paths))
        patch = await self._diff()
        if patch is None:
            return
        if patch.empty:
            self._offered = patch
        else:
            await self._offer(patch)

    async def _end_jobs(self) -> None:
        """Kill the model's background jobs, for the files that they work on are to be put back or left."""
        with suppress(SandboxDied):  # then they are dead with it
            for state in await self._candidate.sandbox.jobs():
                if state.running:
                    await self._candidate.sandbox.kill(state.job)
                    self.desk.note(f"background job {state.job} was ended: {state.command}")

    def _interrupt(self, main: asyncio.Task[object]) -> None:
        """Ctrl-C: stop the running turn; at the prompt, twice in a row leaves."""
        if self._turn is not None:
            self._turn.cancel()
        elif self._leaving:
            main.cancel()
        else:
            self._leaving = True
            self.desk.console.print("\n(Ctrl-C again or Ctrl-D leaves)\n> ", end="", highlight=False)

    async def _offer(self, patch: Patch) -> None:
        """Show the diff against the person's tree; apply it, keep it for later turns, or drop it."""
        self._offered = patch
        options = self.desk.options
        if options.output_format == "text":
            show_patch(patch)
        written = self.agent.context.written if self.agent.context else {}
        free = options.yes or goes_through(self._mode, alone=edits_alone(patch, written))
        answer = "y" if free and options.apply else "n"
        if self.asking and not free and options.apply:
            question = "Apply to your files? [y]es, [n]ot now, [d]iscard: "
            answer = self._answer(await self._lines.read(question) or "n")
        if answer == "y":
            await self._apply(patch)
        elif answer == "d":
            await self._record()
            await self._end_jobs()
            await self._candidate.fork.reset()
            self._offered = Patch()
            kept = keep(self.desk.log.artifacts, f"discarded-{self.desk.branch.turn}", patch)
            self.desk.note(f"discarded; the patch is kept for {KEPT_DAYS} days: {kept}")
        else:
            kept = keep(self.desk.log.artifacts, "candidate", patch)
            self.desk.note(f"not applied; kept for {KEPT_DAYS} days: {kept}")

    def _answer(self, line: str) -> str:
        """y, n or d. Anything else was meant for the model, begun before the question was there."""
        answer = line.strip().lower()
        if answer in ("y", "yes", "n", "no", "d", "discard", ""):
            return answer[:1]
        self._hear(line + ALT_ENTER)
        return "n"

    async def _apply(self, patch: Patch) -> None:
        try:
            accepted = await self.desk.accept(patch)
        except AcceptConflict as conflict:
            self.desk.note(f"nothing was applied: {conflict}")
            return
        self._offered = Patch()
        told = applied(accepted)
        self.desk.note(told[0].lower() + told[1:])
