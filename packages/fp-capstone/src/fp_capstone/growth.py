r"""
Growth: what does more cost?

A model twice as wide, twice as deep, a context twice as long, twice as many texts in a step: what does each of them do
to the time of a token? On logarithmic axes a power law is a line, and its slope is the answer in one number, "time goes
with the 1.6th power of the width". Where does that number come from, why is it never the whole number that the formula
seems to promise, and what may be read off a fitted line?

You need: `fp_transformer.counting` for the flops, `fp_attention.cost` for the square of attention, slopes
(`fp_markov.mathematics`), the line of least squares (`fp_markov.growth`).

## Derivation: the work of one token

By `transformer.training-flops` a training step on a text of $T$ tokens takes $6 M T + 6 L C\, T (T + 1)$ flops, with
$M = V C + L m C^2$ numbers in the matrices. Here $m$ is how many squares of the width a block has,

$$
m = 2 \Big( 1 + \frac KH \Big) + \mu \frac FC,
$$

with $\mu = 3$ matrices in Llama's feed-forward layer and $2$ in GPT-2's: 12 in GPT-2, where $K = H$ and $F = 4 C$.
Divided by $T$, a token takes

$$
\varphi = \underbrace{6\, V C}_{\text{output}} + \underbrace{6\, m L C^2}_{\text{blocks}}
  + \underbrace{6\, L C\, (T + 1)}_{\text{pairs}}. \qquad \text{(G1)}
$$

>>> from fp_transformer.config import TransformerConfig
>>> def gpt2(L, C, T):
...     return TransformerConfig.gpt2(vocab_size=65, context_length=T, n_layers=L, n_heads=C // 32, d_model=C)
>>> for L, C, T in ((2, 32, 32), (4, 128, 64), (4, 256, 128), (6, 384, 256)):
...     work = token_flops(gpt2(L, C, T), T)
...     print(f"{work.total / 1e6:6.2f} million a token:", *(f"{k} {v:.0%}" for k, v in work.shares.items()))
  0.17 million a token: output 7% blocks 85% pairs 7%
  4.97 million a token: output 1% blocks 95% pairs 4%
 19.77 million a token: output 1% blocks 95% pairs 4%
 67.40 million a token: output 0% blocks 95% pairs 5%

## Sums of powers

**Claim** `capstone.local-exponent`. Let $f(x) = \sum_k a_k x^{p_k}$ with all $a_k > 0$, for $x > 0$, and let
$w_k = a_k x^{p_k} / f(x)$ be the share of a term. The slope of $\ln f$ over $\ln x$ is

$$e(x) = \sum_k w_k\, p_k, \qquad \text{(G2)}$$

the mean of the powers, weighted by shares. It lies between the least power and the largest, never falls as $x$ grows,
and tends to the largest power for $x \to \infty$ and to the least for $x \to 0$.

**Proof.** Write $x = e^u$. Then $f = \sum_k a_k e^{p_k u}$, whose slope in $u$ is $\sum_k p_k\, a_k e^{p_k u}$
(`markov.slope-rules`, `markov.log-slope`), and $\ln f$ has that slope divided by $f$, which is (G2). The shares are
positive and sum to one, so their mean of the powers lies between the least and the largest. Next, $\ln w_k = \ln a_k +
p_k u - \ln f$ has the slope $p_k - e$, so $w_k$ has the slope $w_k (p_k - e)$, and $e$ has

$$
\sum_k p_k\, w_k (p_k - e) = \sum_k (p_k - e)\, w_k (p_k - e) + e \sum_k w_k (p_k - e)
  = \sum_k w_k (p_k - e)^2 \ge 0,
$$

as $\sum_k w_k (p_k - e) = e - e = 0$; so $e$ never falls (`markov.slope-bound`). Last, put terms of equal power
together and let $p_1$ be the largest. Then $1 / w_1 = 1 + \sum_{k > 1} (a_k / a_1)\, x^{p_k - p_1} \to 1$ for
$x \to \infty$, as each power in the sum is negative: $w_1 \to 1$, the other shares tend to $0$, and $e \to p_1$. For
$x \to 0$ the same holds with the least power. $\blacksquare$

So a fitted exponent of 1.6 names no new law. It says that near there 60% of the work goes with the square and 40% with
the first power, or something like it.

**Claim** `capstone.token-exponents`. Let $s_V, s_M, s_P$ be the shares of output, blocks and pairs in (G1). The slope
of $\ln \varphi$ is $1 + s_M$ over $\ln C$, if $F / C$ and $K / H$ stay, $s_M + s_P$ over $\ln L$,
$s_P\, \frac{T}{T + 1}$ over $\ln T$, and $0$ over $\ln B$.

**Proof.** Over each letter (G1) is a sum of powers. In $C$ they are 1, 2, 1, so (G2) is
$s_V + 2 s_M + s_P = 1 + s_M$. In $L$ they are 0, 1, 1. In $T$ the third term splits into $6 L C\, T$, of power 1 and
with the share $s_P\, T / (T + 1)$, and $6 L C$, of power 0 as the rest. $B$ is not in (G1). $\blacksquare$

Between 1 and 2 for the width, between 0 and 1 for depth and context:

>>> for L, C, T in ((2, 32, 32), (6, 384, 256), (6, 384, 4096)):
...     print(L, C, T, {what: round(e, 2) for what, e in exponents(gpt2(L, C, T), T).items()})
2 32 32 {'width': 1.85, 'depth': 0.93, 'context': 0.07, 'batch': 0.0}
6 384 256 {'width': 1.95, 'depth': 1.0, 'context': 0.05, 'batch': 0.0}
6 384 4096 {'width': 1.53, 'depth': 1.0, 'context': 0.47, 'batch': 0.0}

## What a fitted line measures

**Claim** `capstone.fitted-slope`. Let $u_1 < \dots < u_n$, and $b_i = \frac{y_{i+1} - y_i}{u_{i+1} - u_i}$ be the slope
from a point to the next. The slope (E4) of `markov.least-squares` is a mean of the $b_i$ with weights that are positive
and depend on the $u_i$ only:

$$
\beta = \frac{\sum_i c_i\, (u_{i+1} - u_i)\, b_i}{\sum_i c_i\, (u_{i+1} - u_i)}, \qquad
c_i = \sum_{j > i} (u_j - \bar u) > 0. \qquad \text{(G3)}
$$

**Proof.** As $\sum_j (u_j - \bar u) = 0$, the numerator of (E4) is $\sum_j (u_j - \bar u)(y_j - y_1)$, and
$y_j - y_1 = \sum_{i < j} (u_{i+1} - u_i)\, b_i$. Exchange the sums: $(u_{i+1} - u_i)\, b_i$ occurs once for each
$j > i$, with the factor $u_j - \bar u$, so the numerator is the one above. The denominator of (E4) is its numerator for
$y = u$, where all $b_i$ are 1. Finally $c_i > 0$ for $1 \le i < n$: if $u_{i+1} > \bar u$, all its terms are positive;
otherwise $u_1, \dots, u_i$ lie below $\bar u$, and $c_i = -\sum_{j \le i} (u_j - \bar u) > 0$. $\blacksquare$

By `markov.slope-bound` each $b_i$ lies between the least and the largest $e(x)$ on its interval. So the fit to a sum of
powers lies between the exponents at the two ends of the range, and what a formula predicts for a fit is the fit to the
formula's values at the same points. Fitted over the upper half alone it is nearer to where large models are. Its
standard error is that of `transformer.least-squares-error`, $\sigma / \sqrt{\sum_i (u_i - \bar u)^2}$, with
$\sigma^2$ estimated by the sum of squares over $n - 2$. It tells how far the points are from a line, of which noise is
only one cause: a sum of powers bends.

## Where pairs overtake matrices

**Claim** `capstone.pairs-overtake`. Suppose that a flop of the pairs takes $\rho$ times as long as one of the matrices.
Pairs take as long as matrices at one length, and longer beyond it:

$$T^* = \frac{M}{\rho L C} - 1 = \frac1\rho \Big( m C + \frac VL \Big) - 1. \qquad \text{(G4)}$$

There the slope of the time of a token over $\ln T$ is $\frac12 \cdot \frac{T^*}{T^* + 1}$.

**Proof.** Matrices take $6 M$ units of time a token, pairs $6 \rho L C (T + 1)$, which grows with $T$. They are equal
where $T + 1 = M / (\rho L C)$. The share of the pairs is $\frac12$ there, and the slope is that of
`capstone.token-exponents`, whose proof does not change if the third term has a factor. $\blacksquare$

For $\rho = 1$ and without the output this is `attention.crossover` with the network counted, $T + 1 = 12\, C$ for
GPT-2. What $\rho$ is, is not obvious. On one side are small products, and for each pair and head an exponential and a
few passes over memory, which (G1) does not count; on the other side are norms, activations and the optimizer, which it
does not count either. It is measured: a line through the times of a token over $T$ has doubled its start at about
$T^*$.

>>> config = gpt2(4, 128, 64)
>>> [round(overtaking_length(config, cost)) for cost in (1, 2, 4)]
[1551, 775, 387]

## What is paid once a step

**Claim** `capstone.half-batch`. Let a step on $B$ texts take $t_0 + B\, t_1$ seconds, $t_0, t_1 > 0$. The time of a
token falls with the slope $-\frac{t_0}{t_0 + B t_1}$ over $\ln B$. At $B_{1/2} = t_0 / t_1$ this is $-\frac12$, and a
token takes twice as long as it does in the limit of large batches. It takes at most $1 + \varepsilon$ times the limit
exactly if $B \ge B_{1/2} / \varepsilon$.

**Proof.** A token takes $\frac1T \big( t_0 B^{-1} + t_1 \big)$, powers $-1$ and $0$ of $B$, so (G2) is minus the share
of the first term. The limit is $t_1 / T$, and the ratio to it is $1 + \frac{t_0}{B t_1} = 1 + B_{1/2} / B$, which is 2
at $B_{1/2}$, and at most $1 + \varepsilon$ exactly if $B \ge B_{1/2} / \varepsilon$. $\blacksquare$

What is paid once: the calls from Python into NumPy, whose number does not depend on the sizes; waking the threads; and
everything that is done to parameters and not to tokens.

**Claim** `capstone.state-traffic`. Let a step with AdamW read the $P$ parameters once forward and once backward, write
the gradients once, and update once, in float32, with nothing of it left in a cache from one to the next. It moves
$40\, P$ bytes. On a machine that does $\beta$ flops in the time of a byte, this takes longer than the flops of the
matrices exactly if the step has fewer than $\frac{20}{3}\, \beta\, \frac PM$ tokens.

**Proof.** The update reads parameters, gradients and the two moments, and writes all but the gradients, $4 + 3$ numbers
for each parameter. With the two readings and the writing before it, $10$ numbers of 4 bytes, $40\, P$ bytes. For $n$
tokens the matrices take $6 M n$ flops, which is less than $40\, P \beta$ exactly if
$n < \frac{40 P \beta}{6 M}$. $\blacksquare$

With $P \approx M$ it is about $7 \beta$ tokens, and steps on fewer wait for memory. On a machine of 400 GFLOP/s and 20
GB/s, and with the states too large for its caches:

>>> round(state_tokens(gpt2(6, 384, 256), 400 / 20))
135

The activations are the other traffic. They grow with the tokens, as flops do, and it is the width that decides between
the two: a matrix of $C \times C$ does $2 C$ flops for each number that it is multiplied with.

## Measured

Each of the four is changed alone. Where the context grows the number of *tokens* in a step stays, not that of texts, so
that what is paid once has the same share. The exponents are fitted to the times of `fp_capstone` and of PyTorch, and to
(G1).

<!-- figure: growth -->

Time grows more slowly with the width than flops do: narrow matrices reach less of the peak, and norms and activations
go with the first power. So the fit to the upper half is nearer to (G1), and steeper, than the fit to all points.

## Memory

Time can be waited for, memory cannot. A step holds parameters, gradients (a set for each thread,
`fp_capstone.parallel`), two moments for each parameter, and what the way back will read.

**Claim** `capstone.tape-numbers`. In training without dropout the tape of a block holds, for each token, on average

$$
A = 7\, C + 2\, K D + \begin{cases} 3 F \\ 2 F \end{cases} + H (1 + w) + 2 \ \text{numbers},
\qquad \text{(G5)}
$$

above for Llama, below for GPT-2, with $w$ the mean width of the strips of attention, $\frac{T + r}{2}$ if strips of $r$
rows divide $T$. A step that keeps all tapes has $L A + 5\, C + V + 1$ numbers a token when the way back enters the last
block, and one that computes tapes again has $L C + A + 5\, C + V + 1$.

**Proof.** In the order of `fp_capstone.block`: a norm keeps its output, the normalised stream and one factor,
$2\, C + 1$. Queries, keys and values are $C + 2\, K D$; attention keeps them, the scaled queries, $C$, its output, $C$,
the sums of rows, $H$, and the weights. A row of a strip has as many as the strip sees, in each head; over all rows this
is $H w$ on average, and if strip $i = 1, \dots, n$ of $r = T / n$ rows sees $i r$ positions,
$w = \frac rn (1 + \dots + n) = \frac{r (n + 1)}{2} = \frac{T + r}{2}$. The second norm has $2\, C + 1$ again. The
feed-forward layer keeps the slopes of its bend in the place of what the bend has read, $F$ numbers or Llama's $2 F$,
and the bent units, $F$. What the branches add to the stream is not kept, nor is the stream. The sum is (G5).

Outside the blocks there are the stream, $C$, the last norm, $2\, C + 1$, the logits, $V$, whose gradient takes their
place, and the gradients of the norm's output and input, $2\, C$. A step that computes tapes again keeps the stream in
front of each block, $L C$, and has one tape at a time. $\blacksquare$

Then there is scratch, a few arrays for one block (`capstone.arena-peak`). As weights of attention are $H w$ of $A$, the
memory of a token grows with the context too:

>>> for L, C, T in ((4, 128, 64), (6, 384, 256), (6, 384, 1024)):
...     config = gpt2(L, C, T)
...     kept, again = (step_memory(config, 16, T, recompute=again) for again in (False, True))
...     print(f"{tape_numbers(config, T) / C:.1f} C; {kept.total / 2**20:.0f} MiB, again {again.total / 2**20:.0f} MiB")
19.0 C; 53 MiB, again 27 MiB
22.0 C; 989 MiB, again 364 MiB
34.0 C; 5194 MiB, again 1254 MiB

<!-- figure: memory -->

## In practice

Exponents are quoted for budgets: who doubles the width of a large model pays four times as much a token, and who
doubles its depth twice as much, so the same parameters cost the same either way, and shape is chosen by other reasons
(J. Kaplan and others, 2020, found it to matter little). Long contexts are trained last, on a model that is nearly done,
because it is beyond (G4) that they cost much more. Measured speeds do not extrapolate over a boundary of the machine,
such as the size of a cache: a line fitted below one says nothing about what lies above.
"""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float, Num

