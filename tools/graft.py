"""Put a whole corrected function in the place of the old one, by the syntax tree (Python).

Small models write a function far more reliably than an edit of it, but they write it at the wrong depth, with
imports and helpers around it, without its decorators or docstring. What the reply means is taken; every byte
outside the function stays as it was, and so does every line inside that did not change.
"""

from __future__ import annotations

import difflib
import io
import re
import textwrap
import tokenize

import msgspec

from tools import syntax
from tools.syntax import Statement, Symbol, SyntaxProblem

_PLACEHOLDER = re.compile(
    r"#\s*(\.\.\.|…|.*\b(rest|remainder|remaining|existing|other)\b.*\b(code|function|method|unchanged|same|here|logic)\b)",
    re.IGNORECASE,
)


class _Place(msgspec.Struct, frozen=True):
    """How the surroundings of the old function are written."""

    symbol: Symbol
    indent: bytes
    unit: bytes
    newline: bytes


class _Reply(msgspec.Struct, frozen=True):
    """The model's code as it could be read, with the function that was meant."""

    source: bytes
    symbol: Symbol


def replace_function(source: bytes, target: str | Symbol, code: str, *, keep_docstring: bool = True) -> bytes:
    """The source with the function `target` (a qualname, or its Symbol in this source) replaced from `code`.

    Of `code` is taken: the last function of that name; its decorators, or else the old ones; imports and
    helpers that the function uses and the file does not have (helpers go before the function, methods among
    them into its class). With `keep_docstring` an old docstring stays: it says what the function is for, and
    a small model that rewrites it along with the code does so at random. The rest of `code`, also other
    functions that the file already has, is ignored. Raises SyntaxProblem, worded for the model, when there is
    no such function, or it is incomplete, or the result would not parse.
    """
    symbol = target if isinstance(target, Symbol) else find_function(source, target)
    reply = _read(code, symbol)
    _refuse_placeholder(source, symbol, reply)
    place = _place(source, symbol)
    encoding = _encoding(source)
    start = symbol.start_byte if _decorated(reply.symbol) else symbol.def_byte
    fresh = _lines(reply, reply.symbol, place, encoding)
    body = _keep_equal_lines(source[start : symbol.end_byte], fresh, place)
    result = source[:start] + body + source[symbol.end_byte :]
    if keep_docstring and symbol.docstring:
        result = _with_docstring(result, start, source[slice(*symbol.docstring)], place)
    result = _add_helpers(source, result, reply, place, encoding)
    new_errors = syntax.errors(result)
    if new_errors and not syntax.errors(source):
        line, what = new_errors[0]
        raise SyntaxProblem(f"the file would no longer parse: line {line}: {what}", line)
    return result


def find_function(source: bytes, name: str) -> Symbol:
    """The one function that `name` (qualname, or its last parts) means; not its overloads."""
    known = syntax.functions(source)
    fitting = [s for s in known if s.qualname == name] or [
        s for s in known if s.qualname.endswith("." + name)
    ]
    plain = [s for s in fitting if b"overload" not in source[s.start_byte : s.def_byte]]
    if len(plain) == 1:
        return plain[0]
    if fitting:
        places = ", ".join(f"{s.qualname} in line {s.start_line}" for s in fitting)
        raise SyntaxProblem(f"{name!r} is not unique: {places}")
    raise SyntaxProblem(f"there is no function {name!r}; there are: {_names(known)}")


def _names(found: list[Symbol]) -> str:
    return ", ".join(s.qualname for s in found[:12]) or "none"


def _decorated(symbol: Symbol) -> bool:
    return symbol.start_byte != symbol.def_byte


def _encoding(source: bytes) -> str:
    try:
        return tokenize.detect_encoding(io.BytesIO(source).readline)[0].replace("utf-8-sig", "utf-8")
    except SyntaxError as error:
        raise SyntaxProblem(f"the file's encoding is not known: {error}") from None


