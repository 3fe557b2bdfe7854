"""timm: initialize a model of the library, see what each layer gets, and train it.

    python examples/timm_model.py

A model of torchvision, segmentation-models-pytorch or MONAI is initialized by the same line. Ends with the
first and the last loss on stripes of eight directions.
"""

import math

import timm
import torch
from torch.nn.functional import cross_entropy

import corrinit

CLASSES = 8


def stripes(count: int, side: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy stripes, a class for each direction."""
    labels = torch.arange(count) % CLASSES
    angle = (labels * math.pi / CLASSES).view(-1, 1, 1)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    phase = 2 * math.pi * torch.rand(count, 1, 1)
    images = torch.sin(x * torch.cos(angle) + y * torch.sin(angle) + phase)
    return images.unsqueeze(1) + torch.randn(count, 3, side, side), labels


def main() -> None:
    """Initialize, train, and say what came of it."""
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=CLASSES)
    print(corrinit.initialize(model, seed=0, input_size=48))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for _ in range(20):
        images, labels = stripes(32)
        loss = cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"loss {losses[0]:.2f} at the start, {losses[-1]:.2f} after {len(losses)} steps")


if __name__ == "__main__":
    main()
