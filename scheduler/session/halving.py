"""All rungs of a successive halving, known before the first one runs.

scikit-learn makes up the rungs one after the other; here their sizes and splits are worked out
ahead, by its own formulae and from the same random state, so that the whole search is one workflow.
It still says itself who goes on, and what it asks for is held against what was planned.

In: planning the rungs, telling whether the next one is as planned. Not in: running them
(:mod:`fitcast.scheduler.session.searching`), choosing by the scores where no search runs
(:mod:`fitcast.trainer.sweep.rounds`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.model_selection._search_successive_halving import (
    BaseSuccessiveHalving,
    _SubsampleMetaSplitter,
)
from sklearn.utils import check_random_state

from fitcast.trainer.sweep.rounds import going_on
from fitcast.trainer.sweep.searched import N_SAMPLES
from fitcast.trainer.sweep.submission import Round

Candidates = Sequence[Mapping[str, Any]]

MOST_FITS = 20_000
"""Searches of which more fits may run are planned rung by rung: every one of them is forecast."""


def count_rungs(search: Any) -> tuple[int, int, int]:
    """Return how many rungs a search has, how many it needs, how many its resources allow."""
    needed = 1 + floor(log(search.n_candidates_[0], search.factor))
    possible = 1 + floor(log(search.max_resources_ // search.min_resources_, search.factor))
    rungs = needed if search.aggressive_elimination else min(possible, needed)
    return rungs, needed, possible


@dataclass
class Rungs:
    """The rungs of a search.

    Attributes
    ----------
    rounds : tuple of Round
        What the plan is told of them.
    settings : list of dict
        The candidates of the first, without the resource.
    splits : list
        Of all rungs.
    chosen : list of int
        The candidates of the rung that was begun last, in scikit-learn's order.
    number : int
        Of that rung.
    """

    rounds: tuple[Round, ...]
    settings: list[dict[str, Any]]
    splits: list[Any]
    _search: Any
    _states: list[Any]  # of the random state, before the splits of each rung were drawn
    chosen: list[int] = field(default_factory=list)
    number: int = 0

    @classmethod
    def of(
        cls,
        search: Any,
        candidates: Candidates,
        first_splits: Sequence[Any],
        cv: Any,
        more_results: Mapping[str, Any] | None,
        split: Any,
    ) -> "Rungs | None":
        """Return the rungs of a search whose first one begins; None if it isn't to be foreseen.

        Parameters
        ----------
        search
            The search.
        candidates, first_splits, cv, more_results
            Of its first rung.
        split
            ``split(splitter)`` returns the splits that a splitter makes.
        """
        kind = type(search)
        if (
            not isinstance(search, BaseSuccessiveHalving)
            or kind._run_search is not BaseSuccessiveHalving._run_search
            or kind._select_best_index is not BaseSuccessiveHalving._select_best_index
            or not more_results
            or more_results.get("iter", [None])[0] != 0
        ):
            return None
        rounds = _rounds(search, len(candidates), len(first_splits))
        if len(rounds) < 2 or rounds[0].amount != more_results["n_resources"][0]:
            return None
        if len(rounds) * len(candidates) * len(first_splits) > MOST_FITS:
            return None
        resource = search.resource
        settings = [{k: v for k, v in one.items() if k != resource} for one in candidates]
        chosen = list(rounds[0].indices)
        rungs = cls(rounds, settings, list(first_splits), search, [None], chosen)
        if not rungs._is_planned(cv):
            return None
        if resource == N_SAMPLES:
            for one in rounds[1:]:
                rungs._states.append(_state_of(search.random_state))
                rungs.splits += split(_splitter(search, one.amount))
        return rungs

    @property
    def is_last(self) -> bool:
        """Whether the last rung was begun."""
        return self.number == len(self.rounds) - 1

    def go_on(
        self,
        candidates: Candidates,
        cv: Any,
        more_results: Mapping[str, Any] | None,
        results: Mapping[str, Any],
        before: Candidates,
    ) -> list[int] | None:
        """Begin the next rung; return its candidates, or None if it isn't as planned.

        Parameters
        ----------
        candidates, cv, more_results
            Of the next rung, as scikit-learn asks for it.
        results
            ``cv_results_`` so far.
        before
            The candidates of the rung before.
        """
        if self.is_last or not more_results:
            return None
        after = self.rounds[self.number + 1]
        rung = more_results.get("iter", [None])[0], more_results.get("n_resources", [None])[0]
        if rung != (self.number + 1, after.amount) or len(candidates) != after.runs:
            return None
        places = going_on(results["mean_test_score"][-len(before) :], after.runs)
        resource = {} if after.resource == N_SAMPLES else {after.resource: after.amount}
        if not all(
            _are_same({**before[place], **resource}, candidate)
            for place, candidate in zip(places, candidates, strict=True)
        ):
            return None
        self.number += 1
        if not self._is_planned(cv):
            self.number -= 1
            return None
        each = self.rounds[0].potential
        self.chosen = [after.first + self.chosen[place] % each for place in places]
        return self.chosen

    def give_back(self) -> None:
        """Put the random state back to before the splits were drawn that won't be used."""
        later = self._states[self.number + 1 :]
        if later and later[0] is not None:
            check_random_state(self._search.random_state).set_state(later[0])
            self._states = self._states[: self.number + 1]

    def _is_planned(self, cv: Any) -> bool:
        """Tell whether this is the splitter of the present rung."""
        search, one = self._search, self.rounds[self.number]
        if one.resource != N_SAMPLES:
            return cv is search._checked_cv_orig
        planned = _splitter(search, one.amount)
        return type(cv) is type(planned) and all(
            getattr(cv, name) is value or getattr(cv, name) == value
            for name, value in vars(planned).items()
        )


def _rounds(search: Any, candidates: int, n_splits: int) -> tuple[Round, ...]:
    rungs, needed, possible = count_rungs(search)
    rounds: list[Round] = []
    runs = candidates
    for number in range(rungs):
        power = number
        if search.aggressive_elimination:  # at first the candidates get fewer alone
            power = max(0, number - needed + possible)
        amount = min(int(search.factor**power * search.min_resources_), search.max_resources_)
        first_split = number * n_splits if search.resource == N_SAMPLES else 0
        first = number * candidates
        rounds.append(Round(first, candidates, runs, first_split, search.resource, int(amount)))
        runs = ceil(runs / search.factor)
    return tuple(rounds)


def _splitter(search: Any, n_samples: int) -> Any:
    return _SubsampleMetaSplitter(
        base_cv=search._checked_cv_orig,
        fraction=n_samples / search._n_samples_orig,
        subsample_test=True,
        random_state=search.random_state,
    )


def _state_of(random_state: Any) -> Any:
    """Return the state that drawing changes; None if it changes none."""
    if isinstance(random_state, Integral | np.integer):
        return None
    return check_random_state(random_state).get_state()


def _are_same(planned: Mapping[str, Any], candidate: Mapping[str, Any]) -> bool:
    if planned.keys() != candidate.keys():
        return False
    return all(
        value is candidate[name] or (type(value) is int and value == candidate[name])
        for name, value in planned.items()
    )
