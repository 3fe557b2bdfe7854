"""The shard of a DTensor that this rank holds: where it lies in the whole tensor, and writing to it."""

from __future__ import annotations

import torch
from torch import Tensor


def local_part(tensor: Tensor) -> Tensor:
    """What of a tensor is in this process: the shard of a DTensor, any other tensor itself."""
    return tensor.to_local() if hasattr(tensor, "device_mesh") else tensor  # pyright: ignore


def local_region(tensor: Tensor) -> tuple[slice, ...] | None:
    """Where `local_part` lies in the tensor, a slice for each axis; None if it is no such rectangle.

    Most shards are: by any axes, uneven ones, and those of FSDP and tensor parallelism together.
    """
    region = [slice(0, length) for length in tensor.shape]
    if not hasattr(tensor, "device_mesh"):
        return tuple(region)
    from torch.distributed.tensor import DTensor, Partial, Replicate, distribute_tensor

    assert isinstance(tensor, DTensor)
    if any(isinstance(placement, Partial) for placement in tensor.placements):
        return None
    axes = [getattr(placement, "dim", None) for placement in tensor.placements]  # None: replicated
    for axis in {axis for axis in axes if axis is not None}:
        # Whatever the placements: the positions along an axis, sharded as the tensor is along that axis.
        length = tensor.shape[axis]
        positions = torch.arange(length, device="cpu")
        positions = positions.view([-1 if a == axis else 1 for a in range(tensor.dim())])
        placements = [p if a == axis else Replicate() for a, p in zip(axes, tensor.placements, strict=True)]
        sharded = distribute_tensor(positions, tensor.device_mesh, placements, src_data_rank=None)
        held = sharded.to_local().flatten().tolist()
        region[axis] = slice(held[0], held[0] + len(held)) if held else slice(0, 0)
        if held != list(range(length))[region[axis]]:
            return None
    return tuple(region)


@torch.no_grad()
def write_(tensor: Tensor, values: Tensor) -> Tensor:
    """Copy values into a materialized tensor; into a DTensor, the shard that belongs to this rank."""
    if not hasattr(tensor, "device_mesh"):
        return tensor.copy_(values)
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(tensor, DTensor)
    whole = values.to(tensor.to_local().device, tensor.dtype)
    shard = distribute_tensor(whole, tensor.device_mesh, tensor.placements, src_data_rank=None)
    return tensor.copy_(shard)
