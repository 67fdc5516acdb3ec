"""An agent that is another program: run in a sandbox that reaches the model's server and nothing else.

    tree         the task's, at its own path, where the program may write
    program      its folder, or the virtual environment that it is installed in, read-only
    network      the counting proxy (`evals.counting`), which alone knows the model's key: at a loopback port
    patch        what git on the host, with a directory of its own, finds changed in the tree at the end

The sandbox has no state of the person's: no home, no keys, no configuration of the program.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec

from agent.models.resolve import KEY_VARIABLE
from agent.paths import state_dir
from evals.agent import AgentError, Job, end_by
from evals.counting import Counter
from evals.gitrun import git
from evals.place import own
from evals.types import HOPELESS, AgentSpec, End, Rollout
from sandbox.base import BackendName, ExecResult, Limits, Mount, SandboxSpec
from sandbox.door import Door
from sandbox.open import open_sandbox, owner
from sandbox.programs import environment, find
from tools.output import readable

SHOWN = "/pawl"
"""Where a program finds `prompt.md`, the statement, and the files that it is given, read-only."""
OUTPUT_BYTES = 16_000_000
MEMORY = 4 * 1024**3
VERSION_S = 60.0
_FIELDS = re.compile(r"\{(prompt|prompt_file|workdir|model|base_url|server|home|given)\}")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """How a program is called. In all texts are filled in: `{prompt}`, `{prompt_file}`, `{workdir}`,
    `{model}`, `{base_url}`, `{server}` (the same without `/v1`), `{home}`, and `{given}`, where `files` are.
    """

    words: Sequence[str]
    """The program and its arguments; no shell sees them."""
    env: Mapping[str, str] = {}
    files: Mapping[str, str] = {}
    """By their names below `{given}`, read-only there."""
    piped: bool = False
    """The statement is its stdin."""
    litter: Sequence[str] = ()
    """Patterns of the program's own files in the tree, which are no part of its patch."""
    key_variable: str = KEY_VARIABLE
    """Where the person has the key of the model's server."""


def split(template: object) -> tuple[str, ...]:
    """The words of a template, which no shell sees. Raises AgentError."""
    try:
        words = tuple(shlex.split(template)) if isinstance(template, str) else ()
    except ValueError as error:
        raise AgentError(f"the command cannot be split into words: {error}") from error
    if not words:
        raise AgentError('say what to run: --set command="PROGRAM ... {prompt}"')
    return words


def program(word: str) -> Path:
    """The program that the word means, as it is on the PATH. Raises AgentError."""
    where = located(word)
    if where is None:
        raise AgentError(f"the program {word!r} is not on the PATH; install it, or give its path")
    return where


def located(word: str) -> Path | None:
    """A program on the PATH, or where a person's own word says."""
    found = word if "/" in word and os.access(word, os.X_OK) and Path(word).is_file() else find(word)
    return Path(found).absolute() if found else None


def checked(spec: AgentSpec, where: Path, version: str = "") -> AgentSpec:
    """The spec with the version, of the program itself when none is given. Raises AgentError."""
    if not spec.base_url:
        raise AgentError(f"{spec.name} needs the server of its model: --base-url URL, and -m NAME")
    return msgspec.structs.replace(spec, version=version or _told_version(where) or "unknown")


