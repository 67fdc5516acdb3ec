"""Which tests a change touches."""

from __future__ import annotations

import pytest

from tools.touched import touched

PYTHON = {
    "pkg/__init__.py": "",
    "pkg/deep.py": "def deep(): pass\n",
    "pkg/mid.py": "from . import deep\n",
    "pkg/other.py": "import json\n",
    "src/lib/core.py": "",
    "src/lib/__init__.py": "",
    "tests/conftest.py": "from pkg.other import *\n",
    "tests/test_mid.py": "from pkg.mid import deep\n",
    "tests/test_core.py": "def test():\n    from lib import (\n        core,\n    )\n",
    "tests/unit/test_alone.py": "import os\n",
    "tests/test_broken.py": "import pkg.deep\ndef (:\n",
}
ALL_PYTHON = ["tests/test_broken.py", "tests/test_core.py", "tests/test_mid.py", "tests/unit/test_alone.py"]
SCRIPT = {
    "src/deep.ts": "export const a = 1",
    "src/mid.tsx": "import { a } from './deep.js'",
    "src/util/index.js": "module.exports = 1",
    "src/lazy.js": "const x = () => import('./util')",
    "test/mid.test.ts": "import {\n  b,\n} from '../src/mid'",
    "test/lazy.test.js": 'const lazy = require("../src/lazy")',
    "test/alias.test.ts": "import { a } from '@/deep'",
    "test/alone.test.ts": "import { z } from 'zod'",
}
OTHERS = (
    "num/calc.go", "num/calc_test.go", "num/more_test.go", "str/str_test.go", "src/main/java/org/Calc.java",
    "src/test/java/org/CalcTest.java", "src/test/java/org/OtherTest.java", "lib/calc.rb", "spec/calc_spec.rb",
)  # fmt: skip


@pytest.mark.parametrize(
    ("sources", "changed", "expected"),
    [
        (PYTHON, "pkg/deep.py", ["tests/test_mid.py"]),
        (PYTHON, "pkg/mid.py", ["tests/test_mid.py"]),
        (PYTHON, "pkg/__init__.py", ALL_PYTHON),
        (PYTHON, "pkg/other.py", ALL_PYTHON),
        (PYTHON, "src/lib/core.py", ["tests/test_core.py"]),
        (PYTHON, "tests/test_mid.py", ["tests/test_mid.py"]),
        (PYTHON, "tests/unit/test_alone.py", ["tests/unit/test_alone.py"]),
        (PYTHON, "nowhere.py", []),
        (SCRIPT, "src/deep.ts", ["test/alias.test.ts", "test/mid.test.ts"]),
        (SCRIPT, "src/util/index.js", ["test/lazy.test.js"]),
        (SCRIPT, "test/alone.test.ts", ["test/alone.test.ts"]),
        ({}, "num/calc.go", ["num/calc_test.go"]),
        ({}, "num/sum.go", ["num/calc_test.go", "num/more_test.go"]),
        ({}, "src/main/java/org/Calc.java", ["src/test/java/org/CalcTest.java"]),
        ({}, "lib/calc.rb", ["spec/calc_spec.rb"]),
    ],
)  # fmt: skip
def test_the_tests_that_use_a_file(sources: dict[str, str], changed: str, expected: list[str]) -> None:
    paths = sources or OTHERS
    assert touched([changed], sources, paths) == expected


def test_a_deleted_module_still_touches_who_imports_it() -> None:
    left = {path: text for path, text in PYTHON.items() if path != "pkg/deep.py"}
    assert touched(["pkg/deep.py"], left, left) == ["tests/test_mid.py"]
