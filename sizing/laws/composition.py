"""What estimators cost that fit others: what those cost, times how often.

In: pipelines, column transformers, searches, ensembles, selections, any wrapper that nobody named.
Not in: the laws of single estimators (:mod:`fitcast.sizing.laws.single`), how what an estimator is
made of is found (the trainer).

An inner fit is the same law as any other's, on the rows, columns and classes that it gets. Where
how often it is done isn't known beforehand, the cost says how unsure it is.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fitcast.history.parts import EstimatorPart
from fitcast.sizing.laws.families import family_of
from fitcast.sizing.laws.features import Described, read_params
from fitcast.sizing.laws.law import Work, between, is_sparse
from fitcast.sizing.laws.passing import Passed, all_cells, all_rows, dense
from fitcast.sizing.laws.single import TRANSFORMERS, passed_by, short, work_of

_FOLDS = 5.0  # scikit-learn's default
_KEPT_SHARE = 0.3  # of what a member needs, while the next ones are fitted
_UNKNOWN_TIMES = 2.0  # inner fits of a wrapper that nobody named
_UNKNOWN_SD = 1.2
_SLICE_BYTES = 8.0  # a cell of the rows that an inner fit gets a copy of
_LEVELS = 3  # of wrappers in wrappers: each asks for a dozen inner fits. Deeper ones are guessed

Constants = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Composed:
    """What an estimator that is made of others costs."""

    work: Work
    leaf: Described  # the inner fit that costs the most: whose constants and errors it has


def composed(fit: Described, c: Constants) -> Composed:
    """Return what a fit costs by what it is made of.

    Parameters
    ----------
    fit
        Of an estimator with parts.
    c
        All constants.
    """
    assert fit.made_of is not None
    return _fitted(fit.made_of, fit, c, _LEVELS)


def described(part: EstimatorPart, data: Described) -> Described:
    """Return a part as a fit on the data that it gets."""
    params = dict(part.params)
    for name, count in part.counts:  # how many values a parameter has, where it isn't plain
        if count > 0:
            params[name] = count
    read = read_params(part.algorithm, (), params)
    family = family_of(
        part.algorithm,
        read.word("solver"),
        bases=part.bases,
        names=frozenset(read.numbers) | frozenset(read.words),
    )
    return replace(
        data,
        algorithm=part.algorithm,
        family=family,
        params=read,
        steps=(),
        made_of=part if part.parts else None,
    )


def _fitted(part: EstimatorPart, data: Described, c: Constants, levels: int) -> Composed:
    fit = described(part, data)
    inner = [one for one in part.parts if one.algorithm not in ("drop", "passthrough")]
    name = short(fit)
    if part.parts and any(one.role == "steps" for one in part.parts):
        return _piped(part.parts, data, c, levels)
    if not inner or (name in _BY_TREES and _all_trees(inner)):
        return Composed(work_of(fit, c), fit)
    if levels < 1:
        work = work_of(fit, c)
        return Composed(replace(work, rounds_log_sd=_joined(work, _UNKNOWN_SD)), fit)
    law = _WRAPPERS.get(name, _unknown)
    return law(_Inner(fit, inner, c, levels - 1))


@dataclass(frozen=True, slots=True)
class _Inner:
    """A wrapper with what it fits."""

    fit: Described  # the wrapper's own, with its parameters
    parts: Sequence[EstimatorPart]
    c: Constants
    levels: int

    def number(self, name: str, default: float, least: float = 1.0, most: float = 1e6) -> float:
        """Return a parameter of the wrapper's within bounds."""
        return between(self.fit.params.number(name, default=default), least, most)

    def folds(self) -> float:
        """Return its folds."""
        return self.number("cv", _FOLDS, 2.0, 1e4)

    def cost(self, part: EstimatorPart | None = None, **changed: float) -> Composed:
        """Return one inner fit: of a part, or the mean of those that stand for the estimator."""
        data = _resized(self.fit, **changed)
        # Cloning, checking and cutting out rows; scoring where it is tested on rows of its own.
        own: Mapping[str, float] = self.c["composition"]
        around_s = own["scored_fit_s"] if changed.get("rows_test") else own["fit_s"]

        def fitted(one: EstimatorPart) -> Composed:
            found = _fitted(one, data, self.c, self.levels)
            work = replace(found.work, serial_s=found.work.serial_s + around_s)
            return replace(found, work=work)

        if part is not None:
            return fitted(part)
        costs = [fitted(one) for one in self._estimators()]
        weights = [float(one.count) for one in self._estimators()]
        total = sum(weights)
        work = _sum([_times(one.work, w / total) for one, w in zip(costs, weights, strict=True)])
        largest = max(costs, key=lambda one: _seconds(one.work))
        most = max(one.work.memory_bytes for one in costs)
        return Composed(replace(work, memory_bytes=most), largest.leaf)

    def _estimators(self) -> list[EstimatorPart]:
        roles = ("estimator", "base_estimator", "regressor", "classifier")
        named = [one for one in self.parts if one.role in roles]
        return named or list(self.parts)


