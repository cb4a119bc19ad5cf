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
# # 03 Logistic regression
#
# A doctor measures the cells of a tumour, and wants to know how probable it is that the tumour is malignant. A weighted sum of the measurements can be any number, a probability cannot. **How does a weighted sum become a probability, which loss
# trains it, why is the gradient of that loss nothing but $\hat y - y$, and how do you compute it so that it never overflows?** The answers hold unchanged for the last layer of every classifier in this course.
#
# You need lessons 00 to 02: numeric gradients, the chain rule, gradients of matrix products and of broadcasting. And that a logarithm makes sums of products. Time: 45 minutes.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minitorch
from minitorch import lessons

lesson = lessons.start(3)

# %% [markdown]
# ## Yes or no, and in between
#
# 569 tumours, with what was found out later: malignant ($y = 1$) or benign ($y = 0$). On the left two of the measurements. No line separates the colours, but the share of malignant ones grows to the right. On the right that share, in groups of
# tumours of about the same radius. It climbs from 0 to 1 along an S. We want a formula for the S, and its parameters from the data.

# %%
from sklearn.datasets import load_breast_cancer

cancer = load_breast_cancer()
y = 1.0 - cancer.target  # (N,): 1 is malignant
two = cancer.data[:, [0, 1]]  # (N, 2): mean radius, mean texture
malignant = y == 1

figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4))
left.scatter(*two[~malignant].T, s=12, alpha=0.6, label="benign")
left.scatter(*two[malignant].T, s=12, alpha=0.6, color="C3", label="malignant")
left.set(xlabel="mean radius", ylabel="mean texture", title="Two measurements of 569 tumours")
left.legend()
groups = np.array_split(np.argsort(two[:, 0]), 15)
right.plot([two[g, 0].mean() for g in groups], [y[g].mean() for g in groups], "o-", color="C3")
right.set(xlabel="mean radius, groups of 38 tumours", ylabel="share of malignant", title="The share climbs along an S")
plt.show()

# %% [markdown]
# ## From a weighted sum to a probability
#
# Example $n$ has $D$ measurements, $x_{n1}, \dots, x_{nD}$. The weighted sum, with weights $w$ and a constant $b$, is
#
# $$ z_n = \sum_{k=1}^{D} x_{nk}\, w_k + b, \qquad z = X w + b \tag{03.1} $$
#
# Shapes: $X$ is $(N, D)$, $w$ is $(D,)$, $b$ is one number, $z$ is $(N,)$. A probability $\hat y$ lies between 0 and 1. Its *odds* $\hat y/(1 - \hat y)$ lie between 0 and infinity, and the logarithm of the odds is any number at all. So let
# the weighted sum be that:
#
# $$ z = \log \frac{\hat y}{1 - \hat y} \tag{03.2} $$
#
# $z$ is called the *logit*. One more unit of $z$ multiplies the odds by $e$. Solve for $\hat y$: $e^z (1 - \hat y) = \hat y$, so $\hat y\,(1 + e^z) = e^z$, and after dividing both sides by $e^z$
#
# $$ \hat y = \sigma(z) = \frac{1}{1 + e^{-z}} \tag{03.3} $$
#
# This is the *sigmoid*, the S. Swapping the roles of yes and no only turns the sign of $z$, for $1 - \frac{1}{1+e^{-z}} = \frac{e^{-z}}{1+e^{-z}} = \frac{1}{e^{z} + 1}$:
#
# $$ 1 - \sigma(z) = \sigma(-z) \tag{03.4} $$
#
# Its derivative, by the chain rule on $(1 + e^{-z})^{-1}$; then the fraction is taken apart with (03.4):
#
# $$ \sigma'(z) = \frac{e^{-z}}{(1 + e^{-z})^2} = \frac{1}{1 + e^{-z}} \cdot \frac{e^{-z}}{1 + e^{-z}} = \sigma(z)\,(1 - \sigma(z)) \tag{03.5} $$
#
# The backward pass needs only the output, not the input.
#
# ### Exercise 1: the sigmoid
#
# For $z = -1000$ the formula (03.3) asks for $e^{1000}$, which does not fit into a float64. Let $e = e^{-\vert z\vert}$, which is never above 1. For $z \ge 0$ the sigmoid is $1/(1 + e)$; for $z < 0$ multiply numerator and denominator of (03.3) by $e^{z}$:
# it is $e/(1 + e)$. `np.where(z >= 0, ..., ...)` chooses.


