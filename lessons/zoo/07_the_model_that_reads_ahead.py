"""A language model's training loss is wonderful, its text is nonsense. Masked positions have the weight zero, though.

Causal attention. Tool: the Jacobian says which output depends on which input.     Needs lesson 10.
"""

import minitorch
from minitorch.autograd.functional import jacobian


def broken(x):
    T = x.shape[0]
    weights = (x @ x.T / x.shape[1] ** 0.5).softmax(-1)
    weights = weights * minitorch.tril(minitorch.ones(T, T, dtype=x.dtype))
    return weights @ x


def symptom(attention):
    minitorch.manual_seed(0)
    x = minitorch.randn(4, 3)
    changed = x.clone()
    changed[3] += 1  # the future
    assert minitorch.allclose(attention(x)[:3], attention(changed)[:3])


def examine(attention):
    minitorch.manual_seed(0)
    J = jacobian(attention, minitorch.randn(4, 3)).abs().sum((1, 3))  # (output position, input position)
    ahead = [(t, s) for t in range(4) for s in range(t + 1, 4) if float(J[t, s]) > 0]
    assert not ahead, f"(output, input) positions that should not depend on each other: {ahead}"


# --- the answer ----------------------------------------------------------------------------------------------------
# The mask comes after the softmax: the future's scores are in the denominator. Mask the scores, with -inf.


def fixed(x):
    T = x.shape[0]
    future = minitorch.triu(minitorch.ones(T, T), 1).bool()
    return (x @ x.T / x.shape[1] ** 0.5).masked_fill(future, float("-inf")).softmax(-1) @ x
