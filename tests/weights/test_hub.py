import re
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

import corrinit
from corrinit._weights.hub import fetch, is_on_hub
from corrinit.errors import MissingLibraryError, WeightsError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """A hub in memory in the place of `huggingface_hub`, and what was asked of it."""

    def __init__(self, folder):
        self.folder, self.repositories, self.asked = folder, {}, []

    def add(self, repository, *files):
        for file in files:
            path = self.folder / repository / file
            path.parent.mkdir(parents=True, exist_ok=True)
            generator = np.random.default_rng(len(file))
            save_file({"conv.weight": generator.normal(size=(16, 8, 3, 3)).astype(np.float32)}, path)
        self.repositories[repository] = files

    def model_info(self, repository, revision=None):
        self.asked.append((repository, None, revision))
        if repository not in self.repositories or revision == "gone":
            raise OSError(f"404 of\nhttps://hub/{repository}")
        siblings = [SimpleNamespace(rfilename=file) for file in self.repositories[repository]]
        return SimpleNamespace(sha=COMMIT, siblings=siblings)

    def hf_hub_download(self, repository, name, revision):
        self.asked.append((repository, name, revision))
        return str(self.folder / repository / name)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    fake, module = Hub(tmp_path / "hub"), ModuleType("huggingface_hub")
    module.__dict__.update(HfApi=lambda: fake, hf_hub_download=fake.hf_hub_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.chdir(tmp_path)
    return fake


class TestFetch:
    @pytest.mark.parametrize(
        ("source", "repository"),
        [
            ("hf:owner/net", "owner/net"),
            ("timm:resnet18.a1_in1k", "timm/resnet18.a1_in1k"),
            ("torchvision:resnet18", "timm/resnet18.tv_in1k"),
        ],
    )
    def test_takes_the_commit_that_a_name_stands_for(self, hub, source, repository):
        hub.add(repository, "README.md", "pytorch_model.bin", "model.safetensors")
        path, name = fetch(source)
        assert path == hub.folder / repository / "model.safetensors"
        assert name == f"hf:{repository}@{COMMIT}"
        assert hub.asked == [(repository, None, None), (repository, "model.safetensors", COMMIT)]

    def test_a_revision_is_asked_for(self, hub):
        hub.add("owner/net", "model.safetensors")
        assert fetch("hf:owner/net@refs/pr/3").source == f"hf:owner/net@{COMMIT}"
        assert hub.asked[0] == ("owner/net", None, "refs/pr/3")

    def test_one_file_of_several(self, hub):
        hub.add("owner/net", "unet/weights.safetensors", "vae/weights.safetensors")
        with pytest.raises(WeightsError, match=r"several files of weights: unet/weights\.safetensors, vae/"):
            fetch("hf:owner/net")
        path, name = fetch("hf:owner/net/vae/weights.safetensors")
        assert path.parent.name == "vae"
        assert name == f"hf:owner/net/vae/weights.safetensors@{COMMIT}"

    def test_shards(self, hub):
        hub.add("owner/net", "a-1.safetensors", "a-2.safetensors", "model.safetensors.index.json")
        index = hub.folder / "owner/net/model.safetensors.index.json"
        index.write_text('{"weight_map": {"x": "a-1.safetensors", "y": "a-2.safetensors"}}')
        fetch("hf:owner/net")
        assert [name for _, name, _ in hub.asked[2:]] == ["a-1.safetensors", "a-2.safetensors"]
        index.write_text('{"weight_map": {"x": "../../a.safetensors"}}')
        with pytest.raises(WeightsError, match="no safetensors file beside it"):
            fetch("hf:owner/net")

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("hf:owner/pickles", r"holds no safetensors, only pytorch_model\.bin, which is not fetched"),
            ("hf:owner/pickles/pytorch_model.bin", r"no safetensors pytorch_model\.bin; there are no"),
            ("hf:owner", "has no owner or no name"),
            ("hf:owner/absent", r"OSError: 404 of https://hub/owner/absent "),
            ("hf:owner/pickles@gone", "cannot be fetched"),
            ("timm:resnet18", r"named with the data they were trained on, as timm:resnet18\.a1_in1k"),
            ("torchvision:alexnet", "torchvision publishes pickles, which are not fetched"),
        ],
    )
    def test_what_cannot_be_had(self, hub, source, message):
        hub.add("owner/pickles", "pytorch_model.bin")
        with pytest.raises(WeightsError, match=message):
            fetch(source)
        assert not [name for _, name, _ in hub.asked if name]

    def test_without_the_library(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        with pytest.raises(MissingLibraryError, match=re.escape('pip install "corrinit[hub]"')):
            fetch("hf:owner/net")


class TestSources:
    def test_provenance_names_the_commit(self, hub):
        hub.add("timm/resnet18.a1_in1k", "model.safetensors")
        correlation = corrinit.estimate("timm:resnet18.a1_in1k")
        assert f"hf:timm/resnet18.a1_in1k@{COMMIT}" in correlation.provenance["source"]

    def test_a_file_of_that_name_comes_first(self, hub, tmp_path):
        save_file({"conv.weight": np.random.default_rng(0).normal(size=(16, 8, 3, 3))}, tmp_path / "timm:net")
        assert corrinit.estimate("timm:net").kernel_size == (3, 3)
        assert not hub.asked

    @pytest.mark.parametrize("name", ["owner/net", "models/net.pt", "timm/resnet18.a1_in1k"])
    def test_nothing_else_reaches_the_network(self, hub, name):
        hub.add("owner/net", "model.safetensors")
        assert not is_on_hub(name)
        with pytest.raises(WeightsError, match=rf"there is no file {name}; to fetch it .* give hf:{name}"):
            corrinit.estimate(name)
        assert not hub.asked

    def test_on_the_command_line(self, hub, run):
        hub.folder = hub.folder.resolve()
        hub.add("owner/net", "model.safetensors")
        estimated = run("estimate", "hf:owner/net", "-o", "R.safetensors")
        assert estimated.code == 0, estimated.err
        assert f"hf:owner/net@{COMMIT}: 128 filters" in estimated.out
        assert COMMIT in run("show", "R.safetensors").out
        assert f"hf:owner/net@{COMMIT}: 128 filters" in run("show", "hf:owner/net").out
