"""Attention, recurrent layers and embeddings, drawn where the caller wants it."""

import pytest
import torch
from torch import nn

import corrinit
from corrinit import CorrInitError

pytestmark = pytest.mark.filterwarnings("error::corrinit.CorrInitWarning")


class Reader(nn.Module):
    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.embedding = nn.Embedding(50, 32, padding_idx=0)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.recurrent = nn.LSTM(32, 16, batch_first=True)
        self.scores = nn.Linear(16, 7)
        self.to(dtype)

    def forward(self, tokens):
        read = self.embedding(tokens)
        read = read + self.attention(read, read, read, need_weights=False)[0]
        return self.scores(self.recurrent(read)[0][:, -1])


def draw(model, seed=0, **options):
    return corrinit.initialize(model, seed=seed, **{"others": "draw", "recipe": "kaiming", **options})


def weights(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def changed(model, before):
    return {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}


def test_they_are_kept_unless_asked_for():
    model = Reader()
    before = weights(model)
    corrinit.initialize(model, seed=0, recipe="kaiming")
    assert changed(model, before) == {"attention.out_proj.weight", "scores.weight", "scores.bias"}


def test_the_plan_says_what_is_drawn():
    rows = {row.name: row for row in draw(Reader()).layers}
    assert rows["embedding"].reason == "vectors of length 1"
    assert rows["attention"].reason == "each projection Xavier"
    assert rows["recurrent"].reason == "orthogonal recurrent gates, the others Xavier; forget bias 1"
    assert {rows[name].action for name in ("embedding", "attention", "recurrent")} == {"draw"}


@pytest.mark.parametrize(
    ("layer", "gates"),
    [
        (nn.LSTM(12, 16, num_layers=2, bidirectional=True), 4),
        (nn.GRU(12, 16), 3),
        (nn.RNN(12, 16, bias=False), 1),
        (nn.LSTMCell(12, 16), 4),
        (nn.GRUCell(12, 16), 3),
    ],
    ids=["LSTM", "GRU", "RNN", "LSTMCell", "GRUCell"],
)
def test_recurrent_gates_are_orthogonal_and_cells_remember(layer, gates):
    before = weights(layer)
    draw(layer)
    for name, value in layer.named_parameters():
        parts = value.detach().chunk(gates)
        if name.startswith("weight_hh"):
            for part in parts:
                torch.testing.assert_close(part @ part.T, torch.eye(16), atol=1e-5, rtol=0)
        elif name.startswith("weight_ih"):
            assert not torch.equal(value, before[name])
        else:
            forgets = isinstance(layer, (nn.LSTM, nn.LSTMCell)) and name.startswith("bias_ih")
            expected = [1.0 if forgets and gate == 1 else 0.0 for gate in range(gates)]
            assert [part.unique().tolist() for part in parts] == [[value] for value in expected]


@pytest.mark.statistical
@pytest.mark.parametrize("options", [{}, {"kdim": 64, "vdim": 96}], ids=["stacked", "apart"])
def test_each_projection_has_the_variance_of_xavier(options):
    """From 8,192 weights or more: one of three variances is 5 standard errors away in 2e-6 of all draws."""
    layer = nn.MultiheadAttention(128, 4, **options)
    draw(layer)
    apart = [layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight]
    for matrix in apart if options else layer.in_proj_weight.chunk(3):
        expected = 2 / sum(matrix.shape)
        assert matrix.var().item() == pytest.approx(expected, rel=5 * (2 / matrix.numel()) ** 0.5)
    assert not layer.in_proj_bias.any()


def test_the_state_of_a_projecting_lstm_is_mapped_orthogonally_too():
    layer = nn.LSTM(12, 16, proj_size=5)
    draw(layer)
    for gate in layer.weight_hh_l0.detach().chunk(4):
        torch.testing.assert_close(gate.T @ gate, torch.eye(5), atol=1e-5, rtol=0)
    assert layer.weight_hr_l0.std().item() == pytest.approx((2 / 21) ** 0.5, rel=0.3)


def test_vectors_have_length_1_and_that_of_the_padding_is_0():
    model = Reader()
    draw(model)
    lengths = model.embedding.weight.detach().norm(dim=1)
    assert lengths[0] == 0
    assert lengths[1:].square().mean().item() == pytest.approx(1, rel=0.2)


def test_what_was_set_on_purpose_is_kept():
    model = Reader()
    with torch.no_grad():
        model.recurrent.bias_ih_l0[16:32] = 3  # another forget bias
        model.attention.in_proj_weight[64:] = 0  # no values at first
    model.recurrent.weight_hh_l0.requires_grad_(False)
    model.embedding.weight._is_hf_initialized = True
    before = weights(model)
    plan = draw(model)
    assert (model.recurrent.bias_ih_l0[16:32] == 3).all()
    assert not model.attention.in_proj_weight[64:].any()
    assert model.attention.in_proj_weight[:64].any(1).all()
    assert not {"recurrent.weight_hh_l0", "embedding.weight"} & changed(model, before)
    assert next(row for row in plan.layers if row.name == "embedding").method == "keep"


def test_excluded_layers_are_kept():
    model = Reader()
    before = weights(model)
    draw(model, exclude=["recurrent", "embedding"])
    assert not {name for name in changed(model, before) if name.startswith(("recurrent", "embedding"))}


def test_weights_that_are_computed_are_kept():
    layer = nn.utils.parametrizations.weight_norm(nn.LSTM(4, 8), "weight_hh_l0")
    before = weights(layer)
    with pytest.warns(corrinit.CorrInitWarning, match="nothing is drawn"):
        plan = draw(layer)
    assert plan.layers[0].method == "keep"
    assert not changed(layer, before)


def test_a_tied_embedding_is_drawn_once():
    model = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 9, bias=False))
    model[1].weight = model[0].weight
    plan = draw(model)
    assert [row.reason for row in plan.layers] == ["vectors of length 1", "tied to 0"]
    twice = nn.Sequential(nn.Embedding(9, 6), nn.Embedding(9, 6))
    twice[1].weight = twice[0].weight
    assert [row.method for row in draw(twice).layers] == ["sequence", "keep"]


