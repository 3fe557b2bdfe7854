"""The signal that is to be expected in a model once a plan is carried out, whatever its scales rest on."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from corrinit._layers.weight_standardization import effective_deviation, is_weight_standardized
from corrinit._planning.model_graph import model_graph
from corrinit._planning.plans import Plan
from corrinit._signal import LayerInput, LayerLaw, SignalReport, propagate
from corrinit._tracing import kept_law


def expected_signal(
    plan: Plan, model: nn.Module, input_size: int | Sequence[int] | None = None
) -> SignalReport:
    """The signal of natural images through a model of planned weights, in closed form; nothing is drawn.

    Args:
        plan: of the model.
        model: as it was planned for.
        input_size: see `corrinit.plan`; without it, maps are taken to have no borders.

    >>> from corrinit import plan
    >>> model = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1))
    >>> kaiming = expected_signal(plan(model, recipe="kaiming"), model)
    >>> [round(layer.output, 1) for layer in kaiming.layers]
    [2.0, 2.0]
    """
    graph = model_graph(model, input_size)
    rows = {layer.name: layer for layer in plan.layers if layer.std is not None}

    def law(arriving: LayerInput) -> LayerLaw:
        module, row = graph.modules[arriving.name], rows.get(arriving.name)
        if row is None or row.std is None:
            return kept_law(module, arriving)
        taps = arriving.standing_for(None if row.correlation is None else row.correlation.covariance)
        return LayerLaw(taps, effective_deviation(module) if is_weight_standardized(module) else row.std)

    return propagate(graph, law, borders=input_size is not None)
