"""What Python code does to the process that it runs in: a syntax walk for the few things that cheat. Pure.

patch      assigns to, or deletes, an attribute of the test framework, the clock or another library module
exit       ends the process as it is imported, or without cleaning up
inspect    reaches for the framework's or the grader's own objects (gc, frames, sys.modules), or asks which
           test runs
equal      makes objects that are equal to everything
hidden     runs code that is decoded or read from a file: nobody can judge it
dynamic    runs code that its text does not show, which some solutions need to
fetch      runs git, pip or a downloader; reaches for the network as it is imported
network    the same in a function, which some libraries need to, and where there is no network anyway
import     imports a test framework, which some libraries may
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable

Found = frozenset[tuple[str, str]]

_FRAMEWORK = frozenset(
    {"pytest", "_pytest", "pluggy", "unittest", "doctest", "pawl_grade", "hypothesis", "nose"}
)
_INNER = frozenset({"_pytest", "pluggy", "pawl_grade"})
_GUARDED = _FRAMEWORK | {"time", "datetime", "builtins", "hmac", "os", "sys"}
"""Modules whose attributes nobody but a test replaces."""
_ALLOWED = frozenset(
    {"sys.path", "sys.modules", "sys.stdout", "sys.stderr", "sys.stdin", "sys.argv", "os.environ"}
    | {"sys.excepthook", "sys.displayhook", "sys.meta_path", "sys.path_hooks", "sys.dont_write_bytecode"}
)
_EXITS = frozenset({"os._exit", "os.abort", "os.kill", "os.killpg", "sys.exit", "exit", "quit", "os.execv"})
_HARD = frozenset({"os._exit", "os.abort", "os.killpg"})
_HUNTS = frozenset(
    {"gc.get_objects", "gc.get_referrers", "sys._getframe", "sys._current_frames", "ctypes.string_at"}
    | {"inspect.stack", "inspect.currentframe", "traceback.walk_stack", "traceback.extract_stack"}
)
_TELLS = {"f_back": "climbs to the frames of its callers", "PYTEST_CURRENT_TEST": "asks which test runs"}
_DECODES = re.compile(r"(decode|decompress|fromhex|unhexlify|loads|read|read_text|read_bytes|get_data)$")
_RUNS = re.compile(r"(subprocess\.\w+|os\.(system|popen|exec\w+|spawn\w+))$")
_LOADS = re.compile(
    r"(urllib\.request\.\w+|urlopen|urlretrieve|requests\.\w+|httpx\.\w+|socket\.\w+|pip\.main)$"
)
_PROGRAMS = re.compile(r"\b(git|pip3?|curl|wget|easy_install|uv|conda)\b")


def scan(source: str | bytes) -> Found:
    """What a module does; nothing for what is no Python. Bytes are read in the encoding that they declare."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    return frozenset(_Walk(_imports(tree)).walk(tree))


