"""The documents: their examples run, and their links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def example(document: str) -> str:
    """Return the first Python example of a document."""
    found = re.search(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    assert found, f"{document} has no Python example"
    return found[1]


def test_the_readmes_example_runs(tmp_path, no_process_left):
    code = example("README.md")
    assert len(code.splitlines()) <= 15
    script = tmp_path / "first.py"
    script.write_text(code)
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=170)
    assert run.returncode == 0, run.stderr
    assert "xgb max_depth=6" in run.stdout


def test_the_quickstarts_sweep_is_estimated_by_the_command(tmp_path):
    (tmp_path / "sweep.py").write_text(example("docs/how-to/quickstart.md"))
    command = [str(Path(sys.executable).with_name("fitcast")), "estimate", "sweep.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=170)
    assert run.returncode == 0, run.stderr
    assert "25 fits" in run.stdout


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())
    for link in links:
        if "://" not in link:
            assert (document.parent / link).exists(), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_exist(document):
    if document.name in {"CHANGELOG.md", "decisions.md"}:
        return  # they tell of the past too
    rooms = "benchmarks|docs|fitcast|history|notebooks|scheduler|sizing|tests|trainer"
    for name in re.findall(rf"`((?:{rooms})/[\w/.-]+\.\w+)`", document.read_text()):
        assert (ROOT / name).exists(), name
