"""Where a shared platform is, and the token that opens it.

In: what an address may be, tokens as `fitcast login` keeps them. Not in: asking
(:mod:`fitcast.scheduler.session.remote.calls`).
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from fitcast.errors import InvalidInputError
from fitcast.trainer.shared_memory import write_all

ADDRESS_VARIABLE: Final = "FITCAST_BROKER"
TOKEN_VARIABLE: Final = "FITCAST_TOKEN"  # noqa: S105 - its name
PLAIN_VARIABLE: Final = "FITCAST_PLAIN_HTTP"

_FILE: Final = "credentials.json"
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a shared platform answers.

    Attributes
    ----------
    url : str
        ``https://host[:port][/path]``, without a slash at the end.
    """

    url: str

    @classmethod
    def of(cls, url: str) -> "BrokerAddress":
        """Return a checked address.

        Raises
        ------
        InvalidInputError
            It can't be one, holds a password, or would send tokens and keys in clear.
        """
        parts = urlsplit(url.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInputError(
                f"{url!r} is no address of a shared platform: give one such as "
                "https://fitcast.example.org, or leave it out to use this machine"
            )
        if parts.username or parts.password:
            raise InvalidInputError(
                "an address with a name or password in it ends in logs: give token=…, or set "
                f"{TOKEN_VARIABLE}"
            )
        if parts.query or parts.fragment:
            raise InvalidInputError(f"{url!r} has more than a host and a path: leave the rest out")
        if parts.scheme == "http" and not (
            _is_here(parts.hostname) or os.environ.get(PLAIN_VARIABLE) == "1"
        ):
            raise InvalidInputError(
                f"{url!r} isn't encrypted: your token and your data's key would be read by whoever "
                f"listens. Use https, or set {PLAIN_VARIABLE}=1 in a network that you trust"
            )
        return cls(f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}")


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return False


def token_for(address: BrokerAddress, home: Path, given: str | None = None) -> str:
    """Return the token for a platform: as given, as the environment says, or as `login` kept it.

    Raises
    ------
    InvalidInputError
        There is none, or none that could be one.
    """
    token = given or os.environ.get(TOKEN_VARIABLE) or _kept(home).get(address.url)
    if not token:
        raise InvalidInputError(
            f"{address.url} wants a token: `fitcast login {address.url}` keeps one, or give "
            f"token=…, or set {TOKEN_VARIABLE}"
        )
    token = token.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidInputError("this token can't be one: copy it anew, without quotes or breaks")
    return token


def default_url(home: Path) -> str | None:
    """Return the address of the environment, else where this user logged in last; None if none."""
    return os.environ.get(ADDRESS_VARIABLE) or _read(home).get("default")


def keep_token(address: BrokerAddress, home: Path, token: str) -> Path:
    """Keep a token for later processes of this user; return the file that it is in.

    Raises
    ------
    InvalidInputError
        It can't be written.
    """
    kept = {**_kept(home), address.url: token}
    return _write(home, kept, address.url)


def forget_token(address: BrokerAddress, home: Path) -> bool:
    """Keep no token for a platform any more; tell whether there was one."""
    kept = _kept(home)
    if kept.pop(address.url, None) is None:
        return False
    known = _read(home).get("default")
    _write(home, kept, known if known in kept else None)
    return True


def _kept(home: Path) -> dict[str, str]:
    tokens = _read(home).get("tokens", {})
    return {str(url): str(token) for url, token in tokens.items()}


def _read(home: Path) -> dict[str, Any]:
    path = home / _FILE
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidInputError(f"{path} can't be read ({error.strerror or error})") from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise InvalidInputError(
                f"{path} holds tokens and is open to others: `chmod 600` it, and revoke the tokens "
                "if others may have read them"
            )
        try:
            told = json.loads(file.read(2**20))
            if not isinstance(told["tokens"], dict):
                raise TypeError
            return dict(told)
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(f"{path} is damaged: remove it, and log in again") from error


def _write(home: Path, tokens: Mapping[str, str], default: str | None) -> Path:
    path = home / _FILE
    beside = path.with_name(f"{_FILE}.{os.getpid()}.new")
    told = json.dumps({"default": default, "tokens": dict(tokens)}, indent=1).encode()
    try:
        descriptor = os.open(beside, _NEW_FILE, 0o600)
        try:
            write_all(descriptor, told)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        beside.rename(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise InvalidInputError(f"{path} can't be written ({error.strerror or error})") from error
    return path
