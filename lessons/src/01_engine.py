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
# # 01 An autograd engine in 100 lines
#
# Lesson 00 ended with a problem: differences evaluate the loss twice *for every weight*, and a network has millions. **How can a program find all derivatives at once, exactly, and
# for about the price of running the network a few times?** It remembers what it computed, and walks back through it once. You will write that program, an *autograd engine*, in about 100 lines;
# train a small network with it; and then see that minitorch, and PyTorch, do the same walk.
#
# You need lesson 00: the chain rule, the gradient, central differences. Time: 60 minutes.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

import minitorch
from minitorch import lessons

lesson = lessons.start(1)

# %% [markdown]
# ## A computation is a graph
#
# Take $L = x\,y + \sin x$ at $x = 2,\ y = 3$. The computer does one operation at a time: $a = x y$, then $b = \sin x$, then $L = a + b$. Draw a box for every value and an arrow from each value to those
# that are computed from it: that is the *computational graph*.


# %%
def box(axes, at, text, color):
    axes.text(
        *at,
        text,
        ha="center",
        va="center",
        fontsize=11,
        zorder=3,
        bbox={"boxstyle": "round,pad=0.45", "fc": color, "ec": "0.4"},
    )


def arrow(axes, start, end, text, color, shift=(0, 0)):
    style = {"arrowstyle": "-|>", "color": color, "shrinkA": 0, "shrinkB": 36, "linewidth": 1.5}
    axes.annotate("", np.add(end, shift), np.add(start, shift), arrowprops=style, zorder=1)
    middle = np.add(np.multiply(0.5, np.add(start, end)), shift)
    axes.text(*middle, text, ha="center", va="center", color=color, bbox={"fc": "white", "ec": "none", "pad": 1.5})


place = {"y": (0, 2), "x": (0, 0), "a": (3, 2), "b": (3, 0), "L": (6, 1)}
value = {"y": 3.0, "x": 2.0, "a": 6.0, "b": np.sin(2.0), "L": 6.0 + np.sin(2.0)}
how = {"y": "y", "x": "x", "a": "a = x y", "b": "b = sin x", "L": "L = a + b"}
slope = {
    ("y", "a"): "x = 2",
    ("x", "a"): "y = 3",
    ("x", "b"): f"cos x = {np.cos(2):.2f}",
    ("a", "L"): "1",
    ("b", "L"): "1",
}

figure, axes = plt.subplots(figsize=(9, 3.2))
for name, at in place.items():
    box(axes, at, f"{how[name]}\n{value[name]:.3g}", "#dceaf7" if name in "xy" else "#f7ecd9")
for (start, end), text in slope.items():
    arrow(axes, place[start], place[end], text, "C0")
axes.set(xlim=(-0.8, 7), ylim=(-0.6, 2.6), title="Values in the boxes, the slope of each step on its arrow")
axes.axis("off")
plt.show()

# %% [markdown]
# On each arrow stands a *local derivative*: how fast the value at its head changes with the one at its tail, all else held still. They are school calculus, and need only the numbers at hand:
#
# $$ \frac{\partial(x+y)}{\partial x} = 1, \qquad \frac{\partial(x+y)}{\partial y} = 1 \tag{01.1} $$
#
# $$ \frac{\partial(x\,y)}{\partial x} = y, \qquad \frac{\partial(x\,y)}{\partial y} = x \tag{01.2} $$
#
# $$ \frac{d\,x^p}{dx} = p\,x^{p-1}, \qquad \frac{d\,e^x}{dx} = e^x, \qquad \frac{d\log x}{dx} = \frac{1}{x} \tag{01.3} $$
#
# Subtraction and division need nothing new: $x - y = x + (-1)\,y$ and $x / y = x\,y^{-1}$.
#
# ## From local slopes to the gradient
#
# $x$ reaches $L$ on two paths, through $a$ and through $b$. Along one path slopes multiply: that is the chain rule (00.11). What do two paths do together? Think of $L$ as a function of $a$ and $b$, which both move when
# $x$ does. By (00.13) the contributions of several moving variables add up:
#
# $$ \frac{\partial L}{\partial x} = \sum_{u \,\text{computed from}\, x} \frac{\partial L}{\partial u}\, \frac{\partial u}{\partial x} \tag{01.4} $$
#
# The sum runs over the direct successors $u$ of $x$ in the graph. This equation is the whole of *backpropagation*. Read it as a recipe from the right end of the picture to the left:
#
# 1. $\partial L/\partial L = 1$.
# 2. A value whose successors all know their $\partial L/\partial u$ can add up its own.
#
# From here on `dx` stands for $\partial L / \partial x$, as in lesson 00. In the picture: $da = 1$, $db = 1$, $dy = da \cdot 2 = 2$, and $dx = da \cdot 3 + db \cdot \cos 2 = 2.58$.
#
# ### Exercise 1: by hand, once
#
# Do the same for $L = (x + y)\,e^{x}$: compute the values first, then walk back.


