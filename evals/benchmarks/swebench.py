"""SWE-bench: rows as JSON lines or parquet (5.x, and 4.x without a script), and folders of its task repos.

https://github.com/SWE-bench/SWE-bench. A row of one's own mining says in `extra` how the repository is
installed and tested; a row of SWE-bench itself names a prebuilt image, and its script has the command.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from evals.benchmark import DatasetError
from evals.patches import paths
from evals.types import Commit, Environment, Instance, Reported, Tests
from tools.runners import load as runners

name = "swebench"
summary = "SWE-bench rows (JSON lines or parquet) and task repositories"

_REQUIRED = ("instance_id", "repo", "base_commit", "patch", "test_patch", "problem_statement")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_ID = re.compile(r"[A-Za-z0-9][\w.+-]*")
_START = ">>>>> Start Test Output"


def recognises(source: Path) -> bool:
    """True for a folder with `sweb.yaml`, and for rows with SWE-bench's columns."""
    if source.is_dir():
        return (source / "sweb.yaml").is_file()
    if source.suffix == ".parquet":
        return True
    if source.suffix not in (".jsonl", ".json"):
        return False
    with source.open("rb") as file:
        head = file.read(1 << 20)
    return b'"instance_id"' in head and b'"FAIL_TO_PASS"' in head


def load(source: Path | None) -> list[Instance]:
    """The instances of a file of rows, or of a task repository."""
    if source is None:
        raise DatasetError("swebench needs a dataset: a .jsonl or .parquet file, or a task repository")
    found: list[Instance] = []
    seen: dict[str, str] = {}
    for where, row in _rows(source):
        made = instance(row, where)
        if made.id in seen:
            raise DatasetError(f"{where}: field instance_id: {made.id!r} is also at {seen[made.id]}")
        seen[made.id] = where
        found.append(made)
    if not found:
        raise DatasetError(f"{source}: no rows")
    return _shared(found)


def _shared(found: list[Instance]) -> list[Instance]:
    """One environment for all tasks of a repository that are installed alike, from the youngest base."""
    groups: dict[tuple[str, Environment], list[tuple[str, str]]] = {}
    for task in found:
        if _is_shared(task) and isinstance(task.tree, Commit):
            age = (task.created_at, task.tree.commit)
            groups.setdefault((task.repo, task.environment), []).append(age)
    done = []
    for task in found:
        if not _is_shared(task):
            done.append(task)
            continue
        ages = sorted(groups.get((task.repo, task.environment), ()), reverse=True)
        commits = tuple(dict.fromkeys(commit for _, commit in ages))
        environment = msgspec.structs.replace(task.environment, commits=commits)
        done.append(msgspec.structs.replace(task, environment=environment))
    return done


def _is_shared(task: Instance) -> bool:
    """False where the row itself says which commits its environment is made from."""
    return bool(task.environment.install) and not task.environment.commits


