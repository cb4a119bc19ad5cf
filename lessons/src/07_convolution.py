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
# # 07 Convolution
#
# The network of lesson 06 gave every pixel a weight of its own. Move the digit by one pixel, and everything that it learned is in the wrong place. **How can a layer look for the same thing everywhere, with one small set of
# weights? What is its gradient, and what does it take to stack many such layers?** You derive convolution, pooling and batch normalization, write all of them by hand, measure why a residual connection lets gradients through, and
# train a small convolutional network.
#
# You need the gradient of a matrix product and of picked elements from 02, cross-entropy from 04, Adam from 05, and initialisation from 06. Time: 90 minutes.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import minitorch
import minitorch.nn.functional as F
from minitorch import lessons, nn

lesson = lessons.start(7)

# %% [markdown]
# ## One pattern, everywhere
#
# Nine numbers, a *kernel*, are laid on every 3 x 3 patch of a picture: multiply, add up, write the sum down. This kernel has +1 above and -1 below, so the sum is large where ink ends at the bottom, and negative where it
# begins at the top. Then the digit moves one pixel to the right.

# %%
digits = load_digits()
pictures = digits.images / 16.0  # (1797, 8, 8), from 0 to 1


def respond(picture, kernel):
    padded = np.pad(picture, 1)
    return sum(kernel[k, l] * padded[k : k + 8, l : l + 8] for k in range(3) for l in range(3))


kernel = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -1.0, -1.0]])
three = pictures[3]
moved = np.roll(three, 1, axis=1)
moved[:, 0] = 0
figure, panels = plt.subplots(1, 5, figsize=(12, 2.9))
for axes, picture, title in zip(
    panels,
    [three, kernel, respond(three, kernel), moved, respond(moved, kernel)],
    ["a digit", "kernel (blue +, red -)", "its response", "moved to the right", "the response moves too"],
):
    ink = title in ("a digit", "moved to the right")
    axes.imshow(picture, cmap="gray_r" if ink else "RdBu", vmin=0 if ink else -2.5, vmax=1 if ink else 2.5)
    axes.set_title(title)
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
plt.show()
assert np.allclose(respond(moved, kernel)[:, 2:-1], respond(three, kernel)[:, 1:-2])

# %% [markdown]
# ## In one dimension
#
# Take a row of numbers $x$ of length $L$ and a kernel $w$ of length $K$. Lay the kernel down at every $s$-th place ($s$ is the *stride*), after adding $P$ zeros on both sides (the *padding*). With $x_i = 0$ for every $i$ outside of $0 \dots L-1$:
#
# $$ y_p = b + \sum_{k=0}^{K-1} w_k\; x_{ps + k - P} \tag{07.1} $$
#
# How many places $p$ are there? The last weight must still be inside: $ps + K - 1 \le L + 2P - 1$. So $p$ runs from 0 to $(L + 2P - K)/s$, rounded down, and the length of $y$ is
#
# $$ M = \left\lfloor \frac{L + 2P - K}{s} \right\rfloor + 1 \tag{07.2} $$
#
# (Mathematics calls this a *correlation*, and keeps the word convolution for the same sum with the kernel turned round, $x_{p-k}$. A network learns its kernel, so which way round it is stored does not matter; libraries
# compute (07.1) and say convolution. The difference comes back in a moment.)
#
# With stride 1 the layer treats all places alike: if the input moves, so does the output. Away from the borders, and for a move by $m$,
#
# $$ x'_i = x_{i-m} \quad\Rightarrow\quad y'_p = y_{p-m} \tag{07.3} $$
#
# because $x'_{p+k-P} = x_{(p-m)+k-P}$. This property is called *equivariance*. The picture above is (07.3).
#
# ### Exercise 1: forward


# %% tags=["exercise"]
def conv1d(x, w, b=0.0, stride=1, padding=0):
    """(07.1)        x: (L,)   w: (K,)   b: a number   y: (M,)"""
    wide = np.pad(x, padding)  # P zeros on both sides: x_i is wide[i + P]
    # --- solution
    M = (len(wide) - len(w)) // stride + 1
    return np.array([b + np.sum(w * wide[p * stride : p * stride + len(w)]) for p in range(M)])
    # --- end


# %% tags=["check"]
@lesson.check(
    "conv1d", hint="In `wide` the patch of place p begins at p * stride and is len(w) long. (07.2) counts places."
)
def _(conv1d):
    rng = np.random.default_rng(0)
    x = np.array([1.0, 2.0, 4.0, 8.0])
    lessons.same(conv1d(x, np.array([1.0, 10.0])), [21.0, 42.0, 84.0], what="[1, 2, 4, 8] with kernel [1, 10]")
    for L, K, stride, padding in [(7, 3, 1, 0), (7, 3, 2, 1), (8, 3, 2, 0), (9, 4, 3, 2)]:
        x, w = rng.normal(size=L), rng.normal(size=K)
        y = conv1d(x, w, 0.3, stride, padding)
        M = (L + 2 * padding - K) // stride + 1  # (07.2)
        what = f"L = {L}, K = {K}, stride {stride}, padding {padding}"
        assert np.shape(y) == (M,), f"{what}: the length is {np.shape(y)}, and should be ({M},)."
        xi = lambda i, x=x: x[i] if 0 <= i < len(x) else 0.0  # noqa: E731
        slow = [0.3 + sum(w[k] * xi(p * stride + k - padding) for k in range(K)) for p in range(M)]  # (07.1)
        lessons.same(y, slow, what=what)


# %%
rng = np.random.default_rng(1)
x, w = rng.normal(size=30), rng.normal(size=3)
for m in (1, 2, 5):  # (07.3)
    lessons.same(conv1d(np.roll(x, m), w)[m:], conv1d(x, w)[:-m], what=f"moved by {m}")
print("moved input, moved output")

# %% [markdown]
# ## Its gradient
#
# Given $dy$, of shape $(M,)$. The weight $w_k$ is used at every place $p$, there multiplied by $x_{ps+k-P}$. One contribution from each use, by the rule of sums over successors (01.4):
#
# $$ dw_k = \sum_{p=0}^{M-1} dy_p\; x_{ps + k - P}, \qquad db = \sum_{p=0}^{M-1} dy_p \tag{07.4} $$
#
# That is again a correlation: $dy$ laid on $x$.
#
# Now $x_i$. Which outputs read it? Write the sum over everything and let a $\delta$ select, as in lesson 02:
#
# $$ dx_i = \sum_p dy_p \sum_k w_k\, \delta_{i,\; ps+k-P} = \sum_{p:\; 0 \,\le\, i+P-ps \,<\, K} dy_p\; w_{i + P - ps} \tag{07.5} $$
#
# You can read it in two ways. From $x_i$'s side it *gathers*: all places $p$ that have read it, each with the weight that was used. From $y_p$'s side it *scatters*: $dy_p$ times the whole kernel is added to the patch
# that $y_p$ had read. Patches overlap, so *added*, not written. Scattering is the simpler program.
#
# ### Exercise 2: backward


