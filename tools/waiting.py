"""Whether a command failed because it asked for input and nobody was there to give any. Pure.

Commands have an empty standard input and no terminal. That they asked is told by the end of their output: by
the words of interpreters and well-known tools, or by a line that was left open like a question.
"""

from __future__ import annotations

import re

HINT = (
    "[It asked for input and there is nobody: give the answer by a pipe (`printf 'y\\n' | ...`)"
    " or by a flag such as -y, -m or --no-input.]"
)
TESTS_HINT = (
    "[A test or the command asked for input and there is nobody: let the test give the answer, such as by"
    " monkeypatch.setattr('builtins.input', lambda *_: 'y'), or run the command by bash with a pipe.]"
)

_TAIL_LINES = 12
_SAID = re.compile(
    r"EOFError: EOF when reading a line"  # Python's input()
    r"|_raw_input\(.*\n(?:.*\n){0,4}EOFError$"  # and its getpass
    r"|pytest: reading from stdin while output"
    r"|bdb\.BdbQuit|^\(Pdb\) *$"
    r"|NoSuchElementException: No line found"  # Java's Scanner
    r"|\[[Yy](?:es)?/[Nn]o?\] ?(?:Abort\.)?$|\((?:y/n|Y/n|y/N|yes/no)\)[:?]? ?$"  # apt and many
    r"|EDITOR unset$|There was a problem with the editor|supply the message using either -m"  # git commit
    r"|could not read (?:Username|Password) for |terminal prompts disabled"  # git's credentials
    r"|terminal is required to read the password|sudo: a password is required"
    r"|Host key verification failed|Permission denied \([\w,-]*(?:password|keyboard-interactive)"  # ssh
    r"|(?:(?<!because )stdin|input device) is not a (?:tty|terminal)|from a non TTY|failed tty get"
    r"|not running in a TTY|cannot open '/dev/tty'|/dev/tty: No such device"
    r"|no YES option|User force closed the prompt"  # npm, inquirer
    r"|passwd: Authentication token manipulation|problems getting password|Error making certificate request"
    r"|^#\? *$",  # the shell's select
    re.IGNORECASE | re.MULTILINE,
)
_OPEN_QUESTION = re.compile(r"(?:^|\n)[^\n]*\S ?[?:)>\]] $")
_READ = re.compile(r"(?:^|[;&\n]|\b(?:do|then|else)\b)\s*read\b[^|<;&\n]*(?:$|[;&\n])")


def asked_for_input(command: str, output: str, exit_code: int | None) -> bool:
    """By the command, all that it wrote and how it ended; a command that was killed asked for nothing.

    One that succeeded is only taken for one that asked when its last line is an open question: the words of
    others' failures may be what it was to show.
    """
    if exit_code is None or 128 < exit_code < 255:
        return False
    if exit_code == 0:
        return output.endswith("? ")
    tail = "\n".join(output.rstrip("\n").split("\n")[-_TAIL_LINES:])
    if _SAID.search(tail) or _OPEN_QUESTION.search(output):
        return True
    return exit_code == 1 and not output and _READ.search(command) is not None
