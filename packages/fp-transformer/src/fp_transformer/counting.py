r"""
Counting: parameters, work and memory, before anything runs.

Whether a model fits into a machine, how long its training will take and how fast it can answer are questions of
counting, and a page of multiplications answers them before the first step. Where do the parameters sit, why is the work
of training *six times parameters times tokens*, when is that rule wrong, and what is it that fills the memory?

You need: `fp_transformer.config`, `fp_transformer.model`, `fp_attention.cost`, the gradient of a linear layer
(`neural.linear-gradient`). Letters: $D$ is the width of a head, and only in the rule 6ND a number of tokens, as it is
in `fp_transformer.scaling`; $\mu$ counts matrices here and is no mean.

## Parameters by part

`transformer.parameter-count` adds up all arrays. By part:

>>> from fp_transformer.config import TransformerConfig
>>> gpt2 = TransformerConfig.gpt2(vocab_size=50257, context_length=1024, n_layers=12, n_heads=12, d_model=768)
>>> smollm2 = TransformerConfig.llama(
...     vocab_size=49152, context_length=8192, n_layers=30, n_heads=9, n_kv_heads=3, d_model=576, d_ff=1536
... )
>>> for config in (gpt2, smollm2):
...     parts = parameter_parts(config).items()
...     print(*(f"{part} {n / config.n_parameters:.0%}" for part, n in parts))
embedding 31% positions 1% attention 23% feedforward 46% norms 0% output 0%
embedding 21% positions 0% attention 20% feedforward 59% norms 0% output 0%

In small models the embedding is a large part, and of a block the feed-forward layer is two thirds, and more if key
heads are shared.

## Work

Count the products of matrices, two flops for a multiplication and its addition. Let $M$ be how many numbers the
matrices have that each token is multiplied with: those of the blocks, and the output layer's, which is the embedding
when it is tied,

$$
M = V C + L \Big( 2 C^2 \big( 1 + \tfrac KH \big) + \mu\, C F \Big), \qquad \text{(E1)}
$$

with $\mu = 3$ matrices in Llama's feed-forward layer and $\mu = 2$ in GPT-2's. Embeddings are looked up, and do not
count.

**Claim** `transformer.flops`. The products of a forward step over $n$ new tokens of a text, with $p$ tokens before them
in a cache, take

$$
\begin{aligned}
&2 M n + 4 L C \Big( n p + \frac{n (n + 1)}{2} \Big) \ \text{flops, and for a text of } T \text{ tokens} \\
&2 M T + 2 L C\, T (T + 1).
\end{aligned} \qquad \text{(E2)}
$$

**Proof.** A token, a row of $k$ numbers, times a matrix of $k \times m$ numbers takes $2 k m$ flops, twice the numbers
of the matrix. Summed over the matrices of (E1), $2 M$ a token. The $i$-th new token looks at the $p$ tokens before, at
the $i - 1$ new ones before it and at itself: $\sum_{i=1}^n (p + i) = n p + \frac{n (n + 1)}2$ pairs in all. By
`attention.flops` scores and weights times values take $2 H D$ flops a pair each, together $4 C$ in each layer, as
$H D = C$. For a text, $p = 0$ and $n = T$. $\blacksquare$

**Claim** `transformer.training-flops`. If all parameters are trained, the products of a training step on a text take
three times (E2), $6 M T + 6 L C\, T (T + 1)$, where the weights of attention are kept. In words: six times parameters
times tokens, $6 M T$, times $1 + \varepsilon$ with

$$
\varepsilon = \frac{L C\, (T + 1)}{M}, \qquad
\varepsilon < \frac{T + 1}{12\, C} \ \text{ if } K = H \text{ and } \mu F = 8 C. \qquad \text{(E3)}
$$

**Proof.** Backward, a linear layer has two products, $G W$ and $G^\top X$, each with as many multiplications as the one
forward (`neural.linear-gradient`). Both are needed everywhere: the weights are trained, and the input of each layer
depends on the embedding, which is trained too. The two products over pairs take twice the forward's flops as well
(`attention.backward-flops`). So backward is twice forward, and the sum three times. The quotient of the two terms of
the sum is $\varepsilon$. With $K = H$ and $\mu F = 8 C$, (E1) is $M = V C + 12 L C^2 > 12 L C^2$. $\blacksquare$

This is the rule **6ND**, with $N$ for parameters and $D$ for the tokens of a training run. What it leaves out:

- *Pairs*, the $\varepsilon$ of (E3): nothing to speak of while a text is much shorter than $12\, C$, and most of the
  work once it is longer.
- *Numbers that are not multiplied*: if $N$ counts all parameters, it has the embedding in addition to the output layer
  of a model that is not tied, positions, biases and norms.
- *Everything else*: norms, activations, softmax, sums. It is a few flops for each number that a block writes, of which
  there are some $18\, C$ a token (below), against $24\, C^2$ flops a token in its matrices: at ten flops each less than
  $8 / C$ of the work. In time it is more than in flops, since these are limited by memory.

>>> for name, config in (("GPT-2", gpt2), ("SmolLM2", smollm2)):
...     for T in (256, 1024):
...         exact, rule = training_flops(config, T), 6 * config.n_parameters * T
...         print(f"{name} {T:5} {rule / exact:.3f}")
GPT-2   256 0.988
GPT-2  1024 0.936
SmolLM2   256 0.968
SmolLM2  1024 0.884

**From flops to time.** Divide the flops that a machine does in a second by those of a token, and the quotient is how
many tokens a second it could train on. What it reaches of that is its **model flops utilisation**, `utilisation`. The
flops are those of (E2) and no others, so that a program does not look better by computing things twice.

One token at a time the limit is another: all matrices, and the cache, are read for one token
(`attention.decode-intensity`). `decode_bytes` counts them, and the bytes that a machine reads in a second, divided by
that, are more tokens than it can generate in a second:

>>> read = decode_bytes(smollm2, 512)
>>> print(f"{read / 1e6:.0f} MB a token; at 20 GB/s at most {20e9 / read:.0f}")
562 MB a token; at 20 GB/s at most 36

## Memory of training

**States.** A parameter in float32 takes 4 bytes, its gradient 4 more, and Adam keeps two numbers for it, 8: in all
$16 N$ bytes. Training in 16 bits with a master copy takes as much, $2 + 2 + 4 + 8$.

**Activations.** What the way back needs has to be kept on the way there. What exactly is kept depends on how operations
are cut; for this package's:

**Claim** `transformer.activation-memory`. After the loss of $B$ texts of $T$ tokens has been computed, in float32, with
dropout and extra masks switched off, the recording holds, beside the parameters, $1 + B\, T\, A$ numbers of 4 bytes,

$$
A = L \Big( 10\, C + H + H w + \begin{cases} 3\, K D + 3 F + 2 \\ 2 F + 4 \end{cases} \Big)
  + \begin{cases} 2\, C + 1 \\ 3\, C + 2 \end{cases} + 2 V + 5,
\qquad \text{(E4)}
$$

above for Llama, below for GPT-2. $w$ is the mean width of the strips in which attention is computed, $\frac{T + r}{2}$
if strips of $r$ rows divide $T$ (`attention.causal-strips`).

**Proof.** Go through the operations; each keeps what it returned, and what is said to be saved besides. Reshapes and
exchanges of axes return views, which are no new numbers. Per token:

- *A norm*: $C$, and its inverse size, 1; LayerNorm its mean too, 1. Two in a block and one at the end.
- *Queries, keys, values* of Llama: $C + 2\, K D$, and the turned queries and keys, $C + K D$. Of GPT-2: $3\, C$.
- *Attention*: its output, $C$; saved are the exponentials of each strip, $H w$, and the sum of each row, $H$. Llama's
  output is laid out as its turned queries are, head by head, and is copied when heads are put side by side, another
  $C$; GPT-2's is laid out as its queries, token by token, and is not.
- *The output projection and the sum with the stream*: $2\, C$.
- *Feed-forward*: Llama $3 F$, gate, value and product; GPT-2 $2 F$, before and after GELU. Then $2\, C$ as before.
- *Outside the blocks*: the rows of the embedding, $C$, and the ids that chose them, of 8 bytes, so 2. GPT-2 adds
  positions, another $C$. The scores, $V$; the loss saves their exponentials, $V$, their sum, 1, and where the target
  stands, of 8 bytes, 2. The loss itself is the one number.

In a block of Llama the multiples of $C$ are $1 + 2 + 2 + 2 + 1 + 2 = 10$: norm, queries twice, output and copy,
projection and sum, norm, feed-forward and sum. In one of GPT-2 they are $1 + 3 + 1 + 2 + 1 + 2 = 10$. $\blacksquare$

The exponentials are what grows with the square of the length, $H T / 2$ numbers a token and block against some $18\, C$
for the rest; `fp_attention.tiled` keeps none of them. The two arrays of $B\, T\, V$ numbers at the end are often the
largest of all in small models. The way back gives up what it has passed, faster than gradients are added, so its
beginning is the moment at which most is held.

>>> memory = training_memory(smollm2, batch=8, length=512)
>>> for part, n in memory.parts().items():
...     print(f"{part:12}{n / 2**30:.2f} GiB")
parameters  0.50 GiB
gradients   0.50 GiB
optimizer   1.00 GiB
activations 7.63 GiB

## In practice

Systems count the same way: the report on PaLM (A. Chowdhery et al., 2022) defined the utilisation and reached 46
percent. The rule 6ND is from J. Kaplan et al. (2020), and `fp_transformer.scaling` is built on it. V. Korthikanti et
al. (2022) count $34\, C + 5\, H T$ bytes a token and layer for GPT-2's form in 16 bits, with dropout. Where activations
do not fit, they are computed again on the way back (`autograd.checkpoint`), which makes six into eight; where states do
not fit, they are split over machines (S. Rajbhandari et al., 2019). A mixture of experts has more parameters than its
tokens meet, so $M$ counts those that one token is multiplied with.
"""

