"""The files and definitions of a repository that matter for a task, within a budget of tokens.

Files are nodes; a file that uses a name points at the files that define it. Rank is given to the files that
the task speaks of, and flows along the uses:

- the words of the task, by BM25 (Robertson and Zaragoza: The Probabilistic Relevance Framework, 2009) over
  the words of each file, those of its path and of the names that it defines counting more;
- names that the task spells as code and a file defines; paths that it names;
- personalised PageRank from there, by local pushes (Andersen, Chung, Lang: Local Graph Partitioning using
  PageRank Vectors, FOCS 2006): the power iteration restricted to where rank really flows, so that its cost
  does not grow with the repository.
"""

from __future__ import annotations

import heapq
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tools import words
from tools.mapindex import Index, Source, update
from tools.tags import Definition
from tools.testreport import is_test_path

CHARACTERS_A_TOKEN = 3.4
"""Of source lines, at the least, with the tokenizers of today's code models."""
_K1, _B = 1.2, 0.6
_PATH_TIMES = 8
"""A word in a file's path counts as often as so many in its text."""
_NAMED_CODE, _NAMED_WORD, _NAMED_PATH = 6.0, 1.5, 14.0
_TESTS = 0.25
"""Tests speak of everything; the place to look at is seldom there."""
_RESTART, _LEAST, _MAX_PUSHES = 0.3, 2e-4, 1500
_SEEDS = 60
_COMMON = 12
"""A name that more files define says little of which of them is meant."""
_FLOW = 0.35
"""The share of the flow in a file's rank; the rest is what the task says itself."""
_MAX_SHOWN = 12
"""Definitions of one file."""


class Ranked(msgspec.Struct, frozen=True):
    """A file of the map, likeliest first. `score` is comparable within one list only."""

    path: str
    score: float
    definitions: tuple[Definition, ...]
    """Those that the task and the other files point at, in the order of the text."""


