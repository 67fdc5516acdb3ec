from __future__ import annotations

import hashlib

import pytest

from agent.messages import ToolCall
from agent.permissions import Decision, Mode, Permissions, edits_alone, goes_through
from sandbox.patch import EXECUTABLE, REGULAR, SYMLINK, FileChange, Patch
from tools.base import Effect

pytestmark = pytest.mark.anyio

READ, WRITE, EXECUTE = Effect.READ, Effect.WRITE, Effect.EXECUTE


class Person:
    def __init__(self, says: bool) -> None:
        self.says = says
        self.asked: list[tuple[str, Effect]] = []

    async def approve(self, call: ToolCall, effect: Effect) -> bool:
        self.asked.append((call.name, effect))
        return self.says


@pytest.mark.parametrize(
    ("mode", "contained", "decisions"),
    [
        ("plan", True, ("allow", "deny", "deny")),
        ("ask", True, ("allow", "allow", "allow")),
        ("auto-edit", True, ("allow", "allow", "allow")),
        ("yolo", True, ("allow", "allow", "allow")),
        ("plan", False, ("allow", "deny", "deny")),
        ("ask", False, ("allow", "ask", "ask")),
        ("auto-edit", False, ("allow", "allow", "ask")),
        ("yolo", False, ("allow", "allow", "allow")),
    ],
)
def test_mode_and_effect_decide(mode: Mode, contained: bool, decisions: tuple[Decision, ...]) -> None:
    permissions = Permissions(mode, contained)
    assert tuple(permissions.decide(effect) for effect in (READ, WRITE, EXECUTE)) == decisions


def test_only_local_is_no_sandbox() -> None:
    assert Permissions.inside_sandbox("docker").decide(EXECUTE) == "allow"
    assert Permissions.inside_sandbox("bubblewrap").decide(EXECUTE) == "allow"
    assert Permissions.inside_sandbox("local").decide(EXECUTE) == "ask"


async def test_the_person_is_asked_and_heard() -> None:
    yes, no = Person(True), Person(False)
    call = ToolCall("c1", "bash", "{}")
    assert await Permissions("ask", False, yes).refusal(call, EXECUTE) == ""
    assert "declined" in await Permissions("ask", False, no).refusal(call, EXECUTE)
    assert yes.asked == no.asked == [("bash", EXECUTE)]
    assert "nobody" in await Permissions("ask", False).refusal(call, EXECUTE)
    assert "plan mode" in await Permissions("plan", False, yes).refusal(call, EXECUTE)
    assert await Permissions("ask", False, no).refusal(call, READ) == ""
    assert len(yes.asked) == len(no.asked) == 1


def changed(path: str, new: bytes | None, old: bytes | None = b"old", mode: int = REGULAR) -> FileChange:
    return FileChange(path, old, new, None if old is None else REGULAR, None if new is None else mode, b"")


@pytest.mark.parametrize(
    ("change", "left", "alone"),
    [
        (changed("a.py", b"new"), b"new", True),
        (changed("a.py", b"new", None), b"new", True),
        (changed("a.py", None), None, True),
        (changed("a.py", b"new"), b"an edit, and a command behind it", False),
        (changed("a.py", None), b"new", False),
        (changed("a.py", b"new", mode=EXECUTABLE), b"new", False),
        (changed("a.py", b"new", None, SYMLINK), b"new", False),
        (changed("b.py", b"new"), b"new", False),
        (changed(".github/workflows/a.py", b"new"), b"new", False),
    ],
)
def test_what_edits_alone_made(change: FileChange, left: bytes | None, alone: bool) -> None:
    sha = "" if left is None else hashlib.sha256(left).hexdigest()
    written = {"a.py": sha, ".github/workflows/a.py": sha}
    assert edits_alone(Patch((change,)), written) == alone
    assert edits_alone(Patch((changed("a.py", left), change)), written) == alone


def test_what_goes_into_the_files_unasked() -> None:
    modes: tuple[Mode | None, ...] = (None, "plan", "ask", "auto-edit", "yolo")
    assert [goes_through(mode, alone=True) for mode in modes] == [False, False, False, True, True]
    assert [goes_through(mode, alone=False) for mode in modes] == [False, False, False, False, True]
