"""The training loop: what it promises about accumulation, resuming, stopping, and batches of texts."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minitorch
from minitorch import nn, optim
from minitorch.nn import functional as F
from minitorch.peft import LoraConfig, get_peft_model
from minitorch.text.batches import LengthBatches, batches, pad, text_batches, widen
from minitorch.training import average_of_runs, fit, parameter_groups, predict, r_drop
from minitorch.utils.data import DataLoader


class Output:
    def __init__(self, loss, logits):
        self.loss, self.logits = loss, logits


class Tagger(nn.Module):
    """Tags tokens by themselves: (B, T) -> (B, T, 3)."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.embeddings = nn.Embedding(20, 8)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, 3)

    def forward(self, input_ids, attention_mask=None, labels=None):
        logits = self.head(self.dropout(self.embeddings(input_ids)))
        return Output(None if labels is None else F.cross_entropy(logits.flatten(0, 1), labels.flatten()), logits)


def examples(count=23, seed=0):
    rng = np.random.default_rng(seed)
    rows = [rng.integers(1, 20, rng.integers(1, 9)) for _ in range(count)]
    return [{"input_ids": row.tolist(), "labels": (row % 3).tolist()} for row in rows]


def weights(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def train(data, make=Tagger, **options):
    minitorch.manual_seed(0)
    model = make()
    optimizer = options.pop("optimizer", optim.AdamW)(model.parameters(), lr=0.05)
    options = {"epochs": 3, "progress": False} | options
    schedule = optim.lr_scheduler.linear_warmup_decay(optimizer, 4, 40)
    history = fit(model, data, optimizer=optimizer, schedule=schedule, **options)
    return model, history


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_accumulated_batches_are_one_large_batch_though_their_label_counts_differ(parts):
    data = examples(10)
    data[0]["labels"] = [-100] * len(data[0]["labels"])  # this one teaches nothing, and must not count
    bounds = np.linspace(0, len(data), parts + 1).astype(int)
    # Adam would hide a wrong factor, SGD does not
    small, first = train(
        [pad(data[a:b]) for a, b in zip(bounds, bounds[1:])], optimizer=optim.SGD, accumulate=parts, clip=None
    )
    large, second = train([pad(data)], optimizer=optim.SGD, clip=None)
    for name, value in weights(large).items():
        np.testing.assert_allclose(weights(small)[name], value, rtol=1e-5, atol=1e-7)
    assert [r["loss"] for r in first] == pytest.approx([r["loss"] for r in second], rel=1e-5)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("stop_at", [1, 4, 6, 11])
def test_a_training_that_is_resumed_ends_with_the_same_numbers(tmp_path, stop_at):
    def make():
        return Tagger(dropout=0.3)

    def loader():
        return batches(examples(), pad, batch_size=4)

    def evaluate(model):
        return {"score": -abs(float(model.head.weight.sum().item()))}

    whole, history = train(loader(), make, evaluate=evaluate)
    calls = 0

    def loss(model, batch):
        nonlocal calls
        calls += 1
        if calls > stop_at:
            raise Interrupted
        return model(**batch).loss

    file = tmp_path / "run" / "checkpoint.ckpt"
    with pytest.raises(Interrupted):
        train(loader(), make, loss=loss, evaluate=evaluate, checkpoint=file, save_every=0)
    resumed, again = train(loader(), make, evaluate=evaluate, checkpoint=file, resume=True)
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(weights(resumed)[name], value)
    assert [r["loss"] for r in again] == [r["loss"] for r in history]
    assert [r["score"] for r in again] == [r["score"] for r in history]


def test_the_best_epochs_weights_stay_and_patience_ends_the_training():
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    seen = []

    def evaluate(model):
        assert not model.training and not minitorch.is_grad_enabled()
        seen.append(weights(model))
        return {"score": next(scores)}

    model, history = train([pad(examples())], epochs=5, evaluate=evaluate, patience=2)
    assert [r["score"] for r in history] == [0.1, 0.5, 0.4, 0.3]
    for name, value in seen[1].items():
        np.testing.assert_array_equal(weights(model)[name], value)
    assert not model.training


def test_a_loss_that_is_not_finite_ends_the_training_and_keeps_the_checkpoint(tmp_path):
    file = tmp_path / "checkpoint.ckpt"
    losses = iter([0.0, 0.0, float("nan"), 0.0])
    with pytest.raises(FloatingPointError, match="the loss became nan in epoch 2: a lower learning rate"):
        train(
            [pad(examples()), pad(examples())],
            loss=lambda model, batch: model(**batch).loss + next(losses),
            checkpoint=file,
        )
    assert minitorch.load(file)["epoch"] == 1


def test_a_last_step_that_breaks_the_weights_is_no_success(tmp_path):
    file, model = tmp_path / "checkpoint.ckpt", Tagger()
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.1 if step == 0 else math.inf)
    with pytest.raises(FloatingPointError, match="a weight became infinite or nan in epoch 2"):
        fit(model, [pad(examples())], epochs=2, optimizer=optimizer, schedule=schedule, checkpoint=file)
    assert minitorch.load(file)["epoch"] == 1


