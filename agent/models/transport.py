"""A model behind a server over HTTP, on any wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from agent.messages import Assistant, User
from agent.models import wire as wires
from agent.models.address import credentials, normal_base_url, server_root, shown_address
from agent.models.base import (
    NO_QUIRKS,
    ContextOverflow,
    Delta,
    Finish,
    ModelAuth,
    ModelBadReply,
    ModelError,
    ModelRefusedRequest,
    ModelUnreachable,
    PromptProgress,
    Quirks,
    Request,
)
from agent.models.catalog import UnknownModel, nearest_served
from agent.models.faults import blind, fault, server_words, stream_error, struck_out, unknown_model
from agent.models.retry import DEFAULT_RETRIES, OnRetry, Retries, retried, retry_after_s
from agent.models.sse import DONE, SSEParser
from agent.models.wire import Wire
from agent.models.wire._plain import count, object_of

if TYPE_CHECKING:
    import httpx

    from agent.models.connections import Connections
    from agent.models.recording import Recorder

MAX_ERROR_BYTES = 64 * 2**10
"""How much of an error's body is read."""
MAX_JSON_BYTES = 16 * 2**20
LIST_S = 10.0
"""How long the server may take to list its models."""
_DRAIN_S = 0.5
"""How long to wait for a stream's end after its last event, to keep the connection for the next request."""
_END_S = 5.0
"""How long to wait for token counts after the end of the reply itself."""
_CALL_MARKS = ("<", "{", "[", "`", "Action")
"""Any of these may begin a call that is written as text."""


