"""The licence of a tree, as an SPDX identifier, by its manifest or the words of its licence file. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping

FILES = re.compile(
    r"(LICEN[CS]E|COPYING|UNLICENSE)[^/]*|pyproject\.toml|setup\.cfg|setup\.py|package\.json|Cargo\.toml",
    re.I,
)
"""Files at the top that say it."""
_PHRASES = (
    ("AGPL-3.0", r"GNU AFFERO GENERAL PUBLIC LICENSE"),
    ("LGPL-3.0", r"GNU LESSER GENERAL PUBLIC LICENSE\s+Version 3"),
    ("LGPL-2.1", r"GNU LESSER GENERAL PUBLIC LICENSE\s+Version 2\.1"),
    ("GPL-3.0", r"GNU GENERAL PUBLIC LICENSE\s+Version 3"),
    ("GPL-2.0", r"GNU GENERAL PUBLIC LICENSE\s+Version 2"),
    ("Apache-2.0", r"Apache License,?\s+Version 2\.0"),
    ("MPL-2.0", r"Mozilla Public License,? (Version|v\.?) ?2\.0"),
    ("PSF-2.0", r"PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2"),
    ("Unlicense", r"This is free and unencumbered software released into the public domain"),
    ("CC0-1.0", r"CC0 1\.0 Universal"),
    ("MIT", r"Permission is hereby granted, free of charge, to any person obtaining a copy"),
    ("ISC", r"Permission to use, copy, modify, and(/or)? distribute this software for any purpose"),
    (
        "BSD-3-Clause",
        r"Redistribution and use in source and binary forms[\s\S]*(Neither the name|The names? of)",
    ),
    ("BSD-2-Clause", r"Redistribution and use in source and binary forms"),
)
"""Words that stand in one licence and not in those below it."""
_CLASSIFIER = re.compile(r"License :: OSI Approved :: ([^\"'\n]+)")
_FIELD = re.compile(
    r"(?:^|[{,])\s*[\"']?license[\"']?\s*[=:]\s*[\"']?([\w.+-]+)[\"']?\s*(?:[,}]|$)", re.M | re.I
)


def of_interest(paths: Iterable[str]) -> list[str]:
    """The paths that `licence` is to look at, those of whole licences first."""
    return sorted((path for path in paths if FILES.fullmatch(path)), key=lambda path: "." in path)


def licence(files: Mapping[str, bytes]) -> str:
    """The identifier, "" when nothing says it. What a manifest says of itself comes before a file's words."""
    texts = {path: data.decode("utf-8", "replace") for path, data in files.items()}
    if declared := _declared(texts.get("pyproject.toml", "")):
        return declared
    for path, text in texts.items():
        if path.upper().startswith(("LICEN", "COPYING", "UNLICENSE")):
            flat = re.sub(r"\s+", " ", text)
            for name, phrase in _PHRASES:
                if re.search(phrase, flat, re.I):
                    return name
    for text in texts.values():
        if match := _FIELD.search(text) or _CLASSIFIER.search(text):
            return match[1].strip()
    return ""


def _declared(pyproject: str) -> str:
    """An SPDX expression of `project.license` (PEP 639), where there is one."""
    try:
        value = tomllib.loads(pyproject).get("project", {}).get("license", "")
    except (tomllib.TOMLDecodeError, AttributeError):
        return ""
    if isinstance(value, dict):
        value = value.get("text", "")
    return value if isinstance(value, str) and re.fullmatch(r"[\w.+() -]{2,60}", value) else ""
