"""What an image is built from: confined to the project, told apart by its content."""

from __future__ import annotations

import io
import os
import re
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import recipe as recipes
from sandbox.base import SandboxError
from sandbox.devcontainer import Build, DevcontainerError
from sandbox.recipe import Ignore, Recipe, pack, read_recipe, repository


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "My Project"
    (folder / ".devcontainer").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / ".devcontainer" / "Dockerfile").write_text("FROM scratch\nCOPY x /x\n")
    return folder


def read(project: Path, dockerfile: str = "Dockerfile", context: str = "", **more: object) -> Recipe:
    return read_recipe(project, Build(dockerfile, context, **more))  # type: ignore[arg-type]


def packed(recipe: Recipe) -> tuple[str, dict[str, tarfile.TarInfo], tarfile.TarFile]:
    out = io.BytesIO()
    name = pack(recipe, out)
    out.seek(0)
    archive = tarfile.open(fileobj=out)  # noqa: SIM115
    return name, {member.name: member for member in archive.getmembers()}, archive


# --- the key ---------------------------------------------------------------------------------------------


def test_the_tag_names_the_project_and_its_content(project: Path) -> None:
    tag = read(project).tag
    assert re.fullmatch(r"pawl/my-project-[0-9a-f]{8}:[0-9a-f]{24}", tag)
    assert read(project).tag == tag
    (project / "src.py").write_text("no part of the key")
    (project / "Dockerfile").touch()
    assert read(project).tag == tag


def test_whatever_decides_the_build_changes_the_key(project: Path) -> None:
    tags = [read(project).tag]
    tags.append(read(project, target="dev").tag)
    tags.append(read(project, args={"A": "1"}).tag)
    tags.append(read(project, context=".devcontainer").tag)
    tags.append(read(project, ".devcontainer/Dockerfile").tag)
    (project / "uv.lock").write_text("1")
    tags.append(read(project).tag)
    (project / "uv.lock").write_text("2")
    tags.append(read(project).tag)
    (project / ".dockerignore").write_text("x")
    tags.append(read(project).tag)
    (project / ".devcontainer" / "requirements.txt").write_text("x")
    tags.append(read(project, ".devcontainer/Dockerfile").tag)
    (project / "Dockerfile").write_text("FROM scratch\n\n")
    tags.append(read(project).tag)
    assert len(set(tags)) == len(tags)


def test_projects_of_one_name_have_images_of_their_own(tmp_path: Path) -> None:
    names = [repository(tmp_path / place / "app") for place in "ab"]
    assert len(set(names)) == 2
    assert repository(tmp_path / "ÄÖ---").startswith("pawl/project-")


# --- confined --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dockerfile", "context"),
    [("missing", ""), ("link", ""), ("out/Dockerfile", ""), ("Dockerfile", "out"), ("Dockerfile", "missing"),
     ("Dockerfile", "Dockerfile"), (".devcontainer", ""), ("binary", ""), ("fifo", ""), ("large", "")],
)  # fmt: skip
def test_what_is_not_plainly_in_the_project_is_refused(project: Path, dockerfile: str, context: str) -> None:
    outside = project.parent / "outside"
    outside.mkdir()
    (outside / "Dockerfile").write_text("FROM secret\n")
    (project / "link").symlink_to(outside / "Dockerfile")
    (project / "out").symlink_to(outside)
    (project / "binary").write_bytes(b"\xff\xfe")
    (project / "large").write_bytes(b"#" * 10**6)
    os.mkfifo(project / "fifo")
    with pytest.raises(DevcontainerError):
        read(project, dockerfile, context)


