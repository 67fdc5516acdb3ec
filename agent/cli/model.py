"""Opens the model that the settings name, with the plan that suits it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import nullcontext

from agent.cli.desk import Desk
from agent.cli.options import Options
from agent.cli.progress import pull_progress
from agent.config import Settings
from agent.events import PhaseStarted
from agent.mapped import map_tokens
from agent.models import names
from agent.models.address import normal_base_url
from agent.models.base import Model
from agent.models.catalog import traits
from agent.models.fallback import Fallback
from agent.models.prices import NoPrice, Priced, billed, cost_of
from agent.models.resolve import open_model
from agent.solve.task import Plan


def check_name(settings: Settings) -> None:
    """Raise UnknownModel, with the nearest names, before any work is done for a model that does not exist."""
    if settings.base_url:
        normal_base_url(settings.base_url)
    elif settings.model:
        names.parse(settings.model)
    for name in _fallbacks(settings):
        names.parse(name)


def _fallbacks(settings: Settings) -> list[str]:
    return [name.strip() for name in (settings.fallback or "").split(",") if name.strip()]


def opener(desk: Desk, *, allow_test_edits: bool = False) -> Callable[[], Awaitable[tuple[Model, Plan]]]:
    """What opens the model when it is needed. The plan: settings first, then the model's catalogue entry."""
    settings = desk.options.settings

    async def named(name: str | None, base_url: str | None = None) -> Model:
        quiet = desk.options.verbosity < 0
        with nullcontext(_unheard) if quiet else pull_progress("weights") as on_progress:
            model = await open_model(
                name,
                base_url=base_url,
                environ=os.environ,
                on_note=desk.note,
                on_progress=on_progress,
                wire=settings.wire,
                key_command=settings.api_key_command,
                on_key=desk.log.hide,
                own=desk.options.models,
                record_tokens=settings.record_tokens,
            )
        return await _completed(model, desk.options)

    async def open_it() -> tuple[Model, Plan]:
        desk.branch.emit(PhaseStarted("model", settings.model or ""))
        first, others = named(settings.model, settings.base_url), _fallbacks(settings)
        model: Model = await (Fallback.opened(first, others, named, desk.note) if others else first)
        return model, plan_for(model.name, desk.options, allow_test_edits=allow_test_edits)

    return open_it


def _unheard(done: int, total: int | None) -> None:
    del done, total


async def _completed(model: Model, options: Options) -> Model:
    """The model with what the catalogue knows beside its server; its replies tell what they cost.

    Raises NoPrice when a cost is to be held to that nobody knows.
    """
    known = traits(model.name, options.models)
    if model.context_tokens is None:
        model.context_tokens = known.context_tokens
    cost = await asyncio.to_thread(cost_of, model.name, known.prices)
    if cost is not None:
        return Priced(model, cost)
    if options.settings.max_cost is not None and billed(model.name):
        await model.aclose()
        raise NoPrice(
            f"--max-cost: no price is known for {model.name}; say it in the configuration: "
            f'[models."{model.name}"] with prices = {{ input = USD, output = USD }} for a million tokens'
        )
    return model


def plan_for(model: str, options: Options, *, allow_test_edits: bool = False) -> Plan:
    """How to try with this model."""
    settings, known = options.settings, traits(model, options.models)
    return Plan(
        strategy=known.strategy if settings.strategy == "auto" else settings.strategy,
        attempts=settings.attempts or known.attempts,
        temperature=settings.temperature,
        seed=settings.seed or 0,
        max_steps=settings.max_steps,
        tool_mode=known.tool_mode if settings.tool_mode == "auto" else settings.tool_mode,
        dialect=known.dialect,
        edit_form=known.edit_form,
        tools=settings.tools,
        refuse_syntax_errors=settings.refuse_syntax_errors,
        map_tokens=map_tokens(settings.repo_map, known.context_tokens),
        allow_test_edits=allow_test_edits,
        permission_mode=options.permission_mode or "yolo",
        output_schema=options.output_schema,
    )
