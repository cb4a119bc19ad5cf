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
# # 14 Fine-tuning
#
# You have few labelled examples and a network that was trained on something else. **Why should weights from another task help with yours, how do you adapt them without ruining them, and how do you know that the number you report is true?** The first two questions have
# derivations; the third one has four published mistakes, each of which you will compute again.
#
# You need lessons 03 to 05 (classifiers, AdamW, warm-up), 08 (embedding) and 13 (pretraining, baselines). Time: 60 minutes.

# %%
import os
import re
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import minitorch
import minitorch.nn.functional as F
from minitorch import lessons, nn
from minitorch.datasets.packages import hide_names, package_task
from minitorch.datasets.stdlib import read_stdlib, split_modules
from minitorch.optim.lr_scheduler import linear_warmup_decay

lesson = lessons.start(14)

# %% [markdown]
# ## The same valley, two starting points
#
# Two weights, one labelled example: predict $y = 1$ from $x = (2, 1)$ as $x \cdot w$. All $w$ on a line are perfect. Which of them does gradient descent find?

# %%
x, y = np.array([2.0, 1.0]), 1.0
figure, axes = plt.subplots(figsize=(6.5, 4.2))
a, b = np.meshgrid(np.linspace(-1.5, 2, 100), np.linspace(-2.6, 2.2, 100))
axes.contour(a, b, (a * x[0] + b * x[1] - y) ** 2, levels=[0.05, 0.5, 2, 5, 10, 18], linewidths=1, colors="0.7")
axes.plot([-1.5, 2], [1 + 3, 1 - 4], color="0.4", label="no error here")
for name, w, color in (("from random weights", [-1.2, -0.6], "C1"), ("from pretrained weights", [0.3, 1.9], "C0")):
    path = [np.array(w)]
    for _ in range(30):
        path.append(path[-1] - 0.03 * 2 * (x @ path[-1] - y) * x)
    path = np.array(path)
    axes.plot(*path.T, ".-", color=color, label=name)
    axes.plot(*path[0], "o", color=color, markersize=9)
axes.plot(-0.2, 1.45, "*", color="black", markersize=14, label="the truth, which one example does not show")
axes.set(
    xlim=(-1.5, 2),
    ylim=(-2.6, 2.2),
    xlabel="$w_1$",
    ylabel="$w_2$",
    title="The example is fitted from both; the start decides the rest",
)
axes.legend(fontsize=9, loc="lower left", frameon=True, framealpha=1)
plt.show()

# %% [markdown]
# Both paths end with no error. They move only along $x$, the one direction of which the example says anything; everything else stays as it was at the start. With few labels a *starting point is a belief*.
#
# ## Why a start is a prior
#
# Pretraining and fine-tuning are two minimisations of the same form, over different data, and the second begins where the first ended:
#
# $$ \theta_{\mathrm{pre}} \approx \arg\min_\theta \frac{1}{N_{\mathrm{pre}}} \sum_{n} \ell_{\mathrm{pre}}(\theta; x_n), \qquad \theta_0 = \theta_{\mathrm{pre}}, \quad \theta_{t+1} = \theta_t - \eta\, \nabla \frac{1}{N}\sum_{n} \ell(\theta_t; x_n, y_n) \tag{14.1} $$
#
# What remains of $\theta_0$ after $t$ steps? Near a minimum $w^*$ a loss is nearly quadratic, $L(w) = \frac12 (w - w^*)^\top H (w - w^*)$ with a symmetric $H$, so $\nabla L = H(w - w^*)$. Subtract $w^*$ from both sides of a step:
#
# $$ w_{t+1} - w^* = (w_t - w^*) - \eta H (w_t - w^*) = (I - \eta H)(w_t - w^*) \tag{14.2} $$
#
# An *eigenvector* of $H$ is a direction $v$ that $H$ only stretches, $Hv = \lambda v$, by its *eigenvalue* $\lambda$; here it is the curvature in that direction. A symmetric $H$ has as many perpendicular ones as there are weights, so $w - w^*$ is a sum of
# parts along them. On each part $I - \eta H$ is the number $1 - \eta\lambda$, and $t$ steps multiply by it $t$ times: $u_t - u^* = (1 - \eta\lambda)^t (u_0 - u^*)$ for the coordinate $u$ along that eigenvector. Solved for $u_t$:
#
# $$ u_t = \big(1 - (1 - \eta\lambda)^t\big)\, u^* + (1 - \eta\lambda)^t\, u_0 \tag{14.3} $$
#
# A weighted mean (while $\eta\lambda < 1$) of what the data want and of where you began. $\lambda$ says how sharply the data care. Where it is large, the start is soon forgotten. Where it is 0 (no example says anything), the start stays for ever.
#
# Compare with a *prior*: the belief that $w$ lies around $w_0$, a penalty $\frac{\alpha}{2}\vert w - w_0\vert^2$ on top of the loss. Along the same eigenvector the derivative $\lambda(u - u^*) + \alpha(u - u_0)$ is 0 at
#
# $$ u = \frac{\lambda}{\lambda + \alpha}\, u^* + \frac{\alpha}{\lambda + \alpha}\, u_0 \tag{14.4} $$
#
# The same kind of mean, with the same two ends. So **few steps from a good start act like a prior that is centred there**, and fewer steps or a smaller learning rate like a firmer one.
# How firm? For small $\lambda$ the start's share is about $1 - \eta t \lambda$ in (14.3), and about $1 - \lambda/\alpha$ in (14.4): the same for $\alpha = 1/(\eta t)$.
#
# ### Exercise 1: what is left of the start


# %% tags=["exercise"]
def after(t, u0, target, lam, eta):
    """The coordinate u after t steps of gradient descent on lam/2 (u - target)^2 from u0, without a loop."""
    # --- solution
    left = (1 - eta * lam) ** t
    return (1 - left) * target + left * u0
    # --- stub
    # left = 1.0  # the share of the start that is left
    # return (1 - left) * target + left * u0
    # --- end


# %% tags=["check"]
@lesson.check("after", hint="Each step multiplies the distance to the target by (1 - eta * lam).")
def _(after):
    for lam in (0.0, 0.3, 2.0):
        u = 1.5
        for _ in range(7):
            u = u - 0.1 * lam * (u + 0.5)
        lessons.same(after(7, 1.5, -0.5, lam, 0.1), u, tol=1e-9, what=f"7 steps with eigenvalue {lam}")  # (14.3)


