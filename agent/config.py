"""Settings, and the layer that each value comes from.

Layers, later ones win: defaults < the user's `config.toml` < environment (`PAWL_` + the setting's name in
capitals) < command-line flags. A project's `.pawl/config.toml` is not read before there is a way to trust it;
a note says so when one is there.

Whatever does not fit raises `ConfigError` with the place, what was expected, and the nearest name.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec

from agent.config_file import ConfigError as ConfigError
from agent.config_file import choices, parsed, text_of, write
from agent.config_models import read_models
from agent.models.catalog import ModelSettings
from agent.paths import config_dir
from sandbox.network import HostError, parse_rules

MAX_TIMEOUT_S = 366 * 86400.0
"""Longer times, and infinity, do not fit the clocks of all that is told of it."""

Positive = Annotated[int, msgspec.Meta(ge=1)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a person can set. None means: chosen from the model and the machine when it is needed."""

    model: str | None = None
    """Such as `local/qwen2.5-coder-1.5b`, `openai/...`, `http://host:port/v1#name`."""
    base_url: str | None = None
    """Address of an OpenAI-compatible server, ending in `/v1`."""
    wire: Literal["openai_chat", "openai_responses", "anthropic_messages", "gemini"] | None = None
    """Protocol of a server that is named by its address; without one Chat Completions."""
    fallback: str | None = None
    """Models that take over when the first is overloaded, out of quota or not to be reached: `NAME,NAME`."""
    api_key_command: str | None = None
    """Command that writes the API key, `{provider}` in it being the provider: `pass show keys/{provider}`."""
    sandbox: Literal["auto", "docker", "bubblewrap", "local"] = "auto"
    copy: Literal["all", "git"] = "all"
    """What of the folder is in the sandbox: all of it, or what git lists, without what it ignores."""
    image: str | None = None
    """Docker image; without one the host's toolchain is shown read-only."""
    runtime: str | None = None
    """Runtime of docker's containers, such as `runsc` (gVisor); without one the daemon's own choice."""
    network: str = "none"
    """What can be reached from the sandbox: `none`, `allow` or `HOST[:PORT],...` (`sandbox.network`)."""
    setup: str | None = None
    """Command that installs the project's dependencies once, before the agent works (`sandbox.setup`)."""
    setup_network: str | None = None
    """What that command can reach, written as `network`; without it the package registries that it needs."""
    strategy: Literal["auto", "loop", "repair"] = "auto"
    """How `fix` works: a tool loop, a direct repair, or what the model's catalogue entry says."""
    test_cmd: str | None = None
    """Command that must pass in the end; without one, `fix` and `run_tests` ask how the project is tested."""
    tool_mode: Literal["auto", "native", "dialect", "grammar"] = "auto"
    """How the model is told of its tools: by the server, in the messages, or that with a grammar."""
    refuse_syntax_errors: bool = False
    """Whether an edit that brings a syntax error into a file is refused; else the model is told of it."""
    repo_map: Literal["auto", "on", "off"] | Annotated[int, msgspec.Meta(ge=1, le=16384)] = "auto"
    """Whether the first message has a map of the repository, or of how many tokens; `auto`: with room."""
    tools: str = ""
    """Tools beside the default ones or without some of them: `+todo,-grep` (`tools.toolset`)."""
    record_tokens: bool = False
    """Whether the token ids and logprobs of each reply are kept beside the session log (for training)."""
    attempts: Positive | None = None
    max_steps: Positive = 40
    """Model calls in one turn or attempt."""
    max_tokens: Positive | None = None
    """Input and output tokens of the whole run."""
    max_cost: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """USD that the whole run may cost."""
    timeout: Annotated[float, msgspec.Meta(gt=0, le=MAX_TIMEOUT_S)] = 1800.0
    """Wall time of the whole run in seconds."""
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    seed: int | None = None

    @property
    def check(self) -> tuple[str, ...]:
        """The words of `test_cmd`; empty when there is none."""
        return tuple(shlex.split(self.test_cmd or ""))


