"""The translation program, small: trains, reports, saves, predicts, resumes, and refuses what cannot work."""

import functools
import gzip
import json
import random
import re
import sys
from pathlib import Path

import pytest

import minitorch
from minitorch import datasets

for library in ("tokenizers", "tqdm", "matplotlib", "sacrebleu"):
    pytest.importorskip(library, reason=f"the examples need {library}: pip install minitorch[examples]")

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
WORDS = (
    {"Ein Hund": "A dog", "Ein Mann": "A man", "Eine Frau": "A woman"},
    {"läuft": "runs", "schläft": "sleeps", "sitzt": "sits"},
    {"hier.": "here.", "am Strand.": "at the beach."},
)
TINY = (
    *("--width", 32, "--heads", 2, "--layers", 1, "--hidden", 32, "--vocab-size", 300, "--dropout", 0, "--beams", 2),
    *("--batch-size", 100, "--warmup", 10, "--lr", 1e-2, "--max-length", 30),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The 18 sentences that these words make, often."""
    rng, folder = random.Random(0), tmp_path_factory.mktemp("data")
    for split, count in (("train", 200), ("val", 20), ("test_2016_flickr", 10)):
        german = [[rng.choice(list(part)) for part in WORDS] for _ in range(count)]
        english = [[part[words] for part, words in zip(WORDS, sentence)] for sentence in german]
        for language, sentences in (("de", german), ("en", english)):
            with gzip.open(folder / f"{split}.{language}.gz", "wt", encoding="utf-8") as file:
                file.writelines(" ".join(words) + "\n" for words in sentences)
    return folder


@pytest.fixture(scope="module")
def program():
    sys.path.insert(0, str(EXAMPLES))
    try:
        import translate

        yield translate
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture
def run(program, data, monkeypatch):
    def run(out, *more):
        monkeypatch.setattr(datasets, "multi30k", functools.partial(multi30k, check=False))
        arguments = map(str, ("translate.py", "--data", data, "--out", out, *TINY, *more))
        monkeypatch.setattr(sys, "argv", list(arguments))
        program.common.main(program.main)

    multi30k = datasets.multi30k
    return run


def figures(folder, name="report"):
    result = json.loads((folder / f"{name}.json").read_text())["figures"]
    return {name: value for name, value in result.items() if name != "training_seconds"}


def test_it_learns_saves_evaluates_and_predicts(run, tmp_path, capsys):
    run(tmp_path, "--epochs", 8)
    assert {file.name for file in tmp_path.iterdir()} == {
        "curves.png", "model", "report.json", "report.md", "settings.json",
    }  # fmt: skip
    assert figures(tmp_path)["bleu_greedy"] > 50
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| source | translation | reference |" in text and "case:mixed|eff:no|tok:13a" in text
    run(tmp_path, "--evaluate", "--split", "test")
    assert figures(tmp_path, "report_test")["bleu_beam"] > 50
    capsys.readouterr()
    run(tmp_path, "--predict", "Ein Hund läuft am Strand.", "Ein Mann schläft hier.")
    assert capsys.readouterr().out.splitlines() == ["A dog runs at the beach.", "A man sleeps here."]


def test_a_run_that_is_stopped_goes_on(run, program, tmp_path, monkeypatch):
    options = ("--epochs", 2, "--limit", 60, "--dropout", 0.1)
    run(tmp_path / "whole", *options)
    monkeypatch.setattr("plots.plot_history", lambda *args: (_ for _ in ()).throw(ValueError("stopped")))
    before, calls = program.mean_loss, []

    def stop_in_the_second_epoch(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return before(*args)

    monkeypatch.setattr(program, "mean_loss", stop_in_the_second_epoch)
    with pytest.raises(SystemExit, match="--resume goes on"):
        run(tmp_path / "broken", *options)
    monkeypatch.undo()
    run(tmp_path / "broken", *options, "--resume")
    assert figures(tmp_path / "whole") == figures(tmp_path / "broken")
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "broken")]
    assert weights[0] == weights[1]


def test_every_method_goes_on_with_a_saved_model(run, program, tmp_path, monkeypatch):
    run(tmp_path / "base", "--epochs", 1, "--limit", 40, "--layers", 2)
    saved, report = [], program.report
    monkeypatch.setattr(program, "report", lambda args, run, model, *rest: saved.append(model))
    monkeypatch.setattr("plots.plot_history", lambda *args: None)
    monkeypatch.setitem(globals(), "TINY", ("--batch-size", 100, "--warmup", 1, "--beams", 1))
    before = program.EncoderDecoder.from_pretrained(tmp_path / "base" / "model").state_dict()
    learns = {
        "full": "", "lora": "attention.*weight|feed_forward.*weight", "bitfit": "bias", "frozen": r"\.blocks\.1\.|coder.norm",
    }  # fmt: skip
    learns["adalora"] = learns["lora"]
    assert learns.keys() == program.common.FURTHER.keys()
    for method, pattern in learns.items():
        out = tmp_path / method
        run(out, "--epochs", 1, "--limit", 10, "--model", tmp_path / "base", "--method", method, "--dropout", 0)
        model, tokenizer = program.load(out / "model")
        source = program.pad([{"source": [*tokenizer.encode("Ein Hund").ids, program.EOS], "labels": [1]}])["source"]
        logits = [m(source, target=source).logits for m in (model, saved[-1].cpu())]
        assert minitorch.equal(*logits) and model.config.dropout == 0 and model.config.label_smoothing == 0.1
        changed = {name for name, value in model.state_dict().items() if not minitorch.equal(value, before[name])}
        assert changed and all(re.search(pattern, name) for name in changed), (method, changed)
        run(out, "--predict", "Ein Hund")
    own = tmp_path / "own.tsv"
    own.write_text("".join(f"Ein Hund {i}\tA dog {i}\n" for i in range(50)))
    monkeypatch.setattr(program, "report", report)
    run(tmp_path / "own", "--model", tmp_path / "base", "--data", own, "--epochs", 1)
    assert "own.tsv, split validation: " in (tmp_path / "own" / "report.md").read_text()
    (tmp_path / "bad.tsv").write_text("Ein Hund A dog\n")
    for words, message in (
        (["--data", tmp_path / "bad.tsv"], "bad.tsv, line 1: expected source TAB target, got 'Ein Hund A dog'"),
        (["--data", own, "--split", "test"], "a file has the splits train, validation and all, got test"),
        (["--width", 32, "--model", tmp_path / "base"], "--width is for a new model"),
        (["--method", "lora"], "--method lora .* give --model"),
        (["--model", tmp_path / "base", "--out", tmp_path / "base"], "the new run would replace it"),
        (["--model", tmp_path], "no saved model of this program in"),
    ):
        with pytest.raises(SystemExit, match=message):
            run(tmp_path / "no", *words)


def test_batches_have_at_most_so_many_tokens_and_all_pairs(program):
    rng = random.Random(0)
    pairs = [{"source": [3] * rng.randint(1, 30), "labels": [3] * rng.randint(1, 30)} for _ in range(500)]
    sampler = program.TokenBatches(pairs, 200)
    minitorch.manual_seed(0)
    first, second = list(sampler), list(sampler)
    assert len(first) == len(second) == len(sampler) and first != second
    for batches in (first, second):
        assert sorted(i for batch in batches for i in batch) == list(range(500))
        padded = [program.pad([pairs[i] for i in batch]) for batch in batches]
        assert max(tensor.numel() for batch in padded for tensor in batch.values()) <= 200
        filled = sum((batch["labels"] == -100).sum().item() for batch in padded)
        assert filled < 0.05 * sum(len(pair["labels"]) for pair in pairs)


def test_the_vocabulary_gives_every_text_back(program):
    tokenizer = program.train_tokenizer(["Ein Hund läuft.", "A dog runs."] * 3, 300)
    for text in ("Ein Hund läuft.", "Straße, 3 – 東京!", "A  dog"):
        (ids,) = program.encode(tokenizer, [text])
        assert ids[-1] == program.EOS and tokenizer.decode(ids).strip() == text
    assert tokenizer.to_str() == program.train_tokenizer(["Ein Hund läuft.", "A dog runs."] * 3, 300).to_str()


def test_what_cannot_work_is_refused_in_one_line(run, tmp_path, data):
    for options, message in (
        (["--predict", "x"], "there is no saved model of this program in"),
        (["--batch-size", 0], "--batch-size must be at least 1, got 0"),
        (["--beams", 0], "--beams must be at least 1, got 0"),
        (["--heads", 5], r"width \(32\) has to be a multiple of heads \(5\)"),
        (["--split", "tset"], "multi30k: the split 'tset' does not exist"),
        (["--max-length", 2], "--max-length 2: a validation sentence has .* pieces of words"),
        (["--data", tmp_path, "--split", "test"], "there is no test_2016_flickr.de.gz in"),
    ):
        with pytest.raises(SystemExit, match=message):
            run(tmp_path / "out", *options)


def test_help_names_every_option(run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path, "--help")
    text = capsys.readouterr().out
    for option in "model method data device seed out resume split evaluate predict epochs lr batch-size beams limit warmup".split():
        assert f"--{option} " in text
