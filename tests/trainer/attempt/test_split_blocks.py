"""Which folds' rows a worker holds, and when they go."""

import os
import threading

import pytest

from fitcast.trainer.attempt import split_blocks
from fitcast.trainer.attempt.split_blocks import SplitBlocks
from fitcast.trainer.shared_memory import new_block

NEVER = threading.Event()


@pytest.fixture
def cuts():
    return []


@pytest.fixture
def blocks(cuts, monkeypatch):
    monkeypatch.setattr(split_blocks, "KEPT_IDLE_BYTES", 300)

    def build(dataset_id, fold):
        cuts.append((dataset_id, fold))
        fd = new_block("test")
        os.ftruncate(fd, 1000 if dataset_id == "large" else 100)
        return fd

    return SplitBlocks(build)


def test_fits_of_a_fold_share_its_block(blocks, cuts):
    with blocks.borrowed("large", 0, NEVER) as first, blocks.borrowed("large", 0, NEVER) as second:
        assert first == second
        assert blocks.count() == 1
    assert cuts == [("large", 0)]


def test_a_large_block_goes_with_its_last_fit(blocks, cuts):
    with blocks.borrowed("large", 0, NEVER):
        assert blocks.count() == 1
    assert blocks.count() == 0
    with blocks.borrowed("large", 0, NEVER):
        pass
    assert cuts == [("large", 0)] * 2


def test_small_blocks_are_kept_within_a_budget_the_last_used_first(blocks, cuts):
    for fold in (0, 1, 2, 3):
        with blocks.borrowed("small", fold, NEVER):
            pass
    assert blocks.count() == 3
    for fold in (3, 2, 1):
        with blocks.borrowed("small", fold, NEVER):
            pass
    assert cuts == [("small", fold) for fold in (0, 1, 2, 3)]


def test_a_closed_datasets_blocks_go_at_once_and_those_in_use_after(blocks):
    with blocks.borrowed("small", 0, NEVER):
        pass
    with blocks.borrowed("small", 1, NEVER):
        blocks.close_dataset("small")
        assert blocks.count() == 1
    assert blocks.count() == 0


def test_a_closed_dataset_gets_no_blocks_until_it_is_open_again(blocks, cuts):
    blocks.close_dataset("small")
    with blocks.borrowed("small", 0, NEVER) as fd:
        assert fd is None
    assert (blocks.count(), cuts) == (0, [])
    blocks.reopen("small")
    with blocks.borrowed("small", 0, NEVER) as fd:
        assert fd is not None
    assert blocks.count() == 1


def test_a_block_that_is_lent_when_its_dataset_closes_is_lent_to_nobody_else(blocks):
    with blocks.borrowed("small", 0, NEVER):
        blocks.close_dataset("small")
        with blocks.borrowed("small", 0, NEVER) as late:
            assert late is None
    assert blocks.count() == 0


def test_without_a_block_a_fit_cuts_its_rows_itself():
    with SplitBlocks(lambda *_: None).borrowed("small", 0, NEVER) as fd:
        assert fd is None
