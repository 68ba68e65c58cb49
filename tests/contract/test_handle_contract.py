"""What a handle on a workflow does, whichever process runs it: one suite for all of them."""

import math

import numpy as np
import pytest
from handle_drivers import DRIVERS
from sklearn.model_selection import GridSearchCV

from fitcast import errors
from fitcast.json_output import status_document
from tests.gated import DEPTHS, FITS, FOLDS, Gated, X, Y, sweep
from tests.marks import slow
from tests.polling import LONGEST_S, wait_for


@pytest.fixture(
    scope="module",
    params=["local", "background", "remote", *slow("attached", "beside", "remote_later")],
)
def submit(request, tmp_path_factory):
    with DRIVERS[request.param](tmp_path_factory.mktemp("home")) as opened:
        yield opened


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


def test_a_workflow_is_followed_from_its_fits_to_its_result(submit, gate):
    workflow = submit(sweep(gate, free=1))
    assert wait_for(lambda: workflow.counts()[0] >= 1)
    assert workflow.state == "running"
    assert not workflow.is_over
    assert workflow.id in repr(workflow)
    done, _, there = workflow.counts()
    assert done <= FOLDS
    assert there == FITS
    assert set(workflow.fits["state"]) <= {"waiting", "running", "done"}
    assert workflow.forecast.p50_s > 0
    assert workflow.eta.p50_s >= 0
    assert wait_for(lambda: status_document(workflow.view)["eta_s_p50"] is not None)
    with pytest.raises(errors.WaitTimeoutError):
        workflow.wait(0.05)
    gate.touch()
    result = workflow.progress().result(timeout_s=LONGEST_S)
    grid = {"depth": list(DEPTHS), "gate": [str(gate)], "free": [1]}
    theirs = GridSearchCV(Gated(), grid, cv=FOLDS).fit(X, Y)
    for name in ("split0_test_score", "split1_test_score", "mean_test_score"):
        np.testing.assert_array_equal(result.cv_results_[name], theirs.cv_results_[name])
    assert result.best_params_ == theirs.best_params_
    np.testing.assert_array_equal(result.best_estimator_.predict(X), theirs.predict(X))
    assert {len(result.predictions[label]) for label in result.leaderboard["candidate"]} == {len(X)}
    assert workflow.state == "succeeded"
    assert workflow.is_over
    assert workflow.eta.p90_s == 0.0
    assert workflow.counts() == (FITS + 1, 0, FITS + 1)
    fits = workflow.fits
    assert set(fits["outcome"]) == {"succeeded"}
    assert (fits["attempts"] == 1).all()
    assert (fits["runtime_s"] > 0).all()
    assert len({record.record_id for record in workflow.records}) == FITS + 1
    assert "fitted to depth 1" in workflow.logs("c0000-f0")
    assert workflow.logs().count("fitted to depth") == FITS + 1
    assert workflow.took_s > 0
    with pytest.raises(errors.FitcastError, match="no fit 'c0009-f9'"):
        workflow.logs("c0009-f9")


def test_fits_that_fail_are_named(submit):
    workflow = submit(sweep(refit=False, error_score=math.nan))
    assert workflow.result(timeout_s=LONGEST_S).best_estimator_ is None
    failing = submit(_failing())
    with pytest.raises(errors.WorkflowFailedError, match="told to fail"):
        failing.result(timeout_s=LONGEST_S)
    assert failing.state == "failed"
    assert set(failing.fits["outcome"]) == {"failed"}
    assert "Traceback" in failing.logs()
    assert len(failing.result(partial=True).errors) == FOLDS


def _failing():
    from fitcast import Sweep

    return Sweep({"tree": (Gated(), {"fail": [True]})}, X, Y, cv=FOLDS, refit=False)


def test_rounds_are_chosen_by_whoever_runs_them(submit):
    from tests.trainer.sweep.test_rounds import searching

    workflow = submit(searching())
    fits = 2 * (4 + 2 + 1)
    assert workflow.counts()[2] == fits
    result = workflow.result(timeout_s=LONGEST_S)
    assert workflow.counts() == (fits + 1, 0, fits + 1)
    rounds = list(result.cv_results_["iter"])
    assert rounds == [0] * 4 + [1] * 2 + [2]
    scores = result.cv_results_["mean_test_score"]
    leaves = [params["min_samples_leaf"] for params in result.cv_results_["params"]]
    assert leaves[4:6] == [leaves[place] for place in np.argsort(scores[:4])[-2:]]
    assert leaves[6] == leaves[4 + np.argsort(scores[4:6])[-1]]
    assert result.best_index_ == 6
    assert result.best_estimator_.min_samples_leaf == leaves[6]


def test_a_workflow_is_cancelled_by_whoever_may(submit, gate, request):
    workflow = submit(sweep(gate))
    assert wait_for(lambda: workflow.state == "running")
    if "beside" in request.node.name:
        with pytest.raises(errors.WorkflowHeldError, match="another client"):
            workflow.cancel()
        gate.touch()
        assert workflow.wait(LONGEST_S).state == "succeeded"
        return
    workflow.cancel()
    with pytest.raises(errors.WorkflowCancelledError):
        workflow.result(timeout_s=LONGEST_S)
    assert workflow.state == "cancelled"
    assert workflow.counts()[1] == 0
    assert set(workflow.fits["outcome"]) == {"cancelled"}
    workflow.cancel()  # again is no harm
    assert workflow.state == "cancelled"
