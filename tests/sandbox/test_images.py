"""Sandboxes in docker images: with Python, without, without anything at all."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sandbox import volumes
from sandbox.base import Outlet, Sandbox, SandboxSpec, SandboxUnavailable
from sandbox.network import parse_rules
from sandbox.open import open_sandbox, owner
from sandbox.proxy import Decision, Proxy
from tests.sandbox import images
from tests.sandbox.nets import SAY
from tests.support.hello import hello

pytestmark = [pytest.mark.anyio, pytest.mark.docker]


@asynccontextmanager
async def opened(
    folder: Path, image: str, *, outlet: Outlet | None = None, **env: str
) -> AsyncIterator[Sandbox]:
    tree = folder / "tree"
    tree.mkdir(exist_ok=True)
    os.chown(tree, *owner("docker"))
    spec = SandboxSpec(tree=tree, root="/project", session="test", image=image, image_env=env, outlet=outlet)
    sandbox = await open_sandbox(spec, "docker", state=folder / "state", project=tree)
    try:
        yield sandbox
    finally:
        await sandbox.aclose()


@pytest.fixture(scope="module")
def bare() -> Iterator[str]:
    """An image with one program that needs no library, no shell, no C library, and a python3 that lies."""
    program = images.static()
    tag = images.make(
        "bare", {"program": program}, {"/usr/bin/python3": "/program"}, ("ENV WORD=imaged", "USER 0:0")
    )
    yield tag
    images.clear()


@pytest.fixture(scope="module")
def full() -> Iterator[str]:
    """An image with the system's Python, a shell and a variable of its own."""
    python = os.path.realpath("/usr/bin/python3")
    if not Path(python).exists():
        pytest.skip("the system has no Python to make an image of")
    programs = {name: os.path.realpath(name) for name in ("/bin/sh", "/bin/cat")}
    files = images.dynamic([python, *programs.values()])
    files |= {str(path): os.path.realpath(path) for path in Path("/usr/lib").glob("*/libffi.so*")}
    files[f"/usr/lib/{Path(python).name}"] = f"/usr/lib/{Path(python).name}"
    links = {"/usr/bin/python3": python, **programs}
    tag = images.make("full", files, links, ("ENV WORD=imaged",))
    yield tag
    images.clear()


async def test_an_image_without_anything_in_it_is_worked_in(tmp_path: Path, bare: str) -> None:
    async with opened(tmp_path, bare) as sandbox:
        ran = await sandbox.run(["/program", "--version" if "ldconfig" in images.static() else "true"])
        assert (ran.exit_code, ran.signal) == (0, None)
        missing = await sandbox.run("echo needs a shell")
        assert (missing.exit_code, b"not found" in missing.output or b"No such" in missing.output) == (
            127,
            True,
        )
        await sandbox.write("a/b.txt", b"one\ntwo\n")
        assert (await sandbox.read("a/b.txt")).data == b"one\ntwo\n"
        assert await sandbox.search("tw.") == [("a/b.txt", 2, "two")]
        assert [entry.path for entry in await sandbox.list()] == ["a"]
        assert sandbox.caps.image.startswith("sha256:")
        assert (sandbox.caps.network, sandbox.caps.memory, sandbox.caps.read_scope) == (True, True, True)
    made = tmp_path / "tree/a/b.txt"
    assert made.read_bytes() == b"one\ntwo\n"
    assert (made.stat().st_uid, made.stat().st_gid) == owner("docker")  # whatever the image's USER says


async def test_the_images_own_python_serves_the_commands_and_not_the_agent(tmp_path: Path, full: str) -> None:
    async with opened(tmp_path, full) as sandbox:
        done = await sandbox.run("echo $WORD $HOME; pwd; echo x > made; cat made; echo $LD_LIBRARY_PATH")
        assert done.output == b"imaged /tmp/home\n/project\nx\n\n"
        asked = "import sys; print(sys.prefix, open('/proc/1/cmdline').read().split('\\0')[0])"
        prefix, first = (await sandbox.run(["python3", "-c", asked])).output.split()
        assert prefix == b"/usr"
        assert first.startswith(b"/.pawl/")
        listed = await sandbox.run(["python3", "-c", "import os; print(sorted(os.listdir('/')))"])
        assert b"home" not in listed.output
        assert b"root" not in listed.output


async def test_an_image_reaches_what_is_allowed_and_nothing_else(tmp_path: Path, full: str) -> None:
    decisions: list[Decision] = []
    async with hello() as port:
        proxy = Proxy(parse_rules(f"127.0.0.1:{port}"), decisions.append)
        try:
            async with opened(tmp_path, full, outlet=await proxy.open()) as sandbox:
                assert sandbox.caps.allowed == (f"127.0.0.1:{port}",)
                for wanted, answer in ((port, b"hello"), (port + 1, b"403")):
                    asked = f"GET http://127.0.0.1:{wanted}/ HTTP/1.1\r\nHost: 127.0.0.1:{wanted}\r\n\r\n"
                    done = await sandbox.run(["python3", "-c", SAY], stdin=asked.encode())
                    assert answer in done.output
        finally:
            await proxy.aclose()
    assert [(made.port, made.allowed) for made in decisions] == [(port, True), (port + 1, False)]


