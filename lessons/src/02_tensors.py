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
# # 02 Tensors
#
# The engine of lesson 01 keeps one number in each box, and a small network makes a graph of thousands of boxes. Put a whole array in a box, and the same network is a graph of ten. But then the slope on an arrow is
# a table with one entry for each pair of an output element and an input element, far too large to write down. **What do broadcasting, sums, matrix products, reshaping and indexing do to a gradient, without that
# table?** You will derive each by its indices, and write each as an `Op`, the class that minitorch and PyTorch's engine are built of.
#
# You need lessons 00 (a random `dy`, numeric gradients) and 01 (the walk). Time: 90 minutes.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

import minitorch
from minitorch import lessons

lesson = lessons.start(2)

# %% [markdown]
# ## What was read three times
#
# NumPy adds an array `b` of shape (4,) to an array `x` of shape (3, 4) by reading `b` once for every row of `x`. That is *broadcasting*. Each colour below is one element of `b`. In the forward pass it is copied into three
# outputs. In the backward pass three gradients come back to it, and by (01.4) what comes back on several paths is added.


# %%
def cells(axes, numbers, left, top, colors, title):
    """Draws an array of numbers as coloured cells; the upper left corner is at (left, top)."""
    for i, row in enumerate(np.atleast_2d(numbers)):
        for j, number in enumerate(row):
            color = np.broadcast_to(np.atleast_2d(colors), np.atleast_2d(numbers).shape)[i, j]
            axes.add_patch(plt.Rectangle((left + j, top - i - 1), 1, 1, fc=color, ec="white", lw=2))
            axes.text(left + j + 0.5, top - i - 0.5, f"{number:g}", ha="center", va="center", fontsize=10)
    axes.text(left, top + 0.2, title)


four = np.array(["#9ecae1", "#fdd0a2", "#c7e9c0", "#dadaeb"])
b, dy = np.array([1, 2, 3, 4]), np.array([[3, 2, 1, -1], [-1, 4, -3, 2], [2, -3, 1, 4]])
figure, axes = plt.subplots(figsize=(9, 3.4))
cells(axes, b, 0, 5.2, four, "b: (4,)")
cells(axes, np.broadcast_to(b, (3, 4)), 0, 3, four, "b as x + b reads it: (3, 4)")
cells(axes, dy, 7, 3, four, "dy: (3, 4)")
cells(axes, dy.sum(0), 7, 5.2, four, "db: (4,), the sum of each colour")
for j in range(4):
    axes.annotate("", (j + 0.5, 3.75), (j + 0.5, 4.15), arrowprops={"arrowstyle": "-|>", "color": "0.3"})
    axes.annotate("", (j + 7.5, 4.15), (j + 7.5, 3.75), arrowprops={"arrowstyle": "-|>", "color": "C3"})
axes.set(xlim=(-0.2, 12.5), ylim=(-0.2, 6), title="Forward: copied three times. Backward: three gradients, added")
axes.axis("off")
plt.show()

# %% [markdown]
# ## One rule behind all of it
#
# Most of this lesson's operations only copy elements and add them up. Such an operation is *linear*: each output is a sum of inputs, each times a fixed number, $y_i = \sum_j A_{ij}\, x_j$, where $i$ and $j$ count the elements
# of $y$ and of $x$ in a row, whatever their shapes. Then $\partial y_i/\partial x_j = A_{ij}$, and (00.15) reads
#
# $$ dx_j = \sum_i A_{ij}\, dy_i, \qquad dx = A^{\top} dy \tag{02.1} $$
#
# **The backward pass of a linear operation is its transpose.** Where the forward pass reads element $j$ and writes it to place $i$, the backward pass reads at place $i$ and adds to element $j$. Nobody stores the table $A$. But for
# small arrays you can look at it: feed the operation one unit vector after the other, and each gives a column.


# %%
def table_of(f, shape):
    """The table A of a linear operation f on arrays of this shape."""
    units = np.eye(int(np.prod(shape)))
    return np.stack([f(unit.reshape(shape)).ravel() for unit in units], axis=1)


