r"""
Rotary positions: queries and keys turn, and their product sees the distance.

Which positions a pair of tokens has is rarely of interest. How far they are apart often is. Is there a way to change
queries by their position, and keys by theirs, so that the score knows the distance and nothing else?

You need: `fp_attention.rotations`, `fp_attention.positions`.

## Turning heads

A query or key of even width $D$ is read as $h = D / 2$ points of the plane: coordinates $i$ and $i + h$ are point
$x^{(i)}$. At position $n$ point $i$ is turned by $n \theta_i$, with the speeds $\theta_i = b^{-2i / D}$, $b > 1$, of
(E2) in `fp_attention.positions`:

$$
\begin{pmatrix} y_i \\ y_{i + h} \end{pmatrix} = R(n \theta_i) \begin{pmatrix} x_i \\ x_{i + h} \end{pmatrix}, \qquad
\begin{aligned} y_i &= x_i \cos n \theta_i - x_{i + h} \sin n \theta_i, \\
y_{i + h} &= x_{i + h} \cos n \theta_i + x_i \sin n \theta_i. \end{aligned} \qquad \text{(E1)}
$$

Call the whole map $R_n$. This is **rotary position embedding** (RoPE). Values are not turned.

**Claim** `attention.rope-norm`. $R_n$ is orthogonal, $|R_n x| = |x|$, $R_m R_n = R_{m + n} = R_n R_m$ and
$R_n^\top = R_{-n}$.

**Proof.** Each plane by itself: `attention.turn-rigid` gives the lengths, and $|x|^2$ is the sum of the squared lengths
of the points, so $R_n$ is orthogonal (`neural.orthogonal-matrix`). Turns of one plane by $m \theta_i$ and $n \theta_i$
make one by $(m + n)\, \theta_i$ in either order, and transposing makes $-n \theta_i$ of the angle
(`attention.turn-sum`). $\blacksquare$

**Claim** `attention.rope-relative`. A query at position $m$ and a key at $n$ have the score

$$
R_m q \cdot R_n k = q \cdot R_{n - m}\, k = \sum_{i=0}^{h-1} |q^{(i)}|\, |k^{(i)}|
  \cos \big( (n - m)\, \theta_i + \beta_i - \alpha_i \big), \qquad \text{(E2)}
$$

with $\alpha_i$ and $\beta_i$ the angles of $q^{(i)}$ and $k^{(i)}$: it depends on the positions through the distance
$n - m$ only.

**Proof.** By (E3) of `fp_autograd.linear_algebra` and `attention.rope-norm`, $R_m q \cdot R_n k = q \cdot R_m^\top R_n
k = q \cdot R_{-m} R_n k = q \cdot R_{n - m} k$. A dot product is the sum over the planes, and each plane's is
`attention.angle-between`. $\blacksquare$

So a text scores alike wherever it begins, and a key can be turned once and kept: no later query asks for it to be
turned again. Turn the *values* too, and the output $\sum_j P_{ij} R_j v_j$ would change with the place of the text.

Is there another way? Not with maps that keep lengths, but for the choice of one matrix:

**Claim** `attention.rope-only`. Let $A_0, A_1, A_2, \dots$ be orthogonal $D \times D$ matrices such that for all
vectors $q$, $k$ the number $A_m q \cdot A_n k$ depends on $m$ and $n$ through $n - m$ only. Then $A_n = A_0 T^n$ for an
orthogonal $T$, and $A_m q \cdot A_n k = q \cdot T^{n - m} k$ for $n \ge m$.

**Proof.** With unit vectors for $q$ and $k$, every entry of $A_m^\top A_n$ depends on $n - m$ only. So
$T = A_n^\top A_{n + 1}$ is the same for every $n$. Multiply by $A_n$ from the left: as $A_n A_n^\top = I$,
$A_{n + 1} = A_n T$, and by induction $A_n = A_0 T^n$. $T$ is orthogonal, for $T^\top T = A_{n+1}^\top A_n A_n^\top
A_{n+1} = A_{n+1}^\top A_{n+1} = I$. Last, $A_m^\top A_n = (T^m)^\top A_0^\top A_0 T^n = (T^m)^\top T^m T^{n - m} = T^{n
- m}$. $\blacksquare$

RoPE has $A_0 = I$ and $T = R_1$. ($A_0$ is absorbed by the weights before it. A further theorem, not proven here, says
that every orthogonal $T$ turns planes and flips lines in a suitable basis.)

## Forward, tangent, backward

**Claim** `attention.rope-backward`. For $y = R_n x$ a tangent $t$ of $x$ becomes $R_n t$, and a cotangent $g$ of $y$
becomes $R_n^\top g = R_{-n}\, g$: the gradient is turned back.

**Proof.** $y$ is linear in $x$, so its Jacobian is $R_n$ (`autograd.jacobian`), the VJP is its transpose
(`autograd.transpose`), and that is $R_{-n}$ by `attention.rope-norm`. $\blacksquare$

Each is (E1), with the sign of the sine reversed in the last. `RoPE` computes it as $x \odot C + x' \odot S$, where $x'$
is $x$ with its halves exchanged, $C$ holds the cosines twice, and $S$ the sines with a minus before the first half.

## Does the score fade with the distance?

It is often said that it does. It does not:

**Claim** `attention.rope-not-monotone`. For $q \ne 0$ let $f(n) = q \cdot R_n q$, the score of a key equal to the
query. Then $f(0) = |q|^2 > f(1)$, and for every $\varepsilon > 0$ some $n \ge 1$ has $f(n) > f(0) - \varepsilon$. So
$f$ is not monotone, whatever $q$, $D$ and $b$. For $D = 2$ it rises already from $n = 3$ to $n = 4$.

**Proof.** By (E2) $f(n) = \sum_i |q^{(i)}|^2 \cos n \theta_i$. As $0 < \theta_i \le 1 < \pi$, $\cos \theta_i < 1$
(`attention.cosine-falls`), and $f(1) < \sum_i |q^{(i)}|^2 = f(0)$. Next, by `attention.rope-norm`,
$|q - R_n q|^2 = 2 |q|^2 - 2 f(n)$. For $m \ge 1$ take the $n$ of `attention.near-return`. In each plane $|q^{(i)} - R(n
\theta_i)\, q^{(i)}| = |q^{(i)}|\, |u(0) - u(n \theta_i)| < |q^{(i)}| \frac{2 \pi}{m}$ unless $q^{(i)} = 0$, so

$$f(n) = |q|^2 - \tfrac12 |q - R_n q|^2 \ge |q|^2 - \tfrac12 |q|^2 \Big( \frac{2 \pi}{m} \Big)^2,$$

which is above $f(0) - \varepsilon$ for large $m$. A function that never rises has $f(n) \le f(1) < f(0)$ for all
$n \ge 1$, and one that never falls does not have $f(1) < f(0)$. Last, for $D = 2$ there is one speed, $1$, and
$f(n) = |q|^2 \cos n$. As $3 < \pi < 3.5$, $2 < 2 \pi - 4 < 3$, and the cosine falls on $[0, \pi]$:
$\cos 3 < \cos (2 \pi - 4) = \cos 4$. $\blacksquare$

What does fade is a bound, and an average. In plane $i$ let $a_i = q^{(i)} \cdot k^{(i)}$ and
$c_i = (a_i,\; -q^{(i)} \wedge k^{(i)})$. Multiplying out (E1),

$$
q^{(i)} \cdot R(n \theta_i)\, k^{(i)} = c_i \cdot u(n \theta_i), \qquad |c_i| = |q^{(i)}|\, |k^{(i)}|; \qquad
S_j(n) = \sum_{i < j} u(n \theta_i). \qquad \text{(E3)}
$$

**Claim** `attention.rope-average`. With $c_h = 0$,

$$
| q \cdot R_n k | \le \max_{0 \le i < h} |c_i - c_{i + 1}|\; \sum_{j=1}^{h} |S_j(n)|. \qquad \text{(E4)}
$$

**Proof.** First (E3), with $x$ and $y$ for $q^{(i)}$ and $k^{(i)}$ and $\varphi$ for the angle:

$$
\begin{aligned}
x \cdot R(\varphi)\, y &= x_1 (y_1 \cos \varphi - y_2 \sin \varphi) + x_2 (y_1 \sin \varphi + y_2 \cos \varphi)
  = (x \cdot y) \cos \varphi - (x \wedge y) \sin \varphi, \\
|c_i|^2 &= (x_1 y_1 + x_2 y_2)^2 + (x_1 y_2 - x_2 y_1)^2 = (x_1^2 + x_2^2)(y_1^2 + y_2^2),
\end{aligned}
$$

as the products $2\, x_1 y_1 x_2 y_2$ cancel. As $u(n \theta_i) = S_{i + 1} - S_i$ and $S_0 = 0$,

$$
\begin{aligned}
q \cdot R_n k &= \sum_{i=0}^{h-1} c_i \cdot (S_{i + 1} - S_i)
  = \sum_{i=0}^{h-1} c_i \cdot S_{i+1} - \sum_{i=1}^{h-1} c_i \cdot S_i \\
  &= \sum_{i=0}^{h-1} c_i \cdot S_{i+1} - \sum_{i=0}^{h-2} c_{i+1} \cdot S_{i+1}
  = \sum_{i=0}^{h-1} (c_i - c_{i+1}) \cdot S_{i+1},
\end{aligned}
$$

where the last term may be added since $c_h = 0$ (summation by parts, N. H. Abel). Each product is at most
$|c_i - c_{i+1}|\, |S_{i+1}|$ (`autograd.cauchy-schwarz`), and the first factor at most the largest. $\blacksquare$

The mean of the $|S_j(n)|$ over $j$ is `fading(n)`. It tends downwards because the fast hands come to point in all
directions:

>>> [round(fading(n, 128), 1) for n in (0, 1, 10, 100, 1000, 10_000)]
[32.5, 31.5, 18.0, 10.2, 4.5, 3.9]

This is the argument of the paper that introduced RoPE, and here is what it does not say. It bounds the score from
above; a score may be small anywhere. It is loose: if all $c_i$ are one $c$, the score at $n = 0$ is at most $h\, |c|$
and the bound is $\frac{h + 1}{2}$ times that. It does not fall at every step. And it does not tend to zero: by
`attention.near-return` it comes back to nearly its first value, though that may take more positions than any text has.

>>> values = np.array([fading(n, 128) for n in range(200)])
>>> int((np.diff(values) > 0).sum())  # how many of 199 steps go up
87

**Claim** `attention.rope-window`. Let $\lambda_i = 2 \pi / \theta_i$ be the **wavelength** of plane $i$: how many
positions it takes for a round. The mean score over $N$ successive distances, from any $a$ on, satisfies

$$
\Big| \frac1N \sum_{n=a}^{a+N-1} q \cdot R_n k \Big| \le \sum_{i=0}^{h-1} |q^{(i)}|\, |k^{(i)}|\,
  \min \Big( 1, \frac{\lambda_i}{2 N} \Big). \qquad \text{(E5)}
$$

**Proof.** By (E3) the sum over $n$ is $\sum_i c_i \cdot \sum_n u(n \theta_i)$. The inner sum has the length $N$ at
most, as each point has the length $1$, and $\frac{\pi}{\theta_i} = \frac{\lambda_i}{2}$ at most by
`attention.cosine-sum`, as $0 < \theta_i \le 1 \le \pi$. Divide by $N$ and use `autograd.cauchy-schwarz`. $\blacksquare$

So planes that go round several times within $N$ tokens prefer no half of a window: they tell one distance from the
next. What prefers near to far, or the other way, are planes with wavelengths of the length of the text and more.

## Two layouts

The paper pairs neighbours, coordinates $2i$ and $2i + 1$; most code pairs halves, as (E1). Let $P$ bring neighbours
apart: $(P x)_i = x_{2i}$ and $(P x)_{i + h} = x_{2i + 1}$.

**Claim** `attention.rope-layouts`. Turning neighbours is $R'_n = P^\top R_n P$, and
$R'_m q \cdot R'_n k = R_m (P q) \cdot R_n (P k)$: the scores are those of halves, of queries and keys whose coordinates
are permuted by $P$.

**Proof.** $P$ permutes coordinates, so it keeps lengths, and $P^\top P = P P^\top = I$. It makes halves of neighbours,
which $R_n$ turns, and $P^\top$ takes them back. Then $R'_m q \cdot R'_n k = (P^\top R_m P q) \cdot (P^\top R_n P k) =
(R_m P q) \cdot (P P^\top R_n P k)$. $\blacksquare$

So permute the rows of a head's weights, $P W_q$ and $P W_k$, and a model of one layout is a model of the other. Forget
it, and it is noise.

## Longer texts than were trained on

A model was trained on texts of $L$ tokens and is to read longer ones. In plane $i$ it has met the angles of the
distances up to $L - 1$, from $0$ to $(L - 1)\, \theta_i$. Fast planes have been all around the circle. How many?

**Claim** `attention.rope-turns`. Over $L$ positions plane $i$ makes $r_i = L \theta_i / 2 \pi = L / \lambda_i$ turns.
For $r > 0$, $r_i \ge r$ exactly if

$$i \le i(r) = \frac{D}{2 \ln b} \ln \frac{L}{2 \pi r}. \qquad \text{(E6)}$$

**Proof.** $L\, b^{-2i/D} / 2 \pi \ge r$ is $b^{2i/D} \le L / 2 \pi r$. The logarithm rises, so this is
$\frac{2i}{D} \ln b \le \ln \frac{L}{2 \pi r}$. As $b > 1$, $\ln b > 0$; divide. $\blacksquare$

>>> rope = RoPE(128)
>>> turns = 4096 * rope.frequencies / (2 * math.pi)
>>> int((turns >= 1).sum())  # of 64 planes, at 4,096 tokens
46

**Claim** `attention.rope-interpolation`. (a) If $(L - 1)\, \theta_i < 2 \pi$, a distance $n > L - 1$ with
$n \theta_i < 2 \pi$ turns plane $i$ to an angle that no distance from $0$ to $L - 1$, whole or not, turns it to. (b)
With the speeds $\theta_i / f$, $f \ge 1$, in place of $\theta_i$, position $n$ is turned as position $n / f$ was
before, and in every plane the angles of the distances up to $f (L - 1)$ lie in the interval from $0$ to
$(L - 1)\, \theta_i$ over which training spread its angles.

**Proof.** (a) The angles met are those in $[0, (L - 1)\, \theta_i]$, and $n \theta_i$ lies above this interval and
below $2 \pi$: it differs from each of them by a positive number below $2 \pi$, so by no multiple of $2 \pi$, and the
points of the circle differ. (b) $n \cdot \frac{\theta_i}{f} = \frac{n}{f} \cdot \theta_i$, and for
$0 \le n \le f (L - 1)$ this is between $0$ and $(L - 1)\, \theta_i$. $\blacksquare$

This is **position interpolation**, `Linear`. Its price: neighbours are now a fraction $\frac1f$ of a step apart, which
the fast planes have to tell, and training has not shown them. The next idea is to slow down the slow planes alone.

**Claim** `attention.rope-ntk`. Let $D > 2$ and $f \ge 1$. Among all bases $b' = b\, f^{D / (D - 2)}$ alone makes the
slowest speed $f$ times smaller, $\theta'_{h-1} = \theta_{h-1} / f$. It leaves the fastest, $\theta'_0 = 1$, and

$$\theta'_i = \theta_i\, f^{-2i / (D - 2)}, \qquad \tfrac1f \theta_i \le \theta'_i \le \theta_i. \qquad \text{(E7)}$$

**Proof.** $\theta'_i = b'^{-2i/D} = b^{-2i/D} f^{-2i/(D-2)}$. For $i = 0$ the factor is $1$, and for $i = h - 1$,
$2i = D - 2$, it is $\frac1f$; as $f \ge 1$ it falls from one to the other as $i$ grows. The slowest speed is
$b'^{-(D-2)/D}$, which strictly falls as $b'$ grows, so no other base has the same. $\blacksquare$

By the last claim's (b) the slowest plane now meets no new angle in texts $f$ times as long. Those between do: at the
distance $f n$ plane $i$ has the angle $f^{1 - 2i/(D-2)}\, n \theta_i$. So others keep the planes that turn often as
they are, interpolate those that do not, and blend between.

**Claim** `attention.rope-blend`. Let $f \ge 1$, and let weights $1 \ge w_0 \ge w_1 \ge \dots \ge w_{h-1} \ge 0$ blend

$$\theta'_i = w_i\, \theta_i + (1 - w_i)\, \frac{\theta_i}{f}. \qquad \text{(E8)}$$

Then $\frac1f \theta_i \le \theta'_i \le \theta_i$, and $\theta'_0 > \theta'_1 > \dots > \theta'_{h-1}$: fast planes
stay the fast ones. YaRN's and Llama 3's weights are such, with $r_i$ and $i(r)$ of (E6) and $\operatorname{clip}$ for
what keeps a number in $[0, 1]$:

$$
\begin{aligned}
w_i^{\text{YaRN}} &= 1 - \operatorname{clip} \frac{i - \lfloor i(\beta_{\text{fast}}) \rfloor}{
  \lceil i(\beta_{\text{slow}}) \rceil - \lfloor i(\beta_{\text{fast}}) \rfloor}, \\
w_i^{\text{Llama 3}} &= \operatorname{clip} \frac{r_i - r_{\text{low}}}{r_{\text{high}} - r_{\text{low}}}.
\end{aligned}
\qquad \text{(E9)}
$$

**Proof.** $\theta'_i = \theta_i \big( \frac1f + w_i (1 - \frac1f) \big)$. The bracket lies between $\frac1f$ and $1$.
It is positive and does not rise with $i$, and $\theta_i$ is positive and strictly falls; so their product strictly
falls. The quotient in the first of (E9) rises with $i$, as $\beta_{\text{fast}} > \beta_{\text{slow}}$ makes
$i(\beta_{\text{fast}}) < i(\beta_{\text{slow}})$ in (E6) and the divisor positive; in the second, $r_i$ falls with $i$
and $r_{\text{high}} > r_{\text{low}}$. $\blacksquare$

YaRN adds one thing. More keys share one softmax in a long text, which flattens it; to sharpen it again, queries and
keys are multiplied by $0.1 \ln f + 1$, and scores by its square. The number was found by trial.

## In practice

RoPE is from J. Su and others, *RoFormer* (2021), the bound (E4) with it. Llama, Qwen, Gemma and most others use it,
with bases from 10,000 to millions; a larger base slows the slow planes for long contexts, as (E7) does. GPT-J and
GPT-NeoX turn a part of each head only (`rotary_dim`) and leave the rest without positions. `Linear` is by S. Chen and
others and by a user called kaiokendev (2023), `NTK` by bloc97 (2023), `YaRN` by B. Peng and others (2023), whose code
clips $\lfloor i(\beta_{\text{fast}}) \rfloor$ at $0$ and $\lceil i(\beta_{\text{slow}}) \rceil$ at $D - 1$; `Llama3`
came with the models of version 3.1. All need some training on long texts to work well. A table of angles in float32
instead of float64, or in half precision, is a known source of differences between programs at far positions.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Integer

from fp_attention.positions import Positions, Real, frequencies
from fp_autograd.extend import operation
from fp_autograd.rules import concatenate, stack
from fp_autograd.tracing import Operand, value_of

__all__ = [  # the order of the page
    "fading",
    "Scaling",
    "Linear",
    "NTK",
    "YaRN",
    "Llama3",
    "reference_rotate",
    "RoPE",
]

Pairs = Literal["halves", "neighbours"]
Speeds = Float[np.ndarray, " half"]
KEPT = 1 << 16  # positions up to here are looked up in a table, those beyond are computed


def fading(n: int, dim: int, base: Real = 10_000.0) -> float:
    r"""
    $\frac1h \sum_{j=1}^h |S_j(n)|$, the factor in the bound (E4) that depends on the distance.

    Parameters
    ----------
    n
        The distance.
    dim, base
        $D$ and $b$.

    Returns
    -------
    float
        Between 0 and $\frac{h + 1}{2}$.

    Examples
    --------
    >>> fading(0, 6)
    2.0
    """
    angles = n * frequencies(dim, base)
    return float(np.hypot(np.cumsum(np.cos(angles)), np.cumsum(np.sin(angles))).mean())


# --- speeds for longer texts


class Scaling:
    """A change of the speeds, for texts longer than those of training."""

    attention_factor: Real | None = None
    """What queries and keys are multiplied by; `None` is as 1."""

    def speeds(self, dim: int, base: Real) -> Speeds:
        """The speeds of `dim / 2` planes, in radians a position."""
        raise NotImplementedError(f"{type(self).__name__} has no speeds: define what becomes of them")


def _check_numbers(scaling: Any) -> None:
    """That what a scaling is made of are numbers, as they are not in a file of settings that was read as text."""
    for field in fields(scaling):
        value = getattr(scaling, field.name)
        if not (isinstance(value, Real | np.integer | np.floating) or (value is None and field.default is None)):
            raise TypeError(
                f"{field.name} of {type(scaling).__name__} is a number, got {value!r} of type {type(value).__name__}"
            )


def _check_factor(factor: Real) -> None:
    if not 1 <= factor < math.inf:
        raise ValueError(f"the factor says how many times longer texts may be, a finite number from 1 on, got {factor}")


def _check_attention_factor(factor: Real | None) -> None:
    if factor is not None and not 0 < factor < math.inf:
        raise ValueError(
            f"attention_factor multiplies queries and keys and is positive and finite, got {factor}; None leaves it out"
        )


@dataclass(frozen=True)
class Linear(Scaling):
    """
    Position interpolation: all planes slower (`attention.rope-interpolation`).

    Raises
    ------
    ValueError
        If the factor is below 1 or not finite; so for the other scalings.
    TypeError
        If it is no number; so for the other scalings and all that they take.

    Examples
    --------
    >>> Linear(4.0).speeds(4, 100.0)
    array([0.25 , 0.025])
    """

    factor: Real
    """How many times longer texts may be."""

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_factor(self.factor)

    def speeds(self, dim: int, base: Real) -> Speeds:
        """The speeds of `dim / 2` planes, in radians a position."""
        return frequencies(dim, base) / self.factor


@dataclass(frozen=True)
class NTK(Scaling):
    """
    A larger base: the slowest plane slower by the factor, the fastest as it was (`attention.rope-ntk`).

    Examples
    --------
    >>> NTK(4.0).speeds(4, 100.0)
    array([1.   , 0.025])
    """

    factor: Real
    """How many times longer texts may be."""

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_factor(self.factor)

    def speeds(self, dim: int, base: Real) -> Speeds:
        """The speeds of `dim / 2` planes, two or more, in radians a position."""
        if dim <= 2:
            raise ValueError(f"one plane cannot be both the fastest and the slowest: NTK takes dim >= 4, got {dim}")
        return frequencies(dim, base * self.factor ** (dim / (dim - 2)))


@dataclass(frozen=True)
class YaRN(Scaling):
    """
    Keep what turns often, interpolate what does not, blend by the number of the plane (E9); and sharpen the scores.

    Examples
    --------
    >>> YaRN(4.0, original_context=64).speeds(8, 1000.0).round(4)
    array([1.    , 0.1111, 0.0079, 0.0014])
    >>> round(YaRN(4.0, original_context=64).attention_factor, 4)
    1.1386
    """

    factor: Real
    """How many times longer texts may be."""
    original_context: int
    """The length of texts in training."""
    beta_fast: Real = 32
    """Planes that turn as often in a text of training are left as they are."""
    beta_slow: Real = 1
    """Planes that turn no more often are interpolated."""
    attention_factor: Real | None = None
    """What queries and keys are multiplied by; found from the factor if it is not given."""
    truncate: bool = True
    """Whether the ends of the blend are rounded outwards to whole planes."""

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_factor(self.factor)
        if self.original_context < 1 or not 0 < self.beta_slow < self.beta_fast:
            raise ValueError(
                "YaRN needs a context of training of at least one token and 0 < beta_slow < beta_fast, got "
                f"{self.original_context}, {self.beta_slow} and {self.beta_fast}"
            )
        if self.attention_factor is None:
            object.__setattr__(self, "attention_factor", 0.1 * math.log(self.factor) + 1)
        _check_attention_factor(self.attention_factor)

    def speeds(self, dim: int, base: Real) -> Speeds:
        """The speeds of `dim / 2` planes, in radians a position."""
        theta = frequencies(dim, base)
        fast, slow = (  # i(r) of (E6)
            dim / (2 * math.log(base)) * math.log(self.original_context / (2 * math.pi * r))
            for r in (self.beta_fast, self.beta_slow)
        )
        if self.truncate:
            fast, slow = math.floor(fast), math.ceil(slow)
        fast, slow = max(fast, 0), min(slow, dim - 1)
        if fast == slow:
            slow += 0.001  # as the peers do it: a step
        return _blend(theta, self.factor, 1 - np.clip((np.arange(len(theta)) - fast) / (slow - fast), 0, 1))


@dataclass(frozen=True)
class Llama3(Scaling):
    """
    Keep what turns often, interpolate what does not, blend by the number of turns (E9).

    Examples
    --------
    >>> Llama3(8.0, 1.0, 4.0, original_context=64).speeds(8, 1000.0).tolist()
    [1.0, 0.064..., 0.0039..., 0.0007...]
    """

    factor: Real
    """How many times longer texts may be."""
    low_freq_factor: Real
    """Planes with fewer turns in a text of training are interpolated."""
    high_freq_factor: Real
    """Planes with more turns are left as they are."""
    original_context: int
    """The length of texts in training."""

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_factor(self.factor)
        if self.original_context < 1 or not 0 < self.low_freq_factor < self.high_freq_factor:
            raise ValueError(
                "Llama 3's scaling needs a context of training of at least one token and "
                f"0 < low_freq_factor < high_freq_factor, got {self.original_context}, {self.low_freq_factor} and "
                f"{self.high_freq_factor}"
            )

    def speeds(self, dim: int, base: Real) -> Speeds:
        """The speeds of `dim / 2` planes, in radians a position."""
        theta = frequencies(dim, base)
        turns = self.original_context * theta / (2 * math.pi)
        span = self.high_freq_factor - self.low_freq_factor
        return _blend(theta, self.factor, np.clip((turns - self.low_freq_factor) / span, 0, 1))


def _blend(theta: np.ndarray, factor: Real, w: np.ndarray) -> np.ndarray:
    """(E8)"""
    return w * theta + (1 - w) * (theta / factor)


# --- turning


def reference_rotate(x: Operand, cos: np.ndarray, sin: np.ndarray, pairs: Pairs = "halves") -> Any:
    """
    (E1) as it is written, of operations of the table. `RoPE` does the same in fewer steps.

    Parameters
    ----------
    x
        Of shape `(..., T, D)`. If `D` is larger than twice the number of planes, the rest is left as it is.
    cos, sin
        Of shape `(T, h)`: those of every angle.
    pairs
        Which coordinates are a point: `"halves"` or `"neighbours"`.

    Returns
    -------
    ndarray or Box
        Of the shape of `x`.

    Examples
    --------
    >>> quarter = np.array([[0.0, 0.0]]), np.array([[1.0, 1.0]])
    >>> reference_rotate(np.array([[1.0, 2.0, 3.0, 4.0, 5.0]]), *quarter)
    array([[-3., -4.,  1.,  2.,  5.]])
    >>> reference_rotate(np.array([[1.0, 2.0, 3.0, 4.0, 5.0]]), *quarter, pairs="neighbours")
    array([[-2.,  1., -4.,  3.,  5.]])
    """
    h = cos.shape[-1]
    first, second = (
        (x[..., :h], x[..., h : 2 * h]) if pairs == "halves" else (x[..., : 2 * h : 2], x[..., 1 : 2 * h : 2])
    )
    y, z = first * cos - second * sin, second * cos + first * sin
    if pairs == "neighbours":
        y = stack([y, z], axis=-1)
        turned = [y.reshape((*y.shape[:-2], 2 * h))]
    else:
        turned = [y, z]
    return concatenate([*turned, x[..., 2 * h :]], axis=-1)


def _turned(x: np.ndarray, back: bool, C: np.ndarray, S: np.ndarray | None) -> np.ndarray:
    """Turn by the angles of the tables, or back."""
    r = C.shape[-1] if S is not None else 2 * C.shape[-1]
    y = np.empty(x.shape, x.dtype)
    part, out = x[..., :r], y[..., :r]
    if S is None:  # neighbours: a point is a complex number, and C holds u(angle)
        if part.strides[-1] != part.itemsize:
            part = np.ascontiguousarray(part)
        points = f"c{2 * x.itemsize}"
        np.multiply(part.view(points), C.conj() if back else C, out=out.view(points))
    else:
        h = r // 2
        np.multiply(part, C, out=out)
        crossed = np.empty((*x.shape[:-1], 2, h), x.dtype)
        np.multiply(part.reshape(crossed.shape)[..., ::-1, :], S, out=crossed)
        (np.subtract if back else np.add)(out, crossed.reshape(out.shape), out=out)
    y[..., r:] = x[..., r:]
    return y


def _forward(x: np.ndarray, C: np.ndarray, S: np.ndarray | None) -> np.ndarray:
    """Turn every point of queries or keys (E1)."""
    return _turned(x, False, C, S)


def _dx(g: Any, out: Any, x: Any, C: np.ndarray, S: np.ndarray | None) -> Any:
    return _turned(g, True, C, S)


def _tangent(t: Any, out: Any, x: Any, C: np.ndarray, S: np.ndarray | None) -> Any:
    return _turned(t, False, C, S)


def _by_reference(x: Any, C: np.ndarray, S: np.ndarray | None) -> Any:
    if S is None:
        return reference_rotate(x, C.real, C.imag, "neighbours")
    return reference_rotate(x, C[:, : S.shape[-1]], S[:, 1], "halves")


_rotate = operation("attention.rotate", _forward, (_dx,), (_tangent,), _by_reference, fresh=True)


class RoPE(Positions):
    r"""
    Turn queries and keys by their position (E1).

    Parameters
    ----------
    d_head
        $D$, the width of a head.
    base
        $b > 1$.
    rotary_dim
        How many coordinates of a head are turned, the first ones; all by default. The speeds are those of this width.
    pairs
        Which coordinates are a point: `"halves"` ($i$ and $i + h$) or `"neighbours"` ($2i$ and $2i + 1$).
    scaling
        How the speeds are changed for longer texts: `Linear`, `NTK`, `YaRN`, `Llama3`, or nothing.

    Raises
    ------
    ValueError
        If a head or the turned part of it has an odd width, or a setting is out of its range; when called, if the heads
        are not `d_head` wide, or positions are negative or not one for each token.
    TypeError
        If the scaling is none of these; when called, if queries or keys are not of float32 or float64, or positions are
        not whole numbers.

    Examples
    --------
    >>> rope = RoPE(4)
    >>> q, k = np.random.default_rng(0).normal(size=(2, 1, 4))
    >>> at = lambda x, n: rope.on_heads(x, np.array([n]))[0]
    >>> np.isclose(at(q, 5) @ at(k, 2), at(q, 905) @ at(k, 902))  # three apart
    np.True_
    """

    def __init__(
        self,
        d_head: int,
        base: Real = 10_000.0,
        *,
        rotary_dim: int | None = None,
        pairs: Pairs = "halves",
        scaling: Scaling | None = None,
    ) -> None:
        super().__init__()
        r = d_head if rotary_dim is None else rotary_dim
        if r < 2 or r % 2 or r > d_head:
            raise ValueError(
                f"RoPE turns pairs of coordinates: it takes an even width from 2 to the head's {d_head}, got {r}; "
                "for a head of odd width set rotary_dim to a smaller even number"
            )
        if pairs not in ("halves", "neighbours"):
            raise ValueError(f"pairs of coordinates are 'halves' or 'neighbours', got {pairs!r}")
        if not isinstance(scaling, Scaling | None):
            raise TypeError(
                f"scaling is None or made by one of Linear, NTK, YaRN and Llama3, such as Linear(4.0), got {scaling!r}"
            )
        self.d_head, self.rotary_dim, self.base, self.pairs, self.scaling = d_head, r, base, pairs, scaling
        factor = None if scaling is None else scaling.attention_factor
        _check_attention_factor(factor)
        self._speeds = frequencies(r, base) if scaling is None else scaling.speeds(r, base)
        self._factor = 1.0 if factor is None else factor
        self._tables: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}

    @property
    def frequencies(self) -> Speeds:
        """The speeds of the planes, in radians a position, as they are after scaling."""
        return self._speeds

    def on_heads(self, x: Operand, positions: Integer[np.ndarray, " T"]) -> Any:
        """Of the shape of `x`, which is `(..., T, D)`, such as `(B, H, T, D)`."""
        array = value_of(x)
        if array.dtype not in (np.float32, np.float64):
            raise TypeError(f"queries and keys are of float32 or float64, got {array.dtype}: convert with .astype")
        if array.ndim < 2 or array.shape[-1] != self.d_head:
            raise ValueError(
                f"this RoPE turns heads of shape (..., T, {self.d_head}), got {array.shape}: its d_head has to be the "
                "width of a head, not of the model"
            )
        if positions.dtype.kind not in "iu":
            raise TypeError(f"positions are whole numbers, got {positions.dtype}: convert with .astype")
        if positions.shape != array.shape[-2:-1]:
            raise ValueError(
                f"each token has one position: {array.shape[-2]} tokens need positions of shape ({array.shape[-2]},), "
                f"got {positions.shape}"
            )
        C, S = self._rows(positions, array.dtype)
        return _rotate(x, C=C, S=S)

    def _rows(self, positions: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray | None]:
        """The tables' rows of these positions, in the precision of the heads."""
        T = len(positions)
        if T == 0:
            return self._computed(positions, dtype)
        low, high = (int(positions[0]),) * 2 if T == 1 else (int(positions.min()), int(positions.max()))
        if low < 0:
            raise ValueError(f"positions count from 0, got {low}: the first token of a text has the position 0")
        if high >= KEPT:
            return self._computed(positions, dtype)
        C, S = self._tables.get(dtype.char, (np.empty((0, 0)), None))
        if high >= len(C):  # at least twice as long, so that growing token by token costs little
            C, S = self._tables[dtype.char] = self._computed(np.arange(min(KEPT, max(high + 1, 2 * len(C), 64))), dtype)
        successive = high - low == T - 1 and (T < 3 or bool((np.diff(positions) == 1).all()))
        window = slice(low, high + 1) if successive and positions[0] == low else positions
        return C[window], None if S is None else S[window]

    def _computed(self, positions: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray | None]:
        """Angles in float64, their sines and cosines rounded."""
        angles = positions[:, None] * self._speeds
        c, s = self._factor * np.cos(angles), self._factor * np.sin(angles)
        if self.pairs == "neighbours":
            return (c + 1j * s).astype(f"c{2 * dtype.itemsize}"), None
        return np.concatenate([c, c], axis=-1).astype(dtype), np.stack([-s, s], axis=1).astype(dtype)
