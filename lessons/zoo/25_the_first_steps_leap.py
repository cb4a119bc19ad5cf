"""The first steps are three to six times too long: a learning rate that is right later makes the loss jump at the start.

Adam by hand. Tool: the library's Adam on the same gradients.          Needs lesson 05.
"""

import minitorch


def broken(w, g, state, lr=0.1, b1=0.9, b2=0.999):
    state["m"] = b1 * state.get("m", 0) + (1 - b1) * g
    state["v"] = b2 * state.get("v", 0) + (1 - b2) * g * g
    return w - lr * state["m"] / (state["v"] ** 0.5 + 1e-8)


def symptom(adam):
    step = abs(adam(0.0, 5.0, {}))
    assert abs(step - 0.1) < 1e-3, "Adam's first step is the learning rate, whatever the gradient"


def examine(adam):
    minitorch.manual_seed(0)
    p = minitorch.nn.Parameter(minitorch.randn(3, dtype=minitorch.float64))
    ours, state = p.detach().clone(), {}
    optimizer = minitorch.optim.Adam([p], lr=0.1)
    for t in range(5):
        p.grad = minitorch.randn(3, dtype=minitorch.float64)
        ours = adam(ours, p.grad, state)
        optimizer.step()
        assert minitorch.allclose(ours, p), f"step {t + 1}: {ours.tolist()}, Adam has {p.tolist()}"


# --- the answer ----------------------------------------------------------------------------------------------------
# The averages start at zero, and after t steps hold 1 - b^t of the gradients' weight: divide by it.


def fixed(w, g, state, lr=0.1, b1=0.9, b2=0.999):
    t = state["t"] = state.get("t", 0) + 1
    m = state["m"] = b1 * state.get("m", 0) + (1 - b1) * g
    v = state["v"] = b2 * state.get("v", 0) + (1 - b2) * g * g
    return w - lr * (m / (1 - b1**t)) / ((v / (1 - b2**t)) ** 0.5 + 1e-8)
