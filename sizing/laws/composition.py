"""What an estimator costs that is made of others: what they cost, times how often they are fitted.

In: walking the tree of an estimator's parts: pipelines, columns, unions, and what a part makes of
the data. Not in: how often a wrapper fits its parts (:mod:`fitcast.sizing.laws.wrappers`), the law
of a single part (:mod:`fitcast.sizing.laws.prior`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fitcast.history.parts import EstimatorPart, Selected
from fitcast.sizing.laws.bills import Bill, copied_bytes, sized, together
from fitcast.sizing.laws.features import Described, family_of_part, params_of_part
from fitcast.sizing.laws.inside import is_pipeline, is_split
from fitcast.sizing.laws.law import Constants, between, is_sparse
from fitcast.sizing.laws.passing import Passed, dense
from fitcast.sizing.laws.wrappers import asked_of, rule_of

Leaf = Callable[[Described], Bill]
Transform = Callable[[Described], Passed]

_MOST_ASKED = 400  # parts' costs for one estimate; then the rest is guessed
_POINTS = 3  # of a long path, as the columns of an elimination
_SPARSE_THRESHOLD = 0.3
_SAMPLED_ROWS = 4096.0  # among which a selection's distinct values were counted
_BEYOND = 2.0  # standard deviation of the logarithm of what isn't looked into

_WORDS = frozenset({"passthrough", "drop"})
_SELECTING = frozenset({"RFE", "RFECV", "SequentialFeatureSelector", "SelectFromModel"})


@dataclass(eq=False)
class Walk:
    """One estimate's way through the parts."""

    leaf: Leaf
    transform: Transform
    c: Constants
    left: int = _MOST_ASKED
    known: dict[tuple[object, ...], Bill] = field(default_factory=dict)

    @property
    def points(self) -> int:
        """At how many points a long path is looked at."""
        return _POINTS if self.left > _MOST_ASKED // 2 else 1

    def whole(self, part: EstimatorPart, data: Described) -> Bill:
        """Return the cost of an estimator; how unsure, if not all of it was looked into."""
        bill = self.fit(part, data)
        return bill.more(unsure=_BEYOND) if self.left < 0 else bill

    def fit(self, part: EstimatorPart, data: Described) -> Bill:
        """Return the cost of fitting a part on the rows that train, and predicting the others."""
        self.left -= 1
        if part.algorithm in _WORDS:
            return Bill()
        if not part.parts or self.left < 0:
            key = (part, data.rows_train, data.rows_test, data.columns, data.nonzeros, data.classes)
            bill = self.known.get(key) or self.leaf(_of_part(part, data))
            self.known[key] = bill
            asked_s = self.c.get(f"{family_of_part(part).name}_fit_s", self.c["fit_s"])
            asked_s += self.c["predict_s"] if data.rows_test else 0.0
            guess = _BEYOND if part.parts or part.unlisted else 0.0
            bill = bill.more(seconds=asked_s, unsure=max(guess, 0.7 if part.silent else 0.0))
            # An estimator is an object with its parameters, however small what it learned.
            return replace(bill, kept_bytes=bill.kept_bytes + self.c["model_bytes"])
        if is_pipeline(part):
            bills = []
            for step in part.parts[:-1]:
                bill, data = self.passed(step, data)
                bills.append(bill)
            last = self.fit(part.parts[-1], data)
            held = max((bill.memory_bytes for bill in bills), default=0.0)
            made = copied_bytes(data) if bills else 0.0
            whole = together([*bills, last.more(memory=made)])
            unsure = _BEYOND if part.unlisted else 0.0
            costliest = max(bills, key=lambda bill: bill.seconds, default=Bill())
            text = last.text
            if costliest.text and costliest.seconds > last.seconds:
                text = f"{costliest.text}, then {last.text}"
            return replace(
                whole.more(unsure=unsure, text=text),
                memory_bytes=max(held, whole.memory_bytes),
                kept_bytes=last.kept_bytes,
            )
        if is_split(part):
            bill, _ = self.passed(part, data)
            return bill
        bill = rule_of(part)(asked_of(self, part, data))
        return bill.more(seconds=self.c["fit_s"])

    def passed(self, part: EstimatorPart, data: Described) -> tuple[Bill, Described]:
        """Return the cost of fitting a transformer and passing all rows on, and what it makes."""
        if part.algorithm in _WORDS:
            return Bill(), data
        if is_split(part):
            return self._split(part, data)
        if is_pipeline(part):
            bills = []
            for step in part.parts:
                bill, data = self.passed(step, data)
                bills.append(bill)
            return together(bills), data
        if not part.parts:
            self.left -= 1
            passed = self.transform(_of_part(part, data))
            after = replace(
                passed.after,
                algorithm=data.algorithm,
                params=data.params,
                family=data.family,
            )
            seconds = passed.seconds + self.c["fit_s"] + self.c["predict_s"]
            bill = Bill(serial_s=seconds, memory_bytes=passed.memory_bytes)
            return bill.more(unsure=0.7 if part.silent else 0.0), after
        untested = sized(data, tests=0.0)
        bill = self.fit(part, untested)
        return bill, _selected_by(part, data)

    def _split(self, part: EstimatorPart, data: Described) -> tuple[Bill, Described]:
        """Return the same of steps that each get some columns, and whose answers stand together."""
        bills = []
        made: list[Described] = []
        branches = [inner for inner in part.parts if inner.algorithm != "drop"]
        for branch in branches:
            own = _columns_of(branch, data, len(branches))
            if own is None:
                continue
            bill, after = self.passed(branch, own)
            bills.append(
                replace(bill, kept_bytes=copied_bytes(after)).times(max(1, branch.count), kept=True)
            )
            made += [after] * max(1, min(branch.count, 64))
        if not made:
            return Bill(), data
        threshold = dict(part.params).get("sparse_threshold", _SPARSE_THRESHOLD)
        after = _side_by_side(data, made, threshold)
        bill = together(bills).more(memory=copied_bytes(after), seconds=self.c["fit_s"])
        if part.unlisted:
            listed = sum(max(1, inner.count) for inner in part.parts)
            bill = bill.times(1.0 + part.unlisted / listed, kept=True).more(unsure=0.5)
        return replace(bill, kept_bytes=0.0), after


