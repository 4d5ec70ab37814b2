r"""
Is every gradient right, and how would we know?

The last ten sections proved a dozen formulas and then typed them in. A proof does not protect against typing. A wrong
sign in a backward pass raises no error: the loss still falls, more slowly, and nobody asks. So every backward pass of
this model is held against three judges that do not know it: differences of its own forward pass, the autograd of stage
2, and PyTorch. What can each of them see, and what can none of them see?

You need: the error of central differences (`autograd.central-step`, `autograd.two-steps`), random directions
(`autograd.random-direction`), variance (stage 1), and the backward passes of the sections before this one.

## The table

Each row is a backward pass; the columns are the largest disagreements over all entries of all its gradients, in
float64, with the three judges. *Faults* are seeded into the source of the backward pass, one at a time: a sign turned,
a line dropped. How, and what it means that one is not seen, stands further down.

<!-- figure: gradient_checks -->

## The first judge: differences

Differences need nothing but the forward pass. `autograd.central-step` says what they cost:
$D(h) = \frac{\varphi(h) - \varphi(-h)}{2h}$ is off by up to $\frac{M h^2}{6}$, because the curve bends, and by up to
$\frac{\delta}{h}$, because values are computed with errors up to $\delta$. The best $h$ balances the two, and two
thirds of the digits survive. Two differences together do better: the first error is nearly four times as large at the
double step, so it can be removed.

**Claim** `capstone.extrapolated-difference`. Let $\varphi$ have five successive slopes on $[-2h, 2h]$, $h > 0$, with
$|\varphi^{(5)}| \le M$ there, $M > 0$, and let each of the four values be computed with an error of at most
$\delta > 0$. Then

$$
\Big| \frac{4 D(h) - D(2h)}{3} - \varphi'(0) \Big| \le \frac{M h^4}{18} + \frac{3 \delta}{2 h}. \qquad \text{(K1)}
$$

The right side is smallest at $h = \big( \frac{27 \delta}{4 M} \big)^{1/5}$.

**Proof.** Without errors first. By (E3) in the proof of `autograd.two-steps`,

$$
D(h) - \varphi'(0) = \frac{D(2h) - D(h)}{3} + \frac{4 R(h) - R(2h)}{3}, \qquad
|R(h)| \le \frac{M h^4}{120}, \quad |R(2h)| \le \frac{16 M h^4}{120}.
$$

Bring the first fraction to the left: $D(h) - \frac{D(2h) - D(h)}{3} = \frac{4 D(h) - D(2h)}{3}$. The other is at most
$\frac{4 + 16}{3} \cdot \frac{M h^4}{120} = \frac{M h^4}{18}$ in size. Errors of the values change $D(h)$ by at most
$\frac{2 \delta}{2h} = \frac{\delta}{h}$ and $D(2h)$ by at most $\frac{2 \delta}{4h} = \frac{\delta}{2h}$, so the left
side by at most $\frac{1}{3} \big( \frac{4 \delta}{h} + \frac{\delta}{2h} \big) = \frac{3 \delta}{2h}$. Last, the slope
of the right side of (K1) in $h$ is
$\frac{2 M h^3}{9} - \frac{3 \delta}{2 h^2} = \frac{2 M}{9 h^2} \big( h^5 - \frac{27 \delta}{4 M} \big)$: negative
before the named $h$ and positive after it, so by `markov.slope-bound` the right side falls and then rises.
$\blacksquare$

With $M = 1$ and $\delta = \epsilon$, the spacing of float64 next to one, the bounds of one difference
(`autograd.central-step`) and of two, each at its best step, are

>>> eps = 2.0**-52
>>> h = (27 * eps / 4) ** 0.2
>>> f"{(3 * eps) ** (2 / 3) / 2:.1e}", f"{h**4 / 18 + 1.5 * eps / h:.1e}"
('3.8e-11', '3.8e-13')

Our functions are not that tame. For values near ten that lose a hundred roundings, and a fifth slope of a hundred
thousand (norms of short rows are steep), the power of two next to the best step is `STEP`, and (K1) says

>>> delta, M = 100 * eps * 10, 1e5
>>> STEP == 2.0**-11, round(math.log2((27 * delta / (4 * M)) ** 0.2), 1)
(True, -11.2)
>>> f"{M * STEP**4 / 18 + 1.5 * delta / STEP:.2e}"
'9.98e-10'

so the tolerance of the table is `TOLERANCE`, $10^{-9}$. A right gradient stays below it; an entry that is wrong by more
than twice as much is seen, because the difference itself is off by no more than once.

## A direction instead of an entry

A model of a million parameters has a million entries, four losses each. A random direction tests all of them in four
losses, and `autograd.random-direction` says that it almost never misses entirely. Its bound looks at the largest entry
of the error alone. But typical faults spread: a wrong sign in the first block makes every entry below it wrong by
a little. Directions of random signs see the *length* of the error vector, whatever it is made of.

**Claim** `capstone.sign-directions`. Let $u_1, \dots, u_n$ be independent signs, each $1$ or $-1$ with probability
$\frac12$, and let $d \in \mathbb{R}^n$, $|d|^2 = \sum_i d_i^2$. Then

$$
\mathbb{E}\big[(d \cdot u)^2\big] = |d|^2, \qquad
\mathbb{E}\big[(d \cdot u)^4\big] \le 3 |d|^4, \qquad
P\big( |d \cdot u| \ge \tfrac12 |d| \big) \ge \tfrac{3}{16}. \qquad \text{(K2)}
$$

So $k$ independent directions all see less than half of the error with probability at most $(13/16)^k$.

**Proof.** $(d \cdot u)^2 = \sum_{i, j} d_i d_j u_i u_j$. For $i \ne j$, $u_i u_j$ has the mean
$\mathbb{E}[u_i]\, \mathbb{E}[u_j] = 0$, and $u_i^2 = 1$; this leaves $\sum_i d_i^2$. In the fourth power a product
$u_i u_j u_k u_l$ has the mean $1$ if its indices are equal in pairs, and else $0$, since some sign is left over that is
independent of the others. All four equal: $\sum_i d_i^4$. Two different pairs: the partner of the first place is in one
of three places, $3 \sum_{i \ne j} d_i^2 d_j^2$. Together $3 \sum_{i, j} d_i^2 d_j^2 - 2 \sum_i d_i^4 \le 3 |d|^4$. For
the last part let $X = (d \cdot u)^2$ and let $I$ be $1$ where $X \ge \frac14 |d|^2$ and else $0$. Where $I = 0$,
$X < \frac14 |d|^2$, so $\mathbb{E}[X] \le \frac14 |d|^2 + \mathbb{E}[X I]$: $\mathbb{E}[X I] \ge \frac34 |d|^2$. By
`autograd.cauchy-schwarz`, for the vectors with the entries $2^{-n/2} X$ and $2^{-n/2} I$, one for each of the $2^n$
outcomes, $\mathbb{E}[X I]^2 \le \mathbb{E}[X^2]\, \mathbb{E}[I^2] \le 3 |d|^4\, P(I = 1)$, as $I^2 = I$. For $d \ne 0$
divide: $P(I = 1) \ge \frac{9}{16} \cdot \frac13 = \frac{3}{16}$. For $d = 0$ the probability is one. $k$ directions are
independent. $\blacksquare$

The first part makes the check a measurement: the root of the mean of $(d \cdot u)^2$ over some directions estimates how
long the error is, without knowing where it sits. `gradient_error` does that for a model of any size. The price against
the uniform directions of stage 2: for $d = (1, -1)$ half of the sign directions see nothing. So take several:

>>> f"{(13 / 16) ** 22:.3f}", f"{(13 / 16) ** 45:.1e}"
('0.010', '8.8e-05')

## The second judge and the third

Stage 2 differentiates the forward formulas by rules, which its own tests hold against differences; it never saw ours.
PyTorch's answers are frozen in a small file, made by `tools/oracles/capstone_gradients.py` from formulas written in
PyTorch's own functions. Both disagree with us by rounding alone, four or more digits finer than differences can see. A
difference judges the backward pass against *our* forward pass; PyTorch also judges the forward pass.

## Where to look: sizes

Write $G W$ for $G W^\top$ in `fp_capstone.linear`. If $W$ is square, nothing breaks; if it is also symmetric, the
numbers are right. Sizes that are distinct primes leave no such room.

**Claim** `capstone.prime-axes`. Let the axes of some arrays have lengths that are primes, different for different axes.
If an array of axes $a_1, \dots, a_r$ is reshaped to the product of the axes $b_1, \dots, b_s$, merged or not, and the
number of entries agrees, then the $b$ are the $a$ in some order. If two arrays with axes in some order have equal
shapes, then the axes are equal, in that order.

**Proof.** The second part: equal lengths belong to equal axes, place by place. The first: the product of the lengths is
the same number, and we show that a number is a product of primes in one way only, up to order. Let a prime $p$ divide
$a b$ and not $a$. Among the positive numbers of the form $x a + y p$, with whole $x, y$, let $m$ be the smallest. It
divides $a$: the remainder of $a$ divided by $m$ is of that form and below $m$, so it is zero. It divides $p$ likewise,
so it is $p$ or $1$, and as $p$ does not divide $a$, $1 = x a + y p$. Then $b = x a b + y p b$ is a multiple of $p$. So
a prime that divides a product divides one of the factors, and if those are primes, it is one of them. Now let
$p_1 \cdots p_r = q_1 \cdots q_s$ be primes. $p_1$ divides the right side, so it is one of the $q$; cancel it on both
sides and go on until no $p$ is left, and then no $q$ is, since a product of primes is not $1$. $\blacksquare$

A transposition that changes the order of axes without changing a shape needs two equal axes; a reshape that merges the
wrong axes finds the wrong number. What is left is a reshape of right axes in the wrong order, which needs no judge
but numbers at random points. (Heads are no free axis: $H$ queries for $K$ keys need $K$ to divide $H$.)

## Where to look: points

A model fresh from its initialization has zero biases and gains of one. There, a norm's backward pass that forgets
the gain is right. Special points hide faults; do random points?

**Claim** `capstone.random-point`. Let $d$ be a polynomial in $n \ge 1$ variables, not all coefficients zero, whose
terms have at most the total degree $m$. Draw each variable independently and uniformly from a set $S$ of $s$ numbers.
Then

$$P(d = 0) \le \frac{m}{s}. \qquad \text{(K3)}$$

**Proof.** By induction on $n$. For $n = 1$ we show that $d \ne 0$ of degree $j \le m$ has at most $j$ roots, by
induction on $j$; a constant other than zero has none. If $a$ is a root, then
$d(t) = d(t) - d(a) = \sum_{i=1}^{j} c_i (t^i - a^i)$, and each $t^i - a^i$ is $t - a$ times
$t^{i-1} + t^{i-2} a + \dots + a^{i-1}$. So $d(t) = (t - a)\, e(t)$ with $e \ne 0$ of degree $j - 1$, and every other
root of $d$ is a root of $e$, which has at most $j - 1$. Hence at most $m$ of the $s$ equally likely numbers are roots.
For $n > 1$ sort by powers of the last variable, $d = \sum_i c_i(x_1, \dots, x_{n-1})\, x_n^i$, and let $k$ be the
largest power whose coefficient polynomial $c_k$ is not zero. The total degree of $c_k$ is at most $m - k$, so
$P(c_k = 0) \le \frac{m - k}{s}$. Given values of the first variables with $c_k \ne 0$, $d$ is a polynomial of degree
$k$ in $x_n$ alone, so $P(d = 0) \le \frac{k}{s}$ given these. Together (`markov.total-probability`)
$P(d = 0) \le \frac{m - k}{s} + \frac{k}{s} = \frac{m}{s}$. $\blacksquare$

The linear map, the dropout mask, the rotation and the stream are sums of products, so a fault that drops or turns a
term of theirs has a polynomial for its error, and $S$ may have as many numbers as a random float64: by (K3) such a
fault does not hide by chance. Softmax, norms and bends are no polynomials, and for them the claim is no more than a
reason to expect the same; the faults below are the evidence. So the checks add random numbers to every bias and gain.

## Faults that were planted

What shows that a check works is a fault that it sees. `tests/test_gradient_checks.py` reads the source of each backward
pass and makes every version of it with one fault: a `+` for a `-` or the other way round, the sign of the cotangent
turned in one place where it is read, a line such as `dx *= r` dropped. Each is planted under every row that runs the
source. A row cannot see what lies on a path that it does not take (GPT-2's bends in a Llama), so the second table
counts what no row saw. There the gradients are the right ones up to rounding, so it is no fault of the gradient: in the
cross-entropy the maximum is subtracted, and by `capstone.log-sum-exp-shift` adding it, or doing without, changes
nothing but the danger of overflow.

## What no gradient check sees

**A wrong model.** Differences compare the backward pass with the forward pass as it is. Scores divided by $D$ instead
of $\sqrt D$, or a mask after the softmax, have a right gradient of a wrong function:

>>> rng = np.random.default_rng(0)
>>> x, g = rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
>>> wrong = lambda: float((g * x / (1 + np.exp(-x))).sum())  # silu, where gelu was meant
>>> s = 1 / (1 + np.exp(-x))
>>> bool(np.abs(differences(wrong, x) - g * s * (1 + x * (1 - s))).max() < TOLERANCE)
True

Only the judges that have their own forward pass, and the tests of what the forward pass should *do* (causality, the
first loss of $\log V$), see that.

**A corner.** At $x = 0$ the differences of $|x|$ agree with a slope of $0$ at any step; so do those of a relu with
$\frac12$, and a library that says $0$ or $1$ there is not wrong (`autograd.relu-subgradient`). The bends of this model
have no corners.

**A path that was not taken.** No input with dropout, no check of dropout; one sequence of the batch, no check of the
sum over sequences; one block of query rows, no check of what is carried from block to block. The rows above are chosen
to take every path, and the tests of `fp_capstone.attention` repeat theirs with small blocks.

**Precision.** All of this is float64. That float32 does the same with fewer digits is another test
(`tests/test_model.py`).

## In practice

PyTorch's `gradcheck` and JAX's `check_grads` take the differences of their own operations the same way; people who
write fused kernels by hand check them against autograd of the plain formula, the second judge. llm.c compares its
backward pass with numbers that PyTorch wrote to a file, the third. (K3) is due to DeMillo and Lipton (1978), Zippel
(1979) and Schwartz (1980), who test the equality of polynomials with it; the last step of the proof of (K2) to Paley
and Zygmund (1932); (K1) is Richardson's extrapolation (1911).
"""

