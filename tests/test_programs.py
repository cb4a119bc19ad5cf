"""Programs written for PyTorch, run as they are under `python -m minitorch.run`: they learn, and print PyTorch's losses.

tests/programs/ holds one of each kind that learners write. The comparison runs each program twice, under PyTorch and
under minitorch, from one seed: 50 steps, every printed loss equal to 4 significant digits, every other word the same.
"""

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "tests" / "programs"
NUMBER = r"-?\d+\.?\d*(?:e[-+]?\d+)?"
LOSS = re.compile(rf"loss ({NUMBER}|-?inf|nan)")
STEPS = 50

# name: the program with its options. {data} is the folder of MINITORCH_DATA; an option whose file is not there is left out.
RUNS = {
    "char_gpt": "char_gpt.py --data {data}/tinyshakespeare/input.txt",
    "names": "names.py --model bigram mlp rnn gru lstm transformer --data {data}/names/names.txt",
    "bert_pretraining": "bert_pretraining.py",
    "mnist_cnn": "mnist_cnn.py --root {images}",
    "resnet_cifar": "resnet_cifar.py {cifar}",
    "siamese": "siamese.py",
    "vae": "vae.py",
    "word_lm-LSTM": "word_lm.py --model LSTM",
    "word_lm-Transformer": "word_lm.py --model Transformer --lr 3",  # with 5 it amplifies rounding a thousandfold
    "time_series_lbfgs": "time_series_lbfgs.py",
    "polynomial_regression": "polynomial_regression.py",
    "policy_gradient-reinforce": "policy_gradient.py --algorithm reinforce --longest 30",
    "policy_gradient-actor-critic": "policy_gradient.py --algorithm actor-critic --longest 30",
    "dcgan": "dcgan.py",
    "seq2seq": "seq2seq.py",
    "custom_function": "custom_function.py",
    "fine_tune": "fine_tune.py",
    "text_classification": "text_classification.py --data {data}/sst2/train.tsv",
    "char_rnn": "char_rnn.py --model RNN",
    "autoencoder": "autoencoder.py",
    "linear_regression": "linear_regression.py",
}
WITHOUT_PYTORCH = ("char_gpt", "names", "mnist_cnn", "siamese", "fine_tune", "word_lm-Transformer")


def intel() -> bool:
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def command(name: str, folder: Path) -> list[str]:
    """The program's file and options."""
    data = os.environ.get("MINITORCH_DATA", "")
    cifar = os.path.exists(os.path.join(data, "cifar10_4k")) if data else False
    line = RUNS[name].format(data=data, images=folder, cifar=f"--root {folder}" if cifar else "--dummy")
    line = re.sub(r" --data (\S+)", lambda option: option[0] if data and os.path.exists(option[1]) else "", line)
    if "{images}" in RUNS[name] and not (data and os.path.exists(os.path.join(data, "mnist"))):
        synthetic_digits(folder / "MNIST" / "raw")
    script, *options = line.split()
    return [str(PROGRAMS / script), "--steps", str(STEPS), *options]


def synthetic_digits(folder: Path) -> None:
    """A data set in MNIST's files: digit d is a bright block in one of ten places."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for start, count in (("train", 600), ("t10k", 200)):
        labels = rng.integers(0, 10, count).astype(np.uint8)
        images = rng.integers(0, 60, (count, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels):
            image[2 + label // 5 * 13 :, 2 + label % 5 * 5 :][:10, :4] = 250
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
            (folder / f"{start}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))


def start(interpreter: list[str], arguments: list[str], folder: Path, path: Path) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *interpreter, *arguments], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def output(process: subprocess.Popen) -> str:
    printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return printed


def losses(printed: str) -> np.ndarray:
    return np.array([float(value) for value in LOSS.findall(printed)])


@pytest.mark.parametrize("name", WITHOUT_PYTORCH)
def test_programs_learn(name, tmp_path):
    printed = output(start(["-m", "minitorch.run"], command(name, tmp_path), tmp_path, ROOT))
    steps = [float(LOSS.search(line)[1]) for line in printed.splitlines() if line.startswith("step ")]
    runs = np.array(steps).reshape(-1, STEPS)
    assert np.isfinite(runs).all()
    assert (runs[:, -10:].mean(1) < runs[:, :5].mean(1) * 0.97).all(), printed


@pytest.mark.parity
@pytest.mark.parametrize("name", RUNS)
def test_programs_print_what_they_print_under_pytorch(name, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
    arguments = command(name, tmp_path)
    if intel():  # there PyTorch draws dropout and samples from another generator: docs/differences.md
        if name.startswith("policy_gradient"):
            pytest.skip("on Intel processors PyTorch samples from MKL's generator")
        if '"--dropout"' in Path(arguments[0]).read_text():
            arguments += ["--dropout", "0"]
    # at the same time: two processes, one thread each
    theirs, ours = (
        start([], arguments, tmp_path, PROGRAMS / "standin"),
        start(["-m", "minitorch.run"], arguments, tmp_path, ROOT),
    )
    theirs, ours = output(theirs), output(ours)
    expected = losses(theirs)
    assert len(expected) >= STEPS and "minitorch" not in theirs
    np.testing.assert_allclose(losses(ours), expected, rtol=2e-4, atol=2e-6)
    if not intel():
        assert re.sub(NUMBER, "#", ours) == re.sub(NUMBER, "#", theirs)


@pytest.mark.parametrize("program", sorted(PROGRAMS.glob("*.py")), ids=lambda path: path.stem)
def test_programs_know_nothing_of_minitorch(program):
    text = program.read_text()
    assert "import torch" in text and "minitorch" not in text.lower()
    assert any(line.split()[0] == program.name for line in RUNS.values()), f"{program.name} is never run"
