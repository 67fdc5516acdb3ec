"""A registry over real HTTP on the loopback: one package, for pip (PEP 503), cargo (RFC 2789), Maven."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = "pawl_greeting"
WHEEL = f"{NAME}-1.0-py3-none-any.whl"

ABOVE = b"""<project><modelVersion>4.0.0</modelVersion><groupId>org.example</groupId>
<artifactId>above</artifactId><version>1</version><packaging>pom</packaging></project>
"""
"""For Maven: what a project may name as its parent."""


def wheel(text: str = "hello") -> bytes:
    """A package whose `say()` gives `text`, with a command `greet`."""
    info = f"{NAME}-1.0.dist-info"
    files = {
        f"{NAME}.py": f"def say():\n    return {text!r}\ndef main():\n    print(say(), 'from the command')\n",
        f"{info}/entry_points.txt": f"[console_scripts]\ngreet = {NAME}:main\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def crate() -> bytes:
    """The same for cargo."""
    files = {
        "Cargo.toml": f'[package]\nname = "{NAME}"\nversion = "1.0.0"\nedition = "2018"\n',
        "src/lib.rs": 'pub fn say() -> &\'static str { "hello" }\n',
    }
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{NAME}-1.0.0/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    return made.getvalue()


def _index(address: str, packed: bytes) -> dict[str, bytes]:
    """The pages of a sparse index (https://doc.rust-lang.org/cargo/reference/registry-index.html)."""
    entry = {"name": NAME, "vers": "1.0.0", "deps": [], "features": {}, "yanked": False}
    entry["cksum"] = hashlib.sha256(packed).hexdigest()
    return {
        "/index/config.json": json.dumps({"dl": f"http://{address}/crates/{{crate}}"}).encode(),
        f"/index/{NAME[:2]}/{NAME[2:4]}/{NAME}": json.dumps(entry).encode() + b"\n",
        f"/crates/{NAME}": packed,
    }


class Registry:
    """`requests` has the path of each request, in order."""

    def __init__(self, server: ThreadingHTTPServer, requests: list[str], pages: dict[str, bytes]) -> None:
        self.address = f"127.0.0.1:{server.server_address[1]}"
        self.requests = requests
        self._pages = pages

    def close(self, path: str) -> None:
        """From now on there is no such page."""
        del self._pages[path]

    @property
    def pip(self) -> str:
        """The options by which pip uses it."""
        return f"--index-url http://{self.address}/simple/ --trusted-host 127.0.0.1"

    @property
    def fetch(self) -> str:
        """A quick command that puts the package into the environment `.venv`, which is made without pip."""
        program = (
            "import glob, io, urllib.request, zipfile;"
            f"data = urllib.request.urlopen('http://{self.address}/files/{WHEEL}', timeout=10).read();"
            "zipfile.ZipFile(io.BytesIO(data)).extractall(glob.glob('.venv/lib/python3*/site-packages')[0])"
        )
        return f'python3 -m venv --without-pip .venv && .venv/bin/python -c "{program}"'


@contextlib.contextmanager
def registry() -> Iterator[Registry]:
    """A running Registry."""
    requests: list[str] = []
    pages = {
        f"/simple/{NAME.replace('_', '-')}/": f'<a href="/files/{WHEEL}">{WHEEL}</a>'.encode(),
        f"/files/{WHEEL}": wheel(),
        "/maven/org/example/above/1/above-1.pom": ABOVE,
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            content = pages.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/zip")
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pages |= _index(f"127.0.0.1:{server.server_address[1]}", crate())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield Registry(server, requests, pages)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
