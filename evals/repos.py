"""Repositories of tasks: a local mirror where there is one, else a bare clone that is made once and kept.

A mirror is only read, by its objects; the trees that agents and tests get are made in `evals.place`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from evals.gitrun import GitFailed, git
from sandbox.base import SandboxError
from sandbox.tree import remove_path

MIRRORS = "PAWL_EVAL_REPOS"
"""Variable with a folder of repositories, bare or not, that are used in place of a clone."""
CLONE_URL = "PAWL_EVAL_CLONE_URL"
"""Variable with the address to clone from; `{repo}` stands for `owner/name`."""
_DEFAULT_URL = "https://github.com/{repo}.git"
_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_PATTERNS = (
    "{o}/{n}",
    "{o}/{n}.git",
    "{o}__{n}",
    "{o}__{n}.git",
    "{o}+{n}",
    "{o}+{n}/repo",
    "{n}",
    "{n}.git",
)


class RepositoryMissing(SandboxError):
    """A task's repository, or its base commit, is not to be had. Exit code 2."""

    exit_code = 2


def repository(repo: str, cache: Path, commit: str = "", environ: Mapping[str, str] = os.environ) -> Path:
    """The git directory of `repo` (`owner/name`, a path or a URL), with `commit` in it.

    Blocking. A clone is made at most once below `cache`, whoever asks at the same time. Raises
    RepositoryMissing.
    """
    found = _local(repo, environ)
    if found is None:
        found = _cloned(repo, cache / "repos", commit, environ)
    if commit and not _has(found, commit):
        raise RepositoryMissing(f"{repo} has no commit {commit} (looked in {found})")
    return found


def _local(repo: str, environ: Mapping[str, str]) -> Path | None:
    path = Path(repo)
    if path.is_absolute() and path.is_dir():
        return path
    folder = environ.get(MIRRORS, "")
    if not folder or not _NAME.fullmatch(repo):
        return None
    owner, name = repo.split("/")
    for pattern in _PATTERNS:
        place = Path(folder, pattern.format(o=owner, n=name))
        if (place / ".git").exists() or (place / "objects").is_dir():
            return place
    return None


def _has(place: Path, commit: str) -> bool:
    with contextlib.suppress(GitFailed):
        return git("cat-file", "-t", commit, at=place).strip() == b"commit"
    return False


def _cloned(repo: str, folder: Path, commit: str, environ: Mapping[str, str]) -> Path:
    if not _NAME.fullmatch(repo) and "://" not in repo:
        raise RepositoryMissing(f"{repo!r} is neither owner/name, nor a folder, nor a URL")
    url = repo if "://" in repo else environ.get(CLONE_URL, _DEFAULT_URL).format(repo=repo)
    place = folder / f"{re.sub(r'[^A-Za-z0-9.-]+', '__', repo)}.git"
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / f"{place.name}.lock"):
        try:
            if not place.is_dir():
                new = folder / f"new-{uuid.uuid4().hex[:12]}"
                try:
                    git("clone", "--quiet", "--bare", url, str(new))
                    new.rename(place)
                finally:
                    remove_path(new)
            elif commit and not _has(place, commit):
                git("fetch", "--quiet", url, "+refs/*:refs/*", at=place)
        except GitFailed as error:
            advice = f"set {MIRRORS} to a folder that has it as {repo.replace('/', '__')}"
            raise RepositoryMissing(f"{repo} cannot be had from {url}: {error}\n{advice}") from error
    return place


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
