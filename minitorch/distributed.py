"""torch.distributed's names, for programs that can also train on several machines: here there is one process.

`is_available()` is False, as in a PyTorch that was built without it; what such programs call beyond it is refused.
"""

from typing import Any, NoReturn


def is_available() -> bool:
    return False


def is_initialized() -> bool:
    return False


def _refused(name: str) -> Any:
    def function(*args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError(
            f"distributed.{name}(): minitorch trains in one process, on one device; run the program without a launcher "
            "(for one process most programs have a switch, or look whether RANK is set)"
        )

    function.__name__ = function.__qualname__ = name
    return function


init_process_group = _refused("init_process_group")
destroy_process_group = _refused("destroy_process_group")
get_rank = _refused("get_rank")
get_world_size = _refused("get_world_size")
barrier = _refused("barrier")
all_reduce = _refused("all_reduce")
broadcast = _refused("broadcast")
