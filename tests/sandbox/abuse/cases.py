"""What makes a function an abuse case, and the mutations that prove it. `__init__` says how to use them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
import pytest

from sandbox import pid1
from sandbox.base import Limits
from tests.sandbox.places import ISOLATING, backends

LIMITS = Limits(
    timeout_s=20, grace_s=0.3, stream_bytes=128 * 1024 * 1024, read_bytes=1024 * 1024, write_bytes=1024 * 1024
)
"""Of the sandbox that most cases share."""

F = TypeVar("F", bound=Callable[..., Awaitable[None]])


class Mutation(msgspec.Struct, frozen=True):
    """One defence switched off."""

    apply: Callable[[pytest.MonkeyPatch], None]
    on: str = "bubblewrap"
    """The backend that the proof is run on."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            self.apply(patch)
            yield


class Case(msgspec.Struct, frozen=True):
    number: int
    check: Callable[[Any], Awaitable[None]]
    """Of a Place, or of a Path where no sandbox takes part."""
    limits: Limits | None
    """None where no sandbox takes part."""
    mutation: Mutation | None


CASES: list[Case] = []
"""Those whose modules are imported."""


def case(
    number: int,
    *,
    limits: Limits = LIMITS,
    on: list[str] = ISOLATING,
    mutation: Mutation | None = None,
) -> Callable[[F], F]:
    """Make a function an abuse case; `on` are the names of the backends that it is run on."""

    def make(check: F) -> F:
        CASES.append(Case(number, check, limits, mutation))
        marked: F = pytest.mark.parametrize("place", backends(*on), indirect=True)(check)
        return marked

    return make


def host_case(number: int, *, mutation: Mutation | None = None) -> Callable[[F], F]:
    """Make a function of a folder an abuse case in which pawl's own side alone takes part."""

    def make(check: F) -> F:
        CASES.append(Case(number, check, None, mutation))
        return check

    return make


def limits_of(check: object) -> Limits:
    return next(each.limits for each in CASES if each.check is check and each.limits is not None)


def agent(module: str, old: str, new: str, *, on: str = "bubblewrap") -> Mutation:
    """Give PID 1 the text of `module` with `old`, which occurs once, replaced by `new`."""
    text = pid1.module_text(module)
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {module}"

    def apply(patch: pytest.MonkeyPatch) -> None:
        given = pid1.module_text

        def mutated(name: str) -> str:
            return given(name).replace(old, new) if name == module else given(name)

        patch.setattr(pid1, "module_text", mutated)

    return Mutation(apply, on)


def host(owner: object, name: str, value: object, *, on: str = "bubblewrap") -> Mutation:
    """Replace an attribute of a module or class on pawl's side."""
    return Mutation(lambda patch: patch.setattr(owner, name, value), on)


def both(*mutations: Mutation) -> Mutation:
    def apply(patch: pytest.MonkeyPatch) -> None:
        for mutation in mutations:
            mutation.apply(patch)

    return Mutation(apply, mutations[0].on)
