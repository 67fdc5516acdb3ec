"""Twins of tasks: the same task with other names for local variables.

A model that solves a task but not its twin knew the text rather than the problem. Tests, statement,
interfaces and behaviour are the same; only Python sources change, and only where no caller can see it.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from evals.types import Folder, Instance, Tests
from tools.base import ToolError
from tools.patch import apply_hunks, unified
from tools.patchtext import FilePatch, parse
from tools.rename import rename_locals

_FIRST = "amber brisk calm dusty eager faint grand humble icy jolly keen lunar mellow noble oaken plain"
_SECOND = "arch brook cliff delta ember fjord grove haven inlet jetty knoll ledge marsh north orbit pier"
_TESTING = re.compile(r"(^|/)(tests?|testing|conftest\.py$|test_[^/]*$|[^/]*_tests?\.py$)")


def fresh_names(seed: int) -> Callable[[str], str]:
    """Old name -> a plain new one, always the same for a seed."""

    first, second = _FIRST.split(), _SECOND.split()

    def fresh(name: str) -> str:
        number = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:4])
        return f"{first[number % 16]}_{second[number // 16 % 16]}_{number // 256 % 100}"

    return fresh


def twin(task: Instance, tree: Path, out: Path, seed: int = 0) -> Instance | None:
    """The task's twin, whose tree is made in `out` from `tree`, the task's own as files.

    Names that the statement or the tests mention stay. None, and no `out`, when nothing could be renamed, or
    when the reference does not apply to `tree`. Links are copied as links and not followed.
    """
    shutil.copytree(tree, out, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    mentioned = set(re.findall(r"\w+", _seen_by_others(task)))
    rename = _renamer(fresh_names(seed), mentioned)
    changed = 0
    for path in _sources(out, task):
        before = path.read_bytes()
        after = rename(before)
        if after != before:
            path.write_bytes(after)
            changed += 1
    try:
        reference = _renamed_patch(task.reference, tree, rename) if task.reference else ""
    except (ToolError, OSError, UnicodeDecodeError):
        changed = 0
    if not changed:
        shutil.rmtree(out)
        return None
    return msgspec.structs.replace(
        task,
        id=f"{task.id}.twin",
        tree=Folder(str(out.absolute())),
        reference=reference,
        extra=task.extra | {"twin_of": task.id},
    )


def _seen_by_others(task: Instance) -> str:
    return (
        f"{task.statement}\n{task.grading.test_patch}" if isinstance(task.grading, Tests) else task.statement
    )


def _renamer(fresh: Callable[[str], str], keep: set[str]) -> Callable[[bytes], bytes]:
    return lambda source: rename_locals(source, fresh, keep)


def _sources(tree: Path, task: Instance) -> list[Path]:
    """Python files of the tree that are no tests, in order. Links are left alone."""
    protected = set(task.grading.files) if isinstance(task.grading, Tests) else set()
    found = []
    for path in sorted(tree.rglob("*.py")):
        name = path.relative_to(tree).as_posix()
        if not path.is_symlink() and path.is_file() and name not in protected and not _TESTING.search(name):
            found.append(path)
    return found


def _renamed_patch(patch: str, tree: Path, rename: Callable[[bytes], bytes]) -> str:
    """What leads from the renamed base to the renamed solution."""
    return "".join(_renamed_file(one, tree, rename) for one in parse(patch))


def _renamed_file(one: FilePatch, tree: Path, rename: Callable[[bytes], bytes]) -> str:
    path = tree / one.path
    if one.moved_to or not path.resolve().is_relative_to(tree.resolve()):
        raise ToolError(f"{one.path} cannot be followed")
    own = rename if one.path.endswith(".py") and not _TESTING.search(one.path) else bytes
    before = b"" if one.kind == "add" else path.read_bytes()
    after = b"" if one.kind == "delete" else apply_hunks(before, one.hunks)
    if one.kind == "add":
        after = one.content.encode()
    diff = unified(own(before).decode(), own(after).decode(), one.path)
    head = f"diff --git a/{one.path} b/{one.path}\n"
    if one.kind == "add":
        return head + "new file mode 100644\n" + diff.replace(f"--- a/{one.path}", "--- /dev/null", 1)
    if one.kind == "delete":
        return head + "deleted file mode 100644\n" + diff.replace(f"+++ b/{one.path}", "+++ /dev/null", 1)
    return head + diff
