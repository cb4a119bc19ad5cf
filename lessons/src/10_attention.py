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
# # 10 Attention
#
# A recurrent network (lesson 08) carries everything that it has read in one vector, and an old word reaches the present only through every step in between. A program would do otherwise: it would *look up* what it needs. **How can a layer fetch the right element out of many, wherever it stands, and still have a gradient?**
# You will build that look-up, derive why it divides by $\sqrt d$, derive its whole gradient, split it into heads, give it a sense of position, and watch it learn something that no average can.
#
# You need lessons 02 (matrix products by indices), 04 (softmax and its gradient) and 06 (variance of a layer). Time: 60 minutes.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minitorch
import minitorch.nn.functional as F
from minitorch import lessons, nn, viz

lesson = lessons.start(10)

# %% [markdown]
# ## A soft look-up
#
# A dictionary holds pairs of a *key* and a *value*. You come with a *query*, find the key that equals it, and get its value. Now let keys and queries be vectors. "Equals" becomes "points in the same direction": the dot product $q \cdot k_j$ is a *score* of how well key $j$ fits. To take the value of the best key
# is a choice, and a choice has no gradient. So take a little of every value: weights from a softmax of the scores, $p_j \propto e^{s_j}$, and the weighted mean $\sum_j p_j v_j$. The longer the query, the more it is like a choice.

# %%
angles = np.radians([10, 60, 100, 200, 300])
keys = np.stack([np.cos(angles), np.sin(angles)], axis=1)
query = np.array([np.cos(0.9), np.sin(0.9)])

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), width_ratios=[1, 1.6])
for j, k in enumerate(keys):
    left.annotate("", k, (0, 0), arrowprops={"arrowstyle": "-|>", "color": f"C{j}", "linewidth": 2})
    left.text(*(1.17 * k), f"k{j}", color=f"C{j}", ha="center", va="center")
left.annotate("", 0.8 * query, (0, 0), arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 3})
left.text(*(0.9 * query), "q", ha="center", va="center")
left.set(aspect="equal", xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), title="Five keys, one query")
for group, length in enumerate([1, 4, 30]):
    weights = np.exp(length * keys @ query)
    right.bar(group + np.arange(-2, 3) * 0.16, weights / weights.sum(), width=0.14, color=[f"C{j}" for j in range(5)])
right.set_xticks(range(3), ["length 1", "length 4", "length 30"])
right.set(xlabel="length of the query", ylabel="weight of each key", title="From an average to a choice")
plt.show()

# %% [markdown]
# ## Attention, by indices
#
# There are $T$ queries, in a matrix $Q$ of shape $(T, d)$, and $S$ keys, $K$ of shape $(S, d)$, each with its value, $V$ of shape $(S, E)$. Indices: $i$ counts queries, $j$ and $l$ count keys, $c$ the $d$ places of a query or key, $e$ the $E$ places of a value. Scores (their factor is the next section's subject), weights, output:
#
# $$ s_{ij} = \frac{1}{\sqrt d}\sum_{c=1}^{d} q_{ic}\, k_{jc} \tag{10.1} $$
#
# $$ p_{ij} = \frac{e^{s_{ij}}}{\sum_{l=1}^{S} e^{s_{il}}} \tag{10.2} $$
#
# $$ y_{ie} = \sum_{j=1}^{S} p_{ij}\, v_{je} \tag{10.3} $$
#
# The sum over $c$ is a product with a transpose, the sum over $j$ a plain product. All three together, with shapes $(T, d)(d, S) \to (T, S)$ and $(T, S)(S, E) \to (T, E)$:
#
# $$ Y = \mathrm{softmax}\Big(\frac{Q K^{\top}}{\sqrt d}\Big)\, V \tag{10.4} $$
#
# Each row of $P$ is a set of weights that add up to 1; each row of $Y$ is a weighted mean of the rows of $V$. The softmax works along the keys, the last axis of $(T, S)$. Later there will be axes in front, for the batch and for the heads: `@` multiplies the last two axes for each of them.
#
# ### Exercise 1: forward
#
# `softmax` is lesson 04's.


# %%
def softmax(s):
    """Along the last axis."""
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# %% tags=["exercise"]
def attention(q, k, v):
    """q: (..., T, d)   k: (..., S, d)   v: (..., S, E)   returns y: (..., T, E), p: (..., T, S)"""
    d = q.shape[-1]
    # --- solution
    s = q @ k.swapaxes(-1, -2) / np.sqrt(d)  # (..., T, S)
    p = softmax(s)
    return p @ v, p
    # --- stub
    # p = np.zeros((*q.shape[:-1], k.shape[-2]))  # (..., T, S)
    # return p @ v, p
    # --- end


# %% tags=["check"]
@lesson.check("attention", hint="k.swapaxes(-1, -2) is (..., d, S). Scores q @ that / sqrt(d), then softmax, then @ v.")
def _(attention):
    rng = np.random.default_rng(0)
    T, S, d, E = 3, 4, 5, 2
    q, k, v = rng.normal(size=(T, d)), rng.normal(size=(S, d)), rng.normal(size=(S, E))
    s, p, y = np.zeros((T, S)), np.zeros((T, S)), np.zeros((T, E))
    for i in range(T):
        for j in range(S):
            s[i, j] = sum(q[i, c] * k[j, c] for c in range(d)) / np.sqrt(d)  # (10.1)
        for j in range(S):
            p[i, j] = np.exp(s[i, j]) / sum(np.exp(s[i, m]) for m in range(S))  # (10.2)
        for e in range(E):
            y[i, e] = sum(p[i, j] * v[j, e] for j in range(S))  # (10.3)
    lessons.same(attention(q, k, v)[1], p, what="the weights")
    lessons.same(attention(q, k, v)[0], y, what="the output")  # (10.4)
    many = [rng.normal(size=(2, 6, n, m)) for n, m in ((T, d), (S, d), (S, E))]
    lessons.same(attention(*many)[0][1, 4], attention(*[a[1, 4] for a in many])[0], what="one of a batch of (2, 6)")


