"""JUnit XML that a hostile workspace may write."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.runners._junit import MAX_BYTES, MAX_DEPTH, cases

ONE = (
    b'<testsuite name="s"><testcase classname="C" name="t" time="1,000.5">'
    b'<failure type="E" message="m">x</failure></testcase></testsuite>'
)
LAUGHS = b"""<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<testsuite><testcase name="&b;"/></testsuite>"""
OUTSIDE = (
    b"""<!DOCTYPE t [<!ENTITY x SYSTEM "file:///etc/passwd">]><testsuite><testcase name="&x;"/></testsuite>"""
)


def test_a_case_is_read_with_all_that_it_says() -> None:
    found = cases([ONE])
    assert found is not None
    [case] = found
    assert (case.classname, case.name, case.outcome, case.kind, case.message, case.text) == (
        "C", "t", "failed", "E", "m", "x",
    )  # fmt: skip
    assert case.seconds == 1000.5


@pytest.mark.parametrize(
    "body",
    [
        b"<testsuites><testcase name='a'/></testsuites>",
        b"<testsuites><testsuite><testsuite><testcase name='a'/></testsuite></testsuite></testsuites>",
        b"<testsuite><testcase name='a'><rerunFailure/><flakyFailure/></testcase></testsuite>",
    ],
)
def test_tests_are_found_wherever_they_stand_and_once(body: bytes) -> None:
    found = cases([body])
    assert found is not None and [(case.name, case.outcome) for case in found] == [("a", "passed")]


@pytest.mark.parametrize(
    "data",
    [
        LAUGHS,
        OUTSIDE,
        LAUGHS.decode().encode("utf-16"),
        b"<!DOCTYPE testsuite><testsuite/>",
        b"<testsuite>" + b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH + b"</testsuite>",
        b"<testsuite>" + b"<testcase/>" * 300_001 + b"</testsuite>",
        b"<html><body/></html>",
        b"not xml",
        b"",
        b"<testsuite><testcase name='torn",
    ],
    ids=["laughs", "outside", "utf-16", "doctype", "deep", "many", "html", "text", "empty", "torn"],
)
def test_what_no_runner_writes_is_refused_at_once(data: bytes) -> None:
    started = time.monotonic()
    assert cases([data]) is None
    assert time.monotonic() - started < 5


def test_a_broken_document_hides_no_other_and_the_sum_is_bounded() -> None:
    assert len(cases([b"<broken", ONE]) or ()) == 1
    assert len(cases([ONE, b" " * MAX_BYTES, ONE]) or ()) == 1


def test_control_codes_of_a_message_are_taken_out() -> None:
    found = cases([b"<testsuite><testcase name='a'><failure message='&#27;'/></testcase></testsuite>"])
    assert found is None  # XML 1.0 has no such character
    shown = cases(
        ["<testsuite><testcase name='a'><error>\x85\x9b31m</error></testcase></testsuite>".encode()]
    )
    assert shown is not None and "\x9b" not in shown[0].text


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    cases([data, b"<testsuite>" + data + b"</testsuite>"])
