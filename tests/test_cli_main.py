"""The console entry: finding a command, overview and version, and what becomes of errors."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import typer

import agent
from agent.cli.main import COMMANDS, main

PAWL = [sys.executable, "-c", "import sys; from agent.cli.main import main; sys.exit(main())"]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package, installed as far as Python can tell, that adds the commands `odd` and `fix`."""
    (tmp_path / "odd_command.py").write_text(
        dedent(
            """
            import asyncio, os, signal, sys
            import typer
            from agent.config import ConfigError
            from agent.models.base import ModelAuth, ModelOverloaded
            from sandbox.base import SandboxDied, SandboxUnavailable

            app = typer.Typer(add_completion=False)

            async def grouped(*errors):
                async def fail(error):
                    raise error
                async with asyncio.TaskGroup() as group:
                    for error in errors:
                        group.create_task(fail(error))

            async def wait_forever():
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.Event().wait()

            @app.command()
            def odd(how: str) -> None:
                "Do something odd."
                match how:
                    case "say":
                        print("odd indeed")
                    case "exit":
                        raise typer.Exit(3)
                    case "config":
                        raise ConfigError("here:1: expected something else")
                    case "auth":
                        raise ModelAuth("no key")
                    case "sandbox":
                        raise SandboxUnavailable("no sandbox here", "sudo apt install bubblewrap")
                    case "died":
                        raise SandboxDied("the container went away")
                    case "group":
                        asyncio.run(grouped(ModelOverloaded("come back later")))
                    case "mixed":
                        asyncio.run(grouped(ModelOverloaded("come back later"), ZeroDivisionError("bug")))
                    case "interrupt":
                        asyncio.run(wait_forever())
                    case "chatter":
                        for number in range(100_000):
                            print(number)
                    case "bug":
                        raise ZeroDivisionError("bug")
            """
        )
    )
    package = tmp_path / "odd_package-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-package\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[pawl.commands]\nodd = odd_command:app\nfix = odd_command:app\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delitem(sys.modules, "odd_command", raising=False)


def pawl(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PAWL, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False
    )


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"pawl {agent.__version__}\n"


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_overview_names_every_command(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([flag]) == 0
    shown = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.help)}$", shown, re.MULTILINE)
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_loaded_and_shows_its_help(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module, _, attribute = COMMANDS[name].target.partition(":")
    assert isinstance(getattr(importlib.import_module(module), attribute), typer.Typer)
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"pawl {name}" in shown
    assert "completion" not in shown
    assert "[[" not in shown


@pytest.mark.parametrize("words", [("fix",), ("models", "list")])
def test_commands_know_the_short_flag_of_help_too(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "-h"]) == 0
    assert "-h" in capsys.readouterr().out


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_may_be_closed(closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *PAWL, "config", "path"], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_options_alone_belong_to_chat(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--no-such-option"]) == 2
    shown = capsys.readouterr().err
    assert "pawl chat" in shown
    assert "--no-such-option" in shown


@pytest.mark.parametrize(
    ("typed", "said"),
    [("fxi", "did you mean fix?"), ("model", "did you mean models?"), ("xyzzy", "`pawl --help` lists")],
)
def test_an_unknown_command_is_refused(typed: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([typed]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"no command '{typed}'" in err
    assert said in err


@pytest.mark.usefixtures("plugin")
class TestOtherPackages:
    def test_their_commands_run_and_are_listed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["odd", "say"]) == 0
        assert capsys.readouterr().out == "odd indeed\n"
        main(["--help"])
        shown = capsys.readouterr().out
        assert re.search(r"^From other packages:\n  odd +by odd-package$", shown, re.MULTILINE)

    def test_a_built_in_command_cannot_be_taken_over(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["fix", "--help"])
        assert "Do something odd" not in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("how", "code", "said"),
        [
            ("exit", 3, ""),
            ("config", 2, "pawl: here:1: expected something else\n"),
            ("auth", 41, "pawl: no key\n"),
            ("sandbox", 1, "pawl: no sandbox here\n      sudo apt install bubblewrap\n"),
            ("died", 1, "pawl: the container went away\n"),
            ("group", 75, "pawl: come back later\n"),
        ],
    )
    def test_errors_of_ours_become_a_message_and_a_code(
        self, how: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["odd", how]) == code
        assert capsys.readouterr() == ("", said)

    def test_bugs_are_not_hidden(self) -> None:
        with pytest.raises(ZeroDivisionError):
            main(["odd", "bug"])
        with pytest.raises(ExceptionGroup):
            main(["odd", "mixed"])

    def test_wrong_usage_is_code_2(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["odd"]) == 2
        assert "pawl odd" in capsys.readouterr().err

    def test_interrupt_is_code_130_without_a_trace(self) -> None:
        done = pawl("odd", "interrupt")
        assert done.returncode == 130
        assert "Traceback" not in done.stderr

    def test_a_reader_that_goes_away_ends_it_quietly(self) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as closed:
            for args in (["odd", "chatter"], ["--help"]):
                done = subprocess.run([*PAWL, *args], stdout=closed, stderr=subprocess.PIPE, check=False)
                assert (done.returncode, done.stderr) == (1, b"")


def test_config_commands_agree(isolated: Path) -> None:
    assert pawl("config", "set", "attempts", "3").returncode == 0
    file = Path(pawl("config", "path").stdout.strip())
    assert file.is_relative_to(isolated)
    assert file.read_text() == "attempts = 3\n"
    assert re.search(rf"^attempts +3 +{re.escape(str(file))}:1$", pawl("config", "show").stdout, re.MULTILINE)
    assert '"origin": "default"' in pawl("config", "show", "--json", "--bare").stdout


def test_a_broken_settings_file_stops_every_command_with_code_2(isolated: Path) -> None:
    file = isolated / "config" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("\nattempts = none\n")
    for args in (["config", "show"], ["fix", "--", "true"]):
        done = pawl(*args)
        assert done.returncode == 2
        assert f"{file}:2: expected TOML" in done.stderr