# %% [markdown]
# ## Why divide by the root of d
#
# At the start of training queries and keys are random. Say that all their entries are independent, with mean 0 and variance 1. What does an unscaled score $q \cdot k = \sum_c q_c k_c$ look like? Its mean is $\sum_c \mathbb E[q_c]\,\mathbb E[k_c] = 0$, so its variance is the mean of its square, a double sum:
#
# $$ \mathrm{Var}(q\cdot k) = \sum_{c}\sum_{c'} \mathbb E[q_c\, k_c\, q_{c'}\, k_{c'}] = \sum_{c} \mathbb E[q_c^2]\,\mathbb E[k_c^2] = d \tag{10.5} $$
#
# Terms with $c \ne c'$ contain the factor $\mathbb E[q_c] = 0$ and vanish; the $d$ terms with $c = c'$ are 1 each. A standard deviation of $\sqrt d$: the wider the vectors, the larger the scores. A factor $a$ multiplies a variance by $a^2$, so
#
# $$ \mathrm{Var}\Big(\frac{q \cdot k}{\sqrt d}\Big) = \frac{d}{d} = 1 \tag{10.6} $$
#
# And why should scores not be large? Because of the gradient. The Jacobian of one row of weights, (04.5), is $\partial p_j/\partial s_l = p_j(\delta_{jl} - p_l)$. Add up its diagonal:
#
# $$ \sum_j \frac{\partial p_j}{\partial s_j} = \sum_j p_j (1 - p_j) = 1 - \sum_j p_j^2 \tag{10.7} $$
#
# If one weight is 1 and all others are 0, this is 0, and with it all entries of the Jacobian. The look-up has become a choice, and no gradient comes back to queries and keys. With equal weights it is $1 - 1/S$, the largest it can be. So at the start, scores should be of size 1, whatever $d$ is.

# %%
S = 16
ds = np.array([1, 4, 16, 64, 256, 1024])
measured = {name: {"spread": [], "largest": [], "slope": []} for name in ("q · k", "q · k / √d")}
rng = np.random.default_rng(0)
for d in ds:
    q, k = rng.normal(size=(400, 1, d)), rng.normal(size=(400, S, d))
    for name, scale in (("q · k", 1.0), ("q · k / √d", 1 / np.sqrt(d))):
        s = (q @ k.swapaxes(-1, -2))[:, 0] * scale  # (400, S)
        p = softmax(s)
        measured[name]["spread"].append(s.std())
        measured[name]["largest"].append(p.max(-1).mean())
        measured[name]["slope"].append((1 - (p**2).sum(-1)).mean())

figure, panels = plt.subplots(1, 3, figsize=(12, 3.6))
titles = {
    "spread": "Spread of the scores",
    "largest": "The largest of 16 weights",
    "slope": "1 - Σ p², the slope that is left",
}
for axes, (what, title) in zip(panels, titles.items()):
    for (name, values), color in zip(measured.items(), ("C3", "C0")):
        axes.plot(ds, values[what], "o", color=color, label=name)
    axes.set(xscale="log", xlabel="d", title=title)
panels[0].loglog(ds, np.sqrt(ds), color="C3", linewidth=1, label="√d")
panels[0].loglog(ds, np.ones(len(ds)), color="C0", linewidth=1, label="1")
panels[0].set_ylim(0.3, 60)
panels[0].legend()
panels[1].set_ylim(0, 1)
panels[2].set_ylim(0, 1)
plt.show()

assert np.allclose(measured["q · k"]["spread"] / np.sqrt(ds), 1, atol=0.15)  # (10.5)
assert np.allclose(measured["q · k / √d"]["spread"], 1, atol=0.15)  # (10.6)
p = softmax(rng.normal(size=5))  # (10.7)
slopes = [lessons.numeric_gradient(lambda s: softmax(s), np.log(p), np.eye(5)[j])[j] for j in range(5)]
assert np.isclose(sum(slopes), 1 - (p**2).sum())

# %% [markdown]
# Without the factor, at $d = 1024$ one of 16 random keys has practically all the weight before anything was learned, and hardly any slope is left.
#
# ### Exercise 2: other variances
#
# Suppose that the entries of queries have the standard deviation `a`, those of keys `b`. Which factor gives scores of variance 1?


# %% tags=["exercise"]
def scale_for(d, a, b):
    """The factor for q . k, where q and k have d entries with standard deviations a and b."""
    # --- solution
    return 1 / (a * b * np.sqrt(d))
    # --- end


# %% tags=["check"]
@lesson.check("scale_for", hint="In (10.5) each of the d terms is now a² b². A factor f multiplies the variance by f².")
def _(scale_for):
    rng = np.random.default_rng(0)
    for d, a, b in [(64, 1.0, 1.0), (64, 3.0, 1.0), (16, 0.5, 0.2)]:
        q, k = a * rng.normal(size=(20000, d)), b * rng.normal(size=(20000, d))
        scores = scale_for(d, a, b) * (q * k).sum(1)
        lessons.same(scores.std(), 1.0, tol=0.03, what=f"spread of 20,000 scores, d = {d}, a = {a}, b = {b}")


# %% [markdown]
# ## Masks: keys that may not be seen
#
# Two reasons to hide keys. *Padding*: sentences of a batch are filled up to one length, and the fill means nothing; what is hidden depends on $j$ alone. *Causality*: a model that predicts the next word must not see it; query $i$ may see key $j$ only if $j \le i$.
# Say allowed or not by a mask of booleans, True where allowed, and give the others the score $-\infty$, before the softmax:
#
# $$ p_{ij} = \frac{e^{s_{ij} + M_{ij}}}{\sum_l e^{s_{il} + M_{il}}}, \qquad M_{ij} = \begin{cases} 0 & \text{allowed} \\ -\infty & \text{hidden} \end{cases} \tag{10.8} $$
#
# As $e^{-\infty} = 0$, a hidden key drops out of the numerator *and out of the sum below*: the result is exactly the softmax over the allowed keys alone, as if the hidden ones did not exist. Setting the weights to 0 *after* the softmax looks the same and is not: hidden scores still stand in the denominator, so the output, and the gradient,
# depend on them.
#
# ### Exercise 3: masks
#
# The stub masks after the softmax. Watch what the check says about it.
#
# <details><summary>Two NumPy functions that help</summary>
#
# `np.arange(T)[:, None] >= np.arange(T)` compares every pair of numbers: a $(T, T)$ array. `np.where(mask, s, -np.inf)` takes `s` where the mask is True.
#
# </details>


