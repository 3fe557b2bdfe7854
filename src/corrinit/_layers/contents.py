"""What a tensor holds, in a few digits: equal for equal bytes, whatever the device and the memory format."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def content_digest(tensor: Tensor) -> str:
    """32 hexadecimal digits of the values of a dense tensor that has some; its shape is no part of them.

    >>> weight = torch.arange(6.0).reshape(2, 3)
    >>> content_digest(weight) == content_digest(weight.clone()) != content_digest(-weight)
    True
    """
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.blake2b(data.numpy().tobytes(), digest_size=16).hexdigest()
