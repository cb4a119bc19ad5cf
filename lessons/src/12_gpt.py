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
# # 12 GPT
#
# A language model does one thing: given some text, it says how probable each next token is. **How is that trained, how good is it, and how does text, or the answer to a question, come out of mere probabilities?** You will derive the loss and the number below which no model can go, the effect of temperature, what top-k and top-p
# cut off, and why a key-value cache gives the same logits for a fraction of the work. You will train a small GPT, compare it with counting, and prompt one with examples of a task that it has to guess.
#
# You need lessons 04 (softmax, cross-entropy), 08 (embedding), 10 (causal attention) and 11 (pre-norm blocks, the shift). Time: 60 minutes.

# %%
import os
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import minitorch
import minitorch.nn.functional as F
from minitorch import lessons, nn, viz

lesson = lessons.start(12)
LARGE = False  # True: a model 8 times as large, trained for minutes

# %% [markdown]
# The text: plays by Shakespeare if `MINITORCH_DATA` is set, else the language reference that ships with Python. The tokens are single characters, so the vocabulary is small and nothing has to be learned about words beforehand. Every tenth block of 2000 characters is kept for testing.


# %%
def read_text():
    file = Path(os.environ.get("MINITORCH_DATA", "")) / "tinyshakespeare" / "input.txt"
    if os.environ.get("MINITORCH_DATA") and file.exists():
        return file.read_text(encoding="utf-8")[:500_000]
    try:
        from pydoc_data.topics import topics

        text = "\n\n".join(topics[name] for name in sorted(topics))
    except ImportError:  # some systems leave it out: then the docstrings of the library
        modules = ("argparse", "collections", "datetime", "decimal", "random", "statistics", "string", "unittest.mock")
        found = [vars(__import__(name, fromlist=["x"])) for name in modules]
        text = "\n\n".join(str(getattr(v, "__doc__", "")) for space in found for v in space.values())
    return text.encode("ascii", "ignore").decode()


text = read_text()
characters = sorted(set(text))
number = {c: i for i, c in enumerate(characters)}
ids = np.array([number[c] for c in text])
V = len(characters)
blocks = [ids[i : i + 2000] for i in range(0, len(ids) - 2000, 2000)]
train_ids = np.concatenate([b for i, b in enumerate(blocks) if i % 10])
test_blocks = np.stack(blocks[::10])  # (blocks, 2000)
print(f"{len(train_ids):,} characters to learn from, {test_blocks.size:,} for testing, {V} distinct\n")
print(text[5000:5240])

# %% [markdown]
# ## How surprising is a character?
#
# Two models that need no training. The *unigram* model gives every character the probability of its frequency, whatever stands before it. The *bigram* model counts pairs: after `q`, how often came `u`? Here is $-\log_2$ of the probability that each gives to the
# character that comes: its surprise, in bits. (A small constant is added to all counts, so that what never came is not impossible.)

# %%
unigram = np.bincount(train_ids, minlength=V) + 0.1
unigram = unigram / unigram.sum()  # (V,)
pair_counts = np.zeros((V, V))
np.add.at(pair_counts, (train_ids[:-1], train_ids[1:]), 1)
bigram = (pair_counts + 0.1) / (pair_counts + 0.1).sum(1, keepdims=True)  # (V, V), a row for each character before

sentence = "the question before the value is equal"
s = np.array([number[c] for c in sentence])
surprise = {"unigram": -np.log2(unigram[s[1:]]), "bigram": -np.log2(bigram[s[:-1], s[1:]])}
figure, axes = plt.subplots(figsize=(11, 3.4))
place = np.arange(len(s) - 1)
for shift, (name, bits) in zip((-0.2, 0.2), surprise.items()):
    axes.bar(place + shift, bits, width=0.4, label=f"{name}: {bits.mean():.1f} bits a character")
axes.set_xticks(place, ["␣" if c == " " else c for c in sentence[1:]])
axes.set(ylabel="surprise, bits", title="With one character of context the next one is less surprising")
axes.grid(axis="x", visible=False)
axes.legend(loc="upper right", ncols=2)
axes.set_ylim(0, 13)
plt.show()
assert surprise["bigram"].mean() < surprise["unigram"].mean()

# %% [markdown]
# ## The loss of a language model
#
# A text $x_1, \dots, x_T$ has a probability, and the chain rule of probability takes it apart into steps, each with everything before it as the condition:
#
# $$ p(x_1, \dots, x_T) = \prod_{t=1}^{T} p(x_t \mid x_1, \dots, x_{t-1}) \tag{12.1} $$
#
# This is no approximation; the bigram model makes one when it forgets all but $x_{t-1}$. To make the text probable is to make the mean of the negative logarithms small:
#
# $$ L = -\frac{1}{T}\sum_{t=1}^{T} \log p(x_t \mid x_1, \dots, x_{t-1}) \tag{12.2} $$
#
# Two other units for the same number. With the logarithm to base 2 it is *bits per character*: what a perfect compressor that uses the model would need. And $e^L$ is the *perplexity*, the geometric mean of the $1/p$: a model with perplexity 10 is as uncertain as if it chose among 10 equally likely characters each time.
#
# $$ \mathrm{bits} = \frac{L}{\log 2}, \qquad \mathrm{perplexity} = e^{L} = \Big(\prod_{t} \frac{1}{p(x_t \mid x_1, \dots, x_{t-1})}\Big)^{1/T} = 2^{\mathrm{bits}} \tag{12.3} $$
#
# ### Exercise 1: three units


# %% tags=["exercise"]
def units(p):
    """p: (T,), the probability given to each character that came.       Returns L, bits per character, perplexity."""
    # --- solution
    L = -np.mean(np.log(p))
    return L, L / np.log(2), np.exp(L)
    # --- stub
    # L = np.mean(1 - p)
    # return L, L, L
    # --- end


# %% tags=["check"]
@lesson.check("units", hint="L is the mean of -log p. Divide it by log 2 for bits; raise e to it for the perplexity.")
def _(units):
    lessons.same(units(np.full(5, 0.25)), [np.log(4), 2, 4], what="always 1/4")
    p = np.array([0.5, 0.125, 1.0])
    L, bits, perplexity = units(p)
    lessons.same([L, bits], [-np.log(p.prod()) / 3, 4 / 3], what="L and bits of 1/2, 1/8, 1")  # (12.1), (12.2)
    lessons.same(perplexity, (2 * 8 * 1) ** (1 / 3), what="perplexity of 1/2, 1/8, 1")  # (12.3)


