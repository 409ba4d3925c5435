"""Configuration of the documentation site: `make docs` builds it into build/docs."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

# For the notebooks, which run in processes of their own.
os.environ.update(
    TF_CPP_MIN_LOG_LEVEL="3",
    CUDA_VISIBLE_DEVICES="",
    KERAS_BACKEND="tensorflow",
    MMZOO_OFFLINE="1",
)

from mmzoo import __version__  # noqa: E402

project = "mmzoo"
author = "The mmzoo authors"
project_copyright = "The mmzoo authors"
release = version = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "command_help",
]
exclude_patterns = ["images"]
templates_path = ["_templates"]

# Notebooks: Markdown pages with `{code-cell}`. An error in a cell fails the build.
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE.parent / "build" / "docs-cache")
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_output_stderr = "remove"
myst_heading_anchors = 3

# The reference: docstrings in the Keras style, in which `x` is code.
default_role = "code"
autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_inherit_docstrings = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = [("Call arguments", "params_style"), "Reference"]

# A link that leads nowhere fails the build. Exceptions are named without their module, and not all
# of them are in the reference.
nitpicky = True
nitpick_ignore = [("py:class", "numpy.ndarray")]
nitpick_ignore_regex = [("py:exc", r"\w+")]

html_theme = "furo"
html_title = f"mmzoo {release}"
html_show_sourcelink = False


def setup(app):
    app.connect("autodoc-process-signature", show_constructor)


def show_constructor(app, what, name, obj, options, signature, returned):
    """Shows a class by its own constructor: that of a Keras layer hides behind `__new__`."""
    if what != "class" or "__init__" not in vars(obj) or "__dataclass_fields__" in vars(obj):
        return None
    from sphinx.util.inspect import signature as inspect_signature
    from sphinx.util.inspect import stringify_signature

    found = inspect_signature(obj.__init__, bound_method=True)
    return stringify_signature(found, show_annotation=False), returned
