"""Drawing weights in blocks: side by side in threads, and on a sharded rank only what it holds.

A weight is cut into blocks of at most 2¹⁶ elements, rectangles of outputs × inputs with whole filters, as its
shape alone says. Each block draws from a generator of its own, seeded by root seed, layer and number of the
block, on the CPU, and is then copied to where it belongs. So neither threads nor devices nor the number of
ranks change a weight. Block 0 draws from the generator of the layer: a layer of one block has the values that
`torch.nn.init` draws from `layer_generator`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from corrinit._correlation import SpatialCorrelation
from corrinit._drawing.mixing import Mix, drawn_precision, mixer
from corrinit._drawing.shards import local_part, local_region, write_
from corrinit._seeding import block_seed
from corrinit.errors import CorrInitError, OtherModelError, PlanError, UnwritableWeightError

Distribution: TypeAlias = Literal["normal", "uniform", "truncated_normal"]

BLOCK = 1 << 16
"""Most elements of a block of more than one filter. What a recipe draws hangs on it: never to be changed."""

TRUNCATION = 2.0
"""Bounds of the truncated normal distribution: absolute ones, as in `torch.nn.init.trunc_normal_`."""

_COPIED_SERIALLY = 1 << 15
"""Elements up to which torch copies in the calling thread."""


@dataclass(frozen=True, eq=False)
class Draw:
    """How the weight of one layer is drawn: with a seed, every element follows from it.

    Args:
        name: of the layer, as in `model.named_modules()`.
        shape: of the whole weight: (out, in / groups, k_1, ..., k_d); axes 0 and 1 swapped if transposed.
        std: s, the standard deviation of each weight.
        correlation: R of the taps, for normal weights; None for independent ones.
        distribution: `"normal"`; `"uniform"` within ± √3 s; `"truncated_normal"`, N(0, s²) within ± 2.
    """

    name: str
    shape: tuple[int, ...]
    std: float
    correlation: SpatialCorrelation | None = None
    distribution: Distribution = "normal"

    def __post_init__(self) -> None:
        try:
            if self.distribution not in get_args(Distribution):
                known = ", ".join(map(repr, get_args(Distribution)))
                raise PlanError(f"distribution is {self.distribution!r}; it is one of {known}")
            if not (math.isfinite(self.std) and self.std >= 0):
                raise PlanError(f"std is {self.std}; it must be finite and at least 0")
            if self.correlation is not None:
                if self.distribution != "normal":
                    raise PlanError(f"{self.distribution} weights cannot be correlated; normal ones can")
                self.correlation.require(self.shape[2:])
        except CorrInitError as error:
            raise type(error)(f"{error}", layer=self.name) from error


@dataclass(frozen=True)
class Block:
    """A rectangle of a weight that is drawn at once, of rows (axis 0) and columns (axis 1)."""

    number: int
    rows: slice
    columns: slice


def block_size(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of a block of a weight; powers of two where the weight has more.

    Blocks have fewer rows than columns, as weights are sharded by rows more often.

    >>> block_size((64, 64, 3, 3)), block_size((512, 512, 3, 3)), block_size((96, 1, 51, 51))
    ((64, 64), (32, 128), (16, 1))
    """
    outputs, inputs = (*shape, 1, 1)[:2]
    if math.prod(shape) <= BLOCK:
        return outputs, inputs
    filters = _power_of_two(max(1, BLOCK // math.prod(shape[2:])))
    fewest = min(max(1, _power_of_two(math.isqrt(filters)) // 2), 1 << (outputs - 1).bit_length())
    columns = min(inputs, filters // fewest)
    return min(outputs, _power_of_two(filters // columns)), columns


def blocks(shape: Sequence[int], region: Sequence[slice] | None = None) -> Iterator[Block]:
    """The blocks of a weight that meet a region of it; blocks are numbered row by row.

    >>> [block.number for block in blocks((64, 512, 3, 3), (slice(32, 64), slice(0, 512)))]
    [4, 5, 6, 7]
    """
    outputs, inputs = (*shape, 1, 1)[:2]
    rows, columns = region[:2] if region else (slice(0, outputs), slice(0, inputs))
    if rows.start == rows.stop or columns.start == columns.stop:
        return
    height, width = block_size(shape)
    across = -(-inputs // width)
    for i in range(rows.start // height, -(-rows.stop // height)):
        for j in range(columns.start // width, -(-columns.stop // width)):
            yield Block(
                i * across + j,
                slice(i * height, min(outputs, (i + 1) * height)),
                slice(j * width, min(inputs, (j + 1) * width)),
            )


def draw_all(tasks: Sequence[tuple[Tensor, Draw]], seed: int, threads: int | None = None) -> None:
    """Draw many weights in place, their blocks spread over threads.

    Modes of the calling thread (inference, fake tensors, a default device) do not reach the threads that
    draw. Memory added: one block per thread.

    Args:
        tasks: each weight, materialized, of any layout, type and device, with its draw. Of a DTensor only
            the blocks that meet this rank's shard are drawn; one of which a rank holds no contiguous part is
            drawn whole, one after the other. Fake and meta tensors are passed over.
        seed: root seed.
        threads: how many; default: as many as torch uses (`torch.get_num_threads`).

    Raises:
        CorrInitError: if a weight has not the shape of its draw, or cannot be written (sparse, expanded, not
            of a floating type); before any is drawn.
    """
    for tensor, draw in tasks:
        if tuple(tensor.shape) != draw.shape:
            raise OtherModelError(
                f"its draw has shape {draw.shape}, its weight {tuple(tensor.shape)}", layer=draw.name
            )
    block_seed(seed, "", 0)  # refuses what is no seed
    threads = max(1, torch.get_num_threads() if threads is None else threads)
    with ThreadPoolExecutor(threads) as pool:
        targets, scattered = pool.submit(_targets, tasks).result()
        jobs = ((target, block) for target in targets for block in blocks(target.draw.shape, target.region))
        room = max((target.bytes_of_a_block for target in targets), default=0)
        lock = threading.Lock()

        def work(_: int) -> None:
            generator = torch.Generator(device="cpu")
            with torch.inference_mode():  # in which tensors made in and out of it can be written
                space = torch.empty(room, dtype=torch.uint8, device="cpu")
                while True:
                    with lock:  # a generator of Python runs in one thread at a time
                        job = next(jobs, None)
                    if job is None:
                        return
                    target, block = job
                    generator.manual_seed(block_seed(seed, target.name, block.number))
                    target.fill(block, generator, space)

        try:
            list(pool.map(work, range(threads)))
        finally:
            with lock:
                jobs.close()
        for target in targets:
            torch.autograd.graph.increment_version(target.values)  # numpy writes without telling autograd
        for tensor, draw in scattered:
            pool.submit(_draw_whole, tensor, draw, seed, threads).result()


def holds_nothing(tensor: Tensor) -> bool:
    """Whether a tensor is on the meta device or a fake one, which have no values to draw."""
    return tensor.is_meta or isinstance(tensor, FakeTensor)


@dataclass(frozen=True, eq=False)
class _Target:
    """Where the blocks of a weight go.

    Args:
        draw: of the weight.
        name: of the layer.
        values: what is filled here, with two axes at least: the weight, or this rank's shard of it.
        region: the part of the weight that `values` is, a slice for each of its axes.
        mix: what correlates the taps.
        array: the memory of `values` where numpy can write it: half the overhead of torch in a small copy.
    """

    draw: Draw
    name: str
    values: Tensor
    region: tuple[slice, ...]
    mix: Mix | None
    array: np.ndarray | None

    @property
    def precision(self) -> torch.dtype:
        return drawn_precision(self.values)

    @property
    def bytes_of_a_block(self) -> int:
        return math.prod((*block_size(self.draw.shape), *self.draw.shape[2:])) * self.precision.itemsize

    def fill(self, block: Block, generator: torch.Generator, space: Tensor) -> None:
        """Draw a block in the space given and copy what the region holds of it."""
        shape = (_length(block.rows), _length(block.columns), *self.draw.shape[2:])
        drawn = space[: math.prod(shape) * self.precision.itemsize].view(self.precision)
        _draw_flat(drawn, self.draw, generator)
        if self.mix is not None:
            self.mix(drawn.view(shape[0] * shape[1], -1))
        rows, columns = _common(block.rows, self.region[0]), _common(block.columns, self.region[1])
        source = (_within(rows, block.rows), _within(columns, block.columns), *self.region[2:])
        target = (_within(rows, self.region[0]), _within(columns, self.region[1]))
        if self.array is not None:
            self.array[target] = drawn.view(shape).numpy()[source]
        else:
            _copy(drawn.view(shape)[source], self.values[target])


def _copy(source: Tensor, target: Tensor) -> None:
    """Copy in parts so small that torch does so in this thread, and starts no team of others."""
    rows = max(1, len(source) * _COPIED_SERIALLY // source.numel())
    for values, part in zip(source.split(rows), target.split(rows), strict=True):
        part.copy_(values)


def _unwritable(tensor: Tensor) -> str:
    if tensor.layout != torch.strided:
        return f"has the layout {tensor.layout}"
    if not tensor.is_floating_point():
        return f"is of the type {tensor.dtype}"
    if any(stride == 0 and length > 1 for stride, length in zip(tensor.stride(), tensor.shape, strict=True)):
        return "is expanded: several elements share their memory"
    return ""


@torch.no_grad()
def _targets(tasks: Sequence[tuple[Tensor, Draw]]) -> tuple[list[_Target], list[tuple[Tensor, Draw]]]:
    """Where the blocks of each weight go; apart, the DTensors of which this rank holds no rectangle."""
    targets, scattered = [], []
    for tensor, draw in tasks:
        local = local_part(tensor)
        if holds_nothing(local) or local.numel() == 0:
            continue
        if reason := _unwritable(local):
            raise UnwritableWeightError(
                f"its weight {reason}; give the layer an ordinary one", layer=draw.name
            )
        if (region := local_region(tensor)) is None:
            scattered.append((tensor, draw))
        else:
            targets.append(_target(local, region, draw))
    return targets, scattered


def _target(local: Tensor, region: tuple[slice, ...], draw: Draw) -> _Target:
    while local.dim() < 2:
        local, region = local.unsqueeze(-1), (*region, slice(0, 1))
    plain = type(local) in (Tensor, torch.nn.Parameter) and local.device.type == "cpu"
    array = local.detach().numpy() if plain and local.dtype == drawn_precision(local) else None
    return _Target(draw, draw.name, local, region, mixer(draw.correlation), array)


def _draw_whole(tensor: Tensor, draw: Draw, seed: int, threads: int) -> None:
    whole = torch.empty(draw.shape, dtype=tensor.dtype, device="cpu")
    draw_all([(whole, draw)], seed, threads)
    write_(tensor, whole)


def _draw_flat(values: Tensor, draw: Draw, generator: torch.Generator) -> None:
    """Fill a block with independent values of the distribution and deviation asked for."""
    if draw.distribution == "uniform":
        values.uniform_(-math.sqrt(3) * draw.std, math.sqrt(3) * draw.std, generator=generator)
        return
    values.normal_(0, draw.std, generator=generator)
    # Drawn again here and not by torch.nn.init.trunc_normal_, whose algorithm differs between versions.
    while draw.distribution == "truncated_normal" and (outside := values.abs() > TRUNCATION).any():
        again = torch.empty_like(values).normal_(0, draw.std, generator=generator)
        torch.where(outside, again, values, out=values)


def _length(part: slice) -> int:
    return part.stop - part.start


def _common(one: slice, other: slice) -> slice:
    return slice(max(one.start, other.start), min(one.stop, other.stop))


def _within(part: slice, of: slice) -> slice:
    return slice(part.start - of.start, part.stop - of.start)


def _power_of_two(number: int) -> int:
    """The largest power of two that is not larger."""
    return 1 << (number.bit_length() - 1)
