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
# # 08 Recurrence
#
# A word may have three letters or thirteen; a network's weights have fixed shapes. **How can one set of weights read a sequence of any length, how does a gradient find its way back through time, and why do simple networks forget what they read
# long ago?** You derive backpropagation through time, measure how gradients vanish and explode, build the two cells that were made against it, LSTM and GRU, gate by gate with every gradient, and let one invent names.
#
# You need picked rows and the matrix product from 02, the sigmoid from 03, cross-entropy and ignored labels from 04, Adam from 05, tanh and early stopping from 06. Time: 60 minutes.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

import minitorch
import minitorch.nn.functional as F
from minitorch import lessons, nn

lesson = lessons.start(8)

# %% [markdown]
# ## A state that walks
#
# Read one symbol after the other, and keep what matters of the past in an array $h$, the *state*. Each step makes a new state from the old one and the next symbol, always with the same weights. Drawn as a graph the loop is *unrolled*: a deep network, as deep as the sequence is long, whose
# layers all share their weights. In the picture $W_{ih}$ leads from the input to the state (*h* stands for *hidden state*, its usual name), $W_{hh}$ from one state to the next, and $W_o$ makes of each state the scores of what may come next.

# %%
figure, axes = plt.subplots(figsize=(10, 3.4))
word = "emma."
for t, (letter, following) in enumerate(zip("." + word, word), start=1):
    for height, text, color in [(0, letter, "#dceaf7"), (1.3, f"$h_{t}$", "#f7ecd9"), (2.6, following, "#e3f3e1")]:
        box = {"boxstyle": "round,pad=0.5", "fc": color, "ec": "0.4"}
        axes.text(2 * t, height, text, ha="center", va="center", fontsize=12, bbox=box, zorder=3)
    ways = [((2 * t, 0), (2 * t, 1.3), "$W_{ih}$", "C0"), ((2 * t, 1.3), (2 * t, 2.6), "$W_o$", "C0")]
    ways.append(((2 * t - 2, 1.3), (2 * t, 1.3), "$W_{hh}$", "C3"))
    for start, end, text, color in ways:
        style = {"arrowstyle": "-|>", "color": color, "shrinkA": 16, "shrinkB": 16, "linewidth": 1.5}
        axes.annotate("", end, start, arrowprops=style)
        shift = (0, 0.22) if color == "C3" else (0.33, 0)
        axes.text(*(np.add(start, end) / 2 + shift), text, ha="center", va="center", color=color)
axes.text(0, 1.3, "$h_0$", ha="center", va="center", fontsize=12)
axes.set(
    xlim=(-0.5, 11),
    ylim=(-0.5, 3.1),
    title="Reading '.emma', guessing what comes next: the same three matrices at every step",
)
axes.axis("off")
plt.show()

# %% [markdown]
# ## Symbols become rows: embedding
#
# A network needs numbers, and a letter's place in the alphabet is a bad one: *b* is not twice *a*. Give each of the $V$ symbols a row of $C$ numbers of its own, a table $W$ of shape $(V, C)$, to be learned. Let $k_t$ be the symbol at time $t$, and $o_{tv} = \delta_{v, k_t}$ its *one-hot* row: 1 in column $k_t$, 0 elsewhere. Looking up is a matrix product that nobody
# carries out:
#
# $$ y_t = \sum_{v} o_{tv}\, W_v = W_{k_t} \tag{08.1} $$
#
# So its gradient is that of a matrix product (02.13), $dW = o^{\top} dy$, and again nobody carries it out. Row $v$ collects the gradients of all the places where $v$ stood:
#
# $$ dW_v = \sum_t o_{tv}\, dy_t = \sum_{t:\; k_t = v} dy_t \tag{08.2} $$
#
# ### Exercise 1: the embedding's gradient
#
# This stub was called finished by its author. It is right for *brian* and wrong for *emma*.


# %% tags=["exercise"]
def embedding_backward(dy, k, V):
    """(08.2)      dy: (T, C)   k: (T,) whole numbers   dW: (V, C)"""
    dW = np.zeros((V, dy.shape[1]))
    # --- solution
    np.add.at(dW, k, dy)
    # --- stub
    # dW[k] += dy
    # --- end
    return dW


# %% tags=["check"]
@lesson.check(
    "embedding_backward",
    hint="With a repeated index `dW[k] += dy` keeps the last one only. Loop over t, or use np.add.at.",
)
def _(embedding_backward):
    rng = np.random.default_rng(0)
    k, dy, W = np.array([4, 12, 12, 0]), rng.normal(size=(4, 3)), rng.normal(size=(26, 3))
    lessons.same(embedding_backward(dy, k, 26), np.eye(26)[k].T @ dy, what="dW for emma")  # (08.2)
    lessons.same(np.eye(26)[k] @ W, W[k], what="look-up")  # (08.1)


# %%
rng = np.random.default_rng(0)
k, table, dy = rng.integers(0, 5, 9), rng.normal(size=(5, 3)), rng.normal(size=(9, 3))
W = minitorch.tensor(table, requires_grad=True)
y = F.embedding(minitorch.tensor(k), W)
y.backward(minitorch.tensor(dy))
lessons.same(y, table[k], tol=0, what="y")  # (08.1)
lessons.same(W.grad, embedding_backward(dy, k, 5), tol=1e-12, what="dW")  # (08.2)
worst = lessons.show_errors(
    {"dW": (embedding_backward(dy, k, 5), lessons.numeric_gradient(lambda W: W[k], table, dy))},
    title="Embedding, repeated symbols: by hand against differences",
    limit=1e-7,
)
assert worst < 1e-7

# %% [markdown]
# ## Backpropagation through time
#
# The simplest recurrent layer. $x_t$ of shape $(C,)$ is the input at time $t = 1, \dots, T$; the state $h_t$ has $H$ numbers; $W_{ih}$ is $(H, C)$, $W_{hh}$ is $(H, H)$, $b$ is $(H,)$:
#
# $$ z_t = W_{ih}\, x_t + W_{hh}\, h_{t-1} + b, \qquad h_t = \tanh z_t \tag{08.3} $$
#
# The outputs are the states themselves, $y_t = h_t$, and the loss sends a $dy_t$ to each. But $h_t$ is used twice: as the output of time $t$, and as the input of step $t+1$, through $z_{t+1}$. By (01.4) both contributions add:
#
# $$ dh_t = dy_t + W_{hh}^{\top}\, dz_{t+1}, \qquad dz_{T+1} = 0 \tag{08.4} $$
#
# $$ dz_t = dh_t \odot (1 - h_t^2) \tag{08.5} $$
#
# ($\odot$ multiplies element by element; $1 - h_t^2$ is the slope of tanh.) These two lines, from the last time to the first, are the whole of *backpropagation through time*. At the beginning $dh_0 = W_{hh}^{\top} dz_1$. The rest is read off (08.3):
#
# $$ dx_t = W_{ih}^{\top}\, dz_t \tag{08.6} $$
#
# And the weights? Pretend for a moment that each step has a matrix of its own, $W^{(t)}$. Its gradient is that of a matrix product, $dz_t\, h_{t-1}^{\top}$. All copies are one and the same matrix, a value with $T$ successors, and their gradients add:
#
# $$ dW_{hh} = \sum_t dz_t\, h_{t-1}^{\top}, \qquad dW_{ih} = \sum_t dz_t\, x_t^{\top}, \qquad db = \sum_t dz_t \tag{08.7} $$
#
# Shapes: $(H, 1)$ times $(1, H)$ is $(H, H)$. With a batch, every $x_t$, $h_t$, $z_t$ is an array with one row for each of $B$ sequences. Then $W x$ is written `x @ W.T`, $W^{\top} dz$ is `dz @ W`, and $\sum dz\, h^{\top}$ over the batch is `dz.T @ h`.
#
# ### Exercise 2: back through time


