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
# # 09 Normalization
#
# Lesson 06 chose the first weights so that a signal keeps its size from layer to layer. After the first step of training nobody guarantees that any more, and in a deep network small errors of size multiply.
# So let a layer measure its numbers, and bring them to mean 0 and variance 1 itself. **What does it do to the gradient when a layer divides by something that it computed from the same numbers?**
# You will derive LayerNorm's gradient with both of its cross-terms, see it as a projection, get RMSNorm and BatchNorm from the same calculation, and train a deep network with and without.
#
# You need lessons 02 (sums and broadcasting), 06 (variance of a layer) and 07 (BatchNorm, residual connections). Time: 45 minutes.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minitorch
import minitorch.nn.functional as F
from minitorch import lessons

lesson = lessons.start(9)

# %% [markdown]
# ## The size of a signal, layer by layer
#
# Thirty layers, each a random matrix and a ReLU. Lesson 06 found that entries of variance $2/D$ keep the size of a signal of width $D$. Here the spread of the weights is that one, 20% too small, or 20% too large.


# %%
def normalized(h):
    return (h - h.mean(-1, keepdims=True)) / h.std(-1, keepdims=True)


D, depth = 64, 30
figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True)
for axes, norm, title in zip(panels, [lambda h: h, normalized], ["As they are", "Each layer's input normalized"]):
    for gain, color in [(1.2, "C3"), (1.0, "C0"), (0.8, "C2")]:
        rng = np.random.default_rng(0)
        h, sizes = rng.normal(size=(100, D)), []
        for _ in range(depth):
            h = np.maximum(norm(h) @ (gain * np.sqrt(2 / D) * rng.normal(size=(D, D))), 0)
            sizes.append(np.sqrt((h**2).mean()))
        axes.semilogy(range(1, depth + 1), sizes, color=color, label=f"spread of the weights x {gain}")
    axes.set(xlabel="layer", title=title)
panels[0].set_ylabel("root mean square of the output")
panels[1].legend()
plt.show()

# %% [markdown]
# 20% for each layer is a factor of $1.2^{30} \approx 240$ after thirty. With normalization no layer knows what size the one before it gave.
#
# ## LayerNorm, forward
#
# The input $x$ has shape $(N, C)$: $N$ examples (or words), $C$ numbers for each. LayerNorm treats every row by itself, so drop the index $n$ and write $x_i$, $i = 1 \dots C$, for one row. Its mean and its variance:
#
# $$ m = \frac{1}{C}\sum_{i=1}^{C} x_i \tag{09.1} $$
#
# $$ v = \frac{1}{C}\sum_{i=1}^{C} (x_i - m)^2 \tag{09.2} $$
#
# The normalized row $z$ divides by the standard deviation. A small $\varepsilon$ under the root keeps a constant row, with $v = 0$, from dividing by zero:
#
# $$ z_i = (x_i - m)\, r, \qquad r = \frac{1}{\sqrt{v + \varepsilon}} \tag{09.3} $$
#
# A network may need another size and another middle than 1 and 0. So each of the $C$ places gets a learned scale $w_i$, which starts at 1, and a learned shift $b_i$, which starts at 0, the same for all rows:
#
# $$ y_{ni} = w_i\, z_{ni} + b_i \tag{09.4} $$
#
# Shapes: $x, z, y$ are $(N, C)$; $m, v, r$ are $(N, 1)$, one for each row; $w, b$ are $(C,)$.
#
# ### Exercise 1: forward
#
# Work along the last axis, so that $(B, T, C)$ works as well as $(N, C)$.


# %% tags=["exercise"]
def layer_norm(x, w, b, eps=1e-5):
    """x: (..., C)   w, b: (C,)   y: (..., C)"""
    # --- solution
    m = x.mean(-1, keepdims=True)  # (..., 1)
    v = ((x - m) ** 2).mean(-1, keepdims=True)
    z = (x - m) / np.sqrt(v + eps)  # (..., C)
    return w * z + b
    # --- stub
    # m = x.mean(-1, keepdims=True)  # (..., 1)
    # z = x - m
    # return w * z + b
    # --- end


# %% tags=["check"]
@lesson.check("layer_norm", hint="Divide x - m by np.sqrt(v + eps); v is the mean of (x - m)**2, with keepdims=True.")
def _(layer_norm):
    x = np.array([[1.0, 2.0, 3.0, 6.0], [0.0, 0.0, 0.0, 0.0]])
    kept = x.copy()
    y = layer_norm(x, np.ones(4), np.zeros(4), eps=0.5)
    lessons.same(x, kept, what="x after the call (it should be left alone)")
    # (09.1), (09.2), (09.3): m = 3, v = 3.5, r = 1/2
    lessons.same(y[0], [-1.0, -0.5, 0.0, 1.5], what="the row 1, 2, 3, 6, with eps = 0.5")
    lessons.same(y[1], np.zeros(4), what="a row of zeros")
    w, b = np.array([2.0, 1.0, 1.0, -1.0]), np.array([0.0, 10.0, 0.0, 0.0])  # (09.4)
    lessons.same(layer_norm(x, w, b, eps=0.5)[0], [-2.0, 9.5, 0.0, -1.5], what="the same with w and b")
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    lessons.same(layer_norm(x, w, b)[1, 2], layer_norm(x[1, 2], w, b), what="a row of a (2, 3, 4) array")


# %% [markdown]
# What did $z$ lose? Two things, by construction: its mean is fixed, and so is its mean square.
#
# $$ \frac{1}{C}\sum_i z_i = 0, \qquad \frac{1}{C}\sum_i z_i^2 = \frac{v}{v + \varepsilon} \tag{09.5} $$
#
# The second one is 1 but for $\varepsilon$. Seen from the input: add a constant to a whole row, or stretch it by a factor $a > 0$, and (with $\varepsilon = 0$) nothing changes, because $m$ becomes $a m + c$ and $\sqrt v$ becomes $a\sqrt v$:
#
# $$ z(a\,x + c) = z(x) \tag{09.6} $$
#
# With $C = 3$ you can see it. Subtracting the mean moves a point of space along the direction $(1, 1, 1)$ into the plane of all points whose mean is 0. That plane is drawn on the left. Dividing then moves the point along its ray from the origin onto the circle of radius $\sqrt C$.