# %% tags=["exercise"]
def causal_mask(T):
    """(T, T) booleans: row i allows columns 0 to i."""
    # --- solution
    return np.arange(T)[:, None] >= np.arange(T)
    # --- stub
    # return np.ones((T, T), bool)
    # --- end


def padding_mask(lengths, S):
    """lengths: list or array of B numbers   returns (B, 1, S) booleans: sentence b allows its first lengths[b] keys."""
    # --- solution
    return (np.arange(S) < np.asarray(lengths)[:, None])[:, None, :]
    # --- stub
    # return np.ones((len(lengths), 1, S), bool)
    # --- end


def masked_softmax(s, mask):
    """s: (..., T, S)   mask: broadcasts to it, True is allowed"""
    # --- solution
    return softmax(np.where(mask, s, -np.inf))
    # --- stub
    # return softmax(s) * mask
    # --- end


# %% tags=["check"]
@lesson.check(
    "causal_mask",
    "padding_mask",
    "masked_softmax",
    hint="Hidden scores become -inf before the softmax. Masks compare row and column numbers, or columns and lengths.",
)
def _(causal_mask, padding_mask, masked_softmax):
    s = np.random.default_rng(0).normal(size=(2, 4, 5))
    mask = np.array([[[True, True, False, False, False]], [[True] * 5]])
    kept = s.copy()
    p = masked_softmax(s, mask)
    lessons.same(s, kept, what="s after the call (it should be left alone)")
    lessons.same(p[0, :, :2], softmax(s[0, :, :2]), what="weights of the two allowed keys")  # (10.8)
    lessons.same(p[0, :, 2:], np.zeros((4, 3)), what="weights of the hidden keys")
    lessons.same(p[1], softmax(s[1]), what="where nothing is hidden")
    lessons.same(causal_mask(3), [[1, 0, 0], [1, 1, 0], [1, 1, 1]], what="causal_mask(3)")
    lessons.same(padding_mask([1, 3], 3), [[[1, 0, 0]], [[1, 1, 1]]], what="padding_mask([1, 3], 3)")


# %%
def masked_attention(q, k, v, mask=True):
    """As `attention`, with a mask that broadcasts to (..., T, S)."""
    s = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])  # (..., T, S)
    p = masked_softmax(s, mask)
    return p @ v, p


rng = np.random.default_rng(1)
B, T, d = 2, 7, 8
q, k, v = (rng.normal(size=(B, T, d)) for _ in range(3))
causal, padding = causal_mask(T), padding_mask([5, 7], T)
maps = np.stack([masked_attention(q, k, v, mask)[1][0] for mask in (True, padding, causal, causal & padding)])
figure = viz.attention(maps, title="One sentence of 5 words and 2 of padding: no mask, padding, causal, both")
for axes, name in zip(figure.axes, ["no mask", "padding", "causal", "both"]):
    axes.set_title(name)
    axes.grid(visible=False)
plt.show()

for mask, options in [
    (True, {}),
    (padding, {"attn_mask": minitorch.tensor(padding)}),
    (causal, {"is_causal": True}),
    (causal & padding, {"attn_mask": minitorch.tensor(causal & padding)}),
]:
    y = F.scaled_dot_product_attention(*map(minitorch.tensor, (q, k, v)), **options)
    lessons.same(y, masked_attention(q, k, v, mask)[0], tol=1e-12, what="y")  # (10.4), (10.8)
print("minitorch's scaled_dot_product_attention gives the same four outputs")

# %% [markdown]
# One row can go wrong: if *all* keys of a query are hidden, (10.8) is 0/0. NumPy gives NaN. minitorch and PyTorch return zeros for such a row.
#
# ## The whole gradient
#
# Given $dy$ of shape $(T, E)$; wanted are $dq$ like $q$, $dk$ like $k$, $dv$ like $v$. Walk back through (10.3), (10.2), (10.1).
#
# **Through the weighted mean.** In (10.3), $\partial y_{ie}/\partial v_{je} = p_{ij}$. A value is used by every query, so the sum runs over $i$:
#
# $$ dv_{je} = \sum_i p_{ij}\, dy_{ie}, \qquad dV = P^{\top} dY \tag{10.9} $$
#
# Shapes: $(S, T)(T, E) \to (S, E)$. And $\partial y_{ie}/\partial p_{ij} = v_{je}$; a weight is used for all $E$ places of the output:
#
# $$ dp_{ij} = \sum_e dy_{ie}\, v_{je}, \qquad dP = dY\, V^{\top} \tag{10.10} $$
#
# Shapes: $(T, E)(E, S) \to (T, S)$.
#
# **Through the softmax.** Row $i$ by itself, with the Jacobian (04.5), $\partial p_{il}/\partial s_{ij} = p_{il}(\delta_{lj} - p_{ij})$:
#
# $$ ds_{ij} = \sum_l dp_{il}\, p_{il}\,(\delta_{lj} - p_{ij}) = p_{ij}\,\Big(dp_{ij} - \sum_l p_{il}\, dp_{il}\Big) \tag{10.11} $$
#
# A key gets a higher score if its value serves the loss better than the *average* value, weighted by $p$. A hidden key has $p_{ij} = 0$, so $ds_{ij} = 0$: the mask needs no line of its own. The subtracted sum is one number for each query, and there is a shorter way to it. Put (10.10) in, exchange the sums, and find (10.3):
#
# $$ \sum_l p_{il}\, dp_{il} = \sum_l p_{il} \sum_e dy_{ie}\, v_{le} = \sum_e dy_{ie}\, y_{ie} \tag{10.12} $$
#
# (Programs that never hold all of $P$ in memory, as FlashAttention, arXiv:2205.14135, live on this: the sum over all keys can be had from the output.) Sum (10.11) over $j$, remembering $\sum_j p_{ij} = 1$: the changes of the scores of a row cancel,
#
# $$ \sum_j ds_{ij} = 0 \tag{10.13} $$
#
# **Through the scores.** In (10.1), $\partial s_{ij}/\partial q_{ic} = k_{jc}/\sqrt d$, and the other way round. A query meets every key, a key every query:
#
# $$ dq_{ic} = \frac{1}{\sqrt d}\sum_j ds_{ij}\, k_{jc}, \qquad dQ = \frac{1}{\sqrt d}\, dS\, K \tag{10.14} $$
#
# $$ dk_{jc} = \frac{1}{\sqrt d}\sum_i ds_{ij}\, q_{ic}, \qquad dK = \frac{1}{\sqrt d}\, dS^{\top} Q \tag{10.15} $$
#
# Shapes: $(T, S)(S, d) \to (T, d)$ and $(S, T)(T, d) \to (S, d)$. The factor that was in the score is in both gradients.
#
# ### Exercise 4: backward
#
# Five lines of matrix products. `swapaxes(-1, -2)` transposes the last two axes.


