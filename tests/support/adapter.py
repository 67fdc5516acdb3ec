"""A LoRA adapter for the small model of the tests, made here: none that small is published."""

from __future__ import annotations

import math
import struct
from pathlib import Path

WIDTH = 576
"""Of SmolLM2-135M."""
_F32, _STRING, _FLOAT = 0, 8, 6


def write_adapter(path: Path) -> None:
    """A GGUF adapter of rank 1 on the first layer's queries, strong enough to change every reply."""
    body = b"GGUF" + struct.pack("<IQQ", 3, 2, 4)
    texts = {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora"}
    for key, value in texts.items():
        body += _text(key) + struct.pack("<I", _STRING) + _text(value)
    body += _text("adapter.lora.alpha") + struct.pack("<If", _FLOAT, 1.0)
    shapes = {"lora_a": (WIDTH, 1), "lora_b": (1, WIDTH)}
    for number, (name, (columns, rows)) in enumerate(shapes.items()):
        body += _text(f"blk.0.attn_q.weight.{name}")
        body += struct.pack("<IQQIQ", 2, columns, rows, _F32, number * WIDTH * 4)
    body += b"\0" * (-len(body) % 32)
    numbers = [5.0 * math.sin(n) for n in range(2 * WIDTH)]
    path.write_bytes(body + struct.pack(f"<{2 * WIDTH}f", *numbers))


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()
