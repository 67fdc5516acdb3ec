"""The host-toolchain view: what is found, what is shown, and that nothing of the project is run for it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import etc
from sandbox.base import Mount
from sandbox.image import SYSTEM_PATH, Toolchain, toolchain
from sandbox.parts import laid_out, ordered


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "person"
    for name in (".ssh", ".config", ".local/bin", ".local/share", "project"):
        (folder / name).mkdir(parents=True)
    return folder


def look(home: Path, path: str = "", **more: str) -> Toolchain:
    return toolchain(home / "project", {"HOME": str(home), "PATH": path, **more})


def targets(tools: Toolchain) -> set[str]:
    return {mount.target for mount in tools.mounts}


def interpreter(prefix: Path) -> Path:
    """A folder that looks like a whole Python."""
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib" / "python3.12").mkdir(parents=True)
    (prefix / "lib" / "python3.12" / "os.py").touch()
    python = prefix / "bin" / "python3.12"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    return python


def virtual(folder: Path, python: Path, *, pytest: bool = False) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
    (folder / "bin" / "python").symlink_to(python)
    if pytest:
        (folder / "lib" / "python3.12" / "site-packages" / "pytest").mkdir(parents=True)
    return folder


def on_path(folder: Path, *, pytest: bool, witness: Path | None = None) -> Path:
    """A `python3` that answers as an interpreter with this prefix would."""
    python = interpreter(folder)
    facts = [str(python), str(folder), str(folder), "", "", pytest]
    script = folder / "bin" / "python3"
    note = f"echo ran >> {witness}\n" if witness else ""
    script.write_text(f"#!/bin/sh\n{note}echo '{json.dumps(facts)}'\n")
    script.chmod(0o755)
    return folder / "bin"


# --- which interpreter -----------------------------------------------------------------------------------


def test_the_projects_environment_comes_first(home: Path, tmp_path: Path) -> None:
    python = interpreter(tmp_path / "pythons" / "3.12")
    mine = virtual(home / "project" / ".venv", python)
    other = virtual(home / "active", python)
    tools = look(home, str(on_path(tmp_path / "opt", pytest=True)), VIRTUAL_ENV=str(other))
    assert tools.path.split(":")[0] == str(mine / "bin")
    assert tools.env["VIRTUAL_ENV"] == str(mine)
    assert {str(mine), str(tmp_path / "pythons" / "3.12")} <= targets(tools)


def test_then_the_active_environment(home: Path, tmp_path: Path) -> None:
    active = virtual(tmp_path / "envs" / "active", interpreter(tmp_path / "pythons" / "3.12"))
    tools = look(home, str(on_path(tmp_path / "opt", pytest=True)), VIRTUAL_ENV=str(active))
    assert tools.path.split(":")[0] == str(active / "bin")


def test_then_the_first_on_the_path_that_has_pytest(home: Path, tmp_path: Path) -> None:
    without = on_path(tmp_path / "without", pytest=False)
    having = on_path(tmp_path / "having", pytest=True)
    assert look(home, f"{without}:{having}").path.split(":")[0] == str(having)
    assert look(home, f"{without}").path.split(":")[0] == str(without)


def test_pawls_own_interpreter_is_last_and_runs_the_agent(home: Path) -> None:
    tools = look(home)
    own = str(Path(sys.prefix, "bin"))
    assert tools.path.split(":") == list(dict.fromkeys([*SYSTEM_PATH, own]))
    covered = any(Path(tools.python).is_relative_to(mount.target) for mount in tools.mounts)
    assert covered
    assert (Path(tools.python).is_absolute(), Path(tools.python).is_symlink()) == (True, False)


def test_a_system_without_the_name_python_gets_it(home: Path) -> None:
    tools = look(home)
    assert set(tools.links) <= {"python"}
    named = any(os.access(Path(folder, "python"), os.X_OK) for folder in tools.path.split(":"))
    assert named != bool(tools.links)


def test_links_between_versions_are_shown_too(home: Path, tmp_path: Path) -> None:
    """uv names an interpreter by a link to a folder; the environment's own link goes through it."""
    python = interpreter(tmp_path / "uv" / "cpython-3.12.5")
    (tmp_path / "uv" / "cpython-3.12").symlink_to(tmp_path / "uv" / "cpython-3.12.5")
    virtual(home / "project" / ".venv", tmp_path / "uv" / "cpython-3.12" / "bin" / python.name)
    shown = {mount.target: mount.source for mount in look(home).mounts}
    assert shown[str(tmp_path / "uv" / "cpython-3.12")] == str(tmp_path / "uv" / "cpython-3.12.5")
    assert str(tmp_path / "uv" / "cpython-3.12.5") in shown


