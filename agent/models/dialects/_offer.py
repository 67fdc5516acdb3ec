"""The offered tools, and arguments brought into the form that a tool's JSON Schema asks for. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from agent.models.base import ToolSpec
from agent.models.dialects._json import repaired, value_at


class Written(NamedTuple):
    """A call as it was written."""

    name: str
    """Of an offered tool where one fits, else as the model wrote it."""
    arguments: str
    """JSON text; broken when the reply was cut inside it or nobody can tell what it means."""


class Offer:
    """The tools of a request."""

    def __init__(self, tools: Iterable[ToolSpec]) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._alike: dict[str, str] = {}
        for name in self._tools:
            self._alike.setdefault(_key(name), name)

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    def name(self, written: str) -> str:
        """The tool that a written name means: `functions.Read:0` is `read`; the name itself if none is."""
        bare = _SUFFIX.sub("", _PREFIX.sub("", written.strip(" \t\r\n\"'`*")))
        for candidate in (written, bare):
            if candidate in self._tools:
                return candidate
        return self._alike.get(_key(bare), bare)

    def properties(self, name: str) -> dict[str, Any]:
        """Schemas of the arguments by name; empty for a tool that is not offered."""
        tool = self._tools.get(name)
        return (tool.parameters.get("properties") or {}) if tool else {}

    def required(self, name: str) -> list[str]:
        tool = self._tools.get(name)
        return list(tool.parameters.get("required") or ()) if tool else []

    def only_text(self, name: str) -> str | None:
        """The argument that a bare text is for: the required one, if there is one and it is a text."""
        required = self.required(name)
        if len(required) != 1 or "string" not in _types(self.properties(name).get(required[0], {})):
            return None
        return required[0]

    def call(self, name: str, arguments: Mapping[str, Any], raw: str = "") -> Written:
        """A call, its arguments fitted to the schema. `raw`, their text, is kept where nothing changed."""
        name = self.name(name)
        properties = self.properties(name)
        needed = set(self.required(name))
        fitted = {
            key: fit(value, properties.get(key, {}))
            for key, value in arguments.items()
            if not _is_nothing(value, properties.get(key, {})) or key in needed or key not in properties
        }
        if raw and fitted == arguments:
            return Written(name, raw)
        return Written(name, _dumped(fitted))

    def call_of_texts(self, name: str, texts: Mapping[str, str], cut: tuple[str, str] | None) -> Written:
        """A call whose arguments were written as texts between tags; `cut` is one that has no end.

        Then the JSON has no end either, so that running it tells the model, and half a file is never written.
        """
        name = self.name(name)
        properties = self.properties(name)
        values = {key: from_text(text, properties.get(key, {})) for key, text in texts.items()}
        whole = self.call(name, values)
        if cut is None:
            return whole
        begun = json.dumps({**values, cut[0]: cut[1]}, ensure_ascii=False)
        return Written(name, begun.removesuffix('"}'))


def fit(value: Any, schema: Mapping[str, Any]) -> Any:
    """The value in the type that the schema asks for where its meaning is plain, else as it is."""
    types = _types(schema)
    if isinstance(value, str):
        return value if not types or "string" in types else from_text(value, schema)
    if types == {"string"} and value is not None:
        return value if isinstance(value, bool) else _as_text(value)
    if isinstance(value, dict) and "object" in types:
        inner = schema.get("properties") or {}
        return {key: fit(entry, inner.get(key, {})) for key, entry in value.items()}
    if isinstance(value, list) and "array" in types:
        return [fit(entry, schema.get("items") or {}) for entry in value]
    if isinstance(value, float) and value.is_integer() and types == {"integer"}:
        return int(value)
    return value


def from_text(text: str, schema: Mapping[str, Any]) -> Any:
    """The value that a text between tags stands for."""
    types = _types(schema)
    if not types or "string" in types:
        return text
    word = text.strip()
    if word.lower() in _WORDS and types & {"boolean", "null"}:
        return _WORDS[word.lower()]
    found = value_at(word, 0)
    value = found[0] if found and found[1] == len(word) else None
    if value is None:
        value = repaired(word) if word[:1] in ("{", "[") else None
        if value is None:
            return text
    return text if isinstance(value, str) else fit(value, schema)


def _is_nothing(value: Any, schema: Mapping[str, Any]) -> bool:
    """A null, or a word for it where no text is due."""
    if isinstance(value, str) and "string" not in _types(schema):
        return value.strip().lower() in ("null", "none", "undefined", "nil")
    return value is None


def _dumped(value: Any) -> str:
    """JSON as it can be stored: half a surrogate pair is left escaped."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def _as_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2 if isinstance(value, dict | list) else None)


def _types(schema: Mapping[str, Any]) -> set[str]:
    """The names of the types that a schema allows; empty when it allows any."""
    types = schema.get("type")
    found = {types} if isinstance(types, str) else set(types or ())
    for variant in (*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())):
        found |= _types(variant)
    return found


def _key(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


_PREFIX = re.compile(r"^(?:functions?|tools?|default_api|default|api)[.:/](?=\w)", re.IGNORECASE)
_SUFFIX = re.compile(r"(?::\d+|\(\))$")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
    **dict.fromkeys(("null", "none"), None),
}