# %%
rng = np.random.default_rng(0)
X, w_star, w0 = rng.normal(size=(6, 4)) * [2, 1, 0.4, 0.05], rng.normal(size=4), rng.normal(size=4)
H = X.T @ X / len(X)  # of the mean squared error (with a half), lesson 00
lam, Q = np.linalg.eigh(H)  # eigenvalues; eigenvectors, the columns of Q
w, eta = w0, 0.2
for _ in range(50):
    w = w - eta * H @ (w - w_star)  # (14.2)
u = [after(50, (Q.T @ w0)[i], (Q.T @ w_star)[i], lam[i], eta) for i in range(4)]
lessons.same(Q @ u, w, tol=1e-9, what="50 steps, by eigenvectors")  # (14.3)
alpha = 0.3
prior = np.linalg.solve(H + alpha * np.eye(4), H @ w_star + alpha * w0)
lessons.same(Q.T @ prior, (lam * (Q.T @ w_star) + alpha * (Q.T @ w0)) / (lam + alpha), tol=1e-9)  # (14.4)

steps = np.arange(0, 201)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True)
for value, color in ((2.0, "C0"), (0.2, "C1"), (0.02, "C2"), (0.0, "C3")):
    left.plot(steps, after(steps, 1.0, 0.0, value, 0.1), color=color, label=f"λ = {value}")
left.set(xlabel="steps", ylabel="share of the start that is left", title="(14.3): descent, η = 0.1")
left.legend()
grid = np.logspace(-3, 1, 200)
for t, color in ((20, "C4"), (200, "C5")):
    right.semilogx(grid, after(t, 1.0, 0.0, grid, 0.1), color=color, label=f"{t} steps")
    right.semilogx(
        grid, 1 / (1 + grid * 0.1 * t), "--", color=color, linewidth=1, label=f"prior, α = {1 / (0.1 * t):.2g}"
    )
right.set(xlabel="λ: how much the data care", title="(14.4): a prior does nearly the same")
right.legend(fontsize=9)
plt.show()

# %% [markdown]
# ## A body and a head
#
# Now a real one. The *body* turns a text into a vector, the *head* turns the vector into scores for the classes. To train many networks in seconds, the body is the smallest one that can be pretrained on masked words: the mean of the words' embeddings, then one dense layer.
# Take the attention out of lesson 13's BERT and this is about what is left. It learns fast because every word of the text is a label: hide it, and predict it from four words on each side, with tied output embeddings.
#
# The labelled task: eight packages of the standard library; from which one is a docstring? The packages' names are taken out of all texts; the texts to test on are from other *modules*. With `MINITORCH_DATA` set, it is instead the sentiment of sentences from
# film reviews, 1 for good.

# %%
folder = Path(os.environ.get("MINITORCH_DATA", "")) / "sst2"
if os.environ.get("MINITORCH_DATA") and (folder / "train.tsv").exists():
    read = {
        name: [line.rsplit("\t", 1) for line in (folder / f"{name}.tsv").read_text(encoding="utf-8").splitlines()]
        for name in ("train", "dev")
    }
    classes = ["bad", "good"]
    texts = {"train": [t for t, _ in read["train"]], "test": [t for t, _ in read["dev"]]}
    labels = {"train": np.array([int(c) for _, c in read["train"]]), "test": np.array([int(c) for _, c in read["dev"]])}
    unlabelled = texts["train"]
else:
    documents = read_stdlib().documents
    split = split_modules(documents)
    task = package_task(documents, max_classes=8, max_train=60)
    classes, texts, labels = task.classes, task.texts, task.labels
    unlabelled = [hide_names(d.text, classes) for d in documents if split[d.module] == "train"]


def words_of(text):
    return re.findall(r"[a-z]+|[+-]", text.lower().replace("[mask]", ""))


counted = Counter(word for text in unlabelled for word in words_of(text))
vocabulary = ["", *(word for word, _ in counted.most_common(1999))]  # number 0: padding, and words not in the list
number = {word: i for i, word in enumerate(vocabulary)}
V, D, PLACES = len(vocabulary), 64, 40


def encode(texts):
    """The first words of each text as numbers, 0 behind them.        (N, PLACES)"""
    out = np.zeros((len(texts), PLACES), np.int64)
    for row, text in enumerate(texts):
        ids = [number[word] for word in words_of(text) if word in number][:PLACES]
        out[row, : len(ids)] = ids
    return out


inputs = {name: encode(texts[name]) for name in ("train", "test")}
print(
    f"{len(unlabelled):,} texts without labels, {counted.total():,} words; {len(classes)} classes: {', '.join(classes)}"
)
print(f"{len(labels['train'])} labelled texts to choose from, {len(labels['test'])} to test on")
print(texts["train"][0][:110])


# %%
class Body(nn.Module):
    """Word numbers (N, T), 0 for none, to a vector (N, D)."""

    def __init__(self):
        super().__init__()
        self.E = nn.Embedding(V, D)
        self.dense = nn.Linear(D, D)
        nn.init.normal_(self.E.weight, std=0.1)

    def mean(self, ids):
        there = (ids > 0).to(minitorch.float32).unsqueeze(-1)  # (N, T, 1)
        return 4 * (self.E(ids) * there).sum(1) / (there.sum(1) + 1e-6)  # 4: a mean of many is small

    def forward(self, ids):
        return self.dense(self.mean(ids)).tanh()


