"""Records as flat rows: to plain dictionaries (JSON), to Arrow tables (Parquet), and back.

In here: the one fixed layout of a stored record and the rules for rows of another version. Not in
here: where rows are kept (:mod:`fitcast.history.outbox`, :mod:`fitcast.history.mlflow_store`).

The way there and back is exact. What a column can't hold is brought into range when it is
written: whole numbers beyond 64 bits, half a surrogate pair in a text.
"""

import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from fitcast.history.parts import EstimatorPart, part_from_json
from fitcast.history.records import SCHEMA_VERSION, Estimate, Outcome, Record, Request

log = logging.getLogger(__name__)

_INT64_MAX: Final = 2**63 - 1
_REQUEST: Final = "request_"
_ESTIMATE: Final = "estimate_"

_TIME: Final = pa.timestamp("us", tz="UTC")

# Mappings and tuples are kept as JSON text: their keys differ from row to row, and a column per
# hyper-parameter would make the schema depend on the data.
_JSON_FIELDS: Final = frozenset(
    {"request_params", "request_steps", "request_bases", "scores", "versions"},
)
_PARTS_FIELD: Final = "request_made_of"  # JSON too, null where an estimator is made of itself alone

_REQUEST_TYPES: Final[dict[str, pa.DataType]] = {
    "algorithm": pa.string(),
    "steps": pa.string(),
    "params": pa.string(),
    "rows_train": pa.int64(),
    "rows_test": pa.int64(),
    "columns": pa.int64(),
    "nonzeros": pa.int64(),
    "data_bytes": pa.int64(),
    "dtype": pa.string(),
    "target": pa.string(),
    "classes": pa.int64(),
    "threads": pa.int64(),
    "distinct_values": pa.int64(),
    "categorical_columns": pa.int64(),
    "missing_share": pa.float64(),
    "scale_decades": pa.float64(),
    "condition_decades": pa.float64(),
    "correlation_decades": pa.float64(),
    "bases": pa.string(),
    "library_version": pa.string(),
    "made_of": pa.string(),
    "targets": pa.int64(),
    "memory_order": pa.string(),
    "integer_columns": pa.int64(),
    "arrow_columns": pa.int64(),
    "text_columns": pa.int64(),
    "text_chars": pa.float64(),
    "text_words": pa.float64(),
}
_ESTIMATE_TYPES: Final[dict[str, pa.DataType]] = {
    "threads": pa.int64(),
    "runtime_s_p10": pa.float64(),
    "runtime_s_p50": pa.float64(),
    "runtime_s_p90": pa.float64(),
    "peak_memory_bytes_p50": pa.int64(),
    "peak_memory_bytes_p95": pa.int64(),
    "failure_probability": pa.float64(),
    "runtime_log_sd_algorithm": pa.float64(),
    "runtime_log_sd_candidate": pa.float64(),
    "runtime_log_sd_fit": pa.float64(),
    "parallel_fraction": pa.float64(),
    "like_records": pa.int64(),
    "why": pa.string(),
}
_RECORD_TYPES: Final[dict[str, pa.DataType]] = {
    "schema_version": pa.int64(),
    "record_id": pa.string(),
    "workflow_id": pa.string(),
    "workflow_name": pa.string(),
    "dataset": pa.string(),
    "candidate": pa.string(),
    "candidate_index": pa.int64(),
    "fold": pa.int64(),
    "attempt": pa.int64(),
    "outcome": pa.string(),
    "runtime_s": pa.float64(),
    "cpu_s": pa.float64(),
    "peak_memory_bytes": pa.int64(),
    "base_memory_bytes": pa.int64(),
    "memory_limit_bytes": pa.int64(),
    "deadline_s": pa.float64(),
    "pool": pa.string(),
    "worker": pa.string(),
    "host": pa.string(),
    "started_at": _TIME,
    "ended_at": _TIME,
    "scores": pa.string(),
    "error_type": pa.string(),
    "error_message": pa.string(),
    "versions": pa.string(),
    "machine_speed": pa.float64(),
    "shared_s": pa.float64(),
    "cpu_wait_s": pa.float64(),
    "imported": pa.bool_(),
}

