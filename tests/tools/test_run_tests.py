"""`run_tests` on real projects: found by itself, a part selected, flaky ones, what changed, and bad input."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools.base import ToolContext, ToolError
from tools.probe import run_check, take
from tools.testplan import NothingToRun, own_command, parse_selection, plan
from tools.testreport import could_not_start
from tools.toolset import load

pytestmark = pytest.mark.anyio

NODE = {
    "package.json": '{"name": "calc", "scripts": {"test": "node --test"}}',
    "calc.js": "exports.add = (a, b) => {\n  return a - b;\n};\n",
    "calc.test.js": (
        'const test = require("node:test");\nconst assert = require("node:assert");\n'
        'const { add } = require("./calc");\n'
        'test("adds two", () => {\n  assert.strictEqual(add(1, 2), 3);\n});\n'
        'test("takes nothing", () => {\n  assert.strictEqual(add(1, 0), 1);\n});\n'
    ),
}
CALC = {
    "calc.py": "def add(a, b):\n    return a - b\n",
    "user.py": "from calc import add\n",
    "test_calc.py": (
        "import pytest\nfrom user import add\n\n"
        "def test_add():\n    total = add(1, 2)\n    assert total == 3\n"
    ),
    "test_other.py": "def test_other(): pass\n",
}
UNIT = """
import unittest
class Sum(unittest.TestCase):
    def test_right(self): self.assertEqual(1 + 1, 2)
    @unittest.expectedFailure
    def test_wrong(self): self.assertEqual(1 + 1, 3)
