"""models/: the BERT is Hugging Face's on the same weights, the encoder attends where it may, the MLP computes."""

import dataclasses
import math

import numpy as np
import pytest
from minitorch.models.bert import (
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)
from minitorch.models.mlp import MLP, MLPConfig
from minitorch.models.transformer import EncoderDecoder, Transformer, TransformerConfig

import minitorch
from minitorch import nn

SMALL = {
    "vocab_size": 60, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40,
    "max_position_embeddings": 16,
}  # fmt: skip


@pytest.fixture(scope="module")
def hf():
    pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    return pytest.importorskip("transformers", reason="compares with transformers, which is not installed")


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def batch(B=3, T=10, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, 60, (B, T))
    mask = np.ones((B, T), int)
    mask[1, 7:] = mask[2, 4:] = 0
    ids[mask == 0] = 0
    types = np.zeros((B, T), int)
    types[:, 5:] = 1
    labels = np.where(rng.random((B, T)) < 0.3, ids, -100)
    labels[0, 1] = ids[0, 1]
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}, labels, rng.integers(0, 2, B)


def to(lib, arrays):
    return {name: lib.from_numpy(np.array(value)) for name, value in arrays.items()}


def pair(torch, hf, ours, theirs, **options):
    """Both models with the same random weights, biases included, in evaluation mode."""
    config = {**SMALL, **options}
    torch.manual_seed(0)
    b = getattr(hf, theirs)(hf.BertConfig(**config, attn_implementation="eager"))
    with torch.no_grad():
        for p in b.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    a = ours(BertConfig(**config))
    a.load_state_dict(b.state_dict())  # strict
    return a.eval(), b.eval()


def close(a, b, atol=1e-5):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=atol, rtol=1e-5)


# --- BERT beside Hugging Face's --------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden_act", ["gelu", "relu", "gelu_new"])
@pytest.mark.parity
def test_hidden_states_equal_hugging_face(torch, hf, hidden_act):
    a, b = pair(torch, hf, BertModel, "BertModel", hidden_act=hidden_act)
    inputs, _, _ = batch()
    x = a(**to(minitorch, inputs), output_hidden_states=True, output_attentions=True)
    y = b(**to(torch, inputs), output_hidden_states=True, output_attentions=True)
    assert len(x.hidden_states) == len(y.hidden_states) == 3 and len(x.attentions) == len(y.attentions) == 2
    for p, q in zip((*x.hidden_states, *x.attentions, x.last_hidden_state, x.pooler_output),
                    (*y.hidden_states, *y.attentions, y.last_hidden_state, y.pooler_output)):  # fmt: skip
        close(p, q)
    fast = a(**to(minitorch, inputs))
    assert fast.attentions is None and fast.hidden_states is None
    valid = minitorch.from_numpy(inputs["attention_mask"].astype(bool))
    np.testing.assert_allclose(fast[0][valid].tolist(), x[0][valid].tolist(), atol=1e-5)
    ids = {"input_ids": inputs["input_ids"]}
    close(a(**to(minitorch, ids))[0], b(**to(torch, ids))[0])
    given = {**ids, "position_ids": np.arange(10)[::-1][None].copy()}
    close(a(**to(minitorch, given))[0], b(**to(torch, given))[0])
    embeds = np.random.default_rng(1).normal(size=(2, 5, 24)).astype(np.float32)
    close(a(inputs_embeds=minitorch.from_numpy(embeds))[0], b(inputs_embeds=torch.from_numpy(embeds))[0])


