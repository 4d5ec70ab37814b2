r"""
A fair comparison of a network with an n-gram model.

Level: concept. You need `fp_markov.information`, `fp_neural.tables` and `fp_neural.language_model`.

A colleague trained two models on the first part of one text and scored both on all of it. The network reads *words*,
$k$ of them at a time, and reports natural logarithms: its loss is 4.3. The n-gram model reads *characters* and reports
logarithms to base 2: its loss is 2.1. "Counting wins", says the colleague. Does it? Predict before you compute: with
five characters to a word, which of the two would need fewer bits for the same page?

A number is comparable only if it says *of what* it is the mean, *in which unit* and *on which text*. What two models
share here is neither their tokens nor their logarithms, but the text that each of them codes completely, so that both
have spent all their bits at its end: divide by something that is counted in the text. And judge on what was held out.
A model with enough parameters may have the first part by heart.

You learn to bring a loss into another unit, and to distrust one that comes without.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "Both arrays are cut where the held-out part begins, each in its own tokens: the network's at `n_train`, the other "
    "one after as many characters as the first `n_train` words have together.",
    "Add up first, divide last. A nat is 1 / ln 2 bits, so the network's bits are `-network.sum() / log(2)`; then "
    "divide both models' bits by the characters of the held-out part, or by its words, as the question asks.",
    "Perplexity is 2 to the power of bits per token; per word that is the bits of the part over its words, for both "
    "models. Parameters: one table of V rows of D numbers, k D + 1 numbers for each of H hidden units, H + 1 for each "
    "of V outputs.",
)


def compare(
    words: list[str], n_train: int, network: np.ndarray, ngram: np.ndarray, sizes: tuple[int, int, int, int]
) -> dict[str, float | int | str]:
    """
    Answer seven questions about two models of one text, `"".join(words)`.

    Parameters
    ----------
    words
        The text as the network reads it, each word with the space after it, N words of T characters together.
    n_train
        Both models were trained on the first `n_train` words; the rest, at least one word, is held out.
    network
        Natural logarithm of the probability that the network gave to each word, shape `(N,)`.
    ngram
        Logarithm to base 2 of the probability that the n-gram model gave to each character, shape `(T,)`.
    sizes
        The network's V, k, D, H: it looks up k words in one table of V rows of D numbers, writes them one after
        another, and has a hidden layer of H units and an output layer of V, both with biases.

    Returns
    -------
    dict
        One answer for each name, on held-out text where nothing else is said:

        - `"network"`: the network's loss in bits per character.
        - `"ngram"`: the n-gram model's loss in bits per character.
        - `"winner"`: `"network"` or `"ngram"`, the one that needs fewer bits for the held-out text.
        - `"network_perplexity"`: the network's perplexity per word.
        - `"ngram_perplexity"`: the n-gram model's perplexity per word, to be compared with the network's.
        - `"overfit"`: by how many bits per character the network's loss is higher than its loss on the trained part.
        - `"parameters"`: the number of the network's parameters.

    Examples
    --------
    The network gave 1/4 to each of two held-out words, which is 2 bits a word; the n-gram model gave 1/2 to each of
    their five characters, 1 bit:

    >>> words = ["a ", "cat ", "an ", "a "]
    >>> answers = compare(words, 2, np.log([0.5, 0.5, 0.25, 0.25]), np.full(11, -1.0), (3, 2, 4, 5))
    >>> round(answers["network"], 6), round(answers["ngram"], 6), answers["winner"]
    (0.8, 1.0, 'network')
    >>> sorted(answers)
    ['network', 'network_perplexity', 'ngram', 'ngram_perplexity', 'overfit', 'parameters', 'winner']
    """
    V, k, D, H = sizes
    lengths = np.array([len(word) for word in words])
    seen, T = int(lengths[:n_train].sum()), int(lengths.sum())
    N = len(words) - n_train
    bits = -float(network[n_train:].sum()) / math.log(2)
    other = -float(ngram[seen:].sum())
    trained = -float(network[:n_train].sum()) / math.log(2) / seen
    return {
        "network": bits / (T - seen),
        "ngram": other / (T - seen),
        "winner": "network" if bits < other else "ngram",
        "network_perplexity": 2 ** (bits / N),
        "ngram_perplexity": 2 ** (other / N),
        "overfit": bits / (T - seen) - trained,
        "parameters": V * D + (k * D + 1) * H + (H + 1) * V,
    }


_WHY = {
    "network": "It is the sum of its surprisals over the held-out words, in nats, divided by ln 2 and by the held-out "
    "characters.",
    "ngram": "It is the sum of its surprisals over the held-out characters, which are bits already, divided by their "
    "number; they begin where the trained words end.",
    "winner": "Both models coded the same characters: fewer bits for all of them together decide.",
    "network_perplexity": "It is 2 to the power of the mean bits per held-out word: the logarithms are averaged, not "
    "the perplexities.",
    "ngram_perplexity": "A perplexity per character is no match for one per word: take all bits of the held-out part "
    "over the number of its words.",
    "overfit": "It is the loss on the held-out part minus that on the trained part, each in bits per character.",
    "parameters": "One table of V D numbers serves all k places; a hidden unit has k D weights and a bias, an output "
    "H weights and a bias.",
}

_Probe = tuple[list[str], int, np.ndarray, np.ndarray, tuple[int, int, int, int]]


def _scored(seed: int, N: int, n_train: int, p_word: float, p_character: float, sizes: tuple[int, ...]) -> _Probe:
    """A text of random words, known by heart in its first part, and both models' scores."""
    rng = np.random.default_rng(seed)
    kinds = ("a ", "of ", "the ", "and ", "word ", "context ", "embedding ", "probabilities ")
    words = [kinds[i] for i in rng.integers(len(kinds), size=N)]
    T = sum(map(len, words))
    network = np.log(np.clip(p_word * rng.uniform(0.2, 3.0, size=N), 0, 0.9))
    network[:n_train] /= 3
    ngram = np.log2(np.clip(p_character * rng.uniform(0.5, 1.8, size=T), 0, 0.9))
    return words, n_train, network, ngram, sizes  # type: ignore[return-value]