# %%
def rnn(x, h0, W_ih, W_hh, b):
    """(08.3)      x: (T, B, C)   h0: (B, H)   result: (T + 1, B, H), h[0] = h0 and h[t] is the state after x[t - 1]"""
    h = [h0]
    for x_t in x:
        h.append(np.tanh(x_t @ W_ih.T + h[-1] @ W_hh.T + b))
    return np.array(h)


# %% tags=["exercise"]
def rnn_backward(dy, x, h, W_ih, W_hh):
    """dx, dh0, dW_ih, dW_hh, db      dy: (T, B, H), of h[1:]   x: (T, B, C)   h: (T + 1, B, H)"""
    dx, dW_ih, dW_hh, db = np.zeros_like(x), np.zeros_like(W_ih), np.zeros_like(W_hh), np.zeros(len(W_hh))
    later = np.zeros_like(h[0])  # what the next step sends back, W_hh^T dz_{t+1}
    for t in reversed(range(1, len(h))):
        # --- solution
        dh = dy[t - 1] + later  # (08.4)
        dz = dh * (1 - h[t] ** 2)  # (08.5)
        dx[t - 1] = dz @ W_ih  # (08.6)
        dW_ih += dz.T @ x[t - 1]  # (08.7)
        dW_hh += dz.T @ h[t - 1]
        db += dz.sum(0)
        later = dz @ W_hh
        # --- stub
        # dh = dy[t - 1]  # (08.4)
        # dz = dh  # (08.5)
        # dx[t - 1] = dz @ W_ih  # (08.6)
        # # (08.7): three sums grow. And what does the step before get in `later`?
        # --- end
    return dx, later, dW_ih, dW_hh, db


# %% tags=["check"]
@lesson.check(
    "rnn_backward",
    hint="z_t was made from x[t - 1] and h[t - 1]; h[t] is its tanh. `later` is dz @ W_hh, and dh adds it.",
)
def _(rnn_backward):
    rng = np.random.default_rng(0)
    for T in (1, 4):
        x, h0, b = rng.normal(size=(T, 2, 3)), rng.normal(size=(2, 5)), rng.normal(size=5)
        W_ih, W_hh, dy = rng.normal(size=(5, 3)) / 2, rng.normal(size=(5, 5)) / 2, rng.normal(size=(T, 2, 5))
        inputs = [x, h0, W_ih, W_hh, b]
        found = rnn_backward(dy, x, rnn(*inputs), W_ih, W_hh)
        for k, name in enumerate(["dx", "dh0", "dW_ih", "dW_hh", "db"]):
            f = lambda a, k=k, inputs=inputs: rnn(*inputs[:k], a, *inputs[k + 1 :])[1:]  # noqa: E731
            numeric = lessons.numeric_gradient(f, inputs[k], dy)  # (08.4), (08.5), (08.6), (08.7)
            lessons.same(found[k], numeric, what=f"{name} of {T} steps")


# %% [markdown]
# And the library's layer. `nn.RNN` has two biases, one for each product; they do the same thing, so each gets the same gradient.


# %%
def numeric(forward, inputs, dy):
    """The numeric gradient with respect to each of the inputs."""
    return [
        lessons.numeric_gradient(lambda a, k=k: forward(*inputs[:k], a, *inputs[k + 1 :]), inputs[k], dy)
        for k in range(len(inputs))
    ]


def by_library(layer, x, states, weights, dy):
    """Puts the weights into the layer: its output and its gradients of x, the states, and the weights."""
    layer = layer.double()
    with minitorch.no_grad():
        for parameter, weight in zip(layer.parameters(), weights):
            parameter.copy_(minitorch.tensor(weight))
    x, *states = (minitorch.tensor(a, requires_grad=True) for a in (x, *(s[None] for s in states)))
    y = layer(x, tuple(states) if len(states) > 1 else states[0])[0]
    y.backward(minitorch.tensor(dy))
    return y, [x.grad, *(s.grad[0] for s in states), *(p.grad for p in layer.parameters())]


T, B, C, H = 6, 2, 3, 4
x, h0, b = rng.normal(size=(T, B, C)), rng.normal(size=(B, H)), rng.normal(size=H)
W_ih, W_hh, dy = rng.normal(size=(H, C)) / 2, rng.normal(size=(H, H)) / 2, rng.normal(size=(T, B, H))
names = ["dx", "dh0", "dW_ih", "dW_hh", "db"]
found = rnn_backward(dy, x, rnn(x, h0, W_ih, W_hh, b), W_ih, W_hh)
expected = numeric(lambda *inputs: rnn(*inputs)[1:], [x, h0, W_ih, W_hh, b], dy)
worst = lessons.show_errors(
    dict(zip(names, zip(found, expected))), title="Backpropagation through 6 steps, against differences", limit=1e-7
)
assert worst < 1e-7

y, gradients = by_library(nn.RNN(C, H), x, [h0], [W_ih, W_hh, b, np.zeros(H)], dy)
lessons.same(y, rnn(x, h0, W_ih, W_hh, b)[1:], tol=1e-12, what="y")  # (08.3)
for name, theirs, ours in zip([*names, "db of the second bias"], gradients, [*found, found[-1]]):
    lessons.same(theirs, ours, tol=1e-12, what=name)
print("values and gradients equal minitorch's")

