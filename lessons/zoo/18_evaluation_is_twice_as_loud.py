"""The model is good in training and bad in evaluation; the activations are about twice as large there.

Dropout by hand. Tool: the mean over many draws.                       Needs lesson 06.
"""

import minitorch


def broken(x, p=0.5, training=True):
    if not training:
        return x
    return x * (minitorch.rand_like(x) >= p).to(x.dtype)


def symptom(dropout):
    minitorch.manual_seed(0)
    x = minitorch.ones(100_000)
    trained, evaluated = float(dropout(x).mean()), float(dropout(x, training=False).mean())
    assert abs(trained - evaluated) < 0.02


def examine(dropout):
    minitorch.manual_seed(0)
    x = minitorch.rand(20_000) + 1
    for p in (0.1, 0.5, 0.9):
        ratio = float(dropout(x, p).mean() / dropout(x, p, training=False).mean())
        library = float(minitorch.nn.functional.dropout(x, p).mean() / x.mean())
        assert abs(ratio - library) < 0.1, (
            f"p = {p}: the mean is {ratio:.2f} of evaluation's, the library's {library:.2f}"
        )


# --- the answer ----------------------------------------------------------------------------------------------------
# Of each sum only 1 - p is left. Divide by 1 - p while training, so that the expectation is that of evaluation.


def fixed(x, p=0.5, training=True):
    return broken(x, p, training) / (1 - p) if training else x
