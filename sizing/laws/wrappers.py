"""How often an estimator that is made of others fits them, and on what.

In: a rule per wrapper of scikit-learn's, one for those that nobody named. Not in: what a single fit
costs, transformers and pipelines (:mod:`fitcast.sizing.laws.composition`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from fitcast.history.parts import EstimatorPart
from fitcast.sizing.laws.bills import Bill, along, copied_bytes, sized, together
from fitcast.sizing.laws.features import Described, Params, params_of_part
from fitcast.sizing.laws.law import Constants, between

_UNKNOWN_COUNT = 0.9  # standard deviation of the logarithm of a count that isn't known before
_GUESSED_COUNT = 0.6  # of one that a parameter suggests
_EARLY_END = 0.5  # of one that is often not reached
_SETTINGS = ("param_grid", "param_distributions", "search_spaces")


class Costing(Protocol):
    """What rules ask: a part's cost on other data."""

    c: Constants

    def fit(self, part: EstimatorPart, data: Described) -> Bill:
        """Return the cost of fitting a part on the rows that train, and predicting the others."""

    @property
    def points(self) -> int:
        """At how many points a long path is looked at."""


@dataclass(frozen=True, slots=True)
class WrapperOnData:
    """A wrapper, on data."""

    costing: Costing
    part: EstimatorPart
    params: Params
    data: Described
    name: str

    def inner(self, *roles: str) -> list[EstimatorPart]:
        """Return the parts that some parameters hold; all estimators if none are named."""
        return [part for part in self.part.parts if not roles or part.role in roles]

    def number(self, name: str, default: float, most: float = 1e12) -> float:
        """Return a count that a parameter says."""
        return between(self.params.number(name, default=default), 0.0, most)

    def share_of(self, name: str, whole: float, default: float) -> float:
        """Return a number of things, told as a number or a share of all; shares are floats."""
        value = self.params.number(name, default=default)
        if value <= 0.0:
            value = default
        raw = dict(self.part.params).get(name)
        # 1.0 is all of them, 1 is one of them.
        is_share = isinstance(raw, float) and value <= 1.0
        return between(value * whole if is_share else value, 1.0, whole)

    def folds(self, name: str = "cv", default: float = 5.0) -> tuple[float, float]:
        """Return how many folds there are, and how unsure that is."""
        told = self.params.numbers.get(name)
        if told is not None and told >= 2.0:
            return between(told, 2.0, 1e9), 0.0
        splitter = self.params.word(name)
        if splitter == "LeaveOneOut":
            return self.data.rows_train, 0.0
        return default, 0.0 if splitter in ("None", "") else _GUESSED_COUNT

    def fold(self, folds: float, *, also: float = 0.0, columns: float | None = None) -> Described:
        """Return the data of one fold: the rows that train it, and those that it is scored on."""
        tested = self.data.rows_train / folds
        return sized(
            self.data, rows=self.data.rows_train - tested, tests=tested + also, columns=columns
        )

    def whole(
        self, *, columns: float | None = None, classes: float | None = None, tested: bool = True
    ) -> Described:
        """Return all rows."""
        tests = self.data.rows_test if tested else 0.0
        return sized(self.data, tests=tests, columns=columns, classes=classes)

    def fit(self, part: EstimatorPart, data: Described) -> Bill:
        """Return the cost of one inner fit."""
        return self.costing.fit(part, data)

    def mean(self, parts: list[EstimatorPart], data: Described) -> Bill:
        """Return the mean cost of parts that stand for many, as a search's settings."""
        counts = [max(1, part.count) for part in parts]
        whole = sum(counts)
        bills = [
            self.fit(part, data).times(count / whole)
            for part, count in zip(parts, counts, strict=True)
        ]
        return together(bills)

    def each(self, parts: list[EstimatorPart], data: Described, *, kept: bool = True) -> Bill:
        """Return the cost of fitting each, with those that aren't listed."""
        bill = together(self.fit(part, data).times(max(1, part.count), kept=kept) for part in parts)
        listed = sum(max(1, part.count) for part in parts)
        if self.part.unlisted and listed:
            bill = bill.times(1.0 + self.part.unlisted / listed, kept=kept).more(unsure=0.3)
        return bill

    @property
    def score_s(self) -> float:
        """Seconds that one scoring takes."""
        return self.costing.c["score_s"]