# %% [markdown]
# ### How low can it go?
#
# Not to 0, for text is not determined by its beginning. Let $p$ be the true distribution of the next character in some context, and $q$ the model's. On average over what comes, the loss there is
#
# $$ -\sum_i p_i \log q_i = \underbrace{-\sum_i p_i \log p_i}_{H(p)} + \underbrace{\sum_i p_i \log\frac{p_i}{q_i}}_{\mathrm{KL}(p \Vert q)}, \qquad \mathrm{KL}(p \Vert q) \ge 0 \tag{12.4} $$
#
# The first part, the *entropy*, does not depend on the model. The second is 0 for $q = p$ and never negative: since $\log u \le u - 1$, $-\mathrm{KL} = \sum_i p_i \log\frac{q_i}{p_i} \le \sum_i (q_i - p_i) = 0$. So the best model is the true distribution, and its loss is the
# entropy of the text. **Minimizing (12.2) pulls the model towards the true probabilities**, which is why sampling from it later makes sense.

# %%
rng = np.random.default_rng(0)
p = rng.dirichlet(np.ones(6))
losses = []
for _ in range(1000):
    q = rng.dirichlet(np.ones(6))
    losses.append(-(p * np.log(q)).sum())
    kl = (p * np.log(p / q)).sum()
    assert kl >= 0 and np.isclose(losses[-1], kl - (p * np.log(p)).sum())  # (12.4)
print(f"entropy {-(p * np.log(p)).sum():.3f}, the best of 1000 random models {min(losses):.3f}")

# %% [markdown]
# ## The smallest language model, by hand
#
# The bigram model can be *trained* as well. Its weights are a table $W$ of shape $(V, V)$; the row of the current character is the logits of the next one. For inputs $x$ and targets $y$, both $(T,)$, with $y_t = x_{t+1}$:
#
# $$ z_{tv} = W_{x_t v}, \qquad p_{tv} = \frac{e^{z_{tv}}}{\sum_{v'} e^{z_{tv'}}}, \qquad L = -\frac{1}{T}\sum_t \log p_{t y_t} \tag{12.5} $$
#
# Softmax with cross-entropy has the gradient $dz_{tv} = \frac{1}{T}(p_{tv} - \delta_{v y_t})$ (lesson 04), and a row of $W$ collects from all places where it was used (lesson 08). Let $n_u$ count the places with $x_t = u$, and $n_{uv}$ those with $x_t = u$ and $y_t = v$. The probabilities $p_{tv}$ depend on $t$ only through $x_t = u$; call them $p_{uv}$. Then
#
# $$ dW_{uv} = \sum_{t:\; x_t = u} dz_{tv} = \frac{1}{T}\big(n_u\, p_{uv} - n_{uv}\big) \tag{12.6} $$
#
# It is 0 exactly where the model has counted (for every $u$ that occurs; the probability 0 is reached only in the limit):
#
# $$ dW = 0 \quad\Longleftrightarrow\quad p_{uv} = \frac{n_{uv}}{n_u} \tag{12.7} $$
#
# Training with gradients finds the frequencies. For one character of context you can count instead. For a hundred you cannot: almost every context of that length comes once. A network has to share what it knows among contexts.
#
# ### Exercise 2: forward and backward


# %% tags=["exercise"]
def bigram_forward(W, x, y):
    """W: (V, V)   x, y: (T,) of integers.       Returns the loss and what the backward needs."""
    z = W[x]  # (T, V)
    e = np.exp(z - z.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    return -np.log(p[np.arange(len(y)), y]).mean(), (p, x, y, W.shape)


def bigram_backward(kept):
    """Returns dW: (V, V)."""
    p, x, y, shape = kept
    # --- solution
    dz = p.copy()  # (T, V)
    dz[np.arange(len(y)), y] -= 1
    dW = np.zeros(shape)
    np.add.at(dW, x, dz / len(y))
    return dW
    # --- stub
    # dz = p  # minus 1 at the targets, over T
    # dW = np.zeros(shape)
    # dW[x] += dz  # a character comes more than once
    # return dW
    # --- end


# %% tags=["check"]
@lesson.check(
    "bigram_backward", hint="dz = (p - one-hot of y) / T; np.add.at(dW, x, dz) adds where a row comes up twice."
)
def _(bigram_backward):
    rng = np.random.default_rng(1)
    W, x, y = rng.normal(size=(4, 4)), np.array([0, 1, 0, 2, 0]), np.array([1, 0, 2, 0, 1])
    kept = bigram_forward(W, x, y)[1]
    p_before = kept[0].copy()
    numeric = lessons.numeric_gradient(lambda W: bigram_forward(W, x, y)[0], W)  # (12.5)
    lessons.same(bigram_backward(kept), numeric, what="dW")  # (12.6)
    lessons.same(kept[0], p_before, what="p, which the backward must leave as it is")


# %%
rng = np.random.default_rng(2)
W = rng.normal(size=(V, V))
x, y = train_ids[:10_000], train_ids[1:10_001]
few_x, few_y = x[:300], y[:300]
_, kept = bigram_forward(W, few_x, few_y)
dW = bigram_backward(kept)
used = np.unique(few_x)[:5]


def loss_of_rows(rows):
    changed = W.copy()
    changed[used] = rows
    return bigram_forward(changed, few_x, few_y)[0]


worst = lessons.show_errors(
    {"dW, five rows of it": (dW[used], lessons.numeric_gradient(loss_of_rows, W[used]))},
    title="The bigram model's gradient on 300 characters",
    limit=1e-8,
)
assert worst < 1e-8

tW = minitorch.tensor(W, requires_grad=True)
L = F.cross_entropy(F.embedding(minitorch.tensor(few_x), tW), minitorch.tensor(few_y))
L.backward()
lessons.same(L, bigram_forward(W, few_x, few_y)[0], tol=1e-12, what="loss")  # (12.5)
lessons.same(tW.grad, dW, tol=1e-12, what="dW")  # (12.6)

n_uv = np.zeros((V, V))
np.add.at(n_uv, (x, y), 1)
counted = np.log(np.maximum(n_uv, 1e-30))  # the logarithms of the counts as logits
L_counted, kept = bigram_forward(counted, x, y)
assert np.abs(bigram_backward(kept)).max() < 1e-9  # (12.7)
print(f"equal to minitorch's; at the counts of 10,000 characters their gradient is 0, and their loss {L_counted:.3f}")

# %% [markdown]
# Now the baselines, on the test blocks. Every later model has to beat them, or it has learned less than counting finds. (The first character of a block is not predicted.)


# %%
def report(name, p):
    L, bits, perplexity = units(p.ravel())
    print(f"{name:28} loss {L:.3f}   {bits:.2f} bits a character   perplexity {perplexity:5.1f}")
    return L


before, after = test_blocks[:, :-1], test_blocks[:, 1:]
L_uniform = report(f"uniform, 1 of {V}", np.full(after.shape, 1 / V))
L_unigram = report("unigram, counted", unigram[after])
L_bigram = report("bigram, counted", bigram[before, after])
assert L_bigram < L_unigram < L_uniform

# %% [markdown]
# ## A loss at every position
#
# GPT is the decoder of lesson 11 without cross-attention: embeddings, causal pre-norm blocks, a last norm, a linear layer to the logits. One pass over $T$ tokens gives $T$ predictions, each with a different length of context, and $T$ losses $L_t$, whose mean is (12.2). Let $e_s$ be the vector that enters at position $s$.
# The causal mask lets it reach only the positions from $s$ on, so
#
# $$ \frac{\partial L_t}{\partial e_s} = 0 \;\text{ for } s > t, \qquad de_s = \frac{1}{T}\sum_{t \ge s} \frac{\partial L_t}{\partial e_s} \tag{12.8} $$
#
# An early token learns from all later predictions, the last one only from its own. Here is the model; `caches` and `past` will be explained when they are used.


# %%
class CausalAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x, cache=None):
        B, T, D = x.shape
        q, k, v = self.qkv(x).reshape(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        if cache is not None:
            if "k" in cache:
                k, v = minitorch.cat([cache["k"], k], 2), minitorch.cat([cache["v"], v], 2)
            cache["k"], cache["v"] = k, v  # (B, h, S, d), S tokens so far
        S = k.shape[2]
        if S == T:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:  # query i is token S - T + i
            seen = minitorch.ones((T, S), dtype=minitorch.bool).tril(S - T)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.out(y.transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), CausalAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x, cache=None):
        x = x + self.attention(self.norm1(x), cache)
        return x + self.feed_forward(self.norm2(x))


