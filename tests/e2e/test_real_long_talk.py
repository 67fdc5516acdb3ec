"""What is said meanwhile, and a summary of what no longer fits, with the real embedded model."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pytest

from agent.bus import Branch, Bus
from agent.events import AnyEvent, AssistantReplied, Compacted, Steered, TextStreamed
from agent.loop import Agent, run_turn
from agent.models.local import LocalModel, LocalServer
from agent.models.weights import pull
from agent.paths import cache_dir
from agent.session import Envelope, new_session

pytestmark = [pytest.mark.anyio, pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(300)]

NAME = "local/qwen2.5-coder-1.5b"
FILLER = "The harbour was built of grey stone, and boats lay in it all winter. " * 12


async def test_steering_and_a_summary(tmp_path: Path) -> None:
    """A text put in while the model writes is answered in the same turn, from the cache. When the talk no
    longer fits, the model's own summary keeps what the person asked it to keep in mind."""
    weights = await pull(NAME, cache=cache_dir())
    async with LocalServer.start(weights) as server, aclosing(LocalModel(NAME, server)) as model:
        with new_session(tmp_path, tmp_path / "state") as log:
            bus = Bus(log)
            agent = Agent(
                model, bus.branch(), system="You are a brief helper.", temperature=0.0, max_tokens=80
            )
            interrupt(bus, agent, "Stop counting. Write only the word BASALT.")
            ended = await run_turn(
                agent, "The file to mend is called quartz.py. Count from one to thirty in words."
            )
            assert ended.status in ("done", "limit"), ended.detail
            first, second = replies(agent.branch)
            assert "BASALT" in second.message.text and "BASALT" not in first.message.text
            known = first.usage.input_tokens + first.usage.output_tokens
            assert second.usage.cached_input_tokens >= known - 8, second.usage
            assert [e.text for e in agent.branch.events() if isinstance(e, Steered)] == [
                "Stop counting. Write only the word BASALT."
            ]

            await run_turn(agent, f"Read this: {FILLER} Answer with OK.")
            used = replies(agent.branch)[-1].usage
            model.context_tokens = used.input_tokens + used.output_tokens + 60
            await run_turn(agent, "Which file did I want to have mended? Answer with its name.")
            [made] = [event for event in agent.branch.events() if isinstance(event, Compacted)]
            last = replies(agent.branch)[-1]
    assert made.cut and made.usage.output_tokens, "the model wrote the summary"
    assert made.usage.cached_input_tokens >= 0.6 * made.usage.input_tokens, made.usage
    assert "quartz" in made.summary and "quartz.py" in last.message.text


def interrupt(bus: Bus, agent: Agent, text: str) -> None:
    """Say `text` once, as soon as the model writes."""

    def hear(event: AnyEvent, envelope: Envelope) -> None:
        if isinstance(event, TextStreamed) and not said:
            said.append(text)
            agent.steering.append(text)

    said: list[str] = []
    bus.sinks.append(hear)


def replies(branch: Branch) -> list[AssistantReplied]:
    return [event for event in branch.events() if isinstance(event, AssistantReplied)]
