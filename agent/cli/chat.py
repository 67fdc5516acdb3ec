"""`pawl` / `pawl chat [PROMPT]`: a plain conversation; each turn ends with its diff, applied or not."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli.attach import ImageFiles, read_images
from agent.cli.options import Conversing, Options, with_conversation

app = typer.Typer(add_completion=False)


@app.command(cls=Conversing)
@with_conversation
def chat(
    options: Options,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The first message.")] = "",
    image_file: ImageFiles = None,
) -> None:
    """Program together in this directory: talk, watch the tools, take or leave the diff of each turn."""
    from agent.cli.conversation import converse
    from agent.cli.desk import Desk, run_headless
    from agent.cli.model import check_name
    from agent.solve.fix import Outcome

    check_name(options.settings)
    images = read_images(image_file)

    async def body(desk: Desk) -> Outcome:
        return await converse(desk, prompt, images)

    raise typer.Exit(run_headless(options, "chat", body, wall=False))
