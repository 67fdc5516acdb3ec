from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, NamedTuple

from rapidfuzz import fuzz

from sandbox.base import FileError, SandboxDied, SandboxError
from tools import words
from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.grammars import GrammarMissing, language_of
from tools.ignored import worth_showing
from tools.tags import MAX_BYTES, Definition, tags
from tools.testreport import is_test_path

MAX_SHOWN = 30
MAX_FILES = 80
MAX_MATCHES = 5000
_NEAR = 0.8
"""Likeness from which a name counts as a spelling of what was asked for."""


class _Found(NamedTuple):
    path: str
    definition: Definition
    score: float


@tool(Effect.READ)
async def symbols(ctx: ToolContext, query: Annotated[str, "a name, or words that it may have"]) -> ToolOutput:
    """Find where functions, classes and the like are defined."""
    wanted = words.identifiers(query) or re.findall(r"\w+", query)
    if not wanted:
        raise ToolError("The query has no name in it. Give a name, or words that it may have.")
    missing = ""
    found: list[_Found] = []
    used: Counter[str] = Counter()
    for path in await _candidates(ctx, wanted):
        try:
            data = (await ctx.sandbox.read(path, limit=MAX_BYTES)).data
            tagged = tags(data, language_of(path) or "")
        except FileError:
            continue
        except GrammarMissing as error:
            missing = str(error)
            continue
        used.update(tagged.references)
        found += [_Found(path, d, score) for d in tagged.definitions if (score := _score(d.name, wanted))]
    # of two that fit alike, what more of the code uses comes first, and tests last
    ranked = sorted(
        found,
        key=lambda f: (-f.score * (0.5 if is_test_path(f.path) else 1.0), -used[f.definition.name], f.path),
    )
    lines = [f"{f.path}:{f.definition.line}: {f.definition.text.strip()}" for f in ranked[:MAX_SHOWN]]
    if len(ranked) > MAX_SHOWN:
        lines.append(f"[{len(ranked)} in all; give more of the name]")
    if missing:
        lines.append(f"[{missing}]")
    return ToolOutput("\n".join(lines) or "No definition has such a name. Use grep to search all text.")


async def _candidates(ctx: ToolContext, wanted: Sequence[str]) -> list[str]:
    """Source files that have the words, those with most of them first."""
    parts = {part for word in wanted for part in words.split(word) if len(part) > 1} or set(wanted)
    pattern = "(?i)" + "|".join(map(re.escape, sorted(parts)))
    try:
        matches = await ctx.sandbox.search(pattern, limit=MAX_MATCHES)
    except SandboxDied:
        raise
    except SandboxError as error:
        raise ToolError(f"The search was stopped ({error}). Give a rarer name.") from None
    counts: Counter[str] = Counter()
    for path, _, line in matches:
        if language_of(path):
            counts[path] += sum(part in line.lower() for part in parts) * (5 if wanted[0] in line else 1)
    best = [path for path, _ in counts.most_common(4 * MAX_FILES)]
    return (await worth_showing(ctx.sandbox, best))[:MAX_FILES]


def _score(name: str, wanted: Sequence[str]) -> float:
    """How well a name answers the query, 0 for not at all."""
    share = 1.0 if len(wanted) == 1 else 0.5
    if name in wanted:
        return 3.0 * share
    if name.lower() in {word.lower() for word in wanted}:
        return 2.5 * share
    asked = {part for word in wanted for part in words.split(word)}
    met = asked & set(words.split(name))
    if met == asked:
        return 2.0
    near = fuzz.ratio(name.lower(), "".join(wanted).lower()) / 100
    return near if near >= _NEAR else len(met) / len(asked) / 2 if len(met) * 2 > len(asked) else 0.0