def _place(source: bytes, symbol: Symbol) -> _Place:
    indent = _indent_before(source, symbol.start_byte)
    inner = _indent_before(source, symbol.body_byte)
    unit = inner.removeprefix(indent)
    if b"\n" not in source[symbol.def_byte : symbol.body_byte] or not unit:
        unit = b"\t" if b"\t" in indent else b"    "
    line = source[symbol.def_byte : source.find(b"\n", symbol.def_byte) + 1]
    return _Place(symbol, indent, unit, b"\r\n" if line.endswith(b"\r\n") else b"\n")


def _indent_before(source: bytes, offset: int) -> bytes:
    """White space at the beginning of the line that holds `offset`."""
    line = source[source.rfind(b"\n", 0, offset) + 1 : offset].removeprefix(b"\xef\xbb\xbf")
    return line[: len(line) - len(line.lstrip(b" \t"))]


def _read(code: str, wanted: Symbol) -> _Reply:
    """The reading of the reply in which the function stands and is whole."""
    seen: list[Symbol] = []
    problem: SyntaxProblem | None = None
    for text in _readings(code):
        source = text.encode("utf-8", "surrogateescape")
        found = syntax.functions(source)
        seen = seen or found
        named = [s for s in found if s.name == wanted.name]
        if not named:
            continue
        # a reply may first repeat the old function: the last one is the answer
        best = max(named, key=lambda s: (s.qualname == wanted.qualname, -s.qualname.count("."), s.start_byte))
        indent = _indent_before(source, best.start_byte)
        # an indented definition parses only inside of something
        opening = b"if True:\n" if indent else b""
        block = indent + source[best.start_byte : best.end_byte]
        wrong = syntax.errors(opening + block)
        if not wrong:
            return _Reply(source, best)
        line = wrong[0][0] - opening.count(b"\n")
        shown = block.decode("utf-8", "replace").split("\n")[line - 1 : line]
        problem = problem or SyntaxProblem(
            f"syntax error in line {line} of {wanted.name}: {wrong[0][1]}: {''.join(shown).strip()}", line
        )
    raise problem or SyntaxProblem(f"the code has no function {wanted.name!r}; it has: {_names(seen)}")


def _readings(code: str) -> list[str]:
    """The text with the ways to mend its indentation that are worth trying, likeliest first."""
    text = code.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").strip("\n") + "\n"
    # text as it is before any dedent, which would also move the lines of strings
    readings = [f"class _:\n{text}" if text.startswith((" ", "\t")) else text, textwrap.dedent(text)]
    indents = [line[: len(line) - len(line.lstrip())] for line in text.split("\n")[1:] if line.strip()]
    if indents and not text.startswith((" ", "\t")):
        # the first line lost its indentation, the others kept theirs
        readings.append(textwrap.dedent(min(indents, key=len) + text))
    return readings


def _refuse_placeholder(source: bytes, symbol: Symbol, reply: _Reply) -> None:
    old = set(syntax.comments(source, symbol.start_byte, symbol.end_byte))
    for comment in syntax.comments(reply.source, reply.symbol.start_byte, reply.symbol.end_byte):
        if comment not in old and _PLACEHOLDER.match(comment):
            raise SyntaxProblem(f"write the whole function; {comment.strip()!r} stands for a part of it")


def _lines(reply: _Reply, part: Symbol | Statement, place: _Place, encoding: str) -> list[bytes]:
    """Lines of a part of the reply at the place's depth, without line ends and without the first indent."""
    start = reply.source.rfind(b"\n", 0, part.start_byte) + 1
    lines = reply.source[start : part.end_byte].split(b"\n")
    docstring = part.docstring if isinstance(part, Symbol) else None
    fixed = _string_lines(reply.source, start, docstring)
    head = reply.source.count(b"\n", start, part.body_byte) if isinstance(part, Symbol) else 0
    depths = [max(_width(line) - _width(lines[0]), 0) for line in lines]
    body = depths[head] if head else 0
    step = _step(lines, depths, fixed, body, len(place.unit.expandtabs(4)))
    if body > step and not _width(lines[0]):
        # the first line lost its indentation and the others did not: they all stand too deep
        depths = [max(depth - body + step, 0) for depth in depths]
    while head > 1 and (not lines[head - 1].strip() or lines[head - 1].lstrip().startswith(b"#")):
        head -= 1
    result = []
    for i, line in enumerate(lines):
        if i in fixed:
            result.append(line)
        elif not line.strip():
            result.append(b"")
        else:
            # lines of a signature are aligned with what they stand below, not indented in steps
            levels, rest = divmod(depths[i], step) if i >= head else (0, depths[i])
            result.append(place.indent + place.unit * levels + b" " * rest + line.strip(b" \t\r"))
    text = b"\n".join(result)[len(place.indent) :]
    try:
        return text.decode("utf-8", "surrogateescape").encode(encoding, "surrogateescape").split(b"\n")
    except UnicodeEncodeError as error:
        raise SyntaxProblem(f"the file is {encoding}; it cannot hold {error.object[error.start]!r}") from None


