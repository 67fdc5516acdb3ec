"""What a set-up made in its fork, sorted: what is kept and shown, what is kept and copied, what is dropped.

    new folders of installed packages, environments    kept, shown read-only at their paths in later sandboxes
    other new files that the project ignores           kept, copied into the base: in each fork, in no patch
    all else that is new or changed                    dropped, and named

Everything is copied by `Copier`, from descriptors: no link is followed, no device, set-user-id bit or hard
link is taken along.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from sandbox.base import Mount, SandboxError
from sandbox.beneath import Beneath, Owner
from sandbox.freeze import Base, check_space, is_environment
from sandbox.kept import Kept
from sandbox.registries import PACKAGES
from sandbox.rules import is_cache, is_dependency
from sandbox.tree import MAX_BYTES, Copier, Listing, Verdict, relock, remove_path, walk

ENVIRONMENTS = (".venv", "venv")
"""Where a project's own virtual environment lies, the first one wins."""
_VENDORED = "vendor"
"""By this name only of a set-up: many projects keep files of their own in such a folder."""


class Harvest(msgspec.Struct, frozen=True):
    """What was copied to the new place, by paths in the project."""

    folders: tuple[str, ...]
    environment: str
    files: tuple[str, ...]
    dropped: tuple[str, ...]


Sort = Callable[[Listing], tuple[list[str], list[str]]]
"""(new files that the project ignores, files that are new or changed otherwise) of what is in a fork"""


def harvest(tree: Beneath, base: Base, place: Path, owner: Owner | None, sort: Sort) -> Harvest:
    """Copy what is to be kept of a fork into `place`, which is made anew.

    Raises SandboxError when something cannot be copied: a result is whole or not there.
    """
    remove_path(place)
    folders: list[str] = []
    environments: list[str] = []

    def pick(path: str, name: str, is_folder: bool, parent: int) -> Verdict:
        if name == ".git" or is_cache(name, is_folder):
            return Verdict.SKIP
        if is_folder and path not in base.listing.folders:
            environment = is_environment(name, parent)
            if environment or is_dependency(name) or name == _VENDORED or path == PACKAGES:
                folders.append(path)
                environments.extend([path] if environment else [])
                return Verdict.SKIP
        return Verdict.SKIP if path in base.withheld else Verdict.TAKE

    listing = walk(tree, pick)
    files, dropped = sort(listing)
    kept = {path: _held(tree, path) for path in sorted(folders)}
    # a mount point is empty
    kept = {path: held for path, held in kept.items() if held.files or len(held.folders) > 1}
    (place / "folders").mkdir(parents=True, mode=0o700)
    _check_size([listing.files[path] for path in files], kept.values(), place)
    for number, (path, held) in enumerate(kept.items()):
        _copy_folder(tree, path, held, place / "folders" / str(number), owner)
    _copy_files(tree, listing, files, place / "files")
    environment = next((path for path in ENVIRONMENTS if path in environments), "")
    return Harvest(tuple(kept), environment, tuple(files), tuple(dropped))


def _held(tree: Beneath, path: str) -> Listing:
    with tree.folder(path) as fd, Beneath(Path(f"/proc/self/fd/{fd}"), unlock=True) as source:
        return walk(source)


def _check_size(files: Iterable[os.stat_result], folders: Iterable[Listing], place: Path) -> None:
    """Raise SandboxError when the copies would be too large: a sparse file's is as large as it says."""
    size = sum(info.st_size for info in (*files, *(i for held in folders for i in held.files.values())))
    if size > MAX_BYTES:
        raise SandboxError(f"what the set-up made cannot be kept: it is over {MAX_BYTES // 1024**3} GB")
    check_space(size, place)


def _copy_folder(tree: Beneath, path: str, held: Listing, target: Path, owner: Owner | None) -> None:
    target.mkdir()
    with (
        tree.folder(path) as fd,
        Beneath(Path(f"/proc/self/fd/{fd}"), unlock=True) as source,
        Beneath(target, owner) as copy,
    ):
        _copy(source, copy, held)
    target.chmod(0o755)  # whoever owns it: the sandbox's user is to enter


def _copy_files(tree: Beneath, listing: Listing, files: list[str], place: Path) -> None:
    above = {parent for path in files for parent in _parents(path)}
    folders = {path: info for path, info in listing.folders.items() if not path or path in above}
    chosen = set(files)
    place.mkdir(mode=0o700)
    with Beneath(place) as copy:
        wanted = {path: info for path, info in listing.files.items() if path in chosen}
        _copy(tree, copy, Listing(folders, wanted))


def _copy(source: Beneath, target: Beneath, listing: Listing) -> None:
    copier = Copier(source, target)
    _, failed = copier.copy(listing)
    for path, why in (failed | listing.left_out).items():
        raise SandboxError(f"what the set-up made cannot be kept: {path}: {why}")
    copier.finish(listing)


def adopt(base: Base, tree: Path, kept: Kept) -> None:
    """Make a result part of a base of `tree`; a refresh of the base takes it out again.

    What the user has made since in its place is theirs and stays.
    """
    before = base.listing
    taken = {*before.files, *base.withheld}

    def free(path: str) -> bool:
        return taken.isdisjoint((path, *_parents(path)))

    folders = [p for p in kept.made.folders if p in before.hollow or (free(p) and p not in before.folders)]
    own = {f"{tree}/{path}": str(kept.source(path)) for path in folders}
    hollow = {*before.hollow, *folders}

    def pick(path: str, name: str, is_folder: bool, parent: int) -> Verdict:
        return Verdict.HOLLOW if is_folder and path in hollow else Verdict.TAKE

    def add(copy: Beneath) -> Listing:
        with Beneath(kept.files, unlock=True) as source:
            new = walk(source)
            new.folders = {p: i for p, i in new.folders.items() if free(p) and p not in before.folders}
            new.files = {p: i for p, i in new.files.items() if free(p) and p not in before.folders}
            _copy(source, copy, new)
            relock(source, new)
        for path in folders:
            with copy.folder(path, create=True):
                pass
        listing = walk(copy, pick)
        relock(copy, listing)
        return listing

    base.listing = now = base.change(add)
    base.mounts = (
        *(mount for mount in base.mounts if mount.target not in own),
        *(Mount(source, target) for target, source in own.items()),
    )
    base.withheld |= frozenset(folders)
    made = {*now.files, *now.folders, *now.hollow}
    base.added = frozenset(made - {*before.files, *before.folders, *before.hollow})


def _parents(path: str) -> Iterable[str]:
    while path := posixpath.dirname(path):
        yield path
