"""What one `fix` works on, and how long it may try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import msgspec

from agent.bus import Branch
from agent.guards import Budget
from agent.messages import Image
from agent.models.base import Model
from agent.models.families import EditForm
from agent.models.toolmode import ToolMode
from agent.permissions import Mode
from agent.solve.locate import Located
from agent.solve.named import MOST
from agent.solve.repair import TARGETS, Tried, targets
from agent.verify import Verdict, run_and_log, verify
from agent.workbench import Workbench
from sandbox.base import Sandbox
from sandbox.patch import Patch
from tools.localize import Suspect
from tools.testreport import CheckResult

Strategy = Literal["loop", "repair"]

Outcome = Literal["verified", "tests_fail", "no_change", "bad_reply", "limit", "loop", "error"]

SLOWEST_TEST_FACTOR = 10.0
MIN_TEST_LIMIT_S = 10.0
CHECK_SHARE = 1 / 3
"""One run of the check may take this share of the wall time: 600 s of the default."""
BASE_TEST_SHARE = 1 / 60
MIN_BASE_TEST_LIMIT_S = 3.0
"""In the first run one test may take this share of the wall time (30 s of the default) before it counts as
hung; later runs learn from how long tests took."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How to try."""

    strategy: Strategy
    attempts: int
    temperature: float | None = None
    """Fixed temperature; None lets it rise from attempt to attempt."""
    seed: int = 0
    max_steps: int = 40
    reply_tokens: int = 1500
    tool_mode: ToolMode = "auto"
    dialect: str = ""
    edit_form: EditForm = "tool"
    tools: str = ""
    """What the person adds to the default tools or takes away (`tools.toolset.parse_changes`)."""
    refuse_syntax_errors: bool = False
    map_tokens: int = 0
    """How many tokens of the repository's map the first message may have; 0 for none."""
    allow_test_edits: bool = False
    permission_mode: Mode = "yolo"
    """What the tools may do; there is nobody to ask."""
    output_schema: dict[str, Any] | None = None
    """JSON Schema of the answer; see `agent.solve.answer`."""


@dataclass
class Task:
    """The failing command, what is known of the failure, and everything that an attempt needs."""

    command: tuple[str, ...]
    bench: Workbench
    model: Model
    branch: Branch
    plan: Plan
    before: CheckResult
    budget: Budget
    sources: Mapping[str, bytes]
    """Source files of the base by path."""
    located: Located
    check_timeout_s: float
    request: str = ""
    """What the person asked for; empty when the command is all that is to pass."""
    instructions: str = ""
    """What the project says of itself, for the system prompt."""
    images: tuple[Image, ...] = ()
    """Shown with the request."""
    tried: list[Tried] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    """Fingerprints of the candidates that were run; none is run twice."""

    @cached_property
    def targets(self) -> tuple[Suspect, ...]:
        """The functions that a direct repair shows and may rewrite."""
        return targets(self.located.suspects, self.sources, MOST if self.request else TARGETS)

    @property
    def test_limit_s(self) -> float:
        """Seconds that one test may take: far more than any test took before the change."""
        report = self.before.report
        slowest = max((t.duration for t in report.tests if not t.hung), default=0.0) if report else 0.0
        return max(MIN_TEST_LIMIT_S, SLOWEST_TEST_FACTOR * slowest)

    async def run_check(self, sandbox: Sandbox, branch: Branch) -> CheckResult:
        """Run the check on a candidate in the sandbox that it was made in."""
        check, _ = await run_and_log(
            sandbox,
            self.command,
            "attempt",
            branch=branch,
            timeout_s=self.check_timeout_s,
            limit_s=self.test_limit_s,
        )
        return check

    async def verify(self, patch: Patch, branch: Branch) -> Verdict:
        """Run the check on the base plus `patch` alone."""
        verdict = await verify(
            self.bench,
            patch,
            self.command,
            self.before,
            branch=branch,
            timeout_s=self.check_timeout_s,
            limit_s=self.test_limit_s,
            allow_test_edits=self.plan.allow_test_edits,
        )
        if not verdict.verified:
            self.bench.warm()
        return verdict

    def temperature(self, attempt: int) -> float:
        """0 for the first attempt, then rising from 0.5 to 1.0 with the last."""
        if self.plan.temperature is not None:
            return self.plan.temperature
        if attempt == 1:
            return 0.0
        return round(0.5 + 0.5 * (attempt - 2) / max(1, self.plan.attempts - 2), 2)


class Try(msgspec.Struct, frozen=True):
    """How one attempt ended."""

    outcome: Outcome
    detail: str = ""
    patch: Patch = Patch()
    verdict: Verdict | None = None
    edits_alone: bool = False
    """See `agent.permissions.edits_alone`."""
    reply: str = ""
    """What the model said last, where it talks."""