# %% tags=["exercise"]
def attention_backward(dy, q, k, v, mask=True):
    """dy: (..., T, E)   returns dq, dk, dv, in the shapes of q, k, v"""
    p = masked_attention(q, k, v, mask)[1]  # (..., T, S)
    d = q.shape[-1]
    # --- solution
    dv = p.swapaxes(-1, -2) @ dy  # (..., S, E)
    dp = dy @ v.swapaxes(-1, -2)  # (..., T, S)
    ds = p * (dp - (p * dp).sum(-1, keepdims=True))
    dq = ds @ k / np.sqrt(d)  # (..., T, d)
    dk = ds.swapaxes(-1, -2) @ q / np.sqrt(d)  # (..., S, d)
    return dq, dk, dv
    # --- stub
    # dv = np.zeros_like(v)  # (10.9)
    # dp = np.zeros_like(p)  # (10.10)
    # ds = np.zeros_like(p)  # (10.11)
    # dq = ds @ k / np.sqrt(d)  # (10.14)
    # dk = np.zeros_like(k)  # (10.15)
    # return dq, dk, dv
    # --- end


# %% tags=["check"]
@lesson.check(
    "attention_backward",
    hint="From the back: p.swapaxes(-1, -2) @ dy, then dy @ v.swapaxes(-1, -2), then softmax's gradient row by row.",
)
def _(attention_backward):
    rng = np.random.default_rng(0)
    T, S, d, E = 3, 4, 5, 2

    def compare(*batch, mask=True):
        q, k, v, dy = (rng.normal(size=(*batch, n, m)) for n, m in ((T, d), (S, d), (S, E), (T, E)))
        dq, dk, dv = attention_backward(dy, q, k, v, mask)
        out = lambda q, k, v: masked_attention(q, k, v, mask)[0]  # noqa: E731
        lessons.same(dv, lessons.numeric_gradient(lambda v: out(q, k, v), v, dy), what="dv")  # (10.9)
        lessons.same(dq, lessons.numeric_gradient(lambda q: out(q, k, v), q, dy), what="dq")  # (10.14)
        lessons.same(dk, lessons.numeric_gradient(lambda k: out(q, k, v), k, dy), what="dk")  # (10.15)

    compare()
    compare(2, mask=padding_mask([2, 4], S))


# %% [markdown]
# Every step against differences, then against minitorch. For the inner steps the function begins in the middle: the output as a function of the weights, and as a function of the scores.

# %%
rng = np.random.default_rng(2)
T, S, d, E = 4, 6, 5, 3
q, k, v, dy = (rng.normal(size=shape) for shape in ((T, d), (S, d), (S, E), (T, E)))
mask = np.arange(S) <= np.arange(T)[:, None] + 2
dq, dk, dv = attention_backward(dy, q, k, v, mask)

y, p = masked_attention(q, k, v, mask)
s = q @ k.T / np.sqrt(d)
dp = dy @ v.T  # (10.10)
ds = p * (dp - (p * dp).sum(-1, keepdims=True))  # (10.11)
numeric = lessons.numeric_gradient
worst = lessons.show_errors(
    {
        "dP": (dp, numeric(lambda p: p @ v, p, dy)),
        "dS": (ds, numeric(lambda s: masked_softmax(s, mask) @ v, s, dy)),
        "dQ": (dq, numeric(lambda q: masked_attention(q, k, v, mask)[0], q, dy)),
        "dK": (dk, numeric(lambda k: masked_attention(q, k, v, mask)[0], k, dy)),
        "dV": (dv, numeric(lambda v: masked_attention(q, k, v, mask)[0], v, dy)),
    },
    title="Attention, 4 queries and 6 keys, some hidden: formulas against differences",
    limit=1e-7,
)
assert worst < 1e-7
assert np.allclose((p * dp).sum(-1), (dy * y).sum(-1))  # (10.12)
assert np.allclose(ds.sum(-1), 0) and (ds[~mask] == 0).all()  # (10.13), and nothing for hidden keys

leaves = [minitorch.tensor(a, requires_grad=True) for a in (q, k, v)]
F.scaled_dot_product_attention(*leaves, attn_mask=minitorch.tensor(mask)).backward(minitorch.tensor(dy))
for name, leaf, expected in zip(["dq", "dk", "dv"], leaves, [dq, dk, dv]):
    lessons.same(leaf.grad, expected, tol=1e-12, what=name)  # (10.9), (10.14), (10.15)
print("minitorch's dq, dk, dv are equal")

