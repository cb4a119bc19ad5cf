"""The named entity program: pieces and windows, figures by hand and by seqeval, and small runs from end to end."""

import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from minitorch.models.bert import BertConfig, BertForTokenClassification

import minitorch
from minitorch.text.tokenizer import Tokenizer

for library in ("tokenizers", "tqdm", "matplotlib", "sklearn", "seqeval"):
    pytest.importorskip(library, reason=f"the examples need {library}: pip install minitorch[examples]")

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PEOPLE, PLACES = "Ada Grace Alan Kurt Emmy".split(), "London Paris Rome Kiel Bath".split()
OTHER = "the went to saw in and a lived with was from".split()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny BERT with random weights and no capitals in its vocabulary, in a folder as published ones come."""
    folder = tmp_path_factory.mktemp("bert")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *(w.lower() for w in [*PEOPLE, *PLACES, *OTHER]),
        "love",
        "##la",
        "##ce",
        ".",
    ]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    minitorch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, hidden_dropout_prob=0.0,
    )  # fmt: skip
    BertForTokenClassification(config).bert.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(model):
    return Tokenizer.from_pretrained(model)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = random.Random(0)
    file = tmp_path_factory.mktemp("data") / "mine.bio"
    sentences = []
    for _ in range(160):
        rows = [f"{word} O" for word in rng.choices(OTHER, k=rng.randint(2, 6))]
        rows.insert(rng.randint(0, len(rows)), f"{rng.choice(PEOPLE)} B-PER\nLovelace I-PER")
        rows.insert(rng.choice([0, len(rows)]), f"{rng.choice(PLACES)} B-LOC")
        sentences.append("\n".join(rows) + "\n")
    file.write_text("\n".join(sentences))
    return file


@pytest.fixture(scope="module")
def program():
    sys.path.insert(0, str(EXAMPLES))
    try:
        import tag_entities

        yield tag_entities
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture
def run(program, model, data, monkeypatch):
    def run(out, *more):
        arguments = ["--task", "file", "--data", str(data), "--model", str(model), "--out", str(out), "--lr", "0.01"]
        monkeypatch.setattr(sys, "argv", ["tag_entities.py", *arguments, "--batch-size", "8", *map(str, more)])
        program.common.main(program.main)

    return run


def figures(folder, name="report"):
    return json.loads((folder / f"{name}.json").read_text())["figures"]


# ---- words, pieces, windows -----------------------------------------------------------------------------------------


def test_the_label_stands_on_the_first_piece_and_every_word_has_one(program, tokenizer):
    # \x00 is nothing to the tokenizer, Zuse is not in the vocabulary
    words = ["Ada", "Lovelace", "\x00", "Zuse", "went", "."]
    (feature,) = program.features_of(tokenizer, [words], 32, [[1, 2, 0, 3, 0, 0]])
    assert tokenizer.tokens(feature["input_ids"]) == [
        "[CLS]", "ada", "love", "##la", "##ce", "[UNK]", "[UNK]", "went", ".", "[SEP]",
    ]  # fmt: skip
    assert feature["labels"] == [-100, 1, 2, -100, -100, 0, 3, 0, 0, -100]
    assert feature["places"] == [(1, 0, 0), (2, 0, 1), (5, 0, 2), (6, 0, 3), (7, 0, 4), (8, 0, 5)]
    names = [program.CASES[number] for number in feature["token_type_ids"]]
    assert names == ["other", *["Capital"] * 4, "other", "Capital", "lower", "other", "other"]


def test_case_of(program):
    expected = {
        "lower": ["went", "'s", "3rd", "élan"],
        "Capital": ["Ada", "I", "École", "F-16", "@Ada"],
        "UPPER": ["EU", "U.S.", "B2B"],
        "miXed": ["iPhone", "McDonald", "O'Neil", "EU-wide"],
        "digits": ["1996", "47,600"],
        "other": ["--", "中文", "\x00"],
    }
    for name, words in expected.items():
        assert {program.CASES[program.case_of(word)] for word in words} == {name}


@given(st.lists(st.integers(1, 12), min_size=1, max_size=60), st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_windows_hold_every_word_once_and_fit(program, lengths, size):
    found = program.windows(lengths, size)
    assert [word for _, first, last, _ in found for word in range(first, last)] == list(range(len(lengths)))
    for start, first, last, stop in found:
        assert 0 <= start <= first < last <= stop <= len(lengths)
        assert sum(min(length, size) for length in lengths[start:stop]) <= size
    if sum(min(length, size) for length in lengths) <= size:
        assert found == [(0, 0, len(lengths), len(lengths))]


def test_windows_have_context_on_both_sides(program):
    assert program.windows([1] * 20, 8) == [(0, 0, 6, 8), (4, 6, 10, 12), (8, 10, 14, 16), (12, 14, 20, 20)]
    assert program.windows([], 8) == []


def test_a_long_sentence_is_tagged_to_its_end(program, tokenizer, model):
    tagger = program.common.pretrained(program.Tagger, model, {"O": 0, "B-A": 1, "I-A": 2})
    sentences = [["Ada", "Lovelace", "went"] * 30, [], ["Ada"]]
    scores = program.scores_of(tagger, program.features_of(tokenizer, sentences, 24), tokenizer, sentences)
    assert [row.shape for row in scores] == [(90, 3), (0, 3), (1, 3)]
    assert all(np.isfinite(row).all() for row in scores)
    assert [len(row) for row in program.tag_words(tagger, tokenizer, sentences)] == [90, 0, 1]


# ---- tags and figures -----------------------------------------------------------------------------------------------

tags = st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), min_size=1, max_size=12)


@given(tags)
@settings(max_examples=100, deadline=None)
def test_entities_are_those_of_seqeval(program, tags):
    from seqeval.metrics.sequence_labeling import get_entities

    assert program.entities(tags) == [(kind, first, last + 1) for kind, first, last in get_entities(tags)]


def test_tags_without_types(program):
    assert program.entities(["I", "I", "O", "B", "B", "I"]) == [("", 0, 2), ("", 3, 4), ("", 4, 6)]
    assert program.may_follow(["O", "B", "I"]).tolist() == [[1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 0]]


@given(st.integers(1, 5), st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_decode_finds_the_best_of_all_allowed_sequences(program, words, seed):
    import itertools

    classes = ["O", "B-A", "I-A", "I-B"]
    allowed, scores = program.may_follow(classes), np.random.default_rng(seed).normal(size=(words, 4))

    def value(path):
        right = all(allowed[before, after] for before, after in zip((-1, *path), path))
        return sum(scores[i, k] for i, k in enumerate(path)) if right else -np.inf

    best = max(itertools.product(range(4), repeat=words), key=value)
    assert program.decode(scores, allowed) == list(best)


TRUTH = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-LOC", "O"]]
SAID = [["B-PER", "I-PER", "O", "O"], ["O", "B-PER", "O"]]


def test_the_figures_of_a_case_by_hand(program):
    _, found = program.entity_table(TRUTH, SAID)  # one of two found is right, one of three there is found
    assert found == pytest.approx({"entity_precision": 1 / 2, "entity_recall": 1 / 3, "entity_f1": 2 / 5})
    text, found = program.token_table(sum(TRUTH, []), sum(SAID, []), ["O", "B-LOC", "B-PER", "I-PER", "B-MISC"])
    # O: 3 of 4 said are right, none missed, F1 6/7; B-LOC 0; B-PER: 1 of 2 said, F1 2/3; I-PER 1. B-MISC is nowhere
    assert found["token_micro_f1"] == pytest.approx(5 / 7)  # right tags of all: the accuracy
    assert found["token_macro_f1"] == pytest.approx((6 / 7 + 0 + 2 / 3 + 1) / 4)
    assert found["token_weighted_f1"] == pytest.approx((3 * 6 / 7 + 2 * 0 + 1 * 2 / 3 + 1) / 7)
    assert "B-MISC" not in text and "micro avg     0.7143" in text


def test_the_baseline_says_each_words_most_frequent_tag(program):
    from minitorch.datasets import Tagging

    data = Tagging([["Bath", "Bath", "a"], ["Bath", "b"]], [["B-LOC", "B-LOC", "O"], ["O", "O"]], ["O", "B-LOC"])
    assert program.most_frequent(data)(["Bath", "a", "new"]) == ["B-LOC", "O", "O"]


def test_words_of_a_text(program):
    text = "Germany's U.S. envoy didn't pay 47,600 (A.C. Milan), EU-wide. @ada: https://a.org/b"
    assert [match.group() for match in program.WORD.finditer(text)] == [
        "Germany", "'s", "U.S.", "envoy", "didn't", "pay", "47,600", "(", "A.C.", "Milan", ")", ",", "EU-wide", ".",
        "@ada", ":", "https://a.org/b",
    ]  # fmt: skip


def test_a_file_of_ones_own(program, tmp_path):
    file = tmp_path / "mine.bio"
    file.write_text("\ufeff" + "\n".join(f"word{i} I-PER\nx I-PER\ny B-PER\n\n\n" for i in range(30)), encoding="utf-8")
    train, validation = (program.own_sentences(split, str(file)) for split in ("train", "validation"))
    assert len(train) + len(validation) == 30 and len(validation) > 1 and train.classes == ["O", "B-PER", "I-PER"]
    assert {*map(tuple, train.tags)} == {("B-PER", "I-PER", "B-PER")}
    assert not {words[0] for words in train.sentences} & {words[0] for words in validation.sentences}


# ---- the program ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["full", "lora"])
def test_it_learns_saves_evaluates_and_predicts(run, tmp_path, capsys, method):
    run(tmp_path, "--method", method, "--epochs", 4)
    found = figures(tmp_path)
    assert found["entity_f1"] > 0.9 and found["token_macro_f1"] > 0.9
    assert {file.name for file in tmp_path.iterdir()} == {
        "confusion.png", "curves.png", "model", "report.json", "report.md", "settings.json",
    }  # fmt: skip
    text = (tmp_path / "report.md").read_text()
    assert "micro avg" in text and "LOC" in text and "most frequent tag" in text
    run(tmp_path, "--evaluate")
    assert figures(tmp_path, "report_validation") == found
    capsys.readouterr()
    run(tmp_path, "--predict", "Grace Lovelace went to Rome", "to the", "")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Grace Lovelace went to Rome" and lines[3:] == ["to the", ""]
    assert lines[1].startswith("  PER 0.") and lines[1].endswith("  Grace Lovelace")
    assert lines[2].startswith("  LOC 0.") and lines[2].endswith("  Rome")


def test_methods_with_a_budget_and_with_positions_of_their_own(run, tmp_path):
    for method in ("adalora", "prefix"):
        run(tmp_path / method, "--method", method, "--epochs", 1, "--limit", 16)
        run(tmp_path / method, "--evaluate")
        assert figures(tmp_path / method) == figures(tmp_path / method, "report_validation")


def test_transformers_reads_the_saved_model(run, program, tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    run(tmp_path, "--epochs", 1, "--limit", 40)
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "model").eval()
    ours, _ = program.common.load_model(program.Tagger, tmp_path / "model")
    assert theirs.config.id2label == {0: "O", 1: "B-LOC", 2: "B-PER", 3: "I-PER"}
    features = program.features_of(tokenizer, [["Ada", "Lovelace", "LIVED", "in", "."]], 24)
    batch = program.padding(tokenizer)(features)
    with torch.no_grad():
        expected = theirs(**{name: torch.tensor(value.numpy()) for name, value in batch.items()}).logits
    np.testing.assert_allclose(ours(**batch).logits.detach().numpy(), expected.numpy(), atol=1e-5)


def test_a_run_that_is_stopped_goes_on(run, program, tmp_path, monkeypatch):
    options = ("--epochs", 2, "--limit", 40)
    run(tmp_path / "whole", *options)
    monkeypatch.setattr("plots.plot_history", lambda *args: (_ for _ in ()).throw(ValueError("stopped")))
    with pytest.raises(SystemExit, match="stopped"):
        run(tmp_path / "broken", *options)
    monkeypatch.undo()
    with pytest.raises(SystemExit, match="begun with other settings: seed 0 -> 7"):
        run(tmp_path / "broken", *options, "--seed", 7, "--resume")
    run(tmp_path / "broken", *options, "--resume")
    assert figures(tmp_path / "whole") == figures(tmp_path / "broken")


def test_what_cannot_work_is_refused_in_one_line(run, tmp_path, data, program):
    with pytest.raises(SystemExit, match="there is no saved model of this program in"):
        run(tmp_path, "--predict", "x")
    with pytest.raises(SystemExit, match="--epochs must be at least 1"):
        run(tmp_path, "--epochs", "-1")
    with pytest.raises(SystemExit, match="splits train, validation and all, got test"):
        run(tmp_path, "--split", "test")
    with pytest.raises(SystemExit, match="--max-length must be at least 3"):
        run(tmp_path, "--max-length", 2)
    wrong = tmp_path / "wrong.bio"
    wrong.write_text("Ada B-PER\nwent\n")
    with pytest.raises(SystemExit, match="wrong.bio, line 2: expected `word tag`, .* got 'went"):
        run(tmp_path, "--data", wrong)
    other = tmp_path / "other.bio"
    other.write_text("\n".join(f"{word} B-X\nis O\n" for word in OTHER))
    run(tmp_path, "--epochs", 1, "--limit", 8)
    with pytest.raises(SystemExit, match="has the classes O, B-LOC, B-PER, I-PER; .* has B-X, too"):
        run(tmp_path, "--evaluate", "--data", other)
    other.write_text("Ada B-PER\nwent O\n\nshe O\n")  # fewer classes than the model's
    run(tmp_path, "--evaluate", "--data", other, "--split", "all")
    text = (tmp_path / "report_all.md").read_text()
    assert "split all: 2 sentences, 3 words" in text and "training split: all of --data is evaluated on" in text


def test_a_held_out_test_file_is_evaluated(program, model, tokenizer, tmp_path, monkeypatch):
    """With the saved model alone: the training data is not there, so there is no baseline."""
    (tmp_path / "test.bio").write_text("Ada B-PER\nwent O\n\n" + "London B-LOC\n" * 30)
    names = ["O", *(f"{b}-{kind}" for b in "BI" for kind in ("LOC", "MISC", "ORG", "PER"))]
    tagger = program.common.pretrained(program.Tagger, model, {name: i for i, name in enumerate(names)})
    program.common.save_model(tagger, tokenizer, tmp_path / "out" / "model")
    arguments = ["--evaluate", "--split", "test", "--data", tmp_path, "--out", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", ["tag_entities.py", *map(str, arguments)])
    program.common.main(program.main)
    text = (tmp_path / "out" / "report_test.md").read_text()
    assert "split test: 2 sentences, 32 words" in text and "No baseline" in text
    assert 0 <= figures(tmp_path / "out", "report_test")["entity_f1"] < 1
    assert (tmp_path / "out" / "confusion_test.png").is_file()


def test_help_names_every_option(run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path, "--help")
    text = capsys.readouterr().out
    for (
        option
    ) in "model data device seed method out resume split evaluate predict epochs lr batch-size patience".split():
        assert f"--{option} " in text