# %% tags=["exercise"]
def sigmoid(z):
    """1 / (1 + e^-z) for an array of any shape, without overflow."""
    # --- solution
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1 + e)
    # --- stub
    # return 1 / (1 + np.exp(-z))
    # --- end


def sigmoid_backward(dy, y):
    """dz, from dy and the output y."""
    # --- solution
    return dy * y * (1 - y)
    # --- stub
    # return dy
    # --- end


# %% tags=["check"]
@lesson.check(
    "sigmoid", "sigmoid_backward", hint="e = np.exp(-np.abs(z)); the numerator is np.where(z >= 0, 1.0, e). (03.5)."
)
def _(sigmoid, sigmoid_backward):
    z = np.array([[-1.5, 0.0, 0.3], [2.0, -0.7, 4.0]])
    lessons.same(sigmoid(z), 1 / (1 + np.exp(-z)), what="sigmoid")  # (03.3)
    lessons.same(np.log(sigmoid(z) / (1 - sigmoid(z))), z, what="log odds")  # (03.2)
    lessons.same(1 - sigmoid(z), sigmoid(-z), what="1 - sigmoid(z) against sigmoid(-z)")  # (03.4)
    dy = np.random.default_rng(0).normal(size=z.shape)
    numeric = lessons.numeric_gradient(sigmoid, z, dy)
    lessons.same(sigmoid_backward(dy, sigmoid(z)), numeric, tol=1e-8, what="dz")  # (03.5)
    with np.errstate(over="raise"):
        lessons.same(sigmoid(np.array([-1000.0, 1000.0])), [0.0, 1.0], what="sigmoid of -1000 and 1000")


# %%
rng = np.random.default_rng(1)
z, dy = rng.normal(size=(4, 5)) * 3, rng.normal(size=(4, 5))
dz = sigmoid_backward(dy, sigmoid(z))
t = minitorch.tensor(z, requires_grad=True)
lessons.same(minitorch.sigmoid(t), sigmoid(z), tol=1e-12, what="sigmoid")
(their_dz,) = minitorch.autograd.grad(minitorch.sigmoid(t), [t], minitorch.tensor(dy))
lessons.same(their_dz, dz, tol=1e-12, what="dz")
worst = lessons.show_errors(
    {"dz": (dz, lessons.numeric_gradient(sigmoid, z, dy))},
    title="The sigmoid's gradient against differences",
    limit=1e-7,
)
assert worst < 1e-7

# %% [markdown]
# ## What training minimises
#
# Write $\theta$ for all parameters, here $w$ and $b$, and $M_\theta(x)$ for the model's answer, here $\sigma(x \cdot w + b)$. A loss $\ell$ says how bad an answer is for one example. What one would like to be small is the average
# over all patients there will ever be; what one has is the average over the $N$ patients of the data, the *empirical risk*:
#
# $$ L(\theta) = \frac{1}{N} \sum_{n=1}^{N} \ell(M_\theta(x_n),\, y_n) \tag{03.6} $$
#
# Everything in this course that is called training minimises a sum of this form. *Pretraining* and *fine-tuning* too: they are two minimisations of the same form, over different data, and the second one starts where the first one ended:
#
# $$ \theta_{\mathrm{pre}} = \mathrm{argmin}_{\theta}\; L_{\mathrm{pre}}(\theta) \;\text{ from } \theta_{\mathrm{random}}, \qquad \theta^{*} = \mathrm{argmin}_{\theta}\; L_{\mathrm{task}}(\theta) \;\text{ from } \theta_{\mathrm{pre}} \tag{03.7} $$
#
# Nothing else connects them. You will try it at the end of this lesson.
#
# ## The loss, from the likelihood
#
# Which $\ell$? The model says: yes with probability $\hat y_n$, no with probability $1 - \hat y_n$. The probability that it gave to what really happened is $\hat y_n$ if $y_n = 1$, and $1 - \hat y_n$ if $y_n = 0$. In one formula, because an exponent of 0 makes a
# factor 1; and for independent examples the probabilities multiply:
#
# $$ P(y_1, \dots, y_N) = \prod_{n=1}^{N} \hat y_n^{\,y_n}\, (1 - \hat y_n)^{1 - y_n} \tag{03.8} $$
#
# This is the *likelihood*. Take the parameters that make the data most probable. A product of 569 numbers below 1 is awkward, so take the logarithm: it grows with its argument, so the best parameters stay the best, and it turns the product into a sum.
# With a minus sign and $1/N$ it is an empirical risk (03.6), with the *binary cross-entropy* as its loss:
#
# $$ \ell(\hat y, y) = -\big[\, y \log \hat y + (1 - y) \log(1 - \hat y) \,\big] \tag{03.9} $$
#
# Now its gradient with respect to a parameter $\theta_k$, by the chain rule. The slope of $\log \hat y$ is $1/\hat y$, that of $\log(1 - \hat y)$ is $-1/(1 - \hat y)$:
#
# $$ \frac{\partial L}{\partial \theta_k} = -\frac{1}{N} \sum_{n=1}^{N} \left( \frac{y_n}{\hat y_n} - \frac{1 - y_n}{1 - \hat y_n} \right) \frac{\partial \hat y_n}{\partial \theta_k} \tag{03.10} $$
#
# ### Exercise 2: binary cross-entropy of probabilities
#
# The mean of (03.9), and its gradient $d\hat y$: element $n$ is what stands before $\partial \hat y_n/\partial\theta_k$ in term $n$ of (03.10), the factor $-\frac{1}{N}$ with it.


