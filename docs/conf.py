"""How the documentation is built: ``sphinx-build -W docs OUT``. Reference pages are made of all components first, installed or not."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.ext.autodoc.mock import mock

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import reference_pages  # noqa: E402  (beside this file)

import curate_core  # noqa: E402

reference_pages.find_plugins()

project = "curate"
copyright = "the curate authors, Apache-2.0"
release = curate_core.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
smartquotes_action = "qe"  # two hyphens begin an option
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
nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"(collections|numpy|os|pathlib)\..*"),  # links into other projects' pages would need a network to build
    ("py:class", r"curate_core\.(batch\.LazyArrays|fates\.Fates|host\.Host)"),  # not public: what they hold is reached by others
]
suppress_warnings = ["misc.highlighting_failure"]  # examples of components are pieces of JSON


def make_pages(_: Sphinx) -> None:
    """The reference, also where libraries are missing that some plugins import with their components."""
    missing = [name for name in ("blosc2", "msgpack", "numba") if importlib.util.find_spec(name) is None]
    with mock(missing):
        reference_pages.write(HERE / "reference" / "generated")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", make_pages)
