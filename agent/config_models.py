"""What a person says of models: the tables `[models."name"]` of the configuration, read and written.

[models."qwen3*"]
dialect = "hermes"
context_tokens = 32768
prices = { input = 0.2, output = 0.8 }
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from agent.config_file import ConfigError, choices, parsed, text_of, write
from agent.models.catalog import ModelSettings

FIELDS: dict[str, Any] = get_type_hints(ModelSettings, include_extras=True)


def read_models(tables: object, text: str, path: Path) -> dict[str, ModelSettings]:
    """The tables below `models`, by name or pattern. Raises ConfigError with line and nearest name."""
    if not isinstance(tables, dict):
        raise ConfigError(f'{path}: `models` holds tables: [models."name"]')
    return {name: _read_model(name, table, text, path) for name, table in tables.items()}


def set_model(name: str, settings: ModelSettings, path: Path) -> None:
    """Write what `settings` says into the table of the model; all other lines are kept.

    As with single settings the new text is parsed before the file is replaced, and the file stays as it is
    if anything else would change.
    """
    old = text_of(path) if path.exists() else ""
    wanted = parsed(old, path)
    said = msgspec.to_builtins(settings)
    wanted.setdefault("models", {}).setdefault(name, {}).update(said)
    read_models(wanted["models"], old, path)
    new = _edited(old, name, said)
    try:
        correct = tomllib.loads(new) == wanted
    except tomllib.TOMLDecodeError:
        correct = False
    if not correct:
        raise ConfigError(f'{path}: [models."{name}"] is written in a way that only a person can change')
    write(path, new)


def _edited(text: str, name: str, said: Mapping[str, Any]) -> str:
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    begin = next((at for at, line in enumerate(lines) if _header(name).match(line)), None)
    if begin is None:
        lines += ["\n"] if lines else []
        lines.append(f"[models.{_toml(name)}]\n")
        begin = len(lines) - 1
    for key, value in said.items():
        end = next((at for at in range(begin + 1, len(lines)) if lines[at].startswith("[")), len(lines))
        at = next((at for at in range(begin + 1, end) if re.match(rf"\s*{key}\s*=", lines[at])), None)
        written = f"{key} = {_toml(value)}\n"
        if at is None:
            lines.insert(begin + 1, written)
        else:
            lines[at] = written
    return "".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def _read_model(name: str, table: object, text: str, path: Path) -> ModelSettings:
    header = _line_of(text, name)
    if not isinstance(table, dict):
        raise ConfigError(f'{path}:{header}: expected a table [models."{name}"], got {table!r}')
    for key, value in table.items():
        place = f"{path}:{_line_of(text, name, key)}"
        if key not in FIELDS:
            near = get_close_matches(key.replace("-", "_"), FIELDS, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"expected one of {', '.join(FIELDS)}"
            raise ConfigError(f"{place}: unknown setting `{key}` of a model; {hint}")
        try:
            msgspec.convert(value, FIELDS[key])
        except msgspec.ValidationError as error:
            what = str(error).partition(", got ")[0]
            if words := choices(FIELDS[key]):
                what = f"expected one of {', '.join(words)}"
            raise ConfigError(f"{place}: `{key}`: {what[0].lower()}{what[1:]}, got {value!r}") from error
    settings = msgspec.convert(table, ModelSettings)
    if settings.dialect:
        _check_dialect(settings.dialect, f"{path}:{_line_of(text, name, 'dialect')}")
    return settings


def _check_dialect(name: str, place: str) -> None:
    from agent.models import dialects  # only for those who name one

    known = dialects.names()
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"expected one of {', '.join(known)}"
        raise ConfigError(f"{place}: unknown dialect {name!r}; {hint}")


def _header(name: str) -> re.Pattern[str]:
    known = "|".join(re.escape(form) for form in (_toml(name), f"'{name}'", name))
    return re.compile(rf"\s*\[\s*models\s*\.\s*(?:{known})\s*\]")


def _line_of(text: str, name: str, key: str = "") -> int:
    """Number of the line that opens the model's table, or that sets a key of it; 1 if it cannot be told."""
    lines = text.splitlines()
    begin = next((at for at, line in enumerate(lines) if _header(name).match(line)), None)
    if begin is None:
        return 1
    if key:
        for at in range(begin + 1, len(lines)):
            if lines[at].lstrip().startswith("["):
                break
            if re.match(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]""", lines[at]):
                return at + 1
    return begin + 1
