"""What tests of the plan are made of."""

from fitcast.history.records import Estimate
from fitcast.scheduler.plan.events import Submitted

MIB = 2**20


def estimate(runtime_s=1.0, memory=100 * MIB, *, parallel=0.0, sd=0.1, p95_ratio=1.0):
    """Return a forecast; its quantiles of runtime lie a fifth to either side."""
    return Estimate(
        threads=1,
        runtime_s_p10=runtime_s * 0.8,
        runtime_s_p50=runtime_s,
        runtime_s_p90=runtime_s * 1.2,
        peak_memory_bytes_p50=memory,
        peak_memory_bytes_p95=round(memory * p95_ratio),
        failure_probability=0.01,
        runtime_log_sd_fit=sd,
        parallel_fraction=parallel,
    )


def submitted(*estimates, name="w", **kwargs):
    """Return a workflow of these fits, called f0, f1 …"""
    named = {f"f{number}": one for number, one in enumerate(estimates)}
    return Submitted(
        workflow_id=name,
        estimates=named,
        **({"dataset_bytes": 0, "process_start_s": 0.03, "sealed": True} | kwargs),
    )
