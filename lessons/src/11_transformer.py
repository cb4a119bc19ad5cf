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
# # 11 The Transformer
#
# Attention lets every position of a sequence read from every other one. By itself it is one layer, and its output is an average of its inputs. **What must stand around attention so that a deep stack of it can be
# trained, and how does such a stack turn one sequence into another one of another length?** You will derive the gradient through the residual stream, the feed-forward block and cross-attention, write the whole encoder and decoder layer in NumPy,
# then train a small Transformer that reverses and sorts, and one that translates.
#
# You need lessons 04 (cross-entropy, ignored labels), 06 (linear layers, ReLU), 09 (LayerNorm) and 10 (attention, masks, heads, positions). Time: 60 minutes.

# %%
import gzip
import os
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import minitorch
import minitorch.nn.functional as F
from minitorch import lessons, nn, viz

lesson = lessons.start(11)

# %% [markdown]
# ## The whole machine
#
# The left tower, the *encoder*, reads the source sequence and makes one vector of width $D$ for each of its $S$ positions: the *memory*. The right tower, the *decoder*, has one vector for each of the $T$ positions of the target. It reads the memory through
# *cross-attention*, the red arrow, and predicts at each position the next token. Each blue box is a *block*; the vertical line beside the boxes is the *residual stream*, to which each block adds its output.


# %%
def tower(axes, left, blocks, bottom, top):
    for k, name in enumerate(blocks):
        y = 1.3 + 1.35 * k
        axes.text(
            left, y, name, ha="center", va="center", fontsize=10, zorder=3,
            bbox={"boxstyle": "round,pad=0.5", "fc": "#dceaf7", "ec": "0.4"},
        )  # fmt: skip
        stream = left - 1.55
        bend = {"arrowstyle": "-|>", "color": "0.3", "linewidth": 1.2, "shrinkA": 0, "shrinkB": 2}
        axes.annotate("", (left - 0.85, y), (stream, y - 0.5), arrowprops=bend | {"connectionstyle": "arc3,rad=-0.3"})
        axes.annotate("", (stream, y + 0.5), (left - 0.85, y), arrowprops=bend | {"connectionstyle": "arc3,rad=-0.3"})
        axes.text(stream - 0.13, y + 0.5, "+", ha="right", va="center", fontsize=13)
    end = 1.3 + 1.35 * len(blocks) - 0.3
    axes.annotate("", (left - 1.55, end), (left - 1.55, 0.3), arrowprops={"arrowstyle": "-|>", "linewidth": 2})
    axes.text(left - 1.55, 0.1, bottom, ha="center", va="top", fontsize=10)
    axes.text(left - 1.55, end + 0.1, top, ha="center", va="bottom", fontsize=10)


figure, axes = plt.subplots(figsize=(9, 5))
tower(axes, 2, ["self-attention", "feed-forward"], "source, embedded\n(B, S, D)", "memory (B, S, D)")
tower(
    axes, 7, ["causal\nself-attention", "cross-attention", "feed-forward"], "target so far, embedded\n(B, T, D)",
    "linear, softmax:\nnext token (B, T, V)",
)  # fmt: skip
axes.plot([1.4, 3.4, 3.4, 7, 7], [4.05, 4.05, 3.32, 3.32, 3.1], color="C3", zorder=2)
axes.annotate("", (7, 2.9), (7, 3.2), arrowprops={"arrowstyle": "-|>", "color": "C3", "linewidth": 2})
axes.text(1.5, 4.2, "keys and values", color="C3")
axes.set(xlim=(-1, 9.5), ylim=(-0.7, 6.2), title="Each block reads from its stream and adds to it")
axes.axis("off")
plt.show()

# %% [markdown]
# ## The residual stream
#
# A *block* is a function $F$ from $(B, T, D)$ to $(B, T, D)$: attention, or a small network. The residual connection of lesson 07 does not replace $x$ by $F(x)$, it adds:
#
# $$ x^{(l+1)} = x^{(l)} + F_l\big(x^{(l)}\big) \tag{11.1} $$
#
# Put each line into the next one. After $n$ blocks the stream holds the input and *the sum* of everything that was written to it:
#
# $$ x^{(n)} = x^{(0)} + \sum_{l=0}^{n-1} F_l\big(x^{(l)}\big) \tag{11.2} $$
#
# Now backward. Flatten $x$ to a vector and let $J_l$ be the Jacobian of $F_l$ at $x^{(l)}$, $(J_l)_{ij} = \partial F_{l,i} / \partial x_j$. By (00.15), with $\partial x_i^{(l+1)} / \partial x_j^{(l)} = \delta_{ij} + (J_l)_{ij}$,
#
# $$ dx^{(l)}_j = \sum_i dx^{(l+1)}_i \big(\delta_{ij} + (J_l)_{ij}\big), \qquad dx^{(l)} = dx^{(l+1)} + J_l^{\top} dx^{(l+1)} \tag{11.3} $$
#
# The gradient comes down the stream unchanged, and each block *adds* its share. Multiply (11.3) out over all $n$ blocks:
#
# $$ dx^{(0)} = \big(I + J_0^{\top}\big)\big(I + J_1^{\top}\big)\cdots\big(I + J_{n-1}^{\top}\big)\, dx^{(n)} = dx^{(n)} + \sum_l J_l^{\top} dx^{(n)} + \sum_{l < m} J_l^{\top} J_m^{\top} dx^{(n)} + \dots \tag{11.4} $$
#
# That is a sum over $2^n$ paths: each block is either passed by or gone through. Without the residual only the longest of them is left, $J_0^{\top} J_1^{\top} \cdots J_{n-1}^{\top}\, dx^{(n)}$, a product that vanishes or explodes as in lesson 08. Check both on blocks whose
# Jacobians are easy: $F_l(x) = \tanh(x) A_l^\top$ has $(J_l)_{ij} = (A_l)_{ij} (1 - \tanh^2 x_j)$.

# %%
rng = np.random.default_rng(0)
D, n = 5, 4
matrices = [rng.normal(size=(D, D)) * 0.7 for _ in range(n)]


def stream(x):
    kept = [x]
    for A in matrices:
        x = x + np.tanh(x) @ A.T  # (11.1)
        kept.append(x)
    return x, kept


x, dy = rng.normal(size=D), rng.normal(size=D)
y, kept = stream(x)
lessons.same(y, x + sum(np.tanh(k) @ A.T for k, A in zip(kept, matrices)), what="the stream is a sum")  # (11.2)
jacobians = [A * (1 - np.tanh(k) ** 2) for k, A in zip(kept, matrices)]

walked = dy
for J in reversed(jacobians):
    walked = walked + J.T @ walked  # (11.3)
paths = np.zeros(D)
for choice in range(2**n):  # (11.4): bit l says whether the path goes through block l
    part = dy
    for level in reversed(range(n)):
        part = jacobians[level].T @ part if choice >> level & 1 else part
    paths += part
numeric = lessons.numeric_gradient(lambda x: stream(x)[0], x, dy)
worst = lessons.show_errors(
    {"block by block (11.3)": (walked, numeric), "2^4 paths (11.4)": (paths, numeric)},
    title="The gradient through four residual blocks",
    limit=1e-8,
)
assert worst < 1e-8

# %% [markdown]
# ### Where does the norm stand?
#
# A sum of $n$ terms grows, so a LayerNorm $N$ is needed somewhere. There are two places. *Post-norm*, as the first Transformer had it, normalizes the stream itself, after each sum. *Pre-norm* normalizes what a block reads, and leaves the stream alone:
#
# $$ \text{post-norm:}\quad r = x + F(x), \quad y = N(r) \tag{11.5} $$
#
# $$ \text{pre-norm:}\quad u = N(x), \quad y = x + F(u) \tag{11.6} $$
#
# Write $N^{*}$ and $F^{*}$ for "backward through the norm" and "backward through the block": they take the gradient of an output and return that of the input, at the values of the forward pass. Then (11.3) with the chain rule gives
#
# $$ \text{post-norm:}\quad dr = N^{*}(dy), \quad dx = dr + F^{*}(dr) \tag{11.7} $$
#
# $$ \text{pre-norm:}\quad dx = dy + N^{*}\big(F^{*}(dy)\big) \tag{11.8} $$
#
# Compare the first terms. Pre-norm hands `dy` down as it is. Post-norm sends *everything* through the norm's Jacobian, once for every block.
#
# ### Exercise 1: both backward passes
#
# `norm_back` and `block_back` are $N^*$ and $F^*$, functions of one argument.