class HttpModel:
    """Streams replies of `model` at `base_url`, which may lack its scheme or its `/v1`.

    Times in seconds: `first_byte_s` is how long the server may be silent until the reply begins (a local
    server reads the prompt meanwhile, for minutes), `stall_s` between two pieces of it; comments and
    pings are none. `on_retry` hears of
    each retry. The key is sent to the server and shown nowhere.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        model: str,
        api_key: str | None = None,
        *,
        wire: str = "openai_chat",
        quirks: Quirks = NO_QUIRKS,
        context_tokens: int | None = None,
        first_byte_s: float = 600.0,
        stall_s: float = 120.0,
        retries: Retries = DEFAULT_RETRIES,
        on_retry: OnRetry | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        from agent.models.connections import Connections  # httpx is loaded only by those who talk to a server

        self.name = name
        self.context_tokens = context_tokens
        self.on_retry = on_retry
        self._model = model
        self._key = api_key
        self._secrets = (api_key or "", *credentials(base_url))
        self._quirks = quirks
        self._first_byte_s = first_byte_s
        self._stall_s = stall_s
        self._retries = retries
        self._recorder = recorder
        self._base_url = base_url
        self._whole = quirks.extra.get("stream") is False
        self._wire = spoken = wires.load(wire)
        self._root = normal_base_url(base_url, spoken.VERSION, always=spoken.VERSION_ALWAYS)
        self._url = self._root + spoken.PATH.format(model=quote(model))
        self._address = shown_address(self._url)
        headers = {"content-type": "application/json", "accept": "text/event-stream", **spoken.HEADERS}
        key_header = quirks.key_header or spoken.KEY_HEADER
        self._connections = Connections(self._url, headers | authorization(api_key, key_header))

    def __repr__(self) -> str:
        return f"HttpModel({self.name!r}, {self._address!r}, {self._model!r})"

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Stream one reply, its Finish last. Raises ModelError; closing the generator ends the request."""
        if self._quirks.images is False and any(isinstance(m, User) and m.images for m in request.messages):
            raise blind(self.name)

        async with aclosing(
            retried(
                lambda received: self._exchange(self._body(going_on(request, received))),
                self._retries,
                resumable=lambda text: resumable(request, self._quirks, text),
                on_retry=self.on_retry,
            )
        ) as deltas:
            async for delta in deltas:
                if isinstance(delta, Finish):
                    delta = await self._with_prompt(request, self._finished(request, delta))
                yield delta

    def on_wire(self, wire: str) -> HttpModel:
        """The same model at the same address, spoken to on another wire, and asked once only."""
        return HttpModel(
            self.name,
            self._base_url,
            self._model,
            self._key,
            wire=wire,
            quirks=self._quirks,
            context_tokens=self.context_tokens,
            retries=Retries(attempts=1),
        )

    async def info(self) -> ServerInfo:
        """What its server tells of itself. Raises ModelError."""
        return await server_info(self._base_url, self._key)

    async def aclose(self) -> None:
        await self._connections.aclose()

    def _body(self, request: Request) -> bytes:
        return msgspec.json.encode(
            self._wire.to_wire(request, model=self._model, quirks=self._quirks, origin=self.name)
        )

    async def _exchange(self, body: bytes) -> AsyncGenerator[Delta, None]:
        """One request and its reply."""
        connections = self._connections
        async with connections.request(
            "POST", self._url, content=body, header_s=self._first_byte_s
        ) as response:
            await self._check(response, body)
            reply = Reply(self._wire, self._address, self._fault)
            if self._whole:
                raw = await connections.read(response, MAX_JSON_BYTES)
                self._record(body, response, raw)
                for delta in reply.whole(raw):
                    yield delta
                yield reply.finish()
                return
            stall_s, clock = self._first_byte_s, asyncio.get_running_loop().time
            async with connections.body(response) as chunks:
                since = clock()
                try:
                    while not reply.done:
                        ended = reply.ended
                        try:
                            chunk = await connections.next_chunk(chunks, _END_S if ended else stall_s, since)
                        except ModelUnreachable:
                            if reply.ended:
                                break
                            raise
                        if chunk is None:
                            break
                        if self._recorder:
                            reply.kept.append(chunk)
                        said = False
                        for delta in reply.feed(chunk):
                            said = True
                            if not isinstance(delta, PromptProgress):
                                stall_s = self._stall_s
                            yield delta
                        # what only keeps the connection alive is no sign that the model still works
                        if said or reply.ended != ended:
                            since = clock()
                finally:
                    self._record(body, response, b"".join(reply.kept))
                finish = reply.finish()
                with suppress(ModelUnreachable):
                    await connections.next_chunk(chunks, _DRAIN_S)
        yield finish

    async def _check(self, response: httpx.Response, body: bytes) -> None:
        """Raise unless a reply follows: an event stream, or one object where that was asked for."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        due = "application/json" if self._whole else "text/event-stream"
        if response.status_code == 200 and kind in (due, ""):
            return
        raw = await self._connections.read(response, MAX_ERROR_BYTES)
        self._record(body, response, raw)
        said = raw.decode(errors="replace")
        if unknown_model(response.status_code, said) and (names := await self._listed()):
            raise UnknownModel(
                f"{self._address} knows no model {self._model!r}; {nearest_served(self._model, names)}"
            )
        if response.status_code != 200:
            raise self._fault(
                response.status_code, said, retry_after=retry_after_s(response.headers, datetime.now(UTC))
            )
        with suppress(msgspec.DecodeError, TypeError, AttributeError):
            if error := self._wire.failure(msgspec.json.decode(said, type=dict[str, Any])):
                raise self._fault(*stream_error(error))
        raise ModelBadReply(
            f"{self._address} answered {kind} where an event stream was due; "
            f"is the base URL right? It said: {server_words(struck_out(said, self._secrets))}"
        )

    async def _listed(self) -> list[str]:
        """The models that the server lists, empty when it does not or when ours is among them."""
        url = f"{self._root}/models"
        with suppress(ModelError):
            listed = await _get_json(self._connections, url, self._secrets, LIST_S)
            found = _objects(listed.get("data") or listed.get("models"))
            names = [str(m.get("id") or m.get("name")).removeprefix("models/") for m in found]
            return [] if self._model in names else names
        return []

    def _finished(self, request: Request, finish: Finish) -> Finish:
        """The end with our name, and a bound that was reached where the server does not say so.

        Raises ContextOverflow: some servers cut a prompt that does not fit and have no room left to answer.
        """
        usage, limit, bound = finish.usage, self.context_tokens, request.max_tokens
        reason = finish.reason
        if reason == "stop" and bound and usage.output_tokens >= bound:
            reason = "length"
        if limit and reason == "length" and not usage.output_tokens and usage.input_tokens >= limit:
            raise ContextOverflow(
                f"the prompt fills the whole context of {self._model} ({limit:,} tokens), no answer fits",
                usage.input_tokens,
                limit,
            )
        return msgspec.structs.replace(finish, origin=self.name, reason=reason)

    async def _with_prompt(self, request: Request, finish: Finish) -> Finish:
        """The end with the prompt's ids, where another route has them and the server counted as many."""
        tokens = finish.tokens
        if tokens is None or not self._quirks.prompt_route:
            return finish
        root, secrets = server_root(self._base_url), self._secrets
        ids: list[int] = []
        with suppress(ModelError):
            url, body = f"{root}/apply-template", self._body(request)
            shown = await _get_json(self._connections, url, secrets, LIST_S, body)
            asked = {"content": shown.get("prompt"), "add_special": True, "parse_special": True}
            url, body = f"{root}/tokenize", msgspec.json.encode(asked)
            ids = (await _get_json(self._connections, url, secrets, LIST_S, body)).get("tokens") or []
        prompt = tuple(ids) if len(ids) == finish.usage.input_tokens else ()
        return msgspec.structs.replace(finish, tokens=msgspec.structs.replace(tokens, prompt=prompt))

    def _record(self, body: bytes, response: httpx.Response, said: bytes) -> None:
        if self._recorder:
            kind = response.headers.get("content-type", "")
            self._recorder.add(body, response.status_code, kind, said, secrets=self._secrets)

    def _fault(self, status: int, body: str, retry_after: float | None = None) -> ModelError:
        return fault(
            status,
            body,
            address=self._address,
            model=self._model,
            secrets=self._secrets,
            retry_after=retry_after,
        )


