"""What the sentences around a block say of it: that the model does it now, or only talks about it. Pure."""

from __future__ import annotations

import re

from agent.models.dialects import _tongues


def intends(before: str) -> bool:
    """The text in front of a block announces it: `Let me run the tests:`."""
    line = _last_sentence(before)
    if _WAITS.search(line) or _tongues.ASKS.search(line):
        return False
    if _ACTS.search(line) or _tongues.ACTS.search(line):
        return True
    return not (_EXAMPLE.search(line) or _is_attributed(line)) and _INTENT.search(line) is not None


def talks(before: str, behind: str = "", *, advice: bool = True) -> bool:
    """What stands around a block says that it is an example, a form, somebody else's, past, or up to the person.

    Advice such as `you can use this` counts if `advice` is set: small models word their calls like that.
    """
    line = "" if _LABEL.fullmatch(before) else _last_sentence(before)
    if _asks(line, behind) or _is_attributed(line) or _is_foreign_talk(line):
        return True
    if _EXAMPLE.search(line) and not _ACTS.search(line):
        return True
    if not _INTENT.search(line) and (_TALK.search(line) or (advice and _ADVICE.search(line))):
        return True
    after = _first_line(behind)
    if _AFTERWARDS.search(after) or _REFUSED.search(after) or _goes_on(line, after):
        return True
    return advice and _ADVICE.search(after) is not None


def shows_a_form(before: str, behind: str) -> bool:
    """The same of a call with marks: what introduces it or denies it counts, and what calls it an example."""
    line = _last_sentence(before)
    after = _first_line(behind)
    if _asks(line, behind) or _EXAMPLE_BEHIND.search(after) or _REFUSED.search(after):
        return True
    if _goes_on(line, after):
        return True
    if (thought := _THOUGHT.search(before)) and talks(before[: thought.start()]):
        return True
    if not _is_open(line) and not line.endswith(("e.g.", "example.")):
        if _DENIAL.search(line):
            return True
        return _POINTS.search(line) is not None and not _is_own(line) and not intends(before)
    return talks(before)


def names_a_source(before: str) -> bool:
    """All that the line in front of a call says is where it stands, or what kind of thing it is: `notes.md:`."""
    line = before.rstrip().rpartition("\n")[2].strip()
    if _SOURCE.fullmatch(line):
        return True
    bare = _last_sentence(line).strip("#*_ ")
    if len(bare.split()) > 6 or _OWN_LABEL.match(bare) or not (bare.endswith(":") or line[:1] in "#*_"):
        return False
    return _KIND.search(bare) is not None and not _FIRST.search(bare)


def _is_attributed(line: str) -> bool:
    """An open sentence whose block is somebody else's, past, general, or the content of something."""
    if not _is_open(line) or _FIRST.search(line) or _GERUND.search(line):
        return bool(_AGAINST.search(line) or (_SHOWS.search(line) and _is_open(line)))
    return any(
        pattern.search(line) for pattern in (_AGAINST, _SHOWS, _OTHERS, _CONTENT, _GENERAL, _MODELS, _PAST)
    )


def _is_foreign_talk(line: str) -> bool:
    acts = _INTENT.search(line) or _tongues.ACTS.search(line)
    return _is_open(line) and acts is None and _tongues.TALKS.search(line) is not None


def _asks(line: str, behind: str) -> bool:
    """The person is to decide first."""
    if _WAITS.search(line) or _ASKS_BEHIND.search(behind[:600].replace("’", "'")):
        return True
    if _tongues.ASKS.search(line) or _tongues.ASKS.search(_first_line(behind)):
        return True
    return line.endswith(("?", "？")) and _ASKS.search(line) is not None


def _goes_on(line: str, after: str) -> bool:
    """The sentence in front goes on behind the block; or what stands there tells what the call did once."""
    if _LIVED.match(after):
        return True
    return _GOES_ON.match(after) is not None and not (
        _FIRST.search(line) or _GERUND.search(line) or _INTENT.search(after) or _tongues.ACTS.search(line)
    )


def _is_open(line: str) -> bool:
    """Its block belongs to it: it ends with a colon, or without an end."""
    return bool(line) and not line.rstrip("*_\"')").endswith((".", "!", "?", "…", "。", "！", "？"))


def _is_own(line: str) -> bool:
    return _OWN.search(line) is not None and _is_plain(line)


def _is_plain(line: str) -> bool:
    return not (_EXAMPLE.search(line) or _OTHERS.search(line) or _MODELS.search(line))


