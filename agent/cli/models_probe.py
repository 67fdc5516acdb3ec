"""`pawl models probe`: the conformance card of a model at an endpoint, in words or as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer

from agent import config
from agent.cli.progress import note, pull_progress
from agent.cli.render import visible
from agent.config import Settings
from agent.config_models import set_model
from agent.models.catalog import ModelSettings
from agent.models.resolve import open_model
from agent.models.serving import ServerSettings
from agent.probe.card import Card, Tools, best, verdict
from agent.probe.measure import probe as measure
from agent.probe.requests import REQUESTS


def probe(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="As -m takes it.", show_default="what pawl would use"),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="A server's address.", show_default=False)
    ] = None,
    calls: Annotated[
        int, typer.Option(help="Tool requests in each way of asking.", min=0, max=len(REQUESTS))
    ] = len(REQUESTS),
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="What is not measured by then is left out.", min=5)
    ] = 900.0,
    threads: Annotated[
        int | None, typer.Option(help="Threads of an embedded model.", min=1, show_default="all cores")
    ] = None,
    write: Annotated[
        bool,
        typer.Option("--write", help="Write the best settings into the configuration, without a question."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Measure how well a model works with pawl here, and say what will and what will not work."""
    settings = config.load({"model": model, "base_url": base_url}).settings
    card = asyncio.run(_probe(settings, calls, timeout, threads))
    found = best(card)
    if as_json:
        print(json.dumps({**msgspec.to_builtins(card), "best": msgspec.to_builtins(found)}, indent=2))
    else:
        print(visible("\n".join(_lines(card, found))))
    if card.tools and (write or _wanted(found, as_json=as_json)):
        file = config.user_file()
        set_model(card.model, found, file)
        note(f'written as [models."{card.model}"] in {file}')


async def _probe(settings: Settings, calls: int, timeout_s: float, threads: int | None) -> Card:
    with pull_progress("weights") as on_progress:
        model = await open_model(
            settings.model,
            base_url=settings.base_url,
            wire=settings.wire,
            key_command=settings.api_key_command,
            environ=os.environ,
            on_note=note,
            on_progress=on_progress,
            settings=ServerSettings(threads=threads),
        )
    try:
        return await measure(model, calls=calls, timeout_s=timeout_s, on_stage=_Stages())
    finally:
        await model.aclose()


class _Stages:
    """The stage that is measured: one line that changes on a terminal, else a line for each stage."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, name: str, done: int, of: int) -> None:
        if sys.stderr.isatty():
            text = f"{name} {done + 1} of {of}" if of > 1 else name
            sys.stderr.write(f"\r\x1b[K{text}" if done < of else "\r\x1b[K")
            sys.stderr.flush()
        elif name != self._last:
            note(f"measuring {name}")
        self._last = name


def _wanted(found: ModelSettings, *, as_json: bool) -> bool:
    """Whether the person, if there is one, wants the settings kept."""
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    return typer.confirm("Write these settings into the configuration?", default=False)


def _lines(card: Card, found: ModelSettings) -> Iterator[str]:
    """The card for a person: what was measured, what follows, what to set."""
    for label, text in _facts(card):
        yield f"{label:<15} {text}"
    works, fails = verdict(card)
    if works:
        yield "\nWill work:"
        yield from (f"  {sentence}" for sentence in works)
    if fails:
        yield "\nWill not work, or not well:"
        yield from (f"  {sentence}" for sentence in fails)
    missed = [line for tools in card.tools.values() for line in tools.failures]
    if missed:
        yield "\nRequests that ended otherwise:"
        yield from (f"  {line}" for line in missed)
    if card.problems:
        yield "\nNot measured:"
        yield from (f"  {line}" for line in card.problems)
    if not card.complete:
        yield f"\nThe time was over after {card.seconds:g} s: the card is not complete (--timeout)."
    if card.tools:
        yield "\nBest settings:"
        yield from (f"  {key} = {json.dumps(value)}" for key, value in msgspec.to_builtins(found).items())


def _facts(card: Card) -> Iterator[tuple[str, str]]:
    yield "model", card.model
    if card.server:
        yield "server", card.server + (f", {card.slots} slots" if card.slots else "")
    for wire, state in card.wires.items():
        yield "wire", f"{wire}: {state}"
    if card.context_tokens:
        yield "context", f"{card.context_tokens} tokens"
    if able := [name.removeprefix("supports_") for name, can in card.template.items() if can]:
        yield "template", ", ".join(able)
    for mode, tools in card.tools.items():
        yield f"tools, {mode}", _score(tools)
    if card.parallel is not None:
        yield "parallel calls", f"{card.parallel} of 2"
    if card.hard_text is not None:
        yield "hard strings", "unchanged" if card.hard_text else "changed"
    if card.streams is not None:
        yield "streaming", "yes" if card.streams else "no"
    for due, said in card.stops.items():
        yield "stop reason", due if due == said else f"{said} where {due} was due"
    if (cache := card.cache) is not None:
        anew = "not told" if cache.read_anew is None else f"{cache.read_anew} of {cache.prompt_tokens} tokens"
        yield (
            "cache",
            f"read anew {anew}; first token after {cache.first_s[0]:g} s, then {cache.first_s[1]:g} s",
        )
    if card.read_tps and card.write_tps:
        yield "speed", f"reads {card.read_tps:g}, writes {card.write_tps:g} tokens a second"


def _score(tools: Tools) -> str:
    written = ", ".join(f"{count} as {name}" for name, count in tools.dialects.items())
    return (
        f"{tools.right} of {tools.asked} right; the server told calls in {tools.native} replies "
        f"({tools.native_right} right), pawl found {tools.salvaged}{f' ({written})' if written else ''}"
    )