def pretrain(steps=500):
    """Predict a word from four words on each side."""
    around, hidden = [], []
    for text in unlabelled:
        ids = np.array([number.get(word, 0) for word in words_of(text)], np.int64)
        if len(ids) > 2:
            windows = np.lib.stride_tricks.sliding_window_view(np.pad(ids, 4), 9)
            around.append(np.delete(windows, 4, axis=1))
            hidden.append(ids)
    around, hidden = np.concatenate(around), np.concatenate(hidden)
    around, hidden = around[hidden > 0], hidden[hidden > 0]
    share = np.bincount(hidden, minlength=V) + 1.0
    share /= share.sum()
    minitorch.manual_seed(0)
    body, bias = Body(), nn.Parameter(minitorch.tensor(np.log(share), dtype=minitorch.float32))
    optimizer = minitorch.optim.Adam([*body.parameters(), bias], lr=5e-3)
    schedule = linear_warmup_decay(optimizer, steps // 10, steps)
    rng, curve = np.random.default_rng(0), []
    for _ in range(steps):
        rows = rng.integers(0, len(hidden), 512)
        scores = F.linear(body(minitorch.tensor(around[rows])), body.E.weight, bias)  # tied
        loss = F.cross_entropy(scores, minitorch.tensor(hidden[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        curve.append(loss.item())
    return body, curve, -np.log(share[hidden]).mean()


pretrained, curve, unigram = pretrain()
plt.plot(np.convolve(curve, np.ones(20) / 20, "valid"), label="hidden word, from its neighbours")
plt.axhline(unigram, color="0.4", linestyle="--", linewidth=1, label="frequencies, without reading")
plt.xlabel("step")
plt.ylabel("loss, mean of 20 steps")
plt.title("Pretraining the body takes seconds")
plt.legend()
plt.show()
assert np.mean(curve[-20:]) < unigram - 0.5
for word in ("file", "string", "error", "good", "movie"):
    if word in number:
        E = pretrained.E.weight.detach().numpy()
        near = E @ E[number[word]] / np.linalg.norm(E, axis=1) / np.linalg.norm(E[number[word]])
        print(f"{word:8} is near", ", ".join(vocabulary[i] for i in np.argsort(-near)[1:6]))

# %% [markdown]
# The head is a linear layer, $z = h W + b$ with $h$ of shape $(N, D)$ from the body and $W$ of shape $(D, C)$. What it sends back into the body is
#
# $$ dh_{nd} = \sum_{c} dz_{nc}\, W_{dc}, \qquad dz_{nc} = \frac{\hat y_{nc} - \delta_{c, y_n}}{N} \tag{14.5} $$
#
# Read (14.5) at the first step. A new head's $W$ is random, so $dh$ is the classification error pushed through random numbers: it moves good features about for no reason. Three remedies follow: train the head alone first (*freezing*), begin with tiny steps (*warm-up*,
# lesson 05), or start the head at $W = 0$: then $dh = 0$ at the first step, and the body moves only as far as the head has learnt something. We do the last.

# %%
CHOSEN = 20  # rows in a batch


def choose(per_class, seed):
    """Rows of the training set, the same number for each class."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.permutation(np.flatnonzero(labels["train"] == c))[:per_class] for c in range(len(classes))]
    )


def fine_tune(body, head, groups, rows, seed, epochs=15):
    """Trains the parameters in `groups`; the accuracy on the test texts."""
    optimizer = minitorch.optim.AdamW(groups, weight_decay=0.01)
    total = epochs * -(-len(rows) // CHOSEN)
    schedule = linear_warmup_decay(optimizer, total // 10, total)
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(rows)
        for begin in range(0, len(order), CHOSEN):
            batch = order[begin : begin + CHOSEN]
            loss = F.cross_entropy(
                head(body(minitorch.tensor(inputs["train"][batch]))), minitorch.tensor(labels["train"][batch])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with minitorch.no_grad():
        guesses = head(body(minitorch.tensor(inputs["test"]))).numpy().argmax(-1)
    return (guesses == labels["test"]).mean()


def new_model(start, seed):
    """A body, from random weights or from the pretrained ones, and a head of zeros."""
    minitorch.manual_seed(seed)
    body, head = Body(), nn.Linear(D, len(classes))
    if start == "pretrained":
        body.load_state_dict(pretrained.state_dict())
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return body, head


body, head = new_model("pretrained", 0)
h = body(minitorch.tensor(inputs["train"][:5]))
h.retain_grad()
z = head(h)
z.retain_grad()
F.cross_entropy(z, minitorch.tensor(labels["train"][:5])).backward()
lessons.same(h.grad, np.zeros((5, D)), tol=1e-12, what="dh from a head of zeros")  # (14.5)
one_hot = np.eye(len(classes))[labels["train"][:5]]
lessons.same(z.grad, (1 / len(classes) - one_hot) / 5, what="dz from a head of zeros")
assert np.abs(head.weight.grad.numpy()).max() > 0

# %% [markdown]
# The measurement: the same network, the same steps and learning rate, from two starting points, with 5, 15 and 40 labels a class. Each is repeated with five seeds, which choose the labelled texts, the random weights and the order. A difference that is smaller than the spread is not a result.

# %%
SIZES, SEEDS = (5, 15, 40), 5
accuracy = {start: np.zeros((len(SIZES), SEEDS)) for start in ("random", "pretrained")}
for start, table in accuracy.items():
    for i, size in enumerate(SIZES):
        for seed in range(SEEDS):
            body, head = new_model(start, seed)
            groups = [{"params": [*body.parameters(), *head.parameters()], "lr": 5e-3}]
            table[i, seed] = fine_tune(body, head, groups, choose(size, seed), seed)

commonest = np.bincount(labels["test"]).max() / len(labels["test"])
for (start, table), color in zip(accuracy.items(), ("C1", "C0")):
    plt.errorbar(
        SIZES, table.mean(1), table.std(1, ddof=1), color=color, marker="o", capsize=4, label=f"from {start} weights"
    )
    print(f"{start:11}", "  ".join(f"{m:.3f} ± {s:.3f}" for m, s in zip(table.mean(1), table.std(1, ddof=1))))
plt.axhline(commonest, color="0.4", linestyle="--", linewidth=1)
plt.text(SIZES[-1], commonest, "always the commonest class", ha="right", va="bottom", fontsize=9)
plt.xscale("log")
plt.xticks(SIZES, SIZES)
plt.minorticks_off()
plt.xlabel("labelled texts in each class")
plt.ylabel("accuracy on the test texts")
plt.title("A good start stands in for labels (mean and spread of 5 seeds)")
plt.legend(loc="upper left")
plt.show()
gain = accuracy["pretrained"] - accuracy["random"]
if not os.environ.get("MINITORCH_DATA"):  # sentences of film reviews are harder: there the gain is inside the spread
    assert gain.mean() > 0.015 and (gain.mean(1) > 0).sum() >= 2

# %% [markdown]
# ## What to train, and how fast
#
# The gain is largest where labels are fewest, and shrinks into the spread as they become many: the data take over from the start, as (14.3) and (14.4) say. (Film reviews, with `MINITORCH_DATA`, are harder: from 5 labels both starts stay at a coin's 0.5, and at no size does the gain leave the
# spread. What this body learns in seconds, which words stand together, says little about good and bad.)
#
# The whole body with one learning rate is only one way. From the top of the network to its bottom, features get more general, and (14.3) says how to keep what you trust: small steps there. *Layer-wise learning rates* shrink by a factor $\xi$ from each
# layer to the one below; the head is layer $K$, the embedding layer 0:
#
# $$ \eta_k = \eta\, \xi^{\,K - k}, \qquad k = 0, \dots, K \tag{14.6} $$
#
# $\xi = 1$ is the same rate for all; $\xi = 0$ is a frozen body. An optimizer takes them as *parameter groups*.
#
# ### Exercise 2: parameter groups


# %% tags=["exercise"]
def layer_groups(layers, lr, decay):
    """layers: modules from the bottom to the head. Returns [{"params": [...], "lr": ...}, ...], in the same order."""
    # --- solution
    K = len(layers) - 1
    return [{"params": list(layer.parameters()), "lr": lr * decay ** (K - k)} for k, layer in enumerate(layers)]
    # --- stub
    # return [{"params": list(layer.parameters()), "lr": lr} for layer in layers]
    # --- end


# %% tags=["check"]
@lesson.check("layer_groups", hint="The last one is the head, with lr itself; the one below it has lr * decay.")
def _(layer_groups):
    layers = [nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 1)]
    groups = layer_groups(layers, 0.1, 0.5)
    assert [len(g["params"]) for g in groups] == [2, 2, 2], "Each group holds its layer's weight and bias."
    assert groups[0]["params"][0] is layers[0].weight, "The groups are in the order of the layers."
    lessons.same([g["lr"] for g in groups], [0.025, 0.05, 0.1], what="learning rates")  # (14.6)


# %% [markdown]
# ## LoRA: a small correction to a large matrix
#
# A dense layer of BERT large holds a million weights. For ten tasks you would keep ten copies. *Low-rank adaptation* freezes $W$ and learns a correction that is a product of two thin matrices. With $x$ of shape $(N, D)$, $W$ $(D, C)$, $A$ $(D, r)$, $B$ $(r, C)$, and a fixed number $s$:
#
# $$ y = x W + s\,(x A) B, \qquad \text{trained: } r (D + C) \text{ numbers in place of } D\,C \tag{14.7} $$
#
# With indices $y_{nc} = \sum_d x_{nd} W_{dc} + s \sum_{d, k} x_{nd} A_{dk} B_{kc}$. Read off the derivatives of $y_{nc}$, multiply by $dy_{nc}$, and sum over what is not wanted:
#
# $$ dA_{dk} = s \sum_{n, c} x_{nd}\, dy_{nc}\, B_{kc}, \qquad dA = s\, x^\top (dy\, B^\top) \tag{14.8} $$
#
# $$ dB_{kc} = s \sum_{n, d} x_{nd}\, A_{dk}\, dy_{nc}, \qquad dB = s\, (x A)^\top dy \tag{14.9} $$
#
# $$ dx_{nd} = \sum_c dy_{nc} \Big(W_{dc} + s \sum_k A_{dk} B_{kc}\Big), \qquad dx = dy\, W^\top + s\,(dy\, B^\top) A^\top \tag{14.10} $$
#
# Shapes: $x^\top$ $(D, N)$ times $dy\, B^\top$ $(N, r)$ is $(D, r)$, as $A$. Now the start. The correction should begin at zero, so that training begins at the pretrained model: $A B = 0$. By (14.8) and (14.9) each factor is multiplied into the *other's* gradient:
#
# $$ A = 0,\ B = 0: \; dA = 0,\ dB = 0; \qquad B = 0,\ A \text{ random}: \; dA = 0,\ dB = s\,(xA)^\top dy \ne 0 \tag{14.11} $$
#
# Both zero: nothing moves, ever. Both random: the pretrained model is damaged before the first step. One of each: $B$ moves at the first step, $A$ from the second on.
#
# ### Exercise 3: LoRA, forward and backward


# %% tags=["exercise"]
def lora(x, W, A, B, s):
    """x: (N, D)   W: (D, C)   A: (D, r)   B: (r, C)   returns y: (N, C)"""
    # --- solution
    return x @ W + s * (x @ A) @ B
    # --- stub
    # return x @ W
    # --- end


def lora_backward(dy, x, W, A, B, s):
    """dx, dA, dB        (W is frozen)"""
    # --- solution
    dyB = dy @ B.T
    return dy @ W.T + s * dyB @ A.T, s * x.T @ dyB, s * (x @ A).T @ dy
    # --- stub
    # return dy @ W.T, np.zeros_like(A), np.zeros_like(B)
    # --- end


# %% tags=["check"]
@lesson.check(
    "lora",
    "lora_backward",
    hint="(14.8) to (14.10) in their matrix form; x meets A first, so that nothing of size D x C is built.",
)
def _(lora, lora_backward):
    rng = np.random.default_rng(0)
    x, W, A, B, dy = (rng.normal(size=shape) for shape in ((3, 5), (5, 4), (5, 2), (2, 4), (3, 4)))
    lessons.same(lora(x, W, A, B, 0.5), x @ (W + 0.5 * A @ B), what="y")  # (14.7)
    dx, dA, dB = lora_backward(dy, x, W, A, B, 0.5)
    lessons.same(dx, lessons.numeric_gradient(lambda x: lora(x, W, A, B, 0.5), x, dy), what="dx")
    lessons.same(dA, lessons.numeric_gradient(lambda A: lora(x, W, A, B, 0.5), A, dy), what="dA")
    lessons.same(dB, lessons.numeric_gradient(lambda B: lora(x, W, A, B, 0.5), B, dy), what="dB")


# %%
rng = np.random.default_rng(1)
x, W, A, B, dy = (rng.normal(size=shape) for shape in ((6, 8), (8, 5), (8, 2), (2, 5), (6, 5)))
dx, dA, dB = lora_backward(dy, x, W, A, B, 0.7)
worst = lessons.show_errors(  # (14.8), (14.9), (14.10)
    {
        "dx": (dx, lessons.numeric_gradient(lambda x: lora(x, W, A, B, 0.7), x, dy)),
        "dA": (dA, lessons.numeric_gradient(lambda A: lora(x, W, A, B, 0.7), A, dy)),
        "dB": (dB, lessons.numeric_gradient(lambda B: lora(x, W, A, B, 0.7), B, dy)),
    },
    title="LoRA's gradients against differences",
    limit=1e-8,
)
assert worst < 1e-8
tx, tA, tB = (minitorch.tensor(array, requires_grad=True) for array in (x, A, B))
ty = tx @ minitorch.tensor(W) + 0.7 * (tx @ tA) @ tB
ty.backward(minitorch.tensor(dy))
for name, tensor, value in (
    ("y", ty, lora(x, W, A, B, 0.7)),
    ("dx", tx.grad, dx),
    ("dA", tA.grad, dA),
    ("dB", tB.grad, dB),
):
    lessons.same(tensor, value, tol=1e-12, what=name)
zero = lora_backward(dy, x, W, 0 * A, 0 * B, 0.7)
one = lora_backward(dy, x, W, A, 0 * B, 0.7)
assert not zero[1].any() and not zero[2].any() and not one[1].any() and one[2].any()  # (14.11)
print("minitorch's matmul gives the same; with both factors 0 both gradients are 0")


# %% [markdown]
# Five ways on 10 labels a class, all from the pretrained body but the first. The dense layer's correction has rank 4.


# %%
class LoRABody(nn.Module):
    """A frozen body with a low-rank correction of its dense layer."""

    def __init__(self, body, rank=4):
        super().__init__()
        self.body = body.requires_grad_(False)
        self.A = nn.Parameter(minitorch.randn(D, rank) / D**0.5)
        self.B = nn.Parameter(minitorch.zeros(rank, D))

    def forward(self, ids):
        x = self.body.mean(ids)
        return (self.body.dense(x) + (x @ self.A) @ self.B).tanh()


def way(name, seed):
    body, head = new_model("random" if name == "random weights" else "pretrained", seed)
    if name == "body frozen":
        groups = layer_groups([head], 1e-2, 1.0)
        body.requires_grad_(False)
    elif name == "LoRA, rank 4":
        body = LoRABody(body)
        groups = [{"params": [body.A, body.B, *head.parameters()], "lr": 1e-2}]
    else:
        groups = layer_groups([body.E, body.dense, head], 5e-3, 0.3 if name == "rates fall by 0.3" else 1.0)
    trained = sum(p.numel() for group in groups for p in group["params"])
    return fine_tune(body, head, groups, choose(10, seed), seed), trained


print(f"{'':22} trained    accuracy, mean ± spread of {SEEDS} seeds")
ways = {}
for name in ("random weights", "one rate for all", "rates fall by 0.3", "LoRA, rank 4", "body frozen"):
    results = [way(name, seed) for seed in range(SEEDS)]
    ways[name] = np.array([a for a, _ in results])
    print(f"{name:22} {results[0][1]:7,}    {ways[name].mean():.3f} ± {ways[name].std(ddof=1):.3f}")
assert max(ways[name].mean() for name in ways if name != "random weights") > ways["random weights"].mean()

# %% [markdown]
# Compare the second column with the third: a frozen body trains a few hundred numbers (only the head's), LoRA about a thousand, the full network more than a hundred times as many, and the accuracies lie within a few spreads of one another. Which way is best depends on the data; with few labels the cheap ways are seldom far behind.
# For lesson 13's kind of network on this kind of task, `make demo` measures the same comparison with a mini BERT, beside a bag-of-words baseline that such a small network does *not* beat. Always run the simple baseline too.
#
# ## A label for every word: entities
#
# In *named entity recognition* each token gets a tag: `B-PER` begins a person's name, `I-PER` goes on with it, `O` is outside of any name. An entity is a stretch of tokens with a type. Here is a small generated language with persons, firms and places, some of whose words serve for several of them
# (with `MINITORCH_DATA` set, newswire from CoNLL-2003).

# %%
TYPES = ("PER", "ORG", "LOC")


def generate(n, seed):
    """[(words, tags), ...]"""
    rng = np.random.default_rng(seed)
    syllables = "an ber co da el fi gor ha il ju ka lo mi nor os pe ri sa tu vin".split()

    def name():
        return "".join(rng.choice(syllables, rng.integers(2, 4)))

    forms = {
        "PER": lambda: [name(), name()] if rng.random() < 0.7 else [name()],
        "ORG": lambda: [name(), str(rng.choice(["labs", "bank", "works"]))] if rng.random() < 0.6 else [name()],
        "LOC": lambda: [name()] if rng.random() < 0.6 else [str(rng.choice(["new", "upper"])), name()],
    }
    patterns = (
        "the report that PER wrote for ORG was read on monday by the board in LOC , and nobody said a word about it",
        "after a long journey from LOC to LOC the two visitors went to see the head of ORG before lunch",
        "shares of ORG fell again , as the market had feared since the news came in from LOC last week",
        "PER and PER said that they did not know what had happened to the money of ORG that evening",
        "in the town of LOC people talk of nothing but the rain , and PER does not like it at all",
        "it is said that PER will leave , but the bank has not yet told the works council when this will be",
    )
    out = []
    for _ in range(n):
        words, tags = [], []
        for word in patterns[rng.integers(len(patterns))].split():
            stretch = forms[word]() if word in forms else [word]
            words += stretch
            tags += [f"B-{word}"] + [f"I-{word}"] * (len(stretch) - 1) if word in forms else ["O"]
        out.append((words, tags))
    return out


def read_bio(path):
    out = [([], [])]
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            word, tag = line.split()
            out[-1][0].append(word.lower())
            out[-1][1].append(tag)
        elif out[-1][0]:
            out.append(([], []))
    return [sentence for sentence in out if sentence[0]]


folder = Path(os.environ.get("MINITORCH_DATA", "")) / "conll2003"
if os.environ.get("MINITORCH_DATA") and (folder / "valid.bio").exists():
    tagged, tagged_test = read_bio(folder / "train.bio")[:3000], read_bio(folder / "valid.bio")[:1000]
    lengths = (100, 300, 1000, 3000)  # steps of training
else:
    tagged, tagged_test = generate(60, 0), generate(200, 1)
    lengths = (10, 20, 40, 80)
print(" ".join(f"{w}/{t}" if t != "O" else w for w, t in zip(*tagged_test[0])))

# %% [markdown]
# The tagger reads a word and two neighbours on each side: five embeddings side by side, a dense layer, a head. Words that occur once in training share the number 1, "unknown", so that it learns to go by the neighbours.

# %%
seen = Counter(word for words, _ in tagged for word in words)
word_number = {word: i + 2 for i, word in enumerate(sorted(word for word, n in seen.items() if n > 1))}
tag_names = sorted({tag for _, tags in tagged for tag in tags})
O = tag_names.index("O")  # noqa: E741


def windows(sentences):
    """Five word numbers for each token, and its tag's number.        (M, 5), (M,)"""
    rows, tags = [], []
    for words, names in sentences:
        ids = np.pad([word_number.get(word, 1) for word in words], 2)
        rows.append(np.lib.stride_tricks.sliding_window_view(ids, 5))
        tags += [tag_names.index(name) for name in names]
    return np.concatenate(rows), np.array(tags)


def train_tagger(steps):
    minitorch.manual_seed(0)
    net = nn.Sequential(
        nn.Embedding(len(word_number) + 2, 16),
        nn.Flatten(),
        nn.Linear(80, 48),
        nn.Tanh(),
        nn.Linear(48, len(tag_names)),
    )
    rows, tags = windows(tagged)
    optimizer, rng = minitorch.optim.Adam(net.parameters(), lr=5e-3), np.random.default_rng(0)
    for _ in range(steps):
        batch = rng.integers(0, len(tags), 64)
        loss = F.cross_entropy(net(minitorch.tensor(rows[batch])), minitorch.tensor(tags[batch]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with minitorch.no_grad():
        return net(minitorch.tensor(windows(tagged_test)[0])).numpy().argmax(-1)


truth = windows(tagged_test)[1]
predicted = {steps: train_tagger(steps) for steps in lengths}
print(f"{np.mean(truth == O):.1%} of the test tokens are O")
for steps, guess in predicted.items():
    print(f"after {steps:4} steps {np.mean(guess == truth):.1%} of the tokens are right")

# %% [markdown]
# ## Metrics that lie
#
# ### 97.3%, "an F1 on named entities"
#
# For one class count true positives $TP$, false positives $FP$ (predicted, not so) and false negatives $FN$ (so, not predicted):
#
# $$ P = \frac{TP}{TP + FP}, \qquad R = \frac{TP}{TP + FN}, \qquad F_1 = \frac{2 P R}{P + R} = \frac{2\,TP}{2\,TP + FP + FN} \tag{14.12} $$
#
# The *macro* average is the mean of the classes' $F_1$. The *micro* average adds up $TP$, $FP$ and $FN$ over the classes first. Now let every token have exactly one true and one predicted class, and count all classes, `O` too. A right token adds one to $TP$. A wrong one is a false positive of the class that was predicted and a
# false negative of the true one. So $\sum FP = \sum FN$ is the number of wrong tokens, and
#
# $$ P_{\mathrm{micro}} = R_{\mathrm{micro}} = F_{1,\mathrm{micro}} = \frac{\text{right tokens}}{\text{all tokens}} \tag{14.13} $$
#
# It is accuracy under another name. And since most tokens are `O`, always saying `O` already has
#
# $$ \text{accuracy} = \frac{\text{tokens that are O}}{\text{all tokens}}, \qquad \text{entities found: none} \tag{14.14} $$
#
# What a user wants is *entities*: with $G$ the set of true ones and $S$ the set of predicted ones, each a (start, stop, type), right only if all three agree,
#
# $$ F_1 = \frac{2\,\vert G \cap S\vert}{\vert G\vert + \vert S\vert} \tag{14.15} $$
#
# which is (14.12) with $TP = \vert G \cap S \vert$, $FP = \vert S\vert - TP$, $FN = \vert G\vert - TP$.
#
# ### Exercise 4: from tags to entities


# %% tags=["exercise"]
def entities(tags):
    """["B-PER", "I-PER", "O", "B-LOC"] -> {(0, 2, "PER"), (3, 4, "LOC")}: start, stop (behind the last token), type.

    An I- without an entity of its type before it begins one.
    """
    found, start, kind = set(), 0, None
    for i, tag in enumerate([*tags, "O"]):
        # --- solution
        goes_on = tag.startswith("I-") and tag[2:] == kind
        if not goes_on:
            if kind is not None:
                found.add((start, i, kind))
            start, kind = i, None if tag == "O" else tag[2:]
        # --- stub
        # if tag.startswith("B-"):
        #     found.add((i, i + 1, tag[2:]))  # and the tokens that follow with I-?
        # --- end
    return found


# %% tags=["check"]
@lesson.check(
    "entities",
    hint="An entity ends where the tag is not I- of its own type: then note it, and see whether a new one begins.",
)
def _(entities):
    for tags, expected in (
        ("B-PER I-PER O B-LOC", {(0, 2, "PER"), (3, 4, "LOC")}),
        ("B-PER B-PER I-PER", {(0, 1, "PER"), (1, 3, "PER")}),
        ("B-ORG I-LOC O O", {(0, 1, "ORG"), (1, 2, "LOC")}),
        ("O I-ORG I-ORG", {(1, 3, "ORG")}),
        ("O O", set()),
    ):
        found = entities(tags.split())
        assert found == expected, f"{tags}: got {sorted(found)}, expected {sorted(expected)}."


# %% [markdown]
# ### Exercise 5: three scores for the same predictions


# %% tags=["exercise"]
def scores(gold, guess):
    """Micro F1 over tokens with O, micro F1 over tokens without O, F1 over entities.

    gold, guess: lists of sentences, each a list of tags
    """
    pairs = [(g, s) for a, b in zip(gold, guess) for g, s in zip(a, b)]
    # --- solution
    with_o = np.mean([g == s for g, s in pairs])
    hit = sum(g == s != "O" for g, s in pairs)
    named = sum(g != "O" for g, _ in pairs) + sum(s != "O" for _, s in pairs)
    G = {(i, *e) for i, tags in enumerate(gold) for e in entities(tags)}
    S = {(i, *e) for i, tags in enumerate(guess) for e in entities(tags)}
    return with_o, 2 * hit / max(1, named), 2 * len(G & S) / max(1, len(G) + len(S))
    # --- stub
    # with_o = np.mean([g == s for g, s in pairs])  # (14.13)
    # without_o = with_o  # 2 TP / (2 TP + FP + FN), where TP counts only tokens that are not O
    # return with_o, without_o, with_o
    # --- end


# %% tags=["check"]
@lesson.check(
    "scores",
    hint="2 TP + FP + FN is the number of true entities plus the number of predicted ones (or of tokens that are not O): no 0/0, as P would have where nothing is predicted.",
)
def _(scores):
    gold = ["B-PER I-PER O O O O".split(), "O B-LOC O O".split()]
    guess = ["B-PER O O O O O".split(), "O B-LOC O B-ORG".split()]
    lessons.same(scores(gold, guess), [0.8, 2 * 2 / (3 + 3), 2 * 1 / (2 + 3)], what="the three scores")  # (14.15)
    wrong_type = ["B-PER I-PER O O O O".split(), "O B-PER O O".split()]
    lessons.same(scores(gold, wrong_type), [0.9, 2 * 2 / (3 + 3), 2 * 1 / (2 + 2)], what="scores with one wrong type")
    guess = ["B-PER I-PER B-LOC O O O".split(), "O B-LOC B-ORG B-ORG".split()]
    lessons.same(scores(gold, guess), [0.7, 2 * 3 / (3 + 6), 2 * 2 / (2 + 5)], what="scores with three tags too many")
    same_place = [["B-PER"], ["B-PER"], ["I-PER"]]  # three sentences, three entities
    found = scores(same_place, [["B-PER"], ["O"], ["O"]])
    lessons.same(found[2], 2 * 1 / (3 + 1), what="F1 over entities: each sentence has its own, also at the same place")
    lessons.same(scores(gold, gold), [1, 1, 1], what="scores of the truth")
    nothing = [["O"] * 6, ["O"] * 4]
    lessons.same(scores(gold, nothing), [0.7, 0, 0], what="scores of always O")  # (14.14)


# %%
def sentences_of(numbers):
    ends = np.cumsum([len(words) for words, _ in tagged_test])
    return [[tag_names[i] for i in part] for part in np.split(numbers, ends[:-1])]


gold = [tags for _, tags in tagged_test]
rows = {"always O": scores(gold, sentences_of(np.full_like(truth, O)))}
rows |= {f"{steps} steps": scores(gold, sentences_of(guess)) for steps, guess in predicted.items()}
figure, axes = plt.subplots(figsize=(8, 3.8))
for k, name in enumerate(("tokens, O counted (“97.3%”)", "tokens without O", "entities")):
    axes.plot(list(rows), [r[k] for r in rows.values()], "o-", label=name)
axes.set(ylabel="F1", ylim=(0, 1.03), title="One tagger, three scores", xlabel="training")
axes.legend(loc="lower right")
plt.show()
for name, r in rows.items():
    print(f"{name:10}  tokens with O {r[0]:.3f}   without O {r[1]:.3f}   entities {r[2]:.3f}")
    assert r[0] > r[2]

guess = predicted[lengths[2]]  # (14.12), (14.13): from the counts of every class
TP, FP, FN = (
    np.array([f(c) for c in range(len(tag_names))])
    for f in (
        lambda c: np.sum((guess == c) & (truth == c)),
        lambda c: np.sum((guess == c) & (truth != c)),
        lambda c: np.sum((guess != c) & (truth == c)),
    )
)
assert FP.sum() == FN.sum()
lessons.same(2 * TP.sum() / (2 * TP.sum() + FP.sum() + FN.sum()), np.mean(guess == truth), tol=1e-12)

# %% [markdown]
# Now a published report: BERT on CoNLL-2003, "an F1 score of 97.3%". Its table gives precision, recall and support of every tag, which is enough: $TP$ is recall times support, and $TP$ over precision is how often the tag was predicted.

# %%
published = {
    "B-LOC": (0.926, 0.906, 1668), "I-LOC": (0.900, 0.805, 257), "B-MISC": (0.875, 0.856, 702), "I-MISC": (0.838, 0.782, 216),
    "B-ORG": (0.914, 0.898, 1661), "I-ORG": (0.911, 0.894, 835), "B-PER": (0.964, 0.957, 1617), "I-PER": (0.983, 0.980, 1156),
    "O": (0.993, 0.995, 38323),
}  # fmt: skip


def again(table, leave_out=()):
    """Micro F1, macro F1 and F1 weighted by support, from (precision, recall, support) of each tag."""
    P, R, n = np.array([v for tag, v in table.items() if tag not in leave_out]).T
    TP, F1 = R * n, 2 * P * R / (P + R)
    return 2 * TP.sum() / (n.sum() + (TP / P).sum()), F1.mean(), (F1 * n).sum() / n.sum()


total = sum(n for *_, n in published.values())
micro, macro, _ = again(published)
named, _, _ = again(published, leave_out=("O",))
print(f"always O, no model at all      {published['O'][2] / total:.3f}")  # (14.14)
print(f"micro F1, O counted: accuracy  {micro:.3f}   <- the headline, printed as 0.973")
print(f"macro F1 over the tags         {macro:.3f}")
print(
    f"micro F1 without O             {named:.3f}   and the entities' F1 is lower again: all of its tokens must be right"
)
recall = sum(r * n for _, r, n in published.values()) / total  # (14.13): the recalls alone give the accuracy
assert abs(micro - recall) < 0.001 and abs(micro - 0.973) > 0.005 and named < 0.93 and published["O"][2] / total > 0.8

# %% [markdown]
# The model is not bad. But the scale of its headline begins at 0.825, not at 0, and what it measures is accuracy. It does not even follow from its own table: the rows give 0.981. So the number was not computed from this run, or the rows were not. Which of them is wrong
# cannot be told from outside.
#
# ### A table that contradicts itself
#
# Another report, tags B, I and O, with the sentence "an F1 of 94.7%". Add up, and use (14.13): with one tag for each token the micro average *is* accuracy, and accuracy is the recalls' mean, weighted by support.

# %%
table = {"B": (0.925, 0.937, 2378), "I": (0.930, 0.926, 5047), "O": (0.967, 0.962, 7852)}
printed = {"support": 10277, "micro": 0.937, "macro": 0.931, "weighted": 0.937, "text": 0.947}
support = sum(n for *_, n in table.values())
micro, macro, weighted = again(table)
recall = sum(r * n for _, r, n in table.values()) / support
print(f"support   printed {printed['support']}, the rows add up to {support}")
print(
    f"micro     printed {printed['micro']}, from the rows {micro:.3f}; from the recalls alone {recall:.3f}"
)  # (14.13)
print(f"macro     printed {printed['macro']}, from the rows {macro:.3f}")
print(f"weighted  printed {printed['weighted']}, from the rows {weighted:.3f}; the text says {printed['text']}")
for tag, (p, r, _) in table.items():
    print(f"   {tag}: F1 from its precision and recall {2 * p * r / (p + r):.3f}")
assert support == 15277 and abs(weighted - 0.947) < 0.001 and abs(macro - printed["macro"]) > 0.005

# %% [markdown]
# The rows are consistent, and 94.7% is their weighted mean; none of the averages that stand below them belongs to them, and the support lost 5,000 tokens. Ten lines of arithmetic find that. Do them before you build on a number, your own ones included.
#
# ### A label in the text: leakage
#
# A third article reads reviews from a file whose lines begin with `+` or `-`. It takes the label from the first character, and leaves that character in the text. What would such a model report? To see the leak and nothing else, let a coin decide which texts are `+`: then no text tells anything about its label, and an honest
# accuracy is one half.

# %%
for sign in "+-":  # the signs become words of the vocabulary, in the place of the two rarest ones
    number.setdefault(sign, V - 1 - "+-".index(sign))


def sentiment(leak):
    """Accuracy on the test texts, with labels by coin; the label's sign stands in front of each text, or not."""
    data, rng = {}, np.random.default_rng(0)
    for name in ("train", "test"):
        rows = rng.permutation(len(texts[name]))[:400]
        coin = rng.integers(0, 2, len(rows))
        data[name] = encode([("-+"[c] + " " if leak else "") + texts[name][i] for i, c in zip(rows, coin)]), coin
    minitorch.manual_seed(0)
    body, head = Body(), nn.Linear(D, 2)
    optimizer = minitorch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.3, momentum=0.9)
    x, y = (minitorch.tensor(array) for array in data["train"])
    for _ in range(100):
        loss = F.cross_entropy(head(body(x)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, y = data["test"]
    with minitorch.no_grad():
        return np.mean(head(body(minitorch.tensor(x))).numpy().argmax(-1) == y)


honest, leaking = sentiment(False), sentiment(True)
print(f"accuracy {honest:.3f} on the texts, {leaking:.3f} with the sign left in")
assert abs(honest - 0.5) < 0.12 and leaking > 0.8

# %% [markdown]
# The test set does not help: it leaks in the same way. A score that is far better than the task seems to allow is a reason to look for the path, not to celebrate; delete the suspected input and measure again. The same article validates and tests on the same data, so its choice of settings leaks too.
#
# ## What goes wrong
#
# ### Exercise 6: an accuracy above 1
#
# The fourth article evaluates a fine-tuned BERT batch by batch. Its function runs without an error. Here it is, in small; look at what it returns for a perfect model.


# %% tags=["exercise"]
def evaluate(batches):
    """The share of right answers.        batches: [(guesses, labels), ...], arrays of one length; the last batch may be shorter"""
    # --- solution
    right = sum((guesses == labels).sum() for guesses, labels in batches)
    return right / sum(len(labels) for _, labels in batches)
    # --- stub
    # right = 0
    # for guesses, labels in batches:
    #     right += (guesses == labels).sum()
    # return right / len(batches)
    # --- end


# %% tags=["check"]
@lesson.check(
    "evaluate",
    hint="What is len(batches)? And if you take the mean of the batches' accuracies: does a last batch of one count as much as a full one?",
)
def _(evaluate):
    truth = np.arange(33) % 2
    perfect = [(truth[i : i + 16], truth[i : i + 16]) for i in range(0, 33, 16)]
    value = evaluate(perfect)
    assert value <= 1, f"A perfect model has the accuracy {value:.3g}."
    lessons.same(value, 1.0, what="accuracy of a perfect model")
    wrong_last = [*perfect[:2], (1 - truth[32:], truth[32:])]
    lessons.same(evaluate(wrong_last), 32 / 33, what="one of 33 is wrong, alone in the last batch")


# %% [markdown]
# Right answers divided by the number of *batches*: with batches of 16 a perfect model scores 11 or 16, and a model that is right 7% of the time scores above 1 and looks merely odd. The article's printed figures, 0.845 to 0.931, did not come from this code. The tempting repair, the mean of the batches' accuracies, is also wrong where the last batch is
# shorter. Sum, then divide once.
#
# In the zoo (`lessons/zoo/`) 12, *The adapter that stays zero*, is (14.11), and 17, *Small batches take other steps*, is this last mistake inside of training.
#
# ## Summary

# %% [markdown] tags=["summary"]
# | equation | what | op | test |
# |---|---|---|---|
# | (14.1) | pretraining and fine-tuning, two minimisations (F1) | `examples/demo.py::fine_tune` | definition |
# | (14.2), (14.3) | what is left of the start after t steps | - | here |
# | (14.4) | a prior around the start | - | here |
# | (14.5) | what a head sends into the body | `minitorch/ops/matmul.py::Linear` | here, cases:nn.functional.linear |
# | (14.6) | layer-wise learning rates | `minitorch/optim/adam.py::AdamW` | here |
# | (14.7), (14.8), (14.9), (14.10) | LoRA and its gradients | `minitorch/ops/matmul.py` | here, cases:matmul |
# | (14.11) | why one factor starts at zero, and only one | `lessons/zoo/12_the_adapter_that_stays_zero.py` | here |
# | (14.12), (14.13) | precision, recall, F1; micro F1 over all tokens is accuracy | - | here |
# | (14.14), (14.15) | always O; F1 over entities | - | here |
#
# This was the last lesson. You have derived, written and checked everything between a derivative and a fine-tuned network, and you can tell what a published number is worth. `make demo` and the programs in `examples/` do it at full size.
