"""`pawl doctor`: can the main job run here, and if not, what mends it.

Exit code 0 only when everything that `pawl fix` needs is there. With names of checks, those alone are made
and every one of them must hold: `pawl doctor sandbox`.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from agent import config, paths
from agent.config import ConfigError, Settings
from agent.models import catalog, names, providers
from agent.models.address import public_base_url
from agent.models.base import ModelError
from agent.models.catalog import ModelInfo
from agent.models.resolve import KEY_VARIABLE, find_servers
from agent.models.transport import server_info
from agent.models.weights import present
from sandbox.base import BackendName, SandboxUnavailable
from sandbox.open import choose, load
from sandbox.programs import find
from sandbox.remedy import install

FREE_SPACE_BYTES = 2 * 1024**3
"""Less than this does not hold the default model's weights and a few frozen trees."""

app = typer.Typer(add_completion=False)


class Finding(NamedTuple):
    """What one check saw."""

    ok: bool
    seen: str
    remedy: str = ""
    """What the person can do about it; said only when `ok` is false."""


class Check(NamedTuple):
    look: Callable[[], Awaitable[Finding]]
    required: bool
    """False for what is good to have: the main job runs without it."""


@app.command()
def doctor(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="CHECK", help="Make these checks only.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Check this machine and say how to mend what is missing."""
    for name in names or ():
        if name not in CHECKS:
            raise ConfigError(f"there is no check `{name}`; expected some of {', '.join(CHECKS)}")
    chosen = {name: CHECKS[name] for name in names or CHECKS}
    findings = asyncio.run(_look(chosen))
    ready = all(findings[name].ok for name, check in chosen.items() if names or check.required)
    if as_json:
        rows = {
            name: {**found._asdict(), "required": chosen[name].required} for name, found in findings.items()
        }
        print(json.dumps({"ready": ready, "checks": rows}, indent=2))
    else:
        for name, found in findings.items():
            print(_line(name, found, required=chosen[name].required))
        if not names:
            print("\nReady." if ready else "\nNot ready: mend what is marked `missing`.")
    raise typer.Exit(0 if ready else 1)


async def _look(chosen: dict[str, Check]) -> dict[str, Finding]:
    return {name: await check.look() for name, check in chosen.items()}


def _line(name: str, found: Finding, *, required: bool) -> str:
    mark = "ok" if found.ok else "missing" if required else "absent"
    text = f"{mark:<8} {name:<11} {found.seen}"
    return text if found.ok or not found.remedy else f"{text}\n{'':21}{found.remedy}"


async def _python() -> Finding:
    return Finding(True, f"{platform.python_version()} at {sys.executable}")


async def _git() -> Finding:
    git = find("git")
    return Finding(True, git) if git else Finding(False, "not installed", install("git"))


async def _sandbox() -> Finding:
    try:
        return Finding(True, (await choose(_settings().sandbox)).reason)
    except SandboxUnavailable as error:
        return Finding(False, str(error), error.remedy)


async def _docker() -> Finding:
    return await _backend("docker")


async def _bubblewrap() -> Finding:
    return await _backend("bubblewrap")


async def _backend(name: BackendName) -> Finding:
    reason = await load(name).available()
    return Finding(True, "works") if reason is None else Finding(False, reason, load(name).remedy(reason))


async def _model() -> Finding:
    """The model that would be used now, without loading it."""
    settings = _settings()
    if settings.base_url:
        return await _server(settings.base_url)
    if settings.model:
        return await _named(settings.model)
    for provider in providers.PROVIDERS:
        if provider.default_model and os.environ.get(provider.key_variable):
            return Finding(True, f"{provider.name}/{provider.default_model}: {provider.key_variable} is set")
    for server in await find_servers():
        return Finding(True, f"a server answers at {server.base_url}")
    return _embedded(catalog.find(catalog.DEFAULT_LOCAL))


async def _named(model: str) -> Finding:
    try:
        reference = names.parse(model)
    except ModelError as error:
        return Finding(False, str(error), "pawl config set model NAME")
    match reference:
        case names.Embedded(info):
            return _embedded(info)
        case names.Server(base_url):
            return await _server(base_url)
        case names.Recording(path):
            return Finding(path.is_file(), f"the recording {path}", "name a file that PAWL_RECORD wrote")
        case names.Service(provider) if provider.local:
            return await _server(os.environ.get(provider.url_variable) or provider.base_url)
        case names.Service(provider):
            if not os.environ.get(provider.key_variable) and _settings().api_key_command:
                return Finding(True, f"{model}: api_key_command gives the key")
            known = bool(os.environ.get(provider.key_variable))
            seen = f"{model}: {provider.key_variable} is {'set' if known else 'not set'}"
            return Finding(known, seen, f"export {provider.key_variable}=...")
        case names.GgufFile(path):
            return _engine(f"{path}") if path.is_file() else Finding(False, f"there is no file {path}")
        case names.HubFile(repo):
            return _engine(f"{repo} of Hugging Face, pulled at its first use")


def _embedded(info: ModelInfo) -> Finding:
    name = catalog.EMBEDDED + info.name
    if info.weights and not present(info.weights, paths.cache_dir()):
        size = f"{info.weights.size / 1e6:,.0f} MB"
        return Finding(False, f"{name} is not pulled yet ({size})", f"pawl models pull {info.name}")
    return _engine(f"{name}, embedded")


def _engine(seen: str) -> Finding:
    """The same when the engine that runs weights on this machine is installed."""
    if find_spec("xllamacpp") is None:
        return Finding(False, f"{seen}, but xllamacpp is not installed", "pip install 'pawl-agent[local]'")
    return Finding(True, seen)


async def _server(base_url: str) -> Finding:
    try:
        info = await server_info(base_url, os.environ.get(KEY_VARIABLE, "").strip())
    except ModelError as error:
        return Finding(False, str(error), "start the server, or choose another: pawl config set base_url URL")
    return Finding(
        True, f"{public_base_url(base_url)} offers {', '.join(info.models[:3]) or 'no list of models'}"
    )


def _settings() -> Settings:
    """Settings as far as they can be read; the check `config` tells what is wrong with them."""
    try:
        return config.load(cwd=Path.cwd()).settings
    except ConfigError:
        return Settings()


async def _config() -> Finding:
    try:
        merged = config.load(cwd=Path.cwd())
    except ConfigError as error:
        return Finding(False, str(error), f"edit {config.user_file()}")
    file = config.user_file()
    changed = sum(origin != "default" for origin in merged.origin.values())
    return Finding(True, f"{file if file.exists() else 'no settings file'}, {changed} settings changed")


async def _state() -> Finding:
    folder = paths.state_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding(
            False, f"{folder} cannot be written: {error.strerror}", "set PAWL_HOME to a folder of yours"
        )
    return Finding(True, str(folder))


async def _space() -> Finding:
    folder = paths.cache_dir()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    seen = f"{free / 1e9:.1f} GB free at {there}"
    return Finding(
        free >= FREE_SPACE_BYTES, seen, f"free {FREE_SPACE_BYTES / 1e9:.1f} GB or set PAWL_HOME elsewhere"
    )


CHECKS = {
    "python": Check(_python, required=True),
    "git": Check(_git, required=True),
    "sandbox": Check(_sandbox, required=True),
    "docker": Check(_docker, required=False),
    "bubblewrap": Check(_bubblewrap, required=False),
    "model": Check(_model, required=True),
    "config": Check(_config, required=True),
    "state": Check(_state, required=True),
    "space": Check(_space, required=False),
}
