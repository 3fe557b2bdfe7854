"""Models of transformers: from a configuration, partly loaded, of the Trainer, and one's own."""

import subprocess
import sys
import warnings
from types import MappingProxyType

import pytest
import torch
import transformers as hf
from model_checks import assert_drawn_as_planned, counts, losses_of_one_step, natural_images, reasons, signal
from safetensors.torch import load_file, save_file
from sampling import assert_sampled
from torch import nn

import corrinit
from corrinit.transformers import init_module, model_init

hf.logging.set_verbosity_error()
hf.logging.disable_progress_bar()

SIZES = {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 64, 64], "num_labels": 10}
TRANSFORMER = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}


def resnet(**options):
    config = hf.ResNetConfig(layer_type="basic", embedding_size=16, **{**SIZES, **options})
    return hf.ResNetForImageClassification(config)


def convnext():
    return hf.ConvNextForImageClassification(hf.ConvNextConfig(**SIZES))


def vit():
    config = hf.ViTConfig(**TRANSFORMER, image_size=64, patch_size=8, num_labels=10)
    return hf.ViTForImageClassification(config)


DRAWN = {
    resnet: {
        ("stem", "normal"): 1,
        ("dense", "correlated_normal"): 8,
        ("pointwise", "normal"): 3,
        ("head", "normal"): 1,
    },
    convnext: {
        ("stem", "normal"): 1,
        ("depthwise", "normal"): 4,
        ("dense", "normal"): 3,
        ("linear", "normal"): 8,
        ("head", "normal"): 1,
    },
    vit: {("stem", "normal"): 1, ("attention", "normal"): 8, ("linear", "normal"): 4, ("head", "normal"): 1},
}


@pytest.mark.parametrize("build", DRAWN)
def test_a_model_from_a_configuration_is_planned_by_roles(build):
    with warnings.catch_warnings():
        warnings.simplefilter("error", corrinit.CorrInitWarning)
        plan = corrinit.plan(build(), input_size=64)
    assert counts(plan) == DRAWN[build]
    assert set(reasons(plan)) == {"no filters"}


@pytest.mark.parametrize("build", DRAWN)
def test_its_signal_keeps_its_strength_and_the_first_loss_is_that_of_chance(build):
    model = build()
    corrinit.initialize(model, seed=0, input_size=64)
    strengths, loss = signal(model, natural_images(20, 64))
    assert len(strengths) > 1
    assert min(strengths) > 1 / 2
    assert max(strengths) < 2
    assert loss == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("build", DRAWN)
def test_one_step_lowers_the_loss(build):
    model = build()
    corrinit.initialize(model, seed=0, input_size=64)
    before, after = losses_of_one_step(model, natural_images(20, 64))
    assert after < before


@pytest.mark.statistical
def test_the_correlation_comes_back_from_the_weights():
    """One of 8 × 36 entries lies 5 standard errors away in 2e-4 of all draws."""
    model = resnet()
    assert_drawn_as_planned(model, corrinit.initialize(model, seed=0, input_size=64))


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


# loaded weights


def test_only_what_a_checkpoint_lacks_is_drawn(tmp_path):
    trained = resnet()
    corrinit.initialize(trained, seed=0)
    trained.save_pretrained(tmp_path)
    tuned = hf.ResNetForImageClassification.from_pretrained(
        tmp_path, num_labels=7, ignore_mismatched_sizes=True
    )
    plan = corrinit.initialize(tuned, seed=1)
    assert [row.name for row in plan.layers if row.is_drawn] == ["classifier.1"]
    assert reasons(plan)["already loaded (_is_hf_initialized)"] == 12
    assert equal(trained.resnet, tuned.resnet)


class OwnConfig(hf.PretrainedConfig):
    model_type = "corrinit-test"


class Own(hf.PreTrainedModel):
    """A model that draws its layers with `init_module`."""

    config_class = OwnConfig
    options = MappingProxyType({})

    def __init__(self, config):
        super().__init__(config)
        self.stem, self.conv = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3)
        self.norm, self.deep = nn.BatchNorm2d(32), nn.Conv2d(32, 32, (5, 3))
        self.classifier = nn.Linear(32, 10)
        self.post_init()

    def _init_weights(self, module):
        if not init_module(module, **self.options):
            super()._init_weights(module)

    def forward(self, images):
        features = self.deep(self.norm(self.conv(self.stem(images)).relu())).relu()
        return self.classifier(features.mean((2, 3)))


def test_a_model_of_ones_own_has_its_layers_drawn_when_it_is_built():
    hf.set_seed(0)
    one = Own(OwnConfig())
    hf.set_seed(0)
    same = Own(OwnConfig())
    assert equal(one, same)
    assert not equal(one, Own(OwnConfig()))
    assert not one.conv.bias.any()
    for layer in (one.stem, one.conv):
        assert corrinit.estimate({"w": layer.weight.detach()}).mean == pytest.approx(0.26, abs=0.1)
    expected = 2**0.5 / (16 * 9) ** 0.5
    assert one.conv.weight.std() < 0.8 * expected  # the paper's scale, smaller than He's
    assert one.norm.weight.eq(1).all()


def test_options_of_init_module_are_those_of_plan():
    class Plain(Own):
        options = MappingProxyType({"method": "kaiming_normal", "nonlinearity": "tanh"})

    model = Plain(OwnConfig())
    assert model.conv.weight.std().item() == pytest.approx(1.5925 / 12, rel=0.1)


