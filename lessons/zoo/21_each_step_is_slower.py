"""A recurrent model: every batch takes longer than the one before; or the second one stops with an error.

The state is handed on from batch to batch. Tool: the engine's message, and the length of the graph.   Needs lesson 08.
"""

import minitorch


def broken(cell, batches, w):
    """The losses of all batches; `h` is handed on."""
    h = minitorch.zeros(4)
    losses = []
    for x in batches:
        h = cell(x, h, w)
        loss = h.square().mean()
        loss.backward()
        losses.append(loss.item())
    return losses


def cell(x, h, w):
    return (x + h * w).tanh()


def batches():
    minitorch.manual_seed(0)
    return [minitorch.randn(4) for _ in range(3)]


def symptom(train):
    try:
        losses = train(cell, batches(), minitorch.ones(4, requires_grad=True))
    except RuntimeError:
        losses = []
    assert len(losses) == 3


def examine(train):
    depths = []

    def measured(x, h, w):
        node, depth = h.grad_fn, 0
        while node is not None:
            depth += 1
            node = next((edge for edge, _ in node.next_functions if hasattr(edge, "next_functions")), None)
        depths.append(depth)
        return cell(x, h, w)

    train(measured, batches(), minitorch.ones(4, requires_grad=True))
    assert depths == [0, 0, 0], f"the state that comes in drags a graph of {depths} operations behind it"


# --- the answer ----------------------------------------------------------------------------------------------------
# h leads back into the last batch's graph, which is freed (or, with retain_graph=True, walked again, ever longer).
# Hand on the numbers, not the graph.


def fixed(cell, batches, w):
    h = minitorch.zeros(4)
    losses = []
    for x in batches:
        h = h.detach()
        h = cell(x, h, w)
        loss = h.square().mean()
        loss.backward()
        losses.append(loss.item())
    return losses
