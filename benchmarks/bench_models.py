"""What `corrinit.initialize` makes of models that others wrote: signal, first loss, time.

For every model, on training images and three seeds: the root mean square of the outputs of its blocks (in
plain nets, of its activations), as ratios to that of the images, and to that of what enters the block; the
first loss over ln C, mean over all labels; the seconds of `corrinit.plan`. Built-in models always; those of
torchvision, timm, segmentation-models-pytorch and transformers where they are installed, without trained
weights.

Targets: ratios between ½ and 2 (2.5 for plain nets of 20 layers, 4 for residual ones without normalization),
loss within 5 %. What leaves them is marked, with the reason where one is known: where ten times all drawn
weights but those of the head leave a ratio as it was, it is the model's own, and no drawn weight changes it.
Plain nets are drawn from more seeds, since one draw of such a net strays by much; the median of their last
activation and the one that is farthest from 1 are given.

    python benchmarks/bench_models.py [NAME ...] [--data parquet:DIR] [--recipe NAME] [--seeds N]
        [--write docs/initialize.md]    # puts the table into the document, between its marks
"""

import argparse
import math
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

import corrinit
from corrinit._planning.plans import Plan
from corrinit.lab.data import dataset as data
from corrinit.lab.networks.catalog import build as build_network

CLASSES = 10


class Case(NamedTuple):
    build: Callable[[], nn.Module]
    side: int = 32
    bound: float = 2.0
    batch: int = 40
    known: str = ""
    """Why what depends on the weights may leave the bound."""
    seeds: int = 0
    """How many, if more than are asked for; then the last activation is told, too."""

    def outside(self, seen: "Measured") -> list[float]:
        """Each ratio that leaves the bound, to 2 digits; 0 for those that do not."""
        ratios = (*seen.outputs, *seen.growth)
        return [0.0 if 1 / self.bound <= r <= self.bound else round(r, 2) for r in ratios]


FIXED = "normalized or standardized: no drawn weight changes it"
GATED = "a gate halves what passes, and a normalization follows"
STRAYS = "64 channels: a draw strays, and later layers pass it on"
NARROW = "16 channels in between: draws stray"
PLAIN_SEEDS = 12


def plain(activation: type[nn.Module], layers: int = 20, channels: int = 64) -> Callable[[], nn.Module]:
    """A stack of 3×3 convolutions without normalization."""

    def build() -> nn.Module:
        blocks: list[nn.Module] = []
        for layer in range(layers):
            blocks += [nn.Conv2d(3 if layer == 0 else channels, channels, 3, padding=1), activation()]
        return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))

    return build


def lab(name: str, **options: object) -> Callable[[], nn.Module]:
    return lambda: build_network(name, classes=CLASSES, in_channels=3, image_size=32, **options)  # pyright: ignore


class ConvNeXtBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.wide, self.narrow = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.narrow(nn.functional.gelu(self.wide(y))).permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    blocks = [ConvNeXtBlock(64) for _ in range(6)]
    return nn.Sequential(
        nn.Conv2d(3, 64, 2, 2), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES)
    )