class GPT(nn.Module):
    """Tokens (B, T) -> logits of the next token at every position (B, T, V)."""

    def __init__(self, vocabulary, length, width=64, heads=4, layers=2):
        super().__init__()
        self.length = length
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        for table in (self.token.weight, self.position.weight):
            nn.init.normal_(table, std=0.1)

    def embed(self, ids, past=0):
        return self.token(ids) + self.position(minitorch.arange(past, past + ids.shape[1]))

    def logits(self, x, caches=None):
        for i, block in enumerate(self.blocks):
            x = block(x, None if caches is None else caches[i])
        return self.head(self.norm(x))

    def forward(self, ids, caches=None, past=0):
        """caches: a dictionary for each block. past: how many tokens they already hold."""
        return self.logits(self.embed(ids, past), caches)


minitorch.manual_seed(0)
small = GPT(V, 12).double()
x, y = (minitorch.tensor(train_ids[i : i + 12][None]) for i in (100, 101))
e = small.embed(x).detach().requires_grad_()  # (1, T, D)
losses = F.cross_entropy(small.logits(e)[0], y[0], reduction="none")  # (T,), one for each position
influence, total = np.zeros((12, 12)), 0
for t in range(12):
    (g,) = minitorch.autograd.grad(losses[t], e, retain_graph=True)
    influence[t] = np.linalg.norm(g.numpy()[0], axis=-1)
    total = total + g.numpy() / 12
(de,) = minitorch.autograd.grad(losses.mean(), e)
lessons.same(de, total, tol=1e-12, what="the gradient is the mean over positions")  # (12.8)
assert np.abs(influence[np.triu_indices(12, 1)]).max() == 0  # (12.8): not small, but 0
direction = np.random.default_rng(3).normal(size=e.shape)
shifted = [
    F.cross_entropy(small.logits(e.detach() + minitorch.tensor(h * direction))[0], y[0]).item() for h in (1e-5, -1e-5)
]
lessons.same(
    (de.numpy() * direction).sum(), (shifted[0] - shifted[1]) / 2e-5, tol=1e-8, what="along a random direction"
)

figure, axes = plt.subplots(figsize=(5.6, 4.4))
picture = axes.imshow(np.where(influence > 0, influence, np.nan))
figure.colorbar(picture, label="size of the gradient")
axes.set(xlabel="input position s", ylabel="loss of position t", title="A loss teaches the inputs up to its position")
axes.grid(visible=False)
plt.show()

# %% [markdown]
# ## Training
#
# Batches are windows cut at random places; the target is the same window one place further.


# %%
def windows(ids, length, count, rng):
    """Inputs and targets, (count, length) each."""
    i = rng.integers(0, len(ids) - length, (count, 1)) + np.arange(length)
    return ids[i], ids[i + 1]


def train(model, batch, steps, rate):
    """batch() -> inputs, targets.       Returns the losses."""
    optimizer = minitorch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    # the rate: a warmup of a tenth of the steps, then down along a cosine (lesson 05)
    schedule = minitorch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    losses = []
    for _ in range(steps):
        x, y = (minitorch.tensor(a) for a in batch())
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


T = 64
minitorch.manual_seed(0)
rng = np.random.default_rng(0)
gpt = GPT(V, T, width=192 if LARGE else 64, layers=3 if LARGE else 2)
start = time.perf_counter()
curve = train(gpt, lambda: windows(train_ids[:-1], T, 16, rng), 4000 if LARGE else 400, 2e-3 if LARGE else 6e-3)
print(f"{sum(p.numel() for p in gpt.parameters()):,} parameters, {time.perf_counter() - start:.0f} s\n")

cuts = np.concatenate([test_blocks[:, i : i + T + 1] for i in range(0, 2000 - T, 2 * T)])  # (windows, T + 1)
with minitorch.no_grad():
    p = F.softmax(gpt(minitorch.tensor(cuts[:, :-1])), -1).numpy()
