"""Settings: defaults, what the environment changes, and what is said when it can't be used."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from fitcast.errors import InvalidInputError
from fitcast.settings import Settings


def test_the_store_is_a_sqlite_file_under_home_by_default(fitcast_home):
    settings = Settings()
    assert settings.home == fitcast_home
    assert settings.tracking_uri == f"sqlite:///{fitcast_home}/mlflow.db"
    assert settings.experiment == "fitcast"
    assert settings.cpus is None
    assert settings.memory_bytes is None


@pytest.mark.parametrize("name", ["a folder", "50% off?", "naïve"])
def test_a_home_with_odd_letters_still_gives_the_file_under_it(tmp_path, name):
    settings = Settings(home=tmp_path / name)
    assert make_url(settings.tracking_uri).database == str(tmp_path / name / "mlflow.db")


def test_home_is_the_users_by_default_and_made_absolute(monkeypatch, tmp_path):
    monkeypatch.delenv("FITCAST_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings().home == tmp_path / ".fitcast"
    monkeypatch.chdir(tmp_path)
    assert Settings(home=Path("state")).home == tmp_path / "state"


def test_mlflows_own_variable_is_honoured_and_ours_comes_first(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert Settings().tracking_uri == "http://localhost:5000"
    monkeypatch.setenv("FITCAST_TRACKING_URI", "sqlite:////tmp/other.db")
    assert Settings().tracking_uri == "sqlite:////tmp/other.db"


def test_an_empty_variable_counts_as_unset(monkeypatch, fitcast_home):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert Settings().tracking_uri == f"sqlite:///{fitcast_home}/mlflow.db"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("FITCAST_CPUS", "many"), ("FITCAST_CPUS", "0"), ("FITCAST_MEMORY_BYTES", "2GB")],
)
def test_a_value_that_cannot_be_used_is_named(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidInputError, match=f"{variable}='{value}'"):
        Settings()


def test_the_home_folder_is_made_for_its_owner_only(tmp_path):
    home = Settings(home=tmp_path / "a" / "b").ensure_home()
    assert home.is_dir()
    assert home.stat().st_mode & 0o777 == 0o700
    assert Settings(home=home).ensure_home() == home  # and is kept as it is


@pytest.mark.security
@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701, 0o2775, 0o777])
def test_a_home_that_was_open_to_others_is_closed_and_that_is_said(tmp_path, caplog, mode):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    with caplog.at_level(logging.WARNING):
        Settings(home=home).ensure_home()
        Settings(home=home).ensure_home()
    assert home.stat().st_mode & 0o077 == 0
    (said,) = caplog.messages  # once
    assert str(home) in said
    assert f"mode {mode:04o}" in said


@pytest.mark.security
def test_a_link_to_a_folder_of_ones_own_is_that_folder(tmp_path, caplog):
    (tmp_path / "there").mkdir(mode=0o755)
    (tmp_path / "home").symlink_to("there")
    assert Settings(home=tmp_path / "home").ensure_home() == tmp_path / "home"
    assert (tmp_path / "there").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "home").is_symlink()


@pytest.mark.security
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
@pytest.mark.parametrize("linked", [False, True])
def test_a_home_of_another_user_is_refused_with_what_to_do(tmp_path, linked):
    foreign = tmp_path / "foreign"
    foreign.mkdir(mode=0o777)
    os.chown(foreign, 65534, 65534)
    home = tmp_path / "link" if linked else foreign
    if linked:
        home.symlink_to(foreign)
    before = foreign.stat().st_mode
    with pytest.raises(InvalidInputError, match=r"belongs to another user.*Set FITCAST_HOME"):
        Settings(home=home).ensure_home()
    assert foreign.stat().st_mode == before
    assert not list(foreign.iterdir())


@pytest.mark.security
def test_a_folder_that_all_users_share_is_no_home_and_stays_open(tmp_path):
    (tmp_path / "common").mkdir()
    (tmp_path / "common").chmod(0o1777)
    with pytest.raises(InvalidInputError, match=r"all users share\. Set it to"):
        Settings(home=tmp_path / "common").ensure_home()
    assert (tmp_path / "common").stat().st_mode & 0o7777 == 0o1777


@pytest.mark.security
@pytest.mark.parametrize("command", [["history"], ["train"], ["ui"]])
def test_every_command_refuses_a_home_that_it_may_not_have(tmp_path, command):
    (tmp_path / "common").mkdir()
    (tmp_path / "common").chmod(0o1777)
    ended = subprocess.run(
        [str(Path(sys.executable).with_name("fitcast")), *command],
        env={**os.environ, "FITCAST_HOME": str(tmp_path / "common")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 1
    assert "all users share" in ended.stderr
    assert not list((tmp_path / "common").iterdir())


@pytest.mark.parametrize("home", ["file", "file/under"])
def test_a_home_that_is_a_file_is_refused_with_what_to_do(tmp_path, home):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match=r"is a file\. Set FITCAST_HOME"):
        Settings(home=tmp_path / home).ensure_home()


def test_a_home_that_cannot_be_made_is_refused_with_what_to_do():
    with pytest.raises(InvalidInputError, match=r"can't make its folder.*Set FITCAST_HOME"):
        Settings(home=Path("/proc/nowhere")).ensure_home()
