"""`pawl fix --setup CMD`: dependencies first, from a registry alone; then the bug, offline, with them."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from sandbox import kept
from tests.e2e.conftest import CHECK, FIXED, MODULE, TESTS, commit
from tests.support.model_server import ModelServer
from tests.support.pawl import identity, run_pawl, started
from tests.support.registry import Registry, registry

pytestmark = pytest.mark.anyio

BACKENDS = [
    pytest.param("docker", marks=pytest.mark.docker),
    pytest.param("bubblewrap", marks=pytest.mark.bubblewrap),
]


@pytest.fixture
def project(project: Path) -> Path:
    """Its tests need a package that is not installed."""
    uses = "import pawl_greeting\n\n\ndef test_package():\n    assert pawl_greeting.say() == 'hello'\n"
    (project / "tests" / "test_sums.py").write_text(f"{TESTS}\n\n{uses}")
    (project / "requirements.txt").write_text("pawl-greeting\n")
    (project / ".gitignore").write_text("*.gen\n")
    commit(project)
    return project


def words(
    url: str, packages: Registry, *more: str, backend: str = "bubblewrap", extra: str = ""
) -> list[str]:
    """A fix whose set-up puts the package into an environment that sees pytest too."""
    command = packages.fetch.replace("--without-pip", "--without-pip --system-site-packages") + extra
    options = ["--base-url", url, "-m", "m", "--sandbox", backend, "--strategy", "repair", *more]
    return ["fix", *options, "--setup", command, "--setup-network", packages.address, "--", *CHECK]


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_fresh_checkout_is_set_up_once_repaired_and_proved(project: Path, backend: str) -> None:
    before = identity(project)
    with registry() as packages:
        async with ModelServer([FIXED, FIXED]) as server:
            more = ("--no-apply", "--output-format", "json")
            extra = "; echo x >made.gen; echo '# mine' >>conftest.py; echo >new.py"
            for run in ("first", "second") if backend == "bubblewrap" else ("first",):
                done = await run_pawl(
                    *words(server.base_url, packages, *more, backend=backend, extra=extra), cwd=project
                )
                assert done.code == 0, done.err
                assert done.result["receipt"]["tests_after"] == {"passed": 3}
                assert done.result["files_changed"] == ["sums.py"]
                assert done.result["patch"].count("diff --git") == 1
                assert ("is not run again" in done.err) is (run == "second")
                assert ("are dropped: conftest.py, new.py" in done.err) is (run == "first")
        assert len(packages.requests) == 1
    assert identity(project) == before


@pytest.mark.bubblewrap
async def test_without_a_set_up_a_hint_says_that_there_is_one(project: Path) -> None:
    async with ModelServer(lambda _: FIXED) as server:
        options = ("--base-url", server.base_url, "-m", "m", "--sandbox", "bubblewrap", "--attempts", "1")
        done = await run_pawl("fix", *options, "--strategy", "repair", "--", *CHECK, cwd=project)
    assert (
        "pawl_greeting is not installed; `--setup 'python3 -m pip install -r requirements.txt'`" in done.err
    )


@pytest.mark.bubblewrap
async def test_a_failed_set_up_is_exit_1_and_no_model_is_asked(project: Path) -> None:
    before = identity(project)
    options = ("--sandbox", "bubblewrap", "--output-format", "json", "--setup", "echo told; exit 3")
    done = await run_pawl("fix", *options, "--base-url", "http://127.0.0.1:9/v1", "--", *CHECK, cwd=project)
    assert done.code == 1
    assert done.result["subtype"] == "error"
    assert "The set-up `echo told; exit 3` failed (exit 3):\n  told\n" in done.result["text"]
    assert "The whole output is kept: " in done.result["text"]
    assert identity(project) == before


@pytest.mark.bubblewrap
async def test_a_shell_has_what_was_made_and_runs_no_set_up(project: Path) -> None:
    command = "mkdir .venv && echo found >.venv/pyvenv.cfg; : pip"
    shell = ("sandbox", "shell", "--sandbox", "bubblewrap", "--", "cat", ".venv/pyvenv.cfg")
    done = await run_pawl(*shell, cwd=project, PAWL_SETUP=command)
    assert "has not run for this tree as it is; `pawl fix`" in done.err
    assert "found" not in done.out
    done = await run_pawl("fix", "--sandbox", "bubblewrap", "--setup", command, "--", "true", cwd=project)
    assert done.code == 0, done.err
    done = await run_pawl(*shell, cwd=project, PAWL_SETUP=command)
    assert (done.code, done.out.strip()) == (0, "found")
    assert "nothing was changed" in done.err


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_kill_in_the_middle_leaves_nothing_half(project: Path, backend: str) -> None:
    before = identity(project)
    setups = Path(os.environ["PAWL_HOME"]) / "state" / kept.FOLDER
    with registry() as packages:
        async with ModelServer([FIXED]) as server:
            once = f"; if curl -sf http://{packages.address}/simple/pawl-greeting/; then sleep 100; fi"
            command = words(server.base_url, packages, "--no-apply", backend=backend, extra=once)
            async with started(*command, cwd=project) as process:
                await until(lambda: len(packages.requests) == 2)
                process.kill()
                await process.wait()
            assert [kept.is_kept(place) for place in setups.iterdir()] == [False]
            packages.close("/simple/pawl-greeting/")
            done = await run_pawl(*command, cwd=project)
            assert done.code == 0, done.err
            assert "is not run again" not in done.err
            (place,) = setups.iterdir()
            assert {path.name for path in place.iterdir()} == {"lock", "result"}
    assert identity(project) == before
    assert (project / "sums.py").read_text() == MODULE


async def until(holds: object) -> None:
    end = time.monotonic() + 30
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
