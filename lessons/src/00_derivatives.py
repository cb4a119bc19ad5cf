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
# # 00 A derivative that you can check
#
# Training a network means following derivatives downhill, millions of them, and each one comes from a formula that somebody derived and typed. **How do
# you know that a formula for a derivative is right?** You compute the derivative a second time without the formula, and compare. This lesson builds that
# second way, finds out how exact it can be, and so what "equal" should mean when you compare. Every later lesson leans on it.
#
# You need Python, a little NumPy, and school calculus: what a derivative is, and the derivatives of $x^n$, $\sin x$ and $e^x$. Time: 45 minutes.
#
# Some cells are exercises: you complete them, and the cell below checks your answer on the spot. Until you do, that cell shows a hint and puts a
# finished version in place, so the rest of the notebook always runs.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minitorch
from minitorch import lessons

lesson = lessons.start(0)

# %% [markdown]
# ## A slope, seen
#
# The derivative of $f$ at $x$ is the slope of its graph there. Two points on the graph give a line, and a line has a slope that anybody can compute:
# rise over run. Move the second point towards the first, and the line turns into the tangent.

# %%
x = 1.0
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
t = np.linspace(-0.3, 3.3, 200)
left.plot(t, np.sin(t), color="black", label="sin x")
for h, color in [(1.8, "C3"), (1.0, "C1"), (0.4, "C0")]:
    slope = (np.sin(x + h) - np.sin(x)) / h
    left.plot(t, np.sin(x) + slope * (t - x), color=color, linewidth=1.3, label=f"h = {h}: slope {slope:+.3f}")
    left.plot([x + h], [np.sin(x + h)], "o", color=color)
left.plot([x], [np.sin(x)], "o", color="black")
left.set(ylim=(-1.2, 1.5), xlabel="x", title="Lines through two points of sin x")
left.legend(fontsize=9, loc="lower right", ncols=2)
steps = np.linspace(0.01, 2, 100)
right.plot(steps, (np.sin(x + steps) - np.sin(x)) / steps, color="C0")
right.axhline(np.cos(x), color="black", linestyle="--", linewidth=1)
right.text(1.2, np.cos(x) + 0.02, f"cos 1 = {np.cos(x):.4f}")
right.set(
    ylim=(-0.4, 0.68), xlabel="h", ylabel="slope of the line", title="As h shrinks, the slope reaches the derivative"
)
plt.show()

# %% [markdown]
# ## The definition is a recipe
#
# $$ f'(x) = \lim_{h \to 0} \frac{f(x+h) - f(x)}{h} \tag{00.1} $$
#
# For $f(x) = x^2$ you can take the limit by hand: $\frac{(x+h)^2 - x^2}{h} = \frac{2xh + h^2}{h} = 2x + h$, and as $h$ goes to 0 this goes to $2x$.
# Notice what is left when $h$ is *not* yet 0: the answer is off by exactly $h$. A computer cannot take the limit, but it can stop at a small $h$.
#
# ### Exercise 1: forward difference
#
# Write the fraction of (00.1) for a given $h$. One detail for later: adding a small `h` to `x` rounds, so the step that is really taken is
# `(x + h) - x`. Divide by that.


# %% tags=["exercise"]
def forward(f, x, h):
    """The slope of f between x and x + h."""
    # --- solution
    return (f(x + h) - f(x)) / ((x + h) - x)
    # --- end


# %% tags=["check"]
@lesson.check("forward", hint="Rise over run: the rise is f(x + h) - f(x), the run is (x + h) - x. Mind the brackets.")
def _(forward):
    # (00.1): the error for x^2 is exactly h
    lessons.same(forward(lambda x: x * x, 3.0, 0.5), 6.5, what="x^2 at 3 with h = 0.5")
    lessons.same(forward(np.sin, 1.0, 1e-6), np.cos(1.0), tol=1e-5, what="sin at 1 with h = 1e-6")
    lessons.same(forward(lambda x: x, 1.0, 1e-12), 1.0, what="f(x) = x at 1 with h = 1e-12, over the run (x + h) - x")