# %% [markdown]
# ## Heads
#
# One look-up gives each query one mixture of values. A word may need several: its verb, its adjective, the word before it. *Multi-head attention* does $h$ look-ups at once, each in a part of width $d = D/h$, with learned *projections* that say what each part asks for, offers, and hands over. In *self-attention* all three come from
# one input $x$ of shape $(B, T, D)$. The matrices $W^Q, W^K, W^V$ are $(D, D)$, used as in every linear layer, $Q = x\, W^{Q\top}$:
#
# $$ Q_{b,t,a} = \sum_{m=0}^{D-1} x_{btm}\, W^Q_{am}, \qquad q_{b,g,t,c} = Q_{b,\,t,\,gd + c} \tag{10.16} $$
#
# and $K$, $V$ in the same way. Here $g = 0, \dots, h-1$ numbers the heads and $c = 0, \dots, d-1$ the places in a head: head $g$ gets the columns from $gd$ to $gd + d - 1$. In code that is a reshape of the last axis, $(B, T, D) \to (B, T, h, d)$, *and then* a transpose to $(B, h, T, d)$, because attention wants time and width last. After the
# attention, the way back, and an output projection that mixes the heads:
#
# $$ Y_{b,\,t,\,gd+c} = y_{b,g,t,c}, \qquad \mathrm{out} = Y\, W^{O\top} \tag{10.17} $$


# %%
def split_heads(x, h):
    B, T, D = x.shape
    x = x.reshape(B, T, h, D // h)
    return x.transpose(0, 2, 1, 3)  # (B, h, T, d)


def join_heads(x):
    B, h, T, d = x.shape
    x = x.transpose(0, 2, 1, 3)  # (B, T, h, d)
    return x.reshape(B, T, h * d)


def multi_head(x, W_Q, W_K, W_V, W_O, h, mask=True):
    """x: (B, T, D)   W: (D, D)   returns out: (B, T, D), p: (B, h, T, T)"""
    Q, K, V = x @ W_Q.T, x @ W_K.T, x @ W_V.T  # (B, T, D)
    q, k, v = split_heads(Q, h), split_heads(K, h), split_heads(V, h)  # (B, h, T, d)
    y, p = masked_attention(q, k, v, mask)  # (B, h, T, d), (B, h, T, T)
    Y = join_heads(y)  # (B, T, D)
    return Y @ W_O.T, p


# %% [markdown]
# Backward, nothing is new. Reshape and transpose only move numbers, so their gradients move them back: `split_heads` and `join_heads` undo each other. The projections are matrix products (lesson 02), summed over all rows $b, t$ that used the weight. With $dQ$, $dK$, $dV$ of shape $(B, T, D)$, joined from the heads:
#
# $$ dW^Q_{am} = \sum_{b,t} dQ_{bta}\, x_{btm}, \qquad dW^O_{am} = \sum_{b,t} d\mathrm{out}_{bta}\, Y_{btm} \tag{10.18} $$
#
# (and $W^K$, $W^V$ like $W^Q$). The input was used three times, so three gradients arrive and are added:
#
# $$ dx = dQ\, W^Q + dK\, W^K + dV\, W^V \tag{10.19} $$
#
# ### Exercise 5: backward through the heads
#
# `rows(a)` flattens $(B, T, D)$ to $(B T, D)$; then (10.18) is one matrix product, `rows(dQ).T @ rows(x)`.


# %% tags=["exercise"]
def multi_head_backward(dout, x, W_Q, W_K, W_V, W_O, h, mask=True):
    """dout, x: (B, T, D)   returns dx, dW_Q, dW_K, dW_V, dW_O"""
    rows = lambda a: a.reshape(-1, a.shape[-1])  # noqa: E731        (B T, D)
    q, k, v = (split_heads(x @ W.T, h) for W in (W_Q, W_K, W_V))  # (B, h, T, d)
    Y = join_heads(masked_attention(q, k, v, mask)[0])  # (B, T, D)
    dY = dout @ W_O  # (B, T, D)
    dW_O = rows(dout).T @ rows(Y)  # (D, D)
    # --- solution
    dq, dk, dv = attention_backward(split_heads(dY, h), q, k, v, mask)  # (B, h, T, d)
    dQ, dK, dV = join_heads(dq), join_heads(dk), join_heads(dv)  # (B, T, D)
    dW_Q, dW_K, dW_V = (rows(a).T @ rows(x) for a in (dQ, dK, dV))  # (D, D)
    dx = dQ @ W_Q + dK @ W_K + dV @ W_V  # (B, T, D)
    return dx, dW_Q, dW_K, dW_V, dW_O
    # --- stub
    # # the attention's gradients, in heads: (B, h, T, d); joined again: (B, T, D)
    # dW_Q, dW_K, dW_V = np.zeros_like(W_Q), np.zeros_like(W_K), np.zeros_like(W_V)
    # dx = np.zeros_like(x)
    # return dx, dW_Q, dW_K, dW_V, dW_O
    # --- end


# %% tags=["check"]
@lesson.check(
    "multi_head_backward",
    hint="attention_backward(split_heads(dY, h), q, k, v, mask) gives dq, dk, dv; join_heads each; then (10.18), (10.19).",
)
def _(multi_head_backward):
    rng = np.random.default_rng(0)
    x, dout = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4))
    W = [rng.normal(size=(4, 4)) for _ in range(4)]
    mask = causal_mask(3)
    found = multi_head_backward(dout, x, *W, 2, mask)
    for n, name in enumerate(["dW_Q", "dW_K", "dW_V", "dW_O"]):
        changed = lambda A, n=n: multi_head(x, *[A if i == n else W[i] for i in range(4)], 2, mask)[0]  # noqa: E731
        lessons.same(found[n + 1], lessons.numeric_gradient(changed, W[n], dout), what=name)  # (10.18)
    lessons.same(found[0], lessons.numeric_gradient(lambda x: multi_head(x, *W, 2, mask)[0], x, dout), what="dx")


# %% [markdown]
# minitorch's `nn.MultiheadAttention` keeps $W^Q, W^K, W^V$ below each other in one matrix of shape $(3D, D)$, `in_proj_weight`. The same weights, the same outputs, maps and gradients:

# %%
rng = np.random.default_rng(3)
B, T, D, h = 2, 5, 8, 4
x, dout = rng.normal(size=(B, T, D)), rng.normal(size=(B, T, D))
W = [rng.normal(size=(D, D)) / np.sqrt(D) for _ in range(4)]
mask = causal_mask(T)
out, p = multi_head(x, *W, h, mask)
dx, *dW = multi_head_backward(dout, x, *W, h, mask)

