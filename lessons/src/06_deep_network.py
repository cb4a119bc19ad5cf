# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 A deep network by hand
#
# A deep network is a stack of two very simple things: a matrix product, and a function of one number applied to every element. **What makes such a stack trainable when it is thirty layers high, and what keeps it from learning its examples
# by heart?** You derive the gradients of both parts, put them together into a network in plain NumPy, find out from variances how large its first weights must be, and then watch it over-fit and
# stop it: with dropout, early stopping and cross-validation.
#
# You need lesson 02 (the gradient of a matrix product, of broadcasting), lesson 04 (softmax with cross-entropy) and lesson 05 (Adam). Time: 60 minutes.

# %%
import math
import os

import matplotlib.pyplot as plt
import numpy as np

import minitorch
from minitorch import lessons

F = minitorch.nn.functional
lesson = lessons.start(6)

# %% [markdown]
# ## Thirty layers
#
# Send 200 random vectors of length 256 through thirty layers, each of them a random matrix and then $\max(\cdot, 0)$. Nothing is trained; the only choice is the spread of the random weights. Three choices, which differ by 30 percent:

# %%
rng = np.random.default_rng(0)
DEPTH, WIDTH = 30, 256
for factor, color in ((0.7, "C0"), (1.0, "C1"), (1.3, "C2")):
    x = rng.normal(size=(200, WIDTH))
    sizes = []
    for _ in range(DEPTH):
        W = rng.normal(size=(WIDTH, WIDTH)) * factor * math.sqrt(2 / WIDTH)
        x = np.maximum(x @ W.T, 0)
        sizes.append(np.sqrt((x**2).mean()))
    plt.semilogy(range(1, DEPTH + 1), sizes, ".-", color=color, label=f"spread {factor} · √(2/256)")
plt.xlabel("layer")
plt.ylabel("size of the activations (root mean square)")
plt.title("A small error in the spread of the weights, to the power of 30")
plt.legend()
plt.show()

# %% [markdown]
# One of the three networks can be trained. In the blue one the last layer hardly depends on the input, in the green one it consists of huge numbers; and the gradients on the way back suffer the same. Where does $\sqrt{2/256}$ come from? First the parts, then the stack.
#
# ## The linear layer
#
# Shapes: `x` is $(N, D)$, $N$ examples with $D$ inputs; `W` is $(M, D)$, one row for each of $M$ outputs; `b` is $(M,)$; `y` is $(N, M)$. By indices and as matrices
#
# $$ y_{nm} = \sum_{d} x_{nd}\, W_{md} + b_m, \qquad y = x W^{\top} + b \tag{06.1} $$
#
# Let $dy_{nm} = \partial L/\partial y_{nm}$, of shape $(N, M)$. As in (00.15), every input collects from all outputs that it reaches. $x_{nd}$ reaches the outputs $y_{nm}$ of *its own example*, for all $m$, with the slope $W_{md}$:
#
# $$ dx_{nd} = \sum_{m} dy_{nm}\, W_{md}, \qquad dx = dy\; W \tag{06.2} $$
#
# $W_{md}$ reaches the output $m$ of *all examples* $n$, with the slope $x_{nd}$:
#
# $$ dW_{md} = \sum_{n} dy_{nm}\, x_{nd}, \qquad dW = dy^{\top} x \tag{06.3} $$
#
# and $b_m$ reaches the same outputs with the slope 1:
#
# $$ db_m = \sum_{n} dy_{nm} \tag{06.4} $$
#
# Check the shapes: $(N, M)(M, D) = (N, D)$ as `x`; $(M, N)(N, D) = (M, D)$ as `W`; $(M,)$ as `b`. If you forget a formula, the shapes give it back: with $N$, $D$, $M$ all different there is only one way to multiply.
#
# ### Exercise 1: linear backward


# %% tags=["exercise"]
def linear(x, W, b):
    """x: (N, D)   W: (M, D)   b: (M,)   ->   y: (N, M)"""
    return x @ W.T + b


def linear_backward(dy, x, W):
    """dy: (N, M)   ->   dx: (N, D), dW: (M, D), db: (M,)"""
    # --- solution
    return dy @ W, dy.T @ x, dy.sum(0)
    # --- stub
    # dx = np.zeros_like(x)
    # dW = np.zeros_like(W)
    # db = np.zeros(len(W))
    # return dx, dW, db
    # --- end


# %% tags=["check"]
@lesson.check(
    "linear",
    "linear_backward",
    hint="(06.2), (06.3), (06.4): two matrix products and one sum over the examples, axis 0.",
)
def _(linear, linear_backward):
    rng = np.random.default_rng(0)
    x, W, b, dy = rng.normal(size=(5, 3)), rng.normal(size=(4, 3)), rng.normal(size=4), rng.normal(size=(5, 4))
    lessons.same(linear(x, W, b)[1, 2], sum(x[1, d] * W[2, d] for d in range(3)) + b[2], what="y, by (06.1)")
    dx, dW, db = linear_backward(dy, x, W)
    lessons.same(dx, lessons.numeric_gradient(lambda x: linear(x, W, b), x, dy), what="dx")
    lessons.same(dW, lessons.numeric_gradient(lambda W: linear(x, W, b), W, dy), what="dW")
    lessons.same(db, lessons.numeric_gradient(lambda b: linear(x, W, b), b, dy), what="db")


# %%
def against_minitorch(function, arrays, dy):
    """Value and gradients that minitorch computes for the same arrays."""
    tensors = [minitorch.tensor(a, requires_grad=True) for a in arrays]
    y = function(*tensors)
    y.backward(minitorch.tensor(dy))
    return y.detach().numpy(), [t.grad.numpy() for t in tensors]


rng = np.random.default_rng(1)
x, W, b, dy = rng.normal(size=(6, 5)), rng.normal(size=(3, 5)), rng.normal(size=3), rng.normal(size=(6, 3))
by_hand = linear_backward(dy, x, W)
y, grads = against_minitorch(F.linear, (x, W, b), dy)
lessons.same(linear(x, W, b), y, tol=1e-12, what="y")  # (06.1)
for name, mine, theirs in zip(("dx", "dW", "db"), by_hand, grads):  # (06.2), (06.3), (06.4)
    lessons.same(mine, theirs, tol=1e-12, what=name)
