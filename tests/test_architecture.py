"""The rules of docs/architecture.md that a machine can hold: layers, owners, sizes, the cost of start-up."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import agent

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("sandbox", "tools", "agent", "evals")
"""Lowest first; a package imports itself and lower ones only."""

OWNERS = {
    "docker": r"sandbox/backends/docker\.py",
    "requests": r"sandbox/backends/docker\.py",
    "git": r"sandbox/.*",
    "tree_sitter": r"tools/(syntax|grammars|tags|rename|mutation)\.py",
    "tree_sitter_python": r"tools/syntax\.py",
    "junitparser": r"tools/runners/_junit\.py",
    "jsonschema": r"agent/solve/answer\.py",
    "json_repair": r"agent/models/dialects/_json\.py",
    "rapidfuzz": r"tools/.*",
    "genai_prices": r"agent/models/prices\.py",
    "httpx": r"agent/models/.*|evals/counting\.py",
    "keyring": r"agent/models/keys\.py",
    "huggingface_hub": r"agent/models/hub\w*\.py",
    "xllamacpp": r"agent/models/.*",
    "pypdf": r"tools/documents\.py",
    "nbformat": r"tools/documents\.py",
    "platformdirs": r"agent/paths\.py",
    "pytest": r"(tools|evals)/probes/.*",
    "_pytest": r"(tools|evals)/probes/.*",
    "pluggy": r"evals/probes/.*",
    "pyarrow": r"evals/benchmarks/swebench\.py",
    "coverage": r"tools/probes/.*",
    "typer": r"(agent|evals)/cli.*",
    "ray": r"evals/engines/ray\.py",
    "rich": r"(agent|evals)/cli.*|evals/report_text\.py",
    "jinja2": r"evals/report_html\.py",
    "markupsafe": r"evals/report_html\.py",
}
"""Third-party package -> the only files that may import it."""

HOSTS = {
    "127.0.0.1",
    "localhost",
    "host",
    "huggingface.co",
    "github.com",
    "api.openai.com",
    "docs.pytest.org",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "openrouter.ai",
    "api.deepseek.com",
    "dashscope-intl.aliyuncs.com",
    "api.z.ai",
    "api.minimax.io",
    "api.moonshot.ai",
    "api.mistral.ai",
    "api.x.ai",
    "integrate.api.nvidia.com",
    "api.groq.com",
    "api.together.xyz",
    "api.fireworks.ai",
}
"""Every machine that the code may name; a new one is a decision."""

UNDECLARED = {"_pytest", "coverage", "git", "markupsafe", "pluggy", "pytest", "requests"}
"""GitPython under its own name; jinja2's own strings; what the probed project brings; what docker's SDK
raises errors of."""

HEAVY = {"docker", "git", "httpx", "tree_sitter", "msgspec", "asyncio", "typer", "click", "rich", "rapidfuzz"}


class Import(NamedTuple):
    file: str
    line: int
    module: str

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def sources(*folders: str) -> list[Path]:
    """Python files of these folders; the bundled repository that `pawl demo` repairs is data."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if ROOT / "agent/demo/repository" not in path.parents)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports_of(path: Path) -> Iterator[Import]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (Import(name_of(path), node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno}: relative import"
            yield Import(name_of(path), node.lineno, node.module or "")


