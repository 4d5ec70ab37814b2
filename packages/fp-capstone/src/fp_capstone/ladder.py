r"""
From loops to the limit of the machine.

The derivations of this package, typed in as they stand, are a program that is right and a thousand times too slow, or
several thousand. From it to the engine lead five rungs, each one idea faster than the one below, all taking the same
step from the same weights to the same gradients. What does each idea save, how can one know beforehand, and where does
it end?

You need: `fp_capstone.model`, `fp_capstone.parallel`; flops and intensity (`fp_attention.cost`), the flops of a step
(`fp_transformer.counting`).

## Five rungs

| rung | what a step is made of | the idea |
|---|---|---|
| loops | numbers, one at a time, in Python (`Loops`) | the formulas, read literally |
| vectorised | whole arrays; sums of products without a library (`Arrays`) | one call does many numbers |
| BLAS | the same lines with `@` for the products | a product reuses what it has read |
| fused | `fp_capstone.model` on one core | passes on pieces that stay in the cache; nothing computed twice |
| threaded | `fp_capstone.parallel` | every core does all of it, for a part of the batch |

The first three share one function, `ladder_gradients`, which says in which order operations follow each other, and
differ in the operations they hand to it. The loops call nothing of the engine's and no NumPy: they are its oracle.

>>> config = TransformerConfig.gpt2(vocab_size=5, context_length=3, n_layers=1, n_heads=2, d_model=4)
>>> model = Model(config, np.random.default_rng(0), np.float64)
>>> ids, targets = np.array([[1, 2, 3], [0, 4, 4]]), np.array([[2, 3, 0], [4, 4, 1]])
>>> for operations in (Loops(), Arrays(einsum_product), Arrays(np.matmul)):
...     print(f"{ladder_gradients(operations, model, ids, targets)[0]:.12f}")
1.622330700224
1.622330700224
1.622330700224
>>> print(f"{model.loss_and_grads(ids, targets)[0]:.12f}")
1.622330700224

<!-- figure: ladder -->

A step needs the flops of `transformer.training-flops` for each text, six for each weight and token and those of the
pairs in attention, in the mathematics; whatever else a program does is not counted in its favour. For the two sizes
that the ladder is measured at, and a machine of $10^{11}$ flops a second:

>>> for T, L, H, C, B in (SIZES["tiny"], SIZES["cpu"]):
...     config = TransformerConfig.gpt2(vocab_size=65, context_length=T, n_layers=L, n_heads=H, d_model=C)
...     F = step_flops(config, B, T)
...     print(f"{F / 1e9:.3f} GFLOP, {F / 1e11 * 1e3:.2f} ms")
0.044 GFLOP, 0.44 ms
3.816 GFLOP, 38.16 ms

## From loops to arrays: the price of a call

To multiply two numbers, Python looks up both, finds out that they are floats, finds the function for their product,
makes an object for the result, and multiplies. All but the last is the price of asking. A whole-array operation pays
it once.

**Claim** `capstone.call-overhead`. Let a call cost $c$ seconds before the first of its $n$ numbers and $1 / r$ seconds
for each. Its rate in numbers a second is

$$
\frac{n}{c + n / r} = r \cdot \frac{n}{n + n_{1/2}}, \qquad n_{1/2} = c\, r, \qquad \text{(R1)}
$$

half of $r$ at $n = n_{1/2}$. Calls that go through $N$ numbers in pieces of $n$ have the same rate, whatever $N$ is,
as long as $n$ divides $N$.

**Proof.** Multiply numerator and denominator by $r$: $\frac{r n}{c r + n}$. At $n = c r$ that is $\frac{r}{2}$. There
are $N / n$ calls; they take $\frac{N}{n} \big( c + \frac{n}{r} \big)$ seconds for $N$ numbers, and the factor
$\frac{N}{n}$ cancels in the rate. $\blacksquare$

With a microsecond a call and $10^9$ numbers a second, $n_{1/2}$ is a thousand: a number at a time gets a thousandth of
the rate, and pieces of 32,768 nearly all of it.

>>> [round(call_efficiency(n, overhead=1e-6, rate=1e9), 3) for n in (1, 1000, 32_768)]
[0.001, 0.5, 0.97]

This explains the first rung, and the smallest size too: a step of a model with $L$ layers makes some number of calls
that depends on $L$ only. The table below has the time of a step in which every array has next to no numbers, and it is
a good part of the time of the size tiny; no other idea of this page helps against that.

## Two limits

**Claim** `capstone.roofline`. A computation does $F$ flops and moves $Q$ bytes between memory and processor, on a
machine that does at most $R$ flops and moves at most $\beta$ bytes in a second. Let $I = F / Q$ be its intensity.

1. Its rate, in flops a second, is at most $\min(R,\, I \beta)$.
2. If it begins with both at once, flops and bytes, and neither waits for the other at full speed, it reaches this
   bound. If it never does both at once, its rate is $1 / \big( \frac1R + \frac1{I \beta} \big)$, which is
   at least half of the bound.

**Proof.** Flops alone take $\frac{F}{R}$ seconds and bytes alone $\frac{Q}{\beta}$, so the time is at least the larger
of the two. The rate is $F$ divided by the time, at most the smaller of $F \cdot \frac{R}{F} = R$ and
$F \cdot \frac{\beta}{Q} = I \beta$. If both go on at the same time from the beginning, the time is the larger of the
two exactly. One after the other they take $\frac FR + \frac Q\beta = F \big( \frac1R + \frac1{I \beta} \big)$, and the
sum of two positive numbers is at most twice the larger. $\blacksquare$

Drawn with logarithmic axes the bound is a roof: it rises with the intensity up to the **ridge** $I = R / \beta$ and is
flat from there. Left of the ridge only moving fewer bytes helps, and on the right of it only doing fewer flops. A cache
is a memory too, with a roof of its own: the same claim holds between the cache and the processor. Exponentials, roots
and quotients count as one flop here, although a processor needs a dozen for them, which is why GELU stays below its
roof even when everything is in the cache.

<!-- figure: roofline -->

## Passes: moving less

An elementwise operation does one flop for a number that it reads and a number that it writes: in float32 eight bytes,
$I = \frac18$. On a machine with ten bytes a second for every hundred flops, it is limited to about one hundredth of the
peak. A chain of such operations can do better.

**Claim** `capstone.fusion`. A chain of $k$ operations changes $n$ numbers one by one, $x \leftarrow f_1(x)$ to
$x \leftarrow f_k(x)$. The processor works on what is in a cache that holds the $Z$ numbers used last; what is not there
is loaded, and a changed number is stored when it is pushed out, or at the end.

1. If $n > Z$ and each operation goes through all numbers in the same order before the next begins, $2 k n$ numbers are
   moved.
2. If all $k$ are done on a piece of at most $Z$ numbers before the next piece, it is $2 n$, the $k$-th part; and less
   is impossible where $n$ numbers come from memory and go back to it.

**Proof.** *1.* Between two uses of a number, by one operation and by the next, the $n - 1 \ge Z$ other numbers are
used. So the last $Z$ numbers used do not include it: it has been pushed out, stored because it was changed, and is
loaded again. Each operation loads $n$ numbers, and each of its $n$ changes is stored, before the next operation's or at
the end. *2.* The first operation on a piece loads its numbers. From then on until the piece is done no other numbers
are used, and they are at most $Z$, so none is pushed out. Each is stored once, after the last operation. The $n$
numbers are loaded at least once and stored at least once. $\blacksquare$

>>> n, Z, k = 40, 16, 3
>>> unfused, fused = Cache(Z), Cache(Z)
>>> for _ in range(k):
...     unfused.use(range(n), write=True)
>>> for start in range(0, n, 8):
...     for _ in range(k):
...         fused.use(range(start, start + 8), write=True)
>>> unfused.flush(), fused.flush()
(240, 80)

That is the case against one operation a line: in `Arrays`, GELU and its way back are more than two dozen operations,
and the table of the roofline has both ways of writing it. Three things go with it. New memory for every result costs
more than the bytes that are written to it, which is why the engine uses the same memory in each step
(`fp_capstone.memory`). Pieces must not be too small either, because of (R1): at $n_{1/2} = 1000$, thirty thousand
numbers lie between it and a cache of a megabyte. And the optimizer is one chain over all parameters, four arrays and a
dozen operations, so it goes piece by piece as well. (Real caches move lines of 64 bytes, and load a line before they
write a part of it, so a program that writes to a new place moves up to half as much again.)

## Products: using what is there

**Claim** `capstone.product-intensity`. A product of an $m \times k$ and a $k \times n$ matrix, in which each of the
three matrices crosses between memory and processor at least once, as numbers of $s$ bytes, has an intensity of at most

$$
I = \frac{2}{s} \cdot \frac{1}{\frac1m + \frac1k + \frac1n}, \qquad
\frac{2 d}{3 s} \le I < \frac{2 d}{s}, \qquad d = \min(m, k, n). \qquad \text{(R2)}
$$

**Proof.** It takes $2 m k n$ flops and at least $s\, (m k + k n + m n)$ bytes. Divide both by $m k n$. Each of the
three fractions is at most $\frac1d$ and one of them is $\frac1d$, so their sum is at most $\frac3d$, and more than
$\frac1d$. $\blacksquare$

A thousand times the side, a thousand times the intensity: no pass can do that. But it is a bound for matrices that a
cache can hold. For larger ones the order of the multiplications decides. The plain order, row by column, gets nothing
from it:

**Claim** `capstone.blocked-product`. Let the side $b$ divide $m$, $k$ and $n$, and let a cache hold $3 b^2 \le Z$
numbers. Compute the product block by block: for each block of $b \times b$ sums, begin at zero, load the $k / b$ pairs
of blocks that it needs one after the other and add their products, and store the sums. This moves

$$
Q_b = \frac{2\, m k n}{b} + m n \ \text{ numbers, and has the intensity }\
\frac{b}{s} \cdot \frac{1}{1 + \frac{b}{2 k}} \ge \frac{2 b}{3 s}. \qquad \text{(R3)}
$$

**Proof.** There are $\frac mb \cdot \frac nb$ blocks of sums. Each is stored once, $b^2$ numbers, in all $m n$. For
each, $\frac kb$ pairs of blocks are loaded, $2 b^2$ numbers a pair: in all
$\frac{m n}{b^2} \cdot \frac kb \cdot 2 b^2 = \frac{2 m k n}{b}$. At any time the cache holds one block of each matrix,
$3 b^2$ numbers. Divide $2 m k n$ flops by $s\, Q_b$ bytes, above and below by $2 m k n / b$; and $b \le k$.
$\blacksquare$

With $b = 1$, row by column, the intensity is below $\frac1s$, one flop for four bytes. With the largest $b$ it is of
order $\sqrt{Z / 3} / s$: *the intensity of a product grows with the square root of the cache*. For 1 MiB of float32,

>>> b = int((2**18 / 3) ** 0.5)
>>> b, round(2 * b / (3 * 4)), round(b / 4)
(295, 49, 74)

between 49 and 74 flops a byte, on the right of both ridges in the drawing. No order of the same multiplications does
much better. For the proof one has to know how many multiplications are possible with the numbers at hand.

**Claim** `capstone.loomis-whitney`. Let $S$ be a finite set of triples $(i, l, j)$, and let $a$, $b$, $c$ be how many
different pairs $(i, l)$, $(l, j)$ and $(i, j)$ occur in it. Then $|S|^2 \le a\, b\, c$.

**Proof.** Fix $l$. Let $s_l$ be the number of triples with this $l$, $a_l$ the number of pairs $(i, l)$ and $b_l$ that
of pairs $(l, j)$ in them. A triple with this $l$ is given by its $i$ and its $j$, so $s_l \le a_l b_l$, and different
triples have different pairs $(i, j)$, so $s_l \le c$. Multiply: $s_l^2 \le a_l b_l\, c$, so
$s_l \le \sqrt c\, \sqrt{a_l}\, \sqrt{b_l}$. Sum over $l$. By `autograd.cauchy-schwarz`
$\sum_l \sqrt{a_l} \sqrt{b_l} \le \sqrt{\sum_l a_l}\, \sqrt{\sum_l b_l} = \sqrt{a\, b}$. Hence
$|S| \le \sqrt{a\, b\, c}$. $\blacksquare$

**Claim** `capstone.product-traffic`. Let a program do the $m k n$ multiplications $A_{il} B_{lj}$ of a product in any
order, each once, and add each at once to a sum for $(i, j)$ in the cache. There may be several partial sums of one
entry, each of which is stored before it is given up. With a cache of $Z$ numbers it moves at least

$$
\frac{m k n}{\sqrt Z} - Z \ \text{ numbers.} \qquad \text{(R4)}
$$

**Proof.** Cut its run in phases, in each of which $Z$ numbers are loaded or stored; the last may have fewer. Take the
multiplications of one phase, $|S|$ of them, and count the different entries of $A$, of $B$ and of the result that occur
in them, $a$, $b$ and $c$. Each entry of $A$ or $B$ was in the cache at the beginning of the phase or is loaded in it.
Each sum is in the cache at the end of the phase or is stored in it. The cache holds at most $Z$ numbers at the
beginning, and at most $Z$ at the end, and at most $Z$ are loaded or stored, so $a + b + c \le 3 Z$. The mean of three
numbers is not smaller than the cube root of their product, which is `markov.jensen` for the logarithm, so
$a\, b\, c \le Z^3$, and by `capstone.loomis-whitney` $|S| \le Z^{3/2}$.
So there are at least $m k n / Z^{3/2}$ phases, all but the last of which move $Z$ numbers:
$Z \big( m k n / Z^{3/2} - 1 \big)$ in all. $\blacksquare$

So no program has an intensity much above $2 \sqrt Z / s$, and (R3) is within a factor of $2 \sqrt 3$ of it. What a BLAS
is, is (R3) for every level of memory, down to the registers, where the innermost block is chosen so that the processor
always has a multiplication to do. Attention's products have one side $D$, the width of a head: by (R2) that side bounds
their intensity, and in the tables they are well below the linear maps.

## Threads: who waits for whom

**Claim** `capstone.amdahl`. Of the time on one core let the share $f$, $0 \le f \le 1$, be spread evenly over $n$
cores, and the rest be done on one core while the others wait. Then the step is faster by the factor

$$
S(f, n) = \frac{1}{1 - f + \frac fn}, \qquad \text{(R5)}
$$

which grows with $f$ (for $n > 1$) and stays below $\frac{1}{1 - f}$ however many cores there are (for $0 < f < 1$).

**Proof.** If the time on one core is $1$, then it is $1 - f + \frac fn = 1 - f \big( 1 - \frac1n \big)$ now, which
falls as $f$ grows; and $\frac fn > 0$. $\blacksquare$

**Claim** `capstone.batch-threads`. On one core let a step spend the share $f$ in products, $u$ on what is done once
however the batch is split, and the rest in passes, where a share of the batch takes its share of the time. Let $n$
threads each take an $n$-th of the batch, and adding their gradients take the further share $v$. Then they are faster
than $n$ threads within the products exactly if

$$
1 - f - u > v \cdot \frac{n}{n - 1}. \qquad \text{(R6)}
$$

**Proof.** Within the products (R5) gives the time $1 - f + \frac fn = 1 - f\, \frac{n - 1}{n}$. Over the batch it is
$u + \frac{1 - u}{n} + v = 1 - (1 - u) \frac{n - 1}{n} + v$. The second is smaller if
$(1 - u) \frac{n - 1}{n} - v > f\, \frac{n - 1}{n}$; multiply by $\frac{n}{n - 1}$. $\blacksquare$

The left side is the share of the passes: norms, GELU, softmax, sums. On the right $v$ is one pass over the parameters,
which the threads can share. And $u$ can be made small as well, since optimizer steps of different pieces are
independent. On two cores, if products are two thirds of the step or nine tenths of it, within them and over the batch:

>>> for f, u in ((2 / 3, 0.04), (9 / 10, 0.02)):
...     print(f"{amdahl(f, 2):.2f} {amdahl(1 - u, 2):.2f}")
1.50 1.92
1.82 1.96

In the table above "fused, threads in BLAS" is the engine on one thread, with BLAS and the optimizer on all cores. At
the size tiny neither helps much: the work of a call is over before another core has been woken, and the engine keeps
such a batch on one thread.

## Where the limit is

If products take the share $\varphi$ of the time, and reach the share $\rho$ of the machine's peak while they run, then
a step that lasts $t$ seconds reaches

$$
\frac{F}{t\, R} = \frac{t_{\text{products}}}{t} \cdot \frac{F}{t_{\text{products}}\, R} = \varphi\, \rho
$$

of the peak. Both factors are in the table: "products alone" are the products of the step, in its shapes and with its
threads, and nothing else. At the small sizes $\rho$ is what is missing, because $C$ is small in (R2) and calls have
few numbers in (R1). At the larger ones $\rho$ comes near one, and $\varphi$ is what fusing is for. What remains is
passes that cannot be fused away, because a product stands on either side of them: a GELU reads what one product wrote
and writes what the next one reads. To do it while the numbers are in registers one needs to write the products oneself.

## In practice

That last step is what compilers and hand-written kernels do: `torch.compile` fuses chains of passes, FlashAttention a
softmax with the two products around it. The roofline is due to S. Williams, A. Waterman and D. Patterson (2009), the
bound on a product's traffic to J.-W. Hong and H. T. Kung (1981), the proof by Loomis and Whitney's inequality (1949) to
D. Irony, S. Toledo and A. Tiskin (2004), and the law of the waiting cores to G. Amdahl (1967). How a BLAS chooses its
blocks is told by K. Goto and R. van de Geijn (2008). A graphics processor has the same five rungs, with a ridge that
lies ten times higher: there even fewer bytes are the first concern.
"""

