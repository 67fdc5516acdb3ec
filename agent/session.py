"""The session log: one append-only JSONL file that is the only state of a session.

The first line is the header; every other line is one event::

    {"format":"pawl-session/1","id":"20260102-030405-678-9f3a","at":"...","project":"/home/a/b"}
    {"seq":1,"parent":0,"at":"2026-01-02T03:04:05.678Z","turn":1,"step":0,"type":"turn_started","text":"..."}

`seq` counts the events from 1. `parent` is the event that came before on the same branch, 0 for none, so that
the file is a tree: an attempt or a rewind continues at any earlier event. Each line goes out with one write
before anybody hears of the event. A last line without its end is what a crash leaves and is dropped on load;
anything else that is wrong is a SessionError with its line number.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from agent import pictures
from agent.events import Durable

FORMAT = "pawl-session/1"

Clock = Callable[[], datetime]
Scrub = Callable[[str], str]

_SECRET_NAME = re.compile(r"(API_?KEY|TOKEN|SECRET|PASSWORD|ACCESS_KEY)$", re.IGNORECASE)
_SHORTEST_SECRET = 12
_NAMED_IMAGE = b'"sha256":'
"""Only such a line is decoded twice."""
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


class SessionError(Exception):
    """The log cannot be read or written. `line` counts from 1; 0 when it is about the whole file."""

    exit_code = 1

    def __init__(self, path: Path, message: str, line: int = 0) -> None:
        where = f"{path}:{line}" if line else str(path)
        super().__init__(f"{where}: {message}")
        self.path = path
        self.line = line


class SessionInUse(SessionError):
    """Another process writes to the session."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What the whole session is about."""

    format: str = ""
    """Filled in by `SessionLog.create`; no default that a file without it could pass with."""
    id: str
    at: str
    project: str
    """Absolute path of the folder that the session works on."""
    version: str = ""
    """Version of pawl that wrote the file."""
    command: str = ""
    forked: str | msgspec.UnsetType = msgspec.UNSET
    """Id of the session whose events this one begins with; its `--fork` made this one."""


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where and when an event happened. `seq` is 0 for an ephemeral event."""

    seq: int
    parent: int
    at: str
    """ISO 8601, UTC, milliseconds."""
    turn: int
    step: int
    branch: str = ""
    """Label of the branch, such as `attempt-2`; empty for the main one."""


class Record(msgspec.Struct, frozen=True):
    envelope: Envelope
    event: Durable


def utc_now() -> datetime:
    return datetime.now(UTC)


def timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def known_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables whose name says that they hold a secret and whose value is long enough to be one."""
    return {
        name: value
        for name, value in environ.items()
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET
    }


def scrubber(known: Mapping[str, str]) -> Scrub:
    """A function that puts `[NAME]` in place of each secret value; the longest value is looked for first."""
    by_value = {value: f"[{name}]" for name, value in known.items()}
    if not by_value:
        return lambda text: text
    pattern = re.compile("|".join(re.escape(v) for v in sorted(by_value, key=len, reverse=True)))
    return lambda text: pattern.sub(lambda found: by_value[found[0]], text)


def _no_scrub(text: str) -> str:
    return text


def _cleaned(value: Any, scrub: Scrub) -> Any:
    """`value` with every string scrubbed and made valid UTF-8."""
    if isinstance(value, str):
        text = scrub(value)
        return text if text.isascii() else _LONE_SURROGATES.sub("\ufffd", text)
    if isinstance(value, dict):
        return {_cleaned(k, scrub): _cleaned(v, scrub) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_cleaned(v, scrub) for v in value)
    return value


