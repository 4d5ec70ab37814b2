r"""
Initialization: how large the first numbers should be.

Training starts from random weights, and their size is chosen before anything is known. A layer multiplies the size of
what passes through it by some factor, forward and backward. Fifty layers multiply it by the fiftieth power of that
factor, and there is one value only whose powers stay where they are. Which weights give it, in either direction? And
what should the loss of a model be that has learned nothing yet?

You need: `fp_autograd.mlp` for the variance of one neuron, `fp_neural.activations`, `fp_neural.layers`,
`fp_neural.losses`; orthonormal columns from `fp_neural.spectra`.

## One layer, forward and backward

Let $y = W x$ with $W \in \mathbb{R}^{n_{\text{out}} \times n_{\text{in}}}$. Backward, a cotangent $g$ of $y$ becomes
$W^\top g$ of $x$ (`autograd.matmul-rule`).

**Claim** `neural.layer-lengths`. Let the entries of $W$ be independent with mean $0$ and variance $s^2$.

1. If $x$ is independent of $W$, then $\mathbb{E}\, y_i^2 = s^2\, \mathbb{E} |x|^2$ for every $i$,
   $\mathbb{E}\, y_i y_k = 0$ for $i \ne k$, and $\mathbb{E} |W x|^2 = n_{\text{out}}\, s^2\, \mathbb{E} |x|^2$.
2. If $g$ is independent of $W$, then $\mathbb{E} |W^\top g|^2 = n_{\text{in}}\, s^2\, \mathbb{E} |g|^2$.

The entries of $x$, and those of $g$, may depend on each other in any way.

**Proof.** The first equation is `autograd.neuron-variance`, with $\sum_j \mathbb{E} x_j^2 = \mathbb{E} |x|^2$. For
$i \ne k$, $\mathbb{E}\, y_i y_k = \sum_j \sum_l \mathbb{E}\, w_{ij} w_{kl}\, x_j x_l$, where $w_{ij}$, $w_{kl}$ and
$x_j x_l$ are independent, so each term is $\mathbb{E} w_{ij}\, \mathbb{E} w_{kl}\, \mathbb{E}\, x_j x_l = 0$
(`markov.expectation-linear`). Sum the squares over the $n_{\text{out}}$ rows for the third. $W^\top$ is a matrix of the
same kind with the sizes exchanged, which is 2. $\blacksquare$

The **mean square** of a vector is its squared length divided by the number of its entries. So a layer multiplies it by

$$
f = n_{\text{in}}\, s^2 \quad \text{forward}, \qquad b = n_{\text{out}}\, s^2 \quad \text{backward}. \qquad \text{(E1)}
$$

**Claim** `neural.xavier`. (1) $f = b = 1$ is possible only if $n_{\text{in}} = n_{\text{out}}$. (2) The one $s^2$ that
is off equally far in both directions, $f - 1 = 1 - b$, is $s^2 = \frac{2}{n_{\text{in}} + n_{\text{out}}}$; then
$fb \le 1$, with equality only for $n_{\text{in}} = n_{\text{out}}$. (3) Along layers of widths $n_0, \dots, n_L$, the
choice $s_l^2 = 1 / n_{l-1}$ has the factors $f_l = 1$, and $\prod_l b_l = n_L / n_0$.

**Proof.** (1) $f = b$ says $n_{\text{in}} = n_{\text{out}}$. (2) $f + b = 2$ says
$s^2 (n_{\text{in}} + n_{\text{out}}) = 2$. Then $fb = f (2 - f) = 1 - (f - 1)^2$, which is at most $1$, and equal to
$1$ only if $f = 1$ and so $b = 1$. (3) $f_l = n_{l-1} s_l^2 = 1$ and $b_l = n_l / n_{l-1}$; in the product every width
but the first and the last cancels. $\blacksquare$

The compromise (2) is X. Glorot's and Y. Bengio's, called Xavier. (3) says that it is less needed than it seems: with
variance $1 / n_{\text{in}}$ nothing is lost forward, and backward only the ratio of the two ends, however deep. With
(2) and widths that alternate between 64 and 256, two layers together multiply by

>>> round(2 * 64 / (64 + 256) * 2 * 256 / (64 + 256), 2)
0.64

in either direction, and twenty layers by

>>> round(0.64**10, 3)
0.012

Part 2 of `neural.layer-lengths` needs a $g$ that is independent of $W$. In a deep network of linear layers it is: $g$
is made of the weights above, and of the loss's cotangent, if that is fixed. With an activation it is not: $W$ decides
where the activation is flat, and through this $g$ depends on $W$. For rectifiers the result is right nonetheless.

## Rectifiers

Let $h_0 = x \ne 0$ and $h_l = \operatorname{relu}(W_l h_{l-1})$ for $l = 1, \dots, L$, of widths $n_0, \dots, n_L$.

**Claim** `neural.relu-lengths`. Let all weights be independent, those of layer $l$ with variance $s_l^2$, and each
weight distributed like its negative. Then $\mathbb{E} |h_L|^2 = |x|^2 \prod_{l=1}^{L} \frac12 n_l s_l^2$.

**Proof.** Fix $h_{l-1}$, which depends on earlier layers only. Each $S = \sum_j w_{ij} h_j$ is distributed like $-S$,
and $\mathbb{E} S^2 = s_l^2 |h_{l-1}|^2$, so by `autograd.neuron-variance` the square of its rectified value has the
mean $\frac12 s_l^2 |h_{l-1}|^2$. Sum over the $n_l$ rows: $\mathbb{E} |h_l|^2 = \frac12 n_l s_l^2\, |h_{l-1}|^2$, given
$h_{l-1}$. Take the mean over $h_{l-1}$, and go on from $l = L$ down to $1$. $\blacksquare$

**Claim** `neural.relu-gradients`. Let moreover $P(\sum_j w_{ij} u_j = 0) = 0$ for every row of weights and every vector
$u \ne 0$, as it is for weights with a density. With probability one $h_L$ has a Jacobian $J$ in $x$; for every $t$

$$
\mathbb{E} |J t|^2 = |t|^2 \prod_{l=1}^{L} \tfrac12 n_l s_l^2, \qquad \text{(E2)}
$$

and if all rows of $W_L$ have one distribution, the gradient of each single output $h_{L,i}$ has the mean squared length
$\prod_l \frac12 n_{l-1} s_l^2$.

**Proof.** By `autograd.jacobian-chain` $J t = v_L$ with $v_0 = t$ and $v_l = D_l W_l v_{l-1}$, where $D_l$ is diagonal
and has the slope of relu at each entry of $W_l h_{l-1}$. Fix $h_{l-1}$ and $v_{l-1}$. If $h_{l-1} = 0$, let $h_k$ be
the first that is zero; $k \ge 1$. With probability one no entry of $W_k h_{k-1}$ is zero, so all are negative, and stay
so near $x$: $D_k = 0$, and what comes after layer $k$ is constant near $x$. So $v_{l-1} = 0$ and $v_l = 0$, and
$\mathbb{E} |v_l|^2 = \frac12 n_l s_l^2 |v_{l-1}|^2$ holds, as $0 = 0$. Otherwise let $w$ be a row of $W_l$ and
$m(w) = (w \cdot v_{l-1})^2$ where $w \cdot h_{l-1} > 0$, else $0$. As $w$ is distributed like $-w$, $m(w)$ and $m(-w)$
have the same mean. With probability one $w \cdot h_{l-1} \ne 0$, so exactly one of the two is not struck out and
$m(w) + m(-w) = (w \cdot v_{l-1})^2$. Hence
$\mathbb{E}\, m(w) = \frac12 \mathbb{E} (w \cdot v_{l-1})^2 = \frac12 s_l^2 |v_{l-1}|^2$; sum over the $n_l$ rows, take
the mean, go on to the next layer. This is (E2). Put $t = e_1, \dots, e_{n_0}$ and add: the squares of all entries of
$J$ sum to $n_0 \prod_l \frac12 n_l s_l^2$ in the mean. Row $i$ of $J$ is a function of row $i$ of $W_L$ and of what is
below, the same for every $i$, so all $n_L$ rows have equal means, $\frac{n_0}{n_L} \prod_l \frac12 n_l s_l^2$. As
$n_0 \prod_l n_l = n_L \prod_l n_{l-1}$, this is $\prod_l \frac12 n_{l-1} s_l^2$. $\blacksquare$

So with K. He's variance $s_l^2 = 2 / n_{l-1}$ the mean square of the activations is that of the input at every depth,
and the gradient of every output has mean squared length $1$: exactly, for any widths, without an assumption of
independence between $g$ and $W$. Fifty layers of width 400, with weights of He's size, a tenth smaller and a tenth
larger; the root of the mean square of the output, and that of the lengths of the gradients of its entries:

>>> def deep(scale, layers=50, n=400):
...     rng = np.random.default_rng(0)
...     h, J = rng.standard_normal(n), np.eye(n, dtype=np.float32)
...     for _ in range(layers):
...         W = scale * he_normal((n, n), rng)
...         slopes = W @ h > 0
...         h, J = slopes * (W @ h), slopes[:, None] * (W @ J)
...     return f"{np.sqrt(np.mean(h**2)):.0e} {np.sqrt(np.sum(J**2) / n):.0e}"
>>> deep(0.9), deep(1.0), deep(1.1)
('4e-03 5e-03', '8e-01 1e+00', '9e+01 1e+02')

The factors between them are the powers of 0.9 and 1.1, which leave

>>> f"{0.9**50:.0e} {1.1**50:.0e}"
'5e-03 1e+02'

## Normal numbers

A number is **standard normal** if it has the density $\varphi(z) = \frac{1}{\sqrt{2 \pi}} e^{-z^2/2}$, whose area is
$1$ by `neural.gaussian-area`; $s$ times it, of variance $s^2$, is written $N(0, s^2)$. The mean of $f(Z)$ is the area
of $f(z)\, \varphi(z)$ over the whole line. `fp_markov.probability` proves its rules for sums over finitely many
outcomes; areas are limits of such sums, and we use the same rules for them.

**Claim** `neural.gaussian-moments`. A standard normal $Z$ has $\mathbb{E} Z = 0$, $\mathbb{E} Z^2 = 1$ and
$\mathbb{E} e^{aZ} = e^{a^2 / 2}$ for every $a$. If $Z_1, \dots, Z_n$ are independent standard normal numbers and
$X = \sum_j c_j Z_j$, then $\mathbb{E} e^{aX} = e^{a^2 |c|^2 / 2}$.

**Proof.** $z \varphi(z)$ is the slope of $-\varphi(z)$, which tends to $0$ at both ends: the first area is $0$. By
parts, (E5) of `fp_markov.mathematics` with $u = z$ and $v = -\varphi(z)$, the area of $z^2 \varphi(z)$ is $0$, the
limit of $-z \varphi(z)$ at the ends, plus that of $\varphi(z)$, which is $1$. (The limits: $e^{z^2/2} > z^2 / 2$.)
Next, $a z - \frac{z^2}{2} = \frac{a^2}{2} - \frac{(z - a)^2}{2}$, so $e^{az} \varphi(z) = e^{a^2/2} \varphi(z - a)$; to
move a curve by $a$ does not change its area over the whole line. Last, $e^{aX}$ is the product of the independent
$e^{a c_j Z_j}$, with the means $e^{a^2 c_j^2 / 2}$ (`markov.expectation-linear`). $\blacksquare$

## Other activations

The rectifier halves mean squares whatever the scale. For a curved $\phi$ the scale matters, so one decides to keep the
numbers before it at mean square $1$, and asks which **gain** makes up for what $\phi$ takes away:

$$
g_\phi = \frac{1}{\sqrt{\mathbb{E}\, \phi(Z)^2}}, \qquad
\mathbb{E}\, \phi(Z)^2 = \int_{-\infty}^{\infty} \phi(z)^2 \varphi(z)\, dz. \qquad \text{(E3)}
$$

**Claim** `neural.gain`. Let $z_1, \dots, z_n$ be standard normal, dependent or not, $\mathbb{E}\, \phi(Z)^2$ positive
and finite, and let $w_1, \dots, w_n$ be independent of them and of each other, with mean $0$ and variance
$g_\phi^2 / n$. Then $y = \sum_j w_j \phi(z_j)$ has $\mathbb{E} y^2 = 1$. If the $z_j$ are independent and
$\phi(Z)^2$ has the variance $\tau^2$, then the mean square of $y$ given all $z_j$ has the mean $1$ and the variance
$g_\phi^4 \tau^2 / n$.

**Proof.** By `neural.layer-lengths`
$\mathbb{E} y^2 = \frac{g_\phi^2}{n} \sum_j \mathbb{E} \phi(z_j)^2 = g_\phi^2\, \mathbb{E}\, \phi(Z)^2 = 1$. Given the
$z_j$ the same claim says that the mean square is $g_\phi^2$ times the average of the $\phi(z_j)^2$. By
`markov.variance-of-mean` that average has the mean $\mathbb{E}\, \phi(Z)^2$ and the variance $\tau^2 / n$.
$\blacksquare$

So by `markov.chebyshev` a wide layer gives the next one numbers whose mean square is close to $1$ not just in the mean
over all weights but for the weights at hand. That they are again close to normal is one more thing to assume; for
normal weights and wide layers it holds well. `gain` computes (E3) by the midpoints of `markov.midpoint-area`:

>>> for name in ("linear", "relu", "tanh", "gelu", "silu"):
...     print(f"{name:6} {gain(name):.4f}")
linear 1.0000
relu   1.4142
tanh   1.5925
gelu   1.5335
silu   1.6765

The gain keeps the size of what goes forward. Backward a layer with as many outputs as inputs multiplies the mean square
by about $g_\phi^2\, \mathbb{E}\, \phi'(Z)^2$, if the weights and what arrives there are taken for independent. For the
rectifier this is one, by `neural.relu-gradients` without that assumption; for $\tanh$ it is

>>> z = (np.arange(2**16) + 0.5) * 24 / 2**16 - 12
>>> density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi) * 24 / 2**16
>>> round(gain("tanh") ** 2 * float(np.sum((1 - np.tanh(z) ** 2) ** 2 * density)), 2)
1.18

so what keeps numbers of this size going forward makes gradients grow. With smaller numbers, where $\tanh$ is nearly
linear, both factors come nearer to one.

## Orthogonal weights

Independent weights keep lengths in the mean. A matrix $Q$ with orthonormal columns, $Q^\top Q = I$, keeps every length.

**Claim** `neural.orthogonal-weights`. Let $Q \in \mathbb{R}^{n_{\text{out}} \times n_{\text{in}}}$. If $Q^\top Q = I$
then $Qu \cdot Qv = u \cdot v$ for all $u$, $v$, so $|Q u| = |u|$, and a product of such matrices is one again: forward
the lengths, and angles, of whatever passes through any number of layers stay. If $Q Q^\top = I$, the same holds
backward, $|Q^\top g| = |g|$, and the mean of $|Q u|^2$ over the vectors $u$ of any orthonormal basis is
$n_{\text{out}} / n_{\text{in}}$.

**Proof.** $Qu \cdot Qv = u \cdot Q^\top Q v = u \cdot v$ by `autograd.transpose`; $u = v$ gives lengths. If $P$ is
another, $(PQ)^\top PQ = Q^\top P^\top P Q = Q^\top Q = I$. The second hypothesis is the first one for $Q^\top$. For the
basis, let the columns of the square matrix $U$ be its vectors, so that $U^\top U = I$. The squares of the entries of
$Q U$ sum to the sum of the $|Q u|^2$. By `neural.orthogonal-matrix` $\|Q U\| = \|Q\|$, whose square is the sum over the
$n_{\text{out}}$ rows of $Q$, each of length one. Divide by the $n_{\text{in}}$ vectors. $\blacksquare$

The columns of a matrix of independent normal numbers, made orthonormal by `neural.gram-schmidt`, are such a $Q$.
Through 50 layers of width 64 without activations, the longest and the shortest of 64 orthonormal vectors:

>>> rng = np.random.default_rng(1)
>>> for draw in (xavier_normal, orthogonal):
...     product = np.eye(64)
...     for _ in range(50):
...         product = draw((64, 64), rng, dtype=np.float64) @ product
...     lengths = np.sqrt(np.sum(product**2, axis=0))
...     print(f"{lengths.max():.2f} {lengths.min():.2f}")
1.16 0.13
1.00 1.00

## The first loss

What should the loss be before the first step? The logits are then random numbers that know nothing of the target.

**Claim** `neural.first-loss`. (1) If all $V$ logits are equal, the cross-entropy is $\ln V$ for every target. (2) Let
the logits $z_1, \dots, z_V$ have $\mathbb{E} e^{a z_i} = e^{a^2 s^2 / 2}$ for all $a$, as $N(0, s^2)$ has, and mean
$0$; and let the target be independent of them. Then for every $0 < t \le 1$ the expected cross-entropy is at most
$\frac1t \ln V + \frac{t s^2}{2}$. (3) If moreover the logits are independent of each other, it is at least $\ln V$ and
at least

$$
\ln V + \frac{s^2}{2} - e^{s^2} \Big( \frac{e^{s^2} - 1}{V} + \frac{s^4}{V^2} \Big). \qquad \text{(E4)}
$$

**Proof.** (1) The loss is $\ln (V e^z) - z = \ln V$. (2) It is $\ln S - z_y$ with $S = \sum_i e^{z_i}$ and the target
$y$. As $y$ is independent of the logits, $\mathbb{E} z_y = \sum_i P(y = i)\, \mathbb{E} z_i = 0$: the expected loss is
$\mathbb{E} \ln S$. Let $p_i = e^{z_i} / S \le 1$. Then $p_i^t \ge p_i$, and summed,
$\sum_i e^{t z_i} \ge S^t$, so $\ln S \le \frac1t \ln \sum_i e^{t z_i}$. Call the last sum $X$ and its mean
$m = \sum_i \mathbb{E} e^{t z_i} = V e^{t^2 s^2 / 2}$. By `markov.log-tangent` $\ln \frac{X}{m} \le \frac{X}{m} - 1$,
of mean zero, so $\mathbb{E} \ln X \le \ln m$ and
$\mathbb{E} \ln S \le \frac1t \ln m = \frac1t \ln V + \frac{t s^2}{2}$.

(3) Let $\bar z$ be the mean of the logits. By `markov.jensen` $\frac1V S \ge e^{\bar z}$, so
$\ln S \ge \ln V + \bar z$, with the mean $\ln V$. For (E4) let $M = S / (V e^{s^2/2})$; to be bounded is
$\mathbb{E} \ln S = \ln V + \frac{s^2}{2} + \mathbb{E} \ln M$. By `markov.log-tangent` at $1 / M$,
$\ln M \ge 1 - \frac1M = (M - 1) - \frac{(M - 1)^2}{M}$, where $\mathbb{E} M = 1$ and
$\frac1M \le e^{s^2/2} e^{-\bar z}$ as just seen. So

$$
\mathbb{E} \ln M \ge - e^{s^2/2}\, \mathbb{E}\, (M - 1)^2 e^{-\bar z}. \qquad \text{(E5)}
$$

Multiply the square out. With $c = s^2 / V$, independence gives each term as $e^{s^2 q / 2}$, where $q$ is the sum of
the squares of the coefficients of $z_1, \dots, z_V$ in the exponent:

| exponent | $q$ | mean |
| --- | --- | --- |
| $z_i + z_k - \bar z$, $i \ne k$ | $2 (1 - \frac1V)^2 + \frac{V - 2}{V^2} = 2 - \frac3V$ | $e^{s^2 - 3c/2}$ |
| $2 z_i - \bar z$ | $(2 - \frac1V)^2 + \frac{V - 1}{V^2} = 4 - \frac3V$ | $e^{2 s^2 - 3c/2}$ |
| $z_i - \bar z$ | $(1 - \frac1V)^2 + \frac{V - 1}{V^2} = 1 - \frac1V$ | $e^{s^2/2 - c/2}$ |
| $- \bar z$ | $\frac1V$ | $e^{c/2}$ |

$M^2$ is $e^{-s^2} / V^2$ times $V (V - 1)$ terms of the first kind and $V$ of the second, $M$ is $e^{-s^2/2} / V$ times
$V$ of the third:

$$
\begin{aligned}
\mathbb{E}\, (M - 1)^2 e^{-\bar z}
  &= e^{-3c/2} \Big( 1 - \frac1V + \frac{e^{s^2}}{V} \Big) - 2 e^{-c/2} + e^{c/2} \\
  &= e^{c/2} \Big( (1 - e^{-c})^2 + e^{-2c}\, \frac{e^{s^2} - 1}{V} \Big)
   \le e^{c/2} \Big( \frac{s^4}{V^2} + \frac{e^{s^2} - 1}{V} \Big),
\end{aligned} \qquad \text{(E6)}
$$

as $1 - e^{-c} \le c$ by `markov.log-tangent`. Last, $\frac{s^2}{2} + \frac{c}{2} \le s^2$. $\blacksquare$

With $t = 1$: random logits cost at most $\frac{s^2}{2}$ nats more than equal ones, and by (E4) no less in the limit of
a large vocabulary. The hypothesis holds exactly for a last layer $z = W h$ with independent normal weights of variance
$s_w^2$, given its input: by `neural.gaussian-moments` with $s^2 = s_w^2 |h|^2$, row by row. If $s$ exceeds
$\sqrt{2 \ln V}$, a smaller $t = \sqrt{2 \ln V} / s$ is better, and gives $s \sqrt{2 \ln V}$: the loss of a model that
is sure without a reason grows no faster than $s$. For 27 characters, weights of the last layer that make $s$ small,
one, and ten:

>>> for s in (0.01, 1.0, 10.0):
...     z = s * np.random.default_rng(2).standard_normal((100_000, 27))
...     low, high = initial_loss_bounds(27, s)
...     print(f"{low:.2f} <= {np.mean(np.log(np.sum(np.exp(z), axis=1)) - z[:, 0]):.2f} <= {high:.2f}")
3.30 <= 3.30 <= 3.30
3.62 <= 3.76 <= 3.80
3.30 <= 20.16 <= 25.67

A first loss far above $\ln V$ says that the last layer is too large; the first steps are then spent on making it small.

## In practice

PyTorch's `Linear` draws weights evenly between $\pm 1 / \sqrt{n_{\text{in}}}$, of variance $\frac{1}{3 n_{\text{in}}}$:
by (E1) and `neural.relu-lengths` a rectified layer keeps a sixth of the mean square. Its gain for tanh is $\frac53$,
a little more than (E3). GPT-2 draws all weights with standard deviation 0.02 and divides those that end in the residual
stream by $\sqrt{2 \cdot \text{layers}}$, since there a sum over layers is to be kept in size instead of a product;
stage 6 returns to it. Normalization (`fp_neural.normalization`) makes the scale matter less. What this section leaves
out: `neural.relu-lengths` holds in the mean, while in narrow and deep networks the typical length falls behind that
mean, since the mean is carried by a few lucky draws; orthogonal weights do not have this fault.

Sources: X. Glorot and Y. Bengio, 2010; K. He and others, 2015; A. Saxe, J. McClelland and S. Ganguli, 2014, for
orthogonal weights.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from fp_autograd.rules import relu, sigmoid, tanh
from fp_neural.activations import gelu, silu

__all__ = [
    "xavier_normal",
    "xavier_uniform",
    "he_normal",
    "gain",
    "orthogonal",
    "initial_loss_bounds",
]  # the order of the page

Real = float | int
Weight = Float[np.ndarray, "n_out n_in"]

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "linear": lambda z: z,
    "relu": relu,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "gelu": gelu,
    "silu": silu,
}


def xavier_normal(
    shape: tuple[int, int], rng: np.random.Generator, gain: Real = 1.0, dtype: Any = np.float32
) -> Weight:
    r"""
    Normal weights of variance $g^2 \frac{2}{n_{\text{in}} + n_{\text{out}}}$ (`neural.xavier`).

    Parameters
    ----------
    shape
        `(n_out, n_in)`.
    rng
        Where they come from.
    gain
        $g$, for the activation before this layer.
    dtype
        A floating-point type. The same generator gives the same numbers in all of them, up to rounding.

    Returns
    -------
    ndarray
        Of that shape.

    Raises
    ------
    ValueError
        If a size is below one or the gain is not positive.

    Examples
    --------
    >>> W = xavier_normal((300, 500), np.random.default_rng(0))
    >>> W.dtype.name, bool(abs(W.var() * (300 + 500) / 2 - 1) < 0.02)
    ('float32', True)
    """
    n_out, n_in = _sizes(shape)
    return _normal(shape, rng, _scale(gain) * math.sqrt(2 / (n_in + n_out)), dtype)


def xavier_uniform(
    shape: tuple[int, int], rng: np.random.Generator, gain: Real = 1.0, dtype: Any = np.float32
) -> Weight:
    r"""
    Weights of the variance of `xavier_normal`, even between $\pm \sqrt 3$ standard deviations.

    A number that is even in $[-a, a]$ has the variance $a^2 / 3$, as `fp_autograd.mlp` computes.

    Parameters
    ----------
    shape
        `(n_out, n_in)`.
    rng
        Where they come from.
    gain
        $g$, for the activation before this layer.
    dtype
        A floating-point type.

    Returns
    -------
    ndarray
        Of that shape.

    Raises
    ------
    ValueError
        If a size is below one or the gain is not positive.

    Examples
    --------
    >>> W = xavier_uniform((300, 500), np.random.default_rng(0))
    >>> bool(abs(W).max() <= np.sqrt(6 / 800)), bool(abs(W.var() * 400 - 1) < 0.02)
    (True, True)
    """
    n_out, n_in = _sizes(shape)
    a = _scale(gain) * math.sqrt(6 / (n_in + n_out))
    return rng.uniform(-a, a, shape).astype(dtype)


def he_normal(shape: tuple[int, int], rng: np.random.Generator, dtype: Any = np.float32) -> Weight:
    r"""
    Normal weights of variance $2 / n_{\text{in}}$, for rectified inputs (`neural.relu-lengths`).

    Parameters
    ----------
    shape
        `(n_out, n_in)`.
    rng
        Where they come from.
    dtype
        A floating-point type.

    Returns
    -------
    ndarray
        Of that shape.

    Raises
    ------
    ValueError
        If a size is below one.

    Examples
    --------
    >>> bool(abs(he_normal((300, 500), np.random.default_rng(0)).var() * 500 / 2 - 1) < 0.02)
    True
    """
    _, n_in = _sizes(shape)
    return _normal(shape, rng, math.sqrt(2 / n_in), dtype)


def gain(activation: str | Callable[[Any], Any]) -> float:
    r"""
    The factor on weights of variance $1 / n_{\text{in}}$ that makes up for an activation before them (E3).

    The sum has $2^{16}$ midpoints between $-12$ and $12$. Beyond, the area is below $10^{-28}$ for every $\phi$ that is
    no larger than its argument there; between, by `markov.midpoint-area` the error is at most
    $\frac{24^3}{24 \cdot 2^{32}} M < 1.4 \cdot 10^{-7} M$, where $M$ bounds the second slope of $\phi^2 \varphi$, and
    in smooth cases it is far less.

    Parameters
    ----------
    activation
        `"linear"`, `"relu"`, `"tanh"`, `"sigmoid"`, `"gelu"` or `"silu"`; or a function of an array, number by number.

    Returns
    -------
    float
        $g_\phi$.

    Raises
    ------
    ValueError
        If there is no such activation, or its mean square is zero or not finite.

    Examples
    --------
    >>> round(gain("relu") ** 2, 9), round(gain(lambda z: 3 * z) * 3, 9)
    (2.0, 1.0)
    """
    if isinstance(activation, str) and activation not in ACTIVATIONS:
        raise ValueError(f"an activation is one of {', '.join(ACTIVATIONS)}, or a function, got {activation!r}")
    phi = ACTIVATIONS[activation] if isinstance(activation, str) else activation
    n = 2**16
    z = (np.arange(n) + 0.5) * (24 / n) - 12
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    mean_square = float(np.sum(np.asarray(phi(z)) ** 2 * density)) * (24 / n)
    if not 0 < mean_square < math.inf:
        raise ValueError(f"the activation of normal numbers has the mean square {mean_square}: nothing to divide by")
    return 1 / math.sqrt(mean_square)


def orthogonal(shape: tuple[int, int], rng: np.random.Generator, gain: Real = 1.0, dtype: Any = np.float32) -> Weight:
    """
    Random weights with orthonormal columns, or rows if there are fewer rows (`neural.orthogonal-weights`).

    The columns of a matrix of normal numbers are made orthonormal one after another. NumPy does that by reflections,
    which leave each column's sign to chance of the algorithm; the signs are set as Gram-Schmidt has them.

    Parameters
    ----------
    shape
        `(n_out, n_in)`.
    rng
        Where they come from.
    gain
        What the matrix is multiplied by.
    dtype
        A floating-point type.

    Returns
    -------
    ndarray
        Of that shape.

    Raises
    ------
    ValueError
        If a size is below one or the gain is not positive.

    Examples
    --------
    >>> Q = orthogonal((3, 2), np.random.default_rng(0), dtype=np.float64)
    >>> np.abs(Q.T @ Q).round(9)
    array([[1., 0.],
           [0., 1.]])
    """
    n_out, n_in = _sizes(shape)
    tall = rng.standard_normal((max(n_out, n_in), min(n_out, n_in)))
    q, r = np.linalg.qr(tall)
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0) * _scale(gain)
    return np.ascontiguousarray(q if n_out >= n_in else q.T, dtype)


def initial_loss_bounds(vocab_size: int, std: Real) -> tuple[float, float]:
    r"""
    Between what the expected first loss of a model with independent normal logits lies (`neural.first-loss`).

    Parameters
    ----------
    vocab_size
        $V$.
    std
        Standard deviation $s$ of the logits.

    Returns
    -------
    low, high : float
        In nats per token.

    Raises
    ------
    ValueError
        If the vocabulary is empty, or the deviation negative or not finite.

    Examples
    --------
    >>> [round(bound, 3) for bound in initial_loss_bounds(50_257, 1.0)], round(float(np.log(50_257)) + 0.5, 3)
    ([11.325, 11.325], 11.325)
    """
    if vocab_size < 1:
        raise ValueError(f"a vocabulary has at least one token, got vocab_size = {vocab_size}")
    if not 0 <= std < math.inf:
        raise ValueError(f"a standard deviation is finite and not negative, got {std}")
    uniform, s2 = math.log(vocab_size), float(std) ** 2
    t = min(1.0, math.sqrt(2 * uniform) / std) if vocab_size > 1 and std > 0 else 1.0
    low = uniform
    if s2 < 300:  # beyond, (E4) is far below ln V, and its exponentials overflow
        low = max(low, uniform + s2 / 2 - math.exp(s2) * (math.expm1(s2) / vocab_size + (s2 / vocab_size) ** 2))
    return low, uniform / t + t * s2 / 2


def _normal(shape: tuple[int, int], rng: np.random.Generator, std: float, dtype: Any) -> np.ndarray:
    return (std * rng.standard_normal(shape)).astype(dtype)


def _sizes(shape: tuple[int, int]) -> tuple[int, int]:
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"weights have the shape (n_out, n_in), both at least one, got {shape}")
    return shape


def _scale(gain: Real) -> float:
    if not 0 < gain < math.inf:
        raise ValueError(f"a gain is a positive number, got {gain}. Biases of zero need no initialization.")
    return float(gain)
