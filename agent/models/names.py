"""Model strings as people write them, taken apart. Pure, but for a look whether a file is there.

local/NAME, NAME                 an embedded model of the catalogue
provider/model[:effort]          a service: openai/gpt-5-mini:high
http://host:port/v1[#model]      a compatible server; host:port will do
path/to/file.gguf                weights on this machine
replay:path/to/file              a recording of what a model said (see `recording`)
hf:owner/repo[/file]             weights on Hugging Face; a repository named GGUF needs no `hf:`
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import msgspec

from agent.models import catalog, providers
from agent.models.address import normal_base_url
from agent.models.catalog import ModelInfo, UnknownModel
from agent.models.providers import Provider

_URL = re.compile(
    r"https?://|(localhost|[\w-]+(\.[\w-]+)+|\[[0-9a-f:]+\]):\d{2,5}(?=[/#]|$)|localhost(?=[/#]|$)",
    re.IGNORECASE,
)
"""An address, with its scheme or its port."""
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


class Embedded(msgspec.Struct, frozen=True):
    """A model of the catalogue, to be served by pawl."""

    info: ModelInfo


class Service(msgspec.Struct, frozen=True):
    provider: Provider
    model: str
    effort: str = ""


class Server(msgspec.Struct, frozen=True):
    base_url: str
    model: str = ""
    """Empty: the server's first."""


class GgufFile(msgspec.Struct, frozen=True):
    path: Path


class HubFile(msgspec.Struct, frozen=True):
    repo: str
    file: str = ""
    """Path in the repository. Empty: its only GGUF, or the one of medium 4-bit quantisation."""


class Recording(msgspec.Struct, frozen=True):
    path: Path


Reference = Embedded | Recording | Service | Server | GgufFile | HubFile


def parse(text: str) -> Reference:
    """Tell what a model string means. Raises UnknownModel, with the nearest names or what fits."""
    text = text.strip()
    if _URL.match(text):
        url, _, model = text.partition("#")
        normal_base_url(url)
        return Server(url, model)
    if text.startswith("replay:"):
        return Recording(Path(text.removeprefix("replay:")).expanduser().absolute())
    if text.startswith("hf:"):
        return _hub_file(text.removeprefix("hf:"), text)
    head, slash, rest = text.partition("/")
    service = providers.provider(head) if slash else None
    if text.lower().endswith(".gguf"):
        path = Path(text).expanduser()
        if path.exists() or (service is None and _looks_like_a_path(text)):
            return GgufFile(path.absolute())
    if not slash and (served := _served_as(text)):
        raise UnknownModel(f"there is no model '{text}' on this machine; did you mean {served}?")
    if not slash or text.startswith(catalog.EMBEDDED):
        return Embedded(catalog.find(text))
    if service:
        return _service(service, rest)
    if "gguf" in rest.lower():
        return _hub_file(text, text)
    names = [f"{name}/" for known in providers.PROVIDERS for name in (known.name, *known.aliases)] + [
        catalog.EMBEDDED
    ]
    known = f"known are {', '.join(found.name for found in providers.PROVIDERS)}"
    near = catalog.nearest(f"{head}/", names, known)
    raise UnknownModel(f"there is no provider '{head}' (in '{text}'); {near}")


def _served_as(name: str) -> str:
    """The name behind the service whose own models are called so; empty if there is none."""
    word = re.match(r"[a-z]*", name.lower())
    if not word or not word[0] or any(known.startswith(word[0]) for known in catalog.known_names()):
        return ""
    kin = (one.name for one in providers.PROVIDERS if re.match(rf"{word[0]}\b", one.default_model.lower()))
    return f"{found}/{name}" if (found := next(kin, "")) else ""


def _looks_like_a_path(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~")) or text.count("/") < 2


def _service(provider: Provider, rest: str) -> Service:
    model, colon, effort = rest.rpartition(":")
    if colon and effort in EFFORTS:
        rest = model
    else:
        effort = ""
    return Service(provider, rest or provider.default_model, effort)


def _hub_file(name: str, text: str) -> HubFile:
    owner, _, rest = name.partition("/")
    repo, _, file = rest.partition("/")
    if not owner or not repo or ".." in PurePosixPath(name).parts:
        raise UnknownModel(
            f"'{text}' is no repository on Hugging Face; write hf:owner/name or hf:owner/name/file"
        )
    if file and not file.lower().endswith(".gguf"):
        raise UnknownModel(f"'{text}' names a file that is no GGUF")
    return HubFile(f"{owner}/{repo}", file)