# %% tags=["exercise"]
def by_hand(x, y):
    """L = (x + y) e^x; returns L, dx, dy."""
    a = x + y
    b = np.exp(x)
    L = a * b
    # --- solution
    da, db = b, a
    dx = da * 1 + db * b
    dy = da * 1
    return L, dx, dy
    # --- stub
    # da, db = 0.0, 0.0  # (01.2)
    # dx = 0.0  # two paths: through a and through b
    # dy = 0.0
    # return L, dx, dy
    # --- end


# %% tags=["check"]
@lesson.check(
    "by_hand",
    hint="L = a b, so da = b and db = a. x reaches L through a (slope 1) and through b (slope e^x = b): add both.",
)
def _(by_hand):
    f = lambda p: (p[0] + p[1]) * np.exp(p[0])  # noqa: E731
    for p in ([0.3, 1.2], [-1.0, 0.5]):
        L, dx, dy = by_hand(*p)
        lessons.same(L, f(p), what=f"L at {p}")
        lessons.same([dx, dy], lessons.numeric_gradient(f, p), what=f"(dx, dy) at {p}")  # (01.1), (01.2), (01.4)
    print("`lessons.numeric_gradient` is the function that you repaired in lesson 00")


# %% [markdown]
# ## Forward or backward?
#
# The chain rule does not say in which order to multiply. Take a chain of functions $x \to u \to v \to L$ with arrays in between, and their Jacobians (the tables of partial derivatives):
#
# $$ \frac{\partial L}{\partial x} = \frac{\partial L}{\partial v}\;\frac{\partial v}{\partial u}\;\frac{\partial u}{\partial x} \tag{01.5} $$
#
# If $x, u, v$ have $n$ elements each, then $\partial v/\partial u$ and $\partial u/\partial x$ are $n \times n$, but $\partial L/\partial v$ is a single row of $n$, because $L$ is one number. Multiplied from the right, matrix times matrix,
# a link costs $n^3$ multiplications. From the left, row times matrix, it costs $n^2$:
#
# $$ \text{from the right: } (k-1)\,n^3 + n^2, \qquad \text{from the left: } k\,n^2 \qquad \text{for } k \text{ square Jacobians} \tag{01.6} $$
#
# Starting at the loss is *reverse mode*; it is about $n$ times cheaper, for the sole reason that a loss is one number. Nobody has to write the Jacobians down either: what travels back is the row, `dy`, and each step turns
# its `dy` into its `dx`, as (00.15) did.

# %%
rng = np.random.default_rng(0)
sizes, k = [50, 100, 200, 400, 800], 4
seconds = {"from the right": [], "from the left": []}


def product_of(left, right):
    global multiplications
    multiplications += left.shape[0] * left.shape[1] * right.shape[1]
    return left @ right


for n in sizes:
    jacobians = [rng.normal(size=(n, n)) / np.sqrt(n) for _ in range(k)]
    row = rng.normal(size=(1, n))
    results = {}
    for name in seconds:
        best = np.inf
        for _ in range(3):
            multiplications, start = 0, time.perf_counter()
            if name == "from the right":
                product = jacobians[-1]
                for J in reversed(jacobians[:-1]):
                    product = product_of(J, product)
                product = product_of(row, product)
            else:
                product = row
                for J in jacobians:
                    product = product_of(product, J)
            best = min(best, time.perf_counter() - start)
        seconds[name].append(best)
        results[name] = product
        assert multiplications == {"from the right": (k - 1) * n**3 + n**2, "from the left": k * n**2}[name]  # (01.6)
    assert np.allclose(results["from the right"], results["from the left"])  # (01.5)