# %% [markdown]
# ## How far does a gradient reach?
#
# How much does the last state depend on an early one? Follow (08.3) from $h_t$ to $h_T$: each step multiplies by $W_{hh}$ and by the slopes of tanh,
#
# $$ \frac{\partial h_T}{\partial h_t} = D_T W_{hh}\; D_{T-1} W_{hh} \cdots D_{t+1} W_{hh}, \qquad D_s = \mathrm{diag}(1 - h_s^2) \tag{08.8} $$
#
# The slopes are at most 1. With $\sigma$ the most that $W_{hh}$ can lengthen a vector, its largest singular value,
#
# $$ \Big\vert \Big(\frac{\partial h_T}{\partial h_t}\Big)^{\top} g \Big\vert \;\le\; \sigma^{T-t}\; \vert g \vert \tag{08.9} $$
#
# Lesson 07 had such a product of Jacobians through depth; but there every layer had a matrix of its own. Here it is *the same matrix again and again*, and then its eigenvalues decide. (An *eigenvector* of a matrix is a vector $v \neq 0$ that the matrix only stretches, $W v = \lambda v$; the factor $\lambda$, which may be complex, is its *eigenvalue*. Nearly every $n \times n$ matrix has $n$ eigenvectors that span the whole space; written as the columns of a matrix $V$, they give $W V = V \Lambda$.) Leave tanh aside ($D_s = I$), and let $W_{hh} = V \Lambda V^{-1}$ with the eigenvalues $\lambda_i$ on the diagonal of $\Lambda$:
#
# $$ (W_{hh}^{\top})^{k} = V^{-\top} \Lambda^{k} V^{\top}, \qquad \big\vert (W_{hh}^{\top})^{k} g \big\vert \approx \mathrm{const} \cdot \vert\lambda_1\vert^{k} \tag{08.10} $$
#
# where $\lambda_1$ is the largest in size: after a while its part is all that is left (or that of two, where the largest are a complex pair of equal size). Below 1 the gradient *vanishes*, above 1 it *explodes*, both exponentially in the distance $k$. To stay, it would have to be 1 exactly.

# %%
T, H = 5, 4
x, W_ih, W_hh = rng.normal(size=(T, 1, 2)), rng.normal(size=(H, 2)), rng.normal(size=(H, H)) / 2
h = rnn(x, np.zeros((1, H)), W_ih, W_hh, np.zeros(H))
J = np.eye(H)
for s in range(2, T + 1):  # from h_1 to h_T
    J = np.diag(1 - h[s, 0] ** 2) @ W_hh @ J
g = rng.normal(size=H)
from_first = lambda h1: rnn(x[1:], h1, W_ih, W_hh, np.zeros(H))[-1]  # noqa: E731
lessons.same(J.T @ g, lessons.numeric_gradient(from_first, h[1], g)[0], what="(08.8), transposed, times g")  # (08.8)
assert np.linalg.norm(J.T @ g) <= np.linalg.norm(W_hh, 2) ** (T - 1) * np.linalg.norm(g)  # (08.9)

W = rng.normal(size=(50, 50))
W /= np.abs(np.linalg.eigvals(W)).max()  # largest eigenvalue 1
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=[1, 1.4])
angles = np.linspace(0, 2 * np.pi, 100)
distance = np.arange(61)
for radius, color in [(0.8, "C0"), (1.0, "C2"), (1.2, "C3")]:
    values = np.linalg.eigvals(radius * W)
    left.plot(values.real, values.imag, ".", color=color, alpha=0.5, markersize=5)
    left.plot(radius * np.cos(angles), radius * np.sin(angles), color=color, linewidth=1)
    g, sizes = np.ones(50) / np.sqrt(50), []
    for _k in distance:
        sizes.append(np.linalg.norm(g))
        g = radius * W.T @ g
    right.semilogy(distance, sizes, color=color, label=f"largest eigenvalue {radius}")
    right.semilogy(distance, sizes[-1] * radius ** (distance - 60.0), "--", color=color, linewidth=1)
    rate = (sizes[60] / sizes[20]) ** (1 / 40)
    print(f"largest eigenvalue {radius}: measured, a factor of {rate:.3f} a step")
    assert abs(rate - radius) < 0.05  # (08.10)
left.set(aspect="equal", xlabel="real part", ylabel="imaginary part", title="Eigenvalues of three matrices")
right.set(
    xlabel="distance in steps", ylabel="length of the gradient", title="Their size decides (dashed: powers of it)"
)
right.legend()
plt.show()

# %% [markdown]
# ### Exploding: clip
#
# The loss of an exploding network has cliffs. The smallest example has one weight, $h_t = w\,h_{t-1}$, $h_0 = 1$, and 30 steps: $L(w) = \frac12 (w^{30} - 1)^2$, best at $w = 1$. At $w = 1.2$ the slope is over a million. A step of gradient descent, even with the small rate 0.001, lands far away, where nothing can be learned any more. The *direction* of the gradient is good; its length is not to be believed.
# So limit the length, and keep the direction. With all parameters' gradients taken as one long vector $g$, and a limit $c$:
#
# $$ g \leftarrow g \cdot \min\Big(1, \frac{c}{\vert g\vert}\Big), \qquad \vert g\vert^2 = \sum_{\text{all parameters } p} \vert dp\vert^2 \tag{08.11} $$
#
# ### Exercise 3: clip


# %% tags=["exercise"]
def clip(gradients, c):
    """(08.11)      gradients: a list of arrays, left as they are   result: a list of new arrays"""
    # --- solution
    size = np.sqrt(sum(np.sum(g**2) for g in gradients))
    factor = c / size if size > c else 1.0
    return [g * factor for g in gradients]
    # --- end


# %% tags=["check"]
@lesson.check(
    "clip", hint="One length for all arrays together: the root of the sum of all squares. The same factor for each."
)
def _(clip):
    a, b = np.array([[3.0, 0.0]]), np.array([4.0])  # length 5
    kept = a.copy()
    found = clip([a, b], 1.0)
    assert found is not None, "nothing is returned yet."
    lessons.same(found[0], [[0.6, 0.0]], what="the first array, (3, 0) and (4,) clipped to 1")
    lessons.same(found[1], [0.8], what="the second array")  # (08.11)
    lessons.same(a, kept, what="the array that was given")
    lessons.same(clip([a, b], 10.0)[0], a, what="short gradients stay as they are")


# %%
tensors = [minitorch.zeros(2, 3, dtype=minitorch.float64), minitorch.zeros(4, dtype=minitorch.float64)]
arrays = [rng.normal(size=(2, 3)), rng.normal(size=4)]
for tensor, array in zip(tensors, arrays):
    tensor.grad = minitorch.tensor(array)
size = nn.utils.clip_grad_norm_(tensors, 0.5)  # the library's, in place; it returns the length before
lessons.same(size, np.sqrt(sum(np.sum(a**2) for a in arrays)), what="length")
for tensor, ours in zip(tensors, clip(arrays, 0.5)):
    lessons.same(tensor.grad, ours, tol=1e-5, what="clipped")  # (08.11); the library divides by |g| + 1e-6

slope = lambda w: 30 * (w**30 - 1) * w**29  # noqa: E731
loss = lambda w: 0.5 * (w**30 - 1) ** 2  # noqa: E731
path = [1.2]
for _step in range(20):
    path.append(path[-1] - 0.001 * clip([np.array(slope(path[-1]))], 20.0)[0])
wild = 1.2 - 0.001 * slope(1.2)
w = np.linspace(0.85, 1.22, 200)
plt.semilogy(w, loss(w), color="black", linewidth=1)
plt.semilogy(
    path, [max(loss(p), 2e-5) for p in path], "o-", color="C0", markersize=4, linewidth=1, label="clipped to 20"
)
plt.text(1.09, 1e-3, f"without clipping the\nfirst step goes to\nw = {wild:,.0f}", color="C3")
plt.ylim(1e-5, 1e6)
plt.xlabel("w")
plt.ylabel("L(w)")
plt.title("A cliff: 30 steps of one weight")
plt.legend(loc="upper left")
plt.show()
assert abs(path[-1] - 1) < 1e-3 and abs(wild) > 1000

