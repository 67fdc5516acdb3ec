"""What each format of `evals/exports/` holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evals.export import select
from evals.reading import Run, read_run
from evals.segments import segments
from evals.types import AgentSpec, TestOutcome
from tests.evals.episodes import ask, episode, keep, make, new_session, repair, rows, talk, written
from tests.support.byte_tokens import END, Reply, decode
from tests.support.made_run import MadeRun, task


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return read_run(make(tmp_path_factory.mktemp("made")).folder)


def samples(
    run: Run, form: str, tmp_path: Path
) -> Iterator[tuple[str, float, list[int], list[int], list[float]]]:
    """Instance, reward, prompt with response, mask and logprobs of what follows the prompt."""
    match form:
        case "prime-rl":
            for row in rows(run, form, tmp_path):
                one = row["sample"]
                at = one["mask"].index(True)
                yield (
                    row["instance_id"],
                    row["reward"],
                    one["token_ids"],
                    one["mask"][at:],
                    one["logprobs"][at:],
                )
        case "verl":
            for row in rows(run, form, tmp_path):
                ids = row["prompt_ids"] + row["response_ids"]
                told = row["response_mask"], row["response_logprobs"]
                yield row["extra_fields"]["instance_id"], row["reward_score"], ids, *told
        case "skyrl":
            (batch,) = rows(run, form, tmp_path)
            for n, trajectory in enumerate(batch["trajectory_ids"]):
                ids = batch["prompt_token_ids"][n] + batch["response_ids"][n]
                told = batch["loss_masks"][n], batch["rollout_logprobs"][n]
                yield trajectory["instance_id"], batch["rewards"][n], ids, *told
        case "verifiers":
            for trace in rows(run, form, tmp_path):
                for leaf in _leaves(trace["nodes"]):
                    path = list(_path(trace["nodes"], leaf))
                    ids = [i for node in path for i in node["token_ids"]]
                    mask = [m for node in path for m in node["mask"]]
                    logprobs = iter([v for node in path for v in node.get("logprobs", ())])
                    spread = [next(logprobs) if m else 0.0 for m in mask]
                    at, reward = mask.index(True), trace["rewards"]["reward"]["score"]
                    yield trace["info"]["instance_id"], reward, ids, mask[at:], spread[at:]


def _leaves(nodes: list[dict[str, Any]]) -> list[int]:
    parents = {node["parent"] for node in nodes}
    return [number for number in range(len(nodes)) if number not in parents]


def _path(nodes: list[dict[str, Any]], leaf: int | None) -> Iterator[dict[str, Any]]:
    if leaf is not None:
        yield from _path(nodes, nodes[leaf]["parent"])
        yield nodes[leaf]


@pytest.mark.parametrize("form", ["prime-rl", "verl", "skyrl", "verifiers"])
def test_trainers_get_the_same_tokens_masks_and_rewards(form: str, run: Run, tmp_path: Path) -> None:
    found = list(samples(run, form, tmp_path))
    assert Counter(row[0] for row in found) == {"task-000": 1, "task-001": 3, "task-002": 2}
    assert {(row[0], row[1]) for row in found} == {("task-000", 1.0), ("task-001", 0.0), ("task-002", 0.0)}
    expected = [
        (
            segment.token_ids,
            [int(m) for m in segment.mask[segment.prompt :]],
            segment.logprobs[segment.prompt :],
        )
        for number in range(3)
        for conversation in episode(run, number).conversations
        for segment in segments(conversation.turns).segments
    ]
    assert [(ids, [int(m) for m in mask], logprobs) for _, _, ids, mask, logprobs in found] == expected
    assert all(ids[-1] == END for _, _, ids, _, _ in found)


def test_each_token_has_the_temperature_that_was_asked_for(run: Run, tmp_path: Path) -> None:
    found = [row["sample"] for row in rows(run, "prime-rl", tmp_path)]
    assert [one["temperatures"] for one in found] == [[0.5] * len(one["token_ids"]) for one in found]


def test_the_last_segment_of_a_conversation_is_its_last_step(run: Run, tmp_path: Path) -> None:
    (batch,) = rows(run, "skyrl", tmp_path)
    assert batch["is_last_step"] == [True, False, False, True, False, True]
    assert {len(column) for column in batch.values() if isinstance(column, list)} == {6}


def attempts(folder: Path) -> Run:
    """One rollout by `pawl fix`: the second of three attempts was verified, by its second reply."""
    made = MadeRun(folder / "run", [task(0)])
    made.roll(made.units[0])
    main = new_session(folder / "s.jsonl")
    for number, outcome, texts in (
        (1, "tests_fail", ["worse"]),
        (2, "verified", ["unusable", "right"]),
        (3, "tests_fail", ["late"]),
    ):
        repair(main, number, outcome, None, *texts)
    keep(made, made.units[0].id, main.bus.log.path)
    made.grade(made.units[0], True)
    return read_run(made.folder)


def test_of_several_attempts_the_one_that_was_handed_over_has_the_reward(tmp_path: Path) -> None:
    run = attempts(tmp_path)
    told = {row["messages"][-1]["content"]: row for row in rows(run, "rollouts", tmp_path / "a")}
    assert {text: (row["handed_over"], row["reward"]) for text, row in told.items()} == {
        "worse": (False, 0.0),
        "unusable": (False, 0.0),
        "right": (True, 1.0),
        "late": (False, 0.0),
    }
    (row,) = rows(run, "trl-sft", tmp_path / "b")
    assert row["messages"][-1]["content"] == "right"
    (detail, *others) = written(run, "harbor", tmp_path / "c")[
        f"task-000__{run.units[0].id[:7]}/result.json"
    ]["agent_result"]["rollout_details"]
    assert detail["completion_token_ids"] == [[told["right"]["turns"][0]["event"]]] and len(others) == 3
    (trajectory,) = written(run, "atif", tmp_path / "d").values()
    assert trajectory["steps"][-1]["message"] == "right" and len(trajectory["subagent_trajectories"]) == 3
    (batch,) = rows(run, "skyrl", tmp_path / "e")
    assert batch["rewards"] == [0.0, 0.0, 1.0, 0.0] and batch["is_last_step"] == [True] * 4
    samples = [row["sample"]["temperatures"] for row in rows(run, "prime-rl", tmp_path / "f")]
    assert samples == [[]] * 4, "the server's own temperature is not known"


def test_an_example_ends_with_what_the_model_said(tmp_path: Path) -> None:
    made = MadeRun(tmp_path / "run", [task(0)])
    made.roll(made.units[0], "limit")
    main = new_session(tmp_path / "s.jsonl")
    ask(main, "I read.", ("read", "text", False, "read"))
    keep(made, made.units[0].id, main.bus.log.path)
    made.grade(made.units[0], False)
    (row,) = rows(read_run(made.folder), "trl-sft", tmp_path)
    assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant"]


def test_a_rollout_has_all_there_is(run: Run, tmp_path: Path) -> None:
    first, second, third = rows(run, "rollouts", tmp_path)
    assert [row["tokens"] for row in (first, second, third)] == ["all", "all", "some"]
    assert [row["drift"] for row in (first, second, third)] == [0, 2, 0]
    assert (first["reward"], first["rewards"]) == (
        1.0,
        {"reward": 1.0, "resolved": 1.0, "fail_to_pass": 1.0, "pass_to_pass": 1.0},
    )
    assert second["rewards"]["fail_to_pass"] == 0.0 and third["flags"] == ["conftest"]
    assert first["policy_id"] == second["policy_id"] != "" and first["group_id"] != second["group_id"]
    turn = first["turns"][1]
    text = decode(turn["prompt_token_ids"])
    assert text.endswith("<begin>assistant\n") and "wrote a" in text and turn["finish_reason"] == "tool_calls"
    assert len(turn["logprobs"]) == len(turn["completion_token_ids"])
    assert [tool["function"]["name"] for tool in first["tools"]] == ["look", "put", "shell", "crash"]


def test_a_conversation_to_imitate(run: Run, tmp_path: Path) -> None:
    (row,) = rows(run, "trl-sft", tmp_path, "resolved", "clean")
    roles = [message["role"] for message in row["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "tool", "assistant"]
    call = row["messages"][2]["tool_calls"][0]["function"]
    assert call == {"name": "put", "arguments": {"name": "a", "text": "better"}}
    assert row["tools"][0]["function"]["parameters"]["type"] == "object"


def test_tools_told_in_the_text_stay_in_the_text(tmp_path: Path) -> None:
    agent = AgentSpec(name="pawl", model="m", settings={"tool_mode": "dialect"})
    made = MadeRun(tmp_path / "run", [task(0)], agent=agent)
    made.roll(made.units[0])
    said = '<tool_call>\n{"name": "look", "arguments": {"name": "a"}}\n</tool_call>'
    keep(made, made.units[0].id, talk(tmp_path / "talk", (said, "Done.", "Yes.")))
    made.grade(made.units[0], True)
    (row,) = rows(read_run(made.folder), "trl-sft", tmp_path)
    assert row["tools"] == [] and "crash" in row["messages"][0]["content"]
    assert row["messages"][2] == {"role": "assistant", "content": said}
    assert row["messages"][3]["role"] == "user" and "first" in row["messages"][3]["content"]


def test_swebench_gets_predictions_reports_and_a_summary(run: Run, tmp_path: Path) -> None:
    files = written(run, "swebench", tmp_path / "out")
    lines = files["preds.jsonl"]
    assert lines[0]["model_patch"].startswith("diff --git a/m0.py") and len(lines) == 4
    summary = files["pawl+local__tiny.run.json"]
    assert {
        key: summary[key] for key in ("resolved_ids", "unresolved_ids", "error_ids", "schema_version")
    } == {
        "resolved_ids": ["task-000"],
        "unresolved_ids": ["task-001", "task-002"],
        "error_ids": ["task-005"],
        "schema_version": 2,
    }
    report = files["logs/run_evaluation/run/pawl+local__tiny/task-001/report.json"]["task-001"]
    assert report["tests_status"]["FAIL_TO_PASS"] == {"success": [], "failure": ["t.py::test_a"]}
    assert report["tests_status"]["PASS_TO_PASS"] == {"success": ["t.py::test_b"], "failure": []}
    assert not any("task-005" in name for name in files)


def test_a_skipped_test_was_kept_passing_but_not_made_to_pass(tmp_path: Path) -> None:
    made = MadeRun(tmp_path / "run", [task(0)])
    made.roll(made.units[0], patch="x")
    groups = ("fail_to_pass", "pass_to_pass")
    tests = [TestOutcome(f"t.py::{group}", group, "skipped") for group in groups]  # type: ignore[arg-type]
    made.grade(made.units[0], False, tests=tests)
    files = written(read_run(made.folder), "swebench", tmp_path / "out")
    status = files["logs/run_evaluation/run/pawl+local__tiny/task-000/report.json"]["task-000"][
        "tests_status"
    ]
    assert status["FAIL_TO_PASS"]["failure"] == ["t.py::fail_to_pass"]
    assert status["PASS_TO_PASS"]["success"] == ["t.py::pass_to_pass"]


def test_harbor_gets_a_job_of_trials(run: Run, tmp_path: Path) -> None:
    files = written(run, "harbor", tmp_path / "out")
    assert files["result.json"]["stats"] == {"n_completed_trials": 4, "n_errored_trials": 1}
    title = f"task-000__{run.units[0].id[:7]}"
    result = files[f"{title}/result.json"]
    assert result["verifier_result"]["rewards"] == files[f"{title}/verifier/reward.json"]
    (detail,) = result["agent_result"]["rollout_details"]
    assert [decode(ids)[-11:] for ids in detail["completion_token_ids"]][-1] == " done.<end>"
    limited = files[f"task-001__{run.units[1].id[:7]}/result.json"]
    assert limited["exception_info"]["exception_type"] == "AgentTimeoutError"
    ungraded = files[f"task-005__{run.units[5].id[:7]}/result.json"]
    assert ungraded["verifier_result"] is None


def test_atif_is_valid_by_its_models(run: Run, tmp_path: Path) -> None:
    from atif import Trajectory

    files = written(run, "atif", tmp_path / "out")
    trajectories = [Trajectory.model_validate(value) for value in files.values()]
    sources = [[step.source for step in one.steps] for one in trajectories]
    assert ["system", "user", "agent", "agent", "agent"] in sources
    first = next(one for one in trajectories if one.session_id == run.units[0].id)
    step = first.steps[2]
    assert step.tool_calls and step.tool_calls[0].arguments == {"name": "a", "text": "better"}
    assert step.observation and step.observation.results[0].content == "wrote a"
    assert step.metrics and decode(step.metrics.completion_token_ids or ()).startswith("I write it.")
    assert first.agent.tool_definitions and first.final_metrics


def test_without_recording_there_are_messages_and_no_tokens(tmp_path: Path) -> None:
    made = MadeRun(tmp_path / "run", [task(0)])
    made.roll(made.units[0])
    silent = (Reply("A.", silent=True), Reply("B.", silent=True))
    keep(made, made.units[0].id, talk(tmp_path / "talk", silent))
    made.grade(made.units[0], True)
    run = read_run(made.folder)
    assert select(run, "tokens").left_out == {"no tokens were recorded (pawl eval run --record-tokens)": 1}
    (row,) = rows(run, "rollouts", tmp_path)
    assert (row["tokens"], row["segments"], row["untold_turns"]) == ("none", [], 2)
