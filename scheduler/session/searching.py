"""How scikit-learn's searches are run on a client: each round of candidates is a sweep.

Rounds of successive halving that can be foreseen are one sweep together.

In: ``fit`` of a search, in the order of scikit-learn's own, whose helpers it calls; choosing the
best, the refit. Not in: the searches as users see them (:mod:`fitcast.scheduler.session.search`),
which client they use (:mod:`fitcast.scheduler.session.shared`).
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from inspect import signature
from numbers import Number
from typing import Any

from sklearn.base import _fit_context, clone, is_classifier
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import (
    _insert_error_scores,
    _warn_or_raise_about_fit_failures,
)
from sklearn.utils.validation import _check_method_params, indexable

from fitcast.errors import (
    FitcastError,
    InvalidInputError,
    InvalidPoolError,
    SealError,
    WorkflowFailedError,
)
from fitcast.history.records import REFIT_FOLD, Outcome
from fitcast.scheduler.run.views import FitRow
from fitcast.scheduler.session.client import Client
from fitcast.scheduler.session.evaluated import (
    error_of,
    have_callbacks,
    opened_model,
    raise_exit,
    results_of,
    warn_again,
)
from fitcast.scheduler.session.halving import Rungs
from fitcast.scheduler.session.in_place import results_here, warn_of_place
from fitcast.scheduler.session.shared import runs_in_place, shared_client
from fitcast.scheduler.session.watching import Asking, Choices, Watch, raise_first_failure
from fitcast.trainer.attempt.searched import CallbackTasks
from fitcast.trainer.sweep.searched import SearchedSweep

CLIENT: dict[str, list[Any]] = {"client": [Client, None]}
"""What scikit-learn is told of the one parameter that its searches don't have."""


