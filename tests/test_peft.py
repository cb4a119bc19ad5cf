"""minitorch.peft: each method trains what it should, learns, is saved and loaded, and its files are Hugging Face peft's."""

import copy
import json
import re

import numpy as np
import pytest
from minitorch.models.bert import BertConfig, BertForSequenceClassification, BertForTokenClassification
from minitorch.models.gpt import GPT2Config, GPT2LMHeadModel

import minitorch
from minitorch import nn, optim
from minitorch.peft import (
    AdaLoraConfig,
    AdapterConfig,
    BitFitConfig,
    FrozenConfig,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    get_peft_model,
    layer_of,
    layerwise_groups,
)
from minitorch.peft.recipes import METHODS, apply_method
from minitorch.serialization import load, load_safetensors, save, save_safetensors
from minitorch.training import fit

SIZES = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 32, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
GPT_SIZES = {
    "vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "resid_pdrop": 0.0, "embd_pdrop": 0.0,
    "attn_pdrop": 0.0, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
LAYER = "bert.encoder.layer.{}."
HEAD = {"classifier.modules_to_save.weight", "classifier.modules_to_save.bias"}

CONFIGS = {
    "lora": lambda: LoraConfig(r=4),
    "lora embeddings": lambda: LoraConfig(r=4, target_modules=["key", "word_embeddings"], lora_alpha=16),
    "lora bias": lambda: LoraConfig(r=4, bias="lora_only", use_rslora=True),
    "adalora": lambda: AdaLoraConfig(init_r=6, target_r=2, total_step=12, tfinal=2),
    "adapter": lambda: AdapterConfig(bottleneck=4),
    "prefix": lambda: PrefixTuningConfig(num_virtual_tokens=5),
    "prefix network": lambda: PrefixTuningConfig(num_virtual_tokens=5, prefix_projection=True, encoder_hidden_size=8),
    "bitfit": lambda: BitFitConfig(),
    "frozen": lambda: FrozenConfig(),
    "frozen below": lambda: FrozenConfig(layers=1),
}


def bert(kind=BertForSequenceClassification, **changes):
    minitorch.manual_seed(0)
    model = kind(BertConfig(**{**SIZES, **changes}))
    with minitorch.no_grad():
        for parameter in model.parameters():  # larger than BERT's, so that differences show
            if parameter.ndim > 1:
                parameter.mul_(5)
    return model.eval()


def batch(labels=True):
    ids = np.random.default_rng(0).integers(1, 50, (6, 8))
    mask = np.ones((6, 8), np.int64)
    mask[1, 5:] = mask[4, 3:] = 0
    made = {"input_ids": minitorch.tensor(ids), "attention_mask": minitorch.tensor(mask)}
    return {**made, "labels": minitorch.tensor([0, 1, 1, 0, 1, 0])} if labels else made


@minitorch.no_grad()
def outputs(model):
    was_training = model.training
    model.eval()
    logits = model(**batch(labels=False)).logits.numpy()
    model.train(was_training)
    return logits


def train(model, steps=12, lr=2e-2):
    optimizer = optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    model.train()
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(**batch()).loss
        loss.backward()
        optimizer.step()
        if hasattr(model, "update_and_allocate"):
            model.update_and_allocate()
        losses.append(loss.item())
    model.eval()
    return losses


def learning(model):
    return {name.removeprefix("base_model.model.") for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", CONFIGS)
def test_what_the_base_model_began_with_random_numbers_is_saved_with_the_adapter(name, tmp_path):
    BertForTokenClassification(BertConfig(**SIZES)).save_pretrained(tmp_path / "base")  # without a pooler

    def base(seed):
        minitorch.manual_seed(seed)
        with pytest.warns(UserWarning, match="begin with random numbers: bert.pooler.dense"):
            return BertForSequenceClassification.from_pretrained(tmp_path / "base")

    model = get_peft_model(base(1), CONFIGS[name]())
    train(model, steps=2)
    model.save_pretrained(tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(base(2), tmp_path / "adapter")
    np.testing.assert_allclose(outputs(loaded), outputs(model), atol=1e-6)


def test_a_whole_model_takes_an_adapters_place(tmp_path):
    model = get_peft_model(bert(), LoraConfig())
    model.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="held an adapter: adapter_.* is adapter_.*replaced now"):
        model.merge_and_unload().save_pretrained(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "config.json", "model.safetensors", "adapter_config.json.replaced", "adapter_model.safetensors.replaced",
    }  # fmt: skip


@pytest.mark.parametrize("leave", ["unload", "merge_and_unload"])
def test_what_is_unloaded_does_not_replace_what_was_saved(leave, tmp_path):
    model = get_peft_model(bert(), LoraConfig())
    model.save_pretrained(tmp_path)
    saved = (tmp_path / "adapter_model.safetensors").read_bytes()
    getattr(model, leave)()
    with pytest.raises(RuntimeError, match="there is nothing left to save"):
        model.save_pretrained(tmp_path)
    assert (tmp_path / "adapter_model.safetensors").read_bytes() == saved


@pytest.mark.parametrize("name", CONFIGS)
def test_a_method_learns_is_saved_and_leaves_the_rest_alone(name, tmp_path):
    base = bert()
    before = {key: value.detach().clone() for key, value in base.state_dict().items()}
    model = get_peft_model(base, CONFIGS[name]())
    assert not model.training, "the mode stays"
    if "adapter" not in name and "prefix" not in name:
        np.testing.assert_allclose(outputs(model), outputs(bert()), atol=1e-6)  # at first nothing is changed
    frozen = {key: p.detach().clone() for key, p in model.named_parameters() if not p.requires_grad}
    losses = train(model)
    assert losses[-1] < losses[0] - 0.02
    for key, parameter in model.named_parameters():
        if key in frozen:
            assert parameter.grad is None and minitorch.equal(parameter, frozen[key]), key
        elif "query" not in key:  # the middle of a prefix or of a budget may not move
            assert parameter.grad is not None, key

    trained = outputs(model)
    model.save_pretrained(tmp_path / "adapter")
    assert type(PeftConfig.from_pretrained(tmp_path / "adapter")) is type(CONFIGS[name]())
    loaded = PeftModel.from_pretrained(bert(), tmp_path / "adapter")
    np.testing.assert_allclose(outputs(loaded), trained, atol=1e-6)
    assert not learning(loaded) and not loaded.training
    if name != "prefix network":
        again = PeftModel.from_pretrained(bert(), tmp_path / "adapter", is_trainable=True)
        assert learning(again) == learning(model) and again.training
        np.testing.assert_allclose(outputs(again), trained, atol=1e-6)

    if any(one in name for one in ("bias", "adapter", "bitfit", "frozen")):
        with pytest.raises(NotImplementedError, match="cannot be switched off"), model.disable_adapter():
            pass
    else:
        with model.disable_adapter():
            np.testing.assert_array_equal(outputs(model), outputs(bert()))
        np.testing.assert_array_equal(outputs(model), trained)
        whole = loaded.unload()
        assert type(whole) is BertForSequenceClassification and list(whole.state_dict()) == list(before)
        np.testing.assert_allclose(outputs(whole), outputs(bert()), atol=1e-6)
        assert all(parameter.requires_grad for parameter in whole.parameters())


EXPECTED = {
    "lora": r"attention\.self\.(query|value)\.lora_[AB]\.weight",
    "lora embeddings": r"attention\.self\.key\.lora_[AB]\.weight|word_embeddings\.lora_embedding_[AB]",
    "lora bias": r"attention\.self\.(query|value)\.(lora_[AB]\.weight|base_layer\.bias)",
    "adalora": r"attention\.self\.(query|value)\.lora_[AEB]",
    "adapter": r"output\.dense\.adapter_(up|down)\.(weight|bias)|LayerNorm\.(weight|bias)",
    "prefix": r"prompt_encoder\.embedding\.weight",
    "prefix network": r"prompt_encoder\.(embedding\.weight|transform\.[02]\.(weight|bias))",
    "bitfit": r"\.bias",
    "frozen": r"pooler\.dense\.(weight|bias)",
    "frozen below": r"layer\.1\..*|pooler\.dense\.(weight|bias)",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_exactly_the_method_s_parameters_learn(name):
    model = get_peft_model(bert(), CONFIGS[name]())
    names = {key.removeprefix("base_model.model.") for key, _ in model.named_parameters()}
    expected = {key for key in names if re.search(f"({EXPECTED[name]})$", key) and ".original_module." not in key}
    assert learning(model) == expected | HEAD and expected - HEAD
    if name == "bitfit":
        some = get_peft_model(bert(), BitFitConfig(bias_modules=["query", "intermediate.dense"]))
        assert len(learning(some)) == 2 * 2 + 2


def test_counts_and_their_line(capsys):
    model = get_peft_model(bert(), LoraConfig(r=4, bias="lora_only"))
    model.print_trainable_parameters()
    some, every = 2 * 2 * 4 * (16 + 16) + 4 * 16 + 34, sum(p.numel() for p in bert().parameters()) + 512 + 34
    assert (
        capsys.readouterr().out
        == f"trainable params: {some:,} || all params: {every:,} || trainable%: {100 * some / every:.4f}\n"
    )
    assert model.get_nb_trainable_parameters() == (some, every)


@pytest.mark.parametrize("name", ["lora", "lora embeddings", "lora bias", "adalora"])
def test_merging_keeps_the_outputs(name):
    model = get_peft_model(bert(), CONFIGS[name]())
    train(model, steps=6)
    weights = {key: p.detach().clone() for key, p in model.named_parameters()}
    separate = outputs(model)
    model.merge_adapter()
    assert any(not minitorch.equal(p, weights[key]) for key, p in model.named_parameters())
    np.testing.assert_allclose(outputs(model), separate, atol=1e-6)
    model.train()
    with pytest.raises(RuntimeError, match="merged into the weights, so training would not reach it"):
        model(**batch())
    model.eval()
    with pytest.raises(RuntimeError, match="merged already"):
        model.merge_adapter()
    model.unmerge_adapter()
    for key, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.detach().numpy(), weights[key].numpy(), atol=1e-6)
    with pytest.raises(RuntimeError, match="not merged"):
        model.unmerge_adapter()
    whole = model.merge_and_unload()
    assert type(whole) is BertForSequenceClassification and list(whole.state_dict()) == list(bert().state_dict())
    np.testing.assert_allclose(outputs(whole), separate, atol=1e-6)


def test_lora_is_its_equation():
    """Values and gradients of one layer, written out in NumPy, for both layouts of the weight."""
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(5, 6)), rng.normal(size=(5, 3))
    from minitorch.models.gpt import Conv1D

    for base in (nn.Linear(6, 3), Conv1D(3, 6)):
        base = base.double()
        model = get_peft_model(
            nn.Sequential(base), LoraConfig(r=2, lora_alpha=6, target_modules=["0"], init_lora_weights=False)
        )
        layer = model.get_base_model()[0]
        A, B = (one.weight.detach().numpy() for one in (layer.lora_A, layer.lora_B))
        W = base.weight.detach().numpy() if isinstance(base, nn.Linear) else base.weight.detach().numpy().T
        s, u = 6 / 2, x @ A.T
        x_ = minitorch.tensor(x, requires_grad=True)
        y = model(x_)
        np.testing.assert_allclose(y.detach().numpy(), x @ W.T + base.bias.detach().numpy() + s * u @ B.T)
        y.backward(minitorch.tensor(dy))
        du = s * dy @ B
        np.testing.assert_allclose(layer.lora_B.weight.grad.numpy(), s * dy.T @ u)
        np.testing.assert_allclose(layer.lora_A.weight.grad.numpy(), du.T @ x)
        np.testing.assert_allclose(x_.grad.numpy(), dy @ W + du @ A)
        assert base.weight.grad is None and base.bias.grad is None
        model.merge_adapter()
        np.testing.assert_allclose(model.eval()(x_).detach().numpy(), y.detach().numpy(), rtol=1e-6, atol=1e-6)


def test_options_of_lora():
    def layers(**options):
        model = get_peft_model(bert(), LoraConfig(**options)).get_base_model()
        return {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}

    assert {name.rpartition(".")[2] for name in layers(target_modules="all-linear")} == {
        "query",
        "key",
        "value",
        "dense",
    }
    assert list(layers(target_modules=r".*\.1\..*\.(query|key)")) == [
        LAYER.format(1) + f"attention.self.{n}" for n in ("query", "key")
    ]
    assert list(layers(target_modules=["query"], layers_to_transform=[1])) == [LAYER.format(1) + "attention.self.query"]
    found = layers(
        target_modules=["dense"],
        exclude_modules=["pooler.dense"],
        rank_pattern={r"layer\.1.*dense": 3},
        alpha_pattern={"output.dense": 24},
    )
    assert [(layer.r, layer.scaling) for name, layer in found.items()] == [
        (8, 3),
        (8, 1),
        (8, 3),
        (3, 8),
        (3, 8 / 3),
        (3, 8),
    ]
    assert layers(use_rslora=True, r=4, lora_alpha=6)[LAYER.format(0) + "attention.self.query"].scaling == 3
    dropped = get_peft_model(bert(), LoraConfig(lora_dropout=0.5, init_lora_weights=False)).train()
    assert not np.allclose(dropped(**batch()).logits.detach().numpy(), dropped(**batch()).logits.detach().numpy())
    tagger = get_peft_model(bert(BertForTokenClassification), LoraConfig())
    assert HEAD <= learning(tagger) and tagger.peft_config["default"].task_type == "TOKEN_CLS"
    assert not HEAD & learning(get_peft_model(bert(), LoraConfig(modules_to_save=[])))
    whole = learning(get_peft_model(bert(), LoraConfig(target_modules=["dense"], modules_to_save=["pooler"])))
    assert {name for name in whole if "pooler" in name} == {
        f"bert.pooler.modules_to_save.dense.{n}" for n in ("weight", "bias")
    }


def test_recipes_train_less_than_two_percent_and_fit_moves_adalora_s_ranks():
    every = 22_713_986  # MiniLM's; what learns does not depend on the vocabulary, which has half of them
    for method in set(METHODS) - {"full"}:
        with nn.init.no_draws():
            model = bert(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
        some = apply_method(model, method, steps=100).get_nb_trainable_parameters()[0]
        assert 0 < some < 0.02 * every, method
    assert apply_method(model, "full", steps=100) is model
    model = get_peft_model(bert(), CONFIGS["adalora"]())
    fit(model, [batch()] * 4, epochs=3, lr=1e-2, progress=False)
    assert model.base_model.step.item() == 12 and sum(model.ranks().values()) == 2 * len(model.ranks())
    with pytest.raises(ValueError, match="method 'lora2' is unknown; there are full"):
        apply_method(bert(), "lora2", 10)


# ---- AdaLoRA ---------------------------------------------------------------------------------------------------------


def test_adalora_s_importance_and_budget_are_the_paper_s():
    """Smoothed sensitivity times uncertainty and the cubic schedule, again in NumPy, step by step."""
    config = AdaLoraConfig(init_r=6, target_r=2, total_step=20, tinit=3, tfinal=4, deltaT=2, beta1=0.8, beta2=0.7)
    model = get_peft_model(bert(), config)
    layers = list(model.base_model.layers().values())
    optimizer = optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-2)
    model.train()
    I = [[0.0] * 3 for _ in layers]
    U = [[0.0] * 3 for _ in layers]
    for step in range(1, 21):
        optimizer.zero_grad()
        model(**batch()).loss.backward()
        optimizer.step()
        parts = [[w for w in (layer.lora_A, layer.lora_E, layer.lora_B)] for layer in layers]
        E = np.concatenate([layer.lora_E.detach().numpy()[:, 0] for layer in layers])
        if step < 16:
            S = []
            for A_E_B, Ik, Uk in zip(parts, I, U):
                for j, w in enumerate(A_E_B):
                    now = np.abs(w.detach().numpy() * w.grad.numpy())
                    Ik[j] = 0.8 * Ik[j] + 0.2 * now
                    Uk[j] = 0.7 * Uk[j] + 0.3 * np.abs(now - Ik[j])
                a, e, b = (i * u for i, u in zip(Ik, Uk))
                S.append(e[:, 0] + a.mean(1) + b.mean(0))
            S = np.concatenate(S)
        model.update_and_allocate(step)
        np.testing.assert_allclose(
            np.concatenate([layer.importance().numpy() for layer in layers]), S, rtol=1e-4, atol=1e-12
        )
        b = 24 if step <= 3 else int(8 + 16 * (1 - min(1, (step - 3) / 13)) ** 3)
        assert model.base_model.budget(step) == b
        kept = np.concatenate([layer.kept.numpy() for layer in layers])
        after = np.concatenate([layer.lora_E.detach().numpy()[:, 0] for layer in layers])
        if step == 16 or 3 < step < 16 and step % 2 == 0:
            np.testing.assert_array_equal(np.flatnonzero(kept), np.sort(np.argsort(-S, kind="stable")[:b]))
            np.testing.assert_array_equal(after, np.where(kept, E, 0))
        elif step < 16:
            np.testing.assert_array_equal(after, E)
    assert kept.sum() == 8 == np.count_nonzero(after) and sum(model.ranks().values()) == 8


def test_adalora_s_regulariser_and_its_resume(tmp_path):
    model = get_peft_model(bert(), AdaLoraConfig(init_r=4, target_r=2, total_step=12))
    layers, rng = model.base_model.layers().values(), np.random.default_rng(0)
    terms = []
    for layer in layers:
        A, B = layer.lora_A.detach().numpy(), layer.lora_B.detach().numpy()
        np.testing.assert_allclose(A @ A.T, np.eye(4), atol=1e-6)
        A *= rng.uniform(0.5, 2)  # in place
        terms += [np.linalg.norm(A @ A.T - np.eye(4)) ** 2, np.linalg.norm(B.T @ B - np.eye(4)) ** 2]
    extra = model.train()(**batch()).loss - model.eval()(**batch()).loss
    assert extra.item() == pytest.approx(0.5 * np.mean(terms), rel=1e-5)
    train(model, steps=6)
    save(model.state_dict(), tmp_path / "state")  # what a checkpoint holds is enough to go on
    other = get_peft_model(bert(), AdaLoraConfig(init_r=4, target_r=2, total_step=12))
    other.load_state_dict(load(tmp_path / "state"))
    for one in (model, other):
        train(one, steps=6)
    assert model.ranks() == other.ranks() and sum(model.ranks().values()) == 8
    np.testing.assert_array_equal(outputs(model), outputs(other))
    with pytest.raises(RuntimeError, match="call it after backward"):
        get_peft_model(bert(), AdaLoraConfig(total_step=5)).update_and_allocate(1)


# ---- prefix, GPT-2, layers -------------------------------------------------------------------------------------------


def test_a_prefix_is_more_keys_and_values_that_no_mask_hides():
    """One attention by hand: the prefix's positions take part in every softmax, padding does not."""
    model = get_peft_model(bert(), PrefixTuningConfig(num_virtual_tokens=3))
    plain = bert().bert.encoder.layer[0].attention.self
    attention = model.get_base_model().bert.encoder.layer[0].attention.self
    seen = []
    attention.register_forward_hook(
        lambda module, args, kwargs, out: seen.append((args, kwargs, out)), with_kwargs=True
    )
    out = model(**batch(), output_attentions=True)
    _, given, (y, weights) = seen[0]
    x, mask = given["x"], given["mask"].numpy()
    table = model.base_model.prompt_encoder().detach().numpy()  # (3, 2 L C)
    assert mask.shape == (6, 1, 1, 3 + 8) and mask[..., :3].all() and (mask[1, 0, 0, 3:] == [1] * 5 + [0] * 3).all()
    q, k, v = (one(x).detach().numpy() for one in (plain.query, plain.key, plain.value))
    for b in range(6):
        K, V = np.concatenate([table[:, :16], k[b]]), np.concatenate([table[:, 16:32], v[b]])
        for h in range(2):
            d = slice(8 * h, 8 * h + 8)
            scores = np.where(mask[b, 0], q[b][:, d] @ K[:, d].T / np.sqrt(8), -np.inf)
            a = np.exp(scores - scores.max(1, keepdims=True))
            a /= a.sum(1, keepdims=True)
            np.testing.assert_allclose(weights[b, h].detach().numpy(), a, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(y[b].detach().numpy()[:, d], a @ V[:, d], rtol=1e-4, atol=1e-5)
    assert out.attentions[0].shape == (6, 2, 8, 11)
    without = outputs(model)
    hidden = {
        **batch(labels=False),
        "input_ids": minitorch.where(batch()["attention_mask"] == 0, 7, batch()["input_ids"]),
    }
    np.testing.assert_allclose(model(**hidden).logits.detach().numpy(), without, atol=1e-6)
    with pytest.raises(ValueError, match=r"texts of 30 tokens and a prefix of 3 .* truncate the texts to 29"):
        model(minitorch.ones((1, 30), dtype=minitorch.int64))


@pytest.mark.parametrize(
    "config", [LoraConfig(), PrefixTuningConfig(num_virtual_tokens=4), AdapterConfig(bottleneck=3), BitFitConfig()]
)
def test_gpt2_learns_and_writes_with_a_cache(config):
    minitorch.manual_seed(0)
    base = GPT2LMHeadModel(GPT2Config(**GPT_SIZES)).eval()
    model = get_peft_model(base, config)
    optimizer = optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    text = batch()["input_ids"]
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = model.train()(input_ids=text, labels=text).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    model.eval()
    mask = minitorch.ones_like(text)
    mask[0, :3] = 0
    for given in (None, mask):
        with_cache = model.generate(text, 5, eos_token_id=[], attention_mask=given)
        assert minitorch.equal(
            with_cache, model.generate(text, 5, eos_token_id=[], attention_mask=given, use_cache=False)
        )


def test_depths_and_rates():
    names = [
        "bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.output.dense.bias",
        "base_model.model.bert.encoder.layer.11.x.y", "transformer.wte.weight", "transformer.h.3.attn.c_attn.weight",
        "bert.pooler.dense.weight", "classifier.bias", "transformer.ln_f.bias",
    ]  # fmt: skip
    assert [layer_of(name, 12) for name in names] == [0, 1, 12, 0, 4, 13, 13, 13]
    assert [layer_of(name) for name in (*names[-3:], "base_model.prompt_encoder.embedding.weight")] == [None] * 4
    with pytest.raises(ValueError, match="in layer 11, but there are only 6"):
        layer_of(names[2], 6)
    model = bert()
    rates = {id(p): group["lr"] for group in layerwise_groups(model, 1.0, 0.5) for p in group["params"]}
    by_name = {name: rates[id(p)] for name, p in model.named_parameters()}
    assert by_name["classifier.weight"] == by_name["bert.pooler.dense.bias"] == 1.0
    assert by_name[LAYER.format(1) + "output.dense.weight"] == 0.5
    assert by_name[LAYER.format(0) + "output.dense.weight"] == 0.25
    assert by_name["bert.embeddings.LayerNorm.bias"] == 0.125


def test_frozen_layers_keep_nothing_for_a_gradient():
    model = get_peft_model(bert(), FrozenConfig())
    states = model.train()(**batch(), output_hidden_states=True).hidden_states
    assert not any(state.requires_grad for state in states)
    model = get_peft_model(bert(), FrozenConfig(layers=1))
    states = model.train()(**batch(), output_hidden_states=True).hidden_states
    assert [state.requires_grad for state in states] == [False, False, True]


def test_the_recipes_fit_models_of_other_kinds():
    """A head that is the matrix of the embeddings stays; biases have other names in an LSTM; an MLP has no layers to count."""
    from minitorch.models.lstm import LSTMConfig, LSTMForSequenceClassification
    from minitorch.models.mlp import MLP, MLPConfig
    from minitorch.models.transformer import EncoderDecoder, TransformerConfig

    def learns(model, method, whole=None):
        model = apply_method(model, method, 10, whole)
        names = {name.removeprefix("base_model.model.") for name in learning(model)}
        assert type(model.merge_and_unload()) in (GPT2LMHeadModel, EncoderDecoder, LSTMForSequenceClassification, MLP)
        return names

    tied = GPT2LMHeadModel(GPT2Config(**GPT_SIZES))
    assert {re.sub(r"(h\.\d|ln_f)\..*", r"\1", name) for name in learns(tied, "frozen")} == {
        "transformer.h.1", "transformer.ln_f",
    }  # fmt: skip
    sizes = {"vocab_size": 20, "width": 8, "heads": 2, "hidden": 8}
    both = learns(EncoderDecoder(TransformerConfig(**sizes)), "frozen")
    assert {re.sub(r"(blocks\.\d|norm)\..*", r"\1", name) for name in both} == {
        "encoder.blocks.1", "encoder.norm", "decoder.blocks.1", "decoder.norm",
    }  # fmt: skip
    model = EncoderDecoder(TransformerConfig(**sizes))
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)} - {"head"}
    changed = {name.rpartition(".lora_")[0] for name in learns(model, "lora")}
    assert changed == linear and len(linear) == 2 * (4 + 4 + 3)
    lstm = LSTMForSequenceClassification(LSTMConfig(20, 4, 4, bidirectional=True))
    cells = {f"model.lstm.bias_{gate}_l0{way}" for gate in ("ih", "hh") for way in ("", "_reverse")}
    assert learns(lstm, "bitfit") == HEAD | cells and learns(lstm, "frozen") == HEAD
    mlp, output = MLP(MLPConfig(4, (3,), 2)), {f"output.modules_to_save.{name}" for name in ("weight", "bias")}
    assert learns(mlp, "frozen", ["output"]) == output
    assert learns(mlp, "lora", ["output"]) == output | {"hidden.0.lora_A.weight", "hidden.0.lora_B.weight"}
    with pytest.raises(ValueError, match="MLP has no layers that can be counted.*: say with modules_to_save"):
        get_peft_model(mlp, FrozenConfig())


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_what_matches_nothing_is_refused_with_what_there_is():
    there = r"there are .*bert\.encoder\.layer\.\*\.attention\.self\.query.*bert\.pooler\.dense"
    for wanted in (
        ["q_proj"],
        ["query", "valeu"],
        r".*\.q_proj",
        ["classifier"],
        [LAYER.format(7) + "attention.self.query"],
    ):
        base = bert()
        with pytest.raises(ValueError, match=there) as caught:
            get_peft_model(base, LoraConfig(target_modules=wanted))
        assert "'query'" not in str(caught.value).split(";")[0], "only what did not match is named"
        assert all(p.requires_grad for p in base.parameters()), "the model is as it was"
    for config, words in (
        (LoraConfig(target_modules=["LayerNorm"]), "is a LayerNorm, which LoraConfig cannot change"),
        (LoraConfig(target_modules="(query"), "not a regular expression"),
        (
            LoraConfig(modules_to_save=["clasifier"]),
            "modules_to_save: no module of .* is 'clasifier'; there are .*classifier",
        ),
        (LoraConfig(layers_to_transform=[5]), r"\[5\], but the layers that match are \[0, 1\]"),
        (AdapterConfig(target_modules=["nope"]), there),
        (AdaLoraConfig(total_step=5, target_modules=["nope"]), there),
        (BitFitConfig(bias_modules=["query", "nope"]), "matches 'nope'; there are"),
        (FrozenConfig(layers=3), "layers=3, but BertForSequenceClassification has 2"),
        (PrefixTuningConfig(num_virtual_tokens=32), "leaves no room"),
        (PrefixTuningConfig(token_dim=8), "token_dim=8, but BertForSequenceClassification has 16"),
    ):
        with pytest.raises(ValueError, match=words):
            get_peft_model(bert(), config)
    with pytest.raises(ValueError, match="no default target_modules"):
        get_peft_model(nn.Sequential(nn.Linear(2, 2)), LoraConfig())
    with pytest.raises(ValueError, match="prefix tuning needs"):
        get_peft_model(nn.Sequential(nn.Linear(2, 2)), PrefixTuningConfig())
    with pytest.raises(TypeError, match="expected a config"):
        get_peft_model(bert(), {"r": 8})


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: LoraConfig(r=0), "r must be a whole number of at least 1"),
        (lambda: LoraConfig(r="8"), "r must be a whole number"),
        (lambda: LoraConfig(lora_dropout=2), "lora_dropout must be a number between 0 and 1"),
        (lambda: LoraConfig(bias="some"), "bias must be one of 'none', 'all', 'lora_only'"),
        (lambda: LoraConfig(target_modules=[1]), "target_modules must be a list of names"),
        (lambda: LoraConfig(target_modules=[]), r"target_modules=\[\] would change no module; None means the defaults"),
        (lambda: AdapterConfig(target_modules=()), r"target_modules=\[\] would change no module"),
        (lambda: LoraConfig(layers_to_transform=[]), r"layers_to_transform=\[\] would change no layer; None means all"),
        (lambda: AdaLoraConfig(total_step=9, layers_to_transform=()), "would change no layer"),
        (lambda: LoraConfig(init_lora_weights="pissa"), "init_lora_weights must be one of"),
        (lambda: AdaLoraConfig(), "total_step, the optimizer steps"),
        (lambda: AdaLoraConfig(total_step=9, target_r=20), "must not be above init_r=12"),
        (lambda: AdaLoraConfig(total_step=9, tinit=5, tfinal=4), "leave no step"),
        (lambda: AdapterConfig(bottleneck=0), "bottleneck must be"),
        (lambda: PrefixTuningConfig(num_virtual_tokens=0), "num_virtual_tokens must be"),
        (lambda: FrozenConfig(layers=-1), "layers must be"),
        (lambda: BitFitConfig(bias_modules="query"), "bias_modules must be a list"),
    ],
)
def test_settings_are_checked(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_two_adapters_merging_what_cannot_be_and_tied_weights_are_refused():
    model = get_peft_model(bert(), LoraConfig())
    for again in (model, model.get_base_model()):
        with pytest.raises(ValueError, match="has an adapter already; merge_and_unload"):
            get_peft_model(again, LoraConfig())
    model.merge_adapter()
    with pytest.raises(RuntimeError, match="call unmerge_adapter.. before disable_adapter"), model.disable_adapter():
        pass
    for config in (AdapterConfig(), PrefixTuningConfig()):
        with pytest.raises(NotImplementedError, match="cannot be merged: "):
            get_peft_model(bert(), config).merge_and_unload()
    assert type(get_peft_model(bert(), BitFitConfig()).merge_and_unload()) is BertForSequenceClassification
    gpt = get_peft_model(GPT2LMHeadModel(GPT2Config(**GPT_SIZES)), LoraConfig(target_modules=["wte"]))
    with pytest.raises(ValueError, match="another module has the same weight"):
        gpt.merge_adapter()


@pytest.mark.parametrize("position, dtype", [(-1, minitorch.float32), (0, minitorch.float32), (-1, minitorch.float16)])
def test_a_merge_that_is_refused_changes_no_layer(position, dtype):
    model = get_peft_model(bert().to(dtype), LoraConfig(init_lora_weights=False))
    layers = [p for name, p in model.named_parameters() if "lora_A" in name]
    assert len(layers) == 4
    broken = float("nan") if dtype == minitorch.float32 else 6e4  # 8 * 6e4 is more than float16 holds
    with minitorch.no_grad():
        layers[position].fill_(broken)
        [p for name, p in model.named_parameters() if "lora_B" in name][position].fill_(1.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(2):
        with pytest.raises(ValueError, match=r"layer\.[01]\..*: the merged weight is not finite; nothing was merged"):
            model.merge_adapter(safe_merge=True)
    with pytest.raises(RuntimeError, match="not merged"):
        model.unmerge_adapter()
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(parameter.detach().float().numpy(), before[name].float().numpy())
    with minitorch.no_grad():
        layers[position].fill_(0.1)
    model.merge_adapter(safe_merge=True)
    assert model.base_model.merged()


@pytest.mark.parametrize("step", ["merge_adapter", "unmerge_adapter"])
def test_merging_that_fails_on_the_way_changes_no_layer(step, monkeypatch):
    model = get_peft_model(bert(), LoraConfig(init_lora_weights=False))
    if step == "unmerge_adapter":
        model.merge_adapter()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    last = list(model.base_model.delta_layers().values())[-1]

    def no_memory():
        raise MemoryError

    monkeypatch.setattr(last, "delta_weight", no_memory)
    with pytest.raises(MemoryError):
        getattr(model, step)()
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(parameter.detach().numpy(), before[name].numpy())
    monkeypatch.undo()
    getattr(model, step)()
    assert model.base_model.merged() == (step == "merge_adapter")


def test_excluded_modules_are_left_out_though_target_modules_names_them():
    def changed(**settings):
        model = get_peft_model(bert(), LoraConfig(**settings))
        return {name.rpartition(".")[2] for name in model.base_model.delta_layers()}, len(
            model.base_model.delta_layers()
        )

    assert changed(target_modules=["query", "value"], exclude_modules=["value"]) == ({"query"}, 2)
    assert changed(exclude_modules=["value"]) == ({"query"}, 2)
    assert changed(target_modules=["query", "value"], exclude_modules=r".*\.0\..*") == ({"query", "value"}, 2)
    assert changed(target_modules=["query"], exclude_modules=["key"]) == ({"query"}, 2)
    assert changed(target_modules=r".*\.(query|key)", exclude_modules=["query"]) == ({"key"}, 2)
    with pytest.raises(ValueError, match="target_modules: no module of .* matches 'nope'"):
        changed(target_modules=["query", "nope"], exclude_modules=["query"])
    for wanted in (["query"], r".*\.query"):
        with pytest.raises(
            ValueError, match=r"exclude_modules: \['query'\] leaves out all that target_modules matches, bert"
        ):
            changed(target_modules=wanted, exclude_modules=["query"])


def test_an_adapter_that_is_a_pickle_is_refused_with_the_way_out(tmp_path):
    """The lines that the message holds do convert it."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors.torch")
    folder = tmp_path / "adapter"
    model = get_peft_model(bert(), LoraConfig(init_lora_weights=False))
    model.save_pretrained(folder)
    tensors = load_safetensors(folder / "adapter_model.safetensors")
    torch.save({name: torch.tensor(value.tolist()) for name, value in tensors.items()}, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    base = bert()
    names = list(base.state_dict())
    with pytest.raises(
        ValueError, match="adapter_model.bin only, a pickle of .* minitorch reads none. Convert it"
    ) as refused:
        PeftModel.from_pretrained(base, folder)
    assert list(base.state_dict()) == names
    lines = str(refused.value).split("\n\n")[1]
    exec("\n".join(line.removeprefix("    ") for line in lines.splitlines()))
    np.testing.assert_allclose(outputs(PeftModel.from_pretrained(base, folder)), outputs(model), atol=1e-6)


def test_files_that_do_not_fit_are_refused(tmp_path):
    folder = tmp_path / "adapter"
    get_peft_model(bert(), LoraConfig(r=4)).save_pretrained(folder)
    settings, tensors = (
        json.loads((folder / "adapter_config.json").read_text()),
        load_safetensors(folder / "adapter_model.safetensors"),
    )

    def refused(words, base=None, settings=settings, tensors=tensors, error=ValueError):
        (folder / "adapter_config.json").write_text(json.dumps(settings))
        save_safetensors(tensors, folder / "adapter_model.safetensors")
        base = bert() if base is None else base
        names = list(base.state_dict())
        with pytest.raises(error, match=words):
            PeftModel.from_pretrained(base, folder)
        assert list(base.state_dict()) == names and all(p.requires_grad for p in base.parameters())

    refused(
        r"lora_A.weight: \(4, 16\) in the file, \(8, 16\) in the model: the rank, r=8\?", settings={**settings, "r": 8}
    )
    refused(r"\(4, 16\) in the file, \(4, 32\) in the model", base=bert(hidden_size=32))
    refused("layer.2.*: not in the file", base=bert(num_hidden_layers=3))
    refused("layer.1.*: in the file, but not in the model", base=bert(num_hidden_layers=1))
    refused(r"classifier.weight: \(2, 16\) in the file, \(3, 16\) in the model", base=bert(num_labels=3))
    refused(
        "query.lora_A.weight: not in the file", tensors={k: v for k, v in tensors.items() if "query.lora_A" not in k}
    )
    refused("minitorch does not have use_dora=True", settings={**settings, "use_dora": True})
    refused("adapter_config.json: r must be a whole number", settings={**settings, "r": -1})
    refused("r=1000000000 in adapter_config.json, but no tensor", settings={**settings, "r": 10**9})
    refused("'query'.=1000000000 in adapter_config.json, but", settings={**settings, "rank_pattern": {"query": 10**9}})
    refused("no module of .* matches 'nope'", settings={**settings, "target_modules": ["query", "nope"]})
    refused("peft_type 'IA3' is unknown; minitorch has LORA", settings={**settings, "peft_type": "IA3"})
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    (folder / "adapter_model.safetensors").write_bytes(b"\0" * 7)
    with pytest.raises(RuntimeError, match="truncated"):
        PeftModel.from_pretrained(bert(), folder)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="has no adapter_model.safetensors"):
        PeftModel.from_pretrained(bert(), folder)
    with pytest.raises(NotADirectoryError, match="is a file"):
        get_peft_model(bert(), LoraConfig()).save_pretrained(folder / "adapter_config.json")


# ---- Hugging Face's peft ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hf():
    torch = pytest.importorskip("torch")
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    ours = bert()
    made = transformers.BertForSequenceClassification(transformers.BertConfig(**SIZES)).eval()
    made.load_state_dict({name: torch.tensor(value.detach().numpy()) for name, value in ours.state_dict().items()})

    def run(model):
        with torch.no_grad():
            return model.eval()(
                **{name: torch.tensor(value.numpy()) for name, value in batch(labels=False).items()}
            ).logits.numpy()

    return torch, peft, lambda: copy.deepcopy(made), run


HF = {
    "lora": (
        "LoraConfig",
        {"r": 4, "target_modules": ["query", "dense"], "bias": "lora_only", "lora_alpha": 12, "use_rslora": True},
    ),
    "lora all": (
        "LoraConfig",
        {"r": 4, "target_modules": ["key", "word_embeddings"], "bias": "all", "rank_pattern": {"key": 2}},
    ),
    "adalora": ("AdaLoraConfig", {"init_r": 4, "target_r": 2, "total_step": 8, "target_modules": ["query", "value"]}),
    "prefix": ("PrefixTuningConfig", {"num_virtual_tokens": 5}),
    "prefix network": (
        "PrefixTuningConfig",
        {"num_virtual_tokens": 5, "prefix_projection": True, "encoder_hidden_size": 8},
    ),
}


@pytest.mark.parametrize("name", HF)
@pytest.mark.filterwarnings("ignore")
def test_files_go_both_ways(name, hf, tmp_path):
    torch, peft, make, run = hf
    kind, settings = HF[name]
    torch.manual_seed(0)
    theirs = peft.get_peft_model(make(), getattr(peft, kind)(task_type="SEQ_CLS", **settings))
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    if name == "adalora":  # two of four triplets stay, not the same ones everywhere
        keys = [n for n, _ in theirs.base_model.model.named_parameters() if "lora_E" in n]
        pattern = {key: [i == j or j == 3 and i > 0 for j in range(4)] for i, key in enumerate(keys)}
        theirs.base_model.peft_config["default"].rank_pattern = pattern
        theirs.base_model.rankallocator.mask_using_rank_pattern(theirs.base_model.model, pattern)
    theirs.save_pretrained(tmp_path / "theirs")
    read = PeftModel.from_pretrained(bert(), tmp_path / "theirs")
    np.testing.assert_allclose(outputs(read), run(theirs), atol=2e-5)
    assert abs(outputs(read) - outputs(bert())).max() > 1e-2

    made = get_peft_model(bert(), globals()[kind](**settings))
    if "adalora" not in name:
        assert made.get_nb_trainable_parameters() == theirs.get_nb_trainable_parameters()
    train(made, steps=8)
    for number, model in enumerate((made, read)):
        model.save_pretrained(tmp_path / f"ours{number}")
        back = peft.PeftModel.from_pretrained(make(), tmp_path / f"ours{number}")
        np.testing.assert_allclose(run(back), outputs(model), atol=2e-5)
    own, other = (load_safetensors(tmp_path / one / "adapter_model.safetensors") for one in ("ours1", "theirs"))
    assert set(own) == {key for key in other if "original_module" not in key and "modules_to_save" not in key}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kind, settings", [("LoraConfig", {"r": 3}), ("PrefixTuningConfig", {"num_virtual_tokens": 4})]
)
def test_gpt2_s_files_go_both_ways(kind, settings, hf, tmp_path):
    """Conv1D's weights are transposed, and the prefix comes as a cache."""
    torch, peft, _, run = hf
    import transformers

    minitorch.manual_seed(0)
    ours = GPT2LMHeadModel(GPT2Config(**GPT_SIZES)).eval()
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT_SIZES))
    theirs.load_state_dict({name: torch.tensor(v.detach().numpy()) for name, v in ours.state_dict().items()})
    theirs = peft.get_peft_model(theirs, getattr(peft, kind)(task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    theirs.save_pretrained(tmp_path / "theirs")
    read = PeftModel.from_pretrained(copy.deepcopy(ours), tmp_path / "theirs")
    np.testing.assert_allclose(outputs(read), run(theirs), atol=2e-5)
    assert abs(outputs(read) - outputs(ours)).max() > 1e-2
    read.save_pretrained(tmp_path / "ours")
    own, other = (load_safetensors(tmp_path / one / "adapter_model.safetensors") for one in ("ours", "theirs"))
    assert own.keys() == other.keys() and all(minitorch.equal(own[key], other[key]) for key in own)
