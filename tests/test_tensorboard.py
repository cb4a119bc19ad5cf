"""SummaryWriter: TensorBoard's own reader finds in the files what was written, as in PyTorch's."""

import os

import numpy as np
import pytest

import minitorch
from minitorch import nn

pytest.importorskip("tensorboard", reason="SummaryWriter needs TensorBoard: pip install minitorch[tensorboard]")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader  # noqa: E402

from minitorch.utils.tensorboard import SummaryWriter  # noqa: E402


def read(folder):
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0, "images": 0, "tensors": 0})
    return found.Reload()


def values(folder):
    """Every value of every event, file by file, without its time."""
    found = []
    for path in sorted(p for p in folder.rglob("events*")):
        for event in LegacyEventFileLoader(str(path)).Load():
            for value in event.summary.value:
                value.metadata.ClearField("display_name")
                value.metadata.ClearField("summary_description")
                if value.HasField("tensor") and not value.tensor.tensor_shape.dim:
                    value.tensor.ClearField("tensor_shape")  # of a scalar
                found.append((os.fspath(path.parent.relative_to(folder)), event.step, value.tag, value))
    return found


def test_scalars(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        for step in range(20):
            writer.add_scalar("loss/train", minitorch.tensor(1 / (step + 1)), step, walltime=100.0 + step)
        writer.add_scalar("accuracy", np.float32(0.5))
        writer.add_scalar("new", 0.1, 3, new_style=True)
        writer.add_scalars("both", {"sine": 0.25, "cosine": minitorch.tensor([0.75])}, 7)
    events = read(tmp_path)
    assert [(e.wall_time, e.step, e.value) for e in events.Scalars("loss/train")] == [
        (100.0 + step, step, pytest.approx(1 / (step + 1))) for step in range(20)
    ]
    assert events.Scalars("accuracy")[0].value == 0.5
    assert read(tmp_path / "both_cosine").Scalars("both")[0].value == 0.75
    assert events.Tensors("new")[0].tensor_proto.float_val == pytest.approx([0.1])


def test_default_folder_flush_and_reopening(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writer = SummaryWriter(comment="-first")
    assert writer.get_logdir().startswith("runs" + os.sep) and writer.log_dir.endswith("-first")
    writer.add_scalar("x", 1.0, 0)
    writer.flush()
    assert len(read(writer.log_dir).Scalars("x")) == 1
    writer.close()
    writer.add_scalar("x", 2.0, 1)  # opens another file
    writer.close()
    assert [e.value for e in read(writer.log_dir).Scalars("x")] == [1.0, 2.0]


def test_a_run_that_goes_on_hides_what_came_after(tmp_path):
    for start, purge in ((0, None), (3, 3)):
        with SummaryWriter(tmp_path, purge_step=purge) as writer:
            for step in range(start, 5):
                writer.add_scalar("x", float(start), step, walltime=start + step)
    assert [(e.step, e.value) for e in read(tmp_path).Scalars("x")] == [(0, 0), (1, 0), (2, 0), (3, 3), (4, 3)]


def fill(writer, tensor):
    """The same calls for both writers."""
    x = np.random.default_rng(0).normal(size=(40, 30))
    writer.add_histogram("weights", tensor(x), 1)
    writer.add_histogram("ones", tensor(np.ones(5)), 2, max_bins=7)
    writer.add_histogram("bins", x, 2, bins=[-1.0, 0.0, 0.5, 1.0])
    writer.add_histogram("auto", tensor(x), 2, bins="auto", max_bins=10)
    writer.add_text("notes", "a *text*, größer", 3)
    picture = (np.arange(3 * 5 * 7) % 251).reshape(3, 5, 7).astype(np.uint8)
    writer.add_image("bytes", tensor(picture), 4)
    writer.add_image("floats", tensor(picture / np.float32(255)), 4)
    writer.add_image("grey", picture[0], 4, dataformats="HW")
    writer.add_image("last", picture.transpose(1, 2, 0), 4, dataformats="HWC")
    writer.add_images("batch", tensor(np.stack([picture] * 10)), 5)
    writer.add_scalar("x", tensor(np.array([2.5])), 6)
    writer.add_scalar("new", 0.1, 6, new_style=True)
    writer.add_scalar("wide", 0.1, 6, new_style=True, double_precision=True)
    writer.add_scalars("a/b", {"c": 1.0, "d": 2.0}, 7)


@pytest.mark.parity
def test_writes_what_pytorch_writes(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
    from torch.utils.tensorboard import SummaryWriter as Theirs

    with SummaryWriter(tmp_path / "ours") as writer:
        fill(writer, minitorch.from_numpy)
    with Theirs(str(tmp_path / "theirs")) as writer:
        fill(writer, torch.from_numpy)
    ours, theirs = values(tmp_path / "ours"), values(tmp_path / "theirs")
    assert [row[:3] for row in ours] == [row[:3] for row in theirs]
    for (*_, tag, a), (*_, b) in zip(ours, theirs):
        if a.HasField("histo"):
            assert (a.histo.min, a.histo.max, a.histo.num) == (b.histo.min, b.histo.max, b.histo.num), tag
            np.testing.assert_allclose(a.histo.bucket, b.histo.bucket, err_msg=tag)
            np.testing.assert_allclose(a.histo.bucket_limit, b.histo.bucket_limit, rtol=1e-9, err_msg=tag)
            np.testing.assert_allclose([a.histo.sum, a.histo.sum_squares], [b.histo.sum, b.histo.sum_squares])
        elif a.HasField("image"):
            np.testing.assert_array_equal(pixels(a), pixels(b), err_msg=tag)
        else:
            assert a == b


def pixels(value):
    import io

    image = pytest.importorskip("PIL.Image", reason="images need Pillow: pip install minitorch[vision]")
    return np.asarray(image.open(io.BytesIO(value.image.encoded_image_string)))


def test_histograms_texts_and_pictures(tmp_path):
    pytest.importorskip("PIL.Image", reason="images need Pillow: pip install minitorch[vision]")
    with SummaryWriter(tmp_path) as writer:
        fill(writer, minitorch.from_numpy)
    found = {tag: value for _, _, tag, value in values(tmp_path)}
    histogram = found["weights"].histo
    assert (
        histogram.num == 1200 and sum(histogram.bucket) == 1200 and len(histogram.bucket) == len(histogram.bucket_limit)
    )
    assert found["notes/text_summary"].tensor.string_val[0].decode() == "a *text*, größer"
    assert pixels(found["bytes"]).shape == (5, 7, 3) and pixels(found["batch"]).shape == (10, 56, 3)
    assert found["bytes"].image.encoded_image_string == found["floats"].image.encoded_image_string


def test_figures(tmp_path):
    matplotlib = pytest.importorskip("matplotlib", reason="figures need matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(2, 1), dpi=50)
    axes.plot([1, 2])
    with SummaryWriter(tmp_path) as writer:
        writer.add_figure("figure", figure, 1, close=False)
        writer.add_figure("two", [figure, figure], 2)
    found = {tag: value for _, _, tag, value in values(tmp_path)}
    assert pixels(found["figure"]).shape == (50, 100, 3) and pixels(found["two"]).shape == (50, 200, 3)
    assert pixels(found["figure"]).min() < 200 and not pyplot.get_fignums()


def test_hyperparameters(tmp_path):
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    with SummaryWriter(tmp_path) as writer:
        settings = {"lr": 0.1, "layers": 2, "name": "adam", "bias": True, "none": None}
        writer.add_hparams(settings, {"accuracy": 0.9}, {"layers": [1, 2]}, run_name="run", global_step=5)
    found = {tag: value for folder, _, tag, value in values(tmp_path) if folder == "run"}
    assert found["accuracy"].simple_value == pytest.approx(0.9)
    content = found[metadata.SESSION_START_INFO_TAG].metadata.plugin_data.content
    held = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert (held["lr"].number_value, held["layers"].number_value, held["name"].string_value) == (0.1, 2, "adam")
    assert held["bias"].bool_value and "none" not in held
    assert metadata.EXPERIMENT_TAG in found and metadata.SESSION_END_INFO_TAG in found


class Branched(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Linear(4, 3)
        self.right = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
        self.head = nn.Linear(3, 1)

    def forward(self, x):
        x = x.flatten(1)
        return self.head(self.left(x) * 2 + self.right(x))


def test_graph(tmp_path):
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    with SummaryWriter(tmp_path) as writer:
        writer.add_graph(Branched(), minitorch.zeros(2, 2, 2))
    graph = GraphDef.FromString(read(tmp_path).Graph().SerializeToString())
    nodes = {node.name: (node.op, sorted(node.input)) for node in graph.node}
    assert nodes == {
        "input_0": ("Input", []),
        "Branched/left": ("Linear", ["input_0"]),
        "Branched/right/0": ("Linear", ["input_0"]),
        "Branched/right/1": ("ReLU", ["Branched/right/0"]),
        "Branched/head": ("Linear", ["Branched/left", "Branched/right/1"]),
        "output": ("Output", ["Branched/head"]),
    }


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda w: w.add_scalar("x", minitorch.zeros(2)), ValueError, r"expected one number, got .* shape \[2\]"),
        (lambda w: w.add_histogram("x", minitorch.zeros(0)), ValueError, "'x' has no values"),
        (
            lambda w: w.add_histogram("x", minitorch.zeros(2), bins=[1, 2]),
            ValueError,
            "no value of 'x' lies in the bins",
        ),
        (lambda w: w.add_image("x", minitorch.zeros(4, 5)), ValueError, r"\[4, 5\] does not fit dataformats='CHW'"),
        (lambda w: w.add_image("x", minitorch.zeros(2, 4, 5)), ValueError, "'x' has 2"),
        (lambda w: w.add_hparams([], {}), TypeError, "should be dictionary"),
        (lambda w: w.add_hparams({"a": [1]}, {}), ValueError, "'a' should be a number, str, bool or tensor, got list"),
        (lambda w: w.add_video("x", None), AttributeError, "has no 'add_video'; it has add_figure, add_graph"),
    ],
)
def test_refuses(tmp_path, call, error, message):
    with SummaryWriter(tmp_path) as writer, pytest.raises(error, match=message):
        call(writer)


def test_without_tensorboard():
    import subprocess
    import sys

    code = 'import sys; sys.modules["tensorboard"] = None; from minitorch.utils.tensorboard import SummaryWriter'
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1 and "pip install 'minitorch[tensorboard]'" in result.stderr
