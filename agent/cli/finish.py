"""The end of a headless command: show diff and receipt, apply the patch or keep it, make the result."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.cli.approve import Lines, can_ask
from agent.cli.render import show_patch, usage_line, visible
from agent.events import AttemptStarted, PhaseStarted, StepStarted
from agent.permissions import goes_through
from agent.result import EXIT_CODES, Receipt, Result
from agent.solve.fix import Outcome
from sandbox.accept import AcceptConflict, Accepted
from sandbox.base import SandboxError
from sandbox.naming import a_few
from sandbox.rejected import KEPT_DAYS, keep

if TYPE_CHECKING:
    from agent.cli.desk import Desk

_RISKY = 50
"""So many files to look at twice are named."""


async def finish(desk: Desk, outcome: Outcome, code: int | None, elapsed: Callable[[], float]) -> Result:
    """Settle what becomes of the outcome's patch and tell the person. `code` overrides the exit code."""
    if outcome.subtype == "success" and not outcome.patch.empty:
        _show_proof(desk, outcome)
        outcome = await _settle(desk, outcome)
    elif not outcome.patch.empty:
        kept = _keep(desk, outcome)
        outcome = outcome._replace(text=f"{outcome.text}\nThe last candidate, not verified: {kept}")
    say(desk, outcome)
    return result_of(desk, outcome, code, elapsed())


def result_of(desk: Desk, outcome: Outcome, code: int | None, duration_s: float) -> Result:
    records = desk.log.records[desk.begun :]
    return Result(
        subtype=outcome.subtype,
        exit_code=EXIT_CODES[outcome.subtype] if code is None else code,
        session_id=desk.log.header.id,
        text=outcome.text,
        patch=outcome.patch.text.decode("utf-8", "replace"),
        patch_file=_keep(desk, outcome),
        files_changed=outcome.patch.paths,
        receipt=outcome.verdict.receipt if outcome.verdict else None,
        usage=desk.budget.usage,
        steps=sum(isinstance(record.event, StepStarted) for record in records),
        attempts=sum(isinstance(record.event, AttemptStarted) for record in records),
        duration_s=round(duration_s, 3),
        model=outcome.model,
        cause=outcome.cause,
    )


async def _settle(desk: Desk, outcome: Outcome) -> Outcome:
    """Apply the verified patch, write it to a file, or leave it, as the options and the person say."""
    options = desk.options
    if options.patch is not None:
        try:
            options.patch.write_bytes(outcome.patch.text)
        except OSError as error:
            kept = _keep(desk, outcome)
            text = f"Cannot write {options.patch}: {error.strerror}. The patch is at {kept}."
            return outcome._replace(subtype="error", text=text)
        return _also(desk, outcome, f"The patch is in {options.patch}.")
    if not options.apply:
        return _also(desk, outcome, "Nothing was applied.")
    if not options.yes and not goes_through(options.permission_mode, alone=outcome.edits_alone):
        if not can_ask(options.output_format):
            kept = _keep(desk, outcome)
            return _also(
                desk, outcome, f"Not applied, as nobody is here to ask: --yes, or `git apply {kept}`."
            )
        if not await Lines(desk.console).yes("Apply this patch?"):
            kept = _keep(desk, outcome)
            return outcome._replace(
                subtype="declined", text=f"Not applied. The patch is kept for {KEPT_DAYS} days at {kept}."
            )
    return await _apply(desk, outcome)


async def _apply(desk: Desk, outcome: Outcome) -> Outcome:
    desk.branch.emit(PhaseStarted("apply", str(desk.options.cwd)))
    try:
        accepted = await desk.accept(outcome.patch)
    except AcceptConflict as conflict:
        kept = _keep(desk, outcome)
        return outcome._replace(
            subtype="error", text=f"{conflict}. Nothing was applied; the patch is at {kept}."
        )
    except SandboxError as error:
        kept = _keep(desk, outcome)
        return outcome._replace(subtype="error", text=f"{error}. The patch is at {kept}.")
    return _also(desk, outcome, applied(accepted))


def applied(accepted: Accepted) -> str:
    """What an accept did, for a person."""
    text = f"Applied to {a_few(accepted.paths)}." if accepted.paths else "Your files are so already."
    if accepted.merged:
        text += f" Merged with your own edits, look whether they fit: {a_few(accepted.merged)}."
    if accepted.split:
        text += f" A hard link was split, and other names keep the old content: {a_few(accepted.split)}."
    if accepted.highlighted:
        risky = a_few(accepted.highlighted, _RISKY)
        text += f" Look twice at {risky}: such files can run code by themselves."
    return text


def _also(desk: Desk, outcome: Outcome, words: str) -> Outcome:
    """The outcome with something more to say; beside it where the text is JSON for a program."""
    if desk.options.output_schema is None:
        return outcome._replace(text=f"{outcome.text} {words}")
    desk.note(words)
    return outcome


def _keep(desk: Desk, outcome: Outcome) -> str:
    """Write the patch into the session's folder; returns its path, empty when there is none."""
    if outcome.patch.empty:
        return ""
    verified = outcome.verdict is not None and outcome.verdict.verified
    return str(keep(desk.log.artifacts, "verified" if verified else "candidate", outcome.patch))


def _show_proof(desk: Desk, outcome: Outcome) -> None:
    """The diff on stdout, the receipt on stderr. In the JSON formats both are in the result."""
    if desk.options.output_format != "text":
        return
    try:
        if not _answer_alone(desk, outcome) or (
            can_ask("text") and desk.options.apply and not desk.options.yes
        ):
            show_patch(outcome.patch)
    except BrokenPipeError:
        # the reader has seen enough; what was asked for is still done
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if outcome.verdict and desk.options.verbosity >= 0:
        for line in receipt_lines(outcome.verdict.receipt):
            desk.console.print(visible(line), highlight=False, soft_wrap=True, markup=False)


def _answer_alone(desk: Desk, outcome: Outcome) -> bool:
    """True when stdout is for the answer: the patch goes elsewhere."""
    return outcome.answers and (desk.options.apply or desk.options.patch is not None)


def receipt_lines(receipt: Receipt) -> list[str]:
    """The receipt for a person."""
    import shlex

    def told(exit_code: int | None, tests: dict[str, int]) -> str:
        counts = ", ".join(f"{n} {what}" for what, n in sorted(tests.items()) if n)
        return f"exit {exit_code}" + (f", {counts}" if counts else "")

    lines = [
        f"receipt  {shlex.join(receipt.command)}",
        f"  before {told(receipt.exit_before, receipt.tests_before)}",
        f"  after  {told(receipt.exit_after, receipt.tests_after)}  (clean copy: base + this patch)",
        f"  in     {receipt.sandbox}, {receipt.image}",
        f"  log    {receipt.log}",
    ]
    if receipt.protected_files_touched:
        lines.append(f"  left out, as tests do not count: {a_few(receipt.protected_files_touched)}")
    return lines


def say(desk: Desk, outcome: Outcome) -> None:
    """The outcome in words; in the JSON formats it is in the result."""
    if desk.options.output_format != "text":
        return
    text = visible(outcome.text)
    if not text:
        pass
    elif outcome.subtype == "success" and (outcome.patch.empty or _answer_alone(desk, outcome)):
        print(text)
    else:
        print(text if outcome.subtype == "success" else f"pawl: {text}", file=sys.stderr)
    usage = desk.budget.usage
    if usage.requests and desk.options.verbosity >= 0:
        print(f"{usage_line(usage)}; session {desk.log.header.id}", file=sys.stderr)
