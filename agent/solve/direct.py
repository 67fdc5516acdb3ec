"""An attempt by direct repair: one prompt, a whole corrected function, put in place and run."""

from __future__ import annotations

from agent.bus import Branch
from agent.loop import Agent, last_reply, run_turn
from agent.solve.repair import (
    SYSTEM,
    Tried,
    UnusableReply,
    build_prompt,
    changed_lines,
    describe_failure,
    fingerprint,
    read_reply,
)
from agent.solve.task import Task, Try
from agent.unfinished import kept_when_cut_off

REPLIES = 3
"""How often one attempt asks until a reply is a candidate that was not run before."""
WORDS_TOKENS = 400
HOTTER = 0.3
"""Added to the temperature with each further reply: the same prompt must not give the same answer."""


async def attempt_repair(task: Task, number: int, branch: Branch) -> Try:
    """Ask until there is a new candidate, run the check on it and, when it passes, verify it."""
    ended = Try("bad_reply", "no usable reply")
    for asked in range(REPLIES):
        if asked and (spent := task.budget.exceeded()):
            return Try("limit", spent)
        agent = _agent(task, number, asked, branch.fork(f"reply-{asked + 1}"))
        await run_turn(agent, _prompt(task, number))
        if agent.error is not None:
            raise agent.error
        try:
            files = read_reply(last_reply(agent.branch), task.targets, task.sources)
        except UnusableReply as problem:
            ended = Try("no_change" if problem.reason == "no_change" else "bad_reply", str(problem))
            continue
        mark = "\0".join(f"{path}\0{fingerprint(text)}" for path, text in sorted(files.items()))
        if mark in task.seen:
            ended = Try("no_change", "the same change was tried before")
            continue
        task.seen.add(mark)
        return await _judge(task, number, branch, files)
    return ended


def _agent(task: Task, number: int, asked: int, branch: Branch) -> Agent:
    return Agent(
        model=task.model,
        branch=branch,
        system=SYSTEM,
        guards=(task.budget,),
        temperature=min(1.2, task.temperature(number) + HOTTER * asked),
        max_tokens=min(task.plan.reply_tokens, _reply_tokens(task)),
        seed=task.plan.seed + 100 * number + asked,
    )


def _reply_tokens(task: Task) -> int:
    """Enough for an explanation and the longest target written twice; code has about three bytes a token."""
    longest = max((t.symbol.end_byte - t.symbol.start_byte for t in task.targets), default=0)
    return WORDS_TOKENS + 2 * longest // 3


def _prompt(task: Task, number: int) -> str:
    """Every second attempt is told what failed; the others are fresh throws.

    Told, a small model often clings to the idea that failed: on the bundled repository it then missed eight
    times in a row a repair that every second independent reply had.
    """
    tried = task.tried if number % 2 == 0 else ()
    return build_prompt(task.targets, task.sources, task.located.failures, task.before.output, tried)


async def _judge(task: Task, number: int, branch: Branch, files: dict[str, bytes]) -> Try:
    async with (
        task.bench.candidate() as candidate,
        kept_when_cut_off(candidate.fork, branch, f"attempt-{number}"),
    ):
        for path, text in files.items():
            await candidate.sandbox.write(path, text)
        patch = await candidate.fork.diff()
        check = await task.run_check(candidate.sandbox, branch)
    if not check.ok:
        failures = check.report.failures if check.report else ()
        said = describe_failure(failures, check.output)
        changes = [changed_lines(task.sources[path], text) for path, text in files.items()]
        task.tried.append(Tried("\n".join(changes), said))
        return Try("tests_fail", said, patch)
    verdict = await task.verify(patch, branch)
    if verdict.verified:
        return Try("verified", "", verdict.patch, verdict)
    return Try("tests_fail", verdict.lost or "the check passes here, but not in a clean fork", patch, verdict)