rng = np.random.default_rng(1)
linear = {  # name: (operation, shape of x, its backward)
    "copy b to\n3 rows": (lambda b: np.broadcast_to(b, (3, 4)), (4,), lambda dy: dy.sum(0)),
    "sum over\neach row": (lambda x: x.sum(1), (3, 4), lambda dy: np.broadcast_to(dy[:, None], (3, 4))),
    "transpose": (lambda x: x.T, (3, 4), lambda dy: dy.T),
    "x[[0, 2, 2]]": (lambda x: x[[0, 2, 2]], (4,), lambda dy: np.array([dy[0], 0, dy[1] + dy[2], 0])),
}
figure, panels = plt.subplots(1, 4, figsize=(11, 3.8))
for axes, (name, (f, shape, backward_of_f)) in zip(panels, linear.items()):
    A = table_of(f, shape)
    axes.imshow(A, cmap="Blues", vmin=0, vmax=1.3)
    axes.set(xlabel="element of x", ylabel="element of y", title=name, xticks=[], yticks=[])
    axes.set_xticks(np.arange(A.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(A.shape[0] + 1) - 0.5, minor=True)
    axes.grid(visible=False)
    axes.grid(which="minor", color="0.85", linewidth=0.5)
    axes.tick_params(which="both", length=0)
    dy = rng.normal(size=f(np.zeros(shape)).shape)
    lessons.same(backward_of_f(dy).ravel(), A.T @ dy.ravel(), what=name)  # (02.1)
figure.suptitle("Four operations as tables of zeros and ones: backward uses the columns", fontsize=12)
plt.show()

# %% [markdown]
# A column with several ones is an element that was read several times: its gradient is a sum. A row with several ones is a sum: its gradient goes to all of its inputs. So *copying and adding are each other's backward*.
#
# ## Broadcasting
#
# In $y = x + b$ with $x$ of shape $(N, C)$ and $b$ of shape $(C,)$:
#
# $$ y_{nc} = x_{nc} + b_c \tag{02.2} $$
#
# $\partial y_{nc} / \partial b_k$ is 1 if $c = k$, whatever $n$ is, and else 0. Write $\delta_{ck}$ for that: 1 where $c = k$, else 0. With (00.15), and a double sum because $y$ has two indices,
#
# $$ db_k = \sum_{n}\sum_{c} dy_{nc}\, \delta_{ck} = \sum_n dy_{nk} \tag{02.3} $$
#
# The $\delta$ removes the sum over $c$ and puts $k$ for $c$; the sum over $n$, an index that $b$ does not have, stays. Shapes: $dy$ is $(N, C)$, $db$ is $(C,)$, as $b$. **A gradient always has the shape of its tensor.**
# When a shape does not fit, a sum is missing.
#
# With a product the factor goes into the sum. For $y_{nc} = x_{nc}\, s_c$:
#
# $$ dx_{nc} = dy_{nc}\, s_c, \qquad ds_c = \sum_n dy_{nc}\, x_{nc} \tag{02.4} $$
#
# First the gradient as if nothing had been broadcast, `dy * x` of shape $(N, C)$; then summed down to the shape of $s$. So every op can share one function. NumPy's rule of broadcasting: align the shapes at the right; a missing axis, or
# an axis of length 1, is repeated. The function undoes both.
#
# ### Exercise 1: unbroadcast
#
# First sum over the axes that `shape` does not have; they are the first ones. Then sum over each axis where `shape` has 1 and `dy` has more, keeping the axis.


# %% tags=["exercise"]
def unbroadcast(dy, shape):
    """Sums dy to `shape`: the gradient of a tensor of this shape that was broadcast to dy's."""
    # --- solution
    new = dy.ndim - len(shape)
    dy = dy.sum(axis=tuple(range(new)))
    for axis, length in enumerate(shape):
        if length == 1 and dy.shape[axis] != 1:
            dy = dy.sum(axis=axis, keepdims=True)
    return dy
    # --- stub
    # new = dy.ndim - len(shape)  # how many axes in front are new
    # return dy
    # --- end


# %% tags=["check"]
@lesson.check("unbroadcast", hint="dy.sum(axis=tuple(range(new))) first; then sum with keepdims=True where shape is 1.")
def _(unbroadcast):
    rng = np.random.default_rng(0)
    for big, small in [
        ((3, 4), (4,)), ((3, 4), (3, 1)), ((3, 4), (1, 1)), ((3, 4), ()),
        ((2, 3, 4), (3, 1)), ((2, 1, 4), (1, 1, 4)), ((3, 4), (3, 4)),
    ]:  # fmt: skip
        b, dy = rng.normal(size=small), rng.normal(size=big)
        numeric = lessons.numeric_gradient(lambda b, big=big: np.broadcast_to(b, big), b, dy)
        lessons.same(unbroadcast(dy, small), numeric, what=f"{big} back to {small}")  # (02.2), (02.3)


# %% [markdown]
# ## A box with an array: Tensor and Op
#
# Here is lesson 01's engine with arrays. One class for each operation: its `forward` gets arrays and saves what its `backward` will need; `backward` gets `dy` and returns one gradient for each input. `apply` runs it and makes the instance the node
# of the graph. The walk is minitorch's: ops are numbered as they are made, and the waiting op with the highest number comes next. It also holds every op to the rule of shapes.


# %%
class Tensor:
    """An array in the graph.       grad_fn: the Op that made it, None for a leaf"""

    def __init__(self, array, grad_fn=None):
        self.array = np.asarray(array, np.float64)
        self.grad_fn, self.grad = grad_fn, None
        self.counter = [0]  # how often its memory was changed; for the end of this lesson

    shape = property(lambda self: self.array.shape)


class Op:
    """One operation, and the node of the graph that stands for it."""

    view = False  # the result is the input's memory, seen in another way
    made = 0

    @classmethod
    def apply(cls, *tensors, **options):
        """Tensors are positional, options are keywords."""
        op = cls()
        op.inputs = [t if isinstance(t, Tensor) else Tensor(t) for t in tensors]
        op.versions = [t.counter[0] for t in op.inputs]
        Op.made += 1
        op.number = Op.made
        y = Tensor(op.forward(*[t.array for t in op.inputs], **options), op)
        if cls.view:
            y.counter = op.inputs[0].counter
        return y

    def save(self, *values):
        self.saved = values


def backward(y, dy=1.0):
    """Adds the gradient of sum(dy * y) to the .grad of every leaf."""
    transit = {y.grad_fn: np.broadcast_to(dy, y.shape)}
    while transit:
        op = max(transit, key=lambda op: op.number)  # the highest number: all that used its result has been through
        gradients = op.backward(transit.pop(op))
        for tensor, g in zip(op.inputs, gradients if isinstance(gradients, tuple) else (gradients,)):
            name = type(op).__name__
            assert np.shape(g) == tensor.shape, (
                f"{name}: a gradient of shape {np.shape(g)} for an input of shape {tensor.shape}"
            )
            if tensor.grad_fn is None:
                tensor.grad = g if tensor.grad is None else tensor.grad + g
            else:
                transit[tensor.grad_fn] = transit.get(tensor.grad_fn, 0.0) + g


class Add(Op):
    """y = a + b                   da = dy, db = dy, each summed to its shape"""

    def forward(self, a, b):
        self.save(a.shape, b.shape)
        return a + b

    def backward(self, dy):
        a_shape, b_shape = self.saved
        return unbroadcast(dy, a_shape), unbroadcast(dy, b_shape)


class Mul(Op):
    """y = a b                     da = dy b, db = dy a, each summed to its shape"""

    def forward(self, a, b):
        self.save(a, b)
        return a * b

    def backward(self, dy):
        a, b = self.saved
        return unbroadcast(dy * b, a.shape), unbroadcast(dy * a, b.shape)


class Tanh(Op):
    """y = tanh x                  dx = dy (1 - y^2)"""

    def forward(self, x):
        y = np.tanh(x)
        self.save(y)
        return y

    def backward(self, dy):
        (y,) = self.saved
        return dy * (1 - y**2)


Tensor.__add__ = Tensor.__radd__ = lambda a, b: Add.apply(a, b)
Tensor.__mul__ = Tensor.__rmul__ = lambda a, b: Mul.apply(a, b)
Tensor.__neg__ = lambda a: a * -1.0
Tensor.__sub__ = lambda a, b: a + (-b)
Tensor.tanh = lambda a: Tanh.apply(a)

# %% [markdown]
# One function tests an op as lesson 00 taught, and against minitorch: a random `dy`, the gradient of every input against differences, and values and gradients equal to the library's. It is used for every op below.


# %%
def test(small, library, *arrays, name=""):
    """Asserts that `small` on Tensors agrees with `library` on minitorch's; returns [(gradient, numeric), ...]."""
    tensors = [Tensor(a) for a in arrays]
    y = small(*tensors)
    dy = np.random.default_rng(7).normal(size=y.shape)
    backward(y, dy)

    theirs = [minitorch.tensor(a, requires_grad=True) for a in arrays]
    their_y = library(*theirs)
    lessons.same(y.array, their_y, tol=1e-12, what=f"{name} values".strip())
    for t, g in zip(tensors, minitorch.autograd.grad(their_y, theirs, minitorch.tensor(dy))):
        lessons.same(t.grad, g, tol=1e-12, what=f"{name} gradient".strip())

    pairs = []
    for i, a in enumerate(arrays):
        f = lambda v, i=i: small(*[Tensor(v if j == i else other) for j, other in enumerate(arrays)]).array  # noqa: E731
        pairs.append((tensors[i].grad, lessons.numeric_gradient(f, a, dy)))
    return pairs


rng = np.random.default_rng(2)
x, s, column = rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=(3, 1))
errors = {}
for name, f, inputs in [
    ("x + b", lambda a, b: a + b, (x, s)),  # (02.2), (02.3)
    ("x * s", lambda a, b: a * b, (x, s)),  # (02.4)
    ("column * s", lambda a, b: a * b, (column, s)),  # both are broadcast
    ("tanh(x) - s", lambda a, b: a.tanh() - b, (x, s)),
]:
    for which, pair in zip(("first", "second"), test(f, f, *inputs)):
        errors[f"{name}, {which}"] = pair