def _search(inner: _Inner) -> Composed:
    """Return settings × folds, and the best once more."""
    folds, rows = inner.folds(), inner.fit.rows_train
    settings = inner.number("n_iter", 0.0, 0.0)
    if settings < 1.0:
        settings = inner.number("param_grid", 1.0)
    name = short(inner.fit)
    one = inner.cost(rows_train=rows * (folds - 1.0) / folds, rows_test=rows / folds)
    times = settings * folds
    if name.startswith("Halving"):
        # Each rung costs about the same: fewer candidates on more rows. The last has few.
        factor = inner.number("factor", 3.0, 1.5, 1e3)
        rungs = max(1.0, math.log(max(settings, 2.0)) / math.log(factor))
        times = folds * (rungs + 1.0) * max(1.0, settings / factor**rungs)
    again = 0.0 if inner.fit.params.word("refit") == "False" else 1.0
    last = inner.cost()
    work = _sum([_times(one.work, times), _times(last.work, again)])
    held = max(one.work.memory_bytes, last.work.memory_bytes) + _slice(inner.fit)
    return _told(work, held, last.leaf, f"{times:,.0f} fits of a search: {last.work.text}")


def _eliminated(inner: _Inner) -> Composed:
    """Return fits on ever fewer columns; with folds, in each down to the least."""
    columns = inner.fit.columns
    by_folds = short(inner.fit) == "RFECV"
    step = inner.number("step", 1.0, 1e-6, 1e9)
    step = max(1.0, step * columns if step < 1.0 else step)
    wanted = inner.number("n_features_to_select", 0.5 * columns, 1e-6, columns)
    wanted = wanted * columns if wanted < 1.0 else wanted
    least = inner.number("min_features_to_select", 1.0, 1.0, columns) if by_folds else wanted
    rows = inner.fit.rows_train
    folds = inner.folds() if by_folds else 0.0
    whole = _path(inner, columns, least if not by_folds else columns / 2.0, step, rows, 0.0)
    works = [whole]
    if by_folds:
        share = rows * (folds - 1.0) / folds
        works.append(_times(_path(inner, columns, least, step, share, rows / folds), folds))
    last = inner.cost(columns=max(1.0, wanted))
    works.append(last.work)
    times = (1.0 + (columns - least) / step) * max(1.0, folds)
    held = inner.cost().work.memory_bytes + _slice(inner.fit)
    return _told(_sum(works), held, last.leaf, f"{times:,.0f} fits of {last.work.text}")


def _path(
    inner: _Inner, most: float, least: float, step: float, rows: float, tested: float
) -> Work:
    """Return fits on ever fewer columns: as many as there are steps, at five widths."""
    times = 1.0 + max(0.0, most - least) / step
    widths = [least + (most - least) * (i + 0.5) / 5.0 for i in range(5)]
    each = [inner.cost(columns=w, rows_train=rows, rows_test=tested).work for w in widths]
    return _times(_sum(each), times / 5.0)


def _sequential(inner: _Inner) -> Composed:
    """Return fits of which each step tries every column that is left, in folds."""
    columns, rows, folds = inner.fit.columns, inner.fit.rows_train, inner.folds()
    wanted = inner.number("n_features_to_select", 0.5 * columns, 1e-6, columns)
    wanted = max(1.0, wanted * columns if wanted < 1.0 else wanted)
    backward = inner.fit.params.word("direction") == "backward"
    rounds = max(1.0, columns - wanted if backward else wanted)
    works = []
    for i in range(5):
        done = rounds * (i + 0.5) / 5.0
        tried = columns - done
        width = tried if backward else done + 0.5
        share = rows * (folds - 1.0) / folds
        one = inner.cost(columns=max(1.0, width), rows_train=share, rows_test=rows / folds)
        works.append(_times(one.work, tried * folds * rounds / 5.0))
    one = inner.cost(columns=wanted)
    times = folds * rounds * (columns - rounds / 2.0)
    held = one.work.memory_bytes + _slice(inner.fit)
    return _told(_sum(works), held, one.leaf, f"{times:,.0f} fits of {one.work.text}")


