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
# # 04 Softmax and cross-entropy
#
# A picture shows one of ten digits; a model gives ten scores. **How do scores become probabilities, what is the gradient of the loss that trains them, and what would a wrong formula for that loss train?** The answer to the first two is the last layer of every
# classifier and of every language model, where the classes are the words. The third is not made up: a published article prints a formula that mixes this lesson's loss with that of lesson 03, and you will train with it.
#
# You need lesson 03 (sigmoid, likelihood, the collapse to $\hat y - y$) and the index notation of lesson 02. Time: 60 minutes.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minitorch
from minitorch import lessons

lesson = lessons.start(4)

# %% [markdown]
# ## From ten scores to one answer
#
# Three digits of scikit-learn's set, 8 by 8 pixels each. Under them the ten scores that a trained model gives, one for each class, and under these its probabilities. The scores may be any numbers; the probabilities lie between 0 and 1 and add up to 1. The largest score
# always has the largest probability. The third digit is one that the model is not sure of. (For the moment minitorch trains the model. At the end of the lesson you have written all of it.)

# %%
from sklearn.datasets import load_digits

pixels, digit = load_digits(return_X_y=True)
pixels = pixels / 16.0
order = np.random.default_rng(0).permutation(len(digit))
train, held_out = order[:1200], order[1200:]

model = minitorch.nn.Linear(64, 10, dtype=minitorch.float64)
with minitorch.no_grad():
    model.weight.zero_()
    model.bias.zero_()
optimizer = minitorch.optim.SGD(model.parameters(), lr=1.0)
for _step in range(200):
    optimizer.zero_grad()
    loss = minitorch.nn.functional.cross_entropy(model(minitorch.tensor(pixels[train])), minitorch.tensor(digit[train]))
    loss.backward()
    optimizer.step()
scores = model(minitorch.tensor(pixels[held_out])).detach().numpy()
probabilities = minitorch.softmax(minitorch.tensor(scores), 1).numpy()

unsure = int(np.argmin(probabilities.max(1)))
figure, panels = plt.subplots(3, 3, figsize=(10, 6.4), height_ratios=[1.3, 1, 1])
for column, n in enumerate([0, 3, unsure]):
    panels[0, column].imshow(pixels[held_out[n]].reshape(8, 8), cmap="Greys")
    panels[0, column].axis("off")
    panels[0, column].set_title(f"this is a {digit[held_out[n]]}")
    panels[1, column].bar(range(10), scores[n])
    panels[2, column].bar(range(10), probabilities[n], color="C1")
    panels[2, column].set(ylim=(0, 1), xlabel="class")
    for row in (1, 2):
        panels[row, column].set_xticks(range(10))
panels[1, 0].set_ylabel("score z")
panels[2, 0].set_ylabel("probability")
plt.show()

# %% [markdown]
# ## Softmax
#
# Class $c$ has its own weights, column $c$ of $W$, and its own constant. Shapes: $X$ is $(N, D)$, $W$ is $(D, C)$, $b$ is $(C,)$, and the scores or logits $z$ are $(N, C)$:
#
# $$ z_{nc} = \sum_{k=1}^{D} x_{nk}\, W_{kc} + b_c, \qquad z = X W + b \tag{04.1} $$
#
# In lesson 03 the logit was the logarithm of the odds. Ask the same of each pair of classes: the logarithm of the odds of $c$ against $j$ shall be $z_{nc} - z_{nj}$. Then $\hat y_{nc}$ is proportional to $e^{z_{nc}}$, and since the probabilities of all classes have the sum 1,
#
# $$ \hat y_{nc} = P(c \mid x_n, \theta) = \frac{e^{z_{nc}}}{\sum_{j=1}^{C} e^{z_{nj}}} \tag{04.2} $$
#
# This is the *softmax*. (One of the articles that this course checks writes $\mathbf{W}_x$ for the weights in the numerator, named after the input. It has to be the weights of the class: an input has none.) For two classes, divide numerator and denominator by $e^{z_1}$, and the sigmoid
# is back:
#
# $$ \hat y_1 = \frac{e^{z_1}}{e^{z_0} + e^{z_1}} = \frac{1}{1 + e^{-(z_1 - z_0)}} = \sigma(z_1 - z_0) \tag{04.3} $$
#
# Only differences count. Adding the same number $a$ to all scores of a row multiplies numerator and denominator by $e^{a}$:
#
# $$ \mathrm{softmax}(z + a) = \mathrm{softmax}(z) \tag{04.4} $$
#
# That is good for more than elegance. $e^{710}$ does not fit into a float64, nor $e^{89}$ into a float32. Take $a = -\max_j z_j$, for each row its own: then the largest exponent is 0, no power is above 1, and the sum is at least 1.
#
# ### Exercise 1: softmax