from dataclasses import asdict, dataclass

from fp_transformer.config import TransformerConfig

__all__ = [  # the order of the page
    "parameter_parts",
    "matrix_parameters",
    "forward_flops",
    "training_flops",
    "tokens_per_second",
    "utilisation",
    "decode_bytes",
    "activation_bytes",
    "TrainingMemory",
    "training_memory",
    "Row",
    "Summary",
    "summary",
]

Real = float | int
_BYTES = 4  # of a number of float32


def parameter_parts(config: TransformerConfig) -> dict[str, int]:
    """
    How many parameters each part has.

    Parameters
    ----------
    config
        Family and sizes.

    Returns
    -------
    dict
        Part to number, all layers together. Their sum is `config.n_parameters`; a tied output has none of its own.
    """
    C, L = config.d_model, config.n_layers
    norm, attention, feedforward = _of_block(config)
    return {
        "embedding": config.vocab_size * C,
        "positions": 0 if config.is_llama else config.context_length * C,
        "attention": L * attention,
        "feedforward": L * feedforward,
        "norms": (2 * L + 1) * norm,
        "output": 0 if config.tied else config.vocab_size * C,
    }


def matrix_parameters(config: TransformerConfig) -> int:
    """
    $M$ of (E1): how many numbers each token is multiplied with.

    Parameters
    ----------
    config
        Family and sizes.

    Returns
    -------
    int
        The embedding counts as the output layer if it is that, and else not.

    Examples
    --------
    >>> matrix_parameters(TransformerConfig.gpt2(vocab_size=50, context_length=8, n_layers=2, n_heads=2, d_model=16))
    6944
    """
    attention, feedforward = _matrices(config)
    return config.vocab_size * config.d_model + config.n_layers * (attention + feedforward)


