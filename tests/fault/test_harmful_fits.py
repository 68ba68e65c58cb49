"""Fits that do harm themselves, beside others that don't."""

import pytest

from fitcast import Sweep
from tests.fault import holding
from tests.fault.estimators import Lingers
from tests.polling import LONGEST_S

pytestmark = pytest.mark.security


def run(client, deed, *, cv=2, timeout_s=LONGEST_S, **more):
    grid = {"linger_s": [0.2], "deed": ["", deed]}
    sweep = Sweep({"m": (Lingers(), grid)}, holding.X, holding.Y, cv=cv, refit=False, **more)
    workflow = client.submit(sweep)
    result = workflow.result(timeout_s)
    holding.check_whole(client, workflow, 2 * cv)
    harmful = workflow.fits["candidate"].str.contains(deed)
    fits = workflow.fits
    assert set(fits[~harmful]["outcome"]) == {"succeeded"}
    assert len(result.errors) == cv
    return fits[harmful]


@pytest.mark.slow
def test_a_fit_that_allocates_without_end(client):
    harmful = run(client, "allocate")
    assert set(harmful["outcome"]) == {"out_of_memory"}
    assert harmful["error"].str.contains("needs more than").all()


@pytest.mark.slow
def test_a_fit_that_hangs(client):
    harmful = run(client, "hang", deadline_s=8.0)  # which the others don't come to
    assert set(harmful["outcome"]) == {"out_of_time"}


def test_a_fit_that_kills_its_worker_is_given_up_after_three_and_the_others_go_on(client):
    sweep = Sweep(
        {
            "m": (Lingers(), {"depth": [2, 3, 4, 5], "linger_s": [0.2], "deed": [""]}),
            "poison": (Lingers(deed="kill its worker")),
        },
        holding.X,
        holding.Y,
        cv=2,
        refit=False,
    )
    workflow = client.submit(sweep)
    workflow.wait(LONGEST_S)
    holding.check_whole(client, workflow, 10)
    fits = workflow.fits
    poison = fits["candidate"].str.startswith("poison")
    assert set(fits[~poison]["outcome"]) == {"succeeded"}
    assert set(fits[poison]["outcome"]) == {"worker_lost"}
    assert set(fits[poison]["attempts"]) == {3}
    assert fits[poison]["error"].str.contains("lost 3 times while it ran; not tried again").all()
