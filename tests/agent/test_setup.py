"""The set-up phase in real sandboxes: a real registry over HTTP, kept results, failures that say why."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from rich.console import Console

from agent.cli.desk import Desk
from agent.cli.options import Options
from agent.config import Settings
from agent.events import NetworkDecided, Noted, SetupRan
from agent.session import new_session
from agent.workbench import Workbench
from sandbox import kept, setup
from sandbox.proxy import Proxy
from sandbox.registries import PACKAGES
from sandbox.setup import SetupFailed
from tests.sandbox import images
from tests.sandbox.places import ISOLATING, backends
from tests.support.pawl import identity
from tests.support.registry import Registry, registry
from tests.support.trees import make

pytestmark = pytest.mark.anyio

BOTH = pytest.mark.parametrize("backend", backends(*ISOLATING))
ROOT = Path(__file__).parents[2]
QUICK = pytest.mark.parametrize("backend", backends("bubblewrap"))
SAY = "python -c 'import pawl_greeting; print(pawl_greeting.say(), pawl_greeting.__file__)'"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {"requirements.txt": "pawl-greeting\n", ".gitignore": "*.gen\n", "a.py": "a = 1\n"}
    return make(tmp_path / "project", files)


@pytest.fixture(scope="module")
def packages() -> Iterator[Registry]:
    with registry() as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_asked(packages: Registry) -> None:
    packages.requests.clear()


class Session:
    """An open bench whose set-up is done, and what the session knows of it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.bench: Workbench

    def events(self, kind: type) -> list[object]:
        return [record.event for record in self._desk.log.records if isinstance(record.event, kind)]

    @property
    def notes(self) -> str:
        return "\n".join(note.text for note in self.events(Noted) if isinstance(note, Noted))

    @property
    def ran(self) -> SetupRan:
        (event,) = self.events(SetupRan)
        assert isinstance(event, SetupRan)
        return event

    async def again(self) -> bool:
        """A further turn, for which the bench follows the tree; True when the set-up was not run."""
        self.bench = await self._desk.open_bench()
        event = self.events(SetupRan)[-1]
        assert isinstance(event, SetupRan)
        return event.reused

    async def run(self, command: str) -> tuple[str, tuple[str, ...]]:
        """(what a command prints in a fresh candidate, the files in the patch afterwards)"""
        async with self.bench.candidate() as candidate:
            done = await candidate.sandbox.run(command)
            return done.output.decode(), (await candidate.fork.diff()).paths


@asynccontextmanager
async def session(
    tree: Path,
    backend: str,
    command: str,
    reach: str | None = None,
    *,
    network: str = "none",
    image: str | None = None,
) -> AsyncIterator[Session]:
    """`reach` is what the set-up may reach, `network` what the rest may."""
    settings = Settings(sandbox=backend, network=network, setup=command, setup_network=reach, image=image)  # type: ignore[arg-type]
    with new_session(tree, tree.parent / "sessions") as log:
        desk = Desk(Options(settings=settings, cwd=tree), log, Console(stderr=True), None)
        found = Session(desk)
        try:
            try:
                found.bench = await desk.open_bench()
            except SetupFailed:
                failed.append(found)
                raise
            yield found
        finally:
            await desk.aclose()


failed: list[Session] = []
"""The session of the last set-up that failed."""


