"""The way out under load and at its bounds: the relay in the agent, and the proxy."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from pathlib import Path

import pytest

from sandbox import proxy
from sandbox.base import Outlet, SandboxSpec, SandboxUnavailable
from sandbox.image import Toolchain
from sandbox.network import NetworkRules
from sandbox.open import load
from sandbox.proxy import Decision, Proxy
from tests.sandbox.nets import PUBLIC, Net

pytestmark = pytest.mark.anyio


async def test_no_kill_ends_the_way_out(net: Net) -> None:
    net.allow(f"127.0.0.1:{net.plain.port}")
    await net.place.sandbox.run("kill -9 -1")
    await net.place.sandbox.run("sleep 74.1 & setsid sleep 74.2 &")
    assert (await net.place.sandbox.run("sleep 74.3", timeout_s=0.1)).timed_out
    assert "hello" in await net.get("127.0.0.1")


async def test_many_connections_do_not_stop_the_agent(net: Net) -> None:
    net.allow(f"127.0.0.1:{net.plain.port}")
    program = (
        "import os, socket\n"
        "held = [socket.create_connection(('127.0.0.1', 3128), 10) for _ in range(120)]\n"
        "os.mkfifo('hold'); print(len(held), flush=True); open('hold').read()"
    )
    held = asyncio.Event()
    holding = asyncio.create_task(
        net.place.sandbox.run(["python3", "-c", program], on_output=lambda _: held.set())
    )
    await held.wait()
    assert (await net.place.sandbox.run("echo on; : >hold")).output == b"on\n"
    assert (await holding).output == b"120\n"
    assert "hello" in await net.get("127.0.0.1")


async def test_a_large_body_arrives_exact_in_both_directions(net: Net) -> None:
    blob = os.urandom(1 << 20) * 8

    async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(mirror, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        net.allow(f"127.0.0.1:{port}")
        net.place.put("blob", blob)
        program = (
            "import hashlib, socket, threading\n"
            "blob = open('blob', 'rb').read()\n"
            "s = socket.create_connection(('127.0.0.1', 3128), 20)\n"
            f"s.sendall(b'CONNECT 127.0.0.1:{port} HTTP/1.1\\r\\n\\r\\n')\n"
            "answer = s.makefile('rb')\n"
            "assert b'200' in answer.readline() and answer.readline() == b'\\r\\n'\n"
            "def send(): s.sendall(blob); s.shutdown(socket.SHUT_WR)\n"
            "threading.Thread(target=send).start()\n"
            "print(answer.read() == blob)"
        )
        assert await net.program(program) == "True\n"


async def test_a_head_without_end_is_refused_and_a_slow_one_too(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await net.say(b"GET http://a.example/" + b"a" * 40_000)).startswith("HTTP/1.1 431")
    monkeypatch.setattr(net.proxy, "_bounds", proxy.Bounds(head_s=0.05))
    assert (await net.say(b"GET ")).startswith("HTTP/1.1 408")


async def test_an_idle_connection_is_ended(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net.proxy, "_bounds", proxy.Bounds(idle_s=0.05))
    net.allow(f"127.0.0.1:{net.plain.port}")
    answer = await net.say(f"CONNECT 127.0.0.1:{net.plain.port} HTTP/1.1\r\n\r\nnothing more".encode())
    assert answer == "HTTP/1.1 200 Connection established\r\n\r\n"


async def test_a_decision_that_cannot_be_kept_is_a_no(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_decision: Decision) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(net.proxy, "_on_decision", full)
    net.allow(f"127.0.0.1:{net.plain.port}")
    assert await net.get("127.0.0.1") == ""
    assert net.plain.got == []


async def test_after_too_many_decisions_nothing_is_served(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    net.allow(f"127.0.0.1:{net.plain.port}")
    monkeypatch.setattr(net.proxy, "_decided", proxy.Bounds().decisions)
    assert await net.get("127.0.0.1") == ""
    assert (net.world.decisions, net.plain.got) == ([], [])


async def test_allow_is_any_public_host_on_the_ports_of_the_web(net: Net) -> None:
    net.allow("allow")
    net.world.moved = {80: net.plain.port}
    assert "hello" in await net.get("any.example.org", 80)
    assert "hello" in await net.get(PUBLIC, 80)
    assert "not allowed; allowed: any public host, ports 80 and 443" in await net.get("any.example.org", 8080)
    assert "127.0.0.1 (loopback)" in await net.get("127.0.0.1", 80)
    net.world.answers = [["10.0.0.1"]]
    assert "10.0.0.1 (private)" in await net.get("any.example.org", 80)
    assert net.world.connected == [PUBLIC, PUBLIC]


async def test_a_name_may_lead_to_an_address_that_a_rule_names_too(net: Net) -> None:
    """A company's mirror at a private address; another address, or another port of it, stays refused."""
    port = net.plain.port
    net.allow(f"mirror.example.org:{port},127.0.0.1:{port}")
    net.world.answers = [["127.0.0.1"], ["10.0.0.1"]]
    assert "hello" in await net.get("mirror.example.org")
    assert "10.0.0.1 (private)" in await net.get("mirror.example.org")
    net.allow(f"mirror.example.org:{port},127.0.0.1:{port + 1}")
    net.world.answers = [["127.0.0.1"]]
    assert "127.0.0.1 (loopback)" in await net.get("mirror.example.org")


async def test_what_is_allowed_but_not_there_is_told_apart(net: Net) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        net.allow(f"127.0.0.1:{port}")
        answer = await net.get("127.0.0.1", port)
    assert answer.startswith("HTTP/1.1 502")
    assert [(made.allowed, "cannot be reached" in made.reason) for made in net.world.decisions] == [
        (True, True)
    ]


async def test_what_a_killed_pawl_left_is_swept_and_what_another_serves_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = tmp_path / "pawl-network-dead" / "shown"
    dead.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(dead / "socket"))
    first, second = Proxy(NetworkRules(), print), Proxy(NetworkRules(), print)
    try:
        folders = {Path((await each.open()).folder).parent for each in (first, second)}
        assert set(tmp_path.iterdir()) == folders
    finally:
        await first.aclose()
        await second.aclose()
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_cannot_hold_a_socket_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(SandboxUnavailable, match="cannot listen") as caught:
        await Proxy(NetworkRules(), print).open()
    assert "TMPDIR" in caught.value.remedy
    assert list(deep.iterdir()) == []


async def test_without_a_sandbox_a_list_is_refused(tmp_path: Path) -> None:
    outlet = Outlet(str(tmp_path), ("good.example:443",))
    spec = SandboxSpec(tree=tmp_path, root=str(tmp_path), session="test", outlet=outlet)
    with pytest.raises(SandboxUnavailable, match="cannot be enforced without a sandbox"):
        await load("local").open(spec, Toolchain((), "", {}, "python3"), tmp_path)
