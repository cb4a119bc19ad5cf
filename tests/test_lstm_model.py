"""models/lstm.py: the numbers of torch.nn, padding that changes nothing, a state that goes on, texts that are generated."""

import numpy as np
import pytest
from minitorch.models.lstm import LSTMConfig, LSTMForCausalLM, LSTMForSequenceClassification

import minitorch
from minitorch.training import fit

LENGTHS = [4, 9, 1, 6]
SMALL = {"vocab_size": 30, "embedding_size": 7, "hidden_size": 5, "num_layers": 2}


@pytest.fixture(autouse=True)
def seed():
    minitorch.manual_seed(0)


def padded(lengths=LENGTHS, padding=0, more=0):
    """Tokens (B, T) and their mask; what stands at padding, and how much, is free."""
    T, rng = max(lengths), np.random.default_rng(0)
    ids, mask = rng.integers(0, 30, (len(lengths), T)), (np.arange(T) < np.array(lengths)[:, None]).astype(np.int64)
    ids = np.where(mask, ids, padding)
    ids, mask = np.pad(ids, ((0, 0), (0, more)), constant_values=padding), np.pad(mask, ((0, 0), (0, more)))
    return minitorch.tensor(ids), minitorch.tensor(mask)


def gradients(model):
    return [p.grad.numpy().copy() for p in model.parameters()]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", ["max", "mean", "last"])
def test_padding_changes_nothing(pooling, bidirectional):
    model = LSTMForSequenceClassification(
        LSTMConfig(**SMALL, pooling=pooling, bidirectional=bidirectional, num_labels=3)
    ).eval()
    ids, mask = padded()
    labels = minitorch.tensor([0, 2, 1, 1])
    out = model(ids, mask, labels)
    out.loss.backward()
    logits, grads = out.logits.detach().numpy(), gradients(model)
    for i, length in enumerate(LENGTHS):  # alone and without a mask
        np.testing.assert_allclose(logits[i], model(ids[i : i + 1, :length]).logits[0].detach().numpy(), atol=1e-6)
    model.zero_grad()
    again = model(*padded(padding=17, more=3), labels)
    again.loss.backward()
    np.testing.assert_allclose(again.logits.detach().numpy(), logits, atol=1e-6)
    for a, b in zip(gradients(model), grads):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("pooling", ["max", "mean", "last"])
def test_the_classifier_is_that_of_torch(pooling):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    size = {**SMALL, "embedding_size": 24, "hidden_size": 32}  # large enough for the fast path
    model = LSTMForSequenceClassification(
        LSTMConfig(**size, pooling=pooling, bidirectional=True, num_labels=3, dropout=0.0)
    )
    embedding = torch.nn.Embedding(30, 24)
    lstm = torch.nn.LSTM(24, 32, 2, batch_first=True, bidirectional=True)
    classifier = torch.nn.Linear(64, 3)
    for name, module in (("model.embedding.", embedding), ("model.lstm.", lstm), ("classifier.", classifier)):
        own = {k.removeprefix(name): v for k, v in model.state_dict().items() if k.startswith(name)}
        module.load_state_dict(
            {k: torch.from_numpy(v.numpy().copy()) for k, v in own.items()}
        )  # PyTorch's names: strict

    ids, mask = padded()
    labels = np.array([0, 2, 1, 1])
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        embedding(torch.from_numpy(ids.numpy())), torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False
    )
    y, (h, _) = lstm(packed)
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
    rows = [row[:length] for row, length in zip(y, LENGTHS)]
    pooled = {
        "max": lambda: torch.stack([row.max(0).values for row in rows]),
        "mean": lambda: torch.stack([row.mean(0) for row in rows]),
        "last": lambda: torch.cat([h[-2], h[-1]], 1),
    }[pooling]()
    logits = classifier(pooled)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
    loss.backward()

    out = model(ids, mask, minitorch.tensor(labels))
    out.loss.backward()
    np.testing.assert_allclose(out.logits.detach().numpy(), logits.detach().numpy(), atol=1e-5)
    assert out.loss.item() == pytest.approx(loss.item(), abs=1e-6)
    theirs = [p.grad.numpy() for module in (embedding, lstm, classifier) for p in module.parameters()]
    for a, b in zip(gradients(model), theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def language_model(**options):
    return LSTMForCausalLM(LSTMConfig(**{**SMALL, "hidden_size": 7, **options})).eval()


@pytest.mark.parametrize("tied", [True, False])
def test_a_language_model_predicts_the_token_that_follows(tied):
    model = language_model(tie_word_embeddings=tied)
    assert (model.lm_head.weight is model.model.embedding.weight) == tied
    ids, mask = padded()
    out = model(ids, mask, labels=ids)
    p = out.logits.log_softmax(-1).detach().numpy()
    terms = [-p[b, t, ids[b, t + 1].item()] for b, length in enumerate(LENGTHS) for t in range(length - 1)]
    assert out.loss.item() == pytest.approx(np.mean(terms), abs=1e-5)


def test_accumulated_batches_with_padding_are_one_large_batch():
    rows = [[1, 2, 3, 4, 5, 6], [2, 3, 4], [5, 6, 1], [4, 3]]

    def batch(rows):
        T = max(map(len, rows))
        ids = minitorch.tensor([row + [0] * (T - len(row)) for row in rows])
        mask = minitorch.tensor([[1] * len(row) + [0] * (T - len(row)) for row in rows])
        return {"input_ids": ids, "attention_mask": mask, "labels": ids}

    results = []
    for data, accumulate in (([batch(rows)], 1), ([batch(rows[:1] + rows[3:]), batch(rows[1:3])], 2)):
        minitorch.manual_seed(0)
        model = LSTMForCausalLM(LSTMConfig(vocab_size=9, embedding_size=6, hidden_size=6, dropout=0.0))
        assert sum(model.count_labels(part) for part in data) == 5 + 2 + 2 + 1
        optimizer = minitorch.optim.SGD(model.parameters(), lr=0.5)
        history = fit(model, data, epochs=2, optimizer=optimizer, accumulate=accumulate, progress=False)
        results.append(([record["loss"] for record in history], model.state_dict()))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-6)
    for name, value in results[0][1].items():
        np.testing.assert_allclose(results[1][1][name].numpy(), value.numpy(), rtol=1e-5, atol=1e-7)