p = np.take_along_axis(p, cuts[:, 1:, None], -1)[..., 0]  # (windows, T)
L_unigram = report("unigram, counted", unigram[cuts[:, 1:]])
L_bigram = report("bigram, counted", bigram[cuts[:, :-1], cuts[:, 1:]])
L_gpt = report("GPT, up to 64 of context", p)
assert L_gpt < L_bigram < L_unigram

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
viz.curves({"training": curve}, smooth=0.9, baselines={"unigram": L_unigram, "bigram": L_bigram}, ax=left)
left.set(title="Training passes the baselines one after the other", ylim=(None, L_uniform))
by_position = -np.log(p).mean(0)
smooth = [by_position[0], *(by_position[max(1, t - 4) : t + 5].mean() for t in range(1, T))]
right.plot(range(1, T + 1), by_position, ".", color="C0", alpha=0.4)
right.plot(range(1, T + 1), smooth, color="C0", label="GPT, mean over neighbours")
right.axhline(L_unigram, color="0.45", linestyle="--", linewidth=1, label="unigram")
right.axhline(L_bigram, color="0.45", linestyle=":", linewidth=1.5, label="bigram")
right.set(xlabel="characters of context", ylabel="test loss", title="The first few characters of context help most")
right.legend()
plt.show()
near, far = by_position[4:12].mean(), by_position[32:].mean()
assert max(near, far) < by_position[0] and abs(near - far) < by_position[0] - near

# %% [markdown]
# With one character of context GPT can know no more than the bigram counts. What it gains, it gains from the characters before, and nearly all of that from the first few: to make use of more, a model has to be larger and trained for longer (`LARGE`).
#
# ## Sampling, and temperature
#
# To write text, draw the next character from the model's distribution, append it, repeat. Drawn from the probabilities as they are, text is often odd: many unlikely characters together have a good chance. The greedy choice of lesson 11 errs on the other side and runs in circles. In between lies the *temperature* $\tau > 0$:
#
# $$ p_i = \frac{e^{z_i/\tau}}{\sum_j e^{z_j/\tau}}, \qquad \frac{p_i}{p_j} = e^{(z_i - z_j)/\tau} \tag{12.9} $$
#
# For $\tau \to \infty$ all ratios go to 1, the uniform distribution; for $\tau \to 0$ only the largest logit is left. To see what happens in between, differentiate. With $u_k = z_k/\tau$ it is the softmax of $u$, whose gradient you know: $du_k = p_k\big(dp_k - \sum_i dp_i\, p_i\big)$. Each $u_k$ depends on $z_k$ with slope $1/\tau$, and on $\tau$ with
# slope $-z_k/\tau^2$. All $u_k$ share one $\tau$, so its gradient is a sum:
#
# $$ dz_k = \frac{1}{\tau}\, p_k \Big(dp_k - \sum_i dp_i\, p_i\Big), \qquad d\tau = -\frac{1}{\tau^2}\sum_k z_k\, du_k = -\frac{1}{\tau}\sum_k z_k\, dz_k \tag{12.10} $$
#
# For a single $p_i$ the same calculation reads, with $\bar z = \sum_j p_j z_j$ the mean logit,
#
# $$ \frac{\partial p_i}{\partial \tau} = -\frac{p_i\,(z_i - \bar z)}{\tau^2} \tag{12.11} $$
#
# Heat takes probability from the tokens whose logits are above the mean and gives it to those below, to each in proportion to its own probability and to its distance from the mean. Now the entropy $H = -\sum_i p_i \log p_i$. From $\log p_i = z_i/\tau - \log Z$ with $Z = \sum_j e^{z_j/\tau}$
#
# $$ H = \log Z - \frac{\bar z}{\tau} \tag{12.12} $$
#
# Differentiate the two parts. $\frac{d}{d\tau}\log Z = \frac{1}{Z}\sum_j e^{z_j/\tau}\big(-\frac{z_j}{\tau^2}\big) = -\frac{\bar z}{\tau^2}$. And by (12.11) $\frac{d\bar z}{d\tau} = -\frac{1}{\tau^2}\sum_i z_i\, p_i (z_i - \bar z) = -\frac{\mathrm{Var}(z)}{\tau^2}$, the variance of the logits under $p$. So
#
# $$ \frac{dH}{d\tau} = -\frac{\bar z}{\tau^2} - \frac{1}{\tau}\Big(-\frac{\mathrm{Var}(z)}{\tau^2}\Big) + \frac{\bar z}{\tau^2} = \frac{\mathrm{Var}(z)}{\tau^3} \ge 0 \tag{12.13} $$
#
# More heat, more entropy, always; and where the logits that have any probability are nearly equal, the temperature does nothing.
#
# ### Exercise 3: the gradient of a softmax with temperature


# %% tags=["exercise"]
def softmax(z, tau=1.0):
    """z, p: (..., V)"""
    e = np.exp((z - z.max(-1, keepdims=True)) / tau)
    return e / e.sum(-1, keepdims=True)


def temperature_backward(dp, z, tau):
    """dp, z: (N, V).       Returns dz: (N, V) and dtau, one number."""
    p = softmax(z, tau)
    # --- solution
    dz = p * (dp - (dp * p).sum(-1, keepdims=True)) / tau
    return dz, -(z * dz).sum() / tau
    # --- stub
    # dz = p * (dp - (dp * p).sum(-1, keepdims=True))  # z enters as z / tau
    # return dz, 0.0
    # --- end


def entropy_slope(z, tau):
    """dH/dtau, (12.13).       z: (V,)"""
    p = softmax(z, tau)
    # --- solution
    mean = (p * z).sum()
    return (p * (z - mean) ** 2).sum() / tau**3
    # --- stub
    # return z.var() / tau**3  # a variance under p, not with equal weights
    # --- end


# %% tags=["check"]
@lesson.check(
    "temperature_backward",
    "entropy_slope",
    hint="By (12.10) dz carries a factor 1/tau, and dtau follows from dz. The mean and the variance of z weigh with p.",
)
def _(temperature_backward, entropy_slope):
    rng = np.random.default_rng(4)
    z, dp, tau = rng.normal(size=(3, 5)), rng.normal(size=(3, 5)), 0.7
    dz, dtau = temperature_backward(dp, z, tau)
    lessons.same(dz, lessons.numeric_gradient(lambda z: softmax(z, tau), z, dp), what="dz")  # (12.10)
    lessons.same(dtau, lessons.numeric_gradient(lambda tau: softmax(z, tau), tau, dp), what="dtau")
    entropy = lambda tau: -(softmax(z[0], tau) * np.log(softmax(z[0], tau))).sum()  # noqa: E731
    lessons.same(entropy_slope(z[0], tau), lessons.numeric_gradient(entropy, tau), what="dH/dtau")  # (12.13)


