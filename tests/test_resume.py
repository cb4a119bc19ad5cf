"""A training run that is killed at any moment and started again ends with the same weights, bit for bit."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STEPS, SAVE_EVERY = 40, 3


def train(out, workers, report, die=None):
    """A small network with dropout, on data with random noise, seven shuffled batches an epoch; goes on if it can.

    die: the call of `os` in the middle of a save at which the process is killed.
    """
    import minitorch
    from minitorch import nn
    from minitorch.utils.data import DataLoader

    minitorch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Dropout(0.2), nn.LayerNorm(32), nn.Linear(32, 3))
    optimizer = minitorch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = minitorch.optim.lr_scheduler.linear_warmup_decay(optimizer, 4, STEPS)
    context = "fork" if workers else None
    loader = DataLoader(Noisy(), batch_size=8, shuffle=True, num_workers=workers, multiprocessing_context=context)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "loader": loader}
    step = 0
    if (out / "run.ckpt").exists():
        checkpoint = minitorch.load(out / "run.ckpt")
        for name, part in parts.items():
            part.load_state_dict(checkpoint[name])
        step = checkpoint["step"]
        minitorch.set_rng_state(checkpoint["random"])
    if die:
        setattr(os, die, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    while step < STEPS:
        for x, y in loader:
            report.send(("step", step))
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            step += 1
            if step % SAVE_EVERY == 0:
                states = {name: part.state_dict() for name, part in parts.items()}
                report.send(("saving", step))
                minitorch.save({**states, "step": step, "random": minitorch.get_rng_state()}, out / "run.ckpt")
            if step == STEPS:
                break
    minitorch.serialization.save_safetensors(model.state_dict(), out / "model.safetensors")


class Noisy:
    def __len__(self):
        return 50

    def __getitem__(self, i):
        import minitorch

        return minitorch.full((6,), i / 50) + 0.1 * minitorch.randn(6), i % 3


@pytest.fixture(scope="module")
def processes():
    """A server that has imported minitorch and forks a process at once: a kill costs no second start of Python."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["minitorch", "minitorch.utils.data", "minitorch.kernels.cpu"])
    return context


def start(context, out, workers, die=None):
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=train, args=(out, workers, writer, die))
    process.start()
    writer.close()
    return process, reader


def messages(reader):
    try:
        while True:
            yield reader.recv()
    except EOFError:
        return


def finish(context, out, workers):
    process, reader = start(context, out, workers)
    for _ in messages(reader):
        pass
    process.join()
    assert process.exitcode == 0
    return (out / "model.safetensors").read_bytes()


def leftovers(folder):
    return [name for name in os.listdir(folder) if name.endswith(".minitorch-tmp")]


@pytest.mark.parametrize("workers, kills", [(0, 6), (2, 3)])
def test_a_killed_training_ends_with_the_same_weights(processes, tmp_path, workers, kills):
    chooser, killed, steps = random.Random(workers), 0, []
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir(), broken.mkdir()
    expected = finish(processes, whole, workers)
    while killed < kills:
        process, reader = start(processes, broken, workers)
        kind, goal = chooser.choice(["step", "saving", "saving"]), chooser.randrange(1, 4)
        for what, step in messages(reader):
            goal -= what == kind
            if goal <= 0:
                steps.append(step)
                break
        time.sleep(chooser.uniform(0, 0.002))  # somewhere in the step, or in the save
        process.kill()
        process.join()
        if process.exitcode == 0:
            break  # it was faster
        assert process.exitcode == -signal.SIGKILL
        killed += 1
        if killed == 3:  # and where nothing but luck would hit: with the new file written, and with it synced
            for call in ("fsync", "replace"):
                process, reader = start(processes, broken, workers, call)
                process.join()
                assert process.exitcode == -signal.SIGKILL and leftovers(broken)
    assert killed >= 3 and len(set(steps)) >= 3, "the program ended before it could be killed: nothing was tested"
    assert finish(processes, broken, workers) == expected
    assert not leftovers(broken) and len(os.listdir(broken)) == 2


def saves(folder):
    """Grows when a save begins, and when it ends."""
    checkpoints = [folder / name for name in os.listdir(folder) if name.endswith(".safetensors")]
    return {*leftovers(folder), *(path.stat().st_mtime_ns for path in checkpoints)}


# --- the program -----------------------------------------------------------------------------------------------------

PROGRAM = ROOT / "examples" / "pretrain_bert.py"
SIZES = (
    "--max-seq-length 32 --layers 1 --hidden 16 --heads 2 --batch-size 4 --steps 12 --lr 1e-3 --warmup 0.1 "
    "--eval-every 6 --save-every 2 --vocab-size 200 --seed 3"
)


@pytest.mark.skipif(not PROGRAM.exists(), reason="examples/pretrain_bert.py is not there")
def test_a_killed_pretraining_ends_with_the_same_weights(tmp_path):
    """The same with the program itself: a process that is started and killed from outside, as a user's would be."""
    corpus = tmp_path / "corpus.txt"
    chooser = random.Random(5)
    words = [w for w in PROGRAM.read_text().split() if w.isalpha()]
    with open(corpus, "w") as file:
        for _ in range(60):
            for _ in range(chooser.randrange(3, 8)):
                file.write(" ".join(chooser.choices(words, k=12)) + ".\n")
            file.write("\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

    def run(out, *more):
        command = [sys.executable, str(PROGRAM), "--corpus", str(corpus), "--out", str(out), *SIZES.split(), *more]
        with open(tmp_path / "log", "ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=tmp_path)

    whole, broken = run(tmp_path / "whole"), tmp_path / "broken"
    broken.mkdir()
    killed = 0
    for pause in (0, 0, chooser.uniform(0, 0.1)):
        before = saves(broken)
        process = run(broken, "--resume")
        while process.poll() is None and saves(broken) <= before:
            time.sleep(0.0002)  # until it saves
        time.sleep(pause)
        process.kill()
        process.wait()
        killed += process.returncode == -signal.SIGKILL
    last = run(broken, "--resume")
    for process in (whole, last):
        assert process.wait() == 0, (tmp_path / "log").read_text()[-3000:]
    assert killed >= 2, "the program ended before it could be killed: nothing was tested"
    found, expected = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("broken", "whole"))
    assert found == expected
    assert not leftovers(broken)
