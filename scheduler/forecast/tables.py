"""What a table of fits shows of their forecasts."""

from typing import Any

from fitcast.history.records import Estimate


def forecast_cells(estimate: Estimate) -> dict[str, Any]:
    """Return the forecast's columns of a table of fits."""
    return {
        "runtime_s_p10": estimate.runtime_s_p10,
        "runtime_s_p50": estimate.runtime_s_p50,
        "runtime_s_p90": estimate.runtime_s_p90,
        "peak_memory_bytes_p50": estimate.peak_memory_bytes_p50,
        "peak_memory_bytes_p95": estimate.peak_memory_bytes_p95,
        "failure_probability": estimate.failure_probability,
        "why": estimate.why,
    }
