"""`pawl eval mutate`: small faults put into a commit's source, each found by at least one of its tests.

The base of such a task is the commit with the fault; its reference takes the fault out again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
import re
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
from evals.mining.proof import Bench, Compared
from evals.mining.rejected import Rejected
from evals.mining.row import identity, row
from evals.mining.statement import from_failures, leaks
from evals.mining.ways import way_of
from evals.mining.writer import Writer
from tools.grammars import installed, language_of
from tools.mutable import LANGUAGES
from tools.mutation import Mutant, mutants, parses
from tools.patch import unified

MOST = 0.5
"""Of all tests: a fault that fails more is no riddle."""
PER_SCOPE = 2
"""Tasks of one function."""
_PLAIN_PATH = re.compile(r"[\w./+-]+")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for of one commit."""

    repo: str
    commit: str
    install: str | None = None
    test: str | None = None
    python: str = ""
    issue_from: str = "tests"
    model: str = ""
    languages: tuple[str, ...] = ()
    """Names of `tools.mutable`; () for all."""
    seed: int = 0

    def asked(self) -> dict[str, Any]:
        """What decides how a task is made."""
        return {"kind": "mutate", **msgspec.to_builtins(self)}


class Fault(msgspec.Struct, frozen=True):
    """A mutant of one file."""

    path: str
    language: str
    mutant: Mutant

    @property
    def key(self) -> str:
        each = self.mutant
        parts = [self.path, str(each.start), str(each.end), each.text.decode()]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


