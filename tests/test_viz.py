"""Pictures and the doctor: the tape's gradients are the engine's, every picture can be read, every fault is found."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import minitorch
from minitorch import nn, viz


def small():
    w = minitorch.tensor([0.5, -1.0], requires_grad=True)
    b = minitorch.tensor(0.1, requires_grad=True)
    x = minitorch.tensor([[1.0, 2.0], [3.0, 4.0]])
    return w, b, x


def test_the_tape_has_the_engines_gradients():
    w, b, x = small()
    with viz.record() as tape:
        h = (x @ w + b).tanh()
        loss = (h * h + 2 * h).mean()
    tape.backward(loss)
    assert w.grad is None  # the tape touches no .grad
    loss.backward()
    for name, leaf in (("w", w), ("b", b)):
        value = tape.value(leaf)
        assert value.name == name
        np.testing.assert_allclose(value.grad, leaf.grad.numpy(), rtol=1e-6)
    assert [s.name for s in tape.steps if s.name != "Reshape"] == ["MatMul", "Add", "Tanh", "Mul", "Mul", "Add", "Mean"]
    assert tape.value(h).name == "h" and "test_viz.py" in tape.steps[0].line
    assert "dx" in tape.value(h).step.equation
    # h is used three times: its gradient is a sum of parts
    parts = [a for a in tape.arrivals if a.target is tape.value(h)]
    assert len(parts) == 3
    np.testing.assert_allclose(sum(a.amount for a in parts), tape.value(h).grad)
    # tanh is elementwise, so what dy = 1 gives is its derivative
    (through,) = [a for a in tape.arrivals if a.step is tape.value(h).step]
    np.testing.assert_allclose(through.local, 1 - h.detach().numpy() ** 2, rtol=1e-6)
    np.testing.assert_allclose(through.amount, through.incoming * through.local, rtol=1e-6)


def test_recording_ends_with_the_block_also_after_an_error():
    before = minitorch.autograd.engine.Op.__dict__["apply"]
    with pytest.raises(ZeroDivisionError), viz.record():
        1 / 0  # noqa: B018
    assert minitorch.autograd.engine.Op.__dict__["apply"] is before
    with viz.record() as tape:
        pass
    minitorch.ones(1) + 1
    assert not tape.steps
    with pytest.raises(ValueError, match="no operation was recorded"):
        tape.graph()


@pytest.mark.parametrize(
    "use, words",
    [
        (lambda t, x: t.backward(minitorch.ones(1)), "did not see how this tensor was made"),
        (lambda t, x: t.backward(x), "sum it, or give the gradient"),
        (lambda t, x: t.replay(), "call tape.backward"),
        (lambda t, x: viz.graph(x), "takes the function"),
        (lambda t, x: viz.graph(lambda: 3), "returned a int"),
        (lambda t, x: t.graph().save("picture.png"), r"name the file \*.svg"),
        (lambda t, x: viz.curves({"a": ([1, 2], [1])}), "'a' has 2 steps and 1 values"),
        (lambda t, x: viz.curves({"a": [1]}, smooth=1), "smooth is between 0 and 1"),
        (lambda t, x: viz.attention(np.ones((1, 2, 3, 3))), "choose one sample"),
        (lambda t, x: viz.attention(np.ones((2, 2)), ["a"]), "1 queries for a map of 2"),
        (lambda t, x: viz.landscape(lambda: x, [], points=2), "no parameter"),
        (lambda t, x: viz.landscape(lambda: x, [], dimensions=3), "dimensions is 1 or 2"),
    ],
)
def test_wrong_calls(use, words):
    if re.search("values|smooth|sample|map of", words):
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    w = minitorch.ones(2, requires_grad=True)
    with viz.record() as tape:
        x = w * 2
    with pytest.raises((ValueError, TypeError, RuntimeError), match=words):
        use(tape, x)


def boxes(svg):
    """(x0, y0, x1, y1) of every box."""
    found = []
    for rect in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}rect"):
        x, y, w, h = (float(rect.get(k)) for k in ("x", "y", "width", "height"))
        found.append((x, y, x + w, y + h))
    return found


def test_the_graph_is_a_picture_whose_boxes_do_not_overlap(tmp_path):
    w, b, x = small()

    def loss(w, b, x):
        h = (x @ w + b).tanh()
        return ((h * h + 2 * h).exp() / (1 + h.exp())).sum()

    graph = viz.graph(loss, w, b, x)
    graph.save(tmp_path / "graph.svg")
    svg = (tmp_path / "graph.svg").read_text()
    found = boxes(svg)
    assert len(found) > 12
    for i, (x0, y0, x1, y1) in enumerate(found):
        for a0, b0, a1, b1 in found[i + 1 :]:
            assert x1 <= a0 or a1 <= x0 or y1 <= b0 or b1 <= y0
    for text in (">w<", ">b<", ">x<", "Tanh", "Exp"):
        assert text in svg
    assert "operations" in repr(graph)
    assert graph._repr_svg_() == svg


def test_text_in_names_cannot_become_markup(tmp_path):
    w = minitorch.ones(1, requires_grad=True)
    with viz.record() as tape:
        y = (w * 3).sum()
    tape.value(w).name = "<script>alert(1)</script>"
    tape.backward(y)
    page = tape.replay(title="</title><b>").html
    assert "<script>alert" not in page and "</title><b>" not in page
    ET.fromstring(tape.graph().svg)


def test_replay_is_one_offline_page_with_every_step(tmp_path):
    w, b, x = small()
    page = viz.replay(lambda w, b, x: ((x @ w + b).tanh() ** 2).sum(), w, b, x, path=tmp_path / "back.html")
    text = (tmp_path / "back.html").read_text()
    assert not re.search(r"(src|href)=|https?://(?!www\.w3\.org)", text)
    steps = json.loads(re.search(r"const steps = (\[.*?\]);\n", text, re.S).group(1))
    assert len(steps) == len(page.tape.arrivals)
    assert steps[0]["what"].startswith("Start at") and any("to w" in s["what"] for s in steps)
    names = [row[0] for row in steps[1]["rows"]]
    assert {"forward value y", "incoming gradient dy"} <= set(names)
    assert page._repr_html_().startswith("<iframe")


def test_plots(tmp_path):
    plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    plt.switch_backend("agg")
    ax = viz.curves(
        {"train": minitorch.rand(50), "validation": ([10, 20], [0.5, 0.4])}, smooth=0.9, baselines={"chance": 0.7}
    )
    assert {t.get_text() for t in ax.get_legend().get_texts()} == {"train", "validation", "chance"}
    figure = viz.attention(minitorch.softmax(minitorch.randn(2, 3, 3), -1), ["the", "cat", "sat"], title="layer 0")
    assert [a.get_title() for a in figure.axes][:2] == ["head 0", "head 1"]
    model = nn.Linear(3, 1)
    before = [p.detach().clone() for p in model.parameters()]
    data = minitorch.randn(8, 3)
    ax = viz.landscape(lambda: (model(data) ** 2).mean(), model.parameters(), points=5)
    assert ax.get_xlabel() == "direction 1"
    line = viz.landscape(lambda: (model(data) ** 2).mean(), model.parameters(), points=5, dimensions=1).lines[0]
    np.testing.assert_allclose(line.get_ydata()[2], float((model(data) ** 2).mean()), rtol=1e-5)
    with pytest.raises(KeyError):
        viz.landscape(lambda: {}["x"], model.parameters(), points=3)
    assert all((p == q).all() for p, q in zip(model.parameters(), before))  # put back
    plt.close("all")


# --- the doctor ------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self, middle=lambda h: h):
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 3)
        self.middle = middle

    def forward(self, x):
        h = self.first(x).relu()
        h = self.middle(h)
        return self.second(h)


def examine(model, loss=None, x=None):
    minitorch.manual_seed(0)
    x = minitorch.randn(16, 4) if x is None else x
    target = minitorch.arange(16) % 3
    with viz.doctor(model) as report:
        assert "not finished" in str(report)
        out = nn.functional.cross_entropy(model(x), target) if loss is None else loss(model, x)
        out.backward()
    return report


def test_a_healthy_step():
    minitorch.manual_seed(1)
    report = examine(Net())
    assert not report and str(report).startswith("all is well: 4 parameters")
    assert report.norms["first.weight"][1] > 0


def no_grad(h):
    with minitorch.no_grad():
        return h * 1


@pytest.mark.parametrize(
    "middle, words",
    [
        (lambda h: h.detach(), "what ReLU made was detached"),
        (lambda h: h.data, "what ReLU made was detached"),
        (no_grad, "Mul was computed under no_grad"),
        (lambda h: (h > 0).float(), "goes through .*, which has no gradient"),
        (lambda h: minitorch.tensor(h.tolist()), "does not reach the tensor that backward"),
    ],
)
def test_detached_paths_name_the_line(middle, words):
    report = examine(Net(middle))
    found = [f for f in report.findings if f.where == "first.weight"]
    assert len(found) == 1 and re.search(words, str(found[0])), str(report)
    assert "test_viz.py" in str(found[0])
    assert not [f for f in report.findings if f.where.startswith("second")]


def test_unused_zero_exploding_nan_dead_saturated_accumulated():
    model = Net()
    model.spare = nn.Linear(2, 2)
    assert "the forward pass never used it" in str(examine(model))

    model = Net()
    model.first.bias.data.fill_(-100.0)
    report = examine(model)
    assert {f.where for f in report.of("zero gradient")} >= {"first.weight", "first.bias"}
    assert "8 of 8 units of ReLU are zero" in str(report) and "test_viz.py" in report.of("dead units")[0].line

    report = examine(Net(), loss=lambda m, x: (m(x) * 1e6).square().sum())
    assert {f.where for f in report.of("exploding")} >= {"second.weight"}

    report = examine(Net(), loss=lambda m, x: (m(x) * 0 + m(x) / (m(x) * 0)).sum())
    assert "Div: the first operation whose result has NaN or infinity" in str(report)
    assert report.of("NaN")[0].line.count("test_viz.py") == 1

    w = minitorch.zeros(3, requires_grad=True)
    with viz.doctor({"w": w}) as report:
        w.sqrt().sum().backward()  # finite forward, infinite gradient
    assert report.of("NaN")[0].where == "gradient of Sqrt" and report.of("NaN")[-1].where == "w"

    model = Net(lambda h: (h * 1e4 - 5e3).sigmoid())
    assert report is not None and "within 0.01 of an end" in str(examine(model))

    model = Net()
    model(minitorch.randn(2, 4)).sum().backward()
    assert "zero_grad() first" in str(examine(model))

    report = examine(Net(), loss=lambda m, x: (m.second.weight * 1e10).sum() + m(x).sum())
    assert {f.where for f in report.of("vanishing")} >= {"first.bias"}

    frozen = Net()
    frozen.first.requires_grad_(False)
    assert not examine(frozen)


def test_the_doctor_leaves_no_trace():
    engine = minitorch.autograd.engine
    before = engine.Op.__dict__["apply"], engine._check_backward, engine.mode.anomaly, engine.mode.check_nan
    with pytest.raises(ZeroDivisionError), viz.doctor(Net()):
        1 / 0  # noqa: B018
    assert before == (engine.Op.__dict__["apply"], engine._check_backward, engine.mode.anomaly, engine.mode.check_nan)
    with pytest.raises(ValueError, match="no parameters"), viz.doctor(nn.ReLU()):
        pass
