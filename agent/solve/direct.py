"""An attempt by direct repair: one prompt, whole corrected functions, put in place and run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.bus import Branch
from agent.guards import Budget
from agent.loop import Agent, last_reply, run_turn
from agent.models.base import Model
from agent.permissions import edits_alone
from agent.solve.repair import (
    SYSTEM,
    Tried,
    UnusableReply,
    build_prompt,
    build_request,
    changed_lines,
    closed,
    describe_failure,
    fingerprint,
    read_reply,
)
from agent.solve.task import Plan, Task, Try
from agent.unfinished import kept_when_cut_off
from tools.localize import Suspect

REPLIES = 3
"""How often one attempt asks until a reply is a candidate that was not run before."""
BLOCK_END = "\n```\n"
"""Behind the one function that was asked for a model only explains itself: a third of all it writes."""
WORDS_TOKENS = 400
HOTTER = 0.3
"""Added to the temperature with each further reply: the same prompt must not give the same answer."""


class Rewritten(NamedTuple):
    files: dict[str, bytes]
    """New contents by path."""
    reply: str
    """With its words."""

    @property
    def written(self) -> dict[str, str]:
        """Path -> sha256, as `ToolContext.written` has them."""
        return {path: hashlib.sha256(text).hexdigest() for path, text in self.files.items()}


@dataclass(frozen=True)
class Rewriting:
    """Asks a model for some functions, whole, until it writes a change that was not seen before."""

    model: Model
    plan: Plan
    budget: Budget
    targets: tuple[Suspect, ...]
    sources: Mapping[str, bytes]
    seen: set[str] = field(default_factory=set)
    """Fingerprints of all changes so far."""

    async def ask(self, prompt: str, branch: Branch, *, temperature: float, seed: int) -> Rewritten | Try:
        """The change, or how it ended without one. Raises ModelError."""
        ended = Try("bad_reply", "no usable reply")
        stop = (BLOCK_END,) if len(self.targets) == 1 else ()
        for asked in range(REPLIES):
            if asked and (spent := self.budget.exceeded()):
                return Try("limit", spent)
            agent = Agent(
                model=self.model,
                branch=branch.fork(f"reply-{asked + 1}"),
                system=SYSTEM,
                guards=(self.budget,),
                temperature=min(1.2, temperature + HOTTER * asked),
                max_tokens=min(self.plan.reply_tokens, self._reply_tokens()),
                seed=seed + asked,
                stop=stop,
            )
            await run_turn(agent, prompt)
            if agent.error is not None:
                raise agent.error
            reply = last_reply(agent.branch)
            try:
                files = read_reply(reply, self.targets, self.sources)
            except UnusableReply as problem:
                if problem.reason == "no_change":
                    ended = Try("no_change", str(problem), reply=closed(reply))
                else:
                    ended = Try("bad_reply", str(problem))
                    stop = ()  # it may have been cut at a bare fence
                continue
            mark = "\0".join(f"{path}\0{fingerprint(text)}" for path, text in sorted(files.items()))
            if mark not in self.seen:
                self.seen.add(mark)
                return Rewritten(files, closed(reply))
            ended = Try("no_change", "the same change was tried before")
        return ended

    def _reply_tokens(self) -> int:
        """Enough for an explanation and the longest target twice; code has about three bytes a token."""
        longest = max((t.symbol.end_byte - t.symbol.start_byte for t in self.targets), default=0)
        return WORDS_TOKENS + 2 * longest // 3


async def attempt_repair(task: Task, number: int, branch: Branch) -> Try:
    """Ask until there is a new candidate, run the check on it and, when it passes, verify it."""
    rewriting = Rewriting(task.model, task.plan, task.budget, task.targets, task.sources, task.seen)
    got = await rewriting.ask(
        _prompt(task, number),
        branch,
        temperature=task.temperature(number),
        seed=task.plan.seed + 100 * number,
    )
    return got if isinstance(got, Try) else await _judge(task, number, branch, got)


def _prompt(task: Task, number: int) -> str:
    """Every second attempt is told what failed; the others are fresh throws.

    Told, a small model often clings to the idea that failed: on the bundled repository it then missed eight
    times in a row a repair that every second independent reply had.
    """
    tried = task.tried if number % 2 == 0 else ()
    failures = task.located.failures
    if not task.request:
        return build_prompt(task.targets, task.sources, failures, task.before.output, tried)
    output = "" if task.before.ok else task.before.output
    return build_request(task.request, task.targets, task.sources, failures, output, tried)


async def _judge(task: Task, number: int, branch: Branch, made: Rewritten) -> Try:
    async with (
        task.bench.candidate() as candidate,
        kept_when_cut_off(candidate.fork, branch, f"attempt-{number}"),
    ):
        for path, text in made.files.items():
            await candidate.sandbox.write(path, text)
        patch = await candidate.fork.diff()
        check = await task.run_check(candidate.sandbox, branch)
    if not check.ok:
        failures = check.report.failures if check.report else ()
        said = describe_failure(failures, check.output)
        changes = [changed_lines(task.sources[path], text) for path, text in made.files.items()]
        task.tried.append(Tried("\n".join(changes), said))
        return Try("tests_fail", said, patch, edits_alone=edits_alone(patch, made.written), reply=made.reply)
    verdict = await task.verify(patch, branch)
    if verdict.verified:
        alone = edits_alone(verdict.patch, made.written)
        return Try("verified", "", verdict.patch, verdict, alone, made.reply)
    why = verdict.lost or "the check passes here, but not in a clean fork"
    return Try("tests_fail", why, patch, verdict, reply=made.reply)
