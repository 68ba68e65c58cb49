"""What is installed: the wheel's modules, the public names, and what ``import fitcast`` costs."""

import importlib
import resource
import shutil
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

import fitcast

ROOT = Path(__file__).parents[1]
INSTALLED = {".css", ".html", ".js", ".json", ".py", ".svg"}
ROOMS = ("history", "scheduler", "sizing", "trainer")
HEAVY = {"cryptography", "dask", "distributed", "lightgbm", "mlflow", "numpy", "pandas", "pyarrow"}
HEAVY |= {"pydantic", "rich", "scipy", "sklearn", "tensorflow", "typer", "xgboost"}


def installed_files(folder: Path) -> set[str]:
    """Return what the tree says an installation holds, as paths inside the wheel."""
    files = {f"fitcast/{path.name}" for path in folder.glob("fitcast/*.py")} | {"fitcast/py.typed"}
    for room in (*ROOMS, "fitcast/commands"):
        for path in (folder / room).rglob("*"):
            if path.suffix in INSTALLED and "__pycache__" not in path.parts:
                name = str(path.relative_to(folder)).removeprefix("fitcast/")
                files.add(f"fitcast/{name}")
    return files


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # of a copy: the build writes beside the sources, and others may be changing them
    copy = tmp_path_factory.mktemp("tree")
    for name in ("fitcast", *ROOMS):
        shutil.copytree(
            ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "out", "."]
    run = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    (path,) = (copy / "out").glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield copy, path, archive


def test_the_wheel_holds_the_modules_of_the_tree_and_nothing_else(wheel):
    tree, _, archive = wheel
    packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == installed_files(tree)


def test_users_get_one_top_level_name(wheel):
    _, _, archive = wheel
    tops = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" not in name}
    assert tops == {"fitcast"}


def test_the_wheel_says_its_version_licence_and_command(wheel):
    _, path, archive = wheel
    info = f"fitcast-{fitcast.__version__}.dist-info"
    metadata = archive.read(f"{info}/METADATA").decode()
    assert f"\nVersion: {fitcast.__version__}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert f"{info}/licenses/LICENSE" in archive.namelist()
    assert "fitcast = fitcast.cli:main" in archive.read(f"{info}/entry_points.txt").decode()
    assert path.name == f"fitcast-{fitcast.__version__}-py3-none-any.whl"


def test_a_module_of_the_wheel_is_imported_from_it_and_not_from_the_tree(wheel, tmp_path):
    _, path, _ = wheel
    code = "import fitcast.history.records as m, fitcast.trainer.attempt.spec; print(m.__file__)"
    run = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(path)!r}); {code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == f"{path}/fitcast/history/records.py"


def test_what_is_exported_is_what_is_listed():
    assert dir(fitcast) == sorted(fitcast.__all__)
    assert set(fitcast._HOME_OF) | {"__version__", "errors"} == set(fitcast.__all__)


@pytest.mark.parametrize("name", sorted(fitcast.__all__))
def test_every_public_name_can_be_had(name):
    value = getattr(fitcast, name)
    if name in fitcast._HOME_OF:
        assert value.__name__ == name
        assert value.__doc__
    else:
        assert value is not None


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Scheduler'"):
        _ = fitcast.Scheduler


@pytest.mark.parametrize("room", ROOMS)
def test_the_rooms_are_in_the_namespace(room):
    module = importlib.import_module(f"fitcast.{room}")
    assert module.__name__ == f"fitcast.{room}"
    # the tree has links, an installation has folders; either way it is the same module
    (location,) = module.__path__
    assert Path(location).resolve() == (Path(fitcast.__file__).parent / room).resolve()


def cpu_s(command: list[str]) -> tuple[float, str]:
    """Run a command; return the CPU seconds it took, which a busy machine doesn't change much."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, run.stdout


def test_import_fitcast_is_quick_and_imports_nothing_heavy():
    code = "import fitcast, sys; print(*sys.modules)"
    tries = [cpu_s([sys.executable, "-c", code]) for _ in range(3)]
    for _, modules in tries:
        assert not HEAVY & set(modules.split())
    bare = min(cpu_s([sys.executable, "-c", ""])[0] for _ in range(3))
    assert min(took_s for took_s, _ in tries) < 4 * bare


def test_the_help_is_quick():
    command = [str(Path(sys.executable).with_name("fitcast")), "--help"]
    tries = [cpu_s(command) for _ in range(3)]
    assert all("demo" in told for _, told in tries)
    library = min(cpu_s([sys.executable, "-c", "import numpy, sklearn"])[0] for _ in range(2))
    assert min(took_s for took_s, _ in tries) < library / 2  # nothing of the sort is loaded


def test_the_lock_has_hashes_pins_and_no_addresses():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert not [line for line in lines if "://" in line or line.startswith("-")]
    names = [line for line in lines if line and line[0].isalnum()]
    assert names
    assert all("==" in line for line in names)
    for line, after in pairwise(lines):
        if line and line[0].isalnum():
            assert after.strip().startswith("--hash=sha256:"), line
