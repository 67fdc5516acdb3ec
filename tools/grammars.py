"""Which tree-sitter grammar reads a file, and how it is loaded.

A language is one entry in `LANGUAGES` and one file in `tools/queries/`. Grammars are wheels of their own; the
commonest come with pawl, the others with the extra `languages`.
"""

from __future__ import annotations

import functools
import importlib
from typing import NamedTuple

from tree_sitter import Language

from tools.base import ToolError


class GrammarMissing(ToolError):
    """A file is in a language that pawl knows, but whose grammar is not installed."""


class Grammar(NamedTuple):
    """Where the grammar of a language is, and which files are in it."""

    module: str
    suffixes: tuple[str, ...]
    function: str = "language"
    names: tuple[str, ...] = ()
    """Whole names of files that have no telling suffix."""
    query: str = ""
    """Name of the file in `tools/queries/`, when it is not the language's own."""


LANGUAGES: dict[str, Grammar] = {
    "bash": Grammar("tree_sitter_bash", (".sh", ".bash", ".zsh"), names=(".bashrc", ".profile")),
    "c": Grammar("tree_sitter_c", (".c", ".h")),
    "c-sharp": Grammar("tree_sitter_c_sharp", (".cs",)),
    "cpp": Grammar("tree_sitter_cpp", (".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx", ".cu", ".ipp")),
    "dart": Grammar("tree_sitter_dart", (".dart",)),
    "elixir": Grammar("tree_sitter_elixir", (".ex", ".exs")),
    "fortran": Grammar("tree_sitter_fortran", (".f90", ".f95", ".f03", ".f08")),
    "go": Grammar("tree_sitter_go", (".go",)),
    "groovy": Grammar("tree_sitter_groovy", (".groovy", ".gradle"), names=("Jenkinsfile",)),
    "haskell": Grammar("tree_sitter_haskell", (".hs",)),
    "java": Grammar("tree_sitter_java", (".java",)),
    "javascript": Grammar("tree_sitter_javascript", (".js", ".jsx", ".mjs", ".cjs")),
    "julia": Grammar("tree_sitter_julia", (".jl",)),
    "kotlin": Grammar("tree_sitter_kotlin", (".kt", ".kts")),
    "lua": Grammar("tree_sitter_lua", (".lua",)),
    "objc": Grammar("tree_sitter_objc", (".m", ".mm")),
    "ocaml": Grammar("tree_sitter_ocaml", (".ml",), "language_ocaml"),
    "pascal": Grammar("tree_sitter_pascal", (".pas", ".pp", ".dpr")),
    "php": Grammar("tree_sitter_php", (".php",), "language_php"),
    "python": Grammar("tree_sitter_python", (".py", ".pyi", ".pyw"), names=("SConstruct", "SConscript")),
    "ruby": Grammar("tree_sitter_ruby", (".rb", ".rake", ".gemspec"), names=("Rakefile", "Gemfile")),
    "rust": Grammar("tree_sitter_rust", (".rs",)),
    "scala": Grammar("tree_sitter_scala", (".scala", ".sc")),
    "swift": Grammar("tree_sitter_swift", (".swift",)),
    "tsx": Grammar("tree_sitter_typescript", (".tsx",), "language_tsx", query="typescript"),
    "typescript": Grammar("tree_sitter_typescript", (".ts", ".mts", ".cts"), "language_typescript"),
    "zig": Grammar("tree_sitter_zig", (".zig",)),
}

_BY_SUFFIX = {suffix: name for name, grammar in LANGUAGES.items() for suffix in grammar.suffixes}
_BY_NAME = {file: name for name, grammar in LANGUAGES.items() for file in grammar.names}


def language_of(path: str) -> str | None:
    """Name of the language of a file, by its name; None when it is not one of ours."""
    name = path.rpartition("/")[2]
    return _BY_NAME.get(name) or _BY_SUFFIX.get(name[name.rfind(".") :].lower())


@functools.cache
def load(language: str) -> Language:
    """The grammar of a key of `LANGUAGES`. Raises GrammarMissing, with the command that installs it."""
    grammar = LANGUAGES[language]
    try:
        module = importlib.import_module(grammar.module)
    except ImportError:
        raise GrammarMissing(
            f"The grammar for {language} is not installed: pip install 'pawl-agent[languages]'. "
            "Until then use grep and read for such files."
        ) from None
    return Language(getattr(module, grammar.function)())


def installed(language: str) -> bool:
    """Whether files of that language can be read; loads the grammar."""
    try:
        load(language)
    except GrammarMissing:
        return False
    return True
