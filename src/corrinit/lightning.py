"""Lightning: initialize a module before it is fitted, and watch the gradients that its optimizers use.

    trainer = Trainer(callbacks=[corrinit.lightning.Initialize(seed=0), corrinit.lightning.GradientMonitor()])

Works with `lightning` and with `pytorch_lightning`, from version 2 on.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from typing_extensions import Unpack

from corrinit import _monitor as monitor
from corrinit._monitor import GradientHistory
from corrinit._planning import PlanOptions, initialize
from corrinit._planning.plans import Plan
from corrinit._seeding import require_seed, seed_from_torch
from corrinit.errors import MissingLibraryError, UnknownLayerError, warn_caller

_LIGHTNING = ("lightning.pytorch", "pytorch_lightning")
"""The two names that Lightning is installed under, each with classes of its own."""


def _callback() -> Any:
    """The class of callbacks of the Lightning that is in use: of both, if both are.

    Raises:
        MissingLibraryError: if there is none, or an older one.
    """
    in_use = [name for name in _LIGHTNING if name in sys.modules]
    if not in_use:
        in_use = [name for name in _LIGHTNING if find_spec(name.partition(".")[0]) is not None][:1]
    if not in_use:
        raise MissingLibraryError("corrinit.lightning needs Lightning: pip install lightning")
    packages = [import_module(name) for name in in_use]
    for name, package in zip(in_use, packages, strict=True):
        if int(package.__version__.partition(".")[0]) < 2:
            raise MissingLibraryError(
                f"corrinit.lightning needs version 2 of Lightning, and {name} is {package.__version__}: "
                "pip install --upgrade lightning"
            )
    return type("Callback", tuple(package.Callback for package in packages), {})


_Callback: Any = _callback()


class Initialize(_Callback):
    """Initialize a LightningModule when its fitting begins, as `corrinit.initialize` does.

    The weights are drawn before a checkpoint is restored, which so wins, and before other callbacks copy
    them. Layers that the module itself builds later, in its `setup` or `configure_model`, are drawn once they
    are there, unless a checkpoint is restored. A module is drawn once: fitting it further with the same
    callback goes on from the weights that it has.

    All ranks draw the same weights: they depend on the seed and the names of the layers alone, and without a
    seed all take the number of rank 0. FSDP flattens the layers of `configure_model` before any callback sees
    them: there, call `corrinit.initialize` at the end of `configure_model`.

    Args:
        seed: root seed; default: one number from torch's global generator, which `seed_everything` sets.
        submodule: the name of the part to initialize, `"net"` for `self.net`; default: the whole module. Give
            the network if the module has no `forward`, as how its layers are connected is read from that.
        options: those of `corrinit.plan`.

    Attributes:
        plan: what was carried out; None before, and where a checkpoint was restored instead.

    Raises:
        PlanError: when the fitting begins, if the module cannot be initialized as asked; it is as it was.
    """

    plan: Plan | None

    def __init__(
        self, *, seed: int | None = None, submodule: str = "", **options: Unpack[PlanOptions]
    ) -> None:
        self.seed = None if seed is None else require_seed(seed)
        self.submodule = submodule
        self.options = options
        self.plan = None
        self._root = 0
        self._module: weakref.ref[nn.Module] | None = None
        self._drawn: frozenset[str] = frozenset()

    def setup(self, trainer: Any, pl_module: nn.Module, stage: str) -> None:
        """Draw what the module holds, if it is to be fitted for the first time."""
        if stage != "fit" or (self._module is not None and self._module() is pl_module):
            return
        own = seed_from_torch() if self.seed is None else self.seed
        self._root = trainer.strategy.broadcast(own, src=0)
        self._module, self._drawn = weakref.ref(pl_module), frozenset()
        if (part := self._part(pl_module)) is not None and any(True for _ in part.parameters()):
            self._draw(pl_module, part)

    def on_fit_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Draw again if the module has built further layers since."""
        if trainer.ckpt_path is not None:
            return
        if (part := self._part(pl_module)) is None:
            parts = ", ".join(name for name, _ in pl_module.named_children())
            raise UnknownLayerError(
                f"{type(pl_module).__name__} has no submodule {self.submodule!r}; it has {parts or 'none'}"
            )
        if _names(part) != self._drawn:
            self._draw(pl_module, part)

    def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Forget the plan if other weights have been restored."""
        if trainer.ckpt_path is not None:
            self.plan = None

    def _part(self, pl_module: nn.Module) -> nn.Module | None:
        try:
            return pl_module.get_submodule(self.submodule)
        except AttributeError:
            return None

    def _draw(self, pl_module: nn.Module, part: nn.Module) -> None:
        if part is pl_module and type(part).forward.__module__.startswith(_LIGHTNING):
            nets = [name for name, child in part.named_children() if any(True for _ in child.parameters())]
            warn_caller(
                f"{type(part).__name__} has no forward, so it is not known what follows its layers; write "
                f"one, or name the network: Initialize(submodule={nets[0] if nets else 'net'!r})"
            )
        self.plan = initialize(part, seed=self._root, **self.options)
        self._drawn = _names(part)


def _names(module: nn.Module) -> frozenset[str]:
    return frozenset(name for name, _ in module.named_parameters())


class GradientMonitor(_Callback):
    """Watch the gradients that the optimizers of a LightningModule use, as `corrinit.GradientMonitor` does.

    They are seen within the step of each optimizer: accumulated, averaged over ranks, unscaled and clipped.
    Steps that mixed precision skips are not seen. At most every `log_every_n_steps` steps of the trainer, its
    loggers get the means since the last time, as `gradient_sign_changes` and `gradient_norm`; those of a
    second optimizer end on `-1`, and so on.

    Args:
        log: whether the loggers of the trainer get them.

    Raises:
        CorrInitError: when training starts, if an optimizer updates no parameter of the module.
    """

    def __init__(self, *, log: bool = True) -> None:
        self._is_logged = log  # Lightning gives callbacks a `log` of its own
        self._monitors: list[monitor.GradientMonitor] = []
        self._logged: list[list[GradientHistory]] = []
        self._logged_at = 0

    def read(self, optimizer: int = 0) -> GradientHistory:
        """Everything seen in this training since the last reading, which is then forgotten.

        Args:
            optimizer: its place among those of `configure_optimizers`.
        """
        seen = [*self._logged[optimizer], self._monitors[optimizer].read()]
        self._logged[optimizer] = []
        return _joined(seen)

    def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Hook the optimizers."""
        self._monitors = [monitor.GradientMonitor(pl_module, each) for each in trainer.optimizers]
        self._logged = [[] for _ in self._monitors]
        self._logged_at = trainer.global_step

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Give the loggers what was seen, where it is time."""
        steps = trainer.global_step - self._logged_at
        if self._is_logged and trainer.loggers and steps >= trainer.log_every_n_steps:
            self._logged_at = trainer.global_step
            for number, each in enumerate(self._monitors):
                seen = each.read()
                self._logged[number].append(seen)
                for logger in trainer.loggers:
                    logger.log_metrics(_metrics(seen, number), step=trainer.global_step)

    def on_train_end(self, trainer: Any, pl_module: nn.Module) -> None:
        """Let the optimizers go; what was seen can still be read."""
        self._remove()

    def on_exception(self, trainer: Any, pl_module: nn.Module, exception: BaseException) -> None:
        """Let the optimizers go."""
        self._remove()

    def _remove(self) -> None:
        for each in self._monitors:
            each.remove()


def _metrics(seen: GradientHistory, number: int) -> dict[str, float]:
    """Means over the updates seen, without those that have no value, as sign changes of the first one."""
    which = f"-{number}" if number else ""
    series = {"gradient_sign_changes": seen.total_sign_changes, "gradient_norm": seen.total_l2}
    return {
        f"{name}{which}": float(np.nanmean(values))
        for name, values in series.items()
        if not np.isnan(values).all()
    }


def _joined(parts: Sequence[GradientHistory]) -> GradientHistory:
    """Histories of one monitor, one after the other; parameters that joined late have NaN before."""
    last = parts[-1]

    def table(name: str) -> NDArray[np.float64]:
        rows = [getattr(part, name) for part in parts]
        missing = [((0, 0), (0, len(last.names) - part.shape[1])) for part in rows]
        return np.concatenate(
            [np.pad(part, pad, constant_values=np.nan) for part, pad in zip(rows, missing, strict=True)]
        )

    return GradientHistory(last.names, last.sizes, table("sign_changes"), table("mean_abs"), table("l2"))