# %%
plane = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])  # two directions at right angles to (1, 1, 1)
rng = np.random.default_rng(3)
x = rng.normal(size=(30, 3)) * 1.2 + 2
centred = x - x.mean(-1, keepdims=True)
z = normalized(x)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6))
angle = np.linspace(0, 2 * np.pi, 200)
for axes in (left, right):
    axes.plot(np.sqrt(3) * np.cos(angle), np.sqrt(3) * np.sin(angle), color="0.75", linewidth=1)
    axes.set(aspect="equal", xlabel="along (1, -1, 0)", ylabel="along (1, 1, -2)")
for start, end in zip(centred @ plane.T, z @ plane.T):
    left.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "0.6", "linewidth": 0.8})
left.plot(*(centred @ plane.T).T, "o", color="C0", markersize=4, label="x - m")
left.plot(*(z @ plane.T).T, "o", color="C3", markersize=4, label="z")
left.set_title("Forward: out to the circle, or in to it")
left.legend(loc="upper right", fontsize=9)

for place, turn, color in [(0.5, 1.1, "C0"), (2.2, 3.5, "C1"), (3.9, 3.5, "C2"), (5.4, 0.3, "C4")]:
    at = plane.T @ [np.sqrt(3) * np.cos(place), np.sqrt(3) * np.sin(place)]
    dz = plane.T @ [1.2 * np.cos(turn), 1.2 * np.sin(turn)]
    tangent = dz - at * (dz * at).mean()
    right.plot(*(plane @ at), "o", color="C3", zorder=3)
    for change, width, opaque in ((dz, 1.5, 0.5), (tangent, 3, 1)):
        arrow = {"arrowstyle": "-|>", "color": color, "linewidth": width, "alpha": opaque, "shrinkA": 0, "shrinkB": 0}
        right.annotate("", plane @ (at + change), plane @ at, arrowprops=arrow)
right.set_title("Backward: of each dz (thin) the part\nalong the circle is left (thick)")
right.set(xlim=(-3, 3), ylim=(-3, 3))
plt.show()

assert np.allclose(z.mean(-1), 0) and np.allclose((z**2).mean(-1), 1)  # (09.5), with eps = 0
assert np.allclose(normalized(7.3 * x + 2.1), z)  # (09.6)
v, eps = x.var(-1), 0.3  # (09.5), with an eps that can be seen
assert np.allclose((layer_norm(x, 1, 0, eps) ** 2).mean(-1), v / (v + eps))

# %% [markdown]
# The right-hand picture is what the derivation below will find. A small change of $x$ can move $z$ only *along* the circle: not off the plane, and not off the circle. So whatever `dz` asks for in these two forbidden directions is lost on the way back.
# Two forbidden directions, two cross-terms.
#
# ## LayerNorm, backward
#
# Given $dy$ of shape $(N, C)$; wanted are $dx$ like $x$, and $dw$, $db$ of shape $(C,)$. The last step (09.4) is a broadcast product and sum, with the gradients of lesson 02:
#
# $$ dz_{ni} = dy_{ni}\, w_i \tag{09.7} $$
#
# $$ dw_i = \sum_n dy_{ni}\, z_{ni}, \qquad db_i = \sum_n dy_{ni} \tag{09.8} $$
#
# Now one row. (If lesson 07's derivation for a channel is fresh in your mind, try this one on paper before you read on.) $x_j$ reaches $z_i$ on three paths: directly (if $i = j$), through $m$, and through $r$. Link by link. The mean depends on every element equally:
#
# $$ \frac{\partial m}{\partial x_j} = \frac{1}{C}, \qquad \frac{\partial (x_i - m)}{\partial x_j} = \delta_{ij} - \frac{1}{C} \tag{09.9} $$
#
# For the variance, differentiate the square, and put (09.9) in:
#
# $$ \frac{\partial v}{\partial x_j} = \frac{2}{C}\sum_i (x_i - m)\Big(\delta_{ij} - \frac{1}{C}\Big) = \frac{2}{C}(x_j - m) - \frac{2}{C^2}\sum_i (x_i - m) = \frac{2}{C}(x_j - m) \tag{09.10} $$
#
# The last sum is 0: deviations from a mean add up to nothing. So *through the variance* the mean's own share vanishes. (It does not vanish elsewhere; that is one way to lose a term.) Next the root, $r = (v + \varepsilon)^{-1/2}$. Its derivative is $-\frac{1}{2}(v+\varepsilon)^{-3/2} = -\frac{1}{2} r^3$, and one
# of the three $r$ makes $x_j - m$ into $z_j$:
#
# $$ \frac{\partial r}{\partial x_j} = -\frac{r^3}{2}\cdot\frac{2}{C}(x_j - m) = -\frac{r^2 z_j}{C} \tag{09.11} $$
#
# Now the product rule for $z_i = (x_i - m)\, r$. In the second term $(x_i - m)\, r$ is $z_i$ again:
#
# $$ \frac{\partial z_i}{\partial x_j} = \Big(\delta_{ij} - \frac{1}{C}\Big) r - (x_i - m)\,\frac{r^2 z_j}{C} = r\,\Big(\delta_{ij} - \frac{1}{C} - \frac{z_i z_j}{C}\Big) \tag{09.12} $$
#
# Last, sum over all $z_i$ that $x_j$ reaches, $dx_j = \sum_i dz_i\, \partial z_i/\partial x_j$. The $\delta_{ij}$ picks $dz_j$; the $\frac{1}{C}\sum_i$ are means over the row:
#
# $$ dx_j = r\,\Big(dz_j - \underbrace{\frac{1}{C}\sum_i dz_i}_{x_j \text{ moves the mean}} - \;z_j\,\underbrace{\frac{1}{C}\sum_i dz_i\, z_i}_{x_j \text{ moves the variance}}\Big) \tag{09.13} $$
#
# Shapes: the two means are $(N, 1)$, one for each row; everything else is $(N, C)$.
#
# ### Exercise 2: backward
#
# The stub has the direct path only. Add the two cross-terms, and $dw$, $db$. For $(B, T, C)$ the sum over $n$ in (09.8) runs over all axes but the last.


