"""What the sentences around a block say of it: that the model does it now, or only talks about it. Pure."""

from __future__ import annotations

import re


def intends(before: str) -> bool:
    """The text in front of a block announces it: `Let me run the tests:`."""
    line = _last_sentence(before)
    return _ACTS.search(line) is not None or (not _EXAMPLE.search(line) and _INTENT.search(line) is not None)


def talks(before: str, behind: str = "", *, advice: bool = True) -> bool:
    """What stands around a block says that it is an example, a form, somebody else's, or past.

    Advice such as `you can use this` counts if `advice` is set: small models word their calls like that.
    """
    line = "" if _LABEL.fullmatch(before) else _last_sentence(before)
    if _EXAMPLE.search(line) and not _ACTS.search(line):
        return True
    if not _INTENT.search(line) and (_TALK.search(line) or (advice and _ADVICE.search(line))):
        return True
    after = _first_line(behind)
    if _AFTERWARDS.search(after) or _REFUSED.search(after):
        return True
    return advice and _ADVICE.search(after) is not None


def shows_a_form(before: str, behind: str) -> bool:
    """The same of a call with marks: what introduces it or denies it counts, and what calls it an example."""
    line = _last_sentence(before)
    after = _first_line(behind)
    if _EXAMPLE_BEHIND.search(after) or _REFUSED.search(after):
        return True
    if line.endswith((".", "!", "?")) and not line.endswith(("e.g.", "example.")):
        return _DENIAL.search(line) is not None
    return talks(before)


def _last_sentence(before: str) -> str:
    """The last line that has words, without what stands before its last full stop."""
    line = before.rstrip().rpartition("\n")[2].strip()
    return re.split(r"(?<=[.!?])\s+(?=[A-Z])", line)[-1][-300:].replace("’", "'")


def _first_line(behind: str) -> str:
    return behind.lstrip().partition("\n")[0][:300].replace("’", "'")


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{pattern})", re.IGNORECASE)


