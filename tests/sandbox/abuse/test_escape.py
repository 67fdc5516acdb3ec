"""Ways out of a sandbox: cases 38 to 51, by paths, the agent and the host's files.

The kernel's doors are in `test_escape_kernel`, what pawl itself does on the host in `test_escape_host`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox import launch
from sandbox.backends import bubblewrap, docker
from sandbox.base import FileError, PathEscape
from sandbox.open import known_backends
from tests.sandbox.abuse.cases import agent, both, case, host
from tests.sandbox.places import Place, attempt, opened

pytestmark = pytest.mark.anyio

EVERY = known_backends()

# --- paths -----------------------------------------------------------------------------------------------

FOLLOWED = both(
    agent("files", "_PATH_ONLY = os.O_PATH | os.O_NOFOLLOW", "_PATH_ONLY = os.O_PATH"),
    agent("files", "dir_fd=folder, follow_symlinks=False)", "dir_fd=folder, follow_symlinks=True)"),
    agent("files", "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK", "os.O_RDONLY | os.O_NONBLOCK"),
)
"""The agent looks at a path as the kernel does."""


async def leads_nowhere(place: Place, path: str) -> None:
    """By whatever operation."""
    sandbox = place.sandbox
    for operation in (
        lambda: sandbox.read(path),
        lambda: sandbox.write(path, b"overwritten"),
        lambda: sandbox.write(path, b"overwritten", expect_hash=""),
        lambda: sandbox.list(path),
        lambda: sandbox.search("root", path),
        lambda: sandbox.run("true", cwd=path),
        lambda: sandbox.start("true", cwd=path),
    ):
        with pytest.raises(PathEscape):
            await operation()


@case(38, on=EVERY, mutation=FOLLOWED)
async def test_case_38_a_symlink_to_a_folder_of_the_system_leads_nowhere(place: Place) -> None:
    place.put("p/a")
    for name, target in (
        ("etc", "/etc"),
        ("p/etc", "../etc"),
        ("climbing", "../" * 20 + "etc"),
        ("chain", "p/../etc"),
        ("passwd", "/etc/passwd"),
        ("top", "/"),
    ):
        place.link(name, target)
    for path in ("etc/passwd", "etc", "p/etc/passwd", "climbing/passwd", "chain/passwd", "passwd", "top/etc"):
        await leads_nowhere(place, path)
    assert await place.sandbox.search("root:", ".") == []
    assert "etc/passwd" not in [each.path for each in await place.sandbox.list(".", depth=-1)]


@case(
    39,
    on=EVERY,
    mutation=agent(
        "files", "                    if len(opened) == 1:\n", "                    if not opened:\n"
    ),
)
async def test_case_39_nothing_is_written_outside(place: Place) -> None:
    """Through a symlink, by `..` and by an absolute path; beside the tree lies what must stay as it is."""
    outside = place.tree.parent / "outside"
    outside.mkdir(exist_ok=True)
    outside.chmod(0o777)
    (outside / "x").write_text("secret")
    place.put("p/a")
    place.link("out-file", f"{outside}/x")
    place.link("out-folder", str(outside))
    place.link("out-relative", "../" * 20 + str(outside)[1:])
    for path in (
        *("..", "../x", "p/../../x", "../outside/x", f"{outside}/x", "/x", "/", "/tmp/x"),
        *("out-file", "out-folder/x", "out-folder/new", "out-relative/x", f"{place.sandbox.root}/../x"),
    ):
        await leads_nowhere(place, path)
    assert (outside / "x").read_text() == "secret"
    assert [each.name for each in outside.iterdir()] == ["x"]


@case(40, on=EVERY, mutation=FOLLOWED)
async def test_case_40_a_link_that_is_swapped_10000_times_leads_nowhere(place: Place) -> None:
    """Between the agent's look and its opening; `test_escape_host` has the same for the host's own reads."""
    place.put("swap/good/x", b"good")
    program = (
        "import os\n"
        "os.chdir('swap'); os.symlink('/etc', 'bad')\n"
        "swaps = 0\n"
        "while swaps < 10000 or not os.path.exists('stop'):\n"
        "    os.rename('good', 'was'); os.rename('bad', 'good')\n"
        "    os.rename('good', 'bad'); os.rename('was', 'good')\n"
        "    swaps += 1\n"
        "print(swaps)"
    )
    swapper = asyncio.create_task(place.sandbox.run(["python3", "-c", program]))
    seen = set()
    while not swapper.done():
        for path in ["swap/good/passwd", "swap/good/x"] * 300:
            try:
                seen.add((await place.sandbox.read(path)).data)
            except FileError:
                seen.add(b"refused")
        place.put("swap/stop")
    assert int((await swapper).output) >= 10_000
    assert seen == {b"good", b"refused"}
    shutil.rmtree(place.tree / "swap")


@case(48, on=EVERY, mutation=FOLLOWED)
async def test_case_48_no_command_starts_in_a_folder_by_its_descriptor(place: Place) -> None:
    """As `docker run -w /proc/self/fd/N`, which once gave the host's root away."""
    place.link("self", "/proc/self")
    place.link("one", "/proc/1")
    for path in (
        *(f"/proc/self/fd/{number}" for number in range(10)),
        *(f"self/fd/{number}" for number in range(10)),
        *("one/root", "one/cwd", "self/root", "/proc/1/root", "/dev/fd/3"),
    ):
        with pytest.raises(PathEscape):
            await place.sandbox.run("ls -la", cwd=path)
    program = (
        "import os\n"
        "for n in range(3, 256):\n"
        "    try: print(n, os.readlink(f'/proc/self/fd/{n}'))\n"
        "    except OSError: pass"
    )
    assert await attempt(place, program) == "", "a command inherits nothing"


