r"""
LoRA: a matrix that stays, and two thin ones that learn.

The matrix $W$ of a trained model holds what was learned from all of its text. A new task needs a change of it, and if
that change is near to low rank (`fp_peft.low_rank`), two thin factors can hold it. They are trained alone; $W$ stays.
What are their gradients, how do they begin so that the model is at first the one that it was, and why must one of them
begin at zero but not both?

You need: `fp_peft.low_rank`, `neural.linear-gradient`, `fp_autograd.extend`.

## The layer

A linear layer with weights $W \in \mathbb{R}^{m \times n}$ and biases $b$ gets the factors $A \in \mathbb{R}^{r \times
n}$, $B \in \mathbb{R}^{m \times r}$, and a number $s = \alpha / r$. For inputs that are the rows of $X$,

$$
\begin{aligned}
H &= X A^\top, && \text{(E1)} \\
Y &= X W^\top + 1 b^\top + s\, H B^\top, && \text{(E2)}
\end{aligned}
$$

which is the layer with the weights $W + s\, B A$, since $H B^\top = X A^\top B^\top = X (B A)^\top$. The product $B A$
is never formed: (E1) and (E2) take $r (n + m)$ multiplications for a row beside the $n m$ of the frozen part.

The factor $\alpha / r$ is a convention: it keeps the size of the update about the same if $r$ is changed, so that a
rate found for one rank serves another.

**Claim** `peft.lora-gradient`. Let $G$ be the cotangent of $Y$. Then

$$
\bar B = s\, G^\top H, \qquad \bar H = s\, G B, \qquad \bar A = \bar H^\top X, \qquad
\bar X = G W + \bar H A. \qquad \text{(E3)}
$$

**Proof.** (E2) is a sum, so its terms receive $G$ each (`autograd.sum-rule`). The last term is $s$ times a linear layer
with the input $H$ and the weights $B$: by `neural.linear-gradient` $\bar B = (s G)^\top H$ and $\bar H = s\, G B$. (E1)
is a linear layer with the input $X$ and the weights $A$: $\bar A = \bar H^\top X$, and it hands $\bar H A$ to $X$. The
first term of (E2) hands $G W$ to $X$ as well, and the two add (`autograd.copy-rule`). $\blacksquare$

Written without $H$ these are $\bar B = s\, G^\top X A^\top$ and $\bar A = s\, B^\top G^\top X$: the gradient
$\bar W = G^\top X$ of the frozen matrix, seen through the other factor, $\bar B = s\, \bar W A^\top$ and $\bar A = s\,
B^\top \bar W$. It is never computed: $G^\top X$ has $m n$ numbers for each row of the batch to add to, $G^\top H$ has
$m r$. And $\bar X$ is complete: leave out $\bar H A$ and everything *below* the layer is trained with a wrong gradient,
which no check of $\bar A$ and $\bar B$ would notice.

## Where the factors begin

**Claim** `peft.lora-identity`. If $B = 0$ and $X$, $A$ are finite with finite $X A^\top$, then $Y$ equals $X W^\top + 1
b^\top$ as computed, number for number in floating point.

**Proof.** Every entry of $H B^\top$ is a sum of products $h \cdot 0$ with finite $h$, which are $0$ or $-0$; so is
their sum, and $s$ times it. To add $0$ or $-0$ to a floating-point number gives a number that is equal to it.
$\blacksquare$

**Claim** `peft.one-zero-factor`. Let $\bar W = G^\top X$ be the gradient that $W$ would have.

1. If $B = 0$, then $\bar A = 0$ and $\bar B = s\, \bar W A^\top$, which is zero exactly if every row of $\bar W$ is
   perpendicular to every row of $A$.
2. If $A = 0$ and $B = 0$, then $\bar A = 0$ and $\bar B = 0$, whatever the loss. Every method whose step is a function
   of present and past gradients, and zero if these are zero, stays there for ever.
3. From $B = 0$, a step of gradient descent with the rate $\eta$ leaves $A$ as it is and changes the weights $W + s B A$
   by

$$-\eta\, s^2\, \bar W A^\top A. \qquad \text{(E4)}$$

**Proof.** (E3), with $\bar H = s\, G B$: it vanishes with $B$, and $\bar A = \bar H^\top X$ with it; $\bar B = s\,
G^\top X A^\top = s\, \bar W A^\top$ vanishes with $A$. In (1), the entries of $\bar W A^\top$ are the products of a
row of $\bar W$ with a row of $A$, and $s \ne 0$. (2) By induction all gradients are zero and no step is made. (3) $B$
becomes $-\eta \bar B = -\eta\, s\, \bar W A^\top$, and $s B A$ is (E4). $\blacksquare$

So the first step is the step of full fine-tuning, $-\eta \bar W$, with every row multiplied by $s^2 A^\top A$: what it
would do to inputs is kept for the $r$ directions in the span of the rows of $A$ and lost for the others. $A$ begins at
random, so that these directions are no particular ones, and moves as soon as $B$ has.

>>> rng = np.random.default_rng(0)
>>> layer = LoRALinear(Linear(6, 5, rng=rng).freeze(), rank=2, scale=2.0, rng=rng)
>>> x = np.ones((3, 6), np.float32)
>>> bool((layer(x).data == layer.base(x).data).all())
True
>>> (layer(x) ** 2).sum().backward()
>>> [bool(np.any(p.grad)) for p in (layer.lora_A, layer.lora_B)], layer.base.weight.grad
([False, True], None)

## In practice

`peft`, Hugging Face's library, has the same names, and draws $A$ evenly between $-1/\sqrt n$ and $1/\sqrt n$; here it
is normal with the deviation $1/\sqrt n$, so that $H$ has the mean square of $X$ (`autograd.neuron-variance`). The paper
adapted queries and values of attention; later practice adapts all matrices of the blocks, which helps more than a
higher rank. Ranks are 4 to 64, $\alpha$ equal to $r$ or twice that. With `rank_stabilized` the factor is $\alpha /
\sqrt r$ (D. Kalajdzievski, 2023): for large ranks $\alpha / r$ makes the updates too small. LoRA+ (S. Hayou and others,
2024) gives $B$ a higher rate than $A$; DoRA (S.-Y. Liu and others, 2024) trains the lengths of the columns as well;
QLoRA (T. Dettmers and others, 2023) keeps the frozen $W$ in four bits.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fp_autograd.extend import operation
from fp_autograd.rules import matmul
from fp_autograd.tracing import Operand
from fp_neural.dropout import Dropout
from fp_neural.layers import Linear, linear
from fp_neural.module import Module, Parameter

__all__ = ["LoRA", "lora_linear", "reference_lora_linear", "LoRALinear", "LINEAR_PARTS"]  # the order of the page

Real = float | int
LINEAR_PARTS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a block; a GPT-2 has no `gate_proj`."""