def instance(row: dict[str, Any], where: str) -> Instance:
    """One row as an instance. Raises DatasetError that names `where` and the field."""
    for field in _REQUIRED:
        if not isinstance(row.get(field), str):
            what = "is missing" if row.get(field) is None else "is not a text"
            raise DatasetError(f"{where}: field {field} {what}")
    if not _ID.fullmatch(row["instance_id"]):
        raise DatasetError(f"{where}: field instance_id: {row['instance_id']!r} cannot be a file's name")
    if not _COMMIT.fullmatch(row["base_commit"]):
        raise DatasetError(f"{where}: field base_commit: {row['base_commit']!r} is no full commit id")
    extra = _extra(row, where)
    fail, keep = (_ids(row, field, where) for field in ("FAIL_TO_PASS", "PASS_TO_PASS"))
    if not fail:
        raise DatasetError(f"{where}: field FAIL_TO_PASS: names no test")
    for field in ("patch", "test_patch"):
        if row[field] and not paths(row[field]):
            raise DatasetError(f"{where}: field {field}: is no unified diff")
    tests = Tests(
        command=_command(row, extra, where),
        fail_to_pass=fail,
        pass_to_pass=keep if row.get("eval_type") != "fail_only" else (),
        test_patch=row["test_patch"],
        files=paths(row["test_patch"]),
    )
    if extra.get("runner"):
        tests = _reported(tests, extra, where)
    return Instance(
        id=row["instance_id"],
        benchmark=name,
        statement=row["problem_statement"],
        tree=Commit(row["repo"], row["base_commit"], _bug(extra, where)),
        grading=tests,
        environment=Environment(
            python=str(extra.get("python") or ""),
            install=str(extra.get("install") or ""),
            commits=_commits(extra, where),
            image="" if extra.get("install") else str(row.get("image") or ""),
        ),
        reference=row["patch"],
        repo=row["repo"],
        created_at=_iso(str(row.get("created_at") or "")),
        difficulty=str(row.get("difficulty") or ""),
        licence=str(extra.get("license") or ""),
        quarantined=tuple(str(test) for test in extra.get("quarantined") or ()),
        canary=str(extra.get("canary") or ""),
        extra={key: value for key, value in row.items() if key not in _TAKEN}
        | {"columns": extra}
        | {key: extra[key] for key in ("reference_s",) if key in extra},
    )


_TAKEN = frozenset({*_REQUIRED, "FAIL_TO_PASS", "PASS_TO_PASS", "extra", "created_at", "difficulty"})


def _extra(row: dict[str, Any], where: str) -> dict[str, Any]:
    extra = row.get("extra") or {}
    if isinstance(extra, str):
        try:
            extra = json.loads(extra)
        except ValueError as error:
            raise DatasetError(f"{where}: field extra: {error}") from None
    if not isinstance(extra, dict):
        raise DatasetError(f"{where}: field extra is not an object")
    for key in ("test_cmd", "install"):
        if not isinstance(extra.get(key) or "", str):
            raise DatasetError(f"{where}: field extra.{key} is not a text")
    return extra


def _bug(extra: dict[str, Any], where: str) -> str:
    """The patch that a mutant's base has beside its commit."""
    bug = str(extra.get("bug_patch") or "")
    if bug and not paths(bug):
        raise DatasetError(f"{where}: field extra.bug_patch: is no unified diff")
    return bug


def _commits(extra: dict[str, Any], where: str) -> tuple[str, ...]:
    """Commits that the environment is to serve, the one that it is installed from first."""
    named = extra.get("environment_commits") or []
    if not isinstance(named, list) or not all(isinstance(c, str) and _COMMIT.fullmatch(c) for c in named):
        raise DatasetError(f"{where}: field extra.environment_commits is not a list of full commit ids")
    return tuple(named)


def _ids(row: dict[str, Any], field: str, where: str) -> tuple[str, ...]:
    """Test ids: a list, or the same as a JSON text."""
    value = row.get(field)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise DatasetError(f"{where}: field {field}: {error}") from None
    if not isinstance(value, list) or not all(isinstance(test, str) for test in value):
        raise DatasetError(f"{where}: field {field} is not a list of texts")
    return tuple(value)


def _command(row: dict[str, Any], extra: dict[str, Any], where: str) -> tuple[str, ...]:
    if command := extra.get("test_cmd"):
        return ("sh", "-c", str(command))
    script = str(row.get("eval_script") or "")
    if script and _START in script:
        return ("bash", "-c", _tests_only(script))
    if script:
        return ("bash", "-c", script)
    files = [path for path in paths(row["test_patch"]) if path.endswith(".py")]
    if not files:
        raise DatasetError(f"{where}: neither eval_script nor extra.test_cmd says how the tests are run")
    return ("python", "-m", "pytest", "-rA", "--continue-on-collection-errors", *files)