numeric = [
    lessons.numeric_gradient(lambda x: linear(x, W, b), x, dy),
    lessons.numeric_gradient(lambda W: linear(x, W, b), W, dy),
    lessons.numeric_gradient(lambda b: linear(x, W, b), b, dy),
]
pairs = dict(zip(("dx", "dW", "db"), zip(by_hand, numeric)))
assert lessons.show_errors(pairs, title="The linear layer against differences; minitorch's are equal") < 1e-7

# %% [markdown]
# ## Why a function in between?
#
# Put one linear layer on another:
#
# $$ (x W_1^{\top} + b_1)\,W_2^{\top} + b_2 = x\,(W_2 W_1)^{\top} + (b_1 W_2^{\top} + b_2) \tag{06.5} $$
#
# That is one linear layer with the weights $W_2 W_1$. Depth alone adds nothing; something that is not linear has to stand between. Four functions, applied to each element. *ReLU* (rectified linear unit) cuts off at 0. Its slope is 1 above and 0 below:
#
# $$ y = \max(x, 0), \qquad dx = dy\cdot[x > 0] \tag{06.6} $$
#
# ($[\,\cdot\,]$ is 1 if true, else 0. At $x = 0$ there is no slope; one takes 0.) *tanh* squeezes everything into $(-1, 1)$. With $\sinh' = \cosh$, $\cosh' = \sinh$ and the quotient rule
#
# $$ y = \tanh x = \frac{\sinh x}{\cosh x}, \qquad \frac{dy}{dx} = \frac{\cosh^2 x - \sinh^2 x}{\cosh^2 x} = 1 - y^2, \qquad dx = dy\,(1 - y^2) \tag{06.7} $$
#
# *GELU*, which BERT and GPT use, multiplies $x$ by the probability that a standard normal number is smaller than $x$. Let $p(x) = e^{-x^2/2}/\sqrt{2\pi}$ be the normal density and $P(x) = \int_{-\infty}^{x} p(u)\,du$, so $P' = p$. By the product rule
#
# $$ y = x\,P(x), \qquad dx = dy\,\big(P(x) + x\,p(x)\big) \tag{06.8} $$
#
# $P$ is usually written with the error function: $P(x) = \frac12\big(1 + \mathrm{erf}(x/\sqrt2)\big)$. Before libraries had a fast erf, people used an approximation, and models trained with it, GPT-2 among them, still need it:
#
# $$ y = \tfrac12\,x\,(1 + \tanh u), \qquad u = \sqrt{2/\pi}\,\big(x + 0.044715\,x^3\big) \tag{06.9} $$
#
# With $t = \tanh u$, the product rule, (06.7), and $u' = \sqrt{2/\pi}\,(1 + 3\cdot 0.044715\,x^2)$:
#
# $$ dx = dy\,\Big(\tfrac12(1 + t) + \tfrac12\,x\,(1 - t^2)\,u'\Big) \tag{06.10} $$
#
# ### Exercise 2: three backwards
#
# The forwards are given, and the backward of the approximation (06.10).


# %% tags=["exercise"]
def relu(x):
    return np.maximum(x, 0.0)


def normal_P(x):
    return 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2)))


def gelu(x):
    return x * normal_P(x)


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_tanh_backward(dy, x):
    t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    return dy * (0.5 * (1 + t) + 0.5 * x * (1 - t**2) * slope)


def relu_backward(dy, x):
    # --- solution
    return dy * (x > 0)
    # --- stub
    # return dy
    # --- end


def tanh_backward(dy, y):
    """y: what tanh returned"""
    # --- solution
    return dy * (1 - y**2)
    # --- stub
    # return dy
    # --- end


def gelu_backward(dy, x):
    # --- solution
    return dy * (normal_P(x) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi))
    # --- stub
    # return dy * normal_P(x)  # P depends on x, too
    # --- end


# %% tags=["check"]
@lesson.check(
    "relu_backward",
    "tanh_backward",
    "gelu_backward",
    hint="Each is dy times a slope: [x > 0]; 1 - y^2, with y and not x; P(x) + x p(x).",
)
def _(relu_backward, tanh_backward, gelu_backward):
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(3, 4)) * 2, rng.normal(size=(3, 4))
    kept = dy.copy()
    lessons.same(relu_backward(dy, x), lessons.numeric_gradient(relu, x, kept), what="ReLU's dx")  # (06.6)
    lessons.same(dy, kept, what="dy after the call (it should be left alone)")
    lessons.same(relu_backward(np.ones(3), np.array([-1.0, 0.0, 1.0])), [0, 0, 1], what="ReLU's slopes at -1, 0, 1")
    lessons.same(tanh_backward(dy, np.tanh(x)), lessons.numeric_gradient(np.tanh, x, dy), what="tanh's dx")  # (06.7)
    lessons.same(gelu_backward(dy, x), lessons.numeric_gradient(gelu, x, dy), what="GELU's dx")  # (06.8)


# %%
rng = np.random.default_rng(2)
x, dy = rng.normal(size=(4, 6)) * 2, rng.normal(size=(4, 6))
functions = {
    "ReLU": (relu, relu_backward(dy, x), F.relu),  # (06.6)
    "tanh": (np.tanh, tanh_backward(dy, np.tanh(x)), minitorch.tanh),  # (06.7)
    "GELU": (gelu, gelu_backward(dy, x), F.gelu),  # (06.8)
    "GELU, approximated": (
        gelu_tanh,
        gelu_tanh_backward(dy, x),
        lambda x: F.gelu(x, approximate="tanh"),
    ),  # (06.9), (06.10)
}
pairs = {}
for name, (forward, dx, theirs) in functions.items():
    y, (grad,) = against_minitorch(theirs, (x,), dy)
    lessons.same(forward(x), y, tol=1e-12, what=name)
    lessons.same(dx, grad, tol=1e-12, what=f"{name}: dx")
    pairs[name] = (dx, lessons.numeric_gradient(forward, x, dy))
