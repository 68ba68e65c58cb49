"""Key-encryption keys: what wraps the keys of workflows in the broker's database.

In: the protocol, keys in a file, keys in Vault's transit engine. Not in: where wrapped keys are
kept (:mod:`fitcast.scheduler.broker.store`).
"""

from fitcast.scheduler.broker.keys.key_file import KeyFile
from fitcast.scheduler.broker.keys.protocol import KeyEncryptionKeys, key_context
from fitcast.scheduler.broker.keys.vault import VaultTransitKeys

__all__ = ["KeyEncryptionKeys", "KeyFile", "VaultTransitKeys", "key_context"]
