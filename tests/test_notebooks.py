"""The notebooks run from top to bottom, and are kept without outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

PICTURES = {"quickstart": 0, "sizing_model": 2, "estimates": 3, "cluster": 2}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path, monkeypatch, no_process_left):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=170, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    shown = [cell for cell in notebook.cells if cell.get("outputs")]
    assert shown, "a notebook that shows nothing tells nothing"
    pictures = [out for cell in shown for out in cell.outputs if "image/png" in out.get("data", {})]
    assert len(pictures) >= PICTURES[path.stem]
    told = [out for cell in shown for out in cell.outputs if out.get("name") == "stderr"]
    # The filter that requests sets for a dependency of its own is lost if another thread leaves a
    # `catch_warnings` while it is imported.
    told = [out for out in told if "urllib3/contrib/socks" not in out["text"]]
    assert not told, "no warning is left over"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} == set(PICTURES)