Rule = Callable[[WrapperOnData], Bill]


def _eliminating(asked: WrapperOnData, data: Described, wanted: float, *, scored: bool) -> Bill:
    """Return the cost of fits with fewer and fewer columns, from all down to as many as wanted."""
    step = asked.share_of("step", data.columns, 1.0)
    fits = 1.0 + math.ceil(max(0.0, data.columns - wanted) / step)
    tests = data.rows_test if scored else 0.0
    bills = [
        asked.mean(asked.inner(), sized(data, tests=tests, columns=columns)).times(count)
        for columns, count in along(data.columns, wanted, fits, asked.costing.points)
    ]
    scores_s = fits * asked.score_s if scored else 0.0
    return together(bills).more(seconds=scores_s, memory=copied_bytes(data))


def elimination(asked: WrapperOnData) -> Bill:
    """Return the cost of leaving columns out step by step (RFE)."""
    columns = asked.data.columns
    wanted = asked.share_of("n_features_to_select", columns, math.ceil(columns / 2.0))
    path = _eliminating(asked, asked.whole(tested=False), wanted, scored=False)
    last = asked.mean(asked.inner(), asked.whole(columns=wanted))
    fits = 1.0 + math.ceil((columns - wanted) / asked.share_of("step", columns, 1.0))
    return together([path, last]).more(text=f"{asked.name}: {_told(fits, last)}")


def validated_elimination(asked: WrapperOnData) -> Bill:
    """Return the cost of the same in each fold, down to the least, and once more (RFECV)."""
    folds, unsure = asked.folds()
    least = asked.number("min_features_to_select", 1.0)
    each = _eliminating(asked, asked.fold(folds), max(1.0, least), scored=True)
    columns = asked.data.columns
    # As many as scored best: it isn't known before.
    chosen = max(1.0, least, columns / 2.0)
    last = _eliminating(asked, asked.whole(tested=False), chosen, scored=False)
    fits = 1.0 + math.ceil((columns - least) / asked.share_of("step", columns, 1.0))
    bill = together([each.times(folds), last])
    text = f"{asked.name}: {folds:,.0f} × {_told(fits, each)}"
    return bill.more(unsure=math.hypot(unsure, 0.1), text=text)


def sequential_selection(asked: WrapperOnData) -> Bill:
    """Return the cost of adding or leaving out one column at a time: each other one is tried."""
    columns = asked.data.columns
    folds, unsure = asked.folds()
    wanted = asked.share_of("n_features_to_select", columns, math.ceil(columns / 2.0))
    if asked.params.word("n_features_to_select") == "auto" and "tol" in asked.params.numbers:
        unsure = _UNKNOWN_COUNT  # until it no longer improves
    forward = asked.params.word("direction", "forward") == "forward"
    rounds = wanted if forward else columns - wanted
    bills = []
    for number, count in along(0.0, rounds - 1.0, rounds, asked.costing.points):
        width = number + 1.0 if forward else columns - number - 1.0
        one = asked.mean(asked.inner(), asked.fold(folds, columns=max(1.0, width)))
        tried = columns - number
        bills.append(one.more(seconds=asked.score_s).times(count * tried * folds))
    tried = rounds * (columns - (rounds - 1.0) / 2.0)
    bill = together(bills)
    text = f"{asked.name}: {tried:,.0f} × {_told(folds, bill)}"
    return bill.more(memory=copied_bytes(asked.data), unsure=unsure, text=text)


def once(asked: WrapperOnData) -> Bill:
    """Return the cost of fitting what is inside once, on all rows."""
    bill = asked.each(asked.inner(), asked.whole())
    return bill.more(text=f"{asked.name}: {bill.text}" if bill.text else "")


