"""An embedding that is the output layer too learns from its outputs only.

The gradient of a tied weight, by hand. Tool: gradcheck.               Needs lesson 13.
"""

import minitorch
from minitorch.autograd import Function, gradcheck


class broken(Function):
    """z = W[k] W^T            k: (N,)   W: (V, C)   z: (N, V)"""

    @staticmethod
    def forward(ctx, W, k):
        ctx.save_for_backward(W, k)
        return W[k] @ W.T

    @staticmethod
    def backward(ctx, dz):
        W, k = ctx.saved_tensors
        return dz.T @ W[k], None


def symptom(tied):
    W = minitorch.tensor([[1.0], [2.0]], requires_grad=True)
    tied.apply(W, minitorch.tensor([0])).sum().backward()  # w0 w0 + w0 w1
    assert W.grad.flatten().tolist() == [4.0, 1.0]


def examine(tied):
    W = minitorch.randn(4, 3, dtype=minitorch.float64, requires_grad=True)
    gradcheck(lambda W: tied.apply(W, minitorch.tensor([0, 2, 2])), (W,))


# --- the answer ----------------------------------------------------------------------------------------------------
# W is read twice, so two gradients arrive, and are added: dW = dz^T W[k]  +  (dz W at the rows k).


class fixed(broken):
    @staticmethod
    def backward(ctx, dz):
        W, k = ctx.saved_tensors
        return (dz.T @ W[k]).index_add(0, k, dz @ W), None
