"""What happens to each layer of a model: a value, carried out all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from corrinit.correlation import SpatialCorrelation, format_size
from corrinit.errors import PlanError, warn_caller
from corrinit.init import draw_
from corrinit.layers import (
    MemoryMap,
    has_values,
    is_of_parametrization,
    is_protected,
    named_layers,
    why_unwritable,
)
from corrinit.resetting import looks_uninitialized, own_tensors, require_resettable, reset
from corrinit.seeding import layer_generator, require_seed, seed_from_torch
from corrinit.unknown_layers import ConvolutionLike
from corrinit.weight_storage import StoredWeight, stored_weight


@dataclass(frozen=True)
class LayerPlan:
    """What happens to one layer.

    Args:
        name: qualified name, without the prefixes of wrappers.
        kind: class of the module.
        shape: shape of the weight, as a convolution's; of the first parameter where there is no weight.
        rule: `"correlated_normal"`, `"normal"`, `"keep"`, or `"reset"` to what it was built with.
        reason: why that rule.
        std: standard deviation of each weight; None unless it is drawn.
        correlation: R of the taps; None unless the rule is `"correlated_normal"`.
        zero_bias: whether a bias is set to zero.
        like: how the filters of a class that torch does not know are read.
        reset_others: whether what is not drawn of the layer is reset.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    rule: Literal["correlated_normal", "normal", "keep", "reset"]
    reason: str
    std: float | None = None
    correlation: SpatialCorrelation | None = None
    zero_bias: bool = False
    like: ConvolutionLike | None = None
    reset_others: bool = False

    @property
    def is_drawn(self) -> bool:
        """Whether new weights are drawn."""
        return self.rule not in ("keep", "reset")

    @property
    def action(self) -> str:
        """What is done to the weight, for the table."""
        if not self.is_drawn:
            return self.rule
        return f"draw, std {self.std:.4g}" + (", zero bias" if self.zero_bias else "")


