"""What every built-in tool must be, and the catalogue as models see it."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tools.base import Effect, Tool
from tools.toolset import DEFAULT, UnknownTool, builtin_names, default_toolset, load, select

GOLDEN = {
    Path(__file__).parents[1] / "golden" / "tools.json": DEFAULT,
    Path(__file__).parents[1] / "golden" / "more_tools.json": sorted({*builtin_names()} - {*DEFAULT}),
}


def catalogue(names: Sequence[str] = DEFAULT) -> list[dict[str, object]]:
    return [
        {"name": t.name, "description": t.description, "parameters": t.parameters, "effect": t.effect.value}
        for t in select(names).values()
    ]


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
def test_the_catalogue_is_the_golden_one(golden: Path) -> None:
    """A change here changes what models read: `python -m tests.tools.test_toolset` writes it anew."""
    assert catalogue(GOLDEN[golden]) == json.loads(golden.read_text())


def test_the_catalogue_is_short() -> None:
    """571 tokens of Qwen2.5's tokenizer for 2,103 characters, measured: 3.68 characters a token."""
    functions = [
        {"type": "function", "function": {k: v for k, v in t.items() if k != "effect"}} for t in catalogue()
    ]
    assert len("\n".join(json.dumps(f) for f in functions)) < 2200


@pytest.mark.parametrize("name", builtin_names())
def test_every_built_in_is_one_well_formed_tool(name: str) -> None:
    found = load(name)
    module = importlib.import_module(f"tools.builtin.{name}")
    assert [k for k, v in vars(module).items() if isinstance(v, Tool)] == [name]
    assert found.name == name and found.description and len(found.description) < 120
    assert inspect.iscoroutinefunction(found.run)
    assert found.parameters["type"] == "object"
    assert set(found.parameters.get("required", [])) <= set(found.parameters["properties"])
    assert "agent" not in {
        part for line in inspect.getsource(module).splitlines() for part in line.split()[1:2]
    }


def test_effects_are_what_the_tools_do() -> None:
    effects = {name: tool.effect for name, tool in default_toolset().items()}
    assert effects == {
        "read": Effect.READ,
        "grep": Effect.READ,
        "glob": Effect.READ,
        "edit": Effect.WRITE,
        "write": Effect.WRITE,
        "bash": Effect.EXECUTE,
        "run_tests": Effect.EXECUTE,
    }


def test_tools_are_selected_by_name_in_order() -> None:
    assert list(default_toolset()) == list(default_toolset("whole_file")) == list(DEFAULT)
    assert list(default_toolset("apply_patch")) == ["read", "apply_patch", *DEFAULT[2:]]
    assert list(select(["bash", "read"])) == ["bash", "read"]
    with pytest.raises(UnknownTool, match="no tool 'gerp'; did you mean grep"):
        select(["gerp"])


@pytest.mark.parametrize(
    ("changes", "edit_form", "names"),
    [
        ("", "tool", [*DEFAULT]),
        ("+repo_map", "tool", [*DEFAULT, "repo_map"]),
        (" +symbols , -grep,+outline,", "tool", [*DEFAULT[:3], *DEFAULT[4:], "outline", "symbols"]),
        ("+outline,-grep,+symbols", "tool", [*DEFAULT[:3], *DEFAULT[4:], "outline", "symbols"]),
        ("+read,+grep", "tool", [*DEFAULT]),
        ("-symbols", "tool", [*DEFAULT]),
        ("-grep,+grep", "tool", [*DEFAULT]),
        ("-edit,-write", "apply_patch", ["read", *DEFAULT[3:]]),
        ("-apply_patch", "apply_patch", ["read", *DEFAULT[2:]]),
        ("+edit", "apply_patch", ["read", "apply_patch", *DEFAULT[2:], "edit"]),
        (",".join(f"-{name}" for name in DEFAULT), "tool", []),
    ],
)
def test_a_person_adds_tools_and_takes_some_away(changes: str, edit_form: str, names: list[str]) -> None:
    """What is added stands behind the rest and by name: the order of the wish does not change the prompt."""
    assert list(default_toolset(edit_form, changes)) == names


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ("+tood", "no tool 'tood'; did you mean todo"),
        ("-gerp", "no tool 'gerp'; did you mean grep"),
        ("+", "no tool ''; did you mean "),
        ("+todo,grep", r"expected \+grep to add the tool or -grep to take it away, got 'grep'"),
    ],
)
def test_a_wish_that_cannot_be_is_explained(changes: str, said: str) -> None:
    with pytest.raises(UnknownTool, match=said):
        default_toolset(changes=changes)


if __name__ == "__main__":
    for path, names in GOLDEN.items():
        path.write_text(json.dumps(catalogue(names), indent=1) + "\n")
