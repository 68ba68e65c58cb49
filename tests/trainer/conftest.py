"""What this folder's tests share: the way to ``running.py``, and a runner for each module."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from running import opened, small_content

from fitcast.trainer.attempt.runner import AttemptRunner


@pytest.fixture(scope="module")
def runner():
    runner = AttemptRunner()
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def data(runner, tmp_path_factory):
    return opened(runner, small_content(), tmp_path_factory.mktemp("data"))
