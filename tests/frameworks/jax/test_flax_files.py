"""What `flax.serialization` writes, read without Flax and compared with what was written."""

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import corrinit
from corrinit._weights import named_weights


class Small(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Conv(16, (3, 3))(x))
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.relu(nn.Conv(16, (5, 5), feature_group_count=16)(x))
        x = nn.ConvTranspose(8, (4, 4), strides=(2, 2))(x)
        return nn.Dense(4)(x.mean(axis=(1, 2)))


@pytest.fixture(scope="module")
def variables():
    return Small().init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))


@pytest.mark.parametrize("whole", [True, False], ids=["all collections", "parameters alone"])
def test_kernels_are_those_of_the_model(variables, tmp_path, whole):
    path = tmp_path / "small.msgpack"
    path.write_bytes(flax.serialization.to_bytes(variables if whole else variables["params"]))
    found = {name: np.array(weight) for name, weight in named_weights(path)}
    assert set(found) == {"Conv_0/kernel", "Conv_1/kernel", "ConvTranspose_0/kernel"}
    for name, weight in found.items():
        kernel = variables["params"][name.removesuffix("/kernel")]["kernel"]
        np.testing.assert_array_equal(weight, np.asarray(kernel).transpose(3, 2, 0, 1))


def test_bfloat16_and_large_arrays_in_pieces(variables, tmp_path, monkeypatch):
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 500)
    kernel = variables["params"]["Conv_0"]["kernel"].astype(jnp.bfloat16)
    tree = {"params": {"Conv_0": {"kernel": kernel}}}
    (tmp_path / "a.msgpack").write_bytes(flax.serialization.msgpack_serialize(tree))
    ((_, found),) = named_weights(tmp_path / "a.msgpack")
    np.testing.assert_array_equal(found, np.asarray(kernel, np.float32).transpose(3, 2, 0, 1))


def test_a_mapping_of_the_model_gives_the_same_correlation(variables, tmp_path):
    (tmp_path / "a.msgpack").write_bytes(flax.serialization.to_bytes(variables))
    kernel = np.asarray(variables["params"]["Conv_0"]["kernel"])
    given = corrinit.estimate({"Conv_0/kernel": kernel})
    np.testing.assert_allclose(corrinit.estimate(tmp_path / "a.msgpack", (3, 3)).matrix, given.matrix)