import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fp_capstone.model import Model
from fp_capstone.parameters import Parameters
from fp_transformer.config import TransformerConfig

__all__ = ["differences", "gradient_error", "BackwardPass", "backward_passes", "STEP", "TOLERANCE"]

STEP = 2.0**-11
"""The step of the differences: near the best one of (K1), and a power of two, so that dividing by it rounds nothing."""

TOLERANCE = 1e-9
"""How far a right gradient of the cases below may be from `differences` with the default step."""

EPS = 1e-5  # of the norms below
DROPOUT, SEED = 0.4, 3  # of the attention weights below, and of whatever is erased


def differences(
    f: Callable[[], float], x: Float[np.ndarray, "*shape"], step: float | int = STEP
) -> Float[np.ndarray, "*shape"]:
    """
    The gradient of a function by differences at two steps (K1), entry by entry.

    Parameters
    ----------
    f
        Without arguments: it reads `x`.
    x
        A float64 array that `f` reads; written to, and restored.
    step
        $h$.

    Returns
    -------
    ndarray
        Of the shape of `x`.

    Raises
    ------
    TypeError
        If `x` is not float64: differences of fewer digits acquit wrong gradients.

    Examples
    --------
    >>> x = np.array([1.0, 2.0])
    >>> differences(lambda: float(x[0] ** 3 * x[1]), x).round(9)
    array([6., 1.])
    """
    if x.dtype != np.float64:
        raise TypeError(f"differences need float64, got {x.dtype}: convert what f reads with .astype(np.float64)")
    g = np.empty(x.shape)
    for i in np.ndindex(x.shape):
        kept = x[i]
        values = []
        for t in (-2, -1, 1, 2):
            x[i] = kept + t * step
            values.append(f())
        x[i] = kept
        g[i] = _extrapolated(values, step)
    return g


