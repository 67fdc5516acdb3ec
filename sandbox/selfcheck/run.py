"""Commands: how they are started, what they are given, how they end."""

from __future__ import annotations

import os

from sandbox.base import FileMissing, PathEscape, Sandbox
from sandbox.client import CLEAN_ENV
from sandbox.selfcheck.check import expect, expect_equal, expect_refused

_GIVEN = {*CLEAN_ENV, "PATH", "PWD", "SHLVL", "_"}
_TOOLS = {"VIRTUAL_ENV", "PYTHONUSERBASE", "CARGO_HOME", "RUSTUP_HOME", "GOMODCACHE", "GOPROXY", "GOFLAGS"}


async def check_exit_codes(sandbox: Sandbox) -> None:
    """exit codes are kept"""
    for code in (0, 1, 126, 255):
        expect_equal((await sandbox.run(f"exit {code}")).exit_code, code)


async def check_signal(sandbox: Sandbox) -> None:
    """death by a signal is told"""
    done = await sandbox.run("kill -SEGV $$")
    expect_equal((done.exit_code, done.signal), (None, 11))


async def check_not_found(sandbox: Sandbox) -> None:
    """a program that is not there exits with 127"""
    for command in ("pawl-no-such-program", ["pawl-no-such-program"], ["./pawl-no-such-program"]):
        expect_equal((await sandbox.run(command)).exit_code, 127)


async def check_not_executable(sandbox: Sandbox) -> None:
    """a file that is not executable exits with 126"""
    await sandbox.write("r-plain", b"text")
    expect_equal((await sandbox.run(["./r-plain"])).exit_code, 126)


async def check_arguments(sandbox: Sandbox) -> None:
    """arguments are passed as they are"""
    done = await sandbox.run(["printf", "[%s]", "a b", "$HOME", "", "*", "-n", "\n"])
    expect_equal(done.output, b"[a b][$HOME][][*][-n][\n]")


async def check_long_argument(sandbox: Sandbox) -> None:
    """an argument that is too long is refused, and nothing breaks"""
    expect_equal((await sandbox.run(["echo", "x" * 200_000])).exit_code, 126)


async def check_no_stdin(sandbox: Sandbox) -> None:
    """stdin is at its end when none is given"""
    done = await sandbox.run("cat; echo $?")
    expect_equal(done.output, b"0\n")


async def check_stdin(sandbox: Sandbox) -> None:
    """stdin is given whole, whether or not it is read"""
    expect_equal((await sandbox.run("wc -c", stdin=b"x" * 1_000_000)).output.strip(), b"1000000")
    expect_equal((await sandbox.run("true", stdin=b"x" * 1_000_000)).exit_code, 0)


async def check_no_terminal(sandbox: Sandbox) -> None:
    """there is no terminal that a program could wait on"""
    done = await sandbox.run("(echo x > /dev/tty) 2>/dev/null || echo none; tty")
    expect_equal(done.output, b"none\nnot a tty\n")


async def check_clean_environment(sandbox: Sandbox) -> None:
    """no variable of pawl's own environment is there"""
    done = await sandbox.run(["env", "-0"])
    inside = dict(entry.split(b"=", 1) for entry in done.output.split(b"\0") if b"=" in entry)
    leaked = [
        name
        for name, value in os.environb.items()
        if name.decode("utf-8", "replace") not in _GIVEN | _TOOLS and value and inside.get(name) == value
    ]
    expect(not leaked, f"these came through: {leaked}")


async def check_quiet_environment(sandbox: Sandbox) -> None:
    """programs are told that nobody can answer: CI, no pager, no git prompt"""
    done = await sandbox.run('echo "$CI $PAGER $GIT_TERMINAL_PROMPT"')
    expect_equal(done.output, b"1 cat 0\n")


async def check_own_environment(sandbox: Sandbox) -> None:
    """a command's own variables are for it alone"""
    done = await sandbox.run('echo "$WORD"', env={"WORD": "hello"})
    after = await sandbox.run('echo "$WORD"')
    expect_equal((done.output, after.output), (b"hello\n", b"\n"))


async def check_folder(sandbox: Sandbox) -> None:
    """a command runs in the workspace, or in a folder of it"""
    await sandbox.write("r-folder/here", b"")
    done = await sandbox.run("pwd; ls", cwd="r-folder")
    expect_equal(done.output.decode(), f"{sandbox.root}/r-folder\nhere\n")


async def check_folder_elsewhere(sandbox: Sandbox) -> None:
    """a command runs in no folder outside"""
    await expect_refused(PathEscape, sandbox.run("true", cwd=".."), "running in ..")
    await expect_refused(PathEscape, sandbox.run("true", cwd="/etc"), "running in /etc")
    await expect_refused(FileMissing, sandbox.run("true", cwd="r-nowhere"), "running nowhere")


async def check_python(sandbox: Sandbox) -> None:
    """there is a Python 3 by both of its names"""
    done = await sandbox.run("python -I -S -c 'print(1)' && python3 -I -S -c 'print(2)'")
    expect_equal((done.exit_code, done.output), (0, b"1\n2\n"))


async def check_home(sandbox: Sandbox) -> None:
    """there is a home folder to write in, and new files are not for all to write"""
    done = await sandbox.run('echo x > "$HOME/r-file" && cat "$HOME/r-file"; rm "$HOME/r-file"; umask')
    expect_equal(done.output, b"x\n0022\n")