assert lessons.show_errors(pairs, title="Four activations against differences; minitorch's are equal") < 1e-7

W1, b1, W2, b2 = (rng.normal(size=s) for s in ((7, 6), 7, (3, 7), 3))
lessons.same(linear(linear(x, W1, b1), W2, b2), linear(x, W2 @ W1, b1 @ W2.T + b2), tol=1e-12, what="(06.5)")

t = np.linspace(-4, 4, 400)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
for name, y, slope in [
    ("ReLU", relu(t), relu_backward(np.ones(400), t)),
    ("tanh", np.tanh(t), tanh_backward(np.ones(400), np.tanh(t))),
    ("GELU", gelu(t), gelu_backward(np.ones(400), t)),
]:
    left.plot(t, y, label=name)
    right.plot(t, slope, label=name)
left.set(ylim=(-1.2, 3), xlabel="x", ylabel="y", title="Three activations")
right.set(xlabel="x", ylabel="slope", title="Their slopes: what the gradient is multiplied by")
left.legend()
plt.show()
print(f"the approximation of GELU is off by at most {np.abs(gelu(t) - gelu_tanh(t)).max():.1e}")

# %% [markdown]
# Look at the slopes. tanh's is below 1 except at 0, and nearly 0 for large inputs: such a unit is *saturated*, and passes no gradient back. ReLU passes all or nothing. A unit whose input is negative for every example gets no gradient, so it never changes: it is *dead*.
#
# ## How large should the first weights be?
#
# All equal, for example all zero, will not do: units with equal weights compute the same, get equal gradients, and stay copies of each other. So draw them at random, independently, with mean 0 and variance $\sigma^2$. Take one example; drop $n$; let the bias be 0: $y_m = \sum_d W_{md}x_d$. The weights are
# independent of $x$ and of each other, so $E[W_{md}W_{me}] = \sigma^2\delta_{de}$: in the square of the sum the mixed terms vanish,
#
# $$ E[y_m^2] = \sum_{d,e} E[W_{md}W_{me}]\,E[x_d x_e] = D\,\sigma^2\,E[x^2] \tag{06.11} $$
#
# where $E[x^2]$ is the mean over the $D$ inputs. On the way back $dx_d = \sum_m dy_m W_{md}$ by (06.2); that is the same with a sum over $M$ in place of $D$. (One takes $dy$ as independent of $W$, which is not quite true and good enough.)
#
# $$ E[dx_d^2] = M\,\sigma^2\,E[dy^2] \tag{06.12} $$
#
# A signal that keeps its size needs $D\sigma^2 = 1$; a gradient that keeps its size needs $M\sigma^2 = 1$. *Xavier's* initialization (Glorot and Bengio) takes the mean of $D$ and $M$:
#
# $$ \sigma^2 = \frac{2}{D + M} \tag{06.13} $$
#
# It can be drawn from a normal distribution, or uniformly from $(-a, a)$, whose variance is $\int_{-a}^{a} u^2\,\frac{du}{2a} = \frac{a^2}{3}$:
#
# $$ \frac{a^2}{3} = \frac{2}{D + M} \quad\Rightarrow\quad a = \sqrt{\frac{6}{D + M}} \tag{06.14} $$
#
# This is right where the activation is nearly the identity: tanh close to 0. Now ReLU. Let $z$ be its input. $z$ is a sum of independent terms with symmetric weights, so $z$ and $-z$ are equally likely; $\max(z, 0)^2$ is $z^2$ in one half of the cases and 0 in the other:
#
# $$ E[\max(z, 0)^2] = \tfrac12\,E[z^2] \tag{06.15} $$
#
# From one layer's $z$ to the next one's, with (06.11), $E[z'^2] = D\sigma^2\cdot\frac12 E[z^2]$. It stays the same if, as *Kaiming* He found,
#
# $$ \sigma^2 = \frac{2}{D} \tag{06.16} $$
#
# Backwards $[z > 0]$ halves $E[dy^2]$ too, so there it would be $2/M$; one of the two is enough, since the mismatch $D/M$ of neighbouring layers cancels along the stack. After $k$ layers of $D$ units
#
# $$ E[z_{k+1}^2] = \Big(\frac{D\sigma^2}{2}\Big)^{k}\, E[z_1^2] \tag{06.17} $$
#
# A factor $c$ in $\sigma$ is a factor $c^k$ in the size: $0.7^{29} = 0.00003$. That was the first picture.
#
# ### Exercise 3: two initializations


# %% tags=["exercise"]
def xavier_uniform(M, D, rng):
    """(M, D), uniform, with the variance (06.13)"""
    # --- solution
    a = math.sqrt(6 / (D + M))
    return rng.uniform(-a, a, (M, D))
    # --- stub
    # return rng.uniform(-1, 1, (M, D))
    # --- end


def kaiming_normal(M, D, rng):
    """(M, D), normal, with the variance (06.16)"""
    # --- solution
    return rng.normal(size=(M, D)) * math.sqrt(2 / D)
    # --- stub
    # return rng.normal(size=(M, D))
    # --- end


# %% tags=["check"]
@lesson.check(
    "xavier_uniform",
    "kaiming_normal",
    hint="Variance is the square of what you multiply a standard normal number by; the uniform's bound is (06.14). D is the number of columns.",
)
def _(xavier_uniform, kaiming_normal):
    rng = np.random.default_rng(0)
    W = xavier_uniform(300, 500, rng)
    assert W.shape == (300, 500), f"Xavier: the shape is {W.shape}, and should be (300, 500)."
    lessons.same(W.var() * 400, 1.0, tol=0.02, what="Xavier's variance times 400, D = 500 and M = 300")  # (06.13)
    lessons.same(np.abs(W).max(), math.sqrt(6 / 800), tol=1e-3, what="Xavier's largest weight")  # (06.14)
    W = kaiming_normal(300, 500, rng)
    assert W.shape == (300, 500), f"Kaiming: the shape is {W.shape}, and should be (300, 500)."
    lessons.same(W.var() * 250, 1.0, tol=0.02, what="Kaiming's variance times 250, D = 500 and M = 300")  # (06.16)
    assert np.abs(W).max() > 3 * W.std(), "Kaiming: of 150,000 normal numbers some are beyond 3 times the spread."
    minitorch.manual_seed(0)
    theirs = minitorch.nn.init.xavier_uniform_(minitorch.empty(300, 500)).numpy()
    lessons.same(theirs.var() * 400, 1.0, tol=0.02, what="minitorch's Xavier")
    theirs = minitorch.nn.init.kaiming_normal_(minitorch.empty(300, 500), nonlinearity="relu").numpy()
    lessons.same(theirs.var() * 250, 1.0, tol=0.02, what="minitorch's Kaiming")


