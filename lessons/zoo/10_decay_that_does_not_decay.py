"""Weight decay 0.1 or 0.0001: with this Adam it makes hardly a difference for weights with large gradients.

Tool: the library's AdamW on the same gradients.                       Needs lesson 05.
"""

import minitorch


def broken(w, g, state, lr=0.1, decay=0.1, b1=0.9, b2=0.999):
    """One step of Adam with weight decay on arrays; `state` keeps the step and the averages."""
    t = state["t"] = state.get("t", 0) + 1
    g = g + decay * w
    m = state["m"] = b1 * state.get("m", 0) + (1 - b1) * g
    v = state["v"] = b2 * state.get("v", 0) + (1 - b2) * g * g
    return w - lr * (m / (1 - b1**t)) / ((v / (1 - b2**t)) ** 0.5 + 1e-8)


def symptom(adam):
    w, state = 1.0, {}
    for t in range(20):
        w = adam(w, 100.0 * (-1) ** t, state)  # a gradient without direction: only the decay should be left
    plain, state = 1.0, {}
    for t in range(20):
        plain = adam(plain, 100.0 * (-1) ** t, state, decay=0.0)
    assert plain - w > 0.1


def examine(adam):
    minitorch.manual_seed(0)
    p = minitorch.nn.Parameter(minitorch.randn(3, dtype=minitorch.float64))
    ours, state = p.detach().clone(), {}
    optimizer = minitorch.optim.AdamW([p], lr=0.1, weight_decay=0.1)
    for t in range(5):
        p.grad = minitorch.randn(3, dtype=minitorch.float64)
        ours = adam(ours, p.grad, state)
        optimizer.step()
        assert minitorch.allclose(ours, p), f"step {t + 1}: {ours.tolist()}, AdamW has {p.tolist()}"


# --- the answer ----------------------------------------------------------------------------------------------------
# Added to the gradient, the decay is divided by sqrt(v) as well. AdamW takes it from the weight directly.


def fixed(w, g, state, lr=0.1, decay=0.1, b1=0.9, b2=0.999):
    return broken(w, g, state, lr, 0.0, b1, b2) - lr * decay * w
