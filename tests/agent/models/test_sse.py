from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.models import sse
from agent.models.sse import SSEParser


def parse(*chunks: bytes) -> list[bytes]:
    parser = SSEParser()
    return [data for chunk in chunks for data in parser.feed(chunk)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data\n\n", [b""]),
        (b"data:\ndata:\n\n", [b"\n"]),
        (b": ping\n\n: ping\n\ndata: a\n\n", [b"a"]),
        (b"event: x\nid: 1\nretry: 5\ndata: a\n\n", [b"a"]),
        (b"\n\n\ndata: a\n\n\n\n", [b"a"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"datax: a\n\ndata: b\n\n", [b"b"]),
        (b"data: [DONE]\n\n", [sse.DONE]),
        (b"data: the stream ends within an even", []),
        (b"data: a line but no blank one behind it\n", []),
        ("data: ümlaut €\n\n".encode(), ["ümlaut €".encode()]),
    ],
)
def test_format(stream: bytes, events: list[bytes]) -> None:
    assert parse(stream) == events
    assert parse(*(stream[i : i + 1] for i in range(len(stream)))) == events


def test_an_event_is_given_out_as_soon_as_its_blank_line_is_there() -> None:
    parser = SSEParser()
    assert parser.feed(b"data: a\r") == []
    assert parser.feed(b"\n\r") == [b"a"]
    assert parser.feed(b"\ndata: b\n") == []
    assert parser.feed(b"\n") == [b"b"]


def test_an_endless_line_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    parser = SSEParser()
    with pytest.raises(ValueError, match="more than 100 bytes"):
        for _ in range(11):
            parser.feed(b"0123456789")


lines = st.sampled_from(
    [b"data: a", b"data:b", b"data: \xe2\x82\xac", b": c", b"event: x", b"", b"", b"data"]
)
ends = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(st.lists(st.tuples(lines, ends)), st.lists(st.integers(0, 200)))
def test_any_cut_of_the_stream_gives_the_same_events(
    parts: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(line + end for line, end in parts)
    at = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert parse(*(stream[a:b] for a, b in pairwise(at))) == parse(stream)