from fp_capstone.attention import ROWS
from fp_transformer.config import TransformerConfig
from fp_transformer.counting import matrix_parameters

__all__ = [  # the order of the page
    "TokenFlops",
    "token_flops",
    "local_exponent",
    "exponents",
    "PowerFit",
    "fit_power",
    "overtaking_length",
    "Overhead",
    "fit_overhead",
    "state_bytes",
    "state_tokens",
    "tape_numbers",
    "StepMemory",
    "step_memory",
]

Real = float | int


@dataclass(frozen=True)
class TokenFlops:
    """The terms of (G1), forward and backward."""

    output: int
    """The output layer."""
    blocks: int
    """The matrices of all blocks."""
    pairs: int
    """The products of attention, on average over the text."""

    @property
    def total(self) -> int:
        """Their sum."""
        return self.output + self.blocks + self.pairs

    @property
    def shares(self) -> dict[str, float]:
        """Each divided by the sum."""
        return {name: flops / self.total for name, flops in asdict(self).items()}


def token_flops(config: TransformerConfig, length: int) -> TokenFlops:
    """
    What a token takes in training, (G1).

    Parameters
    ----------
    config
        Family and sizes.
    length
        Tokens of a text, $T$.

    Returns
    -------
    TokenFlops

    Raises
    ------
    ValueError
        If there is no token.
    """
    if length < 1:
        raise ValueError(f"a text has at least one token, got length={length}")
    C = config.d_model
    output = 6 * config.vocab_size * C
    return TokenFlops(output, 6 * matrix_parameters(config) - output, 6 * config.n_layers * C * (length + 1))


