"""The layers of a model by name, what they hold, and whether their weights may be drawn anew."""

from __future__ import annotations

import sys
from bisect import bisect
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from corrinit._layers.weight_storage import stored_weight
from corrinit.errors import LazyParameterError

_WRAPPED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)
_WRAPPERS_ELSEWHERE = ("DeepSpeedEngine", "PipelineEngine")

_NOT_FILTERS = {
    nn.RNNBase: "recurrent weights are kept",
    nn.RNNCellBase: "recurrent weights are kept",
    nn.Embedding: "an embedding is kept",
    nn.EmbeddingBag: "an embedding is kept",
    nn.MultiheadAttention: "the projections of queries, keys and values are kept",
    nn.Bilinear: "a bilinear form is kept",
}


ABSURD = 1e8
"""No parameter or statistic that anybody means is larger."""


class Kept(NamedTuple):
    """Why a layer is not drawn.

    Args:
        reason: in words.
        unreached: whether it holds filters that an initializer would be expected to reach.
        protected: whether the user or a library says so, and not what the layer is.
        has_filters: whether it has filters at all.
        is_constant: whether it is kept as all its entries are equal.
    """

    reason: str
    unreached: bool = False
    protected: bool = False
    has_filters: bool = True
    is_constant: bool = False


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """All modules of a model by their names without the prefixes that wrappers add.

    Wrapping a model (compile, data parallel, FSDP, checkpointing) so changes no name. A module that the model
    itself calls `module` keeps its name. Where two names would become one, both stay as they are.

    >>> list(named_layers(nn.DataParallel(nn.Sequential(nn.ReLU()))))
    ['', '0']
    >>> list(named_layers(nn.ModuleDict({"module": nn.ReLU()})))
    ['', 'module']
    """
    found: dict[str, list[tuple[str, nn.Module]]] = {}
    plain_names = {"": ""}  # of every module met so far, by its full name
    wrapping: set[str] = set()
    for name, module in model.named_modules():
        parent, _, own = name.rpartition(".")
        if name:
            inside = plain_names[parent]
            is_wrapped = own in _WRAPPED or (own == "module" and parent in wrapping)
            plain_names[name] = inside if is_wrapped else f"{inside}.{own}" if inside else own
        if isinstance(module, _WRAPPERS) or type(module).__name__ in _WRAPPERS_ELSEWHERE:
            wrapping.add(name)
        found.setdefault(plain_names[name], []).append((name, module))
    layers: dict[str, nn.Module] = {}
    for plain, same in found.items():
        # a wrapper and what it wraps have one name: the innermost is the layer
        chain = all(_is_inside(inner, outer) for (outer, _), (inner, _) in pairwise(same))
        layers |= {plain: same[-1][1]} if chain else dict(same)
    return layers


def _is_inside(name: str, parent: str) -> bool:
    return not parent or name.startswith(f"{parent}.")


def is_of_parametrization(name: str) -> bool:
    """Whether a module of this name computes a weight, which is the business of the layer that owns it."""
    return "parametrizations" in name.split(".")


def own_parameters(module: nn.Module) -> dict[str, Tensor]:
    """The parameters of a module itself, without its children; as `weight`, what its weight is kept in."""
    own: dict[str, Tensor] = dict(module.named_parameters(recurse=False))
    if (stored := stored_weight(module)) is not None:
        own["weight"] = stored.parameter
    return own


def require_shape(name: str, module: nn.Module) -> None:
    """Raise a `PlanError` if a parameter of the module is lazy, and so has no shape yet."""
    for parameter_name, parameter in module.named_parameters(recurse=False):
        if torch.nn.parameter.is_lazy(parameter):
            raise LazyParameterError(
                f"{parameter_name} is lazy; run one forward pass, then initialize", layer=name
            )


def has_values(tensor: Tensor) -> bool:
    """Whether a tensor has memory: not on the meta device, and no stand-in for tracing."""
    return not tensor.is_meta and type(tensor).__name__ != "FakeTensor"


