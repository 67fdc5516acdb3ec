"""What every backend does with a command. Found by listing the folder; a new backend is held to the same."""

from __future__ import annotations

import asyncio
import time
import zlib
from pathlib import Path

import pytest

from sandbox.base import FileMissing, NotRegular, PathEscape, Sandbox, SandboxDied
from sandbox.open import known_backends
from tests.sandbox.places import Place, backends, opened

pytestmark = pytest.mark.anyio

EVERY_BYTE = bytes(range(256))


# --- output and exit codes -------------------------------------------------------------------------------


async def test_utf8_output_is_exact(sandbox: Sandbox) -> None:
    done = await sandbox.run(["printf", "%s", "größe ✓ 漢字"])
    assert (done.exit_code, done.head.decode()) == (0, "größe ✓ 漢字")


async def test_no_output_is_empty(sandbox: Sandbox) -> None:
    done = await sandbox.run("true")
    assert (done.exit_code, done.signal, done.output, done.total_bytes) == (0, None, b"", 0)
    assert not (done.timed_out or done.oom or done.overflow or done.killed or done.survivors)


async def test_stdout_and_stderr_come_as_written(sandbox: Sandbox) -> None:
    done = await sandbox.run("echo 1; echo 2 >&2; echo 3")
    assert done.output == b"1\n2\n3\n"


async def test_64_mb_of_output_are_bounded(sandbox: Sandbox) -> None:
    program = "import sys\nfor i in range(64): sys.stdout.write(chr(48 + i) * 1048576)"
    done = await sandbox.run(["python3", "-c", program])
    assert done.exit_code == 0
    assert done.total_bytes == 64 * 1024 * 1024
    assert done.head == b"0" * 32768
    assert done.tail == b"o" * 32768
    assert b"bytes left out" in done.output


async def test_output_between_head_and_tail_is_whole(sandbox: Sandbox) -> None:
    done = await sandbox.run(["python3", "-c", "print('a' * 32768 + 'b' * 100, end='')"])
    assert (len(done.head), done.tail, done.output) == (32768, b"b" * 100, b"a" * 32768 + b"b" * 100)


@pytest.mark.parametrize("code", [0, 1, 3, 126, 127, 255])
async def test_exit_codes_are_kept(sandbox: Sandbox, code: int) -> None:
    assert (await sandbox.run(f"exit {code}")).exit_code == code


async def test_death_by_a_signal_is_told(sandbox: Sandbox) -> None:
    done = await sandbox.run("kill -SEGV $$")
    assert (done.exit_code, done.signal) == (None, 11)


@pytest.mark.parametrize("command", [["no-such-program"], ["./no-such-program"], "no-such-program"])
async def test_what_is_not_found_exits_127(sandbox: Sandbox, command: str | list[str]) -> None:
    done = await sandbox.run(command)
    assert done.exit_code == 127
    assert b"not found" in done.output.lower() or b"no such file" in done.output.lower()


async def test_what_is_not_executable_exits_126(place: Place) -> None:
    place.put("plain.txt", b"text")
    done = await place.sandbox.run(["./plain.txt"])
    assert done.exit_code == 126
    assert b"ermission denied" in done.output


async def test_an_argument_that_is_too_long_exits_126(sandbox: Sandbox) -> None:
    assert (await sandbox.run(["echo", "x" * 200_000])).exit_code == 126


async def test_arguments_are_passed_as_they_are(sandbox: Sandbox) -> None:
    done = await sandbox.run(["printf", "[%s]", "a b", "$HOME", "", "*", "-n", "\n"])
    assert done.output == b"[a b][$HOME][][*][-n][\n]"


async def test_a_python_of_both_names_is_there(sandbox: Sandbox) -> None:
    done = await sandbox.run("python --version && python3 --version")
    assert done.exit_code == 0
    assert done.output.count(b"Python 3.") == 2


# --- streams ---------------------------------------------------------------------------------------------