def _extrapolated(values: list[float], h: float) -> float:
    """(4 D(h) - D(2h)) / 3 from the values at -2h, -h, h and 2h."""
    far_left, left, right, far_right = values
    return (8 * (right - left) - (far_right - far_left)) / (12 * h)


def gradient_error(
    model: Any,
    ids: Int[np.ndarray, "B T"],
    targets: Int[np.ndarray, "B T"],
    rng: np.random.Generator,
    directions: int = 22,
) -> float:
    r"""
    Estimate how long the error of a model's gradient is, in a few random directions (K2).

    Parameters
    ----------
    model
        Has `parameters()`, live float64 arrays by name, and `loss_and_grads(ids, targets)`.
    ids, targets
        A batch.
    rng
        Draws the directions.
    directions
        How many. All of them see less than half of the error with probability at most $(13/16)^k$.

    Returns
    -------
    float
        The root of the mean of $(d \cdot u)^2$, an estimate of $|d|$. Of a right gradient it is what differences lose
        on the loss, times the root of the number of parameters.

    Raises
    ------
    TypeError
        If the parameters are not float64.
    ValueError
        If there are no directions to go.

    Examples
    --------
    >>> config = TransformerConfig.llama(vocab_size=11, context_length=8, n_layers=2, n_heads=2, d_model=16)
    >>> model = Model(config, np.random.default_rng(0), np.float64)
    >>> ids = np.array([[1, 2, 3, 4]])
    >>> bool(gradient_error(model, ids[:, :-1], ids[:, 1:], np.random.default_rng(1)) < 1e-9)
    True
    """
    if directions < 1:
        raise ValueError(f"a check needs at least one direction, got {directions}")
    parameters = model.parameters()
    for name, a in parameters.items():
        if a.dtype != np.float64:
            raise TypeError(f"differences need a model in float64, got {a.dtype} for {name}: build it with that dtype")
    _, grads = model.loss_and_grads(ids, targets)
    grads = {name: np.array(g) for name, g in grads.items()}
    length = math.sqrt(sum(a.size for a in parameters.values()))
    kept = {name: a.copy() for name, a in parameters.items()}
    total = 0.0
    for _ in range(directions):
        u = {name: rng.choice((-1.0, 1.0), a.shape) for name, a in parameters.items()}
        values = []
        for t in (-2, -1, 1, 2):
            for name, a in parameters.items():
                a[:] = kept[name] + (t * STEP / length) * u[name]
            values.append(float(model.loss_and_grads(ids, targets)[0]))
        slope = _extrapolated(values, STEP) * length
        total += (slope - sum(float((grads[name] * u[name]).sum()) for name in u)) ** 2
    for name, a in parameters.items():
        a[:] = kept[name]
    return math.sqrt(total / directions)


Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class BackwardPass:
    """
    A backward pass with an input to check it at: every free size a prime, every path taken.

    Attributes
    ----------
    name
        The row of the table.
    claims
        What derives it.
    functions
        Where the backward pass is written, such as `linear.linear_backward`.
    inputs
        Arrays by name; those of floating point take a gradient.
    compute
        From `inputs` to the output.
    differentiate
        From `inputs` and the cotangent of the output to the gradients, by the names of the inputs.
    parts
        Further rows: what a claim is about, the claim, and the inputs concerned.
    config
        Of a model or a block.
    """

    name: str
    claims: tuple[str, ...]
    functions: tuple[str, ...]
    inputs: Arrays
    compute: Callable[[Arrays], np.ndarray]
    differentiate: Callable[[Arrays, np.ndarray], Arrays]
    parts: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    config: TransformerConfig | None = None

    @property
    def cotangent(self) -> np.ndarray:
        """A random array of the output's shape; one for a loss."""
        shape = self.forward().shape
        return np.random.default_rng(7).normal(size=shape) if shape else np.ones(())

    def forward(self) -> np.ndarray:
        """The output."""
        return self.compute(self.inputs)

    def backward(self, g: np.ndarray) -> Arrays:
        """The gradients for this cotangent."""
        return self.differentiate(self.inputs, g)

    def by_differences(self) -> Arrays:
        """The gradients by `differences`, for `cotangent`."""
        g = self.cotangent
        moving = {name: x for name, x in self.inputs.items() if x.dtype == np.float64}
        return {name: differences(lambda: float((self.forward() * g).sum()), x) for name, x in moving.items()}


