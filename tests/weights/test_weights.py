import contextlib
import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from corrinit._arrays import as_array
from corrinit._weights import named_weights
from corrinit.errors import WeightsError


@pytest.fixture
def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Flatten(), nn.Linear(16, 2)
    )


def assert_same(found, expected):
    """The same names in the same order, with the same values."""
    found, expected = dict(found), dict(expected)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], as_array(tensor))


def convolutions(network):
    return {f"{index}.weight": network[index].weight.detach() for index in (0, 3)}


class TestModule:
    def test_yields_its_convolutions(self, network):
        assert_same(named_weights(network), convolutions(network))

    def test_a_layer_is_a_model(self):
        layer = nn.Conv1d(2, 3, 5)
        assert_same(named_weights(layer), {"weight": layer.weight.detach()})

    def test_shared_weight_comes_once(self):
        first, second = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
        second.weight = first.weight
        assert [name for name, _ in named_weights(nn.Sequential(first, second))] == ["0.weight"]

    def test_transposed_convolution_has_output_channels_first(self):
        layer = nn.ConvTranspose2d(6, 2, 3)
        ((_, weight),) = named_weights(layer)
        assert weight.shape == (2, 6, 3, 3)

    def test_parametrized_weights_are_the_ones_the_layer_computes_with(self):
        layers: list = [nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)) for _ in range(5)]
        with torch.no_grad():
            for layer in layers:
                layer.parametrizations.weight.original0.mul_(7)
        found = dict(named_weights(nn.Sequential(*layers)))
        assert_same(found, {f"{i}.weight": layer.weight.detach() for i, layer in enumerate(layers)})

    def test_leaves_the_module_and_autograd_alone(self, network):
        assert all(isinstance(weight, np.ndarray) for _, weight in named_weights(network))
        assert all(parameter.requires_grad for parameter in network.parameters())

    def test_lazy_and_meta_layers_are_clear_errors(self):
        with pytest.raises(WeightsError, match=r"layer 1 is lazy.*forward pass"):
            list(named_weights(nn.Sequential(nn.ReLU(), nn.LazyConv2d(3, 3))))
        with pytest.raises(WeightsError, match="layer 0 is on the meta device"):
            list(named_weights(nn.Sequential(nn.Conv2d(3, 3, 3, device="meta"))))


class TestStateDict:
    def test_yields_what_can_be_a_kernel(self, network):
        assert_same(named_weights(network.state_dict()), convolutions(network))

    @pytest.mark.parametrize(
        "tensor",
        [
            torch.ones(4, 4),
            torch.ones(1, 197, 768),
            torch.ones(8, 8, 64, 65),
            torch.ones(4, 4, 3, 3, dtype=torch.int8),
            torch.ones(4, 4, 3, 3, dtype=torch.complex64),
            torch.ones(0, 4, 3, 3),
            torch.ones(2, 2, 2, 2, 2, 2),
            torch.ones(4, 4, 3).to_sparse(),
            "text",
            None,
        ],
        ids=lambda value: f"{getattr(value, 'dtype', '')}{tuple(getattr(value, 'shape', ()))}",
    )
    def test_passes_over_what_cannot(self, tensor):
        kernel = torch.ones(1, 1, 3, 3)
        assert [name for name, _ in named_weights({"a": tensor, "b": kernel})] == ["b"]

    @pytest.mark.parametrize(
        "wrap", [("state_dict",), ("model",), ("model", "state_dict"), ("model_state_dict",)]
    )
    def test_unwraps_checkpoints(self, network, wrap):
        checkpoint = network.state_dict()
        for key in wrap:
            checkpoint = {"epoch": torch.tensor(3), key: checkpoint, "optimizer": {"state": {}}}
        assert_same(named_weights(checkpoint), convolutions(network))

    def test_without_tensors_names_what_is_there(self):
        with pytest.raises(WeightsError, match=r"holds no tensors.*'epoch', 'weights'"):
            list(named_weights({"epoch": 3, "weights": {"a": [1.0, 2.0]}}))
        with pytest.raises(WeightsError, match="its keys: none"):
            list(named_weights({}))

    def test_that_contains_itself_is_an_error(self):
        endless: dict = {}
        endless["model"] = endless
        with pytest.raises(WeightsError, match="holds no tensors"):
            list(named_weights(endless))

    def test_meta_tensor_is_a_clear_error(self):
        with pytest.raises(WeightsError, match=r"conv\.weight is on the meta device"):
            list(named_weights({"conv.weight": torch.ones(3, 3, 3, 3, device="meta")}))

    def test_other_things_are_a_clear_error(self):
        with pytest.raises(
            WeightsError, match="given as list; give a module, a mapping from names to arrays"
        ):
            list(named_weights([1, 2]))  # pyright: ignore


