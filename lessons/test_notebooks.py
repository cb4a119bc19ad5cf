"""Every lesson: its source is well formed, the notebooks are what it makes, the solved one runs, and in the learner's one
exactly the exercises fail, each with its hint. `make test-lessons`; one lesson: python -m pytest lessons -k 05."""

from itertools import zip_longest

import nbformat
import pytest

from lessons.machinery import atlas, execute
from lessons.machinery.source import ROOT, SOURCES, LessonError, Source, differences, sources

FILES = sorted(SOURCES.glob("[0-9][0-9]_*.py"))
each_lesson = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


@each_lesson
def test_solved(file):
    source = Source(file)
    _, took, wrong = execute.problems(source, solved=True)
    assert not wrong, "\n".join(wrong)
    print(f"{source.name}, solved: {took:.0f} s")


@each_lesson
def test_learners(file):
    source = Source(file)
    _, took, wrong = execute.problems(source, solved=False)
    assert not wrong, "\n".join(wrong)
    print(f"{source.name}, learner's: {took:.0f} s")


@each_lesson
def test_generated_files_agree_with_the_source(file):
    source = Source(file)
    advice = f"run `make lessons` (ARGS={source.number:02})"
    for made, kept in ((source.learners(), source.learners_file), (source.solved(), source.solved_file)):
        cells = differences(made, kept)
        assert not cells, f"{source.error(min(cells[0], len(source.cells) - 1), f'differs in {kept.name}')}: {advice}"
    assert source.data_file.read_text(encoding="utf-8") == source.data(), f"{source.data_file} is old: {advice}"
    solved = nbformat.read(source.solved_file, as_version=4)
    assert not execute.errors(solved), "the solved notebook holds errors: " + advice
    for i, cell in enumerate(solved.cells):
        assert cell.cell_type != "code" or cell.execution_count, f"{source.error(i, 'was not executed')}: {advice}"


def test_no_notebook_without_a_source():
    names = {file.stem for file in FILES}
    for file in (*(ROOT / "lessons").glob("*.ipynb"), *(ROOT / "lessons" / "solved").glob("*.ipynb")):
        assert file.stem in names, f"{file} has no source in lessons/src"
    numbers = [name[:2] for name in names]
    assert len(set(numbers)) == len(numbers), f"two sources with one number: {sorted(names)}"


def test_atlas_and_explain_data_agree_with_the_sources():
    for file, content in atlas.make(sources()).items():
        old = [
            (a, b)
            for a, b in zip_longest(file.read_text(encoding="utf-8").splitlines(), content.splitlines())
            if a != b
        ]
        if old:
            pytest.fail(
                f"{file.relative_to(ROOT)} is old: run `make lessons`. It says\n{old[0][0]}\nand would say\n{old[0][1]}"
            )


# --- the machinery itself, on a lesson of a few lines ------------------------------------------------------------------

SMALL = """# %% [markdown]
# # 00 A derivative that you can check
# $$ y = 2x \\tag{00.1} $$

# %%
from minitorch import lessons
lesson = lessons.start(0)

# %% tags=["exercise"]
def one():
    # --- solution
    return 1
    # --- end

# %% tags=["check"]
@lesson.check("one", hint="It is one.")
def _(one):
    lessons.same(one(), 1)

# %% tags=["exercise"]
def two():
    # --- solution
    return 2
    # --- stub
    # # almost
    # return 3
    # --- end

# %% tags=["check"]
@lesson.check("two", hint="It is two.")
def _(two):
    lessons.same(two(), 2)  # (00.1)

# %% tags=["exercise"]
def three():
    # --- solution
    return 3
    # --- end

# %% tags=["check"]
@lesson.check("three", hint="It is three.")
def _(three):
    lessons.same(three(), 3)

# %% [markdown] tags=["summary"]
# | equation | what | op | test |
# |---|---|---|---|
# | (00.1) | doubling | `Mul` | here, cases:mul |
"""


@pytest.fixture
def small(tmp_path):
    def make(*changes):
        text = SMALL
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "00_small.py"
        path.write_text(text)
        return Source(path)

    return make


def test_the_two_notebooks_of_a_source(small):
    learners, solved = small().learners(), small().solved()
    assert learners.cells[2].source == "def one():\n    ...  # your code here"
    assert solved.cells[2].source == "def one():\n    return 1"
    assert learners.cells[4].source == "def two():\n    # almost\n    return 3"
    assert "raises-exception" in learners.cells[3].metadata.tags
    assert learners.cells[3].source == solved.cells[3].source
    assert [e["names"] for e in small().exercises] == [["one"], ["two"], ["three"]]
    equation = small().equations[0]
    assert (equation.number, equation.ops, equation.tests) == ("00.1", ["Mul"], ["here", "cases:mul"])


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("    # --- solution\n    return 1", "    return 1", "cell 2 .*:12.*`# --- end` is out of order"),
        ("    # return 3", "    return 3", "cell 4 .*:26.*a stub is a comment"),
        ("tag{00.1}", "tag{00.3}", r"cell 0 .*:3.*tag\{00.3\} where \(00.1\) comes next"),
        ("| (00.1) | doubling", "| (00.2) | doubling", "cell 8 .*:48.*no equation has this number"),
        ("(00.1)\n", "\n", "no code cell mentions"),
        ("# | equation |", "# | number |", "columns are equation"),
        ('check("one", hint="It is one.")', 'check("one")', "cell 3 .*literal strings"),
        ('check("one",', 'check("uno",', "checks uno; the exercise defines one"),
        ("A derivative that", "Derivatives that", "cell 0 .*:2.*begins with `# 00 A derivative that you can check`"),
    ],
)  # fmt: skip
def test_mistakes_in_a_source_are_named_with_their_line(small, old, new, words):
    source = small((old, new))
    with pytest.raises(LessonError, match=words):
        source.learners()
        source.data()


def test_dangling_references(small):
    rows = {"mul"}
    assert [p for p in atlas.problems([small()], rows) if "lesson 00, cell" in p] == []
    for old, new, words in (
        ("`Mul`", "`Mull`", "no op or file is called Mull"),
        ("`Mul`", "`minitorch/autograd/engine.py::wolk`", "no op or file"),
        ("cases:mul", "cases:mull", "no test is called cases:mull"),
        ("cases:mul", "tests/test_optim.py::test_nothing", "no test is called"),
    ):
        assert any(words in p for p in atlas.problems([small((old, new))], rows)), words
    assert any("Softmax's docstring names lesson 04" in p for p in atlas.problems([fourth(small)], rows))


def fourth(small):
    source = small()
    source.number = 4  # a lesson 04 that derives nothing
    source.__dict__["equations"] = []
    return source


def test_an_error_in_a_notebook_is_named_with_its_line(small):
    source = small(
        ("    return 2\n", "    x = 1\n    return x / 0\n"), ("two(), 2)", "two(), 2)\n\n# %%\nprint(1)\ntwo()")
    )
    with pytest.raises(AssertionError, match=r"lesson 00, cell 6 .*00_small.py:37\): ZeroDivisionError"):
        _, _, wrong = execute.problems(source, solved=True)
        assert not wrong, wrong[-1]
