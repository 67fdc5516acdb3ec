"""A run from its plan to its last score: submit, try again by cause, stop at a budget or a signal.

Only here anything is committed, so a worker that comes twice, late or never can do no harm. However a run
ends, by its own doing or by kill -9, it can be resumed: what is committed stays, what was under way is begun
again.

    cause of the end                   what follows
    the agent's own (any other End)    it counts, and is graded
    sandbox, provider, engine          tried again up to 3 times with back-off, then it counts as unsolved
    key refused, quota used up         the run ends at once, exit code 41 or 75; it counts for nothing
    grading failed                     graded once more in a fresh sandbox, then it counts as unsolved
    more than half of the last ten     a pause for this cause, then one try at a time; at last the run stops
    the run's budget is used up        nothing is begun, what runs is finished and graded; exit code 4
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random
from typing import Any, Literal, NamedTuple, TypeVar, cast

import msgspec

from evals.engine import ROLLOUT, SCORE, Done, Engine, Parcel, Work
from evals.patience import Breaker, Patience
from evals.store import Ended, Run
from evals.tally import Tally
from evals.types import HOPELESS, INFRASTRUCTURE, End, Limits, Rollout, Score, Unit
from evals.worker import GRACE_S, failed, scratch, ungraded

SET_UP_S = 1800.0
"""So long making a task's environment may take, on top of the agent's or the tests' own time."""
LEASED_S = 1.0
"""How often it is looked whether a worker of an earlier runner has ended."""
_WRITERS = 32
"""Units that are written down at once: a disk brings what many wait for down in one go."""

T = TypeVar("T")

_NOT_THE_AGENTS: frozenset[End] = INFRASTRUCTURE | {"cancelled"}
_CAUSES: dict[str, tuple[End, ...]] = {
    ROLLOUT: ("sandbox_error", "provider_error", "engine_error"),
    SCORE: ("verifier_error", "engine_error"),
}
"""What can go wrong with a stage; while a cause is paused its stages are."""

Stop = Literal["", "budget", "drained", "cancelled", "key_refused", "quota_used_up", "provider", "down"]
_CUT: frozenset[Stop] = frozenset({"cancelled", "key_refused", "quota_used_up"})
"""What was under way is ended, too."""
_CODES: dict[Stop, int] = {
    "budget": 4,
    "drained": 130,
    "cancelled": 130,
    "key_refused": 41,
    "quota_used_up": 75,
    "provider": 75,
    "down": 1,
}


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended. `code` is the exit code: 0 all scored, 4 budget, 41 key, 75 provider, 1 other trouble,
    130."""

    code: int
    reason: str = ""
    """For a person; empty when all is scored."""


class _Todo(NamedTuple):
    rank: int
    """Scores first: they are cheap, and the running rate is of them."""
    number: int
    unit: Unit
    stage: str


class _Later(NamedTuple):
    at: float
    """Not before this time of the loop's clock."""
    todo: _Todo


