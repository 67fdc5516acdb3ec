"""Git on the host, for repositories that pawl itself made or fetched; never one that a sandbox wrote to.

The environment is made from nothing, so no setting, hook or credential helper of the person takes part, and
nothing is fetched behind one's back.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox.base import SandboxError
from sandbox.programs import find, search_path

TIMEOUT_S = 600.0

_ENV = {
    "LC_ALL": "C",
    "TZ": "UTC",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "pawl",
    "GIT_AUTHOR_EMAIL": "pawl@localhost",
    "GIT_AUTHOR_DATE": "2000-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "pawl",
    "GIT_COMMITTER_EMAIL": "pawl@localhost",
    "GIT_COMMITTER_DATE": "2000-01-01T00:00:00Z",
}
_OPTIONS = ("-c", "safe.directory=*", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false")


class GitFailed(SandboxError):
    """Git ended with an error; the message has its last words."""


def git(
    *args: str,
    at: Path | None = None,
    stdin: bytes = b"",
    ok: Sequence[int] = (0,),
    env: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> bytes:
    """What git prints. `at` is a git directory or a folder with one. Raises GitFailed."""
    program = find("git")
    if program is None:
        raise GitFailed("git is not installed; install it, for example: apt-get install git")
    words = [program, *_OPTIONS]
    if at is not None:
        words += ["-C", str(at)]
    try:
        done = subprocess.run(
            [*words, *args],
            input=stdin,
            capture_output=True,
            env={"PATH": search_path(), "HOME": "/nonexistent", **_ENV, **(env or {})},
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise GitFailed(f"git {args[0]} did not end within {timeout_s:.0f} s") from None
    if done.returncode not in ok:
        told = done.stderr.decode("utf-8", "replace").strip()[-500:]
        raise GitFailed(f"git {args[0]} failed: {told}")
    return done.stdout


def contents(at: Path, commit: str, paths: Sequence[str]) -> dict[str, bytes]:
    """The files of a commit by path, read at once; what is no file is left out. Raises GitFailed."""
    asked = "".join(f"{commit}:{path}\n" for path in paths if "\n" not in path)
    told = git("cat-file", "--batch", at=at, stdin=asked.encode("utf-8", "surrogateescape"))
    found: dict[str, bytes] = {}
    start = 0
    for path in (path for path in paths if "\n" not in path):
        end = told.index(b"\n", start)
        head = told[start:end].split(b" ")
        start = end + 1
        if len(head) == 3 and head[1] in (b"blob", b"tree", b"commit", b"tag"):
            size = int(head[2])
            if head[1] == b"blob":
                found[path] = told[start : start + size]
            start += size + 1
    return found
