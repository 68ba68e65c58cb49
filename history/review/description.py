"""The description of runs in Markdown: what was asked, forecast, what happened, what failed.

Pure. Whatever users named is escaped; messages are those that records still have. Not in here:
the numbers (:mod:`fitcast.history.review.summary`).
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from fitcast.history.presentation import MAX_TAG, algorithm_name, totals
from fitcast.history.records import REFIT_FOLD, Outcome, Record
from fitcast.history.review.summary import (
    Summary,
    above_memory_share,
    by_algorithm,
    inside_share,
    mean,
    median,
    runtime_errors,
    summarise,
    wasted_gb_hours,
)
from fitcast.history.review.words import factor, marked, number, share, size, span
from fitcast.history.store import INTERRUPTED, WorkflowEnd, WorkflowRun

_MOST_ROWS: Final = 8
_LOST: Final = frozenset({Outcome.WORKER_LOST, Outcome.PREEMPTED})


def workflow_note(run: WorkflowRun, records: Sequence[Record], end: WorkflowEnd) -> str:
    """Return the description of an ended workflow's run."""
    summary = summarise(records, str(run.params.get("refit", "")))
    parts = [
        _headline(summary, end),
        _resumable(run, end),
        _asked(run, summary),
        _forecast(summary, end),
        _costs(summary),
        _failures(summary),
        _files(summary),
    ]
    text = ""
    for part in filter(None, parts):  # whole parts only, as half a table can't be read
        if len(text) + len(part) + 2 <= MAX_TAG:
            text += part + "\n\n"
    return text.rstrip()


def candidate_note(records: Sequence[Record]) -> str:
    """Return the description of a candidate's run."""
    summary = summarise(records)
    done = [c for candidate in summary.candidates for c in candidate.done]
    folds = {r.fold for r in records if r.fold != REFIT_FOLD}
    said = [f"{len(done)} of {len(folds)} fits succeeded."]
    for candidate in summary.candidates:
        for name in sorted({n for r in candidate.done for n in r.scores})[:_MOST_ROWS]:
            values = candidate.scores(name)
            low, high = number(min(values)), number(max(values))
            said.append(f"{marked(name)}: {number(mean(values))} ({low} to {high}).")
    if done:
        forecast = [r.estimate.runtime_s_p50 for r in done if r.estimate is not None]
        measured = span(median([r.undisturbed_s for r in done]))
        beside = f", forecast {span(median(forecast))}" if forecast else ""
        peaks = [r.peak_memory_bytes for r in done if r.peak_memory_bytes is not None]
        said.append(f"A fit took {measured}{beside}; peak memory {size(max(peaks, default=None))}.")
    if failures := _failures(summary):
        said.append(f"\n\n{failures}")
    return " ".join(said)[:MAX_TAG]


def _headline(summary: Summary, end: WorkflowEnd) -> str:
    best = summary.best_candidate
    ended = f"was {end.state}" if end.state in {INTERRUPTED, "cancelled"} else end.state
    took = span(end.summary_metrics.get("makespan_s/measured", float("nan")))
    if best is None:
        return f"The workflow {ended} after {took}; no candidate is the best."
    score = mean(best.scores(summary.score))
    beside = f": {marked(summary.score)} {number(score)}" if best.scores(summary.score) else ""
    return (
        f"{marked(best.label)} is the best of {len(summary.candidates)} candidates{beside}. "
        f"The workflow {ended} after {took}."
    )


def _resumable(run: WorkflowRun, end: WorkflowEnd) -> str:
    if end.state != INTERRUPTED:
        return ""
    return (
        "It can be resumed with "
        f"`fitcast resume {run.workflow_id}`: only what isn't done yet runs again."
    )


def _asked(run: WorkflowRun, summary: Summary) -> str:
    if not summary.records:
        return ""
    request = summary.records[0].request
    rows = request.rows_train + (request.rows_test if summary.records[0].fold != REFIT_FOLD else 0)
    candidates = run.params.get("candidates", len(summary.candidates))
    splits = run.params.get("splits", len({r.fold for r in summary.records} - {REFIT_FOLD}))
    names = [marked(name) for name in by_algorithm(summary.records)]
    return (
        f"### Asked\n{candidates} candidates of {', '.join(names[:_MOST_ROWS])}"
        f"{' and others' if len(names) > _MOST_ROWS else ''} × {splits} splits, on {rows:,} rows × "
        f"{request.columns:,} columns ({marked(request.target)} target; data "
        f"`{summary.records[0].dataset[:32]}`)."
    )