def resumable(request: Request, quirks: Quirks, text: str) -> bool:
    """Whether a reply that broke off can go on from this text: never from text that may hold the beginning of
    a call, nor inside of what a schema holds.
    """
    if not quirks.prefill or request.output_schema is not None:
        return False
    return not (request.tools and any(mark in text for mark in _CALL_MARKS))


def going_on(request: Request, received: str) -> Request:
    """The request; `received` is what it has been answered already."""
    if not received:
        return request
    return msgspec.structs.replace(request, messages=(*request.messages, Assistant(received)))


class Reply:
    """The pure part of reading one reply: bytes in, deltas out."""

    def __init__(self, wire: Wire, address: str, fault_of: Callable[[int, str], ModelError]) -> None:
        self.done = False
        """Nothing follows any more."""
        self.kept: list[bytes] = []
        """The bytes as they came, where somebody keeps them."""
        self._wire = wire
        self._decoder = wire.Decoder()
        self._parser = SSEParser()
        self._address = address
        self._fault_of = fault_of

    @property
    def ended(self) -> bool:
        """The reply is whole; only token counts can follow."""
        return self._decoder.ended

    def feed(self, chunk: bytes) -> Iterator[Delta]:
        """Deltas of the next bytes. Raises ModelBadReply, or what an error in the stream means."""
        try:
            for data in self._parser.feed(chunk):
                if data.strip() == DONE:
                    self.done = True
                    break
                event = msgspec.json.decode(data, type=dict[str, Any])
                if error := self._wire.failure(event):
                    raise self._fault_of(*stream_error(error))
                yield from self._decoder.decode(event)
                if self._decoder.done:
                    self.done = True
                    break
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise ModelBadReply(
                f"{self._address} sent an event that cannot be understood: {error}"
            ) from error

    def whole(self, body: bytes) -> Iterator[Delta]:
        """Deltas of a reply that came at once, as one object. Raises as `feed` does."""
        return self.feed(b"data: " + body.replace(b"\n", b" ") + b"\n\n")

    def finish(self) -> Finish:
        """The end of the reply. Raises when there was none."""
        if self.done and self._decoder.empty:
            raise ModelBadReply(f"{self._address} ended its reply without having begun one")
        if not self._decoder.ended and not self.done:  # some servers end a reply and never say why
            raise ModelUnreachable(f"{self._address} broke off in the middle of a reply")
        return self._decoder.finish()


