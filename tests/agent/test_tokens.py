"""The file of tokens beside a session log."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import tokens
from agent.models.base import Tokens
from agent.tokens import TokenLog, read_tokens

IDS = st.lists(st.integers(0, 3), max_size=8).map(tuple)
REPLIES = st.lists(st.builds(Tokens, IDS, IDS, st.just(())), max_size=8)


def told(*prompt: int, said: tuple[int, ...] = (7,)) -> Tokens:
    return Tokens(prompt, said, (-0.5,) * len(said))


@settings(max_examples=60, deadline=None)
@given(REPLIES)
def test_what_is_added_is_read_again(replies: list[Tokens]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "artifacts" / "tokens.jsonl"
        log = TokenLog(path)
        for number, reply in enumerate(replies, 1):
            assert log.add(10 * number, reply, 0.25)
        found = read_tokens(path.read_bytes().splitlines() if replies else [])
    assert list(found) == [10 * number for number in range(1, len(replies) + 1)]
    for line, reply in zip(found.values(), replies, strict=True):
        assert (line.prompt, line.completion, line.temperature) == (reply.prompt, reply.completion, 0.25)
        assert (line.base, line.keep) == (0, 0)


def test_a_long_conversation_takes_room_in_step_with_its_length(tmp_path: Path) -> None:
    path = tmp_path / "tokens.jsonl"
    log, seen = TokenLog(path), tuple(range(1000))
    sizes = []
    for number in range(1, 41):
        log.add(number, told(*seen), None)
        seen = (*seen, 7, 1, 2)
        sizes.append(path.stat().st_size)
    assert sizes[0] > 3000 and max(b - a for a, b in pairwise(sizes)) < 120
    assert read_tokens(path.read_bytes().splitlines())[40].prompt == seen[:-3]
    assert path.stat().st_mode & 0o777 == 0o600


def test_attempts_by_turns_each_go_on_with_their_own(tmp_path: Path) -> None:
    path = tmp_path / "tokens.jsonl"
    log = TokenLog(path)
    for event, reply in ((1, told(1, 2)), (2, told(1, 3)), (3, told(1, 2, 7, 4)), (4, told(1, 3, 7, 5))):
        log.add(event, reply, None)
    third, fourth = path.read_text().splitlines()[2:]
    assert '"base":1,"keep":3,"prompt":[4]' in third and '"base":2,"keep":3,"prompt":[5]' in fourth


def test_a_full_file_takes_no_more_and_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_BYTES", 200)
    path = tmp_path / "tokens.jsonl"
    log = TokenLog(path)
    kept = [log.add(number, told(*range(10 * number)), None) for number in range(1, 6)]
    assert kept[0] and not kept[-1]
    assert list(read_tokens(path.read_bytes().splitlines())) == [n for n, k in enumerate(kept, 1) if k]
    assert not TokenLog(path).add(9, told(*range(50)), None), "another process of the session counts on"


@pytest.mark.parametrize("line", [b"{}", b"[1]", b'{"event":2,"base":1,"keep":3}', b'{"event":2,"prom'])
def test_a_broken_line_is_no_line(line: bytes) -> None:
    with pytest.raises(ValueError):
        read_tokens([line])
