"""What may hold a secret is taken out of the repositories that lie within the tree, in the copy of it."""

from __future__ import annotations

import os
import re
import stat

from sandbox.beneath import Beneath
from sandbox.gitview import CONFIGS, MAX_CONFIG, clean_text, safe_config
from sandbox.tree import Listing

_SPOKEN = re.compile(r"(?:.*/)?(?:logs/.+|FETCH_HEAD|[A-Z]+_MSG)")
"""What in a git directory is in people's words."""
_SECRET = re.compile(
    r"://[^/\s]*@|extraheader|token|passw|secret|credential|cookie|sshcommand", re.IGNORECASE
)
"""In a configuration: what may be, or lead to, a secret."""


def clean_nested(target: Beneath, stale: dict[str, os.stat_result], new: Listing) -> None:
    """Clean the `stale` files of the copy, which is of `new`.

    A repository may be bare, by any name, and hold those of its submodules and worktrees. A bare one may be
    what a test is about: its configuration is left alone unless it looks secret.
    """
    found = _git_directories(new)
    for path, info in stale.items():
        folder, _, name = path.rpartition("/")
        top = next((each for each in _around(path) if each in found), None)
        hidden = ".git" in folder.split("/")
        if not stat.S_ISREG(info.st_mode) or (top is None and not hidden):
            continue
        if _SPOKEN.fullmatch(path[len(top) :].lstrip("/") if top else path):
            clean_text(target, path, info)
        elif name in CONFIGS and (
            folder in found or f"{folder}/HEAD" in new.files or folder.endswith(".git")
        ):
            fits = info.st_size <= MAX_CONFIG
            text = target.read(path).data.decode("utf-8", "replace") if fits else ""
            if hidden or not fits or _SECRET.search(text):
                target.put(path, safe_config(text).encode(), info.st_mode, mtime_ns=info.st_mtime_ns)


def _git_directories(listing: Listing) -> set[str]:
    """The folders that git would take for a git directory."""
    return {
        folder
        for path in listing.files
        for folder, _, name in [path.rpartition("/")]
        if name == "HEAD"
        and {f"{folder}/objects".lstrip("/"), f"{folder}/refs".lstrip("/")} <= listing.folders.keys()
    }


def _around(path: str) -> list[str]:
    """The folders that a path lies in, the innermost first; "" is the root."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(len(parts), -1, -1)]
