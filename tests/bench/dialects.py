"""What finding calls in text costs for each streamed token: the assembler takes them, all dialects look.

Prints one JSON object and one line; exit code 1 when a reply costs more than the limit. The replies are about
2,000 tokens each, of four characters; `plain` is the same assembler without tools, which looks for nothing.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

from agent.messages import Usage
from agent.models.assemble import Assembler
from agent.models.base import Delta, Finish, ReasoningDelta, TextDelta
from tests.support.dialects import TOOLS

LIMIT_US = 50.0
"""Of all of pawl for one token."""
ROUNDS = 7
TOKEN = 4
END = Finish("stop", Usage())

SENTENCE = (
    "The function takes the list `a`, and <b> says that x[0] is {1: 'one'}; see src/a.py: it's there.\n"
)
CODE = 'def f(x):\n    """Say it."""\n    return {"a": [x], \'b\': "it\'s"}  # <tag> [1]\n'
WRITE = json.dumps({"name": "write", "arguments": {"path": "a.py", "content": CODE * 100}})
REPLIES = {
    "prose": SENTENCE * 80,
    "prose and fences": (SENTENCE * 6 + f"```python\n{CODE}```\n") * 10,
    "hermes": f"I will write it.\n<tool_call>\n{WRITE}\n</tool_call>",
    "fenced_json": f"I will write it.\n```json\n{WRITE}\n```",
    "qwen3_coder": "<tool_call>\n<function=write>\n<parameter=path>a.py</parameter>\n<parameter=content>\n"
    + CODE * 100
    + "\n</parameter>\n</function>\n</tool_call>",
    "broken JSON": "<tool_call>" + WRITE.replace('"path"', "path", 1) + "</tool_call>",
    "cut": f"<tool_call>\n{WRITE[:-20]}",
    "many marks": "The tags <tool_call> and [TOOL_CALLS] and {\n" * 180,
}


def microseconds(deltas: list[Delta], *, looking: bool) -> float:
    """For one token."""
    start = time.perf_counter()
    assembler = Assembler(TOOLS if looking else ())
    for delta in deltas:
        assembler.add(delta)
    assembler.message()
    return (time.perf_counter() - start) / len(deltas) * 1e6


def measure() -> dict[str, dict[str, float]]:
    """Median microseconds a token of each reply, as text and as reasoning, looking for calls and not."""
    figures: dict[str, dict[str, float]] = {}
    for name, text in REPLIES.items():
        pieces = [text[at : at + TOKEN] for at in range(0, len(text), TOKEN)]
        spoken: list[Delta] = [*map(TextDelta, pieces), END]
        thought: list[Delta] = [*map(ReasoningDelta, pieces), END]
        kinds = {"plain": (spoken, False), "text": (spoken, True), "reasoning": (thought, True)}
        taken: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(ROUNDS + 1):
            for kind, (deltas, looking) in kinds.items():
                taken[kind].append(microseconds(deltas, looking=looking))
        figures[name] = {kind: round(statistics.median(times[1:]), 2) for kind, times in taken.items()}
    return figures


def main() -> int:
    figures = measure()
    worst = max(figures, key=lambda name: max(figures[name].values()))
    dearest = max(figures[worst].values())
    print(json.dumps({"bench": "dialects", "limit_us": LIMIT_US, "us_per_token": figures}))
    print(
        f"dialects: at most {dearest:.1f} microseconds a token ({worst}),"
        f" without looking {figures[worst]['plain']:.1f}; at most {LIMIT_US:g}"
    )
    return int(dearest > LIMIT_US)


if __name__ == "__main__":
    sys.exit(main())
