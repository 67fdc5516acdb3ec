"""Faults with a known place: programs of QuixBugs, and mutants of packages, all at pinned commits.

A mutant is a package with one token of one function changed (an operator, a number, a truth value, a jump),
chosen by chance; at most one for each function.
"""

from __future__ import annotations

import ast
import io
import random
import subprocess
import tarfile
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tools import syntax
from tools.testreport import is_test_path

PAIRS = ("< <=", "> >=", "== !=", "+ -", "* //", "+= -=", "and or", "True False", "break continue")
TABLE = {old: new for pair in PAIRS for old, new in (pair.split(), reversed(pair.split()))} | {"not": ""}
"""What a token of a mutant becomes; a number becomes the next one."""
ASIDE = ("docs", "benchmark", "examples", "misc", "setup", "scripts")
"""Folders and files that are no part of the package."""
SHARED = ("conftest.py", "python_testcases/load_testdata.py", "python_testcases/node.py")
SHARED += ("python_programs/node.py",)


class Repository(NamedTuple):
    """A public repository, and which of its tests to run."""

    owner: str
    name: str
    commit: str
    tests: tuple[str, ...] = ()

    def at(self, folder: Path) -> Path:
        """A git repository in `folder` that has the commit; it is fetched unless it is there already."""
        place = folder / self.name
        if not place.exists():
            subprocess.run(["git", "init", "--quiet", "--bare", str(place)], check=True)
        known = ["git", "-C", str(place), "cat-file", "-e", f"{self.commit}^{{commit}}"]
        if subprocess.run(known, capture_output=True, check=False).returncode:
            url = f"https://github.com/{self.owner}/{self.name}"
            subprocess.run(["git", "-C", str(place), "fetch", "--depth=1", url, self.commit], check=True)
        return place

    def archive(self, folder: Path, target: Path, *paths: str) -> None:
        """Write the files of the commit, or some of them, to `target`."""
        command = ["git", "-C", str(self.at(folder)), "archive", self.commit, *paths]
        done = subprocess.run(command, capture_output=True, check=True)
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
            tar.extractall(target, filter="data")

    def files(self, folder: Path) -> set[str]:
        command = ["git", "-C", str(self.at(folder)), "ls-tree", "-r", "--name-only", self.commit]
        return set(subprocess.run(command, capture_output=True, check=True, text=True).stdout.split())


