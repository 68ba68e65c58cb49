"""Blocks that are large enough are mapped apart while workflows run, and only then."""

import ctypes
import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="another C library than glibc"
)

# In a process of its own, as the threshold is the process's.
ASKED = """
import ctypes, json
import numpy as np
from fitcast.scheduler.kept.freed_memory import large_blocks_apart, large_blocks_together

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost",
    )]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Info

def is_apart():
    before = mallinfo2().hblks
    block = np.empty(200_000, np.uint8)
    return mallinfo2().hblks == before + 1

np.empty(2**24, np.uint8)  # freed: glibc keeps blocks of this size together from now on
told = [is_apart()]
large_blocks_together("nobody")
told.append(is_apart())
for holder in "ab":
    large_blocks_apart(holder)
    told.append(is_apart())
for holder in "aab":
    large_blocks_together(holder)
    told.append(is_apart())
print(json.dumps(told))
"""


def asked(**environment):
    done = subprocess.run(
        [sys.executable, "-c", ASKED],
        check=True, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_they_are_apart_for_as_long_as_anybody_wants_it():
    assert asked() == [False, False, True, True, True, True, False]


def test_what_the_user_set_stays():
    assert asked(MALLOC_MMAP_THRESHOLD_=str(2**20)) == [False] * 7
