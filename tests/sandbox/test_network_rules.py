"""What the network rules mean, which addresses no name may lead to, and the two things that are parsed."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import hello, outlet
from sandbox.base import Outlet, SandboxSpec
from sandbox.hello import HelloError
from sandbox.network import HostError, NetworkRules, Rule, normal_host, parse_rules, unfit
from sandbox.proxy import check_name
from sandbox.proxyhead import Refusal, parse_head

# --- what programs inside are told -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "direct"),
    [
        ("good.example", "localhost,127.0.0.1,::1"),
        ("127.0.0.1:8080", ""),
        ("good.example,[::1]:8080", ""),
    ],
)
def test_servers_inside_are_asked_directly_unless_the_hosts_own_are_allowed(
    allowed: str, direct: str
) -> None:
    way_out = Outlet("/proxy", parse_rules(allowed).texts())
    told = outlet.environment(SandboxSpec(tree=Path("/t"), root="/t", session="s", outlet=way_out))
    assert told["no_proxy"] == told["NO_PROXY"] == direct


# --- rules -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("", []),
        (" none ", []),
        ("good.example", [Rule("good.example", 443)]),
        ("Good.Example.:8443", [Rule("good.example", 8443)]),
        ("a.example, b.example:80 ,a.example:443", [Rule("a.example", 443), Rule("b.example", 80)]),
        ("*.hosted.example", [Rule("hosted.example", 443, below=True)]),
        ("127.0.0.1:8080", [Rule("127.0.0.1", 8080)]),
        ("[::1]:8080,[0:0::1]", [Rule("::1", 8080), Rule("::1", 443)]),
        ("b\u00fccher.example", [Rule("xn--bcher-kva.example", 443)]),
        ("\uff47ood.example", [Rule("good.example", 443)]),
    ],
)
def test_rules_are_understood(text: str, rules: list[Rule]) -> None:
    assert parse_rules(text) == NetworkRules(tuple(rules))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alow", "'alow': a name without a dot is no public host; expected none, allow or HOST[:PORT]"),
        ("localhost:80", "without a dot"),
        ("none,good.example", "'none' stands alone"),
        ("good.example,,a.example", "an empty entry"),
        (",", "an empty entry"),
        ("https://good.example", "a host and a port, not an address of a page"),
        ("good.example/simple", "a host and a port"),
        ("user@good.example", "a host and a port"),
        ("good.example:0", "from 1 to 65535"),
        ("good.example:65536", "from 1 to 65535"),
        ("good.example:https", "not a host and a port"),
        ("good.example:", "not a host and a port"),
        (":443", "no name of a host"),
        ("*", "no name of a host"),
        ("*.*.org", "no name of a host"),
        ("py*.org", "no name of a host"),
        ("*.10.0.0.1", "no names below an IP address"),
        ("::1", "IPv6 address stands in"),
        ("[::1", "not a host and a port"),
        ("[fe80::1%25lo]:80", "no name of a host"),
        ("[127.0.0.1]:80", "no name of a host"),
        ("127.1:80", "no name of a host"),
        ("0x7f000001:80", "no name of a host"),
        ("2130706433:80", "no name of a host"),
        ("127.0.0.01:80", "no name of a host"),
        ("py pi.org", "no name of a host"),
        ("good.example\0.evil.example", "no name of a host"),
        ("-a.example", "no name of a host"),
        ("a" * 64 + ".example", "no name of a host"),
        ("a." * 127 + "example", "no name of a host"),
        ("pypi..org", "no name of a host"),
        ("stra\u00dfe.example", "two different names"),
    ],
)
def test_what_is_not_understood_is_an_error(text: str, said: str) -> None:
    with pytest.raises(HostError) as caught:
        parse_rules(text)
    assert said in str(caught.value)
    assert "expected none, allow or HOST[:PORT]" in str(caught.value)


@pytest.mark.parametrize(
    ("rules", "host", "port", "found"),
    [
        ("", "good.example", 443, False),
        ("good.example", "good.example", 443, True),
        ("good.example", "good.example", 80, False),
        ("good.example", "evilgood.example", 443, False),
        ("good.example", "good.example.evil.example", 443, False),
        ("good.example", "files.good.example", 443, False),
        ("*.good.example", "files.good.example", 443, True),
        ("*.good.example", "a.files.good.example", 443, True),
        ("*.good.example", "good.example", 443, False),
        ("*.good.example", "evilgood.example", 443, False),
        ("allow", "anything.example", 443, True),
        ("allow", "anything.example", 80, True),
        ("allow", "anything.example", 22, False),
        ("allow", "1.1.1.1", 443, True),
        ("1.1.1.1", "1.1.1.1", 443, True),
        ("1.1.1.1", "1.0.0.1", 443, False),
    ],
)
def test_a_rule_covers_what_it_names_and_nothing_else(rules: str, host: str, port: int, found: bool) -> None:
    assert (parse_rules(rules).find(host, port) is not None) is found


@given(text=st.text(max_size=40))
def test_any_text_is_rules_or_a_host_error(text: str) -> None:
    with suppress(HostError):
        parsed = parse_rules(text)
        assert parse_rules(",".join(map(str, parsed.rules))).rules == parsed.rules


@given(text=st.text(st.sampled_from("aA.-0x7f:[]%*\u00e9\u3002\0"), max_size=20))
def test_a_normal_host_stays_as_it_is(text: str) -> None:
    with suppress(HostError):
        host = normal_host(text)
        assert normal_host(f"[{host}]" if ":" in host else host) == host


# --- addresses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("0.0.0.0", "of this host"),
        ("10.1.2.3", "private"),
        ("100.64.0.1", "carrier"),
        ("100.100.100.200", "carrier"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("169.254.1.1", "link-local"),
        ("169.254.169.254", "metadata"),
        ("168.63.129.16", "metadata"),
        ("172.31.255.255", "private"),
        ("192.0.0.192", "of a protocol"),
        ("192.168.1.1", "private"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("::", "of this host"),
        ("::1", "loopback"),
        ("::7f00:1", "reserved"),
        ("::ffff:127.0.0.1", "IPv4 in IPv6"),
        ("::ffff:8.8.8.8", "IPv4 in IPv6"),
        ("64:ff9b::7f00:1", "NAT64"),
        ("64:ff9b:1::a9fe:a9fe", "NAT64"),
        ("2002:7f00:1::", "6to4"),
        ("2001::1", "Teredo"),
        ("2001:db8::1", "documentation"),
        ("fc00::1", "private"),
        ("fd00:ec2::254", "metadata"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("2606:4700::1%eth0", "reserved"),
        ("fec0::1", "reserved"),
        ("ff02::1", "multicast"),
        ("localhost", "no IP address"),
        ("", "no IP address"),
    ],
)
def test_no_name_may_lead_to_such_an_address(address: str, what: str) -> None:
    assert what in (unfit(address) or "")


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "151.101.0.223", "2606:4700::1", "2a04:4e42::223"])
def test_a_public_address_is_fit(address: str) -> None:
    assert unfit(address) is None


@given(number=st.integers(0, 2**32 - 1))
def test_what_the_library_calls_not_global_is_unfit_in_every_disguise(number: int) -> None:
    address = IPv4Address(number)
    if not address.is_global or address.is_multicast:
        assert unfit(str(address))
    for prefix in (0xFFFF << 32, 0x64FF9B << 96, 0x2002 << 112):
        shift = 80 if prefix >> 112 == 0x2002 else 0
        assert unfit(str(IPv6Address(prefix | number << shift)))


@given(number=st.integers(0, 2**128 - 1))
def test_ipv6_that_is_not_global_is_unfit(number: int) -> None:
    address = ip_address(number) if number >> 32 else IPv6Address(number)
    if not address.is_global or address.is_multicast:
        assert unfit(str(address))


# --- the head of a request ---------------------------------------------------------------------------------


def test_a_plain_request_is_cut_down_to_what_the_server_needs() -> None:
    head = (
        b"POST http://Files.Example:8080/a?b HTTP/1.1\r\nHost: other.example\r\nX-One: 1\r\n"
        b"Proxy-Authorization: x\r\nConnection: keep-alive, X-Two\r\nX-Two: 2\r\nUpgrade: websocket\r\n"
        b"Content-Length: 3\r\n\r\n"
    )
    request = parse_head(head)
    assert (request.host, request.port, request.body_bytes) == ("files.example", 8080, 3)
    assert request.head == (
        b"POST /a?b HTTP/1.1\r\nHost: files.example:8080\r\nConnection: close\r\n"
        b"x-one: 1\r\ncontent-length: 3\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("head", "host", "port"),
    [
        (b"CONNECT Good.Example.:443 HTTP/1.1\r\n\r\n", "good.example", 443),
        (b"CONNECT a.example:22 HTTP/1.1\r\n\r\n", "a.example", 22),
        (b"CONNECT [::1]:443 HTTP/1.0\r\nHost: x\r\n\r\n", "::1", 443),
        (b"GET http://a.example HTTP/1.1\r\n\r\n", "a.example", 80),
        (b"GET HTTP://a.example?x HTTP/1.1\r\n\r\n", "a.example", 80),
    ],
)
def test_a_request_names_its_host(head: bytes, host: str, port: int) -> None:
    request = parse_head(head)
    assert (request.host, request.port) == (host, port)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET / HTTP/1.1",
        b"GET https://good.example/ HTTP/1.1",
        b"GET ftp://good.example/ HTTP/1.1",
        b"GET http://user@good.example/ HTTP/1.1",
        b"GET http://evil.example#@good.example/ HTTP/1.1",
        b"GET http:///x HTTP/1.1",
        b"CONNECT good.example HTTP/1.1",
        b"CONNECT good.example:80 HTTP/1.1",
        b"CONNECT good.example:443 HTTP/2",
        b"CONNECT good.example:443  HTTP/1.1",
        b"CONNECT good.example:443:80 HTTP/1.1",
        b"CONNECT good.example\0.evil.example:443 HTTP/1.1",
        b"CONNECT good.example%00:443 HTTP/1.1",
        b"CONNECT good.example:+443 HTTP/1.1",
        "CONNECT good.example:\u0664\u0664\u0663 HTTP/1.1".encode(),
        b"connect good.example:443 HTTP/1.1",
        b"GET http://a.example/ HTTP/1.1\r\n folded: x",
        b"GET http://a.example/ HTTP/1.1\r\nname : x",
        b"GET http://a.example/ HTTP/1.1\r\nname: x\ny: z",
        b"GET http://a.example/ HTTP/1.1\r\nname: x\ry: z",
        b"GET http://a.example/ HTTP/1.1\r\nname: x\0",
        b"GET http://a.example/ HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4",
        b"GET http://a.example/ HTTP/1.1\r\nContent-Length: +3",
        b"GET http://a.example/ HTTP/1.1\r\nContent-Length: ",
        b"POST http://a.example/ HTTP/1.1\r\nTransfer-Encoding: chunked",
        b"POST http://a.example/ HTTP/1.1\r\nContent-Length: 3\r\ntransfer-encoding: identity",
    ],
)
def test_an_ambiguous_head_is_refused(head: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        parse_head(head + b"\r\n\r\n")
    assert caught.value.status in (400, 403, 411)
    assert caught.value.host.isprintable()


@given(data=st.binary(max_size=80), prefix=st.sampled_from([b"", b"CONNECT ", b"GET http://a.example"]))
def test_any_head_is_a_request_or_refused(data: bytes, prefix: bytes) -> None:
    with suppress(Refusal):
        request = parse_head(prefix + data + b"\r\n\r\n")
        assert b"\r\n\r\n" not in request.head[:-4]


# --- the name in TLS ---------------------------------------------------------------------------------------


def client_hello(name: str | None) -> bytes:
    """What Python's own TLS sends first: one record with a ClientHello."""
    context = ssl._create_unverified_context()
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def extended(*extensions: tuple[int, bytes]) -> bytes:
    """A small ClientHello message with these extensions."""
    inner = b"".join(kind.to_bytes(2, "big") + _vector(2, body) for kind, body in extensions)
    body = b"\3\3" + bytes(32) + b"\0" + _vector(2, b"\x13\1") + _vector(1, b"\0") + _vector(2, inner)
    return b"\1" + _vector(3, body)


