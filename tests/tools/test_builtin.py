"""The built-in tools at work on a real sandbox."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.pid1.processes import shell
from tools.base import ToolContext, ToolError
from tools.globs import translate
from tools.probe import run_check
from tools.testreport import could_not_start
from tools.toolset import load

pytestmark = pytest.mark.anyio


async def call(ctx: ToolContext, name: str, /, **arguments: object) -> str:
    tool = load(name)
    return (await tool.run(ctx, **arguments)).text


def content(path: str) -> str:
    return Path(path).read_text()


async def refused(ctx: ToolContext, name: str, /, **arguments: object) -> str:
    with pytest.raises(ToolError) as caught:
        await call(ctx, name, **arguments)
    return str(caught.value)


async def test_read_numbers_lines_and_says_how_to_go_on(ctx: ToolContext, tree: Path) -> None:
    (tree / "a.txt").write_bytes(b"one\r\ntwo\nthree")
    assert await call(ctx, "read", path="a.txt") == "1\tone\n2\ttwo\n3\tthree"
    assert await call(ctx, "read", path=str(tree / "a.txt"), offset=2, limit=1) == (
        "2\ttwo\n[3 lines in all; go on with offset 3]"
    )
    assert "has 3 lines" in await refused(ctx, "read", path="a.txt", offset=9)


async def test_how_much_of_an_output_is_left_out_is_told(ctx: ToolContext) -> None:
    """Also of one whose middle the sandbox itself did not keep."""
    command = "seq 100000 199999"
    left = f"100099\n... [{700_000 - 400 * 7} bytes left out] ...\n199700\n"
    assert left in await call(ctx, "bash", command=command)
    job = re.search(r"job (\d+)", await call(ctx, "bash", command=command, background=True))
    assert job and left in await call(ctx, "bash", command="", job=int(job[1]), timeout=5)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
async def test_bash_is_bash(ctx: ToolContext, tree: Path) -> None:
    command = "set -o pipefail; source ./a; [[ $x == 1* ]] && y=(a b) && cat <(echo ${y[1]}); false | true"
    (tree / "a").write_text("x=12\n")
    assert (await call(ctx, "bash", command=command)).startswith("b\n[exit code 1,")
    missing = await call(ctx, "bash", command="ls nowhere &> out; cat out; no-such-thing")
    assert "ls: cannot access" in missing and "no-such-thing: command not found\n[exit code 127" in missing
    job = re.search(r"job (\d+)", await call(ctx, "bash", command="echo {1..3}", background=True))
    assert job and "1 2 3\n" in await call(ctx, "bash", command="", job=int(job[1]), timeout=5)
    assert [state.command for state in await ctx.sandbox.jobs()] == ["echo {1..3}"]


def test_a_command_is_for_sh_where_there_is_no_bash(tmp_path: Path) -> None:
    assert shell(str(tmp_path)) == "/bin/sh"
    (tmp_path / "bash").touch(mode=0o755)
    assert shell(str(tmp_path)) == str(tmp_path / "bash")


async def test_read_is_bounded(ctx: ToolContext, tree: Path) -> None:
    (tree / "many.txt").write_text("x\n" * 5000)
    text = await call(ctx, "read", path="many.txt")
    assert text.endswith("2000\tx\n[5000 lines in all; go on with offset 2001]")
    (tree / "wide.txt").write_text(("y" * 10_000 + "\n") * 100)
    text = await call(ctx, "read", path="wide.txt")
    assert len(text) < 55_000 and "[10000 characters]" in text and "go on with offset" in text
    (tree / "huge.txt").write_bytes(b"z" * (9 * 1024 * 1024))
    assert "too large" in await refused(ctx, "read", path="huge.txt")


async def test_read_describes_what_is_no_text(ctx: ToolContext, tree: Path) -> None:
    (tree / "b.bin").write_bytes(b"\0\1\2")
    (tree / "empty").touch()
    (tree / "latin.txt").write_bytes(b"caf\xe9\n")
    assert await call(ctx, "read", path="b.bin") == "b.bin is a binary file of 3 bytes."
    assert await call(ctx, "read", path="empty") == "empty is empty."
    assert await call(ctx, "read", path="latin.txt") == "1\tcafé"


@pytest.mark.parametrize("name", ["read", "edit", "write"])
async def test_paths_outside_are_refused(ctx: ToolContext, tree: Path, name: str) -> None:
    (tree.parent / "secret").write_text("secret")
    (tree / "link").symlink_to(tree.parent / "secret")
    more = {"edit": {"old_string": "s", "new_string": "t"}, "write": {"content": "x"}}.get(name, {})
    for path in ("../secret", "/etc/passwd", "link"):
        assert "outside of the workspace" in await refused(ctx, name, path=path, **more)
    assert (tree.parent / "secret").read_text() == "secret"


async def test_missing_files_and_folders_are_explained(ctx: ToolContext, tree: Path) -> None:
    (tree / "pkg").mkdir()
    (tree / "pkg/mod.py").touch()
    assert "There is no file mod.py. Did you mean pkg/mod.py?" in await refused(ctx, "read", path="mod.py")
    assert "no regular file" in await refused(ctx, "read", path="pkg")
    assert "no regular file" in await refused(ctx, "write", path="pkg", content="x")


async def test_edit_changes_the_file_and_tells_where(ctx: ToolContext, tree: Path) -> None:
    (tree / "a.py").write_bytes(b"def f():\r\n    return 1\r\n")
    (tree / "a.py").chmod(0o755)
    output = await load("edit").run(ctx, path="a.py", old_string="return 1", new_string="return 2")
    assert output.text == "Edited a.py, line 2."
    assert "-    return 1\n+    return 2" in output.view
    assert (tree / "a.py").read_bytes() == b"def f():\r\n    return 2\r\n"
    assert (tree / "a.py").stat().st_mode & 0o777 == 0o755


async def test_edit_tells_of_new_syntax_errors_alone(ctx: ToolContext, tree: Path) -> None:
    (tree / "a.py").write_text("x = 1\n")
    text = await call(ctx, "edit", path="a.py", old_string="x = 1", new_string="x = (1")
    assert "It now has a syntax error in line 1: " in text
    assert "syntax" not in await call(ctx, "edit", path="a.py", old_string="(1", new_string="(2")


@pytest.mark.parametrize(
    ("path", "text", "old", "new", "told"),
    [
        ("a.js", "f(1);\nlet a = () => `${1}`;\n", "f(1", "f((1",
         "line 1: missing ')', by the grammar of javascript"),
        ("a.go", "package a\n\nfunc f() {}\n", "{}", "{", "line 3: "),
        ("A.java", "class A {\n int f() { return 1; }\n}\n", "1;", "1", "line 2: missing ';'"),
        ("a.rs", "fn f() -> i32 { 1 }\n", "1 }", "1", "line 1: unexpected 'fn f() -> i32 { 1'"),
        ("a.ts", "const a: number = 1;\n", "1", "(1", "line 1: missing ')'"),
        ("a.tsx", "const a = <b></b>;\n", "b></b", "b", "line 1: unexpected"),
        ("a.c", "int f(void) { return 1; }\n", "1;", "1", "line 1: missing ';'"),
        ("package.json", '{\n"a": 1\n}\n', "1", "1,", "line 3: "),
        ("pyproject.toml", "a = 1\nb = 2\n", "b =", "b", "line 2: "),
    ],
)  # fmt: skip
async def test_new_syntax_errors_are_told_in_other_languages_too(
    ctx: ToolContext, tree: Path, path: str, text: str, old: str, new: str, told: str
) -> None:
    (tree / path).write_text(text)
    said = await call(ctx, "edit", path=path, old_string=old, new_string=new)
    assert f"It now has a syntax error in {told}" in said
    assert "syntax" not in await call(ctx, "edit", path=path, old_string=new, new_string=new + " ")
    (tree / path).write_text(text)
    ctx.refuse_syntax_errors = True
    assert "Nothing was changed" in await refused(ctx, "edit", path=path, old_string=old, new_string=new)
    assert "syntax" not in await call(ctx, "edit", path=path, old_string=old, new_string=old + " ")


async def test_a_new_file_is_not_refused_for_what_only_looks_like_an_error(ctx: ToolContext) -> None:
    ctx.refuse_syntax_errors = True
    said = await call(ctx, "write", path="a.c", content="MODULE(int b;)\n")
    assert "It now has a syntax error in line 1" in said
    assert "syntax" in await call(ctx, "write", path="tsconfig.json", content='{"a": 1} // all\n')
    assert "Nothing was changed" in await refused(ctx, "write", path="a.toml", content="a = [\n")


async def test_an_edit_of_many_places_says_how_many(ctx: ToolContext, tree: Path) -> None:
    (tree / "a.txt").write_text("x\n" * 12)
    said = await call(ctx, "edit", path="a.txt", old_string="x", new_string="y", replace_all=True)
    assert said == "Edited a.txt, lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ... (12 places)."


async def test_what_cannot_be_written_says_what_to_do(ctx: ToolContext, tree: Path) -> None:
    (tree / "old.txt").write_bytes(b"caf\xe9\n")
    said = await refused(ctx, "edit", path="old.txt", old_string="caf", new_string="\u2192")
    assert "which has no '\u2192', so nothing was changed" in said and "iconv -f latin-1 -t utf-8" in said
    (tree / "kept.txt").write_text("x\n")
    (tree / "kept.txt").chmod(0o444)
    said = await refused(ctx, "edit", path="kept.txt", old_string="x", new_string="y")
    assert said.startswith("kept.txt: the file is read-only, so nothing was changed. ") and "chmod" in said
    loose = {"path": "feed.txt", "old_string": "if x:\n    y()", "new_string": "if x:\n    z()"}
    (tree / "feed.txt").write_text("\x0ca\n  if x:\n      y()\n")
    assert "1\t\x0ca\n2\t  if x:\n3\t      y()" in await refused(ctx, "edit", **loose)


async def test_a_loose_match_needs_a_fresh_view(ctx: ToolContext, tree: Path) -> None:
    (tree / "a.py").write_text("def f():\n    if x:  \n        return 1\n")
    loose = {"path": "a.py", "old_string": "if x:\n    return 1", "new_string": "if y:\n    return 1"}
    text = await refused(ctx, "edit", **loose)
    assert "was not read yet" in text and "2\t    if x:" in text
    assert "if x" in (tree / "a.py").read_text()
    assert await call(ctx, "edit", **loose) == "Edited a.py, lines 2-3 (matched but for indentation)."
    assert (tree / "a.py").read_text() == "def f():\n    if y:\n        return 1\n"
    # own edits are no news
    again = {"path": "a.py", "old_string": "if y:\n    return 1", "new_string": "return 3"}
    assert "Edited" in await call(ctx, "edit", **again)
    (tree / "a.py").write_text("def f():\n    return 3  \n    # more\n")
    changed = {"path": "a.py", "old_string": "return 3\n# more", "new_string": "pass"}
    assert "changed since you read it" in await refused(ctx, "edit", **changed)


async def test_edits_that_fail_change_nothing(ctx: ToolContext, tree: Path) -> None:
    (tree / "a.py").write_text("x\nx\n")
    assert "fits 2 places" in await refused(ctx, "edit", path="a.py", old_string="x", new_string="y")
    assert (tree / "a.py").read_text() == "x\nx\n"
    await call(ctx, "edit", path="a.py", old_string="x", new_string="y", replace_all=True)
    assert (tree / "a.py").read_text() == "y\ny\n"


async def test_write_makes_files_and_overwrites_only_what_was_read(ctx: ToolContext, tree: Path) -> None:
    assert (
        await call(ctx, "write", path="new/deep/a.py", content="x = 1\n") == "Created new/deep/a.py, 1 lines."
    )
    assert await call(ctx, "write", path="new/deep/a.py", content="x = (\n") == (
        "Wrote new/deep/a.py, 1 lines. It now has a syntax error in line 1: '(' was never closed."
    )
    (tree / "old.txt").write_bytes(b"a\r\nb\r\n")
    assert "you have not read it" in await refused(ctx, "write", path="old.txt", content="x")
    await call(ctx, "read", path="old.txt")
    await call(ctx, "write", path="old.txt", content="c\nd\n")
    assert (tree / "old.txt").read_bytes() == b"c\r\nd\r\n"
    (tree / "old.txt").write_text("changed by somebody")
    assert "changed since you read it" in await refused(ctx, "write", path="old.txt", content="x")
    assert (tree / "old.txt").read_text() == "changed by somebody"


async def test_grep_finds_lines(ctx: ToolContext, tree: Path) -> None:
    (tree / "src").mkdir()
    (tree / "src/a.py").write_text("import os\ndef find_me(x): pass\n")
    (tree / "b.txt").write_text("find_me too\n")
    assert await call(ctx, "grep", pattern=r"find_\w+") == (
        "b.txt:1: find_me too\nsrc/a.py:2: def find_me(x): pass"
    )
    assert await call(ctx, "grep", pattern="find", glob="*.py") == "src/a.py:2: def find_me(x): pass"
    assert await call(ctx, "grep", pattern="find", path="src") == "src/a.py:2: def find_me(x): pass"
    assert await call(ctx, "grep", pattern="nowhere") == "No matches."
    assert "Not a regular expression" in await refused(ctx, "grep", pattern="(")
    (tree / "many.txt").write_text("hit\n" * 500)
    assert (await call(ctx, "grep", pattern="^hit$")).endswith(
        "[more than 100 matches; narrow the pattern or the path]"
    )


async def test_glob_lists_files(ctx: ToolContext, tree: Path) -> None:
    for name in ("a.py", "src/b.py", "src/deep/c.py", "src/d.txt", "__pycache__/a.pyc", ".git/config"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    assert await call(ctx, "glob", pattern="*.py") == "a.py\nsrc/b.py\nsrc/deep/c.py"
    assert await call(ctx, "glob", pattern="src/*.{py,txt}") == "src/b.py\nsrc/d.txt"
    assert await call(ctx, "glob", pattern=f"{tree}/src/**/*.py") == "src/b.py\nsrc/deep/c.py"
    assert "1 that the project ignores" in await call(ctx, "glob", pattern="*.pyc")
    assert await call(ctx, "glob", pattern="*.go") == "No files match."
    assert await call(ctx, "glob", pattern="__pycache__/*") == "__pycache__/a.pyc"


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("*.py", "a/b/c.py", True),
        ("a/*.py", "a/b/c.py", False),
        ("a/**", "a/b/c.py", True),
        ("a/**/c.py", "a/c.py", True),
        ("?.py", "ab.py", False),
        ("[!a-b].py", "c.py", True),
        ("[!a-b].py", "a.py", False),
        ("[!].py", "!.py", True),
        ("[[].py", "[.py", True),
        ("{a,b{1,2}}.py", "b2.py", True),
        ("{a,b}.py", "c.py", False),
        ("{", "{", True),
        ("a}", "a}", True),
        ("(x)+.py", "(x)+.py", True),
    ],
)
async def test_globs_mean_what_they_mean_in_a_shell(pattern: str, path: str, fits: bool) -> None:
    assert bool(re.fullmatch(translate(pattern), path)) is fits


@given(st.text(alphabet="[]!{},*?-a\\/^&|~(", max_size=12))
def test_no_glob_breaks_the_expression(pattern: str) -> None:
    try:
        re.compile(translate(pattern))
    except re.error as error:
        assert "bad character range" in str(error)


async def test_bash_tells_the_exit_code_and_keeps_both_ends(ctx: ToolContext, tree: Path) -> None:
    text = await call(ctx, "bash", command="echo out; echo err >&2; exit 3")
    assert text.startswith("out\nerr\n[exit code 3, ") and text.endswith(" s, 8 bytes]")
    output = await load("bash").run(ctx, command="echo first; seq 100000; echo last")
    assert output.text.startswith("first\n1\n") and "left out] ..." in output.text
    assert "100000\nlast\n[exit code 0" in output.text and len(output.text) < 20_000
    whole = content(output.artifact)
    assert (
        whole.startswith("first\n1\n2\n")
        and whole.endswith("100000\nlast\n")
        and whole.count("\n") == 100_002
    )
    assert "not found" in await call(ctx, "bash", command="no-such-command-here")


async def test_bash_never_waits_for_input_and_ends_at_its_timeout(ctx: ToolContext) -> None:
    assert "[exit code 0" in await call(ctx, "bash", command="cat; read x || true")
    text = await call(ctx, "bash", command="echo started; sleep 60", timeout=1)
    assert text.startswith("started\n[killed after 1 s, the timeout;")


async def test_bash_starts_shows_awaits_and_kills_background_jobs(ctx: ToolContext, tree: Path) -> None:
    waiting = "echo up; while [ ! -e go ]; do sleep 0.02; done; echo down; exit 3"
    text = await call(ctx, "bash", command=waiting, background=True)
    number = int(text.split()[1])
    assert text.startswith(f"[job {number} runs in the background; ")
    assert "[exit code 0" in await call(ctx, "bash", command="true")
    while "up" not in (text := await call(ctx, "bash", command="", job=number)):
        pass
    assert text.startswith(f"up\n[job {number} runs, ") and text.endswith(" s, 3 bytes so far]")
    assert (await call(ctx, "bash", command="", job=number)).startswith(f"[job {number} runs, ")
    (tree / "go").touch()
    text = await call(ctx, "bash", command="", job=number, timeout=20)
    assert text.startswith(f"down\n[job {number}: exit code 3, ") and text.endswith(" s, 8 bytes]")
    endless = int((await call(ctx, "bash", command="sleep 60", background=True)).split()[1])
    assert "killed by signal 9" in await call(ctx, "bash", command="kill", job=endless)
    assert await refused(ctx, "bash", command="", job=987) == (
        f"There is no job 987; those of this sandbox: {number}, {endless}."
    )
    assert "There is no command" in await refused(ctx, "bash", command="", background=True)
    assert (await call(ctx, "bash", command="echo mine", job=1)).startswith("mine\n")


async def test_of_a_jobs_long_output_both_ends_are_shown_and_all_is_kept(
    ctx: ToolContext, tree: Path
) -> None:
    waiting = "while [ ! -e go ]; do sleep 0.02; done; echo last"
    started = await call(ctx, "bash", command=f"echo first; seq 100000; {waiting}", background=True)
    number = int(started.split()[1])
    output = await load("bash").run(ctx, command="", job=number, timeout=1)
    assert output.text.startswith("first\n1\n") and "100000\n[job" in output.text
    assert len(output.text) < 20_000
    (tree / "go").touch()
    text = await call(ctx, "bash", command="", job=number, timeout=20)
    assert text.startswith(f"last\n[job {number}: exit code 0")
    numbers = "".join(f"{n}\n" for n in range(1, 100_001))
    assert content(output.artifact) == f"first\n{numbers}last\n"


async def test_no_more_background_jobs_than_may_be(ctx: ToolContext) -> None:
    for _ in range(ctx.sandbox.limits.jobs):
        await call(ctx, "bash", command="sleep 60", background=True)
    text = await refused(ctx, "bash", command="true", background=True)
    assert text == "8 jobs run already; kill one first, with job=NUMBER and the command kill."


async def test_bash_streams_what_it_hears(ctx: ToolContext) -> None:
    heard: list[bytes] = []
    ctx.on_output = heard.append
    await call(ctx, "bash", command="printf abc")
    assert b"".join(heard) == b"abc"


PROJECT = {
    "mod.py": "def add(a, b):\n    return a - b\n",
    "test_mod.py": "from mod import add\ndef test_add():\n    assert add(1, 2) == 3\ndef test_ok(): pass\n",
}


@pytest.fixture
def project(tree: Path) -> Path:
    for name, text in PROJECT.items():
        (tree / name).write_text(text)
    return tree


async def test_run_tests_reports_what_fails(ctx: ToolContext, project: Path) -> None:
    ctx.check = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    output = await load("run_tests").run(ctx)
    assert output.text.startswith(
        "1 failed, 1 passed\n\nFAILED test_mod.py::test_add\n  test_mod.py:3 in test_add\n"
    )
    assert "where -1 = add(1, 2)" in output.text and "[exit code 1, " in output.text
    assert "1 failed, 1 passed" in content(output.artifact)
    assert (await call(ctx, "run_tests", selection="test_mod.py::test_ok")).startswith("1 passed\n")
    (project / "mod.py").write_text("def add(a, b):\n    return a + b\n")
    mended = "Since the last run: 1 pass now that failed (test_mod.py::test_add)"
    assert (await call(ctx, "run_tests")).startswith(f"2 passed\n{mended}\n[exit code 0")


async def test_run_tests_says_when_nothing_could_be_run(ctx: ToolContext, project: Path) -> None:
    assert "not found" in await refused(ctx, "run_tests", selection="test_nowhere.py")
    assert "Not a selection" in await refused(ctx, "run_tests", selection="'")
    ctx.check = "no-such-runner"
    assert "the command was not found" in await refused(ctx, "run_tests")


async def test_a_check_is_run_with_the_probe(ctx: ToolContext, project: Path) -> None:
    command = f"{sys.executable} -m pytest -q -p no:cacheprovider"
    check = await run_check(ctx.sandbox, command)
    assert check.report is not None and not check.ok
    [failure] = check.report.failures
    assert (failure.frames[0].path, failure.frames[0].in_workspace) == ("test_mod.py", True)
    assert could_not_start(check) is None and "1 failed" in check.output
    # a file for records is made and taken away again
    left = await ctx.sandbox.run("ls /tmp/pawl-probe-* 2>/dev/null")
    assert left.output == b""


async def test_a_check_that_hides_the_probe_is_understood_by_its_text(
    ctx: ToolContext, project: Path
) -> None:
    check = await run_check(ctx.sandbox, f"PYTHONPATH= {sys.executable} -m pytest -q -p no:cacheprovider")
    assert check.report is not None and check.report.counts == {"failed": 1, "passed": 1}
    assert check.report.failures[0].id == "test_mod.py::test_add"


async def test_a_check_without_tests(ctx: ToolContext) -> None:
    good, bad = await run_check(ctx.sandbox, "echo fine"), await run_check(ctx.sandbox, ("false",))
    assert good.ok and good.report is None and good.output == "fine\n"
    assert not bad.ok and could_not_start(bad) is None
    missing = await run_check(ctx.sandbox, ("no-such-runner",))
    assert "not found" in (could_not_start(missing) or "")


async def test_a_check_that_hangs_names_the_test(ctx: ToolContext, tree: Path) -> None:
    (tree / "test_h.py").write_text("import time\ndef test_fine(): pass\ndef test_hangs(): time.sleep(60)\n")
    check = await run_check(ctx.sandbox, (sys.executable, "-m", "pytest", "-q"), timeout_s=3)
    assert check.exec.timed_out and not check.ok and could_not_start(check) is None
    assert check.report is not None
    assert [(t.id, t.outcome, t.hung) for t in check.report.tests] == [
        ("test_h.py::test_fine", "passed", False),
        ("test_h.py::test_hangs", "failed", True),
    ]


async def test_reads_beside_each_other_do_not_mix(ctx: ToolContext, tree: Path) -> None:
    for n in range(20):
        (tree / f"{n}.txt").write_text(f"file {n}\n" * 200)
    texts = await asyncio.gather(*(call(ctx, "read", path=f"{n}.txt", limit=1) for n in range(20)))
    assert [t.split("\n")[0] for t in texts] == [f"1\tfile {n}" for n in range(20)]
