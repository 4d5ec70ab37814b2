r"""
Does attention learn to look?

A text names things and says something of each, and then asks. Whoever answers has to find the place where the name
stood before, and read what stood beside it. Can attention do that, with how many layers and heads, and does gradient
descent find the weights?

You need: `fp_attention.multihead`, `fp_attention.relative`, `attention.one-causal-layer` from `fp_attention.symmetry`,
`attention.hard-lookup-limit`; `fp_neural.training`.

## The task

A **text of recall** has $n$ pairs of a **key** and a **value**, and then **questions**, which are keys of it:

    .  c 7  a 2  d 5   a?

The first token, the dot, occurs nowhere else. Keys differ from one another, and so do values; every text is drawn
anew, so nothing of it can be learned by heart. At the question $a$ the answer is $2$. Texts for training ask for all
$n$ keys in random order and never tell an answer, so that one text makes $n$ independent exercises.

>>> ids, answers = recall_texts(3, 1, np.random.default_rng(0), n_keys=4, n_values=9)
>>> ids[0].tolist(), answers[0].tolist()  # 0 is the dot, 1 to 4 are keys
([0, 3, 9, 1, 11, 2, 12, 3, 2, 1], [9, 12, 11])

The model is the least that could do: an embedding, layers of causal attention whose output is added to their input, and
scores for the next token from a linear layer,

$$
X^{(0)}_i = E_{x_i}, \qquad X^{(l)} = X^{(l-1)} + A_l(X^{(l-1)}), \qquad z_i = U X^{(L)}_i. \qquad \text{(E1)}
$$

A token is **right** at a place if its score is above that of every other.

## Two layers are enough

The question must find its key, but what it wants stands one place later. So let one head tell every token which one
came before it, and a second look for the token that came after the one that asks.

Let vectors have three parts of $V$ numbers, for $V$ tokens, and let $E_x = (e_x, 0, 0)$. Layer $1$ has the scores
$\beta$ for the place just before and $0$ for all others, and adds $\sum_j P_{ij} e_{x_j}$ to the second part: call it
$b_i$. Layer $2$ has the scores $\gamma\, e_{x_i} \cdot b_j$ and adds $\sum_j P_{ij} e_{x_j}$ to the third part, which
$U$ multiplies by $s$:

$$
S^{(1)}_{ij} = \beta\, [j = i - 1], \qquad S^{(2)}_{ij} = \gamma\, e_{x_i} \cdot b_j, \qquad
z_i = s \sum_j P^{(2)}_{ij}\, e_{x_j}. \qquad \text{(E2)}
$$

**Claim** `attention.recall-two-layers`. In a text of at most $T$ tokens let $x_0 \neq x_i$, and let $M$, the places
$1 \le j \le i$ with $x_{j-1} = x_i$, be not empty and hold the same token $y$ all. Let $\beta$, $\gamma$ and $s$ be
positive and

$$
\delta = \frac{T - 1}{e^\beta + T - 1}, \qquad \varepsilon = (T - 1)\, e^{-\gamma (1 - 2 \delta)}. \qquad \text{(E3)}
$$

In the model (E2) the weight $\sum_{j \in M} P^{(2)}_{ij}$ is at least $1 - \varepsilon$. So $y$ is right if
$\varepsilon < \frac12$, and then $-\ln \operatorname{softmax}(z_i)_y \le (V - 1)\, e^{-s (1 - 2 \varepsilon)}$.

**Proof.** *Layer 1.* A place $j \ge 1$ may look at $j + 1$ places. The one before it has the weight
$\frac{e^\beta}{e^\beta + j}$, and the others have together

$$\frac{j}{e^\beta + j} = 1 - \frac{e^\beta}{e^\beta + j} \le 1 - \frac{e^\beta}{e^\beta + T - 1} = \delta.$$

The number $e_{x_i} \cdot b_j$ is the weight that $j$ gives to places that hold $x_i$. If $j \in M$, the place before is
one, and the number is at least $1 - \delta$. If $j \ge 1$ is not in $M$, the place before is none, and it is at most
$\delta$. Place $0$ sees only itself, which is not $x_i$: the number is $0$.

*Layer 2.* So the scores are at least $\gamma (1 - \delta)$ in $M$ and at most $\gamma \delta$ elsewhere. Take one
$m \in M$. A place $j$ outside of $M$ has $P_{ij} / P_{im} = e^{S_{ij} - S_{im}} \le e^{-\gamma (1 - 2 \delta)}$, and
$P_{im} \le 1$. As $M$ is not empty, at most $i \le T - 1$ places are outside, with a weight of $\varepsilon$ at most
together.

*Scores.* The component of $z_i$ for $y$ is at least $s (1 - \varepsilon)$. That of another token is $s$ times the
weight of places outside of $M$, at most $s\, \varepsilon$, which is less if $\varepsilon < \frac12$. Last, with
$\ln (1 + u) \le u$ (`markov.log-tangent`),

$$
-\ln \frac{e^{z_y}}{\sum_c e^{z_c}} = \ln \Big( 1 + \sum_{c \neq y} e^{z_c - z_y} \Big)
  \le \sum_{c \neq y} e^{z_c - z_y} \le (V - 1)\, e^{-s (1 - 2 \varepsilon)}. \qquad \blacksquare
$$

The first is called a **previous-token head**, both together an **induction head**: what followed the last time follows
again. Nothing in it depends on what the tokens are. To have the error $\varepsilon$ it suffices that

$$\beta = \ln \big( 3\, (T - 1) \big), \qquad \gamma = 2 \ln \frac{T - 1}{\varepsilon}, \qquad \text{(E4)}$$

for then $\delta = \frac14$ and $\varepsilon$ is as in (E3): the scores grow with the logarithm of the length only. But
they have to grow. With any fixed $\beta$ and $\gamma$ the bound (E3) is lost in texts that are long enough.
`constructed_recall` puts these weights into real layers:

>>> model = constructed_recall(14, longest=10, error=0.01)
>>> model(ids)[:, -3:].data.argmax(-1).tolist() == answers.tolist()
True

## One layer

**Claim** `attention.recall-order-free`. Let a model have one layer of causal attention, any number of heads, and no
positions, and let it answer by whatever computation from the layer's output at the question. Take $n$ pairs and one
question, and the $n!$ texts with the same keys at the same places and the same values in any order. It is right on
$(n - 1)!$ of them at most, a share of $\frac1n$.

**Proof.** The texts differ in the order of tokens before the question, so by `attention.one-causal-layer` the output at
the question is the same in all of them, and so is the token $y$ that gets the highest score, if one does. It is the
answer in those texts that have $y$ beside the key that is asked for: none, or $(n - 1)!$, as the other values may stand
in any order. $\blacksquare$

That is no better than to know all values and guess. Do positions help?

**Claim** `attention.recall-one-head`. Let the scores at a question at place $t$ be

$$
z_c = \alpha_c + \sum_{j \le t} P_j\, u_c(j, x_j), \qquad
P_j = \frac{w(j, x_j)}{\sum_{l \le t} w(l, x_l)}, \qquad w > 0, \qquad \text{(E5)}
$$

with any numbers $\alpha_c$ and any functions $w$ and $u_c$, which may depend on the question and on $t$. Take a text
whose question is one of two keys of it, and the four texts that one gets by exchanging these two keys, or not, and
their two values, or not. The model is right on three of them at most. It is right with probability $\frac34$ at most if
texts of $n \ge 2$ pairs and a question are drawn evenly.

**Proof.** Let the keys be $a$, which is asked for, and $b$, their values first $x$ and $y$, and let $N = \sum_l w(l,
x_l) > 0$. Where the model is right and the answer is $x$, $z_x > z_y$, which is

$$
0 < N (z_x - z_y) = \sum_j g(j, x_j), \qquad g(j, c) = w(j, c) \big( \alpha_x - \alpha_y + u_x(j, c) - u_y(j, c) \big),
$$

and if the answer is $y$, the sum is below zero. The four texts differ in four places. Let $r$ be the sum of $g$ over
all other places, $p$ and $p'$ that over the places of the two keys, before and after their exchange, and $q$ and $q'$
that over the values' places. If the model were right on all four,

$$
r + p + q > 0, \qquad r + p' + q < 0, \qquad r + p + q' < 0, \qquad r + p' + q' > 0,
$$

as every exchange changes the answer. The first and last together say $2r + p + p' + q + q' > 0$, the others that the
same sum is below zero. So it is not.

For two places of pairs, the texts that ask for a key in one of the two fall into such groups of four, in which the
exchanges lead from each text to each other; so of these at most $\frac34$ are right. With $\rho_k$ for the share of
right ones among the texts that ask for the $k$-th key, that is $\frac12 (\rho_k + \rho_l) \le \frac34$ for all
$k \neq l$. The mean of the left side over all these is the mean of the $\rho_k$, which is the probability.
$\blacksquare$

(E5) is one layer (E1) with one head, whatever its positions: on the input, on the heads or on the scores. It has one
sum for everything, to which keys and values contribute separately, and whether two things fit is not the sum of two
numbers. It takes a second layer, or a second head:

**Claim** `attention.recall-many-heads`. One layer (E1) with a vector for each place added to its input and $n$ heads is
right on all texts of $n$ pairs and one question.

**Proof.** Let $\lambda > 0$. Head $h = 1, \dots, n$ looks from the question $a$ at place $t = 2n + 1$ with the scores

$$
S^{(h)}_j = \lambda \big( 2\, [j = 2h - 1] + [j = 2h] - 2\, [x_j = a] \big), \qquad \text{(E6)}
$$

a scalar product of vectors made of $x_t$, and of $x_j$ and $j$. It carries $e_{x_j}$ for values and $0$ for others, and
the heads' outputs are added to a third part of the vectors, which $U$ reads. The key of pair $h$ stands at $2h - 1$. If
it is $a$, its score is $0$, that of its value is $\lambda$, and all others are $0$ or less: by
`attention.hard-lookup-limit` the value has the weight $1 - \varepsilon$ or more, with
$\varepsilon = (2n + 1)\, e^{-\lambda}$. If it is not $a$, its score is $2 \lambda$ and all others are lower by
$\lambda$ or more: it has the weight $1 - \varepsilon$ or more, and this head adds $\varepsilon$ at most to all scores
together. So the answer has $1 - \varepsilon$ or more, and any other token $n \varepsilon$ or less, which is less for
$\lambda > \ln \big( (n + 1)(2n + 1) \big)$. $\blacksquare$

Such a layer knows its places, a head for each, and the next pair is beyond it. The two layers know the task, for any
number of pairs.

## Learned

Does gradient descent find such weights? Plain steps with clipping do, from random numbers, and few of them:

>>> trial = run(Settings(pairs=4, n_keys=8, n_values=8, steps=100), lengths=(4, 8))
>>> [bool(trial.accuracy[n] > limit) for n, limit in ((4, 0.95), (8, 0.9))]
[True, True]

<!-- figure: recall -->

The maps are those of (E2): from every value the first layer looks at the key before it, and from a question the second
layer looks at the answer. Nobody told it to. Keys have nothing to fetch, and in the first layer most of them look at
the dot: weights sum to one and have to lie somewhere (`fp_attention.windows`).

*Who learns it.* Two layers do, in few steps. One layer stays where guessing among the values of the text would be;
that it cannot be otherwise without positions is `attention.recall-order-free`, and that with positions a head for each
pair could do it, `attention.recall-many-heads`, does not mean that descent finds such heads. A perceptron that sees the
whole text does not get beyond guessing in as many steps: for it every key at every place is a case of its own. The
LSTM does learn, and slowly; it has to keep all pairs in its state before it knows which one matters.

*How far it carries.* Learned positions end where training ended. Sinusoidal ones do not end, but what was learned about
them does: questions whose pairs stand at places known from training are answered, and hardly any others, which makes
one half of 16 pairs and one quarter of 32. Positions that act through distances carry on, with losses that grow with
the length, as weights spread over more places while scores stay as they are (E3). ALiBi's slopes are fixed and small
for two heads, $\frac1{16}$ and $\frac1{256}$, so a head that looks one place back has to come about in other ways, and
takes more steps. Without positions the causal mask alone tells order enough for texts as in training
(`attention.mask-tells-position`), and not for longer ones.

These are small models, one task, and three seeds. The order among the kinds of positions is of this task and no law.

## In practice

C. Olsson and others (2022) found induction heads in language models of all sizes, formed in a short phase of training
in which the loss drops, and hold them responsible for much of learning from examples in the context. A. Bietti and
others (2023) follow the two layers while they are learned. C. Sanford, D. Hsu and M. Telgarsky (2024) show that
one layer needs a size that grows with the text, for any number of heads. S. Arora and others (2023) find that recall of
this kind is most of what separates attention from recurrent networks in language models: their state has to hold
all pairs before the question is known.

Here texts have no noise, keys occur once, and the layers have neither normalization nor a network after the attention;
those are the matter of later stages.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Int

from fp_attention.masks import Causal
from fp_attention.multihead import MultiHeadAttention
from fp_attention.positions import LearnedPositions, Positions, SinusoidalPositions
from fp_attention.relative import ALiBi, RelativeBias
from fp_attention.rotary import RoPE
from fp_autograd.tensor import no_grad
from fp_autograd.tracing import value_of
from fp_neural.embedding import Embedding
from fp_neural.experiment import falling
from fp_neural.language_model import MLPLanguageModel
from fp_neural.layers import Linear
from fp_neural.losses import cross_entropy
from fp_neural.module import Module
from fp_neural.recurrent_model import RecurrentLanguageModel
from fp_neural.training import History, train

__all__ = [  # the order of the page
    "recall_texts",
    "AttentionReader",
    "constructed_recall",
    "constructed_heads",
    "Settings",
    "Trial",
    "run",
    "build",
    "answer_scores",
    "accuracy",
]

Real = float | int
Kind = Literal["none", "learned", "sinusoidal", "rope", "alibi", "relative"]


def recall_texts(
    n_pairs: int,
    batch: int,
    rng: np.random.Generator,
    *,
    n_keys: int = 32,
    n_values: int = 32,
    n_questions: int | None = None,
) -> tuple[Int[np.ndarray, "B T"], Int[np.ndarray, "B Q"]]:
    """
    Texts of pairs and questions, drawn evenly.

    Parameters
    ----------
    n_pairs
        $n$, how many pairs a text has.
    batch
        How many texts.
    rng
        Draws them.
    n_keys, n_values
        How many there are to draw from: the ids 1 to `n_keys`, and those after. The id 0 begins each text.
    n_questions
        $Q$, how many keys are asked for, at most all $n$, which is the default.

    Returns
    -------
    ids : ndarray
        The texts, each of $T = 1 + 2n + Q$ tokens; the last $Q$ are the questions, all different.
    answers : ndarray
        The value that each question asks for.

    Raises
    ------
    ValueError
        If there are too few keys or values for the pairs, or too few pairs for the questions.
    """
    Q = n_pairs if n_questions is None else n_questions
    if not 1 <= n_pairs <= min(n_keys, n_values):
        raise ValueError(
            f"keys of a text are all different, and so are values: {n_keys} keys and {n_values} values make 1 to "
            f"{min(n_keys, n_values)} pairs, got {n_pairs}"
        )
    if not 1 <= Q <= n_pairs:
        raise ValueError(f"questions are different keys of the text: {n_pairs} pairs allow 1 to {n_pairs}, got {Q}")
    if batch < 1:
        raise ValueError(f"a batch has one text or more, got {batch}")

    def draws(n: int, few: int) -> np.ndarray:
        return rng.permuted(np.tile(np.arange(n), (batch, 1)), axis=1)[:, :few]

    keys, values = 1 + draws(n_keys, n_pairs), 1 + n_keys + draws(n_values, n_pairs)
    asked = draws(n_pairs, Q)
    ids = np.zeros((batch, 1 + 2 * n_pairs + Q), np.int64)
    ids[:, 1 : 2 * n_pairs : 2], ids[:, 2 : 2 * n_pairs + 1 : 2] = keys, values
    ids[:, 2 * n_pairs + 1 :] = np.take_along_axis(keys, asked, axis=1)
    return ids, np.take_along_axis(values, asked, axis=1)


class AttentionReader(Module):
    """
    Layers of causal attention and nothing else (E1).

    Parameters
    ----------
    vocab_size
        $V$.
    dim
        The width of the vectors.
    positions
        Those of each layer; as many as layers.
    n_heads
        The heads of each layer.
    d_head
        Their width; `dim / n_heads` by default.
    rng
        Draws the parameters.
    dtype
        Of the parameters.

    Raises
    ------
    ValueError
        If there is no layer, or the sizes are none for attention.

    Examples
    --------
    >>> model = AttentionReader(
    ...     9, 16, [RelativeBias(2, 4, 16, rng=np.random.default_rng(0)), None], n_heads=2, rng=np.random.default_rng(1)
    ... )
    >>> model(np.array([[0, 1, 5, 1]])).shape, [P.shape for P in model.maps(np.array([[0, 1, 5, 1]]))]
    ((1, 4, 9), [(1, 2, 4, 4), (1, 2, 4, 4)])
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        positions: Sequence[Positions | None],
        *,
        n_heads: int = 1,
        d_head: int | None = None,
        rng: np.random.Generator,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        if not positions:
            raise ValueError("a model has one layer or more: give positions for each, which may be None")
        self.embedding = Embedding(vocab_size, dim, rng=rng, dtype=dtype)
        self.layers = [
            MultiHeadAttention(dim, n_heads, d_head=d_head, positions=p, mask=Causal(), rng=rng, dtype=dtype)
            for p in positions
        ]
        self.output = Linear(dim, vocab_size, bias=False, gain=0.1, rng=rng, dtype=dtype)

    def forward(self, ids: Int[np.ndarray, "B T"]) -> Any:
        """The scores $z$, of shape (B, T, V)."""
        x = self.embedding(ids)
        for layer in self.layers:
            x = x + layer(x)
        return self.output(x)

    def maps(self, ids: Int[np.ndarray, "B T"]) -> list[np.ndarray]:
        """The weights of each layer, each of shape (B, H, T, T)."""
        found, x = [], self.embedding(ids)
        for layer in self.layers:
            found.append(layer.weights(x))
            x = x + layer(x)
        return found


