"""`pawl sessions show` and `export`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.bus import Bus
from agent.cli.main import main
from agent.events import (
    AssistantReplied,
    ConversationStarted,
    PatchApplied,
    ToolFinished,
    ToolStarted,
    TurnEnded,
    TurnStarted,
)
from agent.messages import Assistant, ToolCall, ToolResult, Usage
from agent.models.base import ToolSpec
from agent.session import SessionLog, new_session

CALL = ToolCall("c1", "read", '{"path":"a.py"}')


@pytest.fixture
def log(tmp_path: Path, isolated: Path) -> SessionLog:
    with new_session(tmp_path, isolated / "state", command="chat") as log:
        branch = Bus(log).branch()
        branch.emit(ConversationStarted("Be good.", (ToolSpec("read", "Read.", {"type": "object"}),), "m"))
        branch.emit(TurnStarted("look \x1b[31m"))
        branch.emit(AssistantReplied(Assistant("I look.", (CALL,)), "tool_calls", Usage(), 0.1))
        branch.emit(ToolStarted(CALL, "read"))
        branch.emit(ToolFinished(ToolResult("c1", "read", "````\n" + "x" * 9000), 0.1))
        branch.emit(PatchApplied(("a.py",)))
        branch.emit(TurnEnded("limit", "reached 1 steps"))
    return log


def sessions(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["sessions", *words])
    return code, *capsys.readouterr()


def test_a_session_is_shown(
    log: SessionLog, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = sessions(capsys, "show", log.header.id[:-2])
    assert code == 0
    assert "## User\n\nlook \\x1b[31m\n" in out and "## Assistant\n\nI look.\n" in out
    assert '### read\n\n```json\n{"path":"a.py"}\n```' in out and "`````\n````\nxxx" in out
    assert "*Applied to a.py.*" in out and "*The turn ended: limit. reached 1 steps*" in out
    assert len(out) < 4000
    code, _, err = sessions(capsys, "show", "nobody")
    assert (code, "has an id that begins with 'nobody'; there are:\n2" in err) == (2, True)
    with log.path.open("ab") as file:
        file.write(b"{}\n")
    code, _, err = sessions(capsys, "show", log.header.id)
    assert (code, f"{log.path}:9: not an event" in err) == (1, True)


def test_a_session_is_exported(
    log: SessionLog, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = sessions(capsys, "export", log.header.id)
    assert (code, "x" * 9000 in out, "\x1b" in out) == (0, True, True)
    code, out, _ = sessions(capsys, "export", log.header.id, "--format", "messages")
    body = json.loads(out)
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "tool"]
    assert body["messages"][2]["tool_calls"][0]["function"] == {"name": "read", "arguments": CALL.arguments}
    assert (body["model"], body["tools"][0]["function"]["name"]) == ("m", "read")
    assert sessions(capsys, "export", log.header.id, "-o", "out.md")[0] == 0
    assert (tmp_path / "out.md").read_text().startswith(f"# Session {log.header.id}\n")
    for words in (("--format", "pdf"), ("-o", "out.md")):
        assert sessions(capsys, "export", log.header.id, *words)[0] == 2
