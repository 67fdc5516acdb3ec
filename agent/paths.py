"""Where pawl keeps its own files: `$PAWL_HOME/{state,cache,config}`, else the platform's directories.

Nothing is created here; who writes makes the directory.
"""

from __future__ import annotations

import os
from pathlib import Path

APP = "pawl"


def state_dir() -> Path:
    """Sessions, logs, frozen trees: what a person may want to look at later."""
    return _directory("state")


def cache_dir() -> Path:
    """Weights and whatever else can be fetched or computed again."""
    return _directory("cache")


def config_dir() -> Path:
    """The person's own settings."""
    return _directory("config")


def _directory(kind: str) -> Path:
    if home := os.environ.get("PAWL_HOME"):
        return Path(home).expanduser().absolute() / kind
    import platformdirs

    match kind:
        case "state":
            return platformdirs.user_state_path(APP, appauthor=False)
        case "cache":
            return platformdirs.user_cache_path(APP, appauthor=False)
        case _:
            return platformdirs.user_config_path(APP, appauthor=False)