def constructed_recall(vocab_size: int, longest: int, error: Real, *, sharpness: Real = 10.0) -> AttentionReader:
    r"""
    The two layers (E2), not learned but written down, with the scales (E4).

    Parameters
    ----------
    vocab_size
        $V$; the vectors have $3V$ numbers.
    longest
        $T$, the most tokens that a text may have, two or more.
    error
        $\varepsilon$, between 0 and $\frac12$.
    sharpness
        $s$, what the answer's weight is multiplied by to be a score.

    Returns
    -------
    AttentionReader
        In double precision.

    Raises
    ------
    ValueError
        If the length or the error is out of range.
    """
    if longest < 2 or not 0 < error < 0.5:
        raise ValueError(
            f"a text with a question has two tokens or more, and the error lies between 0 and 1/2, got longest="
            f"{longest} and error={error}"
        )
    V, rng = vocab_size, np.random.default_rng(0)
    before = RelativeBias(1, 4, 16, rng=rng, dtype=np.float64)  # the buckets are the distances 0, 1, 2 to 5, and more
    model = AttentionReader(V, 3 * V, [before, None], d_head=V, rng=rng, dtype=np.float64)
    for parameter in model.parameters():
        parameter.data[...] = 0
    token, previous, answer = (slice(n * V, (n + 1) * V) for n in range(3))
    eye = np.eye(V)
    before.weight.data[1] = math.log(3 * (longest - 1))
    first, second = model.layers
    model.embedding.weight.data[:, token] = eye
    first.v_proj.weight.data[:, token] = eye
    first.o_proj.weight.data[previous] = eye
    gamma = 2 * math.log((longest - 1) / error)
    second.q_proj.weight.data[:, token] = gamma * math.sqrt(V) * eye  # attention divides by this root
    second.k_proj.weight.data[:, previous] = eye
    second.v_proj.weight.data[:, token] = eye
    second.o_proj.weight.data[answer] = eye
    model.output.weight.data[:, answer] = sharpness * eye
    return model