# %% tags=["exercise"]
def post_norm_backward(dy, norm_back, block_back):
    """The gradient of norm(x + block(x)).       dy, dx: (..., D)"""
    # --- solution
    dr = norm_back(dy)
    return dr + block_back(dr)
    # --- stub
    # return norm_back(dy)
    # --- end


def pre_norm_backward(dy, norm_back, block_back):
    """The gradient of x + block(norm(x)).       dy, dx: (..., D)"""
    # --- solution
    return dy + norm_back(block_back(dy))
    # --- stub
    # return dy
    # --- end


# %% tags=["check"]
@lesson.check(
    "post_norm_backward",
    "pre_norm_backward",
    hint="Draw the two paths from x to y. A sum gives its gradient to both of its terms; add what arrives at x.",
)
def _(post_norm_backward, pre_norm_backward):
    rng = np.random.default_rng(1)
    N, A, dy = rng.normal(size=(4, 4)), rng.normal(size=(4, 4)), rng.normal(size=(3, 4))
    # linear stand-ins: norm(x) = x N^T and block(x) = x A^T, so that N*(dy) = dy N and F*(dy) = dy A
    norm_back, block_back, eye = (lambda g: g @ N), (lambda g: g @ A), np.eye(4)
    post = dy @ (N @ (eye + A))  # (11.5), (11.7): y = x ((I + A)^T N^T)
    lessons.same(post_norm_backward(dy, norm_back, block_back), post, what="dx of post-norm")
    pre = dy @ (eye + A @ N)  # (11.6), (11.8): y = x (I + N^T A^T)
    lessons.same(pre_norm_backward(dy, norm_back, block_back), pre, what="dx of pre-norm")


# %% [markdown]
# ### How large is the difference?
#
# Take blocks that are random and independent of each other, $F(x) = \sqrt\beta\, x A^\top + \sqrt{1 - \beta}\, c$. The entries of $A$ have variance $1/D$, so that $xA^\top$ has the mean square of $x$ (lesson 06); $c$ is a constant row of mean square 1, like a bias. If the numbers
# in $x$ have mean square 1, so have those in $F(x)$. The number $\beta$ between 0 and 1 says how much of what a block writes depends on what it reads; with large biases, dead or saturated units it is small. Backward, $F^{*}(dy) = \sqrt\beta\, dy\, A$ multiplies the mean square by $\beta$.
# Mean squares of independent terms add up.
#
# **Without a residual** nothing adds up, and $\Vert dx^{(0)} \Vert^2 = \beta^n\, \Vert dx^{(n)} \Vert^2$.
#
# **Post-norm.** The stream comes out of a norm, with mean square 1, and $r = x + F(x)$ has $1 + 1 = 2$. LayerNorm divides by $\sqrt 2$, and apart from its two cross-terms, which remove 2 of $D$ directions (lesson 09), its Jacobian is that division. So of a gradient that goes past all blocks only
#
# $$ \big\Vert N_0^{*} N_1^{*} \cdots N_{n-1}^{*}\, dy \big\Vert \approx 2^{-n/2}\, \Vert dy \Vert \tag{11.9} $$
#
# is left: the straight path is shut. With the blocks' shares, (11.7) gives $\Vert dx \Vert^2 \approx (1 + \beta) \Vert dr \Vert^2 \approx \frac{1 + \beta}{2} \Vert dy \Vert^2$ for one block, and for $n$
#
# $$ \frac{\Vert dx^{(0)} \Vert^2}{\Vert dx^{(n)} \Vert^2} \approx \Big(\frac{1 + \beta}{2}\Big)^{n} \tag{11.10} $$
#
# All is well for $\beta = 1$, where each block makes up for what its norm has taken away. For any smaller $\beta$ the gradient vanishes.
#
# **Pre-norm.** The straight path has the factor 1. The stream grows, each block adds 1 to its mean square:
#
# $$ \mathrm{mean\ square}\big(x^{(l)}\big) = 1 + l \tag{11.11} $$
#
# The norm before block $l$ divides by $\sqrt{1 + l}$, so the block's share of the gradient has the squared size $\frac{\beta}{1+l}$, and (11.8) gives
#
# $$ \frac{\Vert dx^{(0)} \Vert^2}{\Vert dx^{(n)} \Vert^2} \approx \prod_{l=0}^{n-1} \Big(1 + \frac{\beta}{1+l}\Big), \qquad \text{which is } \prod_{l=0}^{n-1} \frac{l+2}{l+1} = n + 1 \text{ for } \beta = 1, \text{ and } 1 \text{ for } \beta = 0 \tag{11.12} $$
#
# So for every $\beta$ the size of the gradient stays between 1 and $\sqrt{n + 1}$. Measured, with 40 blocks of width 256:


# %%
def layer_norm(x, w=1.0, b=0.0, eps=1e-5):
    """Lesson 09.       x, y: (..., D); returns y and what its backward needs."""
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
    z = (x - x.mean(-1, keepdims=True)) * r
    return w * z + b, (z, r, w)


def layer_norm_backward(dy, kept):
    z, r, w = kept
    g = w * dy
    return r * (g - g.mean(-1, keepdims=True) - z * (g * z).mean(-1, keepdims=True))


def gradient_sizes(kind, beta, n=40, D=256):
    """Mean square of the stream at each depth; size of the gradient, from the top down; the same for the straight path."""
    rng = np.random.default_rng(0)
    blocks = [np.sqrt(beta / D) * rng.normal(size=(D, D)) for _ in range(n)]
    constants = np.sqrt(1 - beta) * rng.normal(size=(n, D))
    x, kept, sizes = rng.normal(size=(32, D)), [], [1.0]
    for A, c in zip(blocks, constants):
        if kind == "none":
            x, k = x @ A.T + c, None
        elif kind == "post":
            x, k = layer_norm(x + x @ A.T + c)  # (11.5)
        else:
            u, k = layer_norm(x)
            x = x + u @ A.T + c  # (11.6)
        kept.append(k)
        sizes.append((x**2).mean())
    dx = straight = rng.normal(size=(32, D))
    gradient, path = [1.0], [1.0]
    start = np.linalg.norm(dx)
    for A, k in zip(reversed(blocks), reversed(kept)):
        block_back, norm_back = (lambda g, A=A: g @ A), (lambda g, k=k: layer_norm_backward(g, k))
        if kind == "none":
            dx, straight = block_back(dx), 0 * straight
        elif kind == "post":
            dx, straight = post_norm_backward(dx, norm_back, block_back), norm_back(straight)
        else:
            dx = pre_norm_backward(dx, norm_back, block_back)
        gradient.append(np.linalg.norm(dx) / start)
        path.append(np.linalg.norm(straight) / start)
    return np.array(sizes), np.array(gradient), np.array(path)


