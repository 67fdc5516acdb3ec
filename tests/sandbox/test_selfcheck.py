"""The self-check of `pawl sandbox info --check`: every check on every backend, and that each can fail."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from sandbox import selfcheck
from sandbox.base import Caps, Sandbox
from sandbox.open import known_backends
from sandbox.selfcheck import ISOLATION, THEMES, Check, Result, checks, examine, measured, try_all, try_one
from sandbox.selfcheck.check import LIMITS, CheckFailed
from tests.sandbox.places import ISOLATING, backends, opened

pytestmark = pytest.mark.anyio

CHECKS = checks()


class Tried(NamedTuple):
    caps: Caps
    results: dict[tuple[str, str], Result]


@pytest.fixture(scope="module", params=backends(*known_backends()))
async def tried(
    request: pytest.FixtureRequest, anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> Tried:
    """All checks made at once, as for a person."""
    async with opened(request.param, tmp_path_factory.mktemp(request.param), limits=LIMITS) as place:
        results = await try_all(place.sandbox)
        return Tried(place.sandbox.caps, {(result.theme, result.name): result for result in results})


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.theme}-{check.name}")
async def test_it_holds(tried: Tried, check: Check) -> None:
    result = tried.results[check.theme, check.name]
    promised = not check.needs or getattr(tried.caps, check.needs)
    assert (result.outcome, result.reason) == ("passed" if promised else "not enforced", "")


def test_there_are_many_and_each_says_what_it_is_about() -> None:
    assert len(CHECKS) >= 50
    folder = Path(selfcheck.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} == {*THEMES, "__init__", "check"}
    assert {check.theme for check in CHECKS} == set(THEMES)
    assert len({check.title for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert (check.title and check.title[0].islower()) or check.title[0] in "/U", check.name
        assert check.needs in ("", *Caps.__struct_fields__)


async def test_what_is_not_isolated_fails(tmp_path: Path) -> None:
    """On the host itself, told that it is a sandbox, each check of isolation must fail."""
    async with opened("local", tmp_path, limits=LIMITS) as place:
        place.sandbox.caps = msgspec.structs.replace(
            place.sandbox.caps, network=True, read_scope=True, processes=True, kernel=True
        )
        results = {
            check.name: await try_one(check, place.sandbox)
            for check in CHECKS
            if check.needs in ISOLATION and check.name not in FATAL
        }
    passed = {name for name, result in results.items() if result.outcome == "passed"}
    assert passed - HOLDS_ANYWHERE - (set() if os.geteuid() == 0 else HELD_FOR_A_USER) == set()


@pytest.mark.docker
async def test_limits_that_are_not_kept_fail(tmp_path: Path) -> None:
    """In a sandbox whose limits are wider than those that the checks look for, each must fail."""
    wide = msgspec.structs.replace(
        LIMITS, memory_bytes=2 * 1024**3, tmp_bytes=64 * 1024**2, pids=600, open_files=1024
    )
    names = ("memory", "tmp", "processes", "open_files")
    async with opened("docker", tmp_path, limits=wide) as place:
        outcomes = {
            check.name: (await try_one(check, place.sandbox)).outcome
            for check in CHECKS
            if check.theme == "limits" and check.name in names
        }
    assert outcomes == dict.fromkeys(names, "failed")


FATAL = {"kill_everything", "agent_signals"}
"""Would be done to the machine that runs the tests."""
HOLDS_ANYWHERE = {
    *("own_loopback", "no_names", "interfaces", "no_route"),  # on a machine without a network
    "foreign_abi",  # with a kernel that has no x32
    "control_groups",  # where no systemd made any
    *("agent_out_of_reach", "kernel_memory"),  # for a root that may not trace or has no devices
}
HELD_FOR_A_USER = {
    *("raw_sockets", "agent_out_of_reach", "read_only", "kernel_settings", "kernel_memory", "user"),
    *("namespaces", "doors", "devices"),
}


async def test_a_check_fails_whatever_goes_wrong_in_it(tmp_path: Path) -> None:
    async def check_failed(sandbox: Sandbox) -> None:
        raise CheckFailed("seen")

    async def check_error(sandbox: Sandbox) -> None:
        await sandbox.read("nothing")

    async with opened("local", tmp_path, limits=LIMITS) as place:
        failed = await try_one(made(check_failed), place.sandbox)
        error = await try_one(made(check_error), place.sandbox)
        assert (await try_one(made(check_failed, needs="network"), place.sandbox)).outcome == "not enforced"
    assert (failed.outcome, failed.reason) == ("failed", "seen")
    assert error.outcome == "failed"
    assert error.reason.startswith("FileMissing")


def made(function: Callable[[Sandbox], Awaitable[None]], needs: str = "") -> Check:
    return Check("made", "files", "made for a test", needs, False, function)


def test_a_promise_is_kept_only_when_every_check_of_it_passes() -> None:
    promised = Caps(
        "docker", network=True, pids=True, memory=True, read_scope=True, processes=True, kernel=True
    )
    results = [Result(check.name, check.theme, check.title, "passed") for check in CHECKS]
    assert measured(promised, results) == promised
    broken = [
        msgspec.structs.replace(result, outcome="failed") if result.name == "no_route" else result
        for result in results
    ]
    assert measured(promised, broken) == msgspec.structs.replace(promised, network=False)


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_all_of_it_is_quick_and_leaves_nothing(
    backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    report = await examine(backend, project=tmp_path)
    assert report.holds, report.failed
    assert len(report.results) == len(CHECKS)
    assert report.seconds < 10, "it takes under 3 s on an idle machine"
    assert list(tmp_path.glob("pawl-check-*")) == []