SCHEMA: Final = pa.schema(
    [pa.field(name, kind) for name, kind in _RECORD_TYPES.items()]
    + [pa.field(_REQUEST + name, kind) for name, kind in _REQUEST_TYPES.items()]
    + [pa.field(_ESTIMATE + name, kind) for name, kind in _ESTIMATE_TYPES.items()],
    metadata={"fitcast_schema_version": str(SCHEMA_VERSION)},
)
"""The Arrow schema of stored records. The ``estimate_`` columns are null when nothing was
forecast, ``request_made_of`` where an estimator has no parts; that, ``request_params``, ``_steps``
and ``_bases``, ``scores`` and ``versions`` hold JSON."""

_KINDS: Final[dict[str, pa.DataType]] = {f.name: f.type for f in SCHEMA}


class _UnreadableRowError(Exception):
    """A row that this version can't turn into a record."""


def record_to_row(record: Record) -> dict[str, Any]:
    """Return a record as a flat dictionary with the columns of :data:`SCHEMA`.

    Times stay ``datetime`` (UTC); everything else is a plain JSON value.
    """
    row: dict[str, Any] = {}
    parts = {"": record, _REQUEST: record.request, _ESTIMATE: record.estimate}
    for column, prefix, name, write in _columns():
        part = parts[prefix]
        value = None if part is None else getattr(part, name)
        row[column] = None if value is None else write(value)
    return row


@cache
def _columns() -> tuple[tuple[str, str, str, Callable[[Any], Any]], ...]:
    """Return column, prefix, field and the way to write it, of every column."""
    kinds = {"": _RECORD_TYPES, _REQUEST: _REQUEST_TYPES, _ESTIMATE: _ESTIMATE_TYPES}
    return tuple(
        (prefix + name, prefix, name, _writer_of(prefix + name))
        for prefix, names in kinds.items()
        for name in names
    )


def row_to_record(row: Mapping[str, Any]) -> Record | None:
    """Return the record of a flat row, or None (with a warning) if it is newer or unreadable.

    Columns that are unknown are ignored; columns that are missing get the record's default.
    """
    found, skipped = _records_of([row])
    _warn(skipped)
    return found[0] if found else None


def record_to_json(record: Record) -> dict[str, Any]:
    """Return a record as a dictionary that ``json`` can write."""
    row = record_to_row(record)
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in row.items()}


def records_to_table(records: Iterable[Record]) -> pa.Table:
    """Return records as an Arrow table with the schema :data:`SCHEMA`."""
    return pa.Table.from_pylist([record_to_row(r) for r in records], schema=SCHEMA)


def table_to_records(table: pa.Table) -> list[Record]:
    """Return the records of an Arrow table, in its order.

    Rows written by a newer version, and rows that can't be understood, are left out with one
    warning in the log.
    """
    known = table.select([name for name in table.column_names if name in _KINDS])
    found, skipped = _records_of(known.to_pylist())
    _warn(skipped)
    return found


def write_parquet(records: Iterable[Record], where: Path | BinaryIO) -> None:
    """Write records as one Parquet file."""
    pq.write_table(records_to_table(records), where, compression="zstd")


def read_parquet(where: Path | BinaryIO) -> list[Record]:
    """Read the records of one Parquet file; raises ``pyarrow.ArrowException`` if it is none."""
    # partitioning=None: a folder called a=b on the way must not become a column
    return table_to_records(pq.read_table(where, partitioning=None))


def read_parquet_rows(
    where: Path | BinaryIO, parts: Iterable[tuple[int, int | None]]
) -> list[list[Record]]:
    """Read the records of some rows of one Parquet file, for each part from a row up to another."""
    table = pq.read_table(where, partitioning=None)
    return [
        table_to_records(table.slice(start, None if stop is None else stop - start))
        for start, stop in parts
    ]


