"""Functions with a backward of their own, second derivatives, hooks; the gradients are checked before the training."""

import argparse
import math

import torch
from torch.autograd import Function, gradcheck, gradgradcheck


class LegendrePolynomial3(Function):
    @staticmethod
    def forward(ctx, input):
        ctx.save_for_backward(input)
        return 0.5 * (5 * input**3 - 3 * input)

    @staticmethod
    def backward(ctx, grad_output):
        (input,) = ctx.saved_tensors
        return grad_output * 1.5 * (5 * input**2 - 1)


class Swish(Function):
    @staticmethod
    def forward(ctx, x, beta):
        s = torch.sigmoid(beta * x)
        ctx.save_for_backward(x, s)
        ctx.beta = beta
        return x * s

    @staticmethod
    def backward(ctx, grad_output):
        x, s = ctx.saved_tensors
        if not ctx.needs_input_grad[0]:
            return None, None
        return grad_output * (s + ctx.beta * x * s * (1 - s)), None


class Round(Function):
    """Rounds; the gradient passes straight through."""

    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output.clone()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    z = torch.randn(4, dtype=torch.double, requires_grad=True)
    assert gradcheck(LegendrePolynomial3.apply, (z,)) and gradgradcheck(LegendrePolynomial3.apply, (z,))
    assert gradcheck(lambda v: Swish.apply(v, 1.5), (z,))

    dtype = torch.float
    x = torch.linspace(-math.pi, math.pi, 200, dtype=dtype)
    y = torch.sin(x)
    a, b, c, d = (torch.full((), v, dtype=dtype, requires_grad=True) for v in (0.1, -1.0, 0.1, 0.3))
    norms = []
    handle = d.register_hook(lambda grad: norms.append(grad.abs().item()))
    for t in range(args.steps):
        P3 = LegendrePolynomial3.apply
        y_pred = a + b * P3(c + d * x) + 0.1 * Swish.apply(c * x, 1.5) + 0.001 * Round.apply(10 * a)
        loss = (y_pred - y).pow(2).sum()
        (first,) = torch.autograd.grad(loss, d, create_graph=True)
        total = loss + 1e-4 * first**2
        total.backward()
        with torch.no_grad():
            for p in (a, b, c, d):
                p -= 5e-6 * p.grad
                p.grad = None
        print(f"step {t} loss {loss.item():.6f} slope {first.item():.3f} norm {norms[-1]:.3f}")
    handle.remove()
    print(f"Result: y = {a.item():.4f} + {b.item():.4f} * P3({c.item():.4f} + {d.item():.4f} x)")


if __name__ == "__main__":
    main()