# %% tags=["exercise"]
def conv1d_backward(dy, x, w, stride=1, padding=0):
    """dx, dw, db        dy: (M,)   x, dx: (L,)   w, dw: (K,)   db: a number"""
    wide = np.pad(x, padding)
    dwide, dw = np.zeros_like(wide), np.zeros_like(w)
    for p in range(len(dy)):
        patch = slice(p * stride, p * stride + len(w))
        # --- solution
        dw += dy[p] * wide[patch]
        dwide[patch] += dy[p] * w
        # --- stub
        # dw += 0.0  # (07.4): y_p multiplied the weights with wide[patch]
        # dwide[patch] += 0.0  # (07.5)
        # --- end
    dx = dwide[padding : padding + len(x)]  # the zeros outside have a gradient that nobody asks for
    return dx, dw, dy.sum()


# %% tags=["check"]
@lesson.check(
    "conv1d_backward", hint="y_p = b + sum(w * wide[patch]), a product: each factor's gradient is dy_p times the other."
)
def _(conv1d_backward):
    rng = np.random.default_rng(0)

    def test(L, K, stride, padding):
        x, w = rng.normal(size=L), rng.normal(size=K)
        forward = lambda x, w: conv1d(x, w, 0.0, stride, padding)  # noqa: E731
        dy = rng.normal(size=len(forward(x, w)))
        dx, dw, db = conv1d_backward(dy, x, w, stride, padding)
        what = f"with K = {K}, stride {stride}, padding {padding}"
        lessons.same(dw, lessons.numeric_gradient(lambda w: forward(x, w), w, dy), what=f"dw {what}")  # (07.4)
        lessons.same(dx, lessons.numeric_gradient(lambda x: forward(x, w), x, dy), what=f"dx {what}")  # (07.5)
        lessons.same(db, dy.sum(), what=f"db {what}")

    for sizes in [(7, 3, 1, 0), (7, 3, 2, 1), (9, 4, 3, 2), (8, 3, 4, 0)]:
        test(*sizes)


# %% [markdown]
# ### The gradient is a correlation too
#
# Take stride 1 and look at (07.5) once more. The index of $w$ falls as $p$ rises: the kernel runs *backwards* over $dy$. Substitute $k' = K - 1 - (i + P - p)$, which counts the weights from the end, so that $p = i + k' - (K-1-P)$:
#
# $$ dx_i = \sum_{k'=0}^{K-1} w_{K-1-k'}\; dy_{\,i + k' - (K-1-P)} \qquad (s = 1) \tag{07.6} $$
#
# (with $dy_p = 0$ outside of $0 \dots M-1$). Compare with (07.1): the same operation, on $dy$, with the kernel flipped and padding $K-1-P$ (take $P \le K-1$). For a stride $s > 1$ put $s-1$ zeros between the elements of $dy$, and behind the last one as many zeros as the rounding in (07.2) left over:
#
# $$ u_{ps} = dy_p, \quad u_j = 0 \text{ elsewhere}, \quad 0 \le j \le L+2P-K, \qquad dx_i = \sum_{k'=0}^{K-1} w_{K-1-k'}\; u_{\,i + k' - (K-1-P)} \tag{07.7} $$
#
# So a strided convolution's gradient produces an array about $s$ times as long as what it gets. Networks that have to *enlarge* a picture use this very operation as a layer of its own, the *transposed convolution*.

# %%
for L, K, stride, padding in [(7, 3, 1, 0), (7, 3, 1, 2), (8, 3, 2, 1), (10, 4, 3, 2)]:
    x, w = rng.normal(size=L), rng.normal(size=K)
    dy = rng.normal(size=len(conv1d(x, w, 0.0, stride, padding)))
    dx, _, _ = conv1d_backward(dy, x, w, stride, padding)
    u = np.zeros(L + 2 * padding - K + 1)
    u[: len(dy) * stride : stride] = dy
    lessons.same(
        conv1d(u, w[::-1], 0.0, 1, K - 1 - padding), dx, tol=1e-12, what="dx as a correlation"
    )  # (07.6), (07.7)
    # the library's transposed convolution; output_padding is the number of zeros behind the last element of dy
    tensor = lambda a: minitorch.tensor(a)[None, None]  # noqa: E731
    library = F.conv_transpose1d(
        tensor(dy), tensor(w), stride=stride, padding=padding, output_padding=(L + 2 * padding - K) % stride
    )
    lessons.same(library[0, 0], dx, tol=1e-12, what="dx by minitorch's transposed convolution")
print("dx, three ways: equal")

# %% [markdown]
# ## Pictures and channels
#
# A picture has two axes and *channels*: one of grey, three of colour, and inside a network one for each pattern that the layer before looked for. A batch of $B$ pictures with $C$ channels is an array $(B, C, H, W)$. The layer has one kernel for each pair of an output channel $o$ and an
# input channel $c$, together $W$ of shape $(O, C, K, K)$. Nothing new happens: what was one index becomes two, and the channels are summed over.
#
# $$ y_{n o p q} = b_o + \sum_{c}\sum_{k, l} W_{o c k l}\; x_{n,\, c,\, ps+k-P,\, qs+l-P} \tag{07.8} $$
#
# $$ dW_{o c k l} = \sum_{n}\sum_{p, q} dy_{n o p q}\; x_{n,\, c,\, ps+k-P,\, qs+l-P}, \qquad db_o = \sum_{n}\sum_{p, q} dy_{n o p q} \tag{07.9} $$
#
# $$ dx_{n c i j} = \sum_{o}\sum_{p,\, q} dy_{n o p q}\; W_{o,\, c,\; i+P-ps,\; j+P-qs} \qquad (p, q \text{ where both indices of the kernel are in } 0 \dots K-1) \tag{07.10} $$
#
# In (07.8) the sum runs over the input channels, in (07.10) over the output channels: going back, the two swap roles.
#
# ### As one matrix product
#
# Written as six nested loops this is slow. But write every patch that the kernel sees as a column of a matrix, one column for each output place. There are $M$ places down and $M'$ across, both from (07.2); the code calls $M'$ `N`:
#
# $$ X_{(c k l),\,(n p q)} = x_{n,\, c,\, ps+k-P,\, qs+l-P} \qquad X: (C K^2,\; B M M') \tag{07.11} $$
#
# This is called `im2col`, image to columns. With $W$ seen as a matrix $(O,\; C K^2)$, (07.8) is $Y = W X + b$, a linear layer, and the gradients are those of a matrix product (02.12), (02.13):
#
# $$ dW = dY\, X^{\top}, \qquad dX = W^{\top} dY \tag{07.12} $$
#
# What is left is the way from $dX$ to $dx$. An element $x_{ncij}$ was copied into several columns. A copy has the slope 1, so its gradient is the sum of its copies' gradients: `col2im` adds every element of a column back to where it was read.
#
# $$ dx_{n c i j} = \sum_{\substack{k, l, p, q:\\ ps+k-P = i,\; qs+l-P = j}} dX_{(c k l),\,(n p q)} \tag{07.13} $$
#
# Here is `im2col`. It loops over the $K^2$ places in the kernel only; for each it takes all patches' elements at once, a slice with step $s$.


# %%
def output_size(L, K, stride, padding):
    return (L + 2 * padding - K) // stride + 1  # (07.2)


def im2col(x, K, stride, padding):
    """(07.11)      x: (B, C, H, W)   result: (C K K, B M M')"""
    B, C, H, W = x.shape
    M, N = output_size(H, K, stride, padding), output_size(W, K, stride, padding)
    wide = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    columns = np.empty((C, K, K, B, M, N))
    for k in range(K):
        for l in range(K):
            read = wide[:, :, k : k + stride * M : stride, l : l + stride * N : stride]
            columns[:, k, l] = read.swapaxes(0, 1)  # (C, B, M, N)
    return columns.reshape(C * K * K, B * M * N)