worst = lessons.show_errors(errors, title="Broadcast operations: by hand against differences", limit=1e-7)
assert worst < 1e-7

# %% [markdown]
# ## Sums and means
#
# The mirror image of broadcasting. $y_n = \sum_c x_{nc}$ has $\partial y_m / \partial x_{nc} = \delta_{mn}$, so
#
# $$ dx_{nc} = \sum_m dy_m\, \delta_{mn} = dy_n \tag{02.5} $$
#
# for every $c$: each element of row $n$ gets a copy of $dy_n$. In NumPy `dy` of shape $(N,)$ must first get its axis back, $(N, 1)$, before it broadcasts to $(N, C)$. Aligned at the right, $(N,)$ would fit $(N, C)$ by accident when
# $N = C$, and copy into columns in place of rows: one more reason to test with shapes that are not square. A mean $y_n = \frac{1}{C}\sum_c x_{nc}$ only adds a factor:
#
# $$ dx_{nc} = \frac{1}{C}\, dy_n \tag{02.6} $$
#
# ## The maximum, and ties
#
# $y_n = \max_c x_{nc}$ is one of the inputs. Let $k_n$ be its place in row $n$. If a different element moves a little, $y_n$ does not notice; if the one at $k_n$ moves, $y_n$ moves with it:
#
# $$ dx_{nc} = dy_n\, \delta_{c k_n}, \qquad k_n = \mathrm{argmax}_c\, x_{nc} \tag{02.7} $$
#
# If several elements are equally large, this breaks down. Let $T$ be the set of their places. Move the row along $v$: the elements of $T$ start equal, and the fastest of them becomes the maximum,
#
# $$ \lim_{h \to 0,\, h > 0} \frac{y(x + hv) - y(x)}{h} = \max_{i \in T} v_i \tag{02.8} $$
#
# That is not a sum $\sum_i g_i v_i$ for any $g$: along $v$ and along $-v$ it can be positive both times. So at a tie there *is no gradient*, and one has to choose. Any weights $g_i \ge 0$ on $T$ with the sum 1 never promise more than the true
# slope, $\sum_{i \in T} g_i v_i \le \max_{i \in T} v_i$; such a choice is called a *subgradient*. The fair one shares equally:
#
# $$ dx_{nc} = dy_n\, \frac{[\,x_{nc} = y_n\,]}{\vert T_n\vert} \tag{02.9} $$
#
# ($[\dots]$ is 1 where the condition holds, else 0.) What must not happen is that every winner gets the whole $dy$: then the weights have the sum $\vert T\vert$. Ties are not rare. ReLU outputs, integers, and constant borders of pictures are full of them.

