from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.bus import Bus
from agent.events import AnyEvent, Noted, Reminded, StepStarted, TextStreamed, TurnStarted
from agent.session import Envelope, Header, SessionError, SessionLog, scrubber

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SessionLog]:
    header = Header(id="s1", at="", project="/p")
    with SessionLog.create(tmp_path / "s1.jsonl", header, scrub=scrubber({"KEY": "hunter2hunter2"})) as log:
        yield log


class Ear:
    def __init__(self) -> None:
        self.heard: list[tuple[AnyEvent, Envelope]] = []

    def __call__(self, event: AnyEvent, envelope: Envelope) -> None:
        self.heard.append((event, envelope))

    @property
    def events(self) -> list[AnyEvent]:
        return [event for event, _ in self.heard]


def bus(log: SessionLog, *sinks: object) -> Bus:
    return Bus(log, sinks, clock=lambda: NOW)  # type: ignore[arg-type]


def test_an_event_is_in_the_log_before_a_sink_hears_of_it(log: SessionLog) -> None:
    lengths: list[int] = []

    def sink(event: AnyEvent, envelope: Envelope) -> None:
        lengths.append(len(SessionLog.load(log.path).records))

    branch = bus(log, sink).branch()
    branch.emit(TurnStarted("a"))
    branch.emit(Reminded("b"))
    assert lengths == [1, 2]


def test_ephemeral_events_reach_sinks_only(log: SessionLog) -> None:
    ear = Ear()
    branch = bus(log, ear).branch()
    branch.emit(TurnStarted("a"))
    assert branch.emit(TextStreamed("str")) is None
    assert ear.events == [TurnStarted("a"), TextStreamed("str")]
    assert ear.heard[1][1] == Envelope(0, 1, "2026-01-02T03:04:05.000Z", 1, 0)
    assert len(log.records) == 1


def test_turns_and_steps_are_counted(log: SessionLog) -> None:
    branch = bus(log).branch()
    for event in (TurnStarted("a"), StepStarted(""), StepStarted(""), TurnStarted("b"), StepStarted("")):
        branch.emit(event)
    assert [(r.envelope.turn, r.envelope.step) for r in log.records] == [
        (1, 0),
        (1, 1),
        (1, 2),
        (2, 0),
        (2, 1),
    ]


def test_forks_share_what_was_and_nothing_after(log: SessionLog) -> None:
    trunk = bus(log).branch()
    trunk.emit(TurnStarted("trunk"))
    one, two = trunk.fork("attempt-1"), trunk.fork("attempt-2")
    one.emit(Reminded("one"))
    two.emit(Reminded("two"))
    trunk.emit(Reminded("more trunk"))
    one.fork("deep").emit(Reminded("deep"))
    assert one.events() == [TurnStarted("trunk"), Reminded("one")]
    assert two.events() == [TurnStarted("trunk"), Reminded("two")]
    assert trunk.events() == [TurnStarted("trunk"), Reminded("more trunk")]
    assert [r.envelope.branch for r in log.records] == ["", "attempt-1", "attempt-2", "", "attempt-1/deep"]


def test_a_loaded_session_continues_where_it_was(log: SessionLog) -> None:
    trunk = bus(log).branch()
    trunk.emit(TurnStarted("a"))
    trunk.fork("x").emit(StepStarted("h"))
    log.close()
    with SessionLog.load(log.path) as loaded:
        branch = bus(loaded).branch(leaf=2)
        assert (branch.turn, branch.step, branch.label) == (1, 1, "x")
        branch.emit(Reminded("go on"))
        assert branch.events() == [TurnStarted("a"), StepStarted("h"), Reminded("go on")]


def test_a_sink_that_raises_is_dropped_with_one_note(log: SessionLog) -> None:
    good = Ear()
    calls = []

    def broken(event: AnyEvent, envelope: Envelope) -> None:
        calls.append(event)
        raise RuntimeError("the pipe is gone")

    branch = bus(log, broken, good).branch()
    branch.emit(TurnStarted("a"))
    branch.emit(TextStreamed("b"))
    assert len(calls) == 1
    text, note, stream = good.events
    assert (text, stream) == (TurnStarted("a"), TextStreamed("b"))
    assert isinstance(note, Noted)
    assert note.level == "warning"
    assert "broken" in note.text and "the pipe is gone" in note.text
    assert branch.events() == [TurnStarted("a"), note]


def test_sinks_hear_the_scrubbed_event(log: SessionLog) -> None:
    ear = Ear()
    record = bus(log, ear).branch().emit(TurnStarted("my key is hunter2hunter2"))
    assert ear.events == [record.event] == [TurnStarted("my key is [KEY]")]


def test_what_cannot_be_recorded_is_not_told(log: SessionLog) -> None:
    ear = Ear()
    branch = bus(log, ear).branch()
    branch.emit(TurnStarted("a"))
    log.close()
    log.path.unlink()
    with pytest.raises(SessionError):
        branch.emit(TurnStarted("b"))
    assert ear.events == [TurnStarted("a")]
    assert (branch.turn, branch.leaf) == (1, 1)