# %% [markdown]
# ## How wrong is a finite step?
#
# Taylor's theorem says what a smooth function does near $x$: it follows its tangent, and what it adds is governed by the second derivative.
# There is a point $\xi$ between $x$ and $x+h$ with
#
# $$ f(x+h) = f(x) + h f'(x) + \frac{h^2}{2} f''(\xi) \tag{00.2} $$
#
# Subtract $f(x)$, divide by $h$:
#
# $$ \frac{f(x+h) - f(x)}{h} = f'(x) + \frac{h}{2} f''(\xi) \tag{00.3} $$
#
# The error shrinks like $h$: a step 10 times smaller gives an error 10 times smaller. That is one more correct digit for each factor of 10; slow. Can we do better with the same
# two evaluations? Step once to the right and once to the left, and take one term more of Taylor's series:
#
# $$ f(x \pm h) = f(x) \pm h f'(x) + \frac{h^2}{2} f''(x) \pm \frac{h^3}{6} f'''(\xi_\pm) \tag{00.4} $$
#
# In the difference $f(x+h) - f(x-h)$ the terms with even powers of $h$ cancel, $f''$ with them:
#
# $$ \frac{f(x+h) - f(x-h)}{2h} = f'(x) + \frac{h^2}{6} f'''(\xi) \tag{00.5} $$
#
# ($\xi$ is again some point in between: the average of two values of $f'''$ is itself a value of $f'''$ somewhere between them.) Now a step 10 times smaller gives an error *100* times smaller.
#
# ### Exercise 2: central difference
#
# Write the left side of (00.5).


# %% tags=["exercise"]
def central(f, x, h):
    """The slope of f between x - h and x + h."""
    # --- solution
    return (f(x + h) - f(x - h)) / ((x + h) - (x - h))
    # --- end


# %% tags=["check"]
@lesson.check("central", hint="The two points are x + h and x - h. How far apart are they?")
def _(central):
    lessons.same(central(lambda x: x * x, 3.0, 0.5), 6.0, what="x^2 at 3 (exact for every h, because f''' = 0)")
    lessons.same(central(np.sin, 1.0, 1e-3), np.cos(1.0), tol=2e-7, what="sin at 1 with h = 0.001")
    lessons.same(central(lambda x: x**3, 0.0, 0.5), 0.25, what="x^3 at 0 with h = 0.5 (the error is h^2)")


# %% [markdown]
# Do (00.3) and (00.5) tell the truth? For $f = \sin$ at $x = 1$ the predicted errors are $\frac{h}{2}\sin 1$ and $\frac{h^2}{6}\cos 1$. Dots are measured,
# lines are predicted. Both axes are logarithmic, so "like $h$" is a line of slope 1 and "like $h^2$" a line of slope 2.

# %%
hs = np.logspace(-4, 0, 17)
error_forward = np.abs([forward(np.sin, 1.0, h) - np.cos(1.0) for h in hs])
error_central = np.abs([central(np.sin, 1.0, h) - np.cos(1.0) for h in hs])

plt.loglog(hs, hs / 2 * np.sin(1), color="C0", linewidth=1, label="(00.3): h/2 · |f''|")
plt.loglog(hs, error_forward, "o", color="C0", label="forward, measured")
plt.loglog(hs, hs**2 / 6 * np.cos(1), color="C1", linewidth=1, label="(00.5): h²/6 · |f'''|")
plt.loglog(hs, error_central, "o", color="C1", label="central, measured")
plt.xlabel("h")
plt.ylabel("error of the slope")
plt.title("Taylor's theorem predicts both errors")
plt.legend()
plt.show()

small = hs < 0.05  # (00.3), (00.5): where h is small, f'' and f''' hardly change between x and xi
assert np.allclose(error_forward[small], hs[small] / 2 * np.sin(1), rtol=0.05)
assert np.allclose(error_central[small], hs[small] ** 2 / 6 * np.cos(1), rtol=0.05)

# %% [markdown]
# ## Why not make h tiny?
#
# The errors fall as far as the picture goes. So take $h = 10^{-12}$?

# %%
for h in [1e-4, 1e-8, 1e-12, 1e-15, 1e-17]:
    with np.errstate(invalid="ignore"):
        slope = (np.sin(1.0 + h) - np.sin(1.0)) / h
    print(f"h = {h:.0e}   slope {slope:.10f}   error {abs(slope - np.cos(1.0)):.1e}")

