"""One unit's stage, from what its `Work` says to the parcel that its engine carries back.

Engines call `execute`; `python -P -m evals.worker` does the same with a Work as JSON on stdin and the parcel
on stdout. All is done in a scratch folder of this process, below the state directory of this machine. Killed
at any moment a worker leaves nothing that counts: only the runner commits, and the next worker here sweeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import shutil
import socket
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import msgspec

from agent.models.base import ModelError
from agent.paths import state_dir
from evals import lease
from evals.agent import AgentError, Job, end_by, load_agent, shown
from evals.engine import ROLLOUT, SCORE, Parcel, Work
from evals.environment import attach, obtain
from evals.grade import grade
from evals.image import built
from evals.place import lay_out
from evals.types import End, Rollout, Score, digest
from sandbox.base import BackendName, SandboxError
from sandbox.overlay import unmount_below

Stage = Callable[[Work, Path], Awaitable[Parcel]]

GRACE_S = 60.0
"""So much longer than its wall limit an agent may take to end by itself."""
removes_beside: ContextVar[bool] = ContextVar("removes_beside", default=False)
"""Whether a work's folder is removed by a thread while the loop has further works; its end waits for that."""
MAX_FILE_BYTES = 32_000_000
"""A larger file stays behind; the rollout's `extra["left_behind"]` names it."""


async def execute(work: Work) -> bytes:
    """Do the stage and give its parcel's bytes. Only a defect of pawl, or a broken installation, goes up."""
    return await carry_out(work, STAGES)


async def carry_out(work: Work, stages: Mapping[str, Stage]) -> bytes:
    """Do the stage of `stages` in a scratch folder, with its lease kept up. Always one parcel."""
    with _scratch(work) as place, _lease(work):
        parcel = await stages[work.stage](work, place)
    return msgspec.msgpack.encode(parcel)


# --- the stages --------------------------------------------------------------------------------------------


async def rollout(work: Work, place: Path) -> Parcel:
    """Let the agent work on the instance."""
    kept = place / "attempt"
    kept.mkdir()
    started_at, start = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    made = await _attempted(work, place, kept)
    files, left = _packed(kept)
    files.setdefault("patch.diff", made.patch.encode("utf-8", "surrogateescape"))
    made = msgspec.structs.replace(
        made,
        unit=work.unit.id,
        instance=work.unit.instance,
        attempt=work.unit.attempt,
        tries=work.try_number,
        started_at=made.started_at or started_at,
        duration_s=made.duration_s or round(time.monotonic() - start, 3),
        extra={**made.extra, "left_behind": left} if left else made.extra,
    )
    return Parcel(msgspec.json.encode(made), files)


async def _attempted(work: Work, place: Path, kept: Path) -> Rollout:
    """What the agent came to. Trouble that is not the agent's becomes an end."""
    wall_s = work.manifest.limits.wall_s(work.instance)
    try:
        agent = load_agent(work.manifest.agent.name)
        job = await _job(work, place, kept)
        try:
            async with asyncio.timeout(wall_s + GRACE_S) as limit:
                return await agent.run(job)
        except TimeoutError:
            if not limit.expired():
                raise
            return failed(work, "limit", f"the agent had not ended {GRACE_S:.0f} s after its {wall_s:.0f} s")
    except SandboxError as error:
        return failed(work, "sandbox_error", error.advice)
    except ModelError as error:
        return failed(work, end_by(error), str(error))
    except AgentError as error:
        return failed(work, "agent_error", str(error))
    except Exception as error:
        traceback.print_exc()
        return failed(work, "engine_error", f"a defect: {type(error).__name__}: {error}")


async def _job(work: Work, place: Path, kept: Path) -> Job:
    """The job with its tree and environment made."""
    work = msgspec.structs.replace(work, instance=await built(work.instance, work.manifest.backend))
    tree, environment = await _lay_out(work, place)
    oracle = work.manifest.agent.name == "oracle"
    return Job(
        unit=work.unit.id,
        attempt=work.unit.attempt,
        instance=work.instance if oracle else shown(work.instance),
        tree=tree,
        environment=environment,
        place=kept,
        spec=work.manifest.agent,
        limits=work.manifest.limits,
        backend=work.manifest.backend,
        seed=work.manifest.seed,
    )


async def _lay_out(work: Work, place: Path) -> tuple[Path, Path | None]:
    """The task's tree, a repository with one commit, and its environment."""
    tree = place / "tree"
    made = await obtain(work.instance, cache(), _backend(work))
    await asyncio.to_thread(lay_out, work.instance, tree, cache())
    if made is None:
        return tree, None
    return tree, await asyncio.to_thread(attach, made, tree, place / "env")


