"""The words of source texts and of tasks: identifiers taken apart, endings cut, filler left out."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable

_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_PATH = re.compile(r"[\w.-]*(?:/[\w.-]+)+|\w[\w-]*\.[a-z]{1,5}\b")
MAX_WORD = 40

_FILLER = """
a an and any are as at be been but by can could did do does for from had has have how if in into is it its
just like may more must no not of off on only or our out over should so some such than that the their them
then there these they this to too under up use used uses using was we were what when where which while who
why will with without would you your add added also avoid back bug change changed close closes code
correct correctly error errors fail failed fails failing fix fixed fixes fixing follow github handle http
https improve instead issue issues make merge need new now one problem proper properly pull refs
regression remove request resolve resolved return see set support test tests try update value values via
work works wrong author authored co com email signed noreply org review reviewed
"""
FILLER = frozenset(_FILLER.split())
"""What tasks are full of and what therefore tells nothing of where they are to be done."""


def split(token: str) -> list[str]:
    """The parts of an identifier in small letters: `parseHTTPDate` -> parse, http, date."""
    return [part.lower() for part in _PART.findall(token)]


@functools.lru_cache(maxsize=200_000)
def words_of(token: str) -> tuple[str, ...]:
    """The stems of a token's parts and, of several, the whole run together."""
    parts = split(token)
    stems = [stem(part) for part in parts if len(part) > 1 and not part.isdigit()]
    whole = "".join(parts)
    if len(parts) > 1 and len(whole) <= MAX_WORD:
        stems.append(whole)
    return tuple(stems)


@functools.lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """A word without its commonest English endings; crude, and the same for source and task."""
    for ending, keep in (("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("es", "e"), ("s", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)] + keep
            break
    return word[:-1] if word.endswith("e") and len(word) > 4 else word


def count(text: str, names: Iterable[str] = (), weight: int = 4) -> Counter[str]:
    """How often each word is in a source text; names that it defines count `weight` times more."""
    found: Counter[str] = Counter()
    tokens = Counter(_TOKEN.findall(text))
    for name in names:
        tokens[name] += weight
    for token, times in tokens.items():
        for word in words_of(token):
            found[word] += times
    return found


def wanted(task: str) -> list[str]:
    """The distinct words of a task that may tell where it is to be done, in order."""
    tokens = _TOKEN.findall(task)
    kept = (token for token in tokens if token.lower() not in FILLER)
    return list(dict.fromkeys(word for token in kept for word in words_of(token) if len(word) > 1))


def identifiers(task: str) -> list[str]:
    """The distinct tokens of a task that could be names in code."""
    tokens = dict.fromkeys(_TOKEN.findall(task))
    return [token for token in tokens if len(token) > 2 and token.lower() not in FILLER]


def is_spelt_as_code(name: str) -> bool:
    """Whether a token is no plain word: it has an underscore, a digit, or a capital inside."""
    return "_" in name or any(c.isdigit() for c in name) or (name != name.capitalize() and not name.islower())


def paths(task: str) -> list[str]:
    """What looks like a path or the name of a file."""
    return list(dict.fromkeys(found.strip("./") for found in _PATH.findall(task) if len(found) > 3))