@pytest.mark.parity
def test_pretraining_equals_hugging_face(torch, hf):
    a, b = pair(torch, hf, BertForPreTraining, "BertForPreTraining")
    inputs, labels, following = batch()
    x, y = a(**to(minitorch, inputs)), b(**to(torch, inputs))
    assert x.loss is None and x.prediction_logits.shape == (3, 10, 60)
    close(x.prediction_logits, y.prediction_logits, 2e-5)
    close(x.seq_relationship_logits, y.seq_relationship_logits)
    assert x[0] is x.prediction_logits and x["seq_relationship_logits"] is x[1] and len(x.to_tuple()) == 2

    targets = {"labels": labels, "next_sentence_label": following}
    x, y = a(**to(minitorch, {**inputs, **targets})), b(**to(torch, {**inputs, **targets}))
    close(x.loss, y.loss)
    assert x.loss.item() == pytest.approx(x.mlm_loss.item() + x.nsp_loss.item())
    assert x.prediction_logits.shape == ((labels != -100).sum(), 60)
    close(x.prediction_logits, y.prediction_logits[torch.from_numpy(labels != -100)], 2e-5)
    x.loss.backward()
    y.loss.backward()
    names = dict(b.named_parameters())
    assert [name for name, _ in a.named_parameters()] == list(names)
    for name, p in a.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), names[name].grad.numpy(), atol=2e-5, err_msg=name)


@pytest.mark.parametrize("problem, labels, options", [
    (None, np.array([2, 0, 1]), {"num_labels": 3}),
    (None, np.array([0.5, -1.0, 2.0], np.float32), {"num_labels": 1}),
    ("multi_label_classification", np.array([[1, 0, 1], [0, 0, 1], [1, 1, 1]], np.float32), {"num_labels": 3}),
    ("regression", np.ones((3, 2), np.float32), {"num_labels": 2}),
])  # fmt: skip
@pytest.mark.parity
def test_classification_equals_hugging_face(torch, hf, problem, labels, options):
    a, b = pair(
        torch, hf, BertForSequenceClassification, "BertForSequenceClassification", problem_type=problem, **options
    )
    inputs, _, _ = batch()
    x, y = a(**to(minitorch, {**inputs, "labels": labels})), b(**to(torch, {**inputs, "labels": labels}))
    close(x.logits, y.logits)
    close(x.loss, y.loss)
    assert x.loss.shape == () and x[0] is x.loss and x[1] is x.logits


@pytest.mark.parity
def test_training_with_dropout_follows_hugging_face(torch, hf):
    """Five steps of AdamW with the same draws: the losses stay together."""
    if torch.backends.mkl.is_available() and intel():
        pytest.skip("on Intel processors PyTorch draws dropout with MKL, which gives other numbers")
    a, b = pair(torch, hf, BertForPreTraining, "BertForPreTraining")
    a.train(), b.train()
    losses = []
    for lib, model in ((minitorch, a), (torch, b)):
        lib.manual_seed(3)
        optimizer = lib.optim.AdamW(model.parameters(), lr=1e-3)
        run = []
        for step in range(5):
            inputs, labels, following = batch(seed=step)
            out = model(**to(lib, {**inputs, "labels": labels, "next_sentence_label": following}))
            optimizer.zero_grad()
            out.loss.backward()
            lib.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            run.append(out.loss.item())
        losses.append(run)
    np.testing.assert_allclose(*losses, atol=1e-4)


def intel():
    try:
        with open("/proc/cpuinfo") as info:
            return "GenuineIntel" in info.read()
    except OSError:
        return False


@pytest.mark.parity
def test_names_and_initialisation_equal_hugging_face(torch, hf):
    """The same keys in the state_dict, and from the same seed the same numbers."""
    for ours, theirs in (
        (BertModel, "BertModel"),
        (BertForPreTraining, "BertForPreTraining"),
        (BertForSequenceClassification, "BertForSequenceClassification"),
    ):
        torch.manual_seed(7)
        minitorch.manual_seed(7)
        b = getattr(hf, theirs)(hf.BertConfig(**SMALL)).state_dict()
        a = ours(BertConfig(**SMALL)).state_dict()
        assert set(a) == set(b)
        for name in b:
            np.testing.assert_allclose(a[name].numpy(), b[name].numpy(), atol=1e-7, err_msg=f"{theirs} {name}")


@pytest.mark.parity
def test_config_reads_hugging_faces(hf):
    theirs = hf.BertConfig(**SMALL, num_labels=5, hidden_dropout_prob=0.3, problem_type="regression")
    ours = BertConfig.from_dict(theirs.to_dict())
    assert ours == BertConfig(**SMALL, num_labels=5, hidden_dropout_prob=0.3, problem_type="regression")
    back = hf.BertConfig.from_dict(ours.to_dict())
    assert back.num_labels == 5 and back.hidden_size == 24 and back.problem_type == "regression"
    defaults = hf.BertConfig()
    for field in dataclasses.fields(BertConfig):
        assert getattr(BertConfig(), field.name) == getattr(defaults, field.name), field.name


