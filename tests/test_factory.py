"""Models of the user's own: found by path, tried before any run, told apart by their architecture."""

import sys

import pytest
import torch
from torch import nn

from corrinit._factory import build_model, fingerprint, require_outputs
from corrinit.errors import ConfigError


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "network.py"
    path.write_text(
        "from torch import nn\n"
        "def build():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5))\n"
        "def broken():\n    raise RuntimeError('no weights')\n"
        "def number():\n    return 3\n"
    )
    return path


def test_a_model_is_built_from_a_file(network):
    assert isinstance(build_model(f"{network}:build")[0], nn.Conv2d)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", "broken failed: RuntimeError: no weights; it is called without arguments"),
        ("number", "returned int; a factory returns a torch.nn.Module"),
        ("other", "has no callable other; its names: broken, build, nn, number"),
    ],
)
def test_a_factory_that_fails_is_named_with_the_reason(network, name, message):
    with pytest.raises(ConfigError, match=message):
        build_model(f"{network}:{name}")


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.py cannot be imported: FileNotFoundError"):
        build_model(f"{tmp_path}/nowhere.py:build")


def test_a_model_that_scores_each_class_is_accepted_and_unchanged(network):
    model = build_model(f"{network}:build").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    require_outputs(model, (3, 8, 8), classes=5)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_statistics_of_batch_norm_are_unchanged():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    require_outputs(model, (1, 2, 2), classes=3)
    assert model[1].num_batches_tracked == 0


class WithAuxiliaryScores(nn.Linear):
    """Four scores for a 3×2×2 image; in training, a second set beside them."""

    def __init__(self):
        super().__init__(12, 4)

    def forward(self, images):
        scores = super().forward(images.flatten(1))
        return (scores, scores) if self.training else scores


def test_trying_a_model_out_moves_no_random_state():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(4, 3))
    before = torch.get_rng_state()
    require_outputs(model, (1, 2, 2), classes=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (
            nn.Sequential(nn.Flatten(), nn.Linear(12, 7)),
            (3, 2, 2),
            r"needs to return \(2, 4\): give its last",
        ),
        (nn.Linear(5, 4), (3, 2, 2), r"fails in evaluation on images of shape \(3, 2, 2\): RuntimeError"),
        (nn.LSTM(2, 4), (3, 2), "returned tuple in evaluation"),
        (WithAuxiliaryScores(), (3, 2, 2), "returned tuple in training; it needs to return its scores alone"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_an_error(model, shape, message):
    with pytest.raises(ConfigError, match=message):
        require_outputs(model, shape, classes=4)


def test_architectures_are_told_apart_and_weights_are_not():
    torch.manual_seed(0)
    one, other = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(one) != fingerprint(nn.Conv2d(3, 4, 3, stride=2))
    assert fingerprint(nn.Sequential(one)) != fingerprint(one)


def test_trying_a_model_leaves_its_modes_and_the_random_state():
    class Noise(nn.Module):
        def forward(self, x):
            return x + torch.randn_like(x)

    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12), Noise(), nn.Linear(12, 3)).train()
    model[1].eval()
    modes, state = [module.training for module in model.modules()], torch.get_rng_state()
    require_outputs(model, (3, 2, 2), 3)
    assert modes == [module.training for module in model.modules()]
    assert torch.equal(state, torch.get_rng_state())


@pytest.fixture
def libraries(monkeypatch, tmp_path):
    """A timm that makes one model, and a torchvision that does not fit the torch that is installed."""
    (tmp_path / "timm.py").write_text(
        "from torch import nn\n"
        "def create_model(name, pretrained):\n"
        "    if name != 'tiny_patch16.a1': raise RuntimeError(f'Unknown model ({name})\\nsecond line')\n"
        "    return nn.Linear(2, 2)\n"
    )
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("timm", "torchvision"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    for name in ("timm", "torchvision"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("libraries")
def test_models_of_libraries_go_by_their_own_names():
    assert isinstance(build_model("timm:tiny_patch16.a1"), nn.Linear)
    with pytest.raises(
        ConfigError, match=r"timm makes no model 'resnet5': RuntimeError: Unknown model .resnet5. "
    ):
        build_model("timm:resnet5")
    complaint = (
        "^torchvision cannot be imported: RuntimeError: operator torchvision::nms does not exist .C404.$"
    )
    with pytest.raises(ConfigError, match=complaint):
        build_model("torchvision:resnet18")