@BOTH
async def test_what_pip_installs_from_a_registry_is_there_and_the_registry_is_not(
    tree: Path, backend: str, packages: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYPI_TOKEN", "not-for-a-set-up")
    before = identity(tree)
    command = (
        f"python3 -m venv .venv && .venv/bin/pip install -q {packages.pip} -r requirements.txt"
        " && env >seen.gen && echo >>a.py"
    )
    async with session(tree, backend, command, packages.address) as first:
        text, patch = await first.run(f"{SAY}; cat seen.gen; touch .venv/x; echo y >>seen.gen")
        assert text.startswith(f"hello {tree}/.venv/lib/python3.")
        assert "not-for-a-set-up" not in text
        assert "PYPI_TOKEN" not in text
        assert "HOME=/tmp/home" in text
        assert "Read-only file system" in text
        assert patch == ()
        decided = first.events(NetworkDecided)
        assert [event.allowed for event in decided if isinstance(event, NetworkDecided)] == [True, True]
        assert first.ran.network == (packages.address,)
        assert Path(first.ran.artifact).read_bytes() == b""
        assert "set up, and shown read-only: .venv" in first.notes
        assert "not ignored are dropped: a.py" in first.notes
        asked = list(packages.requests)
        assert len(asked) == 2
        text, _ = await first.run(f"curl -m 2 http://{packages.address}/; echo $?; env | grep -ci proxy")
        assert packages.requests == asked
        assert text.endswith("7\n0\n"), "no way out: nothing listens there, and there is no proxy"
    async with session(tree, backend, command, packages.address) as second:
        assert second.ran.reused
        assert "is not run again" in second.notes
        assert (await second.run(SAY))[0].startswith("hello")
    assert packages.requests == asked
    assert identity(tree) == before


@QUICK
async def test_it_runs_again_when_what_decides_it_has_changed(
    tree: Path, backend: str, packages: Registry
) -> None:
    async def reused(command: str, network: str | None = packages.address) -> bool:
        async with session(tree, backend, command, network) as now:
            return now.ran.reused

    command = f"{packages.fetch}; sh install.sh"
    make(tree, {"install.sh": "exit 0\n"})
    assert [await reused(command), await reused(command)] == [False, True]
    (tree / "a.py").write_text("a = 2\n")
    assert await reused(command), "no file that says what is installed"
    (tree / "requirements.txt").write_text("pawl-greeting==1.0\n")
    assert not await reused(command)
    make(tree, {"install.sh": "exit 0 # changed\n"})
    assert not await reused(command)
    assert not await reused(f"{command} && true")
    assert not await reused(command, f"{packages.address},files.example.org")
    assert await reused(command), "the one before is still kept"
    assert len(packages.requests) == 5


@QUICK
async def test_a_plain_pip_install_is_kept_too(
    tree: Path, backend: str, packages: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIRTUAL_ENV")  # the Python of the host has pip, and a place for what users install
    command = f"python3 -m pip install -q {packages.pip} -r requirements.txt"
    async with session(tree, backend, command, packages.address) as now:
        text, patch = await now.run(f"{SAY}; greet; touch .pawl-packages/x")
        assert text.startswith(f"hello {tree}/.pawl-packages/python/lib/python3.")
        assert text.splitlines()[1] == "hello from the command"
        assert "Read-only file system" in text
        assert patch == ()
    async with session(tree, backend, command, packages.address) as now:
        assert now.ran.reused
        assert (await now.run("greet"))[0] == "hello from the command\n"


MAKE = "mkdir node_modules && echo one >node_modules/a && echo two >x.gen"
LOOK = "id -u; cat node_modules/a x.gen; touch node_modules/b || echo kept"


@pytest.mark.docker
async def test_an_image_is_set_up_too(tree: Path, packages: Registry) -> None:
    """By its own programs, through the proxy, and seen by its user."""
    python = os.path.realpath("/usr/bin/python3")
    programs = {name: os.path.realpath(name) for name in ("/bin/sh", "/bin/cat", "/bin/mkdir", "/bin/touch")}
    programs |= {"/bin/id": os.path.realpath("/usr/bin/id")}
    files = images.dynamic([python, *programs.values()])
    files[f"/usr/lib/{Path(python).name}"] = f"/usr/lib/{Path(python).name}"
    image = images.make("setup", files, {"/usr/bin/python3": python, **programs})
    command = f"{packages.fetch} && {MAKE}"
    try:
        async with session(tree, "docker", command, packages.address, image=image) as now:
            assert "shown read-only: .venv, node_modules" in now.notes
            text, patch = await now.run(f".venv/bin/{SAY}; {LOOK}")
            assert text.splitlines()[0].startswith(f"hello {tree}/.venv/lib/python3.")
            uid, *rest = text.splitlines()[1:]
            assert uid == str(os.geteuid() or 1000)
            assert (rest[:2], rest[-1], patch) == (["one", "two"], "kept", ())
    finally:
        images.clear()


AS_USER = """
import asyncio, os, sys
from pathlib import Path
from tests.agent.test_setup import LOOK, MAKE, session

async def main():
    async with session(Path(sys.argv[1]), "bubblewrap", MAKE, "") as now:
        print((await now.run(LOOK))[0])

asyncio.run(main())
"""


@pytest.mark.bubblewrap
def test_an_ordinary_user_sets_up_too(tree: Path) -> None:
    """Who is not root, in a user namespace: forks are mounted by a process of the user's own, or copied."""
    user = ("unshare", "--user", "--map-user=1234", "--map-group=1234")
    done = subprocess.run(
        [*user, sys.executable, "-c", AS_USER, tree], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:3] == ["1234", "one", "two"]
    assert done.stdout.split()[-1] == "kept"


CRATE = """\
[package]
name = "x"
version = "0.1.0"
edition = "2018"

[dependencies]
pawl_greeting = { version = "1", registry = "local" }
"""


@QUICK
async def test_crates_are_kept_and_used_offline(
    tree: Path, backend: str, packages: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (cargo := shutil.which("cargo")) is None:
        pytest.skip("cargo is not installed")
    if (rustup := Path(cargo).parents[2] / ".rustup").is_dir():
        monkeypatch.setenv("CARGO_HOME", str(Path(cargo).parents[1]))
        monkeypatch.setenv("RUSTUP_HOME", str(rustup))
    main = 'fn main() { println!("{}", pawl_greeting::say()); }\n'
    config = f'[registries.local]\nindex = "sparse+http://{packages.address}/index/"\n'
    make(tree, {"Cargo.toml": CRATE, "src/main.rs": main, ".cargo/config.toml": config})
    command = "cargo fetch -q && cp Cargo.lock lock.gen"
    async with session(tree, backend, command, packages.address) as now:
        assert f"shown read-only: {PACKAGES}" in now.notes
        asked = list(packages.requests)
        text, _ = await now.run("cp lock.gen Cargo.lock; CARGO_TARGET_DIR=/tmp/t cargo run -q --locked")
        assert text == "hello\n"
        assert packages.requests == asked


POM = """\
<project><modelVersion>4.0.0</modelVersion><artifactId>x</artifactId><packaging>pom</packaging>
<parent><groupId>org.example</groupId><artifactId>above</artifactId><version>1</version><relativePath/></parent>
<repositories><repository><id>central</id><url>http://{}/maven</url></repository></repositories></project>
"""


@QUICK
async def test_what_maven_fetches_through_the_proxy_is_kept_and_used_offline(
    tree: Path, backend: str, packages: Registry
) -> None:
    if shutil.which("mvn") is None:
        pytest.skip("Maven is not installed")
    make(tree, {"pom.xml": POM.format(packages.address)})
    async with session(tree, backend, "mvn -q validate", packages.address) as now:
        assert f"shown read-only: {PACKAGES}" in now.notes
        assert "/maven/org/example/above/1/above-1.pom" in packages.requests
        asked = list(packages.requests)
        text, patch = await now.run(
            "mvn -q validate && echo found; MAVEN_OPTS= mvn -o -q validate || echo missed"
        )
        assert "found\n" in text and text.endswith("missed\n")
        assert (patch, packages.requests) == ((), asked)


@QUICK
async def test_it_follows_the_tree_from_turn_to_turn(tree: Path, backend: str, packages: Registry) -> None:
    command = f"{packages.fetch}; cp requirements.txt seen.gen"
    async with session(tree, backend, command, packages.address) as now:
        assert (await now.run(f"{SAY} && cat seen.gen"))[0].endswith("pawl-greeting\n")
        (tree / "a.py").write_text("a = 2\n")
        assert await now.again()
        assert (await now.run(f"{SAY} && cat a.py seen.gen"))[0].endswith("a = 2\npawl-greeting\n")
        (tree / "requirements.txt").write_text("pawl-greeting==1.0\n")
        assert not await now.again()
        text, patch = await now.run(f"{SAY} && cat a.py seen.gen")
        assert text.endswith("a = 2\npawl-greeting==1.0\n")
        assert patch == ()
    assert len(packages.requests) == 2


@BOTH
async def test_a_failed_set_up_says_its_last_lines_and_what_to_do(
    tree: Path, backend: str, packages: Registry
) -> None:
    with registry() as other:
        command = "seq 100; mkdir node_modules; touch node_modules/x; " + other.fetch
        before = identity(tree)
        with pytest.raises(SetupFailed) as caught:
            async with session(tree, backend, command, packages.address):
                pass
        assert other.requests == []
    text, remedy = str(caught.value), caught.value.remedy
    assert "failed (exit 1)" in text
    assert "HTTP Error 403" in text
    assert "\n  3\n" not in text, "the last lines only"
    assert (
        f"Refused: {other.address}; to allow it: --setup-network {packages.address},{other.address}" in remedy
    )
    log = Path(remedy.rpartition(": ")[2])
    assert log.read_bytes().startswith(b"1\n2\n3\n")
    assert failed[-1].ran.exit_code == 1
    assert identity(tree) == before
    assert not [place for place in kept.unused(state_of(failed[-1])) if kept.is_kept(place.place)]


@QUICK
async def test_a_host_that_is_allowed_but_at_an_inner_address_is_said_with_the_reason(
    tree: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def inner(_host: str, _port: int) -> list[str]:
        return ["10.0.0.1"]

    monkeypatch.setattr(Proxy.__init__, "__kwdefaults__", Proxy.__init__.__kwdefaults__ | {"resolve": inner})
    with pytest.raises(SetupFailed) as caught:
        async with session(tree, backend, "curl -sSf -m 5 https://pypi.org/ || exit 9; : pip"):
            pass
    assert "failed (exit 9)" in str(caught.value)
    assert "Refused: pypi.org:443: it is at 10.0.0.1 (private)" in caught.value.remedy
    assert "to allow it" not in caught.value.remedy


def state_of(found: Session) -> Path:
    return Path(os.environ["PAWL_HOME"]) / "state" / kept.FOLDER


@QUICK
async def test_a_set_up_that_does_not_end_is_stopped(
    tree: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent import setup as phase

    monkeypatch.setattr(phase, "SETUP_S", 0.5)
    with pytest.raises(SetupFailed, match=r"did not end within \d s and was stopped:\n  begun"):
        async with session(tree, backend, "echo begun; sleep 60 & sleep 60"):
            pass
    assert failed[-1].ran.timed_out


@QUICK
async def test_a_command_without_a_registry_reaches_nothing(
    tree: Path, backend: str, packages: Registry
) -> None:
    (tree / "requirements.txt").unlink()
    async with session(tree, backend, f"curl -m 2 http://{packages.address}/ || mkdir x") as now:
        assert now.ran.network == ()
        assert "may reach nothing; --setup-network HOST,... allows" in now.notes
        assert "left nothing in this folder" in now.notes
        assert (await now.run("ls"))[0] == "a.py\n"
    assert packages.requests == []


@QUICK
async def test_what_the_agent_phase_may_reach_is_another_thing(
    tree: Path, backend: str, packages: Registry
) -> None:
    with registry() as other:
        reach = f"curl -sS -o /dev/null -w '%{{http_code}} ' http://{packages.address}/"
        reach += f"; curl -sS -o /dev/null -w '%{{http_code}}\\n' http://{other.address}/"
        command = f"({reach}) >seen.gen"
        async with session(tree, backend, command, packages.address, network=other.address) as now:
            assert (await now.run(f"cat seen.gen; {reach}"))[0] == "404 403\n403 404\n"


@QUICK
async def test_two_at_once_run_it_once(tree: Path, backend: str, packages: Registry) -> None:
    async def one() -> tuple[bool, str, bool]:
        async with session(tree, backend, f"{packages.fetch} && sleep 2", packages.address) as now:
            waited = "another pawl runs this set-up" in now.notes
            return now.ran.reused, (await now.run(SAY))[0], waited

    both = await asyncio.gather(one(), one())
    assert sorted((reused, waited) for reused, _, waited in both) == [(False, False), (True, True)]
    assert all(text.startswith("hello") for _, text, _ in both)
    assert len(packages.requests) == 1


async def test_another_interpreter_or_image_is_another_result(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def key(**more: object) -> Path:
        parts = {"image": None, "image_env": {}, "environ": os.environ} | more
        on = await setup.runs_on("bubblewrap", tree, **parts)  # type: ignore[arg-type]
        wanted = await setup.plan(
            tree, ["requirements.txt"], project=tree, command="x", network=None, on=on, state=tree
        )
        return wanted.place

    before = await key()
    assert await key() == before
    bin_folder = tree.parent / "tools" / "bin"
    bin_folder.mkdir(parents=True)
    (tree.parent / "tools" / "lib").mkdir()
    npm = bin_folder / "npm"
    npm.write_text("#!/bin/sh\n")
    npm.chmod(0o755)
    (bin_folder / "node").write_text("1")
    environ = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    one = await key(environ=environ)
    (bin_folder / "node").write_text("12")
    two = await key(environ=environ)
    assert len({before, one, two}) == 3
