"""Abuse of resources: cases 15 to 25, against small limits so that they are quick and hurt no host."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from sandbox.backends import bubblewrap
from sandbox.base import FileTooLarge, Limits
from tests.sandbox.abuse.cases import agent, both, case, host
from tests.sandbox.places import ISOLATING, Place, backends, opened
from tools.base import ToolContext
from tools.builtin import bash as bash_module
from tools.ending import ending

pytestmark = pytest.mark.anyio

MEGABYTE = 1024 * 1024
SMALL = Limits(memory_bytes=128 * MEGABYTE, grace_s=0.3, timeout_s=20)
TREE = Limits(workspace_bytes=32 * MEGABYTE, workspace_files=2000, grace_s=0.3, timeout_s=20)
UNMEASURED = agent("guard", "return self._disk.suspicious(free)", "return False")


async def usable(place: Place) -> None:
    done = await place.sandbox.run("echo usable")
    assert (done.output, done.oom, done.bound) == (b"usable\n", False, "")


# --- memory ----------------------------------------------------------------------------------------------

HOG = "x = []\nfor _ in range({}): x.append(b'x' * (1 << 20))\nimport time; time.sleep({})"


@case(
    15,
    limits=SMALL,
    mutation=agent("guard", 'limits["memory_watched"]', "False"),
)
async def test_case_15_too_large_an_allocation_is_told(place: Place) -> None:
    """Scale: 1 GB against 128 MB, in place of 3 GB. On docker the kernel ends it, on bubblewrap the agent."""
    done = await place.sandbox.run(["python3", "-c", HOG.format(1024, 0)])
    assert (done.oom, done.exit_code) == (True, None)
    assert ending(done, 20, place.sandbox.limits).startswith("killed: out of memory")
    await usable(place)


@case(
    16,
    limits=SMALL,
    mutation=agent("usage", "before.memory + memory", "memory"),
)
async def test_case_16_many_medium_allocations_are_counted_together(place: Place) -> None:
    """Scale: eight processes of 40 MB against 128 MB."""
    hog = HOG.format(40, 3)
    done = await place.sandbox.run(f'for i in 1 2 3 4 5 6 7 8; do python3 -c "{hog}" & done; wait')
    assert done.oom
    assert done.survivors == 0
    await usable(place)


SHARING = (
    "import os, time\nx = bytearray(60 << 20)\nx[::4096] = bytes(15360)\n"
    "for _ in range(3):\n"
    "    if os.fork() == 0:\n        {}\n        time.sleep(30); os._exit(0)\n"
    "{}"
)


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_memory_that_forks_share_counts_once(backend: str, tmp_path: Path) -> None:
    """60 MB that four processes look at, against 128 MB; then each of the three writes to what it got."""
    async with opened(backend, tmp_path, limits=SMALL) as place:
        done = await place.sandbox.run(["python3", "-c", SHARING.format("pass", "time.sleep(0.5)")])
        assert (done.oom, done.exit_code) == (False, 0)
        done = await place.sandbox.run(
            ["python3", "-c", SHARING.format("x[::4096] = bytes(15360)", "os.wait()")]
        )
        assert done.oom
        await usable(place)


@case(
    17,
    limits=Limits(tmp_bytes=2 * MEGABYTE),
    mutation=host(bubblewrap, "_tmpfs", lambda target, size: ["--perms", "1777", "--tmpfs", target]),
)
async def test_case_17_tmp_cannot_be_filled_beyond_its_size(place: Place) -> None:
    done = await place.sandbox.run("head -c 8000000 /dev/zero > /tmp/fill")
    assert done.exit_code != 0
    assert b"No space left" in done.output
    await usable(place)
    assert (await place.sandbox.run("rm /tmp/fill; echo x > /tmp/x")).ok


# --- the workspace and the host's disk -------------------------------------------------------------------


async def outgrows(place: Place, command: str, bound: str) -> None:
    """The command is killed for the bound, and the tree can be tidied up afterwards."""
    done = await place.sandbox.run(command, timeout_s=3)
    assert (done.bound, done.exit_code, done.survivors) == (bound, None, 0)
    assert "killed: " in ending(done, 20, place.sandbox.limits)
    await usable(place)
    assert (await place.sandbox.run("find . -mindepth 1 -delete")).ok
    assert await place.sandbox.list() == []


@case(18, limits=TREE, mutation=UNMEASURED)
async def test_case_18_who_fills_the_workspace_is_killed(place: Place) -> None:
    """Scale: files of 1 MB up to 150 MB against 32 MB, in place of 4 GB."""
    fill = "for i in $(seq 150); do head -c 1000000 /dev/zero > f$i; sleep 0.005; done"
    await outgrows(place, fill, "workspace")


@case(19, limits=TREE, mutation=UNMEASURED)
async def test_case_19_who_makes_too_many_files_is_killed(place: Place) -> None:
    """Scale: 2,000 files may be, in place of 2,000,000. A file system without a count of files can't."""
    await outgrows(place, "for i in $(seq 40000); do : > f$i; done", "files")


