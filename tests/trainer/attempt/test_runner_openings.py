"""Attempts cancelled before they come or while their dataset opens; datasets closed meanwhile."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import (
    Does,
    HeldKey,
    Opened,
    held_blocks,
    nothing_below,
    small_content,
    wait_for,
)
from sklearn.linear_model import LogisticRegression

from fitcast.errors import BackendError, SealError
from fitcast.history.records import Outcome
from fitcast.trainer.attempt import running_batch
from fitcast.trainer.attempt.runner import AttemptRunner
from fitcast.trainer.attempt.running_batch import Tombstones
from fitcast.trainer.sealing import new_key, seal
from tests.polling import LONGEST_S


class Sealed(Opened):
    """A dataset that isn't open, with keys that can be held back."""

    def __init__(self, runner, folder, content):
        self.key = new_key()
        sealed = seal(content, str(folder / "data.sealed"), self.key, workflow_id="w")
        super().__init__(runner, content, sealed, folder / "key", 0)
        self.key_file.write_bytes(self.key)
        self.folder = folder
        self._names = itertools.count()

    def held_key(self):
        return HeldKey(self.folder / f"held-{next(self._names)}", self.key)

    def source(self, held=None):
        return lambda: (self.sealed.uri, self.key_file if held is None else held.path)

    def open(self, held=None):
        uri, key_file = self.source(held)()
        return self.runner.open_dataset(self.sealed.dataset_id, uri, key_file)

    def close(self):
        self.runner.close_dataset(self.sealed.dataset_id)


@pytest.fixture(scope="module")
def sealed(runner, tmp_path_factory):
    # Large enough that the rows of a fold get a block.
    return Sealed(runner, tmp_path_factory.mktemp("data"), small_content(3_000, 500))


@pytest.fixture(autouse=True)
def nothing_is_left(sealed):
    yield
    sealed.close()
    runner = sealed.runner
    assert wait_for(lambda: not held_blocks()), held_blocks()
    assert nothing_below(runner)
    assert not runner._batches
    assert not runner._datasets.ids()
    assert runner._splits.count() == 0


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def outcomes(measured):
    return [one and one.outcome for one in measured]


def never_asked():
    raise AssertionError("where the dataset is was asked for")


# -- cancelled before it came ---------------------------------------------------------------------


def test_what_was_cancelled_before_it_came_never_begins(sealed):
    spec = sealed.spec(Does())
    assert not sealed.runner.cancel(spec.fit_id, 1, "w")
    for _ in range(2):
        assert outcomes(sealed.runner.run((spec,), never_asked)) == [Outcome.CANCELLED]
    assert not held_blocks()


@pytest.mark.parametrize("which", [0, 1, 2])
def test_with_any_of_a_process_all_of_it_is_cancelled(sealed, which):
    specs = tuple(sealed.spec(Does()) for _ in range(3))
    sealed.runner.cancel(specs[which].fit_id, 1, "w")
    assert outcomes(sealed.runner.run(specs, never_asked)) == [Outcome.CANCELLED, None, None]


def test_a_later_attempt_and_other_workflows_begin(sealed):
    spec = sealed.spec(LogisticRegression(C=0.01), attempt=2)
    sealed.runner.cancel(spec.fit_id, 1, "w")
    sealed.runner.cancel(spec.fit_id, 2, "other")
    assert outcomes(sealed.runner.run((spec,), sealed.source())) == [Outcome.SUCCEEDED]


def test_what_was_cancelled_stays_so_though_its_dataset_was_closed(sealed):
    # Else it would open the dataset once more, and nobody would close it.
    spec = sealed.spec(Does())
    sealed.open()
    sealed.runner.cancel(spec.fit_id, 1, "w")
    sealed.close()
    assert outcomes(sealed.runner.run((spec,), never_asked)) == [Outcome.CANCELLED]


attempts = st.tuples(
    st.sampled_from(["v", "w"]), st.sampled_from(["f0", "f1", "f2"]), st.integers(0, 3)
)