for name, marker in (("from the right", "o"), ("from the left", "s")):
    plt.loglog(sizes, np.array(seconds[name]) * 1e3, marker + "-", label=name)
plt.xticks(sizes, sizes)
plt.minorticks_off()
plt.xlabel("n, elements of each array")
plt.ylabel("milliseconds")
plt.title("The same four Jacobians, multiplied in two orders")
plt.legend()
plt.show()

# %% [markdown]
# ## The engine: remember
#
# Each value becomes an object that remembers which values it was computed from, its *parents*, and the slope of each of these arrows. The slope is a number, known at the moment of the
# computation. Nothing else has to be kept.


# %%
class Value:
    """A number that remembers how it was computed.        parents: [(value, slope of the arrow from it), ...]"""

    def __init__(self, data, parents=(), name=""):
        self.data, self.parents, self.name = float(data), list(parents), name
        self.grad = 0.0  # dL/d(this), after the walk

    def __repr__(self):
        return f"Value({self.data:.4g}, grad={self.grad:.4g})"


def as_value(x):
    return x if isinstance(x, Value) else Value(x)


# %% [markdown]
# ### Exercise 2: the operations
#
# Addition is given. Fill in the parents of the others, from (01.2) and (01.3), with $d\tanh x/dx = 1 - \tanh^2 x$.


# %% tags=["exercise"]
def add(a, b):
    return Value(a.data + b.data, [(a, 1.0), (b, 1.0)])


def mul(a, b):
    # --- solution
    return Value(a.data * b.data, [(a, b.data), (b, a.data)])
    # --- stub
    # return Value(a.data * b.data, [])
    # --- end


def power(a, p):
    """a^p for a plain number p"""
    # --- solution
    return Value(a.data**p, [(a, p * a.data ** (p - 1))])
    # --- stub
    # return Value(a.data**p, [])
    # --- end


def exp(a):
    # --- solution
    y = np.exp(a.data)
    return Value(y, [(a, y)])
    # --- stub
    # y = np.exp(a.data)
    # return Value(y, [])
    # --- end


def tanh(a):
    # --- solution
    y = np.tanh(a.data)
    return Value(y, [(a, 1 - y**2)])
    # --- stub
    # y = np.tanh(a.data)
    # return Value(y, [])
    # --- end


# %% tags=["check"]
@lesson.check(
    "add",
    "mul",
    "power",
    "exp",
    "tanh",
    hint="A list of pairs (parent, slope): for a * b the slope at a is b.data. Use plain numbers, not Values.",
)
def _(add, mul, power, exp, tanh):
    # (01.1), (01.2), (01.3): every slope against a central difference
    for name, op, inputs in [
        ("add", add, [0.7, -1.3]),
        ("mul", mul, [0.7, -1.3]),
        ("power 3", lambda a: power(a, 3), [0.7]),
        ("power -1", lambda a: power(a, -1), [0.7]),
        ("exp", exp, [0.7]),
        ("tanh", tanh, [0.7]),
    ]:
        y = op(*map(Value, inputs))
        assert len(y.parents) == len(inputs), f"{name}: {len(inputs)} parents expected, found {len(y.parents)}."
        slopes = [s for _, s in y.parents]
        numeric = lessons.numeric_gradient(lambda p, op=op: op(*map(Value, p)).data, inputs)
        lessons.same(slopes, numeric, what=f"slopes of {name}")


# %% [markdown]
# With Python's operators, formulas look like formulas:

# %%
Value.__add__ = Value.__radd__ = lambda a, b: add(a, as_value(b))
Value.__mul__ = Value.__rmul__ = lambda a, b: mul(a, as_value(b))
Value.__pow__ = lambda a, p: power(a, p)
Value.__neg__ = lambda a: a * -1.0
Value.__sub__ = lambda a, b: a + -as_value(b)
Value.__rsub__ = lambda a, b: as_value(b) + -a
Value.__truediv__ = lambda a, b: a * as_value(b) ** -1
Value.__rtruediv__ = lambda a, b: as_value(b) * a**-1