def forward_flops(config: TransformerConfig, n_tokens: int, past: int = 0) -> int:
    """
    The products of a forward step over one text (E2).

    Parameters
    ----------
    config
        Family and sizes.
    n_tokens
        New tokens.
    past
        Tokens before them, whose keys and values are in a cache.

    Returns
    -------
    int
        Flops.

    Raises
    ------
    ValueError
        If there is no token, or a negative number of them before.

    Examples
    --------
    A prompt of 512 tokens and one token after it, for SmolLM2-135M:

    >>> smollm2 = TransformerConfig.llama(
    ...     vocab_size=49152, context_length=8192, n_layers=30, n_heads=9, n_kv_heads=3, d_model=576, d_ff=1536
    ... )
    >>> [f"{forward_flops(smollm2, n, past) / 1e9:.2f}" for n, past in ((512, 0), (1, 512))]
    ['146.78', '0.30']
    """
    _check(n_tokens=n_tokens)
    if past < 0:
        raise ValueError(f"past is how many tokens came before, 0 or more, got {past}")
    pairs = n_tokens * past + n_tokens * (n_tokens + 1) // 2
    return 2 * matrix_parameters(config) * n_tokens + 4 * config.n_layers * config.d_model * pairs


def training_flops(config: TransformerConfig, n_tokens: int) -> int:
    """
    The products of a training step on one text, forward and backward (`transformer.training-flops`).

    Parameters
    ----------
    config
        Family and sizes.
    n_tokens
        Its length T.

    Returns
    -------
    int
        Flops.

    Raises
    ------
    ValueError
        If there is no token.
    """
    return 3 * forward_flops(config, n_tokens)


