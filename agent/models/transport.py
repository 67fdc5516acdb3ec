"""A model behind an OpenAI-compatible server over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from agent.models.address import normal_base_url, server_root, shown_address
from agent.models.base import (
    NO_QUIRKS,
    Delta,
    Finish,
    ModelBadReply,
    ModelError,
    ModelRefusedRequest,
    ModelUnreachable,
    Quirks,
    Request,
)
from agent.models.faults import fault, server_words, stream_error, struck_out
from agent.models.retry import DEFAULT_RETRIES, OnRetry, Retries, retried, retry_after_s
from agent.models.sse import DONE, SSEParser
from agent.models.wire import openai_chat

if TYPE_CHECKING:
    import httpx

    from agent.models.connections import Connections

MAX_ERROR_BYTES = 64 * 2**10
"""How much of an error's body is read."""
MAX_JSON_BYTES = 16 * 2**20
_DRAIN_S = 0.5
"""How long to wait for a stream's end after its last event, to keep the connection for the next request."""


class HttpModel:
    """Streams replies of `model` at `base_url`, which may lack its scheme or its `/v1`.

    Times in seconds: `first_byte_s` is how long the server may be silent until the reply begins (a local
    server reads the prompt meanwhile, for minutes), `stall_s` between two pieces of it. `on_retry` hears of
    each retry. The key is sent to the server and shown nowhere.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        model: str,
        api_key: str | None = None,
        *,
        quirks: Quirks = NO_QUIRKS,
        context_tokens: int | None = None,
        first_byte_s: float = 600.0,
        stall_s: float = 120.0,
        retries: Retries = DEFAULT_RETRIES,
        on_retry: OnRetry | None = None,
    ) -> None:
        from agent.models.connections import Connections  # httpx is loaded only by those who talk to a server

        self.name = name
        self.context_tokens = context_tokens
        self.on_retry = on_retry
        self._model = model
        self._key = api_key
        self._quirks = quirks
        self._first_byte_s = first_byte_s
        self._stall_s = stall_s
        self._retries = retries
        self._url = normal_base_url(base_url) + openai_chat.PATH
        self._address = shown_address(self._url)
        headers = {"content-type": "application/json", "accept": "text/event-stream"}
        self._connections = Connections(self._url, headers | _authorization(api_key))

    def __repr__(self) -> str:
        return f"HttpModel({self.name!r}, {self._address!r}, {self._model!r})"

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Stream one reply, its Finish last. Raises ModelError; closing the generator ends the request."""
        body = msgspec.json.encode(openai_chat.to_wire(request, model=self._model, quirks=self._quirks))
        async with aclosing(
            retried(lambda: self._exchange(body), self._retries, on_retry=self.on_retry)
        ) as deltas:
            async for delta in deltas:
                yield delta

    async def aclose(self) -> None:
        await self._connections.aclose()

    async def _exchange(self, body: bytes) -> AsyncGenerator[Delta, None]:
        """One request and its reply."""
        connections = self._connections
        async with connections.request(
            "POST", self._url, content=body, header_s=self._first_byte_s
        ) as response:
            await self._check(response)
            reply = _Reply(self._address, self._fault)
            stall_s = self._first_byte_s
            async with connections.body(response) as chunks:
                while not reply.done:
                    try:
                        chunk = await connections.next_chunk(chunks, stall_s)
                    except ModelUnreachable:
                        if reply.decoder.ended:
                            break
                        raise
                    if chunk is None:
                        break
                    for delta in reply.feed(chunk):
                        stall_s = self._stall_s
                        yield delta
                finish = reply.finish()
                with suppress(ModelUnreachable):
                    await connections.next_chunk(chunks, _DRAIN_S)
        yield finish

    async def _check(self, response: httpx.Response) -> None:
        """Raise unless an event stream follows."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.status_code == 200 and kind in ("text/event-stream", ""):
            return
        body = (await self._connections.read(response, MAX_ERROR_BYTES)).decode(errors="replace")
        if response.status_code != 200:
            raise self._fault(
                response.status_code, body, retry_after=retry_after_s(response.headers, datetime.now(UTC))
            )
        raise ModelBadReply(
            f"{self._address} answered {kind} where an event stream was due; "
            f"is the base URL right? It said: {server_words(struck_out(body, self._key))}"
        )

    def _fault(self, status: int, body: str, retry_after: float | None = None) -> ModelError:
        return fault(
            status, body, address=self._address, model=self._model, secret=self._key, retry_after=retry_after
        )


class _Reply:
    """The pure part of reading one reply: bytes in, deltas out."""

    def __init__(self, address: str, fault_of: Callable[[int, str], ModelError]) -> None:
        self.done = False
        self.decoder = openai_chat.Decoder()
        self._parser = SSEParser()
        self._address = address
        self._fault_of = fault_of

    def feed(self, chunk: bytes) -> Iterator[Delta]:
        """Deltas of the next bytes. Raises ModelBadReply, or what an error in the stream means."""
        try:
            for data in self._parser.feed(chunk):
                if data.strip() == DONE:
                    self.done = True
                    break
                event = msgspec.json.decode(data, type=dict[str, Any])
                if error := event.get("error"):
                    raise self._fault_of(*stream_error(error))
                yield from self.decoder.decode(event)
        except (ValueError, TypeError, AttributeError) as error:
            raise ModelBadReply(
                f"{self._address} sent an event that cannot be understood: {error}"
            ) from error

    def finish(self) -> Finish:
        """The end of the reply. Raises when there was none."""
        if not self.done and not self.decoder.ended:
            raise ModelUnreachable(f"{self._address} closed the connection in the middle of a reply")
        if self.decoder.empty:
            raise ModelBadReply(f"{self._address} ended its reply without having begun one")
        return self.decoder.finish()


class ServerInfo(msgspec.Struct, frozen=True):
    """What a server tells of itself."""

    models: tuple[str, ...]
    context_tokens: int | None
    """Of one conversation. None when it does not tell, or not the same for all its models."""
    is_llama_cpp: bool
    slots: int | None
    """Conversations that a llama.cpp server holds at a time."""


async def server_info(base_url: str, api_key: str | None = None, *, timeout_s: float = 10.0) -> ServerInfo:
    """Ask `/v1/models`, and llama.cpp's `/props`. Raises ModelError when the first is not answered."""
    from agent.models.connections import Connections

    root, base = server_root(base_url), normal_base_url(base_url)
    connections = Connections(base, _authorization(api_key))
    try:
        listed = await _get_json(connections, f"{base}/models", api_key, timeout_s)
        models = [m for m in listed.get("data") or () if isinstance(m, dict) and m.get("id")]
        props: dict[str, Any] = {}
        if any(m.get("owned_by") == "llamacpp" for m in models):
            with suppress(ModelRefusedRequest, ModelBadReply):
                props = await _get_json(connections, f"{root}/props", api_key, timeout_s)
    finally:
        await connections.aclose()
    contexts = {_context_tokens(m) for m in models}
    context = (props.get("default_generation_settings") or {}).get("n_ctx")
    return ServerInfo(
        models=tuple(str(m["id"]) for m in models),
        context_tokens=context or (contexts.pop() if len(contexts) == 1 else None),
        is_llama_cpp=any(m.get("owned_by") == "llamacpp" for m in models),
        slots=props.get("total_slots"),
    )


def _context_tokens(model: dict[str, Any]) -> int | None:
    """Context as llama.cpp, vLLM and SGLang, OpenRouter, and LM Studio name it in their list of models."""
    named = (
        (model.get("meta") or {}).get("n_ctx"),
        model.get("max_model_len"),
        model.get("context_length"),
        model.get("max_context_length"),
    )
    return next((tokens for tokens in named if isinstance(tokens, int)), None)


async def _get_json(connections: Connections, url: str, key: str | None, timeout_s: float) -> dict[str, Any]:
    address = shown_address(url)
    async with connections.request("GET", url, header_s=timeout_s) as response:
        body = (await connections.read(response, MAX_JSON_BYTES)).decode(errors="replace")
    if response.status_code != 200:
        raise fault(response.status_code, body, address=address, model="", secret=key)
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ModelBadReply(f"{address} is no model server: {server_words(struck_out(body, key))}") from error


def _authorization(api_key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {api_key}"} if api_key else {}
