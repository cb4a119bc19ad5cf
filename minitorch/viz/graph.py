"""The computational graph as a picture: one box for a leaf, one for each operation with its result. SVG, drawn here."""

from __future__ import annotations

import os
from html import escape
from typing import Any

from ..backend.devices import to_numpy
from ..tensor import Tensor
from .tape import Step, Tape, Value, record

GAP_X, GAP_Y, LINE, PADDING = 56, 22, 16, 8
LETTER = 6.7  # the width of a letter of the 11 px monospace font
COLOURS = {"leaf": "#e8f1fb", "constant": "#f3f3f3", "op": "#fff7e6", "root": "#e9f7ec"}


def short(array: Any, limit: int = 3) -> list[str]:
    """An array as a few short lines: numbers where it is small, else its shape and range."""
    array = to_numpy(array)
    if array.size == 1:
        return [f"{float(array.reshape(())):.4g}"]
    if array.ndim <= 2 and array.size <= limit * 4 and array.shape[0] <= limit:
        rows = array.reshape(1, -1) if array.ndim == 1 else array
        return ["[" + " ".join(f"{float(v):.3g}" for v in row) + "]" for row in rows]
    size = "x".join(map(str, array.shape))
    if not array.size:
        return [f"({size})"]
    return [f"({size})", f"{float(array.min()):.3g} .. {float(array.max()):.3g}"]


class Box:
    """What is drawn for a value: its text, its layer (its longest distance from a leaf), its place in the layer."""

    def __init__(self, value: Value | None, layer: int):
        self.value, self.layer = value, layer
        self.lines: list[tuple[str, str]] = []  # (text, css class)
        self.before: list[Box] = []
        self.after: list[Box] = []
        self.x = self.y = 0.0
        self.width = self.height = 0.0

    def fill(self) -> None:
        value = self.value
        if value is None:
            self.height = 4.0  # an edge that passes a layer
            return
        head = value.name
        if value.step is not None:
            number = f"[{value.step.outputs.index(value)}]" if len(value.step.outputs) > 1 else ""
            head = (f"{head} = " if head else "") + value.step.name + number
        self.lines.append((head or ("leaf" if value.tensor.requires_grad else "constant"), "h"))
        self.lines += [(("" if i else "    y  ") + line if not i else "       " + line, "v")
                       for i, line in enumerate(short(value.tensor.array))]  # fmt: skip
        if value.grad is not None:
            self.lines += [("    dy " + line if not i else "       " + line, "g")
                           for i, line in enumerate(short(value.grad))]  # fmt: skip
        self.width = max(len(text) for text, _ in self.lines) * LETTER + 2 * PADDING
        self.height = len(self.lines) * LINE + 2 * PADDING - 4

    def kind(self, root: Value) -> str:
        if self.value is root:
            return "root"
        if self.value is not None and self.value.step is not None:
            return "op"
        return "leaf" if self.value is not None and self.value.tensor.requires_grad else "constant"


def layout(tape: Tape, root: Value) -> tuple[list[Box], list[tuple[list[Box], int]]]:
    """Boxes in layers from left to right, and the edges as lists of boxes, bends included, with the input's number.

    Within a layer the order is improved by sweeps to the mean place of the neighbours (Sugiyama's method).
    """
    boxes: dict[int, Box] = {}

    def visit(start: Value) -> None:
        stack = [start]
        while stack:
            value = stack[-1]
            parts = value.step.inputs if value.step is not None else []
            missing = [v for v in parts if id(v) not in boxes]
            if missing:
                stack += missing
                continue
            stack.pop()
            if id(value) not in boxes:
                boxes[id(value)] = Box(value, 1 + max((boxes[id(v)].layer for v in parts), default=-1))

    visit(root)
    first: dict[int, int] = {}  # a leaf stands just before the first operation that uses it
    for box in boxes.values():
        assert box.value is not None
        for part in box.value.step.inputs if box.value.step is not None else ():
            first[id(part)] = min(first.get(id(part), box.layer), box.layer)
    for key, box in boxes.items():
        if box.value is not None and box.value.step is None and key in first:
            box.layer = first[key] - 1
    everything = list(boxes.values())
    edges = []
    for box in list(boxes.values()):
        assert box.value is not None
        if box.value.step is None:
            continue
        for i, part in enumerate(box.value.step.inputs):
            path = [boxes[id(part)]]
            for level in range(path[0].layer + 1, box.layer):
                path.append(Box(None, level))
                everything.append(path[-1])
            path.append(box)
            for a, b in zip(path, path[1:]):
                a.after.append(b)
                b.before.append(a)
            edges.append((path, i))
    for box in everything:
        box.fill()
    layers: list[list[Box]] = [[] for _ in range(1 + max(b.layer for b in everything))]
    for box in everything:
        layers[box.layer].append(box)
    for sweep in range(6):
        forward = sweep % 2 == 0
        for layer in layers if forward else reversed(layers):
            place = {id(b): i for boxes_ in layers for i, b in enumerate(boxes_)}

            def middle(box: Box, place: dict = place, forward: bool = forward) -> float:
                near = box.before if forward else box.after
                return sum(place[id(b)] for b in near) / len(near) if near else place[id(box)]

            layer.sort(key=middle)
    x = 0.0
    heights = [sum(b.height + GAP_Y for b in layer) for layer in layers]
    for layer, height in zip(layers, heights):
        width = max(b.width for b in layer)
        for box in layer:
            box.width = width if box.value is None else box.width  # an edge crosses a layer straight, bends between
        y = (max(heights) - height) / 2
        for box in layer:
            box.x, box.y = x + (width - box.width) / 2, y
            y += box.height + GAP_Y
        x += width + GAP_X
    return everything, edges