def test_equal_layers_of_a_model_get_weights_of_their_own():
    model = nn.Sequential(nn.GRUCell(8, 8), nn.GRUCell(8, 8))
    draw(model)
    assert not torch.equal(model[0].weight_hh, model[1].weight_hh)
    assert not torch.equal(*model[0].weight_hh.chunk(3)[:2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_seed_alone_decides_in_every_precision_and_wrapper(dtype):
    model, same, other = Reader(), Reader(dtype), Reader()
    state = torch.random.get_rng_state()
    draw(model)
    draw(nn.DataParallel(same))
    draw(other, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in model.named_parameters():
        assert torch.equal(value.to(dtype), same.get_parameter(name)), name
        assert "bias" in name or not torch.equal(value, other.get_parameter(name))


def test_a_model_on_the_meta_device_gets_the_same_weights_module_by_module():
    model = Reader()
    draw(model, others="draw")
    with torch.device("meta"):
        late = Reader()
    initialize_module = corrinit.plan(late, recipe="kaiming", others="draw").param_init_fn(
        late, seed=0, device="cpu"
    )
    for module in late.modules():
        initialize_module(module)
    for name, value in model.named_parameters():
        assert torch.equal(value, late.get_parameter(name)), name


def test_sharded_layers_get_their_part(single_process_mesh):
    from torch.distributed.fsdp import fully_shard

    model, sharded = Reader(), Reader()
    draw(model)
    fully_shard(sharded, mesh=single_process_mesh)
    draw(sharded)
    for name, value in model.named_parameters():
        assert torch.equal(value, sharded.get_parameter(name).full_tensor()), name


def test_a_plan_for_another_model_is_refused_and_nothing_is_changed():
    plan = corrinit.plan(Reader(), recipe="kaiming", others="draw")
    other = Reader()
    other.recurrent = nn.Identity()
    before = weights(other)
    with pytest.raises(CorrInitError, match="layer recurrent: planned as LSTM, the model has no such layer"):
        plan.apply(other, seed=0)
    assert not changed(other, before)


def test_a_model_with_gates_that_remember_learns():
    model = Reader()
    draw(model)
    tokens = torch.randint(1, 50, (64, 10), generator=torch.Generator().manual_seed(0))
    optimizer, losses = torch.optim.SGD(model.parameters(), 0.5), []
    for _ in range(2):
        loss = nn.functional.cross_entropy(model(tokens), tokens[:, 0] % 7)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