QUIXBUGS = Repository("jkoppel", "QuixBugs", "4257f44b0ff1181dedaedee6a447e133219fcebf")
PROGRAMS = (
    *("depth_first_search", "find_first_in_sorted", "find_in_sorted", "flatten", "gcd", "kheapsort", "lis"),
    *("longest_common_subsequence", "powerset", "reverse_linked_list", "rpn_eval", "shortest_path_lengths"),
    *("shortest_paths", "sieve", "sqrt", "subsequences", "to_base", "topological_ordering"),
)
"""Those that pawl was developed with; the others are for evaluation alone and are never opened."""
TUNED_ON = (
    Repository("pytoolz", "toolz", "568c2b8393973cd172a466546c9d95779c452438"),
    Repository("mahmoud", "boltons", "967864f89791509f9eb36b22b4579d36b72a6df2", ("tests",)),
    Repository(
        "grantjenks", "python-sortedcontainers", "3ac358631f58c1347f1d6d2d92784117db0f38ed", ("tests",)
    ),
    Repository(
        "Python-Markdown",
        "markdown",
        "bb50627dc07fde6ee5ed7478464062c537ebad2c",
        ("tests", "--ignore=tests/test_syntax/extensions/test_md_in_html.py"),
    ),
    Repository("martinblech", "xmltodict", "8d7f1fdb2251b5dc3b98df447850cb8229defc32", ("tests",)),
    Repository("hukkin", "tomli", "920e20b1cf495b63f6d4a6aa3cd5e4ff25f5f5a7", ("tests",)),
)
MEASURED_BEFORE = (
    Repository("tkem", "cachetools", "28d4506f2a49d781ffbcecb095fa7aba5bb80aff", ("tests",)),
    Repository("r1chardj0n3s", "parse", "738447715c76f8ebc460b33320307faccafbc599", ("-oaddopts=", "tests")),
    Repository("jpvanhal", "inflection", "88eefaacf7d0caaa701af7c8ab2d0ab3f17086f1", ("test_inflection.py",)),
    Repository("astanin", "python-tabulate", "268615a5c27dc40e5c22454c07b44d5c50410da0", ("test",)),
)
"""Measured with earlier rankings; misses of parse and cachetools were looked at later."""
HELD_OUT = (
    Repository("andialbrecht", "sqlparse", "60cdc649726bf1bc4f1b336050560b336da715ec", ("tests",)),
    Repository("lepture", "mistune", "b5dd9949baf3729a709ef8ae591eab86e72a9e46", ("tests",)),
    Repository("jmespath", "jmespath.py", "2ad18b0e51ef3c22ef0d4bbeb11506746a39e228", ("tests",)),
    Repository("cpburnz", "python-pathspec", "6568072c2703c72796cd02467feb924540157c92", ("tests",)),
    Repository(
        "more-itertools",
        "more-itertools",
        "2fe1b2eeb9d75f994113fe3ac76d14b6bcd6fb10",
        ("tests/test_more.py",),
    ),
    Repository("danthedeckie", "simpleeval", "ea3d6d0933d1102bdc6b5fc4a9afca3690dff883", ("tests",)),
    Repository("msiemens", "tinydb", "2283a2b556d5ef361b61bae8ed89c0ce0730d7c8", ("-oaddopts=", "tests")),
)
"""Measured when the ranking was done, the last three first then. Their tests need nothing but pytest."""


class Fault(NamedTuple):
    path: str
    qualname: str
    source: bytes
    """The whole file, with the fault."""


def program(name: str, folder: Path, target: Path) -> Fault:
    """A faulty program of QuixBugs with its own tests alone, written to `target`."""
    path = f"python_programs/{name}.py"
    own = {path, f"python_testcases/test_{name}.py", f"json_testcases/{name}.json"}
    QUIXBUGS.archive(folder, target, *sorted((own | set(SHARED)) & QUIXBUGS.files(folder)))
    return Fault(path, name, (target / path).read_bytes())


def mutants(tree: Path, seed: int) -> Iterator[Fault]:
    """The mutants of a package, in an order by chance."""
    chance = random.Random(seed)
    faults = []
    for file in sorted(tree.rglob("*.py")):
        path = str(file.relative_to(tree))
        if is_test_path(path) or path.startswith(ASIDE):
            continue
        source = file.read_bytes()
        for symbol in syntax.functions(source):
            if options := list(_changes(source, symbol)):
                faults.append(Fault(path, symbol.qualname, chance.choice(options)))
    chance.shuffle(faults)
    yield from faults


def _changes(source: bytes, symbol: syntax.Symbol) -> Iterator[bytes]:
    """The file with one token of a function's own body changed."""
    lines = source.splitlines(keepends=True)
    first = source.count(b"\n", 0, symbol.body_byte) + 1
    inner = [s for s in syntax.functions(source) if s.qualname.startswith(symbol.qualname + ".")]
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        row = token.start[0]
        if not first <= row <= symbol.end_line or any(s.start_line <= row <= s.end_line for s in inner):
            continue
        number = token.type == tokenize.NUMBER and token.string.isdecimal()
        new = str(int(token.string) + 1) if number else TABLE.get(token.string)
        if new is not None and token.type in (tokenize.NUMBER, tokenize.NAME, tokenize.OP):
            line = lines[row - 1].decode()
            changed = line[: token.start[1]] + new + line[token.end[1] :]
            whole = b"".join([*lines[: row - 1], changed.encode(), *lines[row:]])
            if _parses(whole):
                yield whole


def _parses(source: bytes) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True
