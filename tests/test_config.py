"""Settings: the order of the layers, errors that name the place, and edits that keep the rest of the file."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import config
from agent.config import ConfigError, Settings
from agent.config_models import set_model
from agent.models.catalog import ModelSettings, Prices


@pytest.fixture
def file(isolated: Path) -> Path:
    """Where the user's settings file belongs; it does not exist yet."""
    path = isolated / "config" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


def test_defaults_need_no_file(file: Path) -> None:
    loaded = config.load()
    assert loaded.settings == Settings()
    assert set(loaded.origin.values()) == {"default"}
    assert loaded.notes == ()


def test_later_layers_win_and_each_value_tells_its_layer(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('# mine\nmodel = "from-file"\nattempts = 3\nseed = 1\n')
    monkeypatch.setenv("PAWL_MODEL", "from-environment")
    monkeypatch.setenv("PAWL_ATTEMPTS", "5")
    loaded = config.load({"model": "from-flag", "seed": None})
    assert (loaded.settings.model, loaded.settings.attempts, loaded.settings.seed) == ("from-flag", 5, 1)
    assert loaded.origin["model"] == "--model"
    assert loaded.origin["attempts"] == "PAWL_ATTEMPTS"
    assert loaded.origin["seed"] == f"{file}:4"
    assert loaded.origin["sandbox"] == "default"


def test_bare_reads_no_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("this is not TOML")
    monkeypatch.setenv("PAWL_MODEL", "m")
    assert config.load(bare=True).settings == Settings(model="m")


def test_pawl_config_names_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.toml"
    other.write_text("timeout = 5\n")
    monkeypatch.setenv("PAWL_CONFIG", str(other))
    assert config.load().settings.timeout == 5.0
    other.unlink()
    with pytest.raises(ConfigError, match=r"other\.toml: cannot be read: No such file"):
        config.load()


def test_settings_of_a_project_are_named_but_not_read(tmp_path: Path) -> None:
    project = tmp_path / ".pawl" / "config.toml"
    project.parent.mkdir()
    project.write_text('sandbox = "local"\n')
    loaded = config.load(cwd=tmp_path)
    assert loaded.settings == Settings()
    assert [note for note in loaded.notes if str(project) in note and "not read" in note]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("model = \n", 1, "expected TOML"),
        ('seed = 1\n\nmodel = "unclosed\n', 3, "expected TOML"),
        ("seed = 1\nseed = 2\n", 2, "expected TOML"),
        ("\nmodel = 3\n", 2, "`model`: expected `str | null`, got 3"),
        ("attempts = 0\n", 1, "`attempts`: expected `int` >= 1, got 0"),
        ("temperature = 2.5\n", 1, "`temperature`: expected `float` <= 2.0, got 2.5"),
        ('max_steps = "9"\n', 1, "`max_steps`: expected `int`, got '9'"),
        ('\n\nsandbox = "dokcer"\n', 3, "`sandbox`: expected one of auto, docker, bubblewrap, local"),
        ('seed = 1\nmodle = "x"\n', 2, "unknown setting `modle`; did you mean `model`?"),
        ("max-steps = 3\n", 1, "did you mean `max_steps`?"),
        ("seed = 1\n[mcp]\nport = 1\n", 2, "unknown setting `mcp`; expected one of model, base_url"),
        ("model.name = 1\n", 1, "`model`: expected"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(file: Path, text: str, line: int, said: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load()
    message = str(caught.value)
    assert message.startswith(f"{file}:{line}: ")
    assert said in message
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_text_is_refused(file: Path) -> None:
    file.write_bytes(b'model = "\xff"\n')
    with pytest.raises(ConfigError, match="expected UTF-8 text, found byte 0xff"):
        config.load()


def test_wrong_variables_and_flags_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"^--strategy: expected one of auto, loop, repair, got 'luck'$"):
        config.load({"strategy": "luck"})
    monkeypatch.setenv("PAWL_TIMEOUT", "soon")
    with pytest.raises(ConfigError, match=r"^PAWL_TIMEOUT: expected `float`, got 'soon'$"):
        config.load()


@pytest.mark.parametrize("text", ["", "none", "allow", "good.example,*.example.org:8443", "[::1]:80"])
def test_a_network_that_is_understood_is_kept_as_it_was_written(text: str) -> None:
    assert config.load({"network": text}).settings.network == text


def test_a_network_that_is_not_understood_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"^--network: 'alow': a name without a dot .* none, allow or HOST"):
        config.load({"network": "alow"})
    monkeypatch.setenv("PAWL_NETWORK", "good.example:0")
    with pytest.raises(ConfigError, match=r"^PAWL_NETWORK: 'good\.example:0': a port is"):
        config.load()
    monkeypatch.delenv("PAWL_NETWORK")
    file.write_text('network = "a..b"\n')
    with pytest.raises(ConfigError, match=r"config\.toml:1: `network`: 'a\.\.b': .* is no name of a host"):
        config.load()


def test_without_a_sandbox_a_list_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^--network: the sandbox `local` \(--sandbox\) cannot hold"):
        config.load({"network": "good.example", "sandbox": "local"})
    assert config.load({"network": "none", "sandbox": "local"}).settings.sandbox == "local"


def test_a_test_command_is_words_that_end_their_quotes() -> None:
    assert config.load({"test_cmd": "make 'a b'"}, environ={}).settings.check == ("make", "a b")
    assert config.load(environ={"PAWL_TEST_CMD": "npm test"}).settings.check == ("npm", "test")
    assert config.load(environ={}).settings.check == ()
    with pytest.raises(ConfigError, match="--test-cmd: expected a command, got"):
        config.load({"test_cmd": "make 'a"})


def test_what_a_set_up_may_reach_is_understood_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config.load({"setup": "npm ci", "setup_network": "good.example:8443"}).settings
    assert (settings.setup, settings.setup_network) == ("npm ci", "good.example:8443")
    with pytest.raises(ConfigError, match=r"^--setup-network: 'alow': a name without a dot"):
        config.load({"setup_network": "alow"})
    monkeypatch.setenv("PAWL_SETUP", "npm ci")
    with pytest.raises(ConfigError, match=r"^PAWL_SETUP: the sandbox `local` \(--sandbox\) has no set-up"):
        config.load({"sandbox": "local"})
    assert config.load({"sandbox": "local", "setup": ""}).settings.setup == "", "the flag switches it off"


def test_tools_are_checked_wherever_they_are_said(file: Path) -> None:
    assert config.load({"tools": "+repo_map,-grep"}).settings.tools == "+repo_map,-grep"
    with pytest.raises(ConfigError, match=r"^--tools: there is no tool 'tood'; did you mean todo\?"):
        config.load({"tools": "+tood"})
    with pytest.raises(ConfigError, match=r"^PAWL_TOOLS: expected \+todo to add"):
        config.load(environ={"PAWL_TOOLS": "todo"})
    file.write_text('\ntools = "-gerp"\n')
    with pytest.raises(ConfigError, match=r"config\.toml:2: `tools`: there is no tool 'gerp'"):
        config.load()


def test_set_makes_the_file_and_its_folder(isolated: Path) -> None:
    path = config.user_file()
    config.set_value("attempts", "6", path)
    assert path.read_text() == "attempts = 6\n"
    config.set_value("seed", "-1", path)
    assert path.read_text() == "attempts = 6\nseed = -1\n"
    assert config.load().settings == Settings(attempts=6, seed=-1)


def test_set_keeps_everything_else(file: Path) -> None:
    file.write_bytes(b'# top\r\n"seed" = 1 # why\r\nmodel = "a # b"   # the best\n\ntimeout = 7.5')
    file.chmod(0o640)
    config.set_value("model", 'say "c"', file)
    config.set_value("sandbox", "docker", file)
    assert file.read_bytes() == (
        b'# top\r\n"seed" = 1 # why\r\nmodel = "say \\"c\\""   # the best\n\n'
        b'timeout = 7.5\nsandbox = "docker"\n'
    )
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(file.parent.iterdir()) == [file]


def test_setting_nothing_takes_the_setting_out(file: Path) -> None:
    file.write_text("seed = 1\nattempts = 2\n")
    config.set_value("seed", "", file)
    config.set_value("model", "", file)
    assert file.read_text() == "attempts = 2\n"


def test_set_follows_a_symlink(file: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("seed = 1\n")
    file.symlink_to(real)
    config.set_value("seed", "2", file)
    assert file.is_symlink()
    assert real.read_text() == "seed = 2\n"


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("modle", "x", "did you mean `model`?"),
        ("attempts", "many", "attempts: expected"),
        ("attempts", "0", "attempts: expected `int` >= 1"),
        ("sandbox", "none", "expected one of auto, docker, bubblewrap, local"),
    ],
)
def test_set_refuses_what_does_not_fit(file: Path, key: str, text: str, said: str) -> None:
    file.write_text("seed = 1\n")
    with pytest.raises(ConfigError) as caught:
        config.set_value(key, text, file)
    assert said in str(caught.value)
    assert file.read_text() == "seed = 1\n"