# %% tags=["exercise"]
def softmax(z):
    """Along the last axis.                 z: (..., C)"""
    # --- solution
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)
    # --- stub
    # e = np.exp(z)
    # return e / e.sum()
    # --- end


# %% tags=["check"]
@lesson.check(
    "softmax", hint="Subtract each row's largest score first, and divide by each row's sum: keepdims=True twice."
)
def _(softmax):
    z = np.array([[0.0, 1.0], [-2.0, 0.5], [3.0, 3.0]])
    y = softmax(z)
    lessons.same(y.sum(-1), np.ones(3), what="the sum of each row")
    lessons.same(y[:, 1], 1 / (1 + np.exp(z[:, 0] - z[:, 1])), what="two classes against the sigmoid")  # (04.3)
    z = np.random.default_rng(0).normal(size=(2, 3, 5))
    lessons.same(softmax(z), np.exp(z) / np.exp(z).sum(-1, keepdims=True), what="three axes")  # (04.2)
    lessons.same(softmax(z + 7.5), softmax(z), what="scores shifted by 7.5")  # (04.4)
    with np.errstate(all="raise", under="ignore"):
        lessons.same(softmax(np.array([1000.0, 1000.0, 0.0])), [0.5, 0.5, 0], what="softmax of 1000, 1000, 0")


# %% [markdown]
# ## Its Jacobian
#
# One row; $y_j$ is the softmax, and $S = \sum_k e^{z_k}$. Move one score $z_i$. The denominator always moves, $\partial S/\partial z_i = e^{z_i}$; the numerator of $y_j$ only if $j = i$. With the quotient rule:
#
# $$ \frac{\partial y_j}{\partial z_i} = \frac{\delta_{ij}\, e^{z_j}\, S - e^{z_j}\, e^{z_i}}{S^2} = y_j\,(\delta_{ij} - y_i) \tag{04.5} $$
#
# On the diagonal that is $y_i(1 - y_i)$, as for the sigmoid. Beside it, $-y_i y_j$: raise one score, and every other class pays. The gradient by (00.15), where the $\delta$ takes one term out of the sum:
#
# $$ dz_i = \sum_j dy_j\, y_j\,(\delta_{ij} - y_i) = y_i \Big( dy_i - \sum_j dy_j\, y_j \Big) \tag{04.6} $$
#
# The sum is the mean of $dy$ under the probabilities: a score is pushed by how far its $dy$ lies above the mean. The Jacobian has $C^2$ entries for each row, the formula needs $C$. For a language model with 50,000 words that decides whether it is possible at all.
#
# ### Exercise 2: the gradient of softmax
#
# The stub uses the diagonal alone. It is a popular mistake.


# %% tags=["exercise"]
def softmax_backward(dy, y):
    """dz, from dy and the output y.        dy, y, dz: (..., C)"""
    # --- solution
    return y * (dy - (dy * y).sum(-1, keepdims=True))
    # --- stub
    # return dy * y * (1 - y)
    # --- end


# %% tags=["check"]
@lesson.check("softmax_backward", hint="(04.6): the sum over j is (dy * y).sum(-1, keepdims=True), one number a row.")
def _(softmax_backward):
    rng = np.random.default_rng(1)
    for shape in [(4,), (3, 5), (2, 3, 4)]:
        z, dy = rng.normal(size=shape), rng.normal(size=shape)
        numeric = lessons.numeric_gradient(softmax, z, dy)
        lessons.same(softmax_backward(dy, softmax(z)), numeric, tol=1e-8, what=f"dz of shape {shape}")  # (04.6)


# %%
rng = np.random.default_rng(2)
z, dy = rng.normal(size=(3, 6)) * 2, rng.normal(size=(3, 6))
y = softmax(z)
dz = softmax_backward(dy, y)
t = minitorch.tensor(z, requires_grad=True)
lessons.same(minitorch.softmax(t, -1), y, tol=1e-12, what="softmax")
(their_dz,) = minitorch.autograd.grad(minitorch.softmax(t, -1), [t], minitorch.tensor(dy))
lessons.same(their_dz, dz, tol=1e-12, what="dz")
worst = lessons.show_errors(
    {"dz": (dz, lessons.numeric_gradient(softmax, z, dy))}, title="Softmax: (04.6) against differences", limit=1e-7
)
assert worst < 1e-7

# %%
p = softmax(scores[unsure])
jacobian = np.diag(p) - np.outer(p, p)  # (04.5)
numeric = np.stack([lessons.numeric_gradient(lambda z, j=j: softmax(z)[j], scores[unsure]) for j in range(10)])
lessons.same(jacobian, numeric, tol=1e-8, what="the Jacobian")
lessons.same(jacobian.sum(0), np.zeros(10), tol=1e-12, what="the sum of each column: probabilities only move around")

