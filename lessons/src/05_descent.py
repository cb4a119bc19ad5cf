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
# # 05 Descent
#
# You can compute the gradient of any loss. It says which way is down, here. **How far should a step go, and why does hardly anybody train with the gradient alone?** This lesson begins with a valley
# in which the plain gradient crawls or zigzags, and derives one by one what has been invented against it: momentum, Nesterov, Adagrad, RMSprop, Adam and AdamW. All of them are averages of
# gradients; once you know what their averages do, they have no secrets left. Then weight decay, and how the step should change during training.
#
# You need lesson 00 (Taylor's theorem, the gradient points uphill), and lessons 03 and 04 for the two experiments: the gradients of logistic regression and of softmax with cross-entropy. Time: 60 minutes.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minitorch
from minitorch import lessons

lesson = lessons.start(5)

# %% [markdown]
# ## A valley
#
# Two weights, $\theta = (\theta_1, \theta_2)$, and a loss that is 20 times more curved along the second than along the first: $L(\theta) = \frac12(\theta_1^2 + 20\,\theta_2^2)$. Its contour lines are long ellipses. From the same
# start, gradient descent with three step sizes:

# %%
CURVATURES = np.array([1.0, 20.0])


def valley(theta):
    """theta: (..., 2)"""
    return 0.5 * (CURVATURES * theta**2).sum(-1)


def valley_gradient(theta):
    return CURVATURES * theta


def draw_contours(axes, function, xs, ys, levels):
    a, b = np.meshgrid(np.linspace(*xs, 150), np.linspace(*ys, 150))
    axes.contour(a, b, function(np.stack([a, b], -1)), levels=levels, colors="0.75", linewidths=0.8)
    axes.set(xlim=xs, ylim=ys, xlabel=r"$\theta_1$")
    axes.grid(visible=False)


start = np.array([-4.0, 1.0])
figure, panels = plt.subplots(1, 3, figsize=(11, 3.2), sharey=True)
for axes, lr, words in zip(panels, (0.01, 0.09, 0.102), ("too small: it crawls", "it zigzags", "too large: it leaves")):
    path = [start]
    for _ in range(40):
        path.append(path[-1] - lr * valley_gradient(path[-1]))
    path = np.array(path)
    draw_contours(axes, valley, (-4.6, 1.2), (-2.4, 2.4), valley(start) * np.array([0.02, 0.1, 0.3, 0.6, 1, 1.6, 2.4]))
    axes.plot(*path.T, ".-", color="C0", linewidth=1)
    axes.plot(0, 0, "*", color="C3", markersize=12)
    axes.set_title(f"η = {lr}: {words}")
panels[0].set_ylabel(r"$\theta_2$")
plt.show()

# %% [markdown]
# Even the best of the three is not there after 40 steps. The steep direction does not allow a larger step, and the flat one needs it. How bad can this get?
#
# ## One step
#
# Let $\theta$ be all weights in one array of shape $(D,)$, $g = \nabla L(\theta)$ of the same shape, and $\eta$ (eta) the *learning rate*. Gradient descent takes
#
# $$ \theta_{t+1} = \theta_t - \eta\,\nabla L(\theta_t) \tag{05.1} $$
#
# What does one step do to the loss? Write $\phi(s) = L(\theta - s\,g)$ for the loss along the step. By (00.13), with the direction $v = -g$ held fixed,
# $\phi'(s) = -\sum_i g_i\,\frac{\partial L}{\partial\theta_i}(\theta - s\,g)$, and so $\phi'(0) = -g \cdot g = -\vert g\vert^2$. Every $\partial L/\partial\theta_i$ is a function of $\theta$ as well: differentiate once more by the same rule,
# $\phi''(0) = \sum_{ij} g_i\, H_{ij}\, g_j = g^\top H g$, where $H_{ij} = \partial^2 L/\partial\theta_i\,\partial\theta_j$ is the matrix of second derivatives, of shape $(D, D)$, called the *Hessian*. So by Taylor's theorem (00.4)
#
# $$ L(\theta - \eta g) = L(\theta) - \eta\,\vert g\vert^2 + \frac{\eta^2}{2}\, g^{\top} H g + O(\eta^3) \tag{05.2} $$
#
# The second term is gain, for any gradient that is not 0. The third is the price, and it grows faster: for a small enough $\eta$ every step is downhill, for a large one it need not be. How large is too large depends on the curvature $H$.
#
# ### Exercise 1: one step
#
# Every optimizer of this lesson is a function of the same form. It takes the weights, the gradient, a dictionary `state` in which it may remember things between steps, and its options; it returns *new* weights, and leaves `theta` and `g` as they are.


# %% tags=["exercise"]
def sgd(theta, g, state, lr):
    """(05.1)      theta, g: (D,) or any other shape, the same for both"""
    # --- solution
    return theta - lr * g
    # --- end


# %% tags=["check"]
@lesson.check(
    "sgd",
    hint="Downhill is against the gradient. Write theta - ..., not theta -= ..., which changes the caller's array.",
)
def _(sgd):
    theta = np.array([1.0, -2.0])
    lessons.same(sgd(theta, np.array([10.0, 20.0]), {}, lr=0.1), [0.0, -4.0], what="one step")
    lessons.same(theta, [1.0, -2.0], what="theta after the call (it should be left alone)")
    g = valley_gradient(theta)  # (05.2) is exact here: the valley has no third derivatives
    for lr in (0.01, 0.3):
        predicted = valley(theta) - lr * g @ g + lr**2 / 2 * g @ (CURVATURES * g)
        lessons.same(valley(sgd(theta, g, {}, lr=lr)), predicted, what=f"the loss after a step with lr = {lr}")


# %% [markdown]
# ## How bad is a valley?
#
# Near a minimum every smooth loss looks like a quadratic, and one can turn the axes so that its Hessian is diagonal. So take $L = \frac12\sum_i h_i\theta_i^2$ with curvatures $h_i > 0$ and the minimum at 0. Its gradient is $g_i = h_i\theta_i$, and
# (05.1) treats every coordinate for itself:
#
# $$ \theta_i \leftarrow \theta_i - \eta h_i\theta_i = (1 - \eta h_i)\,\theta_i \quad\Rightarrow\quad \theta_{t,i} = (1 - \eta h_i)^t\;\theta_{0,i} \tag{05.3} $$
#
# It shrinks if $\vert 1 - \eta h_i\vert < 1$, that is $0 < \eta h_i < 2$. All coordinates have to shrink, so the most curved one sets the limit:
#
# $$ 0 < \eta < \frac{2}{h_{\max}} \tag{05.4} $$
#
# In the pictures $2/h_{\max} = 0.1$. Which $\eta$ is best? The speed is that of the slowest coordinate, $\rho = \max_i\vert 1 - \eta h_i\vert$. As $\eta$ grows, $1 - \eta h_{\min}$ falls and $\eta h_{\max} - 1$ rises; the larger of
# the two is smallest where they meet, $1 - \eta h_{\min} = \eta h_{\max} - 1$. With the *condition number* $\kappa = h_{\max}/h_{\min}$
#
# $$ \eta_* = \frac{2}{h_{\min} + h_{\max}}, \qquad \rho_* = \frac{h_{\max} - h_{\min}}{h_{\max} + h_{\min}} = \frac{\kappa - 1}{\kappa + 1} \tag{05.5} $$
#
# For $\kappa = 20$ that is 0.905: 23 steps for one decimal digit. For $\kappa = 1000$ it is 0.998: 1150 steps for each digit. The real data further down are worse than that.