class ServerInfo(msgspec.Struct, frozen=True):
    """What a server tells of itself."""

    models: tuple[str, ...]
    context_tokens: int | None
    """Of one conversation. None when it does not tell, or not the same for all its models."""
    is_llama_cpp: bool
    slots: int | None
    """Conversations that a llama.cpp server holds at a time."""
    owner: str = ""
    """Who owns the models, as it says; each kind of local server says something of its own."""
    images: bool | None = None
    """Whether the model sees images, as far as the server tells."""
    template: Mapping[str, bool] = {}
    """What the model's chat template can do, as llama.cpp tells: `supports_tools`, ..."""


async def server_info(base_url: str, api_key: str | None = None, *, timeout_s: float = 10.0) -> ServerInfo:
    """Ask `/v1/models`, and llama.cpp's `/props`. Raises ModelError when the first is not answered."""
    from agent.models.connections import Connections

    root, base = server_root(base_url), normal_base_url(base_url)
    secrets = (api_key or "", *credentials(base_url))
    connections = Connections(base, authorization(api_key))
    try:
        listed = await _get_json(connections, f"{base}/models", secrets, timeout_s)
        models = [m for m in _objects(listed.get("data")) if m.get("id")]
        props: dict[str, Any] = {}
        if any(m.get("owned_by") == "llamacpp" for m in models):
            with suppress(ModelRefusedRequest, ModelBadReply):
                props = await _get_json(connections, f"{root}/props", secrets, timeout_s)
    finally:
        await connections.aclose()
    contexts = {_context_tokens(m) for m in models}
    context, slots = (
        object_of(props.get("default_generation_settings")).get("n_ctx"),
        props.get("total_slots"),
    )
    sees = object_of(props.get("modalities")).get("vision")
    return ServerInfo(
        models=tuple(str(m["id"]) for m in models),
        context_tokens=count(context) or (contexts.pop() if len(contexts) == 1 else None),
        is_llama_cpp=any(m.get("owned_by") == "llamacpp" for m in models),
        slots=count(slots) or None,
        owner=str(models[0].get("owned_by") or "") if models else "",
        images=sees if isinstance(sees, bool) else None,
        template={name: bool(can) for name, can in object_of(props.get("chat_template_caps")).items()},
    )


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _context_tokens(model: dict[str, Any]) -> int | None:
    """Context as llama.cpp, vLLM and SGLang, OpenRouter, and LM Studio name it in their list of models."""
    named = (
        object_of(model.get("meta")).get("n_ctx"),
        model.get("max_model_len"),
        model.get("context_length"),
        model.get("max_context_length"),
    )
    return next((tokens for tokens in named if isinstance(tokens, int)), None)


async def _get_json(
    connections: Connections, url: str, secrets: Iterable[str], timeout_s: float, content: bytes = b""
) -> dict[str, Any]:
    """What a page answers; with `content` that is posted to it."""
    address, method = shown_address(url), "POST" if content else "GET"
    async with connections.request(method, url, content=content, header_s=timeout_s) as response:
        body = (await connections.read(response, MAX_JSON_BYTES)).decode(errors="replace")
    if response.status_code != 200:
        raise fault(response.status_code, body, address=address, model="", secrets=secrets)
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ModelBadReply(
            f"{address} is no model server: {server_words(struck_out(body, secrets))}"
        ) from error


def authorization(api_key: str | None, header: str = "authorization") -> dict[str, str]:
    """The header that carries the key. Raises ModelAuth, which does not show it, when no header can."""
    if not api_key:
        return {}
    if not api_key.isascii() or not api_key.isprintable() or api_key != api_key.strip():
        raise ModelAuth("the API key holds characters that no key has; was something else pasted with it?")
    return {header: f"Bearer {api_key}" if header == "authorization" else api_key}