figure, panels = plt.subplots(1, 3, figsize=(12, 4), sharey=True)
depth = np.arange(41)
for axes, beta in zip(panels, (1.0, 0.5)):
    for kind, name, color in [("none", "no residual", "C3"), ("post", "post-norm", "C1"), ("pre", "pre-norm", "C0")]:
        sizes, gradient, path = gradient_sizes(kind, beta)
        axes.semilogy(depth, gradient, color=color, label=name)
        if kind == "post":
            lessons.same(path[10] / 2**-5, 1.0, tol=0.2, what="straight path, 10 post-norm blocks")  # (11.9)
            expected = ((1 + beta) / 2) ** (depth / 2)  # (11.10)
            lessons.same(gradient[20] / expected[20], 1.0, tol=0.3, what="gradient, 20 post-norm blocks")
        if kind == "pre":
            lessons.same(sizes / (1 + depth), np.ones(41), tol=0.15, what="mean square of the stream")  # (11.11)
            expected = np.sqrt(np.cumprod([1, *(1 + beta / depth[:0:-1])]))  # (11.12), from the top down
            lessons.same(gradient / expected, np.ones(41), tol=0.15, what="gradient of pre-norm")
        if kind != "none":
            axes.semilogy(depth, expected, "k:", linewidth=1.2)
            if beta == 0.5:
                panels[2].semilogy(depth, path, color=color, label=name)
    axes.set(xlabel="blocks passed on the way down", title=f"The whole gradient, β = {beta:g}", ylim=(1e-7, 30))
panels[2].semilogy(depth, 2.0 ** (-depth / 2), "k:", linewidth=1.2, label="derived")
panels[0].set_ylabel("size of the gradient, relative")
panels[2].set(xlabel="blocks passed on the way down", title="The path past all blocks")
panels[1].legend(fontsize=9, loc="lower left")
panels[2].legend(fontsize=9)
plt.show()

# %% [markdown]
# For $\beta = 1$ none of the three vanishes. For $\beta = 0.5$ 40 blocks without a residual leave a millionth of the gradient, post-norm leaves less than a hundredth, and pre-norm does not notice. Nothing holds $\beta$ at 1 in training. That is one reason why deep post-norm stacks need a careful warmup (lesson 05), and why nearly all newer models are pre-norm. They
# put one more norm at the very end, because nothing else bounds the stream. `nn.Transformer` has both: `norm_first=False` is post-norm.
#
# ## The feed-forward block
#
# Attention mixes positions; the feed-forward block works on each position by itself. It is the network of lesson 06, with one hidden layer of width $H$, usually $4D$, and the same weights at every position. For $x$ of shape $(B, T, D)$, $W_1$ of shape $(H, D)$, $W_2$ of shape $(D, H)$:
#
# $$ a_{btj} = \sum_d x_{btd} W_{1,jd} + b_{1,j}, \qquad y_{btd} = \sum_j \max(a_{btj}, 0)\, W_{2,dj} + b_{2,d} \tag{11.13} $$
#
# Let $h = \max(a, 0)$. Each $h_{btj}$ reaches all $D$ outputs of its own position, so $dh_{btj} = \sum_d dy_{btd} W_{2,dj}$, and the ReLU lets pass what was positive:
#
# $$ da = (dy\, W_2) \odot [a > 0], \qquad dx = da\, W_1 \tag{11.14} $$
#
# A weight is used at *every* position of every sequence, so by (01.4) its gradient is summed over $b$ and $t$; the sums over positions are one matrix product of the arrays reshaped to $(BT, \cdot)$:
#
# $$ dW_{2,dj} = \sum_{b,t} dy_{btd}\, h_{btj}, \quad db_{2,d} = \sum_{b,t} dy_{btd}, \quad dW_{1,jd} = \sum_{b,t} da_{btj}\, x_{btd}, \quad db_{1,j} = \sum_{b,t} da_{btj} \tag{11.15} $$
#
# ### Exercise 2: the feed-forward block
#
# `linear_backward` does one linear layer of any number of leading axes; the block uses it twice.


# %%
def linear(x, W, b):
    """x: (..., I)   W: (O, I)   b: (O,)   y: (..., O)"""
    return x @ W.T + b


# %% tags=["exercise"]
def linear_backward(dy, x, W):
    """Returns dx, dW, db.       dy: (..., O)   x, dx: (..., I)   W, dW: (O, I)   db: (O,)"""
    # --- solution
    flat_dy, flat_x = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return dy @ W, flat_dy.T @ flat_x, flat_dy.sum(0)
    # --- stub
    # return dy @ W, np.zeros_like(W), dy[0].sum(0)
    # --- end


def feed_forward(x, W1, b1, W2, b2):
    """x, y: (B, T, D)   W1: (H, D)   W2: (D, H); returns y and what the backward needs"""
    a = linear(x, W1, b1)  # (B, T, H)
    return linear(np.maximum(a, 0), W2, b2), (x, a, W1, W2)


def feed_forward_backward(dy, kept):
    """Returns dx, dW1, db1, dW2, db2."""
    x, a, W1, W2 = kept
    # --- solution
    dh, dW2, db2 = linear_backward(dy, np.maximum(a, 0), W2)
    dx, dW1, db1 = linear_backward(dh * (a > 0), x, W1)
    return dx, dW1, db1, dW2, db2
    # --- stub
    # dh, dW2, db2 = linear_backward(dy, a, W2)  # what did the second layer read?
    # dx, dW1, db1 = linear_backward(dh, x, W1)  # and the ReLU?
    # return dx, dW1, db1, dW2, db2
    # --- end


# %% tags=["check"]
@lesson.check(
    "linear_backward",
    "feed_forward_backward",
    hint="Reshape dy to (-1, O) and x to (-1, I): then dW = dy^T x sums over all positions. The ReLU multiplies by a > 0.",
)
def _(linear_backward, feed_forward_backward):
    rng = np.random.default_rng(2)
    x, dy = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 5))
    W, b = rng.normal(size=(5, 4)), rng.normal(size=5)
    for name, found, point, f in zip(
        ("dx", "dW", "db"),
        linear_backward(dy, x, W),
        (x, W, b),
        (lambda x: linear(x, W, b), lambda W: linear(x, W, b), lambda b: linear(x, W, b)),
    ):
        lessons.same(found, lessons.numeric_gradient(f, point, dy), what=f"{name} of a linear layer")
    parts = [x, *(rng.normal(size=s) for s in [(6, 4), 6, (4, 6), 4])]
    dy = rng.normal(size=x.shape)
    found = feed_forward_backward(dy, feed_forward(*parts)[1])
    for i, name in enumerate(("dx", "dW1", "db1", "dW2", "db2")):
        f = lambda p, i=i: feed_forward(*parts[:i], p, *parts[i + 1 :])[0]  # noqa: E731
        numeric = lessons.numeric_gradient(f, parts[i], dy)  # (11.13), (11.14), (11.15)
        lessons.same(found[i], numeric, what=f"{name} of the block")


# %% [markdown]
# ## Cross-attention: two inputs
#
# In lesson 10 queries, keys and values came from one sequence. In the decoder the queries come from the target's stream $x$, $(B, T, D)$, and the keys and values from the memory $m$, $(B, S, D)$:
#
# $$ q = x W_q^{\top} + b_q, \qquad k = m W_k^{\top} + b_k, \qquad v = m W_v^{\top} + b_v \tag{11.16} $$
#
# $q$ is $(B, T, D)$; $k$ and $v$ are $(B, S, D)$; the scores are $(B, T, S)$, in general not square. For one head of width $d$ (lesson 10), with $P$ the weights after the softmax over the $S$ keys:
#
# $$ P_{bts} = \mathrm{softmax}_s\Big(\frac{1}{\sqrt d}\sum_c q_{btc}\, k_{bsc}\Big), \qquad o_{btc} = \sum_s P_{bts}\, v_{bsc} \tag{11.17} $$
#
# The gradients of $q, k, v$ are lesson 10's, which never used that $T = S$. With $dP_{bts} = \sum_c do_{btc} v_{bsc}$ and $dZ_{bts} = P_{bts}\big(dP_{bts} - \sum_{s'} dP_{bts'} P_{bts'}\big)$, the softmax's gradient:
#
# $$ dq_{btc} = \frac{1}{\sqrt d}\sum_s dZ_{bts}\, k_{bsc}, \qquad dk_{bsc} = \frac{1}{\sqrt d}\sum_t dZ_{bts}\, q_{btc}, \qquad dv_{bsc} = \sum_t P_{bts}\, do_{btc} \tag{11.18} $$
#
# New is where they go. $x$ is used once, in $q$. The memory is used twice, in $k$ and in $v$, so two gradients are added:
#
# $$ dx = dq\, W_q, \qquad dm = dk\, W_k + dv\, W_v \tag{11.19} $$
#
# And every one of the $n$ decoder layers reads the *same* memory, so the encoder's output collects the shares of all of them. No gradient reaches the encoder in another way:
#
# $$ dm_{\text{total}} = \sum_{l=1}^{n} dm^{(l)} \tag{11.20} $$
#
# Self-attention is the case $m = x$: then all three uses are of one array, and $dx$ is the sum of both sides of (11.19).
#
# Heads change none of this: $q, k, v$ are cut into $h$ pieces of width $d = D/h$, each piece goes through (11.17), and the outputs are put side by side and projected by $W_o$. Here is the forward pass, and the core from lesson 10.


