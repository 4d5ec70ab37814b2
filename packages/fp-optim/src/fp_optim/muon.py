r"""
Muon: the steepest step when a matrix is measured by what it does.

A weight matrix is not a list of numbers: it is a map, and what matters of a change $D$ is how much it can change the
output, $\lVert D x \rVert$ against $\lVert x \rVert$. That is the spectral norm. This section derives the step of
steepest descent under it, which is an orthogonal matrix, and the few matrix products that compute it nearly, without
ever computing a singular value.

You need: the spectral norm (`optim.spectral-norm`), the singular value decomposition (`neural.svd`), momentum
(`fp_optim.momentum`).

## Steepest descent depends on the ruler

For a matrix $G$ of gradients, a small change $D$ changes the loss by $\langle G, D \rangle = \sum_{ij} G_{ij} D_{ij}$.
The steepest descent step is the $D$ of length one that makes this smallest. With the length
$\lVert D \rVert_F = (\sum D_{ij}^2)^{1/2}$ and $G \ne 0$ it is $-G / \lVert G \rVert_F$, gradient descent: by
Cauchy-Schwarz $\langle G, D \rangle \ge -\lVert G \rVert_F \lVert D \rVert_F = -\lVert G \rVert_F$, and this $D$
attains it. Now measure $D$ by the spectral norm $\lVert D \rVert_2$, the most by which it stretches a vector. Let
$G = U \Sigma V^\top = \sum_{i=1}^{r} \sigma_i u_i v_i^\top$ be the thin singular value decomposition of `neural.svd`,
$\sigma_i > 0$, with orthonormal $u_i$ and orthonormal $v_i$.

**Claim** `optim.muon-steepest`. Among all $D$ with $\lVert D \rVert_2 \le 1$, $D = -U V^\top$ makes
$\langle G, D \rangle$ smallest, and the value is $-\sum_i \sigma_i$.

**Proof.** Since $\langle u v^\top, D \rangle = \sum_{jk} u_j v_k D_{jk} = u^\top D v$,

$$
\langle G, D \rangle = \sum_i \sigma_i\, u_i^\top D v_i \ge - \sum_i \sigma_i \lVert u_i \rVert \lVert D v_i \rVert
  \ge - \sum_i \sigma_i,
$$

by Cauchy-Schwarz and because $\lVert D v_i \rVert \le \lVert D \rVert_2 \lVert v_i \rVert \le 1$. For $D = -U V^\top$
we have $D v_i = -u_i$, so $u_i^\top D v_i = -1$ and both inequalities are equalities. It is allowed: for
$\lVert x \rVert = 1$, $\lVert U V^\top x \rVert = \lVert V^\top x \rVert \le 1$, because the columns of $U$ are
orthonormal, and the coordinates of $x$ along the orthonormal $v_i$ have squares that sum to at most
$\lVert x \rVert^2$. $\blacksquare$

The dual norm of the spectral norm, (E2) of `fp_optim.norms`, is thus the sum of the singular values. All directions in
which the gradient says anything get the same step, however little it says: where gradient descent follows the few large
singular values, this step also moves along the many small ones.

## Getting there by multiplication

A singular value decomposition of every matrix at every step is dear. Odd polynomials of a matrix are cheap, and they
act on the singular values alone:

**Claim** `optim.muon-polynomial`. Let $p(\sigma) = a \sigma + b \sigma^3 + c \sigma^5$ and $X = U \Sigma V^\top$. Then

$$
a X + b\, (X X^\top) X + c\, (X X^\top)^2 X = U p(\Sigma) V^\top. \qquad \text{(E1)}
$$

**Proof.** $X X^\top = U \Sigma V^\top V \Sigma U^\top = U \Sigma^2 U^\top$, because $V^\top V = I$. So
$(X X^\top) X = U \Sigma^2 U^\top U \Sigma V^\top = U \Sigma^3 V^\top$, because $U^\top U = I$, and once more
$(X X^\top)^2 X = U \Sigma^5 V^\top$. Add. $\blacksquare$

It remains to find a $p$ whose iteration drives every $\sigma \in (0, 1]$ towards 1, and to start in that range:

**Claim** `optim.muon-start`. The singular values of $G / \lVert G \rVert_F$, $G \ne 0$, lie in $[0, 1]$.

**Proof.**
$\lVert G \rVert_F^2 = \operatorname{tr}(G^\top G) = \operatorname{tr}(V \Sigma^2 V^\top) = \sum_i \sigma_i^2$, so
every $\sigma_i \le \lVert G \rVert_F$. $\blacksquare$

The simplest such $p$ is the cubic of Newton and Schulz, $a = \frac32$, $b = -\frac12$, $c = 0$:

$$\sigma_{k+1} = \tfrac12\, \sigma_k\, (3 - \sigma_k^2). \qquad \text{(E2)}$$

**Claim** `optim.newton-schulz`. From every $\sigma_0$ in $(0, \sqrt3)$, (E2) tends to $1$. All $\sigma_k$ with
$k \ge 1$ lie in $(0, 1]$, and $0 \le 1 - \sigma_{k+1} \le \frac32 (1 - \sigma_k)^2$ for these. From
$\sigma_0 = \sqrt3$ it goes to $0$ and stays there, and from $\sqrt3 < \sigma_0 \le 2$ it tends to $-1$. So if the
singular values of $X_0 = U \Sigma V^\top$, of which the thin decomposition holds those that are not zero, are less than
$\sqrt3$, then $X_{k+1} = \frac32 X_k - \frac12 (X_k X_k^\top) X_k$ tends to $U V^\top$.

**Proof.** Multiplied out, $(1 - \sigma)^2 (2 + \sigma) = 2 - 3 \sigma + \sigma^3$, so

$$1 - \sigma_{k+1} = \tfrac12\, (1 - \sigma_k)^2\, (2 + \sigma_k). \qquad \text{(E3)}$$

For $0 < \sigma_k < \sqrt3$ the right side of (E2) is positive and that of (E3) not negative: $0 < \sigma_{k+1} \le 1$.
As $1 < \sqrt3$, this goes on for all later $k$. For $k \ge 1$ insert $2 + \sigma_k \le 3$ into (E3). And
$\sigma_{k+1} - \sigma_k = \frac12 \sigma_k\, (1 - \sigma_k^2) \ge 0$, so $\sigma_k \ge \sigma_1$, and by (E3)

$$
1 - \sigma_{k+1} = (1 - \sigma_k) \cdot \tfrac12\, (2 - \sigma_k - \sigma_k^2)
  \le (1 - \sigma_k) \big( 1 - \tfrac12 \sigma_1 \big).
$$

The last factor is below $1$ and does not depend on $k$: $1 - \sigma_k \to 0$. From $\sqrt3$, $\sigma_1 = 0$. From
$\sqrt3 < \sigma_0 \le 2$, $\sigma_1 < 0$ by (E2) and $1 - \sigma_1 \le \frac12 \cdot 1 \cdot 4 = 2$ by (E3), so
$-\sigma_1$ lies in $(0, 1]$; changing the sign of $\sigma_k$ changes that of $\sigma_{k+1}$, so $-\sigma_k \to 1$. For
the matrices, (E1) says $X_k = U \Sigma_k V^\top$ with each singular value following (E2). $\blacksquare$

Near $1$ each iteration squares the error. But near zero it multiplies by $1.5$ only, and to come from $0.01$ above
$0.9$ takes, in iterations,

>>> sigma, count = 0.01, 0
>>> while sigma < 0.9:
...     sigma, count = 0.5 * sigma * (3 - sigma**2), count + 1
>>> count
13

Muon's $p$ was tuned for speed: $a = 3.4445$, $b = -4.7750$, $c = 2.0315$. Near zero it multiplies by $3.4445$, so even
$\sigma = 0.01$ arrives within five iterations. The price is that it does not converge: $p(1) \approx 0.70$. It only
brings the singular values into a band around 1.

**Claim** `optim.muon-band`. Five iterations map every $\sigma \in [0.01, 1]$ into $[0.6818, 1.1344]$.

**Proof.** The image of an interval under a continuous function is an interval (it takes every value between its
smallest and its largest), and these two are found at an end of the interval or at a critical point inside. The
derivative $p'(\sigma) = a + 3 b \sigma^2 + 5 c \sigma^4$ is a quadratic in $\sigma^2$; its positive zeros are

$$
\sigma_\pm = \sqrt{\frac{-3 b \pm \sqrt{9 b^2 - 20 a c}}{10 c}}, \qquad \sigma_- \approx 0.5545, \quad
\sigma_+ \approx 1.0501. \qquad \text{(E4)}
$$

So the exact image takes four evaluations of $p$ at most. `band` does this five times; the intervals are those of its
example, and the last one lies in the band with more than $10^{-5}$ to spare at either end.

Rounding does not use that up. All intervals lie in $[0, 1.2024]$, where $|p'| \le 4$: as a quadratic in $\sigma^2$ it
is largest or smallest at an end or at its vertex, and there $p'(0) = 3.4445$, $p'(1.2024) < 3.97$, and
$a - \frac{9 b^2}{20 c} > -1.61$. So an iteration passes on at most four times the error of its interval, and adds that
of evaluating a few terms of size 10 at most with a relative precision of $2^{-53}$, which is less than $10^{-13}$.
Five iterations are off by less than $(1 + 4 + 16 + 64 + 256) \cdot 10^{-13} < 10^{-10}$. $\blacksquare$

So among the singular values from $0.01\, \lVert G \rVert_F$ on, which differ by up to a hundredfold, the step's lengths
differ by a factor of at most 1.7. Smaller ones may end anywhere in $[0, 1.2024]$, which $p$ maps into itself, and a
zero stays zero. They are not rare: in a square matrix of independent normal numbers their share is

>>> G = np.random.default_rng(0).normal(size=(128, 128))
>>> small = np.linalg.svd(G, compute_uv=False) < 0.01 * np.linalg.norm(G)
>>> ends = np.linalg.svd(orthogonalize(G), compute_uv=False)
>>> f"{small.mean():.0%} below 0.01, ends from {ends.min():.2f} to {ends.max():.2f}"
'8% below 0.01, ends from 0.08 to 1.18'

and grows with the size, to 14% at 512. These directions, about which the gradient says least, may get less than
a full step: the price of stopping after five iterations.

## The step

With momentum $\mu$, in Nesterov's form, and decoupled decay as in `optim.decoupled-decay`:

$$
\begin{aligned}
B_t &= \mu B_{t-1} + G_t, \qquad U_t = G_t + \mu B_t, &\text{(E5)} \\
W_t &= (1 - \eta \lambda) W_{t-1} - \eta\, s\, \operatorname{orthogonalize}(U_t), \qquad
s = \sqrt{\max(1, \text{outputs} / \text{inputs})}. &\text{(E6)}
\end{aligned}
$$

Averaging, $B_t = \mu B_{t-1} + (1 - \mu) G_t$ with $U_t = (1 - \mu) G_t + \mu B_t$, gives $1 - \mu$ times the same
$U_t$ and so the same step. The scale $s$ is for matrices with more outputs than inputs: an orthonormal $D$ of $m$
outputs and $n < m$ inputs has $\lVert D x \rVert = \lVert x \rVert$, but spreads this length over more numbers, so
that the output's root mean square is only $\sqrt{n / m}$ of the input's. The factor makes up for it.

Muon is for matrices that map activations to activations. Embeddings (whose rows are looked up, not multiplied), the
output layer and everything with one axis are left to `fp_optim.adaptive.AdamW`.

## In practice

Trained in bfloat16 on GPUs, the iteration is a negligible part of the time; on a CPU in float32 it is not, so matrices
of one shape are done as a stack, the iteration runs on the shorter side, and all its arrays are kept from step to
step. The rates of Muon are larger than Adam's, since a step has spectral norm about $\eta$ whatever the size of the
matrix; other scales exist that let it share Adam's.

References: Jordan et al., *Muon: An optimizer for hidden layers in neural networks* (2024); Bernstein and Newhouse,
*Old Optimizer, New Norm* (arXiv 2409.20325).
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from fp_optim._named import check_parameters
from fp_optim.optimizer import Array, Optimizer

__all__ = ["Muon", "orthogonalize", "polar_factor", "band"]

A, B, C = 3.4445, -4.7750, 2.0315


def orthogonalize(G: Float[np.ndarray, "*stack M N"], n_iterations: int = 5) -> Float[np.ndarray, "*stack M N"]:
    """
    Nearly the orthogonal factor $U V^T$ of each matrix: its singular values brought into a band around 1 (E1).

    Parameters
    ----------
    G
        A matrix or a stack of them.
    n_iterations
        How often (E1) is applied; 5 is what `optim.muon-band` is about.

    Returns
    -------
    ndarray
        Of the shape and dtype of `G`; computed in this dtype. Zero for a zero matrix.

    Examples
    --------
    >>> G = np.random.default_rng(0).normal(size=(3, 5, 7))
    >>> sigma = np.linalg.svd(orthogonalize(G), compute_uv=False)
    >>> bool(sigma.min() > 0.68), bool(sigma.max() < 1.14)
    (True, True)
    """
    if n_iterations < 0:
        raise ValueError(f"n_iterations must not be negative, got {n_iterations}")
    tall = G.shape[-2] > G.shape[-1]
    X = np.array(G.swapaxes(-1, -2) if tall else G, order="C")
    _Workspace(X.shape, X.dtype).iterate(X, n_iterations)
    return X.swapaxes(-1, -2) if tall else X


def polar_factor(G: Float[np.ndarray, "*stack M N"]) -> Float[np.ndarray, "*stack M N"]:
    """
    Exactly $U V^T$, by a singular value decomposition: what `orthogonalize` approaches, for matrices of full rank.

    Examples
    --------
    >>> polar_factor(np.array([[0.0, -5.0], [2.0, 0.0]])).round(12) + 0.0
    array([[ 0., -1.],
           [ 1.,  0.]])
    """
    U, _, Vt = np.linalg.svd(G, full_matrices=False)
    return U @ Vt


def band(low: float, high: float, n_iterations: int = 5) -> list[tuple[float, float]]:
    """
    The exact range of singular values after each iteration, for those that start in `[low, high]` (`optim.muon-band`).

    Examples
    --------
    >>> for low, high in band(0.01, 1.0):
    ...     print(f"{low:.5f} {high:.5f}")
    0.03444 1.20237
    0.11843 1.20237
    0.40006 1.20237
    0.68183 1.20237
    0.68183 1.13436
    """
    root = math.sqrt(9 * B * B - 20 * A * C)
    critical = (math.sqrt((-3 * B - root) / (10 * C)), math.sqrt((-3 * B + root) / (10 * C)))  # (E4)
    intervals = []
    for _ in range(n_iterations):
        candidates = [low, high, *(sigma for sigma in critical if low < sigma < high)]
        values = [A * sigma + B * sigma**3 + C * sigma**5 for sigma in candidates]
        low, high = min(values), max(values)
        intervals.append((low, high))
    return intervals


class _Workspace:
    """The arrays that the iteration needs for matrices of one shape, not taller than wide."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        square = (*shape[:-1], shape[-2])
        self.S, self.P = np.empty(square, dtype), np.empty(square, dtype)
        self.Y = np.empty(shape, dtype)

    def iterate(self, X: np.ndarray, n_iterations: int) -> None:
        """Normalise by the Frobenius norm (`optim.muon-start`), then apply (E1), in place."""
        S, P, Y = self.S, self.P, self.Y
        np.abs(X, out=Y)
        size = Y.max(axis=(-2, -1), keepdims=True, initial=0.0)
        np.divide(X, size, out=X, where=size > 0)  # so that no square overflows, and not all of them vanish
        np.multiply(X, X, out=Y)
        norm = np.sqrt(Y.sum(axis=(-2, -1), keepdims=True))
        np.divide(X, norm, out=X, where=norm > 0)
        for _ in range(n_iterations):
            np.matmul(X, X.swapaxes(-1, -2), out=S)  # S = X X^T
            np.matmul(S, S, out=P)
            P *= C
            S *= B
            P += S  # P = b S + c S^2
            np.matmul(P, X, out=Y)
            X *= A
            X += Y


