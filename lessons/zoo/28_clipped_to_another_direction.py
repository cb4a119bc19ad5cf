"""With gradient clipping the model learns its large layers much more slowly than its small ones.

Tool: the direction of the clipped gradient; the library's clip_grad_norm_.        Needs lesson 08.
"""

import minitorch
from minitorch.nn.utils import clip_grad_norm_


def broken(parameters, max_norm):
    for p in parameters:
        norm = p.grad.norm()
        if norm > max_norm:
            p.grad.mul_(max_norm / norm)


def gradients(clip):
    a, b = minitorch.zeros(2, requires_grad=True), minitorch.zeros(2, requires_grad=True)
    a.grad, b.grad = minitorch.tensor([30.0, 40.0]), minitorch.tensor([0.3, 0.4])
    before = minitorch.cat([a.grad, b.grad])
    clip([a, b], 1.0)
    return before, minitorch.cat([a.grad, b.grad])


def symptom(clip):
    before, after = gradients(clip)
    assert minitorch.allclose(after / after.norm(), before / before.norm(), atol=1e-6)


def examine(clip):
    _, ours = gradients(clip)
    _, library = gradients(clip_grad_norm_)
    assert minitorch.allclose(ours, library, atol=1e-5), f"{ours.tolist()}, the library's {library.tolist()}"


# --- the answer ----------------------------------------------------------------------------------------------------
# Each parameter was clipped by its own norm. One norm over all of them shortens the step and keeps its direction.


def fixed(parameters, max_norm):
    total = sum(float(p.grad.square().sum()) for p in parameters) ** 0.5
    for p in parameters:
        p.grad.mul_(min(1.0, max_norm / (total + 1e-6)))