# %%
def split(x, heads):
    """(B, T, D) -> (B, h, T, d)"""
    B, T, D = x.shape
    return x.reshape(B, T, heads, D // heads).swapaxes(1, 2)


def join(x):
    """(B, h, T, d) -> (B, T, D)"""
    B, h, T, d = x.shape
    return x.swapaxes(1, 2).reshape(B, T, h * d)


def core(q, k, v, forbidden):
    """(11.17).       q, o: (..., T, d)   k, v: (..., S, d)   forbidden: True where nobody may look, or None"""
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])  # (..., T, S)
    if forbidden is not None:
        scores = np.where(forbidden, -np.inf, scores)
    P = np.exp(scores - scores.max(-1, keepdims=True))
    P = P / P.sum(-1, keepdims=True)
    return P @ v, P


def core_backward(do, q, k, v, P):
    """(11.18).       Returns dq, dk, dv."""
    dP = do @ v.swapaxes(-1, -2)  # (..., T, S)
    dZ = P * (dP - (dP * P).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])  # with the 1 / sqrt(d) of both its uses
    return dZ @ k, dZ.swapaxes(-1, -2) @ q, P.swapaxes(-1, -2) @ do


def cross_attention(x, memory, W, heads, forbidden=None):
    """x, y: (B, T, D)   memory: (B, S, D)   W: {"q": (weight, bias), "k": ..., "v": ..., "o": ...}"""
    q = split(linear(x, *W["q"]), heads)  # (11.16), (B, h, T, d)
    k, v = (split(linear(memory, *W[name]), heads) for name in "kv")  # (B, h, S, d)
    o, P = core(q, k, v, forbidden)
    o = join(o)  # (B, T, D)
    return linear(o, *W["o"]), (x, memory, W, heads, q, k, v, P, o)


# %% [markdown]
# ### Exercise 3: cross-attention's backward
#
# Return the gradients of both inputs, and those of the weights. `linear_backward`, `core_backward`, `split` and `join` do the pieces; your part is to send each to the right place.


# %% tags=["exercise"]
def cross_attention_backward(dy, kept):
    """Returns dx, dmemory, {"q": (dW, db), "k": ..., "v": ..., "o": ...}.       dx: (B, T, D)   dmemory: (B, S, D)"""
    x, memory, W, heads, q, k, v, P, o = kept
    do, *dW_o = linear_backward(dy, o, W["o"][0])
    dq, dk, dv = (join(d) for d in core_backward(split(do, heads), q, k, v, P))
    # --- solution
    dx, *dW_q = linear_backward(dq, x, W["q"][0])
    from_k, *dW_k = linear_backward(dk, memory, W["k"][0])
    from_v, *dW_v = linear_backward(dv, memory, W["v"][0])
    return dx, from_k + from_v, {"q": dW_q, "k": dW_k, "v": dW_v, "o": dW_o}
    # --- stub
    # dx, *dW_q = linear_backward(dq, x, W["q"][0])
    # dmemory, *dW_k = linear_backward(dk, memory, W["k"][0])
    # dW_v = dW_k
    # return dx, dmemory, {"q": dW_q, "k": dW_k, "v": dW_v, "o": dW_o}
    # --- end


# %% tags=["check"]
@lesson.check(
    "cross_attention_backward",
    hint="Both k = linear(memory, W_k) and v = linear(memory, W_v) were made from the memory: add the gradients of both.",
)
def _(cross_attention_backward):
    rng = np.random.default_rng(3)
    x, memory, dy = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 5, 4)), rng.normal(size=(2, 3, 4))
    W = {name: (rng.normal(size=(4, 4)), rng.normal(size=4)) for name in "qkvo"}
    dx, dmemory, dW = cross_attention_backward(dy, cross_attention(x, memory, W, 2)[1])
    numeric = lessons.numeric_gradient
    lessons.same(dx, numeric(lambda x: cross_attention(x, memory, W, 2)[0], x, dy), what="dx")
    # (11.19)
    lessons.same(dmemory, numeric(lambda m: cross_attention(x, m, W, 2)[0], memory, dy), what="dmemory")
    for name in "qkvo":
        f = lambda w, name=name: cross_attention(x, memory, W | {name: (w, W[name][1])}, 2)[0]  # noqa: E731
        lessons.same(dW[name][0], numeric(f, W[name][0], dy), what=f"dW of {name}")
        f = lambda b, name=name: cross_attention(x, memory, W | {name: (W[name][0], b)}, 2)[0]  # noqa: E731
        lessons.same(dW[name][1], numeric(f, W[name][1], dy), what=f"db of {name}")


# %% [markdown]
# Every pass of this kind is tested as always, with a random `dy` and a mask: here query positions 0 and 1 may not see key 4. One row of the picture is worth a second look. What should the gradient of the key's bias be? It adds the same number $q_{bt} \cdot b_k$ to all scores of a query, and softmax does not change
# when all its inputs grow alike. So $db_k = 0$, exactly:
#
# $$ db_{k,c} = \frac{1}{\sqrt d}\sum_{b,t} q_{btc} \sum_s dZ_{bts} = 0, \qquad \text{because} \quad \sum_s dZ_{bts} = \sum_s P_{bts}\, dP_{bts} - \sum_{s'} dP_{bts'} P_{bts'} \cdot \sum_s P_{bts} = 0 \tag{11.21} $$

# %%
rng = np.random.default_rng(4)
B, T, S, D, heads = 2, 3, 5, 4, 2
x, memory, dy = rng.normal(size=(B, T, D)), rng.normal(size=(B, S, D)), rng.normal(size=(B, T, D))
W = {name: (rng.normal(size=(D, D)), rng.normal(size=D)) for name in "qkvo"}
forbidden = np.zeros((T, S), bool)
forbidden[:2, 4] = True

y, kept = cross_attention(x, memory, W, heads, forbidden)
dx, dmemory, dW = cross_attention_backward(dy, kept)
pairs = {
    "dx": (dx, lessons.numeric_gradient(lambda x: cross_attention(x, memory, W, heads, forbidden)[0], x, dy)),
    "dmemory": (
        dmemory,
        lessons.numeric_gradient(lambda m: cross_attention(x, m, W, heads, forbidden)[0], memory, dy),
    ),
}
for name in "qkvo":
    for which, prefix in enumerate(("dW_", "db_")):
        parts = list(W[name])

        def f(p, name=name, which=which, parts=parts):
            new = (p, parts[1]) if which == 0 else (parts[0], p)
            return cross_attention(x, memory, W | {name: new}, heads, forbidden)[0]

        pairs[prefix + name] = (dW[name][which], lessons.numeric_gradient(f, parts[which], dy))
worst = lessons.show_errors(pairs, title="Cross-attention by hand: (11.16) to (11.19)", limit=1e-8)
assert worst < 1e-8
assert np.abs(dW["k"][1]).max() < 1e-12  # (11.21)

# %% [markdown]
# minitorch's `nn.MultiheadAttention` gives the same values, and the same gradients of both inputs and of all weights. It keeps the three projections in one array of shape $(3D, D)$.