figure, axes = plt.subplots(figsize=(5.6, 4.6))
picture = axes.imshow(jacobian, cmap="RdBu_r", vmin=-0.25, vmax=0.25)
figure.colorbar(picture, label="change of probability for one unit of score")
axes.set(
    xlabel="score of class i", ylabel="probability of class j", title="The Jacobian, for the digit it is not sure of"
)
axes.set_xticks(range(10))
axes.set_yticks(range(10))
axes.grid(visible=False)
plt.show()

# %% [markdown]
# ## The loss
#
# As in lesson 03: the probability that the model gave to the labels that really occurred, its negative logarithm, the mean over the examples. Write the label of example $n$ as a row $y_{n1}, \dots, y_{nC}$ with a 1 for its class and 0 elsewhere, *one-hot*. The probability of the label is
# $\prod_c \hat y_{nc}^{\,y_{nc}}$, so
#
# $$ L = -\frac{1}{N} \sum_{n=1}^{N} \sum_{c=1}^{C} y_{nc}\, \log \hat y_{nc} \tag{04.7} $$
#
# the *cross-entropy*. With a one-hot row one term of the inner sum is left, that of the true class $t_n$. For one example, with the scores $z = f(x; \theta)$ of any model:
#
# $$ \ell = -\log \hat y_{t}, \qquad \hat y = \mathrm{softmax}(f(x; \theta)) \tag{04.8} $$
#
# There is no term $(1 - y)\log(1 - \hat y)$. Lesson 03 needed one because it had a probability for yes only; here "no" is the other classes, and each has its own probability, which shrinks when $\hat y_t$ grows. Remember this for later.
#
# ### Log-sum-exp
#
# Do not compute $\log \hat y$ by way of $\hat y$: a probability can be rounded to 0, and $\log 0$ is $-\infty$. The logarithm of the quotient (04.2) is a difference:
#
# $$ \log \hat y_i = z_i - \mathrm{lse}(z), \qquad \mathrm{lse}(z) = \log \sum_j e^{z_j} \tag{04.9} $$
#
# and with $m = \max_j z_j$, the factor $e^{m}$ taken out of the sum,
#
# $$ \mathrm{lse}(z) = m + \log \sum_j e^{z_j - m} \tag{04.10} $$
#
# The sum lies between 1 and $C$, so nothing overflows and the logarithm's argument is never 0. It also says what lse is: the maximum, made smooth.
#
# $$ \max_j z_j \;\le\; \mathrm{lse}(z) \;\le\; \max_j z_j + \log C \tag{04.11} $$
#
# Its slope is the softmax, for $\frac{\partial}{\partial z_i} \log S = e^{z_i}/S$:
#
# $$ \frac{\partial\, \mathrm{lse}}{\partial z_i} = \hat y_i \tag{04.12} $$
#
# A maximum sends its gradient to the winner (02.7); the smooth maximum sends it to all, in proportion to their probabilities. The log-softmax (04.9) as an op of its own has, with $\frac{\partial \log \hat y_j}{\partial z_i} = \delta_{ij} - \hat y_i$,
#
# $$ dz_i = dy_i - \hat y_i \sum_j dy_j \tag{04.13} $$

# %%
rng = np.random.default_rng(3)
z, dy = rng.normal(size=(4, 5)) * 3, rng.normal(size=(4, 5))


def lse(z):
    m = z.max(-1, keepdims=True)
    return (m + np.log(np.exp(z - m).sum(-1, keepdims=True)))[..., 0]


def log_softmax(z):
    return z - lse(z)[..., None]  # (04.9)


lessons.same(lse(z), np.log(np.exp(z).sum(-1)), tol=1e-12, what="lse")  # (04.10)
assert (z.max(-1) <= lse(z)).all() and (lse(z) <= z.max(-1) + np.log(5)).all()  # (04.11)
assert lse(np.array([1000.0, 1000.0])) == 1000 + np.log(2)

by_lse = dy[:, :1] * softmax(z)  # (04.12)
by_log_softmax = dy - softmax(z) * dy.sum(-1, keepdims=True)  # (04.13)
t = minitorch.tensor(z, requires_grad=True)
for name, theirs, ours, d, gradient in [
    ("logsumexp", minitorch.logsumexp(t, -1), lse(z), dy[:, 0], by_lse),
    ("log_softmax", minitorch.log_softmax(t, -1), log_softmax(z), dy, by_log_softmax),
]:
    lessons.same(theirs, ours, tol=1e-12, what=name)
    lessons.same(minitorch.autograd.grad(theirs, [t], minitorch.tensor(d))[0], gradient, tol=1e-12, what=name)
worst = lessons.show_errors(
    {
        "logsumexp": (by_lse, lessons.numeric_gradient(lse, z, dy[:, 0])),
        "log_softmax": (by_log_softmax, lessons.numeric_gradient(log_softmax, z, dy)),
    },
    title="(04.12) and (04.13) against differences",
    limit=1e-7,
)
assert worst < 1e-7

