"""What an image is built from: the Dockerfile, its context, and the key that tells one content from another.

All of it lies beneath the project's folder and is read without following a symlink. The Dockerfile is read
once: the text that is checked and hashed is the text that is built.
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import re
import stat
import tarfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

import msgspec

from sandbox.base import FileMissing, SandboxError
from sandbox.beneath import Beneath, Content
from sandbox.devcontainer import PLACES, Build, Devcontainer, DevcontainerError, parse
from sandbox.rules import DENIED, is_cache, is_denied
from sandbox.tree import Listing, Verdict, walk

CONTEXT_BYTES = 512 * 1024 * 1024
_TEXT_BYTES = 256 * 1024
_LOCK_BYTES = 64 * 1024 * 1024
_FORMAT = 1
"""Part of each key; raise it when the same content would be built in another way."""
_APART = ".pawl.dockerfile"
"""Name in the context of a Dockerfile that lies outside of it."""

LOCK_FILES = (
    "Cargo.lock",
    "Gemfile.lock",
    "Pipfile.lock",
    "bun.lock",
    "bun.lockb",
    "composer.lock",
    "conda-lock.yml",
    "environment.yml",
    "go.mod",
    "go.sum",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "package.json",
    "pdm.lock",
    "pnpm-lock.yaml",
    "poetry.lock",
    "pyproject.toml",
    "requirements-dev.txt",
    "requirements.txt",
    "setup.cfg",
    "setup.py",
    "uv.lock",
    "yarn.lock",
)
"""They say which dependencies a project has; looked for beside the Dockerfile, in the context, at the top."""


class Recipe(msgspec.Struct, frozen=True):
    """Everything that decides what is built."""

    project: Path
    build: Build
    text: str
    """The Dockerfile."""
    ignore: str
    """The context's .dockerignore."""
    tag: str
    """`pawl/<project>:<key>`: the same content has the same tag."""


def find_devcontainer(project: Path) -> Devcontainer | None:
    """The project's devcontainer.json, or None; raises DevcontainerError when it cannot be used."""
    with Beneath(project) as root:
        for place in PLACES:
            try:
                return parse(_text(root, place), place)
            except FileMissing:
                continue
            except OSError as error:
                raise DevcontainerError(f"{place}: {error}") from None
    return None


def read_recipe(project: Path, build: Build) -> Recipe:
    """Read what a build is made from and name its image. Raises DevcontainerError for what is not there."""
    with Beneath(project) as root:
        try:
            text = _text(root, build.dockerfile)
            with root.folder(build.context):
                pass
            ignore = _optional(root, posixpath.join(build.context, ".dockerignore"), _TEXT_BYTES)
            places = dict.fromkeys([build.context, posixpath.dirname(build.dockerfile), ""])
            paths = [posixpath.join(place, name) for place in places for name in LOCK_FILES]
            locks = {path: _optional(root, path, _LOCK_BYTES) for path in paths}
        except OSError as error:
            raise DevcontainerError(f"the image cannot be built: {error}") from None
    hashes = [[path, hashlib.sha256(data).hexdigest()] for path, data in locks.items() if data is not None]
    parts = [_FORMAT, text, build.context, sorted(build.args.items()), build.target, hashes]
    parts.append(ignore.decode("utf-8", "replace") if ignore is not None else None)
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
    return Recipe(
        project, build, text, (ignore or b"").decode("utf-8", "replace"), f"{repository(project)}:{key}"
    )


def repository(project: Path) -> str:
    """`pawl/<name>-<hash of the path>`: a name of its own for each folder."""
    real = project.resolve()
    name = re.sub(r"[^a-z0-9]+", "-", real.name.lower())[:40].strip("-") or "project"
    return f"pawl/{name}-{hashlib.sha256(bytes(real)).hexdigest()[:8]}"


def _text(root: Beneath, path: str) -> str:
    content = _regular(root, path, _TEXT_BYTES)
    try:
        return content.data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DevcontainerError(f"{path}: expected text in UTF-8") from None


def _optional(root: Beneath, path: str, limit: int) -> bytes | None:
    try:
        return _regular(root, path, limit).data
    except FileMissing:
        return None