_INTENT = _words(
    r"I'll|I will|let me\b(?! know\b)|let's|let us|I'm going to|I am going to|I need to|I want to|I should"
    r"|I can|I must|I have to|I'd like to|I would like to|my next step is|we need to|we'll|we will|thought:"
    r"|(?:first|now|next|then),? (?:I|we)\b"
    r"|I (?:start|read|look|check|run|edit|write|search|list|call|use|change|fix|ask)\b"
    r"|(?<!recommend )(?<!suggest )(?<!try )(?:calling|running|reading|checking|looking|searching|editing"
    r"|writing|listing|fixing|exploring)\b"
    r"|to (?:see|look|list|explore|inspect|understand|find out|check)\b(?!.*\b(?:run|use|type|execute|you)\b)"
    r"|\A(?:tool|function)[ _-]?call:?\Z"
)
_ACTS = _words(
    r"(?:I'll|I will|let me|let's|I need to|I'm going to|I want to|I should|I must|I have to|we'll)"
    r" (?!not\b|never\b)(?:\w+ )?"
    r"(?:look|read|check|see|search|find|open|list|view|inspect|examine|explore|edit|fix|run|retry|redo|repeat"
    r"|try (?!to (?:explain|show)))\b"
    r"|\A(?:now,? )?(?:reading|checking|looking at|opening|searching|running|listing|exploring|viewing)\b"
)
"""Said of the model itself and of now, whatever it looks at: an example, too."""
_EXAMPLE = _words(
    r"(?:for )?examples?\b(?![./_-]\w| (?:file|folder|directory|project|script|app|program|package|repo)\b)"
    r"|e\.g\.|for instance|looks? (?:something )?like\b|such as\b|syntax\b"
    r"|(?:the|a|this|that|your|its|in|tool[- ]call|call|output|correct|right|expected) (?:\w+[- ])?"
    r"(?:format|form|template|schema)\b|documentation\b|the docs\b|instead of\b"
    r"|show you|show how|explain|demonstrat|illustrat|how (?:you|to|one|a|the) (?!can\b)"
    r"|(?:won't|will not|would not|do not|don't|does not|doesn't|never|not going to|must not|should not"
    r"|shouldn't) (?:ever )?(?:call|run|do|execute|use|send|write|answer|reply|be)\b"
    r"(?=.*\w|\Z)"
)
"""Said of what is shown, whoever would do it; or that it is not done."""
_DENIAL = _words(
    r"(?:won't|will not|would not|do not|don't|never|must not|should not) (?:call|run|execute|send)"
    r" (?:it|this|that|these|those|them|such|any|anything|the (?:call|command|tool|following|above))\b"
)
_TALK = _words(
    r"you (?:could|would|might)\b|you'd\b|if you\b|to \w+ (?:\w+ ){1,4}you (?:send|write|call)\b"
    r"|(?:I|it|we|one|he|she|they|that|which|this|model|assistant|agent|user) (?:would|could|might)\b|I'd\b"
    r"|would (?:be|output|write|send|return|print|emit)\b|previously|earlier|already|yesterday"
    r"|was (?:called|sent|run|used|made)|(?:I|it|they|he|she|who|user|model|assistant|server) "
    r"(?:called|made|sent|ran|used|wrote|tried|got|said|printed|changed|applied)"
    r"|(?:model|assistant|server|parser) "
    r"(?:says|writes|sends|emits|answers|outputs|replies|expects|wants|returns)\b"
    r"|(?:output|result|response|log|transcript|error|message|reply|diff|answer)s?"
    r"(?: (?:is|was|were|shows?|of))?:?$"
    r"|(?:contains?|says?|reads|includes?|holds?|contained|said)(?: (?:this|the following))?[^.:]{0,30}:$"
    r"|(?:prints|returns|shows|quotes|answers)\b[^.:]{0,30}:$|like this:$|inputs?\b[^.:]{0,30}:$"
    r"|(?:string|text|line|instruction|injection|prompt|fixture|payload)s?\b.* (?:is|are|was|were)\b.*:$"
    r"|you (?:sent|posted|pasted|gave|wrote|quoted|showed)\b"
    r"|(?:log|fixture|readme|issue|prompt|docs?|page|spec|report|template|ticket|comment)s? "
    r"(?:contains?|says?|shows?|reads?|has|renders?)\b|renders? (?:this|it) as|pasted|quoting|quoted"
    r"|such a call|consider (?:this|the following)|samples?\b|hypothetical|suppose\b|imagine\b"
    r"|given (?:this|the following)|snippet|returned|printed|means|(?:some|many|most|other) models"
    r"|often|usually|typically|this (?:is|was) the\b|(?:failed|broke|crashed):?$|ha(?:s|ve|d) this\b"
    r"|(?:might|could) be\b|contained\b|emits?\b|must handle|checks? that|(?:is|are) written|shape\b"
    r"|(?:format|template)s?:?$"
    r"|to (?:run|install|reproduce|start|use|verify) (?:it|this|them|the)\b"
    r"|users? (?:can|should|run)|run (?:it|this|them) (?:with|by|like|as)"
)
_ADVICE = _words(r"you (?:can|should|may|need|must|have|will|want)\b|you'll\b|your(?:self)?\b")
_AFTERWARDS = _words(
    r"looks? like\b|is (?:an|what|how|only)\b|(?:for )?examples?\b|e\.g\.|you (?:could|would|might)\b"
    r"|is the (?:\w+ )?(?:call|json|text|string|syntax|form|format|shape|schema|template|reply|way)\b"
    r"|would (?:be|have|look|call|run|write|mean|not|only)\b|the above (?:is|was|shows|text|json)\b"
    r"|the (?:format|syntax|form)\b|don't (?:run|execute)"
    r"|do not (?:run|execute)|not (?:a real|an actual)|use it\b|as you can see|turns? (?:this|it) into"
    r"|parses? (?:this|it)|is parsed"
)
_REFUSED = _words(
    r"ignor(?:e|ed|ing) (?:it|this|that|them|these)\b|prompt injection"
    r"|(?:won't|will not|did not|didn't|not going to) (?:run|execute|follow|call|do|send)"
    r" (?:it|this|that|them|these|any)\b"
)
"""Said behind what the model saw somewhere and leaves alone."""
_LABEL = re.compile(
    r"\s*(?:\*\*)?(?:answer|response|reply|output|result|assistant|json)(?:\*\*)?:(?:\*\*)?\s*", re.I
)
"""All that stands in front: what some templates make a model begin its own reply with."""
_EXAMPLE_BEHIND = re.compile(
    r"(?:This|That|These|It|The above|Note|Don't|Do not|Such)\b.*?(?:looks? like\b|\ban? (?:\w+ )?example"
    r"|how (?:the|a) (?:\w+ )?(?:format|call))|Do(?:n't| not) (?:run|execute|call)"
)
