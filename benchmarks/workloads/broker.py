"""The broker under load: submissions beside other queues, a long queue, a large upload, a kill.

In: what is measured and how. Not in: the queues (:mod:`benchmarks.job_queues`), fairness and
forecasts of the queue (:mod:`benchmarks.workloads.week`).
"""

import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx
import numpy as np
from sklearn.dummy import DummyClassifier

from benchmarks.job_queues import Dbos, OurQueue, Procrastinate, Queue
from benchmarks.judging import Row
from benchmarks.report import Goal, Report
from fitcast import Client, Sweep
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.store import BrokerStore
from tests.brokers import Served
from tests.ports import free_port
from tests.postgres_server import PostgresServer, why_not

USERS: Final = 50
EACH: Final = 40
ROUNDS: Final = 5
QUEUED: Final = (100, 10_000)
ASKED: Final = 300
UPLOAD_BYTES: Final = 10 * 10**9
_KILLS: Final = 3


def run(quick: bool, repeats: int = ROUNDS) -> Report:
    """Measure all of it."""
    with tempfile.TemporaryDirectory(prefix="fitcast-bench-") as folder:
        home = Path(folder)
        rounds = 1 if quick else repeats
        submissions, goals = _side_by_side(home, rounds, 4 if quick else EACH)
        depth, more = _depth(home, (20, 200) if quick else QUEUED)
        goals += more
        served, more, notes = _served(home, UPLOAD_BYTES // (100 if quick else 1), quick)
        goals += more
    return Report(
        "The broker under load",
        {
            f"{USERS} users who submit one after the other": submissions,
            "A long queue (the database alone)": depth,
            "A process of its own": served,
        },
        goals,
        notes,
    )


# -- submissions ---------------------------------------------------------------------------------


def _side_by_side(home: Path, rounds: int, each: int) -> tuple[list[Row], list[Goal]]:
    rows: list[Row] = []
    goals: list[Goal] = []
    for database, url in _databases(home):
        kinds: list[Callable[[str, int], Queue]] = [OurQueue]
        if database == "PostgreSQL" and importlib.util.find_spec("procrastinate"):
            kinds.append(Procrastinate)
        if importlib.util.find_spec("dbos"):
            kinds.append(Dbos)
        queues = [kind(url(), USERS) for kind in kinds]
        taken: dict[str, list[tuple[float, float, float]]] = {one.name: [] for one in queues}
        for one in queues:  # connections are made, statements are known
            _round(one, 2)
        for _ in range(rounds):
            for one in queues:
                taken[one.name].append(_round(one, each))
        for one in queues:
            one.close()
        for name, of in taken.items():
            rate, p50_s, p99_s = (statistics.median(values) for values in zip(*of, strict=True))
            rows.append(
                {
                    "": f"{name}, {database}",
                    "submissions/s": rate,
                    "P50 ms": 1e3 * p50_s,
                    "P99 ms": 1e3 * p99_s,
                }
            )
        ours, *others = (statistics.median([rate for rate, _, _ in of]) for of in taken.values())
        ratio = ours / max(others) if others else float("nan")
        p99_ms = 1e3 * statistics.median([p99_s for _, _, p99_s in taken[OurQueue.name]])
        goals += [
            Goal(f"{database}: submissions/s over the best peer's", ratio, least=2.0),
            Goal(f"{database}: P99 ms", p99_ms, most=50.0, form="{:.0f}"),
        ]
    return rows, goals


def _round(queue: Queue, each: int) -> tuple[float, float, float]:
    """Let all users submit; return submissions per second and the P50 and P99 of their seconds."""

    def user(number: int) -> list[float]:
        mine = []
        for _ in range(each):
            began_s = time.perf_counter()
            queue.submit(number)
            mine.append(time.perf_counter() - began_s)
        return mine

    before = queue.count()
    with ThreadPoolExecutor(USERS) as pool:
        began_s = time.perf_counter()
        all_s = [one for mine in pool.map(user, range(USERS)) for one in mine]
        took_s = time.perf_counter() - began_s
    if queue.count() - before != len(all_s):
        raise AssertionError(f"{queue.name} lost jobs")
    p50_s, p99_s = np.quantile(all_s, [0.5, 0.99])
    return len(all_s) / took_s, float(p50_s), float(p99_s)


def _databases(home: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield the name of each kind of database, and what makes the address of a new one."""
    yield "SQLite", lambda: f"sqlite:///{home}/queue-{uuid4().hex}.db"
    if why_not():
        return
    server = PostgresServer(is_durable=True)
    try:
        server.start()
        yield "PostgreSQL", lambda: server.url(server.new_database())
    finally:
        server.remove()


# -- a long queue --------------------------------------------------------------------------------


def _depth(home: Path, depths: tuple[int, int]) -> tuple[list[Row], list[Goal]]:
    rows: list[Row] = []
    goals: list[Goal] = []
    for database, url in _databases(home):
        queue = OurQueue(url(), USERS)
        medians: dict[str, list[float]] = {}
        for depth in depths:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(queue.submit, (n % USERS for n in range(depth - queue.count()))))
            for what, took_s in _latencies(queue).items():
                medians.setdefault(what, []).append(took_s)
        queue.close()
        for what, (few_s, many_s) in medians.items():
            rows.append(
                {
                    "": f"{what}, {database}",
                    f"ms at {depths[0]:,}": 1e3 * few_s,
                    f"ms at {depths[1]:,}": 1e3 * many_s,
                    "ratio": many_s / few_s,
                }
            )
            goals.append(Goal(f"{database}: {what}, ratio", many_s / few_s, most=2.0))
    return rows, goals


def _latencies(queue: OurQueue) -> dict[str, float]:
    """Return medians of seconds: to find and claim what is next, and to tell how one stands."""
    store = queue.store
    claims, looks = [], []
    for _ in range(ASKED):
        began_s = time.perf_counter()
        first = store.queue_heads()[0]
        row = store.claim(first.workflow_id, "bench", 60.0)
        claims.append(time.perf_counter() - began_s)
        if row is None or row.state is not State.RUNNING:
            raise AssertionError("it can't be claimed")
        store.give_back(row.workflow_id, row.fence)
        began_s = time.perf_counter()
        store.get(row.workflow_id, row.user_id)
        looks.append(time.perf_counter() - began_s)
    return {"find and claim": statistics.median(claims), "state": statistics.median(looks)}


# -- a process of its own ------------------------------------------------------------------------


def _served(home: Path, upload_bytes: int, quick: bool) -> tuple[list[Row], list[Goal], list[str]]:
    with Served(home / "served", free_port()) as broker:
        with BrokerStore(f"sqlite:///{broker.home}/broker/broker.db") as store:
            store.add_user("ann")
            token = store.create_token("ann")[1]
        before = _peak_bytes(broker.pid)
        X = np.random.default_rng(0).integers(0, 255, (upload_bytes // 800, 800), dtype=np.uint8)
        y = np.arange(len(X)) % 2
        with Client(broker.url, token=token) as client:
            # what its fits would need isn't asked here: it is cancelled before they begin
            sweep = Sweep(
                DummyClassifier(),
                X,
                y,
                cv=2,
                refit=False,
                predict_method=None,
                memory_bytes=2**30,
            )
            sweep.prepare()
            began_s = time.perf_counter()
            workflow = client.submit(sweep)
            took_s = time.perf_counter() - began_s
            workflow.cancel()
            peak = _peak_bytes(broker.pid)
        kills = []
        for _ in range(1 if quick else _KILLS):
            broker.kill()
            began_s = time.perf_counter()
            broker.start()
            while not _is_ready(broker.url):
                time.sleep(0.01)
            kills.append(time.perf_counter() - began_s)
    rate = X.nbytes / took_s / 1e6
    rows: list[Row] = [
        {
            "": "fitcast serve",
            "dataset GB": X.nbytes / 1e9,
            "sealed, sent and verified s": took_s,
            "MB/s": rate,
            "broker's peak MB": peak / 1e6,
            "kill to ready s": statistics.median(kills),
        }
    ]
    goals = [
        Goal("upload MB/s, sealing and verifying included", rate, least=500.0, form="{:.0f}"),
        Goal("peak MB of the broker", peak / 1e6, most=300.0, form="{:.0f}"),
        Goal("seconds from kill -9 to serving", statistics.median(kills), most=10.0),
    ]
    return rows, goals, [f"peak of the broker before the upload: {before / 1e6:.0f} MB"]


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5.0).status_code == 200
    except httpx.HTTPError:
        return False


def _peak_bytes(pid: int) -> int:
    """Return the most memory that a process ever held of its own."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} is gone")
