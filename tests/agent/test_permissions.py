from __future__ import annotations

import pytest

from agent.messages import ToolCall
from agent.permissions import Decision, Mode, Permissions
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
