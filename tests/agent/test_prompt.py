from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agent.prompt import ENDINGS, git_root, project_instructions, system_prompt
from tools.toolset import default_toolset

GOLDEN = Path(__file__).parents[1] / "golden" / "prompts"


@pytest.mark.parametrize("kind", sorted(ENDINGS))
def test_the_prompt_is_the_golden_one(kind: str) -> None:
    """A change here makes every cached beginning cold and every measured result old: make it on purpose."""
    assert system_prompt(kind) + "\n" == (GOLDEN / f"{kind}.txt").read_text("utf-8")


@pytest.mark.parametrize("kind", sorted(ENDINGS))
def test_the_prompt_is_short(kind: str) -> None:
    assert len(system_prompt(kind)) < 620, "about 4.3 characters are a token; 150 tokens are the bound"


@pytest.mark.parametrize("kind", sorted(ENDINGS))
def test_prompt_and_tools_fit_into_800_tokens(kind: str) -> None:
    """2,648 characters were 699 tokens of Qwen2.5's tokenizer; its template adds 94 around them."""
    shown = [
        {
            "type": "function",
            "function": {"name": t.name, "description": t.description, "parameters": t.parameters},
        }
        for t in default_toolset().values()
    ]
    assert len(system_prompt(kind)) + len("\n".join(map(json.dumps, shown))) < 2670


def test_instructions_come_last() -> None:
    assert system_prompt("chat", "# Mine\n\ntabs") == system_prompt("chat") + "\n\n# Mine\n\ntabs"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_instructions_from_the_git_root_down_nearest_last(tmp_path: Path) -> None:
    write(tmp_path / "AGENTS.md", "outside of the repository")
    root, config = tmp_path / "repo", tmp_path / "config"
    (root / ".git").mkdir(parents=True)
    write(config / "AGENTS.md", "mine")
    write(root / "AGENTS.md", "\ufefftop\n")
    write(root / "CLAUDE.md", "not read beside AGENTS.md")
    write(root / "a" / "CLAUDE.md", "middle\n")
    cwd = root / "a" / "b"
    write(cwd / "AGENTS.md", "near")
    write(root / "other" / "AGENTS.md", "beside the way")
    assert project_instructions(cwd, config=config) == (
        "# Instructions from the user's AGENTS.md\n\nmine\n\n"
        "# Instructions from AGENTS.md\n\ntop\n\n"
        "# Instructions from a/CLAUDE.md\n\nmiddle\n\n"
        "# Instructions from a/b/AGENTS.md\n\nnear"
    )
    assert git_root(cwd) == root


def test_without_git_only_the_folder_itself_counts(tmp_path: Path) -> None:
    write(tmp_path / "AGENTS.md", "above")
    assert project_instructions(write(tmp_path / "p" / "AGENTS.md", "here").parent).endswith("here")
    assert "above" not in project_instructions(tmp_path / "p")
    (tmp_path / "empty").mkdir()
    assert project_instructions(tmp_path / "empty") == ""


def test_the_nearest_has_the_first_claim_on_the_space(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    write(tmp_path / "AGENTS.md", "far 1\nfar 2\nfar 3\n")
    cwd = write(tmp_path / "a" / "AGENTS.md", "0123456789").parent
    text = project_instructions(cwd, limit=20)
    assert "far 1\n[cut here: only the first 10 bytes are shown]" in text
    assert "far 2" not in text
    assert text.endswith("0123456789")
    assert "far" not in project_instructions(cwd, limit=10)


def test_what_is_no_text_file_of_the_project_is_left_out(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret", "the host's own")
    root = tmp_path / "repo"
    (root / ".git").mkdir(parents=True)
    (root / "AGENTS.md").symlink_to(secret)
    write(root / "real.md", "shared")
    (root / "a").mkdir()
    (root / "a" / "AGENTS.md").symlink_to("../real.md")
    (root / "a" / "b").mkdir()
    os.mkfifo(root / "a" / "b" / "AGENTS.md")
    assert project_instructions(root / "a" / "b") == "# Instructions from a/AGENTS.md\n\nshared"
    write(root / "c" / "AGENTS.md", "").write_bytes(b"caf\xe9")
    assert project_instructions(root / "c").endswith("caf\ufffd")