# --- BERT without them -----------------------------------------------------------------------------------------------


def test_embeddings_are_tied():
    minitorch.manual_seed(0)
    model = BertForPreTraining(BertConfig(**SMALL))
    decoder = model.cls.predictions.decoder
    assert decoder.weight is model.bert.embeddings.word_embeddings.weight and decoder.bias is model.cls.predictions.bias
    state = model.state_dict()
    assert "cls.predictions.decoder.weight" in state and "cls.predictions.decoder.bias" in state
    assert not any("position_ids" in name for name in state)
    old = {**state, "bert.embeddings.position_ids": minitorch.arange(16).unsqueeze(0)}  # older checkpoints hold it
    model.load_state_dict(old)
    with pytest.raises(RuntimeError, match='Unexpected key.s. in state_dict: "bert.embeddings.other"'):
        model.load_state_dict({**state, "bert.embeddings.other": minitorch.zeros(1)})
    names = [name for name, _ in model.named_parameters()]
    assert len(names) == len(set(names)) and "cls.predictions.decoder.weight" not in names


def test_initialisation_by_the_config():
    minitorch.manual_seed(0)
    model = BertModel(BertConfig(**{**SMALL, "vocab_size": 2000, "initializer_range": 0.1}))
    words = model.embeddings.word_embeddings.weight
    assert abs(words[1:].std().item() - 0.1) < 2e-3 and words[0].abs().sum().item() == 0
    assert model.pooler.dense.bias.abs().sum().item() == 0
    assert model.encoder.layer[0].output.LayerNorm.weight.tolist() == [1.0] * 24
    assert (
        BertModel(BertConfig(**SMALL), add_pooling_layer=False)(
            minitorch.ones(1, 2, dtype=minitorch.int64)
        ).pooler_output
        is None
    )


def test_results_are_a_mapping_of_what_is_there():
    model = BertForSequenceClassification(BertConfig(**SMALL, num_labels=3)).eval()
    out = model(minitorch.tensor([[1, 2, 3]]), labels=minitorch.tensor([2]))
    assert list(out.keys()) == ["loss", "logits"] == [name for name, _ in out.items()]
    assert dict(out)["logits"] is out.logits is out["logits"] is out[1] is list(out.values())[1]
    loss, logits = out
    assert loss is out.loss and logits is out.logits
    assert "loss" in out and "attentions" not in out and len(out) == 2
    assert out.get("loss") is out.loss and out.get("attentions") is None is out.attentions
    for name in ("attentions", "keys"):
        with pytest.raises(KeyError, match=name):
            out[name]


@pytest.mark.parametrize("head", [
    BertModel, BertForPreTraining, BertForMaskedLM, BertForSequenceClassification, BertForTokenClassification,
    BertForQuestionAnswering,
])  # fmt: skip
def test_a_batch_may_be_empty_a_sequence_may_not(head):
    model = head(BertConfig(**SMALL)).eval()
    none, some = minitorch.zeros(0, 5, dtype=minitorch.int64), minitorch.zeros(2, 5, dtype=minitorch.int64)
    for options in ({}, {"output_attentions": True}):
        out = model(none, attention_mask=none, **options).to_tuple()
        for x, y in zip(out, model(some, **options).to_tuple()):
            if isinstance(x, minitorch.Tensor):
                assert x.shape == (0, *y.shape[1:])
    with pytest.raises(ValueError, match=r"BERT reads sequences of at least one token; got input of shape \(2, 0\)"):
        model(some[:, :0])