def _of_part(part: EstimatorPart, data: Described) -> Described:
    return replace(
        data,
        algorithm=part.algorithm,
        params=params_of_part(part),
        family=family_of_part(part),
        steps=(),
        made_of=None,
    )


def _selected_by(part: EstimatorPart, data: Described) -> Described:
    """Return what a part that isn't a plain transformer makes of the data."""
    name = part.algorithm.rpartition(".")[2]
    told = dict(part.params)
    if name in _SELECTING:
        wanted = told.get("n_features_to_select", told.get("max_features"))
        columns = data.columns / 2.0
        if isinstance(wanted, float) and 0.0 < wanted <= 1.0:
            columns = wanted * data.columns
        elif isinstance(wanted, int) and not isinstance(wanted, bool):
            columns = float(wanted)
        return sized(data, tests=data.rows_test, columns=between(columns, 1.0, data.columns))
    return data


def _columns_of(branch: EstimatorPart, data: Described, branches: int) -> Described | None:
    """Return the part of the data that a step gets; None if it gets no column."""
    if branch.role not in ("transformers", "remainder"):
        return data
    selected = branch.selected
    if selected is None:
        return sized(data, tests=data.rows_test, columns=data.columns / branches)
    if selected.columns < 1:
        return None
    own = sized(data, tests=data.rows_test, columns=float(selected.columns))
    if selected.distinct_values > 0:
        own = replace(own, distinct=_distinct(selected, data), missing=selected.missing_share)
    if selected.text_chars > 0.0:
        rows = own.rows_train + own.rows_test
        own = replace(own, data_bytes=rows * selected.columns * (selected.text_chars + 49.0))
    return own


def _distinct(selected: Selected, data: Described) -> float:
    """Return the distinct values of a mean column, of a sample of whose rows they were counted."""
    each = selected.distinct_values / max(1, selected.columns)
    rows = data.rows_train + data.rows_test
    if each > 0.5 * min(rows, _SAMPLED_ROWS):  # most of the sample: of more rows, there are more
        each *= max(1.0, rows / _SAMPLED_ROWS)
    return between(each, 1.0, rows)


def _side_by_side(data: Described, made: list[Described], threshold: object) -> Described:
    columns = between(sum(one.columns for one in made), 1.0, 1e12)
    nonzeros = sum(one.nonzeros for one in made)
    rows = made[0].rows_train
    any_sparse = any(is_sparse(one) for one in made)
    limit = threshold if isinstance(threshold, float | int) else _SPARSE_THRESHOLD
    if any_sparse and nonzeros < float(limit) * rows * columns:
        share = 1.0 + data.rows_test / rows
        joined = replace(
            data, columns=columns, nonzeros=nonzeros, data_bytes=12.0 * nonzeros * share
        )
    else:
        joined = dense(data, columns, like_normal=False)
    weights = [one.columns / columns for one in made]
    finite = all(math.isfinite(one.distinct) for one in made)
    return replace(
        joined,
        distinct=sum(w * one.distinct for w, one in zip(weights, made, strict=True))
        if finite
        else math.inf,
        scale=max(one.scale for one in made),
        condition=max(one.condition for one in made),
        missing=min(1.0, sum(w * one.missing for w, one in zip(weights, made, strict=True))),
    )
