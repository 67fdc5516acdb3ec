"""A command in a fence of `bash`: models that act by shell blocks alone.

A block of commands is what explanations hold most, so it counts only when it is the whole reply, or when the
sentence in front of it says that the model does it now.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agent.messages import ToolResult
from agent.models.dialects._dialect import Dialect, Fence, json_of
from agent.models.dialects._offer import Offer, Written
from agent.models.dialects._prose import intends

SHELLS = frozenset(
    ("bash", "sh", "shell", "zsh", "console", "shell-session", "terminal", "mswea_bash_command")
)
TOOL = "bash"


class FencedShell(Dialect):
    name = "fenced_shell"
    rank = 70

    def read_fence(self, fence: Fence, offer: Offer) -> list[Written]:
        argument = offer.only_text(TOOL)
        command = _command(fence)
        if fence.info not in SHELLS or argument is None or not command or not _is_meant(fence):
            return []
        if not fence.closed and (not fence.body.endswith("\n") or "<<" in command):
            return [offer.call_of_texts(TOOL, {}, (argument, command))]
        return [offer.call(TOOL, {argument: command})]

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        if name != TOOL:
            return json_of({"name": name, "arguments": arguments})
        return f"```bash\n{arguments.get('command', '')}\n```"

    def render_results(self, results: Sequence[ToolResult]) -> str:
        return "\n".join(f"<output>\n{one.text}\n</output>" for one in results)


def _is_meant(fence: Fence) -> bool:
    if intends(fence.before):
        return True
    behind = fence.behind.strip().partition("\n")[0]
    return not fence.before.strip() and (not behind or intends(behind) or behind.startswith("```"))


def _command(fence: Fence) -> str:
    """The commands without prompts; none where a prompt shows that output stands there too."""
    lines = fence.body.strip().split("\n")
    prompts = [line for line in lines if re.match(r"[ \t]*\$ ", line)]
    if not prompts:
        return "" if fence.info in ("console", "shell-session") and len(lines) > 1 else fence.body.strip()
    return "\n".join(line.strip()[2:] for line in lines) if len(prompts) == len(lines) else ""


dialect = FencedShell()
