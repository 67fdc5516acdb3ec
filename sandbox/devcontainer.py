"""What a repository's devcontainer.json asks for, and a line for each thing of it that is not done.

The file is the repository's, so it is read as an enemy's: it may name an image, say how to build one, and set
plain variables. What would act on the host, show more of it, or lift the isolation is left out and said.
Pure: a text becomes a Devcontainer.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Iterator
from typing import Any

import msgspec

from sandbox.base import SandboxError
from sandbox.client import CLEAN_ENV

PLACES = (".devcontainer/devcontainer.json", ".devcontainer.json")
"""Where it may lie, the first one wins."""

_VALUE_BYTES = 4096
_COMMAND_CHARACTERS = 300
_VARIABLES = 64
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_IMAGE = re.compile(
    r"(?:(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?/)?"
    r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*"
    r"(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?|sha256:[0-9a-f]{64})",
    re.ASCII,
)
"""A reference as docker writes it: no blank, no leading dash, nothing that a shell would mind."""

_OURS = frozenset({*CLEAN_ENV, "PATH", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "TMPDIR", "IFS"})
_STEERS = frozenset(
    {
        "BASHOPTS",
        "BASH_ENV",
        "ENV",
        "GCONV_PATH",
        "GLIBC_TUNABLES",
        "JAVA_TOOL_OPTIONS",
        "LOCPATH",
        "NODE_OPTIONS",
        "PERL5DB",
        "PERL5OPT",
        "PROMPT_COMMAND",
        "PYTHONBREAKPOINT",
        "PYTHONEXECUTABLE",
        "PYTHONHOME",
        "PYTHONINSPECT",
        "PYTHONSTARTUP",
        "RUBYOPT",
        "SHELLOPTS",
        "_JAVA_OPTIONS",
    }
)
_STEERS_BY_PREFIX = ("LD_", "DYLD_", "GIT_", "PAWL_", "BASH_FUNC_", "MALLOC_")
_PROXY = re.compile(r"(?i)(?:https?|ftp|all|no)_proxy")

_HOST = "it would run on the host"
_LATER = "commands of a repository are not run unasked; put them into the Dockerfile"
_INSTALLS = frozenset({"onCreateCommand", "updateContentCommand", "postCreateCommand"})
_LIFTS = "it could lift the isolation"
_PORTS = "a sandbox has no port that the host could reach"
_COMPOSE = "pawl runs one container; name an `image` or a `build`"
_REASONS = {
    "initializeCommand": _HOST,
    "onCreateCommand": _LATER,
    "updateContentCommand": _LATER,
    "postCreateCommand": _LATER,
    "postStartCommand": _LATER,
    "postAttachCommand": _LATER,
    "mounts": "it would show folders of the host",
    "workspaceMount": "the workspace is mounted by pawl",
    "workspaceFolder": "the workspace has the path that it has on the host",
    "runArgs": _LIFTS,
    "privileged": _LIFTS,
    "capAdd": _LIFTS,
    "securityOpt": _LIFTS,
    "init": "pawl's own agent is the first process",
    "overrideCommand": "pawl's own agent is the first process",
    "features": "they are fetched and run as root; put what they install into the Dockerfile",
    "overrideFeatureInstallOrder": "features are not used",
    "forwardPorts": _PORTS,
    "appPort": _PORTS,
    "portsAttributes": _PORTS,
    "otherPortsAttributes": _PORTS,
    "dockerComposeFile": _COMPOSE,
    "service": _COMPOSE,
    "runServices": _COMPOSE,
    "secrets": "no secret of the person enters a sandbox",
    "hostRequirements": "the limits are pawl's",
    "userEnvProbe": "no shell of a user is asked for variables",
    "updateRemoteUserUID": "commands have the uid that owns the workspace",
    "waitFor": "there is no command to wait for",
    "shutdownAction": "a sandbox never outlives its session",
}
_OF_BUILD = {"cacheFrom": "it would be fetched", "options": "options for docker could lift the isolation"}
_SILENT = frozenset({"$schema", "name", "customizations", "extensions", "settings"})
"""Of no meaning to a sandbox: not worth a line."""
_USED = frozenset(
    {"image", "build", "dockerFile", "context", "containerEnv", "remoteEnv", "remoteUser", "containerUser"}
)


class DevcontainerError(SandboxError, ValueError):
    """The file cannot be used. The message names the file, the place in it and what fits."""


class Build(msgspec.Struct, frozen=True):
    """How to build an image. Paths are relative to the project's folder, "" is that folder."""

    dockerfile: str
    context: str
    args: dict[str, str] = {}
    target: str = ""


