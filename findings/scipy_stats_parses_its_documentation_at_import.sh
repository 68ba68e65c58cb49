#!/usr/bin/env bash
# scipy 1.17.1: importing scipy.stats, which importing scikit-learn does too, parses and rewrites the numpydoc
# text of some hundred functions, in every process that imports it.
#
# Guess: docstrings are constants; what becomes of them happens when the documentation is built, and an import
# that takes a second is spent on compiled modules.
# Seen: a decorator (`xp_capabilities`) adds a table of array libraries to the docstring of each function that it
# stands on. For that the docstring is parsed into sections and put together again, 633 times, which is 72 % of
# all calls of Python functions in that import (numpy and the byte code being there already), and at a profiler a
# third of its time. Where a worker starts many processes it is worth importing once and forking.
#
# Output:
#   docstrings parsed while importing scipy.stats: 633
#   of all function calls of that import, below the parser: 72 %
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q scipy==1.17.1 numpy==2.4.1
cd "$folder"
"$folder/venv/bin/python" -c "import scipy.stats"  # byte code
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy  # not its doing

counts = {"all": 0, "below": 0, "parsed": 0}
depth = 0


def profile(frame, event, argument):
    global depth
    if event not in ("call", "return"):
        return
    parses = frame.f_code.co_filename.endswith("_docscrape.py")
    if event == "call":
        counts["all"] += 1
        counts["below"] += depth > 0 or parses
        counts["parsed"] += parses and frame.f_code.co_name == "_parse"
        depth += parses
    else:
        depth -= parses


sys.setprofile(profile)
import scipy.stats

sys.setprofile(None)
share = 100 * counts["below"] / counts["all"]
print(f"docstrings parsed while importing scipy.stats: {counts['parsed']}")
print(f"of all function calls of that import, below the parser: {share:.0f} %")
assert counts["parsed"] == 633 and share > 50
PY
