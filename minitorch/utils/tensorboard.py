"""SummaryWriter: numbers, histograms, texts and pictures of a training for TensorBoard.

    writer = SummaryWriter("runs/first")            tensorboard --logdir runs
    writer.add_scalar("loss", loss.item(), step)

The files are TensorBoard's own: its library writes them, an extra.
"""

from __future__ import annotations

import io
import math
import os
import socket
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import numpy as np

import minitorch

from .. import nn
from ..tensor import Tensor

try:
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
except ImportError as error:
    raise ImportError(f"SummaryWriter needs TensorBoard: pip install 'minitorch[tensorboard]' ({error})") from None

__all__ = ["SummaryWriter"]

# Bins that grow by a tenth, on both sides of 0.
_EDGES = 1e-12 * 1.1 ** np.arange(math.ceil(math.log(1e32) / math.log(1.1)))
BINS = np.concatenate([-_EDGES[::-1], [0.0], _EDGES])


def _array(x: Any) -> np.ndarray:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def _number(x: Any) -> float:
    array = _array(x)
    if array.size != 1:
        raise ValueError(f"add_scalar: expected one number, got an array of shape {list(array.shape)}")
    return float(array.reshape(()))


class SummaryWriter:
    """Writes an event file into log_dir; by default into runs/ and a name of the time, the machine and `comment`.

    purge_step: a run that goes on from that step hides what was written for later ones before.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike | None = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: int = 120,
        filename_suffix: str = "",
    ):
        if not log_dir:
            now = datetime.now().strftime("%b%d_%H-%M-%S")
            log_dir = os.path.join("runs", f"{now}_{socket.gethostname()}{comment}")
        self.log_dir = os.fspath(log_dir)
        self.purge_step = purge_step
        self._options = (max_queue, flush_secs, filename_suffix)
        self._writers: dict[str, EventFileWriter] = {}
        self._writer()

    def _writer(self, folder: str = "") -> EventFileWriter:
        """The file in log_dir, or in a folder of it; opened again after `close`."""
        if folder not in self._writers:
            writer = self._writers[folder] = EventFileWriter(os.path.join(self.log_dir, folder), *self._options)
            if self.purge_step is not None and not folder:
                for content in (
                    {"file_version": "brain.Event:2"},
                    {"session_log": SessionLog(status=SessionLog.START)},
                ):
                    writer.add_event(Event(wall_time=time.time(), step=self.purge_step, **content))
                self.purge_step = None
        return self._writers[folder]

    def _add(self, step: Any, walltime: float | None, folder: str = "", **content: Any) -> None:
        event = Event(wall_time=time.time() if walltime is None else walltime, **content)
        if step is not None:
            event.step = int(step)
        self._writer(folder).add_event(event)

    def get_logdir(self) -> str:
        return self.log_dir

    def flush(self) -> None:
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        offered = ", ".join(method for method in dir(type(self)) if method.startswith("add_"))
        raise AttributeError(f"SummaryWriter has no {name!r}; it has {offered}")

    # --- numbers ---

    def add_scalar(
        self,
        tag,
        scalar_value,
        global_step=None,
        walltime=None,
        new_style: bool = False,
        double_precision: bool = False,
    ) -> None:
        value = Summary.Value(tag=tag, simple_value=_number(scalar_value))
        if new_style:
            from tensorboard.util.tensor_util import make_tensor_proto

            dtype = np.float64 if double_precision else np.float32
            value = Summary.Value(
                tag=tag,
                tensor=make_tensor_proto(np.asarray(_number(scalar_value), dtype)),
                metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars")),
            )
        self._add(global_step, walltime, summary=Summary(value=[value]))

    def add_scalars(self, main_tag: str, tag_scalar_dict: Mapping[str, Any], global_step=None, walltime=None) -> None:
        """Curves of one plot: each has a file of its own, in log_dir/main_tag_name."""
        for name, value in tag_scalar_dict.items():
            folder = f"{main_tag.replace('/', '_')}_{name}"
            one = Summary(value=[Summary.Value(tag=main_tag, simple_value=_number(value))])
            self._add(global_step, walltime, folder, summary=one)

    def add_histogram(
        self, tag, values, global_step=None, bins="tensorflow", walltime=None, max_bins: int | None = None
    ) -> None:
        """How often the values lie in each bin. bins: "tensorflow", or what numpy.histogram takes."""
        x = _array(values).reshape(-1).astype(np.float64)
        if x.size == 0:
            raise ValueError(f"add_histogram: {tag!r} has no values")
        counts, edges = np.histogram(x, bins=BINS if isinstance(bins, str) and bins == "tensorflow" else bins)
        if max_bins is not None and len(counts) > max_bins:
            together = len(counts) // max_bins
            counts = np.pad(counts, (0, -len(counts) % together)).reshape(-1, together).sum(1)
            edges = np.append(edges[:-1:together], edges[-1])
        filled = np.flatnonzero(counts)
        if filled.size == 0:
            raise ValueError(f"add_histogram: no value of {tag!r} lies in the bins")
        first, last = filled[0], filled[-1]  # and an empty bin before them, which gives the first its left edge
        proto = HistogramProto(
            min=x.min(),
            max=x.max(),
            num=x.size,
            sum=x.sum(),
            sum_squares=x @ x,
            bucket_limit=edges[first : last + 2].tolist(),
            bucket=[0.0 if first == 0 else float(counts[first - 1]), *counts[first : last + 1].tolist()],
        )
        self._add(global_step, walltime, summary=Summary(value=[Summary.Value(tag=tag, histo=proto)]))

    def add_hparams(
        self,
        hparam_dict: dict,
        metric_dict: dict,
        hparam_domain_discrete: Mapping[str, list] | None = None,
        run_name: str | None = None,
        global_step=None,
    ) -> None:
        """A run's settings and results, for the table of runs; in a folder of its own in log_dir."""
        if type(hparam_dict) is not dict or type(metric_dict) is not dict:
            raise TypeError("hparam_dict and metric_dict should be dictionary.")
        values = {name: v for name, v in hparam_dict.items() if v is not None}
        values = {name: _number(v) if isinstance(v, (Tensor, np.generic)) else v for name, v in values.items()}
        for name, v in values.items():
            if not isinstance(v, (bool, int, float, str)):
                raise ValueError(
                    f"add_hparams: {name!r} should be a number, str, bool or tensor, got {type(v).__name__}"
                )
        domains = {name: summary_v2.Discrete(list(v)) for name, v in (hparam_domain_discrete or {}).items()}
        end = plugin_data_pb2.HParamsPluginData(
            session_end_info=plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS),
            version=metadata.PLUGIN_DATA_VERSION,
        )
        plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=end.SerializeToString())
        ended = Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=SummaryMetadata(plugin_data=plugin))
        folder = run_name or str(time.time())
        for part in (
            summary_v2.hparams_config_pb(
                [summary_v2.HParam(name, domains.get(name)) for name in values],
                [summary_v2.Metric(name) for name in metric_dict],
            ),
            summary_v2.hparams_pb(values, trial_id=folder),
            Summary(value=[ended]),
        ):
            self._add(global_step, None, folder, summary=part)
        for name, value in metric_dict.items():
            one = Summary(value=[Summary.Value(tag=name, simple_value=_number(value))])
            self._add(global_step, None, folder, summary=one)

    # --- texts and pictures ---

    def add_text(self, tag, text_string: str, global_step=None, walltime=None) -> None:
        """Markdown."""
        from tensorboard.util.tensor_util import make_tensor_proto

        value = Summary.Value(
            tag=f"{tag}/text_summary",
            tensor=make_tensor_proto(np.array([text_string.encode()], dtype=object)),
            metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text", content=b"")),
        )
        self._add(global_step, walltime, summary=Summary(value=[value]))

    def add_image(self, tag, img_tensor, global_step=None, walltime=None, dataformats: str = "CHW") -> None:
        """A picture of bytes, or of floats from 0 to 1. dataformats: which axis is which, "CHW", "HWC" or "HW"."""
        x = _array(img_tensor)
        formats = dataformats.upper()
        if len(formats) != x.ndim or sorted(formats.replace("N", "").replace("C", "")) != ["H", "W"]:
            raise ValueError(
                f"add_image: the shape {list(x.shape)} does not fit dataformats={dataformats!r}: one letter an axis, "
                "H and W, and C and N where there are such axes"
            )
        if "N" in formats:  # side by side, in rows of 8
            from ..vision.utils import make_grid

            order = [formats.index(axis) for axis in "NCHW" if axis in formats]
            x = x.transpose(order) if len(order) == 4 else x.transpose(order)[:, None]
            x = make_grid(minitorch.from_numpy(np.ascontiguousarray(x)), padding=0).numpy()
            formats = "CHW"
        x = x.transpose([formats.index(axis) for axis in "HWC" if axis in formats])
        x = np.atleast_3d(x)
        if x.shape[2] not in (1, 3, 4):
            raise ValueError(f"add_image: a picture has 1, 3 or 4 channels, {tag!r} has {x.shape[2]}")
        x = x if x.dtype == np.uint8 else (x * 255.0).clip(0, 255).astype(np.uint8)
        from ..vision._pillow import pillow

        x = x.repeat(3, 2) if x.shape[2] == 1 else x
        picture, file = pillow("add_image()").fromarray(x), io.BytesIO()
        picture.save(file, format="PNG")
        image = Summary.Image(
            height=x.shape[0], width=x.shape[1], colorspace=x.shape[2], encoded_image_string=file.getvalue()
        )
        self._add(global_step, walltime, summary=Summary(value=[Summary.Value(tag=tag, image=image)]))

    def add_images(self, tag, img_tensor, global_step=None, walltime=None, dataformats: str = "NCHW") -> None:
        """A batch of pictures, side by side."""
        self.add_image(tag, img_tensor, global_step, walltime, dataformats)

    def add_figure(self, tag, figure, global_step=None, close: bool = True, walltime=None) -> None:
        """A figure of matplotlib, or a list of them."""
        from matplotlib import pyplot
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        figures = figure if isinstance(figure, (list, tuple)) else [figure]
        pictures = []
        for one in figures:
            canvas = FigureCanvasAgg(one)
            canvas.draw()
            pictures.append(np.asarray(canvas.buffer_rgba())[:, :, :3])
            if close:
                pyplot.close(one)
        if isinstance(figure, (list, tuple)):
            self.add_image(tag, np.stack(pictures), global_step, walltime, "NHWC")
        else:
            self.add_image(tag, pictures[0], global_step, walltime, "HWC")

    # --- graphs ---

    def add_graph(self, model: nn.Module, input_to_model=None, verbose: bool = False, use_strict_trace=True) -> None:
        """The model's layers, and which layer's output goes into which, as one forward pass shows them."""
        inputs = input_to_model if isinstance(input_to_model, (tuple, list)) else (input_to_model,)
        graph = _layers(model, tuple(inputs))
        if verbose:
            print(graph)
        self._add(None, None, graph_def=graph.SerializeToString())