def _reported(tests: Tests, extra: dict[str, Any], where: str) -> Reported:
    """With who understands what the command says, of a row of one's own mining."""
    runner, reports = extra["runner"], extra.get("reports") or []
    if runner not in runners():
        raise DatasetError(f"{where}: field extra.runner: {runner!r} is none of {', '.join(runners())}")
    if not isinstance(reports, list) or not all(isinstance(path, str) for path in reports):
        raise DatasetError(f"{where}: field extra.reports is not a list of texts")
    return Reported(**msgspec.structs.asdict(tests), runner=runner, reports=tuple(reports))


def _tests_only(script: str) -> str:
    """What an evaluation script does but for the test patch, which is put in by us."""
    lines, skipping = [], ""
    for line in script.splitlines():
        if skipping:
            skipping = "" if line == skipping else skipping
        elif line.startswith("git apply") and (match := re.search(r"<<'(\w+)'", line)):
            skipping = match[1]
        elif not re.match(r"git (checkout|apply|status|show|diff|config)\b", line):
            lines.append(line)
    return "\n".join(lines) + "\nexit ${SWEBENCH_TEST_EXIT_CODE:-0}\n"


def _iso(text: str) -> str:
    return text.replace(" ", "T", 1) if re.match(r"\d{4}-\d\d-\d\d \d", text) else text


def _rows(source: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if source.is_dir():
        yield from _task_repository(source)
    elif source.suffix == ".parquet":
        yield from _parquet(source)
    elif source.suffix == ".json":
        rows = _json(source.read_text("utf-8"), str(source))
        for number, row in enumerate(rows.values() if isinstance(rows, dict) else rows, 1):
            yield f"{source}, entry {number}", _row(row, f"{source}, entry {number}")
    else:
        try:
            lines = source.read_text("utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{source}: {error}") from None
        for number, line in enumerate(lines, 1):
            if line.strip():
                where = f"{source}, line {number}"
                yield where, _row(_json(line, where), where)


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DatasetError(f"{where}: {error}") from None


def _row(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DatasetError(f"{where}: is not an object")
    return row


def _parquet(source: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError:
        raise DatasetError(
            f"{source}: parquet needs pyarrow; pip install 'pawl-agent[parquet]', or convert it to .jsonl"
        ) from None
    try:
        rows = parquet.read_table(source).to_pylist()
    except (OSError, ArrowInvalid) as error:
        raise DatasetError(f"{source}: {error}") from None
    for number, row in enumerate(rows, 1):
        yield f"{source}, row {number}", row


def _task_repository(source: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for folder in sorted((source / "tasks").iterdir()) if (source / "tasks").is_dir() else ():
        if not (folder / "task.yaml").is_file():
            continue
        row: dict[str, Any] = flat_yaml(folder / "task.yaml")
        for field, file in (
            ("problem_statement", "problem_statement.md"),
            ("hints_text", "hints.md"),
            ("patch", "gold.patch"),
            ("test_patch", "test.patch"),
            ("eval_script", "eval.sh"),
        ):
            if (folder / file).is_file():
                row[field] = (folder / file).read_text("utf-8")
        if (folder / "tests.json").is_file():
            row |= _json((folder / "tests.json").read_text("utf-8"), str(folder / "tests.json"))
        yield str(folder), row


def flat_yaml(path: Path) -> dict[str, Any]:
    """`key: text` lines of a task.yaml; deeper values are left out. Raises DatasetError."""
    found: dict[str, Any] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip() or line.startswith(("#", " ", "-", "---")):
            continue
        key, colon, value = line.partition(":")
        if not colon:
            raise DatasetError(f"{path}, line {number}: is no `key: value`")
        value = value.strip()
        if value[:1] in "'\"" and value:
            try:
                value = "".join(shlex.split(value))
            except ValueError as error:
                raise DatasetError(f"{path}, line {number}: {error}") from None
        if value:
            found[key.strip()] = value
    return found
