"""An agent that is another program: run in a sandbox that reaches the model's server and nothing else.

    tree         the task's, at its own path, where the program may write
    program      its folder, or the virtual environment that it is installed in, read-only
    network      the counting proxy (`evals.counting`), which alone knows the model's key
    patch        what git on the host, with a directory of its own, finds changed in the tree at the end

The sandbox has no state of the person's: no home, no keys, no configuration of the program.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec

from agent.models.resolve import KEY_VARIABLE
from agent.paths import state_dir
from evals.agent import AgentError, Job
from evals.counting import Counter
from evals.gitrun import git
from evals.place import own
from evals.types import AgentSpec, End, Rollout
from sandbox.base import BackendName, ExecResult, Limits, Mount, Outlet, SandboxSpec
from sandbox.network import parse_rules
from sandbox.open import open_sandbox, owner
from sandbox.proxy import Proxy
from tools.output import readable

PROMPT = "/pawl/prompt.md"
"""The statement as a file, for programs that read it from one."""
OUTPUT_BYTES = 16_000_000
MEMORY = 4 * 1024**3
VERSION_S = 60.0
_FIELDS = re.compile(r"\{(prompt|prompt_file|workdir|model|base_url)\}")
_BROKEN = frozenset((401, 403, 408, 429, *range(500, 600)))
"""Status of answers that are the server's trouble, not the agent's."""


def split(template: object) -> tuple[str, ...]:
    """The words of a template, which no shell sees. Raises AgentError."""
    try:
        words = tuple(shlex.split(template)) if isinstance(template, str) else ()
    except ValueError as error:
        raise AgentError(f"the command cannot be split into words: {error}") from error
    if not words:
        raise AgentError('say what to run: --set command="PROGRAM ... {prompt}"')
    return words


def program(words: Sequence[str]) -> Path:
    """The program that the first word means, as it is on the PATH. Raises AgentError."""
    found = shutil.which(words[0])
    if found is None:
        raise AgentError(f"the program {words[0]!r} is not on the PATH; install it, or give its path")
    return Path(found).absolute()


def checked(spec: AgentSpec, words: Sequence[str], distribution: str = "") -> AgentSpec:
    """The spec with the version of the program, or of the Python distribution that it belongs to.

    Raises AgentError.
    """
    if not spec.base_url:
        raise AgentError(f"{spec.name} needs the server of its model: --base-url URL, and -m NAME")
    where = program(words)
    if distribution and (version := _installed(where, distribution)):
        return msgspec.structs.replace(spec, version=version)
    try:
        done = subprocess.run(
            [where, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VERSION_S,
            check=False,
        )
        told = done.stdout.decode("utf-8", "replace").strip().splitlines() if done.returncode == 0 else []
    except (OSError, subprocess.TimeoutExpired):
        told = []
    return msgspec.structs.replace(spec, version=told[0][:80] if told else "unknown")


def _installed(where: Path, distribution: str) -> str:
    """Its version in the environment that holds the program, by the name of a folder; "" when unknown."""
    for path in _links(where):
        for found in path.parent.parent.glob(f"lib/python3*/site-packages/{distribution}-*.dist-info"):
            return found.name.removesuffix(".dist-info").rpartition("-")[2]
    return ""


def filled(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The words with each `{name}` replaced once; what a value holds is not looked at again."""
    return [_FIELDS.sub(lambda found: values[found[1]], word) for word in words]


def shown(where: Path) -> Iterator[Mount]:
    """What a program needs to be seen: the environment or folder around it, and around each link's target."""
    seen: set[str] = set()
    for path in _links(where):
        around = path.parent.parent if path.parent.name == "bin" else path.parent
        folders = [around, *(_base(around) if (around / "pyvenv.cfg").is_file() else ())]
        for folder in map(str, folders):
            if folder not in seen and not folder.startswith("/usr/") and folder not in ("/", "/usr"):
                seen.add(folder)
                yield Mount(os.path.realpath(folder), folder)


def _links(path: Path) -> Iterator[Path]:
    for _ in range(8):
        yield path
        if not path.is_symlink():
            return
        path = Path(os.path.normpath(path.parent / path.readlink()))


def _base(environment: Path) -> Iterator[Path]:
    """The folders of the interpreter that a virtual environment leads to."""
    for path in _links(environment / "bin" / "python"):
        yield path.parent.parent
    yield Path(os.path.realpath(environment / "bin" / "python")).parent.parent


