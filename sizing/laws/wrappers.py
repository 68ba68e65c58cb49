"""How often an estimator that is made of others fits them, and on what.

In: a rule per wrapper of scikit-learn's, one for those that nobody named, which rule is whose. Not
in: searches (:mod:`fitcast.sizing.laws.searches`), what a single fit costs, transformers and
pipelines (:mod:`fitcast.sizing.laws.composition`).
"""

import math
from collections.abc import Mapping

from fitcast.history.parts import EstimatorPart
from fitcast.sizing.laws.asking import (
    GUESSED_COUNT,
    UNKNOWN_COUNT,
    Costing,
    Rule,
    WrapperOnData,
    told,
)
from fitcast.sizing.laws.bills import Bill, along, copied_bytes, sized, together
from fitcast.sizing.laws.features import Described, params_of_part
from fitcast.sizing.laws.law import between
from fitcast.sizing.laws.searches import (
    elimination,
    halving,
    search,
    sequential_selection,
    validated_elimination,
)

_EARLY_END = 0.5  # standard deviation of the logarithm of a count that is often not reached


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
    text = f"{asked.name}: {told(folds, each)}"
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
    text = f"{asked.name}: {told(count, one)}"
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
    text = f"{asked.name}: {told(count, one)}"
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
        memory=copied_bytes(asked.data), unsure=unsure, text=f"{asked.name}: {told(count, bill)}"
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
    text = f"{asked.name}: {told(count, one)}"
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
    text = f"{asked.name}: up to {told(count, one)}"
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
    text = f"{asked.name}: {told(folds + 1.0, each)}"
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
    text = f"{asked.name}: up to {told(most + 1.0, each)}"
    return together([each.times(rounds), last]).more(unsure=UNKNOWN_COUNT, text=text)


def random_consensus(asked: WrapperOnData) -> Bill:
    """Return the cost of models on few rows until one fits most rows, and one on those."""
    trials = asked.number("max_trials", 100.0)
    few = asked.share_of("min_samples", asked.data.rows_train, asked.data.columns + 1.0)
    one = asked.each(
        asked.inner(), sized(asked.data, rows=few, tests=asked.data.rows_train), kept=False
    )
    last = asked.each(asked.inner(), asked.whole())
    text = f"{asked.name}: up to {told(trials, one)}"
    bill = one.times(max(1.0, 0.5 * trials))
    return together([bill, last]).more(unsure=UNKNOWN_COUNT, text=text)


def nothing(asked: WrapperOnData) -> Bill:
    """Return the cost of predicting with what is fitted already."""
    return Bill(text="a model that is fitted already")


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
    unsure = UNKNOWN_COUNT if fits == 1.0 else GUESSED_COUNT
    return together(bills).more(memory=copied_bytes(asked.data), unsure=unsure, text=text)


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
