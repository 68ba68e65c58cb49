"""How often a search fits its estimator: over columns, and over hyper-parameters.

In: a rule per search of scikit-learn's. Not in: other wrappers
(:mod:`fitcast.sizing.laws.wrappers`), what a single fit costs.
"""

import math

from fitcast.sizing.laws.asking import UNKNOWN_COUNT, WrapperOnData, told
from fitcast.sizing.laws.bills import Bill, along, copied_bytes, sized, together
from fitcast.sizing.laws.features import Described
from fitcast.sizing.laws.law import between

_SETTINGS = ("param_grid", "param_distributions", "search_spaces")


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
    return together([path, last]).more(text=f"{asked.name}: {told(fits, last)}")


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
    text = f"{asked.name}: {folds:,.0f} × {told(fits, each)}"
    return bill.more(unsure=math.hypot(unsure, 0.1), text=text)


def sequential_selection(asked: WrapperOnData) -> Bill:
    """Return the cost of adding or leaving out one column at a time: each other one is tried."""
    columns = asked.data.columns
    folds, unsure = asked.folds()
    wanted = asked.share_of("n_features_to_select", columns, math.ceil(columns / 2.0))
    if asked.params.word("n_features_to_select") == "auto" and "tol" in asked.params.numbers:
        unsure = UNKNOWN_COUNT  # until it no longer improves
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
    text = f"{asked.name}: {tried:,.0f} × {told(folds, bill)}"
    return bill.more(memory=copied_bytes(asked.data), unsure=unsure, text=text)


def search(asked: WrapperOnData) -> Bill:
    """Return the cost of each setting in each fold, and of the best one on all rows."""
    folds, unsure = asked.folds()
    settings, unknown = _settings(asked)
    unsure = math.hypot(unsure, unknown)
    each = _scored(asked, asked.fold(folds))
    bills = [each.times(settings * folds)]
    if asked.params.word("refit", "True") != "False":
        bills.append(asked.mean(asked.inner("estimator"), asked.whole()))
    text = f"{asked.name}: {settings:,.0f} × {told(folds, each)}"
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
        unsure, least = UNKNOWN_COUNT, rows  # of something else there is less
    bills = []
    for number in range(rounds):
        part_of = between(least * factor**number, 1.0, rows)
        tested = part_of / folds
        each = _scored(asked, sized(asked.data, rows=part_of - tested, tests=tested))
        bills.append(each.times(math.ceil(settings / factor**number) * folds))
    if asked.params.word("refit", "True") != "False":
        bills.append(asked.mean(asked.inner("estimator"), asked.whole()))
    bill = together(bills)
    text = f"{asked.name}: {settings:,.0f} settings, {rounds} rounds, {told(folds, bill)}"
    unsure = math.hypot(unsure, unknown)
    return bill.more(memory=copied_bytes(asked.data), unsure=unsure, text=text)


def _scored(asked: WrapperOnData, fold: Described) -> Bill:
    if asked.params.word("return_train_score") == "True":
        fold = sized(fold, tests=fold.rows_test + fold.rows_train)
    return asked.mean(asked.inner("estimator"), fold).more(seconds=asked.score_s)


def _settings(asked: WrapperOnData) -> tuple[float, float]:
    """Return how many settings a search tries, and how unsure that is."""
    wanted = asked.params.numbers.get("n_iter")
    counted = [count for name, count in asked.part.counts if name in _SETTINGS]
    if wanted is not None:
        most = min((count for count in counted if count >= 0), default=wanted)
        return between(min(wanted, most), 1.0, 1e15), 0.0
    if counted and counted[0] >= 0:
        return max(1.0, float(counted[0])), 0.0
    return 10.0, UNKNOWN_COUNT
