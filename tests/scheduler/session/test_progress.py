"""What is shown of a workflow's progress, wherever output goes."""

import io
import itertools
import re
import textwrap

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbclient import NotebookClient
from rich.console import Console

from fitcast.scheduler.session.progress import (
    LONGEST_PAUSE_S,
    SHORTEST_PAUSE_S,
    Lines,
    Moment,
    NotebookBar,
)


def moment(elapsed_s: float, *, over: bool = False, name: str = "churn") -> Moment:
    return Moment(name, 3, 2, 20, elapsed_s, "succeeded" if over else "9.0 s left", over)


def lines_at(*moments: Moment) -> list[str]:
    stream = io.StringIO()
    lines = Lines(Console(file=stream, width=40))
    for one in moments:
        lines(one)
    return stream.getvalue().splitlines()


def test_a_log_has_a_line_at_the_beginning_and_one_at_the_end():
    written = lines_at(*(moment(s / 4) for s in range(100)), moment(25.0, over=True))
    assert written == [
        "churn: 3/20 fits, 2 running, 9.0 s left",
        "churn: succeeded, 3/20 fits in 25 s",
    ]


def test_a_log_has_few_lines_in_between():
    day = 86_400
    written = lines_at(*(moment(float(s)) for s in range(day)))
    assert day / LONGEST_PAUSE_S < len(written) < 250


@given(st.lists(st.floats(0.0, 1e6), min_size=1).map(sorted))
def test_lines_of_a_log_are_never_closer_than_half_a_minute(times_s):
    stream = io.StringIO()
    lines = Lines(Console(file=stream))
    written_s = []
    for now_s in times_s:
        before = stream.tell()
        lines(moment(now_s))
        if stream.tell() > before:
            written_s.append(now_s)
    gaps = [later - now for now, later in itertools.pairwise(written_s)]
    assert all(gap >= SHORTEST_PAUSE_S * (1 - 1e-9) for gap in gaps)


def test_a_name_is_shown_as_it_is():
    name = "a [bold]name[/] & <b>more</b> of it that is longer than a line of this console"
    (written,) = lines_at(moment(1.0, name=name))
    assert written.startswith(name)
    assert "<b>more</b>" not in moment(1.0, name=name).html
    assert "&lt;b&gt;more&lt;/b&gt;" in moment(1.0, name=name).html


NOTEBOOK = """
    from fitcast import Client, MemoryHistory, Sweep
    from sklearn.datasets import load_iris

    grid = {"C": [0.01, 0.1, 1.0, 10.0]}
    models = {"linear": ("sklearn.linear_model.LogisticRegression", grid)}
    with Client(history=MemoryHistory()) as client:
        client.submit(Sweep(models, *load_iris(return_X_y=True), cv=5, name="flowers")).progress()
"""


@pytest.mark.slow
def test_a_notebook_has_one_output_that_is_updated_in_place(tmp_path, monkeypatch, no_process_left):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(textwrap.dedent(NOTEBOOK))]
    )
    seen = []

    class Watching(NotebookClient):
        def process_message(self, msg, cell, cell_index):
            seen.append(msg["msg_type"])
            return super().process_message(msg, cell, cell_index)

    Watching(
        notebook, timeout=170, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    outputs = notebook.cells[0].outputs
    (shown,) = [one for one in outputs if one.output_type == "display_data"]
    assert "update_display_data" in seen
    assert seen.count("display_data") == 1
    assert re.search(r"flowers</b> .*succeeded, 21/21 fits in", shown.data["text/html"])
    assert "flowers: succeeded, 21/21 fits in" in shown.data["text/plain"]
    assert not [one for one in outputs if one.output_type == "stream"], outputs


def test_a_notebook_is_updated_only_if_something_changed():
    class Handle:
        def __init__(self):
            self.updates = []

        def update(self, data, raw):
            self.updates.append(data)

    bar = NotebookBar()
    bar._handle = Handle()
    for one in (moment(1.0), moment(1.3), moment(2.0, over=True)):
        bar(one)
    assert len(bar._handle.updates) == 2