@case(
    20,
    limits=TREE,
    mutation=agent("usage", "self.bytes += status.st_blocks * 512", "self.bytes += status.st_size"),
)
async def test_case_20_a_sparse_file_takes_no_room_and_is_not_read(place: Place) -> None:
    """20 GB with nothing in it; 8 MB of data beside it make the agent measure the tree."""
    command = "truncate -s 20G sparse; head -c 8000000 /dev/zero > data; sleep 0.6"
    done = await place.sandbox.run(command)
    assert (done.exit_code, done.bound) == (0, "")
    with pytest.raises(FileTooLarge):
        await place.sandbox.read("sparse")
    assert await place.sandbox.search("x") == []
    assert [(e.path, e.size) for e in await place.sandbox.list() if e.path == "sparse"] == [
        ("sparse", 20 * 1024**3)
    ]


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_the_host_keeps_its_free_space(backend: str, tmp_path: Path) -> None:
    free = os.statvfs(tmp_path)
    keep = free.f_bavail * free.f_frsize - 100 * MEGABYTE
    async with opened(backend, tmp_path, limits=Limits(host_free_bytes=keep)) as place:
        done = await place.sandbox.run("fallocate -l 400M big; sleep 5")
        assert (done.bound, done.exit_code) == ("host", None)
        assert "free" in ending(done, 20, place.sandbox.limits)
        assert (await place.sandbox.run("rm big; echo gone")).output == b"gone\n"


HOLD = """
import ctypes, mmap, os, socket, sys, time
def take():
    fd = os.open('big', os.O_RDWR | os.O_CREAT, 0o600)
    os.unlink('big')
    os.posix_fallocate(fd, 0, 12 << 20)
    return fd
def keep(way):
    if way == 'open': return take()
    if way == 'unnamed':
        fd = os.open('.', os.O_RDWR | os.O_TMPFILE, 0o600)
        return os.posix_fallocate(fd, 0, 12 << 20)
    if way == 'hidden':
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
        return take()
    fd = take()
    if way == 'mapped': kept = mmap.mmap(fd, 4096)
    if way == 'sent':
        kept = socket.socketpair()
        socket.send_fds(kept[0], [b'x'], [fd])
    os.close(fd)
    return kept
kept = []
for _ in range(6):
    kept.append(keep(sys.argv[1]))
    time.sleep(0.15)
time.sleep(5)
"""


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_removed_files_count_while_they_are_held(backend: str, tmp_path: Path) -> None:
    """Scale: 72 MB in steps of 12, against 32 MB, in place of 4 GB."""
    async with opened(backend, tmp_path, limits=TREE) as place:
        for way in ("open", "unnamed", "hidden", "mapped", "sent"):
            done = await place.sandbox.run(["python3", "-c", HOLD, way], timeout_s=4)
            assert (done.bound, done.exit_code, done.survivors) == ("workspace", None, 0), way
        await usable(place)


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_a_jobs_removed_files_count(backend: str, tmp_path: Path) -> None:
    async with opened(backend, tmp_path, limits=TREE) as place:
        await place.sandbox.start(["python3", "-c", HOLD, "hidden"])
        await asyncio.sleep(1)
        assert [each.bound for each in await place.sandbox.jobs()] == ["workspace"]


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_what_others_take_of_the_disk_is_not_laid_to_a_job(backend: str, tmp_path: Path) -> None:
    """Nor to a command beside it: a job's supervisor, which hides, is the agent's own."""
    async with opened(backend, tmp_path, limits=TREE) as place:
        await place.sandbox.start("sleep 60")
        running = asyncio.create_task(place.sandbox.run("sleep 1; echo done"))
        await asyncio.sleep(0.4)
        with (tmp_path / "others").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 100 * MEGABYTE)
            done = await running
        assert (done.bound, done.output) == ("", b"done\n")


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_a_folder_that_forbids_to_be_read_hides_nothing(backend: str, tmp_path: Path) -> None:
    async with opened(backend, tmp_path, limits=TREE) as place:
        fill = "for i in 1 2 3 4 5 6; do chmod 300 d; fallocate -l 12M d/$i; sleep 0.25; done; sleep 5"
        done = await place.sandbox.run("mkdir d; " + fill, timeout_s=4)
        assert (done.bound, done.exit_code) == ("workspace", None)


