"""The conformance suite of `evals/exports/`, and how logs become conversations and segments."""

from __future__ import annotations

import json
import math
from pathlib import Path

import msgspec
import pytest

from agent.cli.main import main
from evals.export import known_exports, select
from evals.reading import Run, read_run
from evals.segments import segments
from tests.evals import episodes
from tests.evals.episodes import SECRET, SOLVES, episode, keep, make, rows, talk, written
from tests.support.byte_tokens import MERGED, Reply, decode, sampled
from tests.support.made_run import MadeRun, task

FORMATS = known_exports()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return read_run(make(tmp_path_factory.mktemp("made")).folder)


# --- every format ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_what_infrastructure_ended_is_in_no_export(form: str, run: Run, tmp_path: Path) -> None:
    told = json.dumps(written(run, form, tmp_path / "out"))
    there = [unit.instance for unit in run.units if unit.id in told or f'"{unit.instance}' in told]
    assert "task-000" in there
    if form == "swebench":  # which names tasks without a prediction as incomplete
        summary = written(run, form, tmp_path / "again")["pawl+local__tiny.run.json"]
        assert summary["incomplete_ids"] == ["task-003", "task-004"]
        there = summary["submitted_ids"]
    assert not {"task-003", "task-004"} & set(there)


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_run_gives_the_same_bytes(form: str, run: Run, tmp_path: Path) -> None:
    assert written(run, form, tmp_path / "a") == written(run, form, tmp_path / "b") != {}