def backward_passes() -> Iterator[BackwardPass]:
    """
    Every backward pass of the model, from the linear map to the whole.

    Yields
    ------
    BackwardPass
        A row of the table.

    Examples
    --------
    >>> rows = {p.name: p for p in backward_passes()}
    >>> swiglu = rows["SwiGLU"]
    >>> g = swiglu.cotangent
    >>> bool(np.abs(swiglu.backward(g)["ab"] - swiglu.by_differences()["ab"]).max() < TOLERANCE)
    True
    """
    yield from _operations(np.random.default_rng(11))
    yield from _attentions(np.random.default_rng(12))
    sizes: dict[str, Any] = {"vocab_size": 11, "context_length": 7, "d_ff": 5}
    gpt2: dict[str, Any] = {**sizes, "n_heads": 2, "d_model": 6}
    llama: dict[str, Any] = {**sizes, "n_heads": 4, "n_kv_heads": 2, "d_model": 8}
    yield _block("block, GPT-2", TransformerConfig.gpt2(**gpt2, n_layers=1))
    yield _block("block, Llama, grouped heads", TransformerConfig.llama(**llama, n_layers=1))
    yield _model("model, GPT-2, tied", TransformerConfig.gpt2(**gpt2, n_layers=2))
    yield _model("model, GPT-2, untied", TransformerConfig.gpt2(**gpt2, n_layers=1, tied=False))
    yield _model("model, Llama, tied, grouped heads", TransformerConfig.llama(**llama, n_layers=2))
    yield _model("model, Llama, untied", TransformerConfig.llama(**llama, n_layers=1, tied=False))
    yield _model("model, GPT-2, dropout", TransformerConfig.gpt2(**gpt2, n_layers=1, dropout=0.3))


