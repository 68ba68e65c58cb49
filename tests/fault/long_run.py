"""Hundreds of kills in one run: ``python -m tests.fault.long_run --kills 200 --minutes 10``.

Sweeps run one after the other on the local backend, with a real MLflow store, while processes of
every kind are killed or stopped at random moments. After each sweep everything in
:mod:`tests.fault.holding` must hold; after the last one nothing may be left. Prints what was done.
"""

# ruff: noqa: T201 - it reports to whoever started it

import argparse
import json
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from fitcast import Client, LocalBackend, Pool, Sweep
from fitcast.history.records import Outcome
from tests.fault import harm, holding
from tests.fault.estimators import Lingers
from tests.leases import sealed_datasets

MIB = 2**20
WEIGHTS = {"fit": 3, "supervisor": 3, "fork server": 2, "worker": 2, "stopped worker": 1}
SILENT_AFTER_S = 3.0
LEAST_PAUSE_S, MOST_PAUSE_S = 0.3, 1.5


@dataclass
class Told:
    """What a run did and saw."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    workflows: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    fits: int = 0
    took_s: float = 0.0
    longest_workflow_s: float = 0.0


class Killer(threading.Thread):
    """Harms a client's processes at random moments until told to stop."""

    def __init__(self, client: Client, chance: random.Random, most: int, kills: Counter[str]):
        super().__init__(daemon=True)
        self.over = threading.Event()
        self._client, self._chance, self._most, self._kills = client, chance, most, kills

    @property
    def is_done(self) -> bool:
        return self._kills.total() >= self._most

    def run(self) -> None:
        kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
        while not self.is_done:
            if self.over.wait(self._chance.uniform(LEAST_PAUSE_S, MOST_PAUSE_S)):
                return
            (kind,) = self._chance.choices(kinds, weights)
            stops = kind == "stopped worker"
            sign = signal.SIGSTOP if stops else signal.SIGKILL
            if harm.strike(self._client, "worker" if stops else kind, self._chance, sign=sign):
                self._kills[kind] += 1


def run(kills: int, minutes: float, seed: int, home: Path) -> Told:
    told, chance = Told(seed), random.Random(seed)
    began_s = time.monotonic()
    pools = [Pool("one", 1, 500 * MIB, workers=2), Pool("two", 2, 900 * MIB)]
    with Client(LocalBackend(pools, silent_after_s=SILENT_AFTER_S), home=home) as client:
        killer = Killer(client, chance, kills, told.kills)
        killer.start()
        while not killer.is_done and time.monotonic() - began_s < 60 * minutes:
            one_sweep(client, chance, told)
            said = f"{time.monotonic() - began_s:5.0f} s: {told.kills.total()} kills"
            print(f"{said}, {told.fits} fits, {dict(told.outcomes)}", flush=True)
        killer.over.set()
        killer.join()
        one_sweep(client, chance, told)  # all is well again
        assert client.flush(120), client.troubles
        check_history(client)
    told.took_s = time.monotonic() - began_s
    return told


def one_sweep(client: Client, chance: random.Random, told: Told) -> None:
    lingers = sorted(chance.uniform(0.05, 0.8) for _ in range(3))
    grid = {"depth": [2, 3, 4], "linger_s": lingers}
    refit = chance.random() < 0.5
    sweep = Sweep({"m": (Lingers(), grid)}, holding.X, holding.Y, cv=holding.SPLITS, refit=refit)
    workflow = client.submit(sweep)
    workflow.wait(300)
    accepted = 9 * holding.SPLITS + (refit and "succeeded" in set(workflow.fits["outcome"]))
    holding.check_whole(client, workflow, accepted)
    told.workflows[workflow.state] += 1
    told.fits += accepted
    told.outcomes.update(workflow.fits["outcome"])
    told.attempts.update(r.outcome.value for r in workflow.records)
    told.longest_workflow_s = max(told.longest_workflow_s, workflow.took_s)


def check_history(client: Client) -> None:
    """Check that the store has every record once."""
    records, _ = client._platform.engine._store.read()
    stored = Counter(record.record_id for record in records)
    ours = {record.record_id for run in client.workflows() for record in run.records}
    assert set(stored) == ours
    assert set(stored.values()) == {1}
    results = Counter(
        (r.workflow_id, r.candidate_index, r.fold)
        for r in records
        if r.outcome is Outcome.SUCCEEDED
    )
    assert set(results.values()) == {1}


def check_nothing_left(home: Path, listening: set[int]) -> None:
    def left() -> list[psutil.Process]:
        below = psutil.Process().children(recursive=True)
        return [p for p in below if "resource_tracker" not in " ".join(p.cmdline())]

    assert harm.until(lambda: not left(), 10), left()
    assert not (kept := holding.leases()), kept
    assert holding.our_shared_memory() == set()
    assert holding.listening() <= listening
    assert holding.holding_mark(Path("/dev/shm"), home) == []
    assert not sealed_datasets(home)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--kills", type=int, default=200)
    ask.add_argument("--minutes", type=float, default=10.0)
    ask.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    ask.add_argument("--json", type=Path)
    given = ask.parse_args()
    print(f"seed {given.seed}", flush=True)
    listening = holding.listening()
    with tempfile.TemporaryDirectory(prefix="fitcast-faults-") as folder:
        told = run(given.kills, given.minutes, given.seed, Path(folder))
        check_nothing_left(Path(folder), listening)
    for name, value in vars(told).items():
        print(f"{name:20} {dict(value) if isinstance(value, Counter) else value}")
    print(f"{'kills in all':20} {told.kills.total()} of {given.kills}; nothing lost, nothing left")
    if given.json:
        given.json.write_text(json.dumps(vars(told), indent=1), encoding="utf-8")
    if told.kills.total() < given.kills:
        raise SystemExit("the time was over before all kills were done: give --minutes more")


if __name__ == "__main__":
    main()
