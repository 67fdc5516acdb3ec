"""What a server's complaint means: HTTP status and body to the error tree of `base`. Pure."""

from __future__ import annotations

import re
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

_OVERFLOW = re.compile(
    r"exceed_context_size|context_length_exceeded"  # types and codes of llama.cpp and OpenAI
    r"|exceeds? the (available )?(context size|context window|maximum context)"  # llama.cpp, others
    r"|(maximum|model'?s?) (context|model) length|max_model_len"  # OpenAI, vLLM
    r"|(prompt|input) is too long|reduce the length of the (messages|input|prompt)",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"insufficient_quota|exceeded your current quota|insufficient (balance|credit)|credit balance",
    re.IGNORECASE,
)


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
    secret: str | None = None,
    retry_after: float | None = None,
) -> ModelError:
    """The error that an answer with this status means, worded for a person.

    `retry_after` is in seconds. `secret` is struck out of what the server said.
    """
    body = struck_out(body, secret)
    words = server_words(body)
    said = f": {words}" if words else ""
    if status == 402 or (status == 429 and _QUOTA.search(body)):
        return ModelQuota(f"the quota or credit at {address} is used up{said}", retry_after)
    if status in (400, 413, 422, 500) and _OVERFLOW.search(body):
        return ContextOverflow(f"the prompt does not fit into the context of {model}{said}")
    if status in (401, 403):
        return ModelAuth(
            f"{address} does not accept the API key ({status}){said}; check the key that is set for it"
        )
    if status in (502, 504):
        return ModelUnreachable(f"the gateway at {address} does not reach its model server ({status}){said}")
    if status == 429:
        return ModelOverloaded(f"{address} limits the rate of requests (429){said}", retry_after)
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


def stream_error(error: Any) -> tuple[int, str]:
    """Status and body that an `error` object in the middle of a stream stands for."""
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return status, msgspec.json.encode({"error": error}).decode()


def struck_out(text: str, secret: str | None) -> str:
    """The text without the secret, which some servers repeat."""
    return text.replace(secret, "[key]") if secret else text
