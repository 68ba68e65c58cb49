"""Others' tables of fits, and what our own early stopping teaches of the number of rounds."""

import csv
import json
import math

import numpy as np
import pytest

from benchmarks.early_stopped import DATA, Stopped, fitted, read, write
from benchmarks.others_fits import read_tabrepo, splits, tables

ROWS = {"1": 800, "2": 5_000, "3": 30_000, "4": 200_000}


@pytest.fixture
def folder(tmp_path):
    """A table in TabRepo's form: more rows and slower learning take longer."""
    rates = {f"LightGBM_r{n}": 0.1 / (1 + n) for n in range(6)}
    configs = {
        name: {"hyperparameters": {"learning_rate": rate, "ag_args": {}}}
        for name, rate in rates.items()
    }
    (tmp_path / "configs_lightgbm.json").write_text(json.dumps(configs))
    with (tmp_path / "results_ranked_by_dataset_valid.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["dataset", "framework", "time_train_s"])
        for dataset, rows in ROWS.items():
            for name, rate in rates.items():
                table.writerow([dataset, name, 1e-5 * rows**0.8 / rate])
    names = "tid NumberOfInstances NumberOfFeatures NumberOfClasses NumberOfSymbolicFeatures"
    with (tmp_path / "task_metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*names.split(), "MaxNominalAttDistinctValues", "NumberOfMissingValues"])
        for dataset, rows in ROWS.items():
            table.writerow([dataset, float(rows), 11.0, 2.0, 3.0, 7.0, 0.0])
    return tmp_path


def test_a_table_of_others_becomes_requests_as_their_users_knew_them(folder):
    records = read_tabrepo(folder)
    assert len(records) == 4 * 6
    small, large = records[0].request, records[-1].request
    assert (small.rows_train, small.columns, small.classes) == (720, 10, 2)
    assert small.categorical_columns == 2
    assert small.distinct_values == 2 * 7 + 8 * 256
    assert small.params["early_stopping_round"] == 300
    assert large.params["early_stopping_round"] == 20  # more rows, less patience
    assert "ag_args" not in small.params
    assert len(read_tabrepo(folder, every=5)) == 4 * 2


def test_no_dataset_is_on_both_sides(folder):
    for split in splits(read_tabrepo(folder)):
        assert not {r.dataset for r in split.train} & {r.dataset for r in split.test}


def test_one_seen_setting_makes_forecasts_better(folder):
    rows = {row[""]: row for row in tables(read_tabrepo(folder))}
    unseen, seen = rows["whole datasets left out"], rows["one setting of the dataset seen"]
    assert seen["median"] < unseen["median"]
    assert unseen["fits"] == 24


def test_the_law_of_the_best_round_is_found_again(tmp_path):
    rng = np.random.default_rng(0)
    made = []
    for number in range(60):
        rows, columns, own = (
            int(10 ** rng.uniform(2, 5)),
            int(10 ** rng.uniform(0, 2)),
            rng.normal(),
        )
        for _ in range(4):
            rate, leaves = float(10 ** rng.uniform(-2, -0.5)), int(10 ** rng.uniform(0.7, 2))
            best = 80.0 * (rate / 0.1) ** -1.0 * (rows / 1e4) ** 0.5 * math.exp(0.8 * own)
            best = max(1, round(best * math.exp(0.1 * rng.normal())))
            made.append(
                Stopped(
                    *("lightgbm", f"d{number}", rows, columns, 0, rate, leaves, False, 30),
                    *(best, best + 30, True),
                )
            )
    path = tmp_path / "made.csv"
    write(path, made)
    found = fitted(read(path))
    assert found["rate_power"] == pytest.approx(1.0, abs=0.2)
    assert found["rows_power"] == pytest.approx(0.5, abs=0.15)
    assert found["log_sd_within"] < 0.3 < found["log_sd"]


def test_the_constants_in_use_are_those_of_the_measured_rounds():
    from fitcast.sizing.laws.rounds import constants

    found = fitted(read(DATA))
    for name, value in constants().items():
        assert found[name] == pytest.approx(value, rel=0.02), name