def _late(place: str) -> Any:
    """A function of this package, looked up when it is called, so that a test may put another in its place."""
    module, _, name = place.partition(".")
    return getattr(importlib.import_module(f"fp_capstone.{module}"), name)


def _operations(rng: np.random.Generator) -> Iterator[BackwardPass]:
    n = rng.normal
    yield BackwardPass(
        "linear map",
        ("capstone.linear-backward",),
        ("linear.linear_backward",),
        {"x": n(size=(3, 5)), "W": n(size=(5, 7)), "b": n(size=7)},
        lambda a: _late("linear.linear")(a["x"], a["W"], a["b"]),
        _linear_backward,
    )
    yield BackwardPass(
        "embedding",
        ("capstone.embedding-scatter",),
        ("embedding.embedding_backward",),
        {"E": n(size=(11, 3)), "ids": np.array([5, 1, 5, 10, 2, 5, 1])},
        lambda a: _late("embedding.embedding")(a["ids"], a["E"]),
        _embedding_backward,
    )
    yield BackwardPass(
        "RMSNorm",
        ("capstone.rmsnorm-backward",),
        ("norms.rms_norm_backward", "norms._backward"),
        {"x": n(size=(5, 7)), "gain": n(size=7)},
        lambda a: _late("norms.rms_norm")(a["x"], a["gain"], EPS)[0],
        _rms_norm_backward,
    )
    yield BackwardPass(
        "LayerNorm",
        ("capstone.layernorm-backward",),
        ("norms.layer_norm_backward", "norms._backward"),
        {"x": n(size=(5, 7)), "gain": n(size=7), "bias": n(size=7)},
        lambda a: _late("norms.layer_norm")(a["x"], a["gain"], a["bias"], EPS)[0],
        _layer_norm_backward,
    )
    yield BackwardPass(
        "GELU",
        ("capstone.gelu-derivative",),
        ("activations.gelu", "activations.gelu_backward"),
        {"x": 2 * n(size=(5, 7))},
        lambda a: _late("activations.gelu")(a["x"]),
        lambda a, g: {"x": _bend_backward("gelu", a["x"], g)},
    )
    yield BackwardPass(
        "SwiGLU",
        ("capstone.swiglu-backward",),
        ("activations.swiglu", "activations.swiglu_backward"),
        {"ab": 2 * n(size=(3, 10))},
        lambda a: _late("activations.swiglu")(a["ab"]),
        lambda a, g: {"ab": _bend_backward("swiglu", a["ab"], g)},
    )
    tables = _late("rotary.rotary_tables")(5, 14, 100.0, np.dtype("float64"))
    yield BackwardPass(
        "rotary positions",
        ("capstone.rope-backward",),
        ("rotary.rotate_back",),
        {"x": n(size=(2, 5, 3, 14))},
        lambda a: _late("rotary.rotate")(a["x"], *tables),
        lambda a, g: {"x": _late("rotary.rotate_back")(g, *tables)},
    )
    yield BackwardPass(
        "softmax cross-entropy",
        ("capstone.cross-entropy-backward",),
        ("cross_entropy.cross_entropy_with_gradient",),
        {"z": 3 * n(size=(7, 11)), "y": np.array([6, 0, 3, 3, 1, 10, 5])},
        lambda a: np.asarray(_late("cross_entropy.cross_entropy_with_gradient")(a["z"].copy(), a["y"])[0]),
        lambda a, g: {"z": _late("cross_entropy.cross_entropy_with_gradient")(a["z"].copy(), a["y"])[1] * g},
    )