class SessionLog:
    """A session file and its records. The log numbers the events; the caller says where they hang."""

    def __init__(self, path: Path, header: Header, records: list[Record], size: int, scrub: Scrub) -> None:
        self.path = path
        self.header = header
        self.records = records
        self._size = size
        """Bytes of the file up to the end of its last whole line."""
        self._scrub = scrub
        self._fd: int | None = None

    @classmethod
    def create(cls, path: Path, header: Header, *, scrub: Scrub = _no_scrub) -> SessionLog:
        """Make a new file (mode 0600, its folders 0700) with its header; it must not exist yet."""
        _make_private(path.parent)
        header = msgspec.structs.replace(header, format=FORMAT)
        log = cls(path, header, [], 0, scrub)
        try:
            log._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SessionError(path, f"cannot create the session log: {error.strerror}") from error
        try:
            log._lock()
            log._write(msgspec.json.encode(_cleaned(msgspec.to_builtins(header), scrub)))
        except BaseException:
            log.close()
            raise
        return log

    def hide(self, secret: str) -> None:
        """Scrub this value too from now on, such as a key that came from no variable."""
        if len(secret) >= _SHORTEST_SECRET:
            known, also = self._scrub, scrubber({"KEY": secret})
            self._scrub = lambda text: also(known(text))

    @classmethod
    def load(cls, path: Path, *, scrub: Scrub = _no_scrub) -> SessionLog:
        """Read a session. The file is neither opened for writing nor repaired before the first `append`."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SessionError(path, f"cannot read the session log: {error.strerror}") from error
        lines = data.split(b"\n")
        torn = lines.pop()
        if not lines:
            raise SessionError(path, "the header is missing", 1)
        header = _decode_header(path, lines[0])
        records = [_decode_record(path, number, line) for number, line in enumerate(lines[1:], 2)]
        return cls(path, header, records, len(data) - len(torn), scrub)

    @property
    def artifacts(self) -> Path:
        """Folder for whole outputs and other files of this session; made by `new_session`."""
        return _artifacts(self.path)

    def append(
        self, event: Durable, *, at: datetime, parent: int, turn: int, step: int, branch: str = ""
    ) -> Record:
        """Write one event and return it as it was written: numbered, scrubbed and valid UTF-8.

        Raises SessionError when it could not be written whole; the file then ends where it ended before.
        """
        seq = len(self.records) + 1
        if not 0 <= parent < seq:
            raise ValueError(f"event {seq} cannot follow event {parent}")
        envelope = Envelope(seq, parent, timestamp(at), turn, step, branch)
        raw = msgspec.to_builtins(event)
        images = pictures.named(raw)
        body = _cleaned(raw, self._scrub)
        self.claim()
        try:
            pictures.keep(images, _images(self.path))
        except OSError as error:
            raise SessionError(_images(self.path), f"cannot keep an image: {error.strerror}") from error
        self._write(msgspec.json.encode({**msgspec.to_builtins(envelope), **body}))
        if body != raw:
            event = msgspec.convert(pictures.filled(body, _images(self.path)), type=Durable)
        record = Record(envelope, event)
        self.records.append(record)
        return record

    def begin_as(self, other: SessionLog) -> None:
        """Begin with the events of another session, byte for byte, and the images that they show.

        This one has none of its own yet, and nothing of the other is changed.
        """
        assert not self.records
        if _images(other.path).is_dir():
            shutil.copytree(_images(other.path), _images(self.path))
        with other.path.open("rb") as file:
            lines = file.read(other._size).partition(b"\n")[2]
        if lines:
            self._write(lines.removesuffix(b"\n"))
        self.records = list(other.records)

    def line_to(self, leaf: int) -> list[Record]:
        """The records from the root to event number `leaf`, in order; empty for 0."""
        line: list[Record] = []
        while leaf:
            record = self.records[leaf - 1]
            line.append(record)
            leaf = record.envelope.parent
        line.reverse()
        return line

    def close(self) -> None:
        """Let go of the file. Idempotent; a later `append` opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> SessionLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def claim(self) -> None:
        """Open and lock a loaded file, and cut off a torn last line so that the next one starts clean.

        Idempotent. Raises SessionInUse while another process has it, or another SessionError.
        """
        if self._fd is not None:
            return
        try:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            self._lock()
            with self.path.open("rb") as file:
                file.seek(max(self._size - 1, 0))
                tail = file.read()
            if tail[:1] != b"\n" or b"\n" in tail[1:]:
                raise SessionError(self.path, "the file was changed by another process since it was read")
            os.ftruncate(self._fd, self._size)
        except OSError as error:
            self.close()
            raise SessionError(self.path, f"cannot open the session log: {error.strerror}") from error
        except SessionError:
            self.close()
            raise

    def _lock(self) -> None:
        """One writer at a time, as far as the file system knows locks; some network ones do not."""
        assert self._fd is not None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SessionInUse(self.path, "the session is in use by another process") from error
        except OSError:
            pass

    def _write(self, line: bytes) -> None:
        assert self._fd is not None
        data = line + b"\n"
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError as error:
            os.ftruncate(self._fd, self._size)
            raise SessionError(self.path, f"cannot write the session log: {error.strerror}") from error
        self._size += len(data)