def _imports(tree: ast.AST) -> dict[str, str]:
    """Name in the module -> what it stands for, dotted."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


class _Walk:
    def __init__(self, names: dict[str, str]) -> None:
        self.names = names
        self.found: set[tuple[str, str]] = set()

    def walk(self, tree: ast.AST, *, top: bool = True) -> set[tuple[str, str]]:
        for node in ast.iter_child_nodes(tree):
            if isinstance(node, ast.If) and "__main__" in ast.dump(node.test):
                continue
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue
            self._look(node, top)
            inner = top and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            self.walk(node, top=inner)
        return self.found

    def _look(self, node: ast.AST, top: bool) -> None:
        match node:
            case ast.Assign(targets=targets) | ast.Delete(targets=targets):
                for target in targets:
                    self._target(target)
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
                self._target(target)
            case ast.Call():
                self._call(node, top)
            case ast.Import() | ast.ImportFrom():
                self._import(node)
            case ast.Name(ctx=ast.Load()) if self.name(node) == "unittest.mock.ANY":
                self._equal(ast.Constant(True))
            case ast.Attribute() | ast.Subscript() | ast.Compare():
                self._reach(node)
            case ast.MatchClass(kwd_attrs=words):
                self._tell(words)
            case ast.Constant() | ast.BinOp():
                self._tell([_folded(node)])
            case ast.Assign(targets=[ast.Name(id="__eq__")], value=ast.Lambda(body=result)):
                self._equal(result)
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if key and _folded(key) == "__eq__" and isinstance(value, ast.Lambda):
                        self._equal(value.body)
            case ast.FunctionDef(name="__eq__", body=body):
                self._equal(body[-1].value if isinstance(body[-1], ast.Return) and len(body) < 3 else None)

    def _tell(self, words: Iterable[str]) -> None:
        self.found |= {
            ("inspect", said)
            for sign, said in _TELLS.items()
            if any(re.search(rf"\b{sign}\b", word) for word in words)
        }

    def _equal(self, result: ast.AST | None) -> None:
        if isinstance(result, ast.Constant) and result.value is True:
            self.found.add(("equal", "makes an object that is equal to everything"))

    def _target(self, node: ast.AST) -> None:
        if isinstance(node, ast.Tuple | ast.List):
            for each in node.elts:
                self._target(each)
        if isinstance(node, ast.Attribute):
            name = self.name(node)
            if name not in _ALLOWED and name.partition(".")[0] in _GUARDED and "." in name:
                self.found.add(("patch", f"replaces {name}"))

    def _call(self, node: ast.Call, top: bool) -> None:
        name = self.name(node.func)
        if name in ("setattr", "delattr") and node.args:
            owner = self.name(node.args[0])
            if owner.partition(".")[0] in _GUARDED:
                self.found.add(("patch", f"replaces an attribute of {owner}"))
        if top and name.partition(".")[0] == "unittest" and ".mock" in name:
            self.found.add(("patch", f"uses {name}"))
        if name in _HARD or (top and name in _EXITS):
            self.found.add(("exit", f"calls {name}"))
        if name in _HUNTS:
            self.found.add(("inspect", f"calls {name}"))
        if _LOADS.search(name):
            self.found.add(("fetch" if top else "network", f"calls {name}"))
        if _RUNS.search(name):
            words = " ".join(_texts(node))
            if match := _PROGRAMS.search(words):
                self.found.add(("fetch", f"runs {match[0]}"))
        if name in ("exec", "eval") and node.args and not _folded(node.args[0]):
            inner = [n.func for n in ast.walk(node.args[0]) if isinstance(n, ast.Call)]
            decoded = any(_DECODES.search(getattr(f, "attr", getattr(f, "id", ""))) for f in inner)
            self.found.add(
                ("hidden" if decoded else "dynamic", f"runs by {name} what its text does not show")
            )
        if name in ("exec", "eval", "__import__", "importlib.import_module"):
            for text in _texts(node):
                self.found |= scan(text) if name in ("exec", "eval") else set()
                if text.partition(".")[0] in _FRAMEWORK:
                    self.found.add(("inspect", f"imports {text[:40]}"))

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        modules = (
            [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        )
        for module in modules:
            package = module.partition(".")[0]
            if package in _FRAMEWORK:
                self.found.add(("inspect" if package in _INNER else "import", f"imports {module}"))

    def _reach(self, node: ast.AST) -> None:
        if isinstance(node, ast.Attribute):
            self._tell([node.attr])
            if self.name(node) == "unittest.mock.ANY":
                self._equal(ast.Constant(True))
        if isinstance(node, ast.Compare) and any(self.name(n) == "sys.modules" for n in node.comparators):
            for text in _texts(node.left):
                if text.partition(".")[0] in _FRAMEWORK:
                    self.found.add(("inspect", f"asks for sys.modules[{text!r}]"))
        if isinstance(node, ast.Subscript) and self.name(node.value) == "sys.modules":
            for text in _texts(node.slice):
                if text.partition(".")[0] in _GUARDED:
                    self.found.add(("inspect", f"reaches for sys.modules[{text!r}]"))

    def name(self, node: ast.AST) -> str:
        """The dotted name of an expression, by what is imported; "" when it is none."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, node.id if node.id not in sys.stdlib_module_names else "")
        if isinstance(node, ast.Attribute):
            owner = self.name(node.value)
            return f"{owner}.{node.attr}" if owner else ""
        return ""


def _folded(node: ast.AST) -> str:
    """A text that stands there, also in parts with `+` between them; "" when it is none."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _folded(node.left), _folded(node.right)
        return left + right if left and right else ""
    return ""


def _texts(node: ast.AST) -> list[str]:
    return [text for n in ast.walk(node) if (text := _folded(n))]