@dataclass(frozen=True)
class LoRA:
    r"""
    What to add to a model, and where: two thin factors beside linear layers of every block.

    Parameters
    ----------
    rank
        $r$, at least 1.
    alpha
        $\alpha > 0$; the update is multiplied by $\alpha / r$. As `rank` by default.
    targets
        Names of linear layers out of `LINEAR_PARTS`, or `"all"`.
    dropout
        With which probability an entry of the input of $A$ is dropped in training.
    rank_stabilized
        Multiply by $\alpha / \sqrt r$ instead.

    Raises
    ------
    ValueError
        If a number is out of its range, or a target is unknown.

    Examples
    --------
    >>> LoRA(rank=8, alpha=16, targets=["q_proj", "v_proj"]).scale
    2.0
    """

    rank: int = 8
    alpha: Real | None = None
    targets: Any = "all"
    dropout: Real = 0.0
    rank_stabilized: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 1:
            raise ValueError(f"a rank is a whole number from 1 on, got {self.rank!r}")
        alpha = self.rank if self.alpha is None else self.alpha
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < math.inf:
            raise ValueError(f"alpha is a positive number, got {alpha!r}: the rank, or twice the rank, is usual")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is the probability of dropping a number and lies in [0, 1), got {self.dropout}")
        targets = LINEAR_PARTS if isinstance(self.targets, str) and self.targets == "all" else self.targets
        if isinstance(targets, str):
            targets = (targets,)
        targets = tuple(targets) if isinstance(targets, Iterable) else (targets,)
        unknown = [name for name in targets if name not in LINEAR_PARTS]
        if unknown or not targets:
            raise ValueError(
                f"targets are linear layers of a block, some of {', '.join(LINEAR_PARTS)}; got {list(targets)}"
            )
        object.__setattr__(self, "alpha", alpha)
        object.__setattr__(self, "targets", targets)

    @property
    def scale(self) -> float:
        r"""$s$: $\alpha / r$, or $\alpha / \sqrt r$."""
        assert self.alpha is not None
        return float(self.alpha / (math.sqrt(self.rank) if self.rank_stabilized else self.rank))


def reference_lora_linear(
    x: Operand, weight: Operand, bias: Operand | None, A: Operand, B: Operand, scale: Real
) -> Any:
    """`lora_linear` composed of operations of the table: (E1) and (E2)."""
    y = matmul(x, weight.T) + matmul(matmul(x, A.T), B.T) * scale
    return y if bias is None else y + bias


def _rows(x: Any) -> Any:
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


def _forward(x: Any, w: Any, *rest: Any, scale: float) -> tuple[Any, Any]:
    *bias, A, B = rest
    X = _rows(x)
    H = X @ A.T  # (E1)
    Y = H @ B.T
    Y *= Y.dtype.type(scale)
    Y += X @ w.T
    for b in bias:
        Y += b
    return Y.reshape(*x.shape[:-1], len(w)), H


def _dH(g: Any, B: Any, scale: float) -> Any:
    return (_rows(g) @ B) * g.dtype.type(scale)


def _dx(g: Any, out: Any, x: Any, w: Any, *rest: Any, scale: float, saved: Any) -> Any:
    A, B = rest[-2:]
    dX = _rows(g) @ w
    dX += _dH(g, B, scale) @ A  # forward: H = X A^T
    return dX.reshape(x.shape)


