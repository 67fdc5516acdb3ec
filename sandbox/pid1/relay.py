"""Carries connections from a loopback port inside to a unix socket that the host shows.

It runs in the agent's own loop: no signal of a command reaches it, and no kill of a command's processes. It
judges nothing; the proxy behind the socket does. Where that is gone, a connection is closed.
"""

from __future__ import annotations

import selectors
import socket
from contextlib import suppress

_BLOCK = 64 * 1024
_PAIRS = 64
"""Connections at once; more wait in the kernel's queue."""


class Relay:
    """Listens from the start. Raises OSError when it cannot."""

    def __init__(self, selector: selectors.BaseSelector, port: int, path: str) -> None:
        self.selector = selector
        self.path = path
        self.pairs: set[_Pair] = set()
        self.listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listening.bind(("127.0.0.1", port))
        self.listening.listen(_PAIRS)
        self.listening.setblocking(False)
        self.selector.register(self.listening, selectors.EVENT_READ, self.accept)

    def accept(self, _mask: int) -> None:
        """Take one connection and lead it to the host's socket; where that is not to be had, close it."""
        try:
            inside, _ = self.listening.accept()
        except OSError:
            return
        outside = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        inside.setblocking(False)
        outside.setblocking(False)
        try:
            outside.connect(self.path)
        except OSError:
            inside.close()
            outside.close()
            return
        self.pairs.add(_Pair(self, inside, outside))
        if len(self.pairs) == _PAIRS:
            self.selector.unregister(self.listening)

    def forget(self, pair: _Pair) -> None:
        self.pairs.remove(pair)
        if len(self.pairs) == _PAIRS - 1:
            self.selector.register(self.listening, selectors.EVENT_READ, self.accept)


class _Flow:
    """One direction. What was read and not yet written is at most one block."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source, self.target = source, target
        self.waiting = b""
        self.ended = self.done = False

    def move(self) -> None:
        """Move what can be moved now; raises OSError when the source is broken.

        A target that takes no more ends this direction alone: what it said last may still be on its way.
        """
        if not self.waiting and not self.ended:
            with suppress(BlockingIOError):
                self.waiting = self.source.recv(_BLOCK)
                self.ended = not self.waiting
        try:
            if self.waiting:
                self.waiting = self.waiting[self.target.send(self.waiting) :]
            if self.ended and not self.waiting and not self.done:
                self.target.shutdown(socket.SHUT_WR)
                self.done = True
        except BlockingIOError:
            pass
        except OSError:
            self.waiting = b""
            self.ended = self.done = True


class _Pair:
    """A connection from inside and the one that carries it on."""

    def __init__(self, relay: Relay, inside: socket.socket, outside: socket.socket) -> None:
        self.relay = relay
        self.flows = (_Flow(inside, outside), _Flow(outside, inside))
        self.watched: dict[socket.socket, int] = {}
        self.open = True
        self.watch()

    def step(self, _mask: int) -> None:
        if not self.open:  # closed since the selector looked
            return
        try:
            for flow in self.flows:
                flow.move()
        except OSError:
            self.close()
            return
        if all(flow.done for flow in self.flows):
            self.close()
        else:
            self.watch()

    def watch(self) -> None:
        """Wait for what can go on: the next bytes of a source, room in a target."""
        wanted: dict[socket.socket, int] = {}
        for flow in self.flows:
            if flow.waiting:
                wanted[flow.target] = wanted.get(flow.target, 0) | selectors.EVENT_WRITE
            elif not flow.ended:
                wanted[flow.source] = wanted.get(flow.source, 0) | selectors.EVENT_READ
        for end in self.watched.keys() - wanted.keys():
            self.relay.selector.unregister(end)
        for end, events in wanted.items():
            if end not in self.watched:
                self.relay.selector.register(end, events, self.step)
            elif self.watched[end] != events:
                self.relay.selector.modify(end, events, self.step)
        self.watched = wanted

    def close(self) -> None:
        """Shut both ends, for a worker that was forked meanwhile holds copies of them."""
        self.open = False
        for end in self.watched:
            self.relay.selector.unregister(end)
        for flow in self.flows:
            with suppress(OSError):
                flow.source.shutdown(socket.SHUT_RDWR)
            flow.source.close()
        self.relay.forget(self)