class Devcontainer(msgspec.Struct, frozen=True):
    """What is used of a devcontainer.json: at most one of `image` and `build`."""

    path: str
    image: str | None = None
    build: Build | None = None
    env: dict[str, str] = {}
    """containerEnv, then remoteEnv; checked: none of them can change what pawl sets."""
    user: str = ""
    """remoteUser or containerUser: a name to go by. The uid is always the one that owns the workspace."""
    notes: tuple[str, ...] = ()
    """One line for each field that is not used, with the reason."""


def is_image_name(name: str) -> bool:
    """True for what docker takes for the name or id of an image, and for nothing that a shell minds."""
    return len(name) <= 255 and _IMAGE.fullmatch(name) is not None


def parse(text: str, path: str) -> Devcontainer:
    """Read a devcontainer.json; `path` is its place in the project. Raises DevcontainerError."""
    fields = _object(read_jsonc(text, path), path, "the file")
    build, of_build = _build(fields, path)
    image = _text(fields, "image", path) if build is None else None
    if image is not None and not is_image_name(image):
        raise DevcontainerError(f"{path}: `image`: expected the name of an image, got {image[:80]!r}")
    notes = [f"{path}: `{name}` is not used: {why}" for name, why in (*_unused(fields), *of_build)]
    if build is not None and "image" in fields:
        notes.append(f"{path}: `image` is not used: there is a `build`")
    env: dict[str, str] = {}
    for field in ("containerEnv", "remoteEnv"):
        for name, value in _object(fields.get(field) or {}, path, f"`{field}`").items():
            why = _refusal(name, value) or ("" if len(env) < _VARIABLES else f"over {_VARIABLES} variables")
            if why:
                notes.append(f"{path}: `{field}` {name[:128]!r} is not used: {why}")
            else:
                env[name] = value
    user = _text(fields, "remoteUser", path) or _text(fields, "containerUser", path) or ""
    if user and not _USER.fullmatch(user):
        notes.append(f"{path}: the user {user[:80]!r} is not used: it is no plain name")
        user = ""
    return Devcontainer(path, image, build, env, user, tuple(notes))