def _linear_backward(a: Arrays, g: np.ndarray) -> Arrays:
    dW, db = np.empty(a["W"].shape), np.empty(a["b"].shape)
    return {"x": _late("linear.linear_backward")(g, a["x"], a["W"], dW, db), "W": dW, "b": db}


def _embedding_backward(a: Arrays, g: np.ndarray) -> Arrays:
    dE = np.zeros(a["E"].shape)
    _late("embedding.embedding_backward")(g, a["ids"], dE)
    return {"E": dE}


def _rms_norm_backward(a: Arrays, g: np.ndarray) -> Arrays:
    _, xhat, r = _late("norms.rms_norm")(a["x"], a["gain"], EPS)
    dgain = np.empty(a["gain"].shape)
    return {"x": _late("norms.rms_norm_backward")(g, xhat, r, a["gain"], dgain), "gain": dgain}


def _layer_norm_backward(a: Arrays, g: np.ndarray) -> Arrays:
    _, xhat, r = _late("norms.layer_norm")(a["x"], a["gain"], a["bias"], EPS)
    dgain, dbias = np.empty(a["gain"].shape), np.empty(a["bias"].shape)
    dx = _late("norms.layer_norm_backward")(g, xhat, r, a["gain"], dgain, dbias)
    return {"x": dx, "gain": dgain, "bias": dbias}


