"""`python -m minitorch.run`: `import torch` is answered by minitorch, here and in every process that the program starts."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(folder, program, *arguments, name="program.py", options=(), check=True):
    """What a program prints under minitorch.run."""
    path = Path(folder) / name
    path.write_text(textwrap.dedent(program))
    target = [str(path)] if not options else list(options)
    result = subprocess.run(
        [sys.executable, "-m", "minitorch.run", *target, *arguments],
        cwd=folder, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if check:
        assert result.returncode == 0, result.stderr
    return result.stdout if check else result


def test_every_name_gives_the_same_objects(tmp_path):
    program = """
        import torch, minitorch
        import torch.nn as nn
        import torch.nn.functional as F
        import torch.optim as optim
        from torch import Tensor, tensor, optim as optim2
        from torch.autograd import Function, Variable
        from torch.distributed import init_process_group
        from torch.nn import Module, init
        from torch.nn.modules.activation import MultiheadAttention
        from torch.nn.modules.module import Module as M2
        from torch.nn.parallel import DistributedDataParallel as DDP
        from torch.nn.parameter import Parameter
        from torch.nn.utils import clip_grad_norm_
        from torch.optim.lr_scheduler import StepLR
        from torch.optim.adamw import AdamW
        from torch.utils.data import DataLoader, Dataset
        from torch.utils.data.dataloader import DataLoader as D2
        from torch.utils.data.dataset import Dataset as S2
        import torch.utils.checkpoint, torch.autograd.functional, torch.linalg, torch.version

        assert torch is minitorch and nn is minitorch.nn and F is minitorch.nn.functional
        assert Tensor is minitorch.Tensor and Module is M2 is nn.modules.Module and AdamW is optim.AdamW
        assert D2 is DataLoader and S2 is Dataset and optim2 is optim and StepLR is optim.lr_scheduler.StepLR
        assert torch.__name__ == "minitorch" and torch.nn.__spec__.name == "minitorch.nn"
        x = Variable(torch.ones(2, 3), requires_grad=True)
        x.sum().backward()
        print(torch.__version__.split("+")[0] >= "2.0", x.grad.shape, x.dtype, torch.zeros(1, dtype=torch.float64))
    """
    expected = "True torch.Size([2, 3]) torch.float32 tensor([0.], dtype=torch.float64)\n"
    assert run(tmp_path, program) == expected


def test_it_is_a_program_of_its_own(tmp_path):
    """Arguments, `__main__`, the files beside it, exit status, a module by name."""
    (tmp_path / "beside.py").write_text("import torch\nhere = torch.arange(3)\n")
    program = """
        import sys
        from pathlib import Path
        from beside import here
        print(__name__, Path(__file__).name, sys.argv[1:], here.tolist(), sys.modules["__main__"].__file__ == __file__)
        if "--fail" in sys.argv:
            sys.exit(3)
    """
    assert run(tmp_path, program, "--lr", "0.1") == "__main__ program.py ['--lr', '0.1'] [0, 1, 2] True\n"
    assert run(tmp_path, program, "--fail", check=False).returncode == 3
    assert run(tmp_path, program, "x", options=("-m", "program")).startswith("__main__ program.py ['x'] [0, 1, 2]")


def test_processes_that_it_starts_see_minitorch_too(tmp_path):
    program = """
        import subprocess, sys
        import torch
        import torch.multiprocessing as mp
        from torch.utils.data import DataLoader, TensorDataset

        def work(queue):
            import torch
            queue.put(torch.__name__)

        if __name__ == "__main__":
            context = mp.get_context("spawn")
            queue = context.Queue()
            process = context.Process(target=work, args=(queue,))
            process.start()
            print(queue.get())
            process.join()
            code = "import torch, torch.nn; print(torch.__name__, torch.nn.Linear.__module__)"
            print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip())
            loader = DataLoader(TensorDataset(torch.arange(4)), 2, num_workers=1, multiprocessing_context="spawn")
            print([batch[0].tolist() for batch in loader])
    """
    assert run(tmp_path, program) == "minitorch\nminitorch minitorch.nn.linear\n[[0, 1], [2, 3]]\n"


@pytest.mark.parametrize(
    "line, words",
    [
        ("import torch.fft", "minitorch has no 'fft' (complex dtypes are out of scope"),
        ("from torch import stft", "minitorch has no 'stft' (complex dtypes are out of scope"),
        ("import torch; torch.inv", "minitorch has no 'inv'; the nearest is minitorch.linalg.inv"),
        ("import torch; torch.nn.Conv4d", "minitorch.nn has no 'Conv4d'; the nearest are Conv3d, Conv2d, Conv1d"),
        ("import torch; torch.optim.Adammm", "minitorch.optim has no 'Adammm'"),
        ("import torch; torch.nn.functional.mse", "minitorch.nn.functional has no 'mse'"),
        ("import torch; torch.nn.functional.cat", "the nearest is minitorch.cat"),
        ("import torch; torch.zeros(2).to_sparse()", "Tensor has no 'to_sparse' (tensors are dense)"),
        ("import torch; torch.zeros(2).reshpe(1)", "Tensor has no 'reshpe'; the nearest are reshape"),
        (
            "from torch.utils.data import Datset",
            "minitorch.utils.data has no 'Datset'; the nearest are Dataset, dataset",
        ),
        ("import torchvision.ops", "minitorch.vision has no 'ops'"),
        ("import torch; torch.distributed.init_process_group('nccl')", "minitorch trains in one process"),
        ("import torch; torch.nn.parallel.DistributedDataParallel(None)", "minitorch trains in one process"),
        ("import torch; torch.nn.DataParallel(torch.nn.Linear(1, 1), [0, 1])", "DataParallel: one device at most"),
    ],
)
def test_what_is_missing_is_named(tmp_path, line, words):
    result = run(tmp_path, line, check=False)
    assert result.returncode == 1 and words in result.stderr, result.stderr
    assert "in main" not in result.stderr  # the traceback is the program's own


def test_wrong_command_lines(tmp_path):
    for arguments, words in [((), "which program?"), (("nowhere.py",), "cannot open 'nowhere.py'")]:
        command = [sys.executable, "-m", "minitorch.run", *arguments]
        result = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        assert result.returncode == 2 and words in result.stderr


def test_data_parallel_is_the_module():
    import minitorch
    from minitorch import nn

    linear = nn.Linear(2, 3)
    wrapped = nn.DataParallel(linear)
    x = minitorch.randn(4, 2)
    assert list(wrapped.state_dict()) == ["module.weight", "module.bias"]
    assert (wrapped(x) == linear(x)).all()
