"""The words by which an English sentence in front of a call, or behind it, says what the call is. Pure.

Each pattern is one kind of sentence; `_prose` weighs them against each other.
"""

from __future__ import annotations

import re

from agent.models.dialects._words import Words

INTENT = Words(
    r"I'll|I will|let me\b(?! know\b)|let's|let us|I'm going to|I am going to|I need to|I want to|I should"
    r"|I can|I must|I have to|I'd like to|I would like to|my next step is|we need to|we'll|we will|thought:"
    r"|(?:first|now|next|then),? (?:I|we)\b"
    r"|I (?:start|read|look|check|run|edit|write|search|list|call|use|change|fix|ask)\b"
    r"|(?<!recommend )(?<!suggest )(?<!try )(?:calling|running|reading|checking|looking|searching|editing"
    r"|writing|listing|fixing|exploring)\b"
    r"|to (?:see|look|list|explore|inspect|understand|find out|check)\b(?!.*\b(?:run|use|type|execute"
    r"|you)\b)"
    r"|\A(?:tool|function)[ _-]?call:?\Z"
)
ACTS = Words(
    r"(?:I'll|I will|let me|let's|I need to|I'm going to|I want to|I should|I must|I have to|we'll)"
    r" (?!not\b|never\b)(?:\w+ )?"
    r"(?:look|read|check|see|search|find|open|list|view|inspect|examine|explore|edit|fix|run|retry|redo"
    r"|repeat"
    r"|try (?!to (?:explain|show)))\b"
    r"|\A(?:now,? )?(?:reading|checking|looking at|opening|searching|running|listing|exploring|viewing)\b"
)
"""Said of the model itself and of now, whatever it looks at: an example, too."""
EXAMPLE = Words(
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
DENIAL = Words(
    r"(?:won't|will not|would not|do not|don't|never|must not|should not) (?:call|run|execute|send)"
    r" (?:it|this|that|these|those|them|such|any|anything|the (?:call|command|tool|following|above))\b"
)
TALK = Words(
    r"you (?:could|would|might)\b|you'd\b|if you\b|to \w+ (?:\w+ ){1,4}you (?:send|write|call)\b"
    r"|(?:I|it|we|one|he|she|they|that|which|this|model|assistant|agent|user) (?:would|could|might)\b|I'd\b"
    r"|would (?:be|output|write|send|return|print|emit)\b|previously|earlier|already|yesterday"
    r"|was (?:called|sent|run|used|made)|(?:I|it|they|he|she|who|user|model|assistant|server) "
    r"(?:called|made|sent|ran|used|wrote|tried|got|said|printed|changed|applied)"
    r"|(?:model|assistant|server|parser) "
    r"(?:says|writes|sends|emits|answers|outputs|replies|expects|wants|returns)\b"
    r"|(?:output|result|response|log|transcript|error|message|reply|diff|answer)s?"
    r"(?: (?:is|was|were|shows?|of))?:?$"
    r"|(?:contains?|says?|(?<!that )(?<!which )reads|includes?|holds?|contained|said)(?: (?:this"
    r"|the following))?[^.:]{0,30}:$"
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
ADVICE = Words(r"you (?:can|should|may|need|must|have|will|want)\b|you'll\b|your(?:self)?\b")
AFTERWARDS = Words(
    r"looks? like\b|is (?:an|what|how|only)\b|(?:for )?examples?\b|e\.g\.|you (?:could|would|might)\b"
    r"|is the (?:\w+ )?(?:call|json|text|string|syntax|form|format|shape|schema|template|reply|way)\b"
    r"|would (?:be|have|look|call|run|write|mean|not|only)\b|the above (?:is|was|shows|text|json)\b"
    r"|the (?:format|syntax|form)\b|don't (?:run|execute)"
    r"|do not (?:run|execute)|not (?:a real|an actual)|use it\b|as you can see|turns? (?:this|it) into"
    r"|parses? (?:this|it)|is parsed"
)
REFUSED = Words(
    r"ignor(?:e|ed|ing) (?:it|this|that|them|these)\b|prompt injection"
    r"|(?:won't|will not|did not|didn't|not going to) (?:run|execute|follow|call|do|send)"
    r" (?:it|this|that|them|these|any)\b|I (?:have|did|do|will)(?: not|n't) (?:\w+ )?(?:act|done|follow"
    r"|obey|compl)"
)
"""Said behind what the model saw somewhere and leaves alone."""
LABEL = Words(
    r"\s*(?:\*\*)?(?:answer|response|reply|output|result|assistant|json)(?:\*\*)?:(?:\*\*)?\s*", whole=False
)
"""All that stands in front: what some templates make a model begin its own reply with."""
EXAMPLE_BEHIND = Words(
    r"(?:This|That|These|It|The above|Note|Don't|Do not|Such)\b.*?(?:looks? like\b|\ban? (?:\w+ )?example"
    r"|how (?:the|a) (?:\w+ )?(?:format|call))|Do(?:n't| not) (?:run|execute|call)",
    whole=False,
    flags=re.NOFLAG,
)

FIRST = Words(
    r"I'll|I will|let me\b(?! know\b)|let's|let us|I'm going to|I am going to|(?:I|we) need\b|I want to"
    r"|I should|I must"
    r"|I have to|I'd like to|I would like to|my next step|we need to|we'll|we will|thought:|I can\b"
    r"|I (?:now |first |then )?(?:start|read|look|check|run|edit|write|search|list|call|use|change|fix)\b"
)
"""The model speaks of itself, and of now."""
GERUND = Words(
    r"\A(?:(?:ok(?:ay)?|sure|now|next|then|first|great|alright|good|back to|on to),? )*"
    r"(?:(?!according|following|regarding|concerning|assuming|considering|judging|quoting|citing|during"
    r"|nothing|something|anything|everything|string|warning|training|being|having)\w+ing\b)",
    whole=False,
)
"""`Reading a.py:`"""
AGAINST = Words(
    r"(?:recommend|advise|warn|decide|advice|warning|argue|vote)(?:s|d|ed)? (?:\w+ )?against\b"
    r"|(?:avoid|refrain from|stop|instead of|rather than) (?:ever )?(?:running|calling|using|executing"
    r"|doing|writing"
    r"|sending|the following|this|these)\b[^,]*$|\A(?:please )?(?:never|don't|do not)\b"
    r"|\A\w+ing (?:this|it|that|these|them) (?:\w+ly )?(?:[a-z]+ed|was|broke|made|lost)\b"
)
SHOWS = Words(
    r"(?:I'll|I will|let me|let us|let's|I want to|I'd like to|allow me to) (?:\w+ )?(?:quote|cite"
    r"|repeat (?:what|it)"
    r"|paste|recap|paraphrase|summari[sz]e|walk you|describe|point out|reproduce (?:the|what) \w+ (?:said"
    r"|wrote|text|message))\b"
)
_SUBJECT = (
    r"(?:models?|agents?|assistants?|LLMs?|bots?|clients?|servers?|parsers?|attackers?|users?|persons?"
    r"|people|someone"
    r"|somebody|authors?|colleagues?|maintainers?|reporters?|customers?|versions?|releases?|builds?"
    r"|branch|commits?"
    r"|scripts?|traces?|transcripts?|logs?|sessions?|records?|recordings?|reports?|tickets?|issues?"
    r"|readme|files?"
    r"|documents?|docs|pages?|prompts?|templates?|data ?sets?|data|papers?|specs?|articles?|posts?"
    r"|tutorials?|manuals?"
    r"|comments?|docstrings?|emails?|mails?|messages?|web ?sites?|fixtures?|injections?|payloads?"
    r"|poison\w*|he|she|they"
    r"|who|which|\w+\.(?:md|txt|log|json|jsonl|ya?ml|toml|html|py|js|cfg))"
)
OTHERS = Words(
    r"(?:model|agent|assistant|client|server|bot|LLM|parser|attacker|he|she) (?:then |now |first |also "
    r"|will |can |must"
    r" |should )?[a-z]+(?:s|ed)\b(?! (?:me|us)\b)|"
    rf"{_SUBJECT}(?:['`\"]|\b)(?: (?!that I\b|I\b|so\b|and\b|,)\S+){{0,5}}? (?:wrote|writes?|issued?"
    rf"|issues|emit(?:s|ted)?|sen[td]s?"
    r"|repl(?:y|ies|ied)|respon(?:d|ds|ded)|answer(?:s|ed)?|produc(?:e|es|ed)|generat(?:e|es|ed)"
    r"|print(?:s|ed)?"
    r"|return(?:s|ed)|sa(?:ys?|id)|outputs?|outputted|made|makes|called|calls|ran|runs|did|does|tried"
    r"|contain(?:s|ed)?"
    r"|holds?|held|ha[sd](?! to\b)|includ(?:es?|ed)|show(?:s|ed)|reads|gave|gives|begins|began|ends|ended"
    r"|renders?|rendered"
    r"|expects?|demands?|told|tells|asks? for|inject(?:s|ed)|claim(?:s|ed)|suggest(?:s|ed)|propos(?:es"
    r"|ed)|quot(?:es|ed)"
    r"|instruct(?:s|ed)|hid(?:es|den)?|stor(?:es|ed)|log(?:s|ged)|record(?:s|ed)|execut(?:es|ed)|used"
    r"|went|got)\b"
)
"""Who or what it is that wrote or did it."""
_PRESENTED = r"(?!.*\b(?:call|command|action|request|tool|function|need|next|read|open)\b)"
CONTENT = Words(
    r"(?:contents?|excerpts?|extracts?|quot(?:e|ation)s?|lines?|passages?|snippets?|text|dump|copy|copied"
    r"|listing|transcript"
    r"|part|fragment|head|tail|body|taken|comes?|lifted|verbatim) (?:of|from|in)\b(?!.*\b(?:need|required"
    r"|next)\b)"
    r"|(?:from|according to|in|per) (?:the|your|this|that|our|my|its|an?) (?:\w+ ){0,3}(?:logs?|docs?"
    r"|documentation|readme"
    r"|transcript|trace|session|history|manual|paper|issue|ticket|changelog|prompt|bug report|test suite"
    r"|fixtures?|wild)\b"
    rf"|(?:here(?:'s| is| are)|this is|these are|below is|below are) {_PRESENTED}(?:the|what|some|your|its"
    rf"|his|their|an?|one|how)\b.*"
    r"\b(?:file|contents?|logs?|trace|transcript|output|text|page|email|message|prompt|payload|body"
    r"|report|lines?|snippet"
    r"|record|sent|wrote|said|saw|found|got|happened|did)\b"
)
GENERAL = Words(
    r"\b(?<!here is )(?<!here's )(?:an?|any|each|every|such(?: an?)?|typical|valid|well-formed|malformed"
    r"|all|most) (?:[\w-]+ ){0,3}"
    r"(?:calls?|invocations?|tool use|turns?|repl(?:y|ies)|response|payload)\b(?!.*\b(?:need|requir"
    r"|necess|I)\w*)"
    r"|\bto (?:call|invoke|use|request|trigger|make) (?:an?|any|another|such|tools?"
    r"|functions?)\b(?!.*\bthe (?:\w+ )?tool\b)"
    r"|\b(?:tool calls?|calls|function calls?|tool use|invocations?) (?:is|are|have|has|look|come|go|in"
    r"|with|as|get|use)\b(?! (?:follow|needed|required|to))"
    r"|\bhow (?:\w+ ){0,4}(?:calls?|call(?:s|ed|ing)|invok\w+|written|marked|encoded|rendered|works?"
    r"|does it)\b",
    whole=False,
)
"""Said of calls at all, not of this one."""
MODELS = Words(
    r"(?:hermes|qwen|chatglm|glm|deepseek|minimax|kimi|mistral|llama|gemma|gpt|harmony|olmo|claude"
    r"|granite|nemotron"
    r"|openai|anthropic|ollama|vllm|langchain|cline|aider|copilot|codex|phi-?\d)"
)
PAST = Words(
    r"I(?:'ve| have| had| just)? (?!need\b)(?:ran|got|wrote|sent|made|did|saw|tried|came|let|put"
    r"|[a-z]+ed)\b"
    r"|(?:at|in) (?:step|turn|line|message) \d+|last (?:time|week|run|month|turn)|the other day|back then"
    r"|used to\b"
    r"|\A(?!I\b)\w+ (?:gave|came|found|said|wrote|printed|returned|answered|showed|sent)\b"
    r"|(?:was|were|been|being) (?:\w+ )?(?:\w+ed|sent|run|written|made|told|given|found|seen|shown|hidden"
    r"|lost|put)\b"
)
POINTS = Words(
    r"(?:the (?:one|ones|following|text|block|snippet|lines?)|shown|given|printed|rendered|written|quoted"
    r"|reproduced|seen|is"
    r"|are|see|look|looks) (?:\w+ )?below\b|as follows|like so\b|like this\b|in this (?:way|form)"
    r"|this form|the following"
)
"""A whole sentence that is about the block behind it."""
OWN = Words(
    r"(?:here(?:'s| is| are)|the|this is|my|below is|with|by)"
    r" (?:[\w`]+ ){0,2}?"
    r"(?:call|command|invocation|action|JSON|tool|function)s?\b|(?:here|off|there) (?:it|we|you|I)\b"
    r"|here goes\b"
)
"""What the model hands over."""
NEEDS = Words(
    r"(?:we|is|are|I'd) (?:\w+ )?need(?:ed)?\b|required\b|necessary\b|ha(?:s|ve) to be\b|must be\b"
    r"|time (?:to|for)\b"
    r"|next (?:step|up|is)\b|\bis to\b|first (?:step|is|of all)\b|step \d|(?:start|begin)(?:s"
    r"|ning)? (?:with|by)\b"
    r"|\A(?:.*[.!] )?(?:now|next|then|first|back to|on to),?(?: to| for)? (?:the|this|that|its)\b"
    r"|\bfirst\W*\Z|comes? first\b"
    r"|(?:wants|asked|asks|told) (?:me\b|for\b)|go ahead\b|\A(?:in order )?to (?!repro|recap)\w+ .*,"
)
ENGLISH = Words(r"(?:the|this|that|of|with|for|and|from|was|were|has|have|is|are|it)\b")
INDEFINITE = Words(r"\A(?:an?|another|some|one|two|three|more|any)\b(?! (?:moment|sec|more|step|thing))")
ASKS = Words(
    r"(?:should|shall|may|can|could|must) (?:I|we)\b|(?:do|would|are|will|did) you (?:want|like|agree"
    r"|mind|prefer|approve|ok"
    r"|happy|fine|sure|allow|confirm)|want me to|is (?:that|this|it) (?:ok|fine|all ?right|acceptable|safe)"
    r"|(?:ok(?:ay)?|proceed|go ahead|agreed?|permission)\b|how about|what if"
)
WAITS = Words(
    r"(?:once|after|when|if|unless|until|as soon as|provided|before) (?:that )?(?:you|the user|they"
    r"|someone|somebody)(?:'ve| have)?"
    r" (?:\w+ )?(?:confirm|approv|agree|permit|consent|allow|say|said|give|given|want|like|ok|sign|accept"
    r"|wish|prefer)"
    r"|(?:after|upon|on|with|given|pending|needs?|requires?|await\w*|for|without|until|have|get"
    r"|subject to|by)"
    r" (?:your|the user's|explicit|further|his|their|user)(?: \w+)?"
    r" ?(?:ok|okay|approval|permission|consent|confirmation|go-ahead|sign-off|agreement|blessing|word)\b"
    r"|wait(?:ing)? for (?:you|your|the user|confirmation|approval|permission)\b|awaiting\b"
)
ASKS_BEHIND = Words(
    r"(?:should|shall|may|can|could) (?:I|we) (?:\w+ )?(?:run|go|proceed|do|execute|call|apply|continue"
    r"|make|delete|start"
    r"|send|use)\b[^.\n]*\?|(?:should|shall|may) I\?|(?:do|would) you (?:want|like"
    r"|mind)(?: it)?(?: if)?(?: me| I)? (?:to )?"
    r"(?:run|ran|go|proceed|do|execute|call|apply|delete|make|send)\b[^.\n]*\?"
    r"|is (?:this|that|it) (?:ok|okay|fine|all ?right)\b[^.\n]*\?|are you (?:ok|okay|sure|fine)\b[^.\n]*\?"
    r"|(?:ok|okay|proceed|go ahead|agreed)\?|please confirm|confirm (?:and|to|before|first)\b"
    r"|your (?:approval|permission|confirmation|go-ahead|consent)\b|(?:once|if|when|after"
    r"|unless) you (?:confirm|approve|agree|say|give|want me)"
    r"|let me know (?:if|whether|when) (?:I (?:should|may|can)|(?:this|that|it) is (?:ok|fine|all))"
    r"|say (?:yes|the word)|(?:reply|answer|type) (?:with )?[\"'`]?(?:yes|y|ok)\b|waiting for (?:you"
    r"|your)\b|await"
)
GOES_ON = Words(
    r"(?!then\b|and (?:then|now|next)\b|next\b|now\b|finally\b|once\b|after\b|i\b|let\b"
    r"|to\b)(?:[a-z]+,? )[\w`]+",
    whole=False,
    flags=re.NOFLAG,
)
LIVED = Words(
    r"(?:That|This|It|These|Those|The (?:above|call|command)) (?:\w+ly |then |never )?(?:was|were|did"
    r"|broke|ran|made|went|got|led"
    r"|lost|(?!need)[a-z]+ed)\b|That(?:'s| is) (?:the|what|how|why|where|when)\b",
    whole=False,
    flags=re.NOFLAG,
)
THOUGHT = Words(r"^[ \t]*(?:\*\*)?Thought(?:\*\*)?:.*\s*\Z", whole=False, flags=re.MULTILINE)
TOKENS = Words(
    r"(?:<\|\w+\|>\s*(?:assistant|commentary|analysis|final)?\s*)+\Z", whole=False, flags=re.NOFLAG
)
SOURCE = Words(
    r"(?:[#>*_\s\d.)-]*)(?:(?:the|in|from|file(?:name)?|path|page|see|source|attachment|at|my|your|our"
    r"|contents? of):? )*"
    r"[`\"'(\[*_]*(?:[\w@+~-]*/)*[\w@+-]*\.(?!\d)\w{1,6}[`\"')\]*_]*"
    r"(?:[,:]? ?\(?(?:lines?|L|l\.|p\.|page|section|§|around line|near line|at line|#L?) ?\d+(?: ?(?:-|–"
    r"|to) ?L?\d+)?\)?|:\d+(?:[-:]\d+)?)?"
    r"\**:?\**",
    whole=False,
)
"""A line that is the name of a file and no more."""
KIND = Words(
    r"(?:wrong|incorrect|bad|good|correct|better|worse|dangerous|unsafe|harmful|malicious|before|after"
    r"|old|new|original|expected"
    r"|actual|input|given|usage|notes?|warning|caution|references?|sources?|excerpt|quotes?|transcripts?"
    r"|history|logs?|traces?"
    r"|records?|recorded|fixtures?|test (?:case|data)|repro(?:duction)?|bugs?|attack|injection|injected"
    r"|payloads?|attachment|contents?"
    r"|formats?|syntax|forms?|schema|templates?|protocol|specs?|background|appendix|faq|docs"
    r"|documentation|manual|readme|changelog"
    r"|snippet|listing|figure|anti-?patterns?|don'ts?|do not|never|mistakes?|errors?|failures?|diff|patch"
    r"|version|previous(?:ly)?"
    r"|formerly|yesterday|counter-?example|std(?:out|err)|steps to|done|so far|untrusted|user|human"
    r"|system|conversation"
    r"|dialog(?:ue)?|chat|style|dialect|variants?"
    r"|option [a-z\d]|alternatives?|case \d+|scenario|quotation|email|message|comment)s?\b"
)
"""What a label may say of a block that is no call."""
OWN_LABEL = Words(
    r"\A(?:and|also|plus)\W*\Z|\A[#*_ ]*(?:\d+[.)] )?(?:read|look|check|run|list|search|find|open|view"
    r"|inspect|create|write|edit|fix|call|use|execute|get"
    r"|explore|verify|understand|locate|examine|update|add|step|next|first|then|now|finally|let|ok|okay"
    r"|tool|function|action"
    r"|(?:my|the|new) (?:next )?(?:action|call|command|step)|\w+ing)\b",
    whole=False,
)