# %% [markdown]
# From $10^{-8}$ on it gets *worse*, and at $10^{-17}$ the slope is 0. Computers keep only some digits: float64 has about 16, float32 about 7.
# Two neighbouring numbers near 1 are $\varepsilon$ apart, $\varepsilon = 2^{-52} \approx 2.2 \cdot 10^{-16}$ in float64 and $2^{-23} \approx 1.2 \cdot 10^{-7}$ in float32. So every computed
# value of $f$ is off by up to half of that, relative to its size:
#
# $$ \tilde f(x) = f(x)\,(1 + \delta), \qquad \vert\delta\vert \le \frac{\varepsilon}{2} \tag{00.6} $$
#
# In $\tilde f(x+h) - \tilde f(x)$ the leading digits are equal and cancel; the errors, up to $\frac{\varepsilon}{2}\vert f\vert$ from each of the two values, stay. Dividing by the
# small $h$ blows them up. Together with (00.3), and with the bars for sizes, the forward difference is off by at most about
#
# $$ E(h) = \underbrace{\frac{h}{2}\vert f''\vert}_{\text{truncation}} + \underbrace{\frac{\varepsilon \vert f\vert}{h}}_{\text{rounding}} \tag{00.7} $$
#
# The first term wants a small $h$, the second a large one. The best $h$ is where the derivative of $E$ is 0: $\frac{1}{2}\vert f''\vert - \frac{\varepsilon\vert f\vert}{h^2} = 0$, so
#
# $$ h_* = \sqrt{\frac{2\,\varepsilon\,\vert f\vert}{\vert f''\vert}}, \qquad E(h_*) = \sqrt{2\,\varepsilon\,\vert f\vert\,\vert f''\vert} \tag{00.8} $$
#
# Roughly $\sqrt\varepsilon$: in float64 $h \approx 10^{-8}$, and *half the digits* are the most that a forward difference can give. The central difference has run $2h$, so its rounding term is half as
# large, and by (00.5)
#
# $$ E(h) = \frac{h^2}{6}\vert f'''\vert + \frac{\varepsilon\vert f\vert}{2h} \tag{00.9} $$
#
# ### Exercise 3: the best step of the central difference
#
# Set the derivative of (00.9) with respect to $h$ to 0 and solve for $h$. It is a cube root this time.
#
# <details><summary>A hint for the calculation</summary>
#
# $\frac{dE}{dh} = \frac{h}{3}\vert f'''\vert - \frac{\varepsilon\vert f\vert}{2h^2}$. Multiply by $h^2$.
#
# </details>


# %% tags=["exercise"]
def best_step(eps, f, f3):
    """The h that makes (00.9) smallest.       eps: of the float type; f, f3: |f| and |f'''| at x"""
    # --- solution
    return (3 * eps * f / (2 * f3)) ** (1 / 3)
    # --- end


# %% tags=["check"]
@lesson.check("best_step", hint="From h/3 |f'''| = eps |f| / (2 h^2) follows h^3 = ...")
def _(best_step):
    grid = np.logspace(-9, 0, 200001)
    for eps, f, f3 in [(2.0**-52, 0.84, 0.54), (2.0**-23, 3.0, 0.1)]:
        best = grid[np.argmin(grid**2 / 6 * f3 + eps * f / (2 * grid))]  # (00.9), by trying 200,001 steps
        lessons.same(best_step(eps, f, f3) / best, 1.0, tol=1e-3, what="your step over the one found by trying")


# %% [markdown]
# Your formula is the result of this section:
#
# $$ h_* = \sqrt[3]{\frac{3\,\varepsilon\,\vert f\vert}{2\,\vert f'''\vert}} \tag{00.10} $$
#
# Roughly $\sqrt[3]\varepsilon$: $h \approx 10^{-5}$ in float64, with an error near $\varepsilon^{2/3} \approx 10^{-10}$ to $10^{-11}$. In float32 it is $h \approx 0.006$, with an error near $10^{-5}$.
# Here is the whole story in one picture; the stars are (00.8) and (00.10).

