r"""
The n-gram model: a text predicted from its last few tokens.

You need: `fp_markov.smoothing` and the sections on one smoothing each, `fp_markov.sampling`.

Here the counts of `fp_markov.counting` and the weights of `fp_markov.smoothing` become a language model: something
that gives every next token a probability. Its loss on held-out text is the number that the networks of later stages
have to beat.

## From weights to probabilities

`fp_markov.smoothing` leaves two arrays for each order: a probability $p$ for each $n$-gram of the text and a back-off
weight $\beta$ for each context. To score a whole text at once, let $\rho_n[t]$ be the rank of the $n$-gram that ends at
position $t$, or $-1$ if the fitted text lacks it. Its context ends one position earlier, so

$$\rho_n[t] = \text{find}_n(\rho_{n-1}[t-1],\, w_t), \qquad \rho_0[t] = 0, \qquad \text{(E1)}$$

and one search an order finds both numbers (`fp_markov.lookup`). From $P_0 = 1/V$ up,

$$
P_n[t] = \begin{cases}
p_n\big( \rho_n[t] \big) & \rho_n[t] \ge 0, \\
\beta_n\big( \rho_{n-1}[t-1] \big)\, P_{n-1}[t] & \rho_n[t] < 0 \le \rho_{n-1}[t-1], \\
P_{n-1}[t] & \text{otherwise}.
\end{cases} \qquad \text{(E2)}
$$

The token at position $t < n$ has only $t$ tokens before it (positions count from $0$); its probability is $P_{t+1}$, a
shorter context, and the mean loss includes it. With sentences, contexts end at `bos` by themselves: no $n$-gram with a
`bos` in its middle was counted, so (E1) answers $-1$. The token `bos` itself is given and not predicted; its
log-probability is reported as $0$ and the mean is over the others.

`reference_distribution` computes the default smoothing from first definitions, with dictionaries; the tests compare.

## Writing

`NGramModel.generate` draws a token from the distribution after the last `order - 1` tokens, appends it, and repeats:
the chain rule read from left to right. Whatever reshapes a belief (`fp_markov.sampling`) applies.

## In practice

By the chain rule the losses of all tokens add up to the text's negative log-probability, so the mean is
comparable with any model's on the same tokens. Mind what is held out: a text that repeats itself, as licences and
tables do, favours high orders, which memorise. Orders beyond 5 or 6 characters gain little: most long contexts of new
text were never seen, and (E1) answers $-1$. This is what the smoothings make of it on one text:

<!-- figure: bits_per_character -->

Saving, in `NGramModel.save`, keeps the arrays and nothing that could run. A file with a pickled model in it is a
program that somebody else wrote.

How the mean loss falls with the order, on the fitted text itself, which repeats one word:

>>> word = np.array([0, 1, 2, 0, 3, 0, 1, 4, 0, 2] * 5)
>>> [round(NGramModel(order).fit(word).cross_entropy(word), 2) for order in (1, 2, 3, 4)]
[1.47, 0.73, 0.44, 0.18]
"""

import inspect
import json
import numbers
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Integer

from fp_markov import information
from fp_markov._files import replacing
from fp_markov.additive import additive, mle
from fp_markov.arpa import BOS, read_arpa, write_arpa
from fp_markov.counting import Level, as_ids, check_ids, check_integer, check_order, count_ngrams, find
from fp_markov.good_turing import good_turing, katz
from fp_markov.jelinek_mercer import held_out_weights, jelinek_mercer
from fp_markov.kneser_ney import absolute_discounting, discounts, kneser_ney, modified_kneser_ney
from fp_markov.lookup import BinarySearch, Finder, finder
from fp_markov.sampling import Real, draw
from fp_markov.smoothing import Weights
from fp_markov.witten_bell import witten_bell

__all__ = ["NGramModel", "SMOOTHINGS", "reference_distribution"]  # the order of the page

Ids = Integer[np.ndarray, " T"] | Sequence[int]

LONG = 4096
"""A text of as many tokens is worth the tables of `fp_markov.lookup`."""

BLOCK = 2**17
"""Tokens that are scored at a time, so that what is computed on the way stays in the processor's cache."""

