"""Images that a person attaches to a message: read, and checked before anything else is done."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from agent.config import ConfigError
from agent.messages import Image
from tools.picture import MAX_BYTES, MAX_SIDE, Damaged, look_at

ImageFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--image-file",
        metavar="FILE",
        help="Show this image to the model with the first message; may be repeated.",
        show_default=False,
    ),
]


def read_images(files: Iterable[Path] | None) -> tuple[Image, ...]:
    """The images in these files. Raises ConfigError for one that no model could be shown."""
    return tuple(_read(file) for file in files or ())


def _read(file: Path) -> Image:
    try:
        data = file.expanduser().read_bytes()
        picture = look_at(data)
    except OSError as error:
        raise ConfigError(f"--image-file: {file} cannot be read: {error.strerror}") from error
    except Damaged as error:
        raise ConfigError(f"--image-file: {file} is damaged: {error}") from error
    if picture is None:
        raise ConfigError(f"--image-file: expected a PNG, JPEG, GIF or WebP file, got {str(file)!r}")
    if len(data) > MAX_BYTES or max(picture.width, picture.height) > MAX_SIDE:
        raise ConfigError(
            f"--image-file: {file} has {len(data):,} bytes and {picture.width}x{picture.height} pixels; "
            f"providers take {MAX_BYTES:,} bytes and {MAX_SIDE} pixels a side: make it smaller"
        )
    return Image(picture.media_type, data)
