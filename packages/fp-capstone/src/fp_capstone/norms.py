r"""
LayerNorm and RMSNorm: keeping the scale of activations fixed while the weights move.

A deep model multiplies many matrices. If each makes its input 10% larger, forty of them make it 45 times larger, and
gradients suffer the same on the way back. Normalisation breaks the chain: whatever the scale of its input, its
output has nearly the same one, times a gain that is learned.

You need: mean and variance (stage 1), the chain rule (stage 2).

## Derivation: RMSNorm

For one row $x \in \mathbb{R}^C$, a gain $\gamma \in \mathbb{R}^C$ and a small $\varepsilon > 0$,

$$
r = \Big( \frac{1}{C} \sum_c x_c^2 + \varepsilon \Big)^{-1/2}, \qquad
\hat x_c = r\, x_c, \qquad y_c = \gamma_c \hat x_c. \qquad \text{(N1)}
$$

$r$ depends on every entry of $x$, so each $x_j$ acts in two ways: directly on $\hat x_j$, and through $r$ on all of
them.

**Claim** `capstone.rmsnorm-backward`. With the cotangent $g = \partial \ell / \partial y$ and $h_c = g_c \gamma_c$,

$$
\frac{\partial \ell}{\partial x_j} = r \Big( h_j - \hat x_j \cdot \frac{1}{C} \sum_c h_c \hat x_c \Big), \qquad
\frac{\partial \ell}{\partial \gamma_c} = g_c \hat x_c. \qquad \text{(N2)}
$$

**Proof.** Since $y_c = \gamma_c \hat x_c$, the chain rule gives $\partial \ell / \partial \gamma_c = g_c \hat x_c$ and
$\partial \ell / \partial \hat x_c = g_c \gamma_c = h_c$. Let $s = \frac{1}{C} \sum_c x_c^2 + \varepsilon$, so
$r = s^{-1/2}$. Then

$$
\begin{aligned}
\frac{\partial s}{\partial x_j} &= \frac{2 x_j}{C}, \\
\frac{\partial r}{\partial x_j} &= -\tfrac{1}{2} s^{-3/2} \cdot \frac{2 x_j}{C} = -\frac{r^3 x_j}{C}
   = -\frac{r^2 \hat x_j}{C}, \\
\frac{\partial \hat x_c}{\partial x_j} &= r\, [c = j] + x_c \frac{\partial r}{\partial x_j}
   = r\, [c = j] - \frac{r^2 x_c \hat x_j}{C} = r \Big( [c = j] - \frac{\hat x_c \hat x_j}{C} \Big). \qquad \text{(N3)}
\end{aligned}
$$

Sum over $c$ with the weights $h_c$:
$\partial \ell / \partial x_j = \sum_c h_c\, r\, ([c = j] - \hat x_c \hat x_j / C)$, which is (N2). $\blacksquare$

With several rows, the gains are shared, so their gradients add over the rows; so do LayerNorm's below, and its biases'.
The formulas hold at $\varepsilon = 0$ as well, where $r$ is finite.

## Derivation: LayerNorm

LayerNorm subtracts the mean first and adds a bias $\beta$ at the end:

$$
\mu = \frac{1}{C} \sum_c x_c, \quad z_c = x_c - \mu, \quad
r = \Big( \frac{1}{C} \sum_c z_c^2 + \varepsilon \Big)^{-1/2}, \quad
\hat x_c = r z_c, \quad y_c = \gamma_c \hat x_c + \beta_c. \qquad \text{(N4)}
$$

So LayerNorm is RMSNorm of the centred row $z$, and only the centring has to be added to the proof.

**Claim** `capstone.layernorm-backward`. With $h_c = g_c \gamma_c$,

$$
\begin{aligned}
\frac{\partial \ell}{\partial x_j}
  &= r \Big( h_j - \frac{1}{C} \sum_c h_c - \hat x_j \cdot \frac{1}{C} \sum_c h_c \hat x_c \Big), \\
\frac{\partial \ell}{\partial \gamma_c} &= g_c \hat x_c, \qquad
\frac{\partial \ell}{\partial \beta_c} = g_c. \qquad \text{(N5)}
\end{aligned}
$$

**Proof.** The gradients of $\gamma$ and $\beta$ are read off $y_c = \gamma_c \hat x_c + \beta_c$. By
`capstone.rmsnorm-backward` applied to $z$, the gradient with respect to $z$ is
$u_j = r ( h_j - \hat x_j \frac{1}{C} \sum_c h_c \hat x_c )$. Since $z_c = x_c - \frac{1}{C} \sum_k x_k$,
$\partial z_c / \partial x_j = [c = j] - 1/C$, so

$$\frac{\partial \ell}{\partial x_j} = \sum_c u_c \Big( [c = j] - \frac{1}{C} \Big) = u_j - \frac{1}{C} \sum_c u_c.$$

It remains to compute the mean of $u$. Because $\sum_c z_c = 0$ also $\sum_c \hat x_c = 0$, so the second part of $u$
has mean zero, and $\frac{1}{C} \sum_c u_c = \frac{r}{C} \sum_c h_c$. Subtracting it from $u_j$ gives (N5).
$\blacksquare$

**Claim** `capstone.norm-gradient-orthogonal`. At $\varepsilon = 0$ and $x \neq 0$ (for LayerNorm: $z \neq 0$), the
gradient of either norm is orthogonal to its normalised input: $\sum_j \hat x_j\, \partial \ell / \partial x_j = 0$.

**Proof.** At $\varepsilon = 0$, $\sum_j \hat x_j^2 = r^2 \sum_j x_j^2 = C$ (with $z$ for $x$ in LayerNorm). Multiply
(N2) by $\hat x_j$ and sum: $r ( \sum_j h_j \hat x_j - C \cdot \frac{1}{C} \sum_c h_c \hat x_c ) = 0$. In (N5) the
additional term contributes $-\frac{r}{C} \sum_c h_c \cdot \sum_j \hat x_j = 0$. $\blacksquare$

That is the invariance seen from behind: stretching $x$ does not change the output, so no gradient asks for stretching.

## In practice

RMSNorm (Zhang and Sennrich 2019) drops the centring and the bias, costs less, and trains as well; the Llama family and
most models since use it. GPT-2 uses LayerNorm (Ba, Kiros and Hinton 2016). The $\varepsilon$ matters only for rows near
zero. What is saved for the backward pass is $\hat x$ and $r$, one array and one number a row.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from fp_capstone.linear import column_sums, ones
from fp_capstone.memory import HEAP, PIECE, Memory

__all__ = ["rms_norm", "rms_norm_backward", "layer_norm", "layer_norm_backward"]


def rms_norm(
    x: Float[np.ndarray, "N C"], gain: Float[np.ndarray, " C"], eps: float, memory: Memory = HEAP
) -> tuple[Float[np.ndarray, "N C"], Float[np.ndarray, "N C"], Float[np.ndarray, "N 1"]]:
    """
    Normalise every row by its root mean square (N1).

    Parameters
    ----------
    x
        Rows, shape `N C`.
    gain
        Learned scale, shape `C`.
    eps
        Added to the mean square.
    memory
        Where the results lie.

    Returns
    -------
    y, xhat : ndarray
        The output and the normalised rows, shape `N C`.
    r : ndarray
        The reciprocal root mean square of each row, shape `N 1`.

    Examples
    --------
    >>> y, _, _ = rms_norm(np.array([[3.0, -4.0, 0.0, 0.0]]), np.ones(4), 0.0)
    >>> y
    array([[ 1.2, -1.6,  0. ,  0. ]])
    """
    y, xhat, r = _results(x, memory)
    for rows in _pieces(x):
        _reciprocal_rms(x[rows], eps, r[rows])
        np.multiply(x[rows], r[rows], out=xhat[rows])
        np.multiply(xhat[rows], gain, out=y[rows])
    return y, xhat, r


def rms_norm_backward(
    g: Float[np.ndarray, "N C"],
    xhat: Float[np.ndarray, "N C"],
    r: Float[np.ndarray, "N 1"],
    gain: Float[np.ndarray, " C"],
    dgain: Float[np.ndarray, " C"],
    memory: Memory = HEAP,
) -> Float[np.ndarray, "N C"]:
    """
    Gradients (N2) of RMSNorm.

    Parameters
    ----------
    g
        Gradient of the loss with respect to the output, shape `N C`.
    xhat, r, gain
        From the forward pass.
    dgain
        Overwritten with the gradient of the gain.
    memory
        Where the result lies.

    Returns
    -------
    ndarray
        Gradient with respect to `x`, shape `N C`.
    """
    return _backward(g, xhat, r, gain, dgain, False, memory)


def layer_norm(
    x: Float[np.ndarray, "N C"],
    gain: Float[np.ndarray, " C"],
    bias: Float[np.ndarray, " C"],
    eps: float,
    memory: Memory = HEAP,
) -> tuple[Float[np.ndarray, "N C"], Float[np.ndarray, "N C"], Float[np.ndarray, "N 1"]]:
    """
    Centre every row and normalise it by its standard deviation (N4).

    Parameters
    ----------
    x
        Rows, shape `N C`.
    gain, bias
        Learned scale and shift, shape `C`.
    eps
        Added to the variance.
    memory
        Where the results lie.

    Returns
    -------
    y, xhat : ndarray
        The output and the normalised rows, shape `N C`.
    r : ndarray
        The reciprocal standard deviation of each row, shape `N 1`.

    Examples
    --------
    >>> y, _, _ = layer_norm(np.array([[1.0, 3.0]]), np.ones(2), np.zeros(2), 0.0)
    >>> y
    array([[-1.,  1.]])
    """
    y, xhat, r = _results(x, memory)
    average = _average(x.shape[1], x.dtype)
    for rows in _pieces(x):
        z = xhat[rows]
        np.subtract(x[rows], (x[rows] @ average)[:, None], out=z)
        _reciprocal_rms(z, eps, r[rows])
        z *= r[rows]  # z is now xhat
        np.multiply(z, gain, out=y[rows])
        y[rows] += bias
    return y, xhat, r


def layer_norm_backward(
    g: Float[np.ndarray, "N C"],
    xhat: Float[np.ndarray, "N C"],
    r: Float[np.ndarray, "N 1"],
    gain: Float[np.ndarray, " C"],
    dgain: Float[np.ndarray, " C"],
    dbias: Float[np.ndarray, " C"],
    memory: Memory = HEAP,
) -> Float[np.ndarray, "N C"]:
    """
    Gradients (N5) of LayerNorm: those of RMSNorm on the centred row, then the centring's.

    Parameters
    ----------
    g
        Gradient of the loss with respect to the output, shape `N C`.
    xhat, r, gain
        From the forward pass.
    dgain, dbias
        Overwritten with the gradients of the gain and of the bias.
    memory
        Where the result lies.

    Returns
    -------
    ndarray
        Gradient with respect to `x`, shape `N C`.
    """
    column_sums(g, out=dbias)  # forward: + bias on every row
    return _backward(g, xhat, r, gain, dgain, True, memory)


def _backward(
    g: Float[np.ndarray, "N C"],
    xhat: Float[np.ndarray, "N C"],
    r: Float[np.ndarray, "N 1"],
    gain: Float[np.ndarray, " C"],
    dgain: Float[np.ndarray, " C"],
    centred: bool,
    memory: Memory,
) -> Float[np.ndarray, "N C"]:
    """(N2), and with `centred` (N5). Sums over a row of h = g gain are products with the vector `gain / C`."""
    dx = memory.empty(g.shape, g.dtype)
    mark = memory.mark()
    pieces = _pieces(g)
    scratch = memory.empty(g[pieces[0]].shape, g.dtype)
    share = gain / len(gain)
    dgain[:] = 0
    for rows in pieces:
        g_rows, xhat_rows, dx_rows = g[rows], xhat[rows], dx[rows]
        p = np.multiply(g_rows, xhat_rows, out=scratch[: len(g_rows)])
        dgain += np.matmul(ones(len(p), p.dtype), p)  # forward: y = gain * xhat, the gain shared by all rows
        along = (p @ share)[:, None]  # 1/C sum_c h_c xhat_c
        np.multiply(xhat_rows, along, out=p)  # forward: xhat = r z, and r depends on the whole row
        if centred:
            p += (g_rows @ share)[:, None]  # forward: z = x - mean(x)
        np.multiply(g_rows, gain, out=dx_rows)  # h
        dx_rows -= p
        dx_rows *= r[rows]
    memory.release(mark)
    return dx


@lru_cache(maxsize=64)
def _average(C: int, dtype: np.dtype) -> Float[np.ndarray, " C"]:
    """What a row is multiplied with to find its mean."""
    return np.full(C, 1 / C, dtype)


def _pieces(x: Float[np.ndarray, "N C"]) -> list[slice]:
    """Rows that are worked on together, while they lie in the cache."""
    n = max(1, PIECE // x.shape[1])
    return [slice(first, first + n) for first in range(0, len(x), n)]


def _results(x: Float[np.ndarray, "N C"], memory: Memory) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    N = len(x)
    return memory.empty(x.shape, x.dtype), memory.empty(x.shape, x.dtype), memory.empty((N, 1), x.dtype)


def _reciprocal_rms(x: Float[np.ndarray, "N C"], eps: float, r: Float[np.ndarray, "N 1"]) -> None:
    np.vecdot(x, x, out=r[:, 0])
    r /= x.shape[1]
    r += eps
    np.sqrt(r, out=r)
    np.reciprocal(r, out=r)
