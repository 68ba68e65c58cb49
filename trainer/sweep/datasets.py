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
from fitcast.trainer.sweep.containers import (
    Look,
    column_names,
    is_foreign_table,
    kept,
    look,
    without_columns,
)
from fitcast.trainer.sweep.spelling import nearest

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
    X = kept(X, "X")
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
        X = without_columns(X, list(dict.fromkeys(columns.values())))
    return LoadedData(X, None if y is None else kept(y, "y"), sample_weight, groups)


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
    """Return the bytes that data hold in memory.

    Of containers that read their rows when asked, what single rows say of all.
    """
    return look(thing).data_bytes


def sent_bytes(thing: Any) -> int:
    """Return the bytes that a worker holds of data."""
    seen = look(thing)
    if seen.plain is None and not is_foreign_table(seen.given):
        return seen.pickled[0]
    return seen.data_bytes


def fingerprint(X: Any, y: Any) -> str:
    """Return 16 hex digits that identify a dataset by shape and content, not by layout.

    Of containers that nothing is known of, by their pickle.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in (X, y):
        _hash(look(part), digest)
    return digest.hexdigest()


def _hash(part: Look, digest: Any) -> None:
    plain = part.plain
    if part.given is None:
        digest.update(b"none")
    elif plain is None and is_foreign_table(part.given):
        names = [str(name) for name in column_names(part.given) or ()]
        digest.update(f"frame {part.given.shape} {names}".encode())
        for _, column in part.named_columns():
            _hash_series(column, digest)
    elif plain is None:
        digest.update(b"pickle %d " % part.rows + part.pickled[1])
    elif sp.issparse(plain):
        digest.update(f"sparse {plain.shape} {plain.dtype}".encode())
        for array in (plain.data, plain.indices.astype(np.int64), plain.indptr.astype(np.int64)):
            _hash_array(array, digest)
    elif hasattr(plain, "dtypes") and hasattr(plain, "columns"):
        digest.update(f"frame {plain.shape} {[str(name) for name in plain.columns]}".encode())
        for position in range(plain.shape[1]):
            _hash_series(plain.iloc[:, position], digest)
    elif hasattr(plain, "to_numpy"):
        _hash_series(plain, digest)
    else:
        _hash_array(plain, digest)
        if isinstance(part.given, np.ma.MaskedArray):
            _hash_array(np.ma.getmaskarray(part.given), digest)


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


def _take(frame: Any, name: str, source: str, what: str) -> Any:
    names = column_names(frame)
    if names is None:
        raise InvalidDataError(
            f"{what}={name!r} names a column, but X is no frame. Give the values themselves."
        )
    if name not in names:
        names = [str(column) for column in names]
        shown = ", ".join(names[:30]) + (", …" if len(names) > 30 else "")
        raise InvalidDataError(
            f"{source!r} has no column {name!r} for the {what}{nearest(name, names)} "
            f"Its columns are: {shown}."
        )
    if names.count(name) > 1:
        raise InvalidDataError(f"{source!r} has several columns called {name!r}; rename them.")
    return frame[name]


def _suffix(path: str) -> str:
    name = urlsplit(path).path if "://" in path else path
    suffixes = [suffix.lower() for suffix in Path(name.rstrip("/")).suffixes]
    if suffixes and suffixes[-1] in _PACKED and len(suffixes) > 1 and suffixes[-2] in _CSV:
        return suffixes[-2]
    return suffixes[-1] if suffixes else ""
