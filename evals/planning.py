"""What a run is made of before anything is paid for: its instances, its agent as it is here, its manifest."""

from __future__ import annotations

import fnmatch
import platform
import socket
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from agent import __version__
from evals.agent import load_agent
from evals.benchmark import DatasetError, known_benchmarks, load_benchmark
from evals.gitrun import git
from evals.store import Run, StoreError
from evals.types import AgentSpec, Instance, Limits, RunManifest, digest
from sandbox.base import SandboxError

_ROOT = Path(__file__).resolve().parent.parent


class Source(msgspec.Struct, frozen=True):
    """A benchmark and where its dataset is; `dataset` empty for the one that ships."""

    benchmark: str
    dataset: str

    def load(self) -> list[Instance]:
        """Raises DatasetError, also when two instances have one id."""
        path = Path(self.dataset) if self.dataset else None
        if path is not None and not path.exists():
            raise DatasetError(f"the dataset {self.dataset} is not there")
        instances = load_benchmark(self.benchmark).load(path)
        seen: set[str] = set()
        for one in instances:
            if one.id in seen:
                raise DatasetError(f"{self.dataset or self.benchmark}: two instances are called {one.id!r}")
            seen.add(one.id)
        return instances


def find_source(what: str, dataset: Path | None = None) -> Source:
    """The benchmark that a name, or a path to a dataset, means. Raises DatasetError."""
    given = str(dataset.absolute()) if dataset is not None else ""
    if what in known_benchmarks():
        return Source(what, given)
    path = Path(what)
    if given or not path.exists():
        load_benchmark(what)  # says which there are
    for name in known_benchmarks():
        if load_benchmark(name).recognises(path):
            return Source(name, str(path.absolute()))
    raise DatasetError(f"no benchmark recognises {what}; say which: pawl eval run NAME --dataset {what}")


def select(instances: list[Instance], only: list[str], limit: int | None, split: str = "") -> list[Instance]:
    """Those of a split that one of the patterns names, the first `limit` of them. Raises DatasetError.

    A row says its split in `extra.split`.
    """
    if split:
        instances = _of_split(instances, split)
    for pattern in only:
        if not any(fnmatch.fnmatchcase(one.id, pattern) for one in instances):
            raise DatasetError(f"--only {pattern!r} names no instance; one is {instances[0].id!r}")
    chosen = [
        one for one in instances if not only or any(fnmatch.fnmatchcase(one.id, name) for name in only)
    ][:limit]
    if not chosen:
        raise DatasetError("there is no instance to work on")
    return chosen


def _of_split(instances: list[Instance], split: str) -> list[Instance]:
    splits = [str(one.extra.get("columns", {}).get("split", "")) for one in instances]
    if split not in splits:
        known = ", ".join(sorted({name for name in splits if name})) or "none"
        raise DatasetError(f"no instance is in the split {split!r}; there are: {known}")
    return [one for one, name in zip(instances, splits, strict=True) if name == split]


def make_manifest(
    source: Source,
    instances: list[Instance],
    spec: AgentSpec,
    *,
    name: str,
    attempts: int,
    seed: int,
    limits: Limits,
    backend: str,
) -> RunManifest:
    """What decides the results of a run here and now. Raises AgentError when the agent cannot be used."""
    return RunManifest(
        name=name,
        benchmark=source.benchmark,
        dataset=source.dataset,
        dataset_hash=digest([one.digest for one in instances]),
        agent=load_agent(spec.name).check(spec),
        attempts=attempts,
        seed=seed,
        limits=limits,
        backend=backend,
        scorer=scorer(),
        git_revision=_revision(),
        versions={"pawl": __version__, "python": platform.python_version()},
        host={"name": socket.gethostname(), "system": platform.platform()},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def check_unchanged(run: Run) -> None:
    """Raises StoreError with each field in which the run would now come out otherwise, DatasetError."""
    was = run.manifest
    ids = [one.id for one in run.instances()]
    there = {one.id: one for one in Source(was.benchmark, was.dataset).load()}
    missing = [identity for identity in ids if identity not in there]
    if missing:
        raise StoreError(f"{was.dataset or was.benchmark} has no instance {missing[0]!r} any more")
    spec = msgspec.structs.replace(was.agent, version="")
    now = make_manifest(
        Source(was.benchmark, was.dataset),
        [there[identity] for identity in ids],
        spec,
        name=was.name,
        attempts=was.attempts,
        seed=was.seed,
        limits=was.limits,
        backend=was.backend,
    )
    run.require(now)


def scorer() -> str:
    """Name and hash of what grades here."""
    from evals.grade import scorer as grading

    return grading()


def _revision() -> str:
    """Of pawl, with a mark when its tree has changes; "" outside a checkout."""
    if not (_ROOT / ".git").exists():
        return ""
    try:
        return git("describe", "--always", "--dirty", "--abbrev=40", "--match=", at=_ROOT).decode().strip()
    except SandboxError:
        return ""
