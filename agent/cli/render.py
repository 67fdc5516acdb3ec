"""Shows a session's events to a person, on stderr: live in a terminal, plain lines elsewhere.

Finished lines go to the normal scrollback; only the line being written is live, so that copying, scrolling
and piping work as everywhere else. stdout is kept for the result.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.control import Control
from rich.markup import escape
from rich.segment import ControlType
from rich.text import Text

from agent.events import (
    AnyEvent,
    AssistantReplied,
    AttemptEnded,
    AttemptStarted,
    CheckRan,
    Compacted,
    FilesRestored,
    NetworkDecided,
    Noted,
    OutputStreamed,
    PhaseStarted,
    PromptRead,
    ReasoningStreamed,
    Reminded,
    SetupRan,
    Steered,
    TextStreamed,
    TodoChanged,
    ToolFinished,
    ToolStarted,
)
from agent.messages import Usage
from agent.session import Envelope
from sandbox.patch import Patch
from tools.checklist import checklist
from tools.output import readable

# C0 but for tab and newline, DEL, C1, lone surrogates, and what reorders text (https://trojansource.codes)
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_PHASES = {
    "freeze": "freezing a copy of the tree",
    "setup": "setting up:",
    "run": "running",
    "read": "reading the failure",
    "model": "opening the model",
    "repair": "repairing:",
    "apply": "applying",
    "compact": "summing up the conversation:",
}
_REFUSALS = 20
"""So many refused hosts are shown."""
_RESTORED = {"undo": "put back as before the step", "redo": "changed again as by the step"}
_OUTCOMES = {
    "verified": "[bold green]verified[/]",
    "tests_fail": "[yellow]still fails[/]",
    "no_change": "[yellow]no new change[/]",
    "bad_reply": "[yellow]unusable reply[/]",
    "limit": "[yellow]limit reached[/]",
    "loop": "[yellow]went in circles[/]",
    "error": "[red]error[/]",
}


class Renderer:
    """A sink of the bus. `verbosity`: -1 says nothing but warnings, 0 the course, 1 also the model's text
    when not in a terminal, 2 also the output of commands."""

    def __init__(
        self, console: Console, verbosity: int = 0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console = console
        self.verbosity = verbosity
        self._clock = clock
        self._started = clock()
        self._mid_line = False
        """True while a streamed text has not ended its line."""
        self._reading = False
        """True while the line shows how far the prompt is read."""
        self._streams = console.is_terminal or verbosity >= 1
        self._refused: set[str] = set()
        """Hosts whose refusal was said."""

    def __call__(self, event: AnyEvent, envelope: Envelope) -> None:
        del envelope
        if self.verbosity < 0:
            if isinstance(event, Noted) and event.level != "info":
                self._line(f"[yellow]{escape(event.text)}[/]")
            elif isinstance(event, NetworkDecided):
                self._network(event)
            return
        match event:
            case TextStreamed(text=text):
                self._stream(text, "")
            case ReasoningStreamed(text=text):
                self._stream(text, "dim")
            case PromptRead() if self.console.is_terminal:
                self._progress(event)
            case OutputStreamed(data=data) if self.verbosity >= 2:
                self._stream(readable(data), "dim")
            case _:
                self._durable(event)

    def _durable(self, event: AnyEvent) -> None:
        match event:
            case PhaseStarted(name=name, detail=detail):
                self._line(
                    f"[bold blue]{self._elapsed()}[/] {_PHASES.get(name, name)} {escape(detail)}".rstrip()
                )
            case SetupRan(reused=False):
                self._line(
                    "  "
                    + _ended(event.exit_code, "timed out" if event.timed_out else "", "", event.duration_s)
                )
            case CheckRan():
                self._line("  " + _check_line(event))
            case AttemptStarted():
                target = f" on {escape(event.target)}" if event.target else ""
                self._line(
                    f"[bold blue]{self._elapsed()}[/] attempt {event.number} of {event.of}"
                    f" (temperature {event.temperature:g}){target}"
                )
            case AttemptEnded():
                self._line("  " + _attempt_line(event))
            case ToolStarted(call=call):
                self._line(f"[cyan]> {escape(call.name)}[/] {escape(_short(call.arguments, 160))}")
            case ToolFinished():
                colour = "red" if event.result.is_error else "dim"
                text = event.view or event.result.text
                self._line(f"[{colour}]{escape(_block(text, 8 if self.verbosity < 1 else 80))}[/]")
            case TodoChanged(items=items):
                self._line(escape(_block(checklist(items), len(items))))
            case Reminded(text=text) if self.verbosity >= 1:
                self._line(f"[dim]pawl: {escape(_short(text, 300))}[/]")
            case Steered(text=text):
                self._line(f"[bold]> {escape(_short(text, 300))}[/]")
            case Compacted():
                self._line(f"[dim]{_compacted_line(event)}[/]")
            case FilesRestored(how="undo" | "redo" as how, total=total):
                self._line(f"{_RESTORED[how]} ({total}): {escape(event.named)}")
            case Noted(level=level, text=text):
                colour = {"info": "dim", "warning": "yellow", "error": "red"}[level]
                self._line(f"[{colour}]{escape(text)}[/]")
            case NetworkDecided():
                self._network(event)
            case AssistantReplied() if self._mid_line:
                self._line("")
            case _:
                pass

    def _network(self, event: NetworkDecided) -> None:
        """A refusal once for each host, up to a bound: the hosts are a command's to invent."""
        place = escape(f"{event.host}:{event.port}" if event.port else event.host)
        reason = escape(event.reason)
        if event.allowed:
            if self.verbosity >= 1:
                self._line(f"[dim]network: {place}: {reason}[/]")
        elif event.host not in self._refused and len(self._refused) < _REFUSALS:
            self._refused.add(event.host)
            self._line(f"[yellow]network: {place} refused: {reason}[/]")
            if len(self._refused) == _REFUSALS:
                self._line("[yellow]network: further refusals are in the session log only[/]")

    def close(self) -> None:
        """End a line that is still open, such as after an interrupt."""
        self._wipe()
        if self._mid_line:
            self._line("")

    def _progress(self, event: PromptRead) -> None:
        """One line, written over until something else is shown."""
        if self._mid_line and not self._reading:
            return
        share = 100 * event.done // max(event.total, 1)
        self._wipe()
        self.console.print(f"[dim]reading the prompt, {event.total:,} tokens: {share}%[/]", end="")
        self._reading = True

    def _wipe(self) -> None:
        if self._reading:
            self.console.control(Control((ControlType.CARRIAGE_RETURN,), (ControlType.ERASE_IN_LINE, 2)))
            self._reading = False

    def _stream(self, text: str, style: str) -> None:
        if not self._streams or not text:
            return
        self._wipe()
        self.console.print(Text(visible(text), style=style), end="", soft_wrap=True)
        self._mid_line = not text.endswith("\n")

    def _line(self, markup: str) -> None:
        self._wipe()
        if self._mid_line:
            self.console.print()
            self._mid_line = False
        if markup:
            self.console.print(visible(markup), soft_wrap=True, highlight=False)

    def _elapsed(self) -> str:
        return f"{self._clock() - self._started:6.1f}s"


