"""Commands on a terminal of their own: what they show, what is typed, and how they end."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tools.base import Effect, ToolContext, ToolError, ToolOutput
from tools.builtin import terminal as module
from tools.toolset import DEFAULT, load

pytestmark = pytest.mark.anyio

ASK = (
    "import getpass\nname = input('Name? ')\nprint('Hello', name)\n"
    "print('secret of', len(getpass.getpass('Word: ')))\n"
)


def alive(command: str) -> bool:
    """Whether a process of this command is there."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip() == command:
                return True
    return False


async def run(ctx: ToolContext, command: str, **more: object) -> ToolOutput:
    return await load("terminal").run(ctx, command=command, **more)


async def test_a_command_has_a_terminal_and_bash_has_none(ctx: ToolContext) -> None:
    command = "test -t 0 && test -t 1 && stty size || echo no terminal"
    text = (await run(ctx, command)).text
    assert text.startswith("40 120\n[exit code 0, ")
    assert "no terminal" in (await load("bash").run(ctx, command=command)).text


async def test_each_line_is_typed_when_the_command_waits(ctx: ToolContext, tree: Path) -> None:
    """getpass throws away what was typed before it asked."""
    (tree / "ask.py").write_text(ASK)
    text = (await run(ctx, "python3 ask.py", input="Ada\nsesame\n")).text
    assert text.startswith("Name? Ada\nHello Ada\nWord: \nsecret of 6\n[exit code 0, ")
    assert "sesame" not in text, "a terminal does not show it"


async def test_who_asks_for_more_gets_the_end_of_input(ctx: ToolContext, tree: Path) -> None:
    (tree / "ask.py").write_text(ASK)
    began = time.monotonic()
    text = (await run(ctx, "python3 ask.py", timeout=20)).text
    assert "EOFError" in text and "[exit code 1, " in text and time.monotonic() - began < 10


async def test_the_output_is_text_without_control_codes_and_kept_when_clipped(ctx: ToolContext) -> None:
    shown = await run(ctx, r"printf '\033[31mred\033[0m 10%%\rred 99%%\n'; seq 100000; exit 3")
    assert shown.text.startswith("red 99%\n1\n2\n") and "\x1b" not in shown.text
    assert "lines, " in shown.text and "left out" in shown.text and "[exit code 3, " in shown.text
    assert b"\n50000\r\n" in Path(shown.artifact).read_bytes()


async def test_time_and_output_are_bounded(ctx: ToolContext, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "[killed after 1 s, the timeout, 1." in (await run(ctx, "echo begun; sleep 77.3", timeout=1)).text
    monkeypatch.setattr(module, "MAX_BYTES", 1024**2)
    assert "[killed: too much output, over 1 MB, " in (await run(ctx, "yes")).text
    assert not alive("sleep 77.3") and not alive("yes")


async def test_a_cancelled_one_leaves_nothing(ctx: ToolContext) -> None:
    heard = asyncio.Event()
    ctx.on_output = lambda data: heard.set()
    running = asyncio.create_task(run(ctx, "echo begun; sleep 77.4"))
    await heard.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not alive("sleep 77.4")


async def test_nothing_is_no_command_and_it_is_not_in_the_default_set(ctx: ToolContext) -> None:
    with pytest.raises(ToolError, match="no command"):
        await run(ctx, " ")
    assert "terminal" not in DEFAULT and load("terminal").effect is Effect.EXECUTE
