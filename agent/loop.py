"""One turn: the model is asked, its calls are run, and so on until it answers without one.

The loop keeps nothing in memory between steps: what the model is shown is projected from the log each time,
so a turn that was cut off anywhere can be followed by the next one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agent.bus import Branch
from agent.compaction import Plan, Room, plan, without_summary
from agent.context import bytes_per_token, conversation, project, request_hash, view
from agent.dispatch import dispatch
from agent.events import (
    AssistantReplied,
    Compacted,
    ConversationStarted,
    Noted,
    OutputStreamed,
    PhaseStarted,
    PromptRead,
    ReasoningStreamed,
    Reminded,
    Steered,
    StepStarted,
    TextStreamed,
    TodoChanged,
    TurnEnded,
    TurnStarted,
)
from agent.forms import ask_if_meant
from agent.guards import Guard, Stop, read_progress
from agent.messages import Assistant, Image, Usage
from agent.models.assemble import Assembler
from agent.models.base import (
    ContextOverflow,
    Delta,
    Model,
    ModelBadReply,
    ModelError,
    ModelRefusedRequest,
    PromptProgress,
    ReasoningDelta,
    Request,
    Restart,
    TextDelta,
    ToolSpec,
)
from agent.models.toolmode import ToolMode, shaped
from agent.permissions import Permissions
from tools.base import Tool, ToolContext

FollowUp = Callable[[Assistant], Awaitable[str | None]]

REPLY_TOKENS = 4096
"""Room that is left for a reply without a bound of its own."""


@dataclass
class Agent:
    """A model at work on one branch of a session."""

    model: Model
    branch: Branch
    system: str = ""
    toolset: Mapping[str, Tool] = field(default_factory=dict)
    """Tools by name, in the order in which the model is told of them."""
    context: ToolContext | None = None
    """What the tools work on; not needed without tools."""
    permissions: Permissions = field(default_factory=Permissions)
    guards: Sequence[Guard] = ()
    follow_up: FollowUp | None = None
    """Asked at a reply without calls: the text to go on with (a failed check), or None to end the turn."""
    steering: deque[str] = field(default_factory=deque)
    """What the person says meanwhile; anybody may append. Each text is put to the model before the next step,
    and keeps the turn going. What is left when the turn ends otherwise stays here."""
    temperature: float | None = None
    max_tokens: int | None = None
    """Bound of one reply."""
    seed: int | None = None
    stop: tuple[str, ...] = ()
    """Texts at which a reply is over; they are not in it."""
    slot: int | None = None
    tool_mode: ToolMode = "auto"
    dialect: str = ""
    """In which the mode `dialect` tells of tools; empty: what the catalogue says of the model."""
    output_schema: dict[str, Any] | None = None
    """JSON Schema that the server is asked to hold the last reply to, where it can."""
    answer_only: bool = False
    """See `Request.answer_only`."""
    error: ModelError | None = None
    """What ended the last turn, when its status is `error`; it knows the exit code."""

    def __post_init__(self) -> None:
        if self.toolset and self.context is None:
            raise ValueError("tools need a context to work on")
        if self.context is not None and self.context.on_output is None:
            self.context.on_output = lambda data: self.branch.emit(OutputStreamed(data))
        if self.context is not None and self.context.on_todo is None:
            self.context.on_todo = lambda items: self.branch.emit(TodoChanged(items))


async def run_turn(agent: Agent, message: str, images: Sequence[Image] = ()) -> TurnEnded:
    """Put `message` to the model and work until the turn ends; the end is logged and returned.

    A ModelError ends the turn with status `error` and is kept as `agent.error`. A cancellation ends it as
    `interrupted` and is raised again, any other exception ends it as `error` and is raised: in each case the
    log is whole and the next turn can follow.
    """
    branch = agent.branch
    agent.error = None
    if conversation(branch.events()) is None:
        tools = tuple(ToolSpec(t.name, t.description, t.parameters) for t in agent.toolset.values())
        branch.emit(ConversationStarted(agent.system, tools, agent.model.name))
    branch.emit(TurnStarted(message, tuple(images)))
    try:
        ended = await _steps(agent)
    except (asyncio.CancelledError, KeyboardInterrupt):
        branch.emit(TurnEnded("interrupted"))
        raise
    except ModelError as error:
        agent.error = error
        ended = TurnEnded("error", str(error) or type(error).__name__)
    except Exception as error:
        branch.emit(TurnEnded("error", f"{type(error).__name__}: {error}"))
        raise
    branch.emit(ended)
    return ended


def last_reply(branch: Branch) -> str:
    """Text of the newest reply on the branch; empty when there is none."""
    replies = (event for event in reversed(branch.events()) if isinstance(event, AssistantReplied))
    return next((reply.message.text for reply in replies), "")


async def compact(agent: Agent) -> Compacted | None:
    """Replace the older part of the conversation by a summary of the model's, at the person's wish.

    None when there is nothing to replace. Raises ModelError, and nothing has changed then.
    """
    return await _make_room(agent, forced=True)


async def _steps(agent: Agent) -> TurnEnded:
    while True:
        if (stop := _ask_guards(agent)) is not None:
            return TurnEnded(stop.status, stop.detail)
        while agent.steering:
            agent.branch.emit(Steered(agent.steering.popleft()))
        reply = await _ask_in_room(agent)
        calls = reply.message.tool_calls
        if calls:
            assert agent.context is not None, "without tools a reply is never read as a call"
            dialect = reply.message.dialect
            await dispatch(calls, agent.toolset, agent.context, agent.branch, agent.permissions, dialect)
        elif agent.steering:
            continue
        elif text := await _answer_to(agent, reply.message):
            agent.branch.emit(Reminded(text))
        else:
            return _end_of(reply)


async def _answer_to(agent: Agent, reply: Assistant) -> str | None:
    """What to go on with after a reply without calls; None or empty to end the turn."""
    if text := ask_if_meant(reply.text, agent.toolset, agent.branch.events()):
        return text
    return await agent.follow_up(reply) if agent.follow_up is not None else None


def _ask_guards(agent: Agent) -> Stop | None:
    progress = read_progress(agent.branch.events())
    for guard in agent.guards:
        verdict = guard.before_step(progress)
        if isinstance(verdict, Stop):
            return verdict
        if verdict is not None:
            agent.branch.emit(Reminded(verdict.text))
    return None


async def _ask_in_room(agent: Agent) -> AssistantReplied:
    """Ask the model; what does not fit is compacted before, or once more when the server knows better."""
    made = await _make_room(agent)
    try:
        return await _ask_model(agent)
    except ContextOverflow as overflow:
        made = await _make_room(agent, overflow) or made
        if made is None:
            raise
        try:
            return await _ask_model(agent)
        except ContextOverflow as error:
            gave_way = "the older part became a summary" if made.cut else "old results were shortened"
            raise ContextOverflow(f"{error}; before that {gave_way}", error.needed, error.limit) from overflow


async def _make_room(
    agent: Agent, overflow: ContextOverflow | None = None, *, forced: bool = False
) -> Compacted | None:
    """Compact the conversation if the next request would not fit, did not fit, or when `forced`."""
    room = _room(agent, overflow)
    shown = view(agent.branch.events())
    size = room.request(shown.messages)
    if not forced and (not room.context or size <= room.limit):
        return None
    if not room.context:
        room = room._replace(context=2 * size)
    if (planned := plan(shown, room, forced=forced)) is None:
        return None
    event = planned.event
    if planned.summarise:
        agent.branch.emit(PhaseStarted("compact", f"about {event.tokens_before:,} tokens"))
        event = await _sum_up(agent, planned, room)
    agent.branch.emit(event)
    return event


def _room(agent: Agent, overflow: ContextOverflow | None) -> Room:
    """What fits. A server that refused a request knows best how much, or at least that it is less."""
    events = agent.branch.events()
    opening = conversation(events)
    head = len(msgspec.json.encode(opening.tools)) if opening else 0
    room = Room(
        agent.model.context_tokens or 0,
        agent.max_tokens or REPLY_TOKENS,
        bytes_per_token(events, head),
        head,
    )
    if overflow is None:
        return room
    size = room.request(project(events))
    if overflow.needed:
        room = room._replace(per_token=max(room.per_token * size / overflow.needed, 1.0))
        size = overflow.needed
    return room._replace(context=min(overflow.limit or room.context or size, size) - 1)


async def _sum_up(agent: Agent, planned: Plan, room: Room) -> Compacted:
    """The event with the summary. It is asked for behind what the server has in its cache."""
    timer = agent.branch.bus.timer
    started = timer()
    request = msgspec.structs.replace(
        _request(agent), messages=planned.summarise, max_tokens=room.summary, output_schema=None
    )
    sent = shaped(request, agent.model.name, agent.tool_mode, agent.dialect)
    assembler = Assembler()
    async with aclosing(
        agent.model.stream(msgspec.structs.replace(sent, constrain=(), must_call=False))
    ) as deltas:
        async for delta in deltas:
            assembler.add(delta)
            if isinstance(delta, PromptProgress):
                _show(agent.branch, delta)
    if assembler.finish is None:
        raise ModelBadReply("the summary stopped without an end")
    text = assembler.message().text.rpartition("</think>")[2].strip()
    if not text:
        text = without_summary(planned.summarise[:-1])
    if planned.left_out:
        text += f"\n\n[Messages behind that, left out for want of room: {planned.left_out}]"
    return msgspec.structs.replace(
        planned.event, summary=text, usage=assembler.finish.usage, duration_s=timer() - started
    )


async def _ask_model(agent: Agent) -> AssistantReplied:
    """Ask; once more without the schema when the server refuses it, as each takes another part of them."""
    try:
        return await _ask_once(agent)
    except ModelRefusedRequest as refusal:
        if agent.output_schema is None:
            raise
        agent.output_schema = None
        agent.branch.emit(Noted("warning", f"going on without the schema, which was refused: {refusal}"))
        return await _ask_once(agent)


async def _ask_once(agent: Agent) -> AssistantReplied:
    """One step's request and its reply, as recorded. One that is cut off keeps its text, not its calls."""
    branch, timer = agent.branch, agent.branch.bus.timer
    request = _request(agent)
    branch.emit(StepStarted(request_hash(request.messages, request.tools)))
    started = timer()
    assembler = Assembler(request.tools, id_prefix=f"call_{branch.turn}_{branch.step}_")
    try:
        sent = shaped(request, agent.model.name, agent.tool_mode, agent.dialect)
        async with aclosing(agent.model.stream(sent)) as deltas:
            async for delta in deltas:
                assembler.add(delta)
                _show(branch, delta)
        finish = assembler.finish
        if finish is None:
            raise ModelBadReply("the reply stopped without an end")
    except BaseException as error:
        partial = msgspec.structs.replace(assembler.message(), tool_calls=(), dialect="")
        if partial.text:
            reason = "error" if isinstance(error, Exception) else "interrupted"
            branch.emit(AssistantReplied(partial, reason, Usage(requests=1), timer() - started))
        raise
    message = assembler.message()
    reply = AssistantReplied(
        message, finish.reason, finish.usage, timer() - started, finish.prompt_ms, finish.output_ms
    )
    record = branch.emit(reply)
    recorded = record.event
    assert isinstance(recorded, AssistantReplied)
    # Where a secret was masked in the text, the ids would still tell it.
    tokens = finish.tokens if recorded.message == message else None
    if tokens and not branch.bus.tokens.add(record.envelope.seq, tokens, request.temperature):
        branch.emit(Noted("warning", "the file of token ids is full: those of this reply are not kept"))
    return recorded


