"""The example programs, small: they run, write what they promise, resume, and refuse what cannot work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minitorch

for library in ("tokenizers", "tqdm", "matplotlib", "sklearn"):
    pytest.importorskip(library, reason=f"the examples need {library}: pip install minitorch[examples]")

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TINY = dict(
    max_seq_length=16,
    layers=1,
    hidden=16,
    heads=2,
    batch_size=4,
    steps=6,
    lr=1e-3,
    eval_every=2,
    save_every=2,
    vocab_size=300,
)


@pytest.fixture(scope="module")
def pretrain_bert():
    sys.path.insert(0, str(EXAMPLES))
    try:
        import pretrain_bert

        yield pretrain_bert
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = np.random.default_rng(0)
    words = "the a value list file name is returns when reads writes old new string number of to and in".split()
    path = tmp_path_factory.mktemp("corpus") / "articles.txt"
    with open(path, "w", encoding="utf-8") as file:
        for number in range(120):
            sentences = "\n".join(" ".join(rng.choice(words, 9)).capitalize() + "." for _ in range(5))
            file.write(f"Article {number}\n{sentences}\n\n")
    return str(path)


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_that_stops_and_resumes_is_the_same_run(pretrain_bert, corpus, tmp_path):
    settings = pretrain_bert.Settings(corpus=corpus, dropout=0.1, **TINY)
    whole = pretrain_bert.Pretraining(settings, tmp_path / "whole").run()
    assert [record["step"] for record in metrics(whole.out)] == [2, 4, 6]
    assert json.loads((whole.out / "config.json").read_text())["hidden_size"] == 16

    stopped = pretrain_bert.Pretraining(settings, tmp_path / "stopped")
    for _ in range(2):
        stopped.train_step()
    stopped.log({"step": 2, **stopped.evaluate()})
    stopped.save_checkpoint()
    stopped.train_step()
    stopped.log({"step": 3, "mlm_loss": 0.0})  # after the checkpoint: resuming forgets it
    resumed = pretrain_bert.Pretraining(settings, tmp_path / "stopped", resume=True)
    assert resumed.step == 2 and [record["step"] for record in metrics(resumed.out)] == [2]
    resumed.run()
    files = [(run.out / "model.safetensors").read_bytes() for run in (whole, resumed)]
    assert files[0] == files[1]
    assert metrics(resumed.out)[1:] == metrics(whole.out)[1:]
    weights = minitorch.serialization.load_safetensors(whole.out / "model.safetensors")
    assert "bert.encoder.layer.0.attention.self.query.weight" in weights


def test_nothing_stays_of_a_run_that_ended_before_its_first_checkpoint(pretrain_bert, corpus, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    (tmp_path / "vocab.txt").write_text("old\n")
    run = pretrain_bert.Pretraining(pretrain_bert.Settings(corpus=corpus, **TINY), tmp_path, resume=True)
    assert run.step == 0 and not (tmp_path / "metrics.jsonl").exists() and len(run.tokenizer) > 50


def test_held_out_documents_are_not_trained_on(pretrain_bert, corpus, tmp_path):
    run = pretrain_bert.Pretraining(pretrain_bert.Settings(corpus=corpus, **TINY), tmp_path)
    held_out = {document.name for document in run.held_out}
    trained = {document.name for document, _ in run.corpus.documents() if run.keep(document)}
    assert len(held_out) >= 8 and not held_out & trained and len(held_out | trained) == 120


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"hidden": 15}, "--hidden 15 must be a multiple of --heads 2"),
        ({"max_seq_length": 4}, "--max-seq-length must be at least 8, got 4"),
        ({"batch_size": 0}, "--batch-size must be at least 1, got 0"),
        ({"vocab_size": 10}, "--vocab-size must be at least 200, got 10"),
        ({"warmup": 1.5}, "0 <= --warmup <= 1"),
        ({"corpus": "missing.txt"}, "--corpus missing.txt: there is no such file"),
    ],
)
def test_settings_that_cannot_work(pretrain_bert, corpus, tmp_path, changed, message):
    settings = pretrain_bert.Settings(**{**TINY, "corpus": corpus, **changed})
    with pytest.raises(SystemExit) as error:
        pretrain_bert.Pretraining(settings, tmp_path / "out")
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_resuming_a_run_that_was_killed_at_once_starts_it(pretrain_bert, corpus, tmp_path, capsys):
    settings = pretrain_bert.Settings(corpus=corpus, **TINY)
    run = pretrain_bert.Pretraining(settings, tmp_path / "not yet made", resume=True)
    assert run.step == 0
    assert "starting from the beginning" in capsys.readouterr().err


def test_resuming_refuses_what_does_not_fit(pretrain_bert, corpus, tmp_path):
    settings = pretrain_bert.Settings(corpus=corpus, **TINY)
    pretrain_bert.Pretraining(settings, tmp_path).save_checkpoint()
    with pytest.raises(SystemExit, match="holds a run already.*--resume"):
        pretrain_bert.Pretraining(settings, tmp_path)
    other = pretrain_bert.Settings(**{**vars(settings), "lr": 0.5})
    with pytest.raises(SystemExit, match="other settings: --lr was 0.001, is 0.5"):
        pretrain_bert.Pretraining(other, tmp_path, resume=True)
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(SystemExit, match="vocab.txt, is gone"):
        pretrain_bert.Pretraining(settings, tmp_path, resume=True)
    (tmp_path / "vocab.txt").write_text("x\n")
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    with pytest.raises(RuntimeError, match="checkpoint.safetensors"):
        pretrain_bert.Pretraining(settings, tmp_path, resume=True)


def test_the_programs_explain_themselves():
    for name, words in (
        ("pretrain_bert.py", ("--max-seq-length", "--resume", "stdlib")),
        ("demo.py", ("--out", "--seeds")),
    ):
        out = subprocess.run(
            [sys.executable, str(EXAMPLES / name), "--help"], capture_output=True, text=True, check=True, env=os.environ
        )
        assert all(word in out.stdout for word in words)


def test_the_demo_writes_its_report(tmp_path):
    """All of it, with three steps of pretraining and one seed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(EXAMPLES / "demo.py"), "--out", str(tmp_path), "--steps", "3", "--seeds", "1"]
    out = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert out.returncode == 0, out.stderr[-3000:]
    report = (tmp_path / "report.md").read_text()
    for file in ("curves.png", "attention.png", "metrics.jsonl", "model.safetensors", "vocab.txt"):
        assert file in report and (tmp_path / file).stat().st_size > 100
    for row in ("bag of words", "random weights", "pretrained", "frozen", "accuracy", "macro F1"):
        assert row in report and row in out.stdout