# %% tags=["exercise"]
def bce(y_hat, y):
    """The mean of (03.9).                 y_hat, y: (N,)"""
    # --- solution
    return -np.mean(y * np.log(y_hat) + (1 - y) * np.log(1 - y_hat))
    # --- end


def bce_backward(y_hat, y):
    """The gradient of that mean with respect to y_hat: (N,)"""
    # --- solution
    return -(y / y_hat - (1 - y) / (1 - y_hat)) / len(y)
    # --- end


# %% tags=["check"]
@lesson.check(
    "bce",
    "bce_backward",
    hint="np.mean takes care of 1/N in bce; bce_backward has no sum: divide by len(y) yourself, and mind the minus.",
)
def _(bce, bce_backward):
    y_hat, y = np.array([0.9, 0.2, 0.6, 0.5]), np.array([1.0, 0.0, 0.0, 1.0])
    probability = 0.9 * 0.8 * 0.4 * 0.5
    lessons.same(bce(y_hat, y), -np.log(probability) / 4, what="bce")  # (03.8), (03.9)
    numeric = lessons.numeric_gradient(lambda p: bce(p, y), y_hat)
    lessons.same(bce_backward(y_hat, y), numeric, tol=1e-8, what="the gradient")  # (03.10)


# %%
rng = np.random.default_rng(2)
y_hat, labels = rng.uniform(0.05, 0.95, 12), rng.integers(0, 2, 12).astype(float)
t = minitorch.tensor(y_hat, requires_grad=True)
loss = minitorch.nn.functional.binary_cross_entropy(t, minitorch.tensor(labels))
loss.backward()
lessons.same(loss, bce(y_hat, labels), tol=1e-12, what="loss")
lessons.same(t.grad, bce_backward(y_hat, labels), tol=1e-12, what="gradient")
print("binary_cross_entropy: equal")

