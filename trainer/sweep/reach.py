"""What a user can still change of a sweep that was prepared, and whether they did.

In: digests of data, models and settings as they were. Not in: what is done if they differ
(:meth:`fitcast.trainer.sweep.prepared.Sweep.prepare`).
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fitcast.trainer.sweep.datasets import LoadedData, fingerprint, load
from fitcast.trainer.sweep.models import entries
from fitcast.trainer.sweep.unusual_objects import unusual_objects
from fitcast.trainer.sweep.users_code import digest_of

if TYPE_CHECKING:
    from fitcast.trainer.sweep.prepared import Sweep

_SETTINGS = (
    "data",
    "target",
    "cv",
    "scoring",
    "refit",
    "name",
    "predict_method",
    "return_train_score",
    "error_score",
    "deadline_s",
    "memory_bytes",
    "n_iter",
    "random_state",
    "fit_params",
    "score_params",
)


@dataclass(frozen=True, slots=True)
class Reach:
    """Digests of what a user can reach; equal as long as they change nothing."""

    data: str  # fingerprint of X and y; "" for what was read from a file
    rest: tuple[bytes, ...]


def reach_of(sweep: "Sweep", loaded: LoadedData, dataset: str) -> Reach:
    """Return what can be changed of a sweep.

    Parameters
    ----------
    sweep
        The sweep.
    loaded
        Its data, as taken in.
    dataset
        Their fingerprint.
    """
    if sweep.data is not None:  # what we read is ours alone
        loaded, dataset = _only_given(sweep), ""
    return Reach(dataset, tuple(_digests(sweep, loaded)))


def is_unchanged(reach: Reach, sweep: "Sweep") -> bool:
    """Tell whether a sweep is as it was."""
    try:
        if sweep.data is not None:
            loaded, dataset = _only_given(sweep), ""
        else:
            loaded = load(
                sweep.X,
                sweep.y,
                data=None,
                target=sweep.target,
                sample_weight=sweep.sample_weight,
                groups=sweep.groups,
            )
            dataset = fingerprint(loaded.X, loaded.y)
        return reach == Reach(dataset, tuple(_digests(sweep, loaded)))
    except Exception:  # preparing it anew says so
        return False


def _only_given(sweep: "Sweep") -> LoadedData:
    return LoadedData(sweep.X, sweep.y, sweep.sample_weight, sweep.groups)


def _digests(sweep: "Sweep", loaded: LoadedData) -> Iterator[bytes]:
    # Clones, as they are what is sent; distributions as they are: drawing moves random states on.
    as_given = None if sweep.n_iter is None else lambda grid: [grid]
    yield _digest(list(entries(sweep.models, as_given)))
    for name in _SETTINGS:
        yield _digest(getattr(sweep, name))
    yield _digest(loaded.sample_weight)
    yield _digest(loaded.groups)
    for part in (loaded.X, loaded.y):
        # What the fingerprint doesn't tell apart.
        about = []
        if hasattr(part, "iloc"):
            about = [getattr(part, name, None) for name in ("index", "dtypes")]
        yield _digest([type(part), *about])
        for _, objects in unusual_objects(part):
            yield _digest(objects)


def _digest(thing: Any) -> bytes:
    with suppress(Exception):
        return digest_of(thing)
    return f"{id(thing)}".encode()  # can't be pickled: a generator of splits, for instance
