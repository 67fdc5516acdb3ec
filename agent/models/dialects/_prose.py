"""What the sentences around a block say of it: that the model does it now, or only talks about it. Pure."""

from __future__ import annotations

import re

from agent.models.dialects import _english as en
from agent.models.dialects import _tongues as other


def intends(before: str) -> bool:
    """The text in front of a block announces it: `Let me run the tests:`."""
    line = _last_sentence(before)
    if en.WAITS.search(line) or other.ASKS.search(line):
        return False
    if en.ACTS.search(line) or other.ACTS.search(line):
        return True
    return not (en.EXAMPLE.search(line) or _is_attributed(line)) and en.INTENT.search(line) is not None


def talks(before: str, behind: str = "", *, advice: bool = True) -> bool:
    """What is around a block says: an example, a form, the past, somebody else's, or up to the person.

    Advice such as `you can use this` counts if `advice` is set: small models word their calls like that.
    """
    line = "" if en.LABEL.fullmatch(before) else _last_sentence(before)
    if _asks(line, behind) or _is_attributed(line) or _is_foreign_talk(line):
        return True
    if en.EXAMPLE.search(line) and not en.ACTS.search(line):
        return True
    if not en.INTENT.search(line) and (en.TALK.search(line) or (advice and en.ADVICE.search(line))):
        return True
    after = _first_line(behind)
    if en.AFTERWARDS.search(after) or en.REFUSED.search(after) or _goes_on(line, after):
        return True
    return advice and en.ADVICE.search(after) is not None


def shows_a_form(before: str, behind: str) -> bool:
    """The same of a call with marks: what introduces it or denies it counts, and what calls it an example."""
    line = _last_sentence(before)
    after = _first_line(behind)
    if _asks(line, behind) or en.EXAMPLE_BEHIND.search(after) or en.REFUSED.search(after):
        return True
    if _goes_on(line, after):
        return True
    if (thought := en.THOUGHT.search(before)) and talks(before[: thought.start()]):
        return True
    if not _is_open(line) and not line.endswith(("e.g.", "example.")):
        if en.DENIAL.search(line):
            return True
        return en.POINTS.search(line) is not None and not _is_own(line) and not intends(before)
    return talks(before)


def only_introduces(before: str, *, strict: bool = True) -> bool:
    """The line in front of a call presents it without announcing it: `notes.md:`, `Wrong:`, `The trace has`.

    An open English sentence has to say that the model acts, or to call the thing a call. For dialects whose
    calls name their tool; edits and commands have rules of their own. Unless `strict`, such a sentence is in
    doubt and passes; names of files and labels do not.
    """
    if en.LABEL.fullmatch(before):
        return False
    last = before.rstrip().rpartition("\n")[2].strip()
    if en.SOURCE.fullmatch(last) or last.startswith(">"):
        return True
    line = _last_sentence(before)
    if not _is_open(line) or _announces(line):
        return False
    bare = line.strip("#*_ ")
    if strict and (en.ENGLISH.search(line) or en.INDEFINITE.match(bare)):
        return True
    is_label = len(bare.split()) <= 6 and (bare.endswith(":") or last[:1] in "#*_")
    return is_label and en.KIND.search(bare) is not None


def _announces(line: str) -> bool:
    acts = (en.ACTS, en.INTENT, en.FIRST, en.GERUND, en.OWN, en.OWN_LABEL, en.NEEDS, en.ADVICE, other.ACTS)
    return any(pattern.search(line) for pattern in acts)


def _is_attributed(line: str) -> bool:
    """An open sentence whose block is somebody else's, past, general, or the content of something."""
    if not _is_open(line) or en.FIRST.search(line) or en.GERUND.search(line):
        return bool(en.AGAINST.search(line) or (en.SHOWS.search(line) and _is_open(line)))
    return any(
        pattern.search(line)
        for pattern in (en.AGAINST, en.SHOWS, en.OTHERS, en.CONTENT, en.GENERAL, en.MODELS, en.PAST)
    )


def _is_foreign_talk(line: str) -> bool:
    acts = en.INTENT.search(line) or other.ACTS.search(line)
    return _is_open(line) and acts is None and other.TALKS.search(line) is not None


def _asks(line: str, behind: str) -> bool:
    """The person is to decide first."""
    if en.WAITS.search(line) or en.ASKS_BEHIND.search(behind[:600].replace("’", "'")):
        return True
    if other.ASKS.search(line) or other.ASKS.search(_first_line(behind)):
        return True
    asks = en.ASKS.search(line) or en.POINTS.search(line)
    return asks is not None and line.endswith(("?", "？"))


def _goes_on(line: str, after: str) -> bool:
    """The sentence in front goes on behind the block; or what stands there tells what the call did once."""
    if en.LIVED.match(after):
        return True
    return en.GOES_ON.match(after) is not None and not (
        en.FIRST.search(line) or en.GERUND.search(line) or en.INTENT.search(after) or other.ACTS.search(line)
    )


def _is_open(line: str) -> bool:
    """Its block belongs to it: it ends with a colon, or without an end."""
    return bool(line) and not line.rstrip("*_\"')").endswith((".", "!", "?", "…", "。", "！", "？"))


def _is_own(line: str) -> bool:
    return en.OWN.search(line) is not None and _is_plain(line)


def _is_plain(line: str) -> bool:
    return not (en.EXAMPLE.search(line) or en.OTHERS.search(line) or en.MODELS.search(line))


def _last_sentence(before: str) -> str:
    """The last line that has words, without special tokens and what stands before its last full stop."""
    line = en.TOKENS.sub("", before[-1000:]).rstrip().rpartition("\n")[2].rpartition("|>")[2].strip()
    return re.split(r"(?<=[.!?])\s+(?=[A-ZÀ-ÖØ-ÞА-Я¿])|(?<=[。！？])(?=.)", line)[-1][-300:].replace("’", "'")


def _first_line(behind: str) -> str:
    return behind.lstrip().partition("\n")[0][:300].replace("’", "'")
