"""Files and patterns that are strange, huge, gone, or made to take for ever."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.test_builtin import call, refused
from tools.base import ToolContext

pytestmark = pytest.mark.anyio

CALLS: dict[str, dict[str, object]] = {
    "read": {},
    "edit": {"old_string": "a", "new_string": "b"},
    "multi_edit": {"edits": []},
    "replace_function": {"name": "f", "code": "def f(): pass"},
    "write": {"content": "x"},
    "outline": {},
}


Hide = Callable[[], None]


@pytest.fixture
def hide(ctx: ToolContext, monkeypatch: pytest.MonkeyPatch) -> Hide:
    """Take ripgrep away."""
    real = ctx.sandbox.run

    async def without(command: list[str], **options: object) -> object:
        return await real(["no-such-program" if w == "rg" else w for w in command], **options)  # type: ignore[arg-type]

    return lambda: monkeypatch.setattr(ctx.sandbox, "run", without)


def sparse(file: Path) -> None:
    file.touch()
    os.truncate(file, 1024**3)


@pytest.mark.parametrize("name", ["a.py\n", " a.py", "a.py ", "\ta.py\n\n"])
async def test_blanks_around_a_name_count_only_if_there_is_such_a_file(
    ctx: ToolContext, tree: Path, name: str
) -> None:
    (tree / "a.py").write_text("plain = 1\n")
    assert await call(ctx, "read", path=name) == "1\tplain = 1"
    (tree / name).write_text("strange = 1\n")
    for path in (name, f"{tree}/{name.lstrip()}" if name[0] == "a" else name):
        assert await call(ctx, "read", path=path) == "1\tstrange = 1"
    assert "strange = 1" in await call(ctx, "grep", pattern="=", path=name)
    await call(ctx, "edit", path=name, old_string="strange", new_string="edited")
    assert (tree / name).read_text() == "edited = 1\n" and (tree / "a.py").read_text() == "plain = 1\n"
    assert await call(ctx, "read", path=" a.py \n") == "1\tplain = 1"


async def test_stray_blanks_make_no_strange_file(ctx: ToolContext, tree: Path) -> None:
    await call(ctx, "write", path=" new.py\n", content="x = 1\n")
    assert [entry.name for entry in tree.iterdir()] == ["new.py"]


@pytest.mark.parametrize("path", ["folder.py", "huge.py", "gone.py"])
async def test_what_is_no_file_to_work_on_is_refused_with_advice(
    ctx: ToolContext, tree: Path, path: str
) -> None:
    (tree / "folder.py").mkdir()
    sparse(tree / "huge.py")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    expected = {"folder.py": "a folder", "huge.py": "too large", "gone.py": "There is no file gone.py"}
    for name in CALLS:
        if (name, path) == ("write", "gone.py"):
            continue
        text = await refused(ctx, name, path=path, **CALLS[name])
        assert expected[path] in text and any(way in text for way in ("glob", "grep", "Did you mean")), name
    assert time.monotonic() - start < 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024, "kB"


@pytest.mark.parametrize("ripgrep", [True, False])
async def test_grep_of_a_huge_file_ends(ctx: ToolContext, tree: Path, ripgrep: bool, hide: Hide) -> None:
    sparse(tree / "huge.py")
    (tree / "a.py").write_text("needle\n")
    if not ripgrep:
        hide()
    start = time.monotonic()
    assert await call(ctx, "grep", pattern="needle") == "a.py:1: needle"
    if ripgrep:  # which takes it for a binary file at once
        assert await call(ctx, "grep", pattern="needle", path="huge.py") == "No matches."
    else:
        assert "too large" in await refused(ctx, "grep", pattern="needle", path="huge.py")
    assert time.monotonic() - start < 20


async def test_a_file_that_vanishes_between_read_and_edit(ctx: ToolContext, tree: Path) -> None:
    (tree / "a.py").write_text("a = 1\n")
    await call(ctx, "read", path="a.py")
    (tree / "a.py").unlink()
    text = await refused(ctx, "edit", path="a.py", old_string="a = 1", new_string="b")
    assert text.startswith("There is no file a.py.") and not (tree / "a.py").exists()
    await call(ctx, "write", path="a.py", content="a = 2\n")
    assert (tree / "a.py").read_text() == "a = 2\n"


@pytest.mark.parametrize(
    ("pattern", "ripgrep", "ends"),
    [
        ("(a+)+$", True, True), (r"(a|a)*b\b", True, True), (r"^(a+)+\1$", True, False),
        ("(a+)+$", False, False), (r"(a|a)*b\b", False, False),
    ],
)  # fmt: skip
async def test_a_catastrophic_pattern_is_stopped(
    ctx: ToolContext, tree: Path, pattern: str, ripgrep: bool, ends: bool, hide: Hide
) -> None:
    (tree / "trap.txt").write_text("a" * 40 + "!\n")
    if not ripgrep:
        hide()
    ctx.timeout_s = 1 if not ends else 30
    start = time.monotonic()
    if ends:
        assert await call(ctx, "grep", pattern=pattern) == "No matches."
    else:
        text = await refused(ctx, "grep", pattern=pattern)
        assert "it took over 1 s" in text and "simpler pattern" in text
    assert time.monotonic() - start < 5
    assert await call(ctx, "grep", pattern="a!") == f"trap.txt:1: {'a' * 40}!"