x = rng.normal(size=(2, 3, 6, 7))
columns = im2col(x, 3, 2, 1)
ours = columns.reshape(27, 2, -1).swapaxes(0, 1)  # minitorch: (B, C K K, M M')
lessons.same(F.unfold(minitorch.tensor(x), 3, stride=2, padding=1), ours, tol=0, what="im2col against unfold")
patch = np.pad(x[1, 2], 1)[2:5, 4:7]  # (07.11) for one place: n = 1, c = 2, p = 1, q = 2
lessons.same(columns.reshape(3, 3, 3, 2, 3, 4)[2, :, :, 1, 1, 2], patch, what="one patch")
print(f"{x.size} numbers of the input, {columns.size} in the columns")

# %% [markdown]
# ### Exercise 3: back from the columns
#
# Complete `col2im`: the same double loop, the same slices, the other direction.


# %% tags=["exercise"]
def col2im(columns, shape, K, stride, padding):
    """(07.13)      columns: (C K K, B M M')   result: shape = (B, C, H, W)"""
    B, C, H, W = shape
    M, N = output_size(H, K, stride, padding), output_size(W, K, stride, padding)
    columns = columns.reshape(C, K, K, B, M, N)
    wide = np.zeros((B, C, H + 2 * padding, W + 2 * padding))
    for k in range(K):
        for l in range(K):
            # --- solution
            wide[:, :, k : k + stride * M : stride, l : l + stride * N : stride] += columns[:, k, l].swapaxes(0, 1)
            # --- stub
            # pass  # which elements of `wide` did columns[:, k, l] come from?
            # --- end
    return wide[:, :, padding : padding + H, padding : padding + W]


# %% tags=["check"]
@lesson.check(
    "col2im", hint="im2col reads a slice of `wide`; here the same slice gets += of columns[:, k, l], axes swapped back."
)
def _(col2im):
    rng = np.random.default_rng(0)

    def test(shape, K, stride, padding):
        x = rng.normal(size=shape)
        dX = rng.normal(size=im2col(x, K, stride, padding).shape)
        kept = dX.copy()
        numeric = lessons.numeric_gradient(lambda x: im2col(x, K, stride, padding), x, dX)  # (07.13)
        lessons.same(col2im(dX, shape, K, stride, padding), numeric, what=f"col2im, K = {K}, stride {stride}")
        lessons.same(dX, kept, tol=0, what="the columns that were given")

    for sizes in [((2, 3, 5, 6), 3, 1, 1), ((1, 2, 7, 5), 3, 2, 0), ((2, 1, 6, 6), 2, 2, 1)]:
        test(*sizes)


# %% [markdown]
# Now the whole layer in a few lines. The columns are $(C K^2,\; B M M')$ and `y` is $(B, O, M, M')$, so one transposition at the end, and its reverse at the start of the way back.


# %%
def conv2d(x, W, b=None, stride=1, padding=0):
    """(07.8)      x: (B, C, H, W)   W: (O, C, K, K)   b: (O,)   y: (B, O, M, M')"""
    O, C, K, _ = W.shape
    M, N = (output_size(size, K, stride, padding) for size in x.shape[2:])
    Y = W.reshape(O, C * K * K) @ im2col(x, K, stride, padding)  # (O, B M M')
    y = Y.reshape(O, len(x), M, N).swapaxes(0, 1)  # (B, O, M, M')
    return y if b is None else y + b[:, None, None]


def conv2d_backward(dy, x, W, stride=1, padding=0):
    """dx, dW, db      dy: (B, O, M, M')"""
    O, C, K, _ = W.shape
    dY = dy.swapaxes(0, 1).reshape(O, -1)  # (O, B M M')
    dW = dY @ im2col(x, K, stride, padding).T  # (07.12)
    dX = W.reshape(O, C * K * K).T @ dY  # (C K K, B M M')
    return col2im(dX, x.shape, K, stride, padding), dW.reshape(W.shape), dy.sum((0, 2, 3))


x, W, b = rng.normal(size=(2, 3, 6, 5)), rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)
dy = rng.normal(size=(2, 4, 3, 3))
slow = np.zeros_like(dy)  # (07.8) with loops, as it stands
wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
for n, o, p, q in np.ndindex(slow.shape):
    slow[n, o, p, q] = b[o] + np.sum(W[o] * wide[n, :, 2 * p : 2 * p + 3, 2 * q : 2 * q + 3])
lessons.same(conv2d(x, W, b, 2, 1), slow, tol=1e-12, what="y against loops")

dx, dW, db = conv2d_backward(dy, x, W, 2, 1)  # (07.9), (07.10), (07.12)
worst = lessons.show_errors(
    {
        "dx": (dx, lessons.numeric_gradient(lambda x: conv2d(x, W, b, 2, 1), x, dy)),
        "dW": (dW, lessons.numeric_gradient(lambda W: conv2d(x, W, b, 2, 1), W, dy)),
        "db": (db, lessons.numeric_gradient(lambda b: conv2d(x, W, b, 2, 1), b, dy)),
    },
    title="Convolution, stride 2, padding 1: by hand against differences",
    limit=1e-7,
)
assert worst < 1e-7

# %% [markdown]
# minitorch's `Convolution` is this code for any number of axes, in slices of the batch that fit the processor's cache. Its backward calls two other ops, `ConvolutionTranspose` for (07.10) and `ConvolutionWeight` for (07.9).


# %%
def library(function, *arrays, dy):
    """The library's result and its gradients."""
    tensors = [minitorch.tensor(a, requires_grad=True) for a in arrays]
    y = function(*tensors)
    y.backward(minitorch.tensor(dy))
    return y, [t.grad for t in tensors]


y, gradients = library(lambda x, W, b: F.conv2d(x, W, b, stride=2, padding=1), x, W, b, dy=dy)
lessons.same(y, conv2d(x, W, b, 2, 1), tol=1e-12, what="y")
for name, theirs, ours in zip(("dx", "dW", "db"), gradients, (dx, dW, db)):
    lessons.same(theirs, ours, tol=1e-12, what=name)
print("values and three gradients are equal")

conv, linear = nn.Conv2d(1, 16, 3, padding=1), nn.Linear(28 * 28, 16 * 28 * 28)
print(f"28 x 28 pixels to 16 channels of 28 x 28: {sum(p.numel() for p in conv.parameters()):,} weights;", end=" ")
print(f"as a linear layer {sum(p.numel() for p in linear.parameters()):,}")