x, y = Value(2.0, name="x"), Value(3.0, name="y")
(x * y + tanh(x)) / 2

# %% [markdown]
# ## The engine: walk back
#
# A first attempt: start at $L$ with 1, and send `gradient * slope` to each parent, which sends it on to its own parents at once.


# %%
messages = 0


def send(value, gradient):
    global messages
    messages += 1
    value.grad += gradient
    for parent, slope in value.parents:
        send(parent, gradient * slope)


x, y = Value(2.0), Value(3.0)
send(x * y + tanh(x), 1.0)
print(f"dx = {x.grad:.6f}, should be {3 + 1 - np.tanh(2.0) ** 2:.6f}")

# %% [markdown]
# It is right: it visits every path from $L$ to $x$ and adds up the products, which is (01.4) multiplied out. But count the messages when values are used twice. In $u_1 = x + x,\ u_2 = u_1 + u_1, \dots$ every level doubles the paths:
#
# $$ \text{paths from } u_k \text{ to } x = 2^k, \qquad \text{values in the graph} = k + 1 \tag{01.7} $$

# %%
depths, counts = range(1, 17), []
for depth in depths:
    u = Value(1.0)
    for _ in range(depth):
        u = u + u
    messages = 0
    send(u, 1.0)
    counts.append(messages)

plt.semilogy(depths, counts, "o-", label="messages sent")
plt.semilogy(depths, [depth + 1 for depth in depths], "s-", label="values in the graph")
plt.xlabel("levels of u = u + u")
plt.ylabel("how many")
plt.title("Path by path, the work doubles with every level")
plt.legend()
plt.show()
assert counts == [2 ** (depth + 1) - 1 for depth in depths]  # (01.7): 1 + 2 + 4 + ... + 2^k messages

# %% [markdown]
# The cure is step 2 of the recipe: a value waits until *all* its successors have sent, and then sends once. So the values must be visited in an order in which each comes before its parents. Such an order is called *topological*,
# and a graph without cycles always has one: a computation cannot use a result before it exists.
#
# To find it, visit the parents of a value first, and the value after them; list the values as they are finished; read the list backwards. This is a depth-first search. Written with recursion it fails at Python's limit of about 1000
# calls, and networks are deeper, so keep a stack of your own: `(value, False)` means "go to its parents first", `(value, True)` means "its parents are done".
#
# ### Exercise 3: topological order


# %% tags=["exercise"]
def topological_order(L):
    """All values that L was computed from, and L: each one before its parents."""
    finished, seen = [], set()
    stack = [(L, False)]
    while stack:
        value, parents_done = stack.pop()
        # --- solution
        if parents_done:
            finished.append(value)
        elif value not in seen:
            seen.add(value)
            stack.append((value, True))
            stack.extend((parent, False) for parent, _ in value.parents)
        # --- stub
        # # parents done: finished.append(value)
        # # else, if not yet seen: note it as seen; push (value, True), then (parent, False) for each parent
        # --- end
    return finished[::-1]


# %% tags=["check"]
@lesson.check(
    "topological_order",
    hint="The stack returns what was pushed last: push (value, True) first, so that it comes up after all its parents.",
)
def _(topological_order):
    x, y = Value(2.0), Value(3.0)
    a = x * y
    b = tanh(a) + x
    L = a * b
    order = topological_order(L)
    assert len(order) == len(set(order)), "A value is listed twice."
    assert set(order) == {x, y, a, b, L} | {parent for parent, _ in b.parents}, (
        f"{len(order)} values are listed, expected 6."
    )
    for value in order:
        for parent, _ in value.parents:
            assert order.index(value) < order.index(parent), "A value comes after one of its parents."
    for _ in range(3000):  # deeper than recursion can go
        x = x + 1.0
    assert len(topological_order(x)) == 6001, "A chain of 3000 additions has 6001 values."


# %% [markdown]
# ### Exercise 4: the walk
#
# Now (01.4) is a double loop: over the values in topological order, and over each one's parents. The sum over successors appears as `+=`: each successor adds its part when its turn comes.


