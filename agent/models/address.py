"""Addresses of model servers as people write them. Pure."""

from __future__ import annotations

import re
from base64 import b64encode
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit, urlunsplit

from agent.models.catalog import UnknownModel

_PAGE = re.compile(r"/(chat/completions|responses|messages|models)$")
_VERSION = re.compile(r"/v\d\w*$")


def normal_base_url(base_url: str, version: str = "/v1", *, always: bool = False) -> str:
    """The URL that paths such as `/chat/completions` are appended to, without a trailing slash.

    `localhost:8080`, `http://localhost:8080/` and `http://localhost:8080/v1/` all become
    `http://localhost:8080/v1`. A path that is there is kept, for some providers version theirs otherwise;
    with `always` the version is appended to one that does not end in any. Raises UnknownModel when it is no
    address.
    """
    url = base_url.strip()
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        valid = valid and url.isprintable() and " " not in url
    except ValueError:
        valid = False
    if not valid:
        shown = base_url.rpartition("@")[2]
        raise UnknownModel(f"{shown!r} is no address of a model server; write http://host:port/v1")
    path = _PAGE.sub("", parts.path.rstrip("/")).rstrip("/")
    if not path or (always and not _VERSION.search(path)):
        path += version
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def local_address(host: str, default: str) -> str:
    """What a variable such as OLLAMA_HOST means to a client: the port of `default` where it has none, and
    this machine where it names all addresses to listen on.
    """
    if "://" in (host := host.strip()):
        return host
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port or urlsplit(default).port
    except ValueError:
        return host
    name = parts.hostname or ""
    if name in ("", "0.0.0.0", "::"):
        name = "127.0.0.1"
    return f"http://{f'[{name}]' if ':' in name else name}:{port}{parts.path}"


def server_root(base_url: str) -> str:
    """Where a server's own pages are, such as llama.cpp's `/props`: the base URL without `/v1`."""
    return normal_base_url(base_url).removesuffix("/v1")


def public_base_url(base_url: str) -> str:
    """`normal_base_url` without a user's name and password, fit for a model's name and for the log."""
    parts = urlsplit(normal_base_url(base_url))
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def credentials(url: str) -> tuple[str, ...]:
    """What is secret of a URL with `user:password@`: the password, and both as the header has them."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
    except ValueError:
        return ()
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not user and not password:
        return ()
    return (password or user, b64encode(f"{user}:{password}".encode()).decode())


def host_of(base_url: str) -> str:
    return urlsplit(normal_base_url(base_url)).hostname or ""


def is_loopback(host: str) -> bool:
    """Whether it is this machine, for which proxies of the environment are not."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def shown_address(url: str) -> str:
    """Scheme, host and port, fit for a message: without a user's name, password, path or query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
