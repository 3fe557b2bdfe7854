"""Carrying a plan out: all is checked, then all is drawn; or one module at a time, for sharded models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from corrinit._drawing import Draw, draw_all
from corrinit._drawing.shards import write_
from corrinit._layers import (
    MemoryMap,
    has_values,
    is_of_parametrization,
    is_protected,
    named_layers,
    why_unwritable,
)
from corrinit._layers.resetting import looks_uninitialized, own_tensors, require_resettable, reset
from corrinit._layers.weight_storage import StoredWeight, stored_weight
from corrinit._planning.layer_plan import LayerPlan, listed
from corrinit._planning.sequence_rules import draw_sequences, sequence_draws
from corrinit._seeding import layer_generator, require_seed, seed_from_torch
from corrinit.errors import (
    NeedsImagesError,
    OtherModelError,
    UnwritableWeightError,
    warn_caller,
)
from corrinit.methods import Convolution, find
from corrinit.methods.measured import scale_to_images


def apply(layers: Sequence[LayerPlan], model: nn.Module, seed: int | None, images: Tensor | None) -> int:
    """Draw the weights of a model as planned, see `Plan.apply`; returns the seed."""
    modules = named_layers(model)
    claimed = MemoryMap()
    drawn = [(layer, _ready(layer, modules.get(layer.name), claimed)) for layer in layers if layer.is_drawn]
    written = {id(tensor) for layer, stored in drawn for tensor in _written(layer, stored)}
    sequences = sequence_draws(layers, modules, written)
    resets = _resets(layers, modules, written)
    for layer, module, tensors in resets:
        require_resettable(layer.name, module, tensors)
    looking = [layer for layer, _ in drawn if _looks_at_images(layer)]
    if looking and images is None:
        raise NeedsImagesError(
            f"{_who_looks(looking[0])} looks at training images; give a batch of them as images=(N, C, H, W)"
        )
    seed = _root_seed(model, seed)
    with _undone_on_failure(_at_risk(drawn, resets)):
        for layer, module, tensors in resets:
            reset(layer.name, module, tensors, seed)
        _draw(drawn, seed)
        draw_sequences(sequences, seed)
        if looking and images is not None:
            _adapt(model, drawn, images)
    _warn_of_garbage(layers, modules, written)
    return seed


def module_initializer(
    layers: Sequence[LayerPlan],
    model: nn.Module,
    seed: int | None,
    device: torch.device | str | None,
) -> Callable[[nn.Module], None]:
    """A function that initializes one module's own tensors, see `Plan.param_init_fn`."""
    place = device if device is not None else torch.accelerator.current_accelerator() or "cpu"
    modules = named_layers(model)
    if looking := [layer.name for layer in layers if layer.is_drawn and _looks_at_images(layer)]:
        raise NeedsImagesError(
            f"layer {looking[0]}: its method looks at images, which needs the whole model: use apply"
        )
    plans = {layer.name: layer for layer in layers}
    tasks: dict[nn.Module, tuple[str, LayerPlan | None, set[str]]] = {}
    claimed, drawn = MemoryMap(), set[int]()
    for name, module in modules.items():
        if is_of_parametrization(name):
            left = [f"{name}.{key}" for key, tensor in own_tensors(module) if id(tensor) not in drawn]
            if left:
                raise UnwritableWeightError(
                    f"{left[0]} is not drawn, and cannot be reset as part of a parametrization"
                )
            continue
        layer = plans.get(name)
        written: set[int] = set()
        if layer is not None and layer.is_drawn:
            stored = _ready(layer, module, claimed, meta=True)
            written = {id(tensor) for tensor in _written(layer, stored)}
            drawn |= written
        elif (stored := stored_weight(module)) is not None and (stored.obstacle or stored.note):
            raise UnwritableWeightError(
                f"{stored.obstacle or stored.note}, so it cannot be reset", layer=name
            )
        others = {
            key
            for key, tensor in own_tensors(module)
            if id(tensor) not in written and not claimed.claim(tensor, name)
        }
        if others:
            require_resettable(name, module, others, meta=True)
        tasks[module] = name, layer if written else None, others
    root = _root_seed(model, seed)
    materialized: dict[nn.Parameter, nn.Parameter] = {}

    def initialize_module(module: nn.Module) -> None:
        _materialize(module, place, materialized)
        if is_parametrized(module):
            for part in module.parametrizations.modules():  # pyright: ignore
                _materialize(part, place, materialized)
        if module not in tasks:
            return
        name, layer, others = tasks[module]
        reset(name, module, others, root)
        draw_sequences(sequence_draws(filter(None, [plans.get(name)]), {name: module}, set()), root)
        if layer is not None:
            _draw([(layer, _ready(layer, module, MemoryMap()))], root)

    return initialize_module


