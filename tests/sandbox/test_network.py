"""Abuse cases 53 to 63: what a command inside reaches, and what it does not.

Most cases are run once more with their defence switched off, and then go through: a check that cannot fail
shows nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sandbox import network, proxy
from sandbox.network import Rule, parse_rules
from sandbox.open import load
from sandbox.proxy import Proxy, Streams
from tests.sandbox.nets import PUBLIC, Net, World, serve
from tests.sandbox.places import ISOLATING, LIMITS, Place, backends, opened

pytestmark = pytest.mark.anyio

FETCH = """
import ssl, sys, urllib.request
trust = ssl._create_unverified_context()
print(urllib.request.urlopen(sys.argv[1], timeout=10, context=trust).read().decode())
"""
TLS = """
import socket, ssl, sys
host, port, name = sys.argv[1:]
s = socket.create_connection(("127.0.0.1", 3128), 10)
s.settimeout(10)
s.sendall(f"CONNECT {host}:{port} HTTP/1.1\\r\\n\\r\\n".encode())
head = b""
while not head.endswith(b"\\r\\n\\r\\n"): head += s.recv(1)
print(head.decode())
try:
    t = ssl._create_unverified_context().wrap_socket(s, server_hostname=name or None)
    t.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
    print(t.recv(1000).decode())
except OSError as error: print("closed")
"""
BESIDE = """
import os, socket, sys
for name in list(os.environ):
    if "proxy" in name.lower(): del os.environ[name]
def look(what, act):
    try: act(); print(what, "REACHED")
    except OSError: print(what, "no")
