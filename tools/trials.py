"""Localising by trial changes: a change that makes failing tests pass speaks for the function that it is in.

The idea is of Papadakis, Le Traon: Metallaxis-FL: Mutation-based Fault Localization (STVR 2015), and of Moon,
Kim, Kim, Yoo: Ask the Mutants: Mutating Faulty Programs for Fault Localization (MUSE, ICST 2014): where the
fault is, changes make failing tests pass and seldom break others; elsewhere it is the other way round. The
changes are those of tools/repairs.py, on lines that failing tests ran where that was measured. So faults that
are one wrong token are what this finds best. Pure; tools/trying.py runs the trials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from tools.callgraph import Key, key_of
from tools.localize import Suspect
from tools.repairs import KINDS, LATER, Repair, repairs
from tools.spectrum import failed_runs, innermost, ochiai
from tools.testreport import TestReport

MOST = 3000
"""Trials of one question."""
_DAMAGE = 6.0
"""How fast a change loses its say with the share of tests that it breaks."""
_HARMFUL = 0.6
"""The say of a change that mends all failing tests and breaks hardly any other."""
_PARTLY = 0.3
"""The say of one that mends only some, or breaks many."""


class Trial(msgspec.Struct, frozen=True):
    """A change, and the suspect that it is in."""

    suspect: Suspect
    repair: Repair


class Outcome(msgspec.Struct, frozen=True):
    """How a trial went, in numbers of tests; the tests that passed are tried only if all failing ones do."""

    fixed: int
    of: int
    kept: int = 0
    broken: int = 0

    @property
    def says(self) -> float:
        """0..1: how much it speaks for its function."""
        if self.fixed < self.of:
            return _PARTLY * self.fixed / self.of
        if not self.broken:
            return 1.0
        whole = math.pow(self.kept / (self.kept + self.broken), _DAMAGE)
        return _PARTLY + (_HARMFUL - _PARTLY) * whole


def trials(
    report: TestReport, sources: Mapping[str, bytes], found: Sequence[Suspect], most: int = MOST
) -> list[Trial]:
    """What to try for `found`: all suspects have their turns, the fourth half as often as the first.

    Of one suspect what changes the lines comes first that failing tests ran most and others least.
    """
    changes: dict[str, dict[int, list[tuple[float, Repair]]]] = {}
    whole = failed_runs(report)
    queues: list[list[Trial]] = []
    for suspect in found:
        path = suspect.path
        if path not in changes:
            changes[path] = _by_function(report.lines, whole, path, sources[path])
        own = sorted(changes[path].get(suspect.symbol.start_byte, ()), key=_order)
        queues.append([Trial(suspect, repair) for _, repair in own])
    turns = [
        ((turn + 1) * math.sqrt(rank + 1), rank, trial)
        for rank, queue in enumerate(queues)
        for turn, trial in enumerate(queue)
    ]
    return [trial for _, _, trial in sorted(turns, key=lambda turn: turn[:2])][:most]


def _order(weighed: tuple[float, Repair]) -> tuple[bool, float, int]:
    weight, repair = weighed
    return (repair.kind in LATER, -round(weight, 1), KINDS.index(repair.kind))


def _by_function(
    lines: Mapping[str, Mapping[int, tuple[int, int]]], whole: int, path: str, source: bytes
) -> dict[int, list[tuple[float, Repair]]]:
    """First byte of a function -> (how suspicious the line is, the change) of its own body."""
    functions = innermost(source)
    ran = lines.get(path, {})
    found: dict[int, list[tuple[float, Repair]]] = {}
    for repair in repairs(source):
        function = functions.get(repair.line)
        failed, passed = ran.get(repair.line, (0, 0))
        if function is not None and (failed or not lines):
            weight = ochiai(failed, passed, whole) if failed else 0.0
            found.setdefault(function.start_byte, []).append((weight, repair))
    return found


def reranked(found: Sequence[Suspect], outcomes: Sequence[tuple[Trial, Outcome]]) -> list[Suspect]:
    """The suspects by what the trials say; of what they leave alike the order stays. Scores stay in 0..1."""
    best: dict[Key, float] = {}
    for trial, outcome in outcomes:
        key = key_of((trial.suspect.path, trial.suspect.symbol))
        best[key] = max(best.get(key, 0.0), outcome.says)
    if not any(best.values()):
        return list(found)
    highest = max(suspect.score for suspect in found) or 1.0
    scored = []
    for suspect in found:
        says = best.get(key_of((suspect.path, suspect.symbol)), 0.0)
        score = suspect.score / highest
        if says == 1.0:
            score, reason = (1 + score) / 2, "a small change here makes the failing tests pass"
        else:
            score, reason = (score + says) / (1 + _HARMFUL) / 2, suspect.reason
        scored.append(msgspec.structs.replace(suspect, score=round(score, 3), reason=reason))
    return sorted(scored, key=lambda suspect: -suspect.score)
