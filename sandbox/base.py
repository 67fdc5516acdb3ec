"""The contract of a sandbox: where every command of the model runs and every file of it lives.

Errors (an environment's trouble; never shown to the model as a command's output)::

    SandboxError
    ├── SandboxUnavailable        no backend can work here; `.remedy` says what to do
    ├── SandboxDied               the container or its agent went away in the middle
    ├── NoSuchJob                 no background job has that number; also LookupError
    ├── TooManyJobs               as many background jobs run as may
    └── FileError                 a typed refusal of one file operation; tools turn it into a ToolError
        ├── PathEscape            the path leads out of the workspace (.., absolute, through a symlink)
        ├── FileMissing           also FileNotFoundError
        ├── NotRegular            directory, FIFO, device, socket
        ├── FileConflict          the file changed since it was read (compare-and-swap failed)
        └── FileTooLarge          over the read or write limit
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import msgspec

BackendName = Literal["docker", "bubblewrap", "local"]


class SandboxError(Exception):
    """Base of everything that goes wrong with the place itself."""

    @property
    def advice(self) -> str:
        """What went wrong, and what mends it where that is known."""
        return str(self)


class SandboxUnavailable(SandboxError):
    """No sandbox can be opened here. `remedy` is one command or sentence for the person."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy

    @property
    def advice(self) -> str:
        return f"{self}; {self.remedy}"


class SandboxDied(SandboxError, ConnectionError):
    """The sandbox ended while it was in use."""


class NoSuchJob(SandboxError, LookupError):
    """No background job has that number, or it ended so long ago that it is forgotten."""


class TooManyJobs(SandboxError):
    """`Limits.jobs` background jobs run already."""


class FileError(SandboxError, OSError):
    """One file operation was refused. `path` is the path as it was asked for."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


class PathEscape(FileError, PermissionError): ...


class FileMissing(FileError, FileNotFoundError): ...


class NotRegular(FileError): ...


class FileConflict(FileError): ...


class FileTooLarge(FileError): ...


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one sandbox. Sizes in bytes, times in seconds."""

    timeout_s: float = 120.0
    grace_s: float = 2.0
    head_bytes: int = 32 * 1024
    tail_bytes: int = 32 * 1024
    stream_bytes: int = 256 * 1024 * 1024
    """Output past this ends the command (it is killed, `ExecResult.overflow` is true)."""
    read_bytes: int = 8 * 1024 * 1024
    write_bytes: int = 16 * 1024 * 1024
    memory_bytes: int = 4 * 1024**3
    tmp_bytes: int = 1024**3
    pids: int = 512
    cpus: float = 2.0
    open_files: int = 4096
    jobs: int = 8
    """Background jobs that may run at once."""
    workspace_bytes: int = 4 * 1024**3
    """Disk that the workspace may take, holes not counted. Who makes it outgrow this is killed."""
    workspace_files: int = 2_000_000
    host_free_bytes: int = 5 * 1024**3
    """Free space that is left to the host's disk. Who writes beyond it is killed."""


class Mount(msgspec.Struct, frozen=True):
    """A host file or folder shown read-only inside the sandbox."""

    source: str
    """"" for an empty folder that has only the mounts in it."""
    target: str
    by_parts: bool = False
    """Show what is in the folder, without files that may hold tokens (`sandbox.parts`)."""


class Outlet(msgspec.Struct, frozen=True):
    """The one way out of a sandbox whose network is cut off: pawl's proxy (`sandbox.proxy`)."""

    folder: str
    """Folder on the host with the proxy's socket."""
    allowed: tuple[str, ...]
    """What the proxy lets through, for a person."""


class SandboxSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what a sandbox is. The model chooses none of it."""

    tree: Path
    """Folder on the host with the candidate's files (a fork of a workspace; never the user's own tree)."""
    root: str
    """Absolute path at which `tree` appears inside; the same as the user's tree has on the host."""
    enter: tuple[str, ...] = ()
    """Words before a command of the host that is to see `tree`, when it is mounted where only they lead."""
    session: str
    """Label that ties containers to their session, for the sweep of orphans."""
    limits: Limits = Limits()
    image: str | None = None
    """Docker image, or None for the host-toolchain view."""
    image_env: dict[str, str] = {}
    """Variables that belong to the image, as its own do: everything that pawl sets comes before them."""
    mounts: tuple[Mount, ...] = ()
    """Further read-only mounts, such as pawl's own test probe and a sanitised `.git`."""
    env: dict[str, str] = {}
    outlet: Outlet | None = None
    """None: no network at all."""
    prefix: str | None = None
    """A folder inside that a set-up made and `mounts` show: its `bin` comes first on the PATH; "" for none.
    With either the project's own virtual environment is not looked for."""
    runtime: str | None = None
    """The runtime that docker starts containers with, such as `runsc`; None is the daemon's own choice."""


class Caps(msgspec.Struct, frozen=True):
    """What this backend truly enforces here. False means: not enforced, and the person is told.

    `sandbox.selfcheck` tries each of them.
    """

    backend: BackendName
    network: bool
    """True when the network is cut off, apart from `allowed`."""
    pids: bool
    memory: bool
    read_scope: bool
    """True when the host's files outside workspace and toolchain cannot be read."""
    image: str = ""
    """What it runs on: an image id, or `host-toolchain`."""
    processes: bool = False
    """True when no process of the host can be seen or signalled, and the agent not be hurt."""
    kernel: bool = False
    """True when the system calls are refused that reach into the kernel's weak spots."""
    tmp: bool = False
    """True when /tmp is of a bounded size."""
    allowed: tuple[str, ...] = ()
    """What can be reached through pawl's proxy."""


class Orphan(msgspec.Struct, frozen=True):
    """Something that a pawl which is no more left running or lying in a backend."""

    id: str
    label: str
    """One line for the person."""
    bytes: int = 0


Bound = Literal["", "processes", "workspace", "files", "host"]
"""What a command was killed for passing, beside time, output and memory: `Limits` has each under its name."""


class ExecResult(msgspec.Struct, frozen=True):
    """How one command ended. Output is stdout and stderr interleaved as written."""

    exit_code: int | None
    """None when a signal or pawl ended it."""
    signal: int | None
    timed_out: bool
    oom: bool
    overflow: bool
    head: bytes
    tail: bytes
    """Last bytes, not overlapping `head`. Both are the whole output unless `total_bytes` is larger."""
    total_bytes: int
    duration_s: float
    killed: int = 0
    """Processes that had to be killed after the command's own end or its timeout."""
    survivors: int = 0
    bound: Bound = ""

    @property
    def ok(self) -> bool:
        return self.exit_code == 0

    @property
    def output(self) -> bytes:
        """Head and tail with a line between them that says how much is left out."""
        gap = self.total_bytes - len(self.head) - len(self.tail)
        if gap <= 0:
            return self.head + self.tail
        return self.head + b"\n... [%d bytes left out] ...\n" % gap + self.tail


class JobState(msgspec.Struct, frozen=True):
    """A background job, running or ended."""

    job: int
    command: str
    running: bool
    exit_code: int | None
    """None while it runs, and when a signal or pawl ended it."""
    signal: int | None
    total_bytes: int
    duration_s: float
    overflow: bool = False
    oom: bool = False
    bound: Bound = ""


class JobOutput(msgspec.Struct, frozen=True):
    """A piece of a job's output. The first and the last bytes are kept, as in ExecResult."""

    state: JobState
    offset: int
    """Where `data` starts; past what was asked for when that is kept no more."""
    data: bytes

    @property
    def next(self) -> int:
        """The offset to ask for next."""
        return self.offset + len(self.data)


class Entry(msgspec.Struct, frozen=True):
    """One name in a folder, not followed when it is a symlink."""

    path: str
    """Relative to the workspace, with `/`; bytes that are not UTF-8 as surrogate escapes."""
    kind: Literal["file", "dir", "symlink", "other"]
    size: int
    mode: int
    mtime_ns: int


class Target(msgspec.Struct, frozen=True):
    """Where a path leads."""

    path: str
    """Relative to the workspace, `.` for it itself: every symlink followed, names that are missing kept."""
    kind: Literal["file", "dir", "other", "missing"]


class FileData(msgspec.Struct, frozen=True):
    """A slice of a regular file."""

    data: bytes
    size: int
    """Size of the whole file."""
    hash: str
    """sha256 of the whole file, hexadecimal; what `write(expect_hash=...)` compares with."""
    mode: int