look("server", lambda: socket.create_connection(("127.0.0.1", int(sys.argv[1])), 2))
look("public", lambda: socket.create_connection(("192.0.2.1", 443), 2))
look("names", lambda: socket.getaddrinfo("example.org", 80))
look("datagram", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)))
"""


def share_the_hosts_network(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """Switch off what cuts off the network."""
    module: Any = load(backend)  # type: ignore[arg-type]
    if backend == "bubblewrap":
        monkeypatch.setattr(module, "_NAMESPACES", (*module._NAMESPACES, "--share-net"))
        return
    options: Callable[..., dict[str, Any]] = module._options

    def shared(*arguments: Any) -> dict[str, Any]:
        made = options(*arguments)
        made["host_config"]["NetworkMode"] = "host"
        return made

    monkeypatch.setattr(module, "_options", shared)


ISOLATED = pytest.mark.parametrize("place", backends(*ISOLATING), indirect=True)
DEFENDED = pytest.mark.parametrize("defended", [True, False], ids=["defended", "mutation"])


# --- 53, 56: no other way --------------------------------------------------------------------------------


@ISOLATED
async def test_case_53_without_a_list_nothing_is_reached(place: Place) -> None:
    done = await place.sandbox.run(
        "env | grep -i proxy; ls -d /run/pawl-network 2>/dev/null;"
        "curl -sS -m 2 http://192.0.2.1/ && echo REACHED;"
        "ping -c 1 -W 1 192.0.2.1 && echo REACHED;"
        "bash -c '</dev/tcp/127.0.0.1/3128' && echo REACHED;"
        "getent hosts example.org && echo REACHED; true"
    )
    assert b"REACHED" not in done.output
    assert b"3128" not in done.output.replace(b"/dev/tcp/127.0.0.1/3128", b"")
    assert b"/run/pawl-network" not in done.output
    assert place.sandbox.caps.allowed == ()
    server, facts = await serve(None, [])
    async with server:
        beside = await place.sandbox.run(["python3", "-c", BESIDE, str(facts.port)])
    assert beside.output.splitlines() == [b"server no", b"public no", b"names no", b"datagram no"]


async def test_case_56_there_is_no_way_beside_the_proxy(net: Net) -> None:
    net.allow(f"127.0.0.1:{net.plain.port}")
    seen = await net.program(BESIDE, net.plain.port)
    assert seen.splitlines() == ["server no", "public no", "names no", "datagram no"]
    raw = (
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('/run/pawl-network/socket')\n"
        "s.sendall(b'CONNECT evil.example:443 HTTP/1.1\\r\\n\\r\\n')\nprint(s.recv(12))"
    )
    assert "403" in await net.program(raw)
    assert net.plain.got == []


async def test_cases_53_and_56_mutation_with_the_hosts_network_it_is_reached(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share_the_hosts_network(monkeypatch, net.place.backend)
    async with opened(net.place.backend, tmp_path, limits=LIMITS) as place:
        done = await place.sandbox.run(["python3", "-c", BESIDE, str(net.plain.port)])
    assert done.output.splitlines()[0] == b"server REACHED"


# --- 54, 55, 61: the list --------------------------------------------------------------------------------


async def test_case_54_what_is_allowed_works(net: Net) -> None:
    net.allow(f"127.0.0.1:{net.plain.port},files.example.org:{net.tls.port}")
    assert net.place.sandbox.caps.network
    assert "hello" in await net.program(FETCH, f"http://127.0.0.1:{net.plain.port}/a?b")
    assert "hello" in await net.program(FETCH, f"https://files.example.org:{net.tls.port}/")
    assert net.tls.names == ["files.example.org"]
    assert net.plain.got[0].startswith(b"GET /a?b HTTP/1.1\r\nHost: 127.0.0.1:")
    assert [(made.host, made.allowed) for made in net.world.decisions] == [
        ("127.0.0.1", True),
        ("files.example.org", True),
    ]
    assert net.world.connected == ["127.0.0.1", PUBLIC]


async def test_case_54_a_body_goes_through_whole_and_what_follows_it_does_not(net: Net) -> None:
    net.allow(f"127.0.0.1:{net.plain.port}")
    head = f"POST http://127.0.0.1:{net.plain.port}/ HTTP/1.1\r\nContent-Length: 4\r\n\r\n"
    assert "hello" in await net.say(head.encode() + b"bodyGET http://evil.example/ HTTP/1.1\r\n\r\n")
    assert b"evil" not in b"".join(net.plain.got)


REQUESTS = ["other port", "raw address", "longer name", "shorter name", "below", "another"]


@DEFENDED
@pytest.mark.parametrize("which", REQUESTS)
async def test_case_55_what_is_nearly_allowed_is_refused(
    net: Net, which: str, defended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    net.allow(f"good.example.org:{net.plain.port + 1 if which == 'other port' else net.plain.port}")
    host = {
        "other port": "good.example.org",
        "raw address": PUBLIC,
        "longer name": "good.example.org.evil.example",
        "shorter name": "example.org",
        "below": "a.good.example.org",
        "another": "evilgood.example.org",
    }[which]
    if not defended:
        monkeypatch.setattr(Rule, "covers", lambda _rule, _host, _port: True)
    answer = await net.get(host)
    if not defended:
        assert "hello" in answer
        return
    assert answer.startswith("HTTP/1.1 403")
    assert f"{host}:{net.plain.port}: not allowed; allowed: good.example.org:" in answer
    assert (net.world.connected, net.world.names, net.plain.got) == ([], [], [])
    assert [(made.host, made.port, made.allowed) for made in net.world.decisions] == [
        (host, net.plain.port, False)
    ]


async def test_case_55_a_nul_or_an_odd_number_is_no_host(net: Net) -> None:
    net.allow(f"good.example.org:{net.plain.port},127.0.0.1:{net.plain.port}")
    for host in ("good.example.org\0.evil.example", "evil.example\0good.example.org", "127.1", "0x7f000001"):
        assert (await net.get(host)).startswith("HTTP/1.1 400")
    assert net.world.connected == []
    assert len(net.refusals) == 4


@pytest.mark.parametrize("host", ["GOOD.Example.org", "good.example.org."])
async def test_case_55_case_and_a_trailing_dot_make_no_difference(net: Net, host: str) -> None:
    net.allow(f"Good.example.ORG.:{net.plain.port}")
    assert "hello" in await net.get(host)
    assert net.world.names == ["good.example.org"]


@DEFENDED
async def test_case_61_an_empty_list_is_nothing(net: Net, defended: bool) -> None:
    net.proxy.rules = parse_rules("") if defended else parse_rules(f"127.0.0.1:{net.plain.port}")
    answer = await net.get("127.0.0.1")
    assert ("hello" in answer) is not defended
    assert bool(net.world.connected) is not defended


# --- 57, 58: names ---------------------------------------------------------------------------------------


@DEFENDED
async def test_case_57_a_name_does_not_lead_to_an_inner_address(
    net: Net, defended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    net.allow(f"inner.example.org:{net.plain.port}")
    net.world.answers = [["127.0.0.1"]]
    if not defended:
        monkeypatch.setattr(network, "unfit", lambda _address: None)
        assert "of this machine" in await net.get("inner.example.org"), "the second line of defence"
        monkeypatch.setattr(proxy, "_own", lambda _address: None)
        assert "hello" in await net.get("inner.example.org")
        return
    for addresses in (["127.0.0.1"], ["169.254.169.254"], ["::1", "10.0.0.1"], ["::ffff:127.0.0.1"], ["x"]):
        net.world.answers = [addresses]
        answer = await net.get("inner.example.org")
        assert answer.startswith("HTTP/1.1 403")
        assert f"it is at {addresses[0]} (" in answer
    assert (net.world.connected, net.plain.got) == ([], [])
    net.world.answers = [["127.0.0.1", PUBLIC]]
    assert "hello" in await net.get("inner.example.org")
    assert net.world.connected == [PUBLIC]


@DEFENDED
async def test_case_58_the_address_that_was_judged_is_connected_to(
    net: Net, defended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    net.allow(f"rebinding.example.org:{net.plain.port}")
    net.world.answers = [[PUBLIC], ["127.0.0.1"]]

    async def by_name(self: Proxy, rule: Rule, request: Any) -> Streams:
        await self._addresses(rule, request)
        return await self._connect((await self._resolve(request.host, request.port))[0], request.port)

    if not defended:
        monkeypatch.setattr(Proxy, "_reach", by_name)
    assert "hello" in await net.get("rebinding.example.org")
    assert net.world.connected == ([PUBLIC] if defended else ["127.0.0.1"])
    if defended:
        assert net.world.names == ["rebinding.example.org"]
        assert "loopback" in await net.get("rebinding.example.org")
        assert net.world.connected == [PUBLIC]


# --- 59, 60: what a tunnel carries -----------------------------------------------------------------------


@DEFENDED
@pytest.mark.parametrize("name", ["evil.example", ""], ids=["another", "none"])
async def test_case_59_tls_must_name_the_host_of_the_tunnel(
    net: Net, name: str, defended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    net.allow(f"good.example.org:{net.tls.port}")
    if not defended:
        monkeypatch.setattr(proxy, "check_name", lambda _host, _name: None)
    seen = await net.program(TLS, "good.example.org", net.tls.port, name)
    assert seen.startswith("HTTP/1.1 200")
    assert ("hello" in seen) is not defended
    assert net.tls.names == ([] if defended else [name or None])
    assert len(net.world.decisions) == 1
    assert net.world.decisions[0].allowed is not defended
    if defended:
        assert (
            "TLS names another server: evil.example" if name else "without a server name"
        ) in net.refusals[0]


@DEFENDED
async def test_case_60_a_tunnel_is_not_a_way_to_another_proxy(
    net: Net, defended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = net.plain.port
    net.allow(f"proxy.example.org:{port}")
    monkeypatch.setattr(net.proxy, "_tls_ports", frozenset({port} if defended else ()))
    inner = b"CONNECT evil.example:443 HTTP/1.1\r\n\r\n"
    answer = await net.say(f"CONNECT proxy.example.org:{port} HTTP/1.1\r\n\r\n".encode() + inner)
    assert ("hello" in answer) is not defended
    assert net.plain.got == ([] if defended else [inner])
    assert net.refusals == (["no TLS begins here"] if defended else [])


async def test_case_60_a_plain_request_asks_nothing_of_another_proxy(net: Net) -> None:
    net.allow(f"proxy.example.org:{net.plain.port}")
    place = f"proxy.example.org:{net.plain.port}"
    head = f"GET http://{place}/http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    assert "hello" in await net.say(head.encode())
    assert net.plain.got[0].startswith(f"GET /http://evil.example/ HTTP/1.1\r\nHost: {place}\r\n".encode())


# --- 62, 63: the way ends --------------------------------------------------------------------------------


@asynccontextmanager
async def with_its_own_proxy(backend: str, folder: Path) -> AsyncIterator[Net]:
    """A sandbox that may end badly; a request goes through once before."""
    world = World()
    server, facts = await serve(None, [])
    own = Proxy(parse_rules(f"127.0.0.1:{facts.port}"), world.decisions.append)
    async with server:
        outlet = await own.open()
        try:
            async with opened(backend, folder, limits=LIMITS, outlet=outlet) as place:
                net = Net(place, own, world, facts, facts)
                assert "hello" in await net.get("127.0.0.1")
                yield net
        finally:
            await own.aclose()
    assert not Path(outlet.folder).exists()


async def all_is_closed(net: Net) -> None:
    """The request that went through does not, nor does another way; the sandbox goes on."""
    net.plain.got.clear()
    assert await net.get("127.0.0.1") == ""
    assert (await net.program(BESIDE, net.plain.port)).startswith("server no")
    assert net.plain.got == []
    assert (await net.place.sandbox.run("echo on")).output == b"on\n"


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_case_62_when_the_proxy_dies_all_is_closed(backend: str, tmp_path: Path) -> None:
    async with with_its_own_proxy(backend, tmp_path) as net:
        program = (
            "import socket\ns = socket.create_connection(('127.0.0.1', 3128), 10)\n"
            f"s.sendall(b'CONNECT 127.0.0.1:{net.plain.port} HTTP/1.1\\r\\n\\r\\n')\n"
            "print(s.recv(100)[:12], flush=True)\nprint(s.recv(100))"
        )
        tunnel = asyncio.Event()
        running = asyncio.create_task(
            net.place.sandbox.run(["python3", "-c", program], on_output=lambda _: tunnel.set())
        )
        await tunnel.wait()
        await net.proxy.aclose()
        assert (await running).output == b"b'HTTP/1.1 200'\nb''\n", "an open tunnel is closed too"
        await all_is_closed(net)


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_case_63_when_the_socket_is_deleted_all_is_closed(backend: str, tmp_path: Path) -> None:
    async with with_its_own_proxy(backend, tmp_path) as net:
        done = await net.place.sandbox.run("rm -f /run/pawl-network/socket; : >/run/pawl-network/x")
        assert not done.ok, "the folder cannot be changed from inside"
        assert "hello" in await net.get("127.0.0.1")
        Path(net.proxy.outlet.folder, "socket").unlink()
        await all_is_closed(net)
