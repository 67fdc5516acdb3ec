"""Protocols that model servers speak. This folder is the registry: each module is a wire, but for those with
a leading underscore, which wires share. A wire is pure: requests to plain data, events of a stream to deltas.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any, Protocol, cast

from agent.models.base import Delta, Finish, Quirks, Request


class Decoder(Protocol):
    """Turns the decoded JSON of one stream's events into deltas; lenient where servers differ."""

    @property
    def ended(self) -> bool:
        """The server said why it stopped; only token counts can follow."""
        ...

    @property
    def done(self) -> bool:
        """Nothing follows any more."""
        ...

    @property
    def empty(self) -> bool:
        """Nothing of a reply has come, not even its end."""
        ...

    def decode(self, event: dict[str, Any]) -> list[Delta]:
        """Deltas of one event. Raises TypeError, AttributeError or ValueError when it is malformed."""
        ...

    def finish(self) -> Finish:
        """The end of the reply, with the counts as far as the server told them."""
        ...


class Wire(Protocol):
    """What a module of this folder provides."""

    PATH: str
    """Behind the base URL; `{model}` stands for the model's name."""
    VERSION: str
    """Path of a base URL that has none."""
    VERSION_ALWAYS: bool
    """Also behind a base URL whose path does not end in a version."""
    KEY_HEADER: str
    """`authorization` carries the key behind `Bearer`, any other header bare."""
    HEADERS: Mapping[str, str]
    Decoder: Callable[[], Decoder]

    def to_wire(self, request: Request, *, model: str, quirks: Quirks, origin: str = "") -> dict[str, Any]:
        """The body of the request, its keys in a fixed order and the messages last.

        Each message is a function of itself and those before it, so the body of a longer conversation repeats
        the bytes of the shorter one, up to the closing brackets. `origin` is the name of the model that is
        asked: what it said of its reasoning goes back to it, what another one said does not.
        """
        ...

    def failure(self, event: dict[str, Any]) -> Any:
        """The error that an event of the stream tells of; None when it tells of none."""
        ...


@cache
def names() -> tuple[str, ...]:
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


def load(name: str) -> Wire:
    """The wire of this name, one of `names()`."""
    return cast(Wire, import_module(f"{__name__}.{name}"))