class Mutator:
    """Makes tasks of one commit. `source` is the repository's git directory, which is only read."""

    def __init__(self, plan: Plan, source: Path, bench: Bench, words: Writer | None) -> None:
        self.plan = plan
        self.source = source
        self.bench = bench
        self.words = words
        project = history.project(source, plan.commit)
        way = way_of(project, plan.install, plan.test)
        texts = contents(source, plan.commit, licences.of_interest(project.paths))
        self.created_at = history.committed_at(source, plan.commit)
        self.extra: dict[str, Any] = {
            "license": licences.licence(texts),
            **way.columns,
            "python": interpreters.find(plan.python).version,
            "environment_commits": [plan.commit],
            "issue_from": plan.issue_from,
        }
        self.sources = self._read(project.paths)
        self.sound: Graded | None = None
        self.made: list[tuple[str, str, frozenset[str]]] = []

    def _read(self, paths: Sequence[str]) -> dict[str, bytes]:
        wanted = self.plan.languages or tuple(LANGUAGES)
        chosen = [
            path
            for path in paths
            if history.is_source(path) and language_of(path) in wanted and _PLAIN_PATH.fullmatch(path)
        ]
        return contents(self.source, self.plan.commit, chosen)

    async def prepare(self) -> None:
        """See how the tests end without any fault, twice. Raises EnvironmentFailed, DatasetError."""
        draft = self._row("environment", "", "", {})
        await proof.prepare(draft, self.bench)
        task = proof.task_of(draft, self.bench, open_ended=True)
        try:
            first, second = [await proof.statuses(task, "", self.bench) for _ in range(2)]
        except Rejected as rejected:
            raise DatasetError(f"the tests do not run without any fault: {rejected}") from None
        shaky = proof.unsteady(first, second)
        first.ended = {test: ended for test, ended in first.ended.items() if test not in shaky}
        if not any(proof.passes(first, test) for test in first.ended):
            raise DatasetError(f"no test passes at {self.plan.commit}, so none can show a fault")
        self.sound = first
        # a fault may make the tests run for ever: that is seen soon
        self.bench = msgspec.structs.replace(
            self.bench, timeout_s=min(self.bench.timeout_s, 20 + 5 * first.score.tests_s)
        )

    def remember(self, rows: Sequence[dict[str, Any]]) -> None:
        """Tasks that are there already: what is like them is none."""
        for each in rows:
            where = each["extra"]["mutation"]
            failing = frozenset(json.loads(each["FAIL_TO_PASS"]))
            self.made.append((where["path"], where["scope"], failing))

    def candidates(self) -> list[Candidate]:
        """All faults of all files, in an order that the seed decides."""
        faults = [
            Fault(path, language, mutant)
            for path, data in sorted(self.sources.items())
            if (language := language_of(path) or "") and installed(language)
            for mutant in mutants(data, language)
        ]
        if not faults:
            raise DatasetError("there is no source to put a fault into; see --language")
        random.Random(self.plan.seed).shuffle(faults)
        return [Candidate(f.key, self._title(f), functools.partial(self.attempt, f)) for f in faults]

    def _title(self, fault: Fault) -> str:
        each = fault.mutant
        old = self.sources[fault.path][each.start : each.end]
        words = [" ".join(text.decode("utf-8", "replace").split())[:40] for text in (old, each.text)]
        return f"{fault.path}:{each.line} {each.kind}: {words[0]} -> {words[1] or 'nothing'}"

    async def attempt(self, fault: Fault) -> dict[str, Any]:
        """The fault as a task's row. Raises Rejected."""
        assert self.sound is not None
        self._require_room(fault)
        sound = self.sources[fault.path]
        broken = fault.mutant.apply(sound)
        if not parses(broken, fault.language):
            raise Rejected("does not parse")
        draft = self._row(
            fault.key,
            _diff(broken, sound, fault.path),
            _diff(sound, broken, fault.path),
            {
                "path": fault.path,
                "line": fault.mutant.line,
                "scope": fault.mutant.scope,
                "kind": fault.mutant.kind,
                "seed": self.plan.seed,
            },
        )
        before = await proof.statuses(proof.task_of(draft, self.bench, open_ended=True), "", self.bench)
        compared = proof.compare(before, self.sound)
        if not compared.fail:
            raise Rejected("no test fails")
        if len(compared.fail) > MOST * (len(compared.fail) + len(compared.keep)):
            raise Rejected("breaks too much", f"{len(compared.fail)} tests")
        self._require_room(fault)
        like = (fault.path, fault.mutant.scope, frozenset(compared.fail))
        if like in self.made:
            raise Rejected("fails the same tests as another of its function")
        self.made.append(like)  # before anything is waited for: others are at work
        try:
            return await self._finish(draft, before, compared)
        except BaseException:
            self.made.remove(like)
            raise

    def _require_room(self, fault: Fault) -> None:
        if sum(made[:2] == (fault.path, fault.mutant.scope) for made in self.made) >= PER_SCOPE:
            raise Rejected("enough of this function")

    async def _finish(self, draft: dict[str, Any], before: Graded, compared: Compared) -> dict[str, Any]:
        assert self.sound is not None
        named = draft | {
            "problem_statement": await self._statement(draft, before, compared.fail),
            "FAIL_TO_PASS": json.dumps(compared.fail),
            "PASS_TO_PASS": json.dumps(compared.keep),
            "extra": draft["extra"] | {"dropped_ids": compared.dropped},
        }
        return await proof.settle(named, before, self.sound, self.bench)

    async def _statement(self, draft: dict[str, Any], before: Graded, fail: Sequence[str]) -> str:
        said = {test: before.ended[test].message if test in before.ended else "" for test in fail}
        text = from_failures(said)
        find = functools.partial(leaks, fix=draft["patch"])
        if self.words is not None:
            return await self.words.write(writer.about_failures(text), find)
        if found := find(text):
            raise Rejected("failures say where", found[0])
        return text

    def _row(self, key: str, fix: str, bug: str, mutation: dict[str, Any]) -> dict[str, Any]:
        extra = self.extra | {"bug_patch": bug, "mutation": mutation}
        return row(
            repo=self.plan.repo,
            instance_id=identity(self.plan.repo, f"mutant-{key}"),
            base=self.plan.commit,
            patch=fix,
            created_at=self.created_at,
            extra=extra,
        )


def _diff(old: bytes, new: bytes, path: str) -> str:
    return f"diff --git a/{path} b/{path}\n" + unified(old.decode(), new.decode(), path)
