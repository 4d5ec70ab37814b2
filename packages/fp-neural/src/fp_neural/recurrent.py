r"""
Recurrent layers: one step, used at every position.

A perceptron over the last $k$ tokens has weights for each of the $k$ places, and what stood before them is lost to it.
A recurrent layer keeps a **state** instead, a vector that sums up all that came before, and has one step that makes the
next state of it. How is such a loop differentiated, what becomes of a gradient on its way back through a hundred steps,
and which step lets it live?

You need: `fp_autograd.graph` for paths and sweeps, `fp_autograd.rules`, `fp_autograd.extend`, singular values from
`fp_neural.spectra`, `fp_neural.initialization`.

## The loop, unrolled

With the parameters $w$, inputs $x_1, \dots, x_T$ and a first state $h_0$, usually zero,

$$h_t = F(h_{t-1}, x_t, w), \qquad t = 1, \dots, T. \qquad \text{(E1)}$$

The plain recurrent layer (RNN; J. Elman, 1990) is

$$h_t = \tanh a_t, \qquad a_t = W x_t + U h_{t-1} + b. \qquad \text{(E2)}$$

Run the loop and write down what it does: $T$ steps, one after the other, each with the same $w$ in it. That list is a
graph without cycles, deep as the text is long, and differentiating it is called **backpropagation through time**.
Nothing is new but the bookkeeping. Let $\ell(h_1, \dots, h_T)$ be the loss, $g_t$ its gradient in $h_t$ while the
other states stay fixed, and let $J_t$ and $K_t$ be the Jacobians of step $t$ in $h_{t-1}$ and in $w$.

**Claim** `neural.backward-through-time`. If $F$ and $\ell$ are differentiable at the values of the run, then with

$$\delta_T = g_T, \qquad \delta_{t-1} = g_{t-1} + J_t^\top \delta_t \qquad \text{(E3)}$$

$\delta_t$ is the gradient of the loss in $h_t$ when the later states follow it, and the gradient in $w$ is

$$
\nabla_w \ell = \sum_{t=1}^{T} K_t^\top \delta_t
  = \sum_{1 \le s \le t \le T} K_s^\top J_{s+1}^\top \cdots J_t^\top\, g_t. \qquad \text{(E4)}
$$

**Proof.** The graph has the nodes $w$, $h_0, \dots, h_T$ and $\ell$, and the edges $w \to h_t$ with $K_t$,
$h_{t-1} \to h_t$ with $J_t$, and $h_t \to \ell$ with the row $g_t^\top$. The users of $h_{t-1}$ are $h_t$ and $\ell$,
so (E3) is the reverse sweep of `autograd.two-sweeps` with the weight 1 on $\ell$, and what $w$ receives in it is the
first sum. A path from $w$ to $\ell$ enters the states somewhere, goes on from state to state, and leaves:
$w \to h_s \to h_{s+1} \to \dots \to h_t \to \ell$ for some $s \le t$. By `autograd.graph-jacobian` the derivative is
the sum over these of $g_t^\top J_t \cdots J_{s+1} K_s$, whose transpose (`autograd.transpose`) is the second sum.
$\blacksquare$

In words: the parameters acted at step $s$, the loss noticed at step $t$, and every such pair has its term. There are
$\frac12 T (T + 1)$ of them; the sweep adds them up over $T$ steps.

**Claim** `neural.rnn-backward`. For the step (E2) let $\alpha_t = \delta_t \odot (1 - h_t \odot h_t)$. Then
$J_t^\top \delta_t = U^\top \alpha_t$, the gradient in $x_t$ is $W^\top \alpha_t$, and those in $W$, $U$ and $b$ are

$$
\sum_t \alpha_t\, x_t^\top, \qquad \sum_t \alpha_t\, h_{t-1}^\top, \qquad \sum_t \alpha_t. \qquad \text{(E5)}
$$

**Proof.** $\tanh$ has the slope $1 - h^2$ (`autograd.tanh-slope`), so by `autograd.elementwise-rule` the cotangent of
$a_t$ is $\alpha_t$. In the sum $a_t$ each term receives $\alpha_t$. By `autograd.matmul-rule`, with vectors as matrices
of one column, $U h_{t-1}$ hands $U^\top \alpha_t$ to $h_{t-1}$ and $\alpha_t h_{t-1}^\top$ to $U$, and $W x_t$
likewise. The parameters are the same at every step, so they receive the sum over all steps (`autograd.copy-rule`).
$\blacksquare$

Only $U h_{t-1}$ on the way forward and $U^\top \alpha_t$ on the way back have to wait for the step next to them. All
else is done at once for all steps and all texts of a batch: with the $\alpha_t$ of $B$ texts as the $TB$ rows of one
matrix $A$, the $x_t$ as those of $X$, the sum is the single product $A^\top X$ (`autograd.matmul-rule`). That is what
`rnn_sequence` and `lstm_sequence` do, and why they are operations of their own: cell by cell, in operations of the
table, the same numbers take about twice as long.

## Cutting the sweep

A text has a million tokens, and (E3) would need all its states at once. **Truncated** backpropagation runs through the
text in chunks. The state goes on from one chunk to the next, so the loss is that of the whole text; but at the start of
a chunk it is taken for a constant.

**Claim** `neural.truncation`. Let the steps be divided into chunks, and let the sweep (E3) not cross from the first
step of a chunk to the state before it. What it computes instead of (E4) is the sum of those terms for which $s$ and
$t$ lie in the same chunk. If for some $\rho < 1$, $\kappa$ and $\gamma$ all $|J_t^\top v| \le \rho\, |v|$, $|K_t^\top
v| \le \kappa\, |v|$ and $|g_t| \le \gamma$, then this is off by at most $\kappa \gamma \rho / (1 - \rho)^2$ for each
chunk but the first.

**Proof.** The edge $h_{t-1} \to h_t$ is gone if $t$ begins a chunk. The paths that remain are those without such an
edge, on which no step of $s + 1, \dots, t$ begins a chunk; that is, $s$ and $t$ lie in the same one. A missing term has
the size $|K_s^\top J_{s+1}^\top \cdots J_t^\top g_t| \le \kappa\, \rho^{t-s} \gamma$. Let $t$ be the $j$-th step of its
chunk. For it the terms with $t - s \ge j$ are missing, together at most $\kappa \gamma\, (\rho^j + \rho^{j+1} + \dots)
= \kappa \gamma\, \rho^j / (1 - \rho)$, and the sum of this over $j = 1, 2, \dots$ is $\kappa \gamma \rho / (1 -
\rho)^2$. $\blacksquare$

So truncation is exact if no term crosses a border: if there is one chunk, or if the first step of each chunk does not
look at the state. That is so where a sentence begins that has nothing to do with the one before. There `begins` puts
zero in place of the state, $J_t = 0$, and sentences of any length may follow each other in a row without touching.
Otherwise what truncation leaves out is not noise that averages away:

**Claim** `neural.truncation-bias`. Let chunks of $L$ steps begin at the steps $t$ with $t \equiv r \pmod L$, and let
$r$ be drawn evenly from $0, \dots, L - 1$. The mean of the truncated gradient is

$$
\sum_{1 \le s \le t \le T} \max \Big( 0,\ 1 - \frac{t - s}{L} \Big)\; K_s^\top J_{s+1}^\top \cdots J_t^\top\, g_t.
\qquad \text{(E6)}
$$

**Proof.** The term of $s$ and $t$ is missing if one of the steps $s + 1, \dots, t$ begins a chunk. These are $t - s$
successive numbers. If $t - s \ge L$ they have all remainders, so it is missing always. Else their remainders differ,
and it is missing for $t - s$ of the $L$ values of $r$. $\blacksquare$

A dependence over half a chunk counts half, one over more than a chunk not at all, however often the text is read. What
is further away can still be *used*, through the state; only nothing teaches the model to keep it.

## Vanishing and exploding

How large are the terms of (E4) in which $t$ is far from $s$?

**Claim** `neural.gradient-bound`. With the largest singular values $\sigma_t$ of the $J_t$, for every $g$

$$
|J_{s+1}^\top \cdots J_t^\top\, g| \le \sigma_{s+1} \cdots \sigma_t\, |g|. \qquad \text{(E7)}
$$

For the step (E2) let $\sigma$ be the largest of all $|U^\top v| / |v|$ and $\tau$ the smallest, and let all slopes
$1 - h_{t,i}^2$ lie between $m \ge 0$ and $M \le 1$. Then

$$
(\tau m)^{t-s}\, |g| \le |J_{s+1}^\top \cdots J_t^\top\, g| \le (\sigma M)^{t-s}\, |g|. \qquad \text{(E8)}
$$

**Proof.** By `neural.svd` $J_r$ and $J_r^\top$ have the same singular values, and the largest bounds what the matrix
does to lengths: $|J_r^\top v| \le \sigma_r |v|$. Apply it for $r = t, t - 1, \dots, s + 1$. For (E2)
`neural.rnn-backward` says $J_r^\top v = U^\top D v$, where $D$ multiplies each entry by a slope. So $m\, |v| \le |D v|
\le M\, |v|$, and $\tau\, |D v| \le |U^\top D v| \le \sigma\, |D v|$. Again one step after the other. $\blacksquare$

With $\sigma < 1$ a gradient fades at least as fast as $\sigma^{t-s}$, whatever the data say: it **vanishes**. It can
grow only if $\sigma > 1$, and must if $\tau m > 1$: it **explodes**. In between lies $\sigma = \tau = 1$, and that is
an orthogonal $U$ (`neural.orthogonal-matrix`): the gradient never grows, and shrinks by the slopes of $\tanh$ alone.
That is how `RNN` begins. From a state near zero, where the slopes are one, over fifty steps:

>>> from fp_autograd.functional import grad
>>> rng = np.random.default_rng(0)
>>> Q, zero = orthogonal((8, 8), rng, dtype=np.float64), np.zeros((1, 50, 8))
>>> for scale in (0.9, 1.0, 1.1):
...     def last(h_0):
...         return rnn_sequence(zero, h_0, np.eye(8), scale * Q, np.zeros(8))[0, -1, 0]
...     g = grad(last)(np.full((1, 8), 1e-6))
...     print(f"{scale}: {np.linalg.norm(g):.3g}")
0.9: 0.00515
1.0: 1
1.1: 117

Training moves $U$ away from there, and no such balance lasts. What explodes can be clipped (`neural.clipping`). What
has vanished cannot be brought back by scaling: the terms of near steps outweigh it.

## A path without weights

The **long short-term memory** (LSTM; S. Hochreiter and J. Schmidhuber, 1997, with the forget gate of F. Gers, J.
Schmidhuber and F. Cummins, 2000) has a second state, the **cell** $c_t$, which is not pushed through a matrix at each
step. Numbers between 0 and 1, the **gates**, say how much of it is kept, $f$, how much is written, $i$, and how much is
shown, $o$:

$$
\begin{aligned}
(a^i_t, a^f_t, a^n_t, a^o_t) &= W x_t + U h_{t-1} + b, \\
i_t = \sigma(a^i_t), \quad f_t &= \sigma(a^f_t), \quad n_t = \tanh a^n_t, \quad o_t = \sigma(a^o_t), \\
c_t &= f_t \odot c_{t-1} + i_t \odot n_t, \qquad h_t = o_t \odot \tanh c_t.
\end{aligned} \qquad \text{(E9)}
$$

$W$ has four blocks of $H$ rows, one for each of $i$, $f$, $n$, $o$. ($n$, for new, is PyTorch's `g`.)

**Claim** `neural.lstm-backward`. Let $\delta_t$ and $\epsilon_t$ be the gradients of the loss in $h_t$ and $c_t$ when
all that is later follows. With $g_t$ as in (E3), $\delta_T = g_T$, and $\epsilon_{T+1} \odot f_{T+1}$ standing for
the gradient that comes to $c_T$ from outside,

$$
\begin{aligned}
\epsilon_t &= \epsilon_{t+1} \odot f_{t+1} + \delta_t \odot o_t \odot (1 - \tanh^2 c_t), \\
\alpha^i_t &= \epsilon_t \odot n_t \odot i_t \odot (1 - i_t), \qquad
\alpha^f_t = \epsilon_t \odot c_{t-1} \odot f_t \odot (1 - f_t), \\
\alpha^n_t &= \epsilon_t \odot i_t \odot (1 - n_t \odot n_t), \qquad
\alpha^o_t = \delta_t \odot \tanh c_t \odot o_t \odot (1 - o_t), \\
\delta_{t-1} &= g_{t-1} + U^\top \alpha_t, \qquad \alpha_t = (\alpha^i_t, \alpha^f_t, \alpha^n_t, \alpha^o_t).
\end{aligned} \qquad \text{(E10)}
$$

The gradients in $x_t$, $W$, $U$ and $b$ are those of `neural.rnn-backward` with this $\alpha_t$.

**Proof.** Go through (E9) backward, users first (`autograd.two-sweeps`), by `autograd.elementwise-rule` at each
product. $h_t = o_t \odot \tanh c_t$ gives $\delta_t \odot \tanh c_t$ to $o_t$ and, with `autograd.tanh-slope`,
$\delta_t \odot o_t \odot (1 - \tanh^2 c_t)$ to $c_t$; the other user of $c_t$ is $c_{t+1}$, which gives it
$\epsilon_{t+1} \odot f_{t+1}$. Now $\epsilon_t$ is complete. $c_t$ gives $\epsilon_t \odot c_{t-1}$ to $f_t$,
$\epsilon_t \odot n_t$ to $i_t$ and $\epsilon_t \odot i_t$ to $n_t$. The slopes of the gates are $\sigma (1 - \sigma)$
(`autograd.sigmoid-slope`) and $1 - n^2$, which makes the four parts of $\alpha_t$, the cotangent of
$W x_t + U h_{t-1} + b$. From there on the proof of `neural.rnn-backward` applies. The users of $h_{t-1}$ are the loss
and this sum. $\blacksquare$

**Claim** `neural.lstm-cell-path`. In the graph of (E9) one path from $c_s$ to $c_t$ goes through cells only. Its
product of Jacobians multiplies entry by entry with

$$f_{s+1} \odot f_{s+2} \odot \dots \odot f_t, \qquad \text{(E11)}$$

numbers between 0 and 1. Every other path goes through $U$; so for $U = 0$ that is the whole derivative.

**Proof.** $c_r$ stands in two places: in $c_{r+1} = f_{r+1} \odot c_r + \dots$, an edge that multiplies by
$f_{r+1}$, and in $h_r$. A path that never takes the second kind is $c_s \to c_{s+1} \to \dots \to c_t$, with the
product (E11), and $0 < \sigma < 1$ by `autograd.sigmoid-slope`. A path that takes it is at some $h_r$ with $r < t$, as
it has to go on to $c_t$; $h_r$ is used within the layer in $U h_r$ only, and for $U = 0$ that edge carries zero.
The derivative is the sum over all paths (`autograd.graph-jacobian`). $\blacksquare$

So there is a way back in time on which no weights and no slopes of $\tanh$ are multiplied: what the forget gates let
through arrives. It cannot explode. Nor does it vanish where the gates are open, and they are learned. But they have to
be open to begin with, or the gradient that would open them does not arrive:

**Claim** `neural.forget-bias`. A forget gate that always is $\sigma(b)$ keeps the share $\sigma(b)^n$ over $n$ steps,
and the share $1/e$ over

$$n(b) = \frac{1}{\ln (1 + e^{-b})}, \qquad e^b < n(b) < e^b + 1. \qquad \text{(E12)}$$

**Proof.** $\ln \sigma(b)^n = -n \ln (1 + e^{-b})$ is $-1$ for $n = n(b)$. Let $y = e^{-b} > 0$. By
`markov.log-tangent` $\ln (1 + y) < y$, and for $\frac{1}{1 + y}$ it says $-\ln (1 + y) < \frac{1}{1 + y} - 1 =
-\frac{y}{1 + y}$. So $\frac1y < \frac{1}{\ln (1 + y)} < \frac{1 + y}{y} = \frac1y + 1$, and $\frac1y = e^b$.
$\blacksquare$

Each unit of bias makes the memory about $e$ times as long. Weights are small at first, so that a gate is about
$\sigma(b)$, and `LSTM` begins with a forget bias of 1 in place of 0:

>>> for b in (0, 1, 4):
...     print(f"b = {b}: 1/e after {1 / np.log1p(np.exp(-b)):.1f} steps, after 20 steps {(1 + np.exp(-b)) ** -20:.2g}")
b = 0: 1/e after 1.4 steps, after 20 steps 9.5e-07
b = 1: 1/e after 3.2 steps, after 20 steps 0.0019
b = 4: 1/e after 55.1 steps, after 20 steps 0.7

## In practice

The forget bias of 1 is F. Gers's advice again and R. Jozefowicz, W. Zaremba and I. Sutskever's (2015), who found it to
matter more than any change to the cell. Here the blocks of $U$ are
orthogonal and those of $W$ Xavier's; PyTorch draws all of them evenly from
$\pm 1 / \sqrt H$, and has two biases, which are added: `bias` is their sum. Truncation as above is R. Williams and J.
Peng's (1990), its bias and a remedy C. Tallec and Y. Ollivier's (2017). The GRU of K. Cho and others (2014) merges
cell and state, with three blocks in place of four.

A step is two products with $B$ rows and a dozen passes over $4H$ numbers a row, small enough to stay in the cache.
What it cannot be is parallel in $t$: a transformer does all positions at once and pays with $T^2$ scores, a bargain on
hardware with thousands of units. State-space models drop $U$ from the recurrence, as (E11) would have it, to get both.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from fp_autograd.extend import operation
from fp_autograd.rules import sigmoid, stack, tanh, where
from fp_autograd.tracing import Operand, value_of
from fp_neural.initialization import orthogonal, xavier_normal
from fp_neural.module import Module, Parameter

__all__ = [  # the order of the page
    "rnn_sequence", "reference_rnn_sequence", "lstm_sequence", "reference_lstm_sequence", "Recurrent", "RNN",
    "LSTM",
]  # fmt: skip

Texts = Float[np.ndarray, "B T D"]
State = Float[np.ndarray, "B H"]
Begins = Bool[np.ndarray, "B T"] | None


# The kernels hold a step of all texts as one block of memory, T B H. In the two products that wait for each other they
# multiply from the left, U times columns, in which BLAS is up to twice as fast for the few columns that a batch makes.


# --- the plain step


def rnn_sequence(
    x: Operand, h_0: Operand, w_ih: Operand, w_hh: Operand, bias: Operand, *, begins: Begins = None
) -> Any:
    r"""
    The states of the plain recurrent layer (E2), in one operation.

    Its derivatives exist to any order and in both modes, through `reference_rnn_sequence`.

    Parameters
    ----------
    x
        "B T D", a vector for each of T steps of B texts; array or tensor, as all of these.
    h_0
        "B H", the state before.
    w_ih, w_hh, bias
        $W$, $U$ and $b$: "H D", "H H" and " H".
    begins
        "B T", true at the steps before which the state is put to zero.

    Returns
    -------
    ndarray or Tensor
        The states $h_1, \dots, h_T$, "B T H".

    Examples
    --------
    With weights of one the first step is $\tanh (1 + 0)$, the second $\tanh (1 + \tanh 1)$:

    >>> one = np.ones((1, 1))
    >>> rnn_sequence(np.ones((1, 2, 1)), 0 * one, one, one, np.zeros(1)).ravel().round(4)
    array([0.7616, 0.9427])
    """
    return _rnn(x, h_0, w_ih, w_hh, bias, begins=begins)


def reference_rnn_sequence(
    x: Operand, h_0: Operand, w_ih: Operand, w_hh: Operand, bias: Operand, *, begins: Begins = None
) -> Any:
    """
    `rnn_sequence` as (E2) is written, step by step in operations of the table.

    Parameters
    ----------
    x, h_0, w_ih, w_hh, bias, begins
        As there.

    Returns
    -------
    ndarray or Tensor
        The same numbers up to rounding.
    """
    states, h = [], h_0
    for t in range(x.shape[1]):
        h = h if begins is None else where(begins[:, t, None], 0.0, h)
        h = tanh(x[:, t] @ w_ih.T + h @ w_hh.T + bias)
        states.append(h)
    return stack(states, 1)


def _rnn_forward(
    x: Texts,
    h_0: State,
    w_ih: Float[np.ndarray, "H D"],
    w_hh: Float[np.ndarray, "H H"],
    bias: Float[np.ndarray, " H"],
    *,
    begins: Begins = None,
) -> tuple[Float[np.ndarray, "B T H"], tuple[np.ndarray, np.ndarray]]:
    (B, T, D), H = x.shape, h_0.shape[1]
    steps = _time_major(x, np.result_type(x, w_ih))
    states = np.empty((T + 1, B, H), steps.dtype)  # from h_0
    states[0] = h_0
    np.matmul(steps.reshape(T * B, D), w_ih.T, out=states[1:].reshape(T * B, H))
    kept, recurrent = _kept(begins, states), np.empty((H, B), steps.dtype)
    for t in range(T):
        a = states[t + 1]
        np.matmul(w_hh, (states[t] if kept is None else states[t] * kept[t]).T, out=recurrent)
        a += recurrent.T
        a += bias
        np.tanh(a, out=a)
    return states[1:].swapaxes(0, 1), (steps, states)


def _rnn_backward(
    g: np.ndarray,
    out: np.ndarray,
    x: np.ndarray,
    h_0: np.ndarray,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    bias: np.ndarray,
    *,
    begins: Begins,
    saved: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, ...]:
    """(E3) with `neural.rnn-backward`."""
    steps, states = saved
    alpha = np.multiply(states[1:], states[1:])  # of h = tanh a: 1 - h h
    np.subtract(1, alpha, out=alpha)
    kept, u = _kept(begins, states), np.ascontiguousarray(w_hh.T)
    delta, recurrent = np.empty_like(states[0]), np.zeros_like(states[0].T, order="C")
    for t in reversed(range(len(steps))):
        np.add(recurrent.T, g[:, t], out=delta)
        alpha[t] *= delta
        np.matmul(u, alpha[t].T, out=recurrent)
        if kept is not None:
            recurrent *= kept[t].T
    return _to_operands(alpha, recurrent, steps, states, kept, w_ih)


_rnn = operation("neural.rnn_sequence", _rnn_forward, _rnn_backward, reference=reference_rnn_sequence, fresh=True)


# --- the long short-term memory


def lstm_sequence(
    x: Operand, h_0: Operand, c_0: Operand, w_ih: Operand, w_hh: Operand, bias: Operand, *, begins: Begins = None
) -> Any:
    r"""
    The states of the long short-term memory (E9), and its last cell, in one operation.

    Its derivatives exist to any order and in both modes, through `reference_lstm_sequence`.

    Parameters
    ----------
    x
        "B T D", a vector for each of T steps of B texts; array or tensor, as all of these.
    h_0, c_0
        "B H", state and cell before.
    w_ih, w_hh, bias
        $W$, $U$ and $b$: "4*H D", "4*H H" and " 4*H", in blocks of H rows for $i$, $f$, $n$, $o$.
    begins
        "B T", true at the steps before which state and cell are put to zero.

    Returns
    -------
    ndarray or Tensor
        The states $h_1, \dots, h_T$ and then the cell $c_T$, "B T+1 H".

    Examples
    --------
    With weights of zero and a bias all gates are open half, and half of the cell is left after each step:

    >>> zero = np.zeros((4, 1))
    >>> lstm_sequence(np.ones((1, 2, 1)), zero[:1], zero[:1] + 8, zero, zero, np.zeros(4)).ravel().round(4)
    array([0.4997, 0.482 , 2.    ])
    """
    return _lstm(x, h_0, c_0, w_ih, w_hh, bias, begins=begins)


def reference_lstm_sequence(
    x: Operand, h_0: Operand, c_0: Operand, w_ih: Operand, w_hh: Operand, bias: Operand, *, begins: Begins = None
) -> Any:
    """
    `lstm_sequence` as (E9) is written, step by step in operations of the table.

    Parameters
    ----------
    x, h_0, c_0, w_ih, w_hh, bias, begins
        As there.

    Returns
    -------
    ndarray or Tensor
        The same numbers up to rounding.
    """
    states, h, c, H = [], h_0, c_0, h_0.shape[1]
    for t in range(x.shape[1]):
        if begins is not None:
            h, c = (where(begins[:, t, None], 0.0, part) for part in (h, c))
        a = x[:, t] @ w_ih.T + h @ w_hh.T + bias
        i, f, o = sigmoid(a[:, :H]), sigmoid(a[:, H : 2 * H]), sigmoid(a[:, 3 * H :])
        c = f * c + i * tanh(a[:, 2 * H : 3 * H])
        h = o * tanh(c)
        states.append(h)
    return stack([*states, c], 1)


def _lstm_forward(
    x: Texts,
    h_0: State,
    c_0: State,
    w_ih: Float[np.ndarray, "4*H D"],
    w_hh: Float[np.ndarray, "4*H H"],
    bias: Float[np.ndarray, " 4*H"],
    *,
    begins: Begins = None,
) -> tuple[np.ndarray, list[tuple[np.ndarray, ...]]]:
    (B, T, D), H = x.shape, h_0.shape[1]
    steps = _time_major(x, np.result_type(x, w_ih))
    gates = np.empty((T, B, 4 * H), steps.dtype)
    states = np.empty((T + 2, B, H), steps.dtype)  # h_0 to h_T, and c_T
    cells = np.empty((T + 1, B, H), steps.dtype)  # c_0 to c_T
    shown = np.empty((T, B, H), steps.dtype)  # tanh c_t
    states[0], cells[0] = h_0, c_0
    np.matmul(steps.reshape(T * B, D), w_ih.T, out=gates.reshape(T * B, 4 * H))
    recurrent, written = np.empty((4 * H, B), steps.dtype), np.empty((B, H), steps.dtype)
    kept = _kept(begins, states)
    for t in range(T):
        a, c, h = gates[t], cells[t + 1], states[t]
        if kept is not None:
            h = h * kept[t]
            cells[t] *= kept[t]
        np.matmul(w_hh, h.T, out=recurrent)
        a += recurrent.T
        a += bias
        _activate(a, H)
        i, f, n, o = _blocks(a, H)
        np.multiply(f, cells[t], out=c)
        c += np.multiply(i, n, out=written)
        np.multiply(o, np.tanh(c, out=shown[t]), out=states[t + 1])
    states[T + 1] = cells[T]
    return states[1:].swapaxes(0, 1), [(steps, gates, states, cells, shown)]


def _lstm_backward(
    g: np.ndarray,
    out: np.ndarray,
    x: np.ndarray,
    h_0: np.ndarray,
    c_0: np.ndarray,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    bias: np.ndarray,
    *,
    begins: Begins,
    saved: list[tuple[np.ndarray, ...]],
) -> tuple[np.ndarray, ...]:
    """(E10). The gates are overwritten by their cotangents, so a second sweep computes them again."""
    steps, gates, states, cells, shown = (
        saved.pop() if saved else _lstm_forward(x, h_0, c_0, w_ih, w_hh, bias, begins=begins)[1].pop()
    )
    T, H = shown.shape[0], shown.shape[2]
    delta, epsilon = np.empty_like(states[0]), g[:, T].astype(steps.dtype)  # of h_t and c_t
    recurrent = np.zeros_like(states[0].T, order="C")  # what h_t gets from the step after it
    kept, u = _kept(begins, states), np.ascontiguousarray(w_hh.T)
    product, slope, through = np.empty_like(gates[0]), np.empty_like(gates[0]), np.empty_like(states[0])
    for t in reversed(range(T)):
        a, tanh_c = gates[t], shown[t]
        i, f, n, o = _blocks(a, H)
        np.add(recurrent.T, g[:, t], out=delta)
        # h = o tanh c
        np.multiply(tanh_c, tanh_c, out=through)
        np.subtract(1, through, out=through)
        through *= o
        through *= delta
        epsilon += through
        # c = f c + i n, and o above
        for part, e, factor in zip(
            _blocks(product, H), (epsilon, epsilon, epsilon, delta), (n, cells[t], i, tanh_c), strict=True
        ):
            np.multiply(e, factor, out=part)
        epsilon *= f
        # of a sigmoid s: s - s s, of n = tanh a: 1 - n n
        np.multiply(a, a, out=slope)
        n[...] = 1
        a -= slope
        a *= product
        np.matmul(u, a.T, out=recurrent)
        if kept is not None:
            recurrent *= kept[t].T
            epsilon *= kept[t]
    dx, dh_0, dw_ih, dw_hh, dbias = _to_operands(gates, recurrent, steps, states, kept, w_ih)
    return dx, dh_0, epsilon, dw_ih, dw_hh, dbias


_lstm = operation("neural.lstm_sequence", _lstm_forward, _lstm_backward, reference=reference_lstm_sequence, fresh=True)


# --- what both use


def _time_major(x: np.ndarray, dtype: Any) -> np.ndarray:
    """T B D, so that a step of all texts is one block of memory."""
    return np.ascontiguousarray(x.swapaxes(0, 1), dtype)


def _kept(begins: Begins, states: np.ndarray) -> np.ndarray | None:
    """T B 1: zero where the state before a step is put to zero, else one."""
    return None if begins is None else (~begins.T[:, :, None]).astype(states.dtype)


def _blocks(a: np.ndarray, H: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return a[:, :H], a[:, H : 2 * H], a[:, 2 * H : 3 * H], a[:, 3 * H :]


def _activate(a: np.ndarray, H: int) -> None:
    """Gates in place: tanh, which never overflows, serves all, by `autograd.tanh-slope` s(x) = (1 + tanh(x/2)) / 2."""
    sigmoids = a[:, : 2 * H], a[:, 3 * H :]
    for s in sigmoids:
        s *= 0.5
    np.tanh(a, out=a)
    for s in sigmoids:
        s *= 0.5
        s += 0.5


def _to_operands(
    alpha: np.ndarray,
    dh_0: np.ndarray,
    steps: np.ndarray,
    states: np.ndarray,
    kept: np.ndarray | None,
    w_ih: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """From the cotangents of the sums to those of the operands: (E5), each for all steps at once."""
    T, B, D = steps.shape
    rows = alpha.reshape(T * B, alpha.shape[2])
    dx = (rows @ w_ih).reshape(T, B, D).swapaxes(0, 1)
    dw_ih = rows.T @ steps.reshape(T * B, D)
    before = states[:T] if kept is None else states[:T] * kept
    dw_hh = rows.T @ before.reshape(T * B, before.shape[2])
    return dx, np.ascontiguousarray(dh_0.T), dw_ih, dw_hh, rows.sum(axis=0)


# --- the layers


class Recurrent(Module):
    """What both layers have in common: blocks of weights, a bias, and the shapes that they take."""

    blocks: int
    """How many blocks of rows the weights have."""

    def __init__(self, n_in: int, n_hidden: int, *, rng: np.random.Generator, dtype: Any = np.float32) -> None:
        super().__init__()
        for name, n in (("n_in", n_in), ("n_hidden", n_hidden)):
            if not isinstance(n, int | np.integer) or n < 1:
                raise ValueError(f"{name} must be a whole number, one or more, got {n!r}")
        self.n_in, self.n_hidden = int(n_in), int(n_hidden)
        self.weight_ih = Parameter(self._drawn(xavier_normal, self.n_in, rng, dtype))
        self.weight_hh = Parameter(self._drawn(orthogonal, self.n_hidden, rng, dtype))
        self.bias = Parameter(np.zeros(self.blocks * self.n_hidden, dtype))

    def _drawn(self, draw: Callable[..., np.ndarray], n: int, rng: np.random.Generator, dtype: Any) -> np.ndarray:
        """Each block by itself: a gate has a row of weights, and knows nothing of the other gates."""
        return np.concatenate([draw((self.n_hidden, n), rng, dtype=dtype) for _ in range(self.blocks)])

    def _checked(self, x: Operand, state: tuple[Operand, ...], begins: Begins) -> None:
        shape = np.shape(value_of(x))
        if len(shape) != 3 or shape[2] != self.n_in or not shape[1]:
            raise ValueError(
                f"{type(self).__name__} takes texts of one step or more, of shape (B, T, {self.n_in}), got {shape}. "
                "A single text is x[None]."
            )
        for part in state:
            if np.shape(value_of(part)) != (shape[0], self.n_hidden):
                raise ValueError(
                    f"the state before {shape[0]} texts has the shape {(shape[0], self.n_hidden)}, got "
                    f"{np.shape(value_of(part))}. Begin with state=None when the number of texts changes."
                )

        if begins is not None and (np.shape(begins) != shape[:2] or np.asarray(begins).dtype != bool):
            raise ValueError(
                f"begins says of each step of each text whether a sentence begins: booleans of shape {shape[:2]}, got "
                f"{np.asarray(begins).dtype} of shape {np.shape(begins)}"
            )

    def _zero(self, x: Operand) -> np.ndarray:
        return np.zeros((x.shape[0], self.n_hidden), value_of(self.weight_hh).dtype)


class RNN(Recurrent):
    r"""
    The plain recurrent layer (E2), from Xavier's $W$, an orthogonal $U$ and $b = 0$.

    Parameters
    ----------
    n_in
        Numbers in an input vector, $D$.
    n_hidden
        Numbers in the state, $H$.
    rng
        Source of the first weights.
    dtype
        Of the parameters.

    Attributes
    ----------
    weight_ih, weight_hh, bias : Parameter
        $W$, $U$ and $b$: "H D", "H H" and " H".

    Raises
    ------
    ValueError
        If a size is below one.

    Examples
    --------
    Two texts of three steps, in one go or in two:

    >>> rnn = RNN(5, 7, rng=np.random.default_rng(0))
    >>> x = np.random.default_rng(1).normal(size=(2, 3, 5)).astype(np.float32)
    >>> y, state = rnn(x)
    >>> y.shape, state.shape
    ((2, 3, 7), (2, 7))
    >>> _, state = rnn(x[:, :2])
    >>> bool(np.allclose(rnn(x[:, 2:], state)[0].data, y.data[:, 2:], atol=1e-6))
    True
    """

    blocks = 1

    def forward(self, x: Operand, state: Operand | None = None, begins: Begins = None) -> tuple[Any, State]:
        """
        The states after each step.

        Parameters
        ----------
        x
            "B T D".
        state
            What an earlier call returned, "B H"; zero if there was none.
        begins
            "B T", true at the steps before which the state is put to zero.

        Returns
        -------
        y : Tensor
            "B T H".
        state : ndarray
            The last one, a constant: no gradient passes from one call to the next (`neural.truncation`).

        Raises
        ------
        ValueError
            If the shapes do not fit.
        """
        self._checked(x, () if state is None else (state,), begins)
        h_0 = self._zero(x) if state is None else state
        y = rnn_sequence(x, h_0, self.weight_ih, self.weight_hh, self.bias, begins=begins)
        return y, value_of(y)[:, -1].copy()


class LSTM(Recurrent):
    r"""
    The long short-term memory (E9), from Xavier's $W$, orthogonal blocks of $U$, and $b = 1$ for the forget gate.

    Parameters
    ----------
    n_in
        Numbers in an input vector, $D$.
    n_hidden
        Numbers in the state, and in the cell, $H$.
    rng
        Source of the first weights.
    dtype
        Of the parameters.

    Attributes
    ----------
    weight_ih, weight_hh, bias : Parameter
        $W$, $U$ and $b$: "4*H D", "4*H H" and " 4*H", in blocks for $i$, $f$, $n$, $o$.

    Raises
    ------
    ValueError
        If a size is below one.

    Examples
    --------
    >>> lstm = LSTM(5, 7, rng=np.random.default_rng(0))
    >>> y, (h, c) = lstm(np.ones((2, 3, 5), np.float32))
    >>> y.shape, h.shape, c.shape
    ((2, 3, 7), (2, 7), (2, 7))
    >>> lstm.bias.data[7:14]
    array([1., 1., 1., 1., 1., 1., 1.], dtype=float32)
    """

    blocks = 4

    def __init__(self, n_in: int, n_hidden: int, *, rng: np.random.Generator, dtype: Any = np.float32) -> None:
        super().__init__(n_in, n_hidden, rng=rng, dtype=dtype)
        self.bias.data[n_hidden : 2 * n_hidden] = 1  # `neural.forget-bias`

    def forward(
        self, x: Operand, state: tuple[Operand, Operand] | None = None, begins: Begins = None
    ) -> tuple[Any, tuple[State, State]]:
        """
        The states after each step.

        Parameters
        ----------
        x
            "B T D".
        state
            What an earlier call returned, state and cell, "B H" each; zero if there was none.
        begins
            "B T", true at the steps before which the state is put to zero.

        Returns
        -------
        y : Tensor
            "B T H".
        state : pair of ndarray
            The last state and cell, constants: no gradient passes from one call to the next (`neural.truncation`).

        Raises
        ------
        ValueError
            If the shapes do not fit.
        """
        self._checked(x, () if state is None else state, begins)
        h_0, c_0 = (self._zero(x), self._zero(x)) if state is None else state
        out = lstm_sequence(x, h_0, c_0, self.weight_ih, self.weight_hh, self.bias, begins=begins)
        numbers = value_of(out)
        return out[:, :-1], (numbers[:, -2].copy(), numbers[:, -1].copy())
