"""Commands that asked for input: what real ones wrote, and others that failed for another reason.

The outputs are the ends of what the commands wrote with an empty stdin and no terminal (Debian 12; git 2.39, npm 10,
Node 20, Java 17, Python 3.11); those of sudo and ssh are as their sources word them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.base import ToolContext
from tools.toolset import load
from tools.waiting import HINT, TESTS_HINT, asked_for_input

pytestmark = pytest.mark.anyio

MP_RECV = (
    '  File "/usr/lib/python3.11/multiprocessing/connection.py", line 399, in _recv\n'
    "    raise EOFError\nEOFError\n"
)
GETPASS = (
    '  File "/usr/lib/python3.11/getpass.py", line 126, in fallback_getpass\n'
    "    return _raw_input(prompt, stream)\n           ^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
    '  File "/usr/lib/python3.11/getpass.py", line 148, in _raw_input\n    raise EOFError\nEOFError\n'
)
PYTEST = (
    "E       OSError: pytest: reading from stdin while output is captured!  Consider using `-s`.\n\n"
    "_pytest/capture.py:229: OSError\n{line} Captured stdout call {line}\nName? \n"
    "=========================== short test summary info ============================\n"
    "FAILED test_in.py::test_a - OSError: pytest: reading from stdin while output ...\n1 failed in 1.25s\n"
)
SSH_NO_PTY = "Pseudo-terminal will not be allocated because stdin is not a terminal.\r\n"
BLOCK = "\n".join(f"    frame {n}" for n in range(20))

ASKED = [
    ("read x", "", 1),
    ('echo begin >log; read -p "Name? " x', "", 1),
    ("if true; then read x; fi", "", 1),
    ("python s.py", 'Name? Traceback (most recent call last):\n  File "s.py", line 1\nEOFError: EOF when reading a line\n', 1),
    ("python s.py", GETPASS, 1),
    ("pytest -q", PYTEST, 1),
    ("python s.py", "> s.py(1)<module>()\n(Pdb) \nTraceback (most recent call last):\nbdb.BdbQuit\n", 1),
    ("java S.java", 'Name: Exception in thread "main" java.util.NoSuchElementException: No line found\n\tat S.main(S.java:2)\n', 1),
    ("apt-get install cowsay", "After this operation, 136 kB of additional disk space will be used.\nDo you want to continue? [Y/n] Abort.\n", 1),
    ("pip uninstall x", "    response = input(message)\n               ^^^^^\nEOFError: EOF when reading a line\n", 2),
    ("git commit", "error: Terminal is dumb, but EDITOR unset\nPlease supply the message using either -m or -F option.\n", 1),
    ("git clone http://h/x", "Cloning into 'x'...\nfatal: could not read Username for 'http://h': No such device or address\n", 128),
    ("git clone http://h/x", "fatal: could not read Username for 'http://h': terminal prompts disabled\n", 128),
    ("sudo ls", "sudo: a terminal is required to read the password; either use the -S option to read from standard input or configure an askpass helper\nsudo: a password is required\n", 1),
    ("ssh h", f"{SSH_NO_PTY}Host key verification failed.\r\n", 255),
    ("ssh h", f"{SSH_NO_PTY}me@h: Permission denied (publickey,password).\r\n", 255),
    ("npm init", "Press ^C at any time to quit.\npackage name: (n) ", 1),
    ("npm login", "npm notice Log in on https://registry.npmjs.org/\nUsername: ", 1),
    ("npm create vite", 'npm error npx canceled due to missing packages and no YES option: ["create-vite@9.3.0"]\nnpm error A complete log of this run can be found in: debug-0.log\n', 1),
    ("ssh-keygen", "Generating public/private rsa key pair.\nEnter file in which to save the key (/root/.ssh/id_rsa): ", 1),
    ("passwd", "New password: Password change has been aborted.\npasswd: Authentication token manipulation error\npasswd: password unchanged\n", 10),
    ("docker login", "Error: Cannot perform an interactive login from a non TTY device\n", 1),
    ("docker run -it debian", "the input device is not a TTY\n", 1),
    ("gpg --gen-key", "gpg: cannot open '/dev/tty': No such device or address\n", 2),
    ("top", "top: failed tty get\n", 1),
    ("openssl req -new", "-----\nCountry Name (2 letter code) [AU]:Error making certificate request\n", 1),
    ("select a in x y; do break; done", "1) x\n2) y\n#? \n", 1),
    ("rm -i a", "rm: remove regular file 'a'? ", 0),
    ("cp -i a b", "cp: overwrite 'b'? ", 0),
    ("node ask.js", "Name? ", 0),
]  # fmt: skip

NOT_ASKED = [
    ("cat nope", "cat: nope: No such file or directory\n", 1),
    ("grep zzz a", "", 1),
    ("false", "", 1),
    ("test -f nope", "", 1),
    ("echo y | read x; false", "", 1),
    ("read -r x < empty", "", 1),
    ("cat already | grep read", "", 1),
    ("./read", "", 1),
    ("read x", "bash: line 1: nope: No such file or directory\n", 1),
    ("python s.py", "EOFError: Ran out of input\n", 1),
    ("python s.py", MP_RECV, 1),
    ("echo 5 | python s.py", "n: Traceback (most recent call last):\nZeroDivisionError: division by zero\n", 1),
    ("node s.js", '[eval]:1\nthrow new Error("really? ")\n^\n\nError: really? \n    at [eval]:1:7\n\nNode.js v20.20.2\n', 1),
    ("./crash", "Loading: ", 139),
    ("./crash", "Loading: ", None),
    ("python s.py", "Total: 3", 1),
    ("python s.py", "Total: ", 0),
    ("gcc -c nope.c", "cc1: fatal error: nope.c: No such file or directory\ncompilation terminated.\n", 1),
    ("make", "make: *** No targets specified and no makefile found.  Stop.\n", 2),
    ("git push", "fatal: No configured push destination.\nEither specify the URL from the command-line\n", 128),
    ("git commit", "On branch main\nnothing to commit, working tree clean\n", 1),
    ("pip install zzz", "ERROR: No matching distribution found for zzz\n", 1),
    ("ssh h", f"{SSH_NO_PTY}ssh: connect to host h port 22: Connection refused\r\n", 255),
    ("ssh h", "me@h: Permission denied (publickey).\r\n", 255),
    ("./run.sh", "bash: ./run.sh: Permission denied\n", 126),
    ("cat log", "EOFError: EOF when reading a line\n", 0),
    ("pytest", f"E   EOFError: EOF when reading a line\n{BLOCK}\n1 failed in 0.1s\n", 1),
    ("pytest", 'E   AssertionError: assert "Proceed? [y/n]" in out\n1 failed in 0.1s\n', 1),
    ("npm test", "  1) asks:\n     AssertionError [ERR_ASSERTION]: 1 == 2\n\n", 1),
]  # fmt: skip


@pytest.mark.parametrize(("command", "output", "exit_code"), ASKED)
def test_a_command_that_asked_is_told(command: str, output: str, exit_code: int) -> None:
    assert asked_for_input(command, output, exit_code)


@pytest.mark.parametrize(("command", "output", "exit_code"), NOT_ASKED)
def test_other_failures_are_left_as_they_are(command: str, output: str, exit_code: int | None) -> None:
    assert not asked_for_input(command, output, exit_code)


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        ("read answer", True),
        ("python3 -c 'input(\"Name? \")'", True),
        ("touch a; rm -i a", True),
        ("printf 'y\\n' | (read answer; echo $answer; exit 1)", False),
        ("echo gone >&2; exit 1", False),
    ],
)
async def test_bash_says_what_to_do(ctx: ToolContext, tree: Path, command: str, asked: bool) -> None:
    text = (await load("bash").run(ctx, command=command)).text
    assert text.endswith(f"\n{HINT}") == asked and HINT not in text.removesuffix(f"\n{HINT}")


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ("input('Name? ')", True),
        ("subprocess.run([sys.executable, '-c', 'input()'], check=True, stdin=subprocess.DEVNULL)", False),
        ("assert input is None", False),
        ("print('Name? ')", False),
    ],
)
async def test_a_test_that_asked_is_told(ctx: ToolContext, tree: Path, body: str, asked: bool) -> None:
    many = "\n".join(f"def test_{n}(): assert {n} > {n}" for n in range(20))
    (tree / "test_in.py").write_text(f"import subprocess, sys\ndef test_asks(): {body}\n{many}\n")
    text = (await load("run_tests").run(ctx)).text
    assert text.endswith(f"\n{TESTS_HINT}") == asked and HINT not in text


@pytest.mark.parametrize(("check", "asked"), [("python3 -c 'input()'", True), ("echo gone; exit 1", False)])
async def test_a_check_that_asked_is_told(ctx: ToolContext, check: str, asked: bool) -> None:
    ctx.check = check
    assert (await load("run_tests").run(ctx)).text.endswith(f"\n{TESTS_HINT}") == asked


async def test_a_background_job_says_so_too(ctx: ToolContext) -> None:
    bash = load("bash")
    await bash.run(ctx, command="python3 -c 'input(\"Name? \")'", background=True)
    [state] = await ctx.sandbox.jobs()
    text = (await bash.run(ctx, command="", job=state.job, timeout=20)).text
    assert "exit code 1" in text and text.endswith(HINT)
