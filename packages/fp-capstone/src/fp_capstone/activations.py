r"""
GELU and SwiGLU: the bends that make depth worth having.

Two linear maps in a row are one linear map. What lets a second layer compute something new is a bend between them. This
section derives the two bends in use: GELU for the GPT-2 family, SwiGLU for the Llama family.

You need: the product rule and the chain rule (stage 2).

## GELU

A gate that opens with the probability that a standard normal variable lies below $x$ would be $x \Phi(x)$. GPT-2
computes it with a hyperbolic tangent,

$$\operatorname{gelu}(x) = \tfrac{1}{2} x (1 + \tanh u), \qquad u = a (x + b x^3), \qquad
a = \sqrt{2 / \pi}, \quad b = 0.044715. \qquad \text{(A1)}$$

The hyperbolic tangent is the **sigmoid** $\sigma(t) = 1 / (1 + e^{-t})$ in disguise: multiply numerator and denominator
of $\tanh u = (e^u - e^{-u}) / (e^u + e^{-u})$ by $e^{-u}$, and it is
$(1 - e^{-2u}) / (1 + e^{-2u}) = 2 \sigma(2u) - 1$. So $\operatorname{gelu}(x) = x\, \sigma(2u)$: a gate.

**Claim** `capstone.gelu-derivative`. With $s = \sigma(2u)$,
$\operatorname{gelu}'(x) = s + (1 - s)\, \operatorname{gelu}(x)\, (2u)'$, where $(2u)' = 2 a (1 + 3 b x^2)$.

**Proof.** First the derivative of the sigmoid: $\sigma'(t) = e^{-t} / (1 + e^{-t})^2 = \sigma(t)\, (1 - \sigma(t))$,
because $1 - \sigma(t) = e^{-t} / (1 + e^{-t})$. By the chain rule $s' = s (1 - s) (2u)'$ with
$(2u)' = 2 a (1 + 3 b x^2)$, and by the product rule $(x s)' = s + x s' = s + (1 - s)\, x s\, (2u)'$, where $x s$ is
$\operatorname{gelu}(x)$. $\blacksquare$

The slope needs $x^2$ and $s$, which the forward pass has just computed. So the forward pass computes the slope as well,
piece by piece while these lie in the cache, and writes it over $x$, which nobody needs any more: the backward pass is
one multiplication.

## SwiGLU

The Llama family bends by multiplying. Two linear maps make a **gate** $a$ and a **value** $b$; the gate passes through
$\operatorname{silu}(a) = a\, \sigma(a)$ and scales the value, entry by entry:

$$y = \operatorname{silu}(a) \cdot b = a\, \sigma(a)\, b. \qquad \text{(A2)}$$

**Claim** `capstone.swiglu-backward`. With the cotangent $g$ and $s = \sigma(a)$,

$$
\frac{\partial \ell}{\partial b} = g\, a s, \qquad
\frac{\partial \ell}{\partial a} = g\, b\, s \big( 1 + a (1 - s) \big). \qquad \text{(A3)}
$$

**Proof.** As above, $\sigma'(a) = s (1 - s)$. By the product rule
$\operatorname{silu}'(a) = s + a s (1 - s) = s (1 + a (1 - s))$. Multiply by $b$ and by $g$ for the first factor's
gradient; the second factor's is $g \operatorname{silu}(a)$. $\blacksquare$

Here, too, the factors of $g$ are computed on the way forward, in the memory of $a$ and $b$.

## In practice

$e^{-a}$ overflows in float32 below $a \approx -88$; $\tanh$ never does, and
$\sigma(a) = \tfrac{1}{2} (1 + \tanh \tfrac{a}{2})$, so the code uses that form; NumPy's float32 $\tanh$ is also the
faster of the two. GELU is due to Hendrycks and Gimpel (2016), SwiGLU to Shazeer (2020),
who found that gated units beat plain ones at equal cost and offered no explanation but "divine benevolence".
"""

import math

import numpy as np
from jaxtyping import Float

from fp_capstone.memory import HEAP, PIECE, Memory

__all__ = ["gelu", "gelu_backward", "swiglu", "swiglu_backward"]

_A = math.sqrt(2 / math.pi)
_B = 0.044715