@given(st.lists(attempts, max_size=20), attempts, st.integers(1, 6))
def test_tombstones_are_of_the_latest(cancelled, asked, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running_batch, "MOST_TOMBSTONES", most)
        tombstones = Tombstones()
        for one in cancelled:
            tombstones.add(*one)
    assert len(tombstones) <= most
    found = tombstones.any_of([Spec(*asked)])
    known = any(one[:2] == asked[:2] and one[2] >= asked[2] for one in cancelled)
    assert known or not found
    if len({one[:2] for one in cancelled}) <= most:
        assert found == known
    if cancelled:
        assert tombstones.any_of([Spec(*cancelled[-1])])


class Spec:
    def __init__(self, workflow_id, fit_id, attempt):
        self.workflow_id, self.fit_id, self.attempt = workflow_id, fit_id, attempt


# -- cancelled while its dataset opens ------------------------------------------------------------


def test_cancelled_while_its_dataset_opens(sealed, pool):
    held = sealed.held_key()
    specs = (sealed.spec(Does()), sealed.spec(Does()))
    running = pool.submit(sealed.runner.run, specs, sealed.source(held))
    held.asked_for()
    assert sealed.runner.cancel(specs[1].fit_id, 1, "w")
    assert outcomes(running.result(30)) == [Outcome.CANCELLED, None]
    assert held.is_given_up()  # nobody else waits for it
    assert not sealed.runner._datasets.ids()


def test_an_opening_goes_on_for_others(sealed, pool):
    held = sealed.held_key()
    specs = [sealed.spec(LogisticRegression(C=0.01)) for _ in range(3)]
    runs = [pool.submit(sealed.runner.run, (spec,), sealed.source(held)) for spec in specs]
    opening = pool.submit(sealed.open, held)
    held.asked_for()
    assert wait_for(lambda: waiting(sealed) == 4)
    for spec, run in zip(specs[:2], runs[:2], strict=True):
        assert sealed.runner.cancel(spec.fit_id, 1, "w")
        assert outcomes(run.result(30)) == [Outcome.CANCELLED]
    held.give()
    assert outcomes(runs[2].result(30)) == [Outcome.SUCCEEDED]
    assert opening.result(30) == sealed.sealed.plaintext_bytes


def waiting(sealed):
    opening = sealed.runner._datasets._openings.get(sealed.sealed.dataset_id)
    return 0 if opening is None else opening.waiting


def test_a_dataset_that_nobody_waited_for_any_more_is_opened_anew(sealed, pool):
    for _ in range(3):
        held = sealed.held_key()
        spec = sealed.spec(LogisticRegression(C=0.01))
        running = pool.submit(sealed.runner.run, (spec,), sealed.source(held))
        held.asked_for()
        sealed.runner.cancel(spec.fit_id, 1, "w")
        assert outcomes(running.result(30)) == [Outcome.CANCELLED]
    spec = sealed.spec(LogisticRegression(C=0.01))
    assert outcomes(sealed.runner.run((spec,), sealed.source())) == [Outcome.SUCCEEDED]


@pytest.mark.parametrize("ends", [1, 2])
def test_an_opening_outlives_its_fork_server(sealed, pool, ends):
    held = sealed.held_key()
    spec = sealed.spec(LogisticRegression(C=0.01))
    running = pool.submit(sealed.runner.run, (spec,), sealed.source(held))
    for _ in range(ends):
        held.asked_for()
        killed = psutil.Process(sealed.runner.server_pid)
        killed.kill()
        assert held.is_given_up()
        assert wait_for(lambda killed=killed: sealed.runner.server_pid != killed.pid)
    held.asked_for()
    held.give()
    assert outcomes(running.result(LONGEST_S)) == [Outcome.SUCCEEDED]


def test_where_a_cancelled_attempts_dataset_was_does_not_matter(sealed):
    spec = sealed.spec(Does())

    def removed_meanwhile():
        assert sealed.runner.cancel(spec.fit_id, 1, "w")
        raise BackendError("the workflow's dataset was removed")

    assert outcomes(sealed.runner.run((spec,), removed_meanwhile)) == [Outcome.CANCELLED]

    def gone():
        raise BackendError("gone")

    with pytest.raises(BackendError, match="gone"):
        sealed.runner.run((sealed.spec(Does()),), gone)


# -- closed while it opens ------------------------------------------------------------------------


