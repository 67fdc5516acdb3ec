"""The Test Anything Protocol, version 12 to 14, as tape, tap, prove and others print it."""

from __future__ import annotations

import re

from tools.runners._javascript import stack
from tools.runners._runner import Ran, Runner, tail
from tools.testreport import Outcome, TestReport, TestResult, make_report

_PLAN = re.compile(r"^1\.\.(\d+)", re.MULTILINE)
_TEST = re.compile(
    r"^(not )?ok\b(?: (\d+))?(?: -)? ?([^#\n]*)(?:# ?(SKIP|TODO)\b[^\n]*)?\n"
    r"(.*?)(?=^(?:not )?ok\b|^1\.\.|^# |\Z)",
    re.MULTILINE | re.DOTALL | re.IGNORECASE,
)


class Tap(Runner):
    name = "tap"
    rank = 80

    def read_text(self, ran: Ran) -> TestReport | None:
        plan = _PLAN.search(ran.output)
        if plan is None:
            return None
        tests = [self._test(match, ran) for match in _TEST.finditer(ran.output)]
        if len(tests) < int(plan[1]):
            missing = f"{len(tests)} of {plan[1]} tests were seen"
            tests.append(TestResult("plan", "error", "Incomplete", missing, details=tail(ran.output)))
        return make_report(tests, ran.exit_code, self.name)

    def _test(self, match: re.Match[str], ran: Ran) -> TestResult:
        name, text = match[3].strip() or f"test {match[2]}", match[5]
        outcome: Outcome = "skipped" if match[4] else "failed" if match[1] else "passed"
        if outcome != "failed":
            return TestResult(name, outcome)
        kind, message, frames = stack(re.sub(r"^  ", "", text, flags=re.MULTILINE), ran)
        return TestResult(name, outcome, kind, message[:1000], frames, details=tail(text))


runner = Tap()
