"""A regular expression over words, compiled when it is first asked: a start of pawl needs none of them."""

from __future__ import annotations

import re
from functools import cached_property


class Words:
    """`whole` words begin where a word does; letters of either case are the same."""

    def __init__(self, pattern: str, *, whole: bool = True, flags: re.RegexFlag = re.IGNORECASE) -> None:
        self._source = rf"\b(?:{pattern})" if whole else pattern
        self._flags = flags

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self._source, self._flags)

    def search(self, text: str) -> re.Match[str] | None:
        return self._pattern.search(text)

    def match(self, text: str) -> re.Match[str] | None:
        return self._pattern.match(text)

    def fullmatch(self, text: str) -> re.Match[str] | None:
        return self._pattern.fullmatch(text)

    def sub(self, new: str, text: str) -> str:
        return self._pattern.sub(new, text)
