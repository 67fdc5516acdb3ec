"""Tasks of one's own: a folder with one TOML file a task, and what it names beside it.

    statement = "..."                      what the agent is told
    reference = "NAME.patch"               the solution, as a unified diff: a file's name, or the diff itself
    tree = "NAME"                          a folder beside; or [files]; or repo = "owner/name", commit = "..."
    [files]                                path = content
    [tests]
    command = ["python", "-m", "pytest"]
    fail_to_pass = ["test_a.py::test_b"]   both lists may be left out: then all that is collected must pass
    pass_to_pass = []
    hidden = "NAME.tests"                  a folder that is laid over the tree for grading alone
    [tests.files]                          the same as path = content
    [environment]
    install = "pip install -e . pytest"
    python = "3.11"

Further keys: id (the file's name without it), repo, created_at, difficulty, licence, canary, timeout_s (of
the tests), agent_timeout_s, quarantined, reference_s (what the tests take with the reference, as `pawl eval
check` tells it).
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from evals.benchmark import DatasetError
from evals.patches import paths
from evals.types import Commit, Environment, Files, Folder, Instance, Tests

name = "folder"
summary = "A folder of our own with one TOML file a task"

_ID = re.compile(r"[A-Za-z0-9][\w.+-]*")


class _Tests(msgspec.Struct, forbid_unknown_fields=True):
    command: tuple[str, ...]
    fail_to_pass: tuple[str, ...] = ()
    pass_to_pass: tuple[str, ...] = ()
    hidden: str = ""
    patch: str = ""
    files: dict[str, str] = {}


class _Task(msgspec.Struct, forbid_unknown_fields=True):
    statement: str
    tests: _Tests
    reference: str = ""
    id: str = ""
    tree: str = ""
    files: dict[str, str] = {}
    repo: str = ""
    commit: str = ""
    environment: Environment = Environment()
    created_at: str = ""
    difficulty: str = ""
    licence: str = ""
    canary: str = ""
    timeout_s: float = 1800.0
    agent_timeout_s: float = 1800.0
    quarantined: tuple[str, ...] = ()
    reference_s: float | None = None


def recognises(source: Path) -> bool:
    """True for a folder with TOML files that have a statement."""
    if not source.is_dir():
        return False
    return any(b"statement" in path.read_bytes()[:65536] for path in sorted(source.glob("*.toml"))[:3])


def load(source: Path | None) -> list[Instance]:
    """All tasks of a folder, sorted by file name."""
    if source is None or not source.is_dir():
        raise DatasetError(f"{source}: not a folder")
    return load_tasks(source, name)


def load_tasks(source: Path, benchmark: str) -> list[Instance]:
    """The tasks of a folder as those of `benchmark`. Raises DatasetError."""
    found: dict[str, Instance] = {}
    for path in sorted(source.glob("*.toml")):
        made = _instance(path, benchmark)
        if made.id in found:
            raise DatasetError(f"{path}: field id: {made.id!r} is there twice")
        found[made.id] = made
    if not found:
        raise DatasetError(f"{source}: no .toml file")
    return list(found.values())


def _instance(path: Path, benchmark: str) -> Instance:
    task = decode_toml(path, _Task)
    made_id = task.id or path.stem
    if not _ID.fullmatch(made_id):
        raise DatasetError(f"{path}: field id: {made_id!r} cannot be a file's name")
    reference = _reference(path, task.reference)
    hidden = _beside(path, task.tests.hidden, "tests.hidden") if task.tests.hidden else ""
    return Instance(
        id=made_id,
        benchmark=benchmark,
        statement=task.statement.strip(),
        tree=_tree(path, task),
        grading=Tests(
            command=task.tests.command,
            fail_to_pass=task.tests.fail_to_pass,
            pass_to_pass=task.tests.pass_to_pass,
            test_patch=task.tests.patch,
            files=paths(task.tests.patch),
            hidden=str(hidden),
            overlay={name: text.encode() for name, text in task.tests.files.items()},
        ),
        environment=task.environment,
        reference=reference,
        repo=task.repo,
        created_at=task.created_at,
        difficulty=task.difficulty,
        licence=task.licence,
        canary=task.canary,
        timeout_s=task.timeout_s,
        agent_timeout_s=task.agent_timeout_s,
        quarantined=task.quarantined,
        extra={} if task.reference_s is None else {"reference_s": task.reference_s},
    )


def decode_toml(path: Path, kind: type[Any]) -> Any:
    """A TOML file as a Struct. Raises DatasetError that names the file, and the line or the field."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), kind)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DatasetError(f"{path}: {error}") from None
    except msgspec.ValidationError as error:
        raise DatasetError(f"{path}: {error}") from None


def _reference(path: Path, text: str) -> str:
    if not text or "\n" in text:
        if text and not paths(text):
            raise DatasetError(f"{path}: field reference: is no unified diff")
        return text
    return _beside(path, text, "reference").read_text("utf-8")


def _tree(path: Path, task: _Task) -> Folder | Commit | Files:
    if task.commit:
        if not task.repo:
            raise DatasetError(f"{path}: field repo is missing beside commit")
        return Commit(task.repo, task.commit)
    if task.files:
        return Files({name: text.encode() for name, text in task.files.items()})
    if not task.tree:
        raise DatasetError(f"{path}: one of tree, files or commit is needed")
    return Folder(str(_beside(path, task.tree, "tree")))


def _beside(path: Path, name: str, field: str) -> Path:
    found = (path.parent / name).resolve()
    if not found.is_relative_to(path.parent.resolve()):
        raise DatasetError(f"{path}: field {field}: {name!r} leads out of the dataset")
    if not found.exists():
        raise DatasetError(f"{path}: field {field}: there is no {name}")
    return found