# %% tags=["exercise"]
def layer_norm_backward(dy, x, w, eps=1e-5):
    """dy, x: (..., C)   w: (C,)   returns dx: (..., C), dw: (C,), db: (C,)"""
    m = x.mean(-1, keepdims=True)
    r = 1 / np.sqrt(((x - m) ** 2).mean(-1, keepdims=True) + eps)  # (..., 1)
    z = (x - m) * r
    dz = dy * w
    rows = tuple(range(x.ndim - 1))  # all axes but the last
    # --- solution
    dw = (dy * z).sum(rows)  # (C,)
    db = dy.sum(rows)
    dx = r * (dz - dz.mean(-1, keepdims=True) - z * (dz * z).mean(-1, keepdims=True))
    return dx, dw, db
    # --- stub
    # dw = np.zeros_like(w)
    # db = np.zeros_like(w)
    # dx = r * dz
    # return dx, dw, db
    # --- end


# %% tags=["check"]
@lesson.check(
    "layer_norm_backward",
    hint="dz.mean(-1, keepdims=True) is the first cross-term; z times (dz * z).mean(-1, keepdims=True) is the second.",
)
def _(layer_norm_backward):
    def compare(shape):
        rng = np.random.default_rng(0)
        x, dy = rng.normal(size=shape) * 3 + 1, rng.normal(size=shape)
        w, b = rng.normal(size=shape[-1]), rng.normal(size=shape[-1])
        dx, dw, db = layer_norm_backward(dy, x, w)
        # (09.7), (09.8), (09.13)
        lessons.same(db, lessons.numeric_gradient(lambda b: layer_norm(x, w, b), b, dy), what=f"db for {shape}")
        lessons.same(dw, lessons.numeric_gradient(lambda w: layer_norm(x, w, b), w, dy), what=f"dw for {shape}")
        lessons.same(dx, lessons.numeric_gradient(lambda x: layer_norm(x, w, b), x, dy), what=f"dx for {shape}")

    compare((3, 4))
    compare((2, 3, 5))


# %% [markdown]
# Every link of the derivation, and the whole, against differences. (With the mean and the variance as functions of their own, a wrong line would be found where it stands.)

# %%
rng = np.random.default_rng(1)
row, eps = rng.normal(size=6) * 2 + 1, 0.1
m, v = row.mean(), row.var()
r = 1 / np.sqrt(v + eps)
z = (row - m) * r
C, same_index = len(row), np.eye(len(row))

dm = np.full(C, 1 / C)  # (09.9)
dv = 2 / C * (row - m)  # (09.10)
dr = -(r**2) * z / C  # (09.11)
J = r * (same_index - 1 / C - np.outer(z, z) / C)  # (09.12): row i, column j
numeric_J = np.stack(
    [lessons.numeric_gradient(lambda x: (x - x.mean()) / np.sqrt(x.var() + eps), row, pick) for pick in same_index]
)
x, dy = rng.normal(size=(5, 6)) * 2, rng.normal(size=(5, 6))
w, b = rng.normal(size=6), rng.normal(size=6)
dx, dw, db = layer_norm_backward(dy, x, w, eps)  # (09.8), (09.13)
worst = lessons.show_errors(
    {
        "∂m/∂x": (dm, lessons.numeric_gradient(np.mean, row)),
        "∂v/∂x": (dv, lessons.numeric_gradient(np.var, row)),
        "∂r/∂x": (dr, lessons.numeric_gradient(lambda x: 1 / np.sqrt(x.var() + eps), row)),
        "∂z/∂x": (J, numeric_J),
        "dx": (dx, lessons.numeric_gradient(lambda x: layer_norm(x, w, b, eps), x, dy)),
        "dw": (dw, lessons.numeric_gradient(lambda w: layer_norm(x, w, b, eps), w, dy)),
        "db": (db, lessons.numeric_gradient(lambda b: layer_norm(x, w, b, eps), b, dy)),
    },
    title="LayerNorm: each link of the derivation, and the three gradients",
    limit=1e-7,
)
assert worst < 1e-7

# %% [markdown]
# minitorch's `LayerNorm` and its variance, `Var`, give the same:

# %%
leaves = [minitorch.tensor(a, requires_grad=True) for a in (x, w, b)]
y = F.layer_norm(leaves[0], (6,), leaves[1], leaves[2], eps=eps)
y.backward(minitorch.tensor(dy))
lessons.same(y, layer_norm(x, w, b, eps), tol=1e-12, what="y")
for name, leaf, expected in zip(["dx", "dw", "db"], leaves, [dx, dw, db]):
    lessons.same(leaf.grad, expected, tol=1e-12, what=name)  # (09.8), (09.13)

leaf = minitorch.tensor(row, requires_grad=True)
leaf.var(correction=0).backward()
lessons.same(leaf.grad, dv, tol=1e-12, what="the gradient of the variance")  # (09.10)
print("y, dx, dw, db and the gradient of the variance are equal")

