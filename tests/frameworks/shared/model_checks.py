"""What an initialized model does to a signal, and whether its weights have the R that was planned."""

import math
from collections import Counter

import numpy as np
import torch
from sampling import assert_sampled
from torch import nn

import corrinit


def natural_images(count, side, channels=3, seed=0):
    """Gaussian images with the 1/f amplitude spectrum of photographs, of unit variance."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.fft.fft2(torch.randn(count, channels, side, side, generator=generator))
    frequencies = torch.fft.fftfreq(side)
    radius = (frequencies[:, None] ** 2 + frequencies**2).sqrt()
    images = torch.fft.ifft2(noise / radius.clamp(min=1 / side)).real
    return (images - images.mean((0, 2, 3), keepdim=True)) / images.std((0, 2, 3), keepdim=True)


def scores_of(returned):
    """The scores, in whatever a library returns them."""
    if isinstance(returned, dict) and "out" in returned:
        return returned["out"]
    return getattr(returned, "logits", returned)


def blocks(model):
    """The outermost modules of a class that recurs and holds several layers."""
    kinds = Counter(type(module) for module in model.modules())
    plumbing = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.Identity)
    found = {}
    for name, module in model.named_modules():
        layers = sum(isinstance(m, (nn.modules.conv._ConvNd, nn.Linear)) for m in module.modules())
        recurs = name and kinds[type(module)] > 1 and layers > 1 and not isinstance(module, plumbing)
        if recurs and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = module
    return found


@torch.no_grad()
def signal(model, images):
    """The root mean squares of the outputs of all blocks, in units of the images, and of the scores' loss.

    Returns:
        The strengths; and the first loss, the mean over all labels, in units of ln C.
    """
    strengths = []

    def look(_, __, output):
        while isinstance(output, (tuple, list)):
            output = output[0]
        strengths.append(output.square().mean().sqrt().item())

    hooks = [module.register_forward_hook(look) for module in blocks(model).values()]
    scores = scores_of(model.train()(images))
    for hook in hooks:
        hook.remove()
    classes = scores.shape[1]
    loss = nn.functional.cross_entropy(scores, torch.full_like(scores, 1 / classes))
    unit = images.square().mean().sqrt().item()
    return [strength / unit for strength in strengths], loss.item() / math.log(classes)


def assert_drawn_as_planned(model, plan):
    """Check R of every weight with correlated taps, and where there are filters enough the deviations too.

    An entry of R is normal by Fisher's z = atanh r, with the deviation 1 / √(N − 3) for N filters; one of a
    thousand lies 5 deviations away in 6e-4 of all draws.
    """
    modules = dict(model.named_modules())
    rows = [row for row in plan.layers if row.correlation is not None]
    assert rows
    for row in rows:
        weight = modules[row.name].weight.detach()
        filters, taps = weight.shape[0] * weight.shape[1], math.prod(weight.shape[2:])
        if filters > 1000:
            assert_sampled(weight, row.correlation, row.std)
        found = corrinit.estimate({"conv.weight": weight}).matrix
        off = np.triu_indices(taps, k=1)
        distance = np.arctanh(found[off]) - np.arctanh(row.correlation.matrix[off])
        assert np.abs(distance).max() * math.sqrt(filters - 3) < 5, row.name


def counts(plan):
    """How many layers have each role and rule."""
    return Counter((row.role, row.rule) for row in plan.layers if row.is_drawn)


def reasons(plan):
    """Why the others are kept, and how often."""
    return Counter(row.reason for row in plan.layers if not row.is_drawn)


def losses_of_one_step(model, images, rate=0.01):
    """The loss on a batch before and after one step of gradient descent on it."""
    labels = torch.arange(len(images)) % 10
    parameters = [p for p in model.train().parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=rate)
    losses = []
    for _ in range(2):
        scores = scores_of(model(images))
        targets = labels if scores.dim() == 2 else labels.view(-1, 1, 1).expand(-1, *scores.shape[2:])
        loss = nn.functional.cross_entropy(scores, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
