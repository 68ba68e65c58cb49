import json
import time

import pytest

from fitcast.trainer import machine_speed as module
from fitcast.trainer.machine_speed import (
    REFERENCE_S,
    machine_speed,
    measure_kernels,
    speed_of,
)


def test_twice_as_quick_in_all_kernels_is_a_speed_of_two():
    assert speed_of(REFERENCE_S) == pytest.approx(1.0)
    assert speed_of({name: took / 2 for name, took in REFERENCE_S.items()}) == pytest.approx(2.0)


def test_the_measured_speed_is_kept(tmp_path):
    cache = tmp_path / "speed.json"
    speed = machine_speed(cache)
    (key,) = json.loads(cache.read_text())

    cache.write_text(json.dumps({key: 3.5}))

    assert 0.02 <= speed <= 50.0
    assert machine_speed(cache) == 3.5


@pytest.mark.parametrize(
    "broken", ["", "nonsense", "[1, 2]", '{"a": "b"}', '{"a": null}', "{", '{"a": 1e9}']
)
def test_a_broken_cache_is_measured_anew_and_mended(tmp_path, monkeypatch, broken):
    monkeypatch.setattr(module, "measure_kernels", lambda: dict(REFERENCE_S))
    cache = tmp_path / "speed.json"
    cache.write_text(broken)

    assert machine_speed(cache) == pytest.approx(1.0)
    assert list(json.loads(cache.read_text()).values()) == [pytest.approx(1.0)]


def test_a_cache_that_cannot_be_written_hurts_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "measure_kernels", lambda: dict(REFERENCE_S))

    assert machine_speed(tmp_path / "no" / "such" / "folder.json") == pytest.approx(1.0)


def test_another_processor_is_another_measurement(tmp_path, monkeypatch):
    cache = tmp_path / "speed.json"
    monkeypatch.setattr(module, "measure_kernels", lambda: dict(REFERENCE_S))
    machine_speed(cache)
    monkeypatch.setattr(module, "_processor", lambda: "another one")
    slow = {name: took * 4 for name, took in REFERENCE_S.items()}
    monkeypatch.setattr(module, "measure_kernels", lambda: slow)

    assert machine_speed(cache) == pytest.approx(0.25)
    assert len(json.loads(cache.read_text())) == 2


def test_it_takes_about_a_second_of_cpu():
    start = time.thread_time()
    seconds = measure_kernels()

    assert time.thread_time() - start < 10.0  # twenty times what the reference machine takes
    assert set(seconds) == set(REFERENCE_S)
    assert all(0.0 < took < 1.0 for took in seconds.values())