# %% [markdown]
# ## Why it collapses
#
# The bracket of (03.10) over a common denominator: $y(1 - \hat y) - (1 - y)\hat y = y - y\hat y - \hat y + y \hat y = y - \hat y$, so
#
# $$ \frac{y}{\hat y} - \frac{1 - y}{1 - \hat y} = \frac{y - \hat y}{\hat y\,(1 - \hat y)} \tag{03.11} $$
#
# And the sigmoid's slope (03.5) is $\hat y (1 - \hat y)$, the same as this denominator. In the product they cancel. With $\partial \hat y_n/\partial \theta_k = \hat y_n(1 - \hat y_n)\, \partial z_n/\partial\theta_k$:
#
# $$ dz_n = \frac{\hat y_n - y_n}{N}, \qquad \frac{\partial L}{\partial \theta_k} = \frac{1}{N}\sum_n (\hat y_n - y_n)\, \frac{\partial z_n}{\partial \theta_k} \tag{03.12} $$
#
# What is said minus what is true; a prediction that is right sends nothing back, one that is completely wrong sends 1 or $-1$ (over $N$). For the weighted sum (03.1), $\partial z_n/\partial w_k = x_{nk}$ and $\partial z_n/\partial b = 1$:
#
# $$ dw_k = \sum_n dz_n\, x_{nk}, \quad dw = X^{\top} dz, \qquad db = \sum_n dz_n \tag{03.13} $$
#
# Is the cancellation luck? Write the loss in terms of $z$. By (03.3), $\log\hat y = \log \frac{e^z}{1 + e^z} = z - \log(1 + e^z)$, and by (03.4), $\log(1 - \hat y) = -\log(1 + e^z)$. Put both into (03.9); the terms with $y \log(1 + e^z)$ cancel:
#
# $$ \ell = \log(1 + e^z) - y\,z \tag{03.14} $$
#
# So no: the label enters only as $-y z$, with the slope $-y$; and the slope of $\log(1 + e^z)$, a function called *softplus*, is $\frac{e^z}{1 + e^z} = \hat y$. The logit is the natural variable of this loss.
#
# To see what this is worth, compare with the squared error $(\hat y - y)^2$. Nothing cancels there:
#
# $$ \frac{d}{dz} (\sigma(z) - y)^2 = 2\,(\hat y - y)\; \hat y\,(1 - \hat y) \tag{03.15} $$
#
# When the model is sure and wrong, $\hat y(1 - \hat y)$ is nearly 0: it is not told to change.

# %%
z = np.linspace(-8, 8, 200)
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8))
left.plot(z, np.log1p(np.exp(z)) - z, label="cross-entropy")
left.plot(z, (sigmoid(z) - 1) ** 2, label="squared error")
left.set(xlabel="logit z, where the truth is y = 1", ylabel="loss", title="To the left: sure, and wrong")
left.legend()
right.plot(z, sigmoid(z) - 1, label="cross-entropy: ŷ - y")
right.plot(z, 2 * (sigmoid(z) - 1) * sigmoid(z) * sigmoid(-z), label="squared error")
right.set(
    xlabel="logit z, where the truth is y = 1", ylabel="slope of the loss", title="Squared error falls silent there"
)
right.legend()
plt.show()

for label in (0.0, 1.0):
    by_hand = 2 * (sigmoid(z) - label) * sigmoid(z) * (1 - sigmoid(z))  # (03.15)
    lessons.same(by_hand, lessons.numeric_gradient(lambda z, y=label: (sigmoid(z) - y) ** 2, z), tol=1e-8)
    p = sigmoid(z)
    lessons.same(label / p - (1 - label) / (1 - p), (label - p) / (p * (1 - p)), what="(03.11)")  # (03.11)
    direct = -(label * np.log(p) + (1 - label) * np.log(1 - p))
    lessons.same(np.log1p(np.exp(z)) - label * z, direct, what="(03.14)")  # (03.14)

# %% [markdown]
# ## Without overflow
#
# The formulas are exact, floats are not. Try the loss through the probability, as (03.9) has it, for a model that is more and more sure, and wrong. The true loss is nearly $z$ itself.

# %%
print("    z      through ŷ       log(1 + e^z)")
for logit in [10.0, 30.0, 40.0, 800.0]:
    with np.errstate(all="ignore"):
        p = 1 / (1 + np.exp(-logit))
        through_p, softplus = -np.log(1 - p), np.log(1 + np.exp(logit))
    print(f"{logit:5g}   {through_p:12.6f}   {softplus:12.6f}")

# %% [markdown]
# Through the probability it is a little off at 30, and infinite at 40: $\hat y$ is rounded to exactly 1, and $\log 0$ is minus infinity. Then the gradient is $\infty \cdot 0$, not a number, and after one step so is every weight. In float32 it happens at 17. The softplus as written lasts to
# about 709, where $e^z$ overflows. Take the larger of 0 and $z$ out of the logarithm. For $z > 0$, $\log(1 + e^z) = \log\big(e^z (e^{-z} + 1)\big) = z + \log(1 + e^{-z})$; for $z \le 0$ leave it as it is. Both cases in one line:
#
# $$ \log(1 + e^{z}) = \max(z, 0) + \log(1 + e^{-\vert z\vert}) \tag{03.16} $$
#
# The exponential lies between 0 and 1 now. For a tiny $u$, `np.log(1 + u)` loses $u$ in the rounding of $1 + u$; `np.log1p(u)` does not.
#
# ### Exercise 3: binary cross-entropy from logits


