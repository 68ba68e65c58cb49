"""A model is kept as its evidence: what is kept, and what damaged files do."""

import json

import pytest
from sizing_making import FOREST, XGB, cost_s, record, request

from fitcast.errors import ModelError
from fitcast.history.records import Outcome
from fitcast.sizing.judging import ForecastLoss, held_out, is_poisoned, loss, may_take_over
from fitcast.sizing.learning import model_files
from fitcast.sizing.learning.model import SizingModel
from fitcast.sizing.learning.model_files import evidence, from_files, to_files


def told(algorithm=XGB, count=12, factor=1.0):
    asked = [
        request(algorithm, params={"n_estimators": 100, "max_depth": 2 + n}) for n in range(count)
    ]
    return [record(one, factor * cost_s(one)) for one in asked]


def test_a_model_comes_back_with_the_same_forecasts():
    records = told()
    model, back = from_files(to_files(records, {"note": "for people"}))
    asked = [request(params={"n_estimators": 100, "max_depth": 7})]
    assert model.estimate(asked) == SizingModel.prior().train(records).estimate(asked)
    assert [r.record_id for r in back] == [r.record_id for r in records]


def test_its_page_is_for_people():
    page = json.loads(to_files(told(count=3), {"loss": 0.25})["about.json"])
    assert page == {"format": 1, "records": 3, "loss": 0.25}


@pytest.mark.parametrize(
    "damage",
    [
        lambda files: files.pop("about.json"),
        lambda files: files.pop("evidence.parquet"),
        lambda files: files.update({"about.json": b"no json"}),
        lambda files: files.update({"evidence.parquet": files["evidence.parquet"][:-50]}),
        lambda files: files.update({"about.json": b'{"format": 99, "records": 1}'}),
        lambda files: files.update({"about.json": b'{"format": 1, "records": 999}'}),
    ],
)
def test_damaged_files_are_refused(damage):
    files = to_files(told(count=3), {})
    damage(files)
    with pytest.raises(ModelError):
        from_files(files)


def test_evidence_is_the_newest_and_a_spread_of_the_older(monkeypatch):
    monkeypatch.setattr(model_files, "MOST_PER_ALGORITHM", 10)
    many, few = told(count=100), told(FOREST, count=4)
    kept = evidence([*few, *reversed(many), *many])
    of_many = [many.index(r) for r in kept if r.request.algorithm == XGB]
    assert len(of_many) <= 10
    assert of_many[-5:] == [95, 96, 97, 98, 99]
    assert min(of_many) < 20
    assert sum(r.request.algorithm == FOREST for r in kept) == 4
    assert kept == sorted(kept, key=lambda r: r.ended_at)


def test_a_trained_model_is_better_than_the_laws_on_what_it_did_not_see():
    seen, held = held_out(told(count=40, factor=3.0))
    assert (len(seen), len(held)) == (28, 12)
    trained, laws = SizingModel.prior().train(seen), SizingModel.prior()
    assert may_take_over(loss(trained, held), loss(laws, held))
    assert not may_take_over(loss(laws, held), loss(trained, held))


def test_where_nothing_can_be_judged_the_challenger_may():
    failed = [record(request(), 1.0, outcome=Outcome.FAILED)]
    nothing = loss(SizingModel.prior(), failed)
    assert nothing.fits == 0
    assert may_take_over(nothing, nothing)


def test_a_challenger_that_is_worse_by_chance_may_take_over():
    champion = ForecastLoss(4, 0.2, 0.0, (0.1, 0.2, 0.2, 0.3))
    by_chance = ForecastLoss(4, 0.21, 0.0, (0.3, 0.1, 0.24, 0.2))
    for_certain = ForecastLoss(4, 0.5, 0.0, (0.4, 0.5, 0.5, 0.6))
    assert may_take_over(champion, champion)
    assert may_take_over(by_chance, champion)
    assert not may_take_over(for_certain, champion)
    assert not may_take_over(ForecastLoss(1, 0.5, 0.0, (0.5,)), ForecastLoss(1, 0.2, 0.0, (0.2,)))


def test_a_model_of_absurd_records_is_poisoned():
    assert not is_poisoned(SizingModel.prior().train(told()), told())
    absurd = [record(r.request, 1e9, peak_memory_bytes=2**50) for r in told(count=60)]
    assert is_poisoned(SizingModel.prior().train(absurd), told())