def _vector(prefix: int, body: bytes) -> bytes:
    return len(body).to_bytes(prefix, "big") + body


def named(name: bytes, kind: int = 0) -> tuple[int, bytes]:
    return 0, _vector(2, bytes([kind]) + _vector(2, name))


@pytest.mark.parametrize("name", ["good.example", "files.example", None])
def test_the_name_in_a_real_hello_is_found(name: str | None) -> None:
    record = client_hello(name)
    assert hello.record_length(record) == len(record) - 5
    message = record[5:]
    assert hello.is_whole(message)
    assert not hello.is_whole(message[:-1])
    assert hello.server_name(message) == name


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (extended(named(b"good.example"), named(b"evil.example")), "twice"),
        (extended(named(b"good.example"), (0xFE0D, b"\0")), "encrypted"),
        (extended(named(b"good.example", kind=1)), "no name of a host"),
        (extended(named(b"")), "no name of a host"),
        (extended((0, _vector(2, b"\0" + _vector(2, b"a.b") + b"\0" + _vector(2, b"c.d")))), "more than"),
        (extended((0, b"\0\2\0")), "cut short"),
        (extended()[:-2] + b"\0\1", "cut short"),
    ],
)
def test_a_hello_that_can_be_read_in_two_ways_is_refused(message: bytes, said: str) -> None:
    with pytest.raises(HelloError, match=said):
        hello.server_name(message)


