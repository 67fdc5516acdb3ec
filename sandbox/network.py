"""What a sandbox may reach: the rules that a person wrote, and the addresses that no name may lead to.

    none                     nothing; also an empty text
    allow                    any public host, ports 80 and 443
    HOST[:PORT],...          these and no others; without a port it is 443, that is https
    *.HOST[:PORT]            every name below HOST, not HOST itself
    ADDRESS[:PORT]           an IP address, [..] around IPv6; the only way to a private one

Pure: nothing here looks up a name. `sandbox.proxy` does, and asks `unfit` about each address that it finds.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import msgspec

HTTP, HTTPS = 80, 443
NONE, ALLOW = "none", "allow"

Address = IPv4Address | IPv6Address

_SHAPE = f"expected {NONE}, {ALLOW} or HOST[:PORT],..., such as api.example.org or files.example.org:8443"
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_NAME_CHARACTERS = 253
_DEVIATIONS = frozenset("\u00df\u03c2\u200c\u200d")
"""Characters that old and new IDNA map to different names (RFC 5894, section 7.2)."""


class HostError(ValueError):
    """Not the name of a host, or not a rule. The message says what is wrong."""


class Rule(msgspec.Struct, frozen=True):
    """One host, or with `below` every name below it, and one port."""

    host: str
    """As `normal_host` gives it."""
    port: int
    below: bool = False

    @property
    def literal(self) -> bool:
        """True when the rule names an IP address: the person chose the machine, whatever it is."""
        return is_literal(self.host)

    def covers(self, host: str, port: int) -> bool:
        named = host.endswith("." + self.host) if self.below else host == self.host
        return named and port == self.port

    def __str__(self) -> str:
        if not self.host:
            return ALLOW
        return ("*." if self.below else "") + authority(self.host, self.port)


class NetworkRules(msgspec.Struct, frozen=True):
    """What may be reached. Nothing, as long as nothing is named."""

    rules: tuple[Rule, ...] = ()
    anywhere: bool = False
    """Any public host on the ports 80 and 443."""

    @property
    def empty(self) -> bool:
        return not self.rules and not self.anywhere

    def find(self, host: str, port: int) -> Rule | None:
        """The rule that allows a host (as `normal_host` gives it) and port, None when none does."""
        for rule in self.rules:
            if rule.covers(host, port):
                return rule
        return Rule("", port, below=True) if self.anywhere and port in (HTTP, HTTPS) else None

    def texts(self) -> tuple[str, ...]:
        """The rules for a person, in the order in which they were written."""
        return ("any public host, ports 80 and 443",) if self.anywhere else tuple(map(str, self.rules))


def parse_rules(text: str) -> NetworkRules:
    """The rules that a text means; raises HostError for whatever is not understood."""
    word = text.strip()
    if word in ("", NONE):
        return NetworkRules()
    if word == ALLOW:
        return NetworkRules(anywhere=True)
    return NetworkRules(tuple(dict.fromkeys(_rule(part.strip()) for part in word.split(","))))


def _rule(text: str) -> Rule:
    if not text:
        raise HostError(f"an empty entry; {_SHAPE}")
    if text in (NONE, ALLOW):
        raise HostError(f"{text!r} stands alone; {_SHAPE}")
    if "/" in text or "@" in text:
        raise HostError(f"{text!r}: a host and a port, not an address of a page; {_SHAPE}")
    below = text.startswith("*.")
    try:
        host, port = split_authority(text[2:] if below else text, HTTPS)
    except HostError as error:
        raise HostError(f"{text!r}: {error}; {_SHAPE}") from None
    literal = is_literal(host)
    if below and literal:
        raise HostError(f"{text!r}: there are no names below an IP address; {_SHAPE}")
    if not literal and "." not in host:
        raise HostError(f"{text!r}: a name without a dot is no public host; {_SHAPE}")
    return Rule(host, port, below)


def split_authority(text: str, default: int | None = None) -> tuple[str, int]:
    """(host, port) of `HOST:PORT`, normalised. Raises HostError, also for no port and no `default`."""
    found = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?", text, re.ASCII | re.DOTALL)
    if found is None:
        raise HostError("not a host and a port (1 to 65535); an IPv6 address stands in [..]")
    host, digits = found.groups()
    if digits is None and default is None:
        raise HostError("there is no port")
    port = default if digits is None else int(digits)
    if not port or port > 65535:
        raise HostError("a port is a number from 1 to 65535")
    return normal_host(host), port


def authority(host: str, port: int) -> str:
    """`HOST:PORT`, with the brackets that an IPv6 address needs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def normal_host(text: str) -> str:
    """One spelling for each host: lower case, ASCII (IDNA 2003), no trailing dot, IP addresses canonical.

    Raises HostError for what is no name of a host, also for an IPv4 address in an unusual form: the system's
    resolver would take `127.1` and `0x7f000001` for one.
    """
    if text.startswith("["):
        address = _address(text[1:-1])
        if address is None or address.version != 6 or "%" in text:
            raise _no_host(text)
        return str(address)
    if _DEVIATIONS & set(text):
        raise HostError("a letter that means two different names; write the name as xn--...")
    try:
        name = text.removesuffix(".").encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise _no_host(text) from None
    labels = name.split(".")
    if len(name) > _NAME_CHARACTERS or not all(_LABEL.fullmatch(label) for label in labels):
        raise _no_host(text)
    if _NUMBER.fullmatch(labels[-1]) and _address(name) is None:
        raise _no_host(text)
    return name


def _no_host(text: str) -> HostError:
    return HostError(f"{text[:80]!a} is no name of a host")


def is_literal(host: str) -> bool:
    """True for an IP address, which needs no resolving."""
    return _address(host) is not None


def _address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


# --- addresses ---------------------------------------------------------------------------------------------

# https://www.iana.org/assignments/iana-ipv4-special-registry and .../iana-ipv6-special-registry; the first
# network that holds an address names it
_NETWORKS = (
    ("0.0.0.0/8", "of this host"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "of a carrier's inner network"),
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "a cloud's metadata service"),
    ("169.254.169.254/32", "a cloud's metadata service"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "of a protocol"),
    ("192.0.2.0/24", "for documentation"),
    ("192.88.99.0/24", "of a 6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "of this host"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "IPv4 in IPv6"),
    ("64:ff9b::/96", "IPv4 in IPv6 (NAT64)"),
    ("64:ff9b:1::/48", "IPv4 in IPv6 (NAT64)"),
    ("fd00:ec2::254/128", "a cloud's metadata service"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
    ("2001::/32", "IPv4 in IPv6 (Teredo)"),
    ("2001::/23", "of a protocol"),
    ("2001:db8::/32", "for documentation"),
    ("2002::/16", "IPv4 in IPv6 (6to4)"),
    ("3fff::/20", "for documentation"),
)
_UNFIT = tuple((ip_network(network), what) for network, what in _NETWORKS)
_GLOBAL_IPV6 = ip_network("2000::/3")
"""All of IPv6 that is given out for public hosts so far."""


def unfit(address: str) -> str | None:
    """Why a name may not lead to an IP address: what kind it is. None for the address of a public host."""
    found = _address(address)
    if found is None:
        return "no IP address"
    for network, what in _UNFIT:
        if found.version == network.version and found in network:
            return what
    if found.version == 6 and (found not in _GLOBAL_IPV6 or "%" in address):
        return "reserved"
    return None
