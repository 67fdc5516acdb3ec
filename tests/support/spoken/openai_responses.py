"""Responses, as a server speaks it."""

from __future__ import annotations

import json

from tests.support.answers import Answer, Body, Turn, pieces

HISTORY = "input"
KEY_HEADER = "authorization"
STRICT_TURNS = False


def matches(path: str) -> bool:
    return path == "/v1/responses"


def turns(body: Body) -> list[Turn]:
    """Items of one reply follow each other and are one turn."""
    found: list[Turn] = []
    for item in body.get(HISTORY) or []:
        kind = item.get("type", "message")
        if kind == "function_call_output":
            assert isinstance(item["output"], str)
            found.append(Turn("tool", results=[item["call_id"]]))
            continue
        role = item["role"] if kind == "message" else "assistant"
        if kind == "message":
            assert all(
                part["type"] in ("input_text", "output_text", "input_image") for part in item["content"]
            )
            if found and found[-1].role == role == "assistant":
                assert not found[-1].texts, "two messages in one reply"
        begins_anew = role != "assistant" or not found or found[-1].role != "assistant"
        turn = Turn(role) if begins_anew else found[-1]
        if begins_anew:
            found.append(turn)
        match kind:
            case "message":
                turn.texts += [part["text"] for part in item["content"] if "text" in part]
            case "function_call":
                turn.calls.append((item["call_id"], json.loads(item["arguments"])))
            case _:
                assert kind == "reasoning" and item["encrypted_content"], item
    return found


def event_stream(answer: Answer) -> bytes:
    events: list[Body] = [{"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}]
    output: list[Body] = []

    def add(item: Body, deltas: list[Body]) -> None:
        place = len(output)
        begun = item | {"arguments": ""} if "arguments" in item else item
        events.append({"type": "response.output_item.added", "output_index": place, "item": begun})
        events.extend({**delta, "output_index": place} for delta in deltas)
        events.append({"type": "response.output_item.done", "output_index": place, "item": item})
        output.append(item)

    if answer.reasoning or answer.signature:
        text = [{"type": "summary_text", "text": answer.reasoning}]
        sealed = {
            "type": "reasoning",
            "id": "rs_1",
            "summary": text,
            "encrypted_content": answer.signature or None,
        }
        kind = "response.reasoning_summary_text.delta"
        add(sealed, [{"type": kind, "delta": piece} for piece in pieces(answer.reasoning)])
    if answer.text:
        content = [{"type": "output_text", "text": answer.text, "annotations": []}]
        message = {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": content,
        }
        kind = "response.output_text.delta"
        add(message, [{"type": kind, "delta": piece} for piece in pieces(answer.text)])
    for call in answer.tool_calls:
        item = {"type": "function_call", "id": f"fc_{call.id}", "call_id": call.id}
        item |= {"name": call.name, "arguments": call.arguments}
        kind = "response.function_call_arguments.delta"
        add(item, [{"type": kind, "delta": piece} for piece in pieces(call.arguments)])
    end: Body = {"id": "resp_1", "status": "completed", "output": output}
    if answer.finish:
        end |= {"status": "incomplete", "incomplete_details": {"reason": answer.finish}}
    if counts := answer.counts:
        read, cached, written = counts
        end["usage"] = {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": written,
            "total_tokens": read + written,
        }
    last = _event({"type": f"response.{end['status']}", "response": end})
    return b"".join(map(_event, events)) + last * (2 if answer.second_end else 1)


def error_body(status: int, message: str, kind: str) -> Body:
    return {"error": {"message": message, "type": kind, "code": kind, "param": None}}


def _event(data: Body) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