def _dw(g: Any, out: Any, x: Any, w: Any, *rest: Any, scale: float, saved: Any) -> Any:
    return _rows(g).T @ _rows(x)


def _db(g: Any, out: Any, *rest: Any, scale: float, saved: Any) -> Any:
    return _rows(g).sum(axis=0)


def _dA(g: Any, out: Any, x: Any, w: Any, *rest: Any, scale: float, saved: Any) -> Any:
    return _dH(g, rest[-1], scale).T @ _rows(x)  # forward: H = X A^T


def _dB(g: Any, out: Any, *rest: Any, scale: float, saved: Any) -> Any:
    return (_rows(g).T @ saved) * g.dtype.type(scale)  # forward: Y = ... + scale H B^T


_biased = operation(
    "peft.lora_linear",
    _forward,
    (_dx, _dw, _db, _dA, _dB),
    reference=lambda x, w, b, A, B, scale: reference_lora_linear(x, w, b, A, B, scale),
    fresh=True,
)
_unbiased = operation(
    "peft.lora_linear_unbiased",
    _forward,
    (_dx, _dw, _dA, _dB),
    reference=lambda x, w, A, B, scale: reference_lora_linear(x, w, None, A, B, scale),
    fresh=True,
)


def lora_linear(x: Operand, weight: Operand, bias: Operand | None, A: Operand, B: Operand, scale: Real) -> Any:
    """
    A linear layer and its low-rank update (E2), in one operation with the derivatives (E3).

    Each derivative is computed for an operand that requires it and no other, so frozen weights cost nothing on the way
    back.

    Parameters
    ----------
    x
        Of shape `(..., n)`.
    weight, bias
        Of shape `(m, n)` and `(m,)`, or no bias.
    A, B
        Of shape `(r, n)` and `(m, r)`.
    scale
        $s$.

    Returns
    -------
    ndarray or Box
        Of shape `(..., m)`.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Examples
    --------
    >>> x, W = np.array([[1.0, 2.0]]), np.eye(2)
    >>> lora_linear(x, W, None, np.array([[0.0, 1.0]]), np.array([[1.0], [0.0]]), scale=0.5)
    array([[2., 2.]])
    """
    n, (m, w_n) = np.shape(x)[-1:], np.shape(weight)
    if n != (w_n,) or np.shape(A)[1:] != (w_n,) or np.shape(B) != (m, np.shape(A)[0]):
        raise ValueError(
            f"inputs (..., n), weights (m, n), A (r, n) and B (m, r) go together, got {np.shape(x)}, "
            f"{np.shape(weight)}, {np.shape(A)} and {np.shape(B)}"
        )
    if bias is None:
        return _unbiased(x, weight, A, B, scale=float(scale))
    return _biased(x, weight, bias, A, B, scale=float(scale))


class LoRALinear(Module):
    r"""
    A linear layer with a low-rank update beside it (E2).

    Parameters
    ----------
    base
        The layer; its parameters are used and not changed.
    rank
        $r$, at most the smaller side of the weights is useful.
    scale
        $s$.
    rng
        Draws $A$, and what is dropped. None leaves $A$ at zero, for factors that will be loaded.
    dropout
        With which probability an entry of the input of $A$ is dropped in training.

    Attributes
    ----------
    base : Linear
        As given.
    lora_A, lora_B : Parameter
        Of shape $(r, n)$, at first normal with the deviation $1/\sqrt n$, and $(m, r)$, at first zero.
    scale : float
        $s$.
    """

    def __init__(
        self,
        base: Linear,
        rank: int,
        scale: Real,
        *,
        rng: np.random.Generator | None,
        dropout: Real = 0.0,
    ) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"a rank is a whole number from 1 on, got {rank}")
        m, n = base.weight.shape
        dtype = base.weight.data.dtype
        self.base = base
        self.lora_A = Parameter(np.zeros((rank, n), dtype) if rng is None else _drawn(rng, rank, n).astype(dtype))
        self.lora_B = Parameter(np.zeros((m, rank), dtype))
        self.scale = float(scale)
        self.dropout = Dropout(dropout, rng=np.random.default_rng(0) if rng is None else rng)

    @property
    def weight(self) -> Parameter:
        """The frozen weights, for those who ask a layer for its shape and type."""
        return self.base.weight

    @property
    def bias(self) -> Parameter | None:
        """The frozen biases."""
        return self.base.bias

    def forward(self, x: Operand) -> Any:
        """Of shape `(..., m)` for an input of shape `(..., n)`."""
        if self.training and self.dropout.p:
            return self.base(x) + linear(linear(self.dropout(x), self.lora_A), self.lora_B) * self.scale
        return lora_linear(x, self.base.weight, self.base.bias, self.lora_A, self.lora_B, self.scale)

    def update(self) -> np.ndarray:
        """The change of the weights, $s B A$, of shape (m, n)."""
        change = self.lora_B.data @ self.lora_A.data
        change *= change.dtype.type(self.scale)
        return change


def _drawn(rng: np.random.Generator, rank: int, n: int) -> np.ndarray:
    return rng.normal(size=(rank, n)) / math.sqrt(n)
