"""The journal of a change to the user's own tree: pre-images on disk before the first file is touched.

Each file is replaced by a rename. An error puts everything back at once (`roll_back`), a crash is put back by
`recover`. A finished journal stays beside its pre-images, so that the change can be undone later.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import uuid
from pathlib import Path

import msgspec

from sandbox.base import NotRegular, SandboxError
from sandbox.beneath import Beneath, Content, Owner
from sandbox.naming import plain
from sandbox.tree import remove_path

JOURNAL, DONE, UNDONE = "journal.json", "done.json", "undone.json"
"""Names of the journal's file: under way, finished, put back."""


class Step(msgspec.Struct):
    """One path's way from `before` to `after`; all of it is written to the journal. Paths are bytes there."""

    path: bytes
    temp: str
    before: str | None
    """Identity of what was there, None when nothing was."""
    after: str | None
    kept: str = ""
    """Name of the pre-image's file."""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    links: int = 1
    """How many names the file had."""
    attributes: dict[str, bytes] = {}
    """Its extended attributes; names in hexadecimal."""

    @property
    def extended(self) -> dict[str, bytes]:
        """The attributes by their names."""
        return {os.fsdecode(bytes.fromhex(name)): value for name, value in self.attributes.items()}

    @property
    def name(self) -> str:
        return os.fsdecode(self.path)

    @property
    def owner(self) -> Owner | None:
        return given_owner((self.uid, self.gid))


class Journal(msgspec.Struct):
    tree: bytes
    steps: list[Step]
    new_folders: list[bytes]
    """Folders that the change makes, outer first."""
    old_folders: dict[str, int]
    """Folders (hexadecimal names) that may vanish as their last file does -> mode."""


class Write(msgspec.Struct):
    """A planned write: `data` None removes. `seen` is what was there at planning."""

    path: str
    seen: Content | None
    data: bytes | None
    mode: int
    merged: bool = False


def identity(data: bytes, mode: int) -> str:
    """Names a content together with its kind and permissions."""
    kind = f"{stat.S_IFMT(mode):o} {stat.S_IMODE(mode) & 0o777 if stat.S_ISREG(mode) else 0:o}"
    return hashlib.sha256(kind.encode() + b"\0" + data).hexdigest()


def seen_identity(user: Beneath, path: str) -> str | None:
    """Identity of what is at a path now; "" for what is no file."""
    try:
        content = user.read(path)
    except (FileNotFoundError, PermissionError):
        return None
    except NotRegular:
        return ""
    return identity(content.data, content.stat.st_mode)


def current(user: Beneath, path: str, gone: set[str]) -> Content | None:
    """The user's file or symlink at a path as it will be met once the paths in `gone` are removed."""
    if any(path.startswith(parent + "/") for parent in gone):
        return None
    info = user.stat(path)
    if info is None:
        return None
    if stat.S_ISDIR(info.st_mode) and any(parent.startswith(path + "/") for parent in gone):
        return None
    return user.read(path)


def begin(tree: Path, user: Beneath, writes: list[Write], journals: Path) -> tuple[Path, Journal]:
    """Save pre-images and journal in a new folder of `journals`, newest last by name, and make them last."""
    journals.mkdir(parents=True, mode=0o700, exist_ok=True)
    place = journals / f"{len(list(journals.iterdir())) + 1:04d}-{uuid.uuid4().hex}"
    place.mkdir(mode=0o700)
    try:
        journal = Journal(os.fsencode(tree), _keep(writes, place), *_folder_changes(user, writes))
        _save(place / "journal.new", msgspec.json.encode(journal))
    except BaseException:
        remove_path(place)
        raise
    (place / "journal.new").rename(place / JOURNAL)
    sync_folder(place)
    return place, journal


def _keep(writes: list[Write], place: Path) -> list[Step]:
    """Save what is there now; returns the steps of the journal."""
    steps = []
    for number, write in enumerate(writes):
        after = None if write.data is None else identity(write.data, write.mode)
        step = Step(os.fsencode(write.path), f".pawl-{place.name}-{number}", None, after)
        if write.seen is not None:
            info = write.seen.stat
            step.before, step.kept = identity(write.seen.data, info.st_mode), f"{number}.before"
            step.mode, step.uid, step.gid, step.mtime_ns = (
                info.st_mode,
                info.st_uid,
                info.st_gid,
                info.st_mtime_ns,
            )
            step.links = 1 if stat.S_ISLNK(info.st_mode) else info.st_nlink
            step.attributes = {os.fsencode(n).hex(): v for n, v in write.seen.attributes.items()}
            _save(place / step.kept, write.seen.data)
        steps.append(step)
    return steps


