r"""
What a table of embeddings costs, and what it can say.

Level: concept. You need `fp_neural.embedding` and `fp_neural.spectra`.

An embedding is a table $E$ with one row of $D$ numbers for each of $V$ tokens. To look up the $k$ tokens of a context
is to compute $X E$, where row $i$ of $X$ has a 1 at the place of token $i$ and 0 elsewhere: a matrix product that is
never carried out as one.

Take a pencil and predict before you compute. With $V = 50\,000$, $D = 768$ and $k = 1024$: how many multiplications
does the lookup save? A token occurs three times in the context: what does its row receive on the way back, and what
its weight in the mean of the embeddings? May the token with the largest dot product be another one than the token that
points the same way? What becomes of the order of the tokens if their embeddings are averaged? Then write each answer
as the formula that you used.

You learn to read an embedding as linear algebra. That shows what is shared between the places of a context, what gets
lost in a mean, and why a narrow table limits every prediction that is read off it.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "Write X down for the context [2, 0, 2] and V = 4, and multiply it by a table of your own. Each row of X E is a "
    "row of E; the sum of X over its rows says how often each token occurs.",
    "What is laid side by side has k D entries, so a linear layer has k D + 1 numbers for each of its outputs. A mean "
    "does not tell [0, 1] from [1, 0]: count contexts in which only the number of each token matters.",
    "Contexts in which order does not matter: `math.comb(V + k - 1, k)`. A cosine is the dot product of two rows "
    "divided by both lengths; set the token's own to `-np.inf` before `argmax`. A product of a (V, D) by a (D, V) "
    "matrix has at most D singular values above 0, and never more than V.",
)


def embedding_algebra(table: np.ndarray, ids: list[int], hidden: int) -> dict[str, int | list[float]]:
    """
    Answer eleven questions about an embedding.

    Parameters
    ----------
    table
        The embedding E, floats of shape `(V, D)`, no row of which is zero. V is at least 2.
    ids
        The k tokens of a context, from 0 to V - 1, at least one; some may be equal.
    hidden
        Number of outputs of a linear layer.

    Returns
    -------
    dict
        One answer for each name:

        - `"parameters"`: the number of parameters of the embedding.
        - `"product"`: the number of multiplications in X E, X of shape `(k, V)`, computed as any other product.
        - `"copied"`: the number of entries that a lookup copies instead.
        - `"mean"`: the list of V numbers x for which `x @ table` is the mean of the context's k embeddings.
        - `"gradient"`: a loss is the sum of all entries of X E. A list of V numbers: its derivative in the first entry
          of each row of the table.
        - `"nearest"`: the token, other than `ids[0]`, whose row has the largest cosine with the row of `ids[0]`.
        - `"loudest"`: the token, other than `ids[0]`, whose row has the largest dot product with the row of `ids[0]`.
        - `"layer"`: the number of parameters, biases included, of a linear layer with `hidden` outputs on the k
          embeddings side by side (without those of the table).
        - `"ordered"`: at most how many contexts of k tokens, over all tables, can be told apart by their k embeddings
          side by side.
        - `"averaged"`: at most how many can be told apart by the mean of their k embeddings.
        - `"singular"`: at most how many singular values above 0 the V by V table of logits `table @ w.T` has, whatever
          the numbers in `table` and in `w`, both of shape `(V, D)`.

    Examples
    --------
    >>> answers = embedding_algebra(np.array([[1.0, 0.0], [2.0, 2.0], [3.0, 0.5]]), [1, 1, 0], hidden=7)
    >>> answers["parameters"], answers["copied"]
    (6, 6)
    >>> sorted(answers)  # doctest: +NORMALIZE_WHITESPACE
    ['averaged', 'copied', 'gradient', 'layer', 'loudest', 'mean', 'nearest', 'ordered', 'parameters', 'product',
     'singular']
    """
    (V, D), k = table.shape, len(ids)
    counts = np.bincount(ids, minlength=V).astype(float)
    dots = table @ table[ids[0]]
    cosines = dots / np.sqrt((table**2).sum(axis=1))  # the length of the row of ids[0] is the same for all
    dots[ids[0]] = cosines[ids[0]] = -np.inf
    return {
        "parameters": V * D,
        "product": k * V * D,
        "copied": k * D,
        "mean": (counts / k).tolist(),
        "gradient": counts.tolist(),
        "nearest": int(cosines.argmax()),
        "loudest": int(dots.argmax()),
        "layer": hidden * (k * D + 1),
        "ordered": V**k,
        "averaged": math.comb(V + k - 1, k),
        "singular": min(V, D),
    }


_WHY = {
    "parameters": "There is one table, V rows of D numbers, and every place of the context reads the same one.",
    "product": "Each of the k D entries of X E is a sum of V products, all of them by 0 but one.",
    "copied": "A lookup copies one row of D numbers for each token of the context.",
    "mean": "Each place of the context has the weight 1/k, and a token has that weight for every place it fills.",
    "gradient": "A row is copied to every place that its token fills, and receives the sum of their gradients, each 1.",
    "nearest": "A cosine is the dot product divided by both lengths, and the token itself does not count.",
    "loudest": "The dot product is not divided by lengths, and the token itself does not count.",
    "layer": "Side by side the embeddings are k D numbers: each output has a weight for each of them, and a bias.",
    "ordered": "Side by side every place keeps its token, so all contexts can differ: V choices at each of k places.",
    "averaged": "A mean depends on how often each token occurs and on nothing else: count the ways to share out k "
    "places among V tokens.",
    "singular": "Every row of the product is made of D rows of w.T, so at most D directions are left, and at most V.",
}

PROBES = (
    (np.array([[1.0, 0.5], [2.0, 3.0], [-1.0, 2.0], [0.5, 0.125]]), [0, 3, 3, 0, 3], 7),
    (np.array([[1.0, 0.0, 2.0], [0.25, 0.0, 0.625], [-3.0, 2.0, 0.0], [5.0, 9.0, 4.0], [0.0, 1.0, -2.0]]), [1, 4], 3),
    (np.array([[1.0, -2.0, 0.5], [0.5, 3.0, 1.0]]), [1, 1, 1], 11),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    rng = np.random.default_rng(1)
    for table, ids, hidden in (*PROBES, (rng.normal(size=(13, 5)), [12, 3, 7, 3, 0, 3, 1], 17)):
        got = learner.embedding_algebra(table.copy(), list(ids), hidden)
        assert isinstance(got, dict), f"expected a dict of eleven answers, got {got!r:.80}"
        V, D = table.shape
        case = f"V = {V}, D = {D}, ids = {ids}"
        for key, expected in embedding_algebra(table, ids, hidden).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            assert _same(got[key], expected), (
                f"for {case}{f', hidden = {hidden}' if key == 'layer' else ''}"
                f"{f' and table = {table.tolist()}' if key in ('nearest', 'loudest') and V < 7 else ''}, {key!r} is "
                f"{_short(expected)}; got {_short(got[key])}. {_WHY[key]}"
            )


def _same(got: Any, expected: int | list[float]) -> bool:
    if isinstance(expected, int):
        return isinstance(got, int | np.integer) and int(got) == expected
    try:
        # far above rounding, far below any other answer; the absolute part is for an expected 0
        return len(got) == len(expected) and all(
            math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-12) for x, y in zip(got, expected, strict=True)
        )
    except (TypeError, ValueError):
        return False


def _short(answer: Any) -> str:
    if isinstance(answer, list | tuple) and all(isinstance(x, float | int) for x in answer):
        return f"[{', '.join(f'{x:.4g}' for x in answer)}]"[:100]
    return f"{answer!r:.80}"


_Answers = dict[str, int | list[float]]


def _a_token_counts_once(table: np.ndarray, ids: list[int], hidden: int) -> _Answers:
    present = np.bincount(list(set(ids)), minlength=len(table)).astype(float)
    answers = embedding_algebra(table, ids, hidden)
    return {**answers, "gradient": present.tolist(), "mean": (present / present.sum()).tolist()}


def _sum_for_mean(table: np.ndarray, ids: list[int], hidden: int) -> _Answers:
    answers = embedding_algebra(table, ids, hidden)
    return {**answers, "mean": answers["gradient"]}


def _dot_for_cosine(table: np.ndarray, ids: list[int], hidden: int) -> _Answers:
    answers = embedding_algebra(table, ids, hidden)
    return {**answers, "nearest": answers["loudest"]}


def _itself(table: np.ndarray, ids: list[int], hidden: int) -> _Answers:
    dots = table @ table[ids[0]]
    return {**embedding_algebra(table, ids, hidden), "nearest": ids[0], "loudest": int(dots.argmax())}


def _one_embedding_in(table: np.ndarray, ids: list[int], hidden: int) -> _Answers:
    return {**embedding_algebra(table, ids, hidden), "layer": hidden * (table.shape[1] + 1)}


def _bias_forgotten(table: np.ndarray, ids: list[int], hidden: int) -> _Answers:
    return {**embedding_algebra(table, ids, hidden), "layer": hidden * len(ids) * table.shape[1]}


def _a_table_for_each_place(table: np.ndarray, ids: list[int], hidden: int) -> _Answers:
    return {**embedding_algebra(table, ids, hidden), "parameters": len(ids) * table.size}


def _product_is_free(table: np.ndarray, ids: list[int], hidden: int) -> _Answers:
    answers = embedding_algebra(table, ids, hidden)
    return {**answers, "product": answers["copied"]}


def _mean_keeps_the_order(table: np.ndarray, ids: list[int], hidden: int) -> _Answers:
    answers = embedding_algebra(table, ids, hidden)
    return {**answers, "averaged": answers["ordered"]}


def _no_repetition(table: np.ndarray, ids: list[int], hidden: int) -> _Answers:
    return {**embedding_algebra(table, ids, hidden), "averaged": math.comb(len(table), len(ids))}


def _a_full_table(table: np.ndarray, ids: list[int], hidden: int) -> _Answers:
    return {**embedding_algebra(table, ids, hidden), "singular": len(table)}


MISTAKES = (
    (
        _a_token_counts_once,
        "You count a token once, however often it occurs. Each place is a copy of its row: the copies' gradients add, "
        "and each has its own weight in the mean.",
    ),
    (
        _sum_for_mean,
        "You give every place the weight 1. That is the sum of the embeddings; in their mean each place weighs 1/k.",
    ),
    (
        _dot_for_cosine,
        "You take the largest dot product for the nearest direction. A long row can win by its length alone; a cosine "
        "divides by the lengths.",
    ),
    (
        _itself,
        "You let the token compete with itself. Nothing points its way as well as its own row; leave it out.",
    ),
    (
        _one_embedding_in,
        "You feed the layer one embedding. Side by side the context is k embeddings, k D numbers.",
    ),
    (_bias_forgotten, "You forget the biases. A linear layer adds one to each of its outputs."),
    (
        _a_table_for_each_place,
        "You give each place of the context a table of its own. One table serves all places: that is how what is "
        "learned about a token in one place helps in every other.",
    ),
    (
        _product_is_free,
        "You count the multiplications that do something. The product also multiplies by all the zeros of X, V - 1 of "
        "V; that is what a lookup saves.",
    ),
    (
        _mean_keeps_the_order,
        "You let the mean of the embeddings keep the order. Sums may be taken in any order: the mean of [0, 1] is that "
        "of [1, 0].",
    ),
    (
        _no_repetition,
        "You count contexts of k different tokens. Tokens may repeat, and the mean tells how often.",
    ),
    (
        _a_full_table,
        "You take the table of logits for an arbitrary V by V table. It is a product through D numbers, so at most D "
        "of its singular values are above 0: the width limits what can be predicted.",
    ),
)
