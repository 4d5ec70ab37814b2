"""The bigrams of a word as a machine, and what its model expects next, with the same numbers as a table."""

import numpy as np

from fp_markov.chain import StationaryChain
from fp_markov.drawing import bar_chart, state_machine
from fp_markov.ngram import NGramModel
from fp_markov.vocabulary import Vocabulary

WORD = "abracadabra"


def render() -> str:
    """Both drawings of the section and their numbers."""
    vocabulary = Vocabulary.from_text(WORD)
    ids, V = vocabulary.encode(WORD), len(vocabulary)
    machine = state_machine(StationaryChain.from_text(ids, V), vocabulary.tokens, title=f"The bigrams of {WORD}")
    model = NGramModel(3, V).fit(ids)
    after = model.next_distribution(vocabulary.encode("ra"))
    bars = bar_chart(after, vocabulary.tokens, title="After “ra”, modified Kneser-Ney of order 3")
    transitions = StationaryChain.from_text(ids, V).P
    rows = [(f"after {token}", row) for token, row in zip(vocabulary.tokens, transitions, strict=True)]
    return machine + bars + table(vocabulary.tokens, [*rows, ("after ra, order 3", after)])


def table(tokens: list[str], rows: list[tuple[str, np.ndarray]]) -> str:
    """One distribution a row."""
    heads = "".join(f'<th scope="col">{token}</th>' for token in tokens)
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td>{p:.3f}</td>" for p in row)}</tr>' for name, row in rows
    )
    return (
        f"<table><caption>The probabilities that the drawings show</caption>"
        f"<thead><tr><th scope='col'>context \\ next</th>{heads}</tr></thead><tbody>{body}</tbody></table>"
    )
