"""Reading and writing: exact, typed refusals, and no way out of the workspace."""

from __future__ import annotations

import asyncio
import hashlib
import os

from sandbox.base import (
    FileConflict,
    FileError,
    FileMissing,
    FileTooLarge,
    NotRegular,
    PathEscape,
    Sandbox,
)
from sandbox.selfcheck.check import LIMITS, expect, expect_equal, expect_refused

_EVERY_BYTE = bytes(range(256)) * 40


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def check_written_is_read(sandbox: Sandbox) -> None:
    """what is written is read, byte for byte"""
    expect_equal(await sandbox.write("f-exact/deep/file", _EVERY_BYTE), _hash(_EVERY_BYTE))
    read = await sandbox.read("f-exact/deep/file")
    expect_equal((read.data, read.size, read.hash), (_EVERY_BYTE, len(_EVERY_BYTE), _hash(_EVERY_BYTE)))


async def check_slice(sandbox: Sandbox) -> None:
    """a slice is read with size and hash of the whole"""
    await sandbox.write("f-slice", b"abcdefghij")
    read = await sandbox.read("f-slice", offset=3, limit=4)
    expect_equal((read.data, read.size, read.hash), (b"defg", 10, _hash(b"abcdefghij")))


async def check_same_for_commands(sandbox: Sandbox) -> None:
    """pawl and the commands see the same files"""
    await sandbox.write("f-same/a", b"from pawl")
    done = await sandbox.run("cat f-same/a; printf inside > f-same/b")
    expect_equal((done.output, (await sandbox.read("f-same/b")).data), (b"from pawl", b"inside"))


async def check_absolute_inside(sandbox: Sandbox) -> None:
    """a path may be absolute, or wind, inside the workspace"""
    await sandbox.write("f-absolute/a", b"x")
    for path in (f"{sandbox.root}/f-absolute/a", "./f-absolute//a", "f-absolute/../f-absolute/a"):
        expect_equal((await sandbox.read(path)).data, b"x")


async def check_missing(sandbox: Sandbox) -> None:
    """a missing file is said to be missing"""
    for path in ("f-nothing", "f-nowhere/at/all"):
        await expect_refused(FileMissing, sandbox.read(path), path)


async def check_folder_is_no_file(sandbox: Sandbox) -> None:
    """a folder is neither read nor written as a file"""
    await sandbox.write("f-folder/file", b"")
    await expect_refused(NotRegular, sandbox.read("f-folder"), "reading a folder")
    await expect_refused(NotRegular, sandbox.write("f-folder", b""), "writing a folder")
    await expect_refused(NotRegular, sandbox.read("f-folder/file/below"), "a file in a file")


async def check_large_read(sandbox: Sandbox) -> None:
    """a file over the limit is not read, a sparse one neither"""
    done = await sandbox.run(f"truncate -s {LIMITS.read_bytes + 1} f-large; truncate -s 20G f-sparse")
    expect(done.ok, f"truncate failed: {done.output!r}")
    for path in ("f-large", "f-sparse"):
        await expect_refused(FileTooLarge, sandbox.read(path), path)
    await sandbox.run("rm f-large f-sparse")


async def check_large_write(sandbox: Sandbox) -> None:
    """more than the limit is not written"""
    too_much = b"x" * (LIMITS.write_bytes + 1)
    await expect_refused(FileTooLarge, sandbox.write("f-much", too_much), "writing too much")
    await expect_refused(FileMissing, sandbox.read("f-much"), "what was not written")


async def check_fifo(sandbox: Sandbox) -> None:
    """a FIFO is refused at once instead of waited for"""
    await sandbox.run("mkfifo f-pipe")
    async with asyncio.timeout(2):
        await expect_refused(NotRegular, sandbox.read("f-pipe"), "reading a FIFO")
        await expect_refused(NotRegular, sandbox.write("f-pipe", b"x"), "writing a FIFO")
    await sandbox.run("rm f-pipe")


async def check_dots(sandbox: Sandbox) -> None:
    """no path with `..` or outside leads out"""
    await sandbox.write("f-dots/file", b"")
    for path in ("..", "../x", "f-dots/../../x", "/etc/passwd", "/"):
        await expect_refused(PathEscape, sandbox.read(path), f"reading {path}")
        await expect_refused(PathEscape, sandbox.write(path, b""), f"writing {path}")


async def check_links_out(sandbox: Sandbox) -> None:
    """no symlink leads out: read, write, list, search, current folder"""
    await sandbox.run("mkdir f-out; ln -s /etc/passwd f-out/file; ln -s /etc f-out/folder")
    for path in ("f-out/file", "f-out/folder/passwd"):
        await expect_refused(PathEscape, sandbox.read(path), f"reading {path}")
        await expect_refused(PathEscape, sandbox.write(path, b""), f"writing {path}")
    await expect_refused(PathEscape, sandbox.list("f-out/folder"), "listing")
    await expect_refused(PathEscape, sandbox.resolve("f-out/folder/passwd"), "resolving")
    expect(await sandbox.heads(["f-out/file", "f-out/folder/passwd"], 9) == [None, None], "a head is shown")
    await expect_refused(PathEscape, sandbox.search("root", "f-out/folder"), "searching")
    await expect_refused(PathEscape, sandbox.run("true", cwd="f-out/folder"), "working")
    await sandbox.run("rm -r f-out")


async def check_device_behind_link(sandbox: Sandbox) -> None:
    """a symlink to an endless device is refused"""
    await sandbox.run("ln -s /dev/zero f-zero")
    await expect_refused(PathEscape, sandbox.read("f-zero"), "reading it")
    await sandbox.run("rm f-zero")


