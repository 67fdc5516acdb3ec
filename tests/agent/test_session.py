from __future__ import annotations

import json
import resource
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.events import CheckRan, Durable, Noted, Reminded, ToolFinished, TurnStarted
from agent.messages import ToolResult
from agent.session import (
    FORMAT,
    Header,
    SessionError,
    SessionLog,
    known_secrets,
    new_session,
    scrubber,
    sessions_folder,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
HEADER = Header(id="s1", at="2026-01-02T03:04:05.678Z", project="/home/ada/engine")


def add(log: SessionLog, event: Durable, parent: int | None = None) -> int:
    parent = len(log.records) if parent is None else parent
    return log.append(event, at=NOW, parent=parent, turn=1, step=0).envelope.seq


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a" / "b" / "s1.jsonl"


def three_events(path: Path) -> bytes:
    with SessionLog.create(path, HEADER) as log:
        for text in ("one", "two", "three"):
            add(log, TurnStarted(text))
    return path.read_bytes()


def test_the_file_is_the_documented_format(path: Path) -> None:
    with SessionLog.create(path, HEADER) as log:
        add(log, TurnStarted("mend it"))
        log.append(Noted("info", "é"), at=NOW, parent=0, turn=1, step=2, branch="attempt-1")
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == [
        {
            "format": FORMAT,
            "id": "s1",
            "at": "2026-01-02T03:04:05.678Z",
            "project": "/home/ada/engine",
            "version": "",
            "command": "",
        },
        {
            "seq": 1,
            "parent": 0,
            "at": "2026-01-02T03:04:05.678Z",
            "turn": 1,
            "step": 0,
            "type": "turn_started",
            "text": "mend it",
        },
        {
            "seq": 2,
            "parent": 0,
            "at": "2026-01-02T03:04:05.678Z",
            "turn": 1,
            "step": 2,
            "branch": "attempt-1",
            "type": "noted",
            "level": "info",
            "text": "é",
        },
    ]


def test_a_loaded_session_equals_the_written_one_and_goes_on(path: Path) -> None:
    with SessionLog.create(path, HEADER) as log:
        add(log, CheckRan("base", ("pytest", "-q"), 1, False, 0.5, {"failed": 1}))
        add(log, ToolFinished(ToolResult("c1", "read", "text"), 0.1))
    loaded = SessionLog.load(path)
    assert loaded.records == log.records
    assert loaded.header == log.header
    with loaded:
        add(loaded, TurnStarted("again"))
    assert SessionLog.load(path).records == loaded.records


def test_an_event_is_in_the_file_when_append_returns(path: Path) -> None:
    with SessionLog.create(path, HEADER) as log:
        add(log, TurnStarted("mend it"))
        assert b"mend it" in path.read_bytes()


def test_branches_are_walked_from_leaf_to_root(path: Path) -> None:
    with SessionLog.create(path, HEADER) as log:
        root = add(log, TurnStarted("root"))
        left = add(log, Reminded("left"), root)
        right = add(log, Reminded("right"), root)
        leaf = add(log, Reminded("left again"), left)
    assert [r.envelope.seq for r in log.line_to(leaf)] == [root, left, leaf]
    assert [r.envelope.seq for r in log.line_to(right)] == [root, right]
    assert log.line_to(0) == []
    with pytest.raises(ValueError, match="cannot follow"):
        add(log, Reminded("from the future"), 99)


@given(cut=st.integers(min_value=1))
def test_a_crash_at_any_byte_loses_only_the_last_line(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("torn") / "s1.jsonl"
    whole = three_events(path)
    last = whole.splitlines(keepends=True)[-1]
    path.write_bytes(whole[: len(whole) - 1 - cut % len(last)])
    log = SessionLog.load(path)
    assert [r.event for r in log.records] == [TurnStarted("one"), TurnStarted("two")]
    before = path.read_bytes()
    with log:
        assert path.read_bytes() == before, "loading must not change the file"
        add(log, TurnStarted("after the crash"))
    assert [r.event for r in SessionLog.load(path).records][2:] == [TurnStarted("after the crash")]


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1, b'{"format":"other/9","id":"","at":"","project":""}', "unknown format 'other/9'"),
        (1, b"hello", "not a session header"),
        (2, b"", "not an event"),
        (2, b"\xff\xfe", "not an event"),
        (3, b'{"seq":2,"parent":1,"at":"","turn":1,"step":0,"type":"unheard_of"}', "unheard_of"),
        (
            3,
            b'{"seq":7,"parent":1,"at":"","turn":1,"step":0,"type":"reminded","text":""}',
            "expected event 2",
        ),
        (3, b'{"seq":2,"parent":2,"at":"","turn":1,"step":0,"type":"reminded","text":""}', "names parent 2"),
        (4, b'{"seq":3,"parent":2,"at":"","turn":1,"step":0,"type":"reminded"}', "not an event"),
    ],
)
def test_a_broken_line_is_an_error_with_its_number(path: Path, line: int, text: bytes, message: str) -> None:
    lines = three_events(path).splitlines()
    lines[line - 1] = text
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(SessionError, match=message) as caught:
        SessionLog.load(path)
    assert caught.value.line == line
    assert f"{path}:{line}: " in str(caught.value)


