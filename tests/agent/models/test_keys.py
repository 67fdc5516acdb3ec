"""Keys from the environment, from a command and from the keyring."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from agent.models import keys
from agent.models.base import ModelAuth
from agent.models.keys import find_key
from agent.models.resolve import open_model
from agent.models.transport import server_info
from tests.support.model_server import ModelServer

pytestmark = pytest.mark.anyio


class Ring(KeyringBackend):  # type: ignore[no-untyped-call]
    """A keyring in memory, as a person's own."""

    priority = 1  # type: ignore[assignment]
    trouble: Exception | None = None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError

    def get_password(self, service: str, username: str) -> str | None:
        if self.trouble:
            raise self.trouble
        return {("pawl", "openai"): "from the ring"}.get((service, username))


@pytest.fixture(autouse=True)
def ring() -> Iterator[Ring]:
    before = keyring.get_keyring()
    ring = Ring()  # type: ignore[no-untyped-call]
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


def command(tmp_path: Path, program: str) -> str:
    file = tmp_path / "a key.py"
    file.write_text(program)
    return f"{sys.executable} '{file}' {{provider}}"


async def test_the_environment_comes_first(tmp_path: Path) -> None:
    writes = command(tmp_path, "print('from the command')")
    assert await find_key("openai", "OPENAI_API_KEY", {"OPENAI_API_KEY": " sk-1\n"}, writes) == "sk-1"


async def test_then_the_command_which_knows_the_provider(tmp_path: Path) -> None:
    writes = command(tmp_path, "import sys; print('key of', sys.argv[1]); print('another line')")
    assert await find_key("openai", "OPENAI_API_KEY", {}, writes) == "key of openai"


async def test_blanks_around_a_key_are_no_part_of_it(tmp_path: Path) -> None:
    writes = command(tmp_path, "print('sk-SECRET \\t'); print('another line')")
    assert await find_key("openai", "OPENAI_API_KEY", {}, writes) == "sk-SECRET"
    async with ModelServer([], api_key="sk-SECRET") as server:
        model = await open_model("m", base_url=server.base_url, environ={"OPENAI_API_KEY": "sk-SECRET "})
        await model.aclose()


@pytest.mark.parametrize("key", ["sk-SECRET ", "sk-SEC\x00RET", "sk-SEC\nRET", "sk-SECRÉT"])
async def test_what_no_header_can_carry_is_refused_unshown(key: str) -> None:
    async with ModelServer([]) as server:
        with pytest.raises(ModelAuth, match="characters that no key has") as caught:
            await server_info(server.base_url, key)
    assert "SEC" not in str(caught.value) + repr(caught.value.__cause__)


async def test_who_keeps_logs_is_told_of_a_key_that_came_from_no_variable(tmp_path: Path) -> None:
    told: list[str] = []
    writes = command(tmp_path, "print('key of a command')")
    model = await open_model("deepseek/x", environ={}, key_command=writes, on_key=told.append)
    await model.aclose()
    assert told == ["key of a command"]


async def test_then_the_keyring(ring: Ring) -> None:
    assert await find_key("openai", "OPENAI_API_KEY", {}) == "from the ring"
    assert await find_key("groq", "GROQ_API_KEY", {}) is None
    for ring.trouble in (KeyringLocked("locked"), RuntimeError("no bus"), ImportError("no backend")):
        assert await find_key("openai", "OPENAI_API_KEY", {}) is None


async def test_a_local_server_gets_no_key_but_its_own(tmp_path: Path) -> None:
    environ = {"OPENAI_API_KEY": "sk-openai"}
    listed = [{"id": "m", "owned_by": "library"}]
    async with ModelServer([], models=listed, api_key="sk-mine") as server:
        environ |= {"OLLAMA_HOST": server.base_url}
        with pytest.raises(ModelAuth):
            await open_model("ollama/m", environ=environ)
        model = await open_model("ollama/m", environ=environ | {"OLLAMA_API_KEY": "sk-mine"})
        await model.aclose()
        writes = command(tmp_path, "import sys; print('sk-mine' if sys.argv[1] == 'ollama' else 'x')")
        model = await open_model("ollama/m", environ=environ, key_command=writes)
        await model.aclose()


async def test_a_server_by_its_url_gets_the_commands_key_once_it_asks_for_one(tmp_path: Path) -> None:
    told: list[str] = []
    notes: list[str] = []
    writes = command(tmp_path, "import sys; print('key of', sys.argv[1])")
    async with ModelServer([], api_key="key of 127.0.0.1") as locked, ModelServer([]) as free:
        model = await open_model(
            "m", base_url=locked.base_url, environ={}, key_command=writes, on_key=told.append
        )
        await model.aclose()
        with pytest.raises(ModelAuth, match="check the key"):
            fails = command(tmp_path, "import sys; sys.exit(1)")
            await open_model(
                "m", base_url=locked.base_url, environ={}, key_command=fails, on_note=notes.append
            )
        model = await open_model("m", base_url=free.base_url, environ={}, key_command=fails)
        await model.aclose()
    assert told == ["key of 127.0.0.1"]
    assert "ended with code 1 and no key; asking 127.0.0.1 without a key" in notes[0]


def test_a_keyring_that_hangs_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(
        "import time\nfrom keyring.backend import KeyringBackend\n"
        "class Ring(KeyringBackend):\n    priority = 1\n"
        "    def get_password(self, service, username): time.sleep(60)\n"
        "    set_password = None\n"
    )
    program = (
        "import asyncio; from agent.models import keys; keys.KEYRING_S = 0.1\n"
        "print(asyncio.run(keys.find_key('openai', 'X', {})))"
    )
    environ = os.environ | {"PYTHON_KEYRING_BACKEND": "hanging.Ring", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, timeout=20)
    assert done.stdout == b"None\n"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import sys; print('secret'); sys.exit(3)", "ended with code 3"),
        ("pass", "no key"),
        ("import time; time.sleep(60)", "gave no key within 0.5 s"),
    ],
)
async def test_a_command_that_fails_says_so_without_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, words: str
) -> None:
    if "sleep" in program:
        monkeypatch.setattr(keys, "COMMAND_S", 0.5)
    with pytest.raises(ModelAuth, match=words) as caught:
        await find_key("openai", "OPENAI_API_KEY", {}, command(tmp_path, program))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [("/no/such/program", "cannot be started"), ("a 'b", "cannot be read"), (" ", "cannot be read")],
)
async def test_what_is_no_command(line: str, words: str) -> None:
    with pytest.raises(ModelAuth, match=words):
        await find_key("openai", "OPENAI_API_KEY", {}, line)
