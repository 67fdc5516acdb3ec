"""Notebooks and PDFs, broken and hostile ones too, read as text by the libraries themselves."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest

from tests.tools.test_builtin import call, refused
from tools import documents
from tools.base import ToolContext

pytestmark = pytest.mark.anyio


def pdf(text: str, *, padding: int = 0) -> bytes:
    """One page that says `text`, then `padding` zeros in its packed content."""
    content = zlib.compress(f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET\n".encode() + bytes(padding))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d/Filter/FlateDecode>>\nstream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    data, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return data + (
        b"xref\n0 6\n0000000000 65535 f \n%strailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF"
        % (table, len(data))
    )


def notebook() -> bytes:
    output = {"output_type": "stream", "name": "stdout", "text": "3\n"}
    picture = {"output_type": "display_data", "metadata": {}, "data": {"image/png": "AAAA"}}
    code = {"execution_count": 1, "metadata": {}, "source": "print(1 + 2)", "outputs": [output, picture]}
    cells = [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# Title"},
        {"cell_type": "code", "id": "b", **code},
    ]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}).encode()


async def test_a_pdf_is_shown_as_its_text(ctx: ToolContext, tree: Path) -> None:
    (tree / "a.pdf").write_bytes(pdf("The quick brown fox"))
    assert await call(ctx, "read", path="a.pdf") == (
        "1\t--- page 1 ---\n2\tThe quick brown fox\n[shown as text; edits are of the file itself]"
    )
    assert "you have not read it" in await refused(ctx, "write", path="a.pdf", content="x")


async def test_a_notebook_is_shown_as_its_cells(ctx: ToolContext, tree: Path) -> None:
    (tree / "a.ipynb").write_bytes(notebook())
    lines = (await call(ctx, "read", path="a.ipynb")).split("\n")
    assert [line.partition("\t")[2] for line in lines[:8]] == [
        "--- cell 1, markdown ---",
        "# Title",
        "--- cell 2, code ---",
        "print(1 + 2)",
        "--- output of cell 2 ---",
        "3",
        "",
        "--- output of cell 2 ---",
    ]
    assert lines[8] == "9\t[image/png]"


async def test_a_damaged_or_hostile_document_is_an_error_that_says_so(ctx: ToolContext, tree: Path) -> None:
    (tree / "a.pdf").write_bytes(b"%PDF-1.4\n" + b"\0" * 50)
    assert "a.pdf cannot be read as pdf" in await refused(ctx, "read", path="a.pdf")
    (tree / "b.ipynb").write_text('{"cells": 3')
    assert "b.ipynb cannot be read as ipynb" in await refused(ctx, "read", path="b.ipynb")


async def test_a_packed_bomb_takes_no_more_than_its_memory_and_time(
    ctx: ToolContext, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "TIMEOUT_S", 5)
    (tree / "bomb.pdf").write_bytes(pdf("x", padding=400 * 1024 * 1024))
    assert "bomb.pdf" in await refused(ctx, "read", path="bomb.pdf")


async def test_a_library_that_is_missing_is_named(
    ctx: ToolContext, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(documents._LIBRARIES, "pdf", "no_such_library")
    (tree / "a.pdf").write_bytes(pdf("x"))
    assert "pip install 'pawl-agent[documents]'" in await refused(ctx, "read", path="a.pdf")