def _step(lines: list[bytes], depths: list[int], fixed: set[int], body: int, usual: int) -> int:
    """Columns of one level of indentation: by which blocks in the body most often go in; else `usual`."""
    opened = [
        i for i, line in enumerate(lines[:-1]) if line.rstrip().endswith(b":") and depths[i] >= max(body, 1)
    ]
    deeper = [
        depths[i + 1] - depths[i] for i in opened if not {i, i + 1} & fixed and depths[i + 1] > depths[i]
    ]
    if deeper:
        return max(set(deeper), key=deeper.count)
    return next((width for width in (usual, 4) if body % width == 0), body)


def _width(line: bytes) -> int:
    return len((line[: len(line) - len(line.lstrip(b" \t"))]).expandtabs(4))


def _string_lines(source: bytes, start: int, docstring: tuple[int, int] | None) -> set[int]:
    """Numbers from 0 at `start` of the lines that begin inside a string; those of the docstring may move."""
    found: set[int] = set()
    for span in syntax.multiline_strings(source):
        if span[0] >= start and span != docstring:
            first = source.count(b"\n", start, span[0])
            found.update(range(first + 1, first + 1 + source.count(b"\n", *span)))
    return found


def _keep_equal_lines(old: bytes, fresh: list[bytes], place: _Place) -> bytes:
    """The fresh lines; one that equals an old line but for trailing space is that line, line end included."""
    old_lines = old.split(b"\n")
    matcher = difflib.SequenceMatcher(
        None, [line.rstrip() for line in old_lines], [line.rstrip() for line in fresh], autojunk=False
    )
    carriage = place.newline.removesuffix(b"\n")
    result = [line.rstrip(b"\r") + carriage for line in fresh]
    for block in matcher.get_matching_blocks():
        result[block.b : block.b + block.size] = old_lines[block.a : block.a + block.size]
    # the last line ends where the function ends: what follows brings its own line end
    return b"\n".join(
        [
            *(line if line.endswith(carriage) else line + carriage for line in result[:-1]),
            result[-1].rstrip(b"\r"),
        ]
    )


def _with_docstring(source: bytes, start: int, docstring: bytes, place: _Place) -> bytes:
    """The source with this docstring in the function at `start`, in place of the one that is there if any."""
    symbol = next(s for s in syntax.functions(source) if s.start_byte <= start <= s.def_byte)
    if symbol.docstring:
        first, end = symbol.docstring
        return source[:first] + docstring + source[end:]
    inner = place.newline + place.indent + place.unit
    at = symbol.body_byte
    if b"\n" in source[symbol.def_byte : at]:
        return source[:at] + docstring + inner + source[at:]
    return source[:at].rstrip(b" ") + inner + docstring + inner + source[at:]


def _add_helpers(source: bytes, result: bytes, reply: _Reply, place: _Place, encoding: str) -> bytes:
    """Add what the new function uses, the reply brings and the file lacks: imports, definitions, constants.

    Everything goes above the function, where `result` is still the same as `source`; from below upwards.
    """
    own = {name for s in syntax.statements(source) for name in s.names}
    parts, used = _helpers(source, reply, place, own)
    outer = _Place(place.symbol, b"", place.unit, place.newline)
    top = next(s for s in syntax.statements(source) if s.end_byte > place.symbol.start_byte)
    for where, before, inside in ((place, place.symbol.start_byte, True), (outer, top.start_byte, False)):
        text = b""
        for part in (p for p in parts if isinstance(p, Symbol) == inside):
            gap = 2 if inside or (isinstance(part, Statement) and part.kind == "assignment") else 3
            text += (
                where.indent + place.newline.join(_lines(reply, part, where, encoding)) + place.newline * gap
            )
        at = _above_comments(source, before)
        result = result[:at] + text + result[at:]
    return _add_imports(source, result, reply, used - own, place)


