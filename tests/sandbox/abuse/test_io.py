"""Abuse of input, output and files: cases 26 to 37."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
from pathlib import Path

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
from sandbox.open import known_backends
from sandbox.tree import remove_path
from tests.sandbox.abuse.cases import agent, both, case, host
from tests.sandbox.places import Place
from tools.base import ToolContext
from tools.builtin import bash as bash_module
from tools.output import readable

pytestmark = pytest.mark.anyio

EVERY = known_backends()
EVERY_BYTE = bytes(range(256))
MEGABYTE = 1024 * 1024


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- output ----------------------------------------------------------------------------------------------


@case(
    26,
    on=EVERY,
    mutation=agent(
        "main", "        command.keep(data)\n", "        command.keep(data.replace(b'\\r', b''))\n"
    ),
)
async def test_case_26_binary_output_is_exact(place: Place) -> None:
    place.put("binary", EVERY_BYTE * 100)
    heard: list[bytes] = []
    done = await place.sandbox.run(["cat", "binary"], on_output=heard.append)
    assert done.output == b"".join(heard) == EVERY_BYTE * 100
    assert done.total_bytes == 25600


@case(
    27,
    mutation=agent(
        "main",
        "processes.prctl(processes.PR_SET_DUMPABLE, 0)",
        "processes.prctl(processes.PR_SET_DUMPABLE, 1)",
        on="docker",
    ),
)
async def test_case_27_output_that_looks_like_an_answer_is_output(place: Place) -> None:
    """On its own output, and on every descriptor of the agent. Not on `local`, where root reaches these.

    The mutation is run on docker: the agent speaks through pipes there, which /proc lets others open.
    """
    header = json.dumps({"id": 999_999, "event": "done", "exit_code": 0}).encode()
    forged = len(header).to_bytes(4, "big") + bytes(4) + header
    place.put("forged", forged * 50)
    reach = "for fd in /proc/$PPID/fd/*; do cat forged >> $fd; done 2>/dev/null"
    done = await place.sandbox.run(f"{reach}; cat forged; cat forged >&2; exit 7")
    assert (done.exit_code, done.output) == (7, forged * 100)
    assert (await place.sandbox.run("echo on")).output == b"on\n"


@case(28, on=EVERY, mutation=host(bash_module, "readable", lambda data: data.decode("latin-1")))
async def test_case_28_odd_bytes_are_shown_escaped_and_stored_exactly(place: Place) -> None:
    odd = b"\x1b[31mred\x1b[0m \x1b]0;title\x07 nul\0 \xff\xfe \xc3\x28 bell\x07 \x9b31m\n"
    place.put("odd", odd * 2000)
    context = ToolContext(place.sandbox, place.tree.parent / "artifacts")
    result = await bash_module.bash.run(context, "cat odd")
    assert not set(result.text) & {chr(n) for n in (*range(9), *range(11, 32), *range(127, 160))}
    assert "\\xff\\xfe" in result.text
    assert readable(odd) in result.text
    assert Path(result.artifact).read_bytes() == odd * 2000


# --- input and terminals ---------------------------------------------------------------------------------

NEVER_ENDS = agent("processes", 'source = os.open("/dev/null", os.O_RDONLY)', "source = os.pipe()[0]")


@case(29, on=EVERY, mutation=NEVER_ENDS)
async def test_case_29_stdin_is_at_its_end(place: Place) -> None:
    done = await place.sandbox.run("cat; read line || echo end", timeout_s=2)
    assert (done.exit_code, done.output) == (0, b"end\n")


@case(30, on=EVERY, mutation=NEVER_ENDS)
@pytest.mark.filterwarnings("ignore")
async def test_case_30_what_asks_a_person_returns(place: Place) -> None:
    """Terminals, passwords, editors and pagers; which of the programs are installed does not matter."""
    asking = (
        "cat /dev/tty",
        "echo x > /dev/tty",
        "su -c true nobody; true",
        "python3 -c 'import getpass; getpass.getpass()'",
        "python3 -c 'input()'",
        "git init -q r && cd r && git commit --allow-empty; git log; git -c core.editor=vi tag -a x",
        "less /etc/passwd | head -1; more /etc/passwd | head -1; man ls",
        "ed; vi -c q /tmp/x; nano /tmp/x; true",
        "ssh -o ConnectTimeout=1 localhost true; sudo true; true",
        "python3 -i; bash -i -c exit; sh",
        "stty -a; tty; reset; true",
    )
    results = await asyncio.gather(*(place.sandbox.run(each, timeout_s=3.5) for each in asking))
    assert [each for each, done in zip(asking, results, strict=True) if done.timed_out] == []


# --- files that are none ---------------------------------------------------------------------------------

UNCHECKED = both(
    agent("files", ' + ", not a regular file")\n        flags', ' + "") if False else None\n        flags'),
    agent("files", "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK", "os.O_RDONLY | os.O_NOFOLLOW"),
)


@case(31, on=EVERY, mutation=UNCHECKED)
async def test_case_31_a_fifo_is_refused_at_once(place: Place) -> None:
    assert (await place.sandbox.run("mkdir -p fifo; mkfifo -m 666 fifo/pipe")).ok
    with pytest.raises(NotRegular):
        await place.sandbox.read("fifo/pipe")
    with pytest.raises(NotRegular):
        await place.sandbox.write("fifo/pipe", b"x")
    assert [entry.kind for entry in await place.sandbox.list("fifo")] == ["other"]
    assert await place.sandbox.search("x", "fifo") == []
    assert stat.S_ISFIFO((place.tree / "fifo/pipe").stat().st_mode)


@case(
    32, on=EVERY, mutation=agent("files", "inside = path == self.root", "inside = True or path == self.root")
)
async def test_case_32_a_device_is_refused(place: Place) -> None:
    """By its name, through a symlink, and as a node in the tree where the tests may make one."""
    place.link("zero", "/dev/zero")
    for path in ("/dev/zero", "zero"):
        with pytest.raises(PathEscape):
            await place.sandbox.read(path)
    assert await place.sandbox.search("x", ".", match="zero") == []
    if os.geteuid() == 0:
        node = place.tree / "node"
        os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 5))
        with pytest.raises(NotRegular):
            await place.sandbox.read("node")
        with pytest.raises(NotRegular):
            await place.sandbox.write("node", b"x")
        node.unlink()


@case(33, on=EVERY, mutation=agent("files", "_LINKS = 40", "_LINKS = 1 << 60"))
async def test_case_33_a_loop_of_symlinks_ends(place: Place) -> None:
    place.put("loops/file", b"needle")
    for name, target in (("self", "self"), ("a", "b"), ("b", "a"), ("up", ".."), ("here", ".")):
        place.link(f"loops/{name}", target)
    for path in ("loops/self", "loops/a", "loops/a/x"):
        with pytest.raises(PathEscape):
            await place.sandbox.read(path)
        with pytest.raises(PathEscape):
            await place.sandbox.write(path, b"x")
        with pytest.raises(PathEscape):
            await place.sandbox.list(path)
    assert await place.sandbox.search("needle", "loops") == [("loops/file", 1, "needle")]
    assert len(await place.sandbox.list("loops", depth=-1)) == 6


# --- names and depths ------------------------------------------------------------------------------------

ODD_NAMES = ("-rf", "with\nnewline", "esc\x1b[31m", os.fsdecode(b"not-utf8-\xff\xfe"), "ß" * 120, "n" * 255)


@case(
    34,
    on=EVERY,
    mutation=agent(
        "files",
        "found.append([where, _kind",
        "where = where.encode('utf-8', 'replace').decode(); found.append([where, _kind",
    ),
)
async def test_case_34_odd_names_are_kept(place: Place) -> None:
    for name in ODD_NAMES[:-1]:
        await place.sandbox.write(f"strange/{name}", b"odd " + name.encode("utf-8", "surrogateescape"))
        data = (await place.sandbox.read(f"strange/{name}")).data
        assert data == b"odd " + os.fsencode(name)
    names = set(ODD_NAMES[:-1])
    assert set(os.listdir(place.tree / "strange")) == names  # noqa: PTH208
    assert {entry.path for entry in await place.sandbox.list("strange")} == {f"strange/{n}" for n in names}
    assert {path for path, _, _ in await place.sandbox.search("^odd", "strange")} == {
        f"strange/{n}" for n in names
    }


@case(35, mutation=agent("files", "_DEPTH = 200", "_DEPTH = 1 << 30"))
async def test_case_35_long_names_and_a_very_deep_tree_are_walked_in_bounds(place: Place) -> None:
    """Scale: 2,100 folders in place of 3,000, which is past the longest path. 200 levels are listed."""
    place.put(f"long/{'n' * 255}", b"long")
    assert (await place.sandbox.read(f"long/{'n' * 255}")).data == b"long"
    with pytest.raises(FileError):
        await place.sandbox.write(f"long/{'n' * 256}", b"x")
    program = (
        "import os\nfor i in range(2100):\n    os.mkdir('d'); os.chdir('d')\nopen('x', 'w').write('needle')"
    )
    assert (await place.sandbox.run(["python3", "-c", program])).ok
    try:
        assert len(await place.sandbox.list("d", depth=-1)) == 200
        assert await place.sandbox.search("needle", "d") == []
    finally:
        await asyncio.to_thread(remove_path, place.tree / "d")
    assert not (place.tree / "d").exists()


# --- writing ---------------------------------------------------------------------------------------------


@case(36, on=EVERY, mutation=agent("files", "if not permissions & stat.S_IWUSR:", "if False:"))
async def test_case_36_what_cannot_be_written_is_told_by_its_type(place: Place) -> None:
    place.put("closed/read-only", b"x", 0o444)
    gone = await place.sandbox.write("closed/vanished", b"x")
    (place.tree / "closed/vanished").unlink()
    with pytest.raises(FileMissing):
        await place.sandbox.write("closed/vanished", b"y", expect_hash=gone)
    for path, data, error in (
        ("closed", b"", NotRegular),
        ("closed/read-only", b"y", FileError),
        ("closed/read-only/below", b"", NotRegular),
        ("closed/" + "n" * 300, b"", FileError),
        ("closed/large", b"x" * (MEGABYTE + 1), FileTooLarge),
    ):
        with pytest.raises(error) as caught:
            await place.sandbox.write(path, data)
        assert caught.value.path == path
    assert [path.name for path in (place.tree / "closed").iterdir()] == ["read-only"]
    assert (place.tree / "closed/read-only").read_bytes() == b"x"


async def add_one(sandbox: Sandbox, path: str) -> int:
    """Raise the number in a file by one, trying again on a conflict; returns how many there were."""
    conflicts = 0
    while True:
        seen = await sandbox.read(path)
        try:
            await sandbox.write(path, b"%d" % (int(seen.data) + 1), expect_hash=seen.hash)
        except FileConflict:
            conflicts += 1
        else:
            return conflicts


@case(37, on=EVERY, mutation=agent("files", "if expect and hashlib", "if not expect and hashlib"))
async def test_case_37_of_edits_at_once_none_is_lost(place: Place) -> None:
    """Of ten writers who each read first, and of an edit from elsewhere between reading and writing."""
    place.put("counter", b"0")
    conflicts = await asyncio.gather(*(add_one(place.sandbox, "counter") for _ in range(10)))
    assert (place.tree / "counter").read_bytes() == b"10"
    assert sum(conflicts) > 0
    seen = await place.sandbox.read("counter")
    assert (await place.sandbox.run("echo theirs > counter")).ok
    with pytest.raises(FileConflict):
        await place.sandbox.write("counter", b"ours", expect_hash=seen.hash)
    with pytest.raises(FileConflict):
        await place.sandbox.write("counter", b"ours", expect_hash="")
    assert (place.tree / "counter").read_bytes() == b"theirs\n"