async def check_link_loop(sandbox: Sandbox) -> None:
    """symlinks in a circle are refused"""
    await sandbox.run("ln -s f-loop-b f-loop-a; ln -s f-loop-a f-loop-b")
    await expect_refused(PathEscape, sandbox.read("f-loop-a"), "reading it")
    await sandbox.run("rm f-loop-a f-loop-b")


async def check_links_inside(sandbox: Sandbox) -> None:
    """symlinks inside are followed"""
    await sandbox.write("f-in/real", b"inside")
    await sandbox.run(f"cd f-in; ln -s real near; ln -s {sandbox.root}/f-in/real far")
    for path in ("f-in/near", "f-in/far"):
        expect_equal((await sandbox.read(path)).data, b"inside")


async def check_swapped_link(sandbox: Sandbox) -> None:
    """a symlink that is swapped all the time leads nowhere"""
    await sandbox.write("f-swap/good/passwd", b"good")
    program = (
        "import os, time\nos.chdir('f-swap'); os.symlink('/etc', 'bad')\n"
        "end = time.monotonic() + 3\n"  # a slow machine makes fewer rounds
        "for _ in range(4000):\n    if time.monotonic() > end: break\n"
        "    os.rename('good', 'was'); os.rename('bad', 'good'); os.rename('good', 'bad')\n"
        "    os.rename('was', 'good')\n"
    )
    swapper = asyncio.create_task(sandbox.run(["python3", "-I", "-S", "-c", program]))
    seen: set[bytes] = set()
    while not swapper.done():
        try:
            seen.add((await sandbox.read("f-swap/good/passwd")).data)
        except FileError:
            seen.add(b"")
    expect(seen <= {b"", b"good"}, f"a file outside was read: {seen}")
    expect((await swapper).ok, "the swapper failed")


async def check_odd_names(sandbox: Sandbox) -> None:
    """odd names are kept: newline, ESC, leading dash, not UTF-8, 255 bytes"""
    names = ("-rf", "a\nb", "esc\x1b[31m", os.fsdecode(b"\xff\xfe"), "n" * 255)
    for name in names[:-1]:
        await sandbox.write(f"f-odd/{name}", os.fsencode(name))
    await sandbox.run(["touch", f"f-odd/{names[-1]}"])
    expect_equal({entry.path for entry in await sandbox.list("f-odd")}, {f"f-odd/{name}" for name in names})
    for name in names[:-1]:
        expect_equal((await sandbox.read(f"f-odd/{name}")).data, os.fsencode(name))


async def check_modes(sandbox: Sandbox) -> None:
    """a file's mode is kept unless another one is given"""
    await sandbox.write("f-mode", b"#!/bin/sh\n", mode=0o750)
    await sandbox.write("f-mode", b"#!/bin/sh\ntrue\n")
    expect_equal((await sandbox.read("f-mode")).mode, 0o750)


async def check_read_only(sandbox: Sandbox) -> None:
    """a read-only file is not written"""
    await sandbox.write("f-read-only", b"x", mode=0o444)
    await expect_refused(FileError, sandbox.write("f-read-only", b"y"), "writing it")
    expect_equal((await sandbox.read("f-read-only")).data, b"x")


async def check_compare_and_swap(sandbox: Sandbox) -> None:
    """a file that changed meanwhile is not overwritten"""
    await sandbox.write("f-swap-it", b"one")
    await sandbox.write("f-swap-it", b"two", expect_hash=_hash(b"one"))
    stale = sandbox.write("f-swap-it", b"three", expect_hash=_hash(b"one"))
    await expect_refused(FileConflict, stale, "a stale write")
    await expect_refused(FileConflict, sandbox.write("f-swap-it", b"x", expect_hash=""), "a new file")
    expect_equal((await sandbox.read("f-swap-it")).data, b"two")


async def check_one_wins(sandbox: Sandbox) -> None:
    """of many that make one file, one wins"""

    async def claim(number: int) -> bool:
        try:
            await sandbox.write("f-claim", str(number).encode(), expect_hash="")
        except FileConflict:
            return False
        return True

    expect_equal(sum(await asyncio.gather(*map(claim, range(12)))), 1)


async def check_list(sandbox: Sandbox) -> None:
    """a list is sorted, says what things are, and follows nothing"""
    await sandbox.run(
        "mkdir -p f-list/sub; echo 12345 > f-list/b; ln -s /etc f-list/link; mkfifo f-list/pipe"
    )
    seen = [(entry.path, entry.kind) for entry in await sandbox.list("f-list", depth=-1)]
    wanted = [("b", "file"), ("link", "symlink"), ("pipe", "other"), ("sub", "dir")]
    expect_equal(seen, [(f"f-list/{name}", kind) for name, kind in wanted])


async def check_deep_tree(sandbox: Sandbox) -> None:
    """a very deep tree is walked within bounds"""
    program = "import os\nfor i in range(220):\n    os.mkdir('f-deep'); os.chdir('f-deep')"
    await sandbox.run(["python3", "-I", "-S", "-c", program])
    entries = await sandbox.list("f-deep", depth=-1)
    expect(0 < len(entries) < 220, f"{len(entries)} levels were listed")
    await sandbox.run("rm -r f-deep")


async def check_search(sandbox: Sandbox) -> None:
    """a search finds lines and leaves binary files alone"""
    await sandbox.write("f-search/a.py", b"def one():\n    pass\ndef two(): pass\n")
    await sandbox.write("f-search/binary", b"def \0 three(")
    found = await sandbox.search(r"^def \w+", "f-search")
    expect_equal([(path, line) for path, line, _ in found], [("f-search/a.py", 1), ("f-search/a.py", 3)])