@pytest.mark.parametrize("form", FORMATS)
def test_what_the_environment_holds_of_secrets_is_masked(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = MadeRun(tmp_path / "run", [task(0, statement=f"Use {SECRET}.")])
    made.roll(made.units[0], patch=f"+{SECRET}\n", detail=SECRET)
    replies = (Reply(f"It is {SECRET}.", (episodes.PUT,)), "Done.")
    keep(made, made.units[0].id, talk(tmp_path / "talk", replies))
    made.grade(made.units[0], True)
    monkeypatch.setenv("SOME_API_KEY", SECRET)
    told = json.dumps(written(read_run(made.folder), form, tmp_path / "out"))
    assert SECRET not in told


@pytest.mark.parametrize("form", FORMATS)
def test_a_person_exports_it(form: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", "export", str(run.folder), "--format", form, "--out", str(tmp_path / "out")]
    assert main(words) == 0
    said = capsys.readouterr()
    assert f"{tmp_path / 'out'}: " in said.out and "left out: 1 ended by infrastructure" in said.err
    assert main(words) == 2 and "is there already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# --- what is left out --------------------------------------------------------------------------------------


def test_why_something_is_left_out(run: Run) -> None:
    patches, tokens = select(run, "patch"), select(run, "tokens")
    infrastructure = {"ended by infrastructure": 1, "cancelled": 1}
    assert patches.left_out == infrastructure and len(patches.episodes) == 4
    assert tokens.left_out == infrastructure | {"not graded yet": 1} and len(tokens.episodes) == 3
    assert [e.unit.instance for e in select(run, "tokens", ["resolved", "clean"]).episodes] == ["task-000"]
    assert [e.unit.instance for e in select(run, "tokens", ["clean"]).episodes] == ["task-000", "task-001"]
    assert select(run, "tokens", ["resolved"]).left_out["not resolved"] == 2


def test_what_could_not_be_graded_has_no_reward_to_learn_from(tmp_path: Path) -> None:
    made = MadeRun(tmp_path / "run", [task(0)])
    made.roll(made.units[0], events=[])
    made.grade(made.units[0], False, error="the sandbox broke")
    run = read_run(made.folder)
    assert select(run, "messages").left_out == {"could not be graded": 1}
    assert len(select(run, "patch").episodes) == 1


def test_at_most_so_many_of_a_task_the_shortest(tmp_path: Path) -> None:
    made = MadeRun(tmp_path / "run", [task(0), task(1)], attempts=3)
    for unit in made.units:
        tokens = {0: 30, 1: 10, 2: 20}[unit.attempt]
        made.roll(unit, usage={"output_tokens": tokens}, patch="x")
        made.grade(unit, True)
    found = select(read_run(made.folder), "patch", per_task=2)
    assert [(e.unit.instance, e.unit.attempt) for e in found.episodes] == [
        ("task-000", 1),
        ("task-001", 1),
        ("task-000", 2),
        ("task-001", 2),
    ]
    assert found.left_out == {"more than 2 of its task": 2}
    assert [e.unit.attempt for e in select(read_run(made.folder), "patch", attempt=1).episodes] == [1, 1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--format", "parquet"), "no format is called 'parquet'; there are atif,"),
        (
            ("--format", "atif", "--filter", "good"),
            "expected some of resolved, unresolved, clean, got 'good'",
        ),
        (("--format", "verl"), "nothing is left to be exported"),
        (("--format", "predictions"), "there are 2: --attempt N"),
    ],
)
def test_what_cannot_be_exported(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = MadeRun(tmp_path / "run", [task(0)], attempts=2)
    made.roll(made.units[0], events=[])
    made.grade(made.units[0], True)
    out = tmp_path / "out"
    assert main(["eval", "export", str(made.folder), *words, "--out", str(out)]) == 2
    assert said in " ".join(capsys.readouterr().err.split()) and not out.exists()


# --- conversations, segments, rewards ----------------------------------------------------------------------


def test_turns_have_their_tokens_and_the_facts_of_their_step(run: Run) -> None:
    (conversation,) = episode(run, 0).conversations
    assert [decode(turn.tokens.completion) for turn in conversation.turns if turn.tokens] == [
        'I write it.[put {"name": "a", "text": "better"}]<end>',
        'Now I look.[look {"name": "zz"}]<end>',
        "It is done.<end>",
    ]
    assert [turn.rewards for turn in conversation.turns] == [
        {"edit_applied": 1.0, "syntax_ok": 1.0, "tool_error": 0.0},
        {"tool_error": 1.0},
        {"tests_newly_passing": 1.0},
    ]


def test_a_conversation_without_drift_is_one_segment(run: Run) -> None:
    (conversation,) = episode(run, 0).conversations
    cut = segments(conversation.turns)
    (segment,) = cut.segments
    assert (cut.drift, cut.untold) == (0, 0)
    last = conversation.turns[-1].tokens
    assert last and segment.token_ids == [*last.prompt, *last.completion]
    parts = "".join(decode([i]) if m else "\0" for i, m in zip(segment.token_ids, segment.mask, strict=True))
    assert [part for part in parts.split("\0") if part] == [
        'I write it.[put {"name": "a", "text": "better"}]<end>',
        'Now I look.[look {"name": "zz"}]<end>',
        "It is done.<end>",
    ]
    assert sum(segment.mask) == sum(turn.reply.usage.output_tokens for turn in conversation.turns)
    assert all(math.isfinite(value) for value in segment.logprobs)
    assert {value for value, kept in zip(segment.logprobs, segment.mask, strict=True) if not kept} == {0.0}
    assert len(segment.logprobs) == len(segment.mask) == len(segment.temperatures) == len(segment.token_ids)


def test_drift_begins_a_segment_and_is_counted(run: Run) -> None:
    """Both of the merged replies come back as bytes: the prompt behind each begins anew."""
    (conversation,) = episode(run, 1).conversations
    cut = segments(conversation.turns)
    assert (len(cut.segments), cut.drift) == (3, 2)
    for segment, reply in zip(cut.segments, episodes.DRIFTS, strict=True):
        own = sampled(reply if isinstance(reply, Reply) else Reply(reply))
        assert [i for i, m in zip(segment.token_ids, segment.mask, strict=True) if m] == own
        assert not set(MERGED) & set(segment.token_ids[: segment.prompt])


def test_a_reply_without_tokens_ends_a_segment_and_is_in_none(run: Run) -> None:
    (conversation,) = episode(run, 2).conversations
    cut = segments(conversation.turns)
    assert (len(cut.segments), cut.drift, cut.untold) == (2, 0, 1)
    assert sum(cut.segments[0].mask) == len(sampled(SOLVES[0]))  # type: ignore[arg-type]


def test_a_compaction_begins_a_segment_that_is_no_drift(tmp_path: Path) -> None:
    made = MadeRun(tmp_path / "run", [task(0)])
    made.roll(made.units[0])
    drifts = Reply("Is it the one?", (episodes.MISSING,), merged=True)
    replies = (Reply("I write it.", (episodes.PUT,)), "It is done.", "SUMMARY", drifts, "Yes.")
    keep(made, made.units[0].id, talk(tmp_path / "talk", replies, squeeze=True))
    made.grade(made.units[0], True)
    run = read_run(made.folder)
    cut = segments(episode(run, 0).conversations[0].turns)
    assert (len(cut.segments), cut.drift, cut.untold) == (3, 1, 0), "the third began by drift"
    assert "SUMMARY" in decode(cut.segments[1].token_ids[: cut.segments[1].prompt])
    first, second = rows(run, "trl-sft", tmp_path)
    assert [row["messages"][-1]["content"] for row in (first, second)] == ["It is done.", "Yes."]
    (trace,) = written(run, "verifiers", tmp_path / "trace").values()
    assert [n["message"]["content"] for n in trace[0]["nodes"] if n.get("sampled")][-1] == "Yes."


def test_a_token_without_a_logprob_is_not_trained_on(run: Run) -> None:
    (turn, *_) = episode(run, 0).conversations[0].turns
    assert turn.tokens is not None
    half = msgspec.structs.replace(turn.tokens, logprobs=(None, *turn.tokens.logprobs[1:]))
    (segment,) = segments([msgspec.structs.replace(turn, tokens=half)]).segments
    assert segment.mask[segment.prompt :] == [False] + [True] * (len(half.completion) - 1)
    assert segment.logprobs[segment.prompt] == 0.0
