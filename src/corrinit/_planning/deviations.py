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

from corrinit._layers.weight_standardization import effective_deviation
from corrinit._planning.choices import Choice
from corrinit._planning.gains import Powers
from corrinit._planning.recipes import score_deviation
from corrinit._planning.remembered import Remembered, structure
from corrinit._signal import Graph, LayerInput, LayerLaw, SignalReport, propagate
from corrinit._signal.contrast import EQUAL, Array
from corrinit._tracing import kept_law
from corrinit.errors import CorrelationError, PlanError
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
            raise PlanError(f"{error}", layer=name) from error
    if graph is None or all(choice.scale_name != "natural" for choice in choices.values()):
        return stds, None
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
        note = f"signal not followed beyond {law.last}: {reason}"
        return stds, SignalReport((), (), (*graph.notes, note))


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
                outputs = self.outputs(choice, arriving.mean_square, arriving.contrasts)
                self.stds[arriving.name] = math.sqrt(outputs / (choice.layer.channels * amplified))
        return LayerLaw(covariance, self.stds[arriving.name])

    def scale_what_no_graph_reaches(self) -> None:
        """The last layer inside a multi-head attention, which is one step, ends a residual branch, too."""
        for name, choice in self.choices.items():
            if choice.scale_name == "natural" and choice.place.joins and name not in self.graph.layers:
                power = self.outputs(choice, 1.0)
                self.stds[name] = math.sqrt(power / (choice.layer.channels * choice.layer.taps))

    def outputs(self, choice: Choice, arriving: float, contrasts: Array = EQUAL) -> float:
        """v, the mean square that the outputs of a layer shall have.

        Args:
            choice: what the layer gets.
            arriving: q, mean square of its inputs.
            contrasts: that of each image over q.
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
        return wanted if power is None else power.before(wanted, contrasts)

    @property
    def branches(self) -> int:
        """The number of residual branches that are added as they are."""
        return max(1, sum(choice.place.joins for choice in self.choices.values()))