module = nn.MultiheadAttention(D, h, batch_first=True, dtype=minitorch.float64)
with minitorch.no_grad():
    module.in_proj_weight.copy_(minitorch.tensor(np.concatenate(W[:3])))
    module.out_proj.weight.copy_(minitorch.tensor(W[3]))
leaf = minitorch.tensor(x, requires_grad=True)
its_out, its_p = module(leaf, leaf, leaf, attn_mask=minitorch.tensor(~mask), average_attn_weights=False)
its_out.backward(minitorch.tensor(dout))
lessons.same(its_out, out, tol=1e-12, what="out")  # (10.16), (10.17)
lessons.same(its_p, p, tol=1e-12, what="the maps of the four heads")
lessons.same(module.in_proj_weight.grad, np.concatenate(dW[:3]), tol=1e-12, what="dW_Q, dW_K, dW_V")  # (10.18)
lessons.same(module.out_proj.weight.grad, dW[3], tol=1e-12, what="dW_O")
lessons.same(leaf.grad, dx, tol=1e-12, what="dx")  # (10.19)
worst = lessons.show_errors(
    {
        "dx": (dx, numeric(lambda x: multi_head(x, *W, h, mask)[0], x, dout)),
        "dW_Q": (dW[0], numeric(lambda A: multi_head(x, A, *W[1:], h, mask)[0], W[0], dout)),
        "dW_K": (dW[1], numeric(lambda A: multi_head(x, W[0], A, *W[2:], h, mask)[0], W[1], dout)),
        "dW_V": (dW[2], numeric(lambda A: multi_head(x, *W[:2], A, W[3], h, mask)[0], W[2], dout)),
        "dW_O": (dW[3], numeric(lambda A: multi_head(x, *W[:3], A, h, mask)[0], W[3], dout)),
    },
    title="Four heads: formulas against differences, and minitorch agrees",
    limit=1e-7,
)
assert worst < 1e-7

# %% [markdown]
# Note the `~`: in `nn.MultiheadAttention`, as in PyTorch's, True in a mask means *hidden*; in `scaled_dot_product_attention` True means *allowed*. Many hours have been lost there.
#
# The module has biases too, at 0 here. One of them is useless, and you can tell from (10.13). Add the same vector to all keys: every score of a row changes by the same amount, and the softmax does not notice. So the bias of the key projection never gets a gradient:

# %%
for name, gradient in zip(("queries", "keys", "values"), module.in_proj_bias.grad.numpy().reshape(3, D)):
    print(f"bias of the {name:8} largest gradient {np.abs(gradient).max():.1e}")
assert np.abs(module.in_proj_bias.grad.numpy()[D : 2 * D]).max() < 1e-12  # (10.13)

# %% [markdown]
# ## Position
#
# "Dog bites man" and "man bites dog" have the same words. Does attention see the difference? Let $\pi$ reorder the positions: row $t$ of the new input is row $\pi(t)$ of the old, $x'_t = x_{\pi(t)}$. Queries, keys and values are made row by row, so they are reordered in the same way; scores become $s'_{ij} = s_{\pi(i)\pi(j)}$; and in the
# sums over all keys, the softmax's and (10.3)'s, it does not matter in which order the terms come. So without a causal mask
#
# $$ y'_i = \frac{\sum_j e^{s_{\pi(i)\pi(j)}}\, v_{\pi(j)}}{\sum_j e^{s_{\pi(i)\pi(j)}}} = \frac{\sum_l e^{s_{\pi(i)\,l}}\, v_l}{\sum_l e^{s_{\pi(i)\,l}}} = y_{\pi(i)} \tag{10.20} $$
#
# The outputs are reordered like the inputs, and otherwise the same. *Attention is permutation-equivariant*: to it, a sentence is a bag of words.

# %%
order = np.array([3, 0, 4, 1, 2])
lessons.same(
    multi_head(x[:, order], *W, h)[0], multi_head(x, *W, h)[0][:, order], tol=1e-12, what="reordered"
)  # (10.20)
print("reordered words give reordered outputs, equal to 12 digits")

# %% [markdown]
# So position has to be put into the input: add to word $t$ a vector $P_t$ of width $D$ that only depends on $t$. The first Transformer took waves of $D/2$ different frequencies, a sine and a cosine of each, for $m = 0, \dots, D/2 - 1$:
#
# $$ P_{t,2m} = \sin(\omega_m t), \qquad P_{t,2m+1} = \cos(\omega_m t), \qquad \omega_m = 10000^{-2m/D} \tag{10.21} $$
#
# Like the hands of clocks, fast ones and slow ones. Three properties, each one line of trigonometry. First, all positions are of the same length, because $\sin^2 + \cos^2 = 1$. Second, by $\sin a \sin b + \cos a\cos b = \cos(a - b)$, the dot product of two positions depends only on how far apart they are:
#
# $$ P_t \cdot P_{u} = \sum_{m=0}^{D/2-1} \cos\big(\omega_m (t - u)\big), \qquad P_t\cdot P_t = \frac{D}{2} \tag{10.22} $$
#
# Third, by the addition theorems, going $\Delta$ steps on turns each hand by the angle $\omega_m \Delta$, wherever it stands:
#
# $$ \begin{pmatrix} \sin \omega_m(t + \Delta) \\ \cos \omega_m(t+\Delta) \end{pmatrix} = \begin{pmatrix} \cos\omega_m\Delta & \sin\omega_m\Delta \\ -\sin\omega_m\Delta & \cos\omega_m\Delta \end{pmatrix} \begin{pmatrix} \sin\omega_m t \\ \cos\omega_m t\end{pmatrix} \tag{10.23} $$
#
# The matrix does not contain $t$. So *one* matrix $R_\Delta$, with these blocks on its diagonal, moves every position by $\Delta$: $P_{t+\Delta} = R_\Delta P_t$. A projection $W^Q$ can hold it, and then a head looks $\Delta$ words ahead ($-\Delta$: back), everywhere in the sentence.