class TestSafetensors:
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
    def test_yields_the_kernels_bit_for_bit(self, tmp_path, dtype):
        tensors = {name: torch.randn(2, 3, 3, 3).to(dtype) for name in "abc"}
        save_file(tensors | {"bias": torch.zeros(3)}, tmp_path / "w.safetensors")
        assert_same(named_weights(tmp_path / "w.safetensors"), tensors)

    def test_layers_come_in_the_order_of_their_numbers(self, tmp_path):
        layers = ["layer1.0.conv2", "layer2.0.conv1", "layer2.9.conv1", "layer2.10.conv1", "layer10.0.conv1"]
        names = [f"{layer}.weight" for layer in layers]
        save_file({name: torch.ones(1, 1, 3, 3) for name in sorted(names)}, tmp_path / "w.safetensors")
        assert [name for name, _ in named_weights(tmp_path / "w.safetensors")] == names

    def test_path_may_be_text(self, network, tmp_path):
        save_file(network.state_dict(), tmp_path / "w.safetensors")
        assert dict(named_weights(str(tmp_path / "w.safetensors"))).keys() == convolutions(network).keys()

    @pytest.mark.parametrize("content", [b"", b"\0" * 8, b"\xff" * 64, b"text"])
    def test_damaged_file_is_a_clear_error(self, tmp_path, content):
        path = tmp_path / "w.safetensors"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="no file of weights, or damaged"):
            list(named_weights(path))

    def test_truncated_file_is_a_clear_error(self, network, tmp_path):
        path = tmp_path / "w.safetensors"
        save_file(network.state_dict(), path)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(WeightsError, match="damaged"):
            list(named_weights(path))

    def test_name_says_nothing(self, network, tmp_path):
        save_file(network.state_dict(), tmp_path / "weights.pth.tar")
        assert_same(named_weights(tmp_path / "weights.pth.tar"), convolutions(network))

    def test_missing_file_folder_and_pipe_are_clear_errors(self, tmp_path):
        with pytest.raises(WeightsError, match="there is no file"):
            list(named_weights(tmp_path / "none.safetensors"))
        os.mkfifo(tmp_path / "pipe.pt")
        with pytest.raises(WeightsError, match="no regular file"):
            list(named_weights(tmp_path / "pipe.pt"))
        for name in ("a" * 5000, "a\0b"):
            with pytest.raises(WeightsError, match="cannot be opened"):
                list(named_weights(tmp_path / name))


