"""The repository's map in the first message: who gets it, what it says, that nobody waits for it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent import mapped
from agent.context import project
from agent.loop import run_turn
from agent.mapped import INTRODUCTION, maker, map_tokens, with_map
from agent.messages import User
from tests.support.scene import Scene, answer
from tools import repomap
from tools.base import ToolContext, ToolError
from tools.toolset import DEFAULT, load

pytestmark = pytest.mark.anyio

GOLDEN = Path(__file__).parents[1] / "golden" / "prompts" / "map.txt"
TASK = "total() of the cart is wrong"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAWL_HOME", str(tmp_path / "home"))
    root = tmp_path / "shop"
    root.mkdir()
    (root / "cart.py").write_text(
        "from money import rounded\n\ndef total(items):\n    return rounded(sum(items))\n"
    )
    (root / "money.py").write_text("def rounded(x):\n    return round(x)\n")
    (root / ".env.py").write_text("TOTAL_SECRET = 'total'\n")
    (root / "made.py").write_text("def total_made():\n    pass\n")
    (root / ".gitignore").write_text("made.py\n")
    return root


@pytest.mark.parametrize(
    ("setting", "context", "tokens"),
    [
        ("auto", 131072, 1024),
        ("auto", 16384, 1024),
        ("auto", 16383, 0),
        ("auto", None, 0),
        ("on", None, 1024),
        ("on", 8192, 0),
        ("off", 131072, 0),
        (4000, 131072, 4000),
        (4000, 16384, 1024),
        (200, None, 200),
    ],
)
def test_who_gets_a_map(setting: str | int, context: int | None, tokens: int) -> None:
    assert map_tokens(setting, context) == tokens


async def test_the_first_message_with_a_map_is_the_golden_one(shop: Path) -> None:
    said = await with_map(TASK, shop, 300)
    assert said + "\n" == GOLDEN.read_text("utf-8")
    assert "secret" not in said.lower() and "made" not in said
    assert await with_map(TASK, shop, 0) == TASK


async def test_the_map_stays_as_it_was_sent(shop: Path, tmp_path: Path) -> None:
    with Scene(tmp_path, [answer(), answer()]) as scene:
        first = await with_map(TASK, shop, 300)
        await run_turn(scene.agent, first)
        (shop / "cart.py").write_text("def other():\n    pass\n")
        await run_turn(scene.agent, "And now?")
        one, two = (request.messages for request in scene.model.requests)
        assert two[: len(one)] == one and one[-1] == User(first)
        assert sum(INTRODUCTION in m.text for m in project(scene.reload()) if isinstance(m, User)) == 1


async def test_a_slow_map_is_left_out(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "BUDGET_S", 0.05)
    monkeypatch.setattr(repomap, "update", lambda *_: time.sleep(0.5))
    began = time.monotonic()
    assert await with_map(TASK, shop, 300) == TASK
    assert time.monotonic() - began < 0.4


async def test_the_tool_gives_the_same_map(shop: Path, tmp_path: Path) -> None:
    tool = load("repo_map")
    ctx = ToolContext(None, tmp_path, map=maker(shop))  # type: ignore[arg-type]
    said = (await tool.run(ctx, query=TASK, tokens=300)).text
    assert said.startswith("cart.py:\n") and said in GOLDEN.read_text("utf-8")
    with pytest.raises(ToolError, match=r"in 1\.\.8192"):
        await tool.run(ctx, query=TASK, tokens=0)
    with pytest.raises(ToolError, match="no map here"):
        await tool.run(ToolContext(None, tmp_path), query=TASK)  # type: ignore[arg-type]
    assert "repo_map" not in DEFAULT
