"""`pawl sandbox shell` in a real terminal, and what of it must not be possible."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from sandbox.base import SandboxError, Size
from sandbox.open import known_backends
from tests.sandbox.places import ISOLATING, backends, opened
from tests.support.hello import hello
from tests.support.pawl import PAWL, identity, run_pawl
from tests.support.terminal import on_terminal

pytestmark = pytest.mark.anyio

PROMPT = "[sandbox]"


def shell(backend: str, *words: str) -> tuple[str, ...]:
    return (PAWL, "sandbox", "shell", "--sandbox", backend, *words)


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_a_shell_in_a_copy_of_the_tree(
    backend: str, project: Path, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "11")
    before = identity(project)
    async with on_terminal(*shell(backend, "--", "sh", "-i"), cwd=project, rows=33, columns=95) as screen:
        cooked = screen.settings()
        await screen.shows(PROMPT)
        assert screen.settings() != cooked
        screen.type("stty size; tty\r")
        await screen.shows("33 95")
        await screen.shows("/dev/pts/0")
        screen.resize(20, 70)
        screen.type("until stty size | grep '20 70'; do sleep 0.1; done\r")  # it comes beside what is typed
        await screen.shows("20 70\r\n")
        screen.type("cat\r")
        screen.type("marco\r")
        for _ in ("as typed", "from cat"):
            await screen.shows("marco")
        screen.type("\x03")  # ends cat, not pawl and not the shell
        await screen.shows(PROMPT)
        screen.type("echo 1 > new.txt; rm sums.py; ls\r")
        await screen.shows("new.txt")
        screen.type("exit 5\r")
        await screen.shows("2 files changed in the copy")
        assert await screen.ends() == 5
        assert screen.settings() == cooked
    assert identity(project) == before
    kept = re.search(r"The patch is kept for 14 days: (\S+)", screen.text)
    assert kept
    patch = Path(kept[1])
    assert patch.is_relative_to(isolated)
    assert b"new.txt" in patch.read_bytes()
    assert list((isolated / "state" / "workspaces").glob("*/forks")) == []


@pytest.mark.parametrize("backend", backends("bubblewrap"))
async def test_a_command_and_its_exit_code(backend: str, project: Path) -> None:
    async with on_terminal(*shell(backend, "--", "sh", "-c", "pwd; kill -9 $$"), cwd=project) as screen:
        await screen.shows(str(project))
        await screen.shows("nothing was changed")
        assert await screen.ends() == 137


@pytest.mark.parametrize("backend", backends("bubblewrap"))
async def test_without_a_terminal_its_input_is_typed(backend: str, project: Path) -> None:
    done = await run_pawl("sandbox", "shell", "--sandbox", backend, "--", "cat", cwd=project)
    assert (done.code, done.out) == (0, "")  # nothing on stdin: Ctrl-D
    assert "was not touched" in done.err


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_it_reaches_what_is_allowed_and_each_decision_is_shown(backend: str, project: Path) -> None:
    async with hello() as port:
        (project / "get.py").write_text(
            "import urllib.request\n"
            f"for port in ({port}, {port + 1}):\n"
            "    try: print(urllib.request.urlopen(f'http://127.0.0.1:{port}/').read())\n"
            "    except OSError as error: print(error)"
        )
        words = ("shell", "--sandbox", backend, "--network", f"127.0.0.1:{port}", "--", "python3", "get.py")
        done = await run_pawl("sandbox", *words, cwd=project)
    assert "b'hello'" in done.out, done.err
    assert "403" in done.out
    assert f"the sandbox may reach 127.0.0.1:{port}" in done.err
    assert f"pawl: network: 127.0.0.1:{port}: " in done.err
    assert f"pawl: network: 127.0.0.1:{port + 1}: refused: " in done.err


@pytest.mark.parametrize("backend", backends("bubblewrap"))
async def test_a_closed_terminal_ends_it_and_leaves_nothing(
    backend: str, project: Path, isolated: Path
) -> None:
    async with on_terminal(*shell(backend), cwd=project) as screen:
        await screen.shows(PROMPT)
        (workspace,) = (isolated / "state" / "workspaces").iterdir()
        assert (workspace / "forks").exists()
        screen.hang_up()
        assert await screen.ends() == 130
    assert not (workspace / "forks").exists()


# --- the terminal itself -----------------------------------------------------------------------------------

TYPES = """
import ctypes, fcntl, termios
libc = ctypes.CDLL(None, use_errno=True)
for number in (0x5412, 0x5412 | 1 << 32):
    print(libc.ioctl(0, ctypes.c_ulong(number), b"x"), ctypes.get_errno())
fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
print("own terminal", open("/dev/tty").isatty())
"""


async def nothing() -> None:
    await asyncio.Event().wait()
    yield b""


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_typing_for_the_person_is_refused_on_ones_own_terminal(backend: str, tmp_path: Path) -> None:
    shown = bytearray()
    async with opened(backend, tmp_path) as place:
        code = await place.sandbox.terminal(
            ["python3", "-c", TYPES], size=Size(10, 40), keys=nothing(), on_output=shown.extend
        )
    assert (code, shown) == (0, b"-1 1\r\n-1 1\r\nown terminal True\r\n")


@pytest.mark.parametrize("backend", backends(*known_backends()))
async def test_what_the_shell_leaves_is_ended_and_a_paste_is_typed_whole(
    backend: str, tmp_path: Path
) -> None:
    paste = b"".join(b"%07d\n" % number for number in range(40_000))
    sum_it = "stty -echo; echo go; head -c 320000 | cksum; setsid sleep 74.5 & exit 3"
    shown = bytearray()
    ready = asyncio.Event()

    def hear(data: bytes) -> None:
        shown.extend(data)
        if b"go" in shown:
            ready.set()

    async def keys() -> None:
        await ready.wait()
        yield paste
        await asyncio.Event().wait()

    async with opened(backend, tmp_path) as place:
        code = await place.sandbox.terminal(
            ["sh", "-c", sum_it], size=Size(9, 9), keys=keys(), on_output=hear
        )
        assert await place.alive("74.5") == 0
        wanted = (await place.sandbox.run("cksum", stdin=paste)).output
    assert (code, bytes(shown).split(b"\r\n")[1]) == (3, wanted.strip())


@pytest.mark.parametrize("backend", backends("bubblewrap"))
async def test_a_program_that_is_not_there_is_told_and_other_commands_go_on(
    backend: str, tmp_path: Path
) -> None:
    async with opened(backend, tmp_path) as place:
        with pytest.raises(SandboxError, match="not found"):
            await place.sandbox.terminal(
                ["no-such-program"], size=Size(9, 9), keys=nothing(), on_output=print
            )
        started = asyncio.Event()
        task = asyncio.create_task(
            place.sandbox.terminal(
                ["sh", "-c", "echo up; exec sleep 75.5"],
                size=Size(9, 9),
                keys=nothing(),
                on_output=lambda _: started.set(),
            )
        )
        await started.wait()
        assert (await place.sandbox.run("sleep 0.01 & echo beside")).output == b"beside\n"
        assert await place.alive("75.5") == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await place.alive("75.5") == 0
