"""`corrinit plan`: a dry run of the initialization of a model."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from corrinit.correlation import format_size

if TYPE_CHECKING:
    from corrinit.planning import LayerPlan


def plan(
    factory: str,
    /,
    *,
    correlation: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    strength: float = 1.0,
    inputs: Literal["identical", "independent"] = "identical",
    exclude: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    missing: Literal["error", "resize", "independent"] = "error",
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Say what initialization would do to each layer of a model, and why.

    Args:
        factory: MODULE:FACTORY or PATH.py:FACTORY.
        correlation: Correlation file, preset, or closed form such as exponential:0.3 or centre:0.8; may be
            given once per kernel size.
        strength: Factor on the correlations.
        inputs: What the scale assumes of the inputs in a patch.
        exclude: Pattern of layers to keep; may be given several times.
        missing: For kernel sizes that have no correlation: stop, resize one, or draw independent taps.
        as_json: Print JSON instead of a table.
    """
    from corrinit.factory import build_model
    from corrinit.planning import plan as plan_model

    with contextlib.redirect_stdout(sys.stderr):
        model = build_model(factory)
    planned = plan_model(
        model,
        correlation=correlation or None,
        strength=strength,
        inputs=inputs,
        exclude=list(exclude) or None,
        missing=missing,
    )
    if as_json:
        sys.stdout.write(json.dumps([_as_dict(layer) for layer in planned.layers], indent=2) + "\n")
    else:
        _print_table(planned.layers)


def _as_dict(layer: LayerPlan) -> dict[str, Any]:
    return {
        "layer": layer.name,
        "type": layer.kind,
        "shape": layer.shape,
        "rule": layer.rule,
        "action": layer.action,
        "reason": layer.reason,
        "std": layer.std,
        "mean_correlation": None if layer.correlation is None else layer.correlation.mean,
        "zero_bias": layer.zero_bias,
    }


def _print_table(layers: tuple[LayerPlan, ...]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    style = {"correlated_normal": "green", "normal": "", "keep": "dim"}
    table = Table(box=None, padding=(0, 2, 0, 0))
    for header in ("layer", "type", "shape", "rule", "action", "reason"):
        table.add_column(header, overflow="fold", no_wrap=header in ("type", "shape", "rule"))
    for layer in layers:
        cells = (layer.name, layer.kind, format_size(layer.shape), layer.rule, layer.action, layer.reason)
        table.add_row(*map(Text, cells), style=style[layer.rule])
    Console(highlight=False).print(table)