# %% [markdown]
# ## The collapse, again
#
# By (04.9) the loss of one example is $\ell = \mathrm{lse}(z) - z_t$. Differentiate: the first term gives $\hat y_i$ by (04.12), the second $-\delta_{it}$, which is $-y_i$ for a one-hot row. With the mean over $N$ examples:
#
# $$ dz_{ni} = \frac{\hat y_{ni} - y_{ni}}{N} \tag{04.14} $$
#
# What is said minus what is true, for every class at once. The long way, through the Jacobian, ends at the same place and shows what it needs. (04.7) gives $d\hat y_j = -y_j/\hat y_j$ for one example; into (04.6):
#
# $$ dz_i = \hat y_i \Big( -\frac{y_i}{\hat y_i} + \sum_j \frac{y_j}{\hat y_j}\, \hat y_j \Big) = \hat y_i \sum_j y_j - y_i \tag{04.15} $$
#
# If the row of the target has the sum 1, this is $\hat y - y$. It does not have to be one-hot.
#
# ### Exercise 3: cross-entropy and its gradient
#
# The loss needs `lse` from the cell above, and of each row the score of its true class. For the gradient, `np.eye(C)[t]` makes one-hot rows.


# %% tags=["exercise"]
def cross_entropy(z, t):
    """The mean loss.                       z: (N, C) logits   t: (N,) class numbers"""
    # --- solution
    m = z.max(1)
    lse = m + np.log(np.exp(z - m[:, None]).sum(1))
    return np.mean(lse - z[np.arange(len(t)), t])
    # --- stub
    # y = softmax(z)
    # return np.mean(-np.log(y[np.arange(len(t)), t]))  # row n, column t[n]
    # --- end


def cross_entropy_backward(z, t):
    """dz: (N, C)"""
    # --- solution
    dz = softmax(z)
    dz[np.arange(len(t)), t] -= 1
    return dz / len(t)
    # --- stub
    # return softmax(z)
    # --- end


# %% tags=["check"]
@lesson.check(
    "cross_entropy", "cross_entropy_backward", hint="(04.10) minus the true class's score, never log(softmax); (04.14)."
)
def _(cross_entropy, cross_entropy_backward):
    z, t = np.random.default_rng(4).normal(size=(5, 3)), np.array([2, 0, 1, 1, 2])
    y = np.eye(3)[t]
    lessons.same(cross_entropy(z, t), -np.mean((y * np.log(softmax(z))).sum(1)), what="the loss")  # (04.7), (04.8)
    numeric = lessons.numeric_gradient(lambda z: cross_entropy(z, t), z)
    lessons.same(cross_entropy_backward(z, t), numeric, tol=1e-8, what="dz")  # (04.14)
    with np.errstate(divide="ignore"):
        sure = cross_entropy(np.array([[1000.0, 0.0, 0.0]]), np.array([1]))
    lessons.same(sure, 1000.0, what="sure and wrong: z = (1000, 0, 0) with the label 1")


# %%
rng = np.random.default_rng(5)
z, t = rng.normal(size=(6, 4)) * 2, rng.integers(0, 4, 6)
tensor = minitorch.tensor(z, requires_grad=True)
loss = minitorch.nn.functional.cross_entropy(tensor, minitorch.tensor(t))
loss.backward()
lessons.same(loss, cross_entropy(z, t), tol=1e-12, what="loss")
lessons.same(tensor.grad, cross_entropy_backward(z, t), tol=1e-12, what="dz")

numeric = lessons.numeric_gradient(lambda z: cross_entropy(z, t), z)
soft = rng.uniform(size=(6, 4))  # any targets, rows that do not add up to 1
by_jacobian = softmax_backward(-soft / softmax(z), softmax(z))
lessons.same(by_jacobian, softmax(z) * soft.sum(1, keepdims=True) - soft, tol=1e-12, what="(04.15)")  # (04.15)
worst = lessons.show_errors(
    {
        "dz = (ŷ - y)/N": (cross_entropy_backward(z, t), numeric),
        "dz, soft targets": (
            softmax(z) * soft.sum(1, keepdims=True) - soft,
            lessons.numeric_gradient(lambda z: -np.sum(soft * log_softmax(z)), z),
        ),
    },
    title="(04.14) and (04.15) against differences",
    limit=1e-7,
)
assert worst < 1e-7

# %% [markdown]
# ## A classifier for digits, all by hand
#
# (04.1), (04.14), and lesson 02's gradients of a matrix product: $dW = X^\top dz$, $db_c = \sum_n dz_{nc}$. Nothing else is needed.

# %%
X, t = pixels[train], digit[train]


