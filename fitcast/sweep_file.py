"""A file that defines a sweep → the sweep: Python, run as a script would be, or plain JSON.

In here: the search path for modules beside the file, errors of the file shown as its own. Not in
here: what a command then does with the sweep (:mod:`fitcast.cli`).
"""

import json
import runpy
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from fitcast.errors import FitcastError, InvalidSweepError
from fitcast.trainer.sweep.described import description_of, sweep_of
from fitcast.trainer.sweep.prepared import Sweep

RUN_NAME = "__fitcast__"  # not "__main__": what a file does only as a script stays undone


def read_sweep(file: Path) -> Sweep:
    """Run a file and return the sweep it defines; of a JSON file, the one that it describes.

    Modules beside the file can be imported, also later, while the sweep runs: estimators may
    import lazily.

    Raises
    ------
    InvalidSweepError
        There is no such file, or it defines no sweep.
    SystemExit
        The file itself failed; its traceback was printed.
    """
    if not file.is_file():
        raise InvalidSweepError(f"there is no file {file}; give a Python file that defines `sweep`")
    if is_description(file):
        return sweep_of(description_of(read_json(file)))
    path = file.absolute()
    if not sys.flags.safe_path:
        sys.path.insert(0, str(path.resolve().parent))  # as for a script
    given, sys.argv = sys.argv, [str(file)]
    try:
        sweep = runpy.run_path(str(path), run_name=RUN_NAME).get("sweep")
    except FitcastError:
        raise  # its message says what to do
    except Exception as error:
        traceback.print_exception(error.with_traceback(_of_file(error.__traceback__, path)))
        raise SystemExit(1) from error
    finally:
        sys.argv = given
    if not isinstance(sweep, Sweep):
        raise InvalidSweepError(f"{file} doesn't define `sweep = fitcast.Sweep(...)`; add it")
    return sweep


def is_description(file: Path) -> bool:
    """Tell whether a file describes a sweep as plain JSON."""
    return file.suffix == ".json"


def read_json(file: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises
    ------
    InvalidSweepError
        There is no such file, or it holds none.
    """
    try:
        told = json.loads(file.read_bytes())
    except OSError as error:
        raise InvalidSweepError(f"{file} can't be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidSweepError(f"{file} is no JSON that can be read: {error}") from error
    if not isinstance(told, dict):
        raise InvalidSweepError(f"{file} must hold a JSON object that describes a sweep")
    return told


def _of_file(trace: TracebackType | None, path: Path) -> TracebackType | None:
    """Return the part of a traceback that begins in the file; None if nothing of it ran."""
    while trace is not None and trace.tb_frame.f_code.co_filename != str(path):
        trace = trace.tb_next
    return trace