def _ready(
    layer: LayerPlan, module: nn.Module | None, claimed: MemoryMap, *, meta: bool = False
) -> StoredWeight:
    """Where a planned layer keeps its weight, once all is seen to fit."""
    if module is None:
        raise OtherModelError(
            f"planned for shape {layer.shape}, the model has no such layer", layer=layer.name
        )
    stored = layer.like.stored(layer.name, module) if layer.like else stored_weight(module)
    if stored is None or stored.shape != layer.shape:
        found = "no weight" if stored is None else f"a weight of shape {stored.shape}"
        raise OtherModelError(
            f"planned for shape {layer.shape}, the model has {found}", layer=layer.name, shape=layer.shape
        )
    if stored.obstacle:
        raise UnwritableWeightError(f"the weight is {stored.obstacle}", layer=layer.name)
    for tensor in _written(layer, stored):
        if (obstacle := why_unwritable(tensor)) and not (meta and not has_values(tensor)):
            what = "weight" if tensor is stored.parameter else f"a tensor of shape {tuple(tensor.shape)}"
            raise UnwritableWeightError(f"{what} is {obstacle}", layer=layer.name)
    if reason := claimed.claim(stored.parameter, layer.name):
        raise UnwritableWeightError(
            f"planned to be drawn, but {reason}; plan this model itself", layer=layer.name
        )
    return stored


def _written(layer: LayerPlan, stored: StoredWeight) -> list[Tensor]:
    """The tensors that a draw changes."""
    bias = stored.module._parameters.get("bias") if layer.zero_bias else None
    return [*stored.changed(), *(() if bias is None else (bias,))]


def _resets(
    layers: Iterable[LayerPlan], modules: dict[str, nn.Module], written: set[int]
) -> list[tuple[LayerPlan, nn.Module, list[str]]]:
    """The modules to be reset, and which of their own tensors: none of those `written`, to which they add."""
    found = []
    for layer in layers:
        if layer.method != "reset" and not layer.reset_others:
            continue
        if (module := modules.get(layer.name)) is None:
            raise OtherModelError("planned to be reset, the model has no such layer", layer=layer.name)
        parts = module.parametrizations if is_parametrized(module) else nn.ModuleList()
        if any(id(t) not in written for t in [*parts.parameters(), *parts.buffers()]):  # pyright: ignore
            raise UnwritableWeightError(
                "what it is parametrized by is not all drawn, and cannot be reset; "
                "exclude it to keep it as it is",
                layer=layer.name,
            )
        tensors = [
            name
            for name, tensor in own_tensors(module)
            if id(tensor) not in written and not is_protected(tensor)
        ]
        written |= {id(tensor) for _, tensor in own_tensors(module)}
        if tensors:
            found.append((layer, module, tensors))
    return found


def _draw(drawn: Sequence[tuple[LayerPlan, StoredWeight]], seed: int) -> None:
    """Draw weights, those of independent filters in blocks, and set biases to zero."""
    with ExitStack() as stack:
        blockwise: list[tuple[Tensor, Draw]] = []
        for layer, stored in drawn:
            assert layer.std is not None
            weight, method = stack.enter_context(stored.writing()), find(layer.method)
            if not callable(method.draw):
                draw = Draw(layer.name, layer.shape, layer.std, layer.correlation, method.draw)
                blockwise.append((weight, draw))
            elif has_values(weight):
                precision = torch.float64 if weight.dtype == torch.float64 else torch.float32
                whole = torch.empty(layer.shape, dtype=precision, device="cpu")
                facts = convolution(layer, stored.module)
                method.draw(whole, facts, layer.std, layer_generator(seed, layer.name))
                write_(weight, whole)
        draw_all(blockwise, seed)
        with torch.no_grad():
            for layer, stored in drawn:
                if layer.zero_bias:
                    stored.module.bias.zero_()  # pyright: ignore