def _bend_backward(name: str, x: np.ndarray, g: np.ndarray) -> np.ndarray:
    slope = np.empty(x.shape)
    _late(f"activations.{name}")(x, slope)
    return _late(f"activations.{name}_backward")(g, slope)


def _attentions(rng: np.random.Generator) -> Iterator[BackwardPass]:
    for name, H, K, T, D, p in (
        ("attention", 3, 3, 7, 5, 0.0),
        ("attention, grouped heads", 6, 3, 7, 5, 0.0),
        ("attention, grouped heads, dropout", 6, 3, 5, 7, DROPOUT),
    ):
        shapes = {"q": (2, T, H, D), "k": (2, T, K, D), "v": (2, T, K, D)}
        yield BackwardPass(
            name,
            ("capstone.attention-backward", "capstone.softmax-backward"),
            ("attention.causal_attention_backward",),
            {one: rng.normal(size=shape) for one, shape in shapes.items()},
            lambda a, p=p: _attend(a, p)[0],  # type: ignore[misc]
            _attention_backward if p == 0 else _dropped_attention_backward,
        )


def _attend(a: Arrays, p: float, keep: bool = False) -> Any:
    return _late("attention.causal_attention")(a["q"], a["k"], a["v"], p, np.random.default_rng(SEED), keep)