class Muon(Optimizer):
    """
    Muon (E5), (E6) on named matrices, in place and without allocating.

    Parameters
    ----------
    parameters
        Name to array with two axes; the arrays are updated where they are.
    lr
        Learning rate, not negative. The attribute `lr` may be changed at any time.
    momentum
        $\\mu$, in `[0, 1)`.
    nesterov
        Whether the step looks ahead, as in (E5); otherwise $U_t = B_t$.
    weight_decay
        The strength of the decoupled decay, not negative.
    n_iterations
        How often (E1) is applied, at least 1.
    outputs
        Which axis counts the outputs, for the scale $s$ in (E6): `"rows"` for matrices stored (out, in), as Llama's and
        PyTorch's `Linear` are, `"columns"` for (in, out), as GPT-2's are.
    **common
        `groups`, `decay` and `check_finite` of `fp_optim.optimizer.Optimizer`.

    Raises
    ------
    ValueError
        If a number is out of range, or a parameter has not two axes or cannot be updated in place.

    Examples
    --------
    >>> W = np.zeros((2, 2))
    >>> Muon({"W": W}, lr=0.1).step({"W": np.array([[3.0, 0.0], [0.0, 1e-1]])})
    >>> bool((abs(np.diag(W)) > 0.068).all())  # both directions move, though one gradient is thirty times the other
    True
    """

    STATE = ("momentum",)

    def __init__(
        self,
        parameters: Mapping[str, Array],
        lr: float | int = 0.02,
        momentum: float | int = 0.95,
        nesterov: bool = True,
        weight_decay: float | int = 0.0,
        n_iterations: int = 5,
        outputs: Literal["rows", "columns"] = "rows",
        **common: Any,
    ) -> None:
        check_parameters(parameters)
        for name, array in parameters.items():
            if array.ndim != 2 or not array.size:
                raise ValueError(
                    f"Muon is for matrices, parameter {name} has shape {array.shape}; give it to AdamW instead"
                )
        super().__init__(
            parameters, lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, n_iterations=n_iterations,
            outputs=outputs, **common,
        )  # fmt: skip

    def _prepare(self) -> None:
        super()._prepare()
        self._stacks = [_Stack(names, self.parameters) for names in self._alike()]

    def check(  # type: ignore[override]
        self, momentum: float | int, nesterov: bool, n_iterations: int, outputs: str
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        if n_iterations < 1:
            raise ValueError(f"n_iterations must be at least 1, got {n_iterations}")
        if outputs not in ("rows", "columns"):
            raise ValueError(f"outputs must be 'rows' or 'columns', got {outputs!r}")

    def _alike(self) -> list[list[str]]:
        """Names of parameters that are iterated together."""
        groups: dict[tuple[tuple[int, ...], np.dtype, int], list[str]] = {}
        for name, array in self.parameters.items():
            groups.setdefault((array.shape, array.dtype, self.options[name]["n_iterations"]), []).append(name)
        return list(groups.values())

    def step(self, grads: Mapping[str, Float[np.ndarray, "..."]], lr: float | None = None) -> None:
        """
        Update every parameter by (E5) and (E6).

        Parameters
        ----------
        grads
            Name to gradient, one per parameter. They are only read.
        lr
            The rate of this step; the attribute `lr` if not given.

        Raises
        ------
        ValueError
            If a gradient is missing, unexpected, misshapen or (if asked for) not finite. Nothing has changed then.
        """
        lr = self._begin(grads, lr)
        for stack in self._stacks:
            for name, U in zip(stack.names, stack.updates, strict=True):
                G, buffer, options = grads[name], self.state["momentum"][name], self.options[name]
                buffer *= options["momentum"]  # (E5)
                buffer += G
                if options["nesterov"]:
                    np.multiply(buffer, options["momentum"], out=U)
                    U += G
                else:
                    U[...] = buffer
            stack.workspace.iterate(stack.X, self.options[stack.names[0]]["n_iterations"])
            for name, U in zip(stack.names, stack.updates, strict=True):
                W, options = self.parameters[name], self.options[name]
                rows, columns = W.shape
                ratio = rows / columns if options["outputs"] == "rows" else columns / rows
                rate = lr * options["lr_scale"]
                if options["weight_decay"]:
                    W *= 1 - rate * options["weight_decay"]  # (E6)
                U *= rate * math.sqrt(max(1.0, ratio))
                W -= U


class _Stack:
    """Room for the updates of all parameters of one shape, turned so that they are not taller than wide."""

    def __init__(self, names: list[str], parameters: Mapping[str, np.ndarray]) -> None:
        first = parameters[names[0]]
        rows, columns = first.shape
        self.names = names
        self.X = np.empty((len(names), min(rows, columns), max(rows, columns)), first.dtype)
        self.updates = self.X.swapaxes(-1, -2) if rows > columns else self.X  # a view in the parameters' own shape
        self.workspace = _Workspace(self.X.shape, first.dtype)