# %% [markdown]
# ## LSTM: a memory that is not multiplied
#
# Clipping cures explosions. A gradient that has vanished cannot be brought back; it must not be lost in the first place. What made it vanish was that each step *rewrites* the whole state, through a matrix. The *long short-term memory* has a second state, the *cell* $c_t$, which is only scaled and added to, element by element.
# Four small layers read $x_t$ and $h_{t-1}$, computed as one product with $W_{ih}: (4H, C)$ and $W_{hh}: (4H, H)$, and cut into four parts of length $H$. With $s$ the sigmoid:
#
# $$ z = W_{ih}\, x_t + W_{hh}\, h_{t-1} + b, \qquad i = s(z_i), \quad f = s(z_f), \quad g = \tanh(z_g), \quad o = s(z_o) \tag{08.12} $$
#
# $$ c_t = f \odot c_{t-1} + i \odot g \tag{08.13} $$
#
# $$ h_t = o \odot \tanh(c_t) \tag{08.14} $$
#
# The sigmoids are *gates*, numbers between 0 and 1 that multiply. $f$, the *forget gate*, says how much of the old memory stays; $i$, the *input gate*, how much of the new candidate $g$ comes in; $o$, the *output gate*, how much of it is shown.
#
# Backwards, each line in turn. $dh_t$ is everything that arrives at $h_t$, as in (08.4). From (08.14):
#
# $$ do = dh_t \odot \tanh(c_t), \qquad dc_t = dh_t \odot o \odot (1 - \tanh^2 c_t) + f_{t+1} \odot dc_{t+1} \tag{08.15} $$
#
# $c_t$ too is used twice, in (08.14), and in the next step's (08.13), where its slope is $f_{t+1}$. From (08.13) at this step:
#
# $$ di = dc_t \odot g, \qquad dg = dc_t \odot i, \qquad df = dc_t \odot c_{t-1} \tag{08.16} $$
#
# and through the four curves, $s' = s(1-s)$ and $\tanh' = 1 - \tanh^2$:
#
# $$ dz_i = di \odot i(1-i), \quad dz_f = df \odot f(1-f), \quad dz_g = dg \odot (1-g^2), \quad dz_o = do \odot o(1-o) \tag{08.17} $$
#
# Put together, $dz$ has $4H$ numbers, and from there on all is as in the simple layer, (08.4), (08.6), (08.7):
#
# $$ dh_{t-1} = dy_{t-1} + W_{hh}^{\top} dz, \qquad dx_t = W_{ih}^{\top} dz, \qquad dW_{hh} = \sum_t dz_t\, h_{t-1}^{\top} \tag{08.18} $$
#
# ### Exercise 4: one step of an LSTM, backwards


# %%
def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lstm_step(x, h, c, W_ih, W_hh, b):
    """(08.12) to (08.14)      x: (B, C)   h, c: (B, H)   W_ih: (4H, C)   W_hh: (4H, H)   h, c, (i, f, g, o): (B, H)"""
    z_i, z_f, z_g, z_o = np.split(x @ W_ih.T + h @ W_hh.T + b, 4, axis=1)
    i, f, g, o = sigmoid(z_i), sigmoid(z_f), np.tanh(z_g), sigmoid(z_o)
    c = f * c + i * g
    return o * np.tanh(c), c, (i, f, g, o)


# %% tags=["exercise"]
def lstm_step_backward(dh, later, gates, c_before, c):
    """dz: (B, 4H), and what goes to the cell before: (B, H)

    dh: all that arrives at h_t   later: what step t + 1 sends to c_t   gates: i, f, g, o   c_before, c: (B, H)
    """
    i, f, g, o = gates
    # --- solution
    tanh_c = np.tanh(c)
    do = dh * tanh_c  # (08.15)
    dc = dh * o * (1 - tanh_c**2) + later
    di, dg, df = dc * g, dc * i, dc * c_before  # (08.16)
    dz = np.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], axis=1)  # (08.17)
    return dz, dc * f
    # --- stub
    # do = dh * np.tanh(c)  # (08.15)
    # dc = later
    # di, dg, df = dc, dc, dc  # (08.16)
    # dz = np.concatenate([di, df, dg, do], axis=1)  # (08.17)
    # return dz, dc
    # --- end


# %% tags=["check"]
@lesson.check(
    "lstm_step_backward",
    hint="dc has two parts: through h = o tanh(c), and `later`. It goes to i, g, f, and times f to the cell before.",
)
def _(lstm_step_backward):
    rng = np.random.default_rng(0)
    B, H = 2, 3
    z, c_before, dh, later = rng.normal(size=(B, 4 * H)), *rng.normal(size=(3, B, H))

    def outputs(z, c_before):  # with W_ih = identity and no h, z is the input
        h, c, _ = lstm_step(z, np.zeros((B, 1)), c_before, np.eye(4 * H), np.zeros((4 * H, 1)), 0.0)
        return np.stack([h, c])

    _, c, gates = lstm_step(z, np.zeros((B, 1)), c_before, np.eye(4 * H), np.zeros((4 * H, 1)), 0.0)
    dz, dc_before = lstm_step_backward(dh, later, gates, c_before, c)
    both = np.stack([dh, later])
    numeric_c = lessons.numeric_gradient(lambda c: outputs(z, c), c_before, both)
    lessons.same(dc_before, numeric_c, what="what goes to the cell before")  # (08.15)
    numeric_z = lessons.numeric_gradient(lambda z: outputs(z, c_before), z, both)
    for k, name in enumerate(["dz_i", "dz_f", "dz_g", "dz_o"]):  # (08.16), (08.17)
        part = slice(k * H, k * H + H)
        lessons.same(dz[:, part], numeric_z[:, part], what=name)


# %% [markdown]
# The loop around it is the one that you know. Two gradients travel back now, one for $h$ and one for $c$.


# %%
def lstm(x, h0, c0, W_ih, W_hh, b):
    """h, c: (T + 1, B, H), and the gates of every step"""
    h, c, gates = [h0], [c0], []
    for x_t in x:
        h_t, c_t, gates_t = lstm_step(x_t, h[-1], c[-1], W_ih, W_hh, b)
        h.append(h_t)
        c.append(c_t)
        gates.append(gates_t)
    return np.array(h), np.array(c), gates


def lstm_backward(dy, x, h, c, gates, W_ih, W_hh):
    """dx, dh0, dc0, dW_ih, dW_hh, db      dy: (T, B, H), of h[1:]"""
    dx, dW_ih, dW_hh, db = np.zeros_like(x), np.zeros_like(W_ih), np.zeros_like(W_hh), np.zeros(len(W_hh))
    later_h, later_c = np.zeros_like(h[0]), np.zeros_like(c[0])
    for t in reversed(range(len(x))):  # this step made h[t + 1] from h[t]
        dz, later_c = lstm_step_backward(dy[t] + later_h, later_c, gates[t], c[t], c[t + 1])
        later_h = dz @ W_hh  # (08.18)
        dx[t] = dz @ W_ih
        dW_ih += dz.T @ x[t]
        dW_hh += dz.T @ h[t]
        db += dz.sum(0)
    return dx, later_h, later_c, dW_ih, dW_hh, db


