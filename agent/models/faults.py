"""What a server's complaint means: HTTP status and body to the error tree of `base`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from agent.models.base import (
    ContextOverflow,
    ModelAuth,
    ModelError,
    ModelOverloaded,
    ModelQuota,
    ModelRefusedRequest,
    ModelUnreachable,
)

MAX_WORDS = 300
"""Characters of a server's own words that are quoted in an error."""
LONG = 8
"""Characters of a key that is not a word of the language, such as the `test` that local servers are given."""

_OVERFLOW = re.compile(
    r"exceed_context_size|context_length_exceeded|request_too_large"  # types and codes
    r"|exceeds? the (available )?(context size|context window|maximum context)"  # llama.cpp, OpenAI
    r"|(maximum|model'?s?) (context|model|prompt) length|max_model_len"  # OpenAI, vLLM, SGLang, Mistral, xAI
    r"|(prompt|input) is too long|prompt too long|reduce the length of the (messages|input|prompt)"
    r"|token count.{0,30}exceeds the maximum"  # Gemini
    r"|prompt exceeds max length|range of input length should be"  # GLM, Qwen
    r"|context window exceeds limit|exceeded model token limit"  # MiniMax, Kimi
    r"|exceed context limit|trying to keep the first \d+ tokens"  # Anthropic with its reply, LM Studio
    r"|greater than the context length|exceeds? (the )?context length"  # LM Studio, Ollama
    r"|`?inputs`? tokens \+ `?max_new_tokens`? must be",  # TGI
    re.IGNORECASE,
)
_SIZES = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        r"\((?P<needed>\d+) tokens\) exceeds the available context size \((?P<limit>\d+)",
        r"too long: (?P<needed>\d+) tokens > (?P<limit>\d+)",
        r"token count \((?P<needed>\d+)\) exceeds the maximum number of tokens allowed \((?P<limit>\d+)",
        r"input \((?P<needed>\d+) tokens\) is longer than the model's context length \((?P<limit>\d+)",
        r"token limit: (?P<limit>\d+) \(requested: (?P<needed>\d+)",
        r"contains (?P<needed>\d+) tokens.{0,80}?(?P<limit>\d+) maximum context",
        r"maximum context length is (?P<limit>\d+).{0,300}total of at least (?P<needed>\d+)",
        r"too large: (?P<reply>\d+)\. .{0,60}length is (?P<limit>\d+).{0,30}request has (?P<needed>\d+)",
        r"exceed context limit: (?P<needed>\d+) \+ (?P<reply>\d+) > (?P<limit>\d+)",
        r"keep the first (?P<needed>\d+) tokens.{0,120}context length of only (?P<limit>\d+)",
        r"maximum (?:context|prompt) length (?:is|of) (?P<limit>\d+)"
        r".{0,80}(?:resulted in|requested|contains|request has)(?: about)? (?P<needed>\d+)",
        r"passed (?P<needed>\d+) input tokens.{0,120}context length is only (?P<limit>\d+)",
    )
)
"""How servers tell the size of a prompt, of their context, and of the room for a reply beside the prompt."""
_QUOTA = re.compile(
    r"insufficient_quota|exceeded_current_quota|exceeded your current quota"
    r"|insufficient.?(balance|credit|funds)|credit balance|arrearage|payment required"
    r"|billing (hard |soft )?limit|billing_(error|not_active)|spending limit|perday",
    re.IGNORECASE,
)
"""Never `billing` alone: limits for a minute come with a link to the page where more can be bought."""
_BAD_KEY = re.compile(
    r"(invalid|incorrect) api.?key|api.?key (is )?(not valid|invalid)|invalid x-api-key", re.IGNORECASE
)
_NOT_LOADED = re.compile(r"no models? (is |are )?(currently )?loaded|model (is )?not loaded", re.IGNORECASE)
_BLIND = re.compile(
    r"(not support|n't support|cannot (read|process)|no support for)[^.]{0,40}(image|vision|multimodal)"
    r"|image (input|url)[^.]{0,40}(not|n't) support|image_url is only supported",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"model[^.]{0,60}(not exist|not found|not a valid)|(invalid|unknown|no such) model|not a valid model",
    re.IGNORECASE,
)
_RETRY_DELAY = re.compile(r'"retryDelay":\s*"([\d.]+)s"')
_STATUS = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
    "exceed_context_size_error": 400,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "overloaded_error": 529,
    "unavailable_error": 503,
}
"""Types and codes of an error in the middle of a stream -> the status that it would have had before."""


def server_words(body: str) -> str:
    """What the body says, in one short line: the message of a JSON error, or the text of a page."""
    words = body
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeEncodeError):
        if "<" in body:
            words = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", body, flags=re.DOTALL | re.IGNORECASE)
    else:
        words = _message(decoded) or body
    words = " ".join(words.split())
    return words if len(words) <= MAX_WORDS else words[: MAX_WORDS - 1] + "…"


