"""What may happen without asking: the mode that the person chose, and what a call may do.

Inside a real sandbox nothing is asked: the sandbox is the boundary, and the question comes where the patch
leaves it. Where there is no boundary (`local`), writing and running are asked for.

    mode        a call that writes   a call that runs    the patch
    plan        denied               denied              there is none
    ask         asked in `local`     asked in `local`    asked
    auto-edit   goes through         asked in `local`    goes through when edits alone made it, else asked
    yolo        goes through         goes through        goes through
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from agent.messages import ToolCall
from sandbox.base import BackendName
from sandbox.patch import REGULAR, FileChange, Patch
from sandbox.rules import is_sensitive
from tools.base import Effect

Mode = Literal["plan", "ask", "auto-edit", "yolo"]
Decision = Literal["allow", "ask", "deny"]

PLANNING = "[Plan mode: nothing can be changed or run. Read, then say what you would change.]"
"""Stands behind what the person says while the mode is `plan`."""


class Approver(Protocol):
    """Someone who can say yes."""

    async def approve(self, call: ToolCall, effect: Effect) -> bool: ...


def told(message: str, mode: Mode) -> str:
    """What the person says, as the model is told of it in that mode."""
    return f"{message}\n\n{PLANNING}" if mode == "plan" else message


def edits_alone(patch: Patch, written: Mapping[str, str]) -> bool:
    """Whether edits of files made all of a patch, and nothing in it can run code by itself.

    `written` has what they left (`ToolContext.written`): what a command changed besides is not so.
    """

    def is_edit(change: FileChange) -> bool:
        left = "" if change.new is None else hashlib.sha256(change.new).hexdigest()
        same_mode = change.new is None or change.new_mode == (change.old_mode or REGULAR)
        return same_mode and written.get(change.path) == left and not is_sensitive(change.path)

    return all(map(is_edit, patch.changes))


def goes_through(mode: Mode | None, *, alone: bool) -> bool:
    """Whether a patch goes into the person's files unasked; `alone`: edits made all of it."""
    return mode == "yolo" or (mode == "auto-edit" and alone)


@dataclass(frozen=True)
class Permissions:
    """`contained`: calls run in a sandbox that holds them. Without an approver "ask" comes to "deny"."""

    mode: Mode = "ask"
    contained: bool = True
    approver: Approver | None = None

    @classmethod
    def inside_sandbox(
        cls, backend: BackendName, mode: Mode = "ask", approver: Approver | None = None
    ) -> Permissions:
        """Those for a sandbox of this backend; `local` holds nothing."""
        return cls(mode, backend != "local", approver)

    def decide(self, effect: Effect) -> Decision:
        if effect is Effect.READ:
            return "allow"
        if self.mode == "plan":
            return "deny"
        if self.contained or self.mode == "yolo":
            return "allow"
        if self.mode == "auto-edit" and effect is Effect.WRITE:
            return "allow"
        return "ask"

    async def refusal(self, call: ToolCall, effect: Effect) -> str:
        """Why the call may not run, worded for the model; empty when it may. Asks the approver if need be."""
        decision = self.decide(effect)
        if decision == "deny":
            return f"{call.name} is not allowed in plan mode: only read, then say what you would change."
        if decision == "ask":
            if self.approver is None:
                return f"{call.name} needs the user's permission and nobody is there to give it."
            if not await self.approver.approve(call, effect):
                return (
                    f"The user declined this call of {call.name}. Do not repeat it; try another way or ask."
                )
        return ""