# %%
def float64_leaf(array):
    return minitorch.tensor(array, dtype=minitorch.float64, requires_grad=True)


attention = nn.MultiheadAttention(D, heads, batch_first=True).double()
with minitorch.no_grad():
    attention.in_proj_weight.copy_(minitorch.tensor(np.concatenate([W[name][0] for name in "qkv"])))
    attention.in_proj_bias.copy_(minitorch.tensor(np.concatenate([W[name][1] for name in "qkv"])))
    attention.out_proj.weight.copy_(minitorch.tensor(W["o"][0]))
    attention.out_proj.bias.copy_(minitorch.tensor(W["o"][1]))
tx, tm = float64_leaf(x), float64_leaf(memory)
ty, _ = attention(tx, tm, tm, attn_mask=minitorch.tensor(forbidden))
ty.backward(minitorch.tensor(dy))
lessons.same(ty, y, tol=1e-12, what="y")  # (11.16), (11.17)
lessons.same(tx.grad, dx, tol=1e-12, what="dx")  # (11.18), (11.19)
lessons.same(tm.grad, dmemory, tol=1e-12, what="dmemory")
lessons.same(attention.in_proj_weight.grad, np.concatenate([dW[n][0] for n in "qkv"]), tol=1e-12, what="dW")
print("values and gradients are equal")

# %% [markdown]
# ## A decoder layer, forward and backward
#
# Nothing new is needed for a whole layer: three post-norm blocks, self-attention, cross-attention, feed-forward, each with the backward pass (11.7). An encoder layer is the same without the middle one. `block(x)` below returns its output and a function that
# turns the gradient of the output into that of the input; what it finds for weights and memory it adds to `grads`.


# %%
def decoder_layer(x, memory, P, heads, causal):
    """P: {"self": weights, "cross": weights, "ff": (W1, b1, W2, b2), "norms": [(w, b)] * 3}; returns y and its backward"""
    grads = {"memory": np.zeros_like(memory)}

    def self_attend(x):
        y, kept = cross_attention(x, x, P["self"], heads, causal)

        def back(dy):
            as_query, as_memory, grads["self"] = cross_attention_backward(dy, kept)
            return as_query + as_memory  # x was both inputs

        return y, back

    def cross_attend(x):
        y, kept = cross_attention(x, memory, P["cross"], heads)

        def back(dy):
            dx, dmemory, grads["cross"] = cross_attention_backward(dy, kept)
            grads["memory"] += dmemory
            return dx

        return y, back

    def feed(x):
        y, kept = feed_forward(x, *P["ff"])

        def back(dy):
            dx, *grads["ff"] = feed_forward_backward(dy, kept)
            return dx

        return y, back

    backs = []
    for block, (w, b) in zip((self_attend, cross_attend, feed), P["norms"]):
        y, block_back = block(x)
        x, kept = layer_norm(x + y, w, b)  # (11.5)
        backs.append((lambda dy, kept=kept: layer_norm_backward(dy, kept), block_back))

    def backward(dy):
        for norm_back, block_back in reversed(backs):
            dy = post_norm_backward(dy, norm_back, block_back)  # (11.7)
        return dy, grads

    return x, backward


def attention_weights():
    return {name: (rng.normal(size=(D, D)) * 0.5, rng.normal(size=D) * 0.1) for name in "qkvo"}


def layer_weights(H=6):
    ff = tuple(rng.normal(size=s) * 0.5 for s in [(H, D), H, (D, H), D])
    norms = [(1 + 0.1 * rng.normal(size=D), 0.1 * rng.normal(size=D)) for _ in range(3)]
    return {"self": attention_weights(), "cross": attention_weights(), "ff": ff, "norms": norms}


layers = [layer_weights(), layer_weights()]  # two decoder layers that read one memory
causal = np.triu(np.ones((T, T), bool), 1)


def decoder(x, memory):
    backs = []
    for P in layers:
        x, back = decoder_layer(x, memory, P, heads, causal)
        backs.append(back)

    def backward(dy):
        dmemory, grads = 0, []
        for back in reversed(backs):
            dy, g = back(dy)
            dmemory = dmemory + g["memory"]  # (11.20)
            grads.insert(0, g)
        return dy, dmemory, grads

    return x, backward


y, backward = decoder(x, memory)
dx, dmemory, grads = backward(dy)
numeric_m = lessons.numeric_gradient(lambda m: decoder(x, m)[0], memory, dy)
worst = lessons.show_errors(
    {
        "dx": (dx, lessons.numeric_gradient(lambda x: decoder(x, memory)[0], x, dy)),
        "dmemory": (dmemory, numeric_m),
    },
    title="Two decoder layers by hand, both inputs",
    limit=1e-7,
)
assert worst < 1e-7
assert np.abs(grads[1]["memory"] - numeric_m).max() > 0.01  # (11.20): the last layer's share is not the whole

# %% [markdown]
# And `nn.TransformerDecoderLayer`, twice, with the same weights:


# %%
def fill(module, P):
    """Copies our weights into an nn.TransformerDecoderLayer."""
    with minitorch.no_grad():
        for attention, W in ((module.self_attn, P["self"]), (module.multihead_attn, P["cross"])):
            attention.in_proj_weight.copy_(minitorch.tensor(np.concatenate([W[name][0] for name in "qkv"])))
            attention.in_proj_bias.copy_(minitorch.tensor(np.concatenate([W[name][1] for name in "qkv"])))
            attention.out_proj.weight.copy_(minitorch.tensor(W["o"][0]))
            attention.out_proj.bias.copy_(minitorch.tensor(W["o"][1]))
        for linear_layer, (W, b) in zip((module.linear1, module.linear2), (P["ff"][:2], P["ff"][2:])):
            linear_layer.weight.copy_(minitorch.tensor(W))
            linear_layer.bias.copy_(minitorch.tensor(b))
        for norm, (w, b) in zip((module.norm1, module.norm2, module.norm3), P["norms"]):
            norm.weight.copy_(minitorch.tensor(w))
            norm.bias.copy_(minitorch.tensor(b))


stack = nn.TransformerDecoder(nn.TransformerDecoderLayer(D, heads, 6, dropout=0.0, batch_first=True), 2).double()
for module, P in zip(stack.layers, layers):
    fill(module, P)
tx, tm = float64_leaf(x), float64_leaf(memory)
ty = stack(tx, tm, tgt_mask=minitorch.tensor(causal))
ty.backward(minitorch.tensor(dy))
lessons.same(ty, y, tol=1e-10, what="y")  # (11.5)
lessons.same(tx.grad, dx, tol=1e-10, what="dx")  # (11.7)
lessons.same(tm.grad, dmemory, tol=1e-10, what="dmemory")  # (11.20)
for module, g in zip(stack.layers, grads):  # (11.13), (11.14), (11.15)
    for name, expected in zip(("linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias"), g["ff"]):
        lessons.same(module.get_parameter(name).grad, expected, tol=1e-10, what=name)
    expected = np.concatenate([g["cross"][n][0] for n in "qkv"])
    lessons.same(module.multihead_attn.in_proj_weight.grad, expected, tol=1e-10, what="dW of cross-attention")
print("values and gradients are equal")