def _request(agent: Agent) -> Request:
    """The next request. Tools come from the log as the messages do, so that its beginning never changes."""
    events = agent.branch.events()
    opening = conversation(events)
    return Request(
        messages=project(events),
        tools=opening.tools if opening else (),
        temperature=agent.temperature,
        max_tokens=agent.max_tokens,
        seed=agent.seed,
        stop=agent.stop,
        slot=agent.slot,
        output_schema=agent.output_schema,
        answer_only=agent.answer_only,
    )


def _show(branch: Branch, delta: Delta) -> None:
    match delta:
        case TextDelta(text=text) if text:
            branch.emit(TextStreamed(text))
        case ReasoningDelta(text=text) if text:
            branch.emit(ReasoningStreamed(text))
        case PromptProgress(done=done, total=total):
            branch.emit(PromptRead(done, total))
        case Restart():
            branch.emit(
                Noted("warning", "the connection broke in the middle of the reply, which begins anew")
            )
        case _:
            pass


def _end_of(reply: AssistantReplied) -> TurnEnded:
    match reply.reason:
        case "length":
            return TurnEnded("limit", f"the reply was cut off after {reply.usage.output_tokens} tokens")
        case "content_filter":
            return TurnEnded("declined", "the provider's content filter ended the reply")
        case _:
            return TurnEnded("done")