def test_a_loss_that_is_not_finite_is_not_saved_in_the_middle_of_an_epoch(tmp_path):
    file, data = tmp_path / "checkpoint.ckpt", DataLoader(examples(), 4, collate_fn=pad)
    losses = iter([0.0, 0.0, float("nan"), 0.0, 0.0, 0.0])
    with pytest.raises(FloatingPointError, match="the loss became nan in epoch 1"):
        train(data, loss=lambda model, batch: model(**batch).loss + next(losses), checkpoint=file, save_every=-1)
    assert all(np.isfinite(value.numpy()).all() for value in minitorch.load(file)["model"].values())


def test_accumulation_counts_what_a_language_model_predicts():
    from minitorch.models.gpt import GPT2Config, GPT2LMHeadModel

    def make():
        config = GPT2Config(20, 16, 8, 1, 2, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
        return GPT2LMHeadModel(config)

    rows = np.random.default_rng(0).integers(0, 20, (3, 9)).tolist()
    parts = [pad([{"input_ids": row[:n], "labels": row[:n]}]) for row, n in zip(rows, (2, 1, 9))]
    whole = pad([{"input_ids": row[:n], "labels": row[:n]} for row, n in zip(rows, (2, 1, 9))])
    a, first = train(parts, make, accumulate=3, optimizer=optim.SGD, clip=None)
    b, second = train([whole], make, optimizer=optim.SGD, clip=None)
    for name, value in weights(a).items():
        np.testing.assert_allclose(weights(b)[name], value, atol=1e-6)
    np.testing.assert_allclose([r["loss"] for r in first], [r["loss"] for r in second], rtol=1e-5)


class Spans(nn.Module):
    """Where a span begins, by (B, T) scores; -1 for rows without one. Its labels do not have the name `labels`."""

    def __init__(self):
        super().__init__()
        self.embeddings = nn.Embedding(20, 8)
        self.head = nn.Linear(8, 1)

    def forward(self, input_ids, starts, attention_mask=None):
        logits = self.head(self.embeddings(input_ids))[..., 0]
        if attention_mask is not None:
            logits = logits.masked_fill(attention_mask == 0, -1e9)
        return Output(F.cross_entropy(logits, starts, ignore_index=-1), logits)


class CountedSpans(Spans):
    def count_labels(self, batch):
        return int((batch["starts"] != -1).sum().item())


@pytest.mark.parametrize("adapted", [False, True])
def test_accumulation_counts_what_the_model_says_its_loss_is_a_mean_of(adapted):
    from minitorch.peft import LoraConfig, get_peft_model

    rows = [{"input_ids": row["input_ids"], "starts": i % len(row["input_ids"])} for i, row in enumerate(examples(9))]
    for i in (0, 1, 3, 4, 5):
        rows[i]["starts"] = -1
    parts, whole = [pad(rows[:3]), pad(rows[3:6]), pad(rows[6:])], [pad(rows)]  # with 1, 0 and 3 labels

    def run(data, make, **options):
        def made():
            if not adapted:
                return make()
            model = get_peft_model(make(), LoraConfig(r=2, target_modules=["head"], modules_to_save=[]))
            assert hasattr(model, "count_labels") == (make is CountedSpans)
            return model

        model, history = train(data, made, optimizer=optim.SGD, clip=None, **options)
        return weights(model), [record["loss"] for record in history]

    large, losses = run(whole, CountedSpans)
    small, same = run(parts, CountedSpans, accumulate=3)
    assert same == pytest.approx(losses, rel=1e-5)
    for name, value in large.items():
        np.testing.assert_allclose(small[name], value, rtol=1e-5, atol=1e-7)
    # by rows, as without count_labels, and with a loss that is not the model's own, of which the model knows nothing
    for make, loss in ((Spans, None), (CountedSpans, lambda model, batch: model(**batch).loss)):
        other = run([parts[0], parts[2]], make, accumulate=2, loss=loss)[1]
        assert other[0] != pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_batches_in_which_every_label_is_left_out_teach_nothing(accumulate):
    data, empty = [pad(examples(8, seed)) for seed in range(2)], pad(examples(4))
    empty["labels"] = empty["labels"] * 0 - 100
    model, history = train([data[0], empty, data[1], empty], accumulate=accumulate, optimizer=optim.SGD)
    if accumulate == 1:
        assert np.isfinite([r["loss"] for r in history]).all()
        assert all(np.isfinite(value).all() for value in weights(model).values())
    else:
        same, expected = train(data, optimizer=optim.SGD)
        assert [r["loss"] for r in history] == [r["loss"] for r in expected]
        for name, value in weights(same).items():
            np.testing.assert_array_equal(weights(model)[name], value)


def test_the_average_of_runs_is_that_of_their_weights_each_from_the_same_start_with_its_own_random_numbers():
    minitorch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    x, y = minitorch.randn(8, 3), minitorch.randn(8, 1)
    begun, ended, drawn = [], [], []

    def train(run):
        begun.append(weights(model))
        fit(
            model,
            [(x, y)] * 3,
            epochs=2,
            lr=0.1,
            loss=lambda model, xy: F.mse_loss(model(xy[0]), xy[1]),
            progress=False,
        )
        ended.append(weights(model))
        drawn.append(minitorch.rand(1).item())

    assert average_of_runs(model, train, 3, seed=5) == [0, 1, 2]
    assert not model.training
    for other in begun[1:]:
        for name in begun[0]:
            np.testing.assert_array_equal(other[name], begun[0][name])
    assert len(set(drawn)) == 3
    assert not np.allclose(ended[0]["0.weight"], ended[1]["0.weight"])
    for name, value in model.state_dict().items():
        assert value.numpy().dtype == begun[0][name].dtype
        np.testing.assert_allclose(value.numpy(), np.mean([run[name] for run in ended], 0), rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match="runs must be at least 1, got 0"):
        average_of_runs(model, train, 0)


def test_a_greedy_average_leaves_out_the_runs_that_make_it_worse():
    model = nn.Linear(1, 1, bias=False)
    model.register_buffer("seen", minitorch.tensor(2**40 + 1))
    ends = [2.0, -9.0, 1.5, 4.0]

    def train(run):
        assert model.training
        model.load_state_dict({"weight": minitorch.tensor([[ends[run]]])}, strict=False)

    def score(model):  # best at 3
        assert not model.training and not minitorch.is_grad_enabled()
        return -abs(model.weight.item() - 3)

    # 2 and 4 are equally far away: first run 0, then run 3, with which the mean is 3; then neither 1.5 nor -9.
    assert average_of_runs(model.train(), train, 4, score=score) == [0, 3]
    assert model.weight.item() == 3 and model.seen.item() == 2**40 + 1 and not model.training
    assert average_of_runs(model.train(), train, 4) == [0, 1, 2, 3]
    assert model.weight.item() == np.mean(ends)
    with pytest.raises(ValueError, match=r"score\(model\) gave nan"):
        average_of_runs(model.train(), train, 2, score=lambda model: math.nan)


class Noisy(nn.Module):
    """A classifier of vectors with dropout, with the interface of models of texts."""

    def __init__(self, dropout):
        super().__init__()
        self.linear, self.dropout = nn.Linear(4, 3), dropout

    def forward(self, x, labels):
        logits = self.linear(F.dropout(x, self.dropout, self.training))
        return SimpleNamespace(logits=logits, loss=F.cross_entropy(logits, labels))


def test_a_mean_of_lora_factors_is_refused():
    model = get_peft_model(Tagger(), LoraConfig(target_modules=["head"], r=2))
    with pytest.raises(ValueError, match="the mean of their B do not give the mean of B A"):
        average_of_runs(model, lambda run: None, 2)
    assert average_of_runs(model, lambda run: None, 1) == [0]


def test_r_drop_is_the_equation_of_its_paper():
    minitorch.manual_seed(0)
    batch = {"x": minitorch.randn(5, 4), "labels": minitorch.tensor([0, 2, 1, 1, 0])}
    model = Noisy(0.5)
    minitorch.manual_seed(7)
    r_drop(3.0)(model, batch).backward()
    found = [p.grad.numpy().copy() for p in model.parameters()]
    model.zero_grad()

    minitorch.manual_seed(7)  # the same dropout
    twice = {name: minitorch.cat([value, value]) for name, value in batch.items()}
    log_p, log_q = F.log_softmax(model(**twice).logits, -1).chunk(2)
    rows = minitorch.arange(5)
    cross_entropies = -(log_p[rows, batch["labels"]] + log_q[rows, batch["labels"]]).mean()
    divergences = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1).mean()  # KL(p || q) + KL(q || p)
    assert divergences.item() > 0.01
    (cross_entropies + 3.0 / 2 * divergences).backward()
    for got, p in zip(found, model.parameters()):
        np.testing.assert_allclose(got, p.grad.numpy() / 2, rtol=1e-5, atol=1e-7)


