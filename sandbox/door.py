"""A unix socket that a sandbox is shown: what listens there is all of the network that it has.

It stands in a folder that any user may enter, for who acts inside may be another one; but the folder around
that is private, so on the host only pawl gets as far as there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from pathlib import Path

from sandbox.base import Outlet, SandboxUnavailable
from sandbox.outlet import SOCKET

_PREFIX, _SHOWN = "pawl-network-", "shown"
BACKLOG = 128


class Door:
    """Open from the start. Raises SandboxUnavailable."""

    def __init__(self, backlog: int = BACKLOG) -> None:
        _sweep()
        self.listening = socket.socket(socket.AF_UNIX)
        try:
            self._private = Path(tempfile.mkdtemp(prefix=_PREFIX))
            try:
                self._listen(self._private / _SHOWN, backlog)
            except OSError:
                self.close()
                raise
        except OSError as error:
            self.listening.close()
            raise SandboxUnavailable(
                f"the socket for a sandbox's network cannot listen: {error}",
                "see that TMPDIR is a short, writable path",
            ) from error

    def _listen(self, shown: Path, backlog: int) -> None:
        shown.mkdir()
        shown.chmod(0o711)
        self.listening.bind(str(shown / "new"))
        self.listening.listen(backlog)
        (shown / "new").chmod(0o666)
        (shown / "new").rename(shown / SOCKET)  # by this name it is served from the start

    def outlet(self, allowed: tuple[str, ...]) -> Outlet:
        """What a SandboxSpec takes; `allowed` is for a person."""
        return Outlet(str(self._private / _SHOWN), allowed)

    def close(self) -> None:
        """Idempotent."""
        self.listening.close()
        shutil.rmtree(self._private, ignore_errors=True)


def _sweep() -> None:
    """Remove what a pawl that was killed left behind: folders of ours with a socket that nobody serves."""
    for folder in Path(tempfile.gettempdir()).glob(_PREFIX + "*"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(folder / _SHOWN / SOCKET))
            except ConnectionRefusedError:
                if folder.lstat().st_uid == os.geteuid():
                    shutil.rmtree(folder, ignore_errors=True)
