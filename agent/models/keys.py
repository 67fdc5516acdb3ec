"""Where the API key of a provider comes from: the environment, a command of the user's, the keyring.

The command is a setting of the user's alone and runs without a shell; `{provider}` in it stands for the
provider's name: `pass show keys/{provider}`. Nothing of a key is ever shown, and neither is what the command
writes.
"""

from __future__ import annotations

import asyncio
import shlex
import threading
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec

from agent.models.base import ModelAuth
from sandbox.programs import environment, find

COMMAND_S = 60.0
"""A command may ask the person for a passphrase."""
KEYRING_S = 10.0
SERVICE = "pawl"
"""Under this name the keyring holds keys, the provider being the user: `keyring set pawl openai`."""


async def find_key(
    provider: str, variable: str, environ: Mapping[str, str], command: str | None = None
) -> str | None:
    """The key of this provider, or None. Raises ModelAuth when the command fails."""
    if key := environ.get(variable, "").strip():
        return key
    if command:
        return await _from_command(command.replace("{provider}", provider))
    return (await _from_keyring(provider) or "").strip() or None


async def _from_command(command: str) -> str:
    try:
        program, *arguments = shlex.split(command)
    except ValueError as error:
        raise ModelAuth(f"api_key_command cannot be read as a command: {error}") from error
    try:
        process = await asyncio.create_subprocess_exec(
            program if "/" in program else find(program) or program,
            *arguments,
            env=environment(),
            stdout=asyncio.subprocess.PIPE,
            stdin=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise ModelAuth(f"api_key_command: {program} cannot be started: {error.strerror}") from error
    try:
        async with asyncio.timeout(COMMAND_S):
            written, _ = await process.communicate()
    except TimeoutError:
        raise ModelAuth(f"api_key_command: {program} gave no key within {COMMAND_S:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    lines = written.decode(errors="replace").strip().splitlines()
    if process.returncode or not lines:
        raise ModelAuth(f"api_key_command: {program} ended with code {process.returncode} and no key")
    return lines[0].strip()


async def _from_keyring(provider: str) -> str | None:
    """The keyring's, if the package and a keyring are there; one that does not answer is passed over."""
    if find_spec("keyring") is None:
        return None
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str | None] = loop.create_future()

    def ask() -> None:
        key = None
        # backends are plugins of anybody's, which raise what they like
        with suppress(Exception):
            import keyring

            key = keyring.get_password(SERVICE, provider)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, answer, key)

    # of its own and a daemon: one of the loop's threads would be waited for when pawl ends
    threading.Thread(target=ask, daemon=True).start()
    with suppress(TimeoutError):
        async with asyncio.timeout(KEYRING_S):
            return await answer
    return None


def _settle(answer: asyncio.Future[str | None], key: str | None) -> None:
    if not answer.done():
        answer.set_result(key)
