"""A round of a search run in its own process: where what it needs can't be sent to a worker.

In: fitting and scoring candidates as scikit-learn does without ``n_jobs``, and saying that this was
done. Not in: searches that run in place as a whole (:mod:`fitcast.scheduler.session.shared`).
"""

import warnings
from collections.abc import Mapping, Sequence
from inspect import signature
from itertools import product
from typing import Any

from sklearn.base import clone
from sklearn.model_selection._validation import _fit_and_score


def warn_of_place(search: Any, refusal: Exception) -> None:
    """Say that candidates are fitted here, one after another, and why."""
    warnings.warn(
        f"{type(search).__name__} runs in this process, one fit after another, as GridSearchCV "
        f"does without n_jobs: nothing is forecast, and no limit holds. {refusal}",
        stacklevel=5,
    )


def results_here(
    search: Any,
    base: Any,
    X: Any,
    y: Any,
    candidates: Sequence[Mapping[str, Any]],
    splits: Sequence[tuple[Any, Any]],
    *,
    scorer: Any,
    routed: Any,
    context: Any,
) -> list[dict[str, Any]]:
    """Return what ``_fit_and_score`` gives, candidate by candidate, split by split.

    Parameters
    ----------
    search, base
        The search, and the estimator that its fits clone.
    X, y, candidates, splits
        As the search made them.
    scorer, routed
        What it calls, and the parameters of ``fit`` and the scorer.
    context
        scikit-learn's callback context of the round; None where there is none.
    """
    pairs = list(product(enumerate(candidates), enumerate(splits)))
    has_callbacks = "callback_ctx" in signature(_fit_and_score).parameters
    out = []
    for task, ((candidate, parameters), (fold, (train, test))) in enumerate(pairs):
        told: dict[str, Any] = {}
        if has_callbacks:
            told = {"caller": search, "callback_ctx": None}
            if context is not None:
                told["callback_ctx"] = context.subcontext(
                    task_name="candidate-split-evaluation", task_id=task
                )
        out.append(
            _fit_and_score(
                clone(base),
                X,
                y,
                scorer=scorer,
                train=train,
                test=test,
                verbose=search.verbose,
                parameters=parameters,
                fit_params=routed.estimator.fit,
                score_params=routed.scorer.score,
                return_train_score=search.return_train_score,
                return_n_test_samples=True,
                return_times=True,
                split_progress=(fold, len(splits)),
                candidate_progress=(candidate, len(candidates)),
                error_score=search.error_score,
                **told,
            )
        )
    return out
