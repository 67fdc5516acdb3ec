"""A Harbor task whose place is what its Dockerfile makes. The base is made of files of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from evals.benchmarks import harbor
from evals.check import check_task
from evals.image import built
from evals.types import Instance
from sandbox.base import SandboxUnavailable
from tests.evals.datasets import write
from tests.sandbox import images

pytestmark = [pytest.mark.anyio, pytest.mark.docker]


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """An image with a shell and little else; no git, no Python."""
    names = ("/bin/sh", "/bin/bash", "/bin/cat", "/bin/rm", "/bin/mkdir", "/bin/sleep")
    programs = {name: os.path.realpath(name) for name in names}
    yield images.make("harbor", images.dynamic(programs.values()), programs)
    images.clear()


def task(folder: Path, base: str) -> Instance:
    """Its answer stands in the image alone."""
    test = '[ "$(cat answer.txt)" = "$(cat /hint)" ] && n=1 || n=0\necho $n > /logs/verifier/reward.txt\n'
    dockerfile = f"FROM {base}\nWORKDIR /app\nCOPY question.txt /copied\nRUN cat /copied > /hint\n"
    files = {
        "task.toml": 'schema_version = "1.4"\n[task]\nname = "tiny/built"\n',
        "instruction.md": "Write what /hint says into answer.txt.",
        "environment/Dockerfile": dockerfile,
        "environment/question.txt": "42\n",
        "tests/test.sh": test,
        "solution/solve.sh": "cat /hint > answer.txt\n",
    }
    (made,) = harbor.load(write(folder, files))
    return made


async def test_it_is_built_once_and_graded_in(tmp_path: Path, base: str) -> None:
    made = task(tmp_path / "task", base)
    found = await check_task(made, cache=tmp_path / "cache", backend="docker", runs=1)
    assert (found.problems, found.oracle, found.null_failed) == ([], [True], True)
    image = (await built(made, "docker")).environment
    assert (image.dockerfile, image == (await built(made, "docker")).environment) == ("", True)
    Path(made.environment.dockerfile, "question.txt").write_text("43\n")
    assert (await built(made, "docker")).environment.image != image.image


async def test_why_it_cannot_be_built_is_told(tmp_path: Path) -> None:
    made = task(tmp_path / "task", "pawl-no-such-image:1")
    with pytest.raises(SandboxUnavailable, match="there is no image pawl-no-such-image:1 here") as caught:
        await built(made, "docker")
    assert "PAWL_EVAL_SETUP_NETWORK=allow" in caught.value.remedy
    with pytest.raises(SandboxUnavailable, match="an image that its Dockerfile makes"):
        await built(made, "bubblewrap")
