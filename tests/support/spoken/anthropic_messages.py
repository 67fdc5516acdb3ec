"""Messages, as a server speaks it."""

from __future__ import annotations

import json
import re

from tests.support.answers import Answer, Body, Turn, pieces

HISTORY = "messages"
KEY_HEADER = "x-api-key"
STRICT_TURNS = True


def matches(path: str) -> bool:
    return path.partition("?")[0] == "/v1/messages"


def turns(body: Body) -> list[Turn]:
    assert body["max_tokens"] > 0
    found = []
    for message in body[HISTORY]:
        turn = Turn(message["role"])
        for block in message["content"]:
            match block["type"]:
                case "text":
                    turn.texts.append(block["text"])
                case "tool_use":
                    assert re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"]), block
                    turn.calls.append((block["id"], block["input"]))
                case "tool_result":
                    assert not turn.texts, "results must come before text"
                    turn.results.append(block["tool_use_id"])
                case "thinking":
                    assert block["signature"], block
                case "image":
                    turn.images += 1
                case other:
                    assert other == "redacted_thinking", block
        if turn.results:
            turn.role = "tool"
        found.append(turn)
    assert not found or found[0].role == "user", "the first message must be the user's"
    return found


def event_stream(answer: Answer) -> bytes:
    read, cached, written = answer.counts or (0, 0, 0)
    begin = {"input_tokens": read - cached, "cache_read_input_tokens": cached, "output_tokens": 1}
    message: Body = {"role": "assistant", "content": []} | ({"usage": begin} if answer.counts else {})
    events: list[Body] = [{"type": "message_start", "message": message}, {"type": "ping"}]
    blocks: list[tuple[Body, list[Body]]] = []
    if answer.reasoning or answer.signature:
        thought: list[Body] = [
            {"type": "thinking_delta", "thinking": piece} for piece in pieces(answer.reasoning)
        ]
        if answer.signature:
            thought.append({"type": "signature_delta", "signature": answer.signature})
        blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, thought))
    if answer.text:
        said: list[Body] = [{"type": "text_delta", "text": piece} for piece in pieces(answer.text)]
        blocks.append(({"type": "text", "text": ""}, said))
    for call in answer.tool_calls:
        written_out: list[Body] = [
            {"type": "input_json_delta", "partial_json": piece} for piece in pieces(call.arguments)
        ]
        blocks.append(({"type": "tool_use", "id": call.id, "name": call.name, "input": {}}, written_out))
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    reason = answer.finish or ("tool_use" if answer.tool_calls else "end_turn")
    last: Body = {"type": "message_delta", "delta": {"stop_reason": reason}}
    if answer.counts:
        last["usage"] = {"output_tokens": written}
    end = _event(last) + _event({"type": "message_stop"})
    return b"".join(map(_event, events)) + end * (2 if answer.second_end else 1)


def error_body(status: int, message: str, kind: str) -> Body:
    return {"type": "error", "error": {"type": kind, "message": message}}


def _event(data: Body) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