class TestShardedSafetensors:
    def write(self, folder, weight_map):
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": weight_map}))
        return index

    def test_yields_every_shard(self, tmp_path):
        tensors = {name: torch.randn(2, 3, 3, 3) for name in "abc"}
        save_file({"a": tensors["a"]}, tmp_path / "1.safetensors")
        save_file({"b": tensors["b"], "c": tensors["c"]}, tmp_path / "2.safetensors")
        index = self.write(tmp_path, {"a": "1.safetensors", "b": "2.safetensors", "c": "2.safetensors"})
        assert_same(sorted(named_weights(index)), tensors)

    @pytest.mark.parametrize("shard", ["absent.safetensors", "../outside.safetensors", "/etc/hostname"])
    def test_shard_elsewhere_is_a_clear_error(self, tmp_path, shard):
        (tmp_path / "in").mkdir()
        save_file({"a": torch.ones(1, 1, 3, 3)}, tmp_path / "outside.safetensors")
        with pytest.raises(WeightsError, match="does not lie beside it"):
            list(named_weights(self.write(tmp_path / "in", {"a": shard})))

    def test_shard_of_something_else_is_named(self, tmp_path):
        (tmp_path / "1.bin").write_bytes(pickle.dumps([1, 2]))
        with pytest.raises(WeightsError, match=r"1\.bin holds list, not a part of a state dict"):
            list(named_weights(self.write(tmp_path, {"a": "1.bin"})))

    @pytest.mark.parametrize("content", ["{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', "{"])
    def test_malformed_index_is_a_clear_error(self, tmp_path, content):
        index = tmp_path / "model.safetensors.index.json"
        index.write_text(content)
        with pytest.raises(WeightsError, match="no index of a sharded checkpoint"):
            list(named_weights(index))


class Bomb:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


class TestTorchFiles:
    @pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
    @pytest.mark.parametrize("zipped", [True, False])
    def test_state_dict(self, network, tmp_path, suffix, zipped):
        path = tmp_path / f"w{suffix}"
        torch.save({"state_dict": network.state_dict()}, path, _use_new_zipfile_serialization=zipped)
        assert_same(named_weights(path), convolutions(network))

    def bombs(self, folder):
        canary = folder / "executed"
        content = pickle.dumps({"a": Bomb(canary)}, protocol=2)
        yield canary, content
        saved = io.BytesIO()
        torch.save({"a.weight": torch.ones(2, 2, 3, 3), "b": Bomb(canary)}, saved)
        yield canary, saved.getvalue()
        legacy = io.BytesIO()
        torch.save({"b": Bomb(canary)}, legacy, _use_new_zipfile_serialization=False)
        yield canary, legacy.getvalue()
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("archive/data.pkl", content)
            file.writestr("archive/version", "3\n")
        yield canary, archive.getvalue()

    def test_pickle_bomb_is_never_executed(self, tmp_path):
        path = tmp_path / "w.pt"
        for canary, content in self.bombs(tmp_path):
            path.write_bytes(content)
            with contextlib.suppress(WeightsError):  # or the tensors beside it are read
                list(named_weights(path))
            assert not canary.exists()

    def test_the_bomb_does_go_off_elsewhere(self, tmp_path):
        pickle.loads(pickle.dumps(Bomb(tmp_path / "executed"))).close()
        assert (tmp_path / "executed").exists()

    @pytest.mark.parametrize("zipped", [True, False])
    def test_pickled_module_is_refused_with_the_remedy(self, network, tmp_path, zipped):
        for checkpoint in (network, {"model": network, "ema": None}):
            torch.save(checkpoint, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
            with pytest.raises(WeightsError, match=r"Sequential.*torch\.save\(model\.state_dict\(\), path\)"):
                list(named_weights(tmp_path / "w.pt"))

    @pytest.mark.parametrize("content", [b"", b"\x80", b"text", b"PK\x03\x04" + b"\0" * 100])
    def test_damaged_file_is_a_clear_error(self, tmp_path, content):
        (tmp_path / "w.pt").write_bytes(content)
        with pytest.raises(WeightsError, match="damaged"):
            list(named_weights(tmp_path / "w.pt"))

    @pytest.mark.parametrize("kept", [0.05, 0.5, 0.99])
    def test_truncated_file_is_a_clear_error(self, network, tmp_path, kept):
        path = tmp_path / "w.pt"
        torch.save(network.state_dict(), path)
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content))])
        with pytest.raises(WeightsError, match="damaged"):
            list(named_weights(path))

    def test_bare_tensor_is_a_clear_error(self, tmp_path):
        torch.save(torch.ones(3, 3, 3, 3), tmp_path / "w.pt")
        with pytest.raises(WeightsError, match="holds a tensor alone, not a state dict"):
            list(named_weights(tmp_path / "w.pt"))