# --- the agent -------------------------------------------------------------------------------------------


@case(
    43,
    mutation=agent(
        "main",
        "processes.prctl(processes.PR_SET_DUMPABLE, 0)",
        "processes.prctl(processes.PR_SET_DUMPABLE, 1)",
    ),
)
async def test_case_43_the_agents_descriptors_and_memory_are_out_of_reach(place: Place) -> None:
    """So that no answer can be forged through /proc; case 27 tries it, this one looks at each way."""
    program = (
        "import glob, os\n"
        "ways = [(path, os.O_RDWR) for path in [*glob.glob('/proc/1/fd/*'), '/proc/1/fd/3', '/proc/1/mem']]\n"
        "for path, flags in [*ways, ('/proc/1/environ', os.O_RDONLY)]:\n"
        "    try: os.open(path, flags); print('OPENED', path)\n"
        "    except OSError: pass\n"
        "print('fds', sorted(os.listdir('/proc/self/fd')))\n"
    )
    assert await attempt(place, program) == "fds ['0', '1', '2', '3']"


# --- the host --------------------------------------------------------------------------------------------


def shown(
    spec: Any, toolchain: Any, made_up: Any, view: Callable[..., list[str]] = bubblewrap._view
) -> list[str]:
    words, home = view(spec, toolchain, made_up), str(spec.tree.parent)
    after = words.index("/var/tmp") + 1  # the tests' home is in /tmp
    return [*words[:after], "--ro-bind", "/run", "/run", "--ro-bind", home, home, *words[after:]]


SHOWN = host(bubblewrap, "_view", shown)
"""With what runs on the host, and the home folder."""


@case(47, mutation=SHOWN)
async def test_case_47_sockets_kernel_memory_and_sysrq_are_absent(place: Place) -> None:
    """That is: the docker socket and all of /run, and what /proc and /dev have of the host."""
    done = await place.sandbox.run("ls -A /run /var/run 2>/dev/null; true")
    assert done.output.replace(b"/run:\n", b"").strip() == b""
    program = (
        "import os\n"
        "for path in ('/proc/kcore', '/dev/mem', '/dev/kmsg', '/dev/sda', '/dev/vda', '/dev/kvm'):\n"
        "    try: data = os.read(os.open(path, os.O_RDONLY), 100)\n"
        "    except OSError: continue\n"
        "    if data: print('READ', path)\n"
        "for path in ('/proc/sysrq-trigger', '/proc/sys/kernel/core_pattern', '/proc/sys/kernel/modprobe',\n"
        "             '/proc/sys/vm/drop_caches', '/sys/kernel/uevent_helper'):\n"
        "    try: os.open(path, os.O_WRONLY); print('OPENED', path)\n"
        "    except OSError: pass\n"
    )
    assert await attempt(place, program) == ""


@case(49, mutation=host(docker, "_security", lambda real=docker._security: real()[1:], on="docker"))
async def test_case_49_a_setuid_program_gains_nothing(place: Place) -> None:
    """One of root's lies in the tree, where the tests may make it."""
    program = shutil.copy("/usr/bin/id", place.tree / "id")
    if os.geteuid() == 0:
        os.chown(program, 0, 0)
        Path(program).chmod(0o6755)
    done = await place.sandbox.run(
        "./id -u; ./id -ru; grep NoNewPrivs /proc/self/status; grep Cap /proc/self/status"
    )
    Path(program).unlink()
    effective, real, gains, *capabilities = done.output.decode().splitlines()
    assert effective == real != "0"
    assert gains.split() == ["NoNewPrivs:", "1"]
    assert {line.split()[1] for line in capabilities if not line.startswith("CapBnd")} == {"0" * 16}


def leaky(command: Any, spec: Any, caps: Any, *, environ: Any, **more: Any) -> Any:
    return launch.launch(
        [word for word in command if word != "--clearenv"], spec, caps, environ=os.environ, **more
    )


@case(50, on=EVERY, mutation=host(bubblewrap, "launch", leaky))
async def test_case_50_no_variable_of_the_host_is_there(place: Place) -> None:
    """In a sandbox of its own, which is opened while the canary is in pawl's environment."""
    folder = place.tree.parent / "canary"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANARY_TOKEN", "tweet")
        environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "CANARY_TOKEN": "tweet"}
        async with opened(place.backend, folder, environ=environ) as own:
            output = (await own.sandbox.run("env; tr '\\0' '\\n' < /proc/1/environ")).output
    assert b"tweet" not in output
    assert b"CANARY" not in output
    for line in (
        b"CI=1\n",
        b"PAGER=cat\n",
        b"GIT_TERMINAL_PROMPT=0\n",
        b"PIP_NO_INPUT=1\n",
        b"LANG=C.UTF-8\n",
    ):
        assert line in output


@case(51, mutation=SHOWN)
async def test_case_51_keys_and_tokens_of_the_host_are_not_there(place: Place) -> None:
    """Neither in the home folder that the sandbox was opened with nor in the usual places."""
    home = place.tree.parent
    for name in (".ssh/id_ed25519", ".aws/credentials", ".config/gcloud/x.json", ".kube/config", ".netrc"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("tweet")
    tried = await place.sandbox.run(f"cd {home} && cat .ssh/* .aws/* .config/gcloud/* .kube/* .netrc; true")
    assert b"tweet" not in tried.output
    names = "/etc/shadow /etc/ssh /etc/ssl/private /etc/sudoers ~/.ssh ~root/.ssh ~root/.profile /home"
    done = await place.sandbox.run(f"for n in {names}; do ls -d $n/* $n 2>/dev/null; done; true")
    assert done.output == b""
    listed = (await place.sandbox.run("ls /etc; cat /etc/passwd")).output.decode()
    assert "pawl:" in listed
    assert "shadow" not in listed
