"""Containers of rows: which are kept as they are, and what is seen of them beside.

In: what scikit-learn's own indexing takes, a plain NumPy or pandas view of it where there is one,
its length, its bytes and its pickle. Not in: reading files and hashing
(:mod:`fitcast.trainer.sweep.datasets`), whether estimators can use it
(:mod:`fitcast.trainer.sweep.validation`).

An estimator gets what ``GridSearchCV`` would cut out of the user's own container. Whatever is
converted here is only looked at: by checks, by the fingerprint, by the forecast.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from fitcast.errors import InvalidDataError
from fitcast.trainer.sweep.users_code import pickled_size

_SAMPLED_ROWS = 16
_SCALARS = (str, bytes, bool, int, float, complex, np.generic, type(None))
_ARRAY_LIBRARIES = frozenset({"torch", "jax", "jaxlib", "xarray"})
"""Whose arrays lie in memory, so that NumPy's view of them costs nothing; of another library's
that may be a file's whole content."""


class Look:
    """A container and what is seen of it; each is found out once, when it is asked for."""

    def __init__(self, given: Any) -> None:
        self.given = given

    @cached_property
    def plain(self) -> Any:
        """The same values as an array, a frame, a series or a CSR matrix; None if there's none."""
        return _plain(self.given)

    @cached_property
    def rows(self) -> int:
        """How many rows scikit-learn counts."""
        return int(_num_samples(self.given))

    @cached_property
    def pickled(self) -> tuple[int, bytes]:
        """Bytes that it takes when it is sent, and a digest of them."""
        return pickled_size(self.given)

    @cached_property
    def sampled(self) -> tuple[Any, ...]:
        """Some single rows, of a container that has no plain view; () if they can't be taken."""
        try:
            places = np.unique(np.linspace(0, self.rows - 1, _SAMPLED_ROWS).astype(np.intp))
            return tuple(rows_of(self.given, places[i : i + 1])[0] for i in range(len(places)))
        except Exception:  # the fits will meet it too, and report it
            return ()

    @property
    def columns(self) -> int:
        """How many values a row has, of unequal rows on average; at least 1."""
        shape = _shape(self.given if self.plain is None else self.plain)
        if len(shape) > 1:
            return max(1, int(np.prod([int(n) for n in shape[1:]])))
        if self.plain is not None or not self.sampled:
            return 1
        return max(1, round(float(np.mean([_values_in(row) for row in self.sampled]))))

    @property
    def data_bytes(self) -> int:
        """How much memory its values take, as far as can be told without reading all of them."""
        known = _known_bytes(self.given if self.plain is None else self.plain)
        if known is not None:
            return known
        rows = [_row_bytes(row) for row in self.sampled]
        read = round(float(np.mean(rows)) * self.rows) if rows else 0
        return max(read, self.pickled[0])

    def table(self, most_rows: int) -> Any:
        """Return the plain view, of a polars or Arrow table one of evenly spaced rows, or None."""
        if self.plain is not None or not is_foreign_table(self.given):
            return self.plain
        rows = np.unique(np.linspace(0, self.rows - 1, most_rows).astype(np.intp))
        return rows_of(self.given, rows).to_pandas()

    def named_columns(self) -> Iterator[tuple[str, Any]]:
        """Yield name and values of each column of a table, as NumPy or pandas has them."""
        table = self.plain
        if table is None:
            for name, column in _foreign_columns(self.given):
                yield name, column.to_pandas()
        elif hasattr(table, "iloc"):
            frame = table if table.ndim == 2 else table.to_frame()
            for position, name in enumerate(frame.columns):
                yield str(name), frame.iloc[:, position]
        else:
            flat = table.reshape(len(table), -1)
            for position in range(flat.shape[1]):
                yield str(position), flat[:, position]


def look(thing: Any) -> Look:
    """Return what is seen of a container."""
    return thing if isinstance(thing, Look) else Look(thing)


def kept(given: Any, what: str) -> Any:
    """Return data as scikit-learn's own indexing takes it: as they are, wherever it does.

    Raises
    ------
    InvalidDataError
        It takes rows of nothing like that.
    """
    if sp.issparse(given):
        return given if given.format == "csr" else given.tocsr()
    if isinstance(given, np.memmap):
        return np.asarray(given)  # what is cut out of it is an array; pickled, it would be copied
    if isinstance(given, str | bytes):
        hint = " For a file, write data='path'." if isinstance(given, str) else ""
        raise _no_rows(given, what, hint)
    if _package(given) == "dask" and (hasattr(given, "iloc") or not hasattr(given, "shape")):
        raise InvalidDataError(
            f"{what} is a Dask collection, of which scikit-learn can't take rows. Give an array or "
            "a frame in memory, or write it to Parquet and give data='path'."
        )
    if hasattr(given, "iloc"):
        return given
    if not hasattr(given, "__getitem__"):
        if not hasattr(given, "__array__"):
            hint = "" if not hasattr(given, "__iter__") else f" Give list({what})."
            raise _no_rows(given, what, hint)
        given = np.asarray(given)
    try:
        _num_samples(given)
    except TypeError as error:
        raise _no_rows(given, what, "") from error
    return given


