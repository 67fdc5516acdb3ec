"""Background jobs, on every backend: they outlive what runs beside them, and nothing outlives them."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from sandbox.base import JobOutput, JobState, Limits, NoSuchJob, PathEscape, Sandbox, TooManyJobs
from sandbox.open import known_backends
from tests.sandbox.places import Place, backends, opened
from tests.sandbox.remains import on_host, within

pytestmark = pytest.mark.anyio


async def ended(sandbox: Sandbox, job: JobState) -> JobState:
    """How a job ended, once it has."""
    async with asyncio.timeout(10):
        while True:
            state = (await sandbox.output(job.job)).state
            if not state.running:
                return state
            await asyncio.sleep(0.01)


async def written(sandbox: Sandbox, job: JobState, size: int, offset: int = 0) -> JobOutput:
    """The output from an offset on, once at least `size` bytes were written in all."""
    async with asyncio.timeout(10):
        while True:
            output = await sandbox.output(job.job, offset)
            if output.state.total_bytes >= size:
                return output
            await asyncio.sleep(0.01)


async def test_a_job_survives_the_end_the_timeout_and_the_kill_of_commands(place: Place) -> None:
    sandbox = place.sandbox
    job = await sandbox.start("env -i setsid sleep 81.1 & while [ ! -e go ]; do sleep 0.02; done; echo went")
    assert (job.running, job.exit_code, job.command[:6]) == (True, None, "env -i")
    assert (await sandbox.run("setsid sleep 81.2 & exit 3")).killed == 1
    assert (await sandbox.run("sleep 81.2", timeout_s=0.1)).timed_out
    task = asyncio.create_task(sandbox.run("setsid sleep 81.2 & sleep 81.2"))
    await sandbox.run("true")
    task.cancel()
    await asyncio.wait([task])
    assert await place.alive("sleep\081.2") == 0
    assert await place.alive("sleep\081.1") == 1
    place.put("go")
    state = await ended(sandbox, job)
    assert (state.exit_code, state.signal, state.total_bytes) == (0, None, 5)
    assert (await sandbox.output(job.job)).data == b"went\n"
    assert await place.alive("81.1") == 0


async def test_no_command_can_pass_for_a_job(place: Place) -> None:
    """The tag of a job in the environment of an orphan saves it from nothing."""
    job = await place.sandbox.start("sleep 82.1")
    orphan = f"(PAWL_COMMAND={job.job} setsid sh -c 'sleep 82.2 & sleep 82.2' >/dev/null 2>&1 &)"
    done = await place.sandbox.run(orphan)
    assert done.survivors == 0
    assert await place.alive("sleep\082.2") == 0
    assert (await place.sandbox.kill(job.job)).signal == signal.SIGKILL


@pytest.mark.parametrize(
    ("command", "exit_code", "number"),
    [("exit 7", 7, None), ("kill -SEGV $$", None, 11), ("kill -KILL $$", None, 9)],
)
async def test_how_a_job_ended_is_told(
    sandbox: Sandbox, command: str, exit_code: int | None, number: int | None
) -> None:
    state = await ended(sandbox, await sandbox.start(command))
    assert (state.running, state.exit_code, state.signal) == (False, exit_code, number)
    assert state in await sandbox.jobs()


async def test_what_cannot_be_started_says_so_as_a_shell_does(sandbox: Sandbox) -> None:
    job = await sandbox.start(["no-such-program"])
    assert (await ended(sandbox, job)).exit_code == 127
    assert (await sandbox.output(job.job)).data == b"pawl: no-such-program: not found\n"
    with pytest.raises(PathEscape):
        await sandbox.start("true", cwd="..")
    with pytest.raises(ValueError, match="empty"):
        await sandbox.start([])


async def test_a_job_has_its_folder_its_environment_and_no_input(place: Place) -> None:
    place.put("pkg/module.py")
    job = await place.sandbox.start(
        "pwd; echo $WORD; cat; ls /proc/self/fd | wc -l", cwd="pkg", env={"WORD": "w"}
    )
    await ended(place.sandbox, job)
    output = (await place.sandbox.output(job.job)).data
    assert output.decode() == f"{place.sandbox.root}/pkg\nw\n4\n"


async def test_output_is_read_on_from_an_offset(place: Place) -> None:
    job = await place.sandbox.start(
        "echo one; while [ ! -e more ]; do sleep 0.02; done; echo two; sleep 83.1"
    )
    first = await written(place.sandbox, job, 4)
    assert (first.offset, first.data, first.next) == (0, b"one\n", 4)
    assert (await place.sandbox.output(job.job, first.next)).data == b""
    place.put("more")
    second = await written(place.sandbox, job, 8, first.next)
    assert (second.offset, second.data) == (4, b"two\n")
    await place.sandbox.kill(job.job)


async def test_the_kept_output_is_bounded(sandbox: Sandbox) -> None:
    """Head and tail: what lies between is gone, and the offset says so."""
    job = await sandbox.start(["python3", "-c", "print('a' * 40000 + 'b' * 1000000 + 'c' * 40000, end='')"])
    await ended(sandbox, job)
    head = await sandbox.output(job.job)
    assert (head.offset, head.data) == (0, b"a" * 32768)
    tail = await sandbox.output(job.job, head.next)
    assert head.next < tail.offset == 1_080_000 - len(tail.data)
    assert 32768 <= len(tail.data) <= 65536
    assert tail.data.endswith(b"c" * 32768)
    assert (await sandbox.output(job.job, 10**9)).data == b""


async def test_all_that_a_job_writes_is_heard_before_its_end_is_told(sandbox: Sandbox) -> None:
    """More than is kept, and more than the way to the host holds at once, beside a command's own output."""
    heard = bytearray()
    wrote = b"".join(b"%d\n" % number for number in range(1, 600_001))
    job = await sandbox.start(["seq", "600000"], on_output=heard.extend)
    assert (await sandbox.run("echo other")).output == b"other\n"
    assert (await ended(sandbox, job)).exit_code == 0
    assert bytes(heard) == wrote


