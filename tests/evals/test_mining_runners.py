"""Tasks of repositories in other languages, by the runners that these have, without a network."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import msgspec
import pytest

from evals import integrity
from evals.benchmark import DatasetError
from evals.benchmarks.swebench import instance, load
from evals.check import check
from evals.integrity import Facts, examine
from evals.mining.statement import missing, said
from evals.mining.ways import way_of
from evals.readback import Readback
from evals.types import Instance, Reported, Tests
from evals.verdict import judge
from tests.evals.test_mining import pawl, rows
from tests.evals.test_mining_history import commit
from tests.evals.test_mining_words import a_row
from tools.runners import Project
from tools.runners import load as load_runners
from tools.testreport import TestResult, is_test_path, make_report

LICENCE = "Permission is hereby granted, free of charge, to any person obtaining a copy\n"
SHOP = """\
function total(prices) {
  return prices.slice(1).reduce((sum, price) => sum + price, 0);
}

function cheap(price) {
  if (price < 10) {
    return true;
  }
  return false;
}

module.exports = { total, cheap };
"""
SPEC = """\
const { test, describe } = require("node:test");
const assert = require("node:assert");
const { total, cheap } = require("../shop");

test("nine is cheap, ten is not", () => {
  assert.strictEqual(cheap(9), true);
  assert.strictEqual(cheap(10), false);
});
"""
TOTAL = """
describe("total", () => {
  test("has the first price", () => assert.strictEqual(total([1, 2, 3]), 6));
  test("of nothing", () => assert.strictEqual(total([]), 0));
});
"""
CRATE = '[package]\nname = "shop"\nversion = "0.1.0"\nedition = "2021"\n'
RUST = """\
pub fn total(prices: &[i32]) -> i32 {
    prices.iter().skip(1).sum()
}

pub fn cheap(price: i32) -> bool {
    price < 10
}
"""
RUST_SPEC = """\
use shop::{cheap, total};

#[test]
fn nine_is_cheap() {
    assert!(cheap(9) && !cheap(10));
}

#[test]
fn total_of_nothing() {
    assert_eq!(total(&[]), 0);
}
"""
RUST_TOTAL = "\n#[test]\nfn total_has_all() {\n    assert_eq!(total(&[1, 2, 3]), 6);\n}\n"
MESSAGE = "Let the total have all prices\n\n[1, 2, 3] gives 6, where it gave 5."


def javascript(place: Path) -> Path:
    """A history in node's own runner, whose second commit is a task."""
    manifest = json.dumps({"name": "shop", "license": "MIT", "scripts": {"test": "node --test"}})
    first = {"package.json": manifest, "shop.js": SHOP, "test/shop.test.js": SPEC}
    commit(place, {**first, "LICENSE": LICENCE}, "Begin the shop")
    fixed = {"shop.js": SHOP.replace(".slice(1)", ""), "test/shop.test.js": SPEC + TOTAL}
    commit(place, {**fixed}, MESSAGE, 2)
    more = SPEC + TOTAL + '\ntest("new", () => assert.strictEqual(require("../shop").more(), 1));\n'
    extended = fixed["shop.js"].replace("cheap }", "cheap, more: () => 1 }")
    commit(place, {"shop.js": extended, "test/shop.test.js": more}, "Sell something else as well", 3)
    return place


def rust(place: Path) -> Path:
    """The same for cargo."""
    first = {"Cargo.toml": CRATE, "src/lib.rs": RUST, "tests/shop.rs": RUST_SPEC, ".gitignore": "target\n"}
    commit(place, {**first, "LICENSE": LICENCE}, "Begin the shop")
    commit(
        place,
        {"src/lib.rs": RUST.replace(".skip(1)", ""), "tests/shop.rs": RUST_SPEC + RUST_TOTAL},
        MESSAGE,
        2,
    )
    return place


MINED = {
    "node": (
        javascript,
        ["has the first price"],
        ["nine is cheap, ten is not", "of nothing"],
        {"statement does not name what is tested": 1},
    ),
    "cargo": (
        rust,
        ["tests/shop.rs::total_has_all"],
        ["tests/shop.rs::nine_is_cheap", "tests/shop.rs::total_of_nothing"],
        {},
    ),
}


