"""One rollout as exports take it: its grading, its conversations, its tokens.

Nothing is written, and nothing that the run's folder says is run.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from agent.models.base import Quirks, Request, ToolSpec
from agent.models.toolmode import ToolMode, shaped
from agent.models.wire import openai_chat
from agent.tokens import read_tokens
from evals.conversations import Conversation, Turn, conversations, decoded
from evals.reading import Run, read_events
from evals.rows import AttemptRow
from evals.segments import Segments, segments
from evals.store import StoreError
from evals.types import Instance, Rollout, Score, TestOutcome, Unit, digest


class Episode:
    """One rollout, with its grading and what was said."""

    def __init__(self, run: Run, unit: Unit, row: AttemptRow) -> None:
        self.run = run
        self.unit = unit
        self.row = row
        self.instance: Instance = run.instances[unit.instance]
        self.rollout: Rollout = run.rollouts[unit.id]
        self.score: Score | None = run.scores.get(unit.id)

    @property
    def conversations(self) -> list[Conversation]:
        """Empty when its agent kept no log that can be read. Raises StoreError for broken tokens."""
        return _conversations(self)

    @property
    def place(self) -> Path:
        return self.run.folder / "attempts" / self.unit.id

    @property
    def patch(self) -> str:
        """As text; bytes that are none become U+FFFD, which JSON can carry."""
        try:
            return (self.place / "patch.diff").read_bytes().decode("utf-8", "replace")
        except FileNotFoundError:
            return self.rollout.patch.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    @property
    def policy(self) -> str:
        """The model with its settings and prompts: whose actions these are."""
        agent = self.run.manifest.agent
        return f"{agent.model or agent.name}@{digest(agent)[:12]}"

    def reward(self, conversation: Conversation) -> float:
        """The final one. An attempt that was not handed over had failed its own check: 0."""
        return self.row.reward if conversation.handed_over else 0.0

    @property
    def rewards(self) -> dict[str, float]:
        """Named parts of the final reward."""
        parts = {"reward": self.row.reward, "resolved": float(self.row.solved)}
        for group in ("fail_to_pass", "pass_to_pass"):
            ended = [test.outcome in ("passed", "xfailed") for test in self._tests if test.group == group]
            if ended:
                parts[group] = sum(ended) / len(ended)
        return parts

    @property
    def _tests(self) -> tuple[TestOutcome, ...]:
        return self.score.tests if self.score else ()

    @property
    def about(self) -> dict[str, Any]:
        """What every format of trainers says of where a record comes from."""
        return {
            "unit": self.unit.id,
            "instance_id": self.unit.instance,
            "repetition_id": self.unit.attempt,
            "group_id": f"{self.run.manifest.dataset_hash[:12]}/{self.unit.instance}",
            "policy_id": self.policy,
            "end": self.rollout.end,
            "canary": self.instance.canary,
        }


@lru_cache(maxsize=1)
def _conversations(episode: Episode) -> list[Conversation]:
    """Of the newest episode alone they stay in memory: those of a whole run may not fit."""
    try:
        records = decoded(read_events(episode.run, episode.unit.id))
    except msgspec.ValidationError:
        return []
    path = episode.place / "outputs" / "artifacts" / "tokens.jsonl.gz"
    try:
        lines = gzip.decompress(path.read_bytes()).splitlines()
        return conversations(records, read_tokens(lines))
    except FileNotFoundError:
        return conversations(records)
    except ValueError as error:
        raise StoreError(f"{path}: {error}") from error


class Said(NamedTuple):
    """Messages in the form of Chat Completions, arguments of calls as objects, and the tools told beside."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    turns: list[Turn]
    """Those whose replies are the last assistant's messages here, in order."""


def chats(episode: Episode, conversation: Conversation) -> Iterator[Said]:
    """What was sent and answered, exactly as it went over the wire, once a compaction and once in the end.

    Where the model is told of its tools in the text, they stand in the text here too.
    """
    mode: ToolMode = episode.run.manifest.agent.settings.get("tool_mode", "auto")
    quirks = Quirks(reasoning_field="reasoning_content")
    name = conversation.model
    turns = iter(conversation.turns)
    for view in conversation.views:
        own = list(islice(turns, view.replies))
        request = shaped(Request(view.messages, conversation.tools), name, mode)
        body = openai_chat.to_wire(request, model=name, quirks=quirks, origin=name)
        messages = [_with_objects(message) for message in body["messages"]]
        while messages and messages[-1]["role"] != "assistant":
            messages.pop()
        if messages:
            yield Said(messages, body.get("tools", []), own)


def _with_objects(message: dict[str, Any]) -> dict[str, Any]:
    calls = [
        {**call, "function": {**call["function"], "arguments": arguments(call["function"]["arguments"])}}
        for call in message.get("tool_calls", ())
    ]
    return {**message, "tool_calls": calls} if calls else message


def arguments(raw: str) -> dict[str, Any]:
    """A call's arguments as an object; what is none stands under `unparsed`."""
    try:
        value = msgspec.json.decode(raw or "{}")
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"unparsed": raw}


def functions(tools: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    """Tools as functions of Chat Completions."""
    return [{"type": "function", "function": msgspec.to_builtins(tool)} for tool in tools]


class Training(NamedTuple):
    """A conversation with tokens, as formats of trainers take it."""

    episode: Episode
    conversation: Conversation
    cut: Segments


def trainings(episodes: Sequence[Episode]) -> Iterator[Training]:
    """Conversations of which at least one turn has its tokens."""
    for episode in episodes:
        for conversation in episode.conversations:
            cut = segments(conversation.turns)
            if cut.segments:
                yield Training(episode, conversation, cut)
