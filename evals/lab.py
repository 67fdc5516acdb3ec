"""The place where one result is graded: a fresh tree from the base, a sandbox, and the patch put in.

    async with open_lab(instance, cache, backend) as lab:
        await lab.apply(patch)          False when it does not apply in any way
        lab.diff()                      what it did to the tree, as git on the host sees it
        await lab.settle(verdict)       take away, put back, add the hidden tests
        await lab.sandbox.run(...)

Nothing of the workspace has run when `diff` is made. Host git keeps a directory of its own outside of the
tree and never reads the one inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec

from evals import environment, interpreters
from evals.editable import pth
from evals.gitrun import git
from evals.image import built
from evals.place import lay_out, own, scratch
from evals.types import Instance, Script, Tests
from sandbox.base import BackendName, Limits, Mount, Sandbox, SandboxError, SandboxSpec
from sandbox.open import open_sandbox, owner
from sandbox.tree import remove_path
from tools.output import readable

PLUGIN_SOURCE = str(Path(__file__).resolve().parent / "probes")
PLUGIN_TARGET = "/pawl/grade"
LOGS = "/tmp/pawl-verifier"
MEMORY = 4 * 1024**3

_CHAIN = r"""
cat > /tmp/patch.diff
back() { git reset -q --hard HEAD && git clean -fdq; }
for way in "git apply --verbose" "git apply --verbose --3way" "git apply --verbose --reject" \
           "patch --batch --forward --fuzz=5 -p1 -i"; do
    if $way /tmp/patch.diff; then echo ">>>>> Applied Patch"; git reset -q; exit 0; fi
    back
done
echo ">>>>> Patch Apply Failed"
exit 1
"""
"""As SWE-bench's harness does it, one way after the other, from a clean tree each time."""
_SETTLE = r"""
set -e
printf '%s\n' "$1" | tr '\001' '\n' | while IFS= read -r path; do [ -z "$path" ] || rm -rf -- "$path"; done
printf '%s\n' "$2" | tr '\001' '\n' | while IFS= read -r path; do
    [ -z "$path" ] || { rm -rf -- "$path"; git checkout -q HEAD -- "$path" 2>/dev/null || true; }
done
"""
_PLAIN = "* -text -eol -filter -ident -working-tree-encoding diff\n"
"""Attributes of the tree's own would hide a change from `diff`, as binary or in another encoding."""
_GIT_ENV = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}


class TestPatchFailed(SandboxError):
    """The dataset's own tests do not apply to its base: the task is broken."""

    __test__ = False


class Lab:
    """See the module. `root` is the tree's path inside."""

    def __init__(
        self,
        instance: Instance,
        place: Path,
        sandbox: Sandbox,
        made: environment.Made | None,
        hands: Sandbox | None = None,
    ) -> None:
        self.instance = instance
        self.sandbox = sandbox
        self._hands = hands or sandbox
        """Where git is: a task's image need not have it."""
        self.made = made
        self.tree = place / "tree"
        self._git = ("--git-dir", str(place / "git"), "--work-tree", str(self.tree))
        self._base = ""

    def freeze(self) -> None:
        """Remember what the tree is now. Blocking."""
        self._base = self._snapshot()

    def _snapshot(self) -> str:
        git(*self._git, "add", "--all", "--force", at=self.tree)
        return git(*self._git, "write-tree", at=self.tree).decode().strip()

    async def apply(self, patch: bytes) -> bool:
        """Put the patch in by the first way that works; an empty one is in. Raises SandboxError."""
        if not patch.strip():
            return True
        done = await self._hands.run(("sh", "-c", _CHAIN), env=_GIT_ENV, stdin=patch, timeout_s=120)
        return done.ok

    def diff(self) -> str:
        """What the tree differs in from `freeze`, as a git patch without renames. Blocking."""
        after = self._snapshot()
        text = git(
            *self._git, "diff", "--text", "--no-renames", "--no-color", self._base, after, at=self.tree
        )
        return text.decode("utf-8", "surrogateescape")

    def content(self, path: str, *, base: bool) -> bytes | None:
        """A file's content as it was at `freeze`, or as it was at the last `diff`. Blocking."""
        name = f"{self._base}:{path}" if base else f":{path}"
        if not path:
            return None
        found = git(*self._git, "rev-parse", "--verify", "--quiet", name, at=self.tree, ok=(0, 1, 128))
        if not found.strip():
            return None
        try:
            return git(*self._git, "cat-file", "blob", found.decode().strip(), at=self.tree)
        except SandboxError:
            return None

    async def settle(self, remove: Sequence[str], restore: Sequence[str]) -> None:
        """Take files away, put others back as in the base, and lay the hidden tests over it.

        Raises TestPatchFailed.
        """
        tests = self.instance.grading
        if not isinstance(tests, Tests):
            return
        lists = ["\x01".join(names) for names in (remove, restore)]
        await self._must(("sh", "-c", _SETTLE, "sh", *lists), "the tree cannot be put in order")
        if tests.test_patch:
            data = tests.test_patch.encode("utf-8", "surrogateescape")
            await self._must(("git", "apply", "--whitespace=nowarn", "-"), "the tests do not apply", data)
        for path, data in hidden_files(tests).items():
            await self._must(("rm", "-rf", "--", path), "a hidden file's place cannot be cleared")
            await self._hands.write(path, data)

    async def _must(self, command: tuple[str, ...], what: str, stdin: bytes = b"") -> None:
        done = await self._hands.run(command, env=_GIT_ENV, stdin=stdin, timeout_s=120)
        if not done.ok:
            raise TestPatchFailed(f"{what}: {readable(done.output).strip()[-500:]}")


