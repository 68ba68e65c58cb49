"""Hundreds of kills of a client: ``python -m tests.fault.durable_kills --kills 200``.

A workflow is begun and gone on with by one client after the other, each of which is killed: before
a random operation on one of the workflow's files, or, together with all its processes, at a random
moment. In the end it must have come to what an undisturbed one comes to. Prints what was done.
"""

# ruff: noqa: T201 - it reports to whoever started it

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from tests.fault.test_durable import check, ended, kept, start


def killed_at_random(home: Path, chance: random.Random) -> str:
    """Begin or go on, and kill at a random moment: the client, or all there is; say which."""
    process = start(home)
    assert process.stdout is not None
    process.stdout.readline()  # it runs, or has ended
    time.sleep(chance.uniform(0.0, 2.0))
    victims = [psutil.Process(process.pid)] if process.poll() is None else []
    whom = "client"
    if victims and chance.random() < 0.5:
        whom = "all its processes"
        victims += victims[0].children(recursive=True)
    for victim in victims:
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            continue
    process.communicate()
    return whom if victims else "nobody"


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--kills", type=int, default=200)
    ask.add_argument("--minutes", type=float, default=60.0)
    ask.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    asked = ask.parse_args()
    chance, kills, workflows = random.Random(asked.seed), Counter[str](), 0
    print(f"seed {asked.seed}", flush=True)
    until_s = time.monotonic() + 60.0 * asked.minutes
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = ended(Path(folder))
    assert undisturbed is not None
    while kills.total() < asked.kills and time.monotonic() < until_s:
        with tempfile.TemporaryDirectory() as folder:
            home, told, before = Path(folder), None, Counter[tuple[int, int]]()
            while told is None:
                if chance.random() < 0.5:
                    told = ended(home, "--at", str(chance.randint(1, 30)))
                    if told is None:
                        kills["at a file"] += 1
                elif kills.total() < asked.kills:
                    kills[killed_at_random(home, chance)] += 1
                else:
                    told = ended(home)
                now = kept(home)
                assert before <= now, (before, now)
                assert set(now.values()) <= {1}, now
                before = now
            check(told, undisturbed)
            workflows += 1
            print(json.dumps({"workflows": workflows, "kills": kills}), flush=True)
    assert kills.total() >= asked.kills, "out of time"


if __name__ == "__main__":
    main()
