"""A client in a process of its own, to be killed or stopped: ``python -m tests.fault.lone_client``.

Prints a line when fits run, and, if it gets there, another with how they ended.
"""

import json
import sys

import numpy as np

from fitcast import Client, LocalBackend, Pool, Sweep
from fitcast.history.store import MemoryHistory
from tests.fault import harm
from tests.fault.estimators import Lingers
from tests.polling import LONGEST_S

MIB = 2**20
SILENT_AFTER_S = 2.0


# ruff: noqa: T201 - its parent reads what it prints


def main(home: str, data_file: str, linger_s: float) -> None:
    data = np.load(data_file)
    X, y = data["X"], data["y"]
    pool = Pool("two", cpus=1, memory_bytes=600 * MIB, workers=2)
    backend = LocalBackend([pool], silent_after_s=SILENT_AFTER_S)
    with Client(backend, home=home, history=MemoryHistory()) as client:
        workflow = client.submit(Sweep(Lingers(linger_s=linger_s), X, y, cv=6, refit=False))
        assert harm.until(lambda: len(harm.victims(client)["fit"]) == 2)
        print("running", flush=True)
        workflow.wait(LONGEST_S)
        fits = workflow.fits
        told = {"outcomes": list(fits["outcome"]), "attempts": [int(n) for n in fits["attempts"]]}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
