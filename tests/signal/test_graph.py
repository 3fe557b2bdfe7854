import random
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from corrinit._tracing import read_graph
from corrinit.errors import PlanError
from corrinit.lab.networks.catalog import build


class Block(nn.Module):
    """A residual block in functions: conv, norm, relu, conv, norm, add, relu."""

    def __init__(self, channels, out=None, stride=1):
        super().__init__()
        out = out or channels
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Conv2d(channels, out, 1, stride) if (stride, out) != (1, channels) else None

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class SmallResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(Block(8), Block(8, 16, 2))
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = torch.relu_(self.stem(x))
        for block in self.blocks:  # Python's control flow
            x = block(x)
        return self.head(x.mean((2, 3)))


def kinds(graph):
    return [step.kind for step in graph.steps]


def test_a_plain_net_step_by_step():
    model = build("vgg8", classes=10, in_channels=3, image_size=32, width=0.125)
    graph = read_graph(model, 32)
    assert graph.source == "trace"
    assert kinds(graph)[:9] == [
        "input", "conv", "batch_norm", "max_pool", "activation", "conv", "batch_norm", "max_pool",
        "activation",
    ]  # fmt: skip
    assert graph.steps[4].shape == (2, 8, 16, 16)
    assert kinds(graph)[-2:] == ["flatten", "linear"]
    assert [step.inputs for step in graph.steps[1:]] == [(i,) for i in range(len(graph.steps) - 1)]
    assert graph.outputs == (len(graph.steps) - 1,)


def test_a_residual_net_in_functions_and_loops():
    graph = read_graph(SmallResNet(), 16)
    add = next(step for step in graph.steps if step.kind == "add")
    assert [graph.steps[i].operation for i in add.inputs] == ["BatchNorm2d", "relu"]
    assert [step.kind for step in graph.followers(graph.layers["blocks.0.conv1"])] == ["batch_norm"]
    assert graph.stems == {"stem"}
    assert graph.heads == {"head"}
    assert not graph.branch_ends  # what is added has the strength of a normalization
    assert not graph.is_normalized("stem")
    assert graph.is_normalized("blocks.0.conv1")
    assert graph.is_normalized("blocks.0.conv2")
    assert graph.activation_after("stem").operation == "relu_".rstrip("_")
    after_the_sum = graph.activation_after("blocks.0.conv2")
    assert after_the_sum is not None
    assert after_the_sum.index == add.index + 1
    assert graph.activation_after("head") is None
    assert graph.steps[-2].kind == "mean"


def test_two_branches_of_equal_length_end_in_two_layers():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return torch.cat([self.left(x) + self.right(x), x], 1)

    graph = read_graph(Two())
    assert graph.branch_ends == {"left", "right"}
    assert graph.steps[-1].kind == "concat"
    assert graph.steps[-1].shape == (2, 7, 32, 32)


def test_a_branch_that_is_normalized_after_its_activation_ends_in_no_layer():
    class Mixer(nn.Module):  # as in ConvMixer
        def __init__(self, norm):
            super().__init__()
            self.branch = nn.Sequential(nn.Conv2d(4, 4, 5, padding=2, groups=4), nn.GELU(), norm)

        def forward(self, x):
            return x + self.branch(x)

    assert not read_graph(nn.Sequential(nn.Conv2d(3, 4, 1), Mixer(nn.BatchNorm2d(4)))).branch_ends
    assert read_graph(nn.Sequential(nn.Conv2d(3, 4, 1), Mixer(nn.Identity()))).branch_ends == {"1.branch.0"}


def test_normalized_before_it_is_activated_through_a_sum():
    class PreActivation(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.conv, self.bn = (
                nn.Conv2d(3, 4, 3),
                nn.Conv2d(4, 4, 3, padding=1),
                nn.BatchNorm2d(4),
            )

        def forward(self, x):
            x = self.stem(x)
            return F.gelu(self.bn(x + self.conv(x)))

    graph = read_graph(PreActivation())
    assert not graph.is_normalized("conv")
    assert graph.is_normalized("conv", through_add=True)
    assert graph.activation_after("conv").operation == "gelu"


def test_what_is_not_a_signal_of_two_parts_is_a_scale_or_a_shift():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gamma, self.place = (
                nn.Conv2d(3, 4, 3),
                nn.Parameter(torch.ones(4, 1, 1)),
                nn.Conv2d(4, 4, 1),
            )

        def forward(self, x):
            y = self.conv(x)
            return y + 0.2 * (self.gamma * self.place(y / 2 + 1))

    graph = read_graph(Scaled())
    assert kinds(graph) == ["input", "conv", "scale", "shift", "conv", "scale", "scale", "add"]
    assert [graph.steps[i].arguments for i in (2, 5, 6)] == [
        {"number": 0.5}, {"parameter": "gamma"}, {"number": 0.2},
    ]  # fmt: skip
    assert graph.branch_ends == {"place"}


def test_the_gate_of_squeeze_and_excitation_is_a_product():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.down, self.up = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 2), nn.Linear(2, 8)
            self.skip = nn.Identity()

        def forward(self, x):
            y = self.conv(x)
            z = F.adaptive_avg_pool2d(y, 1).flatten(1)
            gate = torch.sigmoid(self.up(F.relu(self.down(z))))
            return self.skip(torch.cat([x, x, x], 1)[:, :8]) + y * gate[:, :, None, None]

    graph = read_graph(Gated())
    assert "mul" in kinds(graph)
    assert graph.branch_ends == {"conv"}


