r"""
Linear algebra: matrices are maps, and every map has a transpose.

A model takes thousands of numbers to thousands of numbers. Its derivative is no longer one slope but a whole linear map
of small changes. This section builds linear maps from sums of products, and answers what the chapter rests on: in which
sense forward and backward differentiation are the same map, read in two directions.

You need: `fp_autograd.calculus` for linear approximation, and partial derivatives from `fp_markov.mathematics`.

## Vectors and their lengths

A **vector** $v \in \mathbb{R}^n$ is a list of $n$ numbers. Vectors add, and are multiplied by numbers, entry by entry.
The **dot product** of two is a number, and so is the **length** (norm) of one:

$$u \cdot v = \sum_{i=1}^n u_i v_i, \qquad |v| = \sqrt{v \cdot v}. \qquad \text{(E1)}$$

From the sum we read $u \cdot v = v \cdot u$ and $(a u + b w) \cdot v = a\, (u \cdot v) + b\, (w \cdot v)$.

**Claim** `autograd.cauchy-schwarz`. $|u \cdot v| \le |u|\, |v|$, with equality exactly if one of the two is a multiple
of the other; and $|u + v| \le |u| + |v|$.

**Proof.** If $v = 0$ both sides are $0$, and $v = 0 \cdot u$. Otherwise let $t = \frac{u \cdot v}{v \cdot v}$. A sum of
squares is not negative, so

$$
0 \le (u - t v) \cdot (u - t v) = u \cdot u - 2 t\, (u \cdot v) + t^2\, (v \cdot v)
  = u \cdot u - \frac{(u \cdot v)^2}{v \cdot v}.
$$

Multiply by $v \cdot v$ and take roots. Equality means that $u - tv$ is zero, so $u$ is a multiple of $v$. Conversely,
$u = s v$ gives $|s|\,|v|^2$ on both sides, and $v = s u$ likewise. Last,
$|u + v|^2 = |u|^2 + 2\, (u \cdot v) + |v|^2 \le |u|^2 + 2\, |u|\, |v| + |v|^2 = (|u| + |v|)^2$. $\blacksquare$

## Matrices

A map $L$ from $\mathbb{R}^n$ to $\mathbb{R}^m$ is **linear** if $L(a u + b v) = a L(u) + b L(v)$ for all vectors and
numbers. A **matrix** $A \in \mathbb{R}^{m \times n}$, with $m$ rows and $n$ columns, makes one: $v \mapsto A v$ with

$$(A v)_i = \sum_{j=1}^n A_{ij}\, v_j. \qquad \text{(E2)}$$

Let $e_j$ be the vector with a one at $j$ and zeros elsewhere.

**Claim** `autograd.linear-map-matrix`. Every linear map $L$ from $\mathbb{R}^n$ to $\mathbb{R}^m$ is $v \mapsto A v$
for exactly one matrix $A$: its $j$-th column is $L(e_j)$.

**Proof.** $A e_j$ is the $j$-th column of $A$ by (E2), so no other matrix can do. And with this one, as
$v = \sum_j v_j e_j$, linearity gives $L(v) = \sum_j v_j L(e_j)$, whose $i$-th entry is $\sum_j A_{ij} v_j$.
$\blacksquare$

**Claim** `autograd.matrix-product`. For $A \in \mathbb{R}^{m \times k}$ and $B \in \mathbb{R}^{k \times n}$ the map
$v \mapsto A (B v)$ is linear, and its matrix is the **product** $(AB)_{ij} = \sum_l A_{il} B_{lj}$. So
$(AB) C = A (BC)$ wherever the sizes fit.

**Proof.** $A(B(au + bv)) = A(a Bu + b Bv) = a A(Bu) + b A(Bv)$. By the claim before, the $j$-th column of its matrix is
$A (B e_j)$, that is $A$ times the $j$-th column of $B$; by (E2) its $i$-th entry is $\sum_l A_{il} B_{lj}$. Both
$(AB)C$ and $A(BC)$ are the matrix of $v \mapsto A(B(Cv))$, and there is only one. $\blacksquare$

The results are equal and the costs are not. A product of an $m \times k$ with a $k \times n$ matrix takes $m k n$
multiplications, so $(AB)v$ takes $mkn + mn$ of them and $A(Bv)$ takes $kn + mk$. All of automatic differentiation lives
on this difference; `product_cost` counts it for longer chains.

>>> widths = [1, 512, 512, 512]  # three Jacobians, of a loss in 512 variables, from the last to the first
>>> product_cost(widths, "left"), product_cost(widths, "right")
(524288, 134479872)

## The transpose

**Claim** `autograd.transpose`. For every $J \in \mathbb{R}^{m \times n}$ there is exactly one matrix $J^\top$, of size
$n \times m$, with

$$g \cdot (J v) = (J^\top g) \cdot v \quad \text{for all } g \in \mathbb{R}^m,\ v \in \mathbb{R}^n, \qquad \text{(E3)}$$

and its entries are $(J^\top)_{ji} = J_{ij}$. Hence $(J^\top)^\top = J$ and $(AB)^\top = B^\top A^\top$.

**Proof.** Let $T$ be any $n \times m$ matrix. Put $g = e_i$ and $v = e_j$ into (E3) with $T$ for $J^\top$: the left
side is $J_{ij}$, the right side is $T_{ji}$. So only $T_{ji} = J_{ij}$ is possible. It is enough: both sides are then
$\sum_i \sum_j g_i J_{ij} v_j$. Exchanging the sides of (E3) says that $J$ is the transpose of $J^\top$. Last, use (E3)
twice: $g \cdot (A (B v)) = (A^\top g) \cdot (B v) = (B^\top (A^\top g)) \cdot v$, so $B^\top A^\top$ is the one
transpose of $AB$. $\blacksquare$

(E3) is the definition that matters here: it needs no entries, so it serves for a map that is only given as a procedure.
`transpose_gap` tests with it that two procedures are transposes of each other.

Written as a matrix of one column, a vector has $u^\top v = u \cdot v$. The rows of a matrix give a bound on what it can
do to lengths. By `autograd.cauchy-schwarz` $|(Av)_i| \le |A_{i \cdot}|\, |v|$, so

$$|A v| \le \|A\|\, |v|, \qquad \|A\| = \Big( \sum_i \sum_j A_{ij}^2 \Big)^{1/2}. \qquad \text{(E4)}$$

## The derivative is a linear map

Write $o(|v|)$ for a function $r$ of a vector with $r(0) = 0$ and $|r(v)| / |v| \to 0$ as $v \to 0$. A map $f$ from
$\mathbb{R}^n$ to $\mathbb{R}^m$ is **differentiable** at $x$ if for some matrix $J$

$$f(x + v) = f(x) + J v + o(|v|). \qquad \text{(E5)}$$

**Claim** `autograd.jacobian`. If $f$ is differentiable at $x$, all its partial derivatives exist there and
$J_{ij} = \partial_j f_i(x)$; so $J$ is unique. It is called the **Jacobian**. Conversely, if all partial derivatives
exist near $x$ and are continuous at $x$, then $f$ is differentiable at $x$.

**Proof.** Take $v = h e_j$ in (E5): $f_i(x + h e_j) = f_i(x) + J_{ij} h + o(h)$, and by `autograd.linear-approximation`
$J_{ij}$ is the slope in $x_j$. Conversely, let $\varepsilon > 0$. Near $x$ every $\partial_j f_i$ is within
$\varepsilon$ of its value at $x$. Go from $x$ to $x + v$ in $n$ steps, the $j$-th of which changes the $j$-th
coordinate alone, by $v_j$. By `markov.slope-bound` that step changes $f_i$ by $\partial_j f_i(x)\, v_j$ up to
$\varepsilon |v_j|$. Summed over the steps, $f_i(x + v) - f_i(x)$ differs from $(J v)_i$ by at most
$\varepsilon \sum_j |v_j| \le \varepsilon n |v|$, for all $v$ near $0$, whatever their direction. As $\varepsilon$ may
be any positive number, every $f_i(x + v) - f_i(x) - (Jv)_i$ is $o(|v|)$, and so is the vector of them. $\blacksquare$

This adds to `markov.slope-along-line` that all directions converge at one pace. Partial derivatives alone do not
suffice: $\frac{xy}{x^2 + y^2}$, zero at the origin, has both there, equal to zero, and is $\frac12$ all along $x = y$.

**Claim** `autograd.jacobian-chain`. If $g$ is differentiable at $x$ and $f$ at $y = g(x)$, with Jacobians $J_g$ and
$J_f$, then $f(g(x))$ is differentiable at $x$ with the Jacobian $J_f J_g$.

**Proof.** The proof of `autograd.chain-rule`, with lengths. Let $k = g(x + v) - g(x) = J_g v + r(v)$ and
$f(y + k) = f(y) + J_f k + s(k)$, with $r(v) = o(|v|)$ and $s(k) = o(|k|)$. Insert:

$$f(g(x + v)) = f(y) + J_f J_g v + \big( J_f\, r(v) + s(k) \big).$$

The bracket is $0$ at $v = 0$. By (E4) $|J_f\, r(v)| \le \|J_f\|\, |r(v)|$, which is $o(|v|)$. Let
$\varepsilon(k) = |s(k)| / |k|$ for $k \ne 0$ and $\varepsilon(0) = 0$; then $|s(k)| = \varepsilon(k)\, |k|$ always. For
$v$ near $0$, $|r(v)| \le |v|$, so $|k| \le |J_g v| + |r(v)| \le (\|J_g\| + 1)\, |v|$ by `autograd.cauchy-schwarz` and
(E4). So $k \to 0$ with $v$, and $|s(k)| \le \varepsilon(k)\, (\|J_g\| + 1)\, |v|$ is $o(|v|)$. $\blacksquare$

Entry by entry, $\partial_j f_i(g(x)) = \sum_l \partial_l f_i \cdot \partial_j g_l$: one product for each way in
which $x_j$ reaches $f_i$. `fp_autograd.graph` follows those ways through whole programs.

## Two readings of one map

The Jacobian of a large model is too large to be written down. Two procedures stand for it: the **Jacobian-vector
product** (JVP, forward mode) $v \mapsto J v$, which takes a change of the inputs to the change of the outputs, and the
**vector-Jacobian product** (VJP, reverse mode) $g \mapsto J^\top g$, which takes the importance of the outputs to the
importance of the inputs. By (E3) they are transposes of each other: $g \cdot (Jv) = (J^\top g) \cdot v$ says that both
agree on how much a change $v$ of the inputs matters to a reader who weighs the outputs by $g$.

Write $f \circ g$ for $x \mapsto f(g(x))$, and call two vectors **orthogonal** if their dot product is $0$.

**Claim** `autograd.vjp-chain`. The JVP of $f \circ g$ is $v \mapsto J_f (J_g v)$, and its VJP is
$g' \mapsto J_g^\top (J_f^\top g')$: forward in the order of computation, backward in the opposite order. One JVP gives
a combination of the columns of $J$, one VJP a combination of its rows; so a full $m \times n$ Jacobian takes $n$ of the
first or $m$ of the second.

**Proof.** By `autograd.jacobian-chain` the Jacobian is $J_f J_g$; `autograd.matrix-product` gives the first, and
$(J_f J_g)^\top = J_g^\top J_f^\top$ from `autograd.transpose` the second. By (E2) $J v = \sum_j v_j J e_j$, and $J e_j$
is the $j$-th column; $J^\top e_i$ is the $i$-th row. $n$ unit vectors give all columns. Fewer than $n$ JVPs do not
determine $J$: with fewer than $n$ equations in $n$ unknowns, some $w \ne 0$ is orthogonal to every $v$ that was used,
and adding $w$ to a row of $J$ changes none of the products. For rows the same holds with $J^\top$. $\blacksquare$

The last step needs that fewer than $n$ linear equations $v^{(1)} \cdot w = 0, v^{(2)} \cdot w = 0, \dots$ have a
solution $w \ne 0$: if all coefficients of $w_1$ vanish take $w = e_1$; otherwise solve one equation for $w_1$, insert
it into the others, and one equation and one unknown fewer remain. Without an equation every $w$ is a solution.

A loss has $m = 1$. Its Jacobian is one row, and one VJP with $g = 1$ gives all of it: the **gradient**
$\nabla f = J^\top$, a vector with $f(x + v) = f(x) + \nabla f \cdot v + o(|v|)$.

**Claim** `autograd.steepest-ascent`. If $\nabla f \ne 0$, then among all directions $u$ of length one the slope of
$t \mapsto f(x + tu)$ at $0$ is largest for $u = \nabla f / |\nabla f|$ and for no other $u$, and it is $|\nabla f|$
there.

**Proof.** By (E5) the slope is $\nabla f \cdot u$. By `autograd.cauchy-schwarz` it is at most $|\nabla f|\, |u| =
|\nabla f|$ in size, with equality only if $u = s \nabla f$, as $\nabla f \ne 0$ and $u \ne 0$. Length one makes
$s = \pm 1 / |\nabla f|$, and the slope $\pm |\nabla f|$. $\blacksquare$

## Derivatives with respect to matrices

Arrange the variables in a matrix, and the same sums are written shorter. The **trace** $\operatorname{tr} M = \sum_i
M_{ii}$ of a square matrix turns the dot product of two matrices of the same size into a product:

$$\langle G, X \rangle = \sum_i \sum_j G_{ij} X_{ij} = \operatorname{tr} (G^\top X). \qquad \text{(E6)}$$

The gradient of $f(X)$ is the matrix $G$ with $f(X + dX) = f(X) + \langle G, dX \rangle + o(\|dX\|)$.

**Claim** `autograd.trace-gradient`. $\operatorname{tr} (AB) = \operatorname{tr} (BA)$ for $A \in \mathbb{R}^{m \times
n}$, $B \in \mathbb{R}^{n \times m}$. The linear map $X \mapsto A X B$ has the transpose $G \mapsto A^\top G B^\top$.
Therefore, where the sizes make these matrices square, $\operatorname{tr} (A X B)$ has the gradient $A^\top B^\top$ in
$X$, and $\operatorname{tr} (X^\top A X)$ has the gradient $(A + A^\top) X$.

**Proof.** Both traces are $\sum_i \sum_j A_{ij} B_{ji}$. Then, moving the last factor to the front,

$$
\langle G, A\, dX\, B \rangle = \operatorname{tr} (G^\top A\, dX\, B) = \operatorname{tr} (B G^\top A\, dX)
  = \operatorname{tr} \big( (A^\top G B^\top)^\top dX \big) = \langle A^\top G B^\top, dX \rangle. \qquad \text{(E7)}
$$

$\operatorname{tr} M = \langle I, M \rangle$ with $I$ the matrix of ones on the diagonal, so $G = I$ in (E7) gives the
first gradient. For the second, expand $(X + dX)^\top A (X + dX)$: the terms with one $dX$ have the trace
$\operatorname{tr} (dX^\top A X) + \operatorname{tr} (X^\top A\, dX) = \langle AX, dX \rangle + \langle A^\top X, dX
\rangle$, for $\operatorname{tr} M = \operatorname{tr} M^\top$; the term with two is at most $\|A\|\, \|dX\|^2$ by (E4)
and `autograd.cauchy-schwarz`, which is $o(\|dX\|)$. $\blacksquare$

With $B = I$ (E7) reads: through $Y = AX$, a cotangent $G$ of $Y$ becomes $A^\top G$ of $X$. With $A = I$, through
$Y = XB$, it becomes $G B^\top$. That is matrix multiplication's backward pass, in one line.

## In practice

A layer of a language model maps 4,096 numbers to 4,096, for each of some thousand tokens; its Jacobian would have a
million times a million entries, and nobody forms it. Every framework stores procedures: PyTorch's `backward` of an
operation is its VJP, JAX derives the VJP of a program from its JVP by transposing, literally by (E3). Chains of
Jacobians are multiplied from the loss's side because $m = 1$. Where $n$ is small and $m$ large, as for the derivative
along one direction of weights, forward mode is the cheaper reading.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

__all__ = ["matrix_of", "transpose_gap", "product_cost", "numerical_jacobian"]

Vector = Float[np.ndarray, " n"]
RELATIVE_STEP = (3 * 2.0**-52) ** (1 / 3)  # `autograd.central-step` for a function and third slopes near one


def matrix_of(linear: Callable[[np.ndarray], np.ndarray], n: int) -> Float[np.ndarray, "m n"]:
    """
    The matrix of a linear map that is given as a procedure, column by column (`autograd.linear-map-matrix`).

    Parameters
    ----------
    linear
        From a vector of n numbers to one of m numbers; only asked for the images of the unit vectors.
    n
        Number of variables.

    Returns
    -------
    ndarray
        The m by n matrix, float64.

    Raises
    ------
    ValueError
        If there is no variable.

    Examples
    --------
    >>> matrix_of(lambda v: np.array([v[1], v[0] + 5 * v[1]]), 2)
    array([[0., 1.],
           [1., 5.]])
    """
    if n < 1:
        raise ValueError(f"a matrix needs at least one column, got n={n}")
    return np.stack([np.asarray(linear(e), np.float64) for e in np.eye(n)], axis=1)


def transpose_gap(
    jvp: Callable[[np.ndarray], np.ndarray],
    vjp: Callable[[np.ndarray], np.ndarray],
    v: Float[np.ndarray, "*n"],
    g: Float[np.ndarray, "*m"],
) -> float:
    r"""
    $|g \cdot (J v) - (J^\top g) \cdot v|$, relative to the sizes: zero up to rounding for transposes (E3).

    Parameters
    ----------
    jvp, vjp
        $v \mapsto J v$ and $g \mapsto J^\top g$, on arrays of any shape (E6).
    v
        A change of the inputs.
    g
        Weights of the outputs, shaped like `jvp(v)`.

    Returns
    -------
    float
        The gap divided by $|g|\,|Jv| + |J^\top g|\,|v|$, or 0 if all of it vanishes. Sums of $n$ products are off by
        $n$ units roundoff of this size at most.

    Raises
    ------
    ValueError
        If `jvp(v)` is not shaped like `g`, or `vjp(g)` not like `v`.

    Examples
    --------
    A running sum adds up from the left; its transpose adds up from the right:

    >>> v, g = np.array([2.0, 3.0, 5.0]), np.array([7.0, 11.0, 13.0])
    >>> transpose_gap(np.cumsum, lambda g: np.cumsum(g[::-1])[::-1], v, g)
    0.0
    >>> transpose_gap(np.cumsum, np.cumsum, v, g) > 0.05
    True
    """
    Jv, JTg = jvp(v), vjp(g)
    if Jv.shape != g.shape or JTg.shape != v.shape:
        raise ValueError(
            f"the products must be shaped like what they are dotted with, {g.shape} and {v.shape}, "
            f"got {Jv.shape} from the JVP and {JTg.shape} from the VJP"
        )
    scale = np.linalg.norm(g) * np.linalg.norm(Jv) + np.linalg.norm(JTg) * np.linalg.norm(v)
    return float(abs(np.sum(g * Jv) - np.sum(JTg * v)) / scale) if scale else 0.0


def product_cost(widths: Sequence[int], start: Literal["left", "right"]) -> int:
    r"""
    Multiplications in a product of matrices taken from one end, each pair costing `m * k * n`.

    Parameters
    ----------
    widths
        $d_0, d_1, \dots, d_L$ for the product of an $d_0 \times d_1$, …, and a $d_{L-1} \times d_L$ matrix.
    start
        `"left"` for $((A_1 A_2) A_3) \cdots$, `"right"` for $\cdots (A_{L-2} (A_{L-1} A_L))$.

    Returns
    -------
    int
        The number of multiplications of numbers.

    Raises
    ------
    ValueError
        If there is no matrix, or a width is not positive.

    Examples
    --------
    >>> product_cost([2, 3, 5, 7], "left"), product_cost([2, 3, 5, 7], "right")
    (100, 147)
    """
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"a product of matrices needs at least two positive widths, got {list(widths)}")
    d = list(widths) if start == "left" else list(widths)[::-1]
    return sum(d[0] * d[i] * d[i + 1] for i in range(1, len(d) - 1))


def numerical_jacobian(f: Callable[[np.ndarray], np.ndarray], x: Vector) -> Float[np.ndarray, "m n"]:
    """
    All partial derivatives by central differences, one column for each variable: the oracle of the tests.

    Parameters
    ----------
    f
        From n numbers to an array of m numbers, whose entries are counted in reading order.
    x
        Where.

    Returns
    -------
    ndarray
        The m by n Jacobian, float64, with about ten digits where values and third slopes are near one.

    Raises
    ------
    ValueError
        If a value near `x` is not finite.

    Examples
    --------
    >>> numerical_jacobian(lambda x: np.array([x[0] * x[1], x[0]]), np.array([3.0, 5.0])).round(6)
    array([[5., 3.],
           [1., 0.]])
    """
    x = x.astype(np.float64)
    columns = []
    for j in range(len(x)):
        right, left = x.copy(), x.copy()
        step = RELATIVE_STEP * max(1.0, abs(x[j]))
        right[j] += step
        left[j] -= step
        rise = np.ravel(np.asarray(f(right), np.float64)) - np.ravel(np.asarray(f(left), np.float64))
        if not np.isfinite(rise).all():
            raise ValueError(f"the function must be finite near x, got a difference of {rise} along variable {j}")
        columns.append(rise / (right[j] - left[j]))  # the distance that the rounded points have
    return np.stack(columns, axis=1)
