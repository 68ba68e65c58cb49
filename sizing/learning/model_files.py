"""A sizing model as files, and back.

A model is kept as the evidence that it rests on: records in Parquet, and a JSON page about them.
Nothing in it runs when it is read, a person can look at it, and a newer fitcast makes a newer
model of the same evidence.

In: which records are evidence; writing and reading them. Not in: where the files are kept
(:mod:`fitcast.history.models`), whether a model is any good (:mod:`fitcast.sizing.judging`).
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fitcast.errors import ModelError
from fitcast.history.codec import read_parquet, write_parquet
from fitcast.history.records import Record
from fitcast.sizing.learning.model import SizingModel

FORMAT = 1
EVIDENCE_FILE = "evidence.parquet"
ABOUT_FILE = "about.json"

MOST_PER_ALGORITHM = 2_000
"""Records of one algorithm that a model rests on: the newest half, and a spread of the older."""


def evidence(records: Iterable[Record]) -> list[Record]:
    """Return the records that a model of them rests on, oldest first.

    Parameters
    ----------
    records
        In any order; of equal ids one stays.
    """
    unique = {record.record_id: record for record in records}
    in_order = sorted(unique.values(), key=lambda r: (r.ended_at, r.record_id))
    by_algorithm: dict[str, list[int]] = {}
    for place, record in enumerate(in_order):
        by_algorithm.setdefault(record.request.algorithm, []).append(place)
    kept: list[int] = []
    for places in by_algorithm.values():
        newest, older = places[-MOST_PER_ALGORITHM // 2 :], places[: -MOST_PER_ALGORITHM // 2]
        room = MOST_PER_ALGORITHM - len(newest)
        stride = max(1, -(-len(older) // max(1, room)))
        kept += older[::stride] + newest
    return [in_order[place] for place in sorted(kept)]


def to_files(records: Sequence[Record], about: Mapping[str, object]) -> dict[str, bytes]:
    """Return a model's files by name.

    Parameters
    ----------
    records
        What the model was trained on.
    about
        Metadata for people and later training: numbers and texts.
    """
    buffer = io.BytesIO()
    # Others may read a registered model: types of errors teach, messages can hold values of data
    write_parquet([replace(record, error_message="") for record in records], buffer)
    page = {"format": FORMAT, "records": len(records), **about}
    return {
        EVIDENCE_FILE: buffer.getvalue(),
        ABOUT_FILE: json.dumps(page, indent=1, sort_keys=True).encode(),
    }


def from_files(files: Mapping[str, bytes]) -> tuple[SizingModel, list[Record]]:
    """Return the model of these files and the records that it rests on.

    Raises
    ------
    ModelError
        The files are damaged, incomplete or of a newer format.
    """
    try:
        page = json.loads(files[ABOUT_FILE])
        written = int(page["format"])
        records = read_parquet(io.BytesIO(files[EVIDENCE_FILE]))
        wanted = int(page["records"])
    except Exception as error:
        raise ModelError(
            f"the stored sizing model can't be read ({type(error).__name__}: {error})"
        ) from error
    if written > FORMAT:
        raise ModelError(
            f"the stored sizing model has format {written}, this fitcast reads {FORMAT}: update it"
        )
    if len(records) < wanted:
        raise ModelError(
            f"the stored sizing model rests on {wanted} records, only {len(records)} can be read"
        )
    return SizingModel.prior().train(records), records
