"""The benchmarks of fine-tuning: what they count and what they write. The trainings themselves take hours."""

from __future__ import annotations

import argparse

import pytest

from benchmarks import finetune, methods

ARGS = argparse.Namespace(threads=2)


def row(task, figure="accuracy", value=0.5):
    return f"| {task} | 1 | {figure} | {value:.4f} | 0.5000 | 10 | 20 | 2.00 | 2026-01-01 |"


def rows_of(file):
    """The lines of the table, without its head, which has to be there once."""
    before, after = file.read_text(encoding="utf-8").split(finetune.HEAD + "\n")
    assert before.startswith("# Fine-tuning MiniLM") and "2 threads" in before and after.endswith("|\n")
    return after.splitlines()


def test_a_run_replaces_its_own_rows_and_keeps_the_others_in_the_recipes_order(tmp_path, monkeypatch):
    file = tmp_path / "finetune.md"
    monkeypatch.setattr(finetune, "RESULTS", file)
    finetune.write([row("banking77")], ["banking77"], ARGS)
    assert rows_of(file) == [row("banking77")]
    tags = [row("conll2003", name) for name in ("entity f1", "token weighted f1", "token macro f1")]
    finetune.write([*tags, row("sst2")], ["conll2003", "sst2"], ARGS)
    assert rows_of(file) == [row("sst2"), *tags, row("banking77")]
    again = [row("conll2003", "entity f1", 0.75)]
    finetune.write([*again, row("finance")], ["conll2003", "finance"], ARGS)
    assert rows_of(file) == [row("sst2"), *again, row("finance"), row("banking77")]
    whole = [row(task, value=0.25) for task in finetune.RECIPES]
    finetune.write(whole[::-1], list(finetune.RECIPES), ARGS)
    assert rows_of(file) == whole


def test_accuracy():
    validation = [{"input_ids": [1], "labels": label} for label in (0, 1, 2, 1)]
    for task in ("sst2", "finance", "banking77"):
        assert finetune.score(task, ["a", "b", "c"], validation, [0, 1, 1, 0]) == {"accuracy": 0.5}


def test_the_figures_of_tags():
    pytest.importorskip("seqeval")
    pytest.importorskip("sklearn")
    classes = ["O", "B-LOC", "I-LOC", "B-PER"]
    # -100: special tokens, and the later pieces of a word; what is said there does not count, nor does the padding
    validation = [
        {"input_ids": [0] * 7, "labels": [-100, 1, 2, -100, 0, 3, -100]},  # B-LOC I-LOC O B-PER
        {"input_ids": [0] * 5, "labels": [-100, 0, 1, 3, -100]},  # O B-LOC B-PER
    ]
    said = [
        [3, 1, 2, 3, 0, 1, 3],  # B-LOC I-LOC O B-LOC: a place found, a person taken for a place
        [3, 0, 1, 0, 3, 3, 3],  # O B-LOC O: a place found, a person missed
    ]
    figures = finetune.score("conll2003", classes, validation, said)
    # entities: 2 right of 3 said and 4 true ones. F1 = 2 * 2 / (3 + 4)
    assert figures["entity_f1"] == pytest.approx(4 / 7)
    # tokens: O 2 right, 3 said, 2 true; B-LOC 2, 3, 2; I-LOC 1, 1, 1; B-PER 0, 0, 2
    f1 = {"O": 4 / 5, "B-LOC": 4 / 5, "I-LOC": 1.0, "B-PER": 0.0}
    assert figures["token_macro_f1"] == pytest.approx(sum(f1.values()) / 4)
    assert figures["token_weighted_f1"] == pytest.approx((2 * f1["O"] + 2 * f1["B-LOC"] + f1["I-LOC"]) / 7)
    assert set(figures) == {"entity_f1", "token_macro_f1", "token_weighted_f1"}

    right = [[0 if label == -100 else label for label in f["labels"]] for f in validation]
    assert set(finetune.score("conll2003", classes, validation, right).values()) == {1.0}


def test_the_table_of_methods():
    full = {
        "method": "full", "trained": 22_713_986, "parameters": 22_713_986, "memory": 1234.6, "lr": 5e-5, "step": 99.6,
        "accuracy": 0.87845, "best_epoch": 2, "epochs": 3,
    }  # fmt: skip
    lora = {**full, "method": "lora", "trained": 149_000, "memory": 400.2, "lr": 5e-4, "best_epoch": 3}
    head, rule, *rows = methods.table([full, lora]).splitlines()
    assert head == "| method | trained | % | memory (MB) | ms/step | epochs | learning rate | accuracy |"
    assert rule == "|---" + "|---:" * 7 + "|"
    assert rows == [
        "| full | 22,713,986 | 100.00 | 1235 | 100 | 2 of 3 | 5e-05 | 0.8784 |",
        "| lora | 149,000 | 0.66 | 400 | 100 | 3 of 3 | 0.0005 | 0.8784 |",
    ]


def test_what_a_method_adds_is_not_a_parameter_of_the_model():
    from minitorch.models.bert import BertConfig, BertForSequenceClassification

    from minitorch.peft.recipes import METHODS, apply_method

    def model():
        return BertForSequenceClassification(
            BertConfig(vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
        )

    every = sum(parameter.numel() for parameter in model().parameters())
    for method in METHODS:
        made = apply_method(model(), method, steps=10)
        assert sum(p.numel() for name, p in made.named_parameters() if not methods.is_added(name)) == every, method