def tokens_per_second(
    config: TransformerConfig, flops_per_second: Real, length: int, *, training: bool = True, utilisation: Real = 1.0
) -> float:
    """
    How fast a machine goes through texts.

    Parameters
    ----------
    config
        Family and sizes.
    flops_per_second
        What the machine can do at most, such as a measured product of large matrices.
    length
        Tokens of a text.
    training
        Whether the way back is part of it.
    utilisation
        Which fraction of it is reached.

    Returns
    -------
    float
        Tokens a second.

    Raises
    ------
    ValueError
        If a number is not positive.

    Examples
    --------
    >>> config = TransformerConfig.gpt2(vocab_size=50257, context_length=1024, n_layers=12, n_heads=12, d_model=768)
    >>> round(tokens_per_second(config, 100e9, 1024, utilisation=0.5))
    63
    """
    _check(flops_per_second=flops_per_second, length=length, utilisation=utilisation)
    flops = (training_flops if training else forward_flops)(config, length)
    return float(utilisation * flops_per_second * length / flops)


def utilisation(
    config: TransformerConfig, speed: Real, flops_per_second: Real, length: int, *, training: bool = True
) -> float:
    """
    Which fraction of a machine's flops a run reaches: its model flops utilisation.

    Parameters
    ----------
    config
        Family and sizes.
    speed
        Tokens a second, as measured.
    flops_per_second, length, training
        As for `tokens_per_second`, which this inverts.

    Returns
    -------
    float
        1 would be all.

    Raises
    ------
    ValueError
        If a number is not positive.
    """
    _check(speed=speed)
    return float(speed / tokens_per_second(config, flops_per_second, length, training=training))


def decode_bytes(config: TransformerConfig, past: int, *, batch: int = 1, itemsize: Real = _BYTES) -> float:
    """
    What is read to generate one token for each of a batch of texts: all matrices once, and the caches.

    Parameters
    ----------
    config
        Family and sizes.
    past
        Tokens in the cache of each text.
    batch
        How many texts.
    itemsize
        Bytes of a number of the matrices; the caches are in float32. Quantised weights have fractions of a byte.

    Returns
    -------
    float
        Bytes.

    Raises
    ------
    ValueError
        If a number is not positive, or `past` is negative.
    """
    _check(batch=batch, itemsize=itemsize)
    from fp_attention.kv_cache import cache_bytes  # here: whoever only counts does without the kernels

    cache = cache_bytes(config.n_layers, config.n_kv_heads, config.d_head, past, batch, itemsize=_BYTES)
    return float(itemsize * matrix_parameters(config) + cache)


