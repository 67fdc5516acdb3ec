"""Results of set-ups: whole or not there, used by many, made by one, bounded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox import kept
from sandbox.base import SandboxError
from sandbox.kept import Made, key

HOLD = """
import sys, time
from pathlib import Path
from sandbox import kept
with kept.making(Path(sys.argv[1])) as new:
    new.mkdir()
    (new / "half").write_text("x")
    print("in the making", flush=True)
    time.sleep(60)
"""


def made(project: str = "/p") -> Made:
    return Made("cmd", project, 1.0, folders=(".venv",), files=("x.gen",), dropped=())


def make(place: Path, project: str = "/p", used_at: float | None = None) -> None:
    with kept.making(place) as new:
        assert new is not None
        (new / "folders" / "0").mkdir(parents=True)
        kept.keep(new, made(project))
    if used_at is not None:
        os.utime(place / "result" / "made.json", (used_at, used_at))


@contextmanager
def another(place: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process in the middle of making a result."""
    command = [sys.executable, "-c", HOLD, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in the making\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_result_is_made_once_and_used_by_many(tmp_path: Path) -> None:
    place = tmp_path / "setups" / "a"
    assert kept.use(place) is None
    assert not kept.is_kept(place)
    make(place)
    one, two = kept.use(place), kept.use(place)
    assert one is not None
    assert two is not None
    assert one.made == made()
    assert one.source(".venv") == place / "result" / "folders" / "0"
    with pytest.raises(BlockingIOError), kept.making(place):
        pass
    one.close()
    one.close()
    two.close()
    with kept.making(place) as new:
        assert new is None, "somebody else was faster"
    assert {path.name for path in place.iterdir()} == {"lock", "result"}


def test_one_makes_it_and_the_others_wait(tmp_path: Path) -> None:
    place = tmp_path / "setups" / "a"
    with another(place):
        for act in (lambda: kept.use(place), lambda: kept.making(place).__enter__()):
            with pytest.raises(BlockingIOError):
                act()
        assert kept.unused(tmp_path / "setups") == []


def test_a_kill_in_the_middle_leaves_nothing_that_counts(tmp_path: Path) -> None:
    place = tmp_path / "setups" / "a"
    with another(place) as process:
        process.kill()
        process.wait()
        assert (place / "new" / "half").exists()
        assert kept.use(place) is None
        (old,) = kept.unused(tmp_path / "setups")
        assert (old.place, old.project) == (place, "")
        kept.sweep(tmp_path / "setups")
        assert not list((tmp_path / "setups").iterdir())
    make(place)
    assert kept.is_kept(place)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"\xff"])
def test_a_result_that_cannot_be_read_is_made_anew(tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "setups" / "a"
    make(place)
    (place / "result" / "made.json").write_bytes(content)
    assert kept.use(place) is None
    make(place)
    assert kept.is_kept(place)


CHANGES: list[Callable[[dict[str, object]], object]] = [
    lambda parts: parts.update(project=Path("/q")),
    lambda parts: parts.update(command="other"),
    lambda parts: parts.update(network=("pypi.org:443", "x.org:443")),
    lambda parts: parts.update(manifests={"a": "2"}),
    lambda parts: parts.update(manifests={"b": "1"}),
    lambda parts: parts.update(on=["sha256:2"]),
]


@pytest.mark.parametrize("change", CHANGES)
def test_all_that_decides_a_result_is_in_its_name(change: Callable[[dict[str, object]], object]) -> None:
    parts: dict[str, object] = {
        "project": Path("/p"),
        "command": "cmd",
        "network": ("pypi.org:443",),
        "manifests": {"a": "1"},
        "on": ["sha256:1"],
    }
    before = key(**parts)  # type: ignore[arg-type]
    assert key(**parts) == before  # type: ignore[arg-type]
    change(parts)
    assert key(**parts) != before  # type: ignore[arg-type]


def test_old_ones_and_too_many_are_swept_but_none_that_is_used(tmp_path: Path) -> None:
    setups, now = tmp_path / "setups", time.time()
    for number in range(6):
        make(setups / f"p-{number}", used_at=now - 60 * number)
    make(setups / "q-1", "/q", used_at=now - kept.MAX_AGE_S + 60)
    make(setups / "q-2", "/q", used_at=now - kept.MAX_AGE_S - 60)
    make(setups / "r-1", "/r", used_at=now - kept.MAX_AGE_S - 60)
    used = kept.use(setups / "p-5")
    assert used is not None
    held = kept.use(setups / "r-1")
    assert held is not None
    os.utime(setups / "r-1" / "result" / "made.json", (0, 0))
    kept.sweep(setups, now=now)
    left = {path.name for path in setups.iterdir()}
    assert left == {"p-0", "p-1", "p-2", "p-5", "q-1", "r-1"}
    held.close()
    used.close()


def test_what_came_into_use_is_not_removed(tmp_path: Path) -> None:
    make(tmp_path / "setups" / "a")
    (old,) = kept.unused(tmp_path / "setups")
    used = kept.use(old.place)
    assert used is not None
    with pytest.raises(SandboxError, match="come into use"):
        kept.remove(old)
    used.close()
    kept.remove(old)
    kept.remove(old)
    assert not list((tmp_path / "setups").iterdir())
