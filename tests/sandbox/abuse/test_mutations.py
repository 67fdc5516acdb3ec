"""Each case that has a mutation, run once more without its defence: it must fail, or it proves nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sandbox import client, launch
from sandbox.base import SandboxError
from sandbox.tree import remove_path
from tests.sandbox.abuse import test_io, test_process, test_resources
from tests.sandbox.abuse.cases import CASES, Case
from tests.sandbox.places import opened

pytestmark = pytest.mark.anyio

MODULES = (test_process, test_resources, test_io)
"""Imported, so that their cases are known."""

_DEADLINE_S = 4.0


def mutated() -> list[object]:
    return [
        pytest.param(each, id=f"case_{each.number:02}", marks=getattr(pytest.mark, each.mutation.on))
        for each in CASES
        if each.mutation is not None
    ]


@pytest.mark.parametrize("case", mutated())
async def test_without_its_defence_a_case_fails(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert case.mutation is not None
    monkeypatch.setattr(client, "_CANCEL_S", 0.1)  # an agent that hangs is not waited for
    monkeypatch.setattr(launch, "_EXIT_S", 0.1)
    with case.mutation.applied():
        async with opened(case.mutation.on, tmp_path, limits=case.limits) as place:
            with pytest.raises((AssertionError, pytest.fail.Exception, TimeoutError, SandboxError)):
                async with asyncio.timeout(_DEADLINE_S):
                    await case.check(place)
    await asyncio.to_thread(remove_path, tmp_path / "fork")  # what a case that is not held back has filled


def test_enough_cases_are_proved() -> None:
    assert len(mutated()) >= 12