def constructed_heads(n_pairs: int, n_keys: int, n_values: int, scale: Real) -> AttentionReader:
    r"""
    The one layer (E6) with a head for each pair, for texts of $n$ pairs and one question.

    Parameters
    ----------
    n_pairs
        $n$.
    n_keys, n_values
        As in `recall_texts`.
    scale
        $\lambda$; right on every text above $\ln \big( (n + 1)(2n + 1) \big)$.

    Returns
    -------
    AttentionReader
        In double precision.
    """
    V, T, rng = 1 + n_keys + n_values, 2 * n_pairs + 2, np.random.default_rng(0)
    dim, D = 2 * V + T, V + 1
    places = LearnedPositions(T, dim, rng=rng, dtype=np.float64)
    model = AttentionReader(V, dim, [places], n_heads=n_pairs, d_head=D, rng=rng, dtype=np.float64)
    for parameter in model.parameters():
        parameter.data[...] = 0
    token, place, answer = slice(0, V), slice(V, V + T), slice(V + T, dim)
    eye = np.eye(V)
    model.embedding.weight.data[:, token] = eye
    places.weight.data[:, place] = np.eye(T)
    (layer,) = model.layers
    for h in range(n_pairs):
        q, k, v = (m.weight.data[h * D : (h + 1) * D] for m in (layer.q_proj, layer.k_proj, layer.v_proj))
        q[:V, token] = -2 * scale * math.sqrt(D) * eye
        q[V, token] = scale * math.sqrt(D)  # a token's vector has one 1 in it
        k[:V, token] = eye
        k[V, place][2 * h + 1], k[V, place][2 * h + 2] = 2, 1
        v[:V, token] = eye * (np.arange(V) > n_keys)
        layer.o_proj.weight.data[answer, h * D : h * D + V] = eye
    model.output.weight.data[:, answer] = eye
    return model


