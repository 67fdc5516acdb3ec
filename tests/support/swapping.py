"""A process that swaps a folder for a symlink and back without a pause, for races between check and use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_SWAP = """
import os, sys
tree, outside, enough, stop = sys.argv[1:]
os.chdir(tree)
swaps = 0
while not os.path.exists(stop):
    whole = True
    try: os.symlink(outside, "link")
    except OSError: pass
    for old, new in (("d", "spare"), ("link", "d"), ("d", "link"), ("spare", "d")):
        try: os.rename(old, new)
        except OSError: whole = False
    swaps += whole
    if swaps == 10_000: open(enough, "w").close()
"""


@contextmanager
def swapped(tree: Path, outside: Path) -> Iterator[Callable[[], bool]]:
    """Swap `tree`/d for a symlink to `outside` meanwhile; what is given tells whether it was 10,000 times."""
    name = os.urandom(4).hex()
    enough, stop = (tree.parent / f"{word}-{name}" for word in ("enough", "stop"))
    with subprocess.Popen([sys.executable, "-c", _SWAP, tree, outside, enough, stop]):
        try:
            yield enough.exists
        finally:
            stop.touch()
    for mark in (enough, stop):
        mark.unlink(missing_ok=True)
