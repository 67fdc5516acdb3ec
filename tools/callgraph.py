"""Which functions of a tree of Python sources may call which: read off the texts, nothing is run. Pure.

Calls are resolved by imports and, for methods, by name alone. A file is read when it is first asked for, and
once: what is found in it is kept for the life of the graph.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from functools import cached_property

from tools import syntax
from tools.syntax import Call, Symbol

Place = tuple[str, Symbol]
"""(path, the function)"""
Key = tuple[str, int]
"""(path, first byte) of a function."""
CONSTRUCTORS = ("__init__", "__new__", "__post_init__")
_HOPS = 4
"""Through so many modules a name is followed that each import it from the next."""
_MAX_CANDIDATES = 12


def key_of(place: Place) -> Key:
    path, symbol = place
    return (path, symbol.start_byte)


class CallGraph:
    """The functions of `sources` (path in the workspace -> content) and the calls between them."""

    def __init__(self, sources: Mapping[str, bytes]) -> None:
        self.sources = {path: text for path, text in sources.items() if syntax.language_of(path) == "python"}
        self._symbols: dict[str, list[Symbol]] = {}
        self._calls: dict[str, list[Call]] = {}
        self._bindings: dict[str, dict[str, list[tuple[str, str]]]] = {}
        self._resolved: dict[tuple[str, str, str], list[Place]] = {}
        self._callees: dict[Key, list[Place]] = {}

    def symbols(self, path: str) -> list[Symbol]:
        """Every definition of a file, in the order of the text; none of a file that is not known."""
        if path not in self._symbols:
            self._symbols[path] = syntax.symbols(self.sources[path]) if path in self.sources else []
        return self._symbols[path]

    def function_at(self, path: str, line: int) -> Symbol | None:
        """The innermost function whose span, decorators included, holds `line`."""
        holding = (s for s in self.symbols(path) if s.kind != "class" and s.start_line <= line <= s.end_line)
        return max(holding, key=lambda s: s.start_byte, default=None)

    def calls(self, path: str, start: int, end: int) -> list[Call]:
        """The calls that begin in a span of bytes, and the names read there, in the order of the text."""
        if path not in self._calls:
            source = self.sources[path]
            found = syntax.calls(source) + syntax.handed(source)
            self._calls[path] = sorted(found, key=lambda call: call.start_byte)
        calls = self._calls[path]
        first = bisect_left(calls, start, key=lambda call: call.start_byte)
        return calls[first : bisect_left(calls, end, lo=first, key=lambda call: call.start_byte)]

    def callees(self, place: Place) -> list[Place]:
        """What a function may call, itself included where it recurs, and the functions defined inside it."""
        key = key_of(place)
        if key not in self._callees:
            path, symbol = place
            # with the defaults of its parameters, which may be functions
            names = dict.fromkeys(call.path for call in self.calls(path, symbol.def_byte, symbol.end_byte))
            found = [callee for name in names for callee in self.resolve(path, name, symbol)]
            found += [(path, inner) for inner in self._inside(path, symbol)]
            self._callees[key] = list({key_of(callee): callee for callee in found}.values())
        return self._callees[key]

    def _inside(self, path: str, symbol: Symbol) -> list[Symbol]:
        symbols = self.symbols(path)
        first = bisect_left(symbols, symbol.start_byte + 1, key=lambda s: s.start_byte)
        stop = bisect_left(symbols, symbol.end_byte, lo=first, key=lambda s: s.start_byte)
        return [inner for inner in symbols[first:stop] if inner.kind != "class"]

    def reach(self, start: Iterable[Place], limit: int) -> dict[Key, Place]:
        """What functions may call, directly or through others, nearest first; about `limit` of them."""
        ahead = list(start)
        seen = {key_of(place) for place in ahead}
        found: dict[Key, Place] = {}
        for place in ahead:
            if len(seen) >= limit:
                break
            for callee in self.callees(place):
                if (key := key_of(callee)) not in seen:
                    seen.add(key)
                    # the list grows while it is gone through
                    ahead.append(callee)
                    found[key] = callee
        return found

    def resolve(self, path: str, called: str, caller: Symbol) -> list[Place]:
        """The functions that a call written as `called` in a function of `path` may mean."""
        scope = owner_of(caller)
        key = (path, scope, called)
        if key not in self._resolved:
            self._resolved[key] = self._resolve(path, scope, called)[:_MAX_CANDIDATES]
        return self._resolved[key]

    def _resolve(self, path: str, scope: str, called: str) -> list[Place]:
        head, _, rest = called.partition(".")
        if head not in ("self", "cls", "super", "?") and (found := self._named(path, called, _HOPS)):
            return found
        # the type of what is before the last dot is not known: any method of that name, the nearest ones
        methods = self.methods(called.rpartition(".")[2]) if rest else []
        own = [p for p in methods if head in ("self", "cls") and p[0] == path and owner_of(p[1]) == scope]
        return own or [place for place in methods if place[0] == path] or methods

    def _named(self, path: str, dotted: str, hops: int) -> list[Place]:
        """A dotted name as seen from a module: defined there, or imported into it."""
        if here := [s for s in self.symbols(path) if s.qualname == dotted]:
            return [place for symbol in here for place in self._callable(path, symbol)]
        found: list[Place] = []
        if hops:
            head, _, rest = dotted.partition(".")
            bindings = self._bound(path)
            for module, name in bindings.get(head, []) + [(m, head) for m, _ in bindings.get("*", [])]:
                # what is imported is a thing in a module, or a module itself
                names = [(f"{module}.{name}".strip("."), rest), (module, f"{name}.{rest}".strip("."))]
                for candidate, inner in names if name else [(module, rest)]:
                    while candidate not in self._modules and "." in inner:
                        step, _, inner = inner.partition(".")
                        candidate = f"{candidate}.{step}"
                    target = self._modules.get(candidate)
                    if target and inner and target != path:
                        found += self._named(target, inner, hops - 1)
        return found

    def _callable(self, path: str, symbol: Symbol) -> list[Place]:
        """A function itself; of a class its constructor, and else all of its methods."""
        if symbol.kind != "class":
            return [(path, symbol)]
        prefix = symbol.qualname + "."
        methods = [s for s in self.symbols(path) if s.kind == "method" and s.qualname.startswith(prefix)]
        return [(path, s) for s in methods if s.name in CONSTRUCTORS] or [(path, s) for s in methods]

    @cached_property
    def _modules(self) -> dict[str, str]:
        """Dotted name -> path. Any tail of a path may be how it is imported; shorter paths win."""
        found: dict[str, str] = {}
        for path in self.sources:
            parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
            for start in range(len(parts)):
                name = ".".join(parts[start:])
                if name not in found or len(path) < len(found[name]):
                    found[name] = path
        return found

    def methods(self, name: str) -> list[Place]:
        """The methods of that name, of whatever class."""
        return self._methods.get(name, [])

    def constructors(self, path: str, owner: str) -> list[Place]:
        """Of a class in a file, those that it defines itself."""
        return [
            place
            for name in CONSTRUCTORS
            for place in self.methods(name)
            if place[0] == path and owner_of(place[1]) == owner
        ]

    @cached_property
    def _methods(self) -> dict[str, list[Place]]:
        found: dict[str, list[Place]] = {}
        for path in self.sources:
            for symbol in self.symbols(path):
                if symbol.kind == "method":
                    found.setdefault(symbol.name, []).append((path, symbol))
        return found

    def _bound(self, path: str) -> dict[str, list[tuple[str, str]]]:
        """Bound name -> the (module, name) pairs it may stand for; name is empty for a module."""
        if path not in self._bindings:
            found: dict[str, list[tuple[str, str]]] = {}
            for item in syntax.imports(self.sources[path]):
                module = _absolute(path, item.module)
                if item.name:
                    found.setdefault(item.bound, []).append((module, "" if item.name == "*" else item.name))
                elif item.bound == item.module:
                    head = item.module.partition(".")[0]
                    found.setdefault(head, []).append((head, ""))
                else:
                    found.setdefault(item.bound, []).append((module, ""))
            self._bindings[path] = found
        return self._bindings[path]


def owner_of(method: Symbol) -> str:
    """The class that a method is in."""
    return method.qualname.rpartition(".")[0]


def _absolute(path: str, module: str) -> str:
    dots = len(module) - len(module.lstrip("."))
    if not dots:
        return module
    package = path.split("/")[:-dots]
    return ".".join([*package, module[dots:]]).strip(".")
