"""The host's side of the agent: the Sandbox protocol over one pair of streams, the same for every backend.

What comes out of a sandbox is not trusted: frames are bounded and decoded strictly, and one that answers what
was never asked ends the sandbox.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import itertools
import json
import re
import shlex
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol

import msgspec

from sandbox import base, outlet
from sandbox.answers import Answer, Done, Event, Failure, Job, JobRow, Outcome, Output, decoder
from sandbox.base import (
    Caps,
    Entry,
    ExecResult,
    FileData,
    JobOutput,
    JobState,
    Keys,
    Matches,
    SandboxDied,
    SandboxError,
    SandboxSpec,
    Size,
    Target,
)

CLEAN_ENV = {
    "HOME": "/tmp/home",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "CI": "1",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "DEBIAN_FRONTEND": "noninteractive",
    "PIP_NO_INPUT": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}
"""The environment of every command, beside PATH. Nothing of the host's."""

_Length = Annotated[int, msgspec.Meta(ge=0)]
_LENGTHS = struct.Struct(">II")
_HEADER_BYTES = 64 * 1024
_PAYLOAD_BYTES = 48 * 1024 * 1024
_REQUEST_BYTES = 4 * 1024 * 1024
_WATCHDOG_S = 5.0
_FILES_S = 60.0
_CANCEL_S = 5.0
_SECOND_LOOK_S = 1.0


class Reader(Protocol):
    """The part of asyncio.StreamReader that is used."""

    async def readexactly(self, n: int, /) -> bytes: ...


class _Call:
    """One request that waits for its answer."""

    def __init__(self, on_output: Callable[[bytes], None] | None) -> None:
        self.on_output = on_output
        self.answer: asyncio.Future[tuple[Outcome, bytes]]
        self.answer = asyncio.get_running_loop().create_future()


