"""Where convolution kernels come from: a module, a state dict, or a file of weights.

Files are mapped into memory and handed out tensor by tensor, and no code in them is ever run.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from corrinit.errors import WeightsError
from corrinit.weight_storage import stored_weight

Source: TypeAlias = "nn.Module | Mapping[str, Any] | str | os.PathLike[str]"

LONGEST_AXIS = 64
"""A kernel has at most so many taps along an axis; longer tensors are embeddings, not kernels."""

_INDEX_SUFFIX = ".safetensors.index.json"
_TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
_NESTED = ("state_dict", "model_state_dict", "model")
_DEEPEST = 3
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


def named_weights(source: Source) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that can be the weight of a convolution, with its name, in the order of the source.

    Of a module these are the weights of its convolutions, each once where it is shared. Of a state dict or a
    file they are the floating-point tensors of 3 to 5 axes whose kernel axes are at most `LONGEST_AXIS` long.
    The first two axes are channels, by convention output and input (a transposed convolution in a state dict
    has them swapped), the others are the kernel's. Safetensors files keep no order of layers; there it is
    that of the names.

    Args:
        source: a module; a state dict, or a checkpoint that holds one as `state_dict`, `model_state_dict` or
            `model`; or a path: `*.safetensors`, the `*.safetensors.index.json` of a sharded one, or a
            `.pt`, `.pth`, `.bin` or `.ckpt` of `torch.save`.

    Yields:
        (name, tensor) pairs. Tensors of a file may be views of its mapped pages: read, do not write.

    Raises:
        WeightsError: if the source cannot be read, or a layer has no values yet.

    >>> [(name, tuple(weight.shape)) for name, weight in named_weights(nn.Sequential(nn.Conv2d(3, 8, 3)))]
    [('0.weight', (8, 3, 3, 3))]
    """
    if isinstance(source, nn.Module):
        yield from _module_weights(source)
    elif isinstance(source, Mapping):
        yield from _kernels(_state_dict(source, "the mapping"))
    elif isinstance(source, (str, os.PathLike)):
        yield from _file_weights(Path(source))
    else:
        raise WeightsError(
            f"weights are given as {type(source).__name__}; give a module, a state dict or the path of a file"
        )


def _module_weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    seen: set[int] = set()
    for name, layer in module.named_modules():
        if not isinstance(layer, _ConvNd):
            continue
        stored = stored_weight(layer)
        weight = layer.weight if stored is None else stored.parameter
        if torch.nn.parameter.is_lazy(weight):
            raise WeightsError(f"layer {name} is lazy and has no weights yet; run one forward pass first")
        if weight.is_meta:
            raise WeightsError(
                f"layer {name} is on the meta device and has no values; load its weights first"
            )
        if id(weight) not in seen:
            seen.add(id(weight))
            weight = weight.detach() if stored is None else stored.value()
            yield (
                f"{name}.weight" if name else "weight",
                weight.transpose(0, 1) if isinstance(layer, _ConvTransposeNd) else weight,
            )


def _kernels(tensors: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors.items():
        if (
            isinstance(tensor, Tensor)
            and tensor.layout == torch.strided
            and tensor.is_floating_point()
            and _is_kernel_shape(tensor.shape)
        ):
            if tensor.is_meta:
                raise WeightsError(f"{name} is on the meta device and has no values; load its weights first")
            yield name, tensor.detach()


def _is_kernel_shape(shape: tuple[int, ...] | list[int]) -> bool:
    return 3 <= len(shape) <= 5 and all(shape) and max(shape[2:]) <= LONGEST_AXIS


def _state_dict(checkpoint: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The mapping from names to tensors, inside whatever a training script wrapped around it."""
    for _ in range(_DEEPEST):
        inner = next((checkpoint[key] for key in _NESTED if isinstance(checkpoint.get(key), Mapping)), None)
        if inner is None:
            break
        checkpoint = inner
    if not any(isinstance(value, Tensor) for value in checkpoint.values()):
        keys = ", ".join(repr(key)[:40] for key in list(checkpoint)[:5]) or "none"
        raise WeightsError(
            f"{where} holds no tensors, nor a state dict as {' or '.join(_NESTED)}; its keys: {keys}"
        )
    return {str(name): value for name, value in checkpoint.items()}


def _file_weights(path: Path) -> Iterator[tuple[str, Tensor]]:
    if not path.is_file():
        raise WeightsError(f"there is no file {path}" if not path.exists() else f"{path} is no regular file")
    if path.name.endswith(_INDEX_SUFFIX):
        for shard in _shards(path):
            yield from _safetensors(shard)
    elif path.suffix == ".safetensors":
        yield from _safetensors(path)
    elif path.suffix in _TORCH_SUFFIXES:
        yield from _kernels(_state_dict(_torch_checkpoint(path), str(path)))
    else:
        known = ", ".join((".safetensors", _INDEX_SUFFIX, *_TORCH_SUFFIXES))
        raise WeightsError(f"{path} has the unknown suffix {path.suffix!r}; weights are read from {known}")


def _safetensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            for name in sorted(file.keys(), key=_natural):
                header = file.get_slice(name)
                if header.get_dtype() in _FLOATS and _is_kernel_shape(header.get_shape()):
                    yield name, file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no safetensors file, or damaged: {error}") from error


def _natural(name: str) -> str:
    """Sort key that takes numbers in names as numbers: layer2 before layer10."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(20), name)


def _shards(index: Path) -> list[Path]:
    """The files that a sharded checkpoint consists of, in the order of the index."""
    try:
        names = dict.fromkeys(json.loads(index.read_bytes())["weight_map"].values())
        shards = [index.parent / name for name in names]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{index} is no index of a sharded checkpoint: {error!r}") from error
    for shard in shards:
        if shard.parent != index.parent or not shard.is_file():
            raise WeightsError(
                f"{index} names the file {shard}, which does not lie beside it; fetch all shards"
            )
    return shards


def _torch_checkpoint(path: Path) -> Mapping[str, Any]:
    try:
        mappable = zipfile.is_zipfile(path)  # not so before torch 1.6
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=mappable)
    except Exception as error:  # a damaged or hostile pickle fails in any way it likes
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise WeightsError(
            f"{path} cannot be read without running code in it, or is damaged ({reason}); "
            "save it anew as a state dict: torch.save(model.state_dict(), path)"
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise WeightsError(f"{path} holds {type(checkpoint).__name__}, not a state dict")
    return checkpoint
