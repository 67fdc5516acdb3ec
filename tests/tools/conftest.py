from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.base import Limits, SandboxSpec
from sandbox.open import open_sandbox
from tools.base import ToolContext


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The workspace's folder on the host."""
    folder = tmp_path / "tree"
    folder.mkdir()
    return folder


@pytest.fixture
async def ctx(tree: Path, tmp_path: Path) -> AsyncIterator[ToolContext]:
    """Tools on a real `local` sandbox whose workspace is `tree`."""
    spec = SandboxSpec(tree=tree, root=str(tree), session="test", limits=Limits(timeout_s=30))
    sandbox = await open_sandbox(spec, "local", state=tmp_path / "state", project=tree)
    try:
        yield ToolContext(sandbox, tmp_path / "artifacts", timeout_s=30)
    finally:
        await sandbox.aclose()
