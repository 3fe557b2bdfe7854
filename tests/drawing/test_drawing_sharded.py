"""Sharded weights: every rank draws its shard alone, and together they are what one process draws."""

import math

import pytest
import torch
import torch.multiprocessing

from corrinit import SpatialCorrelation, kernels
from corrinit._correlation import default_correlation
from corrinit._drawing import Draw, blocks, draw_all

distributed = pytest.importorskip("torch.distributed")
if not distributed.is_available():
    pytest.skip("torch is built without torch.distributed", allow_module_level=True)

from torch.distributed.device_mesh import init_device_mesh  # noqa: E402
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor  # noqa: E402
from torch.distributed.tensor.placement_types import _StridedShard  # noqa: E402
from torch.testing._internal.distributed.fake_pg import FakeStore  # noqa: E402

R3 = SpatialCorrelation(kernels.exponential((3, 3), mean=0.26))
SHAPES = {"conv": (130, 96, 3, 3), "depthwise": (3, 1, 3, 3), "linear": (500, 300), "norm": (100_000,)}


def draws() -> dict[str, Draw]:
    return {
        name: Draw(name, shape, 0.1, R3 if shape[2:] == (3, 3) else None) for name, shape in SHAPES.items()
    }


def whole() -> dict[str, torch.Tensor]:
    weights = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    draw_all([(weights[name], draw) for name, draw in draws().items()], 0)
    return weights


@pytest.fixture
def rank_of():
    """Makes this process one rank of many, whose collectives do nothing."""

    def rank_of(rank: int, mesh: tuple[int, ...]):
        if distributed.is_initialized():
            distributed.destroy_process_group()
        distributed.init_process_group("fake", rank=rank, world_size=math.prod(mesh), store=FakeStore())
        return init_device_mesh("cpu", mesh)

    yield rank_of
    distributed.destroy_process_group()


def local(tensor: torch.Tensor) -> torch.Tensor:
    assert isinstance(tensor, DTensor)
    return tensor.to_local()


@pytest.mark.parametrize(
    ("mesh", "placements"),
    [
        ((4,), [Shard(0)]),
        ((8,), [Shard(0)]),
        ((4,), [Shard(1)]),
        ((4,), [Shard(2)]),
        ((2,), [Replicate()]),
        ((2, 2), [Replicate(), Shard(0)]),
        ((2, 2), [Shard(0), Shard(1)]),
        ((2, 3), [Shard(0), Shard(0)]),
        ((2, 2), [_StridedShard(0, split_factor=2), Shard(0)]),  # FSDP of a tensor-parallel weight
        ((2, 2), [Shard(0), _StridedShard(0, split_factor=2)]),  # every other row
        ((2, 2), [Shard(-1), Replicate()]),
    ],
    ids=str,
)
def test_a_rank_holds_its_shard_of_the_whole(rank_of, mesh, placements):
    expected = whole()
    last = max(getattr(placement, "dim", 0) for placement in placements)
    for rank in range(math.prod(mesh)):
        device_mesh = rank_of(rank, mesh)
        tasks, shards = [], []
        for name, draw in draws().items():
            if len(draw.shape) <= last:
                continue
            zeros, values = (
                distribute_tensor(tensor, device_mesh, placements, src_data_rank=None)
                for tensor in (torch.zeros(draw.shape), expected[name])
            )
            tasks.append((zeros, draw))
            shards.append(values)
        draw_all(tasks, 0, threads=2)
        for (weight, draw), shard in zip(tasks, shards, strict=True):
            assert torch.equal(local(weight), local(shard)), (draw.name, rank)


def test_parameters_and_types_of_a_sharded_weight_are_kept(rank_of):
    mesh = rank_of(1, (2,))
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        zeros = torch.zeros(SHAPES["conv"], dtype=dtype)
        weight = torch.nn.Parameter(distribute_tensor(zeros, mesh, [Shard(0)], src_data_rank=None))
        plain = zeros.clone()
        draw_all([(weight, draws()["conv"]), (plain, draws()["conv"])], 0)
        assert torch.equal(local(weight.detach()), plain[65:])
        assert weight.requires_grad


@pytest.mark.parametrize(
    ("shape", "axis"), [((512, 512, 3, 3), 0), ((512, 512, 3, 3), 1), ((4096, 4096), 0), ((4096, 4096), 1)]
)
def test_a_rank_of_four_draws_a_quarter(shape, axis):
    quarter = [slice(0, length) for length in shape]
    quarter[axis] = slice(shape[axis] // 4, shape[axis] // 2)
    assert len(list(blocks(shape, quarter))) == len(list(blocks(shape))) / 4


def _rank(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    mesh = init_device_mesh("cpu", (world,))
    tasks = [
        (distribute_tensor(torch.zeros(draw.shape), mesh, [Shard(0)]), draw) for draw in draws().values()
    ]
    draw_all(tasks, 0)
    full = {draw.name: weight.full_tensor() for weight, draw in tasks}
    if rank == 0:
        torch.save(full, f"{folder}/full.pt")
    distributed.destroy_process_group()


@pytest.mark.skipif(not distributed.is_gloo_available(), reason="torch is built without gloo")
def test_processes_gather_what_one_process_draws(tmp_path):
    torch.multiprocessing.spawn(_rank, args=(2, str(tmp_path)), nprocs=2)
    gathered = torch.load(tmp_path / "full.pt", weights_only=True)
    for name, weight in whole().items():
        assert torch.equal(gathered[name], weight), name


def test_a_sharded_large_kernel_is_the_whole_one_in_parts(rank_of):
    mesh, shape = rank_of(1, (2,)), (32, 1, 51, 51)
    draw = Draw("large", shape, 0.1, default_correlation((51, 51)))
    plain = torch.zeros(shape)
    weight = distribute_tensor(torch.zeros(shape), mesh, [Shard(0)], src_data_rank=None)
    draw_all([(weight, draw), (plain, draw)], 0)
    assert torch.equal(local(weight), plain[16:])