def test_an_empty_or_missing_file_is_an_error(path: Path, tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="No such file"):
        SessionLog.load(path)
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(SessionError, match="header is missing"):
        SessionLog.load(empty)


def test_a_session_is_never_overwritten(path: Path) -> None:
    before = three_events(path)
    with pytest.raises(SessionError, match="File exists"):
        SessionLog.create(path, HEADER)
    assert path.read_bytes() == before


def test_two_writers_are_kept_apart(path: Path) -> None:
    three_events(path)
    first, second = SessionLog.load(path), SessionLog.load(path)
    with first, second:
        add(first, TurnStarted("mine"))
        with pytest.raises(SessionError, match="in use by another process"):
            add(second, TurnStarted("also mine"))
        first.close()
        with pytest.raises(SessionError, match="changed by another process"):
            add(second, TurnStarted("late"))
    assert SessionLog.load(path).records == first.records


def test_a_write_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    with SessionLog.create(path, HEADER) as log:
        add(log, TurnStarted("one"))
        before = path.read_bytes()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, limits[1]))
        try:
            with pytest.raises(SessionError, match="File too large"):
                add(log, TurnStarted("two"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_bytes() == before
        add(log, TurnStarted("three"))
    assert [r.event for r in SessionLog.load(path).records] == [TurnStarted("one"), TurnStarted("three")]


def test_secrets_are_masked_before_anything_is_written(path: Path) -> None:
    secrets = known_secrets(
        {
            "OPENAI_API_KEY": "sk-abcdefghijkl",
            "OPENAI_API_KEY_FILE": "/run/secrets/key",
            "GITHUB_TOKEN": "sk-abcdefghijkl-and-more",
            "SHORT_TOKEN": "1234",
            "PATH": "/usr/bin:/usr/local/bin",
        }
    )
    assert set(secrets) == {"OPENAI_API_KEY", "GITHUB_TOKEN"}
    with SessionLog.create(path, HEADER, scrub=scrubber(secrets)) as log:
        event = ToolFinished(ToolResult("c", "bash", "sk-abcdefghijkl sk-abcdefghijkl-and-more x"), 0.0)
        record = log.append(event, at=NOW, parent=0, turn=1, step=1)
    assert b"sk-abc" not in path.read_bytes()
    assert record.event == ToolFinished(ToolResult("c", "bash", "[OPENAI_API_KEY] [GITHUB_TOKEN] x"), 0.0)
    assert SessionLog.load(path).records == [record]


def test_a_key_that_comes_later_is_masked_too_but_no_word_that_is_too_short_for_one(path: Path) -> None:
    with SessionLog.create(path, HEADER, scrub=scrubber({"TOKEN": "sk-abcdefghijkl"})) as log:
        log.hide("key of a command")
        log.hide("key")
        add(log, TurnStarted("key: key of a command, sk-abcdefghijkl"))
    assert log.records[-1].event == TurnStarted("key: [KEY], [TOKEN]")
    assert b"of a command" not in path.read_bytes()


@given(text=st.text(st.characters(exclude_categories=())))
def test_any_text_can_be_recorded(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("text") / "s1.jsonl"
    with SessionLog.create(path, HEADER, scrub=scrubber({})) as log:
        add(log, TurnStarted(text))
    assert SessionLog.load(path).records == log.records
    assert len(path.read_bytes().splitlines()) == 2


def test_a_new_session_is_private_and_sorts_by_time(tmp_path: Path) -> None:
    state, project = tmp_path / "state", Path("/home/ada/my engine")
    later = NOW.replace(second=6)
    with (
        new_session(project, state, clock=lambda: NOW) as one,
        new_session(project, state, clock=lambda: later) as two,
    ):
        assert one.header.id < two.header.id
    assert one.header.id.startswith("20260102-030405-678-")
    assert one.path.parent == sessions_folder(project, state) == two.path.parent
    assert one.path.parent.name.startswith("my_engine-")
    assert one.artifacts == one.path.parent / one.header.id / "artifacts"
    for folder in (state, state / "sessions", one.path.parent, one.artifacts.parent, one.artifacts):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(one.path.stat().st_mode) == 0o600
    assert sessions_folder(Path("/elsewhere/my engine"), state) != one.path.parent


def test_no_descriptor_is_left_open(path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    three_events(path)
    SessionLog.load(path)
    with pytest.raises(SessionError):
        SessionLog.create(path, HEADER)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
