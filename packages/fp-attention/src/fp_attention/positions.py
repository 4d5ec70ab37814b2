r"""
Positions: three places where order may enter.

Exchange two tokens of a text, and attention without a mask exchanges its two outputs and changes nothing else
(`fp_attention.symmetry`). If *dog bites man* is to differ from *man bites dog*, the position of a token has to be put
in somewhere. Where can that be, what does it do to the scores, and which vectors are good names for positions?

You need: `fp_attention.rotations`; `fp_neural.embedding` for tables.

## Where

On its way to the scores of a head a text passes three places:

1. the **input** $x_i$, before queries, keys and values are made of it: $x_i + p_i$ (`Positions.on_input`);
2. the **queries and keys**, after that: $q_i$ and $k_j$ are changed according to $i$ and $j$, values are not
   (`Positions.on_heads`);
3. the **scores**: a number that depends on the distance $j - i$ is added to $q_i \cdot k_j$ (`Positions.on_scores`).

This section is about the first, `fp_attention.rotary` about the second and `fp_attention.relative` about the third. In
the first, positions mix with contents:

**Claim** `attention.four-terms`. Let queries be $W_q (x_i + p_i)$ and keys $W_k (x_j + p_j)$, and $M = W_q^\top W_k$.
The score of the pair is

$$
x_i \cdot M x_j + x_i \cdot M p_j + p_i \cdot M x_j + p_i \cdot M p_j. \qquad \text{(E1)}
$$

**Proof.** By `attention.bilinear-score` $W_q a \cdot W_k b = a \cdot M b$. It is linear in $a$ and in $b$; insert
$a = x_i + p_i$ and $b = x_j + p_j$. $\blacksquare$

Content looks for content, content for a position, a position for content, and a position for a position: all through
one matrix $M$. The values $W_v (x_j + p_j)$ carry positions too, so later layers learn where a token stood.

## Sinusoidal vectors

A clock shows the time by several hands: one alone is fast and ambiguous, or slow and coarse. Let $d$ be even and take
$d / 2$ hands with the speeds

$$\theta_i = b^{-2i / d}, \qquad i = 0, \dots, \tfrac d2 - 1, \qquad \text{(E2)}$$

radians a position, with the **base** $b > 1$. They fall from $1$ to nearly $1 / b$ by a constant factor. The vector of
position $t$ holds the sine and the cosine of each hand side by side,

$$P(t)_{2i} = \sin t \theta_i, \qquad P(t)_{2i + 1} = \cos t \theta_i. \qquad \text{(E3)}$$

>>> SinusoidalPositions(4, base=100.0).rows(0, 3).round(3)
array([[ 0.   ,  1.   ,  0.   ,  1.   ],
       [ 0.841,  0.54 ,  0.1  ,  0.995],
       [ 0.909, -0.416,  0.199,  0.98 ]])

**Claim** `attention.sinusoidal-shift`. For every $s$ there is one matrix $R_s$ with $P(t + s) = R_s\, P(t)$ for all
$t$: it turns each pair of coordinates $2i$, $2i + 1$ by $R(-s \theta_i)$. It is orthogonal.

**Proof.** By (E5) of `fp_attention.rotations`

$$
\begin{pmatrix} \sin (t + s) \theta_i \\ \cos (t + s) \theta_i \end{pmatrix}
= \begin{pmatrix} \cos s \theta_i & \sin s \theta_i \\ -\sin s \theta_i & \cos s \theta_i \end{pmatrix}
  \begin{pmatrix} \sin t \theta_i \\ \cos t \theta_i \end{pmatrix},
$$

and the matrix is $R(-s \theta_i)$, which knows $s$ and not $t$. It keeps the length of each pair
(`attention.turn-rigid`), so $R_s$ keeps the length of the whole vector (`neural.orthogonal-matrix`). $\blacksquare$

So what *three tokens earlier* means is one linear map, the same anywhere in the text, and a matrix of weights can learn
it.

**Claim** `attention.sinusoidal-dot`. $P(t) \cdot P(s) = \sum_i \cos (t - s)\, \theta_i$, which depends on the distance
alone. It is $\frac d2$ for $t = s$, and never more. So $|P(t)|^2 = \frac d2$ and
$|P(t) - P(s)|^2 = 2 \sum_i \big( 1 - \cos (t - s)\, \theta_i \big)$.

**Proof.** For one pair, $\sin a \sin b + \cos a \cos b = \cos (a - b)$ by (E5) of `fp_attention.rotations` with $-b$
for $b$. Add over the pairs; no cosine exceeds $1 = \cos 0$. The last is $|P(t)|^2 - 2 P(t) \cdot P(s) + |P(s)|^2$.
$\blacksquare$

With $M$ in (E1) such that $p_i \cdot M p_j = R_{-s} p_i \cdot p_j$, the last term is $P(i - s) \cdot P(j)$, largest for
the token $s$ places earlier: a head that always looks there.

>>> p = SinusoidalPositions(64).rows(0, 50)
>>> at = 30
>>> back = p[at - 3] @ p.T  # what R_{-3} makes of position 30, against all keys
>>> int(back.argmax()), float(back.max())
(27, 32.0)

## Are they good names?

A name should be one position's only.

**Claim** `attention.sinusoidal-distinct`. Let $0 < |t - s| < 2 \pi\, b^{1 - 2/d}$, less than the slowest hand takes for
a round. Then $P(t) \ne P(s)$, and $P(t) \cdot P(s) < \frac d2$.

**Proof.** The slowest speed is $\theta = b^{-(d - 2) / d} = b^{-1 + 2/d}$. So $0 < |t - s|\, \theta < 2 \pi$, and by
`attention.cosine-falls` its cosine is not $1$. The sum of `attention.sinusoidal-dot` then has a term below $1$; and
$P(t) = P(s)$ would make it $|P(t)|^2 = \frac d2$. $\blacksquare$

>>> round(longest_wavelength(512, 10_000.0))
60611

(Beyond that, whole positions differ still, because $\pi$ is no fraction, a theorem of Lambert's that is not proven
here: the fastest hand is never twice in the same place.) But names of far positions come as near to each other as one
likes:

**Claim** `attention.near-return`. Let $\theta_1, \dots, \theta_h$ be any speeds and $m \ge 1$ whole. Some whole $n$
with $1 \le n \le m^h$ makes every $n \theta_i$ differ by less than $\frac{2 \pi}{m}$ from a multiple of $2 \pi$. So
the points $u(t \theta_i)$ and $u((t + n)\, \theta_i)$ are nearer than $\frac{2 \pi}{m}$, for all $t$ and $i$.

**Proof.** Cut the circle into $m$ arcs of the length $\frac{2 \pi}{m}$, each with one of its ends. For a position $t$
note in which arc each of the $h$ hands stands: there are $m^h$ possible notes. Of the $m^h + 1$ positions
$0, \dots, m^h$ two have the same note, $t < t'$. Let $n = t' - t$. For each $i$, the walk $n \theta_i$ leads from one
point of an arc to another point of it, which differ by a walk shorter than the arc and by whole rounds. The distance of
two points is at most the walk between them (`attention.cosine-falls`). $\blacksquare$

For many hands $m^h$ is beyond all texts. The claim will matter as a statement about what cannot be: no function of such
hands fades for good.

## Learned vectors

The simplest names are parameters: a table of $L$ rows, of which a text of $T$ tokens from position $a$ on takes rows
$a, \dots, a + T - 1$.

**Claim** `attention.learned-gradient`. Let $G$ be the cotangent of $x_{bt} + p_{a + t}$, over texts $b$ and tokens
$t = 0, \dots, T - 1$. The cotangent of $x$ is $G$. That of row $a + t$ of the table is $\sum_b G_{bt}$, and rows that
no token took have zero.

**Proof.** The rows are repeated for each text and added. The slope of a sum is $1$ in either operand, so
`autograd.broadcast-rule` gives $G$ for $x$ and the sum over $b$ for the rows, and `autograd.index-rule` puts these
where the rows were read. $\blacksquare$

So no row from $L$ on exists, and row $L - 1$ is trained by long texts only. A model with learned positions has an end,
past which is an error.

>>> learned = LearnedPositions(4, 2, rng=np.random.default_rng(0))
>>> learned.on_input(np.zeros((1, 3, 2), np.float32), start=2)
Traceback (most recent call last):
    ...
ValueError: the table has rows for the positions 0 to 3, but the text takes 2 to 4: make it shorter, or train a model...

## In practice

Sinusoidal vectors are from A. Vaswani and others (2017), who found learned ones as good, and multiply the embeddings by
$\sqrt d$ before adding. Their code put all sines before all cosines, which is a permutation of coordinates that the
next weights absorb, and spread the speeds so that the last is exactly $1 / b$. GPT-2 and BERT learn a table, of 1,024
and 512 rows. In a network with a causal mask some order can be learned without any of this, since position $i$ sees
$i + 1$ tokens; most large models since 2023 use what the next section builds.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from fp_autograd.tracing import Operand, value_of
from fp_neural.module import Module, Parameter

__all__ = [  # the order of the page
    "Positions",
    "frequencies",
    "longest_wavelength",
    "SinusoidalPositions",
    "LearnedPositions",
]

Real = float | int


class Positions(Module):
    """
    A way to tell attention about order. By itself it tells nothing: each of the three places is left as it is.

    A subclass overrides the places it uses.
    """

    def on_input(self, x: Operand, start: int = 0) -> Any:
        """
        Add positions to the input of attention.

        Parameters
        ----------
        x
            Of shape `(..., T, C)`.
        start
            The position of the first token.

        Returns
        -------
        ndarray or Box
            Of the shape of `x`; here `x` itself.
        """
        return x

    def on_heads(self, x: Operand, positions: Integer[np.ndarray, " T"]) -> Any:
        """
        Put positions into queries or keys.

        Parameters
        ----------
        x
            Queries or keys of all heads, of shape `(..., H, T, D)`.
        positions
            The position of each of the T tokens.

        Returns
        -------
        ndarray or Box
            Of the shape of `x`; here `x` itself.
        """
        return x

    def on_scores(self, distances: Integer[np.ndarray, " n"]) -> Any:
        """
        What to add to scores.

        Parameters
        ----------
        distances
            Key positions minus query positions: negative for a key before the query.

        Returns
        -------
        ndarray or Box or None
            Of shape `(H, n)`, a number for each head and distance; here `None`, for nothing.
        """
        return None


def frequencies(dim: int, base: Real) -> Float[np.ndarray, " half"]:
    r"""
    The speeds $\theta_i = b^{-2i/d}$ (E2).

    Parameters
    ----------
    dim
        $d$, how many coordinates; they go in pairs.
    base
        $b > 1$.

    Returns
    -------
    ndarray
        `dim / 2` numbers, falling from 1, in radians a position, float64.

    Raises
    ------
    ValueError
        If the dimension is odd or not positive, or the base is not a finite number above 1.

    Examples
    --------
    >>> frequencies(6, 1000.0).round(4)
    array([1.  , 0.1 , 0.01])
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"positions turn pairs of coordinates: the dimension is even and at least 2, got {dim}")
    if not 1 < base < math.inf:
        raise ValueError(f"the base is a finite number above 1, such as 10,000, got {base}")
    return float(base) ** (-np.arange(0, dim, 2) / dim)