# %% [markdown]
# Measured, forwards and backwards, through 30 layers of 256 units. The lines are the predictions from (06.11), (06.12) and (06.15). "Default" is how `nn.Linear` starts in PyTorch and in minitorch: uniform in $\pm 1/\sqrt D$, so $\sigma^2 = \frac{1}{3D}$, which with ReLU is a factor of 6 below (06.16), *in every layer*.

# %%
layer = minitorch.nn.Linear(WIDTH, WIDTH, bias=False)
assert np.isclose(layer.weight.detach().numpy().var() * WIDTH, 1 / 3, rtol=0.03)


def through(draw, act, act_backward, depth=DEPTH):
    """Sizes of z and of dz, layer by layer, for one random network without biases."""
    rng = np.random.default_rng(0)
    h, weights, zs, forward = rng.normal(size=(200, WIDTH)), [], [], []
    for _ in range(depth):
        W = draw(rng)
        z = h @ W.T
        weights.append(W)
        zs.append(z)
        forward.append(np.sqrt((z**2).mean()))
        h = act(z)
    dh, backward = rng.normal(size=h.shape), []
    for W, z in zip(weights[::-1], zs[::-1]):
        dz = act_backward(dh, z)
        backward.append(np.sqrt((dz**2).mean()))
        dh = dz @ W
    return np.array(forward), np.array(backward[::-1])


draws = {
    "Kaiming, 2/D": (lambda rng: kaiming_normal(WIDTH, WIDTH, rng), 2.0),
    "Xavier, 1/D": (lambda rng: xavier_uniform(WIDTH, WIDTH, rng), 1.0),
    "default, 1/(3D)": (lambda rng: rng.uniform(-1, 1, (WIDTH, WIDTH)) / math.sqrt(WIDTH), 1 / 3),
}
figure, panels = plt.subplots(1, 3, figsize=(12, 3.8))
layers = np.arange(DEPTH)
for (name, (draw, D_variance)), color in zip(draws.items(), ("C0", "C1", "C2")):
    forward, backward = through(draw, relu, relu_backward)
    predicted = math.sqrt(D_variance) * (D_variance / 2) ** (layers / 2)  # (06.11), (06.15), (06.17)
    predicted_back = math.sqrt(0.5) * (D_variance / 2) ** ((DEPTH - 1 - layers) / 2)  # (06.12): one half at each ReLU
    for axes, found, line in ((panels[0], forward, predicted), (panels[1], backward, predicted_back)):
        axes.semilogy(layers + 1, found, ".", color=color, label=name)
        axes.semilogy(layers + 1, line, color=color, linewidth=1)
        assert np.abs(np.log(found / line)).max() < 1.0  # within a factor e, where the range is 10^11
for factor, color in ((0.5, "C2"), (1.0, "C1"), (3.0, "C3")):
    forward, _ = through(
        lambda rng, factor=factor: factor * xavier_uniform(WIDTH, WIDTH, rng),
        np.tanh,
        lambda dy, z: tanh_backward(dy, np.tanh(z)),
    )
    panels[2].semilogy(layers + 1, forward, ".", color=color, label=f"{factor:g} · Xavier")
panels[0].set(xlabel="layer", ylabel="size of z", title="ReLU: the signal")
panels[1].set(xlabel="layer", ylabel="size of dz", title="ReLU: the gradient")
panels[2].set(xlabel="layer", ylabel="size of z", title="tanh: the signal")
panels[0].legend(loc="lower left", fontsize=9)
panels[2].legend(loc="lower left", fontsize=9)
plt.show()

# %% [markdown]
# With (06.16) the gradient arrives at the first layer as large as it left the last one; with the default it has lost more than ten orders of magnitude. tanh under Xavier shrinks slowly, because it pulls every value a little towards 0; three times Xavier drives it into saturation.
#
# ## The network
#
# Now the stack: linear, ReLU, linear, ReLU, ..., linear; then softmax and cross-entropy of lesson 04, whose gradient with respect to the logits is $dz = (\hat y - y)/N$. The forward keeps what the backward needs: the input of every linear layer, and the input of every ReLU. The backward goes through the layers
# in reverse, and hands each layer's `dx` to the one before as its `dy`. Dropout is in it already, and comes below; without `rng` it does nothing.


# %%
def new_network(sizes, rng, draw=kaiming_normal):
    """[(W, b), ...] for layers of these sizes: [64, 512, 10] is one hidden layer of 512 units."""
    return [(draw(M, D, rng), np.zeros(M)) for D, M in zip(sizes, sizes[1:])]


def network(layers, x, p=0.0, rng=None):
    """Logits (N, C), and for each layer what its backward needs: its input, z, and the dropout factor."""
    cache = []
    for i, (W, b) in enumerate(layers):
        z = linear(x, W, b)
        if i == len(layers) - 1:
            return z, [*cache, (x, None, None)]
        h, factor = relu(z), None
        if p and rng is not None:
            factor = (rng.random(h.shape) >= p) / (1 - p)
            h = h * factor
        cache.append((x, z, factor))
        x = h


def network_backward(layers, cache, dy):
    """[(dW, db), ...]"""
    grads = []
    for (W, _), (x, z, factor) in zip(layers[::-1], cache[::-1]):
        if z is not None:
            dy = relu_backward(dy if factor is None else dy * factor, z)
        dy, dW, db = linear_backward(dy, x, W)
        grads.append((dW, db))
    return grads[::-1]