def _stacked(inner: _Inner) -> Composed:
    """Return each on all rows and in folds; the last one on their answers."""
    folds, rows = inner.folds(), inner.fit.rows_train
    members = [one for one in inner.parts if one.role != "final_estimator"] or list(inner.parts)
    costs, works = [], []
    for one in members:
        whole = inner.cost(one)
        part = inner.cost(one, rows_train=rows * (folds - 1.0) / folds, rows_test=rows / folds)
        costs.append(whole)
        works += [_times(whole.work, one.count), _times(part.work, folds * one.count)]
    answers = sum(one.count for one in members) * max(1.0, inner.fit.classes - 1.0)
    if inner.fit.params.word("passthrough") == "True":
        answers += inner.fit.columns
    for one in inner.parts:
        if one.role == "final_estimator":
            data = dense(inner.fit, answers)
            works.append(_fitted(one, data, inner.c, inner.levels).work)
    return _together(works, costs, inner, f"{len(members)} models stacked in {folds:,.0f} folds")


def _voted(inner: _Inner) -> Composed:
    """Return each once."""
    costs = [inner.cost(one) for one in inner.parts]
    works = [_times(cost.work, one.count) for cost, one in zip(costs, inner.parts, strict=True)]
    return _together(works, costs, inner, f"{len(costs)} models that vote")


def _calibrated(inner: _Inner) -> Composed:
    """Return one in each fold, which all answer; or answers by folds and one on all rows."""
    folds, rows = inner.folds(), inner.fit.rows_train
    alone = inner.fit.params.word("ensemble") == "False"
    tested = rows / folds + (0.0 if alone else inner.fit.rows_test)
    one = inner.cost(rows_train=rows * (folds - 1.0) / folds, rows_test=tested)
    works = [_times(one.work, folds)] + ([inner.cost().work] if alone else [])
    return _together(works, [one], inner, f"{folds:,.0f} fits of {one.work.text}, calibrated")


def _tuned(inner: _Inner) -> Composed:
    """Return folds that tell the threshold, then all rows."""
    if short(inner.fit).startswith("Fixed"):
        return _once(inner)
    folds, rows = inner.folds(), inner.fit.rows_train
    one = inner.cost(rows_train=rows * (folds - 1.0) / folds, rows_test=rows / folds)
    thresholds = inner.number("thresholds", 100.0)
    scored_s = folds * thresholds * inner.c["composition"]["threshold_s"]
    works = [_times(one.work, folds), Work(scored_s, 0.0, 0.0, ""), inner.cost().work]
    return _together(works, [one], inner, f"{folds + 1.0:,.0f} fits of {one.work.text}")


def _one_against_rest(inner: _Inner) -> Composed:
    """Return one of two classes for each class."""
    classes = inner.fit.classes if inner.fit.classes > 2.0 else 1.0
    if short(inner.fit) == "OutputCodeClassifier":
        classes = max(1.0, inner.number("code_size", 1.5, 0.01) * inner.fit.classes)
    one = inner.cost(classes=2.0)
    works = [_times(one.work, classes)]
    return _together(works, [one], inner, f"{classes:,.0f} fits of {one.work.text}", classes)


def _one_against_one(inner: _Inner) -> Composed:
    """Return one for each pair of classes, on their rows; all answer for all tested rows."""
    classes = max(2.0, inner.fit.classes)
    pairs = classes * (classes - 1.0) / 2.0
    one = inner.cost(classes=2.0, rows_train=inner.fit.rows_train * 2.0 / classes)
    works = [_times(one.work, pairs)]
    return _together(works, [one], inner, f"{pairs:,.0f} fits of {one.work.text}", pairs)