class SizedBaseSearchCV(BaseSearchCV):  # type: ignore[misc]
    """``fit`` of searches that run on a client; all else is scikit-learn's own."""

    @_fit_context(prefer_skip_nested_validation=False)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Run the search.

        Parameters
        ----------
        X, y
            Training rows and target; y may be left out for unsupervised estimators.
        **params
            For ``fit`` of the estimator; `groups` goes to the splitter. What has a value per row
            is cut along the rows. With metadata routing, each goes where it is requested.
        """
        if runs_in_place():
            self.workflow_ = None
            return super().fit(X, y, **params)
        scorer, metric = self._get_scorers()
        X, y = indexable(X, y)
        params = _check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(params)
        weights = params.get("sample_weight")
        data = {"X": X, "y": y}
        data["metadata"] = None if weights is None else {"sample_weight": weights}
        root = None
        if hasattr(self, "_init_callback_context"):  # scikit-learn 1.9 or newer
            root = self._init_callback_context(max_subtasks=1 + (self.refit is not False))
            root.call_on_fit_task_begin(estimator=self, **data)
        self._checked_cv_orig = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        if hasattr(self, "_check_input_parameters"):
            self._check_input_parameters(X=X, y=y, split_params=routed.splitter.split)
        self.n_splits_ = self._checked_cv_orig.get_n_splits(X, y, **routed.splitter.split)
        rounds = _Rounds(self, X, y, routed, scorer, metric, root)
        try:
            if root is not None and "callback_ctx" in signature(self._run_search).parameters:
                self._run_search(rounds.evaluate, callback_ctx=root)
            else:
                self._run_search(rounds.evaluate)
        except BaseException as error:  # an interrupt, above all: nothing goes on unseen
            rounds.give_up(error)
            raise
        rounds.finish()
        self.scorer_ = scorer._scorers if isinstance(scorer, _MultimetricScorer) else scorer
        self.cv_results_ = rounds.results
        if root is not None:
            root.call_on_fit_task_end(estimator=self, **data)
        return self

    def _is_last_round(self, more_results: Mapping[str, Any] | None) -> bool:
        """Tell whether no round follows that begins with ``more_results``."""
        return False  # of any search, that isn't known: its refit is in this process


class _Rounds:
    """The rounds of a search: candidates go in, ``cv_results_`` so far comes out."""

    def __init__(
        self,
        search: Any,
        X: Any,
        y: Any,
        routed: Any,
        scorer: Any,
        metric: Any,
        root: Any,
    ) -> None:
        self.results: dict[str, Any] = {}
        self._search = search
        self._X, self._y = X, y
        self._routed = routed
        self._scorer = scorer
        self._metric = metric
        self._root = root
        self._base = clone(search.estimator)
        self._candidates: list[Mapping[str, Any]] = []
        self._out: list[dict[str, Any]] = []
        self._more: dict[str, list[Any]] = defaultdict(list)
        self._best: Any = None
        self._refit: tuple[FitRow, bytes | None] | None = None
        self._asking: Asking | None = None  # for the next rung
        self._is_told = False  # that a round runs in place

    def evaluate(
        self,
        candidate_params: Iterable[Mapping[str, Any]],
        cv: Any = None,
        more_results: Mapping[str, Any] | None = None,
        callback_ctx: Any = None,
    ) -> dict[str, Any]:
        """Run a round of candidates."""
        search = self._search
        candidates = list(candidate_params)
        splitter = cv or search._checked_cv_orig
        splits = self._planned_splits(candidates, splitter, more_results)
        if splits is None:
            splits = self._split(splitter)
        if len(splits) != search.n_splits_:
            raise ValueError(
                "cv.split and cv.get_n_splits return inconsistent results. Expected "
                f"{search.n_splits_} splits, got {len(splits)}"
            )
        if search.verbose > 0:
            print(  # noqa: T201 - asked for
                f"Fitting {len(splits)} folds for each of {len(candidates)} candidates, "
                f"totalling {len(splits) * len(candidates)} fits"
            )
        if not candidates or not splits:
            raise ValueError(
                "No fits were performed. Was the CV iterator empty? Were there no candidates?"
            )
        more = more_results or {}
        if self._asking is not None:
            self._follow(self._asking, candidates, splits, more, callback_ctx)
            return self.results
        rungs = None
        if not self._candidates and self._tasks(candidates, callback_ctx) is None:
            rungs = Rungs.of(search, candidates, splits, splitter, more_results, self._split)
        if rungs is None or not self._run(candidates, splits, more, callback_ctx, rungs):
            self._run(candidates, splits, more, callback_ctx, None)
        return self.results

    def give_up(self, error: BaseException) -> None:
        """Give the workflow up that asks for what won't be chosen."""
        if self._asking is not None:
            self._asking.give_up(error)

    def _split(self, splitter: Any) -> list[Any]:
        return list(splitter.split(self._X, self._y, **self._routed.splitter.split))

    def _planned_splits(
        self,
        candidates: list[Mapping[str, Any]],
        splitter: Any,
        more_results: Mapping[str, Any] | None,
    ) -> list[Any] | None:
        """Return the splits of a rung that is as planned; let those go that were planned if not."""
        asking = self._asking
        if asking is None or asking.rungs is None or asking.choices is None:
            return None
        rungs = asking.rungs
        before = self._candidates[-len(rungs.chosen) :]
        chosen = rungs.go_on(candidates, splitter, more_results, self.results, before)
        if chosen is not None and asking.watch.is_over and not asking.has(chosen):
            chosen = None  # another process has chosen others
            rungs.number -= 1
        if chosen is None:
            asking.choices.answer_round(rungs.number + 1, None)
            asking.watch.until_over()
            self._asking = None
            rungs.give_back()
            return None
        asking.choices.answer_round(rungs.number, chosen)
        first = rungs.rounds[rungs.number].first_split
        return rungs.splits[first : first + self._search.n_splits_]

    def finish(self) -> None:
        """Set what a search knows once it has run: the best candidate, and the model of it."""
        search = self._search
        if self._best is None:
            self._note_scores()
            if search.refit or not search.multimetric_:
                self._best = self._choose()
        if self._best is not None:
            search.best_index_ = self._best
            if not callable(search.refit):
                search.best_score_ = self.results[f"mean_test_{self._metric}"][self._best]
            search.best_params_ = self.results["params"][self._best]
        if not search.refit:
            return
        row, model = self._refit or (None, None)
        if row is not None and row.outcome is not Outcome.SUCCEEDED:
            raise error_of(row)
        opened = None if model is None else opened_model(model)
        if row is not None and row.measured is not None and opened is not None:
            search.best_estimator_ = opened
            search.refit_time_ = row.measured.fit_time_s
        else:
            self._refit_here()
        if hasattr(search.best_estimator_, "feature_names_in_"):
            search.feature_names_in_ = search.best_estimator_.feature_names_in_

    def _run(
        self,
        candidates: list[Mapping[str, Any]],
        splits: list[Any],
        more: Mapping[str, Any],
        context: Any,
        rungs: Rungs | None,
    ) -> bool:
        """Run a round as a workflow, with all that follow it; False if those can't be sent."""
        search = self._search
        raising = not isinstance(search.error_score, Number)
        choices = None
        if rungs is not None or (search.refit and search._is_last_round(more)):
            choices = Choices()
        refit: Any = bool(search.refit)
        if rungs is None:  # the rule is the search's own
            refit = False if choices is None else choices.of
        sweep = SearchedSweep(
            self._base,
            candidates if rungs is None else rungs.settings,
            self._X,
            self._y,
            splits=splits if rungs is None else rungs.splits,
            scorer=self._scorer,
            refit=refit,
            fit_params=self._routed.estimator.fit,
            score_params=self._routed.scorer.score,
            return_train_score=search.return_train_score,
            error_score=None if raising else float(search.error_score),
            tasks=self._tasks(candidates, context),
            rounds=() if rungs is None else rungs.rounds,
            chooser=None if rungs is None else choices,
        )
        try:
            sweep.prepare()
        except InvalidPoolError:
            raise
        except InvalidInputError as refusal:  # scikit-learn may take it; if not, its word counts
            if rungs is not None:
                rungs.give_back()
                return False
            self._run_here(refusal, candidates, splits, more, context)
            return True
        own = getattr(search, "client", None)
        client = own or shared_client()
        workflow = search.workflow_ = client.submit(sweep)
        watch = Watch(workflow, choices, search.verbose, raising=raising)
        if own is None:  # nobody can ask the shared one for it
            client.forget(workflow)
        self._follow(Asking(workflow, watch, choices, rungs), candidates, splits, more, context)
        return True

    def _follow(
        self,
        asking: Asking,
        candidates: list[Mapping[str, Any]],
        splits: list[Any],
        more: Mapping[str, Any],
        context: Any,
    ) -> None:
        """Wait for a round's fits, and for the refit if it is the last."""
        workflow, rungs, choices = asking.workflow, asking.rungs, asking.choices
        self._asking, chosen = None, False
        before = len(self._candidates)
        try:
            if choices is not None and asking.watch.is_asked():
                self._collect(asking, candidates, more)
                if rungs is not None and not rungs.is_last:
                    self._asking = asking
                    return
                self._note_scores()
                self._best = self._choose()
                best = int(self._best - before)
                choices.answer(best if rungs is None else rungs.chosen[best])
                chosen = True
            asking.watch.until_over()
        except BaseException as error:  # an interrupt, above all: nothing goes on unseen
            asking.give_up(error)
            raise
        if choices is not None:
            choices.give_up(FitcastError("the workflow is over"))
        view = workflow.view
        if rungs is not None and not rungs.is_last and view.error is None:
            self._collect(asking, candidates, more)
            self._asking = asking  # all that follows has run already, as on a shared platform
            return
        if rungs is not None:
            rungs.give_back()
        if isinstance(view.error, SealError):
            self._run_here(view.error, candidates, splits, more, context)
            return
        if view.error is not None and not isinstance(view.error, WorkflowFailedError):
            raise view.error
        if not chosen:
            self._collect(asking, candidates, more)
        refits = [row for row in view.rows.values() if row.fit.fold == REFIT_FOLD]
        if refits and rungs is not None and not chosen:
            self._note_scores()
            self._best = self._choose()
            best = rungs.chosen[int(self._best - before)]
            refits = [row for row in refits if row.fit.candidate.index == best]
        if refits:
            self._refit = refits[0], workflow._run.model()
        elif view.error is not None:
            raise view.error

    def _run_here(
        self,
        refusal: Exception,
        candidates: list[Mapping[str, Any]],
        splits: list[Any],
        more: Mapping[str, Any],
        context: Any,
    ) -> None:
        """Run a round that can't be sent."""
        self._search.workflow_ = None
        if not self._is_told:
            warn_of_place(self._search, refusal)
        self._is_told = True
        out = results_here(
            self._search,
            self._base,
            self._X,
            self._y,
            candidates,
            splits,
            scorer=self._scorer,
            routed=self._routed,
            context=context,
        )
        self._add(out, candidates, more)

    def _collect(
        self, asking: Asking, candidates: list[Mapping[str, Any]], more: Mapping[str, Any]
    ) -> None:
        """Take the results of a round in."""
        search = self._search
        several = callable(search.scoring) and isinstance(search.refit, str)
        rows = asking.rows()
        raise_exit(rows)
        out = results_of(
            rows,
            names=list(self._scorer._scorers)
            if isinstance(self._scorer, _MultimetricScorer)
            else None,
            several=several or isinstance(self._scorer, _MultimetricScorer),
            error_score=search.error_score,
        )
        if not isinstance(search.error_score, Number):
            raise_first_failure(asking.workflow)
        warn_again(rows)
        self._add(out, candidates, more)

    def _add(
        self,
        out: list[dict[str, Any]],
        candidates: list[Mapping[str, Any]],
        more: Mapping[str, Any],
    ) -> None:
        """Add the results of a round to those before."""
        search = self._search
        _warn_or_raise_about_fit_failures(out, search.error_score)
        if callable(search.scoring):
            _insert_error_scores(out, search.error_score)
        self._candidates.extend(candidates)
        self._out.extend(out)
        for key, values in more.items():
            self._more[key].extend(values)
        self.results = search._format_results(
            self._candidates, search.n_splits_, self._out, self._more
        )

    def _note_scores(self) -> None:
        """Note whether a candidate has several scores: of a callable that shows only now."""
        search = self._search
        first = self._out[0]["test_scores"]
        search.multimetric_ = isinstance(first, dict)
        if callable(search.scoring) and search.multimetric_:
            search._check_refit_for_multimetric(first)
            self._metric = search.refit

    def _choose(self) -> Any:
        """Return the index of the best candidate so far, as the rule gave it."""
        search = self._search
        return search._select_best_index(search.refit, self._metric, self.results)

    def _tasks(self, candidates: list[Mapping[str, Any]], context: Any) -> CallbackTasks | None:
        if context is None or not have_callbacks(self._search, self._base, candidates):
            return None
        return CallbackTasks(self._search, self._root, context)

    def _refit_here(self) -> None:
        """Fit the best candidate here: its model can't be sent or opened, or nobody planned it."""
        search = self._search
        best = clone(self._base).set_params(**clone(search.best_params_, safe=False))
        target = () if self._y is None else (self._y,)
        tasks = None
        if self._root is not None:
            tasks = CallbackTasks(search, self._root, self._root)
        weights = self._routed.estimator.fit.get("sample_weight")
        told = None if weights is None else {"sample_weight": weights}
        data = {"X": self._X, "y": self._y, "metadata": told}
        with nullcontext() if tasks is None else tasks.around(best, 0, REFIT_FOLD, data):
            began_s = time.perf_counter()
            search.best_estimator_ = best.fit(self._X, *target, **self._routed.estimator.fit)
            search.refit_time_ = time.perf_counter() - began_s
