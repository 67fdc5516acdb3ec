"""Run where mistral-vibe is installed: make the edits that come as JSON on stdin, each in its file."""

from __future__ import annotations

import asyncio
import json
import sys

from vibe.core.tools.builtins.edit import Edit, EditArgs, EditConfig


async def main() -> None:
    tool = Edit.from_config(EditConfig)
    answers = []
    for case in json.load(sys.stdin):
        arguments = EditArgs(
            file_path=case["path"],
            old_string=case["old"],
            new_string=case["new"],
            replace_all=case["replace_all"],
        )
        try:
            async for _ in tool.run(arguments):
                pass
            answers.append("")
        except Exception as error:
            answers.append(f"{type(error).__name__}: {error}")
    json.dump(answers, sys.stdout)


asyncio.run(main())