async def test_what_is_shown_of_the_host_for_the_agent_cannot_be_written(tmp_path: Path, full: str) -> None:
    async with opened(tmp_path, full) as sandbox:
        program = "import os\nfor top, *_ in os.walk('/.pawl'):\n  if os.access(top, os.W_OK): print(top)"
        assert (await sandbox.run(["python3", "-c", program])).output == b""
        assert not (await sandbox.run("echo x > /.pawl/python/x")).ok
        assert not (await sandbox.run("echo x > /anywhere")).ok


async def test_variables_of_a_devcontainer_stand_below_pawls(tmp_path: Path, full: str) -> None:
    env = {"HOME": "/evil", "PAGER": "evil", "LANG": "evil", "MINE": "yes", "WORD": "changed"}
    async with opened(tmp_path, full, **env) as sandbox:
        done = await sandbox.run("echo $HOME $PAGER $LANG $MINE $WORD")
        assert done.output == b"/tmp/home cat C.UTF-8 yes changed\n"


async def test_an_image_cannot_put_its_code_into_the_agent(tmp_path: Path) -> None:
    """The loader takes two lists of libraries to load into every program: none of them is the image's."""
    planted = tmp_path / "preload"
    planted.write_text("/evil.so\n")
    programs = {"/bin/sh": os.path.realpath("/bin/sh"), "/bin/cat": os.path.realpath("/bin/cat")}
    files = {**images.dynamic(programs.values()), "/etc/ld.so.preload": str(planted)}
    image = images.make("planted", files, programs, ("ENV LD_PRELOAD=/evil.so LD_AUDIT=/evil.so MINE=1",))
    async with opened(tmp_path, image) as sandbox:
        done = await sandbox.run("cat /etc/ld.so.preload; echo $LD_PRELOAD$LD_AUDIT$MINE")
        assert done.output == b"1\n"


async def refused(tmp_path: Path, image: str) -> SandboxUnavailable:
    with pytest.raises(SandboxUnavailable) as caught:
        async with opened(tmp_path, image):
            pass
    return caught.value


@pytest.fixture
def voluminous(full: str) -> Iterator[Callable[[str], str]]:
    """Makes the full image with one volume more."""

    def make(path: str) -> str:
        text = f"FROM {full}\nVOLUME {path}\nLABEL {images.LABEL}\n"
        tag = f"pawl-test-volume:{os.getpid()}"
        words = ["docker", "build", "-q", "-t", tag, "-"]
        subprocess.run(words, input=text.encode(), env=os.environ | {"DOCKER_BUILDKIT": "0"}, check=True)
        return tag

    yield make
    images.docker("rmi", "-f", f"pawl-test-volume:{os.getpid()}")


@pytest.mark.parametrize("path", ["/data", "/project/..//data/", "/var"])
async def test_a_volume_of_an_image_is_bounded_and_in_memory(
    tmp_path: Path, voluminous: Callable[[str], str], path: str
) -> None:
    async with opened(tmp_path, voluminous(path)) as sandbox:
        point = os.path.normpath(path)
        lines = (await sandbox.run("cat /proc/self/mounts")).output.decode().splitlines()
        kind, options = next(line.split()[2:4] for line in lines if line.split()[1] == point)
        assert kind == "tmpfs"
        assert {"nosuid", "nodev", "rw"} <= set(options.split(","))
        assert "size=1048576k" in options
        assert (await sandbox.run(f"echo x > {point}/x && cat {point}/x")).output == b"x\n"


@pytest.mark.parametrize("path", ["/project/data", "/.pawl/lib/0"])
async def test_a_volume_where_none_can_be_bounded_is_refused(
    tmp_path: Path, voluminous: Callable[[str], str], path: str
) -> None:
    image = voluminous(path)
    with pytest.raises(SandboxUnavailable, match=f"VOLUME {path}"):
        async with opened(tmp_path, image):
            pass
    assert list((tmp_path / "tree").iterdir()) == []


def test_a_volume_that_docker_made_after_all_is_refused() -> None:
    volumes.check([{"Type": "tmpfs", "Destination": "/a"}, {"Type": "bind", "Destination": "/b"}])
    with pytest.raises(SandboxUnavailable, match="VOLUME /c"):
        volumes.check([{"Type": "volume", "Destination": "/c"}])


async def test_an_image_that_is_not_here_is_told_and_not_fetched(tmp_path: Path) -> None:
    assert (await refused(tmp_path, "no-such-image:0")).remedy == "docker pull no-such-image:0"
    assert (await refused(tmp_path, "pawl/no-such:0")).remedy == "pawl sandbox build"


async def test_where_the_agent_cannot_bring_its_python_the_image_must_have_one(
    tmp_path: Path, bare: str, full: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.backends.docker.own", lambda: None)
    async with opened(tmp_path, full) as sandbox:
        assert (await sandbox.run("echo $WORD")).output == b"imaged\n"
    empty = images.make("empty", {})
    try:
        assert "no python3" in str(await refused(tmp_path, empty))
    finally:
        images.docker("rmi", "-f", empty)
    await refused(tmp_path, bare)
