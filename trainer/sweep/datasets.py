"""Data in: arrays, frames, sparse matrices or a file become the content that fits run on.

In: reading files through fsspec, taking the target out of a frame, the content that is sealed, its
fingerprint and its shape. Not in: whether estimators can use it
(:mod:`fitcast.trainer.sweep.validation`) and sealing (:mod:`fitcast.trainer.sealing`).
"""

import hashlib
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from fitcast.errors import InvalidDataError
from fitcast.trainer.sweep.models import nearest

_HASH_BYTES = 1 << 24  # rows are hashed in blocks of about this size, so that no copy is made
_CSV = (".csv", ".tsv")
_PARQUET = (".parquet", ".pq")
_PACKED = (".gz", ".bz2", ".xz", ".zip", ".zst")


@dataclass
class DatasetContent:
    """What is sealed for the workers, and what every fit of a workflow sees."""

    X: Any
    y: Any
    columns: dict[str, Any] = field(default_factory=dict)  # a value per row: "sample_weight"
    splits: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]] = field(default_factory=list)


@dataclass(frozen=True)
class LoadedData:
    """Data as taken in, before it is validated."""

    X: Any
    y: Any
    sample_weight: Any
    groups: Any


def load(
    X: Any,
    y: Any,
    *,
    data: str | Path | None,
    target: str | None,
    sample_weight: Any = None,
    groups: Any = None,
) -> LoadedData:
    """Read X and y, or a file; ``target``, weights and groups may name columns of a frame.

    Raises
    ------
    InvalidDataError
        If there is no data, a file can't be read or a column isn't there.
    """
    if data is not None and X is not None:
        raise InvalidDataError("Give either X and y, or data='path', not both.")
    if data is not None:
        if y is not None:
            raise InvalidDataError(
                "With data='path' the target is a column: give target='name' instead of y."
            )
        X = read_frame(data)
        source = redacted(data)
    elif X is None:
        raise InvalidDataError("The sweep has no data. Give X and y, or data='path' and target.")
    else:
        source = "X"
    X = _table(X, "X")
    if target is not None:
        if y is not None:
            raise InvalidDataError("Give either y or target='name', not both.")
        y = _take(X, target, source, "target")
    named = {"target": target, "sample_weight": sample_weight, "groups": groups}
    columns = {what: name for what, name in named.items() if isinstance(name, str)}
    if "sample_weight" in columns:
        sample_weight = _take(X, columns["sample_weight"], source, "sample_weight")
    if "groups" in columns:
        groups = _take(X, columns["groups"], source, "groups")
    if columns:
        X = X.drop(columns=list(dict.fromkeys(columns.values())))
    return LoadedData(X, None if y is None else _table(y, "y"), sample_weight, groups)


def read_frame(uri: str | Path) -> Any:
    """Read a CSV or Parquet file, here or anywhere that fsspec reaches, as a pandas frame."""
    path, shown = str(uri), redacted(uri)
    suffix = _suffix(path)
    if suffix not in _CSV + _PARQUET:
        raise InvalidDataError(
            f"Can't tell the format of {shown!r} from its ending. Give a file that ends in .csv, "
            ".tsv, .parquet or .pq (text also compressed: .csv.gz), or load it yourself and "
            "pass X and y."
        )
    import fsspec
    import pandas as pd

    try:
        filesystem, inner = fsspec.core.url_to_fs(path)
        if filesystem.isdir(inner):
            if suffix not in _PARQUET:
                raise IsADirectoryError(f"{shown} is a folder")
            return pd.read_parquet(path)
        with fsspec.open(path, "rb", compression="infer" if suffix in _CSV else None) as file:
            if suffix in _PARQUET:
                return pd.read_parquet(file)
            return pd.read_csv(file, sep="\t" if suffix == ".tsv" else ",")
    except FileNotFoundError as error:
        raise InvalidDataError(
            f"There is no file {shown!r}. Check the path; a relative one starts at "
            f"{str(Path.cwd())!r}."
        ) from error
    except ImportError as error:
        raise InvalidDataError(
            f"Can't reach {shown!r}: {error}. Install the fsspec package for this kind of address."
        ) from error
    except Exception as error:
        detail = str(error).replace(path, shown) or type(error).__name__
        raise InvalidDataError(
            f"Can't read {shown!r}: {detail}. Check that it is a whole "
            f"{'Parquet' if suffix in _PARQUET else 'CSV'} file that you may read."
        ) from error


