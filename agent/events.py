"""What happens: the one event stream of a session.

Whole messages are durable and are written to the session log before anybody hears of them; deltas are
ephemeral, so the log stays linear in size. The log is the trajectory and the only state: resume, replay,
export and evals are folds over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from agent.messages import Assistant, Image, ToolCall, ToolResult, Usage
from agent.models.base import ToolSpec
from sandbox.naming import plain
from tools.checklist import TodoItem

Status = Literal["done", "limit", "loop", "error", "interrupted", "declined"]


class Event(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of all events."""


class ConversationStarted(Event, frozen=True, tag="conversation_started"):
    """Opens a branch: what every request of it begins with."""

    system: str
    tools: tuple[ToolSpec, ...]
    model: str


class TurnStarted(Event, frozen=True, tag="turn_started", omit_defaults=True):
    """One user message until it ends."""

    text: str
    images: tuple[Image, ...] = ()


class Reminded(Event, frozen=True, tag="reminded"):
    """Text of pawl's own that is put to the model as a user message (a guard's nudge, a failed check)."""

    text: str


class Steered(Event, frozen=True, tag="steered"):
    """What the person said while the turn was running; it is put to the model before the next step."""

    text: str


class Compacted(Event, frozen=True, tag="compacted", omit_defaults=True):
    """Older messages gave way to make room; the log keeps them. `agent.compaction` says what is shown now.

    The numbers are places in the messages that the events before this one fold into.
    """

    cut: int = 0
    """The messages in front of this one, but for the system prompt, became `summary`; 0: none did."""
    summary: str = ""
    clip_before: int = 0
    """Results in front of this message are shortened to about `clip_bytes` each."""
    clip_bytes: int = 0
    tokens_before: int = 0
    """Size of the request, estimated, as is the next one."""
    tokens_after: int = 0
    usage: Usage = Usage()
    """What the summary cost."""
    duration_s: float = 0.0


def named(paths: Sequence[str], total: int) -> str:
    """The first paths of so many, as they are told."""
    more = total - len(paths)
    return ", ".join(map(plain, paths)) + (f" and {more} more" if more else "")


class FilesRestored(Event, frozen=True, tag="files_restored"):
    """The person put files back. What the model is told of it comes with the next user message."""

    how: Literal["undo", "redo", "undo_accept"]
    """undo and redo go over a step in the fork; undo_accept takes a patch out of the user's files."""
    paths: tuple[str, ...]
    """The first of them; a folder's ends in `/`."""
    total: int

    @classmethod
    def of(cls, how: Literal["undo", "redo", "undo_accept"], paths: Sequence[str]) -> FilesRestored:
        """For all of these paths, of which the log keeps the first ten."""
        return cls(how, tuple(paths[:10]), len(paths))

    @property
    def named(self) -> str:
        return named(self.paths, self.total)


class PatchApplied(Event, frozen=True, tag="patch_applied"):
    """A patch went into the person's files."""

    paths: tuple[str, ...]


class Resumed(Event, frozen=True, tag="resumed"):
    """A session is gone on with. What the model is told of it comes with the next user message."""

    paths: tuple[str, ...]
    """The first ten that the person has changed since; ` (gone)` stands behind what is not there any more."""
    total: int
    dropped: bool
    """The model may have made changes that were not applied."""

    @property
    def told(self) -> str:
        """What the model is told; empty when its files are as it left them."""
        changed = f" Changed since: {named(self.paths, self.total)}." if self.paths else ""
        dropped = " Changes of yours that the user did not apply are not in them." if self.dropped else ""
        if not changed and not dropped:
            return ""
        return f"[The session goes on later, with the user's files as they are now.{changed}{dropped}]"


class StepStarted(Event, frozen=True, tag="step_started"):
    request_hash: str
    """sha256 of the request's messages and tools, for replay and cache checks."""


