"""The text classification program, small: trains, reports, saves, predicts, resumes, and refuses what cannot work."""

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from minitorch.models.bert import BertConfig, BertForSequenceClassification

import minitorch

for library in ("tokenizers", "tqdm", "matplotlib", "sklearn"):
    pytest.importorskip(library, reason=f"the examples need {library}: pip install minitorch[examples]")

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
GOOD, BAD = "fine great joy fun lovely".split(), "dull awful bore mess bad".split()
OTHER = "the a film plot actor scene is was and with".split()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny BERT with random weights in a folder as published ones come."""
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *OTHER]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    minitorch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, hidden_dropout_prob=0.0, initializer_range=0.15,
    )  # fmt: skip
    BertForSequenceClassification(config).bert.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = random.Random(0)
    file = tmp_path_factory.mktemp("data") / "reviews.tsv"
    lines = []
    for i in range(160):
        label, words = ("up", GOOD) if i % 2 else ("down", BAD)
        text = [*rng.choices(OTHER, k=rng.randint(2, 9)), rng.choice(words)]
        rng.shuffle(text)
        lines.append(f"{' '.join(text)}\t{label}\n")
    file.write_text("".join(lines))
    return file


@pytest.fixture(scope="module")
def program():
    sys.path.insert(0, str(EXAMPLES))
    try:
        import classify_text

        yield classify_text
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture
def run(program, model, data, monkeypatch):
    def run(out, *more):
        arguments = ["--task", "file", "--data", str(data), "--model", str(model), "--out", str(out), "--lr", "0.01"]
        monkeypatch.setattr(sys, "argv", ["classify_text.py", *arguments, "--batch-size", "8", *map(str, more)])
        program.common.main(program.main)

    return run


def figures(folder, name="report"):
    return json.loads((folder / f"{name}.json").read_text())["figures"]


@pytest.mark.parametrize("method, lr, least", [("full", 0.01, 0.9), ("lora", 0.01, 0.6)])
def test_it_learns_saves_evaluates_and_predicts(run, tmp_path, capsys, method, lr, least):
    run(tmp_path, "--method", method, "--lr", lr, "--epochs", 4 if method == "full" else 8)
    assert figures(tmp_path)["accuracy"] > least  # the body is random: what LoRA does not change is noise
    assert {file.name for file in tmp_path.iterdir()} == {
        "confusion.png", "curves.png", "model", "report.json", "report.md", "settings.json",
    }  # fmt: skip
    assert "macro avg" in (tmp_path / "report.md").read_text()
    run(tmp_path, "--evaluate", "--split", "train")
    assert figures(tmp_path, "report_train")["accuracy"] > least
    capsys.readouterr()
    run(tmp_path, "--predict", "a lovely film", "the plot is a mess")
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("a lovely film") and second.endswith("the plot is a mess")
    if method == "full":
        assert first.startswith("up ") and second.startswith("down ")


def test_the_other_methods_run(run, tmp_path):
    for method in ("frozen", "adalora", "adapter", "prefix", "bitfit"):
        run(tmp_path / method, "--method", method, "--epochs", 1, "--limit", 16)
        run(tmp_path / method, "--evaluate")
        assert figures(tmp_path / method) == figures(tmp_path / method, "report_validation")


@pytest.mark.parametrize("method, average, evaluation", [("full", 1, 1), ("adalora", 1, 1), ("full", 2, 5)])
def test_a_run_that_is_stopped_goes_on(run, program, tmp_path, monkeypatch, method, average, evaluation):
    options = ("--method", method, "--average", average, "--epochs", 3, "--limit", 40, "--accumulate", 2)
    run(tmp_path / "whole", *options)
    calls = iter(range(100))
    choose = program.choices

    def stop(*args):
        if next(calls) == evaluation:  # of the (last) training's second epoch
            raise ValueError("stopped")
        return choose(*args)

    with monkeypatch.context() as broken:
        broken.setattr(program, "choices", stop)
        with pytest.raises(SystemExit, match="stopped"):
            run(tmp_path / "broken", *options)
    with pytest.raises(SystemExit, match="begun with other settings: seed 0 -> 7"):
        run(tmp_path / "broken", *options, "--seed", 7, "--resume")
    run(tmp_path / "broken", *options, "--resume")
    assert figures(tmp_path / "whole") == figures(tmp_path / "broken")
    with pytest.raises(SystemExit, match="--resume: there is no checkpoint"):
        run(tmp_path / "broken", *options, "--resume")


def test_what_cannot_work_is_refused_in_one_line(run, tmp_path, data, capsys):
    with pytest.raises(SystemExit, match="there is no saved model of this program in"):
        run(tmp_path, "--predict", "x")
    for place in (data, data / "below"):
        with pytest.raises(SystemExit, match="reviews.tsv is a file; give a folder"):
            run(place)
    with pytest.raises(SystemExit, match="sst2: expected the folder that holds its files, got the file .*reviews.tsv"):
        run(tmp_path, "--task", "sst2")
    with pytest.raises(SystemExit, match="--batch-size must be at least 1, got 0"):
        run(tmp_path, "--batch-size", 0)
    for rate in ("-1", "inf"):
        with pytest.raises(SystemExit, match="--lr must be a number above 0"):
            run(tmp_path, "--lr", rate)
    with pytest.raises(SystemExit, match="--average must be at least 1, got 0"):
        run(tmp_path, "--average", 0)
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, "--average", 2, "--method", "lora")
    assert "--average is for --method full" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, "--r-drop", -1)
    assert "--r-drop must be a number of at least 0, got -1" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="splits train, validation and all, got test"):
        run(tmp_path, "--split", "test", "--epochs", 1, "--limit", 8)
    wrong = tmp_path / "wrong.tsv"
    wrong.write_text("a film\tup\n\nno label here\n")
    with pytest.raises(SystemExit, match=r"wrong.tsv, line 3: expected text TAB label, got 'no label here'"):
        run(tmp_path, "--data", wrong)


def test_what_is_averaged_is_at_least_as_good_as_the_best_training(run, tmp_path, capsys):
    run(tmp_path, "--average", 3, "--r-drop", 1, "--epochs", 2, "--lr", 0.005)
    report = (tmp_path / "report.md").read_text()
    assert re.search(r"averaged: the weights of the trainings [123]((, [123])*), of 3", report)
    said = capsys.readouterr().out
    best = [float(value) for value in re.findall(r"training \d, epoch.*validation_accuracy ([\d.]+)", said)]
    assert len(best) == 6 and figures(tmp_path)["accuracy"] >= max(best) - 1e-4


@pytest.mark.parametrize("first, second", [("lora", "full"), ("full", "lora")])
def test_what_another_method_left_in_the_folder_does_not_answer(run, tmp_path, first, second):
    run(tmp_path, "--method", first, "--epochs", 1, "--limit", 16, "--lr", 1e-6)
    run(tmp_path, "--method", second, "--epochs", 4)
    run(tmp_path, "--evaluate")
    assert figures(tmp_path) == figures(tmp_path, "report_validation")
    files = {file.name for file in (tmp_path / "model").iterdir()}
    assert ("model.safetensors" in files) == (second == "full") and ("labels.json" in files) == (second == "lora")
    settings = json.loads((tmp_path / "report_validation.json").read_text())["settings"]
    assert settings["method"] == second and settings["evaluate"], "the model's settings, not the defaults"


def test_a_head_stays_with_its_classes_names(run, tmp_path, data, capsys):
    run(tmp_path / "first", "--epochs", 4)
    assert figures(tmp_path / "first")["accuracy"] > 0.9
    other = tmp_path / "other.tsv"
    still = ("--lr", 1e-9, "--epochs", 1, "--data", other, "--model", tmp_path / "first")  # the run's folder will do
    other.write_text(data.read_text().replace("\tup", "\tUp"))  # sorted: Up, down
    run(tmp_path / "again", *still)
    assert figures(tmp_path / "again")["accuracy"] == figures(tmp_path / "first")["accuracy"]
    assert json.loads((tmp_path / "again" / "report.json").read_text())["settings"]["model"].endswith("first/model")
    other.write_text(data.read_text().replace("\tup", "\tapple").replace("\tdown", "\tpear"))
    run(tmp_path / "new", *still)
    sure = re.findall(r"said \w+ \((0\.\d+)\)", (tmp_path / "new" / "report.md").read_text())
    assert sure and all(float(value) < 0.9 for value in sure), "a head of other classes knows nothing"
    assert "classes to learn: apple" in (tmp_path / "new" / "report.md").read_text()
    capsys.readouterr()
    run(tmp_path / "first", "--predict", "a lovely film", "--model", tmp_path / "new")
    said = capsys.readouterr()
    assert said.out.startswith("up ") and "--model is for the training" in said.err


@pytest.mark.parametrize("method", ["full", "lora"])
def test_another_programs_model_does_not_answer(run, tmp_path, method):
    run(tmp_path, "--epochs", 1, "--limit", 16, "--method", method)
    name = "config.json" if method == "full" else "adapter_config.json"
    file = tmp_path / "model" / name
    file.write_text(file.read_text().replace("SequenceClass", "TokenClass").replace("SEQ_CLS", "TOKEN_CLS"))
    with pytest.raises(SystemExit, match="holds a BertForTokenClassification, .* is a BertForSequenceClassification"):
        run(tmp_path, "--predict", "x")


def test_files_that_no_run_wrote_stay(run, tmp_path):
    for folder, mine in (("a", "report_thesis.md"), ("b", "model/net.py"), ("c", "settings.json")):
        file = tmp_path / folder / mine
        file.parent.mkdir(parents=True)
        file.write_text("{}")
        with pytest.raises(SystemExit, match=f"{mine.partition('/')[0]} would be overwritten, and no run"):
            run(tmp_path / folder, "--epochs", 1, "--limit", 16)
        assert file.read_text() == "{}"
    run(tmp_path / "MY_TASKS", "--epochs", 1, "--limit", 16)
    assert (tmp_path / "MY_TASKS" / "notes.txt").write_text("mine") and (tmp_path / "MY_TASKS" / "report.md").exists()
    run(tmp_path / "MY_TASKS", "--epochs", 1, "--limit", 16)
    assert (tmp_path / "MY_TASKS" / "notes.txt").read_text() == "mine"


def test_a_damaged_adapter_and_a_base_that_is_another_or_gone_are_named(run, tmp_path):
    run(tmp_path / "base", "--epochs", 1, "--limit", 16)
    run(tmp_path, "--epochs", 1, "--limit", 16, "--method", "lora", "--model", tmp_path / "base")
    run(tmp_path, "--predict", "x")
    weights = tmp_path / "base" / "model" / "model.safetensors"
    kept = weights.read_bytes()
    run(tmp_path / "base", "--epochs", 1, "--limit", 16, "--seed", 1)
    with pytest.raises(SystemExit, match="and that has other weights by now: train again, or put the old ones back"):
        run(tmp_path, "--predict", "x")
    weights.write_bytes(kept)
    run(tmp_path, "--predict", "x")
    (tmp_path / "base" / "model" / "config.json").unlink()
    with pytest.raises(SystemExit, match="holds what was learnt on top of the model .*base/model: .*no config.json"):
        run(tmp_path, "--predict", "x")
    (tmp_path / "model" / "adapter_config.json").write_text("{}")
    with pytest.raises(SystemExit, match="adapter_config.json does not say to which model it belongs"):
        run(tmp_path, "--predict", "x")
    (tmp_path / "model" / "labels.json").write_text("[]")
    with pytest.raises(SystemExit, match="labels.json must hold a JSON object"):
        run(tmp_path, "--predict", "x")
    (tmp_path / "model" / "labels.json").unlink()
    with pytest.raises(SystemExit, match="labels.json, which names the classes, is gone"):
        run(tmp_path, "--predict", "x")


def test_a_tokenizer_with_more_pieces_than_the_model_knows_is_refused(run, model, tmp_path):
    wrong = shutil.copytree(model, tmp_path / "wrong")
    with open(wrong / "vocab.txt", "a") as file:
        file.write("more\n")
    with pytest.raises(SystemExit, match="wrong: the tokenizer has 26 word pieces, and the model knows 25"):
        run(tmp_path / "run", "--model", wrong)
    run(tmp_path / "run", "--epochs", 1, "--limit", 16)
    (tmp_path / "run" / "model" / "tokenizer.json").unlink()
    shutil.copy(wrong / "vocab.txt", tmp_path / "run" / "model")
    with pytest.raises(SystemExit, match="model: the tokenizer has 26 word pieces"):
        run(tmp_path / "run", "--predict", "x")


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_model_that_learnt_one_task_goes_on_with_another_of_more_classes(run, tmp_path, data, method):
    run(tmp_path / "two", "--epochs", 4)
    third = tmp_path / "three.tsv"
    third.write_text(data.read_text() + "".join(f"the {word} is with {word}\tnone\n" for word in OTHER * 4))
    options = ("--data", third, "--model", tmp_path / "two" / "model", "--method", method)
    run(tmp_path / "three", *options, "--epochs", 4)
    assert figures(tmp_path / "three")["accuracy"] > 0.6  # the largest class: 0.39
    run(tmp_path / "three", "--evaluate", "--data", third)
    assert figures(tmp_path / "three") == figures(tmp_path / "three", "report_validation")
    settings = tmp_path / "two" / "model" / "config.json"  # a body of another shape is no new task
    settings.write_text(settings.read_text().replace('"intermediate_size": 32', '"intermediate_size": 31'))
    with pytest.raises(SystemExit, match=r"intermediate.dense.weight \(32, 16\), not \(31, 16\)"):
        run(tmp_path / "three", *options)
    settings.write_text(settings.read_text().replace(": 31", ": 32").replace('hidden_layers": 2', 'hidden_layers": 1'))
    with pytest.raises(SystemExit, match=r"encoder.layer.1.attention.*, which it lacks"):
        run(tmp_path / "three", *options)


def test_a_file_of_ones_own_is_evaluated_as_a_whole_though_it_has_fewer_classes(run, tmp_path, data):
    run(tmp_path, "--epochs", 4)
    test = tmp_path / "test.tsv"
    test.write_text("".join(f"{word} film\tup\n" for word in GOOD))
    run(tmp_path, "--evaluate", "--split", "all", "--data", test)
    assert f"split all: {len(GOOD)} texts" in (tmp_path / "report_all.md").read_text()
    assert figures(tmp_path, "report_all")["accuracy"] == 1  # "up" is the model's second class, and the file's first
    test.write_text("a film\tsideways\n")
    with pytest.raises(SystemExit, match="has the classes down, up; --task file has sideways, too"):
        run(tmp_path, "--evaluate", "--split", "all", "--data", test)


def test_classes_in_another_order_are_refused_where_labels_are_taken_by_number(program):
    check = program.common.Run.check_classes
    run = SimpleNamespace(model="here", args=SimpleNamespace(task="file"))
    model = SimpleNamespace(config=SimpleNamespace(id2label={0: "no", 1: "so so", 2: "yes"}))
    assert check(run, model, ["no", "so so", "yes"]) == ["no", "so so", "yes"]
    for classes in (["yes", "so so", "no"], ["no", "yes"]):
        assert check(run, model, classes, by_name=True) == ["no", "so so", "yes"]
        with pytest.raises(SystemExit, match="has the classes no, so so, yes; --task file has " + ", ".join(classes)):
            check(run, model, classes)


@pytest.mark.parametrize("method", ["full", "prefix"])
def test_a_text_longer_than_the_model_reads_is_cut(run, tmp_path, capsys, method):
    run(tmp_path, "--method", method, "--epochs", 1, "--limit", 16)
    capsys.readouterr()
    run(tmp_path, "--predict", "lovely " + "film " * 100)
    assert capsys.readouterr().out.startswith(("up ", "down "))


def test_a_run_does_not_go_on_with_other_data(run, program, tmp_path, data, monkeypatch):
    own = tmp_path / "own.tsv"
    own.write_text(data.read_text())

    def stop(*args):
        raise ValueError("stopped")

    with monkeypatch.context() as broken:
        broken.setattr(program, "choices", stop)
        with pytest.raises(SystemExit, match="stopped"):
            run(tmp_path / "out", "--data", own)
    (tmp_path / "out" / "checkpoint.ckpt").touch()
    own.write_text(data.read_text().replace("up", "above"))
    with pytest.raises(SystemExit, match="begun with other settings: data_sha256"):
        run(tmp_path / "out", "--data", own, "--resume")


def test_help_names_every_option(program):
    text = subprocess.run(
        [sys.executable, str(EXAMPLES / "classify_text.py"), "--help"], capture_output=True, text=True, check=True
    ).stdout
    for (
        option
    ) in "model data device seed method out resume split evaluate predict epochs lr batch-size patience".split():
        assert f"--{option} " in text
