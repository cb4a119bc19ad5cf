"""The loss is `inf` on rare batches, and the weights are NaN ever after.

A cross-entropy written by hand. Tool: detect_anomaly, or the doctor.  Needs lesson 04.
"""

import minitorch
from minitorch import viz
from minitorch.nn import functional as F


def broken(logits, target):
    p = logits.softmax(-1)
    return -p.gather(1, target[:, None]).log().mean()


LOGITS = [[120.0, 0.0, 0.0], [0.0, 1.0, 2.0]]  # sure, and wrong


def symptom(loss):
    x = minitorch.tensor(LOGITS, requires_grad=True)
    value = loss(x, minitorch.tensor([1, 2]))
    value.backward()
    assert value.isfinite() and x.grad.isfinite().all()


def examine(loss):
    x = minitorch.tensor(LOGITS, requires_grad=True)
    with viz.doctor({"logits": x}) as report:
        loss(x, minitorch.tensor([1, 2])).backward()
    assert not report.of("NaN"), str(report)


# --- the answer ----------------------------------------------------------------------------------------------------
# The softmax rounds to 0, and log(0) is -inf. log_softmax subtracts instead: x - max - log(sum e^(x - max)).


def fixed(logits, target):
    return F.nll_loss(logits.log_softmax(-1), target)
