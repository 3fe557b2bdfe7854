"""transformers: a model from a configuration, initialized anew for each training of the Trainer.

    python examples/transformers_trainer.py

trains a small ResNet on stripes of eight directions, and ends with the first and the last loss.
"""

import math
import tempfile

import torch
from torch.utils.data import Dataset
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments
from transformers.utils import logging

import corrinit.transformers

CLASSES = 8


class Stripes(Dataset):
    """Noisy stripes, a class for each direction."""

    def __init__(self, count: int, side: int = 32) -> None:
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.arange(count) % CLASSES
        angle = (self.labels * math.pi / CLASSES).view(-1, 1, 1)
        y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        phase = 2 * math.pi * torch.rand(count, 1, 1, generator=generator)
        images = torch.sin(x * torch.cos(angle) + y * torch.sin(angle) + phase)
        noise = torch.randn(count, 3, side, side, generator=generator)
        self.images = images.unsqueeze(1) + noise

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"pixel_values": self.images[index], "labels": self.labels[index]}


def build() -> ResNetForImageClassification:
    """A small ResNet for eight classes."""
    config = ResNetConfig(
        layer_type="basic",
        embedding_size=16,
        hidden_sizes=[16, 32, 64],
        depths=[1, 1, 1],
        num_labels=CLASSES,
    )
    return ResNetForImageClassification(config)


def main() -> None:
    """Train, and say what came of it."""
    logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as directory:
        arguments = TrainingArguments(
            output_dir=directory,
            num_train_epochs=4,
            per_device_train_batch_size=64,
            learning_rate=5e-3,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = Trainer(
            model_init=corrinit.transformers.model_init(build, seed=0, input_size=32),
            args=arguments,
            train_dataset=Stripes(512),
        )
        trainer.train()
    print(corrinit.plan(build(), input_size=32))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    print(
        f"loss {losses[0]:.2f} at the start (ln {CLASSES} = {math.log(CLASSES):.2f}), "
        f"{losses[-1]:.2f} after {len(losses)} steps"
    )


if __name__ == "__main__":
    main()