class AgentClient:
    """A Sandbox. `end` is the backend's: it ends what runs the agent, is idempotent and does not raise."""

    def __init__(
        self,
        reader: Reader,
        writer: asyncio.StreamWriter,
        spec: SandboxSpec,
        caps: Caps,
        end: Callable[[], Awaitable[None]],
    ) -> None:
        self.caps = caps
        self.limits = spec.limits
        self.root = spec.root
        self._spec = spec
        self._reader, self._writer = reader, writer
        self._end = end
        self._calls: dict[int, _Call] = {}
        self._started: dict[int, str] = {}
        """The commands of the jobs, by number."""
        self._hearers: dict[int, Callable[[bytes], None]] = {}
        """Who hears the output of a job that may still run, by number."""
        self._number = 0
        self._death: SandboxDied | None = None
        self._closing: asyncio.Task[None] | None = None
        self._listener = asyncio.create_task(self._listen())

    async def begin(self, env: Mapping[str, str], *, processes: int | None = None) -> None:
        """Tell the agent what it may do and wait until it is ready. `processes` sets a limit of its own."""
        limits = self.limits
        request = {
            "root": self.root,
            "env": {
                **CLEAN_ENV,
                **env,
                **outlet.environment(self._spec),
                **self._spec.env,
                **outlet.java(self._spec),
            },
            "relay": outlet.relay(self._spec),
            "limits": {
                **msgspec.structs.asdict(limits),
                "processes": processes,
                "crowd_watched": not self.caps.pids,
                "memory_watched": not self.caps.memory,
            },
        }
        answer, _ = await self._ask("open", request)
        if isinstance(answer, Answer) and not answer.writable:
            raise SandboxError(f"the sandbox's user {answer.uid} cannot write in {self._spec.tree}")

    # --- the protocol of sandbox.base ----------------------------------------------------------------------

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
        limits = self.limits
        limit = limits.timeout_s if timeout_s is None else timeout_s
        request = _order(command, cwd, env)
        request |= {"timeout_s": limit, "stream": on_output is not None}
        patience = limit + limits.grace_s + _WATCHDOG_S
        done, output = await self._ask(
            "run", request, stdin, path=cwd, patience=patience, on_output=on_output
        )
        if not isinstance(done, Done) or not 0 <= done.head <= len(output):
            raise await self._condemn("an answer of the wrong kind")
        return ExecResult(
            exit_code=done.exit_code,
            signal=done.signal,
            timed_out=done.timed_out,
            oom=done.oom,
            overflow=done.overflow,
            head=output[: done.head],
            tail=output[done.head :],
            total_bytes=done.total,
            duration_s=done.duration_s,
            killed=done.killed,
            survivors=done.survivors,
            bound=done.bound,
        )

    async def start(
        self,
        command: str | Sequence[str],
        *,
        cwd: str = ".",
        env: Mapping[str, str] | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> JobState:
        text = command if isinstance(command, str) else shlex.join(command)
        request = {**_order(command, cwd, env), "stream": on_output is not None}
        state = (await self._job("start", request, text, path=cwd, on_output=on_output)).state
        self._started[state.job] = text
        return state

    async def jobs(self) -> builtins.list[JobState]:
        _, data = await self._ask("jobs", {})
        rows: builtins.list[JobRow] = await self._rows(data, builtins.list[JobRow])
        self._started = {row.job: self._started.get(row.job, "") for row in rows}
        self._hearers = {row.job: self._hearers[row.job] for row in rows if row.job in self._hearers}
        return [row.state(self._started[row.job]) for row in rows]

    async def output(self, job: int, offset: int = 0) -> JobOutput:
        return await self._job("output", {"job": job, "offset": max(0, offset)}, self._started.get(job, ""))

    async def kill(self, job: int) -> JobState:
        return (await self._job("kill", {"job": job}, self._started.get(job, ""))).state

    async def read(self, path: str, offset: int = 0, limit: int | None = None) -> FileData:
        answer, data = await self._file("read", path, {"offset": offset, "limit": limit})
        return FileData(data=data, size=answer.size, hash=answer.hash, mode=answer.mode)

    async def resolve(self, path: str) -> Target:
        _, data = await self._file("resolve", path, {})
        found: builtins.list[Target] = await self._rows(data, builtins.list[Target], Target.__struct_fields__)
        if len(found) != 1:
            raise await self._condemn("a path that leads to several places")
        return found[0]

    async def heads(self, paths: Sequence[str], limit: int) -> builtins.list[bytes | None]:
        _, data = await self._file("heads", "", {"paths": [*paths], "limit": limit})
        line, _, texts = data.partition(b"\n")
        lengths: builtins.list[int | None] = await self._rows(line, builtins.list[_Length | None])
        ends = [*itertools.accumulate(length or 0 for length in lengths)]
        if len(lengths) != len(paths) or len(texts) != (ends or [0])[-1]:
            raise await self._condemn("heads of other files")
        return [
            None if length is None else texts[end - length : end]
            for length, end in zip(lengths, ends, strict=True)
        ]

    async def write(
        self, path: str, data: bytes, *, expect_hash: str | None = None, mode: int | None = None
    ) -> str:
        if len(data) > self.limits.write_bytes:
            raise base.FileTooLarge(path, f"{path}: more than {self.limits.write_bytes} bytes")
        answer, _ = await self._file("write", path, {"expect": expect_hash, "mode": mode}, data)
        return answer.hash

    async def remove(self, path: str, *, expect_hash: str) -> None:
        await self._file("remove", path, {"expect": expect_hash})

    async def list(
        self, path: str = ".", *, depth: int = 1, limit: int = 10_000, match: str | None = None
    ) -> builtins.list[Entry]:
        """As in Sandbox. Raises re.error for a pattern that is none."""
        re.compile(match or "")
        _, data = await self._file("list", path, {"depth": depth, "limit": limit, "match": match})
        rows: builtins.list[Entry] = await self._rows(data, builtins.list[Entry], Entry.__struct_fields__)
        return rows

    async def search(
        self, pattern: str, path: str = ".", *, match: str | None = None, limit: int = 200
    ) -> Matches:
        """As in Sandbox. Raises re.error for a pattern that is none."""
        re.compile(pattern), re.compile(match or "")
        _, data = await self._file("search", path, {"pattern": pattern, "match": match, "limit": limit})
        lines: Matches = await self._rows(data, Matches)
        return lines

    async def terminal(
        self,
        command: str | Sequence[str],
        *,
        size: Size,
        keys: Keys,
        on_output: Callable[[bytes], None],
        env: Mapping[str, str] | None = None,
    ) -> int:
        request = {**_order(command, ".", env), **msgspec.structs.asdict(size)}
        typists: builtins.list[asyncio.Task[None]] = []

        def begin(number: int) -> None:
            typists.append(asyncio.create_task(self._type(number, keys)))

        try:
            done, _ = await self._ask("terminal", request, patience=None, on_output=on_output, on_sent=begin)
        finally:
            for typist in typists:
                typist.cancel()
            await asyncio.gather(*typists, return_exceptions=True)
        if not isinstance(done, Done):
            raise await self._condemn("an answer of the wrong kind")
        return 128 + (done.signal or 0) if done.exit_code is None else done.exit_code

    async def _type(self, number: int, keys: Keys) -> None:
        async for key in keys:
            if isinstance(key, Size):
                self._send("resize", msgspec.structs.asdict(key), number=number)
            else:
                self._send("type", {}, key, number=number)

    async def aclose(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(SandboxDied("the sandbox was closed")))
        await asyncio.shield(self._closing)

    # --- requests and answers ------------------------------------------------------------------------------

    async def _file(
        self, operation: str, path: str, request: dict[str, Any], data: bytes = b""
    ) -> tuple[Answer, bytes]:
        answer, payload = await self._ask(operation, {"path": path, **request}, data, path=path)
        if not isinstance(answer, Answer):
            raise await self._condemn("an answer of the wrong kind")
        return answer, payload

    async def _job(
        self,
        operation: str,
        request: dict[str, Any],
        command: str,
        path: str = "",
        on_output: Callable[[bytes], None] | None = None,
    ) -> JobOutput:
        def listen(number: int) -> None:
            if on_output is not None:
                self._hearers[number] = on_output

        answer, data = await self._ask(operation, request, path=path, on_sent=listen)
        if not isinstance(answer, Job):
            raise await self._condemn("an answer of the wrong kind")
        if not answer.running:
            self._hearers.pop(answer.job, None)
        return JobOutput(state=answer.state(command), offset=answer.offset, data=data)

    async def _rows(self, data: bytes, kind: Any, fields: tuple[str, ...] = ()) -> Any:
        """Decode a list: json keeps names that are not UTF-8, msgspec then checks the types."""
        try:
            rows = json.loads(data)
            return msgspec.convert(
                [dict(zip(fields, r, strict=True)) for r in rows] if fields else rows, kind
            )
        except (ValueError, TypeError, RecursionError) as error:
            raise await self._condemn("a broken list") from error

    async def _ask(
        self,
        operation: str,
        request: dict[str, Any],
        payload: bytes = b"",
        *,
        path: str = "",
        patience: float | None = _FILES_S,
        on_output: Callable[[bytes], None] | None = None,
        on_sent: Callable[[int], None] = lambda _: None,
    ) -> tuple[Outcome, bytes]:
        call = _Call(on_output)
        number = self._send(operation, request, payload)
        self._calls[number] = call
        on_sent(number)
        try:
            await asyncio.wait([call.answer], timeout=patience)
            if not call.answer.done():  # the host itself may have been stopped: look once more
                await asyncio.wait([call.answer], timeout=_SECOND_LOOK_S)
            if not call.answer.done():
                raise await self._condemn(f"no answer within {patience:.0f} s")
            return call.answer.result()
        except asyncio.CancelledError:
            await self._cancel(number, call)
            raise
        except base.FileError as error:
            raise type(error)(path, f"{path}: {error}") from None
        finally:
            self._calls.pop(number, None)

    def _send(
        self, operation: str, request: dict[str, Any], payload: bytes = b"", *, number: int | None = None
    ) -> int:
        """Send a request, as a further one of an earlier call when its `number` is given."""
        if self._death is not None:
            raise SandboxDied(str(self._death))
        if number is None:
            number = self._number = self._number + 1
        header = json.dumps({"id": number, "op": operation, **request}).encode("ascii")
        if len(payload) > _PAYLOAD_BYTES:
            raise ValueError(f"input of {len(payload)} bytes; at most {_PAYLOAD_BYTES} can be sent")
        if len(header) > _REQUEST_BYTES:
            raise ValueError(f"a command of {len(header)} bytes; at most {_REQUEST_BYTES} can be sent")
        self._writer.write(_LENGTHS.pack(len(header), len(payload)) + header + payload)
        return number

    async def _cancel(self, number: int, call: _Call) -> None:
        """Have the agent kill a command and wait until it has: nothing outlives the cancelled task."""
        if self._death is None:
            self._send("cancel", {"target": number})
            await asyncio.wait([call.answer], timeout=_CANCEL_S)

    async def _listen(self) -> None:
        try:
            while True:
                header, payload = _LENGTHS.unpack(await self._reader.readexactly(_LENGTHS.size))
                if header > _HEADER_BYTES or payload > _PAYLOAD_BYTES:
                    raise SandboxDied("the sandbox sent a frame that is too large")
                text = await self._reader.readexactly(header)
                self._take(decoder.decode(text), await self._reader.readexactly(payload))
        except SandboxDied as error:
            death = error
        except (asyncio.IncompleteReadError, ConnectionError):
            death = SandboxDied("the sandbox ended")
        except msgspec.MsgspecError as error:
            death = SandboxDied(f"the sandbox sent something else than an answer: {error}")
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(death))

    def _take(self, event: Event, payload: bytes) -> None:
        if isinstance(event, Output) and event.id in self._hearers:
            self._hear(event.id, payload)
            return
        call = self._calls.get(event.id)
        if call is None or call.answer.done():
            if 0 < event.id <= self._number:
                return  # of a call that was cancelled meanwhile
            raise SandboxDied("the sandbox answered what was never asked")
        if isinstance(event, Failure):
            call.answer.set_exception(event.error())
            call.answer.exception()  # a cancelled caller may never look
        elif not isinstance(event, Output):
            call.answer.set_result((event, payload))
        elif call.on_output is not None:
            try:
                call.on_output(payload)
            except Exception as error:
                call.answer.set_exception(error)
                self._send("cancel", {"target": event.id})

    def _hear(self, job: int, data: bytes) -> None:
        try:
            self._hearers[job](data)
        except Exception:
            del self._hearers[job]
            self._send("cancel", {"target": job})

    # --- the end -------------------------------------------------------------------------------------------

    async def _condemn(self, reason: str) -> SandboxDied:
        """End a sandbox that does not do as it should; returns the error to raise."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(SandboxDied(f"the sandbox was ended: {reason}")))
        await asyncio.shield(self._closing)
        return SandboxDied(str(self._death))

    async def _close(self, death: SandboxDied) -> None:
        self._death = death
        for call in self._calls.values():
            if not call.answer.done():
                call.answer.set_exception(SandboxDied(str(death)))
                call.answer.exception()
        self._listener.cancel()
        await asyncio.wait([self._listener])
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        await self._end()


def _order(command: str | Sequence[str], cwd: str, env: Mapping[str, str] | None) -> dict[str, Any]:
    """What to start, for the agent; with a text, for the shell that it has."""
    argv = [] if isinstance(command, str) else list(command)
    if not (argv or isinstance(command, str)):
        raise ValueError("an empty command")
    text = command if isinstance(command, str) else ""
    return {"argv": argv, "text": text, "cwd": cwd, "env": dict(env or {})}
