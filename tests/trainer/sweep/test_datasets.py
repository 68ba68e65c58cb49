"""Data is taken in from memory and from files, and told apart by its content."""

import pickle

import fsspec
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fitcast.errors import InvalidDataError
from fitcast.trainer.sweep.datasets import (
    DatasetContent,
    bytes_of,
    fingerprint,
    load,
    read_frame,
    redacted,
)

FRAME = pd.DataFrame(
    {
        "a": np.arange(6.0),
        "city": ["Bern", "Oslo", "Rome"] * 2,
        "late": [0, 1] * 3,
        "w": np.linspace(1, 2, 6),
        "g": [1, 1, 2, 2, 3, 3],
    }
)
WRITERS = {
    "x.csv": lambda path: FRAME.to_csv(path, index=False),
    "x.CSV": lambda path: FRAME.to_csv(path, index=False),
    "x.csv.gz": lambda path: FRAME.to_csv(path, index=False),
    "x.v2.csv": lambda path: FRAME.to_csv(path, index=False),
    "x.tsv": lambda path: FRAME.to_csv(path, index=False, sep="\t"),
    "x.parquet": FRAME.to_parquet,
    "x.pq": FRAME.to_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("form", ["path", "text", "uri"])
def test_files(tmp_path, name, form):
    path = tmp_path / name
    WRITERS[name](path)
    data = {"path": path, "text": str(path), "uri": path.as_uri()}[form]
    loaded = load(None, None, data=data, target="late", sample_weight="w", groups="g")
    pd.testing.assert_frame_equal(loaded.X, FRAME[["a", "city"]])
    assert loaded.y.tolist() == FRAME["late"].tolist()
    assert loaded.sample_weight.tolist() == FRAME["w"].tolist()
    assert loaded.groups.tolist() == FRAME["g"].tolist()


def test_files_elsewhere_and_folders_of_parquet(tmp_path):
    with fsspec.open("memory://folder/x.csv", "w") as file:
        FRAME.to_csv(file, index=False)
    assert read_frame("memory://folder/x.csv").shape == FRAME.shape
    FRAME.to_parquet(tmp_path / "parts.parquet", partition_cols=["g"])
    assert len(read_frame(tmp_path / "parts.parquet")) == len(FRAME)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere.csv", None, "There is no file .*nowhere.csv"),
        ("x.xlsx", b"abc", "Can't tell the format"),
        ("x", b"abc", "Can't tell the format"),
        ("x.parquet", b"abc", "Can't read .* whole Parquet file"),
        ("x.csv", b"", "Can't read .* whole CSV file"),
        ("x.csv", b'a,b\n1,"2\n', "Can't read .* whole CSV file"),
        ("x.csv.gz", b"not packed", "Can't read .* whole CSV file"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidDataError, match=message):
        read_frame(tmp_path / name)


def test_unknown_kinds_of_address():
    with pytest.raises(InvalidDataError, match="nosuch"):
        read_frame("nosuch://bucket/x.csv")


def test_credentials_are_not_shown():
    assert redacted("https://me:secret@host/x.csv?sig=abc") == "https://host/x.csv"
    assert redacted("s3://bucket/x.parquet") == "s3://bucket/x.parquet"
    assert redacted("/tmp/a?b.csv") == "/tmp/a?b.csv"
    with pytest.raises(InvalidDataError) as caught:
        read_frame("https://me:secret@localhost:1/x.csv?sig=abc")
    assert "secret" not in str(caught.value)
    assert "sig=abc" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"X": FRAME, "data": "x.csv"}, "not both"),
        ({"data": "x.csv", "y": [1]}, "target='name' instead of y"),
        ({"X": FRAME, "y": [1], "target": "late"}, "not both"),
        ({"X": FRAME, "target": "lat"}, "no column 'lat' for the target; did you mean 'late'"),
        ({"X": FRAME, "target": "late", "groups": "gg"}, "no column 'gg' for the groups"),
        ({"X": np.ones((3, 2)), "target": "late"}, "X is no frame"),
        ({"X": pd.DataFrame([[1, 2]], columns=["a", "a"]), "target": "a"}, "several columns"),
        ({}, "no data"),
    ],
)
def test_contradictions(options, message):
    with pytest.raises(InvalidDataError, match=message):
        load(
            options.pop("X", None),
            options.pop("y", None),
            **{"data": None, "target": None} | options,
        )


