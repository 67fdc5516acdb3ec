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
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import pytest

from agent.models.catalog import find
from agent.models.weights import present, weights_dir
from agent.paths import cache_dir
from sandbox.overlay import unmount_below
from tests.support import bare_python
from tests.support.browser import browser_path

REAL_CACHE = cache_dir()
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
"""gw0, gw1, ...; None where all tests run in one process."""
ROOM = pytest.StashKey[IO[str] | None]()
"""The room that the test before has kept for this one."""
TEST_MODELS = ("qwen2.5-coder-1.5b", "smollm2-135m")
REQUIRE_ALL = any(os.environ.get(name, "") not in ("", "0", "false") for name in ("CI", "PAWL_REQUIRE_ALL"))

PRIVATE = (
    "PAWL_",
    "XDG_",
    "OPENAI_",
    "ANTHROPIC_",
    "GEMINI_",
    "OPENROUTER_",
    "DEEPSEEK_",
    "HF_",
    "GIT_",
    "PYTHON",
)
"""Prefixes of environment variables that would carry the host's settings or keys into a test."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def bare_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """None of the host's settings, and as the Python of the tests' projects one with pytest alone."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(PRIVATE):
                patch.delenv(name)
        patch.setenv("VIRTUAL_ENV", str(bare_python.make(tmp_path_factory.mktemp("python"))))
        yield


@pytest.fixture(autouse=True)
def isolated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A fresh HOME and PAWL_HOME; gives the PAWL_HOME.

    Tests marked `model` find the weights that the person has pulled.
    """
    home = tmp_path_factory.mktemp("home")
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


def pytest_configure(config: pytest.Config) -> None:
    """Files go to the workers in the order of the tests, not in xdist's own."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers the files that keep others waiting come first, then those that take long, then
    those of many tests: at the end no worker has much left to do while another has nothing."""
    if WORKER is None:
        return
    marks = {item.path: Counter[str]() for item in items}
    for item in items:
        marks[item.path].update({"tests", *(mark.name for mark in item.iter_markers())})

    def place(item: pytest.Item) -> tuple[int, int, int, Path]:
        found = marks[item.path]
        return -found["alone"], -found["slow"], -found["tests"], item.path

    items.sort(key=place)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """With several workers the tests marked `alone` that follow one another run while the others wait.

    The room is shared by common tests; whoever wants in waits behind the door, which one that wants the room
    for itself keeps shut until it is empty. Waiting does not count as the test's time.
    """
    if WORKER is None:
        return (yield)
    alone = _is_alone(item)
    room = item.config.stash.get(ROOM, None)
    if room is None:
        # what all workers share is above the folder of each
        shared = item.config._tmp_path_factory.getbasetemp().parent  # type: ignore[attr-defined]
        room = (shared / "room").open("w")
        with (shared / "door").open("w") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
    item.config.stash[ROOM] = room if alone and nextitem and _is_alone(nextitem) else None
    try:
        return (yield)
    finally:
        if item.config.stash[ROOM] is None:
            room.close()


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


@pytest.fixture(autouse=True)
def one_core(request: pytest.FixtureRequest) -> Iterator[None]:
    """With several workers a model computes on one core, its worker's: the threads of a model wait for one
    another all the time, and take several times as long where others have the cores."""
    if WORKER is None or not request.node.get_closest_marker("model"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(cores)[int(WORKER.removeprefix("gw")) % len(cores)]})
    yield
    os.sched_setaffinity(0, cores)


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