# %%
rng = np.random.default_rng(5)
z, dp, tau = rng.normal(size=(4, 7)) * 2, rng.normal(size=(4, 7)), 1.3
dz, dtau = temperature_backward(dp, z, tau)
one = lessons.numeric_gradient(lambda tau: softmax(z[0], tau)[2], tau)
worst = lessons.show_errors(
    {
        "dz": (dz, lessons.numeric_gradient(lambda z: softmax(z, tau), z, dp)),
        "dτ": (dtau, lessons.numeric_gradient(lambda tau: softmax(z, tau), tau, dp)),
        "one p over τ": (
            -softmax(z[0], tau)[2] * (z[0, 2] - (softmax(z[0], tau) * z[0]).sum()) / tau**2,
            one,
        ),  # (12.11)
    },
    title="Softmax with temperature, (12.10) and (12.11)",
    limit=1e-8,
)
assert worst < 1e-8
tz, ttau = minitorch.tensor(z, requires_grad=True), minitorch.tensor(tau, dtype=minitorch.float64, requires_grad=True)
F.softmax(tz / ttau, -1).backward(minitorch.tensor(dp))
lessons.same(tz.grad, dz, tol=1e-12, what="dz")  # (12.10)
lessons.same(ttau.grad, dtau, tol=1e-12, what="dtau")

context = "the value of the "  # what the model expects next
with minitorch.no_grad():
    z = gpt(minitorch.tensor([[number[c] for c in context]]))[0, -1].numpy().astype(np.float64)
taus = np.linspace(0.15, 4, 80)
entropies = np.array([-(softmax(z, t) * np.log(softmax(z, t) + 1e-300)).sum() for t in taus])
for t in (0.3, 1.0, 2.5):
    p = softmax(z, t)
    lessons.same(np.log(p[0] / p[1]), (z[0] - z[1]) / t, what="ratio")  # (12.9)
    H = np.log(np.exp(z / t).sum()) - (p * z).sum() / t  # (12.12)
    lessons.same(H, -(p * np.log(p)).sum(), what="entropy")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
order = np.argsort(-z)[:12]
for shift, t in zip((-0.27, 0, 0.27), (0.5, 1.0, 2.0)):
    left.bar(np.arange(12) + shift, softmax(z, t)[order], width=0.27, label=f"τ = {t}")
left.set_xticks(range(12), [repr(characters[i])[1:-1] for i in order])
left.set(ylabel="probability", title=f"The next character after '{context}'")
left.grid(axis="x", visible=False)
left.legend()
right.plot(taus, entropies, color="C0", label="entropy")
right.axhline(np.log(V), color="0.45", linestyle="--", linewidth=1, label="log V: uniform")
for t in (0.5, 1.0, 2.0):
    H = -(softmax(z, t) * np.log(softmax(z, t))).sum()
    run = np.array([-0.3, 0.3])
    right.plot(t + run, H + run * entropy_slope(z, t), color="C3", linewidth=3, alpha=0.8)
right.plot([], [], color="C3", linewidth=3, label="slope Var(z)/τ³")
right.set(xlabel="temperature τ", ylabel="nats", title="(12.13): heat raises the entropy")
right.legend()
plt.show()

# %% [markdown]
# ## Cutting off the tail: top-k and top-p
#
# Temperature changes all probabilities. Another cure for odd characters removes the least likely ones. Choose a set $K$ of tokens to keep, with $M = \sum_{i \in K} p_i$ their mass, and scale what is left to sum to 1:
#
# $$ q_i = \frac{p_i}{M} \;\text{ for } i \in K, \qquad q_i = 0 \;\text{ otherwise} \tag{12.14} $$
#
# *Top-k* keeps the $k$ most likely. *Top-p* sorts them, $p_{(1)} \ge p_{(2)} \ge \dots$, and keeps as few as are needed for a mass of at least $P$, so that the number follows how sure the model is:
#
# $$ K = \{(1), \dots, (m)\}, \qquad m = \min\Big\{l : \sum_{j \le l} p_{(j)} \ge P\Big\} \tag{12.15} $$
#
# How far is $q$ from $p$? All kept ratios are $q_i/p_i = 1/M$, so the divergence is one logarithm:
#
# $$ \mathrm{KL}(q \Vert p) = \sum_{i \in K} q_i \log\frac{q_i}{p_i} = -\log M \tag{12.16} $$
#
# Top-p thus bounds it: at most $-\log P$, in every context. Top-k bounds nothing: where the model is unsure, $M$ is small. (And do not measure the other direction, $\mathrm{KL}(p \Vert q)$, or the loss of $q$ on real text: a removed token has $q_i = 0$, and where one comes the loss is infinite. A model cut in this way may write; it cannot be evaluated.)
#
# ### Exercise 4: top-p
#
# Return $q$. The token that *crosses* the mass $P$ belongs to $K$: with $p = (0.5, 0.3, 0.2)$ and $P = 0.6$ two are kept. At least one always is.


# %% tags=["exercise"]
def top_k(p, k):
    """p, q: (V,)"""
    kept = np.argsort(-p, kind="stable")[:k]
    q = np.zeros_like(p)
    q[kept] = p[kept]
    return q / q.sum()


def top_p(p, P):
    """p, q: (V,)"""
    order = np.argsort(-p, kind="stable")
    # --- solution
    before = np.cumsum(p[order]) - p[order]  # the mass of all that are more likely
    kept = order[before < P]
    # --- stub
    # kept = order[np.cumsum(p[order]) < P]
    # --- end
    q = np.zeros_like(p)
    q[kept] = p[kept]
    return q / max(q.sum(), 1e-12)


