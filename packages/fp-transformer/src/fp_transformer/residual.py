r"""
The residual stream: every layer adds to it, none replaces it.

A deep network made of layers one after the other multiplies their Jacobians, and a product of fifty matrices grows or
fades with the fiftieth power of something. A transformer's layers stand beside a line that runs straight through: each
reads it and adds what it found. What does that do to a gradient on its way down, how large does the sum become, and
why does it matter whether the norm stands in the branch or on the line?

You need: `fp_transformer.norms`, `fp_autograd.linear_algebra`; `neural.layer-lengths` for random weights.

## A sum

Let $x_0 \in \mathbb{R}^C$ be what the embedding gives, and let $n$ **branches** (attention and feed-forward layers, so
$n = 2L$ for $L$ blocks) add one after the other:

$$x_{l+1} = x_l + f_l(x_l), \qquad l = 0, \dots, n - 1, \qquad \text{so} \qquad x_n = x_0 + \sum_{l=0}^{n-1} f_l(x_l).
\qquad \text{(E1)}$$

The $x_l$ are the **residual stream**. For attention, which looks at other positions, let $x$ be all rows of a text as
one vector. The norm in front of a branch is part of $f_l$: this is the **pre-norm** form.

**Claim** `transformer.residual-sum`. Let the stream be read through a norm with gain $\gamma$ and bias $\beta$ (zero
for RMSNorm), with $r$ the inverse size at $x_n$, and let $P$ be the centring for LayerNorm and the identity for
RMSNorm. Write $b_{-1} = x_0$ and $b_l = f_l(x_l)$. What is read is

$$\beta + \sum_{l=-1}^{n-1} r\, \gamma \odot P b_l, \qquad \text{(E2)}$$

so every logit $u \cdot y$ is $u \cdot \beta$ plus one number for the embedding and one for each branch.

**Proof.** The norm is $y = \beta + \gamma \odot r P x_n$. Insert (E1); $P$ and the product with $r \gamma$ are linear,
and so is $y \mapsto u \cdot y$. $\blacksquare$

Only $r$ depends on all terms together, and it is the same for all logits of a position: which of two tokens is ahead is
decided by the sum. `normalized_terms` computes (E2) for any list of streams.

## The way back

**Claim** `transformer.pre-norm-gradient`. Let $J_l$ be the Jacobian of $f_l$ at $x_l$. The Jacobian of
$x_0 \mapsto x_n$ is

$$
(I + J_{n-1}) \cdots (I + J_1)(I + J_0) = \sum_{S \subseteq \{0, \dots, n-1\}} J_S, \qquad \text{(E3)}
$$

where $J_S$ is the product of the $J_l$ with $l \in S$, larger $l$ to the left, and $J_\varnothing = I$. So the
cotangent of $x_0$ is a sum of $2^n$ terms, one for each choice of branches that are gone through, and the one that
skips them all is $g$ itself, the cotangent of $x_n$, unchanged:

$$\bar x_0 = g + \sum_{S \ne \varnothing} J_S^\top g.$$

The same holds between any two depths.

**Proof.** $x_l \mapsto x_l + f_l(x_l)$ has the Jacobian $I + J_l$, and by `autograd.jacobian-chain` the composition has
the product. Expand it by induction. For $n = 0$ the product of nothing is $I = J_\varnothing$. If (E3) holds for $n$,
then

$$
(I + J_n) \sum_{S \subseteq \{0, \dots, n-1\}} J_S = \sum_{S \subseteq \{0, \dots, n-1\}} J_S
  + \sum_{S \subseteq \{0, \dots, n-1\}} J_n J_S,
$$

where the first sum has the subsets of $\{0, \dots, n\}$ without $n$, and the second those with it, $J_n J_S =
J_{S \cup \{n\}}$. The cotangent is the transpose applied to $g$, and $I^\top g = g$. To start at $x_m$ instead of $x_0$
leaves out the first $m$ factors. $\blacksquare$

Nothing that the branches do can take the first term away. `path_terms` sums the others by the number of branches on the
way: it is the coefficient of $z^k$ in $\prod_l (I + z J_l)$.

**Claim** `transformer.pre-norm-bounds`. Let $|J_l t| \le \rho\, |t|$ for all $l$ and $t$. The terms of (E3) through
exactly $k$ branches are together at most $\binom nk \rho^k |g|$ long, and

$$(1 - \rho)^n\, |g| \le |\bar x_0| \le (1 + \rho)^n\, |g|, \qquad \text{the left part if } \rho \le 1.
\qquad \text{(E4)}$$

**Proof.** The transpose has the same bound: by `autograd.transpose` and `autograd.cauchy-schwarz`

$$|J^\top g|^2 = (J^\top g) \cdot (J^\top g) = g \cdot J (J^\top g) \le |g|\, \rho\, |J^\top g|;$$

divide by $|J^\top g|$, if it is not zero. So $|J_S^\top g| \le \rho^k |g|$ for a set $S$ of $k$ branches, of which
there are $\binom nk$; the length of a sum is at most the sum of the lengths. Next,
$|g + J_l^\top g| \le (1 + \rho)\, |g|$, and $|g| \le |g + J_l^\top g| + |{-J_l^\top g}|$ gives
$|g + J_l^\top g| \ge (1 - \rho)\, |g|$. Apply this $n$ times. $\blacksquare$

With $\rho = c / n$ both bounds tend to constants, $e^{-c}$ and $e^c$, as (E2) of `fp_markov.mathematics` puts
$n \ln (1 + \frac cn)$ between $\frac{c}{1 + c/n}$ and $c$, and $n \ln (1 - \frac cn)$ between $\frac{-c}{1 - c/n}$ and
$-c$: the gradient neither vanishes nor explodes, however deep. The norm in the branch helps: by
`transformer.norm-jacobian` it divides by the size of the stream, so $\rho$ is the branch's own bound over that size,
and the size grows.

>>> rng = np.random.default_rng(0)
>>> J = rng.normal(size=(12, 5, 5)) / 12  # twelve branches
>>> terms = path_terms(J)
>>> np.abs(terms.sum(axis=0) - np.linalg.multi_dot([np.eye(5) + j for j in J[::-1]])).max() < 1e-12
np.True_
>>> np.linalg.norm(terms, axis=(1, 2)).round(2)[:6]  # through 0, 1, 2, … branches
array([2.24, 1.57, 0.67, 0.22, 0.07, 0.02])

## How large the sum becomes

**Claim** `transformer.residual-variance`. Let $x_{l+1} = x_l + W_l h_l$ for $l = 0, \dots, n - 1$, where the entries of
each $W_l$ are independent of each other and of everything that $x_0$, $h_0, \dots, h_l$ and the earlier $W$ are made
of, with mean $0$ and variance $s_l^2$; $h_l$ may depend on $x_0, \dots, x_l$ in any way, so long as
$\mathbb{E} |x_0|^2$ and all $\mathbb{E} |h_l|^2$ are finite. For every entry $c$

$$\mathbb{E}\, x_{n,c}^2 = \mathbb{E}\, x_{0,c}^2 + \sum_{l=0}^{n-1} s_l^2\, \mathbb{E} |h_l|^2. \qquad \text{(E5)}$$

If every branch adds the mean square $\sigma^2 = s_l^2\, \mathbb{E} |h_l|^2$, the mean square grows **linearly**, by
$n \sigma^2$. If each $W_l$ is divided by $\sqrt n$, and if $\mathbb{E} |h_l|^2$ stays what it was (as for an $h_l$ of
fixed length), all branches together add $\sigma^2$, at any depth.

**Proof.** $x_{l+1,c}^2 = x_{l,c}^2 + 2\, x_{l,c} (W_l h_l)_c + (W_l h_l)_c^2$. In the middle term each
$x_{l,c} W_{l,cj} h_{l,j}$ has the mean $\mathbb{E} W_{l,cj} \cdot \mathbb{E}\, x_{l,c} h_{l,j} = 0$, since $W_{l,cj}$
is independent of both others (`markov.expectation-linear`); the second mean is finite, as $2\, |x h| \le x^2 + h^2$ and
$\mathbb{E}\, x_{l,c}^2$ is finite by induction. The last term has the mean $s_l^2\, \mathbb{E} |h_l|^2$ by
`neural.layer-lengths`. Sum over $l$. Dividing $W_l$ by $\sqrt n$ divides $s_l^2$ by $n$. $\blacksquare$

$h_l$ is what a branch holds in front of its last matrix, which at the start of training is drawn like this; so (E5)
holds there for attention and feed-forward layers as they are. This is where GPT-2's factor comes from: it draws the
last matrix of each of its $2L$ branches smaller by $\frac{1}{\sqrt{2L}}$. Does $\mathbb{E} |h_l|^2$ stay what it was
then? In a feed-forward layer behind a norm it does: its rows have one length, whatever the stream
(`transformer.norm-length`), and normal first weights take them all to the same distribution. In attention it does only
roughly, since $h_l$ is a mean of values, the larger the more alike the rows are. Without any norm it need not: let
$h_l = x_l$, with weights for which every branch adds what the embedding has, $C s_l^2 = \frac{1}{l + 1}$. Divided by
$\sqrt n$, branch $l$ multiplies the mean square by $1 + \frac{1}{n (l + 1)}$, and all together add, in units of the
embedding's,

>>> for n in (2, 8, 100):
...     print(n, round(math.prod(1 + 1 / (n * (l + 1)) for l in range(n)) - 1, 3))
2 0.875
8 0.389
100 0.053

Compare a chain without the line, where mean squares multiply: an error of ten percent in a branch is one of ten percent
in one term of a sum.

**Claim** `transformer.residual-share`. Let every branch add $\sigma^2$ in (E5), and let
$\mathbb{E}\, x_{0,c}^2 = a \sigma^2$. Branch $l = 0, 1, \dots$ brings the share $\frac{1}{l + 1 + a}$ of the mean
square of the stream behind it, and of the last stream each branch has the share $\frac{1}{n + a}$, the embedding
$\frac{a}{n + a}$.

**Proof.** Behind branch $l$ there are the embedding and $l + 1$ branches: $(a + l + 1)\, \sigma^2$, of which the last
brought $\sigma^2$; at the end $(a + n)\, \sigma^2$. $\blacksquare$

So the later a branch, the less it changes what the next one reads through a norm: about $1 / l$ of it. Divided by
$\sqrt n$, $a$ is $n$ times as large and all branches have shares between $\frac{1}{n + na}$ and $\frac{1}{1 + na}$:
more alike, and smaller. Large trained models show it. Some of their late layers can be left out at little loss.

**Claim** `transformer.branch-scale`. Let $x_{l+1} = x_l + \frac1c F_l(N_\varepsilon(x_l))$ with any functions $F_l$ and
$c > 0$, and let $x_n$ be read through $N_\varepsilon$. The network with $x'_0 = c\, x_0$ and
$x'_{l+1} = x'_l + F_l(N_{c^2 \varepsilon}(x'_l))$, read through $N_{c^2 \varepsilon}$, computes the same, and
$x'_l = c\, x_l$.

**Proof.** By `transformer.norm-invariance` $N_{c^2 \varepsilon}(c x) = N_\varepsilon(x)$. So if $x'_l = c\, x_l$, then
$x'_{l+1} = c\, x_l + F_l(N_\varepsilon(x_l)) = c\, x_{l+1}$; and the reading is the same. $\blacksquare$

In a pre-norm network only the ratio of the embedding to the branches counts, apart from $\varepsilon$. To divide the
branches by $\sqrt{2L}$ is to start with an embedding that is $\sqrt{2L}$ times as loud.

## The norm on the line

The first transformers had it there: the **post-norm** form is

$$x_{l+1} = N(x_l + f_l(x_l)). \qquad \text{(E6)}$$

**Claim** `transformer.post-norm-gradient`. Let $K_l$ be the Jacobian of the norm (without gain) at
$x_l + f_l(x_l)$, and $r_l$ the inverse size there. With $|J_l t| \le \rho_l |t|$,

$$
\bar x_0 = (I + J_0^\top) K_0 \cdots (I + J_{n-1}^\top) K_{n-1}\, g, \qquad
|\bar x_0| \le \prod_{l=0}^{n-1} r_l (1 + \rho_l) \cdot |g|. \qquad \text{(E7)}
$$

The term that skips all branches is not $g$ but $K_0 \cdots K_{n-1} g$, at most $\prod_l r_l \cdot |g|$ long. If
moreover the norm is RMSNorm with $\varepsilon = 0$, $|x_0| = \sqrt C$, and each branch is constant near $x_l$,
$f_l = b_l$ with $|b_l| = \sqrt C$ and $b_l \cdot x_l = 0$, then $\bar x_0 = 2^{-n/2} g$ for every $g$ that is
orthogonal to $x_1, \dots, x_n$. In the pre-norm form with constant branches $\bar x_0 = g$ for every $g$.

**Proof.** Each layer has the Jacobian $K_l (I + J_l)$; transpose the product, where $K_l^\top = K_l$ by
`transformer.rms-norm-backward` and `transformer.layer-norm-backward`. $|K_l t| \le r_l |t|$ by
`transformer.norm-jacobian`, and $|t + J_l^\top t| \le (1 + \rho_l) |t|$ as in (E4). Expanded, the term without any
$J_l^\top$ is the product of the $K_l$. Now the case. All $x_l$ are $\sqrt C$ long (`transformer.norm-length`), so
$|x_l + b_l|^2 = C + 0 + C$: the mean square is $2$ and $r_l = 2^{-1/2}$. As $J_l = 0$, $\bar x_0 = K_0 \cdots K_{n-1}
g$. $K_l$ multiplies by $r_l$ whatever is orthogonal to its output $x_{l+1}$, as $g$ is, and what results is a multiple
of $g$ again. With constant branches every $J_S$ in (E3) but $I$ is zero. $\blacksquare$

So the two forms promise different things. With the line left free, a branch that passes nothing back, because its
softmax or its gates are saturated, costs nothing. With norms on the line each such branch that is as large as the
stream halves the squared gradient of all that lies below. With weights of the right size there need be no such loss at
the start: the branches pass back about what the norms take. Real stacks of attention and feed-forward layers, drawn
three times each; the root mean square of the last stream, that of the cotangent at the bottom for one of size one at
the very top, and the length of the gradient of the last branch's weights, each from the smallest to the largest of the
three:

>>> def measured(depth, **form):
...     found = []
...     for seed in range(3):
...         stack = Stack(32, depth, rng=np.random.default_rng(seed), **form)
...         rng = np.random.default_rng(100 + seed)
...         x, g = rng.normal(size=(2, 4, 16, 32)).astype(np.float32)
...         sizes = sizes_by_depth(stack, x, g)
...         found.append([sizes.stream[-1], sizes.gradient[0], sizes.weights[-1]])
...     spans = zip(np.min(found, axis=0), np.max(found, axis=0), (1, 1, 0))
...     return ", ".join(f"{a:.{digits}f} to {b:.{digits}f}" for a, b, digits in spans)
>>> for depth in (8, 32):
...     print("pre ", depth, measured(depth, norm_first=True))
...     print("post", depth, measured(depth, norm_first=False))
pre  8 2.4 to 2.6, 1.2 to 1.3, 154 to 185
post 8 1.0 to 1.0, 1.3 to 1.4, 312 to 325
pre  32 4.9 to 5.1, 1.4 to 1.6, 74 to 91
post 32 1.0 to 1.0, 0.5 to 3.0, 233 to 309
>>> print("pre, scaled", measured(32, norm_first=True, scale=32**-0.5))
pre, scaled 1.2 to 1.3, 1.0 to 1.1, 238 to 289

In the pre-norm stacks the stream grows as (E5) says, and the gradient of the last weights falls like its inverse, since
the last norm divides by the size of the whole sum. The gradient that reaches the bottom is nearly the same in every
draw. In the post-norm stacks the last weights have gradients of one size, however deep the stack is, and what reaches
the bottom is a matter of luck. One rate for all layers is then hard to find, and large first steps are taken at the
top: the deeper the stack, the more do all layers together change the output. That is one reason why post-norm
transformers need a **warm-up**, small steps at first, while pre-norm ones can do with a short one.

## In practice

Residual connections are K. He's and others' (2015) and made networks of hundreds of layers trainable. GPT-2 moved the
norm into the branch, and almost all language models since are pre-norm; R. Xiong and others (2020) compare the
gradients at the start. That a sum of paths of different lengths is at work was seen by A. Veit and others (2016). Left
out: norms on both sides of a branch, streams in several parallel copies, gains on branches that start at zero, and
the scaling of DeepNet, which makes post-norm train a thousand layers deep.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from fp_attention.masks import Causal
from fp_attention.multihead import MultiHeadAttention
from fp_autograd.tensor import Tensor
from fp_autograd.tracing import Operand, value_of
from fp_neural.activations import GELU
from fp_neural.initialization import gain
from fp_neural.layers import Linear, Sequential
from fp_neural.module import Module
from fp_transformer.norms import LayerNorm, RMSNorm

__all__ = ["normalized_terms", "path_terms", "shares", "Stack", "Sizes", "sizes_by_depth"]  # the order of the page

Real = float | int


def normalized_terms(streams: Sequence[Operand], norm: LayerNorm | RMSNorm) -> Float[np.ndarray, "terms *rows C"]:
    r"""
    What the embedding and each layer contribute to the last stream behind its norm (E2).

    Parameters
    ----------
    streams
        $x_0, \dots, x_n$, each of shape `(..., C)`: in front of the first layer and behind each.
    norm
        What the last stream is read through.

    Returns
    -------
    ndarray
        Of shape `(n + 1, ..., C)`; with the norm's bias added, they sum to `norm(streams[-1])`.

    Examples
    --------
    >>> streams = [np.array([3.0, 1.0]), np.array([3.0, 4.0])]
    >>> normalized_terms(streams, RMSNorm(2, 0.0, dtype=np.float64)).round(3)
    array([[0.849, 0.283],
           [0.   , 0.849]])
    """
    x = _stacked(streams)
    terms = np.concatenate([x[:1], np.diff(x, axis=0)])
    last = x[-1]
    if isinstance(norm, LayerNorm):
        terms -= terms.mean(axis=-1, keepdims=True)
        last = last - last.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt(np.mean(last * last, axis=-1, keepdims=True) + norm.eps)
    return terms * (r * value_of(norm.weight))


def path_terms(jacobians: Float[np.ndarray, "n C C"]) -> Float[np.ndarray, "n+1 C C"]:
    r"""
    The sums of the terms of (E3) that pass through the same number of branches.

    Parameters
    ----------
    jacobians
        $J_0, \dots, J_{n-1}$.

    Returns
    -------
    ndarray
        Entry $k$ is the sum of all $J_S$ with $k$ branches in $S$; the first is $I$.

    Examples
    --------
    >>> path_terms(np.array([[[2.0]], [[3.0]], [[5.0]]])).ravel()  # (1 + 2z)(1 + 3z)(1 + 5z)
    array([ 1., 10., 31., 30.])
    """
    n, C, _ = jacobians.shape
    terms = np.zeros((n + 1, C, C), jacobians.dtype)
    terms[0] = np.eye(C)
    for l, J in enumerate(jacobians):
        terms[1 : l + 2] += J @ terms[: l + 1]  # the right side is computed before anything is added
    return terms


def shares(streams: Sequence[Operand]) -> Float[np.ndarray, " n"]:
    r"""
    Which part each layer has in the stream behind it: the mean square of what it added over that of the stream.

    Parameters
    ----------
    streams
        $x_0, \dots, x_n$, each of shape `(..., C)`.

    Returns
    -------
    ndarray
        $n$ numbers; about $\frac{1}{l + 1 + a}$ before training (`transformer.residual-share`).

    Examples
    --------
    >>> shares([np.array([3.0, 0.0]), np.array([3.0, 1.0])])
    array([0.1])
    """
    x = _stacked(streams)
    flat = x.reshape(len(x), -1)
    return np.mean(np.diff(flat, axis=0) ** 2, axis=1) / np.mean(flat[1:] ** 2, axis=1)


def _stacked(streams: Sequence[Operand]) -> np.ndarray:
    arrays = [value_of(x) for x in streams]
    if not arrays or any(x.shape != arrays[0].shape for x in arrays):
        raise ValueError(
            "streams are those in front of the first layer and behind each, at least one and all of one shape; got "
            f"{[x.shape for x in arrays]}"
        )
    return np.stack(arrays)


# --- a stack to measure


class Stack(Module):
    """
    Attention and feed-forward branches in turn, with the norms in the branches or on the line.

    Parameters
    ----------
    dim
        The width, a multiple of four, the number of heads.
    depth
        How many branches: attention, feed-forward, attention, …
    rng
        Draws the weights, so that each branch adds numbers of about the size of its input.
    norm_first
        Pre-norm (E1), with a last norm behind the stack, or post-norm (E6).
    scale
        By what the last matrix of each branch is multiplied.
    dtype
        Of the parameters.

    Attributes
    ----------
    branches, norms : list of Module
        One of each a layer.
    last : LayerNorm or None
        Behind a pre-norm stack.

    Raises
    ------
    ValueError
        If there is no branch, or heads do not divide the width.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        *,
        rng: np.random.Generator,
        norm_first: bool = True,
        scale: Real = 1.0,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"a stack has at least one branch, got depth = {depth}")
        self.norm_first = norm_first
        self.branches: list[Module] = []
        for l in range(depth):
            if l % 2 == 0:
                attention = MultiHeadAttention(dim, 4, mask=Causal(), rng=rng, dtype=dtype)
                attention.o_proj = Linear(dim, dim, bias=False, gain=scale, rng=rng, dtype=dtype)
                self.branches.append(attention)
            else:
                up = Linear(dim, 4 * dim, rng=rng, dtype=dtype)
                down = Linear(4 * dim, dim, gain=scale * gain("gelu"), rng=rng, dtype=dtype)
                self.branches.append(Sequential(up, GELU(), down))
        self.norms = [LayerNorm(dim, dtype=dtype) for _ in range(depth)]
        self.last = LayerNorm(dim, dtype=dtype) if norm_first else None

    def layer(self, l: int, x: Operand) -> Any:
        """From $x_l$ to $x_{l+1}$, of the same shape `(B, T, dim)`."""
        branch, norm = self.branches[l], self.norms[l]
        return x + branch(norm(x)) if self.norm_first else norm(x + branch(x))

    def forward(self, x: Operand) -> Any:
        """All layers, and the last norm; of the shape `(B, T, dim)` of `x`."""
        for l in range(len(self.branches)):
            x = self.layer(l, x)
        return x if self.last is None else self.last(x)