def _compacted_line(event: Compacted) -> str:
    what = "the older part is now a summary" if event.cut else "old results were shortened"
    return f"{what}; the next request takes about {event.tokens_after:,} tokens, not {event.tokens_before:,}"


def _check_line(event: CheckRan) -> str:
    counts = "".join(f", {n} {what}" for what, n in event.tests.items() if n)
    where = {"base": "", "attempt": "", "clean": "clean copy: "}[event.where]
    return where + _ended(
        event.exit_code, event.killed or ("timed out" if event.timed_out else ""), counts, event.duration_s
    )


def _ended(exit_code: int | None, killed: str, counts: str, seconds: float) -> str:
    state = escape(killed) or f"exit {exit_code}"
    colour = "green" if exit_code == 0 and not killed else "yellow"
    return f"[{colour}]{state}[/]{counts} in {seconds:.1f} s"


def _attempt_line(event: AttemptEnded) -> str:
    detail = f": {escape(_short(event.detail, 200))}" if event.detail else ""
    outcome = _OUTCOMES.get(event.outcome, event.outcome)
    return f"{outcome}{detail} [dim]({usage_line(event.usage)}, {event.duration_s:.1f} s)[/]"


def usage_line(usage: Usage) -> str:
    """Such as `1,204 tokens read, 92% from cache, 180 written`."""
    share = (
        f", {100 * usage.cached_input_tokens // usage.input_tokens}% from cache" if usage.input_tokens else ""
    )
    return f"{usage.input_tokens:,} tokens read{share}, {usage.output_tokens:,} written"


def _block(text: str, lines: int) -> str:
    """The first lines, indented, and how many more there are."""
    rows = text.rstrip().splitlines()
    shown = [f"  {row[:200]}" for row in rows[:lines]]
    return "\n".join(shown + ([f"  ... {len(rows) - lines} more lines"] if len(rows) > lines else []))


def _short(text: str, limit: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def visible(text: str) -> str:
    """`text` with control codes spelled out: what a model wrote must not steer the person's terminal."""
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


def show_patch(patch: Patch) -> None:
    """The diff on stdout: in colours, or byte for byte when that is not a terminal."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        sys.stdout.flush()
        sys.stdout.buffer.write(patch.text)
        sys.stdout.buffer.flush()
        return
    for row in patch.text.decode("utf-8", "replace").removesuffix("\n").split("\n"):
        line = visible(row.removesuffix("\r"))
        style = "bold" if line.startswith(("diff ", "+++", "---")) else ""
        style = style or {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        console.print(Text(line, style=style), soft_wrap=True)