SMOOTHINGS: dict[str, Callable[..., list[Weights]]] = {
    "mle": mle,
    "additive": additive,
    "jelinek_mercer": jelinek_mercer,
    "good_turing": good_turing,
    "katz": katz,
    "witten_bell": witten_bell,
    "absolute_discounting": absolute_discounting,
    "kneser_ney": kneser_ney,
    "modified_kneser_ney": modified_kneser_ney,
}
"""Every smoothing by its name: from counts to weights."""


class NGramModel:
    """
    A language model that counts.

    Parameters
    ----------
    order
        Tokens of an n-gram: order n predicts from n - 1 tokens of context.
    vocab_size
        Number of tokens that could occur; `None` takes the largest id of the fitted text plus one.
    smoothing
        How unseen n-grams get probability: a name in `SMOOTHINGS`.
    bos
        The token that begins a sentence, where the text consists of sentences: it is given, never predicted, and no
        context reaches across it. `None` for one long text.
    **settings
        Settings of that smoothing: `alpha` of `additive`, `discount` of `absolute_discounting` and `kneser_ney`; `None`
        is the same as none given.

    Attributes
    ----------
    weights : list of fp_markov.smoothing.Weights
        The fitted numbers, one item an order, lowest first; empty before `fit`.

    Raises
    ------
    ValueError
        If the order is below 1, the vocabulary is empty, `bos` lies outside it or is all of it, or the smoothing or a
        setting is unknown.
    TypeError
        If the order, the size or `bos` is no integer, or a setting is no number.

    Examples
    --------
    >>> model = NGramModel(order=3).fit(np.frombuffer(b"abracadabra", np.uint8) - 97)
    >>> p = model.next_distribution([0, 1])  # after "ab"
    >>> "abcdefghijklmnopqr"[p.argmax()], round(float(p.sum()), 12)
    ('r', 1.0)
    """

    def __init__(
        self,
        order: int,
        vocab_size: int | None = None,
        smoothing: str = "modified_kneser_ney",
        *,
        bos: int | None = None,
        **settings: Real | None,
    ) -> None:
        order = check_order(order)
        if vocab_size is not None:
            vocab_size = check_integer(vocab_size, "vocab_size")
            if vocab_size < 1:
                raise ValueError(f"vocab_size must be 1 or more, got {vocab_size}")
        if bos is not None:
            bos = check_integer(bos, "bos")
            if not 0 <= bos < (vocab_size or bos + 1):
                raise ValueError(f"bos is a token of the vocabulary, in [0, {vocab_size}), got {bos}")
            if vocab_size == 1:
                raise ValueError("bos is never predicted, so vocab_size must be 2 or more beside it, got 1")
        if smoothing not in SMOOTHINGS:
            raise ValueError(f"smoothing must be one of {', '.join(SMOOTHINGS)}, got {smoothing!r}")
        known = set(inspect.signature(SMOOTHINGS[smoothing]).parameters) - {"levels", "lambdas"}
        if not settings.keys() <= known:
            raise ValueError(f"{smoothing} has the settings {sorted(known) or 'none'}, got {sorted(settings)}")
        self.order = order
        self.vocab_size = vocab_size
        self.smoothing = smoothing
        self.bos = bos
        self.settings = {name: _as_float(value, name) for name, value in settings.items() if value is not None}
        self.weights: list[Weights] = []
        self._finders: list[Finder] = []

    @property
    def discounts(self) -> list[Float[np.ndarray, " D"]]:
        """What was taken from counts of 1, 2, …, order by order; empty for smoothings that do not discount."""
        return [weights.discounts for weights in self.weights if weights.discounts is not None]

    @property
    def nbytes(self) -> int:
        """Bytes of the fitted arrays, and of the tables of `fp_markov.lookup` once a long text has been scored."""
        fitted = sum(w.keys.nbytes + w.probability.nbytes + w.backoff.nbytes for w in self.weights)
        return fitted + (sum(table.nbytes for table in self._finders) if self._finders_serve() else 0)

    @property
    def n_ngrams(self) -> list[int]:
        """How many n-grams the model holds, order by order."""
        return [len(weights.keys) for weights in self.weights]

    def fit(self, ids: Ids, held_out: Integer[np.ndarray, " U"] | Sequence[int] | None = None) -> "NGramModel":
        """
        Count a text and weigh the counts; a second call starts afresh.

        Parameters
        ----------
        ids
            The text as token ids; with `bos`, sentences one after the other, each behind a `bos`.
        held_out
            For `"jelinek_mercer"` alone: the text on which its weights are found. By default they are found on the
            last tenth of `ids` with the counts of the rest, and then used with the counts of all of it.

        Returns
        -------
        NGramModel
            The model itself.

        Raises
        ------
        ValueError
            If the text is empty or shorter than the order, or too short to hold out a part where one is needed, if an
            id lies outside the vocabulary, if there is held-out text and no use for it, or if the model was read from
            an ARPA file.
        TypeError
            If the ids are no sequence, or no integers.
        """
        self._check_smoothing()
        ids = as_ids(ids, "fit")
        vocab_size = self.vocab_size
        if vocab_size is None:
            check_ids(ids, 2**62)
            vocab_size = int(ids.max()) + 1
        levels = count_ngrams(ids, self.order, vocab_size, self.bos)
        if self.smoothing == "jelinek_mercer" and held_out is None:
            cut = len(ids) - max(len(ids) // 10, 1)
            if self.bos is not None:  # whole sentences, with a token among them
                cut = min(cut, int(np.flatnonzero(ids != self.bos)[-1]))
                cut = int(np.flatnonzero(ids[: cut + 1] == self.bos)[-1])
            try:
                counted = count_ngrams(ids[:cut], self.order, vocab_size, self.bos)
                lambdas = held_out_weights(counted, ids[cut:])
            except ValueError as error:
                raise ValueError(
                    "jelinek_mercer finds its weights on held-out text, by default the end of the text, and this one "
                    f"is too short to be cut: {error}. Give a longer text, a second sentence, or held_out=."
                ) from error
            self.vocab_size, self.weights = vocab_size, jelinek_mercer(levels, lambdas)
            return self
        return self.fit_counts(levels, held_out)

    def fit_counts(
        self, levels: list[Level], held_out: Integer[np.ndarray, " U"] | Sequence[int] | None = None
    ) -> "NGramModel":
        """
        Weigh counts that were made elsewhere, such as those of `fp_markov.streaming`.

        Parameters
        ----------
        levels
            The counts, one item for each order from 1 to the model's.
        held_out
            As for `fit`, but without a default: the text of the counts is not here to be cut.

        Returns
        -------
        NGramModel
            The model itself.

        Raises
        ------
        ValueError
            If there are no counts, or they are of another order, vocabulary or `bos`, if held-out text is missing or
            has no use, or if the model was read from an ARPA file.
        """
        self._check_smoothing()
        if not levels:
            raise ValueError("fit_counts needs the counts that count_ngrams returns, one item an order, got none")
        V, bos = levels[0].vocab_size, levels[0].bos
        if (len(levels), bos) != (self.order, self.bos) or self.vocab_size not in (None, V):
            raise ValueError(
                f"the model has order {self.order}, vocab_size {self.vocab_size} and bos {self.bos}, "
                f"the counts have {len(levels)}, {V} and {bos}"
            )
        if (held_out is None) == (self.smoothing == "jelinek_mercer"):
            verb = "needs" if held_out is None else "does not use"
            raise ValueError(f"{self.smoothing} {verb} held-out text")
        if held_out is not None:
            weights = jelinek_mercer(levels, held_out_weights(levels, as_ids(held_out, "fit")))
        else:
            weights = SMOOTHINGS[self.smoothing](levels, **self.settings)
        self.vocab_size, self.weights = V, weights
        return self

    def log_prob(self, ids: Ids) -> Float[np.ndarray, " T"]:
        """
        Log-probability of each token of a text, given the tokens before it in the text.

        Parameters
        ----------
        ids
            The text as token ids.

        Returns
        -------
        ndarray
            Nats, float64, zero or less, one for each token; minus infinity for what the model excludes, zero for `bos`.

        Raises
        ------
        ValueError
            If the text is empty, an id lies outside the vocabulary, or the model is not fitted.
        """
        V = self._fitted_vocabulary()
        ids = as_ids(ids, "log_prob")
        check_ids(ids, V)
        ids = ids.astype(np.int64, copy=False)
        finders = self._finders_for(len(ids))
        log_p = np.empty(len(ids))
        for start in range(0, len(ids), BLOCK):
            first = max(start - self.order + 1, 0)  # of the context of the block's first token
            P = self._probabilities(ids[first : start + BLOCK], finders)
            with np.errstate(divide="ignore"):
                np.log(P[start - first :], out=log_p[start : start + BLOCK])
        return log_p

    def next_distribution(self, context: Ids) -> Float[np.ndarray, " V"]:
        """
        Probabilities of every token after a context.

        Parameters
        ----------
        context
            Token ids, possibly none. Only the last `order - 1` are used, and with `bos` only what follows the last
            one, itself included; fewer mean a shorter context.

        Returns
        -------
        ndarray
            Float64, not negative, summing to one.

        Raises
        ------
        ValueError
            If an id lies outside the vocabulary, or the model is not fitted.
        """
        V = self._fitted_vocabulary()
        context = as_ids(context, "next_distribution", allow_empty=True)
        check_ids(context, V)
        context = context[max(len(context) - self.order + 1, 0) :]
        P = self._uniform_distribution()
        for n, weights in enumerate(self.weights[: len(context) + 1]):
            if weights.uniform_below:
                P = self._uniform_distribution()
            c = self._rank(context[len(context) - n :])
            if c < 0:
                continue
            start, stop = np.searchsorted(weights.keys, (c * V, (c + 1) * V))
            P *= weights.backoff[c]
            P[weights.keys[start:stop] - c * V] = weights.probability[start:stop]
        return P

    def cross_entropy(self, ids: Ids) -> float:
        """
        Mean loss of a text in nats per token, `bos` left out; infinite if the model excludes a token.

        Raises
        ------
        ValueError
            If the text is empty, an id lies outside the vocabulary, or the model is not fitted.
        """
        log_p = self.log_prob(ids)
        n_predicted = len(log_p) if self.bos is None else np.count_nonzero(np.asarray(ids) != self.bos)
        if not n_predicted:
            raise ValueError("cross_entropy needs a token to predict, got none but bos")
        return float(-log_p.sum() / n_predicted)

    def perplexity(self, ids: Ids) -> float:
        """
        `fp_markov.information.perplexity` of `cross_entropy`.

        Raises
        ------
        ValueError
            If the text is empty, an id lies outside the vocabulary, or the model is not fitted.
        """
        return information.perplexity(self.cross_entropy(ids))

    def generate(
        self,
        context: Ids,
        n_tokens: int,
        rng: np.random.Generator,
        *,
        stop: int | None = None,
        exclude: Ids = (),
        temperature: Real = 1.0,
        top_k: int | None = None,
        top_p: Real | None = None,
        min_p: Real | None = None,
    ) -> Int[np.ndarray, " N"]:
        """
        Continue a context, token by token.

        Parameters
        ----------
        context
            Token ids to start from, possibly none.
        n_tokens
            How many tokens to write at most.
        rng
            Source of randomness.
        stop
            A token after which writing ends, such as the end of a sentence.
        exclude
            Tokens never to write, such as `<unk>`: they are cut before all else.
        temperature, top_k, top_p, min_p
            As for `fp_markov.sampling.draw`.

        Returns
        -------
        ndarray
            The new tokens.

        Raises
        ------
        ValueError
            If `n_tokens` is negative, an id lies outside the vocabulary, a setting lies outside its range, the model
            is not fitted, or it expects nothing but tokens to exclude.
        TypeError
            If `rng` is no generator, or ids or `n_tokens` are no integers.

        Examples
        --------
        >>> model = NGramModel(order=3).fit(np.tile([0, 1, 2, 3], 9))
        >>> model.generate([0, 1], 6, np.random.default_rng(0), temperature=0)
        array([2, 3, 0, 1, 2, 3])
        """
        if not isinstance(rng, np.random.Generator):
            raise TypeError(f"rng must be a generator such as numpy.random.default_rng(0), got {rng!r}")
        if check_integer(n_tokens, "n_tokens") < 0:
            raise ValueError(f"n_tokens must be zero or more, got {n_tokens}")
        context = as_ids(context, "generate", allow_empty=True)
        excluded = as_ids(exclude, "exclude", allow_empty=True)
        check_ids(excluded, self._fitted_vocabulary())
        written = [*context[max(len(context) - self.order + 1, 0) :].tolist()]
        n_given = len(written)
        for _ in range(n_tokens):
            P = self.next_distribution(written[max(len(written) - self.order + 1, 0) :])
            with np.errstate(divide="ignore"):
                logits = np.log(P)
            logits[excluded] = -np.inf
            token = int(draw(logits, rng, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p))
            written.append(token)
            if token == stop:
                break
        return np.array(written[n_given:], np.int64)

    def save(self, path: Path | str) -> None:
        """
        Write the model to one file: arrays in NumPy's format and settings as JSON, zipped. Nothing in it can run.

        Parameters
        ----------
        path
            Where; an earlier file is replaced only when the new one is complete.

        Raises
        ------
        ValueError
            If the model is not fitted.
        """
        self._fitted_vocabulary()
        about = {name: getattr(self, name) for name in ("order", "vocab_size", "smoothing", "bos", "settings")}
        arrays = {"about": np.frombuffer(json.dumps({"format": FORMAT, **about}).encode(), np.uint8)}
        for n, weights in enumerate(self.weights, start=1):
            arrays |= {f"keys{n}": weights.keys, f"probability{n}": weights.probability, f"backoff{n}": weights.backoff}
            arrays[f"uniform_below{n}"] = np.array(weights.uniform_below)
            if weights.discounts is not None:
                arrays[f"discounts{n}"] = weights.discounts
        with replacing(path) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # no array is named like its one other argument

    @classmethod
    def load(cls, path: Path | str) -> "NGramModel":
        """
        Read what `save` wrote.

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        NGramModel
            A model that gives the same probabilities, bit for bit.

        Raises
        ------
        ValueError
            If the file is no such model, or is damaged.
        """
        with Path(path).open("rb") as file:
            try:
                with np.load(file, allow_pickle=False) as arrays:
                    about = json.loads(arrays["about"].tobytes())
                    if about["format"] != FORMAT:
                        raise KeyError("format")
                    model = cls(about["order"], about["vocab_size"], bos=about["bos"])
                    model.smoothing, model.settings = about["smoothing"], about["settings"]
                    model.weights = [
                        Weights(
                            arrays[f"keys{n}"],
                            arrays[f"probability{n}"],
                            arrays[f"backoff{n}"],
                            bool(arrays[f"uniform_below{n}"]),
                            arrays.get(f"discounts{n}"),
                        )
                        for n in range(1, model.order + 1)
                    ]
            except Exception as error:  # damage makes zipfile, zlib and NumPy raise nearly anything
                raise ValueError(
                    f"{path} is no n-gram model that this version of fp_markov saved, or is damaged"
                ) from error
        return model

    def to_arpa(self, path: Path | str, tokens: Sequence[str] | None = None) -> None:
        """
        Write the model as an ARPA file (`fp_markov.arpa`), for other programs.

        Parameters
        ----------
        path
            Where; an earlier file is replaced only when the new one is complete.
        tokens
            The name of every token, by id, without white space; `None` writes the ids. KenLM expects the names `<s>`,
            `</s>` and `<unk>` among them.

        Raises
        ------
        ValueError
            If the model is not fitted, its smoothing does not back off to the shorter context, or a name does not
            serve.
        """
        V = self._fitted_vocabulary()
        write_arpa(path, self.weights, self.next_distribution([]), tokens or [str(i) for i in range(V)])

    @classmethod
    def from_arpa(cls, path: Path | str) -> tuple["NGramModel", list[str]]:
        """
        Read a model that this or another program wrote as an ARPA file.

        Parameters
        ----------
        path
            The file. A token named `<s>` becomes `bos`.

        Returns
        -------
        model : NGramModel
            A model that scores and writes; its `smoothing` says only that it came from a file.
        tokens : list of str
            The name of every token, by id.

        Raises
        ------
        ValueError
            If the file is no ARPA file.
        """
        weights, tokens = read_arpa(path)
        model = cls(len(weights), len(tokens), bos=tokens.index(BOS) if BOS in tokens else None)
        model.smoothing, model.weights = "arpa", weights
        return model, tokens

    def _probabilities(self, ids: Int[np.ndarray, " T"], finders: list[Finder]) -> Float[np.ndarray, " T"]:
        P = np.full(len(ids), self._uniform())
        at, contexts = np.arange(len(ids)), np.zeros(len(ids), np.int64)  # where the text has a context, and its rank
        for n, (weights, table) in enumerate(zip(self.weights, finders, strict=True)):
            ranks = table.find(contexts, ids.take(at))  # (E1)
            found = ranks >= 0
            seen, unseen = np.flatnonzero(found), np.flatnonzero(~found)
            ranks = ranks.take(seen)
            if weights.uniform_below:
                P[n:] = self._uniform()
            P[at.take(unseen)] *= weights.backoff.take(contexts.take(unseen))  # (E2)
            at = at.take(seen)
            P[at] = weights.probability.take(ranks)
            if len(at) and at[-1] == len(ids) - 1:  # the text ends here
                at, ranks = at[:-1], ranks[:-1]
            at, contexts = at + 1, ranks
        if self.bos is not None:
            np.copyto(P, 1, where=ids == self.bos)
        return P

    def _finders_for(self, n_tokens: int) -> list[Finder]:
        if self._finders_serve():
            return self._finders
        V = self._fitted_vocabulary()
        if n_tokens < LONG:
            return [BinarySearch(weights.keys, V) for weights in self.weights]
        n_contexts = [1, *self.n_ngrams[:-1]]
        self._finders = [finder(w.keys, n, V) for w, n in zip(self.weights, n_contexts, strict=True)]
        return self._finders

    def _finders_serve(self) -> bool:
        """Whether the tables have been built, and for these weights."""
        return len(self._finders) == len(self.weights) and all(
            table.keys is weights.keys for table, weights in zip(self._finders, self.weights, strict=True)
        )

    def _check_smoothing(self) -> None:
        if self.smoothing not in SMOOTHINGS:
            raise ValueError("a model from an ARPA file does not say how it was smoothed: make a new one to fit")

    def _rank(self, gram: Int[np.ndarray, " n"]) -> int:
        rank = np.zeros(1, np.int64)
        for weights, token in zip(self.weights, gram, strict=False):
            rank = find(weights.keys, self._fitted_vocabulary(), rank, token[None])
        return int(rank[0])

    def _uniform(self) -> float:
        return 1 / (self._fitted_vocabulary() - (self.bos is not None))

    def _uniform_distribution(self) -> Float[np.ndarray, " V"]:
        P = np.full(self._fitted_vocabulary(), self._uniform())
        if self.bos is not None:
            P[self.bos] = 0
        return P

    def _fitted_vocabulary(self) -> int:
        if not self.weights or self.vocab_size is None:
            raise ValueError("the model has not counted a text yet: call fit(ids) first")
        return self.vocab_size


FORMAT = "fp-markov n-gram model 1"


def reference_distribution(ids: Sequence[int], context: Sequence[int], order: int, vocab_size: int) -> list[float]:
    """
    `NGramModel(order, vocab_size).fit(ids).next_distribution(context)`, slowly, from the definitions.

    Parameters
    ----------
    ids
        The text to count.
    context
        At most `order - 1` tokens.
    order, vocab_size
        As for `NGramModel`.

    Returns
    -------
    list of float
        A probability for each token.

    Examples
    --------
    >>> [round(p, 3) for p in reference_distribution([0, 0, 1, 0], [0], order=2, vocab_size=3)]
    [0.521, 0.396, 0.083]
    """
    n, context = len(context) + 1, tuple(context)
    grams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    if n == order:
        a = Counter(grams)
    else:  # distinct left neighbours, where None stands before the text
        a = Counter(gram for _, gram in set(zip([None, *ids], grams, strict=False)))
    D = [0.0, *discounts(np.array(list(a.values()))).tolist()]

    lower = [1 / vocab_size] * vocab_size if n == 1 else reference_distribution(ids, context[1:], order, vocab_size)
    counts = [a[(*context, w)] for w in range(vocab_size)]
    A = sum(counts)
    if A == 0:
        return lower
    gamma = sum(D[min(count, 3)] for count in counts) / A
    return [(count - D[min(count, 3)]) / A + gamma * p for count, p in zip(counts, lower, strict=True)]


def _as_float(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)
