"""The loss at the best temperature, beside a search by scipy."""

import math

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.nn.functional import cross_entropy

from corrinit.lab.training.temperature import scaled_loss


def drawn(classes, noise, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (500,), generator=generator)
    scores = torch.randn(500, classes, generator=generator) * noise
    scores[torch.arange(500), labels] += 1
    return scores, labels


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0, 30.0, 1e4])
@pytest.mark.parametrize(("classes", "noise"), [(2, 0.3), (10, 1.0), (100, 2.0)])
def test_it_is_the_least_loss_over_temperatures(classes, noise, scale):
    scores, labels = drawn(classes, noise, seed=classes)

    def loss(log_u):
        return cross_entropy(scores.double() * math.exp(log_u), labels).item()

    least = minimize_scalar(loss, bounds=(-12, 12), method="bounded", options={"xatol": 1e-9}).fun
    assert scaled_loss(scores * scale, labels) == pytest.approx(least, rel=1e-7)


def test_a_classifier_that_is_always_right_has_none_and_one_that_is_always_wrong_knows_nothing():
    labels = torch.tensor([0, 1, 2])
    right = torch.eye(3) * 5
    assert scaled_loss(right, labels) < 1e-6
    assert scaled_loss(-right, labels) == pytest.approx(math.log(3), rel=1e-3)
    assert scaled_loss(torch.zeros(3, 3), labels) == pytest.approx(math.log(3))


def test_scores_that_are_not_finite_have_no_loss():
    scores, labels = drawn(10, 1.0, seed=0)
    scores[3, 4] = math.nan
    assert math.isnan(scaled_loss(scores, labels))