# %% [markdown]
# ## Pooling
#
# Where exactly an edge lies matters less and less the further up you get. *Pooling* keeps one number from each window of $K \times K$, usually with stride $s = K$, so that windows do not overlap. The maximum says *whether* the pattern was there; the mean says how much of it.
#
# $$ y_{n c p q} = \max_{k, l}\; x_{n,\, c,\, ps+k,\, qs+l} \tag{07.14} $$
#
# Let $(k^*, l^*)$ be the place of the window's maximum; it depends on $n, c, p, q$. While no other element overtakes it, $y$ is just a copy of that one element, so its slope there is 1, and 0 for all others:
#
# $$ dx_{n c i j} = \sum_{p, q} dy_{n c p q}\; \delta_{i,\; ps+k^*}\; \delta_{j,\; qs+l^*} \tag{07.15} $$
#
# Each `dy` is sent to the winner, and to nobody else; where windows overlap one element may win several times, and adds up. With a tie there is no derivative, only slopes that depend on the direction. Then one winner must be chosen: minitorch and PyTorch take the first in reading order.
# (The library's `amax` shares among equals instead, (02.9). Both hand out $dy$ exactly once.)
#
# The mean is a convolution whose weights are all $1/K^2$, and so is its gradient:
#
# $$ y_{n c p q} = \frac{1}{K^2}\sum_{k, l} x_{n,\, c,\, ps+k,\, qs+l}, \qquad dx_{n c i j} = \frac{1}{K^2} \sum_{p, q:\; (i,j) \,\text{in window}\, (p,q)} dy_{n c p q} \tag{07.16} $$
#
# ### Exercise 4: the way back through a maximum
#
# The forward pass remembers the number of the winner in its window, $k^* K + l^*$. `np.argmax` returns the first of equals. Write the way back: for every window the place of its winner, and then (07.15).


# %% tags=["exercise"]
def max_pool_backward(dy, winner, shape, K, stride):
    """(07.15)      dy, winner: (B, C, M, M'), winner = k K + l   dx: shape = (B, C, H, W)"""
    dx = np.zeros(shape)
    for n, c, p, q in np.ndindex(dy.shape):
        # --- solution
        k, l = divmod(winner[n, c, p, q], K)
        dx[n, c, p * stride + k, q * stride + l] += dy[n, c, p, q]
        # --- stub
        # k, l = 0, 0  # from winner[n, c, p, q]
        # dx[n, c, p, q] += dy[n, c, p, q]  # at which place?
        # --- end
    return dx


# %% tags=["check"]
@lesson.check(
    "max_pool_backward",
    hint="divmod(winner, K) gives k and l; the window of (p, q) begins at (p * stride, q * stride).",
)
def _(max_pool_backward):
    dx = max_pool_backward(np.array([[[[5.0]]]]), np.array([[[[2]]]]), (1, 1, 2, 2), 2, 2)
    lessons.same(dx[0, 0], [[0.0, 0.0], [5.0, 0.0]], what="one window of 2 x 2, winner 2")
    dx = max_pool_backward(np.array([[[[5.0, 7.0]]]]), np.array([[[[1, 0]]]]), (1, 1, 2, 3), 2, 1)
    lessons.same(dx[0, 0], [[0.0, 12.0, 0.0], [0.0, 0.0, 0.0]], what="two windows that overlap and share a winner")
    rng = np.random.default_rng(0)

    def test(shape, K, stride):
        sizes = [output_size(size, K, stride, 0) for size in shape[2:]]
        x = rng.permutation(np.prod(shape)).reshape(shape) * 0.1  # all different
        window = lambda x, n, c, p, q: x[n, c, p * stride : p * stride + K, q * stride : q * stride + K]  # noqa: E731
        winner, dy = np.zeros((*shape[:2], *sizes), int), rng.normal(size=(*shape[:2], *sizes))
        for at in np.ndindex(dy.shape):
            winner[at] = window(x, *at).argmax()
        forward = lambda x: np.reshape([window(x, *at).max() for at in np.ndindex(dy.shape)], dy.shape)  # noqa: E731
        what = f"dx of shape {shape}, K = {K}, stride {stride}"
        found = max_pool_backward(dy, winner, shape, K, stride)
        lessons.same(found, lessons.numeric_gradient(forward, x, dy), what=what)  # (07.15)

    for sizes in [((2, 3, 6, 4), 2, 2), ((1, 2, 7, 5), 3, 2)]:
        test(*sizes)


# %%
def max_pool(x, K, stride):
    """(07.14)      x: (B, C, H, W)   y, winner: (B, C, M, M')"""
    B, C, H, W = x.shape
    M, N = output_size(H, K, stride, 0), output_size(W, K, stride, 0)
    windows = im2col(x, K, stride, 0).reshape(C, K * K, B, M, N)
    winner = windows.argmax(1)  # (C, B, M, M')
    y = np.take_along_axis(windows, winner[:, None], 1)[:, 0]
    return y.swapaxes(0, 1), winner.swapaxes(0, 1)


def mean_pool(x, K, stride):
    return sum_windows(x, K, stride) / K**2  # (07.16)


def sum_windows(x, K, stride):
    B, C, H, W = x.shape
    M, N = output_size(H, K, stride, 0), output_size(W, K, stride, 0)
    return im2col(x, K, stride, 0).reshape(C, K * K, B, M, N).sum(1).swapaxes(0, 1)


def mean_pool_backward(dy, shape, K, stride):
    B, C, M, N = dy.shape
    spread = np.broadcast_to(dy.swapaxes(0, 1)[:, None] / K**2, (C, K * K, B, M, N))
    return col2im(spread.reshape(C * K * K, B * M * N), shape, K, stride, 0)


x = rng.permutation(2 * 2 * 7 * 7).reshape(2, 2, 7, 7) * 0.1  # all different: no ties, and none within a step of 1e-5
dy = rng.normal(size=(2, 2, 3, 3))
by_hand, ours, checked = {}, {}, {}
for name, forward in {"max": lambda x: max_pool(x, 3, 2)[0], "mean": lambda x: mean_pool(x, 3, 2)}.items():
    ours[name] = forward(x)
    dx = max_pool_backward(dy, max_pool(x, 3, 2)[1], x.shape, 3, 2) if name == "max" else None
    by_hand[name] = mean_pool_backward(dy, x.shape, 3, 2) if dx is None else dx
    checked[f"dx of the {name}"] = (by_hand[name], lessons.numeric_gradient(forward, x, dy))  # (07.15), (07.16)
worst = lessons.show_errors(checked, title="Pooling, overlapping windows: by hand against differences", limit=1e-7)
assert worst < 1e-7

for name, function in {"max": F.max_pool2d, "mean": F.avg_pool2d}.items():  # (07.14), (07.15), (07.16)
    y, (dx,) = library(lambda x, function=function: function(x, 3, 2), x, dy=dy)
    lessons.same(y, ours[name], tol=1e-12, what=f"{name}, y")
    lessons.same(dx, by_hand[name], tol=1e-12, what=f"{name}, dx")
flat = np.zeros((1, 1, 2, 2))
_, (dx,) = library(lambda x: F.max_pool2d(x, 2), flat, dy=np.ones((1, 1, 1, 1)))
lessons.same(dx[0, 0], [[1.0, 0.0], [0.0, 0.0]], what="a window of equals")  # the first one takes it all
print("values and gradients are equal")

