"""The corpus of edits, by pawl and by the edit appliers of two peers from PyPI; and what a tool call costs.

    python -m tests.bench.edits [--venvs FOLDER] [--python PATH]

Each peer is installed into a virtual environment of its own (kept in FOLDER when one is named) and does the
edits of real files by its own code. aider's search blocks are whole lines: a search within a line is widened
to the lines that hold it. A case that a peer has no words for (`replace_all`) is left out for it. What is
right is what pawl's corpus specifies. mistral-vibe needs Python 3.12: PATH, or `python3.12` and later.
Prints two tables in Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from sandbox.base import SandboxSpec
from sandbox.open import open_sandbox
from tests.support.edit_cases import Case, cases
from tools.base import ToolContext, ToolError
from tools.matching import apply_edit
from tools.toolset import load

OUTCOMES = (
    "as specified",
    "refused, should land",
    "lands, but for white space",
    "another result",
    "edits, should refuse",
)
PLAIN = "all, in UTF-8 with line feeds"
ROUNDS = 200


class Peer(NamedTuple):
    name: str
    requirement: str
    driver: str
    whole_lines: bool
    newest: bool
    """Needs a Python of 3.12 or later."""


PEERS = (
    Peer("aider", "aider-chat==0.86.2", "aider_edit.py", True, False),
    Peer("mistral-vibe", "mistral-vibe==2.25.5", "vibe_edit.py", False, True),
)


def widened(case: Case) -> tuple[str, str]:
    """The edit in whole lines, for a peer that knows nothing else."""
    encodings = {"latin-1": "latin-1", "utf-16-le": "utf-16", "utf-16-be": "utf-16"}
    text = case.before.decode(encodings.get(case.shape, "utf-8-sig")).replace("\r\n", "\n")
    old, new = case.old, case.new
    if old.strip() and text.count(old) == 1:
        at = text.index(old)
        end = at + len(old)
        start = text.rfind("\n", 0, at) + 1
        stop = end if old.endswith("\n") else text.find("\n", end) % (len(text) + 1)
        old, new = text[start:stop], text[start:at] + new + text[end:stop]
    return _ended(old), _ended(new)


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def by_pawl(case: Case, path: Path) -> None:
    try:
        path.write_bytes(apply_edit(case.before, case.old, case.new, replace_all=case.replace_all).data)
    except ToolError:
        return


def by_peer(peer: Peer, python: Path, wanted: Sequence[Case], folder: Path) -> None:
    rows = []
    for number, case in enumerate(wanted):
        old, new = widened(case) if peer.whole_lines else (case.old, case.new)
        path = str(folder / f"{number}.txt")
        rows.append({"path": path, "old": old, "new": new, "replace_all": case.replace_all})
    driver = Path(__file__).parent / "peers" / peer.driver
    subprocess.run(
        [python, driver], input=json.dumps(rows), capture_output=True, text=True, timeout=600, check=True
    )


def outcome(case: Case, after: bytes) -> str:
    if case.after is None:
        return OUTCOMES[0] if after == case.before else OUTCOMES[4]
    if after == case.after:
        return OUTCOMES[0]
    if after == case.before:
        return OUTCOMES[1]
    same = [b"".join(data.replace(b"\0", b"").split()) for data in (after, case.after)]
    return OUTCOMES[2] if same[0] == same[1] else OUTCOMES[3]


def environment(peer: Peer, python: str | None, folder: Path) -> Path:
    place = folder / peer.name
    if not (place / "bin/python").exists():
        newer = (found for n in (12, 13, 14) if (found := shutil.which(f"python3.{n}")) and starts(found))
        chosen = (python or next(filter(None, newer), None)) if peer.newest else sys.executable
        if chosen is None:
            raise SystemExit(f"{peer.requirement} needs Python 3.12 or later: name one with --python")
        subprocess.run([chosen, "-m", "venv", place], check=True)
        subprocess.run([place / "bin/pip", "install", "--quiet", peer.requirement], check=True)
    return place / "bin/python"


def starts(python: str) -> bool:
    """Whether it is a Python and not the shim of a version manager that has chosen another."""
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


def tables(venvs: Path, python: str | None) -> None:
    everything = cases()
    results: dict[str, Counter[str]] = {}
    groups: dict[str, Counter[str]] = {}
    for peer in (None, *PEERS):
        name = peer.name if peer else "pawl"
        wanted = [c for c in everything if not (c.replace_all and peer and peer.whole_lines)]
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder, f"{number}.txt") for number in range(len(wanted))]
            for case, path in zip(wanted, paths, strict=True):
                path.write_bytes(case.before)
                if peer is None:
                    by_pawl(case, path)
            if peer:
                by_peer(peer, environment(peer, python, venvs), wanted, Path(folder))
            found = [outcome(case, path.read_bytes()) for case, path in zip(wanted, paths, strict=True)]
        results[name] = Counter(found)
        right = (c.group for c, o in zip(wanted, found, strict=True) if o == OUTCOMES[0])
        groups[name] = Counter(right)
        for group, count in Counter(c.group for c in wanted).items():
            groups[name][f"of {group}"] = count
        plain = [o for c, o in zip(wanted, found, strict=True) if c.shape == "lf"]
        groups[name][PLAIN], groups[name][f"of {PLAIN}"] = plain.count(OUTCOMES[0]), len(plain)
    names = list(results)
    print("| | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for row in OUTCOMES:
        print(f"| {row} | " + " | ".join(str(results[name][row]) for name in names) + " |")
    print("| cases | " + " | ".join(str(results[name].total()) for name in names) + " |\n")
    print("| as specified | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for group in ("right", "near", "ambiguous", "wrong", "hostile", PLAIN):
        cells = (f"{groups[name][group]} of {groups[name][f'of {group}']}" for name in names)
        print(f"| {group} | " + " | ".join(cells) + " |")


async def overhead() -> None:
    """What read and edit cost beyond the sandbox's own reads and writes, each in turn."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        tree.mkdir()
        source = "".join(f"def f{n}(a, b):\n    c = a + b * {n}\n    return c\n\n\n" for n in range(80))
        (tree / "a.py").write_text(source)
        spec = SandboxSpec(tree=tree, root=str(tree), session="bench")
        sandbox = await open_sandbox(spec, "local", state=Path(folder, "state"), project=tree)
        ctx = ToolContext(sandbox, Path(folder, "artifacts"))
        read, edit = load("read"), load("edit")
        times: dict[str, list[float]] = {name: [] for name in ("read", "edit", "own read", "own edit")}
        try:
            for number in range(ROUNDS):
                old, new = ("b * 40\n", "b *  40\n")[:: 1 if number % 2 == 0 else -1]
                await _timed(times["read"], lambda: read.run(ctx, path="a.py"))
                await _timed(times["own read"], lambda: sandbox.read("a.py"))
                await _timed(
                    times["edit"],
                    lambda old=old, new=new: edit.run(  # type: ignore[misc]
                        ctx, path="a.py", old_string=f"c = a + {old}", new_string=f"c = a + {new}"
                    ),
                )
                await _timed(times["own edit"], lambda: _read_and_write(ctx))
        finally:
            await sandbox.aclose()
    print(f"\n| p50 of {ROUNDS}, a file of 400 lines | tool | sandbox alone | beyond it |\n|---|---|---|---|")
    for name in ("read", "edit"):
        tool, own = (statistics.median(times[key]) * 1000 for key in (name, f"own {name}"))
        print(f"| {name} | {tool:.2f} ms | {own:.2f} ms | {tool - own:.2f} ms |")


async def _read_and_write(ctx: ToolContext) -> None:
    found = await ctx.sandbox.read("a.py")
    ctx.seen["a.py"] = await ctx.sandbox.write("a.py", found.data, expect_hash=found.hash)


async def _timed(times: list[float], action: Callable[[], Awaitable[object]]) -> None:
    began = time.perf_counter()
    await action()
    times.append(time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--venvs", type=Path, help="folder that keeps the peers' environments")
    parser.add_argument("--python", help="a Python of 3.12 or later")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        tables(options.venvs or Path(scratch), options.python)
    asyncio.run(overhead())


if __name__ == "__main__":
    main()
