"""Images of a session: files beside its log, named by their content, so that the log stays short.

In a line of the log, and of `stream-json`, an image is `{"media_type": "image/png", "sha256": "..."}`; the
bytes are in `artifacts/images/SHA256`. Equal images are kept once.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

_HASH = re.compile(r"[0-9a-f]{64}")

Body = dict[str, Any]
"""An event as plain data."""


def named(event: Body) -> dict[str, bytes]:
    """Put the hash of each image in the place of its bytes; the bytes by their hash."""
    found: dict[str, bytes] = {}
    for image in _images(event):
        data = b64decode(image.pop("data"))
        image["sha256"] = hashlib.sha256(data).hexdigest()
        found[image["sha256"]] = data
    return found


def keep(found: dict[str, bytes], folder: Path) -> None:
    """Write those that are not there yet, each at once. Raises OSError."""
    for name, data in found.items():
        if (folder / name).exists():
            continue
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = folder / f".{secrets.token_hex(8)}"
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
            new.rename(folder / name)
        except BaseException:
            new.unlink(missing_ok=True)
            raise


def filled(event: Body, folder: Path) -> Body:
    """The event with the bytes of its images again. One whose file is gone or is another is left out.

    The text beside it still says what it was.
    """
    for owner in _owners(event):
        if isinstance(images := owner.get("images"), list | tuple):
            owner["images"] = [whole for image in images if (whole := _with_data(image, folder))]
    return event


def _with_data(image: Any, folder: Path) -> Any:
    if not isinstance(image, dict) or "data" in image:
        return image
    name = str(image.get("sha256"))
    if not _HASH.fullmatch(name):  # no path that leads elsewhere
        return None
    try:
        data = (folder / name).read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest() != name:
        return None
    return {"media_type": image.get("media_type"), "data": b64encode(data).decode()}


def _owners(event: Body) -> list[Body]:
    """Where events hold images: what the person said, and the result of a call."""
    result = event.get("result")
    return [event, result] if event.get("type") == "tool_finished" and isinstance(result, dict) else [event]


def _images(event: Body) -> list[Body]:
    return [image for owner in _owners(event) for image in owner.get("images") or ()]
