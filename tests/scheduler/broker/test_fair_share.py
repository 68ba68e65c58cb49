"""What dominant-resource fairness promises, whoever comes."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitcast.scheduler.broker.fair_share import allotments, next_claimed, to_give_way
from fitcast.scheduler.broker.quotas import Quota
from fitcast.scheduler.broker.resources import Demand, Resources
from fitcast.scheduler.broker.sharers import (
    DAY_S,
    Account,
    Limits,
    Running,
    Waiting,
    charged,
    decayed,
    effective_weights,
)

CAPACITY = Resources(90.0, 300.0, 8.0)
PLAIN = Limits(most_favour=1.0)


def account(name, weight=1.0, group="", usage=None):
    return Account(
        user_id=1, user=name, group=group, weight=weight, usage=usage or Resources(), as_of_s=0.0
    )


def runs(name, user, most, **more):
    return Running(
        workflow_id=name,
        user=user,
        demand=Demand(cpu_s=100.0, most=most),
        **({"started_at_s": 0.0} | more),
    )


def waits(name, user, most=Resources(4.0, 4.0), **more):  # noqa: B008
    return Waiting(
        workflow_id=name,
        user=user,
        demand=Demand(cpu_s=100.0, most=most),
        **({"queued_at_s": 0.0} | more),
    )


mosts = st.builds(
    Resources,
    st.floats(0.5, 200.0),
    st.floats(0.5, 600.0),
    st.one_of(st.just(0.0), st.floats(0.1, 10.0)),
)
one_each = st.lists(mosts, min_size=1, max_size=8).map(
    lambda several: [runs(f"w{n}", f"u{n}", most) for n, most in enumerate(several)]
)
several_each = st.lists(
    st.tuples(mosts, st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=10
).map(
    lambda several: [
        runs(f"w{n}", f"u{user}", most, priority=priority)
        for n, (most, user, priority) in enumerate(several)
    ]
)


def held(one):
    return one.demand.most * (1.0 / max(1.0, one.demand.most.dominant_share(CAPACITY)))


def total(given_):
    return sum(given_.values(), Resources())


def test_the_example_of_the_paper():
    given_ = allotments(
        [runs("a", "a", Resources(9.0, 36.0)), runs("b", "b", Resources(9.0, 3.0))],
        [],
        Resources(9.0, 18.0),
    )
    assert given_["a"].amounts() == pytest.approx((3.0, 12.0, 0.0))
    assert given_["b"].amounts() == pytest.approx((6.0, 2.0, 0.0))


@settings(deadline=None)
@given(several_each)
def test_nothing_is_exceeded_and_nothing_left_that_somebody_could_use(running):
    given_ = allotments(running, [], CAPACITY, PLAIN)
    assert total(given_).fits_in(CAPACITY, 1e-6)
    free = CAPACITY - total(given_)
    for one in running:
        wanted, has = held(one), given_[one.workflow_id]
        assert has.fits_in(wanted, 1e-6)
        if not (wanted * (1.0 - 1e-4)).fits_in(has):
            # Some resource that it needs is used up.
            pairs = zip(wanted.amounts(), free.amounts(), CAPACITY.amounts(), strict=True)
            assert any(need > 0.0 and rest <= 1e-5 * all_ for need, rest, all_ in pairs)


@settings(deadline=None)
@given(one_each)
def test_everybody_has_at_least_what_an_equal_part_would_give(running):
    given_ = allotments(running, [], CAPACITY, PLAIN)
    for one in running:
        wanted = held(one)
        alone = min(1.0, 1.0 / (len(running) * wanted.dominant_share(CAPACITY)))
        assert (wanted * (alone * (1.0 - 1e-6))).fits_in(given_[one.workflow_id], 1e-6)


@settings(deadline=None)
@given(one_each)
def test_nobody_would_rather_have_what_another_has(running):
    given_ = allotments(running, [], CAPACITY, PLAIN)

    def use_of(one, what):
        pairs = zip(held(one).amounts(), what.amounts(), strict=True)
        return min([1.0, *(has / need for need, has in pairs if need > 0.0)])

    for one in running:
        own = use_of(one, given_[one.workflow_id])
        assert all(own >= use_of(one, other) - 1e-5 for other in given_.values())


@settings(deadline=None)
@given(several_each, st.randoms())
def test_the_order_of_input_makes_no_difference(running, shuffler):
    waiting = [waits(f"q{n}", f"u{n % 6}", queued_at_s=n % 3 * 1.0) for n in range(9)]
    before = allotments(running, [], CAPACITY)
    claimed = next_claimed(waiting, running, [], CAPACITY)
    gone = to_give_way(waiting, running, [], CAPACITY, now_s=1e5)
    for several in (running, waiting):
        shuffler.shuffle(several)
    after = allotments(running, [], CAPACITY)
    assert {k: v.amounts() for k, v in after.items()} == {
        k: pytest.approx(v.amounts()) for k, v in before.items()
    }
    assert next_claimed(waiting, running, [], CAPACITY) == claimed
    assert to_give_way(waiting, running, [], CAPACITY, now_s=1e5) == gone


@settings(deadline=None)
@given(several_each, st.floats(0.0, 80.0), st.integers(0, 200))
def test_no_quota_is_exceeded(running, cpus, memory):
    limits = Limits(quotas={"u0": Quota(running_cpus=cpus, running_memory_bytes=memory)})
    given_ = allotments(running, [], CAPACITY, limits)
    own = total({one.workflow_id: given_[one.workflow_id] for one in running if one.user == "u0"})
    assert own.cpus <= cpus * (1.0 + 1e-6) + 1e-9
    assert own.memory_bytes <= memory * (1.0 + 1e-6) + 1e-9


def test_priorities_count_within_a_user_only():
    many = Resources(90.0, 90.0)
    running = [
        runs("low", "a", many),
        runs("high", "a", many, priority=9),
        runs("other", "b", many),
    ]
    given_ = allotments(running, [], CAPACITY, PLAIN)
    assert given_["low"].cpus == pytest.approx(0.0, abs=1e-6)
    assert given_["high"].cpus == pytest.approx(45.0)
    assert given_["other"].cpus == pytest.approx(45.0)
    queue = [waits("1", "c", priority=9, queued_at_s=5.0), waits("2", "d", queued_at_s=1.0)]
    assert next_claimed(queue, [], [], CAPACITY).workflow_id == "2"


def test_weights_and_groups():
    many = Resources(90.0, 90.0)
    running = [runs(name, name, many) for name in "abc"]
    accounts = [account("a", 3.0), account("b"), account("c", 2.0)]
    given_ = allotments(running, accounts, CAPACITY, PLAIN)
    assert [given_[name].cpus for name in "abc"] == pytest.approx([45.0, 15.0, 30.0])
    accounts = [account("a", group="g"), account("b", group="g"), account("c")]
    limits = Limits(most_favour=1.0, group_weights={"g": 1.0})
    given_ = allotments(running, accounts, CAPACITY, limits)
    assert [given_[name].cpus for name in "abc"] == pytest.approx([22.5, 22.5, 45.0])
    # What one of a group has no use for is the group's.
    running[0] = runs("a", "a", Resources(5.0, 5.0))
    given_ = allotments(running, accounts, CAPACITY, limits)
    assert [given_[name].cpus for name in "abc"] == pytest.approx([5.0, 40.0, 45.0])


def test_usage_decays_and_changes_weights_within_bounds():
    limits = Limits()
    half = decayed(Resources(8.0, 4.0), limits.half_life_s, limits.half_life_s)
    assert half.amounts() == pytest.approx((4.0, 2.0, 0.0))
    had = charged(account("a"), Resources(90.0 * DAY_S), 10.0, limits.half_life_s)
    weights = effective_weights(["a", "b"], [had, account("b")], CAPACITY, limits, 10.0)
    assert weights["a"] < 1.0 < weights["b"]
    assert weights["b"] / weights["a"] <= limits.most_favour**2 * (1.0 + 1e-9)


def test_in_the_long_run_everybody_has_what_their_weight_is_worth():
    limits, accounts = Limits(), {"a": account("a", 2.0), "b": account("b"), "c": account("c")}
    running = [runs(name, name, Resources(90.0, 90.0)) for name in "abc"]
    had = dict.fromkeys("abc", 0.0)
    for number in range(400):
        now_s = number * 600.0
        given_ = allotments(running, list(accounts.values()), CAPACITY, limits, now_s)
        for name in "abc":
            had[name] += given_[name].cpus
            used = given_[name] * 600.0
            accounts[name] = charged(accounts[name], used, now_s + 600.0, limits.half_life_s)
    assert had["a"] / had["b"] == pytest.approx(2.0, rel=0.02)
    assert had["b"] == pytest.approx(had["c"])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_whatever_comes_everything_is_claimed(seed):
    """A stream of newcomers that had nothing never keeps out who had much."""
    chance = random.Random(seed)
    limits = Limits(running_workflows=3, patience_s=50.0, least_run_s=30.0)
    rich = account("rich", usage=Resources(90.0 * DAY_S))
    waiting = [waits("rich", "rich", Resources(500.0, 500.0))]
    running, claimed_at = [], {}
    for step in range(60):
        now_s = step * 10.0
        for number in range(chance.randint(1, 3)):
            waiting.append(waits(f"{step} {number}", f"u{step} {number}", queued_at_s=now_s))
        running = [one for one in running if now_s - one.started_at_s < 40.0]
        while (one := next_claimed(waiting, running, [rich], CAPACITY, limits, now_s)) is not None:
            waiting.remove(one)
            claimed_at[one.workflow_id] = now_s
            running.append(runs(one.workflow_id, one.user, one.demand.most, started_at_s=now_s))
    assert claimed_at["rich"] <= limits.patience_s + 100.0


def test_who_is_over_served_gives_way_once_and_not_again():
    limits = Limits(running_workflows=2, patience_s=100.0, least_run_s=100.0, most_favour=1.0)
    running = [
        runs("old", "a", Resources(90.0, 90.0)),
        runs("new", "a", Resources(90.0, 90.0), started_at_s=50.0, priority=1),
    ]
    waiting = [waits("b", "b", Resources(90.0, 90.0)), waits("c", "c", Resources(90.0, 90.0))]
    rule = ([], CAPACITY, limits)
    assert to_give_way(waiting, running, *rule, 90.0) == []  # nobody waits long
    assert to_give_way(waiting, running, *rule, 200.0) == ["old"]  # the less important one
    left = [running[1], runs("b", "b", Resources(90.0, 90.0), started_at_s=200.0)]
    back = [waiting[1], waits("old", "a", Resources(90.0, 90.0), queued_at_s=200.0)]
    assert to_give_way(back, left, *rule, 200.0) == []


def test_what_the_cluster_can_never_run_keeps_nobody_out():
    queue = [waits("never", "a", Resources(1.0, 1.0, 1.0)), waits("fits", "a", queued_at_s=1.0)]
    assert next_claimed(queue, [], [], Resources(8.0, 8.0)).workflow_id == "fits"


def test_an_own_further_one_begins_once_the_first_has_all_that_it_can_use():
    whole = Resources(90.0, 90.0)
    long = Running(
        workflow_id="long",
        user="a",
        demand=Demand(cpu_s=9e4, most=whole),
        started_at_s=0.0,
    )
    later = waits("later", "a", whole, queued_at_s=2_000.0)
    short = waits("short", "a", Resources(4.0, 4.0), queued_at_s=1.0)
    other = runs("other", "b", whole)
    assert next_claimed([later], [long], [], CAPACITY) == later
    assert next_claimed([later], [long, other], [], CAPACITY) is None
    assert next_claimed([short], [long, other], [], CAPACITY) == short
