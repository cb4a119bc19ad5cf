"""The programs with images, small: they read the real file formats, learn, report, save, predict, resume, and refuse."""

import dataclasses
import functools
import gzip
import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

import minitorch
from minitorch import datasets

for library in ("tokenizers", "tqdm", "matplotlib", "sklearn", "PIL"):
    pytest.importorskip(library, reason=f"the examples need {library}: pip install minitorch[examples]")

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def pictures(n, size, rng):
    """Four classes, by place for the perceptron and by pattern for the convolutions: stripes along, across, a grid, none."""
    labels = np.arange(n) % 4
    images = rng.integers(0, 40, (n, size, size))
    stripes = np.arange(size) % 4 < 2
    patterns = np.stack([np.tile(stripes[:, None], size), np.tile(stripes, (size, 1)), np.outer(stripes, stripes)])
    inside = np.pad(np.ones((size - 8, size - 8), bool), 4)
    for image, label in zip(images, labels):
        if label < 3:
            image[patterns[label] & inside] = 255
    return images.astype(np.uint8), labels.astype(np.uint8)


def write_idx(file, array):
    with gzip.open(file, "wb") as packed:
        packed.write(bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small files in the formats of MNIST, Fashion-MNIST and CIFAR-10, and a folder of images by class."""
    from PIL import Image

    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in ("mnist", "fashion_mnist"):
        (root / name).mkdir()
        for part, n in (("train", 300), ("t10k", 40)):
            images, labels = pictures(n, 28, rng)
            write_idx(root / name / f"{part}-images-idx3-ubyte.gz", images)
            write_idx(root / name / f"{part}-labels-idx1-ubyte.gz", labels)
    (root / "cifar10_4k").mkdir()
    images, labels = pictures(200, 32, rng)
    records = np.concatenate([labels[:, None], np.repeat(images.reshape(200, 1, -1), 3, 1).reshape(200, -1)], 1)
    records.tofile(root / "cifar10_4k" / "cifar10_first4000_lossless.bin")
    for i, (image, label) in enumerate(zip(images, labels)):
        file = root / "photos" / f"row{label % 2}" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return root


@pytest.fixture(scope="module")
def programs():
    sys.path.insert(0, str(EXAMPLES))
    try:
        import classify_images
        import digits
        import images

        yield {"digits": digits, "classify_images": classify_images, "images": images}
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture
def run(programs, folder, monkeypatch):
    monkeypatch.setenv("MINITORCH_DATA", str(folder))
    monkeypatch.setattr(datasets, "mnist", functools.partial(datasets.mnist, check=False))
    tasks = programs["classify_images"].TASKS
    for name in ("fashion_mnist", "cifar10"):
        load = functools.partial(tasks[name].load, check=False)
        monkeypatch.setitem(tasks, name, dataclasses.replace(tasks[name], load=load))

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        programs["digits"].common.main(programs[name].main)

    return run


def figures(folder, name="report"):
    return json.loads((folder / f"{name}.json").read_text())["figures"]


SMALL = ("--batch-size", 20, "--width", 4)


def test_digits(run, folder, tmp_path, capsys):
    from PIL import Image

    run("digits", "--out", tmp_path, "--epochs", 5, "--hidden", 64, 32, "--batch-size", 20)
    assert figures(tmp_path)["accuracy"] > 0.9
    assert {file.name for file in tmp_path.iterdir()} == {
        "confusion.png", "curves.png", "model.ckpt", "report.json", "report.md", "settings.json",
    } | ({"errors.png"} if figures(tmp_path)["accuracy"] < 1 else set())  # fmt: skip
    assert "9 - nine" in (tmp_path / "report.md").read_text()
    run("digits", "--out", tmp_path, "--evaluate", "--split", "validation")
    assert "macro_f1" in figures(tmp_path, "report_validation")

    images, _ = pictures(10, 28, np.random.default_rng(1))
    Image.fromarray(images[5]).save(tmp_path / "light.png")
    Image.fromarray(255 - images[2]).resize((56, 56)).save(tmp_path / "paper.png")  # dark on light
    capsys.readouterr()
    run("digits", "--out", tmp_path, "--predict", tmp_path / "light.png", tmp_path / "paper.png", 12)
    said = capsys.readouterr().out.splitlines()
    assert [line[0] for line in said] == ["1", "2", "0"] and said[2].endswith("12 (is 0 - zero)")


def test_every_method_goes_on_with_digits(run, programs, tmp_path, monkeypatch, capsys):
    program, saved = programs["digits"], []
    monkeypatch.setattr("plots.plot_history", lambda *arguments: None)
    monkeypatch.setattr(program, "report", lambda run, title, data, model: saved.append(model))
    tiny = ("--limit", 20, "--batch-size", 20, "--epochs", 1)
    run("digits", "--out", tmp_path / "base", "--hidden", 8, 4, *tiny)
    run("digits", "--out", tmp_path / "linear", "--hidden", *tiny)
    x = minitorch.randn(3, 784)
    before = saved[0].state_dict()
    for method in program.common.FURTHER:
        more = (*tiny, "--model", tmp_path / "base", "--method", method)
        run("digits", "--out", tmp_path / method, "--dropout", 0, *more)
        model = program.load(tmp_path / method / "model.ckpt")
        assert minitorch.equal(model(x), saved[-1](x)) and model.config.dropout == 0.0
        changed = {name for name, value in model.state_dict().items() if not minitorch.equal(value, before[name])}
        head = {"output.weight", "output.bias"}
        body = {"bitfit": {"hidden.0.bias", "hidden.3.bias"}, "frozen": set()}
        lora = {"hidden.0.weight", "hidden.3.weight"}
        assert changed == (set(before) if method == "full" else head | body.get(method, lora)), method
        run("digits", "--out", tmp_path / method, "--predict", 1)
    for words, message in (
        (["--model", tmp_path / "linear", "--method", "lora"], "has an output layer alone"),
        (["--model", tmp_path / "base", "--hidden", 8], "--hidden is for a new model"),
        (["--method", "bitfit"], "give --model"),
        (["--model", tmp_path / "base", "--out", tmp_path / "base"], "the new run would replace it"),
    ):
        with pytest.raises(SystemExit, match=message):
            run("digits", "--out", tmp_path / "no", *tiny, *words)


def test_images_then_transfer(run, programs, tmp_path, capsys, monkeypatch):
    clothes, photos = tmp_path / "clothes", tmp_path / "photos"
    run("classify_images", "--out", clothes, "--epochs", 6, *SMALL)
    assert figures(clothes)["accuracy"] > 0.8
    assert json.loads((clothes / "model" / "config.json").read_text())["id2label"]["9"] == "Ankle boot"
    before = minitorch.serialization.load_safetensors(clothes / "model" / "model.safetensors")

    monkeypatch.setattr(programs["classify_images"], "report", lambda *arguments: None)
    monkeypatch.setattr("plots.plot_history", lambda *arguments: None)
    run("classify_images", "--task", "cifar10", "--model", clothes / "model", "--out", photos, "--epochs", 1,
        "--method", "frozen", "--batch-size", 20)  # fmt: skip
    after = minitorch.serialization.load_safetensors(photos / "model" / "model.safetensors")
    assert after["conv1.weight"].shape == (4, 3, 3, 3)
    assert minitorch.allclose(after["conv1.weight"].sum(1), before["conv1.weight"].sum(1), atol=1e-6)
    for name, value in before.items():  # the body stayed as it was, its running statistics, too
        assert name == "conv1.weight" or minitorch.equal(value, after[name]) != name.startswith("fc.")
    capsys.readouterr()
    run("classify_images", "--task", "cifar10", "--out", photos, "--predict", 0)
    assert " 0 (is " in capsys.readouterr().out
    run(
        "classify_images",
        "--task",
        "cifar10",
        "--model",
        clothes,
        "--out",
        tmp_path / "full",
        "--epochs",
        1,
        "--batch-size",
        20,
    )
    assert not minitorch.equal(
        minitorch.serialization.load_safetensors(tmp_path / "full/model/model.safetensors")["bn1.running_mean"],
        before["bn1.running_mean"],
    )


def test_a_folder_of_ones_own_images(run, folder, tmp_path, capsys):
    photos = folder / "photos"
    run("classify_images", "--task", "folder", "--data", photos, "--size", 16, "--out", tmp_path, "--epochs", 1, *SMALL)
    assert "row1" in (tmp_path / "report.md").read_text()
    capsys.readouterr()
    run("classify_images", "--task", "folder", "--size", 16, "--out", tmp_path, "--predict", photos / "row0" / "0.png")
    assert capsys.readouterr().out.startswith("row")


@pytest.mark.parametrize("name", ["digits", "classify_images"])
def test_a_run_that_is_stopped_goes_on(run, programs, tmp_path, monkeypatch, name):
    monkeypatch.setattr(programs[name], "report", lambda *arguments: None)
    monkeypatch.setattr("plots.plot_history", lambda *arguments: None)
    options = ("--epochs", 3, "--limit", 60, "--batch-size", 20, *(("--width", 4) if name != "digits" else ()))
    run(name, "--out", tmp_path / "whole", *options)
    accuracy, calls = programs[name].accuracy, []

    def stopped(*arguments):
        calls.append(0)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return accuracy(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(programs[name], "accuracy", stopped)
        with pytest.raises(SystemExit, match="--resume goes on"):
            run(name, "--out", tmp_path / "broken", *options)
    with pytest.raises(SystemExit, match="begun with other settings: seed 0 -> 7"):
        run(name, "--out", tmp_path / "broken", *options, "--seed", 7, "--resume")
    run(name, "--out", tmp_path / "broken", *options, "--resume")
    file = "model.ckpt" if name == "digits" else "model/model.safetensors"
    assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "broken" / file).read_bytes()


def test_crops_and_mirror_images(programs):
    program = programs["images"]
    images = np.random.default_rng(0).integers(1, 256, (40, 3, 6, 7), dtype=np.uint8)
    minitorch.manual_seed(0)
    cropped = program.random_crop(images, 2)
    assert cropped.shape == images.shape and cropped.dtype == np.uint8
    moves = set()
    for image, crop in zip(images, cropped):
        padded = np.pad(image, ((0, 0), (2, 2), (2, 2)))
        places = [(y, x) for y in range(5) for x in range(5) if (padded[:, y : y + 6, x : x + 7] == crop).all()]
        assert len(places) == 1
        moves.update(places)
    assert len(moves) > 15 and {y for y, _ in moves} == {x for _, x in moves} == {0, 1, 2, 3, 4}

    flipped = program.random_flip(images)
    same = (flipped == images).all((1, 2, 3))
    assert 8 < same.sum() < 32 and (flipped[~same] == images[~same][..., ::-1]).all()

    minitorch.manual_seed(3)
    first = [batch["images"] for batch in program.ImageBatches(images, np.arange(40), 16, padding=1, flip=True)]
    minitorch.manual_seed(3)
    batches = program.ImageBatches(images, np.arange(40), 16, padding=1, flip=True)
    again = list(batches)
    assert len(batches) == 3 and [len(batch["labels"]) for batch in again] == [16, 16, 8]
    assert all(minitorch.equal(a, b["images"]) for a, b in zip(first, again))
    assert sorted(sum((batch["labels"].tolist() for batch in again), [])) == list(range(40))
    assert all(not minitorch.equal(a, b["images"]) for a, b in zip(first, batches))  # the next epoch is another one


def test_what_cannot_work_is_refused_in_one_line(run, folder, tmp_path):
    with pytest.raises(SystemExit, match="there is no saved model"):
        run("digits", "--out", tmp_path, "--predict", 1)
    with pytest.raises(SystemExit, match="there is no saved model of this program in"):
        run("classify_images", "--out", tmp_path, "--predict", 1)
    with pytest.raises(SystemExit, match="--method frozen trains few weights beside those that --model gives"):
        run("classify_images", "--out", tmp_path, "--method", "frozen")
    with pytest.raises(SystemExit, match="--width is for a new model"):
        run("classify_images", "--out", tmp_path, "--width", 4, "--model", tmp_path)
    with pytest.raises(SystemExit, match="--size is for --task folder"):
        run("classify_images", "--out", tmp_path, "--size", 40)
    with pytest.raises(SystemExit, match="--task folder: --data must name a folder"):
        run("classify_images", "--out", tmp_path, "--task", "folder")
    with pytest.raises(SystemExit, match="splits train and validation, got test"):
        run("classify_images", "--out", tmp_path, "--task", "folder", "--data", folder / "photos", "--split", "test",
            "--epochs", 1, *SMALL)  # fmt: skip

    minitorch.save(minitorch.models.mlp.MLP(minitorch.models.mlp.MLPConfig()), tmp_path / "model.ckpt")
    for name, content, words in (("a.png", b"no image", "a.png is not an image"), ("b.png", None, "there is no image")):
        if content:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(SystemExit, match=words):
            run("digits", "--out", tmp_path, "--predict", tmp_path / name)
    with pytest.raises(SystemExit, match="there is no image 40: the split has 0 to 39"):
        run("digits", "--out", tmp_path, "--predict", 40)


@pytest.mark.parametrize("name", ["digits", "classify_images"])
def test_help_names_every_option(run, name, capsys):
    with pytest.raises(SystemExit):
        run(name, "--help")
    text = capsys.readouterr().out
    for (
        option
    ) in "model method data device seed out resume split evaluate predict epochs lr batch-size patience limit".split():
        assert f"--{option} " in text
