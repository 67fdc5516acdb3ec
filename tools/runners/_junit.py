"""JUnit XML, as many runners write it; read by junitparser. Pure.

The XML comes from a sandbox and is hostile: `_look` walks it first with expat alone and refuses what no
runner writes: a document type (entities come from nowhere else), elements nested or numbered beyond reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple
from xml.parsers import expat

from tools.output import readable
from tools.testreport import Outcome

MAX_BYTES = 16 * 1024 * 1024
"""Of all documents of one run."""
MAX_ELEMENTS = 300_000
MAX_DEPTH = 24


class Case(NamedTuple):
    """A `testcase` as it was written."""

    classname: str
    name: str
    outcome: Outcome
    kind: str = ""
    """The `type` of the failure, mostly the name of an exception."""
    message: str = ""
    text: str = ""
    """What stands in the failure, mostly a stack."""
    output: str = ""
    seconds: float = 0.0
    file: str = ""
    status: str = ""
    """What ctest says beside: run, fail, disabled, notrun."""


class _Refused(ValueError):
    pass


def cases(documents: Iterable[bytes]) -> list[Case] | None:
    """The test cases of all documents; None when none of them is JUnit XML. Broken ones are left out."""
    found: list[Case] | None = None
    left = MAX_BYTES
    for data in documents:
        left -= len(data)
        if left < 0:
            break
        if (more := _cases(data)) is not None:
            found = [*(found or []), *more]
    return found


def _cases(data: bytes) -> list[Case] | None:
    from junitparser import Error, Failure, JUnitXml, JUnitXmlError, Skipped, TestCase

    try:
        _look(data)
        document = JUnitXml.fromstring(data)
    except (expat.ExpatError, _Refused, JUnitXmlError, SyntaxError, ValueError):
        return None

    def read(case: TestCase) -> Case:
        results = case.result
        worst = next((r for kind in (Error, Failure, Skipped) for r in results if isinstance(r, kind)), None)
        outcome: Outcome = "passed"
        if isinstance(worst, Skipped):
            outcome = "skipped"
        elif worst is not None:
            outcome = "error" if isinstance(worst, Error) else "failed"
        own = case._elem.attrib
        said = (worst.type, worst.message, worst.text) if worst is not None else ("", "", "")
        kind, message, text = (readable((part or "").encode("utf-8", "replace")) for part in said)
        printed = readable(
            "\n".join(filter(None, [case.system_out, case.system_err])).encode("utf-8", "replace")
        )
        names = (own.get("classname", ""), own.get("name", ""))
        seconds, place = _seconds(own.get("time", "")), own.get("file", "")
        return Case(*names, outcome, kind, message, text, printed, seconds, place, own.get("status", ""))

    # some write tests outside of suites, and suites in suites
    tests = document._elem.iter("testcase")
    return [read(TestCase.fromelem(element)) for element in tests]  # type: ignore[no-untyped-call]


def _seconds(text: str) -> float:
    try:
        return max(float(text.replace(",", "")), 0.0)
    except ValueError:
        return 0.0


def _look(data: bytes) -> None:
    """Raises _Refused or ExpatError for a document that is not to be built."""
    parser = expat.ParserCreate()
    depth = elements = 0

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > MAX_DEPTH or elements > MAX_ELEMENTS:
            raise _Refused("nested or numbered beyond reason")

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_: object) -> None:
        raise _Refused("it has a document type")

    handlers: dict[str, Callable[..., None]] = {"StartElementHandler": begin, "EndElementHandler": end}
    handlers |= dict.fromkeys(
        ("StartDoctypeDeclHandler", "EntityDeclHandler", "ExternalEntityRefHandler"), refuse
    )
    for name, handler in handlers.items():
        setattr(parser, name, handler)
    parser.Parse(data, True)
