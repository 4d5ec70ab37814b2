r"""
GELU and SwiGLU: the bends that make depth worth having.

Two linear maps in a row are one linear map. What lets a second layer compute something new is a bend between them. This
section derives the two bends in use: GELU for the GPT-2 family, SwiGLU for the Llama family.

You need: the product rule and the chain rule (stage 2).

## GELU

A gate that opens with the probability that a standard normal variable lies below $x$ would be $x \Phi(x)$. GPT-2
computes it with a hyperbolic tangent,

$$\operatorname{gelu}(x) = \tfrac{1}{2} x (1 + \tau), \qquad \tau = \tanh u, \qquad u = a (x + b x^3), \qquad
a = \sqrt{2 / \pi}, \quad b = 0.044715. \qquad \text{(A1)}$$

**Claim** `capstone.gelu-derivative`.
$\operatorname{gelu}'(x) = \tfrac{1}{2} (1 + \tau) + \tfrac{1}{2} x (1 - \tau^2)\, a (1 + 3 b x^2)$.

**Proof.** First the derivative of $\tanh u = (e^{u} - e^{-u}) / (e^{u} + e^{-u})$, by the quotient rule:
$\big( (e^u + e^{-u})^2 - (e^u - e^{-u})^2 \big) / (e^u + e^{-u})^2 = 1 - \tanh^2 u$. With $u' = a (1 + 3 b x^2)$ the
chain rule gives $\tau' = (1 - \tau^2)\, a (1 + 3 b x^2)$, and the product rule on (A1) gives
$\tfrac{1}{2} (1 + \tau) + \tfrac{1}{2} x \tau'$. $\blacksquare$

## SwiGLU

The Llama family bends by multiplying. Two linear maps make a **gate** $a$ and a **value** $b$; the gate passes through
$\operatorname{silu}(a) = a\, \sigma(a)$, where $\sigma(a) = 1 / (1 + e^{-a})$, and scales the value, entry by entry:

$$y = \operatorname{silu}(a) \cdot b = a\, \sigma(a)\, b. \qquad \text{(A2)}$$

**Claim** `capstone.swiglu-backward`. With the cotangent $g$ and $s = \sigma(a)$,

$$
\frac{\partial \ell}{\partial b} = g\, a s, \qquad
\frac{\partial \ell}{\partial a} = g\, b\, s \big( 1 + a (1 - s) \big). \qquad \text{(A3)}
$$

**Proof.** $\sigma'(a) = e^{-a} / (1 + e^{-a})^2 = s \cdot e^{-a} / (1 + e^{-a}) = s (1 - s)$, because
$1 - s = e^{-a} / (1 + e^{-a})$. By the product rule $\operatorname{silu}'(a) = s + a s (1 - s) = s (1 + a (1 - s))$.
Multiply by $b$ and by $g$ for the first factor's gradient; the second factor's is $g \operatorname{silu}(a)$.
$\blacksquare$

## In practice

$e^{-a}$ overflows in float32 below $a \approx -88$; $\tanh$ never does, and
$\sigma(a) = \tfrac{1}{2} (1 + \tanh \tfrac{a}{2})$, so the code uses that form. (Multiply numerator and denominator of
$\tanh \frac{a}{2} = (e^{a/2} - e^{-a/2}) / (e^{a/2} + e^{-a/2})$ by $e^{-a/2}$: it is
$(1 - e^{-a}) / (1 + e^{-a}) = 2 \sigma(a) - 1$.) GELU is due to Hendrycks and Gimpel (2016), SwiGLU to Shazeer (2020),
who found that gated units beat plain ones at equal cost and offered no explanation but "divine benevolence".
"""

import math

import numpy as np
from jaxtyping import Float

__all__ = ["gelu", "gelu_backward", "swiglu", "swiglu_backward"]

_A = math.sqrt(2 / math.pi)
_B = 0.044715


def gelu(x: Float[np.ndarray, "*shape"]) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    """
    GELU in its hyperbolic-tangent form (A1).

    Parameters
    ----------
    x
        Any shape.

    Returns
    -------
    y, tau : ndarray
        The output, and the tangent that the backward pass uses; the shape of `x`.

    Examples
    --------
    >>> gelu(np.array([-3.0, 0.0, 3.0]))[0].round(4)
    array([-0.0036,  0.    ,  2.9964])
    """
    tau = x * x
    tau *= _A * _B
    tau += _A
    tau *= x
    np.tanh(tau, out=tau)
    y = tau + 1
    y *= x
    y *= 0.5
    return y, tau


def gelu_backward(
    g: Float[np.ndarray, "*shape"], x: Float[np.ndarray, "*shape"], tau: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """
    Gradient of GELU (`capstone.gelu-derivative`).

    Parameters
    ----------
    g
        Gradient of the loss with respect to the output.
    x, tau
        From the forward pass.

    Returns
    -------
    ndarray
        Gradient with respect to `x`.
    """
    slope = x * x
    slope *= 3 * _A * _B
    slope += _A
    slope *= x  # x a (1 + 3 b x^2)
    slope *= 1 - tau * tau  # forward: tau = tanh u
    slope += tau
    slope += 1
    slope *= 0.5
    slope *= g
    return slope


def swiglu(
    ab: Float[np.ndarray, "N gates_and_values"],
) -> tuple[Float[np.ndarray, "N F"], Float[np.ndarray, "N F"]]:
    """
    The gated unit (A2).

    Parameters
    ----------
    ab
        Gates in the first half of each row, values in the second: what one fused linear map returns.

    Returns
    -------
    y, s : ndarray
        The output, and the sigmoid of the gates; shape `N F`.

    Examples
    --------
    >>> swiglu(np.array([[0.0, 100.0, 7.0, 0.5]]))[0]
    array([[ 0., 50.]])
    """
    F = ab.shape[1] // 2
    a, b = ab[:, :F], ab[:, F:]
    s = a * 0.5
    np.tanh(s, out=s)
    s += 1
    s *= 0.5  # sigma(a) = (1 + tanh(a / 2)) / 2
    y = a * s
    y *= b
    return y, s


def swiglu_backward(
    g: Float[np.ndarray, "N F"], ab: Float[np.ndarray, "N gates_and_values"], s: Float[np.ndarray, "N F"]
) -> Float[np.ndarray, "N gates_and_values"]:
    """
    Gradients (A3) of the gated unit, in the layout of `ab`.

    Parameters
    ----------
    g
        Gradient of the loss with respect to the output, shape `N F`.
    ab, s
        From the forward pass.

    Returns
    -------
    ndarray
        Gradient with respect to `ab`.
    """
    F = ab.shape[1] // 2
    a, b = ab[:, :F], ab[:, F:]
    dab = np.empty_like(ab)
    da, db = dab[:, :F], dab[:, F:]
    np.multiply(g, s, out=db)  # g s, shared by both gradients
    np.subtract(1, s, out=da)
    da *= a
    da += 1
    da *= b
    da *= db  # forward: a sigma(a) b, by the gate: g b s (1 + a (1 - s))
    db *= a  # forward: by the value: g a s
    return dab
