"""How long `pawl --version` and `pawl --help` take, against `python -c "import typer, rich"` in the same run,
and `pawl eval --help` against `pawl --help`.

Prints one JSON object and one line; exit code 1 when a ratio of medians is over the limit.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

LIMIT = 1.5
ROUNDS = 21
PAWL = str(Path(sys.executable).parent / "pawl")
COMMANDS = {
    "import": [sys.executable, "-c", "import typer, rich"],
    "version": [PAWL, "--version"],
    "help": [PAWL, "--help"],
    "eval help": [PAWL, "eval", "--help"],
    "bare": [sys.executable, "-c", "pass"],
}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def measure(rounds: int) -> dict[str, float]:
    """Median seconds of each command; they take turns, so that a busy moment hits all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds + 1):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    return {name: statistics.median(taken[1:]) for name, taken in times.items()}


def main() -> int:
    medians = measure(ROUNDS)
    ratios = {name: medians[name] / medians["import"] for name in ("version", "help")}
    ratios["eval help"] = medians["eval help"] / medians["help"]
    figures = {
        "bench": "startup",
        "rounds": ROUNDS,
        "limit": LIMIT,
        "ms": {name: round(taken * 1000, 1) for name, taken in medians.items()},
        "ratio": {name: round(ratio, 3) for name, ratio in ratios.items()},
    }
    print(json.dumps(figures))
    print(
        f"startup: --version {ratios['version']:.2f} x, --help {ratios['help']:.2f} x the time of"
        f" `import typer, rich` ({medians['import'] * 1000:.0f} ms);"
        f" eval --help {ratios['eval help']:.2f} x the time of --help; at most {LIMIT} x"
    )
    return int(max(ratios.values()) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
