"""What no tool shows or changes though it is named: secrets, and what .pawlignore names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox.base import Limits, SandboxSpec
from sandbox.open import open_sandbox, owner
from tests.sandbox.places import backends
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


LINKS = {
    "notes.txt": ".env.local.py",
    "data.txt": "keys/server.key",
    "chain.txt": "notes.txt",
    "open": "private",
    "up.txt": "keys/../b.hide.py",
    "new.txt": "keys/not/there/id_rsa",
}
"""Symlink with a harmless name -> what it leads to."""


@pytest.mark.parametrize("backend", backends("bubblewrap", "local"))
async def test_symlinks_show_and_change_nothing_hidden(hidden: Path, tmp_path: Path, backend: str) -> None:
    for name, target in LINKS.items():
        (hidden / name).symlink_to(target)
    (hidden / "fine.txt").symlink_to("generated.py")
    (hidden / "shown").symlink_to("keys")
    spec = SandboxSpec(tree=hidden, root=str(hidden), session="test", limits=Limits(timeout_s=30))
    for path in (hidden, *hidden.rglob("*")):
        os.chown(path, *owner(backend), follow_symlinks=False)  # type: ignore[arg-type]
    sandbox = await open_sandbox(spec, backend, state=tmp_path / "state", project=hidden)  # type: ignore[arg-type]
    try:
        ctx = ToolContext(sandbox, tmp_path / "artifacts")
        below = {"open": "open/deep/a.py"}
        for name, arguments in CALLS.items():
            for link in LINKS:
                text = await refused(ctx, name, path=below.get(link, link), **arguments)
                assert "leads to" in text and "neither show nor change" in text, (name, link, text)
                assert "hunter2" not in text
        assert "leads to private" in await refused(ctx, "grep", pattern="hunter", path="open")
        text = await refused(ctx, "write", path="open/new/b.py", content="x")
        assert "open/new/b.py leads to private/new/b.py, which is named in .pawlignore" in text
        patch = "*** Begin Patch\n*** Add File: open/c.py\n+x\n*** End Patch"
        assert "leads to private/c.py" in await refused(ctx, "apply_patch", patch=patch)
        assert "hunter2" in await call(ctx, "read", path="fine.txt")
        assert (
            await call(ctx, "grep", pattern="hunter2", path="shown") == "keys/public.py:2: return 'hunter2'"
        )
        assert "generated.py:2" in await call(ctx, "grep", pattern="hunter2", path="fine.txt")
        found = await call(ctx, "grep", pattern="hunter2")
        assert {line.partition(":")[0] for line in found.splitlines()} == {".env.example", "keys/public.py"}
    finally:
        await sandbox.aclose()
    assert (hidden / ".env.local.py").read_text() == TEXT and not (hidden / "private/new").exists()


async def test_files_that_git_ignores_and_samples_can_be_read(ctx: ToolContext, hidden: Path) -> None:
    for path in SHOWN:
        assert "hunter2" in await call(ctx, "read", path=path)
    assert not any(is_secret(name) for name in ("key.py", "keys", ".env.sample", "monkey"))


def test_secrets_are_told_by_place_and_in_capitals_too() -> None:
    for path in (".ENV", "a/ID_RSA", "x.PEM", ".aws/credentials", "home/.kube/config", "a.ppk", "b/.pgpass"):
        assert is_secret(path), path
    for path in (".ENV.Example", "aws/credentials", "kube/config", "config.json", "credentials"):
        assert not is_secret(path), path
