"""`pawl eval mine`: commits that touch source and tests, proved one by one. See `evals.mining.proof`."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from evals import interpreters
from evals.benchmark import DatasetError
from evals.gitrun import contents
from evals.grade import Graded
from evals.mining import history, proof, writer
from evals.mining import licence as licences
from evals.mining.collect import Candidate
from evals.mining.history import Change, Split
from evals.mining.proof import Bench
from evals.mining.rejected import Rejected
from evals.mining.row import identity, row
from evals.mining.statement import from_message, leaks, missing, repeats, said, unnamed
from evals.mining.ways import Way, way_of
from evals.mining.writer import Writer

_ENVIRONMENT_COMMITS = 5
"""Commits over the whole time whose tests are asked what they import."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for of a repository's history."""

    repo: str
    """As rows name it: `owner/name`, a URL or an absolute path."""
    install: str | None = None
    test: str | None = None
    python: str = ""
    issue_from: str = "commit"
    model: str = ""
    first_parent: bool = False
    max_lines: int = 300

    def asked(self) -> dict[str, Any]:
        """What decides how a task is made."""
        return {"kind": "mine", **msgspec.to_builtins(self)}


def environment_commits(found: Sequence[Change]) -> tuple[str, ...]:
    """Bases that one environment is to serve: it is installed from the youngest. Raises DatasetError."""
    if not found:
        raise DatasetError("there is no commit in this time; see --since, --until and --ref")
    last = len(found) - 1
    places = {round(last * number / (_ENVIRONMENT_COMMITS - 1)) for number in range(_ENVIRONMENT_COMMITS)}
    return tuple(dict.fromkeys(found[place].parent for place in sorted(places)))


class Miner:
    """Makes tasks of one repository. `source` is its git directory on the host, which is only read."""

    def __init__(
        self,
        plan: Plan,
        source: Path,
        found: Sequence[Change],
        commits: tuple[str, ...],
        bench: Bench,
        words: Writer | None,
    ) -> None:
        self.plan = plan
        self.source = source
        self.found = found
        self.commits = commits
        self.bench = bench
        self.words = words
        self.python = interpreters.find(plan.python).version
        self.install = plan.install or ""

    async def prepare(self) -> None:
        """Make the environment. Raises EnvironmentFailed, DatasetError when nothing is known about it."""
        project = await asyncio.to_thread(history.project, self.source, self.commits[0])
        way = way_of(project, self.plan.install, self.plan.test)
        self.install = way.install
        name = identity(self.plan.repo, "environment")
        extra = self._extra(way)
        await proof.prepare(
            row(repo=self.plan.repo, instance_id=name, base=self.commits[0], extra=extra), self.bench
        )

    def candidates(self) -> list[Candidate]:
        return [Candidate(c.commit, c.subject, functools.partial(self.attempt, c)) for c in self.found]

    def _extra(self, way: Way) -> dict[str, Any]:
        return {**way.columns, "python": self.python, "environment_commits": list(self.commits)}

    async def attempt(self, change: Change) -> dict[str, Any]:
        """The change as a task's row. Raises Rejected."""
        halves = await asyncio.to_thread(history.split, self.source, change, self.plan.max_lines)
        if self.words is None and not from_message(change.message):
            raise Rejected("message says too little", change.subject)
        draft = await asyncio.to_thread(self._draft, change, halves)
        task = proof.task_of(draft, self.bench, open_ended=True)
        before = await proof.statuses(task, "", self.bench)
        after = await proof.statuses(task, task.reference, self.bench)
        if not any(proof.passes(after, test) for test in after.ended):
            raise Rejected("cannot be run", "with the fix no test passes, or the runner names none that does")
        compared = proof.compare(before, after)
        if compared.broken:
            raise Rejected("breaks tests", ", ".join(compared.broken[:3]))
        if not compared.fail:
            raise Rejected("no test fails before")
        statement = await self._statement(change, halves, before, after, compared.fail)
        extra = draft["extra"] | {
            "dropped_ids": compared.dropped,
            "f2p_missing_before": sum(test not in before.ended for test in compared.fail),
        }
        named = draft | {
            "problem_statement": statement,
            "FAIL_TO_PASS": json.dumps(compared.fail),
            "PASS_TO_PASS": json.dumps(compared.keep),
            "extra": extra,
        }
        return await proof.settle(named, before, after, self.bench)

    def _draft(self, change: Change, halves: Split) -> dict[str, Any]:
        project = history.project(self.source, change.commit)
        try:
            way = way_of(project, self.install, self.plan.test)
        except DatasetError as error:
            raise Rejected("cannot be run", str(error)) from None
        texts = contents(self.source, change.parent, licences.of_interest(project.paths))
        extra = {
            "fix_commit": change.commit,
            "subject": change.subject,
            "license": licences.licence(texts),
            **self._extra(way),
            "test_files": list(halves.test_files),
            "src_files": list(halves.source_files),
            "files_changed": len(halves.source_files),
            "lines_added": halves.added,
            "lines_deleted": halves.deleted,
            "issue_from": self.plan.issue_from,
        }
        return row(
            repo=self.plan.repo,
            instance_id=identity(self.plan.repo, change.commit[:8]),
            base=change.parent,
            patch=halves.fix,
            test_patch=halves.tests,
            created_at=change.at,
            extra=extra,
        )

    async def _statement(
        self, change: Change, halves: Split, before: Graded, after: Graded, fail: Sequence[str]
    ) -> str:
        """Its words. Raises Rejected when they do not name what the tests need, or give the fix away."""
        told = proof.complaints(before, fail)
        names = missing(told, halves.tests)
        if (files := proof.unreadable(before, after, fail)) and not names:
            raise Rejected("tests cannot be imported before", ", ".join(files))
        texts = await asyncio.to_thread(contents, self.source, change.parent, halves.source_files)
        hidden = {test.rpartition("::")[2].partition("[")[0] for test in fail}
        find = functools.partial(
            leaks,
            fix=halves.fix,
            tests=halves.tests,
            commit=change.commit,
            before=[data.decode("utf-8", "replace") for data in texts.values()],
            hidden=sorted(hidden),
        )
        if self.words is not None:
            about = writer.about_commit(change.message, halves.fix, [said(text) for text in told], names)

            def faults(text: str) -> list[str]:
                found = find(text) + [f"it does not name {name}" for name in unnamed(text, names)]
                return found + ["it only says what the commit's message says"] * repeats(text, change.message)

            return await self.words.write(about, faults)
        text = from_message(change.message)
        if lost := unnamed(text, names):
            reason = "tests cannot be imported before" if files else "statement does not name what is tested"
            raise Rejected(reason, ", ".join(lost))
        if found := find(text, places=False):
            raise Rejected("message gives the fix away", found[0])
        return text
