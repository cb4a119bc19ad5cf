"""A pytest plugin: the programs of examples/ train, predict and resume on the stand-in for a GPU. By hand:

    python -m pytest -p tests.on_guard tests/test_{classify_text,tag_entities,char_gpt,translate,chinese_sentiment,image_programs}.py

Every call of a program gets `--device guard`, where each implicit way to NumPy and each hidden wait is an error.
"""

import sys

import pytest


@pytest.fixture(autouse=True)
def guard_device(monkeypatch):
    import minitorch
    from minitorch.backend.random import Generator
    from tests.guard import GuardArray, guard

    minitorch.backend.register_namespace("guard", guard, GuardArray)
    draw = Generator.multinomial  # the guard's default stream is the CPU's, which takes the CPU's arrays
    monkeypatch.setattr(
        Generator, "multinomial", lambda g, p, *rest: draw(g, p.get() if isinstance(p, GuardArray) else p, *rest)
    )


def pytest_runtest_call(item):
    common = sys.modules.get("common")  # of examples/, imported by the test's fixtures
    if common is None or hasattr(common, "main_before"):
        return
    common.main_before = common.main

    def main(program):
        if "--device" not in sys.argv:
            sys.argv = [*sys.argv, "--device", "guard"]
        common.calls_on_guard = getattr(common, "calls_on_guard", 0) + 1
        return common.main_before(program)

    common.main = main


def pytest_terminal_summary(terminalreporter):
    calls = getattr(sys.modules.get("common"), "calls_on_guard", 0)
    terminalreporter.write_line(f"{calls} calls of programs on the guard")
