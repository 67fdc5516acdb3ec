"""Each case that has a mutation, run once more without its defence: it must fail, or it proves nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sandbox import client, launch
from sandbox.base import SandboxError
from tests.sandbox import (
    test_gitlist_hostile,
    test_gitview,
    test_snapshots,
    test_snapshots_hostile,
    test_workspace,
    test_workspace_accept,
)
from tests.sandbox.abuse import (
    test_escape,
    test_escape_host,
    test_escape_kernel,
    test_io,
    test_process,
    test_resources,
)
from tests.sandbox.abuse.cases import CASES, Case
from tests.sandbox.places import Place, opened

pytestmark = pytest.mark.anyio

MODULES = (
    test_process,
    test_resources,
    test_io,
    test_escape,
    test_escape_kernel,
    test_escape_host,
    test_gitlist_hostile,
    test_gitview,
    test_snapshots,
    test_snapshots_hostile,
    test_workspace,
    test_workspace_accept,
)
"""Imported, so that their cases are known."""

_DEADLINE_S = 4.0


def mutated() -> list[object]:
    proved = [each for each in CASES if each.mutation is not None]
    return [
        pytest.param(each, id=each.check.__name__.removeprefix("test_"), marks=marks(each)) for each in proved
    ]


def marks(case: Case) -> list[pytest.MarkDecorator | pytest.Mark]:
    """What the case needs, and the backend that its mutation is run on."""
    own = [mark for mark in getattr(case.check, "pytestmark", ()) if mark.name == "skipif"]
    if case.limits is None or case.mutation is None:
        return own
    return [*own, getattr(pytest.mark, case.mutation.on)]


@pytest.mark.parametrize("case", mutated())
async def test_without_its_defence_a_case_fails(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert case.mutation is not None
    monkeypatch.setattr(client, "_CANCEL_S", 0.1)  # an agent that hangs is not waited for
    monkeypatch.setattr(launch, "_EXIT_S", 0.1)
    with case.mutation.applied():
        if case.limits is None:
            await fails(case, tmp_path)
            return
        async with opened(case.mutation.on, tmp_path, limits=case.limits) as place:
            await fails(case, place)


async def fails(case: Case, where: Place | Path) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception, TimeoutError, SandboxError)):
        async with asyncio.timeout(_DEADLINE_S):
            await case.check(where)


def test_enough_cases_are_proved() -> None:
    assert len({each.number for each in CASES if each.mutation is not None}) >= 50
