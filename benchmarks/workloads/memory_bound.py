"""Fits of which two large ones don't fit into the memory at hand together.

Random features of a kernel, then a linear model: cheap in CPU, and the matrix of features is as
large as the number of features asks. fitcast gets a pool of the limit. Peers know no limit of the
whole: they run as ever, watched, and what they took is set against it; a worker limit is the most
that Dask offers.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pandas as pd
from sklearn.datasets import make_classification
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks import peers
from benchmarks.judging import Row
from benchmarks.report import Goal, Report
from benchmarks.side_by_side import (
    OURS,
    Taken,
    Told,
    Way,
    Work,
    rows_of,
    score_note,
    side_by_side,
)
from benchmarks.watching import Peak, watched
from fitcast.history.records import Outcome
from fitcast.scheduler.backends.local import LocalBackend
from fitcast.scheduler.backends.machine import usable_cpus
from fitcast.scheduler.plan.pools import Pool
from fitcast.scheduler.session.workflow import Workflow

ROWS = 40_000
FOLDS = 3
REPEATS = 3
COMPONENTS = (100, 200, 400, 800, 1_600, 2_400, 3_200, 4_000)
LIMIT_BYTES = 1_600_000_000
CORES = 2
WARM = f"{OURS}, warm"


def task(quick: bool) -> peers.Task:
    """Return the candidates; a tenth of the rows if it must be quick."""
    X, y = make_classification(ROWS // 10 if quick else ROWS, 20, n_informative=8, random_state=0)
    pipeline = make_pipeline(
        StandardScaler(),
        RBFSampler(gamma=0.05, random_state=0),
        SGDClassifier(max_iter=5, tol=None, random_state=0),
    )
    components = COMPONENTS[6:] if quick else COMPONENTS
    grid = {"rbfsampler__n_components": list(components)}
    return peers.Task({"rbf": (pipeline, grid)}, X, y, cv=2 if quick else FOLDS)


def run(quick: bool, repeats: int = REPEATS) -> Report:
    """Run it all ways."""
    of = task(quick)
    limit_bytes = LIMIT_BYTES // 5 if quick else LIMIT_BYTES
    ways = [
        _watched(peers.one_after_the_other(of)),
        _watched(peers.one_grid_search(of, "GridSearchCV(n_jobs=-1)")),
        _watched(
            peers.dask_joblib(
                of,
                "Dask's joblib backend, limit shared out",
                memory_limit=max(limit_bytes // CORES, 400_000_000),
            )
        ),
        fitcast(of, limit_bytes, warm=False),
        fitcast(of, limit_bytes, warm=True),
    ]
    if quick:  # what starts workers of its own takes its time, and the warm one does all
        ways = [ways[1], ways[4]]
    taken = side_by_side(ways, 1 if quick else repeats)
    rows = [_with_limit(row, limit_bytes) for row in rows_of(taken, CORES)]
    warm = next(one for one in taken if one.way.name == WARM)
    over_bound = [told.more["over bound"] for told in warm.told]
    ended = [told.more["out of memory"] for told in warm.told]
    return Report(
        f"Memory-bound: {of.candidates} candidates × {of.cv} folds, {len(of.X):,} rows, "
        f"{limit_bytes / 1e9:.2f} GB",
        {"Side by side": rows},
        [
            Goal(
                "attempts out of memory, warm, in all repeats",
                sum(ended) if ended else math.nan,
                most=0,
                form="{:.0f}",
            ),
            Goal(
                "makespan over the bound, warm, at the worst",
                max(over_bound, default=math.nan),
                most=1.15,
            ),
        ],
        [
            score_note(taken),
            "took GB: of all processes below this one, above their level when idle and warm; "
            "one after the other runs in this process and isn't seen",
            "bound: the largest of CPU time / cores, memory × time / limit, the longest fit",
            *_exceeded(taken, limit_bytes),
        ],
    )


def bound_s(fits: pd.DataFrame, cores: int, memory_bytes: float) -> float:
    """Return the least that any schedule of these fits takes.

    Parameters
    ----------
    fits : DataFrame
        With ``runtime_s``, ``threads``, ``peak_memory_bytes``.
    cores : int
        How many there are.
    memory_bytes : float
        What all that runs together may take.
    """
    runtime_s = fits["runtime_s"]
    of_cores = float((runtime_s * fits["threads"]).sum()) / cores
    of_memory = float((runtime_s * fits["peak_memory_bytes"]).sum()) / memory_bytes
    return max(of_cores, of_memory, float(runtime_s.max()))


def fitcast(of: peers.Task, limit_bytes: int, *, warm: bool) -> Way:
    """Fitcast in a pool of the limit, before and after it has seen the sweep once."""

    @contextmanager
    def opened() -> Iterator[Work]:
        cpus = min(CORES, usable_cpus())
        backend = LocalBackend([Pool("small-memory", cpus=cpus, memory_bytes=limit_bytes)])
        with peers.client(backend) as client:
            if warm:
                peers.finish(client, of.sweep("seen before"))
                peers.settle(client)
            with watched() as peak:
                yield lambda: partial(
                    _told, peers.finish(client, of.sweep("memory-bound")), limit_bytes, peak
                )

    return Way(WARM if warm else f"{OURS}, cold", opened, is_peer=False)


def _told(workflow: Workflow, limit_bytes: int, peak: Peak) -> Told:
    told = peers.told_by_workflow(workflow)
    attempts = [record.outcome for record in workflow.records]
    return replace(
        told,
        more={
            "attempts": float(len(attempts)),
            "out of memory": float(attempts.count(Outcome.OUT_OF_MEMORY)),
            "over bound": workflow.took_s / bound_s(workflow.fits, CORES, limit_bytes),
            "took GB": peak.peak_bytes / 1e9,
        },
    )


def _watched(way: Way) -> Way:
    """Let a way tell the memory that it took."""

    @contextmanager
    def opened() -> Iterator[Work]:
        with way.opened() as work, watched() as peak:

            def watched_work() -> partial[Told]:
                return partial(_with_peak, work(), peak)

            yield watched_work

    return Way(way.name, opened)


def _with_peak(tell: Callable[[], Told], peak: Peak) -> Told:
    told = tell()
    return replace(told, more={"took GB": peak.peak_bytes / 1e9})


def _with_limit(row: Row, limit_bytes: int) -> Row:
    if row.get("took GB"):
        row |= {"limit GB": limit_bytes / 1e9, "of the limit": row["took GB"] * 1e9 / limit_bytes}
    return row


def _exceeded(taken: list[Taken], limit_bytes: int) -> list[str]:
    notes = []
    for one in taken:
        over = sum(told.more["took GB"] * 1e9 > limit_bytes for told in one.told)
        if over:
            notes.append(f"{one.way.name}: above the limit in {over} of {len(one.told)} runs")
    return notes
