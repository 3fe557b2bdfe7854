"""What a plan says: the row of each layer, and the notes on the model as a whole."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from corrinit._correlation import format_size
from corrinit._init import FanMode
from corrinit._planning.candidates import Candidate
from corrinit._planning.choices import Choice
from corrinit._planning.layer_plan import LayerPlan
from corrinit._signal import Graph, SignalReport
from corrinit.kernels import mean_off_diagonal


def kept_row(candidate: Candidate) -> LayerPlan:
    """The row of a layer that is not drawn."""
    row = candidate.row
    return row if candidate.why is not None else replace(row, reason="kept by a rule")


def drawn_row(candidate: Candidate, choice: Choice, std: float, mode: FanMode) -> LayerPlan:
    """The row of the plan of a layer that is drawn."""
    layer, row = choice.layer, candidate.row
    reason = [f"n_{mode.removeprefix('fan_')} = {layer.channels}"]
    if layer.groups > 1:
        reason.append("depthwise" if choice.place.role == "depthwise" else f"{layer.groups} groups")
    reason += [*choice.notes, *filter(None, [candidate.note, _rounding(choice, std, candidate.dtype)])]
    if row.like is not None and row.like.std is not None:
        std, reason = row.like.std, [*reason, "std as given"]
    return replace(
        row,
        method=choice.name,
        role=choice.place.role,
        scale=choice.scale_name,
        reason=", ".join(reason),
        std=std,
        correlation=choice.taps,
        zero_bias=candidate.zero_bias and choice.rule.bias != "keep",
        gain=layer.gain,
        depth=layer.depth,
    )


_MOVED = 0.01
"""By how much of itself rounding may move the mean correlation before the plan says so."""


def _rounding(choice: Choice, std: float, dtype: torch.dtype) -> str:
    """R as it is after rounding to a short type, where that differs; found on 4,096 filters."""
    if choice.taps is None or dtype.itemsize > 2:
        return ""
    generator = torch.Generator(device="cpu").manual_seed(0)
    factor = torch.tensor(choice.taps.factor, dtype=torch.float32)
    filters = std * torch.randn(4096, len(factor), generator=generator) @ factor.T
    before, after = (
        mean_off_diagonal(torch.corrcoef(each.double().T).numpy()) for each in (filters, filters.to(dtype))
    )
    name = str(dtype).removeprefix("torch.")
    return f"R mean {after:.3f} once rounded to {name}" if abs(after - before) > _MOVED * abs(before) else ""


def signal_notes(signal: SignalReport | None, graph: Graph | None, known_size: bool) -> tuple[str, ...]:
    """What the scale of the signal that arrives was taken to be."""
    if signal is None or graph is None:
        return ()
    if graph.source != "trace" or not signal.layers:
        return signal.notes[:1]
    if known_size or len(graph.input_shape) < 3:
        return ()
    size = format_size(graph.input_shape[1:])
    return (f"signal of natural images of {size}, without zero padding; give input_size= for yours",)


def model_notes(model: nn.Module, keep_constants: bool) -> tuple[str, ...]:
    """What cannot be told from the model as it is."""
    if keep_constants and any(parameter.is_meta for parameter in model.parameters()):
        return ("on the meta device: deliberate zeros and constants cannot be told, and are drawn",)
    return ()