async def test_output_is_heard_as_it_comes(place: Place) -> None:
    heard: list[bytes] = []
    first = asyncio.Event()

    def hear(data: bytes) -> None:
        heard.append(data)
        first.set()

    command = "echo one; while [ ! -e heard ]; do sleep 0.01; done; echo two"
    task = asyncio.create_task(place.sandbox.run(command, on_output=hear))
    await asyncio.wait_for(first.wait(), 5)
    place.put("heard")
    done = await task
    assert b"".join(heard) == done.output == b"one\ntwo\n"


async def test_all_output_is_heard_beyond_what_is_kept(sandbox: Sandbox) -> None:
    heard = 0

    def hear(data: bytes) -> None:
        nonlocal heard
        heard += len(data)

    done = await sandbox.run("head -c 20000000 /dev/zero", on_output=hear)
    assert heard == done.total_bytes == 20_000_000


async def test_a_listener_that_raises_ends_the_command(place: Place) -> None:
    def hear(data: bytes) -> None:
        raise RuntimeError("of the listener")

    with pytest.raises(RuntimeError, match="of the listener"):
        await place.sandbox.run("echo x; sleep 61.7301", on_output=hear)
    assert await place.alive("61.7301") == 0


async def test_stdin_is_given_whole(sandbox: Sandbox) -> None:
    done = await sandbox.run(["cat"], stdin=EVERY_BYTE * 200)
    assert done.output == EVERY_BYTE * 200
    assert (await sandbox.run("wc -c", stdin=b"x" * 3_000_000)).output.strip() == b"3000000"


async def test_stdin_that_nobody_reads_hinders_nothing(sandbox: Sandbox) -> None:
    assert (await sandbox.run("true", stdin=b"x" * 3_000_000)).exit_code == 0


# --- time, process trees ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "sleep {m}",
        "kill -STOP $$; sleep {m}",
    ],
)
async def test_a_timeout_leaves_nothing(place: Place, command: str) -> None:
    marker = f"63.{zlib.crc32(command.encode())}"
    done = await place.sandbox.run(command.format(m=marker), timeout_s=0.3)
    assert (done.timed_out, done.exit_code, done.survivors) == (True, None, 0)
    assert done.duration_s < 5
    assert await place.alive(marker) == 0


async def test_what_a_command_leaves_behind_is_ended_and_counted(place: Place) -> None:
    done = await place.sandbox.run("for i in 1 2 3; do setsid sleep 66.4321 >/dev/null 2>&1 & done; exit 4")
    assert (done.exit_code, done.killed, done.survivors) == (4, 3, 0)
    assert await place.alive("66.4321") == 0


async def test_processes_that_are_dead_already_are_not_counted(sandbox: Sandbox) -> None:
    done = await sandbox.run("(true &) ; (true &) ; sleep 0.1")
    assert (done.exit_code, done.killed) == (0, 0)


async def test_the_end_of_one_command_spares_the_other(place: Place) -> None:
    started = asyncio.Event()
    other = asyncio.create_task(
        place.sandbox.run(
            "(setsid sh -c 'sleep 1; echo done > daemon' >/dev/null 2>&1 &); echo up; sleep 1.5; cat daemon",
            on_output=lambda _: started.set(),
        )
    )
    await started.wait()
    killed = await place.sandbox.run("setsid sleep 67.4321 & sleep 67.4321", timeout_s=0.2)
    assert (killed.timed_out, killed.survivors) == (True, 0)
    assert (await place.sandbox.run("sleep 67.4321 & true")).killed == 1
    assert (await other).output == b"up\ndone\n"
    assert await place.alive("67.4321") == 0