def _told_version(where: Path) -> str:
    try:
        done = subprocess.run(
            [where, "--version"],
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VERSION_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    told = done.stdout.decode("utf-8", "replace").strip().splitlines()
    return told[0][:80] if told and done.returncode == 0 else ""


def filled(words: Iterable[str], values: Mapping[str, str]) -> list[str]:
    """The words with each `{name}` replaced once; what a value holds is not looked at again."""
    return [_FIELDS.sub(lambda found: values[found[1]], word) for word in words]


def shown(where: Path) -> Iterator[Mount]:
    """What a program needs to be seen: the environment or folder around it, and around each link's target."""
    seen: set[str] = set()
    for path in links(where):
        around = path.parent.parent if path.parent.name == "bin" else path.parent
        folders = [around, *(_base(around) if (around / "pyvenv.cfg").is_file() else ())]
        for folder in map(str, folders):
            if folder not in seen and not folder.startswith("/usr/") and folder not in ("/", "/usr"):
                seen.add(folder)
                yield Mount(os.path.realpath(folder), folder)


def links(path: Path) -> Iterator[Path]:
    """The path, and where its links lead, one after the other."""
    for _ in range(8):
        yield path
        if not path.is_symlink():
            return
        path = Path(os.path.normpath(path.parent / path.readlink()))


def _base(environment: Path) -> Iterator[Path]:
    """The folders of the interpreter that a virtual environment leads to."""
    for path in links(environment / "bin" / "python"):
        yield path.parent.parent
    yield Path(os.path.realpath(environment / "bin" / "python")).parent.parent


async def run_external(job: Job, call: Call) -> Rollout:
    """Run the program on the job and return what came of it.

    Once the server refuses the key, or has no quota left, the program is ended.
    """
    index, given = job.tree.parent / "git", job.tree.parent / "given"
    started = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        door = None if job.backend == "local" else stack.enter_context(contextlib.closing(Door()))
        key, most = os.environ.get(call.key_variable, ""), job.limits.unit_tokens
        counter = await stack.enter_async_context(
            Counter(job.spec.base_url, api_key=key, max_tokens=most, door=door)
        )
        call = _filled(call, job, counter.base_url, given, shut_in=door is not None)
        await asyncio.to_thread(_prepare, job, index, given, call)
        running = _in_sandbox(job, call, door, given)
        done = await _unless(counter.hopeless, running)
        patch = await asyncio.to_thread(_diff, job.tree, index)
        return Rollout(
            unit=job.unit,
            instance=job.instance.id,
            attempt=job.attempt,
            agent=job.spec.name,
            model=job.spec.model,
            end=end_of(done, counter, patch),
            detail=_detail(done, counter),
            patch=patch,
            usage=counter.usage,
            steps=counter.usage.requests,
            duration_s=round(time.monotonic() - started, 3),
            extra={
                "exit_code": done.exit_code if done else None,
                "untold": counter.untold,
                "failures": counter.failures,
                "elsewhere": sorted(counter.elsewhere),
            },
        )


async def _unless(event: asyncio.Event, doing: Coroutine[None, None, ExecResult]) -> ExecResult | None:
    """What it comes to; None when the event came first. It has ended by then in any case."""
    running, waiting = asyncio.create_task(doing), asyncio.create_task(event.wait())
    try:
        await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
        return running.result() if running.done() else None
    finally:
        for task in (running, waiting):
            task.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)


def _filled(call: Call, job: Job, base_url: str, given: Path, *, shut_in: bool) -> Call:
    at = SHOWN if shut_in else str(given)
    values = {
        "prompt": job.instance.statement,
        "prompt_file": f"{at}/prompt.md",
        "given": at,
        "home": "/tmp" if shut_in else str(given.parent),
        "workdir": str(job.tree),
        "model": job.spec.model,
        "base_url": base_url,
        "server": base_url.removesuffix("/v1"),
    }
    env = {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": base_url, "OPENAI_API_BASE": base_url, **call.env}
    return msgspec.structs.replace(
        call,
        words=filled(call.words, values),
        env=dict(zip(env, filled(env.values(), values), strict=True)),
        files=dict(zip(call.files, filled(call.files.values(), values), strict=True)),
    )


def _prepare(job: Job, index: Path, given: Path, call: Call) -> None:
    shutil.copytree(job.tree / ".git", index)
    (index / "index").unlink(missing_ok=True)
    with (index / "info" / "exclude").open("a") as exclude:
        exclude.writelines(f"{pattern}\n" for pattern in call.litter)
    for name, text in {**call.files, "prompt.md": job.instance.statement}.items():
        path = given / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", "replace")
    own(job.tree, owner(cast(BackendName, job.backend)))


async def _in_sandbox(job: Job, call: Call, door: Door | None, given: Path) -> ExecResult:
    backend = cast(BackendName, job.backend)
    limits = Limits(timeout_s=job.limits.wall_s(job.instance), memory_bytes=MEMORY)
    where = program(call.words[0])
    spec = SandboxSpec(
        tree=job.tree,
        root=str(job.tree),
        session="eval",
        limits=limits,
        image=job.instance.environment.image or None,
        mounts=(*shown(where), Mount(str(given), SHOWN)) if door else (),
        outlet=door.outlet((job.spec.base_url,)) if door else None,
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

            stdin = job.instance.statement.encode("utf-8", "replace") if call.piped else b""
            words = [str(where), *call.words[1:]]
            return await sandbox.run(words, env=call.env, stdin=stdin, on_output=keep)
    finally:
        await sandbox.aclose()


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


def end_of(done: ExecResult | None, counter: Counter, patch: str) -> End:
    """The end that an exit code means, and what the proxy saw; `done` is None when it was ended for that."""
    failed = end_by(counter.fault) if counter.fault else None
    if done is None or failed in HOPELESS:
        assert failed is not None, "only a fault ends a program"
        return failed
    if done.timed_out or counter.spent:
        return "limit"
    if failed == "provider_error" and not (done.ok and patch):
        return failed
    if not done.ok:
        return "agent_error"
    return "submitted" if patch else "no_change"


def _detail(done: ExecResult | None, counter: Counter) -> str:
    if done is None or counter.hopeless.is_set():
        return str(counter.fault)
    text = readable(done.head + done.tail)
    return f"exit {done.exit_code}: {' '.join(text[-600:].split())[-300:]}"