# %% [markdown]
# ## Teacher forcing and the shift
#
# The decoder is to give a probability to a whole target sequence $y_1, \dots, y_T$, given the source $s$. By the chain rule of probability, a product of one-step predictions:
#
# $$ p(y_1, \dots, y_T \mid s) = \prod_{t=1}^{T} p(y_t \mid y_1, \dots, y_{t-1}, s) \tag{11.22} $$
#
# Its negative logarithm is a sum of cross-entropies, one for each position. In training all earlier tokens are known, so the decoder is given the *true* ones, whatever it would have predicted itself: *teacher forcing*. With a causal mask all $T$ predictions come from a single pass. For that the input
# is the target shifted by one place. Position $t$ reads the token $t-1$ and must predict the token $t$:
#
# | | | | | | |
# |---|---|---|---|---|---|
# | target with its ends | start | c | a | b | end |
# | the decoder reads | start | c | a | b | |
# | and must predict | c | a | b | end | |
#
# Sequences of one batch have several lengths. The short ones are filled up with a token *pad*, number 0, which is no word: nobody may look at it, and nobody has to predict it. With $n$ the number of real targets, $z$ of shape $(B, T, V)$ the logits and $\hat y$ their softmax,
#
# $$ L = -\frac{1}{n}\sum_{b,t:\; y_{bt} \ne \text{pad}} \log \hat y_{b t y_{bt}}, \qquad n = \sum_{b,t} [y_{bt} \ne \text{pad}] \tag{11.23} $$
#
# $$ dz_{btv} = \frac{1}{n}\,[y_{bt} \ne \text{pad}]\,\big(\hat y_{btv} - \delta_{v\,y_{bt}}\big) \tag{11.24} $$
#
# which is lesson 04's gradient with ignored labels. Dividing by $B\,T$ instead would weigh a batch less when it holds more padding.
#
# ### Exercise 4: from sequences to a batch
#
# `pad` is given. `rows` are lists of numbers of unequal length.

# %%
PAD, START, END = 0, 1, 2


def pad(rows):
    """Lists of numbers, filled up with PAD to the longest: an array (B, T)."""
    out = np.full((len(rows), max(map(len, rows))), PAD)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


# %% tags=["exercise"]
def teacher_forcing(rows):
    """Lists of numbers, without START and END.       Returns what the decoder reads, and what it predicts: (B, T), (B, T)"""
    # --- solution
    return pad([[START, *row] for row in rows]), pad([[*row, END] for row in rows])
    # --- stub
    # reads = pad([[START, *row] for row in rows])
    # return reads, reads
    # --- end


# %% tags=["check"]
@lesson.check("teacher_forcing", hint="Place t of the second array is place t + 1 of the first; at the end stands END.")
def _(teacher_forcing):
    reads, predicts = teacher_forcing([[5, 3, 4], [6]])
    lessons.same(reads, [[1, 5, 3, 4], [1, 6, 0, 0]], what="what the decoder reads")
    lessons.same(predicts, [[5, 3, 4, 2], [6, 2, 0, 0]], what="what it predicts")


# %% [markdown]
# Now the model, with minitorch's `nn.Transformer`, pre-norm. Around it stand embeddings of the tokens, learned embeddings of the positions (lesson 10), and a last linear layer. Its name for "True where the token is padding" is `key_padding_mask`. Everything that is *looked at* has one: the source in the
# encoder's self-attention, and the memory in the decoder's cross-attention.


# %%
class Seq2Seq(nn.Module):
    """source (B, S), target (B, T) -> logits (B, T, V)"""

    def __init__(self, source_words, target_words, max_length=16, width=32, heads=2, layers=1):
        super().__init__()
        self.source = nn.Embedding(source_words, width)
        self.target = nn.Embedding(target_words, width)
        self.position = nn.Embedding(max_length, width)
        self.transformer = nn.Transformer(
            width, heads, layers, layers, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.out = nn.Linear(width, target_words)

    def embed(self, table, ids):
        return table(ids) + self.position(minitorch.arange(ids.shape[1]))

    def encode(self, source):
        return self.transformer.encoder(self.embed(self.source, source), src_key_padding_mask=source == PAD)

    def decode(self, target, memory, source):
        T = target.shape[1]
        causal = minitorch.ones((T, T), dtype=minitorch.bool).triu(1)
        x = self.transformer.decoder(
            self.embed(self.target, target), memory, tgt_mask=causal, memory_key_padding_mask=source == PAD
        )
        return self.out(x)  # (B, T, V)

    def forward(self, source, target):
        return self.decode(target, self.encode(source), source)


def sequence_loss(z, predicts):
    """(11.23)"""
    return F.cross_entropy(z.flatten(0, 1), predicts.flatten(), ignore_index=PAD)


# %% [markdown]
# Four claims on an untrained model: the loss is (11.23), its gradient (11.24), padding gets none, and no position is influenced by a later token of the target.

# %%
minitorch.manual_seed(0)
model = Seq2Seq(9, 9)
source = minitorch.tensor(pad([[3, 4, 5], [6, 7]]))
reads, predicts = (minitorch.tensor(a) for a in teacher_forcing([[5, 3, 4], [6]]))
z = model(source, reads)
z.retain_grad()
L = sequence_loss(z, predicts)
L.backward()

e = np.exp(z.detach().numpy().astype(np.float64))
probability = e / e.sum(-1, keepdims=True)  # (B, T, V)
y = predicts.numpy()
real = y != PAD
picked = np.take_along_axis(probability, y[..., None], -1)[..., 0]  # (B, T)
lessons.same(L, -np.log(picked[real]).sum() / real.sum(), tol=1e-5, what="loss")  # (11.23)
lessons.same(L * real.sum(), -np.log([picked[b][real[b]].prod() for b in range(2)]).sum(), tol=1e-5)  # (11.22)
dz = real[..., None] * (probability - np.eye(9)[y]) / real.sum()  # (11.24)
lessons.same(z.grad, dz, tol=1e-6, what="dz")

changed = reads.numpy().copy()
changed[0, 2] = 8  # another token at place 2 of the first sequence
difference = np.abs((model(source, minitorch.tensor(changed)) - z).detach().numpy()).max(-1)
print("largest change of the logits, by position:", difference[0].round(3))
assert difference[0, :2].max() < 1e-6 and difference[0, 2:].min() > 1e-3  # the past does not see the future

# %% [markdown]
# ### Exercise 5: generating
#
# At generation there is no teacher. Begin with START, ask for the most probable next token, append it, and ask again: *greedy decoding*. The memory is computed once. All sequences of the batch go on until the longest is done; what comes after a sequence's END is cut off later.


# %% tags=["exercise"]
def greedy(model, source, steps):
    """source: (B, S), a tensor.       Returns the tokens after START: an array (B, steps)"""
    with minitorch.no_grad():
        memory = model.encode(source)
        target = minitorch.full((len(source), 1), START, dtype=minitorch.int64)
        for _ in range(steps):
            # --- solution
            z = model.decode(target, memory, source)[:, -1]  # (B, V), the last position
            target = minitorch.cat([target, z.argmax(-1, keepdim=True)], 1)
            # --- stub
            # z = model.decode(target, memory, source)[:, 0]  # which position predicts the next token?
            # target = minitorch.cat([target, z.argmax(-1, keepdim=True)], 1)
            # --- end
    return target.numpy()[:, 1:]


def until_end(row):
    """The numbers of a row before the first END."""
    row = [int(number) for number in row]
    return row[: row.index(END)] if END in row else row


# %% tags=["check"]
@lesson.check("greedy", hint="Position t predicts token t + 1, so the new token comes from the last position: [:, -1].")
def _(greedy):
    class Counter:  # a model that counts upwards from what it read last
        def encode(self, source):
            return None

        def decode(self, target, memory, source):
            return F.one_hot(target + source[:, :1], 12).float()

    lessons.same(greedy(Counter(), minitorch.tensor([[1], [2]]), 4), [[2, 3, 4, 5], [3, 5, 7, 9]], what="the tokens")


# %% [markdown]
# ## Reversing and sorting
#
# One model, two tasks. The first source token says which: `reverse` or `sort`; two to six digits from 0 to 7 follow. Every batch is new, so nothing can be learned by heart, and the test sequences are others again.

# %%
REVERSE, SORT, FIRST, DIGITS, LONGEST = 3, 4, 5, 8, 6


def tasks(count, rng):
    """Lists of sources and of targets."""
    sources, targets = [], []
    for _ in range(count):
        digits = rng.integers(0, DIGITS, rng.integers(2, LONGEST + 1))
        task = rng.integers(0, 2)
        sources.append([REVERSE + task, *(FIRST + digits)])
        targets.append(FIRST + (digits[::-1] if task == 0 else np.sort(digits)))
    return sources, targets


def train(model, batch, steps, rate):
    """batch() -> lists of sources and targets. Returns the losses."""
    optimizer = minitorch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    # the rate: a warmup of a tenth of the steps, then down along a cosine (lesson 05)
    schedule = minitorch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    losses = []
    for _ in range(steps):
        sources, targets = batch()
        reads, predicts = (minitorch.tensor(a) for a in teacher_forcing(targets))
        loss = sequence_loss(model(minitorch.tensor(pad(sources)), reads), predicts)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def exact(model, sources, targets):
    """For each sequence: is it generated right, to the last token?"""
    steps = max(map(len, targets)) + 1
    found = greedy(model, minitorch.tensor(pad(sources)), steps)
    return np.array([until_end(row) == list(target) for row, target in zip(found, targets)])


minitorch.manual_seed(0)
rng = np.random.default_rng(0)
model = Seq2Seq(FIRST + DIGITS, FIRST + DIGITS)
start = time.perf_counter()
losses = train(model, lambda: tasks(64, rng), steps=800, rate=8e-3)
print(f"{sum(p.numel() for p in model.parameters())} parameters, {time.perf_counter() - start:.0f} s")

sources, targets = tasks(500, np.random.default_rng(1))
right = exact(model, sources, targets)
kind = np.array([s[0] for s in sources])
print(f"reversed: {right[kind == REVERSE].mean():.1%} right, sorted: {right[kind == SORT].mean():.1%} right")
assert right.mean() > 0.99

axes = viz.curves(
    {"training": losses}, log=True, baselines={"guessing among 8 digits and end: log 9": np.log(9)},
    ylabel="loss per token", title="Reversing and sorting",
)  # fmt: skip
plt.show()

# %% [markdown]
# Whole sequences are right, not only tokens. What did it learn? Take one sequence, and look at which source tokens each output looks at in the cross-attention. The library's decoder does not return the weights, so we call its parts; the mean of both heads is shown.


# %%
def cross_weights(model, source, target):
    """The weights of the first decoder layer's cross-attention, mean over the heads.       (T, S)"""
    source, target = (minitorch.tensor([list(s)]) for s in (source, target))
    T = target.shape[1]
    layer = model.transformer.decoder.layers[0]
    with minitorch.no_grad():
        memory = model.encode(source)
        x = model.embed(model.target, target)
        u = layer.norm1(x)
        x = x + layer.self_attn(u, u, u, attn_mask=minitorch.ones((T, T), dtype=minitorch.bool).triu(1))[0]
        return layer.multihead_attn(layer.norm2(x), memory, memory)[1][0].numpy()


digits = [2, 7, 1, 6, 0, 4]
figure, panels = plt.subplots(1, 2, figsize=(10, 4.4))
for axes, task, order in zip(panels, ("reverse", "sort"), (digits[::-1], sorted(digits))):
    source = [REVERSE if task == "reverse" else SORT, *(FIRST + d for d in digits)]
    weights = cross_weights(model, source, [START, *(FIRST + d for d in order)])[:6]
    axes.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(7), [task, *digits])
    axes.set_yticks(range(6), order)
    for t, digit in enumerate(order):
        axes.add_patch(plt.Rectangle((digits.index(digit) + 0.5, t - 0.5), 1, 1, fill=False, ec="C3", lw=1.5))
    axes.set(xlabel="source token", ylabel="predicted token", title=f"{task}: where each prediction looks")
    axes.grid(visible=False)
    found = [digits[i - 1] for i in weights.argmax(1)]
    print(f"{task}: looks most at {found}, has to write {order}")
    assert task == "sort" or sum(a == b for a, b in zip(found, order)) >= 4
