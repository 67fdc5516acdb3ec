"""What the agent inside a sandbox may answer: strictly decoded, for nothing that it says is trusted."""

from __future__ import annotations

import msgspec

from sandbox import base
from sandbox.base import Bound, JobState, SandboxError


class Output(msgspec.Struct, frozen=True, tag_field="event", tag="output"):
    id: int


class Done(msgspec.Struct, frozen=True, tag_field="event", tag="done"):
    id: int
    exit_code: int | None
    signal: int | None
    timed_out: bool
    overflow: bool
    oom: bool
    head: int
    total: int
    duration_s: float
    killed: int
    survivors: int
    bound: Bound = ""


class Answer(msgspec.Struct, frozen=True, tag_field="event", tag="answer"):
    id: int
    size: int = 0
    hash: str = ""
    mode: int = 0
    uid: int = -1
    python: str = ""
    writable: bool = False


class JobRow(msgspec.Struct, frozen=True):
    """One job in the list of all."""

    job: int
    running: bool
    exit_code: int | None
    signal: int | None
    total_bytes: int
    duration_s: float
    overflow: bool
    oom: bool
    bound: Bound

    def state(self, command: str) -> JobState:
        fields = {name: getattr(self, name) for name in JobRow.__struct_fields__}
        return JobState(command=command, **fields)


class Job(JobRow, frozen=True, kw_only=True, tag_field="event", tag="job"):
    """The answer to a request about one job; the payload is a piece of its output."""

    id: int
    offset: int


class Failure(msgspec.Struct, frozen=True, tag_field="event", tag="failure"):
    id: int
    kind: str
    message: str

    def error(self) -> SandboxError:
        """The exception that it stands for; a FileError has no path yet."""
        kind = _ERRORS.get(self.kind, SandboxError)
        return kind("", self.message) if issubclass(kind, base.FileError) else kind(self.message)


Event = Output | Done | Answer | Job | Failure
Outcome = Done | Answer | Job
"""What ends a request that did not fail."""

decoder = msgspec.json.Decoder(Event)

_ERRORS: dict[str, type[SandboxError]] = {
    error.__name__: error
    for error in (
        base.FileError,
        base.PathEscape,
        base.FileMissing,
        base.NotRegular,
        base.FileConflict,
        base.FileTooLarge,
        base.NoSuchJob,
        base.TooManyJobs,
    )
}