# %%
def descend(rule, gradient, theta, steps, **options):
    """The path of an optimizer, (steps + 1, D)."""
    path, state = [np.array(theta, np.float64)], {}
    for _ in range(steps):
        path.append(rule(path[-1], gradient(path[-1]), state, **options))
    return np.array(path)


path = descend(sgd, valley_gradient, start, 30, lr=0.03)
assert np.allclose(path, (1 - 0.03 * CURVATURES) ** np.arange(31)[:, None] * start)  # (05.3)

rates = np.linspace(0.002, 0.11, 200)
measured = []
for lr in rates:
    sizes = np.abs(descend(sgd, valley_gradient, np.ones(2), 100, lr=lr)).max(1)
    measured.append((sizes[100] / sizes[60]) ** (1 / 40))  # the factor of one step, once the slowest coordinate leads
assert np.all((np.array(measured) < 1) == (rates < 2 / 20))  # (05.4)
best = rates[np.argmin(measured)]
assert abs(best - 2 / 21) < 1e-3 and abs(min(measured) - 19 / 21) < 0.01  # (05.5)

plt.plot(rates, measured, ".", label="measured")
plt.plot(rates, np.abs(1 - rates * 1.0), color="C1", linewidth=1, label="|1 - η · 1|, the flat direction")
plt.plot(rates, np.abs(1 - rates * 20.0), color="C2", linewidth=1, label="|1 - η · 20|, the steep direction")
plt.axhline(1, color="black", linewidth=0.8)
plt.plot(2 / 21, 19 / 21, "*", color="black", markersize=13, label="(05.5)")
plt.xlabel("learning rate η")
plt.ylabel("factor of one step")
plt.title("The best rate is close to the edge of divergence")
plt.legend(fontsize=9, loc="lower left")
plt.show()

# %% [markdown]
# ## Momentum
#
# In the zigzag the gradients along the steep direction alternate in sign, and those along the flat one agree. So add up past gradients, and forget them slowly: what alternates cancels, what agrees grows. With a factor $\mu$ (mu) between 0 and 1, often 0.9,
# and $b_0 = 0$,
#
# $$ b_t = \mu\, b_{t-1} + g_t, \qquad \theta_{t+1} = \theta_t - \eta\, b_t \tag{05.6} $$
#
# Put the left equation into itself: $b_t = g_t + \mu g_{t-1} + \mu^2 g_{t-2} + \dots$ For a gradient that is always $g$ this is a geometric series:
#
# $$ b_t = \sum_{k=1}^{t} \mu^{t-k} g_k, \qquad\text{and if all } g_k = g{:}\quad b_t = \frac{1-\mu^t}{1-\mu}\, g \;\to\; \frac{g}{1-\mu} \tag{05.7} $$
#
# With $\mu = 0.9$ the steps become 10 times longer in a direction on which the gradients agree. What happens in the valley? Take one coordinate with curvature $h$, so $g_t = h\theta_t$. By (05.6) $\theta_t = \theta_{t-1} - \eta\, b_{t-1}$, so
# $\eta\, b_{t-1} = \theta_{t-1} - \theta_t$, and
#
# $$ \theta_{t+1} = \theta_t - \eta h\,\theta_t - \mu\,\eta\, b_{t-1} = (1 + \mu - \eta h)\,\theta_t - \mu\,\theta_{t-1} \tag{05.8} $$
#
# This is the law of a *heavy ball*: the last term is inertia. Try $\theta_t = r^t$ and divide by $r^{t-1}$:
#
# $$ r^2 - (1 + \mu - \eta h)\,r + \mu = 0 \tag{05.9} $$
#
# Each root gives a solution, and so does every sum of multiples of the two; in the long run the larger $\vert r\vert$ is the factor of one step. It is a quadratic equation whose two roots have the product $\mu$. If they are not real, they are each other's conjugates and so of equal size, $\vert r\vert = \sqrt\mu$. They are not real when $(1 + \mu - \eta h)^2 < 4\mu$, so $\vert 1 + \mu - \eta h\vert < 2\sqrt\mu$, and since $1 + \mu \pm 2\sqrt\mu = (1 \pm \sqrt\mu)^2$
#
# $$ (1 - \sqrt\mu)^2 < \eta h < (1 + \sqrt\mu)^2 \quad\Rightarrow\quad \vert r\vert = \sqrt\mu \tag{05.10} $$
#
# This is remarkable: *all* directions whose $\eta h$ lies in this range shrink by the same factor, steep or flat. Stretch the range over all curvatures, $\eta h_{\min} = (1-\sqrt\mu)^2$ and $\eta h_{\max} = (1+\sqrt\mu)^2$; divide, and take the root:
# $\sqrt\kappa = \frac{1+\sqrt\mu}{1-\sqrt\mu}$, so
#
# $$ \sqrt{\mu_*} = \frac{\sqrt\kappa - 1}{\sqrt\kappa + 1}, \qquad \eta_* = \frac{(1+\sqrt{\mu_*})^2}{h_{\max}} \tag{05.11} $$
#
# Compare with (05.5): in place of $\kappa$ stands its *root*. For $\kappa = 1000$ the factor is 0.939 in place of 0.998, and a digit costs 36 steps in place of 1150.
#
# *Nesterov's* idea: if the ball will roll on by $-\eta\mu b_{t-1}$ anyway, measure the gradient where it will then be, not where it is:
#
# $$ \phi_t = \theta_t - \eta\mu\, b_{t-1}, \qquad b_t = \mu\, b_{t-1} + \nabla L(\phi_t), \qquad \theta_{t+1} = \theta_t - \eta\, b_t \tag{05.12} $$
#
# A program would like to have only one point, the one where the gradient is measured. So follow $\phi$. Put in $\theta_{t+1}$, then $\theta_t = \phi_t + \eta\mu b_{t-1}$, and then $\mu b_{t-1} - b_t = -\nabla L(\phi_t)$:
#
# $$ \phi_{t+1} = \theta_{t+1} - \eta\mu\, b_t = \theta_t - \eta b_t - \eta\mu b_t = \phi_t + \eta\,(\mu b_{t-1} - b_t) - \eta\mu b_t = \phi_t - \eta\,\big(\nabla L(\phi_t) + \mu b_t\big) \tag{05.13} $$
#
# So with $g_t$ the gradient at the point that is stored: $b_t = \mu b_{t-1} + g_t$ as before, and a step along $g_t + \mu b_t$ in place of $b_t$. That is what libraries compute; the weights that they hold are $\phi$.
#
# ### Exercise 2: momentum and Nesterov