def activation_bytes(config: TransformerConfig, batch: int, length: int) -> int:
    """
    What the recording of a loss holds beside the parameters (E4).

    Parameters
    ----------
    config
        Family and sizes.
    batch, length
        $B$ texts of $T$ tokens.

    Returns
    -------
    int
        Bytes, of a model in float32.

    Raises
    ------
    ValueError
        If a number is not positive.
    """
    _check(batch=batch, length=length)
    held = _held(config, length)
    block = sum(held[part] for part in _PARTS)
    ends = held["embedding"] + held["norm"] + held["output"]
    return _BYTES * (1 + batch * (config.n_layers * block + ends))


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that training takes, by what they are for."""

    parameters: int
    """The numbers that are trained."""
    gradients: int
    """One for each."""
    optimizer: int
    """What it keeps for each."""
    activations: int
    """What the way back needs (E4)."""

    @property
    def total(self) -> int:
        """Their sum."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, int]:
        """By name."""
        return asdict(self)


def training_memory(config: TransformerConfig, batch: int, length: int, *, optimizer_arrays: int = 2) -> TrainingMemory:
    """
    The memory of training in float32.

    Parameters
    ----------
    config
        Family and sizes.
    batch, length
        $B$ texts of $T$ tokens in a step.
    optimizer_arrays
        How many numbers the optimizer keeps for each parameter: 2 for Adam, 1 for momentum, 0 for plain descent.

    Returns
    -------
    TrainingMemory

    Raises
    ------
    ValueError
        If a number is not positive, or `optimizer_arrays` is negative.
    """
    if optimizer_arrays < 0:
        raise ValueError(f"an optimizer keeps no fewer than 0 arrays, got optimizer_arrays={optimizer_arrays}")
    states = _BYTES * config.n_parameters
    return TrainingMemory(states, states, optimizer_arrays * states, activation_bytes(config, batch, length))


@dataclass(frozen=True)
class Row:
    """One part of a model in a `Summary`."""

    part: str
    """Its name, by the model's attributes."""
    count: int
    """How many of them there are; the other numbers are those of one."""
    parameters: int
    """Numbers in it."""
    flops: int
    """Of its products forward, for one token, the mean over a text."""
    activations: int
    """Bytes that training keeps of it, for the whole batch."""
    cache: int
    """Bytes that generation keeps of it for one text."""


@dataclass(frozen=True)
class Summary:
    """A model in numbers. As text it is a table."""

    rows: tuple[Row, ...]
    batch: int
    length: int

    @property
    def total(self) -> Row:
        """All parts together."""
        parameters, flops, activations, cache = (
            sum(row.count * getattr(row, name) for row in self.rows)
            for name in ("parameters", "flops", "activations", "cache")
        )
        return Row("total", 1, parameters, flops, activations, cache)

    def __str__(self) -> str:
        lines = [f"{'part':30}{'parameters':>14}{'flops a token':>16}{'activations':>14}{'cache':>12}"]
        for row in (*self.rows, self.total):
            name = row.part if row.count == 1 else f"{row.count} x {row.part}"
            lines.append(
                f"{name:30}{row.parameters:>14,}{row.flops:>16,}{_size(row.activations):>14}{_size(row.cache):>12}"
            )
        return "\n".join(lines)


