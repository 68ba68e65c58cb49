"""How Sphinx makes the documentation site (`make docs`).

It is made of the whole repository, so that links between documents and to notebooks are the same in
the site as where the files are read as they are.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from fitcast.version import __version__

project = "fitcast"
author = "The fitcast developers"
copyright = author
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "numpydoc",
    "myst_nb",
    "site_checks",
]
root_doc = "docs/index"
include_patterns = ["docs/**", "notebooks/*", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
exclude_patterns = [".*", "build", "dist", "deploy", "tests", "benchmarks"]  # not even looked into
exclude_patterns += ["fitcast", "history", "sizing", "trainer", "scheduler"]

highlight_language = "text"  # of blocks that name none: commands, layouts

html_theme = "furo"
html_title = "fitcast"
html_static_path = ["_static"]
html_css_files = ["site.css"]
templates_path = ["_templates"]
html_additional_pages = {"index": "to_the_first_page.html"}
html_copy_source = False
html_show_sphinx = False

# Anchors of headings, as links in the documents name them
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

# Names in docstrings, `Client.submit` for example, lead to where they are described
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc's sections have them
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# Notebooks are kept without outputs: they are executed here, and their errors are ours
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 170
nb_execution_show_tb = True


def skip_foreign(*given: Any) -> bool | None:
    """Leave out what classes have from elsewhere: scikit-learn adds methods to estimators."""
    module = getattr(given[3], "__module__", None) or "fitcast"
    return None if module.startswith("fitcast") else True


def setup(app: Any) -> None:
    """Tell Sphinx of it."""
    app.connect("autodoc-skip-member", skip_foreign)
