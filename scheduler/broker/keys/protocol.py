"""What key-encryption keys can do, wherever they are."""

import json
from typing import Final, Protocol

_KIND: Final = "fitcast data key 1"


class KeyEncryptionKeys(Protocol):
    """Wraps the keys of workflows, with keys that it never gives out.

    All of it raises `KeyEncryptionError` if that can't be done.
    """

    def wrap(self, key: bytes, context: bytes) -> tuple[bytes, str]:
        """Return a key as only these keys can open it, and the version that wrapped it.

        It opens with the same `context` alone, which names whom and what it is for.
        """

    def unwrap(self, wrapped: bytes, version: str, context: bytes) -> bytes:
        """Return the key that was wrapped in this context by this version."""

    def rewrap(self, wrapped: bytes, version: str, context: bytes) -> tuple[bytes, str] | None:
        """Return it wrapped by the current version; None if it is already."""

    def rotate(self) -> str:
        """Make a new version, by which keys are wrapped from now on; return its name."""

    def close(self) -> None:
        """Give up what is held open."""


def key_context(user_id: int, workflow_id: str, dataset_sha256: str) -> bytes:
    """Return what a workflow's key is bound to: it opens for no other user, workflow or dataset."""
    told = [_KIND, user_id, workflow_id, dataset_sha256]
    return json.dumps(told, separators=(",", ":"), ensure_ascii=True).encode("ascii")