def _many_targets(inner: _Inner) -> Composed:
    """Return one for each target: how many there are isn't told."""
    one = inner.cost()
    work = replace(_times(one.work, 3.0), rounds_log_sd=_joined(one.work, 0.7))
    return _together([work], [one], inner, f"a fit for each target: {one.work.text}", 3.0)


def _bagged(inner: _Inner) -> Composed:
    """Return members on all rows, some of weight 0; where weights aren't taken, on samples."""
    members = inner.number("n_estimators", 10.0)
    rows = inner.fit.rows_train
    share = inner.number("max_samples", 1.0, 1e-9, 1e9)
    share = share * rows if share <= 1.0 else share
    columns = inner.number("max_features", 1.0, 1e-9, inner.fit.columns)
    columns = columns * inner.fit.columns if columns <= 1.0 else columns
    weighted = any(_takes_weights(one) for one in inner.parts)
    one = inner.cost(rows_train=rows if weighted else min(share, rows), columns=max(1.0, columns))
    return _together(
        [_times(one.work, members)],
        [one],
        inner,
        f"{members:,.0f} fits of {one.work.text}",
        members,
    )


def _boosted(inner: _Inner) -> Composed:
    """Return rounds, each of which answers for its own rows, too."""
    rounds = inner.number("n_estimators", 50.0)
    one = inner.cost(rows_test=all_rows(inner.fit))
    works = [_times(one.work, rounds)]
    return _together(works, [one], inner, f"{rounds:,.0f} fits of {one.work.text}", rounds)


def _sampled(inner: _Inner) -> Composed:
    """Return small samples until one agrees with enough rows."""
    trials = inner.number("max_trials", 100.0)
    small = inner.cost(rows_train=max(2.0, inner.fit.columns + 1.0), rows_test=inner.fit.rows_train)
    works = [_times(small.work, trials / 2.0), inner.cost().work]
    works[0] = replace(works[0], rounds_log_sd=1.0)
    return _together(works, [small], inner, f"up to {trials:,.0f} fits of {small.work.text}")


def _once(inner: _Inner) -> Composed:
    """Return the inner estimator, once."""
    one = inner.cost()
    return _told(one.work, one.work.memory_bytes, one.leaf, one.work.text)


def _unknown(inner: _Inner) -> Composed:
    """Return a guess for a wrapper that nobody named: how often it fits isn't known."""
    costs = [inner.cost(one) for one in inner.parts]
    works = [_times(cost.work, one.count) for cost, one in zip(costs, inner.parts, strict=True)]
    known = "cv" in inner.fit.params.numbers
    work = _times(_sum(works), inner.folds() if known else _UNKNOWN_TIMES)
    work = replace(work, rounds_log_sd=_joined(work, _UNKNOWN_SD))
    name = short(inner.fit)[:60]
    return _together([work], costs, inner, f"fits inside {name}, as often as it likes")


def _together(
    works: list[Work], costs: Sequence[Composed], inner: _Inner, text: str, kept: float = 1.0
) -> Composed:
    """Return works done one after another, of which models are kept meanwhile."""
    largest = max(costs, key=lambda one: _seconds(one.work))
    memory = max(one.work.memory_bytes for one in costs)
    others = sum(one.work.memory_bytes for one in costs) - memory
    held = memory + _KEPT_SHARE * (others + max(0.0, kept - 1.0) * _grown(memory, inner.fit))
    return _told(_sum(works), held + _slice(inner.fit), largest.leaf, text)


def _grown(memory: float, fit: Described) -> float:
    """Return what of an inner fit's memory may be its model: no more than its data, or a part."""
    return min(memory, 0.5 * _SLICE_BYTES * fit.nonzeros)


def _piped(parts: Sequence[EstimatorPart], data: Described, c: Constants, levels: int) -> Composed:
    """Return a pipeline: each step passes its data on, the last one is fitted."""
    steps = [one for one in parts if one.role == "steps" and one.algorithm != "passthrough"]
    seconds = most = got = 0.0
    works: list[Work] = []
    for part in steps[:-1]:
        passed, inside = _passed(part, data, c, levels)
        works += inside
        seconds += passed.seconds
        most = max(most, got + passed.memory_bytes)
        data = passed.after
        got = 12.0 * data.nonzeros if is_sparse(data) else 8.0 * data.nonzeros
    if not steps:
        return Composed(Work(0.0, 0.0, most, "nothing"), data)
    last = _fitted(steps[-1], data, c, levels)
    work = _sum([*works, Work(seconds, 0.0, 0.0, ""), last.work])
    held = max(most, got + last.work.memory_bytes)
    return _told(work, held, last.leaf, last.work.text)