@dataclass(frozen=True)
class Plan:
    """What happens to each layer of a model: a value, printed as a table, applied with `apply`.

    Args:
        layers: in the order of the modules.
        seed: the root seed it was carried out with; None if it was not, or each layer has its own.
        notes: what was not known of the model.
    """

    layers: tuple[LayerPlan, ...]
    seed: int | None = None
    notes: tuple[str, ...] = ()

    def apply(self, model: nn.Module, *, seed: int | None = None) -> Plan:
        """Draw the weights as planned. Nothing is changed unless every planned layer is there and fits.

        Args:
            model: the model planned for, or one of the same layers.
            seed: root seed; each layer draws from a generator of its own (`layer_generator`). Default: that
                of the plan; else one number from torch's global generator, which moves on by it. Where the
                model is sharded or replicated, all ranks take that of rank 0.

        Returns:
            The plan with the seed.

        Raises:
            PlanError: if a planned layer is missing from the model, has another shape, or cannot be written.
        """
        modules = named_layers(model)
        claimed = MemoryMap()
        drawn = [
            (layer, _ready(layer, modules.get(layer.name), claimed))
            for layer in self.layers
            if layer.is_drawn
        ]
        written = {id(tensor) for layer, stored in drawn for tensor in _written(layer, stored)}
        written = {id(tensor) for layer, stored in drawn for tensor in _written(layer, stored)}
        resets = _resets(self.layers, modules, written)
        for layer, module, tensors in resets:
            require_resettable(layer.name, module, tensors)
        seed = self._seed(model, seed)
        for layer, module, tensors in resets:
            reset(layer.name, module, tensors, seed)
        generators = [layer_generator(seed, layer.name) for layer, _ in drawn]
        _in_threads(_draw, [(*task, generator) for task, generator in zip(drawn, generators, strict=True)])
        self._warn_of_garbage(modules, written)
        return replace(self, seed=seed)

    def param_init_fn(
        self, model: nn.Module, *, seed: int | None = None, device: torch.device | str | None = None
    ) -> Callable[[nn.Module], None]:
        """What FSDP takes as `param_init_fn`: a function that initializes one module's own tensors.

        It materializes parameters and buffers that are on the meta device, draws those planned, and resets
        all others with the `reset_parameters` of the module, whatever the plan keeps: they have no values.
        Called for every module, in any order and on any rank, it gives the weights of `apply`. For FSDP2,
        `fully_shard` a model on the meta device, then call it for each of `model.modules()`.

        Args:
            model: the model planned for, before or after it is wrapped.
            seed: root seed, see `apply`.
            device: where to materialize; default: the current accelerator, or the CPU where there is none.

        Raises:
            PlanError: if a parameter or buffer would be left without a value, before anything is changed.

        >>> with torch.device("meta"):
        ...     model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        >>> from corrinit import plan
        >>> initialize_module = plan(model).param_init_fn(model, seed=0, device="cpu")
        >>> for module in model.modules():
        ...     initialize_module(module)
        >>> model[1].running_var.tolist()[:2]
        [1.0, 1.0]
        """
        place = device if device is not None else torch.accelerator.current_accelerator() or "cpu"
        modules = named_layers(model)
        plans = {layer.name: layer for layer in self.layers}
        tasks: dict[nn.Module, tuple[str, LayerPlan | None, set[str]]] = {}
        claimed, drawn = MemoryMap(), set[int]()
        for name, module in modules.items():
            if is_of_parametrization(name):
                left = [f"{name}.{key}" for key, tensor in own_tensors(module) if id(tensor) not in drawn]
                if left:
                    raise PlanError(
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
                raise PlanError(f"layer {name}: {stored.obstacle or stored.note}, so it cannot be reset")
            others = {
                key
                for key, tensor in own_tensors(module)
                if id(tensor) not in written and not claimed.claim(tensor, name)
            }
            if others:
                require_resettable(name, module, others, meta=True)
            tasks[module] = name, layer if written else None, others
        root = self._seed(model, seed)
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
            if layer is not None:
                _draw(layer, _ready(layer, module, MemoryMap()), layer_generator(root, name))

        return initialize_module

    def independent(self) -> Plan:
        """The scale control: the same standard deviation in every layer, from independent taps."""
        return replace(
            self,
            layers=tuple(
                replace(
                    layer, rule="normal", correlation=None, reason=f"{layer.reason}; taps made independent"
                )
                if layer.rule == "correlated_normal"
                else layer
                for layer in self.layers
            ),
        )

    def __str__(self) -> str:
        header = ("layer", "type", "shape", "rule", "action", "reason")
        rows: list[tuple[str, ...]] = [header]
        for layer in self.layers:
            rows.append(
                (layer.name, layer.kind, format_size(layer.shape), layer.rule, layer.action, layer.reason)
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        seed = () if self.seed is None else (f"seed {self.seed}",)
        return "\n".join([*lines, *self.notes, *seed])

    def _seed(self, model: nn.Module, seed: int | None) -> int:
        seed = self.seed if seed is None else seed
        return seed_from_torch(common=_is_common(model)) if seed is None else require_seed(seed)

    def _warn_of_garbage(self, modules: dict[str, nn.Module], written: set[int]) -> None:
        found: list[str] = []
        for layer in self.layers:
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


def listed(names: list[str], most: int = 5) -> str:
    """Names in a sentence, the first few of many.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _ready(
    layer: LayerPlan, module: nn.Module | None, claimed: MemoryMap, *, meta: bool = False
) -> StoredWeight:
    """Where a planned layer keeps its weight, once all is seen to fit."""
    if module is None:
        raise PlanError(f"layer {layer.name}: planned for shape {layer.shape}, the model has no such layer")
    stored = layer.like.stored(layer.name, module) if layer.like else stored_weight(module)
    if stored is None or stored.shape != layer.shape:
        found = "no weight" if stored is None else f"a weight of shape {stored.shape}"
        raise PlanError(f"layer {layer.name}: planned for shape {layer.shape}, the model has {found}")
    if stored.obstacle:
        raise PlanError(f"layer {layer.name}: the weight is {stored.obstacle}")
    for tensor in _written(layer, stored):
        if (obstacle := why_unwritable(tensor)) and not (meta and not has_values(tensor)):
            what = "weight" if tensor is stored.parameter else f"a tensor of shape {tuple(tensor.shape)}"
            raise PlanError(f"layer {layer.name}: {what} is {obstacle}")
    if reason := claimed.claim(stored.parameter, layer.name):
        raise PlanError(f"layer {layer.name}: planned to be drawn, but {reason}; plan this model itself")
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
        if layer.rule != "reset" and not layer.reset_others:
            continue
        if (module := modules.get(layer.name)) is None:
            raise PlanError(f"layer {layer.name}: planned to be reset, the model has no such layer")
        parts = module.parametrizations if is_parametrized(module) else nn.ModuleList()
        if any(id(t) not in written for t in [*parts.parameters(), *parts.buffers()]):  # pyright: ignore
            raise PlanError(
                f"layer {layer.name}: what it is parametrized by is not all drawn, and cannot be reset; "
                "exclude it to keep it as it is"
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


def _draw(layer: LayerPlan, stored: StoredWeight, generator: torch.Generator) -> None:
    assert layer.std is not None
    with stored.writing() as weight:
        draw_(weight, layer.correlation, layer.std, generator)
    if layer.zero_bias:
        with torch.no_grad():
            stored.module.bias.zero_()  # pyright: ignore


def _in_threads(
    work: Callable[..., None], tasks: list[tuple[LayerPlan, StoredWeight, torch.Generator]]
) -> None:
    """Do the work of all tasks, side by side unless a mode of the calling thread would be lost by that."""
    if torch._C._len_torch_dispatch_stack():
        for task in tasks:
            work(*task)
        return
    inference = torch.is_inference_mode_enabled()

    def in_same_mode(task: tuple[LayerPlan, StoredWeight, torch.Generator]) -> None:
        with torch.inference_mode(inference):
            work(*task)

    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        list(pool.map(in_same_mode, tasks))


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
