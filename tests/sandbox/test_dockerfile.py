"""What a Dockerfile would have the daemon fetch, told from its text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.devcontainer import is_image_name
from sandbox.dockerfile import DockerfileError, Needs, needs


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("FROM python:3", ["python:3"]),
        ("from python:3 as base\nFROM base\nFROM Base AS x\nFROM x", ["python:3"]),
        ("FROM scratch\nCOPY a /a", []),
        ("# comment\n\nFROM \\\n# inside\n\n  --platform=linux/amd64 \\\n  alpine\n", ["alpine"]),
        ("ARG V=3.12\nFROM python:${V}-slim", ["python:3.12-slim"]),
        ("ARG V='3.12'\r\nFROM python:$V\r\n", ["python:3.12"]),
        ("FROM python:${V:-3}", ["python:3"]),
        ("ARG I=a J=b\nFROM $I\nFROM $J", ["a", "b"]),
        ("FROM a AS one\nFROM b\nCOPY --from=one x y\nCOPY --from=0 x y\nCOPY --from=c x y", ["a", "b", "c"]),
        ("\ufeffFROM a\nONBUILD COPY --from=d /x /y", ["a", "d"]),
        ("FROM a\nRUN echo FROM b", ["a"]),
        ("FROM a\nRUN x \\\nFROM b", ["a"]),
        ("FR\\\nOM a", ["a"]),
        ("FROM a\nADD x.tar.gz src/ /opt/\nADD --chown=1:1 x /y", ["a"]),
        ("FROM scratch\nLABEL a=b \\\n \t\n\n  # comment\n c=d", []),
        ("ARG V=1\nARG V\nFROM ${V:-b}", ["b"]),
        ("FROM a\nRUN echo $((1 << 2)) && cat <<< x # \u00e9\n# no\u00a0break \x1c", ["a"]),
        ("FROM a\nARG X=1\nRUN curl http://example", ["a"]),
        ("", []),
    ],
)  # fmt: skip
def test_images_that_are_needed(text: str, images: list[str]) -> None:
    assert needs(text, {}) == Needs(tuple(images), ())


def test_an_argument_of_the_build_comes_before_the_default() -> None:
    assert needs("ARG V=1\nFROM a:$V", {"V": "2"}).images == ("a:2",)
    assert needs("ARG V\nFROM a:$V", {"V": "2"}).images == ("a:2",)


@pytest.mark.parametrize(
    "line",
    [
        "FROM $MISSING",
        "FROM ${V:+x}",
        'FROM "a"',
        "FROM a:${V",
        "FROM ${V%x}",
        "FROM --x -y",
        "COPY --from=$X a b",
    ],
)
def test_what_cannot_be_told_is_said(line: str) -> None:
    found = needs(f"FROM known\n{line}", {})
    assert found == Needs(("known",), (line,))


@pytest.mark.parametrize(
    "line",
    [
        "ADD http://169.254.169.254/latest /x",
        "add HTTPS://example /x",
        'ADD ["http://x", "/y"]',
        'ADD ["\\u0068ttp://x", "/y"]',
        "ADD $URL /x",
        "ADD h'ttp'://x /y",
        "ADD http:\\/\\/x /y",
        "ADD git@example:x /y",
        "ADD a \\\n http://x /y",
        "A\\\nDD http://x /y",
        "ADD \\\n# comment\n http://x /y",
        "ONBUILD ADD http://x /y",
        "onbuild onbuild add http://x /y",
        "  \tADD http://x /y",
        "\u00a0ADD http://x /y",
        "RUN x\\\\\nADD http://x /y",
        "ADD <<EOF http://x /y",
    ],
)
def test_an_add_that_could_fetch_is_refused(line: str) -> None:
    with pytest.raises(DockerfileError):
        needs(f"FROM a\n{line}\n", {})


@pytest.mark.parametrize("head", ["# escape=`", "#escape = `", "#  ESCAPE=`  ", "# syntax=x\n# escape=`"])
def test_another_escape_character_is_refused(head: str) -> None:
    with pytest.raises(DockerfileError, match="escape"):
        needs(f"{head}\nFROM a\nA`\nDD http://x /y", {})
    assert needs("# escape=\\\nFROM a", {}).images == ("a",)


ODD = [
    *map(
        chr,
        [*range(9), *range(11, 13), *range(14, 32), 0x7F, 0x85, 0xA0, 0x1680, 0x180E, *range(0x2000, 0x200B)],
    ),
    *"\u2028\u2029\u202f\u205f\u3000\ufeff",
]


@pytest.mark.parametrize("odd", [*ODD, "\r "], ids=ascii)
@pytest.mark.parametrize(
    "text",
    [
        "LABEL a=b\\\n{}\nADD http://x /y",
        "LABEL a=b\\{}\nADD http://x /y",
        "LABEL a=b\\\n{}# c\nADD http://x /y",
        "{}ADD http://x /y",
        "ADD{}http://x /y",
        "LABEL a=b{}ADD http://x /y\nADD http://x /y",
    ],
)
def test_odd_white_space_hides_no_add(text: str, odd: str) -> None:
    with pytest.raises(DockerfileError):
        needs("FROM scratch\n" + text.format(odd), {})


@pytest.mark.parametrize(
    "text",
    [
        "FROM a\nCOPY --fr\\om=127.0.0.1:5000/x /a /b",
        'FROM a\nCOPY --chown=1 --"from"=127.0.0.1:5000/x /a /b',
        "FROM --platform=x\\ a 127.0.0.1:5000/x",
        "ARG I=a\\ J=b\nFROM ${J:-127.0.0.1:5000/x}",
        'ARG I="a J=b"\nFROM ${J:-127.0.0.1:5000/x}',
        "FROM a\nONBU\u0130LD ADD http://x /y",
        "FROM a\nRUN <<'A\\'\nx\nA\\\nADD http://x /y",
        "FROM a\nRUN 3<<-EOF cat\nEOF",
        "FROM a\nonbuild copy <<E /x\nE",
    ],
)
def test_what_is_not_surely_read_is_refused(text: str) -> None:
    with pytest.raises(DockerfileError):
        needs(text, {})


@given(st.text(alphabet=[*'FROMAD \\\n#:/=<"\r\t', *ODD], max_size=40))
def test_an_address_after_any_text_is_never_overlooked(text: str) -> None:
    """Unless the line before it takes it in, as docker reads it too."""
    try:
        needs(f"FROM scratch\n{text}\nADD http://x /y", {})
    except DockerfileError:
        return
    lines = [
        line for line in text.split("\n") if line.strip(" \t\r") and not line.lstrip(" \t").startswith("#")
    ]
    assert lines and lines[-1].rstrip(" \t\r").endswith("\\")


@given(st.text(alphabet="FROMADaopy \\\n#$:/{}-=\"'`[x", max_size=60))
def test_any_text_is_read_or_refused_and_names_are_names(text: str) -> None:
    try:
        found = needs(text, {})
    except DockerfileError:
        return
    assert all(is_image_name(image) for image in found.images)