# %%
def positions(T, D):
    """(T, D)"""
    frequency = 10000.0 ** (-np.arange(0, D, 2) / D)  # (D/2,)
    angle = np.arange(T)[:, None] * frequency  # (T, D/2)
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(T, D)  # (10.21): sin, cos, sin, cos, ...


def rotation(step, D):
    """R of (10.23): (D, D)"""
    R = np.zeros((D, D))
    for m, frequency in enumerate(10000.0 ** (-np.arange(0, D, 2) / D)):
        c, s = np.cos(frequency * step), np.sin(frequency * step)
        R[2 * m : 2 * m + 2, 2 * m : 2 * m + 2] = [[c, s], [-s, c]]
    return R


T, D = 60, 64
P = positions(T, D)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
image = left.imshow(P, aspect="auto", cmap="RdBu_r")
left.set(xlabel="place in the vector", ylabel="position t", title="Each row is a position: fast waves left, slow right")
left.grid(visible=False)
figure.colorbar(image, ax=left)
for t, color, size in [(10, "C0", 9), (30, "C1", 6), (45, "C2", 3)]:
    right.plot(np.arange(T) - t, P @ P[t], "o", color=color, markersize=size, label=f"t = {t}")
difference = np.arange(-45, 50)
frequency = 10000.0 ** (-np.arange(0, D, 2) / D)
predicted = np.cos(difference[:, None] * frequency).sum(1)
right.plot(difference, predicted, color="black", linewidth=1, label="(10.22)")
right.set(xlabel="u - t", ylabel="dot product", title="The dot product knows only the distance")
right.legend()
plt.show()

steps = np.arange(T)[:, None] - np.arange(T)
assert np.allclose(P @ P.T, np.cos(steps[..., None] * frequency).sum(-1))  # (10.22)
assert np.allclose((P**2).sum(1), D / 2)
for step in (1, -1, 7):
    moved = positions(T + 10, D)[5 + step : T - 5 + step]
    assert np.allclose(positions(T, D)[5 : T - 5] @ rotation(step, D).T, moved)  # (10.23)

# %% [markdown]
# Built by hand: heads whose $W^K$ is the identity and whose $W^Q$ is a large multiple of $R_{-1}$, of $R_0$ and of $R_{-3}$. They look one word back, at the word itself, and three words back. Nothing here was trained.

# %%
words = "the old man the boats and the young fish".split()
P = positions(len(words), D)
looks = [softmax(40 * (P @ rotation(step, D).T) @ P.T / np.sqrt(D)) for step in (-1, 0, -3)]
figure = viz.attention(np.stack(looks), queries=words)
for axes, name in zip(figure.axes, ["one word back", "itself", "three words back"]):
    axes.set_title(name)
    axes.grid(visible=False)
plt.show()
assert (looks[0][1:].argmax(1) == np.arange(len(words) - 1)).all()

# %% [markdown]
# (The first words of a sentence have nothing that far back, so they look at what is nearest to it.)
#
# ## What a mean cannot do
#
# A look-up on real data. Each example has five pictures of five *different* digits, the keys; each is paired with a symbol out of eight, its value, drawn at random for this example alone. Then comes a sixth picture, the query: *another* picture of one of the five digits. Which symbol belongs to it?
#
# A layer that sees only averages of the keys and of the values cannot do it: exchange the symbols of two keys, and the averages are the same, but the answer is another. As the five symbols are equally likely, it is right one time in five at best. Attention needs just two projections, $W^Q$ and $W^K$ of shape
# $(64, 16)$ (here without the transpose, $q = x\, W^Q$), in which two pictures of the same digit come out similar. The values are one-hot vectors, so the output $\sum_j p_j v_j$ is already a probability for each symbol, and the loss is its cross-entropy. Nobody tells it what a digit is.

# %%
from sklearn.datasets import load_digits

pictures, digit = load_digits(return_X_y=True)
pictures = (pictures - pictures.mean()) / pictures.std()
shuffled = np.random.default_rng(0).permutation(len(digit))
pairs, symbols, batch = 5, 8, 64


def table(rows):
    """(10, n): for each digit the numbers of n of its pictures."""
    each = [rows[digit[rows] == c] for c in range(10)]
    n = min(map(len, each))
    return np.stack([e[:n] for e in each])


seen, unseen = table(shuffled[:1400]), table(shuffled[1400:])


def draw(rng, pool, B):
    """query (B, 64), keys (B, 5, 64), values (B, 5, 8), the symbol that is asked for (B,)"""
    digits = rng.permuted(np.tile(np.arange(10), (B, 1)), axis=1)[:, :pairs]  # (B, 5), all different
    chosen = rng.permuted(np.tile(np.arange(symbols), (B, 1)), axis=1)[:, :pairs]
    asked = rng.integers(0, pairs, B)
    keys = pool[digits, rng.integers(0, pool.shape[1], digits.shape)]
    query = pool[digits[np.arange(B), asked], rng.integers(0, pool.shape[1], B)]
    answer = chosen[np.arange(B), asked]
    arrays = pictures[query], pictures[keys], np.eye(symbols)[chosen]
    return [minitorch.tensor(a.astype(np.float32)) for a in arrays] + [answer]


def parameter(rng, *shape):
    return minitorch.tensor((rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32), requires_grad=True)


rng = np.random.default_rng(1)
W_Q, W_K = parameter(rng, 64, 16), parameter(rng, 64, 16)
W_1, W_2 = parameter(rng, 64 + 64 + symbols, 64), parameter(rng, 64, symbols)


def by_attention(query, keys, values):
    q = (query @ W_Q).unsqueeze(1)  # (B, 1, 16)
    y = F.scaled_dot_product_attention(q, keys @ W_K, values)  # (B, 1, 8)
    return (y.squeeze(1) + 1e-9).log()  # cross_entropy wants logits: the softmax of log p is p


def by_means(query, keys, values):
    """A network with a hidden layer, on the query and the two averages (the values' times 5: as large as the rest)."""
    x = minitorch.cat([query, keys.mean(1), 5 * values.mean(1)], dim=1)  # (B, 136)
    return F.relu(x @ W_1) @ W_2


