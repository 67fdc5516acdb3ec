"""`python -m agent`, for want of the `pawl` script; it never runs code of the directory it is started in.

`-m` puts the current directory first in the module search path, and `agent`, `tools` and `sandbox` are names
that any repository may use for folders of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path


def _leave_the_current_directory() -> None:
    if sys.flags.safe_path:
        return
    here = Path.cwd()
    if Path(__file__).resolve().parent.parent == here:
        print(f"pawl: the package `agent` was found in {here} itself;", file=sys.stderr)
        print("      run `pawl`, or `python -P -m agent`", file=sys.stderr)
        sys.exit(2)
    if Path(sys.path[0]).resolve() == here:
        del sys.path[0]


if __name__ == "__main__":
    _leave_the_current_directory()
    from agent.cli.main import main

    sys.exit(main())
