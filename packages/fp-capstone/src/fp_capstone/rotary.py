r"""
Rotary positions: turning queries and keys so that their product knows the distance.

Attention compares a query with keys, and by itself it does not see order. Rotary position embedding (RoPE, Su and
others 2021) turns the query at position $m$ and the key at position $n$ by angles proportional to $m$ and $n$. Their
inner product then depends on the two positions only through the distance $n - m$.

You need: sine and cosine, the addition theorems.

## Derivation

A head of dimension $D$ (even) is read as $D/2$ points of the plane, numbered $i = 0, \dots, D/2 - 1$; entry $i$ and
entry $i + D/2$ are the coordinates of point $i$. At position $n = 0, 1, \dots$ it is turned by the angle $n \theta_i$;
the base is a number that the model's designer chooses, such as 10,000:

$$
\theta_i = \text{base}^{-2i/D}, \qquad
\begin{pmatrix} y_i \\ y_{i + D/2} \end{pmatrix}
= \begin{pmatrix} \cos n\theta_i & -\sin n\theta_i \\ \sin n\theta_i & \cos n\theta_i \end{pmatrix}
  \begin{pmatrix} x_i \\ x_{i + D/2} \end{pmatrix}. \qquad \text{(R1)}
$$

Call the whole map $R_n$; it acts on each plane by itself, so what is proven for one plane holds for all.

**Claim** `capstone.rope-backward`. $R_n^\top R_n = I$: lengths are preserved, and the gradient with respect to $x$ is
the cotangent turned back, $\partial \ell / \partial x = R_n^\top g = R_{-n}\, g$.

**Proof.** For one plane and $\varphi = n \theta_i$, the product of the transposed matrix with the matrix has the
diagonal entries $\cos^2 \varphi + \sin^2 \varphi = 1$ and the off-diagonal entries
$-\cos \varphi \sin \varphi + \sin \varphi \cos \varphi = 0$. So $R_n^\top R_n = I$ and
$|R_n x|^2 = x^\top R_n^\top R_n x = |x|^2$. For $y = R_n x$,
$\partial \ell / \partial x_j = \sum_i g_i \, \partial y_i / \partial x_j = \sum_i g_i (R_n)_{ij}$, the transposed
matrix times the cotangent; and transposing (R1) flips the sign of the sines, which is a rotation by $-\varphi$.
$\blacksquare$

**Claim** `capstone.rope-relative`. $(R_m q) \cdot (R_n k) = q \cdot R_{n - m} k$: scores depend on positions only
through their difference.

**Proof.** $(R_m q) \cdot (R_n k) = q^\top R_m^\top R_n k = q^\top R_{-m} R_n k$ by the claim above. In one plane,
rotations by $-m\theta$ and $n\theta$ compose to one by $(n - m)\theta$: the addition theorems give
$\cos \alpha \cos \beta - \sin \alpha \sin \beta = \cos(\alpha + \beta)$ on the diagonal and
$\sin \alpha \cos \beta + \cos \alpha \sin \beta = \sin(\alpha + \beta)$ beside it. $\blacksquare$

## In practice

Two layouts exist. The paper pairs neighbours, entries $2i$ and $2i + 1$; Hugging Face's Llama pairs halves, as here.
They differ by a fixed permutation of the head's coordinates, which the learned projections absorb, but a file written
for one is noise to the other. A larger base slows the slowest planes and suits longer contexts: 10,000 in the paper,
500,000 in Llama 3.
"""

import numpy as np
from jaxtyping import Float

__all__ = ["rotary_tables", "rotate", "rotate_back"]


def rotary_tables(
    context_length: int, d_head: int, base: float, dtype: np.dtype
) -> tuple[Float[np.ndarray, "T half"], Float[np.ndarray, "T half"]]:
    """
    Cosines and sines of the angles in (R1), for every position and plane.

    Parameters
    ----------
    context_length
        Number of positions.
    d_head
        Dimension of a head, even.
    base
        The base of the angles' geometric progression.
    dtype
        Data type of the tables; angles are computed in float64.

    Returns
    -------
    cos, sin : ndarray
        Shape `T D/2`.

    Examples
    --------
    >>> cos, sin = rotary_tables(2, 4, 100.0, np.dtype("float64"))
    >>> np.arctan2(sin, cos)
    array([[0. , 0. ],
           [1. , 0.1]])
    """
    theta = base ** (-np.arange(0, d_head, 2) / d_head)
    angles = np.arange(context_length)[:, None] * theta
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def rotate(
    x: Float[np.ndarray, "B T H D"],
    cos: Float[np.ndarray, "T half"],
    sin: Float[np.ndarray, "T half"],
    out: Float[np.ndarray, "B T H D"] | None = None,
) -> Float[np.ndarray, "B T H D"]:
    """
    Turn every head of every position (R1).

    Parameters
    ----------
    x
        Queries or keys, shape `B T H D`; a view will do.
    cos, sin
        The tables' rows for these positions, shape `T D/2`.
    out
        Where the result lies; it may be `x`. New memory if not given.

    Returns
    -------
    ndarray
        The turned vectors, shape `B T H D`.

    Examples
    --------
    >>> x = np.array([1.0, 0.0]).reshape(1, 1, 1, 2)
    >>> quarter = np.array([[0.0]]), np.array([[1.0]])
    >>> rotate(x, *quarter).ravel()
    array([0., 1.])
    """
    half = x.shape[-1] // 2
    c, s = cos[:, None, :], sin[:, None, :]
    y = np.empty(x.shape, x.dtype) if out is None else out
    for sequence, turned in zip(x, y, strict=True):  # one at a time, in the cache
        x1, x2 = sequence[..., :half], sequence[..., half:]
        crossed = x2 * s
        first = x1 * c
        first -= crossed
        np.multiply(x1, s, out=crossed)
        np.multiply(x2, c, out=turned[..., half:])
        turned[..., half:] += crossed
        turned[..., :half] = first
    return y


def rotate_back(
    g: Float[np.ndarray, "B T H D"],
    cos: Float[np.ndarray, "T half"],
    sin: Float[np.ndarray, "T half"],
    out: Float[np.ndarray, "B T H D"] | None = None,
) -> Float[np.ndarray, "B T H D"]:
    """
    The backward pass of `rotate`: the same turn by the opposite angle (`capstone.rope-backward`).

    Parameters
    ----------
    g
        Gradient of the loss with respect to the turned vectors, shape `B T H D`.
    cos, sin
        What the forward pass was given.
    out
        Where the result lies; it may be `g`. New memory if not given.

    Returns
    -------
    ndarray
        Gradient with respect to the vectors before the turn, shape `B T H D`.
    """
    return rotate(g, cos, -sin, out)