@pytest.mark.bubblewrap
@pytest.mark.parametrize("runner", MINED)
def test_a_history_in_another_language(runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is mined is solved by its reference and by nothing else, by the command that mined it."""
    program = shutil.which(runner)
    if program is None:
        pytest.skip(f"{runner} is not installed")
    if (rustup := Path(program).parents[2] / ".rustup").is_dir():
        monkeypatch.setenv("CARGO_HOME", str(Path(program).parents[1]))
        monkeypatch.setenv("RUSTUP_HOME", str(rustup))
    make, fail, keep, rejected = MINED[runner]
    done = pawl("mine", str(make(tmp_path / "shop")), "--out", "tasks.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.told  # type: ignore[attr-defined]
    (row,) = rows(tmp_path / "tasks.jsonl")
    assert json.loads(row["FAIL_TO_PASS"]) == fail
    assert sorted(json.loads(row["PASS_TO_PASS"])) == keep
    assert (row["extra"]["runner"], row["extra"]["install"], row["extra"]["license"]) == (runner, "", "MIT")
    assert row["extra"]["test_cmd"] in row["eval_script"]
    report = json.loads((tmp_path / "tasks.report.json").read_text())
    assert report["rejected"] == rejected
    tasks = load(tmp_path / "tasks.jsonl")
    found = asyncio.run(check(tasks, cache=tmp_path / "cache", backend="bubblewrap", runs=1))
    assert [(task.problems, task.oracle, task.null_failed) for task in found.tasks] == [([], [True], True)]


@pytest.mark.bubblewrap
def test_faults_in_another_language(tmp_path: Path) -> None:
    repo = javascript(tmp_path / "shop")
    done = pawl("mutate", str(repo), "--out", "m.jsonl", "--limit", "2", cwd=tmp_path)
    assert done.returncode == 0, done.told  # type: ignore[attr-defined]
    made = rows(tmp_path / "m.jsonl")
    assert len(made) == 2
    assert {row["extra"]["mutation"]["path"] for row in made} == {"shop.js"}
    assert all("shop.js" not in row["problem_statement"] for row in made)
    tasks = load(tmp_path / "m.jsonl")
    found = asyncio.run(check(tasks[:1], cache=tmp_path / "cache", backend="bubblewrap", runs=1))
    assert [(task.problems, task.oracle, task.null_failed) for task in found.tasks] == [([], [True], True)]


# --- how a repository is tested -----------------------------------------------------------------------


def project(*paths: str, **texts: str) -> Project:
    """With files; a text belongs to the file whose name it is, `_` standing for other signs."""
    named = {path: texts.get(path.translate(str.maketrans("./-", "___")), "") for path in paths}
    return Project("", paths, named)


@pytest.mark.parametrize(
    ("paths", "named"),
    [
        (["setup.py", "a/b.py", "tests/test_b.py"], "tests"),
        (["setup.cfg", "test/test_b.py"], "test"),
        (["setup.py", "test.py"], "test.py"),
        (["pyproject.toml", "toolz/tests/test_b.py", "bench/b.py"], "toolz"),
        (["pyproject.toml", "b.py"], "--color=no"),
        (["pyproject.toml", "Makefile", "package.json", "tests/test_b.py"], "tests"),
    ],
)
def test_ways_of_python(paths: list[str], named: str) -> None:
    way = way_of(project(*paths), None, None)
    assert (way.test.split()[-1], way.install, way.runner) == (named, "pip install -e . pytest", "")
    assert way_of(project(*paths), None, "make check").install == "pip install -e . pytest"
    assert way_of(project(*paths), "", "make check").install == ""


NODE = '{"scripts": {"test": "node --test"}, "devDependencies": {"left-pad": "1"}}'
MOCHA = '{"scripts": {"test": "mocha"}, "devDependencies": {"mocha": "11"}}'


@pytest.mark.parametrize(
    ("given", "runner", "install", "test", "reports"),
    [
        (
            project("package.json", "package-lock.json", package_json=NODE),
            "node",
            "npm ci",
            "export CI=1 NO_COLOR=1; node --test ",
            ["/tmp/pawl-tests-graded-node.xml"],
        ),
        (
            project("package.json", package_json=MOCHA),
            "mocha",
            "npm install",
            "export CI=1 NO_COLOR=1; npm test -- --reporter json ",
            ["/tmp/pawl-tests-graded-mocha.json"],
        ),
        (project("Cargo.toml", "src/lib.rs", Cargo_toml=CRATE), "cargo", "", "export RUST_BACKTRACE=1 ", []),
        (
            project("Cargo.toml", Cargo_toml=CRATE + "[dev-dependencies]\nrand = '1'\n"),
            "cargo",
            "cargo fetch",
            "export RUST_BACKTRACE=1 ",
            [],
        ),
        (project("go.mod", "a_test.go", go_mod="module a\n"), "go", "", "go test -json ./...", []),
        (
            project("go.mod", "a_test.go", go_mod="module a\n\nrequire b v1.0.0\n"),
            "go",
            "go mod download",
            "go test -json ./...",
            [],
        ),
        (
            project("pom.xml", "src/test/java/ATest.java"),
            "maven",
            "mvn --batch-mode test -Dmaven.test.failure.ignore=true",
            "mvn --batch-mode --offline ",
            [],
        ),
    ],
)
def test_ways_of_other_languages(
    given: Project, runner: str, install: str, test: str, reports: list[str]
) -> None:
    way = way_of(given, None, None)
    assert (way.runner, way.install, list(way.reports)) == (runner, install, reports)
    assert way.test.startswith(test)
    assert all(path in way.test for path in reports)
    assert way.columns["runner"] == runner


def test_a_way_that_is_not_known_is_asked_for() -> None:
    with pytest.raises(DatasetError, match="--test-cmd"):
        way_of(project("main.c"), None, None)
    assert way_of(project("main.c"), None, "./check").columns == {"install": "", "test_cmd": "./check"}
    assert way_of(project("main.go"), None, "go test -v ./...").runner == "go"


# --- what a report says -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "names"),
    [
        ("TypeError: shop.more is not a function", ["more"]),
        ("SyntaxError: The requested module './shop.js' does not provide an export named 'more'", ["more"]),
        ("Error: Cannot find module '../lib/more.js'", ["more"]),
        ("error[E0425]: cannot find function `more` in crate `shop`", ["more"]),
        ("error[E0599]: no method named `more` found for struct `Shop`", ["more"]),
        ("error[E0432]: unresolved import `shop::more`", ["more"]),
        ("./a_test.go:9:2: undefined: shop.more", ["more"]),
        ("a.more undefined (type Shop has no field or method more)", ["more"]),
        ("[ERROR]   symbol:   method more(int)", ["more"]),
        ("undefined reference to `more'", ["more"]),
        ("TypeError: shop.other is not a function", []),
    ],
)
def test_what_tests_did_not_find(told: str, names: list[str]) -> None:
    assert missing([told], "+  more(1);\n") == names


def test_the_words_of_a_failure() -> None:
    assert said("Error: not equal:\n\n5 !== 6\n") == "Error: not equal: / 5 !== 6"
    assert said("one\ntwo\nthree\nfour") == "four"


def test_of_tests_with_one_name_the_worst_counts() -> None:
    tests = [TestResult("a", "passed"), TestResult("a", "failed", "Error", "no"), TestResult("a", "passed")]
    found = judge(
        Tests(("node",), fail_to_pass=("a",)),
        (),
        Readback(),
        exit_code=1,
        output="",
        text=make_report(tests, 1, "node"),
        killed="",
        allowed_plugins=lambda _: True,
        patched=frozenset(),
        root="/",
    )
    assert [(test.outcome, test.message) for test in found.tests] == [("failed", "Error: no")]


def test_a_row_names_a_runner_that_there_is() -> None:
    made = a_row(runner="node", reports=["/tmp/r.xml"])
    grading = instance(made, "here").grading
    assert isinstance(grading, Reported) and (grading.runner, grading.reports) == ("node", ("/tmp/r.xml",))
    assert msgspec.json.decode(msgspec.json.encode(instance(made, "here")), type=Instance).grading == grading
    for wrong, field in (({"runner": "abacus"}, "runner"), ({"runner": "go", "reports": "r"}, "reports")):
        with pytest.raises(DatasetError, match=f"here: field extra.{field}"):
            instance(a_row(**wrong), "here")


def test_tests_and_what_steers_them_are_put_back() -> None:
    """Ids of most runners name no file, so all files of tests are guarded."""

    def diff(path: str, new: bool = False) -> str:
        old = "/dev/null" if new else f"a/{path}"
        mode = "new file mode 100644\n" if new else ""
        count = "-0,0" if new else "-1"
        return f"diff --git a/{path} b/{path}\n{mode}--- {old}\n+++ b/{path}\n@@ {count} +1 @@\n" + (
            "+b\n" if new else "-a\n+b\n"
        )

    runner = load_runners()["mocha"]
    changed = ["package.json", "test/a.test.js", "shop.js"]
    found = examine(
        "".join([*map(diff, changed), diff(".mocharc.json", True), diff("test/new.js", True)]),
        Facts(
            base=lambda path: b"a" if path in changed else None,
            after=lambda _: b"b",
            tests=("has the first price", "pkg/sub::TestX", "tests::works"),
            steers=lambda path: is_test_path(path) or runner.steered_by(path),
        ),
    )
    assert found.restore == ("package.json", "test/a.test.js")
    assert found.remove == (".mocharc.json",)
    assert [(flag.path, flag.weight) for flag in found.flags] == [(".mocharc.json", "notice")]
    assert integrity.test_files(("pkg/sub::TestX", "tests::works", "t/a.js::x", "a.rst::a")) == (
        "a.rst",
        "t/a.js",
    )
