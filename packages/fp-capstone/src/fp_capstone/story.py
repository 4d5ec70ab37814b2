r"""
The story of a run: what a model learns, and in which order.

A falling curve says that something is learned, not what. Here the default model is trained on the default text, and
stopped a dozen times on its way: before the first step, after the first, after ten, and so on to the end. At each stop
it is asked the same questions. How well does it predict, and which table of counts predicts as well? Does it use what
stands far back? Which characters are easy? What does it write? Where do its heads look? All the numbers on this page
were measured by one command, `python packages/fp-capstone/benchmarks/narrated_run.py`, and the pictures read what it
left behind.

You need: `fp_capstone.training`, `fp_capstone.evaluation`, cross-entropy and n-gram models (stage 1).

<!-- figure: story_losses -->

## Before the first step

The model has seen nothing, and its logits are small random numbers. Equal logits would cost $\log V$
(`capstone.uniform-loss`). Unequal ones cost a little more, and one can say how much.

**Claim** `capstone.first-loss`. Let $z \in \mathbb{R}^V$ have the mean $\bar z$, put $d_i = z_i - \bar z$, and let
$|d_i| \le a$ for all $i$. If the tokens that come have the frequencies $f$, the mean loss of predicting each of them
with the logits $z$ is

$$
\log V + \frac{s^2}{2} - \sum_i f_i\, d_i + R, \qquad s^2 = \frac1V \sum_i d_i^2, \qquad |R| \le \frac{a^3}{3}.
\qquad \text{(S1)}
$$

**Proof.** The loss (C1) of `fp_capstone.cross_entropy`, averaged with the weights $f_i$, is
$\log \sum_j e^{z_j} - \sum_i f_i z_i$. Take $\bar z$ out of both: with
$\varphi(t) = \log \big( \frac1V \sum_j e^{t d_j} \big)$ it is

$$
\big( \bar z + \log V + \varphi(1) \big) - \big( \bar z + \sum_i f_i d_i \big) = \log V + \varphi(1) - \sum_i f_i d_i.
$$

Let $p_i = e^{t d_i} / \sum_j e^{t d_j}$, which has the slope $p_i (d_i - \mu)$ with $\mu = \sum_i p_i d_i$. So

$$
\begin{aligned}
\varphi'(t) &= \sum_i p_i d_i = \mu, \\
\varphi''(t) &= \sum_i p_i (d_i - \mu)\, d_i = \sum_i p_i (d_i - \mu)^2, \\
\varphi'''(t) &= \sum_i p_i (d_i - \mu) (d_i - \mu)^2 - 2 \varphi''(t) \sum_i p_i (d_i - \mu)
  = \sum_i p_i (d_i - \mu)^3,
\end{aligned}
$$

where $\sum_i p_i (d_i - \mu) = 0$ was used in the second line and in the third. At $t = 0$ all $p_i$ are $\frac1V$:
$\varphi(0) = 0$, $\varphi'(0) = \frac1V \sum_i d_i = 0$ and $\varphi''(0) = s^2$. For every $t$ both $d_i$ and $\mu$
lie in $[-a, a]$, so $|d_i - \mu| \le 2a$, and $\varphi''(t) = \sum_i p_i d_i^2 - \mu^2 \le a^2$; hence
$|\varphi'''(t)| \le 2 a \cdot a^2$. By `autograd.taylor` with $n = 2$, $\varphi(1)$ differs from $\frac{s^2}{2}$ by at
most $\frac{2 a^3}{6}$. $\blacksquare$

The third term is luck: how much of its preference the model happens to have for the tokens that are frequent. Random
logits know nothing of frequencies, so it has the mean zero (`neural.first-loss` has the case of normal logits, with
bounds). At the start of a run compute $\log V$, add half the variance of the logits, and compare:

>>> from fp_transformer.config import TransformerConfig
>>> config = TransformerConfig.llama(vocab_size=65, context_length=32, n_layers=2, n_heads=2, d_model=64, tied=False)
>>> rng = np.random.default_rng(0)
>>> model, text = Model(config, rng), rng.integers(65, size=(16, 33))
>>> terms = first_loss(model.forward(text[:, :-1]).reshape(-1, 65), text[:, 1:].reshape(-1))
>>> {name: round(value, 3) for name, value in terms.items()}
{'log V': 4.174, 'half variance': 0.013, 'luck': -0.006, 'loss': 4.181}

## The first steps: which characters there are

The steepest fall of the whole run comes at its beginning, and the first mark that it passes can be had without reading
at all. Consider a model that ignores the text before: whatever it has read, its logits are the same vector $b$.

**Claim** `capstone.context-free`. Let the tokens of a text have the frequencies $f$, and let every one of them be
predicted with the logits $b$, $p = \operatorname{softmax}(b)$.

1. The gradient of the mean loss by $b$ is $p - f$.
2. The mean loss is at least the entropy $H(f)$, and equals it exactly if $p = f$.
3. Let all $f_i > 0$. Gradient descent from $b = 0$ with a rate $0 < \eta \le 2$ is after $T \ge 1$ steps at most
   $\frac{1}{2 \eta\, T} |b^\star|^2$ above $H(f)$, with $b^\star_i = \log f_i - \frac1V \sum_j \log f_j$.

**Proof.** (1) By `capstone.cross-entropy-backward` a token $y$ contributes $p - e_y$ with the unit vector $e_y$; the
mean of $e_y$ over the text is $f$. (2) The mean loss is $-\sum_i f_i \log p_i = H(f, p) = H(f) + D(f \,\|\, p)$ by
`markov.cross-entropy-split`, and $D(f \,\|\, p) \ge 0$ is zero exactly if $p = f$ by `markov.gibbs`. (3) The loss is
$\log \sum_j e^{b_j} - f \cdot b$. It is convex (`neural.logsumexp-convex`; the second part is linear and changes both
sides of the chord inequality alike). Its Hessian is that of the first part, whose eigenvalues are not negative and at
most $\frac12$ (`neural.logsumexp-hessian`): it is smooth with the constant $L = \frac12$ (`optim.hessian-bounds`). At
$b^\star$ softmax gives $f$, as a constant added to all logits cancels, so by (2) the loss is least there. Now
`optim.convex-rate`, for $\eta \le \frac1L = 2$ and $|0 - b^\star|$. $\blacksquare$

So the first mark is the loss of the 1-gram model, and a model falls to it without any help from its blocks, for the
gradient of its output layer has it built in:

**Claim** `capstone.first-direction`. Let $z_n = U h_n$ at the positions $n = 1, \dots, N$, and let all predictions be
the same, $p$. With the mean $\bar h$ of the $h_n$ and the frequencies $f$ of the targets $y_n$,

$$
\frac{\partial \ell}{\partial U} = (p - f)\, \bar h^\top - K, \qquad
K = \frac1N \sum_n (e_{y_n} - f) (h_n - \bar h)^\top. \qquad \text{(S2)}
$$

If moreover $h_n = H_c$ depends on the last token $c$ alone, which has the share $w_c$ of the positions and is followed
by $i$ with the frequency $P_c(i)$, then $K = \sum_c w_c\, (P_c - f) (H_c - \bar h)^\top$.

**Proof.** By `capstone.cross-entropy-backward` and `capstone.linear-backward` the gradient is
$\frac1N \sum_n (p - e_{y_n}) h_n^\top = p\, \bar h^\top - \frac1N \sum_n e_{y_n} h_n^\top$. Multiply the brackets of
$K$ out; as the mean of $e_{y_n}$ is $f$,

$$
K = \frac1N \sum_n e_{y_n} h_n^\top - f \bar h^\top - f \bar h^\top + f \bar h^\top
  = \frac1N \sum_n e_{y_n} h_n^\top - f \bar h^\top.
$$

Insert the sum from here: $p\, \bar h^\top - K - f \bar h^\top$. In the second case collect the positions with the same
last token: the mean of $e_{y_n}$ over them is $P_c$. $\blacksquare$

A small step against (S2) adds to the logits at a position with the output $h$ a multiple of
$(f - p)\, (\bar h \cdot h) + K h$. The first term is the same vector everywhere: it is the gradient of
`capstone.context-free`, and lifts what is frequent. The second contains, at the start, when the last token is nearly
all that $h_n$ knows, the table of pairs. Both are there from the first step. Which one wins?

**Claim** `capstone.rare-contexts`. Let the logits be $z_n = b + U_{c_n}$, with a vector $b$ for all positions and a
vector $U_c$ for each context $c$, which has the share $w_c > 0$ of the positions, the frequencies $P_c$ of its
successors, and the prediction $p_c = \operatorname{softmax}(b + U_c)$. Then

$$
\frac{\partial \ell}{\partial U_c} = w_c\, (p_c - P_c), \qquad
\frac{\partial \ell}{\partial b} = \sum_c w_c\, (p_c - P_c), \qquad \text{(S3)}
$$

and $T$ steps of gradient descent with the rate $\eta$ change $U_c$ by no more than $\sqrt2\, \eta\, T\, w_c$ in length.

**Proof.** By `capstone.cross-entropy-backward` position $n$ contributes $\frac1N (p_{c_n} - e_{y_n})$ to the gradient
by $z_n$, which is a sum of $b$ and $U_{c_n}$, so that both receive it. Collect the positions of context $c$: there are
$w_c N$ of them, and the mean of $e_{y_n}$ over them is $P_c$. For two distributions
$|p - q|^2 = \sum_i p_i^2 + \sum_i q_i^2 - 2 \sum_i p_i q_i \le 1 + 1$, as $p_i^2 \le p_i$ and no $p_i q_i$ is negative;
so each step changes $U_c$ by at most $\eta\, w_c \sqrt2$. $\blacksquare$

What all contexts have in common is learned from all positions; what holds in one context, from its own share. That is
the order of the story: single characters, then pairs, then longer contexts, each of them rarer than the last. Two
things soften the law. AdamW and Muon make steps that depend little on the length of a gradient. And a network has no
table $U_c$: contexts share its parameters, which is why it learns more from a text than a table can.

<!-- figure: story_start -->

## Which table does it imitate?

That two models have the same loss does not mean that they predict the same. The distance that the loss itself suggests
is the divergence: $D(q \,\|\, p)$ is what one pays, in nats a character, for believing the model $p$ where characters
come from $q$. At each stop, $q$ is one table after the other.

<!-- figure: story_ngrams -->

The curve of the loss has a step in it: it comes down to the table of pairs in a rush, and rests there before it goes
on. For all that comes before, the blocks need not exchange anything between positions; for all that comes after, they
must.

**Claim** `capstone.token-alone`. Let the attention of every block add at each position a vector that depends on the
token at this position alone. Let the model have no learned positions. Then so do the logits, and the mean loss on a
text is at least $\sum_c w_c\, H(P_c)$, with the shares $w_c$ of the last tokens $c$ and the frequencies $P_c$ of what
follows them: the loss, on the text that was counted, of the table of pairs without smoothing.

**Proof.** The stream starts as the embedding of the token. If it depends on the token at its position alone when it
enters a block, the feed-forward layer, which reads and writes one position, adds what depends on that token alone, and
so does attention by hypothesis; so the stream does when it leaves the block, after the last block too, and the norm and
the output layer read one position each. Let $q_c$ be the prediction after the token $c$. Collect the positions with the
same $c$: their mean loss is $H(P_c, q_c) = H(P_c) + D(P_c \,\|\, q_c)$ (`markov.cross-entropy-split`), at least
$H(P_c)$ by `markov.gibbs`. Take the mean with the weights $w_c$. $\blacksquare$

So whoever wants to get below needs a head that tells one position what stood at another, and the cheapest such head
looks one token back. Compare the step at which the table of triples is passed with the step at which such a head
appears, further down.

## How far back it looks

The first character of a window is predicted from one character, the last from the whole window. For one who knows the
truth, more context never hurts (`markov.conditioning`). What a model makes of it shows when its losses are averaged by
position: while the line is level beyond the second position, the model is a table of pairs, whatever its size. In the
first part of this run the model is trained on windows of half the length, and beyond them it has to make do with
distances that it never saw.

<!-- figure: story_context -->

## Which characters are hard

In the middle of a word there is little to choose from; after a space anything may come. A mean over all characters
hides that the two are learned at different times.

<!-- figure: story_classes -->

## What it writes

At each stop the model writes with the same seed: the same random numbers choose among the tokens, so what changes
from one text to the next is the model. How much of it is language can be counted: the share of its words that occur in
the training text, and of its pairs and triples of neighbouring words. Held-out text, which people wrote, is the measure
of what to expect.

<!-- figure: story_samples -->

## Where the heads look

Attention weights can be read off without touching the code that computes them. The output of a head is
$y_i = \sum_j P_{ij} v_j$, linear in the values; put unit vectors in their place, $v_j = e_j$, and the output is the row
$P_{i1}, P_{i2}, \dots$ itself. Three habits can be put in numbers: the weight on the token a fixed distance back; the
mean distance of all that a head looks at; and, on a text that is random and then repeats itself, the weight on the
token that *followed* the earlier copy of the present one, which is what an **induction head** does. A head that looks a
fixed number of tokens back would be taken for one, so the last habit is measured a second time at the same distance on
random text without repetition.

<!-- figure: story_heads -->

## The size of a step

A gradient has a length, so has a step, and so have the weights. If a step is a hundredth of the weights, a hundred of
them may replace what was there; if it is a hundred-thousandth, nothing is learned. The rule of thumb is a thousandth.

<!-- figure: story_gradients -->

## Who stands beside whom

Nothing tells the model that `A` is the capital of `a`, or that `3` is a digit. But characters that are followed by the
same ones are best read as vectors that are alike (`neural.context-moves-together`), and characters that stand in the
same places are best written by rows of the output layer that are alike (`neural.pmi-softmax`). So both tables become
maps, each of its own kind of likeness, and each as far as the steps move it from where it was drawn.

<!-- figure: story_neighbours -->

## What it is sure of

In the end, a passage that it has never seen, each character coloured by what it cost.

<!-- figure: story_surprise -->

## In practice

Nobody who trains a large model looks at its loss alone. What is recorded along the way is what is here, on a larger
scale: losses by domain in place of classes of characters, benchmarks in place of words, gradients and updates by layer.
That networks learn n-grams in the order of their length, and heads that copy at a certain moment of training, was seen
in transformers by C. Olsson and others (*In-context learning and induction heads*, 2022), and E. Edelman and others
followed it step by step on Markov chains (*The evolution of statistical induction heads*, 2024). How update and weight
should compare is a rule of A. Karpathy's. Left out: other seeds, other texts. One run is a story, not a law, and what
is claimed here beyond it is what was proven.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Float64, Int

from fp_capstone.attention import causal_attention
from fp_capstone.block import block, norm
from fp_capstone.cross_entropy import token_losses
from fp_capstone.embedding import embedding
from fp_capstone.linear import linear
from fp_capstone.model import Model
from fp_capstone.rotary import rotate

__all__ = [
    "first_loss",
    "first_gradient",
    "look_inside",
    "look_back",
    "mean_distance",
    "even_share",
    "divergences",
    "position_means",
    "kinds_of_characters",
    "known_phrases",
    "neighbours",
    "part_of",
    "lengths",
]  # the order of the page

KINDS = ("letter, first of a word", "letter, inside a word", "space", "end of line", "digit", "punctuation", "rare")


def first_loss(z: Float[np.ndarray, "N V"], y: Int[np.ndarray, " N"]) -> dict[str, float]:
    """
    The loss of a model that knows nothing, in the terms of (S1).

    Parameters
    ----------
    z
        Logits of `N` positions.
    y
        The tokens that came.

    Returns
    -------
    dict
        In nats per token, means over positions: `log V`, `half variance`, `luck` (the third term), `loss`. The first
        three add up to the last but for the remainder.
    """
    z = z.astype(np.float64)
    d = z - z.mean(axis=1, keepdims=True)
    return {
        "log V": math.log(z.shape[1]),
        "half variance": float(np.mean(d**2)) / 2,
        "luck": float(-np.mean(d[np.arange(len(y)), y])),
        "loss": float(np.mean(token_losses(z, y))),
    }


def first_gradient(
    p: Float[np.ndarray, " V"], h: Float[np.ndarray, "N C"], y: Int[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, "V C"], Float[np.ndarray, "V C"]]:
    """
    The two parts of the output layer's first gradient (S2).

    Parameters
    ----------
    p
        What is predicted at all positions.
    h
        What the output layer reads.
    y
        The tokens that came.

    Returns
    -------
    common, context : ndarray
        The gradient is their sum: what all positions share, and what depends on the context, which is $-K$.

    Examples
    --------
    Two contexts, each always followed by its own token: what they share is right from the start.

    >>> common, context = first_gradient(np.array([0.5, 0.5]), np.eye(2), np.array([0, 1]))
    >>> print(common, context, sep="\\n")
    [[0. 0.]
     [0. 0.]]
    [[-0.25  0.25]
     [ 0.25 -0.25]]
    """
    V, N = len(p), len(y)
    f = np.bincount(y, minlength=V) / N
    centred = h - h.mean(axis=0)
    sums = np.zeros((V, h.shape[1]))
    np.add.at(sums, y, centred)  # sum over n of e_y (h - mean)^T; that of f (h - mean)^T is zero
    return np.outer(p - f, h.mean(axis=0)), -sums / N


def look_inside(
    model: Model, ids: Int[np.ndarray, "B T"]
) -> tuple[list[Float[np.ndarray, "B H T T"]], Float[np.ndarray, "B T C"]]:
    """
    The attention weights of every layer, and what the output layer reads.

    Parameters
    ----------
    model
        Runs without dropout.
    ids
        Token ids.

    Returns
    -------
    weights : list of ndarray
        Of each layer, rows are queries; zero above the diagonal.
    h : ndarray
        The normalised stream after the last block.

    Examples
    --------
    >>> from fp_transformer.config import TransformerConfig
    >>> config = TransformerConfig.llama(vocab_size=11, context_length=7, n_layers=2, n_heads=3, d_model=12)
    >>> weights, h = look_inside(Model(config, np.random.default_rng(0)), np.array([[3, 1, 4, 1, 5]]))
    >>> len(weights), weights[0].shape, h.shape, bool(np.allclose(weights[1].sum(-1), 1))
    (2, (1, 3, 5, 5), (1, 5, 12), True)
    """
    B, T = ids.shape
    p, config = model._p, model.config
    H, K, D = config.n_heads, config.n_kv_heads, config.d_head
    rotary = model._rows(0, T)
    x = embedding(ids.reshape(-1), p.embedding).reshape(B, T, -1)
    if p.positions is not None:
        x += p.positions[:T]
    weights = []
    for layer in p.layers:
        n, _ = norm(x.reshape(B * T, -1), layer.norm1, layer.norm1_bias, config.norm_eps)
        qkv = linear(n, layer.qkv, layer.qkv_bias).reshape(B, T, H + 2 * K, D)
        q, k = qkv[:, :, :H], qkv[:, :, H : H + K]
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        weights.append(_weights(q, k))
        block(x, layer, config, rotary)  # in place
    h, _ = norm(x.reshape(B * T, -1), p.norm, p.norm_bias, config.norm_eps)
    return weights, h.reshape(B, T, -1)


def _weights(q: Float[np.ndarray, "B T H D"], k: Float[np.ndarray, "B T K D"]) -> Float[np.ndarray, "B H T T"]:
    """What attention gives for unit vectors as values, as many at a time as a value has entries."""
    B, T, H, D = q.shape
    P = np.empty((B, H, T, T), q.dtype)
    for start in range(0, T, D):
        stop = min(start + D, T)
        v = np.zeros(k.shape, k.dtype)
        v[:, np.arange(start, stop), :, np.arange(stop - start)] = 1
        P[..., start:stop] = causal_attention(q, k, v)[0].transpose(0, 2, 1, 3)[..., : stop - start]
    return P


def look_back(P: Float[np.ndarray, "B H T T"], distance: int, start: int = 0) -> Float64[np.ndarray, " H"]:
    """
    How much weight each head puts on the token a fixed distance back, on average.

    On a text that repeats itself after `R` tokens, the token that followed the earlier copy of the present one stands
    `R - 1` back: with that distance and the start `R` this measures induction.

    Parameters
    ----------
    P
        Attention weights.
    distance
        Tokens back, at least 0.
    start
        The first query that counts; queries with no token so far back never do.

    Raises
    ------
    ValueError
        If no query is left.

    Examples
    --------
    >>> P = np.array([[[[1.0, 0.0, 0.0], [0.75, 0.25, 0.0], [0.5, 0.25, 0.25]]]])
    >>> look_back(P, 1), look_back(P, 1, start=2)
    (array([0.5]), array([0.25]))
    """
    T = P.shape[-1]
    queries = np.arange(max(start, distance), T)
    if distance < 0 or not queries.size:
        raise ValueError(
            f"of {T} tokens at least one from number {start} on must have a token {distance} back, and that is not "
            "negative; take a longer text or a smaller distance"
        )
    return np.asarray(P[:, :, queries, queries - distance].mean(axis=(0, 2), dtype=np.float64))


def mean_distance(P: Float[np.ndarray, "B H T T"]) -> Float64[np.ndarray, " H"]:
    """
    How far back each head looks on average, in tokens, each key counted with its weight.

    Parameters
    ----------
    P
        Attention weights.

    Examples
    --------
    >>> mean_distance(np.array([[[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.25, 0.25]]]]))  # 0, 1 and 1.25
    array([0.75])
    """
    distance = np.arange(P.shape[-1])[:, None] - np.arange(P.shape[-1])
    return np.asarray((P * distance).sum(axis=-1, dtype=np.float64).mean(axis=(0, 2)))


def even_share(T: int, distance: int, start: int = 0) -> float:
    """
    What `look_back` gives for a head that looks at all tokens alike.

    Parameters
    ----------
    T
        Tokens of the text.
    distance, start
        As for `look_back`.

    Examples
    --------
    >>> round(even_share(3, 1), 4)  # the mean of 1/2 and 1/3
    0.4167
    """
    even = np.tril(np.ones((T, T))) / np.arange(1, T + 1)[:, None]
    return float(look_back(even[None, None], distance, start)[0])


def divergences(tables: Mapping[int, Float64[np.ndarray, "N V"]], z: Float[np.ndarray, "N V"]) -> dict[int, float]:
    """
    Mean divergence of a model from each of several tables of counts.

    Parameters
    ----------
    tables
        Order to next-token distributions at `N` positions.
    z
        The model's logits there.

    Returns
    -------
    dict
        Order to the mean of $D(q \\,\\|\\, p)$ in nats, $q$ from the table, $p$ from the model.

    Examples
    --------
    >>> divergences({1: np.array([[0.5, 0.5]])}, np.log([[0.5, 0.5]]))
    {1: 0.0}
    """
    z = z.astype(np.float64)
    top = z.max(axis=1, keepdims=True)
    log_p = z - top - np.log(np.exp(z - top).sum(axis=1, keepdims=True))
    found = {}
    for order, q in tables.items():
        log_q = np.log(np.where(q > 0, q, 1.0))
        found[order] = float((q * (log_q - log_p)).sum(axis=1).mean())
    return found


def position_means(losses: Float64[np.ndarray, " n"], window: int, edges: Sequence[int]) -> list[float]:
    """
    Mean loss by how many tokens were there to predict from.

    Parameters
    ----------
    losses
        Of `fp_capstone.evaluation.evaluate`, in windows of `window` tokens.
    window
        Tokens of a window; a shorter last window is left out.
    edges
        Rising, from 1: group `g` has `edges[g]` to `edges[g + 1] - 1` tokens of context.

    Raises
    ------
    ValueError
        If there is no full window, or the edges do not rise within it.

    Examples
    --------
    >>> position_means(np.array([4.0, 2.0, 1.0, 3.0, 2.0, 2.0, 9.0]), window=3, edges=[1, 2, 4])
    [3.5, 1.75]
    """
    full = losses.size // window
    if not full or edges[0] < 1 or edges[-1] > window + 1 or any(a >= b for a, b in pairwise(edges)):
        raise ValueError(
            f"edges must rise from 1 or more to at most {window + 1} and the losses fill a window of {window}; "
            f"got edges {list(edges)} and {losses.size} losses"
        )
    by_position = losses[: full * window].reshape(full, window).mean(axis=0)
    return [float(by_position[a - 1 : b - 1].mean()) for a, b in pairwise(edges)]


def kinds_of_characters(text: str, train: str, rare: float | int = 1 / 2000) -> list[str]:
    """
    What kind of character each is, the first one left out.

    Parameters
    ----------
    text
        The text.
    train
        Decides which characters are rare.
    rare
        A character with a smaller share of the training text is rare, whatever else it is.

    Returns
    -------
    list of str
        `len(text) - 1` names out of seven.

    Examples
    --------
    >>> kinds_of_characters("a bc 7.", "abc 7.", rare=0)[1:4]
    ['letter, first of a word', 'letter, inside a word', 'space']
    """
    counts, least = Counter(train), rare * len(train)
    kinds = []
    for before, character in pairwise(text):
        if counts[character] < least:
            kind = "rare"
        elif character.isalpha():
            kind = KINDS[1] if before.isalpha() else KINDS[0]
        elif character == " ":
            kind = "space"
        elif character == "\n":
            kind = "end of line"
        else:
            kind = "digit" if character.isdigit() else "punctuation"
        kinds.append(kind)
    return kinds


def known_phrases(sample: str, text: str, longest: int = 3) -> list[float]:
    """
    Share of a sample's words, pairs of words and so on that occur in a text.

    Parameters
    ----------
    sample
        Its first and last word are left out, as they may be cut.
    text
        Where they are looked up; case counts, and punctuation is part of its word.
    longest
        Most words of a phrase.

    Returns
    -------
    list of float
        For phrases of 1 to `longest` words; `nan` where the sample has none.

    Examples
    --------
    >>> known_phrases("e the dog sat on", "the cat sat on the mat", longest=2)
    [0.6666666666666666, 0.0]
    """
    words, there = sample.split()[1:-1], text.split()
    shares = []
    for n in range(1, longest + 1):
        known = set(zip(*(there[i:] for i in range(n)), strict=False))
        phrases = list(zip(*(words[i:] for i in range(n)), strict=False))
        shares.append(sum(phrase in known for phrase in phrases) / len(phrases) if phrases else math.nan)
    return shares


def neighbours(table: Float[np.ndarray, "V C"], row: int, among: Sequence[int], n: int = 3) -> list[tuple[int, float]]:
    """
    The rows of a table that point most nearly where one of them points.

    Parameters
    ----------
    table
        For instance the embedding.
    row
        Whose neighbours.
    among
        The rows that count; their mean is subtracted from all first, as what all have in common tells none apart.
    n
        How many.

    Returns
    -------
    list of (int, float)
        Row and cosine, the nearest first.

    Examples
    --------
    >>> [row for row, _ in neighbours(np.array([[1.0, 0.0], [0.9, 0.2], [-1.0, 0.1]]), 0, [0, 1, 2], n=1)]
    [1]
    """
    rows = np.asarray(among)
    centre = table[rows].mean(axis=0)
    vectors = (table[rows] - centre).astype(np.float64)
    own = (table[row] - centre).astype(np.float64)
    cosines = vectors @ own / np.maximum(np.linalg.norm(vectors, axis=1) * np.linalg.norm(own), 1e-30)
    order = [i for i in np.argsort(-cosines, kind="stable").tolist() if rows[i] != row]
    return [(int(rows[i]), float(cosines[i])) for i in order[:n]]


def part_of(name: str) -> str:
    """
    The part of the model that a parameter belongs to.

    Examples
    --------
    >>> part_of("model.layers.2.self_attn.q_proj.weight"), part_of("lm_head.weight")
    ('block 3, attention', 'output')
    """
    words = name.split(".")
    if words[1] in ("layers", "h"):
        attends = words[3] in ("self_attn", "input_layernorm", "attn", "ln_1")
        return f"block {int(words[2]) + 1}, {'attention' if attends else 'feed-forward'}"
    if words[1] in ("embed_tokens", "wte", "wpe"):
        return "embedding"
    return "output"  # and the norm before it


def lengths(arrays: Mapping[str, Float[np.ndarray, "..."]]) -> dict[str, float]:
    """
    The length of each part of the model, or of its gradient, or of a step: the root of the sum of squares.

    Parameters
    ----------
    arrays
        By the parameters' names.

    Returns
    -------
    dict
        Part (`part_of`) to length, in the order of the forward pass.

    Examples
    --------
    >>> lengths({"model.embed_tokens.weight": np.array([[3.0]]), "lm_head.weight": np.array([[1.0, 1.0]])})
    {'embedding': 3.0, 'output': 1.4142135623730951}
    """
    squares: dict[str, float] = {}
    for name, array in arrays.items():
        squares[part_of(name)] = squares.get(part_of(name), 0.0) + float(np.sum(array.astype(np.float64) ** 2))
    return {part: math.sqrt(total) for part, total in squares.items()}
