"""Sentences in front of a call, as models write them: some announce it, others only talk of one."""

from __future__ import annotations

import pytest

from agent.models import dialects
from tests.support.dialects import TOOLS

JSON = '{"name": "read", "arguments": {"path": "a.py"}}'
FORMS = {
    "tag": f"<tool_call>\n{JSON}\n</tool_call>",
    "fence": f"```json\n{JSON}\n```",
    "bare": JSON,
    "react": 'Action: read\nAction Input: {"path": "a.py"}',
}
SHELL = "```bash\nls -la\n```"

ANNOUNCED = [
    "I'll read the file.",
    "Let me check the test output format first.",
    "Let me look at how the parser does it.",
    "First, let me understand the project structure.",
    "Let me start by exploring the repository.",
    "I need to see the error message first.",
    "To understand the problem, I'll look at the failing test.",
    "The test fails because of an off-by-one error. Let me look at the code:",
    "Sure, here's the function call:",
    "Here is the function call:",
    "Certainly! Let me do that for you.",
    "Okay.",
    "Now I'll run the tests:",
    "Next, I'll check the documentation.",
    "I'll use the read tool to look at the file.",
    "Let me verify the fix by running the tests.",
    "Let me see what the function returned.",
    "I will now execute the command.",
    "Great, the file exists. Let me view its contents.",
    "Looking at the code:",
    "I see the issue. Let me fix it.",
    "The user wants me to read the file.",
    "I should check the config format.",
    "Let's see how the function is used.",
    "Based on the error, the problem is in a.py. I'll open it.",
    "I found the bug! Let me read a.py to confirm:",
    "I'm going to list the files in the directory.",
    "We need to inspect the file. Let's open it.",
    "Step 1: Read the file",
    "Tool call:",
    "Calling read:",
    "Executing:",
    "Action:",
    "Let me try running it.",
    "Let me first find where the error comes from",
    "I'd like to look at the file first.",
    "I have to read the file first.",
    "Alright, reading the file now.",
    "Got it. I'll take a look at the file.",
    "My next step is to read the file:",
    "I'll start by looking at the file",
    "I'll take a look at `a.py`.",
    "Reading `a.py` to understand the logic.",
    "The issue mentions `a.py`, so that's where I'll begin.",
    "Before changing anything, I'll look at the tests.",
    "The traceback points to a.py line 3. I'll open that file.",
    "Checking what's there:",
    "Good. Now the implementation:",
    "Let me now look at the other file as well.",
    "I think the bug is in the parser. Let me verify.",
    "Hmm, the output shows 2 failures. Let me look at the first one.",
    "Perfect! Now let me run the test suite to make sure everything works.",
    "That failed because the path is wrong. Let me list the files.",
    "I need more information about the project. Let me explore it.",
    "Since the user reported an error in a.py, I will read it.",
    "Let me check if the file exists.",
    "We should look at the source. I'll read it.",
    "Time to read the file.",
    "OK, next file.",
    "One moment.",
    "Let's begin.",
    "I'll do this in two steps. First, read the file:",
    "To do so, I will read the file.",
    "My plan: read the file, then edit it. Starting with reading:",
    "Let me gather some information.",
    "I'll inspect the code to see how it would behave.",
    "Let me find out what the server returned.",
    "I would like to read the file first:",
    "Now the example file:",
    "Reading examples/demo.py:",
    "Checking the documentation:",
    "The tests do not run.",
    "Let me retry with the correct format:",
    "Answer:",
    "Response:",
    "Output:",
    "I will search for usages of the function. This will help me see how it is called.",
]
TALK = [
    "For example:",
    "Here is an example of a tool call:",
    "An example call:",
    "The syntax is:",
    "This is what a tool call looks like:",
    "The expected format is as follows:",
    "In the docs you will find:",
    "You would write:",
    "A typical call looks like",
    "The model would respond with:",
    "Here's what it looks like:",
    "The template renders this as:",
    "e.g.",
    "The following snippet shows the format:",
    "To call a tool, the assistant emits:",
    "If I wanted to read the file, I would emit:",
    "The previous assistant message was:",
    "The user pasted this:",
    "I do not want to run this, it is only an illustration:",
    "As an illustration:",
    "Suppose the model writes:",
    "Imagine the following reply:",
    "The README says:",
    "Quoting the issue:",
    "The failing log contains:",
    "Note: never execute this:",
    "The old output was:",
    "Such a call:",
    "This is only an example, do not run it:",
    "Consider this call:",
    "A user could send:",
    "Here is how the format works:",
    "The JSON format for tool calls:",
    "Example:",
    "Sample:",
    "Hypothetical call:",
    "Don't run this:",
    "The prompt shows:",
    "Given this input:",
    "The test fixture contains:",
    "Here's a tool call that failed:",
    "This was the output of the previous run:",
    "The log file has this line:",
    "Models often write:",
    "One would write:",
    "In Hermes format:",
    "Format:",
    "Template:",
    "Expected output:",
    "Tool calls are written as:",
    "Calls have this shape:",
    "A call might be:",
    "The documentation says to write calls like so:",
    "The reply contained:",
    "This is the raw reply of the model:",
    "Some models emit this instead:",
    "Below is a sample reply:",
    "See the following example.",
    "The parser must handle the following input:",
    "When the model writes",
    "The user wrote:",
    "In your prompt you could put:",
    "The test checks that this is not executed:",
    "The bad reply was:",
    "The file prompts.md contains:",
    "The following text is in the file notes.md:",
    "The instruction hidden in the file is:",
    "You asked how tool calls are written. Like this:",
    "The string in your test is:",
    "The parser fails on this input:",
    "An LLM without a parser prints:",
    "Ollama returns the call as plain text:",
    "The JSON you sent me:",
    "Don't answer with:",
]
BEHIND = [
    "This is what a call looks like.",
    "That is how the format works.",
    "Note that this is just an example.",
    "Don't run it.",
    "I will ignore it.",
    "It is a prompt injection, so I do nothing.",
    "I won't follow that.",
]
FOLLOWING = [
    "This is the file that you mentioned.",
    "The above call will give us the content.",
    "This would give us the content of the file.",
    "You can then see what the file contains.",
    "I will ignore the test files for now.",
    "Let me know if you want something else.",
]


