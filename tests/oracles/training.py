"""The protocol of the lab in plain steps: no class, no optimizer, no flat buffers."""

import torch
from torch.nn.functional import cross_entropy

from corrinit._seeding import layer_generator


def standardize(images, reference):
    """Zero mean and unit deviation per channel of the reference images, in float64."""
    reference = reference.double()
    mean = reference.mean(dim=(0, 2, 3), keepdim=True)
    std = reference.std(dim=(0, 2, 3), correction=0, keepdim=True)
    return ((images.double() - mean) / std).float()


def train(model, images, labels, config):
    """SGD with momentum and L2: v ← μ v + (g + λ w), w ← w − η v; only full batches."""
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    inputs = standardize(images, images)
    model.train()
    for epoch in range(config.epochs):
        order = torch.randperm(len(images), generator=layer_generator(config.seed, f"epoch {epoch}"))
        for first in range(0, len(images) - config.batch_size + 1, config.batch_size):
            batch = order[first : first + config.batch_size]
            gradients = torch.autograd.grad(
                cross_entropy(model(inputs[batch]), labels[batch]), list(model.parameters())
            )
            with torch.no_grad():
                for w, v, g in zip(model.parameters(), velocity, gradients, strict=True):
                    v.mul_(config.momentum).add_(g + config.l2 * w)
                    w.sub_(config.lr * v)


def accuracy(model, images, labels, reference):
    model.eval()
    with torch.no_grad():
        scores = model(standardize(images, reference))
    return sum(int(s.argmax() == label) for s, label in zip(scores, labels, strict=True)) / len(labels)
