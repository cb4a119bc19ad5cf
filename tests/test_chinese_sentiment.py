"""examples/chinese_sentiment.py, small: each model learns, is saved, goes on after a break, and reads a text."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import minitorch
from minitorch.datasets.labelled import TextClassification

for library in ("tokenizers", "tqdm", "matplotlib", "sklearn"):
    pytest.importorskip(library, reason=f"the examples need {library}: pip install minitorch[examples]")

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture(scope="module")
def program():
    sys.path.insert(0, str(EXAMPLES))
    try:
        import chinese_sentiment

        yield chinese_sentiment
    finally:
        sys.path.remove(str(EXAMPLES))


def reviews(split, root=None):
    """Good ones say 好, bad ones 差."""
    rng, n = np.random.default_rng(len(split)), {"train": 48}.get(split, 16)
    labels = [i % 3 > 0 for i in range(n)]
    texts = [
        "".join(rng.choice(list("房间很大早餐的酒店"), rng.integers(2, 9))) + ("好！" if good else "差。")
        for good in labels
    ]
    return TextClassification(texts, [int(good) for good in labels], ["negative", "positive"])


@pytest.fixture
def run(program, monkeypatch, capsys):
    monkeypatch.setitem(program.TASKS, "hotels", reviews)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["chinese_sentiment.py", *map(str, arguments)])
        program.common.main(program.main)
        return capsys.readouterr().out

    return run


def test_it_learns_and_is_read_again(run, tmp_path):
    options = ("--kind", "lstm", "--out", tmp_path, "--batch-size", 8)
    said = run(*options, "--epochs", 3, "--at-least", 1, "--lr", 0.01)
    assert "the largest class: accuracy 0.6250, macro F1 0.3846" in said
    files = {"report.md", "report.json", "settings.json", "confusion.png", "curves.png", "model"}
    assert {file.name for file in tmp_path.iterdir()} == files
    assert json.loads((tmp_path / "report.json").read_text())["figures"]["accuracy"] == 1.0
    lines = run(*options, "--predict", "酒店很好", "早餐差。差。").splitlines()
    assert [line.split()[0] for line in lines] == ["positive", "negative"]
    assert "split test: 16 texts" in run(*options, "--evaluate", "--split", "test")


def test_a_stopped_run_goes_on_to_the_same_weights(program, run, monkeypatch, tmp_path):
    options = ("--kind", "lstm", "--epochs", 2, "--batch-size", 8, "--limit", 16, "--out")
    run(*options, tmp_path / "whole")
    calls = []

    def stop(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return choices(*args)

    choices = program.choices
    with monkeypatch.context() as patch:
        patch.setattr(program, "choices", stop)
        with pytest.raises(SystemExit, match="--resume"):
            run(*options, tmp_path / "stopped")
    run(*options, tmp_path / "stopped", "--resume")
    a, b = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert a == b


@pytest.mark.parametrize("model", ["lstm", "cnn", "bag"])
def test_every_model_ignores_padding_and_is_loaded_again(program, model, tmp_path):
    tokenizer = program.Characters.of(["abc好"], 1)
    network = program.KINDS[model].make(len(tokenizer.characters), {"no": 0, "yes": 1}).eval()
    features = tokenizer.features(["好", "abc好abc", ""])
    batch = tokenizer.pad(features)
    together = network(**batch, labels=minitorch.tensor([0, 1, 1]))
    together.loss.backward()
    assert all(p.grad is not None for p in network.parameters())
    logits = together.logits.detach().numpy()
    for i, feature in enumerate(features):
        alone = network(**tokenizer.pad([feature])).logits[0]
        np.testing.assert_allclose(logits[i], alone.detach().numpy(), atol=1e-5)
    batch["input_ids"] = minitorch.where(batch["attention_mask"] == 0, 4, batch["input_ids"])
    np.testing.assert_allclose(network(**batch).logits.detach().numpy(), logits, atol=1e-5)
    program.common.save_model(network, tokenizer, tmp_path / "model")
    again, _ = program.load_model(tmp_path / "model", "cpu")
    assert type(again) is type(network) and again.config.id2label == {0: "no", 1: "yes"}
    assert (again(**batch).logits == network(**batch).logits).all()


@pytest.mark.parametrize("kind", ["lstm", "cnn", "bag"])
def test_every_method_goes_on_with_a_saved_model(program, run, monkeypatch, tmp_path, kind):
    saved, report = [], program.report
    monkeypatch.setattr(program, "report", lambda *args: saved.append(args[3:5]) or report(*args))
    monkeypatch.setattr("plots.plot_history", lambda *args: None)
    monkeypatch.setattr("plots.plot_confusion", lambda *args: None)
    tiny = ("--limit", 8, "--batch-size", 8, "--epochs", 1)
    run("--kind", kind, "--out", tmp_path / "base", *tiny)
    before, characters = saved[0][0].cpu().state_dict(), saved[0][1].characters
    head = {"classifier.weight", "classifier.bias"}
    for method in program.METHODS:
        go_on = ("--out", tmp_path / method, "--model", tmp_path / "base", "--method", method, *tiny)
        if (kind, method) == ("bag", "bitfit"):
            with pytest.raises(SystemExit, match="a bag has no biases below its last layer"):
                run(*go_on)
            continue
        run(*go_on)
        again, tokenizer = program.load_model(tmp_path / method / "model", "cpu")
        assert tokenizer.characters == characters
        batch = tokenizer.pad(tokenizer.features(["好房间", "x差。"]))
        assert minitorch.equal(again(**batch).logits, saved[-1][0].cpu()(**batch).logits)
        changed = {name for name, value in again.state_dict().items() if not minitorch.equal(value, before[name])}
        body = changed - head
        assert head <= changed and (method == "full" or all("bias" in name for name in body))
        assert bool(body) == (method != "frozen")
        assert run("--out", tmp_path / method, "--predict", "好").endswith("好\n")
    for words, message in (
        (("--kind", "cnn"), "--kind is for a new model"),
        (("--at-least", 1), "--at-least is for a new model"),
        (("--task", "news"), "has the classes negative, positive; --task news has finance, too"),
    ):
        monkeypatch.setitem(program.TASKS, "news", lambda split, root: TextClassification(["a"], [0], ["finance"]))
        with pytest.raises(SystemExit, match=message):
            run("--out", tmp_path / "no", "--model", tmp_path / "base", *words)
    own = tmp_path / "own.tsv"
    own.write_text("".join(f"房{i}好\tpositive\n早{i}差\tnegative\n" for i in range(9)), encoding="utf-8")
    run("--out", tmp_path / "own", "--task", "file", "--data", own, "--model", tmp_path / "base", "--lr", 0.05)
    assert json.loads((tmp_path / "own" / "report.json").read_text())["figures"]["accuracy"] > 0.9
    with pytest.raises(SystemExit, match="--method frozen .* give --model"):
        run("--out", tmp_path / "no", "--method", "frozen")


def test_the_vocabulary(program, tmp_path):
    tokenizer = program.Characters.of(["好好好ＡA", "好 差"], 2)
    assert tokenizer.characters == ["[PAD]", "[UNK]", "[CLS]", "好", "a"]  # 差 and the space are rare
    assert tokenizer.features(["a差好！"])[0]["input_ids"] == [2, 4, 1, 3, 1]
    assert tokenizer.features(["好好好"], max_length=2)[0]["input_ids"] == [2, 3]
    tokenizer.save_pretrained(tmp_path)
    assert program.Characters.from_pretrained(tmp_path).ids == tokenizer.ids
    (tmp_path / "characters.json").write_text('["a", "a"]')
    with pytest.raises(ValueError, match=r"characters.json must hold a list .* begins with \[PAD\], \[UNK\], \[CLS\]"):
        program.Characters.from_pretrained(tmp_path)


def test_without_a_saved_model(run, tmp_path):
    with pytest.raises(SystemExit, match="there is no saved model .*: train one first"):
        run("--predict", "好", "--out", tmp_path)


@pytest.mark.skipif("MINITORCH_DATA" not in os.environ, reason="reads the folder that MINITORCH_DATA names")
def test_the_splits_share_no_text(program):
    sizes = {"hotels": (6222, 783, 761, 2), "news": (9003, 997, 10000, 10)}
    for name, expected in sizes.items():
        train, validation, test = (program.TASKS[name](split) for split in ("train", "validation", "test"))
        assert (len(train), len(validation), len(test), len(train.classes)) == expected
        assert not set(train.keys()) & set(validation.keys())