def stacking(asked: WrapperOnData) -> Bill:
    """Return the cost of fitting each on all rows and in folds, and one on their answers."""
    folds, unsure = asked.folds()
    members = asked.inner("estimators")
    count = sum(max(1, part.count) for part in members)
    whole = asked.each(members, asked.whole())
    bills = [whole]
    if asked.params.word("cv") != "prefit":
        bills.append(
            asked.each(members, asked.fold(folds), kept=False)
            .times(folds)
            .more(memory=copied_bytes(asked.data))
        )
    answers = count * (asked.data.classes if asked.data.classes > 2.0 else 1.0)
    if asked.params.word("passthrough") == "True":
        answers += asked.data.columns
    last = sized(asked.data, tests=asked.data.rows_test, columns=answers)
    bills += [asked.fit(part, last) for part in asked.inner("final_estimator")]
    text = f"{asked.name}: {1.0 + folds:,.0f} × {count:,.0f} fits, such as of {whole.text}"
    return together(bills).more(unsure=unsure, text=text)


def calibration(asked: WrapperOnData) -> Bill:
    """Return the cost of a model per fold, each of which predicts, and their calibration."""
    folds, unsure = asked.folds()
    classes = asked.data.classes if asked.data.classes > 2.0 else 1.0
    rows_s = asked.costing.c["calibrated_row_s"] * asked.data.rows_train * classes
    if asked.params.word("cv") == "prefit":
        return once(asked).more(seconds=rows_s)
    in_folds = asked.params.word("ensemble", "auto") != "False"
    fold = asked.fold(folds, also=asked.data.rows_test if in_folds else 0.0)
    each = asked.each(asked.inner(), fold)
    bills = [each.times(folds, kept=in_folds)]
    if not in_folds:
        bills.append(asked.each(asked.inner(), asked.whole()))
    text = f"{asked.name}: {_told(folds, each)}"
    return together(bills).more(
        seconds=rows_s, memory=copied_bytes(asked.data), unsure=unsure, text=text
    )


def one_vs_rest(asked: WrapperOnData) -> Bill:
    """Return the cost of a model of two classes for each class."""
    count = _models_of_classes(asked)
    return _of_two_classes(asked, count, asked.data.rows_train, 1.0)


def one_vs_one(asked: WrapperOnData) -> Bill:
    """Return the cost of a model for each pair of classes, on their rows; all predict twice."""
    classes = max(2.0, asked.data.classes)
    pairs = classes * (classes - 1.0) / 2.0
    return _of_two_classes(asked, pairs, 2.0 * asked.data.rows_train / classes, 2.0)


def output_code(asked: WrapperOnData) -> Bill:
    """Return the cost of a model of two classes for each digit of the classes' code."""
    classes = max(2.0, asked.data.classes)
    digits = max(1.0, math.floor(classes * asked.number("code_size", 1.5)))
    return _of_two_classes(asked, digits, asked.data.rows_train, 1.0)


def _of_two_classes(asked: WrapperOnData, count: float, rows: float, answers: float) -> Bill:
    tests = answers * asked.data.rows_test
    one = asked.each(asked.inner(), sized(asked.data, rows=rows, tests=tests, classes=2.0))
    held = copied_bytes(sized(asked.data, rows=rows)) if rows < asked.data.rows_train else 0.0
    text = f"{asked.name}: {_told(count, one)}"
    return one.times(count, kept=True).more(memory=held, text=text)


def _models_of_classes(asked: WrapperOnData) -> float:
    if asked.data.targets > 1.0:
        return asked.data.targets
    return asked.data.classes if asked.data.classes > 2.0 else 1.0


def per_output(asked: WrapperOnData) -> Bill:
    """Return the cost of a model for each column of the target."""
    data, unsure = _of_one_output(asked)
    one = asked.each(asked.inner(), data)
    count = max(1.0, asked.data.targets)
    text = f"{asked.name}: {_told(count, one)}"
    return one.times(count, kept=True).more(unsure=unsure, text=text)


def chain_of_outputs(asked: WrapperOnData) -> Bill:
    """Return the cost of a model for each column of the target, which the next one gets as well."""
    data, unsure = _of_one_output(asked)
    count = max(1.0, asked.data.targets)
    columns = asked.data.columns
    folds = asked.params.numbers.get("cv", 0.0)
    bills = []
    text = ""
    for width, number in along(columns, columns + count - 1.0, count, asked.costing.points):
        wide = sized(data, tests=data.rows_test, columns=width)
        one = asked.each(asked.inner(), wide)
        text = text or one.text
        bills.append(one.times(number, kept=True))
        if folds >= 2.0:
            bills.append(asked.each(asked.inner(), wide).times(number * folds))
    bill = together(bills)
    return bill.more(
        memory=copied_bytes(asked.data), unsure=unsure, text=f"{asked.name}: {_told(count, bill)}"
    )