class AssistantReplied(Event, frozen=True, tag="assistant_replied"):
    message: Assistant
    reason: str
    usage: Usage
    duration_s: float
    prompt_ms: float | None = None
    output_ms: float | None = None


class ToolStarted(Event, frozen=True, tag="tool_started"):
    call: ToolCall
    effect: str


class ToolFinished(Event, frozen=True, tag="tool_finished"):
    result: ToolResult
    duration_s: float
    view: str = ""
    artifact: str = ""


class TodoChanged(Event, frozen=True, tag="todo_changed"):
    """The model wrote its list of steps anew."""

    items: tuple[TodoItem, ...]


class TurnEnded(Event, frozen=True, tag="turn_ended"):
    status: Status
    detail: str = ""


class PhaseStarted(Event, frozen=True, tag="phase_started"):
    """A stage of a command, for the person: freeze, run, read, repair, verify, apply."""

    name: str
    detail: str = ""


class CheckRan(Event, frozen=True, tag="check_ran"):
    """pawl itself ran the check command."""

    where: Literal["base", "attempt", "clean"]
    command: tuple[str, ...]
    exit_code: int | None
    timed_out: bool
    duration_s: float
    tests: dict[str, int]
    """Counts by outcome: passed, failed, errors, skipped. Empty when the output was not understood."""
    artifact: str = ""
    killed: str = ""
    """Why it was killed, in words; empty when it ended by itself."""


class AttemptStarted(Event, frozen=True, tag="attempt_started"):
    number: int
    of: int
    strategy: str
    temperature: float
    target: str = ""
    """What is being repaired, such as `pkg/mod.py:function`."""


class AttemptEnded(Event, frozen=True, tag="attempt_ended"):
    number: int
    outcome: str
    """verified, tests_fail, no_change, bad_reply, limit, loop, error."""
    detail: str = ""
    usage: Usage = Usage()
    duration_s: float = 0.0


class Noted(Event, frozen=True, tag="noted"):
    """A line for the person: which sandbox was taken, what was retried, what was left out."""

    level: Literal["info", "warning", "error"]
    text: str


class SetupRan(Event, frozen=True, tag="setup_ran"):
    """The set-up command was run, or what it made before was taken."""

    command: str
    network: tuple[str, ...]
    """What it may reach."""
    reused: bool
    exit_code: int | None = 0
    timed_out: bool = False
    duration_s: float = 0.0
    artifact: str = ""
    """Its whole output; empty when it was not run."""


class NetworkDecided(Event, frozen=True, tag="network_decided"):
    """A command asked for a host through the proxy."""

    host: str
    """The start of what was asked for when it was no host; `port` is then 0."""
    port: int
    allowed: bool
    reason: str


class Finished(Event, frozen=True, tag="finished"):
    """The last event of a headless command; `result` is the object of `--output-format json`."""

    result: dict[str, Any]


class TextStreamed(Event, frozen=True, tag="text"):
    """Ephemeral: a piece of the model's text as it is written."""

    text: str


class ReasoningStreamed(Event, frozen=True, tag="reasoning"):
    """Ephemeral."""

    text: str


class PromptRead(Event, frozen=True, tag="prompt_read"):
    """Ephemeral: how far a local server has read the prompt, in tokens."""

    done: int
    total: int


class OutputStreamed(Event, frozen=True, tag="output"):
    """Ephemeral: a piece of a command's output."""

    data: bytes


Durable = (
    ConversationStarted
    | TurnStarted
    | Reminded
    | Steered
    | Compacted
    | FilesRestored
    | PatchApplied
    | Resumed
    | StepStarted
    | AssistantReplied
    | ToolStarted
    | ToolFinished
    | TodoChanged
    | TurnEnded
    | PhaseStarted
    | CheckRan
    | AttemptStarted
    | AttemptEnded
    | Noted
    | SetupRan
    | NetworkDecided
    | Finished
)
Ephemeral = TextStreamed | ReasoningStreamed | PromptRead | OutputStreamed
AnyEvent = Durable | Ephemeral