def new_session(
    project: Path,
    state: Path,
    *,
    command: str = "",
    version: str = "",
    forked: SessionLog | None = None,
    clock: Clock = utc_now,
    scrub: Scrub = _no_scrub,
) -> SessionLog:
    """Start a session of `project` (absolute) under `state`: the log and its folder for artifacts.

    `forked` is the one that it goes on from.
    """
    now = clock()
    identity = f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}-{secrets.token_hex(2)}"
    header = Header(
        id=identity,
        at=timestamp(now),
        project=str(project),
        version=version,
        command=command,
        forked=forked.header.id if forked else msgspec.UNSET,
    )
    log = SessionLog.create(sessions_folder(project, state) / f"{identity}.jsonl", header, scrub=scrub)
    _make_private(log.artifacts)
    if forked is not None:
        try:
            log.begin_as(forked)
        except BaseException:
            log.close()
            raise
    return log


def sessions_folder(project: Path, state: Path) -> Path:
    """Where the sessions of one project live: readable by name, distinct by the hash of its path."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", project.name) or "root"
    digest = hashlib.sha256(os.fsencode(project)).hexdigest()[:8]
    return state / "sessions" / f"{name[:40]}-{digest}"


def project_sessions(project: Path, state: Path) -> list[Header]:
    """The sessions of one project, newest first. A file that is none is passed over."""
    paths = sorted(sessions_folder(project, state).glob("*.jsonl"), reverse=True)
    return [header for path in paths if (header := read_header(path)) is not None]


def read_header(path: Path) -> Header | None:
    """The header of a session; None for a file that is none."""
    with contextlib.suppress(SessionError, OSError), path.open("rb") as file:
        return _decode_header(path, file.readline())
    return None


def _artifacts(log: Path) -> Path:
    return log.with_suffix("") / "artifacts"


def _images(log: Path) -> Path:
    return _artifacts(log) / "images"


def _make_private(folder: Path) -> None:
    """Make a folder and its missing parents, each with mode 0700."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(mode=0o700, exist_ok=True)


def _decode_header(path: Path, line: bytes) -> Header:
    try:
        header = msgspec.json.decode(line, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SessionError(path, f"not a session header: {error}", 1) from error
    if header.format != FORMAT:
        raise SessionError(path, f"unknown format {header.format!r}, expected {FORMAT!r}", 1)
    return header


def _decode_record(path: Path, number: int, line: bytes) -> Record:
    try:
        envelope = msgspec.json.decode(line, type=Envelope)
        if _NAMED_IMAGE in line:
            whole = pictures.filled(msgspec.json.decode(line), _images(path))
            event = msgspec.convert(whole, type=Durable)
        else:
            event = msgspec.json.decode(line, type=Durable)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SessionError(path, f"not an event: {error}", number) from error
    if envelope.seq != number - 1:
        raise SessionError(path, f"expected event {number - 1}, found {envelope.seq}", number)
    if not 0 <= envelope.parent < envelope.seq:
        raise SessionError(path, f"event {envelope.seq} names parent {envelope.parent}", number)
    return Record(envelope, event)
