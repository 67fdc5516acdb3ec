"""`run` for a small model: what the request names is shown, rewritten and, where it has examples, run.

Examples (`>>> ...`) in the files of those functions say what is right, and nobody has to name a command for
them: they are run before and after, and decide among the attempts. A change for which they do not hold is
handed over only when no attempt did better, and it is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from agent.bus import Branch
from agent.events import Noted
from agent.guards import Budget
from agent.models.base import Model
from agent.permissions import edits_alone
from agent.solve.attempts import solve
from agent.solve.direct import Rewriting
from agent.solve.fix import Outcome
from agent.solve.locate import Located
from agent.solve.named import MOST, named
from agent.solve.repair import build_request, targets
from agent.solve.sources import read_sources
from agent.solve.task import Plan, Task, Try
from agent.unfinished import kept_when_cut_off
from agent.verify import run_and_log
from agent.workbench import Workbench
from tools.localize import Suspect
from tools.testreport import CheckResult

EXAMPLES = ("python", "-m", "pawl_examples")
"""In the probes' folder (tools/probes/), which every check has on its path."""
EXAMPLES_S = 60.0
HELD_ATTEMPTS = 2
_TELLING = (0, 1)
"""Exit codes by which examples were run."""


async def rewritten(
    request: str, bench: Workbench, branch: Branch, budget: Budget, model: Model, plan: Plan
) -> Outcome | None:
    """The functions that the request names, rewritten; None when it names none or no reply could be used.

    When they come back as they were, what the model says of them is the answer. Raises ModelError.
    """
    async with bench.candidate() as base:
        sources = await read_sources(base.sandbox)
        work = _Work(request, bench, branch, budget, model, plan, sources, named(request, sources))
        if not work.found:
            return None
        before = None
        if check := work.examples():
            before, _ = await run_and_log(
                base.sandbox, check, "base", branch=branch, timeout_s=EXAMPLES_S, limit_s=None
            )
    if before is None or before.exec.exit_code not in _TELLING:
        last = await work.once()
    else:
        last = await work.proved(check, before)
    if last.outcome == "bad_reply":
        branch.emit(Noted("info", f"no function was rewritten: {last.detail}; using the tool loop"))
        return None
    limited = last.outcome == "limit"
    return Outcome(
        "limit" if limited else "success",
        last.detail if limited else last.reply,
        last.patch,
        last.verdict,
        model.name,
        answers=True,
        edits_alone=last.edits_alone,
    )


@dataclass(frozen=True)
class _Work:
    request: str
    bench: Workbench
    branch: Branch
    budget: Budget
    model: Model
    plan: Plan
    sources: Mapping[str, bytes]
    found: tuple[Suspect, ...]

    def examples(self) -> tuple[str, ...]:
        """The command that runs the examples in the files of what was found; empty when they have none."""
        paths = dict.fromkeys(s.path for s in self.found if b">>>" in self.sources[s.path])
        return (*EXAMPLES, *paths) if paths else ()

    async def once(self) -> Try:
        """One change that nothing proves."""
        wanted = targets(self.found, self.sources, MOST)
        made = await Rewriting(self.model, self.plan, self.budget, wanted, self.sources).ask(
            build_request(self.request, wanted, self.sources),
            self.branch,
            temperature=self.plan.temperature or 0.0,
            seed=self.plan.seed,
        )
        if isinstance(made, Try):
            return made
        async with (
            self.bench.candidate(last=True) as candidate,
            kept_when_cut_off(candidate.fork, self.branch, "run"),
        ):
            for path, text in made.files.items():
                await candidate.sandbox.write(path, text)
            patch = await candidate.fork.diff()
        alone = edits_alone(patch, made.written)
        return Try("tests_fail", "nothing was run", patch, edits_alone=alone, reply=made.reply)

    async def proved(self, check: tuple[str, ...], before: CheckResult) -> Try:
        """The first change for which the examples hold, else the first of all, also where a limit was met."""
        # examples that hold already say little of what is wanted
        attempts = min(self.plan.attempts, HELD_ATTEMPTS) if before.ok else self.plan.attempts
        task = Task(
            check,
            self.bench,
            self.model,
            self.branch,
            msgspec.structs.replace(self.plan, attempts=attempts),
            before,
            self.budget,
            self.sources,
            Located(self.found),
            EXAMPLES_S,
            self.request,
        )
        tries = await solve(task)
        if tries[-1].outcome == "verified":
            return tries[-1]
        changed = next((one for one in tries if not one.patch.empty), None)
        if changed is None:
            return next((one for one in tries if one.outcome == "no_change"), tries[-1])
        self.branch.emit(Noted("warning", f"the examples do not hold: {changed.detail}"))
        ended = msgspec.structs.replace(changed, verdict=None)
        if tries[-1].outcome == "limit":
            return msgspec.structs.replace(ended, outcome="limit", detail=tries[-1].detail)
        return ended
