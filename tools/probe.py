"""Run a check command and understand what it says: the one way in which checks are run.

For pytest a small plugin (tools/probes/pawl_probe.py) is shown read-only inside the sandbox and loaded by the
environment; it tells frames and values that text does not, and ends tests that hang. Other runners are
understood by the reports that they write, and all of them, where there is no such report, by their text.
"""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from sandbox.base import ExecResult, FileError, Mount, Sandbox
from tools.ending import how_ended
from tools.output import readable
from tools.runners import Project, Ran, read
from tools.testplan import Planned, by_command, listing, project_in
from tools.testreport import CheckResult

PROBE_MOUNT_SOURCE = str(Path(__file__).resolve().parent / "probes")
PROBE_MOUNT_TARGET = "/pawl/probes"
PROBE_MOUNT = Mount(PROBE_MOUNT_SOURCE, PROBE_MOUNT_TARGET)
"""To be among `SandboxSpec.mounts`. Without it checks still run, and are understood by their text."""

PROBE_OUT = "/tmp/pawl-probe-{}.jsonl"
MAX_REPORT_BYTES = 16 * 1024 * 1024
"""Of all reports of one run."""
MAX_REPORTS = 1000

_PARSED = 8 * 1024 * 1024
"""Bytes of the output that are looked through for results, whatever is kept to be shown."""
_LINE = 8000
_NOT_LOADED = b"No module named 'pawl_probe'"


def selected(selection: str) -> list[str]:
    """A selection of tests as arguments of pytest. Raises ValueError for quotes that do not end."""
    # the id of a parametrised test may hold spaces and quotes
    return [selection.strip()] if "[" in selection else shlex.split(selection)


def probe_folder(sandbox: Sandbox) -> str:
    """Where commands of this sandbox find the plugin; `local` has no mounts and sees the host's folder."""
    return PROBE_MOUNT_SOURCE if sandbox.caps.backend == "local" else PROBE_MOUNT_TARGET


def probe_env(
    out: str,
    limit_s: float | None,
    folder: str,
    root: str,
    env: Mapping[str, str] | None = None,
    plugin: str = "pawl_probe",
) -> dict[str, str]:
    """`env` with a plugin of tools/probes/ switched on; its own PYTHONPATH and PYTEST_ADDOPTS are kept.

    `out` is the file inside the sandbox to write records to, `limit_s` the seconds one test may take.
    """
    base = dict(env or {})
    paths = [folder, *filter(None, [base.get("PYTHONPATH")])]
    options = [*filter(None, [base.get("PYTEST_ADDOPTS")]), f"-p {plugin}"]
    base |= {"PYTHONPATH": ":".join(paths), "PYTEST_ADDOPTS": " ".join(options)}
    base |= {"PAWL_PROBE_OUT": out, "PAWL_PROBE_ROOT": root}
    if limit_s:
        base["PAWL_TEST_LIMIT"] = f"{limit_s:g}"
    return base


async def run_check(
    sandbox: Sandbox,
    command: str | tuple[str, ...] | Planned,
    *,
    timeout_s: float | None = None,
    limit_s: float | None = None,
    extra_env: Mapping[str, str] | None = None,
    on_output: Callable[[bytes], None] | None = None,
    coverage: bool = False,
) -> CheckResult:
    """Run a check command with the probe on, and report.

    `timeout_s` bounds the whole command, `limit_s` one test. When the plugin cannot be imported (a command
    that sets PYTHONPATH itself, an isolated interpreter) the command is run again without it. Variables
    that the plugin needs as well, such as PYTHONPATH, belong in `extra_env`: they are joined there.
    `coverage` asks for `TestReport.lines`, which takes coverage.py inside the sandbox and makes tests
    slower.
    """
    planned = command if isinstance(command, Planned) else by_command(command)
    variables = {"PAWL_PROBE_COVERAGE": "1"} if coverage else {}
    result, ran = await run_planned(
        sandbox,
        planned,
        timeout_s=timeout_s,
        limit_s=limit_s,
        extra_env=extra_env,
        on_output=on_output,
        **variables,
    )
    report = read(ran, planned.runner)
    output = readable(result.output)
    if result.exit_code is not None:
        return CheckResult(result, report, output)
    limit = sandbox.limits.timeout_s if timeout_s is None else timeout_s
    killed = how_ended(result, limit, sandbox.limits)
    return CheckResult(result, report, f"{output.rstrip()}\n[{killed}]\n".lstrip("\n"), killed)


