"""`--output-schema`: the answer of a run as JSON that a JSON Schema describes, checked by pawl itself.

The schema stands at the end of the request. While the model works, only wires that can hold text to a schema
beside calls send it as a parameter too. An answer that does not fit is asked for once more, with what is
wrong, and then all of them do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.config import ConfigError
from agent.events import TurnEnded
from agent.loop import Agent, last_reply, run_turn

MAX_SCHEMA_BYTES = 256 * 1024
_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n```", re.DOTALL)
_SHOWN = 400


class AnswerUnfit(Exception):
    """The answer does not fit the schema, also when asked for again."""

    exit_code = 1


def read_schema(path: Path) -> dict[str, Any]:
    """The schema in a file. Raises ConfigError with the place where it is no JSON or no schema."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for

    try:
        with path.open("rb") as file:
            data = file.read(MAX_SCHEMA_BYTES + 1)
        schema = json.loads(data)
    except OSError as error:
        raise ConfigError(f"--output-schema: cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--output-schema: {path} is no JSON: {error}") from error
    if len(data) > MAX_SCHEMA_BYTES:
        raise ConfigError(f"--output-schema: {path} has more than {MAX_SCHEMA_BYTES // 1024} kB")
    if not isinstance(schema, dict):
        raise ConfigError(f"--output-schema: {path} is no JSON Schema: expected an object")
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        place = error.json_path.removeprefix("$").removeprefix(".") or "the whole"
        raise ConfigError(f"--output-schema: {path} is no JSON Schema: {place}: {error.message}") from error
    for reference in _references(schema):
        if not reference.startswith("#") or not _is_there(schema, reference):
            raise ConfigError(f"--output-schema: {path}: {reference!r} points to nothing in this file")
    return schema


class Form:
    """What the answer must look like."""

    def __init__(self, schema: dict[str, Any]) -> None:
        from jsonschema.validators import Draft202012Validator, validator_for

        self.schema = schema
        self._validator = validator_for(schema, default=Draft202012Validator)(schema)

    @property
    def wanted(self) -> str:
        """What the model is told, behind the request."""
        shown = json.dumps(self.schema, ensure_ascii=False, separators=(",", ":"))
        return f"Your last message must be JSON alone, valid against this JSON Schema:\n{shown}"

    def problem(self, text: str) -> str:
        """What does not fit, in a sentence for the model; empty when all does."""
        from jsonschema.exceptions import best_match

        try:
            value = json.loads(bare(text), parse_constant=_no_constant)
            error = best_match(self._validator.iter_errors(value))
        except (ValueError, RecursionError) as wrong:
            return f"it is no JSON: {wrong}"
        return f"{error.json_path}: {error.message[:_SHOWN]}" if error is not None else ""

    async def settle(self, agent: Agent, ended: TurnEnded) -> TurnEnded:
        """Have the answer of a turn that is done fit; how the last turn ended.

        Raises AnswerUnfit, or the ModelError that kept it from being asked again.
        """
        if ended.status != "done" or not (problem := self.problem(last_reply(agent.branch))):
            return ended
        agent.output_schema, agent.answer_only = self.schema, True
        again = f"This does not fit the schema: {problem}. Answer with the JSON alone, without a tool call."
        ended = await run_turn(agent, again)
        if agent.error is not None:
            raise agent.error
        if ended.status == "done" and (problem := self.problem(last_reply(agent.branch))):
            raise AnswerUnfit(f"The answer does not fit the schema, also when asked for again: {problem}")
        return ended


def bare(text: str) -> str:
    """The JSON of an answer: without what a model thought before, and without a fence around all of it."""
    text = text.rpartition("</think>")[2].strip()
    fenced = _FENCE.fullmatch(text)
    return fenced[1].strip() if fenced else text


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is none of its values")


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        found = (node[key] for key in ("$ref", "$dynamicRef") if key in node)
        yield from (reference for reference in found if isinstance(reference, str))
    if isinstance(node, dict | list):
        for inner in node.values() if isinstance(node, dict) else node:
            yield from _references(inner)


def _is_there(schema: Any, reference: str) -> bool:
    """Whether a pointer such as `#/$defs/name` leads somewhere; the name of an anchor is taken to."""
    if not reference.startswith("#/"):
        return True
    for part in reference[2:].split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(schema, list) and key.isdecimal() and int(key) < len(schema):
            schema = schema[int(key)]
        elif isinstance(schema, dict) and key in schema:
            schema = schema[key]
        else:
            return False
    return True
