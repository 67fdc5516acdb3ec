"""What every backend does with files: typed refusals, atomic writes, and no way out of the workspace."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import stat

import pytest

from sandbox.base import (
    FileConflict,
    FileError,
    FileMissing,
    FileTooLarge,
    NotRegular,
    PathEscape,
    Sandbox,
)
from tests.sandbox.places import Place

pytestmark = pytest.mark.anyio

MEGABYTE = 1024 * 1024


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- read ------------------------------------------------------------------------------------------------


async def test_what_is_written_is_read(place: Place) -> None:
    data = bytes(range(256)) * 40
    assert await place.sandbox.write("new/deep/file.bin", data) == sha256(data)
    read = await place.sandbox.read("new/deep/file.bin")
    assert (read.data, read.size, read.hash) == (data, len(data), sha256(data))
    assert (place.tree / "new/deep/file.bin").read_bytes() == data


async def test_a_slice_tells_of_the_whole(place: Place) -> None:
    place.put("letters", b"abcdefghij")
    read = await place.sandbox.read("letters", offset=3, limit=4)
    assert (read.data, read.size, read.hash) == (b"defg", 10, sha256(b"abcdefghij"))
    assert (await place.sandbox.read("letters", offset=100)).data == b""


async def test_a_path_may_be_absolute_inside_the_workspace(place: Place) -> None:
    place.put("pkg/a.py", b"x")
    for path in (f"{place.sandbox.root}/pkg/a.py", "./pkg//a.py", "pkg/../pkg/a.py"):
        assert (await place.sandbox.read(path)).data == b"x"


async def test_what_cannot_be_read_is_told_by_its_type(place: Place) -> None:
    place.put("folder/file")
    place.put("large", b"x" * (MEGABYTE + 1))
    os.truncate(place.put("sparse"), 20 * 1024**3)
    for path, error in (
        ("nothing", FileMissing),
        ("nowhere/at/all", FileMissing),
        ("folder", NotRegular),
        ("folder/file/below", NotRegular),
        ("large", FileTooLarge),
        ("sparse", FileTooLarge),
        ("", NotRegular),
        ("a\0b", FileError),
    ):
        with pytest.raises(error) as caught:
            await place.sandbox.read(path)
        assert caught.value.path == path
        assert str(caught.value).startswith(path)


# --- no way out ------------------------------------------------------------------------------------------


async def test_links_inside_are_followed(place: Place) -> None:
    place.put("real/file.txt", b"inside")
    for name, target in (
        ("to-file", "real/file.txt"),
        ("to-folder", "real"),
        ("absolute", f"{place.sandbox.root}/real"),
        ("real/up", "../to-folder/file.txt"),
    ):
        place.link(name, target)
    for path in ("to-file", "to-folder/file.txt", "absolute/file.txt", "real/up"):
        assert (await place.sandbox.read(path)).data == b"inside"
    await place.sandbox.write("to-file", b"changed")
    assert [e.kind for e in await place.sandbox.list(".") if e.path == "to-file"] == ["symlink"]
    assert (place.tree / "real/file.txt").read_bytes() == b"changed"


async def test_where_a_path_leads_is_told(place: Place) -> None:
    place.put("real/file.txt", b"inside")
    place.link("real/up", "../links/to-folder/file.txt")
    place.put("links/other")
    for name, target in (
        ("to-folder", f"{place.sandbox.root}/real"),
        ("gone", "../no/such"),
        ("out", "/etc"),
    ):
        place.link(f"links/{name}", target)
    os.mkfifo(place.tree / "real/pipe")
    for path, where, kind in (
        (".", ".", "dir"),
        ("real/..", ".", "dir"),
        (f"{place.sandbox.root}/real/file.txt", "real/file.txt", "file"),
        ("real/up", "real/file.txt", "file"),
        ("links/to-folder", "real", "dir"),
        ("links/to-folder/../links/to-folder//pipe", "real/pipe", "other"),
        ("links/to-folder/new/deep.py", "real/new/deep.py", "missing"),
        ("links/to-folder/new", "real/new", "missing"),
        ("links/gone/below", "no/such/below", "missing"),
    ):
        found = await place.sandbox.resolve(path)
        assert (found.path, found.kind) == (where, kind), path
    for path, error in (
        ("links/out", PathEscape),
        ("links/out/passwd", PathEscape),
        ("../x", PathEscape),
        ("/etc", PathEscape),
        ("real/file.txt/below", NotRegular),
    ):
        with pytest.raises(error):
            await place.sandbox.resolve(path)


async def test_the_heads_of_many_files_come_at_once(place: Place) -> None:
    place.put("a", b"one\ntwo")
    place.put("sub/empty")
    place.put("sub/b", bytes(range(256)))
    place.link("sub/to-a", "../a")
    place.link("sub/out", "/etc/passwd")
    paths = ["sub/b", "nope", "sub/empty", "sub", "sub/to-a", "sub/out", "../x", "/etc/passwd", "a\0"]
    found = await place.sandbox.heads(paths, 4)
    assert found == [b"\0\1\2\3", None, b"", None, b"one\n", None, None, None, None]
    assert await place.sandbox.heads([], 4) == []


# --- write -----------------------------------------------------------------------------------------------


async def test_the_mode_is_kept_unless_given(place: Place) -> None:
    place.put("script.sh", b"#!/bin/sh\n", 0o750)
    await place.sandbox.write("script.sh", b"#!/bin/sh\ntrue\n")
    assert stat.S_IMODE((place.tree / "script.sh").stat().st_mode) == 0o750
    await place.sandbox.write("script.sh", b"", mode=0o700)
    assert (await place.sandbox.read("script.sh")).mode == 0o700
    await place.sandbox.write("brand-new", b"")
    assert (await place.sandbox.read("brand-new")).mode == 0o644


async def test_compare_and_swap(place: Place) -> None:
    place.put("shared", b"one")
    after = await place.sandbox.write("shared", b"two", expect_hash=sha256(b"one"))
    assert after == sha256(b"two")
    with pytest.raises(FileConflict):
        await place.sandbox.write("shared", b"three", expect_hash=sha256(b"one"))
    assert (place.tree / "shared").read_bytes() == b"two"
    with pytest.raises(FileConflict):
        await place.sandbox.write("shared", b"three", expect_hash="")
    await place.sandbox.write("fresh/shared", b"first", expect_hash="")
    with pytest.raises(FileMissing):
        await place.sandbox.write("gone", b"", expect_hash=sha256(b"one"))
    with pytest.raises(FileMissing):
        await place.sandbox.write("gone/below", b"", expect_hash=sha256(b"one"))
    assert not (place.tree / "gone").exists()


async def test_of_many_that_swap_one_wins(place: Place) -> None:
    async def claim(number: int) -> bool:
        try:
            await place.sandbox.write("claim", str(number).encode(), expect_hash="")
        except FileConflict:
            return False
        return True

    assert sum(await asyncio.gather(*(claim(number) for number in range(20)))) == 1


# --- list and search -------------------------------------------------------------------------------------


async def test_a_list_is_sorted_and_says_what_things_are(place: Place) -> None:
    place.put("ls/b.txt", b"12345", 0o640)
    place.put("ls/sub/inner/c", b"")
    place.put("ls/.git/config", b"")
    place.link("ls/link", "/etc")
    entries = await place.sandbox.list("ls")
    assert [(e.path, e.kind) for e in entries] == [
        ("ls/.git", "dir"),
        ("ls/b.txt", "file"),
        ("ls/link", "symlink"),
        ("ls/sub", "dir"),
    ]
    assert (entries[1].size, entries[1].mode) == (5, 0o640)
    assert entries[1].mtime_ns == (place.tree / "ls/b.txt").stat().st_mtime_ns
    everything = [e.path for e in await place.sandbox.list("ls", depth=-1)]
    assert everything == ["ls/b.txt", "ls/link", "ls/sub", "ls/sub/inner", "ls/sub/inner/c"]
    assert [e.path for e in await place.sandbox.list("ls", depth=2) if "sub" in e.path] == [
        "ls/sub",
        "ls/sub/inner",
    ]
    assert len(await place.sandbox.list("ls", depth=-1, limit=2)) == 2
    some = await place.sandbox.list("ls", depth=-1, limit=2, match=r".*[bc](\.txt)?")
    assert [e.path for e in some] == ["ls/b.txt", "ls/sub"]
    with pytest.raises(re.error):
        await place.sandbox.list("ls", match="(")


async def test_a_list_of_what_is_no_folder_is_refused(place: Place) -> None:
    place.put("flat")
    with pytest.raises(NotRegular):
        await place.sandbox.list("flat")
    with pytest.raises(FileMissing):
        await place.sandbox.list("nothing-here")


async def test_search_finds_lines(place: Place) -> None:
    place.put("src/a.py", "def größe():\n    return 1\n\ndef other(): pass\n".encode())
    place.put("src/b.txt", b"def in_text\r\n")
    place.put("src/binary", b"def \0")
    place.put("src/.git/x.py", b"def hidden\n")
    search = place.sandbox.search
    assert await search(r"^def \w+\(", "src") == [
        ("src/a.py", 1, "def größe():"),
        ("src/a.py", 4, "def other(): pass"),
    ]
    assert [hit[0] for hit in await search("def", "src", match=r".*\.txt")] == ["src/b.txt"]
    assert await search("def", "src/b.txt") == [("src/b.txt", 1, "def in_text")]
    assert len(await search("def", "src", limit=2)) == 2
    assert await search("not there at all", "src") == []
    with pytest.raises(re.error):
        await search("(", "src")
    with pytest.raises(FileMissing):
        await search("x", "nothing-here")


async def test_searching_hinders_no_command(sandbox: Sandbox) -> None:
    await sandbox.write("trap.txt", b"a" * 60 + b"b\n")
    endless = asyncio.create_task(sandbox.search("(a+)+$", "trap.txt"))
    assert (await sandbox.run("echo quick", timeout_s=5)).output == b"quick\n"
    endless.cancel()
    await asyncio.wait([endless], timeout=2)
    assert endless.cancelled()


async def test_many_files_at_once(place: Place) -> None:
    async def one(number: int) -> bytes:
        await place.sandbox.write(f"many/{number}", str(number).encode() * 1000)
        return (await place.sandbox.read(f"many/{number}")).data

    assert await asyncio.gather(*(one(n) for n in range(50))) == [str(n).encode() * 1000 for n in range(50)]


# --- remove ----------------------------------------------------------------------------------------------


async def test_a_file_is_removed_only_as_it_was_read(place: Place) -> None:
    place.put("pkg/a.py", b"x")
    with pytest.raises(FileConflict):
        await place.sandbox.remove("pkg/a.py", expect_hash=sha256(b"y"))
    assert (place.tree / "pkg/a.py").read_bytes() == b"x"
    await place.sandbox.remove("pkg/a.py", expect_hash=sha256(b"x"))
    assert not (place.tree / "pkg/a.py").exists()
    with pytest.raises(FileMissing):
        await place.sandbox.remove("pkg/a.py", expect_hash=sha256(b"x"))


async def test_a_removal_goes_nowhere_else(place: Place) -> None:
    outside = place.tree.parent / "outside"
    outside.write_bytes(b"x")
    place.put("a.py", b"x")
    (place.tree / "link").symlink_to("a.py")
    (place.tree / "away").symlink_to(outside)
    for path in ("link", "away", "../outside", "."):
        with pytest.raises(FileError):
            await place.sandbox.remove(path, expect_hash=sha256(b"x"))
    assert outside.read_bytes() == (place.tree / "a.py").read_bytes() == b"x"
