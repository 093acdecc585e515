"""Where settings come from, which source wins, and what wrong ones say."""

import pytest
from tupelo_grid.cli.output import CliError, ExitCode
from tupelo_grid.cli.settings import load_config, parse_setting
from tupelo_grid.config import GridConfig, decode_config, encode_config


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "grid.toml"
        path.write_text(text)
        return str(path)

    return write


def test_defaults_alone_make_a_grid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config({}, environment={})
    assert (config.port, config.units, config.partitions, config.backups) == (7400, 3, 256, 1)
    assert config.data_dir == str(tmp_path / ".tupelo")


def test_options_win_over_environment_over_file(toml):
    file = toml("units = 4\nport = 8000\nlease_s = 5\n")
    environment = {"TUPELO_PORT": "8100", "TUPELO_UNITS": "5", "PATH": "/bin"}
    config = load_config({"units": 6, "host": None}, file, environment)
    assert (config.units, config.port, config.lease_s) == (6, 8100, 5.0)


def test_paths_in_a_file_are_relative_to_it(toml, tmp_path, monkeypatch):
    unit = tmp_path / "airline"
    unit.mkdir()
    (unit / "unit.toml").write_text("")
    monkeypatch.chdir("/")
    config = load_config({}, toml('data_dir = "d"\nunit_paths = ["airline"]\n'), {})
    assert config.data_dir == str(tmp_path / "d")
    assert config.unit_paths == (str(unit),)


def test_lists_in_the_environment_are_separated_by_commas():
    config = load_config({}, environment={"TUPELO_SPACES": "carts,quotes"})
    assert config.spaces == ("carts", "quotes")


def test_single_settings_are_typed():
    assert parse_setting("lease-s=1.5") == ("lease_s", 1.5)
    assert parse_setting("grpc_experiments=") == ("grpc_experiments", "")


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        ({"units": 0}, {}, "units must be 1 to 64"),
        ({"units": "x"}, {}, "--units"),
        ({"port": 65535}, {}, "port must be"),
        ({"partitions": 5000}, {}, "partitions must be 1 to 4096"),
        ({"backups": 4}, {}, "backups must be 0 to 3"),
        ({"launchers": {"unit-1": "nice '"}}, {}, "launchers, unit-1"),
        ({"min_in_sync": 3}, {}, "min_in_sync must be 1 to 2"),
        ({"unit_paths": ["/nowhere"]}, {}, "/nowhere is no processing unit"),
        ({}, {"TUPELO_UNITS": "many"}, "TUPELO_UNITS: 'many'"),
        ({}, {"TUPELO_UNIT": "3"}, "TUPELO_UNIT: there is no such setting"),
        ({"drain_s": -1.0}, {}, "drain_s must not be negative"),
        ({"log_level": "LOUD"}, {}, "log_level"),
        ({"lease_s": 1.0}, {}, "silent_backup_s must be below lease_s"),
    ],
)
def test_wrong_values_say_where_and_what(options, environment, said):
    with pytest.raises(CliError) as caught:
        load_config(options, environment=environment)
    assert said in caught.value.message
    assert caught.value.code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("unit = 3", "there is no such setting"),
        ("units = ", "is not TOML"),
        ('units = "3"', "units: Expected `int`"),
    ],
)
def test_wrong_files_say_where_and_what(toml, text, said):
    file = toml(text)
    with pytest.raises(CliError) as caught:
        load_config({}, file, {})
    assert file in caught.value.message
    assert said in caught.value.message


def test_a_near_miss_is_suggested(toml):
    with pytest.raises(CliError) as caught:
        load_config({}, toml("leases = 3"), {})
    assert caught.value.hint == "did you mean lease_s?"


def test_a_missing_file_is_an_error():
    with pytest.raises(CliError, match="cannot be read"):
        load_config({}, "/nowhere.toml", {})


@pytest.mark.parametrize("text", ["units", "=", "nonsense=1", "units=x"])
def test_wrong_single_settings(text):
    with pytest.raises(CliError):
        parse_setting(text)


def test_the_processes_get_what_was_decided():
    config = GridConfig(units=5, unit_paths=("/a",), lease_s=1.0)
    assert decode_config(encode_config(config)) == config
