"""Recorded runs of real test runners: `tests/golden/runners/NAME/project.toml` and what each case of it left.

    python -m tests.support.runner_cases NAME [--image IMAGE] [--modules FOLDER]

records them anew, by real runs in a sandbox without a network, with the commands that pawl makes. `--modules`
is a node_modules folder that is copied into the project.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import tempfile
import tomllib
import uuid
from pathlib import Path

import msgspec

from sandbox.base import BackendName, Limits, SandboxSpec
from sandbox.open import open_sandbox, owner
from tools.probe import PROBE_MOUNT, run_planned
from tools.runners import Project, Ran, Runner, Selection, load
from tools.runners import _runner as contract
from tools.testplan import OUT, Planned, by_command, listing, parse_selection, project_in

GOLDEN = Path(__file__).parents[1] / "golden" / "runners"
ROOT = "/ws"
RUN = "golden"
"""In the place of a run's id, so that commands are the same each time."""


class Case(msgspec.Struct, frozen=True):
    """One run: the project's files and those of the case, what was selected, and what is expected."""

    counts: dict[str, int]
    """Outcome -> number of tests, as the report has to tell."""
    files: dict[str, str] = {}
    selection: str = ""
    command: str = ""
    """A person's own command in the place of the runner's."""
    failure: dict[str, str] = {}
    """Parts of the first failure's `id`, `exception`, `message`, and `place`: path:line of its last frame."""
    told: bool = True
    """False where the text alone names no failure."""


class Cases(msgspec.Struct, frozen=True):
    files: dict[str, str]
    cases: dict[str, Case]
    made_with: str
    """Versions that were run."""


class Recorded(msgspec.Struct, frozen=True):
    """What one run was and left."""

    command: tuple[str, ...]
    output: str
    exit_code: int | None
    files: dict[str, str]


def names() -> list[str]:
    return sorted(path.parent.name for path in GOLDEN.glob("*/project.toml"))


def cases(name: str) -> Cases:
    return msgspec.convert(tomllib.loads((GOLDEN / name / "project.toml").read_text()), Cases)


def recorded(name: str, case: str) -> Recorded:
    return msgspec.json.decode((GOLDEN / name / f"{case}.json").read_bytes(), type=Recorded)


def project(of: Cases, case: Case) -> Project:
    """The project as pawl would see it."""
    files = {path: text for path, text in {**of.files, **case.files}.items() if text}
    wanted = {name for runner in load().values() for name in runner.manifests}
    texts = {path: text for path, text in files.items() if path in wanted or contract.is_test_path(path)}
    return Project("", tuple(sorted(files)), texts)


def ran(of: Cases, case: Case, left: Recorded, *, text_only: bool = False) -> Ran:
    files = {} if text_only else {path: text.encode() for path, text in left.files.items()}
    return Ran(left.output, left.exit_code, ROOT, files, project(of, case))


async def record(name: str, image: str | None, modules: Path | None) -> None:
    for old in (GOLDEN / name).glob("*.json"):
        old.unlink()
    of = cases(name)
    for title, case in of.cases.items():
        with tempfile.TemporaryDirectory() as folder:
            left = await _run(name, of, case, Path(folder), image, modules)
        (GOLDEN / name / f"{title}.json").write_bytes(
            msgspec.json.format(msgspec.json.encode(left), indent=1) + b"\n"
        )
        print(title, left.exit_code, left.command, list(left.files))


async def _run(
    name: str, of: Cases, case: Case, folder: Path, image: str | None, modules: Path | None
) -> Recorded:
    backend: BackendName = "docker" if image else "bubblewrap"
    folder.chmod(0o755)
    tree = folder / "tree"
    for path, text in {**of.files, **case.files}.items():
        if text:
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
    if modules is not None:
        shutil.copytree(modules, tree / "node_modules", symlinks=True)
    for path in [tree, *tree.rglob("*")]:
        os.chown(path, *owner(backend), follow_symlinks=False)
    spec = SandboxSpec(
        tree=tree,
        root=ROOT,
        session=uuid.uuid4().hex,
        limits=Limits(timeout_s=300),
        image=image,
        mounts=(PROBE_MOUNT,),
    )
    sandbox = await open_sandbox(spec, backend, state=folder, project=tree, environ=os.environ)
    try:
        found = await project_in(sandbox, await listing(sandbox))
        runner = load()[name]
        planned = _planned(runner, case, found)
        _, left = await run_planned(sandbox, planned)
    finally:
        await sandbox.aclose()
    files = {_stable(path): _stable(data.decode()) for path, data in left.files.items()}
    return Recorded(planned.command.words, _stable(left.output), left.exit_code, files)


def _selection(case: Case, found: Project) -> Selection:
    return parse_selection(case.selection, found.paths) if case.selection else Selection()


def _planned(runner: Runner, case: Case, found: Project) -> Planned:
    if case.command:
        return by_command(case.command)
    return Planned(runner.command(found, _selection(case, found), OUT.format(RUN)), runner, found)


def _stable(text: str) -> str:
    """Without the run's own number and the folders of whoever records."""
    text = re.sub(r"/pawl-probe-[0-9a-f]{32}", "/pawl-probe-golden", text)
    return re.sub(
        rf"{re.escape(str(Path.home()))}/\.\w+(/(versions|toolchains)/[^/\s]+)?", "/opt/tools", text
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--image")
    parser.add_argument("--modules", type=Path)
    given = parser.parse_args()
    asyncio.run(record(given.name, given.image, given.modules))
