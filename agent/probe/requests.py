"""What a probed model is asked to do, as data: twenty simple requests for one call each of pawl's own tools.

Each names every call that does what is asked. Texts are matched as a whole by regular expressions; what a
request does not name is the model's to choose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec


class Call(msgspec.Struct, frozen=True):
    """A call that fits: its tool, and a pattern for each argument that matters."""

    tool: str
    arguments: Mapping[str, str] = {}

    def fits(self, tool: str, arguments: Mapping[str, Any]) -> bool:
        return tool == self.tool and all(
            re.fullmatch(pattern, str(arguments.get(name, "")).strip(), re.DOTALL)
            for name, pattern in self.arguments.items()
        )


class ToolRequest(msgspec.Struct, frozen=True):
    """One request, and the calls any of which answers it."""

    text: str
    calls: tuple[Call, ...]

    def answered_by(self, tool: str, arguments: Mapping[str, Any]) -> bool:
        return any(call.fits(tool, arguments) for call in self.calls)


def _path(path: str) -> str:
    return rf"(\./|/)?{re.escape(path)}"


def _shell(pattern: str) -> Call:
    return Call("bash", {"command": pattern})


REQUESTS: tuple[ToolRequest, ...] = (
    ToolRequest(
        "Read the file setup.py.",
        (Call("read", {"path": _path("setup.py")}), _shell(r"(cat|head) .*setup\.py")),
    ),
    ToolRequest(
        "Read src/app.py from line 10 on.",
        (
            Call("read", {"path": _path("src/app.py"), "offset": "10"}),
            _shell(r"(sed|head|awk) .*src/app\.py.*"),
        ),
    ),
    ToolRequest(
        "Show me the first 5 lines of data/cities.csv.",
        (Call("read", {"path": _path("data/cities.csv")}), _shell(r"head .*data/cities\.csv")),
    ),
    ToolRequest(
        "Read docs/guide.md.", (Call("read", {"path": _path("docs/guide.md")}), _shell(r"cat .*guide\.md"))
    ),
    ToolRequest(
        "List the files in the folder tests.",
        (Call("glob", {"pattern": r"(\./)?tests/?.*"}), _shell(r"(ls|find) .*tests.*")),
    ),
    ToolRequest(
        "Find all Markdown files.",
        (Call("glob", {"pattern": r"(\./)?(\*\*/)?\*\.md"}), _shell(r"find \. .*\*\.md.*")),
    ),
    ToolRequest(
        "Find every Python file under src.",
        (Call("glob", {"pattern": r"(\./)?src/.*\*\.py"}), _shell(r"(find|ls) .*src.*py.*")),
    ),
    ToolRequest(
        "Search the code for the word TODO.",
        (Call("grep", {"pattern": r".*TODO.*"}), _shell(r"(grep|rg) .*TODO.*")),
    ),
    ToolRequest(
        "Search for the function parse_date.",
        (Call("grep", {"pattern": r".*parse_date.*"}), _shell(r"(grep|rg) .*parse_date.*")),
    ),
    ToolRequest(
        "Search the Python files for the words import os.",
        (Call("grep", {"pattern": r".*import(\s|\\s\+?|\\s\*)+os.*"}), _shell(r"(grep|rg) .*import os.*")),
    ),
    ToolRequest("Run the shell command git status.", (_shell(r"git status.*"),)),
    ToolRequest("Run the shell command: ls -la src", (_shell(r"ls -la \.?/?src/?"),)),
    ToolRequest("Count the lines of src/app.py with wc in the shell.", (_shell(r".*wc .*src/app\.py.*"),)),
    ToolRequest(
        "Ask the shell which version of Python is installed.", (_shell(r"python3? (-V|-VV|--version).*"),)
    ),
    ToolRequest("Make the folder build/out with the shell.", (_shell(r"mkdir (-p )?\.?/?build/out/?"),)),
    ToolRequest("Run all the tests.", (Call("run_tests"), _shell(r".*pytest.*"))),
    ToolRequest(
        "Run only the tests in tests/test_app.py.",
        (
            Call("run_tests", {"selection": r".*tests/test_app\.py.*"}),
            _shell(r".*pytest .*tests/test_app\.py.*"),
        ),
    ),
    ToolRequest(
        "Create the file hello.txt with the text Hello.",
        (
            Call("write", {"path": _path("hello.txt"), "content": r"Hello\.?"}),
            _shell(r"(echo|printf) .*Hello.*> ?hello\.txt"),
        ),
    ),
    ToolRequest(
        'Write a file version.py that contains the line VERSION = "1.2.3".',
        (Call("write", {"path": _path("version.py"), "content": r"VERSION = [\"']1\.2\.3[\"']"}),),
    ),
    ToolRequest(
        "In the file config.json replace debug by release.",
        (
            Call(
                "edit",
                {"path": _path("config.json"), "old_string": r".*debug.*", "new_string": r".*release.*"},
            ),
            _shell(r"sed -i .*debug.*release.* config\.json"),
        ),
    ),
)

PARALLEL = "Read the files setup.py and docs/guide.md. Call the tool for both at once."
PARALLEL_PATHS = (_path("setup.py"), _path("docs/guide.md"))

HARD_CONTENT = 'say "hi"\n\tC:\\new\\table {x} naïve ☃ </b>'
"""Quotes, a line break, a tab, backslashes that begin no escape, braces, letters beyond ASCII, a tag."""
HARD = (
    "Write a file hard.txt with exactly this content, everything between the lines of dashes:\n---\n{}\n---"
)
