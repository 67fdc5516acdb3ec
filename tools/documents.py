"""Notebooks and PDFs as text, by libraries in a process of its own: such a file may be made to do harm.

The process has a bounded memory and time and gets the file's bytes alone. `python -I -m tools.documents KIND`
reads them from its stdin.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Any

from tools.base import ToolError

TIMEOUT_S = 20
MEMORY_BYTES = 2 * 1024**3
MAX_CHARS = 4_000_000
_LIBRARIES = {"pdf": "pypdf", "ipynb": "nbformat"}


def document_kind(path: str) -> str:
    """`pdf` or `ipynb` by the file's name; empty for any other."""
    kind = PurePosixPath(path).suffix.lower().removeprefix(".")
    return kind if kind in _LIBRARIES else ""


async def document_text(path: str, data: bytes) -> str:
    """What a notebook or PDF says. Raises ToolError when it cannot be told."""
    kind = document_kind(path)
    if find_spec(_LIBRARIES[kind]) is None:
        raise ToolError(
            f"{path} is of a kind ({kind}) that needs a library to be read. "
            "The user can install it: pip install 'pawl-agent[documents]'."
        )
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-m", "tools.documents", kind),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={},
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            text, wrong = await child.communicate(data)
    except TimeoutError:
        raise ToolError(f"{path} takes too long to read as {kind}. Use bash to look into it.") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        said = (wrong.decode("utf-8", "replace").strip().splitlines() or ["it ended early"])[-1][:200]
        raise ToolError(f"{path} cannot be read as {kind}: {said}. Use bash to look into it.")
    return text.decode("utf-8", "replace")


def _pdf(data: bytes) -> Iterator[str]:
    import io

    import pypdf

    for number, page in enumerate(pypdf.PdfReader(io.BytesIO(data)).pages, 1):
        yield f"--- page {number} ---"
        yield page.extract_text()


def _notebook(data: bytes) -> Iterator[str]:
    import nbformat

    reads: Callable[..., Any] = nbformat.reads
    book = reads(data.decode(), as_version=4)
    for number, cell in enumerate(book.cells, 1):
        yield f"--- cell {number}, {cell.cell_type} ---"
        yield cell.source
        for output in cell.get("outputs", ()):
            if said := _said(output):
                yield f"--- output of cell {number} ---"
                yield said


def _said(output: dict[str, object]) -> str:
    """What an output shows as text; the kinds of data that are none by name."""
    if isinstance(trace := output.get("traceback"), list):
        return "\n".join(map(str, trace))
    data = output.get("data")
    if isinstance(data, dict):
        return str(data.get("text/plain") or f"[{', '.join(map(str, data))}]")
    return str(output.get("text", ""))


_READERS: dict[str, Callable[[bytes], Iterator[str]]] = {"pdf": _pdf, "ipynb": _notebook}


def main() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (TIMEOUT_S, TIMEOUT_S))
    room = MAX_CHARS
    for piece in _READERS[sys.argv[1]](sys.stdin.buffer.read()):
        sys.stdout.buffer.write((piece[:room] + "\n").encode("utf-8", "replace"))
        room -= len(piece)
        if room <= 0:
            break


if __name__ == "__main__":
    main()