# %%
figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
for axes, kind in zip(panels, [np.float64, np.float32]):
    eps, one = float(np.finfo(kind).eps), kind(1)
    hs = np.logspace(-15 if kind is np.float64 else -7, 0, 200)
    for rule, color in [(forward, "C0"), (central, "C1")]:
        with np.errstate(all="ignore"):
            slopes = np.array([rule(np.sin, one, kind(h)) for h in hs], np.float64)
        good = np.isfinite(slopes)
        axes.loglog(
            hs[good], np.abs(slopes - np.cos(1))[good], ".", color=color, markersize=4, alpha=0.7, label=rule.__name__
        )
    bounds = {"C0": hs / 2 * np.sin(1) + eps * np.sin(1) / hs, "C1": hs**2 / 6 * np.cos(1) + eps * np.sin(1) / (2 * hs)}
    for color, bound in bounds.items():
        axes.loglog(hs, bound, color=color, linewidth=1)
    h8, h10 = np.sqrt(2 * eps), best_step(eps, np.sin(1), np.cos(1))  # (00.8), (00.10)
    axes.plot(h8, np.sqrt(2 * eps) * np.sin(1), "*", color="black", markersize=13, zorder=5)
    axes.plot(h10, h10**2 / 6 * np.cos(1) + eps * np.sin(1) / (2 * h10), "*", color="black", markersize=13, zorder=5)
    axes.set(title=kind.__name__, xlabel="h", ylim=(1e-14, 10))
    # (00.7), (00.9): what is measured stays below what was derived (a factor 2: sin itself may round the other way)
    measured = np.abs([central(np.sin, one, kind(h)) - np.cos(1) for h in hs[hs > 10 * eps]])
    assert (measured < 2 * bounds["C1"][hs > 10 * eps]).all()
panels[0].set_ylabel("error of the slope")
panels[0].legend(loc="lower left")
figure.suptitle("Truncation falls, rounding rises: there is a best step (stars)")
plt.show()

# %% [markdown]
# Two rules to take with you, used in every later lesson:
#
# - **Check gradients in float64 with central differences and $h \approx 10^{-5}$.** In float32 the check itself is off by $10^{-5}$ at its best.
# - **The theory says how close is close.** With numbers near 1 expect $10^{-10}$. A difference of $10^{-6}$ is not "nearly right"; it is a bug.

# %% [markdown]
# ## The chain rule
#
# Functions in deep learning are long compositions: the output of one is the input of the next. Let $u = f(x)$ and $y = g(u)$. Move $x$ by a small $h$. By (00.2) $u$ moves by
# $k = f'(x)\,h + O(h^2)$, where $O(h^2)$ stands for terms that shrink like $h^2$. Then $y$ moves by
#
# $$ g(u + k) - g(u) = g'(u)\,k + O(k^2) = g'(u)\, f'(x)\, h + O(h^2) $$
#
# Divide by $h$, let $h \to 0$:
#
# $$ \frac{dy}{dx} = \frac{dy}{du}\,\frac{du}{dx} = g'(f(x))\; f'(x) \tag{00.11} $$
#
# Slopes multiply. For three functions, three slopes multiply, each taken *at the value that its function received*. That is why a program that computes derivatives keeps
# the values in between.
#
# ### Exercise 4: a chain of three
#
# $y = e^{\sin(x^2)}$ is $x \to u = x^2 \to v = \sin u \to y = e^v$. Return the value and the slope, computed link by link.


# %% tags=["exercise"]
def chain(x):
    """y = exp(sin(x^2)) and dy/dx."""
    u = x**2
    v = np.sin(u)
    y = np.exp(v)
    # --- solution
    du_dx = 2 * x
    dv_du = np.cos(u)
    dy_dv = y
    return y, dy_dv * dv_du * du_dx
    # --- stub
    # du_dx = 0.0  # your three slopes
    # dv_du = 0.0
    # dy_dv = 0.0
    # return y, dy_dv * dv_du * du_dx
    # --- end


# %% tags=["check"]
@lesson.check("chain", hint="The slope of sin is cos, taken at u and not at x; the slope of exp is exp itself, at v.")
def _(chain):
    for x in (0.3, 1.0, -1.2):  # (00.11)
        lessons.same(chain(x)[0], np.exp(np.sin(x**2)), what=f"y at x = {x}")
        lessons.same(chain(x)[1], central(lambda t: np.exp(np.sin(t**2)), x, 1e-5), what=f"dy/dx at x = {x}")


