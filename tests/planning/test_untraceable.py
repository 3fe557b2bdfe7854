"""The signal in models that do not run on one image alone, drawn by the default."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import corrinit


def convolution(taken, given, stride=1):
    return nn.Conv2d(taken, given, 3, stride, 1)


class Asking(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(convolution(128 if layer else 3, 128) for layer in range(8))

    def forward(self, x):
        for layer in self.layers:
            x = F.silu(layer(x))
            if x.abs().max().item() > 1e6:
                x = x / 10
        return x


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = nn.Sequential(convolution(3, 32), nn.ReLU(), convolution(32, 64, 2), nn.ReLU())
        self.table = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, image, table):
        return self.head(torch.cat([self.image(image).mean((2, 3)), self.table(table)], 1))


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        one = [m for layer in range(8) for m in (convolution(32 if layer else 3, 32), nn.GELU())]
        self.each = nn.Sequential(*one)
        self.both = nn.Sequential(convolution(64, 64), nn.GELU(), convolution(64, 64), nn.GELU())

    def forward(self, batch):
        return self.both(torch.cat([self.each(batch["left"]), self.each(batch["right"])], 1))


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(1000, 64)
        self.layers = nn.ModuleList(nn.Conv1d(64, 64, 3, padding=1) for _ in range(10))

    def forward(self, tokens):
        x = self.embed(tokens).transpose(1, 2)
        for layer in self.layers:
            x = F.gelu(layer(x))
        return x


class TimedBlock(nn.Module):
    def __init__(self, taken, given):
        super().__init__()
        self.conv1, self.conv2 = convolution(taken, given), convolution(given, given)
        self.time, self.skip = nn.Linear(64, given), nn.Conv2d(taken, given, 1)

    def forward(self, x, time):
        h = self.conv1(F.silu(x)) + self.time(F.silu(time))[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(h))


class Diffusion(nn.Module):
    """A U-Net that denoises, told the step by its sines."""

    def __init__(self):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(32, 64), nn.SiLU(), nn.Linear(64, 64))
        self.stem = convolution(3, 32)
        self.down = nn.ModuleList([TimedBlock(32, 32), TimedBlock(32, 64)])
        self.middle = nn.ModuleList([TimedBlock(64, 64), TimedBlock(64, 64)])
        self.up = nn.ModuleList([TimedBlock(128, 64), TimedBlock(96, 32)])
        self.out = convolution(32, 3)

    def forward(self, x, step):
        rates = torch.exp(-math.log(10000) * torch.arange(16) / 16)
        angles = step[:, None].float() * rates
        time = self.time(torch.cat([angles.cos(), angles.sin()], 1))
        x, kept = self.stem(x), []
        for block in self.down:
            x = block(x, time)
            kept.append(x)
            x = F.avg_pool2d(x, 2)
        for block in self.middle:
            x = block(x, time)
        for block in self.up:
            x = block(torch.cat([F.interpolate(x, scale_factor=2), kept.pop()], 1), time)
        return self.out(x)


class Partly(Diffusion):
    """One that does not run without values, though its blocks do."""

    def forward(self, x, step):
        assert x.numpy().size
        return super().forward(x, step)


class Eager(nn.Module):
    """Neither it nor its blocks run without values."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = convolution(48, 48), convolution(48, 48), convolution(48, 48)

        def forward(self, x):
            self.largest = float(x.detach().numpy().max())
            return F.gelu(self.c(F.gelu(self.b(F.gelu(self.a(x))))))

    def __init__(self):
        super().__init__()
        self.stem, self.act = convolution(3, 48), nn.GELU()
        self.blocks = nn.ModuleList(Eager.Block() for _ in range(4))

    def forward(self, x):
        x = self.act(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return x


def images(count=16):
    """Smooth random images, of unit mean square."""
    noise = torch.randn(count, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    smooth = sum(F.avg_pool2d(noise, k, 1, k // 2)[..., 4:36, 4:36] * k for k in (3, 5, 9))
    return smooth / smooth.square().mean().sqrt()


def made_of(model, *inputs, seed):
    """Root mean squares of the outputs of blocks and activations over that of the input."""
    corrinit.initialize(model, seed=seed)
    kinds = (nn.GELU, nn.ReLU, TimedBlock, Eager.Block)
    found = []
    look = lambda _module, _inputs, output: found.append(output.square().mean().sqrt().item())  # noqa: E731
    for module in model.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(look)
    with torch.no_grad():
        out = model(*inputs)
    return [*found, *([] if found else [out.square().mean().sqrt().item()])]


@pytest.mark.filterwarnings("ignore::corrinit.CorrInitWarning")
@pytest.mark.parametrize(
    ("model", "bound"),
    [(Asking, 3), (TwoInputs, 2), (Pair, 2.5), (Text, 2.5), (Diffusion, 2), (Eager, 3)],
)
def test_what_a_model_makes_of_its_inputs_stays_of_their_strength(model, bound):
    """The bounds are at least twice what a draw of these widths strays by; the seeds are fixed."""
    x = images()
    generator = torch.Generator().manual_seed(1)
    inputs = {
        TwoInputs: (x, torch.randn(16, 5, generator=generator)),
        Pair: ({"left": x, "right": x.flip(0)},),
        Text: (torch.randint(0, 1000, (16, 20), generator=generator),),
        Diffusion: (x, torch.randint(0, 1000, (16,), generator=generator)),
    }
    for seed in (0, 1):
        found = made_of(model(), *inputs.get(model, (x,)), seed=seed)
        assert max(max(each, 1 / each) for each in found) < bound


def test_a_model_read_by_its_parts_stays_of_that_strength_too():
    found = made_of(Partly(), images(), torch.arange(16), seed=0)
    assert max(max(each, 1 / each) for each in found) < 2.5


def test_a_layer_more_in_a_model_that_does_not_run_changes_no_other():
    class Net(nn.Module):
        def __init__(self, extra):
            super().__init__()
            if extra:
                self.unused = nn.Linear(640, 5)
            self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 2)

    one, two = Net(False), Net(True)
    for model in (one, two):
        corrinit.initialize(model, seed=16)
    assert torch.equal(one.conv.weight, two.conv.weight)
    assert torch.equal(one.head.weight, two.head.weight)
