"""Fits of Keras models on TensorFlow that follow each other in a process."""

import pytest
from running import opened, small_content

from fitcast.history.records import Outcome
from fitcast.trainer.attempt.runner import AttemptRunner
from tests.acceptance.test_tensorflow import network

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(600)]


def test_keras_fits_follow_each_other_in_a_process(tmp_path):
    pytest.importorskip("tensorflow", reason="make test-tensorflow installs it")
    runner = AttemptRunner()
    try:
        data = opened(runner, small_content(), tmp_path)
        alone = runner.run_one(data.spec(network()))
        several = runner.run([data.spec(network()) for _ in range(4)])
    finally:
        runner.close()
    assert alone.outcome is Outcome.SUCCEEDED, alone.traceback
    for one in several:
        assert one is not None, "it was given back"
        assert one.outcome is Outcome.SUCCEEDED, one.traceback
        assert one.scores == alone.scores
