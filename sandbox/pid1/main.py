"""The agent's loop: frames in on descriptor 0, frames out on descriptor 1, commands in between.

Requests carry an `id` and an `op` (open, ping, run, terminal, cancel, start, jobs, output, kill, read,
resolve, heads, write, remove, list, search); answers carry the `id` and an `event`: `output` (any number of
times), then one of `done` (of a run or terminal), `job`, `answer` or `failure`. A `cancel` has no answer.
When descriptor 0 hangs up, everything is killed.

One thread, one selector. It installs no signal handler but for SIGCHLD, so that as PID 1 it cannot be killed
or stopped from inside; it is not dumpable, so that no process inside reaches its descriptors through /proc.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import selectors
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Tuple, TypeVar

from sandbox.pid1 import files, frames, processes, relay, terminal, usage
from sandbox.pid1.family import Family
from sandbox.pid1.frames import Header
from sandbox.pid1.guard import LOOK_S, Guard
from sandbox.pid1.jobs import Jobs, state, supervise
from sandbox.pid1.records import WORKER_S, Command, Worker

Answer = Tuple[Header, bytes]
T = TypeVar("T")

_BLOCK = 256 * 1024
_QUEUE_BYTES = 4 * 1024 * 1024
"""Streaming commands are not read while this much waits for the host: they feel its pace."""
_MEASURE = 0
"""The worker that measures the workspace; no request has this number."""


class Agent:
    def __init__(self, channel: frames.Channel) -> None:
        self.channel = channel
        self.selector = selectors.DefaultSelector()
        self.family = Family()
        self.commands = self.family.commands
        self.workers = self.family.workers
        self.jobs = Jobs()
        self.next_look = 0.0
        self.files: files.Files
        self.disk: usage.Disk
        self.guard: Guard
        self.env: dict[str, str] = {}
        self.shell = "/bin/sh"
        self.limits: Header = {}
        self.oom = usage.OutOfMemory()

    # --- frames and descriptors -------------------------------------------------------------------

    def send(self, header: Header, payload: bytes = b"") -> None:
        self.channel.send(header, payload)
        self.flush()

    def flush(self, _mask: int = 0) -> None:
        self.channel.flush()
        queued = self.channel.queued
        self.watch(self.channel.outward, selectors.EVENT_WRITE if queued else 0, self.flush)
        for command in self.commands.values():
            if command.stream:
                self.watch_output(command)

    def watch(self, descriptor: int, events: int, callback: Callable[[int], object]) -> None:
        """Set what is waited for on a descriptor; 0 is nothing."""
        known = descriptor in self.selector.get_map()
        if events and not known:
            self.selector.register(descriptor, events, callback)
        elif known and not events:
            self.selector.unregister(descriptor)

    def watch_output(self, command: Command) -> None:
        if command.output is not None:
            ready = not command.stream or self.channel.queued < _QUEUE_BYTES
            events = selectors.EVENT_READ if ready else 0
            self.watch(command.output, events, lambda _: self.pump(command))

    def close(self, descriptor: int) -> None:
        self.watch(descriptor, 0, self.flush)
        os.close(descriptor)

    def receive(self, _mask: int) -> None:
        for request, payload in self.channel.receive():
            self.handle(request, payload)

    def handle(self, request: Header, payload: bytes) -> None:
        number = request["id"]
        try:
            answer = getattr(self, "op_" + request["op"])(number, request, payload)
        except files.Refused as refused:
            self.fail(number, refused.kind, str(refused))
        except Exception as error:
            self.fail(number, "SandboxError", f"{type(error).__name__}: {error}")
        else:
            if answer is not None:
                self.send(dict(answer[0], id=number, event="answer"), answer[1])

    def fail(self, number: int, kind: str, message: str) -> None:
        printable = message.encode("utf-8", "backslashreplace").decode("utf-8")
        self.send({"id": number, "event": "failure", "kind": kind, "message": printable})

    def die(self) -> None:
        """The host is gone: leave nothing behind. As PID 1 the kernel kills the rest with us."""
        if not self.family.first:
            self.family.end_all()
        os._exit(0)

    # --- requests ---------------------------------------------------------------------------------

    def op_open(self, _number: int, request: Header, _payload: bytes) -> Answer:
        self.limits = request["limits"]
        _restrict(resource.RLIMIT_CORE, 0)
        _restrict(resource.RLIMIT_NOFILE, self.limits["open_files"])
        if self.limits["processes"] is not None:
            _restrict(resource.RLIMIT_NPROC, self.limits["processes"])
        self.env = dict(os.environ)
        self.env.update(request["env"])
        self.shell = processes.shell(self.env.get("PATH", os.defpath))
        if request["relay"]:
            relay.Relay(self.selector, request["relay"]["port"], request["relay"]["socket"])
        os.makedirs(self.env["HOME"], 0o700, exist_ok=True)
        self.files = files.Files(request["root"], self.limits["read_bytes"], self.limits["write_bytes"])
        self.disk = usage.Disk(request["root"], self.limits)
        self.guard = Guard(self.family, self.disk, self.limits)
        facts = {
            "pid": os.getpid(),
            "uid": os.getuid(),
            "python": ".".join(str(part) for part in sys.version_info[:3]),
        }
        facts["writable"] = os.access(request["root"], os.W_OK)
        return facts, b""

    def op_ping(self, _number: int, _request: Header, payload: bytes) -> Answer:
        return {}, payload

    def op_read(self, _number: int, request: Header, _payload: bytes) -> Answer:
        return self.files.read(request["path"], request["offset"], request["limit"])

    def op_resolve(self, _number: int, request: Header, _payload: bytes) -> Answer:
        return {}, json.dumps(self.files.resolve(request["path"])).encode("ascii")

    def op_heads(self, _number: int, request: Header, _payload: bytes) -> Answer:
        return {}, self.files.heads(request["paths"], request["limit"])

    def op_remove(self, _number: int, request: Header, _payload: bytes) -> Answer:
        return self.files.remove(request["path"], request["expect"]), b""

    def op_write(self, _number: int, request: Header, payload: bytes) -> Answer:
        return self.files.write(request["path"], payload, request["expect"], request["mode"]), b""

    def op_list(self, number: int, request: Header, _payload: bytes) -> None:
        path, depth, limit, match = (request[name] for name in ("path", "depth", "limit", "match"))
        self.work(number, lambda: self.files.entries(path, depth, limit, match))

    def op_search(self, number: int, request: Header, _payload: bytes) -> None:
        pattern, path, match = request["pattern"], request["path"], request["match"]
        self.work(number, lambda: self.files.search(pattern, path, match, request["limit"]))

    def op_cancel(self, _number: int, request: Header, _payload: bytes) -> None:
        number = request["target"]
        if number in self.commands:
            self.family.end(self.commands[number])
        for worker in self.workers.values():
            if worker.number == number:
                processes.send(worker.pid, signal.SIGKILL)

    def op_run(self, number: int, request: Header, payload: bytes) -> None:
        command = self.command(number, request)
        try:
            command.pid, command.output, command.source = self.launch(
                command, request, lambda argv, env, folder: processes.start(argv, env, folder, bool(payload))
            )
        except (OSError, ValueError) as error:
            code, message = processes.complaint(self.words(request), error)
            command.keep(message)
            self.report(command, code)
            return
        self.adopt(command)
        if command.source is not None:
            command.pending = memoryview(payload)
            self.watch(command.source, selectors.EVENT_WRITE, lambda _: self.feed(command))

    def op_terminal(self, number: int, request: Header, _payload: bytes) -> None:
        command = terminal.Terminal(number, request, self.limits, self.oom.count(), self.disk.free())
        size = request["rows"], request["columns"]
        self.launch(command, request, lambda argv, env, folder: command.start(argv, env, folder, *size))
        self.adopt(command)

    def op_type(self, number: int, _request: Header, payload: bytes) -> None:
        command = self.commands.get(number)
        if isinstance(command, terminal.Terminal) and command.source is not None:
            waiting = command.type(payload)
            events = selectors.EVENT_WRITE if waiting else 0
            self.watch(command.source, events, lambda _: self.op_type(number, {}, b""))

    def op_resize(self, number: int, request: Header, _payload: bytes) -> None:
        command = self.commands.get(number)
        if isinstance(command, terminal.Terminal) and command.source is not None:
            terminal.resize(command.source, request["rows"], request["columns"])

    def op_start(self, number: int, request: Header, _payload: bytes) -> None:
        self.jobs.check_room(self.limits["jobs"])
        job = self.command(number, request)
        job.pid, job.output = self.launch(job, request, supervise)
        self.adopt(job)
        self.jobs.add(job)
        self.tell(number, job)

    def op_jobs(self, _number: int, _request: Header, _payload: bytes) -> Answer:
        return {}, json.dumps(self.jobs.states()).encode("ascii")

    def op_output(self, number: int, request: Header, _payload: bytes) -> None:
        job = self.jobs.find(request["job"])
        self.drain(job)
        self.tell(number, job, *job.since(request["offset"]))

    def op_kill(self, number: int, request: Header, _payload: bytes) -> None:
        job = self.jobs.find(request["job"])
        if job.ended is None:
            self.family.end(job)
            self.settle()
        self.tell(number, job)

    def tell(self, number: int, job: Command, offset: int = 0, data: bytes = b"") -> None:
        self.send(dict(state(job), id=number, event="job", offset=offset), data)

    def command(self, number: int, request: Header) -> Command:
        return Command(number, request, self.limits, self.oom.count(), self.disk.free())

    def launch(self, command: Command, request: Header, start: Callable[..., T]) -> T:
        """Start what was asked for, in its folder and environment."""
        folder = self.files.folder(request["cwd"])
        env = dict(self.env, PWD=os.path.normpath(os.path.join(self.files.root, request["cwd"])))
        env.update(request["env"])
        env[processes.TAG] = str(command.number)
        try:
            return start(self.words(request), env, folder)
        finally:
            os.close(folder)

    def words(self, request: Header) -> list[str]:
        return request["argv"] or [self.shell, "-c", request["text"]]

    def adopt(self, command: Command) -> None:
        """Look after a process that was just started."""
        self.family.childless = False
        self.commands[command.number] = command
        self.watch_output(command)

    # --- a command's life -------------------------------------------------------------------------

    def feed(self, command: Command) -> None:
        """Give a command more of its input; close it at the end, or when nobody reads."""
        if command.source is None:
            return
        try:
            command.pending = command.pending[os.write(command.source, command.pending[:_BLOCK]) :]
        except BlockingIOError:
            return
        except OSError:
            command.pending = memoryview(b"")
        if not command.pending:
            self.close(command.source)
            command.source = None

    def pump(self, command: Command) -> bool:
        """Take one block of a command's output; False when there is none now."""
        if command.output is None:
            return False
        try:
            data = os.read(command.output, _BLOCK)
        except BlockingIOError:
            return False
        except OSError:  # a terminal that nobody holds any more
            data = b""
        if not data:
            self.close(command.output)
            command.output = None
            return False
        command.keep(data)
        if command.stream:
            self.send({"id": command.number, "event": "output"}, data)
        if command.total > self.limits["stream_bytes"] and not command.overflow:
            command.overflow = True
            self.family.end(command)
        return True

    def drain(self, command: Command) -> None:
        """Take what is in the pipe now; more than the pipe holds is somebody still writing."""
        for _ in range(16):
            if not self.pump(command):
                return

    def expire(self, command: Command) -> None:
        """A deadline passed: first ask the group to end, then end everything."""
        if not command.timed_out:
            command.timed_out = True
            command.deadline = time.monotonic() + self.limits["grace_s"]
            processes.send_group(command.pid, signal.SIGTERM)
            processes.send_group(command.pid, signal.SIGCONT)
        else:
            self.family.end(command)

    def settle(self) -> None:
        """Finish the commands and workers whose own process has ended."""
        for command in [c for c in self.commands.values() if c.status is not None]:
            self.drain(command)
            if not self.family.childless and not command.survivors:
                self.family.end(command)
                self.drain(command)
            self.report(command, command.exit_code())
        for worker in [w for w in self.workers.values() if w.status is not None]:
            self.conclude(worker)

    def report(self, command: Command, code: int | None) -> None:
        self.commands.pop(command.number, None)
        for descriptor in (command.output, command.source):
            if descriptor is not None:
                self.close(descriptor)
        command.output = command.source = None
        command.ended = time.monotonic()
        command.oom |= self.oom.count() > command.oom_events
        if not command.job:
            self.send(*command.result(code))

    # --- workers ----------------------------------------------------------------------------------

    def work(self, number: int, task: Callable[[], object]) -> None:
        worker = Worker(number, task)
        self.family.childless = False
        self.workers[worker.pid] = worker
        if worker.output is not None:
            self.watch(worker.output, selectors.EVENT_READ, lambda _: self.collect(worker))

    def measure(self) -> None:
        """Have the workspace measured, with what the processes of commands hold of it."""
        own = {job.pid for job in self.commands.values() if job.job}.union(self.workers)  # they hide as we do
        pids = self.family.mine(processes.living()) - own
        began = max(command.free.bytes for command in self.commands.values())
        self.work(_MEASURE, lambda: self.disk.measure(self.files.folder("."), pids, began))

    def collect(self, worker: Worker) -> None:
        with suppress(BlockingIOError):
            while worker.output is not None:
                data = os.read(worker.output, _BLOCK)
                worker.data += data
                if not data:
                    self.close(worker.output)
                    worker.output = None

    def conclude(self, worker: Worker) -> None:
        self.collect(worker)
        del self.workers[worker.pid]
        if worker.output is not None:
            self.close(worker.output)
        if worker.number == _MEASURE:
            if worker.status == 0:
                self.guard.measured(json.loads(worker.data))
        elif worker.status == 0:
            self.send({"id": worker.number, "event": "answer"}, bytes(worker.data))
        elif worker.data and os.WIFEXITED(worker.status or 0):
            kind, _, message = worker.data.decode("utf-8", "replace").partition(" ")
            self.fail(worker.number, kind, message)
        else:
            self.fail(worker.number, "SandboxError", f"ended; it may take {WORKER_S} s at most")

    # --- the loop ---------------------------------------------------------------------------------

    def serve(self) -> None:
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self.watch(woken, selectors.EVENT_READ, lambda _: _empty(woken))
        self.watch(self.channel.inward, selectors.EVENT_READ, self.receive)
        while True:
            self.turn()

    def turn(self) -> None:
        deadlines = [c.deadline for c in self.commands.values() if c.deadline is not None]
        if self.commands:
            deadlines.append(self.next_look)
        pause = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        for key, mask in self.selector.select(pause):
            key.data(mask)
        self.family.reap()
        now = time.monotonic()
        for command in list(self.commands.values()):
            if command.status is None and command.deadline is not None and command.deadline <= now:
                self.expire(command)
        if self.commands and now >= self.next_look:
            self.family.wake()
            if self.guard.look() and not any(w.number == _MEASURE for w in self.workers.values()):
                self.measure()
            self.next_look = time.monotonic() + LOOK_S
        self.settle()


def _restrict(which: int, value: int) -> None:
    """Lower a limit of the agent and all that it starts; one that is lower already stays."""
    most = resource.getrlimit(which)[1]
    limit = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(which, (limit, limit))


def _empty(descriptor: int) -> None:
    with suppress(BlockingIOError):
        os.read(descriptor, 4096)


def main() -> None:
    """Take the protocol's descriptors out of reach of the commands, then serve for ever."""
    processes.prctl(processes.PR_SET_DUMPABLE, 0)
    processes.prctl(processes.PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.umask(0o022)
    inward = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)
    outward = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
    nowhere = os.open("/dev/null", os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    os.chdir("/")
    agent = Agent(frames.Channel(inward, outward))
    try:
        agent.serve()
    except frames.HungUp:
        agent.die()