# %% tags=["check"]
@lesson.check("top_p", hint="A token stays if the mass of those before it, without its own, is still below P.")
def _(top_p):
    p = np.array([0.2, 0.5, 0.3])
    lessons.same(top_p(p, 0.6), [0.0, 0.625, 0.375], what="(0.2, 0.5, 0.3) at P = 0.6")  # (12.14), (12.15)
    lessons.same(top_p(p, 0.1), [0.0, 1.0, 0.0], what="the same at P = 0.1")
    lessons.same(top_p(p, 1.0), p, what="the same at P = 1")
    exact = top_p(np.array([0.25, 0.5, 0.25]), 0.5)
    lessons.same(exact, [0.0, 1.0, 0.0], what="(0.25, 0.5, 0.25) at P = 0.5: a mass of exactly P is enough")
    for P in (0.3, 0.9):
        p = np.random.default_rng(6).dirichlet(np.ones(20))
        q = top_p(p, P)
        M = p[q > 0].sum()
        assert M >= P > M - p[q > 0].min(), f"The kept mass is {M:.3f} at P = {P}: too little, or more than needed."
        lessons.same((q[q > 0] * np.log(q[q > 0] / p[q > 0])).sum(), -np.log(M), what="KL(q||p)")  # (12.16)


# %% [markdown]
# Four ways to continue the same beginning. The model sees at most the last 64 characters.


# %%
def sample(p, rng):
    """One number, drawn with probabilities p (V,): where a uniform number falls in the running sum."""
    return int(min(np.searchsorted(np.cumsum(p), rng.random(), side="right"), len(p) - 1))


def write(model, beginning, length, choose):
    row = [number[c] for c in beginning]
    with minitorch.no_grad():
        for _ in range(length):
            z = model(minitorch.tensor([row[-model.length :]]))[0, -1].numpy()
            row.append(choose(z.astype(np.float64)))
    return "".join(characters[i] for i in row)


rng = np.random.default_rng(7)
texts = {}
for name, choose in {
    "greedy": np.argmax,
    "τ = 1": lambda z: sample(softmax(z), rng),
    "τ = 2": lambda z: sample(softmax(z, 2.0), rng),
    "top-p 0.8": lambda z: sample(top_p(softmax(z), 0.8), rng),
    "top-k 5": lambda z: sample(top_k(softmax(z), 5), rng),
}.items():
    texts[name] = write(gpt, "The ", 120, choose)
    print(f"--- {name}\n{texts[name]}\n")

repeated = {  # how many of the sequences of 4 characters have come before
    name: 1 - len({t[i : i + 4] for i in range(len(t) - 3)}) / (len(t) - 3) for name, t in texts.items()
}
print({name: f"{share:.0%} repeated" for name, share in repeated.items()})
assert repeated["greedy"] > repeated["τ = 1"]

# %% [markdown]
# A short training gives half words, and the trade is visible: greedy repeats itself, heat breaks even the spelling, and the cuts lie in between.
#
# ## The key-value cache
#
# `write` computes the whole window for each new character, and throws away all but the last row. Look at what that row needs. For the output at the last position $t$, a causal attention layer computes
#
# $$ o_t = \sum_{s \le t} P_{ts}\, v_s, \qquad P_{ts} = \mathrm{softmax}_{s \le t}\Big(\frac{q_t \cdot k_s}{\sqrt d}\Big) \tag{12.17} $$
#
# which takes *one* query, and the keys and values of all positions up to $t$. Those of the earlier positions are what they were one step ago: in the first block they depend on their own token only; its outputs at $s < t$ depend on tokens up to $s$; so the same holds in the second block, and so on. Nothing of the past changes when a token is appended. Keep the keys and
# values of each block, and feed only the new token.
#
# Count multiplications in one block of width $D$. Every position costs $3D^2$ for q, k, v, $D^2$ for the projection, $8D^2$ for the feed-forward block: $12D^2$; a query that looks at $t$ keys costs $tD$ for the scores and $tD$ for the sum. To generate $n$ tokens one after the other:
#
# $$ \text{anew: } \sum_{t=1}^{n}\big(12\,t\,D^2 + 2\,t^2 D\big) = 6\,n(n+1)\,D^2 + \tfrac13 n(n+1)(2n+1)\,D, \qquad \text{cached: } \sum_{t=1}^{n}\big(12\,D^2 + 2\,t\,D\big) = 12\,n\,D^2 + n(n+1)\,D \tag{12.18} $$
#
# Cubic in $n$ without, quadratic with. The price is memory: $2D$ numbers for each token, block and sequence.
#
# ### Exercise 5: attention with a cache
#
# One head in NumPy. `cache` is a dictionary, empty at the beginning; store the keys and values of all tokens so far in it.


# %% tags=["exercise"]
def attention(q, k, v):
    """Causal attention, all positions.       q, k, v, o: (T, d)"""
    scores = np.where(np.tri(len(q), dtype=bool), q @ k.T / np.sqrt(q.shape[-1]), -np.inf)
    return softmax(scores) @ v


def attention_step(q, k, v, cache):
    """The newest position only.       q, k, v, o: (1, d)"""
    # --- solution
    if cache:
        k, v = np.concatenate([cache["k"], k]), np.concatenate([cache["v"], v])  # (t, d)
    cache["k"], cache["v"] = k, v
    return softmax(q @ k.T / np.sqrt(q.shape[-1])) @ v
    # --- stub
    # return attention(q, k, v)  # sees itself, and nothing before
    # --- end


# %% tags=["check"]
@lesson.check(
    "attention_step", hint="Append k and v to what the cache holds, then let the one query look at all of it."
)
def _(attention_step):
    rng = np.random.default_rng(8)
    q, k, v = rng.normal(size=(3, 6, 4))
    cache, together = {}, attention(q, k, v)
    for t in range(6):  # (12.17)
        step = attention_step(q[t : t + 1], k[t : t + 1], v[t : t + 1], cache)
        lessons.same(step, together[t : t + 1], tol=1e-10, what=f"token {t}")
    library = F.scaled_dot_product_attention(*(minitorch.tensor(a) for a in (q, k, v)), is_causal=True)
    lessons.same(library, together, tol=1e-10, what="minitorch's attention")


# %% [markdown]
# In the whole model: the same logits, and the time for each token, measured while a text of 512 tokens grows.

