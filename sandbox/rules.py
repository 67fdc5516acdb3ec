"""Which paths are what: run-time litter, secrets, dependency folders, files worth a second look."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

DENIED = (".env*", "*.pem", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", ".pypirc")
"""Names that are not shown to the model unless the person says otherwise."""
_SAMPLE = re.compile(r"\.env(rc)?[._-](example|sample|template)")

_CACHES = frozenset({"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"})
_DEPENDENCIES = frozenset({"node_modules", ".tox", ".nox"})

_SENSITIVE_NAMES = (
    "conftest.py",
    "sitecustomize.py",
    "usercustomize.py",
    "*.pth",
    "makefile",
    "gnumakefile",
    "setup.py",
    "setup.cfg",
    "pyproject.toml",
    "tox.ini",
    "noxfile.py",
    "pytest.ini",
    "package.json",
    "agents.md",
    "claude.md",
    ".envrc",
    ".gitattributes",
    ".gitmodules",
    ".pre-commit-config.yaml",
    ".gitlab-ci.yml",
    ".travis.yml",
    "azure-pipelines.yml",
    "bitbucket-pipelines.yml",
    "jenkinsfile",
)
_SENSITIVE_FOLDERS = re.compile(
    r"(^|/)(\.github|\.circleci|\.buildkite|\.woodpecker|\.ci|\.pawl|\.githooks|\.husky|hooks|\.agents|\.vscode|\.devcontainer)/"
)


def is_cache(name: str, is_folder: bool) -> bool:
    """True for what test runners and linters leave behind; it is neither copied nor part of a patch."""
    return name in _CACHES if is_folder else name == ".coverage" or name.startswith(".coverage.")


def is_litter(path: str) -> bool:
    """True for a path that is, or lies in, what runs leave behind."""
    *folders, name = path.split("/")
    return is_cache(name, False) or name.endswith(".pyc") or not _CACHES.isdisjoint([*folders, name])


def is_denied(name: str, deny: tuple[str, ...]) -> bool:
    """True for a name that matches one of the shell patterns and is not a mere sample."""
    return not _SAMPLE.fullmatch(name) and any(fnmatchcase(name, pattern) for pattern in deny)


def is_dependency(name: str) -> bool:
    """True for a folder of installed packages by its name; a virtual environment is told by `pyvenv.cfg`."""
    return name in _DEPENDENCIES


def is_sensitive(path: str) -> bool:
    """True when a change at this path can run code or steer a tool outside the tests: worth a second look."""
    name = path.rpartition("/")[2].lower()
    return any(fnmatchcase(name, p) for p in _SENSITIVE_NAMES) or bool(_SENSITIVE_FOLDERS.search(path))
