"""Calls written as JSON: `{"name": ..., "arguments": {...}}` under the keys that models use, one or several.

The arguments' text is kept as the model wrote it wherever it is JSON of the right types. Put right is only
what models do to it: `repaired` says what, and arguments as a string of JSON, braces doubled as in a
template's example, wrappers such as `{"type": "function", "function": {...}}`.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from agent.models.dialects._json import extent, repaired, undoubled, value_at
from agent.models.dialects._offer import Offer, Written

NAMES = ("name", "function", "tool", "tool_name", "function_name", "action", "recipient_name")
ARGUMENTS = (
    *("arguments", "parameters", "args", "input", "params", "kwargs", "argument", "parameter"),
    *("action_input", "tool_input", "tool_args", "function_args", "tool_arguments", "tool_parameters"),
)
_LONE_NAMES = ("name", "function", "function_name", "tool", "tool_name")
_LONE_ARGUMENTS = ("arguments", "args", "parameters")
"""Those that nothing but a call has."""
_BESIDES = frozenset(("id", "type", "index", "call_id", "tool_call_id", "thought", "thoughts", "reasoning"))
"""Keys that may stand beside name and arguments."""
_LISTS = ("tool_calls", "tool_uses", "calls", "function_calls")
_ONES = ("tool_call", "function_call")
_NAME = re.compile(r"[\w./:-]{1,80}(?:\(\))?")
_BEGUN = re.compile(
    rf"""\[?\s*\{{+\s*(?:["'](?:id|type)["']\s*:\s*["'][\w-]*["']\s*,\s*)*["'](?:{"|".join(NAMES)})["']\s*:\s*"""
    rf"""(?:\{{\s*["']name["']\s*:\s*)?["'](?P<name>{_NAME.pattern})["']\s*,"""
    rf"""\s*["'](?:{"|".join(ARGUMENTS)})["']\s*:\s*(?P<arguments>.*)""",
    re.DOTALL,
)
_EMBEDDED = re.compile(r"\A```\w*[ \t]*\n(.*?)\n?(?:```\s*)?\Z", re.DOTALL)


def read_calls(text: str, offer: Offer, *, marked: bool = False) -> list[Written]:
    """The calls that the text consists of; none when it holds anything else.

    `marked` text stands behind a mark that says it is a call: then tools need not be known, what else stands
    in the objects does not matter, and where nobody can tell the arguments they are left broken.
    """
    text = text.strip()
    if marked and (inner := _EMBEDDED.match(text)):
        text = inner[1].strip()
    if text[:1] not in ("{", "["):
        return []
    calls = _sequence(text, offer, marked)
    if not calls and text.startswith("{{"):
        calls = _sequence(undoubled(text), offer, marked)
    return calls


def read_lone_call(text: str, offer: Offer) -> list[Written]:
    """The calls that a whole reply is, also of unknown tools: nothing else has these keys and no others."""
    found = value_at(text.strip(), 0)
    value = found[0] if found and found[1] == len(text.strip()) else None
    return read_calls(text, offer, marked=True) if _is_lone(value, offer) else []


def _is_lone(value: Any, offer: Offer) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_is_lone(entry, offer) for entry in value)
    if not isinstance(value, dict):
        return False
    keys = sorted(value.keys() - _BESIDES, key=ARGUMENTS.__contains__)
    if keys == ["name"]:
        name = offer.name(str(value["name"]))
        return name in offer and not offer.required(name)
    if len(keys) == 1 and keys[0] in (*_LISTS, *_ONES, "function", "tool"):
        return _is_lone(value[keys[0]], offer)
    if len(keys) != 2 or keys[0] not in _LONE_NAMES or keys[1] not in _LONE_ARGUMENTS:
        return False
    given = value[keys[1]]
    if isinstance(given, dict):
        return bool(given) and not _shows_a_form(given)
    return isinstance(given, str) and given[:1] == "{"


def _shows_a_form(arguments: dict[str, Any]) -> bool:
    return any(given in ("...", "…") for given in arguments.values())


def read_cut_call(text: str, offer: Offer) -> list[Written]:
    """The call of an offered tool that the text begins, when its end is missing."""
    text = text.strip()
    return _sequence(text, offer, False, cut=True) if _is_cut(text) else []


def arguments_call(name: str, text: str, offer: Offer) -> Written:
    """A call whose name stood elsewhere; its arguments are this text, left broken if that is no object."""
    text = text.strip()
    if inner := _EMBEDDED.match(text):
        text = inner[1].strip()
    found = value_at(text, 0)
    value = found[0] if found and not text[found[1] :].strip() else None
    if isinstance(value, str):
        return arguments_call(name, value, offer)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        return offer.call(name, value[0])
    if isinstance(value, dict):
        return offer.call(name, value, text if _is_json(text) else "")
    if not text or (value in (None, []) and found):
        return offer.call(name, {})
    fixed = repaired(undoubled(text) if text.startswith("{{") else text) if text[0] == "{" else None
    if isinstance(fixed, dict) and _fits(call := offer.call(name, fixed), offer):
        return call
    if (pair := _PAIR.fullmatch(text)) and pair["key"] in offer.properties(offer.name(name)):
        return offer.call(name, {pair["key"]: pair["value"].strip("\"'")})
    argument = offer.only_text(offer.name(name))
    if argument and text[0] not in "{[" and value is None:
        return offer.call(name, {argument: text.strip("\"'") if text[0] in "\"'" else text})
    return Written(offer.name(name), text)


def _sequence(text: str, offer: Offer, marked: bool, cut: bool = False) -> list[Written]:
    """JSON values one behind the other, or in a list, each of which is calls.

    One that cannot be read even with repair is left broken, if it is marked or the text's `cut` end. Marked
    objects that name no tool are passed over.
    """
    text = text[1:] if text.startswith("[") else text
    calls: list[Written] = []
    position = 0
    while gap := _GAP.match(text, position):
        position = gap.end()
        if position == len(text):
            break
        found = value_at(text, position)
        end = found[1] if found else extent(text, position).end
        written = text[position:end]
        read = _calls_of(found[0], written, offer, marked) if found else _repaired(written, offer, marked)
        if not read and not found and (marked or (cut and end == len(text))):
            read = _begun(written, offer, marked)
        if not (read or (marked and written[0] == "{")):
            return []
        calls += read
        position = end
    return calls


def begins_call(text: str, start: int, offer: Offer) -> bool:
    """A call of an offered tool begins there, however it goes on."""
    begun = _BEGUN.match(text, start)
    return begun is not None and offer.name(begun["name"]) in offer


def _begun(text: str, offer: Offer, marked: bool) -> list[Written]:
    """The call that the text begins, its arguments as they are."""
    begun = _BEGUN.match(text)
    if begun is None or not (marked or offer.name(begun["name"]) in offer):
        return []
    return [Written(offer.name(begun["name"]), begun["arguments"])]


def _repaired(text: str, offer: Offer, marked: bool) -> list[Written]:
    """The calls of one broken value."""
    if not _KEY.search(text):
        return []
    value = repaired(text)
    if value is None and "{{" in text:
        value = repaired(undoubled(text))
    calls = _calls_of(value, "", offer, marked)
    return calls if all(_fits(call, offer) for call in calls) else []


def _calls_of(value: Any, written: str, offer: Offer, marked: bool) -> list[Written]:
    """The calls that one JSON value is; `written` is its text, empty when that was repaired."""
    if isinstance(value, list):
        read = [_calls_of(entry, "", offer, marked) for entry in value]
        return [call for calls in read for call in calls] if all(read) else []
    if not isinstance(value, dict):
        return []
    for key in _LISTS:
        if isinstance(inner := value.get(key), list) and (marked or len(value) <= 2):
            return _calls_of(inner, "", offer, marked) if inner else []
    for key in _ONES:
        if isinstance(value.get(key), dict) and (marked or len(value) == 1):
            return _calls_of(value[key], "", offer, marked)
    for key in ("function", "tool"):
        if isinstance(inner := value.get(key), dict) and set(value) <= _BESIDES | {key}:
            return _calls_of(inner, "", offer, marked)
    call = _call(value, written, offer, marked)
    return [call] if call else []


def _call(value: dict[str, Any], written: str, offer: Offer, marked: bool) -> Written | None:
    name_key = next((key for key in NAMES if isinstance(value.get(key), str)), None)
    if name_key is None:
        return _keyed(value, offer) if marked else None
    name = value[name_key]
    if not _NAME.fullmatch(name.strip()) or not (marked or offer.name(name) in offer):
        return None
    key = next((key for key in ARGUMENTS if key in value and key != name_key), None)
    others = {k: v for k, v in value.items() if k not in (name_key, key) and k not in _BESIDES}
    if key is None:
        return _flat(name, others, offer, marked)
    if others and (not marked or "description" in others):
        return None
    arguments = value[key]
    if isinstance(arguments, dict):
        if not marked and _shows_a_form(arguments):
            return None
        if key == "parameters" and "properties" in arguments and "properties" not in offer.properties(name):
            return None
        if len(arguments) == 1 and isinstance(inner := arguments.get(key), dict):
            return offer.call(name, inner) if key not in offer.properties(offer.name(name)) else None
        return offer.call(name, arguments, _raw(written, key))
    if arguments is None or arguments in ("", []):
        return offer.call(name, {}) if marked or not offer.required(offer.name(name)) else None
    if isinstance(arguments, str):
        call = arguments_call(name, arguments, offer)
        clear = arguments.lstrip()[:1] == "{" or key in ("action_input", "tool_input")
        return call if marked or (clear and _is_json(call.arguments)) else None
    return arguments_call(name, json.dumps(arguments, ensure_ascii=False), offer) if marked else None


def _flat(name: str, others: dict[str, Any], offer: Offer, marked: bool) -> Written | None:
    """Arguments beside the name instead of in an object of their own."""
    known, needed = offer.properties(offer.name(name)), offer.required(offer.name(name))
    if others and set(needed) <= set(others) <= set(known):
        return offer.call(name, others)
    return offer.call(name, others) if marked and "description" not in others else None


def _keyed(value: dict[str, Any], offer: Offer) -> Written | None:
    """`{"read": {"path": ...}}`"""
    if len(value) != 1:
        return None
    ((name, arguments),) = value.items()
    return offer.call(name, arguments) if isinstance(arguments, dict) and offer.name(name) in offer else None


def _raw(written: str, key: str) -> str:
    """The text of the arguments in the text of the call, if it is strict JSON."""
    try:
        return bytes(msgspec.json.decode(written, type=dict[str, msgspec.Raw])[key]).decode()
    except (ValueError, KeyError, RecursionError):
        return ""


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_cut(text: str) -> bool:
    found = extent(text, 0)
    return bool(found.missing) or found.in_string


def _fits(call: Written, offer: Offer) -> bool:
    """A repair that makes up keys took the text apart in the wrong places."""
    known = offer.properties(call.name)
    found = value_at(call.arguments, 0)
    return not known or found is None or set(found[0]) <= set(known)


_GAP = re.compile(r"[\s,;}\]]*")
_KEY = re.compile(r"\w\W{0,2}\s*:")
_PAIR = re.compile(r"[\"']?(?P<key>\w+)[\"']?[ \t]*[=:][ \t]*(?P<value>[^\n]+)")
