r"""
Mixture of experts: many feed-forward layers, of which each token uses a few.

A feed-forward layer is a memory, and a wider one holds more (`transformer.memory`). But every token pays for all of it,
and uses little. Suppose that a small **router** looks at the token first and says which parts of the memory are worth
opening. How can a choice be trained, which has no slope, what keeps the router from sending everyone to the same place,
and what is saved?

You need: `fp_transformer.feedforward`, the slope of a softmax from `fp_autograd.rules`.

## Routing

There are $E$ experts $f_1, \dots, f_E$, each a gated layer with weights of its own. The router is one matrix $W_r \in
\mathbb{R}^{E \times C}$. For a token's vector $x$ let

$$r = W_r\, x, \qquad p = \operatorname{softmax}(r), \qquad S = \text{the } k \text{ experts with the largest } r_e,
\qquad \text{(E1)}$$

the smaller number first where two are equal, and

$$y = \sum_{e \in S} w_e\, f_e(x), \qquad w_e = \frac{p_e}{\sum_{h \in S} p_h} \ \text{ (renormalised)} \quad \text{or}
\quad w_e = p_e. \qquad \text{(E2)}$$

The renormalised weights are the softmax of the chosen scores alone: $\sum_h e^{r_h}$ over all experts cancels. With $k
= E$ the two are the same, and the layer is a mean of all experts.

**Claim** `transformer.router-gradient`. Let no score outside $S$ be equal to one in $S$. Then $S$ is the same for all
scores near $r$. Let $g$ be the cotangent of $y$ and $c_e = g \cdot f_e(x)$ for $e \in S$. The cotangent of $r$ is

$$
\begin{aligned}
\bar r_e &= w_e \Big( c_e - \sum_{h \in S} w_h c_h \Big) \ \text{ for } e \in S, \quad 0 \text{ for others}
&& \text{(renormalised)}, & \text{(E3)} \\
\bar r_e &= p_e \Big( [e \in S]\, c_e - \sum_{h \in S} p_h c_h \Big) \ \text{ for all } e && \text{(not)}.
& \text{(E4)}
\end{aligned}
$$

**Proof.** Let $\delta > 0$ be the smallest difference between a score in $S$ and one outside. If no score moves by
$\delta / 2$ or more, those in $S$ stay above the others. So near $r$ the sum (E2) has the same terms, and its slopes
are those with $S$ held fixed. Then $w_e$ for $e \in S$ enters $y$ by $w_e f_e(x)$ only, and has the cotangent $g \cdot
f_e(x) = c_e$. A softmax with the outcome $w$ and the cotangent $c$ of it gives its scores $w_e \big( c_e - \sum_h w_h
c_h \big)$ (`autograd.softmax-rule`). Renormalised weights are a softmax of the scores in $S$, which is (E3). Otherwise
they are entries of a softmax of all scores, whose other entries are not used and have the cotangent $0$, which is (E4).
$\blacksquare$

So the choice itself is not trained, but what is chosen is weighed, and the weights are trained: an expert that helped
more than the chosen do on the mean ($c$ is negative where $f_e$ lowers the loss) gets a higher score. In (E3) experts
that were not chosen learn nothing, of this token. And one case goes wrong:

**Claim** `transformer.router-frozen`. With $k = 1$ and renormalised weights, $\bar r = 0$: the router gets no gradient
from the output.

**Proof.** $S = \{e\}$ and $w_e = 1$, so (E3) is $1 \cdot (c_e - c_e) = 0$. $\blacksquare$

So a router that sends each token to one expert (Switch) takes $w_e = p_e$, and `MixtureOfExperts` refuses the other.

## Balance

An expert that is chosen often is trained often, gets better, and is chosen more often. Let there be $N$ tokens, with
probabilities $p_{te}$; let $\phi_e$ be the share of expert $e$ in all $k N$ choices, and $P_e = \frac1N \sum_t p_{te}$
its mean probability. To the loss one adds a small multiple of

$$L = E \sum_{e=1}^E \phi_e\, P_e. \qquad \text{(E5)}$$

**Claim** `transformer.balance-loss`. Always

$$L - 1 = \frac12 \sum_{e, h} (\phi_e - \phi_h)(P_e - P_h). \qquad \text{(E6)}$$

So $L = 1$ if $\phi$ or $P$ is uniform, and $L \ge 1$ if they are ordered alike, which means that $\phi_e > \phi_h$
never goes with $P_e < P_h$. If they are equal, $L = 1$ only if they are uniform. As the $\phi_e$ have no slope, the
cotangent of the scores is

$$\bar r_{te} = \frac{E}{N}\, p_{te} \Big( \phi_e - \sum_h p_{th}\, \phi_h \Big). \qquad \text{(E7)}$$

**Proof.** Multiply out: $\sum_{e,h} \phi_e P_e = E \sum_e \phi_e P_e = L$, and so is $\sum_{e,h} \phi_h P_h$; and
$\sum_{e,h} \phi_e P_h = \sum_e \phi_e \sum_h P_h = 1$, and so is $\sum_{e,h} \phi_h P_e$. The right side is $\frac12 (L
- 1 - 1 + L)$. If one of the two is uniform, each term has a factor zero; if they are ordered alike, no term is
negative; if they are equal, the terms are squares, and zero only if all $P_e$ are equal. $P_e$ has the slope $\frac1N$
in each $p_{te}$, so the cotangent of $p_{te}$ is $\frac{E}{N} \phi_e$, and `autograd.softmax-rule` gives (E7).
$\blacksquare$

(E7) lowers, for each token, the scores of experts that are chosen more often than this token's mean expert, and raises
the others. That the two are ordered alike is a hypothesis; where a few tokens are sure and many are in doubt, it may
fail, and then $L < 1$ without balance:

>>> p = np.array([[0.51, 0.49], [0.51, 0.49], [0.0, 1.0]])
>>> round(float(balance_loss(p, np.array([[0], [0], [1]]))), 3)
0.893

## What is saved

**Claim** `transformer.mixture-count`. With gated experts of width $F$ the layer has $3 E C F + E C$ parameters, of
which a token is multiplied by $3 k C F + E C$.

**Proof.** Three matrices of $C F$ each for an expert, $E C$ for the router. All rows of the router and $k$ experts are
used, each weight once. $\blacksquare$

In Mixtral 8x7B, $C = 4096$, $F = 14336$, $E = 8$ and $k = 2$; of one such layer's weights a token uses a quarter, and
the router is nothing beside the experts:

>>> C, F, E, k = 4096, 14336, 8, 2
>>> round((3 * k * C * F + E * C) / (3 * E * C * F + E * C), 5), f"{E * C / (3 * E * C * F):.0e}"
(0.25002, '2e-05')

The price is memory, and disorder: the tokens of a batch have to be sorted by expert. Here each expert takes its tokens
as rows of one product, so there is a loop over experts and none over tokens.

## In practice

N. Shazeer and others, 2017; Switch (W. Fedus and others, 2021) has $k = 1$, Mixtral (2024) 8 experts with $k = 2$,
DeepSeek-V3 256 small ones with $k = 8$ and one that everyone uses. On many machines an expert has a fixed **capacity**,
a number of places such as $1.25\, k N / E$, so that arrays have known sizes; tokens beyond it are **dropped**, their
$y$ is $0$, and the residual stream carries them past the layer. Here nobody is dropped. Noise on the scores, a penalty
on large scores ($\ln^2 \sum_e e^{r_e}$), and balancing by a bias that takes part in the choice only (DeepSeek-V3) are
left out.
"""

