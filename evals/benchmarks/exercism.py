"""Exercism: one language's track, `exercises/practice/NAME/`, each with its `.meta/config.json`.

https://github.com/exercism/python and its siblings. The agent sees the stub and the instructions; the tests
and the example solution are hidden.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import msgspec

from evals.benchmark import DatasetError
from evals.types import Files, Instance, Tests
from tools.patch import unified

name = "exercism"
summary = "One language's track of Exercism"

COMMANDS: dict[str, tuple[str, ...]] = {
    "python": ("python", "-m", "pytest", "-q"),
    "go": ("go", "test", "./..."),
    "rust": ("cargo", "test", "--offline", "--", "--include-ignored"),
    "javascript": ("npm", "test", "--offline"),
    "java": ("sh", "./gradlew", "--offline", "test"),
    "cpp": (
        "sh",
        "-c",
        "cmake -S . -B build -DEXERCISM_RUN_ALL_TESTS=1 && cmake --build build",
    ),
}
"""How a language's tests are run."""
_SUFFIXES = {".py": "python", ".go": "go", ".rs": "rust", ".js": "javascript", ".java": "java", ".cpp": "cpp"}
_BYTES = 4 * 1024**2


class _Names(msgspec.Struct):
    solution: list[str]
    test: list[str]
    example: list[str] = []
    exemplar: list[str] = []
    editor: list[str] = []


class _Config(msgspec.Struct):
    files: _Names
    source: str = ""


def recognises(source: Path) -> bool:
    """True for a folder with `exercises/practice` and a `config.json`, as a track has them."""
    return (source / "exercises" / "practice").is_dir()


def load(source: Path | None) -> list[Instance]:
    """All practice exercises of a track, sorted by name."""
    if source is None or not recognises(source):
        raise DatasetError(f"{source}: not a track of Exercism, with its folder exercises/practice")
    return exercises(source, "", name)


def exercises(track: Path, prefix: str, benchmark: str) -> list[Instance]:
    """The exercises of one track, their ids led by `prefix`."""
    folders = sorted((track / "exercises" / "practice").iterdir())
    return [_instance(folder, prefix, benchmark) for folder in folders if (folder / ".meta").is_dir()]


def _instance(folder: Path, prefix: str, benchmark: str) -> Instance:
    where = folder / ".meta" / "config.json"
    try:
        names = msgspec.json.decode(where.read_bytes(), type=_Config).files
    except (OSError, msgspec.DecodeError) as error:
        raise DatasetError(f"{where}: {error}") from None
    if not names.solution or not names.test:
        raise DatasetError(f"{where}: field files.{'test' if names.solution else 'solution'} names no file")
    language = next((kind for end, kind in _SUFFIXES.items() if names.solution[0].endswith(end)), "")
    if not language:
        raise DatasetError(f"{where}: field files.solution: no known language: {names.solution[0]}")
    shown, executable = _shown(folder, {*names.test})
    hidden = {path: _read(folder, path) for path in names.test}
    tests = [path for path in names.test if language == "python"]
    return Instance(
        id=f"{prefix}{folder.name}",
        benchmark=benchmark,
        statement=_statement(folder, names.solution),
        tree=Files(shown, executable),
        grading=Tests((*COMMANDS[language], *tests), fail_to_pass=(), overlay=hidden),
        reference=_reference(folder, names, shown, where),
        repo=language,
        licence="MIT",
        timeout_s=300.0,
    )


def _shown(folder: Path, hidden: set[str]) -> tuple[dict[str, bytes], tuple[str, ...]]:
    found, executable = {}, []
    for path in sorted(folder.rglob("*")):
        own = path.relative_to(folder).as_posix()
        if path.is_symlink() or not path.is_file() or own in hidden or own.startswith((".meta/", ".git/")):
            continue
        if "__pycache__" in path.parts or path.stat().st_size > _BYTES:
            continue
        found[own] = path.read_bytes()
        if path.stat().st_mode & 0o100:
            executable.append(own)
    return found, tuple(executable)


def _statement(folder: Path, solution: list[str]) -> str:
    texts = []
    for part in ("introduction.md", "instructions.md", "instructions.append.md"):
        if (folder / ".docs" / part).is_file():
            texts.append((folder / ".docs" / part).read_text("utf-8").strip())
    names = ", ".join(solution)
    return "\n\n".join([*texts, f"Write the solution into {names}. Keep the names that are there."])


def _reference(folder: Path, names: _Names, shown: dict[str, bytes], where: Path) -> str:
    examples = names.example or names.exemplar
    parts = []
    for number, example in enumerate(examples):
        end = PurePosixPath(example).suffix
        targets = [path for path in names.solution if PurePosixPath(path).suffix == end]
        same = [path for path in targets if PurePosixPath(path).name == PurePosixPath(example).name]
        target = (same or targets[number : number + 1] or targets[:1] or [""])[0]
        if not target:
            raise DatasetError(f"{where}: field files.example: {example} belongs to no file of the solution")
        old, new = shown.get(target, b"").decode(), _read(folder, example).decode()
        text = unified(old, new, target)
        parts.append(text if target in shown else text.replace(f"--- a/{target}", "--- /dev/null", 1))
    return "".join(parts)


def _read(folder: Path, path: str) -> bytes:
    place = (folder / path).resolve()
    if not place.is_relative_to(folder.resolve()):
        raise DatasetError(f"{folder}: {path!r} leads out of the exercise")
    try:
        return place.read_bytes()
    except OSError as error:
        raise DatasetError(f"{place}: {error.strerror}") from None
