"""The tree of a task: a git repository whose only commit is the base.

It holds the objects of that one tree and no others: no history, nothing of the future, no remote. Author and
dates are fixed, so the same task gives the same commit each time.

    lay_out(instance, place)   ->  place, with .git    for an agent, and for grading
    leaks(instance, place)     ->  files of the fix whose content is in there
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from evals.gitrun import git
from evals.patches import sections
from evals.repos import repository
from evals.types import Commit, Files, Folder, Instance
from sandbox.base import SandboxError
from sandbox.tree import remove_path

EXCLUDED = b"__pycache__/\n*.pyc\n.pytest_cache/\n*.egg-info/\n"
"""What running tests leaves behind; ignored in the laid out tree, so that no agent's patch has it."""


def lay_out(instance: Instance, place: Path, cache: Path) -> None:
    """Make the task's tree in the new folder `place`. Blocking.

    Raises RepositoryMissing, or SandboxError when the tree cannot be made; then nothing is left.
    """
    try:
        match instance.tree:
            case Commit(repo, commit, patch):
                _from_commit(repository(repo, cache, commit), commit, place, patch)
            case Folder(path):
                _from_folder(Path(path), place)
            case Files(contents, executable):
                _from_files(contents, frozenset(executable), place)
    except (OSError, SandboxError) as error:
        remove_path(place)
        if isinstance(error, SandboxError):
            raise
        raise SandboxError(f"the tree of {instance.id} cannot be made: {error}") from error


def lay_out_commit(repo: str, commit: str, place: Path, cache: Path) -> None:
    """Make the tree of a commit in the new folder `place`. Blocking."""
    _from_commit(repository(repo, cache, commit), commit, place)


def _init(place: Path) -> None:
    place.mkdir(parents=True)
    git("init", "--quiet", "--initial-branch=main", "--template=", str(place))
    (place / ".git" / "info").mkdir()
    (place / ".git" / "info" / "exclude").write_bytes(EXCLUDED)


def _commit(place: Path, tree: str) -> None:
    commit = git("commit-tree", tree, "-m", "base", at=place).decode().strip()
    git("update-ref", "refs/heads/main", commit, at=place)
    git("reset", "--quiet", "--hard", "main", at=place)
    remove_path(place / ".git" / "logs")
    (place / ".git" / "ORIG_HEAD").unlink(missing_ok=True)


def _from_commit(source: Path, commit: str, place: Path, patch: str = "") -> None:
    tree = git("rev-parse", f"{commit}^{{tree}}", at=source).decode().strip()
    _init(place)
    with _patched(source, tree, place / ".git", patch) as (tree, env):
        listed = git("rev-list", "--objects", "--no-object-names", tree, at=source, env=env)
        pack = git("pack-objects", "--stdout", "--quiet", "--threads=1", at=source, stdin=listed, env=env)
    git("index-pack", "--stdin", at=place, stdin=pack)
    _commit(place, tree)


@contextlib.contextmanager
def _patched(source: Path, tree: str, work: Path, patch: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The tree with the patch put in, and the environment in which git finds it; `source` is only read."""
    if not patch:
        yield tree, {}
        return
    own, index = work / "patched-objects", work / "patched-index"
    own.mkdir()
    common = git("rev-parse", "--path-format=absolute", "--git-common-dir", at=source).decode().strip()
    env = {
        "GIT_OBJECT_DIRECTORY": str(own),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": f"{common}/objects",
        "GIT_INDEX_FILE": str(index),
    }
    try:
        git("read-tree", tree, at=source, env=env)
        data = patch.encode("utf-8", "surrogateescape")
        git("apply", "--cached", "--whitespace=nowarn", "-", at=source, env=env, stdin=data)
        yield git("write-tree", at=source, env=env).decode().strip(), env
    finally:
        remove_path(own)
        index.unlink(missing_ok=True)


def _from_folder(source: Path, place: Path) -> None:
    if not source.is_dir():
        raise SandboxError(f"not a folder: {source}")
    _init(place)
    for path in sorted(source.iterdir()):
        if path.name in (".git", "__pycache__"):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, place / path.name, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        else:
            shutil.copy2(path, place / path.name, follow_symlinks=False)
    _commit_all(place)


def _from_files(contents: dict[str, bytes], executable: frozenset[str], place: Path) -> None:
    _init(place)
    for path, data in contents.items():
        target = place / path
        if not target.resolve().is_relative_to(place.resolve()) or ".git" in target.parts:
            raise SandboxError(f"a path that leads out of the tree: {path}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        target.chmod(0o755 if path in executable else 0o644)
    _commit_all(place)


def _commit_all(place: Path) -> None:
    git("add", "--all", "--force", at=place)
    _commit(place, git("write-tree", at=place).decode().strip())


def scratch(cache: Path, kind: str) -> Path:
    """A name for a new folder of this process, which `sweep` knows for one once the process is gone."""
    return cache / "work" / f"{kind}-{os.getpid()}-{uuid.uuid4().hex[:10]}"


def sweep(cache: Path) -> None:
    """Remove what processes that are gone left in their folders. Blocking."""
    for place in (cache / "work").glob("*-*-*"):
        pid = place.name.split("-")[1]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            remove_path(place)


def leaks(instance: Instance, place: Path) -> tuple[str, ...]:
    """Paths of the reference whose fixed content is an object of the laid out repository. Blocking.

    A tiny file may equal another one of the base: that is told too, and is for a person to judge.
    """
    if not instance.reference:
        return ()
    wanted = instance.reference.encode("utf-8", "surrogateescape")
    before = objects(place)
    git("apply", "--cached", "--whitespace=nowarn", "-", at=place, stdin=wanted)
    try:
        fixed = {section.new_path for section in sections(wanted) if section.new_path}
        rows = git("ls-files", "--stage", "-z", at=place).decode("utf-8", "surrogateescape").split("\0")
        made = {row.partition("\t")[2]: row.split()[1] for row in rows if row}
        return tuple(sorted(path for path in fixed if made.get(path) in before))
    finally:
        git("reset", "--quiet", "--hard", "main", at=place)
        git("prune", "--expire=now", at=place)


def objects(place: Path) -> frozenset[str]:
    """Ids of all objects of a laid out repository, referenced or not. Blocking."""
    told = git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)", at=place)
    return frozenset(told.decode().split())


def own(place: Path, owner: tuple[int, int]) -> None:
    """Give everything below `place` to (uid, gid), where pawl is root and that is somebody else."""
    if os.geteuid() != 0 or owner == (os.geteuid(), os.getegid()):
        return
    for folder, folders, files in os.walk(place):
        for name in (*folders, *files):
            os.chown(Path(folder, name), *owner, follow_symlinks=False)
        os.chown(folder, *owner, follow_symlinks=False)
