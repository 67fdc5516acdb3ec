from __future__ import annotations

from typing import Annotated

from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool

MAX_OPTIONS = 9
NOBODY = "Nobody is here to answer. Choose yourself, and say what you chose."
UNANSWERED = "The user gave no answer. Choose yourself, and say what you chose."


@tool(Effect.READ)
async def ask_user(
    ctx: ToolContext,
    question: str,
    options: Annotated[list[str] | None, "answers to choose from"] = None,
) -> ToolOutput:
    """Ask the user what only they can decide; they may answer freely."""
    offered = [option.strip() for option in options or () if option.strip()]
    if not question.strip():
        raise ToolError("There is no question.")
    if len(offered) > MAX_OPTIONS:
        raise ToolError(f"{len(offered)} options are too many, at most {MAX_OPTIONS}.")
    if ctx.ask is None:
        return ToolOutput(NOBODY)
    answer = await ctx.ask(question.strip(), offered)
    return ToolOutput(f"The user answered: {answer}" if answer else UNANSWERED)
