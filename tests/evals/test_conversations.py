"""Session logs of several attempts as conversations: which one was handed over, what each step brought."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.bus import Branch
from agent.events import ConversationStarted, Noted
from evals.conversations import Conversation, conversations
from tests.evals.episodes import ask, check, new_session, repair


@pytest.fixture
def main(tmp_path: Path) -> Branch:
    return new_session(tmp_path / "s.jsonl")


def found(branch: Branch) -> list[Conversation]:
    branch.bus.log.close()
    return conversations(branch.bus.log.records)


def test_the_verified_attempts_last_reply_is_handed_over_and_checks_go_to_their_reply(main: Branch) -> None:
    main.emit(check("base", 2))
    repair(main, 1, "tests_fail", 1, "worse")
    repair(main, 2, "verified", 5, "unusable", "right")
    repair(main, 10, "tests_fail", 3, "late")
    main.emit(check("clean", 5))
    told = found(main)
    assert [(one.label, one.steps[-1].reply.message.text) for one in told] == [  # type: ignore[union-attr]
        ("attempt-1/reply-1", "worse"),
        ("attempt-2/reply-1", "unusable"),
        ("attempt-2/reply-2", "right"),
        ("attempt-10/reply-1", "late"),
    ]
    assert [one.handed_over for one in told] == [False, False, True, False]
    gains = [[turn.rewards.get("tests_newly_passing") for turn in one.turns] for one in told]
    assert gains[:3] == [[-1.0], [None], [3.0]]


def test_without_a_verified_attempt_the_last_one_counts(main: Branch) -> None:
    repair(main, 1, "tests_fail", None, "a")
    repair(main, 2, "limit", None, "b")
    assert [one.handed_over for one in found(main)] == [False, True]


@pytest.mark.parametrize(
    ("results", "rewards"),
    [
        ((), {}),
        ((("read", "text", False, "read"),), {"tool_error": 0.0}),
        ((("edit", "Done.", False, "write"),), {"edit_applied": 1.0, "syntax_ok": 1.0, "tool_error": 0.0}),
        ((("edit", "Not found.", True, "write"),), {"edit_applied": 0.0, "tool_error": 1.0}),
        (
            (("edit", "Done. It now has a syntax error in line 3: x.", False, "write"),),
            {"edit_applied": 1.0, "syntax_ok": 0.0, "tool_error": 0.0},
        ),
        (
            (("edit", "a.py would have a syntax error in line 3: x. Nothing was changed.", True, "write"),),
            {"edit_applied": 0.0, "syntax_ok": 0.0, "tool_error": 1.0},
        ),
        (
            (("edit", "Done.", False, "write"), ("edit", "Not found.", True, "write")),
            {"edit_applied": 0.0, "syntax_ok": 1.0, "tool_error": 1.0},
        ),
        ((("edit", "no such field", True, ""),), {"tool_error": 1.0}),  # could not be run as written
        (
            (("run_tests", "1 failed, 4 passed\n[exit 1]", False, "execute"),),
            {"tests_newly_passing": 2.0, "tool_error": 0.0},
        ),
        ((("bash", "4 passed", False, "execute"),), {"tool_error": 0.0}),
    ],
)
def test_the_facts_of_a_step(
    main: Branch, results: tuple[tuple[str, str, bool, str], ...], rewards: dict[str, float]
) -> None:
    main.emit(check("base", 2))
    ask(main, "So.", *results)
    (conversation,) = found(main)
    assert conversation.turns[0].rewards == rewards
    assert [result.name for result in conversation.turns[0].results] == [name for name, *_ in results]


def test_tests_are_counted_from_one_run_to_the_next(main: Branch) -> None:
    main.emit(check("base", 2))
    for passed in (3, 3, 1):
        ask(main, "So.", ("run_tests", f"{passed} passed", False, "execute"))
    main.emit(check("clean", 4))
    (conversation,) = found(main)
    assert [turn.rewards["tests_newly_passing"] for turn in conversation.turns] == [1.0, 0.0, 1.0]


def test_a_count_without_one_before_it_says_nothing(main: Branch) -> None:
    ask(main, "So.", ("run_tests", "3 passed", False, "execute"))
    (conversation,) = found(main)
    assert "tests_newly_passing" not in conversation.turns[0].rewards


def test_of_a_conversation_that_was_wound_back_the_newest_line_counts(main: Branch) -> None:
    ask(main, "first")
    place = main.leaf
    ask(main, "forgotten")
    back = main.bus.branch(place)
    ask(back, "second")
    back.emit(Noted("info", "done"))
    (conversation,) = found(main)
    assert [turn.reply.message.text for turn in conversation.turns] == ["first", "second"]


def test_a_conversation_without_a_reply_is_none(main: Branch) -> None:
    main.emit(ConversationStarted("sys", (), "m"))
    assert found(main) == []
