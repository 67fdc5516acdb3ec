"""Patches of other programs, taken into a run and scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.cli.main import main
from evals.agents import imported
from evals.benchmark import DatasetError
from evals.benchmarks import smoke
from evals.imports import read_predictions
from evals.store import Run
from evals.types import AgentSpec

PATCH = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"


def entry(instance: str, patch: str | None = PATCH, model: str = "m/1") -> dict[str, Any]:
    return {"model_name_or_path": model, "instance_id": instance, "model_patch": patch}


def lines(*entries: object) -> str:
    return "".join(json.dumps(one) + "\n" for one in entries)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("preds.json", json.dumps({"a": entry("a"), "b": entry("b", None)}, indent=2)),  # mini-swe-agent
        ("all.json", json.dumps([entry("a"), entry("b", "")])),
        ("all.jsonl", lines(entry("a"), entry("b", None)) + "\n"),
        ("predictions", lines(entry("a"), {**entry("b", None), "extra": 1})),
        (
            "keys.json",
            json.dumps({"a": {"model_patch": PATCH, "model_name_or_path": "m/1"}, "b": entry("b", "")}),
        ),
    ],
)
def test_every_form_of_predictions_is_read(name: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    found = read_predictions(path)
    assert found.patches == {"a": PATCH, "b": ""}
    assert (found.spec.name, found.spec.model) == ("imported", "m/1")
    path.write_text(content.replace("+b", "+c"))
    assert read_predictions(path).spec != found.spec, "other patches are another run"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.jsonl", "", "there is no prediction in it"),
        ("p.jsonl", lines(entry("a")) + "{", "p.jsonl:2: Input data was truncated"),
        ("p.jsonl", lines(entry("a"), entry("a")), "two predictions for 'a'"),
        ("p.jsonl", lines(entry("a"), entry("b", model="n")), "predictions of m/1, n; import each"),
        (
            "p.jsonl",
            lines(entry("a"), {"model_patch": ""}),
            "p.jsonl:2: Object missing required field `instance_id`",
        ),
        ("p.json", json.dumps({"a": entry("a", 3)}), "p.json: a: Expected `str | null`, got `int`"),  # type: ignore[arg-type]
        (
            "p.json",
            json.dumps([{"instance_id": "a", "patch": PATCH}]),
            "Object missing required field `model_patch`",
        ),
        ("p.json", json.dumps({"a": PATCH}), "p.json: a: Expected `object`, got `str`"),
        ("p.json", "3", "expected a list or an object of predictions"),
        ("p.json", "\udcff", "p.json: "),
    ],
)
def test_what_cannot_be_read_is_named(name: str, content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DatasetError) as error:
        read_predictions(path)
    assert said in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "import", str(tmp_path / "none.json"), "--dataset", "smoke"]) == 2
    assert "No such file" in capsys.readouterr().err


def test_tasks_without_a_prediction_are_named_and_may_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "preds.json"
    path.write_text(json.dumps({"leap-year": entry("leap-year")}))
    words = ["eval", "import", str(path), "--dataset", "smoke", "--sandbox", "local", "--out"]
    assert main([*words, str(tmp_path / "few")]) == 0
    assert "4 of 5 tasks have no prediction and are not in the run" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "all"), "--all"]) == 0
    assert [one.instance for one in Run.open(tmp_path / "few").rollouts()] == ["leap-year"]
    ends = {one.instance: (one.end, one.detail) for one in Run.open(tmp_path / "all").rollouts()}
    assert ends.pop("leap-year") == ("submitted", "")
    assert set(ends.values()) == {("no_change", "there was no prediction")} and len(ends) == 4
    assert main([*words, str(tmp_path / "all")]) == 2, "another set of tasks is another run"
    path.write_text(json.dumps({"zz": entry("zz")}))
    assert main([*words, str(tmp_path / "other")]) == 2
    assert "smoke has no task 'zz'" in capsys.readouterr().err


def test_nobody_is_called_imported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "run", "smoke", "-a", "imported", "--sandbox", "local"]) == 2
    assert "pawl eval import FILE" in capsys.readouterr().err
    spec = AgentSpec(name="imported", settings={"predictions": "x"})
    assert imported.check(spec) == spec


@pytest.mark.bubblewrap
def test_an_oracle_run_goes_out_and_comes_in_again_and_scores_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reference, and a patch that does nothing: 1 of 2, before and after."""
    tasks = smoke.load(None)[:2]
    path = tmp_path / "preds.json"
    patches = [tasks[0].reference, PATCH]
    path.write_text(
        json.dumps({one.id: entry(one.id, patch) for one, patch in zip(tasks, patches, strict=True)})
    )
    words = ["--dataset", "smoke", "--sandbox", "bubblewrap", "--out"]
    first, second, out = tmp_path / "first", tmp_path / "second", tmp_path / "out.jsonl"
    assert main(["eval", "import", str(path), *words, str(first)]) == 0
    assert main(["eval", "score", str(first), "--fail-under", "50", "-j", "2"]) == 0
    assert main(["eval", "export", str(first), "--format", "predictions", "--out", str(out)]) == 0
    assert read_predictions(out).patches == read_predictions(path).patches
    assert main(["eval", "import", str(out), *words, str(second)]) == 0
    assert main(["eval", "score", str(second), "-j", "2"]) == 0
    before, after = (
        {s.instance: (s.resolved, s.reward, s.applied, s.tests) for s in Run.open(folder).scores()}
        for folder in (first, second)
    )
    assert before == after and [row[0] for row in before.values()] == [True, False]
    capsys.readouterr()
