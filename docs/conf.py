"""The documentation site: `make docs` builds it into `docs/_build/html`, without network.

MyST, since every page of ours is Markdown that also reads well in the repository; furo, since it is legible
on a telephone and in the dark without settings; autodoc, since the reference is the docstrings.
"""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "corrinit"
author = "The corrinit developers"
release = installed_version("corrinit")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "correlations",
    "llms_txt",
    "plain_docstrings",
    "cyclopts.sphinx_ext",
]
exclude_patterns = ["_build"]
suppress_warnings = ["myst.header"]  # the tables of Theory and Errata are written below headings of any depth

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_use_rtype = False
default_role = "code"

html_theme = "furo"
html_title = "corrinit"
html_static_path = ["_static"]
html_css_files = ["browser.css"]
html_show_copyright = False
html_show_sourcelink = True
copybutton_prompt_text = ">>> "