def local_exponent(coefficients: Num[np.ndarray, " K"], powers: Num[np.ndarray, " K"], x: Real) -> float:
    """
    The slope (G2) of a sum of powers on logarithmic axes.

    Parameters
    ----------
    coefficients, powers
        $a_k > 0$ and $p_k$.
    x
        Where; positive.

    Returns
    -------
    float
        Between the least power and the largest.

    Raises
    ------
    ValueError
        If a coefficient or `x` is not positive.

    Examples
    --------
    >>> [round(local_exponent(np.array([1, 1]), np.array([1, 2]), x), 2) for x in (0.01, 1, 100)]
    [1.01, 1.5, 1.99]
    """
    if not (x > 0 and (coefficients > 0).all()):
        raise ValueError(f"x and all coefficients must be positive, got x={x} and {coefficients.tolist()}")
    logs = np.log(coefficients) + powers * np.log(x)
    terms = np.exp(logs - logs.max())
    return float(terms @ powers / terms.sum())


def exponents(config: TransformerConfig, length: int) -> dict[str, float]:
    """
    How the flops of a token go with each size near this one (`capstone.token-exponents`).

    Parameters
    ----------
    config
        Family and sizes.
    length
        Tokens of a text, $T$.

    Returns
    -------
    dict
        For `width`, `depth`, `context` and `batch`.

    Raises
    ------
    ValueError
        If there is no token.
    """
    share = token_flops(config, length).shares
    return {
        "width": 1 + share["blocks"],
        "depth": share["blocks"] + share["pairs"],
        "context": share["pairs"] * length / (length + 1),
        "batch": 0.0,
    }