T, B, C, H = 5, 2, 3, 2
x, h0, c0, b = rng.normal(size=(T, B, C)), rng.normal(size=(B, H)), rng.normal(size=(B, H)), rng.normal(size=4 * H)
W_ih, W_hh, dy = rng.normal(size=(4 * H, C)), rng.normal(size=(4 * H, H)), rng.normal(size=(T, B, H))
inputs = [x, h0, c0, W_ih, W_hh, b]
names = ["dx", "dh0", "dc0", "dW_ih", "dW_hh", "db"]
h, c, gates = lstm(*inputs)
found = lstm_backward(dy, x, h, c, gates, W_ih, W_hh)
expected = numeric(lambda *inputs: lstm(*inputs)[0][1:], inputs, dy)
worst = lessons.show_errors(
    dict(zip(names, zip(found, expected))), title="LSTM, 5 steps: by hand against differences", limit=1e-7
)
assert worst < 1e-7  # (08.15), (08.16), (08.17), (08.18)

y, gradients = by_library(nn.LSTM(C, H), x, [h0, c0], [W_ih, W_hh, b, np.zeros(4 * H)], dy)
lessons.same(y, h[1:], tol=1e-12, what="y")  # (08.12), (08.13), (08.14)
for name, theirs, ours in zip(names, gradients, found):
    lessons.same(theirs, ours, tol=1e-10, what=name)
print("values and gradients equal minitorch's")

# %% [markdown]
# Why does this help? Follow the cell alone, with the gates as they are:
#
# $$ \frac{\partial c_T}{\partial c_t}\bigg\vert_{\text{along the cell}} = \prod_{j=t+1}^{T} f_j \tag{08.19} $$
#
# element by element. No matrix, no tanh; and the factors are *learned, and depend on the input*. While $f = 1$ the gradient arrives whole, from any distance, and when the network wants to forget, $f$ goes to 0. But it has to be open in the first place: weights near 0 make $f = s(0) = \frac12$, and $\frac12^{30}$ is a billionth. So the bias of the forget gate is often started at a positive value $\beta$:
#
# $$ f = s(\beta): \qquad \beta = 0 \Rightarrow f^{30} \approx 10^{-9}, \qquad \beta = 3 \Rightarrow f^{30} \approx 0.23 \tag{08.20} $$
#
# Measure it: library layers with their initial weights, random inputs, a random gradient at the last output only, and how much of it arrives at the inputs before.

# %%
c_before = rng.normal(size=(1, H))  # (08.19) on one long chain with constant gates (all weights 0, so b alone decides)
beta = rng.uniform(1, 3, size=H)
b = np.concatenate([np.zeros(H), beta, np.zeros(2 * H)])
zeros = np.zeros((4 * H, H))
last = lambda c0: lstm(np.zeros((30, 1, H)), np.zeros((1, H)), c0, zeros, zeros, b)[1][-1]  # noqa: E731
along = lessons.numeric_gradient(last, c_before, np.ones((1, H)), h=0.1)
lessons.same(along[0] / sigmoid(beta) ** 30, np.ones(H), tol=1e-5, what="slope over f^30")  # (08.19)
assert abs(sigmoid(0.0) ** 30 - 1e-9) < 1e-10 and abs(sigmoid(3.0) ** 30 - 0.23) < 0.01  # (08.20)


def open_gate(layer, beta):
    """Starts the forget gate's bias at beta."""
    H = layer.hidden_size
    with minitorch.no_grad():
        layer.bias_ih_l0[H : 2 * H] = beta
    return layer


def recurrent_layers(inputs, H):
    layers = {}
    for name, kind in {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM, "LSTM, forget bias 3": nn.LSTM}.items():
        minitorch.manual_seed(0)
        layers[name] = kind(inputs, H) if "bias" not in name else open_gate(kind(inputs, H), 3.0)
    return layers


reach, colors = {}, {"RNN": "C3", "GRU": "C1", "LSTM": "C0", "LSTM, forget bias 3": "C2"}
long = minitorch.tensor(rng.normal(size=(60, 16, 8)).astype(np.float32), requires_grad=True)
last_gradient = minitorch.tensor(rng.normal(size=(16, 64)).astype(np.float32))
for name, layer in recurrent_layers(8, 64).items():
    y = layer(long)[0]
    (dx,) = minitorch.autograd.grad(y[-1], long, last_gradient)
    sizes = np.sqrt((dx.numpy() ** 2).sum((1, 2)))[::-1]  # from the last input backwards
    reach[name] = sizes / sizes[0]
    plt.semilogy(reach[name], color=colors[name], label=f"{name}: {reach[name][30]:.0e} after 30")
plt.ylim(1e-16, 10)
plt.xlabel("distance in steps")
plt.ylabel("gradient, at distance 0 = 1")
plt.title("Before training: only an open forget gate lets the gradient through")
plt.legend(fontsize=9)
plt.show()
assert reach["LSTM, forget bias 3"][30] > 0.01 and max(reach["RNN"][30], reach["LSTM"][30], reach["GRU"][30]) < 1e-4

# %% [markdown]
# ## GRU: one state, two gates
#
# The *gated recurrent unit* does without a cell. Its state is a blend of the old state and a candidate $n$, so that $z$ close to 1 keeps it. $x_t$ and $h_{t-1}$ have their own products and biases, three parts each ($z$ is now the name of a gate; the sums before the curves are $a$ and $u$):
#
# $$ a = W_{ih}\, x_t + b_{ih}, \qquad u = W_{hh}\, h_{t-1} + b_{hh}, \qquad r = s(a_r + u_r), \quad z = s(a_z + u_z) \tag{08.21} $$
#
# $$ n = \tanh(a_n + r \odot u_n), \qquad h_t = (1 - z) \odot n + z \odot h_{t-1} \tag{08.22} $$
#
# The *update gate* $z$ says how much of the old state stays, the *reset gate* $r$ how much of it the candidate may see. Backwards, $h_t$ first, with $dh_t$ all that arrives there:
#
# $$ dn = dh_t \odot (1 - z), \qquad dz = dh_t \odot (h_{t-1} - n) \tag{08.23} $$
#
# $$ da_n = dn \odot (1 - n^2), \qquad du_n = da_n \odot r, \qquad dr = da_n \odot u_n \tag{08.24} $$
#
# $$ da_r = du_r = dr \odot r(1-r), \qquad da_z = du_z = dz \odot z(1-z) \tag{08.25} $$
#
# $h_{t-1}$ is used in the blend and in $u$; and at time $t-1$ it was an output:
#
# $$ dh_{t-1} = dy_{t-1} + z \odot dh_t + W_{hh}^{\top} du, \qquad dx_t = W_{ih}^{\top} da, \qquad dW_{hh} = \sum_t du_t\, h_{t-1}^{\top}, \qquad dW_{ih} = \sum_t da_t\, x_t^{\top} \tag{08.26} $$
#
# ### Exercise 5: one step of a GRU, backwards