def test_answers_that_do_not_count():
    """An accumulated step weighs batches by count_labels: it is then the step of the whole batch."""
    minitorch.manual_seed(0)
    model = BertForQuestionAnswering(BertConfig(**SMALL)).eval()
    ids = minitorch.randint(60, (4, 5))
    ends = minitorch.tensor([[1], [5], [0], [9]])  # those of 5 and more are cut off
    batch = {"input_ids": ids, "start_positions": ends, "end_positions": ends}
    parts = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 1), slice(1, 4))]
    assert [model.count_labels(part) for part in (batch, *parts)] == [2, 1, 1]
    mean = sum(model(**part).loss.item() * model.count_labels(part) / 2 for part in parts)
    assert mean == pytest.approx(model(**batch).loss.item(), rel=1e-6)
    half = {"inputs_embeds": minitorch.zeros(4, 5, 24), "start_positions": ends * 0, "end_positions": ends}
    assert model.count_labels(half) == 2  # where it ends must be seen, too


def test_padding_does_not_matter():
    minitorch.manual_seed(0)
    model = BertModel(BertConfig(**SMALL)).eval()
    inputs, _, _ = batch()
    out = model(**to(minitorch, inputs)).last_hidden_state
    changed = {**inputs, "input_ids": np.where(inputs["attention_mask"] == 1, inputs["input_ids"], 7)}
    other = model(**to(minitorch, changed)).last_hidden_state
    valid = minitorch.from_numpy(inputs["attention_mask"].astype(bool))
    np.testing.assert_allclose(out[valid].tolist(), other[valid].tolist(), atol=1e-6)
    alone = model(
        minitorch.from_numpy(inputs["input_ids"][2:, :4]),
        token_type_ids=minitorch.from_numpy(inputs["token_type_ids"][2:, :4]),
    )
    np.testing.assert_allclose(out[2, :4].tolist(), alone[0][0].tolist(), atol=1e-5)


def test_dropout_stands_where_it_should():
    """The two ways to the attention draw alike; each probability changes the training pass on its own."""
    inputs = to(minitorch, batch()[0])

    def run(hidden, attention, **options):
        minitorch.manual_seed(0)
        config = BertConfig(**SMALL, hidden_dropout_prob=hidden, attention_probs_dropout_prob=attention)
        return BertModel(config)(**inputs, **options).last_hidden_state.detach().numpy()

    none = run(0.0, 0.0)
    for hidden, attention in ((0.3, 0.0), (0.0, 0.3)):
        assert np.abs(run(hidden, attention) - none).max() > 1e-3
    np.testing.assert_allclose(run(0.3, 0.3), run(0.3, 0.3, output_attentions=True), atol=1e-5)
    config = BertConfig(**SMALL, num_labels=4, classifier_dropout=0.5)
    assert BertForSequenceClassification(config).dropout.p == 0.5
    assert BertForSequenceClassification(BertConfig(**SMALL)).dropout.p == 0.1


