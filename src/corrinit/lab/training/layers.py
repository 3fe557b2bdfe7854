"""Watching the layers of a network while it trains; that changes nothing in the training.

The gradient on a batch that stays the same (the probe) tells how updates turn it. From one mini-batch to the
next most of what changes is the batch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from corrinit._moments import tap_moments
from corrinit._monitor import GradientHistory
from corrinit.kernels import tap_offsets
from corrinit.lab.runs.layers import LayerHistory
from corrinit.lab.training.isolation import seeded

Look: TypeAlias = dict[str, Tensor]
"""What is seen of all layers at one time, by the names of `LayerHistory`."""

Step: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""One update, from inputs and targets to outputs and loss."""


class LayerWatch:
    """Looks at the layers of a model whose kernels have its most frequent size of more than one tap.

    A layer needs more filters than taps: with fewer, the correlations are singular whatever the weights are.

    Args:
        model: with the weights that it starts from.
        probe: inputs and targets of the batch that stays the same.
        loss: of outputs and targets.
    """

    def __init__(
        self, model: nn.Module, probe: tuple[Tensor, Tensor], loss: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        self.model, self.loss = model, loss
        self.inputs, self.targets = probe
        kernels = {
            name: weight
            for name, weight in model.named_parameters()
            if weight.dim() > 2 and 1 < math.prod(weight.shape[2:]) < math.prod(weight.shape[:2])
        }
        sizes = Counter(tuple(weight.shape[2:]) for weight in kernels.values())
        self.kernel_size = sizes.most_common(1)[0][0] if sizes else ()
        self.layers = {name: w for name, w in kernels.items() if tuple(w.shape[2:]) == self.kernel_size}
        self.blocks = {
            name: block
            for name, block in model.named_modules()
            if hasattr(block, "residual") and hasattr(block, "shortcut")
        }
        self.start = {name: weight.detach().clone() for name, weight in self.layers.items()}
        self.turned = math.nan
        self.looks: list[Look] = []
        self.look({})

    def look(self, gradients: Mapping[str, float]) -> None:
        """Look at the layers, and keep what is seen.

        Args:
            gradients: norm of the gradient of each layer in this epoch, by name; those that are not told
                are NaN.
        """
        seen = [_seen(weight.detach(), self.start[name]) for name, weight in self.layers.items()]
        found = {key: torch.tensor(np.array([each[key] for each in seen])) for key in seen[0]} if seen else {}
        self.looks.append(
            {
                **{key: values.float() for key, values in found.items()},
                "gradient": torch.tensor([gradients.get(name, math.nan) for name in self.layers]),
                "probe_sign_changes": torch.tensor(self.turned),
                "block_correlation": self._block_correlations(),
            }
        )

    def probed(self, step: Step) -> Step:
        """A step that is watched: how does it turn the gradient on the probe?"""

        def watched(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
            before = self._probe_signs()
            outcome = step(inputs, targets)
            self.turned = (self._probe_signs() - before).abs().float().mean().item() / 2
            return outcome

        return watched

    def _probe_signs(self) -> Tensor:
        """The signs of the gradient on the probe, of all parameters in a row."""
        parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        with seeded(0):  # dropout draws alike for every look, and the training draws on as if there was none
            outputs = self._apply(self.inputs)
            gradients = torch.autograd.grad(self.loss(outputs, self.targets), list(parameters.values()))
        return torch.cat([gradient.sign().to(torch.int8).flatten() for gradient in gradients])

    def history(self) -> LayerHistory:
        """All looks so far."""
        looks = {key: torch.stack([look[key] for look in self.looks]).numpy() for key in self.looks[0]}
        return LayerHistory(
            names=np.array([*self.layers], dtype=np.str_),
            kernel_size=np.array(self.kernel_size, dtype=np.int64),
            filters=np.array([w.shape[0] * w.shape[1] for w in self.layers.values()], dtype=np.int64),
            blocks=np.array([*self.blocks], dtype=np.str_),
            **looks,
        )

    def _apply(self, inputs: Tensor) -> Tensor:
        """The outputs in training, without a trace in the running statistics of batch norm."""
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        return functional_call(self.model, buffers, (inputs,))

    @torch.no_grad()
    def _block_correlations(self) -> Tensor:
        """Pearson's correlation of input and output over all elements, by block."""
        inputs: dict[str, Tensor] = {}
        found: dict[str, float] = {}

        def keep(name: str) -> Callable[[nn.Module, Sequence[Tensor], Tensor], None]:
            def hook(module: nn.Module, args: Sequence[Tensor], output: Tensor) -> None:
                inputs[name] = output.detach().float().clone()  # a ReLU behind it may write into it

            return hook

        def compare(name: str) -> Callable[[nn.Module, Sequence[Tensor], Tensor], None]:
            def hook(module: nn.Module, args: Sequence[Tensor], output: Tensor) -> None:
                both = torch.stack([inputs.pop(name).flatten(), output.detach().float().flatten()])
                found[name] = torch.corrcoef(both)[0, 1].item()

            return hook

        handles = [
            handle
            for name, block in self.blocks.items()
            for handle in (
                block.get_submodule("shortcut").register_forward_hook(keep(name)),
                block.register_forward_hook(compare(name)),
            )
        ]
        try:
            if self.blocks:
                with seeded(0):
                    self._apply(self.inputs)
        finally:
            for handle in handles:
                handle.remove()
        return torch.tensor([found.get(name, math.nan) for name in self.blocks])


def gradient_norms(seen: GradientHistory) -> dict[str, float]:
    """The norm of the gradient of each parameter, mean over the updates."""
    return dict(zip(seen.names, np.nanmean(seen.l2, axis=0).tolist(), strict=True))


def _seen(weight: Tensor, start: Tensor) -> dict[str, np.ndarray]:
    """What is seen of one layer, by the names of `LayerHistory`."""
    now, first = weight.double().cpu(), start.double().cpu()
    along = (now * first).sum() / first.square().sum().clamp_min(1e-300)
    learned = now - along * first
    has_learned = learned.abs().max() > 1e-9 * now.abs().max()
    correlation, variance = _pearson(now)
    centre, spread = _localization(now)
    with np.errstate(invalid="ignore"):
        deviations = np.sqrt(variance / variance.mean())
    return {
        "correlation": correlation,
        "deviations": deviations,
        "learned": _pearson(learned)[0] if has_learned else np.full_like(correlation, np.nan),
        "start": np.array((along.square() * first.square().sum() / now.square().sum()).item()),
        "centre": np.array(centre),
        "spread": np.array(spread),
    }


def _pearson(weight: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """ρ_ij for i < j, and the variances, of the taps over the filters."""
    covariance = tap_moments(weight.contiguous()).covariance
    variance = covariance.diagonal().clip(min=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = covariance / np.sqrt(np.outer(variance, variance))
    return matrix[np.triu_indices(len(matrix), 1)], variance


def _localization(weight: Tensor) -> tuple[float, float]:
    """How far the centre of mass of w² lies from that of the kernel, and how far w² spreads about it.

    >>> centre_tap = torch.zeros(1, 1, 3, 3)
    >>> centre_tap[..., 1, 1] = 2.0
    >>> _localization(centre_tap)
    (0.0, 0.0)
    """
    energy = weight.flatten(0, 1).flatten(1).square()
    offsets = torch.tensor(tap_offsets(tuple(weight.shape[2:])), dtype=energy.dtype)
    offsets = offsets - offsets.mean(0)
    shares = energy / energy.sum(1, keepdim=True)
    centres = shares @ offsets
    distances = (offsets[None] - centres[:, None]).square().sum(2)
    spreads = (shares * distances).sum(1).sqrt()
    return centres.norm(dim=1).nanmean().item(), spreads.nanmean().item()