def _layers(model: nn.Module, inputs: tuple) -> GraphDef:
    """A node for each call of a module without children; between them the ops of the autograd graph lead the way."""
    graph = GraphDef()
    graph.versions.producer = 22
    made: dict[int, str] = {}  # the node that made a tensor, or an op
    alive: list = []  # ids stay unique while what they belong to lives

    def tensors(values: Any) -> Iterable[Tensor]:
        if isinstance(values, Tensor):
            yield values
        elif isinstance(values, Mapping):
            yield from tensors(list(values.values()))
        elif isinstance(values, (tuple, list)):
            for value in values:
                yield from tensors(value)

    def sources(values: Any) -> list[str]:
        found: dict[str, None] = {}
        waiting, seen = [], set()
        for x in tensors(values):
            if id(x) in made:
                found[made[id(x)]] = None
            elif x.grad_fn is not None:
                waiting.append(x.grad_fn)
        while waiting:
            op = waiting.pop()
            if op is None or id(op) in seen:
                continue
            seen.add(id(op))
            if id(op) in made:
                found[made[id(op)]] = None
            else:
                waiting.extend(parent for parent, _ in getattr(op, "next_functions", ()))  # a leaf tensor has none
        return list(found)

    def node(name: str, kind: str, values: Any, outputs: Any) -> None:
        taken = {n.name for n in graph.node}
        name = next(n for n in (name, *(f"{name}_{i}" for i in range(1, len(taken) + 2))) if n not in taken)
        graph.node.add(name=name, op=kind, input=sources(values))
        for x in tensors(outputs):
            made[id(x)] = name
            alive.append(x)
            if x.grad_fn is not None:
                made[id(x.grad_fn)] = name
                alive.append(x.grad_fn)

    names = {module: name.replace(".", "/") for name, module in model.named_modules()}
    kind = type(model).__name__
    hooks = []
    for module, name in names.items():
        if not any(True for _ in module.children()):

            def record(module, args, kwargs, output, name=name):
                node(f"{kind}/{name}" if name else kind, type(module).__name__, (args, kwargs), output)

            hooks.append(module.register_forward_hook(record, with_kwargs=True))
    # Inputs that require gradients: so the ops between them and the first layer are in the autograd graph.
    inputs = tuple(
        x.detach().requires_grad_() if isinstance(x, Tensor) and x.dtype.is_floating_point else x for x in inputs
    )
    for i, x in enumerate(tensors(inputs)):
        node(f"input_{i}", "Input", (), x)
    training = model.training
    try:
        model.eval()
        with minitorch.enable_grad():
            node("output", "Output", model(*inputs), ())
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return graph
