"""A task as a row of SWE-bench, with what `pawl` needs besides in `extra`. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

ADDRESS = re.compile(r"0x[0-9a-f]{6,}", re.IGNORECASE)
"""In a test's id: it is another one in each run."""


def identity(repo: str, suffix: str) -> str:
    """`owner__name-suffix`; of a path its last part."""
    name = repo.rstrip("/").removesuffix("/.git").removesuffix(".git")
    parts = [part for part in re.split(r"[/:]", name) if part]
    words = parts[-2:] if re.fullmatch(r"[\w.-]+/[\w.-]+", repo) else parts[-1:]
    clean = [re.sub(r"[^\w.-]+", "-", word).strip("-._") or "repository" for word in words]
    return "__".join(clean) + f"-{suffix}"


def row(
    *,
    repo: str,
    instance_id: str,
    base: str,
    extra: dict[str, Any],
    patch: str = "",
    test_patch: str = "",
    statement: str = "",
    created_at: str = "",
    fail: Sequence[str] = (),
    keep: Sequence[str] = (),
) -> dict[str, Any]:
    """The columns in SWE-bench's order. What is not known yet may be left out."""
    return {
        "repo": repo,
        "instance_id": instance_id,
        "base_commit": base,
        "patch": patch,
        "test_patch": test_patch,
        "problem_statement": statement,
        "hints_text": "",
        "created_at": created_at,
        "version": "",
        "FAIL_TO_PASS": json.dumps(list(fail)),
        "PASS_TO_PASS": json.dumps(list(keep)),
        "environment_setup_commit": (extra.get("environment_commits") or [base])[0],
        "image": "",
        # a mutant's base is no commit of the repository: their harness could not check it out
        "eval_script": "" if extra.get("bug_patch") else _script(test_patch, str(extra["test_cmd"])),
        "log_parser": "parse_log_pytest" if "pytest" in str(extra["test_cmd"]) else "",
        "eval_type": "pass_and_fail",
        "difficulty": "",
        "extra": extra,
    }


def _script(test_patch: str, command: str) -> str:
    """As SWE-bench 5 has it: the tests are put in, and run between two marks."""
    mark = "EOF_" + hashlib.sha256(test_patch.encode()).hexdigest()[:16]
    return f"""#!/bin/bash
set -uxo pipefail
cd /testbed
git config --global --add safe.directory /testbed
git apply -v - <<'{mark}'
{test_patch}
{mark}
: '>>>>> Start Test Output'
{command}
SWEBENCH_TEST_EXIT_CODE=$?
: '>>>>> End Test Output'
echo ">>>>> Test Exit Code: $SWEBENCH_TEST_EXIT_CODE"
"""