# %% tags=["exercise"]
def bce_with_logits(z, y):
    """The mean of (03.14), by (03.16).    z, y: (N,)"""
    # --- solution
    return np.mean(np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))) - y * z)
    # --- stub
    # return np.mean(np.log(1 + np.exp(z)) - y * z)
    # --- end


def bce_with_logits_backward(z, y):
    """The gradient of that mean with respect to z: (N,)"""
    # --- solution
    return (sigmoid(z) - y) / len(y)
    # --- end


# %% tags=["check"]
@lesson.check(
    "bce_with_logits",
    "bce_with_logits_backward",
    hint="np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))) - y * z, and its mean; the gradient is (03.12).",
)
def _(bce_with_logits, bce_with_logits_backward):
    z, y = np.array([0.3, -2.0, 1.5]), np.array([1.0, 0.0, 0.0])
    lessons.same(bce_with_logits(z, y), bce(sigmoid(z), y), what="the loss")  # (03.14)
    with np.errstate(over="raise"):
        lessons.same(bce_with_logits(np.array([800.0]), np.array([0.0])), 800.0, what="z = 800, y = 0")  # (03.16)
    tiny = bce_with_logits(np.array([-50.0]), np.array([0.0]))
    lessons.same(tiny / np.exp(-50.0), 1.0, what="the loss at z = -50, y = 0, over its true value e^-50")
    numeric = lessons.numeric_gradient(lambda z: bce_with_logits(z, y), z)
    lessons.same(bce_with_logits_backward(z, y), numeric, tol=1e-8, what="dz")  # (03.12)


# %%
rng = np.random.default_rng(3)
z, labels = rng.normal(size=12) * 4, rng.integers(0, 2, 12).astype(float)
t = minitorch.tensor(z, requires_grad=True)
loss = minitorch.nn.BCEWithLogitsLoss()(t, minitorch.tensor(labels))
loss.backward()
lessons.same(loss, bce_with_logits(z, labels), tol=1e-12, what="loss")
lessons.same(t.grad, bce_with_logits_backward(z, labels), tol=1e-12, what="dz")

sure = minitorch.tensor([800.0, -800.0], dtype=minitorch.float64)
assert minitorch.nn.functional.softplus(sure).tolist() == [800.0, 0.0]  # (03.16)
assert minitorch.nn.functional.logsigmoid(sure).tolist() == [0.0, -800.0]

through_p = sigmoid_backward(bce_backward(sigmoid(z), labels), sigmoid(z))  # link by link, the long way
numeric = lessons.numeric_gradient(lambda z: bce_with_logits(z, labels), z)
worst = lessons.show_errors(
    {
        "dz = (ŷ - y)/N": (bce_with_logits_backward(z, labels), numeric),
        "dz through dŷ": (through_p, numeric),
    },
    title="(03.12) against differences, and the product that it collapsed from",
    limit=1e-7,
)
assert worst < 1e-7

# %% [markdown]
# ## Descent by hand
#
# ### Exercise 4: loss and gradient of the whole model
#
# From $X$ to $L$ by (03.1) and your functions, and back by (03.12) and (03.13).


# %% tags=["exercise"]
def logistic(w, b, X, y):
    """L, dw, db.              w: (D,)   b: a number   X: (N, D)   y: (N,)"""
    # --- solution
    z = X @ w + b
    dz = bce_with_logits_backward(z, y)
    return bce_with_logits(z, y), X.T @ dz, dz.sum()
    # --- stub
    # z = np.zeros(len(y))
    # dz = bce_with_logits_backward(z, y)
    # return bce_with_logits(z, y), np.zeros_like(w), 0.0
    # --- end


# %% tags=["check"]
@lesson.check(
    "logistic", hint="z = X @ w + b; dw has the shape (D,): which of X and dz must be transposed? db is a sum."
)
def _(logistic):
    rng = np.random.default_rng(4)
    X, y, w, b = rng.normal(size=(7, 3)), np.array([1.0, 0, 0, 1, 1, 0, 1]), rng.normal(size=3), 0.4
    L, dw, db = logistic(w, b, X, y)
    lessons.same(L, np.mean(np.log1p(np.exp(X @ w + b)) - y * (X @ w + b)), what="L")  # (03.1), (03.6)
    numeric = lessons.numeric_gradient(lambda w: logistic(w, b, X, y)[0], w)
    lessons.same(dw, numeric, tol=1e-8, what="dw")  # (03.13)
    lessons.same(db, lessons.numeric_gradient(lambda b: logistic(w, b, X, y)[0], b), tol=1e-8, what="db")