def test_the_state_goes_on_where_the_call_before_ended():
    model = language_model()
    ids, _ = padded([8, 8])
    whole, first = model(ids), model(ids[:, :5])
    second = model(ids[:, 5:], state=first.state)
    np.testing.assert_allclose(second.logits.detach().numpy(), whole.logits[:, 5:].detach().numpy(), atol=1e-6)
    ids, mask = padded()  # after padding, too: the state is that after each text's last token
    alone = model(ids[2:3, :1]).state
    for a, b in zip(model(ids, mask).state, alone):
        np.testing.assert_allclose(a[:, 2].detach().numpy(), b[:, 0].detach().numpy(), atol=1e-6)


def test_generate():
    model = language_model()
    model.train()
    prompt, _ = padded([3, 3])
    greedy = model.generate(prompt, 6)
    assert model.training and greedy.shape == (2, 9) and (greedy[:, :3] == prompt).all()
    model.eval()
    for n in range(3, 9):  # without a carried state
        assert (model(greedy[:, :n]).logits[:, -1].argmax(-1) == greedy[:, n]).all()

    def draw(temperature):
        return model.generate(
            prompt, 6, do_sample=True, temperature=temperature, generator=minitorch.Generator().manual_seed(3)
        )

    assert (draw(1e-4) == greedy).all()
    assert (draw(5.0) == draw(5.0)).all() and not (draw(5.0) == greedy).all()
    beams = model.generate(prompt, 6, num_beams=3)

    def log_p(tokens):
        p = model(tokens).logits.log_softmax(-1)[:, 2:-1]
        return p.gather(2, tokens[:, 3:].unsqueeze(2)).sum((1, 2)).detach().numpy()

    assert (log_p(beams) >= log_p(greedy) - 1e-5).all()
    best = model.generate(prompt, 6, num_beams=3, num_return_sequences=2)
    assert best.shape == (4, 9) and (best[::2] == beams).all() and (best[1::2] != beams).any(1).all()
    assert model.generate(prompt, 6, do_sample=True, top_k=0, num_return_sequences=3).shape == (6, 9)


def test_it_learns_to_count():
    model = LSTMForCausalLM(LSTMConfig(vocab_size=6, embedding_size=16, hidden_size=16, dropout=0.0))
    optimizer = minitorch.optim.Adam(model.parameters(), lr=0.02)
    ids = minitorch.tensor([[(start + t) % 6 for t in range(13)] for start in range(6)])
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3
    assert model.generate(minitorch.tensor([[2, 3]]), 5).tolist() == [[2, 3, 4, 5, 0, 1, 2]]


@pytest.mark.parametrize("kind", [LSTMForCausalLM, LSTMForSequenceClassification])
def test_saved_and_loaded(kind, tmp_path):
    model = kind(LSTMConfig(**{**SMALL, "hidden_size": 7}, pooling="mean", id2label={0: "no", 1: "yes"})).eval()
    model.save_pretrained(tmp_path / "model")
    again = kind.from_pretrained(tmp_path / "model")
    assert again.config == model.config and again.config.label2id == {"no": 0, "yes": 1}
    assert again.state_dict().keys() == model.state_dict().keys()
    ids, mask = padded()
    assert (again(ids, mask).logits == model(ids, mask).logits).all()


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda m, ids, mask: m(ids, minitorch.flip(mask, (1,))),
            "ones and then zeros, at least one 1: pad on the right",
        ),
        (lambda m, ids, mask: m(ids, mask * 0), "at least one 1"),
        (lambda m, ids, mask: m(ids, mask[:, 1:]), r"attention_mask has shape \(4, 8\), the input has \(4, 9\)"),
        (lambda m, ids, mask: m(ids[0]), r"a batch of sequences, \(B, T\); got input of shape \(9,\)"),
        (lambda m, ids, mask: m(ids, mask, minitorch.tensor([0, 1, 2, 0])), "labels: 2 is out of range: 0 to 1"),
        (lambda m, ids, mask: LSTMConfig(pooling="sum"), "pooling 'sum' is unknown; there are max, mean, last"),
        (lambda m, ids, mask: LSTMForCausalLM(LSTMConfig(**SMALL)), "needs hidden_size = embedding_size, got 5 and 7"),
        (lambda m, ids, mask: language_model(bidirectional=True), "reads in one direction"),
        (lambda m, ids, mask: language_model().generate(ids, 3, temperature=0.5), "add do_sample=True"),
        (lambda m, ids, mask: language_model().generate(ids, 3, num_beams=0), "num_beams must be at least 1, got 0"),
        (lambda m, ids, mask: language_model().generate(ids, 3, num_return_sequences=2), "more than num_beams=1"),
        (lambda m, ids, mask: language_model()(ids[:, :1], labels=ids[:, :1]), "every one between the first of its"),
        (
            lambda m, ids, mask: language_model()(ids[2:3], mask[2:3], labels=ids[2:3]),  # one token, then padding
            "is -100, so there is no token to predict",
        ),
        (
            lambda m, ids, mask: language_model().generate(ids, 3, do_sample=True, temperature=0),
            "must be above 0, got 0",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(LSTMForSequenceClassification(LSTMConfig(**SMALL)), *padded())
