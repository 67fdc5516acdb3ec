"""What an evaluation is made of: instances, units, rollouts, scores, and the manifest of a run.

    Benchmark --load--> Instance x Agent x attempt = Unit --rollout--> Rollout --grade--> Score

A rollout is dear and cannot be repeated; a score is cheap and can. So each has a key and a file of its own:
deleting all scores and grading again gives the same report, byte for byte.
"""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar, Literal

import msgspec

from agent.messages import Usage

FORMAT = 1
"""Version of the files in a run's folder; a run of another version is refused."""


class Folder(msgspec.Struct, frozen=True, tag="folder"):
    """The task's tree is the files below `path` (absolute), as they are."""

    path: str


class Files(msgspec.Struct, frozen=True, tag="files"):
    """The task's tree is these files; they travel with the instance."""

    contents: dict[str, bytes]
    """Path relative to the tree, with `/` -> content."""
    executable: tuple[str, ...] = ()


class Commit(msgspec.Struct, frozen=True, tag="commit", omit_defaults=True):
    """The task's tree is a commit of a repository, without any object that is younger."""

    repo: str
    """`owner/name`, or a path or URL that git can read."""
    commit: str
    """40 or 64 hexadecimal digits."""
    patch: str = ""
    """Unified diff that is part of the tree: a bug that somebody put in. What it replaces is no object."""


class Tests(msgspec.Struct, frozen=True, tag="tests"):
    """Resolved when all of `fail_to_pass` and `pass_to_pass` pass under `command`."""

    __test__: ClassVar[bool] = False

    command: tuple[str, ...]
    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...] = ()
    test_patch: str = ""
    """Unified diff with the tests that the agent does not see; put on top of the agent's patch."""
    files: tuple[str, ...] = ()
    """Paths that are put back as they were, or as `test_patch` or `hidden` makes them, before grading."""
    hidden: str = ""
    """Folder (absolute) whose files are laid over the tree for grading alone; "" for none."""
    overlay: dict[str, bytes] = {}
    """Further such files: path relative to the tree -> content."""


class Reported(Tests, frozen=True, tag="reported"):
    """Tests of another runner than pytest, whose own reports say how each ended."""

    runner: str = ""
    """A name of `tools/runners/`."""
    reports: tuple[str, ...] = ()
    """What the command writes: absolute paths; () for what the runner leaves in the tree or prints."""


class Script(msgspec.Struct, frozen=True, tag="script"):
    """The reward is what a script writes to /logs/verifier/reward.txt or reward.json (Harbor)."""

    folder: str
    """Absolute; shown at /tests for grading alone."""
    command: tuple[str, ...] = ("bash", "/tests/test.sh")
    env: dict[str, str] = {}


class Environment(msgspec.Struct, frozen=True):
    """What the task's commands need. Instances with equal environments share one."""

    python: str = ""
    """Version such as `3.11`; "" for the host's own."""
    install: str = ""
    """Shell command that is run once, with a network, in a sandbox; its result is kept."""
    commits: tuple[str, ...] = ()
    """Commits that it is to serve; it is installed from the first. () for the task's own alone."""
    image: str = ""
    dockerfile: str = ""
    """Folder (absolute) with a Dockerfile; "" for none."""


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One task of a benchmark."""

    id: str
    """Unique in its dataset, the same each time it is loaded; safe as a file's name."""
    benchmark: str
    statement: str
    tree: Folder | Commit | Files
    grading: Tests | Reported | Script
    environment: Environment = Environment()
    reference: str = ""
    """The patch that solves it, as a unified diff; for the oracle and `check` alone."""
    solution: str = ""
    """Folder (absolute) with `solve.sh`, where the reference is a script."""
    repo: str = ""
    """What results are clustered by; "" when each task stands for itself."""
    created_at: str = ""
    """ISO 8601, or "" when unknown; compared with a model's cut-off."""
    difficulty: str = ""
    canary: str = ""
    timeout_s: float = 1800.0
    """Wall time of its tests."""
    agent_timeout_s: float = 1800.0
    """Wall time that an agent has, where the run does not say (`Limits.wall_s`)."""
    licence: str = ""
    quarantined: tuple[str, ...] = ()
    """Ids of tests that are known to be flaky; they count for nothing."""
    extra: dict[str, Any] = {}
    """What the dataset says besides; kept for exports."""

    @property
    def digest(self) -> str:
        """sha256 of all that decides what the task is, hexadecimal."""
        return digest(self)


class AgentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Who works on the tasks, and with what. All of it goes into a unit's id."""

    name: str
    """A file of `evals/agents/`: pawl, oracle, null, aider, command ..."""
    model: str = ""
    base_url: str = ""
    settings: dict[str, Any] = {}
    """Such as attempts, max_steps, temperature, seed, command template."""
    version: str = ""
    """Of the agent, with the hash of its prompt and tools where they are known."""


