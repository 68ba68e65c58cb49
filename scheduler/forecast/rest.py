"""What is left of a workflow that nobody runs: its forecast, less what is done.

Only for those who look at it without a sizing model; whoever goes on with it forecasts anew.
"""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from fitcast.scheduler.forecast.draws import LONGEST_S
from fitcast.scheduler.forecast.eta import Eta

_NOTHING_S = 1e-9


def eta_of_rest(
    forecast: Eta, expected_s: Sequence[float], took_s: Sequence[float | None], now: datetime
) -> Eta:
    """Return when the rest would be done if it were gone on with now.

    The forecast shrinks with the work that is left, at the pace of the fits that are done: what
    they took beside what had been expected of them, with one more fit that took what was expected.

    Parameters
    ----------
    forecast : Eta
        As made at submission, for all of it.
    expected_s : sequence of float
        Per fit, the seconds it was forecast to take.
    took_s : sequence of float or None
        Per fit, the seconds it took; None for one that has to run yet.
    now : datetime
        The moment, UTC.
    """
    if math.isnan(forecast.p50_s):
        return forecast
    total_s = sum(expected_s)
    left_s = sum(e for e, took in zip(expected_s, took_s, strict=True) if took is None)
    if total_s < _NOTHING_S:
        return Eta(0.0, 0.0, 0.0, now)
    one_s = total_s / len(expected_s)
    pace = (sum(t for t in took_s if t is not None) + one_s) / (total_s - left_s + one_s)
    share = pace * left_s / total_s
    quantiles_s = (forecast.p10_s, forecast.p50_s, forecast.p90_s)
    p10_s, p50_s, p90_s = (min(share * s, LONGEST_S) for s in quantiles_s)
    return Eta(p10_s, p50_s, p90_s, now + timedelta(seconds=p50_s))
