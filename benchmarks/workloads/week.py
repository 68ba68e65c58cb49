"""A simulated week of 400 analysts who share a cluster: by fair share, and first come first served.

    python -m benchmarks.bench week

Played in virtual time, fit by fit, with fits as measured by the campaign. Fairness is Jain's index
over users whose work waited, of what each had of their dominant resource over what the others
waiting at the same moments had on the average; for each hour, weighted by how much was waited in
it. Slowdown is the time from submission to end over what it takes alone on the whole cluster. Small
workflows are the half that needs the fewest CPU seconds.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.judging import Row
from benchmarks.report import Goal, Report
from benchmarks.week_play import Played, Week, waiting
from benchmarks.week_trace import MONDAY_S, Flow, priced, trace
from fitcast.scheduler.broker.past_arrivals import PastArrivals
from fitcast.scheduler.broker.resources import Resources
from fitcast.scheduler.broker.sharers import NO_LIMITS, Limits

SEED = 20  # no parameter was tuned on it
CAPACITY = Resources(112, 112 * 4.0 * 2**30)
USERS, ASKED = 400, 170
LEAST_WAITED_S = 600.0  # in an hour, to be counted in it


def jain(played: Played) -> float:
    """Return Jain's fairness index, by hour and weighted by the time that users waited."""
    indices, weights = [], []
    for hour in played.shares:
        counted = [one for one in hour.values() if one[2] >= LEAST_WAITED_S]
        if len(counted) < 2:
            continue
        share = np.array([got / due if due > 0.0 else 0.0 for got, due, _ in counted])
        indices.append(float(share.sum() ** 2 / (len(share) * max(1e-12, float(share @ share)))))
        weights.append(math.fsum(one[2] for one in counted))
    return float(np.average(indices, weights=weights)) if indices else math.nan


def slowdowns(flows: Sequence[Flow], played: Played) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return each workflow's slowdown."""
    return np.array([(played.ended_s[f.name] - f.at_s) / f.alone_s for f in flows])


def row(name: str, flows: Sequence[Flow], played: Played) -> Row:
    """Return what a way of sharing gave."""
    cpu_s = np.array([flow.needs.cpu_s for flow in flows])
    small = cpu_s <= np.median(cpu_s)
    huge = cpu_s >= np.quantile(cpu_s, 0.95)
    slow = slowdowns(flows, played)
    end_s = max(played.ended_s.values())
    return {
        "": name,
        "workflows": len(flows),
        "fits": sum(flow.fits for flow in flows),
        "Jain's index": jain(played),
        "small: slowdown": float(np.median(slow[small])),
        "small: P95": float(np.quantile(slow[small], 0.95)),
        "all: slowdown": float(np.median(slow)),
        "largest 5 %: slowdown": float(np.median(slow[huge])),
        "gave way": played.gave_way,
        "cores busy": played.busy_cpu_s / (CAPACITY.cpus * (end_s - flows[0].at_s)),
    }


def eta_row(
    name: str, played: Played, chosen: Sequence[bool] | None = None, *, raw: bool = False
) -> Row:
    """Return how good ETAs at submission were, the wait included; raw: before the correction."""
    asked = [one for i, one in enumerate(played.asked) if chosen is None or chosen[i]]
    if not asked:
        return {"": name, "asked": 0}
    took = np.array([played.ended_s[one.flow.name] - one.flow.at_s for one in asked])
    p10, p50, p90 = np.array([one.played_s if raw else one.end_s for one in asked]).T
    error = np.abs(p50 - took) / took
    return {
        "": name,
        "asked": len(asked),
        "in P10–P90": float(np.mean((p10 <= took) & (took <= p90))),
        "median |error|": float(np.median(error)),
        "P90 |error|": float(np.quantile(error, 0.9)),
        "ETA off by": float(np.median(p50 / took) - 1.0),
    }


def prepared(
    costs: Any, capacity: Resources, *, users: int, seed: int, days: int = 14
) -> tuple[list[Flow], PastArrivals]:
    """Return the submissions of the week that is played, and those of the one before."""
    every = trace(costs, capacity, users=users, seed=seed, days=days)
    since_s = MONDAY_S + (days - 7) * 86_400.0 if days > 7 else MONDAY_S + (days // 2) * 86_400.0
    before = [waiting(flow, flow.at_s, exact=True) for flow in every if flow.at_s < since_s]
    before = [replace(one, workflow_id=f"past {one.workflow_id}") for one in before]
    return [flow for flow in every if flow.at_s >= since_s], PastArrivals(before, MONDAY_S, since_s)


def run(quick: bool = False, limits: Limits = NO_LIMITS, seed: int = SEED) -> Report:
    """Play the week in both ways; report goals."""
    capacity, users, days = CAPACITY, USERS, 14
    if quick:
        capacity, users, days = Resources(16, 32 * 2**30), 30, 2
    costs = priced(quick)
    flows, past = prepared(costs, capacity, users=users, seed=seed, days=days)
    every = max(1, len(flows) // (20 if quick else ASKED))
    began_s = time.process_time()
    ours = Week(flows, capacity, limits, ask=lambda n: n % every == 0, past=past).play()
    took_s = time.process_time() - began_s
    naive = Week(flows, capacity, None).play()
    rows = [row("fair share", flows, ours), row("first come, first served", flows, naive)]
    took = [ours.ended_s[one.flow.name] - one.flow.at_s for one in ours.asked]
    delayed = [t > 1.5 * one.flow.alone_s for t, one in zip(took, ours.asked, strict=True)]
    eta = [
        eta_row("all", ours),
        eta_row("held up by others (1.5 × alone or more)", ours, delayed),
        eta_row("hardly held up", ours, [not one for one in delayed]),
        eta_row("all, not corrected by earlier ones", ours, raw=True),
    ]
    alone = np.array([abs(f.forecast_s[1] / f.alone_s - 1.0) for f in flows])
    return Report(
        f"A simulated week of {users} analysts on {capacity.cpus:.0f} CPUs",
        {"Sharing": rows, "ETA at submission, wait included": eta},
        [
            Goal("Jain's fairness index", float(rows[0]["Jain's index"]), least=0.95),
            Goal("median slowdown of small workflows", float(rows[0]["small: slowdown"]), most=2.0),
            Goal("ETA's median error", float(eta[0]["median |error|"]), most=0.20, form="{:.1%}"),
            Goal(
                "within P10–P90", float(eta[0]["in P10–P90"]), least=0.75, most=0.90, form="{:.0%}"
            ),
        ],
        [
            "fits as the campaign measured them, 60 times as long, with 10 times the memory, "
            "forecast by models that hadn't seen their datasets; who submits what is made up",
            f"alone on the cluster, workflows are forecast with a median error of "
            f"{np.median(alone):.1%}",
            f"playing and forecasting took {took_s:.0f} s of CPU",
        ],
    )
