"""What a command works with: once the tree is being changed, an interrupt does not hide that."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from rich.console import Console

from agent.cli.desk import Desk
from agent.cli.options import Options
from agent.config import Settings
from agent.events import NetworkDecided
from agent.session import SessionLog, new_session
from sandbox.workspace import Workspace
from tests.sandbox import images

pytestmark = pytest.mark.anyio


async def test_an_accept_that_began_is_finished_and_told(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.txt").write_text("old\n")
    options = Options(settings=Settings(), cwd=tree)
    with new_session(tree, tmp_path / "state") as log:
        desk = Desk(options, log, Console(stderr=True), None)
        desk.workspace = await Workspace.open(tree, tmp_path / "workspace")
        try:
            fork = await desk.workspace.fork("one")
            (fork.tree / "a.txt").write_text("new\n")
            task = asyncio.create_task(desk.accept(await fork.diff()))
            await asyncio.sleep(0)  # it has begun, and is not done
            task.cancel()
            accepted = await task
        finally:
            await desk.aclose()
    assert accepted.paths == ("a.txt",)
    assert desk.applied == ["a.txt"]
    assert (tree / "a.txt").read_text() == "new\n"


@pytest.mark.bubblewrap
async def test_every_decision_about_the_network_is_in_the_session(tmp_path: Path, isolated: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    options = Options(settings=Settings(network=f"127.0.0.1:{port}", sandbox="bubblewrap"), cwd=tree)
    program = (
        "import sys, urllib.request\n"
        "for url in sys.argv[1:]:\n"
        "    try: urllib.request.urlopen(url, timeout=10)\n"
        "    except OSError as error: print(error)\n"
    )
    urls = [f"http://127.0.0.1:{port}/", "http://127.0.0.1:9/"]
    async with server:
        with new_session(tree, isolated / "state") as log:
            desk = Desk(options, log, Console(stderr=True), None)
            try:
                bench = await desk.open_bench()
                async with bench.candidate() as candidate:
                    done = await candidate.sandbox.run(["python3", "-c", program, *urls])
                    assert candidate.sandbox.caps.allowed == (f"127.0.0.1:{port}",)
            finally:
                await desk.aclose()
    assert b"403" in done.output
    rule = f"127.0.0.1:{port}"
    assert [r.event for r in SessionLog.load(log.path).records if isinstance(r.event, NetworkDecided)] == [
        NetworkDecided("127.0.0.1", port, True, f"allowed by {rule}"),
        NetworkDecided("127.0.0.1", 9, False, f"not allowed; allowed: {rule}"),
    ]


@pytest.mark.bubblewrap
async def test_without_a_list_no_proxy_is_started(tmp_path: Path, isolated: Path) -> None:
    options = Options(settings=Settings(network="", sandbox="bubblewrap"), cwd=tmp_path)
    with new_session(tmp_path, isolated / "state") as log:
        desk = Desk(options, log, Console(stderr=True), None)
        try:
            assert (await desk.open_bench()).outlet is None
            assert desk.proxy is None
        finally:
            await desk.aclose()


@pytest.mark.docker
async def test_a_projects_devcontainer_is_what_candidates_run_in(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    program = images.static()
    image = images.make("desk", {"program": program})
    fields = {"image": image, "containerEnv": {"MINE": "1"}, "runArgs": ["--privileged"]}
    (tree / ".devcontainer.json").write_text(json.dumps(fields))
    options = Options(settings=Settings(sandbox="docker"), cwd=tree)
    try:
        with new_session(tree, tmp_path / "state") as log:
            desk = Desk(options, log, Console(stderr=True), None)
            try:
                bench = await desk.open_bench()
                async with bench.candidate() as candidate:
                    assert candidate.sandbox.caps.image.startswith("sha256:")
                    done = await candidate.sandbox.run(["/program", "--help"])
                    assert done.exit_code is not None
            finally:
                await desk.aclose()
        assert (bench.image, bench.image_env) == (image, {"MINE": "1"})
        assert "`runArgs` is not used" in log.path.read_text()
    finally:
        images.docker("rmi", "-f", image)
