"""Run where aider-chat is installed: make the edits that come as JSON on stdin, each in its file."""

from __future__ import annotations

import contextlib
import json
import sys
from types import SimpleNamespace

from aider.coders.editblock_coder import EditBlockCoder
from aider.io import InputOutput


def main() -> None:
    answers = []
    with contextlib.redirect_stdout(sys.stderr):
        io = InputOutput(pretty=False, yes=True, fancy_input=False)
        coder = SimpleNamespace(
            io=io, abs_root_path=str, fence=("```", "```"), abs_fnames=set(), get_rel_fname=str
        )
        for case in json.load(sys.stdin):
            try:
                EditBlockCoder.apply_edits(coder, [(case["path"], case["old"], case["new"])])
                answers.append("")
            except Exception as error:
                answers.append(f"{type(error).__name__}: {error}")
    json.dump(answers, sys.stdout)


main()