import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from threadpoolctl import ThreadpoolController

from fp_capstone.model import Model
from fp_capstone.parallel import ThreadedGradients
from fp_optim.adaptive import AdamW
from fp_transformer.config import TransformerConfig
from fp_transformer.counting import training_flops

__all__ = [
    "RUNGS",
    "SIZES",
    "rung_step",
    "ladder_gradients",
    "Operations",
    "Loops",
    "Arrays",
    "einsum_product",
    "step_flops",
    "call_efficiency",
    "attainable",
    "product_intensity",
    "blocked_product",
    "least_traffic",
    "Cache",
    "amdahl",
]

RUNGS = ("loops", "vectorised", "BLAS", "fused", "threaded")
"""From the bottom to the top."""

SIZES = {
    "tiny": (32, 2, 2, 32, 8),
    "cpu": (64, 4, 4, 128, 12),
    "mid": (128, 4, 4, 256, 16),
    "baby": (256, 6, 6, 384, 16),
}
"""Context, layers, heads, width and batch of the sizes that are measured."""

Real = float | int
Numbers = Any  # nested lists of floats in `Loops`, an array in `Arrays`
Rates = tuple[Real, ...]  # t, lr, beta1, beta2, eps, decay
Product = Callable[[np.ndarray, np.ndarray], np.ndarray]
_A, _B = math.sqrt(2 / math.pi), 0.044715  # of GELU