class Runner:
    """Works on what is left of a run. The run must be `held`."""

    def __init__(
        self,
        run: Run,
        engine: Engine,
        *,
        scorer: str = "",
        limits: Limits | None = None,
        patience: Patience | None = None,
        on_change: Callable[[Tally], None] = lambda tally: None,
    ) -> None:
        """`scorer` and the run's own bounds in `limits` are by default the manifest's."""
        self.run = run
        self.engine = engine
        self.tally = Tally()
        self._patience = patience or Patience()
        self._manifest = msgspec.structs.replace(run.manifest, scorer=scorer or run.manifest.scorer)
        self._limits = limits or run.manifest.limits
        self._on_change = on_change
        self._chance = Random(run.manifest.seed)
        self._numbers = itertools.count()
        self._todo: list[_Todo] = []
        self._later: list[_Later] = []
        self._instances = {instance.id: instance for instance in run.instances()}
        self._retries: Counter[tuple[str, str]] = Counter()
        """(unit, stage) -> tries begun again for a cause that is not the agent's."""
        self._regraded: set[str] = set()
        self._begun: set[str] = set()
        """Units that an earlier runner began, and that somebody may still be at."""
        self._rolled: dict[str, tuple[Rollout, bytes]] = {}
        """Rollouts that wait for their grading, with their patches, as far as this process committed them."""
        self._running = 0
        """Works that are being begun, or are with the engine."""
        self._ending = 0
        """Works whose outcome is being written down."""
        self._breakers = {cause: Breaker(self._patience) for causes in _CAUSES.values() for cause in causes}
        self._stop: Stop = ""
        self._why = ""
        self._wake = asyncio.Event()

    async def work(self, *, rollouts: bool = True) -> Outcome:
        """Do all that is left; without `rollouts` only grade. Raises CannotWrite."""
        await asyncio.to_thread(self.run.settle)
        self._plan(rollouts)
        self._check_budget()
        with ThreadPoolExecutor(_WRITERS, "disk") as self._disk:
            await self._work()
        with suppress(OSError):  # another runner's works, or those of another machine, may be in it
            scratch(str(self.run.folder.absolute())).rmdir()
        self.tally.running = 0
        self._on_change(self.tally)
        return self._outcome()

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            pump = tasks.create_task(self._pump(tasks))
            while self._running or self._ending or self._left():
                self._wake.clear()
                pause_s = self._begin_ready(tasks)
                self._on_change(self.tally)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._wake.wait()
            pump.cancel()

    def _write(self, do: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._disk, do, *args)

    def drain(self) -> None:
        """Begin nothing more, and let what runs come to its end."""
        self._halt("drained", "interrupted; what was under way is finished")

    async def cancel(self) -> None:
        """End now."""
        await self._cut("cancelled", "interrupted")

    async def _cut(self, stop: Stop, why: str) -> None:
        if self._stop not in _CUT:
            self._stop = ""
            self._halt(stop, why)
        await self.engine.cancel()

    def _halt(self, stop: Stop, why: str) -> None:
        if self._stop in ("", "budget"):
            self._stop, self._why = stop, why
        self._wake.set()

    def _outcome(self) -> Outcome:
        left = self.tally.planned - self.tally.scored
        if not left or not self._stop:
            return Outcome(0)
        return Outcome(_CODES[self._stop], f"{self._why}; {left} of {self.tally.planned} units are left")

    # --- planning --------------------------------------------------------------------------------------

    def _plan(self, rollouts: bool) -> None:
        units = self.run.units()
        self.tally.usage = self.run.spent()
        for unit in units:
            rollout = self.run.rollout(unit.id)
            if rollout is None:
                ended = self.run.ended(unit.id)
                self._retries[unit.id, ROLLOUT] = sum(one.end not in HOPELESS for one in ended)
                if self.run.attempt(unit.id).exists():
                    self._begun.add(unit.id)
                if rollouts:
                    self._add(unit, ROLLOUT)
                    self.tally.planned += 1
                continue
            self.tally.planned += 1
            self.tally.count_rollout(rollout)
            score = self.run.score(unit.id, self._manifest.scorer)
            if score is None:
                self._add(unit, SCORE)
            else:
                self.tally.count_score(score)

    def _add(self, unit: Unit, stage: str, delay_s: float = 0.0) -> None:
        todo = _Todo(int(stage == ROLLOUT), next(self._numbers), unit, stage)
        if delay_s:
            heapq.heappush(self._later, _Later(asyncio.get_running_loop().time() + delay_s, todo))
        else:
            heapq.heappush(self._todo, todo)
        self._wake.set()

    def _left(self) -> bool:
        """Whether there is anything still to begin."""
        if not self._stop:
            return bool(self._todo or self._later)
        return any(map(self._permitted, [*self._todo, *(later.todo for later in self._later)]))

    def _permitted(self, todo: _Todo) -> bool:
        return not self._stop or (self._stop == "budget" and todo.stage == SCORE)

    def _begin_ready(self, tasks: asyncio.TaskGroup) -> float | None:
        """Begin what may be begun now; after so many seconds to look again, None: when something happens."""
        now = asyncio.get_running_loop().time()
        self.tally.paused = next((cause for cause, breaker in self._breakers.items() if breaker.pauses), "")
        while self._later and self._later[0].at <= now:
            heapq.heappush(self._todo, heapq.heappop(self._later).todo)
        kept: list[_Todo] = []
        while self._todo and self._running < self.engine.width:
            todo = heapq.heappop(self._todo)
            if not self._permitted(todo) or not self._room(todo.stage, now):
                kept.append(todo)
                continue
            self._running += 1
            tasks.create_task(self._begin(todo))
        for todo in kept:
            heapq.heappush(self._todo, todo)
        self.tally.running = self._running
        times = [breaker.until for breaker in self._breakers.values() if breaker.pauses]
        times += [later.at for later in self._later[:1]]
        return min((at - now for at in times if at > now), default=None)

    def _room(self, stage: str, now: float) -> bool:
        return all(self._breakers[cause].room(self._running, now) for cause in _CAUSES[stage])

    # --- one unit --------------------------------------------------------------------------------------

    async def _begin(self, todo: _Todo) -> None:
        unit = todo.unit
        rollout: Rollout | None = None
        patch = b""
        if todo.stage == ROLLOUT:
            number = await self._write(self._begin_try, unit.id)
        else:
            known = self._rolled.get(unit.id)
            rollout, patch = known if known else await self._write(self._read, unit.id)
            number = self._retries[unit.id, SCORE] + 1 + (unit.id in self._regraded)
        if not number or self._stop in _CUT:
            self._running -= 1
            self._add(unit, todo.stage, LEASED_S)
            return
        work = Work(
            run=str(self.run.folder.absolute()),
            unit=unit,
            stage=todo.stage,
            try_number=number,
            deadline_s=0.0,
            manifest=self._manifest,
            instance=self._instances[unit.instance],
            rollout=rollout,
            patch=patch,
        )
        if rollout is not None and rollout.end in _NOT_THE_AGENTS:
            await self._commit_score(ungraded(work, ""))
            self._running -= 1
            self._wake.set()
            return
        instance = work.instance
        own_s = self._manifest.limits.wall_s(instance) if todo.stage == ROLLOUT else instance.timeout_s
        self.engine.submit(msgspec.structs.replace(work, deadline_s=own_s + GRACE_S + SET_UP_S))

    def _begin_try(self, unit: str) -> int:
        """The try's number; 0 while somebody else may be at the unit."""
        if unit in self._begun and self.run.leased(unit):
            return 0
        self._begun.discard(unit)
        return self.run.begin(unit)

    def _read(self, unit: str) -> tuple[Rollout, bytes]:
        rollout = self.run.rollout(unit)
        assert rollout is not None, "a score is planned only for a rollout that counts"
        return rollout, self.run.patch(rollout)

    async def _pump(self, tasks: asyncio.TaskGroup) -> None:
        async for done in self.engine.as_completed():
            tasks.create_task(self._finish(done))

    async def _finish(self, done: Done) -> None:
        self._running -= 1
        self._ending += 1
        self._wake.set()
        try:
            if done.result or self._stop not in _CUT:
                if done.work.stage == ROLLOUT:
                    await self._finish_rollout(done)
                else:
                    await self._finish_score(done)
        finally:
            self._ending -= 1
            self._wake.set()

    async def _finish_rollout(self, done: Done) -> None:
        work = done.work
        rollout, files = self._rollout(done)
        self.tally.usage += rollout.usage
        self._note(ROLLOUT, rollout.end)
        self._check_budget()
        key = (work.unit.id, ROLLOUT)
        ended = Ended(rollout.end, rollout.detail, rollout.usage)
        if rollout.end in HOPELESS:
            await self._write(self.run.end, work.unit.id, work.try_number, ended)
            await self._cut(cast(Stop, rollout.end), rollout.detail)
        elif rollout.end in _NOT_THE_AGENTS and self._retries[key] < self._patience.retries:
            await self._write(self.run.end, work.unit.id, work.try_number, ended)
            self._again(work)
        elif await self._write(self.run.commit_rollout, rollout, files):
            self.tally.count_rollout(rollout)
            if rollout.end in _NOT_THE_AGENTS:
                await self._commit_score(ungraded(work, ""))
            else:
                self._rolled[work.unit.id] = rollout, files.get("patch.diff", rollout.patch.encode())
                self._add(work.unit, SCORE)
        else:  # another runner was faster: its result counts
            self._add(work.unit, SCORE)

    async def _finish_score(self, done: Done) -> None:
        work = done.work
        parcel = _opened(done)
        score = None if parcel is None else _decoded(parcel.record, Score)
        if score is None:
            self._note(SCORE, "engine_error")
            if self._retries[work.unit.id, SCORE] < self._patience.retries:
                self._again(work)
                return
            score = ungraded(work, done.error or "the worker's parcel cannot be read")
        else:
            self._note(SCORE, "verifier_error" if score.error else "")
            if score.error and work.unit.id not in self._regraded:
                self._regraded.add(work.unit.id)
                self._add(work.unit, SCORE)
                return
        files = parcel.files if parcel else {}
        own = {"unit": work.unit.id, "instance": work.unit.instance, "scorer": self._manifest.scorer}
        await self._commit_score(msgspec.structs.replace(score, **own), files)

    async def _commit_score(self, score: Score, files: dict[str, bytes] | None = None) -> None:
        self._rolled.pop(score.unit, None)
        first = await self._write(self.run.commit_score, score, files)
        kept = score if first else self.run.score(score.unit, score.scorer)
        assert kept is not None
        self.tally.count_score(kept)

    def _again(self, work: Work) -> None:
        key = (work.unit.id, work.stage)
        self._retries[key] += 1
        self.tally.retried += 1
        self._add(work.unit, work.stage, self._patience.delay_s(self._retries[key], self._chance))

    def _rollout(self, done: Done) -> tuple[Rollout, dict[str, bytes]]:
        """What the worker made; an engine's error when it made nothing."""
        parcel = _opened(done)
        rollout = None if parcel is None else _decoded(parcel.record, Rollout)
        if parcel is None or rollout is None:
            return failed(done.work, "engine_error", done.error or "the worker's parcel cannot be read"), {}
        unit = done.work.unit
        own = {"unit": unit.id, "instance": unit.instance, "attempt": unit.attempt}
        return msgspec.structs.replace(rollout, tries=done.work.try_number, **own), parcel.files

    # --- counting --------------------------------------------------------------------------------------

    def _note(self, stage: str, end: str) -> None:
        now = asyncio.get_running_loop().time()
        for cause in _CAUSES[stage]:
            breaker = self._breakers[cause]
            breaker.note(end == cause, now)
            if breaker.given_up:
                what = cause.removesuffix("_error")
                stop: Stop = "provider" if what == "provider" else "down"
                self._halt(stop, f"{what}: most tries failed, also after {self._patience.pauses} pauses")

    def _check_budget(self) -> None:
        spent, limits = self.tally.usage, self._limits
        tokens = spent.input_tokens + spent.output_tokens
        if limits.run_cost_usd is not None and (spent.cost_usd or 0.0) >= limits.run_cost_usd:
            self._over(f"the budget of {limits.run_cost_usd:g} USD is used up")
        elif limits.run_tokens is not None and tokens >= limits.run_tokens:
            self._over(f"the budget of {limits.run_tokens:,} tokens is used up")

    def _over(self, why: str) -> None:
        if not self._stop:
            self._stop, self._why = "budget", why


def _opened(done: Done) -> Parcel | None:
    with suppress(msgspec.DecodeError):
        return msgspec.msgpack.decode(done.result, type=Parcel)
    return None


def _decoded(record: bytes, kind: type[T]) -> T | None:
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(record, type=kind)
    return None