"""
FLAKY = (
    "import pathlib, pytest\ndef test_flaky():\n    mark = pathlib.Path('mark')\n    seen = mark.exists()\n"
    "    mark.write_text('')\n    assert seen\n"
    "def test_broken(): assert 0\n"
)


def write(tree: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)


async def run(ctx: ToolContext, selection: str = "") -> str:
    output = await load("run_tests").run(ctx, selection=selection)
    assert isinstance(output.text, str)
    return output.text


async def refused(ctx: ToolContext, selection: str = "") -> str:
    with pytest.raises(ToolError) as error:
        await run(ctx, selection)
    return str(error.value)


async def test_a_project_of_node_is_run_by_its_own_runner(ctx: ToolContext, tree: Path) -> None:
    write(tree, NODE)
    text = await run(ctx)
    assert text.startswith(
        "1 failed, 1 passed\n\nFAILED adds two\n  calc.test.js:5 in TestContext.<anonymous>\n"
    )
    assert "-1 !== 3" in text and "[exit code 1" in text
    (tree / "calc.js").write_text(NODE["calc.js"].replace("-", "+"))
    assert "2 passed\nSince the last run: 1 pass now that failed (adds two)\n" in await run(ctx)
    assert "1 passed" in await run(ctx, "adds two")


async def test_a_person_s_own_npm_test_is_understood_by_its_text(ctx: ToolContext, tree: Path) -> None:
    write(tree, NODE)
    check = await run_check(ctx.sandbox, "npm test")
    assert check.report is not None and check.report.runner == "node" and not check.ok
    assert await own_command(ctx.sandbox) == ("npm", "test")


async def test_values_and_changes_are_told(ctx: ToolContext, tree: Path) -> None:
    write(tree, CALC)
    first = await run(ctx)
    assert "  test_calc.py:6 in test_add\n    with total = -1\n" in first and "Since" not in first
    assert "Since the last run: 1 fail as before\n" in await run(ctx)
    (tree / "calc.py").write_text(CALC["calc.py"].replace("-", "+"))
    (tree / "test_other.py").write_text("def test_other(): assert 0\n")
    text = await run(ctx)
    assert "Since the last run: 1 fail now that passed (test_other.py::test_other); 1 pass now" in text


async def test_a_source_file_stands_for_the_tests_that_use_it(ctx: ToolContext, tree: Path) -> None:
    write(tree, CALC)
    assert (await run(ctx, "calc.py")).startswith("1 failed\n")
    assert (await run(ctx, "test_other.py")).startswith("1 passed\n")
    (tree / "unused.py").write_text("")
    assert "No test uses unused.py" in await refused(ctx, "unused.py")

    async def changed() -> list[str]:
        return paths

    ctx.changed, paths = changed, ["user.py", "test_other.py", "README.md"]
    assert (await run(ctx, "changed")).startswith("1 failed, 1 passed\n")
    paths = []
    assert "Nothing is changed yet" in await refused(ctx, "changed")


async def test_a_failure_that_passes_when_repeated_is_flaky(ctx: ToolContext, tree: Path) -> None:
    (tree / "test_f.py").write_text(FLAKY)
    text = await run(ctx)
    assert "FAILED test_f.py::test_flaky (flaky: it passes when it is run once more" in text
    assert "FAILED test_f.py::test_broken\n" in text


async def test_a_run_that_stopped_at_an_import_says_that_no_test_ran(ctx: ToolContext, tree: Path) -> None:
    write(tree, {"test_a.py": "import no_such_module\n", "test_b.py": "def test_b(): assert 0\n"})
    text = await run(ctx)
    assert text.startswith("1 error\n") and text.endswith("or select other files.]") and "No test ran" in text
    assert "No test ran" not in await run(ctx, "test_b.py")


async def test_a_worker_that_crashed_is_told_with_its_words(ctx: ToolContext, tree: Path) -> None:
    pytest.importorskip("xdist")
    write(tree, {"test_a.py": "import os\ndef test_a(): pass\ndef test_b(): os._exit(0)\n"})
    check = await run_check(ctx.sandbox, (sys.executable, "-m", "pytest", "-q", "-n", "1"))
    assert check.report is not None and [test.id for test in check.report.failures] == ["test_a.py::test_b"]
    assert "crashed while running 'test_a.py::test_b'" in check.report.failures[0].details


async def test_a_test_is_found_by_its_bare_name(ctx: ToolContext, tree: Path) -> None:
    write(tree, CALC)
    assert (await run(ctx, "test_other")).startswith("1 passed")
    assert "FAILED test_calc.py::test_add" in await run(ctx, "test_add")
    write(tree, {"test_calc.py": UNIT, "test_other.py": ""})
    check = await run_check(ctx.sandbox, (await plan(ctx.sandbox, "test_right"))[0])
    assert check.report is not None and (check.report.runner, check.report.counts) == (
        "unittest",
        {"passed": 1},
    )


@pytest.mark.parametrize("code", [0, 3])
async def test_a_process_that_ends_inside_a_test_is_a_failure(
    ctx: ToolContext, tree: Path, code: int
) -> None:
    """Whatever its exit code says: the tests behind it did not run."""
    quits = f"import os\ndef test_a(): pass\ndef test_b(): os._exit({code})\ndef test_c(): assert 0\n"
    write(tree, {"test_quits.py": quits})
    text = await run(ctx)
    assert text.startswith("1 failed, 1 passed\n") and "FAILED test_quits.py::test_b" in text
    assert f"ended with exit code {code} inside this test" in text


async def test_unittest_s_expected_failures_are_none_and_unexpected_successes_are(
    ctx: ToolContext, tree: Path
) -> None:
    write(tree, {"test_calc.py": UNIT})
    command = "python -m unittest -v test_calc"
    check = await run_check(ctx.sandbox, command)
    assert check.report is not None and check.ok and check.report.counts == {"passed": 1, "skipped": 1}
    write(tree, {"test_calc.py": UNIT.replace("1 + 1, 3", "1 + 2, 3")})
    check = await run_check(ctx.sandbox, command)
    assert check.report is not None and check.report.counts == {"passed": 1, "failed": 1}
    assert [test.id for test in check.report.failures] == ["test_calc.Sum.test_wrong"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "No way to run tests is found here; looked for pytest, unittest"),
        ({"test_a.py": "import pytest\n"}, "no tests were collected"),
        (
            {"test_a.py": "import pytest\n@pytest.mark.skip\ndef test_a(): pass\n"},
            "1 skipped; skipped tests prove",
        ),
        ({"Makefile": "test:\n\t@true\n"}, "nothing that it printed shows that a test ran"),
        ({"Makefile": "test:\n\t@echo fine\n"}, "so it is no pass. Look with bash at what it does"),
        ({"package.json": '{"scripts": {"test": "jest"}}'}, "The tests could not be run: "),
        ({"Cargo.toml": "", "Makefile": "test:\n\t@true\n"}, "`make test` ended with exit code 0"),
    ],
)
async def test_a_run_that_shows_no_test_is_refused(
    ctx: ToolContext, tree: Path, files: dict[str, str], said: str
) -> None:
    write(tree, files)
    ctx.check_env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    assert said in await refused(ctx)


async def test_a_person_s_silent_command_passes_by_its_exit_code(ctx: ToolContext) -> None:
    ctx.check = ("true",)
    assert (await run(ctx)).startswith("The command passes and prints nothing.\n[exit code 0")
    check = await run_check(ctx.sandbox, ("true",))
    assert check.ok and could_not_start(check) is None


async def test_endless_output_ends_in_an_error_that_says_what_to_do(ctx: ToolContext) -> None:
    ctx.check = ("yes", "x" * 1000)
    said = await refused(ctx)
    assert "too much output, over 256 MB; run fewer, or make them print less" in said and len(said) < 4000


async def test_a_huge_report_is_read_to_its_bound(ctx: ToolContext, tree: Path) -> None:
    script = "import os; open(os.environ['PAWL_PROBE_OUT'], 'w').write('x' * 40_000_000)"
    check = await run_check(ctx.sandbox, (sys.executable, "-c", script))
    assert check.ok and check.report is None
    (tree / "big").write_bytes(b"x" * 100_000)
    assert await take(ctx.sandbox, str(tree / "big"), 1000) == b"x" * 1000 and not (tree / "big").exists()
    assert (await ctx.sandbox.run("ls /tmp/pawl-probe-* 2>/dev/null")).output == b""


async def test_a_fifo_and_an_old_report_are_no_reports(ctx: ToolContext, tree: Path) -> None:
    old = tree / "target" / "surefire-reports" / "TEST-old.xml"
    write(
        tree,
        {"pom.xml": "<project/>", "mvn": "#!/bin/sh\nexit 0\n", str(old.relative_to(tree)): "<testsuite/>"},
    )
    old.write_text("<testsuite><testcase name='a'/></testsuite>")
    (tree / "mvn").chmod(0o755)
    check = await run_check(ctx.sandbox, ("./mvn", "test"))
    assert check.report is None
    make = "cd target/surefire-reports && mkfifo TEST-pipe.xml && cp TEST-old.xml TEST-new.xml"
    (tree / "mvn").write_text(f"#!/bin/sh\n{make}\n")
    check = await run_check(ctx.sandbox, ("./mvn", "test"))
    assert check.report is not None and check.report.counts == {"passed": 1}


@pytest.mark.parametrize(
    ("text", "picks", "options"),
    [
        ("a/b.js::adds two numbers", [("a/b.js", "adds two numbers")], []),
        ("a/b.js a/c.js", [("a/b.js", ""), ("a/c.js", "")], []),
        ("a/b.js::x a/c.js::y", [("a/b.js", "x"), ("a/c.js", "y")], []),
        ("./a/", [("a", "")], []),
        (".", [("", "")], []),
        ("adds two numbers", [("", "adds two numbers")], []),
        ("tests::adds", [("", "tests::adds")], []),
        ("a/c.js::t[it's x]", [("a/c.js", "t[it's x]")], []),
        ("a/c.js::it's x", [("a/c.js", "it's x")], []),
        ("-k adds a/b.js", [("a/b.js", "")], ["-k", "adds"]),
    ],
)
def test_a_selection_is_read(text: str, picks: list[tuple[str, str]], options: list[str]) -> None:
    found = parse_selection(text, ("a/b.js", "a/c.js"))
    assert ([tuple(pick) for pick in found.picks], list(found.options)) == (picks, options)


def test_a_file_that_is_not_there_is_named_with_what_is_near() -> None:
    with pytest.raises(NothingToRun, match=r"a/bb\.js is not found; did you mean a/b\.js"):
        parse_selection("a/bb.js", ("a/b.js",))


async def test_the_project_nearest_to_the_selection_runs(ctx: ToolContext, tree: Path) -> None:
    write(tree, {f"web/{name}": text for name, text in NODE.items()})
    write(tree, {**CALC, "pyproject.toml": "[tool.pytest.ini_options]\n"})
    assert "calc.test.js:5" not in await run(ctx)
    text = await run(ctx, "web/calc.test.js::adds two")
    assert "FAILED adds two\n  web/calc.test.js:5" in text
    [first, *_] = await plan(ctx.sandbox, "web/calc.test.js")
    assert first.runner is not None and (first.runner.name, first.project.folder) == ("node", "web")