def _folder_changes(user: Beneath, writes: list[Write]) -> tuple[list[bytes], dict[str, int]]:
    """The new folders and the old ones of a journal."""
    new: dict[str, None] = {}
    old: dict[str, int] = {}
    gone = {write.path for write in writes if write.data is None}
    for write in writes:
        for folder in _folders(write.path):
            replaced = any(folder == path or folder.startswith(path + "/") for path in gone)
            there = None if replaced else user.stat(folder)
            if there is None:
                new[folder] = None
            elif write.data is None:
                old[os.fsencode(folder).hex()] = stat.S_IMODE(there.st_mode)
    return [os.fsencode(folder) for folder in new], old


def load(file: Path) -> Journal:
    """Raises SandboxError when it is no journal."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Journal)
    except msgspec.DecodeError as error:
        raise SandboxError(f"the journal {file} is damaged ({error}); move it away to go on") from error


def hopeless(file: Path) -> str:
    """Why the cut-off change of a journal cannot be put back, whatever is tried; "" when it may be.

    Raises OSError when it cannot be told.
    """
    try:
        journal = load(file)
    except SandboxError as error:
        return f"its journal is damaged ({error.__cause__})"
    tree = Path(os.fsdecode(journal.tree))
    if not tree.is_dir():
        return f"{plain(str(tree))} is gone"
    lost = [step.name for step in journal.steps if step.kept and not (file.parent / step.kept).exists()]
    return f"the old content of {plain(lost[0])} is lost" if lost else ""


def cut_off(state: Path) -> list[Path]:
    """The journals in a workspace's state of changes that a crash cut off."""
    return sorted((state / "accepts").glob(f"*/{JOURNAL}"))


def finish(place: Path, name: str = DONE) -> None:
    """The change is whole: the journal under way gets its last name."""
    (place / JOURNAL).rename(place / name)
    sync_folder(place)


def recover(state: Path) -> tuple[str, ...]:
    """Put back what a change had done when it was cut off; returns the paths. Blocking.

    Raises SandboxError with the remedy when that is not possible: then the journal stays.
    """
    restored: list[str] = []
    for file in cut_off(state):
        try:
            if not (why := hopeless(file)):
                journal = load(file)
                with Beneath(Path(os.fsdecode(journal.tree))) as user:
                    restored += roll_back(user, journal, file.parent)
                finish(file.parent, UNDONE)
        except OSError as error:
            why = str(error)
        if why:
            raise SandboxError(
                f"a change that was cut off cannot be put back: {why}; the old contents are in {file.parent}."
                " `pawl sandbox prune` shows what is past mending, and gives it up with --yes"
            )
    return tuple(restored)


def roll_back(user: Beneath, journal: Journal, place: Path) -> list[str]:
    """Undo the steps that were done, last first; a file that is not as the step left it is left alone."""
    restored = []
    for step in reversed(journal.steps):
        _drop_temp(user, step)
        if seen_identity(user, step.name) != step.after or step.before == step.after:
            continue
        if step.before is None:
            user.remove(step.name, sync=True)
        else:
            restore_folders(user, step.name, journal)
            data = (place / step.kept).read_bytes()
            user.put(
                step.name,
                data,
                step.mode,
                owner=step.owner,
                mtime_ns=step.mtime_ns,
                attributes=step.extended,
                temp=step.temp,
                sync=True,
            )
        restored.append(step.name)
        drop_folders(user, journal)
    drop_folders(user, journal)
    return restored


def given_owner(owner: Owner) -> Owner | None:
    """Only root gives files away; anybody else's are their own."""
    return owner if os.geteuid() == 0 else None


def _drop_temp(user: Beneath, step: Step) -> None:
    head = step.name.rpartition("/")[0]
    with contextlib.suppress(PermissionError):
        user.remove(f"{head}/{step.temp}" if head else step.temp)


def drop_folders(user: Beneath, journal: Journal) -> None:
    """Remove the folders that the change made, when they are empty."""
    for folder in reversed(journal.new_folders):
        head, _, name = os.fsdecode(folder).rpartition("/")
        with contextlib.suppress(OSError), user.folder(head) as fd:
            os.rmdir(name, dir_fd=fd)


def restore_folders(user: Beneath, path: str, journal: Journal) -> None:
    """Make the folders above a path again where they are missing, with the modes they had."""
    for folder in _folders(path):
        if user.stat(folder) is None:
            with user.folder(folder, create=True) as fd:
                mode = journal.old_folders.get(os.fsencode(folder).hex(), 0o755)
                Path(f"/proc/self/fd/{fd}").chmod(mode)


def _folders(path: str) -> list[str]:
    """The folders above a path, outer first."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _save(file: Path, data: bytes) -> None:
    with file.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
