"""Which registries a set-up reaches by default, and which files decide what it gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.network import parse_rules
from sandbox.registries import ECOSYSTEMS, deciding, default_rules, suggestion

PYPI = ("pypi.org:443", "files.pythonhosted.org:443")
NPM = ("registry.npmjs.org:443", "registry.yarnpkg.com:443")
CRATES = ("index.crates.io:443", "static.crates.io:443")


@pytest.mark.parametrize(
    ("command", "files", "reached"),
    [
        ("python3 -m venv .venv && .venv/bin/pip install -r requirements.txt", [], PYPI),
        (".venv/bin/pip install .", ["package.json"], PYPI),
        ("npm ci", ["requirements.txt"], NPM),
        ("(cd web; npm ci)&&pip install .", [], (*PYPI, *NPM)),
        ("FOO=1 cargo fetch", [], CRATES),
        ("make deps", ["requirements.txt", "a/package.json"], (*PYPI, *NPM)),
        ("make deps", ["requirements/dev-requirements.txt"], PYPI),
        ("make deps", ["main.c"], ()),
        ("./gripper", [], ()),
    ],
)
def test_a_set_up_reaches_the_registries_of_its_languages(
    command: str, files: list[str], reached: tuple[str, ...]
) -> None:
    assert default_rules(command, files).texts() == reached


def test_every_registry_is_a_rule_as_a_person_would_write_it() -> None:
    for ecosystem in ECOSYSTEMS.values():
        written = parse_rules(",".join(ecosystem.hosts)).texts()
        assert written == tuple(f"{host}:443" for host in ecosystem.hosts)


def test_manifests_anywhere_and_what_the_command_names_decide() -> None:
    files = ["a.py", "ci/install.sh", "ci/other.sh", "uv.lock", "web/package-lock.json", "x/go.mod", "lock"]
    assert deciding("sh ./ci/install.sh", files) == [
        "ci/install.sh",
        "uv.lock",
        "web/package-lock.json",
        "x/go.mod",
    ]


@given(st.lists(st.text()), st.text())
def test_whatever_is_asked_only_files_that_are_there_decide(files: list[str], command: str) -> None:
    assert set(deciding(command, files)) <= set(files)


@pytest.mark.parametrize(
    ("names", "option"),
    [
        ({"requirements.txt", "package.json"}, "--setup 'python3 -m pip install -r requirements.txt'"),
        ({"Cargo.toml"}, "--setup 'cargo fetch'"),
        ({"uv.lock", "requirements.txt"}, "--setup 'uv sync --frozen'"),
        ({"package.json"}, "--setup 'npm install'"),
        ({"README.md"}, ""),
    ],
)
def test_what_a_project_lists_suggests_an_option(names: set[str], option: str) -> None:
    assert suggestion(names) == option
