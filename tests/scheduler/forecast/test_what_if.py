"""Other workers, what they cost, and wishes: forecasts only, nothing is run."""

import math
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier

from fitcast import Client, LocalBackend, Pool, Sweep, errors
from fitcast.history.store import MemoryHistory
from fitcast.scheduler.forecast.sweep_estimate import estimate_of
from fitcast.scheduler.forecast.sweep_forecast import forecast_sweep
from fitcast.scheduler.plan.pools import planned_workers
from fitcast.sizing.learning.model import SizingModel

GIB = 2**30
X, Y = make_classification(5000, 20, random_state=0)
FOREST = Sweep(
    (RandomForestClassifier(), {"n_estimators": list(range(100, 115))}), X, Y, cv=5, refit=False
)
SMALL = Pool("small", 2, 4 * GIB, 4, price_per_hour=0.5)
LARGE = Pool("large", 8, 64 * GIB, 2, price_per_hour=3.0)


def estimate(*pools, sweep=FOREST):
    workers = planned_workers(pools)
    return estimate_of(
        forecast_sweep(SizingModel.prior(), sweep.prepare().submission, workers), pools
    )


def test_the_cost_is_that_of_all_workers_until_the_end():
    forecast = estimate(SMALL, LARGE)
    price = 4 * 0.5 + 2 * 3.0
    for quantile in ("p10", "p50", "p90"):
        hours = getattr(forecast.eta, f"{quantile}_s") / 3600
        assert getattr(forecast.cost, quantile) == pytest.approx(price * hours)
    assert 0 < forecast.cost.used_p50 < forecast.cost.p50


def test_without_every_price_there_is_no_cost():
    assert estimate(SMALL, Pool("free", 1, GIB)).cost is None
    assert math.isnan(estimate(Pool("free", 1, GIB)).what_if()["cost_p50"].iloc[0])


