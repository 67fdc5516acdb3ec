"""The report tree of the SWE-bench harness 5.0.2, with its summary of schema 2.

    preds.jsonl
    logs/run_evaluation/<run>/<model>/<instance>/{report.json, patch.diff, test_output.txt}
    <model>.<run>.json

The results are those of pawl's own grading: the tests of a record count, not what was printed. Only a reader
of such trees is served by it, no log parser.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.episode import Episode
from evals.export import Needs, write_lines, write_text
from evals.exports.predictions import model_name, prediction
from evals.reading import Run
from evals.types import Tests

name = "swebench"
summary = "SWE-bench predictions, logs/run_evaluation and the summary (schema 2)"
needs: Needs = "patch"
one_attempt = True

_GROUPS = {"fail_to_pass": "FAIL_TO_PASS", "pass_to_pass": "PASS_TO_PASS"}


def write(episodes: Sequence[Episode], run: Run, out: Path) -> dict[str, int]:
    write_lines(out / "preds.jsonl", map(prediction, episodes))
    model = model_name(run).replace("/", "__")
    tree = out / "logs" / "run_evaluation" / run.manifest.name / model
    reports = {}
    for episode in episodes:
        if episode.patch and (report := _report(episode)) is not None:
            place = tree / episode.unit.instance
            reports[episode.unit.instance] = report
            write_text(place / "report.json", _json({episode.unit.instance: report}))
            write_text(place / "patch.diff", episode.patch)
            write_text(place / "test_output.txt", _printed(episode))
    summary = _summary(episodes, run, reports)
    write_text(out / f"{model}.{run.manifest.name}.json", _json(summary) + "\n")
    return {"predictions": len(episodes), "resolved": summary["resolved_instances"]}


def _report(episode: Episode) -> dict[str, Any] | None:
    """`report.json` of one instance; None when it was not graded, which the harness calls an error."""
    score = episode.score
    if score is None or score.error:
        return None
    report: dict[str, Any] = {
        "patch_is_None": False,
        "patch_exists": True,
        "patch_successfully_applied": score.applied,
        "resolved": episode.row.solved,
        "infra_failure": False,
    }
    if not score.applied or not isinstance(episode.instance.grading, Tests):
        return report
    status: dict[str, Any] = {
        group: {"success": [], "failure": []} for group in (*_GROUPS.values(), "FAIL_TO_FAIL", "PASS_TO_FAIL")
    }
    for test in score.tests:
        maintained = test.group == "pass_to_pass" and test.outcome == "skipped"
        passed = test.outcome in ("passed", "xfailed") or maintained
        status[_GROUPS[test.group]]["success" if passed else "failure"].append(test.id)
    return {**report, "tests_status": status}


def _printed(episode: Episode) -> str:
    """What the tests printed, where the run kept it."""
    path = episode.place / "graded" / "test_output.txt"
    return path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""


def _json(value: dict[str, Any]) -> str:
    """As the harness writes it, byte for byte."""
    return json.dumps(value, indent=4)


def _summary(episodes: Sequence[Episode], run: Run, reports: dict[str, Any]) -> dict[str, Any]:
    """The harness' own keys, in its order."""
    submitted = {episode.unit.instance for episode in episodes}
    empty = {episode.unit.instance for episode in episodes if not episode.patch}
    resolved = {instance for instance, report in reports.items() if report["resolved"]}
    ids = {
        "completed": set(reports),
        "incomplete": set(run.instances) - submitted,
        "empty_patch": empty,
        "submitted": submitted,
        "resolved": resolved,
        "unresolved": set(reports) - resolved,
        "infra_failure": set(),
        "ambiguous_failure": set(),
        "error": submitted - empty - set(reports),
    }
    counted = ["submitted", "completed", "resolved", "unresolved"]
    counted += ["infra_failure", "ambiguous_failure", "empty_patch", "error"]
    listed = {f"{kind}_ids": sorted(found) for kind, found in ids.items()}
    error = listed.pop("error_ids")
    return {
        "total_instances": len(run.instances),
        **{f"{kind}_instances": len(ids[kind]) for kind in counted},
        **listed,
        "failure_reasons": {},
        "error_ids": error,
        "schema_version": 2,
    }