# %% [markdown]
# ## Many variables: directions and the gradient
#
# A loss depends on many numbers, $x = (x_1, \dots, x_n)$. The *partial derivative* $\partial f / \partial x_i$ moves one of them and holds the others still.
# All partial derivatives in one array are the *gradient*, $\nabla f$, of the same shape as $x$.
#
# What if all variables move at once, along a direction $v$? The *directional derivative* is an ordinary derivative, of a function of one variable $t$:
#
# $$ D_v f(x) = \frac{d}{dt} f(x + t v) \Big\vert_{t=0} \tag{00.12} $$
#
# Let the variables move one after the other; each contributes its partial derivative times its speed $v_i$, as in the proof of (00.11), and the contributions add up:
#
# $$ D_v f(x) = \sum_{i=1}^{n} \frac{\partial f}{\partial x_i}\, v_i = \nabla f(x) \cdot v \tag{00.13} $$
#
# So the gradient knows the slope in *every* direction. A dot product is $\vert\nabla f\vert\,\vert v\vert\cos\theta$, where $\theta$ is the angle between the two. Among all $v$ of length 1
# it is largest where $\cos\theta = 1$:
#
# $$ \max_{\vert v\vert = 1} D_v f(x) = \vert\nabla f(x)\vert \quad \text{at} \quad v = \frac{\nabla f(x)}{\vert\nabla f(x)\vert} \tag{00.14} $$
#
# **The gradient points straight uphill, and its length is the slope there.** Gradient descent goes the other way.


# %%
def hills(p):
    return np.sin(p[0]) * np.cos(p[1]) + 0.1 * p[0] ** 2


def hills_gradient(p):
    return np.array([np.cos(p[0]) * np.cos(p[1]) + 0.2 * p[0], -np.sin(p[0]) * np.sin(p[1])])


p = np.array([0.6, 0.8])
g = hills_gradient(p)
angles = np.linspace(0, 2 * np.pi, 37)
directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
slopes = np.array([central(lambda t, v=v: hills(p + t * v), 0.0, 1e-5) for v in directions])  # (00.12)

figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4))
a, b = np.meshgrid(np.linspace(-1.5, 2.5, 80), np.linspace(-1.2, 2.8, 80))
left.contour(a, b, hills((a, b)), levels=18, linewidths=1)
left.annotate("", p + g, p, arrowprops={"arrowstyle": "-|>", "linewidth": 2, "color": "C3"})
left.plot(*p, "o", color="C3")
left.text(*(p + g + [0.05, -0.15]), "gradient", color="C3")
left.set(
    aspect="equal", xlabel="$x_1$", ylabel="$x_2$", title="The gradient crosses the contour lines\nat a right angle"
)
left.grid(visible=False)
right.plot(np.degrees(angles), directions @ g, color="C0", label="(00.13): gradient · v")
right.plot(np.degrees(angles), slopes, "o", color="C1", markersize=4, label="(00.12): measured along v")
uphill = np.degrees(np.arctan2(g[1], g[0])) % 360
right.axvline(uphill, color="C3", linestyle="--", linewidth=1)
right.text(uphill - 5, -0.65, "the gradient's\ndirection", color="C3", ha="right", va="center")
right.set(xlabel="direction of v, degrees", ylabel="slope along v", title="One gradient, all slopes")
right.legend(loc="upper center", fontsize=9)
plt.show()

assert np.allclose(directions @ g, slopes, atol=1e-9)  # (00.13)
steepest = np.linalg.norm(g)  # (00.14): no direction is steeper, and the gradient's own is as steep
assert slopes.max() <= steepest + 1e-9
assert np.isclose(central(lambda t: hills(p + t * g / steepest), 0.0, 1e-5), steepest)

# %% [markdown]
# ### Exercise 5: check a gradient along a random direction
#
# Checking $n$ partial derivatives one by one takes $2n$ evaluations of $f$. By (00.13) a *single* direction tests them all with two: compare $\nabla f \cdot v$ with the
# slope along $v$. If a wrong gradient is off by the vector $e$, the comparison is off by $e \cdot v$, which for a random $v$ is practically never 0.


# %% tags=["exercise"]
def directional_error(f, gradient, x, v, h=1e-5):
    """|gradient . v - slope of f along v|, the slope by a central difference.       gradient, x, v: (n,)"""
    # --- solution
    slope = central(lambda t: f(x + t * v), 0.0, h)
    return abs(np.sum(gradient * v) - slope)
    # --- end


# %% tags=["check"]
@lesson.check("directional_error", hint="central works on functions of one number: give it t -> f(x + t * v), at 0.")
def _(directional_error):
    x, v = np.array([0.3, -1.1]), np.array([0.8, -0.4])
    lessons.same(directional_error(hills, hills_gradient(x), x, v), 0.0, tol=1e-9, what="error of the right gradient")
    for off in (0.1, -0.1):
        wrong = hills_gradient(x) + np.array([off, 0.0])
        error = directional_error(hills, wrong, x, v)
        lessons.same(error, 0.08, tol=1e-6, what=f"error of a gradient that is off by ({off}, 0)")


