"""Answers with aider's repository map, for tests/bench/repomap.py; runs where aider-chat is installed.

A request a line on stdin: {"root": folder, "files": [relative path], "task": text, "tokens": number}; with
"ranks_only" the map is not written out. An answer a line on stdout: {"seconds": number, "files": [path,
likeliest first]}, or the map's text in the place of the paths. Mentions are found by aider's own code;
tokens are estimated from the characters, which costs it nothing.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import Any

from aider.coders.base_coder import Coder
from aider.io import InputOutput
from aider.repomap import RepoMap


class Estimate:
    """In the place of a model: only its count of tokens is asked for."""

    def token_count(self, text: str) -> float:
        return len(text) / 4


class Chat:
    """What aider's finders of mentions ask a conversation for; no file is in the chat."""

    def __init__(self, files: list[str]) -> None:
        self.files = files
        self.abs_read_only_fnames: set[str] = set()

    def get_all_relative_files(self) -> list[str]:
        return self.files

    def get_addable_relative_files(self) -> set[str]:
        return set(self.files)

    def get_inchat_relative_files(self) -> list[str]:
        return []


def answer(request: dict[str, Any]) -> dict[str, Any]:
    task, files = request["task"], request["files"]
    chat = Chat(files)
    started = time.perf_counter()
    identifiers = Coder.get_ident_mentions(chat, task)
    named = Coder.get_file_mentions(chat, task) | Coder.get_ident_filename_matches(chat, identifiers)
    repo_map = RepoMap(
        map_tokens=request["tokens"],
        root=request["root"],
        main_model=Estimate(),
        io=InputOutput(pretty=False, yes=True),
        refresh="always",
    )
    absolute = [f"{request['root']}/{name}" for name in files]
    if request.get("ranks_only"):
        ranked = repo_map.get_ranked_tags([], absolute, named, identifiers)
        found = list(dict.fromkeys(tag[0] for tag in ranked))
    else:
        found = [repo_map.get_repo_map([], absolute, named, identifiers) or ""]
    return {"seconds": time.perf_counter() - started, "files": found[:50]}


for line in sys.stdin:
    request = json.loads(line)
    with contextlib.redirect_stdout(sys.stderr), contextlib.chdir(request["root"]):
        said = answer(request)
    print(json.dumps(said), flush=True)