class Config(msgspec.Struct, frozen=True):
    """Effective settings."""

    settings: Settings
    origin: dict[str, str]
    """Setting -> `default`, `/path/config.toml:3`, `PAWL_MODEL` or `--model`."""
    notes: tuple[str, ...] = ()
    """Lines that the person should read."""
    models: dict[str, ModelSettings] = {}
    """What the person says of models, by name or pattern; see `agent.models.catalog.traits`."""


FIELDS: dict[str, Any] = get_type_hints(Settings, include_extras=True)
"""Setting -> its type, as msgspec understands it."""


def user_file(environ: Mapping[str, str] = os.environ) -> Path:
    """The user's file: PAWL_CONFIG, else `config.toml` in the configuration directory."""
    named = environ.get("PAWL_CONFIG")
    return Path(named).expanduser() if named else config_dir() / "config.toml"


def load(
    flags: Mapping[str, object] | None = None,
    *,
    cwd: Path | None = None,
    bare: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Config:
    """Merge all layers. `flags` holds settings by name, None meaning not given; `bare` skips every file."""
    values: dict[str, Any] = {}
    origin = dict.fromkeys(FIELDS, "default")
    notes: list[str] = []
    models: dict[str, ModelSettings] = {}
    if not bare:
        path = user_file(environ)
        if path.exists() or "PAWL_CONFIG" in environ:
            found = read_file(path)
            models, _ = found.pop("models", (models, 0))
            for key, (value, line) in found.items():
                values[key], origin[key] = value, f"{path}:{line}"
        project = (cwd or Path.cwd()) / ".pawl" / "config.toml"
        if project.exists():
            notes.append(f"{project} is not read: settings of a project are not supported yet")
    for key in FIELDS:
        variable = f"PAWL_{key.upper()}"
        if text := environ.get(variable):
            values[key], origin[key] = parse(key, text, variable), variable
        if (given := (flags or {}).get(key)) is not None:
            flag = f"--{key.replace('_', '-')}"
            values[key], origin[key] = _convert(key, given, flag, strict=True), flag
    _refuse_unenforced(values, origin)
    return Config(settings=Settings(**values), origin=origin, notes=tuple(notes), models=models)


def _refuse_unenforced(values: Mapping[str, Any], origin: Mapping[str, str]) -> None:
    """Without a sandbox nothing holds commands to a list, and nothing is shown at another place."""
    if values.get("sandbox") == "local" and values.get("setup"):
        raise ConfigError(
            f"{origin['setup']}: the sandbox `local` ({origin['sandbox']}) has no set-up; expected `docker` "
            "or `bubblewrap` with it, or run the command yourself"
        )
    if values.get("sandbox") == "local" and not parse_rules(values.get("network", "")).empty:
        raise ConfigError(
            f"{origin['network']}: the sandbox `local` ({origin['sandbox']}) cannot hold commands to a list "
            "of hosts; expected `docker` or `bubblewrap` with it, or `network` = `none`"
        )


def parse(key: str, text: str, place: str) -> Any:
    """A setting's value from text, such as an environment variable or an argument."""
    return _convert(key, text, place, strict=False)


def read_file(path: Path) -> dict[str, tuple[Any, int]]:
    """The settings of one file, each with its line number."""
    return _read_text(text_of(path), path)


def _read_text(text: str, path: Path) -> dict[str, tuple[Any, int]]:
    found: dict[str, tuple[Any, int]] = {}
    for key, value in parsed(text, path).items():
        line = _line_of(key, text)
        if key == "models":
            found[key] = (read_models(value, text, path), line)
            continue
        place = f"{path}:{line}"
        if key not in FIELDS:
            raise ConfigError(unknown_key(key, place))
        found[key] = (_convert(key, value, f"{place}: `{key}`", strict=True), line)
    return found


def unknown_key(key: str, place: str) -> str:
    near = get_close_matches(key.replace("-", "_"), FIELDS, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"expected one of {', '.join(FIELDS)}"
    return f"{place}: unknown setting `{key}`; {hint}"


def _convert(key: str, value: object, place: str, *, strict: bool) -> Any:
    try:
        converted = msgspec.convert(value, FIELDS[key], strict=strict)
        if key in ("network", "setup_network"):
            parse_rules(converted)
        if key in ("model", "base_url") and converted == "":
            raise ConfigError(f"{place}: expected a name or an address, got {value!r}")
        if key == "image":
            _check_image(converted, place)
        if key == "tools":
            _check_tools(converted, place)
        if key == "test_cmd":
            _check_words(converted, place)
        return converted
    except HostError as error:
        raise ConfigError(f"{place}: {error}") from error
    except msgspec.ValidationError as error:
        what = str(error).partition(", got ")[0]
        if words := choices(FIELDS[key]):
            what = f"expected one of {', '.join(words)}"
        raise ConfigError(f"{place}: {what[0].lower()}{what[1:]}, got {value!r}") from error


def _check_image(name: str, place: str) -> None:
    from sandbox.devcontainer import is_image_name  # brings asyncio along, which no other setting needs

    if not is_image_name(name):
        raise ConfigError(f"{place}: expected the name of an image, such as `python:3-slim`, got {name!r}")


def _check_tools(changes: str, place: str) -> None:
    from tools.toolset import UnknownTool, parse_changes  # brings the sandbox along, as above

    try:
        parse_changes(changes)
    except UnknownTool as error:
        raise ConfigError(f"{place}: {error}") from error


def _check_words(command: str, place: str) -> None:
    try:
        shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"{place}: expected a command, got {command!r}: {error}") from error


def _assignment(key: str) -> re.Pattern[str]:
    name = re.escape(key)
    return re.compile(rf"""\s*(?:{name}|"{name}"|'{name}')\s*[=.]""")


def _line_of(key: str, text: str) -> int:
    """Number of the line that sets a top-level key or opens a table of that name; 1 if it cannot be told."""
    header = re.compile(rf"""\s*\[+\s*["']?{re.escape(key)}\b""")
    assignment = _assignment(key)
    for number, line in enumerate(text.split("\n"), start=1):
        if assignment.match(line) or header.match(line):
            return number
    return 1


def set_value(key: str, text: str, path: Path) -> None:
    """Set one key in the user's file, or take it out when `text` is empty; all other lines are kept.

    The new text is parsed before the file is replaced (atomically): if anything but this key would change,
    the file stays as it is and ConfigError says so.
    """
    if key not in FIELDS:
        raise ConfigError(unknown_key(key, "pawl config set"))
    value = parse(key, text, key) if text else None
    old = text_of(path) if path.exists() else ""
    _read_text(old, path)
    after = {name: found for name, found in parsed(old, path).items() if name != key}
    if value is not None:
        after[key] = value
    new = _edit(old, key, value)
    try:
        correct = tomllib.loads(new) == after
    except tomllib.TOMLDecodeError:
        correct = False
    if not correct:
        raise ConfigError(f"{path}: `{key}` is written in a way that only a person can change; edit the file")
    write(path, new)


def _edit(text: str, key: str, value: Any) -> str:
    lines = re.split(r"(?<=\n)", text)
    assignment = _assignment(key)
    tables = next((number for number, line in enumerate(lines) if re.match(r"\s*\[", line)), len(lines))
    at = next((number for number, line in enumerate(lines[:tables]) if assignment.match(line)), None)
    if value is None:
        return "".join(line for number, line in enumerate(lines) if number != at)
    # TOML's strings are JSON's, but for surrogate pairs and a bare DEL.
    literal = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    written = f"{key} = {literal}"
    if at is None:
        before, behind = "".join(lines[:tables]), "".join(lines[tables:])
        gap = "\n" if before and not before.endswith("\n") else ""
        return f"{before}{gap}{written}\n{behind}"
    lines[at] = f"{written}{_comment(lines[at])}\n"
    return "".join(lines)


def _comment(line: str) -> str:
    """The comment at the end of an assignment with the blanks before it, or nothing."""
    for at in (found.start() for found in re.finditer(r"\s*#", line)):
        try:
            tomllib.loads(line[:at])
        except tomllib.TOMLDecodeError:
            continue
        return line[at:].rstrip()
    return ""