# %%
tied = np.array([2.0, 5.0, 5.0, -1.0, 5.0])
rng = np.random.default_rng(3)
for v in rng.normal(size=(100, 5)):
    slope = ((tied + 1e-6 * v).max() - tied.max()) / 1e-6
    lessons.same(slope, v[[1, 2, 4]].max(), tol=1e-6, what="slope along v")  # (02.8)
    assert v[[1, 2, 4]].mean() <= slope + 1e-9  # the equal shares are a subgradient

theirs = minitorch.tensor(tied, requires_grad=True)
theirs.amax().backward()
print("minitorch's gradient at the tie:", theirs.grad.numpy().round(4))
print("central differences:            ", lessons.numeric_gradient(np.max, tied).round(4), "- no gradient at all")

# %% [markdown]
# Central differences give one half to each of three: along one axis, the slope is 1 to the right and 0 to the left. Their sum is 1.5, so this is not a subgradient either. **A numeric check says nothing at a kink.** Check the maximum where
# there are no ties, and ties by (02.9).
#
# ### Exercise 2: three reductions
#
# `axis` is a number, and the result has lost that axis. In `backward` bring it back with `np.expand_dims(dy, axis)`.


# %% tags=["exercise"]
class Sum(Op):
    """y = sum of x over an axis"""

    def forward(self, x, axis):
        self.save(x.shape, axis)
        return x.sum(axis)

    def backward(self, dy):
        shape, axis = self.saved
        # --- solution
        return np.broadcast_to(np.expand_dims(dy, axis), shape)
        # --- stub
        # return np.zeros(shape)
        # --- end


class Mean(Op):
    """y = mean of x over an axis"""

    def forward(self, x, axis):
        self.save(x.shape, axis)
        return x.mean(axis)

    def backward(self, dy):
        shape, axis = self.saved
        # --- solution
        return np.broadcast_to(np.expand_dims(dy, axis), shape) / shape[axis]
        # --- stub
        # return np.zeros(shape)
        # --- end


class Max(Op):
    """y = maximum of x over an axis; ties share"""

    def forward(self, x, axis):
        y = x.max(axis)
        self.save(x, y, axis)
        return y

    def backward(self, dy):
        x, y, axis = self.saved
        # --- solution
        ties = x == np.expand_dims(y, axis)
        return np.expand_dims(dy, axis) * ties / ties.sum(axis, keepdims=True)
        # --- stub
        # ties = x == np.expand_dims(y, axis)
        # return np.expand_dims(dy, axis) * ties
        # --- end


# %% tags=["check"]
@lesson.check(
    "Sum",
    "Mean",
    "Max",
    hint="Sum: np.broadcast_to(np.expand_dims(dy, axis), shape). Mean divides that by shape[axis], Max by the ties of its row.",
)
def _(Sum, Mean, Max):
    rng = np.random.default_rng(4)
    for op, library in ((Sum, "sum"), (Mean, "mean"), (Max, "amax")):
        for axis in (0, 1, -1):  # (02.5), (02.6), (02.7)
            f = lambda x, op=op, axis=axis: op.apply(x, axis=axis)  # noqa: E731
            g = lambda x, library=library, axis=axis: getattr(x, library)(axis)  # noqa: E731
            for gradient, numeric in test(f, g, rng.normal(size=(3, 4)), name=op.__name__):
                lessons.same(gradient, numeric, tol=1e-7, what=f"{op.__name__} over axis {axis}")
    x = Tensor([[1.0, 4.0, 4.0], [7.0, 7.0, 7.0]])
    backward(Max.apply(x, axis=1), np.array([1.0, -3.0]))
    lessons.same(x.grad, [[0, 0.5, 0.5], [-1, -1, -1]], what="Max with ties")  # (02.9)