def _last_sentence(before: str) -> str:
    """The last line that has words, without what stands before its last full stop."""
    line = before.rstrip().rpartition("\n")[2].strip()
    return re.split(r"(?<=[.!?])\s+(?=[A-ZÀ-ÖØ-ÞА-Я¿])|(?<=[。！？])(?=.)", line)[-1][-300:].replace("’", "'")


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

_FIRST = _words(
    r"I'll|I will|let me\b(?! know\b)|let's|let us|I'm going to|I am going to|I need\b|I want to|I should|I must"
    r"|I have to|I'd like to|I would like to|my next step|we need to|we'll|we will|thought:|I can\b"
    r"|I (?:now |first |then )?(?:start|read|look|check|run|edit|write|search|list|call|use|change|fix)\b"
)
"""The model speaks of itself, and of now."""
_GERUND = re.compile(
    r"\A(?:(?:ok(?:ay)?|sure|now|next|then|first|great|alright|good|back to|on to),? )*"
    r"(?:(?!according|following|regarding|concerning|assuming|considering|judging|quoting|citing|during"
    r"|nothing|something|anything|everything|string|warning|training|being|having)\w+ing\b"
    r"|(?:now|next|then|first|back to|on to),?(?: to| for)? (?:the|this|that|its)\b)",
    re.IGNORECASE,
)
"""`Reading a.py:`, `Now the tests:`"""
_AGAINST = _words(
    r"(?:recommend|advise|warn|decide|advice|warning|argue|vote)(?:s|d|ed)? (?:\w+ )?against\b"
    r"|(?:avoid|refrain from|stop|instead of|rather than) (?:ever )?(?:running|calling|using|executing|doing|writing"
    r"|sending|the following|this|these)\b[^,]*$|\A(?:please )?(?:never|don't|do not)\b"
)
_SHOWS = _words(
    r"(?:I'll|I will|let me|let us|let's|I want to|I'd like to|allow me to) (?:\w+ )?(?:quote|cite|repeat (?:what|it)"
    r"|paste|recap|paraphrase|summari[sz]e|walk you|describe|point out|reproduce (?:the|what) \w+ (?:said|wrote|text|message))\b"
)
_SUBJECT = (
    r"(?:models?|agents?|assistants?|LLMs?|bots?|clients?|servers?|parsers?|attackers?|users?|persons?|people|someone"
    r"|somebody|authors?|colleagues?|maintainers?|reporters?|customers?|versions?|releases?|builds?|branch|commits?"
    r"|scripts?|traces?|transcripts?|logs?|sessions?|records?|recordings?|reports?|tickets?|issues?|readme|files?"
    r"|documents?|docs|pages?|prompts?|templates?|data ?sets?|data|papers?|specs?|articles?|posts?|tutorials?|manuals?"
    r"|comments?|docstrings?|emails?|mails?|messages?|web ?sites?|fixtures?|injections?|payloads?|poison\w*|he|she|they"
    r"|who|which|\w+\.(?:md|txt|log|json|jsonl|ya?ml|toml|html|py|js|cfg))"
)
_OTHERS = _words(
    rf"{_SUBJECT}(?:['`\"]|\b)(?: (?!that I\b|I\b|so\b|and\b|,)\S+){{0,5}}? (?:wrote|writes?|issued?|issues|emit(?:s|ted)?|sen[td]s?"
    r"|repl(?:y|ies|ied)|respon(?:d|ds|ded)|answer(?:s|ed)?|produc(?:e|es|ed)|generat(?:e|es|ed)|print(?:s|ed)?"
    r"|return(?:s|ed)|sa(?:ys?|id)|outputs?|outputted|made|makes|called|calls|ran|runs|did|does|tried|contain(?:s|ed)?"
    r"|holds?|held|ha[sd](?! to\b)|includ(?:es?|ed)|show(?:s|ed)|reads|gave|gives|begins|began|ends|ended|renders?|rendered"
    r"|expects?|demands?|told|tells|asks? for|inject(?:s|ed)|claim(?:s|ed)|suggest(?:s|ed)|propos(?:es|ed)|quot(?:es|ed)"
    r"|instruct(?:s|ed)|hid(?:es|den)?|stor(?:es|ed)|log(?:s|ged)|record(?:s|ed)|execut(?:es|ed)|used|went|got)\b"
)
"""Who or what it is that wrote or did it."""
_PRESENTED = r"(?!.*\b(?:call|command|action|request|tool|function|need|next|read|open)\b)"
_CONTENT = _words(
    r"(?:contents?|excerpts?|extracts?|quot(?:e|ation)s?|lines?|passages?|snippets?|text|dump|copy|copied|listing|transcript"
    r"|part|fragment|head|tail|body|taken|comes?|lifted|verbatim) (?:of|from|in)\b(?!.*\b(?:need|required|next)\b)"
    r"|(?:from|according to|in|per) (?:the|your|this|that|our|my|its|an?) (?:\w+ ){0,3}(?:logs?|docs?|documentation|readme"
    r"|transcript|trace|session|history|manual|paper|issue|ticket|changelog|prompt|bug report|test suite|fixtures?|wild)\b"
    rf"|(?:here(?:'s| is| are)|this is|these are|below is|below are) {_PRESENTED}(?:the|what|some|your|its|his|their|an?|one|how)\b.*"
    r"\b(?:file|contents?|logs?|trace|transcript|output|text|page|email|message|prompt|payload|body|report|lines?|snippet"
    r"|record|sent|wrote|said|saw|found|got|happened|did)\b"
)
_GENERAL = re.compile(
    r"\b(?<!here is )(?<!here's )(?:an?|any|each|every|such(?: an?)?|typical|valid|well-formed|malformed|all|most) (?:[\w-]+ ){0,3}"
    r"(?:calls?|invocations?|tool use|turns?|repl(?:y|ies)|response|payload)\b(?!.*\b(?:need|requir|necess|I)\w*)"
    r"|\bto (?:call|invoke|use|request|trigger|make) (?:an?|any|another|such|tools?|functions?)\b(?!.*\bthe (?:\w+ )?tool\b)"
    r"|\b(?:tool calls?|calls|function calls?|tool use|invocations?) (?:is|are|have|has|look|come|go|in|with|as|get|use)\b(?! (?:follow|needed|required|to))"
    r"|\bhow (?:\w+ ){0,4}(?:calls?|call(?:s|ed|ing)|invok\w+|written|marked|encoded|rendered|works?|does it)\b",
    re.IGNORECASE,
)
"""Said of calls at all, not of this one."""
_MODELS = _words(
    r"(?:hermes|qwen|chatglm|glm|deepseek|minimax|kimi|mistral|llama|gemma|gpt|harmony|olmo|claude|granite|nemotron"
    r"|openai|anthropic|ollama|vllm|langchain|cline|aider|copilot|codex|phi-?\d)"
)
_PAST = _words(
    r"I(?:'ve| have| had| just)? (?!need\b)(?:ran|got|wrote|sent|made|did|saw|tried|came|let|put|[a-z]+ed)\b"
    r"|(?:at|in) (?:step|turn|line|message) \d+|last (?:time|week|run|month|turn)|the other day|back then|used to\b"
    r"|(?:was|were|been|being) (?:\w+ )?(?:\w+ed|sent|run|written|made|told|given|found|seen|shown|hidden|lost|put)\b"
)
_POINTS = _words(
    r"(?:the (?:one|ones|following|text|block|snippet|lines?)|shown|given|printed|rendered|written|quoted|reproduced|seen|is"
    r"|are|see|look|looks) (?:\w+ )?below\b|as follows|like so\b|like this\b|in this (?:way|form)|this form|the following"
)
"""A whole sentence that is about the block behind it."""
_OWN = _words(
    r"(?:here(?:'s| is)|the|this is|my|below is) (?:\w+ ){0,3}?(?:call|command|invocation|request|action)\b"
)
_ASKS = _words(
    r"(?:should|shall|may|can|could|must) (?:I|we)\b|(?:do|would|are|will|did) you (?:want|like|agree|mind|prefer|approve|ok"
    r"|happy|fine|sure|allow|confirm)|want me to|is (?:that|this|it) (?:ok|fine|all ?right|acceptable|safe)"
    r"|(?:ok(?:ay)?|proceed|go ahead|agreed?|permission)\b|how about|what if"
)
_WAITS = _words(
    r"(?:once|after|when|if|unless|until|as soon as|provided|before) (?:that )?(?:you|the user|they|someone|somebody)(?:'ve| have)?"
    r" (?:\w+ )?(?:confirm|approv|agree|permit|consent|allow|say|said|give|given|want|like|ok|sign|accept|wish|prefer)"
    r"|(?:after|upon|on|with|given|pending|needs?|requires?|await\w*|for|without|until|have|get|subject to|by)"
    r" (?:your|the user's|explicit|further|his|their|user)(?: \w+)?"
    r" ?(?:ok|okay|approval|permission|consent|confirmation|go-ahead|sign-off|agreement|blessing|word)\b"
    r"|wait(?:ing)? for (?:you|your|the user|confirmation|approval|permission)\b|awaiting\b"
)
_ASKS_BEHIND = _words(
    r"(?:should|shall|may|can|could) (?:I|we) (?:\w+ )?(?:run|go|proceed|do|execute|call|apply|continue|make|delete|start"
    r"|send|use)\b[^.\n]*\?|(?:should|shall|may) I\?|(?:do|would) you (?:want|like|mind)(?: it)?(?: if)?(?: me| I)? (?:to )?"
    r"(?:run|ran|go|proceed|do|execute|call|apply|delete|make|send)\b[^.\n]*\?"
    r"|is (?:this|that|it) (?:ok|okay|fine|all ?right)\b[^.\n]*\?|are you (?:ok|okay|sure|fine)\b[^.\n]*\?"
    r"|(?:ok|okay|proceed|go ahead|agreed)\?|please confirm|confirm (?:and|to|before|first)\b"
    r"|your (?:approval|permission|confirmation|go-ahead|consent)\b|(?:once|if|when|after|unless) you (?:confirm|approve|agree|say|give|want me)"
    r"|let me know (?:if|whether|when) (?:I (?:should|may|can)|(?:this|that|it) is (?:ok|fine|all))"
    r"|say (?:yes|the word)|(?:reply|answer|type) (?:with )?[\"'`]?(?:yes|y|ok)\b|waiting for (?:you|your)\b|await"
)
_GOES_ON = re.compile(
    r"(?!then\b|and (?:then|now|next)\b|next\b|now\b|finally\b|once\b|after\b|i\b|let\b|to\b)(?:[a-z]+,? )[\w`]+"
)
_LIVED = re.compile(
    r"(?:That|This|It|These|Those|The (?:above|call|command)) (?:\w+ly |then |never )?(?:was|were|did|broke|ran|made|went|got|led"
    r"|lost|(?!need)[a-z]+ed)\b|That(?:'s| is) (?:the|what|how|why|where|when)\b"
)
_THOUGHT = re.compile(r"^[ \t]*(?:\*\*)?Thought(?:\*\*)?:.*\s*\Z", re.MULTILINE)
_SOURCE = re.compile(
    r"(?:[#>*_\s\d.)-]*)(?:(?:the|in|from|file(?:name)?|path|page|see|source|attachment|at|my|your|our|contents? of):? )*"
    r"[`\"'(\[*_]*(?:[\w@+~-]*/)*[\w@+-]*\.(?!\d)\w{1,6}[`\"')\]*_]*"
    r"(?:[,:]? ?\(?(?:lines?|L|l\.|p\.|page|section|§|around line|near line|at line|#L?) ?\d+(?: ?(?:-|–|to) ?L?\d+)?\)?|:\d+(?:[-:]\d+)?)?"
    r"\**:?\**",
    re.IGNORECASE,
)
"""A line that is the name of a file and no more."""
_KIND = _words(
    r"(?:wrong|incorrect|bad|good|correct|better|worse|dangerous|unsafe|harmful|malicious|before|after|old|new|original|expected"
    r"|actual|input|given|usage|notes?|warning|caution|references?|sources?|excerpt|quotes?|transcripts?|history|logs?|traces?"
    r"|records?|recorded|fixtures?|test (?:case|data)|repro(?:duction)?|bugs?|attack|injection|injected|payloads?|attachment|contents?"
    r"|formats?|syntax|forms?|schema|templates?|protocol|specs?|background|appendix|faq|docs|documentation|manual|readme|changelog"
    r"|snippet|listing|figure|anti-?patterns?|don'ts?|do not|never|mistakes?|errors?|failures?|diff|patch|version|previous(?:ly)?"
    r"|formerly|yesterday|counter-?example|untrusted|user|human|system|conversation|dialog(?:ue)?|chat|style|dialect|variants?"
    r"|option [a-z\d]|alternatives?|case \d+|scenario|quotation|email|message|comment)s?\b"
)
"""What a label may say of a block that is no call."""
_OWN_LABEL = re.compile(
    r"(?:\d+[.)] )?(?:read|look|check|run|list|search|find|open|view|inspect|create|write|edit|fix|call|use|execute|get|grep"
    r"|explore|verify|understand|locate|examine|update|add|step|next|first|then|now|finally|let|ok|okay|tool|function|action"
    r"|(?:my|the|new) (?:next )?(?:action|call|command|step)|\w+ing)\b",
    re.IGNORECASE,
)
