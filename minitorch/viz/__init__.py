"""Looking at what happens: the graph with its values, the backward pass step by step, curves, attention, loss surfaces."""

from .doctor import doctor
from .graph import Graph, graph
from .plots import attention, curves, landscape
from .replay import Replay
from .tape import Tape, record

__all__ = ["Graph", "Replay", "Tape", "attention", "curves", "doctor", "graph", "landscape", "record", "replay"]


def replay(function, *inputs, path=None, title="The backward pass, step by step"):
    """The backward pass of `function(*inputs)`, which gives one number, as a page to step through: one offline file.

    Each step shows the forward value, the local derivative, the incoming gradient, and what is accumulated.

        viz.replay(lambda w, x: ((w * x).sum() - 1) ** 2, w, x, path="backward.html")
    """
    page = graph(function, *inputs).tape.replay(title=title)
    if path is not None:
        page.save(path)
    return page
