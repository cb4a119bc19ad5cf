"""torch.nn.parallel's names: there is one process and one device, so DataParallel only adds its `module.` prefix."""

from typing import Any

from .module import Module


class DataParallel(Module):
    """`DataParallel(module)` calls the module. Its parameters are named `module.*`, as in PyTorch.

    PyTorch splits a batch over several GPUs; on a CPU or one GPU it calls the module too. More devices are refused.
    """

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0):
        super().__init__()
        if device_ids is not None and len(device_ids) > 1:
            raise ValueError(f"DataParallel: one device at most, got device_ids={list(device_ids)}")
        self.module = module

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)


class DistributedDataParallel:
    def __init__(self, *args: Any, **kwargs: Any):
        raise RuntimeError(
            "DistributedDataParallel: minitorch trains in one process, on one device; use the module itself"
        )