# %% [markdown]
# Where does the descent end? In one valley only: along every line through the parameters the loss is curved upwards. The second derivative of $\ell$ with respect to $z$ is, by (03.12) and (03.5),
#
# $$ \frac{d^2 \ell}{dz^2} = \hat y\,(1 - \hat y) > 0 \tag{03.17} $$
#
# and $z$ depends on the parameters by (03.1) without curving. Such a loss is *convex*; it has no second, worse valley to get stuck in. That will not be so for networks.
#
# And what does the trained model look like? It says yes where $\hat y > \frac12$, that is where $z > 0$. The border between yes and no, the *decision boundary*, is
#
# $$ x \cdot w + b = 0 \tag{03.18} $$
#
# a line for two measurements, a plane for three. $w$ stands at a right angle to it. Measure both features in units of their spread, then walk 200 steps downhill.

# %%
X = (two - two.mean(0)) / two.std(0)
w, b, curve = np.zeros(2), 0.0, []
for _step in range(200):
    L, dw, db = logistic(w, b, X, y)
    curve.append(L)
    w, b = w - 1.0 * dw, b - 1.0 * db

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=[2, 3])
left.plot(curve)
left.axhline(np.log(2), color="0.5", linestyle="--", linewidth=1)
left.text(60, np.log(2) + 0.01, "log 2: always saying 50%", color="0.4")
left.set(xlabel="step", ylabel="mean cross-entropy", ylim=(0, 0.75), title="Descent")
r, t = np.meshgrid(np.linspace(6, 29, 200), np.linspace(9, 40, 200))
grid = (np.stack([r, t], -1) - two.mean(0)) / two.std(0)
p = sigmoid(grid @ w + b)
right.contourf(r, t, p, levels=[0, 0.1, 0.5, 0.9, 1], colors=["#d7e6f5", "#eef4fa", "#fbeaea", "#f5d3d3"])
lines = right.contour(r, t, p, levels=[0.1, 0.5, 0.9], colors="black", linewidths=[1, 2, 1])
right.clabel(lines, fmt="ŷ = %g", manual=[(9.6, 35), (11.6, 35), (13.7, 35)])
right.scatter(*two[~malignant].T, s=10, alpha=0.7, label="benign")
right.scatter(*two[malignant].T, s=10, alpha=0.7, color="C3", label="malignant")
right.set(xlabel="mean radius", ylabel="mean texture", title="The border is a line; probabilities change across it")
right.legend(loc="lower right", frameon=True)
plt.show()

accuracy = np.mean((X @ w + b > 0) == y)
print(f"loss {curve[-1]:.4f}; {accuracy:.0%} are on their side of the border")
assert np.isclose(curve[0], np.log(2)) and curve[-1] < 0.3 and accuracy > 0.85
border = (np.array([0.3, -b - 0.3 * w[0]]) / [1, w[1]]) @ w + b  # a point chosen to lie on the border
assert abs(border) < 1e-12 and abs(sigmoid(np.array(border)) - 0.5) < 1e-12  # (03.18)

rng = np.random.default_rng(5)
for _ in range(20):  # (03.17): the middle of two points is never above the mean of the ends
    one, other = rng.normal(size=(2, 3)) * 3
    ends = [logistic(v[:2], v[2], X, y)[0] for v in (one, other, (one + other) / 2)]
    assert ends[2] <= (ends[0] + ends[1]) / 2
slopes = [logistic(w, b + h, X, y)[2] for h in (-1e-5, 1e-5)]
lessons.same((slopes[1] - slopes[0]) / 2e-5, np.mean(sigmoid(X @ w + b) * sigmoid(-X @ w - b)), what="(03.17)")

# %% [markdown]
# The same 200 steps with minitorch: a `Linear` layer, `BCEWithLogitsLoss`, the engine's gradients, its own optimizer, which takes the steps. (Under `no_grad` the starting weights are set without a graph.) The weights agree to the last digits.

# %%
layer = minitorch.nn.Linear(2, 1, dtype=minitorch.float64)
with minitorch.no_grad():
    layer.weight.zero_()
    layer.bias.zero_()
