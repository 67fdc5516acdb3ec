from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.output import Spill, clip, decode, readable, save_whole


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain\n", "plain\n"),
        (b"\x1b[31mred\x1b[0m \x1b[1;4mbold\x1b[m", "red bold"),
        (b"\x1b]0;title\x07text \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "text link"),
        (b"\x1b(B\x1b=\x1b7x", "x"),
        (b"10%\r50%\r100%\ndone\r\n", "100%\ndone\n"),
        (b"working...\r", "working..."),
        (b"ab\bc\x07\x00d", "acd"),
        ("é → ü".encode(), "é → ü"),
        (b"caf\xe9", "caf\\xe9"),
        (b"tab\tstays", "tab\tstays"),
    ],
)
def test_output_is_what_a_terminal_would_leave(data: bytes, text: str) -> None:
    assert readable(data) == text


def test_bytes_that_are_no_text_stay_recognisable() -> None:
    assert decode(b"\xff\x00a") == "\\xff\x00a"


@given(st.binary(max_size=400))
def test_no_control_code_survives(data: bytes) -> None:
    assert all(c in "\t\n" or c.isprintable() or ord(c) > 0x9F for c in readable(data))


def test_short_text_is_not_clipped() -> None:
    assert clip("a\nb\n") == "a\nb\n"


def test_clipping_keeps_both_ends_weighted_to_the_tail() -> None:
    text = "".join(f"line {i}\n" for i in range(10_000))
    short = clip(text, limit=4000, lines=1000)
    head, gap, tail = short.partition("... [")
    assert head.startswith("line 0\n") and tail.endswith("line 9999\n") and gap
    assert 2 < len(tail) / len(head) < 4
    assert len(short) < 4100
    left = int(tail.split(" ")[0])
    assert left + head.count("\n") + tail.count("\n") - 1 == 10_000


def test_what_was_lost_before_counts_as_left_out() -> None:
    text = "x\n" * 1000 + "... [8 bytes left out] ...\n" + "y\n" * 1000
    assert "... [9996 bytes left out] ..." in clip(text, lines=2, total=10_000)
    assert "... [7000 bytes left out] ..." in clip("x" * 5000, limit=3000, total=10_000)


def test_clipping_by_lines() -> None:
    short = clip("x\n" * 1000, lines=40)
    assert short.count("x\n") == 40 and "[960 lines, 1920 bytes left out]" in short


@given(st.text(max_size=3000), st.integers(40, 500))
def test_a_clip_is_short_and_made_of_the_text(text: str, limit: int) -> None:
    short = clip(text, limit=limit)
    assert short == text or "left out] ..." in short
    assert len(short.encode()) <= max(limit + 60, len(text.encode()) if short == text else 0)


def test_one_endless_line_is_cut_within() -> None:
    short = clip("a" * 50_000 + "END", limit=1000)
    assert short.endswith("END") and "[49003 bytes left out]" in short


def test_the_whole_is_kept_under_a_name_of_its_own(tmp_path: Path) -> None:
    first = save_whole(tmp_path / "artifacts", "bash", b"\x00one")
    second = save_whole(tmp_path / "artifacts", "bash", b"two")
    assert first != second
    assert (first.read_bytes(), second.read_bytes()) == (b"\x00one", b"two")


def test_a_short_output_leaves_no_file_unless_it_is_kept(tmp_path: Path) -> None:
    dropped = Spill(tmp_path / "artifacts", "bash")
    dropped.write(b"short")
    dropped.drop()
    assert not (tmp_path / "artifacts").exists()
    kept = Spill(tmp_path / "artifacts", "bash")
    kept.write(b"short")
    path = kept.keep()
    kept.drop()
    assert (path.name, path.read_bytes()) == ("bash-1.log", b"short")


def test_a_long_output_is_written_as_it_comes_and_gone_when_dropped(tmp_path: Path) -> None:
    spill = Spill(tmp_path, "bash")
    block = bytes(range(256)) * 1024
    for _ in range(5):
        spill.write(block)
    assert (tmp_path / "bash-1.log").stat().st_size >= 4 * len(block) - 8192
    assert spill.keep().read_bytes() == block * 5
    other = Spill(tmp_path, "bash")
    other.write(block * 2)
    other.drop()
    assert [path.name for path in tmp_path.iterdir()] == ["bash-1.log"]
