"""Measures what a card tells, one stage after the other, the most telling first.

A stage that fails is noted on the card and the next one begins; only a server that cannot be reached or does
not accept the key ends the probe. When the time is over the card holds what was measured until then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from agent.messages import Message, System, ToolResult, User
from agent.models import wire as wires
from agent.models.base import (
    Model,
    ModelAuth,
    ModelError,
    ModelRefusedRequest,
    ModelUnreachable,
    Request,
    ToolSpec,
)
from agent.models.families import ToolMode
from agent.models.local import LocalModel
from agent.models.toolmode import dialect_of, shaped
from agent.models.transport import HttpModel
from agent.probe.card import ENOUGH, Cache, Card, Tools, best, best_mode
from agent.probe.exchange import Reply, ask, decoded, shown
from agent.probe.requests import HARD, HARD_CONTENT, PARALLEL, PARALLEL_PATHS, REQUESTS, Call, ToolRequest
from agent.prompt import system_prompt
from tools.toolset import default_toolset

REPLY_TOKENS = 128
"""Bound of a reply that should be a call."""
THOUGHT_TOKENS = 2048
"""The same of a model that reasons first."""
CUT_TOKENS = 64
"""Bound of the reply that is to be cut; a model that ends it earlier tells nothing of the server."""
SEED = 20
LONG = "\n".join(f"{n}. The value of item {n} is {n * 7919 % 1000}." for n in range(1, 61))
"""About 900 tokens."""

OnStage = Callable[[str, int, int], None]
"""Told of a stage's name, how many questions of it are done, and how many there are."""


async def probe(
    model: Model, *, calls: int = len(REQUESTS), timeout_s: float = 600.0, on_stage: OnStage = lambda *_: None
) -> Card:
    """The card of a model that is open. `calls`: how many of the twenty requests to put in each tool mode.

    Raises ModelUnreachable and ModelAuth when nothing at all can be measured.
    """
    run = _Probe(model, calls, on_stage)
    began = time.monotonic()
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await run.all()
            run.card.complete = True
    run.card.seconds = round(time.monotonic() - began, 1)
    return run.card