def test_set_leaves_alone_what_it_cannot_edit(file: Path) -> None:
    before = 'model = """\nseed = 2\n"""\nseed = 1\n'
    file.write_text(before)
    with pytest.raises(ConfigError, match="edit the file"):
        config.set_value("seed", "3", file)
    assert file.read_text() == before


def test_a_place_that_cannot_be_written_is_an_error_of_configuration(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigError, match=r"config\.toml: cannot be written: "):
        config.set_value("seed", "1", blocked / "config.toml")


MODELS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(old=MODELS, new=MODELS)
def test_any_text_can_be_set_and_read_back(
    tmp_path_factory: pytest.TempPathFactory, old: str, new: str
) -> None:
    path = tmp_path_factory.mktemp("config") / "config.toml"
    config.set_value("seed", "7", path)
    config.set_value("model", old, path)
    config.set_value("model", new, path)
    assert tomllib.loads(path.read_bytes().decode()) == {"seed": 7, "model": new}


@pytest.mark.parametrize("timeout", ["inf", "1e300", "nan", "0"])
def test_a_time_without_end_is_refused(timeout: str) -> None:
    with pytest.raises(ConfigError, match="--timeout: expected"):
        config.load({"timeout": float(timeout)})


@pytest.mark.parametrize("key", ["model", "base_url"])
def test_nothing_is_no_model(key: str) -> None:
    with pytest.raises(ConfigError, match="expected a name or an address, got ''"):
        config.load({key: ""})