def descend(gradient, steps=200, rate=1.0):
    """W, b, and the held-out loss of each step, for any function gradient(z, t) that gives dz."""
    W, b, curve = np.zeros((64, 10)), np.zeros(10), []
    for _ in range(steps):
        dz = gradient(X @ W + b, t)
        W, b = W - rate * X.T @ dz, b - rate * dz.sum(0)
        curve.append(cross_entropy(pixels[held_out] @ W + b, digit[held_out]))
    return W, b, curve


def right(W, b):
    return np.mean((pixels[held_out] @ W + b).argmax(1) == digit[held_out])


W, b, curve = descend(cross_entropy_backward)
lessons.same(model.weight.T, W, tol=1e-9, what="W, against the model that minitorch trained above")  # (04.1)
lessons.same(model.bias, b, tol=1e-9, what="b")
print(f"{right(W, b):.1%} of {len(held_out)} held-out digits are right; the loss began at log 10 = {np.log(10):.3f}")
assert right(W, b) > 0.93

figure, panels = plt.subplots(2, 5, figsize=(9, 3.9))
for c, axes in enumerate(panels.flat):
    axes.imshow(W[:, c].reshape(8, 8), cmap="RdBu_r", vmin=-2, vmax=2)
    axes.set_title(f"class {c}", fontsize=10)
    axes.axis("off")
figure.suptitle("The weights of each class as a picture: red pixels speak for it, blue ones against", fontsize=12)
plt.show()

# %% [markdown]
# The weights are the very ones that minitorch found. Look at class 0: it wants ink in a ring, and none in the middle.
#
# ## Soft targets and missing ones
#
# By (04.15) a target can be any row of probabilities $q$. Two uses, one formula.
#
# **Label smoothing** gives the fraction $\varepsilon$ of each target to all classes alike: $q_{nc} = (1 - \varepsilon)\, y_{nc} + \varepsilon / C$. **Ignored labels**: a padded position of a text has no label; data sets mark it with a number that is no class, $-100$ by custom. Its row of $q$ is zero, and it does not count in the
# mean. With $M$ rows that count:
#
# $$ L = -\frac{1}{M} \sum_{n,c} q_{nc} \log \hat y_{nc}, \qquad dz_{ni} = \frac{1}{M}\Big( \hat y_{ni} \sum_c q_{nc} - q_{ni} \Big) \tag{04.16} $$
#
# The sum over $c$ is 1 for a row that counts and 0 for an ignored one, which therefore gets the gradient 0.
#
# ### Exercise 4: targets
#
# Return $q$ and $M$. NumPy counts a negative index from the end, so with 100 classes or more -100 would silently pick one of them. Put a 0 in its place before you make rows one-hot with `np.eye(C)[...]`, and clear these rows afterwards.


# %% tags=["exercise"]
def targets(t, C, smoothing=0.0, ignore_index=-100):
    """q: (N, C), and how many rows count.         t: (N,)"""
    # --- solution
    keep = t != ignore_index
    y = np.eye(C)[np.where(keep, t, 0)]
    q = (1 - smoothing) * y + smoothing / C
    return q * keep[:, None], keep.sum()
    # --- stub
    # q = np.eye(C)[np.where(t == ignore_index, 0, t)]
    # return q, len(t)
    # --- end


# %% tags=["check"]
@lesson.check(
    "targets", hint="keep = t != ignore_index; q = (1 - smoothing) * one_hot + smoothing / C, times keep[:, None]."
)
def _(targets):
    q, M = targets(np.array([1, -100, 0]), 4, smoothing=0.2)
    lessons.same(M, 2, what="M")
    lessons.same(targets(np.array([1, 0]), 2, ignore_index=0)[0], [[0, 1], [0, 0]], what="q for the ignored label 0")
    lessons.same(q, [[0.05, 0.85, 0.05, 0.05], [0, 0, 0, 0], [0.85, 0.05, 0.05, 0.05]], what="q")
    rng = np.random.default_rng(6)
    z, t = rng.normal(size=(5, 3)), np.array([0, 2, -100, 1, -100])
    for smoothing in (0.0, 0.1):  # (04.16)
        q, M = targets(t, 3, smoothing)
        tensor = minitorch.tensor(z, requires_grad=True)
        loss = minitorch.nn.functional.cross_entropy(tensor, minitorch.tensor(t), label_smoothing=smoothing)
        loss.backward()
        lessons.same(-np.sum(q * log_softmax(z)) / M, loss, tol=1e-12, what="the loss, against minitorch's")
        lessons.same((softmax(z) * q.sum(1, keepdims=True) - q) / M, tensor.grad, tol=1e-12, what="dz")