from typing import Any, NamedTuple

import numpy as np

from fp_autograd.rules import concatenate, scatter, softmax
from fp_autograd.tracing import Operand, value_of
from fp_neural.layers import Linear
from fp_neural.module import Module
from fp_transformer.feedforward import SwiGLU

__all__ = ["MixtureOfExperts", "Routing", "balance_loss", "reference_mixture"]  # the order of the page


class Routing(NamedTuple):
    """Who was sent where: N tokens, E experts, k choices each."""

    probabilities: Any
    """$p$, of shape (N, E), array or box."""
    chosen: np.ndarray
    """$S$, of shape (N, k), int64: the numbers of the experts, the best first."""
    weights: Any
    """$w$, of shape (N, k), array or box, in the order of `chosen`."""


class MixtureOfExperts(Module):
    r"""
    A layer of gated experts, `k` of them for each token (E2).

    Parameters
    ----------
    dim
        $C$, the width of the input and of the output.
    hidden
        $F$, the width of each expert.
    n_experts
        $E$.
    k
        How many experts a token uses.
    rng
        Draws the weights. None leaves them at zero, for those that will be loaded.
    renormalise
        Whether the weights of the chosen sum to one; by default if `k > 1`.
    dtype
        Of the parameters.

    Attributes
    ----------
    router : Linear
        Its weight is $W_r$, of shape (E, C).
    experts : list of SwiGLU
        $f_1, \dots, f_E$.
    k : int
        As given.
    renormalise : bool
        As given.

    Raises
    ------
    ValueError
        If a size is not positive, `k` is larger than `n_experts`, or a single choice is renormalised
        (`transformer.router-frozen`).

    Examples
    --------
    >>> layer = MixtureOfExperts(6, 11, n_experts=5, k=2, rng=np.random.default_rng(0))
    >>> x = np.random.default_rng(1).normal(size=(2, 7, 6)).astype(np.float32)
    >>> y, routing = layer.routed(x)
    >>> y.shape, routing.chosen.shape
    ((2, 7, 6), (14, 2))
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        n_experts: int,
        k: int,
        *,
        rng: np.random.Generator | None,
        renormalise: bool | None = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        if not 1 <= k <= n_experts:
            raise ValueError(f"a token uses at least one and at most all experts, got k={k} of n_experts={n_experts}")
        if renormalise and k == 1 < n_experts:
            raise ValueError(
                "a single choice whose weight is renormalised to one leaves the router without a gradient: "
                "use renormalise=False, or k=2"
            )
        self.k, self.renormalise = k, k > 1 if renormalise is None else renormalise
        self.router = Linear(dim, n_experts, bias=False, rng=rng, dtype=dtype)
        self.experts = [SwiGLU(dim, hidden, rng=rng, dtype=dtype) for _ in range(n_experts)]

    @property
    def n_active(self) -> int:
        """How many weights a token is multiplied by (`transformer.mixture-count`)."""
        return self.router.n_parameters + self.k * self.experts[0].n_parameters

    def route(self, rows: Operand) -> Routing:
        """
        Choose and weigh (E1), (E2).

        Parameters
        ----------
        rows
            Tokens, of shape (N, C).

        Returns
        -------
        Routing
            With a gradient through probabilities and weights.
        """
        r = self.router(rows)
        chosen = np.argsort(-_plain(r), axis=1, kind="stable")[:, : self.k]
        at = (np.arange(len(chosen))[:, None], chosen)
        p = softmax(r)
        return Routing(p, chosen, softmax(r[at]) if self.renormalise else p[at])

    def routed(self, x: Operand) -> tuple[Any, Routing]:
        """
        The output and the routing that led to it, for `balance_loss`.

        Parameters
        ----------
        x
            Of shape `(..., C)`.

        Returns
        -------
        y : ndarray or Box
            Of the shape of `x`.
        routing : Routing
            Of its tokens in order, `N` of them.
        """
        rows = x.reshape((-1, np.shape(x)[-1]))  # (N, C)
        routing = self.route(rows)
        found, whose = [], []
        for e, expert in enumerate(self.experts):
            token, place = np.nonzero(routing.chosen == e)
            if len(token):  # an expert without tokens has nothing to do, and learns nothing
                found.append(expert(rows[token]) * routing.weights[token, place][:, None])
                whose.append(token)
        if not found:
            return x * 0, routing
        y = scatter(concatenate(found), np.concatenate(whose), rows.shape)  # adds a token's experts
        return y.reshape(np.shape(x)), routing

    def forward(self, x: Operand) -> Any:
        """Of shape `(..., dim)`, as the input."""
        return self.routed(x)[0]


def balance_loss(probabilities: Operand, chosen: np.ndarray) -> Any:
    """
    How unevenly the experts are used (E5); 1 for even use.

    Parameters
    ----------
    probabilities
        $p$ of a `Routing`, of shape (N, E).
    chosen
        Its choices, of shape (N, k).

    Returns
    -------
    number or Box
        $L$, with a gradient through the probabilities (E7).

    Raises
    ------
    ValueError
        If there is no token, the two do not fit, or a choice is no expert.

    Examples
    --------
    >>> p = np.full((4, 2), 0.5)
    >>> float(balance_loss(p, np.array([[0], [1], [0], [1]])))
    1.0
    """
    if np.ndim(probabilities) != 2 or np.ndim(chosen) != 2 or not 0 < len(chosen) == np.shape(probabilities)[0]:
        raise ValueError(
            "balance is that of at least one token, with probabilities of shape (N, E) and choices of shape (N, k); "
            f"got {np.shape(probabilities)} and {np.shape(chosen)}"
        )
    E = np.shape(probabilities)[1]
    if not 0 <= chosen.min() <= chosen.max() < E:
        raise ValueError(f"choices are numbers of experts from 0 to {E - 1}, got {chosen.min()} to {chosen.max()}")
    share = np.bincount(chosen.ravel(), minlength=E) / chosen.size
    return (probabilities.mean(axis=0) * share.astype(_plain(probabilities).dtype)).sum() * E


def reference_mixture(layer: MixtureOfExperts, x: Operand) -> Any:
    """
    What `layer` computes, by (E2) line by line: every expert on every token, and a zero for those not chosen.

    Parameters
    ----------
    layer
        Whose router and experts.
    x
        Of shape (N, C).

    Returns
    -------
    ndarray or Box
        Of shape (N, C): the same numbers up to rounding.
    """
    r = layer.router(x)
    order = np.argsort(-_plain(r), axis=1, kind="stable")
    in_S = np.zeros(np.shape(r))
    np.put_along_axis(in_S, order[:, : layer.k], 1, axis=1)
    w = softmax(r) * in_S
    if layer.renormalise:
        w = w / w.sum(axis=1, keepdims=True)
    total: Any = 0
    for e, expert in enumerate(layer.experts):
        total = total + w[:, e : e + 1] * expert(x)
    return total


def _plain(x: Operand) -> np.ndarray:
    """The numbers alone, for a choice that has no slope."""
    return np.asarray(value_of(x))