# %% [markdown]
# ## The matrix form: two projections
#
# Collect (09.12) for all $i, j$. With $\mathbf 1$ for the vector of $C$ ones, the Jacobian of one row is the $(C, C)$ matrix
#
# $$ J = r\,\Big(I - \frac{1}{C}\mathbf 1 \mathbf 1^{\top} - \frac{1}{C} z z^{\top}\Big), \qquad dx = J^{\top} dz = J\, dz \tag{09.14} $$
#
# It is symmetric. $\frac{1}{C}\mathbf 1\mathbf 1^\top$ takes a vector to its part along $\mathbf 1$, and (for $\varepsilon = 0$) $\frac{1}{C}zz^\top$ takes it to its part along $z$, because $z^\top z = C$; the two directions are at right angles, because $\mathbf 1^\top z = 0$. So $J$ removes both parts and multiplies what is left by $r$:
#
# $$ J\,\mathbf 1 = 0, \qquad J\, z = r\,\Big(1 - \frac{v}{v+\varepsilon}\Big)\, z = r^3 \varepsilon\, z \tag{09.15} $$
#
# This is the picture with the circle. The $r$ has a meaning too. Where the input is twice as large, $r$ is half as large, and so is the gradient: from (09.6), for $\varepsilon = 0$,
#
# $$ dx\,(a x) = \frac{1}{a}\, dx\,(x) \tag{09.16} $$
#
# **A normalized layer sends back large gradients where its input was small, and small ones where it was large.** It works against both kinds of drift.

# %%
figure, panels = plt.subplots(1, 4, figsize=(11, 3), layout="constrained")
pieces = {
    "I": same_index,
    "- 1 1ᵀ / C": -np.full((C, C), 1 / C),
    "- z zᵀ / C": -np.outer(z, z) / C,
    "their sum: J / r": J / r,
}
for axes, (title, piece) in zip(panels, pieces.items()):
    image = axes.imshow(piece, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set(title=title, xlabel="j", xticks=range(C), yticks=range(C))
    axes.grid(visible=False)
panels[0].set_ylabel("i")
figure.colorbar(image, ax=panels, shrink=0.8)
plt.show()

assert np.allclose(J, J.T) and np.allclose(J @ dy[0], layer_norm_backward(dy[0], row, np.ones(C), eps)[0])  # (09.14)
assert np.allclose(J @ np.ones(C), 0) and np.allclose(J @ z, r**3 * eps * z)  # (09.15)
once, scaled = (layer_norm_backward(dy, a * x, w, eps=0)[0] for a in (1, 5))
assert np.allclose(scaled, once / 5)  # (09.16)
print("(09.14), (09.15), (09.16) hold")

# %% [markdown]
# ### Why never to test with ones
#
# Put $dz = \mathbf 1$ into (09.13): by (09.15) the right answer is 0. A formula with the first cross-term only also gives 0. So with `w = 1` a check with a `dy` of ones calls this wrong formula correct:

# %%
candidates = {
    "no cross-term": lambda dz, z, r: r * dz,
    "the mean's only": lambda dz, z, r: r * (dz - dz.mean(-1, keepdims=True)),
    "the variance's only": lambda dz, z, r: r * (dz - z * (dz * z).mean(-1, keepdims=True)),
    "both, (09.13)": lambda dz, z, r: r * (dz - dz.mean(-1, keepdims=True) - z * (dz * z).mean(-1, keepdims=True)),
}
x = np.random.default_rng(4).normal(size=(5, 6))
R = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
Z = (x - x.mean(-1, keepdims=True)) * R
print(f"{'largest error of dx, with':28}{'dy of ones':>12}{'random dy':>12}")
for name, formula in candidates.items():
    errors = []
    for dy in (np.ones_like(x), rng.normal(size=x.shape)):
        numeric = lessons.numeric_gradient(lambda x: layer_norm(x, 1, 0), x, dy)
        errors.append(np.abs(formula(dy, Z, R) - numeric).max())
    print(f"{name:28}{errors[0]:12.0e}{errors[1]:12.0e}")
    assert (errors[1] < 1e-8) == (name == "both, (09.13)")

# %% [markdown]
# ## RMSNorm: one cross-term
#
# Is the mean needed at all? RMSNorm (arXiv:1910.07467) divides by the root mean square and leaves the mean alone. Many large language models use it; it is a little cheaper and trains as well:
#
# $$ z_i = x_i\, r, \qquad r = \frac{1}{\sqrt{\frac{1}{C}\sum_i x_i^2 + \varepsilon}}, \qquad y_i = w_i\, z_i \tag{09.17} $$
#
# The derivation is a shorter copy. There is no $m$. The derivative of the mean square with respect to $x_j$ is $\frac{2}{C} x_j$, so $\partial r/\partial x_j = -\frac{1}{2} r^3 \cdot \frac{2}{C} x_j = -r^2 z_j / C$, as in (09.11). Do the product rule and the sum yourself.
#
# ### Exercise 3: RMSNorm's gradient


# %% tags=["exercise"]
def rms_norm_backward(dy, x, w, eps=1e-5):
    """dy, x: (..., C)   w: (C,)   returns dx: (..., C), dw: (C,)"""
    r = 1 / np.sqrt((x**2).mean(-1, keepdims=True) + eps)  # (..., 1)
    z = x * r
    # --- solution
    dz = dy * w
    dx = r * (dz - z * (dz * z).mean(-1, keepdims=True))
    dw = (dy * z).sum(tuple(range(x.ndim - 1)))
    return dx, dw
    # --- stub
    # dx = np.zeros_like(x)
    # dw = np.zeros_like(w)
    # return dx, dw
    # --- end


def rms_norm(x, w, eps=1e-5):
    return w * x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)  # (09.17)


