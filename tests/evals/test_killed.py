"""Workers die at random and the driver by kill -9: no unit is lost, none counts twice.

With 1,000 units: `python -P -m tests.bench.engines kill local`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.engines import cost, kill

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The drivers are processes of their own, and have the units of the tests to do."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.slow
def test_no_unit_is_lost_and_none_counts_twice_on_the_local_engine(tmp_path: Path) -> None:
    figures = kill("local", 100, 2, tmp_path)
    assert figures["ok"], figures
    assert (figures["units"], figures["scores"], figures["lost"], figures["double"]) == (100, 100, 0, 0)
    assert figures["tries_that_died"] > 5
    assert (figures["kills"], figures["left_running"]) == (2, 0)


@pytest.mark.anyio
@pytest.mark.alone
async def test_a_unit_costs_little_beside_its_work_on_the_local_engine() -> None:
    figures = await cost("local", 60)
    assert figures["ok"], figures


@pytest.mark.slow
def test_no_unit_is_lost_with_ray() -> None:
    """The engine starts its own Ray, once: that takes seconds, and so does the death of a Ray worker."""
    words = [sys.executable, "-P", "-m", "tests.bench.engines", "kill", "ray", "4", "0"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