curves, correct = {}, {}
for name, model, parameters, rate in [
    ("attention", by_attention, [W_Q, W_K], 0.01),
    ("means", by_means, [W_1, W_2], 0.003),
]:
    optimizer = minitorch.optim.Adam(parameters, lr=rate)
    rng, curves[name] = np.random.default_rng(2), []
    for _step in range(300):
        query, keys, values, answer = draw(rng, seen, batch)
        loss = F.cross_entropy(model(query, keys, values), minitorch.tensor(answer))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curves[name].append(float(loss.detach()))
    query, keys, values, answer = draw(np.random.default_rng(3), unseen, 2000)
    with minitorch.no_grad():
        correct[name] = float((model(query, keys, values).numpy().argmax(1) == answer).mean())

axes = viz.curves(
    curves,
    smooth=0.8,
    baselines={"one of the five symbols: log 5": np.log(5)},
    title="Look-up by a picture of the same digit",
)
axes.set_ylim(bottom=0)
plt.show()
for name, share in correct.items():
    print(f"{name:10} right on {share:.0%} of 2000 examples with pictures that it never saw")
assert correct["attention"] > 0.8 and correct["means"] < 0.3

# %% [markdown]
# The network on the averages is still learning which five symbols are on offer. However long it trains, no average takes it below the dashed line. Attention learned to compare, from right and wrong symbols alone. Look at what it compares: for ten unseen queries, one of each digit, the weights over ten other unseen pictures, one of each digit. Off the diagonal are its doubts.

# %%
one, other = pictures[unseen[:, 0]].astype(np.float32), pictures[unseen[:, 1]].astype(np.float32)
q, k = one @ W_Q.detach().numpy(), other @ W_K.detach().numpy()  # (10, 16)
p = attention(q, k, np.eye(10))[1]
figure = viz.attention(
    p, queries=[f"a {c}" for c in range(10)], keys=[f"another {c}" for c in range(10)], title="Same digit, another hand"
)
figure.set_size_inches(5.6, 4.6)
figure.axes[0].grid(visible=False)
plt.show()
assert (p.argmax(1) == np.arange(10)).mean() >= 0.5

# %% [markdown]
# ## What goes wrong
#
# ### Exercise 6: find the bug
#
# Somebody found the transpose in `split_heads` superfluous: a reshape alone gives the shape $(B, h, T, d)$ as well. The code runs, the loss falls, there is no error. But with a causal mask the first output changes when later words do, and it should not see them.


# %% tags=["exercise"]
def heads_of(x, h):
    """x: (B, T, D)   returns (B, h, T, d)"""
    B, T, D = x.shape
    # --- solution
    return x.reshape(B, T, h, D // h).transpose(0, 2, 1, 3)
    # --- stub
    # return x.reshape(B, h, T, D // h)
    # --- end


# %% tags=["check"]
@lesson.check(
    "heads_of",
    hint="Print np.arange(8).reshape(1, 2, 4) and its heads for h = 2. Which words' numbers are in head 0?",
)
def _(heads_of):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 8))
    changed = x.copy()
    changed[:, 1:] += 1  # other words after the first

    def first(x):
        q = heads_of(x, 2)  # (B, h, T, d)
        return masked_attention(q, q, q, causal_mask(6))[0][:, :, 0]  # what position 0 gets, in each head

    moved = np.abs(first(changed) - first(x)).max()
    assert moved < 1e-12, f"The first word's output moved by {moved:.2f} when only later words changed."
    lessons.same(heads_of(x, 2)[1, 1, 3], x[1, 3, 4:], what="head 1 of word 3")  # (10.16)


# %% [markdown]
# A reshape keeps the order of the numbers in memory and only sets new borders. Straight from $(B, T, D)$ to $(B, h, T, d)$, head 0 gets the first $T/h$ *words*, cut into pieces, not the first $d$ places of every word. The shapes agree, and that is all that shapes can tell.
#
# Two more to find, in `lessons/zoo`: `06_attention_that_has_made_up_its_mind.py` and `07_the_model_that_reads_ahead.py`.
#
# ## Summary

# %% [markdown] tags=["summary"]
# | equation | what | op | test |
# |---|---|---|---|
# | (10.1), (10.2), (10.3), (10.4) | scores, weights, weighted mean: attention | `minitorch/ops/attention.py::scaled_dot_product_attention` | here, cases:nn.functional.scaled_dot_product_attention |
# | (10.5), (10.6) | variance of a score, without and with 1/√d | `minitorch/ops/attention.py::scaled_dot_product_attention` | here |
# | (10.7) | the slope that a softmax has left | `minitorch/viz/doctor.py` | here |
# | (10.8) | masks, before the softmax | `minitorch/ops/attention.py::scaled_dot_product_attention` | here, cases:nn.functional.scaled_dot_product_attention |
# | (10.9), (10.10), (10.11) | gradients of values, weights, scores | `Attention` | here, cases:nn.functional.scaled_dot_product_attention |
# | (10.12), (10.13) | the subtracted mean from the output; scores' gradients cancel | `minitorch/ops/attention.py::scaled_dot_product_attention` | here |
# | (10.14), (10.15) | gradients of queries and keys | `Attention` | here, cases:nn.functional.scaled_dot_product_attention |
# | (10.16), (10.17) | heads and their projections | `minitorch/nn/attention.py::MultiheadAttention` | here, tests/test_nn_attention.py::test_two_heads_in_numpy |
# | (10.18), (10.19) | gradients of the projections and of the input | `minitorch/nn/attention.py::MultiheadAttention` | here, tests/test_nn_attention.py::test_equals_pytorch |
# | (10.20) | attention does not see the order | `minitorch/nn/attention.py::MultiheadAttention` | here |
# | (10.21), (10.22), (10.23) | sinusoidal positions: dot products, shifts | - | here |
#
# Attention looks up; a network after it digests what was found. Next, [11 The Transformer](11_transformer.ipynb): both, stacked, with lesson 09's normalization around them.