# %%
def gru_step(x, h, W_ih, W_hh, b_ih, b_hh):
    """(08.21), (08.22)      x: (B, C)   h: (B, H)   W_ih: (3H, C)   W_hh: (3H, H)   also returns (r, z, n, u_n)"""
    a_r, a_z, a_n = np.split(x @ W_ih.T + b_ih, 3, axis=1)
    u_r, u_z, u_n = np.split(h @ W_hh.T + b_hh, 3, axis=1)
    r, z = sigmoid(a_r + u_r), sigmoid(a_z + u_z)
    n = np.tanh(a_n + r * u_n)
    return (1 - z) * n + z * h, (r, z, n, u_n)


# %% tags=["exercise"]
def gru_step_backward(dh, gates, h_before):
    """da, du: (B, 3H), and the part of dh_before that comes through the blend: (B, H)      dh, h_before: (B, H)"""
    r, z, n, u_n = gates
    # --- solution
    dn, dz = dh * (1 - z), dh * (h_before - n)  # (08.23)
    da_n = dn * (1 - n**2)  # (08.24)
    du_n, dr = da_n * r, da_n * u_n
    da_r, da_z = dr * r * (1 - r), dz * z * (1 - z)  # (08.25)
    return np.concatenate([da_r, da_z, da_n], axis=1), np.concatenate([da_r, da_z, du_n], axis=1), dh * z
    # --- stub
    # dn, dz = dh, dh  # (08.23)
    # da_n = dn  # (08.24)
    # du_n, dr = da_n, da_n
    # da_r, da_z = dr, dz  # (08.25)
    # return np.concatenate([da_r, da_z, da_n], axis=1), np.concatenate([da_r, da_z, du_n], axis=1), dh
    # --- end


# %% tags=["check"]
@lesson.check(
    "gru_step_backward",
    hint="From h = (1 - z) n + z h_before: the slope along z is h_before - n. Inside tanh r multiplies u_n.",
)
def _(gru_step_backward):
    rng = np.random.default_rng(0)
    B, H = 2, 3
    a, u, (h, dh) = rng.normal(size=(B, 3 * H)), rng.normal(size=(B, 3 * H)), rng.normal(size=(2, B, H))
    nothing = np.zeros((3 * H, H))
    step = lambda a, u, h: gru_step(a, h, np.eye(3 * H), nothing, 0.0, u)  # noqa: E731
    found = gru_step_backward(dh, step(a, u, h)[1], h)
    lessons.same(found[2], lessons.numeric_gradient(lambda h: step(a, u, h)[0], h, dh), what="dh through the blend")
    numeric_a = lessons.numeric_gradient(lambda a: step(a, u, h)[0], a, dh)
    numeric_u = lessons.numeric_gradient(lambda u: step(a, u, h)[0], u, dh)
    for k, name in enumerate(["r", "z", "n"]):  # (08.23), (08.24), (08.25)
        part = slice(k * H, k * H + H)
        lessons.same(found[0][:, part], numeric_a[:, part], what=f"da_{name}")
        lessons.same(found[1][:, part], numeric_u[:, part], what=f"du_{name}")


# %%
def gru(x, h0, W_ih, W_hh, b_ih, b_hh):
    h, gates = [h0], []
    for x_t in x:
        h_t, gates_t = gru_step(x_t, h[-1], W_ih, W_hh, b_ih, b_hh)
        h.append(h_t)
        gates.append(gates_t)
    return np.array(h), gates


def gru_backward(dy, x, h, gates, W_ih, W_hh):
    """dx, dh0, dW_ih, dW_hh, db_ih, db_hh"""
    dx, dW_ih, dW_hh = np.zeros_like(x), np.zeros_like(W_ih), np.zeros_like(W_hh)
    db_ih, db_hh, later = np.zeros(len(W_hh)), np.zeros(len(W_hh)), np.zeros_like(h[0])
    for t in reversed(range(len(x))):
        da, du, kept = gru_step_backward(dy[t] + later, gates[t], h[t])
        later = kept + du @ W_hh  # (08.26)
        dx[t] = da @ W_ih
        dW_ih += da.T @ x[t]
        dW_hh += du.T @ h[t]
        db_ih += da.sum(0)
        db_hh += du.sum(0)
    return dx, later, dW_ih, dW_hh, db_ih, db_hh


b_ih, b_hh = rng.normal(size=3 * H), rng.normal(size=3 * H)
inputs = [x, h0, rng.normal(size=(3 * H, C)), rng.normal(size=(3 * H, H)), b_ih, b_hh]
names = ["dx", "dh0", "dW_ih", "dW_hh", "db_ih", "db_hh"]
h, gates = gru(*inputs)
found = gru_backward(dy, x, h, gates, inputs[2], inputs[3])
expected = numeric(lambda *inputs: gru(*inputs)[0][1:], inputs, dy)
worst = lessons.show_errors(
    dict(zip(names, zip(found, expected))), title="GRU, 5 steps: by hand against differences", limit=1e-7
)
assert worst < 1e-7  # (08.23), (08.24), (08.25), (08.26)

y, gradients = by_library(nn.GRU(C, H), x, [h0], inputs[2:], dy)
lessons.same(y, h[1:], tol=1e-12, what="y")  # (08.21), (08.22)
for name, theirs, ours in zip(names, gradients, found):
    lessons.same(theirs, ours, tol=1e-10, what=name)
print("values and gradients equal minitorch's")

# %% [markdown]
# ## Who can remember?
#
# A task that needs nothing but memory: the first symbol is one of four, then come 29 random symbols of four others; at the end, name the first one. Guessing gives a quarter.

# %%
remembered = {}
for name, layer in recurrent_layers(8, 32).items():
    head, draw = nn.Linear(32, 4), np.random.default_rng(0)
    parameters = [*layer.parameters(), *head.parameters()]
    optimizer, right = minitorch.optim.Adam(parameters, lr=5e-3), []
    for _step in range(100):
        symbols = draw.integers(0, 4, (30, 32))
        symbols[1:] += 4
        x = minitorch.tensor(np.eye(8, dtype=np.float32)[symbols])  # (30, 32, 8), one-hot
        logits = head(layer(x)[0][-1])
        optimizer.zero_grad()
        F.cross_entropy(logits, minitorch.tensor(symbols[0])).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        right.append(float((logits.argmax(1).numpy() == symbols[0]).mean()))
    smooth = np.convolve(right, np.ones(15) / 15, mode="valid")
    remembered[name] = smooth[-1]
    plt.plot(smooth, color=colors[name], label=f"{name}: {smooth[-1]:.0%}")