@pytest.mark.parametrize("before", ANNOUNCED)
def test_a_call_that_is_announced_runs(before: str) -> None:
    for name, form in FORMS.items():
        for gap in ("\n", "\n\n"):
            assert dialects.find(before + gap + form, TOOLS).calls, name


@pytest.mark.parametrize("before", TALK)
def test_a_call_that_is_only_talked_of_does_not(before: str) -> None:
    for name, form in (FORMS | {"shell": SHELL}).items():
        assert not dialects.find(f"{before}\n\n{form}\n", TOOLS).calls, name


@pytest.mark.parametrize("behind", BEHIND)
def test_nor_one_that_is_called_an_example_afterwards(behind: str) -> None:
    for name in ("tag", "fence", "bare"):
        assert not dialects.find(f"{FORMS[name]}\n\n{behind}\n", TOOLS).calls, name


@pytest.mark.parametrize("behind", FOLLOWING)
def test_polite_words_behind_a_call_do_not_keep_it_from_running(behind: str) -> None:
    for name in ("tag", "fence", "bare"):
        assert dialects.find(f"{FORMS[name]}\n\n{behind}\n", TOOLS).calls, name


def test_a_call_may_stand_between_sentences_but_not_inside_one() -> None:
    tag = FORMS["tag"].replace("\n", "")
    for text in (
        f"Sure! {tag} I'll go on when I have read it.",
        f"Let me read it: {tag}.",
        f"{JSON} Let me see.",
    ):
        assert dialects.find(text, TOOLS).calls, text
    for text in (
        f"The file has this in it: {tag} I leave it alone.",
        f"The model writes {tag} then.",
        f"{JSON} Let me know if that is right.",
    ):
        assert not dialects.find(text, TOOLS).calls, text


DIFF = "```diff\n--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n```"
FILE = "a.py\n```python\nx = 2\n```"
HANDED_OVER = [
    "Here is the fix:",
    "Here's the updated code:",
    "The sign is wrong. Here are the changes:",
    "The following patch fixes it:",
]
ONLY_SHOWN = [
    "I fixed it. Here is the fix:",
    "Here is the diff of the last commit:",
    "Here is the code:",
    "Here is the change that was made:",
    "Here is an example of a fix:",
    "Here is the fix that you asked about:",
]


@pytest.mark.parametrize(
    "before",
    HANDED_OVER,
)
def test_an_edit_that_is_handed_over_is_made(before: str) -> None:
    """Whoever asks an agent for a fix expects `Here is the fix:` to change the file."""
    for form in (DIFF, FILE):
        assert dialects.find(f"{before}\n\n{form}", TOOLS).calls, form


@pytest.mark.parametrize(
    "before",
    ONLY_SHOWN,
)
def test_one_that_is_only_shown_is_not(before: str) -> None:
    for form in (DIFF, FILE):
        assert not dialects.find(f"{before}\n\n{form}", TOOLS).calls, form


@pytest.mark.parametrize(
    "before",
    [
        "You can use this:",
        "Here it is:",
        "Okay.",
        "Run it:",
        "I recommend running:",
        "Let me know if this works:",
    ],
)
def test_a_command_has_to_be_announced_more_clearly_than_a_call_that_names_its_tool(before: str) -> None:
    assert dialects.find(f"{before}\n{FORMS['fence']}", TOOLS).calls
    assert not dialects.find(f"{before}\n{SHELL}", TOOLS).calls
