"""Every model of models/ on the array type that refuses each implicit way to NumPy: losses, gradients, generated tokens."""

import numpy as np
import pytest
from minitorch.models import bert, gpt, lstm, resnet, transformer

import minitorch
from tests.guard import GuardArray, guard

BERT = bert.BertConfig(
    vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
    max_position_embeddings=12, num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip
GPT2 = gpt.GPT2Config(
    vocab_size=40, n_positions=24, n_embd=16, n_layer=2, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
)
LSTM = lstm.LSTMConfig(vocab_size=40, embedding_size=12, hidden_size=12, num_layers=2, dropout=0.0, num_labels=3)


@pytest.fixture(scope="module", autouse=True)
def guard_device():
    minitorch.backend.register_namespace("guard", guard, GuardArray)


rng = np.random.default_rng(0)
IDS = rng.integers(4, 40, (3, 9))
MASK = np.ones((3, 9), int)
MASK[1, 6:] = 0
WORDS = np.where(rng.random((3, 9)) < 0.4, IDS, -100)
WORDS[0, 1] = 5
PLACES = np.flatnonzero(WORDS.reshape(-1) != -100)
STEPS = {
    "BertForPreTraining": (
        lambda: bert.BertForPreTraining(BERT),
        {
            "input_ids": IDS,
            "attention_mask": MASK,
            "positions": PLACES,
            "labels": WORDS.reshape(-1)[PLACES],
            "next_sentence_label": np.array([0, 1, 1]),
        },
    ),
    "BertForMaskedLM": (lambda: bert.BertForMaskedLM(BERT), {"input_ids": IDS, "labels": WORDS}),
    "BertForNextSentencePrediction": (
        lambda: bert.BertForNextSentencePrediction(BERT),
        {"input_ids": IDS, "labels": np.array([0, 1, 0])},
    ),
    "BertForSequenceClassification": (
        lambda: bert.BertForSequenceClassification(BERT),
        {"input_ids": IDS, "attention_mask": MASK, "labels": np.array([0, 1, 0])},
    ),
    "BertForTokenClassification": (
        lambda: bert.BertForTokenClassification(BERT),
        {"input_ids": IDS, "attention_mask": MASK, "labels": np.where(WORDS >= 0, WORDS % 2, -100)},
    ),
    "BertForQuestionAnswering": (
        lambda: bert.BertForQuestionAnswering(BERT),
        {"input_ids": IDS, "start_positions": np.array([1, 2, 3]), "end_positions": np.array([2, 20, 5])},
    ),
    "GPT2LMHeadModel": (lambda: gpt.GPT2LMHeadModel(GPT2), {"input_ids": IDS, "attention_mask": MASK, "labels": IDS}),
    "LSTMForCausalLM": (lambda: lstm.LSTMForCausalLM(LSTM), {"input_ids": IDS, "labels": IDS}),
    "LSTMForSequenceClassification": (
        lambda: lstm.LSTMForSequenceClassification(LSTM),
        {"input_ids": IDS, "labels": np.array([0, 1, 2])},
    ),
}


def on(device, arrays):
    return {name: minitorch.from_numpy(np.array(value)).to(device) for name, value in arrays.items()}


@pytest.mark.parametrize("name", STEPS)
def test_loss_and_gradients(name):
    make, arrays = STEPS[name]
    results = []
    for device in ("cpu", "guard"):
        minitorch.manual_seed(0)
        model = make().to(device)
        loss = model(**on(device, arrays)).loss
        loss.backward()
        results.append(
            (loss.item(), {n: p.grad.cpu().numpy() for n, p in model.named_parameters() if p.grad is not None})
        )
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-5)
    for n, expected in results[0][1].items():
        np.testing.assert_allclose(results[1][1][n], expected, rtol=1e-3, atol=1e-5, err_msg=n)


def test_images():
    results = []
    for device in ("cpu", "guard"):
        minitorch.manual_seed(0)
        model = resnet.ResNet(resnet.ResNetConfig(resnet.BasicBlock, (1, 1, 1, 1), num_classes=3)).double().to(device)
        x = minitorch.from_numpy(np.random.default_rng(1).standard_normal((2, 3, 32, 32))).to(device)
        loss = minitorch.nn.functional.cross_entropy(model(x), minitorch.tensor([0, 2]).to(device))
        loss.backward()
        results.append((loss.item(), model.conv1.weight.grad.cpu().numpy()))
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-4)
    np.testing.assert_allclose(results[1][1], results[0][1], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "options", [{}, {"num_beams": 3}, {"num_beams": 2, "use_cache": False}], ids=["greedy", "beams", "no cache"]
)
def test_translation(options):
    results = []
    for device in ("cpu", "guard"):
        minitorch.manual_seed(0)
        config = transformer.TransformerConfig(
            vocab_size=17, max_length=12, width=16, heads=2, layers=1, hidden=24, dropout=0.0
        )
        model = transformer.EncoderDecoder(config).to(device)
        source = minitorch.from_numpy(IDS % 13 + 4).to(device)
        results.append(model.eval().generate(source, max_new_tokens=6, **options).cpu().tolist())
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "options",
    [{}, {"num_beams": 3}, {"do_sample": True, "top_k": 5, "top_p": 0.9, "temperature": 0.7}],
    ids=["greedy", "beams", "sampled"],
)
@pytest.mark.parametrize(
    "make", [lambda: gpt.GPT2LMHeadModel(GPT2), lambda: lstm.LSTMForCausalLM(LSTM)], ids=["GPT2", "LSTM"]
)
def test_text_is_continued(make, options):
    results = []
    for device in ("cpu", "guard"):
        minitorch.manual_seed(0)
        model = make().to(device).eval()
        ids = minitorch.from_numpy(IDS[:2, :4].copy()).to(device)
        draws = minitorch.Generator(device).manual_seed(1)  # the default stream is one of a GPU only for "cuda"
        results.append(model.generate(ids, 5, **options, generator=draws).cpu().numpy())
    assert results[0].shape == results[1].shape
    if not options.get("do_sample"):
        np.testing.assert_array_equal(results[0], results[1])
