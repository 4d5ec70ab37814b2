r"""
Stage 1 of 10: language models that count, with probability, smoothing, information and sampling.

A text is cut into **tokens**: characters, bytes or words (`fp_markov.vocabulary`). A language model gives every next
token a probability. The simplest one counts which token followed which in a text,
and it already raises the questions of the whole course: what a good prediction is worth, in nats; what to believe
about contexts never seen; how to draw from a belief; and when one model is really better than another. The answers
found here serve every later stage: its losses are the cross-entropies of `fp_markov.information`, its generated texts
are drawn by `fp_markov.sampling`, its baselines are the models of `fp_markov.ngram`.

>>> import numpy as np
>>> from fp_markov import NGramModel, Vocabulary
>>> text = "the cat sat on the mat and the rat sat on the cat. " * 3
>>> vocabulary = Vocabulary.from_text(text)
>>> model = NGramModel(order=4, vocab_size=len(vocabulary)).fit(vocabulary.encode(text))
>>> new = model.generate(vocabulary.encode("the r"), 9, np.random.default_rng(0), temperature=0)
>>> vocabulary.decode(new)
'at on the'

On any text, from the command line:

    python -m fp_markov FILE --order 4 --smoothing modified_kneser_ney --generate 300

## The chapter as a problem

George Polya's four steps for solving any problem fit this one, and every chapter after it.

**Understand.** *What is unknown?* A distribution for the next token, after any context. *What is given?* One text.
*What would count as an answer?* A small loss on text that was not given: the mean surprisal, whose floor is the entropy
of the source. Could the text alone determine the answer? No: almost every context of a new text is new itself.

**Plan.** *Do you know a related problem?* Estimating the frequencies of a die: count, and divide. The chain rule makes
a text a sequence of dice, one for each context, and forgetting all but a few tokens leaves few enough dice to be thrown
more than once. What remains is the die that was hardly thrown. *Can you use a solved problem?* The shorter context has
been seen more often, and it is the same problem one size smaller.

**Execute.** Prove that counting is the best fit. Count fast. Find what the fit does to the unseen, and repair it in
several ways, each from its own principle. Draw from the result, and measure it.

**Reflect.** *Can you check the result?* Against exhaustive enumeration, against KenLM's own numbers, on text from after
the split. *Can you see it at a glance?* Counting treats *cat* and *dog* as two integers; nothing learned about one says
anything about the other, so each has to be seen in every context by itself. *Could you use the method elsewhere?* All
of it but the counting: the loss, the split, the sampling and the tests of significance stay as they are when stage 3
replaces the table by a function that knows that *cat* and *dog* are alike.

## The sections

On a first reading of `fp_markov.mathematics` stop before the areas without end; `fp_markov.additive` sends you back. A
proof by **induction** shows a statement for one case and, from each case, for the next; $O(f)$ means at most a constant
times $f$.

| section | the question it answers |
| --- | --- |
| `fp_markov.mathematics` | What are logarithms, slopes and areas, and where is a function largest? |
| `fp_markov.probability` | What may be said about chance, and how does one change one's mind? |
| `fp_markov.information` | What does a wrong belief cost, and in which unit do two models compare? |
| `fp_markov.coding` | How many bits does a text need? |
| `fp_markov.vocabulary` | Which numbers stand for a text? |
| `fp_markov.counting` | What does a text say about the next token, and how is it counted fast? |
| `fp_markov.streaming` | What if it does not fit in memory? |
| `fp_markov.lookup` | Where is an n-gram, among millions? |
| `fp_markov.smoothing` | What about n-grams that were never seen? |
| `fp_markov.additive` | … if everything was possible beforehand? |
| `fp_markov.jelinek_mercer` | … if unseen text may choose how to mix long contexts with short ones? |
| `fp_markov.good_turing` | … and how much of the next text is new? |
| `fp_markov.witten_bell` | … and after this very context? |
| `fp_markov.kneser_ney` | … and what should the shorter context be asked? |
| `fp_markov.sampling` | How does a belief become one token? |
| `fp_markov.ngram` | How good is a model that counts? |
| `fp_markov.arpa` | How does it travel to other programs? |
| `fp_markov.experiment` | What is a fair trial? |
| `fp_markov.comparison` | Is one model better than another, or was it the text? |
| `fp_markov.growth` | Why does counting fail in the end? |
| `fp_markov.chain` | Where does a text go that only looks one token back? |
| `fp_markov.drawing` | What does such a model look like? |
| `fp_markov.mistakes` | What goes wrong without an error? |
| `fp_markov.exercises` | Can you do it yourself? |

## In modern language models

What is left of this chapter in a large model of today: its training loss is the cross-entropy of the next token, the
chain rule read from left to right; its context is a window, a Markov assumption of thousands to millions of tokens; its
decoding is temperature, top-p and min-p; its perplexity is reported per token and compared, wrongly, between
tokenizers. And the n-gram itself is not dead: it filters training sets, drafts tokens for larger models to accept, and
sets the baseline that a new model has to beat first.

**Left out**: class-based and cache models, pruning beyond `fp_markov.exercises`, skip-grams, the hierarchical
Pitman-Yor process of which Kneser-Ney is an approximation, and hidden Markov models."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fp_markov.chain import StationaryChain as StationaryChain
    from fp_markov.comparison import block_bootstrap as block_bootstrap
    from fp_markov.counting import count_ngrams as count_ngrams
    from fp_markov.drawing import bar_chart as bar_chart
    from fp_markov.drawing import state_machine as state_machine
    from fp_markov.information import bits_per_byte as bits_per_byte
    from fp_markov.information import bits_per_character as bits_per_character
    from fp_markov.information import cross_entropy as cross_entropy
    from fp_markov.information import entropy as entropy
    from fp_markov.information import kl_divergence as kl_divergence
    from fp_markov.information import perplexity as perplexity
    from fp_markov.information import surprisal as surprisal
    from fp_markov.ngram import SMOOTHINGS as SMOOTHINGS
    from fp_markov.ngram import NGramModel as NGramModel
    from fp_markov.sampling import draw as draw
    from fp_markov.sampling import greedy as greedy
    from fp_markov.sampling import gumbel_max as gumbel_max
    from fp_markov.sampling import min_p as min_p
    from fp_markov.sampling import sample as sample
    from fp_markov.sampling import temperature as temperature
    from fp_markov.sampling import top_k as top_k
    from fp_markov.sampling import top_p as top_p
    from fp_markov.streaming import count_stream as count_stream
    from fp_markov.vocabulary import Vocabulary as Vocabulary

__all__ = [  # sections, in reading order
    "mathematics",
    "probability",
    "information",
    "coding",
    "vocabulary",
    "counting",
    "streaming",
    "lookup",
    "smoothing",
    "additive",
    "jelinek_mercer",
    "good_turing",
    "witten_bell",
    "kneser_ney",
    "sampling",
    "ngram",
    "arpa",
    "experiment",
    "comparison",
    "growth",
    "chain",
    "drawing",
    "mistakes",
    "exercises",
]
__version__ = "0.2.0"

_SECTION_OF = {
    "surprisal": "information",
    "entropy": "information",
    "cross_entropy": "information",
    "kl_divergence": "information",
    "perplexity": "information",
    "bits_per_byte": "information",
    "bits_per_character": "information",
    "count_ngrams": "counting",
    "count_stream": "streaming",
    "temperature": "sampling",
    "top_k": "sampling",
    "top_p": "sampling",
    "min_p": "sampling",
    "greedy": "sampling",
    "sample": "sampling",
    "gumbel_max": "sampling",
    "draw": "sampling",
    "NGramModel": "ngram",
    "SMOOTHINGS": "ngram",
    "Vocabulary": "vocabulary",
    "block_bootstrap": "comparison",
    "StationaryChain": "chain",
    "state_machine": "drawing",
    "bar_chart": "drawing",
}


def __getattr__(name: str) -> object:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    if name in _SECTION_OF:
        return getattr(import_module(f"{__name__}.{_SECTION_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SECTION_OF})
