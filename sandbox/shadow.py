"""The one seam to git: a bare repository of our own, outside every tree, that sees only bytes we hand it.

Host git is never pointed at a fork, nor at a user's `.git`. Contents come in by `fast-import`, ignore rules
as copies in an empty folder, merges as three temporary files. So attributes, filters, hooks, fsmonitor,
includes and drivers that a repository or a model plants have nothing to act on. Only `listing` looks at a
user's work tree, with a copy of the index: for names and for `.gitignore` files, and it opens no other file.
The environment is built from nothing, because git obeys dozens of variables (GitPython passes the host's on).
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sandbox.base import SandboxError
from sandbox.patch import FileChange, Patch, join_sections, sort_key
from sandbox.programs import need

_CONFIG = """\
[core]
\tbare = true
\trepositoryformatversion = {version}
\thooksPath = /dev/null
\tattributesFile = /dev/null
\texcludesFile = /dev/null
\tfsmonitor = false
\tautocrlf = false
\tquotePath = false
\tprotectHFS = false
\tprotectNTFS = false
[extensions]
\tobjectFormat = {object_format}
[gc]
\tauto = 0
[fastimport]
\tunpackLimit = 0
"""


TIMEOUT_S = 120.0
"""No run takes longer, whatever it is given."""
IGNORING_S = 20.0
"""Nor a run that compares paths with patterns: git's `**` can take it longer than the world has stood."""


class Names(NamedTuple):
    """What git lists of a folder. Paths are relative to it; a folder's ends in `/`."""

    files: list[str]
    """Tracked paths, there or not, and untracked ones; a folder is a repository that is not tracked."""
    links: set[str]
    """Those of them that the index says are repositories: submodules."""
    ignored: list[str]
    """Ignored files and folders that hold nothing but what is ignored."""


