"""What the sentences around a block say of it: that the model does it now, or only talks about it. Pure."""

from __future__ import annotations

import re


def intends(before: str) -> bool:
    """The text in front of a block announces it: `Let me run the tests:`."""
    line = _last_sentence(before)
    return not _EXAMPLE.search(line) and _INTENT.search(line) is not None


def talks(before: str, behind: str = "") -> bool:
    """The text in front of a block or behind it says that it is an example, a form, somebody else's or past."""
    line = _last_sentence(before)
    if _EXAMPLE.search(line) or (_TALK.search(line) and not _INTENT.search(line)):
        return True
    return _AFTERWARDS.search(_first_line(behind)) is not None


def shows_a_form(before: str) -> bool:
    """The line in front of a block introduces an example; nothing weaker counts against a call with marks."""
    line = _last_sentence(before)
    return line.endswith(":") and _EXAMPLE.search(line) is not None


def _last_sentence(before: str) -> str:
    """The last line that has words, without what stands before its last full stop."""
    line = before.rstrip().rpartition("\n")[2].strip()
    return re.split(r"(?<=[.!?])\s+(?=[A-Z])", line)[-1][-300:].replace("’", "'")


def _first_line(behind: str) -> str:
    return behind.lstrip().partition("\n")[0][:300].replace("’", "'")


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{pattern})", re.IGNORECASE)


_INTENT = _words(
    r"(?:now )?(?:I'll|I will|let me|let's|let us|I'm going to|I am going to|I need to|I want to|I should|we need to"
    r"|we'll|we will|I can|I start|I read|I look|I check|I run|I edit|I write|I search|I list|I call|I use|calling|running"
    r"|reading|checking|looking|searching|editing|writing|listing|first|next|then|now|go|thought|THOUGHT|start)\b"
)
_EXAMPLE = _words(
    r"(?:for )?examples?\b|e\.g\.|for instance|(?:would |should |could |must )?looks? (?:something )?like (?:this|so|that|the following)?"
    r"|such as\b|syntax\b|(?:the|a|this|that|your|its|in|tool[- ]call|call|output|correct|right|expected) (?:\w+[- ])?(?:format|form|template|schema)\b"
    r"|documentation\b|the docs\b|do(?:es)? not (?:run|execute|call)|don't (?:run|execute|call|use)|never (?:run|execute|call)|instead of\b"
)
_TALK = _words(
    r"you (?:can|could|should|would|may|might|need|must|have|will|want)|you'd|you'll|your(?:self)?\b|(?:I|it|we|one|he|she|they|that|which|this|model|assistant|agent|user) (?:would|could|might)\b"
    r"|I'd\b|previously|earlier|already|yesterday|was (?:called|sent|run|used|made)|(?:I|it|they|he|she|who|user|model|assistant) (?:called|sent|ran|used|wrote|tried|got|said|printed)"
    r"|(?:output|result|response|log|transcript|error|message|reply)s?(?: (?:is|was|were|shows?|of))?:?$|returned|printed|means|to (?:run|install|reproduce|start|use) (?:it|this|them|the)\b"
    r"|users? (?:can|should|run)|run (?:it|this|them) (?:with|by|like|as)"
)
_AFTERWARDS = _words(
    r"looks? like\b|is (?:the|an|what|how|only)\b|(?:for )?examples?\b|e\.g\.|would\b|you (?:can|could|should|would|may|might)"
    r"|the (?:above|format|syntax|form)\b|don't (?:run|execute)|do not (?:run|execute)|not (?:a real|an actual)|use it\b"
)
