"""`pawl run PROMPT`, also `pawl -p PROMPT`: one task without a person, then exit."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from agent.cli.attach import ImageFiles, read_images
from agent.cli.options import Conversing, Options, with_conversation
from agent.config import ConfigError
from agent.messages import Image

app = typer.Typer(add_completion=False)

MAX_STDIN_BYTES = 1024 * 1024


@app.command(cls=Conversing)
@with_conversation
def run(
    options: Options,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to do, or a question.")] = "",
    allow_test_edits: Annotated[
        bool, typer.Option("--allow-test-edits", help="Let what --test-cmd runs be changed too.")
    ] = False,
    output_schema: Annotated[
        Path | None,
        typer.Option("--output-schema", metavar="FILE", help="JSON Schema that the answer must fit."),
    ] = None,
    image_file: ImageFiles = None,
) -> None:
    """Do one task and exit; what is piped in is added to the prompt."""
    if output_schema is not None:
        from agent.solve.answer import read_schema

        options = msgspec.structs.replace(options, output_schema=read_schema(output_schema))
    request = with_input(prompt)
    if not request:
        raise ConfigError('there is nothing to do: say it as `pawl run "PROMPT"`, or pipe it in')
    raise typer.Exit(
        run_request(options, request, read_images(image_file), allow_test_edits=allow_test_edits)
    )


def run_request(
    options: Options, request: str, images: tuple[Image, ...] = (), *, allow_test_edits: bool = False
) -> int:
    """Do `request` headless, shown with `images`; the exit code. `--test-cmd`, if any, proves it."""
    from agent.cli.desk import Desk, run_headless
    from agent.cli.model import check_name, opener
    from agent.paths import config_dir
    from agent.prompt import project_instructions
    from agent.solve.fix import Outcome
    from agent.solve.request import fulfil

    check_name(options.settings)

    async def body(desk: Desk) -> Outcome:
        bench = await desk.open_bench()
        return await fulfil(
            request,
            bench,
            desk.branch,
            desk.budget,
            instructions=project_instructions(options.cwd, config=config_dir()),
            check=() if options.permission_mode == "plan" else options.settings.check,
            open_model=opener(desk, allow_test_edits=allow_test_edits),
            wall_s=options.settings.timeout,
            images=images,
        )

    return run_headless(options, "run", body)


def with_input(prompt: str) -> str:
    """The prompt with what is piped in below it. A terminal and /dev/null have nothing to say.

    Raises ConfigError when more than `MAX_STDIN_BYTES` come.
    """
    mode = os.fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)):
        return prompt.strip()
    data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(data) > MAX_STDIN_BYTES:
        raise ConfigError(
            f"more than {MAX_STDIN_BYTES // 1024} kB are piped in, which no model can read at once; "
            "write them to a file of the project and name it in the prompt"
        )
    piped = data.decode("utf-8", "replace").strip()
    if not prompt.strip() or not piped:
        return prompt.strip() or piped
    return f"{prompt.strip()}\n\nThis was piped in:\n\n{piped}"
