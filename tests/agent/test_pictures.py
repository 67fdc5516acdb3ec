"""Images of a session: what the log holds of them, what comes back, and how long they are shown."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path

import pytest

from agent.cli.jsonout import JsonStream
from agent.compaction import IMAGE_BYTES, IMAGE_GONE, View, compacted, weight
from agent.context import project
from agent.events import Compacted, ToolFinished, TurnStarted
from agent.loop import run_turn
from agent.messages import Image, ToolResult, User
from agent.session import Envelope, Header, SessionLog, scrubber, utc_now
from tests.support.scene import TOOLS, Board, Scene, answer, call, calls
from tools.base import Effect, ToolOutput, tool

pytestmark = pytest.mark.anyio

PIXELS = bytes(range(256)) * 4000
PICTURE = Image("image/png", PIXELS)
NAME = hashlib.sha256(PIXELS).hexdigest()


@tool(Effect.READ)
async def see(ctx: Board) -> ToolOutput:
    """Show a picture."""
    return ToolOutput("a PNG image", images=(PICTURE,))


ALL = {**TOOLS, "see": see}


async def seen(folder: Path, *, twice: bool = False) -> SessionLog:
    """The log of a session in which the model saw the picture."""
    wanted = [call(1, "see"), call(2, "see")][: 1 + twice]
    with Scene(folder, [calls(*wanted), answer()], toolset=ALL) as scene:
        await run_turn(scene.agent, "look", [PICTURE] if twice else [])
        return scene.log


async def test_the_log_names_it_and_the_file_is_beside(tmp_path: Path) -> None:
    log = await seen(tmp_path, twice=True)
    assert log.path.stat().st_size < 5000
    lines = [line for line in log.path.read_text().splitlines() if NAME in line]
    assert [json.loads(line)["type"] for line in lines] == ["turn_started", *["tool_finished"] * 2]
    [kept] = (log.artifacts / "images").iterdir()
    assert (kept.name, kept.read_bytes()) == (NAME, PIXELS)
    assert kept.stat().st_mode & 0o777 == 0o600


async def test_another_process_sees_the_same(tmp_path: Path) -> None:
    log = await seen(tmp_path, twice=True)
    again = SessionLog.load(log.path)
    assert [record.event for record in again.records] == [record.event for record in log.records]
    messages = project(record.event for record in again.records)
    assert [m.images for m in messages if isinstance(m, User | ToolResult)] == [(PICTURE,)] * 3


@pytest.mark.parametrize("harm", ["gone", "another"])
async def test_without_its_file_the_words_are_left(tmp_path: Path, harm: str) -> None:
    log = await seen(tmp_path)
    [kept] = (log.artifacts / "images").iterdir()
    if harm == "gone":
        kept.unlink()
    else:
        kept.write_bytes(b"another")
    [result] = [
        r.event.result for r in SessionLog.load(log.path).records if isinstance(r.event, ToolFinished)
    ]
    assert result == ToolResult("c1", "see", "a PNG image")


def test_what_older_logs_hold_within_is_read(tmp_path: Path) -> None:
    log = SessionLog.create(tmp_path / "s.jsonl", Header(id="s", at="", project="/p"))
    log.close()
    line = {"seq": 1, "parent": 0, "at": "", "turn": 1, "step": 0, "type": "turn_started", "text": "hi"}
    images = [{"media_type": "image/png", "data": "iVBORw=="}]
    with log.path.open("a") as file:
        file.write(json.dumps({**line, "images": images}, separators=(",", ":")) + "\n")
    [record] = SessionLog.load(log.path).records
    assert record.event == TurnStarted("hi", (Image("image/png", b"\x89PNG"),))


def test_a_name_that_leads_elsewhere_leads_nowhere(tmp_path: Path) -> None:
    log = SessionLog.create(tmp_path / "s.jsonl", Header(id="s", at="", project="/p"))
    log.close()
    line = {"seq": 1, "parent": 0, "at": "", "turn": 1, "step": 0, "type": "turn_started", "text": "hi"}
    os.mkfifo(tmp_path / "pipe")
    images = [
        {"media_type": "image/png", "sha256": "../../../pipe"},
        {"media_type": "image/png", "sha256": ".."},
    ]
    with log.path.open("a") as file:
        file.write(json.dumps({**line, "images": images}, separators=(",", ":")) + "\n")
    [record] = SessionLog.load(log.path).records
    assert record.event == TurnStarted("hi")


def test_a_secret_beside_an_image_is_still_masked(tmp_path: Path) -> None:
    scrub = scrubber({"MY_TOKEN": "abcdefghijklmnop"})
    with SessionLog.create(tmp_path / "s.jsonl", Header(id="s", at="", project="/p"), scrub=scrub) as log:
        said = TurnStarted("it is abcdefghijklmnop", (PICTURE,))
        record = log.append(said, at=utc_now(), parent=0, turn=1, step=0)
    assert record.event == TurnStarted("it is [MY_TOKEN]", (PICTURE,))
    assert SessionLog.load(log.path).records == [record]


def test_a_stream_of_json_names_it_too() -> None:
    out = io.BytesIO()
    result = ToolResult("c1", "see", "a PNG image", images=(PICTURE,))
    JsonStream(out)(ToolFinished(result, 0.0), Envelope(1, 0, "", 1, 1))
    told = json.loads(out.getvalue())["result"]
    assert told["images"] == [{"media_type": "image/png", "sha256": NAME}]


def test_it_counts_and_gives_way_with_the_result_that_it_belongs_to() -> None:
    shown = ToolResult("c1", "see", "a PNG image", images=(PICTURE,))
    bare = ToolResult("c1", "see", "a PNG image")
    assert weight([shown]) - weight([bare]) == IMAGE_BYTES
    messages = compacted(View((User("go"), shown, shown)), Compacted(clip_before=2, clip_bytes=400)).messages
    assert messages == (User("go"), ToolResult("c1", "see", f"a PNG image\n{IMAGE_GONE}"), shown)