async def score(work: Work, place: Path) -> Parcel:
    """Grade the rollout. Whatever goes wrong in grading becomes the score's `error`."""
    start = time.monotonic()
    patch = work.patch.decode("utf-8", "surrogateescape")
    try:
        graded = await grade(
            work.instance,
            patch,
            cache=cache(),
            backend=_backend(work),
            unit=work.unit.id,
            keep=place / "kept",
        )
        if graded.scorer != work.manifest.scorer:
            raise RuntimeError(f"{graded.scorer} graded, not {work.manifest.scorer}: is pawl the same here?")
    except Exception as error:
        traceback.print_exc()
        graded = ungraded(work, f"{type(error).__name__}: {error}", round(time.monotonic() - start, 3))
    files, _ = _packed(place / "kept")
    return Parcel(msgspec.json.encode(graded), files)


STAGES: Mapping[str, Stage] = {ROLLOUT: rollout, SCORE: score}


def failed(work: Work, end: End, detail: str) -> Rollout:
    """A rollout that came to nothing."""
    return Rollout(
        unit=work.unit.id,
        instance=work.unit.instance,
        attempt=work.unit.attempt,
        agent=work.manifest.agent.name,
        model=work.manifest.agent.model,
        end=end,
        detail=detail,
        tries=work.try_number,
    )


def ungraded(work: Work, error: str, duration_s: float = 0.0) -> Score:
    """A score without grading: it failed, or (no `error`) there was no sense in it."""
    return Score(
        unit=work.unit.id,
        instance=work.unit.instance,
        scorer=work.manifest.scorer,
        resolved=False,
        reward=0.0,
        applied=False,
        error=error,
        duration_s=duration_s,
    )


def _packed(folder: Path) -> tuple[dict[str, bytes], list[str]]:
    """The folder's regular files, JSON lines compressed; and the names of those that are too large."""
    files: dict[str, bytes] = {}
    left: list[str] = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes() if path.stat().st_size <= 10 * MAX_FILE_BYTES else None
        if content is not None and path.suffix == ".jsonl":
            name, content = f"{name}.gz", gzip.compress(content, mtime=0)
        if content is None or len(content) > MAX_FILE_BYTES:
            left.append(name)
        else:
            files[name] = content
    return files, left


def cache() -> Path:
    """Folder of this machine with the repositories and environments of tasks."""
    return state_dir() / "evals"


def _backend(work: Work) -> BackendName:
    return cast(BackendName, work.manifest.backend)


# --- where it is done --------------------------------------------------------------------------------------


def scratch(run: str) -> Path:
    """Folder of this machine where a run's workers work."""
    return state_dir() / "evals" / "scratch" / socket.gethostname() / digest(run)[:12]


@contextlib.contextmanager
def _scratch(work: Work) -> Iterator[Path]:
    """A folder for this work alone, gone at the end; those of workers that were killed go first."""
    folder = scratch(work.run)
    sweep(folder)
    me = os.getpid()
    place = folder / f"{work.key}.{me}.{lease.born(me).rpartition(':')[2]}"
    place.mkdir(parents=True)
    try:
        yield place
    finally:
        if removes_beside.get():
            asyncio.get_running_loop().run_in_executor(None, _remove, place)
        else:
            _remove(place)


def sweep(folder: Path) -> None:
    """Remove what workers of the run that are no more left on this machine."""
    for place in folder.glob("*.*.*.*.*"):
        _, pid, born = place.name.rsplit(".", 2)
        if lease.born(int(pid)).rpartition(":")[2] != born:
            _remove(place)


def sweep_gradings() -> int:
    """Remove the places of gradings that were killed on this machine; how many there were."""
    found = [path for path in (cache() / "work").glob("grade-*-*") if not lease.born(_pid(path))]
    for place in found:
        _remove(place)
    return len(found)


def _pid(place: Path) -> int:
    return int(place.name.split("-")[1])


def _remove(place: Path) -> None:
    unmount_below(place)
    shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def _lease(work: Work) -> Iterator[None]:
    """Take over the try's lease and keep it up, where this machine sees the run's folder."""
    started = Path(work.run) / "attempts" / work.unit.id / f"{work.try_number}.started"
    if work.stage != ROLLOUT or not started.exists():
        yield
        return
    lease.take_over(started)
    with lease.heartbeat(started):
        yield


def main() -> int:
    """Work from stdin, parcel to stdout; what is printed on the way goes to stderr."""
    work = msgspec.json.decode(sys.stdin.buffer.read(), type=Work)
    with os.fdopen(os.dup(1), "wb") as answer:
        os.dup2(2, 1)
        answer.write(asyncio.run(execute(work)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
