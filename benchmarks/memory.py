"""The peak memory of a workload under one library, in a process of its own, without what importing the library costs.

    python -m benchmarks.memory bert minitorch

Prints megabytes: the highest resident size during three steps (model, data, optimizer's state and all), minus the
resident size after import and a first small step, which loads kernels, BLAS and thread pools.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import subprocess
import sys
from pathlib import Path

from .timing import set_threads


def _status(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    raise KeyError(key)


def _forget_peak() -> bool:
    """Linux can set the highest resident size back to the present one."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return True
    except OSError:
        return False


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def measure(name: str, library: str, sizes: dict, steps: int = 3) -> float:
    lib = importlib.import_module(library)
    from .workloads import WORKLOADS

    first = WORKLOADS["mlp"](lib, widths=(64, 64, 10), batch=32)
    for _ in range(2):
        first.step()
    del first
    if WORKLOADS[name].needs is not None:
        WORKLOADS[name](lib, **WORKLOADS[name].tiny).step()  # imports the package
    if _forget_peak():
        before, peak = _status("VmRSS"), lambda: _status("VmHWM")
    else:
        before, peak = _peak(), _peak
    job = WORKLOADS[name](lib, **sizes)
    for _ in range(steps):
        job.step()
    return peak() - before


def in_child(name: str, library: str, threads: int, sizes: dict | None = None) -> float:
    """The same, measured by a new process; NaN where that fails."""
    command = [sys.executable, "-m", "benchmarks.memory", name, library, "--threads", str(threads)]
    result = subprocess.run(
        [*command, "--sizes", json.dumps(sizes or {})], capture_output=True, text=True,
        cwd=Path(__file__).resolve().parent.parent,
    )  # fmt: skip
    if result.returncode != 0:
        print(f"{name}, {library}: {result.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return float("nan")
    return float(result.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload")
    parser.add_argument("library", choices=["minitorch", "torch"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sizes", type=json.loads, default={}, help='other sizes: {"batch": 8}')
    args = parser.parse_args()
    set_threads(args.threads)
    sizes = {k: tuple(v) if isinstance(v, list) else v for k, v in args.sizes.items()}
    print(f"{measure(args.workload, args.library, sizes):.1f}")


if __name__ == "__main__":
    main()
