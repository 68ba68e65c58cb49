"""The documents: their examples run, and their links lead somewhere."""

import ast
import importlib.util
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import typer

import fitcast
from fitcast.cli import app
from fitcast.version import __version__

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


@pytest.mark.slow
def test_the_quickstarts_sweep_is_estimated_by_the_command(tmp_path):
    (tmp_path / "sweep.py").write_text(example("docs/how-to/quickstart.md"))
    command = [str(Path(sys.executable).with_name("fitcast")), "estimate", "sweep.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=170)
    assert run.returncode == 0, run.stderr
    assert "25 fits" in run.stdout


each_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub and the site make them."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    seen: Counter[str] = Counter()
    made = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        made.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return made


@each_document
def test_links_lead_somewhere(document):
    for link, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", document.read_text()):
        if "://" in link:
            continue
        to = document.parent / link if link else document
        assert to.exists(), link
        if anchor:
            assert anchor in anchors(to), f"{link}#{anchor}"


@each_document
def test_python_in_it_is_python_and_names_what_there_is(document):
    for block in re.findall(
        r"^```python\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE
    ):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module == "fitcast":
                for name in node.names:
                    assert hasattr(fitcast, name.name), name.name


@each_document
def test_blocks_say_what_they_are_in(document):
    fences = re.findall(r"^```(.*)$", document.read_text(), re.MULTILINE)
    assert len(fences) % 2 == 0
    assert all(fences[::2]), "name the language of each block, or indent it"
    assert not any(fences[1::2])


@each_document
def test_commands_in_it_exist(document):
    commands = typer.main.get_command(app).commands
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = document.read_text()
    code = re.findall(r"^ {4}(.*)$|`([^`\n]+)`", text, re.MULTILINE)
    for line in (indented or inline for indented, inline in code):
        words = line.split("#")[0].split()
        if words[:1] == ["make"] and len(words) > 1 and re.fullmatch(r"[a-z-]+", words[1]):
            assert words[1] in targets, line
        if words[:1] != ["fitcast"] or len(words) < 2 or not re.fullmatch(r"[a-z-]+", words[1]):
            continue
        assert words[1] in commands or words[1] == "--version", line
        command = commands.get(words[1])
        for word in words[2:]:
            if word in getattr(command, "commands", {}):
                command = command.commands[word]
            elif word.startswith("--"):
                assert word in {o for one in command.params for o in one.opts}, line


@each_document
def test_files_that_are_named_exist(document):
    if document.name in {"CHANGELOG.md", "decisions.md"}:
        return  # they tell of the past too
    rooms = "benchmarks|docs|fitcast|history|notebooks|scheduler|sizing|tests|trainer"
    for name in re.findall(rf"`((?:{rooms})/[\w/.-]+\.\w+)`", document.read_text()):
        assert (ROOT / name).exists(), name


def test_every_document_is_in_the_sites_contents():
    listed = set()
    for block in re.findall(
        r"```{toctree}\n(.*?)```", (ROOT / "docs/index.md").read_text(), re.DOTALL
    ):
        listed.update(line for line in block.splitlines() if line and not line.startswith(":"))
    documents = {
        str(path.relative_to(ROOT / "docs").with_suffix(""))
        for path in (ROOT / "docs").rglob("*.md")
    }
    documents |= {f"../notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    documents |= {"../CHANGELOG", "../CONTRIBUTING", "../SECURITY"}
    assert listed == documents - {"index"}


def test_the_site_describes_every_public_name():
    described = re.findall(
        r"^\.\. auto\w+:: (\w+)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE
    )
    reference = re.findall(
        r"^\| `(\w+)` \|", (ROOT / "docs/reference.md").read_text(), re.MULTILINE
    )
    assert described == [name for name in reference if not name.startswith("FITCAST_")]


def test_the_citation_names_this_version():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()


GOOD = '<h1 id="top-of-it"></h1><a href="b.html#there">b</a><img src="data:image/png;base64,AA">'
FAULTS = {
    '<script src="https://example.org/x.js"></script>': "from the network",
    '<link rel="stylesheet" href="//example.org/x.css">': "from the network",
    '<img src="missing.png">': "which isn't there",
    '<a href="missing.html">': "which isn't there",
    '<a href="b.html#missing">': "a place that isn't in that page",
    '<a href="#missing">': "a place that isn't in that page",
}


@pytest.fixture(scope="module")
def site_checks():
    path = ROOT / "docs/_extensions/site_checks.py"
    spec = importlib.util.spec_from_file_location("site_checks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_sound_site_has_no_faults(tmp_path, site_checks):
    (tmp_path / "a.html").write_text(GOOD)
    (tmp_path / "b.html").write_text('<a id="there" href="https://example.org">')
    assert site_checks.faults_of(tmp_path) == []


@pytest.mark.parametrize("page", FAULTS)
def test_a_fault_of_the_site_is_found(tmp_path, site_checks, page):
    (tmp_path / "a.html").write_text(page)
    (tmp_path / "b.html").write_text("")
    (fault,) = site_checks.faults_of(tmp_path)
    assert FAULTS[page] in fault


def test_a_style_that_loads_from_the_network_is_found(tmp_path, site_checks):
    (tmp_path / "x.css").write_text("@font-face { src: url(https://example.org/x.woff2) }")
    assert site_checks.faults_of(tmp_path)
