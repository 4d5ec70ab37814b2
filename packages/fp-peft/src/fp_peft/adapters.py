r"""
Adapters: small networks between the layers.

A low-rank update is linear: whatever it learns could have been in the weights. What if the addition may bend? Then it
cannot be merged, and it can compute what no change of the matrix beside it can. How does one slip a network into a
trained model without disturbing it?

You need: `fp_neural.activations`, `fp_transformer.block`, `neural.linear-gradient`.

## The layer

An **adapter** of width $r$ is a network with a narrow middle, and a line around it. Behind a branch of a block, which
ends in $z$, it makes

$$h = W_d\, z + b_d, \qquad z' = z + W_u\, \operatorname{gelu}(h) + b_u, \qquad \text{(E1)}$$

with $W_d \in \mathbb{R}^{r \times C}$ and $W_u \in \mathbb{R}^{C \times r}$, and $z'$ is added to the stream in
place of $z$. Each has $2 r C + r + C$ parameters, and there is one behind attention and one behind the feed-forward
layer, or behind the latter alone.

**Claim** `peft.adapter-identity`. If $W_u = 0$, $b_u = 0$ and $\operatorname{gelu}(h)$ is finite, then $z' = z$ number
for number in floating point, and so a model with adapters computes exactly what it computed without.

**Proof.** Each entry of $W_u \operatorname{gelu}(h)$ is a sum of products of a finite number with $0$, so $0$ or $-0$;
$b_u$ adds $0$; and $z$ plus $0$ or $-0$ equals $z$. All that follows in the model is a function of $z'$. $\blacksquare$

**Claim** `peft.adapter-gradient`. With the cotangent $g$ of $z'$ and $\varphi'$ the slope of GELU,

$$
\bar W_u = g \operatorname{gelu}(h)^\top, \qquad \bar h = \varphi'(h) \odot W_u^\top g, \qquad
\bar W_d = \bar h\, z^\top, \qquad \bar z = g + W_d^\top\, \bar h, \qquad \text{(E2)}
$$

added over the rows of a batch. At $W_u = 0$ only $\bar W_u$ and $\bar b_u$ can differ from zero, and $\bar z = g$: the
layers below learn at first as if the adapter were not there.

**Proof.** By `neural.linear-gradient` for the second matrix, $\bar W_u = g \operatorname{gelu}(h)^\top$ and the
cotangent of $\operatorname{gelu}(h)$ is $W_u^\top g$; entry by entry times the slope it is $\bar h$
(`autograd.elementwise-rule`); by `neural.linear-gradient` for the first, $\bar W_d = \bar h z^\top$, and $W_d^\top \bar
h$ is handed to $z$, which also receives $g$ along the line (`autograd.copy-rule`). With $W_u = 0$, $\bar h = 0$.
$\blacksquare$

Both matrices at zero would be a trap as in `peft.one-zero-factor`: then $\operatorname{gelu}(h) = 0$ with $b_d = 0$, so
$\bar W_u = 0$, and only $b_u$ would ever move.

**Claim** `peft.adapter-not-linear`. For $r \ge 1$ there are adapters such that $z \mapsto z'$ is no affine map; so no
weights and biases of the linear layer in front of it make the model without the adapter compute the same.

**Proof.** Let $W_d$ have a row $w \ne 0$ and zeros else, $b_d = 0$, and let $W_u$ take the first entry to $u \ne 0$.
Along $z = t w$ the adapter gives $t w + u \operatorname{gelu}(t |w|^2)$. Were that affine in $t$, so would be
$\operatorname{gelu}$, and, as it is $0$ at $0$, $\operatorname{gelu}(1) + \operatorname{gelu}(-1)$ would be $0$. In the
tanh form, (E3) of `fp_transformer.feedforward`, $\operatorname{gelu}(a) = \frac a2 (1 + \tanh(c_a))$ with $c_{-1} =
-c_1$ and $c_1 > 0$, and the sum is $\tanh c_1 > 0$. $\blacksquare$

>>> rng = np.random.default_rng(0)
>>> layer = AdaptedLinear(Linear(6, 5, rng=rng).freeze(), width=2, rng=rng)
>>> x = rng.normal(size=(3, 6)).astype(np.float32)
>>> bool((layer(x).data == layer.base(x).data).all())
True

## In practice

N. Houlsby and others (2019) put one adapter behind each branch; J. Pfeiffer and others (2021) found one behind the
feed-forward layer nearly as good. What bends has to be computed at every use: a model with adapters is a little slower,
by two thin products a branch that wait for each other. LoRA has displaced them for that reason.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fp_autograd.tracing import Operand
from fp_neural.layers import Linear
from fp_neural.module import Module, Parameter
from fp_transformer.feedforward import gelu_tanh

__all__ = ["Adapter", "AdaptedLinear"]  # the order of the page


@dataclass(frozen=True)
class Adapter:
    """
    What to add to a model: a small network behind branches of every block.

    Parameters
    ----------
    width
        $r$, numbers in the narrow middle.
    where
        `"both"` branches, or behind the `"feedforward"` layer alone.

    Raises
    ------
    ValueError
        If the width is not positive or the place unknown.

    Examples
    --------
    >>> Adapter(width=16).parts
    ('o_proj', 'down_proj')
    """

    width: int = 16
    where: Literal["both", "feedforward"] = "both"

    def __post_init__(self) -> None:
        if isinstance(self.width, bool) or not isinstance(self.width, int) or self.width < 1:
            raise ValueError(f"the width of an adapter is a whole number from 1 on, got {self.width!r}")
        if self.where not in ("both", "feedforward"):
            raise ValueError(f"adapters stand behind 'both' branches or 'feedforward', got {self.where!r}")

    @property
    def parts(self) -> tuple[str, ...]:
        """The last linear layers of the branches behind which they stand."""
        return ("o_proj", "down_proj") if self.where == "both" else ("down_proj",)


class AdaptedLinear(Module):
    r"""
    The last linear layer of a branch, and an adapter behind it (E1).

    Parameters
    ----------
    base
        The layer; its parameters are used and not changed.
    width
        $r$.
    rng
        Draws $W_d$. None leaves it at zero, for one that will be loaded.

    Attributes
    ----------
    base : Linear
        As given.
    adapter_down, adapter_up : Linear
        $W_d$ and $b_d$; $W_u$ and $b_u$, at first zero.
    """

    def __init__(self, base: Linear, width: int, *, rng: np.random.Generator | None) -> None:
        super().__init__()
        C, dtype = base.weight.shape[0], base.weight.data.dtype
        self.base = base
        self.adapter_down = Linear(C, width, rng=rng, dtype=dtype)
        self.adapter_up = Linear(width, C, rng=None, dtype=dtype)

    @property
    def weight(self) -> Parameter:
        """The frozen weights, for those who ask a layer for its shape and type."""
        return self.base.weight

    @property
    def bias(self) -> Parameter | None:
        """The frozen biases."""
        return self.base.bias

    def forward(self, x: Operand) -> Any:
        """Of shape `(..., C)` for an input of shape `(..., n)`."""
        z = self.base(x)
        return z + self.adapter_up(gelu_tanh(self.adapter_down(z)))
