"""Which commits could be tasks, read from a repository that wants to be more than read; and the journal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from evals import lease
from evals.contamination import says_canary
from evals.gitrun import GitFailed, git
from evals.mining.collect import PUT_OFF, Candidate, collect
from evals.mining.history import Change, changes, committed_at, resolve, split
from evals.mining.journal import Entry, Journal, JournalError, held
from evals.mining.mine import environment_commits
from evals.mining.rejected import Rejected
from evals.mining.splits import for_training
from evals.place import lay_out, leaks, objects
from evals.repos import RepositoryMissing
from evals.types import Commit, Instance
from sandbox.base import SandboxError
from tests.evals.datasets import repository as make_repository
from tests.evals.tasks import REFERENCE, TASK

SOURCE, TESTS = "def f():\n    return 1\n", "def test_f():\n    pass\n"


def commit(repo: Path, files: dict[str, str | bytes], message: str, day: int = 1) -> str:
    """One commit, at noon of a day in January 2024."""
    for path, data in files.items():
        (repo / path).parent.mkdir(parents=True, exist_ok=True)
        (repo / path).write_bytes(data if isinstance(data, bytes) else data.encode())
    if not (repo / ".git").exists():
        git("init", "--quiet", "--initial-branch=main", str(repo))
    git("add", "--all", "--force", at=repo)
    when = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), f"2024-01-{day:02}T12:00:00Z")
    git("commit", "--quiet", "--allow-empty", "-m", message, at=repo, env=when)
    return git("rev-parse", "HEAD", at=repo).decode().strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    commit(tmp_path / "repo", {"a.py": SOURCE, "tests/test_a.py": TESTS}, "first")
    return tmp_path / "repo"


def last(repo: Path) -> Change:
    return changes(repo, "HEAD")[0]


def rejection(repo: Path, max_lines: int = 300) -> str:
    with pytest.raises(Rejected) as caught:
        split(repo, last(repo), max_lines)
    return caught.value.reason


def test_a_change_is_split_into_the_fix_and_its_tests(repo: Path) -> None:
    files = {
        "a.py": SOURCE.replace("1", "2"),
        "data/table.json": "{}\n",
        "tests/test_a.py": TESTS.replace("pass", "assert 1"),
        "tests/data/odd name.txt": "x\n",
        **dict.fromkeys(
            ("CHANGELOG.md", "docs/a.py", ".github/w.yml", "README.rst", ".pre-commit.yaml"), "x\n"
        ),
    }
    commit(repo, files, "Return two (#3)\n\nSince one is not enough.", 2)
    halves = split(repo, last(repo), 300)
    assert halves.source_files == ("a.py", "data/table.json")
    assert halves.test_files == ("tests/data/odd name.txt", "tests/test_a.py")
    assert (halves.added, halves.deleted) == (2, 1)
    assert "a.py" in halves.fix and "tests" not in halves.fix and "CHANGELOG" not in halves.tests
    first = changes(repo, "HEAD")[0]
    assert (first.subject, first.at) == ("Return two (#3)", "2024-01-02T12:00:00+00:00")
    assert committed_at(repo, first.commit) == first.at
    for patch in (halves.tests, halves.fix):
        git("apply", "--check", "--reverse", "-", at=repo, stdin=patch.encode())


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"a.py": "x = 1\n"}, "touches no tests"),
        ({"tests/test_a.py": "x = 1\n", "docs/conf.py": "x = 1\n"}, "touches no source"),
        ({"tests/test_a.py": "x = 1\n", "a.py": "x = 1\n" * 30}, "too large"),
        ({"tests/test_a.py": "x = 1\n", **{f"m{n}.py": "" for n in range(13)}}, "too large"),
        ({"tests/test_a.py": "x = 1\n" * 200_000, "a.py": "x = 1\n"}, "too large"),
        ({"tests/test_a.py": "x = 1\n", "a.py": "x = 1\n", "b.bin": b"\0\1"}, "binary source"),
        ({"tests/test_a.py": b"x = '\xff'\n", "a.py": "x = 1\n"}, "not UTF-8"),
    ],
)
def test_changes_that_are_no_tasks(repo: Path, files: dict[str, str | bytes], reason: str) -> None:
    commit(repo, files, "Some change", 2)
    assert rejection(repo, max_lines=20) == reason


def test_which_commits_are_looked_at(repo: Path) -> None:
    for day in (2, 3, 4):
        commit(repo, {"b.py": f"x = {day}\n"}, f"day {day}", day)
    git("checkout", "--quiet", "-b", "side", "HEAD~1", at=repo)
    commit(repo, {"c.py": "x = 1\n"}, "side", 5)
    git("checkout", "--quiet", "main", at=repo)
    when = {"GIT_COMMITTER_DATE": "2024-01-06T12:00:00Z"}
    git("merge", "--quiet", "--no-ff", "-m", "merged", "side", at=repo, env=when)

    def subjects(**asked: Any) -> list[str]:
        return [each.subject for each in changes(repo, "HEAD", **asked)]

    assert subjects() == ["side", "day 4", "day 3", "day 2"]
    assert subjects(first_parent=True) == ["merged", "day 4", "day 3", "day 2"]
    assert subjects(since="2024-01-03", until="2024-01-04") == ["day 4", "day 3"]
    assert subjects(since="2024-01-04T13:00:00+01:00", until="2024-01-04T13:00:00+01:00") == ["day 4"]
    merge = changes(repo, "HEAD", first_parent=True)[0]
    assert merge.parent == resolve(repo, "main^1") and resolve(repo, "side") != merge.parent
    with pytest.raises(RepositoryMissing, match="nowhere"):
        resolve(repo, "nowhere")
    with pytest.raises(RepositoryMissing):
        resolve(repo, "--output=/tmp/x")


def test_the_environment_serves_the_whole_time() -> None:
    found = [Change(f"c{n}", f"p{n}", "", "") for n in range(100)]
    assert environment_commits(found) == ("p0", "p25", "p50", "p74", "p99")
    assert environment_commits(found[:2]) == ("p0", "p1")


def test_a_hostile_repository_starts_nothing(repo: Path, tmp_path: Path) -> None:
    """Programs that a repository's settings and attributes name are what git would start by itself."""
    (tmp_path / "trap").write_text(f"#!/bin/sh\ntouch {tmp_path}/caught\ncat\n")
    (tmp_path / "trap").chmod(0o755)
    trap = str(tmp_path / "trap")
    files: dict[str, str | bytes] = {
        ".gitattributes": "*.py diff=evil filter=evil\n",
        "a.py": "x = 2\n",
        "tests/test_a.py": "x = 2\n",
    }
    commit(repo, files, "Count to two in a", 2)
    for name in (
        *("diff.external", "diff.evil.command", "diff.evil.textconv", "filter.evil.clean", "gpg.program"),
        *("filter.evil.smudge", "filter.evil.process", "core.fsmonitor", "core.pager", "core.sshCommand"),
        *("pager.rev-list", "pager.diff-tree", "uploadpack.packObjectsHook", "core.editor"),
    ):
        git("config", name, trap, at=repo)
    git("config", "log.showSignature", "true", at=repo)
    git("config", "diff.noprefix", "true", at=repo)
    for hook in ("post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc"):
        (repo / ".git" / "hooks").mkdir(exist_ok=True)
        (repo / ".git" / "hooks" / hook).symlink_to(trap)
    change = last(repo)
    halves = split(repo, change, 300)
    assert halves.fix.startswith("diff --git a/a.py b/a.py") and "+x = 2" in halves.fix
    task = msgspec.structs.replace(TASK, tree=Commit(str(repo), change.commit, halves.fix.replace("2", "3")))
    with pytest.raises(Exception, match="patch"):  # it does not apply, and that is all that happens
        lay_out(task, tmp_path / "place", tmp_path)
    assert not (tmp_path / "caught").exists()
    git("diff", "HEAD~1", "HEAD", at=repo)
    assert (tmp_path / "caught").exists(), "the trap is none"


