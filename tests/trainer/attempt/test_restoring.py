# ruff: noqa: T201 - fits print
"""What a fit does to its process: put back for the next, or the next gets another process."""

import gc
import locale
import os
import resource
import signal
import sys
import time

import numpy as np
import pandas as pd
import pytest
import sklearn
from running import Does
from sklearn.linear_model import LogisticRegression

from fitcast.history.records import Outcome
from fitcast.trainer.naming import MOST_NAME_CHARS, error_name

pytestmark = pytest.mark.security


def run(data, *deeds):
    return data.runner.run([data.spec(Does(deed)) for deed in deeds])


def spoil():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.umask(0o777)
    sys.setrecursionlimit(5000)
    np.seterr(all="raise")
    np.set_printoptions(precision=2)
    sklearn.set_config(transform_output="pandas", assume_finite=True)
    pd.set_option("display.precision", 2, "display.float_format", "{:.1f}".format)
    locale.setlocale(locale.LC_ALL, "C")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    gc.disable()


def look():
    umask = os.umask(0)
    os.umask(umask)
    print(
        resource.getrlimit(resource.RLIMIT_NOFILE),
        os.sched_getaffinity(0),
        umask,
        sys.getrecursionlimit(),
        np.geterr(),
        np.get_printoptions(),
        sklearn.get_config(),
        pd.get_option("display.precision"),
        pd.get_option("display.float_format"),
        locale.setlocale(locale.LC_ALL),
        signal.getsignal(signal.SIGUSR1),
        signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        gc.isenabled(),
    )


def test_what_can_be_put_back_is(data):
    before, _, after = run(data, look, spoil, look)
    assert after is not None
    assert after.outcome is Outcome.SUCCEEDED, after.traceback
    assert after.stdout == before.stdout


def lower_a_hard_limit():
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))


def open_much():
    for _ in range(40):
        os.open("/dev/null", os.O_RDONLY)


def patch_the_clock():
    time.time = lambda: 0.0


def patch_the_monotonic_clock():
    time.monotonic = time.perf_counter = lambda: 0.0


def replace_its_output():
    os.dup2(os.open("/dev/null", os.O_WRONLY), 1)


@pytest.mark.parametrize(
    "deed",
    [
        lower_a_hard_limit,
        open_much,
        patch_the_clock,
        patch_the_monotonic_clock,
        replace_its_output,
    ],
)
def test_what_cannot_be_put_back_ends_the_process(data, deed):
    if deed is lower_a_hard_limit and os.geteuid() == 0:
        pytest.skip("root may raise hard limits again")
    did, after = run(data, deed, None)
    assert did.outcome is Outcome.SUCCEEDED, did.traceback
    assert did.runtime_s >= did.fit_time_s >= 0.0
    assert did.ended_at >= did.started_at
    assert after is None  # it runs in a process of its own


def test_a_fit_that_closes_all_descriptors_reports_nowhere(data):
    closed, after = run(data, lambda: os.closerange(3, 1000), None)
    assert (closed.outcome, closed.error_type) == (Outcome.FAILED, "ProcessDied")
    assert after is None


def test_scores_after_a_fit_that_spoils_are_those_of_a_fit_alone(data):
    spec = data.spec(LogisticRegression())
    _, after = data.runner.run([data.spec(Does(spoil)), spec])
    assert after.scores == data.runner.run_one(spec).scores


@pytest.mark.parametrize("name", ["E" * 10**6, "a\nb\x1b[31m", ""])
def test_names_of_errors_are_short_and_printable(data, name):
    def fail():
        raise type(name, (Exception,), {})("no")

    (failed,) = run(data, fail)
    assert failed.outcome is Outcome.FAILED
    assert failed.error_type.isprintable()
    assert len(failed.error_type) <= MOST_NAME_CHARS


def test_a_class_has_no_say_in_its_name():
    class Meta(type):
        @property
        def __name__(cls):
            raise RuntimeError

    class OddError(Exception, metaclass=Meta):
        pass

    assert error_name(OddError()) == "OddError"


def test_no_core_files(data):
    def tell():
        print(resource.getrlimit(resource.RLIMIT_CORE))

    assert run(data, tell)[0].stdout == "(1, 1)\n"  # too little for any