plt.show()

# %% [markdown]
# The red frames mark the digit that has to be written. For reversing the weights follow the frames: the position alone decides where to look. For sorting, no position can: the decoder has to compare values, and the map is softer. Attention maps show where a layer reads, and not
# all of what it does with it; what the encoder has moved between positions before is invisible in this picture.
#
# ## A small translation
#
# Numbers in words, from English to German. It is a small grammar, and it holds a real difficulty of translation: in German the ones come *before* the tens. 42 is "forty two" and "zwei und vierzig", also inside of thousands, and 1 is "ein" or at the very end "eins". Words that
# German writes together are separate tokens here. With `MINITORCH_DATA` set, real picture captions follow below.

# %%
ENGLISH = (
    "- one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen".split()
)
GERMAN = (
    "- ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn "
    "achtzehn neunzehn".split()
)
TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()
ZEHNER = "- - zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()


def english(n):
    words = []
    if n >= 1000:
        words, n = [*english(n // 1000), "thousand"], n % 1000
    if n >= 100:
        words, n = [*words, ENGLISH[n // 100], "hundred"], n % 100
    if n >= 20:
        words, n = [*words, TENS[n // 10]], n % 10
    return [*words, ENGLISH[n]] if n else words


def german(n, last=True):
    words = []
    if n >= 1000:
        words, n = [*german(n // 1000, False), "tausend"], n % 1000
    if n >= 100:
        words, n = [*words, GERMAN[n // 100], "hundert"], n % 100
    if n >= 20:
        return [*words, *([GERMAN[n % 10], "und"] if n % 10 else []), ZEHNER[n // 10]]
    return [*words, "eins" if n == 1 and last else GERMAN[n]] if n else words


class Words:
    """Words to numbers and back."""

    def __init__(self, sentences):
        self.words = ["<pad>", "<start>", "<end>", "<unknown>", *sorted({w for s in sentences for w in s})]
        self.number = {word: i for i, word in enumerate(self.words)}

    def encode(self, sentence):
        return [self.number.get(word, 3) for word in sentence]

    def decode(self, row):
        return " ".join(self.words[i] for i in row)


numbers = np.random.default_rng(0).permutation(np.arange(1, 100_000))
train_numbers, test_numbers = numbers[:3000], numbers[-300:]
english_words = Words([english(n) for n in train_numbers])
german_words = Words([german(n) for n in train_numbers])


def pairs_of(numbers):
    return (
        [english_words.encode(english(n)) for n in numbers],
        [german_words.encode(german(n)) for n in numbers],
    )


minitorch.manual_seed(0)
rng = np.random.default_rng(0)
translator = Seq2Seq(len(english_words.words), len(german_words.words))
losses = train(translator, lambda: pairs_of(rng.choice(train_numbers, 64)), steps=500, rate=8e-3)
right = exact(translator, *pairs_of(test_numbers))
print(f"{right.mean():.1%} of 300 numbers that were not in training are right, to the last word")
assert right.mean() > 0.95
short = np.setdiff1d(np.arange(1, 100), train_numbers)
right_short = exact(translator, *pairs_of(short))
print(f"{right_short.mean():.1%} of the {len(short)} numbers below 100 that were not in training\n")
assert right_short.mean() < right.mean()

for n in (66999, 90401, 5076, 342, 21):
    source = minitorch.tensor([english_words.encode(english(n))])
    print(f"{n:>6}  {' '.join(english(n))}  ->  {german_words.decode(until_end(greedy(translator, source, 14)[0]))}")

# %%
n = 48_352
source, target = english(n), german(n)
weights = cross_weights(translator, english_words.encode(source), [START, *german_words.encode(target)[:-1]])
figure, axes = plt.subplots(figsize=(6.5, 5))
axes.imshow(weights, cmap="Blues", vmin=0, vmax=1)
axes.set_xticks(range(len(source)), source, rotation=40, ha="right")
axes.set_yticks(range(len(target)), target)
axes.set(xlabel="read", ylabel="written next", title="Where the translator looks: tens and ones change places")
axes.grid(visible=False)
plt.show()

# %% [markdown]
# 3000 of the 99,999 numbers were enough for nearly all others: the model has found a rule and not a list. But it is the rule of *its training data*. Of 100,000 numbers only 99 are below 100, so hardly any was among the 3000, and on those the translator fails often: it has
# never learned that a sentence may end so early. A test set drawn like the training set does not show this. Now real language, if it is at hand: Multi30k, captions of photographs in English and German. Short captions, the most frequent words, and minutes of one processor are
# not enough for a good translator; the question is whether the source helps at all. So compare with a baseline that sees only how frequent each German word is.

# %%
LARGE = False  # True: 20 times as many steps, a wider model

folder = Path(os.environ.get("MINITORCH_DATA", "")) / "multi30k"
if os.environ.get("MINITORCH_DATA") and (folder / "train.de.gz").exists():

    def captions(part):
        sides = []
        for language in ("en", "de"):
            with gzip.open(folder / f"{part}.{language}.gz", "rt", encoding="utf-8") as lines:
                sides.append([line.lower().replace(".", " .").replace(",", " ,").split() for line in lines])
        return [(a, b) for a, b in zip(*sides) if 2 <= len(a) <= 12 and 2 <= len(b) <= 12]

    def vocabulary(sentences, size):
        words, counts = np.unique([w for s in sentences for w in s], return_counts=True)
        return Words([words[np.argsort(-counts, kind="stable")[:size]]])

    train_pairs, valid_pairs = captions("train"), captions("val")
    en, de = (vocabulary([pair[side] for pair in train_pairs], 1000) for side in (0, 1))

    def encoded(pairs):
        return [en.encode(a) for a, _ in pairs], [de.encode(b) for _, b in pairs]

    minitorch.manual_seed(0)
    rng = np.random.default_rng(0)
    captioner = Seq2Seq(len(en.words), len(de.words), width=128 if LARGE else 48)
    train(
        captioner,
        lambda: encoded([train_pairs[i] for i in rng.integers(0, len(train_pairs), 64)]),
        steps=6000 if LARGE else 300,
        rate=2e-3 if LARGE else 8e-3,
    )
    sources, targets = encoded(valid_pairs)
    reads, predicts = (minitorch.tensor(a) for a in teacher_forcing(targets))
    with minitorch.no_grad():
        own = sequence_loss(captioner(minitorch.tensor(pad(sources)), reads), predicts).item()
        other = [sources[-1], *sources[:-1]]  # every caption with the source of another one
        wrong = sequence_loss(captioner(minitorch.tensor(pad(other)), reads), predicts).item()
    counts = np.bincount([w for t in encoded(train_pairs)[1] for w in [*t, END]], minlength=len(de.words)) + 1
    unigram = -np.log(counts / counts.sum())[[w for t in targets for w in [*t, END]]].mean()
    print(f"loss per word: frequencies {unigram:.2f}, with another source {wrong:.2f}, with its own source {own:.2f}")
    assert own < unigram and own < wrong
    for i in range(3):
        found = until_end(greedy(captioner, minitorch.tensor([sources[i]]), 14)[0])
        print(f"{' '.join(valid_pairs[i][0])}\n  -> {de.decode(found)}\n  (reference: {' '.join(valid_pairs[i][1])})")
else:
    print("MINITORCH_DATA is not set: the numbers above are this lesson's translation.")

# %% [markdown]
# ## What goes wrong
#
# ### Exercise 6: find the bug
#
# A colleague has written `translate` for lists of sentences. Each sentence alone is translated well. In a batch, the *long* ones are still right, and short ones get wrong words, other ones in every batch: a sentence's translation depends on its
# neighbours. There is padding in the source, and the colleague knew it. Find what was forgotten.


# %% tags=["exercise"]
def translate(model, rows, steps=14):
    """Lists of source tokens.       Returns lists of target tokens."""
    source = minitorch.tensor(pad(rows))  # (B, S)
    hidden = source == PAD
    encoder, decoder = model.transformer.encoder, model.transformer.decoder
    with minitorch.no_grad():
        memory = encoder(model.embed(model.source, source), src_key_padding_mask=hidden)
        target = minitorch.full((len(rows), 1), START, dtype=minitorch.int64)
        for _ in range(steps):
            T = target.shape[1]
            causal = minitorch.ones((T, T), dtype=minitorch.bool).triu(1)
            # --- solution
            x = decoder(model.embed(model.target, target), memory, tgt_mask=causal, memory_key_padding_mask=hidden)
            # --- stub
            # x = decoder(model.embed(model.target, target), memory, tgt_mask=causal)
            # --- end
            target = minitorch.cat([target, model.out(x[:, -1]).argmax(-1, keepdim=True)], 1)
    return [until_end(row) for row in target.numpy()[:, 1:]]


# %% tags=["check"]
@lesson.check("translate", hint="Two attentions read the source: the encoder's own, and the decoder's cross-attention.")
def _(translate):
    minitorch.manual_seed(1)
    model = Seq2Seq(9, 9)
    rows = [[3], [4, 5], [6, 7, 8, 3, 4, 5, 6, 7]]
    with minitorch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)  # an untrained model with strong opinions
    together = translate(model, rows, 6)
    for row, found in zip(rows, together):
        alone = until_end(greedy(model, minitorch.tensor([row]), 6)[0])
        assert list(found) == alone, f"The source {row} gives {alone} alone, by `greedy`, and {found} in a batch."


# %% [markdown]
# A padding mask hides keys, and there are two places where the source serves as keys. The encoder still computes *something* at the padded positions, numbers like all others, and the decoder reads them unless it is told not to. The test that finds it is the symptom itself: **a sequence alone and in a padded batch must give the same.**
# Related bugs in the zoo: [07, the model that reads ahead](zoo/07_the_model_that_reads_ahead.py), a causal mask in the wrong place; [24, too good to be true](zoo/24_too_good_to_be_true.py), a target without the shift; [05, the class that is never predicted](zoo/05_the_class_that_is_never_predicted.py), where padding shares its number with a class.
#
# ## Summary

# %% [markdown] tags=["summary"]
# | equation | what | op | test |
# |---|---|---|---|
# | (11.1), (11.2) | the residual stream; it is a sum | `minitorch/nn/transformer.py::_residual` | here |
# | (11.3), (11.4) | the gradient through the stream; a sum over all paths | `minitorch/autograd/engine.py::walk` | here |
# | (11.5), (11.7) | post-norm and its gradient | `minitorch/nn/transformer.py::_residual` | here, tests/test_nn_transformer.py::test_decoder_layer_from_its_parts |
# | (11.6), (11.8) | pre-norm and its gradient | `minitorch/nn/transformer.py::_residual` | here, tests/test_nn_transformer.py::test_transformer_equals_pytorch |
# | (11.9), (11.10) | post-norm: the straight path is shut, the gradient hangs on the blocks | - | here |
# | (11.11), (11.12) | pre-norm: the stream and the gradient grow slowly | - | here |
# | (11.13) | the feed-forward block | `minitorch/nn/transformer.py::_feed_forward` | here, tests/test_nn_attention.py::test_encoder_layer_from_its_parts |
# | (11.14), (11.15) | its gradients | `minitorch/nn/transformer.py::_feed_forward` | here, cases:nn.functional.linear |
# | (11.16), (11.17) | cross-attention | `minitorch/nn/attention.py::MultiheadAttention` | here, tests/test_nn_attention.py::test_attention_by_hand |
# | (11.18), (11.19) | its gradients: queries' side, memory's side | `minitorch/nn/attention.py::MultiheadAttention` | here, cases:nn.functional.scaled_dot_product_attention |
# | (11.20) | all decoder layers send gradient to one memory | `minitorch/nn/transformer.py::TransformerDecoder` | here, tests/test_nn_transformer.py::test_decoder_equals_pytorch |
# | (11.21) | the key's bias has no gradient | `minitorch/nn/attention.py::MultiheadAttention` | here |
# | (11.22) | chain rule of probability | - | here |
# | (11.23), (11.24) | loss of padded sequences, its gradient (F8) | `minitorch/ops/loss.py::cross_entropy` | here, cases:nn.functional.cross_entropy |
#
# Take away the encoder and the cross-attention, and what is left predicts the next token of any text: [12 GPT](12_gpt.ipynb).
