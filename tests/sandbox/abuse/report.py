"""Runs the abuse cases and the checks of their mutations, and prints how each of the 76 went.

    python -m tests.sandbox.abuse.report [FILE.json]

All is read off the names of the tests: `test_case_29_...[docker]` is case 29 on docker, and a test that has
`mutation` or `without_its_defence` in its name proves that a case can fail. Exits with 1 unless each case was
run and has held.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import msgspec

CASES = range(1, 77)
COLUMNS = ("docker", "bubblewrap", "host", "mutation")
"""`host`: pawl's own side alone takes part, or the `local` backend."""

_NUMBERS = re.compile(r"(?<!\d)(\d\d)(?!\d)")
_NAME = re.compile(r"case_\d\d_(\w+)")


class Row(msgspec.Struct):
    number: int
    what: str = "not run"
    went: dict[str, str] = {}
    """Column -> held, failed or skipped; what is left out was not run."""


class Outcome(msgspec.Struct):
    """One test."""

    name: str
    went: str

    @property
    def numbers(self) -> list[int]:
        """The cases that it is about: one, or those of `cases_53_and_56`."""
        _, found, rest = self.name.partition("cases_")
        if found:
            return [int(number) for number in _NUMBERS.findall(rest.partition("_mutation")[0])]
        match = re.search(r"case_(\d\d)_", self.name)
        return [int(match[1])] if match else []

    @property
    def column(self) -> str:
        if "mutation" in self.name or "without_its_defence" in self.name:
            return "mutation"
        return next((name for name in ("docker", "bubblewrap") if name in self.name), "host")


def outcomes(report: Path) -> list[Outcome]:
    """Of pytest's JUnit report."""
    found = []
    for test in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in test}
        went = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "held"
        found.append(Outcome(test.get("name", ""), went))
    return found


def table(tests: Iterable[Outcome]) -> list[Row]:
    """A row for each case; of several tests in one column the worst counts."""
    rows = {number: Row(number, went={}) for number in CASES}
    seen: dict[tuple[int, str], set[str]] = defaultdict(set)
    for test in tests:
        for number in set(test.numbers) & rows.keys():
            seen[number, test.column].add(test.went)
            match = _NAME.search(test.name)
            if match and test.column != "mutation" and rows[number].what == "not run":
                rows[number].what = match[1].replace("_", " ")
    for (number, column), went in seen.items():
        rows[number].went[column] = next(worst for worst in ("failed", "skipped", "held") if worst in went)
    return list(rows.values())


def run() -> tuple[list[Outcome], str]:
    """The outcomes of every test that is about a case, and the end of what pytest said."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = ["-m", "pytest", "-q", "-k", "case", f"--junitxml={report}", "tests/sandbox"]
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
        if not report.is_file():
            raise SystemExit(f"pytest did not run: {done.stdout}{done.stderr}")
        return outcomes(report), done.stdout.strip().splitlines()[-1]


def printed(rows: list[Row]) -> str:
    head = f"{'':>2}  {'case':<74}" + "".join(f"{column:<12}" for column in COLUMNS)
    lines = [head.rstrip()]
    for row in rows:
        went = "".join(f"{row.went.get(column, '-'):<12}" for column in COLUMNS)
        lines.append(f"{row.number:>2}  {row.what:<74.72}{went}".rstrip())
    held = [row for row in rows if holds(row)]
    proved = sum("mutation" in row.went for row in held)
    return "\n".join([*lines, f"{len(held)} of {len(rows)} hold, {proved} of them proved by a mutation"])


def holds(row: Row) -> bool:
    """It was run, not by its mutation alone, and nothing failed or was skipped."""
    return bool(row.went.keys() - {"mutation"}) and set(row.went.values()) == {"held"}


def main() -> int:
    tests, said = run()
    rows = table(tests)
    print(printed(rows))
    print(said)
    if sys.argv[1:]:
        Path(sys.argv[1]).write_text(json.dumps(msgspec.to_builtins(rows), indent=1) + "\n", "utf-8")
    return 0 if all(holds(row) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