def test_closed_while_it_opens(sealed, pool):
    held = sealed.held_key()
    spec = sealed.spec(Does())
    running = pool.submit(sealed.runner.run, (spec,), sealed.source(held))
    opening = pool.submit(sealed.open, held)
    held.asked_for()
    assert wait_for(lambda: waiting(sealed) == 2)
    sealed.close()
    assert outcomes(running.result(30)) == [Outcome.CANCELLED]
    with pytest.raises(BackendError, match="closed while it was opened"):
        opening.result(30)
    assert held.is_given_up()
    assert wait_for(lambda: not held_blocks())


def test_closed_while_it_opens_and_opened_again(sealed, pool):
    first, second = sealed.held_key(), sealed.held_key()
    early = pool.submit(sealed.runner.run, (sealed.spec(Does()),), sealed.source(first))
    first.asked_for()
    sealed.close()  # its workflow is parked …
    spec = sealed.spec(LogisticRegression(C=0.01))
    late = pool.submit(sealed.runner.run, (spec,), sealed.source(second))
    second.asked_for()  # … and comes back
    assert outcomes(early.result(30)) == [Outcome.CANCELLED]
    second.give()
    assert outcomes(late.result(30)) == [Outcome.SUCCEEDED]
    assert sealed.open() == sealed.sealed.plaintext_bytes


def test_the_runner_is_closed_while_a_dataset_opens(tmp_path, pool):
    runner = AttemptRunner()
    try:
        mine = Sealed(runner, tmp_path, small_content())
        held = mine.held_key()
        running = pool.submit(runner.run, (mine.spec(Does()),), mine.source(held))
        opening = pool.submit(mine.open, held)
        held.asked_for()
        assert wait_for(lambda: waiting(mine) == 2)
    finally:
        runner.close()
    assert outcomes(running.result(30)) == [Outcome.CANCELLED]
    with pytest.raises(BackendError, match="closed while it was opened"):
        opening.result(30)
    with pytest.raises(BackendError, match="make a new one"):
        mine.open()


def test_an_opening_that_fails_is_told_to_all_and_tried_again(sealed, pool, tmp_path):
    held = HeldKey(tmp_path / "wrong", new_key())
    runs = [
        pool.submit(sealed.runner.run, (sealed.spec(Does()),), sealed.source(held))
        for _ in range(3)
    ]
    held.asked_for()
    assert wait_for(lambda: waiting(sealed) == 3)
    held.give()
    for run in runs:
        with pytest.raises(SealError, match="another key"):
            run.result(30)
    assert sealed.open() == sealed.sealed.plaintext_bytes


# -- in any order ---------------------------------------------------------------------------------

FITS = 3
MOST_ATTEMPTS = 16
steps = st.one_of(
    st.tuples(st.just("run"), st.integers(0, FITS - 1)),
    st.tuples(st.just("cancel"), st.integers(0, FITS - 1)),
    st.tuples(st.sampled_from(["open", "close"]), st.just(0)),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(steps, min_size=1, max_size=4), min_size=1, max_size=4))
def test_nothing_is_held_and_nothing_runs_afterwards(sealed, threads):
    runner = sealed.runner
    specs = [sealed.spec(LogisticRegression(C=0.001, max_iter=5)) for _ in range(FITS)]
    begin = threading.Barrier(len(threads))
    attempts = [itertools.count(1) for _ in specs]  # each comes once

    def play(mine):
        begin.wait(30)
        cancelled = set()
        for what, number in mine:
            spec = specs[number]
            if what == "run":
                attempt = replace(spec, attempt=next(attempts[number]))
                ended = outcomes(runner.run((attempt,), sealed.source()))
                assert ended == [Outcome.CANCELLED] or (
                    ended == [Outcome.SUCCEEDED] and number not in cancelled
                )
            elif what == "cancel":
                for attempt in range(1, MOST_ATTEMPTS + 1):
                    runner.cancel(spec.fit_id, attempt, "w")
                cancelled.add(number)
            elif what == "open":
                try:
                    assert sealed.open() == sealed.sealed.plaintext_bytes
                except BackendError as error:
                    assert "closed while it was opened" in str(error)
            else:
                sealed.close()

    with ThreadPoolExecutor(len(threads)) as pool:
        played = [pool.submit(play, mine) for mine in threads]
        wait(played)
        for one in played:
            one.result()
    sealed.close()
    assert wait_for(lambda: not held_blocks()), held_blocks()
    assert nothing_below(runner)
    assert not runner._batches
    assert runner._splits.count() == 0