def hidden_files(tests: Tests) -> dict[str, bytes]:
    """What is laid over the tree for grading, by path. Blocking."""
    found = dict(tests.overlay)
    folder = Path(tests.hidden) if tests.hidden else None
    for source in sorted(folder.rglob("*")) if folder else ():
        if source.is_file() and "__pycache__" not in source.parts:
            found[source.relative_to(folder).as_posix()] = source.read_bytes()  # type: ignore[arg-type]
    return found


@contextlib.asynccontextmanager
async def open_lab(
    instance: Instance,
    cache: Path,
    backend: BackendName,
    *,
    timeout_s: float | None = None,
    mounts: tuple[Mount, ...] = (),
) -> AsyncIterator[Lab]:
    """A fresh place, gone with everything in it at the end. Raises SandboxError."""
    instance = await built(instance, backend)
    made = await environment.obtain(instance, cache, backend)
    place = scratch(cache, "grade")
    try:
        spec = await asyncio.to_thread(_prepare, instance, place, cache, backend, made, timeout_s)
        spec = msgspec.structs.replace(spec, mounts=(*spec.mounts, *mounts))
        python = await asyncio.to_thread(interpreters.find, instance.environment.python)
        where = functools.partial(
            open_sandbox, backend=backend, state=cache / "sandboxes", project=place / "nothing"
        )
        async with contextlib.AsyncExitStack() as stack:
            sandbox = await where(spec, environ=python.environ if made else None)
            stack.push_async_callback(sandbox.aclose)
            hands = None
            if spec.image:
                hands = await where(msgspec.structs.replace(spec, image=None, mounts=(), env={}))
                stack.push_async_callback(hands.aclose)
            lab = Lab(instance, place, sandbox, made, hands)
            await asyncio.to_thread(lab.freeze)
            yield lab
    finally:
        await asyncio.to_thread(remove_path, place)


def _prepare(
    instance: Instance,
    place: Path,
    cache: Path,
    backend: BackendName,
    made: environment.Made | None,
    timeout_s: float | None,
) -> SandboxSpec:
    tree = place / "tree"
    lay_out(instance, tree, cache)
    shutil.copytree(tree / ".git", place / "git")
    if next(tree.rglob(".gitattributes"), None):
        (place / "git" / "index").unlink()  # made by the tree's own attributes, which do not count here
    (place / "git" / "info" / "exclude").unlink(missing_ok=True)
    (place / "git" / "info" / "attributes").write_text(_PLAIN)
    if made is not None:
        environment.add_generated(made, tree)
        environment.make_room(made, tree)
    own(tree, owner(backend))
    mounts = [Mount(PLUGIN_SOURCE, PLUGIN_TARGET)]
    env = {"TZ": "UTC", "PYTHONHASHSEED": "0", "PYTHONNOUSERSITE": "1"}
    prefix = None
    if made is None:
        env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # the host's plugins are no part of the task
    else:
        names = place / "tree.pth"
        names.write_text(pth(made.paths, tree, environment.TREE))
        mounts += environment.mounts(made, names)
        env |= made.variables
        prefix = environment.ENV
    if isinstance(instance.grading, Script):
        mounts += _script_mounts(instance.grading, place)
        env |= instance.grading.env
    return SandboxSpec(
        tree=tree,
        root=str(instance.extra.get("workdir") or environment.TREE),
        session="eval",
        limits=Limits(timeout_s=timeout_s or instance.timeout_s, memory_bytes=MEMORY),
        image=instance.environment.image or None,
        mounts=tuple(mounts),
        env=env,
        prefix=prefix,
    )


def _script_mounts(script: Script, place: Path) -> list[Mount]:
    """/tests, and /logs whose one entry leads to where the script may write."""
    logs = place / "logs"
    logs.mkdir()
    (logs / "verifier").symlink_to(LOGS)
    return [Mount(script.folder, "/tests"), Mount(str(logs), "/logs")]
