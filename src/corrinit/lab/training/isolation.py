"""Runs that share nothing: random states and switches of a run are its own, and so is its model.

What a run may leave behind in its process is of three kinds. Global random states (Python's, numpy's,
torch's) and global switches (precision, determinism, threads, ...) are given back as they were. Tensors that
one run trains and the next one's model still holds cannot be told from intended weights, so that they are
refused. What lies in files, in environment variables or in generators of the user's own is out of reach.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.parameter import is_lazy

from corrinit._layers.contents import content_digest
from corrinit.errors import SharedStateError


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python's, numpy's and torch's global random states, on all devices; afterwards they are as before.

    Workers of a `DataLoader` are seeded from torch's state, so that they follow.

    >>> with seeded(3):
    ...     drawn = random.random(), np.random.rand(), float(torch.rand(()))
    >>> with seeded(3):
    ...     drawn == (random.random(), np.random.rand(), float(torch.rand(())))
    True
    """
    python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            reseed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(of_numpy)


def reseed(seed: int) -> None:
    """Set the three global random states, on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # all that numpy takes
    torch.manual_seed(seed)


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """`seeded`, with all global switches that alter results given back as they were too."""
    before = [read() for read, _ in _SWITCHES]
    try:
        with seeded(seed):
            yield
    finally:
        for (read, write), value in zip(_SWITCHES, before, strict=True):
            if value is not None and read() != value:  # writing costs, and some switches warn of it
                write(value)


class Lineage:
    """The models of earlier runs, as far as they live on: a new one shares nothing with them that changes.

    Only weak references are kept: models of earlier runs can be freed.
    """

    def __init__(self) -> None:
        self._storages: dict[StorageWeakRef, str | None] = {}
        self._trained: list[tuple[weakref.ref[nn.Parameter], int, str]] = []

    def add(self, model: nn.Module) -> None:
        """Note the model of a new run, as it was built.

        Raises:
            ConfigError: if it shares a parameter with an earlier one, or a buffer that has changed since.
        """
        storages = {ref: content for ref, content in self._storages.items() if not ref.expired()}
        for name, tensor in _tensors(model):
            storage = StorageWeakRef(tensor.untyped_storage())
            content = None if tensor.requires_grad else content_digest(tensor)
            if storage in self._storages and (content is None or self._storages[storage] != content):
                raise SharedStateError(
                    f"the model shares {name} with that of an earlier run, which has trained it; build every "
                    "part anew at each call, or return copy.deepcopy of a model that is never trained"
                )
            storages[storage] = content
        self._storages = storages

    def check_earlier(self) -> None:
        """Make sure that a run which has just ended trained no earlier model.

        Raises:
            ConfigError: if it did.
        """
        for reference, version, name in self._trained:
            tensor = reference()
            if tensor is not None and tensor._version != version:
                raise SharedStateError(
                    f"train_fn changed {name} of the model of an earlier run; make its optimizer, scheduler "
                    "and whatever else refers to a model anew at each call"
                )

    def trained(self, model: nn.Module) -> None:
        """Note how a run left its model: from now on nothing may change it."""
        living = [entry for entry in self._trained if entry[0]() is not None]
        new = [(weakref.ref(p), p._version, name) for name, p in model.named_parameters() if p.requires_grad]
        self._trained = [*living, *new]


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from ((name, p) for name, p in model.named_parameters() if _has_storage(p))
    yield from ((name, b) for name, b in model.named_buffers() if _has_storage(b))


def _has_storage(tensor: Tensor) -> bool:
    """Whether a tensor has memory of its own: lazy, sparse and meta tensors have none."""
    dense = not is_lazy(tensor) and tensor.layout is torch.strided
    return dense and tensor.device.type != "meta" and tensor.numel() > 0


def _matmul_precision() -> str | None:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # set by torch's newer switches, which cannot be read by this one
        return None


def _set_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)  # a default that is set costs time


def _deterministic() -> tuple[bool, bool]:
    enabled = torch.are_deterministic_algorithms_enabled()
    return enabled, torch.is_deterministic_algorithms_warn_only_enabled()


def _cudnn(name: str) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    return lambda: getattr(torch.backends.cudnn, name), lambda on: setattr(torch.backends.cudnn, name, on)


_SWITCHES: tuple[tuple[Callable[[], Any], Callable[[Any], object]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, _set_device),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (_deterministic, lambda on: torch.use_deterministic_algorithms(on[0], warn_only=on[1])),
    (_matmul_precision, torch.set_float32_matmul_precision),
    (torch.get_num_threads, torch.set_num_threads),
    *map(_cudnn, ("enabled", "benchmark", "deterministic", "allow_tf32")),
)
"""How each global switch is read and written."""
