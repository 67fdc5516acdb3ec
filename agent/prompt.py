"""What a conversation begins with: the system prompt, and what the project itself says at its end.

The prompt is short on purpose. On two CPU cores a small local model reads about 55 tokens a second, so each
hundred tokens here cost every conversation two seconds before its first word. What never changes comes first:
date and directory are left out, so that all conversations of a project share one cached beginning.
"""

from __future__ import annotations

from pathlib import Path

CORE = """\
You are pawl, a coding agent. You work on the user's project with tools; paths are relative to its root.

- Look before you change: search, then read the code that matters.
- Make the smallest change that does the job, in the style of the file.
- After a change run the tests, read what failed, and go on until they pass.
- Never weaken a test to make it pass. Never claim what you have not run."""

ENDINGS = {
    "chat": """\
Call tools until the job is done; after each call wait for its result. Then answer in a few sentences \
without a tool call. Answer so also when you need to know something from the user.""",
    "fix": """\
Call tools until the command passes; after each call wait for its result. Then say in one sentence what was \
wrong, without a tool call. Nobody answers questions.""",
    "run": """\
Call tools until the job is done; after each call wait for its result. Then answer in a few sentences \
without a tool call. Nobody answers questions: choose, and say so.""",
}
"""How a turn ends, by the kind of work."""

FILES = ("AGENTS.md", "CLAUDE.md")
"""Files with a project's instructions; in each folder the first that exists counts."""

MAX_INSTRUCTION_BYTES = 16 * 1024


def system_prompt(kind: str = "chat", instructions: str = "") -> str:
    """The system prompt for a kind of work (a key of ENDINGS), with the project's instructions at the end."""
    prompt = f"{CORE}\n\n{ENDINGS[kind]}"
    return f"{prompt}\n\n{instructions}" if instructions else prompt


def project_instructions(cwd: Path, *, config: Path | None = None, limit: int = MAX_INSTRUCTION_BYTES) -> str:
    """The instructions of the person (`config`) and of the project, each under a heading, nearest last.

    Looks in every folder from the git root down to `cwd`, in `cwd` alone when there is no git. Together they
    hold at most `limit` bytes; what is farther away gives way first. A link that leads out of the project is
    not followed: it would show the model a file that the project does not own.
    """
    cwd = cwd.resolve()
    root = git_root(cwd) or cwd
    found = [_in_folder(folder, root) for folder in _from_root(root, cwd)]
    if config is not None:
        found.insert(0, _in_folder(config, config))
    sections: list[str] = []
    for path in reversed([path for path in found if path is not None]):
        text = _read(path, limit)
        limit -= len(text.encode())
        if text:
            name = path.relative_to(root) if path.is_relative_to(root) else f"the user's {path.name}"
            sections.insert(0, f"# Instructions from {name}\n\n{text}")
    return "\n\n".join(sections)


def git_root(cwd: Path) -> Path | None:
    """The nearest folder at or above `cwd` that holds a `.git`."""
    return next((folder for folder in (cwd, *cwd.parents) if (folder / ".git").exists()), None)


def _from_root(root: Path, cwd: Path) -> list[Path]:
    folders = [cwd]
    while folders[-1] != root:
        folders.append(folders[-1].parent)
    return folders[::-1]


def _in_folder(folder: Path, root: Path) -> Path | None:
    for name in FILES:
        path = folder / name
        if path.is_file() and path.resolve().is_relative_to(root.resolve()):
            return path
    return None


def _read(path: Path, limit: int) -> str:
    """At most `limit` bytes of the file's text, cut at the end of a line with a note that says so."""
    if limit <= 0:
        return ""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError:
        return ""
    if len(data) <= limit:
        return data.decode("utf-8-sig", "replace").strip()
    kept = data[:limit].rpartition(b"\n")[0].decode("utf-8-sig", "replace").strip()
    return f"{kept}\n[cut here: only the first {limit} bytes are shown]" if kept else ""
