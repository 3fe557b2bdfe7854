"""The presets that come with the package."""

import numpy as np
import pytest
import torch
from torch import nn

import corrinit
from corrinit import presets
from corrinit._correlation_io import load_correlation
from corrinit.errors import CorrelationError
from corrinit.presets import load_preset, preset_layers, preset_names


def test_the_networks_of_the_paper_are_there():
    assert preset_names() == ("resnet10-cifar10", "vgg8-cifar10")


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_says_how_it_came_about(name):
    provenance = load_preset(name).provenance
    assert {"network", "training", "data", "test accuracy", "95 % interval"} <= set(provenance)
    assert "JPEG" in provenance["data"]


@pytest.mark.parametrize("name", preset_names())
def test_pooled_is_the_mean_of_the_layers_by_their_filters(name):
    layers = [load_preset(name, layer) for layer in preset_layers(name)]
    filters = [int(layer.provenance["filters"]) for layer in layers]
    mean = np.average([layer.matrix for layer in layers], axis=0, weights=filters)
    np.testing.assert_allclose(load_preset(name).matrix, mean, atol=1e-12)


@pytest.mark.parametrize("name", preset_names())
def test_neighbours_are_positively_correlated(name):
    nearest = load_preset(name).profile("cityblock")[0]
    assert nearest.distance == 1
    assert nearest.correlation > 0


def test_a_model_is_initialized_with_a_preset_by_name():
    layer = torch.nn.Conv2d(3, 8, 3)
    planned = corrinit.initialize(layer, correlation="resnet10-cifar10").layers[0]
    assert planned.correlation == load_preset("resnet10-cifar10")


def test_unknown_presets_and_layers_are_refused_with_those_there_are():
    with pytest.raises(CorrelationError, match="'resnet-10'; there is resnet10-cifar10"):
        load_preset("resnet-10")
    with pytest.raises(CorrelationError, match=r"no layer 'conv1'; it has stem\.0\.0\.weight"):
        load_preset("resnet10-cifar10", "conv1")


def test_initializing_layer_by_layer_reads_each_file_once(monkeypatch):
    read = []

    def load(path):
        read.append(path)
        return load_correlation(path)

    monkeypatch.setattr(presets, "load_correlation", load)
    presets._read.cache_clear()
    model = nn.Sequential(*(nn.Conv2d(3, 3, 3) for _ in range(5)))
    corrinit.initialize(model, method="correlated", correlation="resnet10-cifar10:layers", seed=0)
    assert len(read) == len(set(read)) == 1 + len(preset_layers("resnet10-cifar10"))