def test_activations_of_ones_own_are_found_by_trying():
    class Swish(nn.Module):
        def forward(self, x):
            return x * torch.sigmoid(x)

    class Centred(nn.Module):
        def forward(self, x):
            return x - x.mean()

    graph = read_graph(nn.Sequential(nn.Conv2d(3, 4, 3), Swish(), nn.Conv2d(4, 4, 1), Centred()))
    assert graph.activation_after("0").operation == "Swish"
    assert kinds(graph)[-2:] == ["mean", "add"]


def test_layers_of_ones_own_are_known_by_their_weights():
    class Standardized(nn.Conv2d):
        def forward(self, x):
            w = self.weight
            return F.conv2d(x, (w - w.mean()) / w.std(), self.bias, self.stride, self.padding)

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.zeros(5, 4, 3))

        def forward(self, x):
            return F.conv1d(x.flatten(2), self.kernel, stride=2, padding="valid", dilation=2)

    model = nn.Sequential(Standardized(3, 4, 3, padding="same"), weight_norm(nn.Conv2d(4, 4, 1)), Own())
    graph = read_graph(model)
    assert set(graph.layers) == {"0", "1", "2"}
    assert graph.layers["2"].arguments["dilation"] == (2,)
    assert graph.layers["0"].arguments["padding"] == ((1, 1), (1, 1))
    assert graph.steps[-1].shape == (2, 5, (32 * 32 - 5) // 2 + 1)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(3, 6, (3, 5), 2, padding=(1, 0), dilation=2, groups=3), (3, 32, 31)),
        (nn.Conv2d(3, 6, 4, padding="same"), (3, 9, 9)),
        (nn.Conv3d(3, 4, 3, padding=1, padding_mode="circular"), (3, 8, 8, 8)),
        (nn.ConvTranspose2d(3, 5, 4, 3, 1, output_padding=1), (3, 7, 9)),
        (nn.MaxPool2d(3, 2, 1, ceil_mode=True), (3, 32, 30)),
        (nn.AvgPool2d(2, ceil_mode=True), (3, 9, 8)),
        (nn.AdaptiveAvgPool2d((None, 3)), (3, 9, 8)),
        (nn.Upsample(scale_factor=2, mode="bilinear"), (3, 5, 5)),
    ],
)
def test_shapes_are_those_of_a_run(layer, shape):
    model = nn.Sequential(nn.Identity(), layer, nn.Conv2d(3, 1, 1)) if not hasattr(layer, "weight") else layer
    graph = read_graph(model, shape)
    step = graph.steps[1]
    assert graph.source == "trace"
    assert step.shape == tuple(layer(torch.zeros(2, *shape)).shape)


def test_the_size_of_the_input_is_found_where_a_model_refuses_small_ones():
    model = nn.Sequential(nn.Conv2d(1, 4, 7, 4), nn.MaxPool2d(5, 4), nn.Conv2d(4, 4, 3))
    assert read_graph(model).input_shape == (2, 1, 64, 64)
    assert read_graph(nn.Sequential(nn.Linear(7, 3))).input_shape == (2, 7)
    assert read_graph(nn.Sequential(nn.Conv1d(2, 3, 3))).input_shape == (2, 2, 32)


def test_the_layer_that_sees_the_input_need_not_come_first():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Conv2d(8, 4, 3), nn.Conv2d(3, 8, 1)

        def forward(self, x):
            return self.last(self.first(x))

    graph = read_graph(Backwards())
    assert graph.input_shape == (2, 3, 32, 32)
    assert graph.stems == {"first"}


def test_a_model_that_cannot_be_run_is_taken_in_the_order_of_its_modules():
    class Refuses(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act, self.head, self.calls = nn.Conv2d(3, 4, 3), nn.GELU(), nn.Linear(4, 2), 0

        def forward(self, batch):
            return self.head(self.act(self.conv(batch[batch.numpy() > 0])).mean((2, 3)))

    model = Refuses()
    graph = read_graph(model)
    assert graph.source == "module order"
    assert "numpy" in graph.reason
    assert graph.reason in graph.notes[0]
    assert kinds(graph) == ["input", "conv", "activation", "handover", "linear"]
    assert graph.activation_after("conv").name == "act"
    assert model.calls == 0


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2)),
        nn.Sequential(nn.LazyConv2d(3, 3)),
        nn.Sequential(),
    ],
)
def test_no_model_makes_it_fail(model):
    graph = read_graph(model)
    assert graph.steps[0].kind == "input"
    assert "\n" not in graph.reason


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_model_makes_it_not_fail():
    graph = read_graph(torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())))
    assert graph.source == "module order"