def test_r_drop_without_dropout_is_the_plain_loss_and_bad_input_is_refused():
    minitorch.manual_seed(0)
    batch = {"x": minitorch.randn(5, 4), "labels": minitorch.tensor([0, 2, 1, 1, 0])}
    model = Noisy(0.0)
    np.testing.assert_allclose(r_drop(2.0)(model, batch).item(), model(**batch).loss.item(), rtol=1e-6)
    with pytest.raises(ValueError, match="alpha must be a number of at least 0, got -1"):
        r_drop(-1)
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="alpha must be a number of at least 0, got"):
            r_drop(value)
    tagger = lambda x, labels: SimpleNamespace(logits=minitorch.zeros(2, 3, 4), loss=None)  # noqa: E731
    with pytest.raises(ValueError, match=r"expected logits \(N, C\) of C > 1 classes, got \(2, 3, 4\)"):
        r_drop(1)(tagger, batch)
    silent = lambda x, labels: SimpleNamespace(logits=x, loss=None)  # noqa: E731
    with pytest.raises(ValueError, match="gave no loss; are there labels"):
        r_drop(1)(silent, batch)
    several = lambda x, labels: SimpleNamespace(logits=x, loss=x.sum())  # noqa: E731
    with pytest.raises(ValueError, match=r"it needs one class, \(N,\) integers"):
        r_drop(1)(several, {"x": minitorch.zeros(2, 3), "labels": minitorch.zeros(2, 3)})


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        train([pad(examples())], checkpoint=tmp_path / "none", resume=True)
    with pytest.raises(ValueError, match="there is no batch to train on"):
        train([])
    with pytest.raises(ValueError, match="accumulate must be at least 1, got 0"):
        train([pad(examples())], accumulate=0)
    for clip in (0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"clip must be above 0, or None for no limit, got {clip}"):
            train([pad(examples())], clip=clip)
    for patience, evaluate in ((2, None), (0, lambda model: {"score": 1.0})):
        with pytest.raises(ValueError, match=f"patience={patience}: at least 1 epoch, and evaluate"):
            train([pad(examples())], patience=patience, evaluate=evaluate)
    with pytest.raises(ValueError, match='patience needs a "score" in what evaluate gives, got validation_f1'):
        train([pad(examples())], patience=1, evaluate=lambda model: {"validation_f1": 1.0})
    with pytest.raises(ValueError, match="evaluate gives loss, the training's own figures: choose other names"):
        train([pad(examples())], evaluate=lambda model: {"loss": 1.0})
    for epochs in (0, -1):
        with pytest.raises(ValueError, match=f"epochs must be at least 1, got {epochs}"):
            fit(Tagger(), [pad(examples())], epochs=epochs)
    with pytest.raises(ValueError, match="a generator, does not say how many .* or optimizer and schedule"):
        fit(Tagger(), (pad(examples()) for _ in range(2)), epochs=1)
    _, history = train((pad(examples()) for _ in range(2)), epochs=1)
    assert len(history) == 1
    model = Tagger()
    schedule = optim.lr_scheduler.linear_warmup_decay(optim.SGD(model.parameters(), lr=1.0), 1, 10)
    with pytest.raises(ValueError, match="a schedule sets the rates of its own optimizer"):
        fit(model, [pad(examples())], epochs=1, schedule=schedule)