class Unit(msgspec.Struct, frozen=True):
    """One attempt of one agent at one instance; `id` is the hash of everything that decides its result."""

    id: str
    instance: str
    attempt: int
    """From 0."""


End = Literal[
    "submitted",  # the agent ended by itself
    "no_change",  # ... and changed nothing
    "limit",  # its own steps, tokens, cost or time
    "loop",
    "refused",
    "agent_error",  # the agent's own defect: its exit code, a crash of its process
    "sandbox_error",
    "provider_error",
    "key_refused",  # the model's server does not accept the key
    "quota_used_up",  # the account has no quota or credit left
    "engine_error",
    "verifier_error",
    "cancelled",
]
INFRASTRUCTURE: frozenset[End] = frozenset({"sandbox_error", "provider_error", "engine_error"})
"""Ends that are not the agent's: tried again, never exported, counted as unsolved when they stay."""
HOPELESS: frozenset[End] = frozenset({"key_refused", "quota_used_up"})
"""Ends that every further try would come to as well: they stop the run, and no unit ever counts by one."""


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """What one unit came to, before it is graded. The commit point is `results/<unit>.json`."""

    unit: str
    instance: str
    attempt: int
    agent: str
    model: str
    end: End
    detail: str = ""
    """One line about the end, for a person."""
    patch: str = ""
    """As text; the bytes are in `attempts/<unit>/patch.diff`."""
    usage: Usage = Usage()
    steps: int = 0
    malformed_calls: int = 0
    failed_edits: int = 0
    verified: bool | None = None
    """What the agent itself claims by its own run, if it makes one."""
    duration_s: float = 0.0
    started_at: str = ""
    tries: int = 1
    """How often it was begun, infrastructure's ends included."""
    extra: dict[str, Any] = {}


class TestOutcome(msgspec.Struct, frozen=True):
    __test__: ClassVar[bool] = False

    id: str
    group: Literal["fail_to_pass", "pass_to_pass"]
    outcome: Literal["passed", "failed", "error", "skipped", "xfailed", "missing"]
    message: str = ""


class Flag(msgspec.Struct, frozen=True):
    """A sign that a result was not come by honestly. With a flag of weight `tamper` nothing is resolved."""

    rule: str
    weight: Literal["tamper", "notice"]
    detail: str
    path: str = ""


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """The grading of one rollout. The commit point is `scores/<unit>.<scorer>.json`."""

    unit: str
    instance: str
    scorer: str
    """Name and hash of what graded; another scorer has another key."""
    resolved: bool
    reward: float
    """0 to 1."""
    applied: bool
    """False when the patch could not be applied at all."""
    tests: tuple[TestOutcome, ...] = ()
    flags: tuple[Flag, ...] = ()
    error: str = ""
    """Set when grading itself failed; then it is graded once more, and counted as unsolved in the end."""
    duration_s: float = 0.0
    """All of grading."""
    tests_s: float = 0.0
    """Of that, the tests' own time."""


class Limits(msgspec.Struct, frozen=True):
    """Per unit, and for the whole run. None: no limit."""

    unit_s: float | None = None
    """None: what each instance says."""
    unit_tokens: int | None = None
    unit_cost_usd: float | None = None
    run_tokens: int | None = None
    run_cost_usd: float | None = None

    def wall_s(self, instance: Instance) -> float:
        """Seconds that an agent has at this instance."""
        return instance.agent_timeout_s if self.unit_s is None else self.unit_s


class RunManifest(msgspec.Struct, frozen=True, kw_only=True):
    """`run.json`: written once, before anything is paid. A resume refuses a run whose manifest differs."""

    format: int = FORMAT
    name: str
    benchmark: str
    dataset: str
    """Where it was loaded from, as it was asked for."""
    dataset_hash: str
    agent: AgentSpec
    attempts: int
    seed: int
    limits: Limits = Limits()
    backend: str = ""
    scorer: str = ""
    git_revision: str = ""
    """Of pawl; "" outside a checkout."""
    versions: dict[str, str] = {}
    host: dict[str, str] = {}
    created_at: str = ""


def digest(value: object) -> str:
    """sha256 of a value's JSON with sorted keys, hexadecimal; equal values have equal digests."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


def plan_units(
    instances: list[Instance], agent: AgentSpec, attempts: int, seed: int, limits: Limits
) -> list[Unit]:
    """All units of a run, attempt by attempt, so that an early stop has seen most tasks once.

    The whole run's bounds decide no unit's result, and may be raised on resuming: they are not in the ids.
    """
    bounds = msgspec.structs.replace(limits, run_tokens=None, run_cost_usd=None)
    who = digest([agent, bounds, seed])
    digests = {task.id: task.digest for task in instances}
    return [
        Unit(digest([digests[task.id], who, attempt])[:16], task.id, attempt)
        for attempt in range(attempts)
        for task in instances
    ]
