"""How a model is served on this machine: what the person can set, and what is chosen where that is silent."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import msgspec

from agent.models import machine
from agent.models.base import ModelError
from agent.models.gguf import Head
from sandbox.programs import find

SLOTS = 4
MAX_CONTEXT = 16384
"""Tokens of all slots together: more takes minutes to read on a processor without a GPU."""
MIN_CONTEXT = 2048
UNKNOWN_KV_BYTES = 128 * 2**10
"""Taken for a token of context when the file does not tell its model's shape: that of a 7B model."""
BINARY = "llama-server"

KvType = Literal["f16", "q8_0", "q4_0"]
KV_SHARE: Mapping[KvType, float] = {"f16": 1.0, "q8_0": 34 / 64, "q4_0": 18 / 64}
"""Memory of a cache of this type beside a 16-bit one: 32 numbers take 34 or 18 bytes, not 64 (ggml)."""


class ServerFailed(ModelError):
    """The embedded server did not start, or died. The message ends with the last lines of its log."""


class Lora(msgspec.Struct, frozen=True):
    """An adapter that is laid over the model's weights."""

    path: str
    scale: float = 1.0


class ServerSettings(msgspec.Struct, frozen=True):
    """How to serve. None: chosen from the model and the machine."""

    slots: int = SLOTS
    """Conversations kept at a time."""
    context_tokens: int | None = None
    """Of all slots together; one conversation may use all of it, up to what the model was trained for."""
    kv_type: KvType | None = None
    """Of the numbers in the cache of what was read; 16-bit ones while they fit into memory."""
    threads: int | None = None
    gpu_layers: int | None = None
    """Layers on the GPU. None: as many as fit; 0: none."""
    speculate: bool = False
    """Draft what comes next from what was read before; see docs/models.md for what it gains."""
    loras: tuple[Lora, ...] = ()
    idle_s: float | None = None
    """After so long without a request the weights leave memory, until the next one."""
    engine: str | None = None
    """`xllamacpp`, or a llama-server binary by name or path. None: the first of both that is there."""
    host: str = "127.0.0.1"
    port: int = 0
    """0: any free port."""
    api_key: str | None = None


class ServerSpec(msgspec.Struct, frozen=True):
    """What the server's process is told, on its stdin."""

    model: str
    alias: str
    host: str
    port: int
    api_key: str
    context_tokens: int
    gpu_context_tokens: int
    """The same where a GPU is used. 0: llama.cpp takes what fits into the GPU's memory."""
    slots: int
    threads: int
    kv_type: KvType
    gpu_layers: int
    """-1: as many as fit."""
    speculate: bool
    loras: tuple[Lora, ...]
    idle_s: int
    """-1: never."""
    slot_files: str
    binary: str = ""
    """Path of a llama-server. Empty: xllamacpp."""


def server_spec(weights: Path, head: Head, settings: ServerSettings, slot_files: str) -> ServerSpec:
    """The whole order for a server. Raises ServerFailed when no engine is there or an adapter is missing."""
    for lora in settings.loras:
        if not Path(lora.path).is_file():
            raise ServerFailed(f"there is no adapter {lora.path}")
    tokens, kv_type = choose(head, weights.stat().st_size, settings, machine.available_memory())
    return ServerSpec(
        model=str(weights),
        alias=weights.stem,
        host=settings.host,
        port=settings.port,
        api_key=settings.api_key or secrets.token_urlsafe(24),
        context_tokens=tokens,
        gpu_context_tokens=settings.context_tokens or 0,
        slots=settings.slots,
        threads=settings.threads or machine.physical_cores(),
        kv_type=kv_type,
        gpu_layers=-1 if settings.gpu_layers is None else settings.gpu_layers,
        speculate=settings.speculate,
        loras=settings.loras,
        idle_s=-1 if settings.idle_s is None else max(1, round(settings.idle_s)),
        slot_files=slot_files,
        binary=find_engine(settings.engine),
    )


def choose(head: Head, weights_bytes: int, settings: ServerSettings, free_bytes: int) -> tuple[int, KvType]:
    """Tokens for all slots together, and the type of the cache that holds them.

    What the model can use, within half of the memory beside its weights. A cache of 16-bit numbers is the
    first choice; where it would cut the context short, one of 8 bits holds nearly twice as much.
    """
    kv_type = settings.kv_type or "f16"
    tokens = context_tokens(head, weights_bytes, settings.slots, free_bytes, kv_type)
    if settings.kv_type is None and tokens < _usable(head, settings.slots):
        kv_type = "q8_0"
        tokens = context_tokens(head, weights_bytes, settings.slots, free_bytes, kv_type)
    return settings.context_tokens or tokens, kv_type


def context_tokens(
    head: Head, weights_bytes: int, slots: int, free_bytes: int, kv_type: KvType = "f16"
) -> int:
    """Tokens for all slots together: what the model can use, within half of the memory beside its weights."""
    token_bytes = (head.kv_bytes_per_token or UNKNOWN_KV_BYTES) * KV_SHARE[kv_type]
    affordable = int(max(free_bytes - weights_bytes, 0) // 2 // token_bytes)
    return max(MIN_CONTEXT, min(_usable(head, slots), affordable) // 256 * 256)


def _usable(head: Head, slots: int) -> int:
    return min(MAX_CONTEXT, slots * head.context_tokens) if head.context_tokens else MAX_CONTEXT


def find_engine(asked: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """Path of the llama-server to run; empty for xllamacpp. Raises ServerFailed when there is neither.

    A binary by name is looked up as all programs of the host are.
    """
    if asked in (None, "xllamacpp") and find_spec("xllamacpp"):
        return ""
    if asked == "xllamacpp":
        raise ServerFailed("xllamacpp is not installed; install pawl-agent[local]")
    if asked and "/" in asked:
        named = Path(asked).expanduser().absolute()
        found = str(named) if named.is_file() and os.access(named, os.X_OK) else None
    else:
        found = find(asked or BINARY, environ)
    if found:
        return found
    if asked:
        raise ServerFailed(f"there is no program {asked}; give the path of a {BINARY}, or leave it to pawl")
    raise ServerFailed(
        f"nothing here can serve a model: install pawl-agent[local], or llama.cpp with its {BINARY}"
    )
