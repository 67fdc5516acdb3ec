"""Every edit of the corpus lands or is refused as it says, to the byte."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.edit_cases import Case, cases
from tools.base import ToolError
from tools.matching import apply_edit

CASES = cases()


def test_the_corpus_is_large_and_of_every_kind() -> None:
    assert len(CASES) >= 300 and len({case.id for case in CASES}) == len(CASES)
    groups = Counter(case.group for case in CASES)
    assert set(groups) == {"right", "near", "ambiguous", "wrong", "hostile"} and min(groups.values()) >= 40
    shapes = {"lf", "crlf", "bom", "utf-16-le", "utf-16-be", "latin-1", "no-final-newline"}
    assert {case.shape for case in CASES} == shapes
    assert all((case.after is None) == bool(case.refused) for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_edit_does_as_specified(case: Case) -> None:
    if case.after is None:
        with pytest.raises(ToolError) as caught:
            apply_edit(case.before, case.old, case.new, replace_all=case.replace_all)
        assert case.refused in str(caught.value)
    else:
        done = apply_edit(case.before, case.old, case.new, replace_all=case.replace_all)
        assert done.data == case.after
        if case.how and case.shape == "lf":
            assert done.how == case.how