def test_the_context_holds_the_project_and_nothing_else(project: Path) -> None:
    outside = project.parent / "secret"
    outside.mkdir()
    (outside / "key").write_text("secret")
    (project / "src").mkdir()
    (project / "src" / "a.py").write_text("print()")
    (project / "src" / "a.py").chmod(0o4755)
    (project / "link").symlink_to(outside)
    (project / "file").symlink_to(outside / "key")
    os.mkfifo(project / "fifo")
    for name in (".git", "__pycache__", "src/.git"):
        (project / name).mkdir()
        (project / name / "config").write_text("token")
    for name in (".env", "id_rsa", "server.pem", ".netrc", ".env.example"):
        (project / name).write_text("x")
    name, members, archive = packed(read(project))
    assert name == "Dockerfile"
    assert set(members) == {
        "Dockerfile", ".devcontainer", ".devcontainer/Dockerfile", "src", "src/a.py", "link", "file",
        ".env.example",
    }  # fmt: skip
    assert members["link"].issym()
    assert members["file"].issym()
    assert members["src/a.py"].mode == 0o755
    found = archive.extractfile("src/a.py")
    assert found is not None
    assert found.read() == b"print()"


def test_the_text_that_was_read_is_the_one_that_is_sent(project: Path) -> None:
    recipe = read(project)
    (project / "Dockerfile").write_text("FROM evil\n")
    (project / ".dockerignore").write_text("")
    name, _, archive = packed(recipe)
    sent = archive.extractfile(name)
    assert sent is not None
    assert sent.read() == b"FROM scratch\n"
    assert archive.getnames().count("Dockerfile") == 1


def test_a_dockerfile_outside_of_the_context_goes_along(project: Path) -> None:
    (project / "sub").mkdir()
    (project / "sub" / "x").write_text("")
    name, members, _ = packed(read(project, "Dockerfile", "sub"))
    assert name == ".pawl.dockerfile"
    assert set(members) == {"x", name}
    assert packed(read(project, ".devcontainer/Dockerfile", ".devcontainer"))[0] == "Dockerfile"


def test_a_context_that_is_too_large_is_told_what_to_do(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "CONTEXT_BYTES", 1000)
    (project / "data.bin").write_bytes(b"x" * 2000)
    with pytest.raises(SandboxError, match="dockerignore"):
        pack(read(project), io.BytesIO())
    (project / ".dockerignore").write_text("*.bin\n")
    assert "data.bin" not in packed(read(project))[1]


# --- .dockerignore ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "left_out", "kept"),
    [
        ("*.log", ["a.log"], ["sub/a.log", "a.logs"]),
        ("**/*.log", ["a.log", "sub/x/a.log"], ["a.txt"]),
        ("/node_modules/", ["node_modules", "node_modules/x/y"], ["sub/node_modules"]),
        ("**/node_modules", ["node_modules/x", "a/b/node_modules/x"], ["node_modules2"]),
        ("*\n!keep\n!sub/keep", ["a", "sub/x"], ["keep", "keep/x", "sub/keep"]),
        ("*.md\n!README.md\nREADME.md", ["README.md", "x.md"], []),
        ("a?c\n[x-y]z\n[^a]q", ["abc", "xz", "bq"], ["ac", "abbc", "aq", "zz"]),
        ("# comment\n\n  build  \n./dist", ["build/x", "dist"], ["# comment", "src"]),
        ("a/**/b", ["a/b", "a/x/y/b", "a/b/c"], ["a", "b", "a/bc"]),
        ("", [], ["a"]),
    ],
)
def test_rules(rules: str, left_out: list[str], kept: list[str]) -> None:
    ignore = Ignore(rules)
    assert [path for path in left_out if not ignore.matches(path)] == []
    assert [path for path in kept if ignore.matches(path)] == []


@given(st.text(alphabet="ab*?![]/\\#\n.^-", max_size=40), st.text(alphabet="ab./", min_size=1, max_size=12))
def test_any_rules_can_be_asked(rules: str, path: str) -> None:
    assert Ignore(rules).matches(path) in (True, False)


@pytest.mark.timeout(10)
def test_no_rule_is_slow() -> None:
    ignore = Ignore("\n".join(["*a" * 100 + "b", "/".join(["**", "*a*"] * 50) + "/b"]))
    assert not ignore.matches("/".join(["a" * 200] * 100))
