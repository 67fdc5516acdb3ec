"""A rollout's session log as conversations: what was said, turn by turn, with tokens and step rewards. Pure.

A log is a tree; each `conversation_started` opens a conversation, and its newest line of events is the one
that counts. A turn here is one reply of the model and what came of its calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec

from agent.context import project
from agent.events import (
    AssistantReplied,
    AttemptEnded,
    AttemptStarted,
    CheckRan,
    Compacted,
    ConversationStarted,
    Durable,
    Reminded,
    Steered,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)
from agent.messages import Message, ToolResult
from agent.models.base import ToolSpec
from agent.session import Envelope, Record
from agent.tokens import TokenLine
from tools.base import Effect

_PASSED = re.compile(r"(?:^|, )(\d+) passed\b", re.MULTILINE)
_SYNTAX_ERROR = re.compile(r"\b(?:now has|would have) a syntax error in line \d+")
"""What the tools of edits say (tools.files)."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    event: int
    """Number of the reply in the log."""
    at: str
    reply: AssistantReplied
    results: tuple[ToolResult, ...]
    """Of the calls, in the order in which they were written."""
    renewed: bool
    """The conversation was compacted before it."""
    tokens: TokenLine | None
    """None when they were not recorded, or not all of them."""
    rewards: dict[str, float]
    """Facts about the step by name, those alone that are known: `tests_newly_passing` (a count, negative when
    fewer pass), `edit_applied`, `syntax_ok`, `tool_error` (1 or 0)."""


class Said(msgspec.Struct, frozen=True):
    """What pawl or the person put to the model."""

    at: str
    text: str


class View(msgspec.Struct, frozen=True):
    """What the model was shown, from one compaction to the next."""

    messages: tuple[Message, ...]
    """At the end of it, the last reply included."""
    replies: int
    """So many of the last replies in `messages` are turns of this stretch; those before are context."""


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    """Of its branch, such as `attempt-2`; "" for the main one."""
    model: str
    system: str
    tools: tuple[ToolSpec, ...]
    steps: tuple[Said | Turn, ...]
    views: tuple[View, ...]
    handed_over: bool
    """It led to the rollout's patch, and not another attempt's."""

    @property
    def turns(self) -> list[Turn]:
        return [step for step in self.steps if isinstance(step, Turn)]


def decoded(events: Iterable[Mapping[str, object]]) -> list[Record]:
    """The events of a session log. Raises msgspec.ValidationError when it is not one of pawl's."""
    return [Record(msgspec.convert(event, Envelope), msgspec.convert(event, Durable)) for event in events]


def conversations(
    records: Sequence[Record], tokens: Mapping[int, TokenLine] | None = None
) -> list[Conversation]:
    """All that have a reply, in the order in which they were begun."""
    owner: dict[int, int] = {}
    for record in records:
        seq = record.envelope.seq
        opens = isinstance(record.event, ConversationStarted)
        owner[seq] = seq if opens else owner.get(record.envelope.parent, 0)
    lines = {start: _line(records, owner, start) for start in sorted(set(owner.values()) - {0})}
    lines = {
        start: line
        for start, line in lines.items()
        if any(isinstance(record.event, AssistantReplied) for record in line)
    }
    winner = _winner(records, lines)
    facts = _Facts(records, lines)
    return [
        _conversation(line, facts, tokens or {}, handed_over=start == winner) for start, line in lines.items()
    ]


def _line(records: Sequence[Record], owner: Mapping[int, int], start: int) -> list[Record]:
    """The newest line of a conversation, from its opening on."""
    by_seq = {record.envelope.seq: record for record in records}
    seq = max(seq for seq, opened in owner.items() if opened == start)
    line: list[Record] = []
    while owner.get(seq) == start:
        line.append(by_seq[seq])
        seq = by_seq[seq].envelope.parent
    return line[::-1]


def _within(label: str, branch: str) -> bool:
    return not branch or label == branch or label.startswith(f"{branch}/")


def _winner(records: Sequence[Record], lines: Mapping[int, list[Record]]) -> int:
    """The last conversation of the attempt that was verified, else the last of all; 0 without any."""
    verified = [
        record.envelope.branch
        for record in records
        if isinstance(record.event, AttemptEnded) and record.event.outcome == "verified"
    ]
    inside = [
        start
        for start, line in lines.items()
        if not verified or _within(line[0].envelope.branch, verified[-1])
    ]
    return max(inside, default=0)


