"""What no tool shows or changes though it is named: secrets, and what .pawlignore names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.test_builtin import call, refused
from tools.base import ToolContext
from tools.ignored import is_secret

pytestmark = pytest.mark.anyio

TEXT = "def token():\n    return 'hunter2'\n"
PAWLIGNORE = "/private/\n*.hide.py\n"
HIDDEN = {
    ".env": "may hold secrets", ".env.local.py": "may hold secrets", "keys/server.key": "may hold secrets",
    "keys/id_ed25519": "may hold secrets", ".npmrc": "may hold secrets",
    "private/deep/a.py": "named in .pawlignore", "keys/../private/deep/a.py": "named in .pawlignore",
    "b.hide.py": "named in .pawlignore",
}  # fmt: skip
SHOWN = (".env.example", "generated.py", "keys/public.py")
CALLS: dict[str, dict[str, object]] = {
    "read": {},
    "grep": {"pattern": "hunter"},
    "outline": {},
    "edit": {"old_string": "def tokens():\n    return 'hunter'\n", "new_string": "x"},
    "multi_edit": {"edits": []},
    "replace_function": {"name": "token", "code": "def token(): pass"},
    "write": {"content": "x"},
}


@pytest.fixture
def hidden(tree: Path) -> Path:
    (tree / "private/deep").mkdir(parents=True)
    (tree / "keys").mkdir()
    for path in (*HIDDEN, *SHOWN):
        (tree / path).write_text(TEXT)
    (tree / ".pawlignore").write_text(PAWLIGNORE)
    (tree / ".gitignore").write_text("generated.py\n")
    return tree


@pytest.mark.parametrize("name", CALLS)
async def test_hidden_files_are_refused_by_name(ctx: ToolContext, hidden: Path, name: str) -> None:
    for path, why in HIDDEN.items():
        text = await refused(ctx, name, path=path, **CALLS[name])
        assert why in text and "person" in text and "hunter2" not in text, path
        assert (hidden / path).read_text() == TEXT
    assert "may hold secrets" in await refused(ctx, name, path="not/there/.env", **CALLS[name])


async def test_patches_do_not_reach_hidden_files(ctx: ToolContext, hidden: Path) -> None:
    for body in (
        "*** Update File: .env\n@@\n-def tokens():\n+x\n",
        "*** Delete File: .env\n",
        "*** Add File: new.key\n+x\n",
        "*** Update File: generated.py\n*** Move to: private/g.py\n@@\n-def token():\n+def t():\n",
    ):
        text = await refused(ctx, "apply_patch", patch=f"*** Begin Patch\n{body}*** End Patch")
        assert "tools neither show nor change" in text and "hunter2" not in text
    assert (hidden / ".env").read_text() == TEXT and not (hidden / "new.key").exists()


async def test_searches_leave_out_what_is_hidden(ctx: ToolContext, hidden: Path) -> None:
    assert "generated.py" in await call(ctx, "grep", pattern="hunter2", path="generated.py")
    assert await call(ctx, "grep", pattern="hunter2", path="keys") == "keys/public.py:2: return 'hunter2'"
    found = await call(ctx, "grep", pattern="hunter2")
    assert {line.partition(":")[0] for line in found.splitlines()} == {".env.example", "keys/public.py"}
    assert ".pawlignore" in await refused(ctx, "grep", pattern="hunter2", path="private")
    assert await call(ctx, "symbols", query="token") == "keys/public.py:1: def token():"
    assert await call(ctx, "glob", pattern="keys/*") == "keys/public.py"
    assert await call(ctx, "glob", pattern="generated.py") == "generated.py"
    for pattern in (".env", "*.key", "private/**", "private/deep/a.py", "*.hide.py"):
        assert "neither show" in await refused(ctx, "glob", pattern=pattern), pattern


async def test_files_that_git_ignores_and_samples_can_be_read(ctx: ToolContext, hidden: Path) -> None:
    for path in SHOWN:
        assert "hunter2" in await call(ctx, "read", path=path)
    assert not any(is_secret(name) for name in (".envrc", "key.py", "keys", ".env.sample", "monkey"))