class Graph:
    """The picture: shows itself in a notebook; `save("graph.svg")` writes it; `svg` is the text."""

    def __init__(self, tape: Tape, root: Value | None = None):
        root = root or tape.root or (tape.steps[-1].outputs[0] if tape.steps else None)
        if root is None:
            raise ValueError("viz.graph: no operation was recorded")
        self.tape, self.root = tape, root
        self.boxes, self.edges = layout(tape, root)

    @property
    def svg(self) -> str:
        shown = [b for b in self.boxes if b.value is not None]
        width = max(b.x + b.width for b in shown) + 2
        height = max(b.y + b.height for b in shown) + 2
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" font-family="monospace" font-size="11">',
            "<style>.h{font-weight:bold;fill:#222}.v{fill:#333}.g{fill:#b03a2e}.e{fill:none;stroke:#888}"
            ".box{stroke:#999}.on .box{stroke:#b03a2e;stroke-width:3}.e.on{stroke:#b03a2e;stroke-width:2.5}</style>"
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0,0 L8,4 L0,8 z" fill="#888"/></marker></defs>',
        ]
        for path, number in self.edges:
            d = f"M{path[0].x + path[0].width:.1f},{path[0].y + path[0].height / 2:.1f}"
            for a, b in zip(path, path[1:]):
                x0, x1, y0, y1 = a.x + a.width, b.x, a.y + a.height / 2, b.y + b.height / 2
                d += f" C{(x0 + x1) / 2:.1f},{y0:.1f} {(x0 + x1) / 2:.1f},{y1:.1f} {x1:.1f},{y1:.1f}"
                if b.value is None:
                    d += f" H{b.x + b.width:.1f}"
            step, part = path[-1].value, path[0].value
            out.append(
                f'<path class="e" data-from="{self.number(part)}" data-to="{self.number(step)}" data-input="{number}" '
                f'd="{d}" marker-end="url(#tip)"/>'
            )
        for box in shown:
            out.append(
                f'<g class="node" data-node="{self.number(box.value)}"><rect class="box" x="{box.x:.1f}" y="{box.y:.1f}" '
                f'width="{box.width:.1f}" height="{box.height:.1f}" rx="5" fill="{COLOURS[box.kind(self.root)]}"/>'
            )
            for i, (text, css) in enumerate(box.lines):
                out.append(
                    f'<text class="{css}" x="{box.x + PADDING:.1f}" y="{box.y + PADDING + 9 + i * LINE:.1f}" '
                    f'xml:space="preserve">{escape(text)}</text>'
                )
            out.append("</g>")
        return "\n".join([*out, "</svg>"])

    def number(self, value: Value | None) -> int:
        for i, box in enumerate(self.boxes):
            if box.value is value:
                return i
        return -1

    def save(self, path: str | os.PathLike) -> None:
        if not str(path).endswith(".svg"):
            raise ValueError(f"Graph.save: the picture is SVG, name the file *.svg, not {str(path)!r}")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.svg)

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        steps = {id(b.value.step) for b in self.boxes if b.value is not None and b.value.step is not None}
        return f"<Graph of {len(steps)} operations; a notebook shows it, save('graph.svg') writes it>"


def graph(function: Any, *inputs: Tensor, **names: Tensor) -> Graph:
    """The computational graph of `function(*inputs)`, with every value and every gradient.

    function: what computes the tensor; its parameters' names name the inputs. A result that is not a single element is
    shown without gradients. names: further tensors to name, such as a model's weights.

        viz.graph(lambda w, x: (w * x).tanh().sum(), w, x)
    """
    import inspect

    if isinstance(function, Tensor):
        raise TypeError(
            "viz.graph takes the function that computes the tensor, and its inputs: the engine keeps no values in "
            "between. viz.graph(lambda: expression), or `with viz.record() as tape:` round the computation"
        )
    try:
        parameters = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        parameters = []
    with record() as tape:
        result = function(*inputs)
    if not isinstance(result, Tensor):
        raise TypeError(f"viz.graph: the function returned a {type(result).__name__}, not a Tensor")
    tape.name(**dict(zip(parameters, inputs)), **names)
    closure = inspect.getclosurevars(function) if inspect.isfunction(function) else None
    if closure is not None:
        tape.name(**{k: v for k, v in {**closure.globals, **closure.nonlocals}.items() if isinstance(v, Tensor)})
    if result.requires_grad and result.numel() == 1:
        tape.backward(result)
    return tape.graph(result)


def step_text(step: Step) -> str:
    inputs = ", ".join(v.name or short(v.tensor.array)[0] for v in step.inputs)
    return f"{step.name}({inputs})"
