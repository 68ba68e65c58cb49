"""What must hold, whatever was killed: for a workflow, and for what a client leaves behind."""

import math
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
from sklearn.datasets import make_classification
from sklearn.model_selection import StratifiedKFold, cross_val_score

from fitcast import Client
from fitcast.history.records import Outcome
from fitcast.scheduler.session.workflow import Workflow
from tests.fault.estimators import Lingers
from tests.leases import leases_of

MARK = np.float64(np.random.default_rng().random())
"""A number that is in every row of the data, and whose bytes may be in no file."""

X, Y = make_classification(400, 6, random_state=0)
X = np.hstack([X, np.full((len(X), 1), MARK)])
SPLITS = 4


def true_scores(depth: int, splits: int = SPLITS) -> list[float]:
    """Return what scikit-learn gives, undisturbed."""
    folds = StratifiedKFold(splits)
    return list(cross_val_score(Lingers(depth=depth), X, Y, cv=folds))


def check_whole(client: Client, workflow: Workflow, accepted: int) -> None:
    """Check that no fit was lost, doubled or given another's score."""
    fits = workflow.fits
    assert len(fits) == accepted
    assert fits["fit_id"].is_unique
    assert set(fits["state"]) == {"done"}
    assert fits["outcome"].notna().all()
    failed = fits[fits["outcome"] != "succeeded"]
    assert (failed["error"].fillna("").str.len() > 10).all(), failed["error"].tolist()
    assert fits[fits["attempts"] > 0]["ended_at"].notna().all()
    records = workflow.records
    assert len({record.record_id for record in records}) == len(records)
    tries = Counter((r.candidate_index, r.fold, r.attempt) for r in records)
    assert max(tries.values()) == 1
    results = Counter(
        (r.candidate_index, r.fold) for r in records if r.outcome is Outcome.SUCCEEDED
    )
    assert set(results.values()) <= {1}
    assert results.total() == (fits["outcome"] == "succeeded").sum()
    check_scores(workflow)


def check_scores(workflow: Workflow) -> None:
    """Check that every fit that succeeded has the score of an undisturbed one."""
    run = workflow._run
    for row in run.view().rows.values():
        if row.outcome is Outcome.SUCCEEDED and row.fit.fold >= 0:
            assert row.measured is not None
            params = row.fit.candidate.params
            wanted = true_scores(params.get("depth", 2), run.submission.n_splits)[row.fit.fold]
            (score,) = row.measured.scores.values()
            assert math.isclose(score, wanted, rel_tol=1e-12), (row.fit.fit_id, score, wanted)


def holding_mark(*roots: Path) -> list[Path]:
    """Return the files below these folders in which the data can be read.

    Others make and remove files and folders there at the same time.
    """
    found = []
    for root in roots:
        for folder, _, names in os.walk(root):  # which passes over folders that are gone meanwhile
            for path in (Path(folder, name) for name in names):
                with suppress(OSError):  # gone meanwhile
                    if path.is_file() and MARK.tobytes() in path.read_bytes():
                        found.append(path)
    return found


def leases() -> set[Path]:
    """Return what clients of this process keep in memory-backed folders."""
    return leases_of(os.getpid())


def our_shared_memory() -> set[str]:
    """Return the anonymous memory files of ours that this process holds."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if "memfd:fitcast" in target:
            found.add(target)
    return found


def listening() -> set[int]:
    """Return the ports on which this process and those below it listen."""
    ports: set[int] = set()
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        try:
            connections = process.net_connections(kind="inet")
        except psutil.Error:
            continue
        ports |= {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}
    return ports
