r"""
Units, each judged by its own activation.

A network is full of small functions that bend. A bend that has closed passes no gradient, and what stands before it
stops learning. What *closed* means depends on the bend: zero is bad news for a relu, the best of news for a tanh, and
the normal state of a gate. Which numbers tell for which bend that it still works?

You need: `autograd.relu-subgradient`, `autograd.saturated-slopes`; gates $x\, G(x)$ (`fp_neural.activations`).

## A unit that is dead

A unit of a layer with weights $w$ and bias $b$ gives $h_n = f(a_n)$ with $a_n = w \cdot x_n + b$ on the inputs
$x_1, \dots, x_N$ of a batch.

**Claim** `dynamics.dead-unit`. Let $f = \operatorname{relu}$ with the slope $0$ at $0$, and let $a_n \le 0$ for all
$n$. For every loss that depends on $w$ and $b$ through the $h_n$ only, the gradients in $w$ and $b$, as backpropagation
computes them, are zero, and so is what the unit adds to the cotangent of each $x_n$; the weights that multiply $h_n$ in
the next layer get the gradient zero too. So a step of gradient descent without momentum and decay leaves $w$ and $b$ as
they are, and if the $x_n$ stay the same, the unit is dead after every number of steps.

**Proof.** Let $g_n$ be the cotangent of $h_n$. That of $a_n$ is $g_n f'(a_n) = 0$ (`autograd.elementwise-rule`), as
$f'(a_n) = 0$. The gradient in $w$ is $\sum_n 0 \cdot x_n = 0$, that in $b$ is $\sum_n 0 = 0$, and $x_n$ receives
$0 \cdot w$ (`neural.linear-gradient`). A weight $u$ behind the unit multiplies $h_n = 0$, and its gradient is a sum of
products with $h_n$. The step subtracts a multiple of the gradient, so $w$ and $b$, and with the same inputs all $a_n$,
are what they were; repeat it. $\blacksquare$

Inputs do change where layers below learn, momentum carries on for a while, and on another batch the unit may be alive:
a share of dead units is a statement about a batch, and a larger batch, which holds the smaller one, has no more of
them.

## A unit that is saturated

**Claim** `dynamics.saturated-slope`. Let $0 \le \delta \le 1$. If $|\tanh u| \ge 1 - \delta$, its slope at $u$ is at
most $2 \delta$. If $\sigma(u) \le \delta$ or $\sigma(u) \ge 1 - \delta$, its slope is at most $\delta$. A gradient that
passes $k$ such units in a row and nothing else is multiplied by at most $(2 \delta)^k$, or $\delta^k$.

**Proof.** With $t = |\tanh u| \le 1$ the slope is $1 - t^2 = (1 - t)(1 + t) \le 2\, (1 - t) \le 2 \delta$
(`autograd.tanh-slope`). The slope $\sigma (1 - \sigma)$ (`autograd.sigmoid-slope`) is a product of two numbers of
$[0, 1]$, one of which is at most $\delta$. The chain rule multiplies slopes (`autograd.chain-rule`). $\blacksquare$

Both are called saturated here where the slope is below a twentieth of its largest value: $|\tanh u| > 0.975$, or
$\sigma(u)$ within $0.013$ of $0$ or $1$.

>>> t, s = np.sqrt(1 - THIN), (1 + np.sqrt(1 - THIN)) / 2
>>> round(float(t), 3), round(float(1 - s), 3)
(0.975, 0.013)

## A gate

SiLU and GELU are $x\, G(x)$ with a gate $G$ between $0$ and $1$. Here neither zeros nor small slopes say much, for the
slope passes through zero in the middle of the working range. The gate does: below $0.05$ the unit is **closed**, it
lets next to nothing through in either direction; above $0.95$ it is **open**, nearly the identity. All closed is dead;
all open is a layer that no longer bends.

>>> x = np.array([[-9.0, -1.0, 0.0, 9.0]])
>>> {name: round(value, 3) for name, value in activation_statistics("silu", x).items() if "share" in name}
{'dead_share': 0.25, 'closed_share': 0.25, 'open_share': 0.25}

## Units that are doubled

**Claim** `dynamics.symmetric-units`. Let $f(\theta)$ be a differentiable loss that does not change when two units
exchange all their weights, $f(P \theta) = f(\theta)$ with the permutation $P$ that exchanges them. If the two begin
with the same weights, $P \theta_0 = \theta_0$, then the gradient has the same entries for both, $P g = g$; and they
stay equal under every optimizer that does to each coordinate the same thing, computed from that coordinate's own
weight and gradients so far.

**Proof.** For every direction $v$ and number $t$, $f(\theta + t v) = f(P \theta + t P v)$. Take slopes at $t = 0$:
$g(\theta) \cdot v = g(P \theta) \cdot P v = P^\top g(P \theta) \cdot v$, so $g(\theta) = P^\top g(P \theta)$. As
$P^\top P = I$, $P\, g(\theta) = g(P \theta)$, which is $g(\theta)$ if $P \theta = \theta$. Coordinates that $P$
exchanges then have had equal weights and equal gradients in all steps so far, so they are moved equally:
$P \theta_1 = \theta_1$, and so on. $\blacksquare$

So a layer of equal units stays as good as one unit, however wide it is; random numbers are there to tell units apart.
`doubled_share` counts the rows of a matrix that occur before.

## In practice

Karpathy's lectures on makemore plot these shares, and the ratio of update to weight. Half of a relu layer's entries
are zero, and should be: that is how it bends. Large language models have gates; what goes wrong in them is more often
a few features of the stream that grow hundreds of times larger than the rest.
"""