def to_utc(time: datetime) -> datetime:
    """Return a time in UTC; one without a zone is taken to be UTC already."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _json(value: Any) -> str:
    value = dict(value) if isinstance(value, Mapping) else list(value)
    return _text(json.dumps(value, default=_json_default))


def _writer_of(column: str) -> Callable[[Any], Any]:
    """Return what turns a value into a plain one of its column."""
    kind = _KINDS[column]
    if column in _JSON_FIELDS:
        return _json
    if column == _PARTS_FIELD:
        return lambda part: _text(part.json_text)
    if kind == _TIME:
        return to_utc
    if pa.types.is_boolean(kind):
        return bool
    if pa.types.is_integer(kind):
        return _whole
    if pa.types.is_floating(kind):
        return float
    return lambda value: _text(str(value))


def _whole(value: Any) -> int:
    # A memory limit of "infinite" is a common way to say "none"
    if isinstance(value, float) and not math.isfinite(value):
        return _INT64_MAX if value > 0 else 0
    return max(-_INT64_MAX - 1, min(_INT64_MAX, int(value)))


def _text(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _json_default(value: Any) -> Any:
    # NumPy scalars, which look like numbers but are none to json
    item = getattr(value, "item", None)
    return item() if callable(item) else str(value)


def _records_of(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Record], list[str]]:
    found: list[Record] = []
    skipped: list[str] = []
    for row in rows:
        try:
            found.append(_record_of(row))
        except _UnreadableRowError as problem:
            skipped.append(str(problem))
    return found, skipped


def _warn(skipped: Sequence[str]) -> None:
    if skipped:
        log.warning("%d record(s) left out: %s", len(skipped), "; ".join(sorted(set(skipped))[:3]))


def _record_of(row: Mapping[str, Any]) -> Record:
    version = row.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise _UnreadableRowError(
            f"written by a newer fitcast (record version {version}, this one reads up to "
            f"{SCHEMA_VERSION}); upgrade fitcast to use them"
        )
    try:
        estimate = None
        if row.get("estimate_runtime_s_p50") is not None:
            estimate = Estimate(**_values(Estimate, row, _ESTIMATE))
        values = _values(Record, row, "")
        values["outcome"] = Outcome(values["outcome"])
        request = Request(**_values(Request, row, _REQUEST))
        return Record(**values | {"request": request, "estimate": estimate})
    except (KeyError, TypeError, ValueError) as problem:
        raise _UnreadableRowError(f"not a record of this version ({problem})") from problem


def _values(kind: type, row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return what the row says about the fields of one dataclass; absent ones are left out."""
    values: dict[str, Any] = {}
    for name, column, has_default, read in _readers(kind, prefix):
        value = row.get(column, _ABSENT)
        if value is None:
            if not has_default:
                values[name] = None
        elif value is not _ABSENT:
            values[name] = value if read is None else read(value)
    return values


@cache
def _readers(
    kind: type, prefix: str
) -> tuple[tuple[str, str, bool, Callable[[Any], Any] | None], ...]:
    """Return field, column, whether it has a default and how it is read, of a dataclass."""
    return tuple(
        (item.name, prefix + item.name, item.default is not MISSING, _reader_of(prefix + item.name))
        for item in fields(kind)
        if prefix + item.name in _KINDS
    )


def _reader_of(column: str) -> Callable[[Any], Any] | None:
    """Return what turns a stored value of a column into one of a record; None for itself."""
    if column in _JSON_FIELDS:
        return _from_json
    if column == _PARTS_FIELD:
        return _parts_from_json
    return _from_time if _KINDS[column] == _TIME else None


def _from_json(text: Any) -> Any:
    loaded = json.loads(text)
    return tuple(loaded) if isinstance(loaded, list) else loaded


@lru_cache(maxsize=4096)  # many records' estimators are made of the same
def _parts_from_json(text: str) -> EstimatorPart:
    return part_from_json(json.loads(text))


def _from_time(value: Any) -> datetime:
    return to_utc(datetime.fromisoformat(value) if isinstance(value, str) else value)


_ABSENT: Final = object()
