"""Which model to use: what was asked for, else what is there.

Asked for: a model string (see `names`) or a base URL. Else, in this order: an API key in the environment, a
server that answers on the usual loopback ports, the embedded model, whose weights are pulled when missing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from agent.models import catalog, names, providers
from agent.models.address import host_of, is_loopback, local_address, public_base_url
from agent.models.base import Model, ModelAuth, ModelError, ModelRefusedRequest, ModelUnreachable, Quirks
from agent.models.catalog import ModelSettings, UnknownModel
from agent.models.fetching import OnProgress
from agent.models.keys import find_key
from agent.models.local import LocalModel, LocalServer, OnNote
from agent.models.providers import LLAMA_CPP, Provider, WireName
from agent.models.recording import RecordedModel, Recorder
from agent.models.serving import ServerSettings, find_engine
from agent.models.transport import HttpModel, ServerInfo, server_info
from agent.models.weights import pull
from agent.paths import cache_dir
from agent.session import known_secrets, scrubber

PROBE_S = 0.3
KEY_VARIABLE = "OPENAI_API_KEY"
"""The key that goes to a server named by its URL, and to no other that is not OpenAI's."""
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
    wire: WireName | None = None,
    key_command: str | None = None,
    on_key: Callable[[str], None] = lambda key: None,
    own: Mapping[str, ModelSettings] | None = None,
    record_tokens: bool = False,
) -> Model:
    """Open the model; the caller closes it. `on_note` hears which one and why, `on_progress` of a download.

    `spec` is a model string; with `base_url` it is the model's name at that server. `settings` are for the
    embedded server, `wire` is for a server that is named by its URL, `key_command` gives keys (see `keys`);
    `on_key` hears the key of a service, to keep it out of logs; `own` is what the person says of models.
    `record_tokens` asks for token ids and logprobs, where the server has them.
    With PAWL_RECORD in the environment every exchange is appended to that file (see `recording`). Raises
    UnknownModel, ModelAuth, WeightsError, ServerFailed and ModelUnreachable.
    """
    opener = _Opener(
        environ,
        on_note,
        on_progress,
        settings,
        cache or cache_dir(),
        wire,
        key_command,
        on_key,
        own or {},
        record_tokens,
    )
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
        wire: WireName | None,
        key_command: str | None,
        on_key: Callable[[str], None],
        own: Mapping[str, ModelSettings],
        record_tokens: bool,
    ) -> None:
        self.environ = environ
        self.on_note = on_note
        self.on_progress = on_progress
        self.settings = settings
        self.cache = cache
        self.wire = wire
        self.key_command = key_command
        self.on_key = on_key
        self.own = own
        self.record_tokens = record_tokens

    async def named(self, spec: str) -> Model:
        match names.parse(spec):
            case names.Server(base_url, model):
                return await self.server(base_url, model)
            case names.Service(provider, model, effort):
                return await self.service(provider, model, effort)
            case names.Recording(path):
                return RecordedModel(path)
            case names.Embedded(info):
                return await self.embedded(catalog.EMBEDDED + info.name)
            case _:
                return await self.embedded(spec)

    async def embedded(self, name: str) -> Model:
        """A model that pawl serves itself; `name` is a full model string."""
        find_engine(self.settings.engine if self.settings else None)  # before weights are fetched in vain
        weights = await pull(
            name, cache=self.cache, on_progress=self.on_progress, on_note=self.on_note, environ=self.environ
        )
        server = await LocalServer.launch(weights, self.settings, on_note=self.on_note)
        return LocalModel(name, server, self.asking(name, LLAMA_CPP))

    async def server(
        self, base_url: str, model: str, provider: Provider | None = None, effort: str = ""
    ) -> Model:
        """A compatible server at a URL; without a name its first model. `provider`: its kind, if known."""
        shown = public_base_url(base_url)
        variable = provider.own_variable if provider else KEY_VARIABLE
        key = self.environ.get(variable, "").strip() or None
        keeper = provider.name if provider else host_of(base_url)
        here = is_loopback(host_of(base_url))
        if not key and not here:
            key = await self.kept_key(keeper)
        try:
            try:
                info = await server_info(base_url, key)
            except ModelAuth:
                if key or not here or not (key := await self.kept_key(keeper)):
                    raise
                info = await server_info(base_url, key)
        except (ModelUnreachable, ModelAuth, UnknownModel):
            raise
        except ModelError:
            if not model:
                raise
            info = ServerInfo(models=(), context_tokens=None, is_llama_cpp=False, slots=None)
        if not model:
            if not info.models:
                raise ModelRefusedRequest(
                    f"{shown} lists no model; load one there, or name one: {shown}#model"
                )
            model = _chat_model(info)
            self.on_note(f"using {model}, the first model that {shown} lists")
        kind = providers.of_owner(info.owner) or provider
        if kind and not kind.any_model and info.models:
            _check_listed(model, info.models, shown)
        return self.http(f"{shown}#{model}", base_url, model, key, kind, info, effort)

    async def kept_key(self, keeper: str) -> str | None:
        """The key of a server that may need none, from command or keyring: by its kind or its host."""
        try:
            key = await find_key(keeper, "", self.environ, self.key_command)
        except ModelAuth as error:
            self.on_note(f"{error}; asking {keeper} without a key")
            return None
        if key:
            self.on_key(key)
        return key

    async def service(self, provider: Provider, model: str, effort: str = "") -> Model:
        url = self.environ.get(provider.url_variable) if provider.url_variable else None
        if provider.local:
            url = local_address(url, provider.base_url) if url else provider.base_url
            return await self.server(url, model, provider, effort)
        if not (url or provider.base_url):
            raise ModelRefusedRequest(
                f"{provider.name} has an address for each customer: set {provider.url_variable}"
            )
        if url and provider.url_path and not urlsplit(url if "://" in url else f"//{url}").path.strip("/"):
            url = url.rstrip("/") + provider.url_path
        if not model:
            raise UnknownModel(f"{provider.name} has no default model; name one: {provider.name}/MODEL")
        key = await find_key(provider.name, provider.key_variable, self.environ, self.key_command)
        if not key:
            raise ModelAuth(
                f"{provider.name} needs a key: set {provider.key_variable}, or the setting api_key_command"
            )
        self.on_key(key)
        wire, quirks = provider.wire, provider.quirks_of(model, effort)
        if url and provider.elsewhere:
            wire, quirks = provider.elsewhere
            quirks = msgspec.structs.replace(quirks, effort=effort)
        name = f"{provider.name}/{model}"
        quirks = self._with_eyes(name, quirks)
        quirks = self.asking(name, quirks)
        return HttpModel(
            name,
            url or provider.base_url,
            model,
            key,
            wire=wire,
            quirks=quirks,
            on_retry=self.on_retry,
            recorder=self.recorder(name, wire, model, quirks),
        )

    def http(
        self,
        name: str,
        base_url: str,
        model: str,
        key: str | None,
        kind: Provider | None,
        info: ServerInfo,
        effort: str = "",
    ) -> HttpModel:
        """The model of a server that is named by its URL."""
        quirks = kind.quirks_of(model, effort) if kind else Quirks(effort=effort)
        quirks = self._with_eyes(name, quirks, info.images)
        wire = self.wire or "openai_chat"
        quirks = self.asking(name, quirks)
        return HttpModel(
            name,
            base_url,
            model,
            key,
            wire=wire,
            quirks=quirks,
            context_tokens=info.context_tokens,
            on_retry=self.on_retry,
            recorder=self.recorder(name, wire, model, quirks),
        )

    def _with_eyes(self, name: str, quirks: Quirks, served: bool | None = None) -> Quirks:
        """Whether the model sees: as the person says, the server, the provider, the catalogue; else it does
        not, for an image that is refused would be refused again in every later request.
        """
        said, listed = catalog.sees_images(name, self.own), catalog.traits(name).images
        known = (sees for sees in (said, served, quirks.images, listed) if sees is not None)
        return msgspec.structs.replace(quirks, images=next(known, False))

    def asking(self, name: str, quirks: Quirks) -> Quirks:
        """The quirks that also ask for token ids, when they are wanted and the server has them.

        A reply that broke off is then begun anew: the ids of its two halves would not make one reply.
        """
        if not self.record_tokens:
            return quirks
        if not quirks.tokens:
            self.on_note(f"{name} tells no token ids; none are recorded")
            return quirks
        extra = {**quirks.extra, **quirks.tokens}
        return msgspec.structs.replace(quirks, extra=extra, prefill=False)

    def on_retry(self, error: ModelError, wait_s: float) -> None:
        self.on_note(f"{error}; asking again in {wait_s:.1f} s")

    def recorder(self, name: str, wire: str, model: str, quirks: Quirks) -> Recorder | None:
        path = self.environ.get("PAWL_RECORD")
        if not path:
            return None
        scrub = scrubber(known_secrets(self.environ))
        return Recorder(Path(path), name=name, wire=wire, model=model, quirks=quirks, scrub=scrub)

    async def by_key(self) -> Model | None:
        """The default model of the first provider whose key is set; OPENAI_BASE_URL alone is enough too."""
        if url := self.environ.get("OPENAI_BASE_URL"):
            self.on_note(f"OPENAI_BASE_URL is set: asking {public_base_url(url)}")
            return await self.server(url, "")
        for provider in providers.PROVIDERS:
            if provider.default_model and self.environ.get(provider.key_variable):
                name = f"{provider.name}/{provider.default_model}"
                self.on_note(f"using {name}: {provider.key_variable} is set")
                return await self.service(provider, provider.default_model)
        return None

    def found(self, server: FoundServer) -> Model:
        model = _chat_model(server.info)
        self.on_note(f"using {model}: a server answers at {server.base_url}")
        kind = providers.of_owner(server.info.owner)
        return self.http(f"{server.base_url}#{model}", server.base_url, model, None, kind, server.info)


def _chat_model(info: ServerInfo) -> str:
    """The first model of a server that does not look like one for embeddings."""
    return next((model for model in info.models if "embed" not in model.lower()), info.models[0])


def _check_listed(model: str, listed: Sequence[str], base_url: str) -> None:
    """Raise UnknownModel unless the server lists the model; Ollama lets its tag `latest` be left out."""
    if not {model, f"{model}:latest"} & set(listed):
        raise UnknownModel(f"{base_url} serves no model {model!r}; {catalog.nearest_served(model, listed)}")
