"""Chat Completions, as a server speaks it."""

from __future__ import annotations

import json

from tests.support.answers import Answer, Body, Turn, pieces

HISTORY = "messages"
KEY_HEADER = "authorization"
STRICT_TURNS = False


def matches(path: str) -> bool:
    return path == "/v1/chat/completions"


def turns(body: Body) -> list[Turn]:
    found = []
    for message in body.get(HISTORY) or []:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        turn = Turn(message.get("role"), [part["text"] for part in parts if part["type"] == "text"])
        assert all(isinstance(text, str) for text in turn.texts), f"content is no text: {message}"
        turn.images = len(parts) - len(turn.texts)
        for call in message.get("tool_calls") or []:
            turn.calls.append((call["id"], json.loads(call["function"]["arguments"])))
        if turn.role == "tool":
            turn.results.append(message.get("tool_call_id"))
            turn.texts.clear()
        alike = found and found[-1].role == turn.role == "user"
        assert not alike or turn.images or found[-1].images, "two texts of the user in a row"
        found.append(turn)
    return found


def event_stream(answer: Answer) -> bytes:
    deltas: list[Body] = [{"role": "assistant", "content": None}]
    deltas += [{"reasoning_content": piece} for piece in pieces(answer.reasoning)]
    if answer.signature:
        deltas.append({"reasoning_details": [{"type": "reasoning.encrypted", "data": answer.signature}]})
    deltas += [{"content": piece} for piece in pieces(answer.text)]
    for index, call in enumerate(answer.tool_calls):
        function = {"name": call.name, "arguments": ""}
        deltas.append(
            {"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": function}]}
        )
        for piece in pieces(call.arguments):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    finish = answer.finish or ("tool_calls" if answer.tool_calls else "stop")
    events = [_event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}) for delta in deltas]
    end = _event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    if answer.usage is not None or answer.timings is not None:
        counts = {"usage": answer.usage, "timings": answer.timings}
        end += _event({"choices": [], **{key: value for key, value in counts.items() if value is not None}})
    end += b"data: [DONE]\n\n"
    return b"".join(events) + end * (2 if answer.second_end else 1)


def error_body(status: int, message: str, kind: str) -> Body:
    return {"error": {"message": message, "type": kind, "code": status}}


def _event(data: Body) -> bytes:
    chunk = {"object": "chat.completion.chunk"} | data
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"
