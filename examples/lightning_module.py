"""Lightning: initialize a network when its fitting begins, and watch the gradients that its steps use.

    python examples/lightning_module.py

trains a small network on stripes of eight directions and ends with the first and the last loss.
"""

import math

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from corrinit.lightning import GradientMonitor, Initialize

CLASSES = 8


def stripes(count: int, side: int = 24) -> TensorDataset:
    """Noisy stripes, a class for each direction."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % CLASSES
    angle = (labels * math.pi / CLASSES).view(-1, 1, 1)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    phase = 2 * math.pi * torch.rand(count, 1, 1, generator=generator)
    images = torch.sin(x * torch.cos(angle) + y * torch.sin(angle) + phase)
    return TensorDataset((images + torch.randn(images.shape, generator=generator)).unsqueeze(1), labels)


class Stripes(pl.LightningModule):
    """Three convolutions with batch normalization, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for inputs, outputs in ((1, 16), (16, 32), (32, 32)):
            blocks += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.net = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES))
        self.losses: list[float] = []

    def forward(self, images: Tensor) -> Tensor:
        """Scores of the classes."""
        return self.net(images)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of a batch."""
        images, labels = batch
        loss = cross_entropy(self(images), labels)
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain momentum."""
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def main() -> None:
    """Fit, and say what came of it."""
    initialize, gradients, module = Initialize(seed=0), GradientMonitor(), Stripes()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(max_epochs=4, accelerator="cpu", callbacks=[initialize, gradients], **quiet)
    trainer.fit(module, DataLoader(stripes(512), batch_size=64, shuffle=True))
    seen = gradients.read()
    print(initialize.plan)
    print(f"signs of gradients that change from step to step: {seen.total_sign_changes[1:].mean():.0%}")
    print(
        f"loss {module.losses[0]:.2f} at the start (ln {CLASSES} = {math.log(CLASSES):.2f}), "
        f"{module.losses[-1]:.2f} after {trainer.global_step} steps"
    )


if __name__ == "__main__":
    main()