# %% [markdown]
# What is smoothing for? Without it the loss of a right answer falls for ever as its score grows. With it the best answer is $\hat y = q$, because there (04.16) is 0, and by the log odds (04.2) the true score lies above the others by
#
# $$ z_t - z_c = \log \frac{1 - \varepsilon + \varepsilon/C}{\varepsilon/C} \tag{04.17} $$
#
# and no further: 4.5 for $\varepsilon = 0.1$ and ten classes. So a smoothed loss cannot reach 0, and a small loss is not what you compare smoothed models by.


# %%
def soft_cross_entropy(z, q, M):
    return -np.sum(q * log_softmax(z)) / M


def soft_cross_entropy_backward(z, q, M):
    return (softmax(z) * q.sum(1, keepdims=True) - q) / M


z = np.zeros((1, 10))
q, M = targets(np.array([3]), 10, smoothing=0.1)
for _ in range(3000):
    z = z - 1.0 * soft_cross_entropy_backward(z, q, M)
lessons.same(z[0, 3] - z[0, 4], np.log(0.91 / 0.01), tol=1e-6, what="the gap")  # (04.17)
lessons.same(softmax(z), q, tol=1e-6, what="the best answer")
numeric = lessons.numeric_gradient(lambda z: soft_cross_entropy(z, q, M), z * 0.7)
lessons.same(soft_cross_entropy_backward(z * 0.7, q, M), numeric, tol=1e-8, what="dz")  # (04.16)
print(f"the gap is {z[0, 3] - z[0, 4]:.4f}; the loss stays at {soft_cross_entropy(z, q, M):.4f}\n")

print("smoothing   right    mean of the largest probability   largest |score|")
largest = []
for smoothing in (0.0, 0.1, 0.3):
    q, M = targets(t, 10, smoothing)
    W_s, b_s, _ = descend(lambda z, t, q=q, M=M: soft_cross_entropy_backward(z, q, M), steps=400, rate=2.0)
    z = pixels[held_out] @ W_s + b_s
    largest.append(np.abs(z).max())
    print(f"{smoothing:9}   {right(W_s, b_s):.1%}   {softmax(z).max(1).mean():31.3f}   {largest[-1]:15.1f}")
    assert right(W_s, b_s) > 0.92
assert largest[0] > largest[1] > largest[2]

# %% [markdown]
# About as many are right; the scores stay smaller, and the model is less sure of itself.
#
# ## Temperature
#
# A model that is too sure, or not sure enough, can also be changed after its training. Divide the scores by a number $T$, the *temperature*, before the softmax:
#
# $$ \hat y(T) = \mathrm{softmax}(z / T), \qquad dz_i = \frac{1}{T}\, \hat y_i \Big( dy_i - \sum_j dy_j\, \hat y_j \Big) \tag{04.18} $$
#
# The order of the classes stays. A low $T$ stretches the differences, and in the limit the winner takes all; a high $T$ evens them out, towards $1/C$ each. Language models (lesson 12) are sampled with a temperature.

# %%
z = scores[unsure]
figure, panels = plt.subplots(1, 3, figsize=(10, 3), sharey=True)
for axes, T in zip(panels, (0.25, 1.0, 4.0)):
    axes.bar(range(10), softmax(z / T), color="C1")
    axes.set(title=f"T = {T:g}", xlabel="class", ylim=(0, 1))
    axes.set_xticks(range(10))
panels[0].set_ylabel("probability")
figure.suptitle("The scores of the digit that it is not sure of, at three temperatures", fontsize=12)
plt.show()

lessons.same(softmax(z / 0.001), np.eye(10)[z.argmax()], what="T near 0")
lessons.same(softmax(z / 1e6), np.full(10, 0.1), tol=1e-5, what="a large T")
dy = np.random.default_rng(7).normal(size=10)
numeric = lessons.numeric_gradient(lambda z: softmax(z / 2.5), z, dy)
lessons.same(softmax_backward(dy, softmax(z / 2.5)) / 2.5, numeric, tol=1e-8, what="dz")  # (04.18)