# %% tags=["exercise"]
def backward(L):
    """Adds dL/dv to v.grad, for every value v that L was computed from."""
    L.grad = 1.0
    for value in topological_order(L):
        # --- solution
        for parent, slope in value.parents:
            parent.grad += value.grad * slope
        # --- stub
        # for parent, slope in value.parents:
        #     pass  # (01.4)
        # --- end


# %% tags=["check"]
@lesson.check(
    "backward",
    hint="Each parent's grad grows by the gradient that has arrived here times the arrow's slope: +=, not =.",
)
def _(backward):
    def f(p):
        x, y = p
        return x * y + tanh(x * y - y) * x / (exp(y) + 2.0)

    point = [0.8, -0.6]
    x, y = Value(point[0]), Value(point[1])
    backward(f((x, y)))
    numeric = lessons.numeric_gradient(lambda p: f((Value(p[0]), Value(p[1]))).data, point)
    lessons.same([x.grad, y.grad], numeric, tol=1e-8, what="(dx, dy)")  # (01.4)
    u = x = Value(1.0)
    for _ in range(60):  # path by path this would take 2^60 messages
        u = u + u
    backward(u)
    lessons.same(x.grad, 2.0**60, what="60 levels of u + u")


# %% [markdown]
# That is an autograd engine. Test it as lesson 00 taught: many random expressions, each gradient against central differences.


# %%
def random_expression(values, rng, steps=12):
    """A different formula for each state of rng, made of all operations, with shared parts."""
    pool = list(values)
    for _ in range(steps):
        a, b = (pool[i] for i in rng.integers(0, len(pool), 2))
        kind = rng.integers(0, 5)
        pool.append([a + b, a * b, a - b, tanh(a) * b, exp(tanh(b)) / (a * a + 1.0)][kind])
    return tanh(pool[-1] + pool[-2]) + pool[-3] * 0.1


by_engine, numeric = [], []
for seed in range(40):
    point = np.random.default_rng(seed).uniform(-1, 1, 3)

    def f(p, seed=seed):
        return random_expression([as_value(v) for v in p], np.random.default_rng(100 + seed))

    leaves = [Value(v) for v in point]
    backward(f(leaves))
    by_engine.append([v.grad for v in leaves])
    numeric.append(lessons.numeric_gradient(lambda p: f(p).data, point))

worst = lessons.show_errors(
    {name: (np.array(by_engine)[:, i], np.array(numeric)[:, i]) for i, name in enumerate(["dx", "dy", "dz"])},
    title="40 random expressions of three variables: engine against differences",
    limit=1e-7,
)
assert worst < 1e-7  # (01.4)

# %% [markdown]
# ## minitorch does the same walk
#
# The same expression in minitorch. Every result has a `grad_fn`, the op that made it; `next_functions` are the arrows back; a leaf stands at the end. The numbers are minitorch's way to a topological order: ops are numbered as they are made, and an
# op is made after its inputs. So *descending numbers are a topological order*, and no search is needed: the walk always takes the waiting op with the highest number. Read `walk` in `minitorch/autograd/engine.py`; you now know every idea in it.

# %%
x = minitorch.tensor(2.0, dtype=minitorch.float64, requires_grad=True)
y = minitorch.tensor(3.0, dtype=minitorch.float64, requires_grad=True)
L = (x * y + x.tanh()) / 2

waiting, order = [L.grad_fn], []
while waiting:
    op = max(waiting, key=lambda op: op.number)  # the highest number: everything that used its result is done
    waiting.remove(op)
    order.append(op)
    for target, _ in op.next_functions:
        if isinstance(target, minitorch.autograd.engine.Op) and target not in waiting:
            waiting.append(target)
print("order of the walk:", " -> ".join(op.name for op in order))

mine_x, mine_y = Value(2.0), Value(3.0)
mine = (mine_x * mine_y + tanh(mine_x)) / 2
backward(mine)
L.backward()
lessons.same(L, mine.data, tol=1e-14)
lessons.same([float(x.grad), float(y.grad)], [mine_x.grad, mine_y.grad], tol=1e-14)
print(f"dx = {float(x.grad):.6f}, dy = {float(y.grad):.6f}: equal")

