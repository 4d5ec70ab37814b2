r"""
Gradient checking: finite differences as the judge.

A wrong derivative does not crash. Training goes on, a little worse, and nobody knows why. But a derivative is a limit
of differences, and differences need no rule at all: they can convict any rule. How many of them does it take, how far
may an honest derivative be from them, and what is the chance that a wrong one gets away?

You need: `fp_autograd.calculus` for Taylor's theorem, `fp_autograd.floating_point` for the error of differences,
`fp_autograd.functional` for both modes.

## One direction is enough

A gradient has an entry for every input number, and a difference for each of them would cost two evaluations an entry.
Walk in one random direction $u$ instead. With $\varphi(t) = f(x + tu)$ the chain rule says
$\varphi'(0) = \sum_i u_i\, \partial_i f(x)$, so the claimed gradient $g$ has to satisfy
$\sum_i u_i g_i = \varphi'(0)$: one number, two evaluations. If $g$ is wrong, by the vector $d \ne 0$, the two sides
differ by $d \cdot u = \sum_i d_i u_i$. That may happen to be small although $d$ is not. How often?

**Claim** `autograd.random-direction`. Let $u_1, \dots, u_n$ be independent, each uniform on $[-s_i, s_i]$ with
$s_i > 0$, let $d \ne 0$ and $\tau \ge 0$. Then

$$
P \big( |d \cdot u| \le \tau \big) \le \frac{\tau}{\max_i s_i |d_i|}. \qquad \text{(E1)}
$$

In particular $P(d \cdot u = 0) = 0$: in exact arithmetic one direction convicts every wrong gradient with probability
one.

**Proof.** Let $i$ be an index at which $s_i |d_i|$ is largest; then $d_i \ne 0$. The other coordinates contribute a
number $c$ to $d \cdot u = d_i u_i + c$. Let $\delta > 0$, and cut their intervals into equal pieces so short that
within each box of pieces, one for each coordinate, $c$ stays within $\delta$ of its value $c_0$ in the middle. The
coordinates lie in one of these finitely many boxes. Given which, $|d_i u_i + c| \le \tau$ needs
$|d_i u_i + c_0| \le \tau + \delta$: $u_i$ has to lie in the interval of length $2 (\tau + \delta) / |d_i|$ around
$-c_0 / d_i$. As $u_i$ is independent of the box, and uniform on an interval of length $2 s_i$, the probability of that
is at most $\frac{2 (\tau + \delta)}{|d_i|} \cdot \frac{1}{2 s_i} = \frac{\tau + \delta}{s_i |d_i|}$, given any box,
and so without knowing it (`markov.total-probability`). As $\delta$ may be any positive number, it is at most
$\frac{\tau}{s_i |d_i|}$. $\blacksquare$

Only the bounded density was used; normal coordinates would do as well. Coordinates of $\pm 1$ would not: the error
$d = (1, -1)$ is orthogonal to half of those directions.

If $f$ returns $m$ numbers, its derivative is a matrix, $J$. Draw a cotangent $w$ the same way, uniform on $[-1, 1]$,
and check the gradient of $w \cdot f(x)$. A reverse mode that is wrong by the matrix $E$, with largest entry
$e = |E_{kj}| > 0$ in size, is wrong in entry $j$ of that gradient by a number which by (E1) is at most $r$ in size with
probability at most $r / e$; otherwise (E1) for $u$, with $s_j \ge 1$, misses it with probability at most $\tau / r$.
With $r = \sqrt{\tau e}$ it gets away with probability at most $2 \sqrt{\tau / e}$.

## The tolerance is derived, not guessed

The judge errs too. `autograd.central-step` balances its two errors, truncation, which grows with the step, and
rounding, which shrinks with it: for a function whose third slope is about as large as its values, computed to one share
$\epsilon$, the spacing of numbers next to $1$, the best step is $(3 \epsilon)^{1/3}$. The power of two next to it is
`STEP`:

>>> STEP == 2.0**-17, round(math.log2(3 * EPSILON) / 3)
(True, -17)

But how large is the third slope of *this* function? A second difference, with the double step, tells. Let
$D(h) = \frac{\varphi(h) - \varphi(-h)}{2h}$.

**Claim** `autograd.two-steps`. Let $\varphi$ have five successive slopes on $[-2h, 2h]$, $h > 0$, with
$|\varphi^{(5)}| \le M$ there, and let each of the four values be computed with an error of at most $\delta$. Then the
computed differences satisfy

$$
|D(h) - \varphi'(0)| \le \frac{|D(2h) - D(h)|}{3} + \frac{3 \delta}{2 h} + \frac{M h^4}{18}. \qquad \text{(E2)}
$$

**Proof.** Without errors in the values first. `autograd.taylor` with $n = 4$ at $h$ and at $-h$, each with a remainder
of at most $M h^5 / 120$: in $\varphi(h) - \varphi(-h)$ the even terms cancel and the odd ones double, so

$$
D(h) = \varphi'(0) + \frac{\varphi'''(0)}{6} h^2 + R(h), \qquad |R(h)| \le \frac{1}{2h} \cdot 2\, \frac{M h^5}{120}
  = \frac{M h^4}{120}.
$$

With $2h$ for $h$ the second term is four times as large, and $|R(2h)| \le 16\, M h^4 / 120$. Subtract, and divide by
three:

$$
\frac{D(2h) - D(h)}{3} = \frac{\varphi'''(0)}{6} h^2 + \frac{R(2h) - R(h)}{3},
$$

$$
D(h) - \varphi'(0) = \frac{\varphi'''(0)}{6} h^2 + R(h) = \frac{D(2h) - D(h)}{3} - \frac{R(2h)}{3} + \frac{4 R(h)}{3}.
\qquad \text{(E3)}
$$

The last two terms are at most $\frac{16 + 4}{3} \cdot \frac{M h^4}{120} = \frac{M h^4}{18}$ in size. Now the errors.
They change $D(h)$ by some $\eta_1$, $|\eta_1| \le \frac{2 \delta}{2h} = \frac{\delta}{h}$, and $D(2h)$ by some
$\eta_2$, $|\eta_2| \le \frac{\delta}{2h}$. Insert $D(h) - \eta_1$ and $D(2h) - \eta_2$ for the exact differences in
(E3): what is added on the right is $\eta_1 - \frac{\eta_2 - \eta_1}{3}$, at most
$\frac43 \cdot \frac{\delta}{h} + \frac13 \cdot \frac{\delta}{2h} = \frac{3 \delta}{2h}$. $\blacksquare$

The first term is seen, not assumed. For the second, let an evaluation lose at most $k$ roundings, each a share
$\epsilon$ of the size $A$ of the numbers involved (of $f(x)$ itself, and of its change when the inputs change by their
own size): $\delta = k\, \epsilon A$. The third is no larger than the second as long as $M h^5 \le 27 \delta$; with
$k = 100$ that allows a fifth slope of

>>> f"{27 * 100 * EPSILON / STEP**5:.0e} A"
'2e+13 A'

which few functions reach. So `gradcheck` accepts a disagreement of at most

$$
\tau = \frac{|D(2h) - D(h)|}{3} + \frac{3\, k\, \epsilon A}{h}. \qquad \text{(E4)}
$$

Under these hypotheses no right gradient is rejected. ($u \cdot g$ is rounded too, but by a share $\epsilon$ of its
size, nothing next to $\epsilon / h$.) A wrong one that is accepted has both its own disagreement and the judge's error
below $\tau$, so $|d \cdot u| \le 2 \tau$: by (E1) it gets away with probability at most $2 \tau / \max_i s_i |d_i|$. An
entry that is wrong by a millionth of $A$ is missed about

>>> f"{2 * 3 * 100 * EPSILON / STEP / 1e-6:.1%} of the time"
'1.7% of the time'

and in single precision, with its own best step, by a hundredth of $A$

>>> single = np.finfo(np.float32).eps
>>> f"{min(1, 2 * 3 * 100 * single / np.cbrt(3 * single) / 1e-2):.0%} of the time"
'100% of the time'

which is why `gradcheck` refuses single precision. If the two differences disagree by more than a thousandth, the
function has a corner or a jump within reach, or varies too fast for the step. Then (E2) says nothing useful, and the
check says so and does not pass.

## Second order

The Hessian-vector product $Hu$ is the slope of the gradient along $u$, so the same differences, of the gradient,
judge it, entry by entry, for forward over reverse and for reverse over reverse. And a table of second derivatives is
symmetric (`autograd.mixed-partials`): $v \cdot Hu = u \cdot Hv$ for any two directions, up to rounding, a check that
needs no difference.

## In practice

PyTorch's `gradcheck` compares all entries by default, with a step of $10^{-6}$ and tolerances that the user sets; its
fast mode, and JAX's `check_grads`, use random directions. Models are checked with small sizes in double precision:
an error of a rule shows at every size. Points near a corner of relu are moved away or drawn again. Functions with
random parts (dropout) have to be checked with their randomness fixed.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from fp_autograd.functional import grad, hvp, jvp, tree_leaves, tree_map
from fp_autograd.tensor import Tensor
from fp_autograd.tracing import value_of

__all__ = ["gradcheck", "GradientMismatch", "STEP"]  # the order of the page

STEP = 2.0**-17
"""The step of the differences: a power of two, so that dividing by it rounds nothing."""

Vector = Float[np.ndarray, " _"]
EPSILON = float(np.finfo(np.float64).eps)
UNSETTLED = 1e-3  # a share by which the differences at two steps may disagree and still be a judge


class GradientMismatch(AssertionError):
    """A derivative disagrees with the differences of the function."""


def gradcheck(
    f: Callable[..., Any],
    *args: Any,
    order: int = 2,
    rng: np.random.Generator | None = None,
    step: float = STEP,
    roundings: float | int = 100,
) -> None:
    r"""
    Hold the derivatives of `f` in both modes against central differences, within (E4).

    Parameters
    ----------
    f
        From arrays, or nested containers of arrays, to an array or a nested container of arrays; the same input has to
        give the same output. It is called with tensors.
    args
        Where to check: float64 arrays, numbers, and dicts, lists and tuples of them. What has no slope, such as token
        ids, belongs into the function: `gradcheck(lambda w: f(w, ids), w)`.
    order
        1: gradient and forward mode. 2: also Hessian-vector products, by forward over reverse and by reverse over
        reverse, and their symmetry.
    rng
        Source of the directions; the same ones each time by default.
    step
        $h$, relative to the larger of 1 and the size of an input number. Best a power of two.
    roundings
        $k$, how many roundings, of the size of the output, an evaluation of `f` may lose.

    Raises
    ------
    GradientMismatch
        If a derivative is wrong. The sentence says in which mode, which entry of which input or output, and by how
        much. An entry of a wrong gradient is found by further differences; among more than 128 numbers, in the half of
        the half of … that disagrees the most.
    TypeError
        If an input is not floating point.
    ValueError
        If an input or output has less than double precision, the input is empty, `f` gives two answers to the same
        input or one that is not finite, or the differences at two steps do not agree with each other.

    Examples
    --------
    >>> x, w = np.array([[0.3, -1.0]]), {"w": np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]])}
    >>> gradcheck(lambda x, layer: (x @ layer["w"]).tanh(), x, w)

    An operation whose author forgot a factor:

    >>> from fp_autograd.tracing import Rule, apply
    >>> square = Rule("square", lambda x: x * x, (lambda g, out, x: g * x,), (lambda t, out, x: 2 * t * x,))
    >>> gradcheck(lambda x: apply(square, x).sum(), np.array([1.0, 3.0]))
    Traceback (most recent call last):
        ...
    fp_autograd.checking.GradientMismatch: reverse mode: the slope in argument 0, entry (1,), is 3, but differences...
    """
    if order not in (1, 2):
        raise ValueError(f"gradcheck knows order 1 (gradients) and 2 (Hessian-vector products), got {order}")
    rng = np.random.default_rng(0) if rng is None else rng
    names, leaves = _inputs(args)
    inputs = _Packing(names, [leaf.shape for leaf in leaves])
    x = inputs.pack(leaves)

    def outputs(arrays: list[Any]) -> list[Any]:
        remaining = iter(arrays)
        return tree_leaves(f(*tree_map(lambda _: next(remaining), args)))

    first = [np.asarray(value_of(y)) for y in outputs([Tensor(leaf) for leaf in leaves])]
    _check_outputs(first)
    results = _Packing(
        [f"output {i}" if len(first) > 1 else "the output" for i in range(len(first))], [y.shape for y in first]
    )

    def values(x: Vector) -> Vector:
        return results.pack([value_of(y) for y in outputs([Tensor(a) for a in inputs.unpack(x)])])

    y = values(x)
    if not np.array_equal(y, results.pack(first)):
        raise ValueError("f gave two answers to the same input: fix its randomness, for example by a seed inside it")
    # a single number is its own cotangent, so that messages speak of its gradient
    w = np.ones(1) if y.size == 1 else rng.uniform(-1, 1, y.size)

    def scalar(arrays: list[Any]) -> Any:
        parts = [(out * part).sum() for out, part in zip(outputs(arrays), results.unpack(w), strict=True)]
        return sum(parts[1:], start=parts[0])

    def gradient(x: Vector) -> Vector:
        return inputs.pack(grad(scalar)(inputs.unpack(x)))

    def difference(F: Callable[[Vector], Vector], u: Vector) -> tuple[Vector, Vector]:
        """D(h) of every number that F returns, and by how much D(2h) differs from it."""
        with np.errstate(all="ignore"):  # a step out of the domain is reported below, by its NaN
            near, far = ((F(x + h * u) - F(x - h * u)) / (2 * h) for h in (step, 2 * step))
        return near, np.abs(far - near)

    def judge(
        claimed: Vector, near: Vector, spread: Vector, values: float, slopes: float, say: Callable[[int], str]
    ) -> None:
        """(E4), given how large the numbers are that rounding errors are a share of, and how large slopes are."""
        rounding = 3 * roundings * EPSILON * (values + slopes) / step
        _judge(claimed, near, spread, rounding, UNSETTLED * slopes + rounding, say)

    s = np.maximum(1, np.abs(x))
    # x + h u is rounded: the direction in which it really lies from x is on the grid of the numbers near x
    u, v = ((x + step * s * rng.uniform(-1, 1, x.size) - x) / step for _ in range(2))

    g = gradient(x)
    sizes = float(np.abs(w) @ np.abs(y)), float(np.abs(u) @ np.abs(_finite(g)))
    slope = "the slope" if y.size == 1 else "the slope of a random combination of the outputs"

    def along(u: Vector) -> tuple[Vector, Vector, Vector]:
        """The claimed slope along `u`, and its differences."""
        moving = u != 0  # zero times infinity is no number
        return np.array([g[moving] @ u[moving]]), *difference(lambda x: np.array([w @ values(x)]), u)

    failed = None
    try:
        judge(*along(u), *sizes, lambda k: f"reverse mode: {slope} along a random direction")
    except (GradientMismatch, ValueError) as error:
        failed = error
    if failed:
        where = _suspects(u, along)
        each = zip(*(along(np.where(np.arange(x.size) == i, s, 0)) for i in where), strict=True)
        claimed, near, spread = (np.concatenate(numbers) / s[where] for numbers in each)
        judge(claimed, near, spread, *sizes, lambda k: f"reverse mode: {slope} in {inputs.entry(int(where[k]))}")
        raise failed  # no entry alone is wrong by more than its tolerance, only all together

    t = results.pack(jvp(outputs, (inputs.unpack(x),), (inputs.unpack(u),))[1])
    judge(
        t,
        *difference(values, u),
        _largest(y),
        _largest(t),
        lambda k: f"forward mode: the slope along a random direction of {results.entry(k)}",
    )
    if order == 1:
        return

    def times(u: Vector) -> Vector:
        return inputs.pack(hvp(scalar)(inputs.unpack(x), inputs.unpack(u)))

    def moved(arrays: list[Any]) -> Any:
        """The slope along `u`, whose gradient is the Hessian times `u`."""
        parts = [(a * b).sum() for a, b in zip(grad(scalar)(arrays), inputs.unpack(u), strict=True)]
        return sum(parts[1:], start=parts[0])

    Hu, Hv = times(u), times(v)
    sizes = _largest(g), _largest(Hu) + _largest(Hv)
    second = difference(gradient, u)
    product = "the Hessian times a random direction"
    judge(Hu, *second, *sizes, lambda k: f"forward over reverse: {product}, in {inputs.entry(k)}")
    again = inputs.pack(grad(moved)(inputs.unpack(x)))
    judge(again, *second, *sizes, lambda k: f"reverse over reverse: {product}, in {inputs.entry(k)}")
    one, other = float(v @ Hu), float(u @ Hv)
    if abs(one - other) > roundings * EPSILON * sum(sizes) * float(np.abs(u).sum() + np.abs(v).sum()):
        raise GradientMismatch(f"the Hessian is not symmetric: v (H u) is {one:.10g}, u (H v) is {other:.10g}")


def _judge(
    claimed: Vector, near: Vector, spread: Vector, rounding: float, settled: float, say: Callable[[int], str]
) -> None:
    """Raise unless the claimed slopes are within (E4) of the differences, and the differences agree with each other."""
    off = np.abs(claimed - near)
    tolerance = spread / 3 + rounding
    excess = np.where(np.isfinite(off), off - tolerance, np.inf)
    doubtful = ~(spread <= settled)  # so that NaN is doubtful
    k = int(np.argmax(excess))
    if excess[k] <= 0 and doubtful.any():
        k = int(np.argmax(doubtful))
    if doubtful[k]:
        raise ValueError(
            f"{say(k)} is {claimed[k]:.10g} and cannot be judged: the difference with the step is {near[k]:.10g}, and "
            f"the one with twice the step is off that by {spread[k]:.3g}. Near the input f has a corner or a jump, "
            "leaves its domain, or varies too fast for the step: choose another input, or a smaller step"
        )
    if excess[k] > 0:
        raise GradientMismatch(
            f"{say(k)} is {claimed[k]:.10g}, but differences say {near[k]:.10g}, within {tolerance[k]:.1g}: off by "
            f"{off[k]:.3g}. Unless f has a corner exactly there, a derivative rule is wrong"
        )


def _suspects(u: Vector, along: Callable[[Vector], tuple[Vector, Vector, Vector]]) -> np.ndarray:
    """The indices among which to look for the wrong entry: errors add up, so one half holds at least half of them."""
    where = np.arange(u.size)
    while where.size > 128:
        halves = np.array_split(where, 2)
        errors = []
        for half in halves:
            claimed, near, _ = along(np.where(np.isin(np.arange(u.size), half), u, 0))
            errors.append(abs(claimed[0] - near[0]))
        where = halves[int(np.argmax(np.nan_to_num(errors, nan=np.inf)))]
    return where


class _Packing:
    """Arrays as one vector, and back; which entry of which array a position in it is."""

    def __init__(self, names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> None:
        self.names, self.shapes = names, shapes
        self.ends = np.cumsum([math.prod(shape) for shape in shapes])

    def pack(self, arrays: Sequence[Any]) -> Vector:
        return np.concatenate([np.asarray(a, np.float64).ravel() for a in arrays])

    def unpack(self, vector: Vector) -> list[np.ndarray]:
        parts = np.split(vector, self.ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def entry(self, k: int) -> str:
        i = int(np.searchsorted(self.ends, k, side="right"))
        if self.shapes[i] == ():
            return self.names[i]
        start = int(self.ends[i - 1]) if i else 0
        index = tuple(int(j) for j in np.unravel_index(k - start, self.shapes[i]))
        return f"{self.names[i]}, entry {index},"


def _named(name: str, tree: Any) -> Iterator[tuple[str, Any]]:
    """The leaves of a nested container, each with the path to it."""
    if isinstance(tree, dict):
        for key, part in tree.items():
            yield from _named(f"{name}[{key!r}]", part)
    elif isinstance(tree, list | tuple):
        for i, part in enumerate(tree):
            yield from _named(f"{name}[{i}]", part)
    else:
        yield name, tree


def _inputs(args: tuple[Any, ...]) -> tuple[list[str], list[np.ndarray]]:
    """The names and copies of all arrays among the arguments."""
    names, leaves = [], []
    for i, argument in enumerate(args):
        for name, leaf in _named(f"argument {i}", argument):
            a = np.array(value_of(leaf))
            if a.dtype.kind != "f":
                raise TypeError(
                    f"{name} of f has no slope: it is of type {a.dtype}. Convert it with .astype(np.float64) or, if "
                    "it is an index, keep it out of the arguments: gradcheck(lambda x: f(x, index), x)"
                )
            if a.dtype.itemsize < 8:
                raise ValueError(
                    f"{name} of f is {a.dtype}, in which rounding hides errors of a hundredth. Convert it with "
                    ".astype(np.float64); the derivative rules are the same"
                )
            names.append(name)
            leaves.append(a)
    if not sum(a.size for a in leaves):
        raise ValueError("gradcheck needs at least one number to move, got arguments without any")
    return names, leaves


def _check_outputs(outputs: list[np.ndarray]) -> None:
    if not sum(y.size for y in outputs):
        raise ValueError("f returned no number to differentiate")
    for y in outputs:
        if y.dtype.kind == "f" and y.dtype.itemsize < 8:
            raise ValueError(
                f"f computed in {y.dtype} although its input is float64: rounding would hide errors of a hundredth. "
                "Convert the arrays that f closes over with .astype(np.float64)"
            )
        if y.dtype.kind not in "fiub":
            raise TypeError(f"f has to return real numbers, got {y.dtype}")
        if not np.isfinite(y).all():
            raise ValueError("f is not finite at the input, so it has no slope there: choose another input")


def _finite(x: Vector) -> Vector:
    return np.nan_to_num(x, nan=0, posinf=0, neginf=0)  # a wrong NaN must not blind the judge


def _largest(x: Vector) -> float:
    return float(np.abs(_finite(x)).max())