@dataclass(frozen=True)
class PowerFit:
    """A line on logarithmic axes, `constant * x**exponent`."""

    exponent: float
    """Its slope."""
    error: float
    """The slope's standard error; nan for two points."""
    constant: float
    """Its value at 1."""

    def __call__(self, x: Num[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The fitted values."""
        return np.asarray(self.constant * x**self.exponent)


def fit_power(x: Num[np.ndarray, " n"], y: Num[np.ndarray, " n"]) -> PowerFit:
    """
    The power law of least squares, by `markov.least-squares` on logarithms.

    Parameters
    ----------
    x, y
        Positive numbers, at least two different ones in `x`.

    Returns
    -------
    PowerFit

    Raises
    ------
    ValueError
        If a number is not positive, or all `x` are equal.

    Examples
    --------
    >>> x = np.array([1, 2, 4, 8])
    >>> found = fit_power(x, x + x**2)
    >>> f"{found.exponent:.2f} +- {found.error:.2f}"
    '1.72 +- 0.04'
    """
    if x.shape != y.shape or not ((x > 0).all() and (y > 0).all()) or len(np.unique(x)) < 2:
        raise ValueError(
            f"a power law needs positive x and y, as many of one as of the other, and two different x, got "
            f"x={x.tolist()} and y={y.tolist()}"
        )
    u, v = np.log(x), np.log(y)
    middle = u.mean()
    u = u - middle
    S = u @ u
    slope = float(u @ v / S)
    residuals = v - v.mean() - slope * u
    freedom = len(u) - 2
    error = float(np.sqrt(residuals @ residuals / freedom / S)) if freedom else float("nan")
    return PowerFit(slope, error, float(np.exp(v.mean() - slope * middle)))


def overtaking_length(config: TransformerConfig, cost: Real = 1.0) -> float:
    """
    $T^*$ of (G4): the length at which pairs take as long as matrices.

    Parameters
    ----------
    config
        Family and sizes.
    cost
        How many times as long a flop of the pairs takes, $\\rho$.

    Returns
    -------
    float
        Tokens; may be negative, where pairs are the longer from the start.

    Raises
    ------
    ValueError
        If `cost` is not positive.
    """
    if not cost > 0:
        raise ValueError(f"cost is a ratio of times, positive, got {cost}")
    return matrix_parameters(config) / (cost * config.n_layers * config.d_model) - 1


@dataclass(frozen=True)
class Overhead:
    """A step's time as a line over the batch, `once + B * each`."""

    once: float
    """Seconds whatever the batch, $t_0$."""
    each: float
    """Seconds a text, $t_1$."""

    @property
    def half_batch(self) -> float:
        """The batch at which both take as long."""
        return self.once / self.each


def fit_overhead(batch: Num[np.ndarray, " n"], seconds: Num[np.ndarray, " n"]) -> Overhead:
    """
    The line with the least sum of squares of relative errors.

    Parameters
    ----------
    batch
        Texts a step, at least two different numbers.
    seconds
        Times of a step, positive.

    Returns
    -------
    Overhead

    Raises
    ------
    ValueError
        If a time is not positive, or all batches are equal.

    Examples
    --------
    >>> found = fit_overhead(np.array([1, 2, 8]), np.array([0.5, 0.7, 1.9]))
    >>> round(found.once, 9), round(found.each, 9), round(found.half_batch, 9)
    (0.3, 0.2, 1.5)
    """
    if batch.shape != seconds.shape or not (seconds > 0).all() or len(np.unique(batch)) < 2:
        raise ValueError(
            f"a line needs two different batches and a positive time for each, got {batch.tolist()} and "
            f"{seconds.tolist()}"
        )
    lines = np.stack([np.ones(len(batch)), batch], axis=1) / seconds[:, None]
    once, each = np.linalg.lstsq(lines, np.ones(len(batch)), rcond=None)[0].tolist()
    return Overhead(once, each)


def state_bytes(config: TransformerConfig) -> int:
    """
    What a step moves of parameters, gradients and AdamW's moments (`capstone.state-traffic`).

    Parameters
    ----------
    config
        Family and sizes.

    Returns
    -------
    int
        Bytes, in float32.
    """
    return 40 * config.n_parameters


def state_tokens(config: TransformerConfig, balance: Real) -> float:
    """
    The number of tokens in a step below which its states take longer than its flops.

    Parameters
    ----------
    config
        Family and sizes.
    balance
        Flops that the machine does in the time of a byte.

    Returns
    -------
    float
        Tokens.

    Raises
    ------
    ValueError
        If `balance` is not positive.

    Examples
    --------
    At 400 billion flops and 20 billion bytes a second:

    >>> config = TransformerConfig.gpt2(vocab_size=65, context_length=64, n_layers=4, n_heads=4, d_model=128)
    >>> round(state_tokens(config, 400 / 20))
    136
    """
    if not balance > 0:
        raise ValueError(f"balance is flops a byte, positive, got {balance}")
    return state_bytes(config) * balance / (6 * matrix_parameters(config))


def tape_numbers(config: TransformerConfig, length: int) -> float:
    """
    What the tape of a block holds for each token, on average (G5).

    Parameters
    ----------
    config
        Family and sizes.
    length
        Tokens of a text, $T$.

    Returns
    -------
    float
        Numbers, without dropout's masks.

    Raises
    ------
    ValueError
        If there is no token.
    """
    if length < 1:
        raise ValueError(f"a text has at least one token, got length={length}")
    C, H, F = config.d_model, config.n_heads, config.d_ff
    stops = [min(start + ROWS, length) for start in range(0, length, ROWS)]
    seen = sum((stop - start) * stop for start, stop in zip([0, *stops], stops, strict=False)) / length
    return 7 * C + 2 * config.n_kv_heads * config.d_head + (3 if config.is_llama else 2) * F + H * (1 + seen) + 2


@dataclass(frozen=True)
class StepMemory:
    """Bytes that a step holds in float32, by what they are for; scratch is left out."""

    parameters: int
    """The numbers that are trained."""
    gradients: int
    """A set for each thread."""
    optimizer: int
    """AdamW's two moments."""
    activations: int
    """Tapes, and what lies outside the blocks."""

    @property
    def total(self) -> int:
        """Their sum."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, int]:
        """By name."""
        return asdict(self)


def step_memory(
    config: TransformerConfig, batch: int, length: int, threads: int = 1, recompute: bool = False
) -> StepMemory:
    """
    What a training step holds when the way back begins (`capstone.tape-numbers`).

    Parameters
    ----------
    config
        Family and sizes.
    batch, length
        Texts in a step, and their tokens.
    threads
        Shares of the batch, each with gradients of its own.
    recompute
        Whether tapes are computed again.

    Returns
    -------
    StepMemory

    Raises
    ------
    ValueError
        If a number is below 1.

    Examples
    --------
    >>> config = TransformerConfig.gpt2(vocab_size=65, context_length=64, n_layers=4, n_heads=4, d_model=128)
    >>> step_memory(config, 12, 64, threads=2)
    StepMemory(parameters=3239424, gradients=6478848, optimizer=6478848, activations=32126976)
    """
    if batch < 1 or threads < 1:
        raise ValueError(f"a step has at least one text and one thread, got batch={batch} and threads={threads}")
    C, L, tape = config.d_model, config.n_layers, tape_numbers(config, length)
    kept = L * C + tape if recompute else L * tape
    states = 4 * config.n_parameters
    activations = round(4 * batch * length * (kept + 5 * C + config.vocab_size + 1))
    return StepMemory(states, threads * states, 2 * states, activations)
