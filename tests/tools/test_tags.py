"""Each language: what its query finds in a small text of ours, and what hostile texts do."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tools import grammars
from tools.grammars import LANGUAGES, GrammarMissing, language_of, load
from tools.tags import MAX_BYTES, MAX_DEFINITIONS, tags

SAMPLES: dict[str, tuple[str, str, str]] = {
    "bash": ("f() { g 1; }\nV=1", "function f, constant V", "g"),
    "c": ("#define M(x) x\nstruct S { int a; };\nint f(T *x) { return g(x); }", "function M, class S, function f", "g T"),
    "c-sharp": ("class A : B { void M(T t) { t.Go(); new Q(); } }", "class A, method M", "B T Go Q"),
    "cpp": ("class A : public B { void m() { go(); } };\nvoid A::out(int x) {}", "class A, method m, method out", "B go"),
    "dart": ("class A extends B { int m(T t) { run(1); return t.go(2); } }\nvoid top() {}", "class A, method m, function top", "B T run go"),
    "elixir": ("defmodule A do\n  def f(x), do: g(x)\n  defp z, do: 1\nend", "module A, function f, function z", "g"),
    "fortran": ("module m\ncontains\nsubroutine s(x)\n call t(x)\nend subroutine\nend module\n", "module m, function s", "t"),
    "go": ("package a\ntype Box struct{}\nfunc (b *Box) Get() T { return c.Run() }\nfunc Make() { helper(1) }", "type Box, method Get, function Make", "Box T Run helper"),
    "groovy": ("class A extends B { def m(int x) { x.go(2); new Q() } }", "class A, method m", "B go Q"),
    "haskell": ("data T = C Int\nclass K a where\n  m :: a -> Int\nf :: Int -> Int\nf x = g (h x)\n", "type T, class K, method m, function f", "g h C"),
    "java": ("class C extends D { C() {} int m(T t) { return new B().go(); } }\ninterface I {}", "class C, method C, method m, type I", "D T B go"),
    "javascript": ("class A extends B { m() { run(); x.go(); } }\nconst g = (x) => new Q();\nexports.e = function() {}", "class A, method m, function g, function e", "B run go Q"),
    "julia": ("module M\nstruct P end\nfunction f(x)\n g(x)\nend\nk(x) = A.h(x)\nend", "module M, class P, function f, function k", "g h"),
    "kotlin": ("class A : B() {\n    fun m(y: T): R { return y.go(2) }\n}\n\nfun top() { run(1) }\n", "class A, method m, function top", "B T R go run"),
    "lua": ("local function f() g(1) end\nfunction M:k() x.run() end\nq = function() end", "function f, method k, function q", "g run"),
    "objc": ("@implementation A\n- (int)m:(int)x { [self go:1]; return g(2); }\n@end", "class A, method m", "go g"),
    "ocaml": ("type t = C\nlet f x = g (M.h x)\nmodule N = struct let z = 1 end", "type t, function f, module N, constant z", "g h M"),
    "pascal": ("unit u; interface procedure p(x: t); implementation procedure p(x: t); begin q(x); end; end.", "module u, function p, function p", "t q"),
    "php": ("<?php\nfunction f($x) { g(1); return new Q(); }\nclass A extends B { function m() { $x->run(); } }", "function f, class A, method m", "g Q B run"),
    "python": ("import a\nK = 1\nclass A(B):\n    def m(self, x: T):\n        x.go()\n@deco\ndef f(): run()", "constant K, class A, method m, function f", "a B T go deco run"),
    "ruby": ("module M\n class A < B\n  def m(x)\n   x.run(1)\n  end\n  def self.s; end\n end\nend", "module M, class A, method m, method s", "B run"),
    "rust": ("struct P;\nimpl P { fn new() -> Q { go() } }\nfn free() { mac!(1); s.run(); }", "class P, method new, function free", "Q go mac run"),
    "scala": ("class A extends B { def m(y: T) = y.go(1) }\nobject O\ntrait Tr", "class A, method m, class O, type Tr", "B T go"),
    "swift": ("class A: B { func m(y: T) { y.go(2) } }\nfunc top() { run(1) }", "class A, method m, function top", "B T go run"),
    "tsx": ("const V = (p: Props) => <Box/>;\ninterface Props {}", "function V, type Props", "Props"),
    "typescript": ("export class A extends B { m(x: T) { x.go() } }\ninterface I { z(): void }\nenum E { X }", "class A, method m, type I, method z, type E", "B T go"),
    "zig": ("const P = struct { fn m(self: P) void { self.run(); } };\nfn f() void { go(); }", "class P, method m, function f", "P run go"),
}  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_definitions_and_references_of_each_language(language: str) -> None:
    source, defined, referred = SAMPLES[language]
    found = tags(source.encode(), language)
    assert ", ".join(f"{d.kind} {d.name}" for d in found.definitions) == defined
    assert set(referred.split()) <= found.references.keys()
    lines = source.splitlines()
    assert all(d.name in lines[d.line - 1] and d.text == lines[d.line - 1][:120] for d in found.definitions)


def test_at_least_twenty_languages() -> None:
    assert len({grammar.module for grammar in LANGUAGES.values()}) >= 20


@pytest.mark.parametrize(
    ("path", "language"),
    [("a/b.py", "python"), ("x.TSX", "tsx"), ("Rakefile", "ruby"), ("a.py/README", None), ("noend", None)],
)
def test_a_file_is_in_the_language_of_its_name(path: str, language: str | None) -> None:
    assert language_of(path) == language


def test_a_grammar_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = LANGUAGES["lua"]._replace(module="tree_sitter_not_there")
    monkeypatch.setitem(grammars.LANGUAGES, "not-there", entry)
    with pytest.raises(GrammarMissing, match=r"pip install 'pawl-agent\[languages\]'"):
        load("not-there")


def test_broken_and_hostile_sources() -> None:
    assert [d.name for d in tags(b"def f(:\n\ndef g(): pass\n", "python").definitions][-1] == "g"
    assert tags(b"\xff\xfe\0" * 1000, "python").definitions == ()
    assert tags(b"x" * (MAX_BYTES + 1), "python").definitions == ()
    many = tags(b"def f(): pass\n" * (MAX_DEFINITIONS + 10), "python")
    assert len(many.definitions) == MAX_DEFINITIONS
    long = tags(b"def " + b"n" * 500 + b"(): pass", "python").definitions[0]
    assert (len(long.name), len(long.text)) == (80, 120)


def test_a_source_that_takes_too_long_has_no_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = b"x = " + b"(1," * 100_000
    monkeypatch.setattr("tools.tags.MAX_SECONDS", 0.01)
    assert tags(deep, "python").definitions == ()
    assert tags(b"def f(): pass", "python").definitions[0].name == "f"


def test_loading_the_table_loads_no_grammar() -> None:
    program = "import sys, tools.grammars; sys.exit(any(m.startswith('tree_sitter_') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-P", "-c", program], check=False, timeout=30).returncode == 0
