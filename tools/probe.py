"""Run a check command and understand what it says: the one way in which checks are run.

For pytest a small plugin (tools/probes/pawl_probe.py) is shown read-only inside the sandbox and loaded by the
environment; it tells frames and values that text does not, and ends tests that hang. Other runners, and
pytest where the plugin cannot be loaded, are understood by what they print.
"""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from sandbox.base import ExecResult, Mount, Sandbox
from tools.ending import how_ended
from tools.output import readable
from tools.testparse import parse_output, read_probe
from tools.testreport import CheckResult

PROBE_MOUNT_SOURCE = str(Path(__file__).resolve().parent / "probes")
PROBE_MOUNT_TARGET = "/pawl/probes"
PROBE_MOUNT = Mount(PROBE_MOUNT_SOURCE, PROBE_MOUNT_TARGET)
"""To be among `SandboxSpec.mounts`. Without it checks still run, and are understood by their text."""

PYTEST = ("python", "-m", "pytest", "-q")

_NOT_LOADED = b"No module named 'pawl_probe'"


def selected(selection: str) -> list[str]:
    """A selection of tests as arguments of pytest. Raises ValueError for quotes that do not end."""
    # the id of a parametrised test may hold spaces and quotes
    return [selection.strip()] if "[" in selection else shlex.split(selection)


def probe_folder(sandbox: Sandbox) -> str:
    """Where commands of this sandbox find the plugin; `local` has no mounts and sees the host's folder."""
    return PROBE_MOUNT_SOURCE if sandbox.caps.backend == "local" else PROBE_MOUNT_TARGET


def probe_env(
    out: str, limit_s: float | None, folder: str, root: str, env: Mapping[str, str] | None = None
) -> dict[str, str]:
    """`env` with the plugin switched on; its own PYTHONPATH and PYTEST_ADDOPTS are kept.

    `out` is the file inside the sandbox to write records to, `limit_s` the seconds one test may take.
    """
    base = dict(env or {})
    paths = [folder, *filter(None, [base.get("PYTHONPATH")])]
    options = [*filter(None, [base.get("PYTEST_ADDOPTS")]), "-p pawl_probe"]
    base |= {"PYTHONPATH": ":".join(paths), "PYTEST_ADDOPTS": " ".join(options)}
    base |= {"PAWL_PROBE_OUT": out, "PAWL_PROBE_ROOT": root}
    if limit_s:
        base["PAWL_TEST_LIMIT"] = f"{limit_s:g}"
    return base


async def run_check(
    sandbox: Sandbox,
    command: str | tuple[str, ...],
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
    out = f"/tmp/pawl-probe-{uuid.uuid4().hex}.jsonl"
    env = probe_env(out, limit_s, probe_folder(sandbox), sandbox.root, extra_env)
    env |= {"PAWL_PROBE_COVERAGE": "1"} if coverage else {}
    result = await sandbox.run(command, env=env, timeout_s=timeout_s, on_output=on_output)
    if not result.ok and _NOT_LOADED in result.output:
        plain = dict(extra_env or {})
        result = await sandbox.run(command, env=plain, timeout_s=timeout_s, on_output=on_output)
        return _checked(result, b"", sandbox, timeout_s)
    return _checked(result, await take(sandbox, out), sandbox, timeout_s)


async def take(sandbox: Sandbox, path: str) -> bytes:
    """The whole of a file outside of the workspace, which is then removed; empty when there is none."""
    chunks: list[bytes] = []
    await sandbox.run(("sh", "-c", 'cat "$1" 2>/dev/null; rm -f "$1"', "sh", path), on_output=chunks.append)
    return b"".join(chunks)


def _checked(result: ExecResult, records: bytes, sandbox: Sandbox, timeout_s: float | None) -> CheckResult:
    output, code, root = readable(result.output), result.exit_code, sandbox.root
    report = read_probe(records, code, root) or parse_output(output, code, root)
    if code is not None:
        return CheckResult(result, report, output)
    limit = sandbox.limits.timeout_s if timeout_s is None else timeout_s
    killed = how_ended(result, limit, sandbox.limits)
    return CheckResult(result, report, f"{output.rstrip()}\n[{killed}]\n".lstrip("\n"), killed)
