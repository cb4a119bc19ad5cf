"""The bug zoo (lessons/zoo): every bug shows its symptom, the library's tools catch it, and the answer is one."""

import importlib.util
import inspect
from pathlib import Path

import pytest

ZOO = Path(__file__).parents[1] / "lessons" / "zoo"
CAGES = sorted(ZOO.glob("[0-9]*.py"))


def load(path):
    spec = importlib.util.spec_from_file_location("zoo_" + path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_enough():
    assert len(CAGES) >= 20 and [int(p.name[:2]) for p in CAGES] == list(range(1, len(CAGES) + 1))


@pytest.mark.parametrize("path", CAGES, ids=lambda p: p.stem)
def test_the_bug_is_caught_and_the_answer_is_one(path):
    bug = load(path)
    with pytest.raises((AssertionError, RuntimeError)):
        bug.symptom(bug.broken)
    bug.symptom(bug.fixed)
    with pytest.raises((AssertionError, RuntimeError)) as caught:
        bug.examine(bug.broken)
    assert len(str(caught.value)) > 20, "the tool says what is wrong"
    bug.examine(bug.fixed)


@pytest.mark.parametrize("path", CAGES, ids=lambda p: p.stem)
def test_a_cage_is_well_kept(path):
    text = path.read_text()
    bug = load(path)
    assert "Tool:" in bug.__doc__ and "Needs lesson" in bug.__doc__
    before, answer = text.split("# --- the answer ---")
    assert "fixed" not in before and "def fixed" in answer or "class fixed" in answer
    assert len(text.splitlines()) < 80 and inspect.getsource(bug.symptom) in before


def test_the_page_lists_every_bug():
    page = (ZOO / "README.md").read_text()
    for path in CAGES:
        assert f"({path.name})" in page, f"lessons/zoo/README.md does not list {path.name}"
