"""Run trial changes (tools/trials.py) inside the sandbox, where pytest runs the tests."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence

import msgspec

from sandbox.base import Sandbox
from tools.localize import Suspect, is_weak
from tools.probe import probe_env, probe_folder, take
from tools.runners._runner import decoded
from tools.testplan import Planned, by_command
from tools.testreport import TestReport
from tools.trials import Outcome, Trial, reranked, trials

SECONDS = 10.0
"""For all trials together, from when the tests are collected."""
SURE_SECONDS = 5.0
"""The same where what was measured is clear: what was made wrong often shows elsewhere."""
MOST_SECONDS = 20.0
"""The same where failing tests are so slow that ten seconds are few trials."""
_FAILING = 12
_OTHERS = 400
_FILE = "/tmp/pawl-trials-{}"


class _Record(msgspec.Struct):
    """A line of tools/probes/pawl_trials.py, of the type none, base or trial."""

    type: str
    number: int = -1
    of: int = 0
    fixed: int = 0
    kept: int = 0
    broken: int = 0

    @property
    def outcome(self) -> Outcome:
        """What can be: the sandbox may write anything."""
        of = max(self.of, 1)
        return Outcome(min(max(self.fixed, 0), of), of, max(self.kept, 0), max(self.broken, 0))


async def settled(
    sandbox: Sandbox,
    command: str | tuple[str, ...] | Planned,
    report: TestReport,
    sources: Mapping[str, bytes],
    found: Sequence[Suspect],
    *,
    timeout_s: float,
    extra_env: Mapping[str, str] | None = None,
) -> list[Suspect]:
    """`found`, in the order that trials put it in; as it is where they tell nothing."""
    asked = await asyncio.to_thread(trials, report, sources, found)
    seconds, most = (SECONDS, MOST_SECONDS) if is_weak(report, found) else (SURE_SECONDS, SURE_SECONDS)
    went = await tried(
        sandbox,
        command,
        asked,
        report,
        timeout_s=timeout_s,
        seconds=seconds,
        most_seconds=most,
        extra_env=extra_env,
    )
    return reranked(found, went)


async def tried(
    sandbox: Sandbox,
    command: str | tuple[str, ...] | Planned,
    asked: Sequence[Trial],
    report: TestReport,
    *,
    timeout_s: float,
    seconds: float = SECONDS,
    most_seconds: float = MOST_SECONDS,
    extra_env: Mapping[str, str] | None = None,
) -> list[tuple[Trial, Outcome]]:
    """How the trials went that were made in time; none where the tests are not pytest's.

    `report` is that of the same command, `timeout_s` bounds all, the collection of the tests included.
    """
    failing = [
        test.id for test in sorted(report.failures, key=lambda t: (t.hung, t.duration)) if "::" in test.id
    ]
    if report.runner != "pytest" or not failing or not asked:
        return []
    planned = command if isinstance(command, Planned) else by_command(command)
    given, out = (_FILE.format(uuid.uuid4().hex) + end for end in (".json", ".jsonl"))
    await sandbox.run(
        ("sh", "-c", 'cat > "$1"', "sh", given),
        stdin=msgspec.json.encode(
            {
                "seconds": seconds,
                "most": most_seconds,
                "failing": failing[:_FAILING],
                "others": _sample(report, failing),
                "trials": [
                    (t.suspect.path, t.repair.start, t.repair.end, t.repair.text.decode()) for t in asked
                ],
            }
        ),
    )
    own = {**planned.command.env, **(extra_env or {})}
    env = probe_env(out, None, probe_folder(sandbox), sandbox.root, own, plugin="pawl_trials")
    await sandbox.run(
        planned.command.words,
        cwd=planned.project.folder or ".",
        env={**env, "PAWL_TRIALS": given},
        timeout_s=timeout_s,
    )
    data = await take(sandbox, out)
    await take(sandbox, given, 0)
    records = [record for line in data.splitlines() if (record := decoded(line, _Record)) is not None]
    return [
        (asked[each.number], each.outcome)
        for each in records
        if each.type == "trial" and 0 <= each.number < len(asked)
    ]


def _sample(report: TestReport, failing: Sequence[str]) -> list[str]:
    """Tests that pass, the quick ones; those beside failing ones and those of other files by turns."""
    passed = sorted((t for t in report.tests if t.outcome == "passed"), key=lambda t: t.duration)
    files = {name.partition("::")[0] for name in failing}
    near = [test.id for test in passed if test.id.partition("::")[0] in files]
    far = [test.id for test in passed if test.id.partition("::")[0] not in files]
    return near[: max(_OTHERS // 2, _OTHERS - len(far))] + far[: max(_OTHERS // 2, _OTHERS - len(near))]