def _helpers(
    source: bytes, reply: _Reply, place: _Place, own: set[str]
) -> tuple[list[Symbol | Statement], set[str]]:
    """Methods (as Symbols) and top-level statements to bring along; and all names used then."""
    mine = reply.symbol
    used = syntax.identifiers(reply.source, mine.start_byte, mine.end_byte)
    offered: list[Symbol | Statement] = []
    offered += [s for s in _sibling_methods(reply) if not _has_method(source, place.symbol, s.name)]
    taken_starts = {part.start_byte for part in offered}
    offered += [
        s
        for s in syntax.statements(reply.source)
        if s.kind in ("definition", "assignment")
        and not s.names & (own | {mine.name})
        and s.start_byte not in taken_starts
        and not s.start_byte <= mine.start_byte < s.end_byte
    ]
    taken: list[Symbol | Statement] = []
    while more := [part for part in offered if part not in taken and _part_names(part) & used]:
        taken += more
        for part in more:
            used |= syntax.identifiers(reply.source, part.start_byte, part.end_byte)
    return sorted(taken, key=lambda part: part.start_byte), used


def _part_names(part: Symbol | Statement) -> set[str]:
    return {part.name} if isinstance(part, Symbol) else set(part.names)


def _sibling_methods(reply: _Reply) -> list[Symbol]:
    """Functions of the reply that the new one calls on itself, so that they belong to its class."""
    mine = reply.symbol
    paths = {c.path for c in syntax.calls(reply.source, mine.start_byte, mine.end_byte)}
    return [
        s
        for s in syntax.functions(reply.source)
        if s.name != mine.name
        and s.qualname.count(".") == mine.qualname.count(".")
        and paths & {f"self.{s.name}", f"cls.{s.name}"}
    ]


def _has_method(source: bytes, symbol: Symbol, name: str) -> bool:
    scope = symbol.qualname.rpartition(".")[0]
    return symbol.kind != "method" or any(s.qualname == f"{scope}.{name}" for s in syntax.symbols(source))


def _above_comments(source: bytes, offset: int) -> int:
    """Start of the line of `offset`, or of the comment lines right above it."""
    at = source.rfind(b"\n", 0, offset) + 1
    while at > 0:
        before = source.rfind(b"\n", 0, at - 1) + 1
        line = source[before:at].strip()
        if not line.startswith(b"#") or line.startswith(b"#!"):
            break
        at = before
    return max(at, 3 if source.startswith(b"\xef\xbb\xbf") else 0)


def _add_imports(source: bytes, result: bytes, reply: _Reply, missing: set[str], place: _Place) -> bytes:
    tops = [s for s in syntax.statements(reply.source) if s.kind == "import"]
    wanted: dict[str, str] = {}
    for item in syntax.imports(b"\n".join(reply.source[s.start_byte : s.end_byte] for s in tops)):
        name = item.bound.partition(".")[0]
        if name in missing and item.module != "__future__":
            wanted.setdefault(item.bound, item.code)
    if not wanted:
        return result
    text = place.newline.join(code.encode() for code in wanted.values()) + place.newline
    body = syntax.statements(source)
    before = [s for s in body if s.kind == "import" and s.end_byte <= place.symbol.start_byte]
    if not before and body and body[0].kind == "other" and source[body[0].start_byte :][:1] in b"\"'":
        before, text = body[:1], place.newline + text
    if before:
        at = result.find(b"\n", before[-1].end_byte) + 1
        return result[:at] + text + result[at:]
    at = _above_comments(source, body[0].start_byte)
    return result[:at] + text + place.newline * 2 + result[at:]
