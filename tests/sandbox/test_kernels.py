"""Kernels and daemons that are not this machine's: what was heard of them in virtual machines.

Debian 12 (Linux 6.1, docker 20.10) and Debian 13 (Linux 6.12, docker 26.1), both with systemd, cgroup v2 and
AppArmor, made with debootstrap and run by QEMU. The files are copies of what a container was shown.
"""

from __future__ import annotations

from pathlib import Path

import docker
import pytest

from sandbox.backends.docker import Kernel
from sandbox.daemon import socket_path
from sandbox.pid1.usage import OutOfMemory
from tests.sandbox.places import SESSION, opened

EVENTS = "low 0\nhigh 0\nmax 18\noom 1\noom_kill 1\noom_group_kill 0\n"
"""/sys/fs/cgroup/memory.events on 6.1, after a kill."""
OLD = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"
"""/sys/fs/cgroup/memory/memory.oom_control of cgroup v1."""


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({"memory.events": EVENTS, "memory.oom_control": OLD, "vmstat": "nr_free_pages 9\noom_kill 3\n"}, 1),
        ({"memory.oom_control": OLD, "vmstat": "oom_kill 3\n"}, 2),
        ({"vmstat": "oom_kill 3\n"}, 3),
        ({"memory.events": "low 0\nhigh 0\nmax 0\noom 0\n"}, 0),
        ({}, 0),
    ],
)
def test_kills_for_memory_are_read_from_the_nearest_counter(
    files: dict[str, str], count: int, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    names = ("memory.events", "memory.oom_control", "vmstat")
    assert OutOfMemory(tuple(str(tmp_path / name) for name in names)).count() == count


@pytest.mark.parametrize(
    ("about", "kernel"),
    [
        ({"CgroupVersion": "1", "PidsLimit": True, "MemoryLimit": True}, Kernel(True, True, None)),
        ({"CgroupVersion": "2", "PidsLimit": True, "MemoryLimit": True}, Kernel(True, True, "private")),
        ({"PidsLimit": False, "MemoryLimit": False}, Kernel(False, False, None)),
    ],
)
def test_what_a_daemon_says_of_its_kernel(about: dict[str, object], kernel: Kernel) -> None:
    """Debian's docker 20.10 with cgroup v1 and v2, and one that is too old to know of it."""
    assert Kernel.of(about) == kernel


@pytest.mark.anyio
@pytest.mark.docker
async def test_a_container_has_the_namespace_that_was_asked_for(tmp_path: Path) -> None:
    """With cgroup v2 it is asked for; with v1 the daemon's own setting stays, by default the host's."""
    client = docker.APIClient(base_url=f"unix://{socket_path()}")
    wanted = {"1": "host", "2": "private"}[client.info()["CgroupVersion"]]
    async with opened("docker", tmp_path) as place:
        labels = {"label": f"pawl.session={SESSION}"}
        modes = [
            client.inspect_container(each["Id"])["HostConfig"]["CgroupnsMode"]
            for each in client.containers(filters=labels)
        ]
        group = (await place.sandbox.run("grep ^0:: /proc/self/cgroup")).output
    client.close()
    assert set(modes) == {wanted}
    assert (group == b"0::/\n") == (wanted == "private")