@case(25, limits=TREE, mutation=UNMEASURED)
async def test_case_25_a_zip_bomb_is_stopped_on_the_way(place: Place) -> None:
    """Scale: 150 kB that unpack to 150 MB, against 32 MB."""
    pack = (
        "import zipfile\n"
        "with zipfile.ZipFile('bomb.zip', 'w', zipfile.ZIP_DEFLATED) as z, z.open('zeros', 'w') as f:\n"
        "    for _ in range(150): f.write(bytes(1 << 20))"
    )
    assert (await place.sandbox.run(["python3", "-c", pack])).ok
    unpack = (
        "import time, zipfile\n"
        "with zipfile.ZipFile('bomb.zip') as z, z.open('zeros') as f, open('zeros', 'wb') as out:\n"
        "    while data := f.read(1 << 20): out.write(data); time.sleep(0.005)"
    )
    done = await place.sandbox.run(["python3", "-c", unpack], timeout_s=3)
    assert (done.bound, done.exit_code) == ("workspace", None)
    await usable(place)


# --- output ----------------------------------------------------------------------------------------------


def peak_kb() -> int:
    """Most memory that this process had since the last `clear_peak`."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1])


def clear_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


@case(
    21,
    limits=Limits(stream_bytes=1024 * MEGABYTE),
    mutation=both(
        agent("records", "del self._tail[: len(self._tail) - most]", "pass"),
        agent("records", "max(0, len(self._tail) - self.limits", "0 * (0, self.limits"),
    ),
)
async def test_case_21_much_output_is_bounded_and_counted(place: Place) -> None:
    """Scale: 256 MB in place of 1 GB. All is heard, 64 kB are kept, and pawl does not grow."""
    heard = 0

    def hear(data: bytes) -> None:
        nonlocal heard
        heard += len(data)

    await place.sandbox.run("head -c 8000000 /dev/zero", on_output=hear)
    heard = 0
    clear_peak()
    before = peak_kb()
    began = time.monotonic()
    done = await place.sandbox.run("head -c 268435456 /dev/zero", on_output=hear)
    assert heard == done.total_bytes == 268435456
    assert (len(done.head), len(done.tail)) == (32768, 32768)
    assert time.monotonic() - began < 5
    assert peak_kb() - before < 8 * 1024


@case(
    22,
    limits=Limits(stream_bytes=1_000_000),
    mutation=agent("main", 'if command.total > self.limits["stream_bytes"]', "if False"),
)
async def test_case_22_endless_output_is_ended(place: Place) -> None:
    done = await place.sandbox.run("yes 71.4321", timeout_s=2)
    assert (done.overflow, done.exit_code) == (True, None)
    assert 1_000_000 < done.total_bytes < 20_000_000
    assert ending(done, 20, place.sandbox.limits).startswith("killed: too much output")
    assert await place.alive("71.4321") == 0


@case(23, mutation=host(bash_module, "clip", lambda text, **_: text))
async def test_case_23_one_very_long_line_is_clipped(place: Place) -> None:
    """Scale: 40 MB in place of 100. The model sees 16 kB of it; all is kept for the person."""
    context = ToolContext(place.sandbox, place.tree.parent / "artifacts")
    began = time.monotonic()
    result = await bash_module.bash.run(context, "head -c 40000000 /dev/zero | tr '\\0' x")
    assert time.monotonic() - began < 5
    assert len(result.text) < 17_000
    assert "bytes left out" in result.text
    assert "40000000 bytes]" in result.text
    assert Path(result.artifact).stat().st_size == 40_000_000


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_case_24_a_sandbox_that_spins_does_not_starve_another(backend: str, tmp_path: Path) -> None:
    """Four processes spin in one; another's commands take at most twice as long, and 20 ms on a busy machine.

    No mutation: it is the kernel's fair scheduler that defends, and docker's `cpus` on larger machines.
    """

    async def p95(place: Place) -> float:
        times = []
        for _ in range(40):
            began = time.perf_counter()
            await place.sandbox.run(["true"])
            times.append(time.perf_counter() - began)
        return sorted(times)[37]

    for name in ("quiet", "busy"):
        (tmp_path / name).mkdir()
    async with opened(backend, tmp_path / "quiet") as quiet, opened(backend, tmp_path / "busy") as busy:
        alone = await p95(quiet)
        up = asyncio.Event()
        spin = "for i in 1 2 3 4; do (while :; do :; done) & done; echo up; wait"
        spinning = asyncio.create_task(busy.sandbox.run(spin, on_output=lambda _: up.set()))
        await up.wait()
        crowded = await p95(quiet)
        spinning.cancel()
        await asyncio.wait([spinning])
    assert crowded <= 2 * alone + 0.02