def _forecast(summary: Summary, end: WorkflowEnd) -> str:
    if not summary.records:
        return ""
    told, all_of = end.summary_metrics, totals(summary.records)
    nan = float("nan")
    rows = ["| | forecast | measured |", "|---|---|---|"]
    low, high = (told.get(f"makespan_s/forecast_p{q}", nan) for q in (10, 90))
    whole = f"{span(told.get('makespan_s/forecast_p50', nan))} ({span(low)} to {span(high)})"
    rows.append(f"| whole workflow | {whole} | {span(told.get('makespan_s/measured', nan))} |")
    total = span(all_of.get("total_runtime_s/forecast_p50", nan))
    rows.append(f"| all fits, summed | {total} | {span(all_of['total_runtime_s/measured'])} |")
    most = size(all_of.get("max_peak_memory_bytes/forecast_p50"))
    peak = size(all_of.get("max_peak_memory_bytes/measured"))
    rows.append(f"| peak memory of the largest fit | {most} | {peak} |")
    rows.append(f"| fits within their P10 to P90 | 80 % | {share(inside_share(summary.records))} |")
    above = share(above_memory_share(summary.records))
    rows.append(f"| fits above their memory's P95 | 5 % | {above} |")
    return "### Forecast and measured\n" + "\n".join(rows)


def _costs(summary: Summary) -> str:
    if not summary.records:
        return ""
    total = sum(r.runtime_s for r in summary.records) or 1.0
    groups = sorted(
        by_algorithm(summary.records).items(), key=lambda g: -sum(r.runtime_s for r in g[1])
    )
    rows = [
        "| algorithm | attempts | runtime | share | a fit | forecast ÷ measured | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, own in groups[:_MOST_ROWS]:
        took = sum(r.runtime_s for r in own)
        done = [r.runtime_s for r in own if r.outcome is Outcome.SUCCEEDED]
        peak = max((r.peak_memory_bytes for r in own if r.peak_memory_bytes), default=None)
        rows.append(
            f"| {marked(name)} | {len(own)} | {span(took)} | {share(took / total)} | "
            f"{span(median(done))} | {factor(median(runtime_errors(own)))} | {size(peak)} |"
        )
    lost = totals(summary.records).get("total_runtime_s/lost", 0.0)
    waste = f"Attempts that came to nothing took {span(lost)}. " if lost else ""
    held = f"{wasted_gb_hours(summary.records):.3g} GB-hours of memory were held and not used."
    return "### Where time and memory went\n" + "\n".join(rows) + f"\n\n{waste}{held}"


def _failures(summary: Summary) -> str:
    failed = [
        r
        for r in summary.records
        if r.outcome is not Outcome.SUCCEEDED and r.outcome is not Outcome.CANCELLED
    ]
    if not failed:
        return ""
    why = Counter((algorithm_name(r), r.candidate, r.outcome, _reason(r)) for r in failed)
    rows = ["| candidate | attempts | outcome | why |", "|---|---|---|---|"]
    for (_, candidate, outcome, reason), count in why.most_common(_MOST_ROWS):
        rows.append(f"| {marked(candidate, 60)} | {count} | {outcome} | {marked(reason, 100)} |")
    more = len(why) - _MOST_ROWS
    rest = f"\n\nAnd {more} more; all are in `failures.txt`." if more > 0 else ""
    return "### What failed\n" + "\n".join(rows) + rest


def _reason(record: Record) -> str:
    if record.outcome is Outcome.OUT_OF_MEMORY:
        return f"needed more than {size(record.memory_limit_bytes)}"
    if record.outcome is Outcome.OUT_OF_TIME:
        return f"not done after {span(record.deadline_s or record.runtime_s)}"
    if record.outcome in _LOST:
        return "its worker was gone"
    return f"{record.error_type}: {record.error_message}".strip(": ")


def _files(summary: Summary) -> str:
    if not summary.records:
        return ""
    return (
        "Artifacts: `timeline.html` (which worker did what when), `forecast.html` (each fit's "
        "forecast beside what it took), `leaderboard.csv`, `fits.parquet`."
    )
