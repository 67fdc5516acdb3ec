"""pytest. The probe's records where it ran, else its text in the long, short and native style."""

from __future__ import annotations

import re

import msgspec

from tools.runners._probe import read_probe
from tools.runners._python import traceback
from tools.runners._runner import Command, Project, Ran, Runner, Selection, tail
from tools.testreport import Frame, Outcome, TestReport, TestResult, make_report

PYTEST = ("python", "-m", "pytest", "-q")
PROBE = "/pawl-probe-"
"""In the paths of the files that the probe writes."""

_CONFIGURED = re.compile(r"^\[(tool\.pytest\b.*|tool:pytest|pytest)\]", re.MULTILINE)
_WANTED = re.compile(r"""(?:^|["'\s])pytest(?:["'\s\[=<>~!,;]|$)""", re.MULTILINE)
_NAME = re.compile(r"(\w+(?:(?:\.|::)\w+)*)(?:\[.*\])?", re.DOTALL)
_IMPORTED = re.compile(r"^[ \t]*(?:import|from) pytest\b", re.MULTILINE)


class Pytest(Runner):
    name = "pytest"
    rank = 10
    programs = frozenset({"pytest", "py.test"})
    manifests = (
        "pyproject.toml",
        "setup.cfg",
        "tox.ini",
        "pytest.ini",
        "requirements-dev.txt",
        "requirements.txt",
    )
    suffixes = (".py",)

    def detect(self, project: Project) -> float:
        if _CONFIGURED.search(project.text("pyproject.toml", "setup.cfg", "tox.ini")) or project.has(
            "pytest.ini"
        ):
            return 0.9
        written = [text for path, text in project.texts.items() if path.endswith(".py")]
        if project.has("conftest.py", "tests/conftest.py") or any(_IMPORTED.search(text) for text in written):
            return 0.8
        if project.tests(*self.suffixes):
            return 0.6 if _WANTED.search(project.text(*self.manifests)) else 0.5
        return 0.0

    def command(self, project: Project, selection: Selection, out: str) -> Command:
        words = [_keyword(pick.name) for pick in selection.picks if not pick.path]
        if words and all(words) and not selection.paths and "-k" not in selection.options:
            return Command((*PYTEST, *selection.options, "-k", " or ".join(words)))
        chosen = ["::".join(filter(None, pick)) for pick in selection.picks]
        return Command((*PYTEST, *selection.options, *chosen))

    def read_files(self, ran: Ran) -> TestReport | None:
        found = next((data for path, data in ran.files.items() if PROBE in path), b"")
        return read_probe(found, ran.exit_code, ran.root)

    def read_text(self, ran: Ran) -> TestReport | None:
        return _read_text(ran)


def _keyword(name: str) -> str:
    """What `-k` finds a test by that is named without its file; empty where no name is that."""
    found = _NAME.fullmatch(name)
    return " and ".join(re.split(r"\.|::", found[1])) if found else ""


runner = Pytest()

_COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed)\b")
_CLOSING = re.compile(
    r"^(?:=+ )?((?:\d+ \w+(?: \w+)?(?:, )?)+|no tests ran|no tests collected) in [\d.]+m?s.*$", re.MULTILINE
)
_NAMED = re.compile(r"^(FAILED|ERROR) ([^\n]+?)(?: - ([^\n]*))?$", re.MULTILINE)
_VERBOSE = re.compile(r"^(\S+\.py::.+?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", re.MULTILINE)
_SECTION = re.compile(r"^_{3,} (.+?) _{3,}$\n(.*?)(?=^_{3,} .+ _{3,}$|^={3,} |\Z)", re.MULTILINE | re.DOTALL)
_PLACE = re.compile(r"^([^\s:>][^:\n]*):(\d+): ?(?:in (\S+)|([\w.]+)(?:: .*)?)?$", re.MULTILINE)
_WORDS: dict[str, Outcome] = {
    "passed": "passed", "xpassed": "passed", "failed": "failed", "error": "error",
    "skipped": "skipped", "xfailed": "skipped", "xfail": "skipped", "xpass": "passed",
}  # fmt: skip


def _read_text(ran: Ran) -> TestReport | None:
    output, exit_code = ran.output, ran.exit_code
    closings = list(_CLOSING.finditer(output))
    sections = list(_SECTION.finditer(output))
    named = list(_NAMED.finditer(output))
    usage = re.search(r"^ERROR: |while loading conftest", output, re.MULTILINE) and exit_code == 4
    if not closings and not usage and not (sections and named):
        return None
    counts: dict[str, int] = {}
    for number, word in _COUNT.findall(closings[-1][1] if closings else ""):
        outcome = _WORDS[word.removesuffix("s") if word.startswith("error") else word]
        counts[outcome] = counts.get(outcome, 0) + int(number)
    tests = {m[1]: TestResult(m[1], _WORDS[m[2].lower()]) for m in _VERBOSE.finditer(output)}
    for match in named:
        exception, _, message = (match[3] or "").partition(": ")
        if message == "" and not exception.isidentifier():
            exception, message = "AssertionError" if exception.startswith("assert") else "", exception
        tests[match[2]] = TestResult(match[2], _WORDS[match[1].lower()], exception, message)
    for match in sections:
        found = _section(match[1], match[2], ran)
        name = next((key for key in tests if _same_test(key, match[1])), match[1])
        tests[name] = msgspec.structs.replace(found, id=name)
    return make_report(list(tests.values()), exit_code, "pytest", counts or None)


def _same_test(name: str, title: str) -> bool:
    title = re.sub(r"^ERROR (?:collecting|at setup of|at teardown of) ", "", title)
    return name == title or name.endswith(("::" + title, "::" + title.replace(".", "::", 1)))


def _section(title: str, text: str, ran: Ran) -> TestResult:
    """A failure's section, in pytest's long, short or native style."""
    explained = [line[1:].strip() for line in text.splitlines() if re.match(r"E( {3}|$)", line)]
    frames: list[Frame] = []
    exception, before = "", 0
    for place in _PLACE.finditer(text):
        defined = re.findall(r"^[ >]+(?:async )?def (\w+)", text[before : place.start()], re.MULTILINE)
        function = place[3] or (defined[-1] if defined else "")
        frames.append(ran.frame(place[1], int(place[2]), function.removesuffix("()")))
        exception, before = place[4] or exception, place.end()
    message = "\n".join(explained)
    head = re.match(r"([\w.]*(?:Error|Exception|Exit|Interrupt|Warning|Failed)\w*)(?:: |$)", message)
    if not exception and message.startswith("assert "):
        exception = "AssertionError"
    if head:
        exception, message = exception or head[1], message[head.end() :]
    for match in re.finditer(r'^E[ \t]+File "([^"\n]+)", line (\d+)$', text, re.MULTILINE):
        # a syntax error: nothing of the file ran, so its place has no frame
        frames.append(ran.frame(match[1], int(match[2])))
    if native := traceback(text, ran):
        exception, message, frames = native[0], native[1], list(native[2])
    outcome: Outcome = "error" if title.startswith("ERROR ") else "failed"
    return TestResult(title, outcome, exception, message, tuple(frames), details=tail(text))