def why_unwritable(tensor: Tensor) -> str:
    """Why a tensor of numbers cannot be filled in place, with the remedy; empty if it can.

    >>> why_unwritable(torch.zeros(1, 3).expand(4, 3))
    'expanded, so its entries share memory; clone it'
    """
    if torch.nn.parameter.is_lazy(tensor):
        return "lazy; run one forward pass, then initialize"
    if not has_values(tensor):
        return (
            "on the meta device; materialize the model and initialize all of it: "
            'corrinit.initialize(model.to_empty(device=...), others="reset"), or load its weights'
        )
    if tensor.layout != torch.strided:
        return f"of layout {tensor.layout}; make it dense"
    if tensor.is_inference() and not torch.is_inference_mode_enabled():
        return "made in inference mode; build the model outside of it, or initialize inside"
    local = getattr(tensor, "_local_tensor", tensor)
    reach = 1
    for stride, size in sorted(zip(local.stride(), local.shape, strict=True)):
        if size > 1 and stride < reach and local.numel():
            return f"{'expanded' if stride == 0 else 'a view'}, so its entries share memory; clone it"
        reach += (size - 1) * stride
    return ""


def constant_value(parameter: Tensor) -> float | None:
    """The value that all entries of a parameter have; None if they differ, or cannot tell.

    A single entry is no evidence of an intention, and a tensor without memory has no entries. For a sharded
    tensor all ranks need to ask.

    >>> constant_value(torch.zeros(8, 4, 3, 3)), constant_value(torch.ones(1)), constant_value(torch.randn(9))
    (0.0, None, None)
    """
    values = parameter.detach()
    if values.numel() < 2 or not has_values(values) or values.layout != torch.strided:
        return None
    if hasattr(values, "device_mesh"):
        least, most = values.amin().full_tensor(), values.amax().full_tensor()  # pyright: ignore
        return _meant(float(least)) if bool(least == most) else None
    first = values[(0,) * values.dim()]
    row = values[0] if len(values) > 1 and values.dim() > 1 else values
    if not bool((row == first).all()):  # nearly always: the rest need not be read
        return None
    return _meant(float(first)) if bool((values == first).all()) else None


def _meant(value: float) -> float | None:
    return value if abs(value) <= ABSURD else None


def why_kept(module: nn.Module) -> Kept | None:
    """Why the weight of a module of a known class must not be drawn; None if it may."""
    if not isinstance(module, (_ConvNd, nn.Linear)):
        return _kept_for_its_class(module)
    stored = stored_weight(module)
    if stored is None:
        what = "a buffer" if "weight" in module._buffers else "no parameter of the layer"
        return Kept(f"the weight is {what}", unreached="weight" not in module._buffers)
    if (why := why_parameter_kept(stored.parameter)) is not None:
        return why
    if stored.obstacle:
        return Kept(stored.obstacle, unreached=True)
    axes, found = 2 if isinstance(module, nn.Linear) else 2 + len(module.kernel_size), len(stored.shape)
    if found != axes:
        return Kept(
            f"its weight has {found} axes, that of {type(module).__name__} has {axes}", unreached=True
        )
    return None


def why_parameter_kept(weight: Tensor) -> Kept | None:
    """Why a parameter must not be drawn, whatever the module is; None if it may."""
    if is_loaded(weight):
        return Kept("already loaded (_is_hf_initialized)", protected=True)
    if not weight.requires_grad:
        return Kept("frozen (requires_grad=False)", protected=True)
    if not _drawable_dtype(weight.dtype):
        return Kept(f"weights of type {weight.dtype} cannot be drawn", unreached=True)
    return None


def deliberate(value: float) -> str:
    """The reason to keep weights that all have one value.

    >>> deliberate(0.0), deliberate(1 / 9)
    ('deliberately zero', 'deliberately constant (0.1111)')
    """
    return "deliberately zero" if value == 0 else f"deliberately constant ({value:.4g})"


def is_deliberate_bias(bias: Tensor, inputs: int) -> bool:
    """Whether a bias was set on purpose: all its entries have one value other than 0, as a prior has.

    A single entry counts as set where it is beyond the 1/√inputs within which torch draws it.

    >>> is_deliberate_bias(torch.full((3,), -4.6), 9), is_deliberate_bias(torch.full((1,), -4.6), 9)
    (True, True)
    """
    if bias.numel() == 1 and has_values(bias) and not hasattr(bias, "device_mesh"):
        return abs(bias.item()) > max(inputs, 1) ** -0.5
    return bool(constant_value(bias))


def is_loaded(parameter: Tensor) -> bool:
    """Whether transformers says that a parameter comes from a checkpoint.

    Only the parameter tells: the modules of a model that was just built carry the mark too.
    """
    return bool(getattr(parameter, "_is_hf_initialized", False))


def is_protected(tensor: Tensor) -> bool:
    """Whether a tensor is a parameter that is frozen, or marked as loaded."""
    return is_loaded(tensor) or (isinstance(tensor, nn.Parameter) and not tensor.requires_grad)