def _of_one_output(asked: WrapperOnData) -> tuple[Described, float]:
    classifies = "Classifier" in asked.name
    # How many classes each has isn't known; most often two.
    data = sized(asked.data, tests=asked.data.rows_test, classes=2.0 if classifies else 0.0)
    return data, 0.2 if classifies else 0.0


def bagging(asked: WrapperOnData) -> Bill:
    """Return the cost of as many models, each on drawn rows: by weights, where it takes any."""
    count = asked.number("n_estimators", 10.0)
    rows = asked.share_of("max_samples", asked.data.rows_train, 1.0)
    if "max_samples" not in asked.params.numbers:
        rows = asked.data.rows_train
    columns = asked.share_of("max_features", asked.data.columns, 1.0)
    if "max_features" not in asked.params.numbers:
        columns = asked.data.columns
    if asked.params.word("bootstrap", "True") != "False":
        drawn = rows / asked.data.rows_train
        seen = asked.data.rows_train * (1.0 - math.exp(-drawn))
    else:
        seen = rows
    inner = asked.inner()
    passes = any(_takes_weights_as_passes(part) for part in inner)
    if any(_takes_no_weights(part) for part in inner):
        seen = rows
    elif passes:
        seen = asked.data.rows_train  # rows of weight 0 are passed over, and not for nothing
    tests = asked.data.rows_test
    if asked.params.word("oob_score") == "True":
        tests += asked.data.rows_train
    one = asked.each(inner, sized(asked.data, rows=seen, tests=tests, columns=columns))
    held = copied_bytes(sized(asked.data, rows=seen, columns=columns))
    text = f"{asked.name}: {_told(count, one)}"
    return one.times(count, kept=True).more(memory=held, text=text)


def _short(part: EstimatorPart) -> str:
    return part.algorithm.rpartition(".")[2]


_NO_WEIGHTS = ("KNeighbors", "RadiusNeighbors", "MLP", "GaussianProcess", "Pipeline", "Lars")
_BY_ROWS = ("DecisionTree", "ExtraTree", "RandomForest", "SVC", "SVR", "NuSV", "GradientBoosting")


def _takes_no_weights(part: EstimatorPart) -> bool:
    return _short(part).startswith(_NO_WEIGHTS) or "LinearDiscriminant" in part.algorithm


def _takes_weights_as_passes(part: EstimatorPart) -> bool:
    """Return whether rows of weight 0 cost as much as others: trees and SVM leave them out."""
    return not _short(part).startswith(_BY_ROWS)


def adaptive_boosting(asked: WrapperOnData) -> Bill:
    """Return the cost of models one after the other, each of which predicts the rows it learned."""
    count = asked.number("n_estimators", 50.0)
    tests = asked.data.rows_train + asked.data.rows_test
    one = asked.each(asked.inner(), sized(asked.data, tests=tests))
    text = f"{asked.name}: up to {_told(count, one)}"
    # It ends early where a model makes no error, or too many.
    return one.times(count, kept=True).more(unsure=_EARLY_END, text=text)


def tuned_threshold(asked: WrapperOnData) -> Bill:
    """Return the cost of a model per fold, of scoring thresholds, and of a model on all rows."""
    folds, unsure = asked.folds()
    if asked.params.word("cv") == "prefit":
        folds = 1.0
    thresholds = asked.number("thresholds", 100.0)
    fold = asked.fold(folds) if folds > 1.0 else asked.whole()
    each = asked.each(asked.inner(), fold, kept=False)
    row_s = asked.costing.c["scored_row_s"]
    scoring_s = folds * thresholds * (asked.score_s + row_s * fold.rows_test)
    last = asked.each(asked.inner(), asked.whole())
    bill = together([each.times(folds), last])
    text = f"{asked.name}: {_told(folds + 1.0, each)}"
    return bill.more(seconds=scoring_s, memory=copied_bytes(asked.data), unsure=unsure, text=text)


