"""A run of a model, or of a part of it, without weights: on the meta device, on inputs that are tried."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from corrinit._signal.graph import WEIGHTED, Step
from corrinit._tracing.arguments import Attempt, Stand, beside
from corrinit._tracing.recorder import Recorder, tensors_in
from corrinit.errors import ModelRunError

_MOST_ATTEMPTS = 48
"""Inputs that are tried: a model that refuses them all has its reasons."""


@dataclass(frozen=True)
class Run:
    """What a model did.

    Args:
        steps: in order of execution, the inputs among them.
        input_shape: of the first input.
        outputs: indices of the steps that it returned.
        notes: what was guessed, and where its way depends on values.
    """

    steps: tuple[Step, ...]
    input_shape: tuple[int, ...]
    outputs: tuple[int, ...]
    notes: tuple[str, ...] = ()


def run(
    model: nn.Module, modules: Mapping[str, nn.Module], first: Sequence[Stand], prefix: str = ""
) -> Run | str:
    """Run a copy of a model that has no weights, on the first inputs that it takes.

    Args:
        model: any module.
        modules: of the model, by name.
        first: what its first input may be, the likelier first.
        prefix: of the names in the steps.

    Returns:
        The run; or why there is none, in a line: what was said first.
    """
    refusals: Counter[str] = Counter()
    modes = [True, False]
    path: list[int] | None = []
    for _ in range(_MOST_ATTEMPTS):
        if path is None or not first:
            break
        following, reason, asked = None, "", 0
        for training in tuple(modes):
            recorder = Recorder()
            attempt = Attempt(path, first, partial(beside, modules=modules), partial(_take, recorder))
            try:
                return _once(model, attempt, recorder, training, prefix)
            except Exception as error:  # whatever a foreign model raises, the plan goes on without its run
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                if refusals[reason] and not training and len(refusals) == 1:
                    modes.remove(False)  # the same reason in both: what it is told to be is not to blame
                refusals[reason] += 1
                following, asked = attempt.next_path(), len(attempt.taken)
        path = following
        if path is not None and refusals[reason] > 2 and asked == 1:
            path = _another_kind(path, first)  # the size of the image is not to blame
    return next(iter(refusals), "no layer tells the shape of its input")


def _another_kind(path: list[int], first: Sequence[Stand]) -> list[int] | None:
    kind = first[path[0] - 1].kind
    return next(([place] for place in range(path[0], len(first)) if first[place].kind != kind), None)


def _take(recorder: Recorder, name: str, stand: Stand, tensor: Tensor) -> None:
    recorder.add("input", stand.kind, [tensor], ())


def _once(model: nn.Module, attempt: Attempt, recorder: Recorder, training: bool, prefix: str) -> Run:
    inner = getattr(model, "_orig_mod", model)  # torch.compile's wrapper cannot be copied
    prefix = ".".join(filter(None, (prefix, "" if inner is model else "_orig_mod")))
    clone = without_weights(inner).train(training)
    for name, module in clone.named_modules():
        recorder.attach(".".join(filter(None, (prefix, name))), module)
    with torch.device("meta"), recorder:
        result = attempt.call(clone)
    has_layers = any(isinstance(module, (_ConvNd, nn.Linear)) for module in model.modules())
    if has_layers and not any(step.kind in WEIGHTED for step in recorder.steps):
        raise ModelRunError("its run meets none of its layers")
    outputs = dict.fromkeys(i for t in tensors_in(result) if (i := recorder.made_by(t)) is not None)
    asked = ", ".join(recorder.asked)
    notes = [attempt.note, f"its way depends on values ({asked}), which are taken to be 1" if asked else ""]
    return Run(tuple(recorder.steps), attempt.main.shape, tuple(outputs), tuple(filter(None, notes)))


def without_weights(model: nn.Module) -> nn.Module:
    """A copy of a model without hooks, its tensors on the meta device and in single precision."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        held = (*module._parameters.values(), *module._buffers.values(), *vars(module).values())
        for tensor in held:
            if isinstance(tensor, Tensor) and id(tensor) not in memo:
                dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
                empty = torch.empty(tensor.shape, dtype=dtype, device="meta")
                memo[id(tensor)] = (
                    nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
                )
    clone = copy.deepcopy(model, memo)
    for module in clone.modules():
        for hooks in (
            module._forward_hooks, module._forward_pre_hooks, module._backward_hooks,
            module._backward_pre_hooks,
        ):  # fmt: skip
            hooks.clear()
    return clone