async def test_a_job_whose_hearer_fails_is_killed(sandbox: Sandbox) -> None:
    def fail(_: bytes) -> None:
        raise OSError("the disk is full")

    job = await sandbox.start("echo one; sleep 86.1", on_output=fail)
    assert (await ended(sandbox, job)).signal == signal.SIGKILL
    assert (await sandbox.run("echo on")).ok


async def test_a_killed_job_is_dead_at_once_with_all_that_it_started(place: Place) -> None:
    job = await place.sandbox.start(
        "trap '' TERM; setsid sleep 84.1 & env -i setsid sleep 84.1 & echo up; wait"
    )
    await written(place.sandbox, job, 3)
    state = await place.sandbox.kill(job.job)
    assert (state.running, state.exit_code, state.signal) == (False, None, signal.SIGKILL)
    assert await place.alive("sleep\084.1") == 0
    assert await place.sandbox.kill(job.job) == state
    with pytest.raises(NoSuchJob):
        await place.sandbox.kill(987654)
    with pytest.raises(NoSuchJob):
        await place.sandbox.output(987654)


async def test_a_job_that_floods_is_ended(backend: str, tmp_path: Path) -> None:
    async with opened(backend, tmp_path, limits=Limits(stream_bytes=1_000_000)) as place:
        state = await ended(place.sandbox, await place.sandbox.start("yes"))
        assert (state.overflow, state.exit_code) == (True, None)


async def test_jobs_are_bounded_in_number_and_end_with_the_sandbox(backend: str, tmp_path: Path) -> None:
    marker = f"85.{len(backend)}"
    async with opened(backend, tmp_path, limits=Limits(jobs=3)) as place:
        jobs = [await place.sandbox.start(f"sleep {marker}1") for _ in range(3)]
        with pytest.raises(TooManyJobs, match="3 jobs"):
            await place.sandbox.start("true")
        await place.sandbox.kill(jobs[0].job)
        for _ in range(10):
            await ended(place.sandbox, await place.sandbox.start("true"))
        known = await place.sandbox.jobs()
        assert [state.running for state in known] == [True, True, *[False] * (len(known) - 2)]
        assert len(known) <= 2 + 9
        assert await within(2, lambda: on_host(marker) == 2)
    assert await within(2, lambda: on_host(marker) == 0)


@pytest.fixture(params=backends(*known_backends()))
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name
