"""How good forecasts were, from the records of all workflows: by algorithm, over time.

Pure. In here: the numbers and the report in Markdown. Not in here: those of one workflow
(:mod:`fitcast.history.review.description`), which of two models is better
(:mod:`fitcast.sizing.judging`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from fitcast.history.records import Outcome, Record
from fitcast.history.review.summary import (
    above_memory_share,
    by_algorithm,
    inside_share,
    median,
    runtime_errors,
    wasted_gb_hours,
)
from fitcast.history.review.words import factor, marked, ratio, share

PERIODS: Final = 6
_MOST_ALGORITHMS: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How good the forecasts of some fits were; NaN where nothing tells.

    Attributes
    ----------
    fits : int
        Attempts that are counted.
    typical_error : float
        Median factor between forecast and measured runtime, at least 1.
    bias : float
        Median of forecast ÷ measured runtime: below 1, fits took longer than forecast.
    inside_share : float
        Share of runtimes within P10 to P90; 0.8 is right.
    above_memory_share : float
        Share of fits that needed more memory than their P95; 0.05 is right.
    out_of_memory_share : float
        Share of attempts that were ended at their memory limit.
    wasted_gb_hours : float
        Memory held and not used, in 10⁹ bytes × hours.
    """

    fits: int
    typical_error: float
    bias: float
    inside_share: float
    above_memory_share: float
    out_of_memory_share: float
    wasted_gb_hours: float

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Accuracy":
        """Return the accuracy of the forecasts of some records."""
        errors = runtime_errors(records)
        ended_by_memory = sum(r.outcome is Outcome.OUT_OF_MEMORY for r in records)
        return cls(
            fits=len(records),
            typical_error=ratio(median([abs(error) for error in errors])),
            bias=ratio(median(errors)),
            inside_share=inside_share(records),
            above_memory_share=above_memory_share(records),
            out_of_memory_share=ended_by_memory / len(records) if records else math.nan,
            wasted_gb_hours=wasted_gb_hours(records),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyReport:
    """How good forecasts were, by algorithm and over time.

    Attributes
    ----------
    all_fits : Accuracy
        Of all.
    algorithms : mapping
        By the algorithm's name.
    periods : mapping
        By the time of the first fit of equally many, oldest first.
    drift : mapping
        By algorithm: the bias of the newest third of its fits ÷ that of the others.
    """

    all_fits: Accuracy
    algorithms: Mapping[str, Accuracy]
    periods: Mapping[str, Accuracy]
    drift: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values; what isn't known is None."""
        plain: dict[str, Any] = _plain(
            {
                "all_fits": asdict(self.all_fits),
                "algorithms": {name: asdict(one) for name, one in self.algorithms.items()},
                "periods": {name: asdict(one) for name, one in self.periods.items()},
                "drift": dict(self.drift),
            }
        )
        return plain


def report_of(records: Sequence[Record]) -> AccuracyReport:
    """Return how good the forecasts of these records were; imported ones had none."""
    measured = sorted(
        (r for r in records if not r.imported), key=lambda r: (r.ended_at, r.record_id)
    )
    groups = by_algorithm(measured)
    size = max(1, math.ceil(len(measured) / PERIODS))
    periods = [measured[at : at + size] for at in range(0, len(measured), size)]
    return AccuracyReport(
        all_fits=Accuracy.of(measured),
        algorithms={name: Accuracy.of(own) for name, own in groups.items()},
        periods=dict(zip(_begun(periods), map(Accuracy.of, periods), strict=True)),
        drift={name: _drift(own) for name, own in groups.items()},
    )


def markdown(report: AccuracyReport, most_chars: int = 4900) -> str:
    """Return the report as Markdown."""
    all_of = report.all_fits
    parts = [
        f"{all_of.fits:,} attempts. A runtime was typically forecast within a factor of "
        f"{factor(_log(all_of.typical_error))}, {share(all_of.inside_share)} within P10 to P90 "
        f"(80 % is right); {share(all_of.above_memory_share)} needed more memory than their P95 "
        f"(5 % is right); {share(all_of.out_of_memory_share)} ran out of memory; "
        f"{all_of.wasted_gb_hours:.3g} GB-hours were held and not used.",
        "### Over time\n" + _table("from (UTC)", report.periods, {}),
        "### By algorithm\n"
        + _table(
            "algorithm",
            dict(
                sorted(report.algorithms.items(), key=lambda item: -item[1].fits)[:_MOST_ALGORITHMS]
            ),
            report.drift,
        ),
        "Drift: forecast ÷ measured of the newest third of the fits over that of the others; "
        "1 is none.",
    ]
    text = ""
    for part in parts:
        if len(text) + len(part) + 2 <= most_chars:
            text += part + "\n\n"
    return text.rstrip()


HEAD: Final = (
    "attempts", "off by", "forecast ÷ measured", "in P10–P90", "above P95", "out of memory",
    "GB-hours wasted",
)  # fmt: skip


def cells(one: Accuracy) -> tuple[str, ...]:
    """Return the cells of a row of the report's tables, as :data:`HEAD` names them."""
    return (
        f"{one.fits:,}",
        factor(_log(one.typical_error)),
        factor(_log(one.bias)),
        share(one.inside_share),
        share(one.above_memory_share),
        share(one.out_of_memory_share),
        f"{one.wasted_gb_hours:.2g}",
    )


def _table(first: str, rows: Mapping[str, Accuracy], drift: Mapping[str, float]) -> str:
    head = (first, *HEAD, *(("drift",) if drift else ()))
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, one in rows.items():
        extra = (factor(_log(drift[name])),) if drift else ()
        lines.append("| " + " | ".join((marked(name, 40), *cells(one), *extra)) + " |")
    return "\n".join(lines)


def _begun(periods: Sequence[Sequence[Record]]) -> list[str]:
    """Return when each period began, as exactly as tells them apart."""
    times = [own[0].ended_at for own in periods]
    for exact in ("%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f"):
        names = [f"{time:{exact}}" for time in times]
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({number})" for number, name in enumerate(names, 1)]


def _drift(records: Sequence[Record]) -> float:
    cut = len(records) - len(records) // 3
    before, newest = runtime_errors(records[:cut]), runtime_errors(records[cut:])
    return ratio(median(newest) - median(before))


def _log(value: float) -> float:
    return math.log(value) if value > 0 else math.nan


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
