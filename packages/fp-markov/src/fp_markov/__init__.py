r"""
Stage 1 of 10: language models that count, with probability, smoothing, information and sampling.

A language model gives every next token a probability. The simplest one counts which token followed which in a text,
and it already raises the questions of the whole course: what a good prediction is worth, in nats; what to believe
about contexts never seen; how to draw from a belief; and when one model is really better than another. The answers
found here serve every later stage: its losses are the cross-entropies of `fp_markov.information`, its generated texts
are drawn by `fp_markov.sampling`, its baselines are the models of `fp_markov.ngram`.

| section | the question it answers |
| --- | --- |
| `fp_markov.information` | What does a wrong belief cost, and in which unit do two models compare? |
| `fp_markov.sampling` | How does a belief become one token? |
| `fp_markov.counting` | What does a text say about the next token, and how is it counted fast? |
| `fp_markov.smoothing` | What about n-grams that were never seen? |
| `fp_markov.ngram` | How good is a model that counts? |
| `fp_markov.comparison` | Is one model better than another, or was it the text? |

>>> import numpy as np
>>> from fp_markov import NGramModel, draw
>>> text = "the cat sat on the mat and the rat sat on the cat. " * 3
>>> model = NGramModel(order=4, vocab_size=128).fit(np.frombuffer(text.encode(), np.uint8))
>>> int(draw(np.log(model.next_distribution([*b"the rat s"])), np.random.default_rng(0), temperature=0)) == ord("a")
True

**Not written yet**, and part of this chapter later: the axioms of probability and the mathematics that they need; the
other smoothings (additive, Jelinek-Mercer, Good-Turing, Katz, Witten-Bell, absolute discounting, Kneser-Ney with one
discount); `generate`, saving and loading, files in ARPA format, counting of texts larger than memory; min-p and
Gumbel-max sampling; stationary chains; the command; exercises.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fp_markov.comparison import block_bootstrap as block_bootstrap
    from fp_markov.counting import count_ngrams as count_ngrams
    from fp_markov.information import bits_per_byte as bits_per_byte
    from fp_markov.information import cross_entropy as cross_entropy
    from fp_markov.information import entropy as entropy
    from fp_markov.information import kl_divergence as kl_divergence
    from fp_markov.information import perplexity as perplexity
    from fp_markov.ngram import NGramModel as NGramModel
    from fp_markov.sampling import draw as draw
    from fp_markov.sampling import greedy as greedy
    from fp_markov.sampling import sample as sample
    from fp_markov.sampling import temperature as temperature
    from fp_markov.sampling import top_k as top_k
    from fp_markov.sampling import top_p as top_p
    from fp_markov.smoothing import modified_kneser_ney as modified_kneser_ney

__all__ = ["information", "sampling", "counting", "smoothing", "ngram", "comparison"]  # sections, in reading order
__version__ = "0.1.0"

_SECTION_OF = {
    "entropy": "information",
    "cross_entropy": "information",
    "kl_divergence": "information",
    "perplexity": "information",
    "bits_per_byte": "information",
    "temperature": "sampling",
    "top_k": "sampling",
    "top_p": "sampling",
    "greedy": "sampling",
    "sample": "sampling",
    "draw": "sampling",
    "count_ngrams": "counting",
    "modified_kneser_ney": "smoothing",
    "NGramModel": "ngram",
    "block_bootstrap": "comparison",
}


def __getattr__(name: str) -> object:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    if name in _SECTION_OF:
        return getattr(import_module(f"{__name__}.{_SECTION_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SECTION_OF})