def rows_of(container: Any, rows: npt.NDArray[np.intp]) -> Any:
    """Return some rows as scikit-learn cuts them."""
    return _safe_indexing(container, rows)


def is_foreign_table(thing: Any) -> bool:
    """Tell whether something is a frame or series of polars or Arrow."""
    return _package(thing) in ("polars", "pyarrow") and hasattr(thing, "__getitem__")


def column_names(frame: Any) -> list[Any] | None:
    """Return the names of a frame's columns, None of what is no frame."""
    # Of Arrow's, `columns` are the values.
    name = "column_names" if _package(frame) == "pyarrow" else "columns"
    names = getattr(frame, name, None)
    return None if names is None or not hasattr(names, "__iter__") else list(names)


def without_columns(frame: Any, names: list[str]) -> Any:
    """Return a frame without some columns."""
    if _package(frame) == "pyarrow":
        return frame.drop_columns(names)
    return frame.drop(names) if _package(frame) == "polars" else frame.drop(columns=names)


def _plain(given: Any) -> Any:
    if given is None or sp.issparse(given):
        return given
    if hasattr(given, "iloc"):  # one may have that and little else of pandas
        return given if hasattr(given, "dtypes") or hasattr(given, "dtype") else None
    if isinstance(given, np.ndarray):
        return np.asarray(given)
    if isinstance(given, list | tuple | range):
        return _array_of(given)
    if is_foreign_table(given):
        return given.to_pandas() if len(_shape(given) or (0,)) == 1 else None
    if _package(given) in _ARRAY_LIBRARIES:
        try:
            array = np.asarray(given)
        except Exception:  # on another device, or part of a graph
            return None
        return array if array.ndim and array.dtype.kind in "biufcmM" else None
    return None


def _array_of(given: Any) -> npt.NDArray[Any] | None:
    """Return a list of values, or of equal rows of values, as an array."""
    if not len(given):
        return np.asarray(given)
    first = given[0]
    if isinstance(first, str | bytes) or first is None:
        # Texts of very different length would each take the room of the longest.
        return _of_objects(given)
    if not isinstance(first, _SCALARS):
        if isinstance(first, np.ndarray):
            if type(first) is not np.ndarray or first.ndim > 1:
                return None
        elif not isinstance(first, list | tuple) or not all(isinstance(v, _SCALARS) for v in first):
            return None
    try:
        array = np.asarray(given)
    except (ValueError, TypeError):  # rows of different lengths
        return None
    if array.dtype.kind in "US":
        array = np.asarray(given, dtype=object)
    elif array.dtype == object and array.ndim == 1:
        return _of_objects(given)
    return array


def _of_objects(given: Any) -> npt.NDArray[Any] | None:
    """Return single values as an array; None if some of them are no single values."""
    if not all(isinstance(value, _SCALARS) for value in given):
        return None
    array = np.empty(len(given), dtype=object)
    array[:] = given
    return array


def _foreign_columns(given: Any) -> Iterator[tuple[str, Any]]:
    if is_foreign_table(given):
        for name in column_names(given) or ():
            yield str(name), given[name]


def _known_bytes(thing: Any) -> int | None:
    if thing is None:
        return 0
    if sp.issparse(thing):
        return sum(
            int(part.nbytes)
            for name in ("data", "indices", "indptr")
            if (part := getattr(thing, name, None)) is not None
        )
    if hasattr(thing, "memory_usage"):
        usage = thing.memory_usage(deep=True)
        return int(usage.sum() if hasattr(usage, "sum") else usage)
    if hasattr(thing, "estimated_size"):  # polars
        return int(thing.estimated_size())
    size = getattr(thing, "nbytes", None)
    if not isinstance(size, int | np.integer):
        return None
    if isinstance(thing, np.ndarray) and thing.dtype == object:
        return int(size) + sum(len(v) + 49 for v in thing.flat if isinstance(v, str | bytes))
    return int(size)


def _row_bytes(row: Any) -> int:
    known = None if isinstance(row, np.ndarray) and row.dtype == object else _known_bytes(row)
    if known is not None:
        return known
    try:
        return pickled_size(row)[0]
    except Exception:
        return 0


def _values_in(row: Any) -> int:
    """Return how many values a row holds, nested ones too; texts and objects are one each."""
    shape = _shape(row)
    if shape:
        return int(np.prod([int(n) for n in shape]))
    if isinstance(row, dict):
        return sum(_values_in(value) for value in row.values())
    if isinstance(row, list | tuple):
        return sum(_values_in(value) for value in row)
    return 1


def _shape(thing: Any) -> tuple[Any, ...]:
    shape = getattr(thing, "shape", None)
    if not isinstance(shape, tuple):
        try:
            shape = tuple(shape)  # type: ignore[arg-type]
        except TypeError:
            return ()
    return shape if all(isinstance(n, int | np.integer) for n in shape) else ()


def _package(thing: Any) -> str:
    return type(thing).__module__.partition(".")[0]


def _no_rows(given: Any, what: str, hint: str) -> InvalidDataError:
    return InvalidDataError(
        f"{what} must be an array, a frame, a sparse matrix, a list, or anything else with a "
        f"length and rows, not a {type(given).__name__}.{hint}"
    )