# %% tags=["check"]
@lesson.check(
    "rms_norm_backward",
    hint="dz_i/dx_j = r (delta_ij - z_i z_j / C): LayerNorm's Jacobian without the 1/C. Remember dz = dy * w.",
)
def _(rms_norm_backward):
    def compare(shape):
        rng = np.random.default_rng(0)
        x, dy, w = rng.normal(size=shape) + 1, rng.normal(size=shape), rng.normal(size=shape[-1])
        dx, dw = rms_norm_backward(dy, x, w)
        lessons.same(dx, lessons.numeric_gradient(lambda x: rms_norm(x, w), x, dy), what=f"dx for {shape}")
        lessons.same(dw, lessons.numeric_gradient(lambda w: rms_norm(x, w), w, dy), what=f"dw for {shape}")

    compare((3, 4))
    compare((2, 3, 5))


# %% [markdown]
# You found LayerNorm's gradient with one direction less removed, since in RMSNorm only one restriction is left, $\frac{1}{C}\sum_i z_i^2 = 1$ (for $\varepsilon = 0$):
#
# $$ dx_j = r\,\Big(dz_j - z_j\,\frac{1}{C}\sum_i dz_i\, z_i\Big) \tag{09.18} $$

# %%
rng = np.random.default_rng(2)
x, dy, w = rng.normal(size=(4, 7)) + 0.5, rng.normal(size=(4, 7)), rng.normal(size=7)
dx, dw = rms_norm_backward(dy, x, w)
leaves = [minitorch.tensor(a, requires_grad=True) for a in (x, w)]
y = F.rms_norm(leaves[0], (7,), leaves[1], eps=1e-5)
y.backward(minitorch.tensor(dy))
lessons.same(y, rms_norm(x, w), tol=1e-12, what="y")
lessons.same(leaves[0].grad, dx, tol=1e-12, what="dx")  # (09.18)
lessons.same(leaves[1].grad, dw, tol=1e-12, what="dw")
worst = lessons.show_errors(
    {
        "dx": (dx, lessons.numeric_gradient(lambda x: rms_norm(x, w), x, dy)),
        "dw": (dw, lessons.numeric_gradient(lambda w: rms_norm(x, w), w, dy)),
    },
    title="RMSNorm: formula against differences, and minitorch agrees",
    limit=1e-7,
)
assert worst < 1e-7

# %% [markdown]
# ## BatchNorm: the same formula along another axis
#
# Nothing in the derivation used that the $C$ numbers were a *row*. It holds for any set of numbers that share a mean and a variance. BatchNorm (lesson 07) takes the columns: for one feature $c$ the values of all $N$ examples. Exchange the roles of the indices, and (09.13) becomes what lesson 07 found for a channel:
#
# $$ dx_{nc} = r_c\,\Big(dz_{nc} - \frac{1}{N}\sum_k dz_{kc} - z_{nc}\,\frac{1}{N}\sum_k dz_{kc}\, z_{kc}\Big) \tag{09.19} $$
#
# Each kind of normalization is only a choice of axes. For pictures of shape $(B, C, H, W)$:
#
# | | the numbers that share a mean | axes | statistics |
# |---|---|---|---|
# | BatchNorm | one channel, all examples and places | 0, 2, 3 | (1, C, 1, 1) |
# | LayerNorm | one example, all channels and places | 1, 2, 3 | (B, 1, 1, 1) |
# | InstanceNorm | one channel of one example | 2, 3 | (B, C, 1, 1) |
# | GroupNorm | some channels of one example | after a reshape to (B, G, C/G, H, W): 2, 3, 4 | (B, G, 1, 1, 1) |
#
# ### Exercise 4: any axes
#
# Write it once for all. Only means change: they run over `axes`, an integer or a tuple.


# %% tags=["exercise"]
def standardize(x, axes, eps=1e-5):
    """Mean 0 and variance 1 over the axes; no w, no b.       x, z: any shape"""
    # --- solution
    m = x.mean(axes, keepdims=True)
    return (x - m) / np.sqrt(((x - m) ** 2).mean(axes, keepdims=True) + eps)
    # --- stub
    # return x
    # --- end


def standardize_backward(dz, x, axes, eps=1e-5):
    """dz, x, dx: any shape"""
    # --- solution
    m = x.mean(axes, keepdims=True)
    r = 1 / np.sqrt(((x - m) ** 2).mean(axes, keepdims=True) + eps)
    z = (x - m) * r
    return r * (dz - dz.mean(axes, keepdims=True) - z * (dz * z).mean(axes, keepdims=True))
    # --- stub
    # return dz
    # --- end


# %% tags=["check"]
@lesson.check(
    "standardize",
    "standardize_backward",
    hint="Take layer_norm and layer_norm_backward, leave out w and b, and write axes wherever -1 stood.",
)
def _(standardize, standardize_backward):
    rng = np.random.default_rng(0)
    for shape, axes in [((3, 4), 1), ((3, 4), 0), ((2, 3, 2, 2), (0, 2, 3)), ((2, 3, 2, 2), (1, 2, 3))]:
        x, dz = rng.normal(size=shape) + 1, rng.normal(size=shape)
        z = standardize(x, axes)
        lessons.same(z.mean(axes), 0 * z.mean(axes), what=f"the means over axes {axes}")
        lessons.same(z.var(axes), 1 + 0 * z.mean(axes), tol=1e-3, what=f"the variances over axes {axes}")
        numeric = lessons.numeric_gradient(lambda x, axes=axes: standardize(x, axes), x, dz)
        lessons.same(standardize_backward(dz, x, axes), numeric, what=f"dx for axes {axes}")  # (09.19)