def test_what_was_loaded_wins_over_init_module(tmp_path):
    trained = Own(OwnConfig())
    with torch.no_grad():
        trained.stem.bias.fill_(0.5)
    trained.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    for missing in ("conv.weight", "conv.bias", "stem.weight", "deep.bias"):
        del state[missing]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    hf.set_seed(3)
    loaded = Own.from_pretrained(tmp_path)
    for kept in ("stem.bias", "deep.weight", "classifier.weight", "norm.weight"):
        assert torch.equal(loaded.get_parameter(kept), trained.get_parameter(kept)), kept
    for missing in ("conv.weight", "stem.weight"):
        assert not torch.equal(loaded.get_parameter(missing), trained.get_parameter(missing)), missing
        assert 0.01 < loaded.get_parameter(missing).std() < 1
    assert not loaded.conv.bias.any()
    assert not loaded.deep.bias.any()


def test_a_loaded_weight_needs_no_drawing_and_its_bias_may():
    layer = nn.Conv2d(8, 8, 3)
    layer.weight._is_hf_initialized = True
    before = layer.weight.clone()
    assert init_module(layer)
    assert torch.equal(layer.weight, before)
    assert not layer.bias.any()


@pytest.mark.statistical
def test_init_module_draws_what_initialize_draws():
    """A right draw fails once in 5 million."""
    one, same = nn.Conv2d(64, 64, 3), nn.Conv2d(64, 64, 3)
    hf.set_seed(0)
    init_module(one, scale="he")
    hf.set_seed(0)
    row = corrinit.initialize(same, method="correlated", scale="he").layers[0]
    assert torch.equal(one.weight, same.weight)
    assert_sampled(one.weight.detach(), row.correlation, (2 / (64 * 9)) ** 0.5)


def test_a_model_of_ones_own_learns():
    before, after = losses_of_one_step(Own(OwnConfig()), natural_images(20, 16))
    assert after < before


def test_memory_that_holds_zeros_by_chance_is_drawn():
    layer = nn.Conv2d(8, 8, 3)
    with torch.no_grad():
        layer.weight.zero_()
    assert init_module(layer)
    assert layer.weight.std() > 0.01


@pytest.mark.parametrize("module", [nn.LayerNorm(8), nn.Embedding(4, 8), nn.MultiheadAttention(8, 2)])
def test_modules_of_other_kinds_are_left_to_transformers(module):
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert not init_module(module)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_a_bad_option_is_refused_and_changes_nothing():
    layer = nn.Conv2d(8, 8, 3)
    before = layer.weight.clone()
    with pytest.raises(corrinit.CorrInitError, match="scale is 'small'"):
        init_module(layer, scale="small")
    assert torch.equal(layer.weight, before)


# the Trainer


class Images(torch.utils.data.Dataset):
    def __init__(self, count=32):
        self.images = natural_images(count, 32)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"pixel_values": self.images[index], "labels": index % 10}


def trainer(directory, make, **options):
    arguments = hf.TrainingArguments(
        output_dir=str(directory),
        max_steps=2,
        per_device_train_batch_size=16,
        learning_rate=1e-3,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        **{"save_strategy": "no", "logging_steps": 1, **options},
    )
    return hf.Trainer(model_init=make, args=arguments, train_dataset=Images())


def test_the_trainer_starts_from_the_weights_that_initialize_draws(tmp_path):
    starts = []

    class Start(hf.TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, **_):
            starts.append([p.detach().clone() for p in model.parameters()])

    made = trainer(tmp_path, model_init(resnet, seed=5, input_size=32))
    made.add_callback(Start())
    made.train()
    made.train()
    expected = resnet()
    corrinit.initialize(expected, seed=5, input_size=32)
    for start in starts:
        assert all(torch.equal(a, b) for a, b in zip(start, expected.parameters(), strict=True))
    assert len(starts) == 2


def test_without_a_seed_that_of_the_trainer_decides(tmp_path):
    models = [trainer(tmp_path, model_init(resnet), seed=seed).model for seed in (1, 1, 2)]
    assert equal(models[0], models[1])
    assert not equal(models[0], models[2])


def test_a_trial_is_passed_on():
    built = model_init(lambda trial: resnet(num_labels=trial["classes"]), seed=0)({"classes": 3})
    assert built.classifier[1].out_features == 3
    assert model_init(resnet)().classifier[1].out_features == 10


def test_a_checkpoint_of_the_trainer_wins(tmp_path):
    first = trainer(tmp_path, model_init(resnet, seed=0), save_strategy="steps", save_steps=1)
    first.train()
    states = []

    class Start(hf.TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, **_):
            states.append({name: value.clone() for name, value in model.state_dict().items()})

    second = trainer(tmp_path / "other", model_init(resnet, seed=1))
    second.add_callback(Start())
    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    saved = hf.ResNetForImageClassification.from_pretrained(tmp_path / "checkpoint-1").state_dict()
    assert all(torch.equal(saved[name], value) for name, value in states[0].items())


# another version, or none


@pytest.mark.parametrize(
    ("found", "says"), [(None, "needs transformers"), ("4.57.1", "4.57.1 does not mark")]
)
def test_one_line_says_what_to_install(found, says):
    code = f"""
import importlib.metadata as metadata
def version(name):
    if {found!r} is None:
        raise metadata.PackageNotFoundError(name)
    return {found!r}
metadata.version = version
import corrinit.transformers
corrinit.transformers.model_init(list)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = ended.stderr.splitlines()[-1]
    assert says in last
    assert last.endswith('pip install --upgrade "transformers>=5" [C001]')