class Operations(ABC):
    """
    What the first three rungs differ in. Rows are tokens, text after text: `B T` of them.

    A forward operation returns its result and, where the way back needs more than that, a tape. A backward operation
    takes the cotangent first and returns the gradients in the order of the forward operation's arguments.
    """

    @abstractmethod
    def read(self, a: np.ndarray) -> Numbers:
        """An array as these operations want it."""

    @abstractmethod
    def add(self, x: Numbers, y: Numbers) -> Numbers:
        """The residual stream's sum."""

    @abstractmethod
    def flip(self, W: Numbers) -> Numbers:
        """The transposed matrix."""

    @abstractmethod
    def embed(self, ids: np.ndarray, E: Numbers, P: Numbers) -> Numbers:
        """(M1) of `fp_capstone.model`."""

    @abstractmethod
    def embed_backward(self, g: Numbers, ids: np.ndarray, E: Numbers, P: Numbers) -> tuple[Numbers, Numbers]:
        """`capstone.embedding-scatter` and `capstone.position-gradient`."""

    @abstractmethod
    def linear(self, x: Numbers, W: Numbers, b: Numbers = None) -> Numbers:
        """(L1) of `fp_capstone.linear`."""

    @abstractmethod
    def linear_backward(self, g: Numbers, x: Numbers, W: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """(L2) of `fp_capstone.linear`."""

    @abstractmethod
    def norm(self, x: Numbers, gain: Numbers, bias: Numbers, eps: float) -> tuple[Numbers, Numbers]:
        """(N4) of `fp_capstone.norms`."""

    @abstractmethod
    def norm_backward(self, g: Numbers, tape: Numbers, gain: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """(N5) of `fp_capstone.norms`."""

    @abstractmethod
    def gelu(self, x: Numbers) -> Numbers:
        """(A1) of `fp_capstone.activations`."""

    @abstractmethod
    def gelu_backward(self, g: Numbers, x: Numbers) -> Numbers:
        """`capstone.gelu-derivative`."""

    @abstractmethod
    def attention(self, qkv: Numbers, T: int, H: int) -> tuple[Numbers, Numbers]:
        """(T1) to (T3) of `fp_capstone.attention`, on texts of `T` tokens; the weights are the tape."""

    @abstractmethod
    def attention_backward(self, g: Numbers, qkv: Numbers, tape: Numbers, T: int, H: int) -> Numbers:
        """(T4) to (T8) of `fp_capstone.attention`."""

    @abstractmethod
    def cross_entropy(self, z: Numbers, targets: np.ndarray) -> tuple[float, Numbers]:
        """(C1) of `fp_capstone.cross_entropy` and its gradient, means over the tokens."""

    @abstractmethod
    def adamw(self, p: Numbers, g: Numbers, m: Numbers, v: Numbers, rates: Rates) -> tuple[Numbers, Numbers, Numbers]:
        """(E1) to (E3) of `fp_optim.adaptive` with decoupled decay: the new parameter and the two new means."""


def ladder_gradients(
    operations: Operations, model: Model, ids: Int[np.ndarray, "B T"], targets: Int[np.ndarray, "B T"]
) -> tuple[float, dict[str, Numbers]]:
    """
    Loss and gradients as in `Model.loss_and_grads`, by the operations of a lower rung.

    Parameters
    ----------
    operations
        `Loops()`, or `Arrays(product)`.
    model
        Of the GPT-2 family, with a tied output and no dropout; only its parameters are used.
    ids, targets
        Token ids, and the ids that came next.

    Returns
    -------
    loss : float
        Nats per token.
    grads : dict
        Gradients under the parameters' names, nested lists or arrays.

    Raises
    ------
    ValueError
        If the model is of another kind.
    """
    o, config = operations, model.config
    if config.is_llama or not config.tied or config.dropout:
        raise ValueError(
            "the ladder is written for GPT-2 with a tied output and without dropout; got "
            f"{config.family}, tied {config.tied}, dropout {config.dropout}. Use Model.loss_and_grads"
        )
    T, H, eps = ids.shape[1], config.n_heads, config.norm_eps
    w = {name: o.read(a) for name, a in model.parameters().items()}
    d: dict[str, Numbers] = {}

    def pair(name: str) -> tuple[Numbers, Numbers]:
        return w[name + ".weight"], w[name + ".bias"]

    # forward: (M1) to (M4), the blocks (B1) and (B2)
    E, P = w["transformer.wte.weight"], w["transformer.wpe.weight"]
    x = o.embed(ids, E, P)
    tapes = []
    for i in range(config.n_layers):
        at = f"transformer.h.{i}."
        n1, norm1 = o.norm(x, *pair(at + "ln_1"), eps)
        qkv = o.linear(n1, *pair(at + "attn.c_attn"))
        y, weights = o.attention(qkv, T, H)
        x = o.add(x, o.linear(y, *pair(at + "attn.c_proj")))
        n2, norm2 = o.norm(x, *pair(at + "ln_2"), eps)
        h = o.linear(n2, *pair(at + "mlp.c_fc"))
        f = o.gelu(h)
        x = o.add(x, o.linear(f, *pair(at + "mlp.c_proj")))
        tapes.append((n1, norm1, qkv, weights, y, n2, norm2, h, f))
    n, norm = o.norm(x, *pair("transformer.ln_f"), eps)
    loss, dz = o.cross_entropy(o.linear(n, o.flip(E)), targets)

    # backward, from the last line to the first
    def linear_backward(g: Numbers, x: Numbers, name: str) -> Numbers:
        dx, d[name + ".weight"], d[name + ".bias"] = o.linear_backward(g, x, w[name + ".weight"])
        return dx

    def norm_backward(g: Numbers, tape: Numbers, name: str) -> Numbers:
        dx, d[name + ".weight"], d[name + ".bias"] = o.norm_backward(g, tape, w[name + ".weight"])
        return dx

    dn, dU, _ = o.linear_backward(dz, n, o.flip(E))
    dx = norm_backward(dn, norm, "transformer.ln_f")
    for i in reversed(range(config.n_layers)):
        at = f"transformer.h.{i}."
        n1, norm1, qkv, weights, y, n2, norm2, h, f = tapes.pop()
        dh = o.gelu_backward(linear_backward(dx, f, at + "mlp.c_proj"), h)
        dx = o.add(dx, norm_backward(linear_backward(dh, n2, at + "mlp.c_fc"), norm2, at + "ln_2"))
        dy = linear_backward(dx, y, at + "attn.c_proj")
        dqkv = o.attention_backward(dy, qkv, weights, T, H)
        dx = o.add(dx, norm_backward(linear_backward(dqkv, n1, at + "attn.c_attn"), norm1, at + "ln_1"))
    dE, d["transformer.wpe.weight"] = o.embed_backward(dx, ids, E, P)
    d["transformer.wte.weight"] = o.add(dE, o.flip(dU))  # `capstone.tied-gradient`
    return loss, {name: d[name] for name in w}


class Loops(Operations):
    """The formulas, number by number: nested lists of Python's floats, and no library."""

    def read(self, a: np.ndarray) -> Numbers:
        return a.tolist()

    def add(self, x: Numbers, y: Numbers) -> Numbers:
        return [[a + b for a, b in zip(p, q, strict=True)] for p, q in zip(x, y, strict=True)]

    def flip(self, W: Numbers) -> Numbers:
        return [list(column) for column in zip(*W, strict=True)]

    def embed(self, ids: np.ndarray, E: Numbers, P: Numbers) -> Numbers:
        return [[e + p for e, p in zip(E[t], P[n], strict=True)] for text in ids.tolist() for n, t in enumerate(text)]

    def embed_backward(self, g: Numbers, ids: np.ndarray, E: Numbers, P: Numbers) -> tuple[Numbers, Numbers]:
        dE, dP = [[0.0] * len(row) for row in E], [[0.0] * len(row) for row in P]
        for row, (n, t) in zip(g, ((n, t) for text in ids.tolist() for n, t in enumerate(text)), strict=True):
            for c, value in enumerate(row):
                dE[t][c] += value  # `capstone.embedding-scatter`
                dP[n][c] += value  # `capstone.position-gradient`
        return dE, dP

    def linear(self, x: Numbers, W: Numbers, b: Numbers = None) -> Numbers:
        b = [0.0] * len(W[0]) if b is None else b
        return [[sum(row[i] * W[i][o] for i in range(len(W))) + b[o] for o in range(len(b))] for row in x]  # (L1)

    def linear_backward(self, g: Numbers, x: Numbers, W: Numbers) -> tuple[Numbers, Numbers, Numbers]:  # (L2)
        rows, ins, outs = range(len(x)), range(len(W)), range(len(W[0]))
        dx = [[sum(g[n][o] * W[i][o] for o in outs) for i in ins] for n in rows]
        dW = [[sum(x[n][i] * g[n][o] for n in rows) for o in outs] for i in ins]
        return dx, dW, [sum(g[n][o] for n in rows) for o in outs]

    def norm(self, x: Numbers, gain: Numbers, bias: Numbers, eps: float) -> tuple[Numbers, Numbers]:  # (N4)
        y, tape, C = [], [], len(gain)
        for row in x:
            mean = sum(row) / C
            r = 1 / math.sqrt(sum((v - mean) ** 2 for v in row) / C + eps)
            xhat = [r * (v - mean) for v in row]
            y.append([gain[c] * xhat[c] + bias[c] for c in range(C)])
            tape.append((xhat, r))
        return y, tape

    def norm_backward(self, g: Numbers, tape: Numbers, gain: Numbers) -> tuple[Numbers, Numbers, Numbers]:  # (N5)
        dx, C = [], len(gain)
        for row, (xhat, r) in zip(g, tape, strict=True):
            h = [row[c] * gain[c] for c in range(C)]
            mean, along = sum(h) / C, sum(h[c] * xhat[c] for c in range(C)) / C
            dx.append([r * (h[c] - mean - xhat[c] * along) for c in range(C)])
        rows = range(len(g))
        dgain = [sum(g[n][c] * tape[n][0][c] for n in rows) for c in range(C)]
        return dx, dgain, [sum(g[n][c] for n in rows) for c in range(C)]

    def gelu(self, x: Numbers) -> Numbers:  # (A1)
        return [[0.5 * v * (1 + math.tanh(_A * (v + _B * v**3))) for v in row] for row in x]

    def gelu_backward(self, g: Numbers, x: Numbers) -> Numbers:  # `capstone.gelu-derivative`
        def slope(v: float) -> float:
            tau = math.tanh(_A * (v + _B * v**3))
            return 0.5 * (1 + tau) + 0.5 * v * (1 - tau**2) * _A * (1 + 3 * _B * v**2)

        return [[a * slope(v) for a, v in zip(p, q, strict=True)] for p, q in zip(g, x, strict=True)]

    def attention(self, qkv: Numbers, T: int, H: int) -> tuple[Numbers, Numbers]:
        C = len(qkv[0]) // 3
        y, tape = [[0.0] * C for _ in qkv], []
        for start in range(0, len(qkv), T):
            for Q, K, V, at in self._heads(qkv[start : start + T], H):
                D, weights = range(len(Q[0])), []
                for i in range(T):
                    S = [sum(Q[i][d] * K[j][d] for d in D) / math.sqrt(len(D)) for j in range(i + 1)]  # (T1)
                    top = max(S)
                    powers = [math.exp(s - top) for s in S]
                    total = sum(powers)
                    p = [power / total for power in powers]  # (T2)
                    for d in D:
                        y[start + i][at + d] = sum(p[j] * V[j][d] for j in range(i + 1))  # (T3)
                    weights.append(p)
                tape.append(weights)
        return y, tape

    def attention_backward(self, g: Numbers, qkv: Numbers, tape: Numbers, T: int, H: int) -> Numbers:
        C = len(qkv[0]) // 3
        dqkv, tables = [[0.0] * (3 * C) for _ in qkv], iter(tape)
        for start in range(0, len(qkv), T):
            for Q, K, V, at in self._heads(qkv[start : start + T], H):
                D, P = range(len(Q[0])), next(tables)
                for i in range(T):
                    G = g[start + i][at : at + len(D)]
                    A = [sum(G[d] * V[j][d] for d in D) for j in range(i + 1)]  # (T5)
                    delta = sum(P[i][j] * A[j] for j in range(i + 1))  # (T6)
                    for j in range(i + 1):
                        Z = P[i][j] * (A[j] - delta) / math.sqrt(len(D))  # (T7)
                        for d in D:
                            dqkv[start + i][at + d] += Z * K[j][d]  # (T8)
                            dqkv[start + j][C + at + d] += Z * Q[i][d]  # (T8)
                            dqkv[start + j][2 * C + at + d] += P[i][j] * G[d]  # (T4)
        return dqkv

    def cross_entropy(self, z: Numbers, targets: np.ndarray) -> tuple[float, Numbers]:  # (C1)
        loss, dz, N = 0.0, [], len(z)
        for row, y in zip(z, targets.ravel().tolist(), strict=True):
            top = max(row)
            powers = [math.exp(v - top) for v in row]
            total = sum(powers)
            loss += (math.log(total) + top - row[y]) / N
            dz.append([(power / total - (i == y)) / N for i, power in enumerate(powers)])
        return loss, dz

    def adamw(self, p: Numbers, g: Numbers, m: Numbers, v: Numbers, rates: Rates) -> tuple[Numbers, Numbers, Numbers]:
        if isinstance(p, list):
            new = [self.adamw(*each, rates) for each in zip(p, g, m, v, strict=True)]
            return [a for a, _, _ in new], [a for _, a, _ in new], [a for _, _, a in new]
        return _adamw(p, g, m, v, rates)

    @staticmethod
    def _heads(rows: list[list[float]], H: int) -> Iterator[Numbers]:
        """Of each head of one text: queries, keys, values, and where its slice of the width begins."""
        C = len(rows[0]) // 3
        for at in range(0, C, C // H):
            yield *([row[k * C + at : k * C + at + C // H] for row in rows] for k in range(3)), at


class Arrays(Operations):
    """
    The formulas on whole arrays: one operation after the other, each with new memory for its result.

    Parameters
    ----------
    product
        `einsum_product`, or `numpy.matmul` for BLAS.
    """

    def __init__(self, product: Product) -> None:
        self.product = product

    def read(self, a: np.ndarray) -> Numbers:
        return a

    def add(self, x: Numbers, y: Numbers) -> Numbers:
        return x + y

    def flip(self, W: Numbers) -> Numbers:
        return W.T

    def embed(self, ids: np.ndarray, E: Numbers, P: Numbers) -> Numbers:
        return (E[ids] + P[: ids.shape[1]]).reshape(ids.size, -1)

    def embed_backward(self, g: Numbers, ids: np.ndarray, E: Numbers, P: Numbers) -> tuple[Numbers, Numbers]:
        dE, dP = np.zeros_like(E), np.zeros_like(P)
        np.add.at(dE, ids.ravel(), g)
        dP[: ids.shape[1]] = g.reshape(*ids.shape, -1).sum(axis=0)
        return dE, dP

    def linear(self, x: Numbers, W: Numbers, b: Numbers = None) -> Numbers:
        y = self.product(x, W)
        return y if b is None else y + b

    def linear_backward(self, g: Numbers, x: Numbers, W: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        return self.product(g, W.T), self.product(x.T, g), g.sum(axis=0)

    def norm(self, x: Numbers, gain: Numbers, bias: Numbers, eps: float) -> tuple[Numbers, Numbers]:
        z = x - x.mean(axis=1, keepdims=True)
        r = 1 / np.sqrt((z * z).mean(axis=1, keepdims=True) + eps)
        xhat = r * z
        return gain * xhat + bias, (xhat, r)

    def norm_backward(self, g: Numbers, tape: Numbers, gain: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        xhat, r = tape
        h = g * gain
        mean, along = h.mean(axis=1, keepdims=True), (h * xhat).mean(axis=1, keepdims=True)
        return r * (h - mean - xhat * along), (g * xhat).sum(axis=0), g.sum(axis=0)

    def gelu(self, x: Numbers) -> Numbers:
        return 0.5 * x * (1 + np.tanh(_A * (x + _B * x * x * x)))

    def gelu_backward(self, g: Numbers, x: Numbers) -> Numbers:
        tau = np.tanh(_A * (x + _B * x * x * x))
        return g * (0.5 * (1 + tau) + 0.5 * x * (1 - tau * tau) * _A * (1 + 3 * _B * x * x))

    def attention(self, qkv: Numbers, T: int, H: int) -> tuple[Numbers, Numbers]:
        q, k, v = self._heads(qkv, T, H)
        S = self.product(q, k.swapaxes(-1, -2)) / math.sqrt(q.shape[-1])
        S = np.where(np.tri(T, dtype=bool), S, -np.inf)
        powers = np.exp(S - S.max(axis=-1, keepdims=True))
        P = powers / powers.sum(axis=-1, keepdims=True)
        return self.product(P, v).swapaxes(1, 2).reshape(len(qkv), -1), P

    def attention_backward(self, g: Numbers, qkv: Numbers, tape: Numbers, T: int, H: int) -> Numbers:
        (q, k, v), P = self._heads(qkv, T, H), tape
        B, _, _, D = q.shape
        G = g.reshape(B, T, H, D).swapaxes(1, 2)
        A = self.product(G, v.swapaxes(-1, -2))
        Z = P * (A - (P * A).sum(axis=-1, keepdims=True)) / math.sqrt(D)
        d = self.product(Z, k), self.product(Z.swapaxes(-1, -2), q), self.product(P.swapaxes(-1, -2), G)
        return np.stack(d).transpose(1, 3, 0, 2, 4).reshape(qkv.shape)

    def cross_entropy(self, z: Numbers, targets: np.ndarray) -> tuple[float, Numbers]:
        rows = np.arange(len(z)), targets.ravel()
        top = z.max(axis=1, keepdims=True)
        powers = np.exp(z - top)
        total = powers.sum(axis=1, keepdims=True)
        loss = (np.log(total) + top)[:, 0] - z[rows]
        truth = np.zeros_like(z)
        truth[rows] = 1
        return float(loss.mean(dtype=np.float64)), (powers / total - truth) / len(z)

    def adamw(self, p: Numbers, g: Numbers, m: Numbers, v: Numbers, rates: Rates) -> tuple[Numbers, Numbers, Numbers]:
        return _adamw(p, g, m, v, rates)

    @staticmethod
    def _heads(qkv: np.ndarray, T: int, H: int) -> np.ndarray:
        """Queries, keys and values as (texts, heads, time, width): views."""
        return qkv.reshape(-1, T, 3, H, qkv.shape[1] // (3 * H)).transpose(2, 0, 3, 1, 4)


def einsum_product(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """
    A product of matrices by NumPy's own loops, in C but without blocks.

    Examples
    --------
    >>> einsum_product(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]))
    array([[11.]])
    """
    return np.einsum("...ik,...kj->...ij", A, B)


def _adamw(p: Any, g: Any, m: Any, v: Any, rates: Rates) -> tuple[Any, Any, Any]:
    """(E1) to (E3) of `fp_optim.adaptive` with decoupled decay, for a number or an array."""
    t, lr, beta1, beta2, eps, decay = rates
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    root = (v / (1 - beta2**t)) ** 0.5
    return p - lr * decay * p - lr * (m / (1 - beta1**t)) / (root + eps), m, v


def rung_step(
    rung: str,
    model: Model,
    n_threads: int = 2,
    lr: float = 1e-4,
    betas: tuple[float, float] = (0.9, 0.99),
    weight_decay: float = 0.1,
) -> Callable[[np.ndarray, np.ndarray], float]:
    """
    A training step with AdamW as one rung takes it.

    Parameters
    ----------
    rung
        One of `RUNGS`.
    model
        Its parameters are updated in place.
    n_threads
        Of the rung `threaded`; all others use one core, BLAS included.
    lr, betas, weight_decay
        AdamW's; only matrices decay.

    Returns
    -------
    Callable
        `step(ids, targets)`, which returns the loss before the step in nats per token.

    Raises
    ------
    ValueError
        If there is no such rung.

    Examples
    --------
    >>> config = TransformerConfig.gpt2(vocab_size=5, context_length=3, n_layers=1, n_heads=1, d_model=2)
    >>> ids = np.array([[1, 2, 3]])
    >>> for rung in RUNGS:
    ...     step = rung_step(rung, Model(config, np.random.default_rng(0), np.float64), lr=0.02)
    ...     print(f"{step(ids, ids):.9f} {step(ids, ids):.9f}")
    1.603789151 1.566615014
    1.603789151 1.566615014
    1.603789151 1.566615014
    1.603789151 1.566615014
    1.603789151 1.566615014
    """
    if rung not in RUNGS:
        raise ValueError(f"rung must be one of {', '.join(RUNGS)}; got {rung!r}")
    if rung in ("fused", "threaded"):
        threads = n_threads if rung == "threaded" else 1
        gradients = ThreadedGradients(model, threads)
        optimizer = AdamW(model.parameters(), lr=lr, betas=betas, weight_decay=weight_decay, threads=threads)

        def engine(ids: np.ndarray, targets: np.ndarray) -> float:
            loss, grads = gradients(ids, targets)
            optimizer.step(grads)
            return loss

        return engine if rung == "threaded" else _on_one_core(engine)
    o: Any = Loops() if rung == "loops" else Arrays(einsum_product if rung == "vectorised" else np.matmul)
    state = {name: (o.read(np.zeros_like(a)), o.read(np.zeros_like(a))) for name, a in model.parameters().items()}
    taken = 0

    def step(ids: np.ndarray, targets: np.ndarray) -> float:
        nonlocal taken
        taken += 1
        loss, grads = ladder_gradients(o, model, ids, targets)
        for name, a in model.parameters().items():
            rates = (taken, lr, *betas, 1e-8, weight_decay if a.ndim >= 2 else 0.0)
            a[:], *state[name] = o.adamw(o.read(a), grads[name], *state[name], rates)
        return loss

    return _on_one_core(step)


def _on_one_core(step: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[np.ndarray, np.ndarray], float]:
    libraries = ThreadpoolController()  # once: it looks at every library of the process

    def limited(ids: np.ndarray, targets: np.ndarray) -> float:
        with libraries.limit(limits=1, user_api="blas"):
            return step(ids, targets)

    return limited


def step_flops(config: TransformerConfig, B: int, T: int) -> int:
    """Flops that the mathematics of a step needs: `transformer.training-flops` for `B` texts of `T` tokens."""
    return B * training_flops(config, T)


def call_efficiency(n: Real, overhead: Real, rate: Real) -> float:
    """
    The share of its rate that a call of `n` numbers reaches, (R1) divided by `rate`.

    Parameters
    ----------
    n
        Numbers of a call.
    overhead
        Seconds before the first.
    rate
        Numbers a second after that.
    """
    return n / (n + overhead * rate)


def attainable(intensity: Real, peak: Real, bandwidth: Real) -> float:
    """
    The bound of `capstone.roofline`, in flops a second.

    Parameters
    ----------
    intensity
        Flops per byte.
    peak
        Flops a second.
    bandwidth
        Bytes a second.

    Examples
    --------
    >>> [attainable(I, peak=100e9, bandwidth=20e9) / 1e9 for I in (0.125, 5, 50)]
    [2.5, 100.0, 100.0]
    """
    return min(float(peak), float(intensity) * bandwidth)


def product_intensity(m: Real, k: Real, n: Real, itemsize: int = 4) -> float:
    """
    The largest intensity (R2) of a product of an `m k` and a `k n` matrix, in flops per byte.

    Examples
    --------
    The linear map of 768 tokens from 128 to 512 numbers, and the scores of a head that is 32 wide:

    >>> round(product_intensity(768, 128, 512), 1), round(product_intensity(64, 32, 64), 1)
    (45.2, 8.0)
    """
    return 2 / itemsize / (1 / m + 1 / k + 1 / n)


def blocked_product(
    A: Float[np.ndarray, "m k"], B: Float[np.ndarray, "k n"], b: int
) -> tuple[Float[np.ndarray, "m n"], int]:
    """
    The product as in `capstone.blocked-product`, and how many numbers it loads and stores.

    Parameters
    ----------
    A, B
        Shapes `m k` and `k n`.
    b
        Side of a block, which divides all three.

    Returns
    -------
    C : ndarray
        `A @ B`, shape `m n`.
    moved : int
        Numbers.

    Raises
    ------
    ValueError
        If `b` does not divide the sides.

    Examples
    --------
    >>> A = np.arange(36.0).reshape(6, 6)
    >>> for b in (1, 2, 3, 6):
    ...     C, moved = blocked_product(A, A, b)
    ...     print(b, moved, bool((C == A @ A).all()))
    1 468 True
    2 252 True
    3 180 True
    6 108 True
    """
    (m, k), n = A.shape, B.shape[1]
    if b < 1 or m % b or k % b or n % b:
        raise ValueError(f"a block's side must divide {m}, {k} and {n}, the sides of the matrices; got {b}")
    C, moved = np.empty((m, n), A.dtype), 0
    for i in range(0, m, b):
        for j in range(0, n, b):
            sums = np.zeros((b, b), A.dtype)
            for start in range(0, k, b):
                left, right = A[i : i + b, start : start + b], B[start : start + b, j : j + b]
                moved += left.size + right.size
                sums += left @ right
            C[i : i + b, j : j + b] = sums
            moved += sums.size
    return C, moved


def least_traffic(m: int, k: int, n: int, Z: int) -> float:
    """
    The numbers (R4) that any order of the multiplications moves at least, with a cache of `Z`; zero if it is negative.

    Examples
    --------
    >>> least_traffic(100, 100, 100, 100)
    99900.0
    """
    return max(0.0, m * k * n / math.sqrt(Z) - Z)


class Cache:
    """
    A cache of the `Z` numbers used last.

    Parameters
    ----------
    Z
        How many it holds.

    Attributes
    ----------
    moved : int
        Numbers loaded and stored so far.

    Examples
    --------
    >>> cache = Cache(2)
    >>> cache.use(["a", "b", "a"])
    >>> cache.use(["c"], write=True)  # pushes out b, which has not been changed
    >>> cache.flush()
    4
    """

    def __init__(self, Z: int) -> None:
        self.Z, self.moved = Z, 0
        self._held: OrderedDict[Any, bool] = OrderedDict()

    def use(self, numbers: Iterable[Any], write: bool = False, load: bool = True) -> None:
        """Use numbers by name, in order; `write`: they change; `load`: their old values are needed."""
        for name in numbers:
            if name not in self._held:
                self.moved += load
                if len(self._held) == self.Z:
                    self.moved += self._held.popitem(last=False)[1]
            self._held[name] = self._held.get(name, False) or write
            self._held.move_to_end(name)

    def flush(self) -> int:
        """Store what has been changed; all that has been moved."""
        self.moved += sum(self._held.values())
        self._held.clear()
        return self.moved


def amdahl(share: Real, n: int) -> float:
    """
    How much faster `n` cores are (R5) if a share of the time on one core can be spread over them.

    Raises
    ------
    ValueError
        If the share does not lie in [0, 1], or there is no core.

    Examples
    --------
    >>> [round(amdahl(0.9, n), 2) for n in (1, 2, 10, 1000)]
    [1.0, 1.82, 5.26, 9.91]
    """
    if not 0 <= share <= 1 or n < 1:
        raise ValueError(f"a share lies in [0, 1] and there is at least one core; got {share} and {n}")
    return 1 / (1 - share + share / n)
