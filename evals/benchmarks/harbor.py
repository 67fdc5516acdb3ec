"""Harbor and Terminal-Bench 2: folders with `task.toml` (1.0 to 1.4), `instruction.md`, `tests/test.sh`.

https://github.com/laude-institute/harbor. Tasks of one container; those with a compose file, several steps or
a separate container for the verifier are refused by name. The reward is what `tests/test.sh` leaves in
/logs/verifier.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from evals.benchmark import DatasetError
from evals.benchmarks.folder import decode_toml
from evals.types import Environment, Folder, Instance, Script

name = "harbor"
summary = "Harbor and Terminal-Bench 2 task folders, single container"

_ID = re.compile(r"[^A-Za-z0-9_.+-]+")
_COMPOSE = ("docker-compose.yaml", "docker-compose.yml", "compose.yaml", "compose.yml")


class _Task(msgspec.Struct, frozen=True):
    name: str = ""
    version: str = ""
    description: str = ""


class _Agent(msgspec.Struct, frozen=True):
    timeout_sec: float = 600.0


class _Verifier(msgspec.Struct, frozen=True):
    timeout_sec: float = 600.0
    env: dict[str, str] = {}
    environment_mode: str = "shared"


class _Environment(msgspec.Struct, frozen=True):
    docker_image: str = ""
    os: str = "linux"
    network_mode: str = ""


class _Toml(msgspec.Struct, frozen=True):
    schema_version: str = ""
    version: str = ""
    task: _Task = _Task()
    metadata: dict[str, Any] = {}
    agent: _Agent = _Agent()
    verifier: _Verifier = _Verifier()
    environment: _Environment = _Environment()
    steps: list[Any] = []


def _folders(source: Path) -> list[Path]:
    if (source / "task.toml").is_file():
        return [source]
    return sorted(path.parent for path in source.glob("*/task.toml"))


def recognises(source: Path) -> bool:
    """True for a task's folder, and for a folder of them."""
    return source.is_dir() and bool(_folders(source))


def load(source: Path | None) -> list[Instance]:
    """One task, or all tasks of a folder, sorted by folder."""
    folders = _folders(source) if source is not None and source.is_dir() else []
    if not folders:
        raise DatasetError(f"{source}: no task.toml here, nor in the folders below")
    found: dict[str, Instance] = {}
    for folder in folders:
        made = _instance(folder)
        if made.id in found:
            raise DatasetError(f"{folder}/task.toml: field task.name: {made.id!r} is there twice")
        found[made.id] = made
    return list(found.values())


def _workdir(dockerfile: Path) -> str:
    """Where the task's files are to appear: the last WORKDIR, or where Harbor's tasks usually have them."""
    text = dockerfile.read_text("utf-8", "replace") if dockerfile.is_file() else ""
    found = re.findall(r"^WORKDIR\s+(/[\w./-]+)\s*$", text, re.MULTILINE)
    return found[-1] if found and ".." not in found[-1] else "/app"


def _instance(folder: Path) -> Instance:
    where = folder / "task.toml"
    task: _Toml = decode_toml(where, _Toml)
    if task.steps or (folder / "steps").is_dir():
        raise DatasetError(f"{where}: field steps: tasks of several steps are not supported")
    if task.verifier.environment_mode != "shared":
        raise DatasetError(f"{where}: field verifier.environment_mode: only shared is supported")
    if task.environment.os != "linux":
        raise DatasetError(f"{where}: field environment.os: only linux is supported")
    environment = folder / "environment"
    for compose in _COMPOSE:
        if (environment / compose).is_file():
            raise DatasetError(f"{environment / compose}: tasks of several containers are not supported")
    for needed in ("instruction.md", "tests/test.sh"):
        if not (folder / needed).is_file():
            raise DatasetError(f"{folder}: {needed} is missing")
    if not environment.is_dir():
        raise DatasetError(f"{folder}: the folder environment is missing")
    dockerfile = "" if task.environment.docker_image else str(environment)
    if not (environment / "Dockerfile").is_file():
        dockerfile = ""
    solution = folder / "solution"
    return Instance(
        id=_ID.sub("__", task.task.name or folder.name).strip("."),
        benchmark=name,
        statement=(folder / "instruction.md").read_text("utf-8").strip(),
        tree=Folder(str(environment.resolve())),
        grading=Script(str((folder / "tests").resolve()), env=task.verifier.env),
        environment=Environment(image=task.environment.docker_image, dockerfile=dockerfile),
        solution=str(solution.resolve()) if (solution / "solve.sh").is_file() else "",
        difficulty=str(task.metadata.get("difficulty") or ""),
        timeout_s=task.verifier.timeout_sec,
        agent_timeout_s=task.agent.timeout_sec,
        canary=str(task.metadata.get("canary") or ""),
        extra={
            "workdir": _workdir(environment / "Dockerfile"),
            "metadata": task.metadata,
            "task": msgspec.to_builtins(task.task),
        },
    )
