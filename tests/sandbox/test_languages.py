"""Tools of a person's home folder: which version is taken, what is shown for it, what stays hidden."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sys
from pathlib import Path

import pytest

from sandbox.base import Mount
from sandbox.image import toolchain
from tests.sandbox.places import ISOLATING, backends, opened
from tests.sandbox.test_image import home, interpreter, look, on_path, targets, virtual

__all__ = ["home"]  # the fixture


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def text(path: Path, content: str = "token") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def real() -> dict[str, str]:
    """The environment of the person who runs the tests, with their true home folder."""
    return {**os.environ, "HOME": pwd.getpwuid(os.geteuid()).pw_dir}


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """A PATH without node."""
    folder = tmp_path / "bare"
    folder.mkdir()
    return str(folder)


# --- node ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "wanted", "taken"),
    [
        (".nvmrc", "20", "v20.11.1"),
        (".nvmrc", "v20.9.0\n", "v20.9.0"),
        (".node-version", "18.2", "v18.2.0"),
        (".nvmrc", "lts/*", "v22.1.0"),
        (".nvmrc", "16", "v22.1.0"),
        (".nvmrc", "../../../evil", "v22.1.0"),
        (".nvmrc", "", "v22.1.0"),
    ],
)
def test_nvms_node_is_the_one_that_the_project_names(
    home: Path, bare: str, file: str, wanted: str, taken: str
) -> None:
    for version in ("v18.2.0", "v20.9.0", "v20.11.1", "v22.1.0", "v9.0.0", "system"):
        program(home / ".nvm/versions/node" / version / "bin/node")
    text(home / "project" / file, wanted)
    tools = look(home, bare)
    assert str(home / ".nvm/versions/node" / taken / "bin") in tools.path.split(":")
    assert [t for t in targets(tools) if ".nvm" in t] == [str(home / ".nvm/versions/node" / taken)]


def test_a_version_file_that_is_a_trap_is_not_read(home: Path, bare: str) -> None:
    program(home / ".nvm/versions/node/v20.9.0/bin/node")
    os.mkfifo(home / "project" / ".nvmrc")
    os.mkfifo(home / "project" / ".python-version")
    (home / "project" / ".node-version").symlink_to("/dev/zero")
    assert str(home / ".nvm/versions/node/v20.9.0/bin") in look(home, bare).path.split(":")


def test_the_systems_node_stays_when_the_project_names_none(home: Path) -> None:
    if not any(os.access(f"{folder}/node", os.X_OK) for folder in ("/usr/bin", "/usr/local/bin")):
        pytest.skip("the system has no node")
    program(home / ".nvm/versions/node/v20.9.0/bin/node")
    assert not [t for t in targets(look(home, "/usr/local/bin:/usr/bin")) if ".nvm" in t]
    text(home / "project" / ".nvmrc", "20")
    assert [t for t in targets(look(home, "/usr/local/bin:/usr/bin")) if ".nvm" in t]


def test_fnms_node_is_found_behind_the_links_of_its_shell(home: Path, tmp_path: Path) -> None:
    installed = home / ".local/share/fnm/node-versions/v20.9.0/installation"
    program(installed / "bin/node")
    text(home / ".local/share/secret")
    shell = tmp_path / "fnm_multishells" / "1_2"
    shell.parent.mkdir()
    shell.symlink_to(installed)
    tools = look(home, str(shell / "bin"))
    assert str(installed / "bin") in tools.path.split(":")
    assert {t for t in targets(tools) if t.startswith(str(home))} == {str(installed)}


@pytest.mark.parametrize(
    ("project", "taken"),
    [({"volta": {"node": "18.1.0"}}, "18.1.0"), ({"volta": {"node": "../.."}}, "20.9.0"), ([], "20.9.0")],
)
def test_voltas_shim_is_looked_through(home: Path, project: object, taken: str) -> None:
    for version in ("18.1.0", "20.9.0"):
        program(home / ".volta/tools/image/node" / version / "bin/node")
    text(home / ".volta/tools/user/platform.json", json.dumps({"node": {"runtime": "20.9.0", "npm": None}}))
    text(home / ".volta/hooks.json")
    for name in ("volta-shim", "node", "npm"):
        program(home / ".volta/bin" / name)
    text(home / "project/package.json", json.dumps(project))
    tools = look(home, str(home / ".volta/bin"))
    shown = {t for t in targets(tools) if ".volta" in t}
    assert shown == {str(home / ".volta/tools/image/node" / taken)}


# --- cargo, go, python -----------------------------------------------------------------------------------


def test_a_moved_cargo_is_found_and_its_credentials_are_not_shown(home: Path, tmp_path: Path) -> None:
    cargo, rustup = tmp_path / "cargo", tmp_path / "rustup"
    program(cargo / "bin/cargo")
    for name in ("credentials", "credentials.toml", "config.toml", "registry/index/x"):
        text(cargo / name)
    rustup.mkdir()
    tools = look(home, CARGO_HOME=str(cargo), RUSTUP_HOME=str(rustup))
    assert {str(cargo / "bin"), str(cargo / "registry"), str(rustup)} <= targets(tools)
    assert not {str(cargo), str(tmp_path)} & targets(tools)
    assert (tools.env["CARGO_HOME"], tools.env["RUSTUP_HOME"]) == (str(cargo), str(rustup))


def test_go_is_its_own_folder_and_the_modules_never_the_gopath(home: Path, tmp_path: Path) -> None:
    program(home / "sdk/go1.22/bin/go")
    text(home / "sdk/go1.22/VERSION", "go1.22")
    text(home / "go/bin/tool")
    text(home / "go/src/private/secret.go")
    text(home / "go/pkg/mod/example.org/x@v1/x.go")
    tools = look(home, str(home / "sdk/go1.22/bin"))
    shown = {t[len(str(home)) :] for t in targets(tools) if t.startswith(str(home))}
    assert shown == {"/sdk/go1.22", "/go/pkg/mod"}
    text(tmp_path / "path/pkg/mod/y")
    assert look(home, GOPATH=f"{tmp_path}/path:/b").env["GOMODCACHE"] == f"{tmp_path}/path/pkg/mod"
    text(tmp_path / "cache/y")
    assert look(home, GOMODCACHE=f"{tmp_path}/cache").env["GOMODCACHE"] == f"{tmp_path}/cache"


def test_a_gopath_that_looks_like_a_tools_folder_is_not_shown(home: Path) -> None:
    program(home / "go/bin/go")
    assert str(home / "go") not in targets(look(home, str(home / "go/bin")))


@pytest.mark.parametrize(
    ("root", "wanted"),
    [
        (".pyenv/versions/3.12.1", "3.12.1"),
        (".local/share/uv/python/cpython-3.12.1-linux-x86_64-gnu", "3.12"),
        (".local/share/uv/python/cpython-3.12.1-linux-x86_64-gnu", "3.12.1"),
    ],
)
def test_the_pinned_interpreter_is_found_without_a_shim(home: Path, root: str, wanted: str) -> None:
    python = interpreter(home / root)
    (python.parent / "python3").symlink_to(python.name)
    text(home / "project/.python-version", wanted + "\n")
    tools = look(home)
    assert tools.path.split(":")[0] == str(python.parent)
    assert str(home / root) in targets(tools)
    text(home / "project/.python-version", "3.1\n")
    assert look(home).path.split(":")[0] != str(python.parent)


def test_an_environment_of_conda_is_shown_alone(home: Path) -> None:
    folder = on_path(home / "miniconda3/envs/work", pytest=True)
    text(home / "miniconda3/.condarc")
    tools = look(home, str(folder), CONDA_PREFIX=str(home / "miniconda3/envs/work"))
    shown = {t for t in targets(tools) if t.startswith(str(home))}
    assert shown == {str(home / "miniconda3/envs/work")}
    assert tools.path.split(":")[0] == str(folder)


# --- what may hold tokens --------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_the_tools_of_this_machine_run_and_the_home_stays_hidden(backend: str, tmp_path: Path) -> None:
    """The real home folder: what the host has answers inside, and nothing beside tools is there."""
    environ = real()
    tools = toolchain(tmp_path, environ)
    asked = {"python3": "--version", "node": "--version", "cargo": "--version", "go": "version"}
    here = [name for name in asked if shutil.which(name)]
    async with opened(backend, tmp_path, environ=environ) as place:
        for name in here:
            done = await place.sandbox.run([name, asked[name]])
            assert done.ok, (name, done.output)
        listed = await place.sandbox.run(["ls", "-A", environ["HOME"]])
        own = {m.target for m in tools.mounts if m.target.startswith(environ["HOME"] + "/")}
        top = {Path(target).relative_to(environ["HOME"]).parts[0] for target in own}
        assert set(listed.output.decode().split()) <= top if listed.ok else not top
        for secret in (".ssh", ".netrc", ".npmrc", ".gitconfig", ".cargo/credentials.toml", ".config"):
            assert not (await place.sandbox.run(["ls", f"{environ['HOME']}/{secret}"])).ok


@pytest.mark.anyio
@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_no_rename_on_the_host_uncovers_a_file_with_tokens(backend: str, tmp_path: Path) -> None:
    """Files are replaced, made and moved while the sandbox is open, in a project's environment too.

    With a mount over each file instead, all but the untouched one could be read.
    """
    node, venv = tmp_path / "home/.nvm/versions/node/v20.9.0", tmp_path / "project/.venv"
    program(node / "bin/node")
    virtual(venv, Path(os.path.realpath(sys.executable)))
    before = [text(path) for path in (node / "etc/npmrc", node / ".netrc", venv / "pip.conf")]
    os.chmod(tmp_path, 0o755)  # noqa: PTH101
    environ = {"PATH": f"{node}/bin:{os.environ['PATH']}", "HOME": str(tmp_path / "home")}
    mounts = (Mount(str(venv), str(venv), by_parts=True),)
    async with opened(backend, tmp_path, environ=environ, mounts=mounts) as place:
        assert (await place.sandbox.run([str(node / "bin/node")])).ok
        assert (await place.sandbox.run([str(venv / "bin/python"), "-c", "import sys"])).ok
        for path in before[1:]:
            text(path.with_name("new")).replace(path)
        (node / "etc").rename(node / "old")
        text(node / "etc/npmrc")
        made = [text(path) for path in (node / ".npmrc", node / "etc/pip.conf", venv / "etc/uv/uv.toml")]
        for file in (*before, *made, node / "old/npmrc"):
            assert file.read_text() == "token"
            assert not (await place.sandbox.run(["cat", str(file)])).ok, file
        for folder in (node, venv, "/usr"):
            done = await place.sandbox.run(["touch", f"{folder}/x"])
            assert b"Read-only" in done.output or b"denied" in done.output


@pytest.mark.anyio
@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_a_crate_is_built_and_tested_inside(backend: str, tmp_path: Path) -> None:
    if not shutil.which("cargo") or not shutil.which("cc"):
        pytest.skip("the host has no cargo or no linker")
    async with opened(backend, tmp_path, environ=real()) as place:
        place.put("Cargo.toml", b'[package]\nname = "x"\nversion = "0.1.0"\nedition = "2021"\n')
        place.put("src/lib.rs", b"#[test]\nfn holds() { assert_eq!(1 + 1, 2); }\n")
        done = await place.sandbox.run(["cargo", "test", "--lib"], timeout_s=60)
        assert done.ok, done.output
        assert b"1 passed" in done.output