# %% [markdown]
# ## Batch normalization
#
# Lesson 06 chose the first weights so that values keep their size from layer to layer. After a few steps of training they may not. *Batch normalization* takes no chances: it measures each channel's mean and variance in the batch at hand, and divides them out.
#
# For one channel let $x_1, \dots, x_n$ be all its numbers in the batch, $n = B H W$ of them, and $\varepsilon$ a small constant against division by 0:
#
# $$ \mu = \frac{1}{n}\sum_i x_i, \qquad v = \frac{1}{n}\sum_i (x_i - \mu)^2, \qquad r = (v + \varepsilon)^{-1/2} \tag{07.17} $$
#
# $$ z_i = (x_i - \mu)\, r, \qquad y_i = w z_i + b \tag{07.18} $$
#
# $w$ and $b$, one number for each channel, are learned: the network can have any mean and spread that it wants, but has to say so in two numbers. Going back, they are easy, and so is $z$:
#
# $$ dw = \sum_i dy_i\, z_i, \qquad db = \sum_i dy_i, \qquad dz_i = w\; dy_i \tag{07.19} $$
#
# The interesting part is $x$: one $x_j$ moves *every* $z_i$ of its channel, because it moves $\mu$ and $v$. Step by step. The mean and the variance (the sum in the middle is 0, because deviations from the mean add up to 0):
#
# $$ \frac{\partial \mu}{\partial x_j} = \frac{1}{n}, \qquad \frac{\partial v}{\partial x_j} = \frac{2}{n}(x_j - \mu) - \frac{2}{n}\,\frac{\partial\mu}{\partial x_j}\sum_i (x_i - \mu) = \frac{2}{n}(x_j - \mu) \tag{07.20} $$
#
# $$ \frac{\partial r}{\partial x_j} = -\frac{1}{2}\,(v+\varepsilon)^{-3/2}\;\frac{\partial v}{\partial x_j} = -\frac{r^3}{n}(x_j - \mu) = -\frac{r^2 z_j}{n} \tag{07.21} $$
#
# Then by the product rule
#
# $$ \frac{\partial z_i}{\partial x_j} = \Big(\delta_{ij} - \frac{1}{n}\Big) r + (x_i - \mu)\,\frac{\partial r}{\partial x_j} = r\,\Big(\delta_{ij} - \frac{1}{n} - \frac{z_i z_j}{n}\Big) \tag{07.22} $$
#
# and $dx_j = \sum_i dz_i\, \partial z_i/\partial x_j$ is, with bars for means over the $n$ numbers of the channel,
#
# $$ dx_j = r\,\Big(dz_j - \overline{dz} - z_j\, \overline{dz\, z}\Big) \tag{07.23} $$
#
# Read it: the direct gradient, minus what it does through the mean, minus what it does through the variance. A test that needs no differences: adding a constant to all $x_i$ changes nothing, nor (but for $\varepsilon$) does stretching them, so the gradient must have no part in these two directions:
#
# $$ \sum_j dx_j = 0, \qquad \sum_j dx_j\, z_j = \varepsilon\, r^3 \sum_j dz_j z_j \approx 0 \tag{07.24} $$
#
# (The first: $\sum_j (dz_j - \overline{dz}) = 0$ and $\sum_j z_j = 0$. The second: $\frac{1}{n}\sum_j z_j^2 = v r^2 = 1 - \varepsilon r^2$.)
#
# ### Exercise 5: BatchNorm's gradient


# %%
def batch_norm(x, w, b, eps=1e-5):
    """(07.17), (07.18)      x: (B, C, H, W)   w, b: (C,)   also returns z: (B, C, H, W) and r: (C, 1, 1)"""
    mean = x.mean((0, 2, 3), keepdims=True)  # (1, C, 1, 1)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdims=True)
    r = 1 / np.sqrt(variance + eps)
    z = (x - mean) * r
    return w[:, None, None] * z + b[:, None, None], z, r[0]


# %% tags=["exercise"]
def batch_norm_backward(dy, z, r, w):
    """dx, dw, db      dy, z, dx: (B, C, H, W)   r: (C, 1, 1)   w, dw, db: (C,)"""
    axes = (0, 2, 3)
    dz = dy * w[:, None, None]
    # --- solution
    dw, db = (dy * z).sum(axes), dy.sum(axes)  # (07.19)
    dx = r * (dz - dz.mean(axes, keepdims=True) - z * (dz * z).mean(axes, keepdims=True))  # (07.23)
    return dx, dw, db
    # --- stub
    # dw, db = dy.sum(axes), dy.sum(axes)  # (07.19)
    # dx = r * dz  # (07.23): this treats the mean and the variance as constants
    # return dx, dw, db
    # --- end


# %% tags=["check"]
@lesson.check(
    "batch_norm_backward",
    hint="Each bar is a mean over the axes (0, 2, 3) with keepdims=True; db sums dy, dw sums dy * z.",
)
def _(batch_norm_backward):
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(2, 3, size=(3, 2, 2, 2)), rng.normal(size=2), rng.normal(size=2)
    dy = rng.normal(size=x.shape)
    _, z, r = batch_norm(x, w, b)
    dx, dw, db = batch_norm_backward(dy, z, r, w)
    lessons.same(dw, lessons.numeric_gradient(lambda w: batch_norm(x, w, b)[0], w, dy), what="dw")  # (07.19)
    lessons.same(db, lessons.numeric_gradient(lambda b: batch_norm(x, w, b)[0], b, dy), what="db")
    lessons.same(dx, lessons.numeric_gradient(lambda x: batch_norm(x, w, b)[0], x, dy), what="dx")  # (07.23)


# %%
x, w, b = rng.normal(2, 3, size=(4, 3, 3, 3)), rng.normal(size=3), rng.normal(size=3)
dy, eps = rng.normal(size=x.shape), 1e-5
y, z, r = batch_norm(x, w, b)
dx, dw, db = batch_norm_backward(dy, z, r, w)
worst = lessons.show_errors(
    {
        "dx": (dx, lessons.numeric_gradient(lambda x: batch_norm(x, w, b)[0], x, dy)),
        "dx, constants": (r * dy * w[:, None, None], lessons.numeric_gradient(lambda x: batch_norm(x, w, b)[0], x, dy)),
        "dw": (dw, lessons.numeric_gradient(lambda w: batch_norm(x, w, b)[0], w, dy)),
        "db": (db, lessons.numeric_gradient(lambda b: batch_norm(x, w, b)[0], b, dy)),
    },
    title="BatchNorm; 'constants' forgets that x moves mean and variance",
    limit=1e-7,
)
assert worst > 1e-3  # the one with constants

axes = (0, 2, 3)
lessons.same(dx.sum(axes), np.zeros(3), tol=1e-10, what="sum of dx")  # (07.24)
dz = dy * w[:, None, None]
lessons.same((dx * z).sum(axes), eps * r[:, 0, 0] ** 3 * (dz * z).sum(axes), tol=1e-12, what="sum of dx z")  # (07.24)

one = rng.normal(size=(5, 1, 1, 1))  # five numbers, one channel: the slopes of mean, variance, r and z, one by one
J = np.zeros((5, 5))  # J[i, j] = slope of z_i along x_j: a row at a time, with a dy that selects z_i
for i, row in enumerate(np.eye(5)):
    J[i] = lessons.numeric_gradient(lambda x: batch_norm(x, np.ones(1), np.zeros(1))[1].ravel(), one, row).ravel()
_, z1, r1 = batch_norm(one, np.ones(1), np.zeros(1))
z1, r1, deviation = z1.ravel(), r1.item(), one.ravel() - one.mean()
lessons.same(lessons.numeric_gradient(np.var, one).ravel(), 2 / 5 * deviation, what="slope of the variance")  # (07.20)
slope = lessons.numeric_gradient(lambda x: (x.var() + eps) ** -0.5, one).ravel()
lessons.same(slope, -(r1**2) * z1 / 5, what="slope of r")  # (07.21)
lessons.same(J, r1 * (np.eye(5) - 1 / 5 - np.outer(z1, z1) / 5), what="Jacobian of z")  # (07.22)