# %% [markdown]
# On all forty random expressions too, and each op on its own. (`minitorch.tanh` and `minitorch.exp` take the places of ours.)

# %%
ours = tanh, exp
for seed in range(40):
    point = np.random.default_rng(seed).uniform(-1, 1, 3)
    tanh, exp = minitorch.tanh, minitorch.exp
    leaves = [minitorch.tensor(v, dtype=minitorch.float64, requires_grad=True) for v in point]
    random_expression(leaves, np.random.default_rng(100 + seed)).backward()
    tanh, exp = ours
    for leaf, expected in zip(leaves, by_engine[seed]):
        lessons.same(0.0 if leaf.grad is None else leaf.grad, expected, tol=1e-12, what=f"expression {seed}")

a, b = (minitorch.tensor(v, dtype=minitorch.float64, requires_grad=True) for v in (0.7, 1.3))
for y, expected in [
    (a + b, [1, 1]), (a - b, [1, -1]), (a * b, [1.3, 0.7]), (a / b, [1 / 1.3, -0.7 / 1.3**2]),  # (01.1), (01.2)
    (a**3, [3 * 0.49, 0]), (a.exp(), [np.exp(0.7), 0]), (a.log(), [1 / 0.7, 0]),  # (01.3)
]:  # fmt: skip
    found = minitorch.autograd.grad(y, [a, b], allow_unused=True)
    lessons.same([0.0 if g is None else float(g) for g in found], expected, tol=1e-12, what=y.grad_fn.name)
print("equal")

# %% [markdown]
# ## What goes wrong: twice
#
# ### A second backward
#
# Call `backward` twice on the same graph. Perhaps you expect the same gradient again, perhaps twice as much. Watch a chain, $x \to u_1 \to \dots \to L$ with slopes 1, whose gradient is 1:

# %%
for links in range(1, 6):
    L = x = Value(1.0)
    for _ in range(links):
        L = L + 0.0
    backward(L)
    once = x.grad
    backward(L)
    assert x.grad == links + 1  # (01.8)
    print(f"{links} links: dx = {once:.0f} after one backward, {x.grad:.0f} after two")

# %% [markdown]
# The answer depends on the *length of the path*. The second walk finds old gradients lying in the values between, and sends them on as if they had just arrived. Let $g_k$ be what the second walk leaves in the value $k$ links from $L$: the 1 that was there, plus all that its
# successor sends, which is $g_{k-1}$:
#
# $$ g_0 = 1, \qquad g_k = 1 + g_{k-1} \quad\Rightarrow\quad g_k = k + 1 \tag{01.8} $$
#
# Two things were mixed up. The gradients *in transit* belong to one walk and must start at 0 with it. Only the *leaves*, the values that nobody computed, keep their gradients from one walk to the next, on purpose: that is how a gradient is accumulated over several batches. minitorch and PyTorch make the
# difference: what is in transit lives in a table of the walk, and only leaves have a `.grad`.
#
# ### Exercise 5: a walk that can be repeated
#
# Keep the gradients in transit in a dictionary, and add to `.grad` only at leaves, the values without parents. (`transit.get(value, 0.0)` is 0 where there
# is no entry yet.)


# %% tags=["exercise"]
def backward_again(L):
    """Adds dL/dv to v.grad for the leaves v. Values in between are left alone, so it can be called any number of times."""
    # --- solution
    transit = {L: 1.0}
    for value in topological_order(L):
        gradient = transit.pop(value)
        if not value.parents:
            value.grad += gradient
        for parent, slope in value.parents:
            transit[parent] = transit.get(parent, 0.0) + gradient * slope
    # --- stub
    # L.grad = 1.0
    # for value in topological_order(L):
    #     for parent, slope in value.parents:
    #         parent.grad += value.grad * slope
    # --- end