# %% tags=["exercise"]
def momentum(theta, g, state, lr, mu=0.9, nesterov=False):
    """(05.6), or (05.13) with nesterov        state["b"]: the sum of past gradients, absent before the first step"""
    # --- solution
    b = mu * state.get("b", 0.0) + g
    state["b"] = b
    return theta - lr * (g + mu * b if nesterov else b)
    # --- stub
    # b = g  # not yet a sum; and it has to be kept in state["b"]
    # return theta - lr * b
    # --- end


def nesterov(theta, g, state, lr, mu=0.9):
    return momentum(theta, g, state, lr, mu, nesterov=True)


# %% tags=["check"]
@lesson.check(
    "momentum",
    hint='state.get("b", 0.0) is the old sum, or 0 the first time; keep the new one in state["b"]. Nesterov steps along g + mu times the new b.',
)
def _(momentum):
    g, state, theta = np.array([2.0, -1.0]), {}, np.zeros(2)
    for _ in range(3):
        theta = momentum(theta, g, state, lr=0.1, mu=0.5)
    lessons.same(theta, -0.1 * (1 + 1.5 + 1.75) * g, what="three steps with a constant gradient")  # (05.7)
    path = descend(momentum, valley_gradient, start, 20, lr=0.05, mu=0.8)
    for t in range(1, 20):  # (05.8)
        expected = (1.8 - 0.05 * CURVATURES) * path[t] - 0.8 * path[t - 1]
        lessons.same(path[t + 1], expected, what=f"the heavy ball's law at step {t}")
    theta, b, seen = start, 0.0, []
    for _ in range(20):  # (05.12), literally
        phi = theta - 0.05 * 0.8 * b
        seen.append(phi)
        b = 0.8 * b + valley_gradient(phi)
        theta = theta - 0.05 * b
    path = descend(momentum, valley_gradient, start, 19, lr=0.05, mu=0.8, nesterov=True)  # (05.13)
    lessons.same(path, seen, what="Nesterov: the points where the gradient is measured")


# %% [markdown]
# Is it true that the root of $\kappa$ decides? Valleys of growing condition number, each method with the settings that were derived for it; how many steps until the distance to the minimum has shrunk a thousand times?
# (At the ends of the range (05.10) the two roots of (05.9) are the same, and $t\,r^t$ is a solution too. In the steepest direction that costs momentum some steps more: expect an exponent a little above one half.)

# %%
kappas = np.array([10, 30, 100, 300, 1000, 3000])
needed = {"gradient descent": [], "momentum": []}
for kappa in kappas:
    h = np.geomspace(1, kappa, 20)  # 20 directions
    root_mu = (np.sqrt(kappa) - 1) / (np.sqrt(kappa) + 1)  # (05.11)
    roots = [np.roots([1, -(1 + root_mu**2 - (1 + root_mu) ** 2 / kappa * x), root_mu**2]) for x in h[1:-1]]
    assert np.allclose(np.abs(roots), root_mu)  # (05.9), (05.10): inside the range all roots have one size
    for name, rule, options in [
        ("gradient descent", sgd, {"lr": 2 / (1 + kappa)}),  # (05.5)
        ("momentum", momentum, {"lr": (1 + root_mu) ** 2 / kappa, "mu": root_mu**2}),
    ]:
        theta, state, steps = np.ones(20), {}, 0
        while np.linalg.norm(theta) > 1e-3 * np.sqrt(20):
            theta, steps = rule(theta, h * theta, state, **options), steps + 1
        needed[name].append(steps)

for (name, steps), power, color in zip(needed.items(), (1.0, 0.5), ("C0", "C1")):
    plt.loglog(kappas, steps, "o", color=color, label=f"{name}, measured")
    plt.loglog(kappas, steps[-1] * (kappas / kappas[-1]) ** power, color=color, linewidth=1, label=f"like κ^{power:g}")
    slope = np.polyfit(np.log(kappas[2:]), np.log(steps[2:]), 1)[0]
    print(f"{name:17} steps grow like κ^{slope:.2f}")
    assert abs(slope - power) < 0.1  # (05.5), (05.11)
plt.xlabel("condition number κ")
plt.ylabel("steps to a thousandth")
plt.title("Momentum replaces κ by its root")
plt.legend(fontsize=9)
plt.show()

# %% [markdown]
# ## A rate for every weight: Adagrad and RMSprop
#
# Momentum still has a single $\eta$. Why not a rate of its own for each weight: small where gradients are large? *Adagrad* divides by the root of the sum of all squared gradients so far. Everything below is element by element;
# $\varepsilon$ is tiny and only prevents $0/0$:
#
# $$ s_t = s_{t-1} + g_t^2, \qquad \theta_{t+1} = \theta_t - \eta\,\frac{g_t}{\sqrt{s_t} + \varepsilon} \tag{05.14} $$
#
# For a gradient of constant size, $g_t = \pm c$, we get $s_t = t\,c^2$ and
#
# $$ \vert\theta_{t+1} - \theta_t\vert = \eta\,\frac{c}{\sqrt{t\,c^2}} = \frac{\eta}{\sqrt t} \tag{05.15} $$
#
# The size $c$ has cancelled: steep or flat, all coordinates move alike. But the steps shrink for ever, wanted or not. *RMSprop* forgets: in place of the sum it keeps a running *average* of the squares, with a factor $\alpha$ near 1,
#
# $$ v_t = \alpha\, v_{t-1} + (1-\alpha)\, g_t^2, \qquad \theta_{t+1} = \theta_t - \eta\,\frac{g_t}{\sqrt{v_t} + \varepsilon} \tag{05.16} $$
#
# (The name: root, mean, square, propagation.) What kind of average is this? The next derivation is the key to all that follows.
#
# ## What a running average averages
#
# Let $m_t = \beta\, m_{t-1} + (1-\beta)\, x_t$ with $m_0 = 0$, of any sequence $x_t$. Put it into itself: $m_1 = (1-\beta)x_1$, $m_2 = (1-\beta)(x_2 + \beta x_1)$, and so on:
#
# $$ m_t = (1-\beta)\sum_{k=1}^{t}\beta^{\,t-k}\, x_k \tag{05.17} $$
#
# The proof is by induction: if it holds for $t-1$, then $\beta m_{t-1} = (1-\beta)\sum_{k=1}^{t-1}\beta^{t-k}x_k$, and $(1-\beta)x_t$ is the missing term $k = t$. So $x_k$ has the weight $(1-\beta)\beta^{t-k}$: the newest counts most, and about $1/(1-\beta)$ of them count at all.
# In an average the weights add up to 1. Do these?
#
# $$ (1-\beta)\sum_{k=1}^{t}\beta^{\,t-k} = (1-\beta)\,\frac{1-\beta^t}{1-\beta} = 1 - \beta^t \tag{05.18} $$
#
# Not quite. The missing weight $\beta^t$ lies on $m_0 = 0$, and pulls the result towards 0. If all $x_k$ have the same expected value $E[x]$, then expectation, being linear, goes through the sum (05.17), and (05.18) gives
#
# $$ E[m_t] = (1-\beta^t)\,E[x] \quad\Rightarrow\quad E\Big[\frac{m_t}{1-\beta^t}\Big] = E[x] \tag{05.19} $$
#
# Dividing by $1-\beta^t$ makes it a true average at every $t$: this is Adam's *bias correction*. With $\beta = 0.999$ and $t = 1$ it is a factor of 1000.