def _message(decoded: Any) -> str:
    """The message of `{"error": {"message"}}`, `{"error": ""}`, `{"message"}` or `{"detail"}`."""
    if isinstance(decoded, list) and decoded:
        return _message(decoded[0])
    if isinstance(decoded, dict):
        for key in ("error", "message", "detail"):
            if found := decoded.get(key):
                return _message(found)
    return decoded if isinstance(decoded, str) else ""


def fault(
    status: int,
    body: str,
    *,
    address: str,
    model: str,
    secrets: Iterable[str] = (),
    retry_after: float | None = None,
) -> ModelError:
    """The error that an answer with this status means, worded for a person.

    `retry_after` is in seconds. `secrets` are struck out of what the server said.
    """
    body = struck_out(body, secrets)
    words = server_words(body)
    said = f": {words}" if words else ""
    if status in (400, 413, 422, 500) and _OVERFLOW.search(body):
        return _overflow(body, model, words)
    if delay := _RETRY_DELAY.search(body):
        retry_after = retry_after or float(delay[1])
    if status == 402 or (status in (400, 403, 429) and _used_up(body)):
        return ModelQuota(f"the quota or credit at {address} is used up{said}", retry_after)
    if status in (401, 403) or (status == 400 and _BAD_KEY.search(body)):
        return ModelAuth(
            f"{address} does not accept the API key ({status}){said}; check the key that is set for it"
        )
    if _NOT_LOADED.search(body):
        return ModelRefusedRequest(f"{address} has no model loaded; load one there, then try again{said}")
    if _BLIND.search(body):
        return blind(model, words)
    if status in (502, 504):
        return ModelUnreachable(f"the gateway at {address} does not reach its model server ({status}){said}")
    if status == 429:
        wait = f"; it asks to wait {retry_after:,.0f} s" if retry_after and retry_after >= 1 else ""
        return ModelOverloaded(f"{address} limits the rate of requests (429){said}{wait}", retry_after)
    if status == 408 or status >= 500:
        return ModelOverloaded(
            f"the server at {address} failed or is overloaded ({status}){said}", retry_after
        )
    if status == 404:
        return ModelRefusedRequest(
            f"{address} knows no such page or no model {model!r} (404){said}; check base URL and name"
        )
    if 300 <= status < 400:
        return ModelRefusedRequest(
            f"{address} sends us elsewhere ({status}); set the base URL to the final address"
        )
    return ModelRefusedRequest(f"{address} refused the request ({status}){said}")


def _used_up(body: str) -> bool:
    """Gemini says "exceeded your current quota" of its limits for a minute too, with the seconds to wait."""
    for_a_moment = _RETRY_DELAY.search(body) and "perday" not in body.lower()
    return bool(_QUOTA.search(body)) and not for_a_moment


def _overflow(body: str, model: str, words: str) -> ContextOverflow:
    plain = body.replace(",", "")
    found = next((match for pattern in _SIZES if (match := pattern.search(plain))), None)
    message = f"the prompt does not fit into the context of {model}"
    needed = limit = 0
    if found:
        sizes = {name: int(size) for name, size in found.groupdict().items()}
        needed, limit = sizes["needed"] + sizes.get("reply", 0), sizes["limit"]
    if needed <= limit:
        return ContextOverflow(f"{message}; nothing of it was left out: {words}")
    over = f"{needed:,} tokens, {needed - limit:,} more than the {limit:,} that it holds"
    return ContextOverflow(f"{message}: {over}; nothing of it was left out: {words}", needed, limit)


def unknown_model(status: int, body: str) -> bool:
    """Whether the answer may mean that the server has no such model; some say so with a 400."""
    return status == 404 or (status in (400, 422) and _NO_MODEL.search(body) is not None)


def blind(model: str, words: str = "") -> ModelRefusedRequest:
    """The error that an image for a model without eyes ends in."""
    said = f": {words}" if words else ""
    return ModelRefusedRequest(
        f"{model} cannot see images{said}; choose a model that can, or describe the image in words. "
        f'If it can: [models."{model}"] with images = true in the configuration'
    )


def stream_error(error: Any) -> tuple[int, str]:
    """Status and body that an `error` object in the middle of a stream stands for."""
    named: dict[str, Any] = error if isinstance(error, dict) else {}
    code = named.get("code")
    if isinstance(code, int) and 400 <= code < 600:
        status = code
    else:
        status = next((_STATUS[name] for name in (code, named.get("type")) if name in _STATUS), 500)
    return status, msgspec.json.encode({"error": error}).decode()


def struck_out(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets, which some servers repeat; of short ones whole words alone."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        pattern = re.escape(secret)
        text = re.sub(pattern if len(secret) >= LONG else rf"(?<!\w){pattern}(?!\w)", "[key]", text)
    return text
