"""Where the dependencies of each language come from, and which files of a project say what they are.

Data, and what is read off it. A set-up reaches the registries of the languages whose programs its command
names; when it names none (`make deps`), those of the languages whose manifests the project has.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from fnmatch import translate
from pathlib import Path

import msgspec

from sandbox.network import HTTPS, NetworkRules, Rule


class Ecosystem(msgspec.Struct, frozen=True):
    """One language's packages."""

    programs: tuple[str, ...]
    """What installs them."""
    manifests: tuple[str, ...]
    """Shell patterns for the names of the files that say which packages, or which version of the language."""
    hosts: tuple[str, ...]
    """Its registries; they speak TLS on the usual port."""
    commands: tuple[tuple[str, str], ...] = ()
    """(file at the top, the command that installs what it lists into the project's folder)"""


_PIP = "python3 -m pip install"

ECOSYSTEMS = {
    "python": Ecosystem(
        ("pip", "pip3", "python", "python3", "uv", "poetry", "pdm", "pipenv", "hatch", "tox", "nox"),
        (
            "Pipfile",
            "Pipfile.lock",
            "constraints*.txt",
            "pdm.lock",
            "poetry.lock",
            "pylock*.toml",
            "pyproject.toml",
            "*requirements*.in",
            "*requirements*.txt",
            "setup.cfg",
            "setup.py",
            "uv.lock",
            ".python-version",
        ),
        ("pypi.org", "files.pythonhosted.org"),
        (
            ("uv.lock", "uv sync --frozen"),
            ("requirements.txt", f"{_PIP} -r requirements.txt"),
            ("requirements-dev.txt", f"{_PIP} -r requirements-dev.txt"),
            ("pyproject.toml", f"{_PIP} -e ."),
            ("setup.py", f"{_PIP} -e ."),
        ),
    ),
    "node": Ecosystem(
        ("npm", "npx", "pnpm", "yarn", "bun"),
        (
            "bun.lock",
            "bun.lockb",
            "npm-shrinkwrap.json",
            "package-lock.json",
            "package.json",
            "pnpm-lock.yaml",
            "pnpm-workspace.yaml",
            "yarn.lock",
            ".node-version",
            ".nvmrc",
        ),
        ("registry.npmjs.org", "registry.yarnpkg.com"),
        (("package-lock.json", "npm ci"), ("package.json", "npm install")),
    ),
    "rust": Ecosystem(
        ("cargo",),
        ("Cargo.lock", "Cargo.toml", "rust-toolchain", "rust-toolchain.toml"),
        ("index.crates.io", "static.crates.io"),
        (("Cargo.toml", "cargo fetch"),),
    ),
    "go": Ecosystem(
        ("go",),
        ("go.mod", "go.sum", "go.work", "go.work.sum"),
        ("proxy.golang.org", "sum.golang.org"),
    ),
    "ruby": Ecosystem(
        ("bundle", "bundler", "gem"),
        ("*.gemspec", "Gemfile", "Gemfile.lock", ".ruby-version"),
        ("rubygems.org", "index.rubygems.org"),
    ),
    "java": Ecosystem(
        ("mvn", "mvnw", "gradle", "gradlew"),
        (
            "build.gradle",
            "build.gradle.kts",
            "gradle.lockfile",
            "gradle.properties",
            "libs.versions.toml",
            "pom.xml",
            "settings.gradle",
            "settings.gradle.kts",
        ),
        ("repo.maven.apache.org", "repo1.maven.org", "plugins.gradle.org"),
    ),
}

ONLINE = {
    "CARGO_NET_OFFLINE": "false",
    "GOPROXY": "https://" + ECOSYSTEMS["go"].hosts[0],
    "PIP_BREAK_SYSTEM_PACKAGES": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_CACHE_DIR": "1",
}
"""Variables of a set-up: what keeps the later phases offline is lifted, no cache fills up /tmp, and a plain
`pip install` goes to PACKAGES: the system's own folder, which pip would save from it, is read-only anyway."""

PACKAGES = ".pawl-packages"
"""A folder at the top of the workspace for what installers would put into the home folder."""
HOMES = {"cargo": "CARGO_HOME", "go": "GOMODCACHE", "maven": "MAVEN_OPTS", "python": "PYTHONUSERBASE"}
"""Folder in PACKAGES -> the variable that names it, in the set-up and, once there is one, after it."""
_MAVEN = "-Dmaven.repo.local="
"""Until Maven 3.9 no variable names its repository; this one's words go to its Java machine."""
OFFLINE = {"cargo": {"CARGO_NET_OFFLINE": "true"}, "go": {"GOPROXY": "off"}, "maven": {"MAVEN_ARGS": "-o"}}
"""Folder in PACKAGES -> further variables after the set-up."""


def offline(root: str, packages: Path) -> dict[str, str]:
    """Variables by which programs find what the host has in `packages` and shows as PACKAGES at `root`."""
    there = [name for name in HOMES if (packages / name).is_dir()]
    found = homes(root, there)
    for name in there:
        found |= OFFLINE.get(name, {})
    return found


def homes(root: str, names: Iterable[str] = HOMES) -> dict[str, str]:
    """The variables that lead to the folders `names` of PACKAGES in the workspace at `root`.

    Maven's is left out where `root` has a space, at which its start script would split it.
    """
    found = {name: f"{root}/{PACKAGES}/{name}" for name in names}
    if "maven" in found:
        found["maven"] = _MAVEN + found["maven"]
    return {
        HOMES[name]: value for name, value in found.items() if name != "maven" or not re.search(r"\s", root)
    }


def words(command: str) -> list[str]:
    """The words of a command, whatever stands between them."""
    return [word for word in re.split(r"[\s;&|()<>\"'=]+", command) if word]


def default_rules(command: str, paths: Iterable[str]) -> NetworkRules:
    """What a set-up may reach unless the person says otherwise; `paths` are the project's files."""
    programs = {word.rpartition("/")[2] for word in words(command)}
    found = [each for each in ECOSYSTEMS.values() if not programs.isdisjoint(each.programs)]
    if not found:
        names = {path.rpartition("/")[2] for path in paths}
        found = [each for each in ECOSYSTEMS.values() if any(map(_pattern(each).fullmatch, names))]
    return NetworkRules(tuple(Rule(host, HTTPS) for each in found for host in each.hosts))


def deciding(command: str, paths: Iterable[str]) -> list[str]:
    """The files that decide what a set-up gives, sorted: manifests, and what its command names."""
    named = {word.removeprefix("./") for word in words(command)}
    manifest = _pattern(*ECOSYSTEMS.values())
    return sorted(path for path in paths if path in named or manifest.fullmatch(path.rpartition("/")[2]))


def suggestion(names: Iterable[str]) -> str:
    """An option that installs what a project lists, for a person; "" when it lists nothing we know.

    `names` are of the files at its top.
    """
    there = set(names)
    for ecosystem in ECOSYSTEMS.values():
        for name, command in ecosystem.commands:
            if name in there:
                return f"--setup {shlex.quote(command)}"
    return ""


def _pattern(*ecosystems: Ecosystem) -> re.Pattern[str]:
    """Matches the names of their manifests."""
    return re.compile("|".join(translate(pattern) for each in ecosystems for pattern in each.manifests))