def test_losses_start_at_chance_and_fall():
    minitorch.manual_seed(0)
    model = BertForPreTraining(BertConfig(**SMALL, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    inputs, labels, following = batch()
    arrays = to(minitorch, {**inputs, "labels": labels, "next_sentence_label": following})
    optimizer = minitorch.optim.AdamW(model.parameters(), lr=5e-3)
    first = model(**arrays)
    assert first.mlm_loss.item() == pytest.approx(math.log(60), abs=0.3)
    assert first.nsp_loss.item() == pytest.approx(math.log(2), abs=0.1)
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(**arrays).loss
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5
    only = model(**to(minitorch, {**inputs, "labels": labels}))
    assert only.loss.item() == only.mlm_loss.item() and only.nsp_loss is None
    only = model(**to(minitorch, {**inputs, "next_sentence_label": following}))
    assert only.loss.item() == only.nsp_loss.item() and only.prediction_logits.shape == (3, 10, 60)


def test_bert_errors():
    config = BertConfig(**SMALL)
    model, classifier = BertForPreTraining(config), BertForSequenceClassification(config)
    ids = minitorch.ones(2, 4, dtype=minitorch.int64)
    for call, error, words in (
        (
            lambda: BertConfig(hidden_size=10, num_attention_heads=3),
            ValueError,
            r"hidden size \(10\) is not a multiple",
        ),
        (lambda: BertConfig(hidden_act="elu"), ValueError, "hidden_act 'elu' is unknown; there are gelu"),
        (lambda: BertConfig(problem_type="x"), ValueError, "problem_type 'x' is unknown"),
        (
            lambda: BertConfig.from_dict({"model_type": "gpt2"}),
            ValueError,
            "model_type='gpt2' is not supported, only 'bert'",
        ),
        (lambda: BertConfig.from_dict({"position_embedding_type": "relative_key"}), ValueError, "only 'absolute'"),
        (lambda: BertConfig.from_dict({"is_decoder": True}), ValueError, "is_decoder=True is not supported"),
        (
            lambda: model(minitorch.ones(1, 17, dtype=minitorch.int64)),
            ValueError,
            "17 tokens, more than max_position_embeddings=16",
        ),
        (lambda: model(ids[0]), ValueError, r"BERT reads a batch of sequences, \(B, T\); got input of shape \(4,\)"),
        (lambda: model(), ValueError, "exactly one of input_ids or inputs_embeds"),
        (
            lambda: model(ids, attention_mask=ids[:, :2]),
            ValueError,
            r"attention_mask has shape \(2, 2\), the input has \(2, 4\)",
        ),
        (lambda: model(ids, token_type_ids=ids[:1]), ValueError, "token_type_ids has shape"),
        (lambda: model(ids * 60), IndexError, "60"),
        (
            lambda: model(ids, labels=ids * 60),
            ValueError,
            r"labels: 60 is out of range: 0 to 59 \(vocab_size=60\), or -100",
        ),
        (lambda: model(ids, labels=ids * -1), ValueError, "labels: -1 is out of range"),
        (lambda: model(ids, labels=ids[0]), ValueError, r"labels has shape \(4,\), expected \(2, 4\)"),
        (lambda: model(ids, labels=ids * -100), ValueError, "labels: every one is -100"),
        (
            lambda: model(ids, next_sentence_label=minitorch.tensor([0, 2])),
            ValueError,
            "next_sentence_label: 2 is out of range",
        ),
        (lambda: classifier(ids, labels=minitorch.tensor([0, 2])), ValueError, r"0 to 1 \(num_labels=2\)"),
        (lambda: classifier(ids, labels=minitorch.tensor([0.5])), ValueError, "do not fit logits of shape"),
    ):
        with pytest.raises(error, match=words):
            call()
    with pytest.warns(UserWarning, match="does not know new_thing"):
        BertConfig.from_dict({"new_thing": 1})


# --- the others ------------------------------------------------------------------------------------------------------


def test_transformer():
    minitorch.manual_seed(0)
    config = TransformerConfig(vocab_size=20, max_length=8, width=12, heads=3, layers=2, hidden=24)
    model = Transformer(config).eval()
    ids = minitorch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    y = model(ids)
    assert y.shape == (2, 5, 12)
    np.testing.assert_allclose(y.mean(-1).tolist(), np.zeros((2, 5)), atol=1e-5)  # the last layer is a norm
    padding = minitorch.tensor([[False] * 4 + [True]] * 2)
    changed = ids.clone()
    changed[:, -1] = 0
    np.testing.assert_allclose(model(ids, padding)[:, :4].tolist(), model(changed, padding)[:, :4].tolist(), atol=1e-6)
    assert (model(ids)[:, :4] - model(changed)[:, :4]).abs().max().item() > 1e-3
    causal = Transformer(dataclasses.replace(config, causal=True)).eval()
    assert np.isfinite(causal(ids).detach().numpy()).all()  # every token sees itself
    np.testing.assert_allclose(causal(ids)[:, :4].tolist(), causal(changed)[:, :4].tolist(), atol=1e-6)
    np.testing.assert_allclose(causal(ids)[:, :3].tolist(), causal(ids[:, :3]).tolist(), atol=1e-5)
    with pytest.raises(ValueError, match="9 tokens, more than max_length=8"):
        model(minitorch.zeros(1, 9, dtype=minitorch.int64))
    with pytest.raises(ValueError, match=r"width \(10\) has to be a multiple of heads \(4\)"):
        TransformerConfig(width=10)


def test_labels_that_a_translation_cannot_have():
    model = EncoderDecoder(TransformerConfig(vocab_size=20, width=12, heads=3, layers=1, hidden=24))
    source = minitorch.ones(2, 4, dtype=minitorch.int64)
    for labels, target, words in (
        (source * 99, None, r"labels: 99 is out of range: 0 to 19 \(vocab_size=20\), or -100"),
        (source * -5, None, "labels: -5 is out of range"),
        (source * 99, source, "labels: 99 is out of range"),
        (source * -100, None, "labels: every one is -100, so there is no token to predict"),
        (source, source[:, 1:], r"labels has shape \(2, 4\), expected \(2, 3\)"),
        (source[:1], None, r"labels has shape \(1, 4\), expected \(2, 4\)"),
        (source[0], None, r"labels has shape \(4,\), expected \(2, 4\)"),
    ):
        with pytest.raises(ValueError, match=words):
            model(source, labels=labels, target=target)


def test_the_written_out_encoder_is_nn_transformer_encoder():
    minitorch.manual_seed(0)
    config = TransformerConfig(vocab_size=20, max_length=8, width=12, heads=3, layers=1, hidden=24, dropout=0.0)
    model = Transformer(config)
    layer = nn.TransformerEncoderLayer(12, 3, 24, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    block = model.blocks[0]
    layer.load_state_dict({
        "self_attn.in_proj_weight": block.attention.qkv.weight, "self_attn.in_proj_bias": block.attention.qkv.bias,
        "self_attn.out_proj.weight": block.attention.out.weight, "self_attn.out_proj.bias": block.attention.out.bias,
        "linear1.weight": block.feed_forward[0].weight, "linear1.bias": block.feed_forward[0].bias,
        "linear2.weight": block.feed_forward[2].weight, "linear2.bias": block.feed_forward[2].bias,
        "norm1.weight": block.norm1.weight, "norm1.bias": block.norm1.bias,
        "norm2.weight": block.norm2.weight, "norm2.bias": block.norm2.bias,
    })  # fmt: skip
    x = minitorch.randn(2, 5, 12)
    padding = minitorch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    np.testing.assert_allclose(block(x, padding).tolist(), layer(x, src_key_padding_mask=padding).tolist(), atol=1e-5)


def test_mlp():
    minitorch.manual_seed(0)
    model = MLP(MLPConfig(input_size=12, hidden_sizes=(8, 6), output_size=3, activation="tanh", dropout=0.1))
    assert model(minitorch.ones(5, 3, 4)).shape == (5, 3)
    assert sum(p.numel() for p in model.parameters()) == 12 * 8 + 8 + 8 * 6 + 6 + 6 * 3 + 3
    linear = MLP(MLPConfig(input_size=2, hidden_sizes=(), output_size=1))
    assert [name for name, _ in linear.named_parameters()] == ["output.weight", "output.bias"]
    with pytest.raises(ValueError, match="an example has 5 numbers, input_size is 12"):
        model(minitorch.ones(2, 5))
    with pytest.raises(ValueError, match="activation 'elu' is unknown; there are relu, gelu, tanh, sigmoid"):
        MLPConfig(activation="elu")


def test_masked_positions_may_be_given():
    """The same loss and gradients as from (B, T) labels; places that fill up, with labels of -100, change nothing."""
    inputs, labels, follows = batch()
    model = BertForPreTraining(BertConfig(**SMALL, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    places = np.flatnonzero(labels.reshape(-1) != -100)
    given = np.concatenate([labels.reshape(-1)[places], [-100, -100]])
    results = []
    for extra in ({"labels": labels}, {"labels": given, "positions": np.concatenate([places, [0, 3]])}):
        model.zero_grad()
        out = model(**to(minitorch, inputs | extra), next_sentence_label=minitorch.tensor(follows))
        out.loss.backward()
        results.append((out.loss.item(), {name: p.grad.numpy().copy() for name, p in model.named_parameters()}))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    for name, expected in results[0][1].items():
        np.testing.assert_allclose(results[1][1][name], expected, rtol=1e-4, atol=1e-6, err_msg=name)
    with pytest.raises(ValueError, match="labels has shape"):
        model(**to(minitorch, inputs | {"labels": labels, "positions": places}))