def strings_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each string of a file, docstrings left out."""
    nodes = list(ast.walk(ast.parse(path.read_bytes())))
    documentation = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value


IMPORTS = [found for path in sources(*LAYERS) for found in imports_of(path)]


def test_there_is_something_to_check() -> None:
    assert {found.file.partition("/")[0] for found in IMPORTS} >= {"sandbox", "tools", "agent"}


def test_imports_go_down_only() -> None:
    def goes_up(found: Import) -> bool:
        own = found.file.partition("/")[0]
        return found.package in LAYERS and LAYERS.index(found.package) > LAYERS.index(own)

    assert [str(found) for found in IMPORTS if goes_up(found) or found.package == "tests"] == []


@pytest.mark.parametrize("package", OWNERS)
def test_a_third_party_package_has_one_owner(package: str) -> None:
    users = [found for found in IMPORTS if found.package == package]
    assert [str(found) for found in users if not re.fullmatch(OWNERS[package], found.file)] == []


def test_every_third_party_package_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    declared = [*project["dependencies"]]
    for extra in ("local", "keyring", "documents", "parquet", "ray"):
        declared += optional[extra]
    distributions = {re.split(r"[^\w-]", line)[0].replace("-", "_") for line in declared}
    beside = {path.stem for path in (ROOT / "tools/probes").rglob("*.py")}
    used = {found.package for found in IMPORTS} - set(LAYERS) - sys.stdlib_module_names - beside
    assert used <= distributions | UNDECLARED


def test_files_stay_short() -> None:
    lengths = {name_of(path): path.read_bytes().count(b"\n") for path in sources(*LAYERS, "tests")}
    assert {name: length for name, length in lengths.items() if length > 450} == {}


def test_the_readme_stays_short() -> None:
    assert (ROOT / "README.md").read_text().count("\n") < 150


def test_the_code_names_no_other_host_and_nobodys_own_folders() -> None:
    found: dict[str, set[str]] = {}
    for path in sources(*LAYERS):
        for line, text in strings_of(path):
            hosts = set(re.findall(r"https?://([\w.-]+\w)", text)) - HOSTS
            folders = set(re.findall(r"(?<![\w.])/(?:home|root|work|Users)/\w+", text)) - {"/home/linuxbrew"}
            if hosts or folders:
                found[f"{name_of(path)}:{line}"] = hosts | folders
    assert found == {}


def test_programs_of_the_host_are_looked_up_in_one_place() -> None:
    """No other file searches a PATH, nor starts a program by its bare name, which would search one."""
    starts = {"run", "Popen", "check_output", "call", "create_subprocess_exec", "posix_spawnp", "execvp"}
    found = []
    for path in sources(*LAYERS):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
                continue
            searches = isinstance(node.func.value, ast.Name) and node.func.attr == "which"
            first = node.args[0].elts[:1] if isinstance(node.args[0], ast.List) else node.args[:1]
            by_name = node.func.attr in starts and any(
                isinstance(word, ast.Constant) and isinstance(word.value, str) and "/" not in word.value
                for word in first
            )
            of_host = name_of(path).startswith(("sandbox/pid1/", "sandbox/selfcheck/", "tools/probes/"))
            if (searches or by_name) and not of_host and name_of(path) != "sandbox/programs.py":
                found.append(f"{name_of(path)}:{node.lineno}")
    assert found == []


def test_the_lock_file_names_the_public_index_only() -> None:
    hosts = set(re.findall(r'"https?://([^/"]+)', (ROOT / "uv.lock").read_text()))
    assert hosts <= {"pypi.org", "files.pythonhosted.org"}


def test_what_runs_inside_the_sandbox_needs_an_old_python_and_nothing_else() -> None:
    files = [path for path in sources("sandbox", "tools") if re.search("/(pid1|probes)/", name_of(path))]
    assert len(files) > 10
    for path in files:
        ast.parse(path.read_bytes(), filename=str(path), feature_version=(3, 8))
    foreign = [
        str(found)
        for found in IMPORTS
        if "/pid1" in found.file
        and found.package not in sys.stdlib_module_names
        and not found.module.startswith("sandbox.pid1")
    ]
    assert foreign == []


def run(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def test_importing_does_nothing(tmp_path: Path, isolated: Path) -> None:
    modules = [
        name_of(path)[:-3].replace("/", ".") for path in sources(*LAYERS) if path.name != "__main__.py"
    ]
    program = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    probes = f"{ROOT}/tools/probes:{ROOT}/tools/probes/debug"  # as the sandbox has them
    done = run("-c", program, *modules, cwd=tmp_path, PYTHONPATH=probes)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
    assert not isolated.exists()


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_start_up_imports_nothing_heavy(flag: str, tmp_path: Path) -> None:
    program = f"import sys; from agent.cli.main import main; sys.exit(main([{flag!r}]))"
    done = run("-X", "importtime", "-c", program, cwd=tmp_path)
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "agent" in imported
    assert imported & HEAVY == set()


def test_running_as_a_module_refuses_the_package_of_the_current_directory() -> None:
    refused = run("-m", "agent", "--version", cwd=ROOT, PYTHONSAFEPATH="")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "python -P -m agent" in refused.stderr
    assert run("-P", "-m", "agent", "--version", cwd=ROOT).stdout == f"pawl {agent.__version__}\n"


def test_running_as_a_module_imports_nothing_of_the_current_directory(tmp_path: Path) -> None:
    for name in ("tools", "sandbox", "typer", "msgspec"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('hijacked')")
    done = run("-m", "agent", "config", "path", cwd=tmp_path, PYTHONSAFEPATH="")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_version_is_said_once() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == agent.__version__
