"""A session in Markdown: what was said, what was called, what came of it. Pure."""

from __future__ import annotations

import re

from agent.events import (
    AssistantReplied,
    AttemptEnded,
    AttemptStarted,
    CheckRan,
    Compacted,
    ConversationStarted,
    Durable,
    FilesRestored,
    Finished,
    PatchApplied,
    Reminded,
    Resumed,
    Steered,
    ToolFinished,
    ToolStarted,
    TurnEnded,
    TurnStarted,
)
from agent.session import SessionLog
from tools.output import clip


def transcript(log: SessionLog, most: int | None = None) -> str:
    """All of it, attempts one after the other; `most`: so many characters of each result."""
    header = log.header
    parts = [f"# Session {header.id}", f"`pawl {header.command}` in `{header.project}`, {header.at}"]
    parts += filter(None, (_part(record.event, most) for record in log.records))
    return "\n\n".join(parts) + "\n"


def _part(event: Durable, most: int | None) -> str:
    match event:
        case ConversationStarted(model=model):
            return f"*With {model}.*"
        case TurnStarted(text=text) | Steered(text=text):
            return f"## User\n\n{text}"
        case Reminded(text=text):
            return f"## pawl\n\n{text}"
        case AssistantReplied(message=message) if message.text:
            return f"## Assistant\n\n{message.text}"
        case ToolStarted(call=call):
            return f"### {call.name}\n\n{_fenced(call.arguments, 'json')}"
        case ToolFinished(result=result):
            text = result.text if most is None else clip(result.text, limit=most)
            return _fenced(text, "error" if result.is_error else "")
        case AttemptStarted(number=number, of=of):
            return f"# Attempt {number} of {of}"
        case AttemptEnded(outcome=outcome):
            return f"*The attempt ended: {outcome}.*"
        case CheckRan(command=command, exit_code=code):
            return f"*pawl ran `{' '.join(command)}`: exit {code}.*"
        case PatchApplied(paths=paths):
            return f"*Applied to {', '.join(paths)}.*"
        case FilesRestored(how=how):
            return f"*{how}: {event.named}.*"
        case Resumed():
            return "*Gone on with.*"
        case Compacted(summary=summary) if summary:
            return f"## Summary of what was before\n\n{summary}"
        case TurnEnded(status=status, detail=detail) if status != "done":
            return f"*The turn ended: {status}. {detail}*"
        case Finished(result=result):
            return f"*Ended: {result.get('subtype')}, exit {result.get('exit_code')}.*"
        case _:
            return ""


def _fenced(text: str, kind: str) -> str:
    """A code block that nothing in the text can end."""
    longest = max((len(run) for run in re.findall("`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{kind}\n{text.rstrip()}\n{fence}"
