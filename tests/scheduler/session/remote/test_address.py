"""Where a platform is, and whose token opens it."""

import json
import stat

import pytest

from fitcast.errors import InvalidInputError
from fitcast.scheduler.session.remote.address import (
    BrokerAddress,
    default_url,
    forget_token,
    keep_token,
    token_for,
)

HERE = BrokerAddress("http://127.0.0.1:8765")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, fitcast_home):
    for name in ("FITCAST_BROKER", "FITCAST_TOKEN", "FITCAST_PLAIN_HTTP"):
        monkeypatch.delenv(name, raising=False)
    fitcast_home.mkdir(mode=0o700)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://Fitcast.Example.org/", "https://fitcast.example.org"),
        ("https://fitcast.example.org:8443/team/", "https://fitcast.example.org:8443/team"),
        ("http://127.0.0.1:8765", "http://127.0.0.1:8765"),
        ("http://localhost", "http://localhost"),
        ("http://[::1]:80/", "http://[::1]:80"),
    ],
)
def test_an_address(given, url):
    assert BrokerAddress.of(given).url == url


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("fitcast.example.org", "no address"),
        ("ftp://fitcast.example.org", "no address"),
        ("https://", "no address"),
        ("https://ann:secret@fitcast.example.org", "name or password"),
        ("https://fitcast.example.org/?token=1", "more than a host"),
        ("http://fitcast.example.org", "isn't encrypted"),
        ("http://10.0.0.1", "isn't encrypted"),
    ],
)
def test_what_can_be_no_address_or_would_be_read_by_others(given, said):
    with pytest.raises(InvalidInputError, match=said):
        BrokerAddress.of(given)


def test_a_network_that_is_trusted(monkeypatch):
    monkeypatch.setenv("FITCAST_PLAIN_HTTP", "1")
    assert BrokerAddress.of("http://fitcast.example.org").url == "http://fitcast.example.org"


def test_a_token_is_kept_for_its_owner_alone_and_forgotten(fitcast_home, monkeypatch):
    other = BrokerAddress("https://other.example.org")
    with pytest.raises(InvalidInputError, match="fitcast login"):
        token_for(HERE, fitcast_home)
    keep_token(other, fitcast_home, "theirs")
    path = keep_token(HERE, fitcast_home, "mine")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(fitcast_home.iterdir()) == [path]
    assert default_url(fitcast_home) == HERE.url
    assert token_for(HERE, fitcast_home) == "mine"
    assert token_for(other, fitcast_home) == "theirs"
    assert token_for(HERE, fitcast_home, "given") == "given"
    monkeypatch.setenv("FITCAST_TOKEN", "of the environment"[:2])
    assert token_for(HERE, fitcast_home) == "of"
    monkeypatch.delenv("FITCAST_TOKEN")
    monkeypatch.setenv("FITCAST_BROKER", other.url)
    assert default_url(fitcast_home) == other.url
    monkeypatch.delenv("FITCAST_BROKER")
    assert forget_token(HERE, fitcast_home)
    assert not forget_token(HERE, fitcast_home)
    assert default_url(fitcast_home) is None
    assert token_for(other, fitcast_home) == "theirs"


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "\N{SNOWMAN}"])
def test_what_can_be_no_token(fitcast_home, token):
    with pytest.raises(InvalidInputError, match="can't be one"):
        token_for(HERE, fitcast_home, token)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"tokens": 3}', "\x00"])
def test_a_damaged_file_of_tokens(fitcast_home, content):
    path = keep_token(HERE, fitcast_home, "mine")
    path.write_text(content)
    with pytest.raises(InvalidInputError, match="damaged"):
        token_for(HERE, fitcast_home)


def test_a_file_of_tokens_that_others_may_read_or_a_link(fitcast_home, tmp_path):
    path = keep_token(HERE, fitcast_home, "mine")
    path.chmod(0o640)
    with pytest.raises(InvalidInputError, match="open to others"):
        token_for(HERE, fitcast_home)
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(json.dumps({"tokens": {HERE.url: "planted"}}))
    path.unlink()
    path.symlink_to(elsewhere)
    with pytest.raises(InvalidInputError, match="can't be read"):
        token_for(HERE, fitcast_home)