# %% [markdown]
# `Tensor.max(dim)` of PyTorch and minitorch returns the place of the maximum too, and then the element at that place gets all of $dy$: another subgradient. `amax` shares.
#
# ## The matrix product, by indices
#
# $a$ has shape $(N, K)$, $b$ has shape $(K, M)$, and $y = a\,b$ has shape $(N, M)$:
#
# $$ y_{nm} = \sum_k a_{nk}\, b_{km} \tag{02.10} $$
#
# Which outputs does $a_{pq}$ touch? It appears in the sum where $n = p$ and $k = q$, with the factor $b_{qm}$:
#
# $$ \frac{\partial y_{nm}}{\partial a_{pq}} = \delta_{np}\, b_{qm} \tag{02.11} $$
#
# Now (00.15), again with a double sum. The $\delta_{np}$ removes the sum over $n$:
#
# $$ da_{pq} = \sum_{n}\sum_{m} dy_{nm}\,\delta_{np}\, b_{qm} = \sum_m dy_{pm}\, b_{qm} = \sum_m dy_{pm}\, (b^{\top})_{mq}, \qquad da = dy\; b^{\top} \tag{02.12} $$
#
# The sum over $m$ runs along the *second* index of both, so one of them has to be transposed before it is a matrix product. For $b_{pq}$: it touches $y_{nm}$ where $k = p$ and $m = q$, with the factor $a_{np}$, so
#
# $$ db_{pq} = \sum_n\sum_m dy_{nm}\, a_{np}\, \delta_{mq} = \sum_n (a^{\top})_{pn}\, dy_{nq}, \qquad db = a^{\top} dy \tag{02.13} $$
#
# Shapes: $dy\,b^\top$ is $(N, M)(M, K) = (N, K)$, as $a$; $a^\top dy$ is $(K, N)(N, M) = (K, M)$, as $b$. If you forget the formulas, the shapes alone leave only one way to multiply. That is a help to memory and not a proof: with square
# matrices any order fits.

# %%
rng = np.random.default_rng(5)
a, b, dy = rng.normal(size=(3, 4)), rng.normal(size=(4, 2)), rng.normal(size=(3, 2))
lessons.same(np.einsum("nk,km->nm", a, b), a @ b, what="y")  # (02.10)
jacobian = np.zeros((3, 2, 3, 4))
for p, q in np.ndindex(a.shape):
    unit = np.zeros_like(a)
    unit[p, q] = 1.0
    jacobian[:, :, p, q] = unit @ b  # linear in a: the change of y when a_pq grows by 1
lessons.same(jacobian, np.einsum("np,qm->nmpq", np.eye(3), b), what="the slopes of y")  # (02.11)
lessons.same(dy @ b.T, np.einsum("nm,nmpq->pq", dy, jacobian), what="da")  # (02.12)
lessons.same(a.T @ dy, lessons.numeric_gradient(lambda b: a @ b, b, dy), what="db")  # (02.13)
print(f"the table of slopes has {jacobian.size} entries, b.T has {b.size}")

# %% [markdown]
# Arrays with more axes are stacks of matrices: the product uses the last two axes, and the ones before are broadcast like those of a sum. So the two formulas hold for each matrix of the stack, and `unbroadcast` does the rest.
#
# ### Exercise 3: MatMul


# %% tags=["exercise"]
class MatMul(Op):
    """y = a @ b              a: (..., N, K)   b: (..., K, M)   y: (..., N, M)"""

    def forward(self, a, b):
        self.save(a, b)
        return a @ b

    def backward(self, dy):
        a, b = self.saved
        # --- solution
        da = dy @ b.swapaxes(-1, -2)
        db = a.swapaxes(-1, -2) @ dy
        return unbroadcast(da, a.shape), unbroadcast(db, b.shape)
        # --- stub
        # da = np.zeros_like(a)  # x.swapaxes(-1, -2) transposes every matrix of a stack
        # db = np.zeros_like(b)
        # return da, db
        # --- end


# %% tags=["check"]
@lesson.check(
    "MatMul", hint="da = dy @ b transposed, db = a transposed @ dy; then each through unbroadcast to its shape."
)
def _(MatMul):
    rng = np.random.default_rng(6)
    f, g = lambda a, b: MatMul.apply(a, b), lambda a, b: a @ b
    for a, b in [((3, 4), (4, 2)), ((5, 3, 4), (4, 2)), ((5, 1, 3, 4), (2, 4, 2))]:
        for name, (gradient, numeric) in zip(
            ("da", "db"), test(f, g, rng.normal(size=a), rng.normal(size=b), name="MatMul")
        ):
            lessons.same(gradient, numeric, tol=1e-7, what=f"{name} of {a} @ {b}")  # (02.12), (02.13)


# %% [markdown]
# Here is a whole small graph in minitorch, with each box's values `y` and, in red, its gradient `dy`. Walk it from the right. Every gradient has the shape of its values. `Mean` divides by 6, the power multiplies by $2(\dots)$; at `Add` the same gradient goes two ways: unchanged
# to `MatMul`, and to `b` as the sum of each column. For `W` it is $x^\top$ times the gradient at `MatMul`.

# %%
from minitorch import viz

rng = np.random.default_rng(0)
x, W, b, t = (
    minitorch.tensor(rng.integers(-3, 4, shape).astype(float), requires_grad=learnt)
    for shape, learnt in [((3, 2), False), ((2, 2), True), ((2,), True), ((3, 2), False)]
)
viz.graph(lambda x, W, b, t: ((x @ W + b - t) ** 2).mean(), x, W, b, t)