class Shadow:
    """A private bare repository at `path`. Blocking; safe to use from several threads at once."""

    def __init__(self, path: Path, object_format: str = "sha1") -> None:
        """`object_format` is the user's repository's, so that binary patches apply there."""
        self._git = need("git")
        self._path = path
        self._serial = 0
        self._lock = threading.Lock()
        for folder in ("objects", "refs", "info", "tmp"):
            (path / folder).mkdir(parents=True)
        (path / "HEAD").write_text("ref: refs/heads/none\n")
        version = 0 if object_format == "sha1" else 1
        config = _CONFIG.format(version=version, object_format=object_format)
        (path / "config").write_text(
            config if version else config.replace("[extensions]\n\tobjectFormat = sha1\n", "")
        )
        (path / "info" / "attributes").write_text("* -text -eol -filter -ident -working-tree-encoding\n")

    def exclude(self, rules: bytes) -> None:
        """Ignore rules besides those that `ignored` is given, as `.git/info/exclude` has them."""
        (self._path / "info" / "exclude").write_bytes(rules)

    def _run(
        self,
        args: Sequence[str],
        stdin: bytes = b"",
        *,
        work_tree: Path | None = None,
        cwd: Path | None = None,
        timeout_s: float = TIMEOUT_S,
        ok: Iterable[int] = (0,),
    ) -> tuple[int, bytes]:
        env = {
            "PATH": os.defpath,
            "LC_ALL": "C",
            "GIT_DIR": str(self._path),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_TERMINAL_PROMPT": "0",
        }
        if work_tree is not None:
            env["GIT_WORK_TREE"] = str(work_tree)
        name = next(word for word in args if not word.startswith(("-", "core.")))
        try:
            done = subprocess.run(
                [self._git, *args],
                input=stdin,
                capture_output=True,
                env=env,
                cwd=cwd or work_tree or self._path,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            where = f" in {cwd}" if cwd else ""
            raise SandboxError(f"git {name}{where} had no end after {timeout_s:g} s") from None
        if done.returncode not in ok:
            reason = done.stderr.decode("utf-8", "replace").strip()
            raise SandboxError(f"git {name} failed with status {done.returncode}: {reason}")
        return done.returncode, done.stdout

    def render(self, changes: Iterable[FileChange]) -> Patch:
        """The patch of these changes (their `text` is not looked at), in git's own words."""
        ordered = sorted(changes, key=lambda change: sort_key(change.path))
        if not ordered:
            return Patch()
        with self._lock:
            self._serial += 1
            old, new = f"refs/diff/{self._serial}/old", f"refs/diff/{self._serial}/new"
        stream: list[bytes] = []
        _commit(stream, old, ((c.path, c.old_mode, c.old) for c in ordered))
        _commit(stream, new, ((c.path, c.new_mode, c.new) for c in ordered))
        self._run(["fast-import", "--quiet", "--depth=0"], b"".join(stream))
        flags = [
            "-r",
            "-p",
            "--binary",
            "--full-index",
            "--no-renames",
            "--no-ext-diff",
            "--no-textconv",
            "--no-color",
        ]
        _, text = self._run(["diff-tree", *flags, old, new])
        return join_sections(ordered, text)

    def ignored(self, paths: Sequence[str], rules: Mapping[str, bytes]) -> set[str]:
        """Those of `paths` (files) that the ignore files in `rules` (path -> content) ignore.

        Raises SandboxError when that cannot be told in IGNORING_S.
        """
        if not paths or not rules:
            return set()
        with tempfile.TemporaryDirectory(dir=self._path / "tmp") as name:
            for path, content in rules.items():
                file = Path(name) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            stdin = b"".join(os.fsencode("./" + path) + b"\0" for path in paths)
            _, out = self._run(
                ["check-ignore", "--no-index", "--stdin", "-z"],
                stdin,
                work_tree=Path(name),
                timeout_s=IGNORING_S,
                ok=(0, 1),
            )
        return {os.fsdecode(path).removeprefix("./") for path in out.split(b"\0") if path}

    def keep(self, name: str, data: bytes) -> None:
        """Put a file of an index into the repository; for `listing`."""
        (self._path / name).write_bytes(data)

    def listing(self, work_tree: Path, folder: Path, timeout_s: float) -> Names:
        """What git lists of `folder`, which `work_tree` holds, by the index that was given to `keep`.

        Git waits for ever on a `.gitignore` that is a FIFO; therefore `timeout_s`.
        """

        def names(*flags: str) -> list[str]:
            args = ["-c", "core.untrackedCache=false", "ls-files", "-z", *flags]
            _, out = self._run(args, work_tree=work_tree, cwd=folder, timeout_s=timeout_s)
            return [os.fsdecode(name) for name in out.split(b"\0") if name]

        index = self._path / "index"
        sparse = index.exists() and b"sdir" in index.read_bytes()
        files, links = [], set()
        for line in names("--stage", *(["--sparse"] if sparse else [])):
            kind, _, path = line.partition("\t")
            if kind.startswith("040000 "):
                continue  # a folder of a sparse index: nothing of it is there
            files.append(path)
            if kind.startswith("160000 "):
                links.add(path)
        untracked = ("--others", "--exclude-standard")
        return Names(files + names(*untracked), links, names(*untracked, "--ignored", "--directory"))

    def merge(self, base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
        """Three-way merge of one file's content; None when both sides changed one place, or it is binary."""
        with tempfile.TemporaryDirectory(dir=self._path / "tmp") as name:
            for part, content in (("ours", ours), ("base", base), ("theirs", theirs)):
                (Path(name) / part).write_bytes(content)
            args = [
                "merge-file",
                "-p",
                "--quiet",
                *(str(Path(name) / part) for part in ("ours", "base", "theirs")),
            ]
            status, merged = self._run(args, ok=range(256))
        return merged if status == 0 else None


def _commit(stream: list[bytes], ref: str, files: Iterable[tuple[str, int | None, bytes | None]]) -> None:
    """Append a commit that holds exactly these files, in the language of fast-import."""
    stream.append(b"commit %s\ncommitter pawl <pawl> 0 +0000\ndata 0\n" % ref.encode())
    for path, mode, data in files:
        if mode is not None and data is not None:
            stream += (b"M %o inline %s\ndata %d\n" % (mode, _quote(path), len(data)), data, b"\n")


def _quote(path: str) -> bytes:
    """A path in C style, as fast-import wants names with odd bytes."""
    body = b"".join(
        b"\\%03o" % byte if byte < 0x20 or byte in b'"\\' or byte >= 0x7F else bytes((byte,))
        for byte in os.fsencode(path)
    )
    return b'"' + body + b'"'
