"""The repository's map beside aider's: how long it takes, and whether it shows the file that a fix touched.

    python -P tests/bench/repomap.py speed TREE --aider PYTHON
    python -P tests/bench/repomap.py quality REPOSITORY ... --commits 25 --aider PYTHON

TREE is a folder of sources, REPOSITORY a git repository with its history, PYTHON the interpreter of an
environment with aider-chat; without it pawl's figures stand alone. A task is the message of a commit that
says "fix" and touches exactly one source file and a test; the tree is that of its parent. Nothing of it is
run.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tools.grammars import language_of
from tools.mapindex import update
from tools.repomap import rank, render
from tools.testreport import is_test_path

TOKENS = 1024
TASK = "Fix the null pointer in the cache of the resolver when the property source is closed twice"


class Fix(NamedTuple):
    commit: str
    message: str
    touched: str


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=True)
    return done.stdout.decode("utf-8", "replace")


def fixes(repository: Path, limit: int) -> list[Fix]:
    """The newest commits that say "fix" and touch exactly one source file and a test."""
    found = []
    log = git(repository, "log", "--no-merges", "-4000", "--format=%x01%H%x02%P%x02%B%x02", "--name-status")
    for entry in log.split("\x01")[1:]:
        _, parents, message, names = entry.split("\x02")
        changes = [line.split("\t") for line in names.strip().splitlines()]
        sources = [change for change in changes if language_of(change[-1])]
        own = [change for change in sources if not is_test(change[-1])]
        if len(own) == 1 and own[0][0] == "M" and len(sources) > 1 and re.search(r"\bfix", message, re.I):
            found.append(Fix(parents.split()[0], message.strip(), own[0][1]))
        if len(found) == limit:
            break
    return found


def is_test(path: str) -> bool:
    return is_test_path(path) or bool(
        re.search(r"(^|/)(tests?|specs?|testing)/|_test\.|\.test\.|_spec\.", path)
    )


class Aider:
    """aider's answers, from one process of its own."""

    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name("aider_map.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def speed(tree: Path, aider: Aider | None) -> None:
    with tempfile.TemporaryDirectory(prefix="pawl-bench-") as folder:
        cache = Path(folder) / "map"
        shutil.rmtree(tree / ".aider.tags.cache.v4", ignore_errors=True)

        def pawl() -> float:
            started = time.perf_counter()
            assert render(rank(update(tree, cache), TASK), TOKENS)
            return time.perf_counter() - started

        def peer() -> float:
            if aider is None:
                return float("nan")
            return float(aider.ask(root=str(tree), files=files, task=TASK, tokens=TOKENS)["seconds"])

        figures = {"cold": pawl(), "warm": min(pawl() for _ in range(3))}
        files = [source.path for source in update(tree, cache).files]
        changed = tree / files[len(files) // 2]
        before = changed.read_bytes()
        theirs = {"cold": peer(), "warm": min(peer() for _ in range(2))}
        times = []
        for number in range(3):
            changed.write_bytes(before + b"\n" * (number + 1))
            times.append(pawl())
        figures["one file changed"] = min(times)
        theirs["one file changed"] = peer()
        changed.write_bytes(before)
        print(f"{len(files)} source files; seconds, least of three (cold: one)")
        print(f"{'':18}{'pawl':>8}{'aider':>9}{'ratio':>8}")
        for name, seconds in figures.items():
            print(f"{name:18}{seconds:8.3f}{theirs[name]:9.2f}{theirs[name] / seconds:8.0f}")


def quality(repositories: list[Path], commits: int, aider: Aider | None, show: bool) -> None:
    totals = [0, 0, 0]
    print(f"{'':26}{'fixes':>6}{'pawl':>7}{'aider':>7}   the touched file among the first 10")
    for repository in repositories:
        hits = [0, 0, 0]
        for fix, ours, theirs in placed(repository, commits, aider):
            hits = [hits[0] + 1, hits[1] + (0 < ours <= 10), hits[2] + (0 < theirs <= 10)]
            if show:
                print(f"  {ours:4} {theirs:4}  {fix.touched}  {fix.message.splitlines()[0][:80]}", flush=True)
        totals = [a + b for a, b in zip(totals, hits, strict=True)]
        _line(repository.parent.name if repository.name == "repo" else repository.name, hits)
    _line("all", totals)


def _line(name: str, hits: list[int]) -> None:
    count = hits[0] or 1
    print(f"{name:26}{hits[0]:6}{hits[1] / count:7.0%}{hits[2] / count:7.0%}", flush=True)


def placed(repository: Path, commits: int, aider: Aider | None) -> Iterator[tuple[Fix, int, int]]:
    """Each fix with the place of its file in both rankings, from 1; 0 for none."""
    with tempfile.TemporaryDirectory(prefix="pawl-bench-") as folder:
        tree = Path(folder) / "tree"
        git(repository, "clone", "-q", "--shared", "--no-checkout", str(repository), str(tree))
        for fix in fixes(repository, commits):
            git(tree, "checkout", "-q", "--force", fix.commit)
            index = update(tree, Path(folder) / "map")
            ours = [ranked.path for ranked in rank(index, fix.message)]
            theirs: list[str] = []
            if aider:
                files = [source.path for source in index.files]
                request = {"root": str(tree), "files": files, "task": fix.message, "tokens": TOKENS}
                theirs = aider.ask(**request, ranks_only=True)["files"]
            yield fix, place(fix.touched, ours), place(fix.touched, theirs)


def place(path: str, ranked: list[str]) -> int:
    return ranked.index(path) + 1 if path in ranked else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["speed", "quality"])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--aider", help="interpreter of an environment with aider-chat")
    parser.add_argument("--commits", type=int, default=25, help="of each repository")
    parser.add_argument("--show", action="store_true", help="each fix on a line")
    options = parser.parse_args()
    aider = Aider(options.aider) if options.aider else None
    if options.what == "speed":
        speed(options.paths[0].resolve(), aider)
    else:
        quality([path.resolve() for path in options.paths], options.commits, aider, options.show)
    if aider:
        aider.close()


if __name__ == "__main__":
    main()
