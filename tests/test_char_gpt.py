"""examples/char_gpt.py, small: it learns, writes what it promises, resumes exactly, and refuses what cannot work."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import minitorch

for library in ("tokenizers", "tqdm", "matplotlib", "sklearn"):
    pytest.importorskip(library, reason=f"the examples need {library}: pip install minitorch[examples]")

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TINY = {
    "layers": 1, "heads": 2, "width": 16, "block": 8, "batch-size": 8, "steps": 60, "eval-every": 20, "warmup": 5,
    "lr": 0.01, "length": 30, "dropout": 0.1,
}  # fmt: skip


@pytest.fixture(scope="module")
def char_gpt():
    sys.path.insert(0, str(EXAMPLES))
    try:
        import char_gpt

        yield char_gpt
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("a rose is a rose — is a rose\n" * 200, encoding="utf-8")
    return str(path)


def run(char_gpt, monkeypatch, out, *more, **changed):
    options = {**TINY, "out": out, **changed}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    monkeypatch.setattr(sys, "argv", ["char_gpt.py", *words, *more])
    char_gpt.common.main(char_gpt.main)


def figures(folder):
    return json.loads((folder / "report.json").read_text())["figures"]


def test_a_run_writes_what_it_promises_and_resumes_exactly(char_gpt, text, monkeypatch, tmp_path, capsys):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(char_gpt, monkeypatch, whole, data=text)
    reached = figures(whole)
    assert reached["validation_loss"] < min(1.5, reached["pair_loss"] * 2)
    for file in ("curves.png", "report.md", "model/model.safetensors", "model/config.json", "model/characters.json"):
        assert (whole / file).stat().st_size > 10
    assert "Samples" in (whole / "report.md").read_text()

    evaluate, calls = char_gpt.evaluate, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(*args)

    monkeypatch.setattr(char_gpt, "evaluate", interrupted)
    with pytest.raises(SystemExit, match="--resume"):
        run(char_gpt, monkeypatch, stopped, data=text)
    monkeypatch.setattr(char_gpt, "evaluate", evaluate)
    with pytest.raises(SystemExit, match="other settings: lr 0.01 -> 0.5"):
        run(char_gpt, monkeypatch, stopped, "--resume", data=text, lr=0.5)
    run(char_gpt, monkeypatch, stopped, "--resume", data=text)
    assert {**figures(stopped), "seconds": 0} == {**reached, "seconds": 0}
    assert (stopped / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()

    capsys.readouterr()
    run(char_gpt, monkeypatch, whole, "--generate", "a ro", top_p=0.9, top_k=5)
    written = capsys.readouterr().out
    run(char_gpt, monkeypatch, whole, "--generate", "a ro", top_p=0.9, top_k=5)
    assert capsys.readouterr().out == written
    assert written.startswith("a ro") and set(written) <= set("a rose — is\n")
    for prompt, message in (("a tree", "does not have: 't'"), ("", "at least one character")):
        with pytest.raises(SystemExit, match=message):
            run(char_gpt, monkeypatch, whole, "--generate", prompt)


def test_the_validation_loss_is_of_the_whole_text(char_gpt):
    """Of a model that gives every character the same chance, and by hand of another."""
    minitorch.manual_seed(0)
    config = char_gpt.GPT2Config(vocab_size=7, n_positions=5, n_embd=8, n_layer=1, n_head=2)
    model = char_gpt.GPT2LMHeadModel(config).eval()
    ids = np.random.default_rng(0).integers(0, 7, 5 * 70 + 4)  # 70 windows and a rest
    p = [
        minitorch.log_softmax(model(minitorch.from_numpy(ids[None, i : i + 5])).logits[0], -1)
        .detach()
        .numpy()[np.arange(5), ids[i + 1 : i + 6]]
        for i in range(0, 350, 5)
    ]
    assert char_gpt.text_loss(model, ids, 5) == pytest.approx(-np.mean(p), rel=1e-5)
    counted = char_gpt.pair_loss(np.array([0, 1, 0, 1, 0]), np.array([0, 1, 0]), 2)
    assert counted == pytest.approx(-np.log(3 / 4))  # two pairs, and one of each kind added


def test_characters(char_gpt):
    characters = char_gpt.Characters("hello 世界")
    assert characters.decode(characters.encode("olleh 界")) == "olleh 界"
    assert characters.encode("").tolist() == [] and characters.characters == " ehlo世界"
    with pytest.raises(ValueError, match="does not have: 'xz'"):
        characters.encode("zhex")


@pytest.mark.parametrize("changed, message", [
    ({"heads": 3}, "--width 16 must be a multiple of --heads 3"),
    ({"eval_every": 7}, "--steps 60 must be a multiple of --eval-every 7"),
    ({"steps": 0}, "--steps must be at least 1, got 0"),
    ({"dropout": 1.0}, "--dropout must be at least 0 and below 1, got 1.0"),
    ({"temperature": 0}, "temperature must be above 0"),
    ({"top_p": 0}, r"top_p must be in \(0, 1\]"),
    ({"data": "missing.txt"}, "missing.txt"),
    ({"block": 600}, "600"),
])  # fmt: skip
def test_settings_that_cannot_work(char_gpt, text, monkeypatch, tmp_path, changed, message):
    with pytest.raises(SystemExit, match=message):
        run(char_gpt, monkeypatch, tmp_path / "out", **{"data": text, **changed})


def test_what_is_not_there(char_gpt, text, monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="no saved model.*train one first"):
        run(char_gpt, monkeypatch, tmp_path, "--generate", "a")
    with pytest.raises(SystemExit, match="--resume: there is no checkpoint"):
        run(char_gpt, monkeypatch, tmp_path, "--resume", data=text)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 100)
    with pytest.raises(SystemExit, match="utf-8"):
        run(char_gpt, monkeypatch, tmp_path, data=tmp_path / "latin.txt")


def test_the_program_explains_itself(char_gpt):
    words = " ".join(char_gpt.options().format_help().split())
    assert all(
        word in words
        for word in (
            "--generate",
            "--resume",
            "--model",
            "--method",
            "--patience",
            "--split",
            "--top-p",
            "nanoGPT",
            "(default: 0.001)",
        )
    )


def test_every_method_goes_on_with_a_saved_model(char_gpt, text, monkeypatch, tmp_path, capsys):
    """One step of each: its weights alone change, and the saved model is an ordinary one, the same as that in memory."""
    base, saved = tmp_path / "base", []
    run(char_gpt, monkeypatch, base, data=text, layers=2, steps=20, eval_every=20)
    sizes = ("layers", "heads", "width", "block", "dropout")
    more = {name: value for name, value in TINY.items() if name not in sizes}
    more |= {"steps": 1, "eval-every": 1, "warmup": 0}
    monkeypatch.setitem(globals(), "TINY", more)
    before = minitorch.serialization.load_safetensors(base / "model" / "model.safetensors")
    write = char_gpt.write
    monkeypatch.setattr(
        char_gpt, "write", lambda model, *rest, **more: saved.append(model) or write(model, *rest, **more)
    )
    ids = minitorch.tensor([[1, 2, 3, 4]])
    learns = {
        "full": "", "lora": "weight", "adalora": "weight", "bitfit": "bias", "frozen": r"\.h\.1\.|ln_f",
    }  # fmt: skip
    assert learns.keys() == char_gpt.common.FURTHER.keys()
    for method, pattern in learns.items():
        out = tmp_path / method
        run(char_gpt, monkeypatch, out, data=text, model=base, method=method)
        model, characters = char_gpt.load(out / "model")
        assert type(saved[-1]) is char_gpt.GPT2LMHeadModel
        assert minitorch.equal(model(ids).logits, saved[-1].cpu().eval()(ids).logits), method
        after = minitorch.serialization.load_safetensors(out / "model" / "model.safetensors")
        changed = {name for name, value in before.items() if not minitorch.equal(value, after[name])}
        assert before.keys() == after.keys() and all(re.search(pattern, name) for name in changed), method
        assert changed
        assert "validation_loss_before" in figures(out)
    capsys.readouterr()
    run(char_gpt, monkeypatch, tmp_path / "lora", "--predict", "a ro", "rose")
    assert "a ro" in (said := capsys.readouterr().out) and "\nrose" in said


def test_what_cannot_go_on(char_gpt, text, monkeypatch, tmp_path):
    base = tmp_path / "base"
    run(char_gpt, monkeypatch, base, data=text, steps=20)
    other = tmp_path / "other.txt"
    other.write_text("a zoo of roses\n" * 200)
    monkeypatch.setitem(globals(), "TINY", {"steps": 20, "eval-every": 20})
    for changed, message in (
        ({"model": base, "out": base}, "the new run would replace it"),
        ({"model": base / "model", "out": base}, "the new run would replace it"),
        ({"model": base, "width": 16}, "--width is for a new model"),
        ({"model": base, "data": other}, "training text does not have: '.*z'"),
        ({"model": tmp_path / "nothing"}, "there is no such model"),
        ({"model": tmp_path}, "no saved model of this program in"),
        ({"method": "lora"}, "--method lora .* give --model"),
        ({"split": "all"}, "--split all is for --evaluate"),
        ({"split": "test"}, "there are validation, .* and all"),
        ({"limit": 5}, "--limit 5 must be more than a window"),
        ({"limit": 0}, "--limit must be at least 1"),
    ):
        (tmp_path / "more").mkdir(exist_ok=True)
        (tmp_path / "more" / "checkpoint.ckpt").touch()
        settings = {"seed": 1, "lr": 0.1, "batch_size": 2}
        (tmp_path / "more" / "settings.json").write_text(json.dumps(settings))
        with pytest.raises(SystemExit, match=message):
            run(char_gpt, monkeypatch, **{"out": tmp_path / "more", "data": text, **changed})
        # an interrupted run that was there is not lost by a mistake in an option
        assert (tmp_path / "more" / "checkpoint.ckpt").exists()
        assert json.loads((tmp_path / "more" / "settings.json").read_text()) == settings
    assert (base / "report.json").is_file() and json.loads((base / "settings.json").read_text())["model"] is None


def test_going_on_resumes(char_gpt, text, monkeypatch, tmp_path):
    run(char_gpt, monkeypatch, tmp_path / "base", data=text, steps=20)
    monkeypatch.setitem(globals(), "TINY", {"steps": 30, "eval-every": 10, "length": 5})
    go_on = {"data": text, "model": tmp_path / "base", "method": "adalora", "dropout": 0.2}
    run(char_gpt, monkeypatch, tmp_path / "whole", **go_on)
    evaluate, calls = char_gpt.evaluate, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*args)

    with monkeypatch.context() as broken:
        broken.setattr(char_gpt, "evaluate", interrupted)
        with pytest.raises(SystemExit, match="--resume"):
            run(char_gpt, monkeypatch, tmp_path / "stopped", **go_on)
    with pytest.raises(SystemExit, match="other settings: method adalora -> lora"):
        run(char_gpt, monkeypatch, tmp_path / "stopped", "--resume", **{**go_on, "method": "lora", "lr": 1e-2})
    run(char_gpt, monkeypatch, tmp_path / "stopped", "--resume", **go_on)
    a, b = ((tmp_path / name / "model/model.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert a == b
    assert json.loads((tmp_path / "whole/model/config.json").read_text())["resid_pdrop"] == 0.2


def test_the_loss_on_another_text_and_patience(char_gpt, text, monkeypatch, tmp_path, capsys):
    run(char_gpt, monkeypatch, tmp_path, data=text, steps=60, eval_every=1, patience=1, lr=1, warmup=0, limit=500)
    assert "train 60/60" not in capsys.readouterr().out
    best = figures(tmp_path)["validation_loss"]
    assert "500 characters to learn from" in (tmp_path / "report.md").read_text()
    run(char_gpt, monkeypatch, tmp_path, "--evaluate", data=text)
    again = json.loads((tmp_path / "report_validation.json").read_text())["figures"]
    assert again["loss"] == pytest.approx(best) and again["bits"] == pytest.approx(best / np.log(2))
    short = tmp_path / "short.txt"
    short.write_text("a rose")  # less than a window
    run(char_gpt, monkeypatch, tmp_path, "--evaluate", data=short, split="all")
    all_of_it = json.loads((tmp_path / "report_all.json").read_text())["figures"]
    assert all_of_it["characters"] == 6 and (tmp_path / "report.md").is_file()
    with pytest.raises(SystemExit, match="nothing to predict"):
        run(char_gpt, monkeypatch, tmp_path, "--evaluate", data=short)
