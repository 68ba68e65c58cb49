"""Results on a disk that is full, in a mount of its own: ``python -m … FOLDER``.

Run under ``unshare``, as :mod:`tests.fault.full_disk`. Prints what happened as JSON.
"""

# ruff: noqa: T201 - its parent reads what it prints

import json
import sys
import threading
from pathlib import Path

from fitcast.errors import StoreError
from fitcast.scheduler.kept.committer import Committer
from fitcast.scheduler.kept.results import ResultStore
from tests.fault.full_disk import MIB, filled, mounted
from tests.polling import LONGEST_S
from tests.scheduler.kept.keeping import ended, numbers_of
from tests.scheduler.kept.virtual_time import VirtualTime


def main(folder: Path) -> dict[str, object]:
    disk = mounted(folder / "disk", 4 * MIB)
    store = ResultStore(str(disk / "w"), b"k" * 32, "w")
    store.commit([ended(0), ended(1)])
    told: dict[str, object] = {}
    try:
        store.commit([ended(2, rows=MIB)])  # 8 MiB
    except StoreError as error:
        told["too large"] = str(error)
    ballast = filled(disk)
    try:
        store.commit([ended(2)])
    except StoreError as error:
        told["full"] = str(error)
    told["left"] = [path.suffix for path in (disk / "w" / "results").iterdir()]
    kept, told["messages"] = store.load()
    told["kept"] = [store.predictions(one.predictions)[0] for one in kept]
    time, troubles, ended_up = VirtualTime(), [], []
    done = threading.Event()

    def then(what: object) -> None:
        ended_up.append(what)
        done.set()

    time.at_wait[3] = ballast.unlink
    committer = Committer(
        lambda *trouble: troubles.append(trouble), apart_s=0, clock=time.clock, wait=time.wait
    )
    committer.commit(store, [ended(3)], then)
    assert done.wait(LONGEST_S)
    committer.close(LONGEST_S)
    told |= {"waits": time.waits_s, "troubles": troubles, "then": numbers_of(ended_up[0])}
    told["kept later"] = numbers_of(store.load()[0])
    return told


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
