"""Weights from Hugging Face, by huggingface_hub in a process of its own.

The client retries for half a minute where there is no route at all, so one short request asks first whether
the Hub answers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import msgspec

from agent.models.fetching import DISK_FULL, OnProgress, SourceFailed, bytes_below, run

SCRIPT = Path(__file__).with_name("hub_download.py")
ENDPOINT = "https://huggingface.co"
CONNECT_S = 4.0

_QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


class _Answer(msgspec.Struct, frozen=True):
    path: str = ""
    error: str = ""
    errno: int | None = None


class HubSource:
    """One file of a repository; without a name, the one that `hub_download` chooses. `size` None: unknown."""

    label = "Hugging Face"
    slack = 0

    def __init__(self, repo: str, file: str, size: int | None, environ: Mapping[str, str]) -> None:
        self.repo = repo
        self.file = file
        self.size = size
        self.environ = environ
        self.endpoint = (environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")

    async def fetch(self, folder: Path, on_progress: OnProgress) -> Path:
        if self.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
            raise SourceFailed("is switched off by HF_HUB_OFFLINE")
        if find_spec("huggingface_hub") is None:
            raise SourceFailed("cannot be asked: huggingface_hub is not installed")
        await self._knock()
        done = await run(
            [sys.executable, "-P", str(SCRIPT)],
            environ=_QUIET | dict(self.environ),
            stdin=msgspec.json.encode({"repo": self.repo, "file": self.file, "folder": str(folder)}),
            on_tick=lambda: on_progress(bytes_below(folder), self.size),
        )
        try:
            answer = msgspec.json.decode(done.stdout, type=_Answer)
        except msgspec.DecodeError:
            answer = _Answer(error=done.stderr.strip()[-300:] or f"its client ended with code {done.code}")
        if answer.errno in DISK_FULL:
            raise OSError(answer.errno, answer.error)
        if answer.error:
            raise SourceFailed(f"does not give {self.file or self.repo}: {answer.error}")
        return Path(answer.path)

    async def _knock(self) -> None:
        """Raise SourceFailed unless the Hub answers at all."""
        import httpx

        try:
            async with httpx.AsyncClient(timeout=CONNECT_S) as client:
                response = await client.head(f"{self.endpoint}/{self.repo}/resolve/main/{self.file}")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            words = str(error) or type(error).__name__
            raise SourceFailed(f"is out of reach ({self.endpoint}: {words})") from error
        if response.status_code >= 500:
            raise SourceFailed(f"is out of reach ({self.endpoint} answers {response.status_code})")
