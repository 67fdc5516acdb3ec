"""Which runner a project has, and its commands, where no run is recorded."""

from __future__ import annotations

import json

import pytest

from tools.runners import NotSelectable, Pick, Project, Ran, Selection, candidates, load, owner, steers
from tools.testreport import is_test_path


def made(files: dict[str, str]) -> Project:
    manifests = {name for runner in load().values() for name in runner.manifests}
    texts = {path: text for path, text in files.items() if path in manifests or is_test_path(path)}
    return Project("", tuple(sorted(files)), texts)


def package(test: str = "", **more: object) -> str:
    return json.dumps({"scripts": {"test": test} if test else {}, **more})


TEST_PY = {"test_a.py": "def test_a(): pass\n"}
UNIT = {"tests/test_a.py": "import unittest\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, []),
        ({"README.md": ""}, []),
        (TEST_PY, ["pytest"]),
        (UNIT, ["unittest", "pytest"]),
        ({**UNIT, "setup.cfg": "[tool:pytest]\n"}, ["pytest", "unittest"]),
        ({**TEST_PY, "tox.ini": "[tox]\n", "noxfile.py": "", "Makefile": "test:\n"}, ["pytest", "tox", "nox", "make"]),
        ({"Makefile": "test: all\n"}, ["make"]),
        ({"Makefile": "test := 1\nbuild:\n"}, []),
        ({"package.json": package("jest --coverage")}, ["jest", "npm"]),
        ({"package.json": package("tsc && vitest run")}, ["vitest", "npm"]),
        ({"package.json": package("c8 mocha")}, ["mocha", "npm"]),
        ({"package.json": package("react-scripts test")}, ["jest", "npm"]),
        ({"package.json": package("node --import tsx --test")}, ["node", "npm"]),
        ({"package.json": package("ava")}, ["npm"]),
        ({"package.json": package('echo "Error: no test specified" && exit 1')}, []),
        ({"package.json": package(devDependencies={"vitest": "1"})}, ["vitest"]),
        ({"package.json": "{"}, []),
        ({"package.json": '{"scripts": 7, "devDependencies": 8}'}, []),
        ({"package.json": package("jest"), "pyproject.toml": "[tool.pytest.ini_options]\n"}, ["jest", "pytest", "npm"]),
        ({"CMakeLists.txt": "project(x)\n"}, []),
        ({"go.mod": "module x\n", "Makefile": "test:\n"}, ["go", "make"]),
    ],
)  # fmt: skip
def test_a_project_s_runners_in_order(files: dict[str, str], expected: list[str]) -> None:
    assert [runner.name for runner in candidates(made(files))] == expected


