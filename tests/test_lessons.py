"""What a lesson's notebook imports, and `minitorch.explain`. The notebooks themselves: lessons/test_notebooks.py."""

import json
import subprocess
import sys
import types

import numpy as np
import pytest

import minitorch
from minitorch import lessons
from minitorch.lessons import NotYet, same

EXERCISE = {"names": ["double"], "solution": "def double(x):\n    return 2 * x"}


@pytest.fixture
def notebook(monkeypatch):
    """A namespace like a notebook's, and a lesson with one exercise."""
    monkeypatch.setattr(lessons, "read", lambda number: {"exercises": [EXERCISE]})
    space = {"lesson": lessons.Lesson(0), "same": same}
    check = '@lesson.check("double", hint="Twice.")\ndef _(double):\n    same(double(4), 8, what="double(4)")'
    return space, lambda cell=check: exec(cell, space)


def test_a_check_that_passes(notebook, capsys):
    space, run = notebook
    run("def double(x): return x + x")
    mine = space["double"]
    run()
    assert capsys.readouterr().out == "✓ double\n" and space["double"] is mine


@pytest.mark.parametrize(
    "answer, words",
    [
        ("def double(x): ...", "double(4): nothing is returned yet."),
        ("def double(x): return x", "double(4): got 4, expected 8."),
        ("def double(x): return [x, x]", "double(4): the shape is (2,), and should be ()."),
        ("def double(x): return 'eight'", "got str 'eight', expected numbers."),
        ("def double(x): return x / 0", "It stopped with ZeroDivisionError: division by zero"),
        ("def double(): return 8", "It stopped with TypeError: double() takes 0 positional arguments"),
        ("", "double is not defined: run the cell above first."),
    ],
)
def test_a_check_that_fails_hints_and_goes_on(notebook, answer, words):
    space, run = notebook
    run(answer)
    with pytest.raises(NotYet) as error:
        run()
    shown = error.value._render_traceback_()
    assert shown[0].startswith("✗ double: not yet.") and words in shown[0]
    assert shown[1:] == ["  Hint: Twice.", "  The cells below go on with a finished version."]
    assert space["double"](21) == 42

    with pytest.raises(NotYet, match="finished version now. Run your own cell again"):
        run()
    run("def double(x): return x + x")
    run()


def test_a_hint_in_a_script_has_no_traceback(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        'from minitorch import lessons\nlesson = lessons.start(99)\ndef one(): ...\n'
        '@lesson.check("one", hint="It is one.")\ndef _(one):\n    lessons.same(one(), 1)\n'
    )  # fmt: skip
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 1 and "Hint: It is one." in result.stderr and "Traceback" not in result.stderr


def test_same():
    same([1.0, np.nan], [1.0 + 1e-9, np.nan])
    same(minitorch.tensor([1.0], requires_grad=True), [1])
    with pytest.raises(AssertionError, match=r"y: got 3 at \(1,\), expected 2."):
        same([1.0, 3.0], [1.0, 2.0], what="y")


def test_numeric_gradient():
    x, dy = np.array([[0.3, -1.0], [2.0, 0.5]]), np.array([[1.0, 2.0], [-1.0, 0.5]])
    kept = x.copy()
    np.testing.assert_allclose(lessons.numeric_gradient(np.sin, x, dy), dy * np.cos(x), atol=1e-9)
    assert (x == kept).all()


# --- explain -----------------------------------------------------------------------------------------------------------


def test_explain_takes_names_functions_classes_and_nodes():
    from minitorch.ops.softmax import Softmax

    x = minitorch.ones(2, 3, requires_grad=True)
    for thing in (
        "softmax", "minitorch.softmax", "nn.functional.softmax", "Softmax", minitorch.softmax, Softmax, x.softmax(1), x.softmax(1).grad_fn,
    ):  # fmt: skip
        assert minitorch.explain(thing).ops == [Softmax], thing
    assert [op.__name__ for op in minitorch.explain("relu").ops] == ["ReLU"]
    assert [op.__name__ for op in minitorch.explain(minitorch.nn.functional.layer_norm).ops] == ["LayerNorm"]
    assert "Sub" in [op.__name__ for op in minitorch.explain("mse_loss").ops]


def test_explain_shows_everything():
    text, page = repr(minitorch.explain("mul")), minitorch.explain("mul")._repr_markdown_()
    for shown in (text, page):
        for words in (
            "minitorch/ops/arithmetic.py",
            "def forward",
            "def backward",
            "Lesson 01",
            "(01.2)",
            "cases:mul",
            "analytic",
        ):
            assert words in shown, words
    assert "| element | analytic | numeric | difference |" in page and "$$" in page


def test_explain_unknown_names():
    with pytest.raises(ValueError, match="no op or differentiable function is called 'sofmax'. Nearest: softmax"):
        minitorch.explain("sofmax")
    with pytest.raises(TypeError, match="expected a name, a function, an Op or a grad_fn, got int"):
        minitorch.explain(3)
    with pytest.raises(ValueError, match="this tensor has no grad_fn"):
        minitorch.explain(minitorch.ones(2))


def test_explain_leaves_the_random_stream_alone():
    minitorch.manual_seed(0)
    expected = minitorch.rand(3).numpy()
    minitorch.manual_seed(0)
    repr(minitorch.explain("dropout"))
    assert (minitorch.rand(3).numpy() == expected).all()


def test_the_live_checks_agree():
    """Every op that ships a sample: analytic and numeric gradients are equal, and a wrong gradient would show."""
    from minitorch.explain import _ops, _table, numeric_check
    from minitorch.ops.elementwise import Sin

    checked = 0
    for name, op in _ops().items():
        check = numeric_check(op) if name in _table()["ops"] else None
        if check:
            assert check["worst"] < 1e-5, name
            checked += 1
    assert checked > 80

    def wrong(self, dy):
        return dy * self.saved[0]

    broken = types.new_class("Broken", (Sin,), {}, lambda body: body.update(backward=wrong))
    assert numeric_check(broken, _table()["ops"]["Sin"]["sample"])["worst"] > 0.1


def test_the_data_of_the_lessons_is_whole():
    for number in range(15):
        content = lessons.read(number)
        if content:
            assert content["lesson"] == f"{number:02}" and content["exercises"] and content["equations"]
            for exercise in content["exercises"]:
                compile(exercise["solution"], content["title"], "exec")
            json.dumps(content)