@dataclass(frozen=True)
class Settings:
    """
    What to train, and how.

    Attributes
    ----------
    model : str
        `"attention"`, `"lstm"` or `"mlp"`.
    positions : str
        How attention knows places: `"none"`, `"learned"`, `"sinusoidal"`, `"rope"`, `"alibi"` or `"relative"`. Those
        that act on the input are given to the first layer, the others to each.
    layers, heads : int
        Of attention.
    dim : int
        The width of the vectors.
    hidden : int
        Numbers in the state of the LSTM and in the perceptron's hidden layer.
    context : int
        Tokens that the perceptron looks back.
    pairs : int
        $n$ in training.
    n_keys, n_values : int
        How many there are.
    steps, batch_size : int
        Gradient steps, and texts for each.
    rate, falling, max_norm : float
        As in `fp_neural.experiment.Settings`.
    seed : int
        Of all randomness.
    """

    model: Literal["attention", "lstm", "mlp"] = "attention"
    positions: Kind = "relative"
    layers: int = 2
    heads: int = 1
    dim: int = 64
    hidden: int = 128
    context: int = 25
    pairs: int = 8
    n_keys: int = 32
    n_values: int = 32
    steps: int = 2000
    batch_size: int = 32
    rate: Real = 1.0
    falling: Real = 0.3
    max_norm: Real = 1.0
    seed: int = 0