@pytest.mark.parametrize(
    "decide",
    [
        lambda x: x if x.sum() > 0 else x[:1],
        lambda x: x / x.abs().max().item(),
        lambda x: x * float(x.sum()) * int(x.sum()),
        lambda x: x * sum(x.sum((1, 2, 3)).tolist()),
        lambda x: x if torch.equal(x, x) else x[:1],
    ],
)
def test_a_way_that_depends_on_values_is_followed_as_if_they_were_1(decide):
    class Asking(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.conv(decide(x)).relu()

    graph = read_graph(Asking())
    assert graph.source == "trace"
    assert kinds(graph)[-2:] == ["conv", "activation"]
    assert any("depends on values" in note for note in graph.notes)


def test_a_loop_that_waits_for_a_value_ends():
    class Waiting(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            while x.norm() > 1:
                x = self.conv(x)
            return x

    graph = read_graph(Waiting())
    assert graph.source == "trace"
    assert set(graph.layers) == {"conv"}


class Conditioned(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.time = nn.Linear(5, 4)


class ByMapping(Conditioned):
    def forward(self, batch):
        return self.last(self.conv(batch["image"]) + self.time(batch["vector"])[:, :, None, None])


class BySeveral(Conditioned):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(9, 5)

    def forward(self, x, step, *, strength):
        shift = self.time(self.embed(step) * strength[:, None])[:, :, None, None]
        return self.last(self.conv(x) + shift)


@pytest.mark.parametrize(
    ("model", "taken"),
    [
        (ByMapping(), ["batch is a mapping", "image is an image of 3×32×32", "vector is a vector of 5"]),
        (BySeveral(), ["x is an image of 3×32×32", "step is a number", "strength is a number"]),
        (nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2)), ["input is tokens of 16"]),
    ],
)
def test_inputs_that_are_no_image_are_found_by_trying(model, taken):
    graph = read_graph(model)
    assert graph.source == "trace"
    assert all(words in graph.notes[0] for words in taken)
    layers = {name for name, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    assert set(graph.layers) == layers
    assert not graph.branch_ends  # what is the same at every position is no trunk


def test_of_a_model_that_does_not_run_the_parts_that_do_are_read():
    class Unrunnable(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.blocks = nn.ModuleList([Block(8), Block(8, 16, 2)])
            self.mix, self.out, self.act = nn.Conv2d(32, 8, 3), nn.Conv2d(8, 2, 1), nn.SiLU()

        def forward(self, x):
            raise RuntimeError("no")

    graph = read_graph(Unrunnable())
    assert graph.source == "module order"
    assert "2 of its parts did" in graph.notes[0]
    assert set(graph.layers) == {name for name, m in graph.modules.items() if isinstance(m, nn.Conv2d)}
    assert graph.stems == {"stem"}
    assert graph.is_normalized("stem")
    assert graph.activation_after("blocks.0.conv1").operation == "relu"
    assert len([step for step in graph.steps if step.kind == "add"]) == 2
    # 16 channels are made and 32 taken, as where the model concatenates
    assert [(s.shape[1], graph.followers(s)[0].name) for s in graph.steps if s.kind == "handover"][-1] == (
        32,
        "mix",
    )
    assert graph.activation_after("mix").name == "act"


def test_looking_changes_nothing():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3)
    )
    model[1].eval()
    called = []
    model.register_forward_hook(lambda *_: called.append(1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pointers = [p.data_ptr() for p in model.parameters()]
    attributes = {name: set(vars(m)) for name, m in model.named_modules()}
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    graph = read_graph(model)
    assert graph.source == "trace"
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # noqa: NPY002
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [p.data_ptr() for p in model.parameters()] == pointers
    assert {name: set(vars(m)) for name, m in model.named_modules()} == attributes
    assert [m.training for m in model] == [True, False, True, True, True]
    assert called == []
    assert len(model._forward_hooks) == 1


def test_a_model_without_memory_of_its_own_can_be_read():
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 1 << 16, 3), nn.ReLU(), nn.Conv2d(1 << 16, 1 << 16, 3))
    assert kinds(read_graph(model)) == ["input", "conv", "activation", "conv"]


def test_many_modules_take_no_longer_each():
    def seconds(blocks):
        model = nn.Sequential(*(Block(4) for _ in range(blocks)))
        started = time.process_time()
        graph = read_graph(model, 8)
        assert not graph.branch_ends
        assert graph.is_normalized(f"{blocks - 1}.conv2")
        assert graph.activation_after("0.conv1") is not None
        return (time.process_time() - started) / blocks

    seconds(5)
    assert seconds(400) < 4 * seconds(50)


@pytest.mark.parametrize("size", [(), (0, 3), (3, -1, 2), "large"])
def test_no_size_is_an_error(size):
    with pytest.raises(PlanError, match="input size is"):
        read_graph(nn.Conv2d(3, 4, 3), size)