class Logits(nn.Module):
    """A model of transformers, or of torchvision's segmentation, as one that returns scores."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        returned = self.model(x)
        return returned["out"] if isinstance(returned, dict) and "out" in returned else returned.logits


def own_models() -> dict[str, Case]:
    return {
        "plain-20 ReLU": Case(plain(nn.ReLU), 32, 2.5, 40, STRAYS, PLAIN_SEEDS),
        "plain-20 GELU": Case(plain(nn.GELU), 32, 2.5, 40, STRAYS, PLAIN_SEEDS),
        "plain-20 SiLU": Case(plain(nn.SiLU), 32, 2.5, 40, STRAYS, PLAIN_SEEDS),
        "plain-20 GELU, 256 channels": Case(plain(nn.GELU, channels=256), 32, 2.5, 10, "", 8),
        "plain-20 SiLU, 256 channels": Case(plain(nn.SiLU, channels=256), 32, 2.5, 10, "", 8),
        "plain-20 tanh": Case(plain(nn.Tanh), bound=2.5),
        "vgg8": Case(lab("vgg8")),
        "vgg8, no norm": Case(lab("vgg8", batch_norm=False)),
        "resnet18": Case(lab("resnet18")),
        "resnet18, no norm": Case(lab("resnet18", batch_norm=False), bound=4.0),
        "convnext-like": Case(convnext),
    }


def foreign_models() -> Iterator[tuple[str, Case]]:
    try:
        import torchvision.models as tv

        for name in (
            "resnet18",
            "resnet50",
            "vgg11",
            "squeezenet1_1",
            "mobilenet_v2",
            "regnet_y_400mf",
            "vit_b_16",
        ):
            side = {"vgg11": 64, "vit_b_16": 224}.get(name, 96)
            bound = 2.5 if name in ("vgg11", "squeezenet1_1") else 2.0
            make = lambda name=name: tv.get_model(name, weights=None, num_classes=CLASSES)  # noqa: E731
            known = {"squeezenet1_1": NARROW, "regnet_y_400mf": GATED}.get(name, "")
            yield f"torchvision {name}", Case(make, side, bound, 10 if name == "vit_b_16" else 20, known)
    except Exception as error:  # an operator library that does not fit torch raises RuntimeError
        print(f"  torchvision cannot be imported: {error}")
    try:
        import timm

        for name in (
            "resnet10t", "resnetv2_50", "convnext_atto", "convnextv2_atto", "nf_resnet26", "nfnet_f0",
            "convmixer_768_32", "efficientnet_b0", "vit_tiny_patch16_224",
        ):  # fmt: skip
            side = 224 if "vit" in name else 96
            bound = 4.0 if name.startswith("nf") else 2.0
            make = lambda name=name: timm.create_model(name, num_classes=CLASSES)  # noqa: E731
            known = GATED if name == "efficientnet_b0" else ""
            yield f"timm {name}", Case(make, side, bound, 10 if "vit" in name or "768" in name else 20, known)
    except Exception as error:
        print(f"  timm cannot be imported: {error}")
    try:
        import segmentation_models_pytorch as smp

        for kind in (smp.Unet, smp.Linknet):
            make = lambda kind=kind: kind("resnet18", encoder_weights=None, classes=CLASSES)  # noqa: E731
            yield f"smp {kind.__name__} resnet18", Case(make, 96, batch=20)
    except Exception as error:
        print(f"  segmentation_models_pytorch cannot be imported: {error}")
    try:
        import transformers as hf

        sizes = {"depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512], "num_labels": CLASSES}
        for config, kind in (
            (hf.ResNetConfig(layer_type="basic", **sizes), hf.ResNetForImageClassification),
            (hf.ConvNextConfig(**sizes), hf.ConvNextForImageClassification),
        ):
            make = lambda config=config, kind=kind: Logits(kind(config))  # noqa: E731
            yield f"transformers {kind.__name__}", Case(make, 96, batch=20)
    except Exception as error:
        print(f"  transformers cannot be imported: {error}")


def blocks(model: nn.Module) -> dict[str, nn.Module]:
    """Modules of a class that recurs and holds layers of its own: the blocks; else the activations.

    Of blocks within blocks, the outer ones.
    """
    kinds = Counter(type(module) for module in model.modules())
    plumbing = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.Identity)
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        layers = sum(isinstance(m, (nn.modules.conv._ConvNd, nn.Linear)) for m in module.modules())
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if (
            name
            and not inside
            and kinds[type(module)] > 1
            and layers > 1
            and not isinstance(module, plumbing)
        ):
            found[name] = module
    if found:
        return found
    places = ("activation",)
    return {n: m for n, m in model.named_modules() if type(m).__module__.endswith(places)}


def strength(tensor: object) -> float | None:
    while isinstance(tensor, (tuple, list)) and tensor:
        tensor = tensor[0]
    return tensor.detach().double().square().mean().sqrt().item() if isinstance(tensor, Tensor) else None


class Measured(NamedTuple):
    """Root mean squares of the outputs of blocks over that of the images and of their inputs; the loss."""

    outputs: list[float]
    growth: list[float]
    loss: float


@torch.no_grad()
def magnify(model: nn.Module, plan: Plan, factor: float = 10.0) -> None:
    """Multiply the weights that were drawn, but those of heads: what normalizes what they make undoes it."""
    for layer in plan.layers:
        if layer.is_drawn and layer.role != "head":
            module = model.get_submodule(layer.name)
            if isinstance(module.weight, nn.Parameter):
                module.weight.mul_(factor)


@torch.no_grad()
def measure(model: nn.Module, images: Tensor) -> Measured:
    outputs: list[float] = []
    growth: list[float] = []

    def look(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        before, after = strength(inputs), strength(output)
        if before and after:
            outputs.append(after / unit)
            growth.append(after / before)

    unit = images.square().mean().sqrt().item()
    hooks = [module.register_forward_hook(look) for module in blocks(model).values()]
    scores = model.train()(images)
    for hook in hooks:
        hook.remove()
    scores = scores if isinstance(scores, Tensor) else scores[0]
    every_label = torch.full_like(scores, 1 / CLASSES)  # the mean over all labels, not those of a small batch
    return Measured(outputs, growth, cross_entropy(scores, every_label).item())


def load_images(spec: str, count: int) -> Tensor:
    dataset = data.load(spec, train_subset=200)
    images = torch.tensor(dataset.train_images[:count]).float()
    return (images - images.mean((0, 2, 3), keepdim=True)) / images.std((0, 2, 3), keepdim=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--data", default="parquet:cifar10-jpeg")
    parser.add_argument("--recipe", default=None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    cases = own_models() | dict(foreign_models())
    images = load_images(arguments.data, 40)
    heads = ("model", "blocks", "over images", "over input", "bound", "loss / ln C", "plan")
    print("{:42}{:>7}{:>14}{:>14}{:>7}{:>22}{:>8}".format(*heads))
    table: list[tuple[str, ...]] = []
    for name, case in cases.items():
        if arguments.names and not any(wanted in name for wanted in arguments.names):
            continue
        batch = images[: case.batch]
        if case.side != batch.shape[-1]:
            batch = interpolate(batch, size=case.side, mode="bilinear")
        torch.manual_seed(0)
        model = case.build()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", corrinit.CorrInitWarning)
            started = time.perf_counter()
            plan = corrinit.plan(model, recipe=arguments.recipe, input_size=(3, case.side, case.side))
            seconds = time.perf_counter() - started
            seen = []
            fixed = moved = False
            for seed in range(max(arguments.seeds, case.seeds)):
                plan.apply(model, seed=seed)
                seen.append(measure(model, batch))
                outside = case.outside(seen[-1])
                if any(outside) and not moved:
                    magnify(model, plan)
                    again = case.outside(measure(model, batch))
                    fixed |= any(a and a == b for a, b in zip(outside, again, strict=True))
                    moved |= any(a and a != b for a, b in zip(outside, again, strict=True))
        outputs, growth = (sorted(value for each in seen for value in each[index]) for index in (0, 1))
        losses = sorted(each.loss / math.log(CLASSES) for each in seen)
        mean = statistics.mean(losses)
        reasons = [FIXED] * fixed + [case.known or "no reason known"] * moved
        reasons += ["the loss"] * (abs(mean - 1) > 0.05)
        if case.seeds:
            last = [each.outputs[-1] for each in seen]
            farthest = max(last, key=lambda ratio: abs(math.log(ratio)))
            reasons.append(
                f"last: median {statistics.median(last):.2f}, farthest {farthest:.2f} of {len(last)}"
            )
        middle = f"{mean:.3f} ({losses[0]:.3f}-{losses[-1]:.3f})"
        pairs = [f"{values[0]:.2f} {values[-1]:.2f}" for values in (outputs, growth)]
        row = (name, len(seen[0].outputs), *pairs, case.bound, middle, f"{seconds:.2f}s")
        print("{:42}{:7}{:>14}{:>14}{:7}{:>22}{:>8}".format(*row), *reasons, sep="  ", flush=True)
        spans = [" to ".join(pair.split()) for pair in pairs]
        table.append((name, *spans, f"{case.bound:g}", f"{mean:.3f}", "; ".join(reasons)))
    if arguments.write is not None:
        put_into(arguments.write, table)


def put_into(document: Path, table: list[tuple[str, ...]]) -> None:
    """Replace what stands between the marks of a document by the table."""
    heads = ("model", "over the images", "over the input", "bound", "loss / ln C", "what leaves the bound")
    lines = ["| " + " | ".join(row) + " |" for row in (heads, (":--", *["--:"] * 4, ":--"), *table)]
    text = document.read_text(encoding="utf-8")
    before, mark, rest = text.partition("<!-- table: models -->\n")
    _, end, after = rest.partition("<!-- end -->")
    if not (mark and end):
        raise SystemExit(f"{document} has no marks for the table")
    document.write_text("".join((before, mark, "\n".join(lines), "\n", end, after)), encoding="utf-8")


if __name__ == "__main__":
    main()
