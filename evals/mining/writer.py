"""A statement written by a model, which is asked again while the statement gives the fix away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing

from agent.messages import Assistant, Message, System, User
from agent.models.assemble import Assembler
from agent.models.base import Model, Request
from evals.mining.rejected import Rejected
from tools.output import clip

TRIES = 3
MAX_TOKENS = 500
_DIFF_CHARS = 6000
_TEMPERATURE = 0.4
_MIN_WORDS = 8

_WHO = """\
You write issues for a software project, as a person who uses it and does not know its code. Say what goes \
wrong or is missing and what is expected instead, with a short example where that helps. Never say how it is \
mended: show no diff and no code of the fix, name no file, and no function or variable that the fix adds. \
Answer with the issue alone: a title, an empty line, then one or two short paragraphs."""


class Writer:
    """`log` hears what was refused, and why."""

    def __init__(self, model: Model, log: Callable[[str], None] = lambda _: None) -> None:
        self.model = model
        self.log = log

    async def write(self, about: str, faults: Callable[[str], list[str]]) -> str:
        """A statement that `faults` finds nothing wrong with. Raises Rejected, ModelError."""
        messages: list[Message] = [System(_WHO), User(about)]
        found: list[str] = []
        for number in range(TRIES):
            reply = await self._ask(messages, number)
            text = reply.text.strip()
            found = faults(text)
            if len(text.split()) < _MIN_WORDS:
                found.append("it says too little")
            if not found:
                return text
            self.log(f"statement refused, try {number + 1} of {TRIES}: {'; '.join(found[:3])}")
            messages += [
                Assistant(text),
                User(f"This cannot be used: {'; '.join(found[:5])}. Write the issue again."),
            ]
        raise Rejected("no fit statement", f"by {self.model.name}: {'; '.join(found[:3])}")

    async def _ask(self, messages: Sequence[Message], number: int) -> Assistant:
        assembler = Assembler(())
        request = Request(tuple(messages), temperature=_TEMPERATURE, max_tokens=MAX_TOKENS, seed=number)
        async with aclosing(self.model.stream(request)) as deltas:
            async for delta in deltas:
                assembler.add(delta)
        return assembler.message()


def about_commit(message: str, fix: str, said: Sequence[str], names: Sequence[str]) -> str:
    """What the writer is shown of a commit."""
    parts = [
        f"A commit mended the project. Its message:\n\n{clip(message, limit=2000)}",
        f"Its diff, which nobody may see:\n\n{clip(fix, limit=_DIFF_CHARS)}",
    ]
    if said:
        parts.append("What tests said before it:\n\n" + clip("\n".join(said), limit=1500))
    if names:
        parts.append(f"The issue has to name, since its tests use them: {', '.join(names)}")
    return "\n\n".join([*parts, "Write the issue that this commit answers."])


def about_failures(failures: str) -> str:
    """What the writer is shown of a fault that was put in: no line of it."""
    return f"Something broke in the project.\n\n{clip(failures, limit=3000)}\n\nWrite the issue about it."
