"""The checkpoint of a training: its state, with a digest of its bytes, taken back only where it fits.

The file is what `torch.save` writes, followed by its SHA-256. `torch.load` does not verify the checksums of
the archive, so that without a digest a flipped bit would be trained on. Nothing is unpickled but tensors and
plain values.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from corrinit._atomic import replacing
from corrinit._reading import read_sealed, sealed
from corrinit.errors import CheckpointError, one_line
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.runs.fields import Metrics, checked_metrics


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Replace a checkpoint.

    Raises:
        CorrInitError: if it cannot be written; the one before is then as it was.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    content = buffer.getbuffer()
    with replacing(path) as file:
        file.write(content)
        file.write(sealed(content))


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """The state that `write_checkpoint` wrote, bit for bit.

    Raises:
        RecordError: if any bit of the file is not as it was written, or an earlier version wrote it.
    """
    content = read_sealed(path)
    try:
        state = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except Exception as error:  # somebody made the digest fit; there is no end of what torch may make of it
        reason = one_line(str(error).partition("\n")[0]) or type(error).__name__
        raise CheckpointError(f"{path} is no checkpoint: {reason}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} is no checkpoint: it holds {type(state).__name__}")
    return state


def require_fit(
    state: Mapping[str, Any],
    own: Mapping[str, Any],
    *,
    parameters: Sequence[Tensor],
    config: RunConfig,
    path: Path,
) -> list[Metrics]:
    """Compare a state with that of the training which is to go on from it; returns its metrics.

    Args:
        state: from `read_checkpoint`.
        own: of the training, before its first update.
        parameters: those that the optimizer has, in its order.
        config: the run.
        path: of the checkpoint, for messages.

    Raises:
        RecordError: naming what does not fit.
    """

    def require(fits: bool, what: str) -> None:
        if not fits:
            raise CheckpointError(f"{path} is no checkpoint of this run: its {what} does not fit")

    require(state.keys() == own.keys(), "list of contents")
    require(state["run"] == own["run"], "id")
    for name in ("model", "average", "monitor", "correct"):
        require(_is_like(state[name], own[name]), name)
    require(_is_optimizer_state(state["optimizer"], own["optimizer"], parameters), "optimizer")
    rows, updates = state["metrics"], state["updates"]
    if "layers" in own:
        looks, first = state["layers"], own["layers"][0]
        require(isinstance(looks, list) and all(_is_like(look, first) for look in looks), "look at layers")
        require(len(looks) == len(rows) + 1, "number of looks at layers")
    require(isinstance(rows, list) and all(isinstance(row, dict) for row in rows), "list of metrics")
    require(0 < len(rows) <= config.epochs, "number of epochs")
    require(isinstance(updates, list) and len(updates) in (0, len(rows)), "list of totals per update")
    require(all(_are_totals(each, updates[0]) for each in updates), "list of totals per update")
    finite = [{name: _null_if_not_finite(value) for name, value in row.items()} for row in rows]
    return list(checked_metrics(finite, config, path))


def _is_like(value: object, own: object) -> bool:
    """Whether a value has the form of another: keys, lengths and types, and of tensors dtype and shape.

    >>> _is_like({"a": torch.ones(2)}, {"a": torch.zeros(2)}), _is_like([torch.ones(2)], [torch.ones(3)])
    (True, False)
    """
    if isinstance(own, Tensor):
        return isinstance(value, Tensor) and (value.dtype, value.shape) == (own.dtype, own.shape)
    if isinstance(own, Mapping):
        if not isinstance(value, Mapping) or value.keys() != own.keys():
            return False
        return all(_is_like(value[name], each) for name, each in own.items())
    if isinstance(own, list):
        if not isinstance(value, list) or len(value) != len(own):
            return False
        return all(_is_like(one, other) for one, other in zip(value, own, strict=True))
    return type(value) is type(own)


def _is_optimizer_state(state: object, own: Mapping[str, Any], parameters: Sequence[Tensor]) -> bool:
    """Whether its settings are those of the run, but for the rate, and what it keeps is as each parameter."""
    if not isinstance(state, dict) or state.keys() != own.keys() or not isinstance(state["state"], dict):
        return False
    return _but_rate(state["param_groups"]) == _but_rate(own["param_groups"]) and all(
        number in range(len(parameters)) and _is_kept_of(kept, parameters[number])
        for number, kept in state["state"].items()
    )


def _but_rate(groups: object) -> object:
    """Settings of an optimizer without the learning rate, which a schedule sets at each update."""
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        return groups
    return [{name: value for name, value in group.items() if name != "lr"} for group in groups]


def _is_kept_of(kept: object, parameter: Tensor) -> bool:
    """Whether moments are as a parameter, beside which there is at most a number of steps."""
    return isinstance(kept, dict) and all(
        isinstance(each, Tensor)
        and (name == "step" or (each.dtype, each.shape) == (parameter.dtype, parameter.shape))
        for name, each in kept.items()
    )


def _are_totals(totals: object, first: object) -> bool:
    """Whether totals per update are a row of numbers for each name that those of the first epoch have."""
    return (
        isinstance(totals, dict)
        and isinstance(first, dict)
        and totals.keys() == first.keys()
        and all(isinstance(t, Tensor) and t.dtype == torch.float32 and t.ndim == 1 for t in totals.values())
    )


def _null_if_not_finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