def cross_entropy(z, target):
    """The mean over the examples, and dz.        z: (N, C)   target: (N,)"""
    log_p = z - z.max(1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(1, keepdims=True))
    rows = np.arange(len(z))
    dz = np.exp(log_p)
    dz[rows, target] -= 1
    return -log_p[rows, target].mean(), dz / len(z)


rng = np.random.default_rng(3)
layers = new_network([5, 7, 6, 4], rng)
x, target = rng.normal(size=(8, 5)), rng.integers(0, 4, 8)
z, cache = network(layers, x)
loss, dz = cross_entropy(z, target)
grads = network_backward(layers, cache, dz)

model = minitorch.nn.Sequential(
    *[m for D, M in ((5, 7), (7, 6), (6, 4)) for m in (minitorch.nn.Linear(D, M), minitorch.nn.ReLU())][:-1]
)
model.double()
with minitorch.no_grad():
    for p, array in zip(model.parameters(), [a for layer in layers for a in layer]):
        p.copy_(minitorch.tensor(array))
their_loss = F.cross_entropy(model(minitorch.tensor(x)), minitorch.tensor(target))
their_loss.backward()
lessons.same(loss, float(their_loss), tol=1e-12, what="loss")
pairs = {}
for k, (name, p) in enumerate(model.named_parameters()):
    mine, array = grads[k // 2][k % 2], layers[k // 2][k % 2]
    lessons.same(mine, p.grad.numpy(), tol=1e-12, what=f"gradient of {name}")

    def loss_at(a, k=k):
        changed = [list(layer) for layer in layers]
        changed[k // 2][k % 2] = a
        return cross_entropy(network(changed, x)[0], target)[0]

    pairs[f"d{'Wb'[k % 2]}{k // 2 + 1}"] = (mine, lessons.numeric_gradient(loss_at, array))
assert lessons.show_errors(pairs, title="Three layers and a loss, against differences; minitorch's are equal") < 1e-7

# %% [markdown]
# Real data: the digits, 8 x 8 grey pictures of handwritten digits. With 30 hidden layers of 64 units, and Adam from lesson 05: does the start matter?

# %%
from sklearn.datasets import load_digits

pixels, digits = load_digits(return_X_y=True)
pixels = (pixels - pixels.mean()) / pixels.std()  # one mean and one spread for all pixels
order = np.random.default_rng(0).permutation(len(pixels))
pixels, digits = pixels[order], digits[order]


def adam_step(layers, grads, state, lr):
    """Lesson 05's Adam on every array, in new arrays."""
    t = state["t"] = state.get("t", 0) + 1
    new = []
    for i, (layer, grad) in enumerate(zip(layers, grads)):
        pair = []
        for j, (theta, g) in enumerate(zip(layer, grad)):
            m = state["m", i, j] = 0.9 * state.get(("m", i, j), 0.0) + 0.1 * g
            v = state["v", i, j] = 0.999 * state.get(("v", i, j), 0.0) + 0.001 * g * g
            pair.append(theta - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8))
        new.append(tuple(pair))
    return new


starts = {
    "Kaiming": kaiming_normal,
    "Xavier": xavier_uniform,
    "default": lambda M, D, rng: rng.uniform(-1, 1, (M, D)) / math.sqrt(D),
}
deep_curves = {}
for name, draw in starts.items():
    rng, state, curve = np.random.default_rng(1), {}, []
    layers = new_network([64, *[64] * 30, 10], rng, draw)
    for _ in range(120):
        rows = rng.integers(0, 1300, 64)
        z, cache = network(layers, pixels[rows])
        loss, dz = cross_entropy(z, digits[rows])
        layers = adam_step(layers, network_backward(layers, cache, dz), state, lr=1e-3)
        curve.append(loss)
    deep_curves[name] = curve
minitorch.viz.curves(
    deep_curves, smooth=0.8, baselines={"guessing: log 10": math.log(10)}, ylabel="cross-entropy",
    title="30 hidden layers: trained, or not, by the spread of the first weights",
)  # fmt: skip
plt.show()
ends = {name: np.mean(curve[-20:]) for name, curve in deep_curves.items()}
print({name: round(float(end), 3) for name, end in ends.items()})
assert ends["Kaiming"] < 0.8 < 2.0 < ends["default"]

# %% [markdown]
# ## A perceptron on digits
#
# One of the articles that this course checks trains a network of 1024 inputs, 512 hidden units and 10 classes, on 1000 texts, with Adam at a rate of 0.001 for 10 epochs (passes over the data), and reports 92 percent on validation data and about 90 on test data. Its code could not have run: it passes the labels as the loader's
# batch size, and its test loader is never made. Here is one that does, on 1000 pictures of digits. The data are divided in *three*: on the **training** set the weights are fitted, on the **validation** set you compare and choose, and the **test** set is looked at once, at the end. What you have chosen by is no longer a fair judge.
#
# With the environment variable `MINITORCH_DATA` set this uses MNIST, 28 x 28 pixels; else the 8 x 8 digits.

# %%
if os.environ.get("MINITORCH_DATA"):
    mnist = minitorch.vision.datasets.MNIST(os.environ["MINITORCH_DATA"])
    picked = np.random.default_rng(0).permutation(len(mnist.data))[:3000]
    images = mnist.data.numpy()[picked].reshape(3000, -1).astype(np.float64)
    images, labels = (images - images.mean()) / images.std(), mnist.targets.numpy()[picked]
else:
    images, labels = pixels, digits
parts = {"train": slice(0, 1000), "validation": slice(1000, 1400), "test": slice(1400, None)}


def accuracy(layers, x, target):
    return (network(layers, x)[0].argmax(1) == target).mean()


def epochs(layers, x, target, count, lr=1e-3, batch=50, p=0.0, seed=0):
    """Trains; yields the layers after every epoch."""
    rng, state = np.random.default_rng(seed), {}
    for _ in range(count):
        shuffled = rng.permutation(len(x))
        for k in range(0, len(x), batch):
            rows = shuffled[k : k + batch]
            z, cache = network(layers, x[rows], p, rng)
            layers = adam_step(layers, network_backward(layers, cache, cross_entropy(z, target[rows])[1]), state, lr)
        yield layers


start = new_network([images.shape[1], 512, 10], np.random.default_rng(0))
history = {"train": [], "validation": []}
for layers in epochs(start, images[parts["train"]], labels[parts["train"]], 10):
    for name in history:
        history[name].append(accuracy(layers, images[parts[name]], labels[parts[name]]))
test = accuracy(layers, images[parts["test"]], labels[parts["test"]])
print(
    f"after 10 epochs: training {history['train'][-1]:.1%}, validation {history['validation'][-1]:.1%}, test {test:.1%}"
)
z = network(layers, images[parts["test"]])[0]

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(1, 1.2))
for name, values in history.items():
    left.plot(range(1, 11), values, ".-", label=name)
