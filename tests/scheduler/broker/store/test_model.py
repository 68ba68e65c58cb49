"""The queue against a plain model in memory, whatever is done in whatever order."""

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete

from fitcast.errors import LostLeaseError, UploadError, WorkflowStateError
from fitcast.scheduler.broker.lifecycle import TERMINAL, State, check_transition
from fitcast.scheduler.broker.store.tables import EVENTS, TOKENS, USERS, WORKFLOWS
from tests.scheduler.broker.submissions import progress, submission

HELD_S, LAPSED_S = 3600.0, -1.0
REPLICAS = ("r1", "r2")


@dataclass
class Model:
    user: int
    priority: int
    order: int
    state: State = State.UPLOADING
    dataset: int = 0
    sweep: int = 0
    fence: int = 0
    replica: str | None = None
    lapsed: bool = False
    cancel_asked: bool = False
    fits_done: int = 0
    queued: int = 0  # when it came into the queue, in steps


class Queue(RuleBasedStateMachine):
    workflows = Bundle("workflows")
    fences = Bundle("fences")

    def __init__(self, store):
        super().__init__()
        self.store = store
        self.models = {}
        self.steps = 0
        self.seen = 0
        self.told = {}  # the state that events told last
        with store._database.engine.begin() as connection:
            for table in (EVENTS, WORKFLOWS, TOKENS, USERS):
                connection.execute(delete(table))

    @initialize()
    def users(self):
        self.user_ids = [self.store.add_user(name).user_id for name in ("ana", "bob")]
        self.seen = self.store.last_seq()

    @rule(target=workflows, user=st.integers(0, 1), priority=st.integers(-1, 1))
    def submit(self, user, priority):
        self.steps += 1
        new = submission(priority=priority)
        self.store.add(self.user_ids[user], new)
        self.models[new.workflow_id] = Model(user, priority, self.steps)
        return new.workflow_id

    @rule(
        workflow_id=workflows,
        upload=st.sampled_from(["dataset", "sweep"]),
        offset=st.sampled_from([0, 5, 10, 50, 100]),
        n_bytes=st.sampled_from([5, 10, 50, 100]),
    )
    def send(self, workflow_id, upload, offset, n_bytes):
        model = self.models[workflow_id]
        whole = 100 if upload == "dataset" else 10
        legal = getattr(model, upload) == offset and offset + n_bytes <= whole
        if model.state is not State.UPLOADING:
            with pytest.raises(WorkflowStateError):
                self.store.note_received(workflow_id, upload, offset, n_bytes)
        elif not legal:
            with pytest.raises(UploadError):
                self.store.note_received(workflow_id, upload, offset, n_bytes)
        else:
            self.store.note_received(workflow_id, upload, offset, n_bytes)
            setattr(model, upload, offset + n_bytes)

    @rule(workflow_id=workflows)
    def send_rest(self, workflow_id):
        model = self.models[workflow_id]
        if model.state is State.UPLOADING:
            self.store.note_received(workflow_id, "dataset", model.dataset, 100 - model.dataset)
            self.store.note_received(workflow_id, "sweep", model.sweep, 10 - model.sweep)
            model.dataset, model.sweep = 100, 10

    @rule(workflow_id=workflows)
    def accept(self, workflow_id):
        model = self.models[workflow_id]
        self.steps += 1
        if model.queued:
            assert self.store.accept(workflow_id).state is model.state
        elif model.state is not State.UPLOADING:
            with pytest.raises(WorkflowStateError):
                self.store.accept(workflow_id)
        elif (model.dataset, model.sweep) != (100, 10):
            with pytest.raises(UploadError):
                self.store.accept(workflow_id)
        else:
            assert self.store.accept(workflow_id).state is State.QUEUED
            model.state, model.queued = State.QUEUED, self.steps

    @rule(
        target=fences,
        workflow_id=workflows,
        replica=st.sampled_from(REPLICAS),
        lapses=st.booleans(),
    )
    def claim(self, workflow_id, replica, lapses):
        model = self.models[workflow_id]
        claimed = self.store.claim(workflow_id, replica, LAPSED_S if lapses else HELD_S)
        if model.state is not State.QUEUED:
            assert claimed is None
            return multiple()
        model.state, model.replica, model.lapsed = State.RUNNING, replica, lapses
        model.fence += 1
        assert claimed.fence == model.fence
        return workflow_id, model.fence

    @rule(fence=fences, replica=st.sampled_from(REPLICAS), done=st.integers(0, 10))
    def renew(self, fence, replica, done):
        workflow_id, number = fence
        model = self.models[workflow_id]
        kept = self.store.renew(replica, HELD_S, {workflow_id: (number, progress(done))})
        if self.is_held(model, number) and model.replica == replica:
            assert kept == {workflow_id}
            model.lapsed, model.fits_done = False, done
        else:
            assert kept == set()

    @rule(fence=fences, anew=st.booleans())
    def give_back(self, fence, anew):
        workflow_id, number = fence
        model = self.models[workflow_id]
        held = self.is_held(model, number)
        assert self.store.give_back(workflow_id, number, waits_anew=anew) == held
        if held:
            self.leave(model)
            if anew:
                self.steps += 1
                model.queued = self.steps

    @rule(fence=fences, state=st.sampled_from(State))
    def end(self, fence, state):
        workflow_id, number = fence
        model = self.models[workflow_id]
        try:
            check_transition(workflow_id, State.RUNNING, state)
            legal = state.is_terminal
        except WorkflowStateError:
            legal = False
        if not legal:
            with pytest.raises(WorkflowStateError):
                self.store.end(workflow_id, number, state)
        elif self.is_held(model, number):
            assert self.store.end(workflow_id, number, state).state is state
            model.state, model.lapsed = state, False
        elif model.fence == number and model.state is state:
            assert self.store.end(workflow_id, number, state).state is state
        else:
            with pytest.raises(LostLeaseError):
                self.store.end(workflow_id, number, state)

    @rule(replica=st.one_of(st.none(), st.sampled_from(REPLICAS)))
    def take_lapsed(self, replica):
        expected = {
            workflow_id
            for workflow_id, model in self.models.items()
            if model.state is State.RUNNING and (model.lapsed or model.replica == replica)
        }
        taken = self.store.take_lapsed(replica)
        assert {workflow.workflow_id for workflow in taken} == expected
        for workflow_id in expected:
            self.leave(self.models[workflow_id])

    @rule(workflow_id=workflows)
    def cancel(self, workflow_id):
        model = self.models[workflow_id]
        if not model.state.is_terminal:
            model.cancel_asked = True
            if model.state is not State.RUNNING:
                model.state = State.CANCELLED
        assert self.store.ask_cancel(workflow_id).state is model.state

    @rule()
    def expire(self):
        for workflow in self.store.expire_uploads(-1.0):
            model = self.models[workflow.workflow_id]
            assert model.state is State.UPLOADING
            model.state = State.EXPIRED
        assert not any(model.state is State.UPLOADING for model in self.models.values())

    @staticmethod
    def is_held(model, fence):
        return model.state is State.RUNNING and model.fence == fence

    @staticmethod
    def leave(model):
        model.state = State.CANCELLED if model.cancel_asked else State.QUEUED
        model.replica, model.lapsed = None, False

    # -- what always holds ---------------------------------------------------------------------

    @invariant()
    def the_rows_are_as_the_model_says(self):
        rows = {workflow.workflow_id: workflow for workflow in self.store.workflows(limit=1000)}
        assert rows.keys() == self.models.keys()
        for workflow_id, model in self.models.items():
            row = rows[workflow_id]
            assert row.state is model.state
            assert row.fence == model.fence
            assert row.cancel_asked == model.cancel_asked
            assert row.fits_done == model.fits_done
            assert row.received == {"dataset": model.dataset, "sweep": model.sweep}
            assert (row.lease_until is not None) == (model.state is State.RUNNING)
            if model.state is State.RUNNING:
                assert row.replica == model.replica
            assert (row.ended_at is not None) == (model.state in TERMINAL)
            assert (row.queued_at is not None) == bool(model.queued)

    @invariant()
    def the_heads_are_each_users_first(self):
        expected = set()
        for user in (0, 1):
            waiting = [
                (-model.priority, model.queued, workflow_id)
                for workflow_id, model in self.models.items()
                if model.user == user and model.state is State.QUEUED
            ]
            if waiting:
                expected.add(min(waiting)[2])
        heads = self.store.queue_heads() if self.models else []
        # two that came in one tick of the clock are in order of arrival, which the model ignores
        for head in heads:
            model = self.models[head.workflow_id]
            assert model.state is State.QUEUED
            assert all(
                model.priority >= other.priority
                for other in self.models.values()
                if other.state is State.QUEUED and other.user == model.user
            )
        users = [self.models[head.workflow_id].user for head in heads]
        assert sorted(users) == sorted({self.models[one].user for one in expected})

    @invariant()
    def events_tell_each_change_of_state_once(self):
        for event in self.store.events_after(self.seen, limit=10_000):
            assert event.seq > self.seen
            self.seen = event.seq
            if event.kind == "state":
                then = State(event.data["state"])
                now = self.told.get(event.workflow_id)
                if now is not None:
                    check_transition(event.workflow_id, now, then)
                else:
                    assert then is State.UPLOADING
                self.told[event.workflow_id] = then
        assert self.told == {name: model.state for name, model in self.models.items()}


def test_the_queue_does_what_its_model_does(store):
    run_state_machine_as_test(
        lambda: Queue(store), settings=settings(max_examples=25, stateful_step_count=40)
    )