def tells_loaded(model: nn.Module) -> bool:
    """Whether marks tell what is loaded: transformers 4 marks every module of any model, and no parameter."""
    version = getattr(sys.modules.get("transformers"), "__version__", "5")
    marked = any(getattr(module, "_is_hf_initialized", False) for module in model.modules())
    return not (marked and int(version.partition(".")[0]) < 5)


def filters_of_unknown_class(module: nn.Module) -> str | None:
    """The name of a parameter that looks like filters, in a module whose class says nothing of them.

    Filters have 3 to 6 axes, of which one or two of channels are longer than 1, and one or more short ones of
    taps. Tables of positions, tokens, and factors per channel have not, or say in their name what they are.
    Where a module has a `kernel_size`, its `weight` may also hold them flat; a `weight` that is a matrix may
    be that of a linear layer, as in `Conv1D` of transformers.
    """
    if type(module).__module__.startswith("torch.nn") or isinstance(module, (_NormBase, nn.LayerNorm)):
        return None
    for name, parameter in own_parameters(module).items():
        matrix = parameter.dim() == 2 and min(parameter.shape) > 1 and not isinstance(module, _TABLES)
        flat = name == "weight" and parameter.dim() > 1 and (matrix or hasattr(module, "kernel_size"))
        if not parameter.requires_grad or not parameter.is_floating_point():
            continue
        if flat or _looks_like_filters(name, parameter):
            return name
    return None


_TELLING = ("pos", "embed", "token", "scale", "gamma", "beta", "bias", "quer", "relative", "const", "mask")
_LONGEST_KERNEL = 64
_TABLES = (nn.Embedding, nn.EmbeddingBag)


def _looks_like_filters(name: str, parameter: Tensor) -> bool:
    if not 3 <= parameter.dim() <= 6 or any(word in name.lower() for word in _TELLING):
        return False
    shape = tuple(parameter.shape)
    kernel = shape[2:] if parameter.dim() <= 4 else shape[3:]
    channels = shape[: -len(kernel)]
    return 1 < max(kernel) <= _LONGEST_KERNEL and (channels[0] > 1 or len(channels) > 2) and max(channels) > 1


def _kept_for_its_class(module: nn.Module) -> Kept:
    if (name := filters_of_unknown_class(module)) is not None:
        kind = type(module).__name__
        what = "a matrix" if own_parameters(module)[name].dim() == 2 else "filters"
        reason = f"{what} in {name} of {kind}, a class not known: left alone (modules={{{kind}: ...}} draws)"
        return Kept(reason, unreached=True)
    for kind, reason in _NOT_FILTERS.items():
        if isinstance(module, kind):
            return Kept(reason, has_filters=False)
    return Kept("no filters", has_filters=False)


def _drawable_dtype(dtype: torch.dtype) -> bool:
    if not dtype.is_floating_point:
        return False
    try:
        torch.empty(2, dtype=dtype, device="cpu").copy_(torch.zeros(2, device="cpu"))
    except (NotImplementedError, RuntimeError):  # packed types, as float4
        return False
    return True


class MemoryMap:
    """The memory of the parameters seen so far, to tell those that lie in the memory of another."""

    def __init__(self) -> None:
        self._objects: dict[int, str] = {}
        self._spans: dict[tuple[torch.device, int], list[tuple[int, int, str]]] = {}

    def claim(self, parameter: Tensor, name: str) -> str:
        """Claim the memory of a parameter for a layer; the reason why not, if it is that of another layer."""
        if (owner := self._objects.setdefault(id(parameter), name)) != name:
            return f"tied to {owner}"
        local = getattr(parameter, "_local_tensor", parameter)
        if not has_values(local) or local.layout != torch.strided or local.numel() == 0:
            return ""
        steps: int = sum(
            (size - 1) * stride for size, stride in zip(local.shape, local.stride(), strict=True)
        )
        first = local.storage_offset() * local.element_size()
        last = first + (steps + 1) * local.element_size()
        spans = self._spans.setdefault((local.device, local.untyped_storage().data_ptr()), [])
        place = bisect(spans, (first, last, name))
        for start, end, owner in spans[max(place - 1, 0) : place + 1]:
            if start < last and first < end and owner != name:
                return f"shares memory with {owner}"
        spans.insert(place, (first, last, name))  # pyright: ignore[reportArgumentType]
        return ""
