"""The network: none of it, and none of the host's own sockets."""

from __future__ import annotations

import asyncio
import secrets
import socket

from sandbox.base import Sandbox
from sandbox.selfcheck.check import attempt, expect, expect_equal, needs


@needs("network")
async def check_interfaces(sandbox: Sandbox) -> None:
    """there is no interface but the loopback and what is down"""
    program = (
        "import os\nfor name in os.listdir('/sys/class/net') if os.path.isdir('/sys/class/net') else []:\n"
        "    print(name, open('/sys/class/net/%s/flags' % name).read().strip())"
    )
    up = [line for line in await attempt(sandbox, program) if int(line.split()[1], 16) & 1]
    expect(all(line.startswith("lo ") for line in up), f"these are up: {up}")


@needs("network")
async def check_no_route(sandbox: Sandbox) -> None:
    """no address can be reached, by IPv4, IPv6 or UDP"""
    program = (
        "import socket\n"
        "for family, kind, address in ((2, 1, '192.0.2.1'), (2, 1, '8.8.8.8'), (10, 1, '2001:db8::1'),\n"
        "                              (2, 2, '8.8.8.8'), (2, 1, '169.254.169.254')):\n"
        "    try:\n"
        "        s = socket.socket(family, kind); s.settimeout(1); s.connect((address, 53)); print(address)\n"
        "    except OSError: pass"
    )
    expect_equal(await attempt(sandbox, program), [])


@needs("network")
async def check_no_names(sandbox: Sandbox) -> None:
    """no name of the network is resolved"""
    program = "import socket; print(socket.getaddrinfo('example.org', 80))"
    expect((await attempt(sandbox, program))[0].startswith("gaierror"), "a name was resolved")


@needs("network")
async def check_host_loopback(sandbox: Sandbox) -> None:
    """a server on the host's loopback cannot be reached"""
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1); print('reached')"
        seen = await attempt(sandbox, program)
    expect("reached" not in seen, "it was reached")


@needs("network")
async def check_own_loopback(sandbox: Sandbox) -> None:
    """a server inside can be reached from inside, as tests need it"""
    program = (
        "import socket\ns = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(s.getsockname(), 1); print('reached')"
    )
    expect_equal(await attempt(sandbox, program), ["reached"])


@needs("network")
async def check_abstract_sockets(sandbox: Sandbox) -> None:
    """an abstract socket of the host cannot be reached"""
    name = f"pawl-check-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        program = f"import socket; socket.socket(socket.AF_UNIX).connect('\\0{name}'); print('reached')"
        seen = await attempt(sandbox, program)
    expect("reached" not in seen, "it was reached")


@needs("kernel")
async def check_other_families(sandbox: Sandbox) -> None:
    """sockets of other families are refused: VSOCK, PACKET, ALG, BLUETOOTH, ..."""
    program = (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nfor family in range(3, 46):\n"
        "    if family not in (10, 16) and libc.socket(family, 1, 0) != -1: print(family)"
    )
    expect_equal(await attempt(sandbox, program), [])


@needs("kernel")
async def check_netlink(sandbox: Sandbox) -> None:
    """netlink is for routes alone"""
    program = (
        "import socket\nfor number in range(1, 22):\n"
        "    try: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, number); print(number)\n"
        "    except OSError: pass"
    )
    expect_equal(await attempt(sandbox, program), [])


@needs("network")
async def check_raw_sockets(sandbox: Sandbox) -> None:
    """no raw socket can be opened"""
    program = "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); print('opened')"
    expect((await attempt(sandbox, program))[0].startswith("PermissionError"), "one was opened")
