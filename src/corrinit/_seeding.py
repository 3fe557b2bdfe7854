"""From a root seed and a layer's name to the random generator of that layer, and of each block of its weight.

Each layer has a stream of its own, so its weights depend neither on the order of the layers nor on what
else is initialized, and wrapping a model (compile, data parallel, FSDP, checkpointing) changes nothing.
"""

from __future__ import annotations

import hashlib
import operator

import torch

from corrinit.errors import ConfigError


def layer_generator(seed: int, name: str) -> torch.Generator:
    """The CPU generator of one layer: seeded by SHA-256 of the root seed and the layer's name.

    Args:
        seed: root seed, any integer.
        name: the layer's name as in `corrinit._layers.named_layers`.

    >>> draw = lambda name: torch.rand(1, generator=layer_generator(0, name)).item()
    >>> draw("features.0") == draw("features.0") != draw("features.3")
    True
    """
    return torch.Generator(device="cpu").manual_seed(block_seed(seed, name, 0))


def block_seed(seed: int, name: str, block: int) -> int:
    """The seed of one block of a layer's weight; that of block 0 is the seed of the layer's generator.

    Args:
        seed: root seed, any integer.
        name: of the layer, as in `corrinit._layers.named_layers`.
        block: number of the block, from 0.
    """
    root = require_seed(seed)
    key = f"{root}:{name}" if block == 0 else f"{root}:{name}\0{block}"
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1


def require_seed(seed: object) -> int:
    """The seed, an integer of whatever library.

    Raises:
        ConfigError: if it is none.
    """
    try:
        if isinstance(seed, bool):
            raise TypeError
        return operator.index(seed)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise ConfigError(f"seed is {seed!r}; it must be an integer") from None


def seed_from_torch(*, common: bool = False) -> int:
    """A root seed drawn from torch's global CPU generator, which moves on by this one number.

    Args:
        common: whether all ranks take the seed of rank 0, as they need to where they share a model.
    """
    seed = int(torch.randint(1 << 32, (), device="cpu"))
    if common and torch.distributed.is_available() and torch.distributed.is_initialized():
        shared = [seed]
        torch.distributed.broadcast_object_list(shared, src=0)
        (seed,) = shared
    return seed
