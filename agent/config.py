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
import tempfile
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec

from agent.paths import config_dir
from sandbox.network import HostError, parse_rules

MAX_TIMEOUT_S = 366 * 86400.0
"""Longer times, and infinity, do not fit the clocks of all that is told of it."""

Positive = Annotated[int, msgspec.Meta(ge=1)]


class ConfigError(Exception):
    """A setting is wrong. The message names the place (file and line, variable, flag) and what fits."""

    exit_code = 2


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
    tool_mode: Literal["auto", "native", "dialect", "grammar"] = "auto"
    """How the model is told of its tools: by the server, in the messages, or that with a grammar."""
    attempts: Positive | None = None
    max_steps: Positive = 40
    """Model calls in one turn or attempt."""
    max_tokens: Positive | None = None
    """Input and output tokens of the whole run."""
    timeout: Annotated[float, msgspec.Meta(gt=0, le=MAX_TIMEOUT_S)] = 1800.0
    """Wall time of the whole run in seconds."""
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    seed: int | None = None


class Config(msgspec.Struct, frozen=True):
    """Effective settings."""

    settings: Settings
    origin: dict[str, str]
    """Setting -> `default`, `/path/config.toml:3`, `PAWL_MODEL` or `--model`."""
    notes: tuple[str, ...] = ()
    """Lines that the person should read."""


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
    if not bare:
        path = user_file(environ)
        if path.exists() or "PAWL_CONFIG" in environ:
            for key, (value, line) in read_file(path).items():
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
    return Config(settings=Settings(**values), origin=origin, notes=tuple(notes))


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
    return _read_text(_text_of(path), path)


def _text_of(path: Path) -> str:
    """The file as it is, line ends too."""
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: expected UTF-8 text, found byte {error.object[error.start]:#04x}"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def _read_text(text: str, path: Path) -> dict[str, tuple[Any, int]]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, line = _toml_error(error, text)
        raise ConfigError(f'{path}:{line}: expected TOML, such as `model = "name"`: {what}') from error
    found: dict[str, tuple[Any, int]] = {}
    for key, value in table.items():
        line = _line_of(key, text)
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
        if key == "image":
            _check_image(converted, place)
        return converted
    except HostError as error:
        raise ConfigError(f"{place}: {error}") from error
    except msgspec.ValidationError as error:
        what = str(error).partition(", got ")[0]
        if choices := _choices(FIELDS[key]):
            what = f"expected one of {', '.join(choices)}"
        raise ConfigError(f"{place}: {what[0].lower()}{what[1:]}, got {value!r}") from error


def _check_image(name: str, place: str) -> None:
    from sandbox.devcontainer import is_image_name  # brings asyncio along, which no other setting needs

    if not is_image_name(name):
        raise ConfigError(f"{place}: expected the name of an image, such as `python:3-slim`, got {name!r}")


def _choices(kind: Any) -> list[str]:
    """The texts that a Literal allows, also where None is allowed beside it."""
    found = [choice for choice in get_args(kind) if isinstance(choice, str)]
    return found or [
        choice for part in get_args(kind) for choice in get_args(part) if isinstance(choice, str)
    ]


def _toml_error(error: tomllib.TOMLDecodeError, text: str) -> tuple[str, int]:
    """What is wrong and in which line. Before Python 3.14 the line stands only in the message."""
    message = str(error)
    if at := re.search(r" \(at line (\d+), column \d+\)$", message):
        return message[: at.start()], int(at[1])
    return message.removesuffix(" (at end of document)"), text.count("\n") + 1


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
    old = _text_of(path) if path.exists() else ""
    before = {name: found for name, (found, _) in _read_text(old, path).items()}
    after = {name: found for name, found in before.items() if name != key}
    if value is not None:
        after[key] = value
    new = _edit(old, key, value)
    try:
        correct = tomllib.loads(new) == after
    except tomllib.TOMLDecodeError:
        correct = False
    if not correct:
        raise ConfigError(f"{path}: `{key}` is written in a way that only a person can change; edit the file")
    _write(path, new)


def _edit(text: str, key: str, value: Any) -> str:
    lines = re.split(r"(?<=\n)", text)
    assignment = _assignment(key)
    at = next((number for number, line in enumerate(lines) if assignment.match(line)), None)
    if value is None:
        return "".join(line for number, line in enumerate(lines) if number != at)
    # TOML's strings are JSON's, but for surrogate pairs and a bare DEL.
    literal = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    written = f"{key} = {literal}"
    if at is None:
        gap = "\n" if text and not text.endswith("\n") else ""
        return f"{text}{gap}{written}\n"
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


def _write(path: Path, text: str) -> None:
    """Replace the file (or what a symlink leads to) at once, keeping its mode."""
    target = path.resolve()
    new: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
            new = Path(file.name)
            file.write(text.encode())
        if target.exists():
            new.chmod(target.stat().st_mode & 0o7777)
        new.replace(target)
    except OSError as error:
        if new is not None:
            new.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
