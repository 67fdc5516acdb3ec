"""Names of files as a person reads them: on one line, with nothing that steers a terminal, and not too many.

A name is the repository's word, or the model's: a newline in it could forge a line of pawl's own.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import islice

MOST = 10
"""So many names are given; the rest are counted."""
_LONG = 300

# C0, DEL, C1, line separators, lone surrogates, and what reorders text (https://trojansource.codes)
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain(name: str) -> str:
    """A name with what cannot be seen in it spelled out, and the middle of a very long one left out."""
    if len(name) > _LONG:
        name = f"{name[: _LONG // 2]}...{name[-_LONG // 2 :]}"
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], name)


def a_few(names: Collection[str], most: int = MOST) -> str:
    """The first of the names, and how many more there are."""
    more = len(names) - most
    return ", ".join(map(plain, islice(names, most))) + (f" and {more:,} more" if more > 0 else "")
