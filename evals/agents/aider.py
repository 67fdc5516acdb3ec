"""aider, as it is installed here: `uv tool install aider-chat`, or `--set program=PATH`.

One message, every question answered with yes; nothing of its own is in the patch. Settings: `program`;
`options`, further words for its command line, such as `--set options="--edit-format whole"`.
"""

from __future__ import annotations

import shlex

from evals.agent import AgentError, Job
from evals.external import checked, run_external
from evals.types import AgentSpec, Rollout

name = "aider"
summary = "aider, one message without a person"

_WORDS = (
    "--message-file {prompt_file} --model openai/{model} --openai-api-base {base_url} --yes-always "
    "--no-auto-commits --no-dirty-commits --no-gitignore --no-check-update --no-show-release-notes "
    "--no-show-model-warnings --analytics-disable --no-detect-urls --disable-playwright --no-pretty "
    "--no-fancy-input --no-suggest-shell-commands --input-history-file /tmp/aider.input "
    "--chat-history-file /tmp/aider.chat.md"
)
_ENV = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": "/tmp"}


def check(spec: AgentSpec) -> AgentSpec:
    if unknown := sorted(set(spec.settings) - {"program", "options"}):
        raise AgentError(f"aider has no setting {unknown[0]!r}; there are options, program")
    return checked(spec, _words(spec), "aider_chat")


def _words(spec: AgentSpec) -> list[str]:
    options = shlex.split(str(spec.settings.get("options", "")))
    return [str(spec.settings.get("program", "aider")), *_WORDS.split(), *options]


async def run(job: Job) -> Rollout:
    return await run_external(job, _words(job.spec), _ENV, litter=(".aider*",))