PROBES: tuple[_Probe, ...] = (
    (
        ["a ", "cat ", "an ", "a "],
        2,
        np.log(np.array([0.5, 0.5, 0.25, 0.125])),
        -np.array([1.0, 0.5, 2.0, 1.0, 1.0, 0.5, 1.0, 1.0, 0.5, 1.0, 2.0]),
        (3, 2, 4, 5),
    ),
    _scored(1, 40, 25, 0.02, 0.3, (1000, 3, 16, 64)),
    _scored(2, 60, 20, 0.005, 0.4, (17, 1, 5, 11)),
    _scored(3, 30, 29, 0.01, 0.25, (50_000, 5, 100, 300)),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for words, n_train, network, ngram, sizes in PROBES:
        got = learner.compare(list(words), n_train, network.copy(), ngram.copy(), sizes)
        assert isinstance(got, dict), f"expected a dict of seven answers, got {got!r:.80}"
        seen = sum(map(len, words[:n_train]))
        case = (
            f"{n_train} words ({seen} characters) trained on and {len(words) - n_train} "
            f"({len(ngram) - seen} characters) held out, V, k, D, H = {sizes}"
        )
        for key, expected in compare(words, n_train, network, ngram, sizes).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            shown = f"{expected:.6g}" if isinstance(expected, float) else repr(expected)
            assert _same(got[key], expected), f"{case}: {key!r} is {shown}; got {got[key]!r:.80}. {_WHY[key]}"


def _same(got: Any, expected: float | int | str) -> bool:
    if isinstance(expected, str):
        return isinstance(got, str) and got == expected
    if isinstance(expected, int):
        return isinstance(got, int | np.integer) and int(got) == expected
    try:
        return math.isclose(got, expected, rel_tol=1e-9)  # sums of at most a few hundred terms
    except (TypeError, ValueError):
        return False


_Sizes = tuple[int, int, int, int]
_Answer = dict[str, float | int | str]


def _decided(answers: _Answer, network: float, ngram: float) -> _Answer:
    """The answers of somebody who holds these for the two losses, in whatever unit."""
    return {**answers, "network": network, "ngram": ngram, "winner": "network" if network < ngram else "ngram"}


def _on_the_trained_part(
    words: list[str], n_train: int, network: np.ndarray, ngram: np.ndarray, sizes: _Sizes
) -> _Answer:
    seen = sum(map(len, words[:n_train]))
    swapped = compare(
        words[n_train:] + words[:n_train],
        len(words) - n_train,
        np.concatenate((network[n_train:], network[:n_train])),
        np.concatenate((ngram[seen:], ngram[:seen])),
        sizes,
    )
    return {**swapped, "overfit": compare(words, n_train, network, ngram, sizes)["overfit"]}


def _on_everything(words: list[str], n_train: int, network: np.ndarray, ngram: np.ndarray, sizes: _Sizes) -> _Answer:
    bits, other = -float(network.sum()) / math.log(2), -float(ngram.sum())
    answers = compare(words, n_train, network, ngram, sizes)
    answers |= {"network_perplexity": 2 ** (bits / len(words)), "ngram_perplexity": 2 ** (other / len(words))}
    return _decided(answers, bits / len(ngram), other / len(ngram))


def _nats_taken_for_bits(
    words: list[str], n_train: int, network: np.ndarray, ngram: np.ndarray, sizes: _Sizes
) -> _Answer:
    return _in_another_unit(compare(words, n_train, network, ngram, sizes), math.log(2))


def _bits_are_fewer(words: list[str], n_train: int, network: np.ndarray, ngram: np.ndarray, sizes: _Sizes) -> _Answer:
    return _in_another_unit(compare(words, n_train, network, ngram, sizes), math.log(2) ** 2)


def _in_another_unit(answers: _Answer, factor: float) -> _Answer:
    """The answers of somebody whose network's bits per character are too few by this factor."""
    network, overfit = (float(answers[name]) * factor for name in ("network", "overfit"))
    return _decided({**answers, "overfit": overfit}, network, float(answers["ngram"]))


def _per_token(words: list[str], n_train: int, network: np.ndarray, ngram: np.ndarray, sizes: _Sizes) -> _Answer:
    answers = compare(words, n_train, network, ngram, sizes)
    bits = -network / math.log(2)
    per_word = float(bits[n_train:].mean())
    answers["overfit"] = per_word - float(bits[:n_train].mean())
    return _decided(answers, per_word, float(answers["ngram"]))


def _same_place_in_both(
    words: list[str], n_train: int, network: np.ndarray, ngram: np.ndarray, sizes: _Sizes
) -> _Answer:
    answers = compare(words, n_train, network, ngram, sizes)
    loss = -float(ngram[n_train:].mean())
    answers["ngram_perplexity"] = 2 ** -float(ngram[n_train:].sum() / (len(words) - n_train))
    return _decided(answers, float(answers["network"]), loss)


def _mean_of_the_rates(
    words: list[str], n_train: int, network: np.ndarray, ngram: np.ndarray, sizes: _Sizes
) -> _Answer:
    answers = compare(words, n_train, network, ngram, sizes)
    rates = -network / math.log(2) / np.array([len(word) for word in words])
    loss = float(rates[n_train:].mean())
    answers["overfit"] = loss - float(rates[:n_train].mean())
    return _decided(answers, loss, float(answers["ngram"]))


def _mean_of_perplexities(
    words: list[str], n_train: int, network: np.ndarray, ngram: np.ndarray, sizes: _Sizes
) -> _Answer:
    return {
        **compare(words, n_train, network, ngram, sizes),
        "network_perplexity": float(np.exp(-network[n_train:]).mean()),
    }


def _perplexity_per_character(
    words: list[str], n_train: int, network: np.ndarray, ngram: np.ndarray, sizes: _Sizes
) -> _Answer:
    answers = compare(words, n_train, network, ngram, sizes)
    return {**answers, "ngram_perplexity": 2 ** float(answers["ngram"])}


def _biases_not_counted(
    words: list[str], n_train: int, network: np.ndarray, ngram: np.ndarray, sizes: _Sizes
) -> _Answer:
    V, k, D, H = sizes
    return {**compare(words, n_train, network, ngram, sizes), "parameters": V * D + k * D * H + H * V}


def _a_table_for_each_place(
    words: list[str], n_train: int, network: np.ndarray, ngram: np.ndarray, sizes: _Sizes
) -> _Answer:
    V, k, D, H = sizes
    parameters = k * V * D + (k * D + 1) * H + (H + 1) * V
    return {**compare(words, n_train, network, ngram, sizes), "parameters": parameters}


MISTAKES = (
    (
        _on_the_trained_part,
        "You report the losses on the text that the models were trained on. A model may have that by heart; only "
        "held-out text says how it predicts.",
    ),
    (
        _on_everything,
        "You score the whole text. Most of it was trained on, and that part flatters the model that remembers best: "
        "leave it out.",
    ),
    (
        _nats_taken_for_bits,
        "You compare nats with bits. The network's logarithms are natural: divide its nats by ln 2.",
    ),
    (
        _bits_are_fewer,
        "You multiply nats by ln 2. A bit is the smaller unit, 0.69 nats, so there are more of them: divide.",
    ),
    (
        _per_token,
        "You compare a loss per word with one per character. A word has several characters, so its loss is higher for "
        "the same bits: divide both by the characters of the text.",
    ),
    (
        _same_place_in_both,
        "You cut both arrays at the same index. One counts words, the other characters: the held-out part begins after "
        "all the characters of the trained words.",
    ),
    (
        _mean_of_the_rates,
        "You average the bits per character of the single words. Then a short word weighs as much as a long one: add "
        "up the bits, and divide by the characters at the end.",
    ),
    (
        _mean_of_perplexities,
        "You average perplexities. Average the logarithms and take one power at the end; the mean of 1/p is ruled by a "
        "few rare words.",
    ),
    (
        _perplexity_per_character,
        "You set a perplexity per character beside one per word. Hesitating between three characters is not better "
        "than hesitating between fifty words: give both per word.",
    ),
    (
        _biases_not_counted,
        "You leave the biases out of the parameters. Each of the H hidden units and of the V outputs has one.",
    ),
    (
        _a_table_for_each_place,
        "You count a table of embeddings for each place of the context. One table serves all of them; only the hidden "
        "layer's weights tell the places apart.",
    ),
)
