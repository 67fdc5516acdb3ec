"""What a person sees of text that a model, a server or a repository wrote."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from agent.cli.render import Renderer, visible
from agent.events import (
    AttemptEnded,
    NetworkDecided,
    Noted,
    PromptRead,
    TextStreamed,
    ToolFinished,
    ToolStarted,
)
from agent.messages import ToolCall, ToolResult
from agent.session import Envelope

PLACE = Envelope(1, 0, "", 0, 0)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("caf\u00e9 \u65e5\u672c", "caf\u00e9 \u65e5\u672c"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b[2J", "\\x1b[2J"),
        ("safe\rrm", "safe\\rrm"),
        ("\x9b2J", "\\x9b2J"),
        ("if x:\u202e }", "if x:\\u202e }"),
        ("caf\udce9", "caf\\udce9"),
    ],
)
def test_control_codes_are_spelled_out(text: str, shown: str) -> None:
    assert visible(text) == shown


HOSTILE = "[bold]\x1b]52;c;aGk=\x07[/] [link=http://x]y[/link] \\"


@pytest.mark.parametrize(
    "event",
    [
        TextStreamed(HOSTILE),
        Noted("info", HOSTILE),
        NetworkDecided(HOSTILE, 0, False, HOSTILE),
        AttemptEnded(1, "tests_fail", HOSTILE),
        ToolStarted(ToolCall("c", "bash", HOSTILE), "execute"),
        ToolFinished(ToolResult("c", "bash", HOSTILE), 0.0),
    ],
    ids=lambda event: type(event).__name__,
)
def test_no_event_steers_the_terminal(event: object) -> None:
    out = io.StringIO()
    renderer = Renderer(Console(file=out, force_terminal=True, color_system=None, width=200))
    renderer(event, PLACE)  # type: ignore[arg-type]
    renderer.close()
    shown = out.getvalue()
    assert "[bold]\\x1b]52;c;aGk=\\x07[/] [link=http://x]y[/link]" in shown
    assert "\x1b]" not in shown and "\x07" not in shown


def shown(verbosity: int, *events: NetworkDecided) -> list[str]:
    out = io.StringIO()
    renderer = Renderer(Console(file=out, width=200), verbosity)
    for event in events:
        renderer(event, PLACE)
    return out.getvalue().splitlines()


def test_a_refused_host_is_shown_once_and_an_allowed_one_when_asked() -> None:
    yes = NetworkDecided("good.example", 443, True, "allowed by good.example:443")
    no = NetworkDecided("evil.example", 443, False, "not allowed")
    for quiet in (-1, 0):
        assert shown(quiet, yes, no, no) == ["network: evil.example:443 refused: not allowed"]
    assert shown(1, yes, yes, no)[:2] == ["network: good.example:443: allowed by good.example:443"] * 2


def test_hosts_that_a_command_invents_do_not_flood_the_terminal() -> None:
    lines = shown(0, *(NetworkDecided(f"h{number}.example", 443, False, "no") for number in range(100)))
    assert len(lines) == 21
    assert lines[-1] == "network: further refusals are in the session log only"


def test_the_progress_of_the_prompt_is_one_line_that_gives_way() -> None:
    out = io.StringIO()
    renderer = Renderer(Console(file=out, force_terminal=True, color_system=None, width=200))
    for event in (PromptRead(0, 2000), PromptRead(1024, 2000), TextStreamed("Hi"), PromptRead(5, 10)):
        renderer(event, PLACE)
    wiped = "\r\x1b[2K"
    first, second = (f"reading the prompt, 2,000 tokens: {share}%" for share in (0, 51))
    assert out.getvalue() == f"{first}{wiped}{second}{wiped}Hi"


def test_the_progress_of_the_prompt_is_for_terminals_alone() -> None:
    out = io.StringIO()
    Renderer(Console(file=out, width=200), 2)(PromptRead(1, 2), PLACE)
    assert out.getvalue() == ""
