"""Tools that change files together, or several times: all of it or nothing, on a real sandbox."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.tools.test_builtin import call, refused
from tools.base import ToolContext, ToolError
from tools.changes import Change, make
from tools.matching import Replacement
from tools.toolset import load

pytestmark = pytest.mark.anyio

PATCH = """*** Begin Patch
*** Add File: new/c.py
+x = 1
*** Update File: a.py
@@
-a = 1
+a = 2
*** Update File: old.sh
*** Move to: bin/new.sh
@@
 #!/bin/sh
-exit 1
+exit 0
*** Delete File: b.py
*** End Patch"""


@pytest.fixture
def files(tree: Path) -> dict[str, bytes]:
    found = {"a.py": b"a = 1\r\n", "b.py": b"b = 1\n", "old.sh": b"#!/bin/sh\nexit 1\n"}
    for name, data in found.items():
        (tree / name).write_bytes(data)
    (tree / "old.sh").chmod(0o755)
    return found


def now(tree: Path) -> dict[str, bytes]:
    return {str(p.relative_to(tree)): p.read_bytes() for p in sorted(tree.rglob("*")) if p.is_file()}


async def test_a_patch_adds_updates_moves_and_deletes(
    ctx: ToolContext, tree: Path, files: dict[str, bytes]
) -> None:
    output = await load("apply_patch").run(ctx, patch=PATCH)
    assert output.text == "Created new/c.py.\nUpdated a.py.\nMoved old.sh to bin/new.sh.\nDeleted b.py."
    assert "-a = 1\r\n+a = 2\r\n" in output.view
    assert now(tree) == {"a.py": b"a = 2\r\n", "bin/new.sh": b"#!/bin/sh\nexit 0\n", "new/c.py": b"x = 1\n"}
    assert (tree / "bin/new.sh").stat().st_mode & 0o777 == 0o755
    # own changes are no news
    assert "Edited" in await call(ctx, "edit", path="a.py", old_string="  a = 2", new_string="  a = 3")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("*** Update File: a.py\n@@\n-zzz\n+y", "a.py: Hunk 1 is not in the file"),
        ("*** Update File: nowhere.py\n@@\n-a\n+b", "no file nowhere.py"),
        ("*** Add File: a.py\n+x", "a.py exists already"),
        ("*** Delete File: ../b.py", "outside of the workspace"),
        ("*** Add File: /etc/pawl\n+x", "outside of the workspace"),
        ("*** Update File: a.py\n*** Move to: ../a.py", "outside of the workspace"),
        ("*** Add File: d.py\n+# ... existing code ...", "leaves code out"),
        ("*** Update File: a.py", "no lines for a.py"),
    ],
)
async def test_a_patch_with_one_wrong_part_changes_nothing(
    ctx: ToolContext, tree: Path, files: dict[str, bytes], wrong: str, message: str
) -> None:
    patch = f"*** Begin Patch\n*** Delete File: b.py\n*** Add File: c.py\n+x\n{wrong}\n*** End Patch"
    assert message in await refused(ctx, "apply_patch", patch=patch)
    assert now(tree) == files


async def test_what_was_done_is_taken_back_when_a_later_part_is_refused(
    ctx: ToolContext, tree: Path, files: dict[str, bytes]
) -> None:
    found = {name: await ctx.sandbox.read(name) for name in files}
    stale = "0" * 64
    changes = [
        Change("a.py", files["a.py"], b"changed", found["a.py"].hash),
        Change("c.py", None, b"new"),
        Change("old.sh", files["old.sh"], None, found["old.sh"].hash, 0o755),
        Change("b.py", files["b.py"], b"never", stale),
    ]
    with pytest.raises(Exception, match=r"b.py changed meanwhile. Read it again. Nothing was changed."):
        await make(ctx, changes)
    assert now(tree) == files and (tree / "old.sh").stat().st_mode & 0o777 == 0o755


async def test_a_patch_of_a_symlink_leaves_what_it_leads_to(
    ctx: ToolContext, tree: Path, files: dict[str, bytes]
) -> None:
    (tree / "link.py").symlink_to("a.py")
    patch = "*** Begin Patch\n*** Delete File: link.py\n*** End Patch"
    assert "symlink" in await refused(ctx, "apply_patch", patch=patch)
    assert (tree / "link.py").is_symlink() and (tree / "a.py").read_bytes() == files["a.py"]


async def test_several_edits_of_one_file_are_all_made_or_none(ctx: ToolContext, tree: Path) -> None:
    (tree / "a.py").write_text("a = 1\nb = 2\nc = 3\n")
    good = [Replacement("a = 1", "a = 10"), Replacement("c = 3", "c = 30")]
    assert await call(ctx, "multi_edit", path="a.py", edits=good) == "Edited a.py, lines 1, 3."
    bad = [Replacement("a = 10", "a = 0"), Replacement("d = 4", "d = 40")]
    assert "Edit 2 of 2" in await refused(ctx, "multi_edit", path="a.py", edits=bad)
    assert (tree / "a.py").read_text() == "a = 10\nb = 2\nc = 30\n"


async def replaced(ctx: ToolContext, path: str, function: str) -> str:
    code = "def f(self):\n    return 2\n"
    return (await load("replace_function").run(ctx, path=path, name=function, code=code)).text


async def test_a_whole_function_is_replaced(ctx: ToolContext, tree: Path) -> None:
    (tree / "a.py").write_text("class A:\n    def f(self):\n        return 1\n\n    def g(self): pass\n")
    assert await replaced(ctx, "a.py", "A.f") == "Replaced A.f in a.py."
    assert "    def f(self):\n        return 2\n\n    def g" in (tree / "a.py").read_text()
    (tree / "a.js").write_text("function f() {}\n")
    for path, function, said in (
        ("a.py", "A.f", "nothing to change"),
        ("a.py", "h", "there is no function"),
        ("a.js", "f", "no Python file"),
    ):
        with pytest.raises(ToolError, match=said):
            await replaced(ctx, path, function)


async def test_a_change_that_breaks_the_syntax_is_refused_where_it_is_set(
    ctx: ToolContext, tree: Path
) -> None:
    (tree / "a.py").write_text("x = 1\n")
    await call(ctx, "read", path="a.py")
    ctx.refuse_syntax_errors = True
    patch = "*** Begin Patch\n*** Update File: a.py\n@@\n-x = 1\n+x = (\n*** End Patch"
    for name, arguments in {
        "edit": {"path": "a.py", "old_string": "1", "new_string": "("},
        "write": {"path": "a.py", "content": "x = (\n"},
        "apply_patch": {"patch": patch},
    }.items():
        said = await refused(ctx, name, **arguments)
        assert "a.py would have a syntax error in line 1: '(' was never closed. Nothing was changed." in said
    assert "Nothing was changed" in await refused(ctx, "write", path="b.py", content="x = (\n")
    assert now(tree) == {"a.py": b"x = 1\n"}
    ctx.refuse_syntax_errors = False
    assert "It now has a syntax error" in await call(ctx, "apply_patch", patch=patch)


async def test_a_file_that_changed_is_told_with_what_it_is_now(ctx: ToolContext, tree: Path) -> None:
    (tree / "a.py").write_text("def f():\n    return 1\n")
    await call(ctx, "read", path="a.py")
    (tree / "a.py").write_text("def f():\n    return 2\n")
    said = await refused(ctx, "edit", path="a.py", old_string="    return 1\n", new_string="    return 3\n")
    assert said.startswith("a.py changed since you read it. old_string is not in the file.")
    assert "2\t    return 2" in said


async def test_placeholders_are_never_written(ctx: ToolContext, tree: Path) -> None:
    (tree / "a.py").write_text("x = 1\ny = 2\n")
    await call(ctx, "read", path="a.py")
    for path in ("a.py", "b.py"):
        said = await refused(ctx, "write", path=path, content="x = 2\n# ... rest of the file unchanged ...\n")
        assert "leaves code out" in said
    assert now(tree) == {"a.py": b"x = 1\ny = 2\n"}


async def test_what_cannot_be_read_says_what_to_do_next(ctx: ToolContext, tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    (tree / "folder").mkdir()
    with (tree / "huge.txt").open("wb") as file:
        file.truncate(10**9)
    (tree / "data.gz").write_bytes(b"\x1f\x8b" + bytes(9))
    async with asyncio.timeout(20):
        assert "folder. List it with glob folder/*" in await refused(ctx, "read", path="folder")
        assert "cannot be read or written" in await refused(ctx, "read", path="pipe")
        assert "Use grep, or bash with head" in await refused(ctx, "read", path="huge.txt")
        assert "There is no file a\nb" in await refused(ctx, "read", path="a\nb")
        assert await call(ctx, "read", path="data.gz") == ("data.gz is a binary file of 11 bytes, gzip data.")
    (tree / "gone.py").write_text("x = 1\n")
    await call(ctx, "read", path="gone.py")
    (tree / "gone.py").unlink()
    said = await refused(ctx, "edit", path="gone.py", old_string="x = 1", new_string="x = 2")
    assert "There is no file gone.py" in said and not (tree / "gone.py").exists()