# %%
rng = np.random.default_rng(0)
beta, T = 0.95, 120
x = 1.0 + 0.5 * rng.normal(size=(2000, T))  # 2000 sequences, all with the expected value 1
m, running = np.zeros(2000), []
for t in range(T):
    m = beta * m + (1 - beta) * x[:, t]
    running.append(m)
running, t = np.array(running).T, np.arange(1, T + 1)  # (2000, T)
weights = (1 - beta) * beta ** (T - t)
assert np.allclose(running[:, -1], x @ weights)  # (05.17)
assert np.isclose(weights.sum(), 1 - beta**T)  # (05.18)
corrected = running / (1 - beta**t)
assert np.abs(running.mean(0) - (1 - beta**t)).max() < 0.05 and np.abs(corrected.mean(0) - 1).max() < 0.05  # (05.19)

plt.plot(t, x[0], ".", color="0.7", markersize=4, label="one sequence, mean 1")
plt.plot(t, running[0], color="C0", label="its running average, β = 0.95")
plt.plot(t, corrected[0], color="C1", label="corrected: divided by 1 - β^t")
plt.plot(t, 1 - beta**t, "--", color="black", linewidth=1, label="(05.19): 1 - β^t")
plt.xlabel("t")
plt.title("A running average starts at 0, and is corrected by a known factor")
plt.legend(fontsize=9, loc="lower right")
plt.show()

# %% [markdown]
# ### Exercise 3: RMSprop
#
# Adagrad is given. Write RMSprop as in (05.16), without bias correction: its inventor did not use one.


# %% tags=["exercise"]
def adagrad(theta, g, state, lr, eps=1e-10):
    """(05.14)"""
    state["s"] = state.get("s", 0.0) + g**2
    return theta - lr * g / (np.sqrt(state["s"]) + eps)


def rmsprop(theta, g, state, lr, alpha=0.99, eps=1e-8):
    """(05.16)      state["v"]: the running average of g^2, absent before the first step"""
    # --- solution
    state["v"] = alpha * state.get("v", 0.0) + (1 - alpha) * g**2
    return theta - lr * g / (np.sqrt(state["v"]) + eps)
    # --- stub
    # state["v"] = g**2  # an average of this one and the earlier ones
    # return theta - lr * g / (np.sqrt(state["v"]) + eps)
    # --- end


# %% tags=["check"]
@lesson.check(
    "adagrad", "rmsprop", hint="The old average is state.get('v', 0.0); it keeps alpha of itself, and 1 - alpha is new."
)
def _(adagrad, rmsprop):
    for size in (0.01, 100.0):  # the size of the gradient cancels
        g = size * np.array([1.0, -1.0])
        a = descend(adagrad, lambda theta, g=g: g, np.zeros(2), 9, lr=0.1)
        lessons.same(a[9] - a[8], [-0.1 / 3, 0.1 / 3], tol=1e-5, what="Adagrad's ninth step")  # (05.15)
        r = descend(rmsprop, lambda theta, g=g: g, np.zeros(2), 2, lr=0.1, alpha=0.75)
        lessons.same(
            r[1], [-0.2, 0.2], tol=1e-5, what="RMSprop's first step, alpha = 0.75"
        )  # (05.16): 0.1 / sqrt(0.25)
        lessons.same((r[2] - r[1])[0], -0.1 / np.sqrt(1 - 0.75**2), tol=1e-5, what="RMSprop's second step")


# %% [markdown]
# ## Adam
#
# Adam puts it all together: a running average $m$ of the gradients (momentum), one of their squares $v$ (a rate for every weight), both corrected:
#
# $$ \begin{aligned} m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, g_t, &\qquad \hat m_t &= m_t/(1-\beta_1^t) \\ v_t &= \beta_2 v_{t-1} + (1-\beta_2)\, g_t^2, &\qquad \hat v_t &= v_t/(1-\beta_2^t) \\ \theta_{t+1} &= \theta_t - \eta\,\frac{\hat m_t}{\sqrt{\hat v_t} + \varepsilon} \end{aligned} \tag{05.20} $$
#
# Usually $\beta_1 = 0.9$, $\beta_2 = 0.999$, $\varepsilon = 10^{-8}$. At $t = 1$ both averages have just one member: $\hat m_1 = g_1$, $\hat v_1 = g_1^2$. So (with $\varepsilon = 0$) *the first step has the length $\eta$ in every coordinate, whatever the gradient*:
#
# $$ \theta_2 = \theta_1 - \eta\,\frac{g_1}{\vert g_1\vert} = \theta_1 - \eta\,\mathrm{sign}(g_1) \tag{05.21} $$
#
# More generally, multiply the loss by a constant $c > 0$: $m$ grows by $c$, $\sqrt v$ too, and the step stays what it was. That is why $\eta = 0.001$ works for so many networks: it is a length, not a factor.
#
# ### Exercise 4: Adam