@pytest.mark.parametrize(
    ("name", "files", "picks", "words"),
    [
        ("jest", {"package.json": package("jest && eslint .")}, [], "npx --no-install jest --json"),
        ("jest", {"package.json": package("jest"), "pnpm-lock.yaml": ""}, [], "pnpm test --json"),
        ("jest", {"package.json": package(jest={}), "yarn.lock": ""}, [], "yarn run jest --json"),
        ("jest", {"package.json": package("jest")}, ["a (b)", "c"], r"-t ^(?:a \(b\)|c)$"),
        ("npm", {"package.json": package("ava", packageManager="yarn@4")}, ["a.js::"], "yarn test a.js"),
        ("node", {"package.json": package("node --import tsx --test t/*.ts")}, [], "node --import tsx --test --test-reporter=spec"),
        ("node", {"package.json": package("node --import tsx --test t/*.ts")}, [], "-node.xml t/*.ts"),
        ("node", {"package.json": package("node --import tsx --test t/*.ts")}, ["t/a.ts::"], "-node.xml t/a.ts"),
        ("tox", {"tox.ini": "commands = pytest {posargs}\n"}, ["a.py::t"], "tox run -- a.py::t"),
        ("nox", {"noxfile.py": "@nox.session(python='3')\ndef tests(s): s.run('pytest', *s.posargs)\n"}, ["a.py::"], "nox -s tests -- a.py"),
        ("unittest", UNIT, [], "python -m unittest discover -s tests -v --locals"),
        ("unittest", UNIT, ["tests/test_a.py::A::test_b"], "tests.test_a.A.test_b"),
        ("unittest", UNIT, ["test_b", "A"], "discover -s tests -v --locals -k=test_b -k=A"),
        ("unittest", {"test_b.py": ""}, ["test_b"], "unittest -v --locals test_b"),
        ("pytest", TEST_PY, ["test_b"], "pytest -q -k test_b"),
        ("pytest", TEST_PY, ["A.test_b[x y]", "mod.test_c"], "pytest -q -k A and test_b or mod and test_c"),
        ("pytest", TEST_PY, ["test_b", "test_a.py::"], "pytest -q test_b test_a.py"),
        ("go", {"go.mod": ""}, ["num/a_test.go::TestA/b c", "str/b.go::"], "-run ^TestA$/^b\\ c$ ./num ./str"),
        ("cargo", {"Cargo.toml": ""}, ["tests/it.rs::", "src/lib.rs::"], "--test it --lib --bins"),
        ("cargo", {"Cargo.toml": ""}, ["adds"], "cargo test --no-fail-fast -- adds"),
        ("cargo", {"Cargo.toml": ""}, ["tests/it.rs::adds"], "--test it -- --exact adds"),
        ("maven", {"pom.xml": ""}, ["src/test/java/a/BTest.java::c", "x.YTest"], "-Dtest=a.BTest#c,x.YTest"),
        ("maven", {"pom.xml": "", "mvnw": ""}, ["src/test/java/a::"], "./mvnw --batch-mode --offline -DtrimStackTrace=false -Dtest=a.*"),
        ("gradle", {"build.gradle": ""}, ["a.BTest.c"], "test --tests a.BTest.c --continue"),
        ("rspec", {"Gemfile": "gem 'rspec'"}, [], "bundle exec rspec"),
        ("phpunit", {"composer.json": '{"require-dev": {"phpunit/phpunit": "*"}}'}, ["testB"], "vendor/bin/phpunit --colors=never"),
        ("ctest", {"CMakeLists.txt": "", "out/CMakeCache.txt": ""}, ["a.b"], "ctest --test-dir out --output-on-failure"),
    ],
)  # fmt: skip
def test_a_selection_as_words(name: str, files: dict[str, str], picks: list[str], words: str) -> None:
    chosen = [Pick(*pick.split("::", 1)) if "::" in pick else Pick(name=pick) for pick in picks]
    command = load()[name].command(made(files), Selection(tuple(chosen)), "/tmp/out-")
    assert words in " ".join(command.words)


@pytest.mark.parametrize(
    ("name", "files", "pick", "why"),
    [
        ("make", {"Makefile": "check:\n"}, Pick("a.c"), "`make check` runs all tests"),
        ("tox", {"tox.ini": "commands = pytest\n"}, Pick("a.py"), "tox passes no names on"),
        ("nox", {"noxfile.py": ""}, Pick("a.py"), "nox passes no names on"),
        ("npm", {"package.json": package("ava")}, Pick(name="t"), "calls one test is not known"),
        ("ctest", {"CMakeLists.txt": ""}, Pick("a.c"), "by name, not by file"),
        ("unittest", UNIT, Pick("tests"), "not the folder tests"),
    ],
)
def test_what_a_runner_cannot_select(name: str, files: dict[str, str], pick: Pick, why: str) -> None:
    with pytest.raises(NotSelectable, match=why):
        load()[name].command(made(files), Selection((pick,)), "")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("python3", "-m", "pytest"), "pytest"),
        ("cd x && ./mvnw -q test", "maven"),
        (("sh", "-c", "npx jest --ci"), "jest"),
        (("npm", "test"), "npm"),
        (("make", "check"), "make"),
        (("python", "setup.py", "test"), None),
        ("echo 'unended", None),
    ],
)
def test_whose_a_command_is(command: str | tuple[str, ...], expected: str | None) -> None:
    found = owner(command)
    assert (found.name if found else None) == expected
    assert not steers("README.md", ("npm", "test")) and steers("web/package.json", ("npm", "test"))


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("a.js", "web/a.js"),
        ("./b/a.js", "web/b/a.js"),
        ("/ws/web/a.js", "web/a.js"),
        ("file:///ws/web/a.js", "web/a.js"),
        ("../a.js", "a.js"),
    ],
)
def test_a_place_is_told_from_the_workspace_and_a_file_from_its_project(printed: str, expected: str) -> None:
    ran = Ran("", 1, "/ws", project=Project("web", ("a.js",)))
    assert ran.frame(printed, 3).path == expected and ran.frame(printed, 3).in_workspace
    assert f"web/{ran.file(printed)}".replace("web/../", "") == expected
