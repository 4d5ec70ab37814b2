r"""
Widths: sizes and rates that carry over from a narrow model to a wide one.

The best learning rate of a small model is found by trying ten. Nobody tries ten on the large one. Can the small one's
rate be used there? With the customary first weights it cannot: a step that is right for a narrow layer is too large for
a wide one, and if it is made small enough not to explode, the hidden features stop moving. This section counts, for one
example and one step, how far a step moves each layer, and finds the sizes and rates for which the width drops out.

You need: `neural.layer-lengths`, `neural.gaussian-moments`, `autograd.matmul-rule`, `optim.adam-first-step`,
`attention.dot-variance`; the model of `fp_transformer.model` for the measurements.

## A network to count on

Let $x \in \mathbb{R}^d$ be an input of length one, with $d$ fixed, and let $n$ be the **width**:

$$h = U x, \qquad z = W h, \qquad f = v \cdot z, \qquad U \in \mathbb{R}^{n \times d},\ W \in \mathbb{R}^{n \times n},\
v \in \mathbb{R}^n. \qquad \text{(E1)}$$

$U$ stands for an embedding, $W$ for the matrices inside, $v$ for a row of the output. All weights are independent
normal numbers with mean zero; those of $U$ have the variance $1$ and those of $W$ the variance $\frac1n$, so that the
entries of $h$ and $z$ have mean square $1$ (`neural.layer-lengths`). Those of $v$ have the deviation $\sigma$, to be
chosen. Let the loss be $\ell = \chi f$ with a number $\chi \ne 0$; of another loss $\chi$ is the slope in $f$. Three
matrices are moved with rates $\eta_U$, $\eta_W$, $\eta_v$. How far does the first step move $h$, $z$ and $f$?

We want each matrix to be learned: as $n$ grows, its step should move what it computes by an amount that neither
vanishes nor grows. And $f$ should not be moved without bound. Write $A \asymp B$ if $A / B$ stays between two positive
numbers for all $n$.

**Claim** `transformer.mup-sgd`. One step of gradient descent changes

| | change | size |
| --- | --- | --- |
| $f$ by $v$ | $-\eta_v \chi \lvert z \rvert^2$ | $\eta_v n$ |
| $z$ by $W$ | $-\eta_W \chi \lvert h \rvert^2 v$ | $\eta_W \sigma \sqrt{n (n + 2)}$ |
| $h$ by $U$ | $-\eta_U \chi W^\top v$ | $\eta_U \sigma$ |
| $f$ by $W$ | $-\eta_W \chi \lvert h \rvert^2 \lvert v \rvert^2$ | $\eta_W n^2 \sigma^2$ |
| $f$ by $U$ | $-\eta_U \chi \lvert W^\top v \rvert^2$ | $\eta_U n \sigma^2$ |

where each line moves one matrix and holds the others. The size is that of the mean for $f$, and for the entries of $z$
and $h$ the root mean square, everything divided by $|\chi|$. The first three are $\asymp 1$ exactly if
$\eta_v \asymp \frac1n$, $\eta_W \asymp \frac{1}{n \sigma}$, $\eta_U \asymp \frac1\sigma$; and then the last two are
bounded exactly if $\sigma$ is at most of order $\frac1n$. The largest such choice is

$$\sigma = \frac1n, \qquad \eta_U \asymp n, \quad \eta_W \asymp 1, \quad \eta_v \asymp \frac1n. \qquad \text{(E2)}$$

**Proof.** The cotangent of $z$ is $\chi v$, that of $h$ is $\chi W^\top v$, and by `autograd.matmul-rule` the gradients
are $\chi z$ for $v$, $\chi v h^\top$ for $W$ and $\chi W^\top v\, x^\top$ for $U$. Applied to what comes in,

$$
\Delta v \cdot z = -\eta_v \chi\, z \cdot z, \qquad
\Delta W\, h = -\eta_W \chi\, v\, (h \cdot h), \qquad
\Delta U\, x = -\eta_U \chi\, W^\top v\, (x \cdot x), \quad |x| = 1,
$$

and $v \cdot \Delta W h$, $v \cdot W \Delta U x = (W^\top v) \cdot \Delta U x$ are the last two lines. Sizes: by
`neural.layer-lengths` $\mathbb{E} |z|^2 = \mathbb{E} |h|^2 = n$ and $\mathbb{E} |W^\top v|^2 = n \cdot \frac1n\,
\mathbb{E} |v|^2 = n \sigma^2$, in equal parts for its $n$ entries. The $h_j$ are independent standard normal numbers,
so $\mathbb{E} |h|^4 = \sum_j \mathbb{E} h_j^4 + \sum_{j \ne k} \mathbb{E} h_j^2\, \mathbb{E} h_k^2 = 3n + n (n - 1) = n
(n + 2)$, where $\mathbb{E} h_j^4 = 3$ by parts: in (E5) of `fp_markov.mathematics` with $u = t^3$ and
$v = -\varphi(t)$, the mean of $t^3 \cdot t$ is that of $3 t^2$, as $t^3 \varphi(t)$ tends to $0$ at both ends:
$e^{t^2/2} > t^4 / 8$. $v$ is independent of $h$ and $W$. Now insert: the three conditions are read off, and the last
two lines become $\asymp n \sigma$ both. $\blacksquare$

**Claim** `transformer.standard-freezes`. With $\sigma = \frac{1}{\sqrt n}$ and one rate $\eta$ for all, $f$ is moved
by $-\eta \chi\, (2n + 1)$ in the mean, to first order in the step. So a rate that does not depend on $n$ moves the
output by an amount of order $n$; and with the largest rate that does not, $\eta = c / n$, the root mean squares of the
changes of $z$ and $h$ by the steps of $W$ and $U$ are

$$\frac{c\, |\chi|}{\sqrt n} \sqrt{1 + \tfrac2n} \quad \text{and} \quad \frac{c\, |\chi|}{n \sqrt n}:$$

in the limit only the output is learned, on features that stay as they were drawn.

**Proof.** The three means for $f$ in the table are $-\eta \chi$ times $n$, $n^2 \cdot \frac1n$ and $n \cdot \frac1n$.
The sizes in the second and third line, times $|\chi|$, with $\sigma^2 = \frac1n$ are $\eta |\chi| \sqrt{n + 2}$ and
$\eta |\chi| / \sqrt n$; put $\eta = c / n$. $\blacksquare$

Adam divides by the size of the gradient, and so the rates change, but not the conclusion.

**Claim** `transformer.mup-adam`. Let every entry move by its matrix's rate against the sign of its gradient, as in
Adam's first step with $\varepsilon = 0$. With $\kappa = \mathbb{E} |Z| = \sqrt{2 / \pi}$ for a standard normal $Z$,
$s = \operatorname{sign} \chi$, $|a|_1 = \sum_i |a_i|$ and $p = |x|_1$,

| | change | mean size |
| --- | --- | --- |
| $f$ by $v$ | $-\eta_v s \lvert z \rvert_1$ | $\kappa' \eta_v n$ |
| $z_i$ by $W$ | $-\eta_W s \lvert h \rvert_1 \operatorname{sign} v_i$ | $\kappa \eta_W n$ |
| $h_j$ by $U$ | $-\eta_U s p \operatorname{sign} (W^\top v)_j$ | $\eta_U p$ |
| $f$ by $W$ | $-\eta_W s \lvert h \rvert_1 \lvert v \rvert_1$ | $\kappa^2 \eta_W n^2 \sigma$ |
| $f$ by $U$ | $-\eta_U s p \lvert W^\top v \rvert_1$ | $\kappa' \eta_U p n \sigma$ |

where each $\kappa'$ is some number from $\kappa^2$ to $\kappa$, and the mean size is the mean of the change without its
sign.
So the first three are $\asymp 1$ exactly if $\eta_v \asymp \frac1n$, $\eta_W \asymp \frac1n$ and $\eta_U \asymp 1$, and
then the last two are bounded exactly if $\sigma$ is at most of order $\frac1n$:

$$
\sigma = \frac1n, \qquad \eta_U \asymp 1, \quad \eta_W \asymp \frac1n, \quad \eta_v \asymp \frac1n.
\qquad \text{(E3)}
$$

With $\sigma = \frac{1}{\sqrt n}$ and one rate $\eta$, the mean change of $f$ by the step of $W$ is $\kappa^2 \eta\, n
\sqrt n$. Rates for which it is bounded move $z$ by an amount of order $\frac{1}{\sqrt n}$ at most.

**Proof.** The signs of the gradients are $s \operatorname{sign}(z_i)$,
$s \operatorname{sign}(v_i) \operatorname{sign}(h_j)$ and $s \operatorname{sign}(W^\top v)_j \operatorname{sign}(x_k)$
(with probability one none is zero, where $x_k \ne 0$). Times the rates, applied to $z$, $h$ and $x$, and multiplied by
$v$ and by $W^\top v$ for the last two, they give the column *change*, as $\operatorname{sign}(a)\, a = |a|$. Means: as
$-\varphi$ has the slope $z \varphi(z)$ and tends to $0$,

$$\mathbb{E} |Z| = 2 \int_0^\infty z\, \varphi(z)\, dz = 2 \varphi(0) = \sqrt{2 / \pi} = \kappa.$$

So $\mathbb{E} |h|_1 = \kappa n$ and $\mathbb{E} |v|_1 = \kappa n \sigma$, and $h$ and $v$ are independent. Given $h$,
$z_i$ is normal with variance $\frac1n |h|^2$, so $\mathbb{E} |z|_1 = n \cdot \kappa\, \mathbb{E} |h| / \sqrt n$. And
$\mathbb{E} |h| \le \sqrt{\mathbb{E} |h|^2} = \sqrt n$, since no variance is negative, while $|h|_1 \le \sqrt n\, |h|$
(`autograd.cauchy-schwarz` with a vector of signs) gives $\mathbb{E} |h| \ge \kappa \sqrt n$. In the same way, given
$v$, the entries of $W^\top v$ are normal with variance $\frac1n |v|^2$. Inserted, the rates make the last two lines
$\asymp n \sigma$. With one rate and $\sigma = n^{-1/2}$ the fourth line is $\kappa^2 \eta\, n^{3/2}$; if that is at
most $c$, the second line is at most $\kappa n \cdot c / (\kappa^2 n^{3/2})$. $\blacksquare$

The two claims are about a linear network, one example and one step. What carries over to more is the mechanism: the
change of a weight matrix is made of the very vectors that it is applied to, so its effect is a sum of $n$ numbers of
one sign, while a random matrix of the same size makes a sum that cancels down to $\sqrt n$.

>>> print(*FirstStep._fields)
f_by_v z_by_W h_by_U f_by_W f_by_U
>>> for rules in ("mup", "standard"):
...     for width in (64, 256, 1024):
...         step = first_step(width, rules, rng=np.random.default_rng(0))
...         print(*np.round(step, 1), f"{rules}, width {width}")
0.8 0.8 1.3 4.9 9.1 mup, width 64
0.8 0.8 1.3 4.8 8.2 mup, width 256
0.8 0.8 1.3 5.3 8.7 mup, width 1024
0.8 0.8 1.3 4.9 9.1 standard, width 64
3.1 3.2 1.3 38.4 16.3 standard, width 256
13.5 13.2 1.3 341.5 35.0 standard, width 1024

## One number, three places

A matrix may be stored as $w$ and used as $M w$ with a fixed **multiplier** $M$. Then there are three dials: the
multiplier $a$, the first size $b$, the rate $c$.

**Claim** `transformer.abc-symmetry`. Let $w' = w / m$ at the start, with $m > 0$, be used as $m w'$ in place of $w$.
Gradient descent with the rate $\eta / m^2$ for $w'$, and the sign rule (or Adam with $\varepsilon = 0$) with the rate
$\eta / m$, compute the same function at every step as with $w$ and the rate $\eta$.

**Proof.** Suppose $m w' = w$ before a step; it holds at the start. With the gradient $G$ in $w$, that in $w'$ is $m G$
(`autograd.jacobian-chain`). Gradient descent changes $m w'$ by $-m \frac{\eta}{m^2}\, m G = -\eta G$. The sign of $m G$
is that of $G$, and Adam's quotient of means $\hat m_t / \sqrt{\hat v_t}$ does not change if all gradients are
multiplied by $m$; so $m w'$ changes by $m \cdot \frac{\eta}{m}$ times the same. $\blacksquare$

So there is a family of choices for each matrix, and a table needs two columns only. It also helps where one array plays
two parts: an output tied to the embedding keeps the embedding's size and rate, and its logits are multiplied by
$\frac1n$.

| role | usual | muP | descent | Adam |
| --- | --- | --- | --- | --- |
| input | $1$ | $1$ | $n$ | $1$ |
| vector | $1$ | $1$ | $n$ | $1$ |
| hidden | $1 / \sqrt n$ | $1 / \sqrt n$ | $1$ | $1 / n$ |
| output | $1 / \sqrt n$ | $1 / n$ | $1 / n$ | $1 / n$ |

Inputs are embedding and positions, vectors biases and the gains of norms, hidden all matrices inside. The first two
columns of formulas are the sizes of the first weights, by the standard and by this section, the last two the rates.
This is the **maximal update parametrization**, muP: (E2) and (E3), with biases and gains, which are columns of length
$n$ with one input, treated as $U$ is. $n$ stands for the width over that of the model on which the rates were found.

## Scores of attention

A score is a sum over the width of a head. At the start $q$ and $k$ know nothing of each other, and dividing by
$\sqrt D$ is right (`attention.dot-variance`). Training makes them agree.

**Claim** `transformer.inverse-width-attention`. Let a step change a query by a multiple of the key that it should find,
$\Delta q = c\, k$, as a step of gradient descent on its matrix does. The score $\alpha\, q \cdot k$ changes by
$\alpha\, c\, |k|^2$. If $|k|^2 \asymp D$ and $c \asymp 1$, so that entries of $q$ move by an amount of order one, this
is $\asymp 1$ exactly for $\alpha \asymp \frac1D$.

**Proof.** For $q = A x$ and the score's cotangent $\chi$, that of $q$ is $\chi \alpha k$, and the gradient in $A$ is
$\chi \alpha\, k x^\top$; so $\Delta q = -\eta \chi \alpha |x|^2 k$. And
$\alpha\, (q + c k) \cdot k - \alpha\, q \cdot k = \alpha\, c\, |k|^2 \asymp \alpha D$. $\blacksquare$

So muP divides scores by $D$ if heads become wider. If a wider model has more heads of the same width, as here, nothing
changes.

## Measured

`coordinate_check` makes transformers of several widths, takes a few steps of Adam on one batch, and looks how far the
entries of the last stream, and the logits, have moved. How many times as far for eight times the width, by the table
and by the standard:

>>> for rules in ("mup", "standard"):
...     check = coordinate_check((16, 128), rules)
...     print(rules, (check.stream[1] / check.stream[0]).round(), (check.logits[1] / check.logits[0]).round())
mup 1.0 1.0
standard 3.0 2.0

## In practice

G. Yang and others (2021, 2022) found these rules for any architecture by a theory of infinitely wide networks, and
tuned a model of 40 million parameters for one of 6.7 billion. What is proven here is the part that a first step shows;
that the limit is reached, and that the best rate then stays where it is, are theirs. Depth is another matter: it needs
factors of its own on the branches (`fp_transformer.residual`), and weight decay, batch size and length of training
shift the best rate as well. Adam's $\varepsilon$ has to be small next to gradients, which fall with the width.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from fp_autograd.tensor import no_grad
from fp_optim.adaptive import AdamW
from fp_transformer.config import TransformerConfig
from fp_transformer.model import Transformer

__all__ = [  # the order of the page
    "Multipliers",
    "mup_multipliers",
    "roles",
    "FirstStep",
    "first_step",
    "CoordinateCheck",
    "coordinate_check",
]

Real = float | int
Role = Literal["input", "vector", "hidden", "output"]
Rules = Literal["mup", "standard"]
Kind = Literal["sgd", "adam"]


class Multipliers(NamedTuple):
    """What changes for one kind of array when a model becomes wider."""

    deviation: float
    """Factor of the deviation of the first weights."""
    rate: float
    """Factor of the learning rate."""


def mup_multipliers(role: Role, ratio: Real, optimizer: Kind = "adam", rules: Rules = "mup") -> Multipliers:
    """
    A line of the table: what a model of `ratio` times the width needs.

    Parameters
    ----------
    role
        `"input"`: from something of fixed size to the width, such as an embedding; `"vector"`: biases and gains;
        `"hidden"`: from width to width; `"output"`: from the width to something of fixed size.
    ratio
        The width over that of the model on which size and rate were found.
    optimizer
        `"sgd"` or `"adam"`.
    rules
        `"mup"`, or `"standard"`: sizes of one over the root of the inputs, and one rate.

    Returns
    -------
    Multipliers
        Of size and rate.

    Raises
    ------
    ValueError
        If a name is none of those, or the ratio is not positive.

    Examples
    --------
    >>> mup_multipliers("hidden", 4)
    Multipliers(deviation=0.5, rate=0.25)
    """
    if role not in ("input", "vector", "hidden", "output"):
        raise ValueError(f"an array's role is 'input', 'vector', 'hidden' or 'output', got {role!r}")
    if optimizer not in ("sgd", "adam"):
        raise ValueError(f"rates are known for the optimizers 'sgd' and 'adam', got {optimizer!r}")
    if rules not in ("mup", "standard"):
        raise ValueError(f"the rules are 'mup' or 'standard', got {rules!r}")
    if not 0 < ratio < math.inf:
        raise ValueError(f"the ratio of two widths is positive, got {ratio}")
    root = 1 / math.sqrt(ratio)
    if rules == "standard":
        return Multipliers(root if role in ("hidden", "output") else 1.0, 1.0)
    if role == "output":
        return Multipliers(1 / ratio, 1 / ratio)
    if role == "hidden":
        return Multipliers(root, 1 / ratio if optimizer == "adam" else 1.0)
    return Multipliers(1.0, 1.0 if optimizer == "adam" else float(ratio))


def roles(model: Transformer) -> dict[str, Role]:
    """
    The role of every parameter of a model.

    Parameters
    ----------
    model
        Whose output is an array of its own.

    Returns
    -------
    dict
        Roles by the parameters' names.

    Raises
    ------
    ValueError
        If the output is tied to the embedding, which would have two roles.

    Examples
    --------
    >>> config = TransformerConfig.llama(vocab_size=5, context_length=4, n_layers=1, n_heads=1, d_model=4, tied=False)
    >>> found = roles(Transformer(config))
    >>> found["embedding.weight"], found["norm.weight"], found["blocks.0.attention.q_proj.weight"]
    ('input', 'vector', 'hidden')
    """
    if model.config.tied:
        raise ValueError(
            "a table that is both embedding and output has two roles: build the model with tied=False, or keep the "
            "embedding's role and multiply the logits by one over the ratio of the widths"
        )
    found: dict[str, Role] = {}
    for name, p in model.named_parameters().items():
        if p.ndim == 1:
            found[name] = "vector"
        else:
            found[name] = {"embedding": "input", "positions": "input", "output": "output"}.get(
                name.split(".")[0], "hidden"
            )  # type: ignore[assignment]
    return found


# --- the linear network


class FirstStep(NamedTuple):
    """How far the first step of one matrix moves what comes out of it, and the output: root mean squares."""

    f_by_v: float
    z_by_W: float
    h_by_U: float
    f_by_W: float
    f_by_U: float


def first_step(
    width: int,
    rules: Rules = "mup",
    optimizer: Kind = "adam",
    *,
    rng: np.random.Generator,
    rate: Real = 1.0,
    base: int = 64,
    inputs: int = 3,
) -> FirstStep:
    r"""
    Draw the network (E1), take the first step for one matrix at a time, and measure.

    Parameters
    ----------
    width
        $n$.
    rules, optimizer
        Which sizes and rates.
    rng
        Draws the weights, and the input.
    rate
        The rate for all matrices at the width `base`, times $\frac{1}{\mathtt{base}}$ for `W` and `v`.
    base
        The width at which the two rules agree.
    inputs
        $d$.

    Returns
    -------
    FirstStep
        Root mean squares, with $\chi = 1$.

    Examples
    --------
    >>> first_step(64, "mup", rng=np.random.default_rng(0)) == first_step(64, "standard", rng=np.random.default_rng(0))
    True
    """
    n = width
    to_input, inside, out = (mup_multipliers(r, n / base, optimizer, rules) for r in ("input", "hidden", "output"))
    x = rng.normal(size=inputs)
    x /= np.linalg.norm(x)
    U = rng.normal(size=(n, inputs))
    W = rng.normal(size=(n, n)) * (inside.deviation / math.sqrt(base))
    v = rng.normal(size=n) * (out.deviation / math.sqrt(base))
    h = U @ x
    z = W @ h
    back = W.T @ v
    move = np.sign if optimizer == "adam" else np.asarray
    dU, dW, dv = (
        -rate * to_input.rate * move(np.outer(back, x)),
        -rate / base * inside.rate * move(np.outer(v, h)),
        -rate / base * out.rate * move(z),
    )

    def size(a: Any) -> float:
        return math.sqrt(float(np.mean(a * a)))

    return FirstStep(size(dv @ z), size(dW @ h), size(dU @ x), size(v @ (dW @ h)), size(back @ (dU @ x)))


# --- transformers


class CoordinateCheck(NamedTuple):
    """How far a few steps move a model, for each width: root mean squares over seeds, positions and entries."""

    widths: tuple[int, ...]
    stream: Float[np.ndarray, " widths"]
    """Of the change of the last residual stream."""
    logits: Float[np.ndarray, " widths"]
    """Of the change of the logits."""


def coordinate_check(
    widths: Sequence[int] = (32, 64, 128),
    rules: Rules = "mup",
    *,
    rate: Real = 0.01,
    steps: int = 3,
    seeds: int = 3,
    d_head: int = 8,
    n_layers: int = 2,
) -> CoordinateCheck:
    """
    Train small transformers of several widths for a few steps of Adam, and measure what moves.

    Parameters
    ----------
    widths
        Multiples of `d_head`; the first is the one to which `rate` belongs.
    rules
        `"mup"` or `"standard"`.
    rate
        Of Adam, at the first width.
    steps
        On one batch of random tokens.
    seeds
        How many models of each width.
    d_head
        The width of a head, of which a wider model has more.
    n_layers
        Of each model.

    Returns
    -------
    CoordinateCheck
        Sizes of the changes.

    Raises
    ------
    ValueError
        If there are no widths, or one is no positive multiple of the head's.

    Examples
    --------
    >>> coordinate_check((16, 32), seeds=1).widths
    (16, 32)
    """
    if not widths or any(w < 1 or w % d_head for w in widths):
        raise ValueError(f"widths are multiples of d_head = {d_head}, at least one of them, got {tuple(widths)}")
    moved = np.array(
        [[_moved(w, widths[0], rules, rate, steps, s, d_head, n_layers) for s in range(seeds)] for w in widths]
    )
    stream, logits = np.sqrt(np.mean(moved, axis=1)).T
    return CoordinateCheck(tuple(widths), stream, logits)


def _moved(
    width: int, base: int, rules: Rules, rate: Real, steps: int, seed: int, d_head: int, n_layers: int
) -> tuple[float, float]:
    """The mean squares of the changes of the last stream and the logits of one model."""
    config = TransformerConfig.llama(
        vocab_size=17, context_length=8, n_layers=n_layers, n_heads=width // d_head, d_model=width, tied=False
    )
    rng, data = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    model = Transformer(config, rng=rng)  # matrices inside are drawn with one over the root of their inputs
    ratio, role = width / base, roles(model)
    assert model.output is not None
    output = mup_multipliers("output", ratio, "adam", rules).deviation / math.sqrt(base)
    with no_grad():
        model.output.weight[...] = output * rng.normal(size=model.output.weight.shape)
    parameters = model.named_parameters()
    optimizer = AdamW(
        {name: p.data for name, p in parameters.items()},
        lr=rate,
        weight_decay=0.0,
        groups=lambda name, array: {"lr_scale": mup_multipliers(role[name], ratio, "adam", rules).rate},
    )
    ids, targets = data.integers(0, config.vocab_size, (2, 4, config.context_length))

    def look() -> tuple[np.ndarray, np.ndarray]:
        with no_grad():
            *_, last = model.stream(ids)
            return last.data.copy(), model.read(last).data.copy()

    before = look()
    for _ in range(steps):
        model.zero_grad()
        model.loss(ids, targets).backward()
        optimizer.step({name: p.grad for name, p in parameters.items()})
    stream, logits = (float(np.mean((new - old) ** 2)) for new, old in zip(look(), before, strict=True))
    return stream, logits