# %% tags=["exercise"]
def adam(theta, g, state, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """(05.20)      state: "t", the number of steps; "m", "v"; all absent before the first step"""
    t = state["t"] = state.get("t", 0) + 1
    # --- solution
    m = state["m"] = beta1 * state.get("m", 0.0) + (1 - beta1) * g
    v = state["v"] = beta2 * state.get("v", 0.0) + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    # --- stub
    # m_hat, v_hat = g, g**2  # averages, please; kept in state["m"] and state["v"], and then corrected with t
    # --- end
    return theta - lr * m_hat / (np.sqrt(v_hat) + eps)


# %% tags=["check"]
@lesson.check(
    "adam",
    hint="m and v are kept without the correction, in state; only the step uses m / (1 - beta1**t), v / (1 - beta2**t).",
)
def _(adam):
    lessons.same(
        adam(np.zeros(3), np.array([1e-3, -5.0, 700.0]), {}, lr=0.1), [-0.1, 0.1, -0.1], tol=1e-4, what="first step"
    )  # (05.21)
    gradients, state, theta = np.array([3.0, 1.0, -2.0]), {}, 0.0
    for g in gradients:
        theta = adam(theta, g, state, lr=1.0, beta1=0.5, beta2=0.8)
    w1, w2 = np.array([0.25, 0.5, 1.0]) / 1.75, np.array([0.64, 0.8, 1.0]) / 2.44  # (05.17) over (05.18)
    before = -1 - ((0.5 * 3 + 1) / 1.5) / np.sqrt((0.8 * 9 + 1) / 1.8)
    lessons.same(
        theta, before - w1 @ gradients / np.sqrt(w2 @ gradients**2), what="three steps, beta1 = 0.5, beta2 = 0.8"
    )


# %% [markdown]
# What would Adam be without the correction? For a constant gradient, by (05.18), $m_t = (1-\beta_1^t)g$ and $v_t = (1-\beta_2^t)g^2$, so every step would be too long by
#
# $$ \frac{m_t/\sqrt{v_t}}{\hat m_t/\sqrt{\hat v_t}} = \frac{1-\beta_1^t}{\sqrt{1-\beta_2^t}} \tag{05.22} $$
#
# $\sqrt v$ starts even further below its true value than $m$, so the first steps are *longer*, just when the weights are at their most random. The same for RMSprop, which corrects nothing: $1/\sqrt{1-\alpha^t}$.

# %%
t = np.arange(1, 3001)
factor = (1 - 0.9**t) / np.sqrt(1 - 0.999**t)  # (05.22)
m = v = 0.0
for k in range(50):
    m, v = 0.9 * m + 0.1 * 7.0, 0.999 * v + 0.001 * 49.0
    assert np.isclose(m / np.sqrt(v), factor[k])
plt.semilogx(t, factor, label="Adam without correction: (05.22)")
plt.semilogx(t, 1 / np.sqrt(1 - 0.99**t), label="RMSprop, α = 0.99")
plt.axhline(1, color="black", linewidth=0.8, linestyle="--")
plt.xlabel("step t")
plt.ylabel("length of a step, in units of η")
plt.title(f"Uncorrected, Adam's steps are up to {factor.max():.1f} times too long (t = {t[factor.argmax()]})")
plt.legend()
plt.show()

# %% [markdown]
# ## They are minitorch's
#
# Each of your functions against `minitorch.optim`, on the same random gradients, whose sizes differ by a factor of 10,000. The weights are compared after every one of 30 steps.


# %%
def compare(rule, make, **options):
    """|theta by hand - theta by minitorch| after each of 30 steps, (30, 12)."""
    rng = np.random.default_rng(1)
    theta, state = rng.normal(size=(3, 4)), {}
    p = minitorch.nn.Parameter(minitorch.tensor(theta))
    optimizer, differences = make([p]), []
    for _ in range(30):
        g = rng.normal(size=(3, 4)) * 10.0 ** rng.uniform(-2, 2, (3, 4))
        theta = rule(theta, g, state, **options)
        p.grad = minitorch.tensor(g)
        optimizer.step()
        differences.append(np.abs(theta - p.detach().numpy()).ravel())
    return np.array(differences)


optim = minitorch.optim
pairs = {
    "SGD": compare(sgd, lambda p: optim.SGD(p, lr=0.1), lr=0.1),  # (05.1)
    "SGD, momentum": compare(momentum, lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lr=0.1),  # (05.6)
    "SGD, Nesterov": compare(nesterov, lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), lr=0.1),  # (05.13)
    "Adagrad": compare(adagrad, lambda p: optim.Adagrad(p, lr=0.1), lr=0.1),  # (05.14)
    "RMSprop": compare(rmsprop, lambda p: optim.RMSprop(p, lr=0.1), lr=0.1),  # (05.16)
    "Adam": compare(adam, lambda p: optim.Adam(p, lr=0.1), lr=0.1),  # (05.20)
}
for name, differences in pairs.items():
    print(f"{name:14} largest difference in 30 steps {differences.max():.1e}")
    assert differences.max() < 1e-10

# %% [markdown]
# These are the family's main line. `minitorch.optim` has the relatives, each with its formula in its docstring, all made of the parts that you have now: Adamax (the largest recent $\vert g\vert$ in place of $\sqrt{\hat v}$), NAdam (Adam with Nesterov's
# look ahead), RAdam (Adam that waits until $\hat v$ is trustworthy), Adadelta (RMSprop that finds its own $\eta$), LAMB (AdamW with a step for each layer in proportion to its weights), Rprop (only the signs of the gradients), ASGD
# (an average of the weights), LBFGS (estimates the Hessian).
#
# ## All of them in a bent valley
#
# A harder valley, curved like a banana: $L = (1-\theta_1)^2 + 10\,(\theta_2 - \theta_1^2)^2$, with its minimum at $(1, 1)$. By the chain rule $\partial L/\partial\theta_1 = -2(1-\theta_1) - 40\,\theta_1(\theta_2-\theta_1^2)$ and
# $\partial L/\partial\theta_2 = 20\,(\theta_2-\theta_1^2)$. First the check of lesson 00 that these formulas are right:


# %%
def banana(theta):
    """theta: (..., 2)"""
    return (1 - theta[..., 0]) ** 2 + 10 * (theta[..., 1] - theta[..., 0] ** 2) ** 2


def banana_gradient(theta):
    bend = theta[1] - theta[0] ** 2
    return np.array([-2 * (1 - theta[0]) - 40 * theta[0] * bend, 20 * bend])


points = np.random.default_rng(0).uniform(-1.5, 1.5, (20, 2))
pairs = {"dθ": ([banana_gradient(p) for p in points], [lessons.numeric_gradient(banana, p) for p in points])}
assert (
    lessons.show_errors(pairs, title="The gradient of the bent valley at 20 points: formula against differences") < 1e-7
)

# %%
banana_start = np.array([-1.4, 1.0])
contenders = {
    "SGD, η = 0.015": (sgd, {"lr": 0.015}),
    "momentum, η = 0.005": (momentum, {"lr": 0.005}),
    "Nesterov, η = 0.005": (nesterov, {"lr": 0.005}),
    "Adagrad, η = 1": (adagrad, {"lr": 1.0}),
    "RMSprop, η = 0.1": (rmsprop, {"lr": 0.1, "alpha": 0.9}),
    "Adam, η = 0.3": (adam, {"lr": 0.3}),
}
figure, panels = plt.subplots(2, 3, figsize=(11, 6), sharex=True, sharey=True)
final = {}
for axes, (name, (rule, options)) in zip(panels.ravel(), contenders.items()):
    path = descend(rule, banana_gradient, banana_start, 120, **options)
    final[name.split(",")[0]] = banana(path[-1])
    draw_contours(axes, banana, (-2.1, 2.1), (-1.1, 3), [0.1, 0.5, 2, 6, 15, 30, 60])
    axes.plot(*path.T, ".-", color="C0", linewidth=1, markersize=3)
    axes.plot(*path[-1], "o", color="C1")
    axes.plot(1, 1, "*", color="C3", markersize=12)
    axes.set_title(f"{name}: loss {banana(path[-1]):.1e}", fontsize=11)
    axes.set_xlabel("")
for axes in panels[1]:
    axes.set_xlabel(r"$\theta_1$")
for axes in panels[:, 0]:
    axes.set_ylabel(r"$\theta_2$")
figure.suptitle("120 steps from the same point (orange: where they ended; red: the minimum)")
plt.show()
assert final["momentum"] < final["SGD"] and final["Nesterov"] < final["SGD"] and final["Adam"] < final["SGD"]
assert final["RMSprop"] > 0.01 > final["Adam"]