# --- a hostile project -----------------------------------------------------------------------------------


def test_a_planted_interpreter_is_neither_run_nor_taken(home: Path, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    planted = on_path(home / "project" / "tools", pytest=True, witness=witness)
    folder = home / "project" / ".venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (folder / "bin" / "python").symlink_to(planted / "python3")
    tools = look(home, f"{planted}:project/tools/bin:.:")
    assert not witness.exists()
    assert str(home / "project") not in tools.path


@pytest.mark.parametrize("target", ["", ".config", ".local", ".local/share"])
def test_an_environment_that_leads_into_the_home_is_not_shown(home: Path, target: str) -> None:
    (home / target / "pyvenv.cfg").touch()
    (home / target / "bin").mkdir(exist_ok=True)
    (home / target / "bin" / "python").symlink_to(sys.executable)
    (home / "project" / ".venv").symlink_to(home / target)
    shown = {mount.source for mount in look(home).mounts}
    assert not {str(home), str(home / target)} & shown


def test_a_base_that_holds_secrets_is_not_shown(home: Path) -> None:
    (home / "bin").mkdir()
    (home / "lib" / "python3.12").mkdir(parents=True)
    (home / "lib" / "python3.12" / "os.py").touch()
    python = home / "bin" / "python3"
    python.write_text("")
    python.chmod(0o755)
    virtual(home / "project" / ".venv", python)
    assert str(home) not in {mount.source for mount in look(home).mounts}


@pytest.mark.parametrize("text", ["../../../tmp/evil", "/tmp/evil", "evil\nx", "", "$(touch x)"])
def test_a_planted_version_file_is_no_path(home: Path, text: str) -> None:
    (home / "project" / ".python-version").write_text(text)
    (home / ".pyenv" / "versions").mkdir(parents=True)
    assert look(home).path.split(":")[0] == SYSTEM_PATH[0]


def test_only_folders_of_tools_are_shown_of_the_home(home: Path, tmp_path: Path) -> None:
    for name in (".cargo/bin", ".cargo/registry", ".rustup", "go/pkg/mod", ".nvm/versions/node/v20/bin"):
        (home / name).mkdir(parents=True)
    (home / ".cargo" / "credentials.toml").write_text("token")
    for name in (".cargo/bin/cargo", ".nvm/versions/node/v20/bin/node", ".local/bin/npm"):
        (home / name).write_text("#!/bin/sh\n")
        (home / name).chmod(0o755)
    tools = look(home, f"{home}/.nvm/versions/node/v20/bin:{home}/.local/bin")
    shown = {mount.source[len(str(home)) :] for mount in tools.mounts if mount.source.startswith(str(home))}
    assert shown == {"/.cargo/bin", "/.cargo/registry", "/.rustup", "/go/pkg/mod", "/.nvm/versions/node/v20"}
    assert str(home / ".nvm/versions/node/v20/bin") in tools.path.split(":")
    assert tools.env["CARGO_HOME"] == str(home / ".cargo")


def test_system_folders_are_shown_at_their_paths(home: Path) -> None:
    shown = {mount.target: mount.source for mount in look(home).mounts}
    assert shown["/usr"] == "/usr"
    assert os.path.realpath("/bin") == shown["/bin"]
    assert "/etc" not in shown


# --- order of mounts -------------------------------------------------------------------------------------

paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda names: "/" + "/".join(names))