def longest_wavelength(dim: int, base: Real) -> float:
    r"""
    How many positions the slowest hand takes for a round: $2 \pi\, b^{1 - 2/d}$ (`attention.sinusoidal-distinct`).

    Parameters
    ----------
    dim, base
        As in `frequencies`, with its errors.

    Returns
    -------
    float
        Positions.

    Examples
    --------
    >>> round(longest_wavelength(2, 10_000.0), 4)  # one hand only
    6.2832
    """
    return 2 * math.pi / float(frequencies(dim, base)[-1])


class SinusoidalPositions(Positions):
    """
    Add sines and cosines (E3) to the input. Nothing is learned, and there is no end.

    Parameters
    ----------
    dim
        The width of the input, even.
    base
        Of the speeds (E2).

    Raises
    ------
    ValueError
        If the width or the base will not do; when called, if the input is not that wide or `start` is negative.
    """

    def __init__(self, dim: int, base: Real = 10_000.0) -> None:
        super().__init__()
        self._frequencies = frequencies(dim, base)
        self._table = np.empty((0, dim))

    def rows(self, start: int, n: int) -> Float[np.ndarray, "n dim"]:
        """
        The vectors of `n` positions from `start` on.

        Parameters
        ----------
        start
            The first position, not negative.
        n
            How many.

        Returns
        -------
        ndarray
            One row each, float64; a view of what the module keeps.
        """
        if start + n > len(self._table):  # at least twice as long, so that growing token by token costs little
            angles = np.arange(max(start + n, 2 * len(self._table)))[:, None] * self._frequencies
            self._table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(angles), -1)
        return self._table[start : start + n]

    def on_input(self, x: Operand, start: int = 0) -> Any:
        """Of the shape of `x`, which is `(..., T, dim)`."""
        T = _length(x, 2 * len(self._frequencies), start)
        return x + self.rows(start, T).astype(value_of(x).dtype)


