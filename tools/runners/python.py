"""A bare traceback of a Python script: the last resort, for what runs no tests."""

from __future__ import annotations

import msgspec

from tools.runners._python import traceback
from tools.runners._runner import Ran, Runner, tail
from tools.testreport import TestReport, TestResult, make_report


class Python(Runner):
    name = "python"
    rank = 99

    def read_text(self, ran: Ran) -> TestReport | None:
        if ran.exit_code == 0 or not (found := traceback(ran.output, ran)):
            return None
        exception, message, frames = found
        test = TestResult("command", "failed", exception, message, frames, details=tail(ran.output))
        return msgspec.structs.replace(make_report([test], ran.exit_code, self.name), collected=0)


runner = Python()
