"""`fitcast run` and `estimate` run a file as Python runs a script, on the real command line.

What lies beside the file can be imported by it and by its fits; its errors are shown as its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FITCAST = str(Path(sys.executable).with_name("fitcast"))
SWEEP = """
from fitcast import Sweep
from sklearn.datasets import load_iris
from beside import Majority

sweep = Sweep({"majority": Majority()}, *load_iris(return_X_y=True), cv=2)
"""
BESIDE = """
from sklearn.base import BaseEstimator, ClassifierMixin

class Majority(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        from lazily.counted import most_frequent

        self.classes_ = sorted(set(y))
        self.answer_ = most_frequent(y)
        return self

    def predict(self, X):
        return [self.answer_] * len(X)
"""
COUNTED = """
def most_frequent(y):
    return max(set(y), key=list(y).count)
"""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def folder(tmp_path):
    beside = tmp_path / "project"
    (beside / "lazily").mkdir(parents=True)
    (beside / "sweep.py").write_text(SWEEP)
    (beside / "beside.py").write_text(BESIDE)
    (beside / "lazily" / "counted.py").write_text(COUNTED)
    return beside


@pytest.fixture
def fitcast(tmp_path, fitcast_home):
    """Run the command elsewhere than where the file lies."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [FITCAST, *arguments],
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "100"} | environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run


def test_fits_import_what_lies_beside_the_file(folder, fitcast):
    ended = fitcast("run", "project/sweep.py")
    assert ended.returncode == 0, ended.stderr
    assert "Leaderboard" in ended.stdout
    assert "0.3333" in ended.stdout


@pytest.mark.slow
@pytest.mark.security
def test_what_lies_in_the_current_folder_is_not_run(folder, tmp_path, fitcast):
    (tmp_path / "multiprocessing.py").write_text(
        "import pathlib, sys\npathlib.Path(__file__).with_name('seen').touch()\nsys.exit(1)\n"
    )
    ended = fitcast("run", "project/sweep.py")
    assert not (tmp_path / "seen").exists()
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
def test_scripts_that_fits_start_import_what_lies_beside_them(folder, fitcast):
    (folder / "script.py").write_text("import beside\n")
    (folder / "lazily" / "counted.py").write_text(
        "import pathlib, subprocess, sys\n"
        "def most_frequent(y):\n"
        "    script = pathlib.Path(__file__).parents[1] / 'script.py'\n"
        "    subprocess.run([sys.executable, str(script)], check=True)\n"
        "    return 0\n"
    )
    ended = fitcast("run", "project/sweep.py")
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
def test_so_does_a_file_that_is_only_estimated(folder, fitcast):
    ended = fitcast("estimate", str(folder / "sweep.py"))
    assert ended.returncode == 0, ended.stderr
    assert "majority" in ended.stdout


@pytest.mark.slow
def test_a_link_to_the_file_finds_what_lies_beside_the_file_itself(folder, tmp_path, fitcast):
    (tmp_path / "linked.py").symlink_to(folder / "sweep.py")
    assert fitcast("estimate", "linked.py").returncode == 0


def test_pythons_own_switch_for_a_safe_path_counts(folder, fitcast):
    ended = fitcast("estimate", "project/sweep.py", PYTHONSAFEPATH="1")
    assert ended.returncode == 1
    assert "No module named 'beside'" in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("sweep.py", "def broken():\n    return 1 / 0\n\nbroken()\n", "ZeroDivisionError"),
        ("sweep.py", "sweep = (\n", "SyntaxError"),
        ("beside.py", "import a_module_that_nobody_has\n", "ModuleNotFoundError"),
    ],
)
def test_an_error_in_the_file_is_shown_as_python_would(folder, fitcast, name, content, said):
    (folder / name).write_text(content)
    ended = fitcast("estimate", "project/sweep.py")
    as_script = subprocess.run(
        [sys.executable, "project/sweep.py"],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said in ended.stderr
    assert ended.returncode == as_script.returncode == 1
    assert ended.stderr == as_script.stderr


@pytest.mark.slow
def test_what_is_wrong_with_a_sweep_is_one_line(folder, fitcast):
    (folder / "sweep.py").write_text(SWEEP.replace("cv=2", "cv=1"))
    ended = fitcast("estimate", "project/sweep.py")
    assert ended.returncode == 1
    assert ended.stderr.startswith("fitcast: ")
    assert len(ended.stderr.splitlines()) == 1


def test_the_file_sees_the_arguments_of_a_script_and_may_exit(folder, fitcast):
    (folder / "sweep.py").write_text("import sys\nsys.exit(f'{sys.argv} {__file__}')\n")
    ended = fitcast("estimate", "project/sweep.py")
    assert ended.returncode == 1
    file = str(folder / "sweep.py")
    assert ended.stderr.strip() == f"{[file]} {file}"