@pytest.mark.parametrize("data", [b"GET / ", b"CONNE", b"\x15\3\3\0\2", b"\x16\2\0\0\5", b"\x16\3\1\xff\xff"])
def test_what_is_no_handshake_is_refused(data: bytes) -> None:
    with pytest.raises(HelloError, match="no TLS"):
        hello.record_length(data)


@given(data=st.binary(max_size=200))
def test_any_bytes_are_judged_without_a_crash(data: bytes) -> None:
    with suppress(HelloError):
        hello.is_whole(data)
    with suppress(HelloError):
        hello.server_name(b"\1\0\0\0\3\3" + bytes(32) + data)


@pytest.mark.parametrize(
    ("host", "name", "good"),
    [
        ("good.example", "good.example", True),
        ("good.example", "Good.Example.", True),
        ("good.example", "evil.example", False),
        ("good.example", "good.example\0", False),
        ("good.example", None, False),
        ("1.1.1.1", None, True),
        ("1.1.1.1", "1.1.1.1", True),
        ("1.1.1.1", "evil.example", False),
    ],
)
def test_tls_names_the_host_of_the_tunnel(host: str, name: str | None, good: bool) -> None:
    if good:
        check_name(host, name)
        return
    with pytest.raises(HelloError):
        check_name(host, name)


def test_a_hello_in_many_records_is_put_together() -> None:
    from sandbox.proxy import _read_hello

    message = client_hello("good.example")[5:]
    parts = [message[i : i + 7] for i in range(0, len(message), 7)]
    raw = b"".join(b"\x16\3\1" + _vector(2, part) for part in parts)

    async def read() -> tuple[bytes, bytes]:
        reader = asyncio.StreamReader()
        reader.feed_data(raw)
        return await _read_hello(reader)

    assert asyncio.run(read()) == (raw, message)
