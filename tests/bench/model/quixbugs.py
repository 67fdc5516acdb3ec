"""How many one-function bugs `pawl fix` repairs, on programs of the public QuixBugs collection.

    python tests/bench/model/quixbugs.py --source CHECKOUT --programs FILE [--attempts 8] [--model NAME]

CHECKOUT is a clone of the public repository jkoppel/QuixBugs, FILE names one program a line. Each program
becomes a git repository of its own that holds the buggy file and its tests alone. `pawl fix` works on it as a
user would call it; the score comes from a pristine copy of the tests that is run on the repaired file.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SUPPORT = ("conftest.py", "python_testcases/load_testdata.py", "python_testcases/node.py")
CHECK = ("python", "-m", "pytest", "-q")
SCORE_TIMEOUT_S = 60


def main() -> int:
    args = _arguments()
    names = args.programs.read_text().split()
    rows = []
    for name in names:
        rows.append(row := _measure(name, args))
        print(
            f"{name:32} {'solved' if row['solved'] else 'open':7} {row['attempts']} attempts "
            f"{row['output_tokens']:6} tokens written {row['input_tokens']:6} read {row['seconds']:6.1f} s",
            flush=True,
        )
    solved = [row for row in rows if row["solved"]]
    total = sum(row["seconds"] for row in rows)
    written = sum(row["output_tokens"] for row in rows)
    mean = f"{total / len(rows):.1f} s and {written / len(rows):.0f} tokens written a task"
    print(f"solved {len(solved)} of {len(rows)}; {mean}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def _measure(name: str, args: argparse.Namespace) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="pawl-quixbugs-") as folder:
        task, pristine = Path(folder) / name, Path(folder) / "pristine"
        _make(args.source, name, task)
        shutil.copytree(task, pristine, ignore=shutil.ignore_patterns(".git"))
        command = [str(Path(sys.executable).with_name("pawl")), "fix", "--yes", "--output-format", "json"]
        command += ["--attempts", str(args.attempts), "-m", args.model, "--seed", str(args.seed)]
        if args.sandbox:
            command += ["--sandbox", args.sandbox]
        started = time.monotonic()
        done = subprocess.run([*command, "--", *CHECK], cwd=task, stdout=subprocess.PIPE, check=False)
        seconds = time.monotonic() - started
        result = json.loads(done.stdout or b"{}")
        file = f"python_programs/{name}.py"
        shutil.copyfile(task / file, pristine / file)
        usage = result.get("usage", {})
        return {
            "name": name,
            "solved": done.returncode == 0 and _passes(pristine),
            "exit_code": done.returncode,
            "attempts": result.get("attempts", 0),
            "input_tokens": usage.get("input_tokens", 0),
            "cached_input_tokens": usage.get("cached_input_tokens", 0),
            "output_tokens": usage.get("output_tokens", 0),
            "seconds": round(seconds, 1),
        }


def _make(source: Path, name: str, task: Path) -> None:
    """The program's own repository: its file, its tests, what they load."""
    files = [
        f"python_programs/{name}.py",
        f"python_testcases/test_{name}.py",
        f"json_testcases/{name}.json",
        *SUPPORT,
    ]
    for file in files:
        if (source / file).exists():
            (task / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file, task / file)
    author = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
    for words in (("init", "-q"), ("add", "-A"), (*author, "commit", "-qm", "base")):
        subprocess.run(["git", *words], cwd=task, check=True)


def _passes(folder: Path) -> bool:
    try:
        command = [sys.executable, *CHECK[1:]]
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=SCORE_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--programs", type=Path, required=True)
    parser.add_argument("--attempts", type=int, default=8)
    parser.add_argument("--model", default="local/qwen2.5-coder-1.5b")
    parser.add_argument("--sandbox", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
