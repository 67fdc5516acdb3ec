"""generateContent, as a server speaks it. Calls have no ids; results follow in the calls' order."""

from __future__ import annotations

import json

from tests.support.answers import Answer, Body, Turn, pieces

HISTORY = "contents"
KEY_HEADER = "x-goog-api-key"
STRICT_TURNS = True


def matches(path: str) -> bool:
    return path.startswith("/v1beta/models/") and path.endswith(":streamGenerateContent?alt=sse")


def turns(body: Body) -> list[Turn]:
    """A call is named by its place; a result answers the next call that is open."""
    found: list[Turn] = []
    open_calls: list[tuple[str, str]] = []
    for content in body[HISTORY]:
        turn = Turn({"model": "assistant"}.get(content["role"], content["role"]))
        for place, part in enumerate(content["parts"]):
            if call := part.get("functionCall"):
                call_id = f"{len(found)}.{place}"
                turn.calls.append((call_id, call["args"]))
                open_calls.append((call_id, call["name"]))
            elif answered := part.get("functionResponse"):
                assert isinstance(answered["response"], dict)
                assert open_calls and open_calls[0][1] == answered["name"], f"a result out of order: {part}"
                turn.results.append(open_calls.pop(0)[0])
            elif "thoughtSignature" in part:
                assert part["thoughtSignature"], part
            elif "text" in part:
                turn.texts.append(part["text"])
            else:
                assert part.keys() == {"inlineData"}, part
                turn.images += 1
        if turn.results:
            turn.role = "tool"
        found.append(turn)
    return found


def event_stream(answer: Answer) -> bytes:
    parts: list[Body] = [{"text": piece, "thought": True} for piece in pieces(answer.reasoning)]
    parts += [{"text": piece} for piece in pieces(answer.text)]
    for number, call in enumerate(answer.tool_calls):
        signed = {"thoughtSignature": answer.signature} if answer.signature and not number else {}
        parts.append({"functionCall": {"name": call.name, "args": json.loads(call.arguments)}, **signed})
    if answer.signature and not answer.tool_calls:
        parts.append({"text": "", "thoughtSignature": answer.signature})
    counts: Body = {}
    if answer.counts:
        read, cached, written = answer.counts
        counts = {
            "usageMetadata": {
                "promptTokenCount": read,
                "cachedContentTokenCount": cached,
                "candidatesTokenCount": written,
            }
        }
    events = [
        _event({"candidates": [{"content": {"role": "model", "parts": [part]}}], **counts}) for part in parts
    ]
    empty: Body = {"content": {"role": "model", "parts": [{"text": ""}]}}
    end = _event({"candidates": [{**empty, "finishReason": answer.finish or "STOP"}], **counts})
    return b"".join(events) + end * (2 if answer.second_end else 1)


def error_body(status: int, message: str, kind: str) -> Body:
    return {"error": {"code": status, "message": message, "status": kind}}


def _event(data: Body) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\r\n\r\n"