def redacted(uri: str | Path) -> str:
    """Return an address without the credentials and signatures that it may carry."""
    parts = urlsplit(str(uri))
    if not parts.scheme or not (parts.netloc or parts.query):
        return str(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def bytes_of(thing: Any) -> int:
    """Return the bytes that an array, frame, series or sparse matrix holds in memory."""
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
    array = np.asarray(thing)
    if array.dtype != object:
        return int(array.nbytes)
    return int(array.nbytes) + sum(len(v) + 49 for v in array.flat if isinstance(v, str | bytes))


def fingerprint(X: Any, y: Any) -> str:
    """Return 16 hex digits that identify a dataset by shape and content, not by layout."""
    digest = hashlib.blake2b(digest_size=8)
    for part in (X, y):
        _hash(part, digest)
    return digest.hexdigest()


def _hash(part: Any, digest: Any) -> None:
    if part is None:
        digest.update(b"none")
    elif sp.issparse(part):
        digest.update(f"sparse {part.shape} {part.dtype}".encode())
        for array in (part.data, part.indices.astype(np.int64), part.indptr.astype(np.int64)):
            _hash_array(array, digest)
    elif hasattr(part, "dtypes") and hasattr(part, "columns"):
        digest.update(f"frame {part.shape} {[str(name) for name in part.columns]}".encode())
        for position in range(part.shape[1]):
            _hash_series(part.iloc[:, position], digest)
    elif hasattr(part, "to_numpy"):
        _hash_series(part, digest)
    else:
        _hash_array(np.asarray(part), digest)


def _hash_series(series: Any, digest: Any) -> None:
    digest.update(str(series.dtype).encode())
    if isinstance(series.dtype, np.dtype) and series.dtype != object:
        _hash_array(series.to_numpy(), digest)
        return
    import pandas as pd

    try:
        hashed = pd.util.hash_pandas_object(series, index=False).to_numpy()
    except (TypeError, ValueError):  # lists or other unhashable things in cells
        digest.update(pickle.dumps(series.to_list(), protocol=5))
    else:
        _hash_array(hashed, digest)


def _hash_array(array: npt.NDArray[Any], digest: Any) -> None:
    digest.update(f"array {array.shape} {array.dtype}".encode())
    if array.size == 0:
        return
    if array.dtype.hasobject:
        import pandas as pd

        try:
            array = np.asarray(pd.util.hash_array(array.ravel(), categorize=False))
        except (TypeError, ValueError):
            digest.update(pickle.dumps(array.tolist(), protocol=5))
            return
    if array.ndim == 0:
        array = array.reshape(1)
    rows = max(1, _HASH_BYTES // max(1, array.nbytes // len(array)))
    for start in range(0, len(array), rows):
        block = np.ascontiguousarray(array[start : start + rows])
        digest.update(block.view(np.uint8).reshape(-1).data)


def _table(given: Any, what: str) -> Any:
    """Return data in a form that can be cut by rows; NumPy, pandas and CSR stay as they are."""
    if sp.issparse(given):
        return given if given.format == "csr" else given.tocsr()
    module = type(given).__module__.split(".")[0]
    if module == "polars" or module == "pyarrow":
        given = given.to_pandas()
    elif module == "dask":
        raise InvalidDataError(
            f"{what} is a Dask collection. Give an array or a frame in memory, or write it to "
            "Parquet and give data='path'."
        )
    if hasattr(given, "iloc"):
        return given
    if isinstance(given, np.ndarray):
        return np.asarray(given)  # np.matrix and other subclasses behave differently per row
    if isinstance(given, str | bytes) or not (
        hasattr(given, "__array__") or hasattr(given, "__len__")
    ):
        hint = " For a file, write data='path'." if isinstance(given, str) else ""
        raise InvalidDataError(
            f"{what} must be an array, a frame or a sparse matrix, not a {type(given).__name__}."
            f"{hint}"
        )
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise InvalidDataError(
            f"{what} is no table: its rows differ in length or kind ({error}). Give every row the "
            "same columns."
        ) from error
    # Texts of very different length would each take the room of the longest.
    return np.asarray(given, dtype=object) if array.dtype.kind in "US" else array


def _take(frame: Any, name: str, source: str, what: str) -> Any:
    if not hasattr(frame, "columns"):
        raise InvalidDataError(
            f"{what}={name!r} names a column, but X is no frame. Give the values themselves."
        )
    if name not in frame.columns:
        names = [str(column) for column in frame.columns]
        shown = ", ".join(names[:30]) + (", …" if len(names) > 30 else "")
        raise InvalidDataError(
            f"{source!r} has no column {name!r} for the {what}{nearest(name, names)} "
            f"Its columns are: {shown}."
        )
    column = frame[name]
    if getattr(column, "ndim", 1) != 1:
        raise InvalidDataError(f"{source!r} has several columns called {name!r}; rename them.")
    return column


def _suffix(path: str) -> str:
    name = urlsplit(path).path if "://" in path else path
    suffixes = [suffix.lower() for suffix in Path(name.rstrip("/")).suffixes]
    if suffixes and suffixes[-1] in _PACKED and len(suffixes) > 1 and suffixes[-2] in _CSV:
        return suffixes[-2]
    return suffixes[-1] if suffixes else ""
