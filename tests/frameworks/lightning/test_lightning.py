"""The callbacks in the trainers of `lightning` and `pytorch_lightning`."""

import subprocess
import sys
import warnings
from itertools import pairwise

import lightning.pytorch
import numpy as np
import pytest
import pytorch_lightning
import torch
from sampling import assert_sampled
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import corrinit
from corrinit.lightning import GradientMonitor, Initialize

QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
    "devices": 1,
}


def network(width=16):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, 10),
    )


class Classifies:
    """What a module does, for the LightningModule of either package."""

    def __init__(self, width=16):
        super().__init__()
        self.net, self.losses = network(width), []

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch, index):
        images, labels = batch
        loss = cross_entropy(self(images), labels)
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


class Classifier(Classifies, lightning.pytorch.LightningModule):
    pass


def batches(count=4, size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(size, 3, 12, 12, generator=generator), torch.arange(size) % 10) for _ in range(count)
    ]


def fit(module, *callbacks, data=None, ckpt_path=None, trainer=lightning.pytorch.Trainer, **options):
    made = trainer(**{**QUIET, "max_epochs": 1, "callbacks": list(callbacks), **options})
    made.fit(module, DataLoader(data or batches(), batch_size=None), ckpt_path=ckpt_path)
    return made


def drawn(module):
    """The weights of a module as they are when training starts."""
    return {name: value.clone() for name, value in module.state_dict().items() if "num_batches" not in name}


class Start(lightning.pytorch.Callback):
    def on_train_start(self, trainer, pl_module):
        self.weights = drawn(pl_module)


def started_with(module, *callbacks, **options):
    start = Start()
    fit(module, *callbacks, start, **{"max_steps": 1, **options})
    return start.weights


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_training_starts_from_the_weights_that_initialize_draws():
    module, alone = Classifier(), Classifier()
    initialize = Initialize(seed=3)
    weights = started_with(module, initialize)
    plan = corrinit.initialize(alone, seed=3)
    assert same(weights, drawn(alone))
    assert str(initialize.plan) == str(plan)


def test_a_part_of_the_module_is_initialized_as_it_is_alone():
    module, alone = Classifier(), network()
    weights = started_with(module, Initialize(seed=3, submodule="net"))
    corrinit.initialize(alone, seed=3)
    assert same(weights, {f"net.{name}": value for name, value in drawn(alone).items()})


def test_options_are_those_of_plan():
    initialize = Initialize(seed=0, method="orthogonal", exclude="net.8")
    started_with(Classifier(), initialize)
    rows = {row.name: row for row in initialize.plan.layers}
    assert rows["net.3"].method == "orthogonal"
    assert rows["net.8"].reason == "excluded"
    with pytest.raises(corrinit.CorrInitError, match="no recipe is called 'tomorrow'"):
        fit(Classifier(), Initialize(recipe="tomorrow"))


def test_without_a_seed_seed_everything_decides():
    seen = []
    for seed in (1, 1, 2):
        lightning.pytorch.seed_everything(seed)
        seen.append(started_with(Classifier(), Initialize()))
    assert same(seen[0], seen[1])
    assert not torch.equal(seen[0]["net.3.weight"], seen[2]["net.3.weight"])


def test_a_restored_checkpoint_wins(tmp_path):
    trained = Classifier()
    trainer = fit(trained, Initialize(seed=0))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    initialize = Initialize(seed=1)
    start = Start()
    fit(Classifier(), initialize, start, ckpt_path=tmp_path / "last.ckpt", max_epochs=2)
    assert same(start.weights, drawn(trained))
    assert initialize.plan is None


class Late(Classifier):
    """Builds its network in `configure_model`, as large models do."""

    def __init__(self):
        super().__init__()
        self.net = None

    def configure_model(self):
        if self.net is None:
            self.net = network()


@pytest.mark.parametrize("hook", ["configure_model", "setup"])
def test_layers_that_are_built_late_are_drawn_and_restored(hook, tmp_path):
    class Model(Late):
        if hook == "setup":
            configure_model = lightning.pytorch.LightningModule.configure_model

            def setup(self, stage):
                Late.configure_model(self)

    alone = Classifier()
    corrinit.initialize(alone, seed=3)
    model = Model()
    assert same(started_with(model, Initialize(seed=3)), drawn(alone))
    fit(model).save_checkpoint(tmp_path / "last.ckpt")
    further = {"ckpt_path": tmp_path / "last.ckpt", "max_steps": 5, "max_epochs": 2}
    resumed = started_with(Model(), Initialize(seed=4), **further)
    assert same(resumed, drawn(model))


def test_fitting_further_goes_on_from_the_trained_weights():
    module, initialize = Classifier(), Initialize(seed=0)
    fit(module, initialize)
    trained = drawn(module)
    assert same(started_with(module, initialize), trained)
    assert not same(started_with(Classifier(), initialize), trained)  # another fold