import numpy as np
from jaxtyping import Float

__all__ = ["activation_statistics", "ACTIVATIONS", "doubled_share"]  # the order of the page

THIN = 0.05  # a slope below this share of its largest is saturated; a gate below it is closed, above 1 - THIN open

ACTIVATIONS = {  # operations of the autograd's table, by name
    "relu": "relu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "neural.silu": "silu",
    "neural.gelu": "gelu",
    "neural.gelu_tanh": "gelu",
    "transformer.gelu_tanh": "gelu",
    "transformer.swiglu": "silu",
}


def activation_statistics(
    kind: str, x: Float[np.ndarray, "*batch F"], out: Float[np.ndarray, "*batch F"] | None = None
) -> dict[str, float]:
    """
    How the units of a layer do, by their own activation.

    Parameters
    ----------
    kind
        `relu`, `tanh`, `sigmoid`, `silu` or `gelu`.
    x
        What goes into the activation: units along the last axis, everything that they were shown along the others.
    out
        What came out, if it is more than the activation of `x`, as in a gated layer.

    Returns
    -------
    dict
        `activation_mean` and `activation_std` of what came out; `inputs`, how many the units were shown; `dead_share`,
        the share of units that pass no gradient for any of them; and, of all entries, `zero_share` (relu),
        `saturated_share` (tanh, sigmoid), or `gate_mean`, `closed_share` and `open_share` (silu, gelu).

    Raises
    ------
    ValueError
        If the activation is none of these, or there are no entries.

    Examples
    --------
    >>> activation_statistics("relu", np.array([[-1.0, 2.0], [-3.0, -4.0]]))["dead_share"]
    0.5
    >>> activation_statistics("tanh", np.array([[0.0, 9.0], [1.0, -9.0]]))["saturated_share"]
    0.5
    """
    if kind not in ACTIVATIONS.values():
        raise ValueError(f"activations known here are {', '.join(sorted(set(ACTIVATIONS.values())))}; got {kind!r}")
    if x.size == 0:
        raise ValueError(f"statistics need at least one entry, got an array of shape {x.shape}")
    x = x.reshape(-1, x.shape[-1])
    with np.errstate(all="ignore"):  # a network that overflows is still to be described
        if kind == "relu":
            y = np.maximum(x, 0)
            shut = x <= 0
            shares = {"zero_share": float(shut.mean())}
        elif kind in ("tanh", "sigmoid"):
            y = np.tanh(x) if kind == "tanh" else _sigmoid(x)
            slope = 1 - y * y if kind == "tanh" else 4 * y * (1 - y)  # as a share of the largest
            shut = slope < THIN
            shares = {"saturated_share": float(shut.mean())}
        else:
            gate = _sigmoid(x) if kind == "silu" else _sigmoid(np.sqrt(8 / np.pi) * (x + 0.044715 * x**3))
            y = x * gate
            shut = gate < THIN
            shares = {
                "gate_mean": float(gate.mean(dtype=np.float64)),
                "closed_share": float(shut.mean()),
                "open_share": float((gate > 1 - THIN).mean()),
            }
        y = y if out is None else out
        return {
            "activation_mean": float(y.mean(dtype=np.float64)),
            "activation_std": float(y.std(dtype=np.float64)),
            "inputs": float(len(x)),
            "dead_share": float(shut.all(axis=0).mean()),
            **shares,
        }


def doubled_share(weight: Float[np.ndarray, "rows columns"]) -> float:
    """
    Which share of a matrix's rows are there already, further up (`dynamics.symmetric-units`).

    Parameters
    ----------
    weight
        A row for each unit; transpose it for the other side.

    Returns
    -------
    float
        0 if all rows differ, as of random ones; `1 - 1 / rows` if all are the same.

    Examples
    --------
    >>> doubled_share(np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [1.0, 2.0]]))
    0.5
    """
    return 1 - len(np.unique(weight, axis=0)) / len(weight)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """Without overflow; that of gelu's argument gives its gate in the tanh form (`transformer.gelu-slope`)."""
    return 0.5 * (1 + np.tanh(0.5 * x))