class Stream(minitorch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(examples(4))


def test_a_stream_does_not_know_its_length():
    stream = DataLoader(Stream(), 2, collate_fn=pad)
    with pytest.raises(ValueError, match="a DataLoader, does not say how many there are"):
        fit(Tagger(), stream, epochs=1)
    assert len(train(stream, epochs=2)[1]) == 2


def test_adalora_is_not_captured_in_parts():
    from minitorch.peft import AdaLoraConfig, get_peft_model

    config = AdaLoraConfig(total_step=9, target_modules=["head"], modules_to_save=[])
    model = get_peft_model(Tagger(), config)
    with pytest.raises(ValueError, match="graph=True with accumulate=2: AdaLoRA reads the gradients after the step"):
        fit(model, [pad(examples())] * 2, epochs=1, graph=True, accumulate=2)
    fit(model, [pad(examples())] * 2, epochs=1, accumulate=2, progress=False)


def test_a_score_that_is_not_a_number_is_an_error():
    with pytest.raises(ValueError, match="gave the score nan in epoch 1"):
        train([pad(examples())], evaluate=lambda model: {"score": float("nan")})


def test_pairs_train_too():
    data = minitorch.utils.data.TensorDataset(minitorch.randn(20, 4), minitorch.randint(0, 3, (20,)))
    model, history = train(
        DataLoader(data, 5), lambda: nn.Linear(4, 3), loss=lambda model, pair: F.cross_entropy(model(pair[0]), pair[1])
    )
    assert history[-1]["loss"] < history[0]["loss"]


def test_the_default_recipe_learns():
    data = batches(examples(200), pad, batch_size=8)
    model = Tagger()
    history = fit(model, data, epochs=3, lr=0.05, progress=False)
    assert history[-1]["loss"] < 0.2 and history[-1]["lr"] == 0


def test_parameter_groups_decay_matrices_and_slow_down_towards_the_input():
    from minitorch.models.bert import BertConfig, BertForSequenceClassification

    model = BertForSequenceClassification(
        BertConfig(vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    )
    model.bert.encoder.layer[0].intermediate.dense.weight.requires_grad_(False)
    groups = parameter_groups(model, 1.0, weight_decay=0.1, layer_decay=0.5, head_lr=3.0)
    found = {id(p): group for group in groups for p in group["params"]}
    rates = {
        name: (found[id(p)]["lr"], found[id(p)]["weight_decay"])
        for name, p in model.named_parameters()
        if id(p) in found
    }
    assert rates["classifier.weight"] == rates["bert.pooler.dense.weight"] == (3.0, 0.1)
    assert rates["classifier.bias"] == (3.0, 0.0)
    assert rates["bert.encoder.layer.1.output.LayerNorm.weight"] == (0.5, 0.0)
    assert rates["bert.encoder.layer.0.output.dense.weight"] == (0.25, 0.1)
    assert rates["bert.embeddings.word_embeddings.weight"] == (0.125, 0.1)
    frozen = "bert.encoder.layer.0.intermediate.dense.weight"
    assert set(rates) == {name for name, _ in model.named_parameters()} - {frozen}
    rests = parameter_groups(model, 1.0, head_lr=0)
    assert {id(p) for group in rests if group["lr"] == 0 for p in group["params"]} == {
        id(p) for name, p in model.named_parameters() if "encoder" not in name and "embeddings" not in name
    }


def test_the_schedule_is_transformers():
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    theirs = torch.optim.SGD([torch.zeros(1)], lr=2.0)
    expected = transformers.get_linear_schedule_with_warmup(theirs, 3, 29)
    optimizer = optim.SGD([nn.Parameter(minitorch.zeros(1))], lr=2.0)
    schedule = optim.lr_scheduler.linear_warmup_decay(optimizer, 3, 29)
    for _ in range(30):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected.get_last_lr()[0])
        theirs.step(), optimizer.step(), expected.step(), schedule.step()


# --- batches of texts ------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 60), max_size=80), st.integers(1, 9), st.integers(1, 5), st.booleans())
@settings(max_examples=60, deadline=None)
def test_length_batches_hold_every_index_once(lengths, size, pool, shuffle):
    sampler = LengthBatches(lengths, size, shuffle, pool)
    found = list(sampler)
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    assert len(found) == len(sampler)
    assert sum(len(batch) < size for batch in found) <= 1
    if not shuffle:
        order = [lengths[i] for batch in found for i in batch]
        assert order == sorted(order, reverse=True)


def test_length_batches_save_padding_and_depend_on_the_seed_alone():
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 60, 2000).tolist()

    def padded(found):
        return sum(len(batch) * max(lengths[i] for i in batch) for batch in found) / sum(lengths)

    minitorch.manual_seed(1)
    sampler = LengthBatches(lengths, 16)
    first, second = list(sampler), list(sampler)
    assert padded(first) < 1.05 < 1.5 < padded([range(i, i + 16) for i in range(0, 2000, 16)])
    assert first != second
    minitorch.manual_seed(1)
    assert list(LengthBatches(lengths, 16)) == first
    with pytest.raises(ValueError, match="batch_size and pool must be at least 1"):
        LengthBatches(lengths, 0)


