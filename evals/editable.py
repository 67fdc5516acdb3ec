"""Where an editable installation points, read off its files; and environments that point elsewhere.

An agent's tree lies in another place each time. It gets a thin environment: links to the shared one's
interpreter, one file that names the shared packages and this tree's folders, and the shared scripts with
another first line. It takes a few kilobytes.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path, PurePosixPath

SITE = "lib/python{version}/site-packages"
TREE_PTH = "zz_pawl_tree.pth"
"""An empty file of each environment, over which a grading sandbox shows one that names the tree's folders."""
_SCRIPT_BYTES = 64 * 1024


def editable_paths(site: Path, tree: str) -> tuple[str, ...]:
    """Folders of the tree, relative to it, that `.pth` files and setuptools' finders in `site` name."""
    found: dict[str, None] = {}
    for file in sorted(site.glob("*.pth")):
        for line in file.read_text("utf-8", "replace").splitlines():
            if (path := _below(line.strip(), tree)) is not None:
                found[path] = None
    for file in sorted(site.glob("__editable___*_finder.py")):
        for target in _mapping(file.read_text("utf-8", "replace")):
            if (path := _below(str(PurePosixPath(target).parent), tree)) is not None:
                found[path] = None
    return tuple(found)


def _below(path: str, tree: str) -> str | None:
    pure = PurePosixPath(path)
    if not pure.is_relative_to(tree) or ".." in pure.parts:
        return None
    return str(pure.relative_to(tree))


def _mapping(source: str) -> list[str]:
    """The values of `MAPPING = {name: path}`, without running it."""
    try:
        for node in ast.parse(source).body:
            target: ast.expr | None
            target = node.target if isinstance(node, ast.AnnAssign) else None
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                target = node.targets[0]
            if isinstance(target, ast.Name) and target.id == "MAPPING":
                value = ast.literal_eval(node.value)  # type: ignore[attr-defined]
                return [str(path) for path in value.values()]
    except (SyntaxError, ValueError, AttributeError):
        pass
    return []


def tree_paths(recorded: tuple[str, ...], tree: Path) -> list[str]:
    """Folders that are to be on Python's path for this tree: the layout may differ from commit to commit."""
    names = dict.fromkeys(["src", *recorded, "."] if (tree / "src").is_dir() else [*recorded, "."])
    return [name for name in names if (tree / name).is_dir()]


def pth(recorded: tuple[str, ...], tree: Path, shown: str) -> str:
    """The text of a `.pth` file for a tree that is shown at `shown`."""
    return "".join(f"{PurePosixPath(shown, name)}\n" for name in tree_paths(recorded, tree))


def thin(env: Path, python: Path, version: str, recorded: tuple[str, ...], tree: Path, place: Path) -> Path:
    """Make a thin environment in the new folder `place`, for the tree at its own path. Blocking.

    `env` is the shared one, made with the interpreter `python`.
    """
    site = place / SITE.format(version=version)
    site.mkdir(parents=True)
    (place / "bin").mkdir()
    (place / "pyvenv.cfg").write_text(
        f"home = {python.parent}\ninclude-system-site-packages = false\nversion = {version}\n"
    )
    for name in ("python", "python3", f"python{version}"):
        (place / "bin" / name).symlink_to(env / "bin" / "python")
    shared = env / SITE.format(version=version)
    # the tree's folders first: the shared environment may name those of another layout
    (site / TREE_PTH).write_text(
        pth(recorded, tree, str(tree)) + f"import site; site.addsitedir({str(shared)!r})\n"
    )
    for script in sorted((env / "bin").iterdir()):
        _script(script, place / "bin" / script.name)
    return place


def _script(source: Path, target: Path) -> None:
    if source.is_symlink() or not source.is_file() or source.stat().st_size > _SCRIPT_BYTES:
        return
    first, _, rest = source.read_bytes().partition(b"\n")
    if first.startswith(b"#!") and b"python" in first:
        target.write_bytes(b"#!" + os.fsencode(target.parent / "python") + b"\n" + rest)
        target.chmod(0o755)