# %% [markdown]
# ## Views: the same memory, read differently
#
# An array is a row of numbers in memory, plus a rule for finding an element. With *strides* $s_d$, how far apart neighbours along axis $d$ are, and a starting place, element $(i_0, i_1, \dots)$ is at
#
# $$ \mathrm{place} = \mathrm{start} + \sum_d i_d\, s_d \tag{02.14} $$
#
# A transpose, a slice, or a broadcast needs no copy: another start and other strides over the same memory. Such an array is a *view*. Broadcasting is the stride 0: move along that axis, and stay at the same place.

# %%
memory = np.arange(12.0)
x = memory.reshape(3, 4)
views = {
    "x": x, "x.T": x.T, "x[:, 1::2]": x[:, 1::2], "x[1] broadcast to (2, 4)": np.broadcast_to(x[1], (2, 4)),
}  # fmt: skip
colors = plt.get_cmap("viridis")(0.35 + 0.65 * np.linspace(0, 1, 12))
colors = np.array([plt.matplotlib.colors.to_hex(c) for c in colors])
figure, axes = plt.subplots(figsize=(11, 4.4))
cells(axes, memory, 3.5, 6.2, colors, "the memory: 12 numbers in a row")
left = 0.0
for name, view in views.items():
    start = (view.__array_interface__["data"][0] - memory.__array_interface__["data"][0]) // 8
    strides = [s // 8 for s in view.strides]
    cells(axes, view, left, 4.2, colors[view.astype(int)], f"{name}\nstart {start}, strides {tuple(strides)}")
    left += view.shape[1] + 1.7
    for index in np.ndindex(view.shape):
        assert memory[start + np.dot(index, strides)] == view[index]  # (02.14)
    assert np.shares_memory(memory, view)
axes.set(xlim=(-0.2, 20), ylim=(-0.2, 7.2), title="Four views of one memory: only the start and the strides differ")
axes.axis("off")
plt.show()

theirs = minitorch.tensor(x)
print("minitorch:", theirs.stride(), theirs.T.stride(), theirs[:, 1::2].stride(), theirs[1].expand(2, 4).stride())

# %% [markdown]
# A view only moves elements, so its table $A$ holds a single 1 in each row, and (02.1) says: take each $dy$ back to the element that it was read from. A reshape keeps the order of the elements, so `dx = dy.reshape(x.shape)`.
# A *permutation* gives the axes a new order: axis $r$ of $y$ is axis $a_r$ of $x$, so $y_{i_{a_0} i_{a_1} \dots} = x_{i_0 i_1 \dots}$. The gradient wants the axes back where they were: with the inverse permutation,
#
# $$ dx = \mathrm{permute}(dy, a^{-1}), \qquad a^{-1}_{a_r} = r \tag{02.15} $$
#
# Swapping two axes is its own inverse, so a test with a plain transpose cannot tell $a$ from $a^{-1}$. With three axes, $a = (2, 0, 1)$ can: its inverse is $(1, 2, 0)$.
#
# ### Exercise 4: reshape and permute


# %% tags=["exercise"]
class Reshape(Op):
    """y = x's elements, in order, in another shape"""

    view = True

    def forward(self, x, shape):
        self.save(x.shape)
        return x.reshape(shape)

    def backward(self, dy):
        (shape,) = self.saved
        # --- solution
        return dy.reshape(shape)
        # --- stub
        # return dy
        # --- end


class Permute(Op):
    """y = x with its axes in another order: axis r of y is axis axes[r] of x"""

    view = True

    def forward(self, x, axes):
        self.save(axes)
        return x.transpose(axes)

    def backward(self, dy):
        (axes,) = self.saved
        # --- solution
        inverse = [0] * len(axes)
        for r, a in enumerate(axes):
            inverse[a] = r
        return dy.transpose(inverse)
        # --- stub
        # return dy.transpose(axes)
        # --- end


# %% tags=["check"]
@lesson.check("Reshape", "Permute", hint="(02.15): axis r of y is axis axes[r] of x, so inverse[axes[r]] = r.")
def _(Reshape, Permute):
    x = np.random.default_rng(7).normal(size=(2, 3, 4))
    ((gradient, numeric),) = test(lambda x: Reshape.apply(x, shape=(4, 6)), lambda x: x.reshape(4, 6), x)
    lessons.same(gradient, numeric, tol=1e-7, what="reshape (2, 3, 4) to (4, 6)")
    for axes in [(2, 0, 1), (0, 2, 1), (1, 2, 0)]:  # (02.15)
        f, g = lambda x, axes=axes: Permute.apply(x, axes=axes), lambda x, axes=axes: x.permute(axes)
        ((gradient, numeric),) = test(f, g, x, name=f"permute {axes}:")
        lessons.same(gradient, numeric, tol=1e-7, what=f"permute {axes}")


# %% [markdown]
# ## What goes wrong: read twice
#
# ### Exercise 5: find the bug
#
# An index list reads rows by number: `y = W[k]` with $W$ of shape $(V, C)$ and $k$ of shape $(N,)$. This is how words are looked up in a table of word vectors, and a word that occurs three times in a text is read three times.
#
# $$ y_{nc} = W_{k_n c}, \qquad dW_{vc} = \sum_{n:\; k_n = v} dy_{nc} \tag{02.16} $$
#
# The program below looks like that formula. It is right for `k = [2, 0]` and wrong for `k = [2, 2]`: then only the last $dy$ counts. `dW[k] += dy` is short for `dW[k] = dW[k] + dy`: NumPy *reads* all rows, adds, and *writes* them
# back, and rows that were read twice overwrite each other. NumPy has a function that adds one after the other: `np.add.at(dW, k, dy)`.


# %% tags=["exercise"]
class Index(Op):
    """y = W[k]               W: (V, ...)   k: (N,), whole numbers   y: (N, ...)"""

    def forward(self, W, k):
        self.save(W.shape, k)
        return W[k]

    def backward(self, dy):
        shape, k = self.saved
        dW = np.zeros(shape)
        # --- solution
        np.add.at(dW, k, dy)
        # --- stub
        # dW[k] += dy
        # --- end
        return dW


# %% tags=["check"]
@lesson.check("Index", hint="np.add.at(dW, k, dy) adds every dy, also where k repeats.")
def _(Index):
    W = np.random.default_rng(8).normal(size=(5, 2))
    for k in ([2, 0], [2, 2], [4, 1, 4, 4, 0]):
        ((gradient, numeric),) = test(
            lambda W, k=k: Index.apply(W, k=np.array(k)), lambda W, k=k: W[k], W, name=f"k = {k}:"
        )
        lessons.same(gradient, numeric, tol=1e-7, what=f"dW for k = {k}")  # (02.16)


# %% [markdown]
# ## What goes wrong: a value that changed meanwhile
#
# `Mul` saved its inputs. What if somebody writes into one of them before the backward pass? Views make it easy to do without noticing:

# %%
x, s = Tensor([1.0, 2.0, 3.0, 4.0]), Tensor([10.0, 10.0, 10.0, 10.0])
part = Reshape.apply(x, shape=(2, 2))  # a view: the same memory as x
y = x * s
part.array[0, 0] = 99.0  # changes x too, which y's backward will read
backward(y)
print("ds =", s.grad, "- should be [1. 2. 3. 4.]")
assert s.grad[0] == 99.0

# %% [markdown]
# No error, a wrong gradient. The cure is bookkeeping: every memory has a counter of its changes, shared by all its views. An op notes the count when it is applied; if in `backward` the count of a saved input is another, its value is gone, and the
# only honest answer is an error. An input that was not saved may change freely.
#
# ### Exercise 6: the version check
#
# `Op.apply` has noted `op.versions`, and views share `counter` already. Write the in-place addition, which counts its change, and the check. A saved value is the input number `i` if `value is op.inputs[i].array`.


# %% tags=["exercise"]
def add_(x, number):
    """Adds a number to the Tensor x in place, and counts the change."""
    # --- solution
    x.array += number
    x.counter[0] += 1
    # --- stub
    # x.array += number
    # --- end


def check_saved(op):
    """Raises a RuntimeError if an input that op has saved was changed since."""
    for value in op.saved:
        for tensor, version in zip(op.inputs, op.versions):
            # --- solution
            if value is tensor.array and tensor.counter[0] != version:
                raise RuntimeError(f"{type(op).__name__}: a saved input was changed in place")
            # --- stub
            # pass
            # --- end


# %% tags=["check"]
@lesson.check(
    "add_", "check_saved", hint="add_ also raises x.counter[0] by 1; an op may go on if counter[0] == version."
)
def _(add_, check_saved):
    def complains(change, op):
        x, s = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
        view = Reshape.apply(x, shape=(2, 1))
        y = Tanh.apply(x) if op is Tanh else op.apply(x, s)
        if change:
            add_(view, 1.0)
            lessons.same(x.array, [2.0, 3.0], what="x after add_ on its view")
        try:
            check_saved(y.grad_fn)
        except RuntimeError:
            return True
        return False

    assert complains(True, Mul), "Mul saved x, x was changed through a view, and check_saved does not complain."
    assert not complains(False, Mul), "check_saved complains although nothing was changed."
    assert not complains(True, Add), "Add saved only shapes: the change does no harm, but check_saved complains."
    assert not complains(True, Tanh), "Tanh saved its output, not x: the change does no harm."


# %% [markdown]
# minitorch and PyTorch do the same, and say which tensor it was:

# %%
x = minitorch.tensor([1.0, 2.0, 3.0, 4.0]).double()
s = minitorch.tensor([10.0, 10.0, 10.0, 10.0]).double().requires_grad_()
y = x * s
part = x.view(2, 2)
part[0, 0] = 99.0
print("version of x:", x._version, "\n")
try:
    y.sum().backward()
except RuntimeError as error:
    print(error)
else:
    raise AssertionError("minitorch should have complained")

# %% [markdown]
# ## On real data: 64 numbers for a picture
#
# scikit-learn's digits: 1797 pictures of 8 by 8 pixels. A network with 32 hidden units, $h = \tanh(x W_1 + b_1)$ and $\hat y = h W_2 + b_2$, and the squared error against a 1 for the right digit and a 0 for the other nine, averaged over all. (Lesson 04 has
# a better loss for classes.) Shapes: $x$ is $(N, 64)$, $W_1$ $(64, 32)$, $b_1$ $(32,)$, $W_2$ $(32, 10)$, $b_2$ $(10,)$. How many boxes would lesson 01's engine need?

# %%
from sklearn.datasets import load_digits

Tensor.__matmul__ = lambda a, b: MatMul.apply(a, b)
pixels, digit = load_digits(return_X_y=True)
pixels = pixels / 16.0
shuffled = np.random.default_rng(0).permutation(len(digit))
train, held_out = shuffled[:1200], shuffled[1200:]
wanted = np.eye(10)[digit]  # (1797, 10): a 1 in the column of the right digit

rng = np.random.default_rng(1)
start_weights = [rng.normal(size=(64, 32)) / 8, np.zeros(32), rng.normal(size=(32, 10)) / 6, np.zeros(10)]


def network(weights, x):
    """Works on our Tensors and on minitorch's."""
    W1, b1, W2, b2 = weights
    return (x @ W1 + b1).tanh() @ W2 + b2


weights = [Tensor(w.copy()) for w in start_weights]  # updated in place below
x, target = Tensor(pixels[train]), Tensor(wanted[train])
curve, right = [], []
started, ops_before = time.perf_counter(), Op.made
for _step in range(150):
    difference = network(weights, x) - target
    loss = Mean.apply(Mean.apply(difference * difference, axis=1), axis=0)
    for w in weights:
        w.grad = None
    backward(loss)
    for w in weights:
        w.array -= 0.5 * w.grad
    curve.append(float(loss.array))
    guess = network(weights, Tensor(pixels[held_out])).array.argmax(1)
    right.append(np.mean(guess == digit[held_out]))
took = time.perf_counter() - started

node = loss.grad_fn
boxes, waiting = {node}, [node]
while waiting:
    for t in waiting.pop().inputs:
        if t.grad_fn is not None and t.grad_fn not in boxes:
            boxes.add(t.grad_fn)
            waiting.append(t.grad_fn)
numbers = len(train) * (2 * 64 * 32 + 32 + 2 * 32 * 10 + 4 * 10)  # products, sums, tanh; differences, squares
print(f"{len(boxes)} ops in the graph of one step; with one number in a box: about {numbers:,}")
print(f"{took:.1f} s for 150 steps; {right[-1]:.0%} of {len(held_out)} held-out digits are right")

figure, (left, middle) = plt.subplots(1, 2, figsize=(10, 3.6))
left.plot(curve)
left.set(xlabel="step", ylabel="mean squared error", ylim=(0, None), title="Your Tensor trains a network on digits")
middle.plot(right, color="C1")
middle.set(xlabel="step", ylabel="share of held-out digits", ylim=(0, 1), title="Right on digits that it never saw")
plt.show()
assert len(boxes) < 20 and right[-1] > 0.8

# %% [markdown]
# Ten boxes in place of millions, and the work in each is one call of NumPy. The graph is as long as the formula; how many pictures go through it does not matter. The same function on minitorch's tensors gives the same gradients:

# %%
weights = [Tensor(w) for w in start_weights]
difference = network(weights, x) - target
backward(Mean.apply(Mean.apply(difference * difference, axis=1), axis=0))

theirs = [minitorch.tensor(w, requires_grad=True) for w in start_weights]
((network(theirs, minitorch.tensor(pixels[train])) - minitorch.tensor(wanted[train])) ** 2).mean().backward()
for name, mine, their in zip(("dW1", "db1", "dW2", "db2"), weights, theirs):
    lessons.same(mine.grad, their.grad, tol=1e-12, what=name)
    print(f"{name}: shape {mine.grad.shape}, equal")

# %% [markdown]
# Two bugs of the zoo in `lessons/zoo` are this lesson's, in other clothes: [01, the bias that does not fit](zoo/01_the_bias_that_does_not_fit.py), and
# [20, a value that changed meanwhile](zoo/20_a_value_that_changed_meanwhile.py).
#
# ## Summary

# %% [markdown] tags=["summary"]
# | equation | what | op | test |
# |---|---|---|---|
# | (02.1) | the backward pass of a linear operation is its transpose | - | here |
# | (02.2), (02.3) | broadcasting: what was copied gets the sum | `BroadcastTo`, `Add`, `minitorch/ops/_method.py::unbroadcast` | here, cases:broadcast_to, cases:add |
# | (02.4) | a broadcast factor | `Mul` | here, cases:mul |
# | (02.5) | sum: a copy of dy for each element | `Sum` | here, cases:sum |
# | (02.6) | mean: the n-th part of dy | `Mean` | here, cases:mean |
# | (02.7), (02.9) | maximum: to the winner; ties share | `Amax`, `Amin` | here, cases:amax, cases:amin |
# | (02.8) | at a tie the maximum has slopes, but no gradient | `Amax` | here |
# | (02.10), (02.11) | the matrix product and its slopes | `MatMul` | here, cases:matmul |
# | (02.12), (02.13) | the matrix product's gradients | `MatMul` | here, cases:matmul |
# | (02.14) | strides: where an element of a view is | `Reshape`, `Slice` | here, cases:reshape, tests/test_engine_views.py::test_views_share_memory_and_counter |
# | (02.15) | permutation: the inverse permutation | `Permute` | here, cases:permute |
# | (02.16) | indexing: what was read k times gets k gradients, added | `Index`, `IndexAdd` | here, cases:getitem |
#
# You have the engine that the rest of the course uses, in small. Next, 03 Logistic regression: a loss that means something, and why its gradient is so simple.