# %%
minitorch.manual_seed(1)
D, n = 128, 512
fast = GPT(V, n, width=D)
row = minitorch.tensor(train_ids[:n][None])
where, times = np.arange(32, n + 1, 32), {"anew": [], "cached": []}
caches = [{} for _ in fast.blocks]
with minitorch.no_grad():
    fast(row)  # once, unmeasured: the first call prepares things
    for t in range(n):
        start = time.perf_counter()
        z_cached = fast(row[:, t : t + 1], caches, past=t)
        times["cached"].append(time.perf_counter() - start)
        if t + 1 in where:
            start = time.perf_counter()
            z_anew = fast(row[:, : t + 1])[:, -1:]
            times["anew"].append(time.perf_counter() - start)
            lessons.same(z_cached, z_anew.numpy(), tol=1e-3, what=f"logits of token {t}")  # (12.17)

anew = sum(12 * t * D**2 + 2 * t**2 * D for t in range(1, n + 1))
cached = sum(12 * D**2 + 2 * t * D for t in range(1, n + 1))
assert anew == 6 * n * (n + 1) * D**2 + n * (n + 1) * (2 * n + 1) * D // 3  # (12.18)
assert cached == 12 * n * D**2 + n * (n + 1) * D

middle = np.median(np.array(times["cached"]).reshape(len(where), 32), axis=1)  # of 32 neighbours each
print(f"multiplications: {anew / cached:.0f} times fewer; time: {sum(times['anew']) / middle.sum():.1f} times less")
plt.plot(where, 1e3 * np.array(times["anew"]), "o-", color="C3", label="the whole text anew")
plt.plot(where, 1e3 * middle, "o-", color="C0", label="with the cache")
plt.xlabel("tokens so far")
plt.ylabel("milliseconds for the next token")
plt.title("The same logits, without computing the past again")
plt.ylim(0, None)
plt.legend()
plt.show()
assert sum(times["anew"]) > middle.sum()

# %% [markdown]
# The measured gain is smaller than the count promises: with one token at a time the arrays are small, and Python's own work for each operation, the same for both, is what remains.
#
# ## Prompts: zero-shot and few-shot
#
# Large models solve tasks that they are only *shown*: with an instruction alone, *zero-shot*, or with a few solved examples, *few-shot*. No weight changes. Why should predicting text lead to that? Make a world small enough to compute. There are four secret tasks; each turns the letters a to f into one of w, x, y, z. Every document
# begins with the task's name, A to D, or (three times out of four) with a question mark that hides it. Six pairs of letter and answer follow.

# %%
TASKS, INPUTS, OUTPUTS, SHOTS = 4, 6, 4, 6
alphabet = [*"abcdef", *"wxyz", *"ABCD", "?"]
answers = np.random.default_rng(0).integers(0, OUTPUTS, (TASKS, INPUTS))  # answers[task, letter]
for task in range(TASKS):
    print("ABCD"[task], " ".join(f"{'abcdef'[i]}→{'wxyz'[answers[task, i]]}" for i in range(INPUTS)))


def documents(count, rng, named=None):
    """(count, 1 + 2 SHOTS); named: share of the documents that give the name"""
    task = rng.integers(0, TASKS, count)
    letters = rng.integers(0, INPUTS, (count, SHOTS))
    rows = np.zeros((count, 1 + 2 * SHOTS), int)
    rows[:, 0] = INPUTS + OUTPUTS + np.where(rng.random(count) < named, task, TASKS)
    rows[:, 1::2] = letters
    rows[:, 2::2] = INPUTS + answers[task[:, None], letters]
    return rows


rng = np.random.default_rng(0)
print("\nfour documents:", *("".join(alphabet[i] for i in row) for row in documents(4, rng, 0.25)))

# %% [markdown]
# After a question mark, what is the best possible answer for the letter $a_{m}$, given the pairs $(a_1, b_1), \dots, (a_{m-1}, b_{m-1})$? By (12.4) the loss is smallest for the true conditional probability. All tasks were equally likely at first; a pair rules out the tasks $f$ that answer otherwise. By Bayes' rule
#
# $$ p(f \mid \text{pairs}) = \frac{\prod_{j<m} [f(a_j) = b_j]}{\sum_{f'} \prod_{j<m} [f'(a_j) = b_j]}, \qquad p(b \mid a_m, \text{pairs}) = \sum_f p(f \mid \text{pairs})\, [f(a_m) = b] \tag{12.19} $$
#
# A model that has learned to predict these documents *must* behave as if it inferred the task from the examples. Nobody has told it about tasks. Does it?

# %%
minitorch.manual_seed(0)
rng = np.random.default_rng(0)
prompted = GPT(len(alphabet), 2 * SHOTS + 1, width=32)


def document_batch():
    rows = documents(64, rng, 0.25)
    return rows[:, :-1], rows[:, 1:]


curve = train(prompted, document_batch, 700, 8e-3)


def bayes(rows):
    """(12.19) for documents without a name: the probability of each answer after m - 1 pairs: (N, SHOTS, OUTPUTS)"""
    letters, given = rows[:, 1::2], rows[:, 2::2] - INPUTS
    fits = answers[:, letters] == given  # (TASKS, N, SHOTS)
    p = np.zeros((len(rows), SHOTS, OUTPUTS))
    for m in range(SHOTS):
        possible = fits[:, :, :m].all(-1)  # (TASKS, N)
        posterior = possible / possible.sum(0)
        for f in range(TASKS):
            np.add.at(p, (np.arange(len(rows)), m, answers[f, letters[:, m]]), posterior[f])
    return p


def answer_probabilities(rows):
    with minitorch.no_grad():
        p = F.softmax(prompted(minitorch.tensor(rows[:, :-1])), -1).numpy()
    return p[:, 1::2, INPUTS : INPUTS + OUTPUTS]  # at the places of the letters


test = np.random.default_rng(1)
hidden, named = documents(2000, test, 0.0), documents(500, test, 1.0)
best, found = bayes(hidden), answer_probabilities(hidden)
right = hidden[:, 2::2] - INPUTS
accuracy = {
    "GPT, task hidden": (found.argmax(-1) == right).mean(0),
    "Bayes, the best possible": (best.argmax(-1) == right).mean(0),
    "GPT, task named": (answer_probabilities(named).argmax(-1) == named[:, 2::2] - INPUTS).mean(0),
}
figure, axes = plt.subplots()
for (name, values), style in zip(accuracy.items(), ("o-", "k--", "s-")):
    axes.plot(range(SHOTS), values, style, label=name)
axes.axhline(1 / OUTPUTS, color="0.6", linewidth=1, linestyle=":")
axes.text(3.6, 1 / OUTPUTS + 0.01, "guessing", color="0.4")
axes.set(xlabel="examples in the prompt", ylabel="right answers", ylim=(0.2, 1.03))
axes.set_title("Examples in the prompt select the task")
axes.legend(loc="center right")
plt.show()