@given(st.lists(st.builds(Mount, source=paths, target=paths)))
def test_no_mount_hides_another(mounts: list[Mount]) -> None:
    result = ordered(mounts)
    assert {m.target for m in result} == {m.target for m in mounts}
    for place, mount in enumerate(result):
        assert not any(mount.target.startswith(later.target + "/") for later in result[place + 1 :])
        assert mount == [m for m in mounts if m.target == mount.target][-1]


def test_what_may_hold_tokens_is_no_part_of_a_folder_wherever_its_name_leads(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    for path in ("bin/tool", "share/x", "share/rc", "etc/npmrc", "etc/fonts/x", "envs/b/bin/y", "pip.conf"):
        (tool / path).parent.mkdir(parents=True, exist_ok=True)
        (tool / path).write_text(path)
    (tmp_path / "outside").write_text("")
    links = {"lib64": "bin", ".netrc": "share/rc", "again": "etc", "rc": "pip.conf", "out": "../outside"}
    for name, leads in links.items():
        (tool / name).symlink_to(leads)
    made = laid_out([Mount(str(path), str(path), by_parts=True) for path in (tool, tool / "envs/b")])
    shown = {mount.target.removeprefix(str(tool)): mount.source.removeprefix(str(tool)) for mount in made}
    assert shown == {
        "": "",
        "/bin": "/bin",
        "/lib64": "/bin",
        "/share/x": "/share/x",
        "/etc/fonts": "/etc/fonts",
        "/envs/b": "",
        "/envs/b/bin": "/envs/b/bin",
    }


# --- /etc ------------------------------------------------------------------------------------------------


def test_etc_is_made_once_and_readable_to_all(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        mount = etc.build(tmp_path / "state", 1000, 1000)
    finally:
        os.umask(before)
    folder = Path(mount.source)
    assert mount.target == "/etc"
    assert etc.build(tmp_path / "state", 1000, 1000) == mount
    assert [path.name for path in (tmp_path / "state").iterdir()] == [folder.name]
    assert "pawl:x:1000:1000" in (folder / "passwd").read_text()
    assert (folder / "resolv.conf").read_text() == ""
    for path in folder.rglob("*"):
        assert path.is_symlink() or path.stat().st_mode & 0o004
    assert not {"shadow", "gshadow", "ssh", "sudoers", "machine-id"} & {
        path.name for path in folder.iterdir()
    }
    assert not (folder / "ssl" / "private").exists()


def test_etc_knows_its_user(tmp_path: Path) -> None:
    one, other = etc.build(tmp_path, 1000, 1000), etc.build(tmp_path, 0, 0)
    assert one != other
    assert Path(other.source, "passwd").read_text() == "pawl:x:0:0:pawl:/tmp/home:/bin/sh\n"


# --- with a set-up -----------------------------------------------------------------------------------------


def test_the_environment_of_a_set_up_comes_first_and_the_projects_own_is_not_looked_for(
    home: Path, tmp_path: Path
) -> None:
    project, base = home / "project", interpreter(tmp_path / "base")
    virtual(project / ".venv", base)
    environ = {"HOME": str(home), "PATH": ""}
    assert toolchain(project, environ).path.startswith(f"{project}/.venv/bin:")
    made = toolchain(project, environ, f"{project}/venv")
    assert made.path.startswith(f"{project}/venv/bin:")
    assert "VIRTUAL_ENV" not in made.env
    for tools in (made, toolchain(project, environ, "")):
        assert f"{project}/.venv" not in tools.path
        assert not any(target.startswith(str(project)) for target in targets(tools))


def test_an_active_environment_of_the_project_is_not_run_to_be_asked(home: Path, tmp_path: Path) -> None:
    project, witness = home / "project", tmp_path / "witness"
    python = on_path(tmp_path / "base", pytest=True, witness=witness)
    virtual(project / "env", python)
    (project / "env" / "bin" / "python3").symlink_to(python)
    active = {"HOME": str(home), "PATH": f"{project}/env/bin", "VIRTUAL_ENV": f"{project}/env"}
    for environment in (None, "", f"{project}/.venv"):
        toolchain(project, active, environment)
    assert not witness.exists()
    toolchain(project, {"HOME": str(home), "PATH": f"{tmp_path}/base/bin"})
    assert witness.exists(), "outside of the project it is"
