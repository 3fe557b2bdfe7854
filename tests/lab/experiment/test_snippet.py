"""The line that a report gives does what the arm of the comparison did."""

import copy

import pytest
import torch
from torch import nn

import corrinit
from corrinit.lab.experiment.arm import parse_initialization
from corrinit.lab.experiment.snippet import line_of_code
from corrinit.presets import load_preset

ARMS = (
    "kaiming_normal",
    "kaiming_normal:scale=paper",
    "kaiming_normal:scale=paper:strength=0.5",
    "correlated",
    "correlated:scale=he",
    "correlated:strength=0.5",
    "correlated:correlation=vgg8-cifar10",
    "correlated:correlation=vgg8-cifar10:layers",
    "correlated:correlation=exponential:0.4:strength=0.5",
    "correlated:correlation=R.safetensors",
    "correlated:scale=measured",
    "orthogonal:scale=he",
    "lsuv",
    "patch_whitening:scale=he",
    "correlated:scale=he:stem=patch_whitening",
    "correlated:stem=kaiming_normal:dense=strength=0.5",
)


@pytest.mark.parametrize("spec", ARMS)
def test_the_line_draws_the_weights_of_the_arm(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    corrinit.save_correlation("R.safetensors", load_preset("resnet10-cifar10"))
    arm = parse_initialization(spec)
    images = torch.randn(8, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(512, 2))
    pasted = copy.deepcopy(model)
    corrinit.initialize(model, seed=0, images=images, **arm.options)
    exec(line_of_code(arm), {"corrinit": corrinit, "model": pasted, "images": images})
    for ours, theirs in zip(model.parameters(), pasted.parameters(), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-6, atol=1e-7)
