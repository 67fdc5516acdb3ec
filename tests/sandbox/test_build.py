"""Building an image and choosing one: nothing is fetched or built unasked, a cancelled build ends."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from agent.cli.sandbox_build import build as command
from agent.config import ConfigError
from sandbox.base import SandboxUnavailable
from sandbox.build import BuildFailed, build
from sandbox.choose_image import HOST, PLAIN, Chosen, choose_image
from sandbox.devcontainer import Build
from sandbox.dockerfile import DockerfileError
from sandbox.recipe import Recipe, read_recipe, repository
from tests.sandbox import images
from tests.sandbox.test_images import opened

pytestmark = [pytest.mark.anyio, pytest.mark.docker]

MISSING = "pawl-test-missing:0"


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """An image with a shell and its libraries, and cat."""
    programs = {name: os.path.realpath(name) for name in ("/bin/sh", "/bin/cat", "/bin/sleep")}
    tag = images.make("base", images.dynamic(programs.values()), programs)
    yield tag
    images.clear()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    (folder / ".devcontainer").mkdir(parents=True)
    return folder


def recipe(project: Path, *lines: str, **more: object) -> Recipe:
    (project / "Dockerfile").write_text("\n".join(lines) + "\n")
    return read_recipe(project, Build("Dockerfile", "", **more))  # type: ignore[arg-type]


def devcontainer(project: Path, **fields: object) -> None:
    (project / ".devcontainer" / "devcontainer.json").write_text(json.dumps(fields))


# --- building --------------------------------------------------------------------------------------------


async def test_an_image_is_built_once_for_its_content_and_worked_in(
    project: Path, base: str, tmp_path: Path
) -> None:
    (project / "data.txt").write_text("from the context\n")
    wanted = recipe(
        project,
        "ARG BASE",
        "FROM $BASE AS dev",
        "ARG WORD=none",
        "COPY data.txt /data.txt",
        "RUN echo $WORD > /word.txt; cat /word.txt",
        "FROM dev",
        "RUN this fails",
        args={"BASE": base, "WORD": "from an argument"},
        target="dev",
    )
    said: list[str] = []
    first = await build(wanted, on_output=said.append)
    assert (first.tag, first.built, first.id[:7]) == (wanted.tag, True, "sha256:")
    assert "from an argument\n" in "".join(said)
    again = await build(wanted, on_output=lambda text: pytest.fail(f"built again: {text}"))
    assert again == type(first)(wanted.tag, first.id, False)
    assert (await build(wanted, force=True)).built
    async with opened(tmp_path, wanted.tag) as sandbox:
        done = await sandbox.run("cat /data.txt /word.txt")
        assert done.output == b"from the context\nfrom an argument\n"


async def test_a_build_has_no_network_and_says_so_when_it_fails(project: Path, base: str) -> None:
    said: list[str] = []
    lines = (f"FROM {base}", "RUN cat /proc/net/dev /proc/net/route && exit 3")
    with pytest.raises(BuildFailed, match="3") as caught:
        await build(recipe(project, *lines), on_output=said.append)
    assert "--network" in caught.value.remedy
    devices = [line.split(":")[0].strip() for text in said for line in text.splitlines() if ":" in line]
    assert "lo" in devices
    assert "eth0" not in "".join(said)
    with pytest.raises(BuildFailed) as caught:
        await build(recipe(project, *lines), on_output=said.append, network=True)
    assert caught.value.remedy == ""
    assert "eth0" in "".join(said) or "on network bridge" in str(caught.value)  # a daemon may have no bridge


@pytest.mark.parametrize("line", [f"FROM {MISSING}", "FROM {base}\nCOPY --from=" + MISSING + " /x /y"])
async def test_an_image_that_is_not_here_is_not_fetched(project: Path, base: str, line: str) -> None:
    with pytest.raises(BuildFailed, match=MISSING) as caught:
        await build(recipe(project, line.replace("{base}", base)))
    assert caught.value.remedy == f"docker pull {MISSING}"
    with pytest.raises(BuildFailed, match="no image can be told"):
        await build(recipe(project, "FROM $UNKNOWN"))


async def test_an_address_is_never_fetched_by_the_daemon(project: Path, base: str) -> None:
    """Not even with the network of a build: the daemon would fetch from the host, its loopback included."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/secret"
        for network in (False, True):
            with pytest.raises(DockerfileError, match="ADD"):
                await build(recipe(project, f"FROM {base}", f"ADD {address} /x"), network=network)
        with pytest.raises(BlockingIOError):
            server.accept()


