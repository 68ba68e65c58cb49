"""What notebooks show of forecasts and workflows: HTML with a small picture in it.

Pure: from tables to text. Whatever users named is escaped. Not in here: pages of a workflow in
MLflow (:mod:`fitcast.history.review`).
"""

import html
import math
from collections.abc import Callable, Sequence
from typing import Final

import pandas as pd

from fitcast.scheduler.forecast.eta import span

_MOST_ROWS: Final = 20
_MOST_BARS: Final = 2_000
_WIDTH: Final = 560
_LABELS: Final = 190
_ROW: Final = 18
_COLOURS: Final = {
    "succeeded": "#009e73", "failed": "#000000", "out_of_memory": "#c00000",
    "out_of_time": "#7b2d8b", "running": "#56b4e9",
}  # fmt: skip


def intervals(candidates: pd.DataFrame) -> str:
    """Return a picture of the runtime that is forecast for each candidate: P10 to P90, and P50."""
    rows = candidates.head(_MOST_ROWS)
    names = ("runtime_s_p10", "runtime_s_p50", "runtime_s_p90")
    values = [v for n in names for v in rows[n] if math.isfinite(v) and v > 0]
    if not values:
        return ""
    low, high = math.log10(min(values)), math.log10(max(values))

    def at(seconds: float) -> float:
        part = (math.log10(max(seconds, min(values))) - low) / ((high - low) or 1.0)
        return _LABELS + 8 + part * (_WIDTH - _LABELS - 90)

    parts = []
    for number, row in enumerate(rows.to_dict("records")):
        y = _ROW * number + _ROW // 2
        p10, p50, p90 = (at(row[n]) for n in names)
        parts.append(_label(str(row["candidate"]), y))
        parts.append(
            f'<line x1="{p10:.1f}" x2="{p90:.1f}" y1="{y}" y2="{y}" stroke="#0072b2" '
            'stroke-width="6" stroke-opacity="0.35"/>'
            f'<circle cx="{p50:.1f}" cy="{y}" r="4" fill="#0072b2"/>'
            f'<text x="{p90 + 7:.1f}" y="{y + 4}">{html.escape(span(row["runtime_s_p50"]))}</text>'
        )
    more = len(candidates) - len(rows)
    return _svg(parts, len(rows), f"{more:,} more candidates" if more > 0 else "")


def timeline(fits: pd.DataFrame) -> str:
    """Return a picture of which worker did what when."""
    begun = fits[fits["started_at"].notna()].head(_MOST_BARS)
    if begun.empty:
        return ""
    starts = pd.to_datetime(begun["started_at"], utc=True)
    ends = pd.to_datetime(begun["ended_at"], utc=True)
    now = max(starts.max(), ends.max()) if ends.notna().any() else starts.max()
    ends = ends.fillna(now)
    first = starts.min()
    whole_s = max((now - first).total_seconds(), 1e-3)
    workers = {w: n for n, w in enumerate(dict.fromkeys(begun["worker"].astype(str)))}
    workers = {w: n for w, n in workers.items() if n < _MOST_ROWS}
    scale = (_WIDTH - _LABELS - 20) / whole_s
    parts = [_label(f"worker {n + 1}", _ROW * n + _ROW // 2) for n in workers.values()]
    for row, start, end in zip(begun.to_dict("records"), starts, ends, strict=True):
        if (lane := workers.get(str(row["worker"]))) is None:
            continue
        x = _LABELS + 8 + scale * (start - first).total_seconds()
        wide = max(1.0, scale * (end - start).total_seconds())
        # of one that isn't over there is none: None, "" or, in a column of texts, NaN
        outcome = row["outcome"] if row["outcome"] in _COLOURS else row["state"]
        told = html.escape(f"{row['candidate']}, fold {row['fold']}: {outcome}")
        parts.append(
            f'<rect x="{x:.1f}" y="{_ROW * lane + 3}" width="{wide:.1f}" height="{_ROW - 6}" '
            f'fill="{_COLOURS.get(str(outcome), "#999999")}" fill-opacity="0.75" '
            f'stroke="white" stroke-width="0.5"><title>{told}</title></rect>'
        )
    return _svg(parts, len(workers), f"0 to {span(whole_s)}")


def table(frame: pd.DataFrame, columns: dict[str, Callable[[float], str] | None]) -> str:
    """Return some columns of a table as HTML; ``None`` shows a value as text."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = []
    for row in frame.head(_MOST_ROWS).to_dict("records"):
        cells = (str(row[n]) if say is None else say(row[n]) for n, say in columns.items())
        body.append("<tr>" + "".join(f"<td>{html.escape(c[:200])}</td>" for c in cells) + "</tr>")
    more = len(frame) - _MOST_ROWS
    rest = f"<p>{more:,} more rows</p>" if more > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>{rest}"


def block(title: str, *parts: str) -> str:
    """Return HTML with a title; the parts are HTML, the title is text."""
    return f"<div><b>{html.escape(title)}</b>{''.join(parts)}</div>"


def mib(size_bytes: float) -> str:
    """Return bytes in MiB; ``-`` for NaN."""
    return "-" if math.isnan(size_bytes) else f"{size_bytes / 2**20:,.0f} MiB"


def _label(text: str, y: int) -> str:
    short = text if len(text) <= 28 else text[:27] + "…"
    return (
        f'<text x="{_LABELS}" y="{y + 4}" text-anchor="end">{html.escape(short)}'
        f"<title>{html.escape(text)}</title></text>"
    )


def _svg(parts: Sequence[str], rows: int, below: str) -> str:
    height = _ROW * rows + 18
    foot = f'<text x="{_LABELS + 8}" y="{height - 4}" fill="#777">{html.escape(below)}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" style="display:block;background:white" '
        f'font-family="sans-serif" font-size="11">{"".join(parts)}{foot}</svg>'
    )