# %% [markdown]
# SGD reaches the floor of the valley at once, and then creeps along it. Momentum swings from wall to wall and gets further; Nesterov swings less, since it sees the wall before it is there. The adaptive ones care
# little about how steep the walls are. RMSprop keeps taking steps of about $\eta$ and cannot settle: it jitters.
#
# ## Real data: the same problem in other units
#
# The breast cancer set: 569 tumours, 30 measurements, benign or malignant. Some measurements are areas of several hundred, others are roughnesses of 0.001. Logistic regression has the loss of lesson 03, and its gradient is
# $dw = \frac1N X^\top(\hat y - y)$. We run it on the raw numbers, and on numbers divided by their spread. Mathematically it is the same problem: a weight in other units. For an optimizer the curvature is
# another. Differentiate once more: the slope of $\hat y$ is $\hat y(1 - \hat y)$ by (03.5), which is $\frac14$ at $w = 0$. So there the Hessian is $\frac{1}{4N}X^\top X$, and its condition number can be computed.

# %%
from sklearn.datasets import load_breast_cancer

raw, y = load_breast_cancer(return_X_y=True)
ones = np.ones((len(raw), 1))
inputs = {"raw": np.hstack([raw, ones]), "scaled": np.hstack([(raw - raw.mean(0)) / raw.std(0), ones])}


def logistic_loss(w, X):
    z = X @ w
    return np.mean(np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z))))  # lesson 03's stable form


def logistic_gradient(w, X):
    return X.T @ (0.5 * (1 + np.tanh(X @ w / 2)) - y) / len(X)  # the sigmoid, written with tanh


w = np.random.default_rng(0).normal(size=31)
X = inputs["scaled"]
lessons.same(logistic_gradient(w, X), lessons.numeric_gradient(lambda w: logistic_loss(w, X), w), tol=1e-8)

results = {}
for units, X in inputs.items():
    h = np.linalg.svd(X, compute_uv=False) ** 2 / (4 * len(X))  # the curvatures once the axes are turned
    print(f"{units}: curvatures from {h.min():.1e} to {h.max():.1e}, condition number {h.max() / h.min():.0e}")
    for name, rule in [("SGD", sgd), ("momentum", momentum), ("RMSprop", rmsprop), ("Adam", adam)]:
        found = []
        for lr in 10.0 ** np.arange(-7, 2):  # every method gets its best rate
            w = descend(rule, lambda w, X=X: logistic_gradient(w, X), np.zeros(31), 200, lr=lr)[-1]
            found.append((logistic_loss(w, X), lr))
        results[units, name] = min(found)
        print(f"    {name:9} loss {min(found)[0]:.3f} after 200 steps, with its best rate {min(found)[1]:.0e}")

names = ["SGD", "momentum", "RMSprop", "Adam"]
for shift, units in ((-0.2, "raw"), (0.2, "scaled")):
    plt.bar(np.arange(4) + shift, [results[units, n][0] for n in names], width=0.38, label=f"{units} units")
plt.axhline(np.log(2), color="black", linewidth=0.8, linestyle="--")
plt.text(3.5, np.log(2) + 0.01, "guessing: log 2", ha="right", fontsize=9)
plt.xticks(range(4), names)
plt.ylim(0, 0.78)
plt.ylabel("loss after 200 steps")
plt.title("Every method suffers from raw units, Adam least")
plt.legend(loc="upper left", bbox_to_anchor=(0.0, 0.92), fontsize=9)
plt.show()
assert results["raw", "Adam"][0] < 0.7 * results["raw", "SGD"][0]
assert results["scaled", "SGD"][0] < 0.7 * results["raw", "SGD"][0]

# %% [markdown]
# (Some of the best rates lie above the limit $2/h_{\max}$ of (05.4). Those $h$ belong to $w = 0$; as the predictions become sure, $\hat y(1 - \hat y)$ falls, and all curvatures with it.)
#
# Two conclusions. Scale your inputs: it costs one line and helps every method. And inside a network nobody scales the inputs of the middle layers for you; there Adam earns its keep. (Lesson 09 is about layers that do scale them.)
#
# ## Weight decay
#
# Large weights make a function that jumps between its examples. The remedy pulls every weight a little towards 0. There are two ways to write it, and both go by the same name. The first adds a penalty to the loss, called *L2*, with a strength $\lambda$ (lambda):
#
# $$ \tilde L(\theta) = L(\theta) + \frac{\lambda}{2}\vert\theta\vert^2, \qquad \nabla\tilde L = g + \lambda\,\theta \tag{05.23} $$
#
# The second shrinks the weights directly, beside the step: *decoupled decay*. In this form one of the articles that this course checks prints it (F3 in the table at the end),
#
# $$ \theta_{t+1} = \theta_t - \eta\,\nabla L(\theta_t) - \eta\lambda\,\theta_t \tag{05.24} $$
#
# Put $\nabla\tilde L$ into (05.1), and you get (05.24): for plain SGD they are the same. Now put it into Adam. With L2, the decay goes through both averages,
#
# $$ m_t = \beta_1 m_{t-1} + (1-\beta_1)(g_t + \lambda\theta_t), \qquad v_t = \beta_2 v_{t-1} + (1-\beta_2)(g_t + \lambda\theta_t)^2 \tag{05.25} $$
#
# and *AdamW* leaves them alone:
#
# $$ \theta_{t+1} = (1 - \eta\lambda)\,\theta_t - \eta\,\frac{\hat m_t}{\sqrt{\hat v_t} + \varepsilon}, \qquad \hat m, \hat v \text{ from } g \text{ alone} \tag{05.26} $$
#
# Where do they part? Let the gradient of a weight be noise: $E[g] = 0$, $E[g^2] = \sigma^2$, and $\lambda\theta$ small beside $\sigma$. Once the averages are full, $\sqrt{\hat v} \approx \sigma$ and $E[\hat m] \approx \lambda\theta$, so in the mean
#
# $$ \text{Adam with L2: } \theta_{t+1} \approx \Big(1 - \frac{\eta\lambda}{\sigma}\Big)\,\theta_t, \qquad \text{AdamW: } \theta_{t+1} = (1 - \eta\lambda)\,\theta_t \tag{05.27} $$
#
# With L2 the decay depends on the size of the gradients: weights with *large* gradients, which may be those that over-fit, are hardly decayed at all. At the other end, with $g = 0$, the step is
# $\eta\lambda\theta/\vert\lambda\theta\vert = \eta\,\mathrm{sign}(\theta)$: the strength $\lambda$ has no effect whatever.


# %%
def adam_l2(theta, g, state, lr, decay):
    return adam(theta, g + decay * theta, state, lr)  # (05.23), (05.25)


def adamw(theta, g, state, lr, decay):
    return adam(theta * (1 - lr * decay), g, state, lr)  # (05.26): what adam subtracts does not depend on theta


def sgd_l2(theta, g, state, lr, decay):
    return sgd(theta, g + decay * theta, state, lr)  # (05.23)


def sgdw(theta, g, state, lr, decay):
    return sgd(theta, g, state, lr) - lr * decay * theta  # (05.24)


