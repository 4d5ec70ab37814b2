r"""
An experiment: a model judged on text that had no part in it.

Everything before this section can be undone by one careless line: a vocabulary made from the whole text, a smoothing
chosen on the text that is then reported. Here the pieces are put together in the one order that is fair. The text is
split first; all that is learned comes from one part, all that is reported from the other.

You need: `fp_markov.ngram`, `fp_markov.vocabulary`.

## Why the split comes first

Let $D$ be the training text, $q_D$ a model made from it, and $X$ the held-out text, with mean loss
$\ell(q, X) = -\frac1T \sum_t \ln q(x_t \mid x_{<t})$. What one wants to know is $R(q) = \mathbb{E}_X\, \ell(q, X)$, the
loss to be expected on new text.

**Claim** `markov.held-out-unbiased`. If $X$ is independent of $D$, then $\mathbb{E}[\ell(q_D, X) \mid D] = R(q_D)$:
the held-out loss is right on average, whatever the model and however it was made from $D$. But let $q^*$ be the model
of least held-out loss among $q_1, \dots, q_k$, all made from $D$. Then
$\mathbb{E}[\ell(q^*, X) \mid D] \le \min_j R(q_j)$, although $R(q^*) \ge \min_j R(q_j)$ for every $X$: the loss of the
winner never promises too little, on average. (A loss may be infinite here.)

**Proof.** Given $D$, the model $q_D$ is fixed and $X$ is distributed as ever, so the first equation is the definition
of $R$. For the second, $\ell(q^*, X) = \min_j \ell(q_j, X) \le \ell(q_i, X)$ for each $i$; take expectations given $D$
and then the least of the right sides. The last inequality holds because $q^*$ is one of the $q_j$. $\blacksquare$

So a setting that is chosen by trying needs a third part: choose on one, report on another. And a model that saw $X$
before, if only in its vocabulary, is not of the form $q_D$.

The two parts are neighbours, so where a text repeats itself $X$ is *not* independent of $D$. Look at what is held out
(`fp_markov.growth.seen_fraction` counts how much of it was seen).

## In practice

Benchmarks of large models leak through their training sets, which contain the web and the benchmarks with it. The
remedy is the same as here: split by time or by source before anything else, and look for copies.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fp_markov.information import bits_per_byte, bits_per_character
from fp_markov.ngram import NGramModel
from fp_markov.sampling import Real
from fp_markov.vocabulary import Vocabulary

__all__ = ["Trial", "split", "run"]  # the order of the page


@dataclass(frozen=True)
class Trial:
    """A model, and what it makes of text that it never saw."""

    vocabulary: Vocabulary
    model: NGramModel
    held_out: Int[np.ndarray, " T"]
    """The held-out text, in the ids of the vocabulary of the other part."""
    losses: Float[np.ndarray, " P"]
    """Nats for each of its tokens, `<s>` left out."""
    n_characters: int
    """Characters of the held-out text."""
    n_bytes: int
    """Bytes of it in UTF-8."""
    n_unknown: int
    """Tokens of it that are `<unk>`."""

    @property
    def loss(self) -> float:
        """Nats per token."""
        return float(self.losses.mean())

    @property
    def bits_per_character(self) -> float:
        """All its bits over all its characters; without meaning where tokens are unknown, or words drop white space."""
        return bits_per_character(self.loss, n_tokens=len(self.losses), n_characters=self.n_characters)

    @property
    def bits_per_byte(self) -> float:
        """All its bits over all its bytes; without meaning in the same cases."""
        return bits_per_byte(self.loss, n_tokens=len(self.losses), n_bytes=self.n_bytes)


def split(text: str, held_out: Real = 0.1) -> tuple[str, str]:
    """
    Cut a text in two, before anything else is done with it.

    Parameters
    ----------
    text
        The text.
    held_out
        The share to hold out, in (0, 1): the end of the text.

    Returns
    -------
    training, held_out : str
        The parts. Where the text has lines, the cut is at the end of one.

    Raises
    ------
    ValueError
        If the share lies outside (0, 1), or a part would be empty.

    Examples
    --------
    >>> split("to be,\\nor not to be:\\nthat is the question", 0.3)
    ('to be,\\nor not to be:\\n', 'that is the question')
    """
    if not 0 < held_out < 1:
        raise ValueError(f"the share to hold out lies between 0 and 1, got {held_out}")
    cut = round(len(text) * (1 - held_out))
    line_end = text.rfind("\n", 0, cut) + 1
    cut = line_end or cut
    if not 0 < cut < len(text):
        raise ValueError(f"a text of {len(text)} characters is too short to hold out a share of {held_out}")
    return text[:cut], text[cut:]


def run(
    text: str,
    order: int,
    smoothing: str = "modified_kneser_ney",
    *,
    units: str = "characters",
    held_out: Real = 0.1,
    min_count: int = 1,
    **settings: Real | None,
) -> Trial:
    """
    Split a text, learn from one part, score the other.

    Parameters
    ----------
    text
        The text.
    order, smoothing
        As for `fp_markov.ngram.NGramModel`.
    units
        What a token is: `"characters"`, `"bytes"` or `"words"`. Words come in sentences, one on each line.
    held_out
        The share to hold out.
    min_count
        Characters or words that the training part has less often than this are `<unk>`.
    **settings
        Settings of the smoothing.

    Returns
    -------
    Trial
        The model and its losses.

    Raises
    ------
    ValueError
        If the text is too short or a setting is out of range.

    Examples
    --------
    >>> trial = run("the cat sat on the mat. " * 40, order=3)
    >>> bool(trial.loss < 0.5), trial.n_unknown
    (True, 0)
    """
    training, rest = split(text, held_out)
    sentences = units == "words"
    vocabulary = Vocabulary.from_text(
        training, units, min_count=min_count, unknown=units != "bytes", sentences=sentences
    )
    encode = vocabulary.encode_sentences if sentences else vocabulary.encode
    model = NGramModel(order, len(vocabulary), smoothing, bos=vocabulary.bos, **settings).fit(encode(training))
    ids = encode(rest)
    if not len(ids):
        raise ValueError("the part that is held out has no token: hold out more")
    losses = -model.log_prob(ids)
    n_unknown = 0 if vocabulary.unk is None else int(np.count_nonzero(ids == vocabulary.unk))
    predicted = losses if vocabulary.bos is None else losses[ids != vocabulary.bos]
    n_bytes = len(rest.encode("utf8", "surrogatepass"))
    return Trial(vocabulary, model, ids, predicted, len(rest), n_bytes, n_unknown)
