"""Loaded by every Python that has this folder on its PYTHONPATH, before the program: starts the tracer.

Then comes the sitecustomize that this one stands before, when there is one.
"""

import contextlib
import sys
from pathlib import Path

with contextlib.suppress(Exception):
    import pawl_debug

    pawl_debug.start()

_here = str(Path(__file__).parent)
_path, _own = list(sys.path), sys.modules.pop("sitecustomize", None)
sys.path[:] = [folder for folder in _path if folder != _here]
try:
    import sitecustomize  # type: ignore[import-not-found]  # noqa: F401 - another one
except ImportError:
    if _own is not None:
        sys.modules["sitecustomize"] = _own
finally:
    sys.path[:] = _path