# %%
rng = np.random.default_rng(5)
x, dz = rng.normal(size=(3, 4, 2, 5)) + 1, rng.normal(size=(3, 4, 2, 5))
grouped = (3, 2, 2, 2, 5)  # two groups of two channels
for name, op, by_hand, dx in [
    ("batch_norm", lambda t: F.batch_norm(t, None, None, training=True), standardize(x, (0, 2, 3)), standardize_backward(dz, x, (0, 2, 3))),
    ("layer_norm", lambda t: F.layer_norm(t, (4, 2, 5)), standardize(x, (1, 2, 3)), standardize_backward(dz, x, (1, 2, 3))),
    ("instance_norm", F.instance_norm, standardize(x, (2, 3)), standardize_backward(dz, x, (2, 3))),
    ("group_norm", lambda t: F.group_norm(t, 2), standardize(x.reshape(grouped), (2, 3, 4)).reshape(x.shape), standardize_backward(dz.reshape(grouped), x.reshape(grouped), (2, 3, 4)).reshape(x.shape)),
]:  # fmt: skip
    leaf = minitorch.tensor(x, requires_grad=True)
    y = op(leaf)
    y.backward(minitorch.tensor(dz))
    lessons.same(y, by_hand, tol=1e-10, what=name)
    lessons.same(leaf.grad, dx, tol=1e-10, what=f"{name}, dx")  # (09.19)
    print(f"{name:14} equal, forward and backward")

# %% [markdown]
# ### Who depends on whom
#
# Same formula, but another consequence. Write an input of 4 examples with 5 features as one vector of 20 numbers, and look at the whole Jacobian, 20 by 20:

# %%
x = np.random.default_rng(6).normal(size=(4, 5))
figure, panels = plt.subplots(1, 2, figsize=(9, 4.2))
jacobians = {}
for axes, (name, along) in zip(panels, [("LayerNorm", 1), ("BatchNorm", 0)]):
    J = np.zeros((20, 20))
    for k, unit in enumerate(np.eye(20)):
        J[k] = standardize_backward(unit.reshape(4, 5), x, along).ravel()
    jacobians[name] = np.abs(J.reshape(4, 5, 4, 5))  # (n of z, c of z, n of x, c of x)
    axes.imshow(np.abs(J) > 1e-12, cmap="Blues", vmin=0, vmax=1.4)
    axes.set(xlabel="element of x", ylabel="element of z", xticks=range(0, 20, 5), yticks=range(0, 20, 5))
    axes.set_title(f"{name}: {'within an example' if along else 'across all examples'}")
    for edge in np.arange(5, 20, 5) - 0.5:
        axes.axhline(edge, color="0.5", linewidth=0.7)
        axes.axvline(edge, color="0.5", linewidth=0.7)
    axes.grid(visible=False)
figure.suptitle("Which elements of x does an element of z depend on? (lines between examples)", fontsize=12)
plt.show()

for n in range(4):
    for k in range(4):
        assert (jacobians["LayerNorm"][n, :, k].max() < 1e-12) == (n != k)  # never another example
        assert jacobians["BatchNorm"][n, :, k].max() > 1e-3  # always every example

# %% [markdown]
# With LayerNorm an example's output and gradient depend on that example alone. With BatchNorm each example's gradient has a share from all others in the batch. That is why BatchNorm needs reasonably large batches, running statistics for evaluation (lesson 07), and is awkward for sentences of different lengths,
# and why everything from lesson 11 on uses LayerNorm.
#
# ## What a normalized weight feels
#
# A linear layer before a normalization, $y = \mathrm{LN}(x W)$ with $W$ of shape $(D, C)$. Multiply $W$ by $a > 0$: every row of $xW$ is stretched by $a$, and by (09.6) nothing changes. So the loss does not depend on the length of $W$, only on its direction:
#
# $$ L(a W) = L(W), \qquad \nabla L(aW) = \frac{1}{a}\,\nabla L(W) \tag{09.20} $$
#
# (Differentiate the left equation with respect to $W$: $a\,\nabla L(aW) = \nabla L(W)$.) Differentiate it with respect to $a$ instead, at $a = 1$; the right-hand side does not contain $a$:
#
# $$ \sum_{ij} W_{ij}\, dW_{ij} = 0 \tag{09.21} $$
#
# The gradient is at a right angle to the weight. Then Pythagoras says what a step of gradient descent with rate $\eta$ does to the length:
#
# $$ \Vert W - \eta\, dW\Vert^2 = \Vert W\Vert^2 + \eta^2\,\Vert dW\Vert^2 \tag{09.22} $$
#
# **Every step makes the weight longer, and by (09.20) a longer weight gets smaller gradients.** A learning rate that is too large corrects itself. This is a good part of why normalized networks forgive a badly chosen rate; and it gives weight decay (lesson 05) a new job: it shortens $W$ again and so keeps the
# steps from fading. With BatchNorm all this holds for each column of $W$, because each feature has its own mean and variance. Measured, on scikit-learn's digits:

# %%
from sklearn.datasets import load_digits

X, t = load_digits(return_X_y=True)
X = (X - X.mean()) / X.std()
shuffled = np.random.default_rng(0).permutation(len(X))
train, test = shuffled[:1400], shuffled[1400:]


def loss_and_gradient(W, V, norm, rows):
    """L and dW of x -> norm(x W) -> relu -> V, in float64.        W: (64, 32)   V: (32, 10)"""
    W, V = minitorch.tensor(W, requires_grad=True), minitorch.tensor(V)
    L = F.cross_entropy(F.relu(norm(minitorch.tensor(X[rows]) @ W)) @ V, minitorch.tensor(t[rows]))
    L.backward()
    return float(L.detach()), W.grad.numpy()


def by_row(h):
    return F.layer_norm(h, (32,), eps=0)


def by_column(h):
    return F.batch_norm(h, None, None, training=True, eps=0)


rng = np.random.default_rng(0)
W, V = rng.normal(size=(64, 32)) / 8, rng.normal(size=(32, 10)) / 4
for name, norm in [("LayerNorm", by_row), ("BatchNorm", by_column)]:
    L1, dW1 = loss_and_gradient(W, V, norm, train[:200])
    L3, dW3 = loss_and_gradient(3 * W, V, norm, train[:200])
    assert np.isclose(L1, L3) and np.allclose(dW3, dW1 / 3)  # (09.20)
    assert abs((W * dW1).sum()) < 1e-10  # (09.21)
    each = np.abs((W * dW1).sum(0)).max()  # column by column
    assert (each < 1e-10) == (name == "BatchNorm")
    print(f"{name}: W · dW = {(W * dW1).sum():+.0e}; the largest of a single column {each:.0e}")