both = [compare(rule, lambda p: optim.SGD(p, lr=0.1, weight_decay=0.2), lr=0.1, decay=0.2) for rule in (sgd_l2, sgdw)]
assert max(d.max() for d in both) < 1e-10  # (05.24): for SGD both are minitorch's weight_decay
assert compare(adam_l2, lambda p: optim.Adam(p, lr=0.1, weight_decay=0.2), lr=0.1, decay=0.2).max() < 1e-10  # (05.25)
assert compare(adamw, lambda p: optim.AdamW(p, lr=0.1, weight_decay=0.2), lr=0.1, decay=0.2).max() < 1e-10  # (05.26)

figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True)
lr, decay, steps = 0.002, 0.5, 2000
for axes, rule, title in zip(panels, (adam_l2, adamw), ("Adam with L2", "AdamW: three lines in one")):
    for sigma, color in ((2.0, "C0"), (5.0, "C1"), (20.0, "C2")):
        rng, theta, state, mean = np.random.default_rng(2), np.ones(1000), {}, []
        for _ in range(steps):  # 1000 weights with noise for gradients
            theta = rule(theta, sigma * rng.normal(size=1000), state, lr=lr, decay=decay)
            mean.append(theta.mean())
        rate = lr * decay / sigma if rule is adam_l2 else lr * decay  # (05.27)
        predicted = (1 - rate) ** np.arange(1, steps + 1)
        axes.plot(mean, color=color, label=f"gradients of size {sigma:g}")
        axes.plot(predicted, "--", color="black", linewidth=1, label="(05.27)" if sigma == 20 else None)
        assert np.abs(mean - predicted).max() < 0.06, np.abs(mean - predicted).max()
    axes.set(xlabel="step", title=title, ylim=(0, 1.1))
panels[0].set_ylabel("mean of 1000 weights, from 1")
panels[0].legend(loc="lower left", fontsize=9)
figure.suptitle("L2 under Adam decays by gradient size; decoupled decay treats all weights alike")
plt.show()

for strength in (0.1, 0.001):  # no gradient at all: with L2 the strength has no effect
    still = descend(adam_l2, lambda theta: np.zeros(1), [1.0], 100, lr=0.001, decay=strength)[-1][0]
    wise = descend(adamw, lambda theta: np.zeros(1), [1.0], 100, lr=0.001, decay=strength)[-1][0]
    print(f"g = 0, λ = {strength}: after 100 steps {still:.4f} with L2, {wise:.6f} with AdamW")

# %% [markdown]
# ## A rate that changes
#
# Gradients from a few examples are noisy: $g = h\theta + \xi$ with $E[\xi] = 0$, $E[\xi^2] = \sigma^2$, new at each step. One coordinate of SGD is $\theta_{t+1} = (1-\eta h)\theta_t - \eta\xi_t$. Square it and take the mean; $\xi_t$ is independent of $\theta_t$,
# so the mixed term vanishes: $E[\theta_{t+1}^2] = (1-\eta h)^2 E[\theta_t^2] + \eta^2\sigma^2$. After long enough both sides are the same number $V$, and $1-(1-\eta h)^2 = \eta h(2-\eta h)$, so
#
# $$ V = \frac{\eta^2\sigma^2}{\eta h\,(2-\eta h)} = \frac{\eta\,\sigma^2}{h\,(2-\eta h)} \approx \frac{\eta\,\sigma^2}{2h} \tag{05.28} $$
#
# Constant SGD never arrives: it trembles round the minimum, with a variance proportional to $\eta$. Only a falling $\eta$ gets it down: a large one while there is a way to go, a small one at the end.
#
# And at the beginning? The weights are random, gradients and curvatures there are often the largest of the whole run, and Adam's averages consist of a handful of gradients, while (05.21) makes it take full steps. So one starts from 0 and *warms up*. BERT's schedule
# rises linearly for $T_w$ steps, then falls linearly to 0 at step $T$:
#
# $$ \eta_t = \eta \cdot \begin{cases} t/T_w & t < T_w \\ (T-t)/(T-T_w) & t \ge T_w \end{cases} \tag{05.29} $$
#
# (Steps count from 0, so step 0 moves nothing: it only fills the averages.) A common alternative for the fall is half a cosine, which stays high for longer and lands gently:
#
# $$ \eta_t = \frac{\eta}{2}\Big(1 + \cos\frac{\pi\,(t-T_w)}{T-T_w}\Big), \qquad t \ge T_w \tag{05.30} $$
#
# ### Exercise 5: the schedule


# %% tags=["exercise"]
def schedule(t, warmup, total):
    """(05.29) without eta: the factor of step t = 0, 1, ..., total; 0 after it."""
    # --- solution
    if t < warmup:
        return t / warmup
    return max(0.0, (total - t) / (total - warmup))
    # --- stub
    # return 1.0
    # --- end


# %% tags=["check"]
@lesson.check(
    "schedule", hint="Two straight lines that meet at the height 1 when t = warmup. For t > total, max(0.0, ...)."
)
def _(schedule):
    found = [schedule(t, 4, 12) for t in range(14)]
    lessons.same(
        found, [0, 0.25, 0.5, 0.75, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0, 0], what="warmup 4, total 12"
    )
    lessons.same([schedule(t, 0, 4) for t in range(5)], [1, 0.75, 0.5, 0.25, 0], what="no warmup")


# %%
def rates_of(make, steps, lr=2.0):
    """What a schedule of minitorch's sets, step by step."""
    optimizer = optim.SGD([minitorch.nn.Parameter(minitorch.zeros(1))], lr=lr)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


found = rates_of(lambda o: optim.lr_scheduler.LambdaLR(o, lambda t: schedule(t, 10, 100)), 100)
ready = rates_of(lambda o: optim.lr_scheduler.linear_warmup_decay(o, warmup_steps=10, total_steps=100), 100)
lessons.same(found, ready, tol=1e-12, what="(05.29), minitorch's own")
cosine = rates_of(lambda o: optim.lr_scheduler.CosineAnnealingLR(o, T_max=100), 100)
lessons.same(cosine, 1 + np.cos(np.pi * np.arange(100) / 100), tol=1e-9, what="(05.30) with T_w = 0 and eta = 2")

rng = np.random.default_rng(0)
for lr in (0.5, 0.05):  # (05.28): 4000 weights with h = 1, sigma = 1
    theta = np.zeros(4000)
    for _ in range(200):
        theta = sgd(theta, theta + rng.normal(size=4000), {}, lr)
    print(f"η = {lr}: variance {theta.var():.4f}, by (05.28) {lr / (2 - lr):.4f}")
    assert np.isclose(theta.var(), lr / (2 - lr), rtol=0.12)

# %% [markdown]
# On real data: softmax regression on the digits, 8 x 8 pictures (lesson 04), with batches of 8. SGD with momentum, once at a constant rate, once at a rate 20 times smaller, and once from the first rate down along (05.29).

# %%
from sklearn.datasets import load_digits