# %% [markdown]
# Why a *random* direction? Because a wrong formula often has a structure. Suppose that the derivatives of two variables got swapped. Along $v = (1, 1)$ nobody can tell:

# %%
p = np.array([0.6, 0.8])
swapped = hills_gradient(p)[::-1]
print("along (1, 1):       ", directional_error(hills, swapped, p, np.ones(2)))
print("along a random one: ", directional_error(hills, swapped, p, np.random.default_rng(0).normal(size=2)))

# %% [markdown]
# ### Functions that return many numbers
#
# A layer turns an array $x$ into an array $y$. Its derivative is a table, the *Jacobian* $\partial y_i / \partial x_j$. What training needs is the derivative of one number, the loss $L$. Call the
# loss's derivatives with respect to $y$ `dy`: $dy_i = \partial L / \partial y_i$. Then by the chain rule over all paths from $x_j$ through some $y_i$ to $L$
#
# $$ dx_j = \sum_i dy_i\, \frac{\partial y_i}{\partial x_j} \tag{00.15} $$
#
# and this is just the gradient of the single number $\sum_i dy_i\, y_i(x)$ with `dy` held fixed. That is how every later lesson tests a layer: draw a random `dy`, and
# compare the layer's `dx` with the numeric gradient of `sum(dy * f(x))`.
#
# ## What goes wrong
#
# ### Exercise 6: find the bug
#
# Here is a numeric gradient for arrays, element by element. It runs, and for $f(x) = \sum_i x_i^3$ it agrees with $3x_i^2$ in ten digits. But for $f(x) = (\sum_i x_i)^3$ only four or five digits
# are right, and you know from (00.10) that it should be ten. Find the line that is missing.


# %% tags=["exercise"]
def numeric_gradient(f, x, dy=1.0, h=1e-5):
    """The gradient of sum(dy * f(x)) with respect to each element of x, by central differences."""
    x = np.array(x, np.float64)  # a copy: the caller's array stays as it is
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        kept = x[i]
        x[i] = kept + h
        above = np.sum(dy * f(x))
        x[i] = kept - h
        below = np.sum(dy * f(x))
        # --- solution
        x[i] = kept
        # --- stub
        #
        # --- end
        gradient[i] = (above - below) / (2 * h)
    return gradient


# %% tags=["check"]
@lesson.check("numeric_gradient", hint="When the loop comes to the second element, what is in the first one?")
def _(numeric_gradient):
    x = np.array([0.5, -1.0, 2.0])
    f = lambda x: np.sum(x) ** 3  # noqa: E731
    lessons.same(numeric_gradient(f, x), np.full(3, 3 * 1.5**2), tol=1e-8, what="the gradient of (sum x)^3")
    dy = np.array([0.3, -2.0, 1.5])  # (00.15)
    lessons.same(numeric_gradient(np.sin, x, dy), dy * np.cos(x), tol=1e-8, what="the gradient of sum(dy * sin(x))")


# %% [markdown]
# The bug survives a careless test twice over: it shifts the point by only $10^{-5}$, and where every $x_i$ has a term of its own the shift cancels. Who knows how small the error *should* be
# sees it, and who tests with a function that mixes its inputs.
#
# ## On real data
#
# The diabetes set has 442 patients, ten measurements each, and how far the disease had progressed a year later. Predict progression as a weighted sum of the measurements, $\hat y = X w$
# with $X$ of shape $(N, D)$ and $w$ of shape $(D,)$. The loss is the mean squared error
#
# $$ L(w) = \frac{1}{N}\sum_{n=1}^{N} \Big(\sum_{j} X_{nj} w_j - y_n\Big)^2 \tag{00.16} $$
#
# Its derivative by the chain rule (00.11), outer slope $2(\hat y_n - y_n)$, inner slope $\partial \hat y_n/\partial w_k = X_{nk}$:
#
# $$ \frac{\partial L}{\partial w_k} = \frac{2}{N}\sum_{n} (\hat y_n - y_n)\, X_{nk}, \qquad dw = \frac{2}{N} X^{\top}(\hat y - y) \tag{00.17} $$
#
# Shapes: $X^\top$ is $(D, N)$, $\hat y - y$ is $(N,)$, the product is $(D,)$, as $w$.

# %%
import time

from sklearn.datasets import load_diabetes