left.set(xlabel="epoch", ylabel="share that is right", title="A perceptron of 512 hidden units")
left.legend()
wrong = np.flatnonzero(z.argmax(1) != labels[parts["test"]])[:8]
side = math.isqrt(images.shape[1])
strip = np.full((2 * side + 2, 4 * side + 6), np.nan)
for k, n in enumerate(wrong):
    r, c = (k // 4) * (side + 2), (k % 4) * (side + 2)
    strip[r : r + side, c : c + side] = images[parts["test"]][n].reshape(side, side)
    right.text(c + side / 2, r - 0.7, f"{labels[parts['test']][n]}, taken for {z[n].argmax()}", ha="center", fontsize=8)
right.imshow(strip, cmap="gray_r")
right.axis("off")
right.set_title("Test pictures that it gets wrong", pad=14)
plt.show()
assert min(history["validation"][-1], test) > (0.82 if os.environ.get("MINITORCH_DATA") else 0.92)

# %% [markdown]
# ## Over-fitting
#
# Take a larger network, 64-256-256-10. It has more weights than its data have numbers: it *can* learn every example by heart. That shows when labels are wrong, as in real collections some always are. Take 300 training digits, 64 numbers each, and replace a fifth of their labels by random ones. The wrong ones follow no rule: whoever gets
# them right has memorized them.

# %%
rng = np.random.default_rng(5)
small_x, small_y = pixels[:300], digits[:300].copy()
spoiled = rng.random(300) < 0.2
small_y[spoiled] = rng.integers(0, 10, spoiled.sum())
check_x, check_y = pixels[1000:1400], digits[1000:1400]  # clean


def fit(p, count=40, seed=0):
    """Losses on training and validation data after each epoch."""
    losses = {"train": [], "validation": []}
    start = new_network([64, 256, 256, 10], np.random.default_rng(seed))
    for layers in epochs(start, small_x, small_y, count, lr=3e-3, p=p, seed=seed):
        losses["train"].append(cross_entropy(network(layers, small_x)[0], small_y)[0])
        losses["validation"].append(cross_entropy(network(layers, check_x)[0], check_y)[0])
    return losses, layers


plain, layers = fit(0.0)
minitorch.viz.curves(plain, xlabel="epoch", ylabel="cross-entropy", title="It learns; then it learns by heart")
best = int(np.argmin(plain["validation"]))
plt.axvline(best + 1, color="0.4", linestyle="--", linewidth=1)
plt.text(best + 2, plt.ylim()[1] * 0.85, "stop here", color="0.4")
plt.show()
print(
    f"right on training labels {accuracy(layers, small_x, small_y):.0%}, on the replaced ones among them {accuracy(layers, small_x[spoiled], small_y[spoiled]):.0%}"
)
print(
    f"validation loss: best {plain['validation'][best]:.2f} after epoch {best + 1}, at the end {plain['validation'][-1]:.2f}"
)
assert plain["train"][-1] < 0.1 and plain["validation"][-1] > 1.2 * plain["validation"][best]

# %% [markdown]
# ### Exercise 4: early stopping
#
# The cheapest remedy: keep the weights of the epoch with the lowest validation loss, and stop when there has been no better one for `patience` epochs in a row.


# %% tags=["exercise"]
def early_stopping(losses, patience):
    """(best, last): the epoch with the lowest loss among those seen, and the last epoch that is run, from 0.

    Training ends after `patience` epochs in a row without a new lowest loss, or with the list.
    """
    # --- solution
    best = last = 0
    for last, loss in enumerate(losses):
        if loss < losses[best]:
            best = last
        if last - best >= patience:
            break
    return best, last
    # --- stub
    # best = last = 0
    # return best, last
    # --- end


# %% tags=["check"]
@lesson.check(
    "early_stopping",
    hint="Walk through the epochs; remember the best so far; break when the present one is `patience` epochs later than it.",
)
def _(early_stopping):
    losses = [5.0, 3.0, 4.0, 2.0, 2.5, 2.2, 2.1, 1.0]
    lessons.same(early_stopping(losses, 3), (3, 6), what="patience 3 (the 1.0 at the end is never seen)")
    lessons.same(early_stopping(losses, 4), (7, 7), what="patience 4")
    lessons.same(early_stopping(losses, 1), (1, 2), what="patience 1")
    lessons.same(early_stopping([3.0, 2.0, 2.0, 2.0], 2), (1, 3), what="losses 3, 2, 2, 2 (equal is not lower)")


# %%
kept, last = early_stopping(plain["validation"], patience=5)
print(
    f"patience 5: {last + 1} epochs are run, the weights after epoch {kept + 1} are kept, loss {plain['validation'][kept]:.2f}"
)
assert plain["validation"][kept] < plain["validation"][-1]

# %% [markdown]
# ## Dropout
#
# Another remedy: in training, set every hidden activation to 0 with probability $p$, anew at each step. No unit can rely on one particular other unit, and memorizing, which needs exact cooperation, becomes hard. Let $m_i$ be 0 with probability $p$ and 1 otherwise, each independent. The survivors are divided by $1-p$:
#
# $$ y_i = \frac{x_i\, m_i}{1-p} \tag{06.18} $$
#
# Why divide? $E[m] = 1-p$, so
#
# $$ E[y_i] = \frac{x_i\,E[m_i]}{1-p} = x_i \tag{06.19} $$
#
# On average nothing changes, so in evaluation dropout is simply left out. What it adds is noise. $m^2 = m$, so $\mathrm{Var}[m] = E[m^2] - E[m]^2 = (1-p) - (1-p)^2 = p(1-p)$, and
#
# $$ \mathrm{Var}[y_i] = \frac{x_i^2\;p(1-p)}{(1-p)^2} = \frac{p}{1-p}\,x_i^2 \tag{06.20} $$
#
# With the mask held fixed the layer is linear, so the backward multiplies by *the same* mask and factor:
#
# $$ dx_i = \frac{dy_i\, m_i}{1-p} \tag{06.21} $$
#
# What does the noise do to training? Take one linear unit and a squared error. $\hat y = \sum_i w_i x_i m_i/(1-p)$ has the mean $w\cdot x$ by (06.19), and by (06.20) the variance $\frac{p}{1-p}\sum_i w_i^2x_i^2$, since the $m_i$ are independent. As $E[(y - \hat y)^2] = (y - E[\hat y])^2 + \mathrm{Var}[\hat y]$,
#
# $$ E\big[(y - \hat y)^2\big] = (y - w\cdot x)^2 + \frac{p}{1-p}\sum_i w_i^2\,x_i^2 \tag{06.22} $$
#
# On average dropout adds an L2 penalty (05.23), with a strength that is right for the size of each input.
#
# ### Exercise 5: dropout


# %% tags=["exercise"]
def dropout(x, p, rng):
    """(06.18): returns y, and the factor of each element for the backward         x, y, factor: any shape"""
    # --- solution
    factor = (rng.random(x.shape) >= p) / (1 - p)
    return x * factor, factor
    # --- stub
    # factor = np.ones(x.shape)
    # return x * factor, factor
    # --- end


def dropout_backward(dy, factor):
    # --- solution
    return dy * factor
    # --- stub
    # return dy
    # --- end


# %% tags=["check"]
@lesson.check(
    "dropout",
    "dropout_backward",
    hint="rng.random(x.shape) >= p is True with probability 1 - p. The factor is 0 or 1 / (1 - p), and serves both ways.",
)
def _(dropout, dropout_backward):
    rng = np.random.default_rng(0)
    x = np.full((400, 500), 3.0)
    y, factor = dropout(x, 0.2, rng)
    assert np.all((y == 0) | np.isclose(y, 3 / 0.8)), "With p = 0.2 each element is 0 or x / 0.8."
    lessons.same((y == 0).mean(), 0.2, tol=0.01, what="share of zeros with p = 0.2")
    for axis in (0, 1):
        assert (y == 0).any(axis).all(), "Each element needs a random number of its own, not each row or column."
    lessons.same(y.mean(), 3.0, tol=0.01, what="mean")  # (06.19)
    lessons.same(y.var(), 0.25 * 9, tol=0.02, what="variance")  # (06.20)
    dy = rng.normal(size=x.shape)
    lessons.same(dropout_backward(dy, factor), dy * y / x, what="dx")  # (06.21)


# %%
rng = np.random.default_rng(4)
x, dy = rng.normal(size=(6, 8)), rng.normal(size=(6, 8))
minitorch.manual_seed(1)
y, (grad,) = against_minitorch(lambda x: F.dropout(x, p=0.4), (x,), dy)
factor = y / x  # minitorch draws a mask of its own: read it off
lessons.same(np.unique(np.round(factor, 12)), [0, 1 / 0.6], what="minitorch's factors")  # (06.18)
lessons.same(dropout_backward(dy, factor), grad, tol=1e-12, what="dx")  # (06.21)
pairs = {"dx": (dropout_backward(dy, factor), lessons.numeric_gradient(lambda x: x * factor, x, dy))}
assert lessons.show_errors(pairs, title="Dropout with its mask held fixed, against differences") < 1e-7

p, w, x1, target1 = 0.3, rng.normal(size=6), rng.normal(size=6), 0.7
expected = 0.0
for bits in np.ndindex(*[2] * 6):  # all 64 masks, each with its probability
    mask = np.array(bits)
    expected += (1 - p) ** mask.sum() * p ** (6 - mask.sum()) * (target1 - w @ (x1 * mask) / (1 - p)) ** 2
lessons.same(expected, (target1 - w @ x1) ** 2 + p / (1 - p) * (w**2 * x1**2).sum(), tol=1e-12, what="(06.22)")
print(f"the mean of the squared error over all 64 masks: {expected:.6f}, as (06.22) says")

# %% [markdown]
# Does it help here? The same digits with a fifth of the labels wrong:

# %%
dropped, _ = fit(0.5)
minitorch.viz.curves(
    {"train": plain["train"], "validation": plain["validation"], "train, dropout 0.5": dropped["train"], "validation, dropout 0.5": dropped["validation"]},
    xlabel="epoch", ylabel="cross-entropy", title="Dropout delays learning by heart",
)  # fmt: skip
plt.show()
assert dropped["validation"][-1] < 0.9 * plain["validation"][-1]
assert dropped["train"][-1] > plain["train"][-1]

# %% [markdown]
# ## Cross-validation
#
# Which $p$, which width, how many epochs? Such choices are compared on validation data. With 300 examples, though, a validation set of 60 is a rough judge: one example more or less is 1.7 percent. *Cross-validation* uses every example once: cut the data into $K$ parts; train $K$ times, each time without one part, and measure the
# score $A_k$ on it. The mean is the result, and the spread of the parts says how far it can be trusted:
#
# $$ \bar A = \frac1K\sum_{k=1}^{K} A_k, \qquad \text{error of } \bar A \approx \frac{s}{\sqrt K}, \quad s^2 = \frac{1}{K-1}\sum_k (A_k - \bar A)^2 \tag{06.23} $$


# %%
def folds(N, K, rng):
    """K pairs (training rows, validation rows); every row is in exactly one validation part."""
    parts = np.array_split(rng.permutation(N), K)
    return [(np.concatenate(parts[:k] + parts[k + 1 :]), parts[k]) for k in range(K)]


table = {}
for width, p in ((16, 0.0), (256, 0.0), (256, 0.5)):
    scores = []
    for rows, held_out in folds(300, 5, np.random.default_rng(0)):
        start = new_network([64, width, 10], np.random.default_rng(0))
        *_, layers = epochs(start, small_x[rows], small_y[rows], 15, lr=2e-3, p=p)
        scores.append(accuracy(layers, small_x[held_out], digits[:300][held_out]))  # judged by the true labels
    table[width, p] = np.mean(scores), np.std(scores, ddof=1) / math.sqrt(5)  # (06.23)
    print(
        f"width {width:3}, dropout {p}: {' '.join(f'{s:.2f}' for s in scores)}   mean {table[width, p][0]:.3f} ± {table[width, p][1]:.3f}"
    )
rows = np.sort(np.concatenate([held_out for _, held_out in folds(300, 5, np.random.default_rng(0))]))
assert (rows == np.arange(300)).all()
assert table[256, 0.0][0] > table[16, 0.0][0]

# %% [markdown]
# Read the ± before you read the means: a difference smaller than it is no difference. The narrow network is worse by much more than that. After the choice, train once more on everything, and look at the test set: once.
#
# ## What goes wrong
#
# ### Exercise 6: find the bug
#
# A training step that saves memory: it walks back through the layers and updates each one on the way, so that no list of gradients is needed. Every single layer has been checked against differences. With a small rate it trains, a little worse than it should; with a larger one it becomes unstable. Find the line that stands in the wrong place.


# %% tags=["exercise"]
def step_on_the_way(layers, cache, dy, lr):
    """One step of gradient descent; `layers` is a list of [W, b] and is changed in place."""
    for layer, (x, z, _) in zip(layers[::-1], cache[::-1]):
        W, b = layer
        if z is not None:
            dy = relu_backward(dy, z)
        # --- solution
        dW, db = dy.T @ x, dy.sum(0)
        dy = dy @ W
        W -= lr * dW
        b -= lr * db
        # --- stub
        # W -= lr * (dy.T @ x)
        # b -= lr * dy.sum(0)
        # dy = dy @ W
        # --- end


# %% tags=["check"]
@lesson.check("step_on_the_way", hint="dx = dy W (06.2): with which W was the forward pass computed?")
def _(step_on_the_way):
    rng = np.random.default_rng(0)
    layers = new_network([5, 7, 4], rng)
    x, target = rng.normal(size=(8, 5)), rng.integers(0, 4, 8)
    z, cache = network(layers, x)
    dz = cross_entropy(z, target)[1]
    expected = [(W - 0.5 * dW, b - 0.5 * db) for (W, b), (dW, db) in zip(layers, network_backward(layers, cache, dz))]
    changed = [[W.copy(), b.copy()] for W, b in layers]
    step_on_the_way(changed, cache, dz, 0.5)
    for k in (1, 0):
        lessons.same(changed[k][0], expected[k][0], what=f"W of layer {k + 1} after the step")
        lessons.same(changed[k][1], expected[k][1], what=f"b of layer {k + 1} after the step")


# %% [markdown]
# The last layer is right, all others are not: they are trained with a gradient of a function that was never computed. With $\eta \to 0$ the error vanishes, which is why tests with a small rate miss it. The rule: *all gradients first, then all steps.* minitorch would not let this pass: it counts the changes of every tensor, and a `backward` that
# needs a value from before a change stops with an error:

# %%
W1, W2 = (minitorch.randn(4, 4, requires_grad=True) for _ in range(2))
loss = F.linear(F.relu(F.linear(minitorch.ones(2, 4), W1)), W2).sum()
with minitorch.no_grad():
    W2 -= 0.1  # a step before the backward has come to W1
try:
    loss.backward()
    refused = ""
except RuntimeError as error:
    refused = str(error)
print(refused)
assert "modified" in refused

# %% [markdown]
# More bugs of this lesson's kind are in `lessons/zoo`: 14 (the silent layer), 18 (evaluation is twice as loud), 22 (sixteen copies of one unit). For the first of them, `minitorch.viz.doctor` counts dead units.
#
# ## Summary

# %% [markdown] tags=["summary"]
# | equation | what | op | test |
# |---|---|---|---|
# | (06.1) | the linear layer | `Linear` | here, cases:nn.functional.linear |
# | (06.2), (06.3), (06.4) | its gradients | `Linear` | here, cases:nn.functional.linear |
# | (06.5) | two linear layers are one | `Linear` | here |
# | (06.6) | ReLU | `ReLU` | here, cases:nn.functional.relu |
# | (06.7) | tanh | `Tanh` | here, cases:tanh |
# | (06.8) | GELU | `GELU` | here, cases:nn.functional.gelu |
# | (06.9), (06.10) | GELU's approximation by tanh | `GELUTanh` | here, cases:nn.functional.gelu |
# | (06.11), (06.12) | variance of a linear layer's output, of its gradient | `Linear` | here |
# | (06.13), (06.14) | Xavier initialization, normal and uniform | `minitorch/nn/init.py::xavier_uniform_` | here, tests/test_nn_init.py::test_meaning |
# | (06.15) | ReLU halves the mean square | `ReLU` | here |
# | (06.16) | Kaiming initialization | `minitorch/nn/init.py::kaiming_normal_` | here, tests/test_nn_init.py::test_meaning |
# | (06.17) | the size after k layers | `minitorch/nn/init.py::kaiming_normal_` | here |
# | (06.18), (06.21) | dropout and its gradient | `Dropout` | here, tests/test_nn_layers.py::test_dropout_meaning |
# | (06.19), (06.20) | its mean and its variance | `Dropout` | here, tests/test_nn_layers.py::test_dropout_meaning |
# | (06.22) | dropout is a penalty | `Dropout` | here |
# | (06.23) | cross-validation and its error | - | here |
#
# Everything here would work as well if the pixels were shuffled. Next, 07 Convolution: layers that know that a picture has neighbours.
