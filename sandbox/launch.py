"""Start the agent as a child process of pawl and speak with it over a socket pair."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence

from sandbox.base import Caps, Sandbox, SandboxDied, SandboxSpec, SandboxUnavailable
from sandbox.client import AgentClient

_EXIT_S = 3.0


async def launch(
    command: Sequence[str],
    spec: SandboxSpec,
    caps: Caps,
    *,
    environ: Mapping[str, str],
    env: Mapping[str, str],
    processes: int | None = None,
    descriptors: Sequence[int] = (),
    clean_up: Callable[[], None] = lambda: None,
) -> Sandbox:
    """Run `command`, which ends in the agent, with `environ`; the agent gives `env` to the commands.

    The `descriptors` are inherited and stay the caller's. `clean_up` is called once, after the end.
    Raises SandboxUnavailable when it does not come up.
    """
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryFile() as complaint:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=complaint,
                env=dict(environ),
                cwd="/",
                pass_fds=descriptors,
                start_new_session=True,
            )
        except BaseException as error:
            ours.close()
            clean_up()
            if isinstance(error, OSError):
                raise SandboxUnavailable(f"{command[0]}: {error.strerror}", "see `pawl doctor`") from error
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)

        async def end() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EXIT_S):
                    await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()
            clean_up()

        client = AgentClient(reader, writer, spec, caps, end)
        try:
            await client.begin(env, processes=processes)
        except SandboxDied as error:
            await client.aclose()
            complaint.seek(0)
            said = complaint.read(2000).decode("utf-8", "replace").strip()
            raise SandboxUnavailable(
                f"the sandbox did not start: {said or error}", "see `pawl doctor`"
            ) from error
        except BaseException:
            await client.aclose()
            raise
    return client