# --- a tree with a fault ------------------------------------------------------------------------------


def test_what_a_fault_replaces_is_nowhere_in_the_tree(tmp_path: Path) -> None:
    make_repository(tmp_path / "repo")
    before = sorted(path for path in (tmp_path / "repo" / ".git").rglob("*"))
    head = git("rev-parse", "HEAD", at=tmp_path / "repo").decode().strip()
    fixed = git("rev-parse", "HEAD:shop/prices.py", at=tmp_path / "repo").decode().strip()
    bug = git("diff", "HEAD", "HEAD~1", at=tmp_path / "repo").decode()
    bug = bug.replace("[1:]", "[2:]")  # else its tree is one of the history
    task: Instance = msgspec.structs.replace(
        TASK, tree=Commit(str(tmp_path / "repo"), head, bug), reference=REFERENCE.replace("[1:]", "[2:]")
    )
    lay_out(task, tmp_path / "place", tmp_path)
    assert "prices[2:]" in (tmp_path / "place" / "shop" / "prices.py").read_text()
    assert fixed not in objects(tmp_path / "place")
    assert leaks(task, tmp_path / "place") == ()
    assert git("status", "--porcelain", at=tmp_path / "place") == b""
    assert sorted(path for path in (tmp_path / "repo" / ".git").rglob("*")) == before
    plain = msgspec.structs.replace(task, tree=Commit(str(tmp_path / "repo"), head))
    lay_out(plain, tmp_path / "plain", tmp_path)
    assert fixed in objects(tmp_path / "plain")
    assert b'"patch"' not in msgspec.json.encode(plain.tree), "ids of units are what they were"


# --- the journal --------------------------------------------------------------------------------------


def entry(key: str, at: str = "") -> Entry:
    row = {"instance_id": key, "created_at": at, "extra": {}} if at else None
    return Entry(key, "task" if at else "no test fails", row=row)


def hold(out: Path, **asked: Any) -> Any:
    return held(out, {"repo": "a/b", **asked}, {"environment_commits": ["c"]}, for_training)