class _Probe:
    """One probe of one model."""

    def __init__(self, model: Model, calls: int, on_stage: OnStage) -> None:
        self.model = model
        self.calls = calls
        self.on_stage = on_stage
        self.card = Card(model=model.name, context_tokens=model.context_tokens)
        self.toolset = default_toolset()
        self.specs = tuple(ToolSpec(t.name, t.description, t.parameters) for t in self.toolset.values())
        self.temperature: float | None = 0.0
        self.reply_tokens = REPLY_TOKENS

    async def all(self) -> None:
        await self.first()
        stages: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("server", self.server),
            ("wires", self.other_wires),
            ("stop reasons", self.stops),
            ("cache", self.cache),
            ("tool calls", self.native),
            ("tool calls as text", self.as_text),
            ("tool calls by grammar", self.by_grammar),
            ("parallel calls", self.parallel),
            ("hard strings", self.hard_text),
            ("after a result", self.after_a_result),
        ]
        for name, stage in stages:
            self.on_stage(name, 0, 1)
            try:
                await stage()
            except ModelError as error:
                self.card.problems.append(f"{name}: {error}")
            self.on_stage(name, 1, 1)

    async def first(self) -> None:
        """One short exchange, without which nothing else can be measured."""
        self.on_stage("first reply", 0, 1)
        try:
            reply = await self._ask("Say OK.", max_tokens=16)
        except (ModelUnreachable, ModelAuth):
            raise
        except ModelRefusedRequest:
            # models that reason on their own do not let a temperature be set
            self.temperature = None
            reply = await self._ask("Say OK.", max_tokens=512)
        if reply.message.reasoning or self.temperature is None:
            self.reply_tokens = THOUGHT_TOKENS
        self.card.takes_temperature = self.temperature is not None
        self.on_stage("first reply", 1, 1)

    async def server(self) -> None:
        """What the server says of itself."""
        if (http := over_http(self.model)) is None:
            return
        info = await http.info()
        self.card.server = "llama.cpp" if info.is_llama_cpp else ""
        self.card.context_tokens = self.card.context_tokens or info.context_tokens
        self.card.slots = info.slots
        self.card.template = dict(info.template)

    async def other_wires(self) -> None:
        """A short exchange on every wire that pawl has."""
        if (http := over_http(self.model)) is None:
            return
        for number, name in enumerate(wires.names()):
            self.on_stage("wires", number, len(wires.names()))
            spoken = http.on_wire(name)
            try:
                await ask(spoken, self._request("Say OK.", max_tokens=16))
                self.card.wires[name] = "ok"
            except ModelAuth:
                self.card.wires[name] = "not spoken (the key that works is refused on it)"
            except ModelError as error:
                self.card.wires[name] = str(error)
            finally:
                await spoken.aclose()

    async def stops(self) -> None:
        """A reply that must be cut, which shows how it streams and how fast, and one that ends by itself."""
        cut = await self._ask("Count from 1 to 100, with commas.", max_tokens=CUT_TOKENS)
        self.card.streams = cut.pieces > 2
        if cut.reason != "stop" or cut.usage.output_tokens >= CUT_TOKENS:
            self.card.stops["length"] = cut.reason
        written_s = (cut.output_ms or 0) / 1000 or cut.total_s - cut.first_s
        if cut.usage.output_tokens > 8 and written_s > 0:
            self.card.write_tps = round(cut.usage.output_tokens / written_s, 1)
        ended = await self._ask("Say OK.", max_tokens=self.reply_tokens)
        self.card.stops["stop"] = ended.reason

    async def cache(self) -> None:
        """A long prompt twice, with another question at its end."""
        replies = [
            await self._ask(f"{LONG}\n\nWhat is the value of item {item}?", max_tokens=8) for item in (7, 23)
        ]
        first, second = (reply.usage for reply in replies)
        told = any(usage.cached_input_tokens for usage in (first, second))
        anew = second.input_tokens - second.cached_input_tokens
        self.card.cache = Cache(
            prompt_tokens=second.input_tokens,
            read_anew=anew if told or is_llama_cpp(self.card) else None,
            first_s=(round(replies[0].first_s, 2), round(replies[1].first_s, 2)),
        )
        read_s = (replies[0].prompt_ms or 0) / 1000 or replies[0].first_s
        if read_s > 0 and first.input_tokens:
            self.card.read_tps = round((first.input_tokens - first.cached_input_tokens) / read_s, 1)

    async def native(self) -> None:
        """The simple requests, the tools told to the server."""
        await self._tools("native")

    async def as_text(self) -> None:
        """The simple requests again, told of the tools in its messages, where the server's way is not enough.

        In the dialect that it wrote until then, else in its own.
        """
        written = self.card.tools["native"].dialects if "native" in self.card.tools else {}
        if not self._enough():
            usual = max(written, key=lambda name: written[name]) if written else dialect_of(self.model.name)
            await self._tools("dialect", usual)

    async def by_grammar(self) -> None:
        """Once more, its calls held to the tools' schema by the server, where nothing else is enough."""
        if not self._enough() and is_llama_cpp(self.card):
            await self._tools("grammar")

    def _enough(self) -> bool:
        return any(tools.right >= ENOUGH * tools.asked for tools in self.card.tools.values())

    async def _tools(self, mode: ToolMode, dialect: str = "") -> None:
        for number, wanted in enumerate(REQUESTS[: self.calls]):
            self.on_stage(f"tool calls, {mode}", number, self.calls)
            counted = self.card.tools.get(mode, Tools())
            try:
                reply = await self._call(wanted.text, mode, dialect)
            except (ModelUnreachable, ModelAuth):
                raise
            except ModelError as error:
                failures = (*counted.failures, f"{wanted.text} {error}")
                self.card.tools[mode] = msgspec.structs.replace(
                    counted, asked=counted.asked + 1, failures=failures
                )
                continue
            self.card.tools[mode] = self._counted(counted, wanted, reply)

    def _counted(self, before: Tools, wanted: ToolRequest, reply: Reply) -> Tools:
        right = any(wanted.answered_by(*call) for call in decoded(reply, self.toolset))
        dialects = dict(before.dialects)
        if dialect := reply.message.dialect:
            dialects[dialect] = dialects.get(dialect, 0) + 1
        return Tools(
            asked=before.asked + 1,
            native=before.native + reply.native,
            native_right=before.native_right + (right and reply.native),
            salvaged=before.salvaged + bool(dialect),
            right=before.right + right,
            dialects=dialects,
            failures=before.failures if right else (*before.failures, f"{wanted.text} {shown(reply)}"),
        )

    async def parallel(self) -> None:
        reply = await self._call(PARALLEL)
        calls = decoded(reply, self.toolset)
        self.card.parallel = sum(
            any(Call("read", {"path": path}).fits(*call) for call in calls) for path in PARALLEL_PATHS
        )

    async def hard_text(self) -> None:
        reply = await self._call(HARD.format(HARD_CONTENT))
        written = [arguments.get("content", "") for _, arguments in decoded(reply, self.toolset)]
        self.card.hard_text = any(text.strip() == HARD_CONTENT for text in written)

    async def after_a_result(self) -> None:
        """A call as the model itself writes it, its result, and what it makes of that."""
        mode, dialect = best_mode(self.card) or "native", best(self.card).dialect or ""
        question = User("Read the file version.txt and say what is in it.")
        asked: tuple[Message, ...] = (System(system_prompt()), question)
        reply = await self._converse(asked, mode, dialect)
        if not reply.message.tool_calls:
            return
        call = reply.message.tool_calls[0]
        made = msgspec.structs.replace(reply.message, tool_calls=(call,), native=())
        result = ToolResult(call.id, call.name, "1\t4711")
        answer = await self._converse((*asked, made, result), mode, dialect)
        self.card.goes_on = "4711" in answer.message.text

    async def _call(self, text: str, mode: ToolMode | None = None, dialect: str = "") -> Reply:
        """A request for calls; without a mode in the one that did best."""
        if mode is None:
            mode, dialect = best_mode(self.card) or "native", best(self.card).dialect or ""
        return await self._converse((System(system_prompt()), User(text)), mode, dialect)

    async def _converse(self, messages: tuple[Message, ...], mode: ToolMode, dialect: str) -> Reply:
        request = self._request_of(messages, self.specs, self.reply_tokens)
        return await ask(self.model, shaped(request, self.model.name, mode, dialect), self.specs)

    async def _ask(self, text: str, *, max_tokens: int) -> Reply:
        return await ask(self.model, self._request(text, max_tokens=max_tokens))

    def _request(self, text: str, *, max_tokens: int) -> Request:
        return self._request_of((User(text),), (), max_tokens)

    def _request_of(
        self, messages: tuple[Message, ...], offered: tuple[ToolSpec, ...], max_tokens: int
    ) -> Request:
        return Request(messages, offered, temperature=self.temperature, max_tokens=max_tokens, seed=SEED)


def over_http(model: Model) -> HttpModel | None:
    """The model as its server knows it; None for one that is not asked over HTTP."""
    if isinstance(model, LocalModel):
        return model.http
    return model if isinstance(model, HttpModel) else None


def is_llama_cpp(card: Card) -> bool:
    """llama.cpp tells what it read also when nothing came from its cache."""
    return card.server == "llama.cpp"