async def test_what_the_daemon_refuses_is_told(project: Path, base: str) -> None:
    with pytest.raises(BuildFailed, match=r"refuses|failed"):
        await build(recipe(project, f"FROM {base}", "NONSENSE"))
    with pytest.raises(BuildFailed, match="target"):
        await build(recipe(project, f"FROM {base}", target="none"))


async def test_a_symlink_in_the_context_shows_nothing_of_the_host(
    project: Path, base: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret of the host")
    (project / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(BuildFailed):
        await build(recipe(project, f"FROM {base}", "COPY link /link", "RUN cat /link"))


async def test_a_cancelled_build_ends(project: Path, base: str) -> None:
    running = asyncio.Event()

    def listen(text: str) -> None:
        if "it runs" in text:
            running.set()

    wanted = recipe(project, f"FROM {base}", "RUN echo it runs; sleep 1000")
    task = asyncio.create_task(build(wanted, on_output=listen))
    await asyncio.wait_for(running.wait(), 30)
    async with asyncio.timeout(10):  # the step is told before its container is there
        while not (found := [line for line in _running() if "it runs; sleep 1000" in line]):
            await asyncio.sleep(0.02)
    container = found[0].split()[0]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    waiting = await asyncio.create_subprocess_exec(
        "docker", "wait", container, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    await asyncio.wait_for(waiting.wait(), 20)
    assert images.docker("images", "-q", wanted.tag) == ""


def _running() -> list[str]:
    return images.docker("ps", "--no-trunc", "--format", "{{.ID}} {{.Command}}").splitlines()


async def test_without_a_daemon_the_remedy_is_said(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(SandboxUnavailable, match="docker") as caught:
        await build(recipe(project, "FROM scratch"))
    assert "docker" in caught.value.remedy


# --- choosing --------------------------------------------------------------------------------------------


async def test_what_the_person_names_comes_first(project: Path) -> None:
    devcontainer(project, image="other")
    for backend in ("docker", "bubblewrap", "local"):
        assert await choose_image(project, backend, "x:1") == Chosen("x:1", "option")  # type: ignore[arg-type]
        assert await choose_image(project, backend, HOST) == Chosen(None, "host")  # type: ignore[arg-type]
    with pytest.raises(SandboxUnavailable, match="not the name"):
        await choose_image(project, "docker", "--privileged")


async def test_without_anything_the_hosts_tools_are_used(project: Path) -> None:
    (project / "Dockerfile").write_text("FROM evil\n")
    assert await choose_image(project, "docker") == Chosen(None, "host")
    assert await choose_image(project, "docker", platform="darwin") == Chosen(PLAIN, "plain")


async def test_a_devcontainers_image_is_used_when_it_is_here(project: Path, base: str) -> None:
    devcontainer(
        project, image=base, remoteUser="vscode", containerEnv={"A": "1", "LD_PRELOAD": "x"}, privileged=True
    )
    chosen = await choose_image(project, "docker")
    assert (chosen.image, chosen.source) == (base, "devcontainer")
    assert chosen.env == {"A": "1", "USER": "vscode", "LOGNAME": "vscode"}
    used, privileged, preload = chosen.notes
    assert f"`--image {HOST}`" in used
    assert "`privileged` is not used" in privileged
    assert "LD_PRELOAD" in preload


async def test_one_that_is_not_here_is_passed_over_with_the_command(project: Path) -> None:
    devcontainer(project, image=MISSING)
    chosen = await choose_image(project, "docker")
    assert (chosen.image, chosen.source) == (None, "host")
    assert len(chosen.notes) == 1
    assert f"`docker pull {MISSING}`" in chosen.notes[0]


async def test_a_build_is_used_once_the_person_has_built_it(project: Path, base: str) -> None:
    devcontainer(project, build={"dockerfile": "Dockerfile"})
    (project / ".devcontainer" / "Dockerfile").write_text(f"FROM {base}\nRUN echo x > /x\n")
    before = await choose_image(project, "docker")
    assert before.image is None
    assert "`pawl sandbox build`" in before.notes[0]
    built = await build(read_recipe(project, Build(".devcontainer/Dockerfile", ".devcontainer")))
    assert (await choose_image(project, "docker")).image == built.tag
    (project / ".devcontainer" / "Dockerfile").write_text(f"FROM {base}\nRUN evil\n")
    assert (await choose_image(project, "docker")).image is None


@pytest.mark.parametrize("backend", ["bubblewrap", "local"])
async def test_where_there_are_no_images_it_is_passed_over_in_one_line(project: Path, backend: str) -> None:
    devcontainer(project, image="x", privileged=True, mounts=["x"])
    chosen = await choose_image(project, backend)  # type: ignore[arg-type]
    assert (chosen.image, chosen.source, len(chosen.notes)) == (None, "host", 1)
    assert "needs docker" in chosen.notes[0]


@pytest.mark.parametrize(
    "text", ["{", '{"image": "-x"}', '{"image": 1}', "[]", '{"build": {"dockerfile": "/etc/x"}}', "{}",
             '{"build": {"dockerfile": "missing"}}', '{"dockerComposeFile": "x"}']
)  # fmt: skip
async def test_a_broken_one_is_passed_over_and_told(project: Path, text: str) -> None:
    (project / ".devcontainer" / "devcontainer.json").write_text(text)
    chosen = await choose_image(project, "docker")
    assert (chosen.image, chosen.source) == (None, "host")
    assert "passed over" in chosen.notes[-1]


# --- the command -----------------------------------------------------------------------------------------


def typed(*words: str) -> tuple[int, str, str, BaseException | None]:
    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.stdout, done.stderr, done.exception


def test_the_command_builds_what_the_devcontainer_describes(project: Path, base: str) -> None:
    devcontainer(project, build={"dockerfile": "../Dockerfile", "context": ".."}, runArgs=["--privileged"])
    (project / "Dockerfile").write_text(f"FROM {base}\nRUN echo hello\nRUN printf '\\033]0;evil\\007'\n")
    code, out, err, _ = typed("-C", str(project), "--json")
    answer = json.loads(out)
    assert (code, answer["built"], answer["id"][:7]) == (0, True, "sha256:")
    assert answer["image"].startswith(repository(project))
    assert len(answer["notes"]) == 1
    assert "`runArgs` is not used" in err
    assert "hello\n" in err
    assert "\x1b" not in err
    code, out, err, _ = typed("-C", str(project))
    assert (code, out) == (0, f"unchanged  {answer['image']}\n")
    assert typed("-C", str(project), "--force")[1].startswith("built  ")


def test_the_command_builds_a_dockerfile_and_says_how_to_use_it(project: Path, base: str) -> None:
    (project / "Dockerfile").write_text(f"FROM {base}\n")
    tag = read_recipe(project, Build("Dockerfile", "")).tag
    for name in ("Dockerfile", str(project / "Dockerfile")):
        code, out, _, _ = typed("-C", str(project), "--dockerfile", name)
        assert code == 0
        assert f"--image {tag}" in out


@pytest.mark.parametrize(
    ("fields", "words", "message"),
    [
        (None, [], "no devcontainer.json"),
        ({"image": "x:1"}, [], "docker pull x:1"),
        ({}, [], "names no image"),
        ({"build": {"dockerfile": "none"}}, [], "none"),
        (None, ["--dockerfile", "../x"], "path in the project"),
        (None, ["--dockerfile", "/etc/passwd"], "path in the project"),
        (None, ["--dockerfile", "none"], "none"),
        (None, ["-C", "/no/such/folder"], "directory"),
    ],
)
def test_what_cannot_be_built_is_a_usage_error(
    project: Path, fields: dict[str, object] | None, words: list[str], message: str
) -> None:
    if fields is not None:
        devcontainer(project, **fields)
    *_, error = typed("-C", str(project), *words)
    assert isinstance(error, ConfigError)
    assert message in str(error)
