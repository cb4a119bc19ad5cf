"""Other libraries on what they can do: `scalar`, `tiny` and `mlp`. An adapter builds a step from the weights and the
batches of minitorch's job; `make bench` installs none of them: pip install autograd mygrad tinygrad (0.14; on the CPU it needs clang)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from .workloads import Job, expression

Step = Callable[[], Any]  # returns, as an array, what minitorch's step does
START = [np.array([0.7], np.float32), np.array([0.3], np.float32)]  # of `scalar`


def layers(job: Job) -> list[np.ndarray]:
    """W, b, W, b ... of an MLP."""
    return list(job.weights().values())


def in_turn(job: Job) -> Callable[[], tuple]:
    count = 0

    def following():
        nonlocal count
        count += 1
        return job.arrays[count % len(job.arrays)]

    return following


def updates(job: Job, weights: list) -> Callable[[list], None]:
    """SGD or Adam on NumPy arrays in place, for libraries that bring no optimizer."""
    group = job.optimizer.param_groups[0]
    moments = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]
    t = 0

    def update(grads):
        nonlocal t
        t += 1
        for w, g, (m, v) in zip(weights, grads, moments):
            if "betas" not in group:
                w -= np.float32(group["lr"]) * g
                continue
            beta1, beta2 = group["betas"]
            m += (1 - beta1) * (g - m)
            v += (1 - beta2) * (g * g - v)
            w -= group["lr"] / (1 - beta1**t) * m / (np.sqrt(v / (1 - beta2**t)) + group["eps"])

    return update


def perceptron(weights: list, x: Any, maximum: Callable) -> Any:
    for W, b in zip(weights[:-2:2], weights[1:-2:2]):
        x = maximum(x @ W.T + b, 0)
    return x @ weights[-2].T + weights[-1]


def autograd(name: str, job: Job) -> Step:
    import autograd
    import autograd.numpy as anp

    if name == "scalar":
        gradient = autograd.make_vjp(lambda pair: expression(anp, *pair))
        one = np.ones(1, np.float32)
        return lambda: gradient(START)[0](one)[0]

    def loss(weights, x, y):
        scores = perceptron(weights, x, anp.maximum)
        top = scores.max(axis=1, keepdims=True)
        log_sum = anp.log(anp.sum(anp.exp(scores - top), axis=1)) + top[:, 0]
        return anp.mean(log_sum - scores[np.arange(len(y)), y])

    weights, both, batch = layers(job), autograd.value_and_grad(loss), in_turn(job)
    update = updates(job, weights)

    def step():
        value, grads = both(weights, *batch())
        update(grads)
        return value

    return step


def mygrad(name: str, job: Job) -> Step:
    import mygrad as mg
    from mygrad.nnet.losses import softmax_crossentropy

    if name == "scalar":
        a, b = (mg.tensor(value) for value in START)

        def expression_step():
            a.null_grad(), b.null_grad()
            expression(mg, a, b).backward()
            return a.grad

        return expression_step
    tensors, batch = [mg.tensor(w) for w in layers(job)], in_turn(job)
    update = updates(job, [t.data for t in tensors])

    def step():
        x, y = batch()
        loss = softmax_crossentropy(perceptron(tensors, x, mg.maximum), y)
        loss.backward()
        update([t.grad for t in tensors])
        return loss.data

    return step


def tinygrad(name: str, job: Job) -> Step:
    from tinygrad import Context, Tensor, nn

    if name == "scalar":
        a, b = (Tensor(value) for value in START)

        def expression_step():
            a.grad = b.grad = None
            expression(Tensor, a, b).sum().backward()
            return a.grad.numpy()

        return expression_step
    weights, batch = [Tensor(w) for w in layers(job)], in_turn(job)
    group = job.optimizer.param_groups[0]
    optimizer = (nn.optim.Adam if "betas" in group else nn.optim.SGD)(weights, lr=group["lr"])

    def step():
        x, y = (Tensor(value) for value in batch())
        with Context(TRAINING=1):
            loss = perceptron(weights, x, Tensor.maximum).sparse_categorical_crossentropy(y)
            optimizer.zero_grad()
            loss.backward()
            return loss.realize(*optimizer.schedule_step()).numpy()

    return step


ADAPTERS = {"autograd": autograd, "mygrad": mygrad, "tinygrad": tinygrad}
CAN = ("tiny", "scalar", "mlp")


def installed() -> list[str]:
    return [name for name in ADAPTERS if importlib.util.find_spec(name) is not None]