def self_training(asked: WrapperOnData) -> Bill:
    """Return the cost of models on more and more rows; how many are labelled isn't known."""
    most = asked.number("max_iter", 10.0)
    rounds = max(1.0, min(most if most >= 1.0 else 10.0, 5.0))
    rows = 0.7 * asked.data.rows_train
    each = asked.each(
        asked.inner(), sized(asked.data, rows=rows, tests=asked.data.rows_train), kept=False
    )
    last = asked.each(asked.inner(), sized(asked.data, rows=rows, tests=asked.data.rows_test))
    text = f"{asked.name}: up to {_told(most + 1.0, each)}"
    return together([each.times(rounds), last]).more(unsure=_UNKNOWN_COUNT, text=text)


def random_consensus(asked: WrapperOnData) -> Bill:
    """Return the cost of models on few rows until one fits most rows, and one on those."""
    trials = asked.number("max_trials", 100.0)
    few = asked.share_of("min_samples", asked.data.rows_train, asked.data.columns + 1.0)
    one = asked.each(
        asked.inner(), sized(asked.data, rows=few, tests=asked.data.rows_train), kept=False
    )
    last = asked.each(asked.inner(), asked.whole())
    text = f"{asked.name}: up to {_told(trials, one)}"
    bill = one.times(max(1.0, 0.5 * trials))
    return together([bill, last]).more(unsure=_UNKNOWN_COUNT, text=text)


def nothing(asked: WrapperOnData) -> Bill:
    """Return the cost of predicting with what is fitted already."""
    return Bill(text="a model that is fitted already")


def search(asked: WrapperOnData) -> Bill:
    """Return the cost of each setting in each fold, and of the best one on all rows."""
    folds, unsure = asked.folds()
    settings, unknown = _settings(asked)
    unsure = math.hypot(unsure, unknown)
    each = _scored(asked, asked.fold(folds))
    bills = [each.times(settings * folds)]
    if asked.params.word("refit", "True") != "False":
        bills.append(asked.mean(asked.inner("estimator"), asked.whole()))
    text = f"{asked.name}: {settings:,.0f} × {_told(folds, each)}"
    return together(bills).more(memory=copied_bytes(asked.data), unsure=unsure, text=text)


