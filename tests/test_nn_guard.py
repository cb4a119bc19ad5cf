"""Layers, initialisers, optimizers and BERT on an array type that refuses every implicit way to NumPy, as CuPy does.

The guard computes with NumPy underneath, so everything equals the CPU's results.
"""

import numpy as np
import pytest
from minitorch.models.bert import BertConfig, BertForPreTraining, BertForSequenceClassification
from minitorch.models.transformer import Transformer, TransformerConfig

import minitorch
from minitorch import nn, optim
from tests.guard import GuardArray, guard


@pytest.fixture(scope="module", autouse=True)
def guard_device():
    minitorch.backend.register_namespace("guard", guard, GuardArray)


SMALL = BertConfig(
    vocab_size=60,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    max_position_embeddings=16,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)


def batch(device):
    rng = np.random.default_rng(0)
    ids, labels, mask = rng.integers(0, 60, (2, 8)), np.full((2, 8), -100), np.ones((2, 8), int)
    labels[0, 1:3], mask[1, 5:] = 5, 0
    arrays = {"input_ids": ids, "attention_mask": mask, "labels": labels, "next_sentence_label": np.array([0, 1])}
    return {name: minitorch.from_numpy(value).to(device) for name, value in arrays.items()}


@pytest.mark.parametrize(
    "name, options",
    [
        ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
        ("Adam", {"amsgrad": True}),
        ("AdamW", {"maximize": True}),
        ("RMSprop", {"centered": True, "momentum": 0.5}),
        ("Adagrad", {"lr_decay": 0.1}),
    ],
)
def test_bert_trains(name, options):
    results = []
    for device in ("cpu", "guard"):
        minitorch.manual_seed(0)
        model = BertForPreTraining(SMALL).to(device)
        assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
        optimizer = getattr(optim, name)(optim.weight_decay_groups(model, 0.01), **options)
        run = []
        for step in range(3):
            optimizer.zero_grad()
            out = model(**batch(device), output_attentions=step == 1)
            out.loss.backward()
            run.append(out.loss.item())
            run.append(nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
            optimizer.step()
            optimizer.load_state_dict(optimizer.state_dict())
        assert str(model.bert.pooler.dense.weight.device) == device
        assert all(
            str(t.device) == ("cpu" if n == "step" else device) for s in optimizer.state.values() for n, t in s.items()
        )
        results.append([*run, *model.bert.pooler.dense.weight.cpu().tolist()[0]])
    np.testing.assert_allclose(*results, rtol=1e-5)


def test_layers_and_models_run():
    minitorch.manual_seed(0)
    ids = minitorch.randint(0, 60, (2, 8)).to("guard")
    classifier = BertForSequenceClassification(SMALL).to("guard")
    classifier(ids, labels=minitorch.tensor([0, 1]).to("guard")).loss.backward()
    with pytest.raises(IndexError, match="out of bounds|out of range"):
        classifier(ids, labels=minitorch.tensor([0, 2]).to("guard")).loss.item()  # found late: at the next reading
    padding = minitorch.tensor([[False] * 6 + [True] * 2] * 2).to("guard")
    model = Transformer(TransformerConfig(vocab_size=60, causal=True)).to("guard")
    model(ids, padding).sum().backward()
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).to("guard")
    x = minitorch.randn(2, 8, 8)
    y = layer.eval()(x.to("guard"), src_key_padding_mask=padding)
    np.testing.assert_allclose(y.cpu().tolist(), layer.cpu()(x, src_key_padding_mask=padding.cpu()).tolist(), atol=1e-6)
    attention = nn.MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True).to("guard")
    x = x.to("guard")
    attention(x, x, x)[0].sum().backward()
    vector = nn.utils.parameters_to_vector(attention.parameters())
    nn.utils.vector_to_parameters(vector * 0, attention.parameters())
    assert attention.out_proj.weight.abs().sum().item() == 0 and str(vector.device) == "guard"
    nn.utils.clip_grad_value_(attention.parameters(), 0.1)


@pytest.mark.parametrize(
    "name, options",
    [
        ("uniform_", {}),
        ("normal_", {}),
        ("trunc_normal_", {}),
        ("trunc_normal_", {"a": 2.0, "b": 3.0}),
        ("orthogonal_", {}),
        ("xavier_uniform_", {}),
        ("kaiming_normal_", {}),
        ("eye_", {}),
        ("sparse_", {"sparsity": 0.3}),
        ("constant_", {"val": 2.0}),
    ],
)
def test_initialisers_run(name, options):
    w = getattr(nn.init, name)(minitorch.empty(20, 6).to("guard"), **options)
    assert str(w.device) == "guard" and np.isfinite(w.cpu().numpy()).all()
    if name == "orthogonal_":
        np.testing.assert_allclose((w.t() @ w).cpu().tolist(), np.eye(6), atol=1e-5)
    if name == "sparse_":
        assert (w == 0).sum(0).cpu().tolist() == [6] * 6


OPTIMIZERS = sorted(
    name for name, kind in vars(optim).items()
    if isinstance(kind, type) and issubclass(kind, optim.Optimizer) and kind is not optim.Optimizer
)  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_steps(name):
    results = []
    for device in ("cpu", "guard"):
        minitorch.manual_seed(0)
        model = nn.Linear(6, 4).to(device)
        x = minitorch.randn(5, 6).to(device)
        optimizer = getattr(optim, name)(model.parameters(), lr=0.01)

        def closure(model=model, x=x, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (model(x) - 1).square().mean()
            loss.backward()
            return loss

        for _ in range(4):
            optimizer.step(closure)
        results.append([p.detach().cpu().numpy() for p in model.parameters()])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