def test_target_missing_in_a_file_names_the_columns(tmp_path):
    FRAME.to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(InvalidDataError, match=r"x.csv.*'Late'.*'late'.*a, city, late, w, g"):
        load(None, None, data=tmp_path / "x.csv", target="Late")


def test_data_in_memory_is_not_copied():
    X, y = np.ones((4, 3)), np.ones(4)
    loaded = load(X, y, data=None, target=None)
    assert loaded.X is X
    assert loaded.y is y
    assert load(FRAME, y, data=None, target=None).X is FRAME
    csr = sp.csr_matrix(X)
    assert load(csr, y, data=None, target=None).X is csr
    assert load(sp.coo_matrix(X), y, data=None, target=None).X.format == "csr"


arrays = hnp.arrays(
    st.sampled_from([np.float64, np.float32, np.int64, np.bool_]),
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
)


@given(arrays)
def test_fingerprints_go_by_content_not_by_layout(X):
    assert fingerprint(X, None) == fingerprint(np.asfortranarray(X), None)
    assert fingerprint(X, None) == fingerprint(np.repeat(X, 2, axis=0)[::2], None)
    assert fingerprint(X, None) == fingerprint(pickle.loads(pickle.dumps(X)), None)
    assert len(fingerprint(X, None)) == 16


@given(arrays, st.data())
def test_fingerprints_tell_apart(X, data):
    other = X.copy()
    index = tuple(data.draw(st.integers(0, n - 1)) for n in X.shape)
    other[index] = not other[index] if X.dtype == bool else 1 if other[index] != 1 else 2
    assert fingerprint(X, None) != fingerprint(other, None)
    assert fingerprint(X, None) != fingerprint(X.reshape(-1, 1, *X.shape[2:], 1), None)
    assert fingerprint(X, None) != fingerprint(X, np.zeros(len(X)))


def test_fingerprints_of_every_form():
    csr = sp.random(20, 5, density=0.3, random_state=0, format="csr")
    forms = [
        csr,
        FRAME,
        FRAME.rename(columns={"a": "b"}),
        FRAME.assign(city="Bern"),
        FRAME.astype({"city": "category"}),
        FRAME[["a"]],
        np.array(["a", "b"], dtype=object),
        np.array([[1], [2, 3]], dtype=object),
        pd.DataFrame({"a": [[1], [2]]}),
    ]
    prints = [fingerprint(form, None) for form in forms]
    assert len(set(prints)) == len(forms)
    assert prints == [fingerprint(pickle.loads(pickle.dumps(form)), None) for form in forms]
    assert fingerprint(csr, None) != fingerprint(csr * 2, None)


def test_bytes_of():
    assert bytes_of(None) == 0
    assert bytes_of(np.ones((10, 3))) == 240
    assert bytes_of(sp.csr_matrix(np.eye(4))) == 4 * 8 + 4 * 4 + 5 * 4
    assert bytes_of(FRAME["a"]) >= 48
    assert bytes_of(np.array(["x" * 1000], dtype=object)) > 1000
    assert bytes_of(FRAME) > bytes_of(FRAME[["a"]])


def test_content_survives_pickling():
    content = DatasetContent(FRAME, FRAME["late"], {"sample_weight": np.ones(6)}, [])
    back = pickle.loads(pickle.dumps(content, protocol=5))
    pd.testing.assert_frame_equal(back.X, content.X)
