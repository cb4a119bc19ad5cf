"""L-BFGS."""

import math

import minitorch

from ..autograd import enable_grad, no_grad
from .optimizer import Optimizer, check_range


class LBFGS(Optimizer):
    """Newton's method with an inverse Hessian that the last `history_size` steps imply. For smooth, full-batch losses.

    Liu and Nocedal, On the limited memory BFGS method, 1989; Nocedal and Wright, Numerical Optimization, chapters 3
    and 7; lesson 05.

    `step(closure)` iterates up to `max_iter` times and stops after `max_eval` calls of the closure, which clears the
    gradients, computes the loss and its gradients, and returns the loss. All parameters are one vector x; there is one
    group. `line_search_fn`: None (steps of lr) or "strong_wolfe".
    It stops when the largest |gradient| is at most tolerance_grad, or when neither x nor the loss changes by more
    than tolerance_change.
    """

    def __init__(
        self, params, lr=1, max_iter=20, max_eval=None, tolerance_grad=1e-7, tolerance_change=1e-9, history_size=100,
        line_search_fn=None,
    ):  # fmt: skip
        super().__init__(params, {
            "lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        })  # fmt: skip

    def check(self, options):
        check_range(options, ("lr", "learning rate"))
        if options["line_search_fn"] not in (None, "strong_wolfe"):
            raise RuntimeError(f"only 'strong_wolfe' is supported as line_search_fn, got {options['line_search_fn']!r}")

    def add_param_group(self, param_group):
        if self.param_groups:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        super().add_param_group(param_group)

    @no_grad()
    def step(self, closure):
        """d = -H g,  x <- x + t d, and again. Returns the first loss."""
        group = self.param_groups[0]
        lr, max_iter, max_eval = float(group["lr"]), group["max_iter"], group["max_eval"]
        tolerance_grad, tolerance_change = group["tolerance_grad"], group["tolerance_change"]
        state = self.state[group["params"][0]]  # PyTorch's place for it
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        closure = enable_grad()(closure)
        first_loss = closure()
        loss, g = float(first_loss), self._gradient()
        evaluations = 1
        state["func_evals"] += 1
        if _largest(g) <= tolerance_grad:
            return first_loss

        for iteration in range(1, max_iter + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                d = -g
                state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
                t = min(1.0, 1.0 / float(g.abs().sum())) * lr
            else:
                d = self._direction(g, state, group["history_size"])
                t = lr
            state.update(d=d, t=t, prev_flat_grad=g.clone(), prev_loss=loss)
            slope = float(g.dot(d))
            if slope > -tolerance_change:
                break

            before, used = loss, 0
            if group["line_search_fn"] is not None:
                x = [p.clone() for p in group["params"]]

                def probe(t, d=d, x=x):
                    return self._probe(closure, x, t, d)

                loss, g, t, used = strong_wolfe(
                    probe, t, loss, g, d, slope, _largest(d), tolerance_change, max_eval - evaluations
                )
                state["t"] = t
                self._move(t, d)
            else:
                self._move(t, d)
                if iteration != max_iter:  # the last point is left to the next step, whose batch may be another
                    loss, g = float(closure()), self._gradient()
                    used = 1
            evaluations += used
            state["func_evals"] += used
            if (
                evaluations >= max_eval
                or _largest(g) <= tolerance_grad
                or abs(t) * _largest(d) <= tolerance_change
                or abs(loss - before) < tolerance_change
            ):
                break
        return first_loss

    def _direction(self, g, state, history_size):
        """-H g by the two-loop recursion, without ever forming H.

        s_i = x_{i+1} - x_i,   y_i = g_{i+1} - g_i,   rho_i = 1 / (y_i s_i)
        q = -g;    newest to oldest:   a_i = rho_i s_i q,   q <- q - a_i y_i
        q <- q (y s) / (y y)                                 the size of the Hessian along the newest step
        oldest to newest:              q <- q + s_i (a_i - rho_i y_i q)
        """
        y, s = g - state["prev_flat_grad"], state["d"] * state["t"]
        ys = y.dot(s)
        if float(ys) > 1e-10:  # the curvature along s is positive, so that H stays positive definite
            for name, value in (("old_dirs", y), ("old_stps", s), ("ro", 1.0 / ys)):
                if len(state[name]) == history_size:
                    state[name].pop(0)
                state[name].append(value)
            state["H_diag"] = ys / y.dot(y)
        history = list(zip(state["old_dirs"], state["old_stps"], state["ro"]))
        al = state.setdefault("al", [None] * history_size)
        q = -g
        for i, (y, s, rho) in reversed(list(enumerate(history))):
            al[i] = s.dot(q) * rho
            q -= al[i] * y
        q *= state["H_diag"]
        for i, (y, s, rho) in enumerate(history):
            q += (al[i] - y.dot(q) * rho) * s
        return q

    def _gradient(self):
        """All gradients as one vector."""
        params = self.param_groups[0]["params"]
        return minitorch.cat([(minitorch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in params])

    def _move(self, t, d):
        start = 0
        for p in self.param_groups[0]["params"]:
            p += t * d[start : start + p.numel()].reshape(p.shape)
            start += p.numel()

    def _probe(self, closure, x, t, d):
        """The loss and the gradient at x + t d."""
        self._move(t, d)
        loss, g = float(closure()), self._gradient()
        for p, value in zip(self.param_groups[0]["params"], x):
            p.copy_(value)
        return loss, g


def _largest(x):
    return float(x.abs().max())


def strong_wolfe(probe, t, f, g, d, slope, size, tolerance, limit, c1=1e-4, c2=0.9):
    """A step t along d that satisfies the strong Wolfe conditions, phi(t) = f(x + t d):

    phi(t) <= phi(0) + c1 t phi'(0)     it pays           |phi'(t)| <= c2 |phi'(0)|     it is flat enough

    First t grows until an interval holds such a point; then the interval shrinks round it. Nocedal and Wright,
    algorithms 3.5 and 3.6. `probe(t)` gives the loss and the gradient; `limit`: how often it may be called.
    Returns the loss, the gradient, t, and the number of calls.
    """

    def point(t):
        f_new, g_new = probe(t)
        return t, f_new, g_new, float(g_new.dot(d))

    previous, new = (0.0, f, g, slope), point(t)
    calls, tries, done = 1, 0, False
    bracket = []
    while tries < limit:
        t, f_new, _, slope_new = new
        if f_new > f + c1 * t * slope or (tries > 1 and f_new >= previous[1]):
            bracket = [previous, new]
            break
        if abs(slope_new) <= -c2 * slope:
            bracket, done = [new], True
            break
        if slope_new >= 0:
            bracket = [previous, new]
            break
        wider = cubic_minimum(previous, new, t + 0.01 * (t - previous[0]), t * 10)
        previous, new = new, point(wider)
        calls, tries = calls + 1, tries + 1
    if not bracket:
        bracket = [(0.0, f, g, slope), new]

    low, high = (0, 1) if bracket[0][1] <= bracket[-1][1] else (1, 0)  # the better end, and the other
    stuck = False
    while not done and tries < limit:
        left, right = sorted(end[0] for end in bracket)
        if (right - left) * size < tolerance:
            break
        t = cubic_minimum(*bracket, left, right)
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:  # close to an end: once is allowed, then a tenth of the way in
            if stuck or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        new = point(t)
        calls, tries = calls + 1, tries + 1
        _, f_new, _, slope_new = new
        if f_new > f + c1 * t * slope or f_new >= bracket[low][1]:
            bracket[high] = new
            low, high = (0, 1) if bracket[0][1] <= bracket[1][1] else (1, 0)
        else:
            if abs(slope_new) <= -c2 * slope:
                done = True
            elif slope_new * (bracket[high][0] - bracket[low][0]) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = new
    t, f_new, g_new, _ = bracket[low]
    return f_new, g_new, t, calls


def cubic_minimum(a, b, lowest, highest):
    """Where the cubic with the values and slopes of two points (t, f, _, slope) is least, within the bounds.

    Nocedal and Wright, equation 3.59; without a minimum: the bounds' middle.
    """
    (t1, f1, _, s1), (t2, f2, _, s2) = (a, b) if a[0] <= b[0] else (b, a)
    if t1 == t2:
        return (lowest + highest) / 2
    d1 = s1 + s2 - 3 * (f1 - f2) / (t1 - t2)
    square = d1 * d1 - s1 * s2
    d2 = math.sqrt(square) if square >= 0 else math.nan
    scale = s2 - s1 + 2 * d2
    if not abs(scale) > 0:
        return (lowest + highest) / 2
    return min(max(t2 - (t2 - t1) * ((s2 + d2 - d1) / scale), lowest), highest)
