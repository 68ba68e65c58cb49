"""``python -m fitcast.scheduler.session.background HOME``: runs workflows in the background.

Started by :mod:`fitcast.scheduler.session.background.starting`. It leaves whoever started it before
anything is imported that takes time or makes threads.
"""

import os
import sys

if __name__ == "__main__":
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")  # it holds no folder of whoever started it
    from fitcast.scheduler.session.background.process import run_until_idle

    sys.exit(run_until_idle(sys.argv[1]))