print("zero-shot, task named: ", f"{accuracy['GPT, task named'][0]:.1%}")
print("zero-shot, task hidden:", f"{accuracy['GPT, task hidden'][0]:.1%}")
print("after 3 examples:      ", f"{accuracy['GPT, task hidden'][3]:.1%}")
assert np.abs(accuracy["GPT, task hidden"] - accuracy["Bayes, the best possible"]).max() < 0.06  # (12.19)
assert accuracy["GPT, task named"].min() > 0.95
gap = np.abs(found - best).sum(-1).mean() / 2  # half the sum of |differences|: the mass that is misplaced
print(f"mean mass that differs from Bayes' rule: {gap:.3f}")
assert gap < 0.1

# %% [markdown]
# With every example the accuracy follows the best possible one, and the probabilities follow (12.19). To a predictor, "which document is this?" and "which task is this?" are one question. It works for tasks that occurred in training. A fifth task, never seen, fails with the same prompts: no document was like that.
# And the letters themselves, which are random, cannot be predicted: the loss at their places stays at its floor, as (12.4) says.

# %%
with minitorch.no_grad():
    z = prompted(minitorch.tensor(hidden[:, :-1]))
    losses = F.cross_entropy(z.flatten(0, 1), minitorch.tensor(hidden[:, 1:]).flatten(), reduction="none")
losses = losses.numpy().reshape(len(hidden), -1).mean(0)
print(f"loss at the letters {losses[::2].mean():.3f}, their entropy log 6 = {np.log(6):.3f}")
lessons.same(losses[::2].mean(), np.log(6), tol=0.03, what="loss at the letters")  # (12.4)

fifth = (answers[0] + 1) % OUTPUTS  # another answer than task A's for every letter
new = documents(1000, np.random.default_rng(2), 0.0)
new[:, 2::2] = INPUTS + fifth[new[:, 1::2]]
accuracy_new = (answer_probabilities(new).argmax(-1) == new[:, 2::2] - INPUTS).mean(0)
print(f"after 5 examples: {accuracy['GPT, task hidden'][5]:.1%} in known tasks, {accuracy_new[5]:.1%} in a fifth one")
assert accuracy_new[5] < accuracy["GPT, task hidden"][5] - 0.2

# %% [markdown]
# ## What goes wrong
#
# ### Exercise 6: find the bug
#
# This generator uses the cache. It is fast; its first character is the one that the slow generator gives, always. From the second on the two differ, though both are greedy, and its text is worse. Compare the two inputs of a block that a token needs, what it is and *where* it is.


# %% tags=["exercise"]
def generate(model, ids, steps):
    """ids: (1, T), a tensor.       Returns the next `steps` numbers, greedily, with a cache"""
    caches, out = [{} for _ in model.blocks], []
    with minitorch.no_grad():
        z = model(ids, caches)  # the whole prompt at once
        for i in range(steps):
            token = z[:, -1].argmax(-1, keepdim=True)  # (1, 1)
            out.append(token.item())
            # --- solution
            z = model(token, caches, past=ids.shape[1] + i)
            # --- stub
            # z = model(token, caches)
            # --- end
    return out


# %% tags=["check"]
@lesson.check("generate", hint="How does the model know that the new token is not the first one? Look at GPT.forward.")
def _(generate):
    minitorch.manual_seed(2)
    model = GPT(9, 16, width=16, heads=2)
    with minitorch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # an untrained model with strong opinions
    ids = minitorch.tensor([[3, 1, 4, 1, 5]])
    slow = ids
    with minitorch.no_grad():
        for _ in range(8):
            slow = minitorch.cat([slow, model(slow)[:, -1].argmax(-1, keepdim=True)], 1)
    found, expected = generate(model, ids, 8), [int(i) for i in slow.numpy()[0, 5:]]
    assert list(found) == expected, f"With the cache {found}, without it {expected}."


# %% [markdown]
# Fed one by one, every token is the first of its input, and gets position 0. The keys in the cache are right, so the text does not fall apart; it only gets worse, which is why this bug lives long. **The cached and the plain path must give the same logits**, for more than one step: that is the test. A model that takes `past` from the length of its cache cannot be
# called wrongly. Bugs of this lesson in the zoo: [24, too good to be true](zoo/24_too_good_to_be_true.py), the targets without the shift; [07, the model that reads ahead](zoo/07_the_model_that_reads_ahead.py), a mask after the softmax.
#
# ## Summary

# %% [markdown] tags=["summary"]
# | equation | what | op | test |
# |---|---|---|---|
# | (12.1), (12.2) | chain rule of probability; the loss of a language model (F2, F10) | `minitorch/ops/loss.py::cross_entropy` | here, cases:nn.functional.cross_entropy |
# | (12.3) | bits per character, perplexity | - | here |
# | (12.4) | cross-entropy is entropy plus divergence: the floor | - | here |
# | (12.5), (12.6) | the bigram model and its gradient (F8) | `minitorch/ops/attention.py::embedding`, `minitorch/ops/loss.py::cross_entropy` | here, cases:nn.functional.embedding |
# | (12.7) | training finds the counts | - | here |
# | (12.8) | causal: which input learns from which loss | `minitorch/ops/attention.py::scaled_dot_product_attention` | here, tests/test_nn_transformer.py::test_no_position_sees_the_future |
# | (12.9) | softmax with temperature | `minitorch/ops/softmax.py::softmax` | here, cases:nn.functional.softmax |
# | (12.10), (12.11) | its gradients for the logits and for the temperature | `minitorch/ops/softmax.py::softmax` | here, cases:nn.functional.softmax |
# | (12.12), (12.13) | the entropy, and how it grows with the temperature | - | here |
# | (12.14), (12.15), (12.16) | top-k and top-p, what they cut off | - | here |
# | (12.17) | the key-value cache | `minitorch/ops/attention.py::scaled_dot_product_attention` | here, cases:nn.functional.scaled_dot_product_attention |
# | (12.18) | its multiplications | - | here |
# | (12.19) | the best answer to a prompt | - | here |
#
# GPT sees only what is to the left. A model that fills gaps may look to both sides, and learns what words mean in their places: [13 BERT pretraining](13_bert.ipynb).