class Sizes(NamedTuple):
    """Root mean squares in a stack of $n$ layers."""

    stream: Float[np.ndarray, "n+1"]
    """Of $x_0, …, x_n$."""
    gradient: Float[np.ndarray, "n+1"]
    """Of their cotangents."""
    weights: Float[np.ndarray, " n"]
    """The length of the gradient of all parameters of each branch."""


def sizes_by_depth(stack: Stack, x: Float[np.ndarray, "B T C"], g: Float[np.ndarray, "B T C"]) -> Sizes:
    """
    Follow a stream up a stack and a cotangent down again.

    Parameters
    ----------
    stack
        The layers; their gradients are forgotten before and after.
    x
        $x_0$, in the dtype of the stack.
    g
        The cotangent of what the stack returns.

    Returns
    -------
    Sizes
        At each depth.

    Examples
    --------
    >>> stack = Stack(8, 2, rng=np.random.default_rng(0), norm_first=False)
    >>> x, g = np.random.default_rng(1).normal(size=(2, 2, 3, 8)).astype(np.float32)
    >>> sizes_by_depth(stack, x, g).stream.round(3)[1:]  # behind norms
    array([1., 1.])
    """
    stack.zero_grad()
    steps = [lambda x, l=l: stack.layer(l, x) for l in range(len(stack.branches))]
    made = [Tensor(x, requires_grad=True)]
    outs = []
    for step in steps:
        outs.append(step(made[-1]))
        made.append(Tensor(outs[-1].data, requires_grad=True))  # cut here, so that each cotangent can be seen
    if stack.last is not None:
        stack.last(made[-1]).backward(g)
    else:
        made[-1].grad = g
    for l in reversed(range(len(steps))):
        outs[l].backward(made[l + 1].grad)
    weights = [
        math.sqrt(sum(float(np.sum(p.grad**2)) for p in branch.parameters() if p.grad is not None))
        for branch in stack.branches
    ]
    stack.zero_grad()
    stream, gradient = (
        [math.sqrt(float(np.mean(a**2))) for a in arrays]
        for arrays in zip(*((t.data, t.grad) for t in made), strict=True)
    )
    return Sizes(np.array(stream), np.array(gradient), np.array(weights))
