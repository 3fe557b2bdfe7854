"""The signal through a model in closed form, as its layers are given their laws.

Layers are taken to be wide and their weights independent, so that signals are Gaussian over the weights (the
network's Gaussian process: Neal 1996; Novak et al. 2019) and two moments tell all: those of two positions of
one image, and of two images. What is approximated further is said in the notes of the report.

The effective number of channels is the roughest of its numbers: images of different contrast move all
channels together, which is left out, so that in deep layers it comes out too large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

import numpy as np

from corrinit._signal.contrast import EQUAL, NATURAL_CONTRAST, spread
from corrinit._signal.fields import PairField, stationary
from corrinit._signal.graph import WEIGHTED, Graph, Kind, Step
from corrinit._signal.law import Law, LayerInput, LayerLaw
from corrinit._signal.report import LayerSignal, SignalReport, StepSignal
from corrinit._signal.shapes import averaged_axes
from corrinit._signal.signals import (
    Signal,
    activated,
    added,
    averaged,
    concatenated,
    dropped,
    flattened,
    max_pooled,
    multiplied,
    normalized,
    one_position,
    parameter_moments,
    pooled_to_one,
    scaled,
    shifted,
    weighted,
)
from corrinit._signal.spectrum import InputLaw, natural, white
from corrinit._signal.windows import Windows, convolution_windows, fold, per_axis, pooling_windows
from corrinit.errors import PlanError

_EFFECTIVE_COLOURS = 1.2
"""Effective channels of natural images of three: their colours are nearly the same image."""


def propagate(graph: Graph, law: Law, *, inputs: InputLaw = natural, borders: bool = True) -> SignalReport:
    """The second moments of the signal after each step of a model, and at each of its layers.

    Args:
        graph: of the model.
        law: called for each convolution and linear layer where it first runs, in order of execution, with
            what arrives there; gives the law of its weights.
        inputs: moments of what enters the model, see `corrinit._signal.spectrum`.
        borders: whether maps end where they end. Without a known input size they had better not: then maps
            are taken to be periodic, and zero padding has no effect.

    Returns:
        The report; a `SignalReport` prints as a table.

    >>> def conv(inputs):
    ...     return {
    ...         "in_channels": inputs, "out_channels": 64, "groups": 1, "kernel_size": (3, 3),
    ...         "stride": (1, 1), "dilation": (1, 1), "padding": ((1, 1), (1, 1)), "padding_mode": "zeros",
    ...     }
    >>> relu = {"function": lambda z: np.maximum(z, 0)}
    >>> graph = Graph((
    ...     Step(0, "input", "images", shape=(2, 3, 32, 32)),
    ...     Step(1, "conv", "Conv2d", "first", inputs=(0,), arguments=conv(3)),
    ...     Step(2, "activation", "ReLU", inputs=(1,), arguments=relu),
    ...     Step(3, "conv", "Conv2d", "second", inputs=(2,), arguments=conv(64)),
    ... ))
    >>> he = lambda layer: LayerLaw(np.eye(9), (2 / (9 * layer.channels)) ** 0.5)
    >>> [round(layer.mean_square, 2) for layer in propagate(graph, he).layers]
    [1.0, 0.96]
    """
    run = _Run(graph, law, inputs, borders)
    last_use = {index: step.index for step in graph.steps for index in step.inputs}
    signals: dict[int, Signal] = {}
    rows: list[StepSignal] = []
    for step in graph.steps:
        given = [signals[index] for index in step.inputs]
        signals[step.index] = signal = run.after(step, given)
        row = signal.row(step.name or step.operation, step.operation)
        # The channels of an image are no random combinations.
        rows.append(replace(row, effective_channels=1 / signal.alike) if step.kind == "input" else row)
        for index in step.inputs:
            if last_use[index] == step.index:
                signals.pop(index, None)
    notes = tuple(dict.fromkeys([*graph.notes, *run.notes]))
    return SignalReport(tuple(rows), tuple(run.layers.values()), notes)


class _Run:
    """What the steps of one propagation share: the graph, the laws given so far, the notes."""

    def __init__(self, graph: Graph, law: Law, inputs: InputLaw, borders: bool) -> None:
        self.graph, self.law, self.inputs, self.borders = graph, law, inputs, borders
        self.layers: dict[str, LayerSignal] = {}
        self.laws: dict[str, LayerLaw] = {}
        self.notes: list[str] = []

    def after(self, step: Step, given: list[Signal]) -> Signal:
        """The signal after a step, for the signals that enter it."""
        rule = _RULES.get(step.kind)
        if rule is None:
            return self.passed_on(step, given)
        if step.kind in WEIGHTED or step.kind == "input":
            return rule(self, step, given)
        try:
            return rule(self, step, given)
        except (ArithmeticError, AssertionError, LookupError, ValueError):
            # A step used in a way that its rule does not foresee must not keep a model from its plan.
            return self.passed_on(step, given)

    def passed_on(self, step: Step, given: list[Signal]) -> Signal:
        """The signal unchanged, with a note; of the size that the step makes where that is known."""
        where = step.name or f"{step.operation} in {step.scope or 'the model'}"
        self.notes.append(f"{where}: {step.operation} is not known; the signal is passed on unchanged")
        return replace(max(given, key=lambda signal: prod(signal.field.size) * signal.channels), latent=None)

    def note(self, step: Step, text: str) -> None:
        """Say what was approximated."""
        self.notes.append(f"{step.name or step.operation}: {text}")


def _input(run: _Run, step: Step, given: list[Signal]) -> Signal:
    shape = step.shape or _assumed_shape(run.graph)
    channels, size = shape[1] if len(shape) > 1 else 1, tuple(shape[2:])
    alike = 1 / (_EFFECTIVE_COLOURS if channels == 3 and size else channels)
    field = stationary(run.inputs(size), size) if size else one_position(())
    contrasts = spread(NATURAL_CONTRAST) if size and run.inputs is natural else EQUAL
    return Signal(field, channels, field, 0.0, alike, contrasts=contrasts)


def _assumed_shape(graph: Graph) -> tuple[int, ...]:
    first = next((step for step in graph.steps if step.kind in WEIGHTED), None)
    if first is None or first.kind == "linear":
        return (2, first.arguments["in_features"] if first else 1)
    return (2, first.arguments["in_channels"], *(32,) * len(first.arguments["kernel_size"]))


def _layer(run: _Run, step: Step, given: list[Signal]) -> Signal:
    signal = given[0]
    arguments = step.arguments
    if not run.graph.is_layer(step):
        return run.passed_on(step, given)
    windows, members = None, (np.zeros(1, np.int64),)
    if step.kind == "linear":
        signal = _features(run, step, signal)
        channels, outputs = arguments["in_features"], arguments["out_features"]
        moments = np.ones((1, 1))
    else:
        channels, outputs = arguments["in_channels"] // arguments["groups"], arguments["out_channels"]
        transposed = step.kind == "transposed_conv"
        if len(signal.field.size) != len(arguments["kernel_size"]):
            run.note(
                step,
                f"a map of size {signal.field.size} meets a kernel of {len(arguments['kernel_size'])} axes",
            )
            one = one_position((1,) * len(arguments["kernel_size"]))
            signal = replace(signal, field=one.times(signal.mean_square), broad=one)
        try:
            windows, members = convolution_windows(
                arguments, signal.field.size, transposed=transposed, borders=run.borders
            ).thinned()
        except ValueError as error:
            run.note(step, f"{error}; the signal is passed on unchanged")
            return signal
        moments = signal.field.window_moments(windows)
        power = signal.mean_square
        moments = moments / power if power > 0 else np.eye(len(moments))
    if step.name not in run.laws:
        arriving = LayerInput(
            step.name, step, channels, signal.mean_square, moments, members, signal.contrasts
        )
        run.laws[step.name] = run.law(arriving)
    law = run.laws[step.name]
    if law.covariance.shape != moments.shape:
        raise PlanError(
            f"its law is for {len(law.covariance)} taps; its kernel has {len(moments)}", layer=step.name
        )
    coefficients = channels * law.std**2 * law.covariance
    output = float((coefficients * moments).sum()) * signal.mean_square + law.bias
    run.layers.setdefault(
        step.name,
        LayerSignal(
            step.name, arguments.get("kernel_size", (1,)), channels, signal.mean_square, moments,
            law.covariance, law.std, output,
        ),
    )  # fmt: skip
    return weighted(signal, windows, coefficients, outputs, law.bias)


def _features(run: _Run, step: Step, signal: Signal) -> Signal:
    """What a linear layer sums over: channels, or channels and positions where no step flattened them."""
    positions = prod(signal.field.size)
    if positions == 1 or len(step.shape) > 2:
        return signal
    if step.arguments["in_features"] == signal.channels:
        if _is_selected(run.graph, step):  # as the class token of a transformer
            at_one = PairField(np.array([[signal.mean_square]]), np.array([[signal.field.between()]]), ())
            return replace(signal, field=at_one, latent=None)
        run.note(step, "it has as many features as there are channels: a mean over positions is assumed")
        return pooled_to_one(signal, ())
    return flattened(signal)


def _is_selected(graph: Graph, step: Step) -> bool:
    """Whether what enters a step is one position of a map, picked out by an index."""
    while step.inputs:
        before = graph.steps[step.inputs[0]]
        if before.shape != step.shape and len(before.shape) > len(step.shape):
            return step.kind == "slice"
        step = before
    return False


def _activation(run: _Run, step: Step, given: list[Signal]) -> Signal:
    function = run.graph.activation(step)
    if function is None:
        return run.passed_on(step, given)
    try:
        return activated(given[0], function)
    except PlanError as error:
        run.notes.append(f"{step.name or step.operation}: {error.message}")
        return run.passed_on(step, given)


def _norm(run: _Run, step: Step, given: list[Signal]) -> Signal:
    module = run.graph.modules.get(step.name)
    gamma, _ = parameter_moments(getattr(module, "weight", None), 1.0)
    beta, beta_mean = parameter_moments(getattr(module, "bias", None), 0.0)
    signal, kind, groups = given[0], step.kind, 1
    if kind == "layer_norm" and len(step.arguments.get("normalized_shape", (1,))) > 1:
        kind, groups = "group_norm", signal.channels
    elif kind == "group_norm":
        groups = max(1, signal.channels // step.arguments.get("num_groups", 1))
    return normalized(signal, kind, groups, step.arguments.get("eps") or 1e-5, gamma, beta, beta_mean)


def _pool_size(run: _Run, step: Step, signal: Signal) -> tuple[int, ...]:
    axes = len(signal.field.size)
    if step.shape:
        return tuple(step.shape[-axes:])
    arguments = step.arguments
    kernel = per_axis(arguments["kernel_size"], axes)
    stride = per_axis(arguments.get("stride") or kernel, axes)
    margin = per_axis(arguments.get("padding", 0), axes)
    return tuple(
        max(1, (n + 2 * p - k) // s + 1)
        for n, p, k, s in zip(signal.field.size, margin, kernel, stride, strict=True)
    )


def _max_pool(run: _Run, step: Step, given: list[Signal]) -> Signal:
    signal = given[0]
    windows = pooling_windows(step.arguments, signal.field.size, _pool_size(run, step, signal))
    return max_pooled(signal, windows)


def _avg_pool(run: _Run, step: Step, given: list[Signal]) -> Signal:
    signal = given[0]
    windows = pooling_windows(step.arguments, signal.field.size, _pool_size(run, step, signal))
    counted = step.arguments.get("count_include_pad", True)
    return averaged(signal, windows, None if counted else (windows.positions >= 0).sum(axis=1))


def _adaptive_pool(run: _Run, step: Step, given: list[Signal]) -> Signal:
    signal = given[0]
    size = signal.field.size
    wanted = per_axis(step.arguments.get("output_size", 1), len(size))
    output = tuple(step.shape[-len(size) :]) if step.shape and size else tuple(
        n if w is None else w for n, w in zip(size, wanted, strict=True)
    )  # fmt: skip
    if output == size:
        return replace(signal, latent=None)
    if prod(output) == 1 and step.kind == "adaptive_avg_pool":
        return pooled_to_one(signal, output)
    index = []
    for n, m in zip(size, output, strict=True):
        start, stop = np.arange(m) * n // m, -(-(np.arange(m) + 1) * n // m)
        taps = start[:, None] + np.arange((stop - start).max())
        index.append(np.where(taps < stop[:, None], taps, -1))
    steps = tuple(max(1, n // m) for n, m in zip(size, output, strict=True))
    windows = Windows(tuple(index), size, steps, (1,) * len(size))
    if step.kind == "adaptive_max_pool":
        return max_pooled(signal, windows)
    return averaged(signal, windows, (windows.positions >= 0).sum(axis=1))


def _mean(run: _Run, step: Step, given: list[Signal]) -> Signal:
    signal = given[0]
    before = run.graph.steps[step.inputs[0]].shape
    axes = averaged_axes(step.arguments, before)
    kept = [before[axis] for axis in range(1, len(before)) if axis not in axes]
    if signal.channels not in kept or 0 in axes:
        return run.passed_on(step, given)
    if prod(before[axis] for axis in axes) != prod(signal.field.size):
        return run.passed_on(step, given)
    size = (1,) * (len(step.shape) - 2) if step.arguments.get("keepdim") else ()
    return pooled_to_one(signal, size)


def _join(run: _Run, step: Step, given: list[Signal]) -> Signal:
    largest = max(given, key=lambda signal: prod(signal.field.size))
    total = None
    for signal in given:
        if signal.field.size != largest.field.size and prod(signal.field.size) > 1:
            return run.passed_on(step, given)
        if signal.field.size != largest.field.size:
            run.note(step, "a sum over maps of two sizes: the smaller one is taken to be the same everywhere")
            filled = largest.field.times(0.0).plus(signal.mean_square)
            signal = replace(signal, field=filled, broad=largest.broad)
        total = signal if total is None else added(total, signal)
    assert total is not None
    return scaled(given[0], 4.0, 2.0) if len(given) == 2 and len(set(step.inputs)) == 1 else total


def _gate(run: _Run, step: Step, given: list[Signal]) -> Signal:
    if len(given) != 2:
        return run.passed_on(step, given)
    signal, gate = sorted(given, key=lambda s: -prod(s.field.size))
    if prod(gate.field.size) > 1 and gate.field.size != signal.field.size:
        return run.passed_on(step, given)
    run.note(step, "the factors of a product are taken to be independent")
    return multiplied(signal, gate)


def _scale(run: _Run, step: Step, given: list[Signal]) -> Signal:
    square, mean = _constant(run, step, 1.0)
    return scaled(given[0], square, mean)


def _shift(run: _Run, step: Step, given: list[Signal]) -> Signal:
    square, mean = _constant(run, step, 0.0)
    return shifted(given[0], square, mean)


def _constant(run: _Run, step: Step, default: float) -> tuple[float, float]:
    number = step.arguments.get("number")
    if number is not None:
        return number**2, number
    owner, _, name = str(step.arguments.get("parameter", "")).rpartition(".")
    values = getattr(run.graph.modules.get(owner), name, None) if name else None
    if values is None:
        run.note(step, f"a constant that is not known is taken to be {default:g}")
    return parameter_moments(values, default)


def _concat(run: _Run, step: Step, given: list[Signal]) -> Signal:
    size = given[0].field.size
    channels = sum(signal.channels for signal in given)
    if any(signal.field.size != size for signal in given) or (step.shape and channels not in step.shape):
        return run.passed_on(step, given)
    return concatenated(given)


def _upsample(run: _Run, step: Step, given: list[Signal]) -> Signal:
    signal = given[0]
    axes = len(signal.field.size)
    if not step.shape:
        return run.passed_on(step, given)
    if step.arguments.get("mode", "nearest") not in ("nearest", "nearest-exact"):
        run.note(step, f"{step.arguments['mode']} interpolation is taken to copy the nearest position")
    size = tuple(step.shape[-axes:])
    return replace(
        signal, field=signal.field.resampled(size), broad=signal.broad.resampled(size), latent=None
    )


def _pad(run: _Run, step: Step, given: list[Signal]) -> Signal:
    signal = given[0]
    axes = len(signal.field.size)
    amounts = step.arguments.get("padding", ())
    pairs = [(amounts[2 * a], amounts[2 * a + 1]) for a in range(len(amounts) // 2)][::-1]
    if not axes or len(pairs) > axes:
        return run.passed_on(step, given)
    pairs = [(0, 0)] * (axes - len(pairs)) + pairs
    mode = str(step.arguments["mode"]).replace("constant", "zeros")
    size = signal.field.size
    index = tuple(
        fold(np.arange(-before, n + after)[:, None], n, mode)
        for n, (before, after) in zip(size, pairs, strict=True)
    )
    windows, one = Windows(index, size, (1,) * axes, (1,) * axes), np.ones((1, 1))
    field, broad = signal.field.convolved(windows, one), signal.broad.convolved(windows, one)
    return replace(signal, field=field, broad=broad, latent=None)


def _flatten(run: _Run, step: Step, given: list[Signal]) -> Signal:
    signal = given[0]
    if step.shape and len(step.shape) > 2:  # positions become one axis, in their order
        return replace(signal, latent=None)
    return flattened(signal)


def _reshape(run: _Run, step: Step, given: list[Signal]) -> Signal:
    signal = given[0]
    before = run.graph.steps[step.inputs[0]].shape
    if len(step.shape) == 2 and step.shape[:1] == before[:1] and prod(step.shape) == prod(before):
        return _flatten(run, step, given)
    return signal


def _slice(run: _Run, step: Step, given: list[Signal]) -> Signal:
    signal = given[0]
    before = run.graph.steps[step.inputs[0]].shape
    if len(before) == len(step.shape):
        changed = [(n, m) for n, m in zip(before, step.shape, strict=True) if n != m]
        if len(changed) == 1 and changed[0][0] == signal.channels:
            return replace(signal, channels=changed[0][1])
    return signal


def _dropout(run: _Run, step: Step, given: list[Signal]) -> Signal:
    p = getattr(run.graph.modules.get(step.name), "p", step.arguments.get("p", 0.0))
    whole = step.arguments.get("channels", step.operation in ("dropout1d", "dropout2d", "dropout3d"))
    return dropped(given[0], float(p), whole)


def _attention(run: _Run, step: Step, given: list[Signal]) -> Signal:
    run.note(step, "attention is taken to pass its values on unchanged")
    return replace(given[-1], latent=None)


def _embedding(run: _Run, step: Step, given: list[Signal]) -> Signal:
    """Vectors of tokens that are all different: positions are independent, and so are the channels."""
    square, _ = parameter_moments(getattr(run.graph.modules.get(step.name), "weight", None), 1.0)
    channels, size = step.shape[-1], tuple(step.shape[1:-1])
    field = stationary(white(size), size) if size else one_position(())
    return Signal(field.times(square), channels, field, 0.0, 1 / channels)


def _handover(run: _Run, step: Step, given: list[Signal]) -> Signal:
    """What was made before a part, on a map of the size that the part takes.

    It is as strong as it was if it has as many channels; else what the part takes is not known.
    """
    signal, shape = given[0], step.shape
    channels, size = (shape[1] if len(shape) > 1 else 1), tuple(shape[2:])
    if size == signal.field.size or prod(shape[1:]) == signal.channels * prod(signal.field.size):
        return signal
    if channels != signal.channels:
        broad = stationary(natural(size), size) if size else one_position(())
        return Signal(broad, channels, broad, 0.0, 1 / channels)
    if len(size) == len(signal.field.size):
        field, broad = signal.field.resampled(size), signal.broad.resampled(size)
    else:
        broad = stationary(natural(size), size) if size else one_position(())
        field = broad.times(signal.mean_square)
    return replace(signal, field=field, broad=broad, latent=None)


def _identity(run: _Run, step: Step, given: list[Signal]) -> Signal:
    return given[0]


_RULES: Mapping[Kind, Callable[[_Run, Step, list[Signal]], Signal]] = {
    "input": _input,
    "conv": _layer,
    "transposed_conv": _layer,
    "linear": _layer,
    "activation": _activation,
    "batch_norm": _norm,
    "layer_norm": _norm,
    "group_norm": _norm,
    "instance_norm": _norm,
    "rms_norm": _norm,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "adaptive_max_pool": _adaptive_pool,
    "adaptive_avg_pool": _adaptive_pool,
    "add": _join,
    "mul": _gate,
    "scale": _scale,
    "shift": _shift,
    "concat": _concat,
    "slice": _slice,
    "upsample": _upsample,
    "pad": _pad,
    "flatten": _flatten,
    "reshape": _reshape,
    "mean": _mean,
    "dropout": _dropout,
    "identity": _identity,
    "attention": _attention,
    "embedding": _embedding,
    "handover": _handover,
}