def summary(config: TransformerConfig, batch: int = 1, length: int | None = None) -> Summary:
    """
    Parameters, flops and memory of each part.

    Parameters
    ----------
    config
        Family and sizes.
    batch, length
        $B$ texts of $T$ tokens, the whole context if not given: what flops, activations and caches are counted for.

    Returns
    -------
    Summary
        Blocks are alike, so each of their parts has one row, with their number.

    Raises
    ------
    ValueError
        If a number is not positive.

    Examples
    --------
    >>> print(summary(TransformerConfig.llama(vocab_size=65, context_length=32, n_layers=2, n_heads=4, d_model=48)))
    part                              parameters   flops a token   activations       cache
    embedding                              3,120               0       6.2 KiB         0 B
    2 x norm1                                 48               0       6.1 KiB         0 B
    2 x attention                          9,216          21,600      70.5 KiB    12.0 KiB
    2 x norm2                                 48               0       6.1 KiB         0 B
    2 x feedforward                       18,432          36,864      60.0 KiB         0 B
    norm                                      48               0       6.1 KiB         0 B
    output                                     0           6,240      16.6 KiB         0 B
    total                                 58,656         123,168     314.5 KiB    24.0 KiB
    """
    T = config.context_length if length is None else length
    _check(batch=batch, length=T)
    C, L = config.d_model, config.n_layers
    norm, attention, feedforward = _of_block(config)
    parts = parameter_parts(config)
    products = {name: 2 * n for name, n in zip(("attention", "feedforward"), _matrices(config), strict=True)}
    products["attention"] += 2 * C * (T + 1)  # pairs (E2), for one of T tokens
    products["output"] = 2 * config.vocab_size * C
    numbers = {
        "embedding": parts["embedding"] + parts["positions"],
        "norm1": norm,
        "attention": attention,
        "norm2": norm,
        "feedforward": feedforward,
        "norm": norm,
        "output": parts["output"],
    }
    held = _held(config, T)
    from fp_attention.kv_cache import cache_bytes

    cache = cache_bytes(1, config.n_kv_heads, config.d_head, T, itemsize=_BYTES)
    rows = [
        Row(
            part,
            L if part in _PARTS else 1,
            n,
            products.get(part, 0),
            _BYTES * (batch * held[part] + (part == "output")),
            cache if part == "attention" else 0,
        )
        for part, n in numbers.items()
    ]
    return Summary(tuple(rows), batch, T)


_PARTS = ("norm1", "attention", "norm2", "feedforward")
"""Of a block."""


def _matrices(config: TransformerConfig) -> tuple[int, int]:
    """Numbers in the matrices of a block: of attention and of the feed-forward layer."""
    C, F = config.d_model, config.d_ff
    return 2 * C * (C + config.n_kv_heads * config.d_head), (3 if config.is_llama else 2) * C * F


def _of_block(config: TransformerConfig) -> tuple[int, int, int]:
    """Parameters of a norm, of attention and of the feed-forward layer."""
    C, F = config.d_model, config.d_ff
    attention, feedforward = _matrices(config)
    if config.is_llama:
        return C, attention, feedforward
    return 2 * C, attention + 4 * C, feedforward + F + C


def _held(config: TransformerConfig, T: int) -> dict[str, int]:
    """Numbers that the recording holds of each part for one text of T tokens, each line of the proof of (E4)."""
    C, F, H, llama = config.d_model, config.d_ff, config.n_heads, config.is_llama
    KD = config.n_kv_heads * config.d_head
    norm = T * (C + (1 if llama else 2))
    from fp_attention.scaled_dot import _rows as rows_of_a_strip

    r = rows_of_a_strip(H // config.n_kv_heads, T)
    scores = sum((min(first + r, T) - first) * min(first + r, T) for first in range(0, T, r))
    return {
        "embedding": T * ((1 if llama else 2) * C + 2),
        "norm1": norm,
        "attention": T * (6 * C + (3 * KD if llama else 0) + H) + H * scores,
        "norm2": norm,
        "feedforward": T * ((3 if llama else 2) * F + 2 * C),
        "norm": norm,
        "output": T * (2 * config.vocab_size + 3),
    }


def _size(n: int) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024 or unit == "GiB":
            break
        n /= 1024  # type: ignore[assignment]
    return f"{n} B" if unit == "B" else f"{n:.1f} {unit}"


def _check(**numbers: Real) -> None:
    for name, n in numbers.items():
        if not n > 0:
            raise ValueError(f"{name} must be positive, got {n}")
