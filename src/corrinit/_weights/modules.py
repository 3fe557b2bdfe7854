"""The filters of the convolutions of a torch module, as the layers compute with them."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.parameter import is_lazy

from corrinit._layers.weight_storage import stored_weight
from corrinit._weights.filters import Filter
from corrinit._weights.stored_tensor import in_memory
from corrinit.errors import NoValuesError


def module_filters(module: nn.Module) -> Iterator[Filter]:
    """The filters of every convolution, in the order of the module; those of shared weights once.

    Raises:
        WeightsError: if a layer has no values yet, or none that are plain numbers.
    """
    seen: set[int] = set()
    for name, layer in module.named_modules():
        if not isinstance(layer, _ConvNd):
            continue
        stored = stored_weight(layer)
        weight = layer.weight if stored is None else stored.parameter
        if is_lazy(weight):
            raise NoValuesError(f"layer {name} is lazy and has no weights yet; run one forward pass first")
        if weight.is_meta:
            raise NoValuesError(
                f"layer {name} is on the meta device and has no values; load its weights first"
            )
        if id(weight) not in seen:
            seen.add(id(weight))
            weight = weight.detach() if stored is None else stored.value()
            weight = weight.transpose(0, 1) if isinstance(layer, _ConvTransposeNd) else weight
            tensor = in_memory(weight)
            if tensor.obstacle:
                raise NoValuesError(f"layer {name} cannot be estimated from: {tensor.obstacle}")
            yield Filter(f"{name}.weight" if name else "weight", tensor)