@dataclass
class Trial:
    """
    A trained model and what became of it.

    Attributes
    ----------
    model : Module
        The model.
    history : History
        Of its training. What it was measured by on the way is the share of wrong answers in texts as in training.
    accuracy : dict
        For each number of pairs the share of right answers in texts that are new to the model; `None` where it cannot
        read texts of that length.
    """

    model: Module
    history: History
    accuracy: dict[int, float | None]

    def steps_to(self, share: Real) -> int | None:
        """After how many steps the share of right answers was first measured to be so high; `None` if never."""
        return next((n for n, wrong in self.history.held_out if 1 - wrong >= share), None)


def run(settings: Settings, *, lengths: Iterable[int] = (8, 16, 32), n_texts: int = 200, every: int = 50) -> Trial:
    """
    Train a model on texts of recall, a new batch for every step, and examine it on other texts.

    Parameters
    ----------
    settings
        What to train, and how.
    lengths
        The numbers of pairs to examine it with.
    n_texts
        How many texts for each; a text has a question for each pair.
    every
        After how many steps it is measured on the way.

    Returns
    -------
    Trial
        The model and the results.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """
    for name in ("steps", "batch_size"):
        if (number := getattr(settings, name)) < 1:
            raise ValueError(f"{name} must be one or more, got {number}")
    sizes = {"n_keys": settings.n_keys, "n_values": settings.n_values}

    def exam(n: int) -> tuple[np.ndarray, np.ndarray]:
        return recall_texts(n, n_texts, np.random.default_rng([settings.seed, 1, n]), **sizes)

    rng, n = np.random.default_rng(settings.seed), settings.pairs
    exams = {length: exam(length) for length in lengths}
    on_the_way = exam(n)
    model = build(settings, rng)
    history = train(
        model,
        lambda ids, answers: cross_entropy(answer_scores(model, ids, answers.shape[1]), answers),
        (recall_texts(n, settings.batch_size, rng, **sizes) for _ in range(settings.steps)),
        rate=falling(settings.rate, settings.steps, settings.falling),
        max_norm=settings.max_norm,
        held_out=lambda: 1 - accuracy(model, *on_the_way),
        every=every,
    )
    readable = {length: settings.positions != "learned" or length <= n for length in exams}
    if settings.model != "attention":
        readable = dict.fromkeys(exams, True)
    return Trial(model, history, {k: accuracy(model, *texts) if readable[k] else None for k, texts in exams.items()})


