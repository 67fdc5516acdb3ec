"""The agent that runs inside every sandbox, and how it gets there without a file being written.

`main` (the loop), `frames`, `records`, `family` and `processes` (who is whose, how it ends), `guard`,
`usage` and `held` (limits), `jobs`, `files` (file operations), `terminal` and `relay` (the way to the proxy)
are plain standard-library Python for 3.8 and later, and work on descriptors, without pathlib. They import
nothing else of this project: inside, they are all there is.
"""

from __future__ import annotations

from pathlib import Path

_MODULES = (
    "processes",
    "files",
    "frames",
    "held",
    "usage",
    "records",
    "family",
    "guard",
    "jobs",
    "terminal",
    "relay",
    "main",
)
_LOADER = """\
import sys, types
package = sys.modules["sandbox"] = sys.modules["sandbox.pid1"] = types.ModuleType("sandbox.pid1")
for name, text in {sources!r}:
    module = sys.modules["sandbox.pid1." + name] = types.ModuleType(name)
    setattr(package, name, module)
    exec(compile(text, "<pid1/" + name + ".py>", "exec"), module.__dict__)
package.main.main()
"""

_FLAGS = ("-I", "-S", "-B", "-c")
"""Isolated, without site packages and bytecode: the agent imports nothing that lies in the workspace."""


def source() -> str:
    """The agent as one program text for `python3 -c`, below the 128 kB that Linux allows an argument."""
    return _LOADER.format(sources=[(name, module_text(name)) for name in _MODULES])


def module_text(name: str) -> str:
    """The text of one module of the agent."""
    return (Path(__file__).parent / f"{name}.py").read_text("utf-8")


def command(*python: str) -> list[str]:
    """The argument list that starts the agent with an interpreter (a path inside, or what starts it)."""
    return [*python, *_FLAGS, source()]