def convolution(layer: LayerPlan, module: nn.Module) -> Convolution:
    """What methods may know of a planned layer; R is that of its taps as drawn."""
    groups = layer.like.count_groups(module) if layer.like else getattr(module, "groups", 1)
    transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
    return Convolution(
        layer.name,
        module,
        layer.shape,
        depth=layer.depth,
        channels=layer.shape[0] // groups if transposed else layer.shape[1],
        gain=layer.gain,
        correlation=layer.correlation,
        groups=groups,
    )


def _at_risk(
    drawn: Sequence[tuple[LayerPlan, StoredWeight]],
    resets: Sequence[tuple[LayerPlan, nn.Module, list[str]]],
) -> list[Tensor]:
    """What is to be put back if a method fails; nothing where all is drawn in blocks, which cannot."""
    if not any(callable(find(layer.method).draw) or _looks_at_images(layer) for layer, _ in drawn):
        return []
    reset_ = [t for _, module, names in resets for name, t in own_tensors(module) if name in names]
    return [tensor for task in drawn for tensor in _written(*task)] + reset_


def _looks_at_images(layer: LayerPlan) -> bool:
    return layer.scale == "measured" or find(layer.method).adapt is not None


def _who_looks(layer: LayerPlan) -> str:
    return f"the method {layer.method!r}" if find(layer.method).adapt is not None else "the scale 'measured'"


def _adapt(model: nn.Module, drawn: Sequence[tuple[LayerPlan, StoredWeight]], images: Tensor) -> None:
    """Let the methods that look at images do so, then bring each layer to the scale of its rule."""
    facts = {layer.name: convolution(layer, stored.module) for layer, stored in drawn}
    for name in dict.fromkeys(layer.method for layer, _ in drawn):
        if (adapt := find(name).adapt) is None:
            continue
        filled = [layer for layer, _ in drawn if layer.method == name and len(layer.shape) > 2]
        if filled:
            adapt(model, [facts[layer.name] for layer in filled], images)
        for layer in filled:
            if layer.scale not in ("own", find(name).own_scale, "measured"):
                _to_planned_scale(layer, facts[layer.name])
    measured = [facts[layer.name] for layer, _ in drawn if layer.scale == "measured"]
    if measured:
        scale_to_images(model, measured, images)


def _to_planned_scale(layer: LayerPlan, facts: Convolution) -> None:
    weight = facts.module.weight
    assert isinstance(weight, Tensor)
    assert layer.std is not None
    if (rms := weight.detach().double().square().mean().sqrt().item()) > 0:
        facts.rescale(layer.std / rms)


@contextmanager
def _undone_on_failure(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Put the values back if what is done to them ends with an error; nothing is copied if there are none."""
    before = [(tensor, tensor.detach().clone()) for tensor in tensors]
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for tensor, values in before:
                tensor.copy_(values)
        raise


def _root_seed(model: nn.Module, seed: int | None) -> int:
    return seed_from_torch(common=_is_common(model)) if seed is None else require_seed(seed)


def _warn_of_garbage(layers: Iterable[LayerPlan], modules: dict[str, nn.Module], written: set[int]) -> None:
    found: list[str] = []
    for layer in layers:
        if (module := modules.get(layer.name)) is not None:
            kept = [name for name, tensor in own_tensors(module) if id(tensor) not in written]
            if (name := looks_uninitialized(module, kept)) is not None:
                found.append(f"{layer.name}.{name}".lstrip("."))
    if found:
        warn_caller(
            f"{listed(found)}: kept, with values that nobody means (NaN, infinite, beyond 1e8, or no "
            "variance), as after to_empty() or divergence; "
            'initialize(model, others="reset") also resets what is not drawn'
        )


def _materialize(
    module: nn.Module, device: torch.device | str, materialized: dict[nn.Parameter, nn.Parameter]
) -> None:
    """Give a module's own tensors memory where they have none; what was tied stays tied."""
    former = {name: p for name, p in module._parameters.items() if p is not None and p.is_meta}
    if former or any(buffer.is_meta for buffer in module.buffers(recurse=False)):
        module.to_empty(device=device, recurse=False)
    for name, parameter in former.items():
        made = module._parameters[name]
        assert made is not None
        module._parameters[name] = materialized.setdefault(parameter, made)


def _is_common(model: nn.Module) -> bool:
    """Whether several ranks hold the model between them, or copies that must be equal."""
    if any(hasattr(parameter, "device_mesh") for parameter in model.parameters()):
        return True
    common = {"DistributedDataParallel", "FullyShardedDataParallel"}
    return any(kind.__name__ in common for module in model.modules() for kind in type(module).__mro__)
