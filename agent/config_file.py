"""The user's settings file as text: read with the place in every error, replaced at once."""

from __future__ import annotations

import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any, get_args


class ConfigError(Exception):
    """A setting is wrong. The message names the place (file and line, variable, flag) and what fits."""

    exit_code = 2


def text_of(path: Path) -> str:
    """The file as it is, line ends too."""
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: expected UTF-8 text, found byte {error.object[error.start]:#04x}"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def parsed(text: str, path: Path) -> dict[str, Any]:
    """The whole table. Raises ConfigError with the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, line = _toml_error(error, text)
        raise ConfigError(f'{path}:{line}: expected TOML, such as `model = "name"`: {what}') from error


def choices(kind: Any) -> list[str]:
    """The texts that a Literal allows, also where None is allowed beside it."""
    found = [choice for choice in get_args(kind) if isinstance(choice, str)]
    return found or [
        choice for part in get_args(kind) for choice in get_args(part) if isinstance(choice, str)
    ]


def write(path: Path, text: str) -> None:
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


def _toml_error(error: tomllib.TOMLDecodeError, text: str) -> tuple[str, int]:
    """What is wrong and in which line. Before Python 3.14 the line stands only in the message."""
    message = str(error)
    if at := re.search(r" \(at line (\d+), column \d+\)$", message):
        return message[: at.start()], int(at[1])
    return message.removesuffix(" (at end of document)"), text.count("\n") + 1
