"""Attention, recurrent layers and embeddings in a plan: kept, unless the caller wants them drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import nn

from corrinit._layers import is_protected
from corrinit._layers.sequence_layers import draw_sequence_layer, sequence_rule, unwritable_parameter
from corrinit._planning.candidates import Candidate
from corrinit._planning.layer_plan import LayerPlan
from corrinit.errors import OtherModelError, UnwritableWeightError

SequenceDraw = tuple[LayerPlan, nn.Module, list[str]]
"""A planned layer, its module, and which of its parameters are drawn."""


def with_sequence_rules(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The candidates, with a rule for what is kept only because it is a layer of sequences."""
    return [_with_rule(candidate) for candidate in candidates]


def _with_rule(candidate: Candidate) -> Candidate:
    why, rule = candidate.why, sequence_rule(candidate.module)
    own = list(candidate.module.parameters(recurse=False))
    if rule is None or why is None or why.has_filters or all(map(is_protected, own)):
        return candidate
    return replace(candidate, row=replace(candidate.row, method="sequence", reason=rule))


def sequence_draws(
    layers: Iterable[LayerPlan], modules: Mapping[str, nn.Module], written: set[int]
) -> list[SequenceDraw]:
    """The layers of sequences to be drawn, with their parameters: none `written` or protected.

    Raises:
        PlanError: if the model has no such layer, or one that cannot be written.
    """
    found = []
    for layer in layers:
        if layer.method != "sequence":
            continue
        if (module := modules.get(layer.name)) is None or sequence_rule(module) is None:
            raise OtherModelError(f"planned as {layer.kind}, the model has no such layer", layer=layer.name)
        tensors = [
            key
            for key, parameter in module.named_parameters(recurse=False)
            if id(parameter) not in written and not is_protected(parameter)
        ]
        if (obstacle := unwritable_parameter(module, tensors)) is not None:
            raise UnwritableWeightError(f"{obstacle}", layer=layer.name)
        written |= {id(parameter) for parameter in module.parameters(recurse=False)}
        found.append((layer, module, tensors))
    return found


def draw_sequences(draws: Iterable[SequenceDraw], seed: int) -> None:
    """Draw the layers of sequences."""
    for layer, module, tensors in draws:
        draw_sequence_layer(layer.name, module, tensors, seed)