def gelu(
    x: Float[np.ndarray, "*shape"],
    slope: Float[np.ndarray, "*shape"] | None = None,
    memory: Memory = HEAP,
) -> Float[np.ndarray, "*shape"]:
    """
    GELU in its hyperbolic-tangent form (A1), and its slope (`capstone.gelu-derivative`) while all is in the cache.

    Parameters
    ----------
    x
        Any shape, contiguous.
    slope
        Overwritten with the derivative at `x`, for the backward pass; it may be `x` itself. None if there will be no
        backward pass.
    memory
        Where the result lies.

    Returns
    -------
    ndarray
        The output, in the shape of `x`.

    Examples
    --------
    >>> x, slope = np.array([-3.0, 0.0, 3.0]), np.empty(3)
    >>> gelu(x, slope).round(4), slope.round(4)
    (array([-0.0036,  0.    ,  2.9964]), array([-0.0116,  0.5   ,  1.0116]))
    """
    y = memory.empty(x.shape, x.dtype)
    mark = memory.mark()
    size = min(PIECE, x.size)
    room = memory.empty((2, size), x.dtype)
    flat_x, flat_y, flat_slope = x.reshape(-1), y.reshape(-1), None if slope is None else slope.reshape(-1)
    for i in range(0, x.size, size):
        piece = slice(i, i + size)
        v, out = flat_x[piece], flat_y[piece]
        s, w = room[0, : v.size], room[1, : v.size]
        np.multiply(v, v, out=w)
        np.multiply(w, _A * _B, out=s)
        s += _A
        s *= v  # u
        np.tanh(s, out=s)
        s *= 0.5
        s += 0.5  # sigma(2u)
        np.multiply(v, s, out=out)
        if flat_slope is not None:
            w *= 6 * _A * _B
            w += 2 * _A
            w *= out  # gelu(x) (2u)'
            d = np.subtract(1, s, out=flat_slope[piece])
            d *= w
            d += s
    memory.release(mark)
    return y


def gelu_backward(
    g: Float[np.ndarray, "*shape"], slope: Float[np.ndarray, "*shape"], out: Float[np.ndarray, "*shape"] | None = None
) -> Float[np.ndarray, "*shape"]:
    """
    Gradient of GELU (`capstone.gelu-derivative`): the cotangent times the slope.

    Parameters
    ----------
    g
        Gradient of the loss with respect to the output.
    slope
        From the forward pass.
    out
        Where the result lies; it may be `slope`. New memory if not given.

    Returns
    -------
    ndarray
        Gradient with respect to `x`.
    """
    return np.multiply(g, slope, out=out)


def swiglu(
    ab: Float[np.ndarray, "N gates_and_values"],
    slopes: Float[np.ndarray, "N gates_and_values"] | None = None,
    memory: Memory = HEAP,
) -> Float[np.ndarray, "N F"]:
    """
    The gated unit (A2), and its two slopes (A3) while all that they need lies in the cache.

    Parameters
    ----------
    ab
        Gates in the first half of each row, values in the second: what one fused linear map returns.
    slopes
        Overwritten with the derivatives by gates and by values, in the layout of `ab`; it may be `ab` itself. None if
        there will be no backward pass.
    memory
        Where the result lies.

    Returns
    -------
    ndarray
        The output, shape `N F`.

    Examples
    --------
    >>> swiglu(np.array([[0.0, 100.0, 7.0, 0.5]]))
    array([[ 0., 50.]])
    """
    N, F = ab.shape[0], ab.shape[1] // 2
    y = memory.empty((N, F), ab.dtype)
    mark = memory.mark()
    n = max(1, min(N, PIECE // F))
    room = memory.empty((2, n, F), ab.dtype)
    for i in range(0, N, n):
        a, b, out = ab[i : i + n, :F], ab[i : i + n, F:], y[i : i + n]
        s, unit = room[0, : len(a)], room[1, : len(a)]
        np.multiply(a, 0.5, out=s)
        np.tanh(s, out=s)
        s *= 0.5
        s += 0.5  # sigma(a)
        np.multiply(a, s, out=unit)  # silu(a), the slope by the value
        np.multiply(unit, b, out=out)
        if slopes is not None:
            w = np.multiply(b, s, out=slopes[i : i + n, F:])  # b may be overwritten by it: its last use
            np.subtract(1, s, out=s)
            s *= a
            s += 1
            np.multiply(w, s, out=slopes[i : i + n, :F])  # b sigma (1 + a (1 - sigma))
            w[:] = unit
    memory.release(mark)
    return y


def swiglu_backward(
    g: Float[np.ndarray, "N F"],
    slopes: Float[np.ndarray, "N gates_and_values"],
    out: Float[np.ndarray, "N gates_and_values"] | None = None,
) -> Float[np.ndarray, "N gates_and_values"]:
    """
    Gradients of the gated unit (`capstone.swiglu-backward`): the cotangent times both slopes, in the layout of `ab`.

    Parameters
    ----------
    g
        Gradient of the loss with respect to the output, shape `N F`.
    slopes
        From the forward pass.
    out
        Where the result lies; it may be `slopes`. New memory if not given.

    Returns
    -------
    ndarray
        Gradient with respect to `ab`.
    """
    N, F = g.shape
    out = np.empty_like(slopes) if out is None else out
    np.multiply(slopes.reshape(N, 2, F), g[:, None], out=out.reshape(N, 2, F))
    return out
