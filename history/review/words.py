"""Numbers and names as people read them, safe in Markdown and HTML.

In here: spans of time, sizes, shares, and the escaping of whatever users named. Not in here: what
is said with them (:mod:`fitcast.history.review.description`).
"""

import html
import math
import re

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~])")
_GIB = 2**30
_MIB = 2**20


def span(seconds: float) -> str:
    """Return a duration as people write it; ``-`` for what isn't known."""
    if not math.isfinite(seconds):
        return "-"
    for limit, unit, name in ((1.0, 0.001, "ms"), (90, 1, "s"), (5400, 60, "min")):
        if seconds < limit:
            value = seconds / unit
            return f"{value:.0f} {name}" if value >= 10 or unit < 1 else f"{value:.1f} {name}"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def size(count: float | None) -> str:
    """Return a size in bytes as people write it; ``-`` for what isn't known."""
    if count is None or not math.isfinite(count):
        return "-"
    return f"{count / _GIB:.2f} GiB" if count >= _GIB else f"{count / _MIB:.0f} MiB"


def share(value: float) -> str:
    """Return a share as per cent; ``-`` for what isn't known."""
    return f"{100 * value:.0f} %" if math.isfinite(value) else "-"


def factor(log_error: float) -> str:
    """Return a difference of logarithms as the factor between forecast and measured."""
    times = ratio(log_error)
    return f"{times:.2f} ×" if math.isfinite(times) else "-"


def ratio(log_error: float) -> float:
    """Return a difference of logarithms as a factor; infinity if it is beyond all numbers."""
    try:
        return math.exp(log_error)
    except OverflowError:
        return math.inf


def number(value: float) -> str:
    """Return a score as people write it."""
    return f"{value:.4g}" if math.isfinite(value) else "-"


def marked(text: str, limit: int = 120) -> str:
    """Return what a user named as Markdown that shows it and does nothing else."""
    line = " ".join(text.split())
    line = line if len(line) <= limit else line[: limit - 1] + "…"
    # A space of no width keeps addresses from becoming links
    line = html.escape(line, quote=False).replace("://", ":\u200b//").replace("www.", "www\u200b.")
    return _MARKDOWN.sub(r"\\\1", line)


def in_html(text: str, limit: int = 200) -> str:
    """Return a text as HTML that shows it, within quotes too."""
    return html.escape(text if len(text) <= limit else text[: limit - 1] + "…")