plt.axhline(0.25, color="black", linestyle=":", linewidth=1)
plt.ylim(0, 1.05)
plt.xlabel("step")
plt.ylabel("right, mean of 15 steps")
plt.title("Naming the first of 30 symbols: who gets a gradient, learns")
plt.legend(loc="center right")
plt.show()
assert remembered["LSTM, forget bias 3"] > 0.9 and max(remembered[name] for name in ("RNN", "GRU", "LSTM")) < 0.5

# %% [markdown]
# The picture of the gradients has told us before. An LSTM or a GRU as it comes, with its gates half shut, is no better than the simple network here; the LSTM with an open gate solves it within a hundred steps. (Given more steps one of the others may begin to find it: a gradient of $10^{-7}$ is small, not zero, and Adam divides by its size. At distance 100 what is left lies far below Adam's $\varepsilon$.)
#
# ## Names
#
# Now let a network invent names. It reads `.emma` and is to say `emma.` (the dot begins and ends): at every place the next letter. The probability of a whole name is a product of such predictions, and the loss is minus the mean of their logarithms over all $N$ letters of all names, the last dots included:
#
# $$ P(x_1 \dots x_T) = \prod_{t=1}^{T} P(x_t \mid x_1 \dots x_{t-1}), \qquad L = -\frac{1}{N}\sum \log P(x_t \mid x_1 \dots x_{t-1}) \tag{08.27} $$
#
# That is the cross-entropy of lesson 04 at each place, with 27 classes. Names of different lengths are filled up, and the filled places get the label $-100$, which the loss ignores. Two baselines need no network: how often each letter occurs, and how often each letter follows each other one.
#
# With `MINITORCH_DATA` set, the names come from a file with 32,033.

# %%
if os.environ.get("MINITORCH_DATA"):
    with open(os.path.join(os.environ["MINITORCH_DATA"], "names", "names.txt"), encoding="utf-8") as file:
        names = file.read().split()
    names = [str(name) for name in np.random.default_rng(0).choice(names, 2000, replace=False)]
else:
    names = """
    adam alan albert alex alice amanda amber amy andrea andrew angela ann anna anthony arthur ashley austin barbara benjamin
    betty beverly billy bobby bradley brandon brenda brian brittany bruce bryan carl carol carolyn catherine charles cheryl
    christian christina christine christopher cynthia daniel danielle david deborah debra denise dennis diana diane donald
    donna dorothy douglas dylan edward elijah elizabeth emily emma eric ethan eugene evelyn frances frank gabriel gary george
    gerald gloria grace gregory hannah harold heather helen henry isabella jack jacob jacqueline james janet janice jason
    jean jeffrey jennifer jeremy jerry jesse jessica joan joe john johnny jonathan jordan jose joseph joshua joyce juan
    judith judy julia julie justin karen katherine kathleen kathryn kayla keith kelly kenneth kevin kimberly kyle larry
    laura lauren lawrence linda lisa logan louis madison margaret maria marie marilyn mark martha mary mason matthew megan
    melissa michael michelle mildred nancy natalie nathan nicholas nicole noah olivia pamela patricia patrick paul peter
    philip rachel ralph randy raymond rebecca richard robert roger ronald rose roy russell ruth ryan samantha samuel sandra
    sara sarah scott sean sharon shirley sophia stephanie stephen steven susan teresa terry theresa thomas tiffany timothy
    tyler victoria vincent virginia walter wayne william willie zachary
    """.split()