class _Facts:
    """What each turn came to: results of calls, and tests that pass, which a check may tell from outside."""

    def __init__(self, records: Sequence[Record], lines: Mapping[int, list[Record]]) -> None:
        self.results: dict[int, list[ToolResult]] = {}
        self._effects: dict[int, list[str]] = {}
        self._gained: dict[int, int] = {}
        base: int | None = None
        self._passed: int | None = None
        turn_of: dict[int, int] = {}
        """Event of a conversation -> the turn that it belongs to."""
        for line in lines.values():
            turn = 0
            for record in line:
                turn = record.envelope.seq if isinstance(record.event, AssistantReplied) else turn
                turn_of[record.envelope.seq] = turn
        effects: dict[tuple[int, str], str] = {}
        newest: tuple[int, str] = (0, "")
        """The newest turn, and its branch."""
        for record in records:
            turn, branch = turn_of.get(record.envelope.seq, 0), record.envelope.branch
            newest = (turn, branch) if turn else newest
            match record.event:
                case AttemptStarted():
                    self._passed, newest = base, (0, "")
                case ToolStarted(call=call, effect=effect):
                    effects[turn, call.id] = effect
                case ToolFinished(result=result):
                    self.results.setdefault(turn, []).append(result)
                    self._effects.setdefault(turn, []).append(effects.get((turn, result.call_id), ""))
                    if result.name == "run_tests" and (found := _PASSED.search(result.text)):
                        self._count(turn, int(found[1]))
                case CheckRan(where=where, tests=tests) if tests:
                    if where == "base":
                        self._passed = base = tests.get("passed", 0)
                    elif turn or _within(newest[1], branch):
                        self._count(turn or newest[0], tests.get("passed", 0))
                case _:
                    pass

    def _count(self, turn: int, passed: int) -> None:
        if self._passed is not None and turn:
            self._gained[turn] = self._gained.get(turn, 0) + passed - self._passed
        self._passed = passed

    def rewards(self, turn: int) -> dict[str, float]:
        results, effects = self.results.get(turn, []), self._effects.get(turn, [])
        found: dict[str, float] = {}
        if turn in self._gained:
            found["tests_newly_passing"] = float(self._gained[turn])
        edits = [
            result for result, effect in zip(results, effects, strict=True) if effect == Effect.WRITE.value
        ]
        if edits:
            found["edit_applied"] = float(not any(edit.is_error for edit in edits))
            wrong = any(_SYNTAX_ERROR.search(edit.text) for edit in edits)
            if wrong or not all(edit.is_error for edit in edits):
                found["syntax_ok"] = float(not wrong)
        if results:
            found["tool_error"] = float(any(result.is_error for result in results))
        return found


def _conversation(
    line: Sequence[Record], facts: _Facts, tokens: Mapping[int, TokenLine], *, handed_over: bool
) -> Conversation:
    opening = line[0].event
    assert isinstance(opening, ConversationStarted)
    events = [record.event for record in line]
    ends = [place for place, event in enumerate(events) if isinstance(event, Compacted)] + [len(events)]
    steps: list[Said | Turn] = []
    renewed = False
    for record in line:
        renewed = renewed or isinstance(record.event, Compacted)
        if (step := _step(record, facts, tokens, renewed)) is not None:
            steps.append(step)
            renewed = renewed and not isinstance(step, Turn)
    return Conversation(
        label=line[0].envelope.branch,
        model=opening.model,
        system=opening.system,
        tools=opening.tools,
        steps=tuple(steps),
        views=tuple(
            View(project(events[:end]), sum(isinstance(e, AssistantReplied) for e in events[begin:end]))
            for begin, end in pairwise([0, *ends])
        ),
        handed_over=handed_over,
    )


def _step(
    record: Record, facts: _Facts, tokens: Mapping[int, TokenLine], renewed: bool
) -> Said | Turn | None:
    seq, at = record.envelope.seq, record.envelope.at
    match record.event:
        case TurnStarted(text=text) | Reminded(text=text) | Steered(text=text):
            return Said(at, text)
        case AssistantReplied() as reply:
            told = tokens.get(seq)
            return Turn(
                event=seq,
                at=at,
                reply=reply,
                results=tuple(facts.results.get(seq, ())),
                renewed=renewed,
                tokens=told if told and told.prompt else None,
                rewards=facts.rewards(seq),
            )
        case _:
            return None