pixels, digits = load_digits(return_X_y=True)
pixels = np.hstack([pixels / 16, np.ones((len(pixels), 1))])  # (1797, 65): the column of ones carries the bias
one_hot = np.eye(10)[digits]
EVERYTHING = np.arange(len(digits))


def softmax_loss(W, rows):
    """Mean cross-entropy and its gradient, lesson 04.         W: (65, 10)"""
    z = pixels[rows] @ W
    z = z - z.max(1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    loss = -(one_hot[rows] * log_p).sum(1).mean()
    return loss, pixels[rows].T @ (np.exp(log_p) - one_hot[rows]) / len(rows)


def train(rate, steps=1800, batch=8, seed=0):
    """rate: a function of the step. The loss on all digits, every 20 steps."""
    rng, W, state, curve = np.random.default_rng(seed), np.zeros((65, 10)), {}, []
    for t in range(steps):
        rows = rng.integers(0, len(pixels), batch)
        W = momentum(W, softmax_loss(W, rows)[1], state, lr=rate(t))
        if t % 20 == 19:
            curve.append(softmax_loss(W, EVERYTHING)[0])
    return curve


runs = {
    "constant 0.5": train(lambda t: 0.5),
    "constant 0.025": train(lambda t: 0.025),
    "0.5, warmup and decay": train(lambda t: 0.5 * schedule(t, 100, 1800)),
}
for name, curve in runs.items():
    plt.semilogy(np.arange(20, 1801, 20), curve, linewidth=1.5, label=f"{name}: {curve[-1]:.3f} at the end")
plt.xlabel("step")
plt.ylabel("cross-entropy on all 1797 digits")
plt.title("A large rate trembles, a small one crawls, a falling one does neither")
plt.legend(fontsize=9)
plt.show()
ends = {name: np.mean(curve[-5:]) for name, curve in runs.items()}
assert ends["0.5, warmup and decay"] < 0.9 * min(ends["constant 0.5"], ends["constant 0.025"]), ends

# %% [markdown]
# ## What goes wrong
#
# ### Exercise 6: find the bug
#
# To save memory, somebody writes momentum in place: one buffer, changed by `*=` and `+=`. The training program also saves memory: it writes each new gradient into the *same array* as the last. Alone, each is fine. Together, training is as slow as without
# momentum, and no error is raised. Here is what you would measure, a constant gradient whose steps should grow to ten times the first (05.7): they stop growing at 1.8. Find the line.


# %% tags=["exercise"]
def momentum_in_place(theta, g, state, lr, mu=0.9):
    """As (05.6); the buffer is allocated once. `g` is the caller's array and will be overwritten after the call."""
    if "b" not in state:
        # --- solution
        state["b"] = g.copy()
        # --- stub
        # state["b"] = g
        # --- end
    else:
        state["b"] *= mu
        state["b"] += g
    return theta - lr * state["b"]


# %% tags=["check"]
@lesson.check(
    "momentum_in_place",
    hint='After the first call, is state["b"] an array of its own? What happens to it when the caller writes into g?',
)
def _(momentum_in_place):
    g, state, theta, lengths = np.zeros(1), {}, np.zeros(1), []
    for _ in range(50):
        g[:] = 1.0  # the new gradient, in the old array
        new = momentum_in_place(theta, g, state, lr=1.0)
        lengths.append(abs(float((new - theta)[0])))
        theta = new
    lessons.same(lengths[1], 1.9, what="the second step with a constant gradient 1")
    lessons.same(lengths[-1], (1 - 0.9**50) / 0.1, what="the fiftieth step")  # (05.7)


# %% [markdown]
# `state["b"] = g` copies nothing: buffer and gradient are one array. Each new gradient erases the memory, `*= mu` shrinks the gradient itself, and `+= g` doubles it: $b = 2\mu g$, a plain step with 1.8 times the rate. minitorch's SGD copies the
# first gradient for this reason; look for `xp.array(g)` in `minitorch/optim/sgd.py`: `np.array` copies. An optimizer is checked as you did above: beside another one, on the same gradients, for more than one step. The first step is right here, as in most optimizers with a bug.
#
# More bugs of this lesson's kind are in `lessons/zoo`: 10 (decay that does not decay), 17 (small batches take other steps), 25 (Adam's first steps).
#
# ## Summary

# %% [markdown] tags=["summary"]
# | equation | what | op | test |
# |---|---|---|---|
# | (05.1) | gradient descent (F9) | `minitorch/optim/sgd.py::SGD` | here, tests/test_optim.py::test_25_steps_in_double_precision_equal_pytorch |
# | (05.2) | what one step does to the loss | - | here |
# | (05.3), (05.4), (05.5) | a quadratic valley: its path, the largest and the best rate | `minitorch/optim/sgd.py::SGD` | here |
# | (05.6), (05.7) | momentum, as a sum of past gradients | `minitorch/optim/sgd.py::SGD` | here, tests/test_optim.py::test_first_steps_by_hand |
# | (05.8), (05.9), (05.10), (05.11) | the heavy ball: its law, its roots, the root of κ | `minitorch/optim/sgd.py::SGD` | here |
# | (05.12), (05.13) | Nesterov, looking ahead, and in one variable | `minitorch/optim/sgd.py::SGD` | here, tests/test_optim.py::test_25_steps_in_double_precision_equal_pytorch |
# | (05.14), (05.15) | Adagrad, its steps shrink like 1/√t | `minitorch/optim/adagrad.py::Adagrad` | here, tests/test_optim.py::test_first_steps_by_hand |
# | (05.16) | RMSprop | `minitorch/optim/rmsprop.py::RMSprop` | here, tests/test_optim.py::test_first_steps_by_hand |
# | (05.17), (05.18), (05.19) | running averages: weights, their sum, bias correction | `minitorch/optim/optimizer.py::moments` | here |
# | (05.20), (05.21), (05.22) | Adam, its first step, its steps without correction | `minitorch/optim/adam.py::Adam` | here, tests/test_optim.py::test_first_steps_by_hand |
# | (05.23) | L2: the penalty and its gradient | `minitorch/optim/optimizer.py::decayed` | here |
# | (05.24) | decoupled weight decay (F3), for SGD the same as L2 | `minitorch/optim/optimizer.py::decayed` | here |
# | (05.25), (05.26), (05.27) | Adam with L2, AdamW, and where they part | `minitorch/optim/adam.py::AdamW` | here, tests/test_optim.py::test_25_steps_in_double_precision_equal_pytorch |
# | (05.28) | the noise floor of a constant rate | - | here |
# | (05.29) | warmup and linear decay | `minitorch/optim/lr_scheduler.py::LambdaLR` | here, tests/test_optim_schedulers.py::test_linear_warmup_decay |
# | (05.30) | cosine decay | `minitorch/optim/lr_scheduler.py::CosineAnnealingLR` | here, tests/test_optim_schedulers.py::test_cosine_closed_form |
#
# You can now walk down any valley. Next, 06 A deep network by hand: what stands at the start of the walk, and why a bad start leaves nothing to walk on.
