"""`pawl eval mine` and `mutate`: tasks from a repository's history, and from faults put into it."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, Protocol

import typer

from agent.cli.progress import note, pull_progress
from agent.cli.render import visible
from agent.config import ConfigError
from agent.paths import cache_dir
from evals.benchmark import DatasetError
from evals.cli_sandbox import Sandbox, sandbox_of
from evals.mining.collect import Candidate, collect
from evals.mining.journal import TASK, Entry, Journal, Row, held

if TYPE_CHECKING:
    from evals.mining.proof import Bench
    from evals.mining.writer import Writer

Repo = Annotated[str, typer.Argument(metavar="REPO", help="A folder with a repository, owner/name or a URL.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="The tasks, as JSON lines.")]
Ref = Annotated[str, typer.Option("--ref", metavar="COMMIT", help="A commit, branch or tag.")]
Install = Annotated[
    str | None, typer.Option("--install", metavar="CMD", help="What the tests need; with a network, once.")
]
TestCmd = Annotated[
    str | None, typer.Option("--test-cmd", metavar="CMD", help="Runs the tests; found by itself.")
]
Python = Annotated[str, typer.Option("--python", metavar="VERSION", help="Such as 3.11.")]
ModelName = Annotated[str, typer.Option("-m", "--model", metavar="NAME", help="Who writes statements.")]
BaseUrl = Annotated[str, typer.Option("--base-url", metavar="URL", help="An OpenAI-compatible server.")]
Timeout = Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=1, help="Of one run of tests.")]
Jobs = Annotated[int, typer.Option("-j", "--jobs", metavar="N", min=1, help="Candidates at a time.")]

_QUIET = ("touches no tests", "touches no source")
"""Said of most commits; counted, but not shown one by one."""


def mine(
    repo: Repo,
    out: Out = None,
    ref: Ref = "HEAD",
    since: Annotated[str, typer.Option("--since", metavar="DATE", help="Committed then or later.")] = "",
    until: Annotated[str, typer.Option("--until", metavar="DATE", help="Committed then or before.")] = "",
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="End with so many tasks, newest first.")
    ] = None,
    first_parent: Annotated[
        bool, typer.Option("--first-parent", help="The main line alone; a merge is one change.")
    ] = False,
    max_lines: Annotated[
        int, typer.Option("--max-lines", metavar="N", min=1, help="Of source that a change touches.")
    ] = 300,
    issue_from: Annotated[
        str, typer.Option("--issue-from", metavar="WHAT", help="commit: its message. model: see -m.")
    ] = "commit",
    held_out: Annotated[
        float,
        typer.Option("--held-out", metavar="PERCENT", min=0, max=100, help="The newest tasks, kept back."),
    ] = 20.0,
    install: Install = None,
    test_cmd: TestCmd = None,
    python: Python = "",
    model: ModelName = "",
    base_url: BaseUrl = "",
    timeout: Timeout = 600.0,
    jobs: Jobs = 1,
    sandbox: Sandbox = "auto",
) -> None:
    """Make tasks of commits that touch source and tests, each proved in a sandbox; exit 3 when none is.

    Given the file of an earlier mining it goes on with it.
    """
    from evals.mining import history
    from evals.mining.mine import Miner, Plan, environment_commits
    from evals.mining.splits import by_time

    _one_of("--issue-from", issue_from, ("commit", "model"))
    for name, text in (("--since", since), ("--until", until)):
        _date(name, text)
    name, source = _repository(repo)
    plan = Plan(
        repo=name,
        install=install,
        test=test_cmd,
        python=python,
        issue_from=issue_from,
        model=_model_of(issue_from, model, base_url),
        first_parent=first_parent,
        max_lines=max_lines,
    )
    head = history.resolve(source, ref)
    found = history.changes(source, head, since=since, until=until, first_parent=first_parent)
    fixed = {"environment_commits": environment_commits(found)}

    def arrange(rows: list[Row]) -> list[Row]:
        return by_time(rows, held_out / 100)

    def begin(journal: Journal, bench: Bench, words: Writer | None) -> Miner:
        return Miner(plan, source, found, tuple(journal.head.fixed["environment_commits"]), bench, words)

    target = out or Path(f"{_short(name)}-mined.jsonl")
    how = _How(issue_from, model, base_url, timeout, jobs, limit, sandbox)
    _make("commits", held(target, plan.asked(), fixed, arrange), begin, how)


def mutate(
    repo: Repo,
    out: Out = None,
    ref: Ref = "HEAD",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="End with so many tasks.")] = 20,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Decides which faults come first.")] = 0,
    language: Annotated[
        list[str] | None, typer.Option("--language", metavar="NAME", help="Only this; may be repeated.")
    ] = None,
    issue_from: Annotated[
        str, typer.Option("--issue-from", metavar="WHAT", help="tests: what fails. model: see -m.")
    ] = "tests",
    install: Install = None,
    test_cmd: TestCmd = None,
    python: Python = "",
    model: ModelName = "",
    base_url: BaseUrl = "",
    timeout: Timeout = 600.0,
    jobs: Jobs = 1,
    sandbox: Sandbox = "auto",
) -> None:
    """Make tasks by putting small faults into a commit, each found by its tests; exit 3 when none is.

    Given the file of an earlier run it goes on with it.
    """
    from evals.mining import history
    from evals.mining.mutate import Mutator, Plan
    from evals.mining.splits import for_training
    from tools.mutable import LANGUAGES

    _one_of("--issue-from", issue_from, ("tests", "model"))
    for each in language or []:
        _one_of("--language", each, tuple(LANGUAGES))
    name, source = _repository(repo)
    plan = Plan(
        repo=name,
        commit=history.resolve(source, ref),
        install=install,
        test=test_cmd,
        python=python,
        issue_from=issue_from,
        model=_model_of(issue_from, model, base_url),
        languages=tuple(sorted(set(language or []))),
        seed=seed,
    )

    def begin(journal: Journal, bench: Bench, words: Writer | None) -> Mutator:
        mutator = Mutator(plan, source, bench, words)
        mutator.remember(journal.rows)
        return mutator

    target = out or Path(f"{_short(name)}-mutants.jsonl")
    how = _How(issue_from, model, base_url, timeout, jobs, limit, sandbox)
    _make("faults", held(target, plan.asked(), {}, for_training), begin, how)


class _Maker(Protocol):
    """Who makes tasks of candidates."""

    def candidates(self) -> list[Candidate]: ...

    async def prepare(self) -> None: ...


class _How(NamedTuple):
    """What both commands are told alike, and no task depends on."""

    issue_from: str
    model: str
    base_url: str
    timeout_s: float
    jobs: int
    limit: int | None
    sandbox: str


def _make(
    what: str,
    files: AbstractContextManager[Journal],
    begin: Callable[[Journal, Bench, Writer | None], _Maker],
    how: _How,
) -> None:
    """Try the candidates that the journal has not, and tell what came of all. Exit 3 without a task."""

    async def all_of_it(journal: Journal) -> None:
        bench = await _bench(how.sandbox, how.timeout_s)
        async with _writer(how.issue_from, how.model, how.base_url) as words:
            maker = begin(journal, bench, words)
            candidates = maker.candidates()
            known = len(journal.entries)
            note(f"{len(candidates)} {what}, of which {known} are done; making the environment")
            await maker.prepare()
            show = _Progress(len(candidates), journal)
            await collect(journal, candidates, jobs=how.jobs, limit=how.limit, on_entry=show)

    with files as journal:
        try:
            asyncio.run(all_of_it(journal))
        finally:
            _conclude(journal, what)
    if not journal.rows:
        raise typer.Exit(3)


class _Progress:
    """A line for each candidate that was looked at closely."""

    def __init__(self, total: int, journal: Journal) -> None:
        self.total = total
        self.journal = journal

    def __call__(self, entry: Entry) -> None:
        if entry.outcome in _QUIET:
            return
        place = f"[{len(self.journal.entries)}/{self.total}, {len(self.journal.rows)} tasks]"
        if entry.row is None:
            what = f"{entry.outcome}{f' ({entry.detail[:100]})' if entry.detail else ''}"
        else:
            what = f"TASK: {entry.row['extra']['n_f2p']} to mend, {entry.row['extra']['n_p2p']} to keep"
        note(visible(f"{place} {entry.key[:10]} {entry.title[:60]}: {what}, {entry.seconds:.0f} s"))


def _conclude(journal: Journal, what: str) -> None:
    """The table of reasons, and the report beside the tasks."""
    counts = journal.counts()
    tasks = counts.pop(TASK, 0)
    splits = Counter(str(row["extra"]["split"]) for row in journal.rows)
    report = journal.write_report({"tasks": tasks, "rejected": dict(counts.most_common()), "splits": splits})
    print(f"{tasks} tasks of {len(journal.entries)} {what} in {journal.out}")
    if splits:
        print("splits: " + ", ".join(f"{number} {name}" for name, number in sorted(splits.items())))
    if counts:
        width = max(map(len, counts))
        print(f"{'rejected, because':{width}}  {what}")
        for reason, number in counts.most_common():
            print(f"{reason:{width}}  {number}")
    print(f"each with its reason: {report}")


def _repository(repo: str) -> tuple[str, Path]:
    """What rows call it, and its git directory. Raises RepositoryMissing."""
    from evals.repos import repository

    folder = Path(repo)
    if (folder / ".git").exists() or (folder / "objects").is_dir():
        return str(folder.resolve()), folder.resolve()
    if folder.is_dir():
        raise DatasetError(f"{repo} is no git repository: it has no .git")
    return repo, repository(repo, cache_dir() / "evals")


def _short(name: str) -> str:
    return Path(name.rstrip("/")).name.removesuffix(".git")


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{option} {value!r}: expected one of {', '.join(known)}")


def _date(option: str, text: str) -> None:
    try:
        datetime.fromisoformat(text or "2000-01-01")
    except ValueError:
        raise ConfigError(f"{option} {text!r}: expected a date such as 2024-05-31") from None


def _model_of(issue_from: str, model: str, base_url: str) -> str:
    """The model that counts for the result. Raises ConfigError for a writer without a name."""
    if issue_from != "model":
        return ""
    if not (model or base_url or os.environ.get("PAWL_MODEL")):
        raise ConfigError("--issue-from model needs a model that writes: give it with -m")
    return json.dumps([model or os.environ.get("PAWL_MODEL", ""), base_url])


async def _bench(sandbox: str, timeout_s: float) -> Bench:
    from evals.mining.proof import Bench
    from evals.place import sweep

    cache = cache_dir() / "evals"
    await asyncio.to_thread(sweep, cache)
    return Bench(cache, await sandbox_of(sandbox), timeout_s)


@asynccontextmanager
async def _writer(issue_from: str, model: str, base_url: str) -> AsyncIterator[Writer | None]:
    if issue_from != "model":
        yield None
        return
    from agent.models.resolve import open_model
    from evals.mining.writer import Writer

    with pull_progress("weights") as on_progress:
        opened = await open_model(
            model or None, base_url=base_url or None, on_note=note, on_progress=on_progress
        )
    try:
        yield Writer(opened, log=note)
    finally:
        await opened.aclose()
