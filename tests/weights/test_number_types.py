import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from corrinit._estimation import estimate
from corrinit._weights import named_weights, read_filters
from corrinit._weights.number_types import number_type
from corrinit.errors import WeightsError

EIGHT_BITS = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"]


@pytest.mark.parametrize("name", [*EIGHT_BITS, "bfloat16"])
def test_all_numbers_are_those_of_torch(name):
    """Every pattern of bits, infinities, NaN and the sign of zero included."""
    dtype = number_type(name)
    assert dtype is not None
    bits = np.arange(256 if dtype.itemsize == 1 else 1 << 16).astype(dtype.stored)
    expected = torch.from_numpy(bits).view(getattr(torch, name)).float().numpy()
    found = dtype.values(bits)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))


def test_unknown_types_are_none():
    assert number_type("float4_e2m1fn_x2") is None


@pytest.mark.filterwarnings("ignore::corrinit.CorrInitWarning")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, *map(torch.__dict__.get, EIGHT_BITS[:2])])
def test_files_give_the_numbers_of_torch(dtype, tmp_path):
    weight = torch.randn(12, 8, 3, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    save_file({"c.weight": weight}, tmp_path / "w.safetensors")
    torch.save({"c.weight": weight}, tmp_path / "w.pt")
    for file in ("w.safetensors", "w.pt"):
        ((_, found),) = named_weights(tmp_path / file)
        np.testing.assert_array_equal(found, weight.float().numpy())


class TestArrays:
    def test_are_estimated_from_like_tensors(self):
        weights = {f"{i}.weight": np.random.default_rng(i).normal(size=(12, 8, 3, 3)) for i in range(2)}
        tensors = {name: torch.from_numpy(weight) for name, weight in weights.items()}
        assert estimate(weights) == estimate(tensors)

    def test_that_repeat_a_few_numbers_are_refused(self):
        with pytest.raises(WeightsError, match="expanded tensor"):
            estimate({"c.weight": np.broadcast_to(np.ones((1, 1, 3, 3)), (40_000, 30_000, 3, 3))})

    def test_of_the_same_memory_are_counted_once(self):
        weight = np.random.default_rng(0).normal(size=(12, 8, 3, 3))
        found = read_filters({"a.weight": weight, "b.weight": weight})
        assert found.left_out == [("b.weight", "it is stored as a.weight too")]

    def test_of_objects_are_left_out(self):
        weight = np.random.default_rng(0).normal(size=(12, 8, 3, 3))
        found = read_filters({"a.weight": weight.astype(object), "b.weight": weight})
        assert found.left_out == [("a.weight", "it is of type object")]
