"""Runs the GPU's tests, prints one summary, and writes it as a Markdown table.

    python3 -m tests.gpu -k softmax

The op table on CuPy against NumPy (float64, first and second order), the CUDA kernels against the reference ops, half
precision, random streams, graphs, 50 training steps against the CPU's. Further arguments are pytest's. Without a GPU it says
so and does nothing. What the time does not suffice for is counted as not run.
"""

from __future__ import annotations

import datetime
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results.md"
MINUTES = 8.0


class Summary:
    """A pytest plugin: counts by file and test, the seconds, and stops when the time is over."""

    def __init__(self, about: str, command: str) -> None:
        self.about, self.command = about, command
        self.begin = self.written = time.monotonic()
        self.counts: dict[str, Counter] = defaultdict(Counter)
        self.seconds: Counter = Counter()
        self.failures: list[str] = []

    def pytest_runtest_setup(self, item: Any) -> None:
        if time.monotonic() - self.begin > 60 * MINUTES:
            import pytest

            pytest.skip("the time is over")

    def pytest_runtest_logreport(self, report: Any) -> None:
        name = report.nodeid.split("[")[0].split("/")[-1]
        self.seconds[name] += report.duration
        if report.when == "call" or report.outcome != "passed":
            outcome = report.outcome
            if outcome == "skipped" and "the time is over" in str(report.longrepr):
                outcome = "not run"
            self.counts[name][outcome] += 1
        if report.failed:
            text = str(report.longrepr).strip().splitlines()
            reason = next((line for line in reversed(text) if line.startswith("E ")), text[-1] if text else "")
            self.failures.append(f"{report.nodeid}: {reason[2:].strip()[:300]}")
        if time.monotonic() - self.written > 20:  # so that a run that is stopped leaves what it found
            self.write()

    def write(self) -> None:
        self.written = time.monotonic()
        page = ["# Tests on a GPU", "", f"{datetime.date.today()}, {self.about}.", "", f"`{self.command}`", "",
                self.table(), "", *(f"- {line}" for line in self.failures), ""]  # fmt: skip
        RESULTS.write_text("\n".join(page))

    def table(self) -> str:
        heads = ["test", "passed", "failed", "skipped", "not run", "seconds"]
        lines = [heads, ["---"] * len(heads)]
        for name, counts in self.counts.items():
            lines.append([name, *(str(counts[key]) for key in heads[1:5]), f"{self.seconds[name]:.1f}"])
        total: Counter = sum(self.counts.values(), Counter())
        lines.append(["all", *(str(total[key]) for key in heads[1:5]), f"{time.monotonic() - self.begin:.1f}"])
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> int:
    if any(argument in ("-h", "--help") for argument in sys.argv[1:]):
        print(__doc__)
        return 0
    from benchmarks.gpu import about, no_gpu

    if (why := no_gpu()) is not None:
        print(why)
        return 0
    import pytest

    summary = Summary(about(), " ".join(["python3 -m tests.gpu", *sys.argv[1:]]))
    status = pytest.main(
        [str(HERE), "-m", "gpu", "-q", "-p", "no:cacheprovider", "--tb=short", *sys.argv[1:]], [summary]
    )
    print(f"\n{summary.about}\n\n{summary.table()}")
    for line in summary.failures[:40]:
        print(line)
    summary.write()
    print(f"Written: {RESULTS}")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
