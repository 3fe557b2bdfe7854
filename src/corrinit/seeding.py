"""From a root seed and a layer's name to the random generator of that layer, and of each block of its weight.

Each layer has a stream of its own, so its weights depend neither on the order of the layers nor on what
else is initialized, and wrapping a model (compile, data parallel, FSDP, checkpointing) changes nothing.
"""

from __future__ import annotations

import hashlib
import re

import torch

from corrinit.errors import ConfigError

_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.|^(?:module\.)+"
)


def canonical_name(name: str) -> str:
    """A layer's qualified name without the prefixes that wrappers add.

    >>> canonical_name("_orig_mod.module.layer1.0._checkpoint_wrapped_module.conv1")
    'layer1.0.conv1'
    """
    while (stripped := _WRAPPERS.sub("", name)) != name:
        name = stripped
    return name


def layer_generator(seed: int, name: str) -> torch.Generator:
    """The CPU generator of one layer: seeded by SHA-256 of the root seed and the canonical name.

    Args:
        seed: root seed, any integer.
        name: the layer's qualified name, as in `model.named_modules()`.

    >>> draw = lambda name: torch.rand(1, generator=layer_generator(0, name)).item()
    >>> draw("features.0") == draw("_orig_mod.features.0") != draw("features.3")
    True
    """
    return torch.Generator(device="cpu").manual_seed(block_seed(seed, canonical_name(name), 0))


def block_seed(seed: int, name: str, block: int) -> int:
    """The seed of one block of a layer's weight; that of block 0 is the seed of the layer's generator.

    Args:
        seed: root seed, any integer.
        name: canonical name of the layer.
        block: number of the block, from 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigError(f"seed is {seed!r}; it must be an integer")
    key = f"{seed}:{name}" if block == 0 else f"{seed}:{name}\0{block}"
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1
