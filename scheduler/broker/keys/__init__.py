"""TEMPORARY."""


class KeyEncryptionKeys:
    def wrap(self, key, context):
        return key, "1"

    def unwrap(self, wrapped, version, context):
        return wrapped

    def rotate(self):
        return "2"


def key_context(user_id, workflow_id, dataset):
    return f"{user_id}/{workflow_id}/{dataset}".encode()


def keys_of(**how):
    return KeyEncryptionKeys()


def rewrap(store, keys):
    return 0
