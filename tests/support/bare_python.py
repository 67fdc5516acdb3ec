"""A virtual environment that holds pytest and nothing else: the Python of the projects that tests work on.

Our own has plugins, which each start of pytest would load; that takes longer than all else of it together.
"""

from __future__ import annotations

import shutil
import subprocess
import venv
from importlib.metadata import distribution
from pathlib import Path

PACKAGES = ("pytest", "iniconfig", "packaging", "pluggy", "pygments")


def make(folder: Path) -> Path:
    """The folder, with the packages as they are installed here."""
    venv.create(folder, symlinks=True, with_pip=False)
    [site] = folder.glob("lib/python3*/site-packages")
    for package in map(distribution, PACKAGES):
        for name in {file.parts[0] for file in package.files or ()} - {".."}:
            source = Path(str(package.locate_file(name)))
            if source.is_dir():
                shutil.copytree(source, site / name)
            elif source.exists():
                shutil.copy2(source, site)
    # once as who may write what it has compiled: in a sandbox nobody may
    subprocess.run([folder / "bin" / "python", "-m", "pytest", "--version"], capture_output=True, check=True)
    return folder