theirs, gradients = library(lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), x, w, b, dy=dy)
for name, g, ours in zip(("y", "dx", "dw", "db"), (theirs, *gradients), (y, dx, dw, db)):  # (07.17), (07.18)
    lessons.same(g, ours, tol=1e-10, what=name)
print("values and gradients equal minitorch's")

# %% [markdown]
# ### Training and evaluation
#
# In use there may be no batch: one picture comes alone, and its answer must not depend on its neighbours. So during training the layer also keeps *running statistics*, averages that forget (lesson 05), with a *momentum* $\alpha = 0.1$ (the weight of the *new* value here; in lesson 05 the word stood for the weight of the old ones). They begin at $\hat\mu = 0$ and $\hat v = 1$:
#
# $$ \hat\mu \leftarrow (1-\alpha)\,\hat\mu + \alpha\,\mu, \qquad \hat v \leftarrow (1-\alpha)\,\hat v + \alpha\,\frac{n}{n-1}\,v \tag{07.25} $$
#
# The factor $n/(n-1)$: deviations are measured from the batch's own mean, which lies in the middle of the batch, so $v$ is on average smaller than the true variance, by just this factor. In evaluation the statistics are constants, and the layer is a scale and a shift, with the simple gradient that was wrong in training:
#
# $$ y_i = w\,\frac{x_i - \hat\mu}{\sqrt{\hat v + \varepsilon}} + b, \qquad dx_i = \frac{w}{\sqrt{\hat v + \varepsilon}}\; dy_i \tag{07.26} $$
#
# That makes two layers in one, and `model.train()` and `model.eval()` switch between them. Forgetting the switch is one of the most common mistakes of all: the bug zoo has it.

# %%
layer = nn.BatchNorm2d(3).double()
mean, variance, means = np.zeros(3), np.ones(3), []
for _step in range(60):
    x = rng.normal([[[5.0]], [[0.0]], [[-3.0]]], [[[2.0]], [[1.0]], [[0.5]]], size=(4, 3, 2, 2))
    layer(minitorch.tensor(x))
    n = x.size / 3
    mean = 0.9 * mean + 0.1 * x.mean((0, 2, 3))  # (07.25)
    variance = 0.9 * variance + 0.1 * n / (n - 1) * x.var((0, 2, 3))
    means.append(mean)
lessons.same(layer.running_mean, mean, tol=1e-12, what="running mean")
lessons.same(layer.running_var, variance, tol=1e-12, what="running variance")

samples = rng.normal(0, 2, size=(20000, 4))  # variance 4, batches of n = 4
print(
    f"mean of v over 20,000 batches of 4: {samples.var(1).mean():.2f}; times n/(n-1): {samples.var(1).mean() * 4 / 3:.2f}"
)
assert abs(samples.var(1).mean() * 4 / 3 - 4) < 0.15

layer.eval()
one = minitorch.tensor(x[:1], requires_grad=True)
dy = rng.normal(size=(1, 3, 2, 2))
layer(one).backward(minitorch.tensor(dy))
scale = 1 / np.sqrt(variance + 1e-5)
lessons.same(layer(one), (x[:1] - mean[:, None, None]) * scale[:, None, None], tol=1e-10, what="y in evaluation")
lessons.same(one.grad, dy * scale[:, None, None], tol=1e-10, what="dx in evaluation")  # (07.26)

plt.plot(means)
for true in (5.0, 0.0, -3.0):
    plt.axhline(true, color="black", linestyle=":", linewidth=1)
plt.xlabel("batch")
plt.ylabel("running mean")
plt.title("Three channels: running means reach the true ones (dotted)")
plt.show()

# %% [markdown]
# ## Depth, and the residual connection
#
# Stack $D$ layers, $h_{l+1} = f_l(h_l)$ with Jacobians $J_l = \partial h_{l+1}/\partial h_l$. The gradient that reaches the bottom is a product of all of them, and if each shortens a gradient to at most a fraction $\rho$,
#
# $$ dh_0 = J_0^{\top} J_1^{\top} \cdots J_{D-1}^{\top}\, dh_D, \qquad \vert dh_0\vert \le \rho^D\, \vert dh_D\vert \tag{07.27} $$
#
# With $\rho = 1/2$ and 20 layers that is one millionth. A *residual* layer computes only what should be *added* to its input:
#
# $$ h_{l+1} = h_l + f_l(h_l), \qquad dh_l = dh_{l+1} + J_l^{\top} dh_{l+1} \tag{07.28} $$
#
# $h_l$ has two successors, the sum itself and $f_l$, and (01.4) adds what they send; the first one's slope is 1. Multiply out all layers:
#
# $$ dh_0 = \prod_{l=0}^{D-1} (I + J_l^{\top})\, dh_D = dh_D + \sum_l J_l^{\top} dh_D + \sum_{l < m} J_l^{\top} J_m^{\top} dh_D + \dots \tag{07.29} $$
#
# The first term is the gradient at the top, untouched, however deep the network is. Small Jacobians, which ruin a plain stack, make these layers *easier* to get through. First (07.29) with three small random matrices; then the size of the gradient at every layer of a real network:
# 30 layers $f(h) = \mathrm{convolution}(\mathrm{relu}(h))$ with the library's initial weights, on a batch of digits; with $f$ and with $h + f$, each also with a BatchNorm before the ReLU.

# %%
J = rng.normal(size=(3, 5, 5)) * 0.3
top = rng.normal(size=5)
I = np.eye(5)
product = (I + J[0].T) @ (I + J[1].T) @ (I + J[2].T) @ top
terms = (
    top + sum(J[l].T @ top for l in range(3)) + sum(J[l].T @ J[m].T @ top for l in range(3) for m in range(l + 1, 3))
)
lessons.same(product, terms + J[0].T @ J[1].T @ J[2].T @ top, tol=1e-12, what="2^3 paths")  # (07.28), (07.29)
rho = max(np.linalg.norm(j, 2) for j in J)  # the most that one of the three can lengthen a vector
assert np.linalg.norm(J[0].T @ J[1].T @ J[2].T @ top) <= rho**3 * np.linalg.norm(top)  # (07.27)

D, channels = 30, 8
images = minitorch.tensor(pictures[:64, None], dtype=minitorch.float32)
labels = minitorch.tensor(digits.target[:64])


def deep_network(kind, D):
    """A first convolution, D layers f(h) = convolution(relu(h)), and a last linear one. Returns a function, and weights."""
    minitorch.manual_seed(0)
    first, last = nn.Conv2d(1, channels, 3, padding=1), nn.Linear(channels, 10)
    layers = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(D)]
    norms = [nn.BatchNorm2d(channels) if "BatchNorm" in kind else nn.Identity() for _ in range(D)]

    def run(x):
        states = [first(x)]
        for layer, norm in zip(layers, norms):
            f = layer(F.relu(norm(states[-1])))
            states.append(states[-1] + f if "residual" in kind else f)  # (07.28)
        return last(states[-1].mean((2, 3))), states

    return run, [p for module in (first, last, *layers, *norms) for p in module.parameters()]