X, y = load_diabetes(return_X_y=True)
X = X / X.std(0)  # each measurement in units of its own spread
X = np.hstack([X, np.ones((len(X), 1))])  # a column of ones: its weight is the constant term
y = (y - y.mean()) / y.std()


def loss(w):
    return np.mean((X @ w - y) ** 2)  # (00.16)


def loss_gradient(w):
    return 2 / len(X) * X.T @ (X @ w - y)  # (00.17)


w = np.random.default_rng(1).normal(size=X.shape[1])
by_hand, numeric = loss_gradient(w), numeric_gradient(loss, w)
worst = lessons.show_errors(
    {"dw": (by_hand, numeric)}, title="The formula (00.17) against differences, 11 weights", limit=1e-7
)
assert worst < 1e-7

# %% [markdown]
# minitorch computes the same gradient without being told the formula, and its own checker, `gradcheck`, does what you did here.

# %%
from minitorch.autograd import gradcheck

w_tensor = minitorch.tensor(w, requires_grad=True)
L = ((minitorch.tensor(X) @ w_tensor - minitorch.tensor(y)) ** 2).mean()
L.backward()
lessons.same(L, loss(w), tol=1e-12, what="loss")
lessons.same(w_tensor.grad, by_hand, tol=1e-12, what="dw")  # (00.17)
assert gradcheck(lambda w: ((minitorch.tensor(X) @ w - minitorch.tensor(y)) ** 2).mean(), w_tensor)
print("loss and gradient are equal")

# %% [markdown]
# Could one train with differences alone, and forget formulas? Walk downhill, $w \leftarrow w - 0.05\, dw$, once with each gradient.

# %%
figure, axes = plt.subplots()
for name, gradient, style in [
    ("formula", loss_gradient, "-"),
    ("differences", lambda w: numeric_gradient(loss, w), ":"),
]:
    w, curve, start = np.zeros(X.shape[1]), [], time.perf_counter()
    for _ in range(60):
        curve.append(loss(w))
        w = w - 0.05 * gradient(w)
    took = time.perf_counter() - start
    axes.plot(curve, style, linewidth=4 if style == ":" else 2, label=f"{name}: {took * 1000:.1f} ms")
    print(f"{name:12} loss {curve[-1]:.6f} after 60 steps, {took * 1000:.1f} ms")
axes.set(xlabel="step", ylabel="mean squared error", title="The same path; differences pay for every weight")
axes.legend()
plt.show()
assert curve[-1] < 0.6 * curve[0]

# %% [markdown]
# The paths are the same. But differences evaluate the loss $2D$ times for one gradient: 22 times here, with 11 weights. BERT, a language model of 2018, has 110 million weights: 220 million evaluations for *one* step.
# Differences check gradients; they cannot train. The next lesson builds what can: a program that finds the whole gradient for the price of a few evaluations.
#
# ## Summary

# %% [markdown] tags=["summary"]
# | equation | what | op | test |
# |---|---|---|---|
# | (00.1) | the derivative as a limit | - | here |
# | (00.2), (00.4) | Taylor's theorem, two and four terms | - | definition |
# | (00.3) | error of the forward difference: h/2 f'' | - | here |
# | (00.5) | error of the central difference: h²/6 f''' | `minitorch/autograd/gradcheck.py::gradcheck` | here |
# | (00.6) | rounding of a computed value | - | definition |
# | (00.7), (00.8) | forward difference: truncation and rounding, the best step | - | here |
# | (00.9), (00.10) | central difference: truncation and rounding, the best step | `minitorch/autograd/gradcheck.py::gradcheck` | here |
# | (00.11) | the chain rule | `minitorch/autograd/engine.py::walk` | here, tests/test_engine_graph.py::test_diamond |
# | (00.12), (00.13) | directional derivative, by the gradient | `minitorch/autograd/gradcheck.py::gradcheck` | here, tests/test_ops_gradients.py::test_gradients_equal_differences |
# | (00.14) | the gradient is the steepest direction | - | here |
# | (00.15) | the gradient of a function that returns an array | `minitorch/autograd/gradcheck.py::gradcheck` | here, tests/test_ops_gradients.py::test_gradients_equal_differences |
# | (00.16), (00.17) | mean squared error of a weighted sum, its gradient | - | here, cases:nn.functional.mse_loss |
#
# You can now test any gradient that you will ever derive. Next, [01 An autograd engine in 100 lines](01_engine.ipynb).
