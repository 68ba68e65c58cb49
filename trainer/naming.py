"""Names for content: equal names, equal content."""

from typing import Any


def content_hash(content: Any) -> str:
    """Return a hash of anything that can be pickled, classes of a notebook too."""
    import cloudpickle
    from joblib import hash as hash_of

    try:
        return str(hash_of(content))
    except Exception:  # classes of a notebook, which came by value
        return str(hash_of(cloudpickle.dumps(content)))