def test_a_journal_is_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "made" / "tasks.jsonl"
    with hold(out) as journal:
        journal.add(entry("a", "2024-01-01T00:00:00Z"))
        journal.add(entry("b"))
    with out.with_suffix(".journal.jsonl").open("ab") as file:
        file.write(b'{"key": "torn", "outc')
    out.unlink()
    with hold(out) as journal:
        assert set(journal.entries) == {"a", "b"}
        assert journal.head.fixed == {"environment_commits": ["c"]}
        journal.add(entry("c"))
        report = json.loads(journal.write_report({"tasks": 1}).read_text())
    canary = journal.head.canary
    assert says_canary(canary, [report["canary"]])
    marked = {"split": "train", "canary": canary}
    assert [json.loads(line)["extra"] for line in out.read_text().splitlines()] == [marked]
    assert [each["outcome"] for each in report["candidates"]] == ["task", "no test fails", "no test fails"]
    with hold(out) as journal:
        assert set(journal.entries) == {"a", "b", "c"}
        assert journal.head.canary == canary
    assert {path.name for path in out.parent.iterdir()} == {
        "tasks.jsonl",
        "tasks.journal.jsonl",
        "tasks.report.json",
    }


def _foreign(out: Path) -> None:
    out.write_text("{}\n")


def _broken(out: Path) -> None:
    with hold(out):
        pass
    with out.with_suffix(".journal.jsonl").open("ab") as file:
        file.write(b"nonsense\n")


def _other(out: Path) -> None:
    with hold(out, seed=1):
        pass


def _newer(out: Path) -> None:
    _other(out)
    journal = out.with_suffix(".journal.jsonl")
    journal.write_bytes(journal.read_bytes().replace(b'"format":2', b'"format":9'))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (_foreign, "was not made by"),
        (_broken, "is broken"),
        (_other, "seed: 1, now None"),
        (_newer, "format 9"),
    ],
)
def test_a_journal_that_does_not_fit_is_refused(
    make: Callable[[Path], None], told: str, tmp_path: Path
) -> None:
    make(tmp_path / "tasks.jsonl")
    with pytest.raises(JournalError, match=told), hold(tmp_path / "tasks.jsonl"):
        pass


def test_only_one_works_on_a_file(tmp_path: Path) -> None:
    with hold(tmp_path / "t.jsonl"), pytest.raises(lease.RunBusy), hold(tmp_path / "t.jsonl"):
        pass
    with pytest.raises(JournalError, match=r"ends in \.jsonl"), hold(tmp_path / "t.json"):
        pass


def _collect(journal: Journal, outcomes: list[str], **asked: Any) -> list[str]:
    """Keys that were tried."""
    tried = []

    def candidate(number: int, outcome: str) -> Candidate:
        async def attempt() -> dict[str, Any]:
            tried.append(f"{number}")
            await asyncio.sleep(0.001 * number)
            if outcome == "boom":
                raise RuntimeError("a defect")
            if outcome == "sandbox":
                raise SandboxError("no daemon")
            if outcome == "git":
                raise GitFailed("no such object")
            if outcome != "task":
                raise Rejected(outcome)
            return {"instance_id": f"{number}", "created_at": "2024-01-01T00:00:00Z", "extra": {}}

        return Candidate(f"{number}", "", attempt)

    asyncio.run(collect(journal, [candidate(*each) for each in enumerate(outcomes)], **asked))
    return tried


@pytest.mark.parametrize("jobs", [1, 3])
def test_there_are_never_more_tasks_than_asked_for(jobs: int, tmp_path: Path) -> None:
    with hold(tmp_path / "t.jsonl") as journal:
        tried = _collect(journal, ["git", "task", "task", "task", "task", "no"], jobs=jobs, limit=2)
        assert len(journal.rows) == 2
        assert journal.entries["0"].outcome == "cannot be read"
        assert len(tried) <= 2 + jobs
        assert _collect(journal, ["no"] * 3, limit=2) == []
        more = _collect(journal, ["no", "task", "task", "task", "no", "no"], jobs=jobs, limit=9)
        assert "0" not in more and "5" in more, "what is known is not tried again"


def test_a_defect_ends_it_and_keeps_what_was_found(tmp_path: Path) -> None:
    with hold(tmp_path / "t.jsonl") as journal:
        with pytest.raises(RuntimeError, match="a defect"):
            _collect(journal, ["task", "boom", "task"])
        assert list(journal.entries) == ["0"]


def test_a_sandbox_that_fails_is_not_the_candidates_fault(tmp_path: Path) -> None:
    bad = "sandbox"
    shown: list[Entry] = []
    with hold(tmp_path / "t.jsonl") as journal:
        _collect(journal, [bad, bad, "no", bad, bad, "task"], on_entry=shown.append)
        assert list(journal.entries) == ["2", "5"]
        assert [each.key for each in shown if each.outcome == PUT_OFF] == ["0", "1", "3", "4"]
        with pytest.raises(SandboxError, match="no daemon"):
            _collect(journal, [bad] * 9)
        assert list(journal.entries) == ["2", "5"]