def test_validation_alone_initializes_nothing():
    class Validated(Classifier):
        def validation_step(self, batch, index):
            self(batch[0])

    module = Validated()
    before = drawn(module)
    lightning.pytorch.Trainer(**QUIET, callbacks=[Initialize(seed=0)]).validate(
        module, DataLoader(batches(), batch_size=None), verbose=False
    )
    assert same(drawn(module), before)


def test_a_copy_that_another_callback_makes_has_the_drawn_weights():
    class Averaging(lightning.pytorch.Callback):
        def setup(self, trainer, pl_module, stage):
            self.average = torch.optim.swa_utils.AveragedModel(pl_module)

    module, alone, averaging = Classifier(), Classifier(), Averaging()
    fit(module, Initialize(seed=3), averaging)
    corrinit.initialize(alone, seed=3)
    assert same(drawn(averaging.average.module), drawn(alone))


def test_a_module_without_forward_is_asked_for_its_network():
    class Stepping(Classifier):
        forward = lightning.pytorch.LightningModule.forward

        def training_step(self, batch, index):
            return cross_entropy(self.net(batch[0]), batch[1])

    with pytest.warns(corrinit.CorrInitWarning, match=r"has no forward.*Initialize\(submodule='net'\)"):
        fit(Stepping(), Initialize(seed=0), max_steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", corrinit.CorrInitWarning)
        fit(Stepping(), Initialize(seed=0, submodule="net"), max_steps=1)


def test_a_submodule_that_is_not_there_is_named():
    with pytest.raises(corrinit.CorrInitError, match="Classifier has no submodule 'encoder'; it has net"):
        fit(Classifier(), Initialize(submodule="encoder"))


@pytest.mark.statistical
def test_the_correlation_comes_back_from_the_weights_that_training_starts_with():
    """A right draw fails once in 5 million."""
    initialize = Initialize(seed=0)
    weights = started_with(Classifier(width=64), initialize)["net.3.weight"]
    row = next(row for row in initialize.plan.layers if row.name == "net.3")
    assert_sampled(weights, row.correlation, row.std)


def test_training_lowers_the_loss():
    module = Classifier()
    fit(module, Initialize(seed=0), data=batches(1) * 2)
    assert module.losses[1] < module.losses[0]


# gradients


class Recorded(Classifier):
    """Keeps the gradients as the torch optimizer finds them."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        self.found = []
        step = type(optimizer).step
        module = self

        class Recording(type(optimizer)):
            def step(self, closure=None):
                if closure is not None:
                    with torch.enable_grad():
                        closure()
                module.found.append([p.grad.clone() for p in module.parameters()])
                return step(self)

        optimizer.__class__ = Recording
        return optimizer


def norms(found):
    return [float(torch.cat([g.flatten() for g in update]).norm()) for update in found]


def sign_changes(found):
    signs = [torch.cat([g.flatten() for g in update]).sign() for update in found]
    return [float((now - before).abs().mean() / 2) for before, now in pairwise(signs)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_clip_val": 0.01},
        {"accumulate_grad_batches": 2},
        {"precision": "bf16-mixed"},
        {
            "plugins": lambda: lightning.pytorch.plugins.MixedPrecision(
                "16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0)
            )
        },
    ],
    ids=["plain", "clipped", "accumulated", "bf16", "scaled"],
)
def test_the_gradients_are_those_that_the_step_uses(options):
    options = {key: value() if callable(value) else value for key, value in options.items()}
    module, gradients = Recorded(), GradientMonitor()
    fit(module, gradients, **options)
    seen = gradients.read()
    assert len(seen.l2) == len(module.found) == (2 if "accumulate_grad_batches" in options else 4)
    np.testing.assert_allclose(seen.total_l2, norms(module.found), rtol=1e-5)
    np.testing.assert_allclose(seen.total_sign_changes[1:], sign_changes(module.found), rtol=1e-5)
    if "gradient_clip_val" in options:
        assert seen.total_l2.max() < 0.011
    assert seen.names == tuple(name for name, _ in module.named_parameters())


def test_a_step_that_the_scaler_skips_is_not_seen():
    class Overflowing(Recorded):
        def training_step(self, batch, index):
            return super().training_step(batch, index) * (float("inf") if index == 1 else 1)

    scaled = lightning.pytorch.plugins.MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    module, gradients = Overflowing(), GradientMonitor()
    fit(module, gradients, plugins=scaled)
    seen = gradients.read()
    assert len(seen.l2) == len(module.found) == 3
    assert np.isfinite(seen.total_l2).all()


class Adversarial(lightning.pytorch.LightningModule):
    """Two optimizers, stepped by hand: the second on every other batch."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.one, self.two = nn.Linear(4, 2), nn.Linear(4, 3)

    def training_step(self, batch, index):
        for optimizer, part in zip(self.optimizers(), (self.one, self.two), strict=True):
            if part is self.two and index % 2:
                continue
            optimizer.zero_grad()
            self.manual_backward(part(batch).square().mean())
            optimizer.step()

    def configure_optimizers(self):
        return [torch.optim.SGD(part.parameters(), 0.1) for part in (self.one, self.two)]


def test_each_optimizer_has_a_history_of_its_own():
    gradients = GradientMonitor()
    fit(Adversarial(), gradients, data=[torch.randn(5, 4) for _ in range(4)])
    one, two = gradients.read(0), gradients.read(1)
    assert one.names == ("one.weight", "one.bias")
    assert two.names == ("two.weight", "two.bias")
    assert (len(one.l2), len(two.l2)) == (4, 2)
    assert np.isfinite(two.total_l2).all()
    assert len(gradients.read(0).l2) == 0


class Memory(lightning.pytorch.loggers.logger.DummyLogger):
    def __init__(self):
        super().__init__()
        self.metrics = []

    def log_metrics(self, metrics, step=None):
        if any(name.startswith("gradient") for name in metrics):
            self.metrics.append((step, metrics))


def test_the_loggers_get_means_and_the_history_stays_whole():
    logger, gradients, module = Memory(), GradientMonitor(), Recorded()
    fit(module, gradients, data=batches(5), logger=logger, log_every_n_steps=2)
    seen = gradients.read()
    assert [step for step, _ in logger.metrics] == [2, 4]
    second = logger.metrics[1][1]
    assert second["gradient_norm"] == pytest.approx(np.mean(norms(module.found)[2:4]), rel=1e-5)
    assert second["gradient_sign_changes"] == pytest.approx(np.mean(sign_changes(module.found)[1:3]))
    np.testing.assert_allclose(seen.total_l2, norms(module.found), rtol=1e-5)
    assert len(seen.l2) == 5
    silent = Memory()
    fit(Recorded(), GradientMonitor(log=False), logger=silent, log_every_n_steps=1)
    assert silent.metrics == []


def test_optimizers_are_let_go_after_training():
    gradients, kept = GradientMonitor(), []

    class Keeping(Classifier):
        def configure_optimizers(self):
            kept.append(super().configure_optimizers())
            return kept[-1]

    fit(Keeping(), gradients)
    assert not kept[0]._optimizer_step_pre_hooks


def test_monitoring_changes_no_weight():
    weights = []
    for callbacks in ((), (GradientMonitor(),)):
        module = Classifier()
        fit(module, Initialize(seed=0), *callbacks)
        weights.append(drawn(module))
    assert same(*weights)


# the other package, other ranks, none


def test_pytorch_lightning_takes_the_same_callbacks():
    class Other(Classifies, pytorch_lightning.LightningModule):
        pass

    module, alone, gradients = Other(), Classifier(), GradientMonitor()
    fit(module, Initialize(seed=3), gradients, trainer=pytorch_lightning.Trainer)
    corrinit.initialize(alone, seed=3)
    assert len(gradients.read().l2) == 4
    fit(alone)
    assert same(drawn(module), drawn(alone))


class OwnRandomState(lightning.pytorch.Callback):
    def setup(self, trainer, pl_module, stage):
        torch.manual_seed(trainer.global_rank)


class Save(lightning.pytorch.Callback):
    """Before the weights of rank 0 are copied to the others."""

    def __init__(self, directory):
        self.directory = directory

    def setup(self, trainer, pl_module, stage):
        torch.save((trainer.world_size, drawn(pl_module)), self.directory / f"{trainer.global_rank}.pt")


@pytest.mark.parametrize("seed", [None, 3])
def test_all_ranks_draw_the_same_weights(tmp_path, seed):
    torch.manual_seed(0)
    callbacks = OwnRandomState(), Initialize(seed=seed), Save(tmp_path)
    fit(Classifier(), *callbacks, devices=2, strategy="ddp_fork", max_steps=0)
    (ranks, one), (_, two) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert ranks == 2
    assert same(one, two)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "import importlib.util as util; util.find_spec = lambda name: None",
            "corrinit.lightning needs Lightning: pip install lightning",
        ),
        (
            "import sys, types; sys.modules['pytorch_lightning'] = old = types.ModuleType('old'); "
            "old.__version__ = '1.9.5'",
            "corrinit.lightning needs version 2 of Lightning, and pytorch_lightning is 1.9.5: "
            "pip install --upgrade lightning",
        ),
    ],
    ids=["none", "old"],
)
def test_one_line_says_what_to_install(code, says):
    code = f"import torch, corrinit._planning, corrinit._monitor; {code}; import corrinit.lightning"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stderr.splitlines()[-1] == f"corrinit.errors.MissingLibraryError: {says} [C001]"