def halving(asked: WrapperOnData) -> Bill:
    """Return the cost of fewer and fewer settings on more and more rows."""
    folds, unsure = asked.folds()
    factor = between(asked.params.number("factor", default=3.0), 1.1, 1e6)
    classes = max(1.0, asked.data.classes)
    rows = asked.data.rows_train
    smallest = min(rows, 2.0 * folds * classes)
    settings, unknown = _settings(asked)
    least = asked.params.numbers.get("min_resources", smallest)
    if "n_candidates" in asked.params.numbers:
        settings = max(1.0, asked.number("n_candidates", 10.0))
    elif asked.params.word("n_candidates") == "exhaust":
        settings, unknown = max(1.0, rows // max(1.0, least)), 0.0
    needed = 1.0 + math.floor(math.log(max(1.0, settings), factor) + 1e-9)
    if asked.params.word("min_resources") == "exhaust":
        least = max(smallest, rows / factor ** (needed - 1.0))
    possible = 1.0 + math.floor(math.log(max(1.0, rows / between(least, 1.0, rows)), factor))
    rounds = int(between(min(needed, possible), 1.0, 40.0))
    if asked.params.word("resource", "n_samples") != "n_samples":
        unsure, least = _UNKNOWN_COUNT, rows  # of something else there is less
    bills = []
    for number in range(rounds):
        part_of = between(least * factor**number, 1.0, rows)
        tested = part_of / folds
        each = _scored(asked, sized(asked.data, rows=part_of - tested, tests=tested))
        bills.append(each.times(math.ceil(settings / factor**number) * folds))
    if asked.params.word("refit", "True") != "False":
        bills.append(asked.mean(asked.inner("estimator"), asked.whole()))
    bill = together(bills)
    text = f"{asked.name}: {settings:,.0f} settings, {rounds} rounds, {_told(folds, bill)}"
    unsure = math.hypot(unsure, unknown)
    return bill.more(memory=copied_bytes(asked.data), unsure=unsure, text=text)


def _scored(asked: WrapperOnData, fold: Described) -> Bill:
    if asked.params.word("return_train_score") == "True":
        fold = sized(fold, tests=fold.rows_test + fold.rows_train)
    return asked.mean(asked.inner("estimator"), fold).more(seconds=asked.score_s)


def _settings(asked: WrapperOnData) -> tuple[float, float]:
    """Return how many settings a search tries, and how unsure that is."""
    told = asked.params.numbers.get("n_iter")
    counted = [count for name, count in asked.part.counts if name in _SETTINGS]
    if told is not None:
        most = min((count for count in counted if count >= 0), default=told)
        return between(min(told, most), 1.0, 1e15), 0.0
    if counted and counted[0] >= 0:
        return max(1.0, float(counted[0])), 0.0
    return 10.0, _UNKNOWN_COUNT


def unnamed(asked: WrapperOnData) -> Bill:
    """Return the cost of a wrapper that nobody named, by what its parameters suggest."""
    count = asked.params.number("n_estimators", "n_iter", "n_splits", default=1.0)
    count = between(count, 1.0, 1e9)
    folds = 0.0
    if "cv" in asked.params.numbers or asked.params.word("cv") not in ("", "None"):
        folds, _ = asked.folds()
    whole = asked.each(asked.inner(), asked.whole())
    bills = [whole.times(count, kept=True)]
    if folds >= 2.0:
        bills.append(asked.each(asked.inner(), asked.fold(folds), kept=False).times(folds * count))
    fits = count * (1.0 + folds)
    text = f"{asked.name}, of whose fits the number isn't known, of {whole.text}"
    unsure = _UNKNOWN_COUNT if fits == 1.0 else _GUESSED_COUNT
    return together(bills).more(memory=copied_bytes(asked.data), unsure=unsure, text=text)


def _told(count: float, bill: Bill) -> str:
    return f"{count:,.0f} {'fit' if count == 1.0 else 'fits'} of {bill.text}"


RULES: Mapping[str, Rule] = {
    "RFE": elimination,
    "RFECV": validated_elimination,
    "SequentialFeatureSelector": sequential_selection,
    "SelectFromModel": once,
    "StackingClassifier": stacking,
    "StackingRegressor": stacking,
    "VotingClassifier": once,
    "VotingRegressor": once,
    "TransformedTargetRegressor": once,
    "CalibratedClassifierCV": calibration,
    "OneVsRestClassifier": one_vs_rest,
    "OneVsOneClassifier": one_vs_one,
    "OutputCodeClassifier": output_code,
    "MultiOutputClassifier": per_output,
    "MultiOutputRegressor": per_output,
    "ClassifierChain": chain_of_outputs,
    "RegressorChain": chain_of_outputs,
    "BaggingClassifier": bagging,
    "BaggingRegressor": bagging,
    "AdaBoostClassifier": adaptive_boosting,
    "AdaBoostRegressor": adaptive_boosting,
    "TunedThresholdClassifierCV": tuned_threshold,
    "FixedThresholdClassifier": once,
    "SelfTrainingClassifier": self_training,
    "RANSACRegressor": random_consensus,
    "FrozenEstimator": nothing,
    "GridSearchCV": search,
    "RandomizedSearchCV": search,
    "HalvingGridSearchCV": halving,
    "HalvingRandomSearchCV": halving,
}


def asked_of(costing: Costing, part: EstimatorPart, data: Described) -> WrapperOnData:
    """Return a wrapper with what is read of its parameters."""
    return WrapperOnData(costing, part, params_of_part(part), data, _short(part)[:60])


def rule_of(part: EstimatorPart) -> Rule:
    """Return the rule of a wrapper: by its class, else by the nearest that it derives from."""
    paths = (part.algorithm, *part.bases)
    known = (RULES.get(path.rpartition(".")[2]) for path in paths)
    return next((rule for rule in known if rule is not None), unnamed)