def _attention_backward(a: Arrays, g: np.ndarray, p: float = 0.0) -> Arrays:
    gradients = _late("attention.causal_attention_backward")(g, _attend(a, p, keep=True)[1])
    return dict(zip("qkv", gradients, strict=True))


def _dropped_attention_backward(a: Arrays, g: np.ndarray) -> Arrays:
    return _attention_backward(a, g, DROPOUT)


def _drawn(arrays: Arrays) -> None:
    """Parameters far from what would hide a mistake: zero biases, unit gains."""
    rng = np.random.default_rng(13)
    for name, a in arrays.items():
        a[:] = 0.5 * rng.normal(size=a.shape) + (0.5 if a.ndim == 1 and "bias" not in name else 0)


def _block(name: str, config: TransformerConfig) -> BackwardPass:
    p, dp = Parameters(config, np.dtype("float64")), Parameters(config, np.dtype("float64"))
    _drawn(p.named)
    prefix = "model.layers." if config.is_llama else "transformer.h."
    rotary = None
    if config.is_llama:
        rotary = _late("rotary.rotary_tables")(5, config.d_head, config.rope_base, np.dtype("float64"))

    def forward(a: Arrays, keep: bool = False) -> Any:
        stream = a["x"].copy()  # overwritten with the stream after the block
        tape = _late("block.block")(stream, p.layers[0], config, rotary, keep=keep)
        return stream, tape

    def backward(a: Arrays, g: np.ndarray) -> Arrays:
        dx = g.copy()  # overwritten likewise
        _late("block.block_backward")(dx, forward(a, True)[1], p.layers[0], dp.layers[0], config, rotary)
        return {"x": dx, **{key: d for key, d in dp.named.items() if key.startswith(prefix)}}

    x = np.random.default_rng(14).normal(size=(3, 5, config.d_model))
    return BackwardPass(
        name,
        ("capstone.residual-backward",),
        ("block.block_backward", "block.norm_backward"),
        {"x": x, **{key: a for key, a in p.named.items() if key.startswith(prefix)}},
        lambda a: forward(a)[0],
        backward,
        config=config,
    )


def _model(name: str, config: TransformerConfig) -> BackwardPass:
    model = Model(config, np.random.default_rng(0), np.float64)
    _drawn(model.parameters())

    def forward(a: Arrays) -> np.ndarray:
        if config.dropout:
            return np.asarray(model.loss_and_grads(a["ids"], a["targets"], np.random.default_rng(SEED))[0])
        return np.asarray(model.loss(a["ids"], a["targets"]))

    def backward(a: Arrays, g: np.ndarray) -> Arrays:
        _, grads = model.loss_and_grads(a["ids"], a["targets"], np.random.default_rng(SEED))
        return {key: d * g for key, d in grads.items()}

    parts: dict[str, tuple[str, tuple[str, ...]]] = {}
    if config.tied and not config.dropout:
        table = "model.embed_tokens.weight" if config.is_llama else "transformer.wte.weight"
        parts["the tied table"] = ("capstone.tied-gradient", (table,))
        if not config.is_llama:
            parts["positions"] = ("capstone.position-gradient", ("transformer.wpe.weight",))
    ids, targets = np.random.default_rng(15).integers(0, config.vocab_size, (2, 3, 5))
    return BackwardPass(
        name,
        ("capstone.residual-backward", "capstone.cross-entropy-backward"),
        ("model.Model.loss_and_grads", "block.block_backward"),
        {**model.parameters(), "ids": ids, "targets": targets},
        forward,
        backward,
        parts,
        config,
    )