def test_pad():
    batch = pad([{"input_ids": [5, 6, 7], "labels": [1, -100, 2]}, {"input_ids": [8], "labels": [0]}], pad_id=9)
    assert {name: value.tolist() for name, value in batch.items()} == {
        "input_ids": [[5, 6, 7], [8, 9, 9]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "labels": [[1, -100, 2], [0, -100, -100]],
    }
    assert pad([{"input_ids": [5], "token_type_ids": [1], "labels": 3}])["labels"].tolist() == [3]
    batch = pad(
        [
            {"input_ids": [5, 6], "attention_mask": [0, 1], "start_positions": 1},
            {"input_ids": [7], "attention_mask": [1], "start_positions": 0},
        ]
    )
    assert batch["attention_mask"].tolist() == [[0, 1], [1, 0]] and batch["start_positions"].tolist() == [1, 0]
    with pytest.raises(ValueError, match="pad: there are no features"):
        pad([])


class Words:
    """A tokenizer that gives each text as many pieces as it has letters."""

    pad = staticmethod(pad)

    def features(self, texts, max_length=None):
        return [{"input_ids": [1 + ord(letter) % 9 for letter in text]} for text in texts]


@pytest.mark.parametrize("rows", [[[1, 0], [1, 1], [0, 0]], [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], np.eye(3, 2)])
def test_several_labels_of_a_text(rows):
    from minitorch.models.bert import BertConfig, BertForSequenceClassification

    texts = ["ab", "b", "abc"]
    (batch,) = text_batches(Words(), texts, rows, shuffle=False)  # the longest first
    assert batch["labels"].dtype == minitorch.float32
    assert batch["labels"].tolist() == [list(rows[i]) for i in (2, 0, 1)]
    wide = widen(batch, 8)
    assert wide["input_ids"].shape == (3, 8) and wide["labels"].tolist() == batch["labels"].tolist()
    (square,) = text_batches(Words(), ["ab", "ba"], [[1, 0], [0, 1]], shuffle=False)  # two labels and two pieces each
    assert widen(square, 8)["labels"].tolist() == [[1, 0], [0, 1]]

    minitorch.manual_seed(0)
    config = BertConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    model = BertForSequenceClassification(config).eval()
    out = model(**batch)
    expected = F.binary_cross_entropy_with_logits(out.logits, minitorch.tensor(np.array(rows, np.float32)[[2, 0, 1]]))
    assert out.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    history = fit(model, text_batches(Words(), texts, rows), epochs=2, lr=1e-2, progress=False)
    assert history[1]["loss"] < history[0]["loss"]


@pytest.mark.parametrize("labels, words", [
    (["good", "bad"], r"labels must be numbers, got 'good': give each class a number, as in label2id = \{'neg"),
    ([["good"], ["bad"]], "labels must be numbers, got 'good'"),
    (np.array(["good", "bad"], object), "labels must be numbers, got 'good'"),
    ([[1, 0], [1]], "labels must be a finite number for each text, or for each text a row with as many numbers"),
    ([1, None], "labels must be a finite number"),
    ([1, float("nan")], "labels must be a finite number"),
])  # fmt: skip
def test_labels_that_are_none(labels, words):
    with pytest.raises(ValueError, match=words):
        text_batches(Words(), ["a", "b"], labels)


def test_labels_of_a_regression_are_not_cut_to_whole_numbers():
    for labels in ([0.5, 2.0], [1, 0]):
        (batch,) = text_batches(Words(), ["a", "b"], labels, shuffle=False)
        assert batch["labels"].tolist() == labels and batch["labels"].is_floating_point() == (labels[0] == 0.5)


def test_predict_keeps_the_order_and_the_lengths():
    minitorch.manual_seed(0)
    model, data = Tagger(dropout=0.5), examples(30)
    model.train()
    logits = predict(model, data, pad, batch_size=4)
    assert model.training
    with pytest.raises(ValueError, match="batch_size must be at least 1, got -1"):
        predict(model, data, pad, batch_size=-1)
    with pytest.raises(ZeroDivisionError):
        predict(model, data, lambda features: 1 / 0)
    assert model.training
    model.eval()
    for feature, row in zip(data, logits):
        expected = model(minitorch.tensor([feature["input_ids"]])).logits[0]
        np.testing.assert_allclose(row.numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-7)
