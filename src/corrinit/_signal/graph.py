"""The dataflow of a model as a value: its steps in order of execution, and what follows what.

`corrinit._tracing.read_graph` makes it of a torch model. Steps are plain values that hold no tensor; the
modules they name are beside them in `Graph.modules`, so that one graph serves every model of equal structure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, Literal, TypeAlias

from corrinit._signal.activations import Activation

Kind: TypeAlias = Literal[
    "input", "conv", "transposed_conv", "linear", "activation", "batch_norm", "layer_norm", "group_norm",
    "instance_norm", "rms_norm", "max_pool", "avg_pool", "adaptive_max_pool", "adaptive_avg_pool", "add",
    "mul", "scale", "shift", "concat", "slice", "upsample", "pad", "flatten", "reshape", "mean", "dropout",
    "identity", "attention", "embedding", "handover", "unknown",
]  # fmt: skip

WEIGHTED: frozenset[Kind] = frozenset({"conv", "transposed_conv", "linear"})
NORMALIZATIONS: frozenset[Kind] = frozenset(
    {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"}
)
_LINEAR_IN_PASSING: frozenset[Kind] = frozenset(
    {
        "max_pool", "avg_pool", "adaptive_max_pool", "adaptive_avg_pool", "scale", "shift", "concat", "slice",
        "upsample", "pad", "flatten", "reshape", "mean", "dropout", "identity", "handover",
    }
)  # fmt: skip
"""Steps that a signal passes between a layer and its nonlinearity without becoming another signal."""


@dataclass(frozen=True)
class Step:
    """One operation of a model.

    Args:
        index: place in the order of execution, from 0; inputs come before what uses them.
        kind: what it does, as far as signals are concerned; `scale` and `shift` are products and sums with
            a constant or a parameter, `mul` and `add` those of two signals; `handover` is between parts of a
            model that were read alone.
        operation: class of the module, or name of the function.
        name: qualified name of the module that it is, or whose weight it uses; empty for other functions.
        scope: qualified name of the innermost module that was running.
        inputs: indices of the steps whose outputs it takes, in the order of its arguments.
        shape: of the (first) output, for a batch of two; empty where it is not known.
        arguments: what the operation was given, by the names of `torch.nn`: kernel_size, stride, dilation,
            groups, padding (pairs per axis, before and after), ...
    """

    index: int
    kind: Kind
    operation: str
    name: str = ""
    scope: str = ""
    inputs: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)


def _as_it_is(activation: Activation) -> Activation:
    return activation


@dataclass(frozen=True)
class Graph:
    """The steps of a model in order of execution.

    Args:
        steps: every operation that an input reaches.
        modules: the modules of the model by qualified name; none of a graph that is written down by hand.
        source: `"trace"`, or `"module order"` where the model could not be run: then its parts are taken to
            follow one another in the order in which they were registered, those that run alone as they run.
        reason: why the model could not be run, one line; empty for a trace.
        input_shape: of the first input, a batch of two; empty where it is not known.
        outputs: indices of the steps that the model returned.
        notes: what was guessed of the model, a line each.
        is_one_layer: whether the model itself is a convolution or linear layer, whose name is empty.
        on_arrays: makes a function of arrays of an activation of the model.
    """

    steps: tuple[Step, ...]
    modules: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    source: Literal["trace", "module order"] = "trace"
    reason: str = ""
    input_shape: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    is_one_layer: bool = False
    on_arrays: Callable[[Any], Activation] = field(default=_as_it_is, repr=False, compare=False)

    @cached_property
    def layers(self) -> Mapping[str, Step]:
        """Convolutions and linear layers by name, each where it runs first."""
        first: dict[str, Step] = {}
        for step in self.steps:
            if self.is_layer(step):
                first.setdefault(step.name, step)
        return first

    def is_layer(self, step: Step) -> bool:
        """Whether a step is a convolution or linear layer of the model, with weights that have a name."""
        return step.kind in WEIGHTED and (bool(step.name) or self.is_one_layer)

    def activation(self, step: Step) -> Activation | None:
        """The function that a step applies to each value, on arrays; None where it is not known."""
        function = step.arguments.get("function") or self.modules.get(step.name)
        return None if function is None else self.on_arrays(function)

    def followers(self, step: Step) -> tuple[Step, ...]:
        """The steps that take the output of a step, in order of execution."""
        return tuple(self.steps[index] for index in self._users[step.index])

    def activation_after(self, name: str) -> Step | None:
        """The activation that the output of a layer passes next, if no other layer comes first.

        On the way it may be normalized, pooled, reshaped, joined or dropped; where ways part, it is the
        activation that runs first.

        Args:
            name: of the layer.
        """
        index = self._next_activation[self.layers[name].index] if name in self.layers else None
        return None if index is None else self.steps[index]

    def is_normalized(self, name: str, *, through_add: bool = False) -> bool:
        """Whether the output of a layer meets a normalization before any nonlinearity or layer, on every way.

        Args:
            name: of the layer.
            through_add: also count normalizations of a sum that the output is a part of, as in residual
                networks that normalize before they activate.
        """
        if name not in self.layers:
            return False
        return self._normalized[through_add][self.layers[name].index]

    @cached_property
    def stems(self) -> frozenset[str]:
        """Layers that see the input of the model and nothing that another layer made."""
        return frozenset(name for name, step in self.layers.items() if self._depth[step.index] == 1)

    @cached_property
    def heads(self) -> frozenset[str]:
        """Layers that no other layer follows: their outputs, activated or pooled, leave the model."""
        return frozenset(name for name, step in self.layers.items() if not self._layer_ahead[step.index])

    @cached_property
    def branch_ends(self) -> frozenset[str]:
        """Last layers of the branches that a sum joins: of the longest, so that shortcuts do not count.

        A branch that is normalized between its last layer and the sum, activated before or not, has the
        strength of the normalization: none of its layers ends it.
        """
        ends = set()
        for step in self.steps:
            if step.kind != "add":
                continue
            # what is the same at every position conditions the branch, and is no trunk
            summands = [i for i in step.inputs if self.steps[i].shape == step.shape or not step.shape]
            longest = max((self._depth[i] for i in summands), default=0)
            for index in (i for i in summands if len(summands) > 1 and self._depth[i] == longest):
                origin = self.steps[self._origin[index]]
                if origin.kind in WEIGHTED and not self._renormalized[index]:
                    ends.add(origin.name)
        return frozenset(ends - {""})

    @cached_property
    def _users(self) -> list[list[int]]:
        users: list[list[int]] = [[] for _ in self.steps]
        for step in self.steps:
            for index in dict.fromkeys(step.inputs):
                users[index].append(step.index)
        return users

    @cached_property
    def _next_activation(self) -> list[int | None]:
        passing = NORMALIZATIONS | _LINEAR_IN_PASSING | {"add", "mul"}

        def ahead(users: list[int], known: list[int | None]) -> int | None:
            met = (i if self.steps[i].kind == "activation" else known[i] for i in users)
            return min((i for i in met if i is not None), default=None)

        return self._from_the_end(ahead, lambda step: step.kind in passing, None)

    @cached_property
    def _normalized(self) -> dict[bool, list[bool]]:
        def ahead(users: list[int], known: list[bool]) -> bool:
            return bool(users) and all(self.steps[i].kind in NORMALIZATIONS or known[i] for i in users)

        return {
            through_add: self._from_the_end(
                ahead,
                lambda step, joins=through_add: (
                    step.kind in _LINEAR_IN_PASSING or (joins and step.kind == "add")
                ),
                False,
            )
            for through_add in (False, True)
        }

    @cached_property
    def _layer_ahead(self) -> list[bool]:
        def ahead(users: list[int], known: list[bool]) -> bool:
            return any(self.steps[i].kind in WEIGHTED or known[i] for i in users)

        return self._from_the_end(ahead, lambda step: step.kind not in WEIGHTED, False)

    def _from_the_end(
        self, ahead: Callable[[list[int], list[Any]], Any], passes: Callable[[Step], bool], stop: Any
    ) -> list[Any]:
        """What lies ahead of each step: of the steps that let a signal pass, and of the layers.

        One pass from the last step to the first, so that long models take no longer per step.
        """
        beyond: list[Any] = [stop] * len(self.steps)
        result: list[Any] = [stop] * len(self.steps)
        for step in reversed(self.steps):
            result[step.index] = ahead(self._users[step.index], beyond)
            if passes(step):
                beyond[step.index] = result[step.index]
        return result

    @cached_property
    def _depth(self) -> list[int]:
        """How many layers lie on the longest way from an input to the output of each step."""
        depth: list[int] = []
        for step in self.steps:
            depth.append(max((depth[i] for i in step.inputs), default=0) + (step.kind in WEIGHTED))
        return depth

    @cached_property
    def _origin(self) -> list[int]:
        """The step that made what each step passes on: a layer, a sum, an input; through gates, the gated."""
        origin: list[int] = []
        for step in self.steps:
            if step.kind in WEIGHTED or step.kind in ("add", "concat", "attention") or not step.inputs:
                origin.append(step.index)
            else:
                origin.append(origin[self._passed_on(step)])
        return origin

    @cached_property
    def _renormalized(self) -> list[bool]:
        """Whether a normalization lies between each step and what made its signal, see `_origin`."""
        renormalized: list[bool] = []
        for step in self.steps:
            made_here = self._origin[step.index] == step.index
            before = not made_here and renormalized[self._passed_on(step)]
            renormalized.append(before or (not made_here and step.kind in NORMALIZATIONS))
        return renormalized

    def _passed_on(self, step: Step) -> int:
        """The input that a step hands on: through gates, the gated one, which is the larger."""
        return max(step.inputs, key=lambda i: prod(self.steps[i].shape))
