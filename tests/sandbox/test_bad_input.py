"""Machines on which no sandbox, or not everything, works: the real condition where it can be made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import remedy
from sandbox.base import SandboxSpec, SandboxUnavailable
from sandbox.facts import cgroup_version, host_facts, network_mount, user_namespaces
from sandbox.open import open_sandbox, owner
from tests.support.pawl import PAWL

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make this condition")
NOBODY = 65534


def as_told(*command: str, cwd: Path, **env: str) -> tuple[int, str]:
    """Run a command; its exit code and what it said on stderr."""
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stderr


# --- docker ------------------------------------------------------------------------------------------------

ASK = """
import asyncio, concurrent.futures.thread, os, sys
from sandbox.base import SandboxUnavailable
from sandbox.open import choose, load
load("docker")  # before the folder of this Python is out of reach
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try: asyncio.run(choose("docker"))
except SandboxUnavailable as error: print(error, "|", error.remedy, file=sys.stderr); sys.exit(1)
"""


@ROOT_ONLY
def test_a_daemon_without_permission(tmp_path: Path) -> None:
    """An ordinary user, and a socket that is there, answers, and is root's alone."""
    from socket import AF_UNIX, socket

    reachable = Path(f"/tmp/pawl-test-{os.getpid()}.sock")
    with socket(AF_UNIX) as daemon:
        daemon.bind(str(reachable))
        try:
            daemon.listen()
            reachable.chmod(0o600)
            code, said = as_told(sys.executable, "-c", ASK, cwd=tmp_path, DOCKER_HOST=f"unix://{reachable}")
        finally:
            reachable.unlink()
    assert code == 1
    assert "no permission to use the docker daemon" in said
    assert said.strip().endswith(remedy.for_docker("no permission"))


@pytest.mark.anyio
@pytest.mark.docker
async def test_a_runtime_that_the_daemon_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable, match="runtime no-such-runtime") as caught:
        await opened_with_runtime("docker", "no-such-runtime", tmp_path)
    assert "add `no-such-runtime` to the runtimes" in caught.value.remedy
    assert "gVisor" in remedy.for_runtime("runsc")
    sandbox = await opened_with_runtime("docker", "runc", tmp_path)
    try:
        assert (await sandbox.run("echo on")).output == b"on\n"
    finally:
        await sandbox.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("backend", [pytest.param("bubblewrap", marks=pytest.mark.bubblewrap), "local"])
async def test_a_runtime_is_never_passed_over(backend: str, tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable, match="a runtime needs docker"):
        await opened_with_runtime(backend, "runsc", tmp_path)


async def opened_with_runtime(backend: str, runtime: str, folder: Path):  # type: ignore[no-untyped-def]
    tree = folder / "tree"
    tree.mkdir(exist_ok=True)
    os.chown(tree, *owner(backend))  # type: ignore[arg-type]
    spec = SandboxSpec(tree=tree, root=str(tree), session="test", runtime=runtime)
    return await open_sandbox(spec, backend, state=folder / "state", project=folder)  # type: ignore[arg-type]


# --- bubblewrap --------------------------------------------------------------------------------------------


