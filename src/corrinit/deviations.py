"""The standard deviation of every layer that is drawn, from the scale of its rule.

He's scale, the paper's and a method's own follow from the layer alone. The scale `"natural"` looks at the
signal that arrives: with E[x²] = q and second moments M within a patch, propagated through the model from
those of natural images, s² = v / (n q ⟨DRD, M⟩). v, the mean square of the outputs, is what makes the
activation that follows hand on q (`corrinit.gains`); in a head it is that of small scores, and in the last
layer of a residual branch q over the number of branches, so that their sum adds no more than the trunk has.
"""

from __future__ import annotations

from collections.abc import Mapping

from corrinit.choices import Choice
from corrinit.errors import ConfigError, CorrelationError, PlanError
from corrinit.signal.graph import Graph


def standard_deviations(choices: Mapping[str, Choice], graph: Graph | None) -> dict[str, float]:
    """The standard deviation of each layer.

    Args:
        choices: what each layer gets.
        graph: the dataflow of the model, for layers of the scale `"natural"`.

    Raises:
        PlanError: if the scale of a layer cannot be had.
    """
    stds = {}
    for name, choice in choices.items():
        try:
            if choice.scale_name != "natural":
                stds[name] = _of_the_layer_alone(choice)
            else:
                stds[name] = choice.layer.std_for(choice.taps, "independent")
        except CorrelationError as error:
            raise PlanError(f"layer {name}: {error}") from error
    return stds


def _of_the_layer_alone(choice: Choice) -> float:
    layer, scale = choice.layer, choice.rule.scale
    if scale is None:
        return choice.method.std(layer)
    if not isinstance(scale, str):
        return layer.std_for(choice.taps, scale if layer.taps > 1 else "independent")
    if scale == "measured" and choice.method.correlation is None:
        raise ConfigError(
            f'{choice.method.name} states no correlation of its taps, which the scale "measured" needs; '
            'use "he" or "paper"'
        )
    return layer.paper_std if scale == "paper" else layer.he_std
