"""`backward()` complains about a version. The forward pass is right to the last digit.

Tool: the engine's own message; detect_anomaly for the line.           Needs lesson 02.
"""

import minitorch


def broken(x):
    """softplus's slope times x: sigmoid(x) x, and the sigmoids themselves, shifted to the mean zero."""
    s = x.sigmoid()
    y = s * x
    s -= s.mean()
    return y, s


def symptom(function):
    x = minitorch.tensor([0.5, -1.0], requires_grad=True)
    y, _ = function(x)
    try:
        y.sum().backward()
    except RuntimeError:
        raise AssertionError("there is no gradient") from None
    assert x.grad is not None


def examine(function):
    x = minitorch.randn(4, dtype=minitorch.float64, requires_grad=True)
    minitorch.autograd.gradcheck(lambda x: function(x)[0], (x,))


# --- the answer ----------------------------------------------------------------------------------------------------
# The product's gradient needs s as it was. `s -= ...` changes it in place; `s = s - ...` makes a new tensor.


def fixed(x):
    s = x.sigmoid()
    return s * x, s - s.mean()
