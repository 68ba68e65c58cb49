"""Key-encryption keys in the transit engine of HashiCorp Vault, or of OpenBao, over HTTP.

The keys never leave that server: it wraps and unwraps. What a key is bound to is sent as
`associated_data`, which its AES-GCM authenticates, and as `context`, from which it derives a key of
its own for each workflow if the transit key was made with ``derived=true``. Which version wrapped a
key is part of what the server gives out (``vault:v3:…``).

The token needs ``update`` on ``<mount>/encrypt/<key>`` and ``<mount>/decrypt/<key>``, and for a
rotation on ``<mount>/keys/<key>/rotate`` and ``read`` on ``<mount>/keys/<key>``.
"""

import base64
import binascii
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx

from fitcast.errors import KeyEncryptionError

_TIMEOUT_S: Final = 10.0
_WRAPPED: Final = re.compile(r"vault:v([1-9][0-9]{0,9}):[A-Za-z0-9+/=]+")
_TODO: Final = {
    400: "a wrapped key was changed, is of another user, workflow or dataset, or its version was "
    "retired there",
    403: "the token has expired, or its policy lacks a right on that transit key",
    404: "check the transit engine's mount and the key's name",
    503: "it is sealed or starting: unseal it, then try again",
}


class VaultTransitKeys:
    """Key-encryption keys in a transit engine.

    Parameters
    ----------
    url : str
        The server, as in ``https://vault.example:8200``.
    key_name : str
        The transit key, of a kind that authenticates what comes with it (``aes256-gcm96``).
    token : callable
        Returns the token to show; asked each time, so that it may be renewed.
    mount : str
        Where the engine is mounted.
    namespace : str, optional
        Of an enterprise server.
    verify : bool or SSLContext
        What server certificates are taken for good.
    """

    def __init__(
        self,
        url: str,
        key_name: str,
        token: Callable[[], str],
        *,
        mount: str = "transit",
        namespace: str | None = None,
        verify: bool | ssl.SSLContext = True,
    ) -> None:
        self._at = f"{url.rstrip('/')}/v1/{quote(mount.strip('/'))}"
        self._key = quote(key_name, safe="")
        self._token = token
        self._headers = {"X-Vault-Request": "true"}
        if namespace is not None:
            self._headers["X-Vault-Namespace"] = namespace
        transport = httpx.HTTPTransport(verify=verify, retries=2)  # of connections, no requests
        self._client = httpx.Client(
            transport=transport, timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False
        )

    def wrap(self, key: bytes, context: bytes) -> tuple[bytes, str]:
        """Return a key as only these keys can open it, and the version that wrapped it."""
        given = {"plaintext": _base64(key), **_bound(context)}
        wrapped = self._asked("POST", f"encrypt/{self._key}", given).get("ciphertext")
        version = _version_of(wrapped)
        if not isinstance(wrapped, str) or version is None:
            raise self._odd()
        return wrapped.encode("ascii"), version

    def unwrap(self, wrapped: bytes, version: str, context: bytes) -> bytes:
        """Return the key that was wrapped in this context by this version."""
        told = wrapped.decode("ascii", "replace")
        if _version_of(told) != version:
            raise KeyEncryptionError(
                "a wrapped key was changed, or was wrapped elsewhere: it names another version "
                "than the broker's database"
            )
        given = {"ciphertext": told, **_bound(context)}
        plaintext = self._asked("POST", f"decrypt/{self._key}", given).get("plaintext")
        try:
            return base64.b64decode(str(plaintext), validate=True)
        except binascii.Error:
            raise self._odd() from None  # the error may tell of the key

    def rewrap(self, wrapped: bytes, version: str, context: bytes) -> tuple[bytes, str] | None:
        """Return it wrapped by the current version; None if it is already."""
        if version == self._latest():
            return None
        # the server's own `rewrap` doesn't take what the key is bound to
        return self.wrap(self.unwrap(wrapped, version, context), context)

    def rotate(self) -> str:
        """Make a new version, by which keys are wrapped from now on; return its name."""
        self._asked("POST", f"keys/{self._key}/rotate", {})
        return self._latest()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _latest(self) -> str:
        latest = self._asked("GET", f"keys/{self._key}").get("latest_version")
        if not isinstance(latest, int):
            raise self._odd()
        return str(latest)

    def _asked(
        self, method: str, path: str, given: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """Ask the server; return the data of its answer."""
        headers = {**self._headers, "X-Vault-Token": self._token().strip()}
        try:
            answer = self._client.request(method, f"{self._at}/{path}", json=given, headers=headers)
        except (httpx.HTTPError, ValueError) as error:  # no bodies or headers are in these
            raise KeyEncryptionError(
                f"the transit engine at {self._at} doesn't answer ({type(error).__name__}): check "
                "that it runs, is unsealed, and that this machine reaches and trusts it"
            ) from None
        if answer.is_success:
            if answer.status_code == 204:
                return {}
            try:
                data = answer.json().get("data")
            except (ValueError, AttributeError):
                raise self._odd() from None
            return data if isinstance(data, dict) else {}
        todo = _TODO.get(answer.status_code, "look into its log")
        raise KeyEncryptionError(
            f"the transit engine at {self._at} refuses ({answer.status_code}): {todo}"
        )

    def _odd(self) -> KeyEncryptionError:
        return KeyEncryptionError(
            f"what {self._at} answers isn't what a transit engine does: check its address and mount"
        )


def _version_of(wrapped: object) -> str | None:
    match = _WRAPPED.fullmatch(wrapped) if isinstance(wrapped, str) else None
    return None if match is None else match[1]


def _bound(context: bytes) -> dict[str, str]:
    return {"associated_data": _base64(context), "context": _base64(context)}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
