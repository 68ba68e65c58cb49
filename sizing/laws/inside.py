"""What is inside an estimator: questions to its tree that need no data.

In: telling wrappers, pipelines and transformers side by side; naming what is wrapped. Not in: what
they cost (:mod:`fitcast.sizing.laws.composition`).
"""

from functools import lru_cache

from fitcast.history.parts import EstimatorPart

_MOST_NAMES = 300  # characters


def is_composed(part: EstimatorPart | None) -> bool:
    """Return whether an estimator is more than one, or a pipeline of such.

    A plain pipeline's steps are in its request as well, and records of before say only those.
    """
    if part is None or not part.parts:
        return False
    if is_pipeline(part):
        return any(
            is_composed(step) if is_pipeline(step) else bool(step.parts or step.unlisted)
            for step in part.parts
        )
    return True


def last_of(part: EstimatorPart) -> EstimatorPart:
    """Return the part that does the work: a pipeline's last step."""
    while is_pipeline(part) and part.parts:
        part = part.parts[-1]
    return part


@lru_cache(maxsize=4096)
def wrapped(part: EstimatorPart | None) -> str:
    """Return what is within an estimator that does the work, in short; "" if it wraps nothing."""
    if part is None:
        return ""
    names = dict.fromkeys(_names_in(last_of(part)))
    return f" of {'+'.join(names)}"[:_MOST_NAMES] if names else ""


def _names_in(part: EstimatorPart) -> list[str]:
    found: list[str] = []
    for inner in part.parts:
        last = last_of(inner)
        name = last.algorithm.rpartition(".")[2] or "unknown"
        within = list(dict.fromkeys(_names_in(last)))
        found.append(f"{name}({'+'.join(within)})" if within else name)
    return found


def is_pipeline(part: EstimatorPart) -> bool:
    """Return whether an estimator is steps, one after the other."""
    return any(inner.role == "steps" for inner in part.parts)


def is_split(part: EstimatorPart) -> bool:
    """Return whether an estimator is transformers side by side."""
    return any(inner.role in ("transformers", "transformer_list") for inner in part.parts)
