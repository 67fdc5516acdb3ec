"""grep, glob, outline and symbols on a real sandbox."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tools.test_builtin import call, refused
from tools.base import ToolContext
from tools.builtin.glob import EARLY

pytestmark = pytest.mark.anyio


@pytest.fixture
def shop(tree: Path) -> Path:
    for path, text in {
        ".gitignore": "build/\n*.log\n",
        ".pawlignore": "vendor\n",
        ".env": "TOTAL=secret\n",
        "shop/cart.py": "class Cart:\n    def total(self):\n        return rounded(1)\n",
        "shop/money.py": "def rounded(x):\n    return x\n\ndef round_total(x):\n    return rounded(x)\n",
        "tests/test_money.py": "def test_rounded():\n    assert rounded(1)\n",
        "build/out.py": "def rounded(x): total\n",
        "vendor/lib.py": "def rounded(x): total\n",
        "web/app.go": "package a\n\nfunc Rounded() {}\n",
        "crlf.txt": "total\r\nnone\r\n",
        "feed.txt": "one\x0c\u2028\nlast\n",
    }.items():
        (tree / path).parent.mkdir(exist_ok=True)
        (tree / path).write_bytes(text.encode())
    (tree / "wide.txt").write_text("first\nwide\n", "utf-16")
    return tree


async def test_grep_and_glob_leave_out_what_is_ignored_and_secret(ctx: ToolContext, shop: Path) -> None:
    found = await call(ctx, "grep", pattern="total|TOTAL")
    assert {line.partition(":")[0] for line in found.splitlines()} == {
        "crlf.txt",
        "shop/cart.py",
        "shop/money.py",
    }
    assert await call(ctx, "grep", pattern="rounded", path="build") == "build/out.py:1: def rounded(x): total"
    assert "build" not in await call(ctx, "glob", pattern="**/*.py")
    assert await call(ctx, "glob", pattern="build/*.py") == "build/out.py"


@pytest.mark.parametrize(
    ("pattern", "glob"),
    [
        ("total", ""), ("^total$", ""), ("(?i)ROUNDED", ""), (r"\brounded\(", "*.py"), ("x", "shop/*.py"),
        (r"(r)ound\w*\1", ""), ("[[:alpha:]]", ""), ("nothing at all", ""), (r"\d\)", ""), ("a{,3}b", ""),
        ("-x", ""), (r"def (?=r)", ""), ("total", "**/*.py"),
        ("total", "*.{py,txt}"), ("wide", ""), ("^last", ""),
    ],
)  # fmt: skip
async def test_grep_means_the_same_with_and_without_ripgrep(
    ctx: ToolContext, shop: Path, pattern: str, glob: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_it = await call(ctx, "grep", pattern=pattern, glob=glob)
    real = ctx.sandbox.run

    async def without(command: object, **options: object) -> object:
        words = list(command) if not isinstance(command, str) else [command]  # type: ignore[call-overload]
        return await real(["no-such-program" if w == "rg" else w for w in words], **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ctx.sandbox, "run", without)
    assert await call(ctx, "grep", pattern=pattern, glob=glob) == with_it


@pytest.mark.parametrize(
    ("path", "glob", "expected"),
    [
        (".", "**/*.py", "shop/cart.py shop/money.py tests/test_money.py top.py"),
        (".", "shop/**/*.py", "shop/cart.py shop/money.py"),
        (".", "shop/*.{py,txt}", "shop/cart.py shop/money.py"),
        ("shop", "**/c*.py", "shop/cart.py"),
        ("shop", "shop/c*.py", "shop/cart.py"),
        ("shop", "sub/*.py", ""),
    ],
)
async def test_grep_reads_globs_as_glob_does(
    ctx: ToolContext, shop: Path, path: str, glob: str, expected: str
) -> None:
    (shop / "top.py").write_text("total = round\n")
    (shop / "shop/sub").mkdir()
    (shop / "shop/sub/c.txt").write_text("total\n")
    found = await call(ctx, "grep", pattern="round", path=path, glob=glob)
    assert sorted({line.partition(":")[0] for line in found.splitlines() if ":" in line}) == expected.split()


async def test_grep_finds_wide_text_and_counts_lines_as_read_does(ctx: ToolContext, shop: Path) -> None:
    assert await call(ctx, "grep", pattern="wide") == "wide.txt:2: wide"
    for pattern in ("last", "(?P<l>last)"):  # by ripgrep and without it
        assert await call(ctx, "grep", pattern=pattern) == "feed.txt:2: last"
    assert "2\tlast" in await call(ctx, "read", path="feed.txt")


@pytest.mark.parametrize("pattern", ["one\\n.*last", "def total.*\n", r"\(self\):\n"])
async def test_a_pattern_of_several_lines_is_told_apart_from_one_that_is_nowhere(
    ctx: ToolContext, shop: Path, pattern: str
) -> None:
    assert "within one line" in await call(ctx, "grep", pattern=pattern)
    assert await call(ctx, "grep", pattern=r"nowhere\\nothing") == "No matches."


async def test_the_first_of_very_many_matches_are_shown_in_order(ctx: ToolContext, tree: Path) -> None:
    """As a walk meets them; more are found than are heard, and which those are must not depend on luck."""
    for number in range(40):
        file = tree / ("a" if number % 2 else "a.d") / f"{number:02}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"needle {'hay ' * 300}\n" * 100)
    lines = (await call(ctx, "grep", pattern="needle")).splitlines()
    assert [line.partition(": ")[0] for line in lines[:-1]] == [f"a/01.txt:{n}" for n in range(1, 101)]
    assert lines[-1] == "[more than 100 matches; narrow the pattern or the path]"


async def test_glob_stops_at_its_bound_and_counts_no_ignored_file(ctx: ToolContext, shop: Path) -> None:
    for number in range(450):
        name = f"{number:03}.{'log' if number % 2 else 'txt'}"
        (shop / name).touch()
    lines = (await call(ctx, "glob", pattern="[0-9]*.*")).splitlines()
    assert lines[:2] + lines[-2:] == [
        "000.txt",
        "002.txt",
        "398.txt",
        "[more than 200 files; narrow the pattern]",
    ]
    assert len((await call(ctx, "glob", pattern="[0-3]*.*")).splitlines()) == 200


async def test_bad_patterns_and_places_are_explained(ctx: ToolContext, shop: Path) -> None:
    assert "Not a regular expression" in await refused(ctx, "grep", pattern="a{9}{9}(")
    assert "There is no file nowhere" in await refused(ctx, "grep", pattern="a", path="nowhere")
    (shop / "out").symlink_to("/etc")
    for path in ("../..", "/etc", "out"):
        assert "outside of the workspace" in await refused(ctx, "grep", pattern="a", path=path)
    assert "is a folder. Give a file" in await refused(ctx, "outline", path="shop")
    assert "There is no file shop/card.py" in await refused(ctx, "outline", path="shop/card.py")
    assert "in no language" in await refused(ctx, "outline", path="crlf.txt")
    assert "no name in it" in await refused(ctx, "symbols", query=" ?! ")
    os.mkfifo(shop / "pipe.py")
    assert "no regular file" in await refused(ctx, "outline", path="pipe.py")


async def test_outline_lists_definitions(ctx: ToolContext, shop: Path) -> None:
    assert await call(ctx, "outline", path="shop/cart.py") == "1\tclass Cart:\n2\t    def total(self):"
    (shop / "none.py").write_text("x()\n")
    assert await call(ctx, "outline", path="none.py") == "none.py defines nothing. Use read."


async def test_symbols_ranks_definitions(ctx: ToolContext, shop: Path) -> None:
    assert (await call(ctx, "symbols", query="rounded")).splitlines() == [
        "shop/money.py:1: def rounded(x):",
        "web/app.go:3: func Rounded() {}",
        "tests/test_money.py:1: def test_rounded():",
    ]
    assert (await call(ctx, "symbols", query="round the total")).startswith(
        "shop/money.py:4: def round_total"
    )
    assert "No definition has such a name" in await call(ctx, "symbols", query="zebra")


async def test_glob_finds_a_file_behind_many_that_are_ignored(ctx: ToolContext, shop: Path) -> None:
    for number in range(EARLY + 10):
        (shop / f"a{number}.log").touch()
    (shop / "web/.gitignore").write_text("!kept.log\n")
    (shop / "web/kept.log").touch()
    assert await call(ctx, "glob", pattern="*.log") == "web/kept.log"


async def test_a_glob_that_takes_for_ever_is_stopped(ctx: ToolContext, shop: Path) -> None:
    (shop / ("a" * 200)).touch()
    ctx.timeout_s = 0.5
    assert "Listing was stopped after 0.5 s" in await refused(ctx, "glob", pattern="*a" * 12 + "b")
    assert await call(ctx, "glob", pattern="cart*") == "shop/cart.py"


@pytest.mark.parametrize("pattern", ["/etc/*", "../*", "shop/../../*", "", " "])
async def test_a_glob_of_what_is_not_here_is_refused(ctx: ToolContext, shop: Path, pattern: str) -> None:
    said = await refused(ctx, "glob", pattern=pattern)
    assert ("outside of the workspace" in said) if pattern.strip() else ("There is no pattern" in said)


@pytest.mark.parametrize(("folder", "shown"), [("shop", "shop/**"), ("shop/", "shop/**"), (".", "*")])
async def test_a_glob_of_a_folder_says_how_to_list_it(
    ctx: ToolContext, shop: Path, folder: str, shown: str
) -> None:
    assert (await call(ctx, "glob", pattern=folder)).endswith(f"is a folder. List its files with {shown}.")
    assert "shop/cart.py" in await call(ctx, "glob", pattern=shown)
    assert await call(ctx, "glob", pattern="nowhere") == "No files match."
