"""Every module of the dialects folder, and what each must find, must not run, and must survive."""

from __future__ import annotations

import json
import pkgutil
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.messages import Assistant, ToolCall, ToolResult, Usage
from agent.models import dialects
from agent.models.assemble import assemble
from agent.models.base import Delta, Finish, ReasoningDelta, TextDelta
from agent.models.dialects import Dialect
from tests.support.dialects import TOOLS, Case, calls_of, cases

ALL = list(dialects.load().values())
CASES = cases()
END = Finish("stop", Usage())


def replied(text: str, reasoning: str = "") -> Assistant:
    return assemble([ReasoningDelta(reasoning), TextDelta(text), END], TOOLS)[0]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_conformance(case: Case) -> None:
    """The calls of each reply, found among all dialects, and in its own words afterwards."""
    message = replied(case.text, case.reasoning)
    assert calls_of(message) == case.calls
    assert message.dialect == (case.dialect if case.calls else "")
    assert (message.text, message.reasoning) == (case.text, case.reasoning)


def test_the_corpus_is_whole() -> None:
    assert len(CASES) >= 400
    assert len({str(case) for case in CASES}) == len(CASES)
    kinds = ("plain", "parallel", "nested JSON", "code", "cut at the end", "cut in the middle", "broken")
    kinds += ("in reasoning", "mixed with prose", "look-alike")
    missing = {
        (dialect.name, kind)
        for dialect in ALL
        for kind in kinds
        if not any(case.dialect == dialect.name and case.name.startswith(kind) for case in CASES)
    }
    assert missing == set()


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(CASES), st.data())
def test_any_split_of_the_stream_gives_the_same_calls(case: Case, data: st.DataObject) -> None:
    deltas: list[Delta] = []
    for kind, text in ((ReasoningDelta, case.reasoning), (TextDelta, case.text)):
        cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
        deltas += [kind(text[a:b]) for a, b in pairwise([0, *sorted(cuts), len(text)])]
    assert assemble([*deltas, END], TOOLS)[0] == replied(case.text, case.reasoning)
