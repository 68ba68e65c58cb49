"""What fits may rely on, whatever gives the workers: one suite that every backend passes."""

import pytest
from backend_drivers import DRIVERS, Does

from fitcast.scheduler.plan.decisions import MOST_WORKERS_LOST


@pytest.fixture(
    scope="module",
    params=[
        "local",
        "simulated",
        pytest.param("kubernetes", marks=pytest.mark.kubernetes),  # a cluster per workflow
    ],
)
def driver(request, tmp_path_factory):
    with DRIVERS[request.param](tmp_path_factory.mktemp("home")) as opened:
        yield opened


def outcomes(became):
    return {name: one.outcome for name, one in became.items()}


def test_every_fit_ends_once(driver):
    names = [f"fit{number}" for number in range(6)]
    became = driver.run(dict.fromkeys(names, Does()))
    assert outcomes(became) == dict.fromkeys(names, "succeeded")
    assert {one.attempts for one in became.values()} == {1}


def test_a_long_fit_holds_nobody_up(driver):
    became = driver.run({"long": Does(4.0), **{f"fit{n}": Does(0.1) for n in range(4)}})
    assert set(outcomes(became).values()) == {"succeeded"}
    assert max(became, key=lambda name: became[name].ended) == "long"


def test_an_error_of_the_user_s_is_final_and_the_others_go_on(driver):
    became = driver.run({"bad": Does(fails=True), "good": Does(), "fine": Does()})
    assert outcomes(became) == {"bad": "failed", "good": "succeeded", "fine": "succeeded"}
    assert became["bad"].attempts == 1


def test_out_of_memory_is_tried_again_where_there_is_more(driver):
    became = driver.run({"large": Does(memory_mib=450), "small": Does()})
    assert outcomes(became) == {"large": "succeeded", "small": "succeeded"}
    assert became["large"].pool == "large"


def test_what_no_worker_can_hold_ends_out_of_memory(driver):
    became = driver.run({"huge": Does(memory_mib=3000), "small": Does()})
    assert outcomes(became) == {"huge": "out_of_memory", "small": "succeeded"}
    assert became["huge"].pool == "large"


def test_what_hangs_ends_at_its_deadline(driver):
    became = driver.run({"hangs": Does(60.0), "quick": Does(0.1)}, deadline_s=1.0)
    assert outcomes(became) == {"hangs": "out_of_time", "quick": "succeeded"}
    assert became["hangs"].attempts == 1


def test_cancelling_ends_what_runs_and_what_waits(driver):
    names = [f"fit{number}" for number in range(5)]
    became = driver.run(dict.fromkeys(names, Does(30.0)), cancel=True)
    assert outcomes(became) == dict.fromkeys(names, "cancelled")
    assert any(one.attempts == 0 for one in became.values())
    assert outcomes(driver.run({"next": Does()})) == {"next": "succeeded"}


def test_a_fit_that_takes_workers_down_is_given_up_and_the_others_succeed(driver):
    became = driver.run({"killer": Does(0.5, kills_worker=True), "good": Does(), "fine": Does()})
    assert outcomes(became) == {"killer": "worker_lost", "good": "succeeded", "fine": "succeeded"}
    assert became["killer"].attempts == MOST_WORKERS_LOST
