"""The server name in the first message of a TLS connection (RFC 8446, section 4.1.2; RFC 6066, section 3).

Strict: a message that two readers could understand differently is refused, for the proxy must see the very
name that the server sees.
"""

from __future__ import annotations

RECORD_HEADER = 5
HELLO_BYTES = 32 * 1024
"""More than any client sends, with room for post-quantum keys."""

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _ENCRYPTED_HELLO = 0, 0xFE0D
_HOST_NAME = 0
_RECORD_BYTES = 1 << 14
_SHORTEST = 2 + 32


class HelloError(ValueError):
    """Not a ClientHello that can be judged. The message says why."""


def record_length(header: bytes) -> int:
    """Length of the record that begins with these 5 bytes; raises HelloError unless it is of a handshake."""
    length = int.from_bytes(header[3:5], "big")
    if header[0] != _HANDSHAKE or header[1] != 3 or not 0 < length <= _RECORD_BYTES:
        raise HelloError("no TLS begins here")
    return length


def is_whole(message: bytes) -> bool:
    """True once the payloads of the records hold the whole ClientHello; raises HelloError."""
    if message[:1] and message[0] != _CLIENT_HELLO:
        raise HelloError("no TLS begins here")
    if len(message) < 4:
        return False
    length = 4 + int.from_bytes(message[1:4], "big")
    if length > HELLO_BYTES or len(message) > length:
        raise HelloError("a first TLS message of the wrong size")
    return len(message) == length


def server_name(message: bytes) -> str | None:
    """The server name of a whole ClientHello, None when it has none. Raises HelloError."""
    body = _Bytes(message[4:])
    body.take(_SHORTEST)
    for prefix in (1, 2, 1):  # session, cipher suites, compression methods
        body.vector(prefix)
    if not body.left:
        return None
    extensions = _Bytes(body.vector(2))
    body.end()
    found: dict[int, bytes] = {}
    while extensions.left:
        kind = int.from_bytes(extensions.take(2), "big")
        if kind in found:
            raise HelloError("an extension of TLS stands there twice")
        found[kind] = extensions.vector(2)
    if _ENCRYPTED_HELLO in found:
        raise HelloError("an encrypted ClientHello hides the server name")
    return _name(found[_SERVER_NAME]) if _SERVER_NAME in found else None


def _name(extension: bytes) -> str:
    outer = _Bytes(extension)
    names = _Bytes(outer.vector(2))
    outer.end()
    kind, name = names.take(1)[0], names.vector(2)
    names.end()
    if kind != _HOST_NAME or not name or not name.isascii():
        raise HelloError("a server name that is no name of a host")
    return name.decode("ascii")


class _Bytes:
    """Bytes that are taken from the front; raises HelloError when they run out or too many are there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if self.left < count:
            raise HelloError("a first TLS message that is cut short")
        self._at += count
        return self._data[self._at - count : self._at]

    def vector(self, prefix: int) -> bytes:
        """What follows a length of `prefix` bytes."""
        return self.take(int.from_bytes(self.take(prefix), "big"))

    def end(self) -> None:
        if self.left:
            raise HelloError("a first TLS message with more than belongs there")