def build(settings: Settings, rng: np.random.Generator) -> Module:
    """
    The model as it is before training.

    Parameters
    ----------
    settings
        Which one.
    rng
        Draws its parameters.

    Returns
    -------
    Module
        `AttentionReader`, or `MLPLanguageModel` or `RecurrentLanguageModel` of `fp_neural`.

    Raises
    ------
    ValueError
        If the model or the kind of positions is unknown, or a size is out of range.
    """
    if settings.positions not in get_args(Kind):
        raise ValueError(f"positions are one of {', '.join(get_args(Kind))}, got {settings.positions!r}")
    V = 1 + settings.n_keys + settings.n_values
    if settings.model == "lstm":
        return RecurrentLanguageModel(V, settings.dim, settings.hidden, rng=rng)
    if settings.model == "mlp":
        return MLPLanguageModel(V, settings.context, settings.dim, settings.hidden, rng=rng)
    if settings.model != "attention":
        raise ValueError(f'the model is "attention", "lstm" or "mlp", got {settings.model!r}')
    positions = [_positions(settings, i, rng) for i in range(settings.layers)]
    return AttentionReader(V, settings.dim, positions, n_heads=settings.heads, rng=rng)


def _positions(settings: Settings, layer: int, rng: np.random.Generator) -> Positions | None:
    """Those of one layer."""
    kind, heads, dim = settings.positions, settings.heads, settings.dim
    if kind == "rope":
        return RoPE(dim // heads)
    if kind == "alibi":
        return ALiBi(heads)
    if kind == "relative":
        return RelativeBias(heads, 8, 32, rng=rng)
    if layer == 0 and kind == "learned":
        return LearnedPositions(1 + 3 * settings.pairs, dim, std=1.0, rng=rng)
    return SinusoidalPositions(dim) if layer == 0 and kind == "sinusoidal" else None


def answer_scores(model: Module, ids: Int[np.ndarray, "B T"], n_questions: int) -> Any:
    """
    The scores of all tokens at the questions.

    Parameters
    ----------
    model
        As `build` makes them.
    ids
        Texts of recall.
    n_questions
        $Q$: the last tokens are those.

    Returns
    -------
    Tensor
        Of shape (B, Q, V).
    """
    if isinstance(model, RecurrentLanguageModel):
        return model(ids)[0][:, -n_questions:]
    if not isinstance(model, MLPLanguageModel):
        return model(ids)[:, -n_questions:]
    k = model.context
    padded = np.concatenate([np.full((len(ids), k), model.fill), ids], axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, k, axis=1)[:, -n_questions:]
    return model(windows.reshape(-1, k)).reshape((len(ids), n_questions, -1))


def accuracy(model: Module, ids: Int[np.ndarray, "B T"], answers: Int[np.ndarray, "B Q"]) -> float:
    """
    The share of questions at which the token with the highest score is the answer.

    Parameters
    ----------
    model
        As `build` makes them.
    ids, answers
        Texts, and what they ask for.

    Returns
    -------
    float
        Between 0 and 1.
    """
    with no_grad():
        scores = value_of(answer_scores(model, ids, answers.shape[1]))
    return float((scores.argmax(axis=-1) == answers).mean())
