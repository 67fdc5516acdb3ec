"""What the sandbox sees of a git directory: everything read-only, less what could hold a secret or run.

What is shown is a folder of ours, with copies of the files that git reads and mounts of the large folders,
which hold no configuration. An empty file mounted over the user's own `config` would not do: git on the host
replaces that by a rename, the kernel then takes the mount away, and the new one lies open with its tokens.

A plain `.git` folder is shown where it is. That of a linked worktree or a submodule lies elsewhere on the
host: it is shown at a made-up place, and a made-up `.git` file leads there.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection
from pathlib import Path

from sandbox.base import FileError, Mount, PathEscape, SandboxError
from sandbox.beneath import Beneath, Owner
from sandbox.gitdir import MAX_TEXT, GitDir, entries, git_dir, read_text
from sandbox.tree import Copier, Listing, TooLarge, Verdict, walk

PLACE = "/.pawl/git"
"""Where the git directory of a linked worktree or a submodule is shown."""
_FILES = re.compile(
    r"(?!FETCH_HEAD)[A-Z_]+|index|sharedindex\.[0-9a-f]+|packed-refs|shallow|config(\.worktree)?|commondir|gitdir"
)
"""Files of a repository that git reads, as they are when the tree is frozen; FETCH_HEAD names remotes."""
CONFIGS = ("config", "config.worktree")
_COPIED = ("info", "logs", "refs")
"""Folders whose files are copied as well, for they fit to HEAD and the packed refs."""
_LIVE = ("objects", "lfs", "reftable", "annex/objects")
"""Folders that are mounted."""
_EXCLUDE = "info/exclude"
_HOLDING = ("modules", "worktrees")
"""Folders that hold other repositories."""
_MOST = 200
"""So many are shown."""
MAX_CONFIG = 16 * MAX_TEXT
_SPOKEN = re.compile(r"(?:.*/)?(?:logs/.+|[A-Z_]+)")
"""Files with words in them, such as the command line of a `git pull`, which may name a token."""
_ADDRESS = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://\S*")
_PLAIN_FILE = stat.S_IFREG | 0o644
_PLAIN = re.compile(r"[A-Za-z0-9._/-]*")
_KEPT = {
    "core": ("repositoryformatversion", "filemode", "bare", "symlinks", "ignorecase", "worktree"),
    "extensions": ("objectformat", "refstorage"),
}


def safe_config(text: str, *, without: Collection[tuple[str, str]] = ()) -> str:
    """Only the entries that say how the repository is stored: no remotes, hooks, filters or includes."""
    kept: dict[str, list[str]] = {}
    for section, key, given in entries(text):
        value = "true" if given is None else given
        if key in _KEPT.get(section, ()) and (section, key) not in without and _PLAIN.fullmatch(value):
            kept.setdefault(section, []).append(f"\t{key} = {value}\n")
    return "".join(f"[{name}]\n{''.join(lines)}" for name, lines in kept.items())


def safe_text(data: bytes) -> bytes:
    """A log or message without addresses: people type tokens in them, and git writes down what was typed."""
    return _ADDRESS.sub(b"(address)", data)


def object_format(git: GitDir | None) -> str:
    """`sha256` when the repository says so, else `sha1`."""
    try:
        text = read_text(git.common, "config") if git else ""
    except (FileError, OSError):
        text = ""
    return "sha256" if ("extensions", "objectformat", "sha256") in entries(text.lower()) else "sha1"


def exclude_rules(git: GitDir | None) -> bytes:
    """The ignore rules that the user keeps in the repository, outside the tree. Raises FileError."""
    if git is None:
        return b""
    with Beneath(git.common) as files:
        try:
            info = files.stat(_EXCLUDE)
        except PathEscape:
            return b""
        there = info is not None and stat.S_ISREG(info.st_mode)
        return files.read(_EXCLUDE, MAX_TEXT).data if there else b""


def pointer(tree: Path) -> str | None:
    """What is in the `.git` file inside; None when there is none, but a folder or nothing."""
    git = git_dir(tree)
    if git is None or git.own == tree / ".git":
        return None
    return f"gitdir: {PLACE}/{git.own.relative_to(git.common)}".removesuffix("/.") + "\n"


def git_mounts(tree: Path, root: str, view: Path, owner: Owner | None = None) -> tuple[Mount, ...]:
    """Mounts, outer first, that show the git directory of `tree`, which is at `root` inside; () without one.

    `view` is a new folder of ours, which `owner` (uid, gid) may read. Raises SandboxError when it would take
    too much.
    """
    git = git_dir(tree)
    if git is None:
        return ()
    elsewhere = git.own != tree / ".git"
    place = PLACE if elsewhere else f"{root}/.git"
    view.mkdir(parents=True, mode=0o755)
    pick = _Pick()
    with Beneath(git.common) as source, Beneath(view, owner) as copy:
        with copy.folder("") as top:
            copy.give(".", top)
        try:
            listing = walk(source, pick)
        except TooLarge as error:
            raise SandboxError(f"{git.common} cannot be shown: {error}") from None
        copier = Copier(source, copy)
        copier.copy(listing)
        for folder in pick.repositories:
            # a submodule's own leads from where its git directory lies on the host
            without = [("core", "worktree")] if elsewhere and not folder else []
            for name in CONFIGS:
                _clean(copy, listing, f"{folder}/{name}" if folder else name, without)
        for path in filter(_SPOKEN.fullmatch, listing.files):
            clean_text(copy, path, listing.files[path])
        if git.own != git.common:
            copy.put(f"{git.own.relative_to(git.common)}/commondir", b"../..\n", _PLAIN_FILE)
        copier.finish(listing)
    live = [Mount(str(git.common / path), f"{place}/{path}") for path in listing.hollow]
    return (Mount(str(view), place), *live)


class _Pick:
    """Chooses what of a git directory is copied, and finds the repositories in it: submodules, worktrees."""

    def __init__(self) -> None:
        self.repositories = [""]

    def __call__(self, path: str, name: str, is_folder: bool, parent: int) -> Verdict:
        at = next(found for found in reversed(self.repositories) if not found or path.startswith(found + "/"))
        inner = path[len(at) :].lstrip("/")
        top = inner.partition("/")[0]
        if top in _COPIED:
            return Verdict.TAKE
        if not is_folder:
            return Verdict.TAKE if inner == name and _FILES.fullmatch(name) else Verdict.SKIP
        if inner in _LIVE:
            return Verdict.HOLLOW
        if top in _HOLDING:
            if _is_repository(name, parent):
                self.repositories.append(path)
            return Verdict.TAKE if len(self.repositories) <= _MOST else Verdict.SKIP
        return Verdict.TAKE if any(live.startswith(inner + "/") for live in _LIVE) else Verdict.SKIP


def _is_repository(name: str, parent: int) -> bool:
    try:
        os.stat(f"{name}/HEAD", dir_fd=parent, follow_symlinks=False)
    except OSError:
        return False
    return True


def clean_text(copy: Beneath, path: str, info: os.stat_result) -> None:
    """Take addresses out of the copy of a log or message; one that is too long to be looked at is emptied."""
    if not stat.S_ISREG(info.st_mode):
        return
    text = copy.read(path).data if info.st_size <= MAX_CONFIG else b""
    if (safe := safe_text(text)) != text or not text:
        copy.put(path, safe, info.st_mode, mtime_ns=info.st_mtime_ns)


def _clean(copy: Beneath, listing: Listing, path: str, without: Collection[tuple[str, str]]) -> None:
    """Leave of the copy of a configuration what may be seen; a symlink could lead to another one."""
    if path not in listing.files:
        return
    if stat.S_ISLNK(listing.files[path].st_mode):
        copy.remove(path)
        return
    text = copy.read(path, MAX_CONFIG).data.decode("utf-8", "replace")
    copy.put(path, safe_config(text, without=without).encode(), _PLAIN_FILE)