MODELS = """\
seed = 1

[models."qwen3*"]
dialect = "hermes"  # as measured
attempts = 3
[models.mine]
prices = { input = 0.2, output = 0.8 }
"""


def test_models_have_tables_of_their_own(file: Path) -> None:
    file.write_text(MODELS)
    assert config.load().models == {
        "qwen3*": ModelSettings(dialect="hermes", attempts=3),
        "mine": ModelSettings(prices=Prices(input=0.2, output=0.8)),
    }
    assert config.load(bare=True).models == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[models."a"]\n\ndialekt = "x"',
            r":3: unknown setting `dialekt` of a model; did you mean `dialect`",
        ),
        ('[models."a"]\nstrategy = "luck"', r":2: `strategy`: expected one of loop, repair, got 'luck'"),
        ('[models."a"]\ndialect = "hermess"', r":2: unknown dialect 'hermess'; did you mean `hermes`\?"),
        ('[models."a"]\ndialect = "zzz"', r":2: unknown dialect 'zzz'; expected one of deepseek, .*"),
        ("[models.b]\n[models.a]\nattempts = 0", r":3: `attempts`: expected `int` >= 1.*, got 0"),
        ('[models."a"]\nprices = { input = 1 }', r":2: `prices`: .*missing required field `output`"),
        ('[models."a"]\nprices = { input = -1, output = 1 }', r":2: `prices`: .*>= 0.* `\$.input`"),
        ('[models."a"]\nprices = { input = 1, output = nan }', r":2: `prices`: .*>= 0.* `\$.output`"),
        ('[models."a"]\nprices = { input = 1, output = inf }', r":2: `prices`: .*<= 1000000.* `\$.output`"),
        ("[models]\na = 3", r':1: expected a table \[models\."a"\], got 3'),
        ("models = 3", r"`models` holds tables"),
    ],
)
def test_a_wrong_table_of_a_model_is_said_with_its_line(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        config.load()


def test_a_setting_is_set_above_the_tables(file: Path) -> None:
    file.write_text(MODELS)
    config.set_value("attempts", "6", file)
    config.set_value("seed", "2", file)
    assert file.read_text() == MODELS.replace("seed = 1\n\n", "seed = 2\n\nattempts = 6\n")
    assert config.load().settings == Settings(seed=2, attempts=6)


def test_what_was_measured_is_written_into_the_models_table(file: Path) -> None:
    set_model('local/"odd"', ModelSettings(strategy="repair"), file)
    file.write_text(MODELS + file.read_text())
    set_model("qwen3*", ModelSettings(dialect="glm", tool_mode="native"), file)
    set_model("new", ModelSettings(prices=Prices(input=1.5, output=2.0)), file)
    text = file.read_text()
    assert "seed = 1\n" in text
    assert config.load().models == {
        "qwen3*": ModelSettings(dialect="glm", attempts=3, tool_mode="native"),
        "mine": ModelSettings(prices=Prices(input=0.2, output=0.8)),
        'local/"odd"': ModelSettings(strategy="repair"),
        "new": ModelSettings(prices=Prices(input=1.5, output=2.0)),
    }


def test_a_models_table_that_only_a_person_can_change_stays(file: Path) -> None:
    file.write_text('models = { "a" = { attempts = 2 } }\n')
    with pytest.raises(ConfigError, match="only a person can change"):
        set_model("a", ModelSettings(attempts=3), file)
    assert file.read_text() == 'models = { "a" = { attempts = 2 } }\n'


def test_edits_that_break_the_syntax_can_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.load().settings.refuse_syntax_errors is False
    monkeypatch.setenv("PAWL_REFUSE_SYNTAX_ERRORS", "true")
    assert config.load().settings.refuse_syntax_errors is True