class LearnedPositions(Positions):
    """
    Add rows of a learned table to the input.

    Parameters
    ----------
    context
        How many positions there are.
    dim
        The width of the input.
    rng
        Draws the table, from the normal distribution; None leaves it at zero, for one that will be loaded.
    std
        Its deviation.
    dtype
        Of the table.

    Attributes
    ----------
    weight : Parameter
        Of shape `(context, dim)`.

    Raises
    ------
    ValueError
        If a size is not positive; when called, if the input is not `dim` wide, or a token is past the end.
    """

    def __init__(
        self, context: int, dim: int, *, rng: np.random.Generator | None, std: Real = 0.02, dtype: Any = np.float32
    ) -> None:
        super().__init__()
        if context < 1 or dim < 1:
            raise ValueError(f"a table of positions has at least one row and one column, got {context} and {dim}")
        drawn = np.zeros((context, dim)) if rng is None else rng.normal(size=(context, dim)) * std
        self.weight = Parameter(drawn.astype(dtype))

    def on_input(self, x: Operand, start: int = 0) -> Any:
        """Of the shape of `x`, which is `(..., T, dim)`."""
        context, dim = self.weight.shape
        T = _length(x, dim, start)
        if start + T > context:
            raise ValueError(
                f"the table has rows for the positions 0 to {context - 1}, but the text takes {start} to "
                f"{start + T - 1}: make it shorter, or train a model with a larger context"
            )
        return x + self.weight[start : start + T]


def _length(x: Operand, dim: int, start: int) -> int:
    """How many tokens an input has, if it fits."""
    shape = np.shape(value_of(x))
    if len(shape) < 2 or shape[-1] != dim:
        raise ValueError(
            f"these positions are vectors of {dim} numbers, added to an input of shape (..., T, {dim}), got {shape}"
        )
    if start < 0:
        raise ValueError(f"the first token has the position 0 or a later one, got start={start}")
    return shape[-2]