# %% [markdown]
# ## A published formula, tried
#
# An article on large models gives the softmax (04.2) for classification, and then this "cross-entropy":
#
# $$ L = -\frac{1}{N} \sum_{n} \big[\, y_n \log P(y_n \mid x_n) + (1 - y_n) \log\big(1 - P(y_n \mid x_n)\big) \big] \tag{04.19} $$
#
# Its second half is lesson 03's, where $\hat y$ was the probability of *yes* and $y$ was 0 or 1. Here $P$ is the probability of the label, whatever the label is. What would it train?
#
# **Read literally, two classes.** For $y = 1$ the loss is $-\log P(1 \mid x)$, as it should be. For $y = 0$ it is $-\log(1 - P(0 \mid x))$, and $1 - P(0 \mid x) = P(1 \mid x)$. So for *both* labels
#
# $$ \ell = -\log P(1 \mid x) \tag{04.20} $$
#
# The label is gone. The best answer is 1 for everybody.
#
# **Read literally, many classes**, with $y$ the class number $t$. Write $p = P(t \mid x)$. Then $\frac{d\ell}{dp} = -\frac{t}{p} + \frac{1 - t}{1 - p} = -\frac{t - p}{p(1 - p)}$ (over a common denominator, as in (03.11)), and (04.5) gives $\partial p/\partial z_i = p\,(\delta_{it} - \hat y_i)$. The product:
#
# $$ dz_i = \frac{t - p}{1 - p}\; (\hat y_i - \delta_{it}) \tag{04.21} $$
#
# The right gradient, times a factor that depends on the *number* of the class. For $t = 1$ it is 1. For $t = 0$ it is negative: the model is pushed away from the truth, and never says 0. For $t \ge 2$ it is at least $t$ and grows without limit as $p$ nears 1: the loss falls to $-\infty$, no
# answer is good enough, and the classes with high numbers outweigh the others.
#
# **Read charitably**: a yes or no for each class, with the one-hot $y_c$, summed over the classes:
#
# $$ \ell = -\sum_c \big[\, y_c \log \hat y_c + (1 - y_c) \log(1 - \hat y_c) \,\big] = -\log \hat y_t - \sum_{c \ne t} \log(1 - \hat y_c) \tag{04.22} $$
#
# For two classes $1 - \hat y_c$ of the other class is $\hat y_t$, and this is exactly twice the cross-entropy. For more classes, when the answer is nearly right, it is about twice as well: $-\log(1 - \hat y_c) \approx \hat y_c$, and these add up to $1 - \hat y_t \approx -\log \hat y_t$. It trains; but nothing
# collapses any more, and $\log(1 - \hat y_c)$ brings back the overflow. Now the experiment, with all three.


# %%
def literal_loss(z, t):
    p = softmax(z)[np.arange(len(t)), t]
    return -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))  # (04.19)


def literal(z, t):
    p = softmax(z)[np.arange(len(t)), t]
    return ((t - p) / (1 - p))[:, None] * cross_entropy_backward(z, t)  # (04.21)


def charitable_loss(z, t):
    p, y = softmax(z), np.eye(z.shape[1])[t]
    return -np.mean((y * np.log(p) + (1 - y) * np.log(1 - p)).sum(1))  # (04.22)


def charitable(z, t):
    p, y = softmax(z), np.eye(z.shape[1])[t]
    return softmax_backward(-(y / p - (1 - y) / (1 - p)) / len(t), p)


rng = np.random.default_rng(8)
z, labels = rng.normal(size=(6, 4)), np.array([0, 1, 2, 3, 3, 0])
worst = lessons.show_errors(
    {
        "literal": (literal(z, labels), lessons.numeric_gradient(lambda z: literal_loss(z, labels), z)),
        "charitable": (charitable(z, labels), lessons.numeric_gradient(lambda z: charitable_loss(z, labels), z)),
    },
    title="Two readings of (04.19): their gradients against differences",
    limit=1e-7,
)
assert worst < 1e-7
pair, yes_no = rng.normal(size=(6, 2)), np.array([0, 1, 1, 0, 0, 1])
lessons.same(literal_loss(pair, yes_no), -np.mean(np.log(softmax(pair)[:, 1])), what="(04.20)")  # (04.20)
lessons.same(charitable_loss(pair, yes_no), 2 * cross_entropy(pair, yes_no), what="two classes, charitably")

# %%
is_large = (digit >= 5).astype(int)  # two classes: is the digit 5 or more?
W2, b2 = np.zeros((64, 2)), np.zeros(2)
for _ in range(200):
    dz = literal(X @ W2 + b2, is_large[train])
    W2, b2 = W2 - 0.1 * X.T @ dz, b2 - 0.1 * dz.sum(0)
says_yes = ((pixels[held_out] @ W2 + b2).argmax(1) == 1).mean()
print(f"two classes, read literally: it says 'yes' to {says_yes:.0%} of the digits; {is_large.mean():.0%} are")

W_l, b_l, _ = descend(literal, steps=300, rate=0.02)
answers = (pixels[held_out] @ W_l + b_l).argmax(1)
W_r, b_r, once = descend(cross_entropy_backward, steps=300)
_, _, twice = descend(cross_entropy_backward, steps=300, rate=2.0)
W_c, b_c, kind = descend(charitable, steps=300)
print(f"ten classes: right {right(W_r, b_r):.1%}, charitably {right(W_c, b_c):.1%}, literally {right(W_l, b_l):.1%}")
print(f"the literal loss is at {literal_loss(X @ W_l + b_l, t):.2f}, and falling")