figure, axes = plt.subplots(figsize=(7, 3.6))
for rate, color in [(1.0, "C0"), (10.0, "C1"), (100.0, "C3")]:
    w, squared, lengths, pythagoras = W.copy(), (W**2).sum(), [], []
    for _step in range(40):
        lengths.append(np.linalg.norm(w))
        pythagoras.append(np.sqrt(squared))
        _, dW = loss_and_gradient(w, V, by_row, rng.choice(train, 100))
        w, squared = w - rate * dW, squared + rate**2 * (dW**2).sum()
    axes.semilogy(lengths, color=color, label=f"rate {rate:g}")
    axes.semilogy(range(0, 40, 3), pythagoras[::3], "o", color=color, markersize=4)
    assert np.allclose(lengths, pythagoras)  # (09.22)
    assert (np.diff(lengths) > 0).all()
axes.set(xlabel="step", ylabel="length of W", title="W grows at every step, as (09.22) says (dots)")
axes.legend(loc="upper right", bbox_to_anchor=(1, 0.9))
plt.show()

# %% [markdown]
# With rate 100 the first step makes $W$ so long that all later ones are tame.
#
# ## A deep network, with and without
#
# Take a *residual* network (lesson 07): each of 16 blocks adds something to its input, $h \leftarrow h + f(h)$, with $f(h) = \mathrm{relu}(h W_1)\, W_2$. Where does a normalization go? Two places are in use:
#
# - **post-norm**, of the first Transformer: $h \leftarrow \mathrm{LN}(h + f(h))$, after the sum;
# - **pre-norm**, of most models since: $h \leftarrow h + f(\mathrm{LN}(h))$, only on the way into $f$; the path of the sums stays free. One more normalization follows the last block.
#
# How large is $h$ after $l$ blocks, at the start of training? By lesson 06, $f$ can be initialised to keep the mean square of its input. The weights of $f$ are random with mean 0, so $f(h)$ and $h$ are uncorrelated, and their mean squares $q$ add up. Without normalization $f(h)$ has the mean square $q_l$ of its input; in pre-norm it has 1, always. Starting from $q_0 = 1$:
#
# $$ q_{l+1} = q_l + q_l \;\Rightarrow\; q_l = 2^l \ \text{(none)}, \qquad q_{l+1} = q_l + 1 \;\Rightarrow\; q_l = 1 + l \ \text{(pre)}, \qquad q_l = 1 \ \text{(post)} \tag{09.23} $$
#
# Exponential, linear, constant.


# %%
def block(h, W1, W2, kind, norm, relu):
    """One residual block. `norm` and `relu` may be NumPy's or minitorch's.        h: (N, D)   W1, W2: (D, D)"""
    if kind == "none":
        return h + relu(h @ W1) @ W2
    if kind == "post":
        return norm(h + relu(h @ W1) @ W2)
    return h + relu(norm(h) @ W1) @ W2  # pre


def weights(depth, D, seed):
    """For each block W1, W2: relu(h W1) has half the mean square of h, and W2 doubles it again."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(D, D)) * np.sqrt(gain / D) for _ in range(depth) for gain in (1, 2)]


depth, D = 16, 64
figure, axes = plt.subplots(figsize=(7, 3.8))
blocks = np.arange(depth + 1)
for kind, color, predicted in [
    ("none", "C3", 2.0**blocks),
    ("pre", "C0", 1.0 + blocks),
    ("post", "C2", 1.0 + 0 * blocks),
]:
    measured = np.zeros((8, depth + 1))
    for seed in range(8):
        h = normalized(np.random.default_rng(100 + seed).normal(size=(50, D)))
        W = weights(depth, D, seed)
        for k in blocks:
            measured[seed, k] = (h**2).mean()
            if k < depth:
                h = block(h, W[2 * k], W[2 * k + 1], kind, normalized, lambda a: np.maximum(a, 0))
    mean = measured.mean(0)
    axes.semilogy(blocks, predicted, color=color, linewidth=1)
    axes.semilogy(
        blocks,
        mean,
        "o",
        color=color,
        markersize=4,
        label={"none": "without", "pre": "pre-norm", "post": "post-norm"}[kind],
    )
    assert np.allclose(np.log2(mean), np.log2(predicted), atol=1.2)  # (09.23): eight networks are not all networks
axes.set(xlabel="blocks", ylabel="mean square of h", title="At the start: 2^l, 1 + l and 1, as (09.23) says (lines)")
axes.legend()
plt.show()

# %% [markdown]
# Now train on digits: 64 pixels, a linear layer to $D = 32$, 16 blocks, a linear layer to 10 classes; 34 weight matrices in all. Plain gradient descent, 60 steps with 64 pictures, for learning rates from $10^{-5}$ to 1. Accuracy on 397 pictures that were never trained on:


# %%
def train_deep(kind, rate, steps=60, depth=16, D=32):
    """The accuracy on test pictures after training."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(64, D)) / 8, *weights(depth, D, 0), rng.normal(size=(D, 10)) / np.sqrt(D)]
    parameters = [minitorch.tensor(a.astype(np.float32), requires_grad=True) for a in arrays]

    def norm(h):
        return F.layer_norm(h, (D,))

    def scores(rows):
        h = minitorch.tensor(X[rows].astype(np.float32)) @ parameters[0]
        for k in range(depth):
            h = block(h, parameters[1 + 2 * k], parameters[2 + 2 * k], kind, norm, F.relu)
        return (norm(h) if kind == "pre" else h) @ parameters[-1]

    optimizer = minitorch.optim.SGD(parameters, lr=rate)
    for _step in range(steps):
        rows = rng.choice(train, 64)
        L = F.cross_entropy(scores(rows), minitorch.tensor(t[rows]))
        if not np.isfinite(float(L.detach())):
            return 0.1  # it has overflowed: as good as guessing
        optimizer.zero_grad()
        L.backward()
        optimizer.step()
    with minitorch.no_grad():
        return float((scores(test).numpy().argmax(1) == t[test]).mean())