@pytest.mark.bubblewrap
@ROOT_ONLY
@pytest.mark.parametrize("words", [("doctor", "bubblewrap"), ("sandbox", "info", "--sandbox", "bubblewrap")])
def test_user_namespaces_that_are_off(words: tuple[str, ...], tmp_path: Path) -> None:
    """In a user namespace whose own limit is 0, as `sysctl user.max_user_namespaces=0` makes it for all."""
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    inside = ("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
    done = subprocess.run([*inside, PAWL, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done
    assert "bwrap does not work" in done.stdout + done.stderr
    assert "sudo sysctl -w user.max_user_namespaces=15000" in done.stdout + done.stderr


LANDLOCKED = """
import ctypes, os, struct, sys
call, write_file = ctypes.CDLL(None, use_errno=True).syscall, 1 << 1
rules = call(444, struct.pack("Q", write_file), 8, 0)
for name in os.listdir("/"):
    if name != "proc" and os.path.isdir("/" + name):
        folder = os.open("/" + name, os.O_PATH)
        if call(445, rules, 1, struct.pack("=Qi", write_file, folder), 0): sys.exit("no rule")
if ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) or call(446, rules, 0): sys.exit("no Landlock")
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Lets a program write anywhere but in /proc: https://docs.kernel.org/userspace-api/landlock.html"""


@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    "words", [("doctor", "bubblewrap"), ("sandbox", "info", "--check", "--sandbox", "bubblewrap")]
)
def test_a_security_module_that_refuses_bubblewrap_its_user_namespace(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    """The kernel refuses the real bwrap with the error that AppArmor's restriction gives, by Landlock."""
    inside = (sys.executable, "-c", LANDLOCKED, PAWL, *words)
    done = subprocess.run(inside, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done
    said = done.stdout + done.stderr
    assert "bwrap does not work: bwrap: setting up uid map: Permission denied" in said
    assert remedy.for_bubblewrap("uid map: Permission denied") in said
    assert "Traceback" not in said


DENIED = "bwrap: Creating new namespace failed: Permission denied"
STRIPPED = "bwrap: setting up uid map: Permission denied"
CONFINED = (
    "bwrap: No permissions to create a new namespace, likely because the kernel does not allow non-privileged"
)
"""What bwrap 0.12 said on Debian 13 (Linux 6.12, AppArmor 4.1) in a virtual machine, as a user: under a
profile for /usr/bin/bwrap with `deny userns`; started by `aa-exec -p unprivileged_userns`, which denies every
capability and else only complains; and so with that profile of the system enforced."""


@pytest.mark.parametrize(
    ("name", "value", "reason", "remedies", "said"),
    [
        (
            "sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            STRIPPED,
            (
                "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
                "{ userns, }' | sudo tee /etc/apparmor",
            ),
            "restricted by AppArmor",
        ),
        ("sys/kernel/unprivileged_userns_clone", "0", CONFINED, ("unprivileged_userns_clone=1",), "off"),
        ("sys/user/max_user_namespaces", "0", CONFINED, ("max_user_namespaces=15000",), "off"),
        ("self/attr/apparmor/current", "unconfined", DENIED, ("names the profile", "`userns`"), "on"),
        (
            "self/attr/apparmor/current",
            "code (unconfined)",
            STRIPPED,
            ("names the profile", "`userns`"),
            "on",
        ),
        (
            "self/attr/apparmor/current",
            "docker-default (enforce)",
            CONFINED,
            ("profile `docker-default`",),
            "on",
        ),
        ("sys/kernel/nothing", "1", STRIPPED, ("AppArmor, refuses bwrap",), "on"),
        ("sys/kernel/nothing", "1", CONFINED, ("allow user namespaces to this user",), "on"),
    ],
)
def test_what_refuses_bubblewrap_has_its_remedy(
    name: str, value: str, reason: str, remedies: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    """The setting of AppArmor is of Ubuntu's kernels alone, so it is a file made by hand."""
    proc = tmp_path / "proc"
    for file, text in (("sys/user/max_user_namespaces", "15000"), (name, value)):
        (proc / file).parent.mkdir(parents=True, exist_ok=True)
        (proc / file).write_text(f"{text}\n")
    told = remedy.for_bubblewrap(f"bwrap does not work: {reason}", proc)
    assert [each for each in remedies if each not in told] == []
    assert user_namespaces(tmp_path).startswith(said)


# --- the machine -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "version"),
    [
        (["cgroup.controllers"], "v2"),
        (["memory/tasks", "pids/tasks"], "v1"),
        (["memory/tasks", "unified/cgroup.controllers"], "v1 and v2"),
        ([], "none"),
    ],
)
def test_the_version_of_cgroups_is_told(files: list[str], version: str, tmp_path: Path) -> None:
    for name in files:
        file = tmp_path / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert cgroup_version(tmp_path) == version
    assert host_facts()["cgroups"] in ("v1", "v2", "v1 and v2", "none")


@ROOT_ONLY
@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    "words", [("sandbox", "shell", "--", "true"), ("fix", "--model", "openai/none", "--", "true")]
)
def test_a_home_that_is_read_only(words: tuple[str, ...], tmp_path: Path, isolated: Path) -> None:
    """Mounted so, in a mount namespace of its own: root cannot write in it either."""
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    script = 'mount --bind -o ro "$0" "$0" && exec "$@"'
    inside = ("unshare", "--mount", "sh", "-c", script, str(home))
    pawl = (PAWL, *words[:2], "--sandbox", "bubblewrap", *words[2:])
    if words[0] == "fix":
        pawl = (PAWL, "fix", "--sandbox", "bubblewrap", *words[1:])
    code, said = as_told(
        *inside, *pawl, cwd=project, PAWL_HOME=str(home / "pawl"), OPENAI_API_KEY="none-at-all"
    )
    assert code == 1
    assert "Read-only file system" in said
    assert "set PAWL_HOME" in said
    assert "Traceback" not in said


@ROOT_ONLY
@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    ("words", "code"), [(("info", "--check", "--sandbox", "bubblewrap"), 0), (("prune", "--yes"), 1)]
)
def test_what_needs_no_home_works_with_one_that_is_read_only(
    words: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    place = tmp_path / "pawl/state/workspaces/crashed"
    (place / "base").mkdir(parents=True)
    (place / "lock").touch()
    script = 'mount --bind -o ro "$0" "$0" && exec "$@"'
    inside = ("unshare", "--mount", "sh", "-c", script, str(tmp_path))
    done = subprocess.run(
        [*inside, PAWL, "sandbox", *words],
        env={**os.environ, "PAWL_HOME": str(tmp_path / "pawl"), "DOCKER_HOST": f"unix://{tmp_path}/none"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    if code:
        assert "not removed" in done.stdout
        assert "cannot be changed" in done.stdout
    assert (place / "base").exists()


MOUNTS = """\
21 1 254:0 / / rw shared:1 - ext4 /dev/vda rw
30 21 0:40 / /home rw - nfs4 server:/home rw
31 30 0:41 / /home/a/local rw - xfs /dev/vdb rw
32 21 0:42 / /mnt/with\\040blank rw shared:2 - fuse.sshfs host:/x rw
33 21 0:43 / /mnt/hidden rw - cifs //server/share rw
34 33 0:44 / /mnt/hidden rw - tmpfs tmpfs rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/a", "nfs4"),
        ("/home/a/local/x", None),
        ("/homes", None),
        ("/mnt/with blank/x", "fuse.sshfs"),
        ("/mnt/hidden", None),
        ("/", None),
    ],
)
def test_a_network_mount_is_told_from_a_local_one(path: str, kind: str | None) -> None:
    assert network_mount(Path(path), MOUNTS) == kind
    assert network_mount(Path("/proc")) is None


@ROOT_ONLY
@pytest.mark.bubblewrap
@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="needs /dev/fuse")
@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        ("sshfs", 0, "is on a network mount (fuse.sshfs): copying it is slow"),
        ("bindfs", 0, ""),
        ("gone:sshfs", 1, "cannot be read: Transport endpoint is not connected\n      mount it again"),
    ],
)
def test_a_workspace_on_a_network_mount(kind: str, code: int, said: str, tmp_path: Path) -> None:
    """A real mount, of a file system that goes by the name of one that reaches over the network."""
    folder = tmp_path / "remote"
    folder.mkdir()
    mounted = ("unshare", "--mount", sys.executable, "-m", "tests.support.fuse", str(folder), kind)
    shell = (
        PAWL,
        "sandbox",
        "shell",
        "--sandbox",
        "bubblewrap",
        "-C",
        str(folder),
        "--",
        "grep",
        "x",
        "a.py",
    )
    ended, told = as_told(*mounted, *shell, cwd=Path(__file__).parents[2])
    assert ended == code, told
    assert said in told
    assert ("network mount (" in told) == (kind == "sshfs")
    assert "Traceback" not in told


@ROOT_ONLY
@pytest.mark.bubblewrap
@pytest.mark.parametrize("full", [False, True], ids=["small", "full"])
@pytest.mark.parametrize(
    "words",
    [
        ("sandbox", "shell", "--sandbox", "bubblewrap"),
        ("fix", "--sandbox", "bubblewrap", "-m", "openai/none"),
    ],
    ids=["shell", "fix"],
)
def test_a_disk_that_is_full(words: tuple[str, ...], full: bool, tmp_path: Path) -> None:
    """A file system of 4 MB for pawl's own folder, with nothing left on it or with too little for a copy."""
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    (project / "a.py").write_text("1\n")
    fill = 'head -c 5M /dev/zero > "$0/fill" 2>/dev/null;' if full else ""
    script = f'mount -t tmpfs -o size=4m none "$0" && {{ {fill} exec "$@"; }}'
    inside = ("unshare", "--mount", "sh", "-c", script, str(home))
    env = {"PAWL_HOME": str(home / "pawl"), "OPENAI_API_KEY": "none-at-all"}
    code, said = as_told(*inside, PAWL, *words, "--", "true", cwd=project, **env)
    assert code == 1
    assert "set PAWL_HOME to" in said
    assert ("No space left on device" if full else " GB are free at ") in said
    assert "Traceback" not in said