figure, (left, middle) = plt.subplots(1, 2, figsize=(11, 3.9))
for values, label, offset in ((answers, "(04.19), literally", -0.2), ((pixels[held_out] @ W_r + b_r).argmax(1), "cross-entropy", 0.2)):  # fmt: skip
    found = [np.mean(values[digit[held_out] == c] == c) for c in range(10)]
    left.bar(np.arange(10) + offset, found, width=0.4, label=label, color="C3" if offset < 0 else "C0")
    if offset < 0:
        literally = found
left.set(
    xlabel="class",
    ylabel="share that is found",
    ylim=(0, 1.25),
    title="Literally: 0 is never found, small digits hardly",
)
left.set_xticks(range(10))
left.legend(loc="upper left", ncols=2, fontsize=10)
middle.plot(once, label="cross-entropy, learning rate 1")
middle.plot(twice, label="cross-entropy, learning rate 2")
middle.plot(kind, "--", label="(04.22), learning rate 1")
middle.set(
    xlabel="step", ylabel="cross-entropy, held out", ylim=(0, 1.5), title="Charitably: as if the steps were longer"
)
middle.legend()
plt.show()
assert says_yes > 0.99 and literally[0] == 0 and np.mean(literally[5:]) > 0.6 > np.mean(literally[:5])
assert twice[-1] <= kind[-1] <= once[-1] and literal_loss(X @ W_l + b_l, t) < 0

# %% [markdown]
# The charitable reading runs between one and two times the learning rate. So such a formula can sit in a program for years: it trains. The literal one fails where nobody looks: on the average over the classes it is right half of the time.
#
# ## What goes wrong
#
# ### Exercise 5: find the bug
#
# Somebody's softmax subtracts the maximum, as it should. It passes even the check of exercise 1, and training works for days. Then one example of a batch has very large scores, and *another* example of the batch, a harmless one, becomes NaN.


# %% tags=["exercise"]
def batch_softmax(z):
    """Along the last axis.                 z: (N, C)"""
    # --- solution
    e = np.exp(z - z.max(-1, keepdims=True))
    # --- stub
    # e = np.exp(z - z.max())
    # --- end
    return e / e.sum(-1, keepdims=True)


# %% tags=["check"]
@lesson.check(
    "batch_softmax", hint="z.max() is the maximum of the whole batch. What is left of a row that lies 900 below it?"
)
def _(batch_softmax):
    z = np.array([[902.0, 901.0, 0.0], [0.1, 0.3, -0.5]])
    with np.errstate(all="ignore"):
        y = batch_softmax(z)
    lessons.same(y[1], softmax(z[1]), what="the harmless row")
    lessons.same(y[0], softmax(z[0]), what="the row with large scores")


# %% [markdown]
# By (04.4) any shift is right on paper, also a common one. But a row that lies 900 below the batch's maximum becomes $0/0$. Only its own maximum guarantees a row a sum of at least 1. In float32 a distance of 104 is enough.
#
# The zoo in `lessons/zoo` has four more of this lesson: [04](zoo/04_nan_on_the_confident_day.py), [05](zoo/05_the_class_that_is_never_predicted.py), [15](zoo/15_minus_infinity_once_a_day.py), [16](zoo/16_the_loss_that_cannot_reach_zero.py).
#
# ## Summary

# %% [markdown] tags=["summary"]
# | equation | what | op | test |
# |---|---|---|---|
# | (04.1) | scores of a linear classifier | - | here |
# | (04.2) | the softmax classifier (F6) | `Softmax` | here, cases:softmax |
# | (04.3), (04.4) | two classes are the sigmoid; a shift cancels | `Softmax` | here |
# | (04.5), (04.6) | its Jacobian, its gradient | `Softmax` | here, cases:softmax |
# | (04.7) | cross-entropy (F8) | `CrossEntropy` | here, cases:nn.functional.cross_entropy |
# | (04.8) | of one example, from logits (F10) | `CrossEntropy` | here, cases:nn.functional.cross_entropy |
# | (04.9), (04.13) | log-softmax, its gradient | `LogSoftmax` | here, cases:log_softmax |
# | (04.10), (04.11), (04.12) | log-sum-exp without overflow, its bounds, its slope | `LogSumExp` | here, cases:logsumexp |
# | (04.14), (04.15) | the collapse to (ŷ - y)/N, directly and through the Jacobian | `CrossEntropy` | here, cases:nn.functional.cross_entropy |
# | (04.16) | soft targets and ignored labels | `CrossEntropy` | here, cases:nn.functional.cross_entropy |
# | (04.17) | the best answer under label smoothing | `CrossEntropy` | here |
# | (04.18) | temperature | `Softmax` | here |
# | (04.19), (04.20), (04.21) | a published loss that mixes two (F7), and what it trains | - | here |
# | (04.22) | the same, read charitably (F7) | - | here |
#
# You can compute the gradient of a classifier. Next, 05 Descent: what to do with a gradient besides following it.