rates = [1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0]
with np.errstate(all="ignore"):
    results = {kind: [train_deep(kind, rate) for rate in rates] for kind in ("none", "post", "pre")}

figure, axes = plt.subplots()
for kind, marker, color, label in [
    ("none", "x", "C3", "without"),
    ("post", "s", "C2", "post-norm"),
    ("pre", "o", "C0", "pre-norm"),
]:
    axes.semilogx(rates, results[kind], marker + "-", color=color, label=label)
axes.axhline(0.1, color="0.6", linestyle=":", linewidth=1)
axes.text(1e-5, 0.12, "guessing", color="0.4", fontsize=9)
axes.set(xlabel="learning rate", ylabel="accuracy on test pictures", ylim=(0, 1))
axes.set_title("16 residual blocks, 60 steps of plain gradient descent")
axes.legend()
plt.show()
for kind, values in results.items():
    print(f"{kind:5}", "  ".join(f"{rate:g}: {value:.0%}" for rate, value in zip(rates, values)))
assert max(results["pre"]) > 0.9 > max(results["none"])
assert min(results["pre"][3:7]) > 0.5 and max(results["none"][2:]) < 0.5 and max(results["pre"]) > max(results["post"])

# %% [markdown]
# Without normalization the scores and gradients begin enormous, by (09.23): from a rate of $10^{-3}$ on the first steps throw the network out for good, and what learns below that stays far behind. Post-norm learns in a narrow range of rates, and less well in so few steps. Pre-norm learns best, over rates that differ by a factor of 30 and more. The free path of the sums brings every
# block a gradient that only the one normalization after the last block has touched. (Post-norm Transformers need a warmup of the rate, lesson 05; pre-norm ones can do without: arXiv:2002.04745.)
#
# ## What goes wrong
#
# ### Exercise 5: find the bug
#
# Somebody normalizes sentences: $x$ has shape $(B, T, C)$, $T$ words of $C$ numbers. The mean is 0, the variance is 1, training goes well, and a language model with it even has a *better* training loss than expected. But when it writes a sentence word by word, it is bad. Watch the first word of a sentence while the last one changes:


# %% tags=["exercise"]
def norm_sentences(x, eps=1e-5):
    """Every word to mean 0 and variance 1.       x: (B, T, C)"""
    # --- solution
    m = x.mean(axis=-1, keepdims=True)
    v = ((x - m) ** 2).mean(axis=-1, keepdims=True)
    # --- stub
    # m = x.mean(axis=(1, 2), keepdims=True)
    # v = ((x - m) ** 2).mean(axis=(1, 2), keepdims=True)
    # --- end
    return (x - m) / np.sqrt(v + eps)


# %% tags=["check"]
@lesson.check("norm_sentences", hint="Over which axes is the mean taken? Which numbers should share one?")
def _(norm_sentences):
    x = np.random.default_rng(0).normal(size=(2, 5, 4))
    changed = x.copy()
    changed[:, -1] += 10 * np.arange(4)  # another last word
    moved = np.abs(norm_sentences(changed)[:, 0] - norm_sentences(x)[:, 0]).max()
    assert moved < 1e-12, f"The first word's output moved by {moved:.2f} when the last word changed."
    lessons.same(norm_sentences(x), F.layer_norm(minitorch.tensor(x), (4,)), tol=1e-9, what="against layer_norm")


# %% [markdown]
# Statistics over the time axis tell every word something about all later words, and padding changes them too. Numbers look fine, shapes fit, and the gradient is right *for this function*: no gradient check finds it. What finds it is the question of the Jacobian's picture: who depends on whom?
#
# One more to find, in `lessons/zoo`: `lessons/zoo/03_the_norm_that_almost_trains.py`.
#
# ## Summary

# %% [markdown] tags=["summary"]
# | equation | what | op | test |
# |---|---|---|---|
# | (09.1), (09.2) | mean and variance of a row | `Var` | here, cases:var |
# | (09.3), (09.4) | LayerNorm | `LayerNorm` | here, cases:nn.functional.layer_norm |
# | (09.5), (09.6) | what a normalized row has lost: mean and size | `LayerNorm` | here |
# | (09.7), (09.8) | gradients of scale and shift | `LayerNorm` | here, cases:nn.functional.layer_norm |
# | (09.9), (09.10) | gradients of mean and variance | `Var` | here, cases:var |
# | (09.11), (09.12) | gradient of the root; the Jacobian of a row | `LayerNorm` | here |
# | (09.13) | LayerNorm's gradient, with both cross-terms | `LayerNorm` | here, cases:nn.functional.layer_norm |
# | (09.14), (09.15), (09.16) | as a projection; the gradient shrinks as the input grows | `LayerNorm` | here |
# | (09.17), (09.18) | RMSNorm and its gradient | `RMSNorm` | here, cases:nn.functional.rms_norm |
# | (09.19) | the same over other axes: BatchNorm | `Standardize` | here, cases:batch_norm, cases:nn.functional.group_norm, cases:instance_norm |
# | (09.20), (09.21), (09.22) | a weight before a normalization: only its direction counts | - | here |
# | (09.23) | the size of a residual stream: none, pre-norm, post-norm | - | here |
#
# You have the part of a Transformer that keeps its numbers in order. Next, [10 Attention](10_attention.ipynb): the part that decides which word looks at which.
