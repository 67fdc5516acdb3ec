"""Which model to use: what was asked for, else what is there.

Asked for: a model string (see `names`) or a base URL. Else, in this order: an API key in the environment, a
server that answers on the usual loopback ports, the embedded model, whose weights are pulled when missing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from agent.models import catalog, names, providers
from agent.models.base import Model, ModelAuth, ModelError, ModelRefusedRequest, ModelUnreachable, Quirks
from agent.models.fetching import OnProgress
from agent.models.local import LocalModel, LocalServer, OnNote, ServerSettings
from agent.models.providers import Provider
from agent.models.transport import HttpModel, ServerInfo, server_info
from agent.models.weights import pull
from agent.paths import cache_dir

PROBE_S = 0.3
KEY_VARIABLE = "OPENAI_API_KEY"
"""The key that goes to a server named by its URL."""
LOOPBACK = {8080: "llama.cpp", 8000: "vLLM", 11434: "Ollama", 1234: "LM Studio", 30000: "SGLang"}
"""Port -> the server that usually listens there."""


class FoundServer(msgspec.Struct, frozen=True):
    """A model server on this machine."""

    usual: str
    """What usually listens on its port."""
    base_url: str
    info: ServerInfo


async def open_model(
    spec: str | None = None,
    *,
    base_url: str | None = None,
    environ: Mapping[str, str] = os.environ,
    on_note: OnNote = lambda line: None,
    on_progress: OnProgress = lambda done, total: None,
    settings: ServerSettings | None = None,
    cache: Path | None = None,
    ports: Sequence[int] = tuple(LOOPBACK),
) -> Model:
    """Open the model; the caller closes it. `on_note` hears which one and why, `on_progress` of a download.

    `spec` is a model string; with `base_url` it is the model's name at that server. `settings` are for the
    embedded server. Raises UnknownModel, ModelAuth, WeightsError, ServerFailed and ModelUnreachable.
    """
    opener = _Opener(environ, on_note, on_progress, settings, cache or cache_dir())
    spec = spec or environ.get("PAWL_MODEL") or None
    if base_url:
        return await opener.server(base_url, spec or "")
    if spec:
        return await opener.named(spec)
    if model := await opener.by_key():
        return model
    if found := await find_servers(ports):
        return opener.found(found[0])
    on_note(f"no API key and no model server found: using the embedded model {catalog.DEFAULT_LOCAL}")
    return await opener.embedded(catalog.EMBEDDED + catalog.DEFAULT_LOCAL)


async def find_servers(ports: Sequence[int] = tuple(LOOPBACK)) -> list[FoundServer]:
    """Servers on this machine that list at least one model, in the order of `ports`."""

    async def probe(port: int) -> FoundServer | None:
        url = f"http://127.0.0.1:{port}/v1"
        try:
            async with asyncio.timeout(PROBE_S):
                info = await server_info(url, timeout_s=PROBE_S)
        except (ModelError, TimeoutError):
            return None
        return FoundServer(LOOPBACK.get(port, "server"), url, info) if info.models else None

    return [found for found in await asyncio.gather(*map(probe, ports)) if found]


class _Opener:
    """The ways to open a model, for one call of `open_model`."""

    def __init__(
        self,
        environ: Mapping[str, str],
        on_note: OnNote,
        on_progress: OnProgress,
        settings: ServerSettings | None,
        cache: Path,
    ) -> None:
        self.environ = environ
        self.on_note = on_note
        self.on_progress = on_progress
        self.settings = settings
        self.cache = cache

    async def named(self, spec: str) -> Model:
        match names.parse(spec):
            case names.Server(base_url, model):
                return await self.server(base_url, model)
            case names.Service(provider, model, effort):
                return self.service(provider, model, effort)
            case names.Embedded(info):
                return await self.embedded(catalog.EMBEDDED + info.name)
            case _:
                return await self.embedded(spec)

    async def embedded(self, name: str) -> Model:
        """A model that pawl serves itself; `name` is a full model string."""
        weights = await pull(
            name, cache=self.cache, on_progress=self.on_progress, on_note=self.on_note, environ=self.environ
        )
        server = await LocalServer.launch(weights, self.settings, on_note=self.on_note)
        return LocalModel(name, server)

    async def server(self, base_url: str, model: str) -> Model:
        """A compatible server at a URL; without a name its first model."""
        key = self.environ.get(KEY_VARIABLE)
        try:
            info = await server_info(base_url, key)
        except (ModelUnreachable, ModelAuth):
            raise
        except ModelError:
            if not model:
                raise
            info = ServerInfo(models=(), context_tokens=None, is_llama_cpp=False, slots=None)
        if not model:
            if not info.models:
                raise ModelRefusedRequest(f"{base_url} lists no model; name one: {base_url}#model")
            model = _chat_model(info)
            self.on_note(f"using {model}, the first model that {base_url} lists")
        return _http_model(base_url, model, info, key)

    def service(self, provider: Provider, model: str, effort: str = "") -> Model:
        if provider.wire != "openai_chat":
            raise ModelRefusedRequest(
                f"pawl does not speak {provider.name}'s own protocol yet; "
                f"reach its models as openrouter/{provider.name}/... or at a compatible server (--base-url)"
            )
        key = self.environ.get(provider.key_variable)
        if not key:
            raise ModelAuth(f"{provider.name} needs a key: set {provider.key_variable}")
        quirks = Quirks(max_tokens_field=provider.max_tokens_field, reasoning_effort=effort)
        return HttpModel(f"{provider.name}/{model}", self._url(provider), model, key, quirks=quirks)

    def _url(self, provider: Provider) -> str:
        moved = self.environ.get("OPENAI_BASE_URL") if provider.name == "openai" else None
        return moved or provider.base_url

    async def by_key(self) -> Model | None:
        """The default model of the first provider whose key is set; OPENAI_BASE_URL alone is enough too."""
        openai = providers.PROVIDERS[0]
        if (url := self._url(openai)) != openai.base_url:
            self.on_note(f"OPENAI_BASE_URL is set: asking {url}")
            return await self.server(url, "")
        for provider in providers.PROVIDERS:
            if not self.environ.get(provider.key_variable):
                continue
            if provider.wire != "openai_chat":
                self.on_note(
                    f"{provider.key_variable} is passed over: pawl does not speak {provider.name} yet"
                )
                continue
            self.on_note(f"using {provider.name}/{provider.default_model}: {provider.key_variable} is set")
            return self.service(provider, provider.default_model)
        return None

    def found(self, server: FoundServer) -> Model:
        model = _chat_model(server.info)
        self.on_note(f"using {model}: a server answers at {server.base_url}")
        return _http_model(server.base_url, model, server.info, None)


def _chat_model(info: ServerInfo) -> str:
    """The first model of a server that does not look like one for embeddings."""
    return next((model for model in info.models if "embed" not in model.lower()), info.models[0])


def _http_model(base_url: str, model: str, info: ServerInfo, key: str | None) -> HttpModel:
    return HttpModel(
        f"{base_url}#{model}",
        base_url,
        model,
        key,
        quirks=Quirks(llama_cpp=info.is_llama_cpp),
        context_tokens=info.context_tokens,
    )