def _passed(
    part: EstimatorPart, data: Described, c: Constants, levels: int
) -> tuple[Passed, list[Work]]:
    """Return what a step costs and hands on, and the fits of estimators inside it."""
    if part.algorithm in ("passthrough", "drop"):
        return Passed(0.0, 0.0, data), []
    fit = described(part, data)
    name = short(fit)
    roles = {one.role for one in part.parts}
    if "steps" in roles:
        seconds = memory = 0.0
        works: list[Work] = []
        for one in part.parts:
            passed, inside = _passed(one, data, c, levels)
            seconds, memory = seconds + passed.seconds, max(memory, passed.memory_bytes)
            works += inside
            data = passed.after
        return Passed(seconds, memory, data), works
    if roles & {"transformers", "transformer_list"}:
        return _side_by_side(part, data, c, levels)
    if not part.parts or name in TRANSFORMERS or levels < 1:
        return passed_by(fit, c), []
    if name == "IterativeImputer":
        holed = data.columns if data.missing > 0.0 else 0.0
        times = holed * between(fit.params.number("max_iter", default=10.0), 1.0, 1e6)
    else:
        times = 0.0
    inner = _Inner(
        fit, [one for one in part.parts if one.algorithm != "passthrough"], c, levels - 1
    )
    law = _WRAPPERS.get(name, _once)
    cost = law(inner)
    work = _times(cost.work, times) if name == "IterativeImputer" else cost.work
    after = data
    if name in _SELECTING:
        default = 0.5 * data.columns
        wanted = fit.params.number("n_features_to_select", "max_features", default=default)
        wanted = wanted * data.columns if wanted < 1.0 else wanted
        columns = between(wanted, 1.0, data.columns)
        after = _resized(data, columns=columns)
    return Passed(0.0, cost.work.memory_bytes, after), [work]


def _side_by_side(
    part: EstimatorPart, data: Described, c: Constants, levels: int
) -> tuple[Passed, list[Work]]:
    """Return steps that each get some of the columns, or all, and whose columns are joined."""
    seconds = held = columns = nonzeros = 0.0
    works: list[Work] = []
    sparse = False
    for one in part.parts:
        if one.algorithm == "drop":
            continue
        passed, inside = _passed(one, _selected(one, data), c, levels)
        seconds += passed.seconds
        works += inside
        columns += passed.after.columns
        nonzeros += passed.after.nonzeros
        sparse = sparse or is_sparse(passed.after)
        held = max(held, passed.memory_bytes) + 8.0 * passed.after.nonzeros
    columns = max(1.0, columns)
    cells = data.rows_train * columns
    # A column transformer gives sparse data where less than 30 % of the whole are non-zeros.
    if not sparse or (nonzeros >= 0.3 * cells and short_name(part) == "ColumnTransformer"):
        after = dense(data, columns, like_normal=False)
        return Passed(seconds, held + 8.0 * cells, after), works
    after = replace(
        data, columns=columns, nonzeros=min(nonzeros, cells), data_bytes=12.0 * nonzeros
    )
    return Passed(seconds, held + 12.0 * nonzeros, after), works


def short_name(part: EstimatorPart) -> str:
    """Return the name of a part's class without its module."""
    return part.algorithm.rpartition(".")[2]


def _selected(part: EstimatorPart, data: Described) -> Described:
    """Return the columns that a step gets."""
    told = part.selected
    if told is None:
        return data
    columns = between(float(told.columns), 1.0, 1e9)
    distinct = told.distinct_values / columns if told.distinct_values else math.inf
    made = _resized(data, columns=columns)
    return replace(
        made,
        distinct=max(1.0, distinct),
        missing=between(told.missing_share, 0.0, 1.0),
        text_chars=told.text_chars,
    )