async def run_external(
    job: Job, words: Sequence[str], env: Mapping[str, str] | None = None, litter: Sequence[str] = ()
) -> Rollout:
    """Run the words, their fields filled, on the job and return what came of it.

    `litter` are patterns of the program's own files in the tree, which are no part of its patch.
    """
    key = os.environ.get(KEY_VARIABLE, "")
    index = job.tree.parent / "git"
    prompt = job.tree.parent / "prompt.md"
    await asyncio.to_thread(_prepare, job, index, prompt, litter)
    async with Counter(job.spec.base_url, api_key=key, max_tokens=job.limits.unit_tokens) as counter:
        values = {
            "prompt": job.instance.statement,
            "prompt_file": PROMPT,
            "workdir": str(job.tree),
            "model": job.spec.model,
            "base_url": counter.base_url,
        }
        given = {
            "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": counter.base_url,
            "OPENAI_API_BASE": counter.base_url,
            **{name: filled([text], values)[0] for name, text in (env or {}).items()},
        }
        done = await _in_sandbox(job, filled(words, values), given, counter.port, prompt)
        patch = await asyncio.to_thread(_diff, job.tree, index)
        return Rollout(
            unit=job.unit,
            instance=job.instance.id,
            attempt=job.attempt,
            agent=job.spec.name,
            model=job.spec.model,
            end=end_of(done, counter, patch),
            detail=_detail(done),
            patch=patch,
            usage=counter.usage,
            steps=counter.usage.requests,
            duration_s=round(done.duration_s, 3),
            extra={"exit_code": done.exit_code, "untold": counter.untold, "failures": counter.failures},
        )


def _prepare(job: Job, index: Path, prompt: Path, litter: Sequence[str]) -> None:
    shutil.copytree(job.tree / ".git", index)
    (index / "index").unlink(missing_ok=True)
    with (index / "info" / "exclude").open("a") as exclude:
        exclude.writelines(f"{pattern}\n" for pattern in litter)
    prompt.write_text(job.instance.statement, "utf-8", "replace")
    own(job.tree, owner(cast(BackendName, job.backend)))


async def _in_sandbox(
    job: Job, words: Sequence[str], env: Mapping[str, str], port: int, prompt: Path
) -> ExecResult:
    backend = cast(BackendName, job.backend)
    unit_s = job.limits.unit_s
    limits = Limits(
        timeout_s=job.instance.timeout_s if unit_s is None else min(unit_s, job.instance.timeout_s),
        memory_bytes=MEMORY,
    )
    outlet: Outlet | None = None
    proxy = Proxy(parse_rules(f"127.0.0.1:{port}"), lambda _: None)
    try:
        if backend != "local":
            outlet = await proxy.open()
        where = program(words)
        spec = SandboxSpec(
            tree=job.tree,
            root=str(job.tree),
            session="eval",
            limits=limits,
            image=job.instance.environment.image or None,
            mounts=(*shown(where), Mount(str(prompt), PROMPT)) if backend != "local" else (),
            outlet=outlet,
        )
        sandbox = await open_sandbox(
            spec,
            backend,
            state=state_dir() / "evals" / "sandboxes",
            project=job.tree.parent / "nothing",
            environ=_tools(job),
        )
        try:
            with (job.place / "output.txt").open("wb") as output:

                def keep(data: bytes) -> None:
                    output.write(data[: max(0, OUTPUT_BYTES - output.tell())])

                return await sandbox.run([str(where), *words[1:]], env=env, on_output=keep)
        finally:
            await sandbox.aclose()
    finally:
        await proxy.aclose()


def _tools(job: Job) -> dict[str, str]:
    """Where the task's tools are looked up."""
    names = ("PATH", "HOME", "VIRTUAL_ENV")
    found = {name: os.environ[name] for name in names if name in os.environ}
    return {**found, "VIRTUAL_ENV": str(job.environment)} if job.environment is not None else found


def _diff(tree: Path, index: Path) -> str:
    """What the tree differs in from the base; whatever the program committed there does not matter."""
    at = ("--git-dir", str(index), "--work-tree", str(tree))
    git(*at, "add", "--all", at=tree)
    now = git(*at, "write-tree", at=tree).decode().strip()
    text = git(*at, "diff", "--binary", "--no-renames", "--no-color", "refs/heads/main", now, at=tree)
    return text.decode("utf-8", "surrogateescape")


def end_of(done: ExecResult, counter: Counter, patch: str) -> End:
    """The end that an exit code means, and what the proxy saw."""
    if done.timed_out or counter.spent:
        return "limit"
    if counter.failures and _BROKEN.issuperset(counter.failures[-1:]) and not (done.ok and patch):
        return "provider_error"
    if not done.ok:
        return "agent_error"
    return "submitted" if patch else "no_change"


def _detail(done: ExecResult) -> str:
    text = readable(done.head + done.tail)
    return f"exit {done.exit_code}: {' '.join(text[-600:].split())[-300:]}"