def repo_map(root: Path, task: str = "", *, tokens: int = 1024, cache: Path | None = None) -> str:
    """The map of the tree at `root` as text, likeliest file first; empty for a tree without sources.

    `cache` is a file in pawl's cache folder that belongs to this repository. Blocks; for a thread.
    """
    index = update(root, cache)
    return render(rank(index, task, limit=max(20, tokens // 20)), tokens)


def rank(index: Index, task: str = "", *, limit: int = 50) -> list[Ranked]:
    """The files that matter most for a task; without one, those that most others lean on."""
    return _Ranking(index, task).ranked(limit)


def render(ranked: Iterable[Ranked], tokens: int) -> str:
    """Paths, each with the lines of its definitions, cut to a budget of tokens."""
    room = tokens * CHARACTERS_A_TOKEN
    parts: list[str] = []
    for file in ranked:
        lines = [f"{file.path}:"]
        lines += [f"{d.line:>5} {d.text}" for d in file.definitions]
        text = "\n".join(lines)
        if len(text) > room:
            # a path alone is worth more than nothing
            text = file.path
        if len(text) > room:
            break
        parts.append(text)
        room -= len(text) + 2
    return "\n".join(parts)


class _Ranking:
    def __init__(self, index: Index, task: str) -> None:
        self.index = index
        self.files = {source.number: source for source in index.files}
        self.names = words.identifiers(task)
        self.words = words.wanted(task)
        self.paths = words.paths(task)
        self.used: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        """Number -> name defined there -> how much rank flows to it."""

    def ranked(self, limit: int) -> list[Ranked]:
        told = self._told()
        top = dict(heapq.nlargest(_SEEDS, told.items(), key=lambda item: item[1]))
        flow = self._flow(top or dict.fromkeys(self.files, 1.0))
        scores = _scaled(told, 1 - _FLOW)
        for number, score in _scaled(flow, _FLOW if top else 1.0).items():
            scores[number] = scores.get(number, 0.0) + score
        # a test that would not come so far as it is comes no farther with its share
        best = heapq.nlargest(limit * 8, scores.items(), key=lambda item: (item[1], -item[0]))
        best = [(n, s * _TESTS if is_test_path(self.files[n].path) else s) for n, s in best]
        best = heapq.nlargest(limit, best, key=lambda item: (item[1], -item[0]))
        return [Ranked(s.path, round(score, 4), self._shown(s)) for n, score in best if (s := self.files[n])]

    def _told(self) -> dict[int, float]:
        """Number -> how much the task itself speaks of the file."""
        scores: dict[int, float] = defaultdict(float)
        in_path = self._in_paths()
        usual = sum(source.length for source in self.files.values()) / (len(self.files) or 1) or 1.0
        for word in self.words:
            times = {n: float(t) for n, t in self.index.speakers(word) if n in self.files}
            for number in in_path.get(word, ()):
                times[number] = times.get(number, 0.0) + _PATH_TIMES
            rarity = math.log(1 + (len(self.files) - len(times) + 0.5) / (len(times) + 0.5))
            for number, often in times.items():
                size = 1 - _B + _B * self.files[number].length / usual
                scores[number] += rarity * often * (_K1 + 1) / (often + _K1 * size)
        for name in self.names:
            definers = [n for n in self.index.definers(name) if n in self.files]
            weight = _NAMED_CODE if words.is_spelt_as_code(name) else _NAMED_WORD
            for number in definers if len(definers) <= _COMMON else ():
                scores[number] += weight / math.sqrt(len(definers))
        for path in self.paths:
            found = [n for n, source in self.files.items() if f"/{source.path}".endswith(f"/{path}")]
            for number in found:
                scores[number] += _NAMED_PATH / math.sqrt(len(found))
        return scores

    def _in_paths(self) -> dict[str, list[int]]:
        """Word of the task -> numbers of the files whose path has it."""
        found: dict[str, list[int]] = {}
        if not self.words:
            return found
        # most paths have none of the words; one search tells them apart
        any_word = re.compile("|".join(map(re.escape, self.words)))
        wanted = set(self.words)
        for number, source in self.files.items():
            if any_word.search(source.path.lower().replace("_", "").replace("-", "")):
                for word in wanted & _path_words(source.path):
                    found.setdefault(word, []).append(number)
        return found

    def _flow(self, seeds: dict[int, float]) -> dict[int, float]:
        """Personalised PageRank from the seeds, by pushes of what has not been passed on yet."""
        rank: dict[int, float] = defaultdict(float)
        left = defaultdict(float, _scaled(seeds, 1.0, total=True))
        ahead = [(-share, number) for number, share in left.items()]
        heapq.heapify(ahead)
        for _ in range(_MAX_PUSHES):
            if not ahead:
                break
            share, number = heapq.heappop(ahead)
            if -share > left[number] * 1.001 or left[number] < _LEAST:
                continue
            passed, left[number] = left[number], 0.0
            rank[number] += _RESTART * passed
            for target, name, part in self._uses(self.files[number]):
                more = (1 - _RESTART) * passed * part
                self.used[target][name] += more
                left[target] += more
                if left[target] >= _LEAST:
                    heapq.heappush(ahead, (-left[target], target))
        return rank

    def _uses(self, source: Source) -> list[tuple[int, str, float]]:
        """(file, name that it defines, share of all uses) for what a file uses of others; shares sum to 1."""
        found: list[tuple[int, str, float]] = []
        whole = 0.0
        for name, times in source.references.items():
            definers = [n for n in self.index.definers(name) if n != source.number and n in self.files]
            if 0 < len(definers) <= _COMMON:
                weight = math.sqrt(times) / len(definers)
                whole += weight * len(definers)
                found += [(number, name, weight) for number in definers]
        return [(number, name, weight / whole) for number, name, weight in found]

    def _shown(self, source: Source) -> tuple[Definition, ...]:
        """The definitions of a file that matter most, in the order of the text."""
        used = self.used.get(source.number, {})
        most = max(used.values(), default=1.0)
        wanted = set(self.words)

        def worth(definition: Definition) -> float:
            own = words.words_of(definition.name)
            met = sum(word in wanted for word in own) / (len(own) or 1)
            exact = 2.0 if definition.name in self.names else 0.0
            outer = 0.1 if definition.kind in ("class", "type") else 0.0
            return exact + met + used.get(definition.name, 0.0) / most + outer

        best = heapq.nlargest(_MAX_SHOWN, source.definitions, key=worth)
        return tuple(sorted(best, key=lambda definition: definition.line))


def _path_words(path: str) -> set[str]:
    return {word for part in path.rpartition(".")[0].split("/") for word in words.words_of(part)}


def _scaled(scores: dict[int, float], to: float, *, total: bool = False) -> dict[int, float]:
    """Scores with the largest, or with their total, made `to`."""
    whole = sum(scores.values()) if total else max(scores.values(), default=0.0)
    return {number: to * score / whole for number, score in scores.items()} if whole else {}
