"""A sealed file that was altered in any way is refused with our error, and nothing runs on it."""

import io
from pathlib import Path

import numpy as np
import pytest

from fitcast.errors import SealError
from fitcast.trainer.sealing import new_key, seal, unseal_into, verify
from tests.security.alterations import altered

pytestmark = pytest.mark.security

SEGMENT_BYTES = 512
WITH_TAG = SEGMENT_BYTES + 16


@pytest.fixture(scope="module")
def sealed_file(tmp_path_factory):
    key = new_key()
    uri = str(tmp_path_factory.mktemp("sealed") / "data.sealed")
    content = {"X": np.arange(600.0), "note": "n" * 100}
    return seal(content, uri, key, workflow_id="w1", segment_bytes=SEGMENT_BYTES), key


def refused(sealed, key, path: Path, seed: int) -> None:
    """Check that an alteration is refused, and that no byte of it counts as read."""
    path.write_bytes(altered(Path(sealed.uri).read_bytes(), WITH_TAG, seed))
    with pytest.raises(SealError):
        verify(str(path), key, dataset_id=sealed.dataset_id)
    with pytest.raises(SealError):
        unseal_into(str(path), key, dataset_id=sealed.dataset_id, sink=io.BytesIO())


@pytest.mark.parametrize("seed", range(60))
def test_an_altered_file_is_refused(sealed_file, tmp_path, seed):
    refused(*sealed_file, tmp_path / "altered", seed)


@pytest.mark.slow
def test_a_thousand_altered_files_are_refused(sealed_file, tmp_path):
    for seed in range(60, 1060):
        refused(*sealed_file, tmp_path / "altered", seed)


def test_the_file_itself_opens(sealed_file):
    sealed, key = sealed_file
    verify(sealed.uri, key, dataset_id=sealed.dataset_id)