async def test_the_end_of_one_command_spares_what_another_is_just_forking(sandbox: Sandbox) -> None:
    """A large process takes milliseconds to fork: its child is born after all others were let run on."""
    program = (
        "import mmap, os, time\nlarge = mmap.mmap(-1, 300 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
        "large.madvise(mmap.MADV_NOHUGEPAGE)\n"
        "for at in range(0, len(large), 4096): large[at] = 1\n"
        "print('up', flush=True)\n"
        "for _ in range(50):\n"
        "    child = os.fork()\n"
        "    if not child: time.sleep(0.02); os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
    )
    started = asyncio.Event()
    forking = asyncio.create_task(
        sandbox.run(["python3", "-c", program], timeout_s=15, on_output=lambda _: started.set())
    )
    await started.wait()
    while not forking.done():
        await sandbox.run("sleep 30 & true")
        await asyncio.sleep(0.03)
    assert (forking.result().exit_code, forking.result().output) == (0, b"up\n")


async def test_cancelling_kills_the_command(place: Place) -> None:
    started = asyncio.Event()
    command = "echo up; setsid sleep 68.4321 & sleep 68.4321"
    task = asyncio.create_task(place.sandbox.run(command, on_output=lambda _: started.set()))
    await started.wait()
    before = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - before < 2
    assert await place.alive("68.4321") == 0
    assert (await place.sandbox.run("echo on")).output == b"on\n"


# --- environment and folder ------------------------------------------------------------------------------


async def test_a_commands_own_environment_is_for_it_alone(sandbox: Sandbox) -> None:
    assert (await sandbox.run('echo "$WORD"', env={"WORD": "hello"})).output == b"hello\n"
    assert (await sandbox.run('echo "$WORD"')).output == b"\n"


async def test_the_workspace_has_its_own_path_and_is_the_current_folder(place: Place) -> None:
    place.put("pkg/module.py", b"")
    assert (await place.sandbox.run("pwd; ls")).output.split()[0].decode() == place.sandbox.root
    assert (await place.sandbox.run("pwd; ls", cwd="pkg")).output.decode() == (
        f"{place.sandbox.root}/pkg\nmodule.py\n"
    )
    inside = f"{place.sandbox.root}/pkg"
    assert (await place.sandbox.run("ls", cwd=inside)).output == b"module.py\n"


@pytest.mark.parametrize(
    ("cwd", "error"),
    [("..", PathEscape), ("/etc", PathEscape), ("nowhere", FileMissing), ("file", NotRegular)],
)
async def test_a_folder_elsewhere_is_refused(place: Place, cwd: str, error: type[Exception]) -> None:
    place.put("file")
    with pytest.raises(error):
        await place.sandbox.run("true", cwd=cwd)


async def test_a_file_written_by_a_command_is_on_the_host(place: Place) -> None:
    assert (await place.sandbox.run("umask; echo made > made.txt")).output == b"0022\n"
    assert (place.tree / "made.txt").read_bytes() == b"made\n"


# --- the end ---------------------------------------------------------------------------------------------


@pytest.fixture(params=backends(*known_backends()))
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def test_closing_twice_is_nothing_and_then_all_calls_fail(backend: str, tmp_path: Path) -> None:
    async with opened(backend, tmp_path) as place:
        running = asyncio.create_task(place.sandbox.run("sleep 70.4321"))
        await place.sandbox.run("true")
        await asyncio.gather(place.sandbox.aclose(), place.sandbox.aclose())
        await place.sandbox.aclose()
        with pytest.raises(SandboxDied):
            await running
        with pytest.raises(SandboxDied):
            await place.sandbox.run("true")
        with pytest.raises(SandboxDied):
            await place.sandbox.read("x")


async def test_several_open_at_once(backend: str, tmp_path: Path) -> None:
    async def one(number: int) -> bytes:
        folder = tmp_path / str(number)
        folder.mkdir()
        async with opened(backend, folder) as place:
            return (await place.sandbox.run(f"echo {number} > n; cat n")).output

    assert await asyncio.gather(*(one(number) for number in range(4))) == [b"0\n", b"1\n", b"2\n", b"3\n"]
