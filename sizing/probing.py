"""Which small fits on a sample would make a sweep's forecast more certain and are worth their time.

In: the choice. Not in: running them (:mod:`fitcast.scheduler.forecast.probes`). They
need no treatment of their own: they are records of the same dataset with fewer rows, from which the
model extrapolates.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fitcast.history.records import Estimate, Request

BUDGET = 0.03
"""Share of a sweep's forecast seconds that its probes may take."""

LEAST_SWEEP_S = 60.0
"""Forecast seconds of all fits together, below which a sweep is over before probing pays."""

UNCERTAIN_LOG_SD = 0.25
"""Standard deviation of what all fits of an algorithm share, in natural logarithms, above which the
algorithm is probed."""

_FEWEST_ROWS = 200  # with fewer, only the start of a fit is measured
_LARGEST_SHARE = 0.25  # of a fold's rows
_LEAST_SHARE = 0.01  # beyond, extrapolation says little


@dataclass(frozen=True, slots=True)
class Probe:
    """A fit that is to be tried on fewer rows."""

    fit_id: str
    rows_train: int


def choose_probes(
    requests: Mapping[str, Request], estimates: Mapping[str, Estimate]
) -> list[Probe]:
    """Choose probes of the algorithms whose forecasts are uncertain and whose fits take long.

    Parameters
    ----------
    requests, estimates
        Of a sweep's fits, by fit.

    Returns
    -------
    list of Probe
        Up to two per algorithm, its quickest and its longest candidate; empty where they
        wouldn't pay.
    """
    total_s = sum(estimate.runtime_s_p50 for estimate in estimates.values())
    if total_s < LEAST_SWEEP_S:
        return []
    by_algorithm: dict[str, list[str]] = {}
    for fit_id, request in requests.items():
        by_algorithm.setdefault(request.algorithm, []).append(fit_id)
    chosen: list[Probe] = []
    for fit_ids in by_algorithm.values():
        own_s = sum(estimates[fit_id].runtime_s_p50 for fit_id in fit_ids)
        uncertain = max(estimates[fit_id].runtime_log_sd_algorithm for fit_id in fit_ids)
        if uncertain < UNCERTAIN_LOG_SD:
            continue
        fit_ids = sorted(fit_ids, key=lambda fit_id: estimates[fit_id].runtime_s_p50)
        ends = [fit_ids[0], fit_ids[-1]]
        if requests[ends[0]].params == requests[ends[1]].params:  # folds of one candidate
            ends = ends[:1]
        for fit_id in ends:
            rows = requests[fit_id].rows_train
            # Taken as proportional to rows; what grows faster is cheaper still.
            affordable = BUDGET * own_s / len(ends) / max(estimates[fit_id].runtime_s_p50, 1e-9)
            probed = int(rows * min(_LARGEST_SHARE, affordable))
            if probed >= max(_FEWEST_ROWS, _LEAST_SHARE * rows):
                chosen.append(Probe(fit_id, probed))
    return chosen