kinds = {"plain": "C3o-", "plain, BatchNorm": "C1^-", "residual": "C2v-", "residual, BatchNorm": "C0s-"}
sizes = {}
for kind, style in kinds.items():
    run, _ = deep_network(kind, D)
    logits, states = run(images)
    gradients = minitorch.autograd.grad(F.cross_entropy(logits, labels), states)
    sizes[kind] = np.array([float(g.norm()) for g in gradients])
    sizes[kind] /= sizes[kind][-1]
    plt.semilogy(sizes[kind], style, markersize=4, label=kind)
    print(f"{kind:20} the gradient at the bottom is {sizes[kind][0]:.1e} times the one at the top")
plt.xlabel("layer")
plt.ylabel("length of the gradient, top layer = 1")
plt.title("30 layers: a plain stack loses the gradient on its way down")
plt.legend()
plt.show()
assert sizes["plain"][0] < 1e-8  # (07.27)
assert 1 < sizes["residual"][0] < 100 and 1 < sizes["residual, BatchNorm"][0] < 100  # (07.28)

# %% [markdown]
# The plain stack loses a factor of about 2.5 in every layer. BatchNorm undoes that loss, but the gradient then *grows* from layer to layer. With the sum it changes by little more than one order of magnitude through all 30. Is that what decides whether a network learns? Train all four on 32 digits, 20 layers deep, with the same Adam.

# %%
final, spread = {}, {}
for kind, style in kinds.items():
    run, parameters = deep_network(kind, 20)
    with minitorch.no_grad():
        top = run(images[:32])[1][-1].mean((2, 3))  # (32, channels), before any training
    spread[kind] = float((top - top.mean(0)).norm() / top.norm())
    optimizer, curve = minitorch.optim.Adam(parameters, lr=3e-3), []
    for _step in range(40):
        loss = F.cross_entropy(run(images[:32])[0], labels[:32])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    final[kind] = curve[-1]
    print(f"{kind:20} at the top, before training, the digits differ by {spread[kind]:.0e} of their size")
    plt.plot(curve, style[:2], label=f"{kind}: {curve[-1]:.2f}")
plt.axhline(np.log(10), color="black", linestyle=":", linewidth=1)
plt.xlabel("step")
plt.ylabel("cross-entropy of 32 digits")
plt.ylim(0, 2.7)
plt.title("20 layers: the plain stack never leaves the guess, log 10 (dotted)")
plt.legend(loc="lower left")
plt.show()
assert final["plain"] > 2.2 and final["residual, BatchNorm"] < 0.5 * final["plain, BatchNorm"]
assert max(final["residual"], final["plain, BatchNorm"]) < 2.2
assert spread["plain"] < 1e-5 and min(spread["residual"], spread["residual, BatchNorm"]) > 0.01

# %% [markdown]
# Adam divides every gradient by its own size, so small gradients alone need not stop it, until they fall below its $\varepsilon$. But what multiplies the gradients on the way down multiplies the *differences between the digits* on the way up: at the top of the plain stack all 32 look the same, to six digits. The sum keeps both. So does BatchNorm, which stretches the differences at every layer: either of the two gets the network away from the guess within these 40 steps, slowly, and the two together are much faster.
#
# ## A small network, and augmentation
#
# A convolution follows a digit that moves; but the last linear layer does not: it has a weight for every place of every channel. What it does not know it can learn, if it sees digits in many places. *Augmentation* changes each training picture by a random transformation $t$ that keeps its label; here, moves by up to a pixel.
# The loss becomes an average over all that could have been drawn,
#
# $$ L = \frac{1}{N}\sum_{i=1}^{N} \mathrm{E}_t\; \ell\big(f(t(x_i)),\, y_i\big) \tag{07.30} $$
#
# and because the gradient of an average is the average of the gradients, one random $t$ for each picture and step gives a gradient that is right on average, as a random batch does (lesson 05). Nothing needs to be derived for it.
#
# The experiment: few training pictures, the rest for testing, as they are and moved by one pixel. With `MINITORCH_DATA` set it runs on clothes (Fashion-MNIST, reduced to 14 x 14) in place of digits.

# %%
if os.environ.get("MINITORCH_DATA"):
    from minitorch.vision.datasets import FashionMNIST

    parts = [FashionMNIST(os.environ["MINITORCH_DATA"], train=train) for train in (True, False)]
    x, y = (
        np.concatenate([np.asarray(a)[:1500] for a in arrays]) for arrays in zip(*((p.data, p.targets) for p in parts))
    )
    x, train, epochs = x.reshape(-1, 14, 2, 14, 2).mean((2, 4)) / 255.0, 1500, 12
else:
    order = np.random.default_rng(0).permutation(len(pictures))
    x, y, train, epochs = pictures[order], digits.target[order], 400, 40
x, size = x[:, None].astype(np.float32), x.shape[-1]  # (N, 1, size, size)


def shift(pictures, down, right):
    """Every picture moved by its own (down, right) of -1, 0 or 1; zeros come in.      pictures: (N, 1, S, S)"""
    wide = np.pad(pictures, ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows = np.arange(pictures.shape[2]) + 1 - np.asarray(down)[:, None]  # (N, S)
    columns = np.arange(pictures.shape[3]) + 1 - np.asarray(right)[:, None]
    return wide[np.arange(len(pictures))[:, None, None], 0, rows[:, :, None], columns[:, None, :]][:, None]


lessons.same(shift(three[None, None], [0], [1])[0, 0], moved, what="the digit of the first picture, moved")


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.f = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),  # BatchNorm has a shift of its own
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x):
        return F.relu(x + self.f(x))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),  # (B, 8, S, S)
        nn.MaxPool2d(2), Residual(8),  # (B, 8, S/2, S/2)
        nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * (size // 2) ** 2, 10),
    )  # fmt: skip


def perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(size * size, 96), nn.ReLU(), nn.Linear(96, 10))


