"""What every test starts from: a home of its own, no keys of the host, and marks that tell what it needs.

A test marked `docker`, `bubblewrap`, `browser` or `model` is skipped, with the reason, where the thing is
lacking. With CI or PAWL_REQUIRE_ALL set nothing may be missing: there the same test fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from agent.models.catalog import find
from agent.models.weights import present, weights_dir
from agent.paths import cache_dir
from sandbox.overlay import unmount_below
from tests.support.browser import browser_path

REAL_CACHE = cache_dir()
ALONE = ("alone", "model")
TEST_MODELS = ("qwen2.5-coder-1.5b", "smollm2-135m")
REQUIRE_ALL = any(os.environ.get(name, "") not in ("", "0", "false") for name in ("CI", "PAWL_REQUIRE_ALL"))

PRIVATE = ("PAWL_", "XDG_", "OPENAI_", "ANTHROPIC_", "GEMINI_", "OPENROUTER_", "DEEPSEEK_", "HF_", "GIT_")
"""Prefixes of environment variables that would carry the host's settings or keys into a test."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def isolated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A fresh HOME and PAWL_HOME, and none of the host's settings; gives the PAWL_HOME.

    Tests marked `model` find the weights that the person has pulled.
    """
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith(PRIVATE):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PAWL_HOME", str(home / "pawl"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    if request.node.get_closest_marker("model"):
        cache_dir().mkdir(parents=True)
        weights_dir(cache_dir()).symlink_to(weights_dir(REAL_CACHE), target_is_directory=True)
    return home / "pawl"


def _docker_address() -> str:
    return os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


@cache
def _no_docker() -> str:
    """Asked over a plain socket: the docker SDK leaves one open when nothing answers."""
    address = _docker_address()
    if not address.startswith("unix://"):
        return f"tests talk to a docker daemon on a unix socket only, not to {address}"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        try:
            connection.connect(address.removeprefix("unix://"))
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            reply = connection.recv(4096)
        except OSError as error:
            return f"no docker daemon answers at {address}: {error}"
    return "" if b" 200 " in reply else f"the docker daemon at {address} is not well: {reply!r}"


@cache
def _no_bubblewrap() -> str:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return "bubblewrap is not installed"
    probe = [bwrap, "--unshare-all", "--ro-bind", "/", "/", "true"]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=20, check=False)
    return f"bubblewrap cannot make a sandbox here: {done.stderr.strip()}" if done.returncode else ""


@cache
def _no_model() -> str:
    if find_spec("xllamacpp") is None:
        return "xllamacpp is not installed"
    missing = [name for name in TEST_MODELS if not _pulled(name)]
    return f"weights are missing; `pawl models pull {missing[0]}`" if missing else ""


def _pulled(name: str) -> bool:
    weights = find(name).weights
    return weights is not None and present(weights, REAL_CACHE)


def _no_browser() -> str:
    return "" if browser_path() else "no Chromium is installed"


NEEDS: dict[str, Callable[[], str]] = {
    "browser": _no_browser,
    "docker": _no_docker,
    "bubblewrap": _no_bubblewrap,
    "model": _no_model,
}
"""Mark -> a function that says what is missing, or an empty string when all is there."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """With several workers a test marked `model` or `alone` runs while the others wait.

    The room is shared by common tests; whoever wants in waits behind the door, which one that wants the room
    for itself keeps shut until it is empty. Waiting does not count as the test's time.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    alone = any(item.get_closest_marker(mark) for mark in ALONE)
    # what all workers share is above the folder of each
    shared = item.config._tmp_path_factory.getbasetemp().parent  # type: ignore[attr-defined]
    with ExitStack() as held:
        room = held.enter_context((shared / "room").open("w"))
        with (shared / "door").open("w") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark, missing in NEEDS.items():
        if item.get_closest_marker(mark) and (reason := missing()):
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where nothing may be missing, a skip of such a test, for whatever reason, is a failure."""
    report = yield
    needs = [mark for mark in NEEDS if item.get_closest_marker(mark)]
    if REQUIRE_ALL and needs and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"a test that needs {' and '.join(needs)} may not be skipped here. {reason}"
    return report


@pytest.fixture(scope="session", autouse=True)
def no_container_left() -> Iterator[None]:
    """At the end of the run no container that this process made is left."""
    yield
    if not _no_docker.cache_info().currsize or _no_docker():
        return
    import docker
    import requests

    client = docker.APIClient(base_url=_docker_address(), timeout=10)

    def ours() -> set[str]:
        found = client.containers(all=True, filters={"label": "pawl.owner"})
        return {one["Id"] for one in found if one["Labels"]["pawl.owner"].startswith(f"{os.getpid()}:")}

    with contextlib.closing(client):
        for container in ours():  # the daemon may still be at it
            with contextlib.suppress(docker.errors.NotFound, requests.exceptions.ConnectionError):
                client.wait(container, timeout=10, condition="removed")
        assert not ours(), "containers are left behind"


@pytest.fixture(scope="session", autouse=True)
def no_mount_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A test that fails on purpose, or kills pawl, does not come to the end of its workspace."""
    yield
    unmount_below(tmp_path_factory.getbasetemp())
