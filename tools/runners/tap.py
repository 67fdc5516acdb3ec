"""The Test Anything Protocol, as tape, tap, prove and others print it."""

from __future__ import annotations

import re

from tools.runners._runner import Ran, Runner, tail
from tools.runners._tap import results
from tools.testreport import TestReport, TestResult, make_report

_PLAN = re.compile(r"^1\.\.(\d+)(?: *#[^\n]*)?$", re.MULTILINE)
_TOP = re.compile(r"^(?:not )?ok\b", re.MULTILINE)


class Tap(Runner):
    name = "tap"
    rank = 80

    def read_text(self, ran: Ran) -> TestReport | None:
        plan = _PLAN.search(ran.output)
        if plan is None or not (_TOP.search(ran.output) or ran.output.lstrip().startswith("TAP version")):
            return None
        tests = results(ran)
        seen = len(_TOP.findall(ran.output))
        if seen < int(plan[1]):
            missing = f"{seen} of {plan[1]} tests were seen"
            tests.append(TestResult("plan", "error", "Incomplete", missing, details=tail(ran.output)))
        return make_report(tests, ran.exit_code, self.name)


runner = Tap()