def test_more_workers_end_it_sooner_until_they_no_longer_help():
    table = estimate(SMALL).what_if()
    assert list(table["workers"])[:7] == [1, 2, 3, 4, 6, 8, 12]
    assert list(table["given"]) == [workers == 4 for workers in table["workers"]]
    ends = dict(zip(table["workers"], table["eta_s_p50"], strict=True))
    assert ends[1] > 1.7 * ends[2] > 3.0 * ends[4]
    assert (table["eta_s_p10"] <= table["eta_s_p50"]).all()
    assert (table["eta_s_p50"] <= table["eta_s_p90"]).all()
    last = table["workers"].iloc[-1]
    assert last >= len(estimate(SMALL).fits) or ends[last] > 0.98 * ends[last // 2]


@pytest.mark.slow
def test_several_pools_grow_together_and_alone():
    table = estimate(SMALL, LARGE).what_if()
    assert table["choice"].iloc[0] == "2 × small + 1 × large"
    assert table.loc[table["given"], "choice"].tolist() == ["4 × small + 2 × large"]
    assert {"1 × small", "1 × large"} <= set(table["choice"])
    tiny = Pool("tiny", 1, 64 * 2**20)  # holds no fit
    assert "1 × tiny" not in set(estimate(tiny, LARGE).what_if()["choice"])


def test_the_given_workers_keep_their_eta():
    forecast = estimate(SMALL)
    table = forecast.what_if()
    assert table.loc[table["given"], "eta_s_p50"].tolist() == [forecast.eta.p50_s]


def test_the_cheapest_that_is_done_in_time_is_marked():
    forecast = estimate(SMALL)
    within_s = forecast.eta.p50_s
    table = forecast.what_if(done_within_s=within_s)
    assert (table["meets"] == (table["eta_s_p90"] <= within_s)).all()
    (best,) = table[table["best"]].itertuples()
    assert best.cost_p50 == table.loc[table["meets"], "cost_p50"].min()
    chosen = forecast.cheapest(done_within_s=within_s)
    assert str(chosen) == best.choice
    assert table.attrs["answer"].startswith(best.choice)
    again = estimate(*chosen.pools)
    assert again.eta.p50_s == pytest.approx(chosen.eta.p50_s, rel=0.3)


def test_a_wish_that_no_workers_meet_says_what_comes_nearest():
    forecast = estimate(SMALL)
    table = forecast.what_if(done_within_s=1e-3, cost_at_most=1e-6)
    assert not table["meets"].any()
    assert not table["best"].any()
    assert "is soonest done" in table.attrs["answer"]
    with pytest.raises(errors.InvalidInputError, match=r"within 0\.0 s and for at most 0\.00"):
        forecast.cheapest(done_within_s=1e-3, cost_at_most=1e-6)


def test_done_by_is_a_time_of_day():
    forecast = estimate(SMALL)
    tomorrow = datetime.now() + timedelta(days=1)
    assert forecast.what_if(done_by=tomorrow)["meets"].any()
    assert forecast.cheapest(done_by=tomorrow.astimezone(UTC)).workers >= 1


@pytest.mark.parametrize(
    "wish",
    [
        {"done_within_s": 0},
        {"done_within_s": -1.0},
        {"done_within_s": math.nan},
        {"done_within_s": "soon"},
        {"cost_at_most": math.inf},
        {"cost_at_most": 0.0},
        {"done_by": datetime.now(UTC) - timedelta(seconds=1)},
        {"done_by": "six"},
    ],
)
def test_wishes_that_mean_nothing_are_refused(wish):
    forecast = estimate(SMALL)
    with pytest.raises(errors.InvalidInputError, match=next(iter(wish))):
        forecast.what_if(**wish)


def test_a_cost_needs_prices():
    with pytest.raises(errors.InvalidPoolError, match="price_per_hour"):
        estimate(Pool("free", 1, GIB)).what_if(cost_at_most=10)


@pytest.mark.slow
def test_thousands_of_fits_take_seconds_and_end_as_if_all_were_played():
    grid = {"n_estimators": list(range(100, 900))}
    many = Sweep((RandomForestClassifier(), grid), X, Y, cv=5, refit=False)
    forecast = estimate(SMALL, sweep=many)
    began_s = time.process_time()
    table = forecast.what_if()
    assert time.process_time() - began_s < 20.0
    assert list(table["workers"])[:4] == [1, 2, 4, 8]
    sixteen = table[table["workers"] == 16].iloc[0]
    played = estimate(replace(SMALL, workers=16), sweep=many).eta
    assert sixteen["eta_s_p50"] == pytest.approx(played.p50_s, rel=0.05)
    assert sixteen["eta_s_p90"] == pytest.approx(played.p90_s, rel=0.15)


BAD_POOLS = [
    lambda: Pool("p", cpus=0, memory_bytes=GIB),
    lambda: Pool("p", cpus=True, memory_bytes=GIB),
    lambda: Pool("p", cpus=1.5, memory_bytes=GIB),
    lambda: Pool("p", cpus=1, memory_bytes=-GIB),
    lambda: Pool("p", cpus=1, memory_bytes=0),
    lambda: Pool("p", cpus=1, memory_bytes=math.nan),
    lambda: Pool("p", cpus=1, memory_bytes=GIB, workers=0),
    lambda: Pool("p", cpus=1, memory_bytes=GIB, price_per_hour=math.nan),
    lambda: Pool("p", cpus=1, memory_bytes=GIB, price_per_hour=-1.0),
    lambda: Pool("p", cpus=1, memory_bytes=GIB, price_per_hour="cheap"),
    lambda: Pool("  ", cpus=1, memory_bytes=GIB),
    lambda: Pool(None, cpus=1, memory_bytes=GIB),
]
BAD_LISTS = [
    [],
    [Pool("p", 1, GIB), Pool("p", 2, GIB)],
    [Pool("p", 1, GIB), "q"],
    [None],
    Pool("p", 1, GIB),
    "small",
    7,
    [Pool("p", 1, GIB, 10**9)],
]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with Client(home=home, history=MemoryHistory()) as opened:
        yield opened


@pytest.mark.parametrize("pool", BAD_POOLS)
def test_pools_that_mean_nothing_are_refused(pool):
    with pytest.raises(errors.InvalidPoolError):
        pool()


@pytest.mark.parametrize("pools", BAD_LISTS, ids=range(len(BAD_LISTS)))
def test_lists_of_pools_that_mean_nothing_are_refused(client, pools):
    with pytest.raises(errors.InvalidPoolError):
        client.estimate(FOREST, pools=pools)
    with pytest.raises(errors.InvalidPoolError):
        LocalBackend(pools)


@pytest.mark.slow
def test_other_pools_need_not_exist_here(client):
    far = [Pool("far", cpus=512, memory_bytes=2**42, workers=64, price_per_hour=30.0)]
    forecast = client.estimate(FOREST, pools=far)
    assert set(forecast.fits["pool"]) == {"far"}
    assert forecast.cost.p50 == pytest.approx(64 * 30 * forecast.eta.p50_s / 3600)
    assert forecast.eta.p50_s < client.estimate(FOREST).eta.p50_s
    with pytest.raises(errors.InvalidPoolError):
        LocalBackend(far)


def test_a_fit_larger_than_every_pool_is_refused_before_anything_starts(client):
    tiny = [Pool("tiny", 1, 2**20, 3), Pool("small", 1, 64 * 2**20)]
    with pytest.raises(errors.FitTooLargeError, match=r"largest worker has 0\.06 GiB"):
        client.estimate(FOREST, pools=tiny)
    large = Sweep(RandomForestClassifier(), X, Y, memory_bytes=2**50)
    for ask in (client.estimate, client.submit):
        with pytest.raises(errors.FitTooLargeError, match="Give a larger pool"):
            ask(large)
    assert client.workflows() == []


@pytest.mark.parametrize("deadline_s", [0, 0.0, -1.0, math.nan, math.inf, "soon", True])
def test_deadlines_that_mean_nothing_are_refused_before_anything_starts(client, deadline_s):
    for ask in (client.estimate, client.submit):
        with pytest.raises(errors.InvalidSweepError, match="deadline_s"):
            ask(Sweep(RandomForestClassifier(), X, Y, deadline_s=deadline_s))
    assert client.workflows() == []
