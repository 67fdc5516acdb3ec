"""Tasks beside their twins, as `pawl eval twins` writes them: a report tells the drop from one to the other.

tasks.jsonl     instances, one a line; a tree that is a folder here is told relative to it
trees/<id>/     the trees of the twins
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from evals.benchmark import DatasetError
from evals.types import Folder, Instance

name = "twins"
summary = "Tasks and their twins with other names, from `pawl eval twins`"

FILE, TREES = "tasks.jsonl", "trees"


def recognises(source: Path) -> bool:
    return (source / FILE).is_file() and (source / TREES).is_dir()


def load(source: Path | None) -> list[Instance]:
    """In the order of the file. Raises DatasetError."""
    if source is None or not recognises(source):
        raise DatasetError(
            f"{source}: has no {FILE}; `pawl eval twins DATASET --out {source or 'DIR'}` makes it"
        )
    found = []
    for number, line in enumerate((source / FILE).read_bytes().splitlines(), 1):
        try:
            task = msgspec.json.decode(line, type=Instance)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DatasetError(f"{source / FILE}:{number}: {error}") from None
        tree = task.tree
        if isinstance(tree, Folder):
            tree = Folder(str(source.absolute() / tree.path))
        found.append(msgspec.structs.replace(task, benchmark=name, tree=tree))
    return found


def save(place: Path, tasks: Iterable[Instance]) -> None:
    """Write the file of a dataset whose trees are in `place` already."""
    lines = []
    for task in tasks:
        if isinstance(task.tree, Folder) and Path(task.tree.path).is_relative_to(place.absolute()):
            own = Path(task.tree.path).relative_to(place.absolute())
            task = msgspec.structs.replace(task, tree=Folder(str(own)))
        lines.append(msgspec.json.encode(task) + b"\n")
    (place / FILE).write_bytes(b"".join(lines))
