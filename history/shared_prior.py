"""Records that teams may exchange: what fits cost, without names and without values.

In: which fields of a record may be told, the file of them, and reading it as evidence. Not in:
where a history keeps records (:mod:`fitcast.history.store`), what a model makes of them (the sizing
room).

What isn't known to be harmless isn't told. Numbers that a cost depends on stay: sizes, runtimes,
bytes, numeric hyper-parameters whose names scikit-learn and the boosting packages use. Texts stay
only if they are of a vocabulary written down here. Everything else becomes empty or a random name.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pyarrow as pa

from fitcast.errors import HistoryError
from fitcast.history.codec import read_parquet, write_parquet
from fitcast.history.records import SHARED_POOL, Outcome, ParamValue, Record, Request
from fitcast.history.store import HistoryStore, WorkflowEnd, WorkflowHistory, WorkflowRun

_NAME: Final = "shared prior"
_TELLING: Final = frozenset({Outcome.SUCCEEDED, Outcome.OUT_OF_MEMORY, Outcome.OUT_OF_TIME})
_PACKAGES: Final = ("sklearn", "xgboost", "lightgbm", "catboost", "imblearn", "skorch")
_PATH: Final = re.compile(rf"({'|'.join(_PACKAGES)})(\.[A-Za-z_][A-Za-z0-9_]*)+")
_VERSION: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){0,3}")
_NUMBERS: Final = re.compile(r"[\[(][0-9eE+\-., ]{0,80}[\])]")  # "(100, 50)", of layers
_MOST_DIGITS: Final = 3
_MOST_PER_ALGORITHM: Final = 2_000  # as many as a model learns from
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_DTYPES: Final = frozenset(
    (
        *("mixed", "object", "bool", "float16", "float32", "float64"),
        *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    )
)
_TARGETS: Final = frozenset(("binary", "multiclass", "regression", "multioutput", "none"))

_PARAMS_TEXT: Final = """
C Cs activation algorithm alpha alphas average bagging_fraction bagging_freq balanced batch_size
beta_1 beta_2 booster boosting_type boot bootstrap bootstrap_features border_count cache_size
class_weight coef0 colsample_bylevel colsample_bynode colsample_bytree criterion cv
decision_function_shape degree depth device device_type dual early_stopping early_stopping_round
early_stopping_rounds encode epochs eps epsilon eta eta0 extra_trees feature_fraction
fit_intercept fit_prior gamma grow_policy handle_unknown hidden_layer_sizes include_bias
interaction_only iterations kernel knots l1_ratio l2_leaf_reg l2_regularization lambda_l1
lambda_l2 leaf_size learning_rate learning_rate_init link_function loss max_bin max_bins
max_cat_threshold max_categories max_delta_step max_depth max_epochs max_features max_iter
max_leaf_nodes max_leaves max_samples metric min_child_samples min_child_weight min_data_in_leaf
min_impurity_decrease min_samples_leaf min_samples_split min_split_gain momentum multi_class
n_alphas n_bins n_components n_estimators n_init n_iter_no_change n_knots n_neighbors
n_nonzero_coefs n_quantiles n_restarts_optimizer norm nu num_leaves num_parallel_tree objective
od_wait oob_score p penalty power power_t probability radius random_strength reg_alpha
reg_lambda reg_param rsm scale_pos_weight selection shrinkage shrinking shuffle solver
sparse_output splitter strategy subsample subsample_for_bin subsample_freq svd_solver tol
tree_method validation_fraction var_smoothing warm_start weights whiten with_mean with_std
"""
_PARAMS: Final = frozenset(_PARAMS_TEXT.split())
"""Names of hyper-parameters, without the prefix of a step, whose numbers may be told."""

_WORDS_TEXT: Final = """
False None True absolute_error adam adaptive approx arpack auto balanced balanced_subsample
ball_tree best binary box-cox brute cholesky constant cosine covariance_eigh cpu crammer_singer
cyclic dart depthwise distance drop eigen elasticnet entropy epsilon_insensitive error euclidean
exact exponential friedman_mse full gamma gbdt gblinear gbtree gini goss hinge hist huber
identity ignore infrequent_if_exist invscaling kd_tree l1 l2 lbfgs liblinear linear log2
log_loss logistic lossguide lsqr manhattan mean median minkowski modified_huber most_frequent
multiclass multinomial newton-cg newton-cholesky newton-lsmr onehot onehot-dense optimal ordinal
ovo ovr perceptron poisson poly precomputed quantile random randomized rbf regression relu rf
sag saga sgd sigmoid sparse_cg sqrt squared_error squared_hinge svd tanh uniform yeo-johnson
"""
_WORDS: Final = frozenset(_WORDS_TEXT.split())
"""Words of hyper-parameters that may be told."""

_UNKNOWN_STEP: Final = "unknown.Step"


def anonymous(records: Iterable[Record]) -> list[Record]:
    """Return what may be told of records, oldest first; those that tell nothing are left out.

    Only fits of known packages' classes are told. Datasets, workflows and candidates get random
    names, new ones each time, so that two files can't be laid beside each other. Times of day are
    replaced by the order.
    """
    salt = secrets.token_bytes(16)
    kept = [r for r in records if r.outcome in _TELLING and not r.imported and _is_public(r)]
    kept = _newest(sorted(kept, key=lambda r: (r.ended_at, r.record_id)))
    return [_anonymous(record, number, salt) for number, record in enumerate(kept)]


def export(records: Iterable[Record], path: Path) -> int:
    """Write what may be told of records to a Parquet file; return of how many.

    Raises
    ------
    HistoryError
        The file can't be written, or nothing may be told.
    """
    told = anonymous(records)
    if not told:
        raise HistoryError(
            "nothing was written: the history has no finished fits of "
            f"{', '.join(_PACKAGES)} yet, and others aren't shared"
        )
    try:
        write_parquet(told, path)
    except OSError as error:
        raise HistoryError(f"{path} can't be written: {error.strerror or error}") from error
    return len(told)


def read_shared(path: Path) -> list[Record]:
    """Return the records of a file that another team exported.

    Whatever the file says besides what may be told isn't taken over: a file is a stranger's.

    Raises
    ------
    HistoryError
        It isn't such a file.
    """
    try:
        found = read_parquet(path)
    except (OSError, pa.ArrowException) as error:
        raise HistoryError(
            f"{path} can't be read as a file of `fitcast history export`: {error}"
        ) from error
    return anonymous(found)


def import_shared(path: Path, store: HistoryStore) -> int:
    """Save another team's records in our own history; the same file again adds nothing.

    Raises
    ------
    HistoryError
        The file can't be read or has nothing in it, or the history can't be used.
    """
    records = read_shared(path)
    if not records:
        raise HistoryError(f"{path} has no records of fits that this fitcast can learn from")
    digest = hashlib.blake2b(path.read_bytes(), digest_size=6).hexdigest()
    workflow_id = f"shared-{digest}"
    now = datetime.now(UTC)
    store.prepare()
    store.save(
        WorkflowHistory(
            run=WorkflowRun(workflow_id=workflow_id, name=_NAME, started_at=now),
            records=tuple(_named(records, workflow_id, now)),
            end=WorkflowEnd(state="succeeded", ended_at=now),
        )
    )
    return len(records)


def _named(records: Sequence[Record], workflow_id: str, now: datetime) -> list[Record]:
    """Return records as those of one workflow, in which each algorithm is a candidate."""
    indices: dict[str, int] = {}
    folds: dict[str, int] = {}
    named = []
    for number, record in enumerate(records):
        algorithm = record.request.algorithm
        folds[algorithm] = folds.get(algorithm, -1) + 1
        # When they ran nobody knows; in training, what is new is what ended last
        at = now - timedelta(microseconds=len(records) - number)
        named.append(
            replace(
                record,
                record_id=f"{workflow_id}-{number}",
                workflow_id=workflow_id,
                workflow_name=_NAME,
                candidate=algorithm.rpartition(".")[2],
                candidate_index=indices.setdefault(algorithm, len(indices)),
                fold=folds[algorithm],
                started_at=at,
                ended_at=at,
            )
        )
    return named


def _newest(records: Sequence[Record]) -> list[Record]:
    """Return the newest of each algorithm, in the order given."""
    counts: dict[str, int] = {}
    kept = []
    for record in reversed(records):
        counts[record.request.algorithm] = counts.get(record.request.algorithm, 0) + 1
        if counts[record.request.algorithm] <= _MOST_PER_ALGORITHM:
            kept.append(record)
    return kept[::-1]


def _is_public(record: Record) -> bool:
    return _PATH.fullmatch(record.request.algorithm) is not None


def _anonymous(record: Record, number: int, salt: bytes) -> Record:
    def hidden(kind: str, text: str) -> str:
        return hashlib.blake2b(f"{kind} {text}".encode(), key=salt, digest_size=8).hexdigest()

    at = _EPOCH + timedelta(seconds=number)
    return Record(
        record_id=hidden("record", record.record_id),
        workflow_id=hidden("workflow", record.workflow_id),
        workflow_name="",
        dataset=hidden("dataset", record.dataset),
        candidate=hidden("candidate", f"{record.workflow_id} {record.candidate}"),
        candidate_index=record.candidate_index,
        fold=record.fold,
        attempt=record.attempt,
        request=_shape_only(record.request),
        estimate=None,
        outcome=record.outcome,
        runtime_s=_rounded(record.runtime_s),
        cpu_s=None if record.cpu_s is None else _rounded(record.cpu_s),
        peak_memory_bytes=record.peak_memory_bytes,
        base_memory_bytes=record.base_memory_bytes,
        memory_limit_bytes=record.memory_limit_bytes,
        deadline_s=record.deadline_s,
        pool=SHARED_POOL,
        worker="",
        host="",
        started_at=at,
        ended_at=at,
        machine_speed=record.machine_speed,
        shared_s=_rounded(record.shared_s),
        cpu_wait_s=None if record.cpu_wait_s is None else _rounded(record.cpu_wait_s),
    )


def _shape_only(request: Request) -> Request:
    version = request.library_version
    return Request(
        algorithm=request.algorithm,
        steps=tuple(step if _PATH.fullmatch(step) else _UNKNOWN_STEP for step in request.steps),
        params=_public_params(request),
        rows_train=_about(request.rows_train),
        rows_test=_about(request.rows_test),
        columns=_about(request.columns),
        nonzeros=_about(request.nonzeros),
        data_bytes=_about(request.data_bytes),
        dtype=request.dtype if request.dtype in _DTYPES else "mixed",
        target=request.target if request.target in _TARGETS else "none",
        classes=request.classes,
        threads=request.threads,
        distinct_values=_about(request.distinct_values),
        categorical_columns=request.categorical_columns,
        missing_share=round(request.missing_share, 2),
        scale_decades=round(request.scale_decades, 1),
        condition_decades=round(request.condition_decades, 1),
        correlation_decades=round(request.correlation_decades, 1),
        bases=tuple(base for base in request.bases if _PATH.fullmatch(base)),
        library_version=version if _VERSION.fullmatch(version) else "",
    )


def _public_params(request: Request) -> dict[str, ParamValue]:
    """Return the hyper-parameters that may be told; a step's with a number for its name."""
    classes = {step.rpartition(".")[2] for step in request.steps if _PATH.fullmatch(step)}
    # The flattened parameters name each step, as its user called it, with its class.
    steps = [n for n, v in request.params.items() if "__" not in n and v in classes]
    numbered = {name: f"step{number}" for number, name in enumerate(steps)}
    told: dict[str, ParamValue] = {numbered[name]: request.params[name] for name in steps}
    for name, value in request.params.items():
        step, _, own = name.rpartition("__")
        if own in _PARAMS and (not step or step in numbered) and _may_be_told(value):
            told[f"{numbered[step]}__{own}" if step else own] = value
    return told


def _may_be_told(value: ParamValue) -> bool:
    if isinstance(value, str):
        return value in _WORDS or _NUMBERS.fullmatch(value) is not None
    return True


def _about(size: int) -> int:
    """Return a size to three digits: how many rows exactly may tell which data it was."""
    digits = len(str(abs(size)))
    return round(size, _MOST_DIGITS - digits) if digits > _MOST_DIGITS else size


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.4g}")
