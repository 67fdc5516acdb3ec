"""Which paths are what: run-time litter, secrets, dependency folders, files worth a second look."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
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
    ".npmrc",
    ".pnpmfile.cjs",
    ".yarnrc",
    ".yarnrc.yml",
    "build.rs",
    "agents.md",
    "claude.md",
    "gemini.md",
    ".mcp.json",
    ".cursorrules",
    ".clinerules",
    ".windsurfrules",
    ".envrc",
    ".exrc",
    ".nvim.lua",
    ".dir-locals.el",
    ".gitattributes",
    ".gitmodules",
    ".pre-commit-config.yaml",
    ".gitlab-ci.yml",
    ".travis.yml",
    "azure-pipelines.yml",
    "bitbucket-pipelines.yml",
    "jenkinsfile",
)
_SENSITIVE_FOLDERS = frozenset(
    (
        *(".github", ".circleci", ".buildkite", ".woodpecker", ".ci"),
        *(".githooks", ".husky", "hooks"),
        *(".pawl", ".agents", ".claude", ".codex", ".cursor", ".gemini"),
        *(".vscode", ".idea", ".zed", ".devcontainer"),
        *(".cargo", ".yarn"),
    )
)
_GIT_STEERS = re.compile(r"HEAD|config|config\.worktree|commondir|(hooks|info)/.*", re.DOTALL)
"""What of a git directory says what git runs, and where it looks for the rest."""


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
    *folders, name = path.lower().split("/")
    return any(fnmatchcase(name, p) for p in _SENSITIVE_NAMES) or not _SENSITIVE_FOLDERS.isdisjoint(folders)


def git_parts(paths: Collection[str], exists: Callable[[str], bool]) -> set[str]:
    """Those of new `paths` that steer a git directory by another name than `.git`, or make a folder one.

    Git takes a folder for a bare repository by what is in it, and in there runs what its config says.
    `exists` tells of a path what was there before.
    """
    made = {folder for path in paths for folder in (path, *_above(path))}
    whole = {folder for folder in made if _is_git(folder, lambda path: path in made or exists(path))}
    found: set[str] = set()
    for folder in whole:
        inside = {path: path[len(folder) + 1 :] if folder else path for path in paths if _in(path, folder)}
        steering = {path for path, part in inside.items() if _GIT_STEERS.fullmatch(part)}
        # with none of those it may be what was missing: objects, or refs
        found |= steering or (set() if _is_git(folder, exists) else inside.keys())
    return found


def _is_git(folder: str, exists: Callable[[str], bool]) -> bool:
    def has(name: str) -> bool:
        return exists(f"{folder}/{name}" if folder else name)

    return has("HEAD") and (has("commondir") or (has("objects") and has("refs")))


def _in(path: str, folder: str) -> bool:
    return not folder or path.startswith(folder + "/")


def _above(path: str) -> list[str]:
    """The folders above a path, "" among them."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:n]) for n in range(len(parts) + 1)]
