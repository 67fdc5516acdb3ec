"""Case 11: the docker daemon is killed. One of the test's own, for nobody else's may be."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sandbox.base import SandboxDied, SandboxUnavailable
from tests.sandbox.places import SESSION, opened
from tests.sandbox.remains import containers, within

pytestmark = [
    pytest.mark.alone,
    pytest.mark.anyio,
    pytest.mark.docker,
    # docker's library forgets a socket that it could not connect
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Daemon:
    """A private dockerd with its containerd; all of it is below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "s"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[subprocess.Popen[bytes]]:
        words = ["dockerd", "--host", f"unix://{self.socket}", "--bridge", "none", "--iptables=false"]
        for option, name in (("--pidfile", "pid"), ("--data-root", "data"), ("--exec-root", "exec")):
            words += [option, str(self.folder / name)]
        with (self.folder / "log").open("ab") as log:
            daemon = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        try:
            assert await within(15, self.answers), (self.folder / "log").read_text()[-2000:]
            yield daemon
        finally:
            daemon.kill()
            await asyncio.to_thread(daemon.wait)
            assert await within(5, lambda: not self.has_containerd())

    def answers(self) -> bool:
        words = ["docker", "--host", f"unix://{self.socket}", "version"]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def has_containerd(self) -> bool:
        """The kernel kills it with a daemon that is killed, a moment later."""
        path = self.folder / "exec/containerd/containerd.pid"
        return path.exists() and Path("/proc", path.read_text().strip()).exists()

    def end(self) -> None:
        """End what a killed daemon leaves, and what it has mounted."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if os.fsencode(self.folder) in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_bytes().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(os.fsencode(self.folder))), reverse=True):
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("a docker daemon of one's own takes root and dockerd")
    private = Daemon(Path(tempfile.mkdtemp(prefix="pawl-dockerd-")))  # a socket's path must be short
    monkeypatch.setenv("DOCKER_HOST", f"unix://{private.socket}")
    yield private
    private.end()


async def test_case_11_a_docker_daemon_that_is_killed_is_a_clear_error_and_swept_up(
    daemon: Daemon, tmp_path: Path
) -> None:
    """Not on bubblewrap, which has no daemon. No mutation: what would be switched off is docker's own.

    The container's own processes outlive their daemon; the next daemon and the next opening end them.
    """
    async with daemon.running() as process, opened("docker", tmp_path) as place:
        waiting = asyncio.create_task(place.sandbox.run("echo up; sleep 74.1"))
        await place.sandbox.run("true")
        process.kill()
        with pytest.raises(SandboxDied, match="the sandbox ended"):
            await asyncio.wait_for(waiting, 5)
        with pytest.raises(SandboxDied):
            await place.sandbox.run("true")
        with pytest.raises(SandboxUnavailable, match=r"daemon .*not answer"):
            async with opened("docker", tmp_path):
                pass
    async with daemon.running(), opened("docker", tmp_path) as place:
        assert (await place.sandbox.run("echo again")).output == b"again\n"
        assert await within(5, lambda: len(containers(SESSION)) == 1)
    gc.collect()
