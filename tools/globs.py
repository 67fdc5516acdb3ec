"""Globs as models write them, as regular expressions of whole paths. Pure."""

from __future__ import annotations

import re


def translate(pattern: str) -> str:
    """A regular expression for a glob: `*` and `?` stay within a folder, `**` does not, `{a,b}` is either."""
    if "/" not in pattern:
        pattern = f"**/{pattern}"
    braces = pattern.count("{") == pattern.count("}")
    result, depth = "", 0
    for token in re.findall(r"\*\*/|\*\*|\[[^/][^\]/]*\]|.", pattern, re.DOTALL):
        if token == "**/":
            result += "(?:[^/]+/)*"
        elif token == "**":
            result += ".*"
        elif token == "*":
            result += "[^/]*"
        elif token == "?":
            result += "[^/]"
        elif token.startswith("[") and len(token) > 2:
            negated, body = len(token) > 3 and token[1] == "!", token[1:-1]
            body = "".join(c if c == "-" else re.escape(c) for c in body[negated:])
            result += f"[{'^' if negated else ''}{body}]"
        elif token == "{" and braces:
            result, depth = result + "(?:", depth + 1
        elif token in "}," and depth:
            result, depth = result + (")" if token == "}" else "|"), depth - (token == "}")
        else:
            result += re.escape(token)
    return result + ")" * depth