Matches = list[tuple[str, int, str]]
"""(path, line number from 1, line) of each match of a search."""


class Size(msgspec.Struct, frozen=True):
    """Size of a terminal's window, in characters."""

    rows: int
    columns: int


Keys = AsyncIterator[bytes | Size]
"""What a person types, and the new sizes of the window."""


class Sandbox(Protocol):
    """A place to act in. All is bounded in time and size; SandboxDied means that the place is gone."""

    caps: Caps
    limits: Limits
    root: str
    """Absolute path of the workspace inside."""

    async def run(
        self,
        command: str | Sequence[str],
        *,
        cwd: str = ".",
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout_s: float | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> ExecResult:
        """Run a command to its end and reap everything that it started. A string goes to bash, for which
        people and models write, and to sh where there is none.

        `cwd` is relative to the workspace. stdin is `stdin`, then end of file. A command that cannot be
        started gives exit code 127 (not found) or 126 (not executable) with the reason, as a shell does.
        `on_output` hears the raw output as it comes. Cancelling the task kills the command's processes.
        """
        ...

    async def start(
        self,
        command: str | Sequence[str],
        *,
        cwd: str = ".",
        env: Mapping[str, str] | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> JobState:
        """Start a background job. It runs on whatever ends, times out or is killed beside it.

        It ends by itself, by `kill`, or with the sandbox, and all that it started ends with it. Its stdin is
        empty. `on_output` hears the raw output as it comes, all of it before a state that says that it ended;
        if it raises, the job is killed. Raises TooManyJobs.
        """
        ...

    async def jobs(self) -> Sequence[JobState]:
        """The jobs that run and the last few that ended, in the order of their start."""
        ...

    async def output(self, job: int, offset: int = 0) -> JobOutput:
        """What a job wrote from `offset` on, up to what is kept no more. Raises NoSuchJob."""
        ...

    async def kill(self, job: int) -> JobState:
        """Kill all processes of a job; returns how it ended. Raises NoSuchJob."""
        ...

    async def read(self, path: str, offset: int = 0, limit: int | None = None) -> FileData:
        """Read a regular file; raises a FileError. Symlinks are followed only inside the workspace."""
        ...

    async def resolve(self, path: str) -> Target:
        """Where a path leads. Raises a FileError for what leads out of the workspace or through a file."""
        ...

    async def heads(self, paths: Sequence[str], limit: int) -> Sequence[bytes | None]:
        """The first `limit` bytes of several files in one exchange; None for what is no file to read."""
        ...

    async def write(
        self, path: str, data: bytes, *, expect_hash: str | None = None, mode: int | None = None
    ) -> str:
        """Write atomically (temporary name, rename), making parent folders; returns the new sha256.

        `expect_hash` makes it compare-and-swap: FileConflict when the file differs; "" means that it must not
        exist. The old mode is kept unless `mode` is given.
        """
        ...

    async def remove(self, path: str, *, expect_hash: str) -> None:
        """Take away a regular file that has this sha256, else FileConflict. A symlink is refused."""
        ...

    async def list(
        self, path: str = ".", *, depth: int = 1, limit: int = 10_000, match: str | None = None
    ) -> list[Entry]:
        """Entries under a folder, sorted by path; `depth` -1 walks everything but `.git`.

        `match` is a Python regular expression that the whole path has to fit.
        """
        ...

    async def search(
        self, pattern: str, path: str = ".", *, match: str | None = None, limit: int = 200
    ) -> Matches:
        """The matches of a Python regular expression in text files; `match` as in `list`."""
        ...

    async def terminal(
        self,
        command: str | Sequence[str],
        *,
        size: Size,
        keys: Keys,
        on_output: Callable[[bytes], None],
        env: Mapping[str, str] | None = None,
    ) -> int:
        """Run a command in the workspace on a pseudo-terminal, for a person, for as long as it takes.

        Returns its exit code, 128 + number when a signal ended it. `on_output` hears what it shows, raw: a
        hostile program may show anything. Raises SandboxError when it cannot be started.
        """
        ...

    async def aclose(self) -> None:
        """End every process and remove the container. Idempotent; never raises for what is already gone."""
        ...