names = [names[k] for k in np.random.default_rng(0).permutation(len(names))]
held_out, train = names[: len(names) // 5], names[len(names) // 5 :]
letters = ".abcdefghijklmnopqrstuvwxyz"


def encode(names):
    """x, y: (T, B), y one letter ahead, -100 behind the end"""
    T = max(map(len, names)) + 1
    x, y = np.zeros((T, len(names)), np.int64), np.full((T, len(names)), -100)
    for k, name in enumerate(names):
        codes = [letters.index(letter) for letter in name]
        x[1 : len(name) + 1, k] = codes
        y[: len(name) + 1, k] = [*codes, 0]
    return minitorch.tensor(x), minitorch.tensor(y)


class NameModel(nn.Module):
    def __init__(self, C=16, H=64):
        super().__init__()
        self.embedding, self.recurrent, self.head = nn.Embedding(27, C), nn.GRU(C, H), nn.Linear(H, 27)

    def forward(self, x, state=None):
        h, state = self.recurrent(self.embedding(x), state)  # (T, B, H)
        return self.head(h), state  # (T, B, 27)


def name_loss(model, x, y):
    return F.cross_entropy(model(x)[0].reshape(-1, 27), y.reshape(-1), ignore_index=-100)  # (08.27)


minitorch.manual_seed(0)
model = NameModel()
optimizer = minitorch.optim.Adam(model.parameters(), lr=5e-3)
seen, unseen, curve, best = encode(train), encode(held_out), [], None
for _step in range(100):
    loss = name_loss(model, *seen)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    with minitorch.no_grad():
        curve.append((loss.item(), name_loss(model, *unseen).item()))
    if curve[-1][1] == min(c[1] for c in curve):  # early stopping: keep the best on names that it does not learn from
        best = {name: value.clone() for name, value in model.state_dict().items()}
model.load_state_dict(best)

single, pairs = np.ones(27), np.full((27, 27), 0.3)  # counts; a little for what was never seen
for name in train:
    for a, b in zip("." + name, name + "."):
        single[letters.index(b)] += 1
        pairs[letters.index(a), letters.index(b)] += 1
x, y = (a.numpy() for a in unseen)
real = y >= 0
baselines = {
    "frequency of letters": -np.log(single / single.sum())[y[real]].mean(),
    "frequency of pairs": -np.log(pairs / pairs.sum(1, keepdims=True))[x[real], y[real]].mean(),
}
plt.plot([c[0] for c in curve], label="GRU, names that it learns")
plt.plot([c[1] for c in curve], label="GRU, names held out")
for (name, value), style in zip(baselines.items(), (":", "--")):
    plt.axhline(value, color="black", linestyle=style, linewidth=1, label=f"{name}: {value:.2f}")
plt.xlabel("step")
plt.ylabel("loss for each letter")
plt.ylim(1.3, 3.4)
plt.title(f"{len(train)} names: the GRU beats counting, then learns by heart")
plt.legend()
plt.show()
reached = min(c[1] for c in curve)
print(f"held out: {reached:.2f}, so it hesitates between e^L = {np.exp(reached):.1f} letters on average, of 27")
assert reached < baselines["frequency of pairs"] < baselines["frequency of letters"]

x, y = encode(["emma"])  # (08.27) by hand: the probabilities of the five letters, one after the other
with minitorch.no_grad():
    probabilities = F.softmax(model(x)[0], dim=-1).numpy()[np.arange(5), 0, y.numpy()[:, 0]]
    lessons.same(-np.log(probabilities).mean(), name_loss(model, x, y), tol=1e-5, what="loss of emma")

# %% [markdown]
# To generate, feed the dot, draw a letter from the probabilities, feed it, and go on until the dot comes. The state is all that the network keeps.


# %%
def invent(model, rng):
    name, code, state = "", 0, None
    with minitorch.no_grad():
        while len(name) < 15:
            logits, state = model(minitorch.tensor([[code]]), state)
            p = F.softmax(logits[0, 0].double(), dim=-1).numpy()
            code = int(rng.choice(27, p=p / p.sum()))
            if code == 0:
                break
            name += letters[code]
    return name


draw = np.random.default_rng(4)
invented = [invent(model, draw) for _ in range(40)]
print("new:  ", " ".join(name for name in invented if name not in names))
print("known:", " ".join(name for name in invented if name in names))
assert np.mean([name not in names for name in invented]) > 0.5

# %% [markdown]
# Hardly any is a name, but many could be said aloud: the network has learned which letters go together, where vowels belong, and how long a name is, from a short list of examples.
#
# ## What goes wrong
#
# ### Exercise 6: the LSTM with a short memory
#
# Somebody's hand-written LSTM trains. It is just never better than the simple network. Its gradient was tested against differences, on sequences of length 1 from a random state: ten correct digits. The symptom: even with the forget gate wide open, the gradient is gone after a few steps. The test below tries four steps.


# %% tags=["exercise"]
def short_memory_backward(dy, h, c, gates, W_hh):
    """dz of every step: (T, B, 4H)      dy: (T, B, H), of h[1:]"""
    # --- solution
    later_h, later_c, dzs = np.zeros_like(h[0]), np.zeros_like(c[0]), []
    for t in reversed(range(len(dy))):
        dz, later_c = lstm_step_backward(dy[t] + later_h, later_c, gates[t], c[t], c[t + 1])
        later_h = dz @ W_hh
        dzs.append(dz)
    return np.array(dzs[::-1])
    # --- stub
    # later_h, dzs = np.zeros_like(h[0]), []
    # for t in reversed(range(len(dy))):
    #     later_c = np.zeros_like(c[0])
    #     dz, later_c = lstm_step_backward(dy[t] + later_h, later_c, gates[t], c[t], c[t + 1])
    #     later_h = dz @ W_hh
    #     dzs.append(dz)
    # return np.array(dzs[::-1])
    # --- end


# %% tags=["check"]
@lesson.check(
    "short_memory_backward",
    hint="Two things come back from the next step: one for h and one for c. Which of them is forgotten at every turn?",
)
def _(short_memory_backward):
    rng = np.random.default_rng(0)
    H = 3

    def test(T, what):
        z, h0, c0 = rng.normal(size=(T, 2, 4 * H)), rng.normal(size=(2, H)), rng.normal(size=(2, H))
        W_hh, dy = rng.normal(size=(4 * H, H)), rng.normal(size=(T, 2, H))
        h, c, gates = lstm(z, h0, c0, np.eye(4 * H), W_hh, 0.0)  # W_ih = identity: dz is the gradient of the input
        found = short_memory_backward(dy, h, c, gates, W_hh)
        forward = lambda z: lstm(z, h0, c0, np.eye(4 * H), W_hh, 0.0)[0][1:]  # noqa: E731
        lessons.same(found, lessons.numeric_gradient(forward, z, dy), what=what)

    test(1, "dz of a sequence of one step")
    test(4, "dz of a sequence of four steps")  # (08.15)


# %% [markdown]
# At length 1 nothing comes back from a next step, so a test of length 1 cannot miss it. With longer sequences a part of the gradient, the one through $W_{hh}$, still arrives; everything runs, and everything learns a little. But the way along the cell, (08.19), the reason for building an LSTM at all, was cut. Here are the two, on an LSTM with open gates:

# %%
H, T = 16, 40
W_hh = rng.uniform(-0.25, 0.25, size=(4 * H, H))
z = rng.normal(size=(T, 1, 4 * H)) * 0.5
z[:, :, H : 2 * H] += 3.0  # the forget gate's bias
h, c, gates = lstm(z, np.zeros((1, H)), np.zeros((1, H)), np.eye(4 * H), W_hh, 0.0)
dy = np.zeros((T, 1, H))
dy[-1] = rng.normal(size=(1, H))
whole = short_memory_backward(dy, h, c, gates, W_hh)
later_h, cut = dy[-1], []
for t in reversed(range(T)):
    dz, _ = lstm_step_backward(later_h, 0.0, gates[t], c[t], c[t + 1])
    later_h = dz @ W_hh
    cut.append(np.linalg.norm(dz))
whole = np.linalg.norm(whole[::-1, 0], axis=1)
plt.semilogy(whole, color="C2", label="with the way along the cell")
plt.semilogy(cut, color="C3", label="without it")
plt.xlabel("distance in steps")
plt.ylabel("length of dz")
plt.title("What the forgotten term was worth")
plt.legend()
plt.show()
assert cut[30] < 1e-6 * whole[30]

# %% [markdown]
# So test a recurrent gradient on several steps, with a `dy` at each of them and with states that are not zero.
#
# The bug zoo continues this lesson: [words that learn too slowly](zoo/02_words_that_learn_too_slowly.py), [each step is slower](zoo/21_each_step_is_slower.py), [clipped to another direction](zoo/28_clipped_to_another_direction.py).
#
# ## Summary

# %% [markdown] tags=["summary"]
# | equation | what | op | test |
# |---|---|---|---|
# | (08.1), (08.2) | embedding, its gradient | `Embedding` | here, cases:nn.functional.embedding |
# | (08.3) | the simple recurrent layer | `RNNSequence` | here, cases:rnn_tanh |
# | (08.4), (08.5) | backpropagation through time | `RNNSequence` | here, cases:rnn_tanh |
# | (08.6), (08.7) | gradients of its inputs and weights | `RNNSequence` | here, cases:rnn_tanh |
# | (08.8), (08.9) | the Jacobian over many steps, and its bound | `RNNSequence` | here |
# | (08.10) | powers of a matrix: the largest eigenvalue decides | - | here |
# | (08.11) | clipping by the norm | `minitorch/nn/utils/clip_grad.py::clip_grad_norm_` | here, tests/test_nn_utils.py::test_clip_grad_norm_by_hand |
# | (08.12), (08.13), (08.14) | LSTM: gates, cell, output | `LSTMSequence` | here, tests/test_nn_recurrent.py::test_lstm_by_hand |
# | (08.15), (08.16), (08.17), (08.18) | LSTM, backwards | `LSTMSequence` | here, cases:lstm |
# | (08.19), (08.20) | the gradient along the cell, and what an open gate is worth | `LSTMSequence` | here |
# | (08.21), (08.22) | GRU: gates, candidate, blend | `GRUSequence` | here, cases:gru |
# | (08.23), (08.24), (08.25), (08.26) | GRU, backwards | `GRUSequence` | here, cases:gru |
# | (08.27) | the probability of a sequence, and its loss | `minitorch/ops/loss.py::cross_entropy` | here |
#
# Recurrent layers keep their values in bounds with tanh. Deep networks without it need another way: next, 09 Normalization, for each example on its own.
