"""A llama.cpp server whose model has a token for each byte, and a few for longer text.

    async with byte_server(["Look.", Reply("Done.", merged=True)]) as server: ...

Its tokenizer never makes the long tokens by itself. So a reply that used one is tokenised otherwise when it
is sent back: retokenisation drift.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.messages import ToolCall
from tests.support.answers import Answer, Body
from tests.support.model_server import ModelServer

END, BEGIN = 256, 257
MERGED = {300: "the", 301: "one"}


@dataclass(frozen=True)
class Reply:
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    merged: bool = False
    """It was sampled with the long tokens."""
    silent: bool = False
    """The server does not tell its tokens."""


def encode(text: str) -> list[int]:
    ids: list[int] = []
    for piece in text.replace("<", "\0<").replace(">", ">\0").split("\0"):
        special = {"<begin>": BEGIN, "<end>": END}.get(piece)
        ids += [special] if special else list(piece.encode())
    return ids


def decode(ids: Sequence[int]) -> str:
    pieces = {END: b"<end>", BEGIN: b"<begin>"} | {number: text.encode() for number, text in MERGED.items()}
    return b"".join(pieces.get(one, bytes([one % 256])) for one in ids).decode()


def template(body: Body) -> str:
    """Messages and, in the first, the tools; calls as the model writes them."""
    said = []
    for message in body["messages"]:
        calls = "".join(_written(c["function"]) for c in message.get("tool_calls") or ())
        said.append(f"<begin>{message['role']}\n{message['content'] or ''}{calls}<end>")
    tools = "".join(f"{tool['function']['name']}\n" for tool in body.get("tools") or ())
    return tools + "".join(said) + "<begin>assistant\n"


def _written(function: Body) -> str:
    return f"[{function['name']} {function['arguments']}]"


def sampled(reply: Reply) -> list[int]:
    """The tokens of a reply, its end included."""
    text = reply.text + "".join(_written({"name": c.name, "arguments": c.arguments}) for c in reply.calls)
    ids = encode(text)
    for number, long in MERGED.items() if reply.merged else ():
        short = encode(long)
        at = next((i for i in range(len(ids)) if ids[i : i + len(short)] == short), None)
        ids = ids if at is None else [*ids[:at], number, *ids[at + len(short) :]]
    return [*ids, END]


def byte_server(replies: Iterable[Reply | str], **more: bool) -> ModelServer:
    left = iter(replies)

    def answer(body: Body) -> Answer:
        reply = next(left)
        reply = Reply(reply) if isinstance(reply, str) else reply
        ids = sampled(reply)
        entries = [{"id": one, "logprob": -one / 1000} for one in ids]
        message: Body = {"role": "assistant", "content": reply.text or None}
        if reply.calls:
            message["tool_calls"] = [
                {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
                for c in reply.calls
            ]
        choice = {"message": message, "finish_reason": "tool_calls" if reply.calls else "stop"}
        told = {"__verbose": {"tokens": ids}} if not reply.silent else {}
        usage = {"prompt_tokens": len(encode(template(body))), "completion_tokens": len(ids)}
        sent = {"choices": [{**choice, "logprobs": {"content": entries}}], "usage": usage, **told}
        return Answer(body=json.dumps(sent).encode(), content_type="application/json")

    pages = {
        "/apply-template": lambda body: {"prompt": template(body)},
        "/tokenize": lambda body: {"tokens": encode(body["content"])},
    }
    return ModelServer(answer, pages=pages, **more)  # type: ignore[arg-type]