optimizer = minitorch.optim.SGD(layer.parameters(), lr=1.0)
loss_function = minitorch.nn.BCEWithLogitsLoss()
X_tensor, y_tensor = minitorch.tensor(X), minitorch.tensor(y)
for _step in range(200):
    optimizer.zero_grad()
    loss = loss_function(layer(X_tensor)[:, 0], y_tensor)
    loss.backward()
    optimizer.step()
lessons.same(layer.weight[0], w, tol=1e-10, what="w")  # (03.12), (03.13)
lessons.same(layer.bias[0], b, tol=1e-10, what="b")
print("by hand:  ", w, b)
print("minitorch:", layer.weight[0].detach().numpy(), float(layer.bias[0]))

# %% [markdown]
# ## Does the probability mean anything?
#
# The loss came from a probability, so its answers can be taken at their word: of the tumours that get 90%, about 90% should be malignant. Train on all 30 measurements of 369 patients, and look at 200 others.

# %%
order = np.random.default_rng(0).permutation(len(y))
first, others = order[:369], order[369:]
Z = (cancer.data - cancer.data[first].mean(0)) / cancer.data[first].std(0)  # (N, 30)
w_pre, b_pre = np.zeros(30), 0.0
for _step in range(300):
    _, dw, db = logistic(w_pre, b_pre, Z[first], y[first])
    w_pre, b_pre = w_pre - 0.5 * dw, b_pre - 0.5 * db

p = sigmoid(Z[others] @ w_pre + b_pre)
print("answer          patients   mean answer   really malignant")
for low, high in [(0, 0.05), (0.05, 0.5), (0.5, 0.95), (0.95, 1)]:
    group = (p >= low) & (p <= high)
    share = y[others][group].mean()
    print(f"{low:4.0%} to {high:4.0%}   {group.sum():8}   {p[group].mean():11.1%}   {share:16.1%}")
held_out = np.mean((p > 0.5) == y[others])
print(f"{held_out:.1%} of the 200 are right")
assert held_out > 0.9 and y[others][p < 0.05].mean() < 0.05 and y[others][p > 0.95].mean() > 0.95

# %% [markdown]
# Where the model is sure, it is right; between, there are too few patients for a judgement.
#
# ## Pretraining and fine-tuning, as small as possible
#
# (03.7) says that transfer is a choice of the starting point. A second hospital has another machine: each measurement comes out scaled and shifted. (This part is simulated, from the patients that the first model has not seen.) It has 30 labelled patients. Fine-tune on
# these, once from zero and once from the first hospital's weights; test on the other 170.

# %%
rng = np.random.default_rng(0)
machine = Z * rng.uniform(0.6, 1.4, 30) + 0.5 * rng.normal(size=30)
few, rest = others[:30], others[30:]
figure, axes = plt.subplots(figsize=(7, 3.8))
curves = {}
for name, (w_now, b_now) in {"from zero": (np.zeros(30), 0.0), "from the first hospital": (w_pre, b_pre)}.items():
    curves[name] = []
    for _step in range(150):
        curves[name].append(bce_with_logits(machine[rest] @ w_now + b_now, y[rest]))
        L, dw, db = logistic(w_now, b_now, machine[few], y[few])  # (03.7): the same minimisation, two starts
        w_now, b_now = w_now - 0.1 * dw, b_now - 0.1 * db
    axes.plot(curves[name], label=f"{name}; at the end {L:.3f} on its own 30")
axes.set(
    xlabel="step of fine-tuning", ylabel="loss on the 170 others", ylim=(0, 0.75), title="The same data, two starts"
)
axes.legend()
plt.show()
assert curves["from the first hospital"][0] < curves["from zero"][20] < curves["from zero"][0]
assert all(one < other for one, other in zip(curves["from the first hospital"], curves["from zero"]))

# %% [markdown]
# The pretrained start is better before its first step than the other after twenty, and stays better over the whole run, though both minimise the same loss on the same 30 patients. The loss has one valley, but 30 patients cannot fix 31
# parameters: in some directions its floor is flat, and there where you come from decides where you stop.
#
# ## What goes wrong
#
# ### Exercise 5: find the bug
#
# Somebody writes the same model with a layer that returns a column, $z$ of shape $(N, 1)$, as layers do. The labels are $(N,)$. The program runs, and the loss falls; but look where it stops.