def _regular(root: Beneath, path: str, limit: int) -> Content:
    content = root.read(path, limit)
    if stat.S_ISLNK(content.stat.st_mode):
        raise DevcontainerError(f"{path}: expected a file in the project, got a symlink")
    return content


# --- the context -------------------------------------------------------------------------------------------


def pack(recipe: Recipe, out: IO[bytes]) -> str:
    """Write the context as a tar archive; returns the name that the Dockerfile has in it.

    Left out: `.git`, run-time litter, files that may hold secrets, and what .dockerignore says. Symlinks stay
    symlinks. Raises SandboxError when it is too large.
    """
    context, ignored = recipe.build.context, Ignore(recipe.ignore)
    inside = posixpath.relpath(recipe.build.dockerfile, context or ".")
    name = _APART if inside.startswith("../") else inside

    def pick(path: str, last: str, is_folder: bool, parent: int) -> Verdict:
        skip = last == ".git" or is_cache(last, is_folder) or is_denied(last, DENIED) or path == name
        if is_folder and ignored.has_exceptions:
            return Verdict.SKIP if skip else Verdict.TAKE
        return Verdict.SKIP if skip or ignored.matches(path) else Verdict.TAKE

    with (
        Beneath(recipe.project) as project,
        project.folder(context) as folder,
        Beneath(Path(f"/proc/self/fd/{folder}")) as root,
        tarfile.open(fileobj=out, mode="w") as archive,
    ):
        listing = walk(root, pick)
        _check_size(listing, context)
        for path in listing.folders:
            if path:
                archive.addfile(_member(path, tarfile.DIRTYPE, listing.folders[path].st_mode))
        for path in listing.files:
            _add(archive, root, path)
        text = recipe.text.encode()
        archive.addfile(_member(name, tarfile.REGTYPE, 0o644, len(text)), io.BytesIO(text))
    return name


def _check_size(listing: Listing, context: str) -> None:
    size = sum(info.st_size for info in listing.files.values())
    if size > CONTEXT_BYTES:
        raise SandboxError(
            f"the build context {context or '.'!r} has {size // 10**6:,} MB, over {CONTEXT_BYTES // 10**6}: "
            "name in .dockerignore what the image does not need"
        )


def _add(archive: tarfile.TarFile, root: Beneath, path: str) -> None:
    try:
        data, info, _ = root.read(path, CONTEXT_BYTES)
    except FileMissing:
        return
    if stat.S_ISLNK(info.st_mode):
        member = _member(path, tarfile.SYMTYPE, 0o777)
        member.linkname = data.decode("utf-8", "surrogateescape")
        archive.addfile(member)
    else:
        archive.addfile(_member(path, tarfile.REGTYPE, info.st_mode, len(data)), io.BytesIO(data))


def _member(path: str, kind: bytes, mode: int, size: int = 0) -> tarfile.TarInfo:
    """Without owner, time and set-user-id bit: the same content gives the same archive."""
    member = tarfile.TarInfo(path)
    member.type, member.mode, member.size = kind, stat.S_IMODE(mode) & 0o777, size
    return member


class Ignore:
    """The rules of a .dockerignore: shell patterns from the top, `**`, `!`; the last match counts."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines() if not line.startswith("#")]
        split = [(line.startswith("!"), line.removeprefix("!").strip().strip("/")) for line in lines]
        self._rules = [(keep, posixpath.normpath(line).split("/")) for keep, line in split if line]
        self.has_exceptions = any(keep for keep, _ in self._rules)

    def matches(self, path: str) -> bool:
        """True when a path, or a folder above it, is left out."""
        names = path.split("/")
        left_out = False
        for keep, parts in self._rules:
            if left_out == keep and _names_or_holds(parts, names):
                left_out = not keep
        return left_out


def _names_or_holds(parts: list[str], names: list[str]) -> bool:
    """Whether a pattern's parts name a path or a folder above it. Step by step: no pattern makes it slow."""
    reached = {0}
    for part in parts:
        if part == "**":
            reached = set(range(min(reached), len(names) + 1)) if reached else reached
        else:
            shell = part.replace("[^", "[!")
            reached = {at + 1 for at in reached if at < len(names) and fnmatchcase(names[at], shell)}
    return bool(reached)