def fit(make, augment):
    minitorch.manual_seed(0)
    model, rng = make(), np.random.default_rng(0)
    optimizer = minitorch.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    for _epoch in range(epochs):
        for batch in np.split(rng.permutation(train), range(50, train, 50)):
            seen = shift(x[batch], *rng.integers(-1, 2, (2, len(batch)))) if augment else x[batch]  # (07.30)
            loss = F.cross_entropy(model(minitorch.tensor(seen)), minitorch.tensor(y[batch]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def accuracy(model, pictures, labels):
    with minitorch.no_grad():
        return float((model(minitorch.tensor(pictures)).argmax(1).numpy() == labels).mean())


moves = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]
down, right = np.resize(moves, (len(x) - train, 2)).T
table, models = {}, {}
for name, make, augment in (
    ("perceptron", perceptron, False),
    ("convolution", convolutional, False),
    ("perceptron, augmented", perceptron, True),
    ("convolution, augmented", convolutional, True),
):
    models[name] = model = fit(make, augment)
    table[name] = [accuracy(model, p, y[train:]) for p in (x[train:], shift(x[train:], down, right))]
    weights = sum(p.numel() for p in model.parameters())
    print(f"{name:23} {weights:6,} weights   as they are {table[name][0]:.1%}   moved {table[name][1]:.1%}")

positions = np.arange(len(table))
for k, (label, color) in enumerate([("as they are", "C0"), ("moved by a pixel", "C1")]):
    plt.bar(positions + 0.4 * k, [row[k] for row in table.values()], 0.38, color=color, label=label)
plt.xticks(positions + 0.2, [name.replace(", ", ",\n") for name in table])
plt.ylabel("accuracy on pictures never seen")
plt.ylim(0, 1.15)
plt.title("Augmentation buys what the architecture does not give")
plt.legend(ncols=2, loc="upper center")
plt.show()
assert table["convolution, augmented"][1] > table["convolution"][1] + 0.05
assert (
    table["convolution, augmented"][1] > table["perceptron, augmented"][1] and table["convolution, augmented"][0] > 0.75
)

# %% [markdown]
# Moved pictures are hard for every network that has only seen them in place, convolution or not. Augmentation helps both, and the convolution gets further with it. What has the first layer learned to look for?

# %%
model = models["convolution, augmented"]
filters = model[0].weight.detach().numpy()[:, 0]  # (8, 3, 3)
with minitorch.no_grad():
    maps = model[:3](minitorch.tensor(x[train : train + 1])).numpy()[0]  # after convolution, BatchNorm, ReLU: (8, S, S)
figure, panels = plt.subplots(2, 9, figsize=(12, 3))
for axes in panels.ravel():
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
panels[0, 0].axis("off")
panels[0, 0].text(0.5, 0.5, "filters\n\n\nmaps", ha="center", va="center")
panels[1, 0].imshow(x[train, 0], cmap="gray_r")
panels[1, 0].set_xlabel("input")
for k in range(8):
    limit = np.abs(filters).max()
    panels[0, k + 1].imshow(filters[k], cmap="RdBu", vmin=-limit, vmax=limit)
    panels[1, k + 1].imshow(maps[k], cmap="viridis", vmin=0)
    panels[1, k + 1].set_xlabel(f"{maps[k].max():.1f}")
figure.suptitle("Eight learned filters (blue +, red -), and where each one responds (largest value below)")
plt.show()

# %% [markdown]
# Differences between neighbours: edges of several directions, and spots. Nobody told it to look for these.
#
# ## What goes wrong
#
# ### Exercise 6: the gradient that passes for a blur
#
# Somebody has read that a convolution's gradient is a convolution again, and needs no `col2im`: `dx` is `conv2d` of `dy`, with $W$'s two channel axes swapped (as (07.10) wants) and padding $K-1-P$. The test was a kernel that blurs. It passed.

# %%
blur = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0])[None, None] / 16
x1, dy1 = rng.normal(size=(1, 1, 6, 6)), rng.normal(size=(1, 1, 6, 6))
for name, K in [("blur", blur), ("random", rng.normal(size=(1, 1, 3, 3)))]:
    wrong = conv2d(dy1, K.swapaxes(0, 1), None, 1, 3 - 1 - 1)
    right = conv2d_backward(dy1, x1, K, 1, 1)[0]
    cosine = np.sum(wrong * right) / np.linalg.norm(wrong) / np.linalg.norm(right)
    print(
        f"{name:7} largest error {np.abs(wrong - right).max():.1e}, cosine of the angle to the true gradient {cosine:+.2f}"
    )

# %% [markdown]
# The shapes are right, the sizes are right, a symmetric kernel and a 1 x 1 kernel pass, and with any other it points somewhere else. Which step of (07.6) is missing?


# %% tags=["exercise"]
def conv2d_input_gradient(dy, W, padding):
    """dx of a convolution with stride 1, as a convolution.    dy: (B, O, M, M')   W: (O, C, K, K)   dx: (B, C, H, W)"""
    K = W.shape[-1]
    swapped = W.swapaxes(0, 1)  # (C, O, K, K)
    # --- solution
    return conv2d(dy, swapped[:, :, ::-1, ::-1], None, 1, K - 1 - padding)
    # --- stub
    # return conv2d(dy, swapped, None, 1, K - 1 - padding)
    # --- end


# %% tags=["check"]
@lesson.check(
    "conv2d_input_gradient", hint="In (07.6) the weights are counted from the end. Now there are two axes of them."
)
def _(conv2d_input_gradient):
    rng = np.random.default_rng(0)

    def test(padding):
        x, W = rng.normal(size=(2, 3, 5, 6)), rng.normal(size=(4, 3, 3, 3))
        dy = rng.normal(size=conv2d(x, W, None, 1, padding).shape)
        expected = lessons.numeric_gradient(lambda x: conv2d(x, W, None, 1, padding), x, dy)
        lessons.same(conv2d_input_gradient(dy, W, padding), expected, what=f"dx with padding {padding}")

    for padding in (0, 1, 2):  # (07.6), (07.10)
        test(padding)


# %% [markdown]
# A test with a symmetric, a square, or a constant input is a test of very little. Random numbers everywhere, no two sizes equal, and a random `dy`: then a wrong formula has nowhere to hide.
#
# The bug zoo continues this lesson: [the answer depends on the neighbours](zoo/09_the_answer_depends_on_the_neighbours.py), [the winner is paid twice](zoo/23_the_winner_is_paid_twice.py).
#
# ## Summary

# %% [markdown] tags=["summary"]
# | equation | what | op | test |
# |---|---|---|---|
# | (07.1), (07.2) | convolution in one dimension with stride and padding; its size | `Convolution` | here, cases:nn.functional.conv1d |
# | (07.3) | equivariance: what moves, moves | `Convolution` | here |
# | (07.4), (07.5) | its gradients: gather or scatter | `ConvolutionWeight`, `ConvolutionTranspose` | here, cases:nn.functional.conv1d |
# | (07.6), (07.7) | the input's gradient as a correlation with the flipped kernel; with a stride | `ConvolutionTranspose` | here, cases:nn.functional.conv_transpose1d |
# | (07.8) | convolution of pictures with channels | `Convolution` | here, cases:nn.functional.conv2d |
# | (07.9), (07.10) | gradients of its weights and bias, and of its input | `ConvolutionWeight`, `ConvolutionTranspose` | here, cases:nn.functional.conv2d |
# | (07.11) | im2col: every patch as a column | `Unfold` | here, cases:nn.functional.unfold |
# | (07.12) | convolution as a matrix product | `Convolution` | here, tests/test_nn_conv.py::test_a_convolution_is_a_product_with_the_unfolded_input |
# | (07.13) | col2im: columns added back | `Fold`, `Unfold` | here, cases:nn.functional.fold |
# | (07.14), (07.15) | max pooling, its gradient goes to the winner | `MaxPool` | here, cases:nn.functional.max_pool2d |
# | (07.16) | average pooling, its gradient | `WindowSum`, `WindowSpread` | here, cases:nn.functional.avg_pool2d |
# | (07.17), (07.18) | BatchNorm in training | `Standardize` | here, cases:batch_norm |
# | (07.19) | gradients of its weight and bias | `Standardize` | here, cases:batch_norm |
# | (07.20), (07.21), (07.22) | slopes of the variance, of 1/deviation, and of the normalised values | `Standardize` | here |
# | (07.23), (07.24) | BatchNorm's gradient, and the two directions that it does not have | `Standardize` | here, tests/test_nn_conv.py::test_batch_norm_removes_scale_and_shift |
# | (07.25), (07.26) | running statistics, and evaluation with them | `minitorch/ops/normalize.py::batch_norm` | here, tests/test_nn_conv.py::test_batch_norm_by_hand |
# | (07.27) | a plain stack multiplies Jacobians | - | here |
# | (07.28), (07.29) | the residual connection, and all its paths | `Add` | here |
# | (07.30) | the loss under augmentation | - | here |
#
# A kernel shares its weights over places. Next, 08 Recurrence: weights shared over *time*, and what a long chain of equal Jacobians does to a gradient.
