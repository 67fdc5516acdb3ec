"""What may happen without asking: the mode that the person chose, and what a call may do.

Inside a real sandbox nothing is asked: the sandbox is the boundary, and the question comes where the patch
leaves it. Where there is no boundary (`local`), writing and running are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from agent.messages import ToolCall
from sandbox.base import BackendName
from tools.base import Effect

Mode = Literal["plan", "ask", "auto-edit", "yolo"]
Decision = Literal["allow", "ask", "deny"]


class Approver(Protocol):
    """Someone who can say yes."""

    async def approve(self, call: ToolCall, effect: Effect) -> bool: ...


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
