"""A process that swaps a folder for a symlink and back without a pause, for races between check and use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SWAP = """
import os, sys
os.chdir(sys.argv[1])
swaps = 0
while not os.path.exists(sys.argv[3]):
    try: os.symlink(sys.argv[2], "link")
    except OSError: pass
    for old, new in (("d", "spare"), ("link", "d"), ("d", "link"), ("spare", "d")):
        try: os.rename(old, new)
        except OSError: pass
    swaps += 1
print(swaps)
"""


@contextmanager
def swapped(tree: Path, outside: Path) -> Iterator[list[int]]:
    """Swap `tree`/d for a symlink to `outside` meanwhile; what is given holds afterwards how often."""
    stop = tree.parent / f"stop-{os.urandom(4).hex()}"
    command = [sys.executable, "-c", _SWAP, tree, outside, stop]
    swaps: list[int] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield swaps
        finally:
            stop.touch()
            swaps.append(int(process.communicate()[0]))
    stop.unlink()