async def run_planned(
    sandbox: Sandbox,
    planned: Planned,
    *,
    timeout_s: float | None = None,
    limit_s: float | None = None,
    extra_env: Mapping[str, str] | None = None,
    on_output: Callable[[bytes], None] | None = None,
    **variables: str,
) -> tuple[ExecResult, Ran]:
    """Run a command with the probe on; how it ended, and all that it left to read."""
    out = PROBE_OUT.format(uuid.uuid4().hex)
    given = {**planned.command.env, **(extra_env or {})}
    env = probe_env(out, limit_s, probe_folder(sandbox), sandbox.root, given) | variables
    reports = Reports(sandbox, planned, f"{out}.begin", out)
    await reports.begin()
    heard = bytearray()

    def hear(data: bytes) -> None:
        heard.extend(data[: _PARSED - len(heard)])
        if on_output is not None:
            on_output(data)

    async def run(env: Mapping[str, str]) -> ExecResult:
        heard.clear()
        cwd = planned.project.folder or "."
        return await sandbox.run(planned.command.words, cwd=cwd, env=env, timeout_s=timeout_s, on_output=hear)

    result = await run(env)
    if not result.ok and _NOT_LOADED in result.output:
        result = await run(given)
    whole = bytes(heard) if len(heard) == result.total_bytes else result.output
    files = await reports.take()
    place = await place_of(sandbox, planned)
    return result, Ran(legible(whole), result.exit_code, sandbox.root, files, place)


def legible(output: bytes) -> str:
    """Output to be searched for results: lines longer than any runner writes would make that slow."""
    return "\n".join(line[:_LINE] for line in readable(output).split("\n"))


async def place_of(sandbox: Sandbox, planned: Planned) -> Project:
    """The project in which the command ran; looked at for a person's command only where it is needed."""
    if planned.project.paths or planned.runner is None or not planned.runner.needs_project:
        return planned.project
    return await project_in(sandbox, await listing(sandbox))


class Reports:
    """The files that a command writes beside its output: its runner's reports, and those of `more`.

    The workspace is hostile, so all is bounded here, and in the workspace only what is newer than the start
    is taken: an old report proves nothing.
    """

    def __init__(self, sandbox: Sandbox, planned: Planned, stamp: str, *more: str) -> None:
        named = planned.command.reports or (planned.runner.reports if planned.runner else ())
        self._sandbox = sandbox
        self._folder = planned.project.folder or "."
        self._files = [*more, *(name for name in named if name.startswith("/"))]
        self._globs = [name for name in named if not name.startswith("/")]
        self._stamp = stamp

    async def begin(self) -> None:
        if self._globs:
            await self._sandbox.run(("touch", self._stamp))

    async def take(self) -> dict[str, bytes]:
        """Path -> content, together at most `MAX_REPORT_BYTES`; those outside the workspace are removed."""
        found: dict[str, bytes] = {}
        left = MAX_REPORT_BYTES
        for path in self._files:
            if data := await take(self._sandbox, path, left):
                found[path] = data
                left -= len(data)
        for path in await self._written():
            with suppress(FileError):
                data = (await self._sandbox.read(path, limit=left)).data
                found[path] = data
                left -= len(data)
        return found

    async def _written(self) -> list[str]:
        if not self._globs:
            return []
        words = [
            "find",
            self._folder,
            "-name",
            "node_modules",
            "-prune",
            "-o",
            "-newer",
            self._stamp,
            "-type",
            "f",
        ]
        rules = [word for glob in self._globs for word in ("-o", "-path", glob)][1:]
        listed = await self._sandbox.run((*words, "(", *rules, ")", "-print"))
        await self._sandbox.run(("rm", "-f", self._stamp))
        return sorted(listed.head.decode("utf-8", "surrogateescape").splitlines())[:MAX_REPORTS]


async def take(sandbox: Sandbox, path: str, limit: int = MAX_REPORT_BYTES) -> bytes:
    """The first `limit` bytes of a file outside of the workspace, which is then removed; empty for none."""
    data = bytearray()
    script = f'head -c {max(limit, 0)} "$1" 2>/dev/null; rm -f "$1"'
    await sandbox.run(
        ("sh", "-c", script, "sh", path),
        on_output=lambda more: data.extend(more[: max(limit, 0) - len(data)]),
    )
    return bytes(data)
