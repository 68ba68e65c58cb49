"""Records and workflows to test the history with; strategies that make any of them."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from fitcast.history.parts import EstimatorPart, Selected
from fitcast.history.records import REFIT_FOLD, Estimate, Outcome, Record, Request
from fitcast.history.store import AttemptLog, WorkflowEnd, WorkflowHistory, WorkflowRun

START = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def estimate(**changes) -> Estimate:
    values = {
        "threads": 2,
        "runtime_s_p10": 1.0,
        "runtime_s_p50": 2.0,
        "runtime_s_p90": 4.0,
        "peak_memory_bytes_p50": 10**8,
        "peak_memory_bytes_p95": 2 * 10**8,
        "failure_probability": 0.01,
        "why": "2 s: forest of 100 trees",
    }
    return Estimate(**values | changes)


def record(workflow_id="w1", candidate=0, fold=0, attempt=1, **changes) -> Record:
    values = {
        "record_id": f"{workflow_id}-c{candidate}-f{fold}-a{attempt}",
        "workflow_id": workflow_id,
        "workflow_name": "flights",
        "dataset": "0123456789abcdef",
        "candidate": f"xgb max_depth={candidate}",
        "candidate_index": candidate,
        "fold": fold,
        "attempt": attempt,
        "request": Request(
            algorithm="xgboost.sklearn.XGBClassifier",
            params={"max_depth": candidate, "eta": 0.3, "booster": "gbtree", "gpu": None},
            rows_train=4000,
            rows_test=1000,
            columns=20,
            nonzeros=80_000,
            data_bytes=800_000,
            dtype="float64",
            target="binary",
            classes=2,
        ),
        "estimate": estimate(),
        "outcome": Outcome.SUCCEEDED,
        "runtime_s": 1.5 + fold,
        "cpu_s": 1.4,
        "peak_memory_bytes": 150_000_000,
        "base_memory_bytes": 100_000_000,
        "memory_limit_bytes": 10**9,
        "deadline_s": None,
        "pool": "local",
        "worker": "w0",
        "host": "here",
        "started_at": START + timedelta(seconds=10 * candidate + fold),
        "ended_at": START + timedelta(seconds=10 * candidate + fold + 1),
        "scores": {"score": 0.9 + fold / 100},
        "versions": {"python": "3.11", "xgboost": "2.1"},
    }
    return Record(**values | changes)


def failed(workflow_id="w1", candidate=0, fold=0, **changes) -> Record:
    values = {
        "outcome": Outcome.FAILED,
        "scores": {},
        "error_type": "ValueError",
        "error_message": "no good",
    }
    return record(workflow_id, candidate, fold, **values | changes)


def sweep(workflow_id="w1", candidates=2, folds=3) -> tuple[Record, ...]:
    fits = [record(workflow_id, c, f) for c in range(candidates) for f in range(folds)]
    return (*fits, record(workflow_id, 0, REFIT_FOLD, scores={}))


def run(workflow_id="w1", **changes) -> WorkflowRun:
    values = {
        "workflow_id": workflow_id,
        "name": "flights",
        "started_at": START,
        "tags": {"team": "delays"},
        "params": {"cv": 3, "scoring": "roc_auc"},
    }
    return WorkflowRun(**values | changes)


def end(state="succeeded", **metrics) -> WorkflowEnd:
    return WorkflowEnd(state=state, ended_at=START + timedelta(minutes=5), summary_metrics=metrics)


def workflow(workflow_id="w1", records=None, logs=(), ended=True) -> WorkflowHistory:
    return WorkflowHistory(
        run=run(workflow_id),
        records=tuple(sweep(workflow_id) if records is None else records),
        logs={entry.record_id: entry for entry in logs},
        end=end(eta_p50_s=12.5) if ended else None,
    )


def failure_log(of: Record) -> AttemptLog:
    return AttemptLog(
        record_id=of.record_id,
        stdout="printed line\n",
        stderr="complaint ünïcode\n",
        warnings=("ConvergenceWarning: not yet",),
        traceback='Traceback (most recent call last):\n  File "x.py"\nValueError: no good\n',
    )


# Any text that UTF-8 can hold; names and ids are often odd
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
whole = st.integers(0, 2**63 - 1)
numbers = st.floats(allow_nan=False)
times = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
param_values = st.none() | st.booleans() | texts | st.integers(-(2**70), 2**70) | numbers

selected = st.builds(
    Selected,
    columns=whole,
    distinct_values=whole,
    categorical_columns=whole,
    missing_share=numbers,
    text_chars=numbers,
    text_words=numbers,
)


def parts_around(inner):
    return st.builds(
        EstimatorPart,
        algorithm=texts,
        role=texts,
        name=texts,
        bases=st.lists(texts, max_size=2).map(tuple),
        params=st.dictionaries(texts, param_values, max_size=3).map(lambda d: tuple(d.items())),
        counts=st.dictionaries(texts, st.integers(-1, 2**53), max_size=2).map(
            lambda d: tuple(d.items())
        ),
        count=st.integers(1, 10**6),
        selected=st.none() | selected,
        parts=st.lists(inner, max_size=3).map(tuple),
        unlisted=st.integers(0, 10**6),
        silent=st.booleans(),
    )


parts = st.recursive(st.builds(EstimatorPart, algorithm=texts), parts_around, max_leaves=6)
requests = st.builds(
    Request,
    algorithm=texts,
    steps=st.lists(texts, max_size=3).map(tuple),
    params=st.dictionaries(texts, param_values, max_size=5),
    rows_train=whole,
    rows_test=whole,
    columns=whole,
    nonzeros=whole,
    data_bytes=whole,
    dtype=texts,
    target=texts,
    classes=whole,
    threads=whole,
    made_of=st.none() | parts,
    targets=whole,
    memory_order=st.sampled_from(["", "C", "F"]),
    integer_columns=whole,
    arrow_columns=whole,
    text_columns=whole,
    text_chars=numbers,
    text_words=numbers,
)
estimates = st.builds(
    Estimate,
    threads=whole,
    runtime_s_p10=numbers,
    runtime_s_p50=numbers,
    runtime_s_p90=numbers,
    peak_memory_bytes_p50=whole,
    peak_memory_bytes_p95=whole,
    failure_probability=numbers,
    runtime_log_sd_algorithm=numbers,
    runtime_log_sd_candidate=numbers,
    runtime_log_sd_fit=numbers,
    parallel_fraction=numbers,
    like_records=whole,
    why=texts,
)
records = st.builds(
    Record,
    record_id=texts,
    workflow_id=texts,
    workflow_name=texts,
    dataset=texts,
    candidate=texts,
    candidate_index=st.integers(0, 10**6),
    fold=st.integers(-1, 1000),
    attempt=st.integers(1, 9),
    request=requests,
    estimate=st.none() | estimates,
    outcome=st.sampled_from(Outcome),
    runtime_s=numbers,
    cpu_s=numbers,
    peak_memory_bytes=whole,
    base_memory_bytes=whole,
    memory_limit_bytes=whole,
    deadline_s=st.none() | numbers,
    pool=texts,
    worker=texts,
    host=texts,
    started_at=times,
    ended_at=times,
    scores=st.dictionaries(texts, numbers, max_size=4),
    error_type=texts,
    error_message=texts,
    versions=st.dictionaries(texts, texts, max_size=4),
)
