"""Who goes on in a search that eliminates candidates, and who is the best: by the scores alone.

The rules are those of scikit-learn's successive halving, also where scores are equal or missing, so
that whoever goes on with such a workflow chooses as the search itself would. Pure. Not in: when
they are asked (:mod:`fitcast.scheduler.run.next_round`).
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from fitcast.trainer.attempt.spec import Measured
from fitcast.trainer.sweep.results import CvResults, columns, score_names
from fitcast.trainer.sweep.submission import Submission

Scores = npt.NDArray[np.float64]


def going_on(scores: Scores, count: int) -> list[int]:
    """Return the places of so many of the best scores, the best last; one that is NaN is the worst.

    Examples
    --------
    >>> going_on(np.array([0.3, 0.9, np.nan, 0.5]), 2)
    [3, 1]
    """
    order = np.argsort(scores)  # NaN comes last
    missing = int(np.isnan(scores).sum())
    ranked = np.concatenate([order[len(order) - missing :], order[: len(order) - missing]])
    return [int(place) for place in ranked[-count:]]


def best_place(scores: Scores) -> int:
    """Return the place of the best score, the first of equals; the first place if all are NaN."""
    return 0 if np.isnan(scores).all() else int(np.nanargmax(scores))


def mean_scores(
    submission: Submission, measured: Mapping[str, Measured], candidates: Sequence[int]
) -> Scores:
    """Return the mean test score of each of these candidates, by the first score there is."""
    scores = columns(submission, measured, candidates)[1]
    found: Scores = scores[f"mean_test_{score_names(scores)[0]}"]
    return found


def next_candidates(
    submission: Submission,
    measured: Mapping[str, Measured],
    candidates: Sequence[int],
    begun: Iterable[int] = (),
) -> list[int]:
    """Return the candidates of the next round.

    Parameters
    ----------
    submission
        The sweep.
    measured
        Fit id → last attempt.
    candidates
        Those that ran in the last round.
    begun
        Candidates of the next round that were chosen before, whatever the scores say now: a
        result that was lost may have been made anew.
    """
    after = submission.rounds[submission.round_of(candidates[0]) + 1]
    scores = mean_scores(submission, measured, candidates)
    ranked = [
        after.first + submission.origin(candidates[place])
        for place in going_on(scores, len(candidates))
    ]
    sure = set(begun)
    others = [index for index in ranked if index not in sure]
    room = max(0, after.runs - len(sure))
    kept = sure.union(others[len(others) - room :])
    return [index for index in ranked if index in kept]


def candidates_that_ran(
    submission: Submission, measured: Mapping[str, Measured], fit_ids: Iterable[str]
) -> list[int] | None:
    """Return the candidates that have fits, as a search lists them; None without rounds.

    Round by round, each in the order in which the one before left them.
    """
    if not submission.rounds:
        return None
    there = {fit.candidate.index for fit in map(submission.fit_named, fit_ids) if fit is not None}
    listed = [index for index in submission.rounds[0].indices if index in there]
    last = listed
    for one in submission.rounds[1:]:
        begun = [index for index in one.indices if index in there]
        if not begun or not last:
            break
        last = [i for i in next_candidates(submission, measured, last, begun) if i in there]
        listed = listed + last
    return listed


def best_of(
    submission: Submission, measured: Mapping[str, Measured], candidates: Sequence[int]
) -> int:
    """Return the best candidate of the last round that any of these ran in."""
    last = max(map(submission.round_of, candidates))
    finalists = [index for index in candidates if submission.round_of(index) == last]
    return finalists[best_place(mean_scores(submission, measured, finalists))]


def round_columns(submission: Submission, candidates: Iterable[int]) -> CvResults:
    """Return what ``cv_results_`` says of rounds: the number of each, and what it had."""
    rounds = [submission.round_of(index) for index in candidates]
    return {
        "iter": np.array(rounds),
        "n_resources": np.array([submission.rounds[number].amount for number in rounds]),
    }