# %% tags=["check"]
@lesson.check(
    "backward_again",
    hint="transit = {L: 1.0}; each value takes its own entry out, and adds to the entries of its parents.",
)
def _(backward_again):
    x, y = Value(2.0), Value(3.0)
    L = x * y + tanh(x * y) * x
    backward_again(L)
    once = np.array([x.grad, y.grad])
    reference = lessons.numeric_gradient(lambda p: p[0] * p[1] + np.tanh(p[0] * p[1]) * p[0], [2.0, 3.0])
    lessons.same(once, reference, what="(dx, dy) after one walk")
    assert L.grad == 0.0, "L is not a leaf, but its .grad has changed."
    backward_again(L)
    lessons.same([x.grad, y.grad], 2 * once, what="(dx, dy) after two walks")  # (01.8) does not happen any more


# %% [markdown]
# And minitorch? A second `backward` on one graph is usually a mistake, and the saved values cost memory, so they are freed by the first walk, and the second says what to do. With `retain_graph=True` the leaves double:

# %%
x = minitorch.tensor([2.0], requires_grad=True)
L = (x * x).sum()
L.backward()
try:
    L.backward()
except RuntimeError as error:
    print(str(error), "\n")

x.grad = None
L = (x * x).sum()
L.backward(retain_graph=True)
L.backward()
print("dx after two walks with retain_graph=True:", float(x.grad), "= 2 * 4")

# %% [markdown]
# ### Exercise 6: find the bug
#
# Somebody's network learns, but badly. Its walk gets $L = x\,y + z$ right and $L = x^2 + x$ wrong. Which expressions are safe, and which line is to blame?


# %% tags=["exercise"]
def buggy_backward(L):
    """As `backward_again`, and with a bug."""
    transit = {L: 1.0}
    for value in topological_order(L):
        gradient = transit.pop(value)
        if not value.parents:
            value.grad += gradient
        for parent, slope in value.parents:
            # --- solution
            transit[parent] = transit.get(parent, 0.0) + gradient * slope
            # --- stub
            # transit[parent] = gradient * slope
            # --- end


# %% tags=["check"]
@lesson.check("buggy_backward", hint="What happens when a second successor sends its part to the same parent?")
def _(buggy_backward):
    x = Value(3.0)
    buggy_backward(x * x + x)
    lessons.same(x.grad, 7.0, what="dx of x^2 + x at 3")


# %% [markdown]
# It is the classic bug of hand-written engines: `=` in place of `+=`. Everything works until a value is used twice, and then the last one who sends wins. Every weight of a network is used many times, once for each example.
#
# ## A network, trained with 100 lines
#
# The iris set: 150 flowers, four measurements each. Two of its species overlap; can a small network tell them apart? Four inputs, four hidden units, $h_j = \tanh(\sum_i W_{ji}\,x_i + b_j)$, and one output that should be $+1$ for one species
# and $-1$ for the other. The loss is the mean squared error (00.16). Every number in it is a `Value`.

# %%
from sklearn.datasets import load_iris

features, species = load_iris(return_X_y=True)
keep = species > 0  # versicolor and virginica
features, target = features[keep], np.where(species[keep] == 2, 1.0, -1.0)
features = (features - features.mean(0)) / features.std(0)
shuffled = np.random.default_rng(0).permutation(len(target))
train, test = shuffled[:60], shuffled[60:]

rng = np.random.default_rng(3)
start_weights = {"W": rng.normal(size=(4, 4)) * 0.5, "b": np.zeros(4), "v": rng.normal(size=4) * 0.5, "c": np.zeros(1)}


def network(weights, x):
    """The output for one flower, a Value.       x: four numbers"""
    out = weights["c"][0]
    for W_row, b, v in zip(weights["W"], weights["b"], weights["v"]):
        h = b
        for w, x_i in zip(W_row, x):
            h = h + w * x_i
        out = out + v * tanh(h)
    return out


def mean_squared_error(weights, rows):
    total = 0.0
    for n in rows:
        total = total + (network(weights, features[n].tolist()) - float(target[n])) ** 2
    return total * (1.0 / len(rows))


def as_values(weights):
    return {name: np.vectorize(Value, otypes=[object])(w) for name, w in weights.items()}


def accuracy(weights, rows):
    return np.mean([np.sign(network(weights, features[n].tolist()).data) == target[n] for n in rows])


