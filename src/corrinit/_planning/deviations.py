"""The standard deviation of every layer that is drawn, from the scale of its rule.

He's scale, the paper's and a method's own follow from the layer alone. The scale `"natural"` looks at the
signal that arrives: with E[x²] = q and second moments q M within a patch, propagated through the model from
those of natural images, outputs of mean square v need s² = v / (n q ⟨DRD, M⟩).

- v is what makes the activation that follows hand on q where normalization follows, so that
  s = g / √(n ⟨DRD, M⟩) with the gain g of the activation; elsewhere what makes it hand on 1, the mean square
  of the images.
- In the last layer of a residual branch that is added as it is, v is that over the number of such branches:
  together they then add as much as the trunk has.
- In a head, v is the mean square of small scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from torch.nn.modules.conv import _ConvTransposeNd

from corrinit._layers.weight_standardization import effective_deviation
from corrinit._planning.choices import Choice
from corrinit._planning.gains import Powers
from corrinit._planning.recipes import score_deviation
from corrinit._planning.remembered import Remembered, structure
from corrinit._signal import Graph, LayerInput, LayerLaw, SignalReport, kept_law, natural, propagate
from corrinit.errors import CorrelationError, PlanError
from corrinit.kernels import tap_offsets
from corrinit.methods import require_scale

_SIGNALS = Remembered()


def standard_deviations(
    choices: Mapping[str, Choice], graph: Graph | None, *, borders: bool = True
) -> tuple[dict[str, float], SignalReport | None]:
    """The standard deviation of each layer, and the signal that the scale `"natural"` rests on.

    Args:
        choices: what each layer gets.
        graph: the dataflow of the model; needed where the scale of a layer is `"natural"`.
        borders: whether the size of the images is known, so that maps end where they end.

    Raises:
        PlanError: if the scale of a layer cannot be had.
    """
    stds: dict[str, float] = {}
    for name, choice in choices.items():
        try:
            stds[name] = _of_the_layer_alone(choice)
        except CorrelationError as error:
            raise PlanError(f"layer {name}: {error}") from error
    if graph is None or all(choice.scale_name != "natural" for choice in choices.values()):
        return stds, None
    if graph.source != "trace":
        for name, choice in choices.items():
            if choice.scale_name == "natural":
                stds[name] = _of_natural_images(choice)
        note = f"the model did not run ({graph.reason}): every layer is scaled for natural images, gain √2"
        return stds, SignalReport((), (), (note,))
    alike = structure(graph, choices, stds, borders=borders)
    if (known := _SIGNALS.get(alike)) is not None:
        return dict(known.stds), known.signal
    law = _NaturalLaw(choices, graph, stds)
    law.scale_what_no_graph_reaches()
    try:
        signal = propagate(graph, law, borders=borders)
        _SIGNALS.keep(alike, stds, signal)
        return stds, signal
    except PlanError:
        raise
    except Exception as error:  # a model that does to a signal what nobody foresaw shall be initialized, too
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        return stds, SignalReport((), (), (f"signal not followed beyond {law.last}: {reason}",))


def _of_the_layer_alone(choice: Choice) -> float:
    layer, scale = choice.layer, choice.rule.scale
    if scale is None:
        return choice.method.std(layer)
    if not isinstance(scale, str):
        return layer.std_for(choice.taps, scale if layer.taps > 1 else "independent")
    if layer.taps > 1:
        require_scale(choice.name, scale)
    if scale == "paper":
        return layer.std_for(layer.correlation or choice.taps, "identical")
    return layer.he_std


_LEAST_POOLED = 0.05
"""E[x²] that a head is taken to get at least, where means over large maps of many layers come out smaller."""


def _of_natural_images(choice: Choice) -> float:
    """G / √(n ⟨DRD, M⟩) with M of natural images themselves, for a model whose dataflow is not known."""
    layer = choice.layer
    if choice.place.classes and choice.rule.small:
        return score_deviation(choice.place.classes) / math.sqrt(layer.channels * layer.taps)
    steps = getattr(layer.module, "dilation", (1,) * len(layer.kernel_size))
    lags = tap_offsets(layer.kernel_size or (1,)) * np.asarray(steps or (1,))
    reach = lags.max(axis=0) + 1
    side = tuple(int(n) for n in np.maximum(reach, 32))
    apart = lags[:, None, :] - lags[None, :, :] + np.asarray(side) - 1
    moments = natural(side)[tuple(np.moveaxis(apart, -1, 0))] if layer.taps > 1 else np.ones((1, 1))
    if isinstance(layer.module, _ConvTransposeNd):  # of which few taps meet at an output
        return layer.std_for(choice.taps, "independent")
    return layer.std_for(choice.taps, moments)


@dataclass(frozen=True, eq=False)
class _NaturalLaw:
    """What the weights of each layer are drawn from, as the signal reaches it; notes the deviations down.

    Args:
        choices: of the layers that are drawn; all others have the weights that they have.
        graph: the dataflow.
        stds: deviation of each layer, replaced where the scale is `"natural"` and the signal is known.
    """

    choices: Mapping[str, Choice]
    graph: Graph
    stds: dict[str, float]
    _reached: list[str] = field(default_factory=list)

    @cached_property
    def _powers(self) -> Powers:
        return Powers(self.graph)

    @property
    def last(self) -> str:
        """The last layer that the signal reached."""
        return self._reached[-1] if self._reached else "the input"

    def __call__(self, arriving: LayerInput) -> LayerLaw:
        self._reached.append(arriving.name)
        choice = self.choices.get(arriving.name)
        if choice is None:
            return kept_law(self.graph.modules[arriving.name], arriving)
        covariance = arriving.standing_for(None if choice.taps is None else choice.taps.covariance)
        if choice.standardized:
            return LayerLaw(covariance, effective_deviation(choice.layer.module))
        if choice.scale_name == "natural":
            amplified = arriving.mean_square * float((covariance * arriving.moments).sum())
            if arriving.mean_square > 1e-12 and amplified > 1e-9 * arriving.mean_square:
                self.stds[arriving.name] = math.sqrt(
                    self.outputs(choice, arriving.mean_square) / (choice.layer.channels * amplified)
                )
        return LayerLaw(covariance, self.stds[arriving.name])

    def scale_what_no_graph_reaches(self) -> None:
        """The last layer inside a multi-head attention, which is one step, ends a residual branch, too."""
        for name, choice in self.choices.items():
            if choice.scale_name == "natural" and choice.place.joins and name not in self.graph.layers:
                power = self.outputs(choice, 1.0)
                self.stds[name] = math.sqrt(power / (choice.layer.channels * choice.layer.taps))

    def outputs(self, choice: Choice, arriving: float) -> float:
        """v, the mean square that the outputs of a layer shall have.

        Args:
            choice: what the layer gets.
            arriving: q, mean square of its inputs.
        """
        place = choice.place
        if place.classes and choice.rule.small:
            return score_deviation(place.classes) ** 2 * min(1.0, arriving / _LEAST_POOLED)
        wanted = arriving if place.normalized else 1.0
        if not choice.follows:
            return choice.layer.gain**2 * wanted
        if place.joins:
            return wanted / self.branches if choice.rule.share else wanted
        power = None if place.activation is None else self._powers.of(place.activation)
        return wanted if power is None else power.before(wanted)

    @property
    def branches(self) -> int:
        """The number of residual branches that are added as they are."""
        return max(1, sum(choice.place.joins for choice in self.choices.values()))
