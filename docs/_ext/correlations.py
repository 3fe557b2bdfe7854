"""The directive `correlations`: the correlations that corrinit ships, as JSON in the page.

The page that computes in the browser takes them from there, so that it shows what is in the package.
"""

from __future__ import annotations

import json

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import corrinit

CLOSED_FORM = "closed form, mean 0.26"
"""What the page calls the correlation of a start for which none is given."""


def shipped() -> dict[str, list[list[float]]]:
    """By name: the closed form that is used where none is given, and the presets of 3×3 kernels."""
    closed = corrinit.kernels.exponential((3, 3), mean=0.26)
    presets = {name: corrinit.presets.load_preset(name) for name in corrinit.presets.preset_names()}
    return {
        CLOSED_FORM: closed.tolist(),
        **{name: value.matrix.tolist() for name, value in presets.items() if value.kernel_size == (3, 3)},
    }


class Correlations(SphinxDirective):
    """Write them into the page."""

    def run(self) -> list[nodes.Node]:
        """One script that holds data."""
        script = f'<script type="application/json" id="correlations">{json.dumps(shipped())}</script>'
        return [nodes.raw("", script, format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directive known."""
    app.add_directive("correlations", Correlations)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