weights = as_values(start_weights)
everything = [value for w in weights.values() for value in w.ravel()]
curve, start = [], time.perf_counter()
for _step in range(40):
    loss = mean_squared_error(weights, train)
    for value in everything:
        value.grad = 0.0  # forget the last step's gradient: leaves accumulate
    backward_again(loss)
    for value in everything:
        value.data -= 0.2 * value.grad
    curve.append(loss.data)
took = time.perf_counter() - start

print(
    f"{len(everything)} weights, {len(topological_order(loss)):,} values in the graph of one step, {took:.1f} s for 40 steps"
)
print(
    f"right on {accuracy(weights, train):.0%} of 60 training flowers and on {accuracy(weights, test):.0%} of 40 that it never saw"
)
plt.plot(curve)
plt.xlabel("step")
plt.ylabel("mean squared error")
plt.ylim(bottom=0)
plt.title("Your engine trains a network on iris")
plt.show()
assert curve[-1] < 0.5 * curve[0] and accuracy(weights, test) > 0.8

# %% [markdown]
# What did reverse mode buy? One gradient by the engine, by central differences with the same code, and by minitorch, which holds a whole array in each box where we hold a number (that step is lesson 02):

# %%
weights = as_values(start_weights)
everything = [value for w in weights.values() for value in w.ravel()]
start = time.perf_counter()
backward_again(mean_squared_error(weights, train))
seconds = {"your engine": time.perf_counter() - start}
by_engine = np.array([value.grad for value in everything])

start = time.perf_counter()
numeric = []
for value in everything:
    kept = value.data
    value.data = kept + 1e-5
    above = mean_squared_error(weights, train).data
    value.data = kept - 1e-5
    below = mean_squared_error(weights, train).data
    value.data = kept
    numeric.append((above - below) / 2e-5)
seconds["differences"] = time.perf_counter() - start

tensors = {name: minitorch.tensor(w, requires_grad=True) for name, w in start_weights.items()}
X, y = minitorch.tensor(features[train]), minitorch.tensor(target[train])
start = time.perf_counter()
hidden = minitorch.tanh(X @ tensors["W"].T + tensors["b"])
((hidden @ tensors["v"] + tensors["c"] - y) ** 2).mean().backward()
seconds["minitorch"] = time.perf_counter() - start
by_minitorch = np.concatenate([tensors[name].grad.numpy().ravel() for name in weights])

for name, s in seconds.items():
    print(f"{name:12} {s * 1e3:8.1f} ms")
lessons.same(by_engine, by_minitorch, tol=1e-12, what="25 gradients, engine against minitorch")
worst = lessons.show_errors(
    {"25 weights": (by_engine, numeric)}, title="The network's gradient: engine against differences", limit=1e-7
)
assert worst < 1e-7 and seconds["your engine"] < seconds["differences"]

# %% [markdown]
# ## Summary

# %% [markdown] tags=["summary"]
# | equation | what | op | test |
# |---|---|---|---|
# | (01.1) | slopes of a sum and a difference | `Add`, `Sub` | here, cases:add, cases:sub |
# | (01.2) | slopes of a product and a quotient | `Mul`, `Div` | here, cases:mul, cases:div |
# | (01.3) | slopes of a power, exp and log | `PowNumber`, `Exp`, `Log` | here, cases:pow, cases:exp, cases:log |
# | (01.4) | backpropagation: the sum over successors | `minitorch/autograd/engine.py::walk` | here, tests/test_engine_graph.py::test_many_diamonds_are_walked_once_each |
# | (01.5), (01.6) | a chain of Jacobians, and what it costs in either order | `minitorch/autograd/engine.py::walk` | here |
# | (01.7) | paths double, values do not: why the order matters | `minitorch/autograd/engine.py::walk` | here, tests/test_engine_graph.py::test_many_diamonds_are_walked_once_each |
# | (01.8) | a second walk over gradients left in transit | `minitorch/autograd/engine.py::walk` | here, tests/test_engine_graph.py::test_retained_graphs_can_be_walked_again |
#
# The engine knows nothing but numbers. Next, 02 Tensors: the same graph with an array in each box, and what broadcasting, sums and matrix products do to gradients.
