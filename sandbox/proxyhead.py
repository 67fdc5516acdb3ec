"""The head of a request to the proxy: `CONNECT host:port`, or a plain request with an `http://` address.

Strict, for what is passed on must mean the same to the server: one request, to the host that was judged. Its
address is cut down to the path, its `Host` is ours, and nothing asks to keep or to upgrade the connection.
"""

from __future__ import annotations

import re

import msgspec

from sandbox.network import HTTP, HostError, authority, split_authority

HEAD_BYTES = 16 * 1024

_LINE = re.compile(rb"([A-Z]{1,20}) ([!-~]+) HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00\r\n]*)")
_URL = re.compile(r"(?i:http)://([^/?#@]*)(/[^#]*|\?[^#]*|)")
_HOP_BY_HOP = {b"connection", b"host", b"keep-alive", b"te", b"trailer", b"upgrade"}


class Refusal(Exception):
    """A request that is not carried out. `status` is the answer's; `host` and `port` as far as known."""

    def __init__(self, reason: str, status: int = 403, host: str = "", port: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.host = host
        self.port = port


class Request(msgspec.Struct, frozen=True):
    """What is asked for."""

    host: str
    port: int
    head: bytes = b""
    """What the server is to get of a plain request; empty for CONNECT."""
    body_bytes: int = 0

    @property
    def tunnel(self) -> bool:
        return not self.head


def parse_head(head: bytes) -> Request:
    """The request that a head, with the empty line at its end, means; raises Refusal."""
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    line = _LINE.fullmatch(lines[0])
    if line is None:
        raise Refusal("not a request", 400, _shown(lines[0]))
    method, target = line[1], line[2].decode("ascii")
    fields = [_field(each) for each in lines[1:]]
    if method == b"CONNECT":
        host, port = _place(target, target, None)
        if port == HTTP:  # a request there would name any host, or ask another proxy
            raise Refusal("no tunnel to port 80; ask with the http:// address", 403, host, port)
        return Request(host, port)
    url = _URL.fullmatch(target)
    if url is None:
        raise Refusal("only CONNECT and http:// addresses are served", 400, _shown(target.encode()))
    host, port = _place(url[1], target, HTTP)
    path = url[2] if url[2].startswith("/") else "/" + url[2]
    return Request(host, port, _rewritten(method, path, host, port, fields), _body_bytes(fields))


def _place(text: str, target: str, default: int | None) -> tuple[str, int]:
    try:
        return split_authority(text, default)
    except HostError as error:
        raise Refusal(str(error), 400, _shown(target.encode())) from None


def _shown(data: bytes) -> str:
    """The start of what was asked for, for the log."""
    return ascii(data[:100].decode("latin-1"))[1:-1]


def _field(line: bytes) -> tuple[bytes, bytes]:
    found = _FIELD.fullmatch(line)
    if found is None:
        raise Refusal("a header line that is none", 400)
    return found[1].lower(), found[2].rstrip(b" \t")


def _body_bytes(fields: list[tuple[bytes, bytes]]) -> int:
    lengths = [value for name, value in fields if name == b"content-length"]
    if any(name == b"transfer-encoding" for name, _ in fields):
        raise Refusal("a body needs a Content-Length here", 411)
    if len(lengths) > 1 or not all(re.fullmatch(rb"[0-9]{1,15}", length) for length in lengths):
        raise Refusal("a Content-Length that is none", 400)
    return int(lengths[0]) if lengths else 0


def _rewritten(method: bytes, path: str, host: str, port: int, fields: list[tuple[bytes, bytes]]) -> bytes:
    named = b",".join(value for name, value in fields if name == b"connection").lower().split(b",")
    dropped = _HOP_BY_HOP | {name.strip() for name in named}
    kept = [
        name + b": " + value
        for name, value in fields
        if name == b"content-length" or (name not in dropped and not name.startswith(b"proxy-"))
    ]
    shown = authority(host, port).removesuffix(f":{HTTP}").encode()
    lines = [method + b" " + path.encode() + b" HTTP/1.1", b"Host: " + shown, b"Connection: close", *kept]
    return b"\r\n".join(lines) + b"\r\n\r\n"