def _unused(fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if name in _USED or name in _SILENT or value in (None, False):
            continue
        reason = _REASONS.get(name, "pawl does not know it")
        if name in _INSTALLS and (command := _one_line(value)):
            reason = f"{reason}, or run it as `--setup {shlex.quote(command)}`"
        yield ascii(name[:80])[1:-1], reason


def _one_line(value: object) -> str:
    """A command that can be shown as it is, to be looked at and typed; "" for any other."""
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        value = shlex.join(value)
    fits = isinstance(value, str) and len(value) <= _COMMAND_CHARACTERS and value.isascii()
    return value if isinstance(value, str) and fits and value.isprintable() else ""


def _refusal(name: str, value: object) -> str:
    """Why a variable is not set; "" when it is."""
    if not _VARIABLE.fullmatch(name):
        return "it is no name of a variable"
    if name in _OURS:
        return "pawl sets it (for PATH: `ENV` in the Dockerfile)"
    if name in _STEERS or name.startswith(_STEERS_BY_PREFIX) or _PROXY.fullmatch(name):
        return "it steers the programs that pawl runs"
    if not isinstance(value, str):
        return "its value is no text"
    if "${" in value:
        return "pawl fills in no ${...}, least of all from the host"
    if "\0" in value or len(value.encode("utf-8", "replace")) > _VALUE_BYTES or not _is_unicode(value):
        return f"its value is no text of at most {_VALUE_BYTES} bytes"
    return ""


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


# --- build -------------------------------------------------------------------------------------------------


def _build(fields: dict[str, Any], path: str) -> tuple[Build | None, list[tuple[str, str]]]:
    """The fields of `build`, or their old names outside of it; and what is not used of them."""
    build = _object(fields.get("build") or {}, path, "`build`")
    dockerfile = _text(build, "dockerfile", path) or _text(fields, "dockerFile", path)
    if dockerfile is None:
        if build:
            raise DevcontainerError(f"{path}: `build`: expected a `dockerfile`")
        return None, []
    folder = posixpath.dirname(path)
    context = _text(build, "context", path) or _text(fields, "context", path) or "."
    target = _text(build, "target", path) or ""
    if target and not _TARGET.fullmatch(target):
        raise DevcontainerError(f"{path}: `target`: expected the name of a stage, got {target[:80]!r}")
    args = _object(build.get("args") or {}, path, "`args`")
    for name, value in args.items():
        if not _VARIABLE.fullmatch(name) or not isinstance(value, str) or "${" in value:
            raise DevcontainerError(
                f"{path}: `args`: expected plain text under a plain name at {name[:80]!r}"
            )
        if len(args) > _VARIABLES or len(value) > _VALUE_BYTES or "\0" in value or not _is_unicode(value):
            raise DevcontainerError(f"{path}: `args`: too many, too long, or no text at {name[:80]!r}")
    unused = [(f"build.{name}", why) for name, why in _OF_BUILD.items() if build.get(name)]
    return Build(beneath(folder, dockerfile, path), beneath(folder, context, path), args, target), unused


def beneath(folder: str, name: str, place: str) -> str:
    """`name`, relative to `folder`, as a path from the project's folder; DevcontainerError when it leaves it.

    `..` is resolved by the text alone: whoever opens the result must not follow symlinks.
    """
    result = posixpath.normpath(posixpath.join(folder, name))
    if name.startswith("/") or result.split("/")[0] == ".." or not _is_unicode(name) or "\0" in name:
        raise DevcontainerError(f"{place}: expected a path in the project, got {name[:80]!r}")
    return "" if result == "." else result


# --- JSON with comments ------------------------------------------------------------------------------------

_STRING = r'("(?:[^"\\]|\\.?)*+"?)'
"""To its end, or to that of the text: whatever the text is, no part of it is looked at twice."""
_COMMENT = re.compile(_STRING + r"|//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_COMMA = re.compile(_STRING + r"|,(?=\s*[}\]])", re.DOTALL)


def read_jsonc(text: str, path: str) -> object:
    """JSON that may have comments and trailing commas. Raises DevcontainerError with the line.

    What is left out becomes blank, so that lines keep their numbers.
    """
    plain = _COMMENT.sub(
        lambda found: found[1] or re.sub(r"[^\n]", " ", found[0]), text.removeprefix("\ufeff")
    )
    plain = _COMMA.sub(lambda found: found[1] or " ", plain)
    try:
        return json.loads(plain)
    except json.JSONDecodeError as error:
        raise DevcontainerError(f"{path}:{error.lineno}: not JSON with comments: {error.msg}") from None
    except (RecursionError, ValueError):
        raise DevcontainerError(
            f"{path}: not JSON with comments: nested too deep, or a huge number"
        ) from None


def _object(value: object, path: str, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DevcontainerError(f"{path}: expected an object for {what}")
    return value


def _text(fields: dict[str, Any], name: str, path: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise DevcontainerError(f"{path}: `{name}`: expected text")
    return value or None
