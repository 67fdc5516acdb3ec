"""The limits of design section 7 that no abuse case meets: their sizes, and what is said when one is met.

Cases 15 to 25 meet memory, /tmp, workspace, files and output; tests/sandbox/test_jobs.py the jobs; the pool's
tests the number of sandboxes and the idle ones.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from sandbox.base import ExecResult, FileTooLarge, JobState, Limits
from sandbox.pool import IDLE_S
from tests.sandbox.places import ISOLATING, Place, backends, opened
from tools.base import ToolContext, ToolError
from tools.builtin.bash import MAX_TIMEOUT
from tools.builtin.run_tests import TEST_TIMEOUT
from tools.ending import ending, job_ending
from tools.probe import run_check
from tools.toolset import load

pytestmark = pytest.mark.anyio

LOWERED = Limits(timeout_s=0.3, grace_s=0.5, head_bytes=100, tail_bytes=50, read_bytes=1000, write_bytes=500)


def test_they_are_the_sizes_that_were_promised() -> None:
    limits = Limits()
    assert (limits.timeout_s, limits.grace_s, TEST_TIMEOUT, MAX_TIMEOUT) == (120, 2, 600, 3600)
    assert (limits.head_bytes, limits.tail_bytes) == (32 << 10, 32 << 10)
    assert (limits.stream_bytes, limits.read_bytes, limits.write_bytes) == (256 << 20, 8 << 20, 16 << 20)
    assert (limits.workspace_bytes, limits.host_free_bytes) == (4 << 30, 5 << 30)
    assert IDLE_S == 30 * 60


@pytest.fixture(params=backends(*ISOLATING))
async def place(request: pytest.FixtureRequest, tmp_path: Path):  # type: ignore[no-untyped-def]
    async with opened(request.param, tmp_path, limits=LOWERED) as made:
        yield made


def tools(place: Place, folder: Path) -> ToolContext:
    return ToolContext(place.sandbox, folder / "artifacts", timeout_s=LOWERED.timeout_s)


async def test_timeout_and_grace_are_kept_and_told(place: Place, tmp_path: Path) -> None:
    deaf = "trap '' TERM; while :; do sleep 0.05; done"
    began = time.monotonic()
    text = (await load("bash").run(tools(place, tmp_path), deaf)).text
    assert 0.8 <= time.monotonic() - began < 2.5
    assert text.startswith("[killed after 0.3 s, the timeout; ")
    check = await run_check(place.sandbox, ("sleep", "60"), timeout_s=0.2)
    assert check.killed.startswith("killed after 0.2 s, the timeout")
    assert check.output == f"[{check.killed}]\n"


async def test_head_and_tail_are_kept_and_the_whole_is_spilled(place: Place, tmp_path: Path) -> None:
    output = await load("bash").run(tools(place, tmp_path), "printf '%0200d' 1; echo end")
    assert "[54 bytes left out]" in output.text
    assert Path(output.artifact).read_bytes() == b"0" * 199 + b"1end\n"


async def test_what_is_too_large_to_read_or_write_names_the_limit(place: Place, tmp_path: Path) -> None:
    place.put("large", b"x" * 1001)
    with pytest.raises(FileTooLarge, match="the limit is 1000"):
        await place.sandbox.read("large")
    with pytest.raises(FileTooLarge, match="more than 500 bytes"):
        await place.sandbox.write("new", b"x" * 501)
    with pytest.raises(ToolError, match=r"the limit is 1000\)\. Use grep, or bash"):
        await load("read").run(tools(place, tmp_path), "large")
    with pytest.raises(ToolError, match="more than 500 bytes"):
        await load("write").run(tools(place, tmp_path), "new", "x" * 501)
    assert not (place.tree / "new").exists()


ENDED = ExecResult(None, 9, False, False, False, b"", b"", 0, 1.0)
JOB = JobState(7, "x", False, None, 9, 0, 1.0)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"oom": True}, "killed: out of memory, of which it may use 4 GB, 1.0 s"),
        ({"overflow": True}, "killed: too much output, over 256 MB, 1.0 s"),
        ({"bound": "processes"}, "killed: too many processes at once, over 512, 1.0 s"),
        ({"bound": "workspace"}, "killed: the workspace takes over 4 GB of disk; remove what is not needed"),
        ({"bound": "files"}, "killed: over 2,000,000 files in the workspace; remove what is not needed"),
        ({"bound": "host"}, "killed: it would leave less than 5 GB of free disk here, 1.0 s"),
        ({}, "killed by signal 9, 1.0 s"),
    ],
)
def test_each_limit_is_named_with_its_size(what: dict[str, object], said: str) -> None:
    assert ending(msgspec.structs.replace(ENDED, **what), 5, Limits()).startswith(said)
    assert job_ending(msgspec.structs.replace(JOB, **what), Limits()).startswith(f"job 7: {said}")


def test_lowered_sizes_are_named_as_they_are() -> None:
    small = Limits(memory_bytes=1536, stream_bytes=100, pids=3)
    assert "may use 1.5 kB" in ending(ExecResult(None, 9, False, True, False, b"", b"", 0, 1.0), 5, small)
    assert "over 100 bytes" in ending(ExecResult(None, 9, False, False, True, b"", b"", 0, 1.0), 5, small)
