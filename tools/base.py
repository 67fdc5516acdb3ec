"""The contract of a tool: an async function whose signature is its schema.

A ToolError is told to the model. Every other exception is a defect of ours or of the place: it stops the step
and is shown to the person, so that our bugs never hide as a model's failures.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from sandbox.base import Sandbox
from tools.checklist import TodoItem
from tools.output import Spill
from tools.picture import Image
from tools.testhistory import TestHistory


class Effect(enum.Enum):
    """What a call may do; permission and parallelism are decided by it."""

    READ = "read"
    WRITE = "write"
    EXECUTE = "execute"


class ToolError(Exception):
    """An expected failure, worded for the model: what is wrong and what to do next."""


class ToolOutput(msgspec.Struct, frozen=True):
    """`text` goes to the model; `view` to the person (the same when empty)."""

    text: str
    view: str = ""
    artifact: str = ""
    """Path on the host of the whole output, when `text` is clipped."""
    images: tuple[Image, ...] = ()
    """Pictures for models that see; `text` says what they are."""


class ToolContext:
    """What a running tool may use. One per conversation."""

    def __init__(
        self,
        sandbox: Sandbox,
        artifacts: Path,
        *,
        check: str | tuple[str, ...] | None = None,
        check_env: Mapping[str, str] | None = None,
        timeout_s: float = 120.0,
        on_output: Callable[[bytes], None] | None = None,
        before_change: Callable[[], Awaitable[None]] | None = None,
        refuse_syntax_errors: bool = False,
        map: Callable[[str, int], Awaitable[str]] | None = None,
        ask: Callable[[str, Sequence[str]], Awaitable[str]] | None = None,
        on_todo: Callable[[tuple[TodoItem, ...]], object] | None = None,
        changed: Callable[[], Awaitable[Sequence[str]]] | None = None,
        history: TestHistory | None = None,
    ) -> None:
        self.sandbox = sandbox
        self.artifacts = artifacts
        self.check = check
        """The person's check command, for `run_tests` without a selection."""
        self.changed = changed
        """Gives the paths that differ from the person's files, for `run_tests` of what they touch."""
        self.history = history or TestHistory()
        """What earlier runs said of the tests."""
        self.check_env = dict(check_env or {})
        self.timeout_s = timeout_s
        self.on_output = on_output
        self.before_change = before_change
        """Awaited before the calls of a step when one of them may change files: what they are can be kept."""
        self.refuse_syntax_errors = refuse_syntax_errors
        """Whether a change that brings a syntax error into a file is refused; else the model is told."""
        self.map = map
        """(task, tokens) -> the repository's map; None where none can be made."""
        self.ask = ask
        """(question, options) -> the person's answer, empty when they give none; None where nobody is."""
        self.on_todo = on_todo
        """Hears of each new list of `todo`."""
        self.seen: dict[str, str] = {}
        """Path -> sha256 of the content the model last saw; an edit of anything else is stale."""
        self.written: dict[str, str] = {}
        """Path -> sha256 of what an edit left there, empty for nothing; a command may have changed it."""
        self.heard: dict[int, int] = {}
        """Background job -> offset up to which the model was shown its output."""
        self.spills: dict[int, Spill] = {}
        """Background job -> its whole output."""


class Tool(msgspec.Struct, frozen=True):
    name: str
    description: str
    parameters: dict[str, Any]
    """JSON Schema of the arguments."""
    effect: Effect
    run: Callable[..., Awaitable[ToolOutput]]
    arguments: type[msgspec.Struct]
    """The decoded form of the arguments; its fields are passed to `run` by name."""


def _argument_type(name: str, function: Callable[..., Any]) -> type[msgspec.Struct]:
    hints = get_type_hints(function, include_extras=True)
    fields: list[Any] = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        hint = hints[parameter.name]
        if get_origin(hint) is Annotated:
            base, text = get_args(hint)
            hint = Annotated[base, msgspec.Meta(description=text)]
        if parameter.default is inspect.Parameter.empty:
            fields.append((parameter.name, hint))
        else:
            fields.append((parameter.name, hint, parameter.default))
    return msgspec.defstruct(f"{name}_arguments", fields, forbid_unknown_fields=True, kw_only=True)


def _plain_schema(arguments: type[msgspec.Struct]) -> dict[str, Any]:
    """The smallest JSON Schema that says the same: no titles, references, or defaults that cost tokens."""
    named = msgspec.json.schema(arguments)["$defs"]

    def plainly(body: dict[str, Any]) -> dict[str, Any]:
        for prop in body["properties"].values():
            prop.pop("default", None)
            variants = prop.pop("anyOf", None)
            if variants:
                prop.update(next(v for v in variants if v.get("type") != "null"))
            if inner := prop.get("items", {}).get("$ref"):
                prop["items"] = plainly(named[inner.rpartition("/")[2]])
        required = {"required": body["required"]} if body.get("required") else {}
        return {"type": "object", "properties": body["properties"], **required}

    return plainly(named[arguments.__name__])


def tool(effect: Effect) -> Callable[[Callable[..., Awaitable[ToolOutput]]], Tool]:
    """Make a Tool of `async def name(ctx, argument: Annotated[type, "what it is"] = default) -> ToolOutput`.

    The docstring's first paragraph is the description that the model reads.
    """

    def make(function: Callable[..., Awaitable[ToolOutput]]) -> Tool:
        arguments = _argument_type(function.__name__, function)
        description = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
        return Tool(function.__name__, description, _plain_schema(arguments), effect, function, arguments)

    return make