# %%
def suspicious_loss(z, y):
    """z: (N, 1)   y: (N,)"""
    losses = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))) - y * z
    dz = (sigmoid(z) - y).sum(1, keepdims=True) / losses.size
    return losses.mean(), dz


w, b = np.zeros((2, 1)), 0.0
for step in range(200):
    L, dz = suspicious_loss(X @ w + b, y)
    w, b = w - X.T @ dz, b - dz.sum()
    if step % 50 == 0:
        print(f"step {step:3}: loss {L:.4f}")
share = y.mean()
print(f"at the end {L:.4f}; always saying {share:.0%} costs {bce(np.full(len(y), share), y):.4f}")
print("answers:", sigmoid(X @ w + b)[:6, 0].round(3))
assert abs(sigmoid(X @ w + b) - share).max() < 0.01

# %% [markdown]
# It has learnt to say the same to everybody. Print the shape of `losses`, and remember lesson 02. Then repair it; `dz` keeps the shape of `z`.


# %% tags=["exercise"]
def column_loss(z, y):
    """The mean loss and dz.                 z, dz: (N, 1)   y: (N,)"""
    # --- solution
    y = y[:, None]
    losses = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))) - y * z
    dz = (sigmoid(z) - y) / losses.size
    return losses.mean(), dz
    # --- stub
    # losses = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))) - y * z
    # dz = (sigmoid(z) - y).sum(1, keepdims=True) / losses.size
    # return losses.mean(), dz
    # --- end


# %% tags=["check"]
@lesson.check(
    "column_loss", hint="(N, 1) and (N,) broadcast to (N, N): every answer meets every label. Make y a column."
)
def _(column_loss):
    rng = np.random.default_rng(6)
    z, y = rng.normal(size=(5, 1)), np.array([1.0, 0, 0, 1, 1])
    L, dz = column_loss(z, y)
    lessons.same(L, bce_with_logits(z[:, 0], y), what="the loss")
    lessons.same(dz, bce_with_logits_backward(z[:, 0], y)[:, None], what="dz")  # (03.12)


# %% [markdown]
# $(N, 1)$ and $(N,)$ broadcast to $(N, N)$: every answer is compared with everybody's label, and the best answer to all labels at once is their mean. minitorch and PyTorch refuse it:

# %%
try:
    minitorch.nn.functional.binary_cross_entropy_with_logits(minitorch.zeros(5, 1), minitorch.zeros(5))
except ValueError as error:
    print(error)
else:
    raise AssertionError("minitorch should refuse these shapes")

# %% [markdown]
# ## Summary

# %% [markdown] tags=["summary"]
# | equation | what | op | test |
# |---|---|---|---|
# | (03.1) | the logit, a weighted sum | `Linear` | here, cases:nn.functional.linear |
# | (03.2) | log odds | `Logit` | here, cases:logit |
# | (03.3), (03.4), (03.5) | the sigmoid, its symmetry, its derivative | `Sigmoid` | here, cases:sigmoid |
# | (03.6) | empirical risk (F2) | - | here |
# | (03.7) | pretraining and fine-tuning as two minimisations (F1) | - | here |
# | (03.8) | the likelihood of the labels | `BCE` | here |
# | (03.9) | binary cross-entropy (F4) | `BCE` | here, cases:nn.functional.binary_cross_entropy |
# | (03.10) | its gradient (F5) | `BCE` | here, cases:nn.functional.binary_cross_entropy |
# | (03.11), (03.12) | F5 with a sigmoid collapses to ŷ - y | `BCEWithLogits` | here, cases:nn.functional.binary_cross_entropy_with_logits |
# | (03.13) | gradients of the weights | `Linear` | here, cases:nn.functional.linear |
# | (03.14) | the loss from logits | `BCEWithLogits`, `Softplus` | here, cases:nn.functional.binary_cross_entropy_with_logits |
# | (03.15) | squared error of a sigmoid, which falls silent | - | here |
# | (03.16) | log(1 + e^z) without overflow | `BCEWithLogits`, `Softplus`, `LogSigmoid` | here, cases:nn.functional.softplus, cases:nn.functional.logsigmoid |
# | (03.17) | the loss is convex | `BCEWithLogits` | here |
# | (03.18) | the decision boundary | - | here |
#
# Yes or no is two classes. Next, 04 Softmax and cross-entropy: the same collapse for any number of them.