def _resized(data: Described, **changed: float) -> Described:
    """Return data of other rows, columns or classes; what it holds stays as dense, as wide."""
    rows = between(changed.get("rows_train", data.rows_train), 1.0, 1e13)
    columns = between(changed.get("columns", data.columns), 1.0, 1e13)
    tested = between(changed.get("rows_test", data.rows_test), 0.0, 1e13)
    share = rows / data.rows_train * columns / data.columns
    whole = (rows + tested) / max(1.0, all_rows(data)) * columns / data.columns
    return replace(
        data,
        rows_train=rows,
        rows_test=tested,
        columns=columns,
        nonzeros=max(1.0, data.nonzeros * share),
        data_bytes=data.data_bytes * whole,
        classes=min(changed.get("classes", data.classes), data.classes),
    )


def _seconds(work: Work) -> float:
    return work.serial_s + work.parallel_s


def _slice(fit: Described) -> float:
    """Return the bytes of the copy that an inner fit gets of its rows."""
    return _SLICE_BYTES * all_cells(fit)


def _times(work: Work, times: float) -> Work:
    return replace(
        work,
        serial_s=work.serial_s * times,
        parallel_s=work.parallel_s * times,
        threading_s=work.threading_s * times,
    )


def _sum(works: Sequence[Work]) -> Work:
    total = sum(_seconds(one) for one in works)
    # Errors that all share don't even out: their parts of the whole add up.
    unsure = sum(one.rounds_log_sd * _seconds(one) for one in works)
    return Work(
        serial_s=sum(one.serial_s for one in works),
        parallel_s=sum(one.parallel_s for one in works),
        memory_bytes=max((one.memory_bytes for one in works), default=0.0),
        text=works[-1].text if works else "",
        threading_s=sum(one.threading_s for one in works),
        rounds_log_sd=unsure / total if total > 0.0 else 0.0,
        rounds_bytes=max((one.rounds_bytes for one in works), default=0.0),
    )


def _told(work: Work, memory: float, leaf: Described, text: str) -> Composed:
    return Composed(replace(work, memory_bytes=memory, text=text), leaf)


def _joined(work: Work, sd: float) -> float:
    return math.hypot(work.rounds_log_sd, sd)


def _takes_weights(part: EstimatorPart) -> bool:
    return short_name(part) not in _WITHOUT_WEIGHTS and not part.parts


def _all_trees(parts: Sequence[EstimatorPart]) -> bool:
    return all(short_name(part).startswith(("DecisionTree", "ExtraTree")) for part in parts)


_BY_TREES = frozenset({"BaggingClassifier", "BaggingRegressor"})
_WITHOUT_WEIGHTS = frozenset(
    (
        *("KNeighborsClassifier", "KNeighborsRegressor", "MLPClassifier", "MLPRegressor"),
        *("LinearDiscriminantAnalysis", "QuadraticDiscriminantAnalysis", "Lars", "LassoLars"),
        *("GaussianProcessClassifier", "GaussianProcessRegressor", "PLSRegression"),
    )
)
_SELECTING = frozenset({"RFE", "RFECV", "SelectFromModel", "SequentialFeatureSelector"})

_WRAPPERS: dict[str, Callable[[_Inner], Composed]] = {
    "GridSearchCV": _search,
    "RandomizedSearchCV": _search,
    "HalvingGridSearchCV": _search,
    "HalvingRandomSearchCV": _search,
    "SizedSearchCV": _search,
    "RFE": _eliminated,
    "RFECV": _eliminated,
    "SequentialFeatureSelector": _sequential,
    "SelectFromModel": _once,
    "StackingClassifier": _stacked,
    "StackingRegressor": _stacked,
    "VotingClassifier": _voted,
    "VotingRegressor": _voted,
    "CalibratedClassifierCV": _calibrated,
    "TunedThresholdClassifierCV": _tuned,
    "FixedThresholdClassifier": _tuned,
    "OneVsRestClassifier": _one_against_rest,
    "OutputCodeClassifier": _one_against_rest,
    "OneVsOneClassifier": _one_against_one,
    "MultiOutputClassifier": _many_targets,
    "MultiOutputRegressor": _many_targets,
    "ClassifierChain": _many_targets,
    "RegressorChain": _many_targets,
    "BaggingClassifier": _bagged,
    "BaggingRegressor": _bagged,
    "AdaBoostClassifier": _boosted,
    "AdaBoostRegressor": _boosted,
    "RANSACRegressor": _sampled,
    "TransformedTargetRegressor": _once,
    "SelfTrainingClassifier": _once,
    "FrozenEstimator": _once,
}
