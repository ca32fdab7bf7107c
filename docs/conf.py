"""How the documentation is built: ``sphinx-build -W docs OUT``. Reference pages are made of the installed components first."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import reference_pages  # noqa: E402  (beside this file)

import curate_core  # noqa: E402

project = "curate"
copyright = "the curate authors, Apache-2.0"
release = curate_core.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "curate"
html_static_path = ["_static"]
html_css_files = ["curate.css"]
html_theme_options = {"navigation_with_keys": True}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
napoleon_include_init_with_doc = False
suppress_warnings = ["misc.highlighting_failure"]  # examples of components are pieces of JSON


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", lambda _: reference_pages.write(HERE / "reference" / "generated"))
